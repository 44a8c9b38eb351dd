//! I/O: the objects of a cache that follow from its spec and hold no state of their own.
//!
//! They are applied only when a field of ours differs, so that a cache in which nothing changes
//! causes no write. The StatefulSet is re-asserted as it was committed: replicas and template come
//! from the journal, and only a journalled step changes them.

use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::{Context, Error, Subject};
use crate::crd::{FINALIZER, XsldCache};
use crate::events::Note;
use crate::execute::{self, Target};
use crate::manifests::{self, ANNOTATION_OPERATION, ANNOTATION_SEQUENCE, Budgets, FIELD_MANAGER};
use crate::validate::ValidCache;

/// A call with its own timeout: the client's retries within one call can take minutes.
pub(super) async fn timed<T>(
    what: &'static str,
    timeout: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Write { what, source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { what }),
    }
}

/// Puts the finalizer on the cache; true when it was not there, and nothing else may be done
/// before it is seen.
///
/// # Errors
/// When the API server refuses.
pub async fn add_finalizer(context: &Context, object: &XsldCache) -> Result<bool, Error> {
    let present = object.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER);
    if present {
        return Ok(false);
    }
    let api: Api<XsldCache> = Api::namespaced(
        context.client.clone(),
        object.metadata.namespace.as_deref().unwrap_or_default(),
    );
    let mut finalizers = object.metadata.finalizers.clone().unwrap_or_default();
    finalizers.push(FINALIZER.to_owned());
    set_finalizers(context, &api, object, &finalizers).await?;
    Ok(true)
}

/// Takes the finalizer off. The object then ends; that it is gone already is fine.
///
/// # Errors
/// When the API server refuses.
pub async fn remove_finalizer<K>(context: &Context, api: &Api<K>, object: &K) -> Result<(), Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    // Read again: the status that was written a moment ago made the object in hand an old one.
    let name = object.meta().name.as_deref().unwrap_or_default();
    let timeout = context.times.request;
    let Some(live) = timed("read an object", timeout, api.get_opt(name)).await? else {
        return Ok(());
    };
    if live.meta().uid != object.meta().uid {
        return Ok(());
    }
    let present = live.meta().finalizers.iter().flatten();
    let kept: Vec<String> = present.filter(|name| *name != FINALIZER).cloned().collect();
    match set_finalizers(context, api, &live, &kept).await {
        Err(Error::Write { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
            Ok(())
        }
        written => written,
    }
}

/// Sets the list of finalizers; a write in between by anybody else is a conflict.
///
/// # Errors
/// When the API server refuses.
pub async fn set_finalizers<K>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    finalizers: &[String],
) -> Result<(), Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let metadata = object.meta();
    let patch = serde_json::json!({ "metadata": {
        "resourceVersion": metadata.resource_version,
        "finalizers": finalizers,
    } });
    let name = metadata.name.as_deref().unwrap_or_default();
    let params = PatchParams::default();
    let patch = Patch::Merge(&patch);
    let write = api.patch_metadata(name, &params, &patch);
    timed("set the finalizers", context.times.request, write).await.map(|_| ())
}

/// Applies what differs among the supporting objects, and the Secret for plain credentials.
///
/// # Errors
/// When the API server refuses.
pub async fn apply_supporting(
    context: &Context,
    subject: &Subject,
    cache: &ValidCache,
) -> Result<(), Error> {
    let operator_namespace = Some(context.operator_namespace.as_str());
    if let Some(secret) = manifests::credentials_secret(cache, &subject.identity) {
        let made = apply(context, subject, secret.expose_document()).await?;
        if made == Applied::Created {
            let note = Note {
                reason: "PlainCredentials",
                warning: true,
                message: format!(
                    "the spec holds credentials in plain text; they were copied to the Secret {}: \
                     better to name a Secret by adminPasswordSecretRef and secretKeySecretRef",
                    secret.name()
                ),
                operation: None,
                seq: None,
                action: "CopyCredentials",
            };
            subject.publish(context, &[note]).await;
        }
    }
    for object in manifests::supporting(cache, &subject.identity, operator_namespace) {
        apply(context, subject, object).await?;
    }
    Ok(())
}

/// Applies the disruption budgets where they differ. No pod is ever in both, not even when this ends
/// between two writes: such a pod is evicted by nobody, and a drain takes that for an error. So a
/// primary's budget lets go first and takes hold last; one that holds nobody is not made.
///
/// # Errors
/// When the API server refuses.
pub async fn apply_budgets(
    context: &Context,
    subject: &Subject,
    budgets: &Budgets,
) -> Result<(), Error> {
    let of = |budgets: &Budgets| {
        let (others, own) = manifests::pod_disruption_budgets(&subject.identity, budgets);
        (manifests::document(&others), manifests::document(&own))
    };
    let (others, own) = of(budgets);
    let (_, vacant) = of(&Budgets { primary: None, ..budgets.clone() });
    let holds_another = |live: Option<&Value>| live.is_some_and(|it| manifests::differs(&own, it));
    apply_where(context, subject, vacant, holds_another).await?;
    apply(context, subject, others).await?;
    if budgets.primary.is_some() {
        apply(context, subject, own).await?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Same,
    Changed,
    Created,
}

async fn apply(context: &Context, subject: &Subject, object: Value) -> Result<Applied, Error> {
    apply_where(context, subject, object, |_| true).await
}

/// Applies an object where what is there allows it, and does nothing else.
async fn apply_where(
    context: &Context,
    subject: &Subject,
    object: Value,
    may: impl FnOnce(Option<&Value>) -> bool,
) -> Result<Applied, Error> {
    let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion").to_owned(), text("/kind").to_owned());
    let name = text("/metadata/name").to_owned();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let gvk = kube::api::GroupVersionKind::gvk(group, version, &kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &plural(&kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &subject.identity.namespace, &resource);
    let live = timed("read an object", context.times.request, api.get_opt(&name)).await?;
    let live = live.as_ref().map(manifests::document);
    let is_same = live.as_ref().is_some_and(|live| !manifests::differs(&object, live));
    if is_same || !may(live.as_ref()) {
        return Ok(Applied::Same);
    }
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&object);
    timed("apply an object", context.times.request, api.patch(&name, &params, &patch)).await?;
    Ok(if live.is_some() { Applied::Changed } else { Applied::Created })
}

/// The plural of the kinds that are applied here, in lower case as in paths.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower}s"),
    }
}

/// Applies the StatefulSet as it is committed, when a field of ours differs. Never while a step
/// that changes it is in doubt, nor below what is committed, nor before anything is committed.
///
/// # Errors
/// When the API server refuses.
pub async fn reassert_stateful_set(
    context: &Context,
    subject: &Subject,
    target: &Target<'_>,
) -> Result<bool, Error> {
    let Some(replicas) = target.state.committed.replicas else { return Ok(false) };
    let (Some(cache), Some((text, digest))) = (target.cache, &target.template) else {
        return Ok(false);
    };
    let Ok(template) = manifests::CommittedTemplate::read(text, digest) else { return Ok(false) };
    if let Some(live) = target.live {
        let document = manifests::document(live);
        let committed = manifests::Committed { replicas, template: &template };
        let mut desired =
            manifests::stateful_set(cache, &subject.identity, committed, Some(&document));
        carry_marks(&mut desired, &document);
        if live.metadata.deletion_timestamp.is_some() || !manifests::differs(&desired, &document) {
            return Ok(false);
        }
        let live_replicas = live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        if live_replicas != i32::try_from(replicas).unwrap_or(i32::MAX) {
            let note = Note {
                reason: "ReplicasChanged",
                warning: true,
                message: format!(
                    "somebody set the StatefulSet to {live_replicas} replicas; it is set back to \
                     {replicas}: change spec.size of the XsldCache instead"
                ),
                operation: None,
                seq: None,
                action: "SetReplicas",
            };
            subject.publish(context, &[note]).await;
        }
    }
    execute::apply_stateful_set(target, replicas, None).await;
    Ok(true)
}

/// The marks of the last step stay as they are: they are not part of what is committed.
fn carry_marks(desired: &mut Value, live: &Value) {
    for mark in [ANNOTATION_OPERATION, ANNOTATION_SEQUENCE] {
        let found = live.pointer("/metadata/annotations").and_then(|all| all.get(mark)).cloned();
        let annotations =
            desired.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
        if let (Some(found), Some(annotations)) = (found, annotations) {
            annotations.insert(mark.to_owned(), found);
        }
    }
}
