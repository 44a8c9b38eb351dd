//! The members' volumes: they grow to what the spec asks for, one claim at a time.
//!
//! The claim template of the StatefulSet never changes, so a member that is added later gets the
//! former size first and grows like the others.

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Ordinal, Step};
use xsld_journal::state::Operation;

use super::question::Question;
use super::steps::{Standing, again, done};
use super::{Decision, Inputs, Waiting, evidence};
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::{ClaimFacts, Growth, Observation};
use crate::validate::quantity::Amount;

/// How often one claim's growth is tried before its operation fails.
const ATTEMPTS_MAX: u32 = 3;

/// Carries on with the open growth, or begins one.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    match &inputs.state.operation {
        Some(operation) if operation.kind == OperationKind::StorageGrowth => {
            proceed(inputs, operation)
        }
        Some(_) => Decision::Rest,
        None => begin(inputs),
    }
}

/// The first claim of a pod that asks for less than `size`. A claim that is kept for a member that
/// was scaled away stays as it is, and so does one that is going.
pub fn smaller<'a>(
    seen: &'a Observation,
    replicas: u32,
    size: &str,
) -> Option<(Ordinal, &'a ClaimFacts, &'a str)> {
    let wanted = Amount::parse(size)?;
    seen.claims.range(..replicas).find_map(|(ordinal, claim)| {
        let requested = claim.requested.as_deref()?;
        let is_smaller = Amount::parse(requested)? < wanted && !claim.deleting;
        is_smaller.then_some((*ordinal, claim, requested))
    })
}

/// The first claim of a pod that asks for more than `size`: a volume never shrinks.
pub fn larger<'a>(
    seen: &'a Observation,
    replicas: u32,
    size: &str,
) -> Option<(&'a ClaimFacts, &'a str)> {
    let wanted = Amount::parse(size)?;
    seen.claims.range(..replicas).find_map(|(_, claim)| {
        let requested = claim.requested.as_deref()?;
        (Amount::parse(requested)? > wanted && !claim.deleting).then_some((claim, requested))
    })
}

/// What is told of a claim that is larger than the spec asks for.
pub fn cannot_shrink(claim: &ClaimFacts, has: &str, size: &str) -> String {
    format!(
        "spec.storage.size is {size} and {} stays at {has}, because a volume never shrinks: nothing \
         is done about it, and no other volume grows; set spec.storage.size to {has}, or make the \
         cache again with smaller volumes",
        claim.name
    )
}

/// Claims whose volume is smaller than what they ask for: the storage is still at it.
pub fn growing(seen: &Observation) -> impl Iterator<Item = &ClaimFacts> {
    let amount = |text: &Option<String>| text.as_deref().and_then(Amount::parse);
    seen.claims.values().filter(move |claim| {
        matches!((amount(&claim.capacity), amount(&claim.requested)),
            (Some(capacity), Some(requested)) if capacity < requested)
    })
}

fn begin(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let replicas = state.committed.replicas.unwrap_or(0);
    if !state.bootstrapped {
        return Decision::Rest;
    }
    let Some((_, claim, from)) = smaller(seen, replicas, &wanted.storage) else {
        return Decision::Rest;
    };
    // What the API server says no to is told by the status, and nothing else waits for it.
    if claim.growth != Some(Growth::Allowed) {
        return Decision::Rest;
    }
    let goal = Goal::Storage { size: wanted.storage.clone() };
    if state.failed_at(&goal).is_some() && !Question::Elapsed.is_settled(inputs, times.orphan) {
        return Decision::Rest;
    }
    let reason = format!("claim {} asks for {from}, the spec for {}", claim.name, wanted.storage);
    let cause = Cause { generation: wanted.generation, reason };
    Decision::Begin { kind: OperationKind::StorageGrowth, goal, cause }
}

fn proceed(inputs: Inputs<'_>, operation: &Operation) -> Decision {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let end = |end| Decision::Record(vec![Event::OperationEnded { end }]);
    let goal = Goal::Storage { size: wanted.storage.clone() };
    if operation.goal != goal {
        let by = format!("generation {}: {}", wanted.generation, wanted.storage);
        return end(End::Superseded { by });
    }
    let replicas = state.committed.replicas.unwrap_or(0);
    let Some((ordinal, claim, from)) = smaller(seen, replicas, &wanted.storage) else {
        return end(End::Succeeded);
    };
    match &claim.growth {
        Some(Growth::Allowed) => {}
        Some(Growth::Refused { reason }) => {
            let reason = format!("claim {} cannot grow: {reason}", claim.name);
            return end(End::Failed { reason });
        }
        None => {
            let message = format!("claim {}: asking whether it may grow", claim.name);
            return Decision::wait(Reason::GrowingVolumes, message);
        }
    }
    let step = Step::GrowVolume {
        ordinal,
        claim: claim.name.clone(),
        claim_uid: claim.uid.clone(),
        from: from.to_owned(),
        to: wanted.storage.clone(),
    };
    let attempts = operation.tried(&step.target());
    if attempts >= ATTEMPTS_MAX {
        let reason = format!("{} ended without success {attempts} times", step.describe());
        return end(End::Failed { reason });
    }
    if attempts > 0 && !Question::Elapsed.is_settled(inputs, times.settle) {
        let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
        return Decision::wait(Reason::GrowingVolumes, message);
    }
    Decision::Run { step, evidence: evidence(claim) }
}

/// How an open growth stands: it is done when the very claim asks for that much, or more.
pub(super) fn standing(
    inputs: Inputs<'_>,
    ordinal: Ordinal,
    claim: &str,
    claim_uid: &str,
    to: &str,
) -> Standing {
    let Some(live) = inputs.seen.claims.get(&ordinal).filter(|live| live.uid == claim_uid) else {
        return Standing::Failed { reason: format!("claim {claim} is another one now, or gone") };
    };
    if live.deleting {
        return Standing::Failed { reason: format!("claim {claim} is going") };
    }
    match live.requested.as_deref().and_then(Amount::parse) {
        Some(requested) if Some(requested) >= Amount::parse(to) => done(),
        Some(_) => {
            let message = "the claim does not ask for that much yet";
            again(inputs, Question::Objects(ordinal), message)
        }
        None => Standing::InDoubt(Waiting::new(
            Reason::InDoubt,
            format!("claim {claim} does not tell what it asks for"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use xsld_journal::event::Text;

    use super::*;
    use crate::decide::testing::World;

    /// A settled group of two whose spec asks for 2Gi where the claims ask for 1Gi.
    fn world(growth: Option<Growth>) -> World {
        let mut world = World::group(2);
        world.wanted.template = ("d1".into(), Text::Inline("{}".into()));
        world.wanted.storage = "2Gi".into();
        for claim in world.seen.claims.values_mut() {
            claim.growth.clone_from(&growth);
        }
        world
    }

    fn grown(world: &mut World, ordinal: Ordinal) {
        let claim = world.seen.claims.get_mut(&ordinal).unwrap();
        claim.requested = Some("2048Mi".into());
        claim.growth = None;
    }

    #[test]
    fn a_growth_that_is_not_wanted_any_more_is_not_sent_again() {
        let mut world = world(Some(Growth::Allowed));
        let begin = world.settled();
        world.follow(begin);
        let run = world.settled();
        world.follow(run);
        assert!(matches!(world.settled(), Decision::Resend { .. }), "it is still wanted");
        world.wanted.storage = "1Gi".into();
        let Decision::Record(events) = world.settled() else { panic!("it is sent again") };
        assert_eq!(events[0].name(), "step_void");
    }

    #[test]
    fn claims_grow_one_after_the_other_in_an_operation_of_their_own() {
        let mut world = world(Some(Growth::Allowed));
        let decision = world.settled();
        assert!(
            matches!(&decision, Decision::Begin { kind: OperationKind::StorageGrowth, .. }),
            "{decision:?}"
        );
        world.follow(decision);
        for ordinal in 0..2 {
            let decision = world.settled();
            let Decision::Run { step: Step::GrowVolume { ordinal: at, from, to, .. }, .. } =
                &decision
            else {
                panic!("{decision:?}")
            };
            assert_eq!((*at, from.as_str(), to.as_str()), (ordinal, "1Gi", "2Gi"));
            world.follow(decision);
            grown(&mut world, ordinal);
            let decision = world.settled();
            world.follow(decision);
        }
        let decision = world.settled();
        assert_eq!(decision, Decision::Record(vec![Event::OperationEnded { end: End::Succeeded }]));
        world.follow(decision);
        assert_eq!(world.settled(), Decision::Rest);
    }

    #[test]
    fn nothing_is_begun_where_the_class_does_not_allow_it_or_nobody_asked_yet() {
        let refused = Growth::Refused { reason: "the class does not allow it".into() };
        assert_eq!(world(Some(refused)).settled(), Decision::Rest);
        assert_eq!(world(None).settled(), Decision::Rest);
    }

    #[test]
    fn the_claim_of_a_member_that_was_scaled_away_is_left_alone() {
        let world = world(Some(Growth::Allowed));
        assert!(smaller(&world.seen, 2, "2Gi").is_some());
        assert!(smaller(&world.seen, 0, "2Gi").is_none());
        assert!(smaller(&world.seen, 2, "1024Mi").is_none());
        assert!(smaller(&world.seen, 2, "512Mi").is_none());
    }

    #[test]
    fn a_size_that_is_set_back_ends_the_growth_and_leaves_what_grew() {
        let mut world = world(Some(Growth::Allowed));
        let decision = world.settled();
        world.follow(decision);
        let decision = world.settled();
        world.follow(decision);
        grown(&mut world, 0);
        let decision = world.settled();
        world.follow(decision);
        (world.wanted.storage, world.wanted.generation) = ("1Gi".into(), 2);
        let decision = world.settled();
        let Decision::Record(events) = &decision else { panic!("{decision:?}") };
        assert!(matches!(events[..], [Event::OperationEnded { end: End::Superseded { .. } }]));
        world.follow(decision);
        assert_eq!(world.settled(), Decision::Rest);
        let (claim, has) = larger(&world.seen, 2, "1Gi").unwrap();
        assert_eq!((claim.name.as_str(), has), ("vol-c-0", "2048Mi"));
        assert!(larger(&world.seen, 2, "2Gi").is_none());
        assert!(larger(&world.seen, 0, "1Gi").is_none(), "it belongs to no pod");
    }

    #[test]
    fn a_growth_that_is_refused_halfway_ends_and_says_why() {
        let mut world = world(Some(Growth::Allowed));
        let decision = world.settled();
        world.follow(decision);
        for claim in world.seen.claims.values_mut() {
            claim.growth = Some(Growth::Refused { reason: "quota".into() });
        }
        let decision = world.settled();
        let Decision::Record(events) = &decision else { panic!("{decision:?}") };
        let [Event::OperationEnded { end: End::Failed { reason } }] = &events[..] else {
            panic!("{events:?}")
        };
        assert!(reason.contains("quota"), "{reason}");
        world.follow(decision);
        assert_eq!(world.settled(), Decision::Rest);
    }

    #[test]
    fn a_claim_that_was_made_anew_ends_the_step_without_success() {
        let mut world = world(Some(Growth::Allowed));
        for _ in 0..2 {
            let decision = world.settled();
            world.follow(decision);
        }
        assert!(world.state.open_step().is_some());
        world.seen.claims.get_mut(&0).unwrap().uid = "another".into();
        let decision = world.settled();
        let Decision::Record(events) = &decision else { panic!("{decision:?}") };
        assert!(matches!(events[..], [Event::StepFailed { .. }]), "{events:?}");
    }
}
