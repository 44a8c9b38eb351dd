//! What was asked of the members: each effect once, and none without its intent.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use xsld_journal::event::{Step, StepKey};
use xsld_sim::calls::Call;

use super::Evidence;
use crate::Result;
use crate::context::{Context, member_of};

/// The key that a call carries, if it is one of the operator's.
pub(super) fn key_of(call: &Call) -> Option<StepKey> {
    call.key.parse().ok().map(StepKey)
}

fn changes_something(call: &Call) -> bool {
    // What is under the data port is the users' own.
    !call.method.is_empty() && call.method != "GET" && !call.path.starts_with("/wxsdata/")
}

/// Every call that asks a member to change something carries the key of an intent that was written
/// before. What a scenario itself sends, in the place of a person, carries no key.
pub(super) fn every_call_has_an_intent(evidence: &Evidence, context: &Context) -> Result {
    let by_hand = context.allowed().foreign_tasks;
    for call in evidence.calls.iter().filter(|call| changes_something(call)) {
        let what = format!("{} {} {} (line {})", call.method, call.path, call.command, call.seq);
        let Some(key) = key_of(call) else {
            ensure!(by_hand, "{what} carries no key");
            continue;
        };
        let intent = evidence
            .intents
            .get(&key)
            .with_context(|| format!("{what}: {key} was never intended"))?;
        ensure!(
            intent.time_us <= call.time.as_microsecond(),
            "{what} came before its intent, record {}",
            intent.seq
        );
    }
    Ok(())
}

/// A join takes effect once for each attempt, on the process that the intent names; an attempt that
/// is told to have succeeded did take effect.
pub(super) fn one_join_for_each_attempt(evidence: &Evidence) -> Result {
    let mut started: BTreeMap<StepKey, Vec<&Call>> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| call.effect == "join_started") {
        if let Some(key) = key_of(call) {
            started.entry(key).or_default().push(call);
        }
    }
    for (key, calls) in &started {
        let intent = evidence.intents.get(key).context("a join without an intent")?;
        let Step::JoinMember { member, .. } = &intent.step else {
            bail!("a join was started for {}", intent.step.describe());
        };
        ensure!(calls.len() == 1, "attempt {key} joined {} {} times", member.name, calls.len());
        let here = &member.incarnation;
        ensure!(
            calls[0].container_id == here.container_id && calls[0].pod_uid == here.pod_uid,
            "{} was joined in another process ({}) than intended ({})",
            member.name,
            calls[0].container_id,
            here.container_id
        );
    }
    for intent in evidence.intents_of(|step| matches!(step, Step::JoinMember { .. })) {
        let count = started.get(&intent.key).map_or(0, Vec::len);
        if evidence.succeeded(intent) {
            ensure!(count == 1, "record {}: {} never began", intent.seq, intent.step.describe());
        }
    }
    Ok(())
}

/// A departure is asked for once for each attempt, and is over once for each time that the member
/// came.
pub(super) fn one_disjoin_for_each_departure(evidence: &Evidence) -> Result {
    let mut by_key: BTreeMap<StepKey, usize> = BTreeMap::new();
    let mut present: BTreeMap<String, i32> = BTreeMap::new();
    for call in &evidence.calls {
        let member = member_of(call).to_owned();
        match call.effect.as_str() {
            "disjoin_started" => {
                if let Some(key) = key_of(call) {
                    *by_key.entry(key).or_default() += 1;
                }
            }
            "joined" | "member_listed" => {
                present.insert(member, 1);
            }
            "disjoined" => {
                let left = present.insert(member.clone(), 0);
                ensure!(left != Some(0), "{member} was disjoined twice for one departure");
            }
            _ => {}
        }
    }
    for (key, count) in by_key {
        ensure!(count == 1, "attempt {key} of a disjoin was started {count} times");
    }
    Ok(())
}

/// The operator never has two tasks running in one group, and starts none while another's runs.
pub(super) fn one_task_at_a_time(evidence: &Evidence, context: &Context) -> Result {
    const STARTED: [&str; 4] =
        ["join_started", "disjoin_started", "replication_started", "promotion_started"];
    const ENDED: [&str; 10] = [
        "joined",
        "join_failed",
        "disjoined",
        "ghost_removed",
        "disjoin_failed",
        "task_cancelled",
        "replication_configured",
        "replication_failed",
        "promoted",
        "promotion_failed",
    ];
    // Who ran a task and was killed ended it with its own end.
    let mut running: BTreeMap<&str, (&Call, &str)> = BTreeMap::new();
    for call in &evidence.calls {
        if ENDED.contains(&call.effect.as_str()) {
            running.remove(call.cache.as_str());
        }
        if !STARTED.contains(&call.effect.as_str()) {
            continue;
        }
        if let Some((former, container)) = running.get(call.cache.as_str()) {
            let lives = context.history.of(crate::context::Kind::Pod).iter().any(|change| {
                change.at >= former.time
                    && change.at <= call.time
                    && ended_in(&change.object, container)
            });
            let lost = evidence.outcomes.get(&key_of(former).unwrap_or(StepKey(uuid::Uuid::nil())));
            ensure!(
                lives || lost.is_some(),
                "{} was started (line {}) while {} ran (line {})",
                call.command,
                call.seq,
                former.command,
                former.seq
            );
        }
        running.insert(&call.cache, (call, &call.container_id));
    }
    Ok(())
}

/// Whether a pod shows that this container ended.
fn ended_in(pod: &serde_json::Value, container: &str) -> bool {
    let statuses = pod["status"]["containerStatuses"].as_array();
    let here = |status: &serde_json::Value| {
        status["lastState"]["terminated"]["containerID"] == container
            || status["state"]["terminated"]["containerID"] == container
    };
    statuses.is_some_and(|statuses| statuses.iter().any(here))
        || !pod["metadata"]["deletionTimestamp"].is_null()
}
