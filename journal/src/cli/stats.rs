//! `journal stats`: how much there is, and how long things took.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::attempts::{Attempt, attempts};
use super::describe::end_text;
use super::output::{duration_text, escape};
use super::select::Names;
use super::{CacheName, Error, Format, Output, Source};
use crate::audit::{Base, Checkpoint, checkpoints, time_text};
use crate::event::{Event, OperationId};
use crate::record::{Record, StreamId};
use crate::store::ledger::Entry;

/// Options of `stats`.
#[derive(Clone, Debug, Args)]
pub struct Stats {
    /// Only the operations and steps of this cache, by name or by UID.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    cache: Option<CacheName>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Shown {
    Journal(Totals),
    Type {
        #[serde(rename = "type")]
        name: &'static str,
        records: u64,
        bytes: u64,
    },
    Operation(OperationTook),
    Step(StepTook),
}

#[derive(Serialize)]
struct Totals {
    records: u64,
    /// Bytes of the records' canonical form.
    record_bytes: u64,
    /// Bytes of the files that were read.
    file_bytes: u64,
    files: usize,
    first: Option<String>,
    last: Option<String>,
    /// The last record that was retired, where some were; they are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_through: Option<u64>,
    epochs: u64,
    /// Where the newest checkpoint stands that can be read, in a directory that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint_seq: Option<u64>,
}

#[derive(Serialize)]
struct OperationTook {
    operation: OperationId,
    cache: String,
    what: &'static str,
    begun_seq: u64,
    begun: String,
    end: Option<String>,
    records: u64,
    steps: u64,
    attempts: u64,
    duration_us: i64,
    #[serde(skip)]
    stream: StreamId,
    #[serde(skip)]
    begun_us: i64,
}

#[derive(Serialize)]
struct StepTook {
    step: &'static str,
    attempts: u64,
    succeeded: u64,
    failed: u64,
    in_doubt: u64,
    found_by_probe: u64,
    shortest_us: Option<i64>,
    median_us: Option<i64>,
    longest_us: Option<i64>,
}

impl Stats {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let entries = source.entries(output)?;
        let mut names = source.names();
        entries.iter().for_each(|entry| names.learn(&entry.record));
        let meant =
            |stream: StreamId| self.cache.as_ref().is_none_or(|cache| names.is(stream, cache));
        let mut all = attempts(&entries, &names);
        all.retain(|attempt| meant(attempt.stream));
        let mut operations = operations(&entries, &all, &names);
        operations.retain(|operation| meant(operation.stream));
        let mut shown = vec![Shown::Journal(totals(source, &entries)?)];
        shown.extend(types(&entries));
        shown.extend(operations.into_iter().map(Shown::Operation));
        shown.extend(steps(&all).into_iter().map(Shown::Step));
        if output.format() == Format::Table {
            return table(&shown, output);
        }
        shown.iter().try_for_each(|shown| output.object(shown))
    }
}

fn totals(source: &Source, entries: &[Entry]) -> Result<Totals, Error> {
    let segments = source.segments();
    let mut file_bytes = 0;
    for segment in &segments {
        let found = std::fs::metadata(&segment.path).map_err(|error| source.failed(error))?;
        file_bytes += found.len();
    }
    let time = |entry: &Entry| time_text(entry.record.envelope.time_us);
    let terms =
        entries.iter().filter(|entry| matches!(entry.record.event, Event::EpochBegun { .. }));
    Ok(Totals {
        records: entries.len() as u64,
        record_bytes: entries.iter().map(|entry| entry.bytes.len() as u64).sum(),
        file_bytes,
        files: segments.len(),
        first: entries.first().map(time),
        last: entries.last().map(time),
        retired_through: source.base.as_ref().map(Base::seq),
        epochs: terms.count() as u64,
        checkpoint_seq: source.dir().and_then(newest_checkpoint),
    })
}

fn newest_checkpoint(dir: &Path) -> Option<u64> {
    let readable = |path: &Path| {
        let bytes = std::fs::read(path).ok()?;
        Checkpoint::parse(&bytes).ok()
    };
    let found = checkpoints(dir).ok()?.into_iter();
    found.filter_map(|(_, path)| readable(&path)).map(|it| it.snapshot.head.seq).next()
}

fn types(entries: &[Entry]) -> Vec<Shown> {
    let mut counted: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for entry in entries {
        let (records, bytes) = counted.entry(entry.record.event.name()).or_default();
        *records += 1;
        *bytes += entry.bytes.len() as u64;
    }
    let shown = |(name, (records, bytes))| Shown::Type { name, records, bytes };
    counted.into_iter().map(shown).collect()
}

fn operations(entries: &[Entry], all: &[Attempt], names: &Names) -> Vec<OperationTook> {
    let mut found: Vec<OperationTook> = Vec::new();
    for record in entries.iter().map(|entry| &entry.record) {
        let Some(id) = record.envelope.operation else { continue };
        if let Event::OperationBegun { kind, .. } = &record.event {
            found.push(begun(record, id, kind.name(), all, names));
        }
        let Some(took) = found.iter_mut().rev().find(|took| took.operation == id) else { continue };
        took.records += 1;
        took.duration_us = record.envelope.time_us.saturating_sub(took.begun_us);
        if let Event::OperationEnded { end } = &record.event {
            took.end = Some(end_text(end));
        }
    }
    found
}

fn begun(
    record: &Record,
    operation: OperationId,
    what: &'static str,
    all: &[Attempt],
    names: &Names,
) -> OperationTook {
    let own = || all.iter().filter(|attempt| attempt.operation == Some(operation));
    OperationTook {
        operation,
        cache: names.shown(record.envelope.stream),
        what,
        begun_seq: record.seq(),
        begun: time_text(record.envelope.time_us),
        end: None,
        records: 0,
        steps: own().filter(|attempt| attempt.result() == "succeeded").count() as u64,
        attempts: own().count() as u64,
        duration_us: 0,
        stream: record.envelope.stream,
        begun_us: record.envelope.time_us,
    }
}

fn steps(all: &[Attempt]) -> Vec<StepTook> {
    let mut kinds: BTreeMap<&'static str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in all {
        kinds.entry(attempt.step).or_default().push(attempt);
    }
    kinds.into_iter().map(|(step, own)| took(step, &own)).collect()
}

fn took(step: &'static str, own: &[&Attempt]) -> StepTook {
    let count = |is: &dyn Fn(&Attempt) -> bool| own.iter().filter(|it| is(it)).count() as u64;
    let succeeded = count(&|it| it.result() == "succeeded");
    let in_doubt = count(&|it| it.outcome.is_none());
    // Only of what was done: a failure says nothing about how long the step takes.
    let done = own.iter().filter(|it| it.result() == "succeeded");
    let mut spans: Vec<i64> = done.filter_map(|it| it.duration_us).collect();
    spans.sort_unstable();
    StepTook {
        step,
        attempts: own.len() as u64,
        succeeded,
        failed: own.len() as u64 - succeeded - in_doubt,
        in_doubt,
        found_by_probe: count(&|it| it.outcome.as_ref().is_some_and(|end| end.found_by_probe)),
        shortest_us: spans.first().copied(),
        median_us: spans.get(spans.len().saturating_sub(1) / 2).copied(),
        longest_us: spans.last().copied(),
    }
}

fn table(shown: &[Shown], output: &mut Output<'_>) -> Result<(), Error> {
    let span = |span: Option<i64>| span.map_or_else(|| "-".to_owned(), duration_text);
    let (mut types, mut operations, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for shown in shown {
        match shown {
            Shown::Journal(totals) => totals_lines(totals, output)?,
            Shown::Type { name, records, bytes } => {
                types.push(vec![(*name).to_owned(), records.to_string(), bytes.to_string()]);
            }
            Shown::Operation(it) => operations.push(vec![
                it.operation.to_string(),
                escape(&it.cache),
                it.what.to_owned(),
                it.begun.clone(),
                duration_text(it.duration_us),
                it.records.to_string(),
                format!("{}/{}", it.steps, it.attempts),
                escape(it.end.as_deref().unwrap_or("not yet")),
            ]),
            Shown::Step(it) => steps.push(vec![
                it.step.to_owned(),
                it.attempts.to_string(),
                it.succeeded.to_string(),
                it.failed.to_string(),
                it.in_doubt.to_string(),
                it.found_by_probe.to_string(),
                span(it.shortest_us),
                span(it.median_us),
                span(it.longest_us),
            ]),
        }
    }
    section(&["TYPE", "RECORDS", "BYTES"], types, output)?;
    let heading = ["OPERATION", "CACHE", "KIND", "BEGUN", "TOOK", "RECORDS", "DONE/TRIED", "END"];
    section(&heading, operations, output)?;
    let heading = [
        "STEP",
        "ATTEMPTS",
        "SUCCEEDED",
        "FAILED",
        "IN DOUBT",
        "BY PROBE",
        "SHORTEST",
        "MEDIAN",
        "LONGEST",
    ];
    section(&heading, steps, output)
}

fn totals_lines(totals: &Totals, output: &mut Output<'_>) -> Result<(), Error> {
    let Totals { records, record_bytes, file_bytes, files, epochs, .. } = totals;
    output.line(&format!("records   {records} of {record_bytes} bytes"))?;
    output.line(&format!("files     {files} of {file_bytes} bytes"))?;
    output.line(&format!("epochs    {epochs}"))?;
    if let Some(seq) = totals.checkpoint_seq {
        output.line(&format!("folded    up to {seq} by the newest checkpoint"))?;
    }
    if let (Some(first), Some(last)) = (&totals.first, &totals.last) {
        output.line(&format!("time      {first} to {last}"))?;
    }
    Ok(())
}

fn section(heading: &[&str], rows: Vec<Vec<String>>, output: &mut Output<'_>) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.table(heading, rows)
}
