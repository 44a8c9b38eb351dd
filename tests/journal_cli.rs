//! The journal's commands as the program that a person starts.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

#[path = "journal_cli/questions.rs"]
mod questions;
#[path = "journal_cli/resolve.rs"]
mod resolve;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("journal/golden/audit/recorded.jsonl")
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xsld-operator"));
    command.args(arguments).env("XSLD_OPERATOR_JOURNAL_DIR", recorded());
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

#[test]
fn data_is_on_stdout_and_the_source_on_stderr() {
    let output = run(&["journal", "log", "-o", "json"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with('{')).count(), 45);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("reading the export "));
}

#[test]
fn nothing_is_coloured_in_a_pipe() {
    for arguments in [["journal", "log"], ["journal", "stats"], ["journal", "check"]] {
        assert!(!run(&arguments).stdout.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child = program(&["journal", "log", "-o", "yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn every_exit_code_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(recorded()).unwrap();
    let code = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut command = program(&["journal", "check", "--journal-dir"]);
        command.arg(path).output().unwrap().status.code()
    };
    assert_eq!(code("whole", &text), Some(0));
    assert_eq!(code("altered", &text.replacen("\"epoch\":1", "\"epoch\":9", 1)), Some(1));
    assert_eq!(code("other", "something else\n"), Some(2));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code("cut", &(lines[..30].join("\n") + "\n")), Some(3));
    let wrong = format!("7:{}", "0".repeat(64));
    assert_eq!(run(&["journal", "check", "--anchor", &wrong]).status.code(), Some(4));
}

#[test]
fn completions_and_man_pages_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("journal"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(program(&["man"]).arg(dir.path()).status().unwrap().success());
    let page = std::fs::read_to_string(dir.path().join("xsld-operator-journal-why.1")).unwrap();
    assert!(page.contains("NAMESPACE/NAME"), "{page}");
}

/// The program under the name by which kubectl finds it.
fn plugin(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubectl-xsld");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_xsld-operator"), &path).unwrap();
    let mut command = Command::new(path);
    command.args(arguments).env_remove("XSLD_OPERATOR_JOURNAL_DIR");
    command.env("KUBECONFIG", dir.path().join("none")).output().unwrap()
}

#[test]
fn as_a_plugin_of_kubectl_it_has_the_journals_commands_only() {
    let export = recorded().display().to_string();
    let there = plugin(&["log", "-o", "json", "--journal-dir", &export]);
    assert!(there.status.success());
    assert_eq!(there.stdout, run(&["journal", "log", "-o", "json"]).stdout);
    let help = String::from_utf8(plugin(&["--help"]).stdout).unwrap();
    assert!(help.contains("Usage: kubectl xsld") && help.contains("resolve"), "{help}");
    for command in ["run", "crds", "journal"] {
        assert_eq!(plugin(&[command]).status.code(), Some(2), "{command}");
    }
}

#[test]
fn what_keeps_an_operator_from_being_asked_is_told_in_one_line() {
    let url = "https://127.0.0.1:1";
    let fingerprint = "0".repeat(64);
    for (arguments, reason) in [
        (vec!["log"], "the cluster cannot be asked where the operator is"),
        (vec!["log", "--endpoint", "http://127.0.0.1:1"], "write it as https://HOST:PORT"),
        (vec!["log", "--endpoint", url, "--fingerprint", "00"], "64 hexadecimal digits"),
        (vec!["log", "--endpoint", url, "--certificate-authority", "none.pem"], "none.pem: "),
        (vec!["log", "--endpoint", url, "--fingerprint", &fingerprint], "the cluster cannot be"),
        (
            vec![
                "log",
                "--endpoint",
                url,
                "--fingerprint",
                &fingerprint,
                "--token-file",
                "Cargo.toml",
            ],
            "did not answer",
        ),
        (vec!["compact", "--destructive"], "works on a directory of a stopped operator"),
    ] {
        let output = plugin(&arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(reason), "{arguments:?}: {told}");
        assert_eq!(told.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{told}");
    }
}
