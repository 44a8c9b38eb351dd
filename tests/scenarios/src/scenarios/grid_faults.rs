//! Grids and templates that cannot be read, that stay in error, and what goes on beside them.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind, Seen, condition, is_true};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(90);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("grids::one_that_cannot_be_read_holds_up_nothing_else", |c| {
            Box::pin(unreadable(c))
        }),
        Scenario::new("grids::one_in_error_stays_while_a_member_is_silent", |c| {
            Box::pin(silent_member(c))
        }),
        Scenario::new("grids::fourteen_refused_ones_are_each_asked_for_once", |c| {
            Box::pin(refused(c))
        }),
        Scenario::new("grids::five_that_somebody_deletes_for_ever_are_left_alone", |c| {
            Box::pin(fought_over(c))
        }),
        Scenario::new("grids::a_second_cache_takes_no_grid_away", |c| Box::pin(second_cache(c))),
        Scenario::new("grids::a_cache_made_again_has_its_grids_again", |c| Box::pin(made_again(c))),
    ]
}

async fn with_cache(c: &Context, size: u32) -> Result {
    c.create("c", size).await?;
    c.ready("c", size, 3 * MINUTE).await
}

/// Nobody can read this grid by itself any more; the list still names it.
async fn forbid(c: &Context, grid: &str) -> Result {
    let path = format!("/grid/{grid}");
    let body = json!({"error": "not for you"});
    let fault =
        json!({"fault": "status", "code": 403, "body": body, "method": "GET", "path": path});
    c.fault("c-0", fault).await
}

/// The message of a condition.
fn message(object: &Value, kind: &str) -> String {
    condition(object, kind).map(|it| it["message"].to_string()).unwrap_or_default()
}

async fn unreadable(c: &Context) -> Result {
    with_cache(c, 1).await?;
    for grid in ["carts", "sessions"] {
        c.create_grid(grid, json!({})).await?;
        c.grid_online(grid, CHANGE).await?;
    }
    forbid(c, "sessions").await?;
    let unknown = ("Ready", "Unknown", "GroupUnreachable");
    let told = c.wait_condition(Kind::Grid, "sessions", unknown, CHANGE).await?;
    ensure!(message(&told, "Ready").contains("403"), "{}", message(&told, "Ready"));
    // Others are created, changed and deleted; members come; pods are made anew.
    c.create_grid("offers", json!({})).await?;
    c.grid_online("offers", CHANGE).await?;
    c.patch(Kind::Grid, "offers", json!({"spec": {"timeToLive": 120}})).await?;
    c.wait_for(Kind::Grid, "offers", "the change", CHANGE, |grid| {
        grid["status"]["observedGeneration"] == grid["metadata"]["generation"]
    })
    .await?;
    c.grid_online("offers", CHANGE).await?;
    c.delete(Kind::Grid, "carts").await?;
    c.gone(Kind::Grid, "carts", CHANGE).await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    // Its own deletion waits until it is seen to be gone.
    c.delete(Kind::Grid, "sessions").await?;
    let says = |grid: &Value| message(grid, "Ready").contains("403");
    c.wait_for(Kind::Grid, "sessions", "why it stays", CHANGE, says).await?;
    ensure!(c.count("grid_delete_started", "")? == 1, "it was deleted without a look at it");
    c.clear_faults("c-0").await?;
    c.gone(Kind::Grid, "sessions", CHANGE).await?;
    ensure!(c.ask("c-0", "/grid/sessions").await.is_err(), "the grid is still in the group");
    ensure!(c.count("grid_create_started", "")? == 3, "a grid was created again");
    Ok(())
}

async fn silent_member(c: &Context) -> Result {
    c.entries_are_lost(
        "a grid in error serves nothing, and what it held goes when it is made again",
    );
    with_cache(c, 2).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.fault("c-1", json!({"fault": "hang"})).await?;
    c.fault("c-0", json!({"fault": "break_grid", "grid": "g", "count": 1})).await?;
    let names_it = |grid: &Value| message(grid, "Degraded").contains("c-1");
    c.wait_for(Kind::Grid, "g", "the member that is missed", 2 * CHANGE, names_it).await?;
    ensure!(c.count("grid_delete_started", "")? == 0, "deleted while c-1 may hold its entries");
    c.clear_faults("c-1").await?;
    c.wait("the recovery", 2 * CHANGE, async || {
        let deleted = c.count("grid_deleted", "")?;
        Ok(Seen::when(deleted == 1, || format!("{deleted} deletions")))
    })
    .await?;
    c.grid_online("g", CHANGE).await
}

/// How many operations were begun that create a grid.
fn creations(c: &Context) -> Result<usize> {
    let records = c.records()?;
    let creates = records.iter().filter(|record| {
        matches!(&record.event, xsld_journal::event::Event::OperationBegun { kind, .. }
            if kind.name() == "grid_create")
    });
    Ok(creates.count())
}

async fn refused(c: &Context) -> Result {
    with_cache(c, 1).await?;
    let names: Vec<String> = (0..14).map(|number| format!("r{number:02}")).collect();
    for name in &names {
        c.create_grid(name, json!({"templateName": "NoSuchTemplate"})).await?;
    }
    for name in &names {
        let refused = ("Ready", "False", "Refused");
        c.wait_condition(Kind::Grid, name, refused, 3 * CHANGE).await?;
    }
    c.create_grid("good", json!({})).await?;
    c.grid_online("good", CHANGE).await?;
    // The passes that made it came by all the others again.
    let begun = creations(c)?;
    ensure!(begun == 15, "{begun} creations were begun for 15 grids");
    Ok(())
}

/// Another tool deletes each of five grids as soon as it is there. None of them is made for ever, also
/// by an operator that was killed meanwhile, and a sixth one is made as if nothing were.
async fn fought_over(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    c.entries_are_lost("somebody deletes the grids");
    with_cache(c, 1).await?;
    let names: Vec<String> = (0..5).map(|number| format!("f{number}")).collect();
    for name in &names {
        c.create_grid(name, json!({})).await?;
    }
    let left = ("NeedsAttention", "True", "NotConverging");
    c.wait("all five to be left alone", 4 * CHANGE, async || {
        let mut made = Vec::new();
        for name in &names {
            let object = c.get(Kind::Grid, name).await?;
            if is_true(&object, left.0, Some(left.2)) {
                continue;
            }
            made.push(name.as_str());
            let live = c.ask("c-0", &format!("/grid/{name}")).await;
            let serves = live.is_ok_and(|grid| grid["status"] == "Online");
            if serves && is_true(&object, "Ready", None) {
                // It may be refused while another task runs: then the next look does it.
                drop(c.delete_grid_by_hand("c-0", name).await);
            }
        }
        Ok(Seen::when(made.is_empty(), || format!("still made: {made:?}")))
    })
    .await?;
    let begun = creations(c)?;
    ensure!(begun >= 5 * 3, "{begun} creations were begun for five grids");
    c.kill_operator().await?;
    c.start_operator().await?;
    for name in &names {
        c.wait_condition(Kind::Grid, name, left, CHANGE).await?;
    }
    c.wait_condition(Kind::Cache, "c", left, CHANGE).await?;
    c.create_grid("good", json!({})).await?;
    c.grid_online("good", CHANGE).await?;
    let now = creations(c)?;
    ensure!(now == begun + 1, "{now} creations were begun, after {begun} for the five");
    // Another spec has other reasons: each is made again, and nobody deletes it any more.
    for name in &names {
        c.patch(Kind::Grid, name, json!({"spec": {"timeToLive": 120}})).await?;
    }
    for name in &names {
        c.grid_online(name, CHANGE).await?;
    }
    Ok(())
}

async fn second_cache(c: &Context) -> Result {
    with_cache(c, 1).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.create("d", 1).await?;
    c.ready("d", 1, 3 * MINUTE).await?;
    c.patch(Kind::Grid, "g", json!({"spec": {"timeToLive": 120}})).await?;
    c.wait("the change", CHANGE, async || {
        let told: Value = c.ask("c-0", "/grid/g").await?;
        Ok(Seen::when(told["timeToLive"] == "120", || told.to_string()))
    })
    .await?;
    c.grid_online("g", CHANGE).await?;
    c.patch(Kind::Grid, "g", json!({"spec": {"cacheRef": {"name": "d"}}})).await?;
    let stays = ("Ready", "False", "BoundElsewhere");
    c.wait_condition(Kind::Grid, "g", stays, CHANGE).await?;
    ensure!(c.ask("d-0", "/grid/g").await.is_err(), "the grid was made in the other cache");
    c.delete(Kind::Grid, "g").await?;
    c.gone(Kind::Grid, "g", CHANGE).await?;
    ensure!(c.ask("c-0", "/grid/g").await.is_err(), "the grid is still in its group");
    Ok(())
}

async fn made_again(c: &Context) -> Result {
    c.entries_are_lost("what is cached lives in memory, and all members go at once");
    with_cache(c, 1).await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", CHANGE).await?;
    c.create("d", 1).await?;
    c.ready("d", 1, 3 * MINUTE).await?;
    c.delete(Kind::Cache, "c").await?;
    c.gone(Kind::Cache, "c", 2 * MINUTE).await?;
    let missing = ("Ready", "False", "CacheMissing");
    c.wait_condition(Kind::Grid, "g", missing, CHANGE).await?;
    with_cache(c, 1).await?;
    c.grid_online("g", CHANGE).await?;
    ensure!(c.ask("d-0", "/grid/g").await.is_err(), "the grid was made in another cache");
    Ok(())
}
