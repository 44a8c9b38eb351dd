//! I/O: a larger volume is asked for at a member's claim.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use xsld_journal::event::Ordinal;

use super::{Effect, Target, api_effect};
use crate::manifests::FIELD_MANAGER;

/// Patches the very claim that the intent names, as it was seen last: when anybody wrote it since,
/// or it was made anew, nothing happens and it is looked at again.
pub(super) async fn grow(
    target: &Target<'_>,
    ordinal: Ordinal,
    claim: &str,
    claim_uid: &str,
    to: &str,
) -> Effect {
    let Some(seen) = target.seen.claims.get(&ordinal).filter(|seen| seen.uid == claim_uid) else {
        return Effect::NotSent { reason: format!("claim {claim} is another one now, or gone") };
    };
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(target.client.clone(), &target.identity.namespace);
    let change = request(claim_uid, &seen.resource_version, to);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    let patch = Patch::Merge(&change);
    let write = api.patch(claim, &params, &patch);
    match tokio::time::timeout(target.timeout, write).await {
        Ok(Ok(claim)) => Effect::Done {
            evidence: json!({
                "claim": claim.metadata.name,
                "resourceVersion": claim.metadata.resource_version,
            })
            .to_string(),
        },
        Ok(Err(error)) => api_effect(&error),
        Err(_) => Effect::Unknown { reason: "the API server did not answer in time".to_owned() },
    }
}

/// What makes a claim ask for more: with its UID and its version, so that a late or repeated
/// request to another claim, or to one that moved on, is a conflict.
pub(crate) fn request(uid: &str, resource_version: &str, size: &str) -> serde_json::Value {
    json!({
        "metadata": {"uid": uid, "resourceVersion": resource_version},
        "spec": {"resources": {"requests": {"storage": size}}},
    })
}
