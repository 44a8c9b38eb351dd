//! The operator itself: ended, killed, twice, with a journal that it cannot have; and objects that
//! it must refuse or leave alone.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use xsld_sim::world::OperatorProcess;

use super::bootstrap::MINUTE;
use super::scale::until;
use crate::context::{Context, Kind, OperatorOptions, Seen, is_true};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(120);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("operators::an_ended_operator_gives_its_lease_back", |c| Box::pin(ended(c))),
        Scenario::new("operators::an_operator_ended_in_a_join_goes_on_with_it", |c| {
            Box::pin(ended_in_a_join(c))
        }),
        Scenario::new("operators::an_operator_killed_at_rest_comes_back_to_rest", |c| {
            Box::pin(killed_at_rest(c))
        }),
        Scenario::new("operators::a_frozen_operator_does_nothing_after_its_lease", |c| {
            Box::pin(frozen(c))
        }),
        Scenario::new("operators::a_second_operator_waits_for_the_lease", |c| {
            Box::pin(second_waits(c))
        }),
        Scenario::new("operators::a_journal_in_use_is_refused", |c| Box::pin(locked(c))),
        Scenario::new("operators::a_journal_that_cannot_be_written_is_refused", |c| {
            Box::pin(not_writable(c))
        })
        .without_operator(),
        Scenario::new("operators::a_journal_of_another_namespace_is_refused", |c| {
            Box::pin(of_another_namespace(c))
        })
        .without_operator(),
        Scenario::new("pods::a_changed_pod_waits_for_a_roll", |c| Box::pin(changed_pod(c))),
        Scenario::new("pods::replicas_lowered_by_hand_are_set_back", |c| Box::pin(by_hand(c))),
        Scenario::new("pods::a_deleted_stateful_set_is_made_again_and_nothing_is_lost", |c| {
            Box::pin(set_deleted(c))
        }),
        Scenario::new("pods::a_paused_cache_stops_at_a_step_boundary", |c| Box::pin(paused(c))),
        Scenario::new("pods::a_member_that_a_person_removed_is_joined_again", |c| {
            Box::pin(removed_by_hand(c))
        }),
        Scenario::new("pods::a_member_that_is_removed_again_and_again_is_left_alone", |c| {
            Box::pin(removed_for_ever(c))
        }),
        Scenario::new("pods::a_member_that_never_starts_blocks_only_itself", |c| {
            Box::pin(never_starts(c))
        }),
    ]
}

async fn holder(c: &Context) -> Result<String> {
    let leases = c.list(Kind::Lease).await?;
    let lease = leases.first().context("there is no lease")?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

async fn ended(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    ensure!(!holder(c).await?.is_empty(), "nobody holds the lease");
    let status = c.terminate_operator().await?;
    ensure!(status.success(), "the operator ended with {status}");
    ensure!(holder(c).await?.is_empty(), "the lease was not given back: {}", holder(c).await?);
    c.start_operator().await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await
}

async fn ended_in_a_join(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.resize("c", 2).await?;
    until(c, "join_started", "c-1").await?;
    let status = c.terminate_operator().await?;
    ensure!(status.success(), "the operator ended with {status}");
    c.start_operator().await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    Ok(())
}

async fn killed_at_rest(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let before = c.recorded("operation_begun")?;
    c.kill_operator().await?;
    c.start_operator().await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.recorded("operation_begun")? == before, "an operation was begun for nothing");
    Ok(())
}

/// An operator that stood still for longer than its lease, while another one took over, must not
/// act on what it knew: it ends.
async fn frozen(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.operator_may_end();
    let steps = c.recorded("step_intended")?;
    c.freeze_operator(true).await?;
    c.resize("c", 2).await?;
    take_lease(c).await?;
    c.freeze_operator(false).await?;
    let status = c.operator_ends(MINUTE).await?;
    ensure!(status.code() == Some(20), "it lost its lease and ended with {status}");
    let set = c.get(Kind::StatefulSet, "c").await?;
    ensure!(set["spec"]["replicas"] == 1, "it acted without its lease");
    ensure!(c.recorded("step_intended")? == steps, "it began a step without its lease");
    c.start_operator().await?;
    c.ready("c", 2, CHANGE).await
}

/// Takes the lease when it has run out, as an operator on another machine would.
async fn take_lease(c: &Context) -> Result {
    let lease = c
        .wait("the lease to run out", MINUTE, async || {
            let leases = c.list(Kind::Lease).await?;
            let lease = leases.into_iter().next().context("there is no lease")?;
            let renewed: jiff::Timestamp =
                lease["spec"]["renewTime"].as_str().unwrap_or_default().parse()?;
            let length = lease["spec"]["leaseDurationSeconds"].as_i64().unwrap_or(0);
            let age = jiff::Timestamp::now().duration_since(renewed).as_secs();
            Ok(match age > length {
                true => Seen::Yes(lease),
                false => Seen::NotYet(format!("renewed {age} s ago")),
            })
        })
        .await?;
    let spec = &lease["spec"];
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let change = json!({
        "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]},
        "spec": {
            "holderIdentity": "an operator on another machine",
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": spec["leaseTransitions"].as_i64().unwrap_or(0) + 1,
        },
    });
    let name = lease["metadata"]["name"].as_str().unwrap_or_default();
    c.patch(Kind::Lease, name, change).await.map(drop)
}

async fn ends(operator: &mut OperatorProcess, limit: Duration) -> Result<ExitStatus> {
    let ended = tokio::time::timeout(limit, operator.wait()).await;
    Ok(ended.with_context(|| format!("it did not end within {limit:?}"))??)
}

/// A second operator with a journal of its own stands by as long as the first one holds the lease.
async fn second_waits(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let options = OperatorOptions {
        journal_dir: Some(c.dir.join("second/journal")),
        log: Some(c.dir.join("second/operator.log")),
        ..OperatorOptions::default()
    };
    let mut second = c.spawn_operator(&options).await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(second.try_wait()?.is_none(), "the second operator ended: {}", second.log_tail(5));
    let records = crate::context::records::records(&c.dir.join("second/journal"))?;
    ensure!(records.is_empty(), "the second operator wrote {} records", records.len());
    let status = second.terminate().await?;
    ensure!(status.success(), "a waiting operator ended with {status}");
    Ok(())
}

pub(super) async fn refused(
    c: &Context,
    options: &OperatorOptions,
    code: i32,
    words: &[&str],
) -> Result {
    let mut operator = c.spawn_operator(options).await?;
    let status = ends(&mut operator, MINUTE).await?;
    let tail = operator.log_tail(3);
    ensure!(status.code() == Some(code), "it ended with {status}, and not {code}: {tail}");
    let last = crate::report::last_line(&tail);
    for word in words {
        ensure!(last.contains(word), "its last line does not say {word:?}: {last}");
    }
    Ok(())
}

async fn locked(c: &Context) -> Result {
    let options =
        OperatorOptions { log: Some(c.dir.join("second.log")), ..OperatorOptions::default() };
    let dir = c.journal_dir().display().to_string();
    refused(c, &options, 10, &[&dir]).await?;
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await
}

async fn not_writable(c: &Context) -> Result {
    // For root no mode is an obstacle, but nobody can make a directory in here.
    let dir = std::path::PathBuf::from("/sys/xsld-operator-journal");
    let options = OperatorOptions { journal_dir: Some(dir), ..OperatorOptions::default() };
    refused(c, &options, 11, &["/sys/xsld-operator-journal"]).await?;
    // Something is in the way: another reason, told as plainly.
    let file = c.dir.join("file");
    std::fs::write(&file, "no directory")?;
    let options = OperatorOptions { journal_dir: Some(file), ..OperatorOptions::default() };
    refused(c, &options, 2, &["file"]).await
}

/// A volume of another namespace's operator: it refuses to start rather than to judge this
/// namespace by it.
async fn of_another_namespace(c: &Context) -> Result {
    c.start_operator().await?;
    c.wait("the journal to begin", MINUTE, async || {
        let begun = c.recorded("epoch_begun")?;
        Ok(Seen::when(begun == 1, || format!("{begun} terms")))
    })
    .await?;
    c.terminate_operator().await?;
    let other = format!("{}-other", c.namespace);
    let api: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(c.client());
    let object = serde_json::from_value(json!({"metadata": {"name": other}}))?;
    api.create(&kube::api::PostParams::default(), &object).await?;
    let options = OperatorOptions {
        operator_namespace: Some(other.clone()),
        log: Some(c.dir.join("second.log")),
        ..OperatorOptions::default()
    };
    let outcome = refused(c, &options, 13, &["namespace"]).await;
    api.delete(&other, &kube::api::DeleteParams::default()).await?;
    outcome
}

async fn containers(c: &Context) -> Result<Vec<String>> {
    let pods = c.list(Kind::Pod).await?;
    Ok(pods
        .iter()
        .map(|pod| pod["status"]["containerStatuses"][0]["containerID"].to_string())
        .collect())
}

/// While the cache is paused another image is not rolled out: that it waits is told, and nothing
/// restarts.
async fn changed_pod(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let before = containers(c).await?;
    let change = json!({"spec": {"image": "ibmcom/xsld:8614", "paused": true}});
    c.patch(Kind::Cache, "c", change).await?;
    let waits = ("Deferred", "True", "Paused");
    let cache = c.wait_condition(Kind::Cache, "c", waits, MINUTE).await?;
    ensure!(
        cache["status"]["image"]["current"] == "ibmcom/xsld:8613",
        "{}",
        cache["status"]["image"]
    );
    ensure!(
        cache["status"]["image"]["target"] == "ibmcom/xsld:8614",
        "{}",
        cache["status"]["image"]
    );
    // A pod that dies meanwhile does not take the new image either.
    c.delete(Kind::Pod, "c-1").await?;
    c.wait_for(Kind::Cache, "c", "all Online again", CHANGE, |cache| {
        cache["status"]["online"] == 2 && is_true(cache, "GroupReachable", None)
    })
    .await?;
    let pod = c.get(Kind::Pod, "c-1").await?;
    let image = &pod["spec"]["containers"][0]["image"];
    ensure!(*image == "ibmcom/xsld:8613", "c-1 came back with {image}");
    let first = c.get(Kind::Pod, "c-0").await?;
    let container = first["status"]["containerStatuses"][0]["containerID"].to_string();
    ensure!(before.contains(&container), "c-0 was restarted");
    let change = json!({"spec": {"image": "ibmcom/xsld:8613", "paused": false}});
    c.patch(Kind::Cache, "c", change).await?;
    c.ready("c", 2, CHANGE).await
}

/// Somebody lowers the replicas of the StatefulSet: they are set back, and no claim goes.
async fn by_hand(c: &Context) -> Result {
    c.allow(|allowed| allowed.scaled_by_hand = true);
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let claim = c.get(Kind::Claim, "vol-c-1").await?;
    let former = c.get(Kind::Pod, "c-1").await?;
    match c.kubectl(&["scale", "statefulset/c", "--replicas=1"]).await? {
        Some(said) => ensure!(said.success, "kubectl scale: {}", said.stderr),
        None => drop(c.patch(Kind::StatefulSet, "c", json!({"spec": {"replicas": 1}})).await?),
    }
    c.wait("the change to be told", MINUTE, async || {
        Ok(Seen::when(c.history.told("ReplicasChanged"), || "no Event yet".to_owned()))
    })
    .await?;
    made_again(c, "c-1", &former).await?;
    c.ready("c", 2, CHANGE).await?;
    let after = c.get(Kind::Claim, "vol-c-1").await?;
    ensure!(claim["metadata"]["uid"] == after["metadata"]["uid"], "the claim went");
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    ensure!(c.count("disjoin_started", "")? == 0, "a member was disjoined");
    Ok(())
}

/// Waits until another pod of this name runs and the cache's status has told that it was away.
async fn made_again(c: &Context, pod: &str, former: &Value) -> Result {
    c.wait_for(Kind::Pod, pod, "made again", MINUTE, |pod| {
        !pod.is_null() && pod["metadata"]["uid"] != former["metadata"]["uid"]
    })
    .await?;
    c.wait_for(Kind::Cache, "c", "no longer Ready", MINUTE, |cache| !is_true(cache, "Ready", None))
        .await
        .map(drop)
}

async fn set_deleted(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.entries_are_lost("its pods go with it, and entries live in their memory");
    let former = c.get(Kind::StatefulSet, "c").await?;
    let pod = c.get(Kind::Pod, "c-0").await?;
    c.delete(Kind::StatefulSet, "c").await?;
    c.wait_for(Kind::StatefulSet, "c", "made again", MINUTE, |set| {
        !set.is_null() && set["metadata"]["uid"] != former["metadata"]["uid"]
    })
    .await?;
    made_again(c, "c-0", &pod).await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    Ok(())
}

async fn paused(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.patch(Kind::Cache, "c", json!({"spec": {"size": 3}})).await?;
    until(c, "join_started", "c-1").await?;
    c.patch(Kind::Cache, "c", json!({"spec": {"paused": true}})).await?;
    until(c, "joined", "c-1").await?;
    let paused = |cache: &Value| {
        let conditions = cache["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["reason"] == "Paused"))
    };
    c.wait_for(Kind::Cache, "c", "Paused", MINUTE, paused).await?;
    // The step in flight came to its end, and no other began.
    ensure!(c.count("join_started", "c-2")? == 0, "c-2 was joined in a pause");
    c.patch(Kind::Cache, "c", json!({"spec": {"paused": false}})).await?;
    c.ready("c", 3, CHANGE).await
}

/// A person takes a member out in the console: it is wanted, so it is joined again.
async fn removed_by_hand(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    remove(c, 1).await?;
    joins_again(c, 2).await
}

/// A person removes c-1 for the `nth` time.
async fn remove(c: &Context, nth: usize) -> Result {
    let task = json!({
        "command": "MemberDisjoinTaskCommand",
        "description": "a person at the console",
        "parameters": {"memberName": "c-1"},
    });
    c.post("c-0", "/task", task).await?;
    c.wait("c-1 to be removed", CHANGE, async || {
        let removed = c.count("disjoined", "c-1")?;
        Ok(Seen::when(removed == nth, || format!("removed {removed} times")))
    })
    .await
}

async fn joins_again(c: &Context, times: usize) -> Result {
    c.wait("c-1 to join again", CHANGE, async || {
        let joined = c.count("joined", "c-1")?;
        Ok(Seen::when(joined == times, || format!("joined {joined} times")))
    })
    .await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("joined", "c-1")? == times, "c-1 did not join again");
    Ok(())
}

/// Somebody takes it out each time that it is back: after three repairs a person is told, also by an
/// operator that was killed meanwhile, and another spec begins anew.
async fn removed_for_ever(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    for nth in 1..=3 {
        remove(c, nth).await?;
        joins_again(c, nth + 1).await?;
    }
    remove(c, 4).await?;
    let asked = ("NeedsAttention", "True", "NotConverging");
    c.wait_condition(Kind::Cache, "c", asked, CHANGE).await?;
    let steps = c.recorded("step_intended")?;
    c.kill_operator().await?;
    c.start_operator().await?;
    c.wait_condition(Kind::Cache, "c", ("Ready", "False", "NotConverging"), CHANGE).await?;
    ensure!(c.recorded("step_intended")? == steps, "it was put right once more");
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * CHANGE).await?;
    ensure!(c.count("joined", "c-1")? == 5, "c-1 did not join for the new spec");
    Ok(())
}

/// A member whose pod cannot be placed: the others serve, the condition says so, and the cache can
/// be made smaller again.
async fn never_starts(c: &Context) -> Result {
    let pod =
        json!({"antiAffinity": "Required", "nodeSelector": {"kubernetes.io/hostname": "node-1"}});
    c.create_with("c", 1, json!({"pod": pod})).await?;
    c.ready("c", 1, MINUTE).await?;
    c.resize("c", 2).await?;
    let waits = |cache: &Value| {
        cache["status"]["observedGeneration"] == cache["metadata"]["generation"]
            && is_true(cache, "Progressing", None)
            && cache["status"]["online"] == 1
    };
    c.wait_for(Kind::Cache, "c", "waiting for a pod", MINUTE, waits).await?;
    c.wait_for(Kind::Pod, "c-1", "unschedulable", MINUTE, |pod| {
        pod["status"]["conditions"].as_array().is_some_and(|all| {
            all.iter().any(|one| one["type"] == "PodScheduled" && one["status"] == "False")
        })
    })
    .await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}
