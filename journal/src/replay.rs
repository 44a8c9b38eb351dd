//! Folds records again: the state at any past sequence, and the proof that the live state is the
//! fold of what is stored.
//!
//! Replay is pure. It has no clock, no randomness and nothing to make an effect with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{Record, StreamId};
use crate::state::{CacheState, IllegalTransition, LogState};
use crate::store::ledger::Snapshot;
use crate::store::{self, Store};

/// What some first records of a journal fold to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// The journal's own stream.
    pub log: LogState,
    /// The caches' streams.
    pub streams: BTreeMap<StreamId, CacheState>,
    /// Sequence of the last record that was folded; 0 before the first.
    pub seq: u64,
}

/// A stored record that the state before it refuses: bytes that were written wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {source}")]
pub struct IllegalRecord {
    /// The record.
    pub seq: u64,
    /// What refuses it.
    pub source: IllegalTransition,
}

impl From<&Snapshot> for Folded {
    /// What the records up to there were folded to before: what comes next is folded onto it.
    fn from(snapshot: &Snapshot) -> Self {
        let caches = snapshot.streams.iter().filter(|(id, _)| **id != StreamId::JOURNAL);
        Self {
            log: LogState::clone(&snapshot.log),
            streams: caches.map(|(id, (_, state))| (*id, CacheState::clone(state))).collect(),
            seq: snapshot.head.seq,
        }
    }
}

impl Folded {
    /// BLAKE3 of the states, hex: the same for the same records, in every run and on every machine.
    pub fn digest(&self) -> String {
        state_digest(&self.log, self.streams.iter().map(|(id, state)| (*id, state)))
    }

    /// Folds one more record.
    ///
    /// # Errors
    /// When the state refuses it; nothing is changed then.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalRecord> {
        let seq = record.seq();
        let illegal = |source| IllegalRecord { seq, source };
        let stream = record.envelope.stream;
        if stream == StreamId::JOURNAL {
            let mut log = self.log.clone();
            log.apply(seq, record.envelope.epoch.0, &record.event).map_err(illegal)?;
            self.log = log;
        } else {
            let mut state = self.streams.get(&stream).cloned().unwrap_or_default();
            state.apply(record.stamp(), &record.event).map_err(illegal)?;
            self.streams.insert(stream, state);
        }
        self.seq = seq;
        Ok(())
    }

    /// As [`Folded::apply`], without a copy to fold into: for who never looks at a stream again
    /// that refused a record.
    ///
    /// # Errors
    /// When the state refuses it; nobody can tell then what the state is.
    pub(crate) fn apply_in_place(&mut self, record: &Record) -> Result<(), IllegalRecord> {
        let (seq, stream) = (record.seq(), record.envelope.stream);
        let applied = if stream == StreamId::JOURNAL {
            self.log.apply(seq, record.envelope.epoch.0, &record.event)
        } else {
            self.streams.entry(stream).or_default().apply(record.stamp(), &record.event)
        };
        applied.map_err(|source| IllegalRecord { seq, source })?;
        self.seq = seq;
        Ok(())
    }
}

/// BLAKE3 of the JSON of the journal's own state and of the caches' states, hex.
pub(crate) fn state_digest<'a>(
    log: &LogState,
    streams: impl Iterator<Item = (StreamId, &'a CacheState)>,
) -> String {
    let streams: BTreeMap<StreamId, &CacheState> = streams.collect();
    // A state holds nothing but names, texts and numbers, and its maps have text-like keys.
    let json = serde_json::to_vec(&(log, streams)).unwrap_or_default();
    blake3::hash(&json).to_hex().to_string()
}

/// Folds records in their order.
///
/// # Errors
/// At the first record that the state before it refuses.
pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<Folded, IllegalRecord> {
    let mut folded = Folded::default();
    for record in records {
        folded.apply(record)?;
    }
    Ok(folded)
}

/// Folds the records up to a sequence, that one included.
///
/// # Errors
/// At the first record that the state before it refuses.
pub fn fold_until<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    seq: u64,
) -> Result<Folded, IllegalRecord> {
    fold(records.into_iter().take_while(|record| record.seq() <= seq))
}

/// Why a live state is not the fold of its journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The records could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A stored record is illegal.
    #[error(transparent)]
    Illegal(#[from] IllegalRecord),
    /// A stream's state is another one.
    #[error("the state of stream {0} is not what its records fold to")]
    Stream(StreamId),
}

/// Folds all that a store holds and compares it with the states that it shows. Nothing may be
/// appended meanwhile.
///
/// # Errors
/// The first difference.
pub fn verify(store: &dyn Store) -> Result<(), Mismatch> {
    let mut folded = store.base().map_or_else(Folded::default, |base| Folded::from(&*base));
    for record in &store.scan(1)? {
        folded.apply(record)?;
    }
    if folded.log != *store.log_state() {
        return Err(Mismatch::Stream(StreamId::JOURNAL));
    }
    let live: BTreeMap<StreamId, Arc<CacheState>> = store.streams().into_iter().collect();
    let streams = folded.streams.keys().chain(live.keys());
    for stream in streams {
        let same = match (folded.streams.get(stream), live.get(stream)) {
            (Some(folded), Some(live)) => *folded == **live,
            _ => false,
        };
        if !same {
            return Err(Mismatch::Stream(*stream));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
