//! Appends to the last segment, and cuts its torn tail. Only under the journal's lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::reader::Segment;
use super::{TornTail, segment_name};

/// Takes whole lines and returns when they are durable.
pub(crate) trait Sink: Send {
    /// Writes and syncs the lines. After an error nobody can tell what is on the disk.
    fn append(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
}

impl Writer {
    /// Opens the last segment, or makes the first one.
    ///
    /// What is in it may have survived a kill only in memory, and is about to be acted on, so it
    /// is synced before it counts.
    pub(crate) fn open(dir: &Path, segments: &[Segment]) -> io::Result<Self> {
        let (path, is_new) = match segments.last() {
            Some(segment) => (segment.path.clone(), false),
            None => (dir.join(segment_name(1)), true),
        };
        let file = OpenOptions::new().append(true).create_new(is_new).mode(0o600).open(path)?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(Self { file })
    }
}

impl Sink for Writer {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()
    }
}

/// Moves a torn tail into a file of its own. The copy is durable before the tail is cut.
pub(crate) fn cut_torn_tail(dir: &Path, torn: &TornTail) -> io::Result<PathBuf> {
    let mut segment = OpenOptions::new().read(true).write(true).open(dir.join(&torn.segment))?;
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

fn create_broken(dir: &Path, segment: &str) -> io::Result<(PathBuf, File)> {
    let mut number = 1_u32;
    loop {
        let path = dir.join(format!("{segment}.broken-{number}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
            Ok(file) => return Ok((path, file)),
        }
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
