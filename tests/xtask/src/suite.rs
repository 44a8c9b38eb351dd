//! `cargo xtask test`: every check and every test, in stages.
//!
//! All stages build the whole workspace with all features, so that nothing is built twice with
//! different ones. A failed stage does not stop the others, unless they need what it makes.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::cargo::{self, Workspace};
use crate::count::Count;
use crate::generate;
use crate::histories;
use crate::live;
use crate::report::{Report, Stage};

/// Test programs that need a Kubernetes control plane have names that begin so.
const ON_CONTROL_PLANE: &str = "control_plane";
/// The test program that runs the scenarios.
const SCENARIOS: &str = "scenarios";
/// How many histories are told side by side: more of them wait for one another on two cores.
const HISTORIES_THREADS: &str = "2";
/// The program that builds what needs Go, and the two things that it builds.
const BUILDER: &str = "build-with-go";
const CONTROL_PLANE: &str = "control-plane";
const HELM: &str = "helm";
/// Tells the tests which operator to run, so that they need not build one.
const BINARY: &str = "XSLD_OPERATOR_BINARY";
/// What every stage builds.
const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

/// Options of `test`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Stages: formatting, clippy, build, generated files, unit and contract tests, documentation
examples, control plane and Helm (built once, kept outside target/), control plane tests,
scenarios, histories (the kept ones; `cargo xtask histories` tells new ones).
The last line is `N passed, N failed`; the exit status is 0 when nothing failed.

Examples:
  cargo xtask test                           everything
  cargo xtask test --without control-plane   on a machine that has no Go
  cargo xtask test disjoin                   the tests whose names contain `disjoin`, nothing else")]
pub(crate) struct Options {
    /// Leaves out a part that cannot run here; the summary tells what was left out.
    #[arg(long, value_name = "PART", value_enum)]
    without: Vec<Part>,

    /// Runs only the tests whose names contain this text, and no other check.
    filter: Option<String>,
}

/// A part of the tests that needs more than Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The tests and the scenarios that run on a real Kubernetes control plane, and the charts'
    /// tests, which need Helm: both are built with Go.
    ControlPlane,
}

/// Runs the stages and prints the summary; false when something failed.
///
/// # Errors
/// When cargo itself, or a component of the tool chain, is not to be had.
pub(crate) fn run(options: &Options) -> Result<bool> {
    cargo::ensure_component("fmt", "rustfmt")?;
    cargo::ensure_component("clippy", "clippy")?;
    let mut suite = Suite { options, workspace: Workspace::read()?, report: Report::default() };
    suite.checks()?;
    suite.tests()?;
    let report = suite.finish();
    anstream::print!("{}", report.text());
    Ok(report.failed() == 0)
}

/// Builds the control plane; false when that failed.
///
/// # Errors
/// When cargo cannot be run.
pub(crate) fn control_plane() -> Result<bool> {
    build_with_go(CONTROL_PLANE)
}

/// Builds Helm; false when that failed.
///
/// # Errors
/// When cargo cannot be run.
pub(crate) fn helm() -> Result<bool> {
    build_with_go(HELM)
}

fn build_with_go(what: &str) -> Result<bool> {
    let package = ["--package", "xtask", "--features", "control-plane"];
    let words = ["run", "--quiet"].into_iter().chain(package).chain(["--bin", BUILDER, "--", what]);
    let status = cargo::cargo(words).status().context("cannot run cargo")?;
    Ok(status.success())
}

/// One run: what is asked for, and what came of it so far.
struct Suite<'a> {
    options: &'a Options,
    workspace: Workspace,
    report: Report,
}

impl Suite<'_> {
    /// What needs no test runner: formatting and lints. Left out when tests are picked by name.
    fn checks(&mut self) -> Result<()> {
        if let Some(filter) = &self.options.filter {
            let reason = format!("only tests named `*{filter}*` were asked for");
            self.report.left_out.push(format!("formatting, clippy, generated files: {reason}"));
            return Ok(());
        }
        self.check("formatting", &mut cargo::cargo(["fmt", "--all", "--", "--check"]))?;
        let lints = ["clippy"].into_iter().chain(EVERYTHING).chain(["--all-targets", "--"]);
        self.check("clippy", &mut cargo::cargo(lints.chain(["-D", "warnings"])))?;
        Ok(())
    }

    fn tests(&mut self) -> Result<()> {
        if !self.build()? {
            self.report.left_out.push("everything after the build: it failed".to_owned());
            return Ok(());
        }
        if self.options.filter.is_none() {
            self.generated();
        }
        self.stage("unit and contract tests", &unit_tests(&self.workspace.tests))?;
        self.stage("documentation examples", &["--doc"])?;
        if self.options.without.contains(&Part::ControlPlane) {
            let parts = "control plane tests, charts, scenarios, histories: --without control-plane was given";
            self.report.left_out.push(parts.to_owned());
            return Ok(());
        }
        if !self.builds("control plane", CONTROL_PLANE)? {
            let parts = "control plane tests, charts, scenarios, histories: there is no control plane to run them on";
            self.report.left_out.push(parts.to_owned());
            return Ok(());
        }
        // Without Helm only the tests of the charts fail, and each says why.
        self.builds("Helm", HELM)?;
        self.stage("control plane tests", &["--test", &format!("{ON_CONTROL_PLANE}*")])?;
        self.stage(SCENARIOS, &["--test", SCENARIOS])?;
        self.histories()
    }

    /// The kept scripts: what a new seed brings up is no word about the change that is tested.
    fn histories(&mut self) -> Result<()> {
        if let Some(filter) = &self.options.filter {
            let reason = format!("only tests named `*{filter}*` were asked for");
            self.report.left_out.push(format!("histories: {reason}"));
            return Ok(());
        }
        let name = "histories";
        let begun = self.headline(name);
        let mut command = histories::program(&self.workspace);
        command.args(["--kept", histories::KEPT, "--threads", HISTORIES_THREADS]);
        let mut count = Count::default();
        let ok = live::run(&mut command, |line| count.line(line))?;
        count.close();
        if !ok && count.failed == 0 {
            count.check(false, &format!("{name}: the program failed, see above"));
        }
        self.done(name, begun, count);
        Ok(())
    }

    /// Builds all tests and programs, so that the times of the later stages are theirs alone.
    /// Counts only when it fails.
    fn build(&mut self) -> Result<bool> {
        let begun = self.headline("build");
        let words = ["test", "--no-run"].into_iter().chain(EVERYTHING);
        let ok = live::run(&mut cargo::cargo(words), |_| {})?;
        let mut count = Count::default();
        if !ok {
            count.check(false, "build");
        }
        self.done("build", begun, count);
        Ok(ok)
    }

    fn generated(&mut self) {
        let name = "generated files";
        let begun = self.headline(name);
        let mut count = Count::default();
        match generate::check(&self.workspace.program(generate::OPERATOR)) {
            Ok(differences) => {
                for difference in &differences {
                    anstream::println!("{difference}; `cargo xtask generate` writes it");
                }
                count.check(differences.is_empty(), "generated files are not up to date");
            }
            Err(error) => count.check(false, &format!("generated files: {error:#}")),
        }
        self.done(name, begun, count);
    }

    /// Has something built that needs Go. Counts only when it fails.
    fn builds(&mut self, name: &'static str, what: &str) -> Result<bool> {
        let begun = self.headline(name);
        let mut command = Command::new(self.workspace.program(BUILDER));
        cargo::clean(&mut command);
        let ok = live::run(command.arg(what).stdin(std::process::Stdio::null()), |_| {})?;
        let mut count = Count::default();
        if !ok {
            let hint = "see above; `--without control-plane` leaves this part out";
            count.check(false, &format!("{name}: {hint}"));
        }
        self.done(name, begun, count);
        Ok(ok)
    }

    /// A command that counts as one test.
    fn check(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        let begun = self.headline(name);
        let ok = live::run(command, |_| {})?;
        let mut count = Count::default();
        count.check(ok, name);
        self.done(name, begun, count);
        Ok(())
    }

    /// Test programs, whose own tests are counted.
    fn stage(&mut self, name: &'static str, targets: &[impl AsRef<str>]) -> Result<()> {
        let begun = self.headline(name);
        let words = ["test", "--no-fail-fast"].into_iter().chain(EVERYTHING);
        let mut command = cargo::cargo(words);
        command.args(targets.iter().map(AsRef::as_ref));
        command.env(BINARY, self.workspace.program(generate::OPERATOR));
        command.args(self.options.filter.iter().flat_map(|filter| ["--", filter]));
        let mut count = Count::default();
        let ok = live::run(&mut command, |line| count.line(line))?;
        count.close();
        if !ok && count.failed == 0 {
            count.check(false, &format!("{name}: cargo failed, see above"));
        }
        self.done(name, begun, count);
        Ok(())
    }

    fn headline(&self, name: &str) -> Instant {
        let bold = anstyle::Style::new().bold();
        anstream::println!("\n{bold}== {name} =={bold:#}");
        Instant::now()
    }

    fn done(&mut self, name: &'static str, begun: Instant, count: Count) {
        let time = begun.elapsed();
        anstream::println!("-- {name}: {}", live::duration(time));
        self.report.stages.push(Stage { name, time: Some(time), count });
    }

    fn finish(mut self) -> Report {
        if let Some(filter) = &self.options.filter
            && self.report.passed() + self.report.failed() == 0
        {
            let mut count = Count::default();
            count.check(false, &format!("no test has `{filter}` in its name"));
            self.report.stages.push(Stage { name: "filter", time: None, count });
        }
        self.report
    }
}

/// The targets of the unit and contract tests: all but those that need a control plane.
fn unit_tests(tests: &[String]) -> Vec<String> {
    let alone = |test: &&String| !test.starts_with(ON_CONTROL_PLANE) && *test != SCENARIOS;
    let named = tests.iter().filter(alone).flat_map(|test| ["--test".to_owned(), test.clone()]);
    ["--lib", "--bins"].map(str::to_owned).into_iter().chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_on_a_control_plane_are_kept_out_of_the_unit_tests() {
        let all = ["control_plane", "control_plane_grids", "crds", "scenarios", "tidy"];
        let words = unit_tests(&all.map(str::to_owned));
        assert_eq!(words, ["--lib", "--bins", "--test", "crds", "--test", "tidy"]);
    }

    #[test]
    fn a_filter_that_matches_nothing_is_a_failure() {
        let options = Options { filter: Some("zebra".to_owned()), ..Options::default() };
        let workspace = Workspace { target: "/t".into(), tests: Vec::new() };
        let suite = Suite { options: &options, workspace, report: Report::default() };
        let report = suite.finish();
        assert_eq!(report.failed(), 1);
        assert!(report.text().contains("no test has `zebra` in its name"));
    }
}
