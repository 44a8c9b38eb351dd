//! A client that asks the group all the while.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::future::join_all;
use serde_json::json;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind};
use crate::runner::say;
use crate::{Result, Scenario};

/// Between two questions, in real time.
const EVERY: Duration = Duration::from_millis(100);
/// A question is answered in this time or not at all.
const ANSWER: Duration = Duration::from_secs(1);
const NEW: &str = "ibmcom/xsld:8614";
const SIZE: u32 = 3;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("roll::the_groups_api_answers_throughout", |c| {
        Box::pin(answers_throughout(c))
    })]
}

/// How long nobody answered at most.
#[derive(Debug)]
struct Gap {
    answered: Instant,
    longest: Duration,
    asked: u32,
}

async fn answers_throughout(c: &Context) -> Result {
    c.create("c", SIZE).await?;
    c.ready("c", SIZE, 4 * MINUTE).await?;
    let replicating = ("ReplicationReady", "True", "Replicating");
    c.wait_condition(Kind::Cache, "c", replicating, 2 * MINUTE).await?;
    asked_during(c, roll(c)).await
}

/// Asks the group's members during a story in which the primary's role is moved once. Nobody answers
/// for no longer than that takes.
pub(super) async fn asked_during(c: &Context, story: impl Future<Output = Result>) -> Result {
    let mut gap = Gap { answered: Instant::now(), longest: Duration::ZERO, asked: 0 };
    tokio::select! {
        told = story => told?,
        () = ask(c, &mut gap) => bail!("the client ended"),
    }
    let calls = c.calls()?;
    let at = |effect: &str| calls.iter().find(|call| call.effect == effect).map(|call| call.time);
    let began = at("promotion_started").context("the primary's role was not moved away")?;
    let ended = at("promoted").context("the switch did not end")?;
    let switch = Duration::try_from(ended.duration_since(began))?;
    say(&format!(
        "{}: asked {} times, the longest gap is {:?}, the switch took {switch:?}",
        c.name, gap.asked, gap.longest
    ));
    ensure!(gap.asked > 20, "the client asked {} times only", gap.asked);
    // One question and its answer belong to the measure and not to the gap.
    ensure!(gap.longest <= switch + EVERY + ANSWER, "nobody answered for {:?}", gap.longest);
    Ok(())
}

async fn roll(c: &Context) -> Result {
    c.patch(Kind::Cache, "c", json!({"spec": {"image": NEW}})).await?;
    c.wait_for(Kind::Cache, "c", "every member on the new image", 6 * MINUTE, |cache| {
        crate::context::is_true(cache, "Ready", None)
            && cache["status"]["image"]["updated"] == SIZE
            && cache["status"]["image"]["current"] == NEW
    })
    .await
    .map(drop)
}

/// Asks every member for a view of the group that is not stale, and notes when one gives it.
async fn ask(c: &Context, gap: &mut Gap) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        gap.asked += 1;
        let pods: Vec<String> = (0..SIZE).map(|ordinal| format!("c-{ordinal}")).collect();
        let asked = pods.iter().map(|pod| tokio::time::timeout(ANSWER, c.view(pod)));
        if join_all(asked).await.into_iter().any(|answer| matches!(answer, Ok(Ok(_)))) {
            gap.answered = Instant::now();
        } else {
            gap.longest = gap.longest.max(gap.answered.elapsed());
        }
    }
}
