//! Fails every single I/O of opening, appending, rotating, compacting, repairing and retiring, and
//! cuts the power at each.
//!
//! A run tries one kind of failure at each I/O; `XSLD_DAMAGE_SWEEP=1` tries every kind at each.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::check::check_dir;
use crate::io::Op;
use crate::io::faults::{Fault, Faults, Plan};
use crate::replay::verify;
use crate::retention::Retirement;

type Acks = BTreeMap<u64, Hash>;

/// What is done while I/Os fail.
struct Work {
    name: &'static str,
    /// Makes the journal that it begins with.
    prepare: fn(&Path),
    /// Does it, and notes what was acknowledged. An error is one that was told.
    run: fn(&Path, &mut Acks) -> Result<(), String>,
}

const WORKS: [Work; 9] = [
    Work {
        name: "open and append",
        prepare: |_| {},
        run: |dir, acks| appends(dir, SEGMENT_MAX, acks),
    },
    Work {
        name: "rotate",
        prepare: |dir| drop(filled(dir)),
        run: |dir, acks| appends(dir, 2000, acks),
    },
    Work {
        name: "cut a torn tail",
        prepare: torn,
        run: |dir, acks| appends(dir, SEGMENT_MAX, acks),
    },
    Work {
        name: "rebuild sled",
        prepare: bad_sled,
        run: |dir, acks| appends(dir, SEGMENT_MAX, acks),
    },
    Work {
        name: "mend the audit file",
        prepare: bad_audit,
        run: |dir, acks| appends(dir, SEGMENT_MAX, acks),
    },
    Work {
        name: "open from a checkpoint",
        prepare: checkpointed,
        run: |dir, acks| appends(dir, 2000, acks),
    },
    Work { name: "compact", prepare: |dir| drop(filled(dir)), run: compacts },
    Work { name: "retire", prepare: retire::aged, run: retires },
    Work {
        name: "finish a retirement",
        prepare: half_retired,
        run: |dir, acks| reopens(dir, acks),
    },
];

/// Retires what can be, and goes on. Retired records are not lost.
fn retires(dir: &Path, acks: &mut Acks) -> Result<(), String> {
    let (store, _) = open(&retire::small(dir)).map_err(|error| format!("open: {error}"))?;
    let ask = Retirement { epoch: store.head().epoch, ..retire::ask(retire::ALL, u64::MAX) };
    let retired = store.retire(&ask);
    // Whatever came of it: once the record is durable, its records are no longer promised.
    acks.retain(|seq, _| *seq > store.retired());
    let head = store.head();
    if head.seq > 0 {
        acks.insert(head.seq, head.hash);
    }
    let done = retired.map_err(|error| format!("retire: {error}"))?;
    assert!(done.is_some_and(|done| done.through > 50));
    one_more(&store, acks)
}

/// A journal whose retirement was recorded and not carried out: the segments that were deleted last
/// are still there, and the base in one file only.
fn half_retired(dir: &Path) {
    retire::aged(dir);
    let before = copy_of(dir);
    let (store, _) = open(&retire::small(dir)).unwrap();
    let done = retire::retire(&store, retire::ALL, u64::MAX).unwrap();
    drop(store);
    let journal = dir.join("journal");
    let segments = crate::audit::segments(&before.path().join("journal")).unwrap();
    for segment in segments.iter().skip(2).filter(|it| it.first_seq <= done.through) {
        std::fs::copy(&segment.path, journal.join(&segment.name)).unwrap();
    }
    let (_, copy) = crate::audit::bases(&journal).unwrap().swap_remove(1);
    std::fs::remove_file(copy).unwrap();
}

fn reopens(dir: &Path, acks: &mut Acks) -> Result<(), String> {
    let (store, _) = open(&retire::small(dir)).map_err(|error| format!("open: {error}"))?;
    one_more(&store, acks)
}

fn one_more(store: &SledStore, acks: &mut Acks) -> Result<(), String> {
    let append = append_to(cache(999), 0, None, vec![cache_opened("last")]);
    let append = Append { epoch: store.head().epoch, ..append };
    let appended = store.append(append).map_err(|error| format!("append: {error}"))?;
    acks.extend(appended.records.iter().map(|record| (record.seq(), record.hash)));
    Ok(())
}

fn torn(dir: &Path) {
    filled(dir);
    let whole = std::fs::read(audit_path(dir)).unwrap();
    std::fs::write(audit_path(dir), [&whole[..], b"{\"seq\":10,\"ti"].concat()).unwrap();
}

/// A journal with sealed segments, and a checkpoint before its last one.
fn checkpointed(dir: &Path) {
    filled(dir);
    let options = OpenOptions { segment_max: 2000, ..options(dir) };
    for number in 80..83 {
        let (store, _) = open(&options).unwrap();
        store.append(append_to(cache(number), 0, None, vec![cache_opened("more")])).unwrap();
    }
    drop(open(&options).unwrap());
    assert!(!crate::audit::checkpoints(&dir.join("journal")).unwrap().is_empty());
}

fn bad_sled(dir: &Path) {
    filled(dir);
    let db = dir.join("journal/gen-1/db");
    let mut bytes = std::fs::read(&db).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(db, bytes).unwrap();
}

fn bad_audit(dir: &Path) {
    filled(dir);
    let mut bytes = std::fs::read(audit_path(dir)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(audit_path(dir), bytes).unwrap();
}

/// Opens the journal and runs two operations on a stream of its own, up to the first failure.
fn appends(dir: &Path, segment_max: u64, acks: &mut Acks) -> Result<(), String> {
    let told = |error: OpenError| format!("open: {error}");
    let (store, _) = open(&OpenOptions { segment_max, ..options(dir) }).map_err(told)?;
    let mut appends = vec![append_to(cache(7), 0, None, vec![cache_opened("seven")])];
    for number in [70, 71] {
        let (id, step) = (operation(number), crate::fixtures::disjoin(1));
        let at = 1 + (u64::try_from(number).unwrap() - 70) * 4;
        let begun = vec![begun(3), intended(id, step.clone(), 1)];
        appends.push(append_to(cache(7), at, Some(id), begun));
        let done = vec![succeeded(id, &step, 1), ended()];
        appends.push(append_to(cache(7), at + 2, Some(id), done));
    }
    if store.head().seq == 0 {
        appends.insert(0, journal_append(0, vec![genesis(), epoch_begun()]));
    }
    for append in appends {
        match store.append(append.clone()) {
            Ok(appended) => {
                acks.extend(appended.records.iter().map(|record| (record.seq(), record.hash)));
            }
            Err(AppendError::NoReserve) => return Err("append: no reserve".into()),
            Err(error) => {
                assert!(error.is_poisoned(), "{error}");
                assert_eq!(store.append(append), Err(error.clone()), "poisoned for good");
                return Err(format!("append: {error}"));
            }
        }
    }
    Ok(())
}

fn compacts(dir: &Path, acks: &mut Acks) -> Result<(), String> {
    compact(&dir.join("journal")).map_err(|error| format!("compact: {error}"))?;
    appends(dir, SEGMENT_MAX, acks)
}

/// All that was acknowledged is there, and the journal goes on.
fn assert_recovers(dir: &Path, acks: &Acks, case: &str) {
    let opened = open(&options(dir));
    let (store, report) = opened.unwrap_or_else(|error| panic!("{case}: {error}"));
    // What was retired by now is recorded as such.
    let recorded = store.log_state().retired.as_ref().map_or(0, |retired| retired.through);
    assert_eq!(store.retired(), recorded, "{case}: {report:?}");
    assert_eq!(report.base_finding, None, "{case}");
    for (seq, hash) in acks.iter().filter(|(seq, _)| **seq > recorded) {
        assert_eq!(store.hash_at(*seq).as_ref(), Some(hash), "{case}: {seq} is lost, {report:?}");
    }
    let head = store.head().seq;
    assert_eq!(store.scan(1).unwrap().len() as u64, head - recorded, "{case}");
    verify(&store).unwrap_or_else(|error| panic!("{case}: {error}"));
    let events = if head == 0 { vec![genesis(), epoch_begun()] } else { vec![epoch_begun()] };
    let expected = store.stream_head(StreamId::JOURNAL).map_or(0, |head| head.stream_seq);
    let epoch = crate::record::Epoch(store.head().epoch.0 + 1);
    store.append(Append { epoch, ..journal_append(expected, events) }).unwrap();
    drop(store);
    let report = check_dir(&dir.join("journal"), None).unwrap();
    assert_eq!(report.worst(), None, "{case}: {:?}", report.findings);
}

/// What a case came to.
#[derive(Default)]
struct Counts {
    cases: usize,
    refused: usize,
    done: usize,
    power_cuts: usize,
}

impl Work {
    fn master(&self) -> (tempfile::TempDir, Acks) {
        let master = scratch();
        (self.prepare)(master.path());
        let mut acks = Acks::new();
        if let Ok(records) = std::panic::catch_unwind(|| records_of(master.path())) {
            acks.extend(records.iter().map(|record| (record.seq(), record.hash)));
        }
        (master, acks)
    }

    /// Fails this I/O. False when there are not so many.
    fn fail(&self, prepared: &(tempfile::TempDir, Acks), plan: Plan, counts: &mut Counts) -> bool {
        let case = format!("{}: {plan:?}", self.name);
        let (before, mut acks) = (prepared.0.path(), prepared.1.clone());
        let master = scratch();
        copy_tree(before, master.path());
        let faults = Faults::install(master.path(), Some(plan));
        let done = catch_unwind(AssertUnwindSafe(|| (self.run)(master.path(), &mut acks)));
        let ios = faults.done();
        let done = done.unwrap_or_else(|_| panic!("{case}: a panic got out, after {ios:?}"));
        let image = scratch();
        faults.after_power_cut(image.path());
        drop(faults);
        let hit = ios.len() > plan.at;
        if !hit {
            assert_eq!(done, Ok(()), "{case}");
        }
        assert_recovers(master.path(), &acks, &case);
        if hit && plan.for_ever {
            // What was durable in sled before is there.
            if self.name != "open and append" {
                let kept = before.join("journal/gen-1");
                copy_tree(&kept, &image.path().join("journal/gen-1"));
            }
            assert_recovers(image.path(), &acks, &format!("{case}, and the power is cut"));
            counts.power_cuts += 1;
        }
        counts.cases += 1;
        *if done.is_ok() { &mut counts.done } else { &mut counts.refused } += 1;
        hit
    }
}

/// The records of a journal that may be damaged, by opening a copy.
fn records_of(dir: &Path) -> Vec<Record> {
    if !dir.join("journal").exists() {
        return Vec::new();
    }
    let copy = scratch();
    copy_tree(dir, copy.path());
    open(&options(copy.path())).unwrap().0.scan(1).unwrap()
}

fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

fn every_failure_of(name: &str) {
    let work = WORKS.iter().find(|work| work.name == name).unwrap();
    let all = std::env::var_os("XSLD_DAMAGE_SWEEP").is_some();
    let kinds = [
        (Fault::Eio, true),
        (Fault::Short, false),
        (Fault::Enospc, true),
        (Fault::Eio, false),
        (Fault::Enospc, false),
        (Fault::Short, true),
    ];
    let prepared = work.master();
    let mut counts = Counts::default();
    let mut at = 0;
    loop {
        let chosen = if all { kinds.to_vec() } else { vec![kinds[at % kinds.len()]] };
        let hit = chosen.into_iter().map(|(fault, for_ever)| {
            work.fail(&prepared, Plan { at, fault, for_ever }, &mut counts)
        });
        // No short cut: every kind is tried.
        if hit.filter(|hit| *hit).count() == 0 {
            break;
        }
        at += 1;
    }
    let Counts { cases, refused, done, power_cuts } = counts;
    say(&format!(
        "{name}: {at} I/Os, {cases} failures ({refused} told, {done} overcome), {power_cuts} power \
         cuts: no acknowledged record lost"
    ));
    assert!(at > 10 && refused > 0, "{at} I/Os, {refused} refused");
}

fn say(text: &str) {
    use std::io::Write;
    // A test's stdout is not the program's.
    writeln!(io::stdout().lock(), "{text}").unwrap();
}

#[test]
fn no_failed_io_of_an_open_or_append_loses_a_record() {
    every_failure_of("open and append");
}

#[test]
fn no_failed_io_of_a_rotation_loses_a_record() {
    every_failure_of("rotate");
}

#[test]
fn no_failed_io_of_cutting_a_torn_tail_loses_a_record() {
    every_failure_of("cut a torn tail");
}

#[test]
fn no_failed_io_of_rebuilding_sled_loses_a_record() {
    every_failure_of("rebuild sled");
}

#[test]
fn no_failed_io_of_mending_the_audit_file_loses_a_record() {
    every_failure_of("mend the audit file");
}

#[test]
fn no_failed_io_of_an_open_from_a_checkpoint_loses_a_record() {
    every_failure_of("open from a checkpoint");
}

#[test]
fn no_failed_io_of_a_compaction_loses_a_record() {
    every_failure_of("compact");
}

#[test]
fn no_failed_io_of_a_retirement_loses_a_record_that_is_kept() {
    every_failure_of("retire");
}

#[test]
fn no_failed_io_of_finishing_a_retirement_loses_a_record_that_is_kept() {
    every_failure_of("finish a retirement");
}

#[test]
fn the_audit_file_is_synced_after_the_write_and_before_the_answer() {
    let dir = scratch();
    filled(dir.path());
    let (store, _) = open_ok(dir.path());
    let faults = Faults::install(dir.path(), None);
    let audit = audit_path(dir.path());
    for number in 0..5 {
        let before = faults.done().len();
        let append = append_to(cache(20 + number), 0, None, vec![cache_opened("more")]);
        let hash = store.append(append).unwrap().records[0].hash;
        // sled follows behind; who reads waits for it.
        store.scan(1).unwrap();
        let ios = faults.done().split_off(before);
        let at = |wanted: fn(&Op) -> bool| ios.iter().position(|(op, _)| wanted(op));
        let written = at(|op| matches!(op, Op::Write(_))).unwrap();
        let synced = at(|op| *op == Op::SyncData).unwrap();
        let stored = at(|op| *op == Op::Sled).unwrap();
        assert!(written < synced && synced < stored, "{ios:?}");
        assert_eq!((&ios[written].1, &ios[synced].1), (&audit, &audit), "{ios:?}");
        // The same, seen from what it is for.
        let image = scratch();
        faults.after_power_cut(image.path());
        let (found, _) = open_ok(image.path());
        assert_eq!(found.head().hash, hash);
    }
}

#[test]
fn an_outcome_is_written_on_a_full_disk_and_new_work_is_refused() {
    let dir = scratch();
    let (store, _) = open_ok(dir.path());
    let (id, step) = (operation(1), scale(0, 3));
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let begins = vec![begun(3), intended(id, step.clone(), 1)];
    store.append(append_to(cache(1), 1, Some(id), begins)).unwrap();
    let ballast = dir.path().join("journal/BALLAST");
    assert_eq!(std::fs::metadata(&ballast).unwrap().len(), crate::audit::BALLAST_BYTES);
    // sled follows behind: who reads waits for it, so that the fault is not sled's.
    store.scan(1).unwrap();
    // The next write finds the disk full.
    let full = Plan { at: 0, fault: Fault::Short, for_ever: false };
    let faults = Faults::install(dir.path(), Some(full));
    let done = vec![succeeded(id, &step, 1), ended()];
    store.append(append_to(cache(1), 3, Some(id), done)).unwrap();
    assert!(!ballast.exists());
    store.scan(1).unwrap();
    // It stays full: room cannot be taken again.
    let at = faults.done().len();
    faults.set_plan(Some(Plan { at, fault: Fault::Enospc, for_ever: false }));
    let begins = vec![begun(4), intended(operation(2), scale(3, 4), 1)];
    let next = append_to(cache(1), 5, Some(operation(2)), begins);
    assert_eq!(store.append(next.clone()), Err(AppendError::NoReserve));
    assert_eq!(store.poisoned(), None);
    // There is room again: so is the reserve, and work goes on.
    store.append(next).unwrap();
    assert!(ballast.exists());
    drop((store, faults));
    assert_eq!(open_ok(dir.path()).0.head().seq, 9);
}

#[test]
fn a_lock_that_sled_gives_back_late_is_waited_for() {
    let dir = scratch();
    let records = filled(dir.path());
    let held = Generation::open(&dir.path().join("journal/gen-1")).unwrap();
    let holder = std::thread::spawn(move || {
        // As sled's own threads do after a database was closed.
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(held);
    });
    assert_eq!(open_ok(dir.path()).0.scan(1).unwrap(), records);
    holder.join().unwrap();
}
