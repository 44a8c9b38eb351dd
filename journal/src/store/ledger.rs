//! What both backends share, without any I/O: who may append what, and what it becomes.
//!
//! Admission has two halves, so that a state can be prepared before it is durable and shown only
//! afterwards: [`Ledger::prepare`] changes nothing, [`Ledger::accept`] cannot fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Append, AppendError, Head, StreamHead, TEXT_MAX};
use crate::chain::{self, Hash};
use crate::codec;
use crate::event::{Event, Text};
use crate::record::{Envelope, Epoch, Record, Seq, StreamId};
use crate::state::{CacheState, IllegalTransition, LogState};

/// A record with its stored form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// The texts that are kept beside it, by digest.
    pub blobs: BTreeMap<String, String>,
}

/// An append that was found to be legal, and what it makes of the state.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The records, in order.
    pub entries: Vec<Entry>,
    /// The stream that they belong to.
    pub stream: StreamId,
    /// The state of that stream after them; the default one for the journal's own stream.
    pub state: Arc<CacheState>,
    log: Arc<LogState>,
}

impl Admitted {
    /// Whether an operation ends here, a destructive step is intended or records are retired: then
    /// all copies are synced before anybody is told.
    pub fn is_boundary(&self) -> bool {
        self.entries.iter().any(|entry| {
            let event = &entry.record.event;
            matches!(
                event,
                Event::OperationEnded { .. }
                    | Event::RecordsRetired { .. }
                    | Event::CacheLeft { .. }
            ) || matches!(event, Event::StepIntended { step, .. } if step.is_destructive())
        })
    }
}

/// Why a stored record does not continue the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A record is missing, doubled or moved.
    #[error("sequence {found} stands where {expected} belongs")]
    Sequence {
        /// What belongs here.
        expected: u64,
        /// What is here.
        found: u64,
    },
    /// The record is another journal's.
    #[error("the record belongs to journal {found}, not to {expected}")]
    Journal {
        /// This journal.
        expected: Uuid,
        /// The record's.
        found: Uuid,
    },
    /// The record does not name the hash of the one before.
    #[error("the chain is broken: the record before has another hash")]
    Previous,
    /// The record's hash is not that of its bytes.
    #[error("the chain is broken: the record's hash is not that of its bytes")]
    Hash,
    /// Terms of leadership go backwards.
    #[error("epoch {found} follows epoch {last}")]
    Epoch {
        /// The last one.
        last: Epoch,
        /// The record's.
        found: Epoch,
    },
    /// A record of the stream is missing, doubled or moved.
    #[error("stream sequence {found} stands where {expected} belongs")]
    StreamSequence {
        /// What belongs here.
        expected: u64,
        /// What is here.
        found: u64,
    },
    /// An append is there in part, and something else follows.
    #[error("the rest of the append before is missing")]
    TornAppend,
    /// The transition table refuses the event: bytes that were written wrongly.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

#[derive(Clone, Debug)]
struct Stream {
    head: StreamHead,
    state: Arc<CacheState>,
}

/// A text by which a state or a record names it.
#[derive(Clone, Debug)]
struct Kept {
    text: Arc<str>,
    /// The last record that it is known to stand beside.
    beside: u64,
}

/// What a journal folds to at one of its records: enough to go on from there. It is cheap to take,
/// as the states are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The record, and the journal.
    pub head: Head,
    /// The journal's own stream.
    pub log: Arc<LogState>,
    /// All streams, the journal's own one included, whose state is the default one.
    pub streams: BTreeMap<StreamId, (StreamHead, Arc<CacheState>)>,
    /// The texts that stand beside records, by digest.
    pub texts: BTreeMap<String, Arc<str>>,
}

/// The journal folded up to its head.
#[derive(Clone, Debug)]
pub struct Ledger {
    journal_id: Uuid,
    epoch: Epoch,
    log: Arc<LogState>,
    streams: BTreeMap<StreamId, Stream>,
    /// The last record that was folded elsewhere: what a checkpoint stands for; 0 without one.
    base: u64,
    /// Its hash.
    base_hash: Hash,
    /// Hash of the record with sequence `base + index + 1`.
    hashes: Vec<Hash>,
    texts: BTreeMap<String, Kept>,
    /// What the last record leaves to follow in its append, and on which stream.
    rest: Option<(StreamId, u32)>,
}

impl Ledger {
    /// A journal without records.
    pub fn new(journal_id: Uuid) -> Self {
        Self {
            journal_id,
            epoch: Epoch(0),
            log: Arc::default(),
            streams: BTreeMap::new(),
            base: 0,
            base_hash: chain::ZERO,
            hashes: Vec::new(),
            texts: BTreeMap::new(),
            rest: None,
        }
    }

    /// The journal up to where a snapshot was taken, without the hashes of its records.
    pub fn restore(snapshot: &Snapshot) -> Self {
        let Snapshot { head, log, streams, texts } = snapshot;
        let stream = |(id, (head, state)): (&StreamId, &(StreamHead, Arc<CacheState>))| {
            (*id, Stream { head: *head, state: Arc::clone(state) })
        };
        Self {
            journal_id: head.journal_id,
            epoch: head.epoch,
            log: Arc::clone(log),
            streams: streams.iter().map(stream).collect(),
            base: head.seq,
            base_hash: head.hash,
            hashes: Vec::new(),
            // Beside which record each stands is not known any more: beside the last one, at most.
            texts: texts
                .iter()
                .map(|(digest, text)| {
                    (digest.clone(), Kept { text: Arc::clone(text), beside: head.seq })
                })
                .collect(),
            rest: None,
        }
    }

    /// Forgets the hashes of the records up to the head, as if it had been restored there. A whole
    /// journal can be folded so without keeping anything for each record.
    pub(crate) fn forget_hashes(&mut self) {
        let head = self.head();
        (self.base, self.base_hash) = (head.seq, head.hash);
        self.hashes.clear();
    }

    /// Forgets the texts that neither stand beside a record behind this one nor are named by a
    /// state, and tells how many are left.
    pub(crate) fn forget_texts(&mut self, through: u64) -> usize {
        let named = self.named_texts();
        self.texts.retain(|digest, kept| kept.beside > through || named.contains(digest));
        self.texts.len()
    }

    /// Digests of the texts that the states name.
    pub(crate) fn named_texts(&self) -> BTreeSet<String> {
        let mut digests = Vec::new();
        for stream in self.streams.values() {
            collect_external(&*stream.state, &mut digests);
        }
        digests.into_iter().collect()
    }

    /// What the journal folds to at its head; none in the middle of an append.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let stream =
            |(id, known): (&StreamId, &Stream)| (*id, (known.head, Arc::clone(&known.state)));
        self.is_whole().then(|| Snapshot {
            head: self.head(),
            log: Arc::clone(&self.log),
            streams: self.streams.iter().map(stream).collect(),
            texts: self
                .texts
                .iter()
                .map(|(digest, kept)| (digest.clone(), Arc::clone(&kept.text)))
                .collect(),
        })
    }

    /// Checks an append against the present state and makes its records. Nothing is changed.
    ///
    /// # Errors
    /// The first thing that refuses it.
    pub fn prepare(&self, append: &Append) -> Result<Admitted, AppendError> {
        if append.events.is_empty() {
            return Err(AppendError::Empty);
        }
        if append.epoch < self.epoch {
            return Err(AppendError::StaleEpoch { given: append.epoch, current: self.epoch });
        }
        let actual = self.streams.get(&append.stream).map_or(0, |stream| stream.head.stream_seq);
        if append.expected != actual {
            let Append { stream, expected, .. } = *append;
            return Err(AppendError::Conflict { stream, expected, actual });
        }
        let mut blobs = self.blobs_of(append)?;
        let mut entries: Vec<Entry> = Vec::with_capacity(append.events.len());
        let mut fold = self.fold_of(append.stream);
        let mut previous = self.head().hash;
        for (index, event) in append.events.iter().enumerate() {
            let envelope = self.envelope(append, event, index, previous);
            let bytes = codec::encode(&envelope, event)?;
            let hash = chain::hash(&previous, &bytes);
            previous = hash;
            let record = Record { envelope, event: event.clone(), hash };
            fold.check_append(&record)?;
            fold.apply(&record)?;
            let last = index + 1 == append.events.len();
            let blobs = take_blobs(&mut blobs, event, last);
            entries.push(Entry { record, bytes, blobs });
        }
        let Fold { state, log, .. } = fold;
        Ok(Admitted { entries, stream: append.stream, state: state.into(), log: log.into() })
    }

    /// Makes an admitted append the end of the journal.
    pub fn accept(&mut self, admitted: &Admitted) {
        for entry in &admitted.entries {
            self.note(entry);
        }
        self.publish(admitted.stream, Arc::clone(&admitted.state), Arc::clone(&admitted.log));
    }

    /// [`Ledger::prepare`], then [`Ledger::accept`].
    ///
    /// # Errors
    /// As [`Ledger::prepare`]; nothing is changed then.
    pub fn admit(&mut self, append: &Append) -> Result<Admitted, AppendError> {
        let admitted = self.prepare(append)?;
        self.accept(&admitted);
        Ok(admitted)
    }

    /// Takes a stored record as the next one, if it is.
    ///
    /// # Errors
    /// Why it cannot follow; nothing is changed then.
    pub fn replay(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        let Envelope { journal_id, epoch, seq, stream, stream_seq, rest, previous, .. } =
            entry.record.envelope;
        let head = self.head();
        let expected = head.seq + 1;
        if seq.0 != expected {
            return Err(ReplayError::Sequence { expected, found: seq.0 });
        }
        // The first record names the journal; what it was called before is only a proposal.
        if head.seq > 0 && journal_id != self.journal_id {
            return Err(ReplayError::Journal { expected: self.journal_id, found: journal_id });
        }
        if previous != head.hash {
            return Err(ReplayError::Previous);
        }
        if chain::hash(&previous, &entry.bytes) != entry.record.hash {
            return Err(ReplayError::Hash);
        }
        if epoch < self.epoch {
            return Err(ReplayError::Epoch { last: self.epoch, found: epoch });
        }
        if self.rest.is_some_and(|(of, left)| (of, left) != (stream, rest.saturating_add(1))) {
            return Err(ReplayError::TornAppend);
        }
        let expected = self.streams.get(&stream).map_or(0, |known| known.head.stream_seq) + 1;
        if stream_seq != expected {
            return Err(ReplayError::StreamSequence { expected, found: stream_seq });
        }
        let mut fold = self.fold_of(stream);
        fold.apply(&entry.record)?;
        self.journal_id = journal_id;
        self.note(entry);
        self.publish(stream, fold.state.into(), fold.log.into());
        Ok(())
    }

    /// Whether the last append is there as a whole.
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// The end of the journal.
    pub fn head(&self) -> Head {
        Head {
            journal_id: self.journal_id,
            epoch: self.epoch,
            seq: self.base + self.hashes.len() as u64,
            hash: self.hashes.last().copied().unwrap_or(self.base_hash),
        }
    }

    /// What the journal's own stream folds to.
    pub fn log_state(&self) -> Arc<LogState> {
        Arc::clone(&self.log)
    }

    /// What a cache's stream folds to.
    pub fn state(&self, stream: StreamId) -> Option<Arc<CacheState>> {
        if stream == StreamId::JOURNAL {
            return None;
        }
        self.streams.get(&stream).map(|known| Arc::clone(&known.state))
    }

    /// The end of a stream.
    pub fn stream_head(&self, stream: StreamId) -> Option<StreamHead> {
        self.streams.get(&stream).map(|known| known.head)
    }

    /// All caches' streams with their states.
    pub fn streams(&self) -> Vec<(StreamId, Arc<CacheState>)> {
        self.streams
            .iter()
            .filter(|(stream, _)| **stream != StreamId::JOURNAL)
            .map(|(stream, known)| (*stream, Arc::clone(&known.state)))
            .collect()
    }

    /// The hash of a record; none where it was folded before the snapshot that this ledger was
    /// restored from.
    pub fn hash_at(&self, seq: u64) -> Option<Hash> {
        if seq == self.base && seq > 0 {
            return Some(self.base_hash);
        }
        let index = usize::try_from(seq.checked_sub(self.base + 1)?).ok()?;
        self.hashes.get(index).copied()
    }

    /// The last record of the snapshot that this ledger was restored from, and its hash; 0 and
    /// zeros when it was folded from the first record on.
    pub fn base(&self) -> (u64, Hash) {
        (self.base, self.base_hash)
    }

    /// The hashes of the records after [`Ledger::base`], in order.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// A text of an event.
    pub fn text(&self, text: &Text) -> Option<String> {
        match text {
            Text::Inline(text) => Some(text.clone()),
            Text::External { digest, .. } => {
                self.texts.get(digest).map(|kept| kept.text.to_string())
            }
        }
    }

    fn envelope(&self, append: &Append, event: &Event, index: usize, previous: Hash) -> Envelope {
        let place = index as u64 + 1;
        let rest = append.events.len() - index - 1;
        Envelope {
            format: codec::ENVELOPE_VERSION,
            journal_id: self.journal_id,
            epoch: append.epoch,
            seq: Seq(self.head().seq + place),
            stream: append.stream,
            stream_seq: append.expected + place,
            rest: u32::try_from(rest).unwrap_or(u32::MAX),
            operation: append.operation,
            time_us: append.time_us,
            type_name: event.name().to_owned(),
            previous,
        }
    }

    /// The texts of an append by digest, once all that its events name are found. A text that was
    /// recorded before stands beside the new record again: the former one may be retired.
    fn blobs_of(&self, append: &Append) -> Result<BTreeMap<String, String>, AppendError> {
        let mut blobs = BTreeMap::new();
        for text in &append.blobs {
            if text.len() > TEXT_MAX {
                return Err(AppendError::TextTooLarge { bytes: text.len() });
            }
            blobs.insert(chain::digest(text), text.clone());
        }
        for event in &append.events {
            for digest in external_digests(event) {
                if blobs.contains_key(&digest) {
                    continue;
                }
                let Some(known) = self.texts.get(&digest) else {
                    return Err(AppendError::MissingText { digest, event: event.name() });
                };
                blobs.insert(digest, known.text.to_string());
            }
        }
        Ok(blobs)
    }

    fn fold_of(&self, stream: StreamId) -> Fold {
        Fold {
            stream,
            first: self.head().seq == 0,
            state: self
                .streams
                .get(&stream)
                .map_or_else(CacheState::default, |known| CacheState::clone(&known.state)),
            log: LogState::clone(&self.log),
        }
    }

    fn note(&mut self, entry: &Entry) {
        let Record { envelope, hash, .. } = &entry.record;
        self.epoch = self.epoch.max(envelope.epoch);
        self.rest = (envelope.rest > 0).then_some((envelope.stream, envelope.rest));
        self.hashes.push(*hash);
        for (digest, text) in &entry.blobs {
            let beside = envelope.seq.0;
            self.texts
                .entry(digest.clone())
                .and_modify(|kept| kept.beside = beside)
                .or_insert_with(|| Kept { text: text.as_str().into(), beside });
        }
        let head = StreamHead {
            seq: envelope.seq.0,
            stream_seq: envelope.stream_seq,
            epoch: envelope.epoch,
            hash: *hash,
        };
        self.streams
            .entry(envelope.stream)
            .and_modify(|known| known.head = head)
            .or_insert_with(|| Stream { head, state: Arc::default() });
    }

    fn publish(&mut self, stream: StreamId, state: Arc<CacheState>, log: Arc<LogState>) {
        self.log = log;
        if let Some(known) = self.streams.get_mut(&stream) {
            known.state = state;
        }
    }
}

/// The state that the records of one append are folded into, before anybody sees it.
struct Fold {
    stream: StreamId,
    first: bool,
    state: CacheState,
    log: LogState,
}

impl Fold {
    /// Refuses what older releases recorded and no later one should.
    fn check_append(&self, record: &Record) -> Result<(), IllegalTransition> {
        match self.stream == StreamId::JOURNAL {
            true => Ok(()),
            false => self.state.check_append(&record.event),
        }
    }

    fn apply(&mut self, record: &Record) -> Result<(), IllegalTransition> {
        let is_genesis = matches!(record.event, Event::Genesis { .. });
        if is_genesis != std::mem::take(&mut self.first) {
            let reason = if is_genesis {
                "the journal has records already"
            } else {
                "the first record of a journal is its genesis"
            };
            return Err(IllegalTransition { event: record.event.name(), reason: reason.into() });
        }
        if self.stream == StreamId::JOURNAL {
            self.log.apply(record.seq(), record.envelope.epoch.0, &record.event)
        } else {
            self.state.apply(record.stamp(), &record.event)
        }
    }
}

/// The texts that belong to an event's record: those that it names, and with the last event all
/// that no event names.
fn take_blobs(
    blobs: &mut BTreeMap<String, String>,
    event: &Event,
    last: bool,
) -> BTreeMap<String, String> {
    if last || blobs.is_empty() {
        return std::mem::take(blobs);
    }
    external_digests(event).iter().filter_map(|digest| blobs.remove_entry(digest)).collect()
}

/// The digests of the texts that an event keeps outside its record, wherever it names them.
///
/// They are looked for in its readable form, so that no new kind of event can be forgotten here.
pub fn external_digests(event: &Event) -> Vec<String> {
    let mut digests = Vec::new();
    collect_external(event, &mut digests);
    digests
}

fn collect_external(named_in: &impl Serialize, digests: &mut Vec<String>) {
    // Most name none, and to see that their text is enough.
    let Ok(text) = serde_json::to_vec(named_in) else { return };
    if names_external(&text)
        && let Ok(readable) = serde_json::to_value(named_in)
    {
        collect_digests(&readable, digests);
    }
}

/// Whether there may be an external text in what this is the readable form of, or holds it: without
/// the word there is none.
pub(crate) fn names_external(json: &[u8]) -> bool {
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"external\""));
    WORD.find(json).is_some()
}

fn collect_digests(value: &Value, digests: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let external = fields.get("external").filter(|_| fields.len() == 1);
            let digest = external.and_then(|text| text.get("digest")).and_then(Value::as_str);
            digests.extend(digest.map(str::to_owned));
            fields.values().for_each(|field| collect_digests(field, digests));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_digests(item, digests)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
