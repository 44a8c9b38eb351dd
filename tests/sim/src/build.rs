//! A cargo inside a cargo: the worlds build the operator that they run.

use tokio::process::Command;

/// `cargo`, the one that runs this program where there is one, without what that one told this
/// program of its own package: build scripts (ring's) take it for a change, and everything behind
/// them would be built anew.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
