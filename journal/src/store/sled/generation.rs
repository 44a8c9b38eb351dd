//! One sled database: the records by sequence, and an index of them by stream.
//!
//! | tree | key | value |
//! | --- | --- | --- |
//! | `records` | sequence, 8 bytes big-endian | canonical bytes, hash, CRC-32C little-endian |
//! | `streams` | stream id, stream sequence, both big-endian | sequence, big-endian |
//! | `meta` | `format` | version of this layout |

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::sled::Transactional;
use ::sled::transaction::{ConflictableTransactionError, TransactionError};
use uuid::Uuid;

use crate::chain::{self, Hash};
use crate::codec::{self, STORED_MAX};
use crate::io::{Op, guard, is_full, sync_dir};
use crate::record::Record;
use crate::store::ledger::Entry;

/// Version of the layout of the trees.
const FORMAT: u8 = 1;
/// How much memory sled may use to cache pages.
const CACHE_BYTES: u64 = 64 << 20;

/// What sled says when somebody else has the database open.
pub(super) const LOCKED: &str = "could not acquire lock";
/// How often, and how far apart, a database that is locked is tried: for five seconds.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why sled did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// sled itself failed.
    #[error(transparent)]
    Sled(#[from] ::sled::Error),
    /// The file of sled could not be synced or found.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A record with this sequence is there already.
    #[error("record {0} is stored already")]
    Occupied(u64),
    /// A value is too large for sled to keep it where it is synced.
    #[error("record {seq} of {bytes} bytes is larger than the {STORED_MAX} that may be stored")]
    TooLarge {
        /// The record.
        seq: u64,
        /// Its stored size.
        bytes: usize,
    },
    /// A newer program made this database.
    #[error("its layout is version {0}; this program knows version {FORMAT}")]
    NewerFormat(u8),
}

impl Error {
    /// Whether the disk, or a quota on it, is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io(error) | Self::Sled(::sled::Error::Io(error)) if is_full(error))
    }
}

/// How a database compares with the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// It holds these records, and they are the journal's.
    Prefix(Rows),
    /// It holds more than the journal.
    Ahead(u64),
    /// It holds another record of the same journal at this sequence.
    Forked(u64),
    /// It holds something else.
    Different(String),
}

/// The records that a database holds, without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// The record before the first one: all up to there were retired when it was made.
    pub(super) before: u64,
    /// The last one.
    pub(super) last: u64,
}

impl Rows {
    /// How many there are up to a record.
    pub(super) fn up_to(self, seq: u64) -> u64 {
        seq.min(self.last).saturating_sub(self.before)
    }
}

/// A record as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    stream: Vec<u8>,
    value: Vec<u8>,
}

impl Row {
    /// The stored form of a record; an error when sled would not keep it where it is synced.
    pub(super) fn of(entry: &Entry) -> Result<Self, Error> {
        let (seq, value) = (entry.record.seq(), stored_value(entry));
        if value.len() > STORED_MAX {
            return Err(Error::TooLarge { seq, bytes: value.len() });
        }
        Ok(Self { seq, stream: stream_key(entry), value })
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Generation {
    records: ::sled::Tree,
    streams: ::sled::Tree,
    db: ::sled::Db,
    /// Our own handle of sled's file: sled's flush does not sync it.
    file: File,
    path: PathBuf,
}

impl Generation {
    /// Opens a database, or makes it. Damaged files may make sled panic: see [`guarded`].
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let db = guard(Op::Sled, path, || open_unlocked(path))?;
        let meta = db.open_tree("meta")?;
        let records = db.open_tree("records")?;
        let streams = db.open_tree("streams")?;
        match meta.get("format")?.and_then(|value| value.first().copied()) {
            Some(version) if version > FORMAT => return Err(Error::NewerFormat(version)),
            Some(_) => {}
            None => {
                meta.insert("format", &[FORMAT])?;
            }
        }
        let file = File::open(path.join("db"))?;
        sync_dir(path)?;
        Ok(Self { records, streams, db, file, path: path.to_owned() })
    }

    /// Stores records that are not there yet, all or none, and hands them to the system. A crash
    /// of the process does not lose them any more; only [`Generation::sync`] makes them durable.
    pub(super) fn append(&self, rows: &[Row]) -> Result<(), Error> {
        let stored = (&self.records, &self.streams).transaction(|(records, streams)| {
            for Row { seq, stream, value } in rows {
                let key = seq.to_be_bytes();
                if records.insert(&key, value.as_slice())?.is_some() {
                    return Err(ConflictableTransactionError::Abort(*seq));
                }
                streams.insert(stream.as_slice(), &key)?;
            }
            Ok(())
        });
        stored.map_err(|error| match error {
            TransactionError::Abort(seq) => Error::Occupied(seq),
            TransactionError::Storage(error) => Error::Sled(error),
        })?;
        self.flush()
    }

    fn flush(&self) -> Result<(), Error> {
        guard(Op::Sled, &self.path, || self.db.flush().map(|_| ()).map_err(Error::from))
    }

    /// Makes all that is stored durable. Never tried a second time: after a failed sync the
    /// system may have dropped what was to be written.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.flush()?;
        guard(Op::SyncData, &self.path.join("db"), || self.file.sync_data().map_err(Error::from))
    }

    /// The canonical bytes of a record, compared with its hash.
    pub(super) fn get(&self, seq: u64, hash: &Hash) -> Result<Vec<u8>, crate::store::Error> {
        let read = catch_unwind(AssertUnwindSafe(|| self.records.get(seq.to_be_bytes())));
        let failed = |reason| crate::store::Error::Read { seq, reason };
        let value = match read {
            Ok(Ok(Some(value))) => value,
            Ok(Ok(None)) => return Err(crate::store::Error::Missing { seq }),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(panic) => return Err(failed(panic_text(&*panic))),
        };
        match split_value(&value) {
            Some((bytes, stored)) if stored == *hash => Ok(bytes.to_vec()),
            _ => {
                let reason = "its stored bytes do not fit its hash".to_owned();
                Err(crate::store::Error::Damaged { seq, reason })
            }
        }
    }

    /// The hash that is stored with a record, where its checksum fits.
    pub(super) fn hash_of(&self, seq: u64) -> Option<Hash> {
        let read = catch_unwind(AssertUnwindSafe(|| self.records.get(seq.to_be_bytes())));
        let value = read.ok()?.ok()??;
        split_value(&value).map(|(_, hash)| hash)
    }

    /// The records that can be read, whatever became of the others. sled may end a scan at the
    /// first damage, so it is done from both ends.
    pub(super) fn readable(&self) -> Vec<Entry> {
        let mut found = BTreeMap::new();
        let mut take = |row: Result<(::sled::IVec, ::sled::IVec), ::sled::Error>| {
            let Ok((_, value)) = row else { return false };
            if let Some((bytes, hash)) = split_value(&value)
                && let Ok((envelope, event)) = codec::decode(bytes)
            {
                let record = Record { envelope, event, hash };
                let entry = Entry { record, bytes: bytes.to_vec(), blobs: BTreeMap::new() };
                found.insert(entry.record.seq(), entry);
            }
            true
        };
        // Damage may also make it panic; what was found until then counts.
        let _up = catch_unwind(AssertUnwindSafe(|| self.records.iter().all(&mut take)));
        let _down = catch_unwind(AssertUnwindSafe(|| self.records.iter().rev().all(&mut take)));
        found.into_values().collect()
    }

    /// Compares all that is stored with the hashes of the journal's records: those behind `base`,
    /// in order, and that of `base` itself, up to which the chain alone tells. What was retired may
    /// be stored or not.
    pub(super) fn compare(
        &self,
        retired: (u64, Hash),
        base: (u64, Hash),
        hashes: &[Hash],
        journal_id: Uuid,
    ) -> Result<Comparison, Error> {
        let end = self.records.last()?.and_then(|(key, _)| <[u8; 8]>::try_from(&*key).ok());
        let end = end.map_or(0, u64::from_be_bytes);
        if end > base.0 + hashes.len() as u64 {
            return Ok(Comparison::Ahead(end));
        }
        let known = |seq: u64| match seq.checked_sub(base.0 + 1) {
            Some(index) => hashes.get(usize::try_from(index).unwrap_or(usize::MAX)).copied(),
            None if seq == base.0 => Some(base.1),
            None => (seq == retired.0).then_some(retired.1),
        };
        // sled counts by reading all, so it is done beside the other reading.
        let indexed = std::thread::scope(|scope| {
            let counting = scope.spawn(|| self.streams.len() as u64);
            let compared = self.compare_records(retired, known, journal_id);
            let indexed = counting.join().unwrap_or_else(|panic| resume_unwind(panic));
            compared.map(|compared| (compared, indexed))
        })?;
        Ok(match indexed {
            (Comparison::Prefix(rows), indexed) if rows.up_to(rows.last) != indexed => {
                Comparison::Different("its index of streams is not whole".into())
            }
            (compared, _) => compared,
        })
    }

    fn compare_records(
        &self,
        retired: (u64, Hash),
        known: impl Fn(u64) -> Option<Hash>,
        journal_id: Uuid,
    ) -> Result<Comparison, Error> {
        let first = self.records.first()?.and_then(|(key, _)| <[u8; 8]>::try_from(&*key).ok());
        let before = first.map_or(retired.0, |first| u64::from_be_bytes(first).saturating_sub(1));
        if before > retired.0 {
            return Ok(Comparison::Different(format!("record {} is missing", retired.0 + 1)));
        }
        let mut last = before;
        // What the first one continues is known only where the journal begins or was cut.
        let mut previous = match before {
            0 => Some(chain::ZERO),
            before => (before == retired.0).then_some(retired.1),
        };
        for row in &self.records {
            let (key, value) = row?;
            let expected = last + 1;
            if *key != expected.to_be_bytes() {
                return Ok(Comparison::Different(format!("record {expected} is missing")));
            }
            let Some((bytes, hash)) = split_value(&value) else {
                return Ok(Comparison::Different(format!("record {expected} is damaged")));
            };
            let follows = match previous {
                Some(previous) => previous,
                None => match codec::decode_envelope(bytes) {
                    Ok(envelope) => envelope.previous,
                    Err(error) => {
                        let reason = format!("record {expected} cannot be read: {error}");
                        return Ok(Comparison::Different(reason));
                    }
                },
            };
            if chain::hash(&follows, bytes) != hash {
                return Ok(Comparison::Different(format!("record {expected} breaks the chain")));
            }
            if known(expected).is_some_and(|known| known != hash) {
                let id = codec::decode_envelope(bytes).map(|envelope| envelope.journal_id);
                if id == Ok(journal_id) {
                    return Ok(Comparison::Forked(expected));
                }
                return Ok(Comparison::Different(format!("record {expected} is another one")));
            }
            (last, previous) = (expected, Some(hash));
        }
        if last < retired.0 {
            let reason = "it ends before the records that were kept".to_owned();
            return Ok(Comparison::Different(reason));
        }
        Ok(Comparison::Prefix(Rows { before, last }))
    }
}

/// Opens sled's database. When one was closed a moment ago, sled's own threads may still hold its
/// lock; so a lock is waited for, as long as a process that ends may take.
fn open_unlocked(path: &Path) -> Result<::sled::Db, Error> {
    let config = ::sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
    for _ in 1..LOCK_TRIES {
        match config.open() {
            Err(error) if error.to_string().contains(LOCKED) => std::thread::sleep(LOCK_PAUSE),
            opened => return Ok(opened?),
        }
    }
    Ok(config.open()?)
}

/// Runs something that damaged files may make panic, and waits for it no longer than `deadline`.
/// Should it hang, its thread is left behind.
pub(super) fn guarded<T: Send + 'static>(
    deadline: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("journal-sled-open".into())
        .spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(run));
            // Nobody listens after the deadline.
            let _listener = sender.send(done);
        })
        .map_err(|error| format!("no thread: {error}"))?;
    match receiver.recv_timeout(deadline) {
        Ok(Ok(done)) => {
            // It has sent its last word, so this does not wait.
            thread.join().map_err(|panic| panic_text(&*panic))?;
            Ok(done)
        }
        Ok(Err(panic)) => Err(format!("sled panicked: {}", panic_text(&*panic))),
        Err(_) => Err(format!("sled did not come back within {} s", deadline.as_secs())),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

fn stored_value(entry: &Entry) -> Vec<u8> {
    let hash = &entry.record.hash;
    let mut value = entry.bytes.clone();
    value.extend_from_slice(hash);
    value.extend_from_slice(&chain::checksum(&entry.bytes, hash).to_le_bytes());
    value
}

/// The canonical bytes and the hash of a stored value; none when the checksum does not fit.
fn split_value(value: &[u8]) -> Option<(&[u8], Hash)> {
    let (rest, crc) = value.split_last_chunk::<4>()?;
    let (bytes, hash) = rest.split_last_chunk::<32>()?;
    (chain::checksum(bytes, hash) == u32::from_le_bytes(*crc)).then_some((bytes, *hash))
}

fn stream_key(entry: &Entry) -> Vec<u8> {
    let envelope = &entry.record.envelope;
    let mut key = envelope.stream.0.as_bytes().to_vec();
    key.extend_from_slice(&envelope.stream_seq.to_be_bytes());
    key
}
