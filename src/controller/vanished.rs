//! Caches that are gone without having been deleted here: somebody took the finalizer off, or the
//! object went while the operator was away.
//!
//! No pass comes to such a cache any more, so its stream would stay open for ever, with what was in
//! doubt. It is left when two complete live lists, the settle time apart or more, do not hold its UID.
//! That an API server which was set back has it again later does no harm: it then gets a stream of its
//! own, and its group is adopted as it is found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::runtime::reflector::Store as Cache;
use kube::{Resource, ResourceExt};
use tracing::warn;
use xsld_journal::event::Event;
use xsld_journal::record::StreamId;
use xsld_journal::state::CacheState;

use super::{Context, Error, Scope, Subject, objects};
use crate::clock::Moment;
use crate::crd::XsldCache;
use crate::manifests::Identity;
use crate::telemetry::chain;

/// Looks from time to time for caches that are gone, until the stop token is cancelled.
pub(super) async fn run(context: &Context, scope: &Scope, watched: Cache<XsldCache>) {
    let mut looks = Looks::default();
    loop {
        let pause = match looks.is_waiting() {
            true => context.times.poll_active,
            false => context.times.poll_idle,
        };
        tokio::select! {
            () = context.clock.sleep(pause) => {}
            () = context.stop.cancelled() => return,
        }
        if let Err(error) = look(context, scope, &watched, &mut looks).await {
            // Nothing was proven by a look that failed.
            looks = Looks::default();
            warn!(error = chain(&error), "it could not be looked for caches that are gone");
        }
    }
}

async fn look(
    context: &Context,
    scope: &Scope,
    watched: &Cache<XsldCache>,
    looks: &mut Looks,
) -> Result<(), Error> {
    let watched: Vec<_> = watched.state().iter().filter_map(|cache| cache.uid()).collect();
    let suspects = missing(context, scope, &watched);
    // Nothing is asked while all that is open is there.
    if suspects.is_empty() {
        *looks = Looks::default();
        return Ok(());
    }
    let api = scope.api::<XsldCache>(context.client.clone());
    let params = ListParams::default();
    let listed =
        objects::timed("list the XsldCaches", context.times.request, api.list_metadata(&params));
    let listed = listed.await?;
    if listed.metadata.continue_.is_some_and(|rest| !rest.is_empty()) {
        return Ok(());
    }
    let live: Vec<_> = listed.items.iter().filter_map(ResourceExt::uid).collect();
    let gone = missing(context, scope, &live);
    let now = context.clock.now();
    let proven = looks.seen(now, gone.keys().copied().collect(), context.times.settle);
    if now < context.acts_from || now < context.destroys_from {
        return Ok(());
    }
    for stream in proven {
        if let Some(state) = gone.get(&stream) {
            // One that cannot be recorded keeps no other one open.
            if let Err(error) = leave(context, stream, state).await {
                warn!(%stream, error = chain(&error), "a cache that is gone could not be left");
            }
        }
    }
    Ok(())
}

/// The open streams of caches in this scope that are not among these UIDs.
fn missing(
    context: &Context,
    scope: &Scope,
    uids: &[String],
) -> BTreeMap<StreamId, Arc<CacheState>> {
    let there: BTreeSet<StreamId> = uids.iter().filter_map(|uid| context.stream_of(uid)).collect();
    let here =
        |state: &CacheState| scope.namespace().is_none_or(|namespace| namespace == state.namespace);
    let streams = context.store.streams().into_iter();
    let open = streams.filter(|(_, state)| !state.closed && !state.name.is_empty() && here(state));
    open.filter(|(stream, _)| !there.contains(stream)).collect()
}

/// Ends a stream, and tells so.
async fn leave(context: &Context, stream: StreamId, state: &CacheState) -> Result<(), Error> {
    let CacheState { namespace, name, .. } = state;
    let (namespace, name) = (namespace.clone(), name.clone());
    // The first stream of a cache has its UID; who looks for a later one finds it by its name.
    let identity =
        Identity { name: name.clone(), namespace: namespace.clone(), uid: stream.to_string() };
    let reference = k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(XsldCache::api_version(&()).into_owned()),
        kind: Some(XsldCache::kind(&()).into_owned()),
        name: Some(name.clone()),
        namespace: Some(namespace.clone()),
        uid: Some(stream.to_string()),
        ..Default::default()
    };
    let subject = Subject { identity, stream, reference };
    let _turn = context.turn(stream).await;
    // A pass that was still under way may have deleted it in order.
    if context.store.state(stream).is_none_or(|state| state.closed) {
        return Ok(());
    }
    let event = Event::CacheLeft {
        reason: format!(
            "the XsldCache {namespace}/{name} ({stream}) does not exist any more, though its deletion \
             was not carried out here: its finalizer was taken off, or it went while no operator ran. \
             What is left of its StatefulSet and its volumes is left as it is"
        ),
        evidence: serde_json::json!({"lists_without_it": 2, "uid": stream.to_string()}).to_string(),
    };
    warn!(%stream, namespace, name, "a cache is gone without having been deleted here");
    context.append(&subject, context.open_operation(&subject), vec![event], vec![]).await?;
    context.forget_stream(stream);
    Ok(())
}

/// Since when each stream's cache has been missing in every look.
#[derive(Debug, Default)]
struct Looks(BTreeMap<StreamId, Moment>);

impl Looks {
    fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes a complete look into account, in which these were missing; gives those that had been
    /// missing for so long.
    fn seen(&mut self, now: Moment, gone: BTreeSet<StreamId>, span: Duration) -> Vec<StreamId> {
        self.0.retain(|stream, _| gone.contains(stream));
        for stream in gone {
            self.0.entry(stream).or_insert(now);
        }
        let long = self.0.iter().filter(|(_, since)| now.since(**since) >= span);
        long.map(|(stream, _)| *stream).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_gone_when_two_looks_apart_miss_it_and_none_between_them_saw_it() {
        let span = Duration::from_secs(20);
        let stream = |number| StreamId(uuid::Uuid::from_u128(number));
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let mut looks = Looks::default();
        let mut seen = |seconds, gone: &[u128]| {
            looks.seen(at(seconds), gone.iter().map(|number| stream(*number)).collect(), span)
        };
        assert_eq!(seen(0, &[1]), []);
        assert_eq!(seen(19, &[1, 2]), []);
        assert_eq!(seen(20, &[1, 2]), [stream(1)]);
        assert_eq!(seen(25, &[1]), [stream(1)], "2 was there again");
        assert_eq!(seen(45, &[2]), []);
        assert_eq!(seen(65, &[2]), [stream(2)]);
    }
}
