//! The operation in flight, those that are over, and the end of the journal.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;
use xsld_journal::chain;
use xsld_journal::event::{End, OperationKind, Step};
use xsld_journal::state::{EndedOperation, Operation};
use xsld_journal::store::StreamHead;

use super::fit::sentence;
use crate::crd::{ConditionReason as Reason, JournalStatus, OperationStatus};
use crate::events::words::{action_of, goal_words, step_action};

/// The operation in flight as a status shows it.
pub(super) fn status(operation: &Operation) -> OperationStatus {
    let open = operation.cancel.as_ref().or(operation.step.as_ref());
    OperationStatus {
        id: operation.id.to_string(),
        kind: action_of(operation.kind).to_owned(),
        step: open.map(|open| sentence(&step_line(&open.step), 256)),
        started_at: time(operation.begun_us),
        reason: Some(sentence(&operation.cause.reason, 512)),
        attempts: open.map(|open| i32::try_from(open.attempt).unwrap_or(i32::MAX)),
    }
}

/// The operation with its goal and its first record, for a sentence.
pub(super) fn named(operation: &Operation) -> String {
    let kind = operation.kind.name();
    format!("{kind} {} (journal sequence {})", goal_words(&operation.goal), operation.begun_seq)
}

/// What an operation is about just now, in one word.
pub(super) fn reason(operation: &Operation) -> Reason {
    if operation.parked.is_some() {
        return Reason::Parked;
    }
    if operation.cancel.is_some() {
        return Reason::TaskStalled;
    }
    match operation.step.as_ref().map(|open| &open.step) {
        Some(Step::JoinMember { .. }) => Reason::Joining,
        Some(Step::DisjoinMember { .. }) => Reason::Disjoining,
        Some(Step::RemoveGhostMember { .. }) => Reason::RemovingGhostMember,
        Some(Step::ResetMember { .. }) => Reason::ResettingMember,
        Some(Step::DeleteVolume { .. }) => Reason::ReclaimingVolume,
        Some(Step::CancelTask { .. }) => Reason::TaskStalled,
        Some(Step::CreateGrid { .. }) => Reason::Creating,
        Some(Step::UpdateGrid { .. }) => Reason::Updating,
        Some(
            Step::DeleteGrid { .. } | Step::DeleteStatefulSet { .. } | Step::DeleteTemplate { .. },
        ) => Reason::Deleting,
        Some(Step::UploadTemplate { .. }) => Reason::Uploading,
        Some(Step::SetUpReplication { .. }) => Reason::SettingUpReplication,
        Some(Step::PromotePrimary { .. }) => Reason::SwitchingPrimary,
        Some(Step::GrowVolume { .. }) => Reason::GrowingVolumes,
        Some(Step::RollMember { .. }) => Reason::RollingImage,
        Some(Step::SetTemplate { .. } | Step::ScaleStatefulSet { .. }) | None => {
            reason_of_kind(operation.kind)
        }
    }
}

fn reason_of_kind(kind: OperationKind) -> Reason {
    match kind {
        OperationKind::Bootstrap => Reason::Bootstrapping,
        OperationKind::ScaleUp => Reason::Joining,
        OperationKind::ScaleDown => Reason::Disjoining,
        OperationKind::Repair => Reason::Repairing,
        OperationKind::GridCreate => Reason::Creating,
        OperationKind::GridUpdate => Reason::Updating,
        OperationKind::GridDelete | OperationKind::Delete | OperationKind::TemplateDelete => {
            Reason::Deleting
        }
        OperationKind::TemplateUpload => Reason::Uploading,
        OperationKind::GridRecover => Reason::RecoveringGrid,
        OperationKind::ReplicationSetUp => Reason::SettingUpReplication,
        OperationKind::PrimarySwitch => Reason::SwitchingPrimary,
        OperationKind::StorageGrowth => Reason::GrowingVolumes,
        OperationKind::ImageRoll => Reason::RollingImage,
    }
}

/// What an operation is about just now, in one sentence.
pub(super) fn message(operation: &Operation) -> String {
    if let Some(parked) = &operation.parked {
        return parked_message(operation).unwrap_or_else(|| parked.message.clone());
    }
    let open = operation.cancel.as_ref().or(operation.step.as_ref());
    match open {
        Some(open) => format!("{}: {}", named(operation), open.step.describe()),
        None => format!("{}: {}", named(operation), operation.cause.reason),
    }
}

/// Why the operation waits for evidence or a person, if it does.
pub(super) fn parked_message(operation: &Operation) -> Option<String> {
    let parked = operation.parked.as_ref()?;
    Some(format!(
        "{} is parked since journal sequence {} ({}): {}",
        named(operation),
        parked.seq,
        parked.reason,
        parked.message
    ))
}

/// The step in few words: its kind and its object.
fn step_line(step: &Step) -> String {
    let object = match step {
        Step::SetTemplate { digest, .. } => digest.get(..12).unwrap_or(digest).to_owned(),
        Step::ScaleStatefulSet { from, to } => format!("{from} -> {to}"),
        Step::JoinMember { member, .. }
        | Step::DisjoinMember { member, .. }
        | Step::RemoveGhostMember { member, .. }
        | Step::ResetMember { member } => member.name.clone(),
        Step::CancelTask { member, task } => format!("{task} on {}", member.name),
        Step::DeleteVolume { claim, .. } => claim.clone(),
        Step::CreateGrid { name, .. }
        | Step::UpdateGrid { name, .. }
        | Step::DeleteGrid { name, .. }
        | Step::UploadTemplate { name, .. }
        | Step::DeleteTemplate { name, .. } => name.clone(),
        Step::DeleteStatefulSet { uid } => uid.clone(),
        Step::SetUpReplication { replica, .. } => replica.name.clone(),
        Step::PromotePrimary { member, .. } => member.name.clone(),
        Step::GrowVolume { claim, from, to, .. } => format!("{claim} {from} -> {to}"),
        Step::RollMember { member, .. } => member.name.clone(),
    };
    format!("{} {object}", step_action(step))
}

/// An operation that is over, in one line that begins with the time of its end.
pub(super) fn line(ended: &EndedOperation) -> String {
    let at = time(ended.ended_us).map_or_else(|| "-".to_owned(), |time| time.0.to_string());
    let what = format!("{} {}", ended.kind.name(), goal_words(&ended.goal));
    let span = span(ended.ended_us.saturating_sub(ended.begun_us));
    let records = format!("(seq {}-{})", ended.begun_seq, ended.ended_seq);
    let line = match &ended.end {
        End::Succeeded => format!("{at} {what} succeeded in {span} {records}"),
        End::Failed { reason } => format!("{at} {what} failed after {span} {records}: {reason}"),
        End::Superseded { by } => {
            format!("{at} {what} was superseded after {span} {records} by {by}")
        }
    };
    sentence(&line, 512)
}

/// The end of a stream as a status shows it.
pub(super) fn journal(head: StreamHead, journal_id: Uuid) -> JournalStatus {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    JournalStatus {
        id: journal_id.to_string(),
        epoch: signed(head.epoch.0),
        sequence: signed(head.seq),
        hash: chain::to_hex(&head.hash),
    }
}

/// A record's time, in whole seconds; none when it is beyond any calendar.
fn time(us: i64) -> Option<Time> {
    Timestamp::from_microsecond(us).ok().map(super::whole_seconds)
}

/// A span for people, such as `3m12s`. A clock that was set back gives `0s`.
fn span(us: i64) -> String {
    let seconds = u64::try_from(us / 1_000_000).unwrap_or(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest:02}s"),
        (hours, minutes) => format!("{hours}h{minutes:02}m{rest:02}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_largest_units() {
        assert_eq!(span(0), "0s");
        assert_eq!(span(-5_000_000), "0s");
        assert_eq!(span(192_000_000), "3m12s");
        assert_eq!(span(3_725_999_999), "1h02m05s");
    }
}
