//! The operator as a process that can really be killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::constants::parse_env;
use super::{WorldError, folder::file_error};
use crate::control_plane::{Guarded, Launch};

/// The operator ends at the next step boundary; a killed one is no worse off.
const GRACE: Duration = Duration::from_secs(15);

/// How the operator is started.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// The binary `xsld-operator`.
    pub binary: PathBuf,
    /// The kubeconfig that it uses.
    pub kubeconfig: PathBuf,
    /// The namespace that it watches.
    pub namespace: String,
    /// Where it keeps its journal.
    pub journal_dir: PathBuf,
    /// A file of `NAME=VALUE` lines: its time constants.
    pub env_file: PathBuf,
    /// Where its output goes; appended to.
    pub log: PathBuf,
    /// Arguments after the usual ones.
    pub extra_args: Vec<String>,
    /// Variables that replace those of `env_file`.
    pub extra_env: Vec<(String, String)>,
    /// Where the process id is kept, so that a next world can end a leftover.
    pub pid_file: Option<PathBuf>,
}

/// A running operator. Dropping it kills it.
#[derive(Debug)]
pub struct OperatorProcess {
    process: Guarded,
}

impl OperatorProcess {
    /// Starts `xsld-operator run` for one namespace.
    ///
    /// # Errors
    /// When the binary or the environment file is missing.
    pub async fn spawn(config: &OperatorConfig) -> Result<Self, WorldError> {
        let text = fs::read_to_string(&config.env_file).map_err(file_error(&config.env_file))?;
        let mut env = parse_env(&text);
        env.push(("KUBECONFIG".to_owned(), config.kubeconfig.display().to_string()));
        // What a developer set for the operator in the shell is meant for it.
        for name in ["RUST_BACKTRACE", "XSLD_OPERATOR_LOG", "XSLD_OPERATOR_LOG_FORMAT"] {
            env.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        env.extend(config.extra_env.iter().cloned());
        let mut args = vec![
            "run".to_owned(),
            "--namespace".to_owned(),
            config.namespace.clone(),
            "--journal-dir".to_owned(),
            config.journal_dir.display().to_string(),
        ];
        // Port 0: several operators run side by side. The log tells the real one.
        if !config.extra_args.iter().any(|arg| arg.starts_with("--listen")) {
            args.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        args.extend(config.extra_args.iter().cloned());
        let launch = Launch {
            name: "xsld-operator".to_owned(),
            program: config.binary.clone(),
            args,
            env,
            clean_env: true,
            log: config.log.clone(),
            pid_file: config.pid_file.clone(),
        };
        let process = Guarded::spawn(launch).await.map_err(WorldError::Process)?;
        Ok(Self { process })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How the operator ended, or `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, WorldError> {
        self.process.try_wait().map_err(WorldError::Process)
    }

    /// Waits until the operator has ended. Safe to cancel.
    pub async fn wait(&mut self) -> Result<ExitStatus, WorldError> {
        self.process.wait().await.map_err(WorldError::Process)
    }

    /// Kills the operator (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<ExitStatus, WorldError> {
        self.process.kill().await.map_err(WorldError::Process)
    }

    /// Asks the operator to end (SIGTERM) and waits; one that does not end is killed.
    pub async fn terminate(&mut self) -> Result<ExitStatus, WorldError> {
        self.process.terminate(GRACE).await.map_err(WorldError::Process)
    }

    /// Stops the process where it is (SIGSTOP), as a frozen machine would.
    pub fn freeze(&mut self) {
        self.process.freeze();
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&mut self) {
        self.process.thaw();
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }
}

/// The journal directory, environment file, log and pid file that a world
/// keeps for its own operator.
pub(super) fn default_config(dir: &Path, binary: &Path, namespace: &str) -> OperatorConfig {
    OperatorConfig {
        binary: binary.to_owned(),
        kubeconfig: dir.join("kubeconfig"),
        namespace: namespace.to_owned(),
        journal_dir: dir.join("journal"),
        env_file: dir.join("operator.env"),
        log: dir.join("operator.log"),
        extra_args: Vec::new(),
        extra_env: Vec::new(),
        pid_file: Some(dir.join("run").join(format!("operator-{namespace}.pid"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_operator_gets_its_arguments_and_its_time_constants() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("xsld-operator");
        fs::write(&binary, "#!/bin/sh\necho \"$@ lease=$XSLD_OPERATOR_LEASE kube=$KUBECONFIG\"\n")
            .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&binary, mode).unwrap();
        fs::create_dir_all(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("operator.env"), "XSLD_OPERATOR_LEASE=6s\n").unwrap();
        let config = default_config(dir.path(), &binary, "default");
        let mut operator = OperatorProcess::spawn(&config).await.unwrap();
        assert!(operator.wait().await.unwrap().success());
        let log = operator.log_tail(1);
        let journal = dir.path().join("journal").display().to_string();
        assert!(
            log.starts_with(&format!("run --namespace default --journal-dir {journal}")),
            "{log}"
        );
        assert!(log.contains("lease=6s") && log.contains("/kubeconfig"), "{log}");
    }
}
