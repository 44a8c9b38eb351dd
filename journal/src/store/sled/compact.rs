//! Makes sled's copy anew, as small as its records: a new generation beside the one in use.
//!
//! | dies | what the next start finds |
//! | --- | --- |
//! | while the new generation is filled | `CURRENT` names the old one, which is whole |
//! | after `CURRENT` was replaced | the new one, synced before |
//! | while older ones are deleted | the new one, and more to delete next time |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::OpenOptions;
use super::heal::{self, Found};
use super::lock::{self, Taken};
use super::open::{OpenError, OpenReport, Read, read};

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Name of the new generation.
    pub generation: String,
    /// How many records it holds.
    pub records: u64,
    /// Size of the former one, in bytes.
    pub bytes_before: u64,
    /// Size of the new one.
    pub bytes_after: u64,
    /// Names of the generations that were deleted: all but the new and the former one.
    pub deleted: Vec<String>,
}

/// Makes a new generation of sled's copy from the audit file, and deletes all but the former one.
/// The audit file is not touched.
///
/// # Errors
/// [`OpenError::Locked`] while an operator runs; otherwise as when the journal is opened. A journal
/// that has to be healed first is refused: the operator does that when it starts.
pub fn compact(dir: &Path) -> Result<Compacted, OpenError> {
    let io_error = |source| OpenError::from_io(dir, source);
    // Nothing is made here: a wrong name is told as such.
    fs::metadata(dir).map_err(io_error)?;
    let _lock = match lock::take(dir).map_err(io_error)? {
        Taken::Ours(lock) => lock,
        Taken::Theirs(pid) => return Err(OpenError::Locked { dir: dir.to_owned(), pid }),
    };
    let options = OpenOptions::new(dir.to_owned(), Uuid::nil());
    let Read { loaded, found, .. } = read(&options, &mut Vec::new())?;
    let former = match found {
        // It is closed here; nothing is appended while the lock is held.
        Found::Usable { name, .. } => name,
        Found::Unusable { path, reason } => return Err(OpenError::Sled { path, reason }),
        Found::Missing => {
            let reason = "there is no copy in sled to compact".to_owned();
            return Err(OpenError::Sled { path: dir.to_owned(), reason });
        }
    };
    let bytes_before = size(&dir.join(&former)).map_err(io_error)?;
    let mut report = OpenReport::default();
    drop(heal::rebuild(dir, &loaded, "compaction", &mut report)?);
    let generation = heal::current(dir).map_err(io_error)?.unwrap_or_default();
    let deleted = heal::delete_older(dir, &[&generation, &former]).map_err(io_error)?;
    let bytes_after = size(&dir.join(&generation)).map_err(io_error)?;
    let records = loaded.ledger.head().seq - loaded.retired.0;
    Ok(Compacted { generation, records, bytes_before, bytes_after, deleted })
}

/// Size of all files in a directory, in bytes.
pub(super) fn size(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut waiting: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}
