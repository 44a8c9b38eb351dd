//! `cargo xtask histories`: histories that nobody thought of, on the real control plane.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use xsld_histories::weights::{Family, Weights};
use xsld_scenarios::histories::run::{Outcome, Plan, run, script, scripts};

/// Tells histories: what users do and what fails, in an order that a seed chose; then everything is
/// healed, and the cache must come to what was asked for last, and rest.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask histories",
    after_help = "\
A history that fails is kept in target/histories/<run>/<seed>/: script.json, failure.txt (findings,
a timeline, the state at the end), operator.log and journal/.
Standard output has a line for each history and a last line `test result: …`; standard error tells
how it goes. Exit status: 0 everything held, 1 something did not, 2 they cannot be told here.

Examples:
  cargo xtask histories --count 4
  cargo xtask histories --hours 2 --seed 7 --shrink
  cargo xtask histories --replay target/histories/1/7/script.json"
)]
struct Options {
    /// Tells histories for so many hours.
    #[arg(long, value_name = "N")]
    hours: Option<f64>,

    /// Tells histories for so many seconds; none is begun that would probably end later.
    #[arg(long, value_name = "N", conflicts_with = "hours")]
    seconds: Option<u64>,

    /// Tells so many histories.
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// Seed of the first history; each later one has the next. Another one every time without it.
    #[arg(long, value_name = "S", env = "XSLD_SEED")]
    seed: Option<u64>,

    /// Acts of each history.
    #[arg(long, value_name = "N", default_value_t = 14)]
    size: usize,

    /// Tells the script of this file again; may be given more than once.
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,

    /// Tells every script of this folder first.
    #[arg(long, value_name = "DIR")]
    kept: Option<PathBuf>,

    /// Looks for a shorter script that fails alike, for each history that fails.
    #[arg(long)]
    shrink: bool,

    /// How often a shorter script is tried.
    #[arg(long, value_name = "N", default_value_t = 12)]
    tries: usize,

    /// Every act may happen, also those that are known to end badly.
    #[arg(long)]
    all_acts: bool,

    /// How many histories are told side by side.
    #[arg(long, value_name = "N", default_value_t = 4)]
    threads: usize,

    /// Prints the script of the seed, and tells nothing.
    #[arg(long)]
    print: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match tell(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn tell(options: &Options) -> anyhow::Result<bool> {
    let plan = plan(options)?;
    if options.print {
        let script = xsld_histories::generate::generate(plan.seed, plan.size, plan.weights);
        line(script.text().trim_end());
        return Ok(true);
    }
    let has_end = plan.count.is_some() || plan.time.is_some() || !plan.scripts.is_empty();
    anyhow::ensure!(has_end, "give --hours, --count or --replay: how many histories?");
    if plan.weights == Weights::Share {
        let left_out = Family::ALL.iter().filter(|family| !family.left_out().is_empty());
        for family in left_out {
            eprint_line(&format!("without {}: {}", family.word(), family.left_out()));
        }
    }
    eprint_line(&format!("seed {}, {} acts each", plan.seed, plan.size));
    line("     Running histories (target/debug/xsld-histories)");
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let Outcome { passed, failed } = run(&runtime, plan, &line)?;
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    line(&format!("test result: {word}. {passed} passed; {} failed; 0 ignored", failed.len()));
    Ok(failed.is_empty())
}

fn eprint_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn plan(options: &Options) -> anyhow::Result<Plan> {
    let mut all = match &options.kept {
        Some(folder) => scripts(folder)?,
        None => Vec::new(),
    };
    for file in &options.replay {
        all.push(script(file)?);
    }
    let hours = options.hours.map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3600.0));
    let seed = options.seed.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0));
    Ok(Plan {
        scripts: all,
        count: options.count,
        time: hours.or(options.seconds.map(Duration::from_secs)),
        seed,
        size: options.size,
        weights: if options.all_acts { Weights::All } else { Weights::Share },
        threads: options.threads,
        tries: if options.shrink { options.tries } else { 0 },
    })
}
