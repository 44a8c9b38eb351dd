//! Whether a claim may grow: the API server is asked by a dry run of the very change, which changes
//! nothing. So its answer covers the storage class, a quota and any admission policy at once, and no
//! right to read storage classes, which belong to the whole cluster, is needed.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use crate::execute;
use crate::manifests::{FIELD_MANAGER, Identity};
use crate::observation::{Growth, Observation};

/// Asks for the first claim of `replicas` that is smaller than `size`, if there is one.
pub async fn ask(
    client: &Client,
    identity: &Identity,
    seen: &mut Observation,
    (replicas, size): (u32, &str),
    timeout: Duration,
) {
    let smaller = crate::decide::storage::smaller(seen, replicas, size);
    let Some((ordinal, name, change)) = smaller.map(|(ordinal, claim, _)| {
        let change = execute::growth_request(&claim.uid, &claim.resource_version, size);
        (ordinal, claim.name.clone(), change)
    }) else {
        return;
    };
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &identity.namespace);
    let params = PatchParams {
        dry_run: true,
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(&change);
    let answer = tokio::time::timeout(timeout, api.patch(&name, &params, &patch)).await;
    let growth = match answer {
        Ok(Ok(_)) => Some(Growth::Allowed),
        Ok(Err(error)) => refusal(&error),
        Err(_) => None,
    };
    if let Some(claim) = seen.claims.get_mut(&ordinal) {
        claim.growth = growth;
    }
}

/// Only an answer that is about the change itself counts; the rest is asked again.
fn refusal(error: &kube::Error) -> Option<Growth> {
    let kube::Error::Api(status) = error else { return None };
    match status.code {
        400 | 403 | 405 | 422 => Some(Growth::Refused { reason: status.message.clone() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> kube::Error {
        let status =
            Status::failure("only dynamically provisioned pvc can be resized", "Forbidden")
                .with_code(code);
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn only_an_answer_about_the_change_itself_is_a_refusal() {
        for code in [403, 422] {
            let Some(Growth::Refused { reason }) = refusal(&answer(code)) else { panic!("{code}") };
            assert!(reason.contains("resized"), "{reason}");
        }
        for code in [404, 409, 429, 500, 503] {
            assert_eq!(refusal(&answer(code)), None, "{code}");
        }
    }
}
