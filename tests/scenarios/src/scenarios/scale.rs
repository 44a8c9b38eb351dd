//! Members come and go: up, down, by two, there and back, and with the operator killed in between.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

/// A change of size by one takes 5 to 10 s at this time scale; a loaded machine gets more.
pub(super) const CHANGE: Duration = Duration::from_secs(90);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("scale::one_to_three_to_one", |c| Box::pin(there_and_back(c))),
        Scenario::new("scale::up_by_two", |c| Box::pin(up_by_two(c))),
        Scenario::new("scale::down_by_two", |c| Box::pin(down_by_two(c))),
        Scenario::new("scale::kubectl_scale_is_obeyed", |c| Box::pin(kubectl_scale(c))),
        Scenario::new("scale::smaller_again_during_a_join", |c| Box::pin(shrunk_during_join(c))),
        Scenario::new("scale::larger_during_a_join", |c| Box::pin(grown_during_join(c))),
        Scenario::new("scale::back_up_during_a_disjoin_finishes_it_first", |c| {
            Box::pin(back_up_during_disjoin(c))
        }),
    ];
    all.extend(killed());
    all
}

/// Each operation with the operator dead in the middle of each of its steps.
fn killed() -> Vec<Scenario> {
    use Moment::{Intended, Over, Running, Unanswered, Unsent};
    let mut all = Vec::new();
    for moment in [Unsent, Unanswered, Running, Over] {
        let kill = Kill::at("join_member", moment);
        let name = format!("scale::a_join_survives_a_kill/{}", moment.word());
        all.push(Scenario::new(name, move |c| Box::pin(join_killed(c, kill))));
        let kill = Kill::at("disjoin_member", moment);
        let name = format!("scale::a_disjoin_survives_a_kill/{}", moment.word());
        all.push(Scenario::new(name, move |c| Box::pin(disjoin_killed(c, kill))));
    }
    for step in ["set_template", "scale_stateful_set"] {
        let kill = Kill::at(step, Intended);
        let name = format!("scale::a_bootstrap_survives_a_kill/{step}");
        all.push(Scenario::new(name, move |c| Box::pin(bootstrap_killed(c, kill))));
    }
    for step in ["scale_stateful_set", "delete_volume"] {
        let kill = Kill::at(step, Intended);
        let name = format!("scale::a_departure_survives_a_kill/{step}");
        all.push(Scenario::new(name, move |c| Box::pin(disjoin_killed(c, kill))));
    }
    all
}

async fn there_and_back(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    left_with(c, 1).await?;
    ensure!(c.count("disjoined", "")? == 2, "not both were disjoined");
    Ok(())
}

async fn up_by_two(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    c.resize("c", 4).await?;
    c.ready("c", 4, 3 * CHANGE).await?;
    for member in ["c-1", "c-2", "c-3"] {
        ensure!(c.count("joined", member)? == 1, "{member} did not join once");
    }
    Ok(())
}

async fn down_by_two(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, 3 * CHANGE).await?;
    left_with(c, 1).await?;
    // The highest first.
    let calls = c.calls()?;
    let order: Vec<_> = calls
        .iter()
        .filter(|call| call.effect == "disjoined")
        .map(|call| crate::context::member_of(call).to_owned())
        .collect();
    ensure!(order == ["c-2", "c-1"], "disjoined in the order {order:?}");
    Ok(())
}

/// Only the first `size` claims are left, and the others' directories were set aside.
async fn left_with(c: &Context, size: usize) -> Result {
    let claims = c.list(Kind::Claim).await?;
    ensure!(claims.len() == size, "{} claims are left", claims.len());
    let reclaimed = c.stage.world.dir().join("reclaimed");
    let gone = c.history.of(Kind::Claim).into_iter().filter(|change| change.gone);
    let gone: Vec<_> = gone.map(|change| change.uid).collect();
    ensure!(!gone.is_empty(), "no claim went");
    c.wait("the directories to be set aside", MINUTE, async || {
        let left: Vec<_> = gone.iter().filter(|uid| !reclaimed.join(uid).exists()).collect();
        Ok(crate::context::Seen::when(left.is_empty(), || format!("{left:?} are not")))
    })
    .await
}

async fn kubectl_scale(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    match c.kubectl(&["scale", "xsldcache/c", "--replicas=2"]).await? {
        Some(said) => ensure!(said.success, "kubectl scale: {}", said.stderr),
        // The same request that kubectl sends.
        None => {
            let params = kube::api::PatchParams::default();
            let patch = kube::api::Patch::Merge(json!({"spec": {"replicas": 2}}));
            c.api(Kind::Cache).patch_scale("c", &params, &patch).await?;
        }
    }
    c.ready("c", 2, CHANGE).await
}

async fn shrunk_during_join(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.resize("c", 2).await?;
    until(c, "join_started", "c-1").await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    left_with(c, 1).await
}

async fn grown_during_join(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.resize("c", 2).await?;
    until(c, "join_started", "c-1").await?;
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    ensure!(c.count("join_started", "")? == 2, "a member was joined more than once");
    Ok(())
}

/// A disjoin is a one-way barrier: it ends, the replicas and the claim go, and then a fresh member
/// joins on a new claim.
async fn back_up_during_disjoin(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    let former = c.get(Kind::Claim, "vol-c-1").await?;
    c.resize("c", 1).await?;
    until(c, "disjoin_started", "c-1").await?;
    c.resize("c", 2).await?;
    let deferred = ("Deferred", "True", "");
    c.wait_condition(Kind::Cache, "c", deferred, MINUTE).await?;
    c.ready("c", 2, 3 * CHANGE).await?;
    let present = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(former["metadata"]["uid"] != present["metadata"]["uid"], "the claim was not made anew");
    ensure!(c.count("disjoined", "c-1")? == 1 && c.count("joined", "c-1")? == 2, "not out and in");
    Ok(())
}

/// Waits until the members' log shows an effect.
pub(super) async fn until(c: &Context, effect: &str, member: &str) -> Result {
    let what = format!("{effect} of {member}");
    c.wait(&what, CHANGE, async || {
        let count = c.count(effect, member)?;
        Ok(crate::context::Seen::when(count > 0, || "not in the call log".to_owned()))
    })
    .await
}

async fn join_killed(c: &Context, kill: Kill) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.killed_during("c", kill, c.resize("c", 2)).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    Ok(())
}

async fn disjoin_killed(c: &Context, kill: Kill) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    c.killed_during("c", kill, c.resize("c", 1)).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    ensure!(c.count("disjoin_started", "c-1")? == 1, "c-1 was disjoined more than once");
    left_with(c, 1).await
}

async fn bootstrap_killed(c: &Context, kill: Kill) -> Result {
    c.killed_during("c", kill, c.create("c", 2)).await?;
    c.ready("c", 2, 2 * CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    Ok(())
}
