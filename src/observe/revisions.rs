//! Which pods were made while the pod template was another one than it is now, though they tell the
//! same digest: somebody else had changed it. The revision that a pod was made from tells, because
//! the StatefulSet's controller keeps it as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tracing::debug;
use xsld_journal::event::Ordinal;

use super::timed;
use crate::manifests::{self, ANNOTATION_TEMPLATE_DIGEST};
use crate::telemetry::chain;

/// Revisions that are read in one look.
const REVISIONS_MAX: usize = 4;

/// Pods that were certainly made otherwise. What cannot be read decides nothing.
pub(super) async fn made_otherwise(
    client: &Client,
    set: Option<&StatefulSet>,
    pods: &BTreeMap<Ordinal, Pod>,
    timeout: Duration,
) -> BTreeSet<Ordinal> {
    let mut found = BTreeSet::new();
    let Some(set) = set else { return found };
    let asked = asked(set, pods);
    let template = set.spec.as_ref().map(|spec| manifests::document(&spec.template));
    let (Some(template), false) = (template, asked.is_empty()) else { return found };
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<ControllerRevision> = Api::namespaced(client.clone(), &namespace);
    for (revision, ordinals) in asked.into_iter().take(REVISIONS_MAX) {
        match timed("a ControllerRevision", timeout, api.get_opt(&revision)).await {
            Ok(Some(revision)) if is_other(set, &revision, &template) => found.extend(ordinals),
            Ok(_) => {}
            Err(error) => debug!(revision, error = chain(&error), "a revision cannot be read"),
        }
    }
    found
}

/// The pods by their revisions, of those that tell the StatefulSet's digest and have another revision
/// than its controller gives new pods.
fn asked(set: &StatefulSet, pods: &BTreeMap<Ordinal, Pod>) -> BTreeMap<String, Vec<Ordinal>> {
    let mut asked: BTreeMap<String, Vec<Ordinal>> = BTreeMap::new();
    let digest = set.annotations().get(ANNOTATION_TEMPLATE_DIGEST);
    let status = set.status.as_ref();
    let status = status.filter(|status| status.observed_generation >= set.metadata.generation);
    let Some(update) = status.and_then(|status| status.update_revision.as_ref()) else {
        return asked;
    };
    for (ordinal, pod) in pods {
        let revision = pod.labels().get("controller-revision-hash");
        let same = digest.is_some() && pod.annotations().get(ANNOTATION_TEMPLATE_DIGEST) == digest;
        if let Some(revision) = revision.filter(|revision| same && *revision != update)
            && pod.metadata.deletion_timestamp.is_none()
        {
            asked.entry(revision.clone()).or_default().push(*ordinal);
        }
    }
    asked
}

/// Whether a revision of this StatefulSet makes other pods than this template.
fn is_other(set: &StatefulSet, revision: &ControllerRevision, template: &Value) -> bool {
    let owners = revision.metadata.owner_references.iter().flatten();
    let is_of_set = owners.into_iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref());
    let made_from = revision.data.as_ref().and_then(|data| data.0.pointer("/spec/template"));
    is_of_set && made_from.is_some_and(|from| manifests::makes_other_pods(from, template))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(revision: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "uid": "set", "generation": 3,
                "annotations": {ANNOTATION_TEMPLATE_DIGEST: "d1"}},
            "spec": {"serviceName": "c", "selector": {}, "template": {
                "spec": {"containers": [{"name": "xsld", "image": "a:1"}]}}},
            "status": {"replicas": 2, "observedGeneration": 3, "updateRevision": revision},
        }))
        .unwrap()
    }

    fn pod(digest: &str, revision: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "c-0",
            "annotations": {ANNOTATION_TEMPLATE_DIGEST: digest},
            "labels": {"controller-revision-hash": revision}}}))
        .unwrap()
    }

    #[test]
    fn only_pods_of_the_same_digest_and_another_revision_are_asked_about() {
        let pods = BTreeMap::from([
            (0, pod("d1", "c-new")),
            (1, pod("d1", "c-old")),
            (2, pod("d0", "c-older")),
            (3, pod("d1", "c-old")),
        ]);
        assert_eq!(asked(&set("c-new"), &pods), [("c-old".to_owned(), vec![1, 3])].into());
        let mut unseen = set("c-new");
        unseen.metadata.generation = Some(4);
        assert_eq!(asked(&unseen, &pods), BTreeMap::new());
    }

    #[test]
    fn a_revision_tells_whether_its_pods_are_others() {
        let revision = |owner: &str, image: &str| -> ControllerRevision {
            let template = json!({"$patch": "replace",
                "spec": {"containers": [{"name": "xsld", "image": image}]}});
            serde_json::from_value(json!({
                "metadata": {"name": "c-old", "ownerReferences": [{"apiVersion": "apps/v1",
                    "kind": "StatefulSet", "name": "c", "uid": owner}]},
                "data": {"spec": {"template": template}}, "revision": 1,
            }))
            .unwrap()
        };
        let set = set("c-new");
        let template = manifests::document(&set.spec.as_ref().unwrap().template);
        assert!(is_other(&set, &revision("set", "b:1"), &template));
        assert!(!is_other(&set, &revision("set", "a:1"), &template));
        assert!(!is_other(&set, &revision("another", "b:1"), &template));
    }
}
