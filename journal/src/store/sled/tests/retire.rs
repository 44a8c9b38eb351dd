//! Retiring records: what goes, what stays, and what stands for what went.

mod crashes;

use super::*;
use crate::audit::{Base, checkpoints, kept, segments};
use crate::check::{Anchor, Kind, Report, Severity, check_dir};
use crate::fixtures::histories::history;
use crate::record::Epoch;
use crate::replay::verify;
use crate::retention::{Done, Limits, Retirement};
use crate::store::RetireError;

/// Every limit is passed.
pub(super) const ALL: Limits = Limits { age_us: None, bytes: Some(0) };

/// A segment for every few appends.
pub(super) fn small(dir: &Path) -> OpenOptions {
    OpenOptions { segment_max: 3000, ..options(dir) }
}

pub(super) fn ask(limits: Limits, keep_from: u64) -> Retirement {
    let (epoch, now_us, at_most) = (Epoch(u64::MAX), 1_800_000_000_000_000, usize::MAX);
    Retirement { limits, keep_from, at_most, epoch, now_us }
}

/// A rich history in many segments, all but the last sealed, with the newest two checkpoints near
/// its end. No operation is open.
pub(super) fn aged(dir: &Path) {
    let choices: Vec<u8> = (0..140_u32).map(|at| (at.wrapping_mul(40_503) >> 7) as u8).collect();
    let (store, _) = open(&small(dir)).unwrap();
    for append in history(&choices) {
        store.append(append).unwrap();
    }
    let open_streams: Vec<_> = store
        .streams()
        .into_iter()
        .filter_map(|(id, state)| state.operation.as_ref().map(|open| (id, open.clone())))
        .collect();
    for (stream, open) in open_streams {
        end(&store, stream, &open);
    }
    drop(store);
    more(dir, 60);
}

fn end(store: &SledStore, stream: StreamId, open: &crate::state::Operation) {
    let mut events: Vec<Event> = [&open.cancel, &open.step]
        .into_iter()
        .flatten()
        .map(|step| Event::StepVoid { key: step.key, evidence: "{}".into() })
        .collect();
    events.push(ended());
    let expected = store.stream_head(stream).unwrap().stream_seq;
    let append = append_to(stream, expected, Some(open.id), events);
    store.append(Append { epoch: store.head().epoch, ..append }).unwrap();
}

/// Appends a little, in several lives of the process: each seals what is full and makes a
/// checkpoint.
fn more(dir: &Path, from: u128) {
    for number in from..from + 4 {
        let (store, _) = open(&small(dir)).unwrap();
        for name in 0..5 {
            let stream = cache(number * 10 + name);
            let append = append_to(stream, 0, None, vec![cache_opened("more")]);
            store.append(Append { epoch: store.head().epoch, ..append }).unwrap();
        }
    }
    drop(open(&small(dir)).unwrap());
}

pub(super) fn retire(store: &SledStore, limits: Limits, keep_from: u64) -> Option<Done> {
    let ask = Retirement { epoch: store.head().epoch, ..ask(limits, keep_from) };
    store.retire(&ask).unwrap()
}

/// What a reader can see of the kept records, and of the states.
fn seen(store: &SledStore, from: u64) -> impl PartialEq + std::fmt::Debug + use<> {
    let hashes: Vec<_> = (from..=store.head().seq + 1).map(|seq| store.hash_at(seq)).collect();
    let heads: Vec<_> = store.streams().iter().map(|(id, _)| store.stream_head(*id)).collect();
    let records = store.scan(from).unwrap();
    (store.head(), store.log_state(), store.streams(), heads, hashes, records)
}

fn journal(dir: &Path) -> std::path::PathBuf {
    dir.join("journal")
}

fn checked(dir: &Path) -> Report {
    check_dir(&journal(dir), None).unwrap()
}

fn grave(report: &Report) -> Vec<(Kind, String)> {
    let grave = report.findings.iter().filter(|it| it.severity > Severity::Note);
    grave.map(|finding| (finding.kind, finding.message.clone())).collect()
}

fn base_files(dir: &Path) -> Vec<std::path::PathBuf> {
    crate::audit::bases(&journal(dir)).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn remove_checkpoints(dir: &Path) {
    for (_, path) in checkpoints(&journal(dir)).unwrap() {
        std::fs::remove_file(path).unwrap();
    }
}

/// A journal that retired what it could.
fn retired(dir: &Path) -> Done {
    aged(dir);
    let (store, _) = open(&small(dir)).unwrap();
    retire(&store, ALL, u64::MAX).unwrap()
}

#[test]
fn retired_records_go_and_what_they_fold_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    let (head, states, first) = (store.head(), store.streams(), store.hash_at(1).unwrap());
    let done = retire(&store, ALL, u64::MAX).unwrap();
    assert!(done.through > 50 && done.records == done.through, "{done:?}");
    assert_eq!(done.seq, head.seq + 1);
    assert_eq!((store.retired(), store.streams()), (done.through, states));
    assert_eq!(store.scan(1).unwrap().first().unwrap().seq(), done.through + 1);
    assert_eq!((store.hash_at(1), store.hash_at(done.through - 1)), (None, None));
    assert!(store.hash_at(done.through).is_some_and(|hash| hash != first));
    let names = segments(&journal(dir.path())).unwrap();
    assert_eq!(names[0].first_seq, done.through + 1);
    assert_eq!(base_files(dir.path()).len(), 2);
    verify(&store).unwrap();
    let before = seen(&store, done.through);
    drop(store);
    assert_eq!(grave(&checked(dir.path())), []);
    // From a checkpoint, and from the base.
    for checkpoint in [true, false] {
        if !checkpoint {
            remove_checkpoints(dir.path());
        }
        let (store, report) = open(&small(dir.path())).unwrap();
        assert_eq!((report.retired, report.base_finding), (done.through, None));
        assert_eq!(report.checkpoint > done.through, checkpoint, "{:?}", report.checkpoint);
        assert_eq!(report.ignored_checkpoints, []);
        assert_eq!(seen(&store, done.through), before, "{checkpoint}");
        verify(&store).unwrap();
    }
}

#[test]
fn a_retirement_after_another_goes_on_from_the_first_ones_base() {
    let dir = tempfile::tempdir().unwrap();
    let first = retired(dir.path());
    more(dir.path(), 70);
    let (store, _) = open(&small(dir.path())).unwrap();
    let second = retire(&store, ALL, u64::MAX).unwrap();
    assert!(second.through > first.through, "{second:?}");
    assert_eq!(second.records, second.through - first.through);
    assert_eq!(retire(&store, ALL, u64::MAX), None, "nothing is left to retire");
    verify(&store).unwrap();
    drop(store);
    assert_eq!(base_files(dir.path()).len(), 2, "the former base is gone");
    assert_eq!(grave(&checked(dir.path())), []);
    let log = open(&small(dir.path())).unwrap().0.log_state();
    assert_eq!(log.retired.as_ref().unwrap().through, second.through);
}

#[test]
fn what_is_still_wanted_stays() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    assert_eq!(retire(&store, Limits::default(), u64::MAX), None, "no limit");
    assert_eq!(retire(&store, ALL, 1), None, "the anchor's record");
    let old = Limits { age_us: Some(i64::MAX), ..Limits::default() };
    assert_eq!(retire(&store, old, u64::MAX), None, "not old enough");
    let done = retire(&store, ALL, 40).unwrap();
    assert!(done.through < 40, "{done:?}");
    let newest: Vec<u64> =
        checkpoints(&journal(dir.path())).unwrap().iter().map(|(seq, _)| *seq).collect();
    let done = retire(&store, ALL, u64::MAX).unwrap();
    assert!(done.through <= newest[1], "{done:?}, {newest:?}");
    drop(store);
    for _ in 0..2 {
        // Either of the two checkpoints is still enough to open it.
        let report = open(&small(dir.path())).unwrap().1;
        assert!(report.checkpoint > 0 && report.ignored_checkpoints.is_empty(), "{report:?}");
        let (_, newest) = checkpoints(&journal(dir.path())).unwrap().swap_remove(0);
        std::fs::remove_file(newest).unwrap();
    }
}

#[test]
fn an_open_operation_is_never_retired_nor_anything_behind_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&small(dir.path())).unwrap();
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    let opened = |number: u128| append_to(cache(number), 0, None, vec![cache_opened("one")]);
    for number in 1..12 {
        store.append(opened(number)).unwrap();
    }
    let (id, step) = (operation(1), scale(0, 3));
    store
        .append(append_to(cache(1), 1, Some(id), vec![begun(3), intended(id, step.clone(), 1)]))
        .unwrap();
    let begun_seq = store.state(cache(1)).unwrap().operation.as_ref().unwrap().begun_seq;
    drop(store);
    more(dir.path(), 60);
    let (store, _) = open(&small(dir.path())).unwrap();
    let done = retire(&store, ALL, u64::MAX).unwrap();
    assert!(done.through < begun_seq, "{done:?}");
    assert_eq!(retire(&store, ALL, u64::MAX), None);
    store.append(append_to(cache(1), 3, Some(id), vec![succeeded(id, &step, 1), ended()])).unwrap();
    let after = retire(&store, ALL, u64::MAX).unwrap();
    assert!(after.through > begun_seq, "{after:?}");
    drop(store);
    assert_eq!(grave(&checked(dir.path())), []);
}

/// An operation that is over may be cut in two: the base knows its attempts.
#[test]
fn an_outcome_whose_intent_was_retired_still_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&OpenOptions { segment_max: 1, ..options(dir.path()) }).unwrap();
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let (id, step) = (operation(1), scale(0, 3));
    let events = vec![begun(3), intended(id, step.clone(), 1)];
    store.append(append_to(cache(1), 1, Some(id), events)).unwrap();
    let intent = store.head().seq;
    store.append(append_to(cache(1), 3, Some(id), vec![succeeded(id, &step, 1), ended()])).unwrap();
    drop(store);
    more(dir.path(), 60);
    let (store, _) = open(&small(dir.path())).unwrap();
    let done = retire(&store, ALL, intent + 1).unwrap();
    assert_eq!(done.through, intent, "just between the intent and its outcome");
    drop(store);
    assert_eq!(grave(&checked(dir.path())), []);
}

#[test]
fn texts_that_nobody_names_any_more_go_and_the_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&small(dir.path())).unwrap();
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let mut texts = Vec::new();
    for number in 1..4_u64 {
        let (template, blob) = text_for_event(format!("{number}").repeat(3000));
        let id = operation(u128::from(number));
        let step = crate::event::Step::SetTemplate {
            digest: format!("d{number}"),
            template: template.clone(),
        };
        let events =
            vec![begun(3), intended(id, step.clone(), 1), succeeded(id, &step, 1), ended()];
        let append = append_to(cache(1), number * 4 - 3, Some(id), events);
        store.append(Append { blobs: blob.into_iter().collect(), ..append }).unwrap();
        texts.push(template);
    }
    drop(store);
    more(dir.path(), 60);
    let (store, _) = open(&small(dir.path())).unwrap();
    retire(&store, ALL, u64::MAX).unwrap();
    let named = store.state(cache(1)).unwrap().committed.template.clone().unwrap().text;
    assert_eq!(named, texts[2]);
    assert!(store.text(&texts[2]).is_some());
    let digest = |text: &Text| match text {
        Text::External { digest, .. } => digest.clone(),
        Text::Inline(text) => panic!("{text}"),
    };
    let base = kept(&journal(dir.path())).unwrap().base.unwrap();
    let left: Vec<_> = base.snapshot.texts.into_keys().collect();
    assert_eq!(left, [digest(&texts[2])], "nobody can ask for the others any more");
    // A text that is named again stands beside the new record, so that it outlives the base too.
    let id = operation(9);
    let step = crate::event::Step::SetTemplate { digest: "d3".into(), template: named };
    let events = vec![begun(3), intended(id, step.clone(), 1), succeeded(id, &step, 1), ended()];
    store.append(append_to(cache(1), 13, Some(id), events)).unwrap();
    drop(store);
    more(dir.path(), 70);
    let (store, _) = open(&small(dir.path())).unwrap();
    retire(&store, ALL, u64::MAX).unwrap();
    drop(store);
    remove_checkpoints(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    let known: Vec<_> = texts.iter().map(|text| store.text(text).is_some()).collect();
    assert_eq!(known, [false, false, true]);
    drop(store);
    assert_eq!(grave(&checked(dir.path())), []);
}

#[test]
fn either_file_of_the_base_heals_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    drop(open(&small(dir.path())).unwrap());
    for lost in 0..2 {
        for damage in [true, false] {
            let path = base_files(dir.path()).swap_remove(lost);
            let whole = std::fs::read(&path).unwrap();
            if damage {
                let mut bytes = whole.clone();
                bytes[whole.len() / 2] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
            let report = checked(dir.path());
            assert_eq!(report.exit_code(), 1, "{:?}", report.findings);
            let found = grave(&report);
            assert!(matches!(found[..], [(Kind::Base, _)]), "{found:?}");
            let (store, report) = open(&small(dir.path())).unwrap();
            let files = vec![path.file_name().unwrap().to_string_lossy().into_owned()];
            assert_eq!(report.healed, [Healed::BaseRestored { files }]);
            assert_eq!(store.retired(), done.through);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }
    assert_eq!(grave(&checked(dir.path())), []);
}

#[test]
fn a_checkpoint_stands_in_for_a_lost_base_and_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    let before = {
        let (store, _) = open(&small(dir.path())).unwrap();
        seen(&store, done.through + 1)
    };
    base_files(dir.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let report = checked(dir.path());
    assert_eq!(report.exit_code(), 3, "{:?}", report.findings);
    let named = |it: &(Kind, String)| it.0 == Kind::Base && it.1.contains("is not there");
    assert!(grave(&report).iter().any(named), "{:?}", report.findings);
    let (store, report) = open(&small(dir.path())).unwrap();
    assert!(report.checkpoint > done.through, "{report:?}");
    assert!(report.base_finding.unwrap().contains("is lost"));
    assert_eq!(seen(&store, done.through + 1), before);
    let asked = Retirement { epoch: store.head().epoch, ..ask(ALL, u64::MAX) };
    more_in(&store, 80);
    drop(store);
    drop(open(&small(dir.path())).unwrap());
    let (store, _) = open(&small(dir.path())).unwrap();
    let refused = store.retire(&asked).unwrap_err();
    assert!(matches!(refused, RetireError::BaseLost { .. }), "{refused}");
    drop(store);
    // Without either, nothing is made up.
    remove_checkpoints(dir.path());
    let name = heal::current(&journal(dir.path())).unwrap().unwrap();
    std::fs::remove_dir_all(journal(dir.path()).join(name)).unwrap();
    let refused = open(&small(dir.path())).unwrap_err();
    assert_eq!(refused.exit_code(), 14, "{refused}");
    assert!(refused.to_string().contains("no base stands for"), "{refused}");
}

fn more_in(store: &SledStore, number: u128) {
    for name in 0..20 {
        let append = append_to(cache(number * 100 + name), 0, None, vec![cache_opened("more")]);
        store.append(Append { epoch: store.head().epoch, ..append }).unwrap();
    }
}

#[test]
fn a_base_that_is_not_the_recorded_one_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    // Whole in itself, but made at another time: another digest.
    let base = kept(&journal(dir.path())).unwrap().base.unwrap();
    let other = Base::of(base.snapshot.clone(), base.retired_us + 1).unwrap();
    other.write(&journal(dir.path())).unwrap();
    let report = checked(dir.path());
    let found = grave(&report);
    assert_eq!((report.exit_code(), found.len()), (1, 1), "{found:?}");
    assert!(found[0].1.contains(&other.digest), "{found:?}");
    let refused = open(&small(dir.path())).unwrap_err();
    assert!(matches!(refused, OpenError::Base { seq, .. } if seq == done.through), "{refused}");
    assert_eq!(refused.exit_code(), 14);
    // With another hash its first record follows nothing.
    let mut altered = base.snapshot.clone();
    altered.head.hash = [7; 32];
    Base::of(altered, base.retired_us).unwrap().write(&journal(dir.path())).unwrap();
    let kinds: Vec<_> = grave(&checked(dir.path())).into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&Kind::Chain) && kinds.contains(&Kind::Base), "{kinds:?}");
    // The right one brings it all back.
    base.write(&journal(dir.path())).unwrap();
    assert_eq!(open(&small(dir.path())).unwrap().1.base_finding, None);
}

#[test]
fn an_anchor_in_front_of_the_retired_records_is_no_fork() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    let hash = |seq| open(&small(dir.path())).unwrap().0.hash_at(seq);
    let last = hash(done.through).unwrap();
    let at = |seq, hash| {
        let anchor = Some(Anchor { seq, hash });
        check_dir(&journal(dir.path()), anchor).unwrap().exit_code()
    };
    assert_eq!(at(done.through, last), 0, "the last retired record can be compared");
    assert_eq!(at(done.through, [9; 32]), 4, "and tells a fork");
    assert_eq!(at(done.through - 1, [9; 32]), 0, "nothing is known of the others");
    assert_eq!(at(u64::MAX, [9; 32]), 3);
}

#[test]
fn sled_lets_retired_records_go_when_it_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    let rows = || {
        let name = heal::current(&journal(dir.path())).unwrap().unwrap();
        let generation = Generation::open(&journal(dir.path()).join(&name)).unwrap();
        let seqs: Vec<u64> = generation.readable().iter().map(|it| it.record.seq()).collect();
        (name, seqs)
    };
    assert_eq!(rows().1[0], 1);
    let (store, report) = open(&small(dir.path())).unwrap();
    let generation = "gen-2".to_owned();
    assert_eq!(report.healed, [Healed::Trimmed { generation, retired: done.through }]);
    let head = store.head().seq;
    assert_eq!(store.scan(1).unwrap().len() as u64, head - done.through);
    drop(store);
    let (name, seqs) = rows();
    assert_eq!((name.as_str(), seqs[0], *seqs.last().unwrap()), ("gen-2", done.through + 1, head));
    assert!(!journal(dir.path()).join("gen-1").exists(), "its room is given back");
    // From now on it is a prefix as ever, and is completed and rebuilt as ever.
    assert_eq!(open(&small(dir.path())).unwrap().1.healed, []);
    std::fs::remove_dir_all(journal(dir.path()).join("gen-2")).unwrap();
    let (store, report) = open(&small(dir.path())).unwrap();
    assert!(matches!(report.healed[..], [Healed::Rebuilt { .. }]), "{:?}", report.healed);
    assert_eq!(store.scan(1).unwrap().len() as u64, head - done.through);
    drop(store);
    let compacted = compact(&journal(dir.path())).unwrap();
    assert_eq!(compacted.records, head - done.through);
    assert_eq!(open(&small(dir.path())).unwrap().1.healed, []);
}

#[test]
fn a_damaged_segment_behind_the_base_is_mended_from_sled() {
    let dir = tempfile::tempdir().unwrap();
    let done = retired(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    let before = store.scan(1).unwrap();
    drop(store);
    for lost in [0, 1] {
        remove_checkpoints(dir.path());
        let path = segments(&journal(dir.path())).unwrap()[lost].path.clone();
        std::fs::remove_file(path).unwrap();
        let (store, report) = open(&small(dir.path())).unwrap();
        assert!(matches!(report.healed[0], Healed::AuditMended { .. }), "{:?}", report.healed);
        assert_eq!((store.retired(), store.scan(1).unwrap()), (done.through, before.clone()));
        drop(store);
        assert_eq!(grave(&checked(dir.path())), []);
    }
}

#[test]
fn a_checkpoint_that_says_something_else_stops_the_retirement() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let found = checkpoints(&journal(dir.path())).unwrap();
    let (seq, path) = found.last().unwrap();
    let bytes = std::fs::read(path).unwrap();
    let body = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let mut body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["log"]["holder"] = "somebody else".into();
    let mut forged = crate::audit::Checkpoint::parse(&bytes).unwrap();
    let mut log = crate::state::LogState::clone(&forged.snapshot.log);
    log.holder = Some("somebody else".into());
    forged.snapshot.log = log.into();
    body["state"] = forged.state_digest().into();
    let body = serde_json::to_vec(&body).unwrap();
    let seal = format!("{{\"blake3\":\"{}\"}}\n", blake3::hash(&body).to_hex());
    let (store, _) = open(&small(dir.path())).unwrap();
    std::fs::write(path, [&body[..], b"\n", seal.as_bytes()].concat()).unwrap();
    let asked = Retirement { epoch: store.head().epoch, ..ask(ALL, seq + 1) };
    let refused = store.retire(&asked).unwrap_err();
    assert!(
        matches!(&refused, RetireError::Differs { seq: at, .. } if at == seq),
        "{refused}: {seq}"
    );
    assert!(base_files(dir.path()).is_empty() && store.retired() == 0);
}

#[test]
fn appends_go_on_while_records_are_retired() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    let done = std::thread::scope(|scope| {
        let retiring = scope.spawn(|| retire(&store, ALL, u64::MAX));
        more_in(&store, 90);
        retiring.join().unwrap()
    });
    let done = done.unwrap();
    verify(&store).unwrap();
    let before = seen(&store, done.through + 1);
    drop(store);
    let (store, report) = open(&small(dir.path())).unwrap();
    assert_eq!((seen(&store, done.through + 1), report.ignored_checkpoints), (before, vec![]));
    drop(store);
    assert_eq!(grave(&checked(dir.path())), []);
}

#[test]
fn the_figures_follow_a_retirement() {
    let dir = tempfile::tempdir().unwrap();
    aged(dir.path());
    let (store, _) = open(&small(dir.path())).unwrap();
    let before = store.figures();
    assert_eq!((before.first_seq, before.last_seq), (1, store.head().seq));
    assert!(before.audit_bytes > 0 && before.sled_bytes > 0 && before.has_reserve, "{before:?}");
    assert_eq!(before.operation_records, 0);
    let done = retire(&store, ALL, u64::MAX).unwrap();
    let after = store.figures();
    assert_eq!((after.first_seq, after.last_seq), (done.through + 1, done.seq));
    assert!(after.segments < before.segments && after.checkpoint_seq > done.through, "{after:?}");
    std::fs::remove_file(journal(dir.path()).join("BALLAST")).unwrap();
    assert!(!store.figures().has_reserve);
}
