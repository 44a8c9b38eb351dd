mod audit;
mod more;
mod retired;

use std::path::Path;

use clap::Parser;

use super::*;
use crate::audit::{render, segment_name};
use crate::fixtures::{entries_of, operation, story, write_audit};

/// The commands as they are mounted.
#[derive(Parser)]
struct Mounted {
    #[command(flatten)]
    cli: Cli,
}

struct Ran {
    exit: u8,
    stdout: String,
    stderr: String,
}

fn run_in(dir: &Path, command: &str) -> Ran {
    let dir_text = dir.display().to_string();
    let words = ["journal"].into_iter().chain(command.split(' '));
    let words = words.chain(["--journal-dir", &dir_text]);
    let cli = Mounted::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).cli;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = run(&cli, &mut stdout, &mut stderr);
    let stderr = String::from_utf8(stderr).unwrap().replace(&dir_text, "DIR");
    Ran { exit, stdout: String::from_utf8(stdout).unwrap(), stderr }
}

fn journal() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_audit(dir.path(), &entries_of(&story()));
    dir
}

/// Compares what a command prints with the file of that name in `journal/golden`.
fn golden(name: &str, command: &str) {
    let ran = run_in(journal().path(), command);
    let all = format!(
        "$ xsld-operator journal {command}\n--- stderr\n{}--- stdout\n{}--- exit {}",
        ran.stderr, ran.stdout, ran.exit
    );
    snapshot(name, &all);
}

fn snapshot(name: &str, all: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../golden/cli");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, all));
}

#[test]
fn the_log_is_printed_as_agreed() {
    golden("log", "log");
    golden("log_json", "log --since 5 --until 7 -o json");
    golden("log_yaml", "log --since 5 --until 5 -o yaml");
}

#[test]
fn an_operation_is_shown_as_agreed() {
    golden("show", &format!("show {}", operation(1)));
    golden("show_failed", &format!("show {}", operation(2)));
    golden("show_open", &format!("show {}", operation(3)));
    golden("show_json", &format!("show {} -o json", operation(2)));
}

#[test]
fn a_state_is_shown_as_agreed() {
    golden("state", "state");
    golden("state_cache", "state --cache caches/demo");
    golden("state_past", "state --cache caches/demo --at 9");
    golden("state_json", "state -o json --at 9");
}

#[test]
fn a_check_is_printed_as_agreed() {
    golden("check", "check");
    golden("check_json", "check -o json");
    let wrong = format!("check --anchor 4:{}", "0".repeat(64));
    golden("check_fork", &wrong);
    golden("check_lost", &wrong.replace("4:", "40:"));
}

#[test]
fn a_log_is_cut_to_what_was_asked_for() {
    let dir = journal();
    let seqs = |command: &str| -> Vec<u64> {
        let ran = run_in(dir.path(), &format!("{command} -o json"));
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let lines = ran.stdout.lines().map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["seq"].as_u64().unwrap()
        });
        lines.collect()
    };
    assert_eq!(seqs("log"), (1..=23).collect::<Vec<_>>());
    assert_eq!(seqs("log --since 21"), [21, 22, 23]);
    assert_eq!(seqs("log --until 2"), [1, 2]);
    assert_eq!(seqs("log --since 2026-01-01T00:00:11 --until 2026-01-01T00:01:27Z"), [10, 11, 12]);
    assert_eq!(seqs("log --cache caches/demo --until 5"), [3, 4, 5]);
    assert_eq!(seqs("log --cache caches/other"), [0_u64; 0]);
    let operation = operation(3).to_string().to_uppercase();
    assert_eq!(seqs(&format!("log --operation {operation}")), [22, 23]);
    let prefix = &operation[..30];
    assert_eq!(seqs(&format!("log --operation {prefix} --since 22")), [22, 23]);
}

#[test]
fn an_unknown_operation_or_cache_is_an_error_that_says_so() {
    let dir = journal();
    for (command, told) in [
        ("show ffff", "no record belongs to an operation ffff"),
        ("show 1111", "begins several operations"),
        ("state --cache caches/none", "no cache caches/none"),
    ] {
        let ran = run_in(dir.path(), command);
        assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""), "{command}");
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

#[test]
fn a_directory_without_a_journal_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run_in(dir.path(), "log");
    assert_eq!((ran.exit, ran.stderr.as_str()), (2, "error: there is no journal in DIR\n"));
    let ran = run_in(&dir.path().join("none"), "check");
    assert_eq!(ran.exit, 2);
    assert!(ran.stderr.contains("cannot read the journal in DIR"), "{}", ran.stderr);
}

#[test]
fn a_line_that_cannot_be_read_is_told_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries);
    let path = dir.path().join(segment_name(1));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let damaged = [&lines[..5], &["{\"seq\":6}"], &lines[6..]].concat().join("\n") + "\n";
    std::fs::write(&path, damaged).unwrap();
    let ran = run_in(dir.path(), "log -o json");
    assert_eq!((ran.exit, ran.stdout.lines().count()), (1, 22));
    assert!(ran.stderr.contains("skipped audit-00000000000000000001.jsonl line 6"));
    let ran = run_in(dir.path(), "state");
    assert_eq!(ran.exit, 1);
    assert!(ran.stderr.contains("what follows of caches/demo is left out"), "{}", ran.stderr);
    assert_eq!(run_in(dir.path(), "check").exit, 1);
}

#[test]
fn what_a_newer_program_wrote_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let mut entries = entries_of(&story());
    entries.truncate(4);
    let newer = crate::fixtures::as_newer_program(&entries[3]);
    write_audit(dir.path(), &entries[..3]);
    let path = dir.path().join(segment_name(1));
    let text = std::fs::read_to_string(&path).unwrap() + &newer;
    std::fs::write(&path, text).unwrap();
    for command in ["log", "state", "check"] {
        let ran = run_in(dir.path(), command);
        assert_eq!(ran.exit, 5, "{command}: {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_half_written_append_is_not_shown_and_is_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    // The last append has two records; the second one is being written.
    write_audit(dir.path(), &entries);
    let path = dir.path().join(segment_name(1));
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let ran = run_in(dir.path(), "log -o json");
    assert_eq!((ran.exit, ran.stdout.lines().count()), (0, 21));
    let ran = run_in(dir.path(), "check -o json");
    assert_eq!(ran.exit, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("\"kind\":\"unfinished\""), "{}", ran.stdout);
}

#[test]
fn a_closed_pipe_is_success() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = journal();
    let dir = dir.path().display().to_string();
    let cli = Mounted::parse_from(["journal", "log", "--journal-dir", &dir]).cli;
    let mut stderr = Vec::new();
    assert_eq!(run(&cli, &mut Closed, &mut stderr), 0);
    assert!(!String::from_utf8(stderr).unwrap().contains("error"));
}

#[test]
fn a_followed_log_ends_when_nobody_reads_any_more() {
    let dir = journal();
    let dir = dir.path().display().to_string();
    let cli = Mounted::parse_from(["journal", "log", "--follow", "--journal-dir", &dir]).cli;
    let asked = std::cell::Cell::new(0);
    let gone = || asked.replace(asked.get() + 1) == 1;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    assert_eq!(run_with(&cli, false, &gone, &mut stdout, &mut stderr), 0);
    assert_eq!((asked.get(), stdout.split(|byte| *byte == b'\n').count()), (2, 25));
}

#[test]
fn a_followed_log_shows_what_is_appended_until_its_end_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let entries = entries_of(&story());
    write_audit(dir.path(), &entries[..3]);
    let writer = std::thread::spawn({
        let path = dir.path().join(segment_name(1));
        let rest = entries[3..].to_vec();
        move || {
            let mut file = std::fs::File::options().append(true).open(path).unwrap();
            for entry in rest {
                let line = render(&entry).unwrap();
                // In two halves, as a reader may find it.
                let (one, two) = line.split_at(line.len() / 2);
                file.write_all(one).unwrap();
                std::thread::yield_now();
                file.write_all(two).unwrap();
            }
        }
    });
    let ran = run_in(dir.path(), "log --follow --until 23 -o json");
    writer.join().unwrap();
    assert_eq!((ran.exit, ran.stdout.lines().count()), (0, 23), "{}", ran.stderr);
}

#[test]
fn colour_never_carries_the_meaning() {
    let dir = journal();
    let dir = dir.path().display().to_string();
    let cli = Mounted::parse_from(["journal", "log", "--journal-dir", &dir]).cli;
    let (mut painted, mut plain) = (Vec::new(), Vec::new());
    run_with(&cli, true, &|| false, &mut painted, &mut Vec::new());
    run(&cli, &mut plain, &mut Vec::new());
    assert_ne!(painted, plain);
    assert!(!plain.contains(&0x1b));
    let stripped = anstream::adapter::strip_bytes(&painted).into_vec();
    assert_eq!(stripped, plain);
}

#[test]
fn the_help_is_whole() {
    use clap::CommandFactory;
    Mounted::command().debug_assert();
    let help = Mounted::command().render_long_help().to_string();
    assert!(help.contains("Examples:") && help.contains("Exit codes"), "{help}");
}
