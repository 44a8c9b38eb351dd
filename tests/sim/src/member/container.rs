//! The life of one container: from the image's checks of its environment to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{RwLock, watch};
use tokio_util::sync::CancellationToken;

use super::database::{Database, MemberEntry, View};
use super::environment::Environment;
use super::peer::{Peers, Phase};
use super::store::Store;
use super::tasks::Tasks;
use super::timing::Timing;
use super::volume::Volume;
use super::{Exit, Member, MemberConfig, State, listeners};
use crate::faults::{FaultKind, Forgotten, Moment, Occasion};

/// How long a container waits for the end of another one that holds its volume.
const VOLUME_PATIENCE: Duration = Duration::from_secs(30);
/// A pod's name may be known a moment after its container has begun.
const SHORTEST_NAME_PATIENCE: Duration = Duration::from_secs(2);

/// Runs one container of the member image.
///
/// It ends when `stop` is cancelled (SIGTERM: code 143 while it starts, 0 once it serves), when it
/// cannot start (code 1, with the reason that the image would log), or when a fault ends it (code
/// 137). Dropping the future is SIGKILL: sockets are released and tasks end at once, what is only
/// in memory is lost, and the volume stays.
pub async fn run(config: MemberConfig, stop: CancellationToken) -> Exit {
    let started = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Exit { code: 143, reason: "terminated".to_owned() }),
        started = start(config) => started,
    };
    let member = match started {
        Ok(member) => member,
        Err(exit) => return exit,
    };
    // Also when this future is dropped.
    let _ends_with_it = member.scope.clone().drop_guard();
    let mut exit = member.exit.subscribe();
    tokio::select! {
        biased;
        exit = ended(&mut exit) => exit,
        exit = member.wait_for_faults() => exit,
        () = stop.cancelled() => member.stop().await,
        exit = member.serve() => exit,
    }
}

async fn ended(exit: &mut watch::Receiver<Option<Exit>>) -> Exit {
    let gone = Exit { code: 137, reason: "killed".to_owned() };
    match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.clone().unwrap_or(gone),
        Err(_) => gone,
    }
}

fn refuse(reason: impl std::fmt::Display) -> Exit {
    Exit { code: 1, reason: reason.to_string() }
}

/// Everything that can go wrong before anything is served.
async fn start(config: MemberConfig) -> Result<Arc<Member>, Exit> {
    // Every client and server of the process shares the provider; the first one installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let environment = Environment::read(&config.env).map_err(refuse)?;
    let timing = Timing::new(config.time_scale, &config.namespace, &config.pod)
        .ok_or_else(|| refuse("the time scale must be a number above 0"))?;
    let volume = Volume::open(&config.volume, VOLUME_PATIENCE).await.map_err(refuse)?;
    let identity = volume.identity().map_err(refuse)?;
    let own = format!("{}.{}.{}.svc", environment.member, config.cache, config.namespace);
    resolve_own_name(&config, &timing, &own).await?;
    let peers = Peers::new(config.address, timing.patience()).map_err(refuse)?;
    let kept: Option<View> = volume.group().map_err(refuse)?;
    let tasks: Option<Tasks> = volume.tasks().map_err(refuse)?;
    let survive = config.faults.behaviour(&config.namespace, &config.pod).tasks_survive_restart;
    let tasks = tasks.filter(|_| survive).map(Tasks::after_restart).unwrap_or_default();
    let entry = MemberEntry {
        id: identity.id,
        name: environment.member.clone(),
        host_name: own,
        address: config.address,
        capacity: environment.capacity,
        is_catalog: true,
        joined: true,
    };
    let fresh = kept.is_none();
    let view = kept.unwrap_or_else(|| View {
        database: Database::of_one(&environment, entry),
        statuses: BTreeMap::new(),
    });
    let stale = view.database.primary != identity.id;
    let state = State {
        identity,
        phase: Phase::Starting,
        view,
        stale,
        provisional: false,
        offline: false,
        tasks,
        lock: None,
        leaving: Vec::new(),
        pending_grids: Vec::new(),
        watched: BTreeMap::new(),
        store: Store::default(),
    };
    let member = Arc::new(Member {
        config,
        environment,
        timing,
        volume,
        peers,
        scope: CancellationToken::new(),
        exit: watch::Sender::new(None),
        state: Mutex::new(state),
        version: watch::Sender::new(0),
        placement: RwLock::new(()),
    });
    if fresh {
        member.read(|state| member.keep(state));
    }
    Ok(member)
}

/// The servers find themselves by their name in DNS; without it they cannot start.
async fn resolve_own_name(config: &MemberConfig, timing: &Timing, own: &str) -> Result<(), Exit> {
    let patience = timing.seconds(60.0).max(SHORTEST_NAME_PATIENCE);
    let deadline = tokio::time::Instant::now() + patience;
    while config.names.resolve(own).is_none() {
        if tokio::time::Instant::now() >= deadline {
            return Err(refuse(format!("the host name {own} of this member cannot be resolved")));
        }
        tokio::time::sleep(timing.poll()).await;
    }
    Ok(())
}

impl Member {
    /// Starts the servers as slowly as the real cache does, and serves.
    async fn serve(self: &Arc<Self>) -> Exit {
        let names = vec![
            self.host_name(),
            self.environment.member.clone(),
            "localhost".to_owned(),
            self.config.address.to_string(),
        ];
        let made = self.volume.certificate(names.clone()).map_err(refuse);
        let shown = made.and_then(|(certificate, key)| {
            listeners::Shown::new(&certificate, &key, names).map_err(refuse)
        });
        let shown = match shown {
            Ok(shown) => Arc::new(shown),
            Err(exit) => return exit,
        };
        tokio::time::sleep(self.timing.between("ports", 190.0, 205.0)).await;
        self.open_ports(&shown);
        tokio::time::sleep(self.timing.between("ready", 5.0, 15.0)).await;
        self.begin_to_serve().await;
        std::future::pending().await
    }

    /// From here on requests are answered.
    async fn begin_to_serve(self: &Arc<Self>) {
        if self.read(|state| state.is_primary() && !state.is_alone()) {
            // Another member may have become the primary while this one was away.
            for view in self.ask_all_for_known().await {
                self.adopt(view);
            }
        }
        self.change(|state| {
            state.phase = Phase::Ready;
            if state.is_primary() {
                state.view.statuses = state.statuses(self.config.address);
            }
            // Replication does not outlive the process that sends it.
            if state.is_primary() && state.view.database.replica.take().is_some() {
                state.view.database.revision += 1;
            }
        });
        let updates = self.config.entrypoint.as_deref().is_some_and(contains_update);
        if updates {
            self.spawn(Arc::clone(self).relocate());
        }
        self.spawn(Arc::clone(self).watch_members());
        self.spawn(Arc::clone(self).keep_statuses());
        self.spawn(Arc::clone(self).keep_placement());
        self.spawn(Arc::clone(self).follow());
        let MemberConfig { namespace, pod, .. } = &self.config;
        tracing::info!(%namespace, %pod, "member {} status to Online", self.environment.member);
    }

    /// SIGTERM: the servers are stopped in order.
    async fn stop(&self) -> Exit {
        let serving = self.read(|state| state.phase != Phase::Starting);
        if !serving {
            return Exit { code: 143, reason: "terminated".to_owned() };
        }
        self.change(|state| state.phase = Phase::Stopping);
        tokio::time::sleep(self.timing.seconds(5.0)).await;
        Exit { code: 0, reason: "stopped".to_owned() }
    }

    /// Faults that wait for nothing: they apply when they are set.
    async fn wait_for_faults(&self) -> Exit {
        let mut changes = self.config.faults.changes();
        let mut version = self.version.subscribe();
        loop {
            changes.mark_unchanged();
            version.mark_unchanged();
            let now = |kind: &FaultKind| *kind == FaultKind::Crash { when: Moment::Now };
            if self.fault(Occasion::default(), now).is_some() {
                self.scope.cancel();
                return Exit { code: 137, reason: "crash fault".to_owned() };
            }
            let at_once = |kind: &FaultKind| {
                matches!(kind, FaultKind::Forget { .. } | FaultKind::RotatePassword { .. })
            };
            // Only a member that serves can do these; until then they wait.
            if self.read(|state| state.phase == Phase::Ready) {
                match self.fault(Occasion::default(), at_once) {
                    Some(FaultKind::Forget { what }) => self.forget(what),
                    Some(FaultKind::RotatePassword { password }) => {
                        self.rotate_password(password).await;
                    }
                    _ => {}
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { std::future::pending().await },
                _ = version.changed() => {}
            }
        }
    }

    fn forget(&self, what: Forgotten) {
        match what {
            Forgotten::Tasks => self.change(|state| state.tasks = Tasks::default()),
            Forgotten::Data => self.change(|state| state.store.clear()),
            Forgotten::Group => self.become_alone(),
        }
        self.keep_tasks();
    }
}

/// Whether an entry point runs an SQL UPDATE: the word stands alone, in any case.
fn contains_update(script: &str) -> bool {
    script
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| word.eq_ignore_ascii_case("update"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_is_a_word_of_its_own() {
        assert!(contains_update("ij <<SQL\nupdate MEMBER set IP='x';\nSQL"));
        assert!(!contains_update("apt-get updates"));
        assert!(!contains_update("exec /entrypoint.sh"));
    }
}
