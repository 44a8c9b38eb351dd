//! The operator dies in the middle of a repair: of a ghost's removal, of a member's reset, of the
//! cancellation of a task that stands still, and of a deletion that overtakes them.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::until;
use crate::context::records::Intent;
use crate::context::{Context, Kind};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

const REPAIR: Duration = Duration::from_secs(180);

pub(super) fn scenarios() -> Vec<Scenario> {
    use Moment::{Intended, Over, Running, Unanswered, Unsent};
    let ghost = json!({"fault": "ghost_after_failed_join", "count": 1});
    let stuck = json!({"fault": "stuck_task", "command": "Join", "count": 1});
    let mut all = Vec::new();
    for moment in [Unsent, Unanswered, Running, Over] {
        let kill = Kill::at("remove_ghost_member", moment);
        let fault = ghost.clone();
        let name = format!("repairs::a_ghosts_removal_survives_a_kill/{}", moment.word());
        all.push(Scenario::new(name, move |c| {
            Box::pin(failed_join_killed(c, fault.clone(), kill))
        }));
    }
    for (step, name, fault) in
        [("cancel_task", "a_cancellation", stuck.clone()), ("join_member", "a_stuck_join", stuck)]
    {
        let kill = Kill::at(step, Intended);
        let name = format!("repairs::{name}_survives_a_kill");
        all.push(Scenario::new(name, move |c| {
            Box::pin(failed_join_killed(c, fault.clone(), kill))
        }));
    }
    let kept = "a member that may hold entries is not wiped before it was restarted";
    let killed = Scenario::new("repairs::a_reset_survives_a_kill", |c| Box::pin(reset_killed(c)));
    all.push(killed.without_entries(kept));
    let whole = Scenario::new("repairs::a_half_joined_member_is_reset_and_joins_afresh", |c| {
        Box::pin(reset(c))
    });
    all.push(whole.without_entries(kept));
    all.push(Scenario::new("repairs::a_half_joined_member_is_left_alone_when_told_so", |c| {
        Box::pin(reset_forbidden(c))
    }));
    all
}

async fn failed_join_killed(c: &Context, fault: Value, kill: Kill) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    // Held moments clear the faults of all pods: the join's own fault has applied by then.
    let act = async {
        c.fault("c-1", fault).await?;
        c.resize("c", 2).await
    };
    c.killed_during("c", kill, act).await?;
    c.ready("c", 2, REPAIR).await
}

/// A join that fails late, and a member that cannot be reached when its entry is taken out: it goes
/// on believing that it is in the group.
async fn half_join(c: &Context, repair: &str) -> Result {
    c.create_with("c", 1, json!({"repair": {"resetHalfJoined": repair}})).await?;
    c.ready("c", 1, MINUTE).await?;
    c.fault("c-1", json!({"fault": "ghost_after_failed_join", "count": 1})).await?;
    c.resize("c", 2).await?;
    until(c, "disjoin_started", "c-1").await?;
    c.fault("c-1", json!({"fault": "hang"})).await?;
    until(c, "ghost_removed", "c-1").await?;
    c.clear_faults("c-1").await
}

async fn reset(c: &Context) -> Result {
    half_join(c, "Auto").await?;
    c.ready("c", 2, REPAIR).await?;
    ensure!(c.count("joined", "c-1")? == 1, "c-1 did not join once");
    let records = c.records()?;
    let resets = records.iter().filter_map(Intent::of);
    let resets = resets.filter(|intent| intent.step.name() == "reset_member");
    ensure!(resets.count() > 0, "c-1 was not reset");
    Ok(())
}

async fn reset_killed(c: &Context) -> Result {
    let kill = Kill::at("reset_member", Moment::Intended);
    c.killed_during("c", kill, half_join(c, "Auto")).await?;
    c.ready("c", 2, REPAIR).await?;
    ensure!(c.count("joined", "c-1")? == 1, "c-1 did not join once");
    Ok(())
}

async fn reset_forbidden(c: &Context) -> Result {
    half_join(c, "Never").await?;
    let asks = |cache: &Value| {
        let conditions = cache["status"]["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter().any(|one| one["type"] == "NeedsAttention" && one["status"] == "True")
        })
    };
    c.wait_for(Kind::Cache, "c", "NeedsAttention", REPAIR, asks).await?;
    let claim = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(claim["metadata"]["deletionTimestamp"].is_null(), "the volume was wiped all the same");
    // A person does what the condition asks for.
    let uid = claim["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    c.allow(|allowed| allowed.deleted_claims.push(uid));
    c.delete(Kind::Claim, "vol-c-1").await?;
    c.delete(Kind::Pod, "c-1").await?;
    c.ready("c", 2, REPAIR).await
}
