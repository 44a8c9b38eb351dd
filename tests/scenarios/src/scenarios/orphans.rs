//! What outlives its cache on purpose, and what lost by hand that by which it is found.

use std::collections::BTreeMap;

use anyhow::ensure;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::CHANGE;
use crate::context::{Context, Kind};
use crate::{Result, Scenario};

/// The kinds of objects that a cache leaves.
const LEFT: [Kind; 7] = [
    Kind::StatefulSet,
    Kind::Service,
    Kind::Secret,
    Kind::ConfigMap,
    Kind::Budget,
    Kind::Policy,
    Kind::Claim,
];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("orphans::an_orphaned_cache_keeps_all_and_is_taken_up_again", |c| {
            Box::pin(orphaned(c, true))
        }),
        Scenario::new("orphans::a_cache_is_orphaned_while_no_operator_runs", |c| {
            Box::pin(orphaned(c, false))
        }),
        Scenario::new("orphans::labels_that_somebody_took_are_put_back", |c| Box::pin(labels(c))),
        Scenario::new("orphans::an_owner_that_somebody_took_is_put_back", |c| Box::pin(owners(c))),
        Scenario::new("orphans::a_namesake_waits_for_the_end_of_what_was_before", |c| {
            Box::pin(namesake(c))
        })
        .without_entries("its StatefulSet goes, and entries live in memory"),
    ]
}

async fn delete_orphaning(c: &Context, name: &str) -> Result {
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    c.api(Kind::Cache).delete(name, &params).await?;
    Ok(())
}

async fn uids(c: &Context, kind: Kind) -> Result<BTreeMap<String, String>> {
    let text = |object: &Value, field: &str| {
        object["metadata"][field].as_str().unwrap_or_default().to_owned()
    };
    let listed = c.list(kind).await?;
    Ok(listed.iter().map(|object| (text(object, "name"), text(object, "uid"))).collect())
}

/// Whose each object is that is named after the cache: the UID of its owner, or nothing.
async fn owners_of(c: &Context) -> Result<BTreeMap<String, String>> {
    let mut owners = BTreeMap::new();
    for kind in LEFT {
        for object in c.list(kind).await? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if name == "c" || name.starts_with("c-") || name.starts_with("c.") {
                let owner = object["metadata"]["ownerReferences"][0]["uid"].as_str();
                owners.insert(format!("{kind:?} {name}"), owner.unwrap_or_default().to_owned());
            }
        }
    }
    Ok(owners)
}

/// `kubectl delete xc NAME --cascade=orphan`, of a cache whose volumes would go with it otherwise.
async fn orphaned(c: &Context, runs: bool) -> Result {
    let more = json!({"storage": {"retention": {"whenDeleted": "Delete"}}});
    c.create_with("c", 2, more.clone()).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    for (kind, name) in [(Kind::Secret, "c-held"), (Kind::Budget, "c.primary")] {
        c.wait_for(kind, name, "made", MINUTE, |object| !object.is_null()).await?;
    }
    let (pods, claims) = (uids(c, Kind::Pod).await?, uids(c, Kind::Claim).await?);
    let owned = owners_of(c).await?;
    ensure!(owned.len() >= 8 && owned.values().all(|owner| !owner.is_empty()), "{owned:?}");
    if runs {
        delete_orphaning(c, "c").await?;
    } else {
        c.kill_operator().await?;
        delete_orphaning(c, "c").await?;
        // The garbage collector is through before the operator is back.
        c.wait_for(Kind::Cache, "c", "without the finalizer `orphan`", MINUTE, |cache| {
            let finalizers = cache["metadata"]["finalizers"].as_array();
            finalizers.is_some_and(|all| all.iter().all(|name| *name != "orphan"))
        })
        .await?;
        c.start_operator().await?;
    }
    c.gone(Kind::Cache, "c", MINUTE).await?;
    let left = owners_of(c).await?;
    ensure!(left.keys().eq(owned.keys()), "left: {left:?}, before: {owned:?}");
    ensure!(left.values().all(String::is_empty), "half-owned: {left:?}");
    ensure!(uids(c, Kind::Pod).await? == pods, "a pod was made anew");
    ensure!(uids(c, Kind::Claim).await? == claims, "a volume was made anew");

    c.create_with("c", 2, more).await?;
    c.ready("c", 2, CHANGE).await?;
    let uid = c.get(Kind::Cache, "c").await?["metadata"]["uid"].as_str().map(str::to_owned);
    c.wait("everything to be the new cache's", MINUTE, async || {
        let owners = owners_of(c).await?;
        let all = owners.len() == owned.len() && owners.values().all(|it| Some(it) == uid.as_ref());
        Ok(crate::context::Seen::when(all, || format!("{owners:?}")))
    })
    .await?;
    ensure!(uids(c, Kind::Pod).await? == pods, "a member was started anew");
    ensure!(uids(c, Kind::Claim).await? == claims, "a volume was made anew");
    ensure!(c.count("join_started", "c-1")? == 1, "a member of the group was joined again");
    // It is a cache as any other: a member more, and a member less.
    c.resize("c", 3).await?;
    c.ready("c", 3, CHANGE).await
}

/// A pod's label is edited and a volume's labels are gone, as after a restore from a backup.
async fn labels(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let claims = uids(c, Kind::Claim).await?;
    let pods = uids(c, Kind::Pod).await?;
    c.patch(Kind::Claim, "vol-c-1", json!({"metadata": {"labels": null}})).await?;
    let edited = json!({"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}});
    c.patch(Kind::Pod, "c-1", edited).await?;
    for (kind, name) in [(Kind::Claim, "vol-c-1"), (Kind::Pod, "c-1")] {
        c.wait_for(kind, name, "labelled again", MINUTE, |object| {
            object["metadata"]["labels"]["app.kubernetes.io/instance"] == "c"
        })
        .await?;
    }
    ensure!(c.history.told("LabelsRestored"), "no Event tells it");
    c.ready("c", 2, MINUTE).await?;
    c.wait_for(Kind::Pod, "c-1", "its StatefulSet's again", MINUTE, |pod| {
        pod["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
    })
    .await?;
    ensure!(uids(c, Kind::Pod).await? == pods, "the pod was made anew");
    ensure!(uids(c, Kind::Claim).await? == claims, "the volume was made anew");
    // Its volume goes with it when it is scaled away.
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}

/// The owner of objects is taken off by hand: they are still the cache's, and go with it.
async fn owners(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let none = json!({"metadata": {"ownerReferences": null}});
    let taken = [(Kind::StatefulSet, "c"), (Kind::Service, "c"), (Kind::Secret, "c-held")];
    for (kind, name) in taken {
        c.wait_for(kind, name, "made", MINUTE, |object| !object.is_null()).await?;
        c.patch(kind, name, none.clone()).await?;
    }
    for (kind, name) in taken {
        c.wait_for(kind, name, "owned again", MINUTE, |object| {
            object["metadata"]["ownerReferences"][0]["kind"] == "XsldCache"
        })
        .await?;
    }
    c.ready("c", 1, MINUTE).await
}

/// A cache goes without its finalizer and is made again at once, while all of the former one still
/// ends: it waits for that, and comes up on the volumes that are there.
async fn namesake(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let claims = uids(c, Kind::Claim).await?;
    // Something holds the former StatefulSet for a while.
    let held = json!({"metadata": {"finalizers": ["shop.test/hold"]}});
    c.patch(Kind::StatefulSet, "c", held).await?;
    let former = c.get(Kind::StatefulSet, "c").await?;
    c.kill_operator().await?;
    c.delete(Kind::Cache, "c").await?;
    c.patch(Kind::Cache, "c", json!({"metadata": {"finalizers": null}})).await?;
    c.gone(Kind::Cache, "c", MINUTE).await?;
    c.create("c", 2).await?;
    c.start_operator().await?;
    c.wait_for(Kind::Cache, "c", "what it waits for", MINUTE, |cache| {
        let deferred = crate::context::condition(cache, "Deferred");
        let message = deferred.and_then(|found| found["message"].as_str()).unwrap_or_default();
        message.contains("StatefulSet c is still going")
    })
    .await?;
    let now = c.get(Kind::StatefulSet, "c").await?;
    ensure!(now["metadata"]["ownerReferences"] == former["metadata"]["ownerReferences"], "{now}");
    ensure!(now["spec"] == former["spec"], "{now}");
    c.patch(Kind::StatefulSet, "c", json!({"metadata": {"finalizers": null}})).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    ensure!(uids(c, Kind::Claim).await? == claims, "a volume was made anew");
    Ok(())
}
