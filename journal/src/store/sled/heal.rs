//! Makes the copy in sled equal to the audit file, which counts.
//!
//! Nothing is ever deleted: what cannot be used is moved aside. Every step can be interrupted; the
//! next start does it again or goes on from there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::generation::{Comparison, Error, Generation, LOCKED, Row, Rows, guarded};
use super::open::{Healed, OpenError, OpenReport};
use crate::audit::{Lines, Loaded, Segment, StoredLine};
use crate::io::{self as disk, File, sync_dir};
use crate::store::ledger::Entry;

/// Names the generation that is in use.
const CURRENT_FILE: &str = "CURRENT";
const GENERATION_PREFIX: &str = "gen-";
const QUARANTINE_PREFIX: &str = "quarantine-";
/// How long sled may take to open and compare. A million records take two seconds.
pub(super) const OPEN_DEADLINE: Duration = Duration::from_secs(120);
/// A generation is made anew once the retired records in it are at least one for each so many kept
/// ones. So it takes half as much room again as it needs, at most, and not every start is a long one.
const TRIMMED_FROM: u64 = 2;
/// Records that are added to sled at once.
const FILL_BATCH: usize = 256;

/// What there is of sled.
pub(super) enum Found {
    /// It holds the journal's first records.
    Usable {
        /// The open database.
        generation: Generation,
        /// Its name.
        name: String,
        /// Which records it holds.
        rows: Rows,
    },
    /// It holds something else, or cannot be opened.
    Unusable {
        /// Its directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is none.
    Missing,
}

/// Opens the current generation and compares it with the audit file.
pub(super) fn inspect(dir: &Path, loaded: &Loaded) -> Result<Found, OpenError> {
    let Some(name) = current(dir).map_err(|source| OpenError::from_io(dir, source))? else {
        return Ok(Found::Missing);
    };
    let path = dir.join(&name);
    let (base, hashes) = (loaded.ledger.base(), loaded.ledger.hashes().to_vec());
    let retired = loaded.retired;
    let journal_id = loaded.ledger.head().journal_id;
    let opened = guarded(OPEN_DEADLINE, {
        let path = path.clone();
        move || {
            let generation = Generation::open(&path)?;
            let comparison = generation.compare(retired, base, &hashes, journal_id)?;
            Ok::<_, Error>((generation, comparison))
        }
    });
    match opened {
        Ok(Ok((generation, Comparison::Prefix(rows)))) => {
            Ok(Found::Usable { generation, name, rows })
        }
        Ok(Ok((_, Comparison::Ahead(sled_seq)))) => Err(audit_behind(loaded, name, sled_seq)),
        Ok(Ok((_, Comparison::Forked(seq)))) => Err(OpenError::Forked { seq }),
        Ok(Ok((_, Comparison::Different(reason)))) => Ok(Found::Unusable { path, reason }),
        Ok(Err(error)) => refused_or_unusable(path, error),
        Err(reason) => Ok(Found::Unusable { path, reason }),
    }
}

/// A full or read-only disk is not sled's fault, and moving its files would not help.
fn refused_or_unusable(path: PathBuf, error: Error) -> Result<Found, OpenError> {
    let reason = error.to_string();
    let io = match error {
        Error::Io(error) | Error::Sled(::sled::Error::Io(error)) => error,
        Error::NewerFormat(_) => return Err(OpenError::NewerFormat { what: reason }),
        Error::Sled(_) | Error::Occupied(_) | Error::TooLarge { .. } => {
            return Ok(Found::Unusable { path, reason });
        }
    };
    // Under our own lock nobody else can be in there but a process that ignores it.
    if reason.contains(LOCKED) {
        return Err(OpenError::Locked { dir: path, pid: None });
    }
    match OpenError::from_io(&path, io) {
        OpenError::Io { .. } => Ok(Found::Unusable { path, reason }),
        refused => Err(refused),
    }
}

fn audit_behind(loaded: &Loaded, generation: String, sled_seq: u64) -> OpenError {
    let mut last = (String::new(), 0);
    for line in Lines::new(loaded.segments.clone()).flatten() {
        let torn = loaded.torn.as_ref().is_some_and(|torn| {
            *torn.segment == *line.position.segment && line.position.offset >= torn.offset
        });
        if !torn {
            last = (line.position.segment.to_string(), line.position.line);
        }
    }
    let (segment, line) = last;
    let audit_seq = loaded.ledger.head().seq;
    OpenError::AuditBehind { audit_seq, segment, line, generation, sled_seq }
}

/// Adds the records that a usable generation lacks, or makes it anew where too many of its records
/// were retired.
pub(super) fn complete(
    dir: &Path,
    loaded: &Loaded,
    generation: Generation,
    name: &str,
    rows: Rows,
    report: &mut OpenReport,
) -> Result<Generation, OpenError> {
    let to = loaded.ledger.head().seq;
    let (gone, kept) = (rows.up_to(loaded.retired.0), to - loaded.retired.0);
    if gone > 0 && gone >= kept / TRIMMED_FROM {
        drop(generation);
        return trim(dir, loaded, gone, report);
    }
    if rows.last < to {
        fill(&dir.join(name), loaded, &generation, rows.last + 1)?;
        report.healed.push(Healed::Appended { from: rows.last + 1, to });
    }
    set_current(dir, name).map_err(|source| OpenError::from_io(dir, source))?;
    Ok(generation)
}

/// Makes a new generation without the retired records. The one before is not kept: it would take the
/// room that the retirement was to give.
fn trim(
    dir: &Path,
    loaded: &Loaded,
    retired: u64,
    report: &mut OpenReport,
) -> Result<Generation, OpenError> {
    let (generation, name) = make(dir, loaded)?;
    delete_older(dir, &[&name]).map_err(|source| OpenError::from_io(dir, source))?;
    report.healed.push(Healed::Trimmed { generation: name, retired });
    Ok(generation)
}

/// Makes a new generation from the audit file.
pub(super) fn rebuild(
    dir: &Path,
    loaded: &Loaded,
    reason: &str,
    report: &mut OpenReport,
) -> Result<Generation, OpenError> {
    let (generation, name) = make(dir, loaded)?;
    let records = loaded.ledger.head().seq - loaded.retired.0;
    if records > 0 {
        let reason = reason.to_owned();
        report.healed.push(Healed::Rebuilt { reason, generation: name, records });
    }
    Ok(generation)
}

/// Deletes all generations but these, and gives their names.
pub(super) fn delete_older(dir: &Path, kept: &[&str]) -> io::Result<Vec<String>> {
    let mut deleted = Vec::new();
    let mut numbers = generations(dir)?;
    numbers.sort_unstable();
    for number in numbers {
        let name = generation_name(number);
        if !kept.contains(&name.as_str()) {
            disk::remove_dir_all(&dir.join(&name))?;
            deleted.push(name);
        }
    }
    sync_dir(dir)?;
    Ok(deleted)
}

fn make(dir: &Path, loaded: &Loaded) -> Result<(Generation, String), OpenError> {
    let io_error = |source| OpenError::from_io(dir, source);
    let name = next_generation(dir).map_err(io_error)?;
    let path = dir.join(&name);
    disk::create_dir(&path).map_err(io_error)?;
    let generation = Generation::open(&path).map_err(|error| sled_error(&path, error))?;
    fill(&path, loaded, &generation, loaded.retired.0 + 1)?;
    sync_dir(dir).map_err(io_error)?;
    set_current(dir, &name).map_err(io_error)?;
    Ok((generation, name))
}

/// Moves a directory aside, under a name that was not used before.
pub(super) fn quarantine(dir: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    let aside = loop {
        let aside = dir.join(format!("{QUARANTINE_PREFIX}{number}"));
        if !aside.try_exists()? {
            break aside;
        }
        number += 1;
    };
    disk::rename(path, &aside)?;
    sync_dir(dir)?;
    Ok(aside)
}

fn fill(path: &Path, loaded: &Loaded, generation: &Generation, from: u64) -> Result<(), OpenError> {
    let mut batch = Vec::with_capacity(FILL_BATCH);
    let failed = |error| sled_error(path, error);
    for entry in entries(&loaded.segments, from, loaded.ledger.head().seq) {
        let entry = entry.map_err(|source| OpenError::from_io(path, source))?;
        batch.push(Row::of(&entry).map_err(failed)?);
        if batch.len() == FILL_BATCH {
            generation.append(&batch).map_err(failed)?;
            batch.clear();
        }
    }
    generation.append(&batch).map_err(failed)?;
    generation.sync().map_err(failed)
}

/// The records of an audit file that was verified a moment ago.
fn entries(segments: &[Segment], from: u64, to: u64) -> impl Iterator<Item = io::Result<Entry>> {
    let changed = |error| io::Error::other(format!("the audit file changed: {error}"));
    let before = segments.iter().rposition(|segment| segment.first_seq <= from).unwrap_or(0);
    let segments = segments.get(before..).unwrap_or_default().to_vec();
    // What may follow the last record is a torn tail.
    let lines = segments.first().map_or(0, |first| (to + 1).saturating_sub(first.first_seq));
    Lines::new(segments)
        .take(usize::try_from(lines).unwrap_or(usize::MAX))
        .map(move |line| {
            let line = StoredLine::parse(&line?.text).map_err(changed)?;
            Ok((line.seq >= from).then_some(line))
        })
        .filter_map(Result::transpose)
        .map(move |line: io::Result<StoredLine>| line?.decode().map_err(changed))
}

fn sled_error(path: &Path, error: Error) -> OpenError {
    let reason = error.to_string();
    match error {
        Error::Io(error) | Error::Sled(::sled::Error::Io(error)) => OpenError::from_io(path, error),
        Error::Sled(_) | Error::Occupied(_) | Error::TooLarge { .. } | Error::NewerFormat(_) => {
            OpenError::Sled { path: path.to_owned(), reason }
        }
    }
}

/// The generation in use: the one that `CURRENT` names, or else the newest. A crash between the
/// making of a generation and its naming leaves such a newest one; it is a prefix.
pub(super) fn current(dir: &Path) -> io::Result<Option<String>> {
    if let Some(number) = named(dir)? {
        let name = generation_name(number);
        if dir.join(&name).is_dir() {
            return Ok(Some(name));
        }
    }
    let newest = generations(dir)?.into_iter().max();
    Ok(newest.map(generation_name))
}

fn next_generation(dir: &Path) -> io::Result<String> {
    let newest = generations(dir)?.into_iter().chain(named(dir)?).max().unwrap_or(0);
    Ok(generation_name(newest + 1))
}

/// The number of the generation that `CURRENT` names; none when there is no such file, or nothing
/// readable in it.
fn named(dir: &Path) -> io::Result<Option<u64>> {
    match disk::read(&dir.join(CURRENT_FILE)) {
        Ok(text) => Ok(generation_number(String::from_utf8_lossy(&text).trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in disk::read_dir(dir)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(generation_number);
        if entry.file_type()?.is_dir() {
            numbers.extend(number);
        }
    }
    Ok(numbers)
}

pub(super) fn generation_name(number: u64) -> String {
    format!("{GENERATION_PREFIX}{number}")
}

fn generation_number(name: &str) -> Option<u64> {
    name.strip_prefix(GENERATION_PREFIX)?.parse().ok()
}

/// Replaces `CURRENT` in one step, unless it says so already.
fn set_current(dir: &Path, name: &str) -> io::Result<()> {
    if named(dir)? == generation_number(name) {
        return Ok(());
    }
    let new = dir.join(format!("{CURRENT_FILE}.new"));
    let mut file = File::create(&new)?;
    file.write_all(format!("{name}\n").as_bytes())?;
    file.sync_all()?;
    disk::rename(&new, &dir.join(CURRENT_FILE))?;
    sync_dir(dir)
}
