//! Waiting for conditions, never for a time.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use super::{Context, Kind, condition, is_true};
use crate::Result;

/// Between two looks.
const POLL: Duration = Duration::from_millis(60);

/// How far the members' views may lag behind that of their primary.
const LAG: Duration = Duration::from_secs(3);

/// What a look at something came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is there.
    Yes(T),
    /// Not yet: what was seen instead.
    NotYet(String),
}

impl Seen<()> {
    /// `Yes` when `holds`, else what was seen.
    pub fn when(holds: bool, seen: impl FnOnce() -> String) -> Self {
        if holds { Self::Yes(()) } else { Self::NotYet(seen()) }
    }
}

impl Context {
    /// Looks until something is seen, and fails with what was seen instead when `limit` is over or
    /// the operator has ended by itself.
    ///
    /// # Errors
    /// See above; and what `look` fails with.
    pub async fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl AsyncFnMut() -> Result<Seen<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            let seen = match look().await? {
                Seen::Yes(found) => return Ok(found),
                Seen::NotYet(seen) => seen,
            };
            self.operator_still_runs().await?;
            if begun.elapsed() >= limit {
                bail!("waited {limit:?} for {what}; seen instead: {seen}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until an object passes `test`, and gives it back. `what` says what is waited for.
    ///
    /// # Errors
    /// When it takes longer than `limit`.
    pub async fn wait_for(
        &self,
        kind: Kind,
        name: &str,
        what: &str,
        limit: Duration,
        test: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.wait(&format!("{kind:?} {name}: {what}"), limit, async || {
            let object = self.get(kind, name).await?;
            Ok(if test(&object) { Seen::Yes(object) } else { Seen::NotYet(brief(&object)) })
        })
        .await
    }

    /// Waits until a condition of an object has this status and reason.
    ///
    /// # Errors
    /// When it takes longer than `limit`.
    pub async fn wait_condition(
        &self,
        kind: Kind,
        name: &str,
        (word, status, reason): (&str, &str, &str),
        limit: Duration,
    ) -> Result<Value> {
        let what = format!("{word}={status} ({reason})");
        self.wait_for(kind, name, &what, limit, |object| {
            condition(object, word).is_some_and(|condition| {
                condition["status"] == status
                    && (reason.is_empty() || condition["reason"] == reason)
            })
        })
        .await
    }

    /// Waits until a cache is Ready with `size` members for its present generation, and checks that
    /// the members' own views agree then. What the others know lags behind the primary by a moment.
    /// The first time, the cache gets a grid with entries, unless the scenario has its own.
    ///
    /// # Errors
    /// When it takes longer than `limit`, or when Ready is told although members disagree.
    pub async fn ready(&self, name: &str, size: u32, limit: Duration) -> Result {
        let what = format!("Ready with {size} members");
        self.wait_for(Kind::Cache, name, &what, limit, |cache| is_ready(cache, size)).await?;
        if self.given_entries(name).await? {
            self.wait_for(Kind::Cache, name, &what, limit, |cache| is_ready(cache, size)).await?;
        }
        let agree = self.wait_views(name, size, LAG).await;
        agree.map_err(|error| error.context("Ready was told too early"))
    }

    /// Waits until a grid is Online and Ready for its present generation, and has some entries in
    /// it that must be there at the scenario's end.
    ///
    /// # Errors
    /// When it takes longer than `limit`.
    pub async fn grid_online(&self, name: &str, limit: Duration) -> Result {
        self.wait_for(Kind::Grid, name, "Online", limit, |grid| {
            grid["status"]["status"] == "Online" && is_true(grid, "Ready", None) && is_current(grid)
        })
        .await?;
        self.fill(name).await
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// When it takes longer than `limit`.
    pub async fn gone(&self, kind: Kind, name: &str, limit: Duration) -> Result {
        self.wait_for(kind, name, "gone", limit, Value::is_null).await.map(drop)
    }
}

/// Whether a status answers to the present spec.
pub(crate) fn is_current(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    !generation.is_null() && object["status"]["observedGeneration"] == *generation
}

fn is_ready(cache: &Value, size: u32) -> bool {
    is_current(cache)
        && is_true(cache, "Ready", None)
        && cache["status"]["members"] == size
        && cache["status"]["online"] == size
}

/// An object in one line: its conditions where it has some.
pub(crate) fn brief(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let Some(conditions) = conditions else {
        return object.to_string().chars().take(400).collect();
    };
    let told: Vec<String> = conditions
        .iter()
        .map(|condition| {
            let word = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            let message = word("message");
            let message = if word("status") == "True" && word("type") != "Degraded" {
                String::new()
            } else {
                format!(": {message}")
            };
            format!("{}={} ({}{message})", word("type"), word("status"), word("reason"))
        })
        .collect();
    let status = &object["status"];
    format!(
        "generation {} observed {}, size {}, members {}, online {}; {}; operation {}",
        object["metadata"]["generation"],
        status["observedGeneration"],
        object["spec"]["size"],
        status["members"],
        status["online"],
        told.join("; "),
        status["operation"],
    )
}
