//! Checkpoints: what the records up to one of them fold to, so that opening a journal need not
//! fold them again.
//!
//! A checkpoint is never the truth. It is made when a segment is full, beside the appends, after
//! every line of the sealed segments was read back and found to end with the record that it stands
//! for. It counts only while its own digest fits, the sealed segments that it names are still the
//! same bytes, and the records that follow continue it in both copies. Otherwise the journal is
//! folded from its first record on, to the same state.
//!
//! A file has two lines: the checkpoint, and the digest of the first line.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::base::kept;
use super::line;
use super::reader::{Form, Lines, Segment, first_seq_of_name, segments};
use crate::chain::{self, Hash};
use crate::io::{self as disk, File, sync_dir};
use crate::record::{Epoch, StreamId};
use crate::replay::state_digest;
use crate::state::{CacheState, LogState};
use crate::store::ledger::Snapshot;
use crate::store::{Head, StreamHead};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".jsonl";
/// Version of the form of the file.
pub(super) const FORMAT: u32 = 1;
/// Version of what the transition table makes of records. It is raised when old records fold to
/// another state than before while the shape of the state stays; another shape is noticed anyway.
pub const FOLD_VERSION: u32 = 6;
/// How many checkpoints are kept: the newest, and one to fall back on.
const KEPT: usize = 2;

/// What some first records of a journal fold to, and the sealed segments that hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The state, and the record after which it holds.
    pub snapshot: Snapshot,
    /// The segments that hold the records up to that one, in order.
    pub segments: Vec<Sealed>,
}

/// A sealed segment as it was when a checkpoint was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Its file name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hex.
    pub digest: String,
}

/// A checkpoint that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its file name.
    pub file: String,
    /// What does not fit.
    pub reason: String,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    pub(super) format: u32,
    pub(super) fold: u32,
    journal: Uuid,
    epoch: u64,
    seq: u64,
    hash: String,
    /// Digest of the states.
    pub(super) state: String,
    log: LogState,
    streams: BTreeMap<StreamId, StreamBody>,
    texts: BTreeMap<String, String>,
    segments: Vec<Sealed>,
    /// When the records up to here were retired, in microseconds: only in a base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retired_us: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamBody {
    seq: u64,
    stream_seq: u64,
    epoch: u64,
    hash: String,
    state: CacheState,
}

/// The second line of a file.
#[derive(Serialize, Deserialize)]
struct Seal {
    blake3: String,
}

/// A first line and the digest of it, as the two lines of a file.
pub(super) fn sealed(body: &[u8]) -> io::Result<Vec<u8>> {
    let seal = Seal { blake3: blake3::hash(body).to_hex().to_string() };
    Ok([body, b"\n", &serde_json::to_vec(&seal)?, b"\n"].concat())
}

/// The first line of a file, without its end, and its digest, which was compared.
///
/// # Errors
/// What does not fit, in words.
pub(super) fn unsealed(bytes: &[u8]) -> Result<(&[u8], String), String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let (Some(body), Some(seal), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err("it does not have two lines".into());
    };
    if !seal.ends_with(b"\n") {
        return Err("its second line has no end".into());
    }
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let seal: Seal = serde_json::from_slice(seal).map_err(|error| unreadable(&error))?;
    if blake3::hash(body).to_hex().as_str() != seal.blake3 {
        return Err("its digest is not that of its bytes".into());
    }
    Ok((body, seal.blake3))
}

pub(super) fn unreadable(error: &serde_json::Error) -> String {
    format!("it cannot be read: {error}")
}

impl Checkpoint {
    /// The bytes of its file.
    fn render(&self) -> io::Result<Vec<u8>> {
        sealed(&serde_json::to_vec(&self.body(None))?)
    }

    pub(super) fn body(&self, retired_us: Option<i64>) -> Body {
        let Snapshot { head, log, streams, texts } = &self.snapshot;
        let stream = |(id, (head, state)): (&StreamId, &(StreamHead, Arc<CacheState>))| {
            let body = StreamBody {
                seq: head.seq,
                stream_seq: head.stream_seq,
                epoch: head.epoch.0,
                hash: chain::to_hex(&head.hash),
                state: CacheState::clone(state),
            };
            (*id, body)
        };
        Body {
            format: FORMAT,
            fold: FOLD_VERSION,
            journal: head.journal_id,
            epoch: head.epoch.0,
            seq: head.seq,
            hash: chain::to_hex(&head.hash),
            state: self.state_digest(),
            log: LogState::clone(log),
            streams: streams.iter().map(stream).collect(),
            texts: texts.iter().map(|(digest, text)| (digest.clone(), text.to_string())).collect(),
            segments: self.segments.clone(),
            retired_us,
        }
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// What in it does not fit, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (body, _) = unsealed(bytes)?;
        let body: Body = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
        if (body.format, body.fold) != (FORMAT, FOLD_VERSION) {
            return Err("another version of this program made it".into());
        }
        let told = body.state.clone();
        let checkpoint = Self::of(body).ok_or("a hash in it is not one")?;
        // A field that this program's state has and the file's had not shows here.
        if checkpoint.state_digest() != told {
            return Err("another version of this program made its state".into());
        }
        Ok(checkpoint)
    }

    pub(super) fn of(body: Body) -> Option<Self> {
        let head = Head {
            journal_id: body.journal,
            epoch: Epoch(body.epoch),
            seq: body.seq,
            hash: chain::from_hex(&body.hash)?,
        };
        let stream = |(id, stream): (StreamId, StreamBody)| {
            let head = StreamHead {
                seq: stream.seq,
                stream_seq: stream.stream_seq,
                epoch: Epoch(stream.epoch),
                hash: chain::from_hex(&stream.hash)?,
            };
            Some((id, (head, Arc::new(stream.state))))
        };
        let text = |(digest, text): (String, String)| {
            (chain::digest(&text) == digest).then(|| (digest, Arc::from(text)))
        };
        let snapshot = Snapshot {
            head,
            log: Arc::new(body.log),
            streams: body.streams.into_iter().map(stream).collect::<Option<_>>()?,
            texts: body.texts.into_iter().map(text).collect::<Option<_>>()?,
        };
        Some(Self { snapshot, segments: body.segments })
    }

    /// Digest of the states, as [`crate::replay::Folded::digest`] makes it of the records.
    pub fn state_digest(&self) -> String {
        let Snapshot { log, streams, .. } = &self.snapshot;
        let caches = streams.iter().filter(|(id, _)| **id != StreamId::JOURNAL);
        state_digest(log, caches.map(|(id, (_, state))| (*id, &**state)))
    }

    /// The segments behind it, once those that it names are found to be as they were. Of the
    /// records up to `retired` nothing is to be found any more.
    ///
    /// # Errors
    /// What differs, in words.
    pub(crate) fn rest(&self, retired: u64, found: &[Segment]) -> Result<Vec<Segment>, String> {
        if self.snapshot.head.seq < retired {
            return Err("the records behind it were retired".into());
        }
        let named = still_named(&self.segments, retired);
        let (own, rest) =
            found.split_at_checked(named.len()).ok_or("a segment that it names is not there")?;
        if rest.first().map(|segment| segment.first_seq) != Some(self.snapshot.head.seq + 1) {
            return Err("no segment begins with the record behind it".into());
        }
        for (segment, sealed) in own.iter().zip(named) {
            if segment.name != sealed.name {
                return Err(format!("{} stands where {} was", segment.name, sealed.name));
            }
            let now = Sealed::of(segment).map_err(|error| format!("{}: {error}", segment.name))?;
            if now != *sealed {
                return Err(format!("{} is not what it was", segment.name));
            }
        }
        Ok(rest.to_vec())
    }
}

impl Sealed {
    fn of(segment: &Segment) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut file = disk::open(&segment.path)?;
        let bytes = io::copy(&mut file, &mut hasher)?;
        let digest = hasher.finalize().to_hex().to_string();
        Ok(Self { name: segment.name.clone(), bytes, digest })
    }
}

/// Those of some segments, in order, that hold records behind `retired`. A segment goes as a whole.
fn still_named(segments: &[Sealed], retired: u64) -> &[Sealed] {
    let is_gone =
        |sealed: &&Sealed| first_seq_of_name(&sealed.name).is_some_and(|first| first <= retired);
    let gone = segments.iter().take_while(is_gone).count();
    segments.get(gone..).unwrap_or_default()
}

/// The checkpoint files of a directory with their sequences, the newest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn checkpoints(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    numbered(dir, PREFIX, SUFFIX)
}

/// The files of a directory whose names hold a sequence between these, the highest first.
pub(super) fn numbered(dir: &Path, prefix: &str, suffix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in disk::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            (digits.len() == 20).then(|| digits.parse().ok()).flatten()
        });
        found.extend(number.map(|seq| (seq, entry.path())));
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// What the checkpoints that are made build on: the last one that was verified or made, or else the
/// base.
#[derive(Clone, Debug, Default)]
pub(crate) struct Covered {
    seq: u64,
    hash: Hash,
    segments: Vec<Sealed>,
}

impl From<&Checkpoint> for Covered {
    fn from(checkpoint: &Checkpoint) -> Self {
        let Checkpoint { snapshot, segments } = checkpoint;
        Self { seq: snapshot.head.seq, hash: snapshot.head.hash, segments: segments.clone() }
    }
}

impl Covered {
    /// Before any checkpoint: from this record on, whose segments are not there.
    pub(crate) fn from_record((seq, hash): (u64, Hash)) -> Self {
        Self { seq, hash, segments: Vec::new() }
    }
}

/// Makes the checkpoint of a snapshot, if the sealed segments hold just the records up to it.
/// Durable when this returns; older checkpoints are removed, but for the one before.
pub(crate) fn make(dir: &Path, snapshot: &Snapshot, covered: &mut Covered) -> io::Result<()> {
    if snapshot.head.seq <= covered.seq {
        return Ok(());
    }
    let mut new = segments(dir)?;
    let first = new.first().map_or(0, |segment| segment.first_seq);
    new.retain(|segment| (covered.seq + 1..=snapshot.head.seq).contains(&segment.first_seq));
    if new.iter().any(|segment| segment.form != Form::Sealed) {
        return Err(io::Error::other("a segment is not sealed"));
    }
    let end = verified_end(&new, (covered.seq, covered.hash))?;
    if end != (snapshot.head.seq, snapshot.head.hash) {
        return Err(io::Error::other("the sealed segments end with another record"));
    }
    // Those that were retired meanwhile are not named any more.
    let mut named = still_named(&covered.segments, first.saturating_sub(1)).to_vec();
    for segment in &new {
        named.push(Sealed::of(segment)?);
    }
    let checkpoint = Checkpoint { snapshot: snapshot.clone(), segments: named };
    write(dir, &checkpoint)?;
    *covered = Covered::from(&checkpoint);
    for (_, path) in checkpoints(dir)?.into_iter().skip(KEPT) {
        disk::remove_file(&path)?;
    }
    sync_dir(dir)
}

/// Reads every line of some segments and follows the chain; its end.
fn verified_end(segments: &[Segment], mut end: (u64, Hash)) -> io::Result<(u64, Hash)> {
    for line in Lines::new(segments.to_vec()) {
        let record = line::read(&line?.text).map_err(io::Error::other)?.record;
        let seq = record.seq();
        if (seq, record.envelope.previous) != (end.0 + 1, end.1) {
            return Err(io::Error::other(format!("record {seq} breaks the chain")));
        }
        end = (seq, record.hash);
    }
    Ok(end)
}

fn write(dir: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let name = format!("{PREFIX}{:020}{SUFFIX}", checkpoint.snapshot.head.seq);
    replace(dir, &name, &checkpoint.render()?)
}

/// Writes a file as a whole or not at all. Durable when this returns.
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    disk::rename(&new, &dir.join(name))?;
    sync_dir(dir)
}

/// Compares every checkpoint of a directory with what the records fold to.
#[derive(Debug, Default)]
pub(crate) struct Refolding {
    /// By sequence: the file's name, and what it says.
    waiting: BTreeMap<u64, (String, Checkpoint)>,
    /// Those that cannot be used, or say something else than the records.
    pub(crate) refused: Vec<Ignored>,
    sealed: BTreeSet<u64>,
}

impl Refolding {
    /// Reads the checkpoints of a directory.
    pub(crate) fn begin(dir: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for (seq, path) in checkpoints(dir)? {
            match disk::read(&path) {
                Ok(bytes) => files.push((seq, path, bytes)),
                // The operator that writes it has made a newer one meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // Only now: the segments that a checkpoint names are sealed before it is made.
        let kept = kept(dir)?;
        let retired = kept.retired_through();
        let mut refolding = Self::default();
        for (seq, path, bytes) in files {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let read = Checkpoint::parse(&bytes).and_then(|checkpoint| {
                checkpoint.rest(retired, &kept.segments)?;
                Ok(checkpoint)
            });
            match read {
                Ok(checkpoint) if checkpoint.snapshot.head.seq == seq => {
                    refolding.waiting.insert(seq, (file, checkpoint));
                }
                Ok(_) => {
                    let reason = "its name says another record than it does".to_owned();
                    refolding.refused.push(Ignored { file, reason });
                }
                Err(reason) => refolding.refused.push(Ignored { file, reason }),
            }
        }
        Ok(refolding)
    }

    /// Whether there is a checkpoint after this record.
    pub(crate) fn is_at(&self, seq: u64) -> bool {
        self.waiting.contains_key(&seq)
    }

    /// Compares the checkpoint after a record with what the records fold to.
    pub(crate) fn compare(&mut self, seq: u64, hash: &Hash, digest: &str) {
        let Some((file, checkpoint)) = self.waiting.remove(&seq) else { return };
        let reason = if checkpoint.snapshot.head.hash != *hash {
            "its record has another hash"
        } else if checkpoint.state_digest() != digest {
            "its state is not what the records fold to"
        } else {
            self.sealed.insert(seq);
            return;
        };
        self.refused.push(Ignored { file, reason: reason.to_owned() });
    }

    /// Tells those whose record never came.
    pub(crate) fn end(mut self) -> (Vec<Ignored>, usize) {
        for (file, _) in std::mem::take(&mut self.waiting).into_values() {
            self.refused.push(Ignored { file, reason: "its record is not there".into() });
        }
        (self.refused, self.sealed.len())
    }
}

#[cfg(test)]
mod tests;
