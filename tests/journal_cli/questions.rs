//! Ten questions of an auditor: the commands and the answers of docs/audit.md, as the program gives
//! them on a recorded journal, wherever that journal was taken.
//!
//! `UPDATE_AUDIT=1` writes the answers into the document anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use super::recorded;

const PROMPT: &str = "xsld-operator journal ";

/// The answers hold these: names, times, sequence numbers.
const SUBSTANCE: [(&str, &[&str]); 10] = [
    (
        "Who changed the size to 5",
        &[
            "13  2026-05-01T11:59:41.000000Z",
            "scale_up: 5 members",
            "spec.size is 5 (generation 4)",
        ],
    ),
    (
        "Why was this claim deleted",
        &[
            "claim sessions-data-sessions-4 was deleted",
            "because       32  2026-05-01T12:23:52.000000Z",
            "delete claim sessions-data-sessions-4 (claim-uid-4)",
            "proved by     28  2026-05-01T12:23:43.000000Z",
            r#""absent":"sessions-4","twice":true,"views":["sessions-0","sessions-1"]"#,
            "after         27  2026-05-01T12:23:17.000000Z",
            "spec.size is 4 (generation 5)",
        ],
    ),
    (
        "What was the operator waiting for at 12:03",
        &[
            "after record 18 of 2026-05-01T12:02:18.000000Z",
            "waits for the outcome of: join sessions-3",
            "17  2026-05-01T12:00:17.000000Z  epoch 1  step_accepted  as task 11",
        ],
    ),
    (
        "Which steps were repeated",
        &[
            "16   2026-05-01T12:00:16.000000Z",
            "found by probe; begun in epoch 1, settled in 2",
            "task 12 ended as Failed: CWXSD0001E no free port",
            "23   2026-05-01T12:04:53.000000Z",
            "void       9 min 4 s",
            "43   2026-05-01T12:48:04.000000Z",
        ],
    ),
    ("an operator whose term had ended", &["whole: journal", "45 records"]),
    (
        "What was the state before the incident",
        &["operation.goal.members.size", "members.3.name", "sessions-3", "members.4.claim_uid"],
    ),
    ("Is anything missing or altered", &["whole: journal", "45 records, the last one 45"]),
    (
        "Which REST calls did member 2 receive",
        &["10   2026-05-01T11:46:23.000000Z", "as a catalog server", "sessions-2  succeeded"],
    ),
    (
        "How long did each join take",
        &["join sessions-1", "3 min 11 s", "3 min 16 s", "1 min 2 s", "9 min 4 s", "3 min 31 s"],
    ),
    (
        "What did the person on call decide",
        &["40  2026-05-01T12:48:02.000000Z", "kim", "void", "the node is gone for good"],
    ),
];

/// A command of the document and the answer that stands below it.
struct Told {
    heading: String,
    arguments: Vec<String>,
    answer: String,
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit.md")
}

fn told() -> Vec<Told> {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if std::env::var_os("UPDATE_AUDIT").is_some() {
            write_anew();
        }
    });
    let text = std::fs::read_to_string(document()).unwrap();
    let mut told: Vec<Told> = Vec::new();
    let (mut heading, mut in_answer) = ("", false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            heading = name;
        }
        if let Some(command) = line.strip_prefix(PROMPT) {
            let arguments = command.split(' ').map(str::to_owned).collect();
            told.push(Told { heading: heading.to_owned(), arguments, answer: String::new() });
        } else if line.starts_with("```") {
            in_answer = line == "```text";
        } else if in_answer {
            let answer = &mut told.last_mut().expect("an answer without a command").answer;
            *answer += line;
            answer.push('\n');
        }
    }
    told
}

fn ask(journal: &Path, arguments: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xsld-operator"));
    command.arg("journal").args(arguments).env("XSLD_OPERATOR_JOURNAL_DIR", journal);
    command.output().unwrap()
}

/// What it says on stdout, without the spaces at the ends of lines that no document keeps.
fn answer(output: &Output) -> String {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The recording as somebody else may have it: an export, a directory made of it, an export of
/// that directory, packed.
fn everywhere(dir: &Path) -> [PathBuf; 3] {
    let imported = dir.join("imported");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let made = ask(&recorded(), &["import".to_owned(), path(&recorded()), path(&imported)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let packed = dir.join("again.jsonl.gz");
    let made = ask(&imported, &["export".to_owned(), path(&packed)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    [recorded(), imported, packed]
}

/// Puts what the program says now below each command of the document.
fn write_anew() {
    let text = std::fs::read_to_string(document()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut written, mut pending, mut in_answer) = (String::new(), None, false);
    for line in text.lines() {
        if let Some(command) = line.strip_prefix(PROMPT) {
            let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let file = match arguments.iter().any(|word| word == ALTERED) {
                true => altered(dir.path()),
                false => recorded(),
            };
            pending = Some(answer(&ask(&file, &without_file(&arguments))));
        }
        let ends = in_answer && line == "```";
        if in_answer && !ends {
            continue;
        }
        in_answer = line == "```text";
        written += line;
        written.push('\n');
        if in_answer {
            written += &pending.take().expect("an answer without a command");
        }
    }
    std::fs::write(document(), written).unwrap();
}

/// The file that the document names where a byte was altered.
const ALTERED: &str = "altered.jsonl";

/// The arguments without the file of the document's own example.
fn without_file(arguments: &[String]) -> Vec<String> {
    let named = |word: &&String| *word != "--journal-dir" && *word != ALTERED;
    arguments.iter().filter(named).cloned().collect()
}

/// The recording with one byte altered: record 28, which proved that a claim could go, speaks of
/// another member.
fn altered(dir: &Path) -> PathBuf {
    let text = std::fs::read_to_string(recorded()).unwrap();
    let line = text.lines().find(|line| line.starts_with("{\"seq\":28,")).unwrap();
    let other = line.replacen("sessions-4", "sessions-3", 1);
    assert_ne!(line, other);
    let path = dir.join(ALTERED);
    std::fs::write(&path, text.replacen(line, &other, 1)).unwrap();
    path
}

#[test]
fn ten_questions_of_an_auditor_are_answered_as_the_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let journals = everywhere(dir.path());
    let told = told();
    let answers: Vec<&Told> =
        told.iter().filter(|told| !told.arguments.iter().any(|word| word == ALTERED)).collect();
    assert_eq!(answers.len(), SUBSTANCE.len(), "one command for each question");
    for (told, (heading, words)) in answers.into_iter().zip(SUBSTANCE) {
        assert!(told.heading.contains(heading), "{} is not {heading}", told.heading);
        for journal in &journals {
            let output = ask(journal, &told.arguments);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{:?}: {said}", told.arguments);
            let answer = answer(&output);
            assert_eq!(answer, told.answer, "{:?} on {}", told.arguments, journal.display());
            for word in words {
                assert!(answer.contains(word), "{:?}: no {word:?} in\n{answer}", told.arguments);
            }
        }
    }
}

#[test]
fn an_altered_byte_is_told_with_its_record_as_the_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = altered(dir.path());
    let told = told();
    let told = told.iter().find(|told| told.arguments.iter().any(|word| word == ALTERED)).unwrap();
    let output = ask(&file, &without_file(&told.arguments));
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(answer(&output), told.answer);
    // The line of the file, as an editor counts: the export's header is line 1.
    assert!(told.answer.contains("28   altered  altered.jsonl line 29"), "{}", told.answer);
    // It is not taken for a whole journal anywhere else either.
    let target = dir.path().join("imported").to_str().unwrap().to_owned();
    let output = ask(&file, &["import".to_owned(), file.to_str().unwrap().to_owned(), target]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Whichever byte of whichever record it is, the record is named.
#[test]
fn an_altered_byte_of_any_record_names_that_record() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(recorded()).unwrap();
    let arguments = strings(&["check", "-o", "json"]);
    for (index, line) in text.lines().enumerate().skip(1).step_by(4) {
        // A letter or digit in the middle of the line becomes another one.
        let middle = line.len() / 2;
        let at = (middle..).find(|at| line.as_bytes()[*at].is_ascii_digit()).unwrap();
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
        let other = String::from_utf8(bytes).unwrap();
        let path = dir.path().join(format!("{index}.jsonl"));
        std::fs::write(&path, text.replacen(line, &other, 1)).unwrap();
        let output = ask(&path, &arguments);
        assert_ne!(output.status.code(), Some(0), "record {index}, byte {at}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let named = findings.iter().any(|finding| finding["seq"].as_u64() == Some(index as u64));
        assert!(named, "record {index}, byte {at}: {report}");
    }
}
