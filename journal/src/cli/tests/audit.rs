//! Every command of docs/audit.md, run against a recorded journal.

use std::path::{Path, PathBuf};

use super::*;
use crate::audit::{Header, write_header};
use crate::fixtures::audited::recorded;

/// The recorded journal, as an export. It is committed, so that a later program has to read what
/// an earlier one wrote; `UPDATE_RECORDED=1` writes it anew.
fn recording() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/audit/recorded.jsonl");
    if std::env::var_os("UPDATE_RECORDED").is_some() {
        std::fs::write(&path, rendered()).unwrap();
    }
    path
}

fn rendered() -> Vec<u8> {
    let entries = recorded();
    let last = entries.last().unwrap();
    let end = (last.record.seq(), crate::chain::to_hex(&last.record.hash));
    let header = Header::new(last.record.envelope.journal_id, entries.len() as u64, 1, end);
    let mut bytes = Vec::new();
    write_header(&mut bytes, &header).unwrap();
    entries.iter().for_each(|entry| bytes.extend(render(entry).unwrap()));
    bytes
}

/// The commands in the documentation's code blocks, in order, without the program's name; not that
/// on an altered journal.
fn documented() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.md");
    let text = std::fs::read_to_string(path).unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("xsld-operator journal "));
    commands.filter(|line| !line.contains("--journal-dir")).map(str::to_owned).collect()
}

#[test]
fn the_recorded_journal_is_what_its_story_says() {
    assert_eq!(std::fs::read(recording()).unwrap(), rendered());
}

#[test]
fn every_question_of_an_auditor_has_its_command_and_its_answer() {
    let told: [(&str, &[&str]); 10] = [
        ("log ", &["5 members", "generation 4", "2026-05-01T11:59:41"]),
        ("why ", &["claim sessions-data-sessions-4 was deleted", "proved by", "\"twice\":true"]),
        ("why ", &["waits for the outcome of: join sessions-3", "as task 11"]),
        ("steps ", &["attempt", "found by probe", "begun in epoch 1, settled in 2", "Failed"]),
        ("check", &["whole"]),
        ("diff ", &["members.3.name", "operation.kind"]),
        ("check", &["whole", "the last one 45"]),
        ("steps ", &["join sessions-2", "sessions-2"]),
        ("steps ", &["3 min 1", "join sessions-4"]),
        ("log ", &["kim", "void", "the node is gone for good"]),
    ];
    let commands = documented();
    assert_eq!(commands.len(), told.len(), "{commands:?}");
    let mut all = String::new();
    for (command, (begins, words)) in commands.iter().zip(told) {
        assert!(command.starts_with(begins), "{command}");
        let ran = run_in(&recording(), command);
        for word in words {
            let found = ran.stdout.to_lowercase().contains(&word.to_lowercase());
            assert!(found, "{command}: no {word:?} in\n{}{}", ran.stdout, ran.stderr);
        }
        assert_eq!(ran.exit, 0, "{command}: {}", ran.stderr);
        // What a state holds grows with the program; the other answers stay as they are.
        if begins == "diff " {
            continue;
        }
        all += &format!("$ xsld-operator journal {command}\n{}\n", ran.stdout);
    }
    snapshot("audit", &all);
}

#[test]
fn an_altered_byte_is_told_with_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("altered.jsonl");
    let text = String::from_utf8(rendered()).unwrap();
    // In the readable part of record 12, where nothing but `check` looks.
    let line = text.lines().nth(12).unwrap();
    assert!(line.starts_with("{\"seq\":12,"), "{line}");
    let altered = text.replacen(line, &line.replacen("\"time\":\"2026", "\"time\":\"2025", 1), 1);
    std::fs::write(&path, altered).unwrap();
    let ran = run_in(&path, "check -o json");
    assert_eq!(ran.exit, 1, "{}", ran.stdout);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!((finding["seq"].as_u64(), finding["kind"].as_str()), (Some(12), Some("altered")));
}

#[test]
fn a_record_that_was_taken_out_is_missing_in_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holed.jsonl");
    let text = String::from_utf8(rendered()).unwrap();
    let lines = text.lines().enumerate().filter(|(index, _)| *index != 20);
    let holed: String = lines.map(|(_, line)| format!("{line}\n")).collect();
    std::fs::write(&path, holed).unwrap();
    for command in ["log", "state", "stats", "steps", "replay", "diff 1", "check"] {
        let ran = run_in(&path, command);
        assert_eq!(ran.exit, 3, "{command}: {}{}", ran.stdout, ran.stderr);
        let told = ran.stderr + &ran.stdout;
        assert!(told.contains("record 20 is missing"), "{command}: {told}");
    }
}
