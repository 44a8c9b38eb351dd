//! What an adoption promises, told on a small world.

use std::collections::BTreeSet;

use xsld_journal::event::{AdoptedMember, Event, OperationKind, Ordinal, Receipt, Step, Text};

use super::QUIETS_MAX;
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::Decision;
use crate::decide::testing::{World, claim_uid, name};
use crate::xsld::view::{Answer, TaskStatus};

/// A cache of `size` that comes back on kept volumes: every pod is up and nobody answers.
fn kept(size: u32) -> World {
    let mut world = World::new(size);
    world.follow(world.decide());
    world.follow(world.decide());
    assert_eq!(world.state.operation.as_ref().unwrap().kind, OperationKind::Bootstrap);
    let template = Text::Inline("{}".into());
    world.run_and_succeed(Step::SetTemplate { digest: "d1".into(), template });
    world.run_and_succeed(Step::ScaleStatefulSet { from: 0, to: size });
    world.set_replicas(size);
    for ordinal in 0..size {
        world.pod_with(ordinal, 1);
        world.seen.claims.get_mut(&ordinal).unwrap().older_than_cache = true;
    }
    world
}

/// A running group of `size` whose journal was lost.
fn lost_journal(size: u32) -> World {
    let mut world = World::new(size);
    world.follow(world.decide());
    world.set_replicas(size);
    for ordinal in 0..size {
        world.pod_with(ordinal, 1);
    }
    world
}

fn stale(world: &mut World, ordinal: Ordinal) {
    let report = world.seen.reports.get_mut(&ordinal).unwrap();
    for answer in [Some(&mut report.group), report.group_again.as_mut()].into_iter().flatten() {
        let Answer::Known(view) = answer else { panic!("no view") };
        view.stale = true;
    }
}

fn quiet(world: &mut World) -> Decision {
    world.after(world.times.rebuild_quiet)
}

fn adopted(decision: &Decision) -> Option<Vec<Ordinal>> {
    let Decision::Record(events) = decision else { return None };
    events.iter().find_map(|event| match event {
        Event::Adopted { members, .. } => {
            Some(members.iter().map(|AdoptedMember { member, .. }| member.ordinal).collect())
        }
        _ => None,
    })
}

fn waits(decision: &Decision) -> (Reason, &str) {
    match decision {
        Decision::Wait(waiting) => (waiting.reason, &waiting.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_member_of_the_group_is_waited_for_by_name_and_adopted_when_it_answers() {
    for mut world in [kept(3), lost_journal(3)] {
        world.report(0, &[0, 1, 2]);
        world.report(1, &[0, 1, 2]);
        let decision = quiet(&mut world);
        let (reason, message) = waits(&decision);
        assert!(reason == Reason::Rebuilding && message.contains("c-2"), "{decision:?}");
        let decision = world.after(world.times.rebuild_quiet * QUIETS_MAX);
        let (reason, message) = waits(&decision);
        assert_eq!(reason, Reason::AdoptionUndecided, "{decision:?}");
        assert!(message.contains("c-2") && message.contains("delete its"), "{message}");
        world.report(2, &[0, 1, 2]);
        assert_eq!(adopted(&quiet(&mut world)), Some(vec![0, 1, 2]));
    }
}

#[test]
fn who_does_not_find_the_primary_is_kept_and_told() {
    for mut world in [kept(3), lost_journal(3)] {
        for ordinal in 0..3 {
            world.report(ordinal, &[0, 1, 2]);
        }
        stale(&mut world, 1);
        stale(&mut world, 2);
        let decision = quiet(&mut world);
        let (reason, message) = waits(&decision);
        assert!(reason == Reason::Rebuilding && message.contains("c-1, c-2"), "{decision:?}");
    }
}

#[test]
fn a_fresh_volume_of_the_first_member_makes_it_a_newcomer_to_the_group_of_the_others() {
    for mut world in [kept(3), lost_journal(3)] {
        world.seen.claims.get_mut(&0).unwrap().older_than_cache = false;
        world.report(0, &[0]);
        let decision = quiet(&mut world);
        let (_, message) = waits(&decision);
        assert!(message.contains("c-1, c-2"), "it does not begin a group of its own: {message}");
        world.report(1, &[1, 2]);
        world.report(2, &[1, 2]);
        let decision = quiet(&mut world);
        assert_eq!(adopted(&decision), Some(vec![1, 2]), "{decision:?}");
        world.follow(decision);
        assert!(world.state.members.keys().eq(&[1, 2]));
    }
}

#[test]
fn copies_of_a_group_whose_primary_lost_its_volume_are_enough() {
    let mut world = kept(3);
    world.seen.claims.get_mut(&0).unwrap().older_than_cache = false;
    world.report(0, &[0]);
    for ordinal in [1, 2] {
        world.report(ordinal, &[0, 1, 2]);
        stale(&mut world, ordinal);
    }
    let decision = quiet(&mut world);
    assert_eq!(adopted(&decision), Some(vec![1, 2]), "{decision:?}");
    world.follow(decision);
    assert!(!world.state.held.contains_key(&claim_uid(0)), "nothing is on that volume");
    let decision = quiet(&mut world);
    assert_eq!(waits(&decision).0, Reason::PrimaryVolumeLost, "nobody holds a replica");
    // A primary that is merely silent may come back.
    let mut world = kept(3);
    for ordinal in [1, 2] {
        world.report(ordinal, &[0, 1, 2]);
        stale(&mut world, ordinal);
    }
    assert_eq!(adopted(&quiet(&mut world)), None);
}

#[test]
fn two_groups_are_told_and_neither_is_taken() {
    let mut world = lost_journal(4);
    for (ordinal, group) in [(0, [0, 1]), (1, [0, 1]), (2, [2, 3]), (3, [2, 3])] {
        world.report(ordinal, &group);
    }
    let decision = quiet(&mut world);
    assert!(waits(&decision).1.contains("other groups"), "{decision:?}");
    let decision = world.after(world.times.rebuild_quiet * QUIETS_MAX);
    assert_eq!(waits(&decision).0, Reason::AdoptionUndecided);
}

#[test]
fn nothing_is_taken_over_beside_a_running_task() {
    let mut world = lost_journal(2);
    world.everybody_lists(&[0, 1]);
    let key = xsld_journal::event::StepKey(uuid::Uuid::from_u128(5));
    world.task(1, key, TaskStatus::Running);
    assert_eq!(adopted(&quiet(&mut world)), None);
    world.task(1, key, TaskStatus::Success);
    assert_eq!(adopted(&quiet(&mut world)), Some(vec![0, 1]));
}

#[test]
fn a_group_that_was_larger_is_taken_over_and_its_further_entries_go_while_their_volumes_stay() {
    let mut world = kept(2);
    for ordinal in 2..5 {
        world.pod_with(ordinal, 1);
        world.seen.pods.remove(&ordinal);
        world.seen.claims.get_mut(&ordinal).unwrap().older_than_cache = true;
    }
    world.report(0, &[0, 1, 2, 3, 4]);
    world.report(1, &[0, 1, 2, 3, 4]);
    let decision = quiet(&mut world);
    assert_eq!(adopted(&decision), Some(vec![0, 1]));
    world.follow(decision);
    assert_eq!(world.state.held.len(), 5);
    let mut removed = Vec::new();
    for _ in 0..20 {
        let decision = world.settled();
        if let Decision::Run { step, .. } = &decision {
            let Step::RemoveGhostMember { member, .. } = step else { panic!("{step:?}") };
            removed.push(member.ordinal);
            let step = step.clone();
            world.run_and_succeed(step);
            let left: Vec<_> = (0..5).filter(|ordinal| !removed.contains(ordinal)).collect();
            world.everybody_lists(&[0, 1]);
            world.report(0, &left);
            world.report(1, &left);
        } else {
            world.follow(decision);
        }
    }
    assert_eq!(removed, [4, 3, 2]);
    // Wanted again, they are not wiped for believing in the group.
    let mut world_of_three = world;
    world_of_three.wanted.size = 3;
    for _ in 0..6 {
        let decision = world_of_three.settled();
        assert!(
            !matches!(&decision, Decision::Run { step: Step::ResetMember { .. }, .. }),
            "{decision:?}"
        );
        if let Decision::Run { step: step @ Step::ScaleStatefulSet { .. }, .. } = decision {
            world_of_three.run_and_succeed(step);
            world_of_three.set_replicas(3);
            world_of_three.pod_with(2, 1);
            world_of_three.report(2, &[0, 1, 2, 3, 4]);
            world_of_three.seen.reports.get_mut(&2).unwrap().lists_grids = Some(false);
        } else {
            world_of_three.follow(decision);
        }
    }
    let decision = world_of_three.settled();
    let (reason, message) = waits(&decision);
    assert!(reason == Reason::Parked && message.contains("c-2"), "{decision:?}");
}

#[test]
fn after_a_lost_journal_the_live_template_is_the_committed_one_and_another_waits() {
    for (live, held) in [("d1", None), ("d0", Some("d1"))] {
        let mut world = lost_journal(2);
        let set = world.seen.stateful_set.as_mut().unwrap();
        set.template = Some((live.into(), Text::Inline("live".into())));
        world.everybody_lists(&[0, 1]);
        let decision = quiet(&mut world);
        world.follow(decision);
        assert_eq!(world.state.committed.replicas, Some(2));
        assert_eq!(world.state.committed.template.as_ref().unwrap().digest, live);
        assert_eq!(world.state.held_template.as_deref(), held);
        let rolls = |decision: &Decision| {
            matches!(decision, Decision::Run { step: Step::SetTemplate { .. }, .. })
        };
        assert!(!rolls(&quiet(&mut world)), "nothing is committed that nobody asked for");
    }
}

#[test]
fn a_latecomer_is_adopted_and_never_a_ghost() {
    let mut world = lost_journal(3);
    world.seen.pods.remove(&2);
    world.report(0, &[0, 1, 2]);
    world.report(1, &[0, 1, 2]);
    let decision = quiet(&mut world);
    assert_eq!(adopted(&decision), Some(vec![0, 1]), "it has no pod");
    world.follow(decision);
    for quiets in [1, 1, QUIETS_MAX] {
        let decision = world.after(world.times.rebuild_quiet * quiets);
        assert!(waits(&decision).1.contains(&name(2)), "{decision:?}");
    }
    assert_eq!(waits(&world.decide()).0, Reason::AdoptionUndecided);
    world.pod_with(2, 1);
    assert!(waits(&quiet(&mut world)).1.contains(&name(2)));
    world.report(2, &[0, 1, 2]);
    let decision = world.settled();
    let Decision::Record(events) = &decision else { panic!("{decision:?}") };
    assert_eq!(events.iter().map(Event::name).collect::<BTreeSet<_>>(), ["member_adopted"].into());
    world.follow(decision);
    assert_eq!(quiet(&mut world), Decision::Rest);
}

#[test]
fn a_primary_that_is_alone_on_a_volume_from_before_is_never_taken_for_a_lost_one() {
    // The others were removed from its group, and their volumes came back with it.
    for mut world in [kept(3), lost_journal(3)] {
        world.report(0, &[0]);
        for ordinal in [1, 2] {
            world.report(ordinal, &[0, 1, 2]);
            stale(&mut world, ordinal);
        }
        let decision = quiet(&mut world);
        assert!(waits(&decision).1.contains("told by c-0"), "{decision:?}");
        // One that was half-way into its group tells it as present.
        world.report(1, &[0, 1]);
        world.seen.reports.remove(&2);
        world.seen.pods.remove(&2);
        let decision = quiet(&mut world);
        assert!(waits(&decision).1.contains("told by c-0"), "{decision:?}");
    }
}

#[test]
fn no_group_is_begun_on_a_new_volume_beside_one_that_was_never_asked() {
    let mut world = kept(2);
    world.seen.claims.get_mut(&0).unwrap().older_than_cache = false;
    world.seen.pods.remove(&1);
    world.report(0, &[0]);
    let decision = world.decide();
    assert!(waits(&decision).1.contains("the volume of c-1 is from before"), "{decision:?}");
    let decision = world.after(world.times.rebuild_quiet * QUIETS_MAX);
    let (reason, message) = waits(&decision);
    assert!(reason == Reason::AdoptionUndecided && message.contains("spec.size"), "{message}");
    // What the first member's own old volume says is enough.
    world.seen.claims.get_mut(&0).unwrap().older_than_cache = true;
    let Decision::Record(events) = world.decide() else { panic!("{:?}", world.decide()) };
    assert!(events.iter().any(|event| event.name() == "bootstrapped"), "{events:?}");
}

#[test]
fn a_primary_whose_place_has_no_pod_is_asked_for_by_size() {
    let mut world = kept(1);
    world.report(0, &[0, 1]);
    stale(&mut world, 0);
    let report = world.seen.reports.get_mut(&0).unwrap();
    for answer in [Some(&mut report.group), report.group_again.as_mut()].into_iter().flatten() {
        let Answer::Known(view) = answer else { panic!("no view") };
        for (ordinal, member) in (0..).zip(&mut view.members) {
            member.primary = Some(ordinal == 1);
        }
    }
    let decision = world.after(world.times.rebuild_quiet * QUIETS_MAX);
    let (_, message) = waits(&decision);
    assert!(message.contains("c-1, which has no pod: set spec.size"), "{message}");
}

#[test]
fn a_listed_member_on_a_volume_made_since_is_not_waited_for() {
    let mut world = kept(3);
    world.report(0, &[0, 1, 2]);
    world.report(1, &[0, 1, 2]);
    assert_eq!(adopted(&quiet(&mut world)), None);
    world.seen.claims.get_mut(&2).unwrap().older_than_cache = false;
    assert_eq!(adopted(&quiet(&mut world)), Some(vec![0, 1]));
}

#[test]
fn a_group_of_any_size_is_taken_over_in_records_that_are_short_enough() {
    let mut world = lost_journal(60);
    let all: Vec<_> = (0..60).collect();
    world.everybody_lists(&all);
    let decision = quiet(&mut world);
    let Decision::Record(events) = &decision else { panic!("{decision:?}") };
    for event in events {
        let length = serde_json::to_string(event).unwrap().len();
        assert!(length < 6000, "{} has {length} characters", event.name());
    }
    world.follow(decision);
    assert!(world.state.members.keys().copied().eq(0..60) && world.state.held.len() == 60);
}

#[test]
fn a_lost_journal_beside_a_stateful_set_without_pods_is_told() {
    let mut world = lost_journal(2);
    world.seen.pods.clear();
    let decision = quiet(&mut world);
    let (reason, message) = waits(&decision);
    assert!(reason == Reason::Rebuilding && message.contains("scale it"), "{decision:?}");
    let decision = world.after(world.times.rebuild_quiet * QUIETS_MAX);
    assert_eq!(waits(&decision).0, Reason::AdoptionUndecided);
}

#[test]
fn a_group_that_never_rests_is_told() {
    let mut world = lost_journal(2);
    world.everybody_lists(&[0, 1]);
    for beat in 0..200_u32 {
        world.seen.pods.get_mut(&1).unwrap().incarnation.restarts = beat;
        let incarnation = world.seen.pods[&1].incarnation.clone();
        world.seen.reports.get_mut(&1).unwrap().incarnation = incarnation;
        let decision = world.after(world.times.settle);
        if beat == 199 {
            let (reason, message) = waits(&decision);
            assert_eq!(reason, Reason::AdoptionUndecided);
            assert!(message.contains("crashes again and again"), "{message}");
        }
    }
}

#[test]
fn what_was_rolled_out_in_part_before_the_journal_was_lost_is_not_rolled_back() {
    let mut world = lost_journal(2);
    let set = world.seen.stateful_set.as_mut().unwrap();
    set.template = Some(("d0".into(), Text::Inline("live".into())));
    world.seen.pods.get_mut(&0).unwrap().template = Some("d0".into());
    world.seen.pods.get_mut(&1).unwrap().template = Some("d1".into());
    world.everybody_lists(&[0, 1]);
    let decision = quiet(&mut world);
    world.follow(decision);
    assert_eq!(world.state.held_template.as_deref(), Some("d1"));
    let decision = quiet(&mut world);
    assert!(!matches!(decision, Decision::Begin { .. }), "{decision:?}");
}

#[test]
fn who_left_before_the_journal_was_lost_is_not_said_to_have_never_joined() {
    let mut world = lost_journal(3);
    world.wanted.size = 2;
    world.everybody_lists(&[0, 1]);
    world.report(2, &[2]);
    let decision = quiet(&mut world);
    world.follow(decision);
    for _ in 0..6 {
        let decision = quiet(&mut world);
        if let Decision::Record(events) = &decision
            && let Some(Event::MemberAbsent { receipt, .. }) = events.first()
        {
            assert!(matches!(receipt, Receipt::FoundAbsent { .. }), "{receipt:?}");
            return;
        }
        world.follow(decision);
    }
    panic!("its claim was not looked at");
}
