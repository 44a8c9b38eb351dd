//! The answers that the contract leaves open, each the other way round.

use serde_json::json;

use crate::harness::{DISJOIN, JOIN, World, pod};

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_can_be_left_out_of_the_task_list() {
    let world = World::with_group(2000.0, 2).await;
    let listed = world.get(1, "/task").await.body;
    assert_eq!(listed[0]["description"], "of a test");
    assert_eq!(listed[0]["command"], JOIN);
    assert_eq!(listed[0]["memberName"], "c-1");
    assert_eq!((&listed[0]["progress"], &listed[0]["status"]), (&json!(100), &json!("Success")));
    world.fault(1, json!({"fault": "behave", "task_descriptions": false}));
    assert!(world.get(1, "/task").await.body[0].get("description").is_none());
    world.heal(1);
    world.fault(1, json!({"fault": "hide_descriptions", "count": 1}));
    assert!(world.get(1, "/task").await.body[0].get("description").is_none());
    assert!(world.get(1, "/task").await.body[0].get("description").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_can_survive_a_restart_and_what_ran_is_then_failed() {
    let mut world = World::with_group(500.0, 2).await;
    world.fault(0, json!({"fault": "behave", "tasks_survive_restart": true}));
    let task = world.accepted(0, DISJOIN, json!({"memberName": "c-1"})).await;
    world.restart(0).await;
    assert_eq!(world.task_status(0, task).await.body["status"], "Failed");
    assert_eq!(world.view(0).await.len(), 2);
    let next = world.accepted(0, DISJOIN, json!({"memberName": "c-1"})).await;
    assert_eq!(next, task + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn task_numbers_begin_anew_after_a_restart_otherwise() {
    let mut world = World::with_group(500.0, 2).await;
    let task = world.accepted(0, DISJOIN, json!({"memberName": "c-1"})).await;
    world.restart(0).await;
    assert_eq!(world.task_status(0, task).await.status, 404);
    assert_eq!(world.accepted(0, DISJOIN, json!({"memberName": "c-1"})).await, task);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_task_can_be_queued() {
    let world = World::with_members(500.0, 3).await;
    world.fault(2, json!({"fault": "behave", "parallel_tasks": "queue"}));
    let first = world.start_join(1).await;
    let second = world.start_join(2).await;
    assert_eq!(world.task_status(2, second).await.body["status"], "Running");
    assert_eq!(world.end_of(1, first).await, "Success");
    assert_eq!(world.end_of(2, second).await, "Success");
    assert_eq!(world.view(0).await.len(), 3);
    let effects: Vec<_> =
        world.effects().into_iter().filter(|effect| !effect.ends_with("_started")).collect();
    assert_eq!(effects, ["member_listed", "joined", "member_listed", "joined"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn name_can_be_listed_twice() {
    let mut world = World::with_group(2000.0, 2).await;
    world.kill(1).await;
    world.wipe(1);
    world.fault(1, json!({"fault": "behave", "refuse_duplicate_member": false}));
    world.start(1);
    world.until_ready(1).await;
    let task = world.start_join(1).await;
    assert_eq!(world.end_of(1, task).await, "Success");
    let names: Vec<_> = world.view(0).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [pod(0), pod(1), pod(1)]);
    world.disjoin(1).await;
    assert_eq!(world.view(0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_join_leaves_a_half_joined_member_that_takes_itself_for_one_or_not() {
    for (view, members) in [("group", 2), ("alone", 1)] {
        let mut world = World::with_members(2000.0, 2).await;
        world.fault(1, json!({"fault": "ghost_after_failed_join", "count": 1}));
        world.fault(1, json!({"fault": "behave", "failed_join_view": view}));
        let task = world.start_join(1).await;
        assert_eq!(world.end_of(1, task).await, "Failed");
        let expected = if view == "group" { "Stopped" } else { "Unreachable" };
        world.until_status(0, 1, expected).await;
        assert_eq!(world.view(1).await.len(), members);
        world.restart(1).await;
        assert_eq!(world.view(1).await.len(), members);
        world.until_status(0, 1, expected).await;
        world.disjoin(1).await;
        assert_eq!(world.view(0).await.len(), 1);
        assert!(world.has_effect("ghost_removed"));
        world.until("alone", async || world.view(1).await.len() == 1).await;
        world.join(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_profile_has_other_names() {
    let world = World::with_members(2000.0, 1).await;
    let profile = json!({"paths": {"group": "/group"}, "taskIdKey": "id",
        "commands": {"disjoin": "Leave"}});
    world.fault(
        0,
        json!({"fault": "behave", "profile": profile,
        "error_content_type": "application/json"}),
    );
    assert_eq!(world.get(0, "/cacheMemberGroup").await.status, 404);
    assert_eq!(world.get(0, "/group").await.body["numContainers"], 1);
    let refused = world.task(0, "Leave", json!({"memberName": "c-4"})).await;
    assert_eq!((refused.status, refused.content_type.as_str()), (404, "application/json"));
    assert_eq!(world.task(0, DISJOIN, json!({"memberName": "c-4"})).await.status, 400);
}
