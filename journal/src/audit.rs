//! The audit file: an append-only log with one JSON object a line, synced before anything else.
//!
//! It is kept in segments `audit-<first seq>.jsonl`. One that has grown to its size is sealed: the
//! next records go to a new one, and it is packed into `audit-<first seq>.jsonl.gz`. A line carries the canonical bytes of its
//! record, which count, and the same in readable form, which is derived from them and compared by
//! [`crate::check`]. Texts that are too long for a record stand beside it under their digest.
//!
//! Whoever holds the journal's lock may cut a *torn tail*: what a crash left behind of an append
//! that was never acknowledged. The torn bytes are kept in `<segment>.broken-<n>`. Everybody else
//! only reads, and takes no notice of it. Damage anywhere else is never passed over: it is told
//! with its segment, line and sequence.
//!
//! Old segments may be retired: a [`Base`] stands for their records from then on.

mod ballast;
mod base;
mod checkpoint;
mod export;
mod line;
mod load;
mod readable;
mod reader;
mod seal;
mod survey;
mod writer;

#[cfg(test)]
pub(crate) use ballast::BALLAST_BYTES;
pub(crate) use ballast::{is_kept_in as has_ballast, release_in as release_ballast};
pub use base::{Base, BaseError, Kept, kept};
pub(crate) use base::{LOOKS, bases, delete_all_but, delete_segments, read as read_base};
pub use checkpoint::{Checkpoint, FOLD_VERSION, Ignored, Sealed, checkpoints};
pub(crate) use checkpoint::{Covered, Refolding};
pub use export::{
    ExportError, Header, export_base, export_segments, read_header, stream_export, write_base,
    write_header,
};
pub use line::{LineError, StoredLine, time_text};
pub(crate) use line::{read as read_line, render};
pub(crate) use load::beginning;
pub use load::{LoadError, Loaded, TornTail, load, load_after};
pub use readable::readable_event;
pub(crate) use reader::Chunk;
pub use reader::{Follower, Form, Lines, Position, RawLine, Segment, broken_files, segments};
pub(crate) use survey::Looked;
pub use survey::{Assembler, Found, Item, Unreadable, survey, survey_segments};
pub(crate) use writer::{Sink, Writer, create_broken, cut_torn_tail};

/// How a segment's name begins.
const SEGMENT_PREFIX: &str = "audit-";
/// How a segment's name ends.
const SEGMENT_SUFFIX: &str = ".jsonl";
/// What follows the name of a segment that is sealed and compressed.
const SEALED_SUFFIX: &str = ".gz";

/// The name of the segment whose first record has this sequence.
pub fn segment_name(first_seq: u64) -> String {
    format!("{SEGMENT_PREFIX}{first_seq:020}{SEGMENT_SUFFIX}")
}

#[cfg(test)]
mod tests;
