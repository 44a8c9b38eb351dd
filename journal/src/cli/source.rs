//! What is read: the audit file of a directory, or an export.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Error, Output};
use crate::audit::{Assembler, Header, Item, Lines, Segment, export_segments, segments};
use crate::chain::{self, Hash};
use crate::check::Anchor;
use crate::store::ledger::Entry;

/// A journal that is read, never written.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Where it is an export: what its first line says.
    pub(super) header: Option<Header>,
    /// Whether records are appended to it while it is read.
    pub(super) grows: bool,
}

impl Source {
    /// Finds out what there is, and tells it.
    pub(super) fn open(path: PathBuf, grows: bool, output: &mut Output<'_>) -> Result<Self, Error> {
        if path.is_file() {
            return Self::open_export(path, grows, output);
        }
        let found = segments(&path).map_err(|source| Error::Read { dir: path.clone(), source })?;
        if found.is_empty() {
            return Err(Error::NoJournal(path));
        }
        let files = if found.len() == 1 { "1 segment" } else { "segments" };
        let count = if found.len() == 1 { String::new() } else { format!("{} ", found.len()) };
        output.tell(&format!("reading the audit file in {} ({count}{files})", path.display()))?;
        Ok(Self { path, header: None, grows: true })
    }

    fn open_export(path: PathBuf, grows: bool, output: &mut Output<'_>) -> Result<Self, Error> {
        let (_, header) = export_segments(&path)
            .map_err(|source| Error::Export { path: path.clone(), source })?;
        output.tell(&format!(
            "reading the export {} ({} records up to {} of journal {})",
            path.display(),
            header.records,
            header.last_seq,
            header.journal
        ))?;
        Ok(Self { path, header: Some(header), grows })
    }

    /// The directory, where it is one.
    pub(super) fn dir(&self) -> Option<&Path> {
        if self.header.is_none() { Some(&self.path) } else { None }
    }

    /// The segments that stand there now.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, Error> {
        if self.header.is_none() {
            return segments(&self.path).map_err(|error| self.failed(error));
        }
        let path = self.path.clone();
        match export_segments(&path) {
            Ok((found, _)) => Ok(found),
            Err(source) => Err(Error::Export { path, source }),
        }
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
        let mut order = Order::default();
        for line in Lines::new(self.segments()?) {
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
