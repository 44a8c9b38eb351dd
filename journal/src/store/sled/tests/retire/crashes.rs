//! What a crash leaves of a retirement, and of setting such a journal aside.

use super::*;
use crate::io::faults::{Fault, Faults, Plan};

#[test]
fn a_retirement_that_was_recorded_and_not_carried_out_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let before = copy_of(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    let done = retire(&store, ALL, u64::MAX).unwrap();
    let after = seen(&store, done.through + 1);
    drop(store);
    let names = |dir: &Path| segments(&journal(dir)).unwrap();
    let gone: Vec<_> =
        names(before.path()).into_iter().filter(|it| it.first_seq <= done.through).collect();
    assert!(gone.len() > 2);
    // The newest of those that go are still there: from none of them to all.
    for left in 0..=gone.len() {
        let copy = copy_of(dir.path());
        for segment in &gone[gone.len() - left..] {
            std::fs::copy(&segment.path, journal(copy.path()).join(&segment.name)).unwrap();
        }
        assert_eq!(grave(&checked(copy.path())), [], "{left}");
        let (store, report) = open(&small(copy.path())).unwrap();
        let finished = Healed::RetirementFinished { through: done.through };
        assert_eq!(report.healed.contains(&finished), left > 0, "{left}: {report:?}");
        assert_eq!(seen(&store, done.through + 1), after, "{left}");
        drop(store);
        assert_eq!(names(copy.path())[0].first_seq, done.through + 1, "{left}");
        assert_eq!(open(&small(copy.path())).unwrap().1.healed, [], "{left}");
    }
}

#[test]
fn a_base_that_was_never_recorded_stands_for_nothing_and_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let after = copy_of(dir.path());
    let (store, _) = open(&small(after.path())).unwrap();
    retire(&store, ALL, u64::MAX).unwrap();
    drop(store);
    for path in base_files(after.path()) {
        std::fs::copy(&path, journal(dir.path()).join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(journal(dir.path()).join("base-00000000000000000009.jsonl.new"), "{").unwrap();
    assert_eq!(grave(&checked(dir.path())), []);
    let (store, report) = open(&small(dir.path())).unwrap();
    assert_eq!((report.retired, store.retired(), report.base_finding), (0, 0, None));
    assert_eq!(store.scan(1).unwrap()[0].seq(), 1);
    assert!(base_files(dir.path()).is_empty());
    assert!(!journal(dir.path()).join("base-00000000000000000009.jsonl.new").exists());
}

/// Setting aside may die between any two moves: what is in place opens, and is shorter or the same.
#[test]
fn a_journal_with_a_base_that_is_set_aside_half_way_still_opens() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    let head = open(&small(dir.path())).unwrap().0.head().seq;
    let mut at = 0;
    loop {
        let copy = copy_of(dir.path());
        let place = journal(copy.path());
        let plan = Plan { at, fault: Fault::Eio, for_ever: true };
        let faults = Faults::install(copy.path(), Some(plan));
        let moved = set_aside(&place, id(1));
        let hit = faults.done().len() > at;
        drop(faults);
        assert_eq!(moved.is_err(), hit, "at {at}: {moved:?}");
        let (store, report) = open(&small(copy.path())).unwrap_or_else(|error| {
            panic!("at {at}: {error}");
        });
        let (found, retired) = (store.head().seq, store.retired());
        assert!(found <= head && [0, done.through].contains(&retired), "at {at}: {report:?}");
        assert!(report.created || found >= done.through, "at {at}: {report:?}");
        drop(store);
        set_aside(&place, id(1)).unwrap();
        assert!(open(&small(copy.path())).unwrap().1.created, "at {at}");
        if !hit {
            assert!(at > 20, "{at} I/Os");
            return;
        }
        at += 1;
    }
}
