//! The base: what the records fold to that were retired and are not there any more.
//!
//! A base is to the first kept record what nothing is to the first record of a journal that kept
//! them all. It has the form of a checkpoint, but counts for more: the records behind it are gone.
//! So it is there twice, and a record of the journal names its digest (`RecordsRetired`), which
//! makes it part of the chain. That digest is of its bytes and not of its state, so that it still
//! fits when a later program knows more fields of a state.
//!
//! A base is written before the record that names it, and the record before anything is deleted.
//! Until then it stands for nothing, and the segments do.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Ignored;
use super::checkpoint::{
    Body, Checkpoint, FOLD_VERSION, FORMAT, numbered, replace, sealed, unreadable, unsealed,
};
use super::reader::{Segment, segments};
use crate::io::{self as disk, sync_dir};
use crate::state::Retired;
use crate::store::ledger::Snapshot;

const PREFIX: &str = "base-";
/// How the names of the two copies end.
const SUFFIXES: [&str; 2] = [".jsonl", ".jsonl.copy"];
/// How often a directory is looked at again whose records are retired while it is read.
pub(crate) const LOOKS: usize = 8;

/// What the retired records fold to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The state, and the last retired record, after which it holds.
    pub snapshot: Snapshot,
    /// When they were retired, in microseconds since 1970.
    pub retired_us: i64,
    /// BLAKE3 of its first line, hex: what the journal's record of the retirement names.
    pub digest: String,
    /// Its first line, without the line end.
    body: Vec<u8>,
}

/// Why a base cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseError {
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// A newer program made it, and this one would lose some of what it says.
    #[error("a newer program made it: {0}")]
    Newer(String),
}

impl Base {
    /// The base of a state.
    ///
    /// # Errors
    /// When the state has no JSON form, which none of this crate lacks.
    pub(crate) fn of(snapshot: Snapshot, retired_us: i64) -> io::Result<Self> {
        let checkpoint = Checkpoint { snapshot, segments: Vec::new() };
        let body = serde_json::to_vec(&checkpoint.body(Some(retired_us)))?;
        let digest = blake3::hash(&body).to_hex().to_string();
        Ok(Self { snapshot: checkpoint.snapshot, retired_us, digest, body })
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What does not fit.
    pub fn parse(bytes: &[u8]) -> Result<Self, BaseError> {
        let (body, digest) = unsealed(bytes).map_err(BaseError::Damaged)?;
        Self::parse_body(body, digest)
    }

    /// Reads the first line alone, which has this digest.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn parse_line(body: &[u8]) -> Result<Self, BaseError> {
        Self::parse_body(body, blake3::hash(body).to_hex().to_string())
    }

    fn parse_body(body: &[u8], digest: String) -> Result<Self, BaseError> {
        let damaged = |error: serde_json::Error| BaseError::Damaged(unreadable(&error));
        let raw: Value = serde_json::from_slice(body).map_err(damaged)?;
        for (field, known) in [("format", FORMAT), ("fold", FOLD_VERSION)] {
            let told = raw.get(field).and_then(Value::as_u64).unwrap_or(0);
            if told > u64::from(known) {
                let what = format!("its {field} is version {told}, and this one knows {known}");
                return Err(BaseError::Newer(what));
            }
        }
        let read: Body = serde_json::from_slice(body).map_err(damaged)?;
        // What this program does not know of a state would be lost without a word.
        let again = serde_json::to_value(&read).map_err(damaged)?;
        if let Some(field) = lacking(&raw, &again, String::new()) {
            return Err(BaseError::Newer(format!("it says something in `{field}`")));
        }
        let wrong = |what: &str| BaseError::Damaged(what.to_owned());
        let retired_us = read.retired_us.ok_or_else(|| wrong("it is a checkpoint"))?;
        let (told, is_same) = (read.state.clone(), raw == again);
        let checkpoint = Checkpoint::of(read).ok_or_else(|| wrong("a hash in it is not one"))?;
        // An earlier program's state lacks fields that this one's has, and has another digest.
        if is_same && checkpoint.state_digest() != told {
            return Err(wrong("its state has another digest than it says"));
        }
        Ok(Self { snapshot: checkpoint.snapshot, retired_us, digest, body: body.to_vec() })
    }

    /// The last retired record.
    pub fn seq(&self) -> u64 {
        self.snapshot.head.seq
    }

    /// The first line of its file, without the line end.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Digest of its states, as [`crate::replay::Folded::digest`] makes it of the records.
    pub(crate) fn state_digest(&self) -> String {
        Checkpoint { snapshot: self.snapshot.clone(), segments: Vec::new() }.state_digest()
    }

    /// Whether it is the one that this record of a retirement names.
    pub(crate) fn is_named_by(&self, retired: &Retired) -> bool {
        retired.through == self.seq() && retired.base == self.digest
    }

    /// Writes both of its files, or those of them that are not there or hold something else, and
    /// gives the names of those. Durable when this returns.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<Vec<String>> {
        let bytes = sealed(&self.body)?;
        let mut written = Vec::new();
        for name in names(self.seq()) {
            let there = match disk::read(&dir.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                read => Some(read?),
            };
            if there.as_ref() != Some(&bytes) {
                replace(dir, &name, &bytes)?;
                written.push(name);
            }
        }
        Ok(written)
    }
}

/// The names of both files of the base of a record.
fn names(seq: u64) -> [String; 2] {
    SUFFIXES.map(|suffix| format!("{PREFIX}{seq:020}{suffix}"))
}

/// Where `raw` says something that `read` does not.
fn lacking(raw: &Value, read: &Value, place: String) -> Option<String> {
    let inner =
        |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    match (raw, read) {
        (Value::Object(raw), Value::Object(read)) => raw.iter().find_map(|(name, value)| {
            let place = inner(name);
            match read.get(name) {
                Some(read) => lacking(value, read, place),
                // A field that is left out while there is nothing in it.
                None => (!is_nothing(value)).then_some(place),
            }
        }),
        (Value::Array(raw), Value::Array(read)) if raw.len() == read.len() => {
            let mut both = raw.iter().zip(read).enumerate();
            both.find_map(|(at, (raw, read))| lacking(raw, read, inner(&at.to_string())))
        }
        _ => (raw != read).then_some(place),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Bool(_) | Value::String(_) => false,
    }
}

/// The audit file of a directory: the segments that count, and what stands for the records before.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// What stands before the first segment; none where that begins with the first record.
    pub base: Option<Base>,
    /// The segments behind the base, in order.
    pub segments: Vec<Segment>,
    /// Segments whose records the base stands for: their deletion was cut short.
    pub left: Vec<Segment>,
    /// Files of bases that cannot be used.
    pub refused: Vec<Ignored>,
    /// Whether one of those was made by a newer program.
    pub is_newer: bool,
}

impl Kept {
    /// The last record that the base stands for; 0 without one.
    pub fn retired_through(&self) -> u64 {
        self.base.as_ref().map_or(0, Base::seq)
    }

    /// Why no base stands before the first segment, where there ought to be one.
    pub fn lacks_base(&self) -> Option<String> {
        let first = self.segments.first()?.first_seq;
        // No segment of ours is named after a record before the first one.
        if self.base.is_some() || first <= 1 {
            return None;
        }
        let files: Vec<_> =
            self.refused.iter().map(|it| format!("{}: {}", it.file, it.reason)).collect();
        let why = if files.is_empty() { "there is none".to_owned() } else { files.join("; ") };
        Some(format!("no base stands for the records up to {}: {why}", first - 1))
    }
}

/// Finds the base and the segments of a directory. Nothing is written, and no lock is taken: what is
/// retired meanwhile is looked for again.
///
/// # Errors
/// When a file cannot be read.
pub fn kept(dir: &Path) -> io::Result<Kept> {
    let mut found = kept_now(dir)?;
    for _ in 1..LOOKS {
        if found.lacks_base().is_none() {
            break;
        }
        found = kept_now(dir)?;
    }
    Ok(found)
}

fn kept_now(dir: &Path) -> io::Result<Kept> {
    let mut kept = Kept { segments: segments(dir)?, ..Kept::default() };
    let before = kept.segments.first().map(|first| first.first_seq.saturating_sub(1));
    if before == Some(0) {
        return Ok(kept);
    }
    for seq in in_order(dir, &kept.segments, before)? {
        kept.base = read(dir, seq, &mut kept.refused, &mut kept.is_newer)?;
        if kept.base.is_some() {
            break;
        }
    }
    let retired = kept.retired_through();
    let at = kept.segments.iter().take_while(|segment| segment.first_seq <= retired).count();
    kept.left = kept.segments.drain(..at).collect();
    Ok(kept)
}

/// The bases that may stand before the segments, the likeliest first: the one just before them; one
/// that some of them were not deleted for yet; one before records that are missing.
fn in_order(dir: &Path, segments: &[Segment], before: Option<u64>) -> io::Result<Vec<u64>> {
    let mut all: Vec<u64> = bases(dir)?.into_iter().map(|(seq, _)| seq).collect();
    all.sort_unstable();
    all.dedup();
    let Some(before) = before else {
        all.reverse();
        return Ok(all);
    };
    let ends = |seq: &u64| segments.iter().any(|segment| segment.first_seq == seq + 1);
    let exact = all.iter().copied().filter(|seq| *seq == before);
    let within = all.iter().copied().filter(|seq| *seq > before && ends(seq));
    let earlier = all.iter().rev().copied().filter(|seq| *seq < before);
    Ok(exact.chain(within).chain(earlier).collect())
}

/// The base of a record, from whichever of its files is good.
pub(crate) fn read(
    dir: &Path,
    seq: u64,
    refused: &mut Vec<Ignored>,
    is_newer: &mut bool,
) -> io::Result<Option<Base>> {
    let mut good = None;
    for file in names(seq) {
        let bytes = match disk::read(&dir.join(&file)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refused.push(Ignored { file, reason: "it is missing".into() });
                continue;
            }
            Err(error) => return Err(error),
        };
        let reason = match Base::parse(&bytes) {
            Ok(base) if base.seq() == seq => {
                good.get_or_insert(base);
                continue;
            }
            Ok(_) => "its name says another record than it does".to_owned(),
            Err(error) => {
                *is_newer |= matches!(error, BaseError::Newer(_));
                error.to_string()
            }
        };
        refused.push(Ignored { file, reason });
    }
    Ok(good)
}

/// The files of bases in a directory, with their sequences.
pub(crate) fn bases(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for suffix in SUFFIXES {
        found.extend(numbered(dir, PREFIX, suffix)?);
    }
    Ok(found)
}

/// Deletes every base but the one of this record. Durable when this returns.
pub(crate) fn delete_all_but(dir: &Path, kept: u64) -> io::Result<()> {
    let mut found = bases(dir)?;
    found.retain(|(seq, _)| *seq != kept);
    for suffix in SUFFIXES {
        // A crash came while it was written.
        found.extend(numbered(dir, PREFIX, &format!("{suffix}.new"))?);
    }
    if found.is_empty() {
        return Ok(());
    }
    for (_, path) in found {
        disk::remove_file(&path)?;
    }
    sync_dir(dir)
}

/// Deletes segments, the oldest first, so that whatever is left has no hole. Durable when this
/// returns.
pub(crate) fn delete_segments(dir: &Path, retired: &[Segment]) -> io::Result<()> {
    for segment in retired {
        for path in forms(segment) {
            match disk::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        sync_dir(dir)?;
    }
    Ok(())
}

/// A segment may be there in both forms: a crash came between its packing and the original's end.
fn forms(segment: &Segment) -> [PathBuf; 2] {
    let plain = super::segment_name(segment.first_seq);
    let packed = format!("{plain}{}", super::SEALED_SUFFIX);
    [plain, packed].map(|name| segment.path.with_file_name(name))
}

#[cfg(test)]
mod tests;
