//! What people see: lines and one spinner on standard error. Colour and
//! movement end where `NO_COLOR` or a pipe begins.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use xsld_sim::control_plane::{Progress, Step};

/// Without a terminal a long step says so often that it is still running.
const REMINDER: Duration = Duration::from_secs(30);

/// Prints to standard error; clones share one spinner.
#[derive(Clone, Default)]
pub(crate) struct Ui(Arc<Mutex<Spinner>>);

#[derive(Default)]
struct Spinner {
    bar: Option<ProgressBar>,
    reminded: Duration,
}

impl Ui {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A listener that shows long steps.
    pub(crate) fn progress(&self) -> Progress {
        let ui = self.clone();
        Progress::new(move |step| ui.step(step))
    }

    pub(crate) fn say(&self, text: &str) {
        self.line(&text);
    }

    pub(crate) fn heading(&self, text: &str) {
        self.line(&paint(Style::new().bold(), text));
    }

    /// Something to type.
    pub(crate) fn command(&self, text: &str) {
        self.line(&format!("  {}", paint(AnsiColor::Cyan.on_default(), text)));
    }

    pub(crate) fn warn(&self, text: &str) {
        self.line(&format!("{} {text}", paint(AnsiColor::Yellow.on_default().bold(), "warning:")));
    }

    pub(crate) fn error(&self, text: &str) {
        self.line(&format!("{} {text}", paint(AnsiColor::Red.on_default().bold(), "error:")));
    }

    /// Shows the progress of a long step.
    pub(crate) fn step(&self, step: Step) {
        match step {
            Step::Started { what } => {
                if std::io::stderr().is_terminal() {
                    self.spin(&what);
                } else {
                    self.line(&format!("{what} ..."));
                }
                self.spinner().reminded = Duration::ZERO;
            }
            Step::Running { what, elapsed, detail } => self.still_running(&what, elapsed, &detail),
            Step::Finished { what, elapsed } => {
                self.clear();
                let done = paint(AnsiColor::Green.on_default().bold(), "done");
                self.line(&format!("{done} {what} ({})", seconds(elapsed)));
            }
        }
    }

    fn still_running(&self, what: &str, elapsed: Duration, detail: &str) {
        let text = match detail {
            "" => format!("{what} {}", seconds(elapsed)),
            detail => format!("{what} {}: {detail}", seconds(elapsed)),
        };
        let bar = self.spinner().bar.clone();
        if let Some(bar) = bar {
            bar.set_message(text);
        } else if std::io::stderr().is_terminal() {
            self.spin(&text);
        } else if elapsed >= self.spinner().reminded + REMINDER {
            self.spinner().reminded = elapsed;
            self.line(&text);
        }
    }

    fn spin(&self, text: &str) {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.clear();
        self.spinner().bar = Some(bar);
    }

    /// Takes the spinner away, so that it does not stay under an error.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.spinner().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &dyn Display) {
        let bar = self.spinner().bar.clone();
        let print = || {
            // A closed standard error is no reason to end a running world.
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        };
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn spinner(&self) -> std::sync::MutexGuard<'_, Spinner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 05 s`.
fn seconds(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..10 => format!("{:.1} s", elapsed.as_secs_f64()),
        whole @ 10..60 => format!("{whole} s"),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_and_exact_enough() {
        assert_eq!(seconds(Duration::from_millis(432)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(59)), "59 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
    }
}
