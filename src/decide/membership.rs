//! Who is to be in the group, and the next step towards it.
//!
//! One planner serves bootstrap, scale-up, scale-down and repair: it looks at the goal, at what the
//! journal knows and at what is seen, and gives the one next step. So a superseded or interrupted
//! operation needs no plan of its own to be taken up where it stands.

mod former;
mod held;
mod reset;

use xsld_journal::event::{
    Cause, End, Event, Goal, MemberRef, OperationKind, Ordinal, Receipt, Step,
};
use xsld_journal::state::{JoinHistory, Leaving, Operation};

pub(super) use self::reset::may_hold_data;
use self::reset::reset;
use super::disjoin::{Presence, presence};
use super::question::Question;
use super::views::{self, Listing, OwnView};
use super::{
    ATTEMPTS_MAX, Decision, Inputs, Waiting, adoption, capacity, converge, evidence, replication,
    stray, taken,
};
use crate::crd::conditions::ConditionReason as Reason;
use crate::xsld::view::Answer;

/// Carries on with the open operation, or begins one where the group differs from what is wanted.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    let unknown = inputs.state.committed.replicas.is_none() && !inputs.state.bootstrapped;
    if unknown && inputs.state.operation.is_none() && inputs.seen.stateful_set.is_some() {
        return Decision::Wait(adoption::waiting(inputs).unwrap_or_else(|| {
            let message = "a StatefulSet is there that the journal has never seen: its group is \
                           adopted once it answers and stays the same";
            Waiting::new(Reason::Rebuilding, message)
        }));
    }
    let goal = Goal::Members { size: inputs.wanted.size, catalogs: inputs.wanted.catalogs };
    let Some(operation) = &inputs.state.operation else {
        return match next_step(inputs) {
            None => Decision::Rest,
            Some(next) => begin(inputs, goal, next),
        };
    };
    if !operation.kind.touches_membership() {
        return if replication::yields_to_members(operation.kind) && has_work(inputs) {
            replication::superseded(operation, "a change of the members")
        } else {
            Decision::Rest
        };
    }
    if operation.goal != goal {
        let by = format!("generation {}: size {}", inputs.wanted.generation, inputs.wanted.size);
        return Decision::Record(vec![Event::OperationEnded { end: End::Superseded { by } }]);
    }
    match next_step(inputs) {
        None if !is_reached(inputs) => Decision::wait(
            Reason::GroupUnreachable,
            "the group cannot be seen well enough to go on",
        ),
        None => {
            let mut events = Vec::new();
            if operation.parked.is_some() {
                events.push(Event::OperationResumed { evidence: "the goal is reached".to_owned() });
            }
            events.push(Event::OperationEnded { end: End::Succeeded });
            Decision::Record(events)
        }
        Some(Decision::Run { step, evidence }) => run(operation, inputs, step, evidence),
        Some(decision) => held::ended(inputs, operation, &decision).unwrap_or(decision),
    }
}

/// What a lost volume of the primary asks of a person, where one is lost.
pub(super) fn lost_volume(inputs: Inputs<'_>) -> Option<Waiting> {
    match lost_members(inputs)? {
        Decision::Wait(waiting) if waiting.reason == Reason::PrimaryVolumeLost => Some(waiting),
        _ => None,
    }
}

/// Whether there is something to do about the members now, and not only to wait for.
pub(super) fn acts(inputs: Inputs<'_>) -> bool {
    matches!(next_step(inputs), Some(Decision::Run { .. } | Decision::Record(_)))
}

/// Whether exactly the wanted members are in the group, nothing of others is left, and the group
/// can be seen: an entry that nobody looked for is not absent.
fn is_reached(inputs: Inputs<'_>) -> bool {
    let Inputs { wanted, seen, state, .. } = inputs;
    let wanted_members = 0..wanted.size;
    views::needed(seen, state, Ordinal::MAX).is_some()
        && state.bootstrapped
        && state.committed.replicas == Some(wanted.size)
        && state.members.keys().copied().eq(wanted_members)
        && state.leaving.is_empty()
}

/// Runs a step unless it has had its attempts: then a person is asked. Attempts after the first
/// wait for a settled world, so that a quick refusal is not repeated in a burst.
fn run(operation: &Operation, inputs: Inputs<'_>, step: Step, evidence: String) -> Decision {
    let attempts = operation.tried(&step.target());
    if let Some(parked) = &operation.parked {
        let is_another = inputs.wanted.generation != operation.cause.generation;
        if is_another && parked.reason == Reason::StepFailed.as_str() {
            // As the message says: each change of the spec is a reason to try again.
            let by = format!("generation {}, to begin anew", inputs.wanted.generation);
            return Decision::Record(vec![Event::OperationEnded { end: End::Superseded { by } }]);
        }
        return Decision::wait(Reason::Parked, parked.message.clone());
    }
    if attempts >= ATTEMPTS_MAX {
        let why = operation.last_failure.as_deref().map(|failure| format!(": {failure}"));
        return Decision::Record(vec![Event::OperationParked {
            reason: Reason::StepFailed.as_str().to_owned(),
            message: format!(
                "{} ended without success {attempts} times{}; change the spec to begin anew",
                step.describe(),
                why.unwrap_or_default()
            ),
        }]);
    }
    if attempts > 0 && !Question::Elapsed.is_settled(inputs, inputs.times.settle) {
        let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
        return Decision::wait(Reason::StepFailed, message);
    }
    Decision::Run { step, evidence }
}

fn begin(inputs: Inputs<'_>, goal: Goal, next: Decision) -> Decision {
    let Inputs { wanted, state, .. } = inputs;
    // What cannot take its first step is no operation yet.
    let is_short =
        matches!(&next, Decision::Wait(waiting) if waiting.reason == Reason::CapacityShort);
    if is_short || taken::is_all(inputs, &next) {
        return next;
    }
    let committed = state.committed.replicas.unwrap_or(0);
    let beyond = state.members.keys().any(|ordinal| *ordinal >= wanted.size);
    // Beside a place that cannot be made, only the members that are there are put right.
    let is_held = name_taken(inputs).is_some();
    let (kind, reason) = if !state.bootstrapped {
        (OperationKind::Bootstrap, format!("a new cache of size {}", wanted.size))
    } else if committed < wanted.size && !is_held {
        (OperationKind::ScaleUp, format!("size {committed} -> {}", wanted.size))
    } else if !is_held && (committed > wanted.size || beyond || !state.leaving.is_empty()) {
        (OperationKind::ScaleDown, format!("size {committed} -> {}", wanted.size))
    } else {
        match next {
            // Waiting for a member that is merely away is no operation of its own.
            Decision::Wait(waiting) => return Decision::Wait(waiting),
            Decision::Run { ref step, .. } => (OperationKind::Repair, step.describe()),
            Decision::Record(ref events) => (OperationKind::Repair, found(inputs, events)),
            decision => return decision,
        }
    };
    converge::begin(inputs, kind, goal, Cause { generation: wanted.generation, reason })
}

/// What was found, in words that name the member.
fn found(inputs: Inputs<'_>, events: &[Event]) -> String {
    let words = events.iter().map(|event| {
        let Event::MemberLost { ordinal, .. } = event else { return event.name().to_owned() };
        format!("{} is missing from the group", views::name_of(inputs.state, *ordinal))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Whether something is to be done about the members. To wait for one that is merely away is not.
pub(super) fn has_work(inputs: Inputs<'_>) -> bool {
    match next_step(inputs) {
        None | Some(Decision::Rest | Decision::Wait(_) | Decision::InDoubt(_)) => false,
        Some(_) => true,
    }
}

/// The next step towards the wanted members; none when they are there and nothing else is.
fn next_step(inputs: Inputs<'_>) -> Option<Decision> {
    template(inputs)
        .or_else(|| replication::database_lost(inputs))
        .or_else(|| finish_leaving(inputs))
        .or_else(|| stray::ghosts(inputs))
        .or_else(|| lost_members(inputs))
        .or_else(|| former::claims(inputs))
        .or_else(|| raise_replicas(inputs))
        .or_else(|| name_taken(inputs).filter(|_| !inputs.state.bootstrapped))
        .or_else(|| bootstrap(inputs))
        .or_else(|| join_missing(inputs))
        .or_else(|| {
            stray::waiting(inputs, |ordinal| ordinal < inputs.wanted.size).map(Decision::Wait)
        })
        .or_else(|| name_taken(inputs))
        .or_else(|| disjoin_highest(inputs))
        .or_else(|| stray::waiting(inputs, |_| true).map(Decision::Wait))
        .or_else(|| drop_unjoined(inputs))
}

fn template(inputs: Inputs<'_>) -> Option<Decision> {
    if inputs.state.committed.template.is_some() {
        return None;
    }
    let (digest, template) = inputs.wanted.template.clone();
    Some(Decision::Run { step: Step::SetTemplate { digest, template }, evidence: "{}".to_owned() })
}

/// A member that is out: its replicas, then its pod, then its claim, before anything else.
fn finish_leaving(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let (ordinal, leaving) = state.leaving.iter().next_back()?;
    let ordinal = *ordinal;
    let committed = state.committed.replicas.unwrap_or(0);
    if committed > ordinal {
        if state.members.keys().any(|other| *other > ordinal) {
            // Replicas cannot drop below a member that stays: only its volume can go.
            return reset(inputs, ordinal);
        }
        // Above it may stand one that never joined and is not wanted: with the replicas its claim
        // would be out of sight, so it goes first, with a receipt of its own.
        if committed - 1 > ordinal && committed > wanted.size {
            return drop_unjoined(inputs);
        }
        return Some(Decision::Run {
            step: Step::ScaleStatefulSet { from: committed, to: ordinal },
            evidence: evidence(&views::told(seen)),
        });
    }
    if let Some(pod) = seen.pods.get(&ordinal) {
        let message = format!("waiting for {} to end before its claim goes", pod.name);
        return Some(Decision::wait(Reason::ReclaimingVolume, message));
    }
    if !wanted.delete_scaled_volumes {
        let claim_uid = leaving.claim_uid.clone();
        return Some(Decision::Record(vec![Event::VolumeRetained { ordinal, claim_uid }]));
    }
    Some(reclaim(inputs, ordinal, leaving))
}

fn reclaim(inputs: Inputs<'_>, ordinal: Ordinal, leaving: &Leaving) -> Decision {
    let Inputs { seen, state, .. } = inputs;
    match presence(seen, state, ordinal, &leaving.name) {
        Presence::Absent => Decision::Run {
            step: Step::DeleteVolume {
                ordinal,
                claim: format!("vol-{}", leaving.name),
                claim_uid: leaving.claim_uid.clone(),
                receipt: leaving.receipt.clone(),
            },
            evidence: evidence(&views::told(seen)),
        },
        Presence::Present => stray::ghosts(inputs).unwrap_or_else(|| {
            let message = format!("{} left and is listed again", leaving.name);
            Decision::wait(Reason::ViewsDiffer, message)
        }),
        Presence::Unknown => {
            let message = format!("the absence of {} cannot be seen just now", leaving.name);
            Decision::wait(Reason::ViewsDiffer, message)
        }
    }
}

/// Removes an entry of the group behind which nobody stands.
pub(super) fn remove_entry(inputs: Inputs<'_>, ordinal: Ordinal, name: &str) -> Option<Decision> {
    let Inputs { seen, state, times, .. } = inputs;
    if let Some(waiting) = busy(inputs) {
        return Some(waiting);
    }
    let Some(survivor) = views::survivor(seen, state, ordinal) else {
        let message = format!("no member answers through which the entry of {name} could go");
        return Some(Decision::wait(Reason::GroupUnreachable, message));
    };
    if !Question::Entry(ordinal).is_settled(inputs, times.settle) {
        let message = format!("the group lists {name}, which never joined: looking again");
        return Some(Decision::wait(Reason::RemovingGhostMember, message));
    }
    let member = views::member_now(seen, state, ordinal).unwrap_or_else(|| MemberRef {
        ordinal,
        name: name.to_owned(),
        claim_uid: String::new(),
        incarnation: xsld_journal::event::Incarnation {
            pod_uid: String::new(),
            container_id: String::new(),
            restarts: 0,
        },
    });
    Some(Decision::Run {
        step: Step::RemoveGhostMember { member, survivor },
        evidence: evidence(&views::told(seen)),
    })
}

/// Recorded members whose volume is another one now, or who are absent from the group though
/// nobody removed them.
fn lost_members(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    for (ordinal, member) in &state.members {
        let ordinal = *ordinal;
        let other_volume = seen
            .claims
            .get(&ordinal)
            .is_some_and(|claim| claim.uid != member.claim_uid && !claim.deleting);
        let listing = views::listing(seen, state, ordinal, &member.name);
        if other_volume && views::primary(seen, state) == Some(ordinal) {
            if let Some(waiting) = replication::takes_over(inputs, ordinal) {
                return Some(waiting);
            }
            let message = format!(
                "the volume of {}, which held the group's configuration, is gone; restore it, or \
                 delete the cache and make it again",
                member.name
            );
            return Some(Decision::wait(Reason::PrimaryVolumeLost, message));
        }
        if other_volume && listing.is_yes() {
            return remove_entry(inputs, ordinal, &member.name);
        }
        if listing != Listing::No {
            continue;
        }
        if !Question::Entry(ordinal).is_settled(inputs, times.settle) {
            let message = format!("{} is missing from the group: looking again", member.name);
            return Some(Decision::wait(Reason::MemberLost, message));
        }
        let views = evidence(&views::told(seen));
        let event = if ordinal < wanted.size {
            Event::MemberLost { ordinal, evidence: views }
        } else {
            Event::MemberAbsent {
                member: MemberRef {
                    ordinal,
                    name: member.name.clone(),
                    claim_uid: member.claim_uid.clone(),
                    incarnation: member.incarnation.clone(),
                },
                receipt: Receipt::FoundAbsent { views },
            }
        };
        return Some(Decision::Record(vec![event]));
    }
    None
}

fn raise_replicas(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let committed = state.committed.replicas.unwrap_or(0);
    if committed >= wanted.size {
        return None;
    }
    // The members that are there are looked after all the same.
    if name_taken(inputs).is_some() {
        return None;
    }
    // A claim that is still going would be mounted by the new pod and vanish under it.
    if let Some((_, claim)) = seen.claims.range(committed..).find(|(_, claim)| claim.deleting) {
        let message = format!("claim {} is still going", claim.name);
        return Some(Decision::wait(Reason::ReclaimingVolume, message));
    }
    Some(Decision::Run {
        step: Step::ScaleStatefulSet { from: committed, to: wanted.size },
        evidence: evidence(&seen.stateful_set),
    })
}

/// Why places that are to be made cannot be: somebody else's object has the name of one.
fn name_taken(inputs: Inputs<'_>) -> Option<Decision> {
    let committed = inputs.state.committed.replicas.unwrap_or(0);
    let places = committed..inputs.wanted.size;
    let any = || taken::keeps_pods(inputs).filter(|_| !places.is_empty());
    taken::keeps_away(inputs, &places).or_else(any)
}

fn bootstrap(inputs: Inputs<'_>) -> Option<Decision> {
    if inputs.state.bootstrapped {
        return None;
    }
    let first = not_ready(inputs, 0);
    let known = |waiting: &Decision| matches!(waiting, Decision::Wait(waiting) if waiting.reason != Reason::WaitingForPods);
    if let (false, Some(waiting)) = (first.as_ref().is_some_and(known), adoption::waiting(inputs)) {
        return Some(Decision::Wait(waiting));
    }
    Some(match first {
        Some(waiting) => waiting,
        None => Decision::wait(Reason::Bootstrapping, "waiting for the first member to be Online"),
    })
}

/// Why the member at `ordinal` cannot be worked with yet.
pub(super) fn not_ready(inputs: Inputs<'_>, ordinal: Ordinal) -> Option<Decision> {
    let Inputs { seen, state, .. } = inputs;
    let name = views::name_of(state, ordinal);
    let wait = |reason, message: String| Some(Decision::wait(reason, message));
    if let Some(waiting) = taken::keeps_away(inputs, &(ordinal..ordinal.saturating_add(1))) {
        return Some(waiting);
    }
    let Some(pod) = seen.pods.get(&ordinal) else {
        return wait(Reason::WaitingForPods, format!("{name} has no pod yet"));
    };
    if pod.deleting {
        return wait(Reason::WaitingForPods, format!("{name} is ending"));
    }
    if seen.claims.get(&ordinal).is_none_or(|claim| claim.deleting) {
        return wait(Reason::WaitingForPods, format!("{name} has no volume claim yet"));
    }
    let Some(report) = seen.reports.get(&ordinal) else {
        let why = pod.waiting.clone().unwrap_or_else(|| "it has no address yet".to_owned());
        return wait(Reason::WaitingForPods, format!("{name} is not up: {why}"));
    };
    if report.untrusted.is_some() {
        let (reason, why) = match report.not_signed {
            true => (Reason::CertificateUntrusted, "none of the trusted authorities signed"),
            false => (Reason::CertificateChanged, "is another one than the pinned one"),
        };
        let message = format!("{name} shows a certificate that {why}: not spoken to");
        return wait(reason, message);
    }
    match (&report.group, &report.tasks) {
        (Answer::Known(_), Answer::Known(_)) => None,
        (Answer::Refused { status: 401 | 403, error }, _)
        | (_, Answer::Refused { status: 401 | 403, error }) => wait(
            Reason::CredentialsInvalid,
            format!("{name} refuses the credentials ({error}); check the password"),
        ),
        (Answer::Refused { status, error }, _) | (_, Answer::Refused { status, error }) => {
            wait(Reason::WaitingForPods, format!("{name} is starting ({status} {error})"))
        }
        (Answer::Unknown { reason }, _) | (_, Answer::Unknown { reason }) => {
            wait(Reason::WaitingForPods, format!("{name} does not answer yet ({reason})"))
        }
    }
}

/// Joins the lowest wanted member that is not in the group.
fn join_missing(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let places = match name_taken(inputs) {
        Some(_) => state.committed.replicas.unwrap_or(0),
        None => wanted.size,
    };
    let ordinal = (0..places).find(|ordinal| {
        !state.members.contains_key(ordinal) && !stray::is_waited_for(inputs, *ordinal)
    })?;
    let name = views::name_of(state, ordinal);
    let waits = not_ready(inputs, ordinal).or_else(|| taken::keeps_from_joining(inputs));
    if let Some(waiting) = waits.or_else(|| busy(inputs)) {
        return Some(waiting);
    }
    match views::listing(seen, state, ordinal, &name) {
        Listing::No => {}
        Listing::Online | Listing::Listed => return remove_entry(inputs, ordinal, &name),
        Listing::Unknown => {
            let message = format!("the group cannot be read, so {name} is not joined yet");
            return Some(Decision::wait(Reason::ViewsDiffer, message));
        }
    }
    let settled = || Question::Place(ordinal).is_settled(inputs, times.settle);
    match views::own_view(seen, state, ordinal, &name) {
        OwnView::Alone => {}
        // It is out of the group, which was read, and does not know it: nobody tells it any more.
        OwnView::Silent if views::believes_in_a_group(seen, ordinal) => {
            if settled() {
                return reset(inputs, ordinal);
            }
            let message = format!("{name} lists a group that does not list it: looking again");
            return Some(Decision::wait(Reason::ResettingMember, message));
        }
        OwnView::Silent => {
            let message = format!("{name} does not answer yet");
            return Some(Decision::wait(Reason::WaitingForPods, message));
        }
        OwnView::Elsewhere | OwnView::InGroup if !settled() => {
            let message = format!("{name} is in another group: looking again");
            return Some(Decision::wait(Reason::ResettingMember, message));
        }
        OwnView::Elsewhere | OwnView::InGroup => return reset(inputs, ordinal),
    }
    let primary = views::primary(seen, state)?;
    let host = views::host_of(state, &state.members.get(&primary)?.name);
    Some(Decision::Run {
        step: Step::JoinMember {
            member: views::member_now(seen, state, ordinal)?,
            host,
            catalog: ordinal < wanted.catalogs,
        },
        evidence: evidence(&views::told(seen)),
    })
}

/// Whether a task runs that is not ours to begin another one beside. Waits then.
fn busy(inputs: Inputs<'_>) -> Option<Decision> {
    inputs.seen.any_task_running().then(|| {
        Decision::wait(Reason::ForeignTask, "another task runs in the group: waiting for its end")
    })
}

/// Disjoins the highest member that is not wanted.
fn disjoin_highest(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let (ordinal, recorded) = state.members.range(wanted.size..).next_back()?;
    let ordinal = *ordinal;
    if let Some(waiting) = busy(inputs) {
        return Some(waiting);
    }
    if let Some(waiting) = capacity::short(inputs) {
        return Some(Decision::Wait(waiting));
    }
    if let Some(decision) = replication::move_primary_away(inputs, ordinal) {
        return Some(decision);
    }
    if views::primary(seen, state) == Some(ordinal) {
        return Some(replication::cannot_leave(inputs, ordinal));
    }
    let Some(survivor) = views::survivor(seen, state, ordinal) else {
        let message = format!("no surviving member answers, so {} stays", recorded.name);
        return Some(Decision::wait(Reason::GroupUnreachable, message));
    };
    if presence(seen, state, ordinal, &recorded.name) != Presence::Present {
        let message = format!("not every member that stays lists {}: looking again", recorded.name);
        return Some(Decision::wait(Reason::ViewsDiffer, message));
    }
    let member = MemberRef {
        ordinal,
        name: recorded.name.clone(),
        claim_uid: recorded.claim_uid.clone(),
        incarnation: recorded.incarnation.clone(),
    };
    Some(Decision::Run {
        step: Step::DisjoinMember { member, survivor },
        evidence: evidence(&views::told(seen)),
    })
}

/// Replicas beyond the wanted size whose places hold no member.
fn drop_unjoined(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let committed = state.committed.replicas.unwrap_or(0);
    if committed <= wanted.size {
        return None;
    }
    let ordinal = committed - 1;
    let name = views::name_of(state, ordinal);
    let lower = Decision::Run {
        step: Step::ScaleStatefulSet { from: committed, to: ordinal },
        evidence: evidence(&views::told(seen)),
    };
    let absent = presence(seen, state, ordinal, &name) == Presence::Absent;
    if let (false, Some(waiting)) = (absent, stray::waiting(inputs, |other| other == ordinal)) {
        return Some(Decision::Wait(waiting));
    }
    if !absent || !Question::Entry(ordinal).is_settled(inputs, times.settle) {
        let message = format!("{name} is no member: making sure that the group does not list it");
        return Some(Decision::wait(Reason::WaitingForPods, message));
    }
    match seen.claims.get(&ordinal) {
        // A claim from before this cache was not made for it, and what an adopted group listed may
        // hold what nobody here knows of: they are kept.
        Some(claim)
            if !claim.older_than_cache
                && !claim.deleting
                && !state.held.contains_key(&claim.uid) =>
        {
            let member = views::member_now(seen, state, ordinal)?;
            let views = evidence(&views::told(seen));
            let receipt = match state.joins.get(&claim.uid) {
                // Before the adoption it may have been a member.
                None if state.adopted => Receipt::FoundAbsent { views },
                None | Some(JoinHistory::WithoutEffect) => Receipt::NeverJoined { views },
                // It was a member, and the group does not list it any more.
                Some(JoinHistory::Joined | JoinHistory::InDoubt) => Receipt::FoundAbsent { views },
            };
            Some(Decision::Record(vec![Event::MemberAbsent { member, receipt }]))
        }
        _ => Some(lower),
    }
}
