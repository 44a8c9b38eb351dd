//! Every option of the program, with its environment name and its unit.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::telemetry::LogFormat;
use crate::times::Times;

mod journal;

pub use journal::JournalArgs;

/// Kubernetes operator for IBM WebSphere eXtreme Scale Liberty Deployment cache groups.
#[derive(Debug, Parser)]
#[command(name = "xsld-operator", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the operator until SIGTERM or Ctrl-C.
    Run(Box<Run>),
    /// Prints the custom resource definitions as YAML.
    Crds(Crds),
    /// Inspects a journal: of a running operator's directory or endpoint, of a stopped one's, or of
    /// a copy.
    Journal(Box<Journal>),
    /// Prints the completions of this program for a shell.
    #[command(after_help = "\
Examples:
  source <(xsld-operator completions bash)
  xsld-operator completions zsh > ~/.zfunc/_xsld-operator")]
    Completions(Completions),
    /// Writes the man pages of this program and of all its commands.
    Man(Man),
}

/// The program under the name `kubectl-xsld`: kubectl finds it on the PATH as `kubectl xsld`.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-xsld",
    bin_name = "kubectl xsld",
    version,
    about = "Asks the operator of XSLD caches what was done, when, why and on what evidence",
    after_help = PLUGIN_EXAMPLES
)]
pub struct Plugin {
    /// Where a running operator is asked.
    #[command(flatten)]
    pub endpoint: Endpoint,
    /// In which cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Which journal, and how it is printed.
    #[command(flatten)]
    pub options: xsld_journal::cli::Options,
    /// What to look at.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What the plugin can do.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Tells what the operator would do for a spec, step by step, without doing any of it.
    #[command(after_help = PLAN_HELP)]
    Plan(Plan),
    /// The journal's commands.
    #[command(flatten)]
    Journal(xsld_journal::cli::Command),
}

const PLAN_HELP: &str = "\
The plan comes out of the very decisions that the operator makes, followed in a world in which every
step succeeds and nothing else happens: which members join, leave or are restarted, in which order, and
which volume claims would be deleted. Nothing is changed, no member is asked to do anything, and no
proposed password is tried.

Examples:
  What a smaller size would delete:
    kubectl xsld plan shop/sessions --size 3
  What a changed file would lead to:
    kubectl xsld plan -f cache.yaml
  What is still to be done for the spec as it is:
    kubectl xsld plan shop/sessions
  What goes with the cache:
    kubectl xsld plan shop/sessions --delete -o json | jq .deletes

You need the right to create xsldcaches/plan in the cache's namespace, and those that reading the
journal needs to find the operator.

Exit codes: 0 the spec would be reached, 1 it would not or that is not known, 2 there is no plan.";

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The cache; one that is there. Default: the one that the file names.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub cache: Option<String>,

    /// The XsldCache as it would be applied, YAML or JSON; `-` reads it from stdin. Default: as it is.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// With this `spec.size`.
    #[arg(long, value_name = "N")]
    pub size: Option<i32>,

    /// With this `spec.image`.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// As if it were deleted.
    #[arg(long)]
    pub delete: bool,
}

const PLUGIN_EXAMPLES: &str = "\
Examples:
  What has happened, and what is happening:
    kubectl xsld log --follow
  Why a cache is as it is, or what it waits for:
    kubectl xsld why shop/sessions
  What a smaller size would do, and which volumes it would delete:
    kubectl xsld plan shop/sessions --size 3
  A decision about a parked operation, under your own name:
    kubectl xsld resolve 01970f3e --decision retry --expect-head 40 --reason 'the node is back'

The operator is found by the journal's anchor, the ConfigMap xsld-operator-journal in your context's
namespace or in xsld-operator, and its pod is reached through `kubectl port-forward`. You need the
right to get that ConfigMap, to create pods/portforward there, and to get xsldcaches/journal where the
operator works; for `resolve`, to create xsldcaches/decision in the cache's namespace.

Exit codes: 0 whole, 1 findings, 2 error, 3 records are missing, 4 fork, 5 newer format.";

/// Options of `journal`.
#[derive(Debug, Args)]
pub struct Journal {
    /// Where a running operator is asked.
    #[command(flatten)]
    pub endpoint: Endpoint,
    /// In which cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// What to look at.
    #[command(flatten)]
    pub cli: xsld_journal::cli::Cli,
}

/// Where a running operator is asked for its journal, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "A running operator's endpoint")]
pub struct Endpoint {
    /// Read the journal from, and send decisions to, the operator that serves it here; goes before
    /// --journal-dir. `kubectl port-forward` makes an address of a pod's port.
    #[arg(
        id = "endpoint",
        long = "endpoint",
        global = true,
        value_name = "URL",
        env = "XSLD_OPERATOR_ENDPOINT"
    )]
    pub url: Option<String>,

    /// A file with the token to show. Default: the token of the kubeconfig's current user.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Who signed the endpoint's certificate (PEM); it must be for the URL's host.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "fingerprint")]
    pub certificate_authority: Option<PathBuf>,

    /// SHA-256 of the endpoint's certificate: this one and no other, whatever its names. Default:
    /// what the operator wrote beside the journal's anchor.
    #[arg(long, global = true, value_name = "HEX")]
    pub fingerprint: Option<String>,
}

/// In which cluster the operator is looked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "The operator's cluster")]
pub struct Cluster {
    /// The kubeconfig's context. Default: the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// The operator's own namespace. Default: the context's, then xsld-operator.
    #[arg(short, long, global = true, value_name = "NS")]
    pub namespace: Option<String>,

    /// Go to the pod's own address instead of through `kubectl port-forward`.
    #[arg(long, global = true)]
    pub direct: bool,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder to write them into; it must exist.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn run(&self) -> io::Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "xsld-operator", &mut text);
        io::stdout().write_all(&text)
    }
}

impl Man {
    /// Writes one page for each command.
    ///
    /// # Errors
    /// When a page cannot be written.
    pub fn run(&self) -> io::Result<()> {
        clap_mangen::generate_to(Cli::command(), &self.folder)?;
        clap_mangen::generate_to(Plugin::command(), &self.folder)
    }
}

/// Options of `crds`.
#[derive(Debug, Args)]
pub struct Crds {
    /// Write one file per definition into this folder instead.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Namespace whose caches are operated. Default: the kubeconfig context's namespace.
    #[arg(
        long,
        value_name = "NS",
        env = "XSLD_OPERATOR_NAMESPACE",
        conflicts_with = "all_namespaces"
    )]
    pub namespace: Option<String>,

    /// Operate the caches of all namespaces.
    #[arg(long, env = "XSLD_OPERATOR_ALL_NAMESPACES")]
    pub all_namespaces: bool,

    /// Namespace of the Lease and of the journal's anchor. Default: the operated namespace; with
    /// --all-namespaces the namespace that the operator's own pod runs in.
    #[arg(long, value_name = "NS", env = "XSLD_OPERATOR_OPERATOR_NAMESPACE")]
    pub operator_namespace: Option<String>,

    /// Directory of the journal; made when it is missing. It must outlive the process.
    #[arg(long, value_name = "DIR", env = "XSLD_OPERATOR_JOURNAL_DIR")]
    pub journal_dir: PathBuf,

    /// Address for /healthz, /readyz and /metrics. `[::]:8080` is every address of both families.
    #[arg(
        long,
        value_name = "ADDR",
        env = "XSLD_OPERATOR_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Address for the journal over HTTPS: read by `kubectl xsld journal`, and where people's
    /// decisions are taken. Without it the journal is not served. `kubectl xsld` comes by a
    /// forwarded port, which ends at the pod's localhost: in a pod it is `[::]:8443`.
    #[arg(long, value_name = "ADDR", env = "XSLD_OPERATOR_JOURNAL_LISTEN")]
    pub journal_listen: Option<SocketAddr>,

    /// Certificate for that address (PEM, the server's first), read once at start. Default: one
    /// that nobody signed, made at each start; its fingerprint is told in the log.
    #[arg(
        long,
        value_name = "FILE",
        env = "XSLD_OPERATOR_JOURNAL_TLS_CERT",
        requires = "journal_tls_key"
    )]
    pub journal_tls_cert: Option<PathBuf>,

    /// Key of that certificate (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "XSLD_OPERATOR_JOURNAL_TLS_KEY",
        requires = "journal_tls_cert"
    )]
    pub journal_tls_key: Option<PathBuf>,

    /// Form of the log.
    #[arg(long, value_enum, env = "XSLD_OPERATOR_LOG_FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Levels of the log, by module: `info`, `warn,xsld_operator::controller=debug`, ...
    #[arg(long, value_name = "LEVELS", env = "XSLD_OPERATOR_LOG", default_value = "info")]
    pub log: String,

    /// UID of the pod that the operator runs in, from the downward API. Without it the host's
    /// boot id tells one instance from another.
    #[arg(long, value_name = "UID", env = "POD_UID", hide = true)]
    pub pod_uid: Option<String>,

    /// Name of the pod that the operator runs in, from the downward API.
    #[arg(long, value_name = "NAME", env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,

    /// Address of the pod that the operator runs in, from the downward API: what is told where it
    /// listens on every address.
    #[arg(long, value_name = "IP", env = "POD_IP", hide = true)]
    pub pod_ip: Option<IpAddr>,

    /// Namespace of the pod that the operator runs in, from the downward API.
    #[arg(long, value_name = "NS", env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,

    /// How much of the journal is kept.
    #[command(flatten)]
    pub journal: JournalArgs,

    /// The time constants.
    #[command(flatten)]
    pub times: TimeArgs,
}

/// One flag for each time constant. Values are like `200ms`, `3s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Time constants")]
pub struct TimeArgs {
    /// Between two looks at a cache in which something is going on.
    #[arg(long, env = "XSLD_OPERATOR_POLL_ACTIVE", default_value = "5s", value_parser = duration)]
    pub poll_active: Duration,
    /// Between two looks at a cache at rest.
    #[arg(long, env = "XSLD_OPERATOR_POLL_IDLE", default_value = "30s", value_parser = duration)]
    pub poll_idle: Duration,
    /// To connect to a member.
    #[arg(long, env = "XSLD_OPERATOR_CONNECT_TIMEOUT", default_value = "3s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// For one request to a member or to the API server.
    #[arg(long, env = "XSLD_OPERATOR_REQUEST_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,
    /// Between two equal observations that prove something.
    #[arg(long, env = "XSLD_OPERATOR_SETTLE", default_value = "20s", value_parser = duration)]
    pub settle: Duration,
    /// The same where a process died meanwhile; longer than the cache's longest task.
    #[arg(long, env = "XSLD_OPERATOR_ORPHAN", default_value = "330s", value_parser = duration)]
    pub orphan: Duration,
    /// How long a term of leadership lasts without renewal.
    #[arg(long, env = "XSLD_OPERATOR_LEASE", default_value = "30s", value_parser = duration)]
    pub lease: Duration,
    /// Between two renewals of the lease.
    #[arg(long, env = "XSLD_OPERATOR_LEASE_RENEW", default_value = "5s", value_parser = duration)]
    pub lease_renew: Duration,
    /// Between the two equal observations that end a rebuild.
    #[arg(long, env = "XSLD_OPERATOR_REBUILD_QUIET", default_value = "60s", value_parser = duration)]
    pub rebuild_quiet: Duration,
    /// A task of ours without progress for this long is cancelled.
    #[arg(long, env = "XSLD_OPERATOR_TASK_STALL", default_value = "10m", value_parser = duration)]
    pub task_stall: Duration,
    /// Between two writes of the anchor while records are appended.
    #[arg(long, env = "XSLD_OPERATOR_ANCHOR_INTERVAL", default_value = "30s", value_parser = duration)]
    pub anchor_interval: Duration,
    /// How long a member that refused three passwords is left alone.
    #[arg(long, env = "XSLD_OPERATOR_PASSWORD_WINDOW", default_value = "60s", value_parser = duration)]
    pub password_window: Duration,
    /// In which the same fault is put right at most three times before a person is told.
    #[arg(long, env = "XSLD_OPERATOR_CONVERGE", default_value = "1h", value_parser = duration)]
    pub converge: Duration,
}

impl TimeArgs {
    /// The constants that these flags give.
    pub fn times(&self) -> Times {
        Times {
            poll_active: self.poll_active,
            poll_idle: self.poll_idle,
            connect: self.connect_timeout,
            request: self.request_timeout,
            settle: self.settle,
            orphan: self.orphan,
            lease: self.lease,
            lease_renew: self.lease_renew,
            rebuild_quiet: self.rebuild_quiet,
            task_stall: self.task_stall,
            anchor: self.anchor_interval,
            password_window: self.password_window,
            converge: self.converge,
        }
    }
}

/// Reads `200ms`, `3s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong(text))?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong(text)),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(|| wrong(text))
}

fn wrong(text: &str) -> String {
    format!(
        "`{text}` is not a duration; write a whole number and ms, s, m or h, such as 200ms or 30s"
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_are_consistent_and_their_defaults_are_the_documented_times() {
        Cli::command().debug_assert();
        Plugin::command().debug_assert();
        let cli = Cli::parse_from(["xsld-operator", "run", "--journal-dir", "j"]);
        let Command::Run(run) = cli.command else { panic!("not run") };
        assert_eq!(run.times.times(), Times::default());
    }

    #[test]
    fn durations_are_read_with_their_units_and_anything_else_is_refused() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "1d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
