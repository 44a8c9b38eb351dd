//! `journal diff`: what differs between two points of the journal.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::output::escape;
use super::select::Names;
use super::{CacheName, Error, Format, Output, Point, Source};
use crate::record::StreamId;
use crate::replay::Folded;
use crate::store::ledger::Entry;

/// How many characters of a value a table shows.
const CELL_MAX: usize = 60;

/// Options of `diff`.
#[derive(Clone, Debug, Args)]
pub struct Diff {
    /// The state after this record, or at this time (UTC).
    #[arg(value_name = "SEQ|TIME")]
    from: Point,

    /// The state to compare it with. Default: now.
    #[arg(value_name = "SEQ|TIME")]
    to: Option<Point>,

    /// Only this cache, by name or by UID.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    cache: Option<CacheName>,
}

/// One field that differs.
#[derive(Serialize)]
struct Change {
    /// The cache; none for the journal's own state.
    cache: Option<String>,
    field: String,
    before: Value,
    after: Value,
}

impl Diff {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let entries = source.entries(output)?;
        let first = entries.first().map(|entry| &entry.record);
        source.must_reach(Some(self.from), first)?;
        source.must_reach(self.to, first)?;
        let mut names = source.names();
        entries.iter().for_each(|entry| names.learn(&entry.record));
        let before = fold_at(source.folded(), &entries, Some(self.from), &names, output)?;
        let after = fold_at(source.folded(), &entries, self.to, &names, output)?;
        output.tell(&format!("comparing record {} with record {}", before.seq, after.seq))?;
        let changes = self.changes(&before, &after, &names)?;
        if output.format() != Format::Table {
            return changes.iter().try_for_each(|change| output.object(change));
        }
        if changes.is_empty() {
            return output.line("nothing differs");
        }
        let rows = changes.iter().map(|change| {
            let cache = change.cache.as_deref().unwrap_or("(journal)");
            let cells = [cache, &change.field, &shown(&change.before), &shown(&change.after)];
            cells.map(escape).into()
        });
        output.table(&["CACHE", "FIELD", "BEFORE", "AFTER"], rows.collect())
    }

    fn changes(
        &self,
        before: &Folded,
        after: &Folded,
        names: &Names,
    ) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        if self.cache.is_none() {
            let (before, after) = (json(&before.log)?, json(&after.log)?);
            compare(None, String::new(), &before, &after, &mut changes);
        }
        let streams: BTreeSet<StreamId> =
            before.streams.keys().chain(after.streams.keys()).copied().collect();
        for stream in streams {
            if self.cache.as_ref().is_some_and(|cache| !names.is(stream, cache)) {
                continue;
            }
            let side = |folded: &Folded| folded.streams.get(&stream).map_or(Ok(Value::Null), json);
            let (before, after) = (side(before)?, side(after)?);
            let cache = names.shown(stream);
            compare(Some(&cache), String::new(), &before, &after, &mut changes);
        }
        Ok(changes)
    }
}

/// Folds what can be folded up to a point, onto what the retired records fold to. A stream that lost a record is left out from there on.
pub(super) fn fold_at(
    retired: Folded,
    entries: &[Entry],
    at: Option<Point>,
    names: &Names,
    output: &mut Output<'_>,
) -> Result<Folded, Error> {
    let mut folded = retired;
    let mut blind = BTreeSet::new();
    for entry in entries {
        let record = &entry.record;
        if at.is_some_and(|at| at.is_passed_by(record)) {
            break;
        }
        let stream = record.envelope.stream;
        if !blind.contains(&stream)
            && let Err(illegal) = folded.apply(record)
        {
            blind.insert(stream);
            output.exit_with(1);
            let name = names.shown(stream);
            output.tell(&format!("{illegal}; what follows of {name} is left out"))?;
        }
        folded.seq = record.seq();
    }
    Ok(folded)
}

fn json(value: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Error::Write(std::io::Error::other(error)))
}

fn compare(
    cache: Option<&str>,
    field: String,
    before: &Value,
    after: &Value,
    changes: &mut Vec<Change>,
) {
    if before == after {
        return;
    }
    let empty = serde_json::Map::new();
    let (one, two) = match (before, after) {
        (Value::Object(one), Value::Object(two)) => (one, two),
        // What came or went is shown field by field as well: it has to be read by people.
        (Value::Null, Value::Object(two)) if !two.is_empty() => (&empty, two),
        (Value::Object(one), Value::Null) if !one.is_empty() => (one, &empty),
        _ => {
            let (before, after) = (before.clone(), after.clone());
            changes.push(Change { cache: cache.map(str::to_owned), field, before, after });
            return;
        }
    };
    let sides: BTreeMap<&String, (&Value, &Value)> = one
        .keys()
        .chain(two.keys())
        .map(|key| {
            (key, (one.get(key).unwrap_or(&Value::Null), two.get(key).unwrap_or(&Value::Null)))
        })
        .collect();
    for (key, (before, after)) in sides {
        let path = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
        compare(cache, path, before, after, changes);
    }
}

/// A value in a cell. A long one is cut: in JSON it is whole.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(CELL_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or(&text)),
        None => text,
    }
}
