//! What the records mean: the state that they fold to, and the one transition table.
//!
//! [`CacheState::apply`] guards live appends and replay alike. It is total: an event that the
//! present state refuses is an [`IllegalTransition`], never a panic. There is no clock, no
//! randomness and no map without an order in here, so the same records give the same state.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::event::{
    Cause, End, Event, Goal, Incarnation, MemberRef, OperationId, OperationKind, Ordinal, Receipt,
    Step, StepKey, Text,
};

/// How many ended operations a cache remembers; the journal itself keeps all of them.
pub const RECENT_OPERATIONS_MAX: usize = 5;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// A member that left, or never came, and whose replicas and claim are still to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leaving {
    /// Name in the group.
    pub name: String,
    /// The claim that is to be deleted.
    pub claim_uid: String,
    /// Why the claim may be deleted.
    pub receipt: Receipt,
}

/// The pod template that the StatefulSet is to carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    /// BLAKE3 of the canonical JSON, hex.
    pub digest: String,
    /// The JSON.
    pub text: Text,
}

/// What the StatefulSet is to be. Never taken from the spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Committed {
    /// `replicas`; none before the first step and after deletion.
    pub replicas: Option<u32>,
    /// The pod template.
    pub template: Option<Template>,
}

/// How far an open step is known to have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parked {
    /// A condition reason in CamelCase.
    pub reason: String,
    /// What to know and do.
    pub message: String,
    /// Sequence of the record.
    pub seq: u64,
}

/// The operation that is being carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// A cancellation of the task that the step in doubt runs; the one thing that is done aside.
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
}

impl Operation {
    /// How many attempts of a target were begun in this operation.
    pub fn attempts_of(&self, target: &str) -> u32 {
        self.attempts.get(target).map_or(0, |keys| u32::try_from(keys.len()).unwrap_or(u32::MAX))
    }
}

/// An operation that is over, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndedOperation {
    /// Its id.
    pub id: OperationId,
    /// What kind of plan.
    pub kind: OperationKind,
    /// What it was to reach.
    pub goal: Goal,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grid {
    /// Its name in the group.
    pub name: String,
    /// BLAKE3 of the fields that were applied, hex.
    pub digest: String,
    /// Sequence of the last outcome.
    pub seq: u64,
}

/// What a join of a claim came to; the receipt `NeverJoined` is decided from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// Trusted certificate fingerprints by claim UID.
    pub pins: BTreeMap<String, String>,
    /// Grids by UID of their DataGrid.
    pub grids: BTreeMap<String, Grid>,
    /// The operation in flight.
    pub operation: Option<Operation>,
    /// The last ended operations, oldest first.
    pub recent: VecDeque<EndedOperation>,
    /// Whether the group was bootstrapped (or adopted).
    pub bootstrapped: bool,
    /// Whether this state was rebuilt from the world, and not yet by records of its own.
    pub adopted: bool,
    /// Whether the cache is gone.
    pub closed: bool,
}

/// What the records of the journal itself fold to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogState {
    /// UID of the namespace in the Genesis record.
    pub namespace_uid: Option<String>,
    /// The last term of leadership.
    pub epoch: u64,
    /// Its holder.
    pub holder: Option<String>,
    /// Whether a Gap stands in this journal.
    pub gap: bool,
}

impl LogState {
    /// Folds one record of the journal's own stream.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the state refuses the event.
    pub fn apply(&mut self, epoch: u64, event: &Event) -> Result<(), IllegalTransition> {
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
            Event::Gap { .. } => {
                refuse_if(self.namespace_uid.is_none(), event, "there is no genesis")?;
                self.gap = true;
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
            | Event::MemberAbsent { .. }
            | Event::VolumeRetained { .. }
            | Event::Decided { .. }
            | Event::CacheClosed { .. } => {
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

    /// The open cancellation of the open step's task, where there is one.
    pub fn open_cancel(&self) -> Option<&OpenStep> {
        self.operation.as_ref().and_then(|operation| operation.cancel.as_ref())
    }

    /// Folds one record: the transition table.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the state refuses the event; the state is then unusable, so
    /// callers fold into a copy.
    pub fn apply(&mut self, stamp: Stamp, event: &Event) -> Result<(), IllegalTransition> {
        refuse_if(self.closed, event, "the cache's stream is closed")?;
        let opened = !self.name.is_empty();
        if let Event::CacheOpened { namespace, name } = event {
            refuse_if(opened || name.is_empty(), event, "the stream is open already")?;
            self.namespace.clone_from(namespace);
            self.name.clone_from(name);
            return Ok(());
        }
        refuse_if(!opened, event, "the stream is not open")?;
        if let Some(operation) = &mut self.operation
            && stamp.operation == Some(operation.id)
        {
            operation.records = operation.records.saturating_add(1);
        }
        match event {
            Event::Genesis { .. }
            | Event::EpochBegun { .. }
            | Event::Gap { .. }
            | Event::CacheOpened { .. } => Err(illegal(event, "it belongs to the journal itself")),
            Event::OperationBegun { kind, goal, cause } => {
                self.begin(stamp, event, *kind, goal, cause)
            }
            Event::StepIntended { step, attempt, key, .. } => {
                self.intend(stamp, event, step, *attempt, *key)
            }
            Event::StepAccepted { key, task } => {
                self.open_mut(stamp, event, *key)?.progress = Progress::Accepted { task: *task };
                Ok(())
            }
            Event::StepUnknown { key, reason } => {
                self.open_mut(stamp, event, *key)?.progress =
                    Progress::Unknown { reason: reason.clone() };
                Ok(())
            }
            Event::StepSucceeded { key, .. } => {
                let step = self.close_step(stamp, event, *key)?;
                self.succeed(stamp, event, step)
            }
            Event::StepFailed { key, reason, .. } | Event::StepNotSent { key, reason } => {
                self.fail(stamp, event, *key, reason)
            }
            Event::StepVoid { key, .. } => {
                self.fail(stamp, event, *key, "it could no longer take effect")
            }
            Event::OperationParked { reason, message } => {
                let operation = self.operation_mut(stamp, event)?;
                refuse_if(operation.parked.is_some(), event, "the operation is parked already")?;
                operation.parked = Some(Parked {
                    reason: reason.clone(),
                    message: message.clone(),
                    seq: stamp.seq,
                });
                Ok(())
            }
            Event::OperationResumed { .. } => {
                let operation = self.operation_mut(stamp, event)?;
                refuse_if(operation.parked.is_none(), event, "the operation is not parked")?;
                operation.parked = None;
                Ok(())
            }
            Event::OperationEnded { end } => self.end(stamp, event, end),
            Event::Bootstrapped { member, address, .. } => {
                self.bootstrap(stamp, event, member, address)
            }
            Event::MemberSeen { ordinal, incarnation, address } => {
                let member = self.member_mut(event, *ordinal)?;
                member.incarnation.clone_from(incarnation);
                member.address.clone_from(address);
                Ok(())
            }
            Event::MemberLost { ordinal, .. } => {
                self.member_mut(event, *ordinal)?;
                self.members.remove(ordinal);
                Ok(())
            }
            Event::TrustPinned { claim_uid, fingerprint, .. } => {
                self.pins.insert(claim_uid.clone(), fingerprint.clone());
                Ok(())
            }
            Event::Adopted { members, replicas, template } => {
                self.adopt(stamp, event, members, *replicas, template.as_ref())
            }
            Event::GridAdopted { grid_uid, name, digest } => {
                let grid = Grid { name: name.clone(), digest: digest.clone(), seq: stamp.seq };
                self.grids.insert(grid_uid.clone(), grid);
                Ok(())
            }
            Event::MemberAbsent { member, receipt } => {
                match receipt {
                    Receipt::NeverJoined { .. }
                    | Receipt::FoundAbsent { .. }
                    | Receipt::Adopted { .. } => {}
                    Receipt::Disjoined { .. } | Receipt::CacheDeleted => {
                        return Err(illegal(event, "its receipt is not about absence"));
                    }
                }
                self.leave(member, receipt.clone());
                Ok(())
            }
            Event::VolumeRetained { ordinal, claim_uid } => {
                let leaving = self.leaving.get(ordinal);
                refuse_if(
                    leaving.is_none_or(|leaving| leaving.claim_uid != *claim_uid),
                    event,
                    "no member with this claim is leaving",
                )?;
                self.leaving.remove(ordinal);
                self.joins.remove(claim_uid);
                Ok(())
            }
            Event::Decided { .. } => self.operation_mut(stamp, event).map(|_| ()),
            Event::CacheClosed { .. } => {
                refuse_if(self.operation.is_some(), event, "an operation is open")?;
                self.closed = true;
                Ok(())
            }
        }
    }

    fn begin(
        &mut self,
        stamp: Stamp,
        event: &Event,
        kind: OperationKind,
        goal: &Goal,
        cause: &Cause,
    ) -> Result<(), IllegalTransition> {
        refuse_if(self.operation.is_some(), event, "another operation is open")?;
        let Some(id) = stamp.operation else {
            return Err(illegal(event, "the record names no operation"));
        };
        self.operation = Some(Operation {
            id,
            kind,
            goal: goal.clone(),
            cause: cause.clone(),
            begun_seq: stamp.seq,
            begun_us: stamp.time_us,
            step: None,
            cancel: None,
            attempts: BTreeMap::new(),
            last_failure: None,
            steps_done: 0,
            records: 1,
            parked: None,
        });
        Ok(())
    }

    fn intend(
        &mut self,
        stamp: Stamp,
        event: &Event,
        step: &Step,
        attempt: u32,
        key: StepKey,
    ) -> Result<(), IllegalTransition> {
        let target = step.target();
        let cancels = matches!(step, Step::CancelTask { .. });
        let operation = self.operation_mut(stamp, event)?;
        refuse_if(operation.step.is_some() && !cancels, event, "a step is open")?;
        refuse_if(operation.step.is_none() && cancels, event, "no step's task can be cancelled")?;
        refuse_if(operation.cancel.is_some(), event, "a cancellation is open")?;
        refuse_if(operation.parked.is_some(), event, "the operation is parked")?;
        let next = operation.attempts_of(&target).saturating_add(1);
        refuse_if(attempt != next, event, "the attempt does not follow the last one")?;
        let expected = StepKey::of(operation.id, &target, attempt);
        refuse_if(key != expected, event, "the key is not this attempt's")?;
        operation.attempts.entry(target).or_default().push(key);
        let open = OpenStep {
            step: step.clone(),
            attempt,
            key,
            progress: Progress::Intended,
            intended_seq: stamp.seq,
            intended_us: stamp.time_us,
        };
        if cancels {
            operation.cancel = Some(open);
        } else {
            operation.step = Some(open);
        }
        if let Step::JoinMember { member, .. } = step {
            self.joins.insert(member.claim_uid.clone(), JoinHistory::InDoubt);
        }
        Ok(())
    }

    fn fail(
        &mut self,
        stamp: Stamp,
        event: &Event,
        key: StepKey,
        reason: &str,
    ) -> Result<(), IllegalTransition> {
        let open = self.close_step(stamp, event, key)?;
        if let Step::JoinMember { member, .. } = open.step {
            self.joins.insert(member.claim_uid, JoinHistory::WithoutEffect);
        }
        if let Some(operation) = &mut self.operation {
            operation.last_failure = Some(reason.to_owned());
        }
        Ok(())
    }

    fn succeed(
        &mut self,
        stamp: Stamp,
        event: &Event,
        open: OpenStep,
    ) -> Result<(), IllegalTransition> {
        if let Some(operation) = &mut self.operation {
            operation.steps_done = operation.steps_done.saturating_add(1);
            operation.last_failure = None;
        }
        match open.step {
            Step::SetTemplate { digest, template } => {
                self.committed.template = Some(Template { digest, text: template });
            }
            Step::ScaleStatefulSet { to, .. } => self.committed.replicas = Some(to),
            Step::JoinMember { member, catalog, .. } => {
                refuse_if(self.members.contains_key(&member.ordinal), event, "it is a member")?;
                self.joins.insert(member.claim_uid.clone(), JoinHistory::Joined);
                self.leaving.remove(&member.ordinal);
                self.members.insert(member.ordinal, established(member, catalog, stamp.seq));
            }
            Step::DisjoinMember { member, .. } => {
                self.leave(&member, Receipt::Disjoined { seq: stamp.seq });
            }
            Step::RemoveGhostMember { member, .. } => {
                self.members.remove(&member.ordinal);
            }
            Step::ResetMember { member } => {
                self.members.remove(&member.ordinal);
                self.leaving.remove(&member.ordinal);
                self.forget_claim(&member.claim_uid);
            }
            Step::DeleteVolume { ordinal, claim_uid, .. } => {
                self.leaving.remove(&ordinal);
                self.forget_claim(&claim_uid);
            }
            Step::CreateGrid { grid_uid, name, digest, .. }
            | Step::UpdateGrid { grid_uid, name, digest, .. } => {
                self.grids.insert(grid_uid, Grid { name, digest, seq: stamp.seq });
            }
            Step::DeleteGrid { grid_uid, .. } => {
                self.grids.remove(&grid_uid);
            }
            Step::DeleteStatefulSet { .. } => {
                self.committed = Committed::default();
                self.members.clear();
                self.leaving.clear();
            }
            Step::CancelTask { .. } => {}
        }
        Ok(())
    }

    fn leave(&mut self, member: &MemberRef, receipt: Receipt) {
        self.members.remove(&member.ordinal);
        self.leaving.insert(
            member.ordinal,
            Leaving { name: member.name.clone(), claim_uid: member.claim_uid.clone(), receipt },
        );
    }

    fn forget_claim(&mut self, claim_uid: &str) {
        self.joins.remove(claim_uid);
        self.pins.remove(claim_uid);
    }

    fn end(&mut self, stamp: Stamp, event: &Event, end: &End) -> Result<(), IllegalTransition> {
        let operation = self.operation_mut(stamp, event)?;
        refuse_if(operation.step.is_some(), event, "a step is open")?;
        let ended = EndedOperation {
            id: operation.id,
            kind: operation.kind,
            goal: operation.goal.clone(),
            end: end.clone(),
            begun_seq: operation.begun_seq,
            begun_us: operation.begun_us,
            ended_seq: stamp.seq,
            ended_us: stamp.time_us,
            steps_done: operation.steps_done,
        };
        self.operation = None;
        self.recent.push_back(ended);
        while self.recent.len() > RECENT_OPERATIONS_MAX {
            self.recent.pop_front();
        }
        Ok(())
    }

    fn bootstrap(
        &mut self,
        stamp: Stamp,
        event: &Event,
        member: &MemberRef,
        address: &str,
    ) -> Result<(), IllegalTransition> {
        refuse_if(self.members.len() > 1, event, "the group has other members")?;
        refuse_if(member.ordinal != 0, event, "only the first member can be the group")?;
        self.members.clear();
        self.joins.insert(member.claim_uid.clone(), JoinHistory::Joined);
        let mut first = established(member.clone(), true, stamp.seq);
        address.clone_into(&mut first.address);
        self.members.insert(0, first);
        self.bootstrapped = true;
        Ok(())
    }

    fn adopt(
        &mut self,
        stamp: Stamp,
        event: &Event,
        members: &[crate::event::AdoptedMember],
        replicas: Option<u32>,
        template: Option<&(String, Text)>,
    ) -> Result<(), IllegalTransition> {
        refuse_if(self.open_step().is_some(), event, "a step is open")?;
        self.members.clear();
        for adopted in members {
            let mut member = established(adopted.member.clone(), adopted.catalog, stamp.seq);
            member.address.clone_from(&adopted.address);
            self.joins.insert(member.claim_uid.clone(), JoinHistory::Joined);
            self.members.insert(adopted.member.ordinal, member);
        }
        self.committed = Committed {
            replicas,
            template: template
                .map(|(digest, text)| Template { digest: digest.clone(), text: text.clone() }),
        };
        self.bootstrapped = self.bootstrapped || !self.members.is_empty();
        self.adopted = true;
        Ok(())
    }

    fn operation_mut(
        &mut self,
        stamp: Stamp,
        event: &Event,
    ) -> Result<&mut Operation, IllegalTransition> {
        let Some(operation) = &mut self.operation else {
            return Err(illegal(event, "no operation is open"));
        };
        refuse_if(stamp.operation != Some(operation.id), event, "it names another operation")?;
        Ok(operation)
    }

    fn open_mut(
        &mut self,
        stamp: Stamp,
        event: &Event,
        key: StepKey,
    ) -> Result<&mut OpenStep, IllegalTransition> {
        let operation = self.operation_mut(stamp, event)?;
        refuse_if(operation.step.is_none(), event, "no step is open")?;
        let mut open = operation.cancel.iter_mut().chain(operation.step.iter_mut());
        open.find(|step| step.key == key)
            .ok_or_else(|| illegal(event, "its key is not an open step's"))
    }

    fn close_step(
        &mut self,
        stamp: Stamp,
        event: &Event,
        key: StepKey,
    ) -> Result<OpenStep, IllegalTransition> {
        self.open_mut(stamp, event, key)?;
        let operation = self.operation_mut(stamp, event)?;
        if operation.cancel.as_ref().is_some_and(|cancel| cancel.key == key) {
            return operation.cancel.take().ok_or_else(|| illegal(event, "no step is open"));
        }
        refuse_if(operation.cancel.is_some(), event, "the cancellation of its task is open")?;
        operation.step.take().ok_or_else(|| illegal(event, "no step is open"))
    }

    fn member_mut(
        &mut self,
        event: &Event,
        ordinal: Ordinal,
    ) -> Result<&mut Member, IllegalTransition> {
        self.members.get_mut(&ordinal).ok_or_else(|| illegal(event, "it is not a recorded member"))
    }
}

fn established(member: MemberRef, catalog: bool, since_seq: u64) -> Member {
    Member {
        name: member.name,
        claim_uid: member.claim_uid,
        incarnation: member.incarnation,
        catalog,
        address: String::new(),
        since_seq,
    }
}

fn illegal(event: &Event, reason: &str) -> IllegalTransition {
    IllegalTransition { event: event.name(), reason: reason.to_owned() }
}

fn refuse_if(condition: bool, event: &Event, reason: &str) -> Result<(), IllegalTransition> {
    if condition { Err(illegal(event, reason)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
