//! Whether what was intended is still to be done when it would be sent again.

use xsld_journal::event::{Event, MemberRef, Step};
use xsld_journal::state::OpenStep;

use super::{Standing, close, in_doubt, is_a_task, proof, standing};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::{self, Decision, Inputs, Waiting};

/// Whether a step that did not take effect would be decided now as well, were it not open. Between
/// its intent and now the spec may have changed, somebody may have set a pause, another member may
/// have gone, or a volume: what was asked before it was begun is asked again before it is sent again.
/// The tables of joins, removals and the primary's role ask that themselves, and a member's reset
/// that is half done is carried to its end.
pub(super) fn is_still_decided(inputs: Inputs<'_>, open: &OpenStep) -> bool {
    match &open.step {
        Step::JoinMember { .. }
        | Step::DisjoinMember { .. }
        | Step::RemoveGhostMember { .. }
        | Step::SetUpReplication { .. }
        | Step::PromotePrimary { .. }
        | Step::CancelTask { .. } => return true,
        Step::ResetMember { member } if is_wiped(inputs, member) => return true,
        Step::ResetMember { .. }
        | Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::DeleteVolume { .. }
        | Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => {}
    }
    let mut without = inputs.state.clone();
    if let Some(operation) = &mut without.operation {
        operation.step = None;
        operation.parked = None;
        // Where it was the first attempt, what it was to reach was never tried.
        operation.attempts.retain(|_, keys| {
            keys.retain(|key| *key != open.key);
            !keys.is_empty()
        });
    }
    match decide::anew(Inputs { state: &without, ..inputs }) {
        Decision::Run { step, .. } => is_the_same(&step, &open.step),
        // It is put off, and what puts it off is told by whoever waits for it.
        Decision::Wait(_) => is_asked_of_the_group(&open.step),
        _ => false,
    }
}

/// Whether two steps ask for the same. Which member is asked matters for who may still answer, and not
/// for what is wanted.
fn is_the_same(now: &Step, then: &Step) -> bool {
    let grid = |step: &Step| match step {
        Step::CreateGrid { grid_uid, name, digest, .. }
        | Step::UpdateGrid { grid_uid, name, digest, .. }
        | Step::UploadTemplate { template_uid: grid_uid, name, digest, .. } => {
            Some((step.name(), grid_uid.clone(), name.clone(), digest.clone()))
        }
        Step::DeleteGrid { grid_uid, name, .. }
        | Step::DeleteTemplate { template_uid: grid_uid, name, .. } => {
            Some((step.name(), grid_uid.clone(), name.clone(), String::new()))
        }
        _ => None,
    };
    now == then || grid(then).is_some_and(|then| grid(now) == Some(then))
}

/// Whether the claim of a member that is wiped is going, or gone: its pod has to follow.
fn is_wiped(inputs: Inputs<'_>, member: &MemberRef) -> bool {
    let claim = inputs.seen.claims.get(&member.ordinal);
    claim.is_none_or(|claim| claim.uid != member.claim_uid || claim.deleting)
}

/// Whether a step would be sent again, were it still to be done.
pub(super) fn is_given_up(inputs: Inputs<'_>, open: &OpenStep) -> bool {
    standing(inputs, open) == Standing::Resend && !is_still_decided(inputs, open)
}

/// Ends a step that would not be decided any more. A request to the API server cannot be on its way
/// any more and names its object by UID, so it is void. What was asked of the group is not sent again,
/// and is void once nothing of it can come about.
pub(super) fn given_up(inputs: Inputs<'_>, open: &OpenStep) -> Decision {
    if !is_asked_of_the_group(&open.step) {
        return close(inputs, Event::StepVoid { key: open.key, evidence: proof(inputs) });
    }
    let message = format!(
        "{} is not to be done any more and is not sent again; what comes next waits until nothing of \
         it can come about",
        open.step.describe()
    );
    in_doubt(inputs, open, Waiting::new(Reason::InDoubt, message))
}

/// Whether a member of the group carries the step out, who may do so late.
fn is_asked_of_the_group(step: &Step) -> bool {
    match step {
        Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::CancelTask { .. } => true,
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::ResetMember { .. }
        | Step::DeleteVolume { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => false,
        step => is_a_task(step),
    }
}
