//! The nine conditions of an `XsldCache`.

use xsld_journal::event::{Goal, OperationKind};
use xsld_journal::state::Operation;

use super::conditions::Verdict;
use super::degraded::{self, named, unseen, waiting};
use super::facts::{Facts, Group};
use super::fit::{names, sentence};
use super::{hindrance, operation, ready};
use crate::crd::{ConditionReason as Reason, ConditionType as Type, MemberOnline, ReplicationMode};
use crate::decide::{older, storage};
use crate::observation::Growth;
use crate::validate;

/// All nine, in the order in which a status lists them.
pub(super) fn conditions(facts: &Facts<'_>) -> [(Type, Verdict); 9] {
    Type::ALL.map(|kind| (kind, verdict(facts, kind)))
}

fn verdict(facts: &Facts<'_>, kind: Type) -> Verdict {
    match kind {
        Type::Ready => ready::verdict(facts),
        Type::Progressing => progressing(facts),
        Type::Degraded => degraded::verdict(facts),
        Type::MembersJoined => joined(facts),
        Type::GroupReachable => reachable(facts),
        Type::ReplicationReady => replicated(facts),
        Type::Deferred => deferred(facts),
        Type::NeedsAttention => needs_attention(facts),
        Type::JournalHealthy => journal(facts),
    }
}

fn progressing(facts: &Facts<'_>) -> Verdict {
    let inputs = facts.inputs;
    let waiting = waiting(facts);
    if let Some(open) = &inputs.state.operation {
        if let (Some(waiting), None) = (waiting, &open.parked) {
            let (reason, message) = hindrance::behind(facts, waiting);
            return Verdict::yes(reason, message);
        }
        if let Some((reason, why)) = standstill(facts)
            && open.step.is_none()
            && open.parked.is_none()
        {
            return Verdict::yes(reason, format!("{why}: {} waits", operation::named(open)));
        }
        return Verdict::yes(operation::reason(open), operation::message(open));
    }
    if facts.deleting {
        return Verdict::yes(Reason::Deleting, "the XsldCache is being deleted");
    }
    if let Some(waiting) = waiting {
        let (reason, message) = hindrance::behind(facts, waiting);
        return Verdict::no(reason, message);
    }
    if !inputs.invalid.is_empty() {
        return Verdict::no(Reason::SpecInvalid, validate::summary(inputs.invalid));
    }
    if let Some(problem) = inputs.problems.first() {
        return Verdict::no(problem.reason, problem.message.clone());
    }
    if inputs.seen.is_none() {
        let (reason, message) = unseen(facts);
        return Verdict::unknown(reason, message);
    }
    if let Some((reason, why)) = standstill(facts) {
        return Verdict::no(reason, format!("{why} and no operation is open"));
    }
    Verdict::no(Reason::Settled, "no operation is open")
}

/// Whether the present view lists exactly the wanted members and the journal has recorded all of
/// their joins: a member is listed before its join is over.
pub(super) fn joined(facts: &Facts<'_>) -> Verdict {
    if facts.deleting {
        return Verdict::no(Reason::Deleting, "the XsldCache is being deleted");
    }
    match facts.told {
        Some(told) if told.fresh => {}
        Some(told) => {
            let message =
                format!("the primary does not answer; {} tells a former copy only", told.by);
            return Verdict::unknown(Reason::MemberUnreachable, message);
        }
        None if facts.group == Group::NotFormed && facts.inputs.seen.is_some() => {
            return Verdict::no(Reason::Bootstrapping, "the group is not formed yet");
        }
        None => {
            let (reason, message) = unseen(facts);
            return Verdict::unknown(reason, message);
        }
    }
    let missing: Vec<_> = facts
        .members
        .iter()
        .filter(|member| member.wanted && (member.listed.is_none() || member.recorded.is_none()))
        .collect();
    let surplus: Vec<_> =
        facts.members.iter().filter(|member| !member.wanted && member.listed.is_some()).collect();
    if missing.is_empty() && surplus.is_empty() {
        let message = format!("{0} of {0} wanted members are in the group", facts.size);
        return Verdict::yes(Reason::Joined, message);
    }
    let told = |members: &[&super::facts::Member<'_>]| {
        names(members.iter().map(|member| member.name.as_str()))
    };
    let message = match (missing.is_empty(), surplus.is_empty()) {
        (false, true) => format!("not in the group yet: {}", told(&missing)),
        (true, false) => format!("in the group and not wanted: {}", told(&surplus)),
        _ => format!("not in the group yet: {}; not wanted: {}", told(&missing), told(&surplus)),
    };
    let reason = match (&facts.inputs.state.operation, waiting(facts)) {
        (Some(open), _) if open.kind.touches_membership() => operation::reason(open),
        (_, Some(waiting)) => waiting.reason,
        _ => match standstill(facts) {
            Some((reason, _)) => reason,
            None if missing.is_empty() => Reason::ViewsDiffer,
            None => Reason::Deferred,
        },
    };
    Verdict::no(reason, message)
}

fn reachable(facts: &Facts<'_>) -> Verdict {
    match facts.told {
        Some(told) if told.fresh => {
            return Verdict::yes(
                Reason::Reachable,
                format!("the group answers through {}", told.by),
            );
        }
        Some(told) => {
            let message = format!(
                "{} answers with its last known copy, because the primary does not answer",
                told.by
            );
            return Verdict::yes(Reason::MemberUnreachable, message);
        }
        None => {}
    }
    let (reason, message) = unseen(facts);
    match reason {
        Reason::NotObserved
        | Reason::Rebuilding
        | Reason::ReadRefused
        | Reason::WriteRefused
        | Reason::ApiUnavailable => Verdict::unknown(reason, message),
        _ if facts.group == Group::NotFormed && reason == Reason::GroupUnreachable => {
            Verdict::no(Reason::Bootstrapping, "the group is not formed yet")
        }
        _ => Verdict::no(reason, message),
    }
}

fn replicated(facts: &Facts<'_>) -> Verdict {
    if facts.deleting && facts.told.is_none() {
        return Verdict::no(Reason::Deleting, "the XsldCache is being deleted");
    }
    if let Some(told) = facts.told.filter(|told| told.fresh) {
        let replica = told.view.members.iter().find(|member| {
            member.replication.as_deref() == Some("slave")
                && facts
                    .members
                    .iter()
                    .any(|known| known.name == member.name && known.online == MemberOnline::True)
        });
        if let Some(replica) = replica {
            let message =
                format!("{} holds the replica of the configuration database", replica.name);
            return Verdict::yes(Reason::Replicating, message);
        }
    } else if facts.group != Group::NotFormed || facts.inputs.seen.is_none() {
        let (reason, message) = match facts.told {
            Some(_) => (Reason::MemberUnreachable, "the primary does not answer".to_owned()),
            None => unseen(facts),
        };
        return Verdict::unknown(reason, message);
    }
    let open = facts.inputs.state.operation.as_ref();
    let setting_up = open.filter(|open| open.kind == OperationKind::ReplicationSetUp);
    if let Some(open) = setting_up {
        return Verdict::no(Reason::SettingUpReplication, operation::message(open));
    }
    let spec = &facts.inputs.object.spec;
    let message = if spec.replication.mode.known() == Some(&ReplicationMode::Off) {
        "spec.replication.mode is Off: the configuration database has no replica"
    } else if facts.size < 2 {
        "a cache of one member has no place for a replica of the configuration database"
    } else {
        let message = "the configuration database has no replica yet: one is set up once the group \
                       is at rest";
        return Verdict::no(Reason::SettingUpReplication, message);
    };
    Verdict::no(Reason::ReplicationOff, message)
}

fn deferred(facts: &Facts<'_>) -> Verdict {
    let inputs = facts.inputs;
    let spec = &inputs.object.spec;
    if !inputs.invalid.is_empty() && !facts.deleting {
        let message = "a spec that breaks a rule is not compared with what is there";
        return Verdict::unknown(Reason::SpecInvalid, message);
    }
    if let Some(open) = &inputs.state.operation
        && let Some(what) = goes_first(facts, open)
    {
        let message =
            format!("{what} waits until the step in flight of {} ends", operation::named(open));
        return Verdict::yes(Reason::Deferred, message);
    }
    if facts.deleting {
        return Verdict::no(Reason::Settled, "no wish of the spec waits");
    }
    if let Some(message) = spec_older(facts) {
        return Verdict::yes(Reason::SpecOlder, with_drains(facts, message));
    }
    if spec.paused {
        return match unmet(facts) {
            Some(what) => {
                let message = format!("spec.paused is set: {what} waits");
                Verdict::yes(Reason::Paused, with_drains(facts, message))
            }
            None => Verdict::no(Reason::Paused, "spec.paused is set and nothing waits"),
        };
    }
    if let Some(waiting) = waiting(facts)
        && matches!(
            waiting.reason,
            Reason::ForeignTask
                | Reason::CapacityShort
                | Reason::WaitingForLease
                | Reason::PartitionReached
                | Reason::Deferred
                | Reason::Superseded
        )
    {
        return Verdict::yes(waiting.reason, waiting.message.clone());
    }
    if let Some(message) = passwords_wait(facts) {
        return Verdict::yes(Reason::RotatingCredentials, message);
    }
    if let Some((reason, message)) = volumes_wait(facts) {
        return Verdict::yes(reason, message);
    }
    if let Some(update) = inputs.update {
        return Verdict::yes(update.reason, update.message.clone());
    }
    match catalogs_wait(facts) {
        Some(message) => Verdict::yes(Reason::RequiresUpdate, message),
        None => Verdict::no(Reason::Settled, "no wish of the spec waits"),
    }
}

/// What is told of an operation that stands still, and why nobody may be evicted meanwhile.
fn with_drains(facts: &Facts<'_>, message: String) -> String {
    match &facts.inputs.no_evictions {
        Some(why) => format!("{message}; no member may be evicted meanwhile, because {why}"),
        None => message,
    }
}

/// Who takes the former password only, if anyone does.
fn passwords_wait(facts: &Facts<'_>) -> Option<String> {
    let told = named(facts, |member| member.report.is_some_and(|report| report.takes_former))?;
    Some(format!(
        "the former password is still the one that is taken by {told}: set the new one in the \
         group; the former is held until every member takes the new one"
    ))
}

/// Why the volumes are smaller than the spec asks for, if they are.
fn volumes_wait(facts: &Facts<'_>) -> Option<(Reason, String)> {
    let seen = facts.inputs.seen?;
    let size = facts.inputs.object.spec.storage.size.as_str();
    let replicas = facts.inputs.state.committed.replicas.unwrap_or(0);
    if let Some((_, claim, from)) = storage::smaller(seen, replicas, size) {
        return Some(match &claim.growth {
            Some(Growth::Refused { reason }) => {
                let message = format!(
                    "spec.storage.size is {size} and {} stays at {from}: {reason}; allow it, or \
                     make the cache again with larger volumes",
                    claim.name
                );
                (Reason::VolumesCannotGrow, sentence(&message, 1024))
            }
            Some(Growth::Allowed) | None => {
                let message = format!("{} is to grow from {from} to {size}", claim.name);
                (Reason::GrowingVolumes, message)
            }
        });
    }
    if let Some((claim, has)) = storage::larger(seen, replicas, size) {
        return Some((Reason::VolumesCannotShrink, storage::cannot_shrink(claim, has, size)));
    }
    let growing = names(storage::growing(seen).map(|claim| claim.name.as_str()));
    (!growing.is_empty())
        .then(|| (Reason::GrowingVolumes, format!("the storage has not grown yet: {growing}")))
}

/// What the spec asks for and the open operation is not about.
fn goes_first(facts: &Facts<'_>, open: &Operation) -> Option<String> {
    let spec = &facts.inputs.object.spec;
    if facts.deleting {
        return (open.kind != OperationKind::Delete).then(|| "deletion".to_owned());
    }
    let catalogs = u32::try_from(spec.catalogs).unwrap_or(0);
    match &open.goal {
        Goal::Members { size, .. } if *size != facts.size => Some(format!("size {}", facts.size)),
        Goal::Members { catalogs: goal, .. } if *goal != catalogs => {
            Some(format!("spec.catalogs {catalogs}"))
        }
        Goal::Members { .. } | Goal::Gone { .. } => None,
        Goal::Grid { .. }
        | Goal::Template { .. }
        | Goal::Replica { .. }
        | Goal::Primary { .. }
        | Goal::Storage { .. }
        | Goal::PodTemplate { .. } => members_wanted(facts),
    }
}

/// What of the spec is not met, in words; none when all is. Asked when the cache is paused.
pub(super) fn unmet(facts: &Facts<'_>) -> Option<String> {
    if let Some(open) = &facts.inputs.state.operation {
        return Some(operation::named(open));
    }
    members_wanted(facts)
        .or_else(|| facts.inputs.update.map(|_| "a changed pod template".to_owned()))
}

/// The wanted size, if the recorded members are others than the wanted ones.
fn members_wanted(facts: &Facts<'_>) -> Option<String> {
    let state = facts.inputs.state;
    let as_wanted = state.members.keys().copied().eq(0..facts.size) && state.leaving.is_empty();
    (!as_wanted).then(|| format!("size {}", facts.size))
}

/// Whether members run catalog servers as the spec says. A change applies to later joins, so a
/// difference stays until then, and is told.
fn catalogs_wait(facts: &Facts<'_>) -> Option<String> {
    facts.told?;
    let spec = &facts.inputs.object.spec;
    let catalogs = u32::try_from(spec.catalogs).unwrap_or(0);
    let differ = named(facts, |member| {
        let wants = member.ordinal.is_some_and(|ordinal| ordinal < catalogs);
        let known = member.catalog().filter(|_| member.wanted && member.recorded.is_some());
        known.is_some_and(|catalog| catalog != wants)
    })?;
    Some(format!(
        "spec.catalogs is {catalogs}, which applies to later joins; otherwise now: {differ}"
    ))
}

fn needs_attention(facts: &Facts<'_>) -> Verdict {
    let inputs = facts.inputs;
    let parked = inputs.state.operation.as_ref().and_then(operation::parked_message);
    let older = spec_older(facts);
    if let (Some(message), None) = (&parked, &older) {
        return Verdict::yes(Reason::Parked, with_drains(facts, message.clone()));
    }
    if let Some((reason, message)) = degraded::volume_going(facts) {
        return Verdict::yes(reason, message);
    }
    if let Some(older) = older {
        let message = match parked {
            Some(parked) => format!("{older}. Beside that: {parked}"),
            None => older,
        };
        return Verdict::yes(Reason::SpecOlder, with_drains(facts, message));
    }
    if let Some(waiting) = waiting(facts)
        && is_for_a_person(waiting.reason)
    {
        return Verdict::yes(waiting.reason, waiting.message.clone());
    }
    if let Some(update) = inputs.update.filter(|update| update.reason == Reason::RolloutHalted) {
        return Verdict::yes(update.reason, update.message.clone());
    }
    if let Some((reason, message)) = degraded::taken(facts).filter(|_| !facts.deleting) {
        return Verdict::yes(reason, message);
    }
    // While the cache goes, its spec no longer matters.
    if !inputs.invalid.is_empty() && !facts.deleting {
        return Verdict::yes(Reason::SpecInvalid, validate::summary(inputs.invalid));
    }
    let problem = inputs.problems.iter().find(|problem| is_for_a_person(problem.reason));
    if let Some(problem) = problem {
        return Verdict::yes(problem.reason, problem.message.clone());
    }
    if inputs.seen.is_none() {
        let (reason, message) = unseen(facts);
        return Verdict::unknown(reason, message);
    }
    Verdict::no(Reason::Settled, "nothing waits for a person")
}

/// What is told of a spec that is older than what was acted on, until somebody confirms it.
pub(super) fn spec_older(facts: &Facts<'_>) -> Option<String> {
    let older = facts.inputs.state.older.as_ref().filter(|_| !facts.deleting)?;
    let metadata = &facts.inputs.object.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let object = (metadata.namespace.as_deref().unwrap_or_default(), name);
    Some(older::words(object, metadata.generation.unwrap_or(0), facts.size, older))
}

/// Why nothing new is done for the spec; none when it is followed.
pub(super) fn standstill(facts: &Facts<'_>) -> Option<(Reason, &'static str)> {
    match facts.inputs.state.older {
        Some(_) if !facts.deleting => {
            Some((Reason::SpecOlder, "the spec is older than what was acted on"))
        }
        _ => facts.inputs.object.spec.paused.then_some((Reason::Paused, "spec.paused is set")),
    }
}

/// Whether nothing but a person can change what is waited for.
fn is_for_a_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PrimaryVolumeLost
            | Reason::AdoptionUndecided
            | Reason::VolumeTerminating
            | Reason::NotConverging
            | Reason::Parked
            | Reason::CredentialsInvalid
            | Reason::CertificateChanged
            | Reason::CertificateUntrusted
            | Reason::ProfileInvalid
            | Reason::SecretInvalid
            | Reason::WriteRefused
            | Reason::ReadRefused
            | Reason::NameTaken
            | Reason::SpecOlder
    )
}

fn journal(facts: &Facts<'_>) -> Verdict {
    let mut problems = facts.inputs.problems.iter();
    let problem = problems.find(|problem| {
        matches!(problem.reason, Reason::JournalFailed | Reason::JournalGap | Reason::JournalForked)
    });
    match problem {
        Some(problem) => Verdict::no(problem.reason, problem.message.clone()),
        None => sound_journal(facts),
    }
}

/// A journal that takes records; after a gap it says so for ever.
fn sound_journal(facts: &Facts<'_>) -> Verdict {
    let sound = "the journal takes records and matches its anchor";
    match &facts.inputs.gap {
        None => Verdict::yes(Reason::Healthy, sound),
        Some(gap) => Verdict::yes(
            Reason::JournalGap,
            format!(
                "{sound}; it was begun anew after journal {}, of which record {} is the last that \
                 was anchored and {} were found",
                gap.old_journal, gap.anchor_seq, gap.found_seq
            ),
        ),
    }
}
