//! `cargo xtask`: builds what ships, writes the generated files, runs every test.
//!
//! Everything that a developer or a build server does is one command of this program, so that
//! both do the same. Reading order: [`suite`] (the stages), [`live`] (a command with its output
//! shown as it comes), [`count`] (what that output says), [`report`] (the summary), [`generate`],
//! [`charts`] (what of that the charts have), [`ship`], [`bench`], [`torture`], [`histories`], [`cargo`].

mod bench;
mod cargo;
mod charts;
mod count;
mod generate;
mod histories;
mod live;
mod report;
mod ship;
mod suite;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds what ships, writes the generated files, runs every test.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds all that ships: the operator in release and the generated files, and checks the
    /// manifests and the charts in deploy/.
    Build,
    /// Writes the generated files: the custom resource definitions in crds/, and what the charts
    /// in deploy/helm have of them and of the manifests.
    Generate(generate::Options),
    /// Runs every check and every test, in stages, and sums them up in the last line.
    Test(suite::Options),
    /// Builds the real Kubernetes control plane that the tests run on, once for each version.
    ControlPlane,
    /// Builds Helm, with which the charts in deploy/helm are tested, once for each version.
    Helm,
    /// Tells histories that nobody thought of: what users do and what fails, in an order that a seed
    /// chose, on the real control plane.
    Histories(histories::Options),
    /// Measures what is fast on purpose.
    Bench(bench::Options),
    /// Damages what must not break, at every byte.
    Torture(torture::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Build => ship::run(),
        Command::Generate(options) => generate::run(&options),
        Command::Test(options) => suite::run(&options),
        Command::ControlPlane => suite::control_plane(),
        Command::Helm => suite::helm(),
        Command::Histories(options) => match histories::run(&options) {
            Ok(Some(code)) => return ExitCode::from(u8::try_from(code).unwrap_or(2)),
            Ok(None) => return ExitCode::from(2),
            Err(error) => Err(error),
        },
        Command::Bench(options) => bench::run(&options),
        Command::Torture(options) => torture::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
