//! Retires old records: folds them into a base, records that, and only then deletes them.
//!
//! | dies | what the next start finds |
//! | --- | --- |
//! | while the base is written | segments that need no base; what there is of it is deleted |
//! | before the record is durable | the same |
//! | after that, before all is deleted | the record and its base: the deletion is brought to its end |
//!
//! The records that go are folded anew from the former base on, never taken from a checkpoint, which
//! is not the truth: a checkpoint that says something else stops the retirement.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::SledStore;
use super::heal::Found;
use super::open::{Healed, OpenError, Read, read};
use super::{OpenOptions, Shared};
use crate::audit::{
    Base, Checkpoint, Covered, Form, Lines, Segment, checkpoints, delete_all_but, delete_segments,
    read_base, read_line, segments,
};
use crate::chain::{self, Hash};
use crate::event::Event;
use crate::record::StreamId;
use crate::retention::{Done, Due, Retirement, SegmentFacts, what_to_retire};
use crate::store::ledger::{Entry, Ledger, Snapshot};
use crate::store::{Append, RetireError, Store};

/// How many segments are retired at once, so that folding them takes seconds and not minutes.
const AT_ONCE: usize = 64;

/// What stands for the retired records.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// The last retired record and its hash; 0 and zeros while none was.
    pub(super) retired: (u64, Hash),
    /// What they fold to; none where nothing was retired, or the base is lost.
    pub(super) snapshot: Option<Arc<Snapshot>>,
}

/// What retiring needs beside the store.
#[derive(Debug)]
pub(super) struct Retiring {
    dir: PathBuf,
    /// What the checkpoints cover; while it is held, none is made.
    covered: Arc<Mutex<Covered>>,
    standing: RwLock<Standing>,
    /// One at a time.
    busy: Mutex<()>,
}

impl Retiring {
    pub(super) fn new(dir: &Path, covered: Arc<Mutex<Covered>>, standing: Standing) -> Self {
        let standing = RwLock::new(standing);
        Self { dir: dir.to_owned(), covered, standing, busy: Mutex::new(()) }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Deletes what the base in force stands for, also what an attempt before left.
    fn sweep(&self) -> io::Result<()> {
        let (retired, _) = self.standing().retired;
        if retired == 0 {
            return Ok(());
        }
        // No checkpoint is made meanwhile that would name what goes.
        let _covered = self.covered.lock().unwrap_or_else(PoisonError::into_inner);
        delete(&self.dir, retired)
    }
}

/// Deletes the segments up to a retired record, the oldest first, then the bases before it.
fn delete(dir: &Path, retired: u64) -> io::Result<()> {
    let mut gone = segments(dir)?;
    gone.retain(|segment| segment.first_seq <= retired);
    delete_segments(dir, &gone)?;
    for (_, path) in checkpoints(dir)?.into_iter().filter(|(seq, _)| *seq < retired) {
        crate::io::remove_file(&path)?;
    }
    delete_all_but(dir, retired)
}

/// What is due, and what is needed to retire it.
struct Plan {
    due: Due,
    /// The segments that go.
    going: Vec<Segment>,
    /// The one behind them.
    next: Segment,
    bytes: u64,
}

impl SledStore {
    pub(super) fn retire_records(&self, ask: &Retirement) -> Result<Option<Done>, RetireError> {
        let retiring = &self.retiring;
        let _one = retiring.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = self.poisoned() {
            return Err(RetireError::Poisoned { reason });
        }
        retiring.sweep()?;
        let Some(plan) = self.plan(ask)? else { return Ok(None) };
        let standing = retiring.standing();
        if standing.retired.0 > 0 && standing.snapshot.is_none() {
            return Err(RetireError::BaseLost { seq: standing.retired.0 });
        }
        let base = self.base_of(&plan, standing.snapshot.as_deref(), ask.now_us)?;
        base.write(&retiring.dir)?;
        let records = plan.due.through - standing.retired.0;
        let seq = self.record(&base, records, &plan.due.reason, ask)?;
        self.stand_on(&base);
        retiring.sweep()?;
        let Plan { due: Due { through, reason, .. }, bytes, .. } = plan;
        Ok(Some(Done { through, records, bytes, reason, seq }))
    }

    fn plan(&self, ask: &Retirement) -> io::Result<Option<Plan>> {
        let dir = &self.retiring.dir;
        let found = segments(dir)?;
        let Some((last, full)) = found.split_last() else { return Ok(None) };
        let full: Vec<_> = full.iter().take_while(|it| it.form == Form::Sealed).collect();
        // The two newest checkpoints stay of use.
        let Some((checkpoint, _)) = checkpoints(dir)?.into_iter().take(2).next_back() else {
            return Ok(None);
        };
        let keep_from = ask.keep_from.min(checkpoint + 1);
        let mut facts = Vec::new();
        for (index, segment) in full.iter().enumerate().take(AT_ONCE.min(ask.at_most)) {
            let Some(next) = found.get(index + 1) else { break };
            facts.push(SegmentFacts {
                last_seq: next.first_seq.saturating_sub(1),
                bytes: std::fs::metadata(&segment.path)?.len(),
                // The first record behind it is as old or younger; one that is not there is new.
                newest_us: first_entry(next)?
                    .map_or(ask.now_us, |entry| entry.record.envelope.time_us),
            });
        }
        // What is not looked at now counts for the size all the same.
        let mut rest = std::fs::metadata(&last.path).map_or(0, |about| about.len());
        for segment in full.iter().skip(facts.len()) {
            rest += std::fs::metadata(&segment.path)?.len();
        }
        let states = self.streams();
        let open: Vec<u64> = states
            .iter()
            .filter_map(|(_, state)| state.operation.as_ref().map(|operation| operation.begun_seq))
            .collect();
        let due = what_to_retire(&facts, rest, ask.limits, ask.now_us, keep_from, &open);
        Ok(due.and_then(|due| {
            let next = found.get(due.segments)?.clone();
            let going = found.get(..due.segments)?.to_vec();
            let bytes = facts.iter().take(due.segments).map(|facts| facts.bytes).sum();
            Some(Plan { due, going, next, bytes })
        }))
    }

    /// Folds the records that are to go, and proves that they are what stands before the next one.
    fn base_of(
        &self,
        plan: &Plan,
        former: Option<&Snapshot>,
        now_us: i64,
    ) -> Result<Base, RetireError> {
        let mut ledger =
            former.map_or_else(|| Ledger::new(self.head().journal_id), Ledger::restore);
        for line in Lines::new(plan.going.clone()) {
            let line = line?;
            if line.promised_seq.is_some() {
                ledger.forget_hashes();
            }
            let seq = ledger.head().seq + 1;
            let differs = |why: String| RetireError::Differs { seq, why };
            let entry = read_line(&line.text).map_err(|error| differs(error.to_string()))?;
            ledger.replay(&entry).map_err(|error| differs(error.to_string()))?;
        }
        let through = plan.due.through;
        let differs = |why: &str| RetireError::Differs { seq: through, why: why.to_owned() };
        let head = ledger.head();
        let next = first_entry(&plan.next)?.ok_or_else(|| differs("no record follows it"))?;
        if head.seq != through || next.record.seq() != through + 1 {
            return Err(differs("the segments do not hold the records that their names say"));
        }
        if next.record.envelope.previous != head.hash {
            return Err(differs("the record behind it names another hash"));
        }
        let live = self.read(Ledger::named_texts);
        let mut snapshot = ledger
            .snapshot()
            .ok_or_else(|| differs("a segment ends in the middle of an append"))?;
        // What neither state names, nobody can ask for any more.
        let named = ledger.named_texts();
        snapshot.texts.retain(|digest, _| named.contains(digest) || live.contains(digest));
        let base = Base::of(snapshot, now_us)?;
        self.compare_with_checkpoint(&base)?;
        Ok(base)
    }

    fn compare_with_checkpoint(&self, base: &Base) -> Result<(), RetireError> {
        for (seq, path) in checkpoints(&self.retiring.dir)? {
            if seq != base.seq() {
                continue;
            }
            // One that cannot be read, or is an earlier program's, proves nothing either way.
            let Ok(checkpoint) = Checkpoint::parse(&crate::io::read(&path)?) else { continue };
            let same = checkpoint.snapshot.head == base.snapshot.head
                && checkpoint.state_digest() == base.state_digest();
            if !same {
                let why = "the checkpoint there is not what the records fold to".to_owned();
                return Err(RetireError::Differs { seq, why });
            }
        }
        Ok(())
    }

    /// Records what is about to go. Durable in both copies when this returns.
    fn record(
        &self,
        base: &Base,
        records: u64,
        reason: &str,
        ask: &Retirement,
    ) -> Result<u64, RetireError> {
        let expected = self.stream_head(StreamId::JOURNAL).map_or(0, |head| head.stream_seq);
        let event = Event::RecordsRetired {
            through: base.seq(),
            hash: chain::to_hex(&base.snapshot.head.hash),
            state: base.state_digest(),
            base: base.digest.clone(),
            records,
            reason: reason.to_owned(),
        };
        let appended = self.append(Append {
            stream: StreamId::JOURNAL,
            expected,
            epoch: ask.epoch,
            operation: None,
            time_us: ask.now_us,
            events: vec![event],
            blobs: Vec::new(),
        })?;
        Ok(appended.records.first().map_or(0, |record| record.seq()))
    }

    /// From now on the retired records are not shown any more.
    fn stand_on(&self, base: &Base) {
        let standing = Standing {
            retired: (base.seq(), base.snapshot.head.hash),
            snapshot: Some(Arc::new(base.snapshot.clone())),
        };
        *self.retiring.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
        // The writer's own state first, as when it appends. A writer that panicked has no successor.
        if let Ok(mut writer) = self.writer.lock() {
            writer.ahead.forget_texts(base.seq());
        }
        let Shared { ledger, .. } = &*self.shared;
        ledger.write().unwrap_or_else(PoisonError::into_inner).forget_texts(base.seq());
    }
}

/// The first record of a segment; none while there is no whole one.
fn first_entry(segment: &Segment) -> io::Result<Option<Entry>> {
    let Some(line) = Lines::new(vec![segment.clone()]).next().transpose()? else {
        return Ok(None);
    };
    Ok(line.terminated.then(|| read_line(&line.text).ok()).flatten())
}

/// What was done about retired records when a journal was opened.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) healed: Vec<Healed>,
    /// See [`super::OpenReport::base_finding`].
    pub(super) finding: Option<String>,
}

/// Brings a retirement to its end that was cut short, proves the base by the record that names it,
/// and writes anew what is damaged of it.
pub(super) fn settle(options: &OpenOptions, read: Read) -> Result<(Read, Settled), OpenError> {
    let (mut read, mut settled) = finish(options, read)?;
    let dir = &options.dir;
    let io_error = |source| OpenError::from_io(dir, source);
    let log = read.loaded.ledger.log_state();
    let base = read.loaded.base.as_ref();
    let Some(recorded) = &log.retired else {
        if let Some(base) = base {
            settled.finding = Some(unnamed(base));
        } else {
            delete_all_but(dir, 0).map_err(io_error)?;
        }
        return Ok((read, settled));
    };
    match base {
        _ if recorded.through > read.loaded.retired.0 => {
            let through = recorded.through;
            settled.finding = Some(format!(
                "records up to {through} were to be retired, but the base that was to stand for \
                 them is not there: they are kept"
            ));
        }
        None => {
            let through = read.loaded.retired.0;
            settled.finding = Some(format!(
                "the base that stands for the records up to {through} is lost: a checkpoint stands \
                 in for it, and nothing more is retired"
            ));
        }
        Some(base) if base.is_named_by(recorded) => {
            let files = base.write(dir).map_err(io_error)?;
            if !files.is_empty() {
                settled.healed.push(Healed::BaseRestored { files });
            }
            if !read.loaded.left.is_empty() {
                let through = base.seq();
                delete_segments(dir, &read.loaded.left).map_err(io_error)?;
                settled.healed.push(Healed::RetirementFinished { through });
            }
            delete_all_but(dir, base.seq()).map_err(io_error)?;
        }
        Some(base) if recorded.through == base.seq() => {
            let reason = format!("its digest is {}, recorded is {}", base.digest, recorded.base);
            return Err(OpenError::Base { seq: base.seq(), reason });
        }
        Some(base) => settled.finding = Some(unnamed(base)),
    }
    read.loaded.left.clear();
    Ok((read, settled))
}

fn unnamed(base: &Base) -> String {
    format!(
        "no record names the base that stands for the records up to {}: the end of the journal may \
         be lost",
        base.seq()
    )
}

/// Deletes what a recorded retirement left of its records, and reads the journal again without them.
fn finish(options: &OpenOptions, found: Read) -> Result<(Read, Settled), OpenError> {
    let mut settled = Settled::default();
    let dir = &options.dir;
    let io_error = |source| OpenError::from_io(dir, source);
    let log = found.loaded.ledger.log_state();
    let recorded = log.retired.as_ref().filter(|it| it.through > found.loaded.retired.0);
    let Some(recorded) = recorded else { return Ok((found, settled)) };
    let base = read_base(dir, recorded.through, &mut Vec::new(), &mut false).map_err(io_error)?;
    let Some(base) = base.filter(|base| base.is_named_by(recorded)) else {
        return Ok((found, settled));
    };
    base.write(dir).map_err(io_error)?;
    delete(dir, base.seq()).map_err(io_error)?;
    // sled is open, and would refuse to be opened again.
    let Read { found: copy, .. } = found;
    if let Found::Usable { generation, .. } = copy {
        drop(generation);
    }
    settled.healed.push(Healed::RetirementFinished { through: base.seq() });
    Ok((read(options, &mut Vec::new())?, settled))
}
