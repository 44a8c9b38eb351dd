//! The grids of a cache: created, changed, made again when they are in error, deleted; one at a
//! time, when nothing else is going on.
//!
//! An operation is begun only when its first step can be taken, and one that can only wait gives way
//! to whatever else is to be done: no grid keeps members, a roll or another grid waiting for long.

mod recovery;

use std::collections::BTreeMap;

use xsld_journal::event::{Cause, End, Event, Goal, OperationKind, Step, Survivor};
use xsld_journal::state::{OpenStep, Operation, Progress};

use super::question::Question;
use super::steps::{Standing, again, done, resumed};
use super::{
    Decision, Inputs, Waiting, WantedGrid, WantedTemplate, converge, evidence, templates, views,
};
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::Shown;
use crate::xsld::view::{Answer, GridStatus, GridView, TaskStatus};

/// How often a grid's step is tried before its operation fails.
const GRID_ATTEMPTS_MAX: u32 = 3;

/// Whether a live grid has the wanted fields. A field that the group does not tell cannot differ.
pub fn has_fields(live: &GridView, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| live.fields.get(name).is_none_or(|told| told == value))
}

/// Carries on with the open grid operation, or begins the next one.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    match &inputs.state.operation {
        Some(operation) => give_way(inputs, operation, proceed(inputs, operation)),
        None => begin(inputs),
    }
}

/// Ends an operation that only waits, when something else could be begun now. Nothing is lost: its
/// steps are decided from what is seen, and what was tried is remembered for its object. What waits
/// for its own next attempt does not give way: that wait ends soon, by itself.
pub(super) fn give_way(inputs: Inputs<'_>, operation: &Operation, decision: Decision) -> Decision {
    let Decision::Wait(waiting) = &decision else { return decision };
    if waiting.reason == Reason::StepFailed {
        return decision;
    }
    let mut state = inputs.state.clone();
    state.operation = None;
    let by = match super::decide(Inputs { state: &state, ..inputs }) {
        Decision::Begin { kind, goal, .. } if goal != operation.goal => {
            format!("{} goes first: {}", kind.name(), waiting.message)
        }
        Decision::Record(_) => format!("something else goes first: {}", waiting.message),
        _ => return decision,
    };
    Decision::Record(vec![Event::OperationEnded { end: End::Superseded { by } }])
}

/// What keeps an operation from taking its first step: one that could only wait is not begun.
pub(super) fn not_yet(inputs: Inputs<'_>, what: &str) -> Option<Waiting> {
    if views::survivor(inputs.seen, inputs.state, u32::MAX).is_none() {
        let message =
            format!("no member of the group answers through which {what} could be worked on");
        return Some(Waiting::new(Reason::GroupUnreachable, message));
    }
    inputs.seen.any_task_running().then(|| {
        let message = format!("another task runs in the group: {what} waits for its end");
        Waiting::new(Reason::ForeignTask, message)
    })
}

/// What an operation does whose object cannot be read. It has no step open, so it ends once that
/// lasts, and is begun anew when its object can be read.
pub(super) fn unread(inputs: Inputs<'_>, about: Question<'_>, why: String) -> Decision {
    if about.is_settled(inputs, inputs.times.settle) {
        return Decision::Record(vec![Event::OperationEnded { end: End::Superseded { by: why } }]);
    }
    Decision::wait(Reason::GroupUnreachable, why)
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
        return match recorded {
            _ if !grid.delete_grid || live.is_none() => Need::Nothing,
            Some(_) => Need::Work(Task::Delete),
            None if is_of_before(inputs, grid) => Need::Adoption,
            None => Need::Nothing,
        };
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
    // What drift is only to be told of is not touched, and adopted in error it would be made again.
    if live.status == GridStatus::Error && !grid.correct_drift {
        return Need::Nothing;
    }
    if !has_fields(live, &grid.fields) {
        // One that was there before is taken over as it is where drift is only to be told.
        if recorded.is_none() && !grid.correct_drift {
            return Need::Adoption;
        }
        let update = (!as_recorded || grid.correct_drift) && !waits;
        return if update { Need::Work(Task::Update) } else { Need::Nothing };
    }
    if as_recorded { Need::Nothing } else { Need::Adoption }
}

/// Whether the grid of that name is the one that a DataGrid had in this group before the journal knew
/// of either: the group is the former one, on volumes from before this cache, or one of which the
/// journal was lost.
fn is_of_before(inputs: Inputs<'_>, grid: &WantedGrid) -> bool {
    let (seen, state) = (inputs.seen, inputs.state);
    let is_older = |ordinal| {
        let claim = seen.claims.get(ordinal);
        claim.is_some_and(|claim| claim.older_than_cache)
    };
    grid.was_here && (state.adopted || state.members.keys().any(is_older))
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
                if let Some(waiting) = may_still_go(inputs, grid) {
                    held = Decision::Wait(waiting);
                    continue;
                }
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
        let lasts = || Question::Holders(&grid.name).is_settled(inputs, inputs.times.settle);
        if task == Task::Recover && !lasts() {
            continue;
        }
        if let Some(waiting) = waits(inputs, uid, grid, task) {
            held = Decision::Wait(waiting);
            continue;
        }
        match converge::begin(inputs, task.kind(), goal, cause(grid, task)) {
            // The others do not wait for it.
            waits @ Decision::Wait(_) => held = waits,
            begins => return begins,
        }
    }
    held
}

fn cause(grid: &WantedGrid, task: Task) -> Cause {
    let name = &grid.name;
    let reason = match task {
        Task::Create => format!("grid {name} does not exist"),
        Task::Update => format!("grid {name} differs from its spec"),
        Task::Delete => format!("the DataGrid of grid {name} is being deleted"),
        Task::Recover => format!("the group shows grid {name} in error"),
    };
    Cause { generation: grid.generation, reason }
}

/// Why what is to be done about a grid is not begun just now.
fn waits(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid, task: Task) -> Option<Waiting> {
    let recovers = task == Task::Recover;
    let recovery = recovers.then(|| recovery::waits(inputs, uid, grid)).flatten();
    let recovery = recovery.or_else(|| may_still_go(inputs, grid));
    recovery.or_else(|| not_yet(inputs, &format!("grid {}", grid.name)))
}

/// Why nothing is made under the name of a grid whose deletion was given up while who was asked for it
/// stood still: it may carry that out when it goes on, until it is another process, or tells that none
/// of its tasks runs.
fn may_still_go(inputs: Inputs<'_>, grid: &WantedGrid) -> Option<Waiting> {
    let through = inputs.state.unspent.get(&grid.name).filter(|_| !grid.deleting)?;
    let (name, member) = (&grid.name, &through.name);
    let lasts = Question::Unspent(name, through).is_settled(inputs, inputs.times.settle);
    if tells(inputs, through) && lasts {
        return None;
    }
    let message = format!(
        "grid {name} waits for {member}, which was asked to delete one of that name, stood still and \
         may still do so: it goes on once {member} answers or was restarted; delete its pod if it \
         stays silent"
    );
    Some(Waiting::new(Reason::MemberUnreachable, message))
}

/// Whether the process that took a request is gone, or tells its tasks.
fn tells(inputs: Inputs<'_>, through: &Survivor) -> bool {
    let report = inputs.seen.reports.get(&through.ordinal);
    report.is_some_and(|report| report.read_tasks().is_some())
        || views::changed(inputs.seen, through.ordinal, &through.incarnation)
}

/// Why what is to be done about a grid is put off, for its status; none when nothing is to be done,
/// or is being done.
pub fn put_off(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> Option<Waiting> {
    let task = match needs(inputs, uid, grid) {
        Need::Work(task) => task,
        // It is taken over to be deleted.
        Need::Adoption if grid.deleting => Task::Delete,
        Need::Nothing | Need::Adoption => return None,
    };
    let goal = goal_of(uid, grid);
    if inputs.state.operation.as_ref().is_some_and(|operation| operation.goal == goal) {
        return None;
    }
    if let Some(standstill) = inputs.standstill() {
        let message = match standstill.reason {
            Reason::Paused => "spec.paused of the XsldCache is set",
            _ => {
                "the spec of the XsldCache is older than what was acted on, and nobody confirmed it"
            }
        };
        return Some(Waiting::new(
            standstill.reason,
            format!("{message}: grid {} waits", grid.name),
        ));
    }
    if let Some(Decision::Wait(held)) =
        converge::held(inputs, task.kind(), &goal, &cause(grid, task))
    {
        return Some(held);
    }
    // What it waits for then is the end of that one.
    inputs.state.operation.is_none().then(|| waits(inputs, uid, grid, task)).flatten()
}

/// Whether nothing is left to do about a grid, and that was seen: no operation of its is open.
pub fn is_settled(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> bool {
    let working = inputs.state.operation.as_ref().is_some_and(
        |operation| matches!(&operation.goal, Goal::Grid { grid_uid, .. } if grid_uid == uid),
    );
    let may_be_ours = grid.was_here && (!inputs.state.bootstrapped || is_of_before(inputs, grid));
    let goes_too = inputs.state.grids.contains_key(uid) || may_be_ours;
    let kept = grid.deleting && !(grid.delete_grid && goes_too);
    let seen = inputs.seen.grid(&grid.name).is_ok();
    !working && (kept || seen && needs(inputs, uid, grid) == Need::Nothing)
}

/// Why the group refused what is wanted of this grid now, if it did.
pub fn refused_grid<'a>(inputs: Inputs<'a>, uid: &str, grid: &WantedGrid) -> Option<&'a str> {
    refused(inputs, &goal_of(uid, grid))
}

/// Why the group refused this very goal before, if it did.
pub fn refused<'a>(inputs: Inputs<'a>, goal: &Goal) -> Option<&'a str> {
    inputs.state.failed_at(goal).map(|failed| failed.reason.as_str())
}

fn proceed(inputs: Inputs<'_>, operation: &Operation) -> Decision {
    let Goal::Grid { grid_uid, name, .. } = &operation.goal else { return Decision::Rest };
    let ended = |end: End| Decision::Record(vec![Event::OperationEnded { end }]);
    let Some(grid) = inputs.wanted.grids.get(grid_uid) else {
        return superseded(inputs, "the DataGrid is gone");
    };
    if let Some(parked) = &operation.parked {
        return Decision::wait(Reason::Parked, parked.message.clone());
    }
    if goal_of(grid_uid, grid) != operation.goal {
        return ended(End::Superseded { by: format!("generation {}", grid.generation) });
    }
    if let Err(unseen) = inputs.seen.grid(name) {
        return unread(inputs, Question::Grid(name), unseen);
    }
    if operation.kind == OperationKind::GridRecover {
        return recovery::proceed(inputs, operation, grid_uid, grid);
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
    if let Some(waiting) = may_still_go(inputs, grid).filter(|_| task != Task::Delete) {
        return Decision::Wait(waiting);
    }
    let told = evidence(&inputs.seen.grids.as_ref().map(told));
    attempt(inputs, operation, step(task, grid_uid, grid, through), told)
}

/// Ends an operation whose object is gone, also one that is parked: nobody can decide about it.
pub(super) fn superseded(inputs: Inputs<'_>, by: &str) -> Decision {
    let ended = Event::OperationEnded { end: End::Superseded { by: by.to_owned() } };
    let resumed = resumed(inputs, by, vec![ended.clone()]);
    Decision::Record(resumed.unwrap_or_else(|| vec![ended]))
}

/// Whether what failed before is still to be left alone: a group is asked once more when nothing was
/// asked of it for long.
pub(super) fn gave_up(inputs: Inputs<'_>) -> bool {
    !Question::Elapsed.is_settled(inputs, inputs.times.orphan)
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
    if attempts > 0 && !Question::Elapsed.is_settled(inputs, inputs.times.settle) {
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

/// Refusals that say nothing of the request: of a password that is just being changed, too.
const PASSING: [&str; 5] = ["401", "403", "408", "409", "429"];

/// Whether asking again cannot help: the group refused the request as such.
fn is_permanent(failure: &str) -> bool {
    failure
        .strip_prefix("refused ")
        .and_then(|rest| rest.get(..3))
        .is_some_and(|status| status.starts_with('4') && !PASSING.contains(&status))
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
    let asked = Question::GridAsked(name, through);
    let past = is_past(inputs, open, through, asked);
    let live = match inputs.seen.grid(name) {
        Ok(live) => live,
        Err(_) if past => return Standing::Void,
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
        (Some(live), true) => match wanted_fields(inputs, open) {
            Some(fields) => has_fields(live, fields),
            // What it is to have by now says nothing of a change, only of a grid that is there at all.
            None => matches!(open.step, Step::CreateGrid { .. }),
        },
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
        _ if inputs.seen.any_task_running() => {
            let step = open.step.describe();
            let message = format!(
                "{step} is not seen to be done: a task runs in the group, and it is judged after that task's end"
            );
            Standing::InDoubt(Waiting::new(Reason::ForeignTask, message))
        }
        Some(TaskStatus::Success | TaskStatus::Unknown(_)) | None if past => Standing::Void,
        Some(TaskStatus::Success | TaskStatus::Unknown(_)) | None => {
            again(inputs, asked, &format!("{} is not seen to be done", open.step.describe()))
        }
    }
}

/// Whether nothing of an open step on a grid or a template can take effect any more: for as long as
/// any task takes it has been the same and no task has run. The process that took a deletion
/// must be gone, or tell its tasks: one that stands still could still carry it out, which matters
/// while anybody wants something of that name.
pub(super) fn is_past(
    inputs: Inputs<'_>,
    open: &OpenStep,
    through: &Survivor,
    asked: Question<'_>,
) -> bool {
    let Inputs { seen, times, .. } = inputs;
    let tells = tells(inputs, through);
    let deletes = matches!(open.step, Step::DeleteGrid { .. } | Step::DeleteTemplate { .. });
    let harms = deletes && !tells && !is_let_go(inputs, &open.step);
    asked.is_settled(inputs, times.orphan) && !seen.any_task_running() && !harms
}

/// Whether nobody wants anything any more of what a step on a grid or a template is about: its object
/// is gone, or goes without it, and no other object has that name.
fn is_let_go(inputs: Inputs<'_>, step: &Step) -> bool {
    let wanted = inputs.wanted;
    let is_listed = |uid: &String| wanted.others.contains(uid);
    if wanted.unread {
        return false;
    }
    match step {
        Step::CreateGrid { grid_uid: uid, name, .. }
        | Step::UpdateGrid { grid_uid: uid, name, .. }
        | Step::DeleteGrid { grid_uid: uid, name, .. } => {
            let has_name = |(other, it): (&String, &WantedGrid)| other != uid && it.name == *name;
            let goes_alone = |grid: &WantedGrid| grid.deleting && !grid.delete_grid;
            let own = wanted.grids.get(uid);
            own.map_or_else(|| !is_listed(uid), goes_alone) && !wanted.grids.iter().any(has_name)
        }
        Step::UploadTemplate { template_uid: uid, name, .. }
        | Step::DeleteTemplate { template_uid: uid, name, .. } => {
            let has_name = |it: &WantedTemplate| it.name == *name;
            !is_listed(uid) && !wanted.templates.values().any(has_name)
        }
        _ => false,
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
