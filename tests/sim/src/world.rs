//! The control-plane world: a real control plane, the kubelet stand-in, the
//! simulated members and their faults, in one directory.

mod constants;
mod crds;
mod folder;
mod operator;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub use operator::{OperatorConfig, OperatorProcess};

use crate::calls::{self, CallLog};
use crate::control_plane::{self, ControlPlane, ControlPlaneError, ProcessError, Progress, Step};
use crate::faults::{self, Faults, NodeControl};
use crate::kubelet::{Kubelet, KubeletError, KubeletOptions};
use crate::member::Names;
use folder::{Folder, file_error};

/// Why there is no world.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// Another world runs in the directory.
    #[error("{dir} is in use by a running world (process {pid}): stop it or choose another --dir")]
    Busy {
        /// The directory.
        dir: PathBuf,
        /// The process that has it.
        pid: String,
    },
    /// The directory holds something else.
    #[error("{dir} is neither empty nor a world's directory: choose another --dir")]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A process could not be started or followed.
    #[error(transparent)]
    Process(ProcessError),
    /// The control plane failed.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// The kubelet stand-in failed.
    #[error(transparent)]
    Kubelet(#[from] KubeletError),
    /// The call log could not be opened.
    #[error("cannot open the call log")]
    Calls(#[from] calls::Error),
    /// The fault interface could not listen.
    #[error("cannot listen for faults on 127.0.0.1")]
    Faults(#[source] io::Error),
    /// A CRD file is not one, or was refused.
    #[error("cannot apply {path}: {reason}")]
    Crd {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a world is started with.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The world's directory; made if need be. What a former world left in it is removed.
    pub dir: PathBuf,
    /// Divides every duration of the cache, the probes and the back-off.
    pub time_scale: f64,
    /// How many Nodes there are.
    pub nodes: usize,
    /// What pods of the operator's image run; `None` makes that image unknown.
    pub operator: Option<PathBuf>,
    /// How the control plane is started.
    pub control_plane: control_plane::Options,
    /// Who hears of long steps.
    pub progress: Progress,
}

impl WorldOptions {
    /// Three Nodes, time 60 times as fast, no operator image, nobody listening.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            time_scale: 60.0,
            nodes: 3,
            operator: None,
            control_plane: control_plane::Options::default(),
            progress: Progress::silent(),
        }
    }
}

/// A running world. Dropping it kills all of it; [`stop`](Self::stop) ends it in order.
pub struct World {
    control_plane: ControlPlane,
    kubelet: Kubelet,
    faults: Faults,
    fault_server: faults::Server,
    calls: CallLog,
    time_scale: f64,
    // Last: the directory is free only when all else has ended.
    folder: Folder,
}

impl World {
    /// Starts a world. It returns when the API answers and every Node takes
    /// pods; `kubeconfig`, `calls.jsonl`, `faults.addr` and `operator.env` are
    /// then in its directory.
    ///
    /// Needs a multi-threaded runtime, or one that keeps being polled.
    pub async fn start(options: WorldOptions) -> Result<Self, WorldError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let WorldOptions { dir, time_scale, nodes, operator, control_plane, progress } = options;
        let folder = Folder::take(&dir).await?;
        let dir = folder.path().to_owned();
        let programs = ControlPlane::build(&progress).await?;

        let what = format!("starting the control plane and {nodes} Nodes");
        progress.report(Step::Started { what: what.clone() });
        let begun = Instant::now();
        let plane = ControlPlane::start(&dir, &programs, &control_plane).await?;
        let calls = CallLog::open(dir.join("calls.jsonl"))?;
        let faults = Faults::new();
        let kubelet = Kubelet::start(KubeletOptions {
            client: plane.client(),
            server: plane.api_server().clone(),
            dir: dir.clone(),
            time_scale,
            nodes,
            operator,
            faults: faults.clone(),
            calls: calls.clone(),
        })
        .await?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let fault_server = faults::serve(faults.clone(), kubelet.nodes(), any)
            .await
            .map_err(WorldError::Faults)?;
        write(&dir.join("faults.addr"), &format!("{}\n", fault_server.address))?;
        write(&dir.join("operator.env"), &constants::operator_env(time_scale))?;
        progress.report(Step::Finished { what, elapsed: begun.elapsed() });
        Ok(Self { control_plane: plane, kubelet, faults, fault_server, calls, time_scale, folder })
    }

    /// Fails if a world could not be started in `dir` now: another one runs
    /// there, or it holds something else.
    pub fn check_dir(dir: &Path) -> Result<(), WorldError> {
        Folder::check(dir)
    }

    /// Applies every CustomResourceDefinition in `*.yaml` of a folder and waits
    /// until each is served. Returns how many there were; none when there is no
    /// such folder.
    pub async fn apply_crds(&self, folder: &Path) -> Result<usize, WorldError> {
        crds::apply(&self.client(), folder).await
    }

    /// Fails when a process of the control plane has ended.
    pub fn check_running(&mut self) -> Result<(), WorldError> {
        Ok(self.control_plane.check_running()?)
    }

    /// The world's directory, absolute.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        self.control_plane.kubeconfig()
    }

    /// Where the control plane's etcd answers, for what no API can do: to set an object back.
    pub fn etcd_url(&self) -> &str {
        self.control_plane.etcd_url()
    }

    /// The administrator's client.
    pub fn client(&self) -> kube::Client {
        self.control_plane.client()
    }

    /// The text of a kubeconfig for a service account of this world.
    pub async fn kubeconfig_for(
        &self,
        namespace: &str,
        account: &str,
    ) -> Result<String, WorldError> {
        Ok(self.control_plane.kubeconfig_for(namespace, account).await?)
    }

    /// The members' call log.
    pub fn calls(&self) -> &CallLog {
        &self.calls
    }

    /// The members' faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Where the fault interface listens.
    pub fn faults_address(&self) -> SocketAddr {
        self.fault_server.address
    }

    /// The handle by which Nodes are stopped and started.
    pub fn nodes(&self) -> Arc<dyn NodeControl> {
        self.kubelet.nodes()
    }

    /// What stands for the cluster's DNS.
    pub fn names(&self) -> Arc<dyn Names> {
        self.kubelet.names()
    }

    /// What every duration of the cache is divided by.
    pub fn time_scale(&self) -> f64 {
        self.time_scale
    }

    /// How this world's own operator is started: journal, log and time
    /// constants in the world's directory, the administrator's kubeconfig.
    pub fn operator_config(&self, binary: &Path, namespace: &str) -> OperatorConfig {
        operator::default_config(self.dir(), binary, namespace)
    }

    /// Ends everything, in order: containers, control plane, directory.
    pub async fn stop(self) -> Result<(), WorldError> {
        drop(self.fault_server);
        drop(self.kubelet);
        let stopped = self.control_plane.stop().await;
        drop(self.folder);
        Ok(stopped?)
    }
}

fn write(path: &Path, text: &str) -> Result<(), WorldError> {
    fs::write(path, text).map_err(file_error(path))
}
