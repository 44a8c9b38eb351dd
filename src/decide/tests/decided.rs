//! A parked operation goes on, or ends, as a person decided.

use super::*;

/// A join that no evidence decided: the member's tasks cannot be read.
fn parked() -> (World, StepKey) {
    let (mut world, key) = joining(1, 1);
    world.seen.reports.get_mut(&1).unwrap().tasks = Answer::Unknown { reason: "no".into() };
    for _ in 0..crate::decide::watch::PROBES_MAX {
        world.settled();
    }
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_parked"]);
    world.follow(decision);
    (world, key)
}

/// A join that was tried as often as it may be.
fn exhausted() -> World {
    let (mut world, _) = joining(1, 1);
    for _ in 0..ATTEMPTS_MAX {
        let key = world.state.open_step().unwrap().key;
        world.apply(Event::StepFailed { key, reason: "x".into(), evidence: "{}".into() });
        let decision = world.settled();
        world.follow(decision);
    }
    assert!(world.state.operation.as_ref().unwrap().parked.is_some());
    world
}

fn say(world: &mut World, decision: &str) {
    let (who, why) = ("ada".to_owned(), "I looked".to_owned());
    world.apply(Event::Decided { who, decision: decision.to_owned(), why });
}

fn told(decision: &Decision) -> String {
    format!("{decision:?}")
}

#[test]
fn retry_resumes_and_counts_the_probes_from_nothing() {
    let (mut world, key) = parked();
    say(&mut world, "retry");
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_resumed"]);
    assert!(told(&decision).contains("ada decided retry: I looked"));
    world.follow(decision);
    world.observe();
    assert_eq!(world.watch.probes(), 0);
    assert_eq!(reason(&world.decide()), Some(Reason::InDoubt));
    assert_eq!(world.state.open_step().unwrap().key, key, "the same attempt is looked for");
}

#[test]
fn retry_gives_a_step_its_attempts_anew() {
    let mut world = exhausted();
    say(&mut world, "retry");
    world.follow(world.decide());
    let decision = world.settled();
    assert_eq!(step(&decision), "join_member");
    world.follow(decision);
    let open = world.state.open_step().unwrap();
    assert_eq!(open.attempt, ATTEMPTS_MAX + 1, "the number goes on");
}

#[test]
fn void_ends_the_attempt_and_the_next_one_follows_a_settled_look() {
    let (mut world, key) = parked();
    say(&mut world, "void");
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_resumed", "step_void"]);
    world.follow(decision);
    assert!(world.state.open_step().is_none());
    world.seen.reports.get_mut(&1).unwrap().tasks = Answer::Known(vec![]);
    let decision = world.settled();
    assert_eq!(step(&decision), "join_member");
    world.follow(decision);
    assert_ne!(world.state.open_step().unwrap().key, key);
}

#[test]
fn done_is_the_persons_word_and_is_flagged_as_such() {
    let (mut world, _) = parked();
    say(&mut world, "done");
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_resumed", "step_succeeded"]);
    assert!(told(&decision).contains("flagged: Some(\"ada decided done: I looked\")"));
    world.follow(decision);
    assert!(world.state.members.contains_key(&1));
}

#[test]
fn abandon_ends_the_operation_as_failed_with_or_without_a_step_in_doubt() {
    let (mut world, _) = parked();
    say(&mut world, "abandon");
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_resumed", "step_void", "operation_ended"]);
    world.follow(decision);
    assert!(world.state.operation.is_none());
    let ended = world.state.recent.back().unwrap();
    assert!(matches!(&ended.end, End::Failed { reason } if reason.contains("ada decided abandon")));
    let mut world = exhausted();
    say(&mut world, "abandon");
    assert_eq!(events(&world.decide()), ["operation_resumed", "operation_ended"]);
}

#[test]
fn what_is_done_aside_ends_before_the_step_itself() {
    let (mut world, _) = joining(1, 1);
    world.intend(Step::CancelTask { member: world.member(1), task: 7 });
    world.apply(Event::OperationParked { reason: "InDoubt".into(), message: "look".into() });
    say(&mut world, "void");
    let decision = world.decide();
    assert_eq!(events(&decision), ["operation_resumed", "step_void", "step_void"]);
    world.follow(decision);
    assert!(world.state.open_cancel().is_none() && world.state.open_step().is_none());
}

#[test]
fn a_word_that_is_none_of_the_decisions_changes_nothing() {
    let (mut world, _) = parked();
    let before = world.decide();
    say(&mut world, "go on");
    assert_eq!(world.decide(), before);
}

#[test]
fn evidence_that_came_first_makes_the_word_needless() {
    let (mut world, key) = parked();
    world.everybody_lists(&[0, 1]);
    world.task(1, key, TaskStatus::Success);
    world.follow(world.decide());
    assert!(world.state.operation.as_ref().is_none_or(|open| open.decided.is_none()));
    say_nothing_is_left(&world);
}

fn say_nothing_is_left(world: &World) {
    let open = world.state.operation.as_ref();
    assert!(open.is_none_or(|open| xsld_journal::decision::Choice::legal(open).is_empty()));
}
