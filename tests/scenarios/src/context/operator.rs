//! The operator as a process of this scenario's own.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context as _, bail};
use xsld_sim::world::{OperatorConfig, OperatorProcess};

use super::{Context, Seen};
use crate::Result;

/// How long a start may take until the operator answers `/readyz`.
const READY: Duration = Duration::from_secs(60);

/// How an operator is started, where that differs from the usual.
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// Another journal directory.
    pub journal_dir: Option<PathBuf>,
    /// Another log.
    pub log: Option<PathBuf>,
    /// Another namespace for the lease and the anchor.
    pub operator_namespace: Option<String>,
    /// Another kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// Variables that replace those of the world.
    pub environment: Vec<(String, String)>,
}

impl Context {
    /// The journal's directory.
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// The operator's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("operator.log")
    }

    /// How the operator of this scenario is started.
    pub fn operator_config(&self, options: &OperatorOptions) -> OperatorConfig {
        let world = &self.stage.world;
        let mut config = world.operator_config(&self.stage.binary, &self.namespace);
        let home = options.operator_namespace.clone().unwrap_or_else(|| self.namespace.clone());
        config.journal_dir = options.journal_dir.clone().unwrap_or_else(|| self.journal_dir());
        config.log = options.log.clone().unwrap_or_else(|| self.log());
        if let Some(kubeconfig) = &options.kubeconfig {
            config.kubeconfig.clone_from(kubeconfig);
        }
        // Port 0: several operators run side by side. The log and the anchor tell the real one.
        config.extra_args = ["--operator-namespace", &home, "--journal-listen", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec();
        config.extra_env.clone_from(&options.environment);
        config.pid_file = None;
        config
    }

    /// Starts an operator that is not this scenario's usual one.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub async fn spawn_operator(&self, options: &OperatorOptions) -> Result<OperatorProcess> {
        Ok(OperatorProcess::spawn(&self.operator_config(options)).await?)
    }

    /// Starts the operator and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start_operator(&self) -> Result {
        self.start_operator_with(&OperatorOptions::default()).await
    }

    /// Starts the operator in another way than usual, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start_operator_with(&self, options: &OperatorOptions) -> Result {
        self.begin_operator(options).await?;
        self.wait("the operator to be ready", READY, async || {
            let ready = match self.operator_address() {
                Some(address) => self.stage.http.get(format!("http://{address}/readyz")),
                None => return Ok(Seen::NotYet("its log tells no address".to_owned())),
            };
            Ok(match ready.send().await {
                Ok(answer) if answer.status().is_success() => Seen::Yes(()),
                Ok(answer) => Seen::NotYet(answer.text().await.unwrap_or_default()),
                Err(error) => Seen::NotYet(error.to_string()),
            })
        })
        .await
    }

    /// Starts the operator and does not wait.
    ///
    /// # Errors
    /// When the process cannot be started, or one runs.
    pub async fn start_operator_now(&self) -> Result {
        self.begin_operator(&OperatorOptions::default()).await
    }

    async fn begin_operator(&self, options: &OperatorOptions) -> Result {
        let mut operator = self.operator.lock().await;
        if operator.is_some() {
            bail!("this scenario's operator runs already");
        }
        *operator = Some(self.spawn_operator(options).await?);
        Ok(())
    }

    /// Kills the operator (SIGKILL).
    ///
    /// # Errors
    /// When none runs, or it had ended by itself before.
    pub async fn kill_operator(&self) -> Result {
        self.operator_still_runs().await?;
        let mut operator = self.operator.lock().await.take().context("no operator runs")?;
        operator.kill().await?;
        Ok(())
    }

    /// Asks the operator to end (SIGTERM), and says how it did.
    ///
    /// # Errors
    /// When none runs.
    pub async fn terminate_operator(&self) -> Result<ExitStatus> {
        let mut operator = self.operator.lock().await.take().context("no operator runs")?;
        Ok(operator.terminate().await?)
    }

    /// Stops the operator where it is (SIGSTOP), or lets it go on.
    ///
    /// # Errors
    /// When none runs.
    pub async fn freeze_operator(&self, freeze: bool) -> Result {
        let mut operator = self.operator.lock().await;
        let process = operator.as_mut().context("no operator runs")?;
        if freeze {
            process.freeze()
        } else {
            process.thaw()
        }
        Ok(())
    }

    /// From now on it is no failure when the operator ends by itself.
    pub fn operator_may_end(&self) {
        *self.may_end.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether the operator was started and has ended by itself.
    ///
    /// # Errors
    /// When its process cannot be asked.
    pub async fn operator_has_ended(&self) -> Result<bool> {
        match self.operator.lock().await.as_mut() {
            Some(process) => Ok(process.try_wait()?.is_some()),
            None => Ok(false),
        }
    }

    /// Waits until the operator ends by itself, and says how.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn operator_ends(&self, limit: Duration) -> Result<ExitStatus> {
        let mut operator = self.operator.lock().await.take().context("no operator runs")?;
        let ended = tokio::time::timeout(limit, operator.wait()).await;
        Ok(ended.with_context(|| format!("the operator did not end within {limit:?}"))??)
    }

    /// Fails when the operator was started and has ended by itself.
    pub(crate) async fn operator_still_runs(&self) -> Result {
        if *self.may_end.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        let mut operator = self.operator.lock().await;
        let Some(process) = operator.as_mut() else { return Ok(()) };
        if let Some(status) = process.try_wait()? {
            bail!("the operator ended by itself: {status}");
        }
        Ok(())
    }

    /// Where the operator's health and metrics are, as its log tells of its last start.
    pub fn operator_address(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.log()).ok()?;
        let line = text.lines().rev().find(|line| line.contains("/healthz"))?;
        let plain = strip_colours(line);
        let at = plain.find("address=")? + "address=".len();
        plain[at..].split_whitespace().next().map(|word| word.trim_matches('"').to_owned())
    }

    /// Runs a command of the operator's binary on this scenario's journal.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn journal_command(&self, arguments: &[&str]) -> Result<std::process::Output> {
        tokio::process::Command::new(&self.stage.binary)
            .arg("journal")
            .args(arguments)
            .arg("--journal-dir")
            .arg(self.journal_dir())
            .env("NO_COLOR", "1")
            .output()
            .await
            .context("cannot run the operator's journal command")
    }
}

/// Text without the terminal's colours.
pub(crate) fn strip_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        let tail = &rest[at..];
        rest = tail.find('m').map_or("", |end| &tail[end + 1..]);
    }
    plain.push_str(rest);
    plain
}
