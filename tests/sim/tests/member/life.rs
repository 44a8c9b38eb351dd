//! How a container starts, answers, and ends.

use serde_json::json;
use xsld_sim::member::run;

use crate::harness::{PASSWORD, World, pod};

#[tokio::test(flavor = "multi_thread")]
async fn ports_refuse_then_say_starting_then_serve() {
    let mut world = World::new(100.0);
    world.start(0);
    assert_eq!(world.get(0, "/task").await.status, 0);
    world.until("the port is open", async || world.get(0, "/task").await.status != 0).await;
    let starting = world.get(0, "/task").await;
    assert_eq!((starting.status, &starting.body), (503, &json!({"error": "starting"})));
    world.until_ready(0).await;
    assert_eq!(world.view(0).await, [(pod(0), "Online".to_owned())]);
    let group = world.get(0, "/cacheMemberGroup").await;
    assert_eq!(group.content_type, "application/json");
    assert_eq!(group.body["cacheMemberGroupName"], "cg1");
    assert_eq!(group.body["numContainers"], 1);
    assert_eq!(group.body["maxCapacityPerMember"], 2);
    let member = &group.body["members"][0];
    assert_eq!(member["ipAddress"], world.default_address(0).to_string());
    assert_eq!(member["hostName"], "c-0.c.ns.svc");
    assert_eq!((&member["isPrimary"], &member["replicationRole"]), (&json!(true), &json!("none")));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_401_and_errors_say_the_wrong_content_type() {
    let world = World::with_members(2000.0, 1).await;
    let refused = world.as_user(0, "Wrong12345!", "/wxsadmin/v1/task").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.content_type, "application/atom+xml");
    assert!(refused.body["error"].is_string());
    assert_eq!(world.as_user(0, PASSWORD, "/wxsadmin/v1/task").await.status, 200);
    assert_eq!(world.get(0, "/nonsense").await.status, 404);
    assert!(world.console(0, "/wxsui").await.text.contains("<html>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn api_describes_itself() {
    let world = World::with_members(2000.0, 1).await;
    let docs = world.as_user(0, PASSWORD, "/ibm/api/docs").await;
    assert_eq!(docs.body["basePath"], "/wxsadmin/v1");
    assert!(docs.body["paths"]["/task/{id}/status"]["get"].is_object());
    assert!(docs.body["paths"]["/grid/{name}"]["put"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_environment_ends_the_container_with_its_reason() {
    let mut world = World::new(2000.0);
    for (name, value, reason) in [
        ("LICENSE", "view", "license"),
        ("SECRET_KEY", "", "SECRET_KEY must be set"),
        ("XSADMIN_PWD", "weak", "XSADMIN_PWD must have at least 10 characters"),
        ("MEMBER_NAME", "", "MEMBER_NAME must be set"),
    ] {
        let address = world.default_address(0);
        let mut config = world.config(0, address);
        config.env.insert(name.to_owned(), value.to_owned());
        let exit = run(config, Default::default()).await;
        assert_eq!(exit.code, 1);
        assert!(exit.reason.contains(reason), "{}", exit.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_cannot_resolve_its_own_name_does_not_start() {
    let mut world = World::new(2000.0);
    let address = world.default_address(0);
    let mut config = world.config(0, address);
    config.env.insert("MEMBER_NAME".to_owned(), "stranger".to_owned());
    let exit = run(config, Default::default()).await;
    assert_eq!(exit.code, 1);
    assert!(exit.reason.contains("stranger.c.ns.svc"), "{}", exit.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_starting_member_with_143_and_a_serving_one_with_0() {
    let mut world = World::new(20.0);
    world.start(0);
    assert_eq!(world.stop(0).await.code, 143);
    let mut world = World::with_members(2000.0, 1).await;
    assert_eq!(world.stop(0).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_member_releases_its_ports_and_its_volume_at_once() {
    let mut world = World::with_members(2000.0, 1).await;
    world.create_grid("g", json!({})).await;
    for _ in 0..5 {
        world.restart(0).await;
        assert_eq!(world.view(0).await, [(pod(0), "Online".to_owned())]);
    }
    assert_eq!(world.get(0, "/grid").await.body[0]["gridName"], "g");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_volume_is_a_fresh_group_of_one() {
    let mut world = World::with_group(2000.0, 2).await;
    world.kill(1).await;
    world.wipe(1);
    world.start(1);
    world.until_ready(1).await;
    assert_eq!(world.view(1).await, [(pod(1), "Online".to_owned())]);
    world.until_status(0, 1, "Unreachable").await;
}
