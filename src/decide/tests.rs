//! What decisions promise, told on a small world.

use xsld_journal::event::{End, Event, Goal, OperationKind, Receipt, Step};

use super::testing::{OPERATION, World, claim_uid};
use super::{ATTEMPTS_MAX, Decision, views};
use crate::crd::conditions::ConditionReason as Reason;
use crate::xsld::view::{Answer, TaskStatus};
use xsld_journal::event::StepKey;

fn reason(decision: &Decision) -> Option<Reason> {
    match decision {
        Decision::Wait(waiting) | Decision::InDoubt(waiting) => Some(waiting.reason),
        _ => None,
    }
}

fn events(decision: &Decision) -> Vec<&'static str> {
    match decision {
        Decision::Record(events) => events.iter().map(Event::name).collect(),
        _ => vec![],
    }
}

fn step(decision: &Decision) -> &'static str {
    match decision {
        Decision::Run { step, .. } => step.name(),
        _ => "none",
    }
}

/// Scales the world's spec and follows decisions up to the join of `ordinal`.
fn joining(size: u32, ordinal: u32) -> (World, StepKey) {
    let mut world = World::group(size);
    world.wanted.size = ordinal + 1;
    world.follow(world.decide());
    world.run_and_succeed(Step::ScaleStatefulSet { from: size, to: ordinal + 1 });
    world.set_replicas(ordinal + 1);
    world.pod_up(ordinal);
    let decision = world.decide();
    assert_eq!(step(&decision), "join_member");
    world.follow(decision);
    let key = world.state.open_step().unwrap().key;
    (world, key)
}

#[test]
fn a_group_that_is_as_wanted_rests() {
    for size in 1..5 {
        assert_eq!(World::group(size).settled(), Decision::Rest, "size {size}");
    }
}

#[test]
fn no_first_pod_is_made_of_a_secret_that_breaks_a_rule_and_a_running_cache_goes_on() {
    let held = Some(super::Waiting::new(Reason::SecretInvalid, "the Secret s key k must ..."));
    let mut world = World::new(1);
    world.wanted.held.clone_from(&held);
    world.follow(world.decide());
    assert_eq!(reason(&world.decide()), Some(Reason::SecretInvalid));
    world.wanted.deleting = true;
    assert_ne!(reason(&world.decide()), Some(Reason::SecretInvalid), "it can be deleted");
    world.wanted.deleting = false;
    world.wanted.held = None;
    assert!(matches!(world.decide(), Decision::Begin { kind: OperationKind::Bootstrap, .. }));
    let mut running = World::group(2);
    running.wanted.held = held;
    assert_eq!(running.settled(), Decision::Rest);
}

#[test]
fn a_new_cache_is_opened_bootstrapped_and_joined_in_order() {
    let mut world = World::new(2);
    assert_eq!(events(&world.decide()), ["cache_opened"]);
    world.follow(world.decide());
    let decision = world.decide();
    assert!(matches!(decision, Decision::Begin { kind: OperationKind::Bootstrap, .. }));
    world.follow(decision);
    assert_eq!(step(&world.decide()), "set_template");
    world.run_and_succeed(Step::SetTemplate {
        digest: "d1".into(),
        template: xsld_journal::event::Text::Inline("{}".into()),
    });
    assert_eq!(step(&world.decide()), "scale_stateful_set");
    world.run_and_succeed(Step::ScaleStatefulSet { from: 0, to: 2 });
    world.set_replicas(2);
    assert_eq!(reason(&world.decide()), Some(Reason::WaitingForPods));
    world.pod_up(1);
    assert_eq!(reason(&world.decide()), Some(Reason::WaitingForPods), "pod-0 is the group");
    world.pod_up(0);
    assert_eq!(events(&world.decide()), ["bootstrapped"]);
    world.follow(world.decide());
    assert_eq!(step(&world.decide()), "join_member");
}

#[test]
fn a_running_join_is_adopted_whoever_sent_it() {
    let (mut world, key) = joining(1, 1);
    world.task(1, key, TaskStatus::Running);
    assert_eq!(reason(&world.settled()), Some(Reason::Joining));
}

#[test]
fn a_join_that_the_group_and_the_member_confirm_succeeds_at_once() {
    let (mut world, key) = joining(1, 1);
    world.everybody_lists(&[0, 1]);
    world.task(1, key, TaskStatus::Success);
    world.watch.sent_here = Some(key);
    let decision = world.decide();
    assert_eq!(events(&decision), ["step_succeeded"]);
    let Decision::Record(recorded) = &decision else { panic!("{decision:?}") };
    assert!(matches!(recorded[0], Event::StepSucceeded { found_by_probe: false, .. }));
    world.follow(decision);
    assert!(world.state.members.contains_key(&1));
}

#[test]
fn a_join_found_done_after_a_crash_is_marked_as_found_by_probe() {
    let (mut world, key) = joining(1, 1);
    world.everybody_lists(&[0, 1]);
    world.task(1, key, TaskStatus::Success);
    let Decision::Record(recorded) = world.decide() else { panic!("not recorded") };
    assert!(matches!(recorded[0], Event::StepSucceeded { found_by_probe: true, .. }));
}

#[test]
fn a_lost_request_is_sent_again_only_after_two_equal_observations() {
    let (mut world, key) = joining(1, 1);
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt));
    assert_eq!(world.settled(), Decision::Resend { key });
}

#[test]
fn a_lost_request_is_not_sent_again_beside_another_task() {
    let (mut world, key) = joining(1, 1);
    world.task(0, StepKey(uuid::Uuid::from_u128(99)), TaskStatus::Running);
    assert_eq!(reason(&world.settled()), Some(Reason::ForeignTask));
    world.task(0, StepKey(uuid::Uuid::from_u128(99)), TaskStatus::Success);
    assert_eq!(world.settled(), Decision::Resend { key });
}

#[test]
fn an_attempt_of_a_process_that_died_is_void_only_after_the_orphan_time() {
    let (mut world, _) = joining(1, 1);
    world.pod_with(1, 2);
    world.report(1, &[1]);
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt));
    assert_eq!(events(&world.after(world.times.orphan)), ["step_void"]);
}

#[test]
fn a_half_joined_member_loses_its_ghost_entry_before_it_joins_again() {
    let (mut world, key) = joining(1, 1);
    world.report(0, &[0, 1]);
    world.task(1, key, TaskStatus::Failed);
    let decision = world.settled();
    assert_eq!(events(&decision), ["step_failed"]);
    world.follow(decision);
    let decision = world.settled();
    assert_eq!(step(&decision), "remove_ghost_member");
    world.follow(decision);
    let removal = world.state.open_step().unwrap().key;
    world.report(0, &[0]);
    world.task(0, removal, TaskStatus::Success);
    let decision = world.settled();
    assert_eq!(events(&decision), ["step_succeeded"]);
    world.follow(decision);
    let decision = world.settled();
    assert_eq!(step(&decision), "join_member");
    world.follow(decision);
    assert_eq!(world.state.open_step().unwrap().attempt, 2);
}

#[test]
fn a_member_left_in_another_group_by_our_attempt_is_reset() {
    let (mut world, key) = joining(2, 2);
    world.report(2, &[2, 7]);
    world.task(2, key, TaskStatus::Failed);
    let decision = world.settled();
    world.follow(decision);
    world.seen.reports.get_mut(&2).unwrap().lists_grids = Some(false);
    assert_eq!(step(&world.settled()), "reset_member");
    world.wanted.reset_half_joined = false;
    assert_eq!(reason(&world.settled()), Some(Reason::Parked));
}

#[test]
fn a_half_joined_member_that_lists_grids_is_wiped_only_after_it_was_restarted() {
    let (mut world, key) = joining(2, 2);
    world.report(2, &[2, 7]);
    world.task(2, key, TaskStatus::Failed);
    let decision = world.settled();
    world.follow(decision);
    for listed in [Some(true), None] {
        world.seen.reports.get_mut(&2).unwrap().lists_grids = listed;
        assert_eq!(reason(&world.settled()), Some(Reason::Parked), "{listed:?}");
    }
    world.pod_with(2, 2);
    world.report(2, &[2, 7]);
    world.seen.reports.get_mut(&2).unwrap().lists_grids = Some(true);
    let decision = world.settled();
    assert_eq!(step(&decision), "reset_member", "{decision:?}");
}

#[test]
fn a_member_that_missed_its_own_removal_is_reset() {
    let (mut world, key) = joining(1, 1);
    world.report(0, &[0, 1]);
    world.task(1, key, TaskStatus::Failed);
    let decision = world.settled();
    world.follow(decision);
    let decision = world.settled();
    assert_eq!(step(&decision), "remove_ghost_member");
    world.follow(decision);
    let removal = world.state.open_step().unwrap().key;
    world.report(0, &[0]);
    world.task(0, removal, TaskStatus::Success);
    world.report(1, &[0, 1]);
    let Answer::Known(own) = &mut world.seen.reports.get_mut(&1).unwrap().group else { panic!() };
    own.stale = true;
    world.seen.reports.get_mut(&1).unwrap().lists_grids = Some(false);
    let decision = world.settled();
    world.follow(decision);
    assert_eq!(step(&world.settled()), "reset_member");
}

#[test]
fn attempts_end_and_a_person_is_asked() {
    let (mut world, _) = joining(1, 1);
    for _ in 0..ATTEMPTS_MAX {
        let key = world.state.open_step().unwrap().key;
        world.apply(Event::StepFailed { key, reason: "x".into(), evidence: "{}".into() });
        let decision = world.settled();
        world.follow(decision);
    }
    assert!(world.state.operation.as_ref().unwrap().parked.is_some());
    assert_eq!(reason(&world.settled()), Some(Reason::Parked));
    world.wanted.size = 1;
    assert_eq!(events(&world.decide()), ["operation_ended"]);
}

#[test]
fn a_step_that_no_evidence_decides_is_parked_and_resumed_by_evidence() {
    let (mut world, key) = joining(1, 1);
    world.seen.reports.get_mut(&1).unwrap().tasks = Answer::Unknown { reason: "no".into() };
    for _ in 0..super::watch::PROBES_MAX {
        world.settled();
    }
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_parked"]);
    world.follow(decision);
    world.everybody_lists(&[0, 1]);
    world.task(1, key, TaskStatus::Success);
    assert_eq!(events(&world.decide()), ["operation_resumed", "step_succeeded"]);
}

#[test]
fn nothing_joins_beside_a_foreign_task() {
    let mut world = World::group(1);
    world.wanted.size = 2;
    world.follow(world.decide());
    world.run_and_succeed(Step::ScaleStatefulSet { from: 1, to: 2 });
    world.set_replicas(2);
    world.pod_up(1);
    world.task(0, StepKey(uuid::Uuid::from_u128(99)), TaskStatus::Running);
    assert_eq!(reason(&world.settled()), Some(Reason::ForeignTask));
}

#[test]
fn nothing_is_disjoined_while_the_members_that_stay_disagree() {
    let mut world = World::group(3);
    world.wanted.size = 2;
    world.report(1, &[0, 1]);
    world.follow(world.decide());
    assert_eq!(reason(&world.settled()), Some(Reason::ViewsDiffer));
    world.report(1, &[0, 1, 2]);
    assert_eq!(step(&world.decide()), "disjoin_member");
}

/// Scales down by one and follows decisions up to the disjoin.
fn disjoining(size: u32) -> (World, StepKey) {
    let mut world = World::group(size);
    world.wanted.size = size - 1;
    world.follow(world.decide());
    assert_eq!(world.state.operation.as_ref().unwrap().kind, OperationKind::ScaleDown);
    let decision = world.decide();
    assert_eq!(step(&decision), "disjoin_member");
    world.follow(decision);
    let key = world.state.open_step().unwrap().key;
    (world, key)
}

#[test]
fn a_member_goes_by_disjoin_then_replicas_then_pod_then_claim_with_its_receipt() {
    let (mut world, key) = disjoining(2);
    world.task(0, key, TaskStatus::Success);
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt), "still listed");
    world.report(0, &[0]);
    world.task(0, key, TaskStatus::Success);
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt), "absent only once");
    let decision = world.settled();
    world.follow(decision);
    assert_eq!(step(&world.decide()), "scale_stateful_set");
    world.run_and_succeed(Step::ScaleStatefulSet { from: 2, to: 1 });
    world.set_replicas(1);
    assert_eq!(reason(&world.decide()), Some(Reason::ReclaimingVolume));
    world.seen.pods.remove(&1);
    world.seen.reports.remove(&1);
    let decision = world.decide();
    let Decision::Run { step: Step::DeleteVolume { claim_uid: uid, receipt, .. }, .. } = &decision
    else {
        panic!("{decision:?}")
    };
    assert_eq!(*uid, claim_uid(1));
    assert!(matches!(receipt, Receipt::Disjoined { .. }));
    world.follow(decision);
    world.seen.claims.remove(&1);
    world.follow(world.decide());
    assert_eq!(events(&world.decide()), ["operation_ended"]);
}

#[test]
fn a_retained_volume_is_recorded_and_never_deleted() {
    let (mut world, key) = disjoining(2);
    world.wanted.delete_scaled_volumes = false;
    world.report(0, &[0]);
    world.task(0, key, TaskStatus::Success);
    let decision = world.settled();
    world.follow(decision);
    world.run_and_succeed(Step::ScaleStatefulSet { from: 2, to: 1 });
    world.set_replicas(1);
    world.seen.pods.remove(&1);
    world.seen.reports.remove(&1);
    let decision = world.decide();
    assert_eq!(events(&decision), ["volume_retained"]);
    world.follow(decision);
    world.follow(world.decide());
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn a_disjoin_is_a_one_way_barrier_even_when_the_size_goes_up_again() {
    let (mut world, key) = disjoining(3);
    world.wanted.size = 5;
    world.task(0, key, TaskStatus::Running);
    assert_eq!(reason(&world.settled()), Some(Reason::Disjoining));
    world.everybody_lists(&[0, 1]);
    world.task(0, key, TaskStatus::Success);
    let decision = world.settled();
    world.follow(decision);
    let decision = world.decide();
    assert!(matches!(&decision, Decision::Record(events)
        if matches!(&events[0], Event::OperationEnded { end: End::Superseded { .. } })));
    world.follow(decision);
    world.follow(world.decide());
    let decision = world.decide();
    let Decision::Run { step: Step::ScaleStatefulSet { from, to }, .. } = decision else {
        panic!("{decision:?}")
    };
    assert_eq!((from, to), (3, 2), "the member that left goes before anybody joins");
}

#[test]
fn absence_from_a_stale_view_proves_nothing() {
    let (mut world, key) = disjoining(2);
    world.report(0, &[0]);
    world.task(0, key, TaskStatus::Success);
    if let Answer::Known(view) = &mut world.seen.reports.get_mut(&0).unwrap().group {
        view.stale = true;
    }
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt));
}

#[test]
fn a_member_that_never_joined_is_dropped_with_that_receipt() {
    let mut world = World::group(1);
    world.wanted.size = 3;
    world.follow(world.decide());
    world.run_and_succeed(Step::ScaleStatefulSet { from: 1, to: 3 });
    world.set_replicas(3);
    world.pod_up(2);
    world.pod_with(1, 1);
    world.wanted.size = 1;
    world.follow(world.decide());
    world.follow(world.decide());
    assert_eq!(reason(&world.decide()), Some(Reason::WaitingForPods));
    let decision = world.settled();
    assert_eq!(events(&decision), ["member_absent"]);
    world.follow(decision);
    let decision = world.decide();
    assert!(matches!(decision, Decision::Run { step: Step::ScaleStatefulSet { to: 2, .. }, .. }));
}

#[test]
fn a_member_that_never_joined_goes_before_one_below_it_that_left() {
    let mut world = World::group(2);
    world.wanted.size = 3;
    world.follow(world.decide());
    world.run_and_succeed(Step::ScaleStatefulSet { from: 2, to: 3 });
    world.set_replicas(3);
    world.pod_up(2);
    world.wanted.size = 1;
    world.follow(world.decide());
    world.follow(world.decide());
    let (member, survivor) = (world.member(1), world.survivor(0));
    world.run_and_succeed(Step::DisjoinMember { member, survivor });
    world.report(0, &[0]);
    world.report(1, &[1]);
    let decision = world.settled();
    assert_eq!(events(&decision), ["member_absent"], "its claim would be out of sight else");
    world.follow(decision);
    let decision = world.decide();
    assert!(matches!(decision, Decision::Run { step: Step::ScaleStatefulSet { to: 2, .. }, .. }));
}

#[test]
fn a_restarted_member_is_recorded_when_its_own_view_lists_it() {
    let mut world = World::group(3);
    world.pod_with(1, 2);
    assert_eq!(world.settled(), Decision::Rest, "it does not answer yet");
    world.report(1, &[0, 1, 2]);
    assert_eq!(events(&world.decide()), ["member_seen"]);
    world.follow(world.decide());
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn a_recorded_member_that_vanished_from_the_group_is_lost_and_joined_again() {
    let mut world = World::group(3);
    world.everybody_lists(&[0, 2]);
    world.report(1, &[1]);
    let decision = world.settled();
    assert!(matches!(decision, Decision::Begin { kind: OperationKind::Repair, .. }));
    world.follow(decision);
    let decision = world.settled();
    world.follow(decision);
    assert!(!world.state.members.contains_key(&1));
    assert_eq!(step(&world.settled()), "join_member");
}

#[test]
fn a_lost_volume_of_the_primary_is_told_and_nothing_is_done() {
    let mut world = World::group(2);
    world.seen.claims.get_mut(&0).unwrap().uid = "another".into();
    world.report(0, &[0]);
    assert_eq!(reason(&world.settled()), Some(Reason::PrimaryVolumeLost));
}

#[test]
fn a_pause_stops_at_a_step_boundary_and_not_within_a_step() {
    let (mut world, key) = joining(1, 1);
    world.wanted.paused = true;
    world.everybody_lists(&[0, 1]);
    world.task(1, key, TaskStatus::Success);
    assert_eq!(events(&world.decide()), ["step_succeeded"]);
    world.follow(world.decide());
    world.follow(world.decide());
    assert_eq!(reason(&world.decide()), Some(Reason::Paused));
}

#[test]
fn a_stalled_task_of_ours_is_cancelled_and_a_foreign_one_never() {
    let (mut world, key) = joining(1, 1);
    world.task(1, key, TaskStatus::Running);
    assert_eq!(step(&world.after(world.times.task_stall)), "cancel_task");
    world.task(1, StepKey(uuid::Uuid::from_u128(9)), TaskStatus::Running);
    assert_ne!(step(&world.after(world.times.task_stall)), "cancel_task");
}

#[test]
fn deletion_needs_no_member_and_keeps_volumes_by_policy() {
    for delete_volumes in [false, true] {
        let mut world = World::group(2);
        world.wanted.deleting = true;
        world.wanted.delete_volumes = delete_volumes;
        world.seen.reports.clear();
        world.follow(world.decide());
        assert_eq!(step(&world.decide()), "delete_stateful_set");
        world.run_and_succeed(Step::DeleteStatefulSet { uid: "set".into() });
        world.seen.stateful_set = None;
        assert_eq!(reason(&world.decide()), Some(Reason::Deleting));
        world.seen.pods.clear();
        if delete_volumes {
            for _ in 0..2 {
                let decision = world.decide();
                assert_eq!(step(&decision), "delete_volume");
                world.follow(decision);
                let ordinal = *world.seen.claims.keys().next().unwrap();
                world.seen.claims.remove(&ordinal);
                world.follow(world.decide());
            }
        }
        assert_eq!(events(&world.decide()), ["operation_ended", "cache_closed"]);
        world.follow(world.decide());
        assert_eq!(world.decide(), Decision::Rest);
    }
}

#[test]
fn deletion_in_the_middle_of_a_join_does_not_wait_for_a_member_that_is_gone() {
    let (mut world, _) = joining(1, 1);
    world.wanted.deleting = true;
    world.seen.reports.clear();
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt));
    assert_eq!(events(&world.settled()), ["step_void"]);
}

#[test]
fn views_that_differ_decide_nothing() {
    let (mut world, _) = joining(2, 2);
    world.report(0, &[0, 1, 2]);
    world.report(1, &[0, 1]);
    assert_eq!(reason(&world.settled()), Some(Reason::InDoubt));
}

#[test]
fn a_goal_is_superseded_only_between_steps() {
    let (mut world, key) = joining(1, 1);
    world.wanted.size = 4;
    world.task(1, key, TaskStatus::Running);
    assert_eq!(reason(&world.decide()), Some(Reason::Joining));
    let operation = world.state.operation.as_ref().unwrap();
    assert_eq!(operation.id, OPERATION);
    assert_eq!(operation.goal, Goal::Members { size: 2, catalogs: 3 });
}

#[test]
fn only_silence_at_rest_of_a_running_member_is_a_missed_answer() {
    let silent = || Answer::Unknown { reason: "timed out".to_owned() };
    let mut world = World::group(2);
    assert!(!views::missed_an_answer(&world.seen, &world.state));
    world.seen.reports.get_mut(&1).unwrap().group = silent();
    assert!(views::missed_an_answer(&world.seen, &world.state));
    // A member that Kubernetes shows to have ended is no matter of patience.
    world.seen.pods.get_mut(&1).unwrap().running = false;
    assert!(!views::missed_an_answer(&world.seen, &world.state));
    world.seen.pods.get_mut(&1).unwrap().running = true;
    world.seen.pods.get_mut(&1).unwrap().incarnation.restarts += 1;
    assert!(!views::missed_an_answer(&world.seen, &world.state), "another process");
    world = World::group(2);
    let report = world.seen.reports.get_mut(&1).unwrap();
    report.group = silent();
    report.untrusted = Some("another certificate".to_owned());
    assert!(!views::missed_an_answer(&world.seen, &world.state), "a finding of its own");
}

#[test]
fn a_member_whose_certificate_is_not_trusted_is_waited_for_and_told_as_such() {
    for (not_signed, told) in
        [(true, Reason::CertificateUntrusted), (false, Reason::CertificateChanged)]
    {
        let mut world = World::group(1);
        world.wanted.size = 2;
        world.follow(world.decide());
        world.run_and_succeed(Step::ScaleStatefulSet { from: 1, to: 2 });
        world.set_replicas(2);
        world.pod_up(1);
        let report = world.seen.reports.get_mut(&1).unwrap();
        report.group = Answer::Unknown { reason: "refused".to_owned() };
        report.untrusted = Some("another certificate".to_owned());
        report.not_signed = not_signed;
        assert_eq!(reason(&world.decide()), Some(told));
    }
}

mod decided;
mod doubt;
mod restarted;
mod wish;
