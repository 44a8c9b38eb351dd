//! Members that come back as other processes while a join or a disjoin is in doubt.

use super::*;

/// The member comes back on its volume as another process, and tells a group of `members`.
fn comes_back(world: &mut World, ordinal: u32, members: &[u32]) {
    world.pod_with(ordinal, 2);
    world.report(ordinal, members);
}

/// The decision once nothing that a dead process began can still take effect.
fn orphaned(world: &mut World) -> Decision {
    world.after(world.times.orphan)
}

#[test]
fn a_disjoin_is_settled_although_the_only_one_that_stays_was_restarted() {
    let (mut world, _) = disjoining(2);
    comes_back(&mut world, 0, &[0]);
    comes_back(&mut world, 1, &[1]);
    let decision = world.decide();
    assert_eq!(events(&decision), ["member_seen"]);
    world.follow(decision);
    world.report(0, &[0]);
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt), "its task may still run somewhere");
    assert_eq!(events(&orphaned(&mut world)), ["step_succeeded"]);
}

#[test]
fn a_disjoin_is_settled_although_all_that_stay_were_restarted() {
    let (mut world, _) = disjoining(3);
    comes_back(&mut world, 0, &[0, 1]);
    comes_back(&mut world, 1, &[0, 1]);
    comes_back(&mut world, 2, &[2]);
    let decision = world.decide();
    assert_eq!(events(&decision), ["member_seen", "member_seen"]);
    world.follow(decision);
    assert_eq!(events(&orphaned(&mut world)), ["step_succeeded"]);
}

#[test]
fn a_join_is_settled_although_the_only_member_was_restarted() {
    let (mut world, _) = joining(1, 1);
    world.report(1, &[0, 1]);
    comes_back(&mut world, 0, &[0, 1]);
    let decision = world.decide();
    assert_eq!(events(&decision), ["member_seen"]);
    world.follow(decision);
    assert_eq!(events(&world.settled()), ["step_succeeded"]);
}

#[test]
fn who_leaves_or_lost_somebody_who_stays_tells_nothing_of_the_group() {
    let (mut world, _) = disjoining(2);
    comes_back(&mut world, 1, &[1]);
    assert_eq!(events(&world.settled()), [""; 0], "it is the one that leaves");
    let (mut world, _) = disjoining(3);
    comes_back(&mut world, 0, &[0]);
    assert_eq!(events(&world.settled()), [""; 0], "it lost one that stays");
    let (mut world, _) = joining(1, 1);
    comes_back(&mut world, 0, &[0, 2]);
    assert_eq!(events(&world.settled()), [""; 0], "nobody brought that one");
}

#[test]
fn who_came_back_alone_does_not_prove_that_the_other_one_left() {
    let (mut world, _) = disjoining(2);
    comes_back(&mut world, 0, &[0]);
    world.report(1, &[0, 1]);
    assert_eq!(events(&world.settled()), [""; 0], "it has all that the group has, and says so");
    assert_eq!(reason(&orphaned(&mut world)), Some(Reason::InDoubt));
    world.seen.reports.remove(&1);
    assert_eq!(events(&world.settled()), [""; 0], "it is silent");
    world.seen.pods.remove(&1);
    assert_eq!(events(&world.settled()), [""; 0], "its pod comes back");
}

#[test]
fn a_removed_entry_is_settled_although_the_only_one_that_stays_was_restarted() {
    let (mut world, _) = disjoining(2);
    let open = world.state.operation.as_mut().unwrap().step.as_mut().unwrap();
    let Step::DisjoinMember { member, survivor } = open.step.clone() else { panic!() };
    open.step = Step::RemoveGhostMember { member, survivor };
    comes_back(&mut world, 0, &[0]);
    comes_back(&mut world, 1, &[1]);
    assert_eq!(events(&world.decide()), ["member_seen"]);
}
