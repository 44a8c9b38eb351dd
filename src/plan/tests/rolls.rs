//! Another image or other pod settings.

use xsld_journal::event::{End as Ended, Event, OperationKind};

use super::*;
use crate::decide::testing::incarnation;

#[test]
fn a_roll_takes_the_highest_first_and_the_primary_last() {
    let mut world = group(3);
    world.wanted.replicate = false;
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    let expected = ["image_roll", "- template d2", "- roll c-2", "- roll c-1", "- roll c-0"];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.restarts, ["c-2", "c-1", "c-0"]);
    assert_eq!((&plan.end, plan.deletes.len(), plan.put_off.len()), (&End::Settled, 0, 0));
    let last = plan.operations[0].steps.last().unwrap();
    assert!(last.note.as_deref().is_some_and(|note| note.contains("primary")), "{last:?}");
}

#[test]
fn members_that_only_hold_data_are_rolled_before_catalog_servers() {
    let mut world = group(3);
    world.wanted.replicate = false;
    world.state.members.get_mut(&1).unwrap().catalog = false;
    world.wanted.catalogs = 3;
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    assert_eq!(told(&plan)[2..], ["- roll c-1", "- roll c-2", "- roll c-0"]);
}

#[test]
fn with_a_replica_the_primary_is_switched_before_it_is_rolled() {
    let mut world = group(3);
    roles(&mut world, 0, Some(1));
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    let expected = [
        "image_roll",
        "- template d2",
        "- roll c-2",
        "- roll c-1",
        "- promote c-1",
        "- roll c-0",
        "replication_set_up",
        "- replicate to c-0",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_single_member_is_rolled_and_comes_back_as_the_group() {
    let mut world = group(1);
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["image_roll", "- template d2", "- roll c-0"]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_canary_stops_at_its_partition_and_says_what_is_put_off() {
    let mut world = group(3);
    world.wanted.replicate = false;
    world.wanted.rollout.partition = 2;
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["image_roll", "- template d2", "- roll c-2", "- template d1"]);
    assert_eq!(plan.restarts, ["c-2"]);
    let reasons: Vec<&str> = plan.put_off.iter().map(|wait| wait.reason.as_str()).collect();
    assert_eq!(reasons, ["PartitionReached"]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_size_and_an_image_are_done_one_after_the_other() {
    let mut world = group(2);
    world.wanted.replicate = false;
    world.wanted.size = 3;
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    let expected = [
        "scale_up",
        "- replicas 3",
        "- join c-2",
        "image_roll",
        "- template d2",
        "- roll c-2",
        "- roll c-1",
        "- roll c-0",
    ];
    assert_eq!(told(&plan), expected);
}

/// A group whose roll to `d2` has deleted the pod of c-2, which cannot start from it.
fn stuck() -> World {
    let mut world = group(3);
    world.wanted.replicate = false;
    want_template(&mut world, "d2");
    for _ in 0..2 {
        let decision = world.settled();
        world.follow(decision);
    }
    let set = world.seen.stateful_set.as_mut().unwrap();
    set.template_digest = Some("d2".into());
    set.update_revision = Some("r-d2".into());
    for _ in 0..2 {
        let decision = world.settled();
        world.follow(decision);
    }
    let pod = world.seen.pods.get_mut(&2).unwrap();
    pod.incarnation = incarnation(2, 2);
    pod.incarnation.pod_uid = "pod-2-2".into();
    (pod.template, pod.revision) = (Some("d2".into()), Some("r-d2".into()));
    (pod.running, pod.ready, pod.waiting) = (false, false, Some("ImagePullBackOff".into()));
    world.seen.reports.remove(&2);
    let decision = world.settled();
    world.follow(decision);
    assert!(world.state.open_step().is_none(), "{:?}", world.state.open_step());
    world
}

#[test]
fn a_pod_that_cannot_start_is_not_made_to_start_by_the_plan() {
    let plan = planned(&mut stuck());
    assert_eq!(told(&plan), ["continues image_roll"]);
    let End::Waits(wait) = &plan.end else { panic!("{:?}", plan.end) };
    assert!(wait.message.contains("ImagePullBackOff"), "{wait:?}");
}

#[test]
fn going_back_to_the_former_image_rolls_the_stuck_member_only() {
    let mut world = stuck();
    want_template(&mut world, "d1");
    let plan = planned(&mut world);
    assert_eq!(plan.restarts, ["c-2"], "{plan}");
    assert!(matches!(plan.operations[0].end, Some(Ended::Superseded { .. })), "{plan}");
    assert_eq!(plan.end, End::Settled, "{plan}");
}

#[test]
fn an_overdue_roll_with_rollback_brings_the_former_image_back() {
    let mut world = stuck();
    world.wanted.rollout.rollback = true;
    world.wanted.rollout.deadline = std::time::Duration::from_secs(1);
    // The goal names the rollout, so this is another roll, which has its own deadline.
    world.apply(Event::OperationEnded { end: Ended::Superseded { by: "test".into() } });
    let decision = world.settled();
    world.follow(decision);
    assert_eq!(world.state.operation.as_ref().unwrap().kind, OperationKind::ImageRoll);
    world.settled();
    let plan = planned(&mut world);
    let expected = ["continues image_roll", "- template d1", "- roll c-2"];
    assert_eq!(told(&plan), expected, "{plan}");
    assert!(matches!(plan.operations[0].end, Some(Ended::Failed { .. })), "{plan}");
    assert!(plan.put_off.iter().any(|wait| wait.reason == "RolloutHalted"), "{plan}");
}

#[test]
fn a_template_that_only_another_release_makes_waits_for_consent() {
    let mut world = group(2);
    world.wanted.replicate = false;
    want_template(&mut world, "d2");
    world.wanted.may_roll = false;
    let plan = planned(&mut world);
    assert_eq!((told(&plan).len(), &plan.end), (0, &End::Settled));
    assert_eq!(plan.put_off[0].reason, "RequiresUpdate");
}

#[test]
fn a_pause_commits_the_former_image_first() {
    let mut world = stuck();
    world.wanted.paused = true;
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["continues image_roll", "- template d1"]);
    let End::Waits(wait) = &plan.end else { panic!("{:?}", plan.end) };
    assert_eq!(wait.reason, "Paused");
}
