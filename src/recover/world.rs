//! What the API server has of what the journal speaks of: whether there is anything to adopt, and
//! whether the API server was set back to an older state.

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::ListParams;
use kube::{Client, ResourceExt};
use xsld_journal::event::Event;
use xsld_journal::record::{Record, StreamId};
use xsld_journal::state::CacheState;
use xsld_journal::store::Store;

use super::anchor::Anchor;
use super::{Error, timed};
use crate::controller::Scope;
use crate::controller::streams::again;
use crate::crd::XsldCache;
use crate::manifests::FIELD_MANAGER;

/// What was found of the operator's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The caches.
    pub caches: Vec<Cache>,
    /// StatefulSets that an operator made.
    pub groups: Vec<String>,
}

/// An `XsldCache` as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its `metadata.generation`.
    pub generation: i64,
}

/// Reads it.
///
/// # Errors
/// When the API server refuses, or does not answer within `timeout`.
pub async fn look(
    client: &Client,
    scope: &Scope,
    timeout: std::time::Duration,
) -> Result<World, Error> {
    let all = ListParams::default();
    let caches = scope.api::<XsldCache>(client.clone());
    let caches = timed(timeout, "list the caches", caches.list(&all)).await?;
    let ours = all.labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
    let sets = scope.api::<StatefulSet>(client.clone());
    let sets = timed(timeout, "list the StatefulSets", sets.list(&ours)).await?;
    let caches = caches.items.iter().map(|cache| Cache {
        namespace: cache.namespace().unwrap_or_default(),
        name: cache.name_any(),
        uid: cache.uid().unwrap_or_default(),
        generation: cache.metadata.generation.unwrap_or(0),
    });
    let named =
        |set: &StatefulSet| format!("{}/{}", set.namespace().unwrap_or_default(), set.name_any());
    Ok(World { caches: caches.collect(), groups: sets.items.iter().map(named).collect() })
}

/// What the journal remembers and the API server may have forgotten.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// The newest term.
    pub epoch: u64,
    /// The caches, also those that were deleted or left.
    pub caches: Vec<(StreamId, std::sync::Arc<CacheState>)>,
    /// The records after the anchor's.
    pub tail: Vec<Record>,
}

impl Remembered {
    /// What `store` remembers beside this anchor.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub fn of(store: &dyn Store, anchor: &Anchor) -> Result<Self, Error> {
        Ok(Self {
            epoch: store.head().epoch.0,
            caches: store.streams(),
            tail: store.scan(anchor.seq.saturating_add(1))?,
        })
    }
}

/// Why the API server must have been set back to an older state, in a sentence; none when nothing
/// speaks for it.
///
/// The anchor takes a term before its first record, and every destructive step's intent before the
/// step: a journal that is ahead of it in one of these was not written beside this anchor. A cache
/// never goes back in its generation, nor is it made anew before its end was recorded.
pub fn went_back(remembered: &Remembered, anchor: &Anchor, world: &World) -> Option<String> {
    let Remembered { epoch, caches, tail } = remembered;
    if *epoch > anchor.epoch {
        return Some(format!(
            "the journal has term {epoch} and its anchor only term {}",
            anchor.epoch
        ));
    }
    if let Some(seq) = unanchored(tail) {
        return Some(format!(
            "record {seq} is a destructive step that was sent, and the anchor, which is moved \
             before each, stands at {}",
            anchor.seq
        ));
    }
    world.caches.iter().find_map(|cache| older(cache, caches))
}

/// The first destructive step of the tail whose effect was had.
fn unanchored(tail: &[Record]) -> Option<u64> {
    let mut intents = std::collections::BTreeMap::new();
    for record in tail {
        match &record.event {
            Event::StepIntended { step, key, .. } if step.is_destructive() => {
                intents.insert(*key, record.seq());
            }
            Event::StepAccepted { key, .. }
            | Event::StepSucceeded { key, found_by_probe: false, .. } => {
                if let Some(seq) = intents.get(key) {
                    return Some(*seq);
                }
            }
            _ => {}
        }
    }
    None
}

fn older(cache: &Cache, known: &[(StreamId, std::sync::Arc<CacheState>)]) -> Option<String> {
    let Cache { namespace, name, uid, generation } = cache;
    let find = |stream: StreamId| known.iter().find(|(known, _)| *known == stream);
    let mut stream = uid.parse().ok().map(StreamId)?;
    let mut acted = None;
    // One that was left and came back goes on in another stream. One that was found to be older counts
    // until somebody confirms it: this start is as careful as the first.
    while let Some((_, state)) = find(stream) {
        acted = state.acted_after(acted);
        stream = again(stream);
    }
    let open = |state: &CacheState| !state.closed && state.namespace == *namespace;
    let former = known.iter().find(|(_, state)| open(state) && state.name == *name);
    if find(uid.parse().ok().map(StreamId)?).is_none() {
        return former.map(|(former, _)| {
            format!(
                "the XsldCache {namespace}/{name} is another object ({uid}) than the one that the \
                 journal knows ({former}) and whose end it has not recorded"
            )
        });
    }
    let recorded = acted?.generation;
    (recorded > *generation).then(|| {
        format!(
            "the XsldCache {namespace}/{name} is of generation {generation}, and the journal has \
             acted on generation {recorded}"
        )
    })
}

#[cfg(test)]
mod tests;
