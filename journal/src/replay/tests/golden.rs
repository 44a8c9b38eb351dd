//! Whole journals as earlier versions of this program wrote them. Every later version opens them and
//! folds them to the same state.
//!
//! They are never written again. A new form of the audit file gets a new directory beside them:
//! `cargo test -p xsld-journal --lib write_a_golden_journal -- --ignored`.

use std::path::{Path, PathBuf};

use super::*;
use crate::audit::{render, segments};
use crate::check::check_dir;
use crate::store::ledger::{Entry, external_digests};

/// Each golden journal, and BLAKE3 of its files' names and bytes. Only ever appended to.
const JOURNALS: [(&str, &str); 1] =
    [("v1", "589e8ebfd6d07a3560f534610299a2d360c04b8f4ddef30b71d08cd8b958d1ad")];
/// Records in a segment of a golden journal.
const SEGMENT: usize = 60;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/journals")
}

fn digest_of(dir: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for segment in segments(dir).unwrap() {
        let bytes = std::fs::read(&segment.path).unwrap();
        hasher.update(segment.name.as_bytes()).update(&bytes.len().to_be_bytes()).update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// A copy that may be opened, as opening makes sled's copy beside the audit file.
fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for segment in segments(&golden().join(name)).unwrap() {
        std::fs::copy(&segment.path, copy.path().join(&segment.name)).unwrap();
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
        let folded = fold(&records).unwrap();
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

#[test]
#[ignore = "writes the newest golden journal, which must not be there yet"]
fn write_a_golden_journal() {
    let (name, _) = JOURNALS[JOURNALS.len() - 1];
    let dir = golden().join(name);
    std::fs::create_dir_all(golden()).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let entries = entries();
    let mut rest = &entries[..];
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
