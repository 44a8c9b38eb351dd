//! A member's tasks: what the list shows, and how a task runs through its percentages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Member;
use super::lock::Group;
use crate::faults::{FaultKind, Occasion};

/// The three words that a task's status is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TaskStatus {
    Running,
    Success,
    Failed,
}

/// A task as the list shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) command: String,
    pub(super) description: String,
    pub(super) status: TaskStatus,
    pub(super) progress: u8,
    pub(super) message: String,
    /// The member that it works on; empty for a grid.
    pub(super) member: String,
    pub(super) started: jiff::Timestamp,
    /// Whether its status cannot be told just now.
    #[serde(skip)]
    pub(super) unreadable: bool,
    /// Whether it has a part in the group's membership.
    pub(super) membership: bool,
    #[serde(skip)]
    pub(super) cancel: CancellationToken,
}

/// The tasks of one member. Only in memory, unless the switch says otherwise.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tasks {
    last: u64,
    pub(super) list: Vec<Task>,
}

/// What a task is started with.
#[derive(Clone, Debug)]
pub(super) struct NewTask {
    pub(super) command: String,
    pub(super) description: String,
    pub(super) member: String,
    pub(super) membership: bool,
}

impl Tasks {
    /// The number that the next task gets.
    pub(super) fn next_id(&self) -> u64 {
        self.last + 1
    }

    /// Takes a number without listing anything under it.
    pub(super) fn skip(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The task with this number.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Task> {
        self.list.iter_mut().find(|task| task.id == id)
    }

    /// Every task that the member's end has cut short is `Failed`.
    pub(super) fn after_restart(mut self) -> Self {
        for task in &mut self.list {
            if task.status == TaskStatus::Running {
                task.status = TaskStatus::Failed;
                task.message = "the member was restarted while the task ran: Failed".to_owned();
            }
        }
        self
    }
}

/// How a task ended that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody cancelled it by force.
    Cancelled,
    /// It cannot go on.
    Failed(String),
    /// A fault: it says that it succeeded and has done nothing.
    FalseSuccess,
}

/// A task that runs.
pub(super) struct Running {
    pub(super) member: Arc<Member>,
    pub(super) id: u64,
    pub(super) command: String,
    begun: Instant,
    length: Duration,
    cancel: CancellationToken,
    fault: Option<FaultKind>,
}

impl Member {
    /// Lists a task and gives back what it runs with. `length` is how long it will take.
    pub(super) fn start_task(self: &Arc<Self>, new: NewTask, length: Duration) -> Running {
        let fault =
            self.fault(Occasion { command: &new.command, ..Occasion::default() }, is_script);
        let cancel = CancellationToken::new();
        let command = new.command.clone();
        let id = self.change(|state| {
            let id = state.tasks.skip();
            if fault != Some(FaultKind::LoseTask) {
                state.tasks.list.push(Task {
                    id,
                    command: new.command,
                    description: new.description,
                    status: TaskStatus::Running,
                    progress: 0,
                    message: "Running".to_owned(),
                    member: new.member,
                    started: jiff::Timestamp::now(),
                    unreadable: false,
                    membership: new.membership,
                    cancel: cancel.clone(),
                });
            }
            id
        });
        self.keep_tasks();
        let member = Arc::clone(self);
        Running { member, id, command, begun: Instant::now(), length, cancel, fault }
    }

    /// Changes a listed task; one that was forgotten stays so.
    pub(super) fn change_task(&self, id: u64, change: impl FnOnce(&mut Task)) {
        self.change(|state| {
            if let Some(task) = state.tasks.get_mut(id) {
                change(task);
            }
        });
        self.keep_tasks();
    }

    /// Keeps the tasks in the volume where the release does so.
    pub(super) fn keep_tasks(&self) {
        if !self.behaviour().tasks_survive_restart || self.scope.is_cancelled() {
            return;
        }
        if let Err(error) = self.read(|state| self.volume.set_tasks(&state.tasks)) {
            tracing::error!(member = %self.environment.member, %error, "the tasks were not kept");
        }
    }
}

/// Whether a fault scripts how a task runs.
fn is_script(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::FailTask { .. }
            | FaultKind::LoseTask
            | FaultKind::StuckTask { .. }
            | FaultKind::FalseSuccess
            | FaultKind::GhostAfterFailedJoin
            | FaultKind::Reappear
    )
}

impl Running {
    /// Whether the task was taken and will have no effect.
    pub(super) fn is_lost(&self) -> bool {
        self.fault == Some(FaultKind::LoseTask)
    }

    /// Whether this fault was set for the task.
    pub(super) fn has(&self, fault: &FaultKind) -> bool {
        self.fault.as_ref() == Some(fault)
    }

    /// Begins anew with the time that the task is to take, after a wait in the queue.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Waits until `elapsed` has passed since the task began, showing its progress, and tells
    /// whether it may go on.
    pub(super) async fn until(&self, elapsed: Duration, step: &str) -> Result<(), Ended> {
        let target = self.percent(elapsed);
        match self.fault {
            Some(FaultKind::FailTask { percent }) if percent <= target => {
                self.sleep_until(self.at_percent(percent), step).await?;
                Err(Ended::Failed("the task failed".to_owned()))
            }
            Some(FaultKind::FalseSuccess) => {
                self.sleep_until(self.length, step).await?;
                Err(Ended::FalseSuccess)
            }
            Some(FaultKind::StuckTask { percent }) if percent <= target => {
                self.sleep_until(self.at_percent(percent), step).await?;
                self.cancel.cancelled().await;
                Err(Ended::Cancelled)
            }
            _ => self.sleep_until(elapsed, step).await,
        }
    }

    /// As [`Self::until`], in small parts, so that the list shows progress meanwhile.
    async fn sleep_until(&self, elapsed: Duration, step: &str) -> Result<(), Ended> {
        let part = (self.length / 20).max(self.member.timing.poll());
        loop {
            let passed = self.begun.elapsed();
            let progress = self.percent(passed.min(elapsed));
            self.member.change_task(self.id, |task| {
                task.progress = progress;
                task.message = format!("{step}: Running");
            });
            if passed >= elapsed {
                return Ok(());
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Ended::Cancelled),
                () = tokio::time::sleep(part.min(elapsed - passed)) => {}
            }
        }
    }

    fn percent(&self, elapsed: Duration) -> u8 {
        let share = elapsed.as_secs_f64() / self.length.as_secs_f64().max(f64::MIN_POSITIVE);
        // A running task never shows 100. The little more makes up for the division's rounding.
        (share * 100.0 + 1e-6).clamp(0.0, 99.0) as u8
    }

    fn at_percent(&self, percent: u8) -> Duration {
        self.length.mul_f64(f64::from(percent.min(100)) / 100.0)
    }

    /// Runs `work`, or gives up when the task is cancelled meanwhile.
    pub(super) async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(Ended::Cancelled),
            result = work => Ok(result),
        }
    }

    /// Shows or hides the task's status: while a join replaces the database it cannot be told.
    pub(super) fn set_unreadable(&self, unreadable: bool) {
        self.member.change_task(self.id, |task| task.unreadable = unreadable);
    }

    /// Brings a membership task to its end. What came of it is in the call log before anybody can
    /// see that it has ended, and before another task can begin.
    pub(super) async fn finish(
        &self,
        group: &Group,
        result: Result<&'static str, Ended>,
        failed: &'static str,
        (parameter, member): (&str, String),
    ) {
        let effect = match &result {
            Ok(effect) => Some(*effect),
            Err(Ended::FalseSuccess) => None,
            Err(_) => Some(failed),
        };
        if let Some(effect) = effect {
            let parameters = BTreeMap::from([(parameter.to_owned(), Value::from(member))]);
            self.member.record_effect(&self.command, effect, parameters);
        }
        self.member.release(group).await;
        self.end(&result.map(|_| ()));
    }

    /// Shows how the task ended.
    pub(super) fn end(&self, result: &Result<(), Ended>) {
        let (status, message) = match result {
            Ok(()) | Err(Ended::FalseSuccess) => (TaskStatus::Success, "Success".to_owned()),
            Err(Ended::Cancelled) => (TaskStatus::Failed, "cancelled by force: Failed".to_owned()),
            Err(Ended::Failed(reason)) => (TaskStatus::Failed, format!("{reason}: Failed")),
        };
        self.member.change_task(self.id, |task| {
            task.status = status;
            task.message = message;
            task.unreadable = false;
            if status == TaskStatus::Success {
                task.progress = 100;
            }
        });
    }
}
