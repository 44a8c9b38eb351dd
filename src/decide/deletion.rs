//! The whole cache goes: its StatefulSet, then its pods, then its claims by policy.
//!
//! No member is disjoined, because the group goes as a whole, and no member needs to answer. A bad
//! spec does not come this far: what is to be cleaned up is known from the journal and the world.

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Receipt, Step};

use super::{Decision, Inputs, evidence};
use crate::crd::conditions::ConditionReason as Reason;

/// Decides the next step of the deletion.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, seen, state, .. } = inputs;
    let goal = Goal::Gone { delete_volumes: wanted.delete_volumes };
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
            Decision::Run {
                step: Step::DeleteStatefulSet { uid: set.uid.clone() },
                evidence: evidence(set),
            }
        };
    }
    if !seen.pods.is_empty() {
        let names: Vec<_> = seen.pods.values().map(|pod| pod.name.as_str()).collect();
        return Decision::wait(
            Reason::Deleting,
            format!("waiting for {} to end", names.join(", ")),
        );
    }
    if wanted.delete_volumes
        && let Some((ordinal, claim)) = seen.claims.iter().find(|(_, claim)| !claim.deleting)
    {
        return Decision::Run {
            step: Step::DeleteVolume {
                ordinal: *ordinal,
                claim: claim.name.clone(),
                claim_uid: claim.uid.clone(),
                receipt: Receipt::CacheDeleted,
            },
            evidence: evidence(claim),
        };
    }
    Decision::Record(vec![
        Event::OperationEnded { end: End::Succeeded },
        Event::CacheClosed { reason: "the XsldCache was deleted".to_owned() },
    ])
}
