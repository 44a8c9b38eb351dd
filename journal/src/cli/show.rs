//! `journal show`: one operation, from intent to outcome.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::describe::{cause_text, describe, end_text, goal_text, mood};
use super::output::{duration_text, escape};
use super::select::Names;
use super::{Error, Format, Output, Source, operation_matches};
use crate::audit::time_text;
use crate::check::told_of;
use crate::event::{Cause, End, Event, Goal, OperationId, OperationKind, Step, StepKey};
use crate::record::Record;

/// Options of `show`.
#[derive(Clone, Debug, Args)]
pub struct Show {
    /// The operation; the beginning of its id is enough.
    #[arg(value_name = "OPERATION")]
    operation: String,
}

/// Where and when a record was written.
#[derive(Clone, Debug, Serialize)]
struct Moment {
    seq: u64,
    time: String,
    #[serde(skip)]
    time_us: i64,
}

impl Moment {
    fn of(record: &Record) -> Self {
        let time_us = record.envelope.time_us;
        Self { seq: record.seq(), time: time_text(time_us), time_us }
    }
}

/// An operation as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    operation: OperationId,
    cache: String,
    stream: String,
    begun: Option<Begun>,
    /// Whether its first records were retired.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_cut: bool,
    steps: Vec<ShownStep>,
    /// Records of the operation that are not about one step.
    notes: Vec<Note>,
    ended: Option<Ended>,
    /// From the first record to the last one.
    duration_us: i64,
}

#[derive(Debug, Serialize)]
struct Begun {
    #[serde(flatten)]
    at: Moment,
    epoch: u64,
    kind: OperationKind,
    goal: Goal,
    cause: Cause,
}

#[derive(Debug, Serialize)]
struct Ended {
    #[serde(flatten)]
    at: Moment,
    end: End,
}

#[derive(Debug, Serialize)]
struct Note {
    #[serde(flatten)]
    at: Moment,
    #[serde(rename = "type")]
    type_name: &'static str,
    detail: String,
    #[serde(skip)]
    event: Event,
}

/// One attempt of a step.
#[derive(Debug, Serialize)]
struct ShownStep {
    step: &'static str,
    description: String,
    attempt: u32,
    key: StepKey,
    destructive: bool,
    intended: Moment,
    epoch: u64,
    evidence: Value,
    effect: Step,
    /// What was told while it was in doubt.
    progress: Vec<Note>,
    outcome: Option<Outcome>,
    duration_us: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    at: Moment,
    #[serde(rename = "type")]
    type_name: &'static str,
    epoch: u64,
    found_by_probe: bool,
    flagged: Option<String>,
    reason: Option<String>,
    evidence: Value,
    #[serde(skip)]
    event: Event,
}

impl Show {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let mut names = source.names();
        let mut found: BTreeMap<OperationId, Vec<Record>> = BTreeMap::new();
        for entry in source.entries(output)? {
            names.learn(&entry.record);
            let operation = entry.record.envelope.operation;
            if let Some(id) = operation.filter(|_| operation_matches(operation, &self.operation)) {
                found.entry(id).or_default().push(entry.record);
            }
        }
        if found.len() > 1 {
            let ids: Vec<_> = found.keys().map(ToString::to_string).collect();
            let text = format!("{} begins several operations: {}", self.operation, ids.join(", "));
            return Err(Error::NotFound(text));
        }
        let Some((id, records)) = found.into_iter().next() else {
            let mut text = format!("no record belongs to an operation {}", self.operation);
            if let Some(retired) = source.retired() {
                text.push_str(&format!("; {retired}"));
            }
            return Err(Error::NotFound(text));
        };
        let mut shown = gather(id, &records, &names);
        shown.is_cut = source.is_cut(id);
        if output.format() == Format::Table { table(&shown, output) } else { output.object(&shown) }
    }
}

fn gather(operation: OperationId, records: &[Record], names: &Names) -> Shown {
    let stream = records.first().map(|record| record.envelope.stream);
    let span = records.first().zip(records.last());
    let mut shown = Shown {
        operation,
        cache: stream.map(|stream| names.shown(stream)).unwrap_or_default(),
        stream: stream.map(|stream| stream.to_string()).unwrap_or_default(),
        begun: None,
        is_cut: false,
        steps: Vec::new(),
        notes: Vec::new(),
        ended: None,
        duration_us: span.map_or(0, |(first, last)| {
            last.envelope.time_us.saturating_sub(first.envelope.time_us)
        }),
    };
    for record in records {
        take(&mut shown, record);
    }
    shown
}

fn take(shown: &mut Shown, record: &Record) {
    let (at, epoch) = (Moment::of(record), record.envelope.epoch.0);
    if let Event::OperationBegun { kind, goal, cause } = &record.event {
        let (kind, goal, cause) = (*kind, goal.clone(), cause.clone());
        shown.begun = Some(Begun { at, epoch, kind, goal, cause });
    } else if let Event::OperationEnded { end } = &record.event {
        shown.ended = Some(Ended { at, end: end.clone() });
    } else if let Event::StepIntended { step, attempt, key, evidence } = &record.event {
        shown.steps.push(ShownStep {
            step: step.name(),
            description: step.describe(),
            attempt: *attempt,
            key: *key,
            destructive: step.is_destructive(),
            intended: at,
            epoch,
            evidence: readable(evidence),
            effect: step.clone(),
            progress: Vec::new(),
            outcome: None,
            duration_us: None,
        });
    } else {
        told(shown, record);
    }
}

/// Puts what is told of an attempt to its step, and everything else among the notes.
fn told(shown: &mut Shown, record: &Record) {
    let step = told_of(&record.event).and_then(|(key, ends)| {
        let step = shown.steps.iter_mut().rev().find(|step| step.key == key);
        step.map(|step| (step, ends))
    });
    match step {
        Some((step, true)) => {
            let outcome = outcome_of(record);
            let from = step.intended.time_us;
            step.duration_us = Some(outcome.at.time_us.saturating_sub(from));
            step.outcome = Some(outcome);
        }
        Some((step, false)) => step.progress.push(note(record)),
        None => shown.notes.push(note(record)),
    }
}

fn outcome_of(record: &Record) -> Outcome {
    let mut outcome = Outcome {
        at: Moment::of(record),
        type_name: record.event.name(),
        epoch: record.envelope.epoch.0,
        found_by_probe: false,
        flagged: None,
        reason: None,
        evidence: Value::Null,
        event: record.event.clone(),
    };
    if let Event::StepSucceeded { found_by_probe, flagged, .. } = &record.event {
        outcome.found_by_probe = *found_by_probe;
        outcome.flagged.clone_from(flagged);
    }
    if let Event::StepFailed { reason, .. } | Event::StepNotSent { reason, .. } = &record.event {
        outcome.reason = Some(reason.clone());
    }
    if let Event::StepSucceeded { evidence, .. }
    | Event::StepFailed { evidence, .. }
    | Event::StepVoid { evidence, .. } = &record.event
    {
        outcome.evidence = readable(evidence);
    }
    outcome
}

fn note(record: &Record) -> Note {
    let event = record.event.clone();
    Note { at: Moment::of(record), type_name: event.name(), detail: describe(&event), event }
}

/// Evidence is JSON in a string; where it is not, it is shown as it is.
fn readable(evidence: &str) -> Value {
    serde_json::from_str(evidence).unwrap_or_else(|_| Value::String(evidence.to_owned()))
}

fn table(shown: &Shown, output: &mut Output<'_>) -> Result<(), Error> {
    output.line(&format!("operation {} of {}", shown.operation, escape(&shown.cache)))?;
    if let Some(begun) = &shown.begun {
        let goal = escape(&goal_text(&begun.goal));
        output.line(&format!("goal      {}: {goal}", begun.kind.name()))?;
        output.line(&format!("because   {}", escape(&cause_text(&begun.cause))))?;
        output.line(&format!("begun     {} (record {})", begun.at.time, begun.at.seq))?;
    } else {
        let why = if shown.is_cut { "was retired" } else { "could not be read" };
        output.line(&format!("begun     its first record {why}"))?;
    }
    let took = duration_text(shown.duration_us);
    match &shown.ended {
        Some(ended) => {
            let end = escape(&end_text(&ended.end));
            let Moment { seq, time, .. } = &ended.at;
            output.line(&format!("ended     {time} (record {seq}) after {took}: {end}"))?;
        }
        None => output.line(&format!("ended     not yet; {took} so far"))?,
    }
    output.line("")?;
    // In the order of the records, so that what was told between two steps stands between them.
    let steps = shown.steps.iter().map(|step| (step.intended.seq, Some(step), None));
    let notes = shown.notes.iter().map(|note| (note.at.seq, None, Some(note)));
    let mut parts: Vec<_> = steps.chain(notes).collect();
    parts.sort_by_key(|(seq, _, _)| *seq);
    for (_, step, note) in parts {
        step.map_or(Ok(()), |step| step_lines(step, output))?;
        note.map_or(Ok(()), |note| note_line(note, output))?;
    }
    Ok(())
}

fn step_lines(step: &ShownStep, output: &mut Output<'_>) -> Result<(), Error> {
    let destructive = if step.destructive { ", destructive" } else { "" };
    output.line(&format!(
        "{:>6}  {}  {} (attempt {}{destructive})",
        step.intended.seq,
        step.intended.time,
        escape(&step.description),
        step.attempt,
    ))?;
    detail_line("key", &step.key.to_string(), output)?;
    evidence_line("observed", &step.evidence, output)?;
    for note in &step.progress {
        note_line(note, output)?;
    }
    let Some(outcome) = &step.outcome else {
        let doubt = output.paint(super::output::Mood::Doubt, "in doubt");
        return output.line(&format!("        {doubt}: an intent without an outcome"));
    };
    let name = output.paint(mood(&outcome.event), outcome.type_name);
    let took = step.duration_us.map(duration_text).unwrap_or_default();
    let probe = if outcome.found_by_probe { ", found by probe" } else { "" };
    let reason = outcome.reason.as_ref().map(|reason| format!(": {}", escape(reason)));
    output.line(&format!(
        "{:>6}  {}  {name} after {took}{probe}{}",
        outcome.at.seq,
        outcome.at.time,
        reason.unwrap_or_default()
    ))?;
    if outcome.epoch != step.epoch {
        let text = format!("begun in epoch {}, settled in epoch {}", step.epoch, outcome.epoch);
        detail_line("epochs", &text, output)?;
    }
    if let Some(flag) = &outcome.flagged {
        detail_line("flagged", flag, output)?;
    }
    evidence_line("evidence", &outcome.evidence, output)
}

fn note_line(note: &Note, output: &mut Output<'_>) -> Result<(), Error> {
    let name = output.paint(mood(&note.event), note.type_name);
    let Moment { seq, time, .. } = &note.at;
    output.line(&format!("{seq:>6}  {time}  {name} {}", escape(&note.detail)))
}

fn evidence_line(label: &str, evidence: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    let is_empty = match evidence {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) => false,
    };
    if is_empty { Ok(()) } else { detail_line(label, &evidence.to_string(), output) }
}

fn detail_line(label: &str, text: &str, output: &mut Output<'_>) -> Result<(), Error> {
    output.line(&format!("        {label:<8}  {}", escape(text)))
}
