//! Reads on past what cannot be read: for people who look at a journal, not for acting on it.

use std::io;
use std::path::Path;

use super::base::{LOOKS, kept};
use super::line::{LineError, StoredLine, as_written, render};
use super::reader::{Lines, Place, Position, RawLine, Segment};
use crate::chain::Hash;
use crate::store::ledger::{Entry, external_digests, names_external};

/// One line of a journal that is being looked at.
#[derive(Clone, Debug)]
pub enum Item {
    /// A record whose checksum and hash fit.
    Record(Box<Found>),
    /// A line that is not a record that this program can read.
    Unreadable(Unreadable),
}

/// A record and where it stands.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record.
    pub entry: Entry,
    /// Where.
    pub position: Position,
    /// Sequence that the segment's name promises for its first line; none on later lines.
    pub promised_seq: Option<u64>,
    /// Digests of the texts that the record keeps elsewhere, in no order.
    pub(crate) external: Vec<String>,
    /// The line as it was read; none when it is just what this program writes.
    odd: Option<Box<(StoredLine, Vec<u8>)>>,
}

impl Found {
    /// The readable fields of the line that differ from what the record says. A line whose fields
    /// are right, but which is not written as this program writes it, has altered `form`.
    pub fn altered_fields(&self) -> Vec<&'static str> {
        let Some((stored, text)) = self.odd.as_deref() else { return Vec::new() };
        let fields = stored.altered_fields(&self.entry);
        let same = render(&self.entry).is_ok_and(|line| line.strip_suffix(b"\n") == Some(text));
        if fields.is_empty() && !same { vec!["form"] } else { fields }
    }
}

/// A line that is not a record that this program can read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Where.
    pub position: Position,
    /// What the line says of itself, as far as that can be trusted: sequence, hash of the record
    /// before, hash. None when its checksum or hash do not fit.
    pub chained: Option<(u64, Hash, Hash)>,
    /// The event's name, where the line tells it.
    pub told_type: Option<String>,
    /// Why it cannot be read.
    pub error: LineError,
}

/// Puts lines together to whole appends. What is still being written is not shown.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Vec<Item>,
    unfinished: Option<Position>,
}

/// A line that was looked at apart from those before it.
#[derive(Debug)]
pub(crate) struct Looked(Result<Item, Position>);

impl Looked {
    /// Looks at a line; the last one may be torn, or is still being written.
    pub(crate) fn at(place: Place, text: &[u8]) -> Self {
        let is_torn = !place.terminated && place.in_last_segment;
        Self(if is_torn { Err(place.position) } else { Ok(read(place, text)) })
    }
}

impl Assembler {
    /// Takes the next line and gives what is whole with it.
    pub fn push(&mut self, line: RawLine) -> Vec<Item> {
        let RawLine { position, text, terminated, promised_seq, in_last_segment } = line;
        let place = Place { position, terminated, promised_seq, in_last_segment };
        let mut whole = Vec::new();
        self.push_looked(Looked::at(place, &text), |item| whole.push(item));
        whole
    }

    /// As [`Assembler::push`], for a line that was looked at before.
    pub(crate) fn push_looked(&mut self, looked: Looked, mut whole: impl FnMut(Item)) {
        let item = match looked.0 {
            Ok(item) => item,
            Err(position) => {
                self.unfinished = Some(position);
                return;
            }
        };
        let follows = match &item {
            Item::Record(found) => found.entry.record.envelope.rest > 0,
            Item::Unreadable(_) => false,
        };
        if follows {
            self.pending.push(item);
        } else {
            self.pending.drain(..).for_each(&mut whole);
            whole(item);
        }
    }

    /// Where an append begins that is not there as a whole: it is being written, or was torn.
    pub fn unfinished(&self) -> Option<Position> {
        let first = self.pending.first().map(|item| match item {
            Item::Record(found) => found.position.clone(),
            Item::Unreadable(unreadable) => unreadable.position.clone(),
        });
        first.or_else(|| self.unfinished.clone())
    }
}

fn read(place: Place, text: &[u8]) -> Item {
    let Place { position, promised_seq, .. } = place;
    if let Some(entry) = as_written(text) {
        let external =
            if names_external(text) { external_digests(&entry.record.event) } else { vec![] };
        return Item::Record(Box::new(Found {
            entry,
            position,
            promised_seq,
            external,
            odd: None,
        }));
    }
    let stored = match StoredLine::parse(text) {
        Ok(stored) => stored,
        Err(error) => {
            let (chained, told_type) = (None, None);
            return Item::Unreadable(Unreadable { position, chained, told_type, error });
        }
    };
    match stored.decode() {
        Ok(entry) => {
            let odd = Some(Box::new((stored, text.to_owned())));
            let external = external_digests(&entry.record.event);
            Item::Record(Box::new(Found { entry, position, promised_seq, external, odd }))
        }
        Err(error) => Item::Unreadable(Unreadable {
            position,
            chained: Some((stored.seq, stored.previous, stored.hash)),
            told_type: Some(stored.told_type().to_owned()),
            error,
        }),
    }
}

/// Everything that stands in the audit file of a directory, behind its base where it has one, and where an unfinished append begins.
///
/// # Errors
/// When a file cannot be read.
pub fn survey(dir: &Path) -> io::Result<(Vec<Item>, Option<Position>)> {
    for _ in 1..LOOKS {
        match survey_segments(kept(dir)?.segments) {
            // A segment was retired since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            surveyed => return surveyed,
        }
    }
    survey_segments(kept(dir)?.segments)
}

/// As [`survey`], for segments that were found before.
///
/// # Errors
/// When a file cannot be read.
pub fn survey_segments(segments: Vec<Segment>) -> io::Result<(Vec<Item>, Option<Position>)> {
    let mut assembler = Assembler::default();
    let mut items = Vec::new();
    for line in Lines::new(segments) {
        items.extend(assembler.push(line?));
    }
    Ok((items, assembler.unfinished()))
}
