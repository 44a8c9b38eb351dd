//! I/O, reads only: whose the objects are that bear a cache's names, looked at before any of them is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::findings::{Findings, Thing};
use super::objects::timed;
use super::{Context, Subject, mark};
use crate::crd::XsldCache;
use crate::decide::Cascade;
use crate::manifests::{self, Claimant, Whose};
use crate::observation::{Blocks, Observation, Remedy, Taken};
use crate::validate::{EntrypointSource, SecretSource, ValidCache};

/// The finalizer by which the API server asks the garbage collector to leave what is owned.
const ORPHAN: &str = "orphan";

/// The objects of one cache that are not its members', as they were when the pass began.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// The cache, as it was in hand then.
    object: &'a XsldCache,
    live: BTreeMap<Thing, DynamicObject>,
    unread: BTreeSet<Thing>,
    /// Whether the live cache was found to be as in hand, after all of this was read.
    still: Option<bool>,
    /// Those that are somebody else's.
    pub taken: Vec<Taken>,
    /// What is to become of all of them when the cache is deleted.
    pub cascade: Cascade,
}

impl<'a> Standing<'a> {
    /// Looks at the objects that this spec needs, and at who else needs their names. Of a cache that
    /// is being deleted it only looks at what became of their owner.
    pub async fn of(
        context: &Context,
        subject: &Subject,
        (object, valid): (&'a XsldCache, Option<&ValidCache>),
        caches: &[Arc<XsldCache>],
        findings: &mut Findings<'_>,
    ) -> Self {
        let name = &subject.identity.name;
        let deleting = object.metadata.deletion_timestamp.is_some();
        let mut names = manifests::own_names(name);
        match valid {
            _ if deleting => {}
            Some(valid) => names.retain(|it| is_needed(valid, name, it)),
            None => names.clear(),
        }
        let (live, unread, taken) = Default::default();
        let cascade = Cascade::Delete;
        let mut standing = Self { object, live, unread, still: None, taken, cascade };
        let reads = names.into_iter().map(async |(kind, name)| {
            let api = api(context, subject, kind);
            let read = timed("read an object", context.times.request, api.get_opt(&name)).await;
            (Thing::new(kind, name), read)
        });
        for (thing, read) in join_all(reads).await {
            match findings.read(&thing, read) {
                Some(Some(live)) => drop(standing.live.insert(thing, live)),
                Some(None) => {}
                None => drop(standing.unread.insert(thing)),
            }
        }
        if deleting {
            standing.cascade = standing.cascade(subject, object);
            return standing;
        }
        standing.taken = standing.judged(context, subject, object, caches);
        if !context.store.state(subject.stream).is_some_and(|state| state.bootstrapped) {
            for taken in &mut standing.taken {
                taken.blocks = taken.blocks.before_the_group();
            }
        }
        standing
    }

    /// Whether nothing is to be made for the cache.
    pub fn stops(&self) -> bool {
        self.taken.iter().any(|taken| taken.blocks == Blocks::Cache)
    }

    /// Whether an object may be written: it is the cache's, or not there, as far as that was seen.
    pub(super) fn may_write(&self, thing: &Thing) -> bool {
        let is_it = |taken: &Taken| taken.kind == thing.kind && taken.name == thing.name;
        !self.unread.contains(thing) && !self.taken.iter().any(is_it)
    }

    /// The object as it was seen, or written, last.
    pub(super) fn live(&self, thing: &Thing) -> Option<&DynamicObject> {
        self.live.get(thing)
    }

    /// Takes note of an object that was written.
    pub(super) fn wrote(&mut self, thing: Thing, object: DynamicObject) {
        self.live.insert(thing, object);
    }

    /// Whether the live cache is still this operator's and is not being deleted. Asked once a pass,
    /// before the first write: an object that lost its owner with the cache after this has another
    /// version than the one that was read before.
    pub(super) async fn is_still_ours(
        &mut self,
        context: &Context,
        findings: &mut Findings<'_>,
    ) -> bool {
        if let Some(still) = self.still {
            return still;
        }
        let thing = Thing::new("XsldCache", self.object.name_any());
        let taken = findings.read(&thing, mark::taken(context, self.object).await);
        *self.still.insert(taken == Some(None))
    }

    /// Whether all of them could be read.
    pub(super) fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }

    /// What this cache still controls, with what else owns each.
    pub(super) fn owned(&self, subject: &Subject) -> Vec<(Thing, ObjectMeta)> {
        let ours = |live: &DynamicObject| {
            manifests::whose(&live.metadata, &subject.identity) == Whose::Ours
        };
        let owned = self.live.iter().filter(|(_, live)| ours(live));
        owned.map(|(thing, live)| (thing.clone(), live.metadata.clone())).collect()
    }

    /// Adds what is somebody else's to what is seen of the cache.
    pub(super) fn told_in(&self, seen: &mut Observation) {
        // What is reserved is known here only, and how that ends.
        let is_told = |one: &Taken| {
            self.taken.iter().any(|taken| taken.kind == one.kind && taken.name == one.name)
        };
        seen.taken.retain(|taken| !is_told(taken));
        seen.taken.extend(self.taken.iter().cloned());
    }

    fn judged(
        &self,
        context: &Context,
        subject: &Subject,
        object: &XsldCache,
        caches: &[Arc<XsldCache>],
    ) -> Vec<Taken> {
        let identity = &subject.identity;
        let reserved = |(kind, name): (&str, String), why: String| Taken {
            kind: kind.to_owned(),
            name,
            why,
            blocks: Blocks::Cache,
            is_going: false,
            remedy: Remedy::Rename,
        };
        let mut taken = Vec::new();
        if identity.namespace == context.operator_namespace
            && let Some(name) = manifests::operators_name(&identity.name)
        {
            taken.push(reserved(name, "it is the operator's own".to_owned()));
        }
        if let Some((kind, name, other)) = self.taken_first(subject, object, caches) {
            let why = format!("the XsldCache {other} needs it and goes first");
            taken.push(reserved((kind, name), why));
        }
        let foreign = self
            .live
            .iter()
            .filter_map(|(thing, live)| Taken::of(&live.metadata, identity, &thing.kind));
        for foreign in foreign {
            let is_told = |told: &Taken| told.kind == foreign.kind && told.name == foreign.name;
            if !taken.iter().any(is_told) {
                taken.push(foreign);
            }
        }
        taken
    }

    /// The first name that another cache of the namespace has, or is to have, before this one.
    fn taken_first(
        &self,
        subject: &Subject,
        object: &XsldCache,
        caches: &[Arc<XsldCache>],
    ) -> Option<(&'static str, String, String)> {
        fn claimant(cache: &XsldCache) -> Option<Claimant<'_>> {
            let metadata = &cache.metadata;
            let (name, uid) = (metadata.name.as_deref()?, metadata.uid.as_deref()?);
            Some(Claimant { name, uid, made: metadata.creation_timestamp.as_ref() })
        }
        let beside = |cache: &&Arc<XsldCache>| {
            cache.metadata.namespace.as_deref() == Some(&*subject.identity.namespace)
        };
        let own = claimant(object)?;
        let others: Vec<_> =
            caches.iter().filter(beside).filter_map(|cache| claimant(cache)).collect();
        let holder = |kind: &'static str, name: &str| {
            let thing = Thing::new(kind, name);
            // What cannot be read stops no cache that has its members, and lets no other one begin.
            if self.unread.contains(&thing) {
                let set = self.live(&Thing::new("StatefulSet", own.name))?;
                let uid = manifests::controller_uid(&set.metadata);
                return uid.filter(|uid| *uid == own.uid).map(str::to_owned);
            }
            let metadata = &self.live(&thing)?.metadata;
            if let Some(uid) = manifests::controller_uid(metadata) {
                return Some(uid.to_owned());
            }
            // It was left on purpose, or restored without its owner.
            let made_for = manifests::made_for(metadata)?;
            let claimants = std::iter::once(&own).chain(&others);
            claimants.into_iter().find(|it| it.name == made_for).map(|it| it.uid.to_owned())
        };
        let (kind, name, other) = manifests::taken_first(&own, others.iter().cloned(), holder)?;
        Some((kind, name, other.to_owned()))
    }

    /// That the StatefulSet has no owner any more, or the headless Service where there is none,
    /// tells of a garbage collector that did its part while nobody looked.
    fn cascade(&self, subject: &Subject, object: &XsldCache) -> Cascade {
        if object.metadata.finalizers.iter().flatten().any(|name| name == ORPHAN) {
            return Cascade::Orphaning;
        }
        let name = &subject.identity.name;
        let live = |kind| self.live(&Thing::new(kind, name));
        let told = live("StatefulSet").or_else(|| live("Service"));
        let whose = told.map(|live| manifests::whose(&live.metadata, &subject.identity));
        if whose == Some(Whose::Orphaned) { Cascade::Orphaned } else { Cascade::Delete }
    }
}

/// Whether this spec needs the object of this kind and name, or it is kept beside.
fn is_needed(valid: &ValidCache, cache: &str, (kind, name): &(&'static str, String)) -> bool {
    let credentials = &valid.credentials;
    let sources = [&credentials.admin_password, &credentials.secret_key];
    match *kind {
        "ConfigMap" => matches!(valid.entrypoint, EntrypointSource::Supplied),
        "Secret" if *name == manifests::credentials_name(cache) => {
            sources.iter().any(|source| matches!(source, SecretSource::Plain(_)))
        }
        _ => true,
    }
}

/// The API of a kind that is made for a cache itself, in the cache's namespace.
pub(super) fn api(context: &Context, subject: &Subject, kind: &str) -> Api<DynamicObject> {
    let (group, version) = match kind {
        "StatefulSet" => ("apps", "v1"),
        "NetworkPolicy" => ("networking.k8s.io", "v1"),
        "PodDisruptionBudget" => ("policy", "v1"),
        _ => ("", "v1"),
    };
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &plural(kind));
    Api::namespaced_with(context.client.clone(), &subject.identity.namespace, &resource)
}

/// The plural of the kinds that are made here, in lower case as in paths.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower}s"),
    }
}

/// The cache that a pod belongs to: that of its StatefulSet, and by its labels where nobody controls
/// it. What another kind controls is nobody's business here, whatever its labels say.
pub(super) fn cache_of(pod: &Pod) -> Option<ObjectRef<XsldCache>> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let controller = owners.into_iter().find(|owner| owner.controller == Some(true));
    let label = |key: &str| pod.labels().get(key).map(String::as_str);
    let cache = match controller {
        Some(owner) => Some(owner.name.as_str()).filter(|_| owner.kind == "StatefulSet"),
        None => label("app.kubernetes.io/instance")
            .filter(|_| label("app.kubernetes.io/managed-by") == Some(manifests::FIELD_MANAGER)),
    };
    Some(ObjectRef::new(cache?).within(pod.namespace().as_deref()?))
}

#[cfg(test)]
mod tests;
