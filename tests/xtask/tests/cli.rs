//! The command line as a person meets it.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_command_explains_itself() {
    for command in ["build", "generate", "test", "control-plane", "helm", "bench"] {
        let output = xtask(&[command, "--help"]);
        assert!(output.status.success(), "{command}");
        assert!(text(&output.stdout).contains("Usage: cargo xtask"), "{command}");
    }
    assert!(text(&xtask(&["--help"]).stdout).contains("Runs every check and every test"));
}

#[test]
fn histories_are_told_of_in_the_list_of_commands() {
    let help = text(&xtask(&["--help"]).stdout);
    assert!(help.contains("Tells histories that nobody thought of"), "{help}");
}

#[test]
fn a_part_that_does_not_exist_cannot_be_left_out() {
    let output = xtask(&["test", "--without", "clippy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("[possible values: control-plane]"));
}
