//! Exports: one file with all records, and a first line that says which they are.
//!
//! An export is what leaves the machine. Its first line names the last record and its hash, so
//! that an export that was cut short is found out; the lines that follow are the audit file's own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::line::render;
use super::reader::{Form, GZIP_MAGIC, Lines, Segment, segments};
use super::survey::{Assembler, Item};
use crate::chain;
use crate::store::Head;

/// Version of the form of an export.
const VERSION: u32 = 1;
/// The longest first line that an export may have.
const HEADER_MAX: u64 = 4096;

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
}

impl Header {
    /// The header of an export in the present form.
    pub fn new(journal: Uuid, records: u64, first_seq: u64, last: (u64, String)) -> Self {
        Self { version: VERSION, journal, records, first_seq, last_seq: last.0, hash: last.1 }
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
    /// A newer program made it.
    #[error("it is an export of version {0}; this program knows version {VERSION}")]
    Newer(u32),
}

/// Reads the first line of an export.
///
/// # Errors
/// When there is none, or it is another program's.
pub fn read_header(path: &Path) -> Result<Header, ExportError> {
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    if file.fill_buf()?.starts_with(&GZIP_MAGIC) {
        let mut packed = BufReader::new(MultiGzDecoder::new(file)).take(HEADER_MAX);
        packed.read_until(b'\n', &mut line)?;
    } else {
        file.take(HEADER_MAX).read_until(b'\n', &mut line)?;
    }
    let header: Header = serde_json::from_slice(&line).map_err(|_| ExportError::NotAnExport)?;
    if header.version == VERSION { Ok(header) } else { Err(ExportError::Newer(header.version)) }
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
    let mut found = segments(dir)?;
    // Those before the one that the first wanted record stands in are passed over.
    let passed = found.iter().skip(1).take_while(|next| next.first_seq <= after + 1).count();
    found.drain(..passed);
    let first_seq = found.first().map_or(1, |first| first.first_seq).max(after + 1);
    let records = (head.seq + 1).saturating_sub(first_seq);
    let end = (head.seq, chain::to_hex(&head.hash));
    let header = Header::new(head.journal_id, records, first_seq, end);
    write_header(to, &header)?;
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
