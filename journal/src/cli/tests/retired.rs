//! The commands on a journal whose first records were retired.

use super::*;
use crate::audit::{Base, read_header};
use crate::event::Event;
use crate::record::Epoch;
use crate::store::Append;
use crate::store::ledger::{Entry, Ledger};

/// After which record of the story the others are kept: in the middle of its first operation.
const THROUGH: u64 = 6;

/// The story, of which the first records were retired, and the record that says so.
fn story_of(through: u64) -> (Base, Vec<Entry>) {
    let mut entries = entries_of(&story());
    let mut retired = Ledger::new(entries[0].record.envelope.journal_id);
    let at = usize::try_from(through).unwrap();
    entries[..at].iter().for_each(|entry| retired.replay(entry).unwrap());
    let base = Base::of(retired.snapshot().unwrap(), 1_767_225_900_000_000).unwrap();
    let event = Event::RecordsRetired {
        through,
        hash: crate::chain::to_hex(&base.snapshot.head.hash),
        state: base.state_digest(),
        base: base.digest.clone(),
        records: through,
        reason: "they are older than 400 days".into(),
    };
    let mut ledger = Ledger::new(entries[0].record.envelope.journal_id);
    entries.iter().for_each(|entry| ledger.replay(entry).unwrap());
    let append = crate::fixtures::journal_append(3, vec![event]);
    let time_us = 1_767_225_900_000_000;
    let append = Append { epoch: Epoch(2), time_us, ..append };
    let mut kept = entries.split_off(at);
    kept.extend(ledger.admit(&append).unwrap().entries);
    (base, kept)
}

fn retired() -> tempfile::TempDir {
    let (base, kept) = story_of(THROUGH);
    let dir = tempfile::tempdir().unwrap();
    base.write(dir.path()).unwrap();
    let lines: Vec<u8> = kept.iter().flat_map(|entry| render(entry).unwrap()).collect();
    std::fs::write(dir.path().join(segment_name(THROUGH + 1)), lines).unwrap();
    dir
}

const TOLD: &str = "records 1 to 6 were retired on 2026-01-01T00:05:00.000000Z";

#[test]
fn every_command_reads_a_journal_behind_its_base_and_tells_once_what_was_retired() {
    let dir = retired();
    let show = format!("show {}", operation(1));
    let why = "why caches/demo --member 1";
    for command in [
        "log",
        "state",
        "state --cache caches/demo",
        "diff 7",
        "why caches/demo",
        why,
        "steps",
        &show,
        "stats",
        "replay",
        "check",
        "log --since 3 -o json",
        "state --at 6",
    ] {
        let ran = run_in(dir.path(), command);
        assert_eq!(ran.exit, 0, "{command}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches(TOLD).count(), 1, "{command}: {}", ran.stderr);
        assert!(!ran.stderr.contains("are missing\n"), "{command}: {}", ran.stderr);
        assert!(!ran.stdout.is_empty(), "{command}");
    }
}

#[test]
fn the_state_and_the_names_come_from_the_base() {
    let (dir, whole) = (retired(), journal());
    let state = |dir: &Path, command: &str| run_in(dir, command).stdout;
    for command in ["state --cache caches/demo", "state --cache caches/demo --at 9"] {
        assert_eq!(state(dir.path(), command), state(whole.path(), command), "{command}");
    }
    let earliest = state(dir.path(), "state --at 6");
    let of_whole = state(whole.path(), "state --at 6");
    let hash = of_whole.lines().find(|line| line.starts_with("hash ")).unwrap();
    assert!(earliest.contains(hash) && earliest.contains("retired with it"), "{earliest}");
    let log = run_in(dir.path(), "log --cache caches/demo").stdout;
    assert!(log.contains("caches/demo"), "{log}");
    let steps = run_in(dir.path(), "steps --cache caches/demo --kind disjoin_member").stdout;
    assert_eq!(steps, run_in(whole.path(), "steps --kind disjoin_member").stdout);
}

#[test]
fn what_was_before_the_base_is_not_known_and_says_so() {
    let dir = retired();
    for command in [
        "state --at 5",
        "state --at 2026-01-01T00:00:01Z",
        "diff 5",
        "diff 5 9",
        "why caches/demo --at 5",
        "replay --until 5",
    ] {
        let ran = run_in(dir.path(), command);
        assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""), "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("The earliest one is that after record 6"), "{}", ran.stderr);
    }
    let ran = run_in(dir.path(), "show 99999999");
    assert!(ran.exit == 2 && ran.stderr.contains("operation 99999999; records 1 to 6 were"));
    // Of an operation that was cut, the rest is shown.
    let ran = run_in(dir.path(), &format!("show {}", operation(1)));
    assert!(ran.stdout.contains("its first record was retired"), "{}", ran.stdout);
}

#[test]
fn a_retired_journal_is_printed_as_agreed() {
    let dir = retired();
    for (name, command) in [
        ("retired_check", "check"),
        ("retired_state", "state"),
        ("retired_log", "log --type records_retired"),
        ("retired_stats_json", "stats -o json"),
    ] {
        let ran = run_in(dir.path(), command);
        let all = format!(
            "$ xsld-operator journal {command}\n--- stderr\n{}--- stdout\n{}--- exit {}",
            ran.stderr, ran.stdout, ran.exit
        );
        snapshot(name, &all);
    }
}

#[test]
fn an_export_carries_the_base_and_is_read_and_imported_like_the_directory() {
    let dir = retired();
    let to = tempfile::tempdir().unwrap();
    for (name, made) in [("plain.jsonl", "one"), ("packed.jsonl.gz", "two")] {
        let (file, made) = (to.path().join(name), to.path().join(made));
        let ran = run_in(dir.path(), &format!("export {}", file.display()));
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let header = read_header(&file).unwrap();
        assert_eq!((header.version, header.first_seq), (2, THROUGH + 1));
        for command in ["check", "state", "log", "replay", "stats"] {
            let ran = run_in(&file, command);
            assert_eq!(ran.exit, 0, "{name} {command}: {}", ran.stderr);
            assert!(ran.stderr.contains(TOLD), "{name} {command}: {}", ran.stderr);
        }
        let state = run_in(&file, "state --cache caches/demo").stdout;
        assert_eq!(state, run_in(dir.path(), "state --cache caches/demo").stdout);
        let ran = run_in(dir.path(), &format!("import {} {}", file.display(), made.display()));
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        assert_eq!(run_in(&made, "log").stdout, run_in(dir.path(), "log").stdout);
        let options = crate::store::OpenOptions::new(made, uuid::Uuid::nil());
        let (_, report) = crate::store::open(&options).unwrap();
        assert_eq!((report.retired, report.base_finding), (THROUGH, None));
    }
    // A journal that kept all is exported as ever.
    let file = to.path().join("whole.jsonl");
    run_in(journal().path(), &format!("export {}", file.display()));
    let first = std::fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned();
    assert!(first.starts_with("{\"xsld_journal_export\":1,") && !first.contains("base"), "{first}");
}

#[test]
fn an_export_whose_base_was_altered_is_refused() {
    let dir = retired();
    let to = tempfile::tempdir().unwrap();
    let file = to.path().join("export.jsonl");
    run_in(dir.path(), &format!("export {}", file.display()));
    let text = std::fs::read_to_string(&file).unwrap();
    let altered = text.replacen("\"replicas\":2", "\"replicas\":3", 1);
    assert_ne!(text, altered);
    std::fs::write(&file, altered).unwrap();
    let ran = run_in(&file, "check");
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("another"), "{}", ran.stderr);
    // Without its base line there is no base, and the first record is not one.
    let without: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != 1).collect();
    let without: Vec<_> = without.into_iter().map(|(_, line)| line).collect();
    std::fs::write(&file, without.join("\n")).unwrap();
    assert_eq!(run_in(&file, "check").exit, 2);
}

#[test]
fn a_lost_base_is_told_by_name_and_the_exit_code_is_that_of_a_loss() {
    let dir = retired();
    for (_, path) in crate::audit::bases(dir.path()).unwrap() {
        std::fs::remove_file(path).unwrap();
    }
    let ran = run_in(dir.path(), "check");
    assert_eq!(ran.exit, 3, "{}", ran.stdout);
    assert!(ran.stdout.contains("the base that stands for them is not there"), "{}", ran.stdout);
    let ran = run_in(dir.path(), "log");
    assert!(ran.exit == 3 && ran.stderr.contains("records 1 to 6 are missing"), "{}", ran.stderr);
}

#[test]
fn a_base_of_a_newer_program_is_exit_5() {
    let dir = retired();
    for (_, path) in crate::audit::bases(dir.path()).unwrap() {
        let bytes = std::fs::read(&path).unwrap();
        let body = bytes.split(|byte| *byte == b'\n').next().unwrap();
        let mut body: serde_json::Value = serde_json::from_slice(body).unwrap();
        body["format"] = 99.into();
        let body = serde_json::to_vec(&body).unwrap();
        let seal = format!("{{\"blake3\":\"{}\"}}\n", blake3::hash(&body).to_hex());
        std::fs::write(path, [&body[..], b"\n", seal.as_bytes()].concat()).unwrap();
    }
    let ran = run_in(dir.path(), "log");
    assert!(ran.stderr.contains("newer program"), "{}", ran.stderr);
    let options = crate::store::OpenOptions::new(dir.path().to_owned(), uuid::Uuid::nil());
    let refused = crate::store::open(&options).unwrap_err();
    assert_eq!(refused.exit_code(), 5, "{refused}");
}

#[test]
fn a_streamed_export_carries_the_base_unless_it_begins_behind_it() {
    let dir = retired();
    let (base, kept) = story_of(THROUGH);
    let last = &kept.last().unwrap().record;
    let head = crate::store::Head {
        journal_id: last.envelope.journal_id,
        epoch: last.envelope.epoch,
        seq: last.seq(),
        hash: last.hash,
    };
    let to = tempfile::tempdir().unwrap();
    let file = to.path().join("streamed.jsonl");
    for (after, version, first) in [(0, 2, THROUGH + 1), (THROUGH, 1, THROUGH + 1), (9, 1, 10)] {
        let mut bytes = Vec::new();
        let header = crate::audit::stream_export(dir.path(), after, &head, &mut bytes).unwrap();
        assert_eq!((header.version, header.first_seq), (version, first), "{after}");
        std::fs::write(&file, bytes).unwrap();
        let found = crate::audit::export_base(&file).unwrap();
        assert_eq!(found, (version == 2).then(|| base.clone()), "{after}");
    }
    let whole = to.path().join("whole.jsonl");
    let mut bytes = Vec::new();
    crate::audit::stream_export(dir.path(), 0, &head, &mut bytes).unwrap();
    std::fs::write(&whole, bytes).unwrap();
    let ran = run_in(&whole, "check");
    assert!(ran.exit == 0 && ran.stderr.contains(TOLD), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(run_in(&whole, "log").stdout, run_in(dir.path(), "log").stdout);
}
