//! Appends to the last segment, begins a new one when it is full, and cuts its torn tail. Only
//! under the journal's lock.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::ballast::Ballast;
use super::checkpoint::{self, Covered};
use super::reader::{Form, Segment};
use super::seal::seal_all;
use super::{TornTail, segment_name};
use crate::io::{File, is_full, sync_dir};
use crate::store::ledger::Snapshot;

/// Takes whole lines and returns when they are durable.
pub(crate) trait Sink: Send + std::fmt::Debug {
    /// Writes and syncs the lines, of which the first one has this sequence. After an error
    /// nobody can tell what is on the disk.
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()>;

    /// Whether the next lines go to a new segment.
    fn is_full(&self) -> bool;

    /// What the journal folds to where a segment ends: the lines handed over next begin a new one.
    fn offer(&mut self, boundary: Option<Snapshot>);

    /// Whether there is room to bring to its end what would be begun now.
    fn has_reserve(&mut self) -> bool;

    /// Gives up the room that is kept for a full disk.
    fn release_reserve(&mut self);
}

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    file: File,
    /// How long the last segment is.
    bytes: u64,
    /// From this size on a segment is full.
    segment_max: u64,
    /// Packs full segments and makes checkpoints; at most one at a time.
    sealing: Option<JoinHandle<()>>,
    /// The state where the last segment begins, until a checkpoint is made of it.
    boundary: Option<Snapshot>,
    /// What the last checkpoint covers.
    covered: Arc<Mutex<Covered>>,
    /// Room for a full disk; none until [`Writer::keep_reserve`].
    ballast: Option<Ballast>,
}

impl Writer {
    /// Opens the last segment, or makes the first one, which begins with `next_seq`.
    ///
    /// What is in it may have survived a kill only in memory, and is about to be acted on, so it
    /// is synced before it counts.
    pub(crate) fn open(
        dir: &Path,
        segments: &[Segment],
        next_seq: u64,
        segment_max: u64,
        covered: Covered,
        boundary: Option<Snapshot>,
    ) -> io::Result<Self> {
        let last = segments.last().filter(|segment| segment.form == Form::Plain);
        let (path, is_new) = match last {
            Some(segment) => (segment.path.clone(), false),
            None => (dir.join(segment_name(next_seq)), true),
        };
        let file = if is_new { File::create_new(&path)? } else { File::append(&path)? };
        file.sync_all()?;
        sync_dir(dir)?;
        let bytes = file.len()?;
        let mut writer = Self {
            dir: dir.to_owned(),
            file,
            bytes,
            segment_max,
            sealing: None,
            boundary,
            covered: Arc::new(Mutex::new(covered)),
            ballast: None,
        };
        writer.seal();
        Ok(writer)
    }

    /// Takes the room that is kept for a full disk. Last of all when a journal is opened: what
    /// has to be healed may need it first.
    pub(crate) fn keep_reserve(&mut self) {
        self.ballast = Some(Ballast::take(&self.dir));
    }

    /// What the last checkpoint covers; while it is locked, none is made.
    pub(crate) fn covered(&self) -> Arc<Mutex<Covered>> {
        Arc::clone(&self.covered)
    }

    /// Does what may need room; where there is none, again with the room that was kept. A sync is
    /// never done again, so there is none in it.
    fn with_room<T>(&mut self, act: impl Fn(&mut Self) -> io::Result<T>) -> io::Result<T> {
        match act(self) {
            Err(error) if is_full(&error) => {
                if self.ballast.as_mut().is_some_and(Ballast::release) {
                    act(self)
                } else {
                    Err(error)
                }
            }
            done => done,
        }
    }

    /// Writes the lines at the end, wherever a former try may have ended.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.len()? > self.bytes {
            self.file.set_len(self.bytes)?;
        }
        self.file.write_all(lines)
    }

    fn rotate(&mut self, first_seq: u64) -> io::Result<()> {
        let path = self.dir.join(segment_name(first_seq));
        self.file = self.with_room(|_| File::create_new(&path))?;
        self.file.sync_all()?;
        sync_dir(&self.dir)?;
        self.bytes = 0;
        self.seal();
        Ok(())
    }

    /// Packs what is full and makes a checkpoint, beside the appends. A segment that cannot be
    /// packed stays as it is: nothing is lost but room, and the next start or rotation tries
    /// again. Without a checkpoint nothing is lost but time at the next start.
    fn seal(&mut self) {
        if self.sealing.as_ref().is_some_and(|sealing| !sealing.is_finished()) {
            return;
        }
        self.finish_sealing();
        let dir = self.dir.clone();
        let (boundary, covered) = (self.boundary.take(), Arc::clone(&self.covered));
        let packing = std::thread::Builder::new().name("journal-seal".into());
        let pack = move || {
            let sealed = seal_all(&dir);
            if let (Ok(()), Some(boundary)) = (sealed, boundary) {
                let mut covered = covered.lock().unwrap_or_else(PoisonError::into_inner);
                // It is only a short cut; the next rotation makes another one.
                drop(checkpoint::make(&dir, &boundary, &mut covered));
            }
        };
        self.sealing = packing.spawn(pack).ok();
    }

    fn finish_sealing(&mut self) {
        if let Some(sealing) = self.sealing.take() {
            // It has no result, and a panic in it costs only room.
            drop(sealing.join());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nothing may write in the directory once the lock is given back.
        self.finish_sealing();
    }
}

impl Sink for Writer {
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()> {
        if self.is_full() {
            self.rotate(first_seq)?;
        }
        self.with_room(|writer| writer.write(lines))?;
        self.bytes += lines.len() as u64;
        self.file.sync_data()
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.segment_max
    }

    fn offer(&mut self, boundary: Option<Snapshot>) {
        self.boundary = boundary;
    }

    fn has_reserve(&mut self) -> bool {
        self.ballast.as_mut().is_none_or(Ballast::is_whole)
    }

    fn release_reserve(&mut self) {
        if let Some(ballast) = &mut self.ballast {
            ballast.release();
        }
    }
}

/// Moves a torn tail into a file of its own. The copy is durable before the tail is cut.
pub(crate) fn cut_torn_tail(dir: &Path, torn: &TornTail) -> io::Result<PathBuf> {
    let mut segment = File::edit(&dir.join(&torn.segment))?;
    let mut bytes = Vec::new();
    segment.seek(SeekFrom::Start(torn.offset))?;
    segment.read_to_end(&mut bytes)?;
    let (path, mut kept) = create_broken(dir, &torn.segment)?;
    kept.write_all(&bytes)?;
    kept.sync_all()?;
    sync_dir(dir)?;
    segment.set_len(torn.offset)?;
    segment.sync_all()?;
    Ok(path)
}

/// A new file that keeps what is taken out of a segment.
pub(crate) fn create_broken(dir: &Path, segment: &str) -> io::Result<(PathBuf, File)> {
    let mut number = 1_u32;
    loop {
        let path = dir.join(format!("{segment}.broken-{number}"));
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
            Ok(file) => return Ok((path, file)),
        }
    }
}
