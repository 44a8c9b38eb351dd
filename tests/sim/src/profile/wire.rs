//! Other names on the wire for what the contract leaves open.
//!
//! A member speaks the names of release 8.6.1 to itself. What it is asked with other names is
//! translated on the way in, and what it answers on the way out; a name of 8.6.1 that has another
//! one here means nothing any more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// From a name of release 8.6.1 to another one. What is left out keeps its name.
pub type Renamed = BTreeMap<String, String>;

/// Names of fields and parameters, and words, that differ from those of release 8.6.1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Wire {
    /// Parameters of tasks, by the name of the command in [`super::Commands`] (`join`, ...).
    pub parameters: BTreeMap<String, Renamed>,
    /// Fields of the group.
    pub group: Renamed,
    /// Fields of a member.
    pub member: Renamed,
    /// Fields of a task.
    pub task: Renamed,
    /// Fields of a grid.
    pub grid: Renamed,
    /// Fields of a template.
    pub template: Renamed,
    /// Words for a member's status.
    pub member_words: Renamed,
    /// Words for a task's status.
    pub task_words: Renamed,
    /// Words for a grid's status.
    pub grid_words: Renamed,
    /// Words for a member's part in replication.
    pub replication_words: Renamed,
    /// What is said when a task's status cannot be told.
    pub task_status_unavailable: Option<String>,
}

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The group with its members.
    Group,
    /// A task, or a list of them.
    Task,
    /// A grid, or a list of them.
    Grid,
    /// A template.
    Template,
}

/// The text that an unreadable task is answered with in release 8.6.1.
const UNAVAILABLE: &str = "Failed to get the task status";

impl Wire {
    /// An answer in the names of 8.6.1, as it is sent.
    pub fn outward(&self, shape: Shape, value: Value) -> Value {
        self.translate(shape, value, &|names| names.clone())
    }

    /// An answer as it was sent, in the names of 8.6.1.
    pub fn inward(&self, shape: Shape, value: Value) -> Value {
        self.translate(shape, value, &reversed)
    }

    /// A request's body as it was sent, in the names of 8.6.1. `command` is the key of the command in
    /// the profile, where it is one.
    pub fn request(&self, command: Option<&str>, mut body: Value) -> Value {
        if let Some(names) = command.and_then(|command| self.parameters.get(command))
            && let Some(parameters) = body.get_mut("parameters")
        {
            *parameters = renamed(parameters.take(), &reversed(names));
        }
        renamed(body, &reversed(&self.template))
    }

    /// An error's text as it is sent.
    pub fn error(&self, text: &str) -> String {
        match &self.task_status_unavailable {
            Some(other) => text.replace(UNAVAILABLE, other),
            None => text.to_owned(),
        }
    }

    fn translate(&self, shape: Shape, value: Value, way: &dyn Fn(&Renamed) -> Renamed) -> Value {
        if let Value::Array(items) = value {
            return items.into_iter().map(|item| self.translate(shape, item, way)).collect();
        }
        // The field may have either name, by the way that is gone.
        let word = |value: &mut Value, fields: &Renamed, field: &str, words: &Renamed| {
            let other = fields.get(field).map_or(field, String::as_str).to_owned();
            for name in [field, other.as_str()] {
                if let Some(Value::String(said)) = value.get_mut(name)
                    && let Some(instead) = way(words).get(said)
                {
                    said.clone_from(instead);
                }
            }
        };
        let mut value = value;
        match shape {
            Shape::Group => {
                let key = self.group.get("members").map_or("members", String::as_str).to_owned();
                for name in ["members", key.as_str()] {
                    let Some(Value::Array(members)) = value.get_mut(name) else { continue };
                    for member in members {
                        word(member, &self.member, "status", &self.member_words);
                        word(member, &self.member, "replicationRole", &self.replication_words);
                        *member = renamed(member.take(), &way(&self.member));
                    }
                    break;
                }
                renamed(value, &way(&self.group))
            }
            Shape::Task => {
                word(&mut value, &self.task, "status", &self.task_words);
                renamed(value, &way(&self.task))
            }
            Shape::Grid => {
                word(&mut value, &self.grid, "status", &self.grid_words);
                renamed(value, &way(&self.grid))
            }
            Shape::Template => renamed(value, &way(&self.template)),
        }
    }
}

fn reversed(names: &Renamed) -> Renamed {
    names.iter().map(|(one, other)| (other.clone(), one.clone())).collect()
}

/// The members of an object under their other names. A name that another one took is kept out of
/// the way: nobody knows it.
fn renamed(value: Value, names: &Renamed) -> Value {
    let Value::Object(fields) = value else { return value };
    let taken: Vec<&String> = names.values().collect();
    let rename = |(name, value): (String, Value)| match names.get(&name) {
        Some(other) => (other.clone(), value),
        None if taken.contains(&&name) => (format!("unknown {name}"), value),
        None => (name, value),
    };
    Value::Object(fields.into_iter().map(rename).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wire() -> Wire {
        serde_json::from_value(json!({
            "parameters": {"disjoin": {"memberName": "leaver"}},
            "group": {"members": "nodes"},
            "member": {"memberName": "node", "status": "state"},
            "memberWords": {"Online": "Up"},
            "template": {"objectGridXml": "grid"},
            "taskStatusUnavailable": "no idea",
        }))
        .unwrap()
    }

    #[test]
    fn an_answer_goes_out_under_other_names_and_comes_back() {
        let plain = json!({"members": [{"memberName": "a", "status": "Online"}], "stale": true});
        let sent = wire().outward(Shape::Group, plain.clone());
        assert_eq!(sent, json!({"nodes": [{"node": "a", "state": "Up"}], "stale": true}));
        assert_eq!(wire().inward(Shape::Group, sent), plain);
        assert_eq!(Wire::default().outward(Shape::Group, plain.clone()), plain);
    }

    #[test]
    fn a_request_under_the_former_name_is_not_understood() {
        let body = |name: &str| json!({"command": "Leave", "parameters": {name: "a"}});
        assert_eq!(wire().request(Some("disjoin"), body("leaver")), body("memberName"));
        let former = wire().request(Some("disjoin"), body("memberName"));
        assert!(former["parameters"].get("memberName").is_none(), "{former}");
        let upload = wire().request(None, json!({"grid": "<a/>"}));
        assert_eq!(upload, json!({"objectGridXml": "<a/>"}));
    }

    #[test]
    fn the_text_of_an_error_is_another_one() {
        assert_eq!(wire().error("Failed to get the task status"), "no idea");
        assert_eq!(wire().error("no"), "no");
    }
}
