//! Stories of states in which something healthy could be destroyed, or that could last for ever.

use std::time::Duration;

use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use super::super::bootstrap::MINUTE;
use super::changes::{NEW, rolled, set_image, updated};
use super::{created, whole, with_data};
use crate::Result;
use crate::context::{Context, Kind, condition};
use crate::sweep::grid_of;

/// Coming back on kept volumes, or a change of all members, on a loaded machine.
const LONG: Duration = Duration::from_secs(180);
/// An image that is asked for and taken back.
const TAKEN_BACK: &str = "ibmcom/xsld:8615";

fn member(cache: &str, ordinal: u32) -> String {
    format!("{cache}-{ordinal}")
}

async fn uid(c: &Context, kind: Kind, name: &str) -> Result<String> {
    let object = c.get(kind, name).await?;
    Ok(object["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
}

/// Waits until a condition has this reason and names somebody or something.
async fn told(c: &Context, cache: &str, what: (&str, &str), name: &str) -> Result {
    let (kind, reason) = what;
    c.wait_for(Kind::Cache, cache, &format!("{kind} ({reason}) to name {name}"), LONG, |cache| {
        let found = condition(cache, kind);
        found.is_some_and(|found| {
            found["reason"] == reason && found["message"].to_string().contains(name)
        })
    })
    .await
    .map(drop)
}

/// A group of two ended and left its volumes; the cache is made again and waits to be let go on, and
/// one member will accept connections and answer nothing.
pub(super) async fn kept_and_silent(c: &Context, cache: &str) -> Result {
    c.entries_are_lost("all members ended, and entries live in their memory");
    c.create_with(cache, 2, json!({})).await?;
    whole(c, cache, 2).await?;
    c.delete(Kind::Cache, cache).await?;
    c.gone(Kind::Cache, cache, LONG).await?;
    c.gone(Kind::StatefulSet, cache, MINUTE).await?;
    c.fault(&member(cache, 1), json!({"fault": "hang"})).await?;
    c.create_with(cache, 2, json!({"paused": true})).await?;
    c.wait_condition(Kind::Cache, cache, ("Progressing", "False", "Paused"), MINUTE).await.map(drop)
}

pub(super) async fn silent_member(c: &Context, cache: &str) -> Result {
    let silent = member(cache, 1);
    c.patch(Kind::Cache, cache, json!({"spec": {"paused": false}})).await?;
    told(c, cache, ("Progressing", "Rebuilding"), &silent).await?;
    c.clear_faults(&silent).await?;
    whole(c, cache, 2).await
}

/// A grid that nobody of ours takes care of, in error for ever.
pub(super) async fn broken_grid(c: &Context, cache: &str) -> Result {
    c.entries_are_lost("a grid in error serves nothing");
    created(c, cache, 2, json!({})).await?;
    let grid = grid_of(cache);
    let kept = json!({"cacheRef": {"name": cache}, "deletionPolicy": "Retain"});
    c.create_grid(&grid, kept).await?;
    c.grid_online(&grid, MINUTE).await?;
    c.delete(Kind::Grid, &grid).await?;
    c.gone(Kind::Grid, &grid, MINUTE).await?;
    for ordinal in 0..2 {
        let broken = json!({"fault": "break_grid", "grid": grid});
        c.fault(&member(cache, ordinal), broken).await?;
    }
    Ok(())
}

pub(super) async fn rolled_beside_it(c: &Context, cache: &str) -> Result {
    set_image(c, cache, NEW).await?;
    updated(c, cache, NEW).await?;
    whole(c, cache, 2).await
}

/// To B, halfway to C, and to B again.
pub(super) async fn taken_back(c: &Context, cache: &str) -> Result {
    set_image(c, cache, NEW).await?;
    rolled(c, cache, NEW).await?;
    set_image(c, cache, TAKEN_BACK).await?;
    c.wait_for(Kind::Pod, &member(cache, 1), "on the image that is taken back", LONG, |pod| {
        pod["spec"]["containers"][0]["image"] == TAKEN_BACK
    })
    .await?;
    set_image(c, cache, NEW).await?;
    rolled(c, cache, NEW).await
}

/// Pods of a priority class that does not exist: the API server makes none of them.
pub(super) async fn refused_pods(c: &Context, cache: &str) -> Result {
    let spec = json!({"pod": {"priorityClassName": "gold"},
        "storage": {"retention": {"whenDeleted": "Delete"}}});
    c.create_with(cache, 2, spec).await?;
    told(c, cache, ("Ready", "PodRefused"), "gold").await
}

pub(super) async fn corrected(c: &Context, cache: &str) -> Result {
    let none = json!({"spec": {"pod": {"priorityClassName": null}}});
    c.patch(Kind::Cache, cache, none).await?;
    whole(c, cache, 2).await
}

/// `kubectl delete --cascade=orphan`, and the same cache once more.
pub(super) async fn left_and_taken_up(c: &Context, cache: &str) -> Result {
    let mut pods = Vec::new();
    for ordinal in 0..2 {
        let pod = member(cache, ordinal);
        pods.push((uid(c, Kind::Pod, &pod).await?, pod));
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    c.api(Kind::Cache).delete(cache, &params).await?;
    c.gone(Kind::Cache, cache, LONG).await?;
    created(c, cache, 2, json!({})).await?;
    for (before, pod) in pods {
        let now = uid(c, Kind::Pod, &pod).await?;
        anyhow::ensure!(now == before, "{pod} was started anew");
    }
    Ok(())
}

/// A claim is deleted under its pod, and an image is asked for: the roll stops before that pod until
/// a person gives the volume up.
pub(super) async fn volume_under_its_pod(c: &Context, cache: &str) -> Result {
    let (pod, claim) = (member(cache, 1), format!("vol-{cache}-1"));
    let before = uid(c, Kind::Claim, &claim).await?;
    c.allow(|allowed| allowed.deleted_claims.push(before.clone()));
    c.delete(Kind::Claim, &claim).await?;
    told(c, cache, ("NeedsAttention", "VolumeTerminating"), &claim).await?;
    let former = uid(c, Kind::Pod, &pod).await?;
    set_image(c, cache, NEW).await?;
    told(c, cache, ("Progressing", "VolumeTerminating"), &claim).await?;
    anyhow::ensure!(uid(c, Kind::Pod, &pod).await? == former, "the volume was finished off");
    c.delete(Kind::Pod, &pod).await?;
    let anew = |claim: &Value| !claim.is_null() && claim["metadata"]["uid"] != before.as_str();
    c.wait_for(Kind::Claim, &claim, "made anew", LONG, anew).await?;
    rolled(c, cache, NEW).await
}

/// Two members with entries, of which a roll takes one at a time.
pub(super) async fn two_with_data(c: &Context, cache: &str) -> Result {
    with_data(c, cache, 2, json!({})).await
}

/// A cache of a storage class that does not exist.
pub(super) async fn wrong_class(c: &Context, cache: &str) -> Result {
    let class = json!({"storage": {"storageClassName": "fast-ssd"}});
    c.create_with(cache, 1, class).await?;
    let claim = format!("vol-{cache}-0");
    told(c, cache, ("Ready", "ClaimUnbound"), &claim).await
}

pub(super) async fn gone_with_its_claim(c: &Context, cache: &str) -> Result {
    c.delete(Kind::Cache, cache).await?;
    c.gone(Kind::Cache, cache, LONG).await?;
    c.gone(Kind::Claim, &format!("vol-{cache}-0"), MINUTE).await
}
