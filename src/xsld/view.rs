//! What a member said, as plain data: no client, no JSON, no time.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

/// What one answer of a member is worth. Three answers, never two: what is not
/// understood is `Unknown`, which is neither success nor failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Answer<T> {
    /// The member answered and the answer was understood.
    Known(T),
    /// The member answered with an error of its own.
    Refused {
        /// HTTP status of the answer. It can be 200: an error in the body decides.
        status: u16,
        /// The member's text, bounded and with control characters escaped.
        error: String,
    },
    /// No answer, or one that was not understood.
    Unknown {
        /// What happened, fit for a log or a condition. It holds no secret.
        reason: String,
    },
}

impl<T> Answer<T> {
    /// The value, if the answer was understood.
    pub fn known(self) -> Option<T> {
        match self {
            Answer::Known(value) => Some(value),
            Answer::Refused { .. } | Answer::Unknown { .. } => None,
        }
    }

    /// A reference to the value, if the answer was understood.
    pub fn as_known(&self) -> Option<&T> {
        match self {
            Answer::Known(value) => Some(value),
            Answer::Refused { .. } | Answer::Unknown { .. } => None,
        }
    }

    /// The same answer with its value changed by `change`.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Known(value) => Answer::Known(change(value)),
            Answer::Refused { status, error } => Answer::Refused { status, error },
            Answer::Unknown { reason } => Answer::Unknown { reason },
        }
    }

    /// True when the member said that the object does not exist (404).
    pub fn is_absent(&self) -> bool {
        matches!(self, Answer::Refused { status: 404, .. })
    }
}

/// A cache member group as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// Name of the group. Empty when the member does not tell it.
    pub name: String,
    /// The members listed, sorted by name; no name occurs twice. A member that the
    /// group lists twice is one entry here, with a status that is not known.
    pub members: Vec<GroupMember>,
    /// True when the member answered from what it knew before it lost the primary.
    pub stale: bool,
}

impl GroupView {
    /// The listed member of that name.
    pub fn member(&self, name: &str) -> Option<&GroupMember> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The member that is marked as the primary, if exactly one is.
    pub fn primary(&self) -> Option<&GroupMember> {
        let mut marked = self.members.iter().filter(|member| member.primary == Some(true));
        let first = marked.next()?;
        marked.next().is_none().then_some(first)
    }
}

/// One member in a [`GroupView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupMember {
    /// Name that the member joined under: the pod's name.
    pub name: String,
    /// Host name that the group knows the member by.
    pub host: Option<String>,
    /// IP address that the group recorded when the member joined, as text.
    pub address: Option<String>,
    /// Whether the group can reach it.
    pub status: MemberStatus,
    /// Capacity in GB.
    pub capacity: Option<u64>,
    /// What it holds, in MB; none where the release does not tell.
    pub used: Option<u64>,
    /// Whether it runs a catalog server.
    pub catalog: Option<bool>,
    /// Whether it holds the group's configuration.
    pub primary: Option<bool>,
    /// Its part in the replication of the configuration database: `master`,
    /// `slave` or `none`, whatever words the profile has for them; any other word as
    /// it was said.
    pub replication: Option<String>,
}

/// Status of a member in the group's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum MemberStatus {
    /// It serves.
    Online,
    /// Its process runs but does not serve yet.
    Starting,
    /// It was stopped.
    Stopped,
    /// The group cannot reach it.
    Unreachable,
    /// A word that this release of the operator does not know, as it was said;
    /// empty when no status was given.
    Unknown(String),
}

/// One task in a member's list of tasks, or the status of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// Number that the member gave the task. Another member may use it too, and
    /// so may this one after a restart.
    pub id: u64,
    /// Command that the task runs.
    pub command: Option<String>,
    /// Free text given by whoever started it; ours carries the idempotency key.
    pub description: Option<String>,
    /// How far it is.
    pub status: TaskStatus,
    /// Progress in percent, 0 to 100.
    pub progress: Option<u8>,
    /// Member that it works on.
    pub member: Option<String>,
    /// Time of its start, as the member wrote it.
    pub started: Option<String>,
    /// What the member says about it: why it failed, for instance.
    pub message: Option<String>,
}

impl TaskView {
    /// True while the task works.
    pub fn is_running(&self) -> bool {
        self.status == TaskStatus::Running
    }

    /// The idempotency key in its description, if it is one of ours.
    pub fn key(&self) -> Option<Uuid> {
        key_of(self.description.as_deref()?)
    }
}

/// What precedes the idempotency key in a task's description.
const KEY_PREFIX: &str = "xsld-operator ";

/// The description that carries `key` with a task.
pub fn description_of(key: Uuid) -> String {
    format!("{KEY_PREFIX}{key}")
}

/// The idempotency key that a task's description carries. None where there is no
/// key, or more than one.
pub fn key_of(description: &str) -> Option<Uuid> {
    let mut keys = description.match_indices(KEY_PREFIX).filter_map(|(at, _)| {
        let after = description.get(at + KEY_PREFIX.len()..)?;
        let key = after.get(..36)?;
        let ends =
            !after[36..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-');
        ends.then(|| Uuid::try_parse(key).ok()).flatten()
    });
    let first = keys.next()?;
    keys.all(|key| key == first).then_some(first)
}

/// Status of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TaskStatus {
    /// It still works.
    Running,
    /// It ended and did what it was to do.
    Success,
    /// It ended without doing all that it was to do.
    Failed,
    /// A word that is not understood, as it was said; empty when none was given.
    /// Neither running nor ended.
    Unknown(String),
}

impl TaskStatus {
    /// True when the task has ended, one way or the other.
    pub fn is_terminal(&self) -> bool {
        match self {
            TaskStatus::Success | TaskStatus::Failed => true,
            TaskStatus::Running | TaskStatus::Unknown(_) => false,
        }
    }
}

/// One data grid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GridView {
    /// Name of the grid.
    pub name: String,
    /// Whether it serves.
    pub status: GridStatus,
    /// Its other fields by their names on the wire; numbers and booleans as text,
    /// nulls and nested values left out.
    pub fields: BTreeMap<String, String>,
}

/// Status of a data grid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum GridStatus {
    /// It is defined but not placed.
    Created,
    /// It serves.
    Online,
    /// It cannot serve.
    Error,
    /// A word that is not understood, as it was said; empty when none was given.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
    const OTHER: Uuid = Uuid::from_u128(7);

    #[test]
    fn a_key_is_read_back_from_its_description() {
        assert_eq!(description_of(KEY), "xsld-operator 12345678-9abc-4def-8123-456789abcdef");
        assert_eq!(key_of(&description_of(KEY)), Some(KEY));
        assert_eq!(key_of(&format!("[task] {} (cg1)", description_of(KEY))), Some(KEY));
        let twice = format!("{0} {0}", description_of(KEY));
        assert_eq!(key_of(&twice), Some(KEY));
    }

    #[test]
    fn a_description_without_one_clear_key_has_none() {
        let both = format!("{} {}", description_of(KEY), description_of(OTHER));
        let longer = format!("{}0", description_of(KEY));
        for text in [
            "",
            "add a new member",
            "xsld-operator ",
            "xsld-operator 1234",
            "xsld-operator é",
            "xsld-operator 12345678-9abc-4def-8123-456789abcdeé",
            "12345678-9abc-4def-8123-456789abcdef",
            both.as_str(),
            longer.as_str(),
        ] {
            assert_eq!(key_of(text), None, "{text}");
        }
    }

    #[test]
    fn only_one_marked_member_is_the_primary() {
        let member = |name: &str, primary| GroupMember {
            name: name.to_owned(),
            host: None,
            address: None,
            status: MemberStatus::Online,
            capacity: None,
            used: None,
            catalog: None,
            primary,
            replication: None,
        };
        let view = |members| GroupView { name: "cg1".to_owned(), members, stale: false };
        let one = view(vec![member("a", None), member("b", Some(true)), member("c", Some(false))]);
        assert_eq!(one.primary().map(|member| member.name.as_str()), Some("b"));
        assert!(view(vec![member("a", Some(true)), member("b", Some(true))]).primary().is_none());
        assert!(view(vec![member("a", None)]).primary().is_none());
    }
}
