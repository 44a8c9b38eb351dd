//! Why a pod is not there or does not start is told where it is waited for, and where it impairs.

use super::*;
use crate::observation::{Hindered, Hindrance};
use crate::xsld::text::Redactor;

fn hindered(scene: &mut Scene, ordinal: Ordinal, kind: Hindered, words: &str) {
    let hindrance = Hindrance::new(kind, words, &Redactor::new());
    scene.world.seen.hindrances.insert(ordinal, hindrance);
}

#[test]
fn what_is_waited_for_is_told_with_why_it_does_not_come() {
    let mut scene = Scene::new(1);
    for _ in 0..2 {
        let decision = scene.world.decide();
        scene.world.follow(decision);
    }
    scene.wait(Reason::WaitingForPods, "c-0 has no pod yet");
    assert_eq!(scene.told(Type::Ready).1, "WaitingForPods");
    hindered(&mut scene, 0, Hindered::PodRefused, "FailedCreate: exceeded quota: q");
    for kind in [Type::Ready, Type::Progressing] {
        let (_, reason, message) = scene.told(kind);
        assert_eq!(reason, "PodRefused", "{message}");
        let words =
            "c-0 has no pod yet; c-0: its pod cannot be made: FailedCreate: exceeded quota: q";
        assert_eq!(message, words);
    }
}

#[test]
fn a_member_that_is_kept_from_running_impairs_and_says_why() {
    let mut scene = Scene::group(3);
    hindered(&mut scene, 1, Hindered::ContainerFails, "container xsld ended with exit code 1");
    assert_eq!(scene.told(Type::Degraded).0, "False", "its pod is ready: it is over");
    scene.pod(1).ready = false;
    let (truth, reason, message) = scene.told(Type::Degraded);
    assert_eq!((&*truth, &*reason), ("True", "ContainerFails"));
    assert_eq!(message, "c-1: container xsld ended with exit code 1");
    assert_eq!(scene.told(Type::Ready).1, "ContainerFails");
}

#[test]
fn a_lost_node_is_told_beside_what_goes_on() {
    let mut scene = Scene::group(3);
    scene.pod(1).ready = false;
    hindered(&mut scene, 1, Hindered::NodeLost, "its node n is lost");
    scene.begin(OperationKind::ImageRoll, 3);
    scene.wait(Reason::RollingImage, "c-2 is to be rolled");
    let (_, reason, message) = scene.told(Type::Progressing);
    assert_eq!(reason, "RollingImage", "what goes on is the news");
    assert_eq!(message, "c-2 is to be rolled; c-1: its node n is lost");
    assert_eq!(scene.told(Type::Degraded).1, "NodeLost");
}
