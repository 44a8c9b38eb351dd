//! I/O: a larger volume is asked for at a member's claim; a claim that never had one goes.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use xsld_journal::event::Ordinal;

use super::{Effect, Target, api_effect, deleted};
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

/// Deletes the very claim that the intent names, as it was seen last: when anybody wrote it since, as
/// who binds a volume to it does, nothing happens and it is looked at again.
pub(super) async fn delete_unbound(
    target: &Target<'_>,
    ordinal: Ordinal,
    claim: &str,
    claim_uid: &str,
) -> Effect {
    let Some(seen) = target.seen.claims.get(&ordinal).filter(|seen| seen.uid == claim_uid) else {
        return Effect::NotSent { reason: format!("claim {claim} is another one now, or gone") };
    };
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(target.client.clone(), &target.identity.namespace);
    let (uid, resource_version) = (claim_uid.to_owned(), seen.resource_version.clone());
    let preconditions = Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match tokio::time::timeout(target.timeout, api.delete(claim, &params)).await {
        // It moved on, or is gone: the next look tells.
        Ok(Err(error @ kube::Error::Api(_))) if is_conflict(&error) => api_effect(&error),
        answer => deleted(answer),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// What makes a claim ask for more: with its UID and its version, so that a late or repeated
/// request to another claim, or to one that moved on, is a conflict.
pub(crate) fn request(uid: &str, resource_version: &str, size: &str) -> serde_json::Value {
    json!({
        "metadata": {"uid": uid, "resourceVersion": resource_version},
        "spec": {"resources": {"requests": {"storage": size}}},
    })
}
