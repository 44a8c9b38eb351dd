//! What keeps a member's pod from being there or from starting, in the words of who knows it.

use super::facts::{Facts, Member};
use super::fit::sentence;
use crate::crd::ConditionReason as Reason;
use crate::decide::Waiting;
use crate::observation::{Hindered, Hindrance};

/// Most characters of the words: a condition has more to say.
const WORDS_CHARS_MAX: usize = 360;

/// The first member that `holds` and is kept from running, with why.
pub(super) fn first(
    facts: &Facts<'_>,
    holds: impl Fn(&Member<'_>) -> bool,
) -> Option<(Reason, String)> {
    let seen = facts.inputs.seen?;
    let hindered = facts.members.iter().filter(|member| !member.has_ready_pod() && holds(member));
    hindered.into_iter().find_map(|member| {
        let hindrance = seen.hindrances.get(&member.ordinal?)?;
        Some(told(&member.name, hindrance))
    })
}

fn told(name: &str, hindrance: &Hindrance) -> (Reason, String) {
    let words = sentence(&hindrance.words, WORDS_CHARS_MAX);
    let (reason, what) = match hindrance.kind {
        Hindered::PodRefused => (Reason::PodRefused, "its pod cannot be made: "),
        Hindered::Unschedulable => (Reason::Unschedulable, "no node takes its pod: "),
        Hindered::ClaimUnbound => (Reason::ClaimUnbound, ""),
        Hindered::ImageUnavailable => (Reason::ImageUnavailable, ""),
        Hindered::ContainerFails => (Reason::ContainerFails, ""),
        Hindered::NotStarted => (Reason::WaitingForPods, "its pod does not start: "),
        Hindered::NodeLost => (Reason::NodeLost, ""),
    };
    (reason, format!("{name}: {what}{words}"))
}

/// What a decision waits for, with why where a pod that is not there or does not start is behind it.
pub(super) fn behind(facts: &Facts<'_>, waiting: &Waiting) -> (Reason, String) {
    let plain = (waiting.reason, waiting.message.clone());
    let waits_for_pods = match waiting.reason {
        Reason::WaitingForPods
        | Reason::Bootstrapping
        | Reason::MemberUnreachable
        | Reason::GroupUnreachable
        | Reason::MemberLost => true,
        Reason::RollingImage
        | Reason::RolloutHalted
        | Reason::RollingBack
        | Reason::Deleting
        | Reason::InDoubt
        | Reason::Joining
        | Reason::Rebuilding
        | Reason::AdoptionUndecided
        | Reason::StepFailed
        | Reason::ResettingMember
        | Reason::RemovingGhostMember => false,
        _ => return plain,
    };
    match first(facts, |member| member.pod.is_some() || member.wanted) {
        None => plain,
        Some((reason, why)) if waits_for_pods => (reason, format!("{}; {why}", waiting.message)),
        // What goes on is the news; why it does not go on stands beside it.
        Some((_, why)) => (waiting.reason, format!("{}; {why}", waiting.message)),
    }
}
