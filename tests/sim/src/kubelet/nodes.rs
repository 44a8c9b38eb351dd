//! The Nodes of the world: they are registered, their leases renewed, and each
//! can be stopped as if its power went.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use serde_json::{Value, json};

use super::cluster::{Cluster, Wake};
use crate::faults::{NodeControl, NodeState};

/// Often enough that several renewals fit in the shortest grace of a world.
const RENEWAL: Duration = Duration::from_secs(1);
const LEASES: &str = "kube-node-lease";

/// Which Nodes there are and which of them run.
pub(super) struct Nodes {
    running: Mutex<BTreeMap<String, bool>>,
    addresses: BTreeMap<String, Ipv4Addr>,
    wake: Wake,
}

impl Nodes {
    /// Nodes named `node-1` and so on, all running, one for each address.
    pub(super) fn new(addresses: Vec<Ipv4Addr>, wake: Wake) -> Self {
        let name = |index: usize| format!("node-{}", index + 1);
        let addresses: BTreeMap<String, Ipv4Addr> =
            addresses.into_iter().enumerate().map(|(index, at)| (name(index), at)).collect();
        let running = addresses.keys().map(|name| (name.clone(), true)).collect();
        Self { running: Mutex::new(running), addresses, wake }
    }

    pub(super) fn is_running(&self, name: &str) -> bool {
        self.states().get(name) == Some(&true)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.addresses.keys().cloned().collect()
    }

    pub(super) fn address(&self, name: &str) -> Ipv4Addr {
        self.addresses.get(name).copied().unwrap_or(Ipv4Addr::LOCALHOST)
    }

    fn states(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, run: bool) -> bool {
        let found = self.states().get_mut(name).map(|running| *running = run).is_some();
        if found {
            self.wake.wake();
        }
        found
    }
}

impl NodeControl for Nodes {
    fn stop(&self, name: &str) -> bool {
        self.set(name, false)
    }

    fn start(&self, name: &str) -> bool {
        self.set(name, true)
    }

    fn list(&self) -> Vec<NodeState> {
        let states = self.states();
        let state =
            |(name, running): (&String, &bool)| NodeState { name: name.clone(), running: *running };
        states.iter().map(state).collect()
    }
}

/// Keeps one Node registered, Ready and its lease fresh while it runs.
pub(super) async fn keep(client: Client, cluster: Arc<Cluster>, nodes: Arc<Nodes>, name: String) {
    let mut tick = tokio::time::interval(RENEWAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // As a real kubelet: a Node registers when it starts, not while it runs, so
    // that a Node object that somebody deletes stays deleted.
    let mut registered = false;
    loop {
        tick.tick().await;
        if !nodes.is_running(&name) {
            registered = false;
            continue;
        }
        if !registered {
            match register(&client, &name).await {
                Ok(()) => registered = true,
                Err(error) => {
                    tracing::warn!(%error, node = name, "a Node was not registered");
                    continue;
                }
            }
        }
        let live = cluster.nodes.get(&ObjectRef::new(&name));
        let kept = keep_once(&client, live.as_deref(), &name, nodes.address(&name)).await;
        if let Err(error) = kept {
            tracing::debug!(%error, node = name, "a Node was not kept alive");
        }
    }
}

async fn register(client: &Client, name: &str) -> kube::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        }},
    }))
    .expect("a fixed Node is a valid Node");
    match api.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

async fn keep_once(
    client: &Client,
    live: Option<&Node>,
    name: &str,
    address: Ipv4Addr,
) -> kube::Result<()> {
    renew_lease(client, name).await?;
    let Some(live) = live else { return Ok(()) };
    if is_ready(live) {
        return Ok(());
    }
    let patch = Patch::Strategic(json!({"status": status(address, Timestamp::now())}));
    let api: Api<Node> = Api::all(client.clone());
    api.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
}

async fn renew_lease(client: &Client, name: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let spec = json!({
        "holderIdentity": name,
        "leaseDurationSeconds": 40,
        "renewTime": format!("{:.6}", Timestamp::now()),
    });
    let patch = Patch::Merge(json!({"spec": spec}));
    match leases.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let lease = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
                .expect("a fixed Lease is a valid Lease");
            leases.create(&PostParams::default(), &lease).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Whether the Node's condition `Ready` is true.
pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the Node takes pods: Ready, and no taint is left from before it was.
pub(super) fn takes_pods(node: &Node) -> bool {
    let tainted = node.spec.as_ref().is_some_and(|spec| {
        spec.taints.iter().flatten().any(|taint| taint.key == "node.kubernetes.io/not-ready")
    });
    is_ready(node) && !tainted && node.metadata.deletion_timestamp.is_none()
}

fn status(address: Ipv4Addr, now: Timestamp) -> Value {
    let now = format!("{now:.0}");
    let condition = |type_: &str, good: bool, reason: &str| {
        json!({"type": type_, "status": if good { "True" } else { "False" }, "reason": reason,
               "message": "kubelet stand-in", "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    // Simulated members need next to nothing: room for thousands of them.
    let room = json!({"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "10000"});
    json!({
        "addresses": [{"type": "InternalIP", "address": address.to_string()}],
        "capacity": room,
        "allocatable": room,
        "conditions": [
            condition("Ready", true, "KubeletReady"),
            condition("MemoryPressure", false, "KubeletHasSufficientMemory"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux", "osImage": "kubelet stand-in",
            "kernelVersion": "simulated", "containerRuntimeVersion": "sim://1",
            "kubeletVersion": "v1.36.3", "kubeProxyVersion": "", "bootID": "", "machineID": "",
            "systemUUID": "",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_and_starting_tells_whether_the_node_exists() {
        let nodes = Nodes::new(vec![Ipv4Addr::LOCALHOST; 2], Wake::new());
        assert!(nodes.stop("node-2"));
        assert!(!nodes.is_running("node-2") && nodes.is_running("node-1"));
        assert!(!nodes.stop("node-3"));
        assert!(nodes.start("node-2"));
        assert!(nodes.list().iter().all(|node| node.running));
    }

    #[test]
    fn a_status_that_was_registered_reads_as_ready() {
        let node = json!({"status": status(Ipv4Addr::LOCALHOST, Timestamp::UNIX_EPOCH)});
        assert!(is_ready(&serde_json::from_value(node).unwrap()));
        assert!(!is_ready(&Node::default()));
    }
}
