//! Grids, templates and cached entries.

use reqwest::Method;
use serde_json::json;

use crate::harness::{PASSWORD, World};

#[tokio::test(flavor = "multi_thread")]
async fn grid_is_created_then_online_then_changed_then_gone() {
    let world = World::with_members(100.0, 1).await;
    let body = json!({"gridType": "Simple", "numPartition": "5", "useAuthentication": true});
    let created = world.admin(0, Method::POST, "/grid/g", Some(body.clone())).await;
    let task = created.body["taskId"].as_u64().unwrap();
    assert_eq!(world.get(0, "/grid/g").await.status, 404, "a grid takes a while to be created");
    assert_eq!(world.admin(0, Method::POST, "/grid/g", Some(body.clone())).await.status, 409);
    world.until("Created", async || world.grid_status("g").await == "Created").await;
    assert_eq!(world.task_status(0, task).await.body["status"], "Running");
    assert_eq!(world.end_of(0, task).await, "Success");
    let shown = world.get(0, "/grid/g").await.body;
    assert_eq!((&shown["status"], &shown["numPartition"]), (&json!("Online"), &json!("5")));
    assert_eq!((&shown["useAuthentication"], &shown["lockTimeout"]), (&json!(true), &json!("15")));
    assert_eq!(world.get(0, "/grid").await.body, json!([{"gridName": "g", "status": "Online"}]));
    assert_eq!(world.admin(0, Method::POST, "/grid/g", Some(body)).await.status, 409);

    let changed = world.admin(0, Method::PUT, "/grid/g", Some(json!({"lockTimeout": "20"}))).await;
    assert_eq!(changed.status, 200);
    world
        .until("changed", async || world.get(0, "/grid/g").await.body["lockTimeout"] == "20")
        .await;
    let other = world.admin(0, Method::PUT, "/grid/g", Some(json!({"numPartition": "7"}))).await;
    assert_eq!(other.status, 400);

    assert_eq!(world.admin(0, Method::DELETE, "/grid/g", None).await.status, 200);
    world.until("gone", async || world.get(0, "/grid/g").await.status == 404).await;
    assert_eq!(world.admin(0, Method::DELETE, "/grid/g", None).await.status, 404);
    let expected = [
        "grid_create_started",
        "grid_created",
        "grid_online",
        "grid_update_started",
        "grid_updated",
        "grid_delete_started",
        "grid_deleted",
    ];
    assert_eq!(world.effects(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_definitions_are_400_with_a_reason() {
    let world = World::with_members(2000.0, 1).await;
    for (body, reason) in [
        (json!({"numPartition": "4"}), "prime"),
        (json!({"numPartition": 3}), "not a string"),
        (json!({"gridType": "Custom"}), "needs a templateName"),
        (json!({"gridType": "Custom", "templateName": "mine"}), "does not exist"),
    ] {
        let refused = world.admin(0, Method::POST, "/grid/g", Some(body)).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body["error"].as_str().unwrap().contains(reason), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn template_is_kept_while_a_grid_uses_it() {
    let world = World::with_members(2000.0, 1).await;
    let body = json!({"objectGridXml": "<objectGridConfig/>", "deploymentPolicyXml": "<dp/>"});
    let path = "/gridTemplate/mine";
    assert_eq!(world.get(0, path).await.status, 404);
    assert_eq!(world.admin(0, Method::PUT, path, Some(body.clone())).await.status, 200);
    assert_eq!(world.get(0, path).await.body, body);
    let wrong = json!({"objectGridXml": "text", "deploymentPolicyXml": "<dp/>"});
    assert_eq!(world.admin(0, Method::PUT, path, Some(wrong)).await.status, 400);
    world.create_grid("g", json!({"gridType": "Custom", "templateName": "mine"})).await;
    assert_eq!(world.admin(0, Method::DELETE, path, None).await.status, 409);
    world.admin(0, Method::DELETE, "/grid/g", None).await;
    world.until("gone", async || world.get(0, "/grid/g").await.status == 404).await;
    assert_eq!(world.admin(0, Method::DELETE, path, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_list_the_grids_of_a_user_group() {
    let world = World::with_members(2000.0, 1).await;
    world.create_grid("g1", json!({"groupName": "Developers", "useAuthorization": true})).await;
    let told = world.get(0, "/group/Developers/permissions").await;
    let expected = json!([{"permissions": ["Read"], "resourceName": "g1", "resourceType": "Grid"}]);
    assert_eq!(told.body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_put_read_listed_and_deleted_through_any_member() {
    let world = World::with_group(2000.0, 2).await;
    world.create_grid("g", json!({})).await;
    world.until("the other one knows", async || world.put(1, "a%2Fb", "1").await == 200).await;
    assert_eq!(world.put(0, "c", "2").await, 200);
    let read = world.value(0, "a%2Fb").await;
    assert_eq!((read.text.as_str(), read.content_type.as_str()), ("1", "text/plain"));
    assert_eq!(world.value(1, "c").await.text, "2");
    let keys = world.data(1, Method::GET, "/query/g/testmap.LUT.O/?query=.*", "").await;
    assert_eq!(keys.body, json!({"items": [{"key": "a/b"}, {"key": "c"}]}));
    let path = "/grids/g/testmap.LUT.O/c";
    assert_eq!(world.data(1, Method::DELETE, path, "").await.status, 200);
    let gone = world.value(0, "c").await;
    assert_eq!(gone.status, 404);
    assert!(gone.body["error"].as_str().unwrap().starts_with("CWOBJ9752E"), "{gone:?}");
    assert_eq!(world.data(0, Method::DELETE, "/grids/g/testmap.LUT.O/", "").await.status, 200);
    assert_eq!(world.value(0, "a%2Fb").await.status, 404);
    assert_eq!(world.data(0, Method::POST, "/grids/g/plain/k", "v").await.status, 404);
    assert_eq!(world.data(0, Method::POST, "/grids/none/testmap.LUT.O/k", "v").await.status, 404);
    assert_eq!(world.as_user(0, PASSWORD, "/wxsadmin/v1/grid").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_ends_after_its_ttl() {
    let world = World::with_members(2000.0, 1).await;
    world.create_grid("g", json!({})).await;
    let path = "/grids/g/testmap.LUT.O/k?ttl=1";
    assert_eq!(world.data(0, Method::POST, path, "v").await.status, 200);
    assert_eq!(world.value(0, "k").await.status, 200);
    world.until("the entry ends", async || world.value(0, "k").await.status == 404).await;
}

async fn fill(world: &World, count: usize) {
    for key in 0..count {
        assert_eq!(world.put(key % 2, &format!("k{key}"), "v").await, 200);
    }
}

async fn missing(world: &World, at: usize, count: usize) -> usize {
    let mut missing = 0;
    for key in 0..count {
        missing += usize::from(world.value(at, &format!("k{key}")).await.status != 200);
    }
    missing
}

#[tokio::test(flavor = "multi_thread")]
async fn disjoin_moves_the_data_of_the_leaving_member_first() {
    let world = World::with_group(1000.0, 3).await;
    let alone = json!({"numPartition": "7", "numSyncReplicas": "0", "numAsyncReplicas": "0"});
    world.create_grid("g", alone).await;
    world.until("the others know", async || world.put(1, "k1", "v").await == 200).await;
    fill(&world, 30).await;
    world.disjoin(2).await;
    assert_eq!(missing(&world, 0, 30).await, 0);
    world.disjoin(1).await;
    assert_eq!(missing(&world, 0, 30).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_and_none_is_lost_while_members_join_and_leave() {
    let world = World::with_group(1000.0, 2).await;
    let alone = json!({"numPartition": "7", "numSyncReplicas": "0", "numAsyncReplicas": "0"});
    world.create_grid("g", alone).await;
    let mut world = world;
    world.start(2);
    world.until_ready(2).await;
    let written = std::cell::Cell::new(0);
    let done = std::cell::Cell::new(false);
    let writer = async {
        while !done.get() {
            let key = written.get();
            if world.put(0, &format!("k{key}"), "v").await == 200 {
                written.set(key + 1);
            }
        }
    };
    let mover = async {
        world.join(2).await;
        world.disjoin(1).await;
        done.set(true);
    };
    tokio::join!(writer, mover);
    assert!(written.get() > 20, "only {} writes", written.get());
    assert_eq!(missing(&world, 0, written.get()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_survive_the_loss_of_a_member_and_single_copies_do_not() {
    for (replicas, survives) in [("1", true), ("0", false)] {
        let mut world = World::with_group(1000.0, 3).await;
        let body = json!({"numPartition": "7", "numSyncReplicas": replicas,
            "numAsyncReplicas": "0"});
        world.create_grid("g", body).await;
        world.until("the others know", async || world.put(1, "k1", "v").await == 200).await;
        fill(&world, 30).await;
        world.kill(2).await;
        world.until("placed again", async || world.grid_status("g").await == "Created").await;
        world.until("placed again", async || world.grid_status("g").await == "Online").await;
        assert_eq!(missing(&world, 0, 30).await == 0, survives);
        world.start(2);
        world.until_status(0, 2, "Online").await;
        world.until("placed again", async || world.grid_status("g").await == "Online").await;
        assert_eq!(missing(&world, 2, 30).await == 0, survives);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_member_after_another_can_be_restarted_when_the_grid_is_waited_for() {
    let mut world = World::with_group(1000.0, 2).await;
    world.create_grid("g", json!({"numPartition": "7", "numAsyncReplicas": "1"})).await;
    world.until("the other one knows", async || world.put(1, "k1", "v").await == 200).await;
    fill(&world, 20).await;
    for index in [1, 0, 1] {
        world.restart(index).await;
        world.until_status(0, index, "Online").await;
        world.until_status(0, 1, "Online").await;
        world.until("placed again", async || world.grid_status("g").await == "Online").await;
        assert_eq!(missing(&world, 0, 20).await, 0, "after the restart of c-{index}");
    }
}
