//! Whole stories, told again with the operator dead at each of their boundaries in turn.

use anyhow::ensure;
use serde_json::json;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind};
use crate::sweep::{Story, grid_of};
use crate::{Result, Scenario};

/// Entries that a grid holds through the story.
const ENTRIES: u32 = 8;

/// Boundaries of an operation of a cache. A new kind of operation gets a line here.
const STORIES: [Story; 4] = [
    Story {
        name: "a_new_cache",
        prepare: |c, cache| Box::pin(created_paused(c, cache)),
        act: |c, cache| Box::pin(unpaused(c, cache)),
    },
    Story {
        name: "up_by_one",
        prepare: |c, cache| Box::pin(with_data(c, cache, 1)),
        act: |c, cache| Box::pin(resized(c, cache, 2)),
    },
    Story {
        name: "down_by_one",
        prepare: |c, cache| Box::pin(with_data(c, cache, 2)),
        act: |c, cache| Box::pin(resized(c, cache, 1)),
    },
    Story {
        name: "a_grid_comes_changes_and_goes",
        prepare: |c, cache| Box::pin(without_grid(c, cache)),
        act: |c, cache| Box::pin(grid_changes(c, cache)),
    },
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |story: Story| {
        Scenario::new(format!("sweep::{}", story.name), move |c| Box::pin(story.sweep(c)))
    };
    STORIES.into_iter().map(scenario).collect()
}

async fn created_paused(c: &Context, cache: &str) -> Result {
    let volumes = json!({"retention": {"whenDeleted": "Delete"}});
    c.create_with(cache, 2, json!({"storage": volumes, "paused": true})).await?;
    c.wait_condition(Kind::Cache, cache, ("Progressing", "False", "Paused"), MINUTE).await.map(drop)
}

async fn unpaused(c: &Context, cache: &str) -> Result {
    c.patch(Kind::Cache, cache, json!({"spec": {"paused": false}})).await?;
    c.ready(cache, 2, 3 * MINUTE).await
}

async fn without_grid(c: &Context, cache: &str) -> Result {
    let volumes = json!({"retention": {"whenDeleted": "Delete"}});
    c.create_with(cache, 1, json!({"storage": volumes})).await?;
    c.ready(cache, 1, 2 * MINUTE).await
}

async fn with_data(c: &Context, cache: &str, size: u32) -> Result {
    let volumes = json!({"retention": {"whenDeleted": "Delete"}});
    c.create_with(cache, size, json!({"storage": volumes})).await?;
    c.ready(cache, size, 3 * MINUTE).await?;
    let grid = grid_of(cache);
    c.create_grid(&grid, json!({"cacheRef": {"name": cache}})).await?;
    c.grid_online(&grid, 2 * MINUTE).await?;
    for entry in 0..ENTRIES {
        c.store(&format!("{cache}-0"), &grid, &format!("key{entry}"), "value").await?;
    }
    Ok(())
}

async fn resized(c: &Context, cache: &str, size: u32) -> Result {
    c.resize(cache, size).await?;
    c.ready(cache, size, 3 * MINUTE).await?;
    let grid = grid_of(cache);
    c.grid_online(&grid, 2 * MINUTE).await?;
    for entry in 0..ENTRIES {
        let key = format!("key{entry}");
        let found = c.load(&format!("{cache}-0"), &grid, &key).await?;
        ensure!(found.as_deref() == Some("value"), "{key} of {grid} is lost: {found:?}");
    }
    Ok(())
}

async fn grid_changes(c: &Context, cache: &str) -> Result {
    let grid = grid_of(cache);
    c.create_grid(&grid, json!({"cacheRef": {"name": cache}})).await?;
    c.grid_online(&grid, 2 * MINUTE).await?;
    c.patch(Kind::Grid, &grid, json!({"spec": {"lockTimeout": 20}})).await?;
    c.grid_online(&grid, 2 * MINUTE).await?;
    c.delete(Kind::Grid, &grid).await?;
    c.gone(Kind::Grid, &grid, 2 * MINUTE).await
}
