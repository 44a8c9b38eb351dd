//! Nothing waits without a condition: for as long as an operator runs, the status answers to the spec
//! and says why the cache, the grid or the template is not Ready.

use super::{Finding, WAIT};
use crate::act::Kind;
use crate::evidence::{Change, Evidence};

/// How long the status may say nothing while an operator runs: several polls, a start and a
/// take-over on a loaded machine.
const SILENT_US: i64 = 40_000_000;

/// Each object is told of.
pub(super) fn are_told(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for kind in [Kind::Cache, Kind::Grid, Kind::Template] {
        for name in evidence.names(kind) {
            found.extend(of(evidence, kind, &name));
        }
    }
    found
}

/// The first long silence about one object.
fn of(evidence: &Evidence, kind: Kind, name: &str) -> Option<Finding> {
    let mut silent: Option<(i64, String)> = None;
    let changes: Vec<&Change> = evidence.changes_of(kind, name).collect();
    let last_us = evidence.end.quiet_us.map_or(evidence.end.healed_us, |quiet| quiet.1);
    for (at, change) in changes.iter().enumerate() {
        let until_us = changes.get(at + 1).map_or(last_us, |next| next.at_us);
        let Some(why) = silence(change) else {
            silent = None;
            continue;
        };
        let (since_us, _) = silent.get_or_insert((change.at_us, why.to_owned()));
        // Within the silence there must be a stretch that an operator had to end it.
        if ran_long(evidence, *since_us, until_us) {
            let told = format!("{kind:?} {name}: {why} for over {} s", SILENT_US / 1_000_000);
            return Some(Finding::new(WAIT, format!("{kind:?}: {why}"), told));
        }
    }
    None
}

/// Why the object's status says nothing; none when it says something.
fn silence(change: &Change) -> Option<&'static str> {
    if change.is_going() {
        return None;
    }
    let Some(ready) = change.condition("Ready") else { return Some("no condition Ready") };
    if !change.is_current() {
        return Some("the status answers to a former spec");
    }
    let text = |field: &str| ready[field].as_str().unwrap_or_default();
    if text("reason").is_empty() || (text("status") != "True" && text("message").is_empty()) {
        return Some("no reason or no message");
    }
    None
}

/// Whether an operator ran for so long within a time.
fn ran_long(evidence: &Evidence, from_us: i64, to_us: i64) -> bool {
    let starts = evidence.seen.lives.iter().map(|life| life.from_us);
    let thaws = evidence.seen.frozen.iter().map(|(_, thawed)| *thawed);
    let mut starts: Vec<i64> = starts.chain(thaws).chain([from_us]).collect();
    starts.sort_unstable();
    starts.into_iter().filter(|start| *start >= from_us).any(|start| {
        let end = start + SILENT_US;
        end <= to_us && evidence.operator_ran(start, end)
    })
}

#[cfg(test)]
mod tests {
    use super::super::WAIT;
    use super::super::samples::*;

    #[test]
    fn a_cache_that_nothing_is_told_of_is_found_only_while_an_operator_runs() {
        let mut evidence = sound();
        for change in &mut evidence.seen.changes {
            if change.name == "c" && change.kind == crate::act::Kind::Cache {
                change.object["status"]["conditions"][0]["reason"] = "".into();
            }
        }
        assert_eq!(rules(&evidence), [WAIT]);
        evidence.seen.lives.clear();
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }

    #[test]
    fn a_status_that_answers_to_a_former_spec_is_found() {
        let mut evidence = sound();
        let mut change = cache(seconds(60), 2, true);
        change.object["metadata"]["generation"] = 7.into();
        evidence.seen.changes.push(change);
        assert_eq!(rules(&evidence), [WAIT]);
        let again = cache(seconds(70), 2, true);
        evidence.seen.changes.push(again);
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }
}
