//! Exports: one file with all records, and a first line that says which they are.
//!
//! An export is what leaves the machine. Its first line names the last record and its hash, so
//! that an export that was cut short is found out; the lines that follow are the audit file's own.
//! Where records were retired, the base stands between, whose digest the first line names.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::base::{Base, Kept, kept};
use super::line::render;
use super::reader::{Form, GZIP_MAGIC, Lines, Segment};
use super::survey::{Assembler, Item};
use crate::chain;
use crate::store::Head;

/// Version of the form of an export that begins with the first record.
const VERSION: u32 = 1;
/// Version of the form of one that begins with a base.
const VERSION_WITH_BASE: u32 = 2;
/// The longest first line that an export may have.
const HEADER_MAX: u64 = 4096;
/// The longest base that is read.
const BASE_MAX: u64 = 1 << 30;

/// What an export says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the form.
    #[serde(rename = "xsld_journal_export")]
    pub version: u32,
    /// The journal.
    pub journal: Uuid,
    /// How many records follow.
    pub records: u64,
    /// Sequence of the first one.
    pub first_seq: u64,
    /// Sequence of the last one.
    pub last_seq: u64,
    /// Its hash, hex.
    pub hash: String,
    /// Digest of the base that follows, hex, where records were retired before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

impl Header {
    /// The header of an export in the present form.
    pub fn new(journal: Uuid, records: u64, first_seq: u64, last: (u64, String)) -> Self {
        let (version, base) = (VERSION, None);
        Self { version, journal, records, first_seq, last_seq: last.0, hash: last.1, base }
    }

    /// The same, with what stands for the records that were retired before. Its line has to follow:
    /// see [`write_base`].
    pub fn behind(self, base: Option<&Base>) -> Self {
        let version = if base.is_some() { VERSION_WITH_BASE } else { self.version };
        Self { version, base: base.map(|base| base.digest.clone()), ..self }
    }
}

/// Why a file cannot be read as an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not an export of a journal: its first line names no journal")]
    NotAnExport,
    /// Its first line tells no first record that can be, or no hash of the last one.
    #[error("it is not an export of a journal: its first line does not say which records it holds")]
    NoRange,
    /// A newer program made it.
    #[error("it is an export of version {0}; this program knows version {VERSION_WITH_BASE}")]
    Newer(u32),
    /// The base that its first line names does not follow.
    #[error("what stands in it for the retired records cannot be used: {0}")]
    Base(String),
}

/// Reads the first line of an export.
///
/// # Errors
/// When there is none, or it is another program's.
pub fn read_header(path: &Path) -> Result<Header, ExportError> {
    header_of(&mut opened(path)?)
}

/// The lines of an export, packed or not.
fn opened(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    if file.fill_buf()?.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

fn header_of(lines: &mut dyn BufRead) -> Result<Header, ExportError> {
    let mut line = Vec::new();
    lines.take(HEADER_MAX).read_until(b'\n', &mut line)?;
    let header: Header = serde_json::from_slice(&line).map_err(|_| ExportError::NotAnExport)?;
    match header.version {
        // Records are counted from 1, and without a hash it could end anywhere unnoticed.
        VERSION | VERSION_WITH_BASE
            if header.first_seq == 0 || chain::from_hex(&header.hash).is_none() =>
        {
            Err(ExportError::NoRange)
        }
        VERSION | VERSION_WITH_BASE => Ok(header),
        newer => Err(ExportError::Newer(newer)),
    }
}

/// Whether the first line of an export, as it was read, says that a base follows.
pub(super) fn names_base(line: &[u8]) -> bool {
    serde_json::from_slice::<Header>(line).is_ok_and(|header| header.base.is_some())
}

/// The base of an export; none when it begins with the first record.
///
/// # Errors
/// As [`read_header`], and when the base is not the one that the first line names.
pub fn export_base(path: &Path) -> Result<Option<Base>, ExportError> {
    let mut lines = opened(path)?;
    let header = header_of(&mut *lines)?;
    let Some(digest) = header.base else { return Ok(None) };
    let mut line = Vec::new();
    lines.take(BASE_MAX).read_until(b'\n', &mut line)?;
    let body = line.strip_suffix(b"\n").unwrap_or(&line);
    let base = Base::parse_line(body).map_err(|error| ExportError::Base(error.to_string()))?;
    match base.digest == digest {
        true => Ok(Some(base)),
        false => Err(ExportError::Base("its digest is another one than is named".into())),
    }
}

/// Writes the line behind the first one of an export whose header names this base.
///
/// # Errors
/// When it cannot be written.
pub fn write_base(to: &mut dyn Write, base: &Base) -> io::Result<()> {
    to.write_all(base.body())?;
    to.write_all(b"\n")
}

/// Writes the first line of an export.
///
/// # Errors
/// When it cannot be written.
pub fn write_header(to: &mut dyn Write, header: &Header) -> io::Result<()> {
    writeln!(to, "{}", serde_json::to_string(header).map_err(io::Error::other)?)
}

/// An export as the one segment that it is.
///
/// # Errors
/// When its first line is not an export's.
pub fn export_segments(path: &Path) -> Result<(Vec<Segment>, Header), ExportError> {
    let header = read_header(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let (path, first_seq) = (path.to_owned(), header.first_seq);
    Ok((vec![Segment { path, name, first_seq, form: Form::Export }], header))
}

/// Writes the records of a directory behind one of them, up to a head, as one export, in constant
/// memory. The journal may be open and grow meanwhile. `after` is 0 for all records.
///
/// # Errors
/// When a record in between cannot be read or is not there, or nothing can be written. What was
/// written then is shorter than its first line promises.
pub fn stream_export(
    dir: &Path,
    after: u64,
    head: &Head,
    to: &mut dyn Write,
) -> io::Result<Header> {
    let Kept { base, segments: mut found, .. } = kept(dir)?;
    // What is behind the base needs none.
    let base = base.filter(|base| after < base.seq());
    // Those before the one that the first wanted record stands in are passed over.
    let passed = found.iter().skip(1).take_while(|next| next.first_seq <= after + 1).count();
    found.drain(..passed);
    let first_seq = found.first().map_or(1, |first| first.first_seq).max(after + 1);
    let records = (head.seq + 1).saturating_sub(first_seq);
    let end = (head.seq, chain::to_hex(&head.hash));
    let header = Header::new(head.journal_id, records, first_seq, end).behind(base.as_ref());
    write_header(to, &header)?;
    if let Some(base) = &base {
        write_base(to, base)?;
    }
    let (mut assembler, mut last) = (Assembler::default(), first_seq - 1);
    let mut lines = Lines::new(found);
    while last < head.seq {
        let missing = || io::Error::other(format!("record {} is not there", last + 1));
        for item in assembler.push(lines.next().ok_or_else(missing)??) {
            let entry = match item {
                Item::Record(found) => found.entry,
                Item::Unreadable(found) => {
                    return Err(io::Error::other(format!("{}: {}", found.position, found.error)));
                }
            };
            let seq = entry.record.seq();
            if (first_seq..=head.seq).contains(&seq) {
                to.write_all(&render(&entry).map_err(io::Error::other)?)?;
                last = seq;
            }
        }
    }
    Ok(header)
}
