//! Whether what was intended is still to be done when it would be sent again.

use xsld_journal::event::{Event, MemberRef, Step};
use xsld_journal::state::OpenStep;

use super::probe::removal;
use super::{Standing, close, in_doubt, is_a_task, proof, standing};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::{self, Decision, Inputs, Waiting, stray};

/// What would be done now about a step that did not take effect, were it not open.
pub(super) enum Now {
    /// The same: it is sent again.
    TheSame,
    /// Nothing yet, for this reason: it is not sent, and void once nothing of it can come about.
    PutOff(Waiting),
    /// Something else, or nothing any more.
    Other,
}

/// What would be done now about a step that did not take effect, were it not open. Between its intent
/// and now the spec may have changed, somebody may have set a pause, another member may have gone, or
/// a volume: what was asked before it was begun is asked again before it is sent again. The tables of
/// joins, removals and the primary's role ask that themselves, as what cancels a task does, and a
/// member's reset that is half done is carried to its end.
pub(super) fn now(inputs: Inputs<'_>, open: &OpenStep) -> Now {
    let asks_itself = is_a_task(&open.step) || matches!(open.step, Step::CancelTask { .. });
    let is_half_done = match &open.step {
        Step::ResetMember { member } => is_wiped(inputs, member),
        _ => false,
    };
    if is_wanted_again(inputs, &open.step) {
        return Now::Other;
    }
    if asks_itself || is_half_done {
        return Now::TheSame;
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
        Decision::Run { step, .. } if is_the_same(&step, &open.step) => Now::TheSame,
        // A request to the API server is over and can be made anew; one of the group's is not.
        Decision::Wait(waiting) if is_asked_of_the_group(&open.step) => Now::PutOff(waiting),
        _ => Now::Other,
    }
}

/// Whether who was to leave is to stay: the spec has come to want it, somebody stands behind the entry, or
/// nothing is done for the spec now.
fn is_wanted_again(inputs: Inputs<'_>, step: &Step) -> bool {
    let stays = match step {
        Step::DisjoinMember { member, .. } => member.ordinal < inputs.wanted.size,
        Step::RemoveGhostMember { member, .. } => stray::is_somebodys(inputs, member.ordinal),
        _ => return false,
    };
    !inputs.wanted.deleting && (stays || inputs.standstill().is_some())
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

/// Whether a step would be sent again, were it still to be done now.
pub(super) fn is_given_up(inputs: Inputs<'_>, open: &OpenStep) -> bool {
    standing(inputs, open) == Standing::Resend && !matches!(now(inputs, open), Now::TheSame)
}

/// Ends a step that would not be decided any more. A request to the API server cannot be on its way
/// any more and names its object by UID, so it is void. What was asked of the group is not sent again,
/// and is void once nothing of it can come about: a removal, when none was seen for the orphan time.
pub(super) fn given_up(inputs: Inputs<'_>, open: &OpenStep) -> Decision {
    let is_past = match &open.step {
        Step::DisjoinMember { member, survivor } | Step::RemoveGhostMember { member, survivor } => {
            removal(member, survivor, false).is_settled(inputs, inputs.times.orphan)
        }
        _ => false,
    };
    if is_past || !is_asked_of_the_group(&open.step) {
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
pub(super) fn is_asked_of_the_group(step: &Step) -> bool {
    match step {
        Step::JoinMember { .. }
        | Step::DisjoinMember { .. }
        | Step::RemoveGhostMember { .. }
        | Step::SetUpReplication { .. }
        | Step::PromotePrimary { .. }
        | Step::CancelTask { .. }
        | Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. } => true,
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::ResetMember { .. }
        | Step::DeleteVolume { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => false,
    }
}
