//! Which cache a DataGrid is about.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::Store as Cache;
use kube::{Api, ResourceExt};
use tokio::sync::MutexGuard;
use xsld_journal::event::{Event, Goal};

use super::Grids;
use crate::controller::{Context, Error, Subject, objects};
use crate::crd::{ConditionReason as Reason, DataGrid, FINALIZER, XsldCache};
use crate::manifests::Identity;
use crate::status::Problem;

/// The name of the cache that a DataGrid is about, or why there is none.
pub(super) type Found = Result<String, Problem>;

/// The cache that is meant, by the watched caches; where they do not tell, by the API server.
///
/// Nobody but the controller of the caches may wait for their store: it wakes only one waiter
/// (`DelayedInit` of kube-runtime 5 polls one oneshot receiver for all of them), and the other
/// one, a grid or all caches, would wait for ever.
pub(super) async fn find(
    grid: &DataGrid,
    caches: &Cache<XsldCache>,
    context: &Context,
) -> Result<Found, Error> {
    let namespace = grid.namespace().unwrap_or_default();
    let holder = |caches: &[Named]| Holder::of(context, caches, grid);
    let caches = named(&caches.state(), &namespace);
    let found = meant(grid, &caches, holder(&caches).as_ref());
    if found.is_ok() {
        return Ok(found);
    }
    let api: Api<XsldCache> = Api::namespaced(context.client.clone(), &namespace);
    live(grid, &api, holder, context.times.request).await
}

/// The cache that is meant, by the API server.
async fn live(
    grid: &DataGrid,
    api: &Api<XsldCache>,
    holder: impl Fn(&[Named]) -> Option<Holder>,
    timeout: Duration,
) -> Result<Found, Error> {
    let params = kube::api::ListParams::default();
    let listed = objects::timed("list the XsldCaches", timeout, api.list(&params)).await?;
    let caches: Vec<Named> = listed.items.iter().filter_map(Named::of).collect();
    Ok(meant(grid, &caches, holder(&caches).as_ref()))
}

/// A cache, as far as DataGrids choose among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    name: String,
    uid: String,
}

impl Named {
    /// None of one whose deletion was carried out, and whose object somebody else's finalizer keeps: it
    /// has no grids any more.
    fn of(cache: &XsldCache) -> Option<Self> {
        let ours = cache.finalizers().iter().any(|name| name == FINALIZER);
        let is_over = cache.metadata.deletion_timestamp.is_some() && !ours;
        (!is_over).then(|| Self { name: cache.name_any(), uid: cache.uid().unwrap_or_default() })
    }
}

/// The caches of a namespace.
fn named(caches: &[Arc<XsldCache>], namespace: &str) -> Vec<Named> {
    let here = caches.iter().filter(|cache| cache.namespace().as_deref() == Some(namespace));
    here.filter_map(|cache| Named::of(cache)).collect()
}

/// The caches in the namespace of this one, which is one of them, whatever the watch tells.
pub(super) fn beside(subject: &Subject, caches: &[Arc<XsldCache>]) -> Vec<Named> {
    let Identity { name, uid, namespace, .. } = &subject.identity;
    let mut all = named(caches, namespace);
    all.retain(|cache| cache.name != *name);
    all.push(Named { name: name.clone(), uid: uid.clone() });
    all
}

/// The cache that has a DataGrid's grid, by the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    name: String,
    /// None when that cache is gone.
    uid: Option<String>,
}

impl Holder {
    /// Where several have it, the one that the spec names, else the one that got it last. Where
    /// several had it, one after the other, and none has it now, the last one.
    pub(super) fn of(context: &Context, caches: &[Named], grid: &DataGrid) -> Option<Self> {
        let uid = grid.uid()?;
        let namespace = grid.namespace()?;
        let named = grid.spec.cache_ref.as_ref().map(|reference| reference.name.as_str());
        let here = caches.iter().filter_map(|cache| {
            let state = context.stream_of(&cache.uid).and_then(|it| context.store.state(it))?;
            Some((cache, state.holds_grid(&uid)?))
        });
        if let Some(cache) = among(here.collect(), named) {
            return Some(Self { name: cache.name.clone(), uid: Some(cache.uid.clone()) });
        }
        let streams = context.store.streams();
        let had = streams.iter().filter(|(_, state)| state.namespace == namespace);
        let had = had.filter_map(|(_, state)| Some((state, state.holds_grid(&uid)?)));
        let (state, _) = had.max_by_key(|(_, seq)| *seq)?;
        Some(Self { name: state.name.clone(), uid: None })
    }
}

/// Among caches that have a grid, each since a record of the journal: the named one, else the one that
/// got it last.
fn among<'a>(caches: Vec<(&'a Named, u64)>, named: Option<&str>) -> Option<&'a Named> {
    let last = caches.iter().max_by_key(|(_, seq)| *seq).map(|(cache, _)| *cache);
    let named = caches.iter().map(|(cache, _)| *cache).find(|it| Some(it.name.as_str()) == named);
    named.or(last)
}

/// The cache that is meant among those of its namespace. A grid that is there stays where it is:
/// whatever other caches come and whatever the spec says, its cache is the one that has it. When that
/// one is gone, its grid is meant to be in the named cache, or in one of the same name, or, when the
/// grid was in none yet, in the only one.
pub(super) fn meant(grid: &DataGrid, caches: &[Named], holder: Option<&Holder>) -> Found {
    let missing = |message: String| Problem { reason: Reason::CacheMissing, message };
    if let Some(holder) = holder
        && let Some(cache) = caches.iter().find(|cache| holder.uid.as_ref() == Some(&cache.uid))
    {
        return Ok(cache.name.clone());
    }
    if let Some(reference) = &grid.spec.cache_ref {
        let name = &reference.name;
        let found = caches.iter().find(|other| other.name == *name);
        return found.map(|found| found.name.clone()).ok_or_else(|| {
            missing(format!("spec.cacheRef names the XsldCache {name}, which does not exist"))
        });
    }
    if let Some(holder) = holder {
        let same = caches.iter().find(|cache| cache.name == holder.name);
        return same.map(|same| same.name.clone()).ok_or_else(|| {
            missing(format!(
                "the grid was in the XsldCache {}, which is gone: make that one again, or name \
                 another by spec.cacheRef, in which the grid is then made",
                holder.name
            ))
        });
    }
    match caches {
        [only] => Ok(only.name.clone()),
        [] => Err(missing("there is no XsldCache in this namespace: create one".to_owned())),
        several => Err(Problem {
            reason: Reason::CacheAmbiguous,
            message: format!(
                "there are {} XsldCaches in this namespace: say which one is meant by spec.cacheRef",
                several.len()
            ),
        }),
    }
}

/// Whether a DataGrid's grid was in a cache of this name: a former one's journal has it, or the status
/// tells the template that it was made from, which it does only of a grid that was made or taken over.
pub(super) fn was_here(grid: &DataGrid, holder: Option<&Holder>, cache: &str) -> bool {
    let told = grid
        .status
        .as_ref()
        .is_some_and(|status| status.cache.as_deref() == Some(cache) && status.template.is_some());
    told || holder.is_some_and(|holder| holder.uid.is_none() && holder.name == cache)
}

/// Keeps other caches from taking a DataGrid's grid, for as long as it lives.
pub(in crate::controller) struct Kept<'a> {
    _until: Option<MutexGuard<'a, ()>>,
}

/// Asked before records are appended: none of two caches makes a grid that the other one has, whatever
/// became of its DataGrid's spec since either of them read it. None when another cache has it.
pub(in crate::controller) async fn keep<'a>(
    context: &'a Context,
    subject: &Subject,
    grids: &Grids,
    events: &[Event],
) -> Option<Kept<'a>> {
    let uid = events.iter().find_map(|event| match event {
        Event::OperationBegun { goal: Goal::Grid { grid_uid, .. }, .. }
        | Event::GridAdopted { grid_uid, .. } => Some(grid_uid),
        _ => None,
    });
    let Some((grid, caches)) =
        uid.and_then(|uid| grids.objects.get(uid)).zip(grids.caches.as_ref())
    else {
        return Some(Kept { _until: None });
    };
    let kept = context.binding.lock().await;
    let state = context.store.state(subject.stream).unwrap_or_default();
    let uid = grid.metadata.uid.as_deref().unwrap_or_default();
    let has_it = state.holds_grid(uid).is_some();
    let here = beside(subject, &caches.state());
    let holder = Holder::of(context, &here, grid).and_then(|holder| holder.uid);
    let has_another = holder.is_some_and(|holder| holder != subject.identity.uid);
    (has_it || !has_another).then(|| Kept { _until: Some(kept) })
}

/// What is told of a DataGrid whose spec names another cache than the one that has its grid.
pub(super) fn elsewhere(grid: &DataGrid, cache: &str) -> Option<Problem> {
    let named = grid.spec.cache_ref.as_ref().map(|reference| &reference.name);
    let named = named.filter(|named| *named != cache)?;
    Some(Problem {
        reason: Reason::BoundElsewhere,
        message: format!(
            "the grid is in the XsldCache {cache}, where it was made, and spec.cacheRef names {named}: no \
             grid moves to another cache. Set spec.cacheRef back to {cache} to keep it; or delete this \
             DataGrid, with which the grid goes and all its entries (unless spec.deletionPolicy is \
             Retain), and make it again to have an empty one in {named}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::{Value, json};

    fn grid(spec: Value) -> DataGrid {
        let metadata = json!({"name": "g", "namespace": "team"});
        let kind = json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "DataGrid"});
        let mut object = json!({"metadata": metadata, "spec": spec});
        object["apiVersion"] = kind["apiVersion"].clone();
        object["kind"] = kind["kind"].clone();
        serde_json::from_value(object).unwrap()
    }

    /// An API server that has these XsldCaches.
    fn server(names: &'static [&'static str]) -> Api<XsldCache> {
        let answer = move |_: http::Request<Body>| async move {
            let items: Vec<Value> = names
                .iter()
                .map(|name| {
                    let metadata = json!({"name": name, "namespace": "team", "uid": name});
                    json!({"metadata": metadata, "spec": {}})
                })
                .collect();
            let list = json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCacheList",
                "metadata": {}, "items": items});
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(
                list.to_string().into_bytes(),
            )))
        };
        Api::namespaced(kube::Client::new(tower::service_fn(answer), "team"), "team")
    }

    #[tokio::test]
    async fn the_cache_of_a_grid_is_found_before_the_watch_of_caches_has_begun() {
        let unnamed = grid(json!({}));
        let second = Duration::from_secs(10);
        let found = live(&unnamed, &server(&["only"]), |_| None, second).await.unwrap();
        assert_eq!(found.ok().as_deref(), Some("only"));
        let found = live(&unnamed, &server(&["one", "other"]), |_| None, second).await.unwrap();
        assert_eq!(found.unwrap_err().reason, Reason::CacheAmbiguous);
        let named = grid(json!({"cacheRef": {"name": "other"}}));
        let found = live(&named, &server(&["one", "other"]), |_| None, second).await.unwrap();
        assert_eq!(found.ok().as_deref(), Some("other"));
        let found = live(&named, &server(&["one"]), |_| None, second).await.unwrap();
        assert_eq!(found.unwrap_err().reason, Reason::CacheMissing);
    }

    fn caches(all: &[(&str, &str)]) -> Vec<Named> {
        let named = |(name, uid): &(&str, &str)| Named { name: (*name).into(), uid: (*uid).into() };
        all.iter().map(named).collect()
    }

    #[test]
    fn a_grid_that_is_there_stays_with_the_cache_that_has_it() {
        let found = |spec: Value, all: &[(&str, &str)]| {
            let caches = caches(all);
            let uid = caches.iter().find(|cache| cache.uid == "1").map(|cache| cache.uid.clone());
            let holder = Holder { name: "a".into(), uid };
            meant(&grid(spec), &caches, Some(&holder)).map_err(|problem| problem.reason)
        };
        let two: &[(&str, &str)] = &[("a", "1"), ("b", "2")];
        assert_eq!(found(json!({}), two), Ok("a".into()), "a second cache");
        let b = || json!({"cacheRef": {"name": "b"}});
        assert_eq!(found(b(), two), Ok("a".into()), "no grid moves");
        let told = elsewhere(&grid(b()), "a").unwrap();
        assert_eq!(told.reason, Reason::BoundElsewhere);
        assert!(elsewhere(&grid(b()), "b").is_none() && elsewhere(&grid(json!({})), "a").is_none());
        // Made again on kept volumes it has another UID.
        assert_eq!(found(json!({}), &[("a", "9"), ("b", "2")]), Ok("a".into()));
        // While it is gone the grid is not made in whatever cache is left, unless somebody says so.
        assert_eq!(found(json!({}), &[("b", "2")]), Err(Reason::CacheMissing));
        assert_eq!(found(b(), &[("b", "2")]), Ok("b".into()));
        assert_eq!(found(json!({}), &[]), Err(Reason::CacheMissing));
    }

    /// A context with a journal, the watched caches `a` and `b`, and what each of them makes of the grid.
    struct Two {
        context: Arc<Context>,
        store: xsld_journal::store::MemoryStore,
        subjects: [Subject; 2],
        grids: Grids,
    }

    impl Two {
        fn new() -> Self {
            let api = |_: http::Request<Body>| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
            };
            let client = kube::Client::new(tower::service_fn(api), "team");
            let (context, store) = crate::controller::rehearse::tests::context(&client);
            let (reader, mut writer) = kube::runtime::reflector::store();
            let subjects = ["a", "b"].map(|name| {
                let uid = uuid::Uuid::from_u128(u128::from(name.as_bytes()[0]));
                let cache = serde_json::from_value::<XsldCache>(json!({
                    "apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache",
                    "metadata": {"name": name, "namespace": "team", "uid": uid.to_string()},
                    "spec": {"license": "accept"},
                }));
                let cache = cache.unwrap();
                let subject = context.subject(&cache).unwrap();
                writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(cache));
                subject
            });
            let mut object = grid(json!({"cacheRef": {"name": "a"}}));
            object.metadata.uid = Some("g-uid".into());
            let grids = Grids {
                objects: [("g-uid".to_owned(), object)].into(),
                caches: Some(reader),
                ..Grids::default()
            };
            Self { context, store, subjects, grids }
        }

        async fn keep(&self, of: usize, events: &[Event]) -> Option<Kept<'_>> {
            keep(&self.context, &self.subjects[of], &self.grids, events).await
        }

        fn append(&self, to: usize, events: Vec<Event>) {
            use xsld_journal::store::{Append, Store as _};
            let stream = self.subjects[to].stream;
            let expected = self.store.stream_head(stream).map_or(0, |head| head.stream_seq);
            let (operation, blobs) = (None, vec![]);
            let epoch = xsld_journal::record::Epoch(1);
            let append = Append { stream, expected, epoch, operation, time_us: 0, events, blobs };
            self.store.append(append).unwrap();
        }
    }

    #[tokio::test]
    async fn of_two_caches_that_want_a_grid_at_once_one_gets_it() {
        let two = Two::new();
        for (to, name) in ["a", "b"].into_iter().enumerate() {
            let (namespace, name) = ("team".into(), name.into());
            two.append(to, vec![Event::CacheOpened { namespace, name }]);
        }
        let adopted = || {
            let (grid_uid, name, digest) = ("g-uid".into(), "g".into(), "d".into());
            vec![Event::GridAdopted { grid_uid, name, digest }]
        };
        // Both read the DataGrid: one before its spec was edited, the other after that.
        let first = two.keep(1, &adopted()).await;
        assert!(first.is_some());
        let events = adopted();
        let mut second = Box::pin(two.keep(0, &events));
        assert!(futures::poll!(&mut second).is_pending(), "it waits for the other's record");
        two.append(1, adopted());
        drop(first);
        assert!(second.await.is_none(), "the grid is in two caches");
        assert!(two.keep(1, &adopted()).await.is_some(), "it has it");
        let other = [Event::ObjectGone { uid: "x".into(), name: "x".into(), reason: "x".into() }];
        assert!(two.keep(0, &other).await.is_some(), "that is about no grid");
    }

    #[test]
    fn a_former_caches_journal_and_the_status_tell_whose_a_grid_was() {
        let holder = |name: &str, uid: Option<&str>| {
            Some(Holder { name: name.into(), uid: uid.map(str::to_owned) })
        };
        let told = |status: Value| {
            let mut object = grid(json!({}));
            object.status = Some(serde_json::from_value(status).unwrap());
            was_here(&object, None, "a")
        };
        let by = |holder: Option<Holder>| was_here(&grid(json!({})), holder.as_ref(), "a");
        assert!(told(json!({"cache": "a", "template": "Simple", "status": "Unknown"})));
        assert!(!told(json!({"cache": "b", "template": "Simple"})), "it was in another one");
        assert!(!told(json!({"cache": "a", "status": "Online"})), "nobody made it for this one");
        assert!(by(holder("a", None)) && !by(holder("b", None)) && !by(None));
        assert!(!by(holder("a", Some("1"))), "the journal of the one that is there knows better");
    }

    #[test]
    fn a_cache_that_only_somebody_elses_finalizer_keeps_has_no_grids() {
        let cache = |metadata: Value| -> XsldCache {
            let kind = json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache"});
            let mut object = json!({"metadata": metadata, "spec": {"license": "accept"}});
            object["apiVersion"] = kind["apiVersion"].clone();
            object["kind"] = kind["kind"].clone();
            serde_json::from_value(object).unwrap()
        };
        let at = "2026-11-23T19:00:00Z";
        let is_one = |metadata: Value| Named::of(&cache(metadata)).is_some();
        assert!(is_one(json!({"name": "a", "uid": "1"})), "it is new");
        let goes = |finalizer: &str| json!({"name": "a", "uid": "1", "deletionTimestamp": at, "finalizers": [finalizer]});
        assert!(is_one(goes(FINALIZER)), "it is still being deleted");
        assert!(!is_one(goes("somebody.else/waits")), "its group is gone");
    }

    #[test]
    fn of_several_caches_that_have_a_grid_one_is_chosen_and_stays_it() {
        // An earlier version made a grid anew where the spec pointed, and left the former one.
        let caches = caches(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let chosen = |named: Option<&str>, seqs: [u64; 2]| {
            let both = caches.iter().zip(seqs).collect();
            among(both, named).map(|cache| cache.name.clone())
        };
        assert_eq!(chosen(None, [10, 20]).as_deref(), Some("b"), "the last one");
        assert_eq!(chosen(None, [30, 20]).as_deref(), Some("a"));
        assert_eq!(chosen(Some("a"), [10, 20]).as_deref(), Some("a"), "the named one");
        assert_eq!(chosen(Some("c"), [10, 20]).as_deref(), Some("b"), "that one has none");
        assert_eq!(among(vec![], Some("a")), None);
    }
}
