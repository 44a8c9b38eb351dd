//! The one membership task of a group: who has it, and how a task gets it.

use std::net::Ipv4Addr;

use uuid::Uuid;

use super::database::peer_token;
use super::peer::{GroupChange, LockRequest, PeerCall, PeerError, PeerReply, Refusal};
use super::tasks::Ended;
use super::{Member, State};
use crate::profile::ParallelTasks;

/// The task that owns the group just now, as the primary knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupLock {
    pub(super) request: LockRequest,
}

/// A group as a task reaches it: through its primary, or through a member that passes on.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// `None` is this member itself.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) token: String,
    pub(super) lock: Uuid,
}

impl State {
    /// Whether `token` is that of the task that owns the group.
    pub(super) fn owns(&self, token: Uuid) -> Result<(), Refusal> {
        match &self.lock {
            Some(lock) if lock.request.token == token => Ok(()),
            _ => Err(Refusal::LockLost),
        }
    }
}

impl Member {
    /// The member's own group, to be changed by a task under a lock of its own.
    pub(super) fn own_group(&self) -> Group {
        let (address, token) = self.read(|state| {
            let database = &state.view.database;
            let address =
                state.primary().filter(|_| !state.is_primary()).map(|entry| entry.address);
            (address, database.peer_token())
        });
        Group { address, token, lock: Uuid::new_v4() }
    }

    /// Another group, reached through one of its members with the secret key that the caller gave.
    pub(super) fn other_group(address: Ipv4Addr, secret_key: &str) -> Group {
        Group { address: Some(address), token: peer_token(secret_key), lock: Uuid::new_v4() }
    }

    /// Asks for the group; `Busy` tells which task has it.
    pub(super) async fn acquire(
        &self,
        group: &Group,
        joining: Option<Uuid>,
    ) -> Result<(), PeerError> {
        let request = self.read(|state| LockRequest {
            token: group.lock,
            task: state.tasks.next_id(),
            holder: state.identity.id,
            address: self.config.address,
            incarnation: self.config.container_id.clone(),
            joining,
        });
        self.change_of(group, GroupChange::Lock { request }).await
    }

    /// Gives the group back. When it cannot be reached it finds out by itself.
    pub(super) async fn release(&self, group: &Group) {
        let unlock = GroupChange::Unlock { token: group.lock };
        if let Err(error) = self.change_of(group, unlock).await {
            tracing::debug!(member = %self.environment.member, %error, "the group was not released");
        }
    }

    /// Asks `group` for a change.
    pub(super) async fn change_of(
        &self,
        group: &Group,
        change: GroupChange,
    ) -> Result<(), PeerError> {
        let Some(address) = group.address else {
            return Ok(self.change_group(change)?);
        };
        let call = PeerCall::Change { change, passed_on: false };
        self.peers.call(address, &group.token, &call).await.map(|_: PeerReply| ())
    }

    /// Asks the member's own group for a change that no lock protects.
    pub(super) async fn change_own_group(&self, change: GroupChange) -> Result<(), PeerError> {
        self.change_of(&self.own_group(), change).await
    }

    /// Whether a membership task waits for another one to end instead of being refused.
    pub(super) fn queues(&self) -> bool {
        self.behaviour().parallel_tasks == ParallelTasks::Queue
    }

    /// Waits until the group is free.
    pub(super) async fn queue_for(
        &self,
        group: &Group,
        joining: Option<Uuid>,
    ) -> Result<(), Ended> {
        loop {
            match self.acquire(group, joining).await {
                Ok(()) => return Ok(()),
                Err(PeerError::Refused(Refusal::Busy(_))) => {
                    tokio::time::sleep(self.timing.poll()).await;
                }
                Err(error) => return Err(Ended::Failed(error.to_string())),
            }
        }
    }
}

impl From<PeerError> for Ended {
    fn from(error: PeerError) -> Self {
        Self::Failed(error.to_string())
    }
}
