//! From bytes to meaning, leniently and never by guessing.
//!
//! A shape that is not understood makes the whole answer `Unknown`: a list of
//! members from which one entry was dropped would prove an absence that is none.

mod grid;
mod group;
mod task;

use std::fmt;

use serde_json::{Map, Value};

use super::profile::{ApiProfile, Names};
use super::text::{Redactor, bounded};
use super::transport::Response;
use super::view::Answer;

pub use self::grid::{TemplateView, grid, grid_template, grids};
pub use self::group::group;
pub use self::task::{task_status, tasks};

/// Most members, tasks or grids that one answer may list.
pub const MAX_ITEMS: usize = 10_000;

/// Longest name of a member, a grid or a group, in characters.
const MAX_NAME: usize = 253;

/// An answer as far as it can be read without knowing what was asked. The
/// Content-Type plays no part: members are known to send a wrong one.
#[derive(Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Json(Value),
    Empty,
    /// Not JSON; only its length is kept, since it can echo anything.
    Other(usize),
}

impl fmt::Debug for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match &self.content {
            Content::Json(_) => "JSON".to_owned(),
            Content::Empty => "empty".to_owned(),
            Content::Other(bytes) => format!("{bytes} bytes that are not JSON"),
        };
        write!(formatter, "Reply({}, {content})", self.status)
    }
}

impl Reply {
    /// Reads an answer and takes secrets out of every text in it.
    pub fn read(response: &Response, redactor: &Redactor) -> Reply {
        let body = response.body.trim_ascii();
        let content = if body.is_empty() {
            Content::Empty
        } else {
            // The parser bounds the depth by itself, at 128.
            match serde_json::from_slice::<Value>(body) {
                Ok(mut value) => {
                    redactor.clean(&mut value);
                    Content::Json(value)
                }
                Err(_) => Content::Other(body.len()),
            }
        };
        Reply { status: response.status, content }
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn json(&self) -> Option<&Value> {
        match &self.content {
            Content::Json(value) => Some(value),
            Content::Empty | Content::Other(_) => None,
        }
    }

    /// The text of the member `error`, if there is one that says something.
    fn error(&self) -> Option<String> {
        error_in(self.json()?.as_object()?)
    }

    /// What to say about an answer that is not understood.
    fn strange(&self) -> String {
        match &self.content {
            Content::Json(_) => format!("status {} with JSON of another shape", self.status),
            Content::Empty => format!("status {} with an empty body", self.status),
            Content::Other(bytes) => {
                format!("status {} with {bytes} bytes that are not JSON", self.status)
            }
        }
    }

    /// The JSON of a successful answer, or the answer that anything else amounts to.
    ///
    /// An error counts as the member's own only when it is said in the API's form:
    /// a server whose application is not up yet answers 404 with a page of HTML,
    /// which must not prove that a grid is gone. 401 and 403 come from the server
    /// itself and are clear without a body.
    fn value<T>(&self) -> Result<&Value, Answer<T>> {
        if let Some(error) = self.error() {
            return Err(Answer::Refused { status: self.status, error });
        }
        if matches!(self.status, 401 | 403) {
            return Err(Answer::Refused { status: self.status, error: self.strange() });
        }
        match self.json() {
            Some(value) if self.is_success() => Ok(value),
            _ => Err(Answer::Unknown { reason: self.strange() }),
        }
    }
}

/// Any JSON document, as it is but for its secrets.
pub fn document(reply: &Reply) -> Answer<Value> {
    match reply.value() {
        Ok(value) => Answer::Known(value.clone()),
        Err(other) => other,
    }
}

/// What came of a request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// The member took it.
    Accepted {
        /// The task that does it, where the member named one.
        task: Option<u64>,
    },
    /// The member refused it and did nothing.
    Refused {
        /// HTTP status.
        status: u16,
        /// The member's text.
        error: String,
    },
    /// The member may have done it.
    Unknown {
        /// What it answered.
        reason: String,
    },
}

/// Reads the answer to a request that changes something. With `needs_task` the
/// answer must name the task that was started, else it is not understood.
pub fn acceptance(profile: &ApiProfile, reply: &Reply, needs_task: bool) -> Acceptance {
    let unknown = || Acceptance::Unknown { reason: reply.strange() };
    if !reply.is_success() {
        return refusal(reply);
    }
    let Some(value) = reply.json() else {
        return match reply.content {
            Content::Empty if !needs_task => Acceptance::Accepted { task: None },
            _ => unknown(),
        };
    };
    let Some(object) = value.as_object() else {
        return if value.is_null() && !needs_task {
            Acceptance::Accepted { task: None }
        } else {
            unknown()
        };
    };
    let task = task_id(profile, object, needs_task);
    match (error_in(object), task) {
        (Some(error), None) => Acceptance::Refused { status: reply.status, error },
        (Some(error), Some(task)) => {
            let reason = bounded(&format!("the answer names task {task} and an error: {error}"));
            Acceptance::Unknown { reason }
        }
        (None, Some(task)) => Acceptance::Accepted { task: Some(task) },
        (None, None) if needs_task || says_failed(profile, object) => unknown(),
        (None, None) => Acceptance::Accepted { task: None },
    }
}

/// An answer that is not a success. Only where it is clear that the member did
/// nothing is it a refusal: a fault of the server may come after the deed.
fn refusal(reply: &Reply) -> Acceptance {
    let status = reply.status;
    match (status, reply.error()) {
        (408, _) => Acceptance::Unknown { reason: reply.strange() },
        (400..=499 | 503, Some(error)) => Acceptance::Refused { status, error },
        (401 | 403, None) => Acceptance::Refused { status, error: reply.strange() },
        (_, Some(error)) => {
            Acceptance::Unknown { reason: bounded(&format!("status {status}: {error}")) }
        }
        (_, None) => Acceptance::Unknown { reason: reply.strange() },
    }
}

fn says_failed(profile: &ApiProfile, object: &Map<String, Value>) -> bool {
    let words = &profile.words;
    find(object, &profile.fields.task.status)
        .and_then(Value::as_str)
        .is_some_and(|word| words.task.failed.has(word) || words.grid.error.has(word))
}

/// The task's number: the only numeric member, whatever its name; among several
/// the one with the profile's name. Where an answer may also be something else
/// (`anywhere` false), the number must be the object's only member or be named.
fn task_id(profile: &ApiProfile, object: &Map<String, Value>, anywhere: bool) -> Option<u64> {
    if let Some(named) = find(object, &profile.fields.task.id) {
        return whole_number(named);
    }
    if !anywhere && object.len() != 1 {
        return None;
    }
    let mut numeric = object.values().filter(|value| is_numeric(value));
    let only = numeric.next()?;
    if numeric.next().is_some() { None } else { whole_number(only) }
}

fn is_numeric(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::String(text) => text.trim().parse::<f64>().is_ok_and(f64::is_finite),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The text of an object's member `error`, unless it is null, false or empty.
fn error_in(object: &Map<String, Value>) -> Option<String> {
    match object.get("error")? {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => Some(bounded(text)),
        other => Some(bounded(&other.to_string())),
    }
}

/// The first of `names` that is there and not null.
fn find<'a>(object: &'a Map<String, Value>, names: &Names) -> Option<&'a Value> {
    names.iter().filter_map(|name| object.get(name)).find(|value| !value.is_null())
}

/// A whole number, as a JSON number or as text.
fn whole_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A truth value, as a JSON boolean or as text.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Text of a scalar for people: bounded; none when it is empty or no scalar.
fn shown(value: &Value) -> Option<String> {
    let text = scalar(value).map(|text| bounded(&text))?;
    (!text.is_empty()).then_some(text)
}

/// A scalar as its exact text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A name, exactly as it stands. A name that could not be shown as it is, is none.
fn name_of(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    let fits = !name.is_empty() && name.chars().count() <= MAX_NAME && bounded(name) == name;
    fits.then(|| name.to_owned())
}

/// The items of a list: an array, or an object whose only member is an array.
fn list(value: &Value) -> Result<&[Value], String> {
    let items = match value {
        Value::Array(items) => items,
        Value::Object(members) => match members.values().collect::<Vec<_>>().as_slice() {
            [Value::Array(items)] => items,
            _ => return Err("the answer is not a list".to_owned()),
        },
        _ => return Err("the answer is not a list".to_owned()),
    };
    bounded_list(items)
}

fn bounded_list(items: &[Value]) -> Result<&[Value], String> {
    if items.len() > MAX_ITEMS {
        return Err(format!(
            "the answer lists {} items; at most {MAX_ITEMS} are read",
            items.len()
        ));
    }
    Ok(items)
}

/// The answer from a reading that can fail.
fn answer<T>(read: Result<T, String>) -> Answer<T> {
    match read {
        Ok(value) => Answer::Known(value),
        Err(reason) => Answer::Unknown { reason },
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
