//! What the records mean: the state that they fold to, and the one transition table.
//!
//! [`CacheState::apply`] guards live appends and replay alike. It is total: an event that the
//! present state refuses is an [`IllegalTransition`], never a panic. There is no clock, no
//! randomness and no map without an order in here, so the same records give the same state.
//!
//! A state also stands in bases, which are read for ever, as the records behind them are gone: a field
//! that is added to one has a default (`#[serde(default)]`), and none is renamed or taken away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{
    Cause, End, Event, Goal, Incarnation, OperationId, OperationKind, Ordinal, Receipt, Step,
    StepKey, Survivor, Text,
};

/// How many ended operations a cache remembers; the journal itself keeps all of them. Enough to see
/// that the same was done several times, with others in between.
pub const RECENT_OPERATIONS_MAX: usize = 12;

/// The part of a record's envelope that the table needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Sequence of the record in the journal.
    pub seq: u64,
    /// Wall time in microseconds since 1970. Shown, never compared.
    pub time_us: i64,
    /// The operation that the record belongs to.
    pub operation: Option<OperationId>,
}

/// An event that the present state refuses. While appending it is our own bug: the record is not
/// written. While replaying it means that the journal holds bytes that were written wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal transition: {event} is refused, because {reason}")]
pub struct IllegalTransition {
    /// Name of the refused event.
    pub event: &'static str,
    /// What refuses it.
    pub reason: String,
}

/// An established member: its join (or the group's bootstrap) is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Name in the group, which is its pod's name.
    pub name: String,
    /// The volume that holds its state.
    pub claim_uid: String,
    /// Its last recorded process.
    pub incarnation: Incarnation,
    /// Whether it was joined as a catalog server.
    pub catalog: bool,
    /// The address at which the group knows it, as last recorded; empty when never seen.
    pub address: String,
    /// Sequence of the record that established it.
    pub since_seq: u64,
}

/// The member that the last recorded switch made the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// Its place.
    pub ordinal: Ordinal,
    /// The volume that holds the database.
    pub claim_uid: String,
}

/// A member that left, or never came, and whose replicas and claim are still to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Name in the group.
    pub name: String,
    /// The claim that is to be deleted.
    pub claim_uid: String,
    /// Why the claim may be deleted.
    pub receipt: Receipt,
}

/// The pod template that the StatefulSet is to carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// BLAKE3 of the canonical JSON, hex.
    pub digest: String,
    /// The JSON.
    pub text: Text,
}

/// An image roll that ended, and was not superseded: the same one is not begun again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolled {
    /// What it was to reach.
    pub goal: Goal,
    /// How it ended.
    pub end: End,
}

/// What the StatefulSet is to be. Never taken from the spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// `replicas`; none before the first step and after deletion.
    pub replicas: Option<u32>,
    /// The pod template.
    pub template: Option<Template>,
}

/// How far an open step is known to have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Intended; nothing is known of the effect.
    Intended,
    /// The member answered with a task.
    Accepted {
        /// Its id, where one was told.
        task: Option<u64>,
    },
    /// The answer was lost or not understood.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// An intent without an outcome: in doubt until evidence decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStep {
    /// The effect.
    pub step: Step,
    /// Which attempt.
    pub attempt: u32,
    /// Its key.
    pub key: StepKey,
    /// How far it is known to have come.
    pub progress: Progress,
    /// Sequence of the intent.
    pub intended_seq: u64,
    /// Wall time of the intent in microseconds, for people.
    pub intended_us: i64,
}

/// Why an operation waits for evidence or a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// A condition reason in CamelCase.
    pub reason: String,
    /// What to know and do.
    pub message: String,
    /// Sequence of the record.
    pub seq: u64,
}

/// The operation that is being carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What kind of plan.
    pub kind: OperationKind,
    /// What to reach.
    pub goal: Goal,
    /// Why it was begun.
    pub cause: Cause,
    /// Sequence of its first record.
    pub begun_seq: u64,
    /// Wall time of its first record in microseconds, for people.
    pub begun_us: i64,
    /// The step in doubt, if any.
    pub step: Option<OpenStep>,
    /// The one thing that is done aside: a cancellation of the task that the step in doubt runs, or
    /// the switch of a lost primary, without which nothing could settle it.
    pub cancel: Option<OpenStep>,
    /// Keys of all attempts, by [`Step::target`], in order.
    pub attempts: BTreeMap<String, Vec<StepKey>>,
    /// Why the last attempt ended without its effect; none after a success.
    pub last_failure: Option<String>,
    /// Steps that succeeded.
    pub steps_done: u32,
    /// Records of this operation so far.
    pub records: u32,
    /// Set while it waits for evidence or a person.
    pub parked: Option<Parked>,
    /// What a person decided about the parked operation, until it goes on or ends. This and what
    /// follows is left out while there is none, so that the state of a journal in which nobody
    /// decided is told as it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// How many attempts of each target lay behind when a person last let it go on: they count no
    /// more against it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forgiven: BTreeMap<String, u32>,
    /// Sequence of the record by which a person's decision last let it go on; 0 when none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retried_seq: u64,
}

/// The form of this signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(seq: &u64) -> bool {
    *seq == 0
}

/// What a person decided, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who, as far as that is known.
    pub who: String,
    /// The word of the decision; see [`crate::decision::Choice`].
    pub decision: String,
    /// Their reason.
    pub why: String,
    /// Sequence of the record.
    pub seq: u64,
}

impl Operation {
    /// An operation of which only the first record is there.
    fn begun(id: OperationId, kind: OperationKind, goal: &Goal, cause: &Cause, at: Stamp) -> Self {
        Self {
            id,
            kind,
            goal: goal.clone(),
            cause: cause.clone(),
            begun_seq: at.seq,
            begun_us: at.time_us,
            step: None,
            cancel: None,
            attempts: BTreeMap::new(),
            last_failure: None,
            steps_done: 0,
            records: 1,
            parked: None,
            decided: None,
            forgiven: BTreeMap::new(),
            retried_seq: 0,
        }
    }

    /// Keeps a person's word while it is parked. At any other time there is nothing to decide.
    fn hear(&mut self, seq: u64, event: &Event) {
        if let (true, Event::Decided { who, decision, why }) = (self.parked.is_some(), event) {
            let (who, decision, why) = (who.clone(), decision.clone(), why.clone());
            self.decided = Some(Decided { who, decision, why, seq });
        }
    }

    /// Goes on. Where a person let it, its attempts are counted from nothing again.
    fn go_on(&mut self, seq: u64) {
        self.parked = None;
        if self.decided.take().is_some() {
            let count = |keys: &Vec<StepKey>| u32::try_from(keys.len()).unwrap_or(u32::MAX);
            let attempts = self.attempts.iter().map(|(to, keys)| (to.clone(), count(keys)));
            self.forgiven = attempts.collect();
            self.retried_seq = seq;
        }
    }

    /// How many attempts of a target count against the operation: those since it was begun, or
    /// since a person last let it go on.
    pub fn tried(&self, target: &str) -> u32 {
        let forgiven = self.forgiven.get(target).copied().unwrap_or(0);
        self.attempts_of(target).saturating_sub(forgiven)
    }

    /// How many attempts of a target were begun in this operation.
    pub fn attempts_of(&self, target: &str) -> u32 {
        self.attempts.get(target).map_or(0, |keys| u32::try_from(keys.len()).unwrap_or(u32::MAX))
    }
}

/// An operation that is over, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedOperation {
    /// Its id.
    pub id: OperationId,
    /// What kind of plan.
    pub kind: OperationKind,
    /// What it was to reach.
    pub goal: Goal,
    /// Why it was begun.
    pub cause: Cause,
    /// How it ended.
    pub end: End,
    /// Sequence of its first record.
    pub begun_seq: u64,
    /// Wall time of its first record in microseconds.
    pub begun_us: i64,
    /// Sequence of its last record.
    pub ended_seq: u64,
    /// Wall time of its last record in microseconds.
    pub ended_us: i64,
    /// Steps that succeeded.
    pub steps_done: u32,
}

/// A grid that an operation created or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// Its name in the group.
    pub name: String,
    /// BLAKE3 of the fields that were applied, hex.
    pub digest: String,
    /// Sequence of the last outcome.
    pub seq: u64,
}

/// A grid template that the group was given, or had already with the wanted documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Its name in the group.
    pub name: String,
    /// BLAKE3 of its two documents, hex.
    pub digest: String,
    /// Sequence of the outcome.
    pub seq: u64,
    /// Wall time of the outcome in microseconds, for people.
    pub time_us: i64,
}

/// What a join of a claim came to; the receipt `NeverJoined` is decided from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinHistory {
    /// An attempt is in doubt.
    InDoubt,
    /// Every attempt ended without effect.
    WithoutEffect,
    /// It joined.
    Joined,
}

/// All that the journal knows of one cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheState {
    /// Namespace of the XsldCache; empty before the stream is opened.
    pub namespace: String,
    /// Name of the XsldCache.
    pub name: String,
    /// The StatefulSet as it is to be.
    pub committed: Committed,
    /// Established members by ordinal.
    pub members: BTreeMap<Ordinal, Member>,
    /// Members that are out of the group and whose replicas or claim are still to go.
    pub leaving: BTreeMap<Ordinal, Leaving>,
    /// What became of joins, by claim UID, while the claim is known.
    pub joins: BTreeMap<String, JoinHistory>,
    /// The process that the last join of a claim was asked of, while the claim is known. Another
    /// one now has lost what the join gave it to keep in memory.
    pub joining: BTreeMap<String, Incarnation>,
    /// Trusted certificate fingerprints by claim UID.
    pub pins: BTreeMap<String, String>,
    /// Grids by UID of their DataGrid.
    pub grids: BTreeMap<String, Grid>,
    /// Grid templates by UID of their GridTemplate.
    pub templates: BTreeMap<String, Uploaded>,
    /// The operation in flight.
    pub operation: Option<Operation>,
    /// The template that was committed before the roll that has not ended yet, superseded or not:
    /// what the roll goes back to. None once every member was rolled, or it was committed again.
    pub former: Option<Template>,
    /// The last image roll that succeeded, reached its partition or failed.
    pub rolled: Option<Rolled>,
    /// Grids that the roll which has not ended yet, superseded or not, does not wait for. Left out
    /// while there is none, so that the state of a journal without them is told as it ever was.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<String>,
    /// Whether a pod was to be deleted for the roll which has not ended yet, superseded or not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roll_took: bool,
    /// The last ended operations, oldest first. They are told; what they came to for one object is
    /// remembered in `tried`.
    pub recent: VecDeque<EndedOperation>,
    /// What operations came to, by the object that they were about: see [`Goal::object`]. Left out
    /// while there is none, so that the state of a journal without them is told as it ever was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tried: BTreeMap<String, Tried>,
    /// The member that a recorded switch made the primary, by the claim that holds the database.
    pub promoted: Option<Promoted>,
    /// Claims that an adopted group listed, with their members' names: none is wiped without a
    /// person's decision. This and what follows is left out while there is none, so that the state of
    /// older journals is told as it ever was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, String>,
    /// Digest of the pod template that the spec asked for when the group was adopted, where the
    /// StatefulSet had another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_template: Option<String>,
    /// Deletions of grids that were given up as void, with who was asked for them, by the grid's name: a
    /// process that stood still may carry one out when it goes on. Until a grid of that name is made or
    /// taken over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unspent: BTreeMap<String, Survivor>,
    /// The newest spec that was acted on, as far as the operations that are remembered do not tell it,
    /// or that was confirmed. Read by [`CacheState::acted_on`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted: Option<Acted>,
    /// A spec that is older than what was acted on, until somebody confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<Older>,
    /// Whether the group was bootstrapped (or adopted).
    pub bootstrapped: bool,
    /// Whether this state was rebuilt from the world, and not yet by records of its own.
    pub adopted: bool,
    /// Whether the cache is gone.
    pub closed: bool,
    /// Whether that is because it was left as it was, and not deleted here. Left out where it was not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

/// What the records of the journal itself fold to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// UID of the namespace in the Genesis record.
    pub namespace_uid: Option<String>,
    /// The last term of leadership.
    pub epoch: u64,
    /// Its holder.
    pub holder: Option<String>,
    /// The gap after which this journal began, where there is one.
    pub gap: Option<Gap>,
    /// The last retirement of records. Left out while there is none, so that the state of a journal
    /// that keeps all its records is told as it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Retired>,
}

/// Records that a journal has no more, as it was recorded before they were deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The last one of them.
    pub through: u64,
    /// Its hash, hex.
    pub hash: String,
    /// BLAKE3 of the first line of the base that stands for them, hex.
    pub base: String,
    /// Sequence of the record that says so.
    pub seq: u64,
}

/// What a journal goes on after: another one of which records are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Id of the journal before.
    pub old_journal: Uuid,
    /// Last sequence that was found of it; 0 when nothing was.
    pub found_seq: u64,
    /// The sequence that its anchor named.
    pub anchor_seq: u64,
}

impl LogState {
    /// Folds one record of the journal's own stream, which has this sequence.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the state refuses the event.
    pub fn apply(&mut self, seq: u64, epoch: u64, event: &Event) -> Result<(), IllegalTransition> {
        match event {
            Event::Genesis { namespace_uid } => {
                refuse_if(self.namespace_uid.is_some(), event, "the journal has its genesis")?;
                self.namespace_uid = Some(namespace_uid.clone());
            }
            Event::EpochBegun { holder } => {
                refuse_if(self.namespace_uid.is_none(), event, "there is no genesis")?;
                refuse_if(epoch <= self.epoch, event, "its epoch is not newer than the last one")?;
                self.epoch = epoch;
                self.holder = Some(holder.clone());
            }
            Event::Gap { old_journal, found_seq, anchor_seq, .. } => {
                refuse_if(self.namespace_uid.is_none(), event, "there is no genesis")?;
                self.gap = Some(Gap {
                    old_journal: *old_journal,
                    found_seq: *found_seq,
                    anchor_seq: *anchor_seq,
                });
            }
            Event::RecordsRetired { through, hash, base, .. } => {
                refuse_if(self.namespace_uid.is_none(), event, "there is no genesis")?;
                let before = self.retired.as_ref().map_or(0, |retired| retired.through);
                refuse_if(*through <= before, event, "these records were retired before")?;
                refuse_if(*through >= seq, event, "the record would retire itself")?;
                let (through, hash, base) = (*through, hash.clone(), base.clone());
                self.retired = Some(Retired { through, hash, base, seq });
            }
            Event::CacheOpened { .. }
            | Event::OperationBegun { .. }
            | Event::StepIntended { .. }
            | Event::StepAccepted { .. }
            | Event::StepUnknown { .. }
            | Event::StepSucceeded { .. }
            | Event::StepFailed { .. }
            | Event::StepVoid { .. }
            | Event::StepNotSent { .. }
            | Event::OperationParked { .. }
            | Event::OperationResumed { .. }
            | Event::OperationEnded { .. }
            | Event::Bootstrapped { .. }
            | Event::MemberSeen { .. }
            | Event::MemberLost { .. }
            | Event::TrustPinned { .. }
            | Event::Adopted { .. }
            | Event::GridAdopted { .. }
            | Event::TemplateAdopted { .. }
            | Event::MemberAbsent { .. }
            | Event::VolumeRetained { .. }
            | Event::Decided { .. }
            | Event::ObjectGone { .. }
            | Event::GridsLeftOut { .. }
            | Event::CacheClosed { .. }
            | Event::CacheLeft { .. }
            | Event::MemberAdopted { .. }
            | Event::SpecOlder { .. }
            | Event::SpecConfirmed { .. }
            | Event::AdoptionNoted { .. } => {
                return Err(illegal(event, "it belongs to a cache's stream"));
            }
        }
        Ok(())
    }
}

impl CacheState {
    /// The open step, where there is one.
    pub fn open_step(&self) -> Option<&OpenStep> {
        self.operation.as_ref().and_then(|operation| operation.step.as_ref())
    }

    /// The established member that a recorded switch made the primary, while it is one with the
    /// volume that it had then. None: nobody but the first member ever was, or the journal cannot
    /// know.
    pub fn promoted_primary(&self) -> Option<Ordinal> {
        let promoted = self.promoted.as_ref()?;
        let member = self.members.get(&promoted.ordinal)?;
        (member.claim_uid == promoted.claim_uid).then_some(promoted.ordinal)
    }

    /// What is done aside of the open step, where there is something.
    pub fn open_cancel(&self) -> Option<&OpenStep> {
        self.operation.as_ref().and_then(|operation| operation.cancel.as_ref())
    }
}

pub(super) fn illegal(event: &Event, reason: &str) -> IllegalTransition {
    IllegalTransition { event: event.name(), reason: reason.to_owned() }
}

pub(super) fn refuse_if(
    condition: bool,
    event: &Event,
    reason: &str,
) -> Result<(), IllegalTransition> {
    if condition { Err(illegal(event, reason)) } else { Ok(()) }
}

mod acted;
mod append;
mod ending;
mod table;
mod tried;

pub use acted::{Acted, Older};
pub use tried::{Failure, REPEATS_KEPT, Repeat, Tried};

#[cfg(test)]
mod tests;
