//! Whole journals as earlier versions of this program wrote them. Every later version opens them and
//! folds them to the same state.
//!
//! The first one keeps all its records. Those of the second were retired in part: what its base says
//! cannot be folded from records any more, so every later version has to read it.
//!
//! They are never written again. A new form of the audit file gets a new directory beside them:
//! `cargo test -p xsld-journal --lib write_a_golden_journal -- --ignored`.

use std::path::{Path, PathBuf};

use super::*;
use crate::audit::{Base, bases, render, segments};
use crate::check::check_dir;
use crate::event::Event;
use crate::fixtures::append_to;
use crate::store::ledger::{Entry, Ledger, external_digests};

/// Each golden journal, and BLAKE3 of its files' names and bytes. Only ever appended to.
const JOURNALS: [(&str, &str); 2] = [
    ("v1", "589e8ebfd6d07a3560f534610299a2d360c04b8f4ddef30b71d08cd8b958d1ad"),
    ("v2", "f9e25e7072495af3c6e7b96ef8adc569ee931842d9d4b54a2f2bbab2e1f6e0b9"),
];
/// Records in a segment of a golden journal.
const SEGMENT: usize = 60;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/journals")
}

/// Its segments and the files of its base, by their names.
fn files(dir: &Path) -> Vec<(String, PathBuf)> {
    let segments = segments(dir).unwrap().into_iter().map(|segment| segment.path);
    let bases = bases(dir).unwrap().into_iter().map(|(_, path)| path);
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut files: Vec<_> = segments.chain(bases).map(|path| (name(&path), path)).collect();
    files.sort();
    files
}

fn digest_of(dir: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, path) in files(dir) {
        let bytes = std::fs::read(path).unwrap();
        hasher.update(name.as_bytes()).update(&bytes.len().to_be_bytes()).update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// A copy that may be opened, as opening makes sled's copy beside the audit file.
fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for (name, path) in files(&golden().join(name)) {
        std::fs::copy(path, copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn the_bytes_of_a_golden_journal_stay_as_they_are() {
    for (name, digest) in JOURNALS {
        assert_eq!(digest_of(&golden().join(name)), digest, "{name} was changed");
    }
    let mut found: Vec<_> = std::fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, JOURNALS.map(|(name, _)| name), "one is not watched");
}

/// A changed digest here means that old records fold to something else than before, or that the
/// state has another shape. The first needs a higher `FOLD_VERSION`, and a reason.
#[test]
fn a_journal_of_an_earlier_version_opens_and_folds_to_the_same_state() {
    let mut lines = Vec::new();
    for (name, _) in JOURNALS {
        let copy = copy_of(name);
        assert_eq!(check_dir(copy.path(), None).unwrap().worst(), None, "{name}");
        let (store, report) = open(&OpenOptions::new(copy.path().to_owned(), id(99))).unwrap();
        assert_eq!(report.torn_tail, None, "{name}");
        verify(&store).unwrap();
        let records = store.scan(1).unwrap();
        let mut folded = store.base().map_or_else(Folded::default, |it| Folded::from(&*it));
        records.iter().for_each(|record| folded.apply(record).unwrap());
        assert_eq!((report.healed.len(), report.base_finding), (1, None), "sled's copy is made");
        let head = crate::chain::to_hex(&store.head().hash);
        lines.push(format!("{name} records {}", records.len()));
        lines.push(format!("{name} journal {}", store.head().journal_id));
        lines.push(format!("{name} head {head}"));
        lines.push(format!("{name} state {}", folded.digest()));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("journals", lines.join("\n")));
}

/// Rich enough to be worth keeping: every kind of event that random choices come to, long texts,
/// several segments.
fn entries() -> Vec<Entry> {
    let choices: Vec<u8> = (0..700_u32).map(|at| (at.wrapping_mul(40_503) >> 7) as u8).collect();
    let mut entries = entries_of(&history(&choices));
    for entry in &mut entries {
        // One text stands there that no event names.
        let (named, is_first) = (external_digests(&entry.record.event), entry.record.seq() == 2);
        entry.blobs.retain(|digest, _| is_first || named.contains(digest));
    }
    entries
}

/// Retires the records of the first segment: writes their base, and adds the record that says so.
fn retired(dir: &Path, entries: &mut Vec<Entry>) -> usize {
    let whole = |entry: &Entry| entry.record.envelope.rest == 0;
    let through = entries.iter().skip(SEGMENT).position(whole).unwrap() + SEGMENT + 1;
    let mut ledger = Ledger::new(id(1));
    entries[..through].iter().for_each(|entry| ledger.replay(entry).unwrap());
    let base = Base::of(ledger.snapshot().unwrap(), 1_800_000_000_000_000).unwrap();
    base.write(dir).unwrap();
    entries[through..].iter().for_each(|entry| ledger.replay(entry).unwrap());
    let event = Event::RecordsRetired {
        through: base.seq(),
        hash: crate::chain::to_hex(&base.snapshot.head.hash),
        state: base.state_digest(),
        base: base.digest.clone(),
        records: base.seq(),
        reason: "they are older than 400 days".into(),
    };
    let expected = ledger.stream_head(StreamId::JOURNAL).unwrap().stream_seq;
    let append = append_to(StreamId::JOURNAL, expected, None, vec![event]);
    let append = Append { epoch: ledger.head().epoch, ..append };
    entries.extend(ledger.admit(&append).unwrap().entries);
    through
}

#[test]
#[ignore = "writes the newest golden journal, which must not be there yet"]
fn write_a_golden_journal() {
    let (name, _) = JOURNALS[JOURNALS.len() - 1];
    let dir = golden().join(name);
    std::fs::create_dir_all(golden()).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let mut entries = entries();
    let through = retired(&dir, &mut entries);
    let mut rest = &entries[through..];
    while !rest.is_empty() {
        // A segment ends with a whole append.
        let whole = |entry: &Entry| entry.record.envelope.rest == 0;
        let end =
            rest.iter().skip(SEGMENT).position(whole).map_or(rest.len(), |at| at + SEGMENT + 1);
        let (own, later) = rest.split_at(end.min(rest.len()));
        let lines: Vec<u8> = own.iter().flat_map(|entry| render(entry).unwrap()).collect();
        std::fs::write(dir.join(segment_name(own[0].record.seq())), lines).unwrap();
        rest = later;
    }
}
