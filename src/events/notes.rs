//! Which records deserve an Event, and what it says. Pure.

use xsld_journal::event::{End, Event, OperationKind, Receipt, Step, StepKey};
use xsld_journal::record::Record;
use xsld_journal::state::{CacheState, OpenStep};

use super::Note;
use super::words::{action_of, goal_words, step_action};

/// The Events that these records of one cache's stream deserve, in their order. `before` is the
/// state that they were appended to: an outcome names its step by a key only.
///
/// Told are: an operation that began, ended, was parked or went on; each destructive step's intent;
/// the outcome of each destructive step and of each join; and what became of members and claims by
/// itself.
pub fn notes(records: &[Record], before: &CacheState) -> Vec<Note> {
    let mut state = before.clone();
    let mut notes = Vec::new();
    for record in records {
        let told = tell(&record.event, &state);
        notes.extend(told.map(|told| Note {
            reason: told.reason,
            warning: told.warning,
            message: told.message,
            operation: record.envelope.operation,
            seq: Some(record.seq()),
            action: told.action,
        }));
        // A record that the state refuses was never appended to it; the others still tell.
        let folded = state.clone();
        if state.apply(record.stamp(), &record.event).is_err() {
            state = folded;
        }
    }
    notes
}

/// The part of a [`Note`] that the event alone gives.
struct Told {
    reason: &'static str,
    warning: bool,
    message: String,
    action: &'static str,
}

impl Told {
    fn normal(reason: &'static str, action: &'static str, message: String) -> Option<Self> {
        Some(Self { reason, warning: false, message, action })
    }

    fn warning(reason: &'static str, action: &'static str, message: String) -> Option<Self> {
        Some(Self { reason, warning: true, message, action })
    }
}

fn tell(event: &Event, state: &CacheState) -> Option<Told> {
    match event {
        Event::OperationBegun { .. }
        | Event::OperationEnded { .. }
        | Event::OperationParked { .. }
        | Event::OperationResumed { .. }
        | Event::GridsLeftOut { .. }
        | Event::Decided { .. } => operation(event, state),
        Event::StepIntended { .. }
        | Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepVoid { .. }
        | Event::StepNotSent { .. } => step(event, state),
        Event::Bootstrapped { .. }
        | Event::MemberLost { .. }
        | Event::MemberAbsent { .. }
        | Event::VolumeRetained { .. }
        | Event::Adopted { .. }
        | Event::MemberAdopted { .. }
        | Event::GridAdopted { .. }
        | Event::CacheLeft { .. }
        | Event::SpecOlder { .. }
        | Event::SpecConfirmed { .. }
        | Event::TemplateAdopted { .. } => found(event, state),
        Event::CacheClosed { reason } => closed(reason, state),
        // Bookkeeping: nothing in the world changed that a person would want to hear of.
        Event::Genesis { .. }
        | Event::EpochBegun { .. }
        | Event::Gap { .. }
        | Event::CacheOpened { .. }
        | Event::StepAccepted { .. }
        | Event::StepUnknown { .. }
        | Event::MemberSeen { .. }
        | Event::TrustPinned { .. }
        | Event::RecordsRetired { .. }
        | Event::ObjectGone { .. }
        | Event::AdoptionNoted { .. } => None,
    }
}

fn operation(event: &Event, state: &CacheState) -> Option<Told> {
    if let Event::OperationBegun { kind, goal, cause } = event {
        let message = format!("{} {} began: {}", kind.name(), goal_words(goal), cause.reason);
        return Told::normal("OperationStarted", action_of(*kind), message);
    }
    let open = state.operation.as_ref();
    let what = open.map_or_else(
        || "the operation".to_owned(),
        |open| format!("{} {}", open.kind.name(), goal_words(&open.goal)),
    );
    let action = open.map_or("Operate", |open| action_of(open.kind));
    match event {
        Event::OperationEnded { end: End::Succeeded } => {
            let steps = open.map_or(0, |open| open.steps_done);
            let steps = if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") };
            Told::normal("OperationEnded", action, format!("{what} succeeded after {steps}"))
        }
        Event::OperationEnded { end: End::Failed { reason } } => {
            Told::warning("OperationEnded", action, format!("{what} failed: {reason}"))
        }
        Event::OperationEnded { end: End::Superseded { by } } => {
            Told::normal("OperationEnded", action, format!("{what} was superseded by {by}"))
        }
        Event::OperationParked { message, .. } => {
            Told::warning("OperationParked", action, format!("{what} is parked: {message}"))
        }
        Event::OperationResumed { evidence } => {
            Told::normal("OperationResumed", action, format!("{what} goes on: {evidence}"))
        }
        Event::GridsLeftOut { grids, again, reason } => {
            let message = match grids.as_slice() {
                [] => format!("{what} waits for {} again: {reason}", again.join(", ")),
                grids => format!("{what} does not wait for {}: {reason}", grids.join(", ")),
            };
            Told::normal("GridsLeftOut", action, message)
        }
        Event::Decided { who, decision, why } => {
            Told::normal("Decided", action, format!("{who} decided {decision} for {what}: {why}"))
        }
        _ => None,
    }
}

fn step(event: &Event, state: &CacheState) -> Option<Told> {
    match event {
        Event::StepIntended { step, attempt, .. } => {
            let message = match attempt {
                1 => format!("about to {}", step.describe()),
                _ => format!("about to {} (attempt {attempt})", step.describe()),
            };
            step.is_destructive()
                .then(|| Told::normal("StepIntended", step_action(step), message))
                .flatten()
        }
        Event::StepSucceeded { key, found_by_probe, flagged, .. } => {
            let open = told_step(state, *key)?;
            let mut message = format!("done: {}", open.step.describe());
            if *found_by_probe {
                message.push_str(" (found by looking, not told)");
            }
            match flagged {
                None => Told::normal("StepSucceeded", step_action(&open.step), message),
                Some(flagged) => {
                    message.push_str("; ");
                    message.push_str(flagged);
                    Told::warning("StepSucceeded", step_action(&open.step), message)
                }
            }
        }
        Event::StepFailed { key, reason, .. } => {
            let open = told_step(state, *key)?;
            let message = format!("failed to {}: {reason}", open.step.describe());
            Told::warning("StepFailed", step_action(&open.step), message)
        }
        Event::StepVoid { key, .. } => {
            let open = told_step(state, *key)?;
            let message = format!(
                "the attempt to {} can no longer take effect: the process that had it is gone",
                open.step.describe()
            );
            Told::warning("StepVoid", step_action(&open.step), message)
        }
        Event::StepNotSent { key, reason } => {
            let open = told_step(state, *key)?;
            let message = format!("did not {}: {reason}", open.step.describe());
            Told::normal("StepNotSent", step_action(&open.step), message)
        }
        _ => None,
    }
}

/// The open step of that key, if its outcome is worth an Event.
fn told_step(state: &CacheState, key: StepKey) -> Option<&OpenStep> {
    let operation = state.operation.as_ref()?;
    let mut open = operation.step.iter().chain(&operation.cancel);
    let open = open.find(|open| open.key == key)?;
    let joins = matches!(open.step, Step::JoinMember { .. });
    (joins || open.step.is_destructive()).then_some(open)
}

fn found(event: &Event, state: &CacheState) -> Option<Told> {
    let name_of = |ordinal: u32| {
        state
            .members
            .get(&ordinal)
            .map_or_else(|| format!("{}-{ordinal}", state.name), |member| member.name.clone())
    };
    match event {
        Event::Bootstrapped { member, address, .. } => Told::normal(
            "Bootstrapped",
            "Bootstrap",
            format!("{} at {address} is the group", member.name),
        ),
        Event::MemberLost { ordinal, .. } => Told::warning(
            "MemberLost",
            "ObserveMember",
            format!(
                "the group does not list {} any more, though nobody removed it",
                name_of(*ordinal)
            ),
        ),
        Event::MemberAbsent { member, receipt } => absent(&member.name, receipt),
        Event::VolumeRetained { ordinal, claim_uid } => Told::normal(
            "VolumeRetained",
            "RetainVolume",
            format!(
                "the claim of {}-{ordinal} ({claim_uid}) is kept, as spec.storage.retention says",
                state.name
            ),
        ),
        Event::Adopted { members, .. } => {
            let names: Vec<_> =
                members.iter().map(|adopted| adopted.member.name.as_str()).collect();
            let message = format!("the group was adopted as it was found: {}", names.join(", "));
            Told::warning("Adopted", "Adopt", message)
        }
        Event::CacheLeft { reason, .. } => left(reason, state),
        Event::SpecOlder { generation, size, acted, .. } => Told::warning(
            "SpecOlder",
            "ObserveSpec",
            format!(
                "the spec is of generation {generation} with size {size}, and generation {acted} was \
                 acted on: nothing is done for it before somebody confirms it"
            ),
        ),
        Event::SpecConfirmed { generation, size } => Told::normal(
            "SpecConfirmed",
            "ObserveSpec",
            format!("the spec of generation {generation} with size {size} was confirmed"),
        ),
        Event::MemberAdopted { member, .. } => Told::warning(
            "MemberAdopted",
            "Adopt",
            format!("the group lists {}, which was taken over as it was found", member.member.name),
        ),
        Event::TemplateAdopted { name, .. } => Told::normal(
            "TemplateAdopted",
            "AdoptTemplate",
            format!("template {name} exists already as it is wanted and was taken over"),
        ),
        Event::GridAdopted { name, .. } => Told::normal(
            "GridAdopted",
            "AdoptGrid",
            format!("grid {name} exists already as it is wanted and was taken over"),
        ),
        _ => None,
    }
}

/// How a member is told whose claim may go.
fn absent(name: &str, receipt: &Receipt) -> Option<Told> {
    let (reason, action) = ("MemberAbsent", "ObserveMember");
    match receipt {
        Receipt::NeverJoined { .. } => {
            Told::normal(reason, action, format!("{name} never joined: its claim may go"))
        }
        Receipt::FoundAbsent { .. }
        | Receipt::Adopted { .. }
        | Receipt::Disjoined { .. }
        | Receipt::NeverBound { .. }
        | Receipt::CacheDeleted => {
            let message =
                format!("{name} is not wanted and the group does not list it: its claim may go");
            Told::warning(reason, action, message)
        }
    }
}

/// That a cache went and left all that was made for it. One that was deleted with it is told before.
fn closed(reason: &str, state: &CacheState) -> Option<Told> {
    let was_deleted = state
        .recent
        .back()
        .is_some_and(|last| last.kind == OperationKind::Delete && last.end == End::Succeeded);
    if was_deleted {
        return None;
    }
    let message =
        format!("{reason}. To delete it as well, make that XsldCache again and delete it");
    Told::warning("CacheKept", "KeepCache", message)
}

/// What becomes of what is open when its cache is left.
fn left(reason: &str, state: &CacheState) -> Option<Told> {
    let open = state.operation.as_ref();
    let step = open.and_then(|open| open.step.as_ref().or(open.cancel.as_ref()));
    let ends = match (open, step) {
        (None, _) => String::new(),
        (Some(open), None) => format!("; {} ends with it", open.kind.name()),
        (Some(open), Some(step)) => format!(
            "; {} ends with it, and whether it came to {} is not found out any more",
            open.kind.name(),
            step.step.describe()
        ),
    };
    Told::warning("CacheLeft", "LeaveCache", format!("{reason}{ends}"))
}
