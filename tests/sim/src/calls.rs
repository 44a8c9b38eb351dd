//! The call log: what every member was asked from outside and what came of it.
//!
//! One JSON object a line, in the order in which the effects happened. The oracle of the scenarios
//! reads this file and not the operator's word. Secrets are redacted before they are written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// What stands in place of a secret.
pub const REDACTED: &str = "***";

/// Why the log could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened, read or written.
    #[error("the call log {path} is not usable")]
    File {
        /// The log's path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line that is not the last one is not a call.
    #[error("line {line} of the call log {path} is not a call")]
    Line {
        /// The log's path.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// What the functions of this module return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One line of the log: a call that came from outside, or (with an empty `method`) an effect that
/// came about later, without a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Call {
    /// Dense, from 1, over the whole world.
    pub seq: u64,
    /// When the effect happened or the answer was made.
    pub time: jiff::Timestamp,
    /// The member's namespace.
    pub namespace: String,
    /// The member's cache.
    pub cache: String,
    /// The member that was called, or that tells the effect.
    pub member: String,
    /// The UID of its pod.
    pub pod_uid: String,
    /// The id of its container.
    pub container_id: String,
    /// The HTTP method; empty for an effect without a call.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The task's command; empty where there is none.
    pub command: String,
    /// The command's parameters, or the body's top-level fields; secrets are `***`.
    pub parameters: BTreeMap<String, Value>,
    /// The task's description as the caller gave it.
    pub description: String,
    /// The caller's header `x-request-id`; empty where there is none.
    pub key: String,
    /// The HTTP status that was sent; 0 when the connection ended without an answer.
    pub status: u16,
    /// What came of it, one stable snake_case word; `none` for a read or a refusal.
    pub effect: String,
}

impl Default for Call {
    fn default() -> Self {
        Self {
            seq: 0,
            time: jiff::Timestamp::UNIX_EPOCH,
            namespace: String::new(),
            cache: String::new(),
            member: String::new(),
            pod_uid: String::new(),
            container_id: String::new(),
            method: String::new(),
            path: String::new(),
            command: String::new(),
            parameters: BTreeMap::new(),
            description: String::new(),
            key: String::new(),
            status: 0,
            effect: "none".to_owned(),
        }
    }
}

/// A handle on the log; clones write to the same file.
#[derive(Clone, Debug)]
pub struct CallLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Mutex<Writer>,
    head: watch::Sender<u64>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    seq: u64,
}

impl CallLog {
    /// Opens the log at `path`, makes it when there is none, and goes on after its last whole line.
    ///
    /// A half-written last line (its writer was killed) is cut.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let writer =
            open_at_end(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        let head = watch::Sender::new(writer.seq);
        Ok(Self { inner: Arc::new(Inner { path, writer: Mutex::new(writer), head }) })
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The sequence number of the last line; a change wakes whoever waits for one.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.inner.head.subscribe()
    }

    /// Appends `call` with the next sequence number, the present time and its secrets redacted,
    /// and gives back that number.
    ///
    /// A line that cannot be written is told by `tracing` and lost: a member does not fail
    /// because its observer does.
    pub fn record(&self, mut call: Call) -> u64 {
        redact(&mut call.parameters);
        let mut writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        call.seq = writer.seq + 1;
        call.time = jiff::Timestamp::now();
        let written = serde_json::to_vec(&call).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            writer.file.write_all(&line)
        });
        if let Err(error) = written {
            tracing::error!(path = %self.inner.path.display(), %error, "a call was not logged");
        }
        writer.seq = call.seq;
        self.inner.head.send_replace(call.seq);
        call.seq
    }
}

/// Reads the whole log. A half-written last line is left out.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Call>> {
    let path = path.as_ref();
    let text =
        std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let whole = whole_lines(&text);
    let mut calls = Vec::new();
    for (index, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let call = serde_json::from_slice(line).map_err(|source| Error::Line {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        calls.push(call);
    }
    Ok(calls)
}

/// How many bytes of `text` are whole lines.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn open_at_end(path: &Path) -> io::Result<Writer> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let whole = whole_lines(&text);
    file.set_len(whole as u64)?;
    file.seek(SeekFrom::Start(whole as u64))?;
    let last = text[..whole].split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let seq = last.and_then(|line| serde_json::from_slice::<Call>(line).ok()).map_or(0, |c| c.seq);
    Ok(Writer { file, seq })
}

/// Puts `***` in place of every value whose name says that it is a secret.
fn redact(parameters: &mut BTreeMap<String, Value>) {
    for (name, value) in parameters {
        let name = name.to_ascii_lowercase();
        if ["secret", "password", "pwd"].iter().any(|word| name.contains(word)) {
            *value = Value::from(REDACTED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(effect: &str) -> Call {
        Call { effect: effect.to_owned(), ..Call::default() }
    }

    #[test]
    fn sequence_goes_on_after_the_log_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calls.jsonl");
        assert_eq!(CallLog::open(&path).unwrap().record(call("joined")), 1);
        assert_eq!(CallLog::open(&path).unwrap().record(call("disjoined")), 2);
        let effects: Vec<_> = read(&path).unwrap().into_iter().map(|call| call.effect).collect();
        assert_eq!(effects, ["joined", "disjoined"]);
    }

    #[test]
    fn half_written_last_line_is_left_out_and_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calls.jsonl");
        CallLog::open(&path).unwrap().record(call("joined"));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"seq\": 2, \"eff").unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        assert_eq!(CallLog::open(&path).unwrap().record(call("disjoined")), 2);
        assert_eq!(read(&path).unwrap().len(), 2);
    }

    #[test]
    fn damaged_line_in_the_middle_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calls.jsonl");
        std::fs::write(&path, "{\"seq\":1}\nnonsense\n{\"seq\":3}\n").unwrap();
        assert!(matches!(read(&path), Err(Error::Line { line: 2, .. })));
    }

    #[test]
    fn secrets_never_reach_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calls.jsonl");
        let mut secret = call("join_started");
        secret.parameters.insert("secretKey".to_owned(), Value::from("Canary123!"));
        secret.parameters.insert("memberName".to_owned(), Value::from("c-1"));
        CallLog::open(&path).unwrap().record(secret);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("Canary"));
        assert!(text.contains("\"memberName\":\"c-1\""));
        assert_eq!(read(&path).unwrap()[0].parameters["secretKey"], REDACTED);
    }
}
