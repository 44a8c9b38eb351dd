//! Runs a command and shows its output as it comes, while reading along.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// After so much silence a line tells that the command is still running, because a build server
/// and a person both give up on a silent program.
const SILENCE: Duration = Duration::from_secs(60);

/// Runs `command` to its end, prints each line of its output and hands it to `read`.
///
/// Both streams of the command go through one pipe, so that their lines stay in order.
///
/// # Errors
/// When the command cannot be started. That it failed is told by `false`.
pub(crate) fn run(command: &mut Command, mut read: impl FnMut(&str)) -> Result<bool> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    let errors = writer.try_clone().context("cannot make a pipe")?;
    if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    // The command keeps our ends of the pipe; without this the reader would wait for ourselves.
    command.stdout(io::stderr()).stderr(io::stderr());
    let (sender, lines) = mpsc::channel();
    let pump = thread::spawn(move || pump(BufReader::new(reader), &sender));
    let begun = Instant::now();
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => {
                show(&line);
                read(&line);
            }
            Err(RecvTimeoutError::Timeout) => {
                show(&format!("... still running after {}", duration(begun.elapsed())));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    pump.join().expect("the pump does not panic");
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    Ok(status.success())
}

fn pump(mut reader: impl BufRead, lines: &mpsc::Sender<String>) {
    let mut bytes = Vec::new();
    // A failed read means that the command is gone, which its exit status tells.
    while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
        let line = String::from_utf8_lossy(&bytes);
        let sent = lines.send(line.trim_end_matches(['\n', '\r']).to_owned());
        if sent.is_err() {
            return;
        }
        bytes.clear();
    }
}

fn show(line: &str) {
    // Nobody reads: the exit status still tells the outcome.
    let _ = writeln!(anstream::stdout().lock(), "{line}");
}

/// `1.2 s` or `3 min 20 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_of_both_streams_arrive_in_their_order() {
        let mut lines = Vec::new();
        let ok =
            run(&mut shell("echo a; echo b >&2; printf c"), |line| lines.push(line.to_owned()));
        assert!(ok.unwrap());
        assert_eq!(lines, ["a", "b", "c"]);
    }

    #[test]
    fn a_failed_command_is_told_and_a_missing_one_is_an_error() {
        assert!(!run(&mut shell("exit 3"), |_| {}).unwrap());
        let error = run(&mut Command::new("no-such-program"), |_| {}).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }

    #[test]
    fn times_are_told_in_seconds_and_then_in_minutes() {
        assert_eq!(duration(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
