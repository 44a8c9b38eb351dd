//! Operations on members that only wait for a name that is another's.

use xsld_journal::event::{End, Event, OperationKind};
use xsld_journal::state::Operation;

use crate::decide::{Decision, Inputs, steps, taken};

/// Ends an operation of which nothing is left to be done but what waits for a name, also one that is
/// parked: rolls, grids and drains do not wait for what somebody else has. What it lacks is begun
/// when the name is free.
pub(super) fn ended(
    inputs: Inputs<'_>,
    operation: &Operation,
    next: &Decision,
) -> Option<Decision> {
    let Inputs { state, .. } = inputs;
    let Decision::Wait(waiting) = next else { return None };
    if !state.bootstrapped || !taken::is_all(inputs, next) {
        return None;
    }
    let mut places = 0..state.committed.replicas.unwrap_or(0);
    let is_repaired =
        places.all(|place| state.members.contains_key(&place)) && state.leaving.is_empty();
    let end = match operation.kind {
        OperationKind::Repair if is_repaired => End::Succeeded,
        _ => End::Superseded { by: waiting.message.clone() },
    };
    let ended = Event::OperationEnded { end };
    let resumed = steps::resumed(inputs, &waiting.message, vec![ended.clone()]);
    Some(Decision::Record(resumed.unwrap_or_else(|| vec![ended])))
}
