//! Every I/O by which the journal changes something on the disk, and those by which it reads what
//! it is about to act on: a narrow seam over `std::fs`.
//!
//! Here it is nothing but `std::fs`. In the tests of this crate each of these calls is counted and
//! noted, and can be made to fail: see the module `faults`. sled has I/O of its own, which no seam
//! can reach; what is asked of it counts as one I/O each ([`Op::Sled`]).

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) mod faults;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// A file is opened or listed, to be read.
    Read,
    /// A file or directory is made, or one that exists is opened to be written.
    Open,
    /// Bytes are written.
    Write(usize),
    /// The bytes of a file are synced.
    SyncData,
    /// The bytes of a file and what is known about it are synced.
    SyncAll,
    /// The names in a directory are synced.
    SyncDir,
    /// A file is cut.
    SetLen,
    /// Room is taken for a file.
    Allocate,
    /// A file or directory gets another name.
    Rename,
    /// A file or directory is removed.
    Remove,
    /// sled is asked for something that makes it write.
    Sled,
}

/// Does one I/O.
#[cfg(not(test))]
pub(crate) fn guard<T, E>(
    _op: Op,
    _path: &Path,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    act()
}

/// Does one I/O, unless a test wants it to fail.
#[cfg(test)]
pub(crate) fn guard<T, E: From<io::Error>>(
    op: Op,
    path: &Path,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    faults::guard(op, path, act)
}

/// A file that is written. It is its owner's only.
#[derive(Debug)]
pub(crate) struct File {
    file: fs::File,
    path: PathBuf,
}

impl File {
    fn open(path: &Path, options: &mut fs::OpenOptions) -> io::Result<Self> {
        let file = guard(Op::Open, path, || options.mode(0o600).open(path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Makes a file to be appended to. It must not exist.
    pub(crate) fn create_new(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().append(true).create_new(true))
    }

    /// Makes a file anew, whether it is there or not.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Opens a file that exists at its end.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().append(true))
    }

    /// Opens a file that exists at its beginning, to be read and changed.
    pub(crate) fn edit(path: &Path) -> io::Result<Self> {
        Self::open(path, fs::OpenOptions::new().read(true).write(true))
    }

    /// How long it is, in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Makes its bytes durable. Never tried a second time after an error: the system may have
    /// dropped what was to be written.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        guard(Op::SyncData, &self.path, || self.file.sync_data())
    }

    /// Makes its bytes durable, and what is known about it.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        guard(Op::SyncAll, &self.path, || self.file.sync_all())
    }

    /// Cuts it to this length.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        guard(Op::SetLen, &self.path, || self.file.set_len(len))
    }

    /// Takes room for this many bytes. Where the file system cannot, zeroes are written.
    pub(crate) fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let path = self.path.clone();
        guard(Op::Allocate, &path, || {
            match fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    io::copy(&mut io::repeat(0).take(bytes), &mut self.file).map(|_| ())
                }
                allocated => allocated.map_err(io::Error::from),
            }
        })
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(part) = faults::short_write(&self.path, bytes) {
            self.file.write_all(part)?;
        }
        guard(Op::Write(bytes.len()), &self.path, || self.file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Opens a file to be read.
pub(crate) fn open(path: &Path) -> io::Result<fs::File> {
    guard(Op::Read, path, || fs::File::open(path))
}

/// Lists a directory.
pub(crate) fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    guard(Op::Read, path, || fs::read_dir(path))
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    guard(Op::Read, path, || fs::read(path))
}

/// Makes a directory that is its owner's only, and those above it where they are missing.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    guard(Op::Open, path, || builder.recursive(true).mode(0o700).create(path))
}

/// Makes a directory that is its owner's only. It must not exist.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    guard(Op::Open, path, || fs::DirBuilder::new().mode(0o700).create(path))
}

/// Gives a file or directory another name, in one step; a file of that name is replaced.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    guard(Op::Rename, from, || fs::rename(from, to))
}

/// Removes a file.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    guard(Op::Remove, path, || fs::remove_file(path))
}

/// Removes a directory with all that is in it.
pub(crate) fn remove_dir_all(path: &Path) -> io::Result<()> {
    guard(Op::Remove, path, || fs::remove_dir_all(path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    guard(Op::SyncDir, dir, || fs::File::open(dir)?.sync_all())
}

/// Copies a file. The copy is not synced.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    guard(Op::Open, to, || fs::copy(from, to))
}

/// Whether the disk, or a quota on it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
