//! Tells what was decided as operations with their steps.

use xsld_journal::event::{Event, Ordinal, Receipt, Step, StepKey};
use xsld_journal::state::Operation;

use super::{Claim, End, Plan, PlannedOperation, PlannedStep, Standing, Wait};
use crate::decide::{Inputs, steps, views};

/// A plan as far as it is told.
#[derive(Default)]
pub(super) struct Story {
    operations: Vec<PlannedOperation>,
    /// The steps that were open at the beginning, with the place of each in the first operation.
    open: Vec<(StepKey, usize)>,
    keeps: Vec<Claim>,
    assumes: Vec<String>,
    /// What was taken for granted since the last decision that acted on anything.
    pending: Vec<String>,
}

impl Story {
    /// The beginning: what is open already.
    pub(super) fn of(inputs: Inputs<'_>) -> Self {
        let mut story = Self::default();
        let Some(operation) = &inputs.state.operation else { return story };
        story.operations.push(continued(operation));
        for open in operation.cancel.iter().chain(&operation.step) {
            let standing = match steps::is_under_way(inputs, open) {
                true => Standing::Running,
                false => Standing::InDoubt,
            };
            story.push(told(inputs, &open.step, standing));
            story.open.push((open.key, story.open.len()));
        }
        story
    }

    /// Another step.
    pub(super) fn push(&mut self, step: PlannedStep) {
        if let Some(operation) = self.operations.last_mut() {
            operation.steps.push(step);
        }
    }

    /// What would be recorded, before it is.
    pub(super) fn note(&mut self, inputs: Inputs<'_>, event: &Event) {
        let name = |ordinal: Ordinal| views::name_of(inputs.state, ordinal);
        match event {
            Event::OperationBegun { kind, goal, cause } => self.operations.push(PlannedOperation {
                kind: *kind,
                goal: goal.clone(),
                cause: cause.clone(),
                continues: false,
                parked: None,
                steps: vec![],
                notes: vec![],
                end: None,
            }),
            Event::OperationEnded { end } => {
                if let Some(operation) = self.operations.last_mut() {
                    operation.end = Some(end.clone());
                }
            }
            Event::StepFailed { key, reason, .. } => self.without_effect(*key, reason),
            Event::StepVoid { key, .. } => self.without_effect(*key, "it can take no effect"),
            Event::StepSucceeded { key, flagged, .. } => self.done(*key, flagged.as_deref()),
            Event::OperationParked { message, .. } => self.remark(format!("parked: {message}")),
            Event::OperationResumed { evidence } => self.remark(format!("goes on: {evidence}")),
            Event::MemberLost { ordinal, .. } => {
                self.remark(format!("{} is recorded as lost", name(*ordinal)));
            }
            Event::MemberAbsent { member, receipt } => {
                let why = match receipt {
                    Receipt::NeverJoined { .. } => "never joined",
                    _ => "is not in the group any more",
                };
                self.remark(format!("{} is recorded as absent: it {why}", member.name));
            }
            Event::VolumeRetained { ordinal, claim_uid } => {
                let claim = claim_of(inputs, *ordinal, claim_uid);
                self.remark(format!("claim {} is kept, as the spec says", claim.name));
                self.keeps.push(claim);
            }
            Event::GridsLeftOut { grids, .. } if !grids.is_empty() => {
                self.remark(format!("it does not wait for {}", grids.join(", ")));
            }
            Event::Adopted { members, .. } => {
                self.pending.push(format!("a group of {} members is adopted", members.len()));
            }
            _ => {}
        }
    }

    /// Something is taken for granted. It is told only if anything is decided after it.
    pub(super) fn assume(&mut self, what: String) {
        self.pending.push(what);
    }

    /// A decision acted: it rests on what was taken for granted until now.
    pub(super) fn commit(&mut self) {
        for what in self.pending.drain(..) {
            if !self.assumes.contains(&what) {
                self.assumes.push(what);
            }
        }
    }

    fn remark(&mut self, what: String) {
        if let Some(operation) = self.operations.last_mut() {
            operation.notes.push(what);
        }
    }

    fn opened(&mut self, key: StepKey) -> Option<&mut PlannedStep> {
        let place = self.open.iter().find(|(open, _)| *open == key)?.1;
        self.operations.first_mut()?.steps.get_mut(place)
    }

    fn without_effect(&mut self, key: StepKey, why: &str) {
        match self.opened(key) {
            Some(step) => {
                step.standing = Standing::WithoutEffect;
                step.note = Some(format!("what is seen decides that it had no effect: {why}"));
            }
            None => self.remark(format!("a step ends without its effect: {why}")),
        }
    }

    fn done(&mut self, key: StepKey, flagged: Option<&str>) {
        if let (Some(step), Some(flagged)) = (self.opened(key), flagged) {
            step.note = Some(flagged.to_owned());
        }
    }

    /// The plan.
    pub(super) fn told(
        self,
        inputs: Inputs<'_>,
        end: End,
        keeps: Vec<Claim>,
        put_off: Vec<Wait>,
    ) -> Plan {
        let steps = || self.operations.iter().flat_map(|operation| &operation.steps);
        let effective = || steps().filter(|step| step.standing != Standing::WithoutEffect);
        let deletes = effective().filter_map(|step| step.deletes_claim.clone()).collect();
        let mut restarts: Vec<String> = vec![];
        for name in effective().filter_map(|step| step.restarts_member.as_ref()) {
            if !restarts.contains(name) {
                restarts.push(name.clone());
            }
        }
        Plan {
            namespace: inputs.wanted.namespace.clone(),
            name: inputs.wanted.name.clone(),
            generation: inputs.wanted.generation,
            end,
            deletes,
            keeps: self.keeps.into_iter().chain(keeps).collect(),
            restarts,
            put_off,
            assumes: self.assumes,
            operations: self.operations,
        }
    }
}

fn continued(operation: &Operation) -> PlannedOperation {
    PlannedOperation {
        kind: operation.kind,
        goal: operation.goal.clone(),
        cause: operation.cause.clone(),
        continues: true,
        parked: operation
            .parked
            .as_ref()
            .map(|parked| Wait { reason: parked.reason.clone(), message: parked.message.clone() }),
        steps: vec![],
        notes: vec![],
        end: None,
    }
}

/// A step with what it means, before it is done.
pub(super) fn told(inputs: Inputs<'_>, step: &Step, standing: Standing) -> PlannedStep {
    let (deletes_claim, restarts_member) = match step {
        Step::DeleteVolume { claim, claim_uid, .. } => {
            (Some(Claim { name: claim.clone(), uid: claim_uid.clone() }), None)
        }
        Step::ResetMember { member } => {
            let claim = claim_of(inputs, member.ordinal, &member.claim_uid);
            (Some(claim), Some(member.name.clone()))
        }
        Step::RollMember { member, .. } => (None, Some(member.name.clone())),
        _ => (None, None),
    };
    PlannedStep {
        description: step.describe(),
        standing,
        destructive: step.is_destructive(),
        deletes_claim,
        restarts_member,
        note: note(inputs, step),
        step: step.clone(),
    }
}

/// The claim of that UID as it is seen, under the name that a member's claim has in any case.
fn claim_of(inputs: Inputs<'_>, ordinal: Ordinal, uid: &str) -> Claim {
    let seen = inputs.seen.claims.get(&ordinal).filter(|claim| claim.uid == uid);
    let name = seen.map(|claim| claim.name.clone());
    let name = name.unwrap_or_else(|| format!("vol-{}", views::name_of(inputs.state, ordinal)));
    Claim { name, uid: uid.to_owned() }
}

/// What the step does not say of itself.
fn note(inputs: Inputs<'_>, step: &Step) -> Option<String> {
    let Inputs { seen, state, .. } = inputs;
    let note = match step {
        Step::SetTemplate { digest, .. } => {
            let former = state.former.as_ref().is_some_and(|former| former.digest == *digest);
            former.then_some("the former one again, so that no pod takes the new one by itself")?
        }
        Step::ScaleStatefulSet { from, to } if to < from => "the pods beyond that end",
        Step::ScaleStatefulSet { .. } => return None,
        Step::DisjoinMember { .. } => "once it is sent it is finished, whatever the spec says then",
        Step::ResetMember { .. } => "its volume is wiped, then it joins afresh",
        Step::DeleteVolume { receipt, .. } => match receipt {
            Receipt::CacheDeleted => "with the cache, as the spec says",
            Receipt::NeverBound { .. } => "it never had a volume, so nothing is on it",
            Receipt::NeverJoined { .. } => "its member never joined",
            Receipt::Disjoined { .. } | Receipt::FoundAbsent { .. } | Receipt::Adopted { .. } => {
                "its member is out of the group then"
            }
        },
        Step::RollMember { member, .. } if views::primary(seen, state) == Some(member.ordinal) => {
            "it is the primary: the group takes no change until it is back"
        }
        Step::DeleteStatefulSet { .. } if inputs.deletes_volumes() => {
            "its pods end, then the claims go"
        }
        Step::DeleteStatefulSet { .. } => "its pods end, and the claims stay",
        Step::RollMember { .. }
        | Step::JoinMember { .. }
        | Step::RemoveGhostMember { .. }
        | Step::CancelTask { .. }
        | Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::SetUpReplication { .. }
        | Step::PromotePrimary { .. }
        | Step::GrowVolume { .. } => return None,
    };
    Some(note.to_owned())
}
