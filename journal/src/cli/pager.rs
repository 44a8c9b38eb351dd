//! Long output goes through a pager, where a person looks at it.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};

use super::{Cli, Command as Wanted, Format};

/// The pager for a command's output; none where there is to be none.
///
/// Only what is written for people goes through it, and only what has an end: `PAGER` names the
/// program (an empty one means none), else it is `less`, which leaves at once what fits on the
/// screen.
pub(super) fn start(cli: &Cli) -> Option<Child> {
    let endless = matches!(&cli.command, Wanted::Log(log) if log.follows());
    if cli.options.no_pager || cli.options.output != Format::Table || endless {
        return None;
    }
    let named = std::env::var_os("PAGER");
    let program = named.unwrap_or_else(|| OsString::from("less"));
    if program.is_empty() || program == "cat" {
        return None;
    }
    // The variable may hold options, so a shell reads it, as everywhere.
    let mut command = Command::new("sh");
    command.arg("-c").arg(program).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Leave when it fits on one screen, show colours, do not clear the screen.
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}
