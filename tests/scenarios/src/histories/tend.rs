//! What grids hold: put in as soon as a grid is Online, looked for now and then, and in the end.

use serde_json::Value;
use xsld_histories::act::member_name;
use xsld_histories::evidence::Entry;
use xsld_histories::world::Result;

use super::world::{Place, broken, is_ready, now_us};
use crate::context::{Kind, is_true};

/// Entries of each grid.
const KEPT: usize = 4;

/// Between two looks at entries that are there.
const LOOK_US: i64 = 5_000_000;

impl Place<'_> {
    pub(super) async fn tend_entries(&self) -> Result {
        self.entries(LOOK_US).await
    }

    /// Looks for every entry now.
    pub(super) async fn check_entries(&self) -> Result {
        self.entries(0).await
    }

    async fn entries(&self, after_us: i64) -> Result {
        let is_due = self.state(|state| now_us() - state.verified_us > after_us);
        for grid in self.c.list(Kind::Grid).await.map_err(broken)? {
            let is_online = grid["metadata"]["deletionTimestamp"].is_null()
                && grid["status"]["status"] == "Online"
                && is_true(&grid, "Ready", None);
            let Some(cache) = self.cache_of(&grid).await? else { continue };
            // Who is not whole answers for nothing.
            if is_online && is_ready(&cache) {
                self.tend_grid(&grid, &cache, is_due).await;
            }
        }
        if is_due {
            self.state(|state| state.verified_us = now_us());
        }
        Ok(())
    }

    async fn cache_of(&self, grid: &Value) -> Result<Option<Value>> {
        let caches = self.c.list(Kind::Cache).await.map_err(broken)?;
        let named = grid["spec"]["cacheRef"]["name"].as_str();
        let is_it = |cache: &Value| named.is_none_or(|named| cache["metadata"]["name"] == named);
        Ok(caches.into_iter().find(is_it))
    }

    async fn tend_grid(&self, grid: &Value, cache: &Value, is_due: bool) {
        let text = |object: &Value, field: &str| {
            object["metadata"][field].as_str().unwrap_or_default().to_owned()
        };
        let (name, uid, cache_name) = (text(grid, "name"), text(grid, "uid"), text(cache, "name"));
        let lives = &grid["spec"]["timeToLive"];
        if lives.as_u64().is_some_and(|seconds| seconds > 0) {
            return;
        }
        let size = cache["spec"]["size"].as_u64().unwrap_or(1) as u32;
        let replicas = |field: &str| grid["spec"][field].as_u64().unwrap_or(0) as u32;
        let copies = 1 + replicas("numAsyncReplicas") + replicas("numSyncReplicas");
        for number in 0..KEPT {
            let key = format!("kept-{number}");
            let place = (uid.clone(), key.clone());
            let known = self.state(|state| state.entries.contains_key(&place));
            if known && !is_due {
                continue;
            }
            let held = match known {
                true => self.holds(&cache_name, size, &name, &key).await,
                false => self.put_in(&cache_name, size, &name, &key).await,
            };
            let Some(held) = held else { continue };
            self.state(|state| {
                let entry = state.entries.entry(place).or_insert_with(|| Entry {
                    cache: cache_name.clone(),
                    grid: name.clone(),
                    uid: uid.clone(),
                    key,
                    ..Entry::default()
                });
                entry.held = Some(held);
                if held {
                    entry.seen_us = now_us();
                    entry.members = size;
                    entry.copies = copies;
                }
            });
        }
    }

    /// Whether the entry is there; none when nobody can say.
    async fn holds(&self, cache: &str, size: u32, grid: &str, key: &str) -> Option<bool> {
        let mut found = None;
        for member in 0..size {
            match self.c.load(&member_name(cache, member), grid, key).await {
                Ok(Some(_)) => return Some(true),
                Ok(None) => found = Some(false),
                Err(_) => {}
            }
        }
        found
    }

    async fn put_in(&self, cache: &str, size: u32, grid: &str, key: &str) -> Option<bool> {
        for member in 0..size {
            let pod = member_name(cache, member);
            if self.c.put_entry(&pod, grid, key, "kept through a history").await.is_ok() {
                return Some(true);
            }
        }
        None
    }
}
