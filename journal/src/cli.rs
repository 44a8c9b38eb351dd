//! The commands that inspect a journal: `xsld-operator journal ...`.
//!
//! They read the audit file and nothing else: never a live sled, no lock, no write. So they work
//! while the operator runs, on a stopped one's directory and on a copy, and they say first, on
//! stderr, what they read. Data goes to stdout, everything else to stderr.
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

use crate::audit::{Assembler, Item, Lines, Unreadable, segments};
use crate::event::OperationId;
use crate::store::ledger::Entry;

mod check;
mod describe;
mod log;
mod output;
mod select;
mod show;
mod state;

use output::Output;
use select::{CacheName, Point};

/// Inspects a journal.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// Directory of the journal: a running operator's, a stopped one's, or a copy.
    #[arg(long, global = true, value_name = "DIR", env = "XSLD_OPERATOR_JOURNAL_DIR")]
    pub journal_dir: Option<PathBuf>,

    /// How data is printed. JSON is one object a line.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub output: Format,

    /// What to look at.
    #[command(subcommand)]
    pub command: Command,
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
    /// Shows what the records fold to, now or at any past record.
    #[command(after_help = "\
Examples:
  xsld-operator journal state
  xsld-operator journal state --cache shop/sessions
  xsld-operator journal state --cache shop/sessions --at 2026-05-01T12:00:00Z -o yaml")]
    State(state::State),
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
    #[error("which journal? Name its directory with --journal-dir or XSLD_OPERATOR_JOURNAL_DIR")]
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
    let gone = || reader_is_gone(&stdout);
    ExitCode::from(run_with(cli, colour, &gone, &mut stdout.lock(), &mut io::stderr()))
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
    let mut output = Output::new(stdout, stderr, cli.output, colour, reader_is_gone);
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
    let source = Source::open(cli.journal_dir.clone().ok_or(Error::NoDirectory)?, output)?;
    match &cli.command {
        Command::Log(log) => log.run(&source, output),
        Command::Show(show) => show.run(&source, output),
        Command::State(state) => state.run(&source, output),
        Command::Check(check) => check.run(&source, output),
    }?;
    output.flush()
}

/// What is read.
struct Source {
    dir: PathBuf,
}

impl Source {
    fn open(dir: PathBuf, output: &mut Output<'_>) -> Result<Self, Error> {
        let found = segments(&dir).map_err(|source| Error::Read { dir: dir.clone(), source })?;
        if found.is_empty() {
            return Err(Error::NoJournal(dir));
        }
        let files = if found.len() == 1 { "1 segment" } else { "segments" };
        let count = if found.len() == 1 { String::new() } else { format!("{} ", found.len()) };
        output.tell(&format!("reading the audit file in {} ({count}{files})", dir.display()))?;
        Ok(Self { dir })
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Read { dir: self.dir.clone(), source }
    }

    /// Hands over everything that stands in the audit file now, in order.
    fn each(&self, mut take: impl FnMut(Item) -> Result<(), Error>) -> Result<(), Error> {
        let mut assembler = Assembler::default();
        let found = segments(&self.dir).map_err(|error| self.failed(error))?;
        for line in Lines::new(found) {
            for item in assembler.push(line.map_err(|error| self.failed(error))?) {
                take(item)?;
            }
        }
        Ok(())
    }

    /// All readable records. What cannot be read is told and passed over.
    fn entries(&self, output: &mut Output<'_>) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.each(|item| {
            match item {
                Item::Record(found) => entries.push(found.entry),
                Item::Unreadable(unreadable) => output.unreadable(&unreadable)?,
            }
            Ok(())
        })?;
        Ok(entries)
    }
}

/// An operation id or the beginning of one.
fn operation_matches(operation: Option<OperationId>, prefix: &str) -> bool {
    operation.is_some_and(|operation| operation.to_string().starts_with(&prefix.to_lowercase()))
}

#[cfg(test)]
mod tests;
