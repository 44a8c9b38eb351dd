//! The summary of a run: what each stage came to, what was left out, and the last line.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::count::Count;
use crate::live::duration;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const STRONG: Style = Style::new().bold();

/// What one stage came to.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// Its headline.
    pub(crate) name: &'static str,
    /// How long it took; none when it did not run.
    pub(crate) time: Option<Duration>,
    /// Its tests.
    pub(crate) count: Count,
}

/// All stages of a run, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// What ran, or could not.
    pub(crate) stages: Vec<Stage>,
    /// What was not asked for, each with the reason.
    pub(crate) left_out: Vec<String>,
}

impl Report {
    /// Tests that passed, over all stages.
    pub(crate) fn passed(&self) -> u64 {
        self.stages.iter().map(|stage| stage.count.passed).sum()
    }

    /// Tests that failed, over all stages.
    pub(crate) fn failed(&self) -> u64 {
        self.stages.iter().map(|stage| stage.count.failed).sum()
    }

    /// The summary. Its last line is `N passed, N failed` without colour, for machines.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{STRONG}Summary{STRONG:#}\n");
        for stage in &self.stages {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}", stage_line(stage));
        }
        let failures: Vec<&String> =
            self.stages.iter().flat_map(|stage| &stage.count.failures).collect();
        if !failures.is_empty() {
            let _ = writeln!(text, "{BAD}Failed{BAD:#}");
            for failure in failures {
                let _ = writeln!(text, "  {failure}");
            }
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "{STRONG}Left out{STRONG:#}");
            for part in &self.left_out {
                let _ = writeln!(text, "  {part}");
            }
        }
        let _ = writeln!(text, "\n{} passed, {} failed", self.passed(), self.failed());
        text
    }
}

fn stage_line(stage: &Stage) -> String {
    let Count { passed, failed, .. } = stage.count;
    let time = stage.time.map_or_else(|| "not run".to_owned(), duration);
    let (style, word) = if failed > 0 { (BAD, "FAILED") } else { (GOOD, "ok") };
    let word = format!("{style}{word:<6}{style:#}");
    format!("{:<24} {word} {passed:>5} passed {failed:>4} failed   {time}", stage.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &'static str, passed: u64, failures: &[&str]) -> Stage {
        let failures: Vec<String> = failures.iter().map(|&text| text.to_owned()).collect();
        let mut count = Count::default();
        count.passed = passed;
        failures.iter().for_each(|failure| count.check(false, failure));
        Stage { name, time: Some(Duration::from_secs(2)), count }
    }

    #[test]
    fn the_last_line_adds_up_all_stages_and_stands_alone() {
        let stages = vec![stage("formatting", 1, &[]), stage("unit tests", 40, &["a::b", "c"])];
        let report = Report { stages, left_out: Vec::new() };
        assert_eq!(report.text().lines().last(), Some("41 passed, 2 failed"));
        assert!(report.text().contains("\n  a::b\n"));
    }

    #[test]
    fn what_was_left_out_is_told_right_before_the_count() {
        let left_out = vec!["scenarios: --without control-plane".to_owned()];
        let text = Report { stages: vec![stage("clippy", 1, &[])], left_out }.text();
        let plain = anstream::adapter::strip_str(&text).to_string();
        let end = "Left out\n  scenarios: --without control-plane\n\n1 passed, 0 failed\n";
        assert!(plain.ends_with(end), "{plain}");
    }
}
