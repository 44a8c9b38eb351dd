//! A plan is told and nothing is done; what is done afterwards is what was told.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::endpoint::{refused, said};
use super::scale::CHANGE;
use crate::context::records::Intent;
use crate::context::{Context, Kind, PLANNER, Person, READER, Seen};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("plans::a_smaller_size_does_what_its_plan_told", |c| Box::pin(smaller(c))),
        Scenario::new("plans::another_image_does_what_its_plan_told", |c| Box::pin(rolled(c))),
        Scenario::new("plans::what_cannot_be_planned_for_is_told", |c| Box::pin(impossible(c))),
    ]
}

async fn planner(c: &Context) -> Result<Person> {
    c.person("planner", &[READER[0], READER[1], PLANNER]).await
}

/// What an operator changes that acts: what it intends, the StatefulSet, the cache's spec, its pods.
async fn acted(c: &Context) -> Result<Value> {
    let set = c.get(Kind::StatefulSet, "c").await?;
    let cache = c.get(Kind::Cache, "c").await?;
    let pods = c.list(Kind::Pod).await?;
    let pods: Vec<&Value> = pods.iter().map(|pod| &pod["metadata"]["uid"]).collect();
    Ok(json!({
        "begun": c.recorded("operation_begun")?,
        "intended": c.recorded("step_intended")?,
        "set": set["metadata"]["generation"],
        "spec": cache["spec"],
        "pods": pods,
    }))
}

/// The plan as JSON; nothing is done while it is made.
async fn plan(c: &Context, as_: &Person, arguments: &[&str]) -> Result<Value> {
    let before = acted(c).await?;
    let plan = told(c, as_, arguments).await?;
    let after = acted(c).await?;
    ensure!(before == after, "a plan did something: {before} before, {after} after");
    Ok(plan)
}

async fn told(c: &Context, as_: &Person, arguments: &[&str]) -> Result<Value> {
    let cache = format!("{}/c", c.namespace);
    let told = c.plugin(as_)?.args(["plan", &cache, "-o", "json"]).args(arguments).output().await?;
    ensure!(told.status.success(), "{arguments:?}: {}", said(&told));
    serde_json::from_slice(&told.stdout).context("the plan is no JSON")
}

/// The kinds of steps of a plan, in order.
fn planned(plan: &Value) -> Vec<String> {
    let operations = plan["operations"].as_array().into_iter().flatten();
    let steps =
        operations.flat_map(|operation| operation["steps"].as_array().into_iter().flatten());
    let kinds = steps.filter_map(|step| step["step"].as_object()?.keys().next().cloned());
    kinds.collect()
}

/// The kinds of steps that were intended after the first `before` records, in order.
fn done(c: &Context, before: usize) -> Result<Vec<String>> {
    let records = c.records()?;
    let intents = records.iter().skip(before).filter_map(Intent::of);
    Ok(intents.map(|intent| intent.step.name().to_owned()).collect())
}

/// Claims that a plan deletes, by name and UID.
fn deleted(plan: &Value) -> Vec<(String, String)> {
    let text = |claim: &Value, field: &str| claim[field].as_str().unwrap_or_default().to_owned();
    let claims = plan["deletes"].as_array().into_iter().flatten();
    claims.map(|claim| (text(claim, "name"), text(claim, "uid"))).collect()
}

/// Waits until the replica is there and nothing is under way.
async fn replicated(c: &Context) -> Result {
    let replicates = ("ReplicationReady", "True", "Replicating");
    c.wait_condition(Kind::Cache, "c", replicates, CHANGE).await?;
    c.wait("every operation to end", CHANGE, async || {
        let open = c.recorded("operation_begun")? - c.recorded("operation_ended")?;
        let cache = c.get(Kind::Cache, "c").await?;
        let rests = open == 0 && cache["status"]["operation"].is_null();
        Ok(Seen::when(rests, || cache["status"]["operation"].to_string()))
    })
    .await
}

async fn smaller(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    replicated(c).await?;
    let planner = planner(c).await?;
    c.wait("nothing to be left to plan", CHANGE, async || {
        let plan = told(c, &planner, &[]).await?;
        Ok(Seen::when(planned(&plan).is_empty(), || plan.to_string()))
    })
    .await?;
    let told = plan(c, &planner, &["--size", "1"]).await?;
    let mut claims = Vec::new();
    for name in ["vol-c-2", "vol-c-1"] {
        let claim = c.get(Kind::Claim, name).await?;
        let uid = claim["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        claims.push((name.to_owned(), uid));
    }
    ensure!(deleted(&told) == claims, "{:?} in the place of {claims:?}", deleted(&told));
    let before = c.records()?.len();
    c.resize("c", 1).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    let (planned, done) = (planned(&told), done(c, before)?);
    ensure!(planned == done, "planned {planned:?}, done {done:?}");
    // Nothing goes with the cache by default.
    let told = plan(c, &planner, &["--delete"]).await?;
    ensure!(deleted(&told).is_empty(), "{told}");
    Ok(())
}

async fn rolled(c: &Context) -> Result {
    const IMAGE: &str = "ibmcom/xsld:8614";
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    replicated(c).await?;
    let planner = planner(c).await?;
    let told = plan(c, &planner, &["--image", IMAGE]).await?;
    ensure!(told["restarts"] == json!(["c-1", "c-0"]), "{told}");
    ensure!(deleted(&told).is_empty(), "{told}");
    let before = c.records()?.len();
    c.patch(Kind::Cache, "c", json!({"spec": {"image": IMAGE}})).await?;
    c.wait_condition(Kind::Cache, "c", ("Ready", "False", "RollingImage"), CHANGE).await?;
    c.ready("c", 2, 3 * CHANGE).await?;
    replicated(c).await?;
    // Whether a replica outlives the restart of its member is the release's, and no plan's.
    let rolled = |kinds: Vec<String>| -> Vec<String> {
        kinds.into_iter().filter(|kind| kind != "set_up_replication").collect()
    };
    let (planned, done) = (rolled(planned(&told)), rolled(done(c, before)?));
    ensure!(planned == done, "planned {planned:?}, done {done:?}");
    Ok(())
}

async fn impossible(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    let planner = planner(c).await?;
    let reader = c.person("reader", &READER).await?;
    let cache = format!("{}/c", c.namespace);
    let ask = async |as_: &Person, arguments: &[&str]| {
        c.plugin(as_)?
            .arg("plan")
            .args(arguments)
            .output()
            .await
            .context("the plugin cannot be run")
    };
    refused(&ask(&reader, &[&cache]).await?, "may not create xsldcaches.xsld.ibm.com/plan of c")?;
    refused(&ask(&planner, &[&cache, "--size", "0"]).await?, "spec.size")?;
    let other = format!("{}/other", c.namespace);
    refused(&ask(&planner, &[&other]).await?, "there is no XsldCache")?;
    refused(&ask(&planner, &["c"]).await?, "NAMESPACE/NAME")?;
    let file = c.dir.join("proposed.yaml");
    let mut object = c.cache_object("c", 1);
    object["kind"] = json!("XsldCache");
    object["apiVersion"] = json!("xsld.ibm.com/v1alpha1");
    object["spec"]["group"] = json!("another");
    std::fs::write(&file, serde_json::to_string(&object)?)?;
    let file = file.display().to_string();
    refused(&ask(&planner, &[&cache, "-f", &file]).await?, "spec.group")?;
    object["spec"]["group"] = json!("cg1");
    object["spec"]["size"] = json!("three");
    std::fs::write(&file, serde_json::to_string(&object)?)?;
    refused(&ask(&planner, &[&cache, "-f", &file]).await?, "kubectl apply --dry-run=server")?;
    // What is waited for is told, and is no plan that would be reached.
    object["spec"]["size"] = json!(2);
    object["spec"]["paused"] = json!(true);
    std::fs::write(&file, serde_json::to_string(&object)?)?;
    let paused = ask(&planner, &[&cache, "-f", &file]).await?;
    ensure!(paused.status.code() == Some(1), "{}", said(&paused));
    ensure!(said(&paused).contains("Paused"), "{}", said(&paused));
    Ok(())
}
