//! What Kubernetes does around a cache: evictions, autoscalers, schedulers, monitoring.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, EvictParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::until;
use crate::context::{Context, Kind, Seen};
use crate::{Result, Scenario};

/// How long an eviction is asked for.
pub(super) const PATIENCE: Duration = Duration::from_millis(700);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("budget::nobody_is_evicted_while_a_member_joins_or_leaves", |c| {
            Box::pin(evictions(c))
        }),
        Scenario::new("budget::an_autoscaler_is_followed_through_the_scale_subresource", |c| {
            Box::pin(autoscaler(c))
        }),
        Scenario::new("budget::members_that_must_be_apart_wait_for_a_node", |c| Box::pin(apart(c))),
        Scenario::new("budget::a_service_monitor_is_made_where_its_kind_exists", |c| {
            Box::pin(monitored(c))
        })
        .without_operator(),
    ]
}

async fn allows(c: &Context, evictions: u32) -> Result {
    let what = format!("{evictions} evictions allowed");
    c.wait_for(Kind::Budget, "c", &what, MINUTE, |budget| {
        budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
            && budget["status"]["disruptionsAllowed"] == evictions
    })
    .await
    .map(drop)
}

/// Fails unless the API server refuses to evict the pod because of the budget. A client asks again
/// and again when it is told to come later, so it is not waited for.
async fn is_protected(c: &Context, pod: &str) -> Result {
    c.wait_for(Kind::Budget, "c", "no disruption allowed", MINUTE, |budget| {
        budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
            && budget["status"]["disruptionsAllowed"] == 0
    })
    .await?;
    let api: Api<Pod> = Api::namespaced(c.client(), &c.namespace);
    let params = EvictParams::default();
    match tokio::time::timeout(PATIENCE, api.evict(pod, &params)).await {
        Err(_) => {}
        Ok(Err(kube::Error::Api(status))) if status.code == 429 => {}
        Ok(Err(error)) => return Err(error.into()),
        Ok(Ok(_)) => anyhow::bail!("{pod} was evicted in the middle of an operation"),
    }
    let stays = c.get(Kind::Pod, pod).await?["metadata"]["deletionTimestamp"].is_null();
    ensure!(stays, "{pod} is going in the middle of an operation");
    Ok(())
}

async fn evictions(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    allows(c, 1).await?;
    c.resize("c", 3).await?;
    until(c, "join_started", "c-2").await?;
    allows(c, 0).await?;
    is_protected(c, "c-1").await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    allows(c, 1).await?;
    c.resize("c", 2).await?;
    until(c, "disjoin_started", "c-2").await?;
    is_protected(c, "c-1").await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    allows(c, 1).await
}

/// What a HorizontalPodAutoscaler does: it reads the Scale, and puts one with other replicas.
async fn autoscaler(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let api = c.api(Kind::Cache);
    for (members, size) in [(1_i32, 2_u32), (2, 1)] {
        let mut scale = api.get_scale("c").await?;
        let status = scale.status.as_ref().context("a Scale without a status")?;
        ensure!(status.replicas == members, "the Scale tells {} members", status.replicas);
        let selector = status.selector.as_deref().context("a Scale without a selector")?;
        let listed = kube::api::ListParams::default().labels(selector);
        let pods: Api<Pod> = Api::namespaced(c.client(), &c.namespace);
        let found = i32::try_from(pods.list(&listed).await?.items.len())?;
        ensure!(found == members, "the selector finds {found} pods");
        scale.spec.get_or_insert_default().replicas = Some(i32::try_from(size)?);
        api.replace_scale("c", &PostParams::default(), &scale).await?;
        c.ready("c", size, 2 * MINUTE).await?;
    }
    Ok(())
}

async fn apart(c: &Context) -> Result {
    let nodes = ["node-1", "node-2"];
    let pod = json!({
        "antiAffinity": "Required",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}
            ]}]
        }}},
    });
    c.create_with("c", 2, json!({"pod": pod})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let pods = c.list(Kind::Pod).await?;
    let used: BTreeSet<_> =
        pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    ensure!(used == nodes.into(), "the members are on {used:?}");
    c.resize("c", 3).await?;
    c.wait_for(Kind::Cache, "c", "the unschedulable member told", MINUTE, |cache| {
        cache["status"]["conditions"].to_string().contains("Unschedulable")
    })
    .await?;
    ensure!(c.count("join_started", "c-2")? == 0, "a member without a node was joined");
    c.resize("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await
}

/// The kind as far as its API server needs it: any document is a good one.
fn monitors() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {
                "kind": "ServiceMonitor", "plural": "servicemonitors",
                "singular": "servicemonitor", "listKind": "ServiceMonitorList",
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

async fn monitored(c: &Context) -> Result {
    let crds: Api<CustomResourceDefinition> = Api::all(c.client());
    let name = "servicemonitors.monitoring.coreos.com";
    let params = PatchParams::apply("scenario").force();
    crds.patch(name, &params, &Patch::Apply(monitors())).await?;
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", "ServiceMonitor");
    let resource = kube::api::ApiResource::from_gvk_with_plural(&kind, "servicemonitors");
    let api: Api<DynamicObject> = Api::namespaced_with(c.client(), &c.namespace, &resource);
    c.wait("the kind to be served", MINUTE, async || {
        let listed = api.list(&kube::api::ListParams::default()).await;
        Ok(Seen::when(listed.is_ok(), || "not yet".to_owned()))
    })
    .await?;
    let services: Api<Service> = Api::namespaced(c.client(), &c.namespace);
    let service = serde_json::from_value(json!({
        "metadata": {"name": "xsld-operator", "labels": {"app.kubernetes.io/name": "xsld-operator"}},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]},
    }))?;
    services.create(&PostParams::default(), &service).await?;
    c.start_operator().await?;
    c.wait("the ServiceMonitor", MINUTE, async || {
        let found = api.get_opt("xsld-operator").await?;
        let found = serde_json::to_value(found)?;
        let right = found["spec"]["endpoints"][0]["port"] == "http"
            && found["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
                == "xsld-operator";
        Ok(Seen::when(right, || found.to_string()))
    })
    .await?;
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await
}
