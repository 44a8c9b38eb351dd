//! How a member joins a group: the task that runs on the joining member.
//!
//! Measured on the real cache: 150 to 210 s, and the member is listed and Online after about 60 s,
//! so before the task ends. Meanwhile the member's database is replaced by the group's, and the
//! task's status cannot be told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::admin::TaskRequest;
use super::database::{Database, View};
use super::lock::Group;
use super::peer::{GroupChange, PeerCall, PeerError, PeerReply, Refusal};
use super::tasks::{Ended, NewTask, Running};
use super::wire::Answer;
use super::{Member, State};
use crate::faults::FaultKind;
use crate::profile::FailedJoinView;

/// What a join was asked to do.
struct Join {
    name: String,
    is_catalog: bool,
    group: Group,
    /// Why it will fail, when that is known from the start.
    doomed: Option<String>,
    queued: bool,
    times: Times,
}

/// When what happens after the task has begun.
struct Times {
    admitted: Duration,
    offline: Duration,
    listed: Duration,
    readable: Duration,
    end: Duration,
}

impl Member {
    /// Starts a join, or refuses it.
    pub(super) async fn start_join(self: &Arc<Self>, request: &TaskRequest) -> Answer {
        match self.try_start_join(request).await {
            Ok(answer) => answer,
            Err(answer) => answer.with_effect("join_refused"),
        }
    }

    async fn try_start_join(self: &Arc<Self>, request: &TaskRequest) -> Result<Answer, Answer> {
        let secret_key = request.parameter("secretKey")?;
        let name = request.parameter("memberName")?.to_owned();
        let host = request.parameter("cacheMemberGroupHost")?;
        let is_catalog = request.flag("isCatalog")?;
        self.is_free_to_join()?;
        let (group, mut doomed) = match self.find(host) {
            Some(address) => (Self::other_group(address, secret_key), None),
            None => (Self::other_group(Ipv4Addr::UNSPECIFIED, secret_key), Some(unknown(host))),
        };
        if name != self.environment.member {
            doomed = Some(format!("memberName {name} is not the name of this member"));
        }
        let id = self.read(|state| state.identity.id);
        let mut queued = false;
        if doomed.is_none() {
            match self.acquire(&group, Some(id)).await {
                Ok(()) => {}
                Err(PeerError::Refused(Refusal::Busy(_))) if self.queues() => queued = true,
                Err(PeerError::Refused(busy @ Refusal::Busy(_))) => {
                    return Err(Answer::error(409, busy));
                }
                Err(error) => doomed = Some(error.to_string()),
            }
        }
        // Asked again: another join may have been started while the group was asked.
        if let Err(answer) = self.is_free_to_join() {
            self.release(&group).await;
            return Err(answer);
        }
        let times = self.join_times();
        let new = NewTask {
            command: request.command.clone(),
            description: request.description.clone(),
            member: name.clone(),
            membership: true,
        };
        let running = self.start_task(new, times.end);
        let answer = self.task_started(&running, "join_started");
        let join = Join { name, is_catalog, group, doomed, queued, times };
        let member = Arc::clone(self);
        self.spawn(async move { member.run_join(running, join).await });
        Ok(answer)
    }

    /// Whether no other membership task runs here and the member is in no group.
    fn is_free_to_join(&self) -> Result<(), Answer> {
        // Its own group of one may be just about to be joined by another member.
        let (running, alone) = self.read(|state| {
            let lock = state.lock.as_ref().map(|lock| lock.request.task);
            (state.membership_task().or(lock), state.is_alone())
        });
        if let Some(task) = running {
            return Err(Answer::error(409, Refusal::Busy(task)));
        }
        if alone {
            return Ok(());
        }
        let name = &self.environment.member;
        Err(Answer::error(400, format!("the member {name} is already in a cache member group")))
    }

    /// The address that a host name or an address stands for.
    fn find(&self, host: &str) -> Option<Ipv4Addr> {
        host.parse().ok().or_else(|| self.config.names.resolve(host))
    }

    fn join_times(&self) -> Times {
        Times {
            admitted: self.timing.seconds(5.0),
            offline: self.timing.seconds(30.0),
            listed: self.timing.between("listed", 55.0, 65.0),
            readable: self.timing.seconds(100.0),
            end: self.timing.between("join", 150.0, 210.0),
        }
    }

    async fn run_join(self: Arc<Self>, mut running: Running, join: Join) {
        if running.is_lost() {
            self.release(&join.group).await;
            return;
        }
        let before = self.read(|state| state.view.clone());
        let mut listed = false;
        let result = self.steps_of_join(&mut running, &join, &mut listed).await;
        self.finish_join(&running, &join, &result, before, listed);
        let result = result.map(|()| "joined");
        running.finish(&join.group, result, "join_failed", ("memberName", join.name)).await;
    }

    async fn steps_of_join(
        &self,
        running: &mut Running,
        join: &Join,
        listed: &mut bool,
    ) -> Result<(), Ended> {
        let id = self.read(|state| state.identity.id);
        let Join { group, times, .. } = join;
        if join.queued {
            running.run(self.queue_for(group, Some(id))).await??;
            running.begin();
        }
        running.until(times.admitted, "look for the group").await?;
        if let Some(reason) = &join.doomed {
            return Err(Ended::Failed(reason.clone()));
        }
        let entry = self.entry(id, join.is_catalog);
        let token = group.lock;
        let duplicate = !self.behaviour().refuse_duplicate_member;
        let admit = GroupChange::Admit { token, entry: entry.clone(), duplicate };
        self.change_of(group, admit).await?;
        running.until(times.offline, "register the member: Success; copy the database").await?;
        running.set_unreadable(true);
        self.change(|state| state.offline = true);
        running.until(times.listed, "copy the database").await?;
        self.change_of(group, GroupChange::List { token, entry }).await?;
        *listed = true;
        self.replace_database(group).await?;
        self.record_effect(&running.command, "member_listed", listed_parameters(&join.name));
        running.until(times.readable, "start the servers").await?;
        running.set_unreadable(false);
        if running.has(&FaultKind::GhostAfterFailedJoin) {
            running.until(times.end.mul_f64(0.7), "start the servers").await?;
            return Err(Ended::Failed("the servers did not start".to_owned()));
        }
        running.until(times.end, "copy the database: Success; start the servers").await?;
        // In the volume first: a member that dies between the two is then in the group, as the
        // group's own database says.
        self.change(|state| state.provisional = false);
        self.read(|state| self.keep(state));
        Ok(self.change_of(group, GroupChange::Confirm { token, id }).await?)
    }

    /// Takes over the group's database, for as long as the join runs only in memory.
    async fn replace_database(&self, group: &Group) -> Result<(), Ended> {
        let Some(address) = group.address else {
            return Err(Ended::Failed("the group has no other member".to_owned()));
        };
        let reply = self.peers.call(address, &group.token, &PeerCall::Known).await?;
        let PeerReply::View { view, .. } = reply else {
            return Err(Ended::Failed("the group did not give its database".to_owned()));
        };
        self.change(|state| {
            state.provisional = true;
            state.offline = false;
            state.view = *view;
            state.store.clear();
            state.lock = None;
        });
        Ok(())
    }

    /// What the member is when its join has ended.
    fn finish_join(
        &self,
        running: &Running,
        join: &Join,
        result: &Result<(), Ended>,
        before: View,
        listed: bool,
    ) {
        let alone = self.behaviour().failed_join_view == FailedJoinView::Alone;
        self.change(|state| {
            state.offline = false;
            if result.is_err() && listed && alone {
                state.view = before;
                state.stale = false;
            }
            state.provisional = false;
            self.keep(state);
        });
        running.set_unreadable(false);
        tracing::info!(member = %join.name, ?result, "join ended");
    }

    /// Makes this member a group of one again, as with an empty volume. Its certificate stays.
    pub(super) fn become_alone(&self) {
        let identity = super::Identity { id: uuid::Uuid::new_v4() };
        if let Err(error) = self.volume.set_identity(&identity) {
            tracing::error!(member = %self.environment.member, %error, "identity not kept");
        }
        self.change(|state| {
            let database = Database::of_one(&self.environment, self.entry(identity.id, true));
            state.identity = identity;
            state.view = View { database, statuses: BTreeMap::new() };
            state.stale = false;
            state.provisional = false;
            state.lock = None;
            state.leaving.clear();
            state.pending_grids.clear();
            state.store.clear();
        });
    }
}

impl State {
    /// The membership task that runs on this member.
    pub(super) fn membership_task(&self) -> Option<u64> {
        let running = super::tasks::TaskStatus::Running;
        let mut tasks = self.tasks.list.iter();
        tasks.find(|task| task.membership && task.status == running).map(|task| task.id)
    }
}

fn listed_parameters(name: &str) -> BTreeMap<String, Value> {
    BTreeMap::from([("memberName".to_owned(), Value::from(name))])
}

fn unknown(host: &str) -> String {
    format!("the host {host} of the cache member group is unknown")
}
