//! The dry run: what the operator would do, step by step, without doing any of it. Pure.
//!
//! There is no second planner. [`plan`] asks the very [`decide`](crate::decide::decide) that every
//! pass asks, follows its decision in an *ideal world*, and asks again. The ideal world is a model
//! that answers one question only: what is seen after this step succeeded, when nothing else
//! happens? So a plan cannot drift from what is done; it can only be overtaken by the world.
//!
//! How long things take is not said, because nobody knows it; two operations that do not need each
//! other may therefore come in another order. What is not seen well enough now is told as unknown,
//! never guessed.

mod follow;
mod ideal;
mod story;
#[cfg(test)]
mod tests;
mod text;

use serde::{Deserialize, Serialize};
use xsld_journal::event::{Cause, End as Ended, Goal, OperationKind, Step};

use crate::decide::{Inputs, Waiting};

/// How often `decide` is asked at most. The longest plan of a cache of a hundred members needs a
/// fraction of it; only a plan that runs in circles needs more, and that one must end, too.
pub const LOOKS_MAX: u32 = 20_000;

/// What the operator would do, from what it sees now to where it would rest.
///
/// UIDs and addresses of things that do not exist yet begin with `planned-`; the receipt of a claim
/// whose member is still to leave names the record 0, because that record is still to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Plan {
    /// Namespace of the XsldCache.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.generation` of the spec that is planned for.
    pub generation: i64,
    /// What would be done, in order. Empty when nothing would.
    pub operations: Vec<PlannedOperation>,
    /// Where it would end.
    pub end: End,
    /// Claims that would be deleted, in order.
    pub deletes: Vec<Claim>,
    /// Claims that no member would need any more and that policy keeps.
    pub keeps: Vec<Claim>,
    /// Members whose pods would be made again, in order, each once.
    pub restarts: Vec<String>,
    /// What the spec asks for and these steps do not bring about, with the reason.
    pub put_off: Vec<Wait>,
    /// What the plan takes for granted of things that are on their way already.
    pub assumes: Vec<String>,
}

/// One operation of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct PlannedOperation {
    /// Its kind.
    pub kind: OperationKind,
    /// What it is to reach.
    pub goal: Goal,
    /// Why it is, or would be, begun.
    pub cause: Cause,
    /// Whether it is open already, and this is what is left of it.
    pub continues: bool,
    /// Why it waits for a person or for evidence, where it does.
    pub parked: Option<Wait>,
    /// Its steps, in order; of an open operation those that are left.
    pub steps: Vec<PlannedStep>,
    /// What would be recorded beside the steps and matters to people.
    pub notes: Vec<String>,
    /// How it would end; none when the plan ends before it does.
    pub end: Option<Ended>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct PlannedStep {
    /// The effect, as it would be recorded.
    pub step: Step,
    /// The same in one line for people. Names in it may come from a member: escape it to show it.
    pub description: String,
    /// Whether it has still to be done.
    pub standing: Standing,
    /// Whether a wrong or repeated effect could lose something.
    pub destructive: bool,
    /// The claim that it deletes.
    pub deletes_claim: Option<Claim>,
    /// The member whose pod it makes again.
    pub restarts_member: Option<String>,
    /// What else a person should know of it.
    pub note: Option<String>,
}

impl PlannedStep {
    /// One line for people.
    pub fn describe(&self) -> &str {
        &self.description
    }
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It would be done.
    Planned,
    /// It was sent and is seen to be on its way.
    Running,
    /// It was intended, and whether it took effect is not decided yet.
    InDoubt,
    /// It was intended, and what is seen decides that it did not take effect.
    WithoutEffect,
}

/// A volume claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Wait {
    /// A condition reason in CamelCase.
    pub reason: String,
    /// One sentence for people. Words in it may come from a member: escape it to show it.
    pub message: String,
}

impl From<&Waiting> for Wait {
    fn from(waiting: &Waiting) -> Self {
        Self { reason: waiting.reason.as_str().to_owned(), message: waiting.message.clone() }
    }
}

/// Where a plan ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Nothing would be left to do.
    Settled,
    /// After the steps, or before any, something is waited for that no step brings about: a task of
    /// somebody else, room for entries, a person.
    Waits(Wait),
    /// What comes next cannot be told: the world is not seen well enough now.
    Unknown {
        /// What is not seen.
        why: String,
    },
    /// It does not end within [`LOOKS_MAX`] looks.
    TooLong,
}

/// What the operator would do, given what a pass would decide from. Nothing is changed by it, and
/// the same inputs give the same plan.
pub fn plan(inputs: Inputs<'_>) -> Plan {
    follow::rehearse(inputs).0
}
