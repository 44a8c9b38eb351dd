//! Names of the cache that somebody else's objects bear: nothing of them is touched, and what cannot
//! be done without the name waits and says so.

use std::ops::Range;

use xsld_journal::event::Ordinal;

use super::{Decision, Inputs, Waiting};
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::{Blocks, Remedy, Taken};

/// Why nothing at all is done for the cache, where a name that it needs is another's.
pub(super) fn stops(inputs: Inputs<'_>) -> Option<Decision> {
    first(inputs, |blocks| blocks == Blocks::Cache)
}

/// Why members of these places cannot be made.
pub(super) fn keeps_away(inputs: Inputs<'_>, places: &Range<Ordinal>) -> Option<Decision> {
    first(inputs, |blocks| matches!(blocks, Blocks::Member(place) if places.contains(&place)))
}

/// Why no pod may be made, nor made anew: it would start with what is another's. Members that run go on,
/// and what needs no new pod is done.
pub(super) fn keeps_pods(inputs: Inputs<'_>) -> Option<Decision> {
    first(inputs, |blocks| matches!(blocks, Blocks::Names | Blocks::Pods))
}

/// Why no member may join: it would look for the others by what is another's.
pub(super) fn keeps_from_joining(inputs: Inputs<'_>) -> Option<Decision> {
    first(inputs, |blocks| blocks == Blocks::Names)
}

/// Whether a decision only waits for a name to be free without which no member can be made.
pub(super) fn is_all(inputs: Inputs<'_>, decision: &Decision) -> bool {
    let Decision::Wait(waiting) = decision else { return false };
    let of_members = |taken: &&Taken| match taken.blocks {
        Blocks::Member(_) | Blocks::Names | Blocks::Pods => true,
        Blocks::Cache | Blocks::Nothing => false,
    };
    inputs.seen.taken.iter().filter(of_members).any(|taken| told(taken) == *waiting)
}

fn first(inputs: Inputs<'_>, stops: impl Fn(Blocks) -> bool) -> Option<Decision> {
    let taken = inputs.seen.taken.iter().find(|taken| stops(taken.blocks))?;
    Some(Decision::Wait(told(taken)))
}

/// What is told of a taken name.
pub(crate) fn told(taken: &Taken) -> Waiting {
    let Taken { kind, name, why, blocks, is_going, remedy } = taken;
    if *is_going {
        let message = format!("{kind} {name} is still going, because {why}: waiting for its end");
        return Waiting::new(Reason::Deferred, message);
    }
    let without = match blocks {
        Blocks::Cache => "nothing is done for this cache",
        Blocks::Names => "no pod is made and no member joins meanwhile",
        Blocks::Pods => "no pod is made meanwhile",
        Blocks::Member(_) => "its member is not made",
        Blocks::Nothing => "it is left as it is and this cache does without",
    };
    let advice = match remedy {
        Remedy::Rename => "give this cache another name",
        Remedy::Remove => "delete it if nobody needs it, or give this cache another name",
        Remedy::Label => {
            "if it is this cache's, give it the labels of this cache's objects; else delete it, or \
             give this cache another name"
        }
    };
    let message = format!(
        "the name is taken: {kind} {name} is not this cache's, because {why}; {without}: {advice}"
    );
    Waiting::new(Reason::NameTaken, message)
}

#[cfg(test)]
mod tests {
    use xsld_journal::event::{End, Event, OperationKind, Step};

    use super::*;
    use crate::decide::testing::World;

    fn taken(kind: &str, name: &str, blocks: Blocks) -> Taken {
        let why = "Deployment app controls it".to_owned();
        let (kind, name) = (kind.into(), name.into());
        Taken { kind, name, why, blocks, is_going: false, remedy: Remedy::Remove }
    }

    fn waits_for_the_name(decision: &Decision) -> bool {
        matches!(decision, Decision::Wait(waiting) if waiting.reason == Reason::NameTaken)
    }

    #[test]
    fn nothing_is_recorded_or_done_for_a_cache_whose_name_is_taken() {
        for mut world in [World::new(2), World::group(2)] {
            world.wanted.size = 3;
            world.seen.taken = vec![taken("StatefulSet", "c", Blocks::Cache)];
            let before = world.state.clone();
            let decision = world.settled();
            assert!(waits_for_the_name(&decision), "{decision:?}");
            let Decision::Wait(waiting) = &decision else { panic!("{decision:?}") };
            assert!(waiting.message.contains("StatefulSet c"), "{}", waiting.message);
            assert_eq!(world.state, before);
        }
    }

    #[test]
    fn a_name_that_is_only_missed_stops_nothing() {
        let mut world = World::new(1);
        world.seen.taken = vec![taken("Service", "c-client", Blocks::Nothing)];
        assert!(matches!(world.decide(), Decision::Record(_)));
        let mut world = World::group(2);
        world.seen.taken = vec![taken("Service", "c-client", Blocks::Nothing)];
        assert!(!waits_for_the_name(&world.settled()));
    }

    #[test]
    fn no_replica_is_made_whose_claim_or_pod_is_anothers() {
        for blocks in [Blocks::Member(2), Blocks::Member(3)] {
            let mut world = World::group(2);
            world.wanted.size = 4;
            world.seen.taken = vec![taken("PersistentVolumeClaim", "vol-c-2", blocks)];
            let decision = world.settled();
            assert!(waits_for_the_name(&decision), "{decision:?}");
            world.seen.taken.clear();
            let begun = world.settled();
            assert!(matches!(begun, Decision::Begin { .. }), "{begun:?}");
            world.follow(begun);
            let decision = world.settled();
            let raised = matches!(&decision, Decision::Run { step, .. }
                if matches!(step, Step::ScaleStatefulSet { to: 4, .. }));
            assert!(raised, "{decision:?}");
        }
    }

    #[test]
    fn members_that_are_there_are_looked_after_beside_a_name_that_is_taken() {
        let mut world = World::group(3);
        world.wanted.size = 4;
        world.seen.taken = vec![taken("PersistentVolumeClaim", "vol-c-3", Blocks::Member(3))];
        world.everybody_lists(&[0, 2]);
        world.report(1, &[1]);
        let decision = world.settled();
        world.follow(decision);
        let mut rejoined = false;
        for _ in 0..12 {
            let decision = world.settled();
            if let Decision::Run { step: Step::JoinMember { member, .. }, .. } = &decision {
                assert_eq!(member.ordinal, 1);
                rejoined = true;
                break;
            }
            world.follow(decision);
        }
        assert!(rejoined, "{:?}", world.decide());
        // What needs no new place goes on as well.
        let mut world = World::group(2);
        world.wanted.size = 3;
        world.seen.taken = vec![taken("PersistentVolumeClaim", "vol-c-2", Blocks::Member(2))];
        world.wanted.template = ("d2".into(), xsld_journal::event::Text::Inline("{}".into()));
        world.wanted.may_roll = true;
        let decision = world.settled();
        assert!(
            matches!(&decision, Decision::Begin { kind: OperationKind::ImageRoll, .. }),
            "{decision:?}"
        );
    }

    /// A group of three that is to have a fourth, whose claim's name is taken.
    fn held(is_going: bool) -> World {
        let mut world = World::group(3);
        world.wanted.size = 4;
        let claim = taken("PersistentVolumeClaim", "vol-c-3", Blocks::Member(3));
        world.seen.taken = vec![Taken { is_going, ..claim }];
        world
    }

    #[test]
    fn a_repair_beside_a_name_that_is_taken_ends_when_only_the_name_is_left() {
        for is_going in [false, true] {
            let mut world = held(is_going);
            let decision = world.settled();
            assert!(matches!(decision, Decision::Wait(_)), "it is no operation: {decision:?}");
            world.everybody_lists(&[0, 2]);
            world.report(1, &[1]);
            for _ in 0..12 {
                let decision = world.settled();
                if let Decision::Run { step: step @ Step::JoinMember { .. }, .. } = decision {
                    world.run_and_succeed(step);
                    break;
                }
                world.follow(decision);
            }
            let open = world.state.operation.as_ref().map(|operation| operation.kind);
            assert_eq!(open, Some(OperationKind::Repair));
            world.everybody_lists(&[0, 1, 2]);
            let seen = world.settled();
            world.follow(seen);
            let decision = world.settled();
            let ended = Event::OperationEnded { end: End::Succeeded };
            assert_eq!(decision, Decision::Record(vec![ended]));
            world.follow(decision);
            let goes_on = |world: &mut World| {
                world.wanted.template =
                    ("d2".into(), xsld_journal::event::Text::Inline("{}".into()));
                world.wanted.may_roll = true;
                world.settled()
            };
            let decision = goes_on(&mut world);
            assert!(
                matches!(&decision, Decision::Begin { kind: OperationKind::ImageRoll, .. }),
                "{decision:?}"
            );
        }
    }

    #[test]
    fn an_operation_whose_next_place_loses_its_name_ends_also_when_it_is_parked() {
        for (is_parked, is_going) in [(false, false), (false, true), (true, false)] {
            let mut world = held(is_going);
            let names = std::mem::take(&mut world.seen.taken);
            let begun = world.settled();
            assert!(matches!(&begun, Decision::Begin { kind: OperationKind::ScaleUp, .. }));
            world.follow(begun);
            if is_parked {
                let (reason, message) = ("StepFailed".into(), "five times".into());
                world.apply(Event::OperationParked { reason, message });
            }
            world.seen.taken = names;
            let decision = world.settled();
            world.follow(decision);
            assert_eq!(world.state.operation, None);
            assert!(matches!(world.settled(), Decision::Wait(_)), "{:?}", world.decide());
            world.seen.taken.clear();
            assert!(matches!(world.settled(), Decision::Begin { .. }), "it is never made");
        }
    }

    #[test]
    fn what_needs_no_new_pod_is_done_beside_an_object_that_pods_start_with() {
        let objects = [("ConfigMap", Blocks::Pods, true), ("Service", Blocks::Names, false)];
        for (kind, blocks, may_join) in objects {
            let with = |change: fn(&mut World)| {
                let mut world = World::group(3);
                change(&mut world);
                world.seen.taken = vec![taken(kind, "c", blocks)];
                let mut run = None;
                for _ in 0..8 {
                    let decision = world.settled();
                    if let Decision::Run { step, .. } = &decision {
                        run = Some(step.clone());
                        break;
                    }
                    world.follow(decision);
                }
                (run, world)
            };
            // It is alone again, and needs no pod to join.
            let (run, world) = with(|world| {
                world.everybody_lists(&[0, 2]);
                world.report(1, &[1]);
            });
            assert_eq!(matches!(run, Some(Step::JoinMember { .. })), may_join, "{run:?}");
            assert!(may_join || world.state.operation.is_none(), "it is held up by the name");
            let (run, _) = with(|world| world.wanted.size = 2);
            assert!(matches!(run, Some(Step::DisjoinMember { .. })), "{run:?}");
            let (run, world) = with(|world| world.wanted.size = 4);
            assert_eq!((run, world.state.operation), (None, None), "a pod more");
            let (run, world) = with(|world| {
                world.wanted.template =
                    ("d2".into(), xsld_journal::event::Text::Inline("{}".into()));
                world.wanted.may_roll = true;
            });
            assert_eq!((run, world.state.operation), (None, None), "pods made anew");
        }
    }

    #[test]
    fn a_roll_takes_no_further_pod_while_pods_start_with_what_is_anothers() {
        let mut world = World::group(3);
        world.wanted.template = ("d2".into(), xsld_journal::event::Text::Inline("{}".into()));
        world.wanted.may_roll = true;
        let begun = world.settled();
        assert!(matches!(&begun, Decision::Begin { kind: OperationKind::ImageRoll, .. }));
        world.follow(begun);
        let Decision::Run { step, .. } = world.settled() else { panic!("{:?}", world.decide()) };
        world.run_and_succeed(step);
        let set = world.seen.stateful_set.as_mut().unwrap();
        (set.template_digest, set.update_revision) = (Some("d2".into()), Some("r-d2".into()));
        world.seen.grids = Some(crate::xsld::view::Answer::Known([].into()));
        let next = world.settled();
        assert!(matches!(&next, Decision::Run { step: Step::RollMember { .. }, .. }), "{next:?}");
        world.seen.taken = vec![taken("ConfigMap", "c-entrypoint", Blocks::Pods)];
        assert!(waits_for_the_name(&world.settled()), "{:?}", world.decide());
    }

    #[test]
    fn a_deletion_does_not_wait_for_what_is_anothers() {
        let mut world = World::new(2);
        world.seen.taken = vec![taken("StatefulSet", "c", Blocks::Cache)];
        world.wanted.deleting = true;
        world.wanted.delete_volumes = true;
        for _ in 0..8 {
            let decision = world.decide();
            assert!(
                matches!(decision, Decision::Record(_) | Decision::Begin { .. } | Decision::Rest),
                "{decision:?}"
            );
            world.follow(decision);
        }
        assert!(world.state.closed);
    }

    #[test]
    fn nobody_is_told_to_delete_what_is_needed() {
        let with =
            |remedy| told(&Taken { remedy, ..taken("StatefulSet", "c", Blocks::Cache) }).message;
        assert!(!with(Remedy::Rename).contains("delete"), "{}", with(Remedy::Rename));
        assert!(with(Remedy::Label).contains("give it the labels"), "{}", with(Remedy::Label));
        assert!(with(Remedy::Remove).contains("if nobody needs it"), "{}", with(Remedy::Remove));
    }

    #[test]
    fn what_goes_by_itself_asks_nobody() {
        let mut world = World::new(1);
        let going = Taken { is_going: true, ..taken("Service", "c", Blocks::Cache) };
        world.seen.taken = vec![going];
        let decision = world.decide();
        assert!(
            matches!(&decision, Decision::Wait(waiting) if waiting.reason == Reason::Deferred),
            "{decision:?}"
        );
    }
}
