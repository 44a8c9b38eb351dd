//! The whole cache goes: its StatefulSet, then its pods, then its claims by policy.
//!
//! No member is disjoined, because the group goes as a whole, and no member needs to answer. A bad
//! spec does not come this far: what is to be cleaned up is known from the journal and the world.
//!
//! Only what is this cache's goes. What was orphaned on purpose (`--cascade=orphan`) stays as it is,
//! volumes included whatever their policy says, for a cache of that name that is made again.

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Ordinal, Receipt, Step};
use xsld_journal::state::{CacheState, Operation};

use super::{Cascade, Decision, Inputs, evidence};
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::ClaimFacts;

/// How much longer than the longest task what was refused is left alone before it is asked again.
const REFUSED_PAUSE: u32 = 10;

/// How often it is tried to delete a claim that the spec does not ask to be deleted.
const UNASKED_MAX: u32 = 3;

/// Decides the next step of the deletion.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, seen, state, .. } = inputs;
    if leaves_all(inputs) {
        return leave(inputs);
    }
    let goal = Goal::Gone { delete_volumes: inputs.deletes_volumes() };
    let Some(operation) = &state.operation else {
        return Decision::Begin {
            kind: OperationKind::Delete,
            goal,
            cause: Cause {
                generation: wanted.generation,
                reason: "the XsldCache is being deleted".to_owned(),
            },
        };
    };
    if operation.kind != OperationKind::Delete {
        return Decision::Record(vec![Event::OperationEnded {
            end: End::Superseded { by: "deletion of the XsldCache".to_owned() },
        }]);
    }
    if let Some(set) = &seen.stateful_set {
        return if set.deleting {
            Decision::wait(Reason::Deleting, "the StatefulSet is going")
        } else {
            let step = Step::DeleteStatefulSet { uid: set.uid.clone() };
            run(inputs, operation, step, evidence(set))
        };
    }
    let (outliving, ending): (Vec<_>, Vec<_>) =
        seen.pods.iter().partition(|(_, pod)| pod.is_orphaned && !pod.deleting);
    if !ending.is_empty() {
        let names: Vec<_> = ending.iter().map(|(_, pod)| pod.name.as_str()).collect();
        return Decision::wait(
            Reason::Deleting,
            format!("waiting for {} to end", names.join(", ")),
        );
    }
    let in_use = |place: &Ordinal| outliving.iter().any(|(outliving, _)| *outliving == place);
    if let Some((ordinal, claim, receipt)) = goes_too(inputs, operation, in_use) {
        let step = Step::DeleteVolume {
            ordinal,
            claim: claim.name.clone(),
            claim_uid: claim.uid.clone(),
            receipt,
        };
        return run(inputs, operation, step, evidence(claim));
    }
    let mut reason = "the XsldCache was deleted".to_owned();
    if !outliving.is_empty() {
        let names: Vec<_> = outliving.iter().map(|(_, pod)| pod.name.as_str()).collect();
        let names = names.join(", ");
        reason = format!("{reason}; what has no controller stays, with its volume: {names}");
    }
    let former = inputs.seen.claims.values().filter(|claim| is_of_a_former_cache(claim, state));
    let former: Vec<_> = former.map(|claim| claim.name.as_str()).collect();
    if wanted.delete_volumes && !inputs.deletes_volumes() {
        reason = format!("{reason}; its volumes stay: its spec was older than what was acted on");
    } else if wanted.delete_volumes && !former.is_empty() {
        let names = former.join(", ");
        reason = format!("{reason}; what a former cache of this name left stays as well: {names}");
    }
    Decision::Record(vec![
        Event::OperationEnded { end: End::Succeeded },
        Event::CacheClosed { reason },
    ])
}

/// The first claim that goes with the cache: each where the spec says so, else one that never had a
/// volume. Kept, that one would hold nothing, and the next cache of this name would wait for it, of
/// whatever class it is. Nobody asked for that, so what refuses it keeps no cache from going.
fn goes_too<'a>(
    inputs: Inputs<'a>,
    operation: &Operation,
    in_use: impl Fn(&Ordinal) -> bool,
) -> Option<(Ordinal, &'a ClaimFacts, Receipt)> {
    let Inputs { seen, state, .. } = inputs;
    let mut claims = seen.claims.iter().filter(|(place, claim)| !claim.deleting && !in_use(place));
    claims.find_map(|(ordinal, claim)| {
        let tried = operation.tried(&format!("delete_volume/{}", claim.uid));
        let empty = claim.never_bound && !state.knows_claim(&claim.uid);
        let receipt = match inputs.deletes_volumes() && !is_of_a_former_cache(claim, state) {
            true => Receipt::CacheDeleted,
            false if empty && tried < UNASKED_MAX => Receipt::NeverBound { claim: evidence(claim) },
            false => return None,
        };
        Some((*ordinal, claim, receipt))
    })
}

/// Whether a claim was there before the cache, which never used it: a former cache of that name left it
/// on purpose, and what this one says of its volumes is not meant for it.
fn is_of_a_former_cache(claim: &ClaimFacts, state: &CacheState) -> bool {
    claim.older_than_cache && !state.knows_claim(&claim.uid)
}

/// What the pause after a refusal is counted by: the attempts that lie behind. One that is only
/// intended is none yet, so that the second look before it is sent decides as the first one did.
pub(crate) fn marker(state: &CacheState) -> Option<(u64, usize)> {
    let operation = state.operation.as_ref().filter(|open| open.kind == OperationKind::Delete)?;
    let attempts: usize = operation.attempts.values().map(Vec::len).sum();
    Some((operation.begun_seq, attempts.saturating_sub(usize::from(operation.step.is_some()))))
}

/// Whether all that was made for the cache stays when it goes. That the StatefulSet has no
/// controller any more tells so even when the request itself was never seen: the garbage collector
/// may have done its part while nobody looked.
pub(crate) fn leaves_all(inputs: Inputs<'_>) -> bool {
    let orphaned = inputs.seen.stateful_set.as_ref().is_some_and(|set| set.is_orphaned);
    inputs.wanted.deleting && (inputs.wanted.cascade != Cascade::Delete || orphaned)
}

/// Ends the stream and leaves everything where it is.
fn leave(inputs: Inputs<'_>) -> Decision {
    if inputs.wanted.cascade == Cascade::Orphaning {
        let message = "deleted with --cascade=orphan: all that was made for the cache stays; waiting \
                       for the garbage collector to take the owner off";
        return Decision::wait(Reason::Deleting, message);
    }
    if inputs.state.operation.is_some() {
        let by = "deletion of the XsldCache, whose StatefulSet has no owner: all stays as it is";
        return Decision::Record(vec![Event::OperationEnded {
            end: End::Superseded { by: by.to_owned() },
        }]);
    }
    let set = inputs.seen.stateful_set.as_ref().map_or("no StatefulSet", |_| "its StatefulSet");
    let claims = inputs.seen.claims.len();
    let reason = format!(
        "the XsldCache was deleted and nothing has it as its owner, as after --cascade=orphan: {set} and \
         {claims} volumes stay, for a cache of that name that is made again"
    );
    Decision::Record(vec![Event::CacheClosed { reason }])
}

/// Runs a step of the deletion. One that the API server refuses is told, and asked again after a
/// pause that grows: the refusal may end, and an object that goes otherwise needs no step.
fn run(inputs: Inputs<'_>, operation: &Operation, step: Step, evidence: String) -> Decision {
    if operation.parked.is_some() {
        let evidence = "the deletion goes on".to_owned();
        return Decision::Record(vec![Event::OperationResumed { evidence }]);
    }
    let attempts = operation.tried(&step.target());
    let times = inputs.times;
    let pause = times.settle.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1)));
    let pause = pause.min(times.orphan.saturating_mul(REFUSED_PAUSE));
    if attempts > 0 && inputs.watch.deletion_rests_for() < pause {
        let why = operation.last_failure.as_deref().unwrap_or("it ended without effect");
        let message = format!(
            "{} did not succeed: {why}. It is tried again after {} s; what refuses it is to let it, or \
             somebody deletes the object",
            step.describe(),
            pause.as_secs()
        );
        return Decision::wait(Reason::StepFailed, message);
    }
    Decision::Run { step, evidence }
}

#[cfg(test)]
mod tests;
