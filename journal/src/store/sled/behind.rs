//! Stores in sled what is durable in the audit file already, beside the appends.
//!
//! An append is acknowledged when its lines are synced. Its records reach sled a moment later, on
//! a thread of their own, many at once when many wait; a process that dies before finds them in
//! the audit file when it starts. Whoever needs both copies waits: see [`Behind::sync`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::generation::{self, Generation, Row};

/// How many batches may wait before an append has to wait for sled.
const QUEUE_MAX: usize = 32;
/// How many records are stored at once, if so many wait.
const ROWS_MAX: usize = 1024;
/// How long sled waits for more to store at once: nobody waits for it but who reads back.
const LINGER: Duration = Duration::from_millis(2);

/// What sled's thread and those who read share.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) generation: Generation,
    /// The last record that is stored.
    stored: Mutex<u64>,
    changed: Condvar,
    /// Why nothing is stored any more.
    failed: OnceLock<Failure>,
}

/// Why sled's copy cannot be gone on with.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether the disk is full: the next start needs room to open sled.
    pub(super) is_full: bool,
}

enum Task {
    Store(Vec<Row>),
    /// Syncs all that was handed over before, and answers whether that worked.
    Sync(SyncSender<()>),
}

/// sled's thread.
#[derive(Debug)]
pub(super) struct Behind {
    copy: Arc<Copy>,
    tasks: Option<SyncSender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Copy {
    /// A database that holds the records up to this one.
    pub(super) fn new(generation: Generation, stored: u64) -> Self {
        let (stored, changed) = (Mutex::new(stored), Condvar::new());
        Self { generation, stored, changed, failed: OnceLock::new() }
    }

    /// Why nothing is stored any more; none while all is well.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failed.get()
    }

    /// Waits until the records up to this one are stored, or never will be.
    pub(super) fn wait_for(&self, seq: u64) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        while *stored < seq && self.failed.get().is_none() {
            stored = self.changed.wait(stored).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn reached(&self, seq: Option<u64>) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        *stored = seq.map_or(*stored, |seq| seq.max(*stored));
        self.changed.notify_all();
    }

    /// Does something with sled. After a failure nothing is done any more.
    fn run(&self, what: &str, act: impl FnOnce(&Generation) -> Result<(), generation::Error>) {
        if self.failed.get().is_some() {
            return;
        }
        let failure = match catch_unwind(AssertUnwindSafe(|| act(&self.generation))) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                Failure { is_full: error.is_full(), reason: format!("{what}: {error}") }
            }
            Err(panic) => Failure {
                is_full: false,
                reason: format!("sled panicked: {}", generation::panic_text(&*panic)),
            },
        };
        // The first reason counts.
        let _first = self.failed.set(failure);
    }
}

impl Behind {
    pub(super) fn start(copy: Arc<Copy>) -> std::io::Result<Self> {
        let (tasks, queue) = sync_channel(QUEUE_MAX);
        let own = Arc::clone(&copy);
        let thread = std::thread::Builder::new()
            .name("journal-sled".into())
            .spawn(move || work(&own, &queue))?;
        Ok(Self { copy, tasks: Some(tasks), thread: Some(thread) })
    }

    /// Hands over records that are durable in the audit file.
    pub(super) fn store(&self, rows: Vec<Row>) {
        if let Some(tasks) = &self.tasks {
            // Without its thread there is a failure, which whoever waits finds.
            let _sent = tasks.send(Task::Store(rows));
        }
    }

    /// Waits until all that was handed over is durable in sled's file as well.
    ///
    /// # Errors
    /// Why it is not and never will be.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        let (answer, done) = sync_channel(1);
        let sent = self.tasks.as_ref().is_some_and(|tasks| tasks.send(Task::Sync(answer)).is_ok());
        let answered = sent && done.recv().is_ok();
        match self.copy.failure() {
            Some(failure) => Err(failure.clone()),
            None if answered => Ok(()),
            None => Err(Failure { reason: "sled's thread has ended".into(), is_full: false }),
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // What panics in it is caught in it.
            drop(thread.join());
        }
    }
}

fn work(copy: &Copy, queue: &Receiver<Task>) {
    while let Ok(first) = queue.recv() {
        let (mut rows, mut waiting) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(task) = next {
            match task {
                Task::Store(more) => rows.extend(more),
                Task::Sync(answer) => waiting.push(answer),
            }
            let enough = rows.len() >= ROWS_MAX || !waiting.is_empty();
            // Both a timeout and the end of all senders end this round.
            next = if enough { None } else { queue.recv_timeout(LINGER).ok() };
        }
        if !rows.is_empty() {
            copy.run("the records could not be stored in sled", |sled| sled.append(&rows));
        }
        copy.reached(rows.last().map(|row| row.seq));
        if !waiting.is_empty() {
            copy.run("sled could not be synced", Generation::sync);
            for answer in waiting {
                // Whoever does not wait any more has gone.
                let _waiter = answer.send(());
            }
        }
    }
    copy.run("sled could not be synced when the journal was closed", Generation::sync);
    copy.reached(None);
}
