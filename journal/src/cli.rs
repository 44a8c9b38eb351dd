//! The commands that inspect a journal: `xsld-operator journal ...`.
//!
//! They read the audit file and nothing else: never a live sled, no lock, and no write but of the
//! new files of `export` and `import` (and `compact` and `resolve`, which need a stopped operator).
//! So they work while the operator runs, on a stopped one's
//! directory, on a copy and on an export, and they say first, on stderr, what they read. Data goes
//! to stdout, everything else to stderr.
//!
//! | exit | means |
//! | --- | --- |
//! | 0 | done, and what was read is whole |
//! | 1 | something was found: a damaged line, an illegal record |
//! | 2 | the command could not be carried out |
//! | 3 | records are missing |
//! | 4 | another record is where one is known |
//! | 5 | a newer program wrote some of it |

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::audit::{ExportError, Unreadable};
use crate::event::OperationId;
use crate::store::OpenError;

mod attempts;
mod check;
mod compact;
mod describe;
mod diff;
mod export;
mod log;
mod output;
mod pager;
mod replay;
mod resolve;
mod select;
mod show;
mod source;
mod state;
mod stats;
mod steps;
mod why;

use output::Output;
pub use output::escape;
pub use resolve::Resolve;
use select::{CacheName, Point};
use source::Source;

/// Inspects a journal.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// Which one, and how it is printed.
    #[command(flatten)]
    pub options: Options,

    /// What to look at.
    #[command(subcommand)]
    pub command: Command,
}

/// Which journal, and how it is printed.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// The journal: the directory of a running operator's, of a stopped one's or of a copy, or the
    /// file of an export.
    #[arg(long, global = true, value_name = "DIR|FILE", env = "XSLD_OPERATOR_JOURNAL_DIR")]
    pub journal_dir: Option<PathBuf>,

    /// Never use a pager. Without this, what is printed on a terminal goes through $PAGER.
    #[arg(long, global = true)]
    pub no_pager: bool,

    /// How data is printed. JSON is one object a line.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,

    /// Wall time in microseconds since 1970, told by the program: nothing in here reads a clock.
    /// Without it nothing can be recorded.
    #[arg(skip)]
    pub now_us: Option<i64>,

    /// Told by the program: it appends to the export that is read, so that it can be followed.
    #[arg(skip)]
    pub grows: bool,
}

const EXAMPLES: &str = "\
Examples:
  What has happened, and what is happening:
    xsld-operator journal log --journal-dir /var/lib/xsld --follow
  What was done to one cache since noon:
    xsld-operator journal log --cache shop/sessions --since 2026-05-01T12:00:00Z
  One operation, from intent to outcome, with its evidence:
    xsld-operator journal show 01970f3e-2a41
  What was known of a cache when record 120 was written:
    xsld-operator journal state --cache shop/sessions --at 120
  Why it is as it is, or what it waits for:
    xsld-operator journal why shop/sessions
  What differs since before the incident:
    xsld-operator journal diff 2026-05-01T12:00:00Z
  Whether anything was lost or altered:
    xsld-operator journal check

Exit codes: 0 whole, 1 findings, 2 error, 3 records are missing, 4 fork, 5 newer format.";

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One object a line.
    Json,
    /// One document an object.
    Yaml,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Prints the records.
    #[command(after_help = "\
Examples:
  xsld-operator journal log --since 100
  xsld-operator journal log --cache shop/sessions --since 2026-05-01 --until 2026-05-02
  xsld-operator journal log --operation 01970f3e -o json | jq .type
  xsld-operator journal log --follow")]
    Log(log::Log),
    /// Shows one operation: every step's intent, evidence and outcome.
    #[command(after_help = "\
Examples:
  xsld-operator journal show 01970f3e-2a41
  xsld-operator journal show 01970f3e-2a41 -o json | jq '.steps[] | {step, outcome}'")]
    Show(show::Show),
    /// Lists every attempt of every step: where its request went, what came of it, how long it
    /// took.
    #[command(after_help = "\
Examples:
  xsld-operator journal steps --cache shop/sessions --repeated
  xsld-operator journal steps --sent-to 2
  xsld-operator journal steps --kind join_member -o json | jq '{description, duration_us}'")]
    Steps(steps::Steps),
    /// Explains a cache: the chain of records behind its present state, a wait or a deletion.
    #[command(after_help = "\
Examples:
  xsld-operator journal why shop/sessions
  xsld-operator journal why shop/sessions --at 2026-05-01T12:03:00Z
  xsld-operator journal why shop/sessions --member 2
  xsld-operator journal why shop/sessions --claim data-sessions-2")]
    Why(why::Why),
    /// Shows what the records fold to, now or at any past record.
    #[command(after_help = "\
Examples:
  xsld-operator journal state
  xsld-operator journal state --cache shop/sessions
  xsld-operator journal state --cache shop/sessions --at 2026-05-01T12:00:00Z -o yaml")]
    State(state::State),
    /// Shows what differs between two records or times, field by field.
    #[command(after_help = "\
Examples:
  xsld-operator journal diff 100 120
  xsld-operator journal diff 2026-05-01T12:00:00Z --cache shop/sessions")]
    Diff(diff::Diff),
    /// Folds all records again and prints what they come to, with a digest that is the same
    /// wherever the same program folds the same records.
    #[command(after_help = "\
Examples:
  xsld-operator journal replay
  xsld-operator journal replay --until 120 -o json")]
    Replay(replay::Replay),
    /// Counts records and bytes, and tells how long operations and steps took.
    #[command(after_help = "\
Examples:
  xsld-operator journal stats
  xsld-operator journal stats --cache shop/sessions -o json | jq 'select(.kind == \"step\")'")]
    Stats(stats::Stats),
    /// Writes all records into one file, to be looked at or replayed elsewhere.
    #[command(after_help = "\
The file holds what the journal holds: names, addresses and UIDs, but no secrets.

Examples:
  xsld-operator journal export incident.jsonl.gz
  xsld-operator journal log --journal-dir incident.jsonl.gz")]
    Export(export::Export),
    /// Makes a journal's directory out of an export, if the export is whole.
    #[command(after_help = "\
Examples:
  xsld-operator journal import incident.jsonl.gz ./journal")]
    Import(export::Import),
    /// Records what a person decided about a parked operation.
    #[command(after_help = resolve::HELP)]
    Resolve(resolve::Resolve),
    /// Makes the copy of the journal that queries are served from anew, as small as its records.
    #[command(after_help = "\
Only while no operator runs on the directory. The audit file is not touched, and the former copy
is kept; older ones are deleted.

Examples:
  xsld-operator journal compact --destructive --journal-dir /var/lib/xsld")]
    Compact(compact::Compact),
    /// Checks that the journal is whole, unaltered and legal.
    #[command(after_help = "\
Without --anchor the journal is compared with itself only: a journal that lost its last records
as a whole is found only by comparing it with an anchor that was kept elsewhere.

Examples:
  xsld-operator journal check
  xsld-operator journal check --anchor 120:5f0c…   (sequence and hash, as the anchor names them)")]
    Check(check::Check),
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// No directory was named.
    #[error(
        "which journal? Name its directory with --journal-dir or XSLD_OPERATOR_JOURNAL_DIR, or a \
         running operator with --endpoint"
    )]
    NoDirectory,
    /// The directory could not be read.
    #[error("cannot read the journal in {}: {source}", dir.display())]
    Read {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no audit file in it.
    #[error("there is no journal in {}", .0.display())]
    NoJournal(PathBuf),
    /// The file is not an export.
    #[error("cannot read {}: {source}", path.display())]
    Export {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ExportError,
    },
    /// A directory where an export is wanted.
    #[error("{} is a directory; an export is a file", .0.display())]
    NotAFile(PathBuf),
    /// Something could not be made, or is there already.
    #[error("cannot write {}: {source}", path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal could not be compacted.
    #[error("nothing was compacted: {0}")]
    Compact(Box<OpenError>),
    /// The journal could not be opened to record something in it.
    #[error("nothing was recorded: {0}")]
    Open(String),
    /// The decision is not one that can be recorded.
    #[error("nothing was recorded: {0}")]
    Refused(Box<crate::decision::Refused>),
    /// Nothing fits what was asked for.
    #[error("{0}")]
    NotFound(String),
    /// The output could not be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Carries out a command on the process's own stdout and stderr. Colour is left out where stdout
/// is not a terminal or `NO_COLOR` is set.
pub fn main(cli: &Cli) -> ExitCode {
    let stdout = io::stdout();
    let choice = anstream::AutoStream::choice(&stdout);
    let colour = stdout.is_terminal() && choice != anstream::ColorChoice::Never;
    if stdout.is_terminal()
        && let Some(code) = main_with_pager(cli, colour)
    {
        return code;
    }
    let gone = || reader_is_gone(&stdout);
    ExitCode::from(run_with(cli, colour, &gone, &mut stdout.lock(), &mut io::stderr()))
}

/// Carries out a command whose output goes through a pager; none where there is to be none.
fn main_with_pager(cli: &Cli, colour: bool) -> Option<ExitCode> {
    let mut pager = pager::start(cli)?;
    let mut to = pager.stdin.take()?;
    let code = run_with(cli, colour, &|| false, &mut to, &mut io::stderr());
    // The pager leaves when it has read to the end and the person has seen enough.
    drop(to);
    let _seen = pager.wait();
    Some(ExitCode::from(code))
}

/// Whether stdout is a pipe whose other end is closed. A write would tell, but a followed log may
/// have nothing to write for a long time.
fn reader_is_gone(stdout: &io::Stdout) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut pipe = [PollFd::new(stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = poll(&mut pipe, Some(&now)).is_ok_and(|told| told > 0);
    told && pipe[0].revents().contains(PollFlags::ERR)
}

/// Carries out a command without colour and gives its exit code.
pub fn run(cli: &Cli, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    run_with(cli, false, &|| false, stdout, stderr)
}

fn run_with(
    cli: &Cli,
    colour: bool,
    reader_is_gone: &dyn Fn() -> bool,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let mut output = Output::new(stdout, stderr, cli.options.output, colour, reader_is_gone);
    match dispatch(cli, &mut output) {
        Ok(()) => output.exit_code(),
        // Whoever reads has seen enough.
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            output.tell_last(&format!("error: {error}"));
            2
        }
    }
}

fn dispatch(cli: &Cli, output: &mut Output<'_>) -> Result<(), Error> {
    if let Command::Import(import) = &cli.command {
        import.run(output)?;
        return output.flush();
    }
    if let Command::Compact(compact) = &cli.command {
        compact.run(cli.options.journal_dir.as_deref().ok_or(Error::NoDirectory)?, output)?;
        return output.flush();
    }
    if let Command::Resolve(resolve) = &cli.command {
        let dir = cli.options.journal_dir.as_deref().ok_or(Error::NoDirectory)?;
        resolve.run(dir, cli.options.now_us, output)?;
        return output.flush();
    }
    let path = cli.options.journal_dir.clone().ok_or(Error::NoDirectory)?;
    let source = Source::open(path, cli.options.grows, output)?;
    match &cli.command {
        Command::Log(log) => log.run(&source, output),
        Command::Show(show) => show.run(&source, output),
        Command::State(state) => state.run(&source, output),
        Command::Check(check) => check.run(&source, output),
        Command::Steps(steps) => steps.run(&source, output),
        Command::Why(why) => why.run(&source, output),
        Command::Diff(diff) => diff.run(&source, output),
        Command::Replay(replay) => replay.run(&source, output),
        Command::Stats(stats) => stats.run(&source, output),
        Command::Export(export) => export.run(&source, output),
        // Carried out above: they read no journal.
        Command::Import(_) | Command::Compact(_) | Command::Resolve(_) => Ok(()),
    }?;
    output.flush()
}

/// An operation id or the beginning of one.
fn operation_matches(operation: Option<OperationId>, prefix: &str) -> bool {
    operation.is_some_and(|operation| operation.to_string().starts_with(&prefix.to_lowercase()))
}

#[cfg(test)]
mod tests;
