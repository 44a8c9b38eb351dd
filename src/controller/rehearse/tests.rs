//! A rehearsal against a pretended API server that only answers reads.

use std::sync::Mutex;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use xsld_journal::event::Event;
use xsld_journal::record::{Epoch, StreamId};
use xsld_journal::store::{Append, MemoryStore, Store};

use super::*;
use crate::clock::{Moment, ServerTime, SystemClock};
use crate::controller::ContextParts;
use crate::ids::SystemIds;
use crate::lease::Keeper;
use crate::metrics::Metrics;
use crate::recover::Term;
use crate::recover::anchor::AnchorKeeper;
use crate::times::Times;
use crate::xsld::transport::{self, Exchange, Transport};

const UID: &str = "0199a0c0-0000-7000-8000-000000000001";

/// No member is there to be spoken to: whoever tries is noticed.
struct Nobody;

#[async_trait::async_trait]
impl Transport for Nobody {
    async fn exchange(&self, request: transport::Request) -> Exchange {
        panic!("{request:?}");
    }
}

/// What an API server was asked.
pub(in crate::controller) type Asked = Arc<Mutex<Vec<String>>>;

/// An API server with these objects by path. It answers reads only, and notes all that is asked.
pub(in crate::controller) fn server(objects: Value) -> (kube::Client, Asked) {
    let asked = Asked::default();
    let noted = asked.clone();
    let answer = move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        noted.lock().unwrap().push(format!("{} {path}", request.method()));
        let found = objects.get(&path).cloned();
        async move {
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": []});
            let missing = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                "reason": "NotFound", "code": 404, "message": "not found"});
            let is_list = ["pods", "persistentvolumeclaims", "datagrids", "gridtemplates"]
                .iter()
                .any(|plural| path.ends_with(plural));
            let (code, body) = match found {
                Some(found) => (StatusCode::OK, found),
                None if is_list => (StatusCode::OK, list),
                None => (StatusCode::NOT_FOUND, missing),
            };
            let body = Body::from(body.to_string().into_bytes());
            let answer = Response::builder().status(code).body(body).unwrap();
            Ok::<_, std::convert::Infallible>(answer)
        }
    };
    (kube::Client::new(tower::service_fn(answer), "team"), asked)
}

fn live(spec: Value) -> XsldCache {
    let mut full = json!({"license": "accept", "size": 2, "image": "ibmcom/xsld:8613",
        "adminPasswordSecretRef": {"name": "s", "key": "password"},
        "secretKeySecretRef": {"name": "s", "key": "secretKey"}});
    for (field, value) in spec.as_object().unwrap() {
        full[field] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "xsld.ibm.com/v1alpha1",
        "kind": "XsldCache",
        "metadata": {"name": "c", "namespace": "team", "uid": UID, "generation": 3},
        "spec": full,
    }))
    .unwrap()
}

fn objects(secret: bool) -> Value {
    let mut objects = json!({
        "/apis/xsld.ibm.com/v1alpha1/namespaces/team/xsldcaches": {
            "apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCacheList", "metadata": {},
            "items": [live(json!({}))],
        },
    });
    if secret {
        // "Password123!", twice.
        let data = json!({"password": "UGFzc3dvcmQxMjMh", "secretKey": "UGFzc3dvcmQxMjMh"});
        objects["/api/v1/namespaces/team/secrets/s"] = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "namespace": "team"}, "data": data});
    }
    objects
}

/// A context on that API server, with a journal that has its genesis.
pub(in crate::controller) fn context(client: &kube::Client) -> (Arc<Context>, MemoryStore) {
    let store = MemoryStore::new(Uuid::from_u128(1));
    let genesis = Append {
        stream: StreamId::JOURNAL,
        expected: 0,
        epoch: Epoch(1),
        operation: None,
        time_us: 0,
        events: vec![Event::Genesis { namespace_uid: "n".into() }],
        blobs: vec![],
    };
    store.append(genesis).unwrap();
    let (clock, times) = (SystemClock::new(), Times::default());
    let api = Api::namespaced(client.clone(), "team");
    let leadership = Keeper::new(api, "me".into(), clock.clone(), times).leadership();
    let anchor = AnchorKeeper::new(Api::namespaced(client.clone(), "team"), times.request, None);
    let context = Context::new(ContextParts {
        client: client.clone(),
        store: Arc::new(store.clone()),
        server_time: ServerTime::new(clock.clone()),
        clock,
        ids: SystemIds::new(),
        times,
        leadership,
        term: Term { epoch: Epoch(1), anchor, cautious: false, finding: None, first: true },
        transport: Arc::new(Nobody),
        metrics: Arc::new(Metrics::default()),
        operator_namespace: "team".into(),
        instance: "me".into(),
        acts_from: Moment::default(),
        stop: CancellationToken::new(),
    });
    (context, store)
}

#[tokio::test]
async fn a_rehearsal_reads_only_and_appends_nothing() {
    let (client, asked) = server(objects(true));
    let (context, store) = context(&client);
    let before = store.entries().len();
    let mut proposed = live(json!({}));
    proposed.spec.size = 3;
    let plan = rehearse(&context, &live(json!({})), proposed).await.unwrap();
    assert_eq!(plan.end, End::Settled, "{plan}");
    assert_eq!(plan.generation, 4, "the API server counts the change");
    let steps: Vec<&str> = plan.operations[0].steps.iter().map(|step| step.step.name()).collect();
    assert_eq!(steps, ["set_template", "scale_stateful_set", "join_member", "join_member"]);
    let asked = asked.lock().unwrap();
    assert!(asked.len() > 5 && asked.iter().all(|line| line.starts_with("GET ")), "{asked:?}");
    assert_eq!(store.entries().len(), before);
    assert_eq!(context.watch(UID), crate::decide::watch::Watch::default());
    assert!(store.state(StreamId(UID.parse().unwrap())).is_none());
}

#[tokio::test]
async fn a_missing_secret_is_what_the_plan_waits_for() {
    let (client, _) = server(objects(false));
    let (context, _) = context(&client);
    let plan = rehearse(&context, &live(json!({})), live(json!({}))).await.unwrap();
    let End::Waits(wait) = &plan.end else { panic!("{plan}") };
    assert_eq!(wait.reason, "SecretMissing");
    let steps: Vec<&str> = plan.operations[0].steps.iter().map(|step| step.step.name()).collect();
    assert_eq!(steps, ["set_template", "scale_stateful_set"], "pods are made in any case");
    assert_eq!(plan.generation, 3, "nothing is changed");
}

#[tokio::test]
async fn a_proposed_secret_that_is_missing_is_told_and_the_live_one_is_used() {
    let (client, asked) = server(objects(true));
    let (context, _) = context(&client);
    let reference = json!({"name": "other", "key": "password"});
    let proposed = live(json!({"adminPasswordSecretRef": reference}));
    let plan = rehearse(&context, &live(json!({})), proposed).await.unwrap();
    assert_eq!(plan.end, End::Settled, "{plan}");
    let told = plan
        .put_off
        .iter()
        .any(|wait| wait.reason == "SecretMissing" && wait.message.contains("other"));
    assert!(told, "{plan}");
    assert!(asked.lock().unwrap().iter().any(|line| line.ends_with("/secrets/s")));
}

#[tokio::test]
async fn what_the_api_server_would_refuse_is_refused_by_name() {
    let (client, _) = server(objects(true));
    let (context, _) = context(&client);
    let refused = async |proposed: Value| {
        let error = rehearse(&context, &live(json!({})), live(proposed)).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        error.to_string()
    };
    assert!(refused(json!({"size": 0})).await.contains("spec.size"));
    assert!(refused(json!({"group": "another"})).await.contains("spec.group: cannot be changed"));
    let otherwise = refused(json!({"storage": {"storageClassName": "other"}})).await;
    assert!(otherwise.contains("spec.storage.storageClassName: cannot be"), "{otherwise}");
}

#[tokio::test]
async fn another_object_is_refused() {
    let (client, _) = server(objects(true));
    let (context, _) = context(&client);
    for field in ["name", "namespace", "UID"] {
        let mut proposed = live(json!({}));
        match field {
            "name" => proposed.metadata.name = Some("d".into()),
            "namespace" => proposed.metadata.namespace = Some("e".into()),
            _ => proposed.metadata.uid = Some("f".into()),
        }
        let error = rehearse(&context, &live(json!({})), proposed).await.unwrap_err();
        assert!(matches!(&error, Error::OtherObject { field: told, .. } if *told == field));
        assert!(error.to_string().contains("team/c"), "{error}");
    }
    let mut unnamed = live(json!({}));
    unnamed.metadata.namespace = None;
    unnamed.metadata.uid = None;
    assert!(rehearse(&context, &live(json!({})), unnamed).await.is_ok(), "a file has neither");
    let mut fresh = live(json!({}));
    fresh.metadata.uid = None;
    let error = rehearse(&context, &fresh, live(json!({}))).await.unwrap_err();
    assert!(matches!(error, Error::NotStored), "{error:?}");
}

#[tokio::test]
async fn a_deletion_is_planned_even_for_a_broken_spec() {
    let (client, _) = server(objects(false));
    let (context, _) = context(&client);
    let mut proposed = live(json!({"size": 0}));
    proposed.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let plan = rehearse(&context, &live(json!({})), proposed.clone()).await.unwrap();
    assert_eq!(plan.operations[0].kind.name(), "delete", "{plan}");
    assert_eq!((&plan.end, plan.put_off.len()), (&End::Settled, 0), "{plan}");
    proposed.spec.group = "another".into();
    let error = rehearse(&context, &live(json!({})), proposed).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "no object can come to be like that: {error:?}");
}

#[tokio::test]
async fn an_api_server_that_cannot_be_read_is_an_error_and_no_plan() {
    let broken = |_: Request<Body>| async {
        Ok::<_, std::convert::Infallible>(
            Response::builder().status(500).body(Body::from(b"{}".to_vec())).unwrap(),
        )
    };
    let client = kube::Client::new(tower::service_fn(broken), "team");
    let (context, _) = context(&client);
    let error = rehearse(&context, &live(json!({})), live(json!({}))).await.unwrap_err();
    assert!(matches!(error, Error::Read(_)), "{error:?}");
}
