//! A grid in error is made again: deleted, created, and looked at until it serves.
//!
//! What is in error may still have its entries in the memory of a member, so nothing is deleted while
//! a member is not there that may hold them. How often it was made again is remembered for the grid
//! and not for the operation, which gives way while it waits.

use std::time::Duration;

use xsld_journal::event::{End, Event};
use xsld_journal::state::{JoinHistory, Member, Operation};

use super::{Task, attempt, goal_of, step, told};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::question::Question;
use crate::decide::views::{self, Listing};
use crate::decide::{Decision, Inputs, Waiting, WantedGrid, evidence, membership, templates};
use crate::xsld::view::{GridStatus, GroupView};

/// How often a grid in error is made again within a while before a person is asked.
pub(super) const RECOVERIES_MAX: u32 = 4;

/// Why a recovery is not begun yet: one that could only wait is none. One that had all its rounds is
/// begun, to fail.
pub(super) fn waits(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> Option<Waiting> {
    let rounds = remade(inputs, uid, grid);
    if rounds >= RECOVERIES_MAX {
        return None;
    }
    holder_away(inputs, grid).or_else(|| backs_off(inputs, grid, rounds))
}

/// Carries on with a recovery. Each time that the grid is in error again, twice as long is waited
/// before the next round.
pub(super) fn proceed(
    inputs: Inputs<'_>,
    operation: &Operation,
    uid: &str,
    grid: &WantedGrid,
) -> Decision {
    let Inputs { seen, state, times, .. } = inputs;
    let ended = |end: End| Decision::Record(vec![Event::OperationEnded { end }]);
    let Some(through) = views::survivor(seen, state, u32::MAX) else {
        return Decision::wait(Reason::GroupUnreachable, "no member of the group answers");
    };
    let name = &grid.name;
    let Ok(live) = seen.grid(name) else {
        return Decision::wait(Reason::GroupUnreachable, format!("grid {name} cannot be read"));
    };
    let task = match live.map(|live| &live.status) {
        None => Task::Create,
        Some(GridStatus::Error) => Task::Delete,
        Some(GridStatus::Online) => return ended(End::Succeeded),
        // It is being placed; where that takes very long the group has too few members for it.
        Some(GridStatus::Created | GridStatus::Unknown(_))
            if Question::Grid(name).is_settled(inputs, times.orphan) =>
        {
            return ended(End::Succeeded);
        }
        Some(GridStatus::Created | GridStatus::Unknown(_)) => {
            let message = format!("grid {name} was made again and waits to be placed");
            return Decision::wait(Reason::RecoveringGrid, message);
        }
    };
    let step = step(task, uid, grid, through);
    let evidence = evidence(&seen.grids.as_ref().map(told));
    if task == Task::Create {
        if let Some(waiting) = super::may_still_go(inputs, grid) {
            return Decision::Wait(waiting);
        }
        if let Some(message) = templates::missing(inputs, grid) {
            return ended(End::Superseded { by: message });
        }
        return attempt(inputs, operation, step, evidence);
    }
    // An attempt that was refused counts as a round, too.
    let rounds = remade(inputs, uid, grid).max(operation.attempts_of(&step.target()));
    if rounds >= RECOVERIES_MAX {
        let reason = match &operation.last_failure {
            Some(failure) => failure.clone(),
            None => format!("made again {rounds} times, and still in error"),
        };
        return ended(End::Failed { reason });
    }
    let waits = holder_away(inputs, grid).or_else(|| backs_off(inputs, grid, rounds));
    if let Some(waiting) = waits {
        return Decision::Wait(waiting);
    }
    if seen.any_task_running() {
        return Decision::wait(Reason::ForeignTask, "another task runs in the group");
    }
    Decision::Run { step, evidence }
}

/// How often the grid was deleted in error within a while, by any operation.
fn remade(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> u32 {
    let Some(tried) = inputs.state.tried_for(&goal_of(uid, grid)) else { return 0 };
    let window = i64::try_from(inputs.times.converge.as_micros()).unwrap_or(i64::MAX);
    let since = inputs.now_us.saturating_sub(window);
    let lately = tried.remade_us.iter().filter(|at| **at > since);
    u32::try_from(lately.count()).unwrap_or(u32::MAX)
}

fn backs_off(inputs: Inputs<'_>, grid: &WantedGrid, rounds: u32) -> Option<Waiting> {
    let wait: Duration = inputs.times.settle * 2_u32.saturating_pow(rounds);
    if Question::Holders(&grid.name).is_settled(inputs, wait) {
        return None;
    }
    let (name, next) = (&grid.name, rounds + 1);
    let again = if rounds == 0 { "" } else { " again" };
    let message = format!(
        "grid {name} is in error{again}: recovery {next} is due once that and the members have stayed \
         the same for {} s",
        wait.as_secs()
    );
    Some(Waiting::new(Reason::RecoveringGrid, message))
}

/// A member that is not there and may still hold entries of the grid.
fn holder_away(inputs: Inputs<'_>, grid: &WantedGrid) -> Option<Waiting> {
    let Inputs { seen, state, .. } = inputs;
    let recorded = state.members.iter();
    let away = recorded.filter_map(|(ordinal, member)| {
        Some(format!("{} {}", member.name, why_away(inputs, *ordinal, member)?))
    });
    let half_joined = seen.pods.keys().filter(|ordinal| !state.members.contains_key(*ordinal));
    let half_joined = half_joined.filter_map(|ordinal| {
        let member = views::member_now(seen, state, *ordinal)?;
        let in_doubt = state.joins.get(&member.claim_uid) == Some(&JoinHistory::InDoubt);
        let holds = in_doubt || membership::may_hold_data(inputs, &member);
        holds.then(|| format!("{} was asked to join and may be half in the group", member.name))
    });
    let known = |name: &str| state.members.values().any(|member| member.name == name);
    let listed = views::needed(seen, state, u32::MAX).into_iter().flatten();
    let listed = listed.flat_map(|view| &view.members).filter(|member| !known(&member.name));
    let unknown = listed.map(|member| {
        format!("{} is listed by the group and not known to the journal yet", member.name)
    });
    let why = away.chain(half_joined).chain(unknown).next()?;
    let message = format!(
        "grid {} is in error, and {why}: it may still hold entries of the grid, so the grid is made \
         again only when every member is there; bring the member back, or take it out of the cache",
        grid.name
    );
    Some(Waiting::new(Reason::RecoveringGrid, message))
}

/// Why a recorded member does not tell what it has.
fn why_away(inputs: Inputs<'_>, ordinal: u32, member: &Member) -> Option<&'static str> {
    let Inputs { seen, state, .. } = inputs;
    let Some(pod) = seen.pods.get(&ordinal) else { return Some("has no pod") };
    if pod.deleting {
        return Some("is ending");
    }
    if !pod.running {
        return Some("is not up");
    }
    if views::view_of(seen, state, ordinal).is_none() {
        return Some("does not answer as the process that the journal knows");
    }
    let Some(needed) = views::needed(seen, state, u32::MAX) else {
        return Some("is in a group that cannot be seen well enough");
    };
    let online =
        |view: &&GroupView| views::listed_in(view, &member.name, Some(pod)) == Listing::Online;
    (!needed.iter().all(online)).then_some("is not listed Online by the others")
}
