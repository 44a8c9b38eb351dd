//! The directory of a world: one world at a time, and a clean start.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::WorldError;
use crate::control_plane::end_leftover;

/// Marks a directory as a world's and is locked while the world runs; the
/// system lets go of the lock when the process ends, whatever ends it.
const MARK: &str = ".xsld-world";

/// What a world makes, and what the next one in the same directory removes.
/// Nothing else in the directory is ever touched.
const CONTENT: [&str; 13] = [
    "control-plane",
    "members",
    "volumes",
    "reclaimed",
    "pods",
    "run",
    "logs",
    "journal",
    "kubeconfig",
    "calls.jsonl",
    "faults.addr",
    "operator.env",
    "operator.log",
];

/// A world's directory, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the directory, makes it if need be, ends what a killed former
    /// world left running in it, and removes what that world stored.
    pub(super) async fn take(dir: &Path) -> Result<Self, WorldError> {
        let (path, mut lock) = lock(dir)?;
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(file_error(&path))?;
        end_leftovers(&path).await?;
        for name in CONTENT {
            remove(&path.join(name))?;
        }
        for name in ["run", "reclaimed"] {
            fs::create_dir_all(path.join(name)).map_err(file_error(&path))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Fails if the directory cannot be taken now. Cheap: for those who have
    /// long work to do before they take it.
    pub(super) fn check(dir: &Path) -> Result<(), WorldError> {
        if dir.exists() { lock(dir).map(drop) } else { Ok(()) }
    }

    /// The directory, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks the directory, made if need be.
fn lock(dir: &Path) -> Result<(PathBuf, File), WorldError> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let path = dir.canonicalize().map_err(file_error(dir))?;
    let mark = path.join(MARK);
    if !mark.exists() && !is_empty(&path)? {
        return Err(WorldError::NotOurs { dir: path });
    }
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&mark)
        .map_err(file_error(&mark))?;
    match lock.try_lock() {
        Ok(()) => Ok((path, lock)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            Err(WorldError::Busy { dir: path, pid: pid.trim().to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(file_error(&mark)(source)),
    }
}

async fn end_leftovers(dir: &Path) -> Result<(), WorldError> {
    // The operators first: without them nothing changes the cluster any more.
    for folder in [dir.join("run"), dir.join("control-plane")] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "pid") {
                end_leftover(&entry.path(), dir).await.map_err(WorldError::Process)?;
            }
        }
    }
    Ok(())
}

fn is_empty(dir: &Path) -> Result<bool, WorldError> {
    let mut entries = fs::read_dir(dir).map_err(file_error(dir))?;
    Ok(entries.next().is_none())
}

fn remove(path: &Path) -> Result<(), WorldError> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> WorldError + use<> {
    let path = path.to_owned();
    move |source| WorldError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_with_somebody_elses_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "precious").unwrap();
        let error = Folder::take(dir.path()).await.unwrap_err();
        assert!(matches!(error, WorldError::NotOurs { .. }), "{error}");
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[tokio::test]
    async fn a_second_world_in_the_same_directory_is_refused_while_one_runs() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::take(dir.path()).await.unwrap();
        let error = Folder::take(dir.path()).await.unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Folder::take(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_former_world_stored_is_gone_and_what_a_user_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        drop(Folder::take(dir.path()).await.unwrap());
        fs::create_dir_all(dir.path().join("members/ns/c-0")).unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let folder = Folder::take(dir.path()).await.unwrap();
        assert!(!folder.path().join("members").exists());
        assert!(folder.path().join("notes.txt").exists());
    }
}
