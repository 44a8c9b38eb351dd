//! Kubernetes objects to facts: pure.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use xsld_journal::event::Incarnation;
use xsld_journal::record::text_for_event;

use crate::manifests::{self, ANNOTATION_TEMPLATE_DIGEST, MEMBER_CONTAINER};
use crate::observation::{ClaimFacts, PodFacts, SetFacts};

/// The StatefulSet's facts.
pub fn set(set: &StatefulSet) -> SetFacts {
    let metadata = &set.metadata;
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    SetFacts {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        replicas: u32::try_from(replicas).unwrap_or(0),
        template_digest: metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(ANNOTATION_TEMPLATE_DIGEST).cloned()),
        update_revision: set.status.as_ref().and_then(|status| {
            let seen = status.observed_generation >= metadata.generation;
            status.update_revision.clone().filter(|_| seen)
        }),
        deleting: metadata.deletion_timestamp.is_some(),
        template: template_json(set).map(|json| {
            let own = metadata.annotations.as_ref();
            let told = own.and_then(|own| own.get(ANNOTATION_TEMPLATE_DIGEST).cloned());
            let digest = || blake3::hash(json.as_bytes()).to_hex().to_string();
            let digest = told.unwrap_or_else(digest);
            (digest, text_for_event(json).0)
        }),
        claim_size: claim_size(set),
        is_orphaned: is_orphaned(metadata),
    }
}

/// The canonical text of the live pod template.
pub fn template_json(set: &StatefulSet) -> Option<String> {
    Some(manifests::template_json(&set.spec.as_ref()?.template))
}

/// What the one claim template asks for.
fn claim_size(set: &StatefulSet) -> Option<String> {
    let template = set.spec.as_ref()?.volume_claim_templates.as_ref()?.first()?;
    let requests = template.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|amount| amount.0.clone())
}

/// A pod's facts. The member is the container of that name: a proxy that somebody injects may come
/// before it.
/// `is_leaving` tells of a node whether it is about to be emptied, as far as that is known.
pub fn pod(pod: &Pod, is_leaving: impl FnOnce(&str) -> Option<bool>) -> PodFacts {
    let metadata = &pod.metadata;
    let status = pod.status.as_ref();
    let member = status
        .and_then(|status| status.container_statuses.as_ref())
        .and_then(|all| all.iter().find(|status| status.name == MEMBER_CONTAINER));
    let has_ended =
        matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    let running = member.and_then(|member| member.state.as_ref()?.running.as_ref()).is_some();
    let condition = |kind: &str| {
        status
            .and_then(|status| status.conditions.as_ref())
            .and_then(|all| all.iter().find(|condition| condition.type_ == kind))
    };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    PodFacts {
        name: metadata.name.clone().unwrap_or_default(),
        incarnation: Incarnation {
            pod_uid: metadata.uid.clone().unwrap_or_default(),
            container_id: member.and_then(|member| member.container_id.clone()).unwrap_or_default(),
            restarts: member
                .map_or(0, |member| u32::try_from(member.restart_count).unwrap_or(u32::MAX)),
        },
        address: status.and_then(|status| status.pod_ip.clone()).filter(|_| !has_ended),
        addresses: status
            .and_then(|status| status.pod_ips.as_ref())
            .filter(|_| !has_ended)
            .map(|all| all.iter().map(|one| one.ip.clone()).collect())
            .unwrap_or_default(),
        running: running && !has_ended,
        ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
        unready_since_us: condition("Ready")
            .filter(|ready| ready.status != "True")
            .and_then(|ready| ready.last_transition_time.as_ref())
            .map(|since| since.0.as_microsecond()),
        deleting: metadata.deletion_timestamp.is_some(),
        node_leaving: node.as_deref().and_then(is_leaving),
        node,
        revision: metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get("controller-revision-hash").cloned()),
        template: metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(ANNOTATION_TEMPLATE_DIGEST).cloned()),
        waiting: member.and_then(waiting).or_else(|| {
            let scheduled = condition("PodScheduled").filter(|found| found.status == "False")?;
            scheduled.reason.clone()
        }),
        is_orphaned: is_orphaned(metadata),
    }
}

fn is_orphaned(metadata: &ObjectMeta) -> bool {
    !metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true))
}

fn waiting(status: &ContainerStatus) -> Option<String> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    waiting.reason.clone()
}

/// A claim's facts. `cache_made` is when the custom resource was made.
pub fn claim(claim: &PersistentVolumeClaim, cache_made: Option<&Time>) -> ClaimFacts {
    let metadata = &claim.metadata;
    let older = match (&metadata.creation_timestamp, cache_made) {
        (Some(claim), Some(cache)) => claim.0 < cache.0,
        _ => false,
    };
    ClaimFacts {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
        older_than_cache: older,
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        requested: claim
            .spec
            .as_ref()
            .and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"))
            .map(|amount| amount.0.clone()),
        never_bound: never_bound(claim),
        capacity: claim
            .status
            .as_ref()
            .and_then(|status| status.capacity.as_ref()?.get("storage"))
            .map(|amount| amount.0.clone()),
        growth: None,
        class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
    }
}

/// A claim that waits for a volume and names none. One that lost its volume names it still. One that
/// is to get a certain volume, or what a snapshot holds, was made by somebody who wants just that.
fn never_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let named = claim.spec.as_ref().is_none_or(|spec| {
        spec.volume_name.is_some()
            || spec.data_source.is_some()
            || spec.data_source_ref.is_some()
            || spec.selector.is_some()
    });
    let completed = claim
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|notes| notes.contains_key("pv.kubernetes.io/bind-completed"));
    phase == Some("Pending") && !named && !completed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_never_had_a_volume_only_if_it_waits_for_one_and_names_none() {
        let told = |object: serde_json::Value| {
            claim(&serde_json::from_value(object).unwrap(), None).never_bound
        };
        let pending = serde_json::json!({"phase": "Pending"});
        assert!(told(serde_json::json!({"spec": {}, "status": pending})));
        assert!(!told(serde_json::json!({"spec": {"volumeName": "pv-1"}, "status": pending})));
        assert!(!told(serde_json::json!({"spec": {}, "status": {"phase": "Bound"}})));
        for meant in ["dataSource", "dataSourceRef"] {
            let source = serde_json::json!({"kind": "VolumeSnapshot", "name": "s"});
            assert!(!told(serde_json::json!({"spec": {meant: source}, "status": pending})));
        }
        assert!(!told(serde_json::json!({"spec": {"selector": {}}, "status": pending})));
        assert!(!told(serde_json::json!({"spec": {}, "status": {"phase": "Lost"}})));
        assert!(!told(serde_json::json!({"spec": {}})));
        assert!(!told(serde_json::json!({"status": pending})));
        let completed = serde_json::json!({"pv.kubernetes.io/bind-completed": "yes"});
        let metadata = serde_json::json!({"annotations": completed});
        assert!(!told(serde_json::json!({"metadata": metadata, "spec": {}, "status": pending})));
    }

    #[test]
    fn a_pod_that_has_ended_neither_runs_nor_has_an_address() {
        let object: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "c-0", "uid": "u"},
            "spec": {"containers": [{"name": "xsld"}]},
            "status": {"phase": "Failed", "podIP": "10.0.0.1", "containerStatuses": [{
                "name": "xsld", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
                "containerID": "sim://1", "state": {"running": {}}
            }]}
        }))
        .unwrap();
        let facts = pod(&object, |_| None);
        assert!(!facts.running);
        assert_eq!(facts.address, None);
        assert_eq!(facts.incarnation.restarts, 2);
    }

    #[test]
    fn the_member_is_found_by_the_name_of_its_container() {
        let status = |name: &str, id: &str, state: &str| {
            serde_json::json!({
                "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "containerID": id, "state": {state: {}},
            })
        };
        let object = |statuses: &[serde_json::Value]| -> Pod {
            let document = serde_json::json!({
                "metadata": {"name": "c-0", "uid": "u"},
                "spec": {"containers": [{"name": "proxy"}, {"name": "xsld"}]},
                "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": statuses},
            });
            serde_json::from_value(document).unwrap()
        };
        let both = [status("proxy", "sim://p", "running"), status("xsld", "sim://x", "waiting")];
        let facts = pod(&object(&both), |_| None);
        assert_eq!((&*facts.incarnation.container_id, facts.running), ("sim://x", false));
        let proxy = pod(&object(&both[..1]), |_| None);
        assert_eq!((&*proxy.incarnation.container_id, proxy.running), ("", false));
    }

    #[test]
    fn the_size_of_the_claims_that_a_set_makes_is_that_of_its_template() {
        let object = |templates: serde_json::Value| {
            let document = serde_json::json!({
                "metadata": {"name": "c", "uid": "u"},
                "spec": {"serviceName": "c", "selector": {}, "template": {},
                    "volumeClaimTemplates": templates},
            });
            serde_json::from_value::<StatefulSet>(document).unwrap()
        };
        let template = serde_json::json!([{"metadata": {"name": "vol"},
            "spec": {"resources": {"requests": {"storage": "2Gi"}}}}]);
        assert_eq!(set(&object(template)).claim_size.as_deref(), Some("2Gi"));
        assert_eq!(set(&object(serde_json::json!([]))).claim_size, None);
    }
}
