use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::crd::{DataGridSpec, MemberState, XsldCacheSpec};
use crate::events::testing::{Api, Reply};

const LONG: Duration = Duration::from_secs(30);

fn condition(kind: &str) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: "Settled".to_owned(),
        message: "as it should be".to_owned(),
        observed_generation: Some(1),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

fn status() -> XsldCacheStatus {
    let member = |name: &str| MemberState { name: name.to_owned(), ..MemberState::default() };
    XsldCacheStatus {
        conditions: vec![condition("Ready"), condition("Progressing")],
        member_states: vec![member("c-0"), member("c-1")],
        members: Some(2),
        ..XsldCacheStatus::default()
    }
}

fn object(status: Option<XsldCacheStatus>) -> XsldCache {
    let mut object = XsldCache::new("c", XsldCacheSpec::default());
    object.metadata.namespace = Some("ns".to_owned());
    object.metadata.uid = Some("uid-1".to_owned());
    object.status = status;
    object
}

#[tokio::test]
async fn a_changed_status_is_applied_to_the_very_object_that_was_looked_at() {
    let api = Api::start(Reply::Echo).await;
    assert!(publish_cache(&api.client, &object(None), &status(), LONG).await.unwrap());
    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method, "PATCH");
    let (path, query) = asked[0].uri.split_once('?').unwrap();
    assert_eq!(path, "/apis/xsld.ibm.com/v1alpha1/namespaces/ns/xsldcaches/c/status");
    assert!(
        query.contains("force=true") && query.contains("fieldManager=xsld-operator"),
        "{query}"
    );
    assert_eq!(asked[0].body["metadata"]["uid"], "uid-1");
    assert_eq!(asked[0].body["status"]["members"], 2);
    assert!(asked[0].body.get("spec").is_none(), "the spec is the user's");
}

#[tokio::test]
async fn an_equal_status_is_not_written() {
    let api = Api::start(Reply::Echo).await;
    let mut present = status();
    present.conditions.reverse();
    present.member_states.reverse();
    present.conditions.push(condition("SomebodyElses"));
    assert!(!publish_cache(&api.client, &object(Some(present)), &status(), LONG).await.unwrap());
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn a_grid_is_written_once() {
    let api = Api::start(Reply::Echo).await;
    let mut grid = DataGrid::new("g", DataGridSpec::default());
    grid.metadata.namespace = Some("ns".to_owned());
    let next = DataGridStatus { status: Some("Online".to_owned()), ..DataGridStatus::default() };
    assert!(publish_grid(&api.client, &grid, &next, LONG).await.unwrap());
    grid.status = Some(next.clone());
    assert!(!publish_grid(&api.client, &grid, &next, LONG).await.unwrap());
    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].uri.starts_with("/apis/xsld.ibm.com/v1alpha1/namespaces/ns/datagrids/g/status")
    );
}

#[tokio::test]
async fn an_object_that_is_gone_or_another_one_is_left_alone() {
    for (code, reason) in [(404, "NotFound"), (409, "Conflict")] {
        let api = Api::start(Reply::Refuse(code, reason)).await;
        let wrote = publish_cache(&api.client, &object(None), &status(), LONG).await.unwrap();
        assert!(!wrote, "{code}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_object_and_whether_to_try_again() {
    for (code, reason, retryable) in
        [(403, "Forbidden", false), (422, "Invalid", false), (500, "InternalError", true)]
    {
        let api = Api::start(Reply::Refuse(code, reason)).await;
        let error = publish_cache(&api.client, &object(None), &status(), LONG).await.unwrap_err();
        assert_eq!(error.is_retryable(), retryable, "{code}");
        assert_eq!(error.to_string(), "failed to write the status of XsldCache ns/c");
    }
}

#[tokio::test]
async fn a_silent_server_holds_a_pass_up_for_the_timeout_only() {
    let api = Api::start(Reply::Silence).await;
    let short = Duration::from_millis(50);
    let error = publish_cache(&api.client, &object(None), &status(), short).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.is_retryable());
}
