//! What a roll leaves behind, what it waits for, and what it keeps its hands off.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::roll::{
    MEMBER, NEW, committed, has_data, order, rolled, set_image, taken, uids, with_data,
};
use crate::context::{Context, IMAGE, Kind, Seen};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("rolls::a_change_that_is_taken_back_is_rolled_back", |c| {
            Box::pin(taken_back(c))
        }),
        Scenario::new("rolls::a_canary_that_dies_is_brought_to_the_canarys_image_again", |c| {
            Box::pin(canary_dies(c))
        }),
        Scenario::new("rolls::a_grid_in_error_and_a_roll_do_not_wait_for_each_other", |c| {
            Box::pin(grid_in_error(c))
        }),
        Scenario::new("rolls::a_volume_whose_claim_was_deleted_is_not_finished_off", |c| {
            Box::pin(claim_deleted(c))
        }),
    ]
}

/// To B, and halfway to C, and B again: nobody is left on C.
async fn taken_back(c: &Context) -> Result {
    with_data(c, 3, json!({})).await?;
    set_image(c, NEW).await?;
    rolled(c, 3, NEW).await?;
    let before = uids(c).await?;
    set_image(c, "ibmcom/xsld:8615").await?;
    taken(c, "c-2", &before["c-2"]).await?;
    set_image(c, NEW).await?;
    c.wait("the former image to be committed", 2 * MEMBER, async || {
        let found = committed(c).await?;
        Ok(Seen::when(found == NEW, || found))
    })
    .await?;
    rolled(c, 3, NEW).await?;
    has_data(c).await
}

async fn canary_dies(c: &Context) -> Result {
    with_data(c, 3, json!({"rollout": {"partition": 2}})).await?;
    set_image(c, NEW).await?;
    let reached = ("Deferred", "True", "PartitionReached");
    c.wait_condition(Kind::Cache, "c", reached, 2 * MEMBER).await?;
    let before = uids(c).await?;
    c.delete(Kind::Pod, "c-2").await?;
    taken(c, "c-2", &before["c-2"]).await?;
    c.wait("the canary's image once more", 4 * MEMBER, async || {
        let pod = c.get(Kind::Pod, "c-2").await?;
        let image = &pod["spec"]["containers"][0]["image"];
        let is_new = *image == NEW && pod["metadata"]["deletionTimestamp"].is_null();
        Ok(Seen::when(is_new && order(c)? == ["c-2", "c-2"], || image.to_string()))
    })
    .await?;
    c.wait_condition(Kind::Cache, "c", reached, 2 * MEMBER).await?;
    c.wait("the former image to be committed again", 2 * MEMBER, async || {
        let image = committed(c).await?;
        Ok(Seen::when(image == IMAGE, || image))
    })
    .await?;
    ensure!(committed(c).await? == IMAGE, "a pod that dies would take the new image");
    has_data(c).await
}

/// A grid that nobody of ours takes care of stays in error for ever.
async fn grid_in_error(c: &Context) -> Result {
    c.entries_are_lost("a grid in error serves nothing");
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.create_grid("g", json!({"deletionPolicy": "Retain"})).await?;
    c.grid_online("g", MINUTE).await?;
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", MINUTE).await?;
    for pod in ["c-0", "c-1"] {
        c.fault(pod, json!({"fault": "break_grid", "grid": "g"})).await?;
    }
    set_image(c, NEW).await?;
    rolled(c, 2, NEW).await?;
    ensure!(c.recorded("grids_left_out")? == 1, "it is not recorded that the grid was left out");
    Ok(())
}

async fn claim_deleted(c: &Context) -> Result {
    with_data(c, 3, json!({})).await?;
    let (claim, before) = (c.get(Kind::Claim, "vol-c-1").await?, uids(c).await?);
    let uid = claim["metadata"]["uid"].as_str().context("no claim")?.to_owned();
    c.allow(|allowed| allowed.deleted_claims.push(uid.clone()));
    c.delete(Kind::Claim, "vol-c-1").await?;
    for kind in ["Degraded", "NeedsAttention"] {
        let told = (kind, "True", "VolumeTerminating");
        c.wait_condition(Kind::Cache, "c", told, MINUTE).await?;
    }
    set_image(c, NEW).await?;
    taken(c, "c-2", &before["c-2"]).await?;
    let waits = |cache: &Value| {
        crate::context::condition(cache, "Progressing")
            .is_some_and(|found| found["reason"] == "VolumeTerminating")
    };
    c.wait_for(Kind::Cache, "c", "the roll to stop before c-1", 2 * MEMBER, waits).await?;
    let after = uids(c).await?;
    ensure!(after["c-1"] == before["c-1"], "the pod of the volume was deleted");
    ensure!(after["c-0"] == before["c-0"], "the primary went before it");
    // A person gives the volume up.
    c.delete(Kind::Pod, "c-1").await?;
    c.wait_for(Kind::Claim, "vol-c-1", "made anew", MINUTE, |claim| {
        !claim.is_null() && claim["metadata"]["uid"] != uid.as_str()
    })
    .await?;
    rolled(c, 3, NEW).await?;
    has_data(c).await
}
