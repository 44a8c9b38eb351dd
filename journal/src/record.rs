//! A record: what was recorded, and the envelope that says where, when and by whom.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::chain::{self, Hash};
use crate::event::{Event, OperationId, Text};
use crate::state::Stamp;

/// The longest text, in bytes, that stays inside a record; a longer one goes to the audit file.
pub const INLINE_TEXT_MAX: usize = 2048;

/// Place of a record in its journal: dense, from 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A term of leadership. Every record carries the one it was written in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The stream of one cache (the UID of its custom resource), or of the journal itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub Uuid);

impl StreamId {
    /// The journal's own stream: genesis, terms of leadership, gaps.
    pub const JOURNAL: Self = Self(Uuid::nil());
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::JOURNAL { f.write_str("journal") } else { self.0.fmt(f) }
    }
}

/// Where a record stands. It is stored in front of the event, and the hash covers both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Version of the stored form of this envelope.
    pub format: u8,
    /// The journal.
    pub journal_id: Uuid,
    /// The term of leadership that wrote it.
    pub epoch: Epoch,
    /// Its place in the journal.
    pub seq: Seq,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its place in that stream: dense, from 1.
    pub stream_seq: u64,
    /// How many records of the same append follow. An append is there as a whole or not at all:
    /// a journal that ends with a rest above 0 ends with a torn append.
    pub rest: u32,
    /// The operation that it belongs to.
    pub operation: Option<OperationId>,
    /// Wall time in microseconds since 1970. Shown, never compared.
    pub time_us: i64,
    /// [`Event::name`] of the event, so that a reader that does not know the event can name it.
    pub type_name: String,
    /// Hash of the record before; zeros before the first.
    pub previous: Hash,
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub envelope: Envelope,
    /// What it says.
    pub event: Event,
    /// [`chain::hash`] of the previous hash and the record's canonical bytes.
    pub hash: Hash,
}

impl Record {
    /// Its sequence as a plain number.
    pub fn seq(&self) -> u64 {
        self.envelope.seq.0
    }

    /// The part of the envelope that the transition table reads.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            seq: self.envelope.seq.0,
            time_us: self.envelope.time_us,
            operation: self.envelope.operation,
        }
    }
}

/// Puts a text into the form in which an event holds it. A long one comes back a second time, to
/// be handed over in [`crate::store::Append::blobs`].
pub fn text_for_event(text: String) -> (Text, Option<String>) {
    if text.len() <= INLINE_TEXT_MAX {
        return (Text::Inline(text), None);
    }
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    (Text::External { digest: chain::digest(&text), len }, Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_inline_and_a_long_one_is_named_by_its_digest() {
        let short = "x".repeat(INLINE_TEXT_MAX);
        assert_eq!(text_for_event(short.clone()), (Text::Inline(short), None));
        let long = "x".repeat(INLINE_TEXT_MAX + 1);
        let (text, blob) = text_for_event(long.clone());
        assert_eq!(blob.as_deref(), Some(long.as_str()));
        let digest = chain::digest(&long);
        assert_eq!(text, Text::External { digest, len: 2049 });
    }
}
