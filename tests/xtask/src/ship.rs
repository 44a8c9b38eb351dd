//! `cargo xtask build`: everything that ships, in one command.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{self, Workspace};
use crate::generate;

/// Builds the operator in release, writes the generated files, checks the manifests and the charts;
/// false when the build or a check fails.
///
/// # Errors
/// When cargo cannot be run or a file cannot be written.
pub(crate) fn run() -> Result<bool> {
    if !step(&mut cargo::cargo(["build", "--release", "--package", "xsld-operator", "--bins"]))? {
        return Ok(false);
    }
    let release = Workspace::read()?.target.join("release");
    let operator = release.join(generate::OPERATOR).with_extension(std::env::consts::EXE_EXTENSION);
    generate::write(&operator)?;
    let checks = ["test", "--package", "xsld-operator", "--test", "deploy", "--test", "charts"];
    if !step(&mut cargo::cargo(checks))? {
        return Ok(false);
    }
    anstream::println!("the operator is {}", operator.display());
    anstream::println!("generated files are up to date; manifests and charts are in deploy/");
    Ok(true)
}

fn step(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cannot run cargo")?.success())
}
