//! `kubectl xsld ...` and `journal ... --endpoint`: the journal's commands on a running operator.
//!
//! What is read comes as an export, is kept in a file while the command runs, and is verified like
//! any other. What is decided is sent.

use std::error::Error as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use secrecy::ExposeSecret;
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use xsld_journal::audit::{Header, read_header};
use xsld_journal::chain::from_hex;
use xsld_journal::check::Anchor;
use xsld_journal::cli::{Cli, Command, Format, Options, Resolve};

use super::journal::{Decision, Problem, Recorded};
use super::reach::{Reached, reach};
use crate::args::{Cluster, Endpoint};
use crate::telemetry::chain;
use crate::xsld::https::client_config;

pub mod plan;

/// How long a connection, or a silence of the operator, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is not a journal, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// The longest answer of new records, in bytes: many times what the operator sends at once.
const NEW_MAX: usize = 64 << 20;
/// Between two questions after one that was not answered.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the operator could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one.
    #[error("`{0}` is no endpoint: write it as https://HOST:PORT")]
    Url(String),
    /// A fingerprint is not one.
    #[error("`{0}` is no fingerprint: SHA-256 of a certificate has 64 hexadecimal digits")]
    Fingerprint(String),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(String),
    /// The cluster cannot be found.
    #[error("the cluster cannot be asked where the operator is: {0}")]
    Kubeconfig(String),
    /// There is no token.
    #[error(
        "there is no token to show: {0}; make one, such as with `kubectl create token`, and name its \
         file with --token-file"
    )]
    Token(String),
    /// The anchor cannot be read.
    #[error(
        "where the operator in namespace {namespace} serves its journal cannot be read: {reason}"
    )]
    Anchor {
        /// Where it was looked for.
        namespace: String,
        /// Why not.
        reason: String,
    },
    /// There is none.
    #[error("there is no operator's journal in namespace {0}; name its namespace with --namespace")]
    NoOperator(String),
    /// It serves no journal.
    #[error(
        "the operator in namespace {0} does not serve its journal: start it with --journal-listen"
    )]
    NotServed(String),
    /// Its pod cannot be reached.
    #[error("the port of pod {pod} cannot be forwarded: {reason}")]
    Forward {
        /// Which pod.
        pod: String,
        /// Why.
        reason: String,
    },
    /// The command is about files.
    #[error("`{0}` works on a directory of a stopped operator: name it with --journal-dir")]
    Directory(&'static str),
    /// The operator did not answer.
    #[error("the operator at {url} did not answer: {reason}")]
    Silent {
        /// Where it was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// The operator refused.
    #[error("the operator refused ({status}): {reason}")]
    Refused {
        /// Status of its answer.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// There is nothing to plan for.
    #[error(transparent)]
    Proposal(#[from] plan::ProposalError),
    /// What is followed is not there any more.
    #[error("the operator has begun another journal: follow that one with a new command")]
    Replaced,
    /// The operator's journal is not the one that is anchored.
    #[error(
        "the API server's anchor is of journal {anchored}, the operator's journal is {served}: try \
         again, for it may just have begun another one"
    )]
    OtherJournal {
        /// By the anchor.
        anchored: Uuid,
        /// By the operator.
        served: Uuid,
    },
    /// Something here could not be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl Error {
    /// Whether the same question may be answered a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Url(_)
            | Self::Fingerprint(_)
            | Self::File { .. }
            | Self::Tls(_)
            | Self::Kubeconfig(_)
            | Self::Token(_)
            | Self::Anchor { .. }
            | Self::NoOperator(_)
            | Self::NotServed(_)
            | Self::Forward { .. }
            | Self::Directory(_)
            | Self::Proposal(_)
            | Self::Replaced
            | Self::OtherJournal { .. }
            | Self::Write(_) => false,
        }
    }
}

/// What is left to do once the operator was asked.
enum Asked {
    /// Nothing.
    Done,
    /// The command reads this.
    Read(NamedTempFile, Box<Cli>),
    /// The command reads this while what is new is appended to it.
    Follow(NamedTempFile, Box<Operator>),
}

/// Carries out a command on a running operator.
pub fn main(endpoint: &Endpoint, cluster: &Cluster, cli: Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(Error::from).and_then(|runtime| {
        let asked = runtime.block_on(ask(endpoint, cluster, &cli))?;
        Ok((runtime, asked))
    });
    // The reader blocks and may start a pager: it stays out of the runtime.
    match asked {
        Ok((_, Asked::Done)) => ExitCode::SUCCESS,
        Ok((_, Asked::Read(journal, cli))) => read(&journal, false, *cli),
        Ok((runtime, Asked::Follow(journal, operator))) => {
            let stop = CancellationToken::new();
            let (stopped, path) = (stop.clone(), journal.path().to_owned());
            let following = std::thread::spawn(move || {
                runtime.block_on(stopped.run_until_cancelled(operator.follow(&path)))
            });
            let code = read(&journal, true, cli);
            stop.cancel();
            let _ended = following.join();
            code
        }
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => told(&error),
    }
}

fn told(error: &Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::from(2)
}

fn read(journal: &NamedTempFile, grows: bool, cli: Cli) -> ExitCode {
    let journal_dir = Some(journal.path().to_owned());
    let options = Options { journal_dir, grows, ..cli.options };
    xsld_journal::cli::main(&Cli { options, ..cli })
}

/// Sends the decision, or fetches the journal for the command to read.
async fn ask(endpoint: &Endpoint, cluster: &Cluster, cli: &Cli) -> Result<Asked, Error> {
    match &cli.command {
        Command::Import(_) => return Err(Error::Directory("import")),
        Command::Compact(_) => return Err(Error::Directory("compact")),
        Command::Log(_)
        | Command::Show(_)
        | Command::Steps(_)
        | Command::Why(_)
        | Command::State(_)
        | Command::Diff(_)
        | Command::Replay(_)
        | Command::Stats(_)
        | Command::Export(_)
        | Command::Resolve(_)
        | Command::Check(_) => {}
    }
    let operator = Operator::new(reach(endpoint, cluster).await?)?;
    if let Command::Resolve(resolve) = &cli.command {
        tell(&operator.send(resolve).await?, cli.options.output)?;
        return Ok(Asked::Done);
    }
    let journal = operator.fetch().await?;
    match &cli.command {
        Command::Log(log) if log.follows() => Ok(Asked::Follow(journal, Box::new(operator))),
        _ => {
            let cli = Box::new(anchored(&operator, &journal, cli.clone())?);
            Ok(Asked::Read(journal, cli))
        }
    }
}

/// The command; a check compares with what the API server keeps of the journal, which was read
/// before the journal was, so that its record must be there.
fn anchored(operator: &Operator, journal: &NamedTempFile, mut cli: Cli) -> Result<Cli, Error> {
    let (Command::Check(check), Some(anchor)) = (&mut cli.command, &operator.reached.anchor) else {
        return Ok(cli);
    };
    let served = read_header(journal.path()).map_err(io::Error::other)?.journal;
    if served != anchor.journal_id {
        return Err(Error::OtherJournal { anchored: anchor.journal_id, served });
    }
    let seq = anchor.seq;
    if let Some(hash) = from_hex(&anchor.hash)
        && check.compare_with(Anchor { seq, hash })
    {
        let _ = writeln!(io::stderr(), "comparing with the API server's anchor: record {seq}");
    }
    Ok(cli)
}

fn tell(recorded: &Recorded, format: Format) -> Result<(), Error> {
    let mut stdout = io::stdout();
    match format {
        Format::Json | Format::Yaml => write!(stdout, "{}", format.document(recorded)?)?,
        Format::Table => writeln!(
            stdout,
            "recorded as {}: {} decided `{}`; the operator acts on it",
            recorded.seq,
            recorded.who.escape_debug(),
            recorded.decision
        )?,
    }
    Ok(())
}

/// The operator that is asked.
struct Operator {
    client: Client,
    reached: Reached,
}

impl Operator {
    fn new(reached: Reached) -> Result<Self, Error> {
        let tls = |reason: &dyn std::fmt::Display| Error::Tls(reason.to_string());
        let (config, _) = client_config(&reached.trust).map_err(|error| tls(&error))?;
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .build()
            .map_err(|error| tls(&error))?;
        Ok(Self { client, reached })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.reached.url.clone();
        url.set_path(path);
        self.client.request(method, url).bearer_auth(self.reached.token.expose_secret())
    }

    fn silent(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let cause = error.source().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
        Error::Silent { url: self.reached.url.to_string(), reason: format!("{error}{cause}") }
    }

    fn unreadable(&self, reason: String) -> Error {
        Error::Silent { url: self.reached.url.to_string(), reason }
    }

    /// Sends a request; anything but a success is a refusal.
    async fn answered(&self, request: RequestBuilder) -> Result<Response, Error> {
        let answer = request.send().await.map_err(|error| self.silent(error))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let body = self.body(answer, ANSWER_MAX).await.unwrap_or_default();
        let reason = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.error.escape_debug().to_string(),
            Err(_) => "it says no more".to_owned(),
        };
        Err(Error::Refused { status: status.as_u16(), reason })
    }

    async fn body(&self, mut answer: Response, max: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(error))? {
            if body.len() + chunk.len() > max {
                return Err(self.unreadable("its answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn send(&self, resolve: &Resolve) -> Result<Recorded, Error> {
        let decision = Decision {
            operation: resolve.operation.clone(),
            expect_head: resolve.expect_head,
            decision: resolve.decision.clone(),
            reason: resolve.reason.clone(),
        };
        let url = &self.reached.url;
        let _ = writeln!(io::stderr(), "sending the decision to the operator at {url}");
        let request = self.request(Method::POST, "/v1/decisions").json(&decision);
        let body = self.body(self.answered(request).await?, ANSWER_MAX).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.unreadable(format!("its answer cannot be read: {error}")))
    }

    /// The journal as it is now, in a file that goes when it is dropped.
    async fn fetch(&self) -> Result<NamedTempFile, Error> {
        let mut answer = self.answered(self.request(Method::GET, "/v1/journal")).await?;
        let mut file =
            tempfile::Builder::new().prefix("xsld-journal-").suffix(".jsonl").tempfile()?;
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.silent(error))? {
            file.write_all(&chunk)?;
        }
        file.flush()?;
        let url = &self.reached.url;
        let _ = writeln!(io::stderr(), "reading the journal of the operator at {url}");
        Ok(file)
    }

    /// Appends to an export what the journal takes from now on. When that cannot go on any more the
    /// program ends: who follows would wait for ever.
    async fn follow(&self, path: &Path) {
        let mut growing = match Growing::open(path) {
            Ok(growing) => growing,
            Err(error) => end(path, &error),
        };
        let mut misses = 0;
        loop {
            match self.more(&mut growing).await {
                Ok(()) => misses = 0,
                // A moment in which it is busy or away is waited for, but not for ever.
                Err(error) if error.is_retryable() && PAUSE * misses < PATIENCE => {
                    misses += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => end(path, &error),
            }
        }
    }

    /// Asks for what is new; the operator answers when there is something, or after a while.
    async fn more(&self, growing: &mut Growing) -> Result<(), Error> {
        let request = self.request(Method::GET, "/v1/journal");
        let request = request.query(&[("after", growing.last)]);
        let body = self.body(self.answered(request).await?, NEW_MAX).await?;
        growing.take(&body, |reason| self.unreadable(reason.to_owned()))
    }
}

/// An export to which records are appended as they are told.
struct Growing {
    file: File,
    journal: Uuid,
    /// Sequence of its last record.
    last: u64,
}

impl Growing {
    fn open(path: &Path) -> Result<Self, Error> {
        let header = read_header(path).map_err(io::Error::other)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file, journal: header.journal, last: header.last_seq })
    }

    /// Appends the records of an answer, if it is whole.
    fn take(&mut self, body: &[u8], unreadable: impl Fn(&str) -> Error) -> Result<(), Error> {
        let (first, records) = body
            .iter()
            .position(|byte| *byte == b'\n')
            .and_then(|end| body.split_at_checked(end + 1))
            .ok_or_else(|| unreadable("its answer has no first line"))?;
        let header: Header = serde_json::from_slice(first)
            .map_err(|_| unreadable("its answer is no export of a journal"))?;
        if header.journal != self.journal || header.first_seq != self.last + 1 {
            return Err(Error::Replaced);
        }
        let lines = records.iter().filter(|byte| **byte == b'\n').count() as u64;
        if lines != header.records || records.last().is_some_and(|byte| *byte != b'\n') {
            return Err(unreadable("its answer broke off"));
        }
        self.file.write_all(records)?;
        self.last += header.records;
        Ok(())
    }
}

fn end(path: &Path, error: &Error) -> ! {
    told(error);
    // Nothing else removes the file: the reader holds it.
    let _gone = std::fs::remove_file(path);
    std::process::exit(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: Uuid = Uuid::from_u128(7);

    fn answer(first: u64, records: u64, lines: &str) -> Vec<u8> {
        let last = (first + records - 1, "0".repeat(64));
        let header = Header::new(JOURNAL, records, first, last);
        format!("{}\n{lines}", serde_json::to_string(&header).unwrap()).into_bytes()
    }

    fn take(growing: &mut Growing, body: &[u8]) -> Result<(), Error> {
        growing.take(body, |reason| Error::Silent { url: String::new(), reason: reason.to_owned() })
    }

    #[test]
    fn what_is_new_is_appended_once_and_an_answer_that_broke_off_not_at_all() {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), answer(1, 2, "a\nb\n")).unwrap();
        let before = std::fs::read_to_string(file.path()).unwrap();
        let mut growing = Growing::open(file.path()).unwrap();
        for broken in [answer(3, 2, "c\n"), answer(3, 2, "c\nd"), b"{}".to_vec(), vec![]] {
            assert!(take(&mut growing, &broken).unwrap_err().is_retryable());
        }
        take(&mut growing, &answer(3, 2, "c\nd\n")).unwrap();
        take(&mut growing, &answer(5, 0, "")).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), before + "c\nd\n");
        // Its operator began another journal, or went back behind what was told.
        assert!(matches!(take(&mut growing, &answer(3, 2, "c\nd\n")), Err(Error::Replaced)));
    }
}
