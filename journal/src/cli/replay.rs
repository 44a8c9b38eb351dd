//! `journal replay`: folds the records again and says what they come to.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;

use super::output::escape;
use super::select::Names;
use super::{Error, Format, Output, Point, Source};
use crate::audit::time_text;
use crate::chain;
use crate::record::{Record, StreamId};
use crate::replay::Folded;
use crate::store::ledger::Entry;

/// Options of `replay`.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// Ends with this record, or with the last one at this time (UTC).
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<Point>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Shown {
    Journal {
        journal: Option<String>,
        seq: u64,
        time: Option<String>,
        /// Hash of the last record.
        hash: Option<String>,
        records: u64,
        refused: u64,
        /// BLAKE3 of all states: equal on every machine that folds the same records.
        state_digest: String,
    },
    Cache {
        cache: String,
        stream: StreamId,
        records: u64,
        refused: u64,
        state_digest: String,
    },
}

impl Replay {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let mut entries = source.entries(output)?;
        source.must_reach(self.until, entries.first().map(|entry| &entry.record))?;
        entries.retain(|entry| self.until.is_none_or(|until| !until.is_passed_by(&entry.record)));
        let mut names = source.names();
        entries.iter().for_each(|entry| names.learn(&entry.record));
        let (folded, counts) = fold(source.folded(), &entries, &names, output)?;
        let shown = shown(&entries, &folded, &counts, &names)?;
        if output.format() == Format::Table {
            return shown.iter().try_for_each(|shown| lines(shown, output));
        }
        shown.iter().try_for_each(|shown| output.object(shown))
    }
}

/// Records and refused records of each stream.
type Counts = BTreeMap<StreamId, (u64, u64)>;

fn fold(
    retired: Folded,
    entries: &[Entry],
    names: &Names,
    output: &mut Output<'_>,
) -> Result<(Folded, Counts), Error> {
    let mut folded = retired;
    let mut counts = Counts::new();
    let mut blind = BTreeSet::new();
    for record in entries.iter().map(|entry| &entry.record) {
        let stream = record.envelope.stream;
        let (taken, refused) = counts.entry(stream).or_default();
        if blind.contains(&stream) {
            *refused += 1;
        } else if let Err(illegal) = folded.apply(record) {
            blind.insert(stream);
            *refused += 1;
            output.exit_with(1);
            let name = names.shown(stream);
            output.tell(&format!("{illegal}; the rest of {name} cannot be folded"))?;
        } else {
            *taken += 1;
        }
    }
    Ok((folded, counts))
}

fn shown(
    entries: &[Entry],
    folded: &Folded,
    counts: &Counts,
    names: &Names,
) -> Result<Vec<Shown>, Error> {
    let last: Option<&Record> = entries.last().map(|entry| &entry.record);
    let states: Vec<(StreamId, String)> = folded
        .streams
        .iter()
        .map(|(stream, state)| Ok((*stream, digest(state)?)))
        .collect::<Result<_, Error>>()?;
    let mut shown = vec![Shown::Journal {
        journal: last.map(|record| record.envelope.journal_id.to_string()),
        seq: last.map_or(0, Record::seq),
        time: last.map(|record| time_text(record.envelope.time_us)),
        hash: last.map(|record| chain::to_hex(&record.hash)),
        records: counts.values().map(|(taken, _)| taken).sum(),
        refused: counts.values().map(|(_, refused)| refused).sum(),
        state_digest: digest(&(&folded.log, &states))?,
    }];
    for (stream, state_digest) in states {
        let (records, refused) = counts.get(&stream).copied().unwrap_or_default();
        let cache = names.shown(stream);
        shown.push(Shown::Cache { cache, stream, records, refused, state_digest });
    }
    Ok(shown)
}

fn digest(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value).map_err(std::io::Error::other)?;
    Ok(chain::digest(&text))
}

fn lines(shown: &Shown, output: &mut Output<'_>) -> Result<(), Error> {
    match shown {
        Shown::Journal { journal, seq, time, hash, records, refused, state_digest } => {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            output.line(&format!("journal   {}", text(journal)))?;
            output.line(&format!("record    {seq} of {}", text(time)))?;
            output.line(&format!("hash      {}", text(hash)))?;
            output.line(&format!("folded    {records} records, {refused} refused"))?;
            output.line(&format!("state     {state_digest}"))
        }
        Shown::Cache { cache, records, refused, state_digest, .. } => output.line(&format!(
            "cache     {}  {records} records, {refused} refused, state {state_digest}",
            escape(cache)
        )),
    }
}
