//! However large the world, the status stays within its bounds.

use super::*;
use crate::status::fit::STATUS_BYTES_MAX;
use crate::xsld::view::{GridStatus, GridView};
use xsld_journal::event::End;
use xsld_journal::state::EndedOperation;

/// A group of a hundred with the longest names and messages that there can be.
fn huge() -> Scene {
    let mut scene = Scene::group(100);
    let long = "n".repeat(52);
    let renamed = |name: &str| name.replacen("c-", &format!("{long}-"), 1);
    scene.object.metadata.name = Some(long.clone());
    scene.world.state.name.clone_from(&long);
    for member in scene.world.state.members.values_mut() {
        member.name = renamed(&member.name);
        member.incarnation.pod_uid = format!("{:0>36}", member.incarnation.pod_uid);
    }
    let address = |ordinal: Ordinal| format!("2001:0db8:85a3:0000:0000:8a2e:{ordinal:04x}:7334");
    for (ordinal, pod) in &mut scene.world.seen.pods {
        pod.name = renamed(&pod.name);
        pod.incarnation.pod_uid = format!("{:0>36}", pod.incarnation.pod_uid);
        pod.address = Some(address(*ordinal));
        pod.revision = Some(format!("{long}-{}", "h".repeat(10)));
    }
    for report in scene.world.seen.reports.values_mut() {
        report.incarnation.pod_uid = format!("{:0>36}", report.incarnation.pod_uid);
        if let Answer::Known(view) = &mut report.group {
            for (member, ordinal) in view.members.iter_mut().zip(0..) {
                member.name = renamed(&member.name);
                member.address = Some(address(ordinal));
            }
        }
    }
    let grid = |at: usize| {
        let name = format!("{at:0>253}");
        let status = GridStatus::Online;
        (name.clone(), GridView { name, status, fields: BTreeMap::new() })
    };
    scene.world.seen.grids = Some(Answer::Known((0..1000).map(grid).collect()));
    let first = scene.world.state.recent[0].clone();
    for _ in 0..5 {
        let end = End::Failed { reason: "r".repeat(4000) };
        scene.world.state.recent.push_back(EndedOperation { end, ..first.clone() });
    }
    scene.object.spec.image = "i".repeat(512);
    scene.wait(Reason::InDoubt, &"m".repeat(4000));
    scene.begin(OperationKind::ScaleUp, 100);
    scene
}

#[test]
fn a_hundred_members_with_long_names_and_messages_stay_within_the_bound() {
    let scene = huge();
    let status = scene.status();
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes <= STATUS_BYTES_MAX, "{bytes}");
    assert_eq!(
        (status.members, status.online, status.grid_count),
        (Some(100), Some(100), Some(1000))
    );
    assert_eq!(status.member_states.len(), 100, "every member is told");
    assert_eq!(status.conditions.len(), 9);
    assert_eq!(status.recent_operations.len(), 5);
    assert!(status.grids.len() < 64, "this world does not need the bound");
}

#[test]
fn what_is_cut_is_cut_the_same_way_every_time() {
    let mut scene = huge();
    let first = scene.published();
    assert_eq!(scene.status(), first);
}

#[test]
fn every_message_is_one_bounded_line() {
    let mut scene = Scene::group(2);
    scene.wait(Reason::InDoubt, &format!("two\nlines{}", "é".repeat(4000)));
    scene.begin(OperationKind::Repair, 2);
    let names = "x".repeat(2000);
    scene.views(|view| view.members[1].name.clone_from(&names));
    for condition in scene.status().conditions {
        assert!(condition.message.chars().count() <= 512, "{}", condition.type_);
        assert!(!condition.message.contains('\n'), "{}", condition.type_);
    }
}

#[test]
fn a_group_that_lists_thousands_is_counted_and_its_entries_are_bounded() {
    let mut scene = Scene::group(2);
    scene.views(|view| {
        for at in 0..5000 {
            let mut other = view.members[1].clone();
            other.name = format!("{}{at}", "s".repeat(100));
            view.members.push(other);
        }
    });
    let status = scene.status();
    assert_eq!(status.members, Some(5002));
    assert!(status.member_states.len() <= 128);
    let mut names: Vec<_> = status.member_states.iter().map(|member| &member.name).collect();
    assert!(names.iter().all(|name| name.chars().count() <= 63));
    names.sort();
    names.dedup();
    assert_eq!(names.len(), status.member_states.len(), "a key occurs once");
    assert!(serde_json::to_vec(&status).unwrap().len() <= STATUS_BYTES_MAX);
}

#[test]
fn no_part_of_a_broken_spec_that_is_a_secret_is_told() {
    let mut scene = Scene::group(1);
    scene.object.spec.admin_pwd = Some(serde_json::from_str("\"Hunter2Hunter2!\"").unwrap());
    scene.invalid = crate::validate::cache(&scene.object).unwrap_err();
    let text = serde_json::to_string(&scene.status()).unwrap();
    assert!(!text.contains("Hunter2"), "{text}");
}
