//! Joining, leaving, and what the members see of one another.

use reqwest::Method;
use serde_json::json;

use crate::harness::{DISJOIN, JOIN, RESTART, SECRET, World, host, pod};

#[tokio::test(flavor = "multi_thread")]
async fn join_lists_the_member_before_its_task_ends_and_hides_its_status_meanwhile() {
    let world = World::with_members(200.0, 2).await;
    let task = world.start_join(1).await;
    let (mut unreadable, mut listed_while_running) = (false, false);
    let mut last = String::new();
    world
        .until("the join ends", async || {
            let status = world.task_status(1, task).await;
            if status.status == 500 {
                assert_eq!(status.body, json!({"error": "Failed to get the task status"}));
                unreadable = true;
            }
            last = status.body["status"].as_str().unwrap_or_default().to_owned();
            let online = world.status_of(0, 1).await.as_deref() == Some("Online");
            let still = world.get(1, "/task").await.body[0]["status"] == "Running";
            listed_while_running |= online && still;
            last == "Success" || last == "Failed"
        })
        .await;
    assert_eq!(last, "Success");
    assert!(unreadable, "the status was readable all the time");
    assert!(listed_while_running, "the member was not listed before the end");
    let expected = [(pod(0), "Online".to_owned()), (pod(1), "Online".to_owned())];
    assert_eq!(world.view(0).await, expected);
    world.until("both see the same", async || world.view(1).await == expected).await;
    assert_eq!(world.effects(), ["join_started", "member_listed", "joined"]);
    let call = &world.calls().into_iter().find(|call| call.effect == "join_started").unwrap();
    assert_eq!(call.parameters["secretKey"], "***");
    assert_eq!((call.description.as_str(), call.status), ("of a test", 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_membership_task_is_409_while_one_runs() {
    let world = World::with_members(500.0, 3).await;
    let task = world.start_join(1).await;
    let refused = world.task(2, JOIN, World::join_parameters(2)).await;
    assert_eq!(refused.status, 409);
    let text = format!("another task is running: {task}");
    assert!(refused.body["error"].as_str().unwrap().contains(&text), "{refused:?}");
    assert_eq!(world.task(1, JOIN, World::join_parameters(1)).await.status, 409);
    assert_eq!(world.end_of(1, task).await, "Success");
    world.join(2).await;
    assert_eq!(world.view(0).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_fails_for_a_wrong_key_an_unknown_host_or_a_taken_name() {
    let mut world = World::with_members(2000.0, 2).await;
    let mut wrong_key = World::join_parameters(1);
    wrong_key["secretKey"] = json!("0therKey!!");
    let mut nowhere = World::join_parameters(1);
    nowhere["cacheMemberGroupHost"] = json!("c-9.c.ns.svc");
    for parameters in [wrong_key, nowhere] {
        let task = world.accepted(1, JOIN, parameters).await;
        assert_eq!(world.end_of(1, task).await, "Failed");
        assert_eq!(world.view(0).await.len(), 1);
        assert_eq!(world.view(1).await, [(pod(1), "Online".to_owned())]);
    }
    world.join(1).await;
    world.kill(1).await;
    world.wipe(1);
    world.start(1);
    world.until_ready(1).await;
    let task = world.start_join(1).await;
    assert_eq!(world.end_of(1, task).await, "Failed");
    let message = world.task_status(1, task).await.body["message"].to_string();
    assert!(message.contains("already in use"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn join_with_missing_or_untyped_parameters_is_400() {
    let world = World::with_members(2000.0, 2).await;
    for (name, value) in [
        ("secretKey", json!(null)),
        ("isCatalog", json!(true)),
        ("isCatalog", json!("yes")),
        ("memberName", json!("")),
    ] {
        let mut parameters = World::join_parameters(1);
        parameters[name] = value;
        assert_eq!(world.task(1, JOIN, parameters).await.status, 400, "{name}");
    }
    assert_eq!(world.task(1, "NonsenseCommand", json!({})).await.status, 400);
    world.join(1).await;
    let again = world.task(1, JOIN, World::join_parameters(1)).await;
    assert_eq!(again.status, 400, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn disjoin_changes_what_the_group_shows_only_at_its_end_and_leaves_a_group_of_one() {
    let world = World::with_group(500.0, 3).await;
    let task = world.accepted(0, DISJOIN, json!({"memberName": "c-2"})).await;
    let mut counts = Vec::new();
    world
        .until("the disjoin ends", async || {
            let count = world.view(0).await.len();
            let ended = world.task_status(0, task).await.body["status"] == "Success";
            counts.push((count, ended));
            ended
        })
        .await;
    let running = counts.iter().filter(|(count, _)| *count == 3).count();
    assert!(running * 10 > counts.len() * 8, "the count dropped early: {counts:?}");
    assert_eq!(world.view(0).await.len(), 2);
    world
        .until("the member is alone", async || {
            world.view(2).await == [(pod(2), "Online".to_owned())]
        })
        .await;
    world.until("the other one knows", async || world.view(1).await.len() == 2).await;
    assert!(world.has_effect("disjoined"));
    world.join(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disjoin_is_refused_for_strangers_the_primary_and_through_the_member_itself() {
    let world = World::with_group(2000.0, 2).await;
    let disjoin = async |at, name: &str| world.task(at, DISJOIN, json!({"memberName": name})).await;
    assert_eq!(disjoin(0, "c-7").await.status, 404);
    assert_eq!(disjoin(1, "c-0").await.status, 400);
    assert_eq!(disjoin(1, "c-1").await.status, 400);
    assert_eq!(world.effects().iter().filter(|effect| *effect == "disjoin_refused").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_of_a_dead_member_is_removed_without_it() {
    let mut world = World::with_group(2000.0, 3).await;
    world.kill(2).await;
    world.until_status(0, 2, "Unreachable").await;
    world.disjoin(2).await;
    assert_eq!(world.view(0).await.len(), 2);
    assert!(world.has_effect("ghost_removed") && !world.has_effect("disjoined"));
    // The member comes back with its old volume: it still believes, and nobody listens.
    world.start(2);
    world.until_ready(2).await;
    let group = world.get(2, "/cacheMemberGroup").await;
    assert_eq!(group.body["stale"], true);
    assert_eq!(world.view(0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_member_is_what_its_volume_says() {
    let mut world = World::with_group(2000.0, 3).await;
    world.kill(1).await;
    world.until_status(0, 1, "Unreachable").await;
    world.start(1);
    world.until_status(0, 1, "Online").await;
    assert_eq!(world.view(1).await.len(), 3);
    assert!(world.get(1, "/task").await.body.as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_primary_the_others_answer_from_memory_and_refuse_tasks() {
    let mut world = World::with_group(2000.0, 3).await;
    world.kill(0).await;
    world
        .until("the view is stale", async || {
            world.get(1, "/cacheMemberGroup").await.body["stale"] == true
        })
        .await;
    assert_eq!(world.status_of(1, 0).await.unwrap(), "Unreachable");
    assert_eq!(world.view(1).await.len(), 3);
    let refused = world.task(1, DISJOIN, json!({"memberName": "c-2"})).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let grid = world.admin(1, Method::POST, "/grid/g", Some(json!({}))).await;
    assert_eq!(grid.status, 503, "{grid:?}");
    world.start(0);
    world.until_ready(0).await;
    world
        .until("the view is fresh", async || {
            world.get(1, "/cacheMemberGroup").await.body.get("stale").is_none()
        })
        .await;
    world.until_status(0, 2, "Online").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_dies_before_it_is_listed_leaves_nothing() {
    let mut world = World::with_members(200.0, 2).await;
    world.start_join(1).await;
    world.kill(1).await;
    world.start(1);
    world.until_ready(1).await;
    assert_eq!(world.view(0).await.len(), 1);
    assert_eq!(world.view(1).await.len(), 1);
    world
        .until("the group is free again", async || {
            world.task(1, JOIN, World::join_parameters(1)).await.status == 200
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_dies_after_it_is_listed_leaves_a_ghost_and_is_alone() {
    let mut world = World::with_members(1000.0, 2).await;
    world.fault(1, json!({"fault": "crash", "effect": "member_listed", "count": 1}));
    world.start_join(1).await;
    assert_eq!(world.exit(1).await.code, 137);
    assert_eq!(world.view(0).await.len(), 2);
    world.start(1);
    world.until_ready(1).await;
    assert_eq!(world.view(1).await, [(pod(1), "Online".to_owned())]);
    world.until_status(0, 1, "Unreachable").await;
    world.disjoin(1).await;
    assert!(world.has_effect("ghost_removed"));
    world.join(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn join_fails_when_the_primary_dies_meanwhile() {
    let mut world = World::with_members(500.0, 2).await;
    let task = world.start_join(1).await;
    world.kill(0).await;
    assert_eq!(world.end_of(1, task).await, "Failed");
    assert!(world.has_effect("join_failed"));
    assert_eq!(world.view(1).await, [(pod(1), "Online".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn member_at_a_new_address_is_not_picked_up_by_itself() {
    let mut world = World::with_group(2000.0, 2).await;
    world.kill(1).await;
    let other = world.default_address(101);
    world.start_at(1, other);
    world.until_ready(1).await;
    world.until_status(0, 1, "Unreachable").await;
    assert_eq!(world.status_of(1, 1).await.unwrap(), "Unreachable");
    world.kill(1).await;
    world.entrypoint = Some("ij <<EOF\nupdate MEMBERS set IP = '$IP';\nEOF\n".to_owned());
    world.start_at(1, other);
    world.until_status(0, 1, "Online").await;
    let group = world.get(0, "/cacheMemberGroup").await;
    assert_eq!(group.body["members"][1]["ipAddress"], other.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_group_finds_itself_again_when_every_address_has_changed() {
    let mut world = World::with_group(2000.0, 2).await;
    world.kill(0).await;
    world.kill(1).await;
    world.entrypoint = Some("UPDATE".to_owned());
    world.start_at(1, world.default_address(101));
    world.start_at(0, world.default_address(100));
    world.until_ready(0).await;
    world.until_status(0, 1, "Online").await;
    world.until_status(0, 0, "Online").await;
    world
        .until("the view is fresh", async || {
            world.get(1, "/cacheMemberGroup").await.body.get("stale").is_none()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_member_takes_over_the_groups_password_and_gives_it_back_when_it_leaves() {
    let mut world = World::with_members(2000.0, 1).await;
    let address = world.default_address(1);
    let mut config = world.config(1, address);
    config.env.insert("XSADMIN_PWD".to_owned(), "Another123!".to_owned());
    config.env.insert("SECRET_KEY".to_owned(), "0therKey!!".to_owned());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(xsld_sim::member::run(config, stop.clone()));
    let group = "/wxsadmin/v1/cacheMemberGroup";
    let foreign = async || world.as_user(1, "Another123!", group).await.status;
    world.until("the member serves", async || foreign().await == 200).await;
    let body = json!({"command": JOIN, "parameters": {"secretKey": SECRET, "memberName": "c-1",
        "cacheMemberGroupHost": host(0), "isCatalog": "false"}});
    let url = format!("https://{address}:9445/wxsadmin/v1/task");
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let request = client.post(url).basic_auth("xsadmin", Some("Another123!")).json(&body);
    assert_eq!(World::send(request).await.status, 200);
    world.until_effect("joined").await;
    assert_eq!(foreign().await, 401);
    assert_eq!(world.get(1, "/cacheMemberGroup").await.status, 200);
    world.disjoin(1).await;
    world.until("the former password is back", async || foreign().await == 200).await;
    stop.cancel();
    assert_eq!(running.await.unwrap().code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_disjoin_removes_nobody() {
    let world = World::with_group(500.0, 2).await;
    let task = world.accepted(0, DISJOIN, json!({"memberName": "c-1"})).await;
    let path = format!("/task/cancel/{task}/force");
    assert_eq!(world.admin(0, Method::PUT, &path, None).await.status, 200);
    assert_eq!(world.end_of(0, task).await, "Failed");
    assert_eq!(world.admin(0, Method::PUT, &path, None).await.status, 409);
    assert_eq!(world.admin(0, Method::PUT, "/task/cancel/99/force", None).await.status, 404);
    assert_eq!(world.view(0).await.len(), 2);
    world.until_effect("disjoin_failed").await;
    world.disjoin(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_grid_servers_takes_the_member_away_for_a_while() {
    let world = World::with_group(200.0, 2).await;
    let parameters = json!({"restartGridServers": "true", "memberName": "c-1"});
    let task = world.accepted(0, RESTART, parameters).await;
    world.until_status(0, 1, "Starting").await;
    assert_eq!(world.end_of(0, task).await, "Success");
    world.until_status(0, 1, "Online").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_is_free_again_when_the_survivor_that_ran_a_disjoin_dies() {
    let mut world = World::with_group(500.0, 3).await;
    let task = world.accepted(1, DISJOIN, json!({"memberName": "c-2"})).await;
    assert_eq!(world.task(0, DISJOIN, json!({"memberName": "c-2"})).await.status, 409);
    assert_eq!(world.task_status(1, task).await.body["status"], "Running");
    world.kill(1).await;
    world
        .until("the group is free", async || {
            world.task(0, DISJOIN, json!({"memberName": "c-2"})).await.status == 200
        })
        .await;
    world.until_effect("disjoined").await;
    assert_eq!(world.view(0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_that_moves_tells_the_others_where_it_is() {
    let mut world = World::with_group(2000.0, 3).await;
    world.kill(0).await;
    world.entrypoint = Some("UPDATE".to_owned());
    world.start_at(0, world.default_address(100));
    world.until_ready(0).await;
    for index in 0..3 {
        world.until_status(index, 0, "Online").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_cannot_join_each_other_at_once() {
    let world = World::with_members(500.0, 2).await;
    let mut parameters = World::join_parameters(0);
    parameters["cacheMemberGroupHost"] = json!(host(1));
    let task = world.start_join(1).await;
    assert_eq!(world.task(0, JOIN, parameters).await.status, 409);
    assert_eq!(world.end_of(1, task).await, "Success");
}
