//! One process at a time: the `LOCK` file of a journal's directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::io::{Op, guard};

/// Name of the lock file. It is never deleted: a new file would be another lock.
pub(super) const LOCK_FILE: &str = "LOCK";

/// A lock that is held until this is dropped, or until the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What became of an attempt to take the lock.
pub(super) enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Somebody holds it; their process id as they wrote it, where that can be read.
    Theirs(Option<u32>),
}

/// Takes the lock of a directory, without waiting.
pub(super) fn take(dir: &Path) -> io::Result<Taken> {
    let path = dir.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = guard(Op::Open, &path, || options.open(&path))?;
    match file.try_lock() {
        Ok(()) => {
            guard(Op::Write(0), &path, || {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                writeln!(file, "{}", std::process::id())
            })?;
            Ok(Taken::Ours(Lock { _file: file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only for the message: the holder may be about to write it.
            let read = file.read_to_string(&mut text);
            Ok(Taken::Theirs(read.ok().and_then(|_| text.trim().parse().ok())))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
