//! A spec whose pods cannot come about is corrected, and the correction is taken up.

use xsld_journal::event::{Event, Step, Text};

use super::{group, told};
use crate::decide::testing::World;

/// A cache of which nothing is there yet but what the journal committed.
fn unborn(size: u32) -> World {
    let mut world = World::new(size);
    world.apply(Event::CacheOpened { namespace: "ns".into(), name: "c".into() });
    world
}

/// Follows what is decided; the API server refuses to set replicas as long as `bad` is committed.
fn refusing(world: &mut World, bad: &str, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..60 {
        let decision = world.settled();
        let text = told(&decision);
        all.push(text.clone());
        if text == last {
            return all;
        }
        world.follow(decision);
        let Some(open) = world.state.open_step().cloned() else { continue };
        let committed = world.state.committed.template.as_ref().map(|it| it.digest.clone());
        match &open.step {
            Step::ScaleStatefulSet { .. } if committed.as_deref() == Some(bad) => {
                let reason = "refused 422: requests must be less than limits".into();
                let (key, evidence) = (open.key, "{}".into());
                world.apply(Event::StepFailed { key, reason, evidence });
                all.push("step_failed".to_owned());
                if last == "step_failed" {
                    return all;
                }
            }
            Step::ScaleStatefulSet { to, .. } => {
                world.set_replicas(*to);
                let set = world.seen.stateful_set.as_mut().unwrap();
                set.template_digest = committed;
            }
            Step::SetTemplate { digest, .. } => {
                if let Some(set) = world.seen.stateful_set.as_mut() {
                    set.template_digest = Some(digest.clone());
                    set.update_revision = Some(format!("r-{digest}"));
                }
            }
            other => panic!("{other:?}"),
        }
        let wanted = world.wanted.template.0.clone();
        let committed = world.state.committed.template.as_ref();
        world.wanted.may_roll = committed.is_none_or(|committed| committed.digest != wanted);
    }
    panic!("{all:#?}");
}

#[test]
fn a_first_template_that_is_refused_is_replaced_by_the_corrected_one() {
    let mut world = unborn(2);
    let before = refusing(&mut world, "d1", "wait Parked");
    assert!(before.contains(&"park StepFailed".to_owned()), "{before:#?}");
    let parked = world.state.operation.as_ref().unwrap().parked.as_ref().unwrap();
    assert!(parked.message.contains("requests must be less"), "{}", parked.message);
    world.want("d2");
    let after = refusing(&mut world, "d1", "wait WaitingForPods");
    assert_eq!(
        after,
        [
            "end superseded",
            "begin image_roll",
            "set d2",
            "step_succeeded",
            "end superseded",
            "begin bootstrap",
            "scale_stateful_set",
            "step_succeeded",
            "wait WaitingForPods"
        ]
    );
}

#[test]
fn a_correction_does_not_wait_for_the_last_attempt() {
    let mut world = unborn(2);
    refusing(&mut world, "d1", "step_failed");
    world.want("d2");
    assert_eq!(told(&world.settled()), "end superseded");
}

#[test]
fn a_template_that_a_scale_up_cannot_set_is_replaced_by_the_corrected_one() {
    let mut world = group(2);
    world.wanted.size = 3;
    refusing(&mut world, "d1", "wait Parked");
    world.want("d2");
    let after = refusing(&mut world, "d1", "wait WaitingForPods");
    assert_eq!(
        after,
        [
            "end superseded",
            "begin image_roll",
            "set d2",
            "step_succeeded",
            "end superseded",
            "begin scale_up",
            "scale_stateful_set",
            "step_succeeded",
            "wait WaitingForPods"
        ],
        "the other pods follow when the member is there"
    );
}

#[test]
fn another_spec_begins_anew_what_was_parked() {
    let mut world = unborn(2);
    refusing(&mut world, "d1", "wait Parked");
    world.wanted.generation += 1;
    let decision = world.settled();
    assert_eq!(told(&decision), "end superseded");
    world.follow(decision);
    let after = refusing(&mut world, "", "wait WaitingForPods");
    assert_eq!(after.first().map(String::as_str), Some("begin bootstrap"));
}

#[test]
fn a_correction_is_taken_up_while_no_pod_can_even_be_made() {
    let mut world = unborn(2);
    refusing(&mut world, "", "wait WaitingForPods");
    assert!(world.seen.pods.is_empty());
    world.want("d2");
    let after = refusing(&mut world, "", "wait WaitingForPods");
    assert_eq!(
        after,
        [
            "end superseded",
            "begin image_roll",
            "set d2",
            "step_succeeded",
            "end succeeded",
            "begin bootstrap",
            "wait WaitingForPods"
        ]
    );
}

#[test]
fn a_larger_size_and_another_template_at_once_are_no_correction() {
    let mut world = group(2);
    world.wanted.size = 3;
    world.wanted.template = ("d2".into(), Text::Inline("{}".into()));
    world.wanted.may_roll = true;
    assert_eq!(told(&world.settled()), "begin scale_up");
}
