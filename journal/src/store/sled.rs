//! The journal on disk: the audit file first, sled behind it.
//!
//! One at a time writes: the caller itself where nobody else does, else a thread that takes all
//! that waits (at most [`BATCH_MAX`] appends). It admits each, writes all
//! their lines and syncs the audit file once, hands them to sled's thread, publishes the states and
//! only then answers. So the cost of a sync is shared, and what a reader sees is durable. sled
//! follows a moment behind ([`behind`]); who reads records back waits for it.
//!
//! | dies | what the next start finds |
//! | --- | --- |
//! | while the lines are written | a torn tail: kept aside and cut; nobody was told |
//! | after the sync, before sled has it | sled is a prefix: the records are added |
//! | after sled has it, before the answer | the records; the caller looks before it acts |
//!
//! sled's own flush is not a sync, so only the audit file makes an append durable. The end of an
//! operation and the intent of a destructive step are answered when sled's file is synced as well:
//! then two copies hold.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use uuid::Uuid;

use super::ledger::{Admitted, Ledger, Snapshot};
use super::{Append, AppendError, Appended, Error, Figures, Head, RetireError, Store, StreamHead};
use crate::audit::{Sink, render};
use crate::chain::{self, Hash};
use crate::codec;
use crate::event::{Event, Text};
use crate::record::{Record, StreamId};
use crate::retention::{Done, Retirement};
use crate::state::{CacheState, LogState};

mod behind;
mod compact;
mod figures;
mod generation;
mod heal;
mod lock;
mod mend;
mod open;
mod retire;
mod set_aside;

use behind::{Behind, Copy};
pub use compact::{Compacted, compact};
use generation::{Generation, Row};
use lock::Lock;
pub use open::{Healed, OpenError, OpenReport};
use retire::{Retiring, Standing};
pub use set_aside::{FORMER_DIR, set_aside};

/// The most appends that share one sync.
pub const BATCH_MAX: usize = 256;
/// How large a segment of the audit file grows: about 15,000 records.
pub const SEGMENT_MAX: u64 = 16 << 20;
/// How many appends may wait before a caller has to wait for its place.
const QUEUE_MAX: usize = 1024;

/// Where a journal is and what it is called when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Its directory; made when it is missing.
    pub dir: PathBuf,
    /// The id of a new journal. A journal that has records keeps its own.
    pub journal_id: Uuid,
    /// From this size in bytes on, a segment of the audit file is full: it is sealed, and the next
    /// records go to a new one. See [`SEGMENT_MAX`].
    pub segment_max: u64,
}

impl OpenOptions {
    /// The journal in a directory, with segments of [`SEGMENT_MAX`].
    pub fn new(dir: PathBuf, journal_id: Uuid) -> Self {
        Self { dir, journal_id, segment_max: SEGMENT_MAX }
    }
}

/// The journal on disk.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    retiring: Retiring,
    /// Given back when everything above is done.
    _lock: Lock,
}

/// What the writer thread and the readers share.
#[derive(Debug)]
struct Shared {
    /// What is durable.
    ledger: RwLock<Ledger>,
    poisoned: OnceLock<String>,
    copy: Arc<Copy>,
    /// How many appends wait for the writer thread.
    waiting: AtomicUsize,
}

struct Job {
    append: Append,
    reply: SyncSender<Result<Appended, AppendError>>,
}

/// Opens the journal of a directory, or makes it, and heals what a crash or the disk did to it.
///
/// Nothing is read before the directory's lock is held. The returned report tells all that was
/// found and done.
///
/// # Errors
/// See [`OpenError`]. What is refused is left as it was found.
pub fn open(options: &OpenOptions) -> Result<(SledStore, OpenReport), OpenError> {
    let opened = open::open(options)?;
    let snapshot = opened.base.map(|base| Arc::new(base.snapshot));
    let standing = Standing { retired: opened.retired, snapshot };
    let retiring = Retiring::new(&options.dir, opened.writer.covered(), standing);
    let writer = Box::new(opened.writer);
    let copies = (opened.ledger, opened.generation);
    let store = SledStore::start(copies, writer, retiring, opened.lock)
        .map_err(|source| OpenError::from_io(&options.dir, source))?;
    Ok((store, opened.report))
}

impl SledStore {
    fn start(
        (ledger, generation): (Ledger, Generation),
        sink: Box<dyn Sink>,
        retiring: Retiring,
        lock: Lock,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let copy = Arc::new(Copy::new(generation, ledger.head().seq));
        let behind = Behind::start(Arc::clone(&copy))?;
        let shared = Arc::new(Shared {
            ledger: RwLock::new(ledger.clone()),
            poisoned: OnceLock::new(),
            copy,
            waiting: AtomicUsize::new(0),
        });
        let writer = Writer { ahead: ledger, sink, behind, shared: Arc::clone(&shared) };
        let writer = Arc::new(Mutex::new(writer));
        let (own, told) = (Arc::clone(&writer), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || run(&own, &told, &queue))?;
        let (jobs, thread) = (Some(jobs), Some(thread));
        Ok(Self { shared, writer, jobs, thread, retiring, _lock: lock })
    }

    fn read<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        // The ledger is only changed by code that cannot fail half-way.
        read(&self.shared.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // The writer ends when nobody can send it anything any more.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.shared.poison(PANICKED);
        }
    }
}

impl Store for SledStore {
    fn append(&self, append: Append) -> Result<Appended, AppendError> {
        if let Some(reason) = self.poisoned() {
            return Err(AppendError::Poisoned { reason });
        }
        // Nobody writes and nobody waits: then the caller writes, and saves two changes of thread.
        if self.shared.waiting.load(Ordering::Acquire) == 0
            && let Ok(mut writer) = self.writer.try_lock()
        {
            return writer.commit_one(&append);
        }
        let (reply, answer) = sync_channel(1);
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        if let Some(jobs) = &self.jobs
            && jobs.send(Job { append, reply }).is_ok()
            && let Ok(answer) = answer.recv()
        {
            return answer;
        }
        Err(AppendError::Poisoned { reason: self.shared.gone() })
    }

    fn head(&self) -> Head {
        self.read(Ledger::head)
    }

    fn log_state(&self) -> Arc<LogState> {
        self.read(Ledger::log_state)
    }

    fn state(&self, stream: StreamId) -> Option<Arc<CacheState>> {
        self.read(|ledger| ledger.state(stream))
    }

    fn stream_head(&self, stream: StreamId) -> Option<StreamHead> {
        self.read(|ledger| ledger.stream_head(stream))
    }

    fn streams(&self) -> Vec<(StreamId, Arc<CacheState>)> {
        self.read(Ledger::streams)
    }

    fn hash_at(&self, seq: u64) -> Option<Hash> {
        let (retired, hash) = self.retiring.standing().retired;
        if seq <= retired {
            // sled may hold more until it is made anew, but nobody vouches for it.
            return (seq == retired && seq > 0).then_some(hash);
        }
        let (base, _) = self.read(Ledger::base);
        if (1..base).contains(&seq) {
            return self.shared.copy.generation.hash_of(seq);
        }
        self.read(|ledger| ledger.hash_at(seq))
    }

    fn text(&self, text: &Text) -> Option<String> {
        self.read(|ledger| ledger.text(text))
    }

    fn scan(&self, from: u64) -> Result<Vec<Record>, Error> {
        let head = self.head().seq;
        self.shared.copy.wait_for(head);
        let mut records = Vec::new();
        for seq in from.max(self.retired() + 1)..=head {
            // Below a checkpoint this is what sled says; the chain tells whether it is right.
            let hash = self.hash_at(seq).ok_or(Error::Missing { seq })?;
            let bytes = self.shared.copy.generation.get(seq, &hash)?;
            let (envelope, event) =
                codec::decode(&bytes).map_err(|source| Error::Codec { seq, source })?;
            let before = records.last().map_or(envelope.previous, |record: &Record| record.hash);
            if chain::hash(&before, &bytes) != hash {
                return Err(Error::Damaged { seq, reason: "it breaks the chain".into() });
            }
            records.push(Record { envelope, event, hash });
        }
        Ok(records)
    }

    fn poisoned(&self) -> Option<String> {
        self.shared.poisoned()
    }

    fn base(&self) -> Option<Arc<Snapshot>> {
        self.retiring.standing().snapshot
    }

    fn retired(&self) -> u64 {
        self.retiring.standing().retired.0
    }

    fn retire(&self, ask: &Retirement) -> Result<Option<Done>, RetireError> {
        self.retire_records(ask)
    }

    fn figures(&self) -> Figures {
        figures::of(self)
    }
}

impl Shared {
    fn poison(&self, reason: &str) {
        // The first reason counts; what follows is its consequence.
        let _first = self.poisoned.set(reason.to_owned());
    }

    /// What went wrong with either copy; none while all is well.
    fn poisoned(&self) -> Option<String> {
        let sled = || self.copy.failure().map(|failure| failure.reason.clone());
        self.poisoned.get().cloned().or_else(sled)
    }

    /// Why there is nobody to append.
    fn gone(&self) -> String {
        self.poisoned().unwrap_or_else(|| "its writer thread has ended".into())
    }
}

/// What is said when a panic left the writer in an unknown state.
const PANICKED: &str = "a writer panicked";

/// The one writer: whoever holds it writes.
#[derive(Debug)]
struct Writer {
    /// The state with what is being written, ahead of what is published.
    ahead: Ledger,
    sink: Box<dyn Sink>,
    behind: Behind,
    shared: Arc<Shared>,
}

/// The writer thread: takes what waits together, and closes the journal when nobody is left.
fn run(writer: &Mutex<Writer>, shared: &Shared, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let Ok(mut writer) = writer.lock() else { return shared.poison(PANICKED) };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        shared.waiting.fetch_sub(batch.len(), Ordering::AcqRel);
        writer.commit(batch);
    }
    match writer.lock() {
        Ok(mut writer) => writer.close(),
        Err(_) => shared.poison(PANICKED),
    }
}

impl Writer {
    fn close(&mut self) {
        if let Err(failure) = self.behind.sync() {
            self.shared.poison(&failure.reason);
        }
        self.leave_room();
    }

    /// An append of which the caller itself does the writing.
    fn commit_one(&mut self, append: &Append) -> Result<Appended, AppendError> {
        let mut answers = self.commit_all([append]);
        answers.pop().unwrap_or(Err(AppendError::Empty))
    }

    fn commit(&mut self, batch: Vec<Job>) {
        let answers = self.commit_all(batch.iter().map(|job| &job.append));
        for (job, answer) in batch.iter().zip(answers) {
            // Whoever does not wait any more finds the records in the journal.
            let _waiter = job.reply.send(answer);
        }
    }

    /// sled refuses everything once it found the disk full; the next start needs room to open it.
    fn leave_room(&mut self) {
        if self.shared.copy.failure().is_some_and(|failure| failure.is_full) {
            self.sink.release_reserve();
        }
    }

    /// Makes appends durable together, each of them or none; an answer for each, in order.
    fn commit_all<'a>(
        &mut self,
        appends: impl IntoIterator<Item = &'a Append>,
    ) -> Vec<Result<Appended, AppendError>> {
        // All before this batch is durable and stands in the segments that are full.
        let boundary = if self.sink.is_full() { self.ahead.snapshot() } else { None };
        let mut lines = Vec::new();
        let mut answers = Vec::new();
        for append in appends {
            answers.push(match self.shared.poisoned() {
                Some(reason) => Err(AppendError::Poisoned { reason }),
                None => self.admit(append, &mut lines),
            });
        }
        let admitted: Vec<&Admitted> =
            answers.iter().filter_map(|admitted| admitted.as_ref().ok()).collect();
        let written = if admitted.is_empty() {
            Ok(())
        } else {
            if boundary.is_some() {
                self.sink.offer(boundary);
            }
            self.write(&lines, &admitted)
        };
        if let Err(reason) = &written {
            self.shared.poison(reason);
        } else {
            let mut ledger = self.shared.ledger.write().unwrap_or_else(PoisonError::into_inner);
            admitted.iter().for_each(|admitted| ledger.accept(admitted));
        }
        // A refusal may rest on what another append of this batch made of the state, so it does
        // not stand either when that is lost.
        let answer = |admitted: Result<Admitted, AppendError>| match &written {
            Ok(()) => admitted.map(appended),
            Err(reason) => Err(AppendError::Poisoned { reason: reason.clone() }),
        };
        answers.into_iter().map(answer).collect()
    }

    /// Admits one append and adds its lines. A refused one leaves no trace.
    fn admit(&mut self, append: &Append, lines: &mut Vec<u8>) -> Result<Admitted, AppendError> {
        let begins = |event: &Event| {
            matches!(event, Event::OperationBegun { .. } | Event::StepIntended { .. })
        };
        if append.events.iter().any(begins) && !self.sink.has_reserve() {
            return Err(AppendError::NoReserve);
        }
        let admitted = self.ahead.prepare(append)?;
        let rendered: Vec<Vec<u8>> =
            admitted.entries.iter().map(render).collect::<Result<_, _>>()?;
        lines.extend(rendered.into_iter().flatten());
        self.ahead.accept(&admitted);
        Ok(admitted)
    }

    fn write(&mut self, lines: &[u8], admitted: &[&Admitted]) -> Result<(), String> {
        let first = admitted.first().and_then(|admitted| admitted.entries.first());
        let first_seq = first.map_or(0, |entry| entry.record.seq());
        self.sink
            .append(first_seq, lines)
            .map_err(|error| format!("the audit file could not be written: {error}"))?;
        let stored = |error| format!("the records could not be stored in sled: {error}");
        let entries = admitted.iter().flat_map(|admitted| &admitted.entries);
        self.behind.store(entries.map(Row::of).collect::<Result<_, _>>().map_err(stored)?);
        if admitted.iter().any(|admitted| admitted.is_boundary()) {
            let synced = self.behind.sync();
            self.leave_room();
            synced.map_err(|failure| failure.reason)?;
        }
        Ok(())
    }
}

fn appended(admitted: Admitted) -> Appended {
    let records = admitted.entries.into_iter().map(|entry| entry.record).collect();
    Appended { records, state: admitted.state }
}

#[cfg(test)]
mod tests;
