use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "c-0"}, "spec": spec, "status": {}}))
        .unwrap()
}

fn plain() -> Pod {
    pod(json!({"containers": [], "restartPolicy": "Always"}))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ended(code: i32) -> Ended {
    let (reason, id) = ("Error".to_owned(), "sim://1".to_owned());
    Ended { code, reason, message: String::new(), started: at(1), finished: at(2), id }
}

fn container(state: State, ready: bool) -> ContainerView {
    let mut view = ContainerView::resumed("xsld", "ibmcom/xsld:8613", None);
    view.state = state;
    view.ready = ready;
    view
}

fn status(pod: &Pod, container: ContainerView, over: bool) -> PodStatus {
    let address = Ipv4Addr::new(127, 70, 0, 5);
    let containers = [container];
    let view =
        PodView { containers: &containers, address, host: Ipv4Addr::LOCALHOST, begun: at(1), over };
    pod_status(pod, &view, at(100))
}

fn ready(status: &PodStatus) -> &PodCondition {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready").unwrap()
}

#[test]
fn a_pod_is_pending_until_each_container_has_begun_once() {
    let waiting = container(State::waiting("ContainerCreating", ""), false);
    assert_eq!(status(&plain(), waiting.clone(), false).phase.unwrap(), "Pending");
    let mut crashed = waiting;
    crashed.last = Some(ended(1));
    assert_eq!(status(&plain(), crashed, false).phase.unwrap(), "Running");
    let running = container(State::Running { since: at(5) }, false);
    assert_eq!(status(&plain(), running, false).phase.unwrap(), "Running");
}

#[test]
fn readiness_names_the_containers_that_are_not_ready() {
    let running = |ready| container(State::Running { since: at(5) }, ready);
    let told = status(&plain(), running(false), false);
    assert_eq!(ready(&told).status, "False");
    assert_eq!(ready(&told).message.as_deref(), Some("containers with unready status: [xsld]"));
    assert_eq!(ready(&status(&plain(), running(true), false)).status, "True");
}

#[test]
fn a_readiness_gate_holds_the_pod_back() {
    let mut gated =
        pod(json!({"containers": [], "readinessGates": [{"conditionType": "example.com/open"}]}));
    let running = container(State::Running { since: at(5) }, true);
    let told = status(&gated, running.clone(), false);
    assert_eq!(ready(&told).reason.as_deref(), Some("ReadinessGatesNotReady"));
    gated.status = serde_json::from_value(
        json!({"conditions": [{"type": "example.com/open", "status": "True"}]}),
    )
    .unwrap();
    assert_eq!(ready(&status(&gated, running, false)).status, "True");
}

#[test]
fn the_phase_at_the_end_follows_policy_and_deletion() {
    let stopped = |code| container(State::Terminated(ended(code)), false);
    assert_eq!(status(&plain(), stopped(0), false).phase.unwrap(), "Running");
    assert_eq!(status(&plain(), stopped(0), true).phase.unwrap(), "Succeeded");
    assert_eq!(status(&plain(), stopped(143), true).phase.unwrap(), "Failed");
    let once = pod(json!({"containers": [], "restartPolicy": "Never"}));
    assert_eq!(status(&once, stopped(0), false).phase.unwrap(), "Succeeded");
    assert_eq!(status(&once, stopped(2), false).phase.unwrap(), "Failed");
}

#[test]
fn a_status_that_the_pod_has_already_is_not_sent_again() {
    let running = container(State::Running { since: at(5) }, true);
    let mut live = plain();
    let first = status(&live, running.clone(), false);
    assert!(differs(&first, &live));
    live.status = Some(first);
    let mut again = status(&live, running.clone(), false);
    assert!(!differs(&again, &live));
    assert_eq!(ready(&again).last_transition_time, Some(Time(at(100))));
    again.phase = Some("Failed".to_owned());
    assert!(differs(&again, &live));
}

#[test]
fn a_container_that_ran_when_its_node_stopped_counts_as_restarted() {
    let mut running = container(State::Running { since: at(5) }, true);
    running.id = Some("sim://7".to_owned());
    running.restarts = 2;
    let before = running.status();
    let resumed = ContainerView::resumed("xsld", "ibmcom/xsld:8613", Some(&before));
    assert_eq!(resumed.restarts, 3);
    assert_eq!(resumed.last.unwrap().id, "sim://7");
}
