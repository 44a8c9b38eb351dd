//! Reads the segments, line by line. It never writes and takes no lock.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{SEGMENT_PREFIX, SEGMENT_SUFFIX};

/// One file of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Its file name.
    pub name: String,
    /// Sequence of its first record, as its name says.
    pub first_seq: u64,
}

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// File name of the segment.
    pub segment: String,
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

/// The segments of a directory, in the order of their records.
///
/// # Errors
/// When the directory cannot be read.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(first_seq) = first_seq_of(&name) {
            found.push(Segment { path: entry.path(), name, first_seq });
        }
    }
    found.sort_by_key(|segment| segment.first_seq);
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
    file: Option<BufReader<File>>,
    line: u64,
    offset: u64,
}

impl Lines {
    /// Reads from the first line of the first segment on.
    pub fn new(segments: Vec<Segment>) -> Self {
        Self { segments, index: 0, file: None, line: 0, offset: 0 }
    }

    fn next_line(&mut self) -> io::Result<Option<RawLine>> {
        while let Some(segment) = self.segments.get(self.index) {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(BufReader::new(File::open(&segment.path)?)),
            };
            let mut text = Vec::new();
            let read = file.read_until(b'\n', &mut text)?;
            if read == 0 {
                self.file = None;
                (self.index, self.line, self.offset) = (self.index + 1, 0, 0);
                continue;
            }
            let terminated = text.pop_if(|byte| *byte == b'\n').is_some();
            self.line += 1;
            let position =
                Position { segment: segment.name.clone(), line: self.line, offset: self.offset };
            self.offset += read as u64;
            return Ok(Some(RawLine {
                position,
                text,
                terminated,
                promised_seq: (self.line == 1).then_some(segment.first_seq),
                in_last_segment: self.index + 1 == self.segments.len(),
            }));
        }
        Ok(None)
    }
}

impl Iterator for Lines {
    type Item = io::Result<RawLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_line().transpose()
    }
}

/// Reads whole lines as they are appended, across segments, while another process writes.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    segment: Option<Segment>,
    line: u64,
    offset: u64,
}

impl Follower {
    /// Begins at the first line of the directory's first segment.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), segment: None, line: 0, offset: 0 }
    }

    /// The whole lines that were appended since the last call. A half-written one is left for the
    /// next call.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn read_new(&mut self) -> io::Result<Vec<RawLine>> {
        let mut lines = Vec::new();
        loop {
            let all = segments(&self.dir)?;
            let next = |after: u64| all.iter().find(|segment| segment.first_seq > after).cloned();
            let segment = match &self.segment {
                Some(segment) => segment.clone(),
                None => match all.first().cloned() {
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
        let mut file = BufReader::new(File::open(&segment.path)?);
        file.seek(SeekFrom::Start(self.offset))?;
        loop {
            let mut text = Vec::new();
            let read = file.read_until(b'\n', &mut text)?;
            if text.pop_if(|byte| *byte == b'\n').is_none() {
                return Ok(());
            }
            self.line += 1;
            let position =
                Position { segment: segment.name.clone(), line: self.line, offset: self.offset };
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
