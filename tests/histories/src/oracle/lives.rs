//! Lives of members: from when to when a container ran, and whether it was ready.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::act::Kind;
use crate::evidence::{Change, Evidence};

/// A container that ran in a member's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Its id.
    pub(super) container: String,
    /// When it was first seen to run.
    pub(super) from_us: i64,
    /// When it was first seen not to run any more; none when it runs.
    pub(super) to_us: Option<i64>,
    /// From when to when its pod was ready without a break.
    pub(super) ready: Vec<(i64, Option<i64>)>,
}

/// All lives of one member, oldest first.
pub(super) fn of(evidence: &Evidence, member: &str) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for change in evidence.changes_of(Kind::Pod, member) {
        take(&mut lives, change);
    }
    lives
}

fn take(lives: &mut Vec<Life>, change: &Change) {
    let at = change.at_us;
    let running = if change.gone { None } else { running(&change.object) };
    if let Some(life) = lives.last_mut()
        && life.to_us.is_none()
        && running.as_deref() != Some(life.container.as_str())
    {
        life.to_us = Some(at);
        end_readiness(life, at);
    }
    let Some(container) = running else { return };
    if lives.last().is_none_or(|life| life.to_us.is_some()) {
        lives.push(Life { container, from_us: at, ..Life::default() });
    }
    let Some(life) = lives.last_mut() else { return };
    let is_ready = change.condition("Ready").is_some_and(|ready| ready["status"] == "True")
        && !change.is_going();
    match (is_ready, life.ready.last()) {
        (true, None | Some((_, Some(_)))) => life.ready.push((at, None)),
        (false, Some((_, None))) => end_readiness(life, at),
        _ => {}
    }
}

fn end_readiness(life: &mut Life, at: i64) {
    if let Some((_, to @ None)) = life.ready.last_mut() {
        *to = Some(at);
    }
}

/// The id of the member's running container.
fn running(pod: &Value) -> Option<String> {
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    let named = statuses.iter().find(|status| status["name"] == "xsld");
    let status = named.or_else(|| statuses.first())?;
    status["state"]["running"].as_object()?;
    status["containerID"].as_str().map(str::to_owned)
}

/// Since when the member has been ready without a break at a time; none when it is not.
pub(super) fn ready_since(lives: &[Life], at_us: i64) -> Option<i64> {
    let spans = lives.iter().flat_map(|life| &life.ready);
    let covering =
        |span: &&(i64, Option<i64>)| span.0 <= at_us && span.1.is_none_or(|ended| ended >= at_us);
    spans.filter(covering).map(|span| span.0).next_back()
}

/// The members of a cache that ever had a pod.
pub(super) fn members(evidence: &Evidence, cache: &str) -> BTreeMap<u32, String> {
    let number = |name: &str| name.strip_prefix(cache)?.strip_prefix('-')?.parse::<u32>().ok();
    let pods = evidence.names(Kind::Pod).into_iter();
    pods.filter_map(|name| Some((number(&name)?, name))).collect()
}
