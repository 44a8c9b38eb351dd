//! What somebody else changed in the pod template: no pod is made from it on purpose, and those that
//! were are put right in their turn.

use super::{group, told};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::roll;
use crate::decide::testing::World;
use crate::observation::SetEdit;

/// Somebody else changed the pod template, or it is as committed again.
fn edit(world: &mut World, is_left_alone: Option<bool>) {
    let set = world.seen.stateful_set.as_mut().unwrap();
    let words = "kubectl-set changed spec.template.x".to_owned();
    set.edit = is_left_alone.map(|is_left_alone| SetEdit { words, is_left_alone });
    let revision = if set.edit.is_some() { "r-edited" } else { "r-d1" };
    set.update_revision = Some(revision.to_owned());
}

/// The pod dies and comes back, made from what the template is just now.
fn dies(world: &mut World, ordinal: u32, life: u32) {
    let revision = world.seen.stateful_set.as_ref().unwrap().update_revision.clone();
    world.made(ordinal, life, "d1");
    let pod = world.seen.pods.get_mut(&ordinal).unwrap();
    (pod.is_made_otherwise, pod.revision) = (revision.as_deref() != Some("r-d1"), revision);
    let listed: Vec<_> = world.state.members.keys().copied().collect();
    world.report(ordinal, &listed);
    let decision = world.settled();
    if told(&decision) == "member_seen" {
        world.follow(decision);
    }
}

#[test]
fn pods_that_took_up_an_edit_are_rolled_in_their_turn_once_it_is_set_back() {
    let mut world = group(3);
    edit(&mut world, Some(false));
    dies(&mut world, 0, 7);
    dies(&mut world, 2, 7);
    assert_eq!(world.until(&["rest"]), ["rest"], "while it stands nothing is made from it");
    edit(&mut world, None);
    let told = roll::waits(world.inputs()).unwrap();
    assert_eq!(told.reason, Reason::RollingImage);
    assert!(told.message.contains("c-0, c-2"), "{}", told.message);
    assert_eq!(
        world.until(&["rest"]),
        ["begin image_roll", "roll c-2 to d1", "roll c-0 to d1", "end succeeded", "rest"],
    );
}

#[test]
fn pods_that_take_up_an_edit_again_and_again_are_not_rolled_for_ever() {
    let mut world = group(2);
    let mut rolls = 0;
    for life in 10..20 {
        edit(&mut world, Some(false));
        dies(&mut world, 1, 3 * life);
        edit(&mut world, None);
        let decisions = world.until(&["rest", "wait NotConverging"]);
        rolls += usize::from(decisions.last().is_some_and(|last| last == "rest"));
    }
    assert_eq!(rolls, 3);
}

#[test]
fn no_roll_deletes_a_pod_while_an_edit_stands() {
    for (is_left_alone, waits) in [(false, "wait ForeignEdit"), (true, "wait NotConverging")] {
        let mut world = group(3);
        world.want("d2");
        world.up_to("roll c-2 to d2");
        world.take_effect();
        edit(&mut world, Some(is_left_alone));
        assert_eq!(world.until(&[waits]), [waits]);
        edit(&mut world, None);
        world.seen.stateful_set.as_mut().unwrap().update_revision = Some("r-d2".to_owned());
        let decisions = world.until(&["rest"]);
        assert_eq!(decisions, ["roll c-1 to d2", "roll c-0 to d2", "end succeeded", "rest"]);
    }
}

#[test]
fn another_revision_of_the_same_content_is_not_rolled() {
    let mut world = group(2);
    world.seen.stateful_set.as_mut().unwrap().update_revision = Some("r-hashed-anew".to_owned());
    assert_eq!(world.until(&["rest"]), ["rest"]);
}
