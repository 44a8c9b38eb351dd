//! One line of the audit file.

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::readable::{self, readable_event};
use crate::chain::{self, Hash};
use crate::codec;
use crate::record::{Envelope, Record};
use crate::store::ledger::Entry;

/// Why a line is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not a JSON object with the fields of a line.
    #[error("not a line of an audit file: {0}")]
    Json(String),
    /// A field has no readable value.
    #[error("the field `{field}` is not {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The checksum does not fit the bytes and the hash.
    #[error("the checksum does not fit")]
    Checksum,
    /// The hash is not that of the previous hash and the bytes.
    #[error("the hash is not that of the record's bytes")]
    Hash,
    /// A text beside the record is not what its digest says.
    #[error("the text {0} is not what its digest says")]
    Text(String),
    /// The bytes say something else than the field beside them.
    #[error("the field `{0}` is not what the record's bytes say")]
    Disagrees(&'static str),
    /// The bytes cannot be decoded.
    #[error(transparent)]
    Codec(#[from] codec::Error),
}

impl LineError {
    /// Whether a newer program is what it takes to read the line.
    pub fn is_newer_format(&self) -> bool {
        matches!(self, Self::Codec(error) if error.is_newer_format())
    }
}

/// The fields of a line as it is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Line {
    seq: u64,
    time: String,
    epoch: u64,
    stream: String,
    stream_seq: u64,
    rest: u32,
    operation: Option<String>,
    #[serde(rename = "type")]
    type_name: String,
    event: Value,
    #[serde(default)]
    blobs: BTreeMap<String, String>,
    journal: String,
    prev: String,
    hash: String,
    crc: u32,
    bytes: String,
}

/// A line whose checksum, hash and texts fit. Its record is still encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLine {
    line: Line,
    /// The record's sequence, as the line says.
    pub seq: u64,
    /// Hash of the record before, as the line says.
    pub previous: Hash,
    /// Hash of the record.
    pub hash: Hash,
    /// The record's canonical bytes.
    pub bytes: Vec<u8>,
}

impl StoredLine {
    /// Reads a line, without its line end.
    ///
    /// # Errors
    /// What is wrong with it, short of the record itself.
    pub fn parse(text: &[u8]) -> Result<Self, LineError> {
        let line: Line =
            serde_json::from_slice(text).map_err(|error| LineError::Json(error.to_string()))?;
        let hex = |field, text| {
            chain::from_hex(text).ok_or(LineError::Field { field, expected: "64 hex digits" })
        };
        let previous = hex("prev", &line.prev)?;
        let hash = hex("hash", &line.hash)?;
        let bytes = STANDARD
            .decode(&line.bytes)
            .map_err(|_| LineError::Field { field: "bytes", expected: "base64" })?;
        if chain::checksum(&bytes, &hash) != line.crc {
            return Err(LineError::Checksum);
        }
        if chain::hash(&previous, &bytes) != hash {
            return Err(LineError::Hash);
        }
        if let Some((digest, _)) =
            line.blobs.iter().find(|(digest, text)| chain::digest(text) != **digest)
        {
            return Err(LineError::Text(digest.clone()));
        }
        Ok(Self { seq: line.seq, previous, hash, bytes, line })
    }

    /// Decodes the record.
    ///
    /// # Errors
    /// When it cannot be decoded, or stands under another sequence or previous hash than its own.
    pub fn decode(&self) -> Result<Entry, LineError> {
        let (envelope, event) = codec::decode(&self.bytes)?;
        if envelope.seq.0 != self.seq {
            return Err(LineError::Disagrees("seq"));
        }
        if envelope.previous != self.previous {
            return Err(LineError::Disagrees("prev"));
        }
        let record = Record { envelope, event, hash: self.hash };
        Ok(Entry { record, bytes: self.bytes.clone(), blobs: self.line.blobs.clone() })
    }

    /// The readable fields of this line that differ from what its record says.
    pub fn altered_fields(&self, entry: &Entry) -> Vec<&'static str> {
        let truth = line_of(entry);
        let Line { time, epoch, stream, stream_seq, rest, operation, type_name, event, .. } =
            &self.line;
        let same = [
            ("time", *time == truth.time),
            ("epoch", *epoch == truth.epoch),
            ("stream", *stream == truth.stream),
            ("stream_seq", *stream_seq == truth.stream_seq),
            ("rest", *rest == truth.rest),
            ("operation", *operation == truth.operation),
            ("type", *type_name == truth.type_name),
            ("event", *event == truth.event),
            ("journal", self.line.journal == truth.journal),
        ];
        same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }

    /// The event's name as the line tells it, for records that cannot be decoded.
    pub fn told_type(&self) -> &str {
        &self.line.type_name
    }
}

/// The record of a line that is, byte for byte, what this program writes for it: then everything
/// in the line fits, and none of it has to be read. None for any other line, which may be as good.
pub(crate) fn as_written(text: &[u8]) -> Option<Entry> {
    // The bytes come last, and a text beside the record is read the long way.
    let rest = text.strip_suffix(b"\"}")?;
    let start = rest.iter().rposition(|byte| *byte == b'"')? + 1;
    let bytes = STANDARD.decode(rest.get(start..)?).ok()?;
    let (envelope, event) = codec::decode(&bytes).ok()?;
    let hash = chain::hash(&envelope.previous, &bytes);
    let record = Record { envelope, event, hash };
    let entry = Entry { record, bytes, blobs: BTreeMap::new() };
    // There is one text for the same bytes, so the rest of the line is compared without it.
    let mut written = Compared { left: rest.get(..start)? };
    write_head(&mut written, &entry).ok()?;
    written.left.is_empty().then_some(entry)
}

/// Takes nothing but what it expects.
struct Compared<'a> {
    /// What is still to come.
    left: &'a [u8],
}

impl Write for Compared<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        match self.left.strip_prefix(written) {
            Some(left) => self.left = left,
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The record of a line, without its line end.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(text: &[u8]) -> Result<Entry, LineError> {
    match as_written(text) {
        Some(entry) => Ok(entry),
        None => StoredLine::parse(text)?.decode(),
    }
}

/// The line of an entry, with its line end.
///
/// # Errors
/// When the event has no JSON form, which no event of this crate lacks.
pub(crate) fn render(entry: &Entry) -> Result<Vec<u8>, codec::Error> {
    let mut text = Vec::with_capacity(1024);
    write_head(&mut text, entry)
        .map_err(|error| codec::Error::Unencodable { part: "line", reason: error.to_string() })?;
    text.extend_from_slice(STANDARD.encode(&entry.bytes).as_bytes());
    text.extend_from_slice(b"\"}\n");
    Ok(text)
}

/// Writes a line up to the record's own bytes, which come last. Only names, texts and events have
/// characters that JSON writes otherwise.
fn write_head(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let Record { envelope, event, hash } = &entry.record;
    let Envelope { seq, epoch, stream, stream_seq, rest, operation, .. } = envelope;
    let (seq, time, epoch) = (seq.0, time_text(envelope.time_us), epoch.0);
    write!(out, r#"{{"seq":{seq},"time":"{time}","epoch":{epoch},"stream":"{stream}","#)?;
    write!(out, r#""stream_seq":{stream_seq},"rest":{rest},"operation":"#)?;
    match operation {
        Some(operation) => write!(out, r#""{operation}""#)?,
        None => write!(out, "null")?,
    }
    write!(out, r#","type":"#)?;
    serde_json::to_writer(&mut *out, &envelope.type_name)?;
    write!(out, r#","event":"#)?;
    readable::write(out, event)?;
    if !entry.blobs.is_empty() {
        write!(out, r#","blobs":"#)?;
        serde_json::to_writer(&mut *out, &entry.blobs)?;
    }
    let prev = blake3::Hash::from_bytes(envelope.previous).to_hex();
    let crc = chain::checksum(&entry.bytes, hash);
    let (journal, hash) = (envelope.journal_id, blake3::Hash::from_bytes(*hash).to_hex());
    write!(out, r#","journal":"{journal}","prev":"{prev}","hash":"{hash}","crc":{crc},"bytes":""#)
}

fn line_of(entry: &Entry) -> Line {
    let Record { envelope, event, hash } = &entry.record;
    let Envelope { seq, epoch, stream, stream_seq, rest, operation, .. } = envelope;
    Line {
        seq: seq.0,
        time: time_text(envelope.time_us),
        epoch: epoch.0,
        stream: stream.to_string(),
        stream_seq: *stream_seq,
        rest: *rest,
        operation: operation.map(|operation| operation.to_string()),
        type_name: envelope.type_name.clone(),
        event: readable_event(event),
        blobs: entry.blobs.clone(),
        journal: envelope.journal_id.to_string(),
        prev: chain::to_hex(&envelope.previous),
        hash: chain::to_hex(hash),
        crc: chain::checksum(&entry.bytes, hash),
        bytes: STANDARD.encode(&entry.bytes),
    }
}

/// A wall time in microseconds as RFC 3339 in UTC, always with six digits of a second. A time that
/// no calendar holds is shown as its number.
pub fn time_text(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us)
        .map_or_else(|_| format!("{time_us} us"), |time| format!("{time:.6}"))
}
