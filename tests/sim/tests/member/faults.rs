//! Each fault does what it says.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use xsld_sim::authority::Authority;
use xsld_sim::faults::{Faults, NodeControl, NodeState, serve};

use crate::harness::{DISJOIN, NAMESPACE, World, pod};

#[tokio::test(flavor = "multi_thread")]
async fn crash_ends_the_container_with_137() {
    let mut world = World::with_members(2000.0, 2).await;
    world.fault(0, json!({"fault": "crash", "count": 1}));
    assert_eq!(world.exit(0).await.code, 137);
    world.fault(1, json!({"fault": "crash", "method": "GET", "path": "/grid", "when": "before"}));
    assert_eq!(world.get(1, "/task").await.status, 200);
    assert_eq!(world.get(1, "/grid").await.status, 0);
    assert_eq!(world.exit(1).await.code, 137);
    world.start(1);
    world
        .until("it serves until it is asked", async || world.get(1, "/task").await.status == 200)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_after_the_effect_of_a_request_leaves_the_effect() {
    let mut world = World::with_members(2000.0, 1).await;
    world.fault(0, json!({"fault": "crash", "path": "/gridTemplate", "count": 1}));
    let body = json!({"objectGridXml": "<a/>", "deploymentPolicyXml": "<b/>"});
    let reply = world.admin(0, Method::PUT, "/gridTemplate/t", Some(body)).await;
    assert_eq!(reply.status, 0);
    assert_eq!(world.exit(0).await.code, 137);
    world.start(0);
    world.until_ready(0).await;
    assert_eq!(world.get(0, "/gridTemplate/t").await.status, 200);
    let call = world.calls().into_iter().find(|call| call.effect == "template_stored").unwrap();
    assert_eq!(call.status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_and_closed_members_are_unreachable_until_they_are_healed() {
    for fault in ["hang", "refuse"] {
        let world = World::with_group(2000.0, 2).await;
        world.fault(1, json!({"fault": fault}));
        world.until_status(0, 1, "Unreachable").await;
        let begun = Instant::now();
        let reply = tokio::time::timeout(Duration::from_millis(300), world.get(1, "/task")).await;
        match reply {
            Ok(reply) => assert_eq!((fault, reply.status), ("refuse", 0)),
            Err(_) => assert!(fault == "hang" && begun.elapsed() >= Duration::from_millis(300)),
        }
        world.heal(1);
        world.until_status(0, 1, "Online").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_has_no_effect_and_dropped_reply_has_one() {
    let world = World::with_members(2000.0, 1).await;
    let body = json!({"objectGridXml": "<a/>", "deploymentPolicyXml": "<b/>"});
    let put = async || world.admin(0, Method::PUT, "/gridTemplate/t", Some(body.clone())).await;
    world.fault(0, json!({"fault": "reset", "method": "PUT", "count": 1}));
    assert_eq!(put().await.status, 0);
    assert_eq!(world.get(0, "/gridTemplate/t").await.status, 404);
    world.fault(0, json!({"fault": "drop_reply", "method": "PUT", "count": 1}));
    assert_eq!(put().await.status, 0);
    assert_eq!(world.get(0, "/gridTemplate/t").await.status, 200);
    let puts = world.calls().into_iter().filter(|call| call.method == "PUT");
    let told: Vec<_> = puts.map(|call| (call.status, call.effect)).collect();
    assert_eq!(told, [(0, "none".to_owned()), (0, "template_stored".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_request_takes_effect_after_its_caller_has_gone() {
    let world = World::with_members(2000.0, 1).await;
    world.fault(0, json!({"fault": "late", "ms": 700, "method": "PUT", "count": 1}));
    let body = json!({"objectGridXml": "<a/>", "deploymentPolicyXml": "<b/>"});
    let put = world.admin(0, Method::PUT, "/gridTemplate/t", Some(body));
    assert!(tokio::time::timeout(Duration::from_millis(200), put).await.is_err());
    assert_eq!(world.get(0, "/gridTemplate/t").await.status, 404);
    world
        .until("it takes effect", async || world.get(0, "/gridTemplate/t").await.status == 200)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_request_takes_effect_at_once_and_is_answered_later() {
    let world = World::with_members(2000.0, 1).await;
    world.fault(0, json!({"fault": "slow", "ms": 1500, "method": "PUT", "count": 1}));
    let body = json!({"objectGridXml": "<a/>", "deploymentPolicyXml": "<b/>"});
    let begun = Instant::now();
    let put = world.admin(0, Method::PUT, "/gridTemplate/t", Some(body));
    let seen = async {
        world
            .until("it takes effect", async || world.get(0, "/gridTemplate/t").await.status == 200)
            .await;
        begun.elapsed()
    };
    let (reply, seen) = tokio::join!(put, seen);
    assert_eq!(reply.status, 200);
    assert!(seen < Duration::from_millis(1500) && begun.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_can_be_any_status_garbage_or_endless() {
    let world = World::with_members(2000.0, 1).await;
    let one = |fault: Value| {
        world.heal(0);
        world.fault(0, fault);
    };
    one(json!({"fault": "status", "code": 503}));
    assert_eq!(world.get(0, "/task").await.status, 503);
    one(json!({"fault": "status", "code": 429, "body": {"error": "slow down"}}));
    assert_eq!(world.get(0, "/task").await.body, json!({"error": "slow down"}));
    one(json!({"fault": "status", "code": 302, "location": "https://127.0.0.1:1/"}));
    assert_eq!(world.get(0, "/task").await.status, 302);
    one(json!({"fault": "garbage"}));
    let html = world.get(0, "/task").await;
    assert_eq!((html.status, html.content_type.as_str()), (200, "text/html"));
    one(json!({"fault": "garbage", "kind": "cut_json"}));
    let cut = world.get(0, "/cacheMemberGroup").await;
    assert_eq!((cut.status, cut.body), (200, Value::Null));
    assert!(cut.text.starts_with("{\"cacheMemberGroupName\""));
    one(json!({"fault": "garbage", "kind": "wrong_json"}));
    assert!(world.get(0, "/task").await.body["unexpected"].is_array());
    one(json!({"fault": "deny_auth"}));
    assert_eq!(world.get(0, "/task").await.status, 401);
    one(json!({"fault": "huge"}));
    let url = format!("https://{}:9445/wxsadmin/v1/task", world.default_address(0));
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let request = client.get(url).basic_auth("xsadmin", Some(crate::harness::PASSWORD));
    let mut response = request.send().await.unwrap();
    let mut bytes = 0;
    while bytes < 4 << 20 {
        bytes += response.chunk().await.unwrap().expect("the body ended").len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicated_request_is_processed_twice() {
    let world = World::with_group(500.0, 2).await;
    world.fault(0, json!({"fault": "duplicate", "method": "POST", "count": 1}));
    let reply = world.task(0, DISJOIN, json!({"memberName": "c-1"})).await;
    assert_eq!(reply.status, 409, "the second one meets the first");
    let posts = world.calls().into_iter().filter(|call| call.command == DISJOIN);
    let told: Vec<_> = posts.map(|call| (call.status, call.effect)).collect();
    let expected = [(200, "disjoin_started".to_owned()), (409, "disjoin_refused".to_owned())];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_fail_vanish_or_lie_as_told() {
    let world = World::with_members(2000.0, 2).await;
    world.fault(1, json!({"fault": "fail_task", "command": "Join", "count": 1}));
    let task = world.start_join(1).await;
    assert_eq!(world.end_of(1, task).await, "Failed");
    assert_eq!(world.view(0).await.len(), 1);

    world.fault(1, json!({"fault": "lose_task", "count": 1}));
    let lost = world.start_join(1).await;
    assert_eq!(world.task_status(1, lost).await.status, 404);
    assert!(world.has_effect("task_lost"));

    world.fault(1, json!({"fault": "false_success", "count": 1}));
    let task = world.until_started(1).await;
    assert_eq!(world.end_of(1, task).await, "Success");
    assert_eq!(world.view(0).await.len(), 1);
    world.join(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_was_disjoined_can_reappear() {
    let world = World::with_group(2000.0, 2).await;
    world.fault(0, json!({"fault": "reappear", "count": 1}));
    world.disjoin(1).await;
    world.until_effect("member_reappeared").await;
    assert_eq!(world.view(0).await.len(), 2);
    world.until_status(0, 1, "Unreachable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn member_can_show_a_view_of_its_own() {
    let world = World::with_group(2000.0, 2).await;
    world.fault(1, json!({"fault": "split_view", "omit": "c-0"}));
    let names: Vec<_> = world.view(1).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [pod(1)]);
    assert_eq!(world.view(0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn member_forgets_its_tasks_its_data_or_its_group() {
    let world = World::with_group(2000.0, 2).await;
    world.create_grid("g", json!({"numAsyncReplicas": "0"})).await;
    assert_eq!(world.put(0, "k", "v").await, 200);
    world.fault(1, json!({"fault": "forget", "count": 1}));
    let tasks = async || world.get(1, "/task").await.body.as_array().unwrap().len();
    world.until("no tasks", async || tasks().await == 0).await;
    for index in 0..2 {
        world.fault(index, json!({"fault": "forget", "what": "data", "count": 1}));
    }
    world.until("no data", async || world.value(0, "k").await.status == 404).await;
    world.fault(1, json!({"fault": "forget", "what": "group", "count": 1}));
    world.until("alone", async || world.view(1).await.len() == 1).await;
    world.until_status(0, 1, "Unreachable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn password_is_rotated_in_the_whole_group() {
    let world = World::with_group(2000.0, 2).await;
    world.fault(1, json!({"fault": "rotate_password", "password": "Rotated123!", "count": 1}));
    for index in 0..2 {
        let group = "/wxsadmin/v1/cacheMemberGroup";
        world
            .until("the new password", async || {
                world.as_user(index, "Rotated123!", group).await.status == 200
            })
            .await;
        assert_eq!(world.get(index, "/task").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_certificate_is_shown_until_the_fault_is_cleared() {
    let world = World::with_members(2000.0, 1).await;
    let authority = Authority::new("the members' authority").unwrap();
    let root = reqwest::Certificate::from_pem(authority.certificate().as_bytes()).unwrap();
    let url = format!("https://{}:9445/wxsadmin/v1/task", world.default_address(0));
    let trusted = async || {
        let client = reqwest::Client::builder().tls_certs_only([root.clone()]).build().unwrap();
        client.get(&url).send().await.is_ok()
    };
    assert!(!trusted().await);
    let pem = authority.sign(&[&world.default_address(0).to_string()]).unwrap();
    world.fault(0, json!({"fault": "change_certificate", "pem": pem}));
    assert!(trusted().await);
    world.heal(0);
    assert!(!trusted().await);
    world.fault(0, json!({"fault": "change_certificate"}));
    assert!(!trusted().await);
    assert_eq!(world.get(0, "/task").await.status, 200);
}

#[test]
fn certificate_without_its_key_is_refused() {
    let authority = Authority::new("the members' authority").unwrap();
    let fault = json!({"fault": "change_certificate", "pem": authority.certificate()});
    let refused = Faults::new().set("ns", "p", fault).unwrap_err().to_string();
    assert!(refused.contains("no private key in pem"), "{refused}");
}

#[derive(Default)]
struct OneNode(Mutex<bool>);

impl NodeControl for OneNode {
    fn stop(&self, name: &str) -> bool {
        *self.0.lock().unwrap() = true;
        name == "node-0"
    }
    fn start(&self, name: &str) -> bool {
        *self.0.lock().unwrap() = false;
        name == "node-0"
    }
    fn list(&self) -> Vec<NodeState> {
        let running = !*self.0.lock().unwrap();
        vec![NodeState { name: "node-0".to_owned(), running }]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_set_listed_and_cleared_over_http() {
    let faults = Faults::new();
    let nodes = Arc::new(OneNode::default());
    let server = serve(faults.clone(), nodes, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let url = format!("http://{}", server.address);
    let ask = async |method: Method, path: &str, body: &str| {
        let request = client.request(method, format!("{url}{path}")).body(body.to_owned());
        World::send(request).await
    };
    let path = format!("/members/{NAMESPACE}/c-0");
    let fault = r#"{"fault": "slow", "ms": 5, "count": 2}"#;
    assert_eq!(ask(Method::POST, &path, fault).await.status, 200);
    let listed = json!([{"fault": "slow", "ms": 5, "count": 2}]);
    assert_eq!(ask(Method::GET, &path, "").await.body, listed);
    let unknown = ask(Method::POST, &path, r#"{"fault": "explode"}"#).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.body["faults"].as_array().unwrap().len() > 20);
    assert_eq!(ask(Method::POST, &path, "nonsense").await.status, 400);
    assert_eq!(ask(Method::GET, "/members", "").await.body[0]["pod"], "c-0");
    assert_eq!(ask(Method::DELETE, &path, "").await.status, 200);
    assert_eq!(ask(Method::GET, &path, "").await.body, json!([]));

    let stop = r#"{"fault": "stop"}"#;
    assert_eq!(ask(Method::POST, "/nodes/node-0", stop).await.status, 200);
    let stopped = json!([{"name": "node-0", "running": false}]);
    assert_eq!(ask(Method::GET, "/nodes", "").await.body, stopped);
    assert_eq!(ask(Method::POST, "/nodes/node-9", stop).await.status, 404);
    assert_eq!(ask(Method::POST, "/nodes/node-0", "{}").await.status, 400);
    assert_eq!(ask(Method::DELETE, "/nodes/node-0", "").await.status, 200);
    assert_eq!(ask(Method::GET, "/nodes/node-0", "").await.body["running"], true);
}
