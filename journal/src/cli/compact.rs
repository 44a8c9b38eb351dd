//! `journal compact`: makes the copy in sled anew, as small as its records.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::{Error, Format, Output};
use crate::store::sled::compact;

/// Options of `compact`.
#[derive(Clone, Debug, Args)]
pub struct Compact {
    /// Says that files may be deleted: generations of sled's copy older than the former one.
    #[arg(long, required = true)]
    destructive: bool,
}

#[derive(Serialize)]
struct Shown {
    generation: String,
    records: u64,
    bytes_before: u64,
    bytes_after: u64,
    deleted: Vec<String>,
}

impl Compact {
    pub(super) fn run(&self, dir: &Path, output: &mut Output<'_>) -> Result<(), Error> {
        output.tell(&format!("compacting the journal in {}", dir.display()))?;
        let done = compact(dir).map_err(|error| Error::Compact(Box::new(error)))?;
        let shown = Shown {
            generation: done.generation,
            records: done.records,
            bytes_before: done.bytes_before,
            bytes_after: done.bytes_after,
            deleted: done.deleted,
        };
        if output.format() != Format::Table {
            return output.object(&shown);
        }
        let Shown { generation, records, bytes_before, bytes_after, deleted } = shown;
        output.line(&format!(
            "{generation}: {records} records, {bytes_after} bytes instead of {bytes_before}"
        ))?;
        if deleted.is_empty() {
            Ok(())
        } else {
            output.line(&format!("deleted {}", deleted.join(", ")))
        }
    }
}
