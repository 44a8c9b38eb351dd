//! Nodes are emptied, as `kubectl drain` does it: cordoned first, then each pod is evicted, again
//! and again as long as its budget says no.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, EvictParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::availability::asked_during;
use super::bootstrap::MINUTE;
use super::budget::PATIENCE;
use super::replication::{LONG, roles};
use crate::context::{Context, Kind, Seen};
use crate::stage::{DRAINED, drained_nodes};
use crate::{Result, Scenario};

/// A member that is evicted comes back in this time, on a loaded machine.
const BACK: Duration = Duration::from_secs(240);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("drain::the_primarys_role_is_moved_before_its_pod_is_evicted", |c| {
            Box::pin(role_is_moved(c))
        }),
        Scenario::new("drain::a_primary_whose_role_nobody_can_take_is_evicted_all_the_same", |c| {
            Box::pin(nobody_can_take_it(c))
        }),
    ]
}

/// A cache on the nodes of one drain, with its replica.
async fn create(c: &Context, size: u32, nodes: &[String]) -> Result {
    let pod = json!({
        "tolerations": [{"key": DRAINED, "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}
            ]}]
        }}},
    });
    let replication = json!({"primaryGraceSeconds": LONG});
    c.create_with("c", size, json!({"pod": pod, "replication": replication})).await?;
    c.ready("c", size, 4 * MINUTE).await?;
    roles(c, size, "c-0", "c-1").await
}

async fn cordon(c: &Context, node: &str, is_cordoned: bool) -> Result {
    let nodes: Api<Node> = Api::all(c.client());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": is_cordoned}}));
    nodes.patch(node, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Asks for the eviction once; whether it was granted. A client that is told to come later asks
/// again by itself, so it is not waited for.
async fn evicted(c: &Context, pod: &str) -> Result<bool> {
    let pods: Api<Pod> = Api::namespaced(c.client(), &c.namespace);
    match tokio::time::timeout(PATIENCE, pods.evict(pod, &EvictParams::default())).await {
        Err(_) => Ok(false),
        Ok(Err(kube::Error::Api(status))) if status.code == 429 => Ok(false),
        Ok(Err(error)) => {
            Err(error).context("an eviction failed for another reason than its budget")
        }
        Ok(Ok(_)) => Ok(true),
    }
}

async fn budget_of_the_primary(c: &Context, held: &str) -> Result {
    c.wait_for(Kind::Budget, "c.primary", &format!("the budget of {held}"), 2 * MINUTE, |budget| {
        let names = budget.pointer("/spec/selector/matchExpressions/0/values");
        names == Some(&json!([held]))
            && budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
            && budget["status"]["disruptionsAllowed"] == 0
    })
    .await
    .map(drop)
}

/// Evicts c-0 as soon as that is granted.
async fn evict(c: &Context) -> Result {
    c.wait("the eviction of c-0", BACK, async || {
        Ok(Seen::when(evicted(c, "c-0").await?, || "not yet".to_owned()))
    })
    .await
}

/// Waits until c-0 is another pod than the one with this UID, and ready.
async fn back(c: &Context, former: &Value) -> Result {
    c.wait_for(Kind::Pod, "c-0", "ready again", BACK, |pod| {
        pod["metadata"]["uid"] != *former && crate::context::is_true(pod, "Ready", None)
    })
    .await
    .map(drop)
}

/// Drains the node of the primary; the new one is another member before the pod goes.
async fn drain(c: &Context) -> Result {
    let former = c.get(Kind::Pod, "c-0").await?;
    let node = former["spec"]["nodeName"].as_str().context("a pod without a node")?;
    cordon(c, node, true).await?;
    let drained = async {
        evict(c).await?;
        ensure!(c.count("promoted", "c-1")? == 1, "c-0 was evicted with its role");
        back(c, &former["metadata"]["uid"]).await
    };
    let drained = drained.await;
    cordon(c, node, false).await?;
    drained
}

async fn role_is_moved(c: &Context) -> Result {
    create(c, 3, &drained_nodes(0)).await?;
    budget_of_the_primary(c, "c-0").await?;
    ensure!(!evicted(c, "c-0").await?, "the primary was evicted although its role can be moved");
    asked_during(c, drain(c)).await?;
    c.ready("c", 3, BACK).await?;
    let replicating = ("ReplicationReady", "True", "Replicating");
    c.wait_condition(Kind::Cache, "c", replicating, BACK).await?;
    // Where the new primary's replica is hangs on how fast c-0 is back.
    let group = c.ask("c-1", "/cacheMemberGroup").await?;
    let is_replica = |member: &&Value| member["replicationRole"] == "slave";
    let replica = group["members"].as_array().into_iter().flatten().find(is_replica);
    let replica = replica.and_then(|member| member["memberName"].as_str()).unwrap_or_default();
    roles(c, 3, "c-1", replica).await?;
    budget_of_the_primary(c, "c-1").await?;
    ensure!(c.count("promotion_started", "")? == 1, "the role was moved more than once");
    never_two_budgets(c)?;
    let log = String::from_utf8(c.journal_command(&["log", "-o", "json"]).await?.stdout)?;
    ensure!(log.contains("of the primary c-0 is about to be emptied"), "{log}");
    Ok(())
}

/// All nodes are drained at once: the eviction does not wait for ever for what cannot be.
async fn nobody_can_take_it(c: &Context) -> Result {
    let nodes = drained_nodes(1);
    create(c, 2, &nodes).await?;
    budget_of_the_primary(c, "c-0").await?;
    let former = c.get(Kind::Pod, "c-0").await?["metadata"]["uid"].clone();
    for node in &nodes {
        cordon(c, node, true).await?;
    }
    let story = async {
        c.wait_for(Kind::Budget, "c.primary", "nobody in the primary's budget", MINUTE, |budget| {
            let operator = budget.pointer("/spec/selector/matchExpressions/0/operator");
            operator == Some(&Value::from("DoesNotExist"))
        })
        .await?;
        evict(c).await
    };
    let story = story.await;
    for node in &nodes {
        cordon(c, node, false).await?;
    }
    story?;
    back(c, &former).await?;
    c.ready("c", 2, BACK).await?;
    roles(c, 2, "c-0", "c-1").await?;
    ensure!(c.count("promotion_started", "")? == 0, "a member that was to go was promoted");
    Ok(())
}

/// Between no two writes was a pod in both budgets: nobody could have evicted it.
fn never_two_budgets(c: &Context) -> Result {
    let pod_in = |budget: &Value| {
        let values = budget.pointer("/spec/selector/matchExpressions/0/values/0");
        values.and_then(Value::as_str).map(str::to_owned)
    };
    let (mut left_out, mut held, mut holders) = (None, None, 0);
    for change in c.history.of(Kind::Budget) {
        match change.object["metadata"]["name"].as_str() {
            Some("c") => left_out = pod_in(&change.object),
            Some("c.primary") => {
                holders += u32::from(held.is_none());
                held = pod_in(&change.object);
            }
            other => anyhow::bail!("a budget {other:?}"),
        }
        ensure!(held.is_none() || held == left_out, "{held:?} is in two budgets");
    }
    ensure!(holders >= 2, "the history does not have both primaries");
    Ok(())
}
