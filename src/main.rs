//! The operator's program: reads the options and hands over.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use xsld_journal::cli as journal;
use xsld_operator::admin::client;
use xsld_operator::args::{Cli, Cluster, Command, Crds, Endpoint, Journal, Plugin, PluginCommand};
use xsld_operator::clock::{Clock, SystemClock};
use xsld_operator::{crd, run, telemetry};

/// The name under which the program is a plugin of kubectl.
const PLUGIN: &str = "kubectl-xsld";

fn main() -> ExitCode {
    // The one TLS provider; a second installation can only be the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let called = std::env::args_os().next().map(PathBuf::from);
    if called.as_ref().and_then(|path| path.file_stem()).is_some_and(|name| name == PLUGIN) {
        let Plugin { endpoint, cluster, options, command } = Plugin::parse();
        let remote = endpoint.url.is_some() || options.journal_dir.is_none();
        return match command {
            PluginCommand::Plan(plan) => {
                client::plan::main(&endpoint, &cluster, &plan, options.output)
            }
            PluginCommand::Journal(command) => {
                look(remote, &endpoint, &cluster, journal::Cli { options, command })
            }
        };
    }
    match Cli::parse().command {
        Command::Run(args) => finish(operate(&args)),
        Command::Crds(args) => finish(print_crds(&args).map_err(|error| (2, error.to_string()))),
        Command::Completions(args) => finish(written(args.run())),
        Command::Man(args) => finish(written(args.run())),
        Command::Journal(journal) => {
            let Journal { endpoint, cluster, cli } = *journal;
            look(endpoint.url.is_some(), &endpoint, &cluster, cli)
        }
    }
}

/// Looks at a journal: a running operator's over its endpoint, or one that lies here.
fn look(remote: bool, endpoint: &Endpoint, cluster: &Cluster, mut cli: journal::Cli) -> ExitCode {
    if remote {
        return client::main(endpoint, cluster, cli);
    }
    cli.options.now_us = Some(SystemClock::new().wall().as_microsecond());
    journal::main(&cli)
}

fn operate(args: &xsld_operator::args::Run) -> Result<(), (u8, String)> {
    telemetry::init(args.log_format, &args.log).map_err(|error| (2, error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| (2, format!("no threads to run on: {error}")))?;
    runtime.block_on(run::run(args)).map_err(|exit| (exit.code, exit.reason))
}

fn print_crds(args: &Crds) -> std::io::Result<()> {
    let definitions = crd::all();
    match &args.write {
        Some(folder) => definitions.iter().try_for_each(|found| {
            std::fs::write(folder.join(crd::file_name(found)), crd::yaml(found))
        }),
        None => {
            let text: Vec<_> = definitions.iter().map(crd::yaml).collect();
            std::io::stdout().write_all(text.join("---\n").as_bytes())
        }
    }
}

/// A reader that has seen enough is no failure.
fn written(result: std::io::Result<()>) -> Result<(), (u8, String)> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| (2, error.to_string())),
    }
}

fn finish(result: Result<(), (u8, String)>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => {
            let _ = writeln!(std::io::stderr(), "xsld-operator: {reason}");
            ExitCode::from(code)
        }
    }
}
