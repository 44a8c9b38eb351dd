//! What is told and what is: `Ready`, other people's objects, refusals.

use serde_json::Value;

use super::{FOREIGN, Finding, INVALID, READY, lives, members};
use crate::act::{Act, Kind, member_name};
use crate::evidence::{Change, Evidence};
use crate::world::Done;

/// How long `Ready` may outlive what it tells of, while an operator runs: polls, a probe that must
/// fail, and a loaded machine.
const STALE_US: i64 = 20_000_000;

/// `Ready` is not told for long of a cache whose members are not there.
pub(super) fn ready_is_true(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for cache in evidence.names(Kind::Cache) {
        let changes: Vec<&Change> = evidence.changes_of(Kind::Cache, &cache).collect();
        let last_us = evidence.end.quiet_us.map_or(evidence.end.healed_us, |quiet| quiet.1);
        // Writes that change nothing of it go on with the same claim.
        let mut since: Option<(i64, u64)> = None;
        for (at, change) in changes.iter().enumerate() {
            let Some(size) = told_ready(change) else {
                since = None;
                continue;
            };
            let from_us = match since {
                Some((from, same)) if same == size => from,
                _ => change.at_us,
            };
            since = Some((from_us, size));
            let until_us = changes.get(at + 1).map_or(last_us, |next| next.at_us);
            if let Some(lie) = lie(evidence, &cache, size, (from_us, until_us)) {
                let told = format!("{cache} was told Ready with {size} members, and {lie}");
                found.push(Finding::new(READY, "Ready", told));
                break;
            }
        }
    }
    found
}

/// The size for which the cache is told Ready.
fn told_ready(change: &Change) -> Option<u64> {
    let ready = change.condition("Ready")?;
    let holds = !change.is_going() && change.is_current() && ready["status"] == "True";
    holds.then(|| change.object["spec"]["size"].as_u64().unwrap_or(1))
}

/// A member that was missing for long within the time.
fn lie(evidence: &Evidence, cache: &str, size: u64, (from, to): (i64, i64)) -> Option<String> {
    for ordinal in 0..u32::try_from(size).ok()? {
        let member = member_name(cache, ordinal);
        let lives = lives::of(evidence, &member);
        // Looked at in steps that are short beside the bound.
        let mut at = from;
        let mut missing_from: Option<i64> = None;
        while at <= to {
            let runs = lives
                .iter()
                .any(|life| life.from_us <= at && life.to_us.is_none_or(|ended| ended > at));
            let is_there = runs && members::in_group(evidence, &member, ordinal, at);
            match (is_there, missing_from) {
                (true, _) => missing_from = None,
                (false, None) => missing_from = Some(at),
                (false, Some(since))
                    if at - since > STALE_US && evidence.operator_ran(since, at) =>
                {
                    let seconds = (at - since) / 1_000_000;
                    return Some(format!("{member} was missing for {seconds} s"));
                }
                _ => {}
            }
            at += 1_000_000;
        }
    }
    None
}

/// Nobody else's object was touched.
pub(super) fn foreign_objects_are_as_they_were(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for foreign in &evidence.seen.foreign {
        let (before, after) = (own(&foreign.before), own(&foreign.after));
        let by_hand = evidence.did(i64::MAX, |act| match act {
            Act::DeleteObject { kind, name, .. }
            | Act::RemoveLabels { kind, name }
            | Act::Annotate { kind, name } => (*kind, name) == (foreign.kind, &foreign.name),
            _ => false,
        });
        if before != after && !by_hand {
            let what = if after.is_null() { "went" } else { "was changed" };
            let told = format!("{:?} {} {what}: {before} -> {after}", foreign.kind, foreign.name);
            found.push(Finding::new(FOREIGN, format!("{:?} {what}", foreign.kind), told));
        }
    }
    found
}

/// An object without what the API server and its controllers write by themselves.
fn own(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    object
}

/// What is invalid was refused.
pub(super) fn invalid_is_refused(evidence: &Evidence) -> Vec<Finding> {
    let taken = evidence
        .played
        .iter()
        .filter(|played| matches!(played.act, Act::Invalid { .. }) && played.done == Done::Yes);
    taken
        .map(|played| {
            let subject = match &played.act {
                Act::Invalid { kind, path, .. } => format!("{kind:?}{path}"),
                _ => String::new(),
            };
            Finding::new(INVALID, subject, format!("it was taken: {}", played.act.told()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples::*;
    use super::*;
    use crate::evidence::Foreign;

    #[test]
    fn ready_without_a_member_is_found() {
        let mut evidence = sound();
        evidence.seen.changes.push(gone(pod(seconds(60), "c-1")));
        assert_eq!(rules(&evidence), [READY]);
    }

    #[test]
    fn ready_is_not_asked_for_while_no_operator_runs() {
        let mut evidence = sound();
        evidence.seen.changes.push(gone(pod(seconds(60), "c-1")));
        evidence.seen.lives[0].to_us = Some(seconds(61));
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }

    #[test]
    fn ready_with_a_member_that_the_group_let_go_is_found() {
        let mut evidence = sound();
        evidence.seen.calls.push(effect_of("c-1", "ghost_removed", 60));
        assert_eq!(rules(&evidence), [READY]);
    }

    #[test]
    fn a_foreign_object_that_changed_is_found_whatever_the_controllers_write() {
        let mut evidence = sound();
        let before = json!({"metadata": {"name": "c-held", "resourceVersion": "1"}, "data": {}});
        let mut after = before.clone();
        after["metadata"]["resourceVersion"] = "2".into();
        after["status"] = json!({"x": 1});
        let (kind, name) = (Kind::Secret, "c-held".to_owned());
        evidence.seen.foreign = vec![Foreign { kind, name, before, after }];
        assert_eq!(rules(&evidence), [] as [&str; 0]);
        evidence.seen.foreign[0].after["metadata"]["ownerReferences"] = json!([{"name": "c"}]);
        assert_eq!(rules(&evidence), [FOREIGN]);
        evidence.seen.foreign[0].after = Value::Null;
        assert_eq!(rules(&evidence), [FOREIGN]);
    }

    #[test]
    fn an_invalid_change_that_is_taken_is_found() {
        let mut evidence = sound();
        let (kind, name, path) = (Kind::Cache, "c".to_owned(), "/size".to_owned());
        let act = Act::Invalid { kind, name, path, value: json!(0) };
        evidence.played.push(played(50, act));
        assert_eq!(rules(&evidence), [INVALID]);
        let refused = Done::Refused("size must be at least 1".to_owned());
        if let Some(last) = evidence.played.last_mut() {
            last.done = refused;
        }
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }
}
