//! The members' API misbehaves: answers that are lost, late, wrong, endless, forbidden or not there.

use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use super::scale::until;
use crate::context::{Context, Kind, Seen, is_true};
use crate::{Result, Scenario};

const CHANGE: Duration = Duration::from_secs(150);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![
        Scenario::new("faults::tasks_without_descriptions_are_still_told_apart", |c| {
            Box::pin(hidden_descriptions(c))
        }),
        Scenario::new("faults::a_foreign_task_is_waited_for_and_never_cancelled", |c| {
            Box::pin(foreign_task(c))
        }),
        Scenario::new("faults::refused_credentials_are_told_and_recover", |c| Box::pin(denied(c))),
        Scenario::new("faults::members_that_disagree_stop_everything_until_they_agree", |c| {
            Box::pin(split_view(c))
        }),
        Scenario::new("faults::a_late_disjoin_is_not_sent_again_after_a_long_rest", |c| {
            Box::pin(late_after_rest(c))
        }),
        Scenario::new("faults::a_group_that_hangs_is_told_and_nothing_is_done", |c| {
            Box::pin(hangs(c))
        }),
    ];
    let lost = [
        ("whose_answer_is_lost", json!({"fault": "drop_reply"})),
        ("that_comes_late", json!({"fault": "late", "ms": 2600})),
        ("that_is_answered_late", json!({"fault": "slow", "ms": 2600})),
        ("that_a_proxy_sends_twice", json!({"fault": "duplicate"})),
        ("that_is_answered_with_a_page", json!({"fault": "garbage", "kind": "html"})),
        ("that_is_answered_with_half_a_text", json!({"fault": "garbage", "kind": "cut_json"})),
        ("that_is_answered_with_other_json", json!({"fault": "garbage", "kind": "wrong_json"})),
        ("that_is_answered_without_end", json!({"fault": "huge"})),
        ("that_is_dropped", json!({"fault": "reset"})),
        ("that_is_answered_with_503", json!({"fault": "status", "code": 503})),
    ];
    for (name, mut fault) in lost {
        fault["count"] = json!(1);
        fault["method"] = json!("POST");
        let disjoin = fault.clone();
        all.push(Scenario::new(format!("faults::a_join_{name}_happens_once"), move |c| {
            Box::pin(join_with(c, fault.clone()))
        }));
        all.push(Scenario::new(format!("faults::a_disjoin_{name}_happens_once"), move |c| {
            Box::pin(disjoin_with(c, disjoin.clone()))
        }));
    }
    let reads = [
        ("pages", json!({"fault": "garbage", "kind": "html"})),
        ("half_texts", json!({"fault": "garbage", "kind": "cut_json"})),
        ("endless_bodies", json!({"fault": "huge"})),
        ("errors", json!({"fault": "status", "code": 500})),
        ("redirects", json!({"fault": "status", "code": 302, "location": "https://127.0.0.1:1/"})),
    ];
    for (name, mut fault) in reads {
        fault["method"] = json!("GET");
        all.push(Scenario::new(format!("faults::{name}_are_no_answer"), move |c| {
            Box::pin(unreadable(c, fault.clone()))
        }));
    }
    all
}

async fn join_with(c: &Context, mut fault: Value) -> Result {
    fault["command"] = json!("Join");
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.fault("c-1", fault).await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    ensure!(c.faults("c-1").await?.is_empty(), "the fault never applied");
    Ok(())
}

async fn disjoin_with(c: &Context, mut fault: Value) -> Result {
    fault["command"] = json!("Disjoin");
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.fault("c-0", fault).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    ensure!(c.count("disjoin_started", "c-1")? == 1, "c-1 was disjoined more than once");
    ensure!(c.faults("c-0").await?.is_empty(), "the fault never applied");
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}

/// Two equal observations prove something only from after the request: that the world had been the
/// same for long before it was sent says nothing about it.
async fn late_after_rest(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    crate::oracle::at_rest(c).await?;
    let late = json!({
        "fault": "late", "ms": 3000, "count": 1, "method": "POST", "command": "Disjoin",
    });
    c.fault("c-0", late).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    let calls = c.calls()?;
    let sent = calls.iter().filter(|call| {
        call.method == "POST" && call.command.contains("Disjoin") && call.path.ends_with("/task")
    });
    ensure!(sent.count() == 1, "the request was sent again while it could still take effect");
    c.gone(Kind::Claim, "vol-c-1", MINUTE).await
}

/// All members' reads go wrong for a while: nothing is done, nothing is told as healthy, and it is
/// over when they are readable again.
async fn unreadable(c: &Context, fault: Value) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let before = c.records()?.len();
    for pod in ["c-0", "c-1"] {
        c.fault(pod, fault.clone()).await?;
    }
    let unseen = ("GroupReachable", "", "");
    let told = |cache: &Value| !is_true(cache, unseen.0, None) && !is_true(cache, "Ready", None);
    c.wait_for(Kind::Cache, "c", "unreachable", MINUTE, told).await?;
    c.resize("c", 1).await?;
    let current = |cache: &Value| {
        cache["status"]["observedGeneration"] == cache["metadata"]["generation"]
            && !is_true(cache, "Ready", None)
    };
    c.wait_for(Kind::Cache, "c", "seen and not ready", MINUTE, current).await?;
    ensure!(c.count("disjoin_started", "")? == 0, "a disjoin was started without a view");
    for pod in ["c-0", "c-1"] {
        c.clear_faults(pod).await?;
    }
    c.ready("c", 1, CHANGE).await?;
    ensure!(c.records()?.len() > before, "nothing was recorded");
    Ok(())
}

async fn hidden_descriptions(c: &Context) -> Result {
    for pod in ["c-0", "c-1"] {
        c.fault(pod, json!({"fault": "hide_descriptions"})).await?;
    }
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.resize("c", 2).await?;
    until(c, "join_started", "c-1").await?;
    c.kill_operator().await?;
    c.start_operator().await?;
    c.ready("c", 2, CHANGE).await?;
    c.resize("c", 1).await?;
    until(c, "disjoin_started", "c-1").await?;
    c.kill_operator().await?;
    c.start_operator().await?;
    c.ready("c", 1, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    ensure!(c.count("disjoin_started", "c-1")? == 1, "c-1 was disjoined more than once");
    Ok(())
}

/// A person runs a task: nothing of ours is started beside it, and it is left alone.
async fn foreign_task(c: &Context) -> Result {
    c.allow(|allowed| allowed.foreign_tasks = true);
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let stuck = json!({"fault": "stuck_task", "command": "RestartServers", "count": 1});
    c.fault("c-0", stuck).await?;
    let task = json!({
        "command": "RestartServersTaskCommand",
        "description": "a person at the console",
        "parameters": {"restartGridServers": "false", "memberName": "c-1"},
    });
    let answer = c.post("c-0", "/task", task).await?;
    let id = answer["taskId"].as_u64().unwrap_or(0);
    c.resize("c", 1).await?;
    c.wait_for(Kind::Cache, "c", "ForeignTask", MINUTE, |cache| {
        let conditions = cache["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["reason"] == "ForeignTask"))
    })
    .await?;
    // Longer than a task of ours may stand still before it is cancelled.
    let since = Timestamp::now();
    c.wait("the stall time of a task of ours to pass", MINUTE, async || {
        let passed = Timestamp::now().duration_since(since).as_secs() >= 13;
        Ok(Seen::when(passed, || "not yet".to_owned()))
    })
    .await?;
    ensure!(c.count("task_cancelled", "")? == 0, "another person's task was cancelled");
    ensure!(c.count("disjoin_started", "")? == 0, "a disjoin was started beside another task");
    c.put("c-0", &format!("/task/cancel/{id}/force"), json!({})).await?;
    c.ready("c", 1, CHANGE).await
}

async fn denied(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    for pod in ["c-0", "c-1"] {
        c.fault(pod, json!({"fault": "deny_auth"})).await?;
    }
    c.wait_for(Kind::Cache, "c", "CredentialsInvalid", MINUTE, |cache| {
        let conditions = cache["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["reason"] == "CredentialsInvalid"))
    })
    .await?;
    for pod in ["c-0", "c-1"] {
        c.clear_faults(pod).await?;
    }
    c.ready("c", 2, CHANGE).await
}

async fn split_view(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    c.fault("c-1", json!({"fault": "split_view", "omit": "c-2"})).await?;
    c.resize("c", 2).await?;
    c.wait_for(Kind::Cache, "c", "not Ready", MINUTE, |cache| !is_true(cache, "Ready", None))
        .await?;
    c.wait_for(Kind::Cache, "c", "the resize seen", MINUTE, |cache| {
        cache["status"]["observedGeneration"] == cache["metadata"]["generation"]
    })
    .await?;
    ensure!(c.count("disjoined", "")? == 0, "a member left while the members disagreed");
    c.clear_faults("c-1").await?;
    c.ready("c", 2, CHANGE).await
}

async fn hangs(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    for pod in ["c-0", "c-1"] {
        c.fault(pod, json!({"fault": "hang"})).await?;
    }
    let told =
        |cache: &Value| !is_true(cache, "GroupReachable", None) && !is_true(cache, "Ready", None);
    c.wait_for(Kind::Cache, "c", "unreachable", MINUTE, told).await?;
    for pod in ["c-0", "c-1"] {
        c.clear_faults(pod).await?;
    }
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    Ok(())
}
