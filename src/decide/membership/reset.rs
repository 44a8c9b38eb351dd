//! Members that are half in another group, and when one is wiped.

use xsld_journal::event::{MemberRef, Ordinal, Step};
use xsld_journal::state::JoinHistory;

use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::{Decision, Inputs, evidence, taken, views};

/// Wipes a half-joined member: only one whose own attempts ended, that is not the primary and
/// holds no data that anybody else could miss.
pub(super) fn reset(inputs: Inputs<'_>, ordinal: Ordinal) -> Option<Decision> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let member = views::member_now(seen, state, ordinal)?;
    if !wanted.reset_half_joined {
        let message = format!(
            "{} is in another group and repair.resetHalfJoined is Never: delete its claim and pod",
            member.name
        );
        return Some(Decision::wait(Reason::Parked, message));
    }
    let removed_here = state.operation.as_ref().is_some_and(|operation| {
        operation.attempts_of(&format!("remove_ghost_member/{}", member.name)) > 0
    });
    let ours = state.joins.get(&member.claim_uid) == Some(&JoinHistory::WithoutEffect)
        || state.leaving.contains_key(&ordinal)
        || removed_here;
    if !ours || views::primary(seen, state) == Some(ordinal) {
        let message = format!(
            "{} is in another group and no attempt of the operator put it there: delete its claim \
             and pod if its volume may be wiped",
            member.name
        );
        return Some(Decision::wait(Reason::Parked, message));
    }
    if state.held.contains_key(&member.claim_uid) {
        let message = format!(
            "{} is not in the group any more and its volume is one that the adopted group listed: \
             delete its claim and pod if that may be wiped",
            member.name
        );
        return Some(Decision::wait(Reason::Parked, message));
    }
    if may_hold_data(inputs, &member) {
        let message = format!(
            "{} is not in the group and may hold entries of its grids in memory: it is wiped once \
             it was restarted; delete its pod if nothing of it is missed",
            member.name
        );
        return Some(Decision::wait(Reason::Parked, message));
    }
    if let Some(waiting) = taken::keeps_pods(inputs) {
        return Some(waiting);
    }
    Some(Decision::Run {
        step: Step::ResetMember { member },
        evidence: evidence(&views::told(seen)),
    })
}

/// Whether entries of a grid may be in the memory of a member that never came to be in the group:
/// the process that our join was asked of still runs, and it lists grids or does not tell.
pub(in crate::decide) fn may_hold_data(inputs: Inputs<'_>, member: &MemberRef) -> bool {
    let Inputs { seen, state, .. } = inputs;
    let asked = state.joining.get(&member.claim_uid);
    let same_process = asked == Some(&member.incarnation);
    let without_effect = state.joins.get(&member.claim_uid) == Some(&JoinHistory::WithoutEffect);
    let listed = seen.reports.get(&member.ordinal).and_then(|report| report.lists_grids);
    without_effect && same_process && listed != Some(false)
}
