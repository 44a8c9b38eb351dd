//! Stories of members that come, go, fail and are repaired.

use serde_json::{Value, json};

use super::super::bootstrap::MINUTE;
use super::super::scale::until;
use super::{has_data, whole};
use crate::Result;
use crate::context::{Context, Kind};

pub(super) async fn created_paused(c: &Context, cache: &str) -> Result {
    let volumes = json!({"retention": {"whenDeleted": "Delete"}});
    c.create_with(cache, 2, json!({"storage": volumes, "paused": true})).await?;
    c.wait_condition(Kind::Cache, cache, ("Progressing", "False", "Paused"), MINUTE).await.map(drop)
}

pub(super) async fn unpaused(c: &Context, cache: &str) -> Result {
    c.patch(Kind::Cache, cache, json!({"spec": {"paused": false}})).await?;
    whole(c, cache, 2).await
}

pub(super) async fn resized(c: &Context, cache: &str, size: u32) -> Result {
    c.resize(cache, size).await?;
    whole(c, cache, size).await?;
    has_data(c, cache).await
}

/// The task that sets replication up stands still once, as it does at 45 % in the field.
pub(super) async fn replicated_at_the_second_try(c: &Context, cache: &str) -> Result {
    let stuck = json!({"fault": "stuck_task", "command": "ConfigureDerbyReplication", "count": 1});
    c.fault(&format!("{cache}-0"), stuck).await?;
    resized(c, cache, 2).await
}

/// A primary that is away for longer than this, in real seconds, is replaced.
pub(super) fn short_grace() -> Value {
    json!({"replication": {"primaryGraceSeconds": 2}})
}

/// The primary's container cannot run until it is replaced.
pub(super) async fn primary_lost(c: &Context, cache: &str) -> Result {
    let (former, next) = (format!("{cache}-0"), format!("{cache}-1"));
    c.fault(&former, json!({"fault": "crash"})).await?;
    until(c, "promoted", &next).await?;
    c.clear_faults(&former).await?;
    let replaced = |cache: &Value| cache["status"]["primary"] == next.as_str();
    c.wait_for(Kind::Cache, cache, "another primary", MINUTE, replaced).await?;
    whole(c, cache, 2).await?;
    has_data(c, cache).await
}

/// A join that fails when its member is listed already.
pub(super) async fn ghost(c: &Context, cache: &str) -> Result {
    let ghost = json!({"fault": "ghost_after_failed_join", "count": 1});
    c.fault(&format!("{cache}-1"), ghost).await?;
    resized(c, cache, 2).await
}

/// The same, and the member cannot be reached when its entry is taken out: it goes on believing
/// that it is in the group.
pub(super) async fn half_joined(c: &Context, cache: &str) -> Result {
    let member = format!("{cache}-1");
    c.fault(&member, json!({"fault": "ghost_after_failed_join", "count": 1})).await?;
    c.resize(cache, 2).await?;
    until(c, "disjoin_started", &member).await?;
    c.fault(&member, json!({"fault": "hang"})).await?;
    until(c, "ghost_removed", &member).await?;
    c.clear_faults(&member).await?;
    whole(c, cache, 2).await
}
