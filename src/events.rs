//! Kubernetes Events (`events.k8s.io/v1`) about the custom resources: what a person sees in
//! `kubectl describe` and `kubectl events`.
//!
//! An Event is a hint that ends after an hour or so; the journal is the record. So a failure to
//! write one is logged and never returned, and its name follows from what it says: after a crash
//! the same record gives the same Event once, not twice.

mod notes;
pub(crate) mod words;

pub use notes::notes;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tracing::{debug, warn};
use xsld_journal::event::OperationId;

use crate::manifests::{ANNOTATION_OPERATION, ANNOTATION_SEQUENCE, FIELD_MANAGER};

/// Most bytes that the API server takes as an Event's note.
const NOTE_BYTES_MAX: usize = 1024;

/// Most bytes that the API server takes as an Event's reporting instance.
const REPORTER_BYTES_MAX: usize = 128;

/// Most bytes of an object's name.
const NAME_BYTES_MAX: usize = 253;

/// What one Event is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Why it is said: one CamelCase word, such as `OperationStarted`.
    pub reason: &'static str,
    /// Whether it is a Warning; else it is Normal.
    pub warning: bool,
    /// One sentence for people, without secrets. Cut to what an Event may hold.
    pub message: String,
    /// The operation that it belongs to.
    pub operation: Option<OperationId>,
    /// Sequence of the record that it tells of.
    pub seq: Option<u64>,
    /// What was done: one CamelCase word, such as `JoinMember`.
    pub action: &'static str,
}

/// Writes an Event for each of `notes` about the object `regarding`, in order.
///
/// `reporter` names this instance of the operator, `wall` is the time that the Events show and
/// `timeout` bounds each write. An Event that exists already is the same one. A failure is logged;
/// after a write that was not answered in time the rest is left out, so that Events hold up a pass
/// for one timeout at most.
pub async fn publish(
    client: &Client,
    regarding: &ObjectReference,
    notes: &[Note],
    reporter: &str,
    wall: Timestamp,
    timeout: Duration,
) {
    let namespace = regarding.namespace.as_deref().unwrap_or("default");
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    for (told, note) in notes.iter().enumerate() {
        let event = event(regarding, note, reporter, wall);
        let name = event.metadata.name.as_deref().unwrap_or_default();
        match tokio::time::timeout(timeout, api.create(&params, &event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(Error::Api(status))) if status.is_already_exists() => {
                debug!(name, "the Event exists already");
            }
            Ok(Err(error)) => warn!(name, %error, "failed to write an Event"),
            Err(_) => {
                let left_out = notes.len() - told;
                warn!(name, left_out, "the API server did not take an Event in time");
                return;
            }
        }
    }
}

/// The Event that says `note`.
fn event(regarding: &ObjectReference, note: &Note, reporter: &str, wall: Timestamp) -> Event {
    let annotations: BTreeMap<String, String> = [
        (ANNOTATION_OPERATION, note.operation.map(|id| id.to_string())),
        (ANNOTATION_SEQUENCE, note.seq.map(|seq| seq.to_string())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect();
    Event {
        metadata: ObjectMeta {
            name: Some(name(regarding, note)),
            namespace: regarding.namespace.clone().or_else(|| Some("default".to_owned())),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        regarding: Some(regarding.clone()),
        reason: Some(note.reason.to_owned()),
        action: Some(note.action.to_owned()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        note: Some(cut(&note.message, NOTE_BYTES_MAX)),
        event_time: Some(MicroTime(wall)),
        reporting_controller: Some(format!("xsld.ibm.com/{FIELD_MANAGER}")),
        reporting_instance: Some(match cut(reporter, REPORTER_BYTES_MAX) {
            empty if empty.is_empty() => FIELD_MANAGER.to_owned(),
            named => named,
        }),
        ..Event::default()
    }
}

/// The Event's name: `<object>.<operation>.<sequence>`, or a digest of all that makes the note
/// what it is where it tells of no record of an operation.
fn name(regarding: &ObjectReference, note: &Note) -> String {
    let object = regarding.name.as_deref().unwrap_or("cache");
    let tail = match (note.operation, note.seq) {
        (Some(operation), Some(seq)) => {
            // The last digits: the first ones of an id that tells its time are nearly the same
            // for all operations of a day.
            let id = operation.0.simple().to_string();
            format!("{}.{seq}", id.get(20..).unwrap_or(&id))
        }
        (operation, seq) => digest(regarding, note, operation, seq),
    };
    let room = NAME_BYTES_MAX.saturating_sub(tail.len() + 1);
    let object = object.get(..object.floor_char_boundary(room)).unwrap_or(object);
    format!("{}.{tail}", object.trim_end_matches(['.', '-']))
}

fn digest(
    regarding: &ObjectReference,
    note: &Note,
    operation: Option<OperationId>,
    seq: Option<u64>,
) -> String {
    let text = serde_json::json!([
        regarding.uid,
        note.reason,
        note.message,
        operation.map(|id| id.to_string()),
        seq,
    ]);
    let digest = blake3::hash(text.to_string().as_bytes()).to_hex();
    digest.get(..16).unwrap_or_default().to_owned()
}

/// The text, or as much of it as fits into `bytes` with an ellipsis.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes - "…".len());
    format!("{}…", &text[..end])
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
