//! The journal's fold, the API server and the group say the same.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use xsld_journal::record::StreamId;
use xsld_journal::replay::fold;
use xsld_journal::state::{CacheState, Operation};

use crate::Result;
use crate::context::{Context, Kind, Seen};

/// How long a scenario's last operation may take to end after what it waited for itself.
const SETTLED: Duration = Duration::from_secs(60);

/// Waits until no operation is open and no member is leaving.
pub(super) async fn settle(context: &Context) -> Result {
    context
        .wait("every operation to end", SETTLED, async || {
            let open = open_operations(context)?;
            Ok(Seen::when(open.is_empty(), || open.join(", ")))
        })
        .await
}

/// The operations that the journal shows open, by kind and id.
pub(super) fn open_operations(context: &Context) -> Result<Vec<String>> {
    let folded = fold(&context.records()?)?;
    let named = |operation: &Operation| format!("{:?} {}", operation.kind, operation.id);
    let open = folded.streams.values().filter_map(|state| state.operation.as_ref());
    Ok(open.map(named).collect())
}

/// Compares every open stream of the journal with the world, and every cache with its stream.
pub(super) async fn journal_and_world(context: &Context) -> Result {
    let folded = context.folded()?;
    let caches = context.list(Kind::Cache).await?;
    let mut alive = Vec::new();
    for cache in &caches {
        let uid = cache["metadata"]["uid"].as_str().unwrap_or_default();
        let mut stream = StreamId(uid.parse().context("a UID that names no stream")?);
        // One that was left and came back goes on in another stream, as docs/operations.md tells.
        while folded.streams.get(&stream).is_some_and(|state| state.left) {
            stream = StreamId(uuid::Uuid::new_v5(&stream.0, b"again"));
        }
        let state = folded.streams.get(&stream).context("a cache without a stream")?;
        same(context, state, cache).await.with_context(|| state.name.clone())?;
        alive.push(stream);
    }
    for (stream, state) in &folded.streams {
        let alive = alive.contains(stream);
        ensure!(alive || state.closed, "the stream of {} was left open", state.name);
    }
    Ok(())
}

async fn same(context: &Context, state: &CacheState, cache: &Value) -> Result {
    let name = &state.name;
    ensure!(!state.closed, "its stream is closed");
    ensure!(state.leaving.is_empty(), "members are leaving: {:?}", state.leaving);
    let set = context.get(Kind::StatefulSet, name).await?;
    let replicas = set["spec"]["replicas"].as_u64();
    ensure!(
        replicas == state.committed.replicas.map(u64::from),
        "replicas {replicas:?}, journal {:?}",
        state.committed.replicas
    );
    let size = cache["spec"]["size"].as_u64().unwrap_or(1);
    ensure!(state.members.len() as u64 == size, "{} members for size {size}", state.members.len());
    for (ordinal, member) in &state.members {
        let claim = context.get(Kind::Claim, &format!("vol-{name}-{ordinal}")).await?;
        ensure!(
            claim["metadata"]["uid"] == member.claim_uid.as_str(),
            "the claim of {} is {}, journal {}",
            member.name,
            claim["metadata"]["uid"],
            member.claim_uid
        );
        let pod = context.get(Kind::Pod, &member.name).await?;
        let container = &pod["status"]["containerStatuses"][0]["containerID"];
        ensure!(
            pod["metadata"]["uid"] == member.incarnation.pod_uid.as_str()
                && *container == member.incarnation.container_id.as_str(),
            "{} runs as {} {container}, journal {:?}",
            member.name,
            pod["metadata"]["uid"],
            member.incarnation
        );
        ensure!(
            pod["status"]["podIP"] == member.address.as_str(),
            "{} runs at {}, and the group knows it at {:?}",
            member.name,
            pod["status"]["podIP"],
            member.address
        );
    }
    context.views_agree(name, u32::try_from(size)?).await?;
    for claim in context.list(Kind::Claim).await? {
        let live = claim["metadata"]["uid"].as_str().unwrap_or_default();
        ensure!(claim["metadata"]["deletionTimestamp"].is_null(), "a claim is going: {live}");
    }
    grids(context, state).await
}

async fn grids(context: &Context, state: &CacheState) -> Result {
    let listed = context.ask(&format!("{}-0", state.name), "/grid").await?;
    let live: Vec<String> = names(&listed);
    for grid in state.grids.values() {
        ensure!(live.contains(&grid.name), "the group has no grid {}: {listed}", grid.name);
    }
    for template in state.templates.values() {
        let path = format!("/gridTemplate/{}", template.name);
        let there = context.ask(&format!("{}-0", state.name), &path).await;
        ensure!(there.is_ok(), "the group has no template {}", template.name);
    }
    Ok(())
}

fn names(listed: &Value) -> Vec<String> {
    let grids = listed.as_array().into_iter().flatten();
    let name = |grid: &Value| match grid {
        Value::String(name) => Some(name.clone()),
        grid => {
            ["name", "gridName"].iter().find_map(|field| grid[field].as_str()).map(str::to_owned)
        }
    };
    grids.filter_map(name).collect()
}
