//! Damages the files of a journal of 200 records, one copy and both, and opens it.
//!
//! A run tries a sample; `XSLD_DAMAGE_SWEEP=1` tries ten times as many of each kind, all over the
//! files. `XSLD_DAMAGE_SEED` chooses another sample.

use super::*;
use crate::check::check_dir;
use crate::event::OperationKind;
use crate::fixtures::{begun_as, disjoin};

const RECORDS: u64 = 200;

/// What is done to a file at one place.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Truncate,
    Flip,
    Zeroes,
}

const KINDS: [Damage; 3] = [Damage::Truncate, Damage::Flip, Damage::Zeroes];
const AUDIT: &str = "audit-00000000000000000001.jsonl";
const SLED: &str = "gen-1/db";

/// Numbers that look random and are the same for one seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// How many times of each kind, and the first of the numbers.
fn sample(few: usize) -> (usize, Numbers) {
    let many = std::env::var_os("XSLD_DAMAGE_SWEEP").is_some();
    let seed = std::env::var("XSLD_DAMAGE_SEED").ok().and_then(|seed| seed.parse().ok());
    (if many { few * 10 } else { few }, Numbers(seed.unwrap_or(20_260_501)))
}

/// A journal of 200 records: operations of three kinds of appends, on one cache.
fn long(dir: &Path) -> Vec<Record> {
    let (store, _) = open_ok(dir);
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let mut number = 0;
    while store.head().seq + 4 <= RECORDS {
        number += 1;
        let (id, step) = (operation(number), disjoin(u32::try_from(number).unwrap()));
        let expected = store.stream_head(cache(1)).unwrap().stream_seq;
        let events = vec![begun_as(OperationKind::ScaleDown, 3), intended(id, step.clone(), 1)];
        store.append(append_to(cache(1), expected, Some(id), events)).unwrap();
        let events = vec![succeeded(id, &step, 1)];
        store.append(append_to(cache(1), expected + 2, Some(id), events)).unwrap();
        store.append(append_to(cache(1), expected + 3, Some(id), vec![ended()])).unwrap();
    }
    store.append(append_to(cache(2), 0, None, vec![cache_opened("last")])).unwrap();
    store.scan(1).unwrap()
}

/// Where a file is worth damaging: sled's is mostly empty.
fn used(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn damage(path: &Path, how: Damage, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    match how {
        Damage::Truncate => bytes.truncate(at),
        Damage::Flip => bytes[at] ^= 1 << (at % 8),
        Damage::Zeroes => {
            let start = at - at % 512;
            let end = bytes.len().min(start + 512);
            bytes[start..end].fill(0);
        }
    }
    std::fs::write(path, bytes).unwrap();
}

/// What became of a damaged journal. Anything but these two fails the test.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// Every record is there.
    Exact,
    /// It is known that records are missing: it says so itself, or ends before the anchor.
    Detected,
}

fn open_damaged(dir: &Path, records: &[Record], case: &str) -> Became {
    let (store, _report) = match open(&options(dir)) {
        Ok(opened) => opened,
        Err(OpenError::Gap { found_seq, known_seq, .. }) => {
            assert!(found_seq < known_seq && known_seq <= records.len() as u64 + 1, "{case}");
            return Became::Detected;
        }
        Err(refused) => panic!("{case}: {refused}"),
    };
    let found = store.scan(1).unwrap();
    assert_eq!(found, records[..found.len()], "{case}");
    let whole = found.len() == records.len();
    // What the operator asks at its start.
    let anchor = records.last().unwrap();
    assert_eq!(store.hash_at(anchor.seq()).is_some(), whole, "{case}");
    drop(store);
    let report = check_dir(&dir.join("journal"), None).unwrap();
    let altered = |kind| kind == crate::check::Kind::Altered;
    let grave = report.findings.iter().filter(|it| it.severity > crate::check::Severity::Note);
    for finding in grave {
        assert!(altered(finding.kind), "{case}: {finding:?}");
    }
    let (store, again) = open_ok(dir);
    assert_eq!(store.head().seq, found.len() as u64, "{case}");
    assert!(again.healed.is_empty() && again.torn_tail.is_none(), "{case}: {again:?}");
    if whole { Became::Exact } else { Became::Detected }
}

#[test]
fn damage_to_one_copy_is_healed_from_the_other_one() {
    let master = tempfile::tempdir().unwrap();
    let records = long(master.path());
    assert_eq!(records.len() as u64, RECORDS);
    let (count, mut numbers) = sample(4);
    for file in [AUDIT, SLED] {
        let used = used(&master.path().join("journal").join(file));
        for how in KINDS {
            for _ in 0..count {
                let dir = copy_of(master.path());
                let at = numbers.below(used);
                damage(&dir.path().join("journal").join(file), how, at);
                let case = format!("{how:?} of {file} at {at}");
                assert_eq!(open_damaged(dir.path(), &records, &case), Became::Exact, "{case}");
            }
        }
    }
}

#[test]
fn damage_to_both_copies_is_merged_or_told() {
    let master = tempfile::tempdir().unwrap();
    let records = long(master.path());
    let journal = master.path().join("journal");
    let (used_audit, used_sled) = (used(&journal.join(AUDIT)), used(&journal.join(SLED)));
    let (count, mut numbers) = sample(2);
    let mut became = [0; 2];
    for one in KINDS {
        for two in KINDS {
            for _ in 0..count {
                let dir = copy_of(master.path());
                let journal = dir.path().join("journal");
                let (at_audit, at_sled) = (numbers.below(used_audit), numbers.below(used_sled));
                damage(&journal.join(AUDIT), one, at_audit);
                damage(&journal.join(SLED), two, at_sled);
                let case = format!(
                    "{one:?} of the audit file at {at_audit}, {two:?} of sled's at {at_sled}"
                );
                let how = open_damaged(dir.path(), &records, &case);
                became[usize::from(how == Became::Detected)] += 1;
            }
        }
    }
    assert!(became[0] > 0 && became[1] > 0, "{became:?}");
}

#[test]
fn a_damaged_end_without_another_copy_is_no_torn_tail() {
    let master = tempfile::tempdir().unwrap();
    let records = long(master.path());
    std::fs::remove_dir_all(master.path().join("journal/gen-1")).unwrap();
    let path = master.path().join("journal").join(AUDIT);
    let end = std::fs::metadata(&path).unwrap().len();
    damage(&path, Damage::Flip, usize::try_from(end).unwrap() - 50);
    let before = snapshot(master.path());
    let refused = open(&options(master.path())).unwrap_err();
    let OpenError::Gap { found_seq, known_seq, .. } = refused else { panic!("{refused}") };
    assert_eq!((found_seq, known_seq), (RECORDS - 1, RECORDS));
    assert_eq!(snapshot(master.path()), before);
    assert_eq!(records.len() as u64, RECORDS);
}

#[test]
fn two_histories_of_one_journal_are_a_fork_and_left_alone() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(one.path());
    copy_tree(one.path(), two.path());
    for (dir, reason) in [(&one, "here"), (&two, "there")] {
        let (store, _) = open_ok(dir.path());
        let closed = vec![Event::CacheClosed { reason: reason.into() }];
        store.append(append_to(cache(2), 1, None, closed)).unwrap();
    }
    let journal = one.path().join("journal");
    std::fs::remove_dir_all(journal.join("gen-1")).unwrap();
    copy_tree(&two.path().join("journal/gen-1"), &journal.join("gen-1"));
    let before = snapshot(one.path());
    let refused = open(&options(one.path())).unwrap_err();
    assert!(matches!(refused, OpenError::Forked { seq: 10 }), "{refused}");
    assert_eq!(refused.exit_code(), 14);
    assert_eq!(snapshot(one.path()), before);
    // The same where damage makes the copies be merged.
    damage(&journal.join(AUDIT), Damage::Flip, 300);
    let refused = open(&options(one.path())).unwrap_err();
    assert!(matches!(refused, OpenError::Forked { seq: 10 }), "{refused}");
}

#[test]
fn a_full_segment_is_sealed_and_mended_like_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let small = OpenOptions { segment_max: 4096, ..options(dir.path()) };
    let (store, _) = open(&small).unwrap();
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    for number in 1..=20 {
        store.append(append_to(cache(number), 0, None, vec![cache_opened("demo")])).unwrap();
    }
    let records = store.scan(1).unwrap();
    drop(store);
    // The packing goes on beside the appends; opening it again waits for what is left.
    drop(open(&small).unwrap());
    let journal = dir.path().join("journal");
    let segments = crate::audit::segments(&journal).unwrap();
    let packed = segments.iter().filter(|it| it.form == crate::audit::Form::Sealed).count();
    assert!(segments.len() >= 3 && packed == segments.len() - 1, "{segments:?}");
    assert_eq!(check_dir(&journal, None).unwrap().worst(), None);
    let (store, report) = open(&small).unwrap();
    assert_eq!((store.scan(1).unwrap(), report.healed.len()), (records.clone(), 0));
    drop(store);
    let path = &segments[1].path;
    damage(path, Damage::Flip, used(path) / 2);
    let (store, report) = open(&small).unwrap();
    assert_eq!(store.scan(1).unwrap(), records);
    assert!(matches!(report.healed.as_slice(), [Healed::AuditMended { .. }]), "{report:?}");
    drop(store);
    assert_eq!(check_dir(&journal, None).unwrap().worst(), None);
    // Sled alone brings back segments that are gone.
    for segment in crate::audit::segments(&journal).unwrap() {
        std::fs::remove_file(segment.path).unwrap();
    }
    let (store, report) = open(&small).unwrap();
    assert_eq!(store.scan(1).unwrap(), records);
    let [Healed::AuditMended { records: 22, .. }] = report.healed.as_slice() else {
        panic!("{report:?}");
    };
}

#[test]
fn compaction_makes_a_new_generation_and_keeps_the_former_one() {
    let dir = tempfile::tempdir().unwrap();
    let records = long(dir.path());
    let journal = dir.path().join("journal");
    let names = || {
        let mut found: Vec<_> = std::fs::read_dir(&journal)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("gen-"))
            .collect();
        found.sort();
        found
    };
    let first = compact(&journal).unwrap();
    assert_eq!((first.generation.as_str(), first.records, first.deleted.len()), ("gen-2", 200, 0));
    assert_eq!(names(), ["gen-1", "gen-2"]);
    let second = compact(&journal).unwrap();
    assert_eq!((second.generation.as_str(), second.deleted), ("gen-3", vec!["gen-1".to_owned()]));
    assert_eq!(names(), ["gen-2", "gen-3"]);
    let (store, report) = open_ok(dir.path());
    assert_eq!((store.scan(1).unwrap(), report.healed.len()), (records.clone(), 0));
    let refused = compact(&journal).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    drop(store);
    // It died while it filled the next one: the one in use is whole, the rest goes next time.
    drop(Generation::open(&journal.join("gen-4")).unwrap());
    let (store, report) = open_ok(dir.path());
    assert_eq!((store.scan(1).unwrap(), report.healed.len()), (records, 0));
    drop(store);
    assert_eq!(compact(&journal).unwrap().generation, "gen-5");
    assert_eq!(names(), ["gen-3", "gen-5"]);
}
