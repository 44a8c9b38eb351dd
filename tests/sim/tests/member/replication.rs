//! Replication of the configuration database, and the switch of the primary.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{DISJOIN, PROMOTE, REPLICATE, World};

async fn replicate(world: &World, at: usize, to: &str) -> String {
    let task = world.accepted(at, REPLICATE, json!({"slaveMemberName": to})).await;
    world.end_of(at, task).await
}

async fn roles(world: &World, at: usize) -> Vec<(Value, Value)> {
    let group = world.get(at, "/cacheMemberGroup").await.body;
    let members = group["members"].as_array().cloned().unwrap_or_default();
    members.iter().map(|it| (it["isPrimary"].clone(), it["replicationRole"].clone())).collect()
}

async fn until_primary(world: &World, at: usize, index: usize) {
    world
        .until("the primary has changed", async || {
            let told = roles(world, at).await;
            told.get(index).is_some_and(|(primary, _)| *primary == true)
                && world.get(at, "/cacheMemberGroup").await.body.get("stale").is_none()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_is_off_until_it_is_set_up_by_the_primary() {
    let world = World::with_group(2000.0, 2).await;
    let none = (json!(true), json!("none"));
    assert_eq!(roles(&world, 0).await[0], none);
    assert_eq!(world.task(1, REPLICATE, json!({"slaveMemberName": "c-0"})).await.status, 400);
    assert_eq!(world.task(0, REPLICATE, json!({"slaveMemberName": "c-0"})).await.status, 400);
    assert_eq!(world.task(0, REPLICATE, json!({"slaveMemberName": "c-5"})).await.status, 404);
    assert_eq!(world.task(1, PROMOTE, json!({"memberName": "c-1"})).await.status, 400);
    assert_eq!(replicate(&world, 0, "c-1").await, "Success");
    let expected = [(json!(true), json!("master")), (json!(false), json!("slave"))];
    assert_eq!(roles(&world, 0).await, expected);
    world.until("the replica knows", async || roles(&world, 1).await == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn set_up_hangs_at_45_percent_until_it_is_cancelled_by_force() {
    let world = World::with_group(2000.0, 2).await;
    world.fault(0, json!({"fault": "stuck_task", "command": "Derby", "count": 1}));
    let task = world.accepted(0, REPLICATE, json!({"slaveMemberName": "c-1"})).await;
    world
        .until("45 percent", async || world.task_status(0, task).await.body["progress"] == 45)
        .await;
    assert_eq!(world.task(0, DISJOIN, json!({"memberName": "c-1"})).await.status, 409);
    let path = format!("/task/cancel/{task}/force");
    assert_eq!(world.admin(0, Method::PUT, &path, None).await.status, 200);
    world.until_effect("replication_failed").await;
    assert_eq!(replicate(&world, 0, "c-1").await, "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_is_promoted_in_order_and_the_former_primary_follows() {
    let mut world = World::with_group(2000.0, 3).await;
    world.create_grid("g", json!({})).await;
    assert_eq!(replicate(&world, 0, "c-1").await, "Success");
    world.until("known", async || roles(&world, 1).await[1].1 == "slave").await;
    let task = world.accepted(1, PROMOTE, json!({"memberName": "c-1"})).await;
    assert_eq!(world.end_of(1, task).await, "Success");
    for at in 0..3 {
        until_primary(&world, at, 1).await;
    }
    assert_eq!(world.get(1, "/grid").await.body[0]["gridName"], "g");
    world.until_status(1, 0, "Online").await;
    // The former primary is a member like any other now.
    world.restart(0).await;
    until_primary(&world, 0, 1).await;
    world.until_status(1, 0, "Online").await;
    let task = world.accepted(1, DISJOIN, json!({"memberName": "c-0"})).await;
    assert_eq!(world.end_of(1, task).await, "Success");
    assert_eq!(world.view(1).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_is_promoted_without_the_primary_which_gives_way_when_it_returns() {
    let mut world = World::with_group(2000.0, 3).await;
    assert_eq!(replicate(&world, 0, "c-1").await, "Success");
    world.until("known", async || roles(&world, 1).await[1].1 == "slave").await;
    world.kill(0).await;
    world.until_status(1, 0, "Unreachable").await;
    let task = world.accepted(1, PROMOTE, json!({"memberName": "c-1"})).await;
    assert_eq!(world.end_of(1, task).await, "Success");
    until_primary(&world, 1, 1).await;
    until_primary(&world, 2, 1).await;
    world.start(0);
    world.until_ready(0).await;
    until_primary(&world, 0, 1).await;
    world.until_status(1, 0, "Online").await;
    assert!(world.has_effect("promoted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_ends_with_the_replica_and_with_the_primarys_process() {
    let mut world = World::with_group(2000.0, 2).await;
    assert_eq!(replicate(&world, 0, "c-1").await, "Success");
    world.kill(1).await;
    world.until("it ends", async || roles(&world, 0).await[0].1 == "none").await;
    world.start(1);
    world.until_status(0, 1, "Online").await;
    assert_eq!(roles(&world, 0).await[1].1, "none");
    assert_eq!(replicate(&world, 0, "c-1").await, "Success");
    world.restart(0).await;
    assert_eq!(roles(&world, 0).await[0].1, "none");
}
