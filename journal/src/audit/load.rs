//! Reads the whole audit file, verifies it and folds it.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::base::{Base, Kept, kept};
use super::checkpoint::Checkpoint;
use super::line::{self, LineError, StoredLine};
use super::reader::{Lines, RawLine, Segment};
use crate::chain::Hash;
use crate::store::ledger::{Entry, Ledger, ReplayError, Snapshot};

/// What a crash left behind of an append that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// File name of the segment.
    pub segment: String,
    /// Where the torn bytes begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Where they are kept; none while they were not cut.
    pub kept_in: Option<PathBuf>,
}

/// An audit file that was read to its end.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All records, folded.
    pub ledger: Ledger,
    /// What stands for the retired ones; none where there are none, or where it is lost and a
    /// checkpoint stands in for it.
    pub base: Option<Base>,
    /// The last retired record and its hash; 0 and zeros without one.
    pub retired: (u64, Hash),
    /// The segments behind it, in order.
    pub segments: Vec<Segment>,
    /// Segments of retired records whose deletion was cut short.
    pub left: Vec<Segment>,
    /// What is to be cut before anything is appended.
    pub torn: Option<TornTail>,
    /// The state before the last segment, where that is not the first one: what a checkpoint can
    /// be made of once the others are sealed.
    pub boundary: Option<Snapshot>,
}

/// Why an audit file cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not what was written, and it is not a torn tail.
    #[error("{segment} line {line} (seq {seq}) is damaged: {reason}")]
    Damaged {
        /// File name of the segment.
        segment: String,
        /// Number of the line, from 1.
        line: u64,
        /// The sequence that belongs there.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
    /// A newer program made the base without which nothing can be folded.
    #[error("{reason}")]
    NewerBase {
        /// Which, and what is not known.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("{segment} line {line} (seq {seq}): {reason}")]
    NewerFormat {
        /// File name of the segment.
        segment: String,
        /// Number of the line, from 1.
        line: u64,
        /// The sequence that belongs there.
        seq: u64,
        /// What is not known.
        reason: String,
    },
}

/// Why one line cannot be taken.
#[derive(Debug)]
enum Refusal {
    Line(LineError),
    Replay(ReplayError),
    Promise(u64),
    Unterminated,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(error) => error.fmt(f),
            Self::Replay(error) => error.fmt(f),
            Self::Promise(seq) => write!(f, "the segment's name says that it begins with {seq}"),
            Self::Unterminated => f.write_str("the line has no end"),
        }
    }
}

/// Reads, verifies and folds the audit file of a directory, from its base on where it has one.
/// Nothing is written.
///
/// # Errors
/// Damage anywhere but in a torn tail, a base that is missing, and records of a newer format.
pub fn load(dir: &Path, journal_id: Uuid) -> Result<Loaded, LoadError> {
    let kept = kept(dir).map_err(|source| io_error(dir, source))?;
    if let (Some(reason), Some(first)) = (kept.lacks_base(), kept.segments.first()) {
        let segment = first.name.clone();
        return Err(match kept.is_newer {
            true => LoadError::NewerBase { reason },
            false => LoadError::Damaged { segment, line: 1, seq: 1, reason },
        });
    }
    let rest = kept.segments.clone();
    continue_from(dir, beginning(kept.base.as_ref(), journal_id), kept, rest)
}

/// A journal of which only the retired records are folded.
pub(crate) fn beginning(base: Option<&Base>, journal_id: Uuid) -> Ledger {
    base.map_or_else(|| Ledger::new(journal_id), |base| Ledger::restore(&base.snapshot))
}

/// As [`load`], but reads only the records behind a checkpoint. The segments before were compared
/// with the checkpoint; `rest` are those behind.
///
/// # Errors
/// As [`load`]. The checkpoint may be to blame: then the whole audit file tells.
pub fn load_after(
    dir: &Path,
    checkpoint: &Checkpoint,
    kept: Kept,
    rest: Vec<Segment>,
) -> Result<Loaded, LoadError> {
    continue_from(dir, Ledger::restore(&checkpoint.snapshot), kept, rest)
}

fn io_error(dir: &Path, source: io::Error) -> LoadError {
    LoadError::Io { path: dir.to_owned(), source }
}

fn continue_from(
    dir: &Path,
    ledger: Ledger,
    kept: Kept,
    rest: Vec<Segment>,
) -> Result<Loaded, LoadError> {
    let Kept { base, segments, left, .. } = kept;
    let of_base = |base: &Base| (base.seq(), base.snapshot.head.hash);
    let retired = base.as_ref().map_or_else(Default::default, of_base);
    let io_error = |source| io_error(dir, source);
    let has_boundary = segments.len() > 1;
    let mut boundary = None;
    let mut loading = Loading { ledger, pending: Vec::new() };
    let mut lines = Lines::new(rest);
    while let Some(line) = lines.next() {
        let line = line.map_err(io_error)?;
        if has_boundary && line.in_last_segment && line.promised_seq.is_some() {
            boundary = loading.ledger.snapshot();
        }
        let seq = loading.next_seq();
        if let Err(refusal) = loading.take(&line) {
            let start = loading.torn_start(&line);
            let rest: Vec<RawLine> = lines.collect::<io::Result<_>>().map_err(io_error)?;
            if !is_torn_tail(&refusal, &line, &rest) {
                return Err(refused(seq, &line, &refusal));
            }
            let torn = torn_tail(&segments, &line.position.segment, start).map_err(io_error)?;
            let ledger = loading.ledger;
            let torn = Some(torn);
            return Ok(Loaded { ledger, base, retired, segments, left, torn, boundary });
        }
    }
    let mut torn = None;
    if let Some((_, first)) = loading.pending.first() {
        let last = segments.last().filter(|segment| *segment.name == *first.position.segment);
        if last.is_none() {
            let reason = Refusal::Replay(ReplayError::TornAppend);
            return Err(refused(loading.ledger.head().seq + 1, first, &reason));
        }
        let (segment, offset) = (first.position.segment.clone(), first.position.offset);
        torn = Some(torn_tail(&segments, &segment, offset).map_err(io_error)?);
    }
    let ledger = loading.ledger;
    Ok(Loaded { ledger, base, retired, segments, left, torn, boundary })
}

struct Loading {
    ledger: Ledger,
    /// Records of an append of which more are to follow. They count when the last one is there.
    pending: Vec<(Entry, RawLine)>,
}

impl Loading {
    fn take(&mut self, line: &RawLine) -> Result<(), Refusal> {
        if !line.terminated {
            return Err(Refusal::Unterminated);
        }
        let entry = line::read(&line.text).map_err(Refusal::Line)?;
        if let Some(promised) = line.promised_seq
            && promised != entry.record.seq()
        {
            return Err(Refusal::Promise(promised));
        }
        let whole = entry.record.envelope.rest == 0;
        if self.pending.is_empty() && whole {
            return self.ledger.replay(&entry).map_err(Refusal::Replay);
        }
        let expected = self.next_seq();
        if entry.record.seq() != expected {
            let found = entry.record.seq();
            return Err(Refusal::Replay(ReplayError::Sequence { expected, found }));
        }
        // The text is not needed again, only the place.
        let place = RawLine { text: Vec::new(), ..line.clone() };
        self.pending.push((entry, place));
        if whole {
            // A refusal in the middle is final, so nobody uses what is folded until then.
            for (entry, _) in std::mem::take(&mut self.pending) {
                self.ledger.replay(&entry).map_err(Refusal::Replay)?;
            }
        }
        Ok(())
    }

    fn next_seq(&self) -> u64 {
        self.ledger.head().seq + self.pending.len() as u64 + 1
    }

    /// Where the torn bytes begin if this line is torn: with it, or with the append it is part of.
    fn torn_start(&self, line: &RawLine) -> u64 {
        let first = self.pending.first().map(|(_, first)| &first.position);
        first
            .filter(|first| first.segment == line.position.segment)
            .map_or(line.position.offset, |first| first.offset)
    }
}

/// A line that a crash tore is the last one and has no end. Where the disk lost power it may also
/// be followed by blocks that were never written: they read as NULs, which no line ever holds.
fn is_torn_tail(refusal: &Refusal, line: &RawLine, rest: &[RawLine]) -> bool {
    if !line.in_last_segment {
        return false;
    }
    match refusal {
        Refusal::Unterminated => rest.is_empty(),
        Refusal::Line(error) if !error.is_newer_format() => {
            let unwritten = |line: &RawLine| line.text.contains(&0);
            let followed = rest.iter().any(|line| StoredLine::parse(&line.text).is_ok());
            unwritten(line) && !followed
        }
        Refusal::Line(_) | Refusal::Replay(_) | Refusal::Promise(_) => false,
    }
}

fn torn_tail(segments: &[Segment], name: &str, offset: u64) -> io::Result<TornTail> {
    let segment = segments.iter().find(|segment| segment.name == name);
    let len = match segment {
        Some(segment) => std::fs::metadata(&segment.path)?.len(),
        None => offset,
    };
    let bytes = len.saturating_sub(offset);
    Ok(TornTail { segment: name.to_owned(), offset, bytes, kept_in: None })
}

fn refused(seq: u64, line: &RawLine, refusal: &Refusal) -> LoadError {
    let (segment, number) = (line.position.segment.to_string(), line.position.line);
    let reason = refusal.to_string();
    match refusal {
        Refusal::Line(error) if error.is_newer_format() => {
            LoadError::NewerFormat { segment, line: number, seq, reason }
        }
        _ => LoadError::Damaged { segment, line: number, seq, reason },
    }
}
