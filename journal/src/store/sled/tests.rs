mod damage;
mod faults;
mod retire;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::audit::segment_name;
use crate::event::Event;
use crate::fixtures::{
    append_to, as_newer_program, begun, cache, cache_opened, ended, entries_of, epoch_begun,
    genesis, id, intended, journal_append, operation, scale, succeeded,
};
use crate::record::text_for_event;
use crate::store::contract;

fn options(dir: &Path) -> OpenOptions {
    OpenOptions::new(dir.join("journal"), id(1))
}

fn open_ok(dir: &Path) -> (SledStore, OpenReport) {
    open(&options(dir)).unwrap()
}

/// A journal with nine records, of which the last append has three.
fn filled(dir: &Path) -> Vec<Record> {
    let (store, _) = open_ok(dir);
    let (id, step) = (operation(1), scale(0, 3));
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    store
        .append(append_to(cache(1), 1, Some(id), vec![begun(3), intended(id, step.clone(), 1)]))
        .unwrap();
    store.append(append_to(cache(2), 0, None, vec![cache_opened("two")])).unwrap();
    let events =
        vec![succeeded(id, &step, 1), ended(), Event::CacheClosed { reason: "gone".into() }];
    store.append(append_to(cache(1), 3, Some(id), events)).unwrap();
    store.scan(1).unwrap()
}

fn audit_path(dir: &Path) -> std::path::PathBuf {
    dir.join("journal").join(segment_name(1))
}

fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_file())
        .filter(|entry| entry.file_name() != "LOCK")
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_sled_store_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    contract::holds(&|| {
        number.set(number.get() + 1);
        Arc::new(open_ok(&dir.path().join(number.get().to_string())).0)
    });
}

#[test]
fn what_was_appended_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    let (store, report) = open_ok(dir.path());
    let expected = OpenReport { records: 9, ..OpenReport::default() };
    assert_eq!(report, expected);
    assert_eq!(store.scan(1).unwrap(), records);
    assert_eq!(store.head().journal_id, id(1));
    assert!(store.state(cache(1)).unwrap().closed);
    assert_eq!(store.state(cache(2)).unwrap().name, "two");
}

#[test]
fn a_new_journal_takes_the_given_id_and_an_old_one_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, report) = open_ok(dir.path());
    assert_eq!((report.created, report.records), (true, 0));
    drop(store);
    filled(dir.path());
    let other = OpenOptions { journal_id: id(2), ..options(dir.path()) };
    assert_eq!(open(&other).unwrap().0.head().journal_id, id(1));
}

#[test]
fn long_texts_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let long = "template ".repeat(1000);
    let (template, blob) = text_for_event(long.clone());
    let step = crate::event::Step::SetTemplate { digest: "d".into(), template: template.clone() };
    let (store, _) = open_ok(dir.path());
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let events = vec![begun(3), intended(operation(1), step, 1)];
    let append = append_to(cache(1), 1, Some(operation(1)), events);
    store.append(Append { blobs: blob.into_iter().collect(), ..append }).unwrap();
    drop(store);
    assert_eq!(open_ok(dir.path()).0.text(&template), Some(long));
}

#[test]
fn a_second_opener_is_refused_with_the_holder_named() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_ok(dir.path());
    let refused = open(&options(dir.path())).unwrap_err();
    assert!(
        matches!(refused, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id())
    );
    assert_eq!(refused.exit_code(), 10);
    let message = refused.to_string();
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    assert!(message.contains(&options(dir.path()).dir.display().to_string()), "{message}");
    drop(store);
    open_ok(dir.path());
}

#[test]
fn files_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let journal = dir.path().join("journal");
    assert_eq!(mode(&journal), 0o700);
    assert_eq!(mode(&journal.join("gen-1")), 0o700);
    assert_eq!(mode(&journal.join("LOCK")), 0o600);
    assert_eq!(mode(&audit_path(dir.path())), 0o600);
}

#[test]
fn a_torn_tail_is_kept_aside_and_cut_at_every_byte_of_the_last_append() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    let whole = std::fs::read(audit_path(dir.path())).unwrap();
    let lines: Vec<usize> = whole
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    let append_start = lines[5];
    // Every byte of the last line, and some of the two before: the append has three lines.
    let cuts = (append_start + 1..lines[7]).step_by(61).chain(lines[7]..whole.len());
    for cut in cuts {
        let torn = tempfile::tempdir().unwrap();
        std::fs::create_dir(torn.path().join("journal")).unwrap();
        std::fs::write(audit_path(torn.path()), &whole[..cut]).unwrap();
        let (store, report) = open_ok(torn.path());
        assert_eq!(store.scan(1).unwrap(), records[..6], "cut at {cut}");
        let tail = report.torn_tail.unwrap();
        assert_eq!((tail.offset, tail.bytes), (append_start as u64, (cut - append_start) as u64));
        let kept = std::fs::read(tail.kept_in.unwrap()).unwrap();
        assert_eq!(kept, whole[append_start..cut]);
        let events = vec![Event::CacheClosed { reason: "gone".into() }];
        store.append(append_to(cache(2), 1, None, events)).unwrap();
        drop(store);
        let (store, report) = open_ok(torn.path());
        assert_eq!((store.head().seq, report.torn_tail), (7, None));
    }
}

#[test]
fn blocks_that_were_never_written_are_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    std::fs::remove_dir_all(dir.path().join("journal/gen-1")).unwrap();
    let mut bytes = std::fs::read(audit_path(dir.path())).unwrap();
    let len = bytes.len();
    bytes[len - 500..len - 100].fill(0);
    std::fs::write(audit_path(dir.path()), bytes).unwrap();
    let (store, report) = open_ok(dir.path());
    assert_eq!(store.scan(1).unwrap(), records[..6]);
    assert!(report.torn_tail.is_some());
}

#[test]
fn an_audit_file_that_lost_what_sled_holds_gets_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    let whole = std::fs::read(audit_path(dir.path())).unwrap();
    for cut in [whole.len() - 1, whole.len() - 100, 0] {
        std::fs::write(audit_path(dir.path()), &whole[..cut]).unwrap();
        let (store, report) = open_ok(dir.path());
        assert_eq!(store.scan(1).unwrap(), records);
        let [Healed::AuditMended { kept_in, lost_texts, .. }] = report.healed.as_slice() else {
            panic!("{report:?}");
        };
        assert_eq!(std::fs::read(&kept_in[0]).unwrap(), whole[..cut]);
        assert!(lost_texts.is_empty());
        assert_eq!(std::fs::read(audit_path(dir.path())).unwrap(), whole);
    }
}

#[test]
fn damage_in_the_middle_is_mended_from_sled_and_else_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    let whole = std::fs::read(audit_path(dir.path())).unwrap();
    let third = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    let mut changed = whole.clone();
    // A digit of the third line's sequence number.
    changed[third + 7] ^= 1;
    let mut without_third = whole[..third].to_vec();
    let fourth = third + whole[third..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    without_third.extend_from_slice(&whole[fourth..]);
    for damaged in [changed, without_third] {
        std::fs::write(audit_path(dir.path()), &damaged).unwrap();
        let (store, report) = open_ok(dir.path());
        assert_eq!(store.scan(1).unwrap(), records);
        let [Healed::AuditMended { records: 1, damage, .. }] = report.healed.as_slice() else {
            panic!("{report:?}");
        };
        assert!(damage.contains(&format!("{} line 3 (seq 3)", segment_name(1))), "{damage}");
        drop(store);
        let alone = copy_of(dir.path());
        std::fs::remove_dir_all(alone.path().join("journal/gen-1")).unwrap();
        std::fs::write(audit_path(alone.path()), &damaged).unwrap();
        let before = snapshot(alone.path());
        let refused = open(&options(alone.path())).unwrap_err();
        let OpenError::Gap { found_seq: 2, known_seq: 9, .. } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(refused.exit_code(), 14);
        assert_eq!(snapshot(alone.path()), before);
    }
}

#[test]
fn a_long_text_that_is_lost_with_its_line_is_told_by_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let (template, blob) = text_for_event("template ".repeat(1000));
    let crate::event::Text::External { digest, .. } = &template else { panic!("{template:?}") };
    let step = crate::event::Step::SetTemplate { digest: "d".into(), template: template.clone() };
    let (store, _) = open_ok(dir.path());
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let events = vec![begun(3), intended(operation(1), step, 1)];
    let append = append_to(cache(1), 1, Some(operation(1)), events);
    store.append(Append { blobs: blob.into_iter().collect(), ..append }).unwrap();
    drop(store);
    let mut bytes = std::fs::read(audit_path(dir.path())).unwrap();
    let at = bytes.windows(9).rposition(|part| part == b"template ").unwrap();
    bytes[at] ^= 1;
    std::fs::write(audit_path(dir.path()), bytes).unwrap();
    let (store, report) = open_ok(dir.path());
    assert_eq!((store.head().seq, store.text(&template)), (5, None));
    let [Healed::AuditMended { lost_texts, .. }] = report.healed.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(lost_texts, std::slice::from_ref(digest));
}

#[test]
fn no_flipped_bit_in_the_audit_file_passes_unseen() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let whole = std::fs::read(audit_path(dir.path())).unwrap();
    let mut seen = [0_u32; 2];
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(audit_path(dir.path()), &bytes).unwrap();
        // What opening does not refuse is altered only where nothing depends on it; `check` has
        // to tell that.
        let refused = crate::audit::load(&dir.path().join("journal"), id(1));
        let told = match refused {
            Ok(loaded) => loaded.torn.is_some(),
            Err(_) => true,
        };
        seen[usize::from(told)] += 1;
        if !told {
            let findings = crate::check::check_dir(&dir.path().join("journal"), None).unwrap();
            assert!(findings.worst().is_some(), "bit at {at}: {:?}", &whole[at - 9..at + 9]);
        }
    }
    assert!(seen[0] > 0 && seen[1] > seen[0], "{seen:?}");
}

#[test]
fn a_missing_sled_directory_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    std::fs::remove_dir_all(dir.path().join("journal/gen-1")).unwrap();
    let (store, report) = open_ok(dir.path());
    assert_eq!(store.scan(1).unwrap(), records);
    let [Healed::Rebuilt { generation, records: 9, .. }] = report.healed.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(generation, "gen-2");
    let current = std::fs::read_to_string(dir.path().join("journal/CURRENT")).unwrap();
    assert_eq!(current, "gen-2\n");
    drop(store);
    assert!(open_ok(dir.path()).1.healed.is_empty());
}

#[test]
fn another_journals_sled_directory_is_quarantined() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let records = filled(one.path());
    let (store, _) = open(&OpenOptions { journal_id: id(2), ..options(two.path()) }).unwrap();
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    drop(store);
    std::fs::remove_dir_all(one.path().join("journal/gen-1")).unwrap();
    std::fs::rename(two.path().join("journal/gen-1"), one.path().join("journal/gen-1")).unwrap();
    let (store, report) = open_ok(one.path());
    assert_eq!(store.scan(1).unwrap(), records);
    let aside = one.path().join("journal/quarantine-1");
    assert_eq!(report.quarantined, Some(aside.clone()));
    assert!(aside.join("db").exists());
    assert!(matches!(report.healed.as_slice(), [Healed::Rebuilt { .. }]));
}

#[test]
fn a_truncated_sled_file_is_healed_wherever_it_is_cut() {
    let master = tempfile::tempdir().unwrap();
    let records = filled(master.path());
    let len = std::fs::metadata(master.path().join("journal/gen-1/db")).unwrap().len();
    for part in 0..8 {
        let dir = copy_of(master.path());
        let db =
            std::fs::File::options().write(true).open(dir.path().join("journal/gen-1/db")).unwrap();
        db.set_len(len * part / 8).unwrap();
        drop(db);
        assert_healed(dir.path(), &records);
    }
}

#[test]
fn a_flipped_bit_in_sleds_file_is_healed_wherever_it_is() {
    let master = tempfile::tempdir().unwrap();
    let records = filled(master.path());
    let db = std::fs::read(master.path().join("journal/gen-1/db")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap();
    for at in (0..=used).step_by(used / 40 + 1) {
        let dir = copy_of(master.path());
        let mut bytes = db.clone();
        bytes[at] ^= 4;
        std::fs::write(dir.path().join("journal/gen-1/db"), bytes).unwrap();
        assert_healed(dir.path(), &records);
    }
}

#[test]
fn an_interrupted_rebuild_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let records = filled(dir.path());
    let journal = dir.path().join("journal");
    // The old generation was moved aside, the new one made, and then the process died.
    std::fs::rename(journal.join("gen-1"), journal.join("quarantine-1")).unwrap();
    drop(Generation::open(&journal.join("gen-2")).unwrap());
    let (store, report) = open_ok(dir.path());
    assert_eq!(store.scan(1).unwrap(), records);
    assert_eq!(report.healed, [Healed::Appended { from: 1, to: 9 }]);
    assert_eq!(std::fs::read_to_string(journal.join("CURRENT")).unwrap(), "gen-2\n");
}

#[test]
fn an_io_error_poisons_the_journal_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open::open(&options(dir.path())).unwrap();
    let retiring = Retiring::new(dir.path(), opened.writer.covered(), Standing::default());
    let sink = Box::new(FailsAt { writer: opened.writer, at: 3, calls: 0 });
    let copies = (opened.ledger, opened.generation);
    let store = SledStore::start(copies, sink, retiring, opened.lock).unwrap();
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let before = (store.head(), store.streams());
    for _ in 0..3 {
        let failed = store.append(append_to(cache(2), 0, None, vec![cache_opened("two")]));
        let Err(AppendError::Poisoned { reason }) = failed else { panic!("{failed:?}") };
        assert!(reason.contains("disk on fire"), "{reason}");
    }
    assert_eq!(before, (store.head(), store.streams()));
    assert_eq!(store.poisoned().unwrap(), "the audit file could not be written: disk on fire");
    drop(store);
    // The lines were written, though nobody was told so: they are found.
    assert_eq!(open_ok(dir.path()).0.head().seq, 4);
}

/// Writes the lines, and then says that it could not.
#[derive(Debug)]
struct FailsAt {
    writer: crate::audit::Writer,
    at: u32,
    calls: u32,
}

impl Sink for FailsAt {
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()> {
        self.calls += 1;
        self.writer.append(first_seq, lines)?;
        if self.calls >= self.at { Err(io::Error::other("disk on fire")) } else { Ok(()) }
    }

    fn is_full(&self) -> bool {
        false
    }

    fn offer(&mut self, _boundary: Option<crate::store::ledger::Snapshot>) {}

    fn has_reserve(&mut self) -> bool {
        true
    }

    fn release_reserve(&mut self) {}
}

#[test]
fn a_directory_that_cannot_be_made_is_told_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let options = OpenOptions::new(dir.path().join("file/journal"), id(1));
    let refused = open(&options).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    assert!(refused.to_string().contains("file/journal"), "{refused}");
    let full = OpenError::from_io(dir.path(), io::ErrorKind::StorageFull.into());
    assert_eq!(full.exit_code(), 12);
    let read_only = OpenError::from_io(dir.path(), io::ErrorKind::ReadOnlyFilesystem.into());
    assert_eq!(read_only.exit_code(), 11);
}

#[test]
fn a_newer_programs_record_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let entries = entries_of(&[journal_append(0, vec![genesis(), epoch_begun()])]);
    let newer = as_newer_program(&entries[0]);
    std::fs::write(journal.join(segment_name(1)), newer).unwrap();
    let refused = open(&options(dir.path())).unwrap_err();
    assert!(matches!(refused, OpenError::NewerFormat { .. }), "{refused}");
    assert_eq!(refused.exit_code(), 5);
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(dir, copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Whatever was done to sled's files: all records are there, and the journal can go on.
fn assert_healed(dir: &Path, records: &[Record]) {
    let (store, _) = open_ok(dir);
    assert_eq!(store.scan(1).unwrap(), records);
    let closed = vec![Event::CacheClosed { reason: "gone".into() }];
    store.append(append_to(cache(2), 1, None, closed)).unwrap();
    drop(store);
    let (store, report) = open_ok(dir);
    assert_eq!(store.head().seq, 10);
    assert!(report.healed.is_empty(), "{report:?}");
}
