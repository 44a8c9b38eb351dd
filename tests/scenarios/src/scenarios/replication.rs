//! The configuration database gets a replica, and the replica takes over when the primary is lost.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::failures::{lose_volume, set_node};
use crate::context::{Context, Kind, Seen};
use crate::kill::{Kill, Moment};
use crate::stage::{RESERVED, reserved_nodes};
use crate::{Result, Scenario};

/// A set-up takes some seconds at this time scale, a cancelled one the stall time; a loaded machine
/// gets more.
const CHANGE: Duration = Duration::from_secs(120);

/// Grace of a primary in these scenarios, in real seconds: shorter than a member's start.
const SHORT: u32 = 2;

/// Longer than any scenario lasts.
pub(super) const LONG: u32 = 3600;

pub(super) fn scenarios() -> Vec<Scenario> {
    use Moment::{Over, Running, Unanswered, Unsent};
    let mut all = vec![
        Scenario::new("replication::is_set_up_from_two_members_on", |c| Box::pin(set_up(c))),
        Scenario::new("replication::off_sets_up_nothing", |c| Box::pin(off(c)))
            .without_entries("it makes its grid when a set-up would have begun"),
        Scenario::new("replication::a_set_up_that_hangs_is_cancelled_and_run_again", |c| {
            Box::pin(hangs(c))
        }),
        Scenario::new("replication::a_primary_that_is_back_in_time_stays_the_primary", |c| {
            Box::pin(back_in_time(c))
        }),
        Scenario::new("replication::a_lost_primary_is_replaced_and_returns_as_the_replica", |c| {
            Box::pin(replaced(c))
        })
        .without_entries("it counts its own grid"),
        Scenario::new("replication::a_primary_on_a_stopped_node_is_replaced", |c| {
            Box::pin(node_stopped(c))
        }),
        Scenario::new("replication::the_primarys_lost_volume_is_survived_by_the_replica", |c| {
            Box::pin(volume_lost(c))
        }),
        Scenario::new("replication::a_disjoined_replica_is_set_up_elsewhere", |c| {
            Box::pin(replica_disjoined(c))
        }),
        Scenario::new("replication::a_primary_that_is_scaled_away_is_moved_first", |c| {
            Box::pin(primary_scaled_away(c))
        }),
    ];
    for moment in [Unsent, Unanswered, Running, Over] {
        let kill = Kill::at("set_up_replication", moment);
        let name = format!("replication::a_set_up_survives_a_kill/{}", moment.word());
        all.push(Scenario::new(name, move |c| Box::pin(set_up_killed(c, kill))));
        let kill = Kill::at("promote_primary", moment);
        let name = format!("replication::a_promotion_survives_a_kill/{}", moment.word());
        all.push(Scenario::new(name, move |c| Box::pin(promotion_killed(c, kill))));
    }
    all
}

async fn create(c: &Context, size: u32, grace: u32) -> Result {
    let replication = json!({"replication": {"primaryGraceSeconds": grace}});
    c.create_with("c", size, replication).await?;
    c.ready("c", size, 3 * MINUTE).await
}

/// Changes the grace. It is short only while the primary really is lost: with a short one from the
/// start, a member that is slow on a loaded machine is replaced before anything happened to it.
async fn grace(c: &Context, seconds: u32) -> Result {
    let change = json!({"spec": {"replication": {"primaryGraceSeconds": seconds}}});
    c.patch(Kind::Cache, "c", change).await.map(drop)
}

/// Waits until the member was promoted in the place of the primary that was lost just now.
async fn replaced_by(c: &Context, member: &str) -> Result {
    grace(c, SHORT).await?;
    let promoted = promoted(c, member).await;
    grace(c, LONG).await?;
    promoted
}

/// Waits until every member's own view has this primary and this replica, and the status too.
pub(super) async fn roles(c: &Context, size: u32, primary: &str, replica: &str) -> Result {
    c.wait(&format!("{primary} as primary with the replica {replica}"), CHANGE, async || {
        for ordinal in 0..size {
            let group = match c.ask(&format!("c-{ordinal}"), "/cacheMemberGroup").await {
                Ok(group) => group,
                Err(error) => return Ok(Seen::NotYet(format!("{error:#}"))),
            };
            let is = |name: &str, field: &str, value: &Value| {
                let members = group["members"].as_array().into_iter().flatten();
                let holders: Vec<_> = members
                    .filter(|member| member[field] == *value)
                    .map(|member| member["memberName"].clone())
                    .collect();
                holders == [json!(name)]
            };
            let as_told = group["stale"] != true
                && is(primary, "isPrimary", &json!(true))
                && is(replica, "replicationRole", &json!("slave"));
            if !as_told {
                return Ok(Seen::NotYet(format!("c-{ordinal} tells {group}")));
            }
        }
        Ok(Seen::Yes(()))
    })
    .await?;
    let replicating = ("ReplicationReady", "True", "Replicating");
    let cache = c.wait_condition(Kind::Cache, "c", replicating, CHANGE).await?;
    ensure!(cache["status"]["primary"] == primary, "status.primary: {}", cache["status"]);
    Ok(())
}

/// Runs `story` and watches the members meanwhile: never are two of them the primary by their own
/// words. Two answers are not of one moment, so two primaries count only when they stay.
async fn one_primary(c: &Context, story: impl Future<Output = Result>) -> Result {
    let watch = async {
        let mut in_a_row = 0;
        loop {
            let primaries = primaries(c).await;
            in_a_row = if primaries.len() > 1 { in_a_row + 1 } else { 0 };
            if in_a_row >= 3 {
                return Err(anyhow::anyhow!("two primaries at once: {primaries:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        result = story => result,
        result = watch => result,
    }
}

fn is_ready(pod: &Value) -> bool {
    crate::context::is_true(pod, "Ready", None)
}

/// Who says of itself that it is the primary of a group of several.
async fn primaries(c: &Context) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["c-0", "c-1", "c-2"] {
        let Ok(group) = c.ask(name, "/cacheMemberGroup").await else { continue };
        let members = group["members"].as_array().into_iter().flatten();
        let mut own = members.filter(|member| member["memberName"] == name);
        let several = group["members"].as_array().is_some_and(|members| members.len() > 1);
        if several && group["stale"] != true && own.any(|member| member["isPrimary"] == true) {
            found.push(name.to_owned());
        }
    }
    found
}

async fn set_up(c: &Context) -> Result {
    create(c, 1, LONG).await?;
    let off = ("ReplicationReady", "False", "ReplicationOff");
    c.wait_condition(Kind::Cache, "c", off, MINUTE).await?;
    ensure!(c.count("replication_started", "")? == 0, "a member was replicated to itself");
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    roles(c, 3, "c-0", "c-1").await?;
    ensure!(c.count("replication_started", "")? == 1, "it was set up more than once");
    Ok(())
}

async fn off(c: &Context) -> Result {
    c.create_with("c", 2, json!({"replication": {"mode": "Off"}})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    // The grid is made well after a set-up would have begun.
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", MINUTE).await?;
    let off = ("ReplicationReady", "False", "ReplicationOff");
    c.wait_condition(Kind::Cache, "c", off, MINUTE).await?;
    ensure!(c.count("replication_started", "")? == 0, "replication was set up");
    // Switched on later, it is.
    let auto = json!({"spec": {"replication": {"mode": "Auto"}}});
    c.patch(Kind::Cache, "c", auto).await?;
    roles(c, 2, "c-0", "c-1").await
}

async fn hangs(c: &Context) -> Result {
    create(c, 1, LONG).await?;
    let stuck = json!({"fault": "stuck_task", "command": "ConfigureDerbyReplication", "count": 1});
    c.fault("c-0", stuck).await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, MINUTE).await?;
    roles(c, 2, "c-0", "c-1").await?;
    ensure!(c.count("task_cancelled", "")? == 1, "the task that hung was not cancelled once");
    ensure!(c.count("replication_started", "")? == 2, "it was not run exactly once again");
    Ok(())
}

async fn back_in_time(c: &Context) -> Result {
    create(c, 3, LONG).await?;
    roles(c, 3, "c-0", "c-1").await?;
    one_primary(c, async {
        let former = c.get(Kind::Pod, "c-0").await?["metadata"]["uid"].clone();
        c.delete(Kind::Pod, "c-0").await?;
        let made_anew =
            |pod: &Value| !pod.is_null() && pod["metadata"]["uid"] != former && is_ready(pod);
        c.wait_for(Kind::Pod, "c-0", "made anew", CHANGE, made_anew).await?;
        roles(c, 3, "c-0", "c-1").await?;
        c.ready("c", 3, CHANGE).await
    })
    .await?;
    ensure!(c.count("promotion_started", "")? == 0, "the replica was promoted");
    Ok(())
}

/// The primary's container cannot run for a while: longer than its grace. Of two members, so that no
/// other one can be made the replica before it is back.
async fn replaced(c: &Context) -> Result {
    create(c, 2, LONG).await?;
    roles(c, 2, "c-0", "c-1").await?;
    c.create_grid("g", json!({})).await?;
    c.grid_online("g", MINUTE).await?;
    c.store("c-1", "g", "key", "value").await?;
    one_primary(c, async {
        c.fault("c-0", json!({"fault": "crash"})).await?;
        replaced_by(c, "c-1").await?;
        c.clear_faults("c-0").await?;
        c.ready("c", 2, CHANGE).await?;
        roles(c, 2, "c-1", "c-0").await
    })
    .await?;
    ensure!(c.count("promotion_started", "")? == 1, "more than one promotion");
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    let grids = c.ask("c-1", "/grid").await?;
    ensure!(grids.as_array().is_some_and(|grids| grids.len() == 1), "the grid is gone: {grids}");
    c.grid_online("g", MINUTE).await
}

async fn promoted(c: &Context, member: &str) -> Result {
    c.wait(&format!("{member} to be promoted"), CHANGE, async || {
        let count = c.count("promoted", member)?;
        Ok(Seen::when(count > 0, || "not in the call log".to_owned()))
    })
    .await
}

async fn node_stopped(c: &Context) -> Result {
    let pod = json!({
        "tolerations": [{"key": RESERVED, "operator": "Exists"}],
        "antiAffinity": "Required",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": reserved_nodes()}
            ]}]
        }}},
    });
    let replication = json!({"primaryGraceSeconds": LONG});
    c.create_with("c", 2, json!({"pod": pod, "replication": replication})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    roles(c, 2, "c-0", "c-1").await?;
    let object = c.get(Kind::Pod, "c-0").await?;
    let node = object["spec"]["nodeName"].as_str().context("c-0 has no Node")?.to_owned();
    set_node(c, &node, false).await?;
    let switched = replaced_by(c, "c-1").await;
    let evicted = c
        .wait_for(Kind::Pod, "c-0", "being evicted", MINUTE, |pod| {
            !pod["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    set_node(c, &node, true).await?;
    switched?;
    evicted?;
    c.ready("c", 2, 2 * CHANGE).await?;
    roles(c, 2, "c-1", "c-0").await
}

async fn volume_lost(c: &Context) -> Result {
    create(c, 3, LONG).await?;
    roles(c, 3, "c-0", "c-1").await?;
    one_primary(c, async {
        // It must not be back, empty, before it is replaced.
        c.fault("c-0", json!({"fault": "crash"})).await?;
        lose_volume(c, "c-0").await?;
        replaced_by(c, "c-1").await
    })
    .await?;
    c.clear_faults("c-0").await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    roles(c, 3, "c-1", "c-0").await?;
    ensure!(c.count("joined", "c-0")? == 1, "c-0 did not join afresh");
    ensure!(c.count("joined", "c-2")? == 1, "c-2 was joined again");
    let lost = |change: &crate::context::Change| {
        change.kind == Kind::Cache && change.object.to_string().contains("PrimaryVolumeLost")
    };
    let told = c.history.of(Kind::Cache).iter().any(lost);
    ensure!(!told, "a person was asked although there was a replica");
    Ok(())
}

/// The replica is the highest member, and that one leaves.
async fn replica_disjoined(c: &Context) -> Result {
    let replication = json!({"mode": "Off", "primaryGraceSeconds": LONG});
    c.create_with("c", 3, json!({"replication": replication})).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    replicate_by_hand(c, "c-0", "c-2").await?;
    let auto = json!({"spec": {"replication": {"mode": "Auto"}}});
    c.patch(Kind::Cache, "c", auto).await?;
    roles(c, 3, "c-0", "c-2").await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    roles(c, 2, "c-0", "c-1").await?;
    ensure!(c.count("replication_configured", "")? == 2, "it was not set up once more");
    Ok(())
}

async fn replicate_by_hand(c: &Context, primary: &str, replica: &str) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    let task = json!({
        "command": "ConfigureDerbyReplicationTaskCommand",
        "description": "by hand",
        "parameters": {"slaveMemberName": replica},
    });
    c.post(primary, "/task", task).await?;
    c.wait("the replica by hand", MINUTE, async || {
        let count = c.count("replication_configured", "")?;
        Ok(Seen::when(count > 0, || "not in the call log".to_owned()))
    })
    .await
}

/// The primary is the highest member, because the first one was lost for a while.
async fn primary_scaled_away(c: &Context) -> Result {
    create(c, 2, LONG).await?;
    roles(c, 2, "c-0", "c-1").await?;
    c.fault("c-0", json!({"fault": "crash"})).await?;
    replaced_by(c, "c-1").await?;
    c.clear_faults("c-0").await?;
    c.ready("c", 2, CHANGE).await?;
    one_primary(c, async {
        c.resize("c", 1).await?;
        c.ready("c", 1, 2 * CHANGE).await
    })
    .await?;
    ensure!(c.count("promoted", "c-0")? == 1, "c-0 was not made the primary before");
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}

async fn set_up_killed(c: &Context, kill: Kill) -> Result {
    create(c, 1, LONG).await?;
    c.killed_during("c", kill, c.resize("c", 2)).await?;
    c.ready("c", 2, CHANGE).await?;
    roles(c, 2, "c-0", "c-1").await?;
    ensure!(c.count("replication_configured", "")? == 1, "it was set up more than once");
    Ok(())
}

async fn promotion_killed(c: &Context, kill: Kill) -> Result {
    create(c, 2, LONG).await?;
    roles(c, 2, "c-0", "c-1").await?;
    one_primary(c, async {
        let armed = c.arm("c", kill).await?;
        c.fault("c-0", json!({"fault": "crash"})).await?;
        grace(c, SHORT).await?;
        armed.strike().await?;
        // The kill may have cleared it; a member's start takes longer than this.
        c.clear_faults("c-0").await?;
        c.fault("c-0", json!({"fault": "crash"})).await?;
        c.start_operator().await?;
        replaced_by(c, "c-1").await?;
        c.clear_faults("c-0").await?;
        c.ready("c", 2, 2 * CHANGE).await?;
        roles(c, 2, "c-1", "c-0").await
    })
    .await?;
    ensure!(c.count("promoted", "c-1")? == 1, "c-1 was promoted more than once");
    Ok(())
}
