//! The simulated member: one container of the XSLD image as a task of this process.
//!
//! It listens on its own loopback address, keeps its state in its volume, and reaches other members
//! only over their own HTTPS port. What the REST contract states or chose is what it does; what the
//! contract leaves open is a switch ([`crate::profile::Behaviour`]); what can go wrong is a fault
//! ([`crate::faults`]). Everything it was asked from outside is in the call log ([`crate::calls`]).

mod admin;
mod container;
mod data;
mod database;
mod describe;
mod environment;
mod exchange;
mod follow;
mod gate;
mod grids;
mod group;
mod join;
mod leave;
mod listeners;
mod lock;
mod peer;
mod placement;
mod replication;
mod route;
mod store;
mod tasks;
mod templates;
mod timing;
mod volume;
mod watching;
mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::container::run;
use self::database::{Database, MemberEntry, View};
use self::environment::Environment;
use self::lock::GroupLock;
use self::peer::{Peers, Phase};
use self::store::Store;
use self::tasks::Tasks;
use self::timing::Timing;
use self::volume::{Identity, Volume};
use self::watching::Watched;
use crate::calls::{Call, CallLog};
use crate::faults::{FaultKind, Faults, Moment, Occasion};
use crate::profile::Behaviour;

/// The port of the console.
pub const CONSOLE_PORT: u16 = 9443;
/// The port of the data API.
pub const DATA_PORT: u16 = 9444;
/// The port of the administration API, which the members also use among themselves.
pub const ADMIN_PORT: u16 = 9445;

/// What one container of the member image is run with.
#[derive(Clone)]
pub struct MemberConfig {
    /// The pod's namespace.
    pub namespace: String,
    /// The cache: the pod's label `app.kubernetes.io/instance` or `app`.
    pub cache: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The container's id, another one after each restart.
    pub container_id: String,
    /// The pod's address; its ports 9443, 9444 and 9445 must be free.
    pub address: Ipv4Addr,
    /// The member's `/vol`.
    pub volume: PathBuf,
    /// The container's environment.
    pub env: BTreeMap<String, String>,
    /// The text of a mounted script that replaced the image's own entry point.
    pub entrypoint: Option<String>,
    /// Divides every duration that was measured on the real cache.
    pub time_scale: f64,
    /// Stands for the cluster's DNS.
    pub names: Arc<dyn Names>,
    /// The world's faults.
    pub faults: Faults,
    /// The world's call log.
    pub calls: CallLog,
}

/// Stands for the cluster's DNS.
pub trait Names: Send + Sync {
    /// The address of `<pod>.<cache>.<namespace>.svc`, as DNS would answer now.
    fn resolve(&self, host: &str) -> Option<Ipv4Addr>;
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, 128 + signal for a signal.
    pub code: i32,
    /// What the container would have logged last.
    pub reason: String,
}

/// A member while its container runs. Everything that it does holds an [`Arc`] of it and ends with
/// `scope`.
struct Member {
    config: MemberConfig,
    environment: Environment,
    timing: Timing,
    volume: Volume,
    peers: Peers,
    /// Cancelled when the container ends, however it does.
    scope: CancellationToken,
    exit: watch::Sender<Option<Exit>>,
    state: Mutex<State>,
    /// Counts the changes of `state` that somebody may wait for.
    version: watch::Sender<u64>,
    /// Held shared by every write of data, and alone while the placement changes.
    placement: RwLock<()>,
}

/// What changes while the container runs. Only in memory; `view` is also in the volume.
struct State {
    identity: Identity,
    phase: Phase,
    view: View,
    /// Whether the last attempt to reach the primary failed.
    stale: bool,
    /// Set from when a join has replaced the database until it ends: the view is then not yet in
    /// the volume, so that a member that dies meanwhile is again what it was.
    provisional: bool,
    /// While a join replaces the database nothing can be read from it.
    offline: bool,
    tasks: Tasks,
    /// The one membership task of the group; only the primary knows it.
    lock: Option<GroupLock>,
    /// Members that are being disjoined: no data is placed on them. Only the primary knows them.
    leaving: Vec<Uuid>,
    /// Grids whose creation runs. Only the primary knows them.
    pending_grids: Vec<String>,
    /// What the primary sees of the others.
    watched: BTreeMap<Uuid, Watched>,
    store: Store,
}

impl Member {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads something of the state.
    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the state, keeps the group in the volume if it changed, and wakes who waits.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = stamp(&state.view.database);
        let result = change(&mut state);
        if stamp(&state.view.database) != before {
            self.keep(&state);
        }
        drop(state);
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Writes what the member knows of its group to its volume, unless a join has not ended.
    fn keep(&self, state: &State) {
        if state.provisional || self.scope.is_cancelled() {
            return;
        }
        if let Err(error) = self.volume.set_group(&state.view) {
            tracing::error!(member = %self.environment.member, %error, "the group was not kept");
        }
    }

    /// The answers to the open questions of the contract, as they are set just now.
    fn behaviour(&self) -> Behaviour {
        self.config.faults.behaviour(&self.config.namespace, &self.config.pod)
    }

    /// The first fault of this member that `wanted` picks and `occasion` meets; it has then
    /// applied.
    fn fault(
        &self,
        occasion: Occasion<'_>,
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Option<FaultKind> {
        self.config.faults.take(&self.config.namespace, &self.config.pod, occasion, wanted)
    }

    /// As [`Self::fault`], without using it up.
    fn has_fault(&self, occasion: Occasion<'_>, wanted: impl Fn(&FaultKind) -> bool) -> bool {
        self.config.faults.has(&self.config.namespace, &self.config.pod, occasion, wanted)
    }

    /// Runs `work` until it ends or the container does.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let scope = self.scope.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = scope.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Ends the container at once, as by SIGKILL.
    fn crash(&self, reason: &str) {
        self.exit.send_replace(Some(Exit { code: 137, reason: reason.to_owned() }));
        self.scope.cancel();
    }

    /// Writes a line of the call log. A crash fault that waits for this effect applies.
    fn record(&self, call: Call) {
        let (effect, command) = (call.effect.clone(), call.command.clone());
        self.config.calls.record(Call {
            namespace: self.config.namespace.clone(),
            cache: self.config.cache.clone(),
            member: self.environment.member.clone(),
            pod_uid: self.config.pod_uid.clone(),
            container_id: self.config.container_id.clone(),
            ..call
        });
        if effect == "none" {
            return;
        }
        let occasion = Occasion { effect: &effect, command: &command, ..Occasion::default() };
        if self.fault(occasion, |kind| *kind == FaultKind::Crash { when: Moment::Effect }).is_some()
        {
            self.crash(&format!("crash fault at the effect {effect}"));
        }
    }

    /// Writes an effect that came about without a call.
    fn record_effect(&self, command: &str, effect: &str, parameters: BTreeMap<String, Value>) {
        let (command, effect) = (command.to_owned(), effect.to_owned());
        self.record(Call { command, effect, parameters, ..Call::default() });
    }

    /// The member's own name in DNS.
    fn host_name(&self) -> String {
        let MemberConfig { cache, namespace, .. } = &self.config;
        format!("{}.{cache}.{namespace}.svc", self.environment.member)
    }

    /// What a fresh group records of this member.
    fn entry(&self, id: Uuid, is_catalog: bool) -> MemberEntry {
        MemberEntry {
            id,
            name: self.environment.member.clone(),
            host_name: self.host_name(),
            address: self.config.address,
            capacity: self.environment.capacity,
            is_catalog,
            joined: true,
        }
    }

    /// Waits until the state changes, or until `patience` has passed.
    async fn changed(&self, version: &mut watch::Receiver<u64>, patience: std::time::Duration) {
        let _ = tokio::time::timeout(patience, version.changed()).await;
    }

    /// Whether a crash fault that waits for a request meets this one at this moment.
    fn crashes_at(&self, occasion: Occasion<'_>, moment: Moment) -> bool {
        self.fault(occasion, |kind| matches!(kind, FaultKind::Crash { when } if *when == moment))
            .is_some()
    }
}

impl State {
    /// Whether this member holds the group's database.
    fn is_primary(&self) -> bool {
        self.view.database.primary == self.identity.id
    }

    /// Whether this member is in a group with others.
    fn is_alone(&self) -> bool {
        self.view.database.members.iter().all(|member| member.id == self.identity.id)
    }

    /// The entry of the group's primary.
    fn primary(&self) -> Option<&MemberEntry> {
        self.view.database.member(self.view.database.primary)
    }
}

fn stamp(database: &Database) -> (Uuid, u64, u64) {
    (database.group, database.term, database.revision)
}
