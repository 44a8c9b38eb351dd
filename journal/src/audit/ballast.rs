//! Room that is kept for a full disk: a file that holds nothing and can be removed.
//!
//! When the disk is full, what was begun has still to be brought to its end in the journal: the
//! outcome of an effect that has happened must not be lost for want of a few kilobytes. So room is
//! taken while there is plenty, and given back when there is none. From then on no new work is
//! begun until the room can be taken again: see [`Ballast::is_whole`].

use std::io;
use std::path::{Path, PathBuf};

use crate::io::{File, remove_file, sync_dir};

/// Name of the file.
const BALLAST_FILE: &str = "BALLAST";
/// How much room is kept: some thousands of outcomes, and the 512 KiB that sled takes at a time.
pub(crate) const BALLAST_BYTES: u64 = 4 << 20;

/// Whether the room is there.
pub(crate) fn is_kept_in(dir: &Path) -> bool {
    std::fs::metadata(dir.join(BALLAST_FILE)).is_ok_and(|about| about.len() == BALLAST_BYTES)
}

/// The room that is kept in one directory.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    is_whole: bool,
}

impl Ballast {
    /// Takes the room, if it is not taken already and there is enough.
    pub(crate) fn take(dir: &Path) -> Self {
        let path = dir.join(BALLAST_FILE);
        let is_whole = is_kept_in(dir);
        let mut ballast = Self { path, is_whole };
        ballast.is_whole();
        ballast
    }

    /// Whether the room is there. Where it is not, it is tried to be taken: only if there is twice
    /// as much, so that it does not come and go with every record on a disk that is nearly full.
    pub(crate) fn is_whole(&mut self) -> bool {
        if !self.is_whole {
            self.is_whole = self.fill().is_ok();
            if !self.is_whole {
                // It may be there in part, and room is just what is missing.
                drop(remove_file(&self.path));
            }
        }
        self.is_whole
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        file.allocate(2 * BALLAST_BYTES)?;
        file.set_len(BALLAST_BYTES)?;
        file.sync_all()
    }

    /// Gives the room back; whether there was any.
    pub(crate) fn release(&mut self) -> bool {
        self.is_whole = false;
        release_in(self.path.parent().unwrap_or(Path::new(".")))
    }
}

/// Gives back the room of a directory that is not open; whether there was any.
pub(crate) fn release_in(dir: &Path) -> bool {
    // Room is given back at once; that the name is gone need not be durable.
    let removed = remove_file(&dir.join(BALLAST_FILE)).is_ok();
    removed && sync_dir(dir).is_ok()
}
