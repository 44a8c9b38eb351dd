//! The pods of all Nodes: one task each, from the moment a pod is bound until
//! it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::addresses::Address;
use super::backoff::grace;
use super::container::{Board, Life};
use super::environment::PodFacts;
use super::events::{Type, tell};
use super::mounts::Volumes;
use super::status::{ContainerView, Ended, PodView, State, differs, pod_status, whole_seconds};

const GATHER: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_secs(2);
/// How often a refused write or a volume that is missing is tried again.
const RETRY: Duration = Duration::from_millis(300);

/// Runs the pods of every Node that runs, for as long as it is polled.
pub(super) async fn run(world: Arc<Shared>) {
    let mut changed = world.cluster.listen();
    let mut workers: BTreeMap<String, Worker> = BTreeMap::new();
    loop {
        pass(&world, &mut workers);
        let _ = tokio::time::timeout(AGAIN, changed.changed()).await;
        tokio::time::sleep(GATHER).await;
        changed.mark_unchanged();
    }
}

/// A pod's task. Dropping it kills the pod's containers.
struct Worker {
    pod: watch::Sender<Arc<Pod>>,
    task: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn pass(world: &Arc<Shared>, workers: &mut BTreeMap<String, Worker>) {
    let mut alive = BTreeSet::new();
    for pod in world.cluster.pods.state() {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
            continue;
        };
        if !world.nodes.is_running(&node) {
            continue;
        }
        let uid = pod.uid().unwrap_or_default();
        alive.insert(uid.clone());
        match workers.get(&uid) {
            Some(worker) => {
                worker.pod.send_if_modified(|known| {
                    let newer = known.resource_version() != pod.resource_version();
                    *known = Arc::clone(&pod);
                    newer
                });
            }
            None => {
                let (sender, receiver) = watch::channel(Arc::clone(&pod));
                let task = tokio::spawn(work(Arc::clone(world), receiver, node));
                workers.insert(uid, Worker { pod: sender, task });
            }
        }
    }
    // Gone, deleted by force, or on a Node that has stopped: killed at once.
    workers.retain(|uid, _| alive.contains(uid));
}

/// What a pod's containers share.
pub(super) struct PodContext {
    pub(super) world: Arc<Shared>,
    /// The pod as it was bound.
    pub(super) pod: Arc<Pod>,
    /// The pod as it was seen last.
    pub(super) latest: watch::Receiver<Arc<Pod>>,
    pub(super) facts: PodFacts,
    pub(super) address: Address,
    /// The pod's own directory; goes with this context.
    pub(super) dir: PathBuf,
    /// The last Event about each container, so that none is repeated.
    pub(super) said: Mutex<BTreeMap<usize, String>>,
}

impl PodContext {
    pub(super) fn volumes<'a>(&'a self, pod: &'a Pod) -> Volumes<'a> {
        Volumes {
            client: &self.world.client,
            cluster: &self.world.cluster,
            pod,
            facts: &self.facts,
            dir: &self.dir,
        }
    }

    /// The cache that a member belongs to, by its labels.
    pub(super) fn cache(&self) -> String {
        let label = |key: &str| self.facts.labels.get(key).cloned();
        label("app.kubernetes.io/instance").or_else(|| label("app")).unwrap_or_default()
    }
}

impl Drop for PodContext {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

async fn work(world: Arc<Shared>, latest: watch::Receiver<Arc<Pod>>, node: String) {
    let pod = latest.borrow().clone();
    let uid = pod.uid().unwrap_or_default();
    let address = match world.addresses.take() {
        Ok(address) => address,
        Err(error) => {
            tell(
                &world.client,
                &*pod,
                "kubelet",
                Type::Warning,
                "FailedCreatePodSandBox",
                &error.to_string(),
            );
            return;
        }
    };
    let facts = PodFacts {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: uid.clone(),
        address: address.get().to_string(),
        host_address: world.nodes.address(&node).to_string(),
        service_account: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_else(|| "default".to_owned()),
        labels: pod.labels().clone(),
        annotations: pod.annotations().clone(),
        node,
    };
    let dir = world.dir.join("pods").join(&uid);
    let said = Mutex::default();
    let board = Board::new(resume(&pod));
    let context = Arc::new(PodContext { world, pod, latest, facts, address, dir, said });
    let teller = Teller {
        context: Arc::clone(&context),
        board: board.clone(),
        begun: context
            .pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map_or_else(|| whole_seconds(Timestamp::now()), |time| time.0),
    };
    if !is_over(&context.pod) {
        tokio::select! {
            () = teller.keep() => {}
            () = live(&context, &board) => {}
        }
    } else {
        deleted(&mut context.latest.clone()).await;
    }
    end_what_runs(&board);
    teller.tell_last().await;
    remove(&context).await;
}

/// Each container as it was left by a kubelet before.
fn resume(pod: &Pod) -> Vec<ContainerView> {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .map(|container| {
            let before =
                statuses.into_iter().flatten().find(|status| status.name == container.name);
            let image = container.image.as_deref().unwrap_or_default();
            ContainerView::resumed(&container.name, image, before)
        })
        .collect()
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Starts the pod, waits for its deletion and ends it in order.
async fn live(context: &Arc<PodContext>, board: &Board) {
    let mut latest = context.latest.clone();
    if tokio::select! { () = start(context, board) => false, () = deleted(&mut latest) => true } {
        return;
    }
    let stop = CancellationToken::new();
    let mut containers = JoinSet::new();
    for index in 0..board.views().len() {
        let (context, board, stop) = (Arc::clone(context), board.clone(), stop.clone());
        containers.spawn(Life { context, index, board, stop }.run());
    }
    deleted(&mut latest).await;
    let pod = latest.borrow().clone();
    tell(&context.world.client, &*pod, "kubelet", Type::Normal, "Killing", "Stopping containers");
    stop.cancel();
    let ended = async { while containers.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        () = grace_over(&mut latest, context.world.scale) => {}
    }
    containers.shutdown().await;
}

/// Until the pod's address is known to all and its volumes are there.
async fn start(context: &Arc<PodContext>, board: &Board) {
    let spec = context.pod.spec.as_ref();
    let initial =
        spec.and_then(|spec| spec.init_containers.as_ref()).is_some_and(|all| !all.is_empty());
    if initial {
        let why = "init containers do not run in this world";
        warn(context, "FailedCreatePodSandBox", why);
        for index in 0..board.views().len() {
            board.update(index, |view| view.state = State::waiting("PodInitializing", why));
        }
        std::future::pending::<()>().await;
    }
    let mut told = String::new();
    while let Err(error) = context.volumes(&context.pod).prepare().await {
        if told != error.to_string() {
            told = error.to_string();
            warn(context, "FailedMount", &told);
        }
        tokio::time::sleep(RETRY).await;
    }
    // A member resolves its own name when it starts; names are answered from the pod's status.
    let mut latest = context.latest.clone();
    let known = |pod: &Arc<Pod>| {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        address.as_deref() == Some(&context.facts.address)
    };
    // The sender lives as long as this task, so the wait ends only with the address.
    let _ = latest.wait_for(known).await;
}

fn warn(context: &PodContext, reason: &str, text: &str) {
    tell(&context.world.client, &*context.pod, "kubelet", Type::Warning, reason, text);
}

async fn deleted(latest: &mut watch::Receiver<Arc<Pod>>) {
    let marked = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_some();
    if latest.wait_for(marked).await.is_err() {
        // The manager has let go of this pod and is about to drop this task.
        std::future::pending::<()>().await;
    }
}

/// Waits for the end of the grace period, which a second deletion can shorten.
async fn grace_over(latest: &mut watch::Receiver<Arc<Pod>>, scale: f64) {
    let begun = tokio::time::Instant::now();
    loop {
        let seconds = latest.borrow_and_update().metadata.deletion_grace_period_seconds;
        let until = begun + grace(seconds.unwrap_or(30), scale);
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = latest.changed() => if changed.is_err() { return },
        }
    }
}

/// What still ran was killed.
fn end_what_runs(board: &Board) {
    let now = whole_seconds(Timestamp::now());
    for (index, view) in board.views().into_iter().enumerate() {
        let ended = |started, message: &str| Ended {
            code: 137,
            reason: "Error".to_owned(),
            message: message.to_owned(),
            started,
            finished: now,
            id: view.id.clone().unwrap_or_default(),
        };
        let state = match view.state {
            State::Running { since } => ended(since, "killed at the end of the grace period"),
            State::Waiting { .. } => ended(now, "the pod was deleted before the container started"),
            State::Terminated(_) => continue,
        };
        board.update(index, |view| {
            view.state = State::Terminated(state);
            view.started = false;
            view.ready = false;
        });
    }
}

/// Tells the API server how a pod is.
struct Teller {
    context: Arc<PodContext>,
    board: Board,
    begun: Timestamp,
}

impl Teller {
    /// Keeps the pod's status true. Never returns.
    async fn keep(&self) {
        let mut latest = self.context.latest.clone();
        let mut changes = self.board.listen();
        // The newest of what was answered and what was watched: copies come late.
        let mut live = latest.borrow_and_update().clone();
        loop {
            changes.borrow_and_update();
            let mut wait = AGAIN;
            match self.tell(&live, false).await {
                Ok(Some(answer)) => live = newer(live, Arc::new(answer)),
                Ok(None) => {}
                Err(error) => {
                    let pod = &self.context.facts.name;
                    tracing::debug!(%error, pod, "a status was not taken");
                    wait = RETRY;
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = latest.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            live = newer(live, latest.borrow_and_update().clone());
        }
    }

    /// Tells how the pod ended; a pod that is gone already need not be told.
    async fn tell_last(&self) {
        let live = self.context.latest.borrow().clone();
        if let Err(error) = self.tell(&live, true).await {
            tracing::debug!(%error, pod = self.context.facts.name, "a last status was not taken");
        }
    }

    async fn tell(&self, live: &Pod, over: bool) -> kube::Result<Option<Pod>> {
        let containers = self.board.views();
        let facts = &self.context.facts;
        let view = PodView {
            containers: &containers,
            address: self.context.address.get(),
            host: self.context.world.nodes.address(&facts.node),
            begun: self.begun,
            over,
        };
        let status = pod_status(live, &view, Timestamp::now());
        if !differs(&status, live) {
            return Ok(None);
        }
        // The UID keeps the status from a pod that was made anew under the same name.
        let patch = json!({"metadata": {"uid": facts.uid}, "status": status});
        let api: Api<Pod> = Api::namespaced(self.context.world.client.clone(), &facts.namespace);
        api.patch_status(&facts.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .map(Some)
    }
}

fn newer(one: Arc<Pod>, other: Arc<Pod>) -> Arc<Pod> {
    let version = |pod: &Pod| pod.resource_version().and_then(|text| text.parse::<u64>().ok());
    if version(&other) >= version(&one) { other } else { one }
}

/// Tells the API server that nothing of the pod runs any more, until it is gone.
async fn remove(context: &PodContext) {
    let facts = &context.facts;
    let api: Api<Pod> = Api::namespaced(context.world.client.clone(), &facts.namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(facts.uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    loop {
        match api.delete(&facts.name, &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
            Err(error) => {
                tracing::debug!(%error, pod = facts.name, "a pod's end was not taken");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
