//! How much there is of a journal: cheap to collect, as only names and sizes are looked at.

use std::path::Path;

use super::compact::size;
use super::heal::current;
use super::{SledStore, Store};
use crate::audit::{bases, checkpoints, has_ballast, segments};
use crate::store::Figures;

/// What cannot be looked at counts as nothing: these figures are for people, and nothing is decided
/// by them.
pub(super) fn of(store: &SledStore) -> Figures {
    let dir = store.retiring.dir();
    let found = segments(dir).unwrap_or_default();
    let of_bases = bases(dir).unwrap_or_default();
    let files = found.iter().map(|segment| segment.path.as_path());
    let files = files.chain(of_bases.iter().map(|(_, path)| path.as_path()));
    let states = store.streams();
    let open = states.iter().filter_map(|(_, state)| state.operation.as_ref());
    let last_seq = store.head().seq;
    Figures {
        audit_bytes: files.map(bytes_of).sum(),
        sled_bytes: current(dir)
            .ok()
            .flatten()
            .and_then(|name| size(&dir.join(name)).ok())
            .unwrap_or_default(),
        segments: found.len() as u64,
        first_seq: if last_seq == 0 { 0 } else { store.retired() + 1 },
        last_seq,
        checkpoint_seq: checkpoints(dir)
            .ok()
            .and_then(|found| found.first().map(|(seq, _)| *seq))
            .unwrap_or_default(),
        has_reserve: has_ballast(dir),
        operation_records: open.map(|operation| operation.records).max().unwrap_or_default(),
    }
}

fn bytes_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |about| about.len())
}
