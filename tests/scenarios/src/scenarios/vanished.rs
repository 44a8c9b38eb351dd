//! Caches, grids and templates that go otherwise than in order: without their finalizer, while no
//! operator runs, with a namespace that ends.

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use xsld_journal::event::{End, Event};

use super::bootstrap::MINUTE;
use super::scale::{CHANGE, until};
use super::starts::{answer, told};
use crate::context::{Context, Kind, OperatorOptions, Seen};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("vanished::a_cache_without_its_finalizer_is_left_and_made_again", |c| {
            Box::pin(in_a_disjoin(c))
        })
        .without_entries("its StatefulSet goes, and entries live in memory"),
        Scenario::new("vanished::grids_and_templates_end_after_their_cache", |c| {
            Box::pin(with_grids(c))
        })
        .without_entries("it has the grids that it makes")
        .with_nothing_left(),
        Scenario::new("vanished::a_namespace_that_ends_takes_its_caches_with_it", |c| {
            Box::pin(namespace_ends(c))
        })
        .without_operator()
        .without_entries("the namespace goes with them")
        .with_nothing_left(),
    ]
}

fn grid() -> serde_json::Value {
    json!({"metadata": {"name": "g"}, "spec": {"numPartition": 3, "templateName": "Simple"}})
}

async fn strip(c: &Context, kind: Kind, name: &str) -> Result {
    c.patch(kind, name, json!({"metadata": {"finalizers": null}})).await.map(drop)
}

async fn open_operations(c: &Context, expected: &str) -> Result {
    let line = format!("xsld_operator_operations_open {expected}");
    c.wait(&format!("the metrics to tell {line}"), MINUTE, async || {
        let (_, metrics) = answer(c, "/metrics").await?;
        Ok(Seen::when(metrics.lines().any(|found| found == line), || line.clone()))
    })
    .await
}

async fn left(c: &Context) -> Result {
    c.wait("the stream to be left", CHANGE, async || {
        let left = c.recorded("cache_left")?;
        Ok(Seen::when(left == 1, || format!("left {left} times")))
    })
    .await
}

/// The operator goes away in the middle of a disjoin, somebody takes the finalizer off, and a cache
/// of the same name is made before the operator is back.
async fn in_a_disjoin(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    c.resize("c", 2).await?;
    until(c, "disjoin_started", "c-2").await?;
    c.kill_operator().await?;
    strip(c, Kind::Cache, "c").await?;
    c.delete(Kind::Cache, "c").await?;
    c.gone(Kind::Cache, "c", MINUTE).await?;
    c.gone(Kind::StatefulSet, "c", MINUTE).await?;
    c.start_operator().await?;
    left(c).await?;
    told(c, "CacheLeft").await?;
    open_operations(c, "0").await?;
    let records = c.records()?;
    let last = records.iter().rfind(|record| matches!(record.event, Event::CacheLeft { .. }));
    ensure!(last.is_some_and(|record| record.envelope.operation.is_some()), "it ended nothing");
    let pretended = records.iter().any(|record| {
        matches!(
            record.event,
            Event::StepVoid { .. } | Event::OperationEnded { end: End::Superseded { .. } }
        )
    });
    ensure!(!pretended, "an outcome was recorded that nobody saw");
    let state = c.journal_command(&["state"]).await?;
    let state = String::from_utf8_lossy(&state.stdout).into_owned();
    ensure!(!state.contains("disjoin"), "the state still tells the disjoin: {state}");
    let check = c.journal_command(&["check"]).await?;
    let found = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(check.status.success() && !found.contains("open_operation"), "check: {found}");
    // The same name again, on the volumes that are there.
    c.create("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.recorded("cache_left")? == 1, "a living cache was left");
    Ok(())
}

/// The cache goes without its finalizer while the operator runs; its grid and its template, which are
/// being deleted, follow.
async fn with_grids(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.apply(Kind::Template, super::templates::template(json!({}))).await?;
    c.wait_condition(Kind::Template, "orders", ("Ready", "True", "Uploaded"), CHANGE).await?;
    c.apply(Kind::Grid, grid()).await?;
    c.wait_for(Kind::Grid, "g", "Online", CHANGE, |grid| grid["status"]["status"] == "Online")
        .await?;
    // Nobody answers, so neither can be deleted in the group.
    c.fault("c-0", json!({"fault": "hang"})).await?;
    c.delete(Kind::Grid, "g").await?;
    c.delete(Kind::Template, "orders").await?;
    strip(c, Kind::Cache, "c").await?;
    c.delete(Kind::Cache, "c").await?;
    left(c).await?;
    for (kind, name) in [(Kind::Grid, "g"), (Kind::Template, "orders")] {
        c.gone(kind, name, CHANGE).await?;
    }
    open_operations(c, "0").await
}

/// The operator lives elsewhere, and the namespace of its caches is deleted: nothing can be created
/// in there any more, no Event either.
async fn namespace_ends(c: &Context) -> Result {
    let home = format!("{}-home", c.namespace);
    let api: Api<Namespace> = Api::all(c.client());
    let object = serde_json::from_value(json!({"metadata": {"name": home}}))?;
    api.create(&PostParams::default(), &object).await?;
    let options =
        OperatorOptions { operator_namespace: Some(home.clone()), ..OperatorOptions::default() };
    c.start_operator_with(&options).await?;
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.apply(Kind::Grid, grid()).await?;
    c.wait_for(Kind::Grid, "g", "Online", CHANGE, |grid| grid["status"]["status"] == "Online")
        .await?;
    // In the middle of a scale-up.
    c.resize("c", 3).await?;
    until(c, "join_started", "c-2").await?;
    api.delete(&c.namespace, &DeleteParams::background()).await?;
    c.wait("the namespace to end", 2 * CHANGE, async || {
        Ok(match api.get_opt(&c.namespace).await? {
            None => Seen::Yes(()),
            Some(namespace) => {
                let status = serde_json::to_value(namespace.status)?;
                Seen::NotYet(status["conditions"].to_string())
            }
        })
    })
    .await?;
    c.operator_still_runs().await?;
    ensure!(c.recorded("cache_closed")? == 1, "its deletion was not carried out");
    open_operations(c, "0").await?;
    api.delete(&home, &DeleteParams::background()).await?;
    Ok(())
}
