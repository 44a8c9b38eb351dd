//! Grids: made, changed, deleted, refused, drifted; and with which cache and which credentials.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind, Seen, condition, is_true};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(90);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("grids::a_grid_is_created_updated_and_deleted", |c| Box::pin(life(c))),
        Scenario::new("grids::a_refused_grid_tells_why_and_a_better_spec_is_tried", |c| {
            Box::pin(refused(c))
        }),
        Scenario::new("grids::drift_is_corrected", |c| Box::pin(drift_corrected(c))),
        Scenario::new("grids::drift_is_only_reported_when_the_policy_says_so", |c| {
            Box::pin(drift_reported(c))
        }),
        Scenario::new("grids::a_grid_waits_for_its_cache", |c| Box::pin(no_cache(c))),
        Scenario::new("grids::a_grid_between_two_caches_says_so", |c| Box::pin(two_caches(c))),
        Scenario::new("grids::a_retained_grid_outlives_its_object", |c| Box::pin(retained(c))),
        Scenario::new("grids::a_grid_in_a_group_that_scales_keeps_its_data", |c| {
            Box::pin(data_survives(c))
        }),
        Scenario::new("grids::a_grid_in_error_is_made_again", |c| Box::pin(recovered(c))),
        Scenario::new("grids::a_grid_that_stays_in_error_asks_for_a_person", |c| {
            Box::pin(never_recovered(c))
        }),
        Scenario::new("grids::a_grid_is_made_while_its_cache_scales", |c| Box::pin(scaling(c))),
        Scenario::new("grids::every_field_reaches_the_group", |c| Box::pin(all_fields(c))),
        Scenario::new("credentials::plain_ones_are_copied_and_warned_of", |c| Box::pin(plain(c))),
        Scenario::new("credentials::a_missing_secret_is_waited_for", |c| {
            Box::pin(missing_secret(c))
        }),
        Scenario::new("credentials::plain_ones_can_be_replaced_by_references", |c| {
            Box::pin(plain_to_reference(c))
        }),
    ];
    for step in ["create_grid", "update_grid", "delete_grid"] {
        for moment in [Moment::Unsent, Moment::Unanswered] {
            let kill = Kill::at(step, moment);
            let name = format!("grids::{step}_survives_a_kill/{}", moment.word());
            all.push(Scenario::new(name, move |c| Box::pin(killed(c, kill))));
        }
    }
    all
}

async fn with_cache(c: &Context, size: u32) -> Result {
    c.create("c", size).await?;
    c.ready("c", size, 3 * MINUTE).await
}

/// The fields of a grid as the group has them.
async fn live(c: &Context, grid: &str) -> Result<Value> {
    c.ask("c-0", &format!("/grid/{grid}")).await
}

async fn life(c: &Context) -> Result {
    with_cache(c, 1).await?;
    c.create_grid("g", json!({"timeToLive": 60})).await?;
    c.grid_online("g", CHANGE).await?;
    ensure!(live(c, "g").await?["timeToLive"] == "60", "{}", live(c, "g").await?);
    c.patch(Kind::Grid, "g", json!({"spec": {"timeToLive": 120}})).await?;
    c.grid_online("g", CHANGE).await?;
    ensure!(live(c, "g").await?["timeToLive"] == "120", "{}", live(c, "g").await?);
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", CHANGE).await?;
    ensure!(live(c, "g").await.is_err(), "the grid is still in the group");
    ensure!(c.count("grid_create_started", "")? == 1, "created more than once");
    ensure!(c.count("grid_update_started", "")? == 1, "updated more than once");
    ensure!(c.count("grid_delete_started", "")? == 1, "deleted more than once");
    Ok(())
}

async fn killed(c: &Context, kill: Kill) -> Result {
    with_cache(c, 1).await?;
    let create = c.create_grid("g", json!({}));
    if kill.step == "create_grid" {
        c.killed_during("c", kill, create).await?;
    } else {
        create.await?;
    }
    c.grid_online("g", CHANGE).await?;
    let change =
        async { c.patch(Kind::Grid, "g", json!({"spec": {"timeToLive": 120}})).await.map(drop) };
    if kill.step == "update_grid" {
        c.killed_during("c", kill, change).await?;
        c.grid_online("g", CHANGE).await?;
        ensure!(live(c, "g").await?["timeToLive"] == "120", "{}", live(c, "g").await?);
    }
    if kill.step == "delete_grid" {
        c.killed_during("c", kill, c.delete(Kind::Grid, "g")).await?;
        c.gone(Kind::Grid, "g", CHANGE).await?;
        ensure!(live(c, "g").await.is_err(), "the grid is still in the group");
    }
    for effect in ["grid_create_started", "grid_update_started", "grid_delete_started"] {
        let count = c.count(effect, "")?;
        ensure!(count <= 1, "{count} times {effect}");
    }
    Ok(())
}

async fn refused(c: &Context) -> Result {
    with_cache(c, 1).await?;
    c.create_grid("g", json!({"templateName": "NoSuchTemplate"})).await?;
    let refused = c.wait_condition(Kind::Grid, "g", ("Ready", "False", "Refused"), CHANGE).await?;
    let message = condition(&refused, "Ready").map(|ready| ready["message"].to_string());
    let message = message.unwrap_or_default();
    ensure!(message.contains("NoSuchTemplate"), "the reason is not told: {message}");
    c.patch(Kind::Grid, "g", json!({"spec": {"templateName": "Simple"}})).await?;
    c.grid_online("g", CHANGE).await
}

async fn drift_corrected(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    with_cache(c, 1).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.put("c-0", "/grid/g", json!({"lockTimeout": "44"})).await?;
    c.wait("the drift to be corrected", CHANGE, async || {
        let updates = c.count("grid_update_started", "")?;
        let told = live(c, "g").await?;
        Ok(Seen::when(updates == 2 && told["lockTimeout"] == "15", || {
            format!("{updates} updates, {told}")
        }))
    })
    .await?;
    c.grid_online("g", CHANGE).await
}

async fn drift_reported(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    with_cache(c, 1).await?;
    c.create_grid("g", json!({"driftPolicy": "Report"})).await?;
    c.grid_online("g", CHANGE).await?;
    c.put("c-0", "/grid/g", json!({"lockTimeout": "44"})).await?;
    c.wait_for(Kind::Grid, "g", "drift", CHANGE, |grid| {
        grid["status"]["drift"] == json!(["lockTimeout"])
    })
    .await?;
    ensure!(live(c, "g").await?["lockTimeout"] == "44", "it was changed back");
    ensure!(c.count("grid_update_started", "")? == 1, "it was updated");
    // The spec is asked for anew, and then it is obeyed.
    c.patch(Kind::Grid, "g", json!({"spec": {"driftPolicy": "Correct"}})).await?;
    c.wait("the correction", CHANGE, async || {
        let told = live(c, "g").await?;
        Ok(Seen::when(told["lockTimeout"] == "15", || told.to_string()))
    })
    .await?;
    c.grid_online("g", CHANGE).await
}

async fn no_cache(c: &Context) -> Result {
    c.create_grid("g", json!({})).await?;
    let waits = |grid: &Value| has_reason(grid, "CacheMissing");
    c.wait_for(Kind::Grid, "g", "CacheMissing", CHANGE, waits).await?;
    with_cache(c, 1).await?;
    c.grid_online("g", CHANGE).await
}

fn has_reason(object: &Value, reason: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|condition| condition["reason"] == reason))
}

async fn two_caches(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.create("d", 1).await?;
    c.create_grid("g", json!({})).await?;
    let says = |grid: &Value| has_reason(grid, "CacheAmbiguous");
    c.wait_for(Kind::Grid, "g", "CacheAmbiguous", CHANGE, says).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    c.ready("d", 1, 2 * MINUTE).await?;
    c.patch(Kind::Grid, "g", json!({"spec": {"cacheRef": {"name": "d"}}})).await?;
    c.grid_online("g", CHANGE).await?;
    let (here, there) = (c.ask("d-0", "/grid/g").await, c.ask("c-0", "/grid/g").await);
    ensure!(here.is_ok() && there.is_err(), "the grid is not where it was asked for");
    Ok(())
}

async fn retained(c: &Context) -> Result {
    with_cache(c, 1).await?;
    c.create_grid("g", json!({"deletionPolicy": "Retain"})).await?;
    c.grid_online("g", CHANGE).await?;
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", CHANGE).await?;
    live(c, "g").await.map(drop)?;
    ensure!(c.count("grid_delete_started", "")? == 0, "the grid was deleted");
    // A new object of the same name takes it over as it is.
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    ensure!(c.count("grid_create_started", "")? == 1, "the grid was created again");
    Ok(())
}

/// What users store survives members that come and go as long as copies are kept.
async fn data_survives(c: &Context) -> Result {
    with_cache(c, 2).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    for number in 0..12 {
        c.store("c-0", "g", &format!("k{number}"), &format!("v{number}")).await?;
    }
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    for number in 0..12 {
        let found = c.load("c-0", "g", &format!("k{number}")).await?;
        ensure!(found == Some(format!("v{number}")), "k{number} is {found:?}");
    }
    Ok(())
}

/// Twice in error, so that the wait between is gone through.
async fn recovered(c: &Context) -> Result {
    c.entries_are_lost(
        "a grid in error serves nothing, and what it held goes when it is made again",
    );
    with_cache(c, 1).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.fault("c-0", json!({"fault": "break_grid", "grid": "g", "count": 2})).await?;
    c.wait_condition(Kind::Grid, "g", ("Degraded", "True", "RecoveringGrid"), CHANGE).await?;
    c.wait("two recoveries", 2 * CHANGE, async || {
        let deleted = c.count("grid_deleted", "")?;
        Ok(Seen::when(deleted == 2, || format!("{deleted} deletions")))
    })
    .await?;
    c.grid_online("g", CHANGE).await?;
    ensure!(c.count("grid_create_started", "")? == 3, "not created again each time");
    let recoveries = c.records()?.into_iter().filter(|record| {
        matches!(&record.event, xsld_journal::event::Event::OperationBegun { kind, cause, .. }
            if kind.name() == "grid_recover" && cause.reason.contains("in error"))
    });
    ensure!(recoveries.count() == 1, "no operation with a reason of its own");
    Ok(())
}

async fn never_recovered(c: &Context) -> Result {
    c.entries_are_lost(
        "a grid in error serves nothing, and what it held goes when it is made again",
    );
    with_cache(c, 1).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.fault("c-0", json!({"fault": "break_grid", "grid": "g"})).await?;
    let asks = |grid: &Value| is_true(grid, "NeedsAttention", None);
    c.wait_for(Kind::Grid, "g", "a person", 5 * CHANGE, asks).await?;
    // Members still come and go.
    c.resize("c", 2).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    // Another wish is a new beginning.
    c.clear_faults("c-0").await?;
    c.patch(Kind::Grid, "g", json!({"spec": {"timeToLive": 120}})).await?;
    c.grid_online("g", CHANGE).await
}

async fn scaling(c: &Context) -> Result {
    with_cache(c, 1).await?;
    c.resize("c", 2).await?;
    c.wait("the join to begin", CHANGE, async || {
        let joins = c.count("join_started", "c-1")?;
        Ok(Seen::when(joins == 1, || format!("{joins} joins")))
    })
    .await?;
    c.create_grid("g", json!({})).await?;
    let put_off = ("Deferred", "True", "Deferred");
    c.wait_condition(Kind::Grid, "g", put_off, CHANGE).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    c.grid_online("g", CHANGE).await
}

async fn all_fields(c: &Context) -> Result {
    with_cache(c, 1).await?;
    let fields = json!({
        "description": "orders", "gridType": "Session", "templateName": "Session",
        "groupName": "developers", "ownerName": "ada", "useAuthentication": true,
        "useAuthorization": true, "useCapLRUEvictor": true, "gridCapacity": 100,
        "transactionTimeout": 31, "lockTimeout": 16, "timeToLive": 60, "numPartition": 37,
        "numSyncReplicas": 0, "numAsyncReplicas": 2,
    });
    c.create_grid("g", fields.clone()).await?;
    c.grid_online("g", CHANGE).await?;
    let told = live(c, "g").await?;
    for (field, value) in fields.as_object().into_iter().flatten() {
        let wanted = if value.is_number() { json!(value.to_string()) } else { value.clone() };
        ensure!(told[field] == wanted, "{field} is {} in the group, not {value}", told[field]);
    }
    Ok(())
}

async fn plain(c: &Context) -> Result {
    let mut object = c.cache_object("c", 1);
    let credentials = c.credentials();
    let spec = object["spec"].as_object_mut().ok_or_else(|| anyhow::anyhow!("no spec"))?;
    spec.remove("adminPasswordSecretRef");
    spec.remove("secretKeySecretRef");
    spec.insert("adminPwd".to_owned(), json!(credentials.password));
    spec.insert("secretKey".to_owned(), json!(credentials.secret_key));
    c.apply(Kind::Cache, object.clone()).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    ensure!(c.history.told("PlainCredentials"), "no Event warns of the plain credentials");
    let secret = c.get(Kind::Secret, "c-credentials").await?;
    ensure!(secret["metadata"]["ownerReferences"][0]["name"] == "c", "the copy is not owned");
    let cache = c.get(Kind::Cache, "c").await?;
    ensure!(
        cache["spec"]["adminPwd"] == credentials.password.as_str(),
        "the user's spec was changed"
    );
    Ok(())
}

async fn plain_to_reference(c: &Context) -> Result {
    plain(c).await?;
    c.make_credentials().await?;
    let object = c.cache_object("c", 1);
    c.apply(Kind::Cache, object).await?;
    c.ready("c", 1, CHANGE).await
}

async fn missing_secret(c: &Context) -> Result {
    let object = c.cache_object("c", 1);
    c.apply(Kind::Cache, object).await?;
    let says = |cache: &Value| has_reason(cache, "SecretMissing") && !is_true(cache, "Ready", None);
    c.wait_for(Kind::Cache, "c", "SecretMissing", CHANGE, says).await?;
    c.make_credentials().await?;
    c.ready("c", 1, 2 * MINUTE).await
}
