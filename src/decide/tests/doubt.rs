//! What a step in doubt is settled by, while other things come and go.

use std::time::Duration;

use xsld_journal::event::{Cause, Event, Goal, OperationKind, Step};

use super::{disjoining, events, joining};
use crate::decide::Decision;
use crate::decide::testing::World;
use crate::xsld::view::TaskStatus;

/// What is recorded within these seconds, while `flap` changes the world in each.
fn recorded(
    world: &mut World,
    seconds: u32,
    mut flap: impl FnMut(&mut World, u32),
) -> Option<(u32, Vec<&'static str>)> {
    for second in 0..seconds {
        flap(world, second);
        let found = events(&world.after(Duration::from_secs(1)));
        if !found.is_empty() {
            return Some((second, found));
        }
    }
    None
}

/// The process of a member crashes, and its view with it.
fn crash(world: &mut World, ordinal: u32, second: u32, views: &[u32]) {
    world.pod_with(ordinal, if second.is_multiple_of(2) { 1 } else { second + 2 });
    if second.is_multiple_of(2) && ordinal < 3 {
        world.report(ordinal, views);
    }
    world.seen.pods.get_mut(&ordinal).unwrap().running = second.is_multiple_of(2);
}

#[test]
fn who_is_not_needed_keeps_no_join_in_doubt_and_who_is_does() {
    for (crashing, decided) in [(7, true), (2, true), (0, false)] {
        let (mut world, key) = joining(3, 3);
        world.task(3, key, TaskStatus::Failed);
        world.pod_with(7, 1);
        let found = recorded(&mut world, 40, |world, second| {
            crash(world, crashing, second, &[0, 1, 2]);
        });
        let found = found.map(|(_, events)| events);
        assert_eq!(found, decided.then(|| vec!["step_failed"]), "c-{crashing} crashes");
    }
}

#[test]
fn who_contradicted_a_moment_ago_has_not_been_forgotten() {
    let (mut world, key) = joining(3, 3);
    world.task(3, key, TaskStatus::Failed);
    // A member lists the joining one, whenever it answers.
    let found = recorded(&mut world, 40, |world, second| crash(world, 1, second, &[0, 1, 2, 3]));
    assert_eq!(found, None);
}

#[test]
fn who_is_not_asked_keeps_no_removal_in_doubt_and_the_one_that_leaves_need_not_even_run() {
    for (crashing, decided) in [(7, true), (2, true), (1, true), (0, false)] {
        let (mut world, key) = disjoining(3);
        world.everybody_lists(&[0, 1]);
        world.report(2, &[2]);
        world.task(0, key, TaskStatus::Success);
        world.pod_with(7, 1);
        let found = recorded(&mut world, 40, |world, second| {
            crash(world, crashing, second, &[0, 1]);
            if crashing == 0 {
                // It would answer as another process that nobody has recorded yet.
                world.seen.reports.remove(&0);
            }
        });
        let found = found.map(|(_, events)| events);
        assert_eq!(found, decided.then(|| vec!["step_succeeded"]), "c-{crashing} crashes");
    }
}

/// The last of four leaves, and this one was asked for that.
fn leaving(through: u32) -> World {
    let mut world = World::group(4);
    world.wanted.size = 3;
    world.apply(Event::OperationBegun {
        kind: OperationKind::ScaleDown,
        goal: Goal::Members { size: 3, catalogs: 3 },
        cause: Cause { generation: 1, reason: "test".into() },
    });
    let (member, survivor) = (world.member(3), world.survivor(through));
    world.intend(Step::DisjoinMember { member, survivor });
    world.observe();
    world
}

#[test]
fn a_removal_is_void_when_who_was_asked_for_it_is_gone_however_often_it_dies_again() {
    let mut world = leaving(1);
    let orphan = u32::try_from(world.times.orphan.as_secs()).unwrap();
    // It is silent for a while before it dies.
    assert_eq!(recorded(&mut world, 45, |world, _| world.pod_with(1, 1)), None);
    let found = recorded(&mut world, orphan + 60, |world, second| {
        world.pod_with(1, second + 2);
        world.seen.pods.get_mut(&1).unwrap().running = second.is_multiple_of(2);
    });
    let (second, events) = found.unwrap();
    assert!((orphan - 2..orphan + 2).contains(&second), "{second}");
    assert_eq!(events, ["step_void"]);
}

/// Two of three catalogs never answer and are down every other second: then the third one alone would
/// be a majority.
#[test]
fn an_absence_that_is_proven_only_now_and_then_is_none() {
    let mut world = leaving(0);
    world.report(0, &[0, 1, 2]);
    let found = recorded(&mut world, 400, |world, second| {
        for ordinal in [1, 2] {
            world.pod_with(ordinal, 1);
            world.seen.pods.get_mut(&ordinal).unwrap().running = second.is_multiple_of(2);
        }
    });
    assert!(!found.is_some_and(|(_, events)| events.contains(&"step_succeeded")));
}

#[test]
fn a_member_that_the_others_do_not_list_is_lost_unless_it_contradicts() {
    type Flap = fn(&mut World, u32);
    let flaps: [(Flap, bool, &str); 3] = [
        (|world, second| world.pod_with(7, second + 2), true, "a stranger"),
        (|world, second| world.pod_with(2, second + 2), true, "one that never answers"),
        (
            |world, second| match second % 2 {
                0 => world.report(2, &[0, 1, 2]),
                _ => drop(world.seen.reports.remove(&2)),
            },
            false,
            "one that answers",
        ),
    ];
    for (flap, lost, who) in flaps {
        let mut world = World::group(3);
        world.everybody_lists(&[0, 1]);
        world.seen.reports.remove(&2);
        let mut found = false;
        for second in 0..60 {
            flap(&mut world, second);
            let decision = world.after(Duration::from_secs(1));
            found |= events(&decision) == ["member_lost"];
            if matches!(decision, Decision::Begin { .. }) {
                world.follow(decision);
            }
        }
        assert_eq!(found, lost, "{who} crashes");
    }
}

/// A join is void when its process is gone for as long as what it left behind may last. That runs from
/// its end, however long it was silent before, and however often others die after it.
#[test]
fn a_process_that_was_asked_counts_as_gone_from_its_end_on() {
    let (mut world, _) = joining(1, 1);
    world.pod_with(1, 1);
    let orphan = u32::try_from(world.times.orphan.as_secs()).unwrap();
    let silent = recorded(&mut world, orphan, |_, _| {});
    assert!(silent.is_some_and(|(_, events)| events == ["operation_parked"]));
    world.follow(world.decide());
    assert_eq!(recorded(&mut world, orphan, |_, _| {}), None);
    // Nobody wants it any more, and it crashes again and again, without ever answering.
    world.wanted.size = 1;
    let found = recorded(&mut world, orphan + 60, |world, second| {
        world.pod_with(1, second + 2);
        world.seen.pods.get_mut(&1).unwrap().running = second.is_multiple_of(2);
    });
    let (second, events) = found.unwrap();
    assert!((orphan - 2..orphan + 2).contains(&second), "{second}");
    assert_eq!(events.last(), Some(&"step_void"));
}

/// A probe counts what the step rests on, too: a doubt is told as one that was probed.
#[test]
fn a_doubt_is_probed_while_something_else_keeps_changing() {
    let (mut world, _) = joining(1, 1);
    world.pod_with(1, 1);
    world.pod_with(7, 1);
    let found = recorded(&mut world, 200, |world, second| world.pod_with(7, second + 2));
    assert!(found.is_some_and(|(_, events)| events == ["operation_parked"]));
    assert_eq!(world.watch.probes(), crate::decide::watch::PROBES_MAX);
}

/// Nothing can be told of the group from the moment of the request on, and nothing ever rests.
#[test]
fn a_doubt_without_a_view_that_never_comes_to_rest_is_parked_too() {
    let (mut world, _) = joining(1, 1);
    let found = recorded(&mut world, 2000, |world, second| world.pod_with(0, second + 2));
    assert!(found.is_some_and(|(_, events)| events == ["operation_parked"]));
    assert_eq!(world.watch.probes(), 0);
}

#[test]
fn who_stands_behind_an_entry_is_the_same_doubt_while_nobody_tells_of_the_group() {
    let mut world = World::group(2);
    world.pod_with(2, 1);
    world.everybody_lists(&[0, 1]);
    for ordinal in 0..2 {
        world.report(ordinal, &[0, 1, 2]);
    }
    let mut seen = world.seen.clone();
    for second in 0..60_u32 {
        std::mem::swap(&mut world.seen, &mut seen);
        if second % 2 == 1 {
            world.seen.reports.clear();
        }
        world.after(Duration::from_secs(1));
    }
    assert_eq!(world.watch.undecided(), Some("stray"));
    assert!(world.watch.undecided_for() > Duration::from_secs(50));
}

#[test]
fn a_doubt_that_never_comes_to_rest_is_parked_all_the_same() {
    let (mut world, _) = joining(1, 1);
    let mut parked = None;
    for second in 0..2000_u32 {
        // The joining member's container runs and ends, again and again.
        world.seen.pods.get_mut(&1).unwrap().running = second % 10 < 5;
        if second % 10 < 5 {
            world.seen.reports.remove(&1);
        } else {
            world.report(1, &[1, 7]);
        }
        let decision = world.after(Duration::from_secs(1));
        assert_eq!(world.watch.probes(), 0, "no probe ran its full time");
        if events(&decision) == ["operation_parked"] {
            parked = Some(second);
            break;
        }
    }
    assert!(parked.is_some_and(|second| second > 60), "{parked:?}");
}

/// It is parked because the joining member tells nothing; then that one says that nothing ever came.
#[test]
fn what_was_parked_in_silence_is_sent_once_its_member_says_that_nothing_came() {
    let (mut world, key) = joining(3, 3);
    world.seen.reports.remove(&3);
    world.watch.unsettle();
    let found = recorded(&mut world, 1000, |_, _| {});
    assert_eq!(found.map(|(_, events)| events), Some(vec!["operation_parked"]));
    world.follow(world.decide());
    world.after(Duration::from_secs(1));
    world.report(3, &[3]);
    let found = recorded(&mut world, 60, |_, _| {});
    assert_eq!(found.map(|(_, events)| events), Some(vec!["operation_resumed"]));
    world.follow(world.decide());
    world.observe();
    assert_eq!(world.decide(), Decision::Resend { key });
    // Sent again and again, and nothing comes of it: that is no news any more.
    let found = recorded(&mut world, 1000, |_, _| {});
    assert_eq!(found.map(|(_, events)| events), Some(vec!["operation_parked"]));
    world.follow(world.decide());
    assert_eq!(recorded(&mut world, 1000, |_, _| {}), None);
}
