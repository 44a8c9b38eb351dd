//! The sandbox's own operator, restarted when it ends, as a kubelet would.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xsld_sim::world::{OperatorConfig, OperatorProcess};

use crate::ui::Ui;

/// How long the first start may take until the operator says that it is ready.
const READY: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// An operator that ran so long counts as healthy.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
const TAIL_LINES: usize = 8;

/// A running operator and what it takes to start it again.
pub(crate) struct Supervised {
    config: OperatorConfig,
    process: OperatorProcess,
    address: String,
    begun: Instant,
    failures: u32,
    /// Set while it is down: when it is started again.
    start_again: Option<Instant>,
}

impl Supervised {
    /// Starts the operator and waits until it is ready, but not for ever: an
    /// operator that is not ready is something to look at in a sandbox.
    pub(crate) async fn start(config: OperatorConfig, ui: &Ui) -> Result<Self> {
        let (process, address) = spawn(&config).await?;
        let begun = Instant::now();
        let mut me = Self { config, process, address, begun, failures: 0, start_again: None };
        let log = me.config.log.display().to_string();
        if me.wait_until_ready().await? {
            ui.say(&format!("the operator is ready at http://{}, log {log}", me.address));
        } else {
            ui.warn(&format!(
                "the operator is not ready yet; the end of {log}:\n{}",
                me.process.log_tail(TAIL_LINES)
            ));
        }
        Ok(me)
    }

    /// The process, for those who want to kill or freeze it.
    pub(crate) fn process(&mut self) -> &mut OperatorProcess {
        &mut self.process
    }

    /// The program that runs.
    pub(crate) fn binary(&self) -> &std::path::Path {
        &self.config.binary
    }

    /// Starts it again at once, after it was killed on purpose.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        (self.process, self.address) = spawn(&self.config).await?;
        (self.begun, self.start_again) = (Instant::now(), None);
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<bool> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()
            .context("cannot make an HTTP client")?;
        let url = format!("http://{}/readyz", self.address);
        while self.begun.elapsed() < READY && self.process.try_wait()?.is_none() {
            if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(false)
    }

    /// Waits until the operator ends and starts it again after a back-off.
    /// Safe to cancel: the next call goes on from there.
    pub(crate) async fn keep_running(&mut self, ui: &Ui) -> Result<()> {
        let at = match self.start_again {
            Some(at) => at,
            None => {
                let status = self.process.wait().await?;
                self.plan_restart(status, ui)
            }
        };
        tokio::time::sleep_until(at.into()).await;
        self.failures += 1;
        (self.process, self.address) = spawn(&self.config).await?;
        (self.begun, self.start_again) = (Instant::now(), None);
        ui.say(&format!("the operator runs again, at http://{}", self.address));
        Ok(())
    }

    fn plan_restart(&mut self, status: ExitStatus, ui: &Ui) -> Instant {
        if self.begun.elapsed() >= FORGIVEN_AFTER {
            self.failures = 0;
        }
        let wait = back_off(self.failures);
        ui.warn(&format!(
            "the operator ended ({status}); starting it again in {} s; the end of {}:\n{}",
            wait.as_secs(),
            self.config.log.display(),
            self.process.log_tail(TAIL_LINES)
        ));
        let at = Instant::now() + wait;
        self.start_again = Some(at);
        at
    }

    /// Ends the operator in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.process.terminate().await?;
        Ok(())
    }
}

async fn spawn(config: &OperatorConfig) -> Result<(OperatorProcess, String)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    let address = listener.local_addr().context("no free port")?.to_string();
    drop(listener);
    let mut config = config.clone();
    config.extra_args.extend(["--listen".to_owned(), address.clone()]);
    // Port 0: `kubectl xsld` finds it by the journal's anchor.
    config.extra_args.extend(["--journal-listen", "127.0.0.1:0"].map(str::to_owned));
    Ok((OperatorProcess::spawn(&config).await?, address))
}

fn back_off(failures: u32) -> Duration {
    (FIRST_WAIT * 2_u32.pow(failures.min(5))).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_that_keeps_ending_is_started_less_and_less_often() {
        let waits: Vec<u64> = (0..7).map(|failures| back_off(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }
}
