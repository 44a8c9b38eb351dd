//! Reads the segments, line by line. It never writes and takes no lock.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::export::{export_segments, names_base};
use super::{SEALED_SUFFIX, SEGMENT_PREFIX, SEGMENT_SUFFIX};
use crate::io as disk;

/// One file of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Its file name.
    pub name: String,
    /// Sequence of its first record, as its name says.
    pub first_seq: u64,
    /// How its lines are kept.
    pub form: Form,
}

/// How a segment's lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Plain,
    /// In gzip: nothing is appended any more.
    Sealed,
    /// An export, plain or in gzip: its first line is not a record.
    Export,
}

impl Segment {
    /// Opens it at its first record, and tells how many lines and bytes stand before that. A segment
    /// that was sealed since it was listed is found too.
    fn open(&self) -> io::Result<(LineReader, Before)> {
        let (file, form) = match disk::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.form == Form::Plain => {
                let sealed = format!("{}{SEALED_SUFFIX}", self.name);
                (disk::open(&self.path.with_file_name(sealed))?, Form::Sealed)
            }
            opened => (opened?, self.form),
        };
        let mut plain = BufReader::new(file);
        let is_packed = match form {
            Form::Plain => false,
            Form::Sealed => true,
            Form::Export => plain.fill_buf()?.starts_with(&GZIP_MAGIC),
        };
        let mut reader = if is_packed {
            LineReader::Packed(Box::new(BufReader::new(MultiGzDecoder::new(plain))))
        } else {
            LineReader::Plain(plain)
        };
        let mut before = Before::default();
        if form == Form::Export {
            let mut header = Vec::new();
            before.add(reader.read_line(&mut header)?);
            if names_base(&header) {
                before.add(reader.read_line(&mut Vec::new())?);
            }
        }
        Ok((reader, before))
    }
}

/// What stands in a file before its first record.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    lines: u64,
    bytes: u64,
}

impl Before {
    fn add(&mut self, read: usize) {
        self.lines += u64::from(read > 0);
        self.bytes += read as u64;
    }
}

/// How a file in gzip begins.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What is taken for a line before it is read: most are not longer.
const LINE_BYTES: usize = 1024;

/// An open segment.
#[derive(Debug)]
enum LineReader {
    Plain(BufReader<File>),
    Packed(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
    /// Nothing more can be read of it.
    Ended,
}

impl LineReader {
    /// Adds the next line with its line end; how many bytes that were. What cannot be unpacked is a
    /// line that nobody can read, and the last one.
    fn read_line(&mut self, text: &mut Vec<u8>) -> io::Result<usize> {
        let packed = match self {
            Self::Plain(file) => return file.read_until(b'\n', text),
            Self::Packed(packed) => packed,
            Self::Ended => return Ok(0),
        };
        let before = text.len();
        match packed.read_until(b'\n', text) {
            Err(error) if is_damage(&error) => {
                text.extend_from_slice(b"(what follows cannot be unpacked)\n");
                *self = Self::Ended;
                Ok(text.len() - before)
            }
            read => read,
        }
    }

    /// Goes on behind this many bytes.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.seek(SeekFrom::Start(bytes)).map(|_| ()),
            Self::Packed(packed) => {
                io::copy(&mut io::Read::take(packed, bytes), &mut io::sink()).map(|_| ())
            }
            Self::Ended => Ok(()),
        }
    }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// File name of the segment.
    pub segment: Arc<str>,
    /// Number of the line in it, from 1.
    pub line: u64,
    /// Where the line begins, in bytes.
    pub offset: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} line {}", self.segment, self.line)
    }
}

/// A line as it stands in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLine {
    /// Where.
    pub position: Position,
    /// Its text, without the line end.
    pub text: Vec<u8>,
    /// Whether it has a line end. The last line of the last segment may lack it: then it is still
    /// being written, or a crash tore it.
    pub terminated: bool,
    /// Sequence that its segment's name promises for its first line; none on later lines.
    pub promised_seq: Option<u64>,
    /// Whether it stands in the last segment.
    pub in_last_segment: bool,
}

/// What is known of a line beside its text: see [`RawLine`].
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) terminated: bool,
    pub(crate) promised_seq: Option<u64>,
    pub(crate) in_last_segment: bool,
}

/// The segments of a directory, in the order of their records.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in disk::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (plain, form) = match name.strip_suffix(SEALED_SUFFIX) {
            Some(plain) => (plain, Form::Sealed),
            None => (name.as_str(), Form::Plain),
        };
        if let Some(first_seq) = first_seq_of(plain) {
            found.push(Segment { path: entry.path(), name, first_seq, form });
        }
    }
    // A crash may leave a segment in both forms: the plain one is the original.
    found.sort_by_key(|segment| (segment.first_seq, segment.form == Form::Sealed));
    found.dedup_by_key(|segment| segment.first_seq);
    Ok(found)
}

/// The names of the files that hold torn bytes which were cut off, in order.
///
/// # Errors
/// When the directory cannot be read.
pub fn broken_files(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(SEGMENT_PREFIX) && name.contains(".broken-") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// The sequence that the name of a segment promises, sealed or not.
pub(super) fn first_seq_of_name(name: &str) -> Option<u64> {
    first_seq_of(name.strip_suffix(SEALED_SUFFIX).unwrap_or(name))
}

fn first_seq_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(SEGMENT_PREFIX)?.strip_suffix(SEGMENT_SUFFIX)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// All lines of some segments, in order.
#[derive(Debug)]
pub struct Lines {
    segments: Vec<Segment>,
    /// Index of the segment that is open, or to be opened next.
    index: usize,
    file: Option<LineReader>,
    /// File name of the open segment.
    name: Arc<str>,
    /// How many lines the open segment has before its first record.
    header: u64,
    line: u64,
    offset: u64,
}

impl Lines {
    /// Reads from the first line of the first segment on.
    pub fn new(segments: Vec<Segment>) -> Self {
        Self { segments, index: 0, file: None, name: "".into(), header: 0, line: 0, offset: 0 }
    }

    /// The next lines, this many at most; none at the end. They share what they are kept in, and
    /// share nothing with other chunks: they may go to another thread.
    pub(crate) fn next_chunk(&mut self, lines: usize) -> io::Result<Option<Chunk>> {
        self.name = Arc::from(&*self.name);
        let text = Vec::with_capacity(lines * LINE_BYTES);
        let mut chunk = Chunk { text, lines: Vec::with_capacity(lines) };
        while chunk.lines.len() < lines {
            let start = chunk.text.len();
            let Some(place) = self.read_next(&mut chunk.text)? else { break };
            chunk.lines.push((start..chunk.text.len(), place));
        }
        Ok((!chunk.lines.is_empty()).then_some(chunk))
    }

    fn next_line(&mut self) -> io::Result<Option<RawLine>> {
        let mut text = Vec::with_capacity(LINE_BYTES);
        let Some(place) = self.read_next(&mut text)? else { return Ok(None) };
        let Place { position, terminated, promised_seq, in_last_segment } = place;
        Ok(Some(RawLine { position, text, terminated, promised_seq, in_last_segment }))
    }

    /// Adds the next line to the text, without its line end.
    fn read_next(&mut self, text: &mut Vec<u8>) -> io::Result<Option<Place>> {
        while let Some(segment) = self.segments.get(self.index) {
            let file = match &mut self.file {
                Some(file) => file,
                None => {
                    let (file, before) = segment.open().map_err(|error| gone(segment, error))?;
                    (self.header, self.offset) = (before.lines, before.bytes);
                    self.name = segment.name.as_str().into();
                    self.file.insert(file)
                }
            };
            let read = file.read_line(text)?;
            if read == 0 {
                self.file = None;
                (self.index, self.line, self.offset) = (self.index + 1, 0, 0);
                continue;
            }
            let terminated = text.pop_if(|byte| *byte == b'\n').is_some();
            self.line += 1;
            let line = self.line + self.header;
            let position = Position { segment: self.name.clone(), line, offset: self.offset };
            self.offset += read as u64;
            return Ok(Some(Place {
                position,
                terminated,
                promised_seq: (self.line == 1).then_some(segment.first_seq),
                in_last_segment: self.index + 1 == self.segments.len(),
            }));
        }
        Ok(None)
    }
}

/// Some lines after each other.
#[derive(Debug)]
pub(crate) struct Chunk {
    text: Vec<u8>,
    lines: Vec<(Range<usize>, Place)>,
}

impl Chunk {
    /// What is made of each line, by its place and its text without the line end.
    pub(crate) fn map<T>(self, mut make: impl FnMut(Place, &[u8]) -> T) -> Vec<T> {
        let Self { text, lines } = self;
        let of = |(range, place)| make(place, text.get::<Range<usize>>(range).unwrap_or_default());
        lines.into_iter().map(of).collect()
    }
}

impl Iterator for Lines {
    type Item = io::Result<RawLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

/// Who reads without the lock may come too late to a segment that it saw a moment ago.
fn gone(segment: &Segment, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    let what = format!("{} was retired while it was to be read: try again", segment.name);
    io::Error::new(error.kind(), what)
}

/// Reads whole lines as they are appended, across segments, while another process writes.
#[derive(Debug)]
pub struct Follower {
    /// A directory, or the file of an export that grows.
    path: PathBuf,
    /// The last record that is not to be read.
    retired: u64,
    segment: Option<Segment>,
    line: u64,
    offset: u64,
}

impl Follower {
    /// Begins at the first record of a directory, or of an export that somebody appends to.
    pub fn new(path: &Path) -> Self {
        Self::after(path, 0)
    }

    /// Begins at the first line of the first segment behind a record: that of the base.
    pub fn after(path: &Path, retired: u64) -> Self {
        Self { path: path.to_owned(), retired, segment: None, line: 0, offset: 0 }
    }

    fn segments(&self) -> io::Result<Vec<Segment>> {
        if !self.path.is_file() {
            return segments(&self.path);
        }
        export_segments(&self.path).map(|(found, _)| found).map_err(io::Error::other)
    }

    /// The whole lines that were appended since the last call. A half-written one is left for the
    /// next call.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn read_new(&mut self) -> io::Result<Vec<RawLine>> {
        let mut lines = Vec::new();
        loop {
            let all = self.segments()?;
            let next = |after: u64| all.iter().find(|segment| segment.first_seq > after).cloned();
            let again =
                |old: &Segment| all.iter().find(|segment| segment.first_seq == old.first_seq);
            let segment = match &self.segment {
                // It may have been sealed meanwhile.
                Some(segment) => again(segment).unwrap_or(segment).clone(),
                None => match next(self.retired) {
                    Some(first) => self.segment.insert(first).clone(),
                    None => return Ok(lines),
                },
            };
            // Whether there is a next segment is asked before this one is read to its end:
            // afterwards nothing is appended to it any more.
            let next = next(segment.first_seq);
            self.read_segment(&segment, next.is_none(), &mut lines)?;
            let Some(next) = next else { return Ok(lines) };
            self.segment = Some(next);
            (self.line, self.offset) = (0, 0);
        }
    }

    fn read_segment(
        &mut self,
        segment: &Segment,
        in_last_segment: bool,
        lines: &mut Vec<RawLine>,
    ) -> io::Result<()> {
        let (mut file, before) = segment.open()?;
        self.offset = self.offset.max(before.bytes);
        file.skip(self.offset)?;
        let name: Arc<str> = segment.name.as_str().into();
        loop {
            let mut text = Vec::new();
            let read = file.read_line(&mut text)?;
            if text.pop_if(|byte| *byte == b'\n').is_none() {
                return Ok(());
            }
            self.line += 1;
            let line = self.line + before.lines;
            let position = Position { segment: name.clone(), line, offset: self.offset };
            self.offset += read as u64;
            lines.push(RawLine {
                position,
                text,
                terminated: true,
                promised_seq: (self.line == 1).then_some(segment.first_seq),
                in_last_segment,
            });
        }
    }
}
