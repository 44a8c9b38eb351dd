//! The server side of the members' own traffic: who may ask, and what is answered.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::peer::{GroupChange, PeerCall, PeerError, PeerReply, Phase, Refusal};
use super::wire::micros;
use super::{Member, State};

impl Member {
    /// Answers another member. `token` is what it proves that it knows the secret key with.
    pub(super) async fn answer_peer(self: Arc<Self>, token: &str, call: PeerCall) -> PeerReply {
        match self.try_answer_peer(token, call).await {
            Ok(reply) => reply,
            Err(refusal) => PeerReply::Refused { refusal },
        }
    }

    async fn try_answer_peer(
        self: Arc<Self>,
        token: &str,
        call: PeerCall,
    ) -> Result<PeerReply, Refusal> {
        // Who a member is may be known to everyone: a joining member may have another key still.
        if let PeerCall::Presence { seen, hold_ms } = call {
            return Ok(self.hold_presence(seen, Duration::from_millis(hold_ms)).await);
        }
        if self.read(|state| state.view.database.peer_token() != token) {
            return Err(Refusal::Secret);
        }
        match call {
            PeerCall::Known => Ok(self.read(State::told_view)),
            PeerCall::Adopt { view } => {
                self.adopt(view);
                // Writes that began with the former placement end before the answer.
                drop(self.placement.write().await);
                Ok(PeerReply::Done)
            }
            call if self.read(|state| state.phase == Phase::Starting) => {
                tracing::trace!(?call, "refused: starting");
                Err(Refusal::Starting)
            }
            PeerCall::View { id, incarnation: _, seen, hold_ms } => {
                self.hold_view(id, seen, Duration::from_millis(hold_ms)).await
            }
            PeerCall::Change { change, passed_on } => self.answer_change(change, passed_on).await,
            PeerCall::Reset { group } => self.answer_reset(group),
            PeerCall::StepDown { id } => self.answer_step_down(id),
            PeerCall::RestartGrids { down_ms } => {
                self.restart_grids(Duration::from_millis(down_ms)).await;
                Ok(PeerReply::Done)
            }
            call => self.answer_data(token, call).await,
        }
    }

    /// Asks a member of the group, which may be this one.
    pub(super) fn ask<'a>(
        self: &'a Arc<Self>,
        id: Uuid,
        address: Ipv4Addr,
        call: PeerCall,
    ) -> Pin<Box<dyn Future<Output = Result<PeerReply, PeerError>> + Send + 'a>> {
        Box::pin(async move {
            let (own, token) =
                self.read(|state| (state.identity.id, state.view.database.peer_token()));
            if id != own {
                return self.peers.call(address, &token, &call).await;
            }
            match Arc::clone(self).answer_peer(&token, call).await {
                PeerReply::Refused { refusal } => Err(PeerError::Refused(refusal)),
                reply => Ok(reply),
            }
        })
    }

    async fn hold_presence(&self, seen: u64, hold: Duration) -> PeerReply {
        let deadline = Instant::now() + hold;
        let mut version = self.version.subscribe();
        loop {
            version.mark_unchanged();
            let presence = self.presence();
            let left = deadline.saturating_duration_since(Instant::now());
            if presence.version != seen || left.is_zero() {
                return PeerReply::Presence { presence };
            }
            self.changed(&mut version, left).await;
        }
    }

    async fn hold_view(&self, id: Uuid, seen: u64, hold: Duration) -> Result<PeerReply, Refusal> {
        let deadline = Instant::now() + hold;
        let mut version = self.version.subscribe();
        loop {
            version.mark_unchanged();
            self.read(|state| match state.view.database.member(id) {
                _ if !state.is_primary() => Err(Refusal::NoPrimary),
                None => Err(Refusal::NotAMember),
                Some(_) => Ok(()),
            })?;
            let left = deadline.saturating_duration_since(Instant::now());
            if self.read(State::view_version) != seen || left.is_zero() {
                return Ok(self.read(State::told_view));
            }
            self.changed(&mut version, left).await;
        }
    }

    async fn answer_change(
        self: Arc<Self>,
        change: GroupChange,
        passed_on: bool,
    ) -> Result<PeerReply, Refusal> {
        let (is_primary, primary) =
            self.read(|state| (state.is_primary(), state.primary().cloned()));
        if is_primary {
            return self.change_group(change).map(|()| PeerReply::Done);
        }
        let primary = primary.filter(|_| !passed_on).ok_or(Refusal::NoPrimary)?;
        let call = PeerCall::Change { change, passed_on: true };
        match self.ask(primary.id, primary.address, call).await {
            Ok(reply) => Ok(reply),
            Err(PeerError::Refused(refusal)) => Err(refusal),
            Err(PeerError::Unreachable { .. }) => Err(Refusal::NoPrimary),
        }
    }

    async fn answer_data(
        self: Arc<Self>,
        token: &str,
        call: PeerCall,
    ) -> Result<PeerReply, Refusal> {
        match call {
            PeerCall::Put { grid, partition, key, entry } => {
                let whole = self.change_data(|store| store.put(&grid, partition, key, entry));
                if whole { Ok(PeerReply::Done) } else { Err(Refusal::NotHeld) }
            }
            PeerCall::Get { grid, partition, key } => {
                let found = self.read(|state| state.store.get(&grid, partition, &key));
                found.map(|entry| PeerReply::Entry { entry }).map_err(|_| Refusal::NotHeld)
            }
            PeerCall::Keys { grid, partition, map } => {
                let now = micros();
                let keys = self.read(|state| state.store.keys(&grid, partition, &map, now));
                keys.map(|keys| PeerReply::Keys { keys }).map_err(|_| Refusal::NotHeld)
            }
            PeerCall::Copy { grid, partitions, address } => {
                let slices = self.read(|state| state.store.slices(&grid, &partitions));
                let call = PeerCall::Receive { grid, slices };
                match self.peers.call(address, token, &call).await {
                    Ok(reply) => Ok(reply),
                    Err(PeerError::Refused(refusal)) => Err(refusal),
                    Err(error) => Err(Refusal::Conflict(error.to_string())),
                }
            }
            PeerCall::Receive { grid, slices } => {
                self.change(|state| state.store.receive(&grid, slices));
                Ok(PeerReply::Done)
            }
            PeerCall::Open { grid, partitions } => {
                self.change(|state| {
                    partitions.iter().for_each(|partition| state.store.open(&grid, *partition));
                });
                Ok(PeerReply::Done)
            }
            PeerCall::Keep { grid, partitions } => {
                self.change(|state| state.store.keep(&grid, &partitions));
                Ok(PeerReply::Done)
            }
            _ => Err(Refusal::Invalid("the call is not one that a member answers".to_owned())),
        }
    }

    /// Changes entries. Nobody waits for that, so nobody is woken.
    fn change_data<T>(&self, change: impl FnOnce(&mut super::Store) -> T) -> T {
        change(&mut self.lock().store)
    }
}

impl State {
    /// The view as it is told to another member.
    pub(super) fn told_view(&self) -> PeerReply {
        PeerReply::View { view: Box::new(self.view.clone()), version: self.view_version() }
    }
}
