//! A cache in which nothing happens causes no write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Result;
use crate::context::{Context, Kind};

/// Several idle polls, which are a second apart at this time scale.
const QUIET: Duration = Duration::from_millis(3500);

/// How long the world may take to come to rest: pods that go, the anchor, the last status.
const LIMIT: Duration = Duration::from_secs(25);

/// Leases aside, these are all objects that the operator or its caches have.
const KINDS: [Kind; 11] = [
    Kind::Cache,
    Kind::Grid,
    Kind::StatefulSet,
    Kind::Pod,
    Kind::Claim,
    Kind::Service,
    Kind::Secret,
    Kind::ConfigMap,
    Kind::Event,
    Kind::Budget,
    Kind::Policy,
];

/// Waits until nothing is written for several polls. A cache that writes now and then never gets
/// there.
pub(super) async fn nothing_is_written(context: &Context) -> Result {
    let begun = Instant::now();
    let mut before = written(context).await?;
    let mut changed: Vec<String> = Vec::new();
    loop {
        tokio::time::sleep(QUIET).await;
        let now = written(context).await?;
        if now == before {
            return Ok(());
        }
        let differs = |(what, version): (&String, &String)| {
            (before.get(what) != Some(version)).then(|| what.clone())
        };
        let gone = before.keys().filter(|what| !now.contains_key(*what)).cloned();
        changed = now.iter().filter_map(differs).chain(gone).chain(changed).take(12).collect();
        ensure!(begun.elapsed() < LIMIT, "still after {LIMIT:?}; last: {}", changed.join(", "));
        before = now;
    }
}

/// The version of every object, and the journal's head.
async fn written(context: &Context) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for kind in KINDS {
        for object in context.list(kind).await? {
            let metadata = &object["metadata"];
            let name = format!("{kind:?} {}", metadata["name"].as_str().unwrap_or_default());
            versions.insert(name, metadata["resourceVersion"].to_string());
        }
    }
    let records = context.records()?;
    versions.insert("the journal".to_owned(), records.len().to_string());
    Ok(versions)
}
