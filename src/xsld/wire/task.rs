//! Tasks, in a list and alone.

use serde_json::{Map, Value};

use super::{Reply, answer, error_in, find, list, shown, whole_number};
use crate::xsld::profile::ApiProfile;
use crate::xsld::text::bounded;
use crate::xsld::view::{Answer, TaskStatus, TaskView};

/// Reads a member's list of tasks, sorted by number.
///
/// Unknown, beside what no one could read: an entry without a number, and a number
/// that occurs twice. An entry without a readable description is kept: it could be
/// anyone's task.
pub fn tasks(profile: &ApiProfile, reply: &Reply) -> Answer<Vec<TaskView>> {
    match reply.value() {
        Ok(value) => answer(views(profile, value)),
        Err(other) => other,
    }
}

fn views(profile: &ApiProfile, value: &Value) -> Result<Vec<TaskView>, String> {
    let mut tasks = Vec::new();
    for item in list(value)? {
        let entry = item.as_object().ok_or("the list holds a task that is no object")?;
        let id = find(entry, &profile.fields.task.id)
            .and_then(whole_number)
            .ok_or("the list holds a task without a readable number")?;
        let status = status(profile, item).unwrap_or(TaskStatus::Unknown(String::new()));
        tasks.push(view(profile, entry, id, status));
    }
    tasks.sort_by_key(|task| task.id);
    if let Some(twice) = tasks.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!("the list holds the task {} twice", twice[0].id));
    }
    Ok(tasks)
}

/// Reads the status of the task `id`.
///
/// The word for running wins wherever it stands, since sub-steps have a status too;
/// otherwise only the overall field decides. While a member joins, its database is
/// replaced and the status cannot be told: that error is `Unknown`, not a failure.
pub fn task_status(profile: &ApiProfile, id: u64, reply: &Reply) -> Answer<TaskView> {
    let said = reply.error();
    if let Some(error) = &said
        && error.contains(&profile.task_status_unavailable)
    {
        return Answer::Unknown { reason: error.clone() };
    }
    let document = match reply.json() {
        Some(document) if reply.is_success() => document,
        _ => return reply.value().map_or_else(|other| other, |_| strange(reply)),
    };
    let empty = Map::new();
    let entry = document.as_object().unwrap_or(&empty);
    if let Some(other) = find(entry, &profile.fields.task.id).filter(|it| !is_number(it, id)) {
        let other = shown(other).unwrap_or_default();
        return Answer::Unknown {
            reason: bounded(&format!("the status is that of task {other}, not of {id}")),
        };
    }
    match (status(profile, document), said) {
        (Some(TaskStatus::Success), Some(error)) => Answer::Unknown {
            reason: bounded(&format!("the status names success and an error: {error}")),
        },
        (Some(status @ (TaskStatus::Running | TaskStatus::Success | TaskStatus::Failed)), _) => {
            Answer::Known(view(profile, entry, id, status))
        }
        (_, Some(error)) => Answer::Refused { status: reply.status, error },
        (Some(status @ TaskStatus::Unknown(_)), None) => {
            Answer::Known(view(profile, entry, id, status))
        }
        (None, None) => strange(reply),
    }
}

fn strange<T>(reply: &Reply) -> Answer<T> {
    Answer::Unknown { reason: reply.strange() }
}

fn is_number(value: &Value, id: u64) -> bool {
    whole_number(value) == Some(id)
}

/// The status that a document tells, or none when it tells none.
fn status(profile: &ApiProfile, document: &Value) -> Option<TaskStatus> {
    if mentions_running(profile, document) {
        return Some(TaskStatus::Running);
    }
    let word = match document {
        Value::Object(entry) => find(entry, &profile.fields.task.status).and_then(shown)?,
        Value::String(_) => shown(document)?,
        _ => return None,
    };
    let words = &profile.words.task;
    if words.success.has(&word) {
        Some(TaskStatus::Success)
    } else if words.failed.has(&word) {
        Some(TaskStatus::Failed)
    } else {
        Some(TaskStatus::Unknown(word))
    }
}

/// True when any text in the document is the word for running. Texts that people
/// choose (command, description, a member's name) do not count.
fn mentions_running(profile: &ApiProfile, value: &Value) -> bool {
    let fields = &profile.fields.task;
    let chosen = |name: &str| {
        fields.command.has(name) || fields.description.has(name) || fields.member.has(name)
    };
    match value {
        Value::String(text) => profile.words.task.running.has(text.trim()),
        Value::Array(items) => items.iter().any(|item| mentions_running(profile, item)),
        Value::Object(members) => {
            members.iter().any(|(name, member)| !chosen(name) && mentions_running(profile, member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn view(profile: &ApiProfile, entry: &Map<String, Value>, id: u64, status: TaskStatus) -> TaskView {
    let fields = &profile.fields.task;
    TaskView {
        id,
        command: find(entry, &fields.command).and_then(shown),
        description: find(entry, &fields.description).filter(|it| it.is_string()).and_then(shown),
        status,
        progress: find(entry, &fields.progress).and_then(percent),
        member: find(entry, &fields.member).and_then(shown),
        started: find(entry, &fields.started).and_then(shown),
        message: find(entry, &fields.message).and_then(shown).or_else(|| error_in(entry)),
    }
}

/// A progress in percent: `45`, `45.0`, `"45"` or `"45%"`; none outside 0 to 100.
fn percent(value: &Value) -> Option<u8> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().trim_end_matches('%').trim_end().parse().ok()?,
        _ => return None,
    };
    // The cast is exact enough: the range is checked and parts of a percent are dropped.
    (0.0..=100.0).contains(&number).then_some(number as u8)
}
