//! Records in words.

use super::output::Mood;
use crate::event::{AdoptedMember, Cause, End, Event, Goal, HeldClaim, Receipt};

/// What a record says, on one line. Its parts are not escaped yet.
pub(super) fn describe(event: &Event) -> String {
    match event {
        Event::Genesis { namespace_uid } => format!("of namespace {namespace_uid}"),
        Event::EpochBegun { holder } => format!("held by {holder}"),
        Event::Gap { old_journal, found_seq, anchor_seq, .. } => {
            format!("journal {old_journal} is lost after {found_seq}; it had {anchor_seq}")
        }
        Event::CacheOpened { namespace, name } => format!("{namespace}/{name}"),
        Event::OperationBegun { kind, goal, cause } => {
            format!("{}: {}, because {}", kind.name(), goal_text(goal), cause_text(cause))
        }
        Event::StepIntended { step, attempt, .. } => match attempt {
            1 => step.describe(),
            _ => format!("{} (attempt {attempt})", step.describe()),
        },
        Event::StepAccepted { task: Some(task), .. } => format!("as task {task}"),
        Event::StepAccepted { task: None, .. } => String::new(),
        Event::StepUnknown { reason, .. }
        | Event::StepFailed { reason, .. }
        | Event::StepNotSent { reason, .. }
        | Event::CacheLeft { reason, .. }
        | Event::CacheClosed { reason } => reason.clone(),
        Event::StepSucceeded { found_by_probe, flagged, .. } => {
            let probe = found_by_probe.then(|| "found by probe".to_owned());
            let flag = flagged.as_ref().map(|flag| format!("flagged: {flag}"));
            probe.into_iter().chain(flag).collect::<Vec<_>>().join("; ")
        }
        Event::StepVoid { .. } => "it can no longer take effect".to_owned(),
        Event::OperationParked { reason, message } => format!("{reason}: {message}"),
        Event::OperationResumed { evidence } => evidence.clone(),
        Event::OperationEnded { end } => end_text(end),
        Event::Bootstrapped { member, address, .. } => {
            format!("{} at {address} is the group", member.name)
        }
        Event::MemberSeen { ordinal, address, incarnation } => {
            format!("member {ordinal} at {address}, pod {}", incarnation.pod_uid)
        }
        Event::MemberLost { ordinal, .. } => format!("member {ordinal} was found absent twice"),
        Event::TrustPinned { ordinal, fingerprint, .. } => {
            format!("member {ordinal} by certificate {fingerprint}")
        }
        Event::Adopted { members, replicas, .. } => adopted_text(members, *replicas),
        Event::MemberAdopted { member, .. } => {
            format!("{} at {}", member.member.name, member.address)
        }
        Event::AdoptionNoted { held, template } => held_text(held, template.as_deref()),
        Event::SpecOlder { generation, size, acted, acted_size, .. } => {
            older_text(*generation, *size, *acted, *acted_size)
        }
        Event::SpecConfirmed { generation, size } => spec_text(*generation, *size),
        Event::GridAdopted { name, .. } => format!("grid {name}"),
        Event::TemplateAdopted { name, .. } => format!("template {name}"),
        Event::MemberAbsent { member, receipt } => {
            format!("{} ({})", member.name, receipt_text(receipt))
        }
        Event::VolumeRetained { ordinal, claim_uid } => {
            format!("claim {claim_uid} of member {ordinal}")
        }
        Event::Decided { who, decision, why } => format!("{who}: {decision}, because {why}"),
        Event::RecordsRetired { through, records, reason, .. } => {
            format!("{records} records up to {through}: {reason}")
        }
        Event::ObjectGone { name, reason, .. } => format!("{name}: {reason}"),
        Event::GridsLeftOut { grids, again, reason } => {
            format!("{}: {reason}", [&grids[..], &again[..]].concat().join(", "))
        }
    }
}

fn spec_text(generation: i64, size: u32) -> String {
    format!("generation {generation}, size {size}")
}

fn older_text(generation: i64, size: u32, acted: i64, acted_size: Option<u32>) -> String {
    let spec = spec_text(generation, size);
    let newest = acted_size.map_or_else(
        || format!("generation {acted}"),
        |size| format!("{},", spec_text(acted, size)),
    );
    format!("{spec}, though {newest} was acted on")
}

fn adopted_text(members: &[AdoptedMember], replicas: Option<u32>) -> String {
    let names: Vec<_> = members.iter().map(|adopted| adopted.member.name.as_str()).collect();
    let replicas = replicas.map_or_else(|| "no".to_owned(), |count| count.to_string());
    format!("{replicas} replicas, members: {}", names.join(", "))
}

fn held_text(held: &[HeldClaim], template: Option<&str>) -> String {
    let held: Vec<_> = held.iter().map(|held| held.name.as_str()).collect();
    let template = template.map_or_else(String::new, |digest| {
        let short = digest.get(..12).unwrap_or(digest);
        format!("; pod template {short} waits for consent")
    });
    format!("volumes that are not wiped: {}{template}", held.join(", "))
}

/// What a goal is, in words.
pub(super) fn goal_text(goal: &Goal) -> String {
    match goal {
        Goal::Members { size, catalogs } => {
            format!("{} with {}", count(*size, "member"), count(*catalogs, "catalog server"))
        }
        Goal::Grid { name, digest, .. } if digest.is_empty() => format!("no grid {name}"),
        Goal::Grid { name, .. } => format!("grid {name} as specified"),
        Goal::Template { name, digest, .. } if digest.is_empty() => format!("no template {name}"),
        Goal::Template { name, .. } => format!("template {name} as specified"),
        Goal::Gone { delete_volumes: true } => "nothing is left, the claims neither".to_owned(),
        Goal::Gone { delete_volumes: false } => "nothing is left but the claims".to_owned(),
        Goal::Storage { size } => format!("volumes of {size}"),
        Goal::PodTemplate { digest, partition: 0, .. } => {
            format!("every member runs pod template {}", digest.get(..12).unwrap_or(digest))
        }
        Goal::PodTemplate { digest, partition, .. } => format!(
            "the members from {partition} on run pod template {}",
            digest.get(..12).unwrap_or(digest)
        ),
        Goal::Replica { name, .. } => format!("{name} holds the replica of the configuration"),
        Goal::Primary { name, .. } => format!("{name} is the primary"),
    }
}

/// A cause, in words.
pub(super) fn cause_text(cause: &Cause) -> String {
    format!("{} (generation {})", cause.reason, cause.generation)
}

/// An end, in words.
pub(super) fn end_text(end: &End) -> String {
    match end {
        End::Succeeded => "succeeded".to_owned(),
        End::Failed { reason } => format!("failed: {reason}"),
        End::Superseded { by } => format!("superseded by {by}"),
    }
}

/// A receipt, in words.
pub(super) fn receipt_text(receipt: &Receipt) -> String {
    match receipt {
        Receipt::Disjoined { seq } => format!("disjoined by record {seq}"),
        Receipt::NeverJoined { .. } => "it never joined".to_owned(),
        Receipt::FoundAbsent { .. } => "found absent twice".to_owned(),
        Receipt::Adopted { .. } => "absent when the journal was rebuilt".to_owned(),
        Receipt::CacheDeleted => "the cache is deleted".to_owned(),
        Receipt::NeverBound { .. } => "it never had a volume".to_owned(),
    }
}

fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// What an event's name is to look like.
pub(super) fn mood(event: &Event) -> Mood {
    match event {
        Event::StepSucceeded { flagged: None, .. }
        | Event::OperationEnded { end: End::Succeeded }
        | Event::OperationResumed { .. }
        | Event::Bootstrapped { .. } => Mood::Good,
        Event::StepSucceeded { flagged: Some(_), .. }
        | Event::StepUnknown { .. }
        | Event::StepVoid { .. }
        | Event::StepNotSent { .. }
        | Event::OperationParked { .. }
        | Event::SpecOlder { .. }
        | Event::OperationEnded { end: End::Superseded { .. } } => Mood::Doubt,
        Event::StepFailed { .. }
        | Event::OperationEnded { end: End::Failed { .. } }
        | Event::MemberLost { .. }
        | Event::CacheLeft { .. }
        | Event::Gap { .. } => Mood::Bad,
        Event::Genesis { .. }
        | Event::EpochBegun { .. }
        | Event::CacheOpened { .. }
        | Event::OperationBegun { .. }
        | Event::StepIntended { .. }
        | Event::StepAccepted { .. }
        | Event::MemberSeen { .. }
        | Event::TrustPinned { .. }
        | Event::Adopted { .. }
        | Event::GridAdopted { .. }
        | Event::TemplateAdopted { .. }
        | Event::RecordsRetired { .. }
        | Event::ObjectGone { .. }
        | Event::MemberAdopted { .. }
        | Event::AdoptionNoted { .. }
        | Event::GridsLeftOut { .. }
        | Event::SpecConfirmed { .. }
        | Event::MemberAbsent { .. }
        | Event::VolumeRetained { .. }
        | Event::Decided { .. }
        | Event::CacheClosed { .. } => Mood::Plain,
    }
}
