//! What is promised about the replica and the primary, told on a small world.

mod ahead;

use std::time::Duration;

use xsld_journal::event::{End, Event, Goal, OperationKind, Ordinal, Step};

use super::move_primary_away;
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::testing::{World, claim_uid};
use crate::decide::{ATTEMPTS_MAX, Decision, Inputs, views};
use crate::xsld::view::{Answer, GroupView, TaskStatus};

const GRACE: Duration = Duration::from_secs(600);

/// Shows the same roles in every answer.
fn roles(world: &mut World, primary: Ordinal, replica: Option<Ordinal>) {
    let all: Vec<Ordinal> = world.seen.reports.keys().copied().collect();
    for ordinal in all {
        tell(world, ordinal, primary, replica);
    }
}

/// Shows these roles in one member's answers.
fn tell(world: &mut World, by: Ordinal, primary: Ordinal, replica: Option<Ordinal>) {
    change_view(world, by, |view| {
        for member in &mut view.members {
            let is = |ordinal: Ordinal| member.name == format!("c-{ordinal}");
            let part = match (is(primary), replica) {
                (true, Some(_)) => "master",
                (false, Some(replica)) if is(replica) => "slave",
                _ => "none",
            };
            member.primary = Some(is(primary));
            member.replication = Some(part.to_owned());
        }
    });
}

fn change_view(world: &mut World, by: Ordinal, change: impl Fn(&mut GroupView)) {
    let report = world.seen.reports.get_mut(&by).unwrap();
    for answer in [Some(&mut report.group), report.group_again.as_mut()].into_iter().flatten() {
        let Answer::Known(view) = answer else { panic!("no view") };
        change(view);
    }
}

/// A group at rest with these roles.
fn group(size: u32, primary: Ordinal, replica: Option<Ordinal>) -> World {
    let mut world = World::group(size);
    roles(&mut world, primary, replica);
    world
}

/// The member is gone, and the others tell what they last knew.
fn lose(world: &mut World, lost: Ordinal) {
    world.seen.reports.remove(&lost);
    world.seen.pods.remove(&lost);
    let rest: Vec<Ordinal> = world.seen.reports.keys().copied().collect();
    for ordinal in rest {
        change_view(world, ordinal, |view| view.stale = true);
    }
}

fn kind(decision: &Decision) -> Option<(OperationKind, Goal)> {
    match decision {
        Decision::Begin { kind, goal, .. } => Some((*kind, goal.clone())),
        _ => None,
    }
}

fn replica_on(ordinal: Ordinal) -> Option<(OperationKind, Goal)> {
    let goal = Goal::Replica { ordinal, name: format!("c-{ordinal}") };
    Some((OperationKind::ReplicationSetUp, goal))
}

fn promote(decision: &Decision) -> Option<(Ordinal, &str)> {
    match decision {
        Decision::Run { step: Step::PromotePrimary { member, former }, .. } => {
            Some((member.ordinal, former))
        }
        _ => None,
    }
}

fn set_up(decision: &Decision) -> Option<(Ordinal, Ordinal)> {
    match decision {
        Decision::Run { step: Step::SetUpReplication { primary, replica }, .. } => {
            Some((primary.ordinal, replica.ordinal))
        }
        _ => None,
    }
}

fn reason(decision: &Decision) -> Option<Reason> {
    match decision {
        Decision::Wait(waiting) | Decision::InDoubt(waiting) => Some(waiting.reason),
        _ => None,
    }
}

fn names(decision: &Decision) -> Vec<&'static str> {
    match decision {
        Decision::Record(events) => events.iter().map(Event::name).collect(),
        _ => vec![],
    }
}

/// Begins the set-up and intends its step.
fn setting_up(size: u32) -> World {
    let mut world = group(size, 0, None);
    let decision = world.settled();
    world.follow(decision);
    let decision = world.decide();
    assert_eq!(set_up(&decision), Some((0, 1)));
    world.follow(decision);
    world.watch.unsettle();
    world
}

/// A replica on the second member, the primary lost for the grace, and the promotion intended.
fn promoting() -> World {
    let mut world = group(3, 0, Some(1));
    lose(&mut world, 0);
    let decision = world.after(GRACE);
    world.follow(decision);
    let decision = world.decide();
    assert_eq!(promote(&decision), Some((1, "c-0")));
    world.follow(decision);
    world.watch.unsettle();
    world
}

#[test]
fn a_group_at_rest_gets_its_replica_on_the_lowest_other_catalog_member() {
    let mut world = group(3, 0, None);
    assert_eq!(world.decide(), Decision::Rest, "not before the group has settled");
    assert_eq!(kind(&world.settled()), replica_on(1));
    world.state.members.get_mut(&1).unwrap().catalog = false;
    assert_eq!(kind(&world.settled()), replica_on(2));
    assert_eq!(group(3, 0, Some(2)).settled(), Decision::Rest);
    let mut world = group(3, 1, None);
    assert_eq!(kind(&world.settled()), replica_on(0), "whoever is the primary");
}

#[test]
fn nothing_is_set_up_where_it_is_not_wanted_or_not_told() {
    let mut world = group(3, 0, None);
    world.wanted.replicate = false;
    assert_eq!(world.settled(), Decision::Rest);
    assert_eq!(group(1, 0, None).settled(), Decision::Rest);
    assert_eq!(World::group(3).settled(), Decision::Rest, "a release that tells no parts");
}

#[test]
fn an_offline_replica_has_the_grace_before_another_is_set_up() {
    let mut world = group(3, 0, Some(1));
    for by in [0, 2] {
        change_view(&mut world, by, |view| {
            view.members[1].status = crate::xsld::view::MemberStatus::Unreachable;
        });
    }
    assert_eq!(world.settled(), Decision::Rest);
    assert_eq!(kind(&world.after(GRACE)), replica_on(2));
}

#[test]
fn a_set_up_is_done_when_the_views_show_it_and_only_then() {
    let mut world = setting_up(2);
    let key = world.state.open_step().unwrap().key;
    world.task(0, key, TaskStatus::Running);
    assert_eq!(reason(&world.settled()), Some(Reason::SettingUpReplication));
    world.task(0, key, TaskStatus::Success);
    world.observe();
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt), "success is not believed by itself");
    assert_eq!(names(&world.settled()), ["step_failed"]);
    roles(&mut world, 0, Some(1));
    let decision = world.decide();
    assert_eq!(names(&decision), ["step_succeeded"]);
    world.follow(decision);
    let decision = world.decide();
    assert_eq!(names(&decision), ["operation_ended"]);
    world.follow(decision);
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn a_set_up_without_a_trace_is_sent_again_and_void_when_the_primary_was_restarted() {
    let mut world = setting_up(3);
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt));
    assert!(matches!(world.settled(), Decision::Resend { .. }));
    world.pod_with(0, 2);
    world.report(0, &[0, 1, 2]);
    roles(&mut world, 0, None);
    let decision = world.decide();
    assert_eq!(names(&decision), ["member_seen"]);
    world.follow(decision);
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt));
    assert_eq!(names(&world.after(world.times.orphan)), ["step_void"]);
}

#[test]
fn a_set_up_that_hangs_is_cancelled_and_begun_again_at_most_five_times() {
    let mut world = setting_up(2);
    for attempt in 1..=ATTEMPTS_MAX {
        let key = world.state.open_step().unwrap().key;
        world.task(0, key, TaskStatus::Running);
        let decision = world.after(world.times.task_stall);
        assert!(
            matches!(&decision, Decision::Run { step: Step::CancelTask { task: 1, .. }, .. }),
            "{decision:?}"
        );
        world.follow(decision);
        world.task(0, key, TaskStatus::Failed);
        let decision = world.decide();
        assert_eq!(names(&decision), ["step_succeeded"]);
        world.follow(decision);
        let decision = world.settled();
        assert_eq!(names(&decision), ["step_failed"], "attempt {attempt}");
        world.follow(decision);
        let decision = world.settled();
        world.follow(decision);
    }
    assert!(world.state.operation.as_ref().unwrap().parked.is_some());
    assert_eq!(reason(&world.settled()), Some(Reason::Parked));
    roles(&mut world, 0, Some(1));
    assert_eq!(names(&world.decide()), ["operation_resumed", "operation_ended"]);
}

/// The member that is to hold the replica may come back by the roll alone.
#[test]
fn a_set_up_that_waits_or_is_parked_gives_way_to_the_roll() {
    let waits: fn(&mut World) = |world| {
        let key = world.state.open_step().unwrap().key;
        let why = "its pod went".to_owned();
        world.apply(Event::StepFailed { key, reason: why, evidence: "{}".into() });
        let pod = world.seen.pods.get_mut(&1).unwrap();
        (pod.running, pod.ready) = (false, false);
        pod.waiting = Some("ImagePullBackOff".into());
        world.seen.reports.remove(&1);
        change_view(world, 0, |view| {
            view.members[1].status = crate::xsld::view::MemberStatus::Unreachable;
        });
        assert_eq!(reason(&world.settled()), Some(Reason::SettingUpReplication));
    };
    let is_parked: fn(&mut World) = |world| {
        let key = world.state.open_step().unwrap().key;
        let why = "refused".to_owned();
        world.apply(Event::StepFailed { key, reason: why, evidence: "{}".into() });
        world.apply(Event::OperationParked { reason: "StepFailed".into(), message: "no".into() });
        assert_eq!(reason(&world.settled()), Some(Reason::Parked));
    };
    for stands in [waits, is_parked] {
        let mut world = setting_up(2);
        stands(&mut world);
        ahead::wants_a_roll(&mut world);
        let decision = world.settled();
        assert_eq!(names(&decision).last(), Some(&"operation_ended"));
        world.follow(decision);
        let decision = world.settled();
        assert!(matches!(kind(&decision), Some((OperationKind::ImageRoll, _))), "{decision:?}");
    }
}

#[test]
fn a_cancellation_on_a_primary_that_is_replaced_holds_up_nobody() {
    let mut world = group(3, 0, Some(1));
    world.wanted.size = 2;
    for _ in 0..2 {
        let decision = world.settled();
        world.follow(decision);
    }
    let key = world.state.open_step().unwrap().key;
    world.task(0, key, TaskStatus::Running);
    let decision = world.after(world.times.task_stall);
    assert!(matches!(&decision, Decision::Run { step: Step::CancelTask { .. }, .. }));
    world.follow(decision);
    // Its process stands still: it is neither another one nor does it tell its tasks.
    world.seen.reports.remove(&0);
    for by in [1, 2] {
        change_view(&mut world, by, |view| view.stale = true);
    }
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt), "it may come back");
    let decision = world.after(GRACE);
    assert_eq!(names(&decision), ["step_void"]);
    world.follow(decision);
    assert_eq!(promote(&world.after(GRACE)), Some((1, "c-0")));
}

#[test]
fn replication_gives_way_to_members() {
    let mut world = group(2, 0, None);
    let decision = world.settled();
    world.follow(decision);
    world.wanted.size = 3;
    let decision = world.decide();
    assert!(
        matches!(&decision, Decision::Record(events) if matches!(
            events.as_slice(), [Event::OperationEnded { end: End::Superseded { .. } }])),
        "{decision:?}"
    );
}

#[test]
fn a_lost_primary_has_its_grace_and_then_its_replica_takes_over() {
    let mut world = group(3, 0, Some(1));
    lose(&mut world, 0);
    assert_eq!(reason(&world.settled()), Some(Reason::MemberUnreachable));
    let decision = world.after(GRACE);
    let goal = Goal::Primary { ordinal: 1, name: "c-1".into() };
    assert_eq!(kind(&decision), Some((OperationKind::PrimarySwitch, goal)));
    world.follow(decision);
    assert_eq!(promote(&world.decide()), Some((1, "c-0")));
}

#[test]
fn a_primary_that_is_back_within_the_grace_stays_the_primary() {
    let mut world = group(3, 0, Some(1));
    lose(&mut world, 0);
    world.after(GRACE - Duration::from_secs(1));
    world.pod_with(0, 1);
    world.everybody_lists(&[0, 1, 2]);
    roles(&mut world, 0, Some(1));
    assert_eq!(world.settled(), Decision::Rest);
    lose(&mut world, 0);
    assert_eq!(reason(&world.settled()), Some(Reason::MemberUnreachable), "a grace of its own");
}

#[test]
fn nobody_is_promoted_without_a_replica_nor_while_one_member_sees_the_primary() {
    let mut world = group(3, 0, None);
    lose(&mut world, 0);
    world.after(GRACE);
    assert_eq!(world.after(GRACE), Decision::Rest);
    let mut world = group(3, 0, Some(1));
    lose(&mut world, 0);
    change_view(&mut world, 2, |view| view.stale = false);
    assert_eq!(world.after(GRACE), Decision::Rest);
    let mut world = group(3, 0, Some(1));
    world.seen.reports.clear();
    assert_eq!(kind(&world.after(GRACE)), None, "it may be the operator that sees nobody");
}

#[test]
fn a_paused_or_deleted_cache_promotes_nobody() {
    let mut world = group(3, 0, Some(1));
    lose(&mut world, 0);
    world.wanted.paused = true;
    assert_eq!(reason(&world.after(GRACE)), Some(Reason::Paused));
    world.wanted.deleting = true;
    assert_eq!(kind(&world.after(GRACE)).map(|(kind, _)| kind), Some(OperationKind::Delete));
}

#[test]
fn a_promotion_needs_the_members_own_word_and_nobodys_against_it() {
    let mut world = promoting();
    let key = world.state.open_step().unwrap().key;
    world.task(1, key, TaskStatus::Success);
    assert_eq!(names(&world.settled()), ["step_failed"], "it does not say that it is the primary");
    for by in [1, 2] {
        tell(&mut world, by, 1, None);
        change_view(&mut world, by, |view| view.stale = false);
    }
    tell(&mut world, 2, 0, None);
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt), "two members differ");
    tell(&mut world, 2, 1, None);
    let decision = world.decide();
    assert_eq!(names(&decision), ["step_succeeded"]);
    world.follow(decision);
    assert_eq!(world.state.promoted_primary(), Some(1));
    assert_eq!(names(&world.decide()), ["operation_ended"]);
}

#[test]
fn a_promotion_that_never_arrived_is_decided_anew_and_never_sent_again_as_it_is() {
    let mut world = promoting();
    let decision = world.settled();
    assert_eq!(names(&decision), ["step_failed"]);
    world.follow(decision);
    assert_eq!(promote(&world.settled()), Some((1, "c-0")), "the primary is still lost");
    world.pod_with(0, 1);
    world.everybody_lists(&[0, 1, 2]);
    roles(&mut world, 0, Some(1));
    let decision = world.decide();
    assert_eq!(names(&decision), ["operation_ended"], "the primary is back: {decision:?}");
}

#[test]
fn the_former_primary_that_returns_is_no_second_primary_and_becomes_the_replica() {
    let mut world = promoting();
    let key = world.state.open_step().unwrap().key;
    world.task(1, key, TaskStatus::Success);
    for by in [1, 2] {
        tell(&mut world, by, 1, None);
        change_view(&mut world, by, |view| view.stale = false);
    }
    for _ in 0..2 {
        let decision = world.decide();
        world.follow(decision);
    }
    world.pod_with(0, 1);
    world.report(0, &[0, 1, 2]);
    tell(&mut world, 0, 0, None);
    assert_eq!(views::primary(&world.seen, &world.state), Some(1), "whatever it says of itself");
    tell(&mut world, 0, 1, None);
    assert_eq!(kind(&world.settled()), replica_on(0));
}

#[test]
fn a_primary_lost_during_a_join_is_replaced_aside_of_it() {
    let mut world = group(2, 0, Some(1));
    world.wanted.size = 3;
    world.follow(world.decide());
    world.run_and_succeed(Step::ScaleStatefulSet { from: 2, to: 3 });
    world.set_replicas(3);
    world.pod_up(2);
    let decision = world.decide();
    assert!(matches!(&decision, Decision::Run { step: Step::JoinMember { .. }, .. }));
    world.follow(decision);
    lose(&mut world, 0);
    change_view(&mut world, 2, |view| view.stale = false);
    let decision = world.after(GRACE);
    assert_eq!(promote(&decision), Some((1, "c-0")), "{decision:?}");
    world.follow(decision);
    let state = &world.state;
    assert!(state.open_cancel().is_some_and(|open| open.step.name() == "promote_primary"));
    assert!(state.open_step().is_some_and(|open| open.step.name() == "join_member"));
    tell(&mut world, 1, 1, None);
    change_view(&mut world, 1, |view| view.stale = false);
    let decision = world.settled();
    assert_eq!(names(&decision), ["step_succeeded"]);
    world.follow(decision);
    assert_eq!(world.state.promoted_primary(), Some(1));
    assert!(world.state.open_cancel().is_none());
}

#[test]
fn the_primarys_lost_volume_needs_a_person_only_without_a_replica() {
    for (replica, expected) in
        [(None, Reason::PrimaryVolumeLost), (Some(1), Reason::SwitchingPrimary)]
    {
        let mut world = group(3, 0, replica);
        lose(&mut world, 0);
        world.pod_up(0);
        world.seen.claims.get_mut(&0).unwrap().uid = "another".into();
        assert_eq!(reason(&world.settled()), Some(expected), "{replica:?}");
        let promotes = kind(&world.after(GRACE)).map(|(kind, _)| kind);
        assert_eq!(promotes == Some(OperationKind::PrimarySwitch), replica.is_some());
    }
}

#[test]
fn a_primary_that_is_scaled_away_is_moved_first() {
    let mut world = group(2, 1, Some(0));
    world.wanted.size = 1;
    world.follow(world.decide());
    assert_eq!(promote(&world.decide()), Some((0, "c-1")));
    roles(&mut world, 1, None);
    assert_eq!(set_up(&world.decide()), Some((1, 0)), "it needs a replica first");
    world.wanted.replicate = false;
    assert_eq!(reason(&world.decide()), Some(Reason::Deferred), "it cannot be moved");
    roles(&mut world, 0, None);
    let decision = world.decide();
    assert!(matches!(&decision, Decision::Run { step: Step::DisjoinMember { .. }, .. }));
}

#[test]
fn the_role_is_moved_only_from_the_primary_and_only_to_a_member_that_stays() {
    let world = group(3, 0, Some(2));
    assert_eq!(move_primary_away(world.inputs(), 1), None);
    let decision = move_primary_away(world.inputs(), 0);
    assert_eq!(decision.as_ref().and_then(promote), Some((2, "c-0")));
    let mut world = group(3, 0, None);
    let decision = move_primary_away(world.inputs(), 0);
    assert_eq!(decision.as_ref().and_then(set_up), Some((0, 1)));
    world.wanted.replicate = false;
    assert_eq!(move_primary_away(world.inputs(), 0), None);
}

#[test]
fn a_replica_that_was_disjoined_is_set_up_elsewhere() {
    let mut world = group(3, 0, Some(2));
    world.wanted.size = 2;
    world.follow(world.decide());
    let member = world.member(2);
    let survivor = world.survivor(0);
    world.run_and_succeed(Step::DisjoinMember { member, survivor });
    world.run_and_succeed(Step::ScaleStatefulSet { from: 3, to: 2 });
    world.state.leaving.clear();
    world.set_replicas(2);
    world.seen.pods.remove(&2);
    world.seen.claims.remove(&2);
    world.seen.reports.remove(&2);
    world.everybody_lists(&[0, 1]);
    roles(&mut world, 0, None);
    assert_eq!(names(&world.decide()), ["operation_ended"]);
    world.follow(world.decide());
    assert_eq!(kind(&world.settled()), replica_on(1));
    assert_eq!(world.state.members[&1].claim_uid, claim_uid(1));
}

/// The primary of three is lost, and its pod has not been ready for so long.
fn unready_for(span: Duration) -> World {
    let mut world = group(3, 0, Some(1));
    lose(&mut world, 0);
    world.pod_with(0, 1);
    let pod = world.seen.pods.get_mut(&0).unwrap();
    (pod.running, pod.ready) = (false, false);
    world.time_us = 7_000_000_000;
    pod.unready_since_us = Some(world.time_us - i64::try_from(span.as_micros()).unwrap());
    world
}

#[test]
fn the_grace_counts_from_when_the_primarys_pod_was_not_ready_also_for_an_operator_that_just_began()
{
    let almost = GRACE - Duration::from_secs(1);
    assert_eq!(reason(&unready_for(almost).settled()), Some(Reason::MemberUnreachable));
    let mut world = unready_for(GRACE);
    assert_eq!(reason(&world.decide()), Some(Reason::MemberUnreachable), "seen once");
    let decision = world.settled();
    let goal = Goal::Primary { ordinal: 1, name: "c-1".into() };
    assert_eq!(kind(&decision), Some((OperationKind::PrimarySwitch, goal)));
    let mut world = unready_for(Duration::ZERO);
    world.seen.pods.get_mut(&0).unwrap().unready_since_us = Some(i64::MAX);
    assert_eq!(reason(&world.settled()), Some(Reason::MemberUnreachable), "a clock that is ahead");
}

/// Its own wall clock tells the operator nothing of how old something of Kubernetes' is.
#[test]
fn a_wall_clock_that_is_wrong_neither_shortens_nor_extends_the_grace() {
    const TEN_MINUTES_US: i64 = 600_000_000;
    let mut ahead = unready_for(GRACE - Duration::from_secs(1));
    ahead.wall_is_ahead_us = TEN_MINUTES_US;
    assert_eq!(reason(&ahead.settled()), Some(Reason::MemberUnreachable));
    let mut behind = unready_for(GRACE);
    behind.wall_is_ahead_us = -TEN_MINUTES_US;
    assert!(matches!(behind.settled(), Decision::Begin { .. }));
    // Before the API server told its time, only what this process watched counts.
    let mut untold = unready_for(GRACE * 2);
    untold.settled();
    let inputs = Inputs { server_us: None, ..untold.inputs() };
    assert_eq!(reason(&crate::decide::decide(inputs)), Some(Reason::MemberUnreachable));
}
