//! Every fault there is: its name, its fields, and what they mean.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::Occasion;

/// Why a fault was not set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a JSON object with a `fault`.
    #[error("a fault is a JSON object with the field \"fault\"")]
    Shape,
    /// There is no such fault.
    #[error("there is no fault \"{0}\"")]
    Unknown(String),
    /// The fault has no such field.
    #[error("the fault \"{fault}\" has no field \"{field}\"")]
    Field {
        /// The fault.
        fault: String,
        /// The field that it does not have.
        field: String,
    },
    /// A field's value is not what it must be, or a field that must be there is not.
    #[error("the fault \"{fault}\" cannot be set: {source}")]
    Value {
        /// The fault.
        fault: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// When a crash happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// At once.
    #[default]
    Now,
    /// Before a request is looked at.
    Before,
    /// When a request's effect is there and before it is answered.
    After,
    /// When an effect is recorded, of whatever request or task.
    Effect,
}

/// What an answer that nobody can read looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// An HTML page.
    #[default]
    Html,
    /// The right answer, cut in the middle.
    CutJson,
    /// JSON of another shape.
    WrongJson,
}

/// What a member forgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// Its list of tasks and their numbers; what runs goes on unseen.
    #[default]
    Tasks,
    /// Its copies of cached entries.
    Data,
    /// Its group: it takes itself for a group of one, as after the loss of its volume.
    Group,
}

/// What goes wrong. The fields are those of the HTTP interface; [`catalogue`] describes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the catalogue says what each field means, once")]
pub enum FaultKind {
    /// The container ends as by SIGKILL, with exit code 137.
    Crash {
        #[serde(default)]
        when: Moment,
    },
    /// Connections are accepted and never answered.
    Hang,
    /// Every port is closed.
    Refuse,
    /// The connection is dropped before the request is processed.
    Reset,
    /// The request is processed and the connection dropped instead of an answer.
    DropReply,
    /// The request is processed later.
    Late { ms: u64 },
    /// The request is processed at once and answered later.
    Slow { ms: u64 },
    /// The request is not processed and answered with this code.
    Status {
        code: u16,
        #[serde(default)]
        body: Option<Value>,
        #[serde(default)]
        location: Option<String>,
    },
    /// The request is processed and answered with 200 and nonsense.
    Garbage {
        #[serde(default)]
        kind: Garbage,
    },
    /// The request is processed and answered with a body that does not end.
    Huge,
    /// The request is processed twice, as by a proxy that sends it again.
    Duplicate,
    /// The task ends `Failed` at this percentage.
    FailTask {
        #[serde(default = "early")]
        percent: u8,
    },
    /// The task vanishes from the list and has no effect.
    LoseTask,
    /// The task stays `Running` at this percentage until it is cancelled.
    StuckTask {
        #[serde(default = "derby_hang")]
        percent: u8,
    },
    /// The task ends `Success` without having done anything.
    FalseSuccess,
    /// The join fails after the member was listed.
    GhostAfterFailedJoin,
    /// The member that was disjoined is listed again.
    Reappear,
    /// The task list tells no descriptions.
    HideDescriptions,
    /// Every request is answered with 401.
    DenyAuth,
    /// The member's own view of the group leaves out another member.
    SplitView { omit: String },
    /// The member's own view of the group shows that another member holds so many MB.
    ShowUsed { member: String, megabytes: u64 },
    /// The member forgets something, at once.
    Forget {
        #[serde(default)]
        what: Forgotten,
    },
    /// Somebody gave the group another password in the console.
    RotatePassword { password: String },
    /// The group shows a grid in error until it is deleted.
    BreakGrid { grid: String },
    /// The member shows another certificate.
    ChangeCertificate {
        /// Its certificates, its own first, and its key; one of its own making if left out.
        #[serde(default, deserialize_with = "served")]
        pem: Option<String>,
    },
    /// Other answers to the open questions of the contract.
    Behave {
        #[serde(flatten)]
        switches: Map<String, Value>,
    },
}

/// A text in which there are a certificate and a key.
fn served<'de, D: Deserializer<'de>>(text: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(text)?;
    if let Some(pem) = &text {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| D::Error::custom(format!("no certificate in pem: {error}")))?;
        PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| D::Error::custom(format!("no private key in pem: {error}")))?;
    }
    Ok(text)
}

fn early() -> u8 {
    20
}

/// Where IBM's own notes say that the replication task hangs.
fn derby_hang() -> u8 {
    45
}

/// A fault of the catalogue.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Description {
    /// The fault's name.
    pub fault: &'static str,
    /// Its own fields. `count`, `method`, `path` and `command` are fields of every fault but
    /// `refuse`, `behave`, `forget`, `rotate_password` and `change_certificate`.
    pub fields: &'static [&'static str],
    /// What it does.
    pub meaning: &'static str,
}

const COMMON_FIELDS: [&str; 5] = ["fault", "count", "method", "path", "command"];

/// Every fault there is.
pub fn catalogue() -> &'static [Description] {
    &CATALOGUE
}

const fn fault(
    fault: &'static str,
    fields: &'static [&'static str],
    meaning: &'static str,
) -> Description {
    Description { fault, fields, meaning }
}

static CATALOGUE: [Description; 26] = [
    fault(
        "crash",
        &["when", "effect"],
        "the container ends with exit code 137: at once (when: \
        now, the default without a filter), when a request passes the filter (before, or after its \
        effect), or when the effect is recorded (effect)",
    ),
    fault("hang", &[], "connections are accepted and requests never answered"),
    fault("refuse", &[], "every port of the member is closed and its connections are cut"),
    fault("reset", &[], "the connection is dropped before the request is processed"),
    fault("drop_reply", &[], "the request is processed, the connection dropped without an answer"),
    fault("late", &["ms"], "the request is processed ms milliseconds later"),
    fault("slow", &["ms"], "the request is processed at once and answered ms milliseconds later"),
    fault(
        "status",
        &["code", "body", "location"],
        "the request is not processed; it is answered \
        with code and body (and a Location header)",
    ),
    fault(
        "garbage",
        &["kind"],
        "the request is processed and answered with 200 and an HTML page \
        (kind: html), half of the answer (cut_json), or other JSON (wrong_json)",
    ),
    fault("huge", &[], "the request is processed and answered with a body that does not end"),
    fault("duplicate", &[], "the request is processed twice; the second answer is sent"),
    fault("fail_task", &["percent"], "the task ends Failed at percent (default 20)"),
    fault("lose_task", &[], "the task is accepted, is not in the list, and has no effect"),
    fault(
        "stuck_task",
        &["percent"],
        "the task stays Running at percent (default 45) until it is \
        cancelled",
    ),
    fault("false_success", &[], "the task ends Success without having done anything"),
    fault("ghost_after_failed_join", &[], "the join fails after the member was listed"),
    fault("reappear", &[], "after the disjoin has succeeded the member is listed again"),
    fault("hide_descriptions", &[], "the task list tells no descriptions"),
    fault("deny_auth", &[], "requests are answered with 401, whatever the password"),
    fault("split_view", &["omit"], "the member's own view of the group leaves out the member omit"),
    fault(
        "show_used",
        &["member", "megabytes"],
        "the member's own view of the group shows that the member holds so many megabytes",
    ),
    fault("forget", &["what"], "the member forgets at once its tasks (default), data, or group"),
    fault("break_grid", &["grid"], "the grid is shown in error; once for each deletion of it"),
    fault("rotate_password", &["password"], "the group has another password, as from the console"),
    fault(
        "change_certificate",
        &["pem"],
        "new connections meet another certificate, of the member's own making or (pem) one that \
        is given with its key, until the fault is cleared",
    ),
    fault(
        "behave",
        &[
            "task_descriptions",
            "tasks_survive_restart",
            "refuse_duplicate_member",
            "parallel_tasks",
            "error_content_type",
            "failed_join_view",
            "profile",
        ],
        "other answers to the open questions of the contract",
    ),
];

/// Which requests, tasks or effects a fault is for. What is left out lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The method, in any case.
    pub method: Option<String>,
    /// A part of the path.
    pub path: Option<String>,
    /// A part of the task's command.
    pub command: Option<String>,
    /// The effect's whole word.
    pub effect: Option<String>,
}

impl Filter {
    /// When a crash with this filter happens, if it does not say so itself.
    fn moment(&self) -> Moment {
        if *self == Self::default() {
            Moment::Now
        } else if self.effect.is_some() {
            Moment::Effect
        } else {
            Moment::After
        }
    }

    /// Whether `occasion` has what each given field asks for.
    ///
    /// The members' own traffic is let through only by a path that names it.
    pub fn admits(&self, occasion: Occasion<'_>) -> bool {
        let method = self.method.as_ref();
        method.is_none_or(|method| method.eq_ignore_ascii_case(occasion.method))
            && self.path.as_ref().is_none_or(|path| occasion.path.contains(path.as_str()))
            && self.command.as_ref().is_none_or(|part| occasion.command.contains(part.as_str()))
            && self.effect.as_ref().is_none_or(|effect| occasion.effect == effect)
    }
}

/// One fault as it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For what.
    pub filter: Filter,
    /// How many times more; `None` is until it is cleared.
    pub remaining: Option<u32>,
}

impl Fault {
    /// Reads a fault from the object of the HTTP interface.
    ///
    /// # Errors
    /// When the fault or a field is not known, or a value is not of its type.
    pub fn parse(value: Value) -> Result<Self, Error> {
        let Value::Object(mut fields) = value else { return Err(Error::Shape) };
        let name = fields.get("fault").and_then(Value::as_str).ok_or(Error::Shape)?.to_owned();
        let Some(description) = CATALOGUE.iter().find(|known| known.fault == name) else {
            return Err(Error::Unknown(name));
        };
        for field in fields.keys() {
            let own = description.fields.contains(&field.as_str());
            if !own && !COMMON_FIELDS.contains(&field.as_str()) {
                return Err(Error::Field { fault: name, field: field.clone() });
            }
        }
        let wrong = |source| Error::Value { fault: name.clone(), source };
        let remaining = take(&mut fields, "count").map_err(wrong)?;
        let filter = Filter {
            method: take(&mut fields, "method").map_err(wrong)?,
            path: take(&mut fields, "path").map_err(wrong)?,
            command: take(&mut fields, "command").map_err(wrong)?,
            effect: take(&mut fields, "effect").map_err(wrong)?,
        };
        if remaining == Some(0) {
            let problem = <serde_json::Error as serde::de::Error>::custom("count is at least 1");
            return Err(wrong(problem));
        }
        if name == "crash" && !fields.contains_key("when") {
            fields.insert("when".to_owned(), json!(filter.moment()));
        }
        let kind = serde_json::from_value(Value::Object(fields)).map_err(wrong)?;
        Ok(Self { kind, filter, remaining })
    }

    /// The object that sets this fault again, with what is left of its count.
    pub fn to_json(&self) -> Value {
        let mut value = json!(self.kind);
        let mut put = |name: &str, field: Option<Value>| {
            if let Some(field) = field {
                value[name] = field;
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        put("count", self.remaining.map(Value::from));
        put("method", text(&self.filter.method));
        put("path", text(&self.filter.path));
        put("command", text(&self.filter.command));
        put("effect", text(&self.filter.effect));
        value
    }
}

fn take<T: serde::de::DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, serde_json::Error> {
    fields.remove(name).map(serde_json::from_value).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_catalogue_can_be_set_and_is_listed_as_it_was_set() {
        for description in catalogue() {
            let mut fault = json!({"fault": description.fault, "count": 3, "path": "/task"});
            for (name, value) in [
                ("ms", json!(5)),
                ("code", json!(500)),
                ("omit", json!("c-1")),
                ("member", json!("c-1")),
                ("megabytes", json!(5)),
                ("password", json!("Other1234!")),
                ("grid", json!("g")),
            ] {
                if description.fields.contains(&name) {
                    fault[name] = value;
                }
            }
            let parsed = Fault::parse(fault).unwrap();
            assert_eq!(Fault::parse(parsed.to_json()).unwrap(), parsed, "{}", description.fault);
        }
    }

    #[test]
    fn unknown_fault_and_unknown_field_are_named() {
        let unknown = Fault::parse(json!({"fault": "explode"})).unwrap_err();
        assert_eq!(unknown.to_string(), "there is no fault \"explode\"");
        let field = Fault::parse(json!({"fault": "slow", "ms": 1, "seconds": 1})).unwrap_err();
        assert_eq!(field.to_string(), "the fault \"slow\" has no field \"seconds\"");
        assert!(Fault::parse(json!({"fault": "slow"})).is_err(), "ms is missing");
        assert!(Fault::parse(json!({"fault": "reset", "count": 0})).is_err());
        assert!(Fault::parse(json!("reset")).is_err());
    }

    #[test]
    fn every_fault_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sandbox-faults.md");
        let page = std::fs::read_to_string(page).unwrap();
        for description in catalogue() {
            let name = format!("`{}`", description.fault);
            assert!(page.contains(&name), "{name} is not in docs/sandbox-faults.md");
            for field in description.fields {
                assert!(page.contains(field), "{field} of {name} is not in the page");
            }
        }
    }
}
