//! Opening a journal: lock, read, verify, compare, heal. In this order.

use std::io;
use std::path::{Path, PathBuf};

use super::OpenOptions;
use super::generation::Generation;
use super::heal::{self, Found};
use super::lock::{self, Lock, Taken};
use super::mend;
use super::retire;
use crate::audit::{
    self, Base, Checkpoint, Covered, Ignored, Kept, LoadError, Loaded, TornTail, Writer,
    checkpoints, cut_torn_tail, kept, release_ballast,
};
use crate::chain::{self, Hash};
use crate::io::{create_dir_all, sync_dir};
use crate::store::ledger::Ledger;

/// What was found and done while a journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the directory held no record.
    pub created: bool,
    /// How many records it holds.
    pub records: u64,
    /// What was done to the copies.
    pub healed: Vec<Healed>,
    /// Where the former copy in sled was moved.
    pub quarantined: Option<PathBuf>,
    /// What was cut from the audit file's end: an append that nobody was told to be durable.
    pub torn_tail: Option<TornTail>,
    /// The record behind which the journal was folded, from a checkpoint; 0 when all was folded.
    pub checkpoint: u64,
    /// Checkpoints that were not used, as they do not fit. Nothing is lost by it but time.
    pub ignored_checkpoints: Vec<Ignored>,
    /// The last record that was retired; 0 while none was.
    pub retired: u64,
    /// What is wrong with the base that stands for the retired records, where a checkpoint stands in
    /// for it or no record names it. Nothing that is still there is lost by it, but the proof that
    /// it follows from what was retired. People should be told.
    pub base_finding: Option<String>,
}

/// What was done to one of the copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healed {
    /// The audit file was damaged, and was put together again from what can be read of it and of
    /// sled. Every record is there. People should be told.
    AuditMended {
        /// What was found.
        damage: String,
        /// How many records came from sled.
        records: u64,
        /// Where the damaged segments are kept.
        kept_in: Vec<PathBuf>,
        /// Digests of long texts that stood beside records in the audit file only, and are lost.
        lost_texts: Vec<String>,
    },
    /// One of the two files of the base was missing or damaged, and was written anew from the other.
    /// People should be told.
    BaseRestored {
        /// Names of the files.
        files: Vec<String>,
    },
    /// A retirement that a crash cut short was brought to its end.
    RetirementFinished {
        /// The last retired record.
        through: u64,
    },
    /// Records that were retired had too large a part in it: it was made anew without them.
    Trimmed {
        /// Name of the new generation.
        generation: String,
        /// How many retired records the former one held.
        retired: u64,
    },
    /// It ended too early, which is normal after a kill: these records were added.
    Appended {
        /// First sequence.
        from: u64,
        /// Last sequence.
        to: u64,
    },
    /// It could not be used and was made anew from the audit file. People should be told.
    Rebuilt {
        /// What was wrong with it.
        reason: String,
        /// Name of the new generation.
        generation: String,
        /// How many records it holds.
        records: u64,
    },
}

/// Why a journal cannot be opened. Nothing was changed then, but for what sled does to its own
/// files when it is opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the journal in {} is in use by {}", dir.display(), holder(*pid))]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
        /// The process, as it wrote itself down.
        pid: Option<u32>,
    },
    /// The directory or a file in it may not be written.
    #[error("the journal cannot be written at {}", path.display())]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The disk, or a quota on it, is full.
    #[error("no space is left for the journal at {}", path.display())]
    Full {
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Any other failure of the system.
    #[error("the journal cannot be opened at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is the journal of another installation. Found by the operator, which knows its own.
    #[error("the journal belongs to namespace {found}, not to {expected}")]
    BelongsElsewhere {
        /// UID of the operator's own namespace.
        expected: String,
        /// UID in the journal's genesis.
        found: String,
    },
    /// The audit file is damaged where no crash can have torn it.
    #[error("the audit file is damaged: {segment} line {line} (seq {seq}): {reason}")]
    Damaged {
        /// File name of the segment.
        segment: String,
        /// Number of the line, from 1.
        line: u64,
        /// The sequence that belongs there.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
    /// The audit file lost records that sled still has.
    #[error(
        "the audit file ends with seq {audit_seq} ({segment} line {line}), but {generation} holds \
         records up to seq {sled_seq}: the audit file has lost its end"
    )]
    AuditBehind {
        /// Last sequence of the audit file.
        audit_seq: u64,
        /// File name of its last segment.
        segment: String,
        /// Number of its last whole line.
        line: u64,
        /// Name of the generation of sled.
        generation: String,
        /// Last sequence there.
        sled_seq: u64,
    },
    /// Both copies together lack records that are known to have been there.
    #[error(
        "records are lost: they are whole up to seq {found_seq}, and there were more, at least up \
         to {known_seq}; {damage}"
    )]
    Gap {
        /// Last sequence up to which every record is there.
        found_seq: u64,
        /// A later sequence that was there.
        known_seq: u64,
        /// What was found first.
        damage: String,
    },
    /// The base that stands for the retired records is not the one that the journal's record of their
    /// retirement names.
    #[error(
        "the base that stands for the records up to {seq} is not the one that was recorded: {reason}"
    )]
    Base {
        /// The last retired record.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
    /// Two different records claim one place: two processes wrote copies of one journal.
    #[error(
        "the journal is forked at seq {seq}: its copies hold different records there. Nothing is \
         written until a person has decided which one is right"
    )]
    Forked {
        /// The first such place.
        seq: u64,
    },
    /// A newer program wrote it.
    #[error("the journal was written by a newer program: {what}")]
    NewerFormat {
        /// What is not known.
        what: String,
    },
    /// sled cannot be made to work on this disk, although the audit file is whole.
    #[error("sled cannot be used in {}: {reason}", path.display())]
    Sled {
        /// Its directory.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl OpenError {
    /// Sorts a failure of the system by what a person can do about it.
    pub fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io { path, source },
        }
    }

    /// What a process that cannot go on without the journal exits with:
    ///
    /// | code | variant |
    /// | --- | --- |
    /// | 2 | `Io`, `Sled` |
    /// | 5 | `NewerFormat` |
    /// | 10 | `Locked` |
    /// | 11 | `NotWritable` |
    /// | 12 | `Full` |
    /// | 13 | `BelongsElsewhere` |
    /// | 14 | `Damaged`, `AuditBehind`, `Base`, `Gap`, `Forked` |
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::Sled { .. } => 2,
            Self::NewerFormat { .. } => 5,
            Self::Locked { .. } => 10,
            Self::NotWritable { .. } => 11,
            Self::Full { .. } => 12,
            Self::BelongsElsewhere { .. } => 13,
            Self::Damaged { .. }
            | Self::AuditBehind { .. }
            | Self::Base { .. }
            | Self::Gap { .. }
            | Self::Forked { .. } => 14,
        }
    }

    /// Whether the other copy may hold what is missing.
    fn is_mendable(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::AuditBehind { .. })
    }
}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        let what = error.to_string();
        match error {
            LoadError::Io { path, source } => Self::from_io(&path, source),
            LoadError::Damaged { segment, line, seq, reason } => {
                Self::Damaged { segment, line, seq, reason }
            }
            LoadError::NewerFormat { .. } | LoadError::NewerBase { .. } => {
                Self::NewerFormat { what }
            }
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A journal that is whole, locked and ready to be written.
pub(super) struct Opened {
    pub(super) ledger: Ledger,
    pub(super) base: Option<Base>,
    pub(super) retired: (u64, Hash),
    pub(super) generation: Generation,
    pub(super) writer: Writer,
    pub(super) lock: Lock,
    pub(super) report: OpenReport,
}

/// Opens a journal; on a full disk with the room that is kept for that.
pub(super) fn open(options: &OpenOptions) -> Result<Opened, OpenError> {
    match open_once(options) {
        Err(OpenError::Full { .. }) if release_ballast(&options.dir) => open_once(options),
        opened => opened,
    }
}

fn open_once(options: &OpenOptions) -> Result<Opened, OpenError> {
    let dir = options.dir.as_path();
    let io_error = |source| OpenError::from_io(dir, source);
    create_dir(dir).map_err(io_error)?;
    let lock = match lock::take(dir).map_err(io_error)? {
        Taken::Ours(lock) => lock,
        Taken::Theirs(pid) => return Err(OpenError::Locked { dir: dir.to_owned(), pid }),
    };
    // sled is looked at before anything is cut: it may hold what the audit file has lost.
    let mut ignored = Vec::new();
    let (read, mended) = match read(options, &mut ignored) {
        Err(damage) if damage.is_mendable() => {
            let mended = mend::mend(dir, options.journal_id, &damage)?;
            // What is to be told of checkpoints was told by the first look.
            (read(options, &mut Vec::new())?, Some(mended))
        }
        read => (read?, None),
    };
    let (read, settled) = retire::settle(options, read)?;
    let Read { loaded, found, covered } = read;
    let mut report = OpenReport {
        created: loaded.ledger.head().seq == 0,
        records: loaded.ledger.head().seq - loaded.retired.0,
        healed: mended.into_iter().chain(settled.healed).collect(),
        retired: loaded.retired.0,
        base_finding: settled.finding,
        checkpoint: loaded.ledger.base().0,
        ignored_checkpoints: ignored,
        ..OpenReport::default()
    };
    if let Some(mut torn) = loaded.torn.clone() {
        torn.kept_in = Some(cut_torn_tail(dir, &torn).map_err(io_error)?);
        report.torn_tail = Some(torn);
    }
    let next_seq = loaded.ledger.head().seq + 1;
    let (segments, boundary) = (&loaded.segments, loaded.boundary.clone());
    let mut writer = Writer::open(dir, segments, next_seq, options.segment_max, covered, boundary)
        .map_err(io_error)?;
    let generation = match found {
        Found::Usable { generation, name, rows } => {
            heal::complete(dir, &loaded, generation, &name, rows, &mut report)?
        }
        Found::Unusable { path, reason } => {
            report.quarantined = Some(heal::quarantine(dir, &path).map_err(io_error)?);
            heal::rebuild(dir, &loaded, &reason, &mut report)?
        }
        Found::Missing => heal::rebuild(dir, &loaded, "sled's directory is missing", &mut report)?,
    };
    writer.keep_reserve();
    let Loaded { ledger, base, retired, .. } = loaded;
    Ok(Opened { ledger, base, retired, generation, writer, lock, report })
}

/// Both copies as they are.
pub(super) struct Read {
    pub(super) loaded: Loaded,
    pub(super) found: Found,
    /// What the checkpoint covers from which it was read.
    pub(super) covered: Covered,
}

/// Reads both copies as they are: from the newest checkpoint that fits, else from the first record
/// on. Those that do not fit are noted.
pub(super) fn read(options: &OpenOptions, ignored: &mut Vec<Ignored>) -> Result<Read, OpenError> {
    let dir = &options.dir;
    for (seq, path) in checkpoints(dir).map_err(|source| OpenError::from_io(dir, source))? {
        match read_after(options, seq, &path) {
            Ok(read) => return Ok(read),
            Err(reason) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                ignored.push(Ignored { file, reason });
            }
        }
    }
    let loaded = audit::load(dir, options.journal_id)?;
    let found = heal::inspect(dir, &loaded)?;
    let covered = Covered::from_record(loaded.retired);
    Ok(Read { loaded, found, covered })
}

/// Reads both copies from a checkpoint on; why that cannot be done, which may be its own fault or
/// that of what follows it. The whole journal tells which.
fn read_after(options: &OpenOptions, seq: u64, path: &Path) -> Result<Read, String> {
    let bytes = crate::io::read(path).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(&bytes)?;
    if checkpoint.snapshot.head.seq != seq {
        return Err("its name says another record than it does".into());
    }
    let kept = kept(&options.dir).map_err(|error| error.to_string())?;
    // Where the base is lost, the record of the retirement tells whether it is the only loss.
    let stands_in = kept.lacks_base();
    let retired =
        stands_in.as_ref().map_or_else(|| kept.retired_through(), |_| before_first(&kept));
    let rest = checkpoint.rest(retired, &kept.segments)?;
    let mut loaded = audit::load_after(&options.dir, &checkpoint, kept, rest)
        .map_err(|error| error.to_string())?;
    if let Some(why) = stands_in {
        loaded.retired = recorded(&loaded, retired).ok_or(why)?;
    }
    let found = heal::inspect(&options.dir, &loaded).map_err(|error| error.to_string())?;
    match &found {
        Found::Usable { rows, .. } if rows.last < seq => {
            Err(format!("sled's copy ends before it, with record {}", rows.last))
        }
        // The audit file is whole, so sled's copy is made from it.
        Found::Usable { .. } | Found::Unusable { .. } | Found::Missing => {
            Ok(Read { loaded, found, covered: Covered::from(&checkpoint) })
        }
    }
}

/// The record before the first one that is there.
fn before_first(kept: &Kept) -> u64 {
    kept.segments.first().map_or(0, |first| first.first_seq.saturating_sub(1))
}

/// The hash of this record, if the journal says that all up to it were retired.
fn recorded(loaded: &Loaded, through: u64) -> Option<(u64, Hash)> {
    let log = loaded.ledger.log_state();
    let retired = log.retired.as_ref().filter(|retired| retired.through == through)?;
    Some((through, chain::from_hex(&retired.hash)?))
}

fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    create_dir_all(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}
