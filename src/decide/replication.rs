//! The replica of the configuration database, and who is the primary.
//!
//! Who is the primary is what the members say, never which pod came first. A replica is set up
//! when the group is at rest; it is promoted when the primary was not seen for the grace that the
//! spec gives, and before the primary is taken away on purpose, by us or with its node.

mod ahead;
mod roles;
mod settle;
mod tables;
#[cfg(test)]
mod tests;

use std::time::Duration;

use xsld_journal::event::{
    Cause, End, Event, Goal, MemberRef, OperationKind, Ordinal, Step, Survivor,
};
use xsld_journal::state::{CacheState, Member, Operation, Parked};

pub use self::ahead::primary_to_keep;
pub(super) use self::roles::replica_in;
pub(crate) use self::roles::unseen_primary;
pub(super) use self::settle::standing;
use super::question::Question;
use super::views::{self, Listing};
use super::{ATTEMPTS_MAX, Decision, Inputs, Wanted, converge, evidence};
use crate::crd::conditions::ConditionReason as Reason;

/// Carries on with the open operation on replication or the primary, or begins one. Called when
/// nothing is to be done about members.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    match &inputs.state.operation {
        None => begin(inputs),
        Some(operation) => match operation.kind {
            OperationKind::ReplicationSetUp => carry_on_set_up(inputs, operation),
            OperationKind::PrimarySwitch => carry_on_switch(inputs, operation),
            _ => Decision::Rest,
        },
    }
}

/// Promotes the replica of a primary that was not seen for the grace. That is an operation of its
/// own, or a step of the one that is open: without a primary nothing could settle its step.
pub(super) fn lost_primary(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    if state.open_step().is_some_and(|open| matches!(open.step, Step::PromotePrimary { .. })) {
        return None;
    }
    let lost = roles::unseen_primary(seen, state)?;
    let successor = roles::successor(seen, state, lost)?;
    if !is_over_grace(inputs, lost) || seen.any_task_running() {
        return None;
    }
    let former = views::name_of(state, lost);
    let step = promotion(inputs, successor, former.clone())?;
    let Some(operation) = &state.operation else {
        return Some(Decision::Begin {
            kind: OperationKind::PrimarySwitch,
            goal: Goal::Primary { ordinal: successor, name: views::name_of(state, successor) },
            cause: Cause {
                generation: wanted.generation,
                reason: format!(
                    "the primary {former} was not seen for {} s",
                    wanted.primary_grace.as_secs()
                ),
            },
        });
    };
    let attempts = operation.tried(&step.target());
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    if operation.parked.is_some() {
        let evidence = format!("{former} is replaced as the primary");
        return Some(Decision::Record(vec![Event::OperationResumed { evidence }]));
    }
    if attempts > 0 && !Question::Elapsed.is_settled(inputs, times.settle) {
        let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
        return Some(Decision::wait(Reason::SwitchingPrimary, message));
    }
    Some(Decision::Run { step, evidence: evidence(&views::told(seen)) })
}

/// Whether the member at `ordinal` is a primary that is being replaced: its grace is over.
pub(super) fn is_replaced(inputs: Inputs<'_>, ordinal: Ordinal) -> bool {
    let Inputs { seen, state, .. } = inputs;
    roles::unseen_primary(seen, state) == Some(ordinal)
        && roles::successor(seen, state, ordinal).is_some()
        && is_over_grace(inputs, ordinal)
}

/// Whether the primary was not seen for its grace. This process may not have been there to see it:
/// then what counts is since when Kubernetes has shown the primary's pod as not ready, and that
/// nobody has seen it for two observations.
fn is_over_grace(inputs: Inputs<'_>, lost: Ordinal) -> bool {
    let Inputs { seen, watch, times, server_us, .. } = inputs;
    let watched = watch.primary_lost_for(lost);
    let unready_since = seen.pods.get(&lost).and_then(|pod| pod.unready_since_us);
    let unready_us =
        unready_since.zip(server_us).map_or(0, |(since, now)| now.saturating_sub(since));
    let unready = Duration::from_micros(u64::try_from(unready_us).unwrap_or(0));
    watched >= grace(inputs) || (watched >= times.settle && unready >= grace(inputs))
}

/// How long the primary must not be seen; never shorter than two observations.
fn grace(inputs: Inputs<'_>) -> Duration {
    inputs.wanted.primary_grace.max(inputs.times.settle)
}

/// The next step that makes another member the primary in the place of the one at `ordinal`,
/// within the open operation: the promotion of its replica, or the set-up of one. None when that
/// member is not the primary (any more), and when its role cannot be moved: then no member that is
/// wanted can take it, or the spec does not want replication and there is no replica.
pub fn move_primary_away(inputs: Inputs<'_>, ordinal: Ordinal) -> Option<Decision> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    if views::marked_primary(seen, state) != Some(ordinal) {
        return None;
    }
    let stays = |other: Ordinal| other != ordinal && other < wanted.size;
    let replica = roles::replica(seen, state).filter(|replica| {
        stays(*replica)
            && !roles::would_lose_its_data(seen, *replica)
            && roles::is_online(seen, state, *replica)
    });
    let step = match replica {
        Some(replica) => promotion(inputs, replica, views::name_of(state, ordinal))?,
        None if wanted.replicate => set_up(inputs, roles::candidate(seen, state, stays)?)?,
        None => return None,
    };
    let attempts = state.operation.as_ref().map_or(0, |operation| operation.tried(&step.target()));
    if seen.any_task_running() {
        let message = "another task runs in the group: the primary is moved after its end";
        return Some(Decision::wait(Reason::ForeignTask, message));
    }
    if attempts >= ATTEMPTS_MAX {
        let parked = state.operation.as_ref().is_some_and(|operation| operation.parked.is_some());
        let park = exhausted(&step, attempts);
        return Some(if parked {
            Decision::wait(Reason::Parked, format!("{} did not succeed", step.describe()))
        } else {
            park
        });
    }
    if attempts > 0 && !Question::Elapsed.is_settled(inputs, times.settle) {
        let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
        return Some(Decision::wait(Reason::StepFailed, message));
    }
    Some(Decision::Run { step, evidence: evidence(&views::told(seen)) })
}

fn exhausted(step: &Step, attempts: u32) -> Decision {
    Decision::Record(vec![Event::OperationParked {
        reason: Reason::StepFailed.as_str().to_owned(),
        message: format!(
            "{} ended without success {attempts} times; change the spec to begin anew",
            step.describe()
        ),
    }])
}

fn promotion(inputs: Inputs<'_>, replica: Ordinal, former: String) -> Option<Step> {
    let member = member_ref(replica, inputs.state.members.get(&replica)?);
    Some(Step::PromotePrimary { member, former })
}

fn set_up(inputs: Inputs<'_>, replica: Ordinal) -> Option<Step> {
    let Inputs { seen, state, .. } = inputs;
    let primary = views::marked_primary(seen, state)?;
    views::established_report(seen, state, primary)?.read_tasks()?;
    let recorded = state.members.get(&primary)?;
    Some(Step::SetUpReplication {
        primary: Survivor {
            ordinal: primary,
            name: recorded.name.clone(),
            incarnation: recorded.incarnation.clone(),
        },
        replica: member_ref(replica, state.members.get(&replica)?),
    })
}

fn member_ref(ordinal: Ordinal, member: &Member) -> MemberRef {
    MemberRef {
        ordinal,
        name: member.name.clone(),
        claim_uid: member.claim_uid.clone(),
        incarnation: member.incarnation.clone(),
    }
}

fn begin(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, seen, state, .. } = inputs;
    if let Some(waiting) = away(inputs) {
        return waiting;
    }
    if let Some(decision) = ahead::begin(inputs) {
        return decision;
    }
    let Some(ordinal) = wanted_replica(inputs) else { return Decision::Rest };
    let name = views::name_of(state, ordinal);
    let primary = views::marked_primary(seen, state);
    let primary = primary.map(|primary| views::name_of(state, primary)).unwrap_or_default();
    let reason = match ahead::replica_to_move(wanted, seen, state) {
        Some(_) => format!("the nodes of {primary} and its replica are about to be emptied"),
        None => format!("the configuration database of {primary} has no replica"),
    };
    let cause = Cause { generation: wanted.generation, reason };
    converge::begin(inputs, OperationKind::ReplicationSetUp, Goal::Replica { ordinal, name }, cause)
}

/// What is told while a lost primary has its grace.
fn away(inputs: Inputs<'_>) -> Option<Decision> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let lost = roles::unseen_primary(seen, state)?;
    let successor = roles::successor(seen, state, lost)?;
    let message = format!(
        "the primary {} does not answer; {} holds the replica and takes over when that lasts for \
         {} s",
        views::name_of(state, lost),
        views::name_of(state, successor),
        wanted.primary_grace.as_secs()
    );
    Some(Decision::wait(Reason::MemberUnreachable, message))
}

/// Whether a replica is asked for, and the group is as large as it is to be.
fn may_have_a_replica(wanted: &Wanted, state: &CacheState) -> bool {
    wanted.replicate
        && wanted.size >= 2
        && state.bootstrapped
        && state.leaving.is_empty()
        && state.members.keys().copied().eq(0..wanted.size)
}

/// Where a replica is to be set up: only in a group at rest that has none, and that tells the
/// members' parts in replication.
fn wanted_replica(inputs: Inputs<'_>) -> Option<Ordinal> {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let settled = |question: Question<'_>| question.is_settled(inputs, times.settle);
    let at_rest =
        !seen.any_task_running() && settled(Question::Roles) && settled(Question::AllObjects);
    if !may_have_a_replica(wanted, state) || !at_rest {
        return None;
    }
    if !roles::are_told(seen, state) {
        return None;
    }
    match roles::replica(seen, state) {
        // What it holds goes with its pod: another member is to hold it, too.
        Some(replica) if roles::would_lose_its_data(seen, replica) => {}
        // It serves, unless a drain takes it together with the primary.
        Some(replica) if roles::is_online(seen, state, replica) => {
            let moved = ahead::replica_to_move(wanted, seen, state).map(|(_, to)| to);
            return moved.filter(|to| settled(Question::Place(*to)));
        }
        // It may come back and follow again.
        Some(replica) if !Question::Listed(replica).is_settled(inputs, grace(inputs)) => {
            return None;
        }
        Some(_) | None => {}
    }
    let present = roles::replica(seen, state);
    let fits = |ordinal| ordinal < wanted.size && Some(ordinal) != present;
    roles::candidate(seen, state, fits).filter(|ordinal| settled(Question::Place(*ordinal)))
}

fn carry_on_set_up(inputs: Inputs<'_>, operation: &Operation) -> Decision {
    let Inputs { wanted, seen, state, times, .. } = inputs;
    let Goal::Replica { ordinal, name } = &operation.goal else {
        return superseded(operation, "an operation that can be carried out");
    };
    if roles::replica(seen, state) == Some(*ordinal) && roles::is_online(seen, state, *ordinal) {
        return ended(operation, End::Succeeded, "the replica follows");
    }
    let primary = views::marked_primary(seen, state);
    if !wanted.replicate {
        return superseded(operation, "spec.replication.mode Off");
    }
    let recorded = state.members.contains_key(ordinal) && *ordinal < wanted.size;
    if !recorded || primary == Some(*ordinal) {
        return superseded(operation, "a replica on another member");
    }
    if let Some(parked) = &operation.parked {
        return if others_wait(inputs) || a_roll_waits(inputs) {
            superseded(operation, "what waits for it")
        } else {
            begins_anew(inputs, operation)
                .unwrap_or_else(|| Decision::wait(Reason::Parked, parked.message.clone()))
        };
    }
    if seen.any_task_running() {
        let message = "another task runs in the group: waiting for its end";
        return Decision::wait(Reason::ForeignTask, message);
    }
    if views::listing(seen, state, *ordinal, name) != Listing::Online {
        return match wanted_replica(inputs) {
            Some(other) if other != *ordinal => {
                superseded(operation, &format!("a replica on {}", views::name_of(state, other)))
            }
            // Its pod may be one that only the roll can bring back.
            _ if a_roll_waits(inputs) => superseded(operation, "a roll of the pod template"),
            _ => Decision::wait(
                Reason::SettingUpReplication,
                format!("{name} is to hold the replica and is not Online"),
            ),
        };
    }
    let Some(step) = set_up(inputs, *ordinal) else {
        let message = "the primary does not answer, so no replica is set up yet";
        return Decision::wait(Reason::GroupUnreachable, message);
    };
    let attempts = operation.tried(&step.target());
    if attempts >= ATTEMPTS_MAX {
        return exhausted(&step, attempts);
    }
    if attempts > 0 && !Question::Elapsed.is_settled(inputs, times.settle) {
        let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
        return Decision::wait(Reason::SettingUpReplication, message);
    }
    Decision::Run { step, evidence: evidence(&views::told(seen)) }
}

fn carry_on_switch(inputs: Inputs<'_>, operation: &Operation) -> Decision {
    let Inputs { seen, state, .. } = inputs;
    let Goal::Primary { ordinal, name } = &operation.goal else {
        return superseded(operation, "an operation that can be carried out");
    };
    match views::marked_primary(seen, state) {
        Some(primary) if primary == *ordinal => {
            return ended(operation, End::Succeeded, "the group has its new primary");
        }
        Some(primary) => {
            if let Some(decision) = ahead::carry_on(inputs, operation, (primary, *ordinal)) {
                return decision;
            }
            let by = format!("the present primary {}", views::name_of(state, primary));
            return superseded(operation, &by);
        }
        None => {}
    }
    if let Some(parked) = &operation.parked {
        return stays_parked(inputs, operation, parked);
    }
    let target = Step::PromotePrimary {
        member: match state.members.get(ordinal) {
            Some(member) => member_ref(*ordinal, member),
            None => return superseded(operation, "a group without that member"),
        },
        former: String::new(),
    };
    let attempts = operation.tried(&target.target());
    if attempts >= ATTEMPTS_MAX {
        return exhausted(&target, attempts);
    }
    if roles::unseen_primary(seen, state)
        .is_none_or(|lost| roles::successor(seen, state, lost).is_none())
    {
        let message = format!("neither the primary nor {name}, which held its replica, answers");
        return Decision::wait(Reason::GroupUnreachable, message);
    }
    Decision::wait(Reason::SwitchingPrimary, format!("{name} is to be the primary"))
}

/// Whether another operation waits for the end of this operation. An operation on replication that is parked
/// holds nobody up.
fn others_wait(inputs: Inputs<'_>) -> bool {
    let without = without_operation(inputs.state);
    let inputs = Inputs { state: &without, ..inputs };
    matches!(super::after_replication(inputs), Decision::Begin { .. })
}

/// Whether a roll waits for the end of this operation. The member that this one waits for may come
/// back by the roll alone, and what the group refuses may be what another image mends.
fn a_roll_waits(inputs: Inputs<'_>) -> bool {
    let without = without_operation(inputs.state);
    let inputs = Inputs { state: &without, ..inputs };
    let first = super::roll::goes_first(inputs).unwrap_or_else(|| super::roll::decide(inputs));
    matches!(first, Decision::Begin { .. })
}

fn without_operation(state: &CacheState) -> CacheState {
    CacheState { operation: None, ..state.clone() }
}

/// A parked move of the primary's role: a roll does not wait for it, and each change of the spec is a
/// reason to try again, as its message says.
fn stays_parked(inputs: Inputs<'_>, operation: &Operation, parked: &Parked) -> Decision {
    if a_roll_waits(inputs) {
        return superseded(operation, "a roll of the pod template");
    }
    begins_anew(inputs, operation)
        .unwrap_or_else(|| Decision::wait(Reason::Parked, parked.message.clone()))
}

/// What was parked after failed attempts ends with each change of the spec.
fn begins_anew(inputs: Inputs<'_>, operation: &Operation) -> Option<Decision> {
    let generation = inputs.wanted.generation;
    let failed = operation.parked.as_ref()?.reason == Reason::StepFailed.as_str();
    let is_another = failed && generation != operation.cause.generation;
    is_another.then(|| superseded(operation, &format!("generation {generation}, to begin anew")))
}

/// Whether an operation of this kind ends when members need something: replication waits for
/// members, never the other way round.
pub(super) fn yields_to_members(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::ReplicationSetUp | OperationKind::PrimarySwitch)
}

/// Why the primary at `ordinal` cannot leave the group.
pub(super) fn cannot_leave(inputs: Inputs<'_>, ordinal: Ordinal) -> Decision {
    let name = views::name_of(inputs.state, ordinal);
    let why = if inputs.wanted.replicate {
        "no other member that stays can take its place"
    } else {
        "spec.replication.mode is Off and it has no replica among the members that stay"
    };
    let message = format!("{name} is the primary and is not disjoined: {why}");
    Decision::wait(Reason::Deferred, message)
}

/// What is told of the primary whose volume is gone, where a replica takes over.
pub(super) fn takes_over(inputs: Inputs<'_>, lost: Ordinal) -> Option<Decision> {
    let Inputs { seen, state, .. } = inputs;
    let successor = roles::successor(seen, state, lost)?;
    let message = format!(
        "the volume of {}, the primary, is gone; {} holds the replica and takes over",
        views::name_of(state, lost),
        views::name_of(state, successor)
    );
    Some(Decision::wait(Reason::SwitchingPrimary, message))
}

/// What is told of a primary that no record knows: its volume was lost before the group was adopted.
pub(super) fn database_lost(inputs: Inputs<'_>) -> Option<Decision> {
    let lost = roles::unseen_primary(inputs.seen, inputs.state)?;
    if inputs.state.members.contains_key(&lost) {
        return None;
    }
    let message = format!(
        "the volume of {}, which held the group's configuration, is gone; restore it, or delete the \
         cache and make it again",
        views::name_of(inputs.state, lost)
    );
    takes_over(inputs, lost).or_else(|| Some(Decision::wait(Reason::PrimaryVolumeLost, message)))
}

/// Ends an operation for what comes in its place.
pub(super) fn superseded(operation: &Operation, by: &str) -> Decision {
    ended(operation, End::Superseded { by: by.to_owned() }, by)
}

fn ended(operation: &Operation, end: End, evidence: &str) -> Decision {
    let mut events = Vec::new();
    if operation.parked.is_some() {
        events.push(Event::OperationResumed { evidence: evidence.to_owned() });
    }
    events.push(Event::OperationEnded { end });
    Decision::Record(events)
}
