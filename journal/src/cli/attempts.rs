//! The attempts of steps, each with its outcome: what `steps`, `stats` and `why` look at.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::select::Names;
use crate::audit::time_text;
use crate::check::told_of;
use crate::event::{Event, OperationId, Step, StepKey};
use crate::record::{Record, StreamId};
use crate::store::ledger::Entry;

/// One attempt of a step.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Attempt {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) epoch: u64,
    pub(super) cache: String,
    #[serde(skip)]
    pub(super) stream: StreamId,
    pub(super) operation: Option<OperationId>,
    pub(super) step: &'static str,
    pub(super) description: String,
    /// The member, or the claim, that it is about.
    pub(super) about: Option<String>,
    /// The member whose API takes the request; none for a step on the cluster.
    pub(super) sent_to: Option<String>,
    pub(super) attempt: u32,
    pub(super) key: StepKey,
    pub(super) destructive: bool,
    /// Whether the same was tried again, before or after, in the same operation.
    pub(super) repeated: bool,
    /// Id of the task that the member told.
    pub(super) task: Option<u64>,
    pub(super) evidence: Value,
    pub(super) outcome: Option<Outcome>,
    pub(super) duration_us: Option<i64>,
    #[serde(skip)]
    pub(super) time_us: i64,
    #[serde(skip)]
    pub(super) effect: Step,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) seq: u64,
    pub(super) time: String,
    #[serde(rename = "type")]
    pub(super) type_name: &'static str,
    pub(super) epoch: u64,
    pub(super) found_by_probe: bool,
    pub(super) flagged: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) evidence: Value,
}

impl Attempt {
    /// Whether it was done again, settled by a probe, or settled in a later term of leadership.
    pub(super) fn is_repeated_or_probed(&self) -> bool {
        let later = |outcome: &Outcome| outcome.found_by_probe || outcome.epoch != self.epoch;
        self.repeated || self.outcome.as_ref().is_some_and(later)
    }

    /// What came of it, in one word.
    pub(super) fn result(&self) -> &'static str {
        let Some(outcome) = &self.outcome else { return "in doubt" };
        outcome.type_name.strip_prefix("step_").unwrap_or(outcome.type_name)
    }
}

/// All attempts of a journal, in the order of their intents.
pub(super) fn attempts(entries: &[Entry], names: &Names) -> Vec<Attempt> {
    let mut found: Vec<Attempt> = Vec::new();
    let mut by_key: BTreeMap<StepKey, usize> = BTreeMap::new();
    for entry in entries {
        let record = &entry.record;
        if let Event::StepIntended { step, attempt, key, evidence } = &record.event {
            by_key.insert(*key, found.len());
            found.push(intended(record, step, *attempt, *key, evidence, names));
            continue;
        }
        let attempt = told_of(&record.event)
            .and_then(|(key, ends)| by_key.get(&key).map(|index| (*index, ends)))
            .and_then(|(index, ends)| found.get_mut(index).map(|attempt| (attempt, ends)));
        let Some((attempt, ends)) = attempt else { continue };
        if let Event::StepAccepted { task, .. } = &record.event {
            attempt.task = *task;
        }
        if ends {
            attempt.duration_us = Some(record.envelope.time_us.saturating_sub(attempt.time_us));
            attempt.outcome = Some(outcome(record));
        }
    }
    let again: BTreeSet<_> = found
        .iter()
        .filter(|it| it.repeated)
        .map(|it| (it.operation, it.effect.target()))
        .collect();
    for attempt in &mut found {
        attempt.repeated |= again.contains(&(attempt.operation, attempt.effect.target()));
    }
    found
}

fn intended(
    record: &Record,
    step: &Step,
    attempt: u32,
    key: StepKey,
    evidence: &str,
    names: &Names,
) -> Attempt {
    let envelope = &record.envelope;
    let fields = fields_of(step);
    Attempt {
        seq: record.seq(),
        time: time_text(envelope.time_us),
        epoch: envelope.epoch.0,
        cache: names.shown(envelope.stream),
        stream: envelope.stream,
        operation: envelope.operation,
        step: step.name(),
        description: step.describe(),
        about: about(&fields),
        sent_to: sent_to(step, &fields),
        attempt,
        key,
        destructive: step.is_destructive(),
        repeated: attempt > 1,
        task: None,
        evidence: readable(evidence),
        outcome: None,
        duration_us: None,
        time_us: envelope.time_us,
        effect: step.clone(),
    }
}

fn outcome(record: &Record) -> Outcome {
    let mut outcome = Outcome {
        seq: record.seq(),
        time: time_text(record.envelope.time_us),
        type_name: record.event.name(),
        epoch: record.envelope.epoch.0,
        found_by_probe: false,
        flagged: None,
        reason: None,
        evidence: evidence_of(&record.event),
    };
    if let Event::StepSucceeded { found_by_probe, flagged, .. } = &record.event {
        outcome.found_by_probe = *found_by_probe;
        outcome.flagged.clone_from(flagged);
    }
    if let Event::StepFailed { reason, .. } | Event::StepNotSent { reason, .. } = &record.event {
        outcome.reason = Some(reason.clone());
    }
    outcome
}

/// The fields of a step by name. New kinds of step need nothing here as long as they call a
/// member `member` and who takes their request `survivor` or `through`.
fn fields_of(step: &Step) -> Value {
    match serde_json::to_value(step) {
        Ok(Value::Object(kinds)) => kinds.into_iter().next().map_or(Value::Null, |(_, it)| it),
        _ => Value::Null,
    }
}

fn about(fields: &Value) -> Option<String> {
    let name = fields["member"]["name"].as_str();
    let name = name.or(fields["claim"].as_str()).or(fields["name"].as_str());
    name.map(str::to_owned)
}

/// A join and a cancellation go to the member itself, what is done to others to the survivor.
fn sent_to(step: &Step, fields: &Value) -> Option<String> {
    let through = fields["survivor"]["name"].as_str().or(fields["through"]["name"].as_str());
    let own = matches!(step, Step::JoinMember { .. } | Step::CancelTask { .. });
    let own = own.then(|| fields["member"]["name"].as_str()).flatten();
    through.or(own).map(str::to_owned)
}

/// Evidence is JSON in a string; where it is not, it is shown as it is.
pub(super) fn readable(evidence: &str) -> Value {
    serde_json::from_str(evidence).unwrap_or_else(|_| Value::String(evidence.to_owned()))
}

/// The evidence that an event carries; null where it has none.
pub(super) fn evidence_of(event: &Event) -> Value {
    let Ok(Value::Object(kinds)) = serde_json::to_value(event) else { return Value::Null };
    let fields = kinds.into_iter().next().map_or(Value::Null, |(_, fields)| fields);
    fields["evidence"].as_str().map_or(Value::Null, readable)
}

/// Whether evidence says nothing.
pub(super) fn is_empty(evidence: &Value) -> bool {
    match evidence {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => false,
    }
}
