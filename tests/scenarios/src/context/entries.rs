//! Entries that every grid holds through its scenario, whatever happens to the cache meanwhile.
//!
//! The first time that a scenario sees a grid Online, some entries are put into it. They and all
//! that the scenario stores itself must still be there at its end, unless it says why the cache
//! itself loses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Context, Kind, Seen};
use crate::Result;

/// How many are put into each grid: one or more in each partition of a grid with the usual three.
const KEPT: usize = 6;

/// How long a cache may take to make the grid that it is given.
const GIVEN: Duration = Duration::from_secs(60);

/// How long a member may take until it serves what it holds.
const SERVED: Duration = Duration::from_secs(10);

/// An entry, by the grid's object: another object of the same name is another grid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    grid: String,
    uid: String,
    key: String,
}

/// What must be there at the end.
#[derive(Debug, Default)]
pub(super) struct Entries(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    held: BTreeMap<Place, String>,
    /// Why the cache itself loses what its grids hold.
    lost: Option<&'static str>,
    /// Whether caches get a grid by themselves.
    by_default: bool,
    /// The caches that got theirs.
    given: BTreeSet<String>,
}

impl Entries {
    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Context {
    /// From now on the grids' entries need not be there at the end: `why` the cache itself, and not
    /// the operator, loses them.
    pub fn entries_are_lost(&self, why: &'static str) {
        self.entries.change(|known| known.lost = Some(why));
    }

    /// From now on each cache gets a grid with entries as soon as it is Ready.
    pub(crate) fn give_entries(&self) {
        self.entries.change(|known| known.by_default = true);
    }

    /// Gives the cache, which is Ready, a grid with entries if it has none of its own. Whether it did.
    pub(super) async fn given_entries(&self, cache: &str) -> Result<bool> {
        let is_due = self.entries.change(|known| {
            known.by_default && known.lost.is_none() && known.given.insert(cache.to_owned())
        });
        if !is_due || !self.list(Kind::Grid).await?.is_empty() {
            return Ok(false);
        }
        let grid = format!("kept-{cache}");
        self.create_grid(&grid, json!({"cacheRef": {"name": cache}})).await?;
        self.grid_online(&grid, GIVEN).await?;
        Ok(true)
    }

    /// An entry was stored, and must be there at the end.
    pub(super) async fn remember(&self, grid: &str, key: &str, value: &str) -> Result {
        let object = self.get(Kind::Grid, grid).await?;
        if let Some(place) = place(&object, grid, key) {
            self.entries.change(|known| known.held.insert(place, value.to_owned()));
        }
        Ok(())
    }

    /// Puts entries into a grid that is Online, where there are none yet.
    pub(super) async fn fill(&self, grid: &str) -> Result {
        let object = self.get(Kind::Grid, grid).await?;
        let Some(first) = place(&object, grid, &key_of(0)) else { return Ok(()) };
        if self.entries.change(|known| known.lost.is_some() || known.held.contains_key(&first)) {
            return Ok(());
        }
        for number in 0..KEPT {
            let (key, value) = (key_of(number), format!("kept through {}", self.name));
            self.wait(&format!("{grid} to take an entry"), SERVED, async || {
                Ok(self
                    .through_any(&object, async |pod| self.store(pod, grid, &key, &value).await)
                    .await)
            })
            .await?;
        }
        Ok(())
    }

    /// Every entry is still there.
    ///
    /// # Errors
    /// The first one that is not.
    pub(crate) async fn entries_are_held(&self) -> Result {
        let (held, lost) = self.entries.change(|known| (known.held.clone(), known.lost));
        if lost.is_some() {
            return Ok(());
        }
        for (place, value) in held {
            let object = self.get(Kind::Grid, &place.grid).await?;
            if object["metadata"]["uid"] != place.uid.as_str() || !is_placed(&object) {
                continue;
            }
            let (grid, key) = (place.grid.as_str(), place.key.as_str());
            self.wait(&format!("the entry {key} of {grid}"), SERVED, async || {
                Ok(self
                    .through_any(&object, async |pod| self.found(pod, grid, key, &value).await)
                    .await)
            })
            .await?;
        }
        Ok(())
    }

    async fn found(&self, pod: &str, grid: &str, key: &str, value: &str) -> Result {
        let found = self.load(pod, grid, key).await?;
        anyhow::ensure!(found.as_deref() == Some(value), "{pod} has {found:?}");
        Ok(())
    }

    /// Asks the members of a grid's cache in turn, until one of them does it.
    async fn through_any(&self, grid: &Value, ask: impl AsyncFn(&str) -> Result) -> Seen<()> {
        let pods = match self.members_of(grid).await {
            Ok(pods) => pods,
            Err(error) => return Seen::NotYet(format!("{error:#}")),
        };
        let mut seen = "the cache has no members".to_owned();
        for pod in pods {
            match ask(&pod).await {
                Ok(()) => return Seen::Yes(()),
                Err(error) => seen = format!("{error:#}"),
            }
        }
        Seen::NotYet(seen)
    }

    async fn members_of(&self, grid: &Value) -> Result<Vec<String>> {
        let caches = self.list(Kind::Cache).await?;
        let named = grid["spec"]["cacheRef"]["name"].as_str();
        let name = |cache: &Value| cache["metadata"]["name"].as_str().map(str::to_owned);
        let is_it = |cache: &&Value| named.is_none_or(|named| cache["metadata"]["name"] == named);
        let cache = caches.iter().find(is_it).context("the grid has no cache")?;
        let size = cache["status"]["members"].as_u64().unwrap_or(0);
        let cache = name(cache).context("a cache without a name")?;
        Ok((0..size).map(|ordinal| format!("{cache}-{ordinal}")).collect())
    }
}

fn key_of(number: usize) -> String {
    format!("kept-{number}")
}

/// Where an entry of this grid is. None of one that is not there, and of one whose entries end by
/// themselves.
fn place(object: &Value, grid: &str, key: &str) -> Option<Place> {
    let uid = object["metadata"]["uid"].as_str()?.to_owned();
    let lives = &object["spec"]["timeToLive"];
    let ends = lives.as_u64().is_some_and(|seconds| seconds > 0) || lives.is_string();
    (!ends).then(|| Place { grid: grid.to_owned(), uid, key: key.to_owned() })
}

/// Whether the grid is in a group: one that waits for its cache holds nothing.
fn is_placed(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_null() && object["status"]["status"] == "Online"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_end_by_themselves_are_not_expected() {
        let grid = |lives: Value| json!({"metadata": {"uid": "u"}, "spec": {"timeToLive": lives}});
        assert!(place(&grid(Value::Null), "g", "k").is_some());
        assert!(place(&grid(json!(0)), "g", "k").is_some());
        assert!(place(&grid(json!(60)), "g", "k").is_none());
        assert!(place(&Value::Null, "g", "k").is_none());
    }

    #[test]
    fn a_grid_that_is_made_anew_is_another_one() {
        let grid = |uid: &str| json!({"metadata": {"uid": uid}});
        assert_ne!(place(&grid("a"), "g", "k"), place(&grid("b"), "g", "k"));
    }
}
