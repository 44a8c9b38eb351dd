//! Ahead of a disruption: the primary's role is moved off a node that is about to be emptied.
//!
//! Whoever drains a node evicts its pods at once. So the primary's eviction waits from the start, by
//! a budget of its own, as long as there is a member that could take its role: see
//! [`crate::manifests::Budgets`]. Where there is none, or nothing is known of the nodes, an eviction
//! of the primary is like that of any other member, for it may not wait for ever.

use xsld_journal::event::{Cause, End, Goal, OperationKind, Ordinal};
use xsld_journal::state::{CacheState, Operation};

use super::roles;
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::question::Question;
use crate::decide::views;
use crate::decide::{Decision, Inputs, Wanted};
use crate::observation::Observation;

/// The primary whose role can be moved, and the member that would take it: it holds the replica, is
/// Online, and its node stays.
fn movable_primary(seen: &Observation, state: &CacheState) -> Option<(Ordinal, Ordinal)> {
    let primary = views::marked_primary(seen, state)?;
    let replica = roles::replica(seen, state).filter(|replica| *replica != primary)?;
    let here = |ordinal| seen.pods.get(&ordinal).filter(|pod| pod.running && !pod.deleting);
    let known = here(primary)?.node_leaving.is_some();
    let stays = here(replica)?.node_leaving == Some(false);
    let keeps = !roles::would_lose_its_data(seen, replica);
    let takes_over = stays && keeps && roles::is_online(seen, state, replica);
    (known && takes_over).then_some((primary, replica))
}

/// The member that the replica is to move to first, where the nodes of both the primary and its
/// replica are about to be emptied and another one stays. None once such a move has failed: an
/// eviction waits for what may come about only.
pub(super) fn replica_to_move(
    wanted: &Wanted,
    seen: &Observation,
    state: &CacheState,
) -> Option<(Ordinal, Ordinal)> {
    let primary = views::marked_primary(seen, state)?;
    let replica = roles::replica(seen, state).filter(|replica| *replica != primary)?;
    let leaves = |ordinal: Ordinal| seen.pods.get(&ordinal).and_then(|pod| pod.node_leaving);
    if !super::may_have_a_replica(wanted, state)
        || leaves(primary) != Some(true)
        || leaves(replica) != Some(true)
    {
        return None;
    }
    let fits = |ordinal: Ordinal| ordinal != replica && ordinal < wanted.size;
    let to = roles::candidate(seen, state, fits).filter(|to| leaves(*to) == Some(false))?;
    let failed = state.recent.iter().any(|ended| {
        matches!((&ended.goal, &ended.end), (Goal::Replica { ordinal, .. }, End::Failed { .. }) if *ordinal == to)
    });
    (!failed).then_some((primary, to))
}

/// The primary whose eviction waits for its role to be moved: at once, or after its replica was. None
/// where it would wait for ever: beside an operation that is parked nothing is moved, nor to a member
/// that is to leave.
pub fn primary_to_keep(wanted: &Wanted, seen: &Observation, state: &CacheState) -> Option<Ordinal> {
    if state.operation.as_ref().is_some_and(|open| open.parked.is_some()) {
        return None;
    }
    let now = movable_primary(seen, state).filter(|(_, successor)| *successor < wanted.size);
    now.or_else(|| replica_to_move(wanted, seen, state)).map(|(primary, _)| primary)
}

/// The primary on a node that is about to be emptied, and who takes its role.
fn primary_to_move(seen: &Observation, state: &CacheState) -> Option<(Ordinal, Ordinal)> {
    let (primary, successor) = movable_primary(seen, state)?;
    let leaving = seen.pods.get(&primary)?.node_leaving == Some(true);
    leaving.then_some((primary, successor))
}

/// Begins to move the primary's role off a node that is about to be emptied.
pub(super) fn begin(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let (primary, successor) = primary_to_move(seen, state)?;
    let (former, name) = (views::name_of(state, primary), views::name_of(state, successor));
    if successor >= wanted.size {
        return None;
    }
    let node = seen.pods.get(&primary).and_then(|pod| pod.node.clone()).unwrap_or_default();
    let reason = format!("the node {node} of the primary {former} is about to be emptied");
    if seen.any_task_running() {
        let message = format!("{reason}: {name} takes its place after the end of a task");
        return Some(Decision::wait(Reason::ForeignTask, message));
    }
    let is_settled = |question: Question<'_>| question.is_settled(inputs, times.settle);
    if !is_settled(Question::Roles) || !is_settled(Question::Place(successor)) {
        let message = format!("{reason}: {name} takes its place soon");
        return Some(Decision::wait(Reason::SwitchingPrimary, message));
    }
    let cause = Cause { generation: wanted.generation, reason };
    let goal = Goal::Primary { ordinal: successor, name };
    Some(Decision::Begin { kind: OperationKind::PrimarySwitch, goal, cause })
}

/// Carries on while the former primary still is the one, and for as long as there is a reason.
pub(super) fn carry_on(
    inputs: Inputs<'_>,
    operation: &Operation,
    (primary, successor): (Ordinal, Ordinal),
) -> Option<Decision> {
    let Inputs { seen, state, .. } = inputs;
    if primary_to_move(seen, state) != Some((primary, successor)) {
        return None;
    }
    if let Some(parked) = &operation.parked {
        return Some(super::stays_parked(inputs, operation, parked));
    }
    super::move_primary_away(inputs, primary)
}
