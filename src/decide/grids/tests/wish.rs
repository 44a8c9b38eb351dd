//! What is still to be done of a step on a grid when it would be sent again.

use super::*;

#[test]
fn a_grid_that_is_online_again_is_not_deleted_for_its_recovery() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    let Decision::Run { step, .. } = world.settled() else { panic!("nothing is sent") };
    assert!(matches!(step, Step::DeleteGrid { .. }));
    let key = world.intend(step);
    assert_eq!(world.settled(), Decision::Resend { key }, "it is in error as before");
    show(&mut world, Some(GridStatus::Online));
    let Decision::InDoubt(waiting) = world.settled() else { panic!("it is sent again") };
    assert!(waiting.message.contains("is not sent again"), "{}", waiting.message);
    let later = world.times.orphan;
    let Decision::Record(events) = world.after(later) else { panic!("it blocks for ever") };
    assert!(events.iter().any(|event| event.name() == "step_void"), "{events:?}");
}

#[test]
fn a_deletion_that_is_not_wanted_any_more_is_not_sent_again() {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    assert!(matches!(world.settled(), Decision::Resend { .. }));
    world.wanted.grids.get_mut(UID).unwrap().delete_grid = false;
    assert!(!matches!(world.settled(), Decision::Resend { .. }), "deletionPolicy: Retain");
}

#[test]
fn a_change_is_not_taken_for_done_because_another_one_is_wanted_by_now() {
    let mut world = changing();
    world.wanted.grids.get_mut(UID).unwrap().digest = "d3".into();
    assert!(matches!(world.settled(), Decision::InDoubt(_)), "nobody knows what became of it");
    let later = world.times.orphan;
    let Decision::Record(events) = world.after(later) else { panic!("it blocks for ever") };
    assert!(events.iter().any(|event| event.name() == "step_void"), "{events:?}");
}

#[test]
fn a_refusal_of_the_password_is_not_one_of_the_grid() {
    assert!(is_permanent("refused 400: no such field"));
    assert!(!is_permanent("refused 401: who are you"));
    assert!(!is_permanent("refused 403: not you"));
}

#[test]
fn what_is_only_put_off_is_neither_given_up_nor_void() {
    let mut world = changing();
    world.wanted.paused = true;
    let Decision::InDoubt(waiting) = world.settled() else { panic!("it is sent in spite of that") };
    assert_eq!(waiting.reason, Reason::Paused);
    world.wanted.paused = false;
    assert!(matches!(world.settled(), Decision::Resend { .. }), "it is still to be done");
}

#[test]
fn a_grid_in_error_is_not_deleted_again_while_a_member_is_away_that_may_hold_its_entries() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    let Decision::Run { step, .. } = world.settled() else { panic!("nothing is sent") };
    world.intend(step);
    assert!(matches!(world.settled(), Decision::Resend { .. }));
    world.seen.reports.remove(&1);
    world.seen.pods.get_mut(&1).unwrap().ready = false;
    let decision = world.settled();
    assert!(!matches!(decision, Decision::Resend { .. }), "{decision:?}");
}

#[test]
fn another_member_that_would_be_asked_now_makes_it_no_other_wish() {
    let mut world = changing();
    let open = world.state.operation.as_mut().unwrap().step.as_mut().unwrap();
    let Step::UpdateGrid { through, .. } = &mut open.step else { panic!() };
    (through.ordinal, through.name) = (1, "c-1".into());
    assert!(matches!(world.settled(), Decision::Resend { .. }));
}

/// It may bring the grid back with it, so what counts is how long it is there again.
#[test]
fn a_grid_in_error_is_made_again_only_a_while_after_the_last_member_came_back() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    world.seen.reports.remove(&1);
    let Decision::Wait(waiting) = world.settled() else { panic!("c-1 is away") };
    assert!(waiting.message.contains("c-1"), "{}", waiting.message);
    world.report(1, &[0, 1]);
    let Decision::Wait(waiting) = world.after(Duration::from_secs(1)) else { panic!("at once") };
    assert!(waiting.message.contains("recovery 1 is due once"), "{}", waiting.message);
    let Decision::Run { step, .. } = world.settled() else { panic!("never") };
    assert!(matches!(step, Step::DeleteGrid { .. }));
}

#[test]
fn a_grid_in_error_waits_for_no_other_grid_and_no_pod_that_is_no_member() {
    let mut world = world(GridStatus::Error);
    let mut begun = false;
    for second in 0..30 {
        world.pod_with(7, second + 2);
        let status = [GridStatus::Error, GridStatus::Online][second as usize % 2].clone();
        let mut other = view(status);
        other.name = "h".into();
        let grids = [("g".to_owned(), view(GridStatus::Error)), ("h".to_owned(), other)];
        world.seen.grids = Some(Answer::Known(grids.into_iter().collect()));
        let decision = world.after(Duration::from_secs(1));
        begun |= matches!(&decision, Decision::Begin { kind: OperationKind::GridRecover, .. });
    }
    assert!(begun);
}

/// What is put off again and again, and each time a little too short for a probe, is told as well.
#[test]
fn what_is_put_off_while_the_world_keeps_changing_is_told_in_time() {
    let mut world = changing();
    world.wanted.paused = true;
    let mut parked = false;
    for second in 0..3000_u32 {
        let report = world.seen.reports.get_mut(&0).unwrap();
        report.tasks = match second % 40 {
            0 => Answer::Unknown { reason: "no answer".into() },
            _ => Answer::Known(vec![]),
        };
        let Decision::Record(events) = world.after(Duration::from_secs(1)) else { continue };
        parked |= events.iter().any(|event| event.name() == "operation_parked");
        assert!(parked, "{events:?}");
        break;
    }
    assert!(parked);
}
