//! `journal state`: what the records fold to, now or at any past record.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::describe::{end_text, goal_text, receipt_text};
use super::output::escape;
use super::select::Names;
use super::{CacheName, Error, Format, Output, Point, Source};
use crate::audit::{Base, time_text};
use crate::chain::{self, Hash};
use crate::record::{Record, StreamId};
use crate::replay::Folded;
use crate::state::{CacheState, LogState, OpenStep, Progress};

/// Options of `state`.
#[derive(Clone, Debug, Args)]
pub struct State {
    /// Only this cache, by name or by UID, and in detail.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    cache: Option<CacheName>,

    /// What was known after this record, or at this time (UTC). Default: now.
    #[arg(long, value_name = "SEQ|TIME")]
    at: Option<Point>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Shown<'a> {
    Journal {
        journal: Option<String>,
        seq: u64,
        time: Option<String>,
        hash: Option<String>,
        state: &'a LogState,
    },
    Cache {
        cache: String,
        stream: StreamId,
        seq: u64,
        state: &'a CacheState,
    },
}

/// The record after which a state holds.
struct Last {
    journal: Uuid,
    /// When it was written; not known of a retired one.
    time: Option<String>,
    hash: Hash,
}

impl Last {
    fn of(record: &Record) -> Self {
        let envelope = &record.envelope;
        let time = Some(time_text(envelope.time_us));
        Self { journal: envelope.journal_id, time, hash: record.hash }
    }

    fn retired(base: &Base) -> Self {
        let head = base.snapshot.head;
        Self { journal: head.journal_id, time: None, hash: head.hash }
    }
}

impl State {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let mut names = source.names();
        let mut folded = source.folded();
        let mut blind = BTreeSet::new();
        let mut last = source.base.as_ref().map(Last::retired);
        let entries = source.entries(output)?;
        source.must_reach(self.at, entries.first().map(|entry| &entry.record))?;
        for entry in entries {
            let record = entry.record;
            if self.at.is_some_and(|at| at.is_passed_by(&record)) {
                break;
            }
            names.learn(&record);
            let stream = record.envelope.stream;
            if !blind.contains(&stream)
                && let Err(illegal) = folded.apply(&record)
            {
                blind.insert(stream);
                output.exit_with(1);
                output.tell(&format!(
                    "{illegal}; what follows of {} is left out",
                    names.shown(stream)
                ))?;
            }
            last = Some(Last::of(&record));
        }
        if let Some(Point::Seq(seq)) = self.at
            && seq > folded.seq
        {
            output.tell(&format!("there is no record {seq} yet: this is after {}", folded.seq))?;
        }
        self.print(&folded, last.as_ref(), &names, output)
    }

    fn print(
        &self,
        folded: &Folded,
        last: Option<&Last>,
        names: &Names,
        output: &mut Output<'_>,
    ) -> Result<(), Error> {
        let meant =
            |stream: StreamId| self.cache.as_ref().is_none_or(|cache| names.is(stream, cache));
        let caches: Vec<(StreamId, &CacheState)> = folded
            .streams
            .iter()
            .filter(|(stream, _)| meant(**stream))
            .map(|(stream, state)| (*stream, state))
            .collect();
        if let Some(cache) = &self.cache
            && caches.is_empty()
        {
            return Err(Error::NotFound(format!(
                "no cache {cache} is known in records 1 to {}",
                folded.seq
            )));
        }
        match output.format() {
            Format::Table if self.cache.is_some() => {
                caches.into_iter().try_for_each(|(stream, state)| detail(stream, state, output))
            }
            Format::Table => overview(folded, last, &caches, output),
            Format::Json | Format::Yaml => {
                if self.cache.is_none() {
                    output.object(&Shown::Journal {
                        journal: last.map(|last| last.journal.to_string()),
                        seq: folded.seq,
                        time: last.and_then(|last| last.time.clone()),
                        hash: last.map(|last| chain::to_hex(&last.hash)),
                        state: &folded.log,
                    })?;
                }
                for (stream, state) in caches {
                    let cache = names.shown(stream);
                    output.object(&Shown::Cache { cache, stream, seq: folded.seq, state })?;
                }
                Ok(())
            }
        }
    }
}

fn overview(
    folded: &Folded,
    last: Option<&Last>,
    caches: &[(StreamId, &CacheState)],
    output: &mut Output<'_>,
) -> Result<(), Error> {
    if let Some(last) = last {
        let time = last.time.as_deref().unwrap_or("a time that was retired with it");
        output.line(&format!("journal   {}", last.journal))?;
        output.line(&format!("record    {} of {time}", folded.seq))?;
        output.line(&format!("hash      {}", chain::to_hex(&last.hash)))?;
    }
    let holder = folded.log.holder.as_deref().unwrap_or("nobody");
    output.line(&format!("epoch     {} held by {}", folded.log.epoch, escape(holder)))?;
    if let Some(gap) = &folded.log.gap {
        output.line(&format!(
            "gap       begun anew after journal {}: its anchor named record {}, found were {}",
            gap.old_journal, gap.anchor_seq, gap.found_seq
        ))?;
    }
    if let Some(retired) = &folded.log.retired {
        let (through, seq) = (retired.through, retired.seq);
        output.line(&format!("retired   records 1 to {through}, by record {seq}"))?;
    }
    if caches.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let rows = caches.iter().map(|(_, state)| row(state)).collect();
    output.table(&["CACHE", "REPLICAS", "MEMBERS", "GRIDS", "OPERATION", "STEP"], rows)
}

fn row(state: &CacheState) -> Vec<String> {
    let operation = state.operation.as_ref();
    let doing = match operation {
        Some(operation) if operation.parked.is_some() => {
            format!("{} (parked)", operation.kind.name())
        }
        Some(operation) => operation.kind.name().to_owned(),
        None if state.closed => "closed".to_owned(),
        None => "-".to_owned(),
    };
    let step = state.open_step().map_or_else(|| "-".to_owned(), |open| open.step.describe());
    vec![
        escape(&format!("{}/{}", state.namespace, state.name)),
        state.committed.replicas.map_or_else(|| "-".to_owned(), |count| count.to_string()),
        state.members.len().to_string(),
        state.grids.len().to_string(),
        doing,
        escape(&step),
    ]
}

fn detail(stream: StreamId, state: &CacheState, output: &mut Output<'_>) -> Result<(), Error> {
    let name = escape(&format!("{}/{}", state.namespace, state.name));
    let life = match (state.closed, state.bootstrapped, state.adopted) {
        (true, _, _) => "closed",
        (_, _, true) => "adopted",
        (_, true, _) => "bootstrapped",
        (_, false, _) => "not bootstrapped",
    };
    output.line(&format!("cache     {name} ({stream}), {life}"))?;
    let replicas = state.committed.replicas;
    let replicas = replicas.map_or_else(|| "none".to_owned(), |count| count.to_string());
    let template = state.committed.template.as_ref().map_or("none", |template| &template.digest);
    output.line(&format!("committed {replicas} replicas, template {}", escape(template)))?;
    operation(state, output)?;
    let members = state.members.iter().map(|(ordinal, member)| {
        let incarnation = &member.incarnation;
        let role = if member.catalog { "catalog" } else { "container" };
        let process = format!("{} restarts {}", incarnation.pod_uid, incarnation.restarts);
        let (seq, ordinal) = (member.since_seq.to_string(), ordinal.to_string());
        row_of([&ordinal, &member.name, role, &member.address, &member.claim_uid, &process, &seq])
    });
    let heading = ["MEMBER", "NAME", "ROLE", "ADDRESS", "CLAIM", "POD", "SINCE"];
    section(&heading, members.collect(), output)?;
    let leaving = state.leaving.iter().map(|(ordinal, leaving)| {
        let receipt = receipt_text(&leaving.receipt);
        row_of([&ordinal.to_string(), &leaving.name, &leaving.claim_uid, &receipt])
    });
    section(&["LEAVING", "NAME", "CLAIM", "RECEIPT"], leaving.collect(), output)?;
    let grids =
        state.grids.values().map(|grid| row_of([&grid.name, &grid.digest, &grid.seq.to_string()]));
    section(&["GRID", "FIELDS", "SINCE"], grids.collect(), output)?;
    let recent = state.recent.iter().map(|ended| {
        let (goal, end) = (goal_text(&ended.goal), end_text(&ended.end));
        let (id, at) = (ended.id.to_string(), time_text(ended.ended_us));
        row_of([&id, ended.kind.name(), &goal, &end, &at, &ended.ended_seq.to_string()])
    });
    section(&["ENDED", "KIND", "GOAL", "END", "TIME", "SEQ"], recent.collect(), output)
}

fn operation(state: &CacheState, output: &mut Output<'_>) -> Result<(), Error> {
    let Some(operation) = &state.operation else {
        return output.line("operation none");
    };
    let goal = goal_text(&operation.goal);
    let kind = operation.kind.name();
    output.line(&format!("operation {} {kind}: {}", operation.id, escape(&goal)))?;
    if let Some(parked) = &operation.parked {
        let text = format!("{}: {} (record {})", parked.reason, parked.message, parked.seq);
        output.line(&format!("parked    {}", escape(&text)))?;
    }
    if let Some(open) = &operation.step {
        output.line(&format!("in doubt  {}", escape(&step_text(open))))?;
    }
    if let Some(open) = &operation.cancel {
        output.line(&format!("in doubt  {}", escape(&step_text(open))))?;
    }
    Ok(())
}

fn step_text(open: &OpenStep) -> String {
    let progress = match &open.progress {
        Progress::Intended => "intended".to_owned(),
        Progress::Accepted { task: Some(task) } => format!("accepted as task {task}"),
        Progress::Accepted { task: None } => "accepted".to_owned(),
        Progress::Unknown { reason } => format!("unknown: {reason}"),
    };
    format!(
        "{} (attempt {}, record {}, key {}): {progress}",
        open.step.describe(),
        open.attempt,
        open.intended_seq,
        open.key
    )
}

fn row_of<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(escape).into()
}

fn section(heading: &[&str], rows: Vec<Vec<String>>, output: &mut Output<'_>) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.table(heading, rows)
}
