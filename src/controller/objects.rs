//! I/O: the objects of a cache that follow from its spec and hold no state of their own.
//!
//! They are applied only when a field of ours differs, so that a cache in which nothing changes
//! causes no write. The StatefulSet is re-asserted as it was committed: replicas and template come
//! from the journal, and only a journalled step changes them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Api;
use kube::api::{Patch, PatchParams};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::findings::{Findings, Thing};
use super::standing::{self, Standing};
use super::{Context, Error, Subject, mark};
use crate::crd::{FINALIZER, XsldCache};
use crate::events::Note;
use crate::execute::{self, Target};
use crate::manifests::{self, ANNOTATION_OPERATION, ANNOTATION_SEQUENCE, Budgets, FIELD_MANAGER};
use crate::validate::{SecretSource, ValidCache};

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

/// Takes the finalizer off a cache that is closed; true when that was done. That it was refused is
/// a finding.
pub async fn release(context: &Context, object: &XsldCache, findings: &mut Findings<'_>) -> bool {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<XsldCache> = Api::namespaced(context.client.clone(), namespace);
    let write = remove_finalizer(context, &api, object);
    findings.write(&finalizer_of(object), "", write).await.is_some()
}

pub(super) fn finalizer_of(object: &XsldCache) -> Thing {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    Thing::new("finalizer of XsldCache", name)
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

/// Applies what differs among the supporting objects, and the Secret for plain credentials. One that
/// is refused is a finding; the others are applied all the same.
pub async fn apply_supporting(
    context: &Context,
    subject: &Subject,
    cache: &ValidCache,
    standing: &mut Standing<'_>,
    findings: &mut Findings<'_>,
) {
    let operator_namespace = Some(context.operator_namespace.as_str());
    if let Some(secret) = manifests::credentials_secret(cache, &subject.identity) {
        let (document, secrets) = (secret.expose_document(), plain(cache));
        let what = (document, &*secrets);
        let made = apply_where(context, subject, standing, findings, what, |_| true).await;
        if made == Some(Applied::Created) {
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
        apply(context, subject, standing, findings, object).await;
    }
}

/// The secrets that the spec holds in plain text: no answer of the API server is told with them.
fn plain(cache: &ValidCache) -> Vec<SecretString> {
    let credentials = &cache.credentials;
    let sources = [&credentials.admin_password, &credentials.secret_key];
    let plain = sources.into_iter().filter_map(|source| match source {
        SecretSource::Plain(text) => Some(text),
        SecretSource::Ref(_) => None,
    });
    plain.flat_map(known_forms).collect()
}

/// A secret as it is, and as it stands in a Secret's data.
pub(super) fn known_forms(secret: &SecretString) -> [SecretString; 2] {
    let encoded = STANDARD.encode(secret.expose_secret());
    [secret.clone(), SecretString::from(encoded)]
}

/// Applies the disruption budgets where they differ. No pod is ever in both, not even when this ends
/// between two writes: such a pod is evicted by nobody, and a drain takes that for an error. So a
/// primary's budget lets go first and takes hold last, and not at all after a refusal; one that
/// holds nobody is not made.
pub async fn apply_budgets(
    context: &Context,
    subject: &Subject,
    budgets: &Budgets,
    standing: &mut Standing<'_>,
    findings: &mut Findings<'_>,
) {
    let of = |budgets: &Budgets| {
        let (others, own) = manifests::pod_disruption_budgets(&subject.identity, budgets);
        (manifests::document(&others), manifests::document(&own))
    };
    let (others, own) = of(budgets);
    let (_, vacant) = of(&Budgets { primary: None, ..budgets.clone() });
    let holds_another = |live: Option<&Value>| live.is_some_and(|it| manifests::differs(&own, it));
    let vacant: (Value, &[SecretString]) = (vacant, &[]);
    let vacated = apply_where(context, subject, standing, findings, vacant, holds_another).await;
    if vacated.is_none() || apply(context, subject, standing, findings, others).await.is_none() {
        return;
    }
    if budgets.primary.is_some() {
        apply(context, subject, standing, findings, own).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Same,
    Changed,
    Created,
}

async fn apply(
    context: &Context,
    subject: &Subject,
    standing: &mut Standing<'_>,
    findings: &mut Findings<'_>,
    object: Value,
) -> Option<Applied> {
    apply_where(context, subject, standing, findings, (object, &[]), |_| true).await
}

/// Applies an object where what is there allows it, and does nothing else: to the very object that
/// was seen, or to none. None when it could not be read or written, which is a finding, or is
/// somebody else's. What the API server says of it is told without the secrets.
async fn apply_where(
    context: &Context,
    subject: &Subject,
    standing: &mut Standing<'_>,
    findings: &mut Findings<'_>,
    (mut object, secrets): (Value, &[SecretString]),
    may: impl FnOnce(Option<&Value>) -> bool,
) -> Option<Applied> {
    let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/kind").to_owned(), text("/metadata/name").to_owned());
    let (thing, timeout) = (Thing::new(&kind, &name), context.times.request);
    if !standing.may_write(&thing) {
        return None;
    }
    let live = standing.live(&thing).map(manifests::document);
    let is_same = live.as_ref().is_some_and(|live| !manifests::differs(&object, live));
    if is_same || !may(live.as_ref()) {
        findings.is_well(&thing);
        return Some(Applied::Same);
    }
    let wish = wish(&object);
    if !findings.may_write(&thing, &wish) || !standing.is_still_ours(context, findings).await {
        return None;
    }
    manifests::guard(&mut object, standing.live(&thing).map(|live| &live.metadata));
    let api = standing::api(context, subject, &kind);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&object);
    let written = timed("apply an object", timeout, api.patch(&name, &params, &patch)).await;
    let written = findings.wrote(&thing, &wish, secrets, written)?;
    standing.wrote(thing, written);
    Some(if live.is_some() { Applied::Changed } else { Applied::Created })
}

/// Takes this cache off what still names it as the controller, where all is to stay when it goes:
/// the garbage collector may have missed what was made a moment before. Gives whether nothing does.
pub async fn let_go(
    context: &Context,
    subject: &Subject,
    standing: &Standing<'_>,
    findings: &mut Findings<'_>,
) -> bool {
    // What could not be read may still name this cache, and would go with it.
    let mut all = standing.is_whole();
    for (thing, metadata) in standing.owned(subject) {
        let mut owners = metadata.owner_references.unwrap_or_default();
        owners.retain(|owner| owner.uid != subject.identity.uid);
        let patch = serde_json::json!({"metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "ownerReferences": owners,
        }});
        let api = standing::api(context, subject, &thing.kind);
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let write = api.patch_metadata(&thing.name, &params, &patch);
        let write = timed("take an owner off", context.times.request, write);
        all &= findings.write(&thing, "no owner", write).await.is_some();
    }
    all
}

/// What is to be written, as a digest: another wish is not the one that was refused.
pub(super) fn wish(object: &Value) -> String {
    blake3::hash(object.to_string().as_bytes()).to_hex().to_string()
}

/// Applies the StatefulSet as it is committed, when a field of ours differs. Never while a step
/// that changes it is in doubt, nor below what is committed, nor before anything is committed. Gives
/// whether it was tried; a refusal is a finding.
pub async fn reassert_stateful_set(
    context: &Context,
    subject: &Subject,
    object: &XsldCache,
    target: &Target<'_>,
    findings: &mut Findings<'_>,
) -> bool {
    let Some(replicas) = target.state.committed.replicas else { return false };
    let (Some(cache), Some((text, digest))) = (target.cache, &target.template) else {
        return false;
    };
    let Ok(template) = manifests::CommittedTemplate::read(text, digest) else { return false };
    let thing = Thing::new("StatefulSet", &subject.identity.name);
    let live = target.live.map(manifests::document);
    let committed = manifests::Committed { replicas, template: &template };
    let mut desired = manifests::stateful_set(cache, &subject.identity, committed, live.as_ref());
    if let Some(document) = &live {
        carry_marks(&mut desired, document);
        let leaves = document.pointer("/metadata/deletionTimestamp").is_some();
        if leaves || !manifests::differs(&desired, document) {
            findings.is_well(&thing);
            return false;
        }
    }
    let wish = wish(&desired);
    if !findings.may_write(&thing, &wish) {
        return false;
    }
    // The watched object may be an old one: what differs may be another operator's work by now.
    let taken = mark::taken(context, object).await;
    if findings.read(&Thing::new("XsldCache", &subject.identity.name), taken) != Some(None) {
        return false;
    }
    if let Some(live) = target.live {
        let live_replicas = live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        if live_replicas != i32::try_from(replicas).unwrap_or(i32::MAX) {
            subject.publish(context, &[replicas_changed(live_replicas, replicas)]).await;
        }
    }
    let effect = execute::apply_stateful_set(target, replicas, None).await;
    findings.took_effect(&thing, &wish, &effect);
    true
}

fn replicas_changed(live: i32, committed: u32) -> Note {
    Note {
        reason: "ReplicasChanged",
        warning: true,
        message: format!(
            "somebody set the StatefulSet to {live} replicas; it is set back to {committed}: \
             change spec.size of the XsldCache instead"
        ),
        operation: None,
        seq: None,
        action: "SetReplicas",
    }
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
