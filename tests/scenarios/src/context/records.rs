//! The journal as it stands, read from the audit file while the operator writes it.

use std::path::{Path, PathBuf};

use xsld_journal::audit::{Assembler, Follower, Item, export_segments, survey, survey_segments};
use xsld_journal::event::{Event, Step, StepKey};
use xsld_journal::record::Record;
use xsld_journal::replay::{Folded, fold};

use super::Context;
use crate::Result;

impl Context {
    /// The records of the journal, as far as they are whole. Those that were retired come from
    /// the exports that the scenario made before.
    ///
    /// # Errors
    /// When the directory cannot be read, or a line in it is damaged.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut kept = records(&self.journal_dir())?;
        for file in self.exports().into_iter().rev() {
            let first = kept.first().map_or(u64::MAX, Record::seq);
            let (items, _) = survey_segments(export_segments(&file)?.0)?;
            let mut all = items.into_iter().map(record).collect::<Result<Vec<_>>>()?;
            all.retain(|record| record.seq() < first);
            all.extend(kept);
            kept = all;
        }
        Ok(kept)
    }

    /// Exports the journal, so that its records are at hand when they are retired.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn export(&self) -> Result {
        let file = self.exported(self.exports().len()).display().to_string();
        let exported = self.journal_command(&["export", &file]).await?;
        anyhow::ensure!(exported.status.success(), "it was not exported: {exported:?}");
        Ok(())
    }

    /// The exports that were made, oldest first.
    fn exports(&self) -> Vec<PathBuf> {
        (0..).map(|number| self.exported(number)).take_while(|file| file.exists()).collect()
    }

    fn exported(&self, number: usize) -> PathBuf {
        self.dir.join(format!("exported-{number}.jsonl"))
    }

    /// What the records fold to.
    ///
    /// # Errors
    /// When they cannot be read or one is illegal.
    pub fn folded(&self) -> Result<Folded> {
        Ok(fold(&self.records()?)?)
    }

    /// How many records have an event with this name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn recorded(&self, event: &str) -> Result<usize> {
        Ok(self.records()?.iter().filter(|record| record.event.name() == event).count())
    }
}

/// The records of the journals that a journal's directory keeps aside, oldest first.
pub(crate) fn former(dir: &Path) -> Result<Vec<Record>> {
    let former = dir.join(xsld_journal::store::sled::FORMER_DIR);
    if !former.exists() {
        return Ok(Vec::new());
    }
    let mut kept = std::fs::read_dir(former)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    kept.sort();
    let all = kept.iter().map(|dir| records(dir)).collect::<Result<Vec<_>>>()?;
    Ok(all.concat())
}

/// The records of a journal's directory.
///
/// # Errors
/// When the directory cannot be read, or a line in it is damaged.
pub(crate) fn records(dir: &Path) -> Result<Vec<Record>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let (items, _) = survey(dir)?;
    items.into_iter().map(record).collect()
}

fn record(item: Item) -> Result<Record> {
    match item {
        Item::Record(found) => Ok(found.entry.record),
        Item::Unreadable(line) => anyhow::bail!("{}: {}", line.position, line.error),
    }
}

/// An intent: which step, under which key.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The step.
    pub step: Step,
    /// Its key.
    pub key: StepKey,
    /// Which attempt.
    pub attempt: u32,
    /// Where it stands in the journal.
    pub seq: u64,
    /// When it was written, in microseconds since 1970.
    pub time_us: i64,
}

impl Intent {
    /// The intent in a record, where it is one.
    pub fn of(record: &Record) -> Option<Self> {
        let Event::StepIntended { step, attempt, key, .. } = &record.event else { return None };
        Some(Self {
            step: step.clone(),
            key: *key,
            attempt: *attempt,
            seq: record.seq(),
            time_us: record.envelope.time_us,
        })
    }
}

/// The key of the step that a record ends, and how.
pub fn outcome(record: &Record) -> Option<(StepKey, &'static str)> {
    match &record.event {
        Event::StepSucceeded { key, .. }
        | Event::StepFailed { key, .. }
        | Event::StepVoid { key, .. }
        | Event::StepNotSent { key, .. } => Some((*key, record.event.name())),
        _ => None,
    }
}

/// Follows the journal as it grows.
pub struct Tail {
    follower: Follower,
    assembler: Assembler,
    dir: std::path::PathBuf,
}

impl Tail {
    /// Begins at the first record.
    pub fn new(dir: &Path) -> Self {
        Self { follower: Follower::new(dir), assembler: Assembler::default(), dir: dir.to_owned() }
    }

    /// What was appended since the last call.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn read_new(&mut self) -> Result<Vec<Record>> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        for line in self.follower.read_new()? {
            for item in self.assembler.push(line) {
                records.push(record(item)?);
            }
        }
        Ok(records)
    }
}
