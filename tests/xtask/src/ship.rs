//! `cargo xtask build`: everything that ships, in one command.

use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::{self, Workspace};
use crate::generate;

/// Builds the operator in release, writes the definitions, checks the manifests; false when the
/// build or a check fails.
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
    if !step(&mut cargo::cargo(["test", "--package", "xsld-operator", "--test", "deploy"]))? {
        return Ok(false);
    }
    anstream::println!("the operator is {}", operator.display());
    anstream::println!("the definitions are in crds/, the manifests in deploy/manifests/");
    Ok(true)
}

fn step(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cannot run cargo")?.success())
}
