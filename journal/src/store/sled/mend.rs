//! Mends an audit file that is damaged where no crash can have torn it.
//!
//! Both copies are read for whatever can be read of them, and put together by the chain of
//! hashes: each record names the hash of the one before, so a record that fits is the right one,
//! wherever it was found. When that gives every record that is known to have been there, the
//! damaged segments are written anew and the old ones kept aside as `.broken`. When it does not,
//! nothing is changed, and the journal is not opened: a [`OpenError::Gap`] where records are lost,
//! [`OpenError::Forked`] where two different records claim one place.
//!
//! sled wipes what follows damage when it is opened, so only a copy of it is opened here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::generation::{Generation, guarded};
use super::heal::{self, OPEN_DEADLINE};
use super::open::{Healed, OpenError};
use crate::audit::{
    Base, Form, Kept, Lines, RawLine, Segment, StoredLine, beginning, create_broken, kept, render,
    segment_name,
};
use crate::io::{self as disk, File, sync_dir};
use crate::store::ledger::{Entry, external_digests};

/// What the copy of sled is called that is opened instead of the original.
const SALVAGE_DIR: &str = "salvage";

/// What could be read of the audit file.
#[derive(Default)]
struct Readable {
    /// What stands for the retired records, which are not asked for.
    base: Option<Base>,
    segments: Vec<Segment>,
    /// By sequence; more than one where they differ.
    records: BTreeMap<u64, Vec<Entry>>,
    /// Sequences that stand in each segment, in order; none for a line that cannot be read.
    lines: BTreeMap<u64, Vec<Option<u64>>>,
    /// Lines behind the last readable one.
    trailing: Vec<RawLine>,
}

impl Readable {
    /// The last retired record; 0 without one.
    fn retired(&self) -> u64 {
        self.base.as_ref().map_or(0, Base::seq)
    }
}

/// Puts the audit file together again.
pub(super) fn mend(dir: &Path, journal_id: Uuid, damage: &OpenError) -> Result<Healed, OpenError> {
    let io_error = |source| OpenError::from_io(dir, source);
    let audit = read_audit(dir).map_err(io_error)?;
    let sled = salvage(dir)?;
    let known = audit.records.keys().chain(sled.keys()).max().copied().unwrap_or(0);
    let (merged, from_sled) = merge(&audit, &sled, journal_id)?;
    let found_seq = audit.retired() + merged.len() as u64;
    let lost = |known_seq: u64| {
        let damage = damage.to_string();
        Err(OpenError::Gap { found_seq, known_seq, damage })
    };
    if found_seq < known {
        return lost(known);
    }
    let tail: Vec<&Entry> =
        merged.iter().filter(|entry| !audit.records.contains_key(&entry.record.seq())).collect();
    if !covers(&audit.trailing, &tail) {
        return lost(found_seq + 1);
    }
    let whole = merged.iter().rposition(|entry| entry.record.envelope.rest == 0);
    let whole = whole.map_or(0, |index| index + 1);
    if whole < merged.len() && !is_torn(&audit.trailing) && !audit.trailing.is_empty() {
        return lost(found_seq + 1);
    }
    let kept_in = rewrite(dir, &audit, merged.get(..whole).unwrap_or(&merged)).map_err(io_error)?;
    Ok(Healed::AuditMended {
        damage: damage.to_string(),
        records: from_sled,
        kept_in,
        lost_texts: lost_texts(&audit, &merged),
    })
}

fn read_audit(dir: &Path) -> io::Result<Readable> {
    let Kept { base, segments, .. } = kept(dir)?;
    let mut read = Readable { base, segments, ..Readable::default() };
    for line in Lines::new(read.segments.clone()) {
        let line = line?;
        let segment = read.segments.iter().find(|segment| *segment.name == *line.position.segment);
        let first_seq = segment.map_or(0, |segment| segment.first_seq);
        let entry = StoredLine::parse(&line.text).ok().and_then(|stored| stored.decode().ok());
        let lines = read.lines.entry(first_seq).or_default();
        let Some(entry) = entry.filter(|_| line.terminated) else {
            lines.push(None);
            read.trailing.push(line);
            continue;
        };
        lines.push(Some(entry.record.seq()));
        read.trailing.clear();
        let same = read.records.entry(entry.record.seq()).or_default();
        if same.iter().all(|other| other.record.hash != entry.record.hash) {
            same.push(entry);
        }
    }
    Ok(read)
}

/// All records that a copy of the current generation still gives out.
fn salvage(dir: &Path) -> Result<BTreeMap<u64, Entry>, OpenError> {
    let io_error = |source| OpenError::from_io(dir, source);
    let Some(name) = heal::current(dir).map_err(io_error)? else { return Ok(BTreeMap::new()) };
    let copy = dir.join(SALVAGE_DIR);
    remove(&copy).map_err(io_error)?;
    copy_tree(&dir.join(name), &copy).map_err(io_error)?;
    let opened = guarded(OPEN_DEADLINE, {
        let copy = copy.clone();
        move || Generation::open(&copy).map(|generation| generation.readable())
    });
    remove(&copy).map_err(io_error)?;
    // Whatever is wrong with it, it has nothing to give.
    let found = opened.ok().and_then(Result::ok).unwrap_or_default();
    Ok(found.into_iter().map(|entry| (entry.record.seq(), entry)).collect())
}

/// The records that follow each other from the first one on, and how many only sled had.
fn merge(
    audit: &Readable,
    sled: &BTreeMap<u64, Entry>,
    journal_id: Uuid,
) -> Result<(Vec<Entry>, u64), OpenError> {
    let own = audit.records.values().flatten().next().map(|it| it.record.envelope.journal_id);
    let mut ledger = beginning(audit.base.as_ref(), own.unwrap_or(journal_id));
    let (mut merged, mut from_sled) = (Vec::new(), 0);
    loop {
        let head = ledger.head();
        let seq = head.seq + 1;
        let theirs = sled
            .get(&seq)
            .filter(|entry| own.is_none_or(|own| own == entry.record.envelope.journal_id));
        let mut fitting: Vec<&Entry> = audit.records.get(&seq).into_iter().flatten().collect();
        let ours = fitting.len();
        fitting.extend(theirs);
        let fits = |entry: &&Entry| entry.record.envelope.previous == head.hash;
        let hashes: BTreeSet<_> =
            fitting.iter().copied().filter(fits).map(|entry| entry.record.hash).collect();
        if hashes.len() > 1 {
            return Err(OpenError::Forked { seq });
        }
        let next = fitting.iter().position(fits);
        let Some((index, entry)) = next.and_then(|at| fitting.get(at).map(|entry| (at, *entry)))
        else {
            return Ok((merged, from_sled));
        };
        if ledger.replay(entry).is_err() {
            return Ok((merged, from_sled));
        }
        from_sled += u64::from(index >= ours);
        merged.push(entry.clone());
    }
}

/// Whether the records that only sled has are all that stood in the audit file's damaged end.
///
/// Damage changes bytes or cuts them off, it adds none: the lines of these records must be at
/// least as long as what is there. A line whose long text is lost is as long as nobody knows;
/// then the line ends are counted.
fn covers(trailing: &[RawLine], tail: &[&Entry]) -> bool {
    if trailing.is_empty() || is_torn(trailing) {
        return true;
    }
    let there: usize =
        trailing.iter().map(|line| line.text.len() + usize::from(line.terminated)).sum();
    let rendered: usize =
        tail.iter().filter_map(|entry| render(entry).ok()).map(|line| line.len()).sum();
    if tail.iter().any(|entry| !missing_texts(entry).is_empty()) {
        return tail.len() >= trailing.len();
    }
    rendered >= there
}

/// What a crash leaves behind: a last line without end, or blocks that were never written.
fn is_torn(trailing: &[RawLine]) -> bool {
    match trailing {
        [] => false,
        [line] if !line.terminated => line.in_last_segment,
        [line, ..] => line.in_last_segment && line.text.contains(&0),
    }
}

fn missing_texts(entry: &Entry) -> Vec<String> {
    let digests = external_digests(&entry.record.event).into_iter();
    digests.filter(|digest| !entry.blobs.contains_key(digest)).collect()
}

fn lost_texts(audit: &Readable, merged: &[Entry]) -> Vec<String> {
    let of_base = audit.base.iter().flat_map(|base| base.snapshot.texts.keys());
    let there: BTreeSet<&String> =
        merged.iter().flat_map(|entry| entry.blobs.keys()).chain(of_base).collect();
    let named: BTreeSet<String> = merged.iter().flat_map(missing_texts).collect();
    named.into_iter().filter(|digest| !there.contains(digest)).collect()
}

/// Writes every segment anew that does not hold just its records, and keeps the old one aside.
fn rewrite(dir: &Path, audit: &Readable, merged: &[Entry]) -> io::Result<Vec<PathBuf>> {
    let mut firsts: Vec<u64> = audit.segments.iter().map(|segment| segment.first_seq).collect();
    let kept_from = audit.retired() + 1;
    if firsts.first() != Some(&kept_from) {
        firsts.insert(0, kept_from);
    }
    let mut kept_in = Vec::new();
    for (index, first) in firsts.iter().enumerate() {
        let next = firsts.get(index + 1).copied().unwrap_or(u64::MAX);
        let own: Vec<&Entry> =
            merged.iter().filter(|it| (*first..next).contains(&it.record.seq())).collect();
        let expected = own.iter().map(|entry| Some(entry.record.seq()));
        let there = audit.lines.get(first).map_or(&[][..], Vec::as_slice);
        let old = audit.segments.iter().find(|segment| segment.first_seq == *first);
        if old.is_some() && expected.eq(there.iter().copied()) {
            continue;
        }
        kept_in.extend(replace(dir, *first, old, &own)?);
    }
    Ok(kept_in)
}

/// The new segment is durable before it takes the place of the old one, whose copy is, too.
fn replace(
    dir: &Path,
    first: u64,
    old: Option<&Segment>,
    own: &[&Entry],
) -> io::Result<Option<PathBuf>> {
    let name = segment_name(first);
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    for entry in own {
        file.write_all(&render(entry).map_err(io::Error::other)?)?;
    }
    file.sync_all()?;
    let mut kept_in = None;
    if let Some(old) = old {
        let (path, mut kept) = create_broken(dir, &old.name)?;
        kept.write_all(&disk::read(&old.path)?)?;
        kept.sync_all()?;
        kept_in = Some(path);
    }
    disk::rename(&new, &dir.join(&name))?;
    sync_dir(dir)?;
    if let Some(old) = old.filter(|old| old.form == Form::Sealed) {
        disk::remove_file(&old.path)?;
        sync_dir(dir)?;
    }
    Ok(kept_in)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    disk::create_dir_all(to)?;
    for entry in disk::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else {
            disk::copy(&entry.path(), &to)?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match disk::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
