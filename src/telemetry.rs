//! The log: levels by module, for people or as JSON, on stderr.

use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts the log.
///
/// # Errors
/// When the levels cannot be read, with the part that is wrong.
pub fn init(format: LogFormat, levels: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(levels).map_err(|error| format!("--log {levels}: {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            log.with_ansi(std::env::var_os("NO_COLOR").is_none() && is_tty()).try_init()
        }
    };
    started.map_err(|error| error.to_string())
}

fn is_tty() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// An error with all its causes on one line: it is logged once, where it is handled.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}
