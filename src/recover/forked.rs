//! A forked journal: everything is told and can be read, and nothing is done.
//!
//! Which copy is the true one only a person can tell. Until then this instance keeps the Lease, so
//! that no other one acts on the wrong memory either, and looks again from time to time.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ListParams;
use kube::{Api, Client};
use tracing::{error, warn};
use xsld_journal::store::Store;

use super::anchor::{self, ANCHOR_NAME, AnchorKeeper};
use super::{Error, Start, timed};
use crate::controller::Subject;
use crate::controller::mark::{Whose, whose};
use crate::crd::{ConditionReason, XsldCache};
use crate::events::{self, Note};
use crate::status::{self, Problem, publish};
use crate::telemetry::chain;

/// Tells people: an Event of the anchor, and the condition `JournalHealthy` of every cache. What
/// cannot be told is only logged; it is told again the next time.
pub async fn tell(start: &Start<'_>, store: &dyn Store, why: &str) {
    error!(why, "the journal is forked: nothing is done");
    event(start, why).await;
    if let Err(error) = served(start).await {
        warn!(error = chain(&error), "where the forked journal is served could not be told");
    }
    if let Err(error) = conditions(start, store, why).await {
        warn!(error = chain(&error), "not every cache could be told that the journal is forked");
    }
}

/// Tells beside the anchor where the journal can be read.
async fn served(start: &Start<'_>) -> Result<(), anchor::Error> {
    let api = Api::namespaced(start.client.clone(), start.namespace);
    let mut keeper = AnchorKeeper::new(api, start.times.request, start.served.clone());
    keeper.read().await?;
    keeper.tell_served().await
}

async fn event(start: &Start<'_>, why: &str) {
    let note = Note {
        reason: "JournalForked",
        warning: true,
        message: why.to_owned(),
        operation: None,
        seq: None,
        action: "Recover",
    };
    let instance: String = start.lease.0.chars().take(120).collect();
    let (client, wall, timeout) = (start.client, start.clock.wall(), start.times.request);
    events::publish(client, &anchor(start.namespace), &[note], &instance, wall, timeout).await;
}

/// The anchor's ConfigMap, where people look for what was odd at start-up.
pub fn anchor(namespace: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("ConfigMap".to_owned()),
        name: Some(ANCHOR_NAME.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}

async fn conditions(start: &Start<'_>, store: &dyn Store, why: &str) -> Result<(), Error> {
    let timeout = start.times.request;
    let client: &Client = start.client;
    let api = start.scope.api::<XsldCache>(client.clone());
    let caches = timed(timeout, "list the caches", api.list(&ListParams::default())).await?;
    let problem = Problem { reason: ConditionReason::JournalForked, message: why.to_owned() };
    for object in &caches.items {
        let Some(subject) = Subject::of(object, store) else { continue };
        if let Whose::Anothers(_) = whose(object, start.namespace, store.head().journal_id) {
            continue;
        }
        let state = store.state(subject.stream).unwrap_or_default();
        let status = status::cache(&status::CacheInputs {
            object,
            invalid: &[],
            problems: std::slice::from_ref(&problem),
            asked: false,
            seen: None,
            state: &state,
            decision: None,
            head: store.stream_head(subject.stream),
            journal_id: store.head().journal_id,
            gap: store.log_state().gap.clone(),
            image: None,
            target_image: None,
            wanted_template: None,
            update: None,
            no_evictions: None,
            selector: subject.identity.selector_text(),
            now: start.clock.wall(),
        });
        if let Err(error) = publish::publish_cache(client, object, &status, timeout).await {
            warn!(error = chain(&error), "a cache could not be told that the journal is forked");
        }
    }
    Ok(())
}
