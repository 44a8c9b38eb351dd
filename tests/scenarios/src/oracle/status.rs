//! The status: whole, current, and never ahead of the group.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use crate::Result;
use crate::context::{Context, Kind, condition};

const CONDITIONS: [&str; 9] = [
    "Ready",
    "Progressing",
    "Degraded",
    "MembersJoined",
    "GroupReachable",
    "ReplicationReady",
    "Deferred",
    "NeedsAttention",
    "JournalHealthy",
];

/// The API server would take more; a status that grows without bounds would not fit at last.
const BYTES_MAX: usize = 32 * 1024;

/// All conditions are there and answer to the present generation; what was answered to never went
/// back.
pub(super) async fn is_whole(context: &Context) -> Result {
    for cache in context.list(Kind::Cache).await? {
        let name = cache["metadata"]["name"].as_str().unwrap_or_default();
        let generation = &cache["metadata"]["generation"];
        let status = &cache["status"];
        ensure!(
            status["observedGeneration"] == *generation,
            "{name} answers to {}",
            status["observedGeneration"]
        );
        for kind in CONDITIONS {
            let condition =
                condition(&cache, kind).with_context(|| format!("{name} has no {kind}"))?;
            ensure!(
                condition["observedGeneration"] == *generation,
                "{kind} of {name} answers to {}",
                condition["observedGeneration"]
            );
            for field in ["reason", "lastTransitionTime"] {
                let text = condition[field].as_str().unwrap_or_default();
                ensure!(!text.is_empty(), "{kind} of {name} has no {field}");
            }
        }
        let bytes = status.to_string().len();
        ensure!(bytes < BYTES_MAX, "the status of {name} has {bytes} bytes");
        ensure!(
            status["operation"].is_null(),
            "{name} shows an operation: {}",
            status["operation"]
        );
    }
    never_goes_back(context)
}

fn never_goes_back(context: &Context) -> Result {
    let mut answered: BTreeMap<String, i64> = BTreeMap::new();
    for change in context.history.of(Kind::Cache) {
        let Some(now) = change.object["status"]["observedGeneration"].as_i64() else { continue };
        let generation = change.object["metadata"]["generation"].as_i64().unwrap_or(0);
        ensure!(now <= generation, "{} answered to {now} of {generation}", change.name);
        let former = answered.insert(change.uid.clone(), now);
        let held = former.is_none_or(|former| former <= now) || context.allowed().set_back;
        ensure!(held, "{} went back to {now}", change.name);
    }
    Ok(())
}
