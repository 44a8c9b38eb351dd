//! Builds the operator's binary in the profile that the sandbox itself runs in.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use xsld_sim::control_plane::Step;

use crate::ui::Ui;

const PACKAGE: &str = "xsld-operator";

/// Builds the operator and returns the binary.
pub(crate) async fn operator(root: &Path, ui: &Ui) -> Result<PathBuf> {
    let me = std::env::current_exe().context("cannot tell where the sandbox's binary is")?;
    let folder = me.parent().context("the sandbox's binary is in no folder")?;
    let target = folder.parent().context("the sandbox's binary is in no target folder")?;
    let what = "building the operator".to_owned();
    ui.step(Step::Started { what: what.clone() });
    let begun = Instant::now();
    let mut child = xsld_sim::build::cargo()
        .args(["build", "--package", PACKAGE, "--bin", PACKAGE, "--profile"])
        .arg(profile(folder))
        .arg("--target-dir")
        .arg(target)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run cargo")?;
    let mut lines = BufReader::new(child.stderr.take().context("cargo has no output")?).lines();
    let mut said: Vec<String> = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            line = lines.next_line() => match line.context("cannot read cargo's output")? {
                Some(line) => said.push(line),
                None => break,
            },
            _ = tick.tick() => {
                let detail = said.last().map(|line| line.trim().to_owned()).unwrap_or_default();
                ui.step(Step::Running { what: what.clone(), elapsed: begun.elapsed(), detail });
            }
        }
    }
    if !child.wait().await.context("cannot wait for cargo")?.success() {
        ui.clear();
        bail!("the operator does not build:\n{}", said.join("\n"));
    }
    ui.step(Step::Finished { what, elapsed: begun.elapsed() });
    let binary = folder.join(PACKAGE);
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}

/// The profile whose folder this is; the one named `dev` builds into `debug`.
fn profile(folder: &Path) -> String {
    match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev".to_owned(),
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_that_of_the_folder() {
        assert_eq!(profile(Path::new("/w/target/debug")), "dev");
        assert_eq!(profile(Path::new("/w/target/release")), "release");
        assert_eq!(profile(Path::new("/w/target/dist")), "dist");
    }
}
