//! `cargo xtask torture`: damages what must not break, in release, in a program of its own.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::cargo;

/// Options of `torture`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to torture.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The journal: every byte of a journal of 200 records cut, flipped and zeroed, in either copy
    /// and in both, and opened. `-- --help` has the options.
    Journal(Journal),
}

#[derive(Debug, Args)]
struct Journal {
    /// Options of the program: --copy, --shards, --shard, --resume, --sample, --depth, --dir.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Tortures; whether all held.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let What::Journal(journal) = &options.what;
    let mut words = vec!["run", "--release", "--package", "xtask", "--features", "torture"];
    words.extend(["--bin", "torture-journal", "--"]);
    words.extend(journal.options.iter().map(String::as_str).filter(|word| *word != "--"));
    let status = cargo::cargo(words).status().context("cannot run cargo")?;
    Ok(status.success())
}
