//! A journal in memory, with the faults that a disk may have. For tests and simulation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::ledger::{Entry, Ledger, ReplayError};
use super::{Append, AppendError, Appended, Error, Head, Store, StreamHead};
use crate::chain::Hash;
use crate::event::Text;
use crate::record::{Record, StreamId};
use crate::state::{CacheState, LogState};

/// What is to go wrong with the next append. Both poison the store; the caller cannot tell them
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The records do not reach the disk.
    Lost,
    /// The records reach the disk, but the caller is told that they may not have.
    Unacknowledged,
}

/// A journal in memory. A clone is the same journal.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    entries: Vec<Entry>,
    fault: Option<Fault>,
    poisoned: Option<String>,
}

impl MemoryStore {
    /// A journal without records.
    pub fn new(journal_id: Uuid) -> Self {
        Self::with(Ledger::new(journal_id), Vec::new())
    }

    /// The journal that holds these entries: what a restart finds.
    ///
    /// # Errors
    /// When they are not the records of one journal from its first one on.
    pub fn from_entries(journal_id: Uuid, entries: Vec<Entry>) -> Result<Self, ReplayError> {
        let mut ledger = Ledger::new(journal_id);
        for entry in &entries {
            ledger.replay(entry)?;
        }
        Ok(Self::with(ledger, entries))
    }

    /// All records with their stored form: what would be on the disk.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Lets the next append fail.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    fn with(ledger: Ledger, entries: Vec<Entry>) -> Self {
        let inner = Inner { ledger, entries, fault: None, poisoned: None };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way, so a lock that is marked as poisoned holds whole data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let mut inner = self.lock();
        if let Some(reason) = inner.poisoned.clone() {
            return Err(AppendError::Poisoned { reason });
        }
        let admitted = inner.ledger.prepare(&append)?;
        let fault = inner.fault.take();
        if fault != Some(Fault::Lost) {
            inner.entries.extend(admitted.entries.iter().cloned());
        }
        if let Some(fault) = fault {
            let reason = format!("an injected fault: {fault:?}");
            inner.poisoned = Some(reason.clone());
            return Err(AppendError::Poisoned { reason });
        }
        inner.ledger.accept(&admitted);
        let records = admitted.entries.into_iter().map(|entry| entry.record).collect();
        Ok(Appended { records, state: admitted.state })
    }

    fn head(&self) -> Head {
        self.lock().ledger.head()
    }

    fn log_state(&self) -> Arc<LogState> {
        self.lock().ledger.log_state()
    }

    fn state(&self, stream: StreamId) -> Option<Arc<CacheState>> {
        self.lock().ledger.state(stream)
    }

    fn stream_head(&self, stream: StreamId) -> Option<StreamHead> {
        self.lock().ledger.stream_head(stream)
    }

    fn streams(&self) -> Vec<(StreamId, Arc<CacheState>)> {
        self.lock().ledger.streams()
    }

    fn hash_at(&self, seq: u64) -> Option<Hash> {
        self.lock().ledger.hash_at(seq)
    }

    fn text(&self, text: &Text) -> Option<String> {
        self.lock().ledger.text(text)
    }

    fn scan(&self, from: u64) -> Result<Vec<Record>, Error> {
        let inner = self.lock();
        let head = inner.ledger.head().seq;
        let shown = |seq: u64| seq >= from && seq <= head;
        let records = inner.entries.iter().map(|entry| &entry.record);
        Ok(records.filter(|record| shown(record.seq())).cloned().collect())
    }

    fn poisoned(&self) -> Option<String> {
        self.lock().poisoned.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{append_to, cache, cache_opened, genesis, id, journal_append};

    fn begun() -> MemoryStore {
        let store = MemoryStore::new(id(1));
        store.append(journal_append(0, vec![genesis()])).unwrap();
        store
    }

    #[test]
    fn a_fault_poisons_and_a_restart_finds_what_reached_the_disk() {
        for (fault, found) in [(Fault::Lost, 1), (Fault::Unacknowledged, 2)] {
            let store = begun();
            store.fail_next(fault);
            let append = append_to(cache(1), 0, None, vec![cache_opened("demo")]);
            for _ in 0..2 {
                assert!(store.append(append.clone()).unwrap_err().is_poisoned());
            }
            assert_eq!((store.head().seq, store.scan(1).unwrap().len()), (1, 1));
            assert!(store.poisoned().is_some());
            let again = MemoryStore::from_entries(id(1), store.entries()).unwrap();
            assert_eq!((again.head().seq, again.poisoned()), (found, None));
        }
    }

    #[test]
    fn a_clone_is_the_same_journal() {
        let store = begun();
        let clone = store.clone();
        clone.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
        assert_eq!(store.head().seq, 2);
    }
}
