//! What a person may decide about a parked operation, and how that is recorded.
//!
//! A decision is one more record, [`Event::Decided`], and nothing else: who, what and why. The
//! operator acts on it in its next pass, as on any evidence. It is refused unless the operation is
//! parked and the person has seen the last record of its cache: what was decided on a state that is
//! gone decides nothing.

use crate::event::{Event, OperationId};
use crate::record::{Epoch, Record, StreamId};
use crate::state::{CacheState, Operation};
use crate::store::{Append, AppendError, Store};

/// The longest reason, in bytes.
pub const REASON_MAX: usize = 1024;
/// The longest name of a person, in bytes.
pub const WHO_MAX: usize = 512;

/// What may be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The operation goes on: probes and attempts are counted from nothing again.
    Retry,
    /// The step in doubt took effect: the person vouches for it.
    Done,
    /// The step in doubt did not and cannot take effect any more: a new attempt may follow.
    Void,
    /// The operation ends as failed; a step in doubt counts as void.
    Abandon,
}

impl Choice {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Done, Self::Void, Self::Abandon];

    /// The word that is recorded.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Done => "done",
            Self::Void => "void",
            Self::Abandon => "abandon",
        }
    }

    /// Reads the word; none when it is another one.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == word)
    }

    /// What can be decided about an operation as it is: nothing unless it is parked, and of a step
    /// only while one is in doubt.
    pub fn legal(operation: &Operation) -> Vec<Self> {
        if operation.parked.is_none() || operation.decided.is_some() {
            return vec![];
        }
        let in_doubt = operation.step.is_some() || operation.cancel.is_some();
        let is_legal = |choice: &Self| match choice {
            Self::Retry | Self::Abandon => true,
            Self::Done | Self::Void => in_doubt,
        };
        Self::ALL.into_iter().filter(is_legal).collect()
    }
}

/// What a person says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The operation's id, or the beginning of it.
    pub operation: String,
    /// Sequence of the last record of its cache that the person has seen.
    pub expect_head: u64,
    /// The word of a [`Choice`].
    pub decision: String,
    /// Their reason.
    pub reason: String,
    /// Who they are, and how that is known.
    pub who: String,
}

/// Why a decision is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No operation is called so.
    #[error("no open operation begins with `{0}`; `journal state` names the open ones")]
    Unknown(String),
    /// Several operations are called so.
    #[error("`{0}` is the beginning of several open operations; write more of the id")]
    Ambiguous(String),
    /// The operation is over.
    #[error("operation {operation} is closed: it {end}")]
    Closed {
        /// Which.
        operation: OperationId,
        /// How it ended.
        end: &'static str,
    },
    /// The cache has gone on.
    #[error(
        "the last record of {cache} is {actual}, not {given}: look at what came after it, with \
         `journal log --cache {cache} --since {given}`, and decide again"
    )]
    Head {
        /// The cache.
        cache: String,
        /// What the person has seen.
        given: u64,
        /// What is true.
        actual: u64,
    },
    /// It is not parked.
    #[error(
        "operation {0} is not parked: the operator is at work on it and asks nothing of a person; \
         `why NAMESPACE/NAME` tells what it waits for. If its XsldCache does not exist any more, the \
         operator that works in its namespace ends it by itself after two looks"
    )]
    NotParked(OperationId),
    /// Somebody decided before, and the operator has not acted on it yet.
    #[error("{who} has decided `{decision}` already, in record {seq}: the operator acts on that")]
    Decided {
        /// Who.
        who: String,
        /// What.
        decision: String,
        /// The record.
        seq: u64,
    },
    /// Not one of the decisions that are possible now.
    #[error("`{decision}` cannot be decided now; possible are: {legal}")]
    Illegal {
        /// The word.
        decision: String,
        /// Those that can be.
        legal: String,
    },
    /// Nothing, or too much, was said.
    #[error("{what} must be 1 to {max} bytes of text")]
    Text {
        /// What.
        what: &'static str,
        /// The longest.
        max: usize,
    },
    /// The journal does not take it.
    #[error("the journal does not take the decision: {0}")]
    Append(#[from] AppendError),
}

/// An open operation that a person means.
#[derive(Debug)]
pub struct Subject {
    /// Its cache's stream.
    pub stream: StreamId,
    /// Namespace of the XsldCache.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The operation.
    pub operation: OperationId,
}

/// The open operation whose id begins so.
///
/// # Errors
/// When there is none, more than one, or it is closed.
pub fn find(store: &dyn Store, prefix: &str) -> Result<Subject, Refused> {
    let prefix = prefix.trim().to_lowercase();
    if prefix.is_empty() {
        return Err(Refused::Unknown(prefix));
    }
    let streams = store.streams();
    let open = streams.iter().filter_map(|(stream, state)| {
        let operation = state.operation.as_ref()?;
        operation.id.to_string().starts_with(&prefix).then(|| subject(*stream, state, operation))
    });
    let mut open: Vec<_> = open.collect();
    match (open.pop(), open.is_empty()) {
        (Some(found), true) => return Ok(found),
        (Some(_), false) => return Err(Refused::Ambiguous(prefix)),
        (None, _) => {}
    }
    let mut ended = streams.iter().flat_map(|(_, state)| state.recent.iter());
    match ended.find(|ended| ended.id.to_string().starts_with(&prefix)) {
        Some(ended) => Err(Refused::Closed { operation: ended.id, end: ended.end.name() }),
        None => Err(Refused::Unknown(prefix)),
    }
}

fn subject(stream: StreamId, state: &CacheState, operation: &Operation) -> Subject {
    let (namespace, name) = (state.namespace.clone(), state.name.clone());
    Subject { stream, namespace, name, operation: operation.id }
}

/// Records what a person decided. Blocks until it is durable.
///
/// # Errors
/// [`Refused`]; then nothing is recorded.
pub fn record(
    store: &dyn Store,
    epoch: Epoch,
    time_us: i64,
    said: &Said,
) -> Result<Record, Refused> {
    text("the reason", &said.reason, REASON_MAX)?;
    text("the name", &said.who, WHO_MAX)?;
    let subject = find(store, &said.operation)?;
    // The head first: what is checked below is the state at that head or a later one, and of a
    // later one the append says no.
    let unknown = || Refused::Unknown(said.operation.clone());
    let head = store.stream_head(subject.stream).ok_or_else(unknown)?;
    let state = store.state(subject.stream).ok_or_else(unknown)?;
    if head.seq != said.expect_head {
        let cache = format!("{}/{}", subject.namespace, subject.name);
        return Err(Refused::Head { cache, given: said.expect_head, actual: head.seq });
    }
    let operation = state.operation.as_ref().ok_or_else(unknown)?;
    let choice = allowed(operation, &said.decision)?;
    let appended = store.append(Append {
        stream: subject.stream,
        expected: head.stream_seq,
        epoch,
        operation: Some(subject.operation),
        time_us,
        events: vec![Event::Decided {
            who: said.who.clone(),
            decision: choice.name().to_owned(),
            why: said.reason.clone(),
        }],
        blobs: vec![],
    })?;
    appended.records.into_iter().next().ok_or_else(unknown)
}

fn allowed(operation: &Operation, word: &str) -> Result<Choice, Refused> {
    if let Some(decided) = &operation.decided {
        return Err(Refused::Decided {
            who: decided.who.clone(),
            decision: decided.decision.clone(),
            seq: decided.seq,
        });
    }
    if operation.parked.is_none() {
        return Err(Refused::NotParked(operation.id));
    }
    let legal = Choice::legal(operation);
    Choice::parse(word).filter(|choice| legal.contains(choice)).ok_or_else(|| {
        let legal: Vec<_> = legal.iter().map(|choice| choice.name()).collect();
        Refused::Illegal { decision: word.to_owned(), legal: legal.join(", ") }
    })
}

fn text(what: &'static str, text: &str, max: usize) -> Result<(), Refused> {
    if text.trim().is_empty() || text.len() > max {
        return Err(Refused::Text { what, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
