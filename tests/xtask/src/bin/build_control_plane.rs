//! Builds the Kubernetes control plane that the tests run on, or finds it built.
//!
//! A program of its own, so that `cargo xtask` need not be built with the simulator.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use xsld_sim::control_plane::{ControlPlane, Progress, Step};

/// A build takes minutes: so often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match ControlPlane::build(&progress()).await {
        Ok(programs) => {
            anstream::println!("the control plane is ready: {}", programs.api_server.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            anstream::eprintln!("error: {:#}", anyhow::Error::from(error));
            ExitCode::FAILURE
        }
    }
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
