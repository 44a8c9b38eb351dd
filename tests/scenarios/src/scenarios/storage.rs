//! Volumes that grow, that cannot, and that come back with what nobody wants any more.

use anyhow::ensure;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use xsld_journal::event::Step;

use super::bootstrap::MINUTE;
use crate::context::records::Intent;
use crate::context::{Context, Kind, condition};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("storage::volumes_grow_one_by_one_and_later_members_after_them", |c| {
            Box::pin(grows(c))
        }),
        Scenario::new("storage::a_growth_survives_a_kill", |c| Box::pin(growth_killed(c))),
        Scenario::new("storage::volumes_that_cannot_grow_are_told_until_they_can", |c| {
            Box::pin(cannot_grow(c))
        }),
        Scenario::new("storage::a_size_can_be_set_back_and_no_volume_shrinks", |c| {
            Box::pin(shrunk(c))
        }),
        Scenario::new("storage::a_scale_down_waits_until_the_rest_can_hold_the_data", |c| {
            Box::pin(too_full(c))
        }),
        Scenario::new("storage::a_kept_volume_serves_nothing_from_before", |c| Box::pin(stale(c))),
    ]
}

fn asks_for(claim: &Value, size: &str) -> bool {
    claim["spec"]["resources"]["requests"]["storage"] == size
}

async fn grown(c: &Context, claim: &str, size: &str) -> Result {
    c.wait_for(Kind::Claim, claim, "grown", MINUTE, |claim| {
        asks_for(claim, size) && claim["status"]["capacity"]["storage"] == size
    })
    .await
    .map(drop)
}

async fn set_size(c: &Context, size: &str) -> Result {
    c.patch(Kind::Cache, "c", json!({"spec": {"storage": {"size": size}}})).await.map(drop)
}

/// The claims whose growth was recorded and succeeded, in order.
fn growths(c: &Context) -> Result<Vec<(String, String, String)>> {
    let records = c.records()?;
    let intents = records.iter().filter_map(Intent::of);
    let growths = intents.filter_map(|intent| match intent.step {
        Step::GrowVolume { claim, from, to, .. } => Some((claim, from, to)),
        _ => None,
    });
    Ok(growths.collect())
}

async fn grows(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let before = c.get(Kind::Claim, "vol-c-1").await?;
    set_size(c, "2Gi").await?;
    for claim in ["vol-c-0", "vol-c-1"] {
        grown(c, claim, "2Gi").await?;
    }
    c.ready("c", 2, MINUTE).await?;
    let after = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(before["metadata"]["uid"] == after["metadata"]["uid"], "the claim was made anew");
    let expected =
        ["vol-c-0", "vol-c-1"].map(|claim| (claim.to_owned(), "1Gi".to_owned(), "2Gi".to_owned()));
    ensure!(growths(c)? == expected, "recorded: {:?}", growths(c)?);
    // The claim template stays, so the next member begins with the former size.
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    grown(c, "vol-c-2", "2Gi").await?;
    ensure!(growths(c)?.len() == 3, "recorded: {:?}", growths(c)?);
    let kinds = c.records()?;
    let begun = kinds.iter().filter(|record| record.event.name() == "operation_begun").count();
    ensure!(begun >= 4, "the growths were no operations of their own: {begun} operations");
    Ok(())
}

async fn growth_killed(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let kill = Kill::at("grow_volume", Moment::Intended);
    c.killed_during("c", kill, set_size(c, "2Gi")).await?;
    for claim in ["vol-c-0", "vol-c-1"] {
        grown(c, claim, "2Gi").await?;
    }
    c.ready("c", 2, MINUTE).await
}

fn waits(cache: &Value, reason: &str) -> bool {
    condition(cache, "Deferred")
        .is_some_and(|found| found["status"] == "True" && found["reason"] == reason)
}

async fn cannot_grow(c: &Context) -> Result {
    let api: Api<StorageClass> = Api::all(c.client());
    let name = format!("fixed-{}", c.namespace);
    let usual = api.get("xsld-sim").await?;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": usual.provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": false,
    });
    let params = PatchParams::apply("scenario").force();
    api.patch(&name, &params, &Patch::Apply(class)).await?;
    c.create_with("c", 1, json!({"storage": {"storageClassName": name}})).await?;
    c.ready("c", 1, MINUTE).await?;
    set_size(c, "2Gi").await?;
    let told = |cache: &Value| waits(cache, "VolumesCannotGrow");
    c.wait_for(Kind::Cache, "c", "VolumesCannotGrow", MINUTE, told).await?;
    // It is a finding and no failure: the cache serves as before.
    c.ready("c", 1, MINUTE).await?;
    // It can be set back, as the documents advise.
    set_size(c, "1Gi").await?;
    c.wait_for(Kind::Cache, "c", "nothing waits", MINUTE, |cache| {
        condition(cache, "Deferred").is_some_and(|found| found["status"] == "False")
    })
    .await?;
    set_size(c, "2Gi").await?;
    c.wait_for(Kind::Cache, "c", "VolumesCannotGrow", MINUTE, told).await?;
    ensure!(growths(c)?.is_empty(), "a step was recorded that the class forbids");
    ensure!(asks_for(&c.get(Kind::Claim, "vol-c-0").await?, "1Gi"), "the claim was changed");
    let allow = Patch::Merge(json!({"allowVolumeExpansion": true}));
    api.patch(&name, &PatchParams::default(), &allow).await?;
    grown(c, "vol-c-0", "2Gi").await?;
    c.ready("c", 1, MINUTE).await?;
    api.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

async fn shrunk(c: &Context) -> Result {
    c.create_with("c", 1, json!({"storage": {"size": "2Gi"}})).await?;
    c.ready("c", 1, MINUTE).await?;
    set_size(c, "1Gi").await?;
    let told = |cache: &Value| waits(cache, "VolumesCannotShrink");
    let cache = c.wait_for(Kind::Cache, "c", "VolumesCannotShrink", MINUTE, told).await?;
    let message = condition(&cache, "Deferred").map(|found| found["message"].to_string());
    let message = message.unwrap_or_default();
    ensure!(message.contains("vol-c-0") && message.contains("2Gi"), "{message}");
    ensure!(asks_for(&c.get(Kind::Claim, "vol-c-0").await?, "2Gi"), "the claim was changed");
    set_size(c, "2Gi").await?;
    c.wait_for(Kind::Cache, "c", "nothing waits", MINUTE, |cache| {
        condition(cache, "Deferred").is_some_and(|found| found["status"] == "False")
    })
    .await?;
    ensure!(growths(c)?.is_empty(), "a growth was recorded");
    c.ready("c", 1, MINUTE).await
}

/// The group tells what its members hold: the leaving one more than the other has room for.
async fn too_full(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    for (member, megabytes) in [("c-0", 900), ("c-1", 700)] {
        let shown = json!({"fault": "show_used", "member": member, "megabytes": megabytes});
        c.fault("c-0", shown).await?;
    }
    c.resize("c", 1).await?;
    let told = |cache: &Value| waits(cache, "CapacityShort");
    let cache = c.wait_for(Kind::Cache, "c", "CapacityShort", MINUTE, told).await?;
    let message = condition(&cache, "Deferred").map(|found| found["message"].to_string());
    let message = message.unwrap_or_default();
    for figure in ["700 MB", "900 of 1024 MB", "124 MB free"] {
        ensure!(message.contains(figure), "{figure} is not in: {message}");
    }
    ensure!(c.count("disjoin_started", "")? == 0, "a member was disjoined");
    ensure!(cache["status"]["operation"].is_null(), "an operation was begun: {cache}");
    c.clear_faults("c-0").await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    ensure!(c.count("disjoined", "c-1")? == 1, "c-1 was not disjoined once it fitted");
    Ok(())
}

/// A member leaves, its volume is kept, entries change meanwhile, and a member comes back on that
/// volume: it serves what the group has now.
async fn stale(c: &Context) -> Result {
    c.create_with("c", 2, json!({"storage": {"retention": {"whenScaled": "Retain"}}})).await?;
    c.create_grid("g", json!({})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.grid_online("g", MINUTE).await?;
    c.store("c-1", "g", "key", "before").await?;
    let kept = c.get(Kind::Claim, "vol-c-1").await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    c.gone(Kind::Pod, "c-1", MINUTE).await?;
    c.store("c-0", "g", "key", "after").await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let again = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(kept["metadata"]["uid"] == again["metadata"]["uid"], "the volume was not kept");
    ensure!(c.count("joined", "c-1")? == 2, "c-1 was not joined afresh");
    c.grid_online("g", MINUTE).await?;
    let found = c.load("c-1", "g", "key").await?;
    ensure!(found.as_deref() == Some("after"), "c-1 serves {found:?}");
    Ok(())
}
