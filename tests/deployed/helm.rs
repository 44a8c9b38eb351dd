//! Helm as a user types it, with a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use xsld_sim::control_plane::Progress;

use crate::manifests::root;

/// A built Helm, and the cluster that it speaks to, if any.
pub(crate) struct Helm {
    program: PathBuf,
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Finds Helm, or builds it. Without a kubeconfig it can only render.
    pub(crate) async fn new(kubeconfig: Option<&Path>) -> Result<Self> {
        let program = xsld_sim::helm::find_or_build(&Progress::silent()).await?;
        let kubeconfig = kubeconfig.map(Path::to_owned);
        Ok(Self { program, home: tempfile::tempdir()?, kubeconfig })
    }

    /// What Helm printed, when it did as it was told.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words).await?;
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "helm {}: {said}{complained}", words.join(" "));
        Ok(said)
    }

    /// What it complained of, when it refused.
    pub(crate) async fn refused(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words).await?;
        ensure!(!output.status.success(), "helm {} was not refused", words.join(" "));
        Ok(text(&output.stderr))
    }

    async fn output(&self, words: &[&str]) -> Result<Output> {
        let home = self.home.path();
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).current_dir(root());
        for folder in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{folder}_HOME"), home.join(folder));
        }
        // Without a cluster it must not find that of the person who runs the tests.
        let nowhere = home.join("no-kubeconfig");
        command.env("KUBECONFIG", self.kubeconfig.as_ref().unwrap_or(&nowhere));
        command.output().await.context("cannot run helm")
    }
}

/// The folder of a chart, from the repository's root.
pub(crate) fn path(chart: &str) -> String {
    format!("deploy/helm/{chart}")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
