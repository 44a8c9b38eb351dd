//! Packs segments that are full. Only under the journal's lock.
//!
//! The packed copy is durable and was read back before the original goes, so a crash at any point
//! leaves at least one of them whole. Where both are there, the original counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::reader::{Form, segments};
use super::{SEALED_SUFFIX, sync_dir};

/// What a packed copy is called while it is being made.
const UNFINISHED_SUFFIX: &str = ".gz.new";

/// Packs every segment but the last one, to which records are appended.
pub(super) fn seal_all(dir: &Path) -> io::Result<()> {
    let found = segments(dir)?;
    let Some((_, full)) = found.split_last() else { return Ok(()) };
    for segment in full.iter().filter(|segment| segment.form == Form::Plain) {
        seal(dir, &segment.name)?;
    }
    Ok(())
}

fn seal(dir: &Path, name: &str) -> io::Result<()> {
    let original = dir.join(name);
    let unfinished = dir.join(format!("{name}{UNFINISHED_SUFFIX}"));
    let bytes = fs::read(&original)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let mut packer = GzEncoder::new(file, Compression::default());
    packer.write_all(&bytes)?;
    packer.finish()?.sync_all()?;
    let mut read_back = Vec::with_capacity(bytes.len());
    MultiGzDecoder::new(BufReader::new(File::open(&unfinished)?)).read_to_end(&mut read_back)?;
    if read_back != bytes {
        fs::remove_file(&unfinished)?;
        return Err(io::Error::other(format!("{name} is not the same when it is unpacked")));
    }
    fs::rename(&unfinished, dir.join(format!("{name}{SEALED_SUFFIX}")))?;
    sync_dir(dir)?;
    fs::remove_file(&original)?;
    sync_dir(dir)
}
