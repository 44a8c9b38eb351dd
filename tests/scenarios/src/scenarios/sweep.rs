//! Whole stories, told again with the operator dead at each of their boundaries in turn.

mod changes;
mod members;
mod states;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind};
use crate::sweep::{Story, grid_of, longest};
use crate::{Result, Scenario};

/// Entries that a grid holds through the story.
const ENTRIES: u32 = 8;

/// What happens to a cache. A new kind of operation gets a story here; a new kind of step without
/// one is found by a test.
const STORIES: [Story; 20] = [
    Story {
        name: "a_new_cache",
        steps: &["set_template", "scale_stateful_set", "join_member"],
        prepare: |c, cache| Box::pin(members::created_paused(c, cache)),
        act: |c, cache| Box::pin(members::unpaused(c, cache)),
    },
    Story {
        name: "up_by_one",
        steps: &["scale_stateful_set", "join_member"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 1, json!({}))),
        act: |c, cache| Box::pin(members::resized(c, cache, 2)),
    },
    Story {
        name: "down_by_one",
        steps: &["disjoin_member", "scale_stateful_set", "delete_volume"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 2, json!({}))),
        act: |c, cache| Box::pin(members::resized(c, cache, 1)),
    },
    Story {
        name: "a_grid_comes_changes_and_goes",
        steps: &["create_grid", "update_grid", "delete_grid"],
        prepare: |c, cache| Box::pin(created(c, cache, 1, json!({}))),
        act: |c, cache| Box::pin(changes::grid(c, cache)),
    },
    Story {
        name: "an_image_roll_with_a_replica",
        steps: &["set_template", "roll_member", "promote_primary"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 2, json!({}))),
        act: |c, cache| Box::pin(changes::image(c, cache)),
    },
    Story {
        name: "an_image_that_is_rolled_back",
        steps: &["set_template", "roll_member"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 2, changes::rollback())),
        act: |c, cache| Box::pin(changes::bad_image(c, cache)),
    },
    Story {
        name: "a_set_up_of_replication_that_hangs",
        steps: &["join_member", "set_up_replication", "cancel_task"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 1, json!({}))),
        act: |c, cache| Box::pin(members::replicated_at_the_second_try(c, cache)),
    },
    Story {
        name: "a_lost_primary_is_replaced",
        steps: &["promote_primary"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 2, members::short_grace())),
        act: |c, cache| Box::pin(members::primary_lost(c, cache)),
    },
    Story {
        name: "a_template_comes_changes_and_goes",
        steps: &["upload_template", "delete_template"],
        prepare: |c, cache| Box::pin(created(c, cache, 1, json!({}))),
        act: |c, cache| Box::pin(changes::template(c, cache)),
    },
    Story {
        name: "volumes_grow",
        steps: &["grow_volume"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 2, json!({}))),
        act: |c, cache| Box::pin(changes::volumes(c, cache)),
    },
    Story {
        name: "a_cache_is_deleted",
        steps: &["delete_stateful_set", "delete_volume"],
        prepare: |c, cache| Box::pin(created(c, cache, 2, json!({}))),
        act: |c, cache| Box::pin(changes::deleted(c, cache)),
    },
    Story {
        name: "a_ghost_is_removed",
        steps: &["join_member", "remove_ghost_member"],
        prepare: |c, cache| Box::pin(with_data(c, cache, 1, json!({}))),
        act: |c, cache| Box::pin(members::ghost(c, cache)),
    },
    Story {
        name: "a_half_joined_member_is_reset",
        steps: &["join_member", "reset_member"],
        // Without a grid: a member that may hold entries is not wiped before it was restarted.
        prepare: |c, cache| Box::pin(created(c, cache, 1, json!({}))),
        act: |c, cache| Box::pin(members::half_joined(c, cache)),
    },
    Story {
        name: "a_kept_group_with_a_silent_member",
        steps: &[],
        prepare: |c, cache| Box::pin(states::kept_and_silent(c, cache)),
        act: |c, cache| Box::pin(states::silent_member(c, cache)),
    },
    Story {
        name: "a_roll_beside_a_broken_grid",
        steps: &["set_template", "roll_member", "promote_primary"],
        prepare: |c, cache| Box::pin(states::broken_grid(c, cache)),
        act: |c, cache| Box::pin(states::rolled_beside_it(c, cache)),
    },
    Story {
        name: "a_roll_that_is_taken_back",
        steps: &["set_template", "roll_member", "promote_primary"],
        prepare: |c, cache| Box::pin(states::two_with_data(c, cache)),
        act: |c, cache| Box::pin(states::taken_back(c, cache)),
    },
    Story {
        name: "a_first_spec_that_is_corrected",
        steps: &["join_member"],
        prepare: |c, cache| Box::pin(states::refused_pods(c, cache)),
        act: |c, cache| Box::pin(states::corrected(c, cache)),
    },
    Story {
        name: "a_cache_that_is_orphaned_and_taken_up",
        steps: &[],
        prepare: |c, cache| Box::pin(created(c, cache, 2, json!({}))),
        act: |c, cache| Box::pin(states::left_and_taken_up(c, cache)),
    },
    Story {
        name: "a_volume_that_goes_under_its_pod",
        steps: &["set_template", "roll_member", "join_member"],
        prepare: |c, cache| Box::pin(states::two_with_data(c, cache)),
        act: |c, cache| Box::pin(states::volume_under_its_pod(c, cache)),
    },
    Story {
        name: "a_claim_that_never_had_a_volume",
        steps: &["delete_stateful_set", "delete_volume"],
        prepare: |c, cache| Box::pin(states::wrong_class(c, cache)),
        act: |c, cache| Box::pin(states::gone_with_its_claim(c, cache)),
    },
];

pub(super) fn scenarios() -> Vec<Scenario> {
    let scenario = |story: Story| {
        let name = format!("sweep::{}", story.name);
        Scenario::new(name, move |c| Box::pin(story.sweep(c))).lasting(longest())
    };
    STORIES.into_iter().map(scenario).collect()
}

/// A cache whose volumes go with it.
async fn created(c: &Context, cache: &str, size: u32, more: Value) -> Result {
    let mut spec = json!({"storage": {"retention": {"whenDeleted": "Delete"}}});
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    c.create_with(cache, size, spec).await?;
    whole(c, cache, size).await
}

/// Every member is there, and the configuration has its replica where there can be one.
async fn whole(c: &Context, cache: &str, size: u32) -> Result {
    c.ready(cache, size, 3 * MINUTE).await?;
    if size > 1 {
        let replicating = ("ReplicationReady", "True", "Replicating");
        c.wait_condition(Kind::Cache, cache, replicating, 2 * MINUTE).await?;
    }
    let rests = |cache: &Value| cache["status"]["operation"].is_null();
    c.wait_for(Kind::Cache, cache, "no operation", MINUTE, rests).await.map(drop)
}

/// A cache with a grid and entries in it.
async fn with_data(c: &Context, cache: &str, size: u32, more: Value) -> Result {
    created(c, cache, size, more).await?;
    let grid = grid_of(cache);
    c.create_grid(&grid, json!({"cacheRef": {"name": cache}})).await?;
    c.grid_online(&grid, 2 * MINUTE).await?;
    for entry in 0..ENTRIES {
        c.store(&format!("{cache}-0"), &grid, &format!("key{entry}"), "value").await?;
    }
    Ok(())
}

/// Every entry is still there.
async fn has_data(c: &Context, cache: &str) -> Result {
    let grid = grid_of(cache);
    c.grid_online(&grid, 2 * MINUTE).await?;
    for entry in 0..ENTRIES {
        let key = format!("key{entry}");
        let found = c.load(&format!("{cache}-0"), &grid, &key).await?;
        ensure!(found.as_deref() == Some("value"), "{key} of {grid} is lost: {found:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use xsld_journal::event::Step;

    use super::*;

    /// Every kind of step, as the journal's own reader names them when it meets another.
    fn kinds() -> BTreeSet<String> {
        let unknown = r#"{"no_such_step":{}}"#;
        let told = serde_json::from_str::<Step>(unknown).unwrap_err().to_string();
        let known = told.split_once("expected one of ").unwrap().1;
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_kind_of_step_is_in_a_story() {
        let kinds = kinds();
        assert!(kinds.len() >= 18 && kinds.contains("join_member"), "{kinds:?}");
        let told: BTreeSet<String> =
            STORIES.iter().flat_map(|story| story.steps).map(|step| (*step).to_owned()).collect();
        let missing: Vec<_> = kinds.difference(&told).collect();
        assert!(missing.is_empty(), "no story of sweep:: has {missing:?}");
        let unknown: Vec<_> = told.difference(&kinds).collect();
        assert!(unknown.is_empty(), "no step is called {unknown:?}");
    }
}
