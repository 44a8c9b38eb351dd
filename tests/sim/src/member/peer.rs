//! What members say to one another, and how: JSON over HTTPS on the admin port of the other.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ADMIN_PORT;
use super::database::{GridShape, MemberEntry, Template, View};
use super::store::{Entry, EntryKey, Slice};

/// What the paths of the members' own traffic begin with.
pub(super) const INTERNAL_BASE: &str = "/wxsadmin/internal/v1/";
/// The header that proves knowledge of the group's secret key.
pub(super) const TOKEN_HEADER: &str = "x-xsld-peer";

/// Whether a member serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    Starting,
    Ready,
    /// Its grid servers are started anew; the administration API serves.
    RestartingGrids,
    Stopping,
}

/// Who answers at an address, and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Presence {
    pub(super) id: Uuid,
    pub(super) incarnation: String,
    pub(super) group: Uuid,
    pub(super) term: u64,
    pub(super) phase: Phase,
    /// Per grid, the partitions that it has a whole copy of.
    pub(super) held: BTreeMap<String, Vec<usize>>,
    /// Changes with any of the above.
    pub(super) version: u64,
}

/// A membership task that wants to be the only one of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LockRequest {
    pub(super) token: Uuid,
    pub(super) task: u64,
    /// Who runs the task, and where it is reached.
    pub(super) holder: Uuid,
    pub(super) address: Ipv4Addr,
    pub(super) incarnation: String,
    /// The member that joins; none for any other task.
    pub(super) joining: Option<Uuid>,
}

/// A change of the group, carried out by its primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(super) enum GroupChange {
    Lock {
        request: LockRequest,
    },
    Unlock {
        token: Uuid,
    },
    /// Whether a member of this name may join.
    Admit {
        token: Uuid,
        entry: MemberEntry,
        duplicate: bool,
    },
    /// Lists a member whose join has come so far.
    List {
        token: Uuid,
        entry: MemberEntry,
    },
    /// The listed member's join has come to its end.
    Confirm {
        token: Uuid,
        id: Uuid,
    },
    /// No more data on these members: they are about to leave.
    Leave {
        token: Uuid,
        ids: Vec<Uuid>,
    },
    /// Takes entries out of the group.
    Evict {
        token: Uuid,
        ids: Vec<Uuid>,
    },
    /// Puts an entry back that was taken out.
    Reinstate {
        entry: MemberEntry,
    },
    SetReplica {
        token: Uuid,
        replica: Option<Uuid>,
    },
    /// A member has another address.
    Relocate {
        id: Uuid,
        address: Ipv4Addr,
    },
    SetPassword {
        user: String,
        password: String,
    },
    /// Takes a name for a grid that is about to be created.
    ReserveGrid {
        name: String,
    },
    ReleaseGrid {
        name: String,
    },
    CreateGrid {
        name: String,
        settings: Map<String, Value>,
        shape: GridShape,
    },
    StartGrid {
        name: String,
    },
    UpdateGrid {
        name: String,
        settings: Map<String, Value>,
        shape: GridShape,
    },
    DeleteGrid {
        name: String,
    },
    PutTemplate {
        name: String,
        template: Template,
    },
    DeleteTemplate {
        name: String,
    },
}

/// What one member asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(super) enum PeerCall {
    /// Who are you? Answered when it differs from `seen`, or after `hold_ms`.
    Presence {
        seen: u64,
        hold_ms: u64,
    },
    /// The group, from its primary to the member `id`; answered as `Presence` is.
    View {
        id: Uuid,
        incarnation: String,
        seen: u64,
        hold_ms: u64,
    },
    /// The group as the member knows it, whatever its part.
    Known,
    /// The group has changed, says its primary. Answered when no write that began before the
    /// change still runs.
    Adopt {
        view: View,
    },
    /// Answered by the primary; another member passes it on, once.
    Change {
        change: GroupChange,
        passed_on: bool,
    },
    /// Become a group of one.
    Reset {
        group: Uuid,
    },
    /// Give the database to the member that is about to be the primary.
    StepDown {
        id: Uuid,
    },
    RestartGrids {
        down_ms: u64,
    },
    /// Stores an entry in one partition.
    Put {
        grid: String,
        partition: usize,
        key: EntryKey,
        entry: Entry,
    },
    Get {
        grid: String,
        partition: usize,
        key: EntryKey,
    },
    /// The keys of a map in one partition.
    Keys {
        grid: String,
        partition: usize,
        map: String,
    },
    /// Send your copies of these partitions to another member.
    Copy {
        grid: String,
        partitions: Vec<usize>,
        address: Ipv4Addr,
    },
    /// Here are whole copies of partitions.
    Receive {
        grid: String,
        slices: Vec<Slice>,
    },
    /// Begin these partitions without entries.
    Open {
        grid: String,
        partitions: Vec<usize>,
    },
    /// Have nothing but these partitions.
    Keep {
        grid: String,
        partitions: Vec<usize>,
    },
}

impl PeerCall {
    /// The last segment of the path; only for people and for faults that name a path.
    fn name(&self) -> &'static str {
        match self {
            Self::Presence { .. } => "presence",
            Self::View { .. } => "view",
            Self::Known => "known",
            Self::Adopt { .. } => "adopt",
            Self::Change { .. } => "change",
            Self::Reset { .. } => "reset",
            Self::StepDown { .. } => "step-down",
            Self::RestartGrids { .. } => "restart-grids",
            Self::Put { .. } => "put",
            Self::Get { .. } => "get",
            Self::Keys { .. } => "keys",
            Self::Copy { .. } => "copy",
            Self::Receive { .. } => "receive",
            Self::Open { .. } => "open",
            Self::Keep { .. } => "keep",
        }
    }
}

/// What a member answers another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum PeerReply {
    Presence {
        presence: Presence,
    },
    View {
        view: Box<View>,
        version: u64,
    },
    Done,
    /// An entry of a partition that is held: there, or known not to be.
    Entry {
        entry: Option<Entry>,
    },
    Keys {
        keys: Vec<String>,
    },
    Refused {
        refusal: Refusal,
    },
}

/// Why a member does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "why", content = "what", rename_all = "snake_case")]
pub(super) enum Refusal {
    #[error("the task could not be started because another task is running: {0}")]
    Busy(u64),
    #[error("the secret key does not match")]
    Secret,
    #[error("the primary member of the group cannot be reached")]
    NoPrimary,
    #[error("the member is not in the group")]
    NotAMember,
    #[error("the task does not own the group any more")]
    LockLost,
    #[error("the partition is not on this member")]
    NotHeld,
    #[error("{0}")]
    Absent(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    #[error("the member is starting")]
    Starting,
}

/// Why a call to another member came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PeerError {
    #[error("the member at {address} cannot be reached: {reason}")]
    Unreachable { address: Ipv4Addr, reason: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The client side. Connections end when it is dropped.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    client: reqwest::Client,
    patience: Duration,
}

impl Peers {
    /// A client that calls from `address` and waits `patience` for an answer.
    ///
    /// The members' certificates are their own; what they trust is the secret key.
    pub(super) fn new(address: Ipv4Addr, patience: Duration) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .local_address(std::net::IpAddr::from(address))
            .connect_timeout(patience)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(2)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { client, patience })
    }

    /// Asks the member at `address`.
    pub(super) async fn call(
        &self,
        address: Ipv4Addr,
        token: &str,
        call: &PeerCall,
    ) -> Result<PeerReply, PeerError> {
        self.call_for(address, token, call, self.patience).await
    }

    /// Asks the member at `address`, with a patience of its own.
    pub(super) async fn call_for(
        &self,
        address: Ipv4Addr,
        token: &str,
        call: &PeerCall,
        patience: Duration,
    ) -> Result<PeerReply, PeerError> {
        let unreachable = |reason: String| PeerError::Unreachable { address, reason };
        let url = format!("https://{address}:{ADMIN_PORT}{INTERNAL_BASE}{}", call.name());
        let request =
            self.client.post(url).header(TOKEN_HEADER, token).json(call).timeout(patience);
        let response = request.send().await.map_err(|error| unreachable(chain(&error)))?;
        let reply = response.json().await.map_err(|error| unreachable(chain(&error)))?;
        match reply {
            PeerReply::Refused { refusal } => Err(PeerError::Refused(refusal)),
            reply => Ok(reply),
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::store::Payload;

    #[test]
    fn entries_survive_the_way_to_another_member() {
        let payload = Payload { content_type: "text/plain".to_owned(), bytes: vec![0, 255] };
        let entry = Entry {
            stamp: (7, Uuid::from_u128(u128::MAX)),
            value: Some(payload),
            expires: Some(i64::MAX),
        };
        let key = EntryKey { map: "m".to_owned(), key: "k".to_owned() };
        let slice = Slice { partition: 1, entries: vec![(key, entry)] };
        let call = PeerCall::Receive { grid: "g".to_owned(), slices: vec![slice.clone()] };
        let text = serde_json::to_vec(&call).unwrap();
        match serde_json::from_slice(&text).unwrap() {
            PeerCall::Receive { slices, .. } => assert_eq!(slices[0].entries, slice.entries),
            other => panic!("{other:?}"),
        }
    }
}
