//! Which pods and claims are a cache's: found by label, and by name where the label finds none, and
//! judged by their owner. The namespace as a whole is never listed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use xsld_journal::event::Ordinal;
use xsld_journal::state::CacheState;

use super::{Error, timed};
use crate::manifests::{self, Beside, Identity, Whose};
use crate::observation::{Blocks, Remedy, Taken};

/// An object of a cache that lacks labels by which it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlabelled {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// For a write that must fail when somebody else wrote.
    pub resource_version: String,
}

/// The objects of one kind that bear members' names.
#[derive(Clone, Debug)]
pub(super) struct Owned<K> {
    /// Those of the cache, by their place.
    pub(super) ours: BTreeMap<Ordinal, K>,
    /// Those of others.
    pub(super) taken: Vec<Taken>,
    /// Those of the cache that were found by their name alone.
    pub(super) unlabelled: Vec<Unlabelled>,
}

/// What is looked for under members' names.
#[derive(Clone, Copy)]
pub(super) struct Members<'a> {
    pub(super) identity: &'a Identity,
    /// How many places there are to look at by name.
    pub(super) places: u32,
    /// UID of the live StatefulSet, and its replicas when it is this cache's.
    pub(super) set: Option<&'a str>,
    pub(super) replicas: Option<u32>,
    /// Whether the live StatefulSet is somebody else's.
    pub(super) is_foreign: bool,
    pub(super) state: &'a CacheState,
    pub(super) timeout: Duration,
}

/// How the objects of a kind are named and judged.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) word: &'static str,
    pub(super) what: &'static str,
    pub(super) name_of: fn(&str, u32) -> String,
    pub(super) ordinal_of: fn(&str, &str) -> Option<u32>,
    pub(super) whose: fn(&ObjectMeta, &Identity, u32, Beside<'_>) -> Whose,
    pub(super) knows: fn(&CacheState, &str) -> bool,
}

/// The members' pods.
pub(super) const PODS: Kind = Kind {
    word: "Pod",
    what: "the pods",
    name_of: manifests::pod_name,
    ordinal_of: manifests::ordinal_of,
    whose: |metadata, identity, _, beside| manifests::whose_pod(metadata, identity, beside),
    knows: knows_pod,
};

/// The members' claims.
pub(super) const CLAIMS: Kind = Kind {
    word: "PersistentVolumeClaim",
    what: "the claims",
    name_of: manifests::claim_name,
    ordinal_of: manifests::ordinal_of_claim,
    whose: manifests::whose_claim,
    knows: knows_claim,
};

/// Reads the objects of one kind by label, then by name for the places that no label tells of.
pub(super) async fn read<K>(
    api: &Api<K>,
    kind: Kind,
    members: Members<'_>,
) -> Result<Owned<K>, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let labelled = ListParams::default().labels(&members.identity.selector_text());
    let listed = timed(kind.what, members.timeout, api.list(&labelled)).await?.items;
    let mut found: BTreeMap<Ordinal, K> = BTreeMap::new();
    for object in listed {
        if let Some(place) = (kind.ordinal_of)(&members.identity.name, &object.name_any()) {
            found.insert(place, object);
        }
    }
    let missing = (0..members.places).filter(|place| !found.contains_key(place));
    let by_name = missing.map(async |place| {
        let name = (kind.name_of)(&members.identity.name, place);
        Ok((place, timed(kind.what, members.timeout, api.get_opt(&name)).await?))
    });
    for named in join_all(by_name).await {
        let (place, object): (_, Option<K>) = named?;
        found.extend(object.map(|object| (place, object)));
    }
    Ok(sort(found, kind, members))
}

fn sort<K: Resource>(found: BTreeMap<Ordinal, K>, kind: Kind, members: Members<'_>) -> Owned<K> {
    let mut owned = Owned { ours: BTreeMap::new(), taken: Vec::new(), unlabelled: Vec::new() };
    for (place, object) in found {
        let metadata = object.meta();
        let uid = metadata.uid.clone().unwrap_or_default();
        let name = metadata.name.clone().unwrap_or_default();
        let beside = Beside {
            set: members.set,
            replicas: members.replicas,
            is_foreign: members.is_foreign,
            is_known: (kind.knows)(members.state, &uid),
        };
        match (kind.whose)(metadata, members.identity, place, beside) {
            Whose::Ours | Whose::Orphaned => {
                if !manifests::has_labels(metadata, members.identity) {
                    let resource_version = metadata.resource_version.clone().unwrap_or_default();
                    let kind = kind.word;
                    owned.unlabelled.push(Unlabelled { kind, name, uid, resource_version });
                }
                owned.ours.insert(place, object);
            }
            Whose::Former => {}
            // Beyond the places that are wanted it is in nobody's way.
            Whose::Foreign { .. } if place >= members.places => {}
            Whose::Foreign { why, is_unowned } => owned.taken.push(Taken {
                kind: kind.word.to_owned(),
                name,
                why,
                blocks: Blocks::Member(place),
                is_going: metadata.deletion_timestamp.is_some(),
                remedy: Remedy::of(is_unowned),
            }),
        }
    }
    owned
}

/// Whether the journal has recorded a pod as a member's.
fn knows_pod(state: &CacheState, uid: &str) -> bool {
    let members = state.members.values().map(|member| &member.incarnation);
    members.chain(state.joining.values()).any(|incarnation| incarnation.pod_uid == uid)
}

/// Whether the journal has recorded a claim as a member's.
fn knows_claim(state: &CacheState, uid: &str) -> bool {
    state.members.values().any(|member| member.claim_uid == uid)
        || state.leaving.values().any(|leaving| leaving.claim_uid == uid)
        || state.joins.contains_key(uid)
        || state.held.contains_key(uid)
        || state.pins.contains_key(uid)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::json;

    use super::*;

    fn claim(name: &str, labelled: bool, owner: Option<&str>) -> PersistentVolumeClaim {
        let labels = match labelled {
            true => json!({
                "app": "c", "app.kubernetes.io/name": "xsld", "app.kubernetes.io/instance": "c",
            }),
            false => json!({}),
        };
        let owners = owner.map(
            |owner| json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner}]),
        );
        let document = json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "7",
                "labels": labels, "ownerReferences": owners},
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn what_bears_a_members_name_is_ours_told_or_put_right() {
        let identity = Identity { name: "c".into(), namespace: "ns".into(), uid: "u".into() };
        let state = CacheState::default();
        let members = Members {
            identity: &identity,
            places: 4,
            set: Some("set"),
            replicas: Some(2),
            is_foreign: false,
            state: &state,
            timeout: Duration::ZERO,
        };
        let found = BTreeMap::from([
            (0, claim("vol-c-0", true, None)),
            (1, claim("vol-c-1", false, None)),
            (2, claim("vol-c-2", false, None)),
            (3, claim("vol-c-3", true, Some("app"))),
            (4, claim("vol-c-4", true, Some("app"))),
            (7, claim("vol-c-7", true, None)),
        ]);
        let owned = sort(found, CLAIMS, members);
        assert_eq!(owned.ours.keys().copied().collect::<Vec<_>>(), [0, 1, 7]);
        let unlabelled: Vec<_> = owned.unlabelled.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(unlabelled, ["vol-c-1"]);
        let taken: Vec<_> = owned.taken.iter().map(|it| (it.name.as_str(), it.blocks)).collect();
        assert_eq!(taken, [("vol-c-2", Blocks::Member(2)), ("vol-c-3", Blocks::Member(3))]);
    }
}
