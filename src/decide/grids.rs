//! The grids of a cache: created, changed, made again when they are in error, deleted; one at a
//! time, when nothing else is going on.

use std::collections::BTreeMap;

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Step, Survivor};
use xsld_journal::state::{OpenStep, Operation, Progress};

use super::steps::{Standing, again, done};
use super::{
    Decision, Inputs, Waiting, WantedGrid, converge, evidence, membership, templates, views,
};
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::Shown;
use crate::xsld::view::{Answer, GridStatus, GridView, TaskStatus};

/// How often a grid's step is tried before its operation fails.
const GRID_ATTEMPTS_MAX: u32 = 3;

/// How often a grid in error is made again before a person is asked.
const RECOVERIES_MAX: u32 = 4;

/// Whether a live grid has the wanted fields. A field that the group does not tell cannot differ.
pub fn has_fields(live: &GridView, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| live.fields.get(name).is_none_or(|told| told == value))
}

/// Carries on with the open grid operation, or begins the next one.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    match &inputs.state.operation {
        Some(operation) => proceed(inputs, operation),
        None => begin(inputs),
    }
}

/// What is to be done about one grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Create,
    Update,
    Delete,
    /// Away with it, then create it: it is in error.
    Recover,
}

impl Task {
    fn kind(self) -> OperationKind {
        match self {
            Self::Create => OperationKind::GridCreate,
            Self::Update => OperationKind::GridUpdate,
            Self::Delete => OperationKind::GridDelete,
            Self::Recover => OperationKind::GridRecover,
        }
    }
}

/// What a grid needs, by what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing, or it cannot be seen.
    Nothing,
    /// An operation.
    Work(Task),
    /// Only a record: it is as wanted already.
    Adoption,
}

fn needs(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> Need {
    let Ok(live) = inputs.seen.grid(&grid.name) else { return Need::Nothing };
    let recorded = inputs.state.grids.get(uid);
    if grid.deleting {
        let ours = recorded.is_some() && grid.delete_grid;
        return if ours && live.is_some() { Need::Work(Task::Delete) } else { Need::Nothing };
    }
    let waits = templates::missing(inputs, grid).is_some();
    let Some(live) = live else {
        return if waits { Need::Nothing } else { Need::Work(Task::Create) };
    };
    let as_recorded = recorded.is_some_and(|recorded| recorded.digest == grid.digest);
    // Whatever else it lacks: made again, it has all of it. One that is not ours yet may be on its
    // way to somebody else's wish.
    if live.status == GridStatus::Error && recorded.is_some() {
        return if waits { Need::Nothing } else { Need::Work(Task::Recover) };
    }
    if !has_fields(live, &grid.fields) {
        let update = (!as_recorded || grid.correct_drift) && !waits;
        return if update { Need::Work(Task::Update) } else { Need::Nothing };
    }
    if as_recorded { Need::Nothing } else { Need::Adoption }
}

fn goal_of(uid: &str, grid: &WantedGrid) -> Goal {
    let digest = if grid.deleting { String::new() } else { grid.digest.clone() };
    Goal::Grid { grid_uid: uid.to_owned(), name: grid.name.clone(), digest }
}

fn begin(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, state, .. } = inputs;
    if !state.bootstrapped {
        return Decision::Rest;
    }
    let mut held = Decision::Rest;
    for (uid, grid) in &wanted.grids {
        let task = match needs(inputs, uid, grid) {
            Need::Nothing => continue,
            Need::Work(task) => task,
            Need::Adoption => {
                return Decision::Record(vec![Event::GridAdopted {
                    grid_uid: uid.clone(),
                    name: grid.name.clone(),
                    digest: grid.digest.clone(),
                }]);
            }
        };
        let goal = goal_of(uid, grid);
        // What the group refused is not asked again until the spec asks for something else. A
        // deletion has no other wish: it is asked again when the group has long been the same.
        if refused(inputs, &goal).is_some() && (task != Task::Delete || gave_up(inputs)) {
            continue;
        }
        // An error that passes by itself is none.
        if task == Task::Recover && !inputs.watch.settled(inputs.times.settle) {
            continue;
        }
        let reason = match task {
            Task::Create => format!("grid {} does not exist", grid.name),
            Task::Update => format!("grid {} differs from its spec", grid.name),
            Task::Delete => format!("the DataGrid of grid {} is being deleted", grid.name),
            Task::Recover => format!("the group shows grid {} in error", grid.name),
        };
        let cause = Cause { generation: grid.generation, reason };
        match converge::begin(inputs, task.kind(), goal, cause) {
            // The others do not wait for it.
            waits @ Decision::Wait(_) => held = waits,
            begins => return begins,
        }
    }
    held
}

/// Whether nothing is left to do about a grid, and that was seen: no operation of its is open.
pub fn is_settled(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> bool {
    let working = inputs.state.operation.as_ref().is_some_and(
        |operation| matches!(&operation.goal, Goal::Grid { grid_uid, .. } if grid_uid == uid),
    );
    let kept = grid.deleting && !(grid.delete_grid && inputs.state.grids.contains_key(uid));
    let seen = inputs.seen.grid(&grid.name).is_ok();
    !working && (kept || seen && needs(inputs, uid, grid) == Need::Nothing)
}

/// Why the group refused what is wanted of this grid now, if it did.
pub fn refused_grid<'a>(inputs: Inputs<'a>, uid: &str, grid: &WantedGrid) -> Option<&'a str> {
    refused(inputs, &goal_of(uid, grid))
}

/// Why the group refused this very goal before, if it did and it was the last that was asked.
pub fn refused<'a>(inputs: Inputs<'a>, goal: &Goal) -> Option<&'a str> {
    let Goal::Grid { grid_uid: wanted_uid, .. } = goal else { return None };
    let last = inputs.state.recent.iter().rev().find(
        |ended| matches!(&ended.goal, Goal::Grid { grid_uid, .. } if grid_uid == wanted_uid),
    )?;
    match &last.end {
        End::Failed { reason } if last.goal == *goal => Some(reason),
        End::Failed { .. } | End::Succeeded | End::Superseded { .. } => None,
    }
}

fn proceed(inputs: Inputs<'_>, operation: &Operation) -> Decision {
    let Goal::Grid { grid_uid, name, .. } = &operation.goal else { return Decision::Rest };
    let ended = |end: End| Decision::Record(vec![Event::OperationEnded { end }]);
    if let Some(parked) = &operation.parked {
        return Decision::wait(Reason::Parked, parked.message.clone());
    }
    let Some(grid) = inputs.wanted.grids.get(grid_uid) else {
        return ended(End::Superseded { by: "the DataGrid is gone".to_owned() });
    };
    if goal_of(grid_uid, grid) != operation.goal {
        return ended(End::Superseded { by: format!("generation {}", grid.generation) });
    }
    if let Err(unseen) = inputs.seen.grid(name) {
        return Decision::wait(Reason::GroupUnreachable, unseen);
    }
    if operation.kind == OperationKind::GridRecover {
        return recover(inputs, operation, grid_uid, grid);
    }
    if let Some(message) = templates::missing(inputs, grid).filter(|_| !grid.deleting) {
        return ended(End::Superseded { by: message });
    }
    let task = match needs(inputs, grid_uid, grid) {
        Need::Nothing | Need::Adoption => return ended(End::Succeeded),
        Need::Work(task) => task,
    };
    if task.kind() != operation.kind {
        return ended(End::Superseded { by: format!("grid {name} is otherwise now") });
    }
    let Some(through) = views::survivor(inputs.seen, inputs.state, u32::MAX) else {
        return Decision::wait(Reason::GroupUnreachable, "no member of the group answers");
    };
    let told = evidence(&inputs.seen.grids.as_ref().map(told));
    attempt(inputs, operation, step(task, grid_uid, grid, through), told)
}

/// A grid in error: away with it, made again, and looked at until it serves. Each time that it is in
/// error again, twice as long is waited before the next.
fn recover(inputs: Inputs<'_>, operation: &Operation, uid: &str, grid: &WantedGrid) -> Decision {
    let Inputs { seen, state, watch, times, .. } = inputs;
    let ended = |end: End| Decision::Record(vec![Event::OperationEnded { end }]);
    let Some(through) = views::survivor(seen, state, u32::MAX) else {
        return Decision::wait(Reason::GroupUnreachable, "no member of the group answers");
    };
    let name = &grid.name;
    let live = match seen.grid(name) {
        Ok(live) => live,
        Err(unseen) => return Decision::wait(Reason::GroupUnreachable, unseen),
    };
    let task = match live.map(|live| &live.status) {
        None => Task::Create,
        Some(GridStatus::Error) => Task::Delete,
        Some(GridStatus::Online) => return ended(End::Succeeded),
        // It is being placed; where that takes very long the group has too few members for it.
        Some(GridStatus::Created | GridStatus::Unknown(_)) if watch.settled(times.orphan) => {
            return ended(End::Succeeded);
        }
        Some(GridStatus::Created | GridStatus::Unknown(_)) => {
            return yielding(inputs).unwrap_or_else(|| {
                let message = format!("grid {name} was made again and waits to be placed");
                Decision::wait(Reason::RecoveringGrid, message)
            });
        }
    };
    let step = step(task, uid, grid, through);
    let told = evidence(&seen.grids.as_ref().map(told));
    if task == Task::Create {
        if let Some(message) = templates::missing(inputs, grid) {
            return ended(End::Superseded { by: message });
        }
        return attempt(inputs, operation, step, told);
    }
    let rounds = operation.attempts_of(&step.target());
    if rounds >= RECOVERIES_MAX {
        let reason = match &operation.last_failure {
            Some(failure) => failure.clone(),
            None => format!("made again {rounds} times, and still in error"),
        };
        return ended(End::Failed { reason });
    }
    if rounds > 0 && !watch.settled(times.settle * 2_u32.pow(rounds)) {
        return yielding(inputs).unwrap_or_else(|| {
            let next = rounds + 1;
            let message = format!("grid {name} is in error again: recovery {next} is due soon");
            Decision::wait(Reason::RecoveringGrid, message)
        });
    }
    if seen.any_task_running() {
        return Decision::wait(Reason::ForeignTask, "another task runs in the group");
    }
    Decision::Run { step, evidence: told }
}

/// A recovery that only waits does not keep members from coming or going.
fn yielding(inputs: Inputs<'_>) -> Option<Decision> {
    let goes_first = membership::has_work(inputs);
    let by = "members come or go first".to_owned();
    goes_first
        .then(|| Decision::Record(vec![Event::OperationEnded { end: End::Superseded { by } }]))
}

/// Whether what failed before is still to be left alone: only a group that has long been the same is
/// asked once more.
pub(super) fn gave_up(inputs: Inputs<'_>) -> bool {
    !inputs.watch.settled(inputs.times.orphan)
}

fn step(task: Task, grid_uid: &str, grid: &WantedGrid, through: Survivor) -> Step {
    let (grid_uid, name) = (grid_uid.to_owned(), grid.name.clone());
    let digest = grid.digest.clone();
    match task {
        Task::Create => Step::CreateGrid { grid_uid, name, digest, through },
        Task::Update => Step::UpdateGrid { grid_uid, name, digest, through },
        Task::Delete | Task::Recover => Step::DeleteGrid { grid_uid, name, through },
    }
}

/// Runs a step unless it has had its attempts or was refused for good.
pub(super) fn attempt(
    inputs: Inputs<'_>,
    operation: &Operation,
    step: Step,
    evidence: String,
) -> Decision {
    let attempts = operation.tried(&step.target());
    if let Some(failure) = &operation.last_failure
        && (attempts >= GRID_ATTEMPTS_MAX || is_permanent(failure))
    {
        let end = End::Failed { reason: failure.clone() };
        return Decision::Record(vec![Event::OperationEnded { end }]);
    }
    if attempts > 0 && !inputs.watch.settled(inputs.times.settle) {
        let message = format!("{}: attempt {} is due soon", step.describe(), attempts + 1);
        return Decision::wait(Reason::StepFailed, message);
    }
    if inputs.seen.any_task_running() {
        return Decision::wait(Reason::ForeignTask, "another task runs in the group");
    }
    Decision::Run { step, evidence }
}

fn told(grids: &Answer<Shown<GridView>>) -> Vec<String> {
    let statuses = grids.as_known().into_iter().flat_map(Shown::statuses);
    let told = statuses.map(|(name, status)| match status {
        Some(status) => format!("{name}={status:?}"),
        None => format!("{name}=?"),
    });
    told.collect()
}

/// Whether asking again cannot help: the group refused the request as such.
fn is_permanent(failure: &str) -> bool {
    failure
        .strip_prefix("refused ")
        .and_then(|rest| rest.get(..3))
        .is_some_and(|status| status.starts_with('4') && !["408", "409", "429"].contains(&status))
}

/// How an open grid step stands.
pub(super) fn standing(inputs: Inputs<'_>, open: &OpenStep) -> Standing {
    let (name, through, wants_it) = match &open.step {
        Step::CreateGrid { name, through, .. } | Step::UpdateGrid { name, through, .. } => {
            (name, through, true)
        }
        Step::DeleteGrid { name, through, .. } => (name, through, false),
        _ => return done(),
    };
    let live = match inputs.seen.grid(name) {
        Ok(live) => live,
        Err(unseen) => {
            let message = format!("{} cannot be judged: {unseen}", open.step.describe());
            return Standing::InDoubt(Waiting::new(Reason::InDoubt, message));
        }
    };
    // What is wanted of it is not known just now, so neither is whether it has that.
    if wants_it && inputs.wanted.unread {
        let message = format!("{}: the DataGrids cannot be read just now", open.step.describe());
        return Standing::InDoubt(Waiting::new(Reason::NotObserved, message));
    }
    let is_done = match (live, wants_it) {
        (None, wants_it) => !wants_it,
        (Some(live), true) => {
            wanted_fields(inputs, open).is_none_or(|fields| has_fields(live, fields))
        }
        (Some(_), false) => false,
    };
    if is_done {
        return done();
    }
    match task_of(inputs, open, through) {
        Some(TaskStatus::Failed) => {
            Standing::Failed { reason: format!("the task of {} failed", open.step.describe()) }
        }
        Some(TaskStatus::Running) => running(open),
        _ if inputs.seen.any_task_running() => running(open),
        Some(TaskStatus::Success | TaskStatus::Unknown(_)) | None => {
            again(inputs, &format!("{} is not seen to be done", open.step.describe()))
        }
    }
}

fn running(open: &OpenStep) -> Standing {
    let reason = match open.step {
        Step::UpdateGrid { .. } => Reason::Updating,
        Step::DeleteGrid { .. } => Reason::Deleting,
        _ => Reason::Creating,
    };
    Standing::Running(Waiting::new(reason, format!("{} is under way", open.step.describe())))
}

/// The wanted fields, as long as they are those that the step was intended with.
fn wanted_fields<'a>(inputs: Inputs<'a>, open: &OpenStep) -> Option<&'a BTreeMap<String, String>> {
    let (Step::CreateGrid { grid_uid, digest, .. } | Step::UpdateGrid { grid_uid, digest, .. }) =
        &open.step
    else {
        return None;
    };
    let grid = inputs.wanted.grids.get(grid_uid)?;
    (grid.digest == *digest).then_some(&grid.fields)
}

/// The task that the member told when it took the request, while it is the same process.
fn task_of(inputs: Inputs<'_>, open: &OpenStep, through: &Survivor) -> Option<TaskStatus> {
    let Progress::Accepted { task: Some(id) } = open.progress else { return None };
    if views::changed(inputs.seen, through.ordinal, &through.incarnation) {
        return None;
    }
    let tasks = inputs.seen.reports.get(&through.ordinal)?.read_tasks()?;
    tasks.iter().find(|task| task.id == id).map(|task| task.status.clone())
}

#[cfg(test)]
mod tests;
