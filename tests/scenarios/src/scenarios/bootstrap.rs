//! A cache comes up: the predecessor's objects, two members with a grid.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::context::{Context, Kind};
use crate::{Result, Scenario};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("bootstrap::the_predecessors_objects_come_up_unchanged", |c| {
            Box::pin(predecessors_objects(c))
        }),
        Scenario::new("bootstrap::two_members_join_by_themselves_and_a_grid_comes_online", |c| {
            Box::pin(two_members_and_a_grid(c))
        }),
    ]
}

async fn predecessors_objects(c: &Context) -> Result {
    c.use_credentials("Password123!", "Password123!");
    c.apply_file("crds/samples/xsldcache.yaml").await?;
    c.apply_file("crds/samples/datagrid.yaml").await?;
    let name = "example-xsldcache";
    let missing = ("Degraded", "True", "EntrypointMissing");
    c.wait_condition(Kind::Cache, name, missing, MINUTE).await?;
    c.apply_file("crds/samples/ip-update-entrypoint.yaml").await?;
    c.wait_condition(Kind::Cache, name, ("Ready", "True", ""), MINUTE).await?;
    c.grid_online("example-datagrid", MINUTE).await?;
    ensure!(c.history.told("PlainCredentials"), "no Event warns of the plain credentials");
    Ok(())
}

async fn two_members_and_a_grid(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.create_grid("g", json!({})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.grid_online("g", MINUTE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    ensure!(c.count("grid_create_started", "")? == 1, "the grid was created more than once");
    let cache = c.get(Kind::Cache, "c").await?;
    ensure!(cache["status"]["grids"] == json!(["g"]), "status.grids: {}", cache["status"]["grids"]);
    Ok(())
}
