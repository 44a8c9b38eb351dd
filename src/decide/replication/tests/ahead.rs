//! What is promised about a primary whose node is about to be emptied.

use xsld_journal::event::Text;

use super::*;
use crate::decide::replication::primary_to_keep;

/// A group at rest, the replica on its second member, all on nodes that stay but for these.
fn on_nodes(size: u32, leaving: &[Ordinal]) -> World {
    let mut world = group(size, 0, Some(1));
    nodes(&mut world, |ordinal| Some(leaving.contains(&ordinal)));
    world
}

fn nodes(world: &mut World, leaving: impl Fn(Ordinal) -> Option<bool>) {
    for (ordinal, pod) in &mut world.seen.pods {
        pod.node = Some(format!("n-{ordinal}"));
        pod.node_leaving = leaving(*ordinal);
    }
}

fn primary_on(ordinal: Ordinal) -> Option<(OperationKind, Goal)> {
    let goal = Goal::Primary { ordinal, name: format!("c-{ordinal}") };
    Some((OperationKind::PrimarySwitch, goal))
}

/// The switch is begun for the node of the primary.
fn moving() -> World {
    let mut world = on_nodes(3, &[0]);
    let decision = world.settled();
    assert_eq!(kind(&decision), primary_on(1));
    let Decision::Begin { cause, .. } = &decision else { panic!("{decision:?}") };
    assert_eq!(cause.reason, "the node n-0 of the primary c-0 is about to be emptied");
    world.follow(decision);
    world
}

#[test]
fn the_role_is_moved_off_a_node_that_is_about_to_be_emptied() {
    let mut world = moving();
    let decision = world.decide();
    assert_eq!(promote(&decision), Some((1, "c-0")));
    world.follow(decision);
    roles(&mut world, 1, Some(0));
    let decision = world.settled();
    assert_eq!(names(&decision), ["step_succeeded"]);
    world.follow(decision);
    let decision = world.decide();
    assert_eq!(names(&decision), ["operation_ended"]);
    world.follow(decision);
    assert_eq!(world.settled(), Decision::Rest, "the replica may be on such a node");
}

#[test]
fn only_the_primarys_node_counts_and_only_when_it_is_known_to_leave() {
    assert_eq!(on_nodes(3, &[]).settled(), Decision::Rest);
    assert_eq!(on_nodes(3, &[2]).settled(), Decision::Rest);
    let mut world = on_nodes(3, &[0]);
    nodes(&mut world, |_| None);
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn nobody_takes_the_role_who_is_about_to_go_as_well() {
    assert_eq!(on_nodes(3, &[0, 1, 2]).settled(), Decision::Rest);
    assert_eq!(kind(&on_nodes(3, &[0, 1]).settled()), replica_on(2), "that goes first");
    let mut world = on_nodes(3, &[0]);
    world.seen.pods.get_mut(&1).unwrap().deleting = true;
    assert_eq!(kind(&world.settled()), None);
    let mut world = on_nodes(3, &[0]);
    nodes(&mut world, |ordinal| (ordinal == 0).then_some(true));
    assert_eq!(world.settled(), Decision::Rest, "nothing is known of the replica's node");
}

#[test]
fn a_node_that_is_to_stay_after_all_keeps_the_primary() {
    let mut world = moving();
    nodes(&mut world, |_| Some(false));
    let decision = world.decide();
    assert_eq!(names(&decision), ["operation_ended"]);
    world.follow(decision);
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn a_task_of_somebody_else_is_waited_for() {
    let mut world = on_nodes(3, &[0]);
    world.task(0, xsld_journal::event::StepKey(uuid::Uuid::from_u128(99)), TaskStatus::Running);
    assert_eq!(reason(&world.settled()), Some(Reason::ForeignTask));
}

#[test]
fn a_primary_that_goes_before_its_role_was_moved_is_replaced_in_the_same_operation() {
    let mut world = moving();
    lose(&mut world, 0);
    assert_eq!(reason(&world.settled()), Some(Reason::SwitchingPrimary));
    assert_eq!(promote(&world.after(GRACE)), Some((1, "c-0")));
}

#[test]
fn an_eviction_waits_for_the_role_only_where_it_can_be_moved() {
    let movable = |world: &World| primary_to_keep(&world.wanted, &world.seen, &world.state);
    assert_eq!(movable(&on_nodes(3, &[])), Some(0), "before anybody drains");
    assert_eq!(movable(&on_nodes(3, &[0])), Some(0));
    assert_eq!(movable(&on_nodes(3, &[1])), None, "both nodes may be drained");
    assert_eq!(movable(&group(3, 0, Some(1))), None, "nothing is known of the nodes");
    let mut world = on_nodes(3, &[]);
    roles(&mut world, 0, None);
    assert_eq!(movable(&world), None);
    let mut world = on_nodes(3, &[]);
    lose(&mut world, 1);
    assert_eq!(movable(&world), None);
}

#[test]
fn no_eviction_waits_for_a_role_that_will_not_be_moved() {
    let movable = |world: &World| primary_to_keep(&world.wanted, &world.seen, &world.state);
    let mut world = moving();
    assert_eq!(movable(&world), Some(0));
    world.apply(Event::OperationParked { reason: "StepFailed".into(), message: "no".into() });
    assert_eq!(movable(&world), None, "a person was asked");
    let mut world = on_nodes(2, &[0]);
    world.wanted.size = 1;
    assert_eq!(movable(&world), None, "who would take it is to leave");
}

#[test]
fn a_parked_move_holds_up_no_roll_and_is_tried_again_for_another_spec() {
    let parked = || {
        let mut world = moving();
        world.apply(Event::OperationParked { reason: "StepFailed".into(), message: "no".into() });
        assert_eq!(reason(&world.settled()), Some(Reason::Parked));
        world
    };
    let mut world = parked();
    world.wanted.generation += 1;
    let decision = world.settled();
    assert_eq!(names(&decision), ["operation_resumed", "operation_ended"]);
    world.follow(decision);
    assert_eq!(kind(&world.settled()), primary_on(1), "the node is still to be emptied");
    let mut world = parked();
    wants_a_roll(&mut world);
    let decision = world.settled();
    assert_eq!(names(&decision), ["operation_resumed", "operation_ended"]);
    world.follow(decision);
    assert!(matches!(kind(&world.settled()), Some((OperationKind::ImageRoll, _))));
}

/// The spec asks for other pods.
pub(super) fn wants_a_roll(world: &mut World) {
    world.wanted.template = ("d2".into(), Text::Inline("{}".into()));
    world.wanted.may_roll = true;
}

#[test]
fn a_replica_is_set_up_where_it_may_stay() {
    let mut world = on_nodes(3, &[1]);
    roles(&mut world, 0, None);
    assert_eq!(kind(&world.settled()), replica_on(2));
    nodes(&mut world, |ordinal| Some(ordinal > 0));
    assert_eq!(kind(&world.settled()), replica_on(1), "better there than nowhere");
}

/// Puts members on nodes; the nodes of these are about to be emptied.
fn put_on(world: &mut World, nodes: &[&str], leaving: &[&str]) {
    for (ordinal, node) in (0..).zip(nodes) {
        let pod = world.seen.pods.get_mut(&ordinal).unwrap();
        pod.node = Some((*node).to_owned());
        pod.node_leaving = Some(leaving.contains(node));
    }
}

#[test]
fn the_replica_goes_to_another_node_than_the_primary_where_one_exists() {
    let mut world = group(3, 0, None);
    put_on(&mut world, &["a", "a", "b"], &[]);
    assert_eq!(kind(&world.settled()), replica_on(2));
    put_on(&mut world, &["a", "a", "a"], &[]);
    assert_eq!(kind(&world.settled()), replica_on(1), "one on the same node is better than none");
}

#[test]
fn a_drain_of_the_node_of_both_moves_the_replica_first() {
    let mut world = group(3, 0, Some(1));
    put_on(&mut world, &["a", "a", "b"], &["a"]);
    let kept = |world: &World| primary_to_keep(&world.wanted, &world.seen, &world.state);
    assert_eq!(kept(&world), Some(0), "the primary's eviction waits");
    let decision = world.settled();
    assert_eq!(kind(&decision), replica_on(2));
    let Decision::Begin { cause, .. } = &decision else { panic!("{decision:?}") };
    assert_eq!(cause.reason, "the nodes of c-0 and its replica are about to be emptied");
    roles(&mut world, 0, Some(2));
    assert_eq!(kept(&world), Some(0));
    assert_eq!(kind(&world.settled()), primary_on(2));
}

#[test]
fn no_eviction_waits_for_a_replica_that_cannot_be_moved() {
    let kept = |world: &World| primary_to_keep(&world.wanted, &world.seen, &world.state);
    let drained = || {
        let mut world = group(3, 0, Some(1));
        put_on(&mut world, &["a", "a", "b"], &["a"]);
        world
    };
    let mut world = drained();
    put_on(&mut world, &["a", "a", "b"], &["a", "b"]);
    assert_eq!(kept(&world), None, "no node stays");
    let mut world = drained();
    world.wanted.replicate = false;
    assert_eq!(kept(&world), None, "nobody sets up a replica");
    let mut world = drained();
    let decision = world.settled();
    world.follow(decision);
    assert_eq!(kept(&world), Some(0));
    world.apply(Event::OperationParked { reason: "x".into(), message: "y".into() });
    assert_eq!(kept(&world), None, "a person is waited for");
    world.apply(Event::OperationResumed { evidence: "{}".into() });
    world.apply(Event::OperationEnded { end: End::Failed { reason: "refused".into() } });
    assert_eq!(kept(&world), None, "it was tried");
    assert_eq!(world.settled(), Decision::Rest, "and is not tried again");
}
