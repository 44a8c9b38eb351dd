//! What works with less than the spec asks for, and what cannot be seen.

use std::collections::BTreeSet;

use xsld_journal::event::{OperationKind, Step};

use super::conditions::Verdict;
use super::facts::{Facts, Group, Member};
use super::fit::names;
use super::hindrance;
use crate::crd::{ConditionReason as Reason, MemberOnline};
use crate::decide::{self, Waiting, views};
use crate::xsld::view::Answer;

/// A reason with its sentence.
pub(super) type Why = (Reason, String);

/// The condition Degraded.
pub(super) fn verdict(facts: &Facts<'_>) -> Verdict {
    if facts.deleting {
        return Verdict::no(Reason::Deleting, "the XsldCache is being deleted");
    }
    if let Some((reason, message)) = impairment(facts) {
        return Verdict::yes(reason, message);
    }
    match (facts.told, facts.group) {
        (Some(_), _) => Verdict::no(Reason::Settled, "every member of the group is Online"),
        (None, Group::NotFormed) if facts.inputs.seen.is_some() => {
            Verdict::no(Reason::Bootstrapping, "the group is not formed yet")
        }
        (None, _) => {
            let (reason, message) = unseen(facts);
            Verdict::unknown(reason, message)
        }
    }
}

/// The first thing that works with less than the spec asks for; the gravest first.
pub(super) fn impairment(facts: &Facts<'_>) -> Option<Why> {
    entrypoint(facts)
        .or_else(|| taken(facts))
        .or_else(|| volume_going(facts))
        .or_else(|| waited_for(facts))
        .or_else(|| lost(facts))
        .or_else(|| untrusted(facts))
        .or_else(|| hindered(facts))
        .or_else(|| stale(facts))
        .or_else(|| moved(facts))
        .or_else(|| offline(facts))
        .or_else(|| pods(facts))
        .or_else(|| replicas(facts))
        .or_else(|| differing(facts))
}

/// A member whose claim somebody deleted: its volume goes with its pod. Not one that a step of ours
/// takes away.
pub(super) fn volume_going(facts: &Facts<'_>) -> Option<Why> {
    let (seen, state) = (facts.inputs.seen?, facts.inputs.state);
    let waiting = facts.members.iter().find_map(|member| {
        let recorded = member.recorded.filter(|_| !facts.deleting && !is_leaving(facts, member))?;
        let claim = seen.claims.get(&member.ordinal?)?;
        (claim.uid == recorded.claim_uid)
            .then(|| views::volume_going(seen, state, member.ordinal?))?
    })?;
    Some((waiting.reason, waiting.message))
}

/// Why nobody told a view.
pub(super) fn unseen(facts: &Facts<'_>) -> Why {
    let inputs = facts.inputs;
    let in_the_way = inputs.problems.first().map(|problem| problem.message.as_str());
    if inputs.seen.is_none() {
        let why = match (inputs.invalid.is_empty(), in_the_way) {
            (false, _) => "the cache was not looked at, because its spec breaks a rule".to_owned(),
            (true, Some(message)) => format!("the cache was not looked at: {message}"),
            (true, None) => "the cache could not be looked at just now".to_owned(),
        };
        let refused = inputs.problems.iter().find(|problem| problem.is_of_the_api_server());
        return (refused.map_or(Reason::NotObserved, |problem| problem.reason), why);
    }
    if facts.group == Group::Unclear {
        let why = "a StatefulSet is there that the journal has never seen: its group is being read";
        return (Reason::Rebuilding, why.to_owned());
    }
    if let (false, Some(message)) = (inputs.asked, in_the_way) {
        return (Reason::NotObserved, format!("the members were not asked: {message}"));
    }
    if let Some(why) = refused(facts).or_else(|| untrusted(facts)) {
        return why;
    }
    if facts.deleting {
        let why = "the XsldCache is being deleted and no member answers for the group any more";
        return (Reason::Deleting, why.to_owned());
    }
    let silent = facts.members.iter().filter(|member| member.recorded.is_some());
    let silent = names(silent.map(|member| member.name.as_str()));
    (Reason::GroupUnreachable, format!("no member answers for the group: {silent}"))
}

/// Members that refuse the credentials.
pub(super) fn refused(facts: &Facts<'_>) -> Option<Why> {
    let refuses = |member: &&Member<'_>| {
        member.report.is_some_and(|report| {
            matches!(report.group, Answer::Refused { status: 401 | 403, .. })
                || matches!(report.tasks, Answer::Refused { status: 401 | 403, .. })
        })
    };
    let told = named(facts, refuses)?;
    Some((Reason::CredentialsInvalid, format!("the credentials are refused by {told}")))
}

/// What the last decision waits for; never that the spec says paused.
pub(super) fn waiting<'a>(facts: &Facts<'a>) -> Option<&'a Waiting> {
    use crate::decide::Decision;
    let waiting = match facts.inputs.decision? {
        Decision::Wait(waiting) | Decision::InDoubt(waiting) => waiting,
        Decision::Rest
        | Decision::Record(_)
        | Decision::Begin { .. }
        | Decision::Run { .. }
        | Decision::Resend { .. } => return None,
    };
    (![Reason::Paused, Reason::SpecOlder].contains(&waiting.reason)).then_some(waiting)
}

fn entrypoint(facts: &Facts<'_>) -> Option<Why> {
    let missing = |problem: &&super::Problem| problem.reason == Reason::EntrypointMissing;
    let problem = facts.inputs.problems.iter().find(missing)?;
    Some((problem.reason, problem.message.clone()))
}

/// Names of the cache that somebody else's objects bear, the gravest first.
pub(super) fn taken(facts: &Facts<'_>) -> Option<Why> {
    let taken = facts.inputs.seen?.taken.iter().filter(|taken| !taken.is_going);
    let mut taken: Vec<_> = taken.collect();
    taken.sort_by_key(|taken| taken.blocks);
    let (first, others) = taken.split_first()?;
    let told = decide::taken::told(first);
    let others: Vec<_> = others.iter().map(|it| format!("{} {}", it.kind, it.name)).collect();
    let message = match others.is_empty() {
        true => told.message,
        false => format!("{}; likewise {}", told.message, others.join(", ")),
    };
    Some((told.reason, message))
}

fn waited_for(facts: &Facts<'_>) -> Option<Why> {
    let waiting = waiting(facts)?;
    let impairs = matches!(
        waiting.reason,
        Reason::PrimaryVolumeLost
            | Reason::MemberLost
            | Reason::NotConverging
            | Reason::MemberUnreachable
            | Reason::NodeLost
            | Reason::Unschedulable
            | Reason::AddressChanged
            | Reason::CertificateChanged
            | Reason::CertificateUntrusted
    );
    impairs.then(|| hindrance::behind(facts, waiting))
}

/// A member of the group whose pod is kept from being there or from starting.
fn hindered(facts: &Facts<'_>) -> Option<Why> {
    hindrance::first(facts, |member| member.recorded.is_some() && !is_leaving(facts, member))
}

/// Wanted members that were in the group once and are not recorded any more. A member that has yet
/// to join for the first time impairs nothing.
fn lost(facts: &Facts<'_>) -> Option<Why> {
    let state = facts.inputs.state;
    let joining = match state.operation.as_ref().map(|operation| operation.kind) {
        None | Some(OperationKind::Repair) => false,
        Some(
            OperationKind::GridCreate
            | OperationKind::GridUpdate
            | OperationKind::GridDelete
            | OperationKind::GridRecover
            | OperationKind::TemplateUpload
            | OperationKind::TemplateDelete,
        ) => false,
        Some(
            OperationKind::Bootstrap
            | OperationKind::ScaleUp
            | OperationKind::ScaleDown
            | OperationKind::Delete,
        ) => true,
        Some(
            OperationKind::ReplicationSetUp
            | OperationKind::PrimarySwitch
            | OperationKind::StorageGrowth
            | OperationKind::ImageRoll,
        ) => false,
    };
    if joining || facts.group != Group::Formed {
        return None;
    }
    let committed = state.committed.replicas.unwrap_or(0);
    let is_lost = |member: &&Member<'_>| {
        member.wanted
            && member.recorded.is_none()
            && member.ordinal.is_some_and(|ordinal| ordinal < committed)
    };
    let told = named(facts, is_lost)?;
    Some((Reason::MemberLost, format!("no longer in the group: {told}")))
}

fn untrusted(facts: &Facts<'_>) -> Option<Why> {
    let not_signed = |member: &&Member<'_>| member.report.is_some_and(|report| report.not_signed);
    if let Some(told) = named(facts, not_signed) {
        let message = format!(
            "a certificate that no authority of spec.tls.caSecretRef signed is shown by {told}: \
             not spoken to"
        );
        return Some((Reason::CertificateUntrusted, message));
    }
    let told = named(facts, |member| member.is_untrusted())?;
    let message =
        format!("another certificate than the pinned one is shown by {told}: not spoken to");
    Some((Reason::CertificateChanged, message))
}

fn moved(facts: &Facts<'_>) -> Option<Why> {
    let told = named(facts, |member| member.recorded.is_some() && member.moved())?;
    Some((
        Reason::AddressChanged,
        format!("the group knows another address than the pod's of {told}"),
    ))
}

fn stale(facts: &Facts<'_>) -> Option<Why> {
    let told = facts.told.filter(|told| !told.fresh)?;
    let primary = facts.primary_name().unwrap_or_default();
    let message = format!(
        "the primary {primary} does not answer; {} tells its last known copy of the group",
        told.by
    );
    Some((Reason::MemberUnreachable, message))
}

fn offline(facts: &Facts<'_>) -> Option<Why> {
    facts.told?;
    let is_offline = |member: &&Member<'_>| {
        member.recorded.is_some()
            && !is_leaving(facts, member)
            && member.online != MemberOnline::True
    };
    let unscheduled = |member: &&Member<'_>| {
        is_offline(member)
            && member.pod.is_some_and(|pod| pod.waiting.as_deref() == Some("Unschedulable"))
    };
    if let Some(told) = named(facts, unscheduled) {
        return Some((Reason::Unschedulable, format!("no node takes the pod of {told}")));
    }
    let told = named(facts, is_offline)?;
    Some((Reason::MemberUnreachable, format!("the group does not show as Online: {told}")))
}

fn pods(facts: &Facts<'_>) -> Option<Why> {
    facts.inputs.seen?;
    let told = named(facts, |member| {
        member.recorded.is_some() && !is_leaving(facts, member) && !member.has_ready_pod()
    })?;
    Some((Reason::WaitingForPods, format!("no ready pod: {told}")))
}

/// The live StatefulSet has fewer replicas than the journal committed, and no step changes them.
/// A pass that did something saw the StatefulSet before that.
fn replicas(facts: &Facts<'_>) -> Option<Why> {
    let state = facts.inputs.state;
    facts.inputs.decision?;
    let changing = state.open_step().is_some_and(|open| match open.step {
        Step::ScaleStatefulSet { .. } | Step::DeleteStatefulSet { .. } => true,
        Step::SetTemplate { .. }
        | Step::JoinMember { .. }
        | Step::DisjoinMember { .. }
        | Step::RemoveGhostMember { .. }
        | Step::ResetMember { .. }
        | Step::CancelTask { .. }
        | Step::DeleteVolume { .. }
        | Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::SetUpReplication { .. }
        | Step::PromotePrimary { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. } => false,
    });
    let live = facts.inputs.seen?.stateful_set.as_ref()?.replicas;
    let committed = state.committed.replicas?;
    (!changing && live < committed).then(|| {
        let message =
            format!("the StatefulSet has {live} replicas where {committed} are committed");
        (Reason::ReplicasChanged, message)
    })
}

/// Established members whose present views list other members than the view that is told.
fn differing(facts: &Facts<'_>) -> Option<Why> {
    let told = facts.told.filter(|told| told.fresh)?;
    let listed: BTreeSet<_> = told.view.members.iter().map(|member| &member.name).collect();
    let seen = facts.inputs.seen?;
    let others = named(facts, |member| {
        if is_leaving(facts, member) {
            return false;
        }
        let view = member.ordinal.and_then(|at| views::view_of(seen, facts.inputs.state, at));
        view.is_some_and(|view| {
            view.members.iter().map(|other| &other.name).collect::<BTreeSet<_>>() != listed
        })
    })?;
    let message = format!("other members than {} tells are listed by {others}", told.by);
    Some((Reason::ViewsDiffer, message))
}

/// Whether the open step takes this member out of the group.
fn is_leaving(facts: &Facts<'_>, member: &Member<'_>) -> bool {
    let open = facts.inputs.state.open_step();
    open.is_some_and(|open| match &open.step {
        Step::DisjoinMember { member: leaving, .. }
        | Step::RemoveGhostMember { member: leaving, .. }
        | Step::ResetMember { member: leaving } => Some(leaving.ordinal) == member.ordinal,
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::JoinMember { .. }
        | Step::CancelTask { .. }
        | Step::DeleteVolume { .. }
        | Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::DeleteStatefulSet { .. }
        | Step::SetUpReplication { .. }
        | Step::PromotePrimary { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. } => false,
    })
}

/// Names of the members for which `holds`; none when it holds for no one.
pub(super) fn named(facts: &Facts<'_>, holds: impl FnMut(&&Member<'_>) -> bool) -> Option<String> {
    let mut found = facts.members.iter().filter(holds).peekable();
    found.peek()?;
    Some(names(found.map(|member| member.name.as_str())))
}
