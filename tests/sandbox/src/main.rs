//! `cargo sandbox`: a real control plane with simulated members, the operator
//! in it, and kubectl on it.
//!
//! Standard output carries two lines for scripts, `export KUBECONFIG=…` and
//! `ready`; everything for people goes to standard error.

mod cargo_build;
mod demo;
mod operator;
mod ui;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use xsld_sim::world::{World, WorldOptions};

use operator::Supervised;
use ui::Ui;

/// How often the control plane's processes are looked at.
const CHECK: Duration = Duration::from_secs(2);

/// Where the plugin of kubectl is, in the world's directory.
const TOOLS: &str = "run/bin";

/// A Kubernetes to play with: a real control plane, simulated XSLD members, and
/// the operator in it.
#[derive(Parser, Debug)]
#[command(name = "cargo sandbox", version)]
struct Args {
    /// Which world to start.
    #[arg(long, value_enum, default_value_t = WorldKind::ControlPlane)]
    world: WorldKind,

    /// The world's directory. What a former sandbox left in it is removed at the
    /// start. [default: target/sandbox]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Divides every duration of the cache: at 60 a join takes 3 seconds instead of 3 minutes.
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = time_scale)]
    time_scale: f64,

    /// How many Nodes there are.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,

    /// Build the operator but do not start it: start it yourself, or as a pod
    /// with the image `xsld-operator`.
    #[arg(long)]
    no_operator: bool,

    /// Tell the story by itself: joins, two kills, scaling, receipts. Ends with a summary and exit
    /// code 0, or with what did not hold.
    #[arg(long)]
    demo: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WorldKind {
    /// etcd, kube-apiserver and kube-controller-manager for real; the rest stands in.
    ControlPlane,
}

fn time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if (0.1..=10_000.0).contains(&scale) => Ok(scale),
        _ => Err("must be a number from 0.1 to 10000".to_owned()),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ui = Ui::new();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&ui, &error.into()),
    };
    match runtime.block_on(run(&args, &ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&ui, &error),
    }
}

fn failed(ui: &Ui, error: &anyhow::Error) -> ExitCode {
    ui.error(&format!("{error:#}"));
    ExitCode::FAILURE
}

async fn run(args: &Args, ui: &Ui) -> Result<()> {
    let mut stop = Stop::new()?;
    let started = tokio::select! {
        started = start(args, ui) => started?,
        // What was started so far is dropped, and with it killed.
        name = stop.wait() => {
            ui.say(&format!("{name}: nothing was started"));
            return Ok(());
        }
    };
    let (mut world, mut operator) = started;
    announce(args, ui, &world)?;
    let ended = tokio::select! {
        ended = stay(args, ui, &mut world, &mut operator) => ended,
        name = stop.wait() => {
            ui.say(&format!("{name}: stopping; once more to stop at once"));
            Ok(())
        }
    };
    let stopped = async {
        if let Some(operator) = operator {
            operator.stop().await?;
        }
        world.stop().await?;
        anyhow::Ok(())
    };
    tokio::select! {
        stopped = stopped => ended.and(stopped),
        _ = stop.wait() => ended,
    }
}

async fn start(args: &Args, ui: &Ui) -> Result<(World, Option<Supervised>)> {
    let root = root();
    let dir = args.dir.clone().unwrap_or_else(|| root.join("target/sandbox"));
    World::check_dir(&dir)?;
    let binary = cargo_build::operator(&root, ui).await?;
    let WorldKind::ControlPlane = args.world;
    let mut options = WorldOptions::new(&dir);
    options.time_scale = args.time_scale;
    options.nodes = usize::from(args.nodes);
    options.operator = Some(binary.clone());
    options.progress = ui.progress();
    let world = World::start(options).await?;
    let crds = world.apply_crds(&root.join("crds")).await?;
    ui.say(&format!("{crds} custom resource definitions applied"));
    link_plugin(&binary, &world)?;
    let operator = match args.no_operator {
        true => None,
        false => Some(Supervised::start(world.operator_config(&binary, "default"), ui).await?),
    };
    Ok((world, operator))
}

/// Gives the program the name by which kubectl finds it as a plugin.
fn link_plugin(binary: &Path, world: &World) -> Result<()> {
    let folder = world.dir().join(TOOLS);
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::os::unix::fs::symlink(binary, folder.join("kubectl-xsld")))
        .with_context(|| format!("cannot link the plugin of kubectl in {}", folder.display()))
}

/// The workspace's root: the sandbox uses its `crds` and builds in it.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap_or(here)
}

/// Tells scripts on standard output and people on standard error.
fn announce(args: &Args, ui: &Ui, world: &World) -> Result<()> {
    let kubeconfig = world.kubeconfig().display().to_string();
    let line = format!("export KUBECONFIG={}", quoted(&kubeconfig));
    let mut out = std::io::stdout().lock();
    // A reader that has gone away does not end the sandbox.
    let _ = writeln!(out, "{line}\nready").and_then(|()| out.flush());
    drop(out);
    let dir = quoted(&world.dir().display().to_string());
    ui.heading("The sandbox is up. In another terminal:");
    ui.command(&line);
    ui.command(&format!("export PATH={dir}/{TOOLS}:$PATH"));
    if args.no_operator {
        let binary = std::env::current_exe()?.with_file_name("xsld-operator");
        let binary = quoted(&binary.display().to_string());
        ui.command(&format!(
            "env $(cat {dir}/operator.env) {binary} run --journal-dir {dir}/journal"
        ));
    }
    // The sample names a ConfigMap with its entry point, so both go together.
    let samples = "-f crds/samples/ip-update-entrypoint.yaml -f crds/samples/xsldcache.yaml";
    ui.command(&format!("kubectl apply {samples}"));
    ui.command("kubectl get xsldcache,pods,pvc --watch");
    if !args.no_operator {
        ui.command("kubectl xsld log --follow");
        ui.command("kubectl xsld plan default/example-xsldcache --size 3");
        ui.command(&format!("tail -f {dir}/operator.log"));
    }
    let faults = world.faults_address();
    ui.say("To break something (all faults: docs/sandbox-faults.md):");
    ui.command(&format!(
        "curl -d '{{\"fault\":\"crash\",\"count\":1}}' {faults}/members/default/example-xsldcache-0"
    ));
    ui.command(&format!("curl -d '{{\"fault\":\"stop\"}}' {faults}/nodes/node-1"));
    ui.say("Ctrl-C ends it; nothing stays running.");
    Ok(())
}

/// A path as one word of a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Runs until something of the sandbox fails for good.
async fn stay(
    args: &Args,
    ui: &Ui,
    world: &mut World,
    operator: &mut Option<Supervised>,
) -> Result<()> {
    if args.demo {
        let operator =
            operator.as_mut().context("--demo needs the operator: drop --no-operator")?;
        return demo::run(world, operator, ui).await;
    }
    let mut check = tokio::time::interval(CHECK);
    loop {
        tokio::select! {
            _ = check.tick() => world.check_running()?,
            ended = watch(operator, ui) => ended?,
        }
    }
}

async fn watch(operator: &mut Option<Supervised>, ui: &Ui) -> Result<()> {
    match operator {
        Some(operator) => operator.keep_running(ui).await,
        None => std::future::pending().await,
    }
}

/// The signals that end the sandbox.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn a_time_scale_is_a_positive_number() {
        assert_eq!(time_scale("60"), Ok(60.0));
        for wrong in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(time_scale(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_with_spaces_or_quotes_stays_one_word() {
        assert_eq!(quoted("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quoted("/a b"), "'/a b'");
        assert_eq!(quoted("/it's"), r"'/it'\''s'");
    }
}
