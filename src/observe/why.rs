//! Why a pod is not there or does not start, in the words of the API server, the scheduler, the
//! kubelet or the volume's provisioner.
//!
//! What stands in the pods is read with them. Events are read only while something is missing, by
//! the UID of the object that they are about, so many at most, and not in each pass.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use tracing::debug;
use xsld_journal::event::Ordinal;

use super::nodes::{Health, Nodes};
use crate::manifests::{claim_name, pod_name};
use crate::observation::{Hindered, Hindrance, Observation};
use crate::telemetry::chain;
use crate::xsld::text::Redactor;

/// Most Events that are read of one object.
const EVENTS_MAX: u32 = 100;

/// Most objects of one cache whose Events are read at a time.
const OBJECTS_MAX: usize = 4;

/// From so many restarts on it is told of a container that runs how it ended before.
const RESTARTS_TOLD: i32 = 3;

/// A run that lasted longer, in seconds, was no failed start: a member starts within ten minutes.
const START_S: i64 = 600;

/// From so many times on an Event that is no warning tells why something does not go on: before, it
/// tells only that it is on its way.
const NORMAL_TOLD: i32 = 4;

/// Reasons by which a kubelet says that an image cannot be had.
const IMAGE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// Whether the pod's node is lost, and then nobody knows whether its containers still run, or does
/// not take part just now.
pub fn of_node(pod: &Pod, nodes: &Nodes) -> Option<Hindrance> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let metadata = &pod.metadata;
    let (name, namespace) = (metadata.name.as_deref()?, metadata.namespace.as_deref()?);
    let (kind, words) = match nodes.health(node)? {
        Health::Well => return None,
        Health::NotReady(why) => {
            (Hindered::NotStarted, format!("its node {node} is not ready ({why})"))
        }
        Health::Lost(why) => (
            Hindered::NodeLost,
            format!(
                "its node {node} is lost ({why}), and its container may still run there. When the \
                 node is certainly off or cut off from its volumes, and not before: kubectl delete \
                 pod {name} --namespace {namespace} --force --grace-period=0"
            ),
        ),
    };
    Some(Hindrance::new(kind, &words, &Redactor::new()))
}

/// What the pod itself tells of why it does not start. What its containers said is told without the
/// secrets that are `known`, and not at all while those are not.
pub fn of_pod(pod: &Pod, known: Option<&Redactor>) -> Option<Hindrance> {
    let status = pod.status.as_ref()?;
    let condition = |kind: &str| status.conditions.iter().flatten().find(|it| it.type_ == kind);
    let is_ready = condition("Ready").is_some_and(|ready| ready.status == "True");
    // That the containers of a pod that goes end is no failure.
    if is_ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let plain = Redactor::new();
    let redactor = known.unwrap_or(&plain);
    if let Some(scheduled) = condition("PodScheduled").filter(|it| it.status == "False") {
        let words = scheduled.message.as_deref().or(scheduled.reason.as_deref());
        let words = words.unwrap_or("no node takes it");
        return Some(Hindrance::new(Hindered::Unschedulable, words, redactor));
    }
    // A node turned it away, or took it off: Evicted, OutOfcpu, NodeAffinity, ...
    if let (Some("Failed"), Some(reason)) = (status.phase.as_deref(), &status.reason) {
        let words = format!("{reason}: {}", status.message.as_deref().unwrap_or_default());
        return Some(Hindrance::new(Hindered::NotStarted, &words, redactor));
    }
    let init = status.init_container_statuses.iter().flatten();
    let mut all = init.chain(status.container_statuses.iter().flatten());
    let (kind, words) = all.find_map(|container| of_container(container, known.is_some()))?;
    Some(Hindrance::new(kind, &words, redactor))
}

/// Whether its own words may be `told` is for the caller to say.
fn of_container(status: &ContainerStatus, told: bool) -> Option<(Hindered, String)> {
    let state = status.state.as_ref()?;
    let (name, image) = (&status.name, &status.image);
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let said = waiting.message.as_deref().unwrap_or_default();
        if IMAGE.contains(&reason) {
            return Some((Hindered::ImageUnavailable, format!("image {image}: {reason}: {said}")));
        }
        if let Some(ended) = ended(status) {
            return Some((Hindered::ContainerFails, ending(status, ended, told)));
        }
        // What is only on its way says so itself.
        if ["", "ContainerCreating", "PodInitializing"].contains(&reason) {
            return None;
        }
        return Some((Hindered::ContainerFails, format!("container {name}: {reason}: {said}")));
    }
    let ended = ended(status)?;
    // One that runs again may be on its way; one that fails to start again and again is not.
    let is_loop = status.restart_count >= RESTARTS_TOLD && is_failed_start(ended);
    if state.running.is_some() && !is_loop {
        return None;
    }
    Some((Hindered::ContainerFails, ending(status, ended, told)))
}

/// How its container ended, now or last.
fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    fn terminated(state: Option<&ContainerState>) -> Option<&ContainerStateTerminated> {
        state?.terminated.as_ref()
    }
    let ended = terminated(status.state.as_ref()).or(terminated(status.last_state.as_ref()))?;
    // An init container that did its work.
    let completed = ended.exit_code == 0 && ended.reason.as_deref() == Some("Completed");
    (!completed).then_some(ended)
}

/// Whether that run was too short to have served. One that does not tell was.
fn is_failed_start(ended: &ContainerStateTerminated) -> bool {
    match (&ended.started_at, &ended.finished_at) {
        (Some(began), Some(ended)) => ended.0.as_second() - began.0.as_second() <= START_S,
        _ => true,
    }
}

fn ending(status: &ContainerStatus, ended: &ContainerStateTerminated, told: bool) -> String {
    let reason = ended.reason.as_deref().unwrap_or("no reason told");
    let said = ended.message.as_deref().map(str::trim).filter(|said| told && !said.is_empty());
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    let again = match status.restart_count {
        0 => String::new(),
        1 => " and was started again once".to_owned(),
        times => format!(" and was started again {times} times"),
    };
    format!(
        "container {} ended with exit code {} ({reason}){again}{said}",
        status.name, ended.exit_code
    )
}

/// An object whose Events may say why members' pods are not there or do not start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    uid: String,
    kind: Hindered,
    members: Vec<Ordinal>,
}

/// Whom to ask about what is missing, and is not told by the pods. Empty for a cache at rest.
pub fn asked(seen: &Observation) -> Vec<Asked> {
    let Some(set) = seen.stateful_set.as_ref().filter(|set| !set.deleting) else { return vec![] };
    let mut all = Vec::new();
    let missing = (0..set.replicas).filter(|ordinal| !seen.pods.contains_key(ordinal));
    let missing: Vec<Ordinal> = missing.collect();
    if !missing.is_empty() {
        let uid = set.uid.clone();
        all.push(Asked { uid, kind: Hindered::PodRefused, members: missing });
    }
    for (ordinal, pod) in &seen.pods {
        if pod.running || pod.deleting {
            continue;
        }
        let known = seen.hindrances.get(ordinal).map(|known| known.kind);
        let claim = seen.claims.get(ordinal).filter(|claim| claim.capacity.is_none());
        let (uid, kind) = match (claim, known) {
            (Some(claim), None | Some(Hindered::Unschedulable)) => {
                (claim.uid.clone(), Hindered::ClaimUnbound)
            }
            (None, None) => (pod.incarnation.pod_uid.clone(), Hindered::NotStarted),
            (_, Some(_)) => continue,
        };
        all.push(Asked { uid, kind, members: vec![*ordinal] });
    }
    all.truncate(OBJECTS_MAX);
    all
}

/// Reads the Events about one object, and gives what they say by member; none when they cannot be
/// read. That is no finding: nothing is decided by them.
pub async fn read(
    client: &Client,
    (namespace, name): (&str, &str),
    (seen, asked): (&Observation, &Asked),
    known: &Redactor,
    timeout: Duration,
) -> Option<BTreeMap<Ordinal, Hindrance>> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default()
        .fields(&format!("involvedObject.uid={}", asked.uid))
        .limit(EVENTS_MAX);
    let listed = match tokio::time::timeout(timeout, api.list(&params)).await {
        Ok(Ok(listed)) => listed.items,
        Ok(Err(error)) => {
            debug!(error = chain(&error), "Events cannot be read");
            return None;
        }
        Err(_) => return None,
    };
    let said = asked.members.iter().filter_map(|ordinal| {
        let words = said(&listed, asked.kind, name, *ordinal)?;
        let words = match asked.kind {
            Hindered::ClaimUnbound => format!("{}{words}", claim_words(seen, name, *ordinal)),
            _ => words,
        };
        Some((*ordinal, Hindrance::new(asked.kind, &words, known)))
    });
    Some(said.collect())
}

fn claim_words(seen: &Observation, name: &str, ordinal: Ordinal) -> String {
    let class = seen.claims.get(&ordinal).and_then(|claim| claim.class.as_deref());
    let class = match class {
        None | Some("") => "without a storage class".to_owned(),
        Some(class) => format!("of the storage class {class}"),
    };
    format!("claim {} {class} has no volume: ", claim_name(name, ordinal))
}

/// What the newest of these Events that says why says.
fn said(events: &[Event], kind: Hindered, cache: &str, ordinal: Ordinal) -> Option<String> {
    let event = match kind {
        Hindered::PodRefused => refusal(events, &pod_name(cache, ordinal)),
        // Provisioners tell of each new try as well: the last failure counts, not the last try.
        Hindered::ClaimUnbound => newest(events, holds_up_a_claim),
        // A kubelet goes on when it can: what it told before that is over.
        Hindered::NotStarted => newest(events, |_| true).filter(|event| {
            is_warning(event) && event.reason.as_deref() != Some("FailedScheduling")
        }),
        Hindered::Unschedulable
        | Hindered::ImageUnavailable
        | Hindered::ContainerFails
        | Hindered::NodeLost => None,
    }?;
    let reason = event.reason.as_deref().unwrap_or_default();
    let message = event.message.as_deref().filter(|message| !message.is_empty())?;
    Some(format!("{reason}: {message}"))
}

/// The refusal of a pod, or of the claim that it needs, unless that pod was made since.
fn refusal<'a>(events: &'a [Event], pod: &str) -> Option<&'a Event> {
    let about = |event: &Event, reason: &str| {
        let message = event.message.as_deref().unwrap_or_default();
        let names_it = message.split(|it: char| it.is_whitespace() || "\",:;".contains(it));
        event.reason.as_deref() == Some(reason) && names_it.into_iter().any(|word| word == pod)
    };
    // Its claim may be made and it may not.
    let made = |event: &Event| {
        about(event, "SuccessfulCreate")
            && event.message.as_deref().is_some_and(|message| message.starts_with("create Pod "))
    };
    let refused = newest(events, |event| about(event, "FailedCreate"))?;
    newest(events, made).is_none_or(|made| at(made) <= at(refused)).then_some(refused)
}

fn holds_up_a_claim(event: &Event) -> bool {
    let reason = event.reason.as_deref().unwrap_or_default();
    let lasts = event.count.is_some_and(|count| count >= NORMAL_TOLD);
    match reason {
        "WaitForFirstConsumer" | "WaitForPodScheduled" => false,
        "FailedBinding" => true,
        "ExternalProvisioning" => lasts,
        _ => is_warning(event),
    }
}

fn is_warning(event: &Event) -> bool {
    event.type_.as_deref() == Some("Warning")
}

/// The newest of those that tell; of two of the same time a warning.
fn newest(events: &[Event], tells: impl Fn(&Event) -> bool) -> Option<&Event> {
    let telling = events.iter().filter(|event| tells(event));
    telling.max_by_key(|event| (at(event), is_warning(event)))
}

/// When an Event happened last, in microseconds.
fn at(event: &Event) -> i64 {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let times = [
        series.map(|time| time.0),
        event.last_timestamp.as_ref().map(|time| time.0),
        event.event_time.as_ref().map(|time| time.0),
        event.metadata.creation_timestamp.as_ref().map(|time| time.0),
    ];
    times.into_iter().flatten().map(|time| time.as_microsecond()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests;
