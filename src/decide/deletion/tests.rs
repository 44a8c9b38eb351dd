use std::time::Duration;

use super::*;
use crate::decide::testing::World;

/// A group whose XsldCache is being deleted while this step is in doubt.
fn in_doubt(kind: OperationKind, step: Step) -> World {
    let mut world = World::group(2);
    world.apply(Event::OperationBegun {
        kind,
        goal: Goal::Members { size: 2, catalogs: 3 },
        cause: Cause { generation: 1, reason: "test".into() },
    });
    world.intend(step);
    world.wanted.deleting = true;
    world.seen.reports.clear();
    world
}

fn names(decision: &Decision) -> Vec<&'static str> {
    match decision {
        Decision::Record(events) => events.iter().map(Event::name).collect(),
        _ => vec![],
    }
}

/// Everything that goes with the cache is gone: by a namespace that ends, or by hand.
fn gone(world: &mut World) {
    world.seen.stateful_set = None;
    world.seen.pods.clear();
    world.seen.claims.clear();
}

#[test]
fn no_effect_on_what_goes_with_the_cache_keeps_the_cache_from_going() {
    let world = World::group(2);
    let (member, claim) = (world.member(1), world.seen.claims[&1].clone());
    let template = "d1".to_owned();
    let grow = Step::GrowVolume {
        ordinal: 1,
        claim: claim.name.clone(),
        claim_uid: claim.uid.clone(),
        from: "1Gi".into(),
        to: "2Gi".into(),
    };
    let cases = [
        (OperationKind::ScaleUp, Step::ScaleStatefulSet { from: 2, to: 3 }),
        (OperationKind::Repair, Step::ResetMember { member: member.clone() }),
        (OperationKind::ImageRoll, Step::RollMember { member, template }),
        (OperationKind::StorageGrowth, grow),
    ];
    for is_gone in [true, false] {
        for (kind, step) in cases.clone() {
            let name = step.name();
            let mut world = in_doubt(kind, step);
            if is_gone {
                gone(&mut world);
            }
            for _ in 0..10 {
                if world.state.open_step().is_none() {
                    break;
                }
                let decision = world.settled();
                assert!(!matches!(decision, Decision::Resend { .. }), "{name} is sent again");
                world.follow(decision);
            }
            assert!(world.state.open_step().is_none(), "{name} keeps it, gone: {is_gone}");
        }
    }
}

#[test]
fn a_cache_of_which_nothing_is_left_ends_also_when_its_operation_is_parked() {
    let mut world = in_doubt(OperationKind::ScaleUp, Step::ScaleStatefulSet { from: 2, to: 3 });
    world.apply(Event::OperationParked { reason: "InDoubt".into(), message: "look".into() });
    gone(&mut world);
    assert_eq!(names(&world.settled()), ["operation_resumed", "step_void"]);
    world.follow(world.decide());
    for _ in 0..3 {
        world.follow(world.decide());
    }
    assert!(world.state.closed);
}

#[test]
fn a_refused_deletion_is_told_and_asked_again_later_and_later() {
    let mut world = World::group(1);
    world.wanted.deleting = true;
    world.follow(world.decide());
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let decision = world.decide();
        assert!(matches!(decision, Decision::Run { .. }), "{decision:?}");
        let Decision::Run { step, .. } = decision else { return };
        let key = world.intend(step);
        let (reason, evidence) = ("refused 403: the policy says no".to_owned(), "{}".to_owned());
        world.apply(Event::StepFailed { key, reason, evidence });
        world.watch.unsettle();
        let mut seconds = 0;
        while let Decision::Wait(waiting) = world.after(Duration::from_secs(10)) {
            assert_eq!(waiting.reason, Reason::StepFailed);
            assert!(waiting.message.contains("the policy says no"), "{}", waiting.message);
            seconds += 10;
        }
        pauses.push(seconds);
    }
    assert!(pauses.is_sorted() && pauses[0] <= 20, "{pauses:?}");
    assert_eq!(pauses.last(), Some(&3290), "{pauses:?}");
    // Somebody else deletes it meanwhile.
    let step = Step::DeleteStatefulSet { uid: "set".into() };
    let key = world.intend(step);
    let (reason, evidence) = ("refused 403: no".to_owned(), "{}".to_owned());
    world.apply(Event::StepFailed { key, reason, evidence });
    gone(&mut world);
    assert_eq!(names(&world.decide()), ["operation_ended", "cache_closed"]);
}

#[test]
fn a_refused_deletion_is_asked_again_also_in_a_world_that_never_rests() {
    let mut world = World::group(1);
    world.wanted.deleting = true;
    world.follow(world.decide());
    for _ in 0..8 {
        let Decision::Run { step, .. } = world.decide() else { panic!("not asked") };
        let key = world.intend(step);
        let (reason, evidence) = ("refused 403: no".to_owned(), "{}".to_owned());
        world.apply(Event::StepFailed { key, reason, evidence });
        world.watch.unsettle();
        let mut tens = 0;
        while let Decision::Wait(_) = world.after(Duration::from_secs(10)) {
            // A container that crashes again and again.
            world.seen.pods.get_mut(&0).unwrap().incarnation.restarts += 1;
            tens += 1;
            assert!(tens < 400, "it is never asked again");
        }
    }
}

#[test]
fn the_second_look_before_a_deletion_decides_as_the_first_one_did() {
    let mut world = World::group(1);
    world.wanted.deleting = true;
    world.follow(world.decide());
    let Decision::Run { step, .. } = world.decide() else { panic!("not asked") };
    let key = world.intend(step);
    let (reason, evidence) = ("refused 403: no".to_owned(), "{}".to_owned());
    world.apply(Event::StepFailed { key, reason, evidence });
    world.observe();
    let before = world.state.clone();
    let first = world.after(world.times.settle);
    let Decision::Run { step, .. } = first.clone() else { panic!("{first:?}") };
    world.intend(step);
    world.observe();
    let inputs = Inputs { state: &before, ..world.inputs() };
    assert_eq!(crate::decide::decide(inputs), first);
}

#[test]
fn what_is_going_for_good_when_the_cache_goes_is_no_void_attempt() {
    let member = World::group(2).member(1);
    for pod_goes in [true, false] {
        let mut world =
            in_doubt(OperationKind::Repair, Step::ResetMember { member: member.clone() });
        world.seen.claims.get_mut(&1).unwrap().deleting = true;
        world.seen.pods.get_mut(&1).unwrap().deleting = pod_goes;
        assert_eq!(names(&world.settled()), ["step_succeeded"], "the pod goes: {pod_goes}");
    }
    let mut world = in_doubt(OperationKind::Repair, Step::ResetMember { member });
    assert_eq!(names(&world.settled()), ["step_void"], "nothing of it is seen");
}

fn deleted(size: u32) -> World {
    let mut world = World::group(size);
    world.wanted.deleting = true;
    world.wanted.delete_volumes = true;
    world
}

/// Follows the decisions until nothing is left, and gives the steps that were run.
fn to_the_end(world: &mut World) -> Vec<String> {
    let mut steps = Vec::new();
    for _ in 0..16 {
        let decision = world.settled();
        if let Decision::Run { step, .. } = &decision {
            steps.push(step.describe());
        }
        world.follow(decision);
    }
    steps
}

#[test]
fn what_is_orphaned_on_purpose_stays_whatever_the_policy_says() {
    let mut world = deleted(2);
    world.wanted.cascade = Cascade::Orphaning;
    let decision = world.settled();
    assert!(matches!(decision, Decision::Wait(_)), "{decision:?}");
    world.wanted.cascade = Cascade::Orphaned;
    world.seen.stateful_set.as_mut().unwrap().is_orphaned = true;
    assert_eq!(to_the_end(&mut world), [""; 0]);
    assert!(world.state.closed);
}

#[test]
fn a_stateful_set_without_an_owner_tells_what_nobody_saw() {
    let mut world = deleted(2);
    world.seen.stateful_set.as_mut().unwrap().is_orphaned = true;
    assert_eq!(to_the_end(&mut world), [""; 0]);
    assert!(world.state.closed);
}

#[test]
fn nothing_is_sent_again_to_what_stays() {
    let mut world = World::group(2);
    world.wanted.size = 3;
    let begun = world.settled();
    world.follow(begun);
    let scale = world.settled();
    assert!(matches!(&scale, Decision::Run { step: Step::ScaleStatefulSet { .. }, .. }));
    world.follow(scale);
    world.wanted.deleting = true;
    world.wanted.cascade = Cascade::Orphaned;
    assert_eq!(to_the_end(&mut world), [""; 0]);
    assert!(world.state.closed);
}

#[test]
fn a_pod_that_outlives_its_stateful_set_is_not_waited_for_and_keeps_its_volume() {
    let mut world = deleted(2);
    world.seen.stateful_set = None;
    world.seen.pods.remove(&0);
    world.seen.reports.clear();
    world.seen.pods.get_mut(&1).unwrap().is_orphaned = true;
    world.follow(world.decide());
    let decision = world.settled();
    let Decision::Run { step: Step::DeleteVolume { ordinal: 0, .. }, .. } = &decision else {
        panic!("{decision:?}")
    };
    world.follow(decision);
    world.seen.claims.remove(&0);
    to_the_end(&mut world);
    assert!(world.state.closed);
}

#[test]
fn a_request_for_what_the_deletion_does_not_need_is_given_up() {
    // The name is somebody else's by now: the request would be refused for ever.
    let mut world = World::new(2);
    world.follow(world.decide());
    for _ in 0..3 {
        let decision = world.settled();
        world.follow(decision);
    }
    world.wanted.deleting = true;
    to_the_end(&mut world);
    assert!(world.state.closed, "{:?}", world.state.operation);
}

#[test]
fn a_claim_that_never_had_a_volume_goes_though_volumes_are_kept() {
    let mut world = World::group(2);
    world.wanted.deleting = true;
    gone(&mut world);
    let mut claim = World::group(3).seen.claims[&2].clone();
    world.seen.claims.insert(2, claim.clone());
    let decision = world.settled();
    assert!(matches!(decision, Decision::Begin { .. }), "{decision:?}");
    world.follow(decision);
    assert_eq!(names(&world.settled()), ["operation_ended", "cache_closed"], "it has one");
    claim.never_bound = true;
    world.seen.claims.insert(2, claim.clone());
    let Decision::Run { step, .. } = world.settled() else { panic!("{:?}", world.settled()) };
    let Step::DeleteVolume { claim: name, receipt: Receipt::NeverBound { .. }, .. } = &step else {
        panic!("{step:?}")
    };
    assert_eq!(name, "vol-c-2");
    for refused in 1..=3 {
        let Decision::Run { step, .. } = world.after(Duration::from_secs(3600)) else {
            panic!("{refused}: {:?}", world.settled())
        };
        let (key, reason, evidence) = (world.intend(step), "refused 403".into(), "{}".into());
        world.apply(Event::StepFailed { key, reason, evidence });
    }
    let ends = names(&world.after(Duration::from_secs(3600)));
    assert_eq!(ends, ["operation_ended", "cache_closed"], "what refuses it keeps no cache");
    // A member's claim is none of these, whatever it looks like.
    claim.uid = world.state.members[&1].claim_uid.clone();
    world.seen.claims = [(1, claim)].into();
    assert_eq!(names(&world.settled()), ["operation_ended", "cache_closed"]);
}

#[test]
fn a_volume_is_not_deleted_once_the_spec_says_that_it_is_kept() {
    let mut world = World::group(1);
    (world.wanted.deleting, world.wanted.delete_volumes) = (true, true);
    world.seen.stateful_set = None;
    world.seen.pods.clear();
    world.seen.reports.clear();
    for _ in 0..2 {
        let decision = world.settled();
        world.follow(decision);
    }
    assert!(matches!(world.state.open_step().unwrap().step, Step::DeleteVolume { .. }));
    assert!(matches!(world.settled(), Decision::Resend { .. }), "it is still wanted");
    world.wanted.delete_volumes = false;
    let decision = world.settled();
    assert_eq!(names(&decision), ["step_void"]);
    world.follow(decision);
    assert_eq!(names(&world.settled()), ["operation_ended", "cache_closed"]);
}

#[test]
fn what_a_former_cache_left_and_this_one_never_used_stays() {
    let mut world = World::group(1);
    (world.wanted.deleting, world.wanted.delete_volumes) = (true, true);
    let mut kept = world.seen.claims[&0].clone();
    (kept.name, kept.uid, kept.older_than_cache) = ("vol-c-4".into(), "former".into(), true);
    world.seen.claims.insert(4, kept);
    // One that this cache came back on is its own by now.
    world.seen.claims.get_mut(&0).unwrap().older_than_cache = true;
    world.seen.stateful_set = None;
    world.seen.pods.clear();
    let mut deleted = Vec::new();
    for _ in 0..10 {
        let decision = world.settled();
        if let Decision::Run { step: Step::DeleteVolume { ordinal, claim, .. }, .. } = &decision {
            deleted.push(claim.clone());
            world.seen.claims.remove(ordinal);
        }
        if let Decision::Record(events) = &decision
            && let Some(Event::CacheClosed { reason }) = events.last()
        {
            assert!(reason.ends_with("left stays as well: vol-c-4"), "{reason}");
        }
        world.follow(decision);
    }
    assert!(world.state.closed);
    assert_eq!(deleted, ["vol-c-0"]);
}
