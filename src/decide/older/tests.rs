//! What an older spec does, and what it does not do before it is confirmed.

use std::time::Duration;

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Step};
use xsld_journal::state::{Acted, Older};

use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::testing::World;
use crate::decide::{Cascade, Decision};
use crate::observation::Observation;

/// A group of three that generation 7 was acted on for, and whose spec went back to generation 3 and
/// this size.
fn set_back(size: u32) -> World {
    let mut world = World::group(3);
    world.wanted.replicate = false;
    world.apply(Event::OperationBegun {
        kind: OperationKind::Repair,
        goal: Goal::Members { size: 3, catalogs: 3 },
        cause: Cause { generation: 7, reason: "test".into() },
    });
    world.apply(Event::OperationEnded { end: End::Succeeded });
    (world.wanted.generation, world.wanted.size) = (3, size);
    world
}

/// Follows what is recorded and begun, until something is run or waited for.
fn next(world: &mut World) -> Decision {
    for _ in 0..20 {
        match world.after(Duration::from_secs(7200)) {
            decision @ (Decision::Record(_) | Decision::Begin { .. }) => world.follow(decision),
            decision => return decision,
        }
    }
    panic!("it records and records");
}

fn older(world: &World) -> &Older {
    world.state.older.as_ref().unwrap()
}

/// The word that the message asks for.
fn word(world: &World) -> Option<String> {
    let told = super::told(&world.wanted, older(world)).message;
    told.rsplit_once("confirm-generation=").map(|(_, word)| word.to_owned())
}

fn waits_for_a_person(decision: &Decision) -> bool {
    matches!(decision, Decision::Wait(waiting) if waiting.reason == Reason::SpecOlder)
}

#[test]
fn an_older_spec_takes_nothing_away_and_tells_both_sizes() {
    let mut world = set_back(1);
    let Decision::Record(events) = world.decide() else { panic!("{:?}", world.decide()) };
    let found = Event::SpecOlder { generation: 3, size: 1, acted: 7, acted_size: Some(3) };
    assert_eq!(events, [found]);
    let Decision::Wait(told) = next(&mut world) else { panic!("{:?}", world.decide()) };
    assert_eq!(told.reason, Reason::SpecOlder);
    let exact = format!(
        "annotate xsldcache c -n ns --overwrite xsld.ibm.com/confirm-generation=3@{}",
        older(&world).seq
    );
    for words in ["generation 3 and asks for size 1", "generation 7 with size 3", &exact] {
        assert!(told.message.contains(words), "{}", told.message);
    }
    // Neither does one that was edited since, whatever its number is by now.
    for (generation, size) in [(9, 2), (10, 5)] {
        (world.wanted.generation, world.wanted.size) = (generation, size);
        assert!(waits_for_a_person(&next(&mut world)), "{:?}", world.decide());
    }
    // Nor is another pod template committed, or a lost member joined: it is a pause.
    (world.wanted.template.0, world.wanted.may_roll) = ("d2".into(), true);
    world.everybody_lists(&[0, 1]);
    assert!(waits_for_a_person(&next(&mut world)), "{:?}", world.decide());
}

#[test]
fn with_a_cache_whose_spec_is_older_no_volume_goes() {
    let mut world = set_back(3);
    world.follow(world.decide());
    (world.wanted.deleting, world.wanted.delete_volumes) = (true, true);
    world.wanted.cascade = Cascade::Delete;
    assert!(matches!(next(&mut world), Decision::Run { step: Step::DeleteStatefulSet { .. }, .. }));
    world.run_and_succeed(Step::DeleteStatefulSet { uid: "set".into() });
    world.wanted.confirms = word(&world);
    let at = world.seen.at;
    world.seen = Observation { at, claims: world.seen.claims.clone(), ..World::new(0).seen };
    let closes = loop {
        match world.after(Duration::from_secs(7200)) {
            Decision::Record(events)
                if matches!(events.last(), Some(Event::CacheClosed { .. })) =>
            {
                break events;
            }
            decision @ (Decision::Record(_) | Decision::Begin { .. }) => world.follow(decision),
            decision => panic!("{decision:?}"),
        }
    };
    assert_eq!(world.seen.claims.len(), 3);
    assert!(world.state.older.is_some(), "nobody confirms what goes");
    assert!(format!("{closes:?}").contains("its volumes stay"), "{closes:?}");
}

#[test]
fn a_confirmation_is_recorded_once_and_then_the_spec_counts() {
    let mut world = set_back(1);
    world.follow(world.decide());
    let right = word(&world);
    // A plain generation may be in the backup, or in a repository; the other one names another record.
    for wrong in ["3", "2", "3@", "3@1", "\u{1f600}", ""] {
        world.wanted.confirms = Some(wrong.into());
        assert!(waits_for_a_person(&next(&mut world)), "{wrong}");
    }
    world.wanted.confirms = right.map(|word| format!(" {word} "));
    let decision = world.decide();
    let Decision::Record(events) = &decision else { panic!("{decision:?}") };
    assert_eq!(events, &[Event::SpecConfirmed { generation: 3, size: 1 }]);
    world.follow(decision);
    assert!(matches!(next(&mut world), Decision::Run { step: Step::DisjoinMember { .. }, .. }));
    assert_eq!(world.state.operation.as_ref().unwrap().kind, OperationKind::ScaleDown);
    assert_eq!(world.state.older, None);
}

/// The same backup is restored once more, with the annotation of the first time.
#[test]
fn a_confirmation_that_came_with_the_backup_confirms_nothing() {
    let mut world = set_back(3);
    world.follow(world.decide());
    world.wanted.confirms = word(&world);
    world.follow(world.decide());
    assert_eq!(world.state.older, None);
    world.apply(Event::OperationBegun {
        kind: OperationKind::Repair,
        goal: Goal::Members { size: 3, catalogs: 3 },
        cause: Cause { generation: 5, reason: "test".into() },
    });
    world.apply(Event::OperationEnded { end: End::Succeeded });
    assert!(waits_for_a_person(&next(&mut world)), "{:?}", world.decide());
    assert_eq!(older(&world).acted, 5);
}

#[test]
fn a_spec_of_the_same_generation_or_a_newer_one_is_not_older_nor_is_one_that_nothing_is_known_of() {
    for generation in [7, 8] {
        let mut world = set_back(3);
        world.wanted.generation = generation;
        assert_eq!(next(&mut world), Decision::Rest);
        assert_eq!(world.state.older, None);
    }
    let mut new = World::new(1);
    new.wanted.generation = 0;
    new.follow(new.decide());
    assert!(matches!(new.decide(), Decision::Begin { kind: OperationKind::Bootstrap, .. }));
}

/// It was left to another operator, or its object was gone for a while: it goes on in another stream.
#[test]
fn what_was_acted_on_before_a_cache_was_left_counts_when_it_is_back() {
    let mut world = World::group(3);
    world.wanted.replicate = false;
    let acted = Acted { generation: 7, size: Some(3), since_seq: 0, unconfirmed: false };
    world.wanted.acted_before = Some(acted);
    world.wanted.size = 1;
    assert!(waits_for_a_person(&next(&mut world)), "{:?}", world.decide());
    assert_eq!((older(&world).acted, older(&world).acted_size), (7, Some(3)));
    world.wanted.confirms = word(&world);
    assert!(matches!(next(&mut world), Decision::Run { step: Step::DisjoinMember { .. }, .. }));
}

/// The same, and it had been found to be older: that was never confirmed, whatever it counts by now.
#[test]
fn what_nobody_confirmed_before_a_cache_was_left_is_not_confirmed_when_it_is_back() {
    let mut world = set_back(1);
    world.follow(world.decide());
    let acted_before = world.state.acted_after(None);
    let mut back = World::group(3);
    (back.wanted.replicate, back.wanted.size, back.wanted.generation) = (false, 1, 12);
    // Something was done for it there before anybody looked at its age.
    back.apply(Event::OperationBegun {
        kind: OperationKind::Repair,
        goal: Goal::Members { size: 3, catalogs: 3 },
        cause: Cause { generation: 9, reason: "test".into() },
    });
    back.apply(Event::OperationEnded { end: End::Succeeded });
    back.wanted.acted_before = acted_before;
    assert!(waits_for_a_person(&next(&mut back)), "{:?}", back.decide());
    back.wanted.confirms = word(&back);
    assert!(matches!(next(&mut back), Decision::Run { step: Step::DisjoinMember { .. }, .. }));
}

/// An entry that was to go, by a request that never arrived.
#[test]
fn no_ghost_is_removed_again_for_an_older_spec_nor_in_a_pause() {
    for paused in [true, false] {
        let mut world = set_back(3);
        world.wanted.generation = 8;
        (0..3).for_each(|ordinal| world.report(ordinal, &[0, 1, 2, 3]));
        let decision = next(&mut world);
        let Decision::Run { step: step @ Step::RemoveGhostMember { .. }, .. } = decision else {
            panic!("{decision:?}")
        };
        world.intend(step);
        world.watch.unsettle();
        world.wanted.paused = paused;
        if !paused {
            world.wanted.generation = 3;
        }
        let decision = next(&mut world);
        assert!(matches!(decision, Decision::Wait(_)), "{decision:?}");
        assert_eq!(world.state.open_step(), None);
    }
}

/// A scale-down whose disjoin never arrived, while the API server is set back.
fn leaving() -> World {
    let mut world = set_back(2);
    world.wanted.generation = 8;
    assert!(matches!(next(&mut world), Decision::Run { step: Step::DisjoinMember { .. }, .. }));
    let step = Step::DisjoinMember { member: world.member(2), survivor: world.survivor(0) };
    world.intend(step);
    // As after each request.
    world.watch.unsettle();
    world
}

#[test]
fn a_disjoin_that_never_arrived_is_not_sent_again_for_an_older_spec() {
    let mut world = leaving();
    (world.wanted.generation, world.wanted.size) = (3, 2);
    assert!(waits_for_a_person(&next(&mut world)), "{:?}", world.decide());
    assert_eq!(world.state.open_step(), None, "nothing of it can come about any more");
    assert!(world.state.leaving.is_empty());
    assert!(world.state.operation.as_ref().unwrap().parked.is_none());
    world.wanted.confirms = word(&world);
    assert!(matches!(next(&mut world), Decision::Run { step: Step::DisjoinMember { .. }, .. }));
}

/// The same without any restore: whoever is wanted again stays.
#[test]
fn a_disjoin_that_never_arrived_is_not_sent_again_once_its_member_is_wanted() {
    let mut world = leaving();
    (world.wanted.generation, world.wanted.size) = (9, 3);
    let Decision::InDoubt(waiting) = world.settled() else { panic!("{:?}", world.decide()) };
    assert!(waiting.message.contains("not sent again"), "{}", waiting.message);
    assert_eq!(next(&mut world), Decision::Rest);
    assert!(world.state.leaving.is_empty() && world.state.members.contains_key(&2));
    assert!(world.state.operation.is_none());
}

/// What did have its effect is seen to its end, and what is left of it waits.
#[test]
fn a_member_that_has_left_is_found_to_have_left_and_its_volume_stays() {
    let mut world = leaving();
    (world.wanted.generation, world.wanted.size) = (3, 3);
    world.everybody_lists(&[0, 1]);
    world.report(2, &[2]);
    assert!(waits_for_a_person(&next(&mut world)), "{:?}", world.decide());
    assert!(world.state.leaving.contains_key(&2), "it is out: that was found");
    world.wanted.confirms = word(&world);
    assert!(matches!(next(&mut world), Decision::Run { step: Step::ScaleStatefulSet { .. }, .. }));
}
