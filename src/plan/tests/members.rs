//! Members that come, go, are lost and are replaced.

use xsld_journal::event::{End as Ended, Event, OperationKind, Receipt};

use super::*;
use crate::decide::Decision;
use crate::decide::testing::claim_uid;
use crate::xsld::view::TaskStatus;

#[test]
fn a_new_cache_is_bootstrapped_joined_and_replicated() {
    let mut world = World::new(3);
    world.wanted.catalogs = 2;
    let plan = planned(&mut world);
    let expected = [
        "bootstrap",
        "- template d1",
        "- replicas 3",
        "- join c-1",
        "- join c-2",
        "replication_set_up",
        "- replicate to c-1",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
    assert_eq!((plan.deletes.len(), plan.restarts.len()), (0, 0));
    let catalogs = plan.operations[0].steps.iter().filter_map(|planned| match planned.step {
        Step::JoinMember { catalog, .. } => Some(catalog),
        _ => None,
    });
    assert_eq!(catalogs.collect::<Vec<_>>(), [true, false]);
    assert_eq!(plan.assumes, Vec::<String>::new(), "nothing is there yet");
}

#[test]
fn more_members_join_in_order() {
    let mut world = group(1);
    world.wanted.size = 3;
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["scale_up", "- replicas 3", "- join c-1", "- join c-2"]);
    assert_eq!(plan.end, End::Settled);
    assert_eq!(plan.operations[0].end, Some(Ended::Succeeded));
}

#[test]
fn fewer_members_leave_one_by_one_and_each_volume_is_named() {
    let mut world = group(3);
    world.wanted.size = 1;
    let plan = planned(&mut world);
    let expected = [
        "scale_down",
        "- disjoin c-2",
        "- replicas 2",
        "- delete vol-c-2",
        "- disjoin c-1",
        "- replicas 1",
        "- delete vol-c-1",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
    let claim = |at: Ordinal| Claim { name: format!("vol-c-{at}"), uid: claim_uid(at) };
    assert_eq!(plan.deletes, [claim(2), claim(1)]);
    let steps = &plan.operations[0].steps;
    assert!(steps.iter().all(|step| step.destructive && step.standing == Standing::Planned));
    let Step::DeleteVolume { receipt, .. } = &steps[2].step else { panic!("{:?}", steps[2]) };
    assert_eq!(*receipt, Receipt::Disjoined { seq: 0 }, "that record is still to be written");
}

#[test]
fn a_second_look_that_was_not_needed_among_three_is_imagined_when_one_is_left() {
    let mut world = group(3);
    // As it is observed: where three answer, nobody is read twice.
    world.seen.reports.values_mut().for_each(|report| report.group_again = None);
    world.wanted.size = 1;
    assert_eq!(planned(&mut world).end, End::Settled);
}

#[test]
fn retained_volumes_are_told_as_kept_and_none_is_deleted() {
    let mut world = group(3);
    world.wanted.size = 1;
    world.wanted.delete_scaled_volumes = false;
    let plan = planned(&mut world);
    let expected = ["scale_down", "- disjoin c-2", "- replicas 2", "- disjoin c-1", "- replicas 1"];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.deletes, []);
    assert_eq!(names(&plan.keeps), ["vol-c-2", "vol-c-1"]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_kept_volume_is_taken_up_by_the_next_member_and_that_is_told() {
    let mut world = group(2);
    let claim = world.seen.claims[&1].clone();
    world.wanted.size = 1;
    world.wanted.delete_scaled_volumes = false;
    let (_, after) = super::follow::rehearse(world.inputs());
    let mut again = World::new(2);
    again.state = after.inputs().state.clone();
    again.seen = after.inputs().seen.clone();
    assert_eq!(again.seen.claims[&1], claim);
    let plan = planned(&mut again);
    assert_eq!(told(&plan), ["scale_up", "- replicas 2", "- join c-1"]);
    assert_eq!(plan.assumes, ["claim vol-c-1, which is there already, is taken up"]);
}

#[test]
fn the_replica_leaves_and_another_one_is_set_up() {
    let mut world = group(3);
    roles(&mut world, 0, Some(2));
    world.wanted.size = 2;
    let plan = planned(&mut world);
    let expected = [
        "scale_down",
        "- disjoin c-2",
        "- replicas 2",
        "- delete vol-c-2",
        "replication_set_up",
        "- replicate to c-1",
    ];
    assert_eq!(told(&plan), expected);
}

#[test]
fn a_primary_that_is_scaled_away_is_moved_first() {
    let mut world = group(3);
    roles(&mut world, 2, Some(0));
    world.wanted.size = 2;
    let plan = planned(&mut world);
    let expected = [
        "scale_down",
        "- promote c-0",
        "- disjoin c-2",
        "- replicas 2",
        "- delete vol-c-2",
        "replication_set_up",
        "- replicate to c-1",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_primary_that_cannot_be_moved_is_waited_for() {
    let mut world = group(3);
    roles(&mut world, 2, None);
    world.wanted.size = 2;
    world.wanted.replicate = false;
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["scale_down"]);
    let End::Waits(wait) = &plan.end else { panic!("{:?}", plan.end) };
    assert_eq!(wait.reason, "Deferred");
}

#[test]
fn a_member_whose_volume_is_lost_is_removed_and_joins_afresh() {
    let mut world = group(3);
    world.seen.claims.get_mut(&1).unwrap().uid = "another".into();
    world.pod_with(1, 2);
    world.report(1, &[1]);
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["repair", "- remove c-1", "- join c-1"]);
    assert_eq!((&plan.end, plan.deletes.len()), (&End::Settled, 0));
}

#[test]
fn a_member_that_the_group_lost_is_reset_and_joins_afresh() {
    let mut world = group(3);
    for ordinal in [0, 1] {
        world.report(ordinal, &[0, 1]);
    }
    world.report(2, &[2]);
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["repair", "- join c-2"]);
    assert_eq!(plan.operations[0].notes, ["c-2 is recorded as lost"]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_lost_primary_is_replaced_and_the_plan_says_by_whom() {
    let mut world = group(3);
    roles(&mut world, 0, Some(1));
    world.seen.reports.remove(&0);
    for ordinal in [1, 2] {
        change_view(&mut world, ordinal, |view| view.stale = true);
    }
    let plan = planned(&mut world);
    assert_eq!(told(&plan)[..2], ["primary_switch", "- promote c-1"]);
}

#[test]
fn a_primary_whose_node_is_to_be_emptied_gives_its_role_away_once() {
    let mut world = group(3);
    roles(&mut world, 0, Some(1));
    for (ordinal, pod) in &mut world.seen.pods {
        pod.node_leaving = Some(*ordinal == 0);
    }
    let plan = planned(&mut world);
    let expected = ["primary_switch", "- promote c-1", "replication_set_up", "- replicate to c-2"];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn an_open_operation_continues_and_its_open_step_is_not_told_as_new() {
    let mut world = group(1);
    world.wanted.size = 3;
    world.settled();
    for _ in 0..2 {
        let decision = world.decide();
        world.follow(decision);
    }
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["continues scale_up", "- replicas 3", "- join c-1", "- join c-2"]);
    let standings: Vec<_> =
        plan.operations[0].steps.iter().map(|planned| planned.standing).collect();
    assert_eq!(standings, [Standing::InDoubt, Standing::Planned, Standing::Planned]);
}

/// A group of two that grows to three, whose join is sent.
fn joining() -> World {
    let mut world = group(2);
    world.wanted.size = 3;
    world.apply(begun(OperationKind::ScaleUp, 3));
    world.run_and_succeed(Step::ScaleStatefulSet { from: 2, to: 3 });
    world.set_replicas(3);
    world.pod_up(2);
    let member = world.member(2);
    let host = "c-0.c.ns.svc".to_owned();
    let key = world.intend(Step::JoinMember { member, host, catalog: true });
    world.task(2, key, TaskStatus::Running);
    world
}

fn begun(kind: OperationKind, size: u32) -> Event {
    Event::OperationBegun {
        kind,
        goal: Goal::Members { size, catalogs: 3 },
        cause: Cause { generation: 1, reason: "test".into() },
    }
}

#[test]
fn a_running_join_comes_to_its_end_before_a_smaller_size_is_followed() {
    let mut world = joining();
    world.wanted.size = 2;
    world.wanted.generation = 2;
    let plan = planned(&mut world);
    let expected = [
        "continues scale_up",
        "- join c-2",
        "scale_down",
        "- disjoin c-2",
        "- replicas 2",
        "- delete vol-c-2",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.operations[0].steps[0].standing, Standing::Running);
    assert!(matches!(plan.operations[0].end, Some(Ended::Superseded { .. })), "{plan}");
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_join_that_had_no_effect_is_told_so_and_planned_again() {
    let mut world = joining();
    let report = world.seen.reports.get_mut(&2).unwrap();
    let Answer::Known(tasks) = &mut report.tasks else { panic!() };
    tasks[0].status = TaskStatus::Failed;
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["continues scale_up", "- join c-2", "- join c-2"]);
    let standings: Vec<_> = plan.operations[0].steps.iter().map(|step| step.standing).collect();
    assert_eq!(standings, [Standing::WithoutEffect, Standing::Planned]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_parked_operation_is_told_as_what_a_person_must_decide() {
    let mut world = joining();
    world.seen.reports.get_mut(&2).unwrap().tasks = Answer::Unknown { reason: "silent".into() };
    let (reason, message) = ("InDoubt".to_owned(), "look at c-2".to_owned());
    world.apply(Event::OperationParked { reason: reason.clone(), message: message.clone() });
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["continues scale_up", "- join c-2"]);
    assert_eq!(plan.operations[0].steps[0].standing, Standing::InDoubt);
    assert_eq!(plan.end, End::Waits(Wait { reason, message }));
}

#[test]
fn a_person_who_decided_is_followed() {
    let mut world = joining();
    world.seen.reports.get_mut(&2).unwrap().tasks = Answer::Unknown { reason: "silent".into() };
    let (reason, message) = ("InDoubt".to_owned(), "look at c-2".to_owned());
    world.apply(Event::OperationParked { reason, message });
    let (who, why) = ("ops".to_owned(), "the node is gone".to_owned());
    world.apply(Event::Decided { who, decision: "abandon".into(), why });
    world.wanted.size = 2;
    let plan = planned(&mut world);
    assert!(matches!(plan.operations[0].end, Some(Ended::Failed { .. })), "{plan}");
    assert_eq!(plan.operations[0].steps[0].standing, Standing::WithoutEffect);
    assert_eq!(told(&plan)[2..], ["scale_down", "- replicas 2", "- delete vol-c-2"], "{plan}");
    assert_eq!(plan.operations[1].notes, ["c-2 is recorded as absent: it never joined"]);
}

#[test]
fn the_end_of_a_cache_deletes_claims_as_its_policy_says() {
    let mut world = group(2);
    world.wanted.deleting = true;
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["delete", "- delete the set"]);
    assert_eq!((plan.deletes.len(), names(&plan.keeps)), (0, vec!["vol-c-0", "vol-c-1"]));
    assert_eq!(plan.end, End::Settled);
    world.wanted.delete_volumes = true;
    let plan = planned(&mut world);
    assert_eq!(told(&plan)[2..], ["- delete vol-c-0", "- delete vol-c-1"]);
    assert_eq!((names(&plan.deletes), plan.keeps.len()), (vec!["vol-c-0", "vol-c-1"], 0));
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn the_plan_takes_the_very_steps_that_decide_gives() {
    let mut world = group(2);
    world.wanted.size = 3;
    let plan = planned(&mut world);
    let begun = world.decide();
    world.follow(begun);
    let Decision::Run { step, .. } = world.decide() else { panic!("{:?}", world.decide()) };
    assert_eq!(plan.operations[0].steps[0].step, step);
    assert_eq!(plan.operations[0].goal, world.state.operation.as_ref().unwrap().goal);
}
