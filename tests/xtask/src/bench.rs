//! `cargo xtask bench`: measures in release, in a program of its own.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::cargo;

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The journal: how long an append takes beside a bare synced write and beside redb, how long a
    /// journal of up to a million records takes to open and to verify, and which goals are met.
    Journal(Journal),
}

#[derive(Debug, Args)]
struct Journal {
    /// Folder on the disk that is to be measured. Default: the one that cargo builds into.
    #[arg(long, value_name = "DIR")]
    dir: Option<String>,

    /// One JSON object for each row instead of a table.
    #[arg(long)]
    json: bool,

    /// A tenth of everything, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// Measures; whether that worked.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let What::Journal(journal) = &options.what;
    let mut words = vec!["run", "--release", "--package", "xtask", "--features", "bench"];
    words.extend(["--bin", "bench-journal", "--"]);
    words.extend(journal.dir.iter().flat_map(|dir| ["--dir", dir.as_str()]));
    words.extend(journal.json.then_some("--json"));
    words.extend(journal.quick.then_some("--quick"));
    let status = cargo::cargo(words).status().context("cannot run cargo")?;
    Ok(status.success())
}
