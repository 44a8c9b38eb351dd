//! Runs scenarios side by side in one world, as named tests with filters.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};
use xsld_sim::control_plane::{Progress, Step};

use crate::context::Context;
use crate::stage::Stage;
use crate::{Ending, Result, Scenario, oracle, report, rotation, stage, sweep};

/// Scenarios that run at the same time unless `--test-threads` says otherwise. They wait most of
/// the time: what they cost is TLS handshakes and the members' own timers.
const THREADS_PER_CORE: usize = 4;

/// Runs what the command line asks for. The last line of standard output is libtest's summary.
pub fn main(scenarios: Vec<Scenario>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    arguments.test_threads.get_or_insert(THREADS_PER_CORE * cores);
    let wanted = scenarios.iter().any(|scenario| is_wanted(&arguments, &scenario.name));
    if arguments.list || !wanted {
        let listed = scenarios.into_iter().map(|scenario| Trial::test(scenario.name, || Ok(())));
        return libtest_mimic::run(&arguments, listed.collect()).exit_code();
    }
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => return fail(&format!("there is no runtime: {error}")),
    };
    let raised = async {
        let stage = Stage::raise(stage::SCENARIOS, progress()).await?;
        stage::reserve_nodes(&stage.world, stage::scenario_taints()).await?;
        anyhow::Ok(stage)
    };
    let stage = match runtime.block_on(raised) {
        Ok(stage) => Arc::new(stage),
        Err(error) => return fail(&format!("the scenarios cannot run here: {error:#}")),
    };
    let started = Arc::new(AtomicUsize::new(0));
    let waiting = waiting(&arguments, &scenarios);
    let trial = |scenario: Scenario| {
        let (runtime, stage, started) = (runtime.clone(), stage.clone(), started.clone());
        let name = scenario.name.clone();
        let waits = waiting.contains(&scenario.name);
        let test = move || {
            let number = started.fetch_add(1, Ordering::Relaxed) + 1;
            let outcome = on_this_thread(&runtime, run(&scenario, stage, number));
            outcome.map_err(|error| Failed::from(format!("{error:#}")))
        };
        Trial::test(name, test).with_ignored_flag(waits)
    };
    let trials = scenarios.into_iter().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let stopped = match Arc::into_inner(stage) {
        Some(stage) => runtime.block_on(stage.world.stop()).map_err(anyhow::Error::new),
        None => Err(anyhow::anyhow!("something still holds the world")),
    };
    if let Err(error) = stopped {
        say(&format!("the world did not end in order: {error:#}"));
    }
    conclusion.exit_code()
}

/// The scenarios that are left to another run, unless somebody chose what to run.
fn waiting(arguments: &Arguments, scenarios: &[Scenario]) -> BTreeSet<String> {
    let chosen = arguments.filter.is_some() || !arguments.skip.is_empty();
    if chosen || arguments.include_ignored || arguments.ignored || sweep::sweeps_all() {
        return BTreeSet::new();
    }
    let seed = sweep::seed();
    let names = scenarios.iter().map(|scenario| scenario.name.as_str());
    let waiting = rotation::waiting(names, seed);
    say(&format!(
        "{} of {} scenarios wait for another run ({}={seed}); {}=all tells them all",
        waiting.len(),
        scenarios.len(),
        sweep::SEED,
        sweep::ALL,
    ));
    waiting.into_iter().map(str::to_owned).collect()
}

/// As libtest filters.
fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| match arguments.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

/// A scenario's future stays on its thread, so that it need not be `Send`; what it spawns does not.
pub(crate) fn on_this_thread<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(future)
}

pub(crate) fn progress() -> Progress {
    Progress::new(|step| match step {
        Step::Started { what } => say(&format!("{what} …")),
        Step::Finished { what, elapsed } => say(&format!("{what}: {:.1} s", elapsed.as_secs_f64())),
        Step::Running { what, elapsed, .. } if elapsed.as_millis() % 30_000 < 500 => {
            say(&format!("{what}: {} s so far", elapsed.as_secs()));
        }
        Step::Running { .. } => {}
    })
}

async fn run(scenario: &Scenario, stage: Arc<Stage>, number: usize) -> Result {
    let begun = Instant::now();
    let context = Context::open(stage, &scenario.name, number).await?;
    let longest = scenario.longest;
    let outcome = tokio::time::timeout(longest, play(scenario, &context)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("not over after {longest:?}")));
    let told = match &outcome {
        Ok(()) => None,
        Err(error) => Some(report::failure(&context, error).await),
    };
    context.close(told.is_some()).await;
    let seconds = begun.elapsed().as_secs_f64();
    let word = if told.is_some() { "FAILED" } else { "ok" };
    say(&format!("{word} {} in {seconds:.1} s", scenario.name));
    told.map_or(Ok(()), |told| Err(anyhow::Error::msg(told)))
}

async fn play(scenario: &Scenario, context: &Context) -> Result {
    if scenario.entries {
        context.give_entries();
    }
    if scenario.operator {
        context.start_operator().await?;
    }
    (scenario.body)(context).await?;
    context.entries_are_held().await.context("an entry was lost")?;
    match scenario.ending {
        Ending::AtRest => oracle::at_rest(context).await,
        Ending::Disturbed => oracle::disturbed(context).await,
        Ending::Nothing => Ok(()),
    }
}

/// One line for people, on standard error.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn fail(line: &str) -> ExitCode {
    say(line);
    ExitCode::FAILURE
}
