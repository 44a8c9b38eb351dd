//! Binds pods to Nodes, or says why it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::cluster::Cluster;
use super::events::{Type, tell};
use super::schedule::{Placed, choose};

const SOURCE: &str = "default-scheduler";
/// Changes come in bursts: one pass for many of them.
const GATHER: Duration = Duration::from_millis(10);
/// A pod that could not be bound is looked at again even when nothing changes.
const AGAIN: Duration = Duration::from_secs(2);

/// Schedules for as long as it is polled.
pub(super) async fn run(client: Client, cluster: Arc<Cluster>) {
    let mut scheduler = Scheduler { client, cluster, assumed: BTreeMap::new() };
    let mut changed = scheduler.cluster.listen();
    loop {
        scheduler.pass().await;
        // The sender lives in `cluster`, so the signal cannot end before this loop.
        let _ = tokio::time::timeout(AGAIN, changed.changed()).await;
        tokio::time::sleep(GATHER).await;
        changed.mark_unchanged();
    }
}

struct Scheduler {
    client: Client,
    cluster: Arc<Cluster>,
    /// Pods that were bound a moment ago, by UID: the copies do not show it yet.
    assumed: BTreeMap<String, String>,
}

impl Scheduler {
    async fn pass(&mut self) {
        let pods = self.cluster.pods.state();
        let waiting = |pod: &Pod| {
            pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none() && is_ours(spec))
                && pod.metadata.deletion_timestamp.is_none()
                && pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.is_none())
        };
        self.assumed.retain(|uid, _| {
            pods.iter().any(|pod| pod.uid().as_ref() == Some(uid) && waiting(pod))
        });
        let mut placed: Vec<Placed> = pods.iter().filter_map(|pod| self.place(pod)).collect();
        let nodes = self.cluster.nodes.state();
        let mut queue: Vec<&Arc<Pod>> = pods.iter().filter(|pod| waiting(pod)).collect();
        queue.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        for pod in queue {
            let uid = pod.uid().unwrap_or_default();
            if self.assumed.contains_key(&uid) {
                continue;
            }
            let chosen = self.claims_ready(pod).and_then(|()| choose(pod, &nodes, &placed));
            match chosen {
                Ok(node) => match self.bind(pod, &node).await {
                    Ok(()) => {
                        let text = format!(
                            "Successfully assigned {}/{} to {node}",
                            pod.namespace().unwrap_or_default(),
                            pod.name_any()
                        );
                        tell(&self.client, &**pod, SOURCE, Type::Normal, "Scheduled", &text);
                        self.assumed.insert(uid, node.clone());
                        placed.push((Arc::clone(pod), node));
                    }
                    Err(error) => tracing::debug!(%error, pod = pod.name_any(), "not bound"),
                },
                Err(reason) => self.refuse(pod, &reason).await,
            }
        }
    }

    /// Where a pod is, if it still needs its place.
    fn place(&self, pod: &Arc<Pod>) -> Option<Placed> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = bound.or_else(|| self.assumed.get(&pod.uid()?).cloned())?;
        Some((Arc::clone(pod), node))
    }

    /// Whether each claim of the pod is bound and may be used by it.
    fn claims_ready(&self, pod: &Pod) -> Result<(), String> {
        let namespace = pod.namespace().unwrap_or_default();
        for name in claim_names(pod) {
            let Some(claim) = self.cluster.claim(&namespace, &name) else {
                return Err(format!("persistentvolumeclaim \"{name}\" not found"));
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase != Some("Bound") {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            }
            let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.clone());
            let exclusive = modes.iter().flatten().any(|mode| mode == "ReadWriteOncePod");
            if exclusive && self.is_used(pod, &namespace, &name) {
                let text = "node has pod using PersistentVolumeClaim with the same name and \
                            ReadWriteOncePod access mode";
                return Err(text.to_owned());
            }
        }
        Ok(())
    }

    fn is_used(&self, pod: &Pod, namespace: &str, claim: &str) -> bool {
        self.cluster.pods.state().iter().any(|other| {
            other.uid() != pod.uid()
                && other.namespace().as_deref() == Some(namespace)
                && self.place(other).is_some()
                && claim_names(other).iter().any(|name| name == claim)
        })
    }

    async fn bind(&self, pod: &Pod, node: &str) -> kube::Result<()> {
        let namespace = pod.namespace().unwrap_or_default();
        let name = pod.name_any();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let parameters = PostParams::default();
        api.create_subresource("binding", &name, &parameters, &binding)
            .await
            .map(|_: serde_json::Value| ())
    }

    /// Says in the pod's condition why it waits; once for each reason.
    async fn refuse(&self, pod: &Pod, reason: &str) {
        let told = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut told = told.filter(|condition| condition.type_ == "PodScheduled");
        if told.any(|condition| condition.message.as_deref() == Some(reason)) {
            return;
        }
        tell(&self.client, pod, SOURCE, Type::Warning, "FailedScheduling", reason);
        let now = format!("{:.0}", jiff::Timestamp::now());
        let condition = json!({"type": "PodScheduled", "status": "False", "message": reason,
                               "reason": "Unschedulable", "lastTransitionTime": now});
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
        let api: Api<Pod> =
            Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let sent = api
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, pod = pod.name_any(), "an unschedulable pod was not told so");
        }
    }
}

fn is_ours(spec: &PodSpec) -> bool {
    spec.scheduler_name.as_deref().is_none_or(|name| name == SOURCE)
}

/// The claims that a pod's volumes name.
pub(super) fn claim_names(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let name = pod.name_any();
    volumes
        .filter_map(|volume| {
            let named = volume.persistent_volume_claim.as_ref().map(|it| it.claim_name.clone());
            let own = volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name));
            named.or(own)
        })
        .collect()
}
