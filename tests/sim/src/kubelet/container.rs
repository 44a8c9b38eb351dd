//! The life of one container: pull, configure, run, probe, restart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, grace};
use super::claims::Hold;
use super::environment::{environment, expand};
use super::events::{Type, tell};
use super::images::{self, Image};
use super::mounts::Mounts;
use super::pods::PodContext;
use super::probes::{Finding, Probers, supervise};
use super::programs;
use super::sources;
use super::status::{ContainerView, Ended, State, whole_seconds};
use crate::member::Exit;

/// How long `ErrImagePull` is shown before the back-off begins.
const PULL_SHOWN: Duration = Duration::from_millis(200);
/// How often a configuration that is missing is looked for again.
const CONFIG_AGAIN: Duration = Duration::from_millis(500);

/// The containers of one pod as they are now, and a signal for each change.
#[derive(Clone)]
pub(super) struct Board {
    views: Arc<Mutex<Vec<ContainerView>>>,
    changed: Arc<watch::Sender<()>>,
}

impl Board {
    pub(super) fn new(views: Vec<ContainerView>) -> Self {
        let changed = Arc::new(watch::Sender::new(()));
        Self { views: Arc::new(Mutex::new(views)), changed }
    }

    pub(super) fn views(&self) -> Vec<ContainerView> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut ContainerView)) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.get_mut(index) {
            let before = view.clone();
            change(view);
            if *view != before {
                self.changed.send_replace(());
            }
        }
    }

    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// One container's task.
pub(super) struct Life {
    pub(super) context: Arc<PodContext>,
    pub(super) index: usize,
    pub(super) board: Board,
    /// Cancelled when the pod is to end.
    pub(super) stop: CancellationToken,
}

/// A process of an image, running until it ends, until its token is cancelled
/// and it has ended in order, or until it is dropped.
type Process = Pin<Box<dyn Future<Output = Exit> + Send>>;

/// Why a container did not start, and with which reason that is shown.
enum Hindrance {
    Pull(String),
    Config(String),
    Start(String),
}

struct Ready {
    process: Process,
    probers: Probers,
    kill: CancellationToken,
    id: String,
    grace: Duration,
    /// Keeps the claims' directories from being set aside while the container runs.
    _holds: Vec<Hold>,
}

impl Life {
    /// Runs the container again and again, as its pod's policy says.
    pub(super) async fn run(self) {
        let stop = self.stop.clone();
        let mut crashes = Backoff::new(self.context.world.scale);
        let mut pulls = Backoff::new(self.context.world.scale);
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let ended = match self.prepare().await {
                Ok(ready) => {
                    pulls = Backoff::new(self.context.world.scale);
                    self.live(ready).await
                }
                Err(Hindrance::Pull(why)) => {
                    let wait = pulls.after_failure();
                    if self.show_pull_failure(&why, wait).await { continue } else { return }
                }
                Err(Hindrance::Config(why)) => {
                    self.wait_as("CreateContainerConfigError", &why);
                    self.warn("Failed", &format!("Error: {why}"));
                    if self.sleep(CONFIG_AGAIN).await { continue } else { return }
                }
                Err(Hindrance::Start(why)) => {
                    self.warn("Failed", &format!("Error: {why}"));
                    let now = whole_seconds(Timestamp::now());
                    let reason = "StartError".to_owned();
                    let (id, message) = (new_id(), why);
                    Ended { code: 128, reason, message, started: now, finished: now, id }
                }
            };
            self.board.update(self.index, |view| {
                view.state = State::Terminated(ended.clone());
                view.started = false;
                view.ready = false;
            });
            if stop.is_cancelled() || !self.restarts_after(ended.code) {
                return;
            }
            let wait = crashes.after_crash(begun.elapsed());
            if !wait.is_zero() {
                let name = &self.context.pod.metadata.name.clone().unwrap_or_default();
                let text = format!(
                    "back-off {}ms restarting failed container of {name}",
                    wait.as_millis()
                );
                self.board.update(self.index, |view| view.last = Some(ended.clone()));
                self.wait_as("CrashLoopBackOff", &text);
                self.warn("BackOff", "Back-off restarting failed container");
                if !self.sleep(wait).await {
                    return;
                }
            }
            self.board.update(self.index, |view| {
                view.last = Some(ended);
                view.restarts += 1;
            });
        }
    }

    /// Shows a failed pull as a kubelet does. False when the pod ends meanwhile.
    async fn show_pull_failure(&self, why: &str, wait: Duration) -> bool {
        self.wait_as("ErrImagePull", why);
        self.warn("Failed", &format!("Failed to pull image: {why}"));
        if !self.sleep(PULL_SHOWN).await {
            return false;
        }
        self.wait_as("ImagePullBackOff", &format!("Back-off pulling image: {why}"));
        self.sleep(wait).await
    }

    fn restarts_after(&self, code: i32) -> bool {
        let spec = self.context.pod.spec.as_ref();
        match spec.and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        }
    }

    /// The container's present specification: its image may be changed in place.
    fn spec(&self) -> (Arc<Pod>, Container) {
        let pod = self.context.latest.borrow().clone();
        let containers = pod.spec.as_ref().map(|spec| spec.containers.clone()).unwrap_or_default();
        let container = containers.into_iter().nth(self.index).unwrap_or_default();
        (pod, container)
    }

    async fn prepare(&self) -> Result<Ready, Hindrance> {
        let context = &self.context;
        let (pod, spec) = self.spec();
        let image_name = spec.image.clone().unwrap_or_default();
        self.board.update(self.index, |view| view.image.clone_from(&image_name));
        let image = images::find(&image_name).ok_or_else(|| {
            Hindrance::Pull(format!("\"{image_name}\": not found: this world has no such image"))
        })?;
        let config = |why: String| Hindrance::Config(why);
        if spec.lifecycle.is_some() {
            return Err(config("lifecycle hooks do not run in this world".to_owned()));
        }
        let probers = Probers::of(&spec, context.address.get(), context.world.scale)
            .map_err(|why| config(why.to_string()))?;
        let found = sources::fetch(&context.world.client, &context.facts.namespace, &spec).await;
        let env = environment(&spec, &context.facts, &found.map_err(|why| config(why.0))?)
            .map_err(|why| config(why.0))?;
        // A ConfigMap or Secret may have changed since the last start.
        let volumes = context.volumes(&pod).prepare().await;
        let mounts = Mounts::of(&spec, &volumes.map_err(|why| config(why.to_string()))?);
        let command = expanded(spec.command.as_deref(), &env);
        let args = expanded(spec.args.as_deref(), &env);
        let holds = mounts.claims().map(|path| context.world.holds.hold(path)).collect();
        let id = new_id();
        let kill = CancellationToken::new();
        let start = programs::Start {
            context: Arc::clone(context),
            container: spec.name.clone(),
            id: id.clone(),
            mounts,
            command,
            args,
            env,
            kill: kill.clone(),
            grace: self.grace(&pod),
        };
        let process: Process = match image {
            Image::Member => Box::pin(start.member().map_err(Hindrance::Start)?),
            Image::Silent => Box::pin(start.silent()),
            Image::Operator => Box::pin(start.operator().await.map_err(Hindrance::Start)?),
        };
        Ok(Ready { process, probers, kill, id, grace: self.grace(&pod), _holds: holds })
    }

    fn grace(&self, pod: &Pod) -> Duration {
        let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        grace(seconds.unwrap_or(30), self.context.world.scale)
    }

    /// Runs the process to its end and says how it ended.
    async fn live(&self, ready: Ready) -> Ended {
        let Ready { mut process, probers, kill, id, grace, _holds } = ready;
        let started = whole_seconds(Timestamp::now());
        self.board.update(self.index, |view| {
            view.id = Some(id.clone());
            view.state = State::Running { since: started };
        });
        self.note("Started", "Container started");
        let last_failure = Mutex::new(String::new());
        let told = |finding: Finding| match finding {
            Finding::Started => self.board.update(self.index, |view| view.started = true),
            Finding::Ready(ready) => self.board.update(self.index, |view| view.ready = ready),
            Finding::Failed(why) => {
                let mut last = last_failure.lock().unwrap_or_else(PoisonError::into_inner);
                // The same failure again and again is one Event.
                if *last != why {
                    self.warn("Unhealthy", &why);
                    *last = why;
                }
            }
        };
        let exit = tokio::select! {
            exit = &mut process => exit,
            why = supervise(&probers, Instant::now(), &told) => {
                self.note("Killing", &format!("Container {why}, will be restarted"));
                kill.cancel();
                let killed = || Exit { code: 137, reason: format!("killed: {why}") };
                tokio::time::timeout(grace, &mut process).await.unwrap_or_else(|_| killed())
            }
            () = self.stop.cancelled() => {
                kill.cancel();
                // The pod's own grace period ends this wait by dropping it.
                process.await
            }
        };
        let reason = if exit.code == 0 { "Completed" } else { "Error" };
        Ended {
            code: exit.code,
            reason: reason.to_owned(),
            message: exit.reason,
            started,
            finished: whole_seconds(Timestamp::now()),
            id,
        }
    }

    /// Sleeps; false when the pod is to end meanwhile.
    async fn sleep(&self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.stop.cancelled() => false,
        }
    }

    fn wait_as(&self, reason: &str, message: &str) {
        self.board.update(self.index, |view| view.state = State::waiting(reason, message));
    }

    fn note(&self, reason: &str, text: &str) {
        self.event(Type::Normal, reason, text);
    }

    /// Writes a warning, unless it is the one that was written last.
    fn warn(&self, reason: &str, text: &str) {
        self.event(Type::Warning, reason, text);
    }

    fn event(&self, type_: Type, reason: &str, text: &str) {
        let said = format!("{reason}: {text}");
        let mut last = self.context.said.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&self.index) == Some(&said) {
            return;
        }
        last.insert(self.index, said);
        tell(&self.context.world.client, &*self.context.pod, "kubelet", type_, reason, text);
    }
}

fn new_id() -> String {
    format!("sim://{}", uuid::Uuid::new_v4())
}

fn expanded(words: Option<&[String]>, env: &BTreeMap<String, String>) -> Vec<String> {
    words.unwrap_or_default().iter().map(|word| expand(word, env)).collect()
}

/// A directory's name that is safe for any container.
pub(super) fn log_path(context: &PodContext, container: &str) -> PathBuf {
    let name = format!("{}.log", container);
    context
        .world
        .dir
        .join("logs")
        .join(&context.facts.namespace)
        .join(&context.facts.name)
        .join(name)
}
