//! Members, pods and Nodes fail, one and several, at rest and in the middle of an operation.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::until;
use crate::context::{Context, Kind, Seen, condition, is_true};
use crate::stage::{RESERVED, reserved_nodes};
use crate::{Result, Scenario};

/// A failure and its repair: the orphan time, a start and a join, on a loaded machine.
const REPAIR: Duration = Duration::from_secs(150);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("failures::a_crashed_member_comes_back_without_a_join", |c| {
            Box::pin(container_restart(c))
        }),
        Scenario::new(
            "failures::a_rescheduled_member_is_degraded_until_its_address_is_known",
            |c| Box::pin(pod_deleted(c)),
        ),
        Scenario::new("failures::an_address_that_nobody_tells_stays_a_finding", |c| {
            Box::pin(address_never_told(c))
        }),
        Scenario::new("failures::two_pods_at_once_come_back", |c| Box::pin(two_pods(c))),
        Scenario::new("failures::all_pods_at_once_come_back", |c| Box::pin(all_pods(c))),
        Scenario::new("failures::a_restarted_primary_is_told_from_the_remaining_members", |c| {
            Box::pin(primary(c, false))
        }),
        Scenario::new("failures::a_deleted_primary_is_told_from_the_remaining_members", |c| {
            Box::pin(primary(c, true))
        }),
        Scenario::new("failures::a_stopped_node_is_told_and_nothing_is_forced", |c| {
            Box::pin(node_stopped(c))
        }),
        Scenario::new("failures::a_lost_volume_is_replaced_by_a_fresh_join", |c| {
            Box::pin(volume_lost(c))
        }),
        Scenario::new("failures::the_primarys_lost_volume_needs_a_person", |c| {
            Box::pin(primary_volume_lost(c))
        })
        .disturbed(),
    ];
    all.extend(during_a_join());
    all.extend(during_a_disjoin());
    all
}

fn during_a_join() -> Vec<Scenario> {
    let faults: [(&str, Value, usize); 8] = [
        ("crashes_before_it_is_listed", json!({"fault": "crash", "effect": "join_started"}), 2),
        ("crashes_after_it_is_listed", json!({"fault": "crash", "effect": "member_listed"}), 2),
        ("crashes_when_it_has_joined", json!({"fault": "crash", "effect": "joined"}), 1),
        ("fails_early", json!({"fault": "fail_task", "command": "Join"}), 2),
        ("fails_late_and_leaves_a_ghost", json!({"fault": "ghost_after_failed_join"}), 2),
        ("is_lost", json!({"fault": "lose_task", "command": "Join"}), 1),
        ("is_stuck", json!({"fault": "stuck_task", "command": "Join"}), 2),
        ("only_says_that_it_succeeded", json!({"fault": "false_success", "command": "Join"}), 2),
    ];
    let named = faults.map(|(name, mut fault, joins)| {
        fault["count"] = json!(1);
        Scenario::new(format!("failures::a_join_that_{name}_is_made_good"), move |c| {
            Box::pin(join_fails(c, fault.clone(), joins))
        })
    });
    named.into()
}

fn during_a_disjoin() -> Vec<Scenario> {
    let survivor = |name: &str, mut fault: Value, starts: usize| {
        fault["count"] = json!(1);
        Scenario::new(format!("failures::a_disjoin_{name}_is_made_good"), move |c| {
            Box::pin(disjoin_fails(c, "c-0", fault.clone(), starts))
        })
    };
    vec![
        survivor(
            "whose_survivor_crashes",
            json!({"fault": "crash", "effect": "disjoin_started"}),
            2,
        ),
        survivor("that_fails", json!({"fault": "fail_task", "command": "Disjoin"}), 2),
        survivor("that_is_lost", json!({"fault": "lose_task", "command": "Disjoin"}), 2),
        survivor("that_is_stuck", json!({"fault": "stuck_task", "command": "Disjoin"}), 2),
        survivor(
            "that_only_says_that_it_succeeded",
            json!({"fault": "false_success", "command": "Disjoin"}),
            2,
        ),
        Scenario::new("failures::a_disjoin_whose_leaving_member_crashes_ends", |c| {
            Box::pin(leaving_member_crashes(c))
        }),
        Scenario::new("failures::a_disjoined_member_that_reappears_is_removed_again", |c| {
            Box::pin(reappears(c))
        }),
    ]
}

async fn restarts(c: &Context, pod: &str) -> Result<u64> {
    let pod = c.get(Kind::Pod, pod).await?;
    Ok(pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0))
}

async fn container_restart(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    let since = Timestamp::now();
    c.fault("c-1", json!({"fault": "crash", "count": 1})).await?;
    c.wait("c-1 to be started again", MINUTE, async || {
        Ok(Seen::when(restarts(c, "c-1").await? == 1, || "not restarted".to_owned()))
    })
    .await?;
    let told = |cache: &Value| is_true(cache, "Degraded", None) && !is_true(cache, "Ready", None);
    c.wait("the crash to be told", MINUTE, async || {
        let saw = c.history.saw(Kind::Cache, "c", since, told);
        Ok(Seen::when(saw, || "no Degraded since the crash".to_owned()))
    })
    .await?;
    c.ready("c", 3, REPAIR).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined again");
    Ok(())
}

async fn pod_deleted(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let (since, former) = (Timestamp::now(), c.address("c-1").await?);
    c.delete(Kind::Pod, "c-1").await?;
    c.wait("AddressChanged to be told", MINUTE, async || {
        let changed = |cache: &Value| is_true(cache, "Degraded", Some("AddressChanged"));
        let saw = c.history.saw(Kind::Cache, "c", since, changed);
        Ok(Seen::when(saw, || "never since the deletion".to_owned()))
    })
    .await?;
    c.ready("c", 2, REPAIR).await?;
    ensure!(former != c.address("c-1").await?, "the pod came back at its former address");
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined again");
    Ok(())
}

/// An entrypoint that tells nobody: the finding stays, nothing is done about it, and it ends when a
/// better entrypoint is there.
async fn address_never_told(c: &Context) -> Result {
    let map =
        |script: &str| json!({"metadata": {"name": "own"}, "data": {"entrypoint.sh": script}});
    c.apply(Kind::ConfigMap, map("#!/bin/bash\nexec /entrypoint.sh \"$@\"\n")).await?;
    c.create_with("c", 2, json!({"entrypointConfigMap": "own"})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.delete(Kind::Pod, "c-1").await?;
    let changed = ("Degraded", "True", "AddressChanged");
    c.wait_condition(Kind::Cache, "c", changed, MINUTE).await?;
    let started = c.count("join_started", "")?;
    let better = "#!/bin/bash\nij <<< \"UPDATE member SET ip = '$IP';\" &\nexec /entrypoint.sh\n";
    c.apply(Kind::ConfigMap, map(better)).await?;
    c.delete(Kind::Pod, "c-1").await?;
    c.ready("c", 2, REPAIR).await?;
    ensure!(c.count("join_started", "")? == started, "a member was joined again");
    Ok(())
}

async fn two_pods(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    c.entries_are_lost("both members that a partition and its only replica are in may have ended");
    let since = Timestamp::now();
    c.delete(Kind::Pod, "c-1").await?;
    c.delete(Kind::Pod, "c-2").await?;
    told_unready(c, since).await?;
    c.ready("c", 3, REPAIR).await?;
    ensure!(c.count("join_started", "")? == 2, "a member was joined again");
    Ok(())
}

async fn all_pods(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.entries_are_lost("all members ended, and entries live in their memory");
    let since = Timestamp::now();
    c.delete(Kind::Pod, "c-0").await?;
    c.delete(Kind::Pod, "c-1").await?;
    told_unready(c, since).await?;
    c.ready("c", 2, REPAIR).await?;
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    Ok(())
}

async fn told_unready(c: &Context, since: Timestamp) -> Result {
    c.wait("the loss to be told", MINUTE, async || {
        let saw = c.history.saw(Kind::Cache, "c", since, |cache| !is_true(cache, "Ready", None));
        Ok(Seen::when(saw, || "Ready all the time".to_owned()))
    })
    .await
}

/// While the primary is away, the status goes on from what the other members say, and says that the
/// primary is not online.
async fn primary(c: &Context, deleted: bool) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    let since = Timestamp::now();
    if deleted {
        c.delete(Kind::Pod, "c-0").await?;
    } else {
        c.fault("c-0", json!({"fault": "crash", "count": 1})).await?;
    }
    c.wait("the status without the primary", MINUTE, async || {
        let without = |cache: &Value| {
            cache["status"]["members"] == 3
                && cache["status"]["online"] == 2
                && member(cache, "c-0")["online"] == "False"
                && member(cache, "c-1")["online"] == "True"
        };
        let saw = c.history.saw(Kind::Cache, "c", since, without);
        Ok(Seen::when(saw, || "not told since".to_owned()))
    })
    .await?;
    c.ready("c", 3, REPAIR).await?;
    ensure!(c.count("join_started", "")? == 2, "a member was joined again");
    Ok(())
}

fn member<'a>(cache: &'a Value, name: &str) -> &'a Value {
    let states = cache["status"]["memberStates"].as_array();
    let found = states.and_then(|states| states.iter().find(|state| state["name"] == name));
    found.unwrap_or(&Value::Null)
}

/// A Node without power: the operator tells it and forces nothing. When the Node is back, so is the
/// member.
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
    c.create_with("c", 2, json!({"pod": pod})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let object = c.get(Kind::Pod, "c-1").await?;
    let node = object["spec"]["nodeName"].as_str().context("c-1 has no Node")?.to_owned();
    let uid = object["metadata"]["uid"].clone();
    set_node(c, &node, false).await?;
    let stopped = c
        .wait_for(Kind::Cache, "c", "the lost node, and what to do", MINUTE, |cache| {
            let Some(told) = condition(cache, "Degraded") else { return false };
            let message = told["message"].as_str().unwrap_or_default();
            told["reason"] == "NodeLost" && message.contains("kubectl delete pod c-1")
        })
        .await;
    let lost = c
        .wait_for(Kind::Pod, "c-1", "being evicted", MINUTE, |pod| {
            !pod["metadata"]["deletionTimestamp"].is_null()
        })
        .await;
    let still = c.get(Kind::Pod, "c-1").await;
    set_node(c, &node, true).await?;
    stopped?;
    lost?;
    ensure!(still?["metadata"]["uid"] == uid, "the pod of a stopped Node was forced away");
    c.ready("c", 2, REPAIR).await
}

pub(super) async fn set_node(c: &Context, node: &str, runs: bool) -> Result {
    let url = format!("http://{}/nodes/{node}", c.stage.world.faults_address());
    let request = match runs {
        true => c.stage.http.delete(url),
        false => c.stage.http.post(url).body(json!({"fault": "stop"}).to_string()),
    };
    request.send().await?.error_for_status()?;
    Ok(())
}

/// A member comes back with an empty volume: its entry goes, and it joins afresh.
async fn volume_lost(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    lose_volume(c, "c-1").await?;
    // The operator may not have seen the loss yet, and then it still tells what was before.
    c.wait("the second join of c-1", REPAIR, async || {
        let joins = c.count("joined", "c-1")?;
        Ok(Seen::when(joins == 2, || format!("{joins} joins")))
    })
    .await?;
    c.ready("c", 3, REPAIR).await?;
    ensure!(c.count("joined", "c-1")? == 2, "c-1 did not join afresh");
    ensure!(c.count("joined", "c-2")? == 1, "c-2 was joined again");
    Ok(())
}

pub(super) async fn lose_volume(c: &Context, pod: &str) -> Result {
    let claim = format!("vol-{pod}");
    let object = c.get(Kind::Claim, &claim).await?;
    let uid = object["metadata"]["uid"].as_str().context("no claim")?.to_owned();
    c.allow(|allowed| allowed.deleted_claims.push(uid.clone()));
    c.delete(Kind::Claim, &claim).await?;
    c.delete(Kind::Pod, pod).await?;
    c.wait_for(Kind::Claim, &claim, "made anew", MINUTE, |claim| {
        !claim.is_null() && claim["metadata"]["uid"] != uid.as_str()
    })
    .await
    .map(drop)
}

async fn primary_volume_lost(c: &Context) -> Result {
    // A replica would take over.
    c.create_with("c", 2, json!({"replication": {"mode": "Off"}})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    lose_volume(c, "c-0").await?;
    let lost = ("NeedsAttention", "True", "PrimaryVolumeLost");
    c.wait_condition(Kind::Cache, "c", lost, REPAIR).await?;
    ensure!(c.count("join_started", "")? == 1, "something was joined");
    ensure!(c.count("disjoin_started", "")? == 0, "something was disjoined");
    let cache = c.get(Kind::Cache, "c").await?;
    let ready = condition(&cache, "Ready").map(|ready| ready["status"].clone());
    ensure!(ready != Some(json!("True")), "Ready without its primary's volume");
    Ok(())
}

async fn join_fails(c: &Context, fault: Value, joins: usize) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.fault("c-1", fault).await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, REPAIR).await?;
    let started = c.count("join_started", "c-1")?;
    ensure!(started <= joins.max(2), "c-1 was joined {started} times");
    c.clear_faults("c-1").await
}

async fn disjoin_fails(c: &Context, survivor: &str, fault: Value, starts: usize) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.fault(survivor, fault).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, REPAIR).await?;
    let started = c.count("disjoin_started", "c-1")?;
    ensure!(started <= starts, "the disjoin of c-1 was started {started} times");
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}

async fn leaving_member_crashes(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.resize("c", 1).await?;
    until(c, "disjoin_started", "c-1").await?;
    c.fault("c-1", json!({"fault": "crash", "count": 1})).await?;
    c.ready("c", 1, REPAIR).await?;
    ensure!(c.count("disjoin_started", "c-1")? == 1, "c-1 was disjoined more than once");
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}

/// The group lists a member again that had left: its claim must not go before it is out for good.
async fn reappears(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.fault("c-0", json!({"fault": "reappear", "command": "Disjoin", "count": 1})).await?;
    c.resize("c", 1).await?;
    until(c, "member_reappeared", "c-1").await?;
    c.ready("c", 1, REPAIR).await?;
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}
