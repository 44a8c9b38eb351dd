use serde_json::{Value, json};

use super::*;
use crate::decide::testing::World;

fn pod(status: Value) -> Pod {
    let spec = json!({"containers": [{"name": "xsld"}]});
    serde_json::from_value(json!({"metadata": {"name": "c-0"}, "spec": spec, "status": status}))
        .unwrap()
}

fn container(state: Value, last: Value, restarts: u32) -> Value {
    json!({"containerStatuses": [{"name": "xsld", "image": "reg/xsld:9", "imageID": "",
        "ready": false, "restartCount": restarts, "state": state, "lastState": last}]})
}

fn told(status: Value) -> (Hindered, String) {
    let found = of_pod(&pod(status), Some(&Redactor::new())).unwrap();
    (found.kind, found.words)
}

#[test]
fn an_unschedulable_pod_has_the_schedulers_words() {
    let status = json!({"conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory."}]});
    let (kind, words) = told(status);
    assert_eq!(kind, Hindered::Unschedulable);
    assert_eq!(words, "0/3 nodes are available: 3 Insufficient memory.");
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_with_the_kubelets_words() {
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff",
        "message": "Back-off pulling image: manifest unknown"}});
    let (kind, words) = told(container(waiting, json!({}), 0));
    assert_eq!(kind, Hindered::ImageUnavailable);
    assert_eq!(
        words,
        "image reg/xsld:9: ImagePullBackOff: Back-off pulling image: manifest unknown"
    );
}

#[test]
fn how_a_container_ended_last_is_told_while_it_backs_off_and_while_it_starts_again() {
    let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
    let (kind, words) = told(container(waiting, ended.clone(), 4));
    assert_eq!(kind, Hindered::ContainerFails);
    assert_eq!(
        words,
        "container xsld ended with exit code 137 (OOMKilled) and was started again 4 times"
    );
    let running = json!({"running": {}});
    assert_eq!(told(container(running.clone(), ended, 4)).1, words);
    assert_eq!(
        of_pod(&pod(container(running, json!({}), 0)), None),
        None,
        "it starts for the first time"
    );
}

#[test]
fn a_container_that_says_why_it_ended_is_quoted_on_one_bounded_line() {
    let message = format!("the password\nmust have a digit {}", "x".repeat(9000));
    let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": message}});
    let (_, words) = told(container(ended, json!({}), 1));
    assert!(words.contains("the password\\nmust have a digit"), "{words}");
    assert!(words.chars().count() <= 512, "{}", words.len());
}

#[test]
fn a_wrong_configuration_is_told_and_what_is_only_on_its_way_is_not() {
    let wrong = json!({"waiting": {"reason": "CreateContainerConfigError",
        "message": "secret \"s\" not found"}});
    let (kind, words) = told(container(wrong, json!({}), 0));
    assert_eq!(kind, Hindered::ContainerFails);
    assert_eq!(words, "container xsld: CreateContainerConfigError: secret \"s\" not found");
    for reason in ["ContainerCreating", "PodInitializing"] {
        let waiting = json!({"waiting": {"reason": reason}});
        assert_eq!(of_pod(&pod(container(waiting, json!({}), 0)), None), None);
    }
    let mut ready = container(json!({"running": {}}), json!({}), 3);
    ready["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    assert_eq!(of_pod(&pod(ready), None), None, "what serves is not hindered");
}

fn event(reason: &str, kind: &str, message: &str, second: u32) -> Event {
    serde_json::from_value(json!({
        "metadata": {"name": "e"}, "involvedObject": {}, "reason": reason, "type": kind,
        "message": message, "lastTimestamp": format!("2026-11-29T00:00:{second:02}Z"),
    }))
    .unwrap()
}

#[test]
fn the_newest_refusal_of_a_pod_counts_until_the_pod_was_made() {
    let refused = |pod: &str, second| {
        let text =
            format!("create Pod {pod} in StatefulSet c failed error: pods \"{pod}\" is forbidden");
        event("FailedCreate", "Warning", &text, second)
    };
    let made = event("SuccessfulCreate", "Normal", "create Pod c-1 in StatefulSet c successful", 9);
    let events = [refused("c-0", 3), refused("c-1", 8), refused("c-0", 5), made];
    let kind = Hindered::PodRefused;
    let words = said(&events, kind, "c", 0).unwrap();
    assert!(words.starts_with("FailedCreate: create Pod c-0 in StatefulSet c failed"), "{words}");
    assert_eq!(said(&events, kind, "c", 1), None, "it was made since");
    assert_eq!(said(&events, kind, "c", 10), None, "c-10 is another than c-1");
}

#[test]
fn a_claim_and_a_pod_say_what_their_events_say() {
    let claim = [event("ProvisioningFailed", "Warning", "storageclass \"fast\" not found", 1)];
    let words = said(&claim, Hindered::ClaimUnbound, "c", 0).unwrap();
    assert_eq!(words, "ProvisioningFailed: storageclass \"fast\" not found");
    let waits = [event("WaitForFirstConsumer", "Normal", "waiting for first consumer", 1)];
    assert_eq!(said(&waits, Hindered::ClaimUnbound, "c", 0), None);
    let mount = [event("FailedMount", "Warning", "MountVolume.SetUp failed", 1)];
    assert!(said(&mount, Hindered::NotStarted, "c", 0).is_some());
    let pulling = [event("Pulling", "Normal", "Pulling image", 1)];
    assert_eq!(said(&pulling, Hindered::NotStarted, "c", 0), None);
}

#[test]
fn a_new_try_hides_no_failure_of_a_provisioner_and_a_first_try_is_none() {
    let trying = |second| event("Provisioning", "Normal", "provisions the volume", second);
    assert_eq!(said(&[trying(1)], Hindered::ClaimUnbound, "c", 0), None);
    let failed = event("ProvisioningFailed", "Warning", "quota of the disks", 2);
    let words = said(&[trying(1), failed, trying(3)], Hindered::ClaimUnbound, "c", 0).unwrap();
    assert_eq!(words, "ProvisioningFailed: quota of the disks");
    let mut waits = event("ExternalProvisioning", "Normal", "waiting for disks.example.com", 1);
    waits.count = Some(1);
    assert_eq!(said(&[waits.clone()], Hindered::ClaimUnbound, "c", 0), None);
    waits.count = Some(NORMAL_TOLD);
    assert!(said(&[waits], Hindered::ClaimUnbound, "c", 0).is_some(), "nobody provisions");
}

#[test]
fn what_a_kubelet_told_before_it_went_on_is_over() {
    let kind = Hindered::NotStarted;
    let failed = event("FailedMount", "Warning", "MountVolume.SetUp failed", 1);
    let pulling = event("Pulling", "Normal", "Pulling image", 2);
    assert_eq!(said(&[failed.clone(), pulling], kind, "c", 0), None);
    let placed = event("Scheduled", "Normal", "Successfully assigned", 1);
    assert!(said(&[failed, placed], kind, "c", 0).is_some(), "a warning of the same second");
    let unplaced = event("FailedScheduling", "Warning", "0/1 nodes", 1);
    assert_eq!(said(&[unplaced], kind, "c", 0), None, "it is scheduled");
}

#[test]
fn a_claim_that_is_made_is_no_pod_that_is_made() {
    let kind = Hindered::PodRefused;
    let text = "create Pod c-0 in StatefulSet c failed error: pods \"c-0\" is forbidden: quota";
    let refused = event("FailedCreate", "Warning", text, 5);
    let text = "create Claim vol-c-0 Pod c-0 in StatefulSet c success";
    let claim = event("SuccessfulCreate", "Normal", text, 6);
    assert!(said(&[refused, claim], kind, "c", 0).is_some());
    let text = "create Claim vol-c-0 for Pod c-0 in StatefulSet c failed error: exceeded quota";
    let refused = event("FailedCreate", "Warning", text, 5);
    assert!(said(&[refused], kind, "c", 0).is_some(), "a claim that is refused holds up its pod");
}

#[test]
fn a_pod_that_goes_and_a_long_run_that_ended_are_no_failed_starts() {
    let ended = json!({"terminated": {"exitCode": 143, "reason": "Error"}});
    let mut going = pod(container(ended, json!({}), 0));
    assert!(of_pod(&going, None).is_some());
    going.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-11-29T00:00:00Z")).unwrap();
    assert_eq!(of_pod(&going, None), None);
    let ended = |finished: &str| {
        json!({"terminated": {"exitCode": 137, "reason": "Error",
            "startedAt": "2026-11-29T00:00:00Z", "finishedAt": finished}})
    };
    let running = json!({"running": {}});
    let served = container(running.clone(), ended("2026-11-29T07:00:00Z"), 9);
    assert_eq!(of_pod(&pod(served), None), None, "it starts after its node was started anew");
    let failed = container(running, ended("2026-11-29T00:00:20Z"), 9);
    assert!(of_pod(&pod(failed), None).is_some());
}

#[test]
fn no_part_of_a_password_is_told_where_the_words_are_cut() {
    let password = "Canary-Pw-9f3c!".into();
    let message = format!("{}Canary-Pw-9f3c! is no good", "x".repeat(425));
    let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": message}});
    let pod = pod(container(ended, json!({}), 1));
    let known = Redactor::new().with(&password);
    let words = of_pod(&pod, Some(&known)).unwrap().words;
    assert!(words.contains("[redacted]") && !words.contains("Canary"), "{words}");
    let unknown = of_pod(&pod, None).unwrap().words;
    assert_eq!(unknown, "container xsld ended with exit code 1 (Error) and was started again once");
}

#[test]
fn a_node_that_turned_a_pod_away_is_told() {
    let status = json!({"phase": "Failed", "reason": "Evicted",
        "message": "The node was low on resource: memory."});
    assert_eq!(
        told(status),
        (Hindered::NotStarted, "Evicted: The node was low on resource: memory.".to_owned())
    );
}

#[test]
fn a_lost_node_is_told_with_what_to_do_and_one_that_speaks_is_not_called_lost() {
    let nodes = Nodes::default();
    let with = |status: &str| {
        let ready = json!({"type": "Ready", "status": status, "reason": "NodeStatusUnknown"});
        let node = json!({"metadata": {"name": "n1"}, "status": {"conditions": [ready]}});
        nodes.take(Ok(kube::runtime::watcher::Event::Apply(serde_json::from_value(node).unwrap())));
    };
    nodes.take(Ok(kube::runtime::watcher::Event::Init));
    nodes.take(Ok(kube::runtime::watcher::Event::InitDone));
    let mut on_it = pod(json!({}));
    on_it.metadata.namespace = Some("team".to_owned());
    on_it.spec.as_mut().unwrap().node_name = Some("n1".to_owned());
    assert_eq!(of_node(&on_it, &nodes), None, "nothing is known of it");
    with("Unknown");
    let found = of_node(&on_it, &nodes).unwrap();
    assert_eq!(found.kind, Hindered::NodeLost);
    let command = "kubectl delete pod c-0 --namespace team --force --grace-period=0";
    assert!(found.words.contains(command), "{}", found.words);
    with("False");
    let found = of_node(&on_it, &nodes).unwrap();
    assert_eq!(found.kind, Hindered::NotStarted);
    assert!(!found.words.contains("--force"), "{}", found.words);
    with("True");
    assert_eq!(of_node(&on_it, &nodes), None);
}

#[test]
fn nothing_is_asked_for_a_cache_at_rest_and_little_for_one_that_misses_much() {
    let mut world = World::group(8);
    assert_eq!(asked(&world.seen), []);
    world.seen.pods.remove(&7);
    let asked_now = asked(&world.seen);
    assert_eq!(asked_now.len(), 1);
    assert_eq!((asked_now[0].kind, &asked_now[0].members[..]), (Hindered::PodRefused, &[7][..]));
    for pod in world.seen.pods.values_mut() {
        pod.running = false;
    }
    assert_eq!(asked(&world.seen).len(), OBJECTS_MAX);
    // What the pods tell themselves is not asked.
    for ordinal in 0..7 {
        let told = Hindrance::new(Hindered::ContainerFails, "it ends", &Redactor::new());
        world.seen.hindrances.insert(ordinal, told);
    }
    assert_eq!(asked(&world.seen), asked_now);
}

#[tokio::test]
async fn events_are_asked_by_the_uid_of_their_object_in_one_bounded_request() {
    use std::sync::{Arc, Mutex};
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = calls.clone();
    let answer = move |request: http::Request<kube::client::Body>| {
        log.lock().unwrap().push(request.uri().to_string());
        async move {
            let text = "create Pod c-1 in StatefulSet c failed error: exceeded quota: q";
            let event = event("FailedCreate", "Warning", text, 1);
            let list = json!({"apiVersion": "v1", "kind": "EventList", "metadata": {},
                "items": [event]});
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
                list.to_string().into_bytes(),
            )))
        }
    };
    let client = Client::new(tower::service_fn(answer), "team");
    let mut world = World::group(3);
    world.seen.pods.remove(&1);
    world.seen.pods.remove(&2);
    let asked = asked(&world.seen);
    let about = (&world.seen, &asked[0]);
    let known = Redactor::new();
    let told = read(&client, ("team", "c"), about, &known, Duration::from_secs(5)).await.unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), [&1], "nothing is said of the other");
    assert_eq!(told[&1].kind, Hindered::PodRefused);
    let calls = calls.lock().unwrap();
    let uid = &world.seen.stateful_set.as_ref().unwrap().uid;
    assert_eq!(calls.len(), 1);
    assert!(calls[0].starts_with("/api/v1/namespaces/team/events?"), "{calls:?}");
    assert!(calls[0].contains("limit=100") && calls[0].contains(uid), "{calls:?}");
}

#[test]
fn what_was_heard_a_moment_ago_stays_with_pods_that_are_as_they_were() {
    let mut former = World::group(3).seen;
    former.pods.remove(&1);
    let mut seen = former.clone();
    for ordinal in [1, 2] {
        let told = Hindrance::new(Hindered::NotStarted, "heard", &Redactor::new());
        former.hindrances.insert(ordinal, told);
    }
    seen.pods.get_mut(&2).unwrap().running = false;
    seen.keep_hindrances(&former);
    assert_eq!(seen.hindrances.keys().collect::<Vec<_>>(), [&1]);
    let now = Hindrance::new(Hindered::PodRefused, "seen now", &Redactor::new());
    seen.hindrances.insert(1, now.clone());
    seen.keep_hindrances(&former);
    assert_eq!(seen.hindrances[&1], now);
}
