//! Which cache a DataGrid is about.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::Store as Cache;
use kube::{Api, ResourceExt};

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

/// What is told of a DataGrid whose spec names another cache than the one that has its grid.
pub(super) fn elsewhere(grid: &DataGrid, cache: &str) -> Option<Problem> {
    let named = grid.spec.cache_ref.as_ref().map(|reference| &reference.name);
    let named = named.filter(|named| *named != cache)?;
    Some(Problem {
        reason: Reason::BoundElsewhere,
        message: format!(
            "the grid is in the XsldCache {cache}, and spec.cacheRef names {named}: no grid moves to \
             another cache. Set spec.cacheRef back to {cache}, or delete this DataGrid and make it \
             again"
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
