//! The commands that explain, compare, count, and carry a journal elsewhere.

use proptest::prelude::*;

use super::*;
use crate::audit::load;
use crate::fixtures::histories::history;
use crate::fixtures::{id, story};
use crate::store::{OpenOptions, Store as _, open};

#[test]
fn what_is_explained_is_printed_as_agreed() {
    golden("why", "why caches/demo");
    golden("why_past", "why caches/demo --at 9");
    golden("why_member", "why caches/demo --member 1");
    golden("why_json", "why caches/demo --at 17 -o json");
}

#[test]
fn a_difference_is_told_field_by_field() {
    let dir = journal();
    let ran = run_in(dir.path(), "diff 7 12 -o json");
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("comparing record 7 with record 12"), "{}", ran.stderr);
    let changes: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let change = |field: &str| {
        let found = changes.iter().find(|change| change["field"] == field);
        found.map(|found| (found["before"].clone(), found["after"].clone()))
    };
    assert_eq!(change("epoch"), Some((1.into(), 2.into())));
    assert_eq!(change("members.1.name"), Some((serde_json::Value::Null, "demo-1".into())));
    assert_eq!(change("operation.kind"), Some(("bootstrap".into(), serde_json::Value::Null)));
    assert_eq!(change("committed.replicas"), None);
    let same = run_in(dir.path(), "diff 12 12");
    assert_eq!((same.exit, same.stdout.as_str()), (0, "nothing differs\n"));
}

#[test]
fn what_is_counted_is_printed_as_agreed() {
    golden("steps", "steps");
    golden("steps_json", "steps --repeated --kind join_member -o json");
    golden("stats", "stats");
    golden("stats_json", "stats -o json");
}

#[test]
fn a_replay_comes_to_the_same_wherever_it_is_done() {
    let dir = journal();
    let (one, two) = (run_in(dir.path(), "replay"), run_in(journal().path(), "replay"));
    assert_eq!((one.exit, &one.stdout), (0, &two.stdout), "{}", one.stderr);
    assert!(one.stdout.contains("folded    23 records, 0 refused"), "{}", one.stdout);
    let past = |until: &str| -> serde_json::Value {
        let ran = run_in(dir.path(), &format!("replay -o json --until {until}"));
        serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap()
    };
    assert_eq!((past("12")["seq"].as_u64(), past("12")["records"].as_u64()), (Some(12), Some(12)));
    assert_eq!(past("12")["state_digest"], past("2026-01-01T00:01:26.250000Z")["state_digest"]);
    assert_ne!(past("12")["state_digest"], past("13")["state_digest"]);
}

#[test]
fn steps_are_cut_to_what_was_asked_for() {
    let dir = journal();
    let seqs = |command: &str| -> Vec<u64> {
        let ran = run_in(dir.path(), &format!("{command} -o json"));
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let lines = ran.stdout.lines();
        lines
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64())
            .map(Option::unwrap)
            .collect()
    };
    assert_eq!(seqs("steps"), [5, 8, 14, 19, 23]);
    assert_eq!(seqs("steps --kind disjoin_member --kind join_member"), [8, 14, 19]);
    assert_eq!(seqs("steps --sent-to 0"), [14, 19]);
    assert_eq!(seqs("steps --sent-to demo-1"), [8]);
    assert_eq!(seqs("steps --about 1 --until 14"), [8, 14]);
    assert_eq!(seqs("steps --repeated"), [8, 14, 19]);
    assert_eq!(seqs("steps --since 19"), [19, 23]);
    assert_eq!(seqs("steps --cache caches/other"), [0; 0]);
    assert_eq!(seqs("log --type epoch_begun --type genesis"), [1, 2, 10]);
}

#[test]
fn what_cannot_be_explained_is_an_error_that_says_so() {
    let dir = journal();
    for (command, told) in [
        ("why caches/none", "no cache caches/none"),
        ("why caches/demo --claim nobody", "no deletion of a claim nobody"),
        ("why caches/demo --member 9", "nothing is recorded of a member 9"),
    ] {
        let ran = run_in(dir.path(), command);
        assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""), "{command}");
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn an_export_is_read_like_the_journal_and_imported_to_the_same_bytes() {
    let dir = journal();
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["export.jsonl", "export.jsonl.gz"] {
        let file = elsewhere.path().join(name);
        let ran = run_in(dir.path(), &format!("export {}", file.display()));
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        for command in ["log -o json", "state -o yaml", "steps", "why caches/demo", "show 1111222"]
        {
            let (one, two) = (run_in(dir.path(), command), run_in(&file, command));
            assert_eq!((one.exit, one.stdout), (two.exit, two.stdout), "{command}");
        }
        assert!(run_in(&file, "check").stdout.contains("whole"));
        let again = run_in(dir.path(), &format!("export {}", file.display()));
        assert_eq!(again.exit, 2);
        assert!(again.stderr.contains("exists"), "{}", again.stderr);
        let to = elsewhere.path().join(format!("{name}-imported"));
        let import = format!("import {} {}", file.display(), to.display());
        let ran = run_in(dir.path(), &import);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let name = segment_name(1);
        let bytes = |dir: &Path| std::fs::read(dir.join(&name)).unwrap();
        assert_eq!(bytes(dir.path()), bytes(&to));
        let again = run_in(dir.path(), &import);
        assert_eq!(again.exit, 2);
        assert!(again.stderr.contains("holds something already"), "{}", again.stderr);
    }
}

#[test]
fn the_newest_checkpoint_is_among_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { segment_max: 1, ..OpenOptions::new(dir.path().into(), id(1)) };
    let (store, _) = open(&options).unwrap();
    story().into_iter().for_each(|append| drop(store.append(append).unwrap()));
    drop(store);
    assert!(run_in(dir.path(), "stats").exit == 0);
    drop(open(&options).unwrap());
    let seq = crate::audit::checkpoints(dir.path()).unwrap()[0].0;
    let ran = run_in(dir.path(), "stats -o table");
    let told = format!("folded    up to {seq} by the newest checkpoint");
    assert!(ran.stdout.contains(&told), "{}", ran.stdout);
    let ran = run_in(dir.path(), "stats -o json");
    assert!(ran.stdout.contains(&format!("\"checkpoint_seq\":{seq}")), "{}", ran.stdout);
}

#[test]
fn an_export_that_was_cut_short_or_altered_is_not_imported() {
    let dir = journal();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("export.jsonl");
    run_in(dir.path(), &format!("export {}", file.display()));
    let text = std::fs::read_to_string(&file).unwrap();
    let cut = text.lines().take(20).map(|line| format!("{line}\n")).collect::<String>();
    let altered = text.replacen("\"epoch\":1", "\"epoch\":7", 1);
    for (changed, exit) in [(cut, 3), (altered, 1)] {
        std::fs::write(&file, changed).unwrap();
        let to = elsewhere.path().join("to");
        let import = format!("import {} {}", file.display(), to.display());
        let ran = run_in(dir.path(), &import);
        assert_eq!((ran.exit, to.exists()), (exit, false), "{}", ran.stderr);
        assert_eq!(run_in(&file, "check").exit, exit);
    }
    let without_first = text.replacen("\"first_seq\":1", "\"first_seq\":0", 1);
    let header_end = text.find('\n').unwrap();
    let without_hash = text[..header_end].replacen("\"hash\":\"", "\"hash\":\"?", 1);
    for changed in [without_first, without_hash + "\nhalf a line"] {
        std::fs::write(&file, changed).unwrap();
        let to = elsewhere.path().join("to");
        let ran = run_in(dir.path(), &format!("import {} {}", file.display(), to.display()));
        assert_eq!((ran.exit, to.exists()), (2, false), "{}", ran.stderr);
        assert!(ran.stderr.contains("does not say which records it holds"), "{}", ran.stderr);
    }
    std::fs::write(&file, "something else\n").unwrap();
    let ran = run_in(&file, "log");
    assert_eq!(ran.exit, 2);
    assert!(ran.stderr.contains("not an export of a journal"), "{}", ran.stderr);
}

#[test]
fn a_packed_export_with_a_damaged_byte_shows_what_can_be_read() {
    let dir = journal();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("export.jsonl.gz");
    run_in(dir.path(), &format!("export {}", file.display()));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let ran = run_in(&file, "log -o json");
    assert!(ran.exit == 1 || ran.exit == 3, "{} {}", ran.exit, ran.stderr);
    assert!(ran.stderr.contains("skipped"), "{}", ran.stderr);
}

#[test]
fn two_records_of_one_sequence_are_a_fork_in_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    let mut other = story();
    other.truncate(2);
    other[1].time_us += 1;
    let other = entries_of(&other);
    let mut lines: Vec<u8> = entries.iter().flat_map(|entry| render(entry).unwrap()).collect();
    lines.extend(render(&other[2]).unwrap());
    std::fs::write(dir.path().join(segment_name(1)), lines).unwrap();
    for command in ["log", "steps", "check"] {
        assert_eq!(run_in(dir.path(), command).exit, 4, "{command}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever is recorded folds to the same state where it was carried to, plain or packed.
    #[test]
    fn any_history_folds_to_the_same_state_after_an_export_and_an_import(
        choices in proptest::collection::vec(any::<u8>(), 0..200),
        is_packed in any::<bool>(),
    ) {
        let entries = entries_of(&history(&choices));
        let is_gap = |entry: &crate::store::ledger::Entry| {
            matches!(entry.record.event, crate::event::Event::Gap { .. })
        };
        // A journal that tells of a loss is not imported.
        prop_assume!(!entries.iter().any(is_gap));
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        write_audit(&from, &entries);
        let name = if is_packed { "export.jsonl.gz" } else { "export.jsonl" };
        let file = dir.path().join(name);
        let ran = run_in(&from, &format!("export {}", file.display()));
        prop_assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let ran = run_in(&from, &format!("import {} {}", file.display(), to.display()));
        prop_assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let ledger = |dir: &Path| load(dir, id(9)).unwrap().ledger;
        prop_assert_eq!(ledger(&to).snapshot(), ledger(&from).snapshot());
    }
}
