//! Where records are kept: one contract, two backends.
//!
//! A store is append-only and has one writer. An append is durable when it returns, and whole or
//! not there at all. One that is refused ([`AppendError::Conflict`], [`AppendError::StaleEpoch`],
//! [`AppendError::Illegal`], ...) fails alone and changes nothing. An I/O error poisons the store:
//! nothing is acknowledged after it, because nobody can tell what a failed sync left behind. The
//! process is to leave and open the journal again.

use std::sync::Arc;

use uuid::Uuid;

use crate::chain::Hash;
use crate::codec;
use crate::event::{Event, OperationId, Text};
use crate::record::{Epoch, Record, StreamId};
use crate::retention::{Done, Retirement};
use crate::state::{CacheState, IllegalTransition, LogState};

pub mod ledger;
pub mod memory;
pub mod sled;

use ledger::Snapshot;
pub use memory::{Fault, MemoryStore};
pub use sled::{Healed, OpenError, OpenOptions, OpenReport, SledStore, open};

/// The largest text, in bytes, that may be kept beside a record.
pub const TEXT_MAX: usize = 1 << 20;

/// Records to be appended to one stream, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// The last sequence of that stream as the caller knows it; 0 when it has none. Anything else
    /// than the truth means that another writer was there.
    pub expected: u64,
    /// The caller's term of leadership.
    pub epoch: Epoch,
    /// The operation that the records belong to.
    pub operation: Option<OperationId>,
    /// Wall time in microseconds since 1970.
    pub time_us: i64,
    /// What to record, in order; at least one.
    pub events: Vec<Event>,
    /// Texts that the events name by digest ([`Text::External`]).
    pub blobs: Vec<String>,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The records as they are stored, in order.
    pub records: Vec<Record>,
    /// The state of the stream after them; the default one for the journal's own stream.
    pub state: Arc<CacheState>,
}

/// The end of a journal. It is what the anchor outside keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The journal.
    pub journal_id: Uuid,
    /// The last term of leadership seen in it.
    pub epoch: Epoch,
    /// Sequence of the last record; 0 while there is none.
    pub seq: u64,
    /// Its hash; zeros while there is none.
    pub hash: Hash,
}

/// The end of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Sequence in the journal of the stream's last record.
    pub seq: u64,
    /// Its sequence in the stream: what [`Append::expected`] is compared with.
    pub stream_seq: u64,
    /// The term of leadership that wrote it.
    pub epoch: Epoch,
    /// Its hash.
    pub hash: Hash,
}

/// Why an append was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream is not where the caller believes it to be: there is a second writer.
    #[error(
        "version conflict on stream {stream}: expected its last record to be {expected}, but it is {actual}"
    )]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// What the caller said.
        expected: u64,
        /// What is true.
        actual: u64,
    },
    /// The caller's term of leadership is over.
    #[error("stale epoch: {given} is older than {current}, which has begun")]
    StaleEpoch {
        /// The caller's.
        given: Epoch,
        /// The last one seen.
        current: Epoch,
    },
    /// The transition table refuses one of the events.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// One of the records has no stored form.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// An event names a text that was neither handed over nor recorded before.
    #[error("the text {digest} is named by {event}, but was not handed over")]
    MissingText {
        /// Its digest.
        digest: String,
        /// Name of the event.
        event: &'static str,
    },
    /// A text is larger than [`TEXT_MAX`].
    #[error("a text of {bytes} bytes is larger than the {TEXT_MAX} bytes that may be kept")]
    TextTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// There was nothing to append.
    #[error("an append without events")]
    Empty,
    /// An I/O error happened, now or before. Whether this append is durable is not known.
    #[error("the journal is poisoned: {reason}")]
    Poisoned {
        /// What happened first.
        reason: String,
    },
    /// The disk is full, and what room was kept is needed to bring to its end what was begun:
    /// outcomes are still taken, new work is not.
    #[error(
        "the journal's disk is full: outcomes are still recorded, but nothing new is begun until \
         there is room again"
    )]
    NoReserve,
}

impl AppendError {
    /// A name for metrics, out of a small fixed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::StaleEpoch { .. } => "stale_epoch",
            Self::Illegal(_) => "illegal",
            Self::Codec(_) => "codec",
            Self::MissingText { .. } => "missing_text",
            Self::TextTooLarge { .. } => "text_too_large",
            Self::Empty => "empty",
            Self::Poisoned { .. } => "poisoned",
            Self::NoReserve => "no_reserve",
        }
    }

    /// Whether the process has to leave and open the journal again.
    pub fn is_poisoned(&self) -> bool {
        matches!(self, Self::Poisoned { .. })
    }
}

/// Why records could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The backend failed.
    #[error("record {seq} cannot be read: {reason}")]
    Read {
        /// The record.
        seq: u64,
        /// The backend's words.
        reason: String,
    },
    /// A record that was appended is not there.
    #[error("record {seq} is missing")]
    Missing {
        /// The record.
        seq: u64,
    },
    /// The stored bytes are not what was written.
    #[error("record {seq} is damaged: {reason}")]
    Damaged {
        /// The record.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
    /// The stored bytes cannot be decoded.
    #[error("record {seq}: {source}")]
    Codec {
        /// The record.
        seq: u64,
        /// Why.
        source: codec::Error,
    },
}

/// Why records could not be retired.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// A file could not be read, written or deleted.
    #[error("the records could not be retired")]
    Io(#[from] std::io::Error),
    /// The retirement could not be recorded.
    #[error("the retirement could not be recorded")]
    Append(#[from] AppendError),
    /// Nothing is retired of a journal that is poisoned.
    #[error("the journal is poisoned: {reason}")]
    Poisoned {
        /// What happened first.
        reason: String,
    },
    /// What is stored is not what it ought to be; nothing was retired.
    #[error("nothing is retired, because record {seq} is not what it ought to be: {why}")]
    Differs {
        /// The record.
        seq: u64,
        /// What does not fit.
        why: String,
    },
    /// The base that stands for what was retired before is lost, so no other can follow it.
    #[error("nothing is retired, because the base of the records up to {seq} is lost")]
    BaseLost {
        /// The last record that was retired.
        seq: u64,
    },
}

/// How much there is of a journal, and what limits it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of the segments of the audit file, and of the base.
    pub audit_bytes: u64,
    /// Bytes of the generation of sled that is in use.
    pub sled_bytes: u64,
    /// How many segments there are.
    pub segments: u64,
    /// The first record that is kept; 0 without one.
    pub first_seq: u64,
    /// The last one.
    pub last_seq: u64,
    /// The record after which the newest checkpoint stands; 0 without one.
    pub checkpoint_seq: u64,
    /// Whether the room is there that is kept for a full disk.
    pub has_reserve: bool,
    /// How many records the open operation has that has most.
    pub operation_records: u32,
}

impl Figures {
    /// How many records are kept.
    pub fn kept(&self) -> u64 {
        match self.first_seq {
            0 => 0,
            first => (self.last_seq + 1).saturating_sub(first),
        }
    }
}

/// A journal that is open. All that the readers return is durable.
pub trait Store: Send + Sync + 'static {
    /// Appends records to one stream, all or none, and returns when they are durable. Blocks.
    ///
    /// # Errors
    /// See [`AppendError`]. After [`AppendError::Poisoned`] nothing can be appended any more.
    fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// The end of the journal.
    fn head(&self) -> Head;

    /// What the journal's own stream folds to.
    fn log_state(&self) -> Arc<LogState>;

    /// What a cache's stream folds to; none when it has no record.
    fn state(&self, stream: StreamId) -> Option<Arc<CacheState>>;

    /// The end of a stream, the journal's own one included; none when it has no record.
    fn stream_head(&self, stream: StreamId) -> Option<StreamHead>;

    /// All caches' streams with their states, closed ones included, in the order of their ids.
    fn streams(&self) -> Vec<(StreamId, Arc<CacheState>)>;

    /// The hash of a record; none when there is no such record, or when it was retired and is not
    /// the last one of those.
    fn hash_at(&self, seq: u64) -> Option<Hash>;

    /// A text of an event; none when it is not in this journal.
    fn text(&self, text: &Text) -> Option<String>;

    /// All records from a sequence on, but for those that were retired.
    ///
    /// # Errors
    /// When a stored record cannot be read back as it was written.
    fn scan(&self, from: u64) -> Result<Vec<Record>, Error>;

    /// Why nothing can be appended any more; none while all is well.
    fn poisoned(&self) -> Option<String>;

    /// What the retired records fold to: the state before the first record that [`Store::scan`]
    /// gives. None while none was retired, or where that is lost.
    fn base(&self) -> Option<Arc<Snapshot>> {
        None
    }

    /// The last record that was retired; 0 while none was.
    fn retired(&self) -> u64 {
        0
    }

    /// Retires what is beyond the limits and not wanted any more, if there is such; not all at once
    /// where that is much. Blocks while it folds the records that go. Appends go on meanwhile. A
    /// store that has no files of its own keeps all.
    ///
    /// # Errors
    /// See [`RetireError`]. What was deleted by then was recorded before; nothing else is lost.
    fn retire(&self, _ask: &Retirement) -> Result<Option<Done>, RetireError> {
        Ok(None)
    }

    /// How much there is, and what limits it.
    fn figures(&self) -> Figures {
        Figures { last_seq: self.head().seq, ..Figures::default() }
    }
}

#[cfg(test)]
mod contract;
