//! A step in doubt, while something else in the cache never comes to rest.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::CHANGE;
use crate::context::{Context, Kind, Seen, condition, is_true};
use crate::{Result, Scenario};

/// Between two changes of what never comes to rest; less than two looks that prove something lie apart.
const BEAT: Duration = Duration::from_millis(700);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("doubts::a_join_is_decided_while_another_pod_crashes_for_ever", |c| {
            Box::pin(beside_a_crash_loop(c))
        }),
        Scenario::new("doubts::a_join_is_decided_while_a_grid_is_read_only_now_and_then", |c| {
            Box::pin(beside_a_grid(c))
        }),
        Scenario::new("doubts::one_that_never_comes_to_rest_is_told_and_goes_on_by_itself", |c| {
            Box::pin(told_in_time(c))
        }),
    ]
}

/// Does `act` again and again until `done` is seen.
async fn meanwhile(
    c: &Context,
    (what, limit): (&str, Duration),
    mut act: impl AsyncFnMut() -> Result,
    done: impl AsyncFn() -> Result<Seen<()>>,
) -> Result {
    let acts = async {
        loop {
            act().await?;
            tokio::time::sleep(BEAT).await;
        }
    };
    tokio::select! {
        ended = c.wait(what, limit, done) => ended,
        failed = acts => failed,
    }
}

/// Sets a fault of a pod that meets one request, unless the one before still waits for its own.
async fn once(c: &Context, pod: &str, mut fault: Value) -> Result {
    fault["count"] = json!(1);
    if c.faults(pod).await?.is_empty() {
        c.fault(pod, fault).await?;
    }
    Ok(())
}

/// The process that was asked to join crashes, so that its attempt is void once what it left behind can
/// have no effect any more, and another pod of the same size crashes all the while.
async fn beside_a_crash_loop(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.fault("c-2", json!({"fault": "crash"})).await?;
    c.fault("c-1", json!({"fault": "crash", "effect": "join_started", "count": 1})).await?;
    c.resize("c", 3).await?;
    let joined = async || {
        let joined = c.count("joined", "c-1")? == 1 && c.recorded("step_succeeded")? > 0;
        let cache = c.get(Kind::Cache, "c").await?;
        ensure!(!is_true(&cache, "NeedsAttention", None), "a person is asked: {cache}");
        Ok(Seen::when(joined, || cache["status"].to_string()))
    };
    c.wait("the join of c-1", CHANGE, joined).await?;
    ensure!(c.recorded("step_void")? == 1, "the first attempt did not come to its end");
    ensure!(c.count("join_started", "c-1")? == 2, "it was not tried once more");
    let crashes = c.faults("c-2").await?;
    ensure!(!crashes.is_empty(), "c-2 does not crash any more");
    c.clear_faults("c-2").await?;
    c.ready("c", 3, 2 * CHANGE).await
}

/// The request is dropped, so that it is sent again once two looks agree that it never came, and a grid
/// cannot be read again and again.
async fn beside_a_grid(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.create_grid("carts", json!({})).await?;
    c.grid_online("carts", CHANGE).await?;
    let dropped = json!({"fault": "reset", "method": "POST", "command": "Join", "count": 1});
    c.fault("c-1", dropped).await?;
    c.resize("c", 2).await?;
    let hides = async || {
        let path = "/grid/carts";
        once(c, "c-0", json!({"fault": "status", "code": 503, "method": "GET", "path": path})).await
    };
    let joined = async || {
        let cache = c.get(Kind::Cache, "c").await?;
        ensure!(!is_true(&cache, "NeedsAttention", None), "a person is asked: {cache}");
        Ok(Seen::when(c.count("joined", "c-1")? == 1, || cache["status"].to_string()))
    };
    meanwhile(c, ("the join of c-1", CHANGE), hides, joined).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "it was joined more than once");
    c.clear_faults("c-0").await?;
    c.ready("c", 2, CHANGE).await
}

/// The member in question itself answers only now and then: nothing is decided about it, and that is
/// told in time. When it answers it goes on.
async fn told_in_time(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let dropped = json!({"fault": "reset", "method": "POST", "command": "Join", "count": 1});
    c.fault("c-1", dropped).await?;
    c.resize("c", 2).await?;
    c.wait("the request that is dropped", CHANGE, async || {
        Ok(Seen::when(c.recorded("step_unknown")? == 1, || "it was not sent".to_owned()))
    })
    .await?;
    let stumbles =
        async || once(c, "c-1", json!({"fault": "status", "code": 503, "method": "GET"})).await;
    let told = async || {
        let cache = c.get(Kind::Cache, "c").await?;
        ensure!(c.count("join_started", "")? == 0, "it was sent again on half a look");
        let asks = is_true(&cache, "NeedsAttention", Some("Parked"));
        Ok(Seen::when(asks, || cache["status"].to_string()))
    };
    meanwhile(c, ("the doubt to be told", 2 * CHANGE), stumbles, told).await?;
    let cache = c.get(Kind::Cache, "c").await?;
    let message = condition(&cache, "NeedsAttention").map(|it| it["message"].to_string());
    let says = message.as_ref().is_some_and(|it| it.contains("no evidence"));
    ensure!(says, "it does not say why: {message:?}");
    c.clear_faults("c-1").await?;
    c.ready("c", 2, CHANGE).await?;
    let asks = |cache: &Value| !is_true(cache, "NeedsAttention", None);
    c.wait_for(Kind::Cache, "c", "nobody is asked any more", MINUTE, asks).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "it was joined more than once");
    Ok(())
}
