//! `journal resolve`: records what a person decided about a parked operation.
//!
//! Here it is appended to the journal of a stopped operator, through the ordinary open and with the
//! lock held. A running operator takes it at its endpoint, where the caller's name is proven.

use std::fs;
use std::path::Path;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use uuid::Uuid;

use super::{Error, Format, Output};
use crate::audit::{segments, time_text};
use crate::decision::{self, Choice, Said};
use crate::event::OperationId;
use crate::record::Record;
use crate::store::{OpenError, OpenOptions, Store, open};

/// What the command tells after its options.
pub(super) const HELP: &str = "\
Decisions:
  retry    the operation goes on; probes and attempts are counted from nothing again
  done     the step in doubt took effect: you vouch for it
  void     the step in doubt did not and cannot take effect any more; a new attempt may follow
  abandon  the operation ends as failed, and a step in doubt counts as void; where the spec still
           asks for it, a new operation begins with what is seen then

`done` and `void` need a step in doubt. --expect-head is the last record of the cache that you have
looked at: when there is a newer one, nothing is recorded.

A running operator records the name that the API server gives for your token. With --journal-dir the
decision is appended to the directory of a stopped one, and who decided is the local user that owns the
process, which proves no more than access to the directory.

Examples:
  xsld-operator journal log --cache shop/sessions
  xsld-operator journal resolve 01970f3e --decision void --expect-head 40 \\
      --reason 'the node is gone for good, its disk was taken out'

Exit codes: 0 recorded, 2 not recorded.";

/// Options of `resolve`.
#[derive(Clone, Debug, Args)]
pub struct Resolve {
    /// The operation; the beginning of its id is enough.
    #[arg(value_name = "OPERATION")]
    pub operation: String,

    /// What is decided.
    #[arg(long, value_name = "DECISION", value_parser = choices())]
    pub decision: String,

    /// Why; it is recorded and shown for ever.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,

    /// Sequence of the last record of the operation's cache that you have seen.
    #[arg(long, value_name = "SEQ")]
    pub expect_head: u64,
}

/// What was recorded.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    seq: u64,
    time: String,
    operation: Option<OperationId>,
    decision: &'a str,
    who: &'a str,
    reason: &'a str,
}

fn choices() -> PossibleValuesParser {
    PossibleValuesParser::new(Choice::ALL.map(Choice::name))
}

impl Resolve {
    pub(super) fn run(
        &self,
        dir: &Path,
        now_us: Option<i64>,
        output: &mut Output<'_>,
    ) -> Result<(), Error> {
        let now_us = now_us.ok_or_else(|| Error::Open("the time is not known".to_owned()))?;
        // Nothing is made here: a wrong name is told as such, and an export is never written to.
        let found = segments(dir).map_err(|source| Error::Read { dir: dir.to_owned(), source })?;
        if found.is_empty() {
            return Err(Error::NoJournal(dir.to_owned()));
        }
        output.tell(&format!("opening the journal in {}", dir.display()))?;
        let options = OpenOptions::new(dir.to_owned(), Uuid::nil());
        let (store, _) = open(&options).map_err(|error| Error::Open(refusal(&error)))?;
        let said = Said {
            operation: self.operation.clone(),
            expect_head: self.expect_head,
            decision: self.decision.clone(),
            reason: self.reason.clone(),
            who: local_user(),
        };
        let recorded = decision::record(&store, store.head().epoch, now_us, &said)
            .map_err(|refused| Error::Refused(Box::new(refused)))?;
        self.told(&said.who, &recorded, output)
    }

    fn told(&self, who: &str, record: &Record, output: &mut Output<'_>) -> Result<(), Error> {
        let shown = Shown {
            seq: record.seq(),
            time: time_text(record.envelope.time_us),
            operation: record.envelope.operation,
            decision: &self.decision,
            who,
            reason: &self.reason,
        };
        if output.format() != Format::Table {
            return output.object(&shown);
        }
        output.line(&format!(
            "recorded as {}: {who} decided `{}`; the operator acts on it when it runs",
            shown.seq, self.decision
        ))
    }
}

fn refusal(error: &OpenError) -> String {
    match error {
        OpenError::Locked { .. } => format!(
            "{error}; a running operator takes the decision at its endpoint: name it with --endpoint"
        ),
        _ => error.to_string(),
    }
}

/// Who runs this process, as the machine knows it: no more than access to the directory is proven.
fn local_user() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let name = name.unwrap_or_else(|| "unnamed".to_owned());
    format!("{name} (local user {uid}, by the journal's directory)")
}
