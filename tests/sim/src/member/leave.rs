//! How a member leaves its group, and how its grid servers are started anew: tasks that run on the
//! member that was asked, for another one.
//!
//! Measured on the real cache: a disjoin takes 270 to 300 s, and what the group shows changes only
//! at its very end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::admin::TaskRequest;
use super::database::MemberEntry;
use super::lock::Group;
use super::peer::{GroupChange, PeerCall, PeerError, PeerReply, Phase, Refusal};
use super::tasks::{Ended, NewTask, Running};
use super::wire::Answer;
use super::{Member, State};
use crate::faults::FaultKind;

impl Member {
    /// Starts a disjoin, or refuses it.
    pub(super) async fn start_disjoin(self: &Arc<Self>, request: &TaskRequest) -> Answer {
        match self.try_start_disjoin(request).await {
            Ok(answer) => answer,
            Err(answer) => answer.with_effect("disjoin_refused"),
        }
    }

    async fn try_start_disjoin(self: &Arc<Self>, request: &TaskRequest) -> Result<Answer, Answer> {
        let name = request.parameter("memberName")?.to_owned();
        let entries = self.entries_named(&name);
        if entries.is_empty() {
            let text = format!("the member {name} is not in the cache member group");
            return Err(Answer::error(404, text));
        }
        let (own, primary) = self.read(|state| (state.identity.id, state.view.database.primary));
        if entries.iter().any(|entry| entry.id == own) {
            return Err(Answer::error(400, "a member cannot be disjoined through itself"));
        }
        if entries.iter().any(|entry| entry.id == primary) {
            let text = format!("the member {name} is the primary of the cache member group");
            return Err(Answer::error(400, text));
        }
        let group = self.own_group();
        let started = (self.disjoin_length(), "disjoin_started");
        let (mut running, queued, answer) =
            self.start_membership_task(request, &name, &group, started).await?;
        let member = Arc::clone(self);
        self.spawn(async move {
            if running.is_lost() {
                return member.release(&group).await;
            }
            let result = member.run_disjoin(&mut running, &group, queued, entries).await;
            running.finish(&group, result, "disjoin_failed", ("memberName", name)).await;
        });
        Ok(answer)
    }

    /// Every entry of this name; more than one where duplicates are let in.
    fn entries_named(&self, name: &str) -> Vec<MemberEntry> {
        self.read(|state| {
            let members = state.view.database.members.iter();
            members.filter(|entry| entry.name == name).cloned().collect()
        })
    }

    fn disjoin_length(&self) -> Duration {
        self.timing.between("disjoin", 270.0, 300.0)
    }

    /// Gets the group for a task that changes it, and lists the task.
    pub(super) async fn start_membership_task(
        self: &Arc<Self>,
        request: &TaskRequest,
        member: &str,
        group: &Group,
        (length, effect): (Duration, &'static str),
    ) -> Result<(Running, bool, Answer), Answer> {
        if let Some(task) = self.read(State::membership_task).filter(|_| !self.queues()) {
            return Err(Answer::error(409, Refusal::Busy(task)));
        }
        let queued = match self.acquire(group, None).await {
            Ok(()) => false,
            Err(PeerError::Refused(Refusal::Busy(_))) if self.queues() => true,
            Err(PeerError::Refused(busy @ Refusal::Busy(_))) => {
                return Err(Answer::error(409, busy));
            }
            Err(PeerError::Unreachable { .. }) => {
                return Err(Answer::error(503, Refusal::NoPrimary));
            }
            Err(error) => return Err(Answer::error(503, error)),
        };
        let new = NewTask {
            command: request.command.clone(),
            description: request.description.clone(),
            member: member.to_owned(),
            membership: true,
        };
        let running = self.start_task(new, length);
        let answer = self.task_started(&running, effect);
        Ok((running, queued, answer))
    }

    /// Moves the data away, waits as long as the real cache does, and takes the entries out.
    async fn run_disjoin(
        self: &Arc<Self>,
        running: &mut Running,
        group: &Group,
        queued: bool,
        entries: Vec<MemberEntry>,
    ) -> Result<&'static str, Ended> {
        if queued {
            running.run(self.queue_for(group, None)).await??;
            running.begin();
        }
        let length = self.disjoin_length();
        let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
        let token = group.lock;
        running.until(length.mul_f64(0.05), "check the member").await?;
        self.change_of(group, GroupChange::Leave { token, ids: ids.clone() }).await?;
        running.until(length.mul_f64(0.9), "move the data").await?;
        running.run(self.wait_until_moved(&ids, length)).await?;
        running.until(length, "move the data: Success; remove the member").await?;
        let (own_group, peer_token) =
            self.read(|state| (state.view.database.group, state.view.database.peer_token()));
        self.change_of(group, GroupChange::Evict { token, ids }).await?;
        let mut effect = "ghost_removed";
        for entry in &entries {
            let call = PeerCall::Reset { group: own_group };
            if self.peers.call(entry.address, &peer_token, &call).await.is_ok() && entry.joined {
                effect = "disjoined";
            }
        }
        if running.has(&FaultKind::Reappear) {
            self.reappear(group, entries).await;
        }
        Ok(effect)
    }

    /// Data is moved as fast as it can be; a member that cannot be copied from is not waited for
    /// longer than a second time the whole disjoin.
    async fn wait_until_moved(&self, ids: &[Uuid], length: Duration) {
        let mut version = self.version.subscribe();
        let deadline = tokio::time::Instant::now() + length.max(self.timing.patience());
        while self.is_placed_on(ids) && tokio::time::Instant::now() < deadline {
            self.changed(&mut version, self.timing.poll()).await;
        }
    }

    /// A fault: the member that was taken out is listed again after a while.
    async fn reappear(self: &Arc<Self>, group: &Group, entries: Vec<MemberEntry>) {
        let (member, group) = (Arc::clone(self), group.clone());
        self.spawn(async move {
            tokio::time::sleep(member.timing.seconds(30.0)).await;
            for entry in entries {
                let name = entry.name.clone();
                let change = GroupChange::Reinstate { entry };
                if member.change_of(&group, change).await.is_ok() {
                    let parameters = BTreeMap::from([("memberName".to_owned(), Value::from(name))]);
                    member.record_effect("", "member_reappeared", parameters);
                }
            }
        });
    }

    /// Another member has taken this one out of the group.
    pub(super) fn answer_reset(&self, group: Uuid) -> Result<PeerReply, Refusal> {
        if self.read(|state| state.view.database.group) != group {
            return Err(Refusal::NotAMember);
        }
        self.become_alone();
        self.spawn_nothing_left();
        Ok(PeerReply::Done)
    }

    /// What ran for the former group ends.
    fn spawn_nothing_left(&self) {
        self.change(|state| {
            let running = super::tasks::TaskStatus::Running;
            for task in state.tasks.list.iter_mut().filter(|task| task.status == running) {
                task.cancel.cancel();
            }
        });
    }

    /// Starts the restart of a member's grid servers, or refuses it.
    pub(super) async fn start_restart(self: &Arc<Self>, request: &TaskRequest) -> Answer {
        match self.try_start_restart(request).await {
            Ok(answer) => answer,
            Err(answer) => answer.with_effect("restart_refused"),
        }
    }

    async fn try_start_restart(self: &Arc<Self>, request: &TaskRequest) -> Result<Answer, Answer> {
        let name = request.parameter("memberName")?.to_owned();
        let with_grids = request.flag("restartGridServers")?;
        let Some(entry) = self.entries_named(&name).into_iter().next() else {
            let text = format!("the member {name} is not in the cache member group");
            return Err(Answer::error(404, text));
        };
        let group = self.own_group();
        let length = self.timing.between("restart", 60.0, 90.0);
        let (mut running, queued, answer) =
            self.start_membership_task(request, &name, &group, (length, "restart_started")).await?;
        let member = Arc::clone(self);
        self.spawn(async move {
            if running.is_lost() {
                return member.release(&group).await;
            }
            let restart = (length, with_grids, queued);
            let result = member.run_restart(&mut running, &group, &entry, restart).await;
            let result = result.map(|()| "servers_restarted");
            running.finish(&group, result, "restart_failed", ("memberName", name)).await;
        });
        Ok(answer)
    }

    async fn run_restart(
        self: &Arc<Self>,
        running: &mut Running,
        group: &Group,
        entry: &MemberEntry,
        (length, with_grids, queued): (Duration, bool, bool),
    ) -> Result<(), Ended> {
        if queued {
            running.run(self.queue_for(group, None)).await??;
            running.begin();
        }
        running.until(length.mul_f64(0.2), "stop the servers").await?;
        if with_grids {
            let down = length.mul_f64(0.5);
            let down_ms = u64::try_from(down.as_millis()).unwrap_or(u64::MAX);
            self.ask(entry.id, entry.address, PeerCall::RestartGrids { down_ms }).await?;
        }
        running.until(length, "stop the servers: Success; start the servers").await
    }

    /// The grid servers of this member end with what they have, and come back after a while.
    pub(super) async fn restart_grids(self: &Arc<Self>, down: Duration) {
        self.change(|state| {
            state.store.clear();
            state.phase = Phase::RestartingGrids;
        });
        let member = Arc::clone(self);
        self.spawn(async move {
            tokio::time::sleep(down).await;
            member.change(|state| {
                if state.phase == Phase::RestartingGrids {
                    state.phase = Phase::Ready;
                }
            });
        });
    }
}
