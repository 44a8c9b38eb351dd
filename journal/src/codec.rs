//! The stored form of a record. This is the only file that knows bincode.
//!
//! **Canonical bytes**: one byte with the version of the envelope, the envelope, one byte with the
//! version of the event, the event. Nothing may follow. These bytes are hashed and stored as they
//! are, so an old record keeps its hash for ever; what a newer program makes of it is its affair.
//!
//! Both versions stand for a *shape*. A new variant at the end of an enum keeps the version (an
//! older program then finds a type name that it does not know, and says so); any other change is a
//! new version with an upcaster here. The golden bytes in the tests refuse anything else.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::chain::Hash;
use crate::event::{Event, OperationId};
use crate::record::{Envelope, Epoch, Seq, StreamId};

/// Version of the envelope that this program writes.
pub const ENVELOPE_VERSION: u8 = 1;
/// Version of the event that this program writes.
pub const EVENT_VERSION: u8 = 1;
/// The largest value, in bytes, that may be stored in sled: it keeps larger ones in files that it
/// never syncs.
pub const STORED_MAX: usize = 4096;
/// The largest canonical form: what is left for it beside the hash and the checksum.
pub const CANONICAL_MAX: usize = STORED_MAX - size_of::<Hash>() - size_of::<u32>();

/// What a length prefix may claim while decoding, in bytes of memory.
const DECODE_LIMIT: usize = 1 << 20;

/// Why a record could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The record would not fit into one stored value.
    #[error(
        "a {type_name} record of {bytes} bytes is larger than the {limit} bytes that a record may \
         have: move its long text out of the record"
    )]
    TooLarge {
        /// Name of the event.
        type_name: String,
        /// Size of the canonical bytes.
        bytes: usize,
        /// [`CANONICAL_MAX`].
        limit: usize,
    },
    /// A newer program wrote it.
    #[error("written in a newer format: {what}; this program knows up to {known}")]
    NewerFormat {
        /// Which part, and its version or name.
        what: String,
        /// What this program knows.
        known: String,
    },
    /// The bytes are not what any version of this program writes.
    #[error("the {part} cannot be decoded: {reason}")]
    Undecodable {
        /// Envelope or event.
        part: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// There is more than one record in the bytes.
    #[error("{count} bytes follow the event")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The envelope names another event than the one that follows it.
    #[error("the envelope names {named}, but the event is {found}")]
    WrongType {
        /// In the envelope.
        named: String,
        /// What was decoded.
        found: &'static str,
    },
    /// The value could not be encoded.
    #[error("the {part} cannot be encoded: {reason}")]
    Unencodable {
        /// Envelope or event.
        part: &'static str,
        /// The encoder's words.
        reason: String,
    },
}

impl Error {
    /// Whether a newer program is what it takes to read the record.
    pub fn is_newer_format(&self) -> bool {
        matches!(self, Self::NewerFormat { .. })
    }
}

/// The stored shape of an envelope, version 1. Never changed.
#[derive(Serialize, Deserialize)]
struct EnvelopeV1 {
    journal_id: Uuid,
    epoch: Epoch,
    seq: Seq,
    stream: StreamId,
    stream_seq: u64,
    rest: u32,
    operation: Option<OperationId>,
    time_us: i64,
    type_name: String,
    previous: Hash,
}

/// The canonical bytes of a record. `envelope.format` is not read: what is written is always
/// [`ENVELOPE_VERSION`].
///
/// # Errors
/// [`Error::TooLarge`] when they would not fit, [`Error::Unencodable`] when a value has no stored
/// form.
pub fn encode(envelope: &Envelope, event: &Event) -> Result<Vec<u8>, Error> {
    let stored = stored(envelope);
    let mut bytes = vec![ENVELOPE_VERSION];
    bytes.extend(to_bytes("envelope", &stored)?);
    bytes.push(EVENT_VERSION);
    bytes.extend(to_bytes("event", event)?);
    if bytes.len() > CANONICAL_MAX {
        return Err(Error::TooLarge {
            type_name: envelope.type_name.clone(),
            bytes: bytes.len(),
            limit: CANONICAL_MAX,
        });
    }
    Ok(bytes)
}

/// Reads canonical bytes back.
///
/// # Errors
/// [`Error::NewerFormat`] when a newer program wrote them; otherwise what is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<(Envelope, Event), Error> {
    let (envelope, rest) = split_envelope(bytes)?;
    let Some((version, rest)) = rest.split_first() else {
        return Err(undecodable("event", "the bytes end before it"));
    };
    if *version > EVENT_VERSION {
        return Err(newer(&format!("event version {version}"), &EVENT_VERSION.to_string()));
    }
    if *version != EVENT_VERSION {
        return Err(undecodable("event", &format!("there is no event version {version}")));
    }
    let names = event_names();
    if !names.contains(&envelope.type_name.as_str()) {
        let what = format!("an event named {:?}", envelope.type_name);
        return Err(newer(&what, &format!("{} kinds of event", names.len())));
    }
    let (event, used) = from_bytes::<Event>("event", rest)?;
    if used != rest.len() {
        return Err(Error::TrailingBytes { count: rest.len() - used });
    }
    if event.name() != envelope.type_name {
        return Err(Error::WrongType { named: envelope.type_name, found: event.name() });
    }
    Ok((envelope, event))
}

/// Reads only the envelope, which is possible even where the event is a newer program's.
///
/// # Errors
/// As [`decode`], for the envelope alone.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, Error> {
    split_envelope(bytes).map(|(envelope, _)| envelope)
}

/// The names of all events that this program knows, in the order of their variants.
pub fn event_names() -> &'static [&'static str] {
    variants_of::<Event>()
}

/// The names of an enum's variants, in their order.
fn variants_of<T: Deserialize<'static>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The names are told before anything is read, and then nothing can be read: always an error.
    let asked = T::deserialize(AskForVariants(&mut names));
    debug_assert!(asked.is_err(), "nothing was there to be decoded");
    names
}

/// Decodes nothing. It only hears which variants an enum has.
struct AskForVariants<'a>(&'a mut &'static [&'static str]);

impl<'de> serde::Deserializer<'de> for AskForVariants<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only the variants of an enum can be asked for"))
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = variants;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn stored(envelope: &Envelope) -> EnvelopeV1 {
    EnvelopeV1 {
        journal_id: envelope.journal_id,
        epoch: envelope.epoch,
        seq: envelope.seq,
        stream: envelope.stream,
        stream_seq: envelope.stream_seq,
        rest: envelope.rest,
        operation: envelope.operation,
        time_us: envelope.time_us,
        type_name: envelope.type_name.clone(),
        previous: envelope.previous,
    }
}

fn split_envelope(bytes: &[u8]) -> Result<(Envelope, &[u8]), Error> {
    let Some((format, rest)) = bytes.split_first() else {
        return Err(undecodable("envelope", "there are no bytes"));
    };
    if *format > ENVELOPE_VERSION {
        return Err(newer(&format!("envelope version {format}"), &ENVELOPE_VERSION.to_string()));
    }
    if *format != ENVELOPE_VERSION {
        return Err(undecodable("envelope", &format!("there is no envelope version {format}")));
    }
    let (stored, used) = from_bytes::<EnvelopeV1>("envelope", rest)?;
    let envelope = Envelope {
        format: *format,
        journal_id: stored.journal_id,
        epoch: stored.epoch,
        seq: stored.seq,
        stream: stored.stream,
        stream_seq: stored.stream_seq,
        rest: stored.rest,
        operation: stored.operation,
        time_us: stored.time_us,
        type_name: stored.type_name,
        previous: stored.previous,
    };
    let rest = rest.get(used..).unwrap_or_default();
    Ok((envelope, rest))
}

fn config() -> Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>> {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

fn to_bytes<T: Serialize>(part: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    bincode::serde::encode_to_vec(value, config())
        .map_err(|error| Error::Unencodable { part, reason: error.to_string() })
}

fn from_bytes<T: serde::de::DeserializeOwned>(
    part: &'static str,
    bytes: &[u8],
) -> Result<(T, usize), Error> {
    bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| undecodable(part, &error.to_string()))
}

fn undecodable(part: &'static str, reason: &str) -> Error {
    Error::Undecodable { part, reason: reason.to_owned() }
}

fn newer(what: &str, known: &str) -> Error {
    Error::NewerFormat { what: what.to_owned(), known: known.to_owned() }
}

#[cfg(test)]
mod tests;
