//! Builds what the tests need and Go builds, or finds it built: the Kubernetes control plane, or
//! Helm.
//!
//! A program of its own, so that `cargo xtask` need not be built with the simulator.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use xsld_sim::control_plane::{ControlPlane, Progress, Step};
use xsld_sim::helm;

/// A build takes minutes: so often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What is built.
#[derive(Clone, Copy, Debug, Parser)]
enum What {
    /// etcd, kube-apiserver and kube-controller-manager.
    ControlPlane,
    /// Helm.
    Helm,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match build(What::parse()).await {
        Ok((what, program)) => {
            anstream::println!("{what} is ready: {}", program.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What it was in words, and one of its programs.
async fn build(what: What) -> anyhow::Result<(&'static str, PathBuf)> {
    let progress = progress();
    Ok(match what {
        What::ControlPlane => {
            ("the control plane", ControlPlane::build(&progress).await?.api_server)
        }
        What::Helm => ("Helm", helm::find_or_build(&progress).await?),
    })
}

fn progress() -> Progress {
    let told = Mutex::new(Instant::now());
    Progress::new(move |step| match step {
        Step::Started { what } => anstream::println!("{what}"),
        Step::Finished { what, elapsed } => {
            anstream::println!("{what}: done after {} s", elapsed.as_secs());
        }
        Step::Running { what, elapsed, detail } => {
            let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if told.elapsed() >= TELL_EVERY {
                *told = Instant::now();
                anstream::println!("{what}: {} s, {detail}", elapsed.as_secs());
            }
        }
    })
}
