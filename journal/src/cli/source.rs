//! What is read: the audit file of a directory, or an export.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::select::{Names, Point};
use super::{Error, Output};
use crate::audit::{
    Assembler, Base, Header, Item, Kept, Lines, Segment, export_base, export_segments, kept,
    time_text,
};
use crate::chain::{self, Hash};
use crate::check::Anchor;
use crate::event::OperationId;
use crate::record::Record;
use crate::replay::Folded;
use crate::store::ledger::Entry;

/// A journal that is read, never written.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Where it is an export: what its first line says.
    pub(super) header: Option<Header>,
    /// What stands for the records that were retired.
    pub(super) base: Option<Base>,
    /// The segments that were found.
    segments: Vec<Segment>,
    /// Whether records are appended to it while it is read.
    pub(super) grows: bool,
}

impl Source {
    /// Finds out what there is, and tells it.
    pub(super) fn open(path: PathBuf, grows: bool, output: &mut Output<'_>) -> Result<Self, Error> {
        if path.is_file() {
            return Self::open_export(path, grows, output);
        }
        let Kept { base, segments: found, refused, is_newer, .. } =
            kept(&path).map_err(|source| Error::Read { dir: path.clone(), source })?;
        if found.is_empty() && base.is_none() {
            return Err(Error::NoJournal(path));
        }
        let files = if found.len() == 1 { "1 segment" } else { "segments" };
        let count = if found.len() == 1 { String::new() } else { format!("{} ", found.len()) };
        output.tell(&format!("reading the audit file in {} ({count}{files})", path.display()))?;
        if is_newer {
            output.exit_with(5);
        }
        for refused in refused {
            output.tell(&format!("{}: {}", refused.file, refused.reason))?;
        }
        let source = Self { path, header: None, grows: true, base, segments: found };
        source.tell_retired(output)?;
        Ok(source)
    }

    /// What was retired is told once, and is not missing.
    fn tell_retired(&self, output: &mut Output<'_>) -> Result<(), Error> {
        self.retired().map_or(Ok(()), |retired| output.tell(&retired))
    }

    /// What was retired, in a sentence; none where nothing was.
    pub(super) fn retired(&self) -> Option<String> {
        let base = self.base.as_ref()?;
        let (through, time) = (base.seq(), time_text(base.retired_us));
        Some(format!("records 1 to {through} were retired on {time}: what they fold to is kept"))
    }

    /// The last retired record; 0 where none was.
    pub(super) fn retired_through(&self) -> u64 {
        self.base.as_ref().map_or(0, Base::seq)
    }

    /// What the retired records fold to, for the kept ones to be folded onto.
    pub(super) fn folded(&self) -> Folded {
        self.base.as_ref().map_or_else(Folded::default, |base| Folded::from(&base.snapshot))
    }

    /// The names of the caches that were opened in retired records.
    pub(super) fn names(&self) -> Names {
        let mut names = Names::default();
        if let Some(base) = &self.base {
            names.learn_retired(&base.snapshot);
        }
        names
    }

    /// Whether the first records of an operation were retired, and the others are kept.
    pub(super) fn is_cut(&self, id: OperationId) -> bool {
        let states = self.base.iter().flat_map(|base| base.snapshot.streams.values());
        let mut open = states.filter_map(|(_, state)| state.operation.as_ref());
        open.any(|operation| operation.id == id)
    }

    /// Refuses a point in the past that lies among the retired records: what was known then is not
    /// known any more. `first` is the first record that is kept.
    pub(super) fn must_reach(
        &self,
        point: Option<Point>,
        first: Option<&Record>,
    ) -> Result<(), Error> {
        let (Some(base), Some(point)) = (&self.base, point) else { return Ok(()) };
        let seq = base.seq();
        let is_within = match point {
            Point::Seq(at) => at < seq,
            Point::Time(_) => first.is_some_and(|first| point.is_passed_by(first)),
        };
        if !is_within {
            return Ok(());
        }
        let retired = self.retired().unwrap_or_default();
        Err(Error::NotFound(format!(
            "{retired}, but no state before that. The earliest one is that after record {seq}"
        )))
    }

    fn open_export(path: PathBuf, grows: bool, output: &mut Output<'_>) -> Result<Self, Error> {
        let failed = |source| Error::Export { path: path.clone(), source };
        let (segments, header) = export_segments(&path).map_err(failed)?;
        let base = export_base(&path).map_err(failed)?;
        output.tell(&format!(
            "reading the export {} ({} records up to {} of journal {})",
            path.display(),
            header.records,
            header.last_seq,
            header.journal
        ))?;
        let source = Self { path, header: Some(header), grows, base, segments };
        source.tell_retired(output)?;
        Ok(source)
    }

    /// The directory, where it is one.
    pub(super) fn dir(&self) -> Option<&Path> {
        if self.header.is_none() { Some(&self.path) } else { None }
    }

    /// The segments that were found, behind the base.
    pub(super) fn segments(&self) -> Vec<Segment> {
        self.segments.clone()
    }

    /// What an export says its last record is.
    pub(super) fn promised(&self) -> Option<Anchor> {
        let header = self.header.as_ref()?;
        Some(Anchor { seq: header.last_seq, hash: chain::from_hex(&header.hash)? })
    }

    pub(super) fn failed(&self, source: io::Error) -> Error {
        Error::Read { dir: self.path.clone(), source }
    }

    /// Hands over everything that stands in the journal now, in order. What is missing between
    /// two records, and what stands twice, is told.
    pub(super) fn each(
        &self,
        output: &mut Output<'_>,
        mut take: impl FnMut(Item, &mut Output<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut assembler = Assembler::default();
        let mut order = Order::after(self.retired_through());
        for line in Lines::new(self.segments()) {
            for item in assembler.push(line.map_err(|error| self.failed(error))?) {
                order.watch(&item, output)?;
                take(item, output)?;
            }
        }
        order.finish(self.promised(), output)
    }

    /// All readable records. What cannot be read is told and passed over.
    pub(super) fn entries(&self, output: &mut Output<'_>) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.each(output, |item, output| {
            match item {
                Item::Record(found) => entries.push(found.entry),
                Item::Unreadable(unreadable) => output.unreadable(&unreadable)?,
            }
            Ok(())
        })?;
        Ok(entries)
    }
}

/// Watches the sequences, so that no command shows a journal with a hole as if it were whole.
#[derive(Default)]
pub(super) struct Order {
    /// Sequence of the last line, readable or not.
    last: u64,
    hashes: BTreeMap<u64, Hash>,
}

impl Order {
    /// Behind the retired records, up to this one.
    pub(super) fn after(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    pub(super) fn watch(&mut self, item: &Item, output: &mut Output<'_>) -> Result<(), Error> {
        let (seq, hash) = match item {
            Item::Record(found) => (found.entry.record.seq(), found.entry.record.hash),
            Item::Unreadable(unreadable) => match unreadable.chained {
                Some((seq, _, hash)) => (seq, hash),
                // Which record it was is not known: the next one, most likely.
                None => {
                    self.last += 1;
                    return Ok(());
                }
            },
        };
        if seq > self.last + 1 {
            output.exit_with(3);
            let (first, last) = (self.last + 1, seq - 1);
            output.tell(&match first == last {
                true => format!("record {first} is missing"),
                false => format!("records {first} to {last} are missing"),
            })?;
        }
        if self.hashes.insert(seq, hash).is_some_and(|other| other != hash) {
            output.exit_with(4);
            output.tell(&format!("two different records have the sequence {seq}"))?;
        }
        self.last = self.last.max(seq);
        Ok(())
    }

    /// Compares the end with what an export promises.
    fn finish(&self, promised: Option<Anchor>, output: &mut Output<'_>) -> Result<(), Error> {
        let Some(promised) = promised.filter(|promised| promised.seq > self.last) else {
            return Ok(());
        };
        output.exit_with(3);
        output.tell(&format!(
            "the export was cut short: it promises records up to {}, but ends with {}",
            promised.seq, self.last
        ))
    }
}
