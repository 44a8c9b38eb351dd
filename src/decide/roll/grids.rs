//! The grids that a roll looks at: those that it could hurt.
//!
//! Before its first pod goes a roll has hurt nobody, so work on grids goes first, and a grid that is
//! not placed is left out once it is clear that waiting does not place it: a roll takes nothing from
//! it that it has. Afterwards every other grid must be placed before the next pod goes.

use xsld_journal::event::Event;
use xsld_journal::state::CacheState;

use crate::crd::conditions::ConditionReason as Reason;
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

/// Grids of which waiting has shown that they are not placed by it, to be left out. An error that
/// stays counts after the settle time; a placement, which others than the roll are at, only in a
/// world in which nothing has moved for as long as any task takes, or when the roll is overdue.
pub(super) fn left_out(inputs: Inputs<'_>, is_overdue: bool) -> Option<Event> {
    let Inputs { watch, times, .. } = inputs;
    let ripe = |status: &GridStatus| match status {
        GridStatus::Online => false,
        GridStatus::Error => watch.settled(times.settle),
        GridStatus::Created | GridStatus::Unknown(_) => is_overdue || watch.settled(times.orphan),
    };
    let mut room = NAMES_BYTES_MAX;
    let (mut names, mut kinds) = (Vec::new(), Vec::new());
    // One that cannot be read may be placed: the roll waits for it.
    let known = unplaced(inputs).filter_map(|(name, status)| Some((name, status?)));
    for (name, status) in known.filter(|(_, status)| ripe(status)) {
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

/// What is to be done about grids and their templates, if no roll were open.
pub(super) fn work(inputs: Inputs<'_>) -> Option<Decision> {
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
    matches!(decision, Decision::Begin { .. } | Decision::Record(_)).then_some(decision)
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
