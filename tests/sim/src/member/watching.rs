//! What the primary sees of the other members, and what follows: their statuses, the end of a task
//! whose member is gone, the end of database replication.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::database::{MemberEntry, MemberStatus};
use super::peer::{PeerCall, PeerReply, Phase, Presence};
use super::wire::fingerprint;
use super::{Member, State};

/// What the primary last heard of another member.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) address: Ipv4Addr,
    /// `None` when it does not answer.
    pub(super) presence: Option<Presence>,
    /// Since when it does not.
    pub(super) lost: Option<Instant>,
}

/// So many failures in a row count: one may be the end of an idle connection.
const FAILURES: u32 = 2;

impl Member {
    /// Who this member is and what it has.
    pub(super) fn presence(&self) -> Presence {
        let mut presence = self.read(|state| Presence {
            id: state.identity.id,
            incarnation: self.config.container_id.clone(),
            group: state.view.database.group,
            term: state.view.database.term,
            phase: state.phase,
            held: state.store.held(),
            version: 0,
        });
        presence.version = fingerprint(&presence);
        presence
    }

    /// Watches every member that the primary must know about, for as long as this one is primary.
    pub(super) async fn watch_members(self: Arc<Self>) {
        let mut version = self.version.subscribe();
        let mut watchers: BTreeMap<(Uuid, Ipv4Addr), DropGuard> = BTreeMap::new();
        loop {
            version.mark_unchanged();
            let wanted = self.read(State::to_be_watched);
            let before = watchers.len();
            watchers.retain(|key, _| wanted.contains(key));
            if before != watchers.len() {
                self.change(|state| {
                    state.watched.retain(|id, seen| wanted.contains(&(*id, seen.address)));
                });
            }
            for key in wanted {
                watchers.entry(key).or_insert_with(|| {
                    let over = CancellationToken::new();
                    let watching = Arc::clone(&self).watch_member(key.0, key.1);
                    self.spawn(until(over.clone(), watching));
                    over.drop_guard()
                });
            }
            if version.changed().await.is_err() {
                return;
            }
        }
    }

    async fn watch_member(self: Arc<Self>, id: Uuid, address: Ipv4Addr) {
        let hold = self.timing.hold();
        let (mut seen, mut failures) = (0, 0);
        loop {
            let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
            let call = PeerCall::Presence { seen, hold_ms };
            let patience =
                self.timing.patience() + if seen == 0 { Default::default() } else { hold };
            match self.peers.call_for(address, "", &call, patience).await {
                Ok(PeerReply::Presence { presence }) => {
                    failures = 0;
                    seen = presence.version;
                    self.note(id, address, Some(presence));
                }
                Ok(_) | Err(_) => {
                    failures += 1;
                    seen = 0;
                    if failures >= FAILURES {
                        self.note(id, address, None);
                    }
                    tokio::time::sleep(self.timing.poll()).await;
                }
            }
        }
    }

    /// Takes note of what was heard; nobody is woken when nothing has changed.
    fn note(&self, id: Uuid, address: Ipv4Addr, presence: Option<Presence>) {
        let known = self.read(|state| {
            state.watched.get(&id).is_some_and(|w| w.address == address && w.presence == presence)
        });
        if known {
            return;
        }
        self.change(|state| {
            let lost = presence.is_none().then(Instant::now);
            state.watched.insert(id, Watched { address, presence, lost });
        });
    }

    /// Keeps the statuses of the members as the primary sees them, and draws the conclusions.
    pub(super) async fn keep_statuses(self: Arc<Self>) {
        let mut version = self.version.subscribe();
        loop {
            version.mark_unchanged();
            let grace = self.timing.grace();
            let changed = self.read(|state| {
                state.is_primary()
                    && (state.statuses(self.config.address) != state.view.statuses
                        || state.lock_is_orphaned(self.timing.poll())
                        || state.replica_is_lost(grace))
            });
            if changed {
                self.change(|state| {
                    state.view.statuses = state.statuses(self.config.address);
                    if state.lock_is_orphaned(self.timing.poll()) {
                        state.lock = None;
                        state.leaving.clear();
                    }
                    if state.replica_is_lost(grace) {
                        state.view.database.replica = None;
                        state.view.database.revision += 1;
                    }
                });
            }
            self.give_way().await;
            self.changed(&mut version, self.next_look()).await;
        }
    }

    /// When to look again although nothing has changed: soon while somebody's grace runs.
    pub(super) fn next_look(&self) -> std::time::Duration {
        let lost = self.read(|state| {
            state.is_primary() && state.watched.values().any(|watched| watched.lost.is_some())
        });
        if lost { self.timing.poll().max(self.timing.grace() / 4) } else { self.timing.hold() }
    }

    /// Gives way to a primary of a later term, as soon as one of the members knows it.
    async fn give_way(&self) {
        let (later, token) = self.read(|state| {
            let database = &state.view.database;
            let later = state.watched.values().find(|watched| {
                watched.presence.as_ref().is_some_and(|presence| {
                    presence.group == database.group && presence.term > database.term
                })
            });
            let later = later.filter(|_| state.is_primary()).map(|watched| watched.address);
            (later, database.peer_token())
        });
        let Some(address) = later else { return };
        if let Ok(PeerReply::View { view, .. }) =
            self.peers.call(address, &token, &PeerCall::Known).await
        {
            self.adopt(*view);
        }
    }
}

async fn until(over: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = over.cancelled() => {}
        () = work => {}
    }
}

impl State {
    /// Whom the primary watches: the other members, and who runs the membership task.
    fn to_be_watched(&self) -> Vec<(Uuid, Ipv4Addr)> {
        if !self.is_primary() || self.phase == Phase::Starting {
            return Vec::new();
        }
        let members = self.view.database.members.iter().map(|entry| (entry.id, entry.address));
        let holder = self.lock.as_ref().map(|lock| (lock.request.holder, lock.request.address));
        let mut wanted: Vec<_> =
            members.chain(holder).filter(|(id, _)| *id != self.identity.id).collect();
        // A holder that is also a listed member is watched where it says it is.
        wanted.reverse();
        wanted.sort_by_key(|(id, _)| *id);
        wanted.dedup_by_key(|(id, _)| *id);
        wanted
    }

    /// Every member's status as it is seen now.
    pub(super) fn statuses(&self, own_address: Ipv4Addr) -> BTreeMap<Uuid, MemberStatus> {
        let members = &self.view.database.members;
        members.iter().map(|entry| (entry.id, self.status_of(entry, own_address))).collect()
    }

    fn status_of(&self, entry: &MemberEntry, own_address: Ipv4Addr) -> MemberStatus {
        if entry.id == self.identity.id {
            let recorded = entry.address == own_address;
            return if recorded { status_of_phase(self.phase) } else { MemberStatus::Unreachable };
        }
        let presence = self.watched.get(&entry.id).and_then(|watched| {
            watched.presence.as_ref().filter(|_| watched.address == entry.address)
        });
        let Some(presence) = presence else { return MemberStatus::Unreachable };
        let joining = self.lock.as_ref().and_then(|lock| lock.request.joining) == Some(entry.id);
        if presence.id != entry.id {
            MemberStatus::Unreachable
        } else if joining {
            MemberStatus::Online
        } else if presence.group != self.view.database.group {
            MemberStatus::Unreachable
        } else if !entry.joined {
            MemberStatus::Stopped
        } else {
            status_of_phase(presence.phase)
        }
    }

    /// Whether the task that owns the group cannot come to an end: its member is gone or was
    /// started anew.
    fn lock_is_orphaned(&self, patience: std::time::Duration) -> bool {
        let Some(lock) = &self.lock else { return false };
        if lock.request.holder == self.identity.id {
            return false;
        }
        let Some(watched) = self.watched.get(&lock.request.holder) else { return false };
        match &watched.presence {
            Some(presence) => presence.incarnation != lock.request.incarnation,
            None => watched.lost.is_some_and(|lost| lost.elapsed() > patience),
        }
    }

    /// Replication ends when the replica is gone, and does not begin again by itself.
    fn replica_is_lost(&self, grace: std::time::Duration) -> bool {
        let Some(replica) = self.view.database.replica else { return false };
        self.is_lost(replica, grace)
    }

    /// Whether a member has not answered for so long.
    pub(super) fn is_lost(&self, id: Uuid, grace: std::time::Duration) -> bool {
        let lost = self.watched.get(&id).and_then(|watched| watched.lost);
        lost.is_some_and(|lost| lost.elapsed() > grace)
    }
}

fn status_of_phase(phase: Phase) -> MemberStatus {
    match phase {
        Phase::Ready => MemberStatus::Online,
        Phase::Starting | Phase::RestartingGrids => MemberStatus::Starting,
        Phase::Stopping => MemberStatus::Stopped,
    }
}
