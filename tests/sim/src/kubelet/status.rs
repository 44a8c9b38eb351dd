//! What a kubelet tells about a pod. Pure: the containers' states and the pod
//! as last seen go in, the pod's status comes out.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
    pub(super) id: String,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: String, message: String },
    Running { since: Timestamp },
    Terminated(Ended),
}

/// A container as the kubelet knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerView {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) id: Option<String>,
    pub(super) restarts: i32,
    pub(super) started: bool,
    pub(super) ready: bool,
    pub(super) state: State,
    pub(super) last: Option<Ended>,
}

/// A pod as the kubelet knows it.
pub(super) struct PodView<'a> {
    pub(super) containers: &'a [ContainerView],
    pub(super) address: Ipv4Addr,
    pub(super) host: Ipv4Addr,
    pub(super) begun: Timestamp,
    /// The pod is being deleted and its containers have ended for good.
    pub(super) over: bool,
}

/// Kubernetes keeps whole seconds: a finer time would never compare equal.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl State {
    pub(super) fn waiting(reason: &str, message: impl Into<String>) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: message.into() }
    }
}

impl ContainerView {
    /// A container as a kubelet finds it when it takes the pod on: new, or one
    /// that ran before the Node stopped.
    pub(super) fn resumed(name: &str, image: &str, before: Option<&ContainerStatus>) -> Self {
        let mut view = Self {
            name: name.to_owned(),
            image: image.to_owned(),
            id: None,
            restarts: 0,
            started: false,
            ready: false,
            state: State::waiting("ContainerCreating", ""),
            last: None,
        };
        let Some(before) = before else { return view };
        view.restarts = before.restart_count;
        let lost = before.state.as_ref().and_then(|state| state.running.as_ref());
        if let Some(running) = lost {
            let started = running.started_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
            view.restarts += 1;
            view.last = Some(Ended {
                code: 137,
                reason: "ContainerStatusUnknown".to_owned(),
                message: "The container could not be located when the node came back".to_owned(),
                started,
                finished: started,
                id: before.container_id.clone().unwrap_or_default(),
            });
        } else {
            view.last = before.last_state.as_ref().and_then(terminated);
        }
        view
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.id.as_ref().map(|_| format!("sim://{}", self.image)).unwrap_or_default(),
            container_id: self.id.clone(),
            restart_count: self.restarts,
            started: Some(self.started),
            ready: self.ready,
            state: Some(api_state(&self.state)),
            last_state: Some(self.last.clone().map_or_else(ContainerState::default, |ended| {
                api_state(&State::Terminated(ended))
            })),
            ..ContainerStatus::default()
        }
    }
}

fn terminated(state: &ContainerState) -> Option<Ended> {
    let ended = state.terminated.as_ref()?;
    let time = |time: &Option<Time>| time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(Ended {
        code: ended.exit_code,
        reason: ended.reason.clone().unwrap_or_default(),
        message: ended.message.clone().unwrap_or_default(),
        started: time(&ended.started_at),
        finished: time(&ended.finished_at),
        id: ended.container_id.clone().unwrap_or_default(),
    })
}

fn api_state(state: &State) -> ContainerState {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut api = ContainerState::default();
    match state {
        State::Waiting { reason, message } => {
            let (reason, message) = (some(reason), some(message));
            api.waiting = Some(ContainerStateWaiting { reason, message });
        }
        State::Running { since } => {
            api.running = Some(ContainerStateRunning { started_at: Some(Time(*since)) });
        }
        State::Terminated(ended) => {
            api.terminated = Some(ContainerStateTerminated {
                exit_code: ended.code,
                reason: some(&ended.reason),
                message: some(&ended.message),
                started_at: Some(Time(ended.started)),
                finished_at: Some(Time(ended.finished)),
                container_id: some(&ended.id),
                signal: None,
            });
        }
    }
    api
}

/// The status that the pod should have now.
pub(super) fn pod_status(pod: &Pod, view: &PodView<'_>, now: Timestamp) -> PodStatus {
    let statuses: Vec<ContainerStatus> =
        view.containers.iter().map(ContainerView::status).collect();
    let phase = phase(pod, view);
    let unready: Vec<&str> = view
        .containers
        .iter()
        .filter(|container| !container.ready)
        .map(|container| container.name.as_str())
        .collect();
    let (reason, message) = match (phase, unready.is_empty()) {
        ("Succeeded", _) => (Some("PodCompleted".to_owned()), None),
        ("Failed", _) => (Some("PodFailed".to_owned()), None),
        (_, true) => (None, None),
        (_, false) => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            (Some("ContainersNotReady".to_owned()), Some(message))
        }
    };
    let containers_ready = reason.is_none();
    let gate = unmet_gate(pod).filter(|_| containers_ready);
    let gate_reason = gate.as_ref().map(|_| "ReadinessGatesNotReady".to_owned());
    let condition = |type_: &str, good: bool, reason: Option<String>, message: Option<String>| {
        condition(pod, type_, good, reason, message, now)
    };
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(vec![
            condition("PodReadyToStartContainers", !view.over, None, None),
            condition("Initialized", true, None, None),
            condition("ContainersReady", containers_ready, reason.clone(), message.clone()),
            condition(
                "Ready",
                containers_ready && gate.is_none(),
                reason.or(gate_reason),
                message.or(gate),
            ),
        ]),
        host_ip: Some(view.host.to_string()),
        host_ips: Some(vec![HostIP { ip: view.host.to_string() }]),
        pod_ip: Some(view.address.to_string()),
        pod_ips: Some(vec![PodIP { ip: view.address.to_string() }]),
        start_time: Some(Time(view.begun)),
        container_statuses: Some(statuses),
        ..PodStatus::default()
    }
}

fn phase(pod: &Pod, view: &PodView<'_>) -> &'static str {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let ended = |container: &ContainerView| match &container.state {
        State::Terminated(ended) => Some(ended.code),
        State::Waiting { .. } => container.last.as_ref().map(|last| last.code),
        State::Running { .. } => None,
    };
    let codes: Vec<Option<i32>> = view.containers.iter().map(ended).collect();
    let all_good = codes.iter().all(|code| *code == Some(0));
    if view.over {
        return if all_good { "Succeeded" } else { "Failed" };
    }
    let never_began = |container: &ContainerView| {
        matches!(container.state, State::Waiting { .. }) && container.last.is_none()
    };
    if view.containers.iter().any(never_began) {
        "Pending"
    } else if codes.iter().any(Option::is_none) {
        "Running"
    } else {
        match policy {
            Some("Never") if all_good => "Succeeded",
            Some("Never") => "Failed",
            Some("OnFailure") if all_good => "Succeeded",
            _ => "Running",
        }
    }
}

fn unmet_gate(pod: &Pod) -> Option<String> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let unmet = gates.iter().find(|gate| {
        find(pod, &gate.condition_type).is_none_or(|condition| condition.status != "True")
    })?;
    Some(format!("the status of pod readiness gate \"{}\" is not \"True\"", unmet.condition_type))
}

fn find<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn condition(
    pod: &Pod,
    type_: &str,
    good: bool,
    reason: Option<String>,
    message: Option<String>,
    now: Timestamp,
) -> PodCondition {
    let status = if good { "True" } else { "False" };
    let before = find(pod, type_).filter(|condition| condition.status == status);
    let since = before.and_then(|condition| condition.last_transition_time.clone());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: since.or(Some(Time(whole_seconds(now)))),
        ..PodCondition::default()
    }
}

/// Whether the live pod lacks something of the status that it should have.
pub(super) fn differs(wanted: &PodStatus, live: &Pod) -> bool {
    let Some(status) = &live.status else { return true };
    let conditions = wanted.conditions.iter().flatten().all(|wanted| {
        find(live, &wanted.type_).is_some_and(|live| {
            live.status == wanted.status
                && live.reason == wanted.reason
                && live.message == wanted.message
        })
    });
    let containers = |status: &PodStatus| {
        let mut all = status.container_statuses.clone().unwrap_or_default();
        for container in &mut all {
            // Absent and empty are the same to the API server.
            container.last_state = container.last_state.take().or_else(|| Some(Default::default()));
            container.allocated_resources = None;
            container.resources = None;
        }
        all
    };
    !conditions
        || status.phase != wanted.phase
        || status.pod_ip != wanted.pod_ip
        || status.host_ip != wanted.host_ip
        || status.start_time != wanted.start_time
        || containers(status) != containers(wanted)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
