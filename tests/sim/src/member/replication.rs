//! Replication of the configuration database to a second member, and the switch of the primary.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::admin::TaskRequest;
use super::database::MemberStatus;
use super::lock::Group;
use super::peer::{GroupChange, PeerCall, PeerReply, Refusal};
use super::tasks::{Ended, NewTask, Running};
use super::wire::Answer;
use super::{Member, State};

impl Member {
    /// Starts the set-up of replication, or refuses it. Only the primary does that.
    pub(super) async fn start_replication(self: &Arc<Self>, request: &TaskRequest) -> Answer {
        match self.try_start_replication(request).await {
            Ok(answer) => answer,
            Err(answer) => answer.with_effect("replication_refused"),
        }
    }

    async fn try_start_replication(
        self: &Arc<Self>,
        request: &TaskRequest,
    ) -> Result<Answer, Answer> {
        let name = request.parameter("slaveMemberName")?.to_owned();
        let (own, is_primary, entry) = self.read(|state| {
            let entry = state.view.database.member_named(&name).cloned();
            (state.identity.id, state.is_primary(), entry)
        });
        if !is_primary {
            return Err(Answer::error(400, "this member does not hold the configuration database"));
        }
        let Some(entry) = entry.filter(|entry| entry.joined) else {
            let text = format!("the member {name} is not in the cache member group");
            return Err(Answer::error(404, text));
        };
        if entry.id == own {
            return Err(Answer::error(400, "the database cannot be replicated to its own member"));
        }
        let group = self.own_group();
        let length = self.timing.between("replication", 60.0, 90.0);
        let started = (length, "replication_started");
        let (mut running, queued, answer) =
            self.start_membership_task(request, &name, &group, started).await?;
        let member = Arc::clone(self);
        self.spawn(async move {
            if running.is_lost() {
                return member.release(&group).await;
            }
            let wanted = (entry.id, length, queued);
            let result = member.run_replication(&mut running, &group, wanted).await;
            let result = result.map(|()| "replication_configured");
            running.finish(&group, result, "replication_failed", ("slaveMemberName", name)).await;
        });
        Ok(answer)
    }

    async fn run_replication(
        &self,
        running: &mut Running,
        group: &Group,
        (replica, length, queued): (Uuid, Duration, bool),
    ) -> Result<(), Ended> {
        if queued {
            running.run(self.queue_for(group, None)).await??;
            running.begin();
        }
        let token = group.lock;
        // Whatever was set up before ends: replication always begins from a fresh copy.
        self.change_of(group, GroupChange::SetReplica { token, replica: None }).await?;
        running.until(length.mul_f64(0.45), "copy the database").await?;
        running.until(length, "copy the database: Success; start replication").await?;
        let online = self
            .read(|state| state.view.statuses.get(&replica).copied() == Some(MemberStatus::Online));
        if !online {
            return Err(Ended::Failed("the replica's member is not Online".to_owned()));
        }
        let replica = Some(replica);
        Ok(self.change_of(group, GroupChange::SetReplica { token, replica }).await?)
    }

    /// Starts the promotion of this member, which must be the replica, or refuses it.
    pub(super) async fn start_promotion(self: &Arc<Self>, request: &TaskRequest) -> Answer {
        match self.try_start_promotion(request).await {
            Ok(answer) => answer,
            Err(answer) => answer.with_effect("promotion_refused"),
        }
    }

    async fn try_start_promotion(
        self: &Arc<Self>,
        request: &TaskRequest,
    ) -> Result<Answer, Answer> {
        let name = request.parameter("memberName")?;
        if name != self.environment.member {
            let text = format!("the promotion of {name} must be started on that member");
            return Err(Answer::error(400, text));
        }
        let (is_replica, stale) = self
            .read(|state| (state.view.database.replica == Some(state.identity.id), state.stale));
        if !is_replica {
            let text = format!("the member {name} does not hold a replica of the database");
            return Err(Answer::error(400, text));
        }
        let group = self.own_group();
        let length = self.timing.between("promotion", 20.0, 30.0);
        // With the primary gone nobody keeps the group's lock, and nobody else can change it.
        let (mut running, queued, answer) = if stale {
            let new = NewTask {
                command: request.command.clone(),
                description: request.description.clone(),
                member: name.to_owned(),
                membership: true,
            };
            let running = self.start_task(new, length);
            let answer = self.task_started(&running, "promotion_started");
            (running, false, answer)
        } else {
            self.start_membership_task(request, name, &group, (length, "promotion_started")).await?
        };
        let member = Arc::clone(self);
        self.spawn(async move {
            if running.is_lost() {
                return member.release(&group).await;
            }
            let result = member.run_promotion(&mut running, &group, length, queued).await;
            let result = result.map(|()| "promoted");
            let name = member.environment.member.clone();
            running.finish(&group, result, "promotion_failed", ("memberName", name)).await;
        });
        Ok(answer)
    }

    async fn run_promotion(
        self: &Arc<Self>,
        running: &mut Running,
        group: &Group,
        length: Duration,
        queued: bool,
    ) -> Result<(), Ended> {
        if queued {
            running.run(self.queue_for(group, None)).await??;
            running.begin();
        }
        running.until(length, "take over the database").await?;
        let (own, primary) = self.read(|state| (state.identity.id, state.primary().cloned()));
        let still = self.read(|state| state.view.database.replica == Some(own));
        if !still {
            return Err(Ended::Failed("replication has ended".to_owned()));
        }
        // In an orderly switch the primary hands over its last state; without it the replica's own
        // copy is all there is.
        if let Some(primary) = primary {
            let call = PeerCall::StepDown { id: own };
            if let Ok(PeerReply::View { view, .. }) =
                self.ask(primary.id, primary.address, call).await
            {
                self.adopt(*view);
            }
        }
        let view = self.change(|state| {
            if !state.is_primary() {
                state.hand_over(own);
            }
            state.stale = false;
            state.lock = None;
            state.view.clone()
        });
        let others = view.database.members.iter().filter(|entry| entry.id != own);
        let told = others
            .map(|entry| self.ask(entry.id, entry.address, PeerCall::Adopt { view: view.clone() }));
        for reply in futures::future::join_all(told).await {
            if let Err(error) = reply {
                tracing::debug!(%error, "a member did not hear of the new primary");
            }
        }
        Ok(())
    }

    /// The replica takes over: from this answer on it is the primary.
    pub(super) fn answer_step_down(&self, id: Uuid) -> Result<PeerReply, Refusal> {
        self.change(|state| {
            if !state.is_primary() || state.view.database.replica != Some(id) {
                return Err(Refusal::NoPrimary);
            }
            state.hand_over(id);
            state.lock = None;
            Ok(state.told_view())
        })
    }
}

impl State {
    /// Begins the term of another primary. Replication ends with the former one's.
    fn hand_over(&mut self, to: Uuid) {
        let database = &mut self.view.database;
        database.term += 1;
        database.revision += 1;
        database.primary = to;
        database.replica = None;
        self.leaving.clear();
        self.watched.clear();
    }
}
