//! The transition table of a cache's stream: which event each state takes, and what it becomes.

mod roll;

use super::{
    CacheState, Committed, Grid, IllegalTransition, JoinHistory, Leaving, Member, OpenStep,
    Operation, Parked, Progress, Promoted, Stamp, Template, Uploaded, illegal, refuse_if,
};
use crate::event::{
    Cause, Event, Goal, MemberRef, OperationKind, Ordinal, Receipt, Step, StepKey, Text,
};

impl CacheState {
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
            | Event::RecordsRetired { .. }
            | Event::CacheOpened { .. } => Err(illegal(event, "it belongs to the journal itself")),
            Event::OperationBegun { kind, goal, cause } => {
                self.begin(stamp, event, *kind, goal, cause)
            }
            Event::StepIntended { step, attempt, key, .. } => {
                self.intend(stamp, event, step, *attempt, *key)
            }
            Event::StepAccepted { key, task } => {
                self.progress(stamp, event, *key, Progress::Accepted { task: *task })
            }
            Event::StepUnknown { key, reason } => {
                self.progress(stamp, event, *key, Progress::Unknown { reason: reason.clone() })
            }
            Event::StepSucceeded { key, .. } => {
                let step = self.close_step(stamp, event, *key)?;
                self.succeed(stamp, event, step)
            }
            Event::StepFailed { key, reason, .. } => self.fail(stamp, event, *key, reason),
            Event::StepNotSent { key, reason } => self.not_sent(stamp, event, *key, reason),
            Event::StepVoid { key, .. } => self.void(stamp, event, *key),
            Event::OperationParked { reason, message } => self.park(stamp, event, reason, message),
            Event::OperationResumed { .. } => self.resume(stamp, event),
            Event::OperationEnded { end } => self.end(stamp, event, end),
            Event::Bootstrapped { member, address, .. } => {
                self.bootstrap(stamp, event, member, address)
            }
            Event::Adopted { members, replicas, template } => {
                self.adopt(stamp, event, members, *replicas, template.as_ref())
            }
            Event::MemberSeen { .. }
            | Event::MemberLost { .. }
            | Event::MemberAbsent { .. }
            | Event::VolumeRetained { .. }
            | Event::TrustPinned { .. }
            | Event::GridAdopted { .. }
            | Event::TemplateAdopted { .. } => self.note(stamp, event),
            Event::MemberAdopted { member, .. } => self.adopt_late(stamp, event, member),
            Event::AdoptionNoted { held, template } => {
                self.note_adoption(event, held, template.as_ref())
            }
            Event::Decided { .. } => self.hear(stamp, event),
            Event::GridsLeftOut { .. } => self.leave_out(stamp, event),
            Event::SpecOlder { .. } | Event::SpecConfirmed { .. } => self.judge_spec(stamp, event),
            Event::CacheClosed { .. } | Event::CacheLeft { .. } => self.close(stamp, event),
            Event::ObjectGone { uid, .. } => self.forget_object(event, uid),
        }
    }

    /// Folds what was seen of members, volumes and grids: it begins and ends no step.
    fn note(&mut self, stamp: Stamp, event: &Event) -> Result<(), IllegalTransition> {
        match event {
            Event::MemberSeen { ordinal, incarnation, address } => {
                let member = self.member_mut(event, *ordinal)?;
                member.incarnation.clone_from(incarnation);
                member.address.clone_from(address);
            }
            Event::MemberLost { ordinal, .. } => {
                self.member_mut(event, *ordinal)?;
                self.members.remove(ordinal);
            }
            Event::TrustPinned { claim_uid, fingerprint, .. } => {
                self.pins.insert(claim_uid.clone(), fingerprint.clone());
            }
            Event::GridAdopted { grid_uid, name, digest } => {
                self.unspent.remove(name);
                let grid = Grid { name: name.clone(), digest: digest.clone(), seq: stamp.seq };
                self.grids.insert(grid_uid.clone(), grid);
            }
            Event::TemplateAdopted { template_uid, name, digest } => {
                self.uploaded(stamp, template_uid, name, digest);
            }
            Event::MemberAbsent { member, receipt } => {
                match receipt {
                    Receipt::NeverJoined { .. }
                    | Receipt::FoundAbsent { .. }
                    | Receipt::Adopted { .. } => {}
                    Receipt::Disjoined { .. }
                    | Receipt::CacheDeleted
                    | Receipt::NeverBound { .. } => {
                        return Err(illegal(event, "its receipt is not about absence"));
                    }
                }
                self.leave(member, receipt.clone());
            }
            Event::VolumeRetained { ordinal, claim_uid } => {
                return self.retain(event, *ordinal, claim_uid);
            }
            Event::Genesis { .. }
            | Event::EpochBegun { .. }
            | Event::Gap { .. }
            | Event::RecordsRetired { .. }
            | Event::CacheOpened { .. }
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
            | Event::Adopted { .. }
            | Event::MemberAdopted { .. }
            | Event::AdoptionNoted { .. }
            | Event::Decided { .. }
            | Event::ObjectGone { .. }
            | Event::GridsLeftOut { .. }
            | Event::SpecOlder { .. }
            | Event::SpecConfirmed { .. }
            | Event::CacheClosed { .. }
            | Event::CacheLeft { .. } => {
                return Err(illegal(event, "it is not about a member, a volume or a grid"));
            }
        }
        Ok(())
    }

    fn retain(
        &mut self,
        event: &Event,
        ordinal: Ordinal,
        claim_uid: &str,
    ) -> Result<(), IllegalTransition> {
        let leaving = self.leaving.get(&ordinal);
        refuse_if(
            leaving.is_none_or(|leaving| leaving.claim_uid != claim_uid),
            event,
            "no member with this claim is leaving",
        )?;
        self.leaving.remove(&ordinal);
        self.joins.remove(claim_uid);
        self.joining.remove(claim_uid);
        Ok(())
    }

    fn not_sent(
        &mut self,
        stamp: Stamp,
        event: &Event,
        key: StepKey,
        reason: &str,
    ) -> Result<(), IllegalTransition> {
        let sent = self.open_mut(stamp, event, key)?.progress != Progress::Intended;
        refuse_if(sent, event, "it may have been sent")?;
        self.fail(stamp, event, key, reason)
    }

    /// What an intent must agree with, so that a wrong decision is refused before it is carried
    /// out: at the outcome it would be too late.
    fn check_intent(&self, event: &Event, step: &Step) -> Result<(), IllegalTransition> {
        match step {
            Step::JoinMember { member, .. } => {
                let recorded = self.members.contains_key(&member.ordinal);
                refuse_if(recorded, event, "it is a member")
            }
            Step::ScaleStatefulSet { from, .. } => {
                let committed = self.committed.replicas.unwrap_or(0);
                refuse_if(*from != committed, event, "it starts from other replicas")
            }
            Step::DeleteVolume { receipt: Receipt::CacheDeleted, .. } => {
                let kind = self.operation.as_ref().map(|operation| operation.kind);
                let deleting = kind == Some(OperationKind::Delete);
                refuse_if(!deleting, event, "the cache is not being deleted")
            }
            Step::DeleteVolume { claim_uid, receipt: Receipt::NeverBound { .. }, .. } => {
                refuse_if(self.knows_claim(claim_uid), event, "a member had this claim")
            }
            Step::DeleteVolume { ordinal, claim_uid, receipt, .. } => {
                let member = self.members.values().any(|member| member.claim_uid == *claim_uid);
                refuse_if(member, event, "the claim is a member's")?;
                let proven = self.leaving.get(ordinal).is_some_and(|leaving| {
                    leaving.claim_uid == *claim_uid && leaving.receipt == *receipt
                });
                refuse_if(!proven, event, "no member that left has this claim and this receipt")
            }
            Step::SetUpReplication { primary, replica } => {
                refuse_if(primary.ordinal == replica.ordinal, event, "both are one member")?;
                self.check_member(event, replica)
            }
            Step::PromotePrimary { member, former } => {
                refuse_if(member.name == *former, event, "it is the former primary")?;
                self.check_member(event, member)
            }
            Step::RollMember { member, template } => self.check_roll(event, member, template),
            Step::SetTemplate { .. }
            | Step::DisjoinMember { .. }
            | Step::RemoveGhostMember { .. }
            | Step::ResetMember { .. }
            | Step::CancelTask { .. }
            | Step::CreateGrid { .. }
            | Step::UpdateGrid { .. }
            | Step::DeleteGrid { .. }
            | Step::UploadTemplate { .. }
            | Step::DeleteTemplate { .. }
            | Step::DeleteStatefulSet { .. } => Ok(()),
            Step::GrowVolume { ordinal, claim_uid, .. } => {
                let leaves = self.leaving.get(ordinal).map(|leaving| &leaving.claim_uid);
                refuse_if(leaves == Some(claim_uid), event, "the claim is to go")
            }
        }
    }

    /// Whether a member has or had this claim, was asked to join with it, or was adopted with it.
    pub fn knows_claim(&self, claim_uid: &str) -> bool {
        self.members.values().any(|member| member.claim_uid == claim_uid)
            || self.leaving.values().any(|leaving| leaving.claim_uid == claim_uid)
            || self.joins.contains_key(claim_uid)
            || self.held.contains_key(claim_uid)
    }

    /// Refuses who is no established member with this volume.
    pub(super) fn check_member(
        &self,
        event: &Event,
        member: &MemberRef,
    ) -> Result<(), IllegalTransition> {
        let recorded = self.members.get(&member.ordinal);
        let same = recorded.is_some_and(|recorded| recorded.claim_uid == member.claim_uid);
        refuse_if(!same, event, "it is no member with this volume")
    }

    fn progress(
        &mut self,
        stamp: Stamp,
        event: &Event,
        key: StepKey,
        progress: Progress,
    ) -> Result<(), IllegalTransition> {
        self.open_mut(stamp, event, key)?.progress = progress;
        Ok(())
    }

    fn park(
        &mut self,
        stamp: Stamp,
        event: &Event,
        reason: &str,
        message: &str,
    ) -> Result<(), IllegalTransition> {
        let operation = self.operation_mut(stamp, event)?;
        refuse_if(operation.parked.is_some(), event, "the operation is parked already")?;
        let (reason, message) = (reason.to_owned(), message.to_owned());
        operation.parked = Some(Parked { reason, message, seq: stamp.seq });
        Ok(())
    }

    fn hear(&mut self, stamp: Stamp, event: &Event) -> Result<(), IllegalTransition> {
        self.operation_mut(stamp, event)?.hear(stamp.seq, event);
        Ok(())
    }

    fn resume(&mut self, stamp: Stamp, event: &Event) -> Result<(), IllegalTransition> {
        let operation = self.operation_mut(stamp, event)?;
        refuse_if(operation.parked.is_none(), event, "the operation is not parked")?;
        operation.go_on(stamp.seq);
        Ok(())
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
        self.try_for(goal);
        self.operation = Some(Operation::begun(id, kind, goal, cause, stamp));
        self.begin_roll(kind);
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
        self.operation_mut(stamp, event)?;
        self.check_intent(event, step)?;
        let target = step.target();
        let cancels = matches!(step, Step::CancelTask { .. });
        let operation = self.operation_mut(stamp, event)?;
        // Without a primary nothing can settle the open step: its successor is made aside.
        let promotes = matches!(step, Step::PromotePrimary { .. });
        let aside = cancels || (promotes && operation.step.is_some());
        refuse_if(operation.step.is_some() && !aside, event, "a step is open")?;
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
        if aside {
            operation.cancel = Some(open);
        } else {
            operation.step = Some(open);
        }
        self.roll_took |= matches!(step, Step::RollMember { .. });
        if let Step::JoinMember { member, .. } = step {
            self.joins.insert(member.claim_uid.clone(), JoinHistory::InDoubt);
            self.joining.insert(member.claim_uid.clone(), member.incarnation.clone());
        }
        Ok(())
    }

    pub(super) fn fail(
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
                self.held_template = None;
                self.commit_template(Template { digest, text: template });
            }
            Step::ScaleStatefulSet { to, .. } => self.committed.replicas = Some(to),
            Step::JoinMember { member, catalog, .. } => {
                self.join(stamp, event, member, catalog)?;
            }
            Step::DisjoinMember { member, .. } => {
                self.held.remove(&member.claim_uid);
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
                self.left_out.remove(&name);
                self.unspent.remove(&name);
                self.grids.insert(grid_uid, Grid { name, digest, seq: stamp.seq });
            }
            Step::DeleteGrid { grid_uid, .. } => {
                self.remember_remade(stamp);
                self.grids.remove(&grid_uid);
            }
            Step::UploadTemplate { template_uid, name, digest, .. } => {
                self.uploaded(stamp, &template_uid, &name, &digest);
            }
            Step::DeleteTemplate { template_uid, .. } => {
                self.templates.remove(&template_uid);
            }
            Step::DeleteStatefulSet { .. } => {
                self.committed = Committed::default();
                self.held_template = None;
                self.members.clear();
                self.leaving.clear();
            }
            Step::PromotePrimary { member, .. } => {
                self.promoted =
                    Some(Promoted { ordinal: member.ordinal, claim_uid: member.claim_uid });
            }
            Step::CancelTask { .. }
            | Step::SetUpReplication { .. }
            | Step::GrowVolume { .. }
            | Step::RollMember { .. } => {}
        }
        Ok(())
    }

    fn join(
        &mut self,
        stamp: Stamp,
        event: &Event,
        member: MemberRef,
        catalog: bool,
    ) -> Result<(), IllegalTransition> {
        refuse_if(self.members.contains_key(&member.ordinal), event, "it is a member")?;
        self.joins.insert(member.claim_uid.clone(), JoinHistory::Joined);
        self.leaving.remove(&member.ordinal);
        // What becomes of its volume from now on is known.
        self.held.remove(&member.claim_uid);
        self.members.insert(member.ordinal, established(member, catalog, stamp.seq));
        Ok(())
    }

    fn uploaded(&mut self, stamp: Stamp, template_uid: &str, name: &str, digest: &str) {
        let (name, digest) = (name.to_owned(), digest.to_owned());
        let uploaded = Uploaded { name, digest, seq: stamp.seq, time_us: stamp.time_us };
        self.templates.insert(template_uid.to_owned(), uploaded);
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
        self.joining.remove(claim_uid);
        self.pins.remove(claim_uid);
        self.held.remove(claim_uid);
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
        self.promoted = None;
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
        self.promoted = None;
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

    pub(super) fn operation_mut(
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

pub(super) fn established(member: MemberRef, catalog: bool, since_seq: u64) -> Member {
    Member {
        name: member.name,
        claim_uid: member.claim_uid,
        incarnation: member.incarnation,
        catalog,
        address: String::new(),
        since_seq,
    }
}
