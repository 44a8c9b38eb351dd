//! Packs segments that are full. Only under the journal's lock.
//!
//! The packed copy is durable and was read back before the original goes, so a crash at any point
//! leaves at least one of them whole. Where both are there, the original counts.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::SEALED_SUFFIX;
use super::reader::{Form, segments};
use crate::io::{self as disk, File, sync_dir};

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
    let bytes = disk::read(&original)?;
    let mut packer = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    packer.write_all(&bytes)?;
    packer.finish()?.sync_all()?;
    let mut read_back = Vec::with_capacity(bytes.len());
    MultiGzDecoder::new(BufReader::new(disk::open(&unfinished)?)).read_to_end(&mut read_back)?;
    if read_back != bytes {
        disk::remove_file(&unfinished)?;
        return Err(io::Error::other(format!("{name} is not the same when it is unpacked")));
    }
    disk::rename(&unfinished, &dir.join(format!("{name}{SEALED_SUFFIX}")))?;
    sync_dir(dir)?;
    disk::remove_file(&original)?;
    sync_dir(dir)
}
