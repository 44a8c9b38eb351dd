//! What the journal, the members' call log and the world's folder say.

use std::path::Path;

use anyhow::{Context, Result};
use xsld_journal::audit::{Item, survey};
use xsld_journal::event::{Event, Receipt, Step, StepKey};
use xsld_journal::record::Record;

/// A step as the journal tells it so far.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The step.
    pub(super) step: Step,
    /// Its attempt's key.
    pub(super) key: StepKey,
    /// Sequence of its intent.
    pub(super) intended_seq: u64,
    /// Its outcome, if it has one.
    pub(super) outcome: Option<Outcome>,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// `succeeded`, `failed`, `void` or `not_sent`.
    pub(super) name: &'static str,
    /// Whether evidence decided, not the answer.
    pub(super) found_by_probe: bool,
    /// Sequence of the record.
    pub(super) seq: u64,
}

/// Every step of the journal in `dir`, in order. Reads the audit file; the operator may be running.
pub(super) fn steps(dir: &Path) -> Result<Vec<Told>> {
    let mut steps: Vec<Told> = Vec::new();
    for record in records(dir)? {
        let seq = record.seq();
        let ended = |name, found_by_probe| Some(Outcome { name, found_by_probe, seq });
        let (key, outcome) = match &record.event {
            Event::StepIntended { step, key, .. } => {
                let step = step.clone();
                steps.push(Told { step, key: *key, intended_seq: seq, outcome: None });
                continue;
            }
            Event::StepSucceeded { key, found_by_probe, .. } => {
                (key, ended("succeeded", *found_by_probe))
            }
            Event::StepFailed { key, .. } => (key, ended("failed", false)),
            Event::StepVoid { key, .. } => (key, ended("void", true)),
            Event::StepNotSent { key, .. } => (key, ended("not_sent", false)),
            _ => continue,
        };
        if let Some(told) = steps.iter_mut().find(|told| told.key == *key) {
            told.outcome = outcome;
        }
    }
    Ok(steps)
}

fn records(dir: &Path) -> Result<Vec<Record>> {
    let (items, _) = survey(dir).context("the journal cannot be read")?;
    items
        .into_iter()
        .map(|item| match item {
            Item::Record(found) => Ok(found.entry.record),
            Item::Unreadable(found) => anyhow::bail!("a record cannot be read: {}", found.error),
        })
        .collect()
}

/// The member that a step is about, if it is about one.
pub(super) fn member_of(step: &Step) -> &str {
    match step {
        Step::JoinMember { member, .. }
        | Step::DisjoinMember { member, .. }
        | Step::RemoveGhostMember { member, .. }
        | Step::ResetMember { member }
        | Step::CancelTask { member, .. } => &member.name,
        _ => "",
    }
}

/// A receipt in words.
pub(super) fn receipt(receipt: &Receipt) -> String {
    match receipt {
        Receipt::Disjoined { seq } => format!("disjoined, proven by record {seq}"),
        Receipt::NeverJoined { .. } => "it never joined".to_owned(),
        Receipt::FoundAbsent { .. } => "found absent twice".to_owned(),
        Receipt::Adopted { .. } => "absent when the journal was rebuilt".to_owned(),
        Receipt::CacheDeleted => "the cache was deleted".to_owned(),
        Receipt::NeverBound { .. } => "it never had a volume".to_owned(),
    }
}
