//! How a member that is not the primary follows it: a question that is held open, answered when
//! the group changes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::join_all;

use super::database::View;
use super::peer::{GroupChange, PeerCall, PeerError, PeerReply, Refusal};
use super::wire::fingerprint;
use super::{Member, State};

impl Member {
    /// Follows the primary for as long as this member is none.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut version = self.version.subscribe();
        let mut seen = 0;
        loop {
            version.mark_unchanged();
            let Some((address, token)) = self.read(State::to_be_followed) else {
                seen = 0;
                if version.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.ask_for_view(address, &token, seen).await {
                Ok((view, told)) => {
                    seen = told;
                    self.follow_view(view);
                }
                Err(error) => {
                    tracing::trace!(member = %self.environment.member, %error, "primary not seen");
                    seen = 0;
                    self.lose_primary().await;
                    tokio::time::sleep(self.timing.poll()).await;
                }
            }
        }
    }

    async fn ask_for_view(
        &self,
        address: Ipv4Addr,
        token: &str,
        seen: u64,
    ) -> Result<(View, u64), PeerError> {
        let hold = self.timing.hold();
        let call = PeerCall::View {
            id: self.read(|state| state.identity.id),
            incarnation: self.config.container_id.clone(),
            seen,
            hold_ms: u64::try_from(hold.as_millis()).unwrap_or(u64::MAX),
        };
        let patience = self.timing.patience() + if seen == 0 { Default::default() } else { hold };
        match self.peers.call_for(address, token, &call, patience).await? {
            PeerReply::View { view, version } => Ok((*view, version)),
            _ => Err(PeerError::Refused(Refusal::NoPrimary)),
        }
    }

    /// Takes over what the primary says, and that it said something.
    fn follow_view(&self, view: View) {
        let same = self.read(|state| !state.stale && state.view == view);
        if same {
            return;
        }
        self.change(|state| {
            let known = &state.view.database;
            let told = &view.database;
            // An answer that was long on its way may be older than what the primary pushed since.
            let current = (known.term, known.revision) <= (told.term, told.revision);
            if known.group == told.group && !state.is_primary() && current {
                state.stale = false;
                state.view = view;
            }
        });
    }

    /// Takes over a later state of the group, whoever tells it.
    pub(super) fn adopt(&self, view: View) {
        let id = self.read(|state| state.identity.id);
        if !self.read(|state| state.view.database.is_older_than(&view.database)) {
            return;
        }
        self.change(|state| {
            let listed = view.database.member(id).is_some();
            if listed && state.view.database.is_older_than(&view.database) {
                state.view = view;
                state.lock = None;
                state.leaving.clear();
                state.pending_grids.clear();
            }
        });
    }

    /// Shows that the primary is gone, and looks for a member that knows of another one.
    async fn lose_primary(&self) {
        if !self.read(|state| state.stale) {
            self.change(State::lose_primary);
        }
        for view in self.ask_all_for_known().await {
            self.adopt(view);
        }
    }

    /// What every other member knows of the group.
    pub(super) async fn ask_all_for_known(&self) -> Vec<View> {
        let (others, token) = self.read(|state| {
            let others = state.view.database.members.iter();
            let others = others.filter(|entry| entry.id != state.identity.id);
            let others: Vec<_> = others.map(|entry| entry.address).collect();
            (others, state.view.database.peer_token())
        });
        let asked = others.into_iter().map(|address| {
            let token = token.clone();
            async move { self.peers.call(address, &token, &PeerCall::Known).await }
        });
        let told = join_all(asked).await.into_iter();
        told.filter_map(|reply| match reply {
            Ok(PeerReply::View { view, .. }) => Some(*view),
            _ => None,
        })
        .collect()
    }

    /// Makes this member's present address known to its group, as an entry point that runs an SQL
    /// UPDATE does. Goes on until the primary has it.
    pub(super) async fn relocate(self: Arc<Self>) {
        loop {
            let (id, recorded) = self.read(|state| {
                let own = state.view.database.member(state.identity.id);
                (state.identity.id, own.map(|entry| entry.address))
            });
            if recorded.is_none_or(|recorded| recorded == self.config.address) {
                return;
            }
            let change = GroupChange::Relocate { id, address: self.config.address };
            if self.read(State::is_primary) {
                if let Err(error) = self.change_group(change) {
                    tracing::warn!(member = %self.environment.member, %error, "not relocated");
                }
                return self.tell_everyone().await;
            }
            self.relocate_at_primary(change).await;
            tokio::time::sleep(self.timing.poll()).await;
        }
    }

    /// Gives the group to every other member that answers, until each one has answered once.
    async fn tell_everyone(&self) {
        let mut told = std::collections::BTreeSet::new();
        loop {
            let (view, own, token) = self.read(|state| {
                (state.view.clone(), state.identity.id, state.view.database.peer_token())
            });
            let mut others = view.database.members.clone();
            others.retain(|entry| entry.id != own && !told.contains(&entry.id));
            if others.is_empty() || view.database.primary != own {
                return;
            }
            for entry in others {
                let call = PeerCall::Adopt { view: view.clone() };
                if self.peers.call(entry.address, &token, &call).await.is_ok() {
                    told.insert(entry.id);
                }
            }
            tokio::time::sleep(self.timing.poll()).await;
        }
    }

    /// Tries the primary where it is recorded, then where its name leads: it may have moved too.
    async fn relocate_at_primary(&self, change: GroupChange) {
        let (primary, token) =
            self.read(|state| (state.primary().cloned(), state.view.database.peer_token()));
        let Some(primary) = primary else { return };
        let named = self.config.names.resolve(&primary.host_name);
        for address in std::iter::once(primary.address).chain(named) {
            let call = PeerCall::Change { change: change.clone(), passed_on: true };
            if self.peers.call(address, &token, &call).await.is_err() {
                continue;
            }
            if let Ok((view, _)) = self.ask_for_view(address, &token, 0).await {
                self.follow_view(view);
            }
            return;
        }
    }
}

impl State {
    fn to_be_followed(&self) -> Option<(Ipv4Addr, String)> {
        let primary = self.primary().filter(|_| !self.is_primary() && !self.offline)?;
        Some((primary.address, self.view.database.peer_token()))
    }

    /// What this member shows when it does not reach the primary.
    fn lose_primary(&mut self) {
        self.stale = true;
        let primary = self.view.database.primary;
        if self.view.database.member(primary).is_some() {
            self.view.statuses.insert(primary, super::database::MemberStatus::Unreachable);
        }
    }

    /// Changes with whatever a follower must learn.
    pub(super) fn view_version(&self) -> u64 {
        let database = &self.view.database;
        fingerprint(&(database.group, database.term, database.revision, &self.view.statuses))
    }
}
