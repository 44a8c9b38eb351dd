//! What a former cache of this name left in the places of the members to come.

use xsld_journal::event::{Receipt, Step};

use crate::decide::{Decision, Inputs, evidence};

/// How often it is tried to delete a claim that nobody asked to be deleted.
const UNASKED_MAX: u32 = 3;

/// Deletes a claim that waits for a volume of another class than the spec names: the first pod would
/// wait with it. It never had a volume, so nothing is on it, and the StatefulSet makes it again. Only
/// before there is a StatefulSet, and not what a pod has: what refuses it keeps no cache from beginning.
pub(super) fn claims(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let begins = !state.bootstrapped && state.committed.replicas.is_none();
    if !begins || seen.stateful_set.is_some() {
        return None;
    }
    let class = wanted.class.as_ref()?;
    let mut claims = seen.claims.range(..wanted.size);
    let (ordinal, claim) = claims.find(|(ordinal, claim)| {
        let target = format!("delete_volume/{}", claim.uid);
        let tried = state.operation.as_ref().map_or(0, |operation| operation.tried(&target));
        let is_empty = claim.never_bound && !claim.deleting && !seen.pods.contains_key(ordinal);
        let is_former = claim.older_than_cache && !state.knows_claim(&claim.uid);
        // One that names no class gets the default one, once somebody makes that.
        let other = claim.class.as_ref().is_some_and(|own| !own.is_empty() && own != class);
        is_empty && is_former && other && tried < UNASKED_MAX
    })?;
    let evidence = evidence(claim);
    let step = Step::DeleteVolume {
        ordinal: *ordinal,
        claim: claim.name.clone(),
        claim_uid: claim.uid.clone(),
        receipt: Receipt::NeverBound { claim: evidence.clone() },
    };
    Some(Decision::Run { step, evidence })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xsld_journal::event::Event;

    use super::*;
    use crate::decide::testing::World;

    /// A cache to be, of two members, and a claim that one before it left.
    fn left() -> World {
        let mut world = World::new(2);
        world.wanted.class = Some("fast".into());
        let mut claim = World::group(2).seen.claims[&1].clone();
        (claim.never_bound, claim.older_than_cache) = (true, true);
        claim.class = Some("faster".into());
        world.seen.claims.insert(1, claim);
        world
    }

    /// What is decided once the template is committed.
    fn next(world: &mut World) -> Step {
        for _ in 0..6 {
            match world.settled() {
                Decision::Run { step: step @ Step::SetTemplate { .. }, .. } => {
                    world.run_and_succeed(step);
                }
                Decision::Run { step, .. } => return step,
                decision => world.follow(decision),
            }
        }
        panic!("{:?}", world.decide());
    }

    #[test]
    fn a_claim_that_waits_for_a_volume_of_another_class_makes_way_for_a_new_one() {
        let mut world = left();
        let step = next(&mut world);
        let Step::DeleteVolume { claim, receipt: Receipt::NeverBound { .. }, .. } = &step else {
            panic!("{step:?}")
        };
        assert_eq!(claim, "vol-c-1");
        world.intend(step.clone());
        world.seen.claims.get_mut(&1).unwrap().deleting = true;
        assert!(matches!(world.settled(), Decision::Wait(_)), "it is on its way");
        world.seen.claims.clear();
        let gone = world.settled();
        world.follow(gone);
        assert!(matches!(next(&mut world), Step::ScaleStatefulSet { to: 2, .. }));
    }

    #[test]
    fn a_claim_that_may_hold_something_or_is_as_wanted_is_mounted() {
        type Change = fn(&mut World);
        let changes: [(Change, &str); 6] = [
            (|world| claim(world).never_bound = false, "it has a volume"),
            (|world| claim(world).older_than_cache = false, "it was made for this cache"),
            (|world| claim(world).class = Some("fast".into()), "it is of the class"),
            (|world| world.wanted.class = None, "no class is named"),
            (|world| world.wanted.size = 1, "nobody wants its place"),
            (|world| world.pod_with(1, 1), "a pod has it"),
        ];
        for (change, why) in changes {
            let mut world = left();
            change(&mut world);
            let step = next(&mut world);
            assert!(matches!(step, Step::ScaleStatefulSet { .. }), "{why}: {step:?}");
        }
    }

    fn claim(world: &mut World) -> &mut crate::observation::ClaimFacts {
        world.seen.claims.get_mut(&1).unwrap()
    }

    #[test]
    fn a_claim_that_got_a_volume_meanwhile_is_not_deleted() {
        let mut world = left();
        let step = next(&mut world);
        let key = world.intend(step);
        world.apply(Event::StepUnknown { key, reason: "409: it moved on".into() });
        claim(&mut world).never_bound = false;
        world.watch.unsettle();
        world.observe();
        assert!(matches!(world.decide(), Decision::InDoubt(_)));
        let decision = world.settled();
        let Decision::Record(events) = &decision else { panic!("{decision:?}") };
        assert!(matches!(&events[0], Event::StepVoid { .. }), "{events:?}");
        world.follow(decision);
        assert!(matches!(next(&mut world), Step::ScaleStatefulSet { .. }));
    }

    #[test]
    fn what_refuses_the_deletion_keeps_no_cache_from_beginning() {
        let mut world = left();
        for refused in 1..=UNASKED_MAX {
            let step = next(&mut world);
            assert!(matches!(step, Step::DeleteVolume { .. }), "{refused}: {step:?}");
            let (key, reason, evidence) = (world.intend(step), "refused 403".into(), "{}".into());
            world.apply(Event::StepFailed { key, reason, evidence });
            world.after(Duration::from_secs(3600));
        }
        assert!(matches!(next(&mut world), Step::ScaleStatefulSet { .. }));
    }
}
