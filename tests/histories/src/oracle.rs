//! What must hold of a history. Nothing in here is the operator's word alone: the members' call log,
//! what they hold, and the API server's objects are compared with one another and with the journal.
//!
//! What would otherwise count as a fault of the operator is excused only by the act that causes it.

mod entries;
mod journal;
mod lives;
mod members;
mod operator;
mod receipts;
mod truth;
mod waits;

use crate::evidence::Evidence;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The rule, in one stable word.
    pub rule: &'static str,
    /// What it is about, without what changes from run to run: two failures with the same rule and
    /// the same subject are alike.
    pub subject: String,
    /// What was seen.
    pub told: String,
}

/// Rule: an entry is lost only when the product itself loses it.
pub const ENTRY_LOST: &str = "entry_lost";
/// Rule: no healthy member is disjoined or wiped without the spec's wish.
pub const HEALTHY_MEMBER: &str = "healthy_member_taken";
/// Rule: nobody else's object is changed.
pub const FOREIGN: &str = "foreign_object_changed";
/// Rule: `Ready` is told only when it is true.
pub const READY: &str = "ready_is_a_lie";
/// Rule: each claim's end has a true receipt.
pub const RECEIPT: &str = "receipt";
/// Rule: nothing waits without a condition.
pub const WAIT: &str = "silent_wait";
/// Rule: the journal is whole.
pub const JOURNAL: &str = "journal";
/// Rule: the goal is reached within its bound.
pub const GOAL: &str = "goal_not_reached";
/// Rule: at rest there is no request for an effect.
pub const QUIET: &str = "not_quiet";
/// Rule: the operator does not end by itself.
pub const ENDED: &str = "operator_ended";
/// Rule: what is invalid is refused.
pub const INVALID: &str = "invalid_taken";
/// Rule: what the world's own checks say at rest.
pub const WORLD: &str = "world_check";

type Rule = fn(&Evidence) -> Vec<Finding>;

const RULES: &[Rule] = &[
    entries::are_kept,
    members::healthy_ones_stay,
    truth::foreign_objects_are_as_they_were,
    truth::ready_is_true,
    receipts::are_true,
    waits::are_told,
    journal::is_whole,
    operator::does_not_end,
    truth::invalid_is_refused,
    goal_is_reached,
    rest_is_quiet,
    checks_of_the_world,
];

/// Everything that does not hold, the gravest first.
pub fn judge(evidence: &Evidence) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| rule(evidence)).collect()
}

/// How a history fails, for comparing two of them; none when it does not.
pub fn signature(findings: &[Finding]) -> Option<(&'static str, String)> {
    findings.first().map(|finding| (finding.rule, finding.subject.clone()))
}

impl Finding {
    fn new(rule: &'static str, subject: impl Into<String>, told: impl Into<String>) -> Self {
        Self { rule, subject: subject.into(), told: told.into() }
    }
}

fn goal_is_reached(evidence: &Evidence) -> Vec<Finding> {
    if evidence.end.reached_us.is_some() {
        return Vec::new();
    }
    let missing = &evidence.end.missing;
    let subject = missing.first().map_or("nothing", String::as_str);
    let subject = subject.split(" | ").next().unwrap_or(subject);
    vec![Finding::new(GOAL, subject, missing.join("\n"))]
}

fn rest_is_quiet(evidence: &Evidence) -> Vec<Finding> {
    let Some((from, to)) = evidence.end.quiet_us else { return Vec::new() };
    let asks = evidence.seen.calls.iter().filter(|call| {
        call.at_us > from
            && call.at_us < to
            && !call.method.is_empty()
            && call.method != "GET"
            && !call.path.starts_with("/wxsdata/")
    });
    asks.map(|call| {
        let what = format!("{} {} {}", call.method, call.path, call.command);
        Finding::new(QUIET, call.command.clone(), format!("{what} of {} at rest", call.member))
    })
    .collect()
}

fn checks_of_the_world(evidence: &Evidence) -> Vec<Finding> {
    let subject = |told: &str| told.split(':').next().unwrap_or_default().to_owned();
    let found = evidence.end.found.iter();
    found.map(|told| Finding::new(WORLD, subject(told), told.clone())).collect()
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use super::samples::*;
    use super::*;
    use crate::evidence::Call;

    #[test]
    fn nothing_is_found_in_a_history_in_which_all_is_well() {
        assert_eq!(judge(&sound()), []);
    }

    #[test]
    fn a_goal_that_is_not_reached_is_found() {
        let mut evidence = sound();
        evidence.end.reached_us = None;
        evidence.end.missing = vec!["c is not Ready: Degraded | no view".to_owned()];
        assert_eq!(
            signature(&judge(&evidence)),
            Some((GOAL, "c is not Ready: Degraded".to_owned()))
        );
    }

    #[test]
    fn a_request_at_rest_is_found_and_a_users_write_is_not() {
        let mut evidence = sound();
        let (from, _) = evidence.end.quiet_us.unwrap();
        let call = Call {
            at_us: from + 1,
            method: "POST".to_owned(),
            path: "/wxsdata/v1/grids/g".to_owned(),
            ..Call::default()
        };
        evidence.seen.calls.push(call.clone());
        assert_eq!(judge(&evidence), []);
        evidence.seen.calls.push(Call { path: "/wxsadmin/v1/task".to_owned(), ..call });
        assert_eq!(rules(&evidence), [QUIET]);
    }

    #[test]
    fn what_the_world_finds_at_rest_is_found() {
        let mut evidence = sound();
        evidence.end.found = vec!["a join was repeated: c-1 twice".to_owned()];
        assert_eq!(signature(&judge(&evidence)), Some((WORLD, "a join was repeated".to_owned())));
    }
}
