use proptest::prelude::*;

use super::*;
use crate::audit::{kept, load, load_after};
use crate::check::{Kind, check_dir};
use crate::fixtures::{append_to, cache, cache_opened, entries_of, histories::history, id};
use crate::record::text_for_event;
use crate::replay::fold;
use crate::store::ledger::Ledger;
use crate::store::sled::{OpenOptions, open};
use crate::store::{Append, OpenReport, SledStore, Store as _};

fn options(dir: &Path) -> OpenOptions {
    // Every append begins a new segment.
    OpenOptions { segment_max: 1, ..OpenOptions::new(dir.to_owned(), id(1)) }
}

fn open_ok(dir: &Path) -> (SledStore, OpenReport) {
    open(&options(dir)).unwrap()
}

fn choices() -> Vec<u8> {
    (0..120_u32).map(|number| (number * 37 % 251) as u8).collect()
}

/// A journal of some rich history that was opened again, so that all but its last segment are
/// sealed and a checkpoint stands before that.
fn with_checkpoint(dir: &Path) -> u64 {
    let (store, _) = open_ok(dir);
    for append in history(&choices()) {
        store.append(append).unwrap();
    }
    let (_, long) = text_for_event("x".repeat(5000));
    let text = Append {
        blobs: long.into_iter().collect(),
        ..append_to(cache(77), 0, None, vec![cache_opened("texts")])
    };
    store.append(text).unwrap();
    drop(store);
    drop(open_ok(dir));
    let found = checkpoints(dir).unwrap();
    assert!(!found.is_empty());
    found[0].0
}

fn ledger_without_checkpoint(dir: &Path) -> Ledger {
    load(dir, id(1)).unwrap().ledger
}

fn seen(store: &SledStore) -> impl PartialEq + std::fmt::Debug + use<> {
    let hashes: Vec<_> = (0..=store.head().seq + 1).map(|seq| store.hash_at(seq)).collect();
    let heads: Vec<_> = store.streams().iter().map(|(id, _)| store.stream_head(*id)).collect();
    (store.head(), store.log_state(), store.streams(), heads, hashes, store.scan(1).unwrap())
}

/// Writes a checkpoint anew as this changes it, with the digest that belongs to it.
fn forge(path: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let bytes = std::fs::read(path).unwrap();
    let body = bytes.split(|byte| *byte == b'\n').next().unwrap();
    let mut body: serde_json::Value = serde_json::from_slice(body).unwrap();
    change(&mut body);
    let body = serde_json::to_vec(&body).unwrap();
    let seal = Seal { blake3: blake3::hash(&body).to_hex().to_string() };
    let seal = serde_json::to_vec(&seal).unwrap();
    std::fs::write(path, [&body[..], b"\n", &seal, b"\n"].concat()).unwrap();
}

fn remove_all(dir: &Path) {
    for (_, path) in checkpoints(dir).unwrap() {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_journal_opened_from_a_checkpoint_is_the_same_as_one_that_was_folded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let seq = with_checkpoint(dir.path());
    let (store, report) = open_ok(dir.path());
    assert_eq!((report.checkpoint, report.ignored_checkpoints), (seq, Vec::new()));
    assert!(seq > 40, "{seq}");
    let fast = seen(&store);
    drop(store);
    remove_all(dir.path());
    let (store, report) = open_ok(dir.path());
    assert_eq!(report.checkpoint, 0);
    assert_eq!(fast, seen(&store));
}

#[test]
fn a_checkpoint_and_the_rest_fold_to_what_one_pass_folds_to() {
    let dir = tempfile::tempdir().unwrap();
    with_checkpoint(dir.path());
    let whole = ledger_without_checkpoint(dir.path());
    for (_, path) in checkpoints(dir.path()).unwrap() {
        let checkpoint = Checkpoint::parse(&std::fs::read(path).unwrap()).unwrap();
        let found = kept(dir.path()).unwrap();
        let rest = checkpoint.rest(0, &found.segments).unwrap();
        let loaded = load_after(dir.path(), &checkpoint, found, rest).unwrap();
        assert_eq!(loaded.ledger.snapshot(), whole.snapshot());
    }
}

#[test]
fn work_goes_on_behind_a_checkpoint_and_the_next_one_builds_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = with_checkpoint(dir.path());
    for number in 0..3 {
        let (store, _) = open_ok(dir.path());
        let append = append_to(cache(90 + number), 0, None, vec![cache_opened("more")]);
        store.append(append).unwrap();
    }
    let (store, report) = open_ok(dir.path());
    assert!(report.checkpoint > first, "{report:?}");
    assert_eq!(report.ignored_checkpoints, Vec::new());
    assert_eq!(store.scan(1).unwrap().len() as u64, store.head().seq);
    drop(store);
    assert!(checkpoints(dir.path()).unwrap().len() <= KEPT);
    let report = check_dir(dir.path(), None).unwrap();
    assert_eq!((report.worst(), report.checkpoints), (None, KEPT));
}

/// Damage, forgery, an older or a newer program: whatever is wrong with it, the state is that of
/// the records, and the reason is told.
#[test]
fn a_checkpoint_that_does_not_verify_is_ignored_and_told() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 7] = [
        ("another version", |body| body["format"] = 2.into()),
        ("another version", |body| body["fold"] = 99.into()),
        ("another version of this program made its state", |body| {
            body["log"]["holder"] = "somebody else".into();
        }),
        ("cannot be read", |body| body["unheard_of"] = 1.into()),
        ("the chain is broken", |body| body["hash"] = "ab".repeat(32).into()),
        ("a segment that it names", |body| {
            let one = body["segments"][0].clone();
            body["segments"].as_array_mut().unwrap().resize(500, one);
        }),
        ("is not what it was", |body| body["segments"][0]["bytes"] = 1.into()),
    ];
    let dir = tempfile::tempdir().unwrap();
    with_checkpoint(dir.path());
    let truth = ledger_without_checkpoint(dir.path()).snapshot();
    let (_, newest) = checkpoints(dir.path()).unwrap()[0].clone();
    let original = std::fs::read(&newest).unwrap();
    for (reason, change) in changes {
        std::fs::write(&newest, &original).unwrap();
        forge(&newest, change);
        let report = check_dir(dir.path(), None).unwrap();
        let told = report.findings.iter().any(|finding| finding.kind == Kind::Checkpoint);
        assert!(told, "{reason}: {:?}", report.findings);
        let (store, report) = open_ok(dir.path());
        let ignored = &report.ignored_checkpoints;
        assert_eq!(ignored.len(), 1, "{reason}: {report:?}");
        assert!(ignored[0].reason.contains(reason), "{reason}: {ignored:?}");
        assert_eq!(Some(store.head()), truth.as_ref().map(|truth| truth.head));
        drop(store);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_checkpoint_never_changes_the_state() {
    let dir = tempfile::tempdir().unwrap();
    with_checkpoint(dir.path());
    let (_, path) = checkpoints(dir.path()).unwrap()[0].clone();
    let original = std::fs::read(&path).unwrap();
    let whole = Checkpoint::parse(&original).unwrap();
    for at in 0..original.len() {
        let mut bytes = original.clone();
        bytes[at] ^= 1 << (at % 8);
        // What still reads (the case of a hex digit) says the same.
        if let Ok(read) = Checkpoint::parse(&bytes) {
            assert_eq!(read, whole, "at {at}");
        }
        // But for the last line end, which says nothing.
        let cut = Checkpoint::parse(&original[..at]);
        assert!(cut.is_err() || at + 1 == original.len(), "cut at {at}");
    }
}

#[test]
fn a_state_that_the_records_do_not_fold_to_is_found_by_the_check() {
    let dir = tempfile::tempdir().unwrap();
    with_checkpoint(dir.path());
    let (_, path) = checkpoints(dir.path()).unwrap()[0].clone();
    let mut checkpoint = Checkpoint::parse(&std::fs::read(&path).unwrap()).unwrap();
    let mut log = LogState::clone(&checkpoint.snapshot.log);
    log.holder = Some("somebody else".into());
    checkpoint.snapshot.log = Arc::new(log);
    write(dir.path(), &checkpoint).unwrap();
    let report = check_dir(dir.path(), None).unwrap();
    let found: Vec<_> = report.findings.iter().filter(|it| it.kind == Kind::Checkpoint).collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("is not what the records fold to"), "{found:?}");
    assert_eq!((report.exit_code(), report.checkpoints), (1, 1));
}

#[test]
fn damage_in_a_sealed_segment_that_a_checkpoint_covers_is_healed_from_sled() {
    let dir = tempfile::tempdir().unwrap();
    with_checkpoint(dir.path());
    let truth = ledger_without_checkpoint(dir.path()).snapshot();
    let first = segments(dir.path()).unwrap()[3].path.clone();
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&first, bytes).unwrap();
    let (store, report) = open_ok(dir.path());
    assert!(report.ignored_checkpoints.iter().any(|it| it.reason.contains("is not what it was")));
    assert_eq!((report.checkpoint, report.healed.len()), (0, 1), "{report:?}");
    assert_eq!(Some(store.head()), truth.map(|truth| truth.head));
}

#[test]
fn sled_that_lost_its_records_is_made_again_behind_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let seq = with_checkpoint(dir.path());
    let (store, _) = open_ok(dir.path());
    let truth = seen(&store);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("gen-1")).unwrap();
    let (store, report) = open_ok(dir.path());
    assert_eq!((report.checkpoint, report.healed.len()), (seq, 1), "{report:?}");
    assert_eq!(seen(&store), truth);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is recorded, and wherever the checkpoint is made, written and read back: it and the
    /// rest come to the very ledger that one pass comes to, and to the digest of the plain fold.
    #[test]
    fn any_history_folds_to_the_same_state_by_one_pass_and_by_a_checkpoint_and_the_rest(
        choices in proptest::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
    ) {
        let entries = entries_of(&history(&choices));
        let ends: Vec<usize> = (0..entries.len())
            .filter(|at| entries[*at].record.envelope.rest == 0)
            .collect();
        let end = ends[at.index(ends.len())] + 1;
        let (first, rest) = entries.split_at(end);
        let mut whole = Ledger::new(id(1));
        for entry in first {
            whole.replay(entry).unwrap();
        }
        let snapshot = whole.snapshot().unwrap();
        let folded = fold(first.iter().map(|entry| &entry.record)).unwrap();
        let made = Checkpoint { snapshot, segments: Vec::new() };
        prop_assert_eq!(made.state_digest(), folded.digest());
        let read = Checkpoint::parse(&made.render().unwrap()).unwrap();
        prop_assert_eq!(&read, &made);
        let mut resumed = Ledger::restore(&read.snapshot);
        for entry in rest {
            whole.replay(entry).unwrap();
            resumed.replay(entry).unwrap();
        }
        prop_assert_eq!(resumed.snapshot(), whole.snapshot());
        prop_assert_eq!(resumed.head(), whole.head());
    }
}
