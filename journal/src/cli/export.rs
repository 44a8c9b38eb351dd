//! `journal export` and `journal import`: the whole journal as one file, and back.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::{Error, Format, Output, Source};
use crate::audit::survey_segments;
use crate::audit::{Header, Item, render, segment_name, write_base, write_header};
use crate::chain;
use crate::check::{Severity, check_segments};
use crate::io::sync_dir;
use crate::store::ledger::Entry;

/// Options of `export`.
#[derive(Clone, Debug, Args)]
pub struct Export {
    /// The file to write; a name that ends in `.gz` is packed. It must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Options of `import`.
#[derive(Clone, Debug, Args)]
pub struct Import {
    /// The export.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The directory to make. It must not exist, or be empty.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    written: String,
    journal: String,
    records: u64,
    seq: u64,
    hash: String,
}

impl Export {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let entries = source.entries(output)?;
        let Some(header) = header_of(&entries) else {
            return Err(Error::NoJournal(source.path.clone()));
        };
        let header = header.behind(source.base.as_ref());
        let failed = |source| Error::Create { path: self.file.clone(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file);
        let file = file.map_err(failed)?;
        let mut lines = Vec::new();
        write_header(&mut lines, &header).map_err(failed)?;
        if let Some(base) = &source.base {
            write_base(&mut lines, base).map_err(failed)?;
        }
        for entry in &entries {
            lines.extend(render(entry).map_err(|error| failed(io::Error::other(error)))?);
        }
        if self.file.extension().is_some_and(|extension| extension == "gz") {
            let mut packer = GzEncoder::new(file, Compression::default());
            packer.write_all(&lines).map_err(failed)?;
            packer.finish().and_then(|file| file.sync_all()).map_err(failed)?;
        } else {
            let mut file = file;
            file.write_all(&lines).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        told(&self.file, &header, output)
    }
}

fn header_of(entries: &[Entry]) -> Option<Header> {
    let (first, last) = entries.first().zip(entries.last())?;
    let journal = last.record.envelope.journal_id;
    let end = (last.record.seq(), chain::to_hex(&last.record.hash));
    Some(Header::new(journal, entries.len() as u64, first.record.seq(), end))
}

impl Import {
    /// Writes nothing unless the export is whole.
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<(), Error> {
        let source = Source::open(self.file.clone(), false, output)?;
        let Some(header) = &source.header else { return Err(Error::NotAFile(self.file.clone())) };
        let unreadable = |source| Error::Read { dir: self.file.clone(), source };
        let (base, segments) = (source.base.as_ref(), source.segments());
        let report =
            check_segments(base, segments.clone(), source.promised()).map_err(unreadable)?;
        if report.worst().is_some() {
            for finding in report.findings.iter().filter(|it| it.severity > Severity::Note) {
                output.tell(&format!("not imported: {}", finding.message))?;
            }
            output.exit_with(report.exit_code());
            return Ok(());
        }
        let create = |source| Error::Create { path: self.dir.clone(), source };
        make_empty(&self.dir).map_err(create)?;
        let mut lines = Vec::new();
        for item in survey_segments(segments).map_err(unreadable)?.0 {
            if let Item::Record(found) = item {
                lines
                    .extend(render(&found.entry).map_err(|error| create(io::Error::other(error)))?);
            }
        }
        if let Some(base) = base {
            base.write(&self.dir).map_err(create)?;
        }
        let path = self.dir.join(segment_name(header.first_seq));
        write_new(&path, &lines).and_then(|()| sync_dir(&self.dir)).map_err(create)?;
        told(&self.dir, header, output)
    }
}

fn make_empty(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if std::fs::read_dir(dir)?.next().is_some() {
                let kind = io::ErrorKind::DirectoryNotEmpty;
                return Err(io::Error::new(kind, "it holds something already"));
            }
            Ok(())
        }
        made => made,
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn told(to: &Path, header: &Header, output: &mut Output<'_>) -> Result<(), Error> {
    let written = Written {
        written: to.display().to_string(),
        journal: header.journal.to_string(),
        records: header.records,
        seq: header.last_seq,
        hash: header.hash.clone(),
    };
    if output.format() != Format::Table {
        return output.object(&written);
    }
    output.line(&format!(
        "{}: {} records of journal {}, the last one {} with hash {}",
        super::output::escape(&written.written),
        written.records,
        written.journal,
        written.seq,
        written.hash
    ))
}
