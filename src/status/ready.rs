//! Ready: the cache does what its spec asks for, and this was seen.

use super::conditions::Verdict;
use super::degraded::{impairment, unseen, waiting};
use super::facts::{Facts, Group};
use super::{hindrance, operation};
use crate::crd::{ConditionReason as Reason, MemberOnline};
use crate::decide::{Decision, Waiting};
use crate::validate;
use xsld_journal::event::OperationKind;
use xsld_journal::state::Operation;

/// The condition Ready. It is True only when the spec is valid, nothing is in the way, the present
/// view lists exactly the wanted members, all of them recorded, Online where their ready pods are,
/// the image is the wanted one, and no operation is open.
pub(super) fn verdict(facts: &Facts<'_>) -> Verdict {
    in_the_way(facts)
        .or_else(|| under_way(facts))
        .or_else(|| not_seen(facts))
        .or_else(|| not_complete(facts))
        .unwrap_or_else(|| {
            let size = facts.size;
            let members = if size == 1 {
                "the one member is".to_owned()
            } else {
                format!("all {size} members are")
            };
            Verdict::yes(Reason::Settled, format!("{members} Online"))
        })
}

/// What stops the cache from being ready whatever the group looks like.
fn in_the_way(facts: &Facts<'_>) -> Option<Verdict> {
    let inputs = facts.inputs;
    let refused = inputs.problems.iter().find(|problem| problem.is_of_the_api_server());
    if facts.deleting {
        let message = waiting(facts).map(|waiting| hindrance::behind(facts, waiting).1);
        let message = message.or(refused.map(|problem| problem.message.clone()));
        return Some(Verdict::no(
            Reason::Deleting,
            message.unwrap_or_else(|| "the XsldCache is being deleted".to_owned()),
        ));
    }
    if !inputs.invalid.is_empty() {
        return Some(Verdict::no(Reason::SpecInvalid, validate::summary(inputs.invalid)));
    }
    if inputs.seen.is_none() && refused.is_some() {
        let (reason, message) = unseen(facts);
        return Some(Verdict::unknown(reason, message));
    }
    let problem = inputs.problems.first()?;
    let message = match inputs.problems.len() {
        1 => problem.message.clone(),
        all => format!("{} (and {} more)", problem.message, all - 1),
    };
    Some(Verdict::no(problem.reason, message))
}

/// What runs or is waited for.
fn under_way(facts: &Facts<'_>) -> Option<Verdict> {
    let inputs = facts.inputs;
    let waiting = waiting(facts);
    // The group serves all the while that its configuration gets a replica.
    let in_service =
        |open: &&Operation| open.kind == OperationKind::ReplicationSetUp && open.parked.is_none();
    if inputs.state.operation.as_ref().is_some_and(|open| in_service(&open)) {
        return None;
    }
    if let Some(open) = &inputs.state.operation {
        let (reason, message) = match waiting {
            Some(waiting) if open.parked.is_none() => hindrance::behind(facts, waiting),
            _ => match super::cache::standstill(facts) {
                Some((reason, why)) if open.step.is_none() && open.parked.is_none() => {
                    (reason, format!("{why}: {} waits", operation::named(open)))
                }
                _ => (operation::reason(open), operation::message(open)),
            },
        };
        return Some(Verdict::no(reason, message));
    }
    if let Some(Decision::Begin { cause, .. }) = inputs.decision {
        return Some(Verdict::no(Reason::Deferred, format!("about to begin: {}", cause.reason)));
    }
    waiting.map(|waiting| waits(facts, waiting))
}

/// What is waited for without an operation; with no view and every pod ready, nothing is known.
fn waits(facts: &Facts<'_>, waiting: &Waiting) -> Verdict {
    match hindrance::behind(facts, waiting) {
        (reason @ (Reason::GroupUnreachable | Reason::Rebuilding), message)
            if facts.told.is_none() =>
        {
            Verdict::unknown(reason, message)
        }
        (reason, message) => Verdict::no(reason, message),
    }
}

/// Why it cannot be told whether the cache is ready.
fn not_seen(facts: &Facts<'_>) -> Option<Verdict> {
    if facts.told.is_some() {
        return None;
    }
    if facts.inputs.seen.is_some() {
        if facts.group == Group::NotFormed {
            return Some(Verdict::no(Reason::Bootstrapping, "the group is not formed yet"));
        }
        // A member without a ready pod is known not to serve, whoever answers.
        if let Some((reason, message)) = impairment(facts) {
            return Some(Verdict::no(reason, message));
        }
    }
    let (reason, message) = unseen(facts);
    Some(Verdict::unknown(reason, message))
}

/// What the group has less, or more, than the spec asks for.
fn not_complete(facts: &Facts<'_>) -> Option<Verdict> {
    let inputs = facts.inputs;
    let no = |(reason, message)| Some(Verdict::no(reason, message));
    // Unlike a pause nobody has asked for that.
    if let Some(message) = super::cache::spec_older(facts) {
        return no((Reason::SpecOlder, message));
    }
    if let Some((reason, why)) = super::cache::standstill(facts)
        && let Some(what) = super::cache::unmet(facts)
    {
        return no((reason, format!("{why}: {what} waits")));
    }
    if let Some(why) = impairment(facts) {
        return no(why);
    }
    let joined = super::cache::joined(facts);
    if joined.truth != super::conditions::Truth::True {
        return Some(joined);
    }
    if let Some(what) = beyond(facts) {
        let standstill = super::cache::standstill(facts);
        return no((standstill.map_or(Reason::Deferred, |(reason, _)| reason), what));
    }
    let serving = facts.members.iter().filter(|member| member.wanted).all(|member| {
        member.online == MemberOnline::True && !member.moved() && member.has_ready_pod()
    });
    if !serving {
        return no((Reason::MemberUnreachable, "not every member is Online".to_owned()));
    }
    if let Some(update) = inputs.update.filter(|update| update.reason == Reason::RolloutHalted) {
        return no((update.reason, update.message.clone()));
    }
    if let Some(update) = inputs.update.filter(|update| update.reason == Reason::RollingImage) {
        return no((update.reason, update.message.clone()));
    }
    // A partition is what the spec asks for.
    let partitioned = inputs.update.is_some_and(|why| why.reason == Reason::PartitionReached);
    match (inputs.image, inputs.target_image) {
        (Some(current), Some(target)) if current != target && !partitioned => {
            let reason = inputs.update.map_or(Reason::RollingImage, |update| update.reason);
            let message = format!("the spec asks for image {target} and {current} is committed");
            no((reason, message))
        }
        _ => None,
    }
}

/// What is there of members that are not wanted. Between a superseded operation and the one that
/// undoes it no operation is open.
fn beyond(facts: &Facts<'_>) -> Option<String> {
    let inputs = facts.inputs;
    let replicas = inputs.seen?.stateful_set.as_ref().map_or(0, |set| set.replicas);
    if replicas > facts.size {
        return Some(format!("{replicas} replicas run and {} are wanted", facts.size));
    }
    let leaving = inputs.state.leaving.values().next_back()?;
    Some(format!("the volume of {} waits for its removal", leaving.name))
}
