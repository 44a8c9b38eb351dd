//! Cargo and rustup as this program calls them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Variables that `cargo run` sets for this very program. Build scripts such as ring's watch
/// some of them, so a cargo that inherited them would build half the dependencies again.
const OURS: [&str; 7] = [
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// The repository's root folder.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package lies two folders below the root")
}

/// A cargo that starts in the repository's root, as if called from a shell.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    clean(&mut command);
    command
}

/// Takes away what `cargo run` added to the environment.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|prefix| name.starts_with(prefix))
}

/// What cargo knows about the workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
    /// Names of the integration tests of all packages, sorted, each once.
    pub(crate) tests: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let output = cargo(["metadata", "--no-deps", "--format-version", "1"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo metadata failed: see above");
        let json = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Self::parse(&json)
    }

    fn parse(metadata: &Value) -> Result<Self> {
        let target = metadata["target_directory"].as_str().context("no target_directory")?;
        let packages = metadata["packages"].as_array().context("no packages")?;
        let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
        let is_test = |target: &&Value| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"))
        };
        let names = targets.filter(is_test).filter_map(|target| target["name"].as_str());
        let mut tests: Vec<String> = names.map(str::to_owned).collect();
        tests.sort();
        tests.dedup();
        Ok(Self { target: target.into(), tests })
    }

    /// A program of the development profile.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name).with_extension(env::consts::EXE_EXTENSION)
    }
}

/// Sees to it that a component of the tool chain is there: installs it where rustup can.
pub(crate) fn ensure_component(subcommand: &str, component: &str) -> Result<()> {
    if works(cargo([subcommand, "--version"])) {
        return Ok(());
    }
    anstream::eprintln!("installing the Rust component {component}");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", component]).stdin(Stdio::null());
    match rustup.status() {
        Ok(status) if status.success() && works(cargo([subcommand, "--version"])) => Ok(()),
        Ok(_) => bail!("`rustup component add {component}` did not make `cargo {subcommand}` work"),
        Err(_) => bail!(
            "`cargo {subcommand}` is missing and there is no rustup to install it; install the \
             component {component} of your Rust tool chain"
        ),
    }
}

fn works(mut command: Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_variables_of_cargo_run_are_told_from_the_users_settings() {
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_NAME", "OUT_DIR"] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_TERM_COLOR", "PATH"] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn integration_tests_of_all_packages_are_found_once_each() {
        let target = |kind: &str, name: &str| json!({"kind": [kind], "name": name});
        let metadata = json!({
            "target_directory": "/t",
            "packages": [
                {"targets": [target("lib", "a"), target("test", "tidy"), target("test", "cli")]},
                {"targets": [target("bin", "b"), target("test", "cli")]},
            ],
        });
        let workspace = Workspace::parse(&metadata).unwrap();
        assert_eq!(workspace.tests, ["cli", "tidy"]);
        assert!(workspace.program("xsld-operator").starts_with("/t/debug"));
        assert!(Workspace::parse(&json!({})).is_err());
    }

    #[test]
    fn the_root_is_the_folder_with_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }
}
