//! Counts what test runners report. Pure: lines in, numbers out.

/// What the test runners of one stage have said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, and runners that ended without a result.
    pub(crate) failed: u64,
    /// Their names, each with its runner.
    pub(crate) failures: Vec<String>,
    runner: Option<Runner>,
}

/// The runner whose lines are being read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Runner {
    name: String,
    failures: Vec<String>,
    /// The last result wins: a child process of a test may print one of its own before.
    result: Option<(u64, u64)>,
}

impl Count {
    /// Takes in one line, with or without colours.
    pub(crate) fn line(&mut self, line: &str) {
        let line = without_colours(line);
        if let Some(name) = runner_begins(&line) {
            self.close();
            self.runner = Some(Runner { name, ..Runner::default() });
            return;
        }
        let Some(runner) = &mut self.runner else { return };
        if let Some(result) = result(&line) {
            runner.result = Some(result);
        } else if let Some(test) = failed_test(&line) {
            runner.failures.push(test.to_owned());
        }
    }

    /// The runner has nothing more to say.
    pub(crate) fn close(&mut self) {
        let Some(runner) = self.runner.take() else { return };
        let (passed, failed) = runner.result.unwrap_or((0, 0));
        self.passed += passed;
        self.failed += failed;
        let named = runner.failures.iter().map(|test| format!("{test} ({})", runner.name));
        self.failures.extend(named);
        if runner.result.is_none() {
            self.failed += 1;
            self.failures.push(format!("{} ended without a result", runner.name));
        }
    }

    /// A check that is no test runner counts as one.
    pub(crate) fn check(&mut self, ok: bool, what: &str) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(what.to_owned());
        }
    }
}

/// The line with which cargo announces a runner: `Running tests/a.rs (target/…)` or `Doc-tests a`.
fn runner_begins(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("documentation of {}", name.trim_end()));
    }
    let (what, program) = line.strip_prefix("Running ")?.split_once(" (")?;
    let program = program.strip_suffix(')')?;
    let file = program.rsplit(['/', '\\']).next()?;
    let stem = file.rsplit_once('-').map_or(file, |(stem, _)| stem);
    let what = what.strip_prefix("unittests ").unwrap_or(what);
    Some(format!("{stem}, {what}"))
}

/// `test result: ok. 3 passed; 0 failed; …`
fn result(line: &str) -> Option<(u64, u64)> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut passed = None;
    let mut failed = None;
    for part in numbers.split("; ") {
        match part.split_once(' ') {
            Some((number, "passed")) => passed = number.parse().ok(),
            Some((number, "failed")) => failed = number.parse().ok(),
            _ => {}
        }
    }
    Some((passed?, failed?))
}

/// `test a::b ... FAILED`
fn failed_test(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.strip_suffix("FAILED")?.trim_end();
    Some(name.strip_suffix("...")?.trim_end())
}

/// The line without ANSI escape sequences.
fn without_colours(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Count {
        let mut count = Count::default();
        text.lines().for_each(|line| count.line(line));
        count.close();
        count
    }

    #[test]
    fn all_runners_are_added_up() {
        let count = count(
            "   Compiling a v0.1.0\n     Running unittests src/lib.rs (target/debug/deps/a-1f)\n\
             test one ... ok\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; \
             0 filtered out; finished in 0.00s\n     Running tests/b.rs (target/debug/deps/b-2)\n\
             test two::three ... FAILED\ntest result: FAILED. 4 passed; 1 failed; 0 ignored; \
             0 measured; 0 filtered out; finished in 1.00s\n   Doc-tests a\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s\n",
        );
        assert_eq!((count.passed, count.failed), (8, 1));
        assert_eq!(count.failures, ["two::three (b, tests/b.rs)"]);
    }

    #[test]
    fn colours_do_not_hide_a_result() {
        let count = count(
            "\u{1b}[1m\u{1b}[92m     Running\u{1b}[0m tests/b.rs (target/debug/deps/b-2)\n\
             test result: \u{1b}[32mok\u{1b}[0m. 2 passed; 0 failed; 0 ignored\n",
        );
        assert_eq!((count.passed, count.failed), (2, 0));
    }

    #[test]
    fn a_runner_that_dies_counts_as_a_failure() {
        let count = count(
            "     Running tests/a.rs (target/debug/deps/a-1)\ntest one ... ok\n\
             error: test failed (signal: 6)\n     Running tests/b.rs (target/debug/deps/b-2)\n\
             test result: ok. 2 passed; 0 failed; 0 ignored\n",
        );
        assert_eq!((count.passed, count.failed), (2, 1));
        assert_eq!(count.failures, ["a, tests/a.rs ended without a result"]);
    }

    #[test]
    fn only_the_last_result_of_a_runner_counts() {
        let count = count(
            "     Running tests/a.rs (target/debug/deps/a-1)\n\
             test result: ok. 9 passed; 0 failed; 0 ignored\n\
             test result: ok. 2 passed; 0 failed; 0 ignored\n",
        );
        assert_eq!((count.passed, count.failed), (2, 0));
    }

    #[test]
    fn lines_before_any_runner_and_garbled_results_count_nothing() {
        let text = "test result: ok. 9 passed; 0 failed\nRunning out of time (soon)x\n";
        assert_eq!(count(text), Count::default());
        assert_eq!(result("test result: ok. x passed; 0 failed"), None);
        assert_eq!(result("test result: ok"), None);
        assert_eq!(failed_test("test FAILED"), None);
    }
}
