//! Setting a journal aside that cannot be gone on with, whole and unchanged, for people to read.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::OpenError;
use super::lock::{self, LOCK_FILE, Taken};
use crate::io::{create_dir, create_dir_all, read_dir, rename, sync_dir};

/// Where former journals lie within a journal's directory, each in one of its own.
pub const FORMER_DIR: &str = "former";

/// Moves the journal of a directory, which nobody has open, to `former/<its id>-<n>`, where every
/// command that reads a journal can read it; the directory is empty afterwards.
///
/// Dying half-way leaves a journal in place that opens and is shorter than before, never one that
/// looks whole: the pointer to sled goes first, then the audit file from its end on, and the base
/// without which its first record follows nothing comes last.
///
/// # Errors
/// [`OpenError::Locked`] while somebody has it open, else what the system refused.
pub fn set_aside(dir: &Path, journal_id: Uuid) -> Result<PathBuf, OpenError> {
    let failed = |source| OpenError::from_io(dir, source);
    let _lock = match lock::take(dir).map_err(failed)? {
        Taken::Ours(lock) => lock,
        Taken::Theirs(pid) => return Err(OpenError::Locked { dir: dir.to_owned(), pid }),
    };
    move_all(dir, journal_id).map_err(failed)
}

fn move_all(dir: &Path, journal_id: Uuid) -> io::Result<PathBuf> {
    let names = in_order(dir)?;
    let former = dir.join(FORMER_DIR);
    create_dir_all(&former)?;
    // Its own name has to outlast a power cut before anything moves into it.
    sync_dir(dir)?;
    let mut number = 1;
    let target = loop {
        let target = former.join(format!("{journal_id}-{number}"));
        match create_dir(&target) {
            Ok(()) => break target,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    sync_dir(&former)?;
    for name in names {
        rename(&dir.join(&name), &target.join(&name))?;
        // Each step is durable before the next one, so that their order holds on the disk too.
        sync_dir(&target)?;
        sync_dir(dir)?;
    }
    Ok(target)
}

/// What belongs to the journal, in the order in which it goes.
fn in_order(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in read_dir(dir)? {
        let name = entry?.file_name();
        if name != LOCK_FILE && name != FORMER_DIR {
            names.push(name);
        }
    }
    let rank = |name: &OsString| match name.to_string_lossy() {
        name if name.starts_with("base-") => 2,
        name if name.starts_with("audit-") => 1,
        _ => 0,
    };
    names.sort_by(|one, other| {
        rank(one).cmp(&rank(other)).then_with(|| match rank(one) {
            1 => other.cmp(one),
            _ => one.cmp(other),
        })
    });
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::fixtures::{epoch_begun, genesis, id, journal_append};
    use crate::io::faults::{Fault, Faults, Plan};
    use crate::record::Epoch;
    use crate::store::sled::{OpenOptions, open};
    use crate::store::{Append, Store as _};

    fn options(dir: &Path, journal: u128) -> OpenOptions {
        OpenOptions::new(dir.to_owned(), id(journal))
    }

    fn filled(dir: &Path, journal: u128) {
        let (store, _) = open(&options(dir, journal)).unwrap();
        store.append(journal_append(0, vec![genesis()])).unwrap();
    }

    #[test]
    fn a_journal_set_aside_is_whole_there_and_its_place_is_free() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 1);
        let first = set_aside(dir.path(), id(1)).unwrap();
        filled(dir.path(), 1);
        let second = set_aside(dir.path(), id(1)).unwrap();
        assert_ne!(first, second, "nothing is written over");
        for former in [first, second] {
            let (store, report) = open(&options(&former, 9)).unwrap();
            assert_eq!((store.head().journal_id, report.records), (id(1), 1));
        }
        let (store, report) = open(&options(dir.path(), 2)).unwrap();
        assert!(report.created);
        assert_eq!(store.head().journal_id, id(2));
    }

    #[test]
    fn a_journal_in_use_is_not_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(&options(dir.path(), 1)).unwrap();
        assert!(matches!(set_aside(dir.path(), id(1)), Err(OpenError::Locked { .. })));
        store.append(journal_append(0, vec![genesis()])).unwrap();
    }

    /// The process may die between any two moves: what is in place then is a journal that opens,
    /// with a prefix of the records.
    #[test]
    fn whatever_is_left_half_way_opens_as_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("journal");
        let options = OpenOptions { segment_max: 1, ..options(&place, 1) };
        {
            let (store, _) = open(&options).unwrap();
            store.append(journal_append(0, vec![genesis()])).unwrap();
            for number in 1..4 {
                let append = journal_append(number, vec![epoch_begun()]);
                store.append(Append { epoch: Epoch(number + 1), ..append }).unwrap();
            }
        }
        let names = in_order(&place).unwrap();
        assert!(names.len() > 5, "{names:?}");
        for moved in 0..=names.len() {
            let copy = dir.path().join(moved.to_string());
            copy_all(&place, &copy);
            for name in &names[..moved] {
                fs::rename(copy.join(name), dir.path().join("gone")).unwrap();
                let gone = dir.path().join("gone");
                if gone.is_dir() {
                    fs::remove_dir_all(gone).unwrap()
                } else {
                    fs::remove_file(gone).unwrap()
                }
            }
            let options = OpenOptions { dir: copy, ..options.clone() };
            let (_, report) = open(&options).unwrap();
            assert!(report.records <= 4, "{report:?}");
            assert_eq!(report.records == 0, report.created, "{report:?}");
        }
    }

    fn copy_all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_all(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    /// The bytes of the audit file's segments, wherever they lie.
    fn audit_files(dir: &Path, found: &mut BTreeMap<OsString, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                audit_files(&entry.path(), found);
            } else if entry.file_name().to_string_lossy().starts_with("audit-") {
                found.insert(entry.file_name(), fs::read(entry.path()).unwrap());
            }
        }
    }

    fn audit_of(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
        let mut found = BTreeMap::new();
        audit_files(dir, &mut found);
        found
    }

    /// Every I/O of it fails in turn, once and for ever, and the power is cut at each: every
    /// segment is in one of the two places, what is in place opens, and it can be done again.
    #[test]
    fn no_failed_io_of_setting_aside_loses_a_segment() {
        let mut at = 0;
        loop {
            let (fault, for_ever) = [(Fault::Eio, true), (Fault::Enospc, false)][at % 2];
            let dir = tempfile::tempdir().unwrap();
            let place = dir.path().join("journal");
            let options = OpenOptions { segment_max: 1, ..options(&place, 1) };
            let (store, _) = open(&options).unwrap();
            store.append(journal_append(0, vec![genesis()])).unwrap();
            for number in 1..4 {
                let append = journal_append(number, vec![epoch_begun()]);
                store.append(Append { epoch: Epoch(number + 1), ..append }).unwrap();
            }
            drop(store);
            let whole = audit_of(&place);
            assert!(whole.len() > 3, "{whole:?}");
            let faults = Faults::install(dir.path(), Some(Plan { at, fault, for_ever }));
            let done = set_aside(&place, id(1));
            let hit = faults.done().len() > at;
            let image = tempfile::tempdir().unwrap();
            faults.after_power_cut(image.path());
            drop(faults);
            assert_eq!(done.is_err(), hit, "at {at}: {done:?}");
            assert_eq!(audit_of(dir.path()), whole, "at {at}");
            assert_eq!(audit_of(image.path()), whole, "at {at}, and the power is cut");
            let (store, report) = open(&options).unwrap();
            assert!(report.records <= 4, "at {at}: {report:?}");
            drop(store);
            set_aside(&place, id(1)).unwrap();
            assert!(open(&options).unwrap().1.created, "at {at}");
            if !hit {
                assert!(at > 20, "{at} I/Os");
                return;
            }
            at += 1;
        }
    }
}
