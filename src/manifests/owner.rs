//! Whose a live object is: the one place that decides it, for reads, writes and deletions alike.
//!
//! An object is this cache's when its controller is this very XsldCache, by UID. What nobody
//! controls may be *adopted* when its labels say whose it was: objects that were orphaned on purpose,
//! and volumes that were kept. Objects of the operator's predecessor have the XsldCache for their
//! controller as well, because the custom resource is the same one. Everything else is somebody
//! else's, whatever its name: it is never applied over, never deleted and never given an owner.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use super::{FIELD_MANAGER, Identity};
use crate::crd::GROUP;

/// Whose a live object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This cache's.
    Ours,
    /// Nobody's any more, and this cache's by its labels, or by what the journal knows of it: it may
    /// be adopted.
    Orphaned,
    /// Of a former XsldCache of this name: the garbage collector takes it away.
    Former,
    /// Somebody else's.
    Foreign {
        /// How that is known, to go on after "because".
        why: String,
        /// Whether nobody owns it, so that labels would make it this cache's.
        is_unowned: bool,
    },
}

impl Whose {
    /// Whether it may be written and, where it is to go, deleted.
    #[must_use]
    pub fn may_be_written(&self) -> bool {
        matches!(self, Self::Ours | Self::Orphaned)
    }
}

/// Whose an object is that is made for a cache itself: the StatefulSet and what supports it.
#[must_use]
pub fn whose(metadata: &ObjectMeta, identity: &Identity) -> Whose {
    if metadata.namespace.as_deref().is_some_and(|found| found != identity.namespace) {
        return foreign("it is in another namespace");
    }
    match controller(metadata) {
        Some(owner) if is_cache(owner) && owner.uid == identity.uid => Whose::Ours,
        Some(owner) if is_cache(owner) && owner.name == identity.name => Whose::Former,
        Some(owner) => controlled_by(owner),
        None if is_labelled(metadata, identity) => Whose::Orphaned,
        None => unlabelled(),
    }
}

/// What a cache's pods and claims are judged beside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// UID of the live StatefulSet of this name, whosever it is.
    pub set: Option<&'a str>,
    /// Its replicas, when it is this cache's: below them it makes, and mounts, what bears a member's
    /// name. None otherwise.
    pub replicas: Option<u32>,
    /// Whether it is somebody else's for good: what bears members' names is that one's to use, also
    /// what was this cache's before.
    pub is_foreign: bool,
    /// Whether the journal has recorded this very object, by UID.
    pub is_known: bool,
}

impl Beside<'_> {
    /// Whether a StatefulSet of this cache has this UID.
    fn is_our_set(&self, uid: &str) -> bool {
        self.replicas.is_some() && self.set == Some(uid)
    }
}

/// Whose a pod of a member's name is.
#[must_use]
pub fn whose_pod(metadata: &ObjectMeta, identity: &Identity, beside: Beside<'_>) -> Whose {
    match controller(metadata) {
        Some(owner) if owner.kind == "StatefulSet" && beside.is_our_set(&owner.uid) => Whose::Ours,
        // It ends: the garbage collector takes it away with its StatefulSet, which is gone.
        Some(owner)
            if owner.kind == "StatefulSet"
                && owner.name == identity.name
                && beside.set != Some(&*owner.uid)
                && (beside.is_known || is_labelled(metadata, identity)) =>
        {
            Whose::Ours
        }
        Some(owner) => controlled_by(owner),
        None if beside.is_known || is_labelled(metadata, identity) => Whose::Orphaned,
        // A StatefulSet lets go of a pod whose label somebody edits, before the journal knows it.
        None if !beside.is_foreign && is_from_our_template(metadata) => Whose::Orphaned,
        None => unlabelled(),
    }
}

/// Whose a claim of a member's name is. It has no owner: the label tells, or that the journal has
/// recorded it, or that this cache's StatefulSet mounts what bears this name.
#[must_use]
pub fn whose_claim(
    metadata: &ObjectMeta,
    identity: &Identity,
    ordinal: u32,
    beside: Beside<'_>,
) -> Whose {
    let of_ours = |owner: &&OwnerReference| match owner.kind.as_str() {
        // What a StatefulSet does by its own retention policy, where somebody set that.
        "StatefulSet" => beside.is_our_set(&owner.uid),
        "Pod" => owner.name == super::pod_name(&identity.name, ordinal),
        _ => is_cache(owner) && owner.uid == identity.uid,
    };
    // What the journal has recorded only another controller makes another's.
    let strict = !beside.is_known;
    let owners = metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|it| strict || it.controller == Some(true));
    if let Some(other) = owners.find(|owner| !of_ours(owner)) {
        return foreign(format!("it belongs to {} {}", other.kind, other.name));
    }
    let mounted = beside.replicas.is_some_and(|replicas| ordinal < replicas);
    match () {
        () if beside.is_foreign => foreign("the StatefulSet of that name is another's"),
        () if is_of_instance(metadata, identity) => Whose::Ours,
        () if beside.is_known || mounted => Whose::Orphaned,
        () => unlabelled(),
    }
}

/// Whether an object has all labels by which it is found.
#[must_use]
pub fn has_labels(metadata: &ObjectMeta, identity: &Identity) -> bool {
    let found = metadata.labels.as_ref();
    identity
        .selector_labels()
        .iter()
        .all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
}

/// Lets an apply take effect only on what was judged: on the very object that was read, as it was
/// read, or on none. No object has the version 1, so with it an apply makes what is not there and is
/// refused where anything is.
pub fn guard(object: &mut Value, live: Option<&ObjectMeta>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let uid = live.and_then(|live| live.uid.clone());
    let version = live.and_then(|live| live.resource_version.clone());
    if let Some(uid) = uid {
        metadata.insert("uid".to_owned(), uid.into());
    }
    let version = version.unwrap_or_else(|| "1".to_owned());
    metadata.insert("resourceVersion".to_owned(), version.into());
}

/// UID of the controller of an object.
#[must_use]
pub fn controller_uid(metadata: &ObjectMeta) -> Option<&str> {
    controller(metadata).map(|owner| owner.uid.as_str())
}

/// Name of the cache that this operator made an object for, as its labels tell.
#[must_use]
pub fn made_for(metadata: &ObjectMeta) -> Option<&str> {
    let ours = label(metadata, "app.kubernetes.io/managed-by") == Some(FIELD_MANAGER);
    label(metadata, "app.kubernetes.io/instance").filter(|_| ours)
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn is_cache(owner: &OwnerReference) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    owner.kind == "XsldCache" && group == Some(GROUP)
}

fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref().and_then(|labels: &BTreeMap<_, _>| labels.get(key)).map(String::as_str)
}

fn is_of_instance(metadata: &ObjectMeta, identity: &Identity) -> bool {
    label(metadata, "app.kubernetes.io/instance") == Some(&*identity.name)
        && label(metadata, "app.kubernetes.io/name") == Some("xsld")
}

/// Whether the labels say that this operator made it for a cache of this name.
fn is_labelled(metadata: &ObjectMeta, identity: &Identity) -> bool {
    is_of_instance(metadata, identity)
        && label(metadata, "app.kubernetes.io/managed-by") == Some(FIELD_MANAGER)
}

/// Whether a pod was made from a template of this operator.
fn is_from_our_template(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(super::ANNOTATION_SPEC_DIGEST))
}

fn controlled_by(owner: &OwnerReference) -> Whose {
    foreign(format!("{} {} controls it", owner.kind, owner.name))
}

fn unlabelled() -> Whose {
    let why = "it has no owner and not this cache's labels".to_owned();
    Whose::Foreign { why, is_unowned: true }
}

fn foreign(why: impl Into<String>) -> Whose {
    Whose::Foreign { why: why.into(), is_unowned: false }
}

#[cfg(test)]
mod tests;
