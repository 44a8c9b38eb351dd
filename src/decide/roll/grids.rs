//! The grids that a roll looks at: those that it could hurt.
//!
//! Before its first pod goes a roll has hurt nobody, so work on grids goes first, and a grid in error
//! that nobody makes again is left out: its entries are lost already. One that is merely not placed
//! may serve, and be short of a copy: it is waited for, as every other grid is before the next pod
//! goes.

use xsld_journal::event::Event;
use xsld_journal::state::CacheState;

use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::question::Question;
use crate::decide::{Decision, Inputs, Waiting, grids, templates};
use crate::xsld::view::{Answer, GridStatus};

/// Bytes of names in one record; the rest of them follow in the next one.
const NAMES_BYTES_MAX: usize = 1500;

/// Whether every grid that the roll could hurt is placed.
pub(super) fn placed(inputs: Inputs<'_>) -> Result<(), Waiting> {
    let Inputs { seen, state, .. } = inputs;
    if !state.bootstrapped {
        return Ok(());
    }
    let Some(Answer::Known(_)) = &seen.grids else {
        let message = "the grids cannot be read";
        return Err(Waiting::new(Reason::GroupUnreachable, message));
    };
    match unplaced(inputs).next() {
        Some((name, Some(status))) => {
            let message = format!("grid {name} {}", words(status));
            Err(Waiting::new(Reason::WaitingForPlacement, message))
        }
        Some((name, None)) => {
            let message = format!("whether grid {name} is placed cannot be read");
            Err(Waiting::new(Reason::GroupUnreachable, message))
        }
        None => Ok(()),
    }
}

/// Whether a grid that the roll waits for is in error: it is not placed by waiting.
pub(super) fn is_in_error(inputs: Inputs<'_>) -> bool {
    unplaced(inputs).any(|(_, status)| status == Some(&GridStatus::Error))
}

/// Grids in error that stay so for the settle time, to be left out. Nothing is known to be lost of one
/// that is not placed, and nothing is left out while the DataGrids cannot be read, one of which may
/// have it made again.
pub(super) fn left_out(inputs: Inputs<'_>) -> Option<Event> {
    if inputs.wanted.unread {
        return None;
    }
    let lasts = |name: &str| Question::Holders(name).is_settled(inputs, inputs.times.settle);
    let ripe = |name: &str, status: &GridStatus| match status {
        GridStatus::Error => lasts(name),
        GridStatus::Online | GridStatus::Created | GridStatus::Unknown(_) => false,
    };
    let mut room = NAMES_BYTES_MAX;
    let (mut names, mut kinds) = (Vec::new(), Vec::new());
    // One that cannot be read may be placed: the roll waits for it.
    let known = unplaced(inputs).filter_map(|(name, status)| Some((name, status?)));
    for (name, status) in known.filter(|(name, status)| ripe(name, status)) {
        if !names.is_empty() && name.len() > room {
            break;
        }
        room = room.saturating_sub(name.len());
        names.push(name.to_owned());
        if !kinds.contains(&words(status)) {
            kinds.push(words(status));
        }
    }
    let reason = kinds.join(" or ");
    (!names.is_empty()).then(|| Event::GridsLeftOut {
        grids: names,
        again: vec![],
        reason: format!("before the first pod goes it {reason}, and that lasts"),
    })
}

/// Grids that were left out and are placed by now: what they have can be taken from them.
pub(super) fn placed_after_all(inputs: Inputs<'_>) -> Option<Event> {
    let is_online = |name: &&String| {
        let grids = inputs.seen.grids.as_ref().and_then(Answer::as_known).into_iter();
        let mut statuses = grids.flat_map(|grids| grids.statuses());
        statuses.any(|(seen, status)| seen == name.as_str() && status == Some(&GridStatus::Online))
    };
    let mut room = NAMES_BYTES_MAX;
    let placed = inputs.state.left_out.iter().filter(is_online);
    let again: Vec<String> = placed
        .take_while(|name| {
            let fits = name.len() <= room || room == NAMES_BYTES_MAX;
            room = room.saturating_sub(name.len());
            fits
        })
        .cloned()
        .collect();
    let reason = "it is placed after all".to_owned();
    (!again.is_empty()).then(|| Event::GridsLeftOut { grids: vec![], again, reason })
}

/// What is to be done about grids and their templates, if no roll were open. What the group refused
/// before is no reason to wait for it, and while DataGrids cannot be read nothing is begun for them.
pub(super) fn work(inputs: Inputs<'_>) -> Option<Decision> {
    if inputs.wanted.unread {
        return None;
    }
    let mut without: CacheState;
    let inputs = match inputs.state.operation {
        None => inputs,
        Some(_) => {
            without = inputs.state.clone();
            without.operation = None;
            Inputs { state: &without, ..inputs }
        }
    };
    let decision = templates::decide(inputs, grids::decide);
    let is_new = match &decision {
        Decision::Begin { goal, .. } => inputs.state.failed_at(goal).is_none(),
        Decision::Record(_) => true,
        Decision::Rest
        | Decision::Wait(_)
        | Decision::InDoubt(_)
        | Decision::Run { .. }
        | Decision::Resend { .. } => false,
    };
    is_new.then_some(decision)
}

/// Grids that are not known to be Online and that the roll did not leave out, with their status as
/// far as that can be read.
fn unplaced(inputs: Inputs<'_>) -> impl Iterator<Item = (&str, Option<&GridStatus>)> {
    let grids = inputs.seen.grids.as_ref().and_then(Answer::as_known).into_iter();
    grids.flat_map(|grids| grids.statuses()).filter(move |(name, status)| {
        *status != Some(&GridStatus::Online) && !inputs.state.left_out.contains(*name)
    })
}

fn words(status: &GridStatus) -> &'static str {
    match status {
        GridStatus::Error => "is in error",
        GridStatus::Online | GridStatus::Created | GridStatus::Unknown(_) => {
            "is not placed on all members"
        }
    }
}
