//! I/O: the labels by which a cache's pods and claims are found, set again where somebody took them.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::findings::{Findings, Thing};
use super::objects::timed;
use super::{Context, Error, Subject};
use crate::events::Note;
use crate::manifests::FIELD_MANAGER;
use crate::observe::Unlabelled;

/// Sets the labels again of each that lacks some, on the very object that was judged, and tells it.
pub(super) async fn restore(
    context: &Context,
    subject: &Subject,
    unlabelled: &[Unlabelled],
    findings: &mut Findings<'_>,
) {
    for object in unlabelled {
        let thing = Thing::new(object.kind, &object.name);
        let write = label(context, subject, object);
        if findings.write(&thing, &object.uid, write).await.is_some() {
            subject.publish(context, &[told(object)]).await;
        }
    }
}

async fn label(context: &Context, subject: &Subject, object: &Unlabelled) -> Result<(), Error> {
    let (client, namespace) = (context.client.clone(), &subject.identity.namespace);
    let change = json!({"metadata": {
        "uid": object.uid,
        "resourceVersion": object.resource_version,
        "labels": subject.identity.labels(),
    }});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..Default::default() };
    let (patch, timeout) = (Patch::Merge(&change), context.times.request);
    let what = "label an object";
    if object.kind == "Pod" {
        let api: Api<Pod> = Api::namespaced(client, namespace);
        timed(what, timeout, api.patch_metadata(&object.name, &params, &patch)).await?;
    } else {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client, namespace);
        timed(what, timeout, api.patch_metadata(&object.name, &params, &patch)).await?;
    }
    Ok(())
}

fn told(object: &Unlabelled) -> Note {
    Note {
        reason: "LabelsRestored",
        warning: true,
        message: format!(
            "{} {} lacked labels by which the cache's objects are found; they were set again",
            object.kind, object.name
        ),
        operation: None,
        seq: None,
        action: "SetLabels",
    }
}
