//! What a roll leaves to be done again, what it waits for, and what it keeps its hands off.

use xsld_journal::event::{End, Event};

use super::{group, told};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::testing::{World, incarnation};
use crate::decide::{Decision, WantedGrid, roll};
use crate::xsld::view::{Answer, GridStatus, GridView};

#[test]
fn what_was_rolled_is_done_only_while_it_is_committed() {
    let mut world = group(3);
    world.want("d2");
    world.until(&["rest"]);
    world.want("d3");
    world.up_to("roll c-2 to d3");
    world.take_effect();
    world.want("d2");
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        ["end superseded", "begin image_roll", "set d2", "roll c-2 to d2", "end succeeded", "rest"]
    );
    assert_eq!(world.state.committed.template.as_ref().unwrap().digest, "d2");
    assert_eq!(world.state.former, None);
}

#[test]
fn a_canary_that_another_roll_interrupted_leaves_no_third_template_committed() {
    let mut world = group(3);
    world.wanted.rollout.partition = 2;
    world.want("d2");
    world.until(&["rest"]);
    world.wanted.rollout.partition = 0;
    world.want("d3");
    world.up_to("set d3");
    world.take_effect();
    world.wanted.rollout.partition = 2;
    world.want("d2");
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        ["end superseded", "begin image_roll", "set d1", "end succeeded", "rest"],
        "c-2 is on d2 still"
    );
    assert_eq!(roll::waits(world.inputs()).unwrap().reason, Reason::PartitionReached);
}

#[test]
fn a_canary_that_comes_back_on_the_former_template_is_rolled_again_and_not_for_ever() {
    let mut world = group(3);
    world.wanted.rollout.partition = 2;
    world.want("d2");
    world.until(&["rest"]);
    let mut rolls = 0;
    for life in 10..20 {
        // A StatefulSet makes every pod from the one template that is committed.
        world.made(2, 3 * life, "d1");
        world.report(2, &[0, 1, 2]);
        let told = roll::waits(world.inputs()).unwrap();
        assert_eq!(told.reason, Reason::RollingImage, "{}", told.message);
        assert!(told.message.contains("c-2"), "{}", told.message);
        let decisions = world.until(&["rest", "wait NotConverging"]);
        if decisions.last().is_some_and(|last| last == "rest") {
            rolls += 1;
            let again =
                ["begin image_roll", "set d2", "roll c-2 to d2", "set d1", "end succeeded", "rest"];
            assert_eq!(decisions, again);
        } else {
            assert_eq!(decisions, ["wait NotConverging"]);
        }
    }
    assert_eq!(rolls, 3);
}

#[test]
fn a_member_that_joins_a_canary_on_the_former_template_is_rolled_to_it() {
    let mut world = group(2);
    world.wanted.rollout.partition = 1;
    world.want("d2");
    world.until(&["rest"]);
    world.made(1, 7, "d1");
    world.report(1, &[0, 1]);
    world.breaks(1, None);
    let decisions = world.until(&["wait WaitingForPods"]);
    assert_eq!(
        decisions,
        ["begin image_roll", "wait WaitingForPods"],
        "the canary's template is not committed before the member is back"
    );
}

/// The group shows these grids.
fn grids(world: &mut World, grids: &[(&str, GridStatus)]) {
    let view = |(name, status): &(&str, GridStatus)| {
        let grid = GridView { name: (*name).into(), status: status.clone(), fields: [].into() };
        ((*name).to_owned(), grid)
    };
    world.seen.grids = Some(Answer::Known(grids.iter().map(view).collect()));
}

/// A DataGrid whose grid the operator made.
fn data_grid(world: &mut World, name: &str) {
    let (grid_uid, digest) = (format!("uid-{name}"), "f1".to_owned());
    world.apply(Event::GridAdopted {
        grid_uid: grid_uid.clone(),
        name: name.into(),
        digest: digest.clone(),
    });
    let grid = WantedGrid {
        name: name.into(),
        generation: 1,
        fields: [].into(),
        digest,
        template: None,
        correct_drift: true,
        deleting: false,
        delete_grid: true,
        was_here: false,
    };
    world.wanted.grids.insert(grid_uid, grid);
}

#[test]
fn before_the_first_pod_goes_work_on_grids_goes_first() {
    let mut world = group(2);
    data_grid(&mut world, "g");
    grids(&mut world, &[("g", GridStatus::Error)]);
    world.want("d2");
    assert_eq!(told(&world.settled()), "begin grid_recover");

    let mut world = group(2);
    data_grid(&mut world, "g");
    grids(&mut world, &[("g", GridStatus::Online)]);
    world.want("d2");
    world.up_to("set d2");
    world.take_effect();
    grids(&mut world, &[("g", GridStatus::Error)]);
    let decision = world.settled();
    assert_eq!(told(&decision), "end superseded");
    world.follow(decision);
    assert_eq!(told(&world.settled()), "begin grid_recover");
}

#[test]
fn a_grid_in_error_of_which_nobody_takes_care_is_left_out_of_a_roll() {
    let mut world = group(2);
    grids(&mut world, &[("by-hand", GridStatus::Error), ("well", GridStatus::Online)]);
    world.want("d2");
    let decisions = world.until(&["rest"]);
    assert_eq!(
        decisions,
        [
            "begin image_roll",
            "grids_left_out",
            "set d2",
            "roll c-1 to d2",
            "roll c-0 to d2",
            "end succeeded",
            "rest"
        ]
    );
    assert!(world.state.left_out.is_empty(), "the next roll looks for itself");
}

#[test]
fn a_grid_that_is_not_placed_is_never_left_out_and_halts_the_roll_at_its_deadline() {
    let mut world = group(2);
    grids(&mut world, &[("g", GridStatus::Created)]);
    world.want("d2");
    let decisions = world.until(&["wait WaitingForPlacement"]);
    assert_eq!(decisions, ["begin image_roll", "set d2", "wait WaitingForPlacement"]);
    // It may serve, and be short of a copy.
    assert_eq!(told(&world.after(world.times.orphan)), "wait WaitingForPlacement");
    let decision = world.after(world.wanted.rollout.deadline);
    assert_eq!(told(&decision), "set d1", "{decision:?}");
    assert!(world.state.left_out.is_empty());
}

#[test]
fn work_on_grids_that_the_group_refused_supersedes_no_roll() {
    let mut world = group(2);
    data_grid(&mut world, "g");
    grids(&mut world, &[("g", GridStatus::Online)]);
    let grid = world.wanted.grids.get_mut("uid-g").unwrap();
    grid.deleting = true;
    let decision = world.settled();
    assert_eq!(told(&decision), "begin grid_delete");
    world.follow(decision);
    let failed = End::Failed { reason: "refused 403".into() };
    world.apply(Event::OperationEnded { end: failed });
    world.want("d2");
    world.up_to("set d2");
    world.take_effect();
    let decision = world.after(world.times.orphan);
    assert_eq!(told(&decision), "roll c-1 to d2", "{decision:?}");
}

#[test]
fn nothing_is_left_out_and_nothing_begun_while_data_grids_cannot_be_read() {
    let mut world = group(2);
    grids(&mut world, &[("g", GridStatus::Error)]);
    world.wanted.unread = true;
    world.want("d2");
    let decisions = world.until(&["wait WaitingForPlacement"]);
    assert!(!decisions.iter().any(|it| it.contains("left_out")), "{decisions:?}");
    assert_eq!(told(&world.after(world.times.orphan)), "wait WaitingForPlacement");
}

#[test]
fn a_grid_that_was_left_out_and_is_placed_after_all_is_waited_for_again() {
    let mut world = group(3);
    grids(&mut world, &[("g", GridStatus::Error)]);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    // Somebody makes it again.
    grids(&mut world, &[("g", GridStatus::Online)]);
    let decision = world.settled();
    assert_eq!(told(&decision), "grids_left_out");
    world.follow(decision);
    assert!(world.state.left_out.is_empty());
    world.up_to("roll c-1 to d2");
    world.take_effect();
    grids(&mut world, &[("g", GridStatus::Created)]);
    assert_eq!(told(&world.after(world.times.orphan)), "wait WaitingForPlacement");
}

#[test]
fn a_roll_that_was_interrupted_leaves_out_no_grid_that_its_first_pod_may_have_hurt() {
    let mut world = group(3);
    data_grid(&mut world, "g");
    grids(&mut world, &[("g", GridStatus::Online), ("other", GridStatus::Online)]);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    // Interrupted twice, the second time before it did anything.
    for _ in 0..2 {
        grids(&mut world, &[("g", GridStatus::Error), ("other", GridStatus::Created)]);
        let decision = world.settled();
        assert_eq!(told(&decision), "end superseded");
        world.follow(decision);
        grids(&mut world, &[("g", GridStatus::Online), ("other", GridStatus::Created)]);
        let decision = world.settled();
        assert_eq!(told(&decision), "begin image_roll");
        world.follow(decision);
    }
    assert_eq!(told(&world.after(world.times.orphan)), "wait WaitingForPlacement");
    assert!(world.state.left_out.is_empty());
}

#[test]
fn a_grid_that_was_placed_must_be_placed_again_or_the_roll_halts() {
    let mut world = group(3);
    grids(&mut world, &[("g", GridStatus::Online), ("never", GridStatus::Error)]);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    grids(&mut world, &[("g", GridStatus::Created), ("never", GridStatus::Error)]);
    assert_eq!(told(&world.after(world.times.orphan)), "wait WaitingForPlacement");
    let decision = world.after(world.wanted.rollout.deadline);
    assert_eq!(told(&decision), "set d1");
    world.follow(decision);
    world.take_effect();
    let decision = world.settled();
    assert_eq!(told(&decision), "park RolloutHalted");
    world.follow(decision);
    assert!(world.state.operation.as_ref().unwrap().parked.as_ref().unwrap().message.contains("g"));
    grids(&mut world, &[("g", GridStatus::Online), ("never", GridStatus::Error)]);
    assert_eq!(told(&world.settled()), "operation_resumed");
}

#[test]
fn a_halted_roll_gives_way_to_the_recovery_of_the_grid_that_halts_it() {
    let mut world = group(3);
    data_grid(&mut world, "g");
    grids(&mut world, &[("g", GridStatus::Online)]);
    world.want("d2");
    world.up_to("roll c-2 to d2");
    world.take_effect();
    grids(&mut world, &[("g", GridStatus::Created)]);
    for _ in 0..2 {
        let decision = world.after(world.wanted.rollout.deadline);
        let runs = matches!(decision, Decision::Run { .. });
        world.follow(decision);
        if runs {
            world.take_effect();
        }
    }
    assert!(world.state.operation.as_ref().unwrap().parked.is_some());
    grids(&mut world, &[("g", GridStatus::Error)]);
    let decision = world.settled();
    assert_eq!(told(&decision), "end superseded");
    world.follow(decision);
    assert_eq!(told(&world.settled()), "begin grid_recover");
}

#[test]
fn a_roll_ends_when_nothing_is_outdated_whatever_the_grids_do() {
    for (status, at_once) in [(GridStatus::Error, true), (GridStatus::Created, false)] {
        let mut world = group(2);
        grids(&mut world, &[("g", GridStatus::Online)]);
        world.want("d2");
        world.up_to("roll c-0 to d2");
        grids(&mut world, &[("g", status)]);
        world.take_effect();
        let decision = world.settled();
        assert_eq!(told(&decision) == "end succeeded", at_once, "{decision:?}");
        assert_eq!(told(&world.after(world.times.orphan)), "end succeeded");
        assert_eq!(world.state.committed.template.as_ref().unwrap().digest, "d2");
    }
}

#[test]
fn a_wait_before_the_first_pod_ends_at_the_deadline_and_is_told() {
    let mut world = group(2);
    world.want("d2");
    world.up_to("set d2");
    world.take_effect();
    world.seen.grids = None;
    assert_eq!(told(&world.settled()), "wait GroupUnreachable");
    let decision = world.after(world.wanted.rollout.deadline);
    assert_eq!(told(&decision), "set d1");
    world.follow(decision);
    world.take_effect();
    let decision = world.settled();
    assert_eq!(told(&decision), "park RolloutHalted");
    world.follow(decision);
    assert_eq!(told(&world.settled()), "wait RolloutHalted");
    grids(&mut world, &[]);
    let decisions = world.until(&["rest"]);
    assert_eq!(decisions.first().map(String::as_str), Some("operation_resumed"));
}

#[test]
fn a_pod_whose_claim_somebody_deleted_is_not_deleted_by_a_roll() {
    let mut world = group(3);
    world.want("d2");
    world.seen.claims.get_mut(&1).unwrap().deleting = true;
    let decisions = world.until(&["wait VolumeTerminating"]);
    assert_eq!(
        decisions,
        ["begin image_roll", "set d2", "roll c-2 to d2", "wait VolumeTerminating"],
        "neither c-1 nor the primary after it"
    );
    let Decision::Wait(waiting) = world.settled() else { panic!() };
    assert!(waiting.message.contains("vol-c-1"), "{}", waiting.message);
    // A bad image of the former template changes nothing of that.
    world.breaks(1, Some("ImagePullBackOff"));
    assert_ne!(told(&world.settled()), "roll c-1 to d2");
    world.made(1, 1, "d1");
    world.report(1, &[0, 1, 2]);
    world.seen.pods.get_mut(&1).unwrap().incarnation = incarnation(1, 1);
    world.report(1, &[0, 1, 2]);
    let decision = world.after(world.wanted.rollout.deadline);
    assert_eq!(told(&decision), "set d1", "it ends, too");
    world.follow(decision);
    world.take_effect();
    let decision = world.settled();
    assert_eq!(told(&decision), "park RolloutHalted");
    world.follow(decision);
    assert_eq!(told(&world.settled()), "wait RolloutHalted");
}
