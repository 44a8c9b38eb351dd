//! `cargo xtask histories`: histories that nobody thought of, on the real control plane, in a program
//! of its own.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo::{self, Workspace};
use crate::generate;

/// The program that tells histories.
pub(crate) const PROGRAM: &str = "xsld-histories";

/// Where the scripts are kept that every run of the test command tells again.
pub(crate) const KEPT: &str = "tests/histories";

/// Options of `histories`.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Exit status: 0 everything held, 1 something did not, 2 they cannot be told here.
`cargo xtask histories --help` has the options."
)]
pub(crate) struct Options {
    /// Options of the program: --hours, --seconds, --count, --seed, --size, --replay, --kept,
    /// --shrink, --tries, --all-acts, --threads, --print, --help.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds the program and the operator, and tells histories. The program's own exit status; none when
/// it did not build or was ended by a signal.
///
/// # Errors
/// When cargo cannot be run.
pub(crate) fn run(options: &Options) -> Result<Option<i32>> {
    // The whole workspace, as the test command does: nothing is built twice with other features.
    let words = ["build", "--quiet", "--workspace", "--all-features", "--bins"];
    let built = cargo::cargo(words).status().context("cannot run cargo")?;
    if !built.success() {
        return Ok(None);
    }
    let mut command = program(&Workspace::read()?);
    let status = command.args(&options.options).status();
    Ok(status.with_context(|| format!("cannot run {PROGRAM}"))?.code())
}

/// The program, which is built already, with the operator that is.
pub(crate) fn program(workspace: &Workspace) -> Command {
    let mut command = Command::new(workspace.program(PROGRAM));
    cargo::clean(&mut command);
    command.current_dir(cargo::root()).stdin(std::process::Stdio::null());
    command.env("XSLD_OPERATOR_BINARY", workspace.program(generate::OPERATOR));
    command
}
