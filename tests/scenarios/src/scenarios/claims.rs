//! Volumes and deletion: what goes, what is kept, and what comes back on it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use xsld_journal::event::{Receipt, Step};

use super::bootstrap::MINUTE;
use super::scale::until;
use crate::context::records::Intent;
use crate::context::{Context, Kind};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(120);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("claims::retained_when_scaled_they_are_kept_and_recorded", |c| {
            Box::pin(retained_when_scaled(c))
        }),
        Scenario::new("claims::retained_when_deleted_they_are_adopted_again", |c| {
            Box::pin(retained_when_deleted(c))
        }),
        Scenario::new("claims::deleted_with_the_cache_each_has_a_receipt", |c| {
            Box::pin(deleted_with_the_cache(c))
        }),
        Scenario::new("claims::a_cache_is_deleted_in_the_middle_of_a_join", |c| {
            Box::pin(deleted_during_join(c))
        }),
        Scenario::new("claims::a_cache_is_deleted_in_the_middle_of_a_disjoin", |c| {
            Box::pin(deleted_during_disjoin(c))
        }),
        Scenario::new("claims::a_cache_is_deleted_with_its_members_hanging", |c| {
            Box::pin(deleted_hanging(c))
        }),
        Scenario::new("claims::a_cache_is_deleted_before_it_was_ever_up", |c| {
            Box::pin(deleted_early(c))
        }),
        Scenario::new("claims::a_deleted_namespace_ends", |c| Box::pin(namespace_deleted(c)))
            .with_nothing_left(),
    ];
    for step in ["delete_stateful_set", "delete_volume"] {
        let name = format!("claims::a_deletion_survives_a_kill/{step}");
        let kill = Kill::at(step, Moment::Intended);
        all.push(Scenario::new(name, move |c| Box::pin(deletion_killed(c, kill))));
    }
    all
}

async fn retained_when_scaled(c: &Context) -> Result {
    let retain = json!({"retention": {"whenScaled": "Retain"}});
    c.create_with("c", 2, json!({"storage": retain})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let kept = c.get(Kind::Claim, "vol-c-1").await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    c.gone(Kind::Pod, "c-1", MINUTE).await?;
    ensure!(c.recorded("volume_retained")? == 1, "the kept volume is not recorded");
    let after = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(after["metadata"]["uid"] == kept["metadata"]["uid"], "the claim did not stay");
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    let again = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(again["metadata"]["uid"] == kept["metadata"]["uid"], "the claim was not used again");
    Ok(())
}

async fn delete_cache(c: &Context) -> Result {
    c.delete(Kind::Cache, "c").await?;
    c.gone(Kind::Cache, "c", CHANGE).await?;
    c.gone(Kind::StatefulSet, "c", MINUTE).await?;
    let pods = c.list(Kind::Pod).await?;
    ensure!(pods.is_empty(), "{} pods are left", pods.len());
    Ok(())
}

/// The default: volumes outlive the cache, and a new cache of the same name is the same group.
async fn retained_when_deleted(c: &Context) -> Result {
    c.entries_are_lost("all members ended, and entries live in their memory");
    c.create("c", 2).await?;
    c.create_grid("g", json!({"deletionPolicy": "Retain"})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.grid_online("g", MINUTE).await?;
    let kept = c.get(Kind::Claim, "vol-c-1").await?;
    delete_cache(c).await?;
    let claims = c.list(Kind::Claim).await?;
    ensure!(claims.len() == 2, "{} claims are left", claims.len());
    let joins = c.count("join_started", "")?;
    c.create("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    c.grid_online("g", MINUTE).await?;
    let again = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(again["metadata"]["uid"] == kept["metadata"]["uid"], "the claim was not used again");
    ensure!(c.count("join_started", "")? == joins, "a member of the kept group was joined again");
    Ok(())
}

fn delete_volumes() -> serde_json::Value {
    json!({"storage": {"retention": {"whenDeleted": "Delete"}}})
}

async fn deleted_with_the_cache(c: &Context) -> Result {
    c.create_with("c", 2, delete_volumes()).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    delete_cache(c).await?;
    no_claims(c, 2).await
}

/// No claim is left, and `expected` of them went with the cache's own receipt.
async fn no_claims(c: &Context, expected: usize) -> Result {
    let claims = c.list(Kind::Claim).await?;
    ensure!(claims.is_empty(), "{} claims are left", claims.len());
    let records = c.records()?;
    let with_receipt = records.iter().filter_map(Intent::of).filter(|intent| {
        matches!(&intent.step, Step::DeleteVolume { receipt: Receipt::CacheDeleted, .. })
    });
    let claims: std::collections::BTreeSet<_> =
        with_receipt.map(|intent| intent.step.target()).collect();
    ensure!(claims.len() == expected, "{} claims went with this receipt", claims.len());
    ensure!(c.recorded("cache_closed")? == 1, "the stream was not closed");
    Ok(())
}

async fn deleted_during_join(c: &Context) -> Result {
    c.create_with("c", 2, delete_volumes()).await?;
    until(c, "join_started", "c-1").await?;
    delete_cache(c).await?;
    no_claims(c, 2).await
}

async fn deleted_during_disjoin(c: &Context) -> Result {
    c.create_with("c", 2, delete_volumes()).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.resize("c", 1).await?;
    until(c, "disjoin_started", "c-1").await?;
    delete_cache(c).await?;
    let claims = c.list(Kind::Claim).await?;
    ensure!(claims.is_empty(), "{} claims are left", claims.len());
    Ok(())
}

async fn deleted_hanging(c: &Context) -> Result {
    c.create_with("c", 2, delete_volumes()).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    for pod in ["c-0", "c-1"] {
        c.fault(pod, json!({"fault": "hang"})).await?;
    }
    c.create_grid("g", json!({})).await?;
    delete_cache(c).await?;
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", MINUTE).await?;
    no_claims(c, 2).await
}

async fn deleted_early(c: &Context) -> Result {
    // Nobody can start these pods.
    c.create_with("c", 2, json!({"image": "ibmcom/xsld:missing"})).await?;
    c.wait_for(Kind::StatefulSet, "c", "made", MINUTE, |set| !set.is_null()).await?;
    delete_cache(c).await
}

async fn namespace_deleted(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.operator_may_end();
    let api: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(c.client());
    api.delete(&c.namespace, &kube::api::DeleteParams::default()).await?;
    c.wait("the namespace to be gone", CHANGE, async || {
        let namespace = api.get_opt(&c.namespace).await?;
        Ok(crate::context::Seen::when(namespace.is_none(), || {
            let status = namespace.as_ref().and_then(|namespace| namespace.status.clone());
            serde_json::to_string(&status).unwrap_or_default()
        }))
    })
    .await
}

async fn deletion_killed(c: &Context, kill: Kill) -> Result {
    c.create_with("c", 2, delete_volumes()).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.killed_during("c", kill, c.delete(Kind::Cache, "c")).await?;
    c.gone(Kind::Cache, "c", CHANGE).await.context("the finalizer never came off")?;
    no_claims(c, 2).await
}
