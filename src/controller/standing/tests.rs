use http::Response;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::controller::rehearse::tests::context;

/// A cache of this name, made in this second, whose UID follows from both.
fn cache(name: &str, second: u32) -> XsldCache {
    let uid = uuid::Uuid::from_u128(u128::from(second) << 8 | name.len() as u128).to_string();
    let metadata = json!({"name": name, "namespace": "team", "uid": uid,
        "creationTimestamp": format!("2026-11-29T10:00:{second:02}Z")});
    let kind = json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache"});
    let mut object = json!({"metadata": metadata, "spec": {"license": "accept"}});
    object["apiVersion"] = kind["apiVersion"].clone();
    object["kind"] = kind["kind"].clone();
    serde_json::from_value(object).unwrap()
}

fn owned_by(cache: &XsldCache) -> Value {
    json!({"ownerReferences": [{"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache",
        "name": cache.name_any(), "uid": cache.uid(), "controller": true}]})
}

/// What is taken of the first of these caches, in the operator's own namespace or beside it, while this
/// is live and these cannot be read.
fn judged(
    caches: &[&XsldCache],
    live: &[(Thing, Value)],
    unread: &[Thing],
    beside: bool,
) -> Vec<Taken> {
    let api = |_: http::Request<Body>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    };
    let context = context(&kube::Client::new(tower::service_fn(api), "team")).0;
    let mut own = caches[0].clone();
    if beside {
        own.metadata.namespace = Some("elsewhere".into());
    }
    let subject = context.subject(&own).unwrap();
    let live = live.iter().map(|(thing, metadata)| {
        let mut metadata = metadata.clone();
        metadata["name"] = thing.name.clone().into();
        let document = json!({"apiVersion": "v1", "kind": thing.kind, "metadata": metadata});
        (thing.clone(), serde_json::from_value(document).unwrap())
    });
    let standing = Standing {
        object: &own,
        live: live.collect(),
        unread: unread.iter().cloned().collect(),
        still: None,
        taken: vec![],
        cascade: Cascade::Delete,
    };
    let all: Vec<_> = caches.iter().map(|cache| Arc::new((*cache).clone())).collect();
    standing.judged(&context, &subject, &own, &all)
}

fn shared() -> Thing {
    Thing::new("Service", "web-client")
}

#[tokio::test]
async fn no_cache_is_named_as_the_operator_in_its_namespace() {
    let own = cache("xsld-operator", 1);
    let taken = judged(&[&own], &[], &[], false);
    let [reserved] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((reserved.blocks, reserved.remedy), (Blocks::Cache, Remedy::Rename));
    assert!(reserved.why.contains("the operator's own"), "{}", reserved.why);
    assert_eq!(judged(&[&own], &[], &[], true), []);
}

#[tokio::test]
async fn the_later_of_two_caches_is_told_which_one_goes_first() {
    let (web, client) = (cache("web", 1), cache("web-client", 2));
    assert_eq!(judged(&[&web, &client], &[], &[], false), []);
    let taken = judged(&[&client, &web], &[], &[], false);
    let [reserved] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((&*reserved.kind, &*reserved.name), ("Service", "web-client"));
    assert_eq!((reserved.blocks, reserved.remedy), (Blocks::Cache, Remedy::Rename));
    assert!(reserved.why.contains("the XsldCache web needs it"), "{}", reserved.why);
}

#[tokio::test]
async fn who_has_the_object_goes_first_also_where_only_its_labels_tell() {
    // The one that came later has it already.
    let (web, client) = (cache("web", 2), cache("web-client", 1));
    let labels = json!({"labels": {"app.kubernetes.io/managed-by": "xsld-operator",
        "app.kubernetes.io/name": "xsld", "app.kubernetes.io/instance": "web"}});
    for metadata in [owned_by(&web), labels] {
        let live = [(shared(), metadata)];
        assert_eq!(judged(&[&web, &client], &live, &[], false), []);
        let taken = judged(&[&client, &web], &live, &[], false);
        assert!(taken.iter().any(|it| it.why.contains("the XsldCache web needs it")), "{taken:?}");
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_read_stops_no_cache_that_has_its_members_and_begins_no_other() {
    let (web, client) = (cache("web", 2), cache("web-client", 1));
    let unread = [shared()];
    let is_stopped = |live: &[(Thing, Value)]| {
        let taken = judged(&[&web, &client], live, &unread, false);
        taken.iter().any(|taken| taken.name == "web-client" && taken.blocks == Blocks::Cache)
    };
    assert!(is_stopped(&[]), "the older one goes first");
    let set = Thing::new("StatefulSet", "web");
    assert!(!is_stopped(&[(set.clone(), owned_by(&web))]), "its members are there");
    assert!(is_stopped(&[(set, owned_by(&client))]), "that is another's");
}

#[test]
fn a_pod_is_looked_at_for_its_stateful_set_and_not_for_a_label_that_anybody_can_copy() {
    let pod = |labels: &serde_json::Value, owners: serde_json::Value| -> Pod {
        let metadata = json!({"name": "x", "namespace": "ns", "labels": labels,
            "ownerReferences": owners});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    };
    let owner = |kind: &str| {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": "c", "uid": "u",
            "controller": true}])
    };
    let ours = json!({"app.kubernetes.io/instance": "c",
        "app.kubernetes.io/managed-by": "xsld-operator"});
    let found = |pod: Pod| cache_of(&pod).map(|cache| cache.name);
    assert_eq!(found(pod(&json!({}), owner("StatefulSet"))), Some("c".to_owned()));
    assert_eq!(found(pod(&ours, json!([]))), Some("c".to_owned()));
    assert_eq!(found(pod(&ours, owner("ReplicaSet"))), None);
    assert_eq!(found(pod(&json!({}), json!([]))), None);
}
