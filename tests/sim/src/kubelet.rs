//! Stands in for the scheduler, the kubelets, the storage and the DNS of a
//! cluster, in this process, against a real API server.
//!
//! - **Nodes** are registered and their leases renewed; stopping one stops the
//!   leases and kills its containers, and the real node-lifecycle controller
//!   does the rest.
//! - **Pods** are bound, get an address of 127.0.0.0/8, volumes that are
//!   directories, and containers that are tasks (simulated members) or child
//!   processes (the operator).
//! - **Probes**, restarts, back-off and grace periods run in the world's time.
//!
//! Everything is level-triggered: each loop looks at copies of the cluster that
//! watches keep, and does what is missing.

mod addresses;
mod backoff;
mod claims;
mod cluster;
mod container;
mod environment;
mod events;
mod images;
mod mounts;
mod names;
mod nodes;
mod pods;
mod probes;
mod programs;
mod schedule;
mod scheduler;
mod sources;
mod status;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tokio::task::JoinSet;

use crate::calls::CallLog;
use crate::control_plane::ApiServer;
use crate::faults::{Faults, NodeControl};
use crate::member::Names;

use addresses::{Address, Addresses};
use claims::Holds;
use cluster::{Cluster, Wake};
use nodes::Nodes;

/// How long the Nodes may take to become Ready.
const START: Duration = Duration::from_secs(60);

/// Why the kubelet stand-in could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeletError {
    /// The API server refused a request.
    #[error("the API server refused a request of the kubelet stand-in")]
    Api(#[from] kube::Error),
    /// No addresses are left for pods.
    #[error("no addresses for the pods: no block of 127.64.0.0/10 is free")]
    Addresses,
    /// The watches ended before they held anything.
    #[error("the watches of the kubelet stand-in ended")]
    Watch,
    /// The Nodes did not become Ready.
    #[error("the Nodes are not Ready after {} s", START.as_secs())]
    Nodes,
}

/// What the kubelet stand-in is started with.
#[derive(Clone)]
pub struct KubeletOptions {
    /// An administrator's client.
    pub client: kube::Client,
    /// The API server, for the kubeconfigs of operator pods.
    pub server: ApiServer,
    /// The world's directory, absolute.
    pub dir: PathBuf,
    /// Divides every duration of probes, back-off, grace periods and members.
    pub time_scale: f64,
    /// How many Nodes there are, at least one.
    pub nodes: usize,
    /// What the operator's image runs; without it that image cannot be pulled.
    pub operator: Option<PathBuf>,
    /// The faults of the members.
    pub faults: Faults,
    /// Where the members log their calls.
    pub calls: CallLog,
}

/// A running kubelet stand-in. Dropping it kills every container.
pub struct Kubelet {
    shared: Arc<Shared>,
    /// Everything that runs; dropped as a whole.
    _tasks: JoinSet<()>,
    /// The addresses of the Nodes.
    _addresses: Vec<Address>,
}

/// What all pods share.
struct Shared {
    client: kube::Client,
    server: ApiServer,
    dir: PathBuf,
    scale: f64,
    operator: Option<PathBuf>,
    faults: Faults,
    calls: CallLog,
    cluster: Arc<Cluster>,
    nodes: Arc<Nodes>,
    addresses: Addresses,
    holds: Holds,
}

impl Shared {
    fn names(&self) -> Arc<dyn Names> {
        Arc::new(ClusterNames(Arc::clone(&self.cluster)))
    }

    /// Where the process id of an operator's container is kept.
    fn pid_file(&self, uid: &str, container: &str) -> PathBuf {
        self.dir.join("run").join(format!("{uid}-{container}.pid"))
    }
}

impl Kubelet {
    /// Starts it and waits until every Node takes pods.
    ///
    /// Must be called within a multi-threaded runtime or one that keeps being polled.
    pub async fn start(options: KubeletOptions) -> Result<Self, KubeletError> {
        let KubeletOptions { client, server, dir, time_scale, nodes, operator, faults, calls } =
            options;
        claims::apply_class(&client).await?;
        let pool = Addresses::new().map_err(|_| KubeletError::Addresses)?;
        let hosts: Vec<Address> = (0..nodes.max(1))
            .map(|_| pool.take())
            .collect::<Result<_, _>>()
            .map_err(|_| KubeletError::Addresses)?;
        let wake = Wake::new();
        let mut tasks = JoinSet::new();
        let cluster = Arc::new(Cluster::follow(&client, &wake, &mut tasks));
        let nodes = Arc::new(Nodes::new(hosts.iter().map(Address::get).collect(), wake));
        let shared = Arc::new(Shared {
            client: client.clone(),
            server,
            dir: dir.clone(),
            scale: time_scale,
            operator,
            faults,
            calls,
            cluster: Arc::clone(&cluster),
            nodes: Arc::clone(&nodes),
            addresses: pool,
            holds: Holds::default(),
        });
        cluster.wait_until_known().await.map_err(|_| KubeletError::Watch)?;
        for name in nodes.names() {
            let (cluster, nodes) = (Arc::clone(&cluster), Arc::clone(&nodes));
            tasks.spawn(nodes::keep(client.clone(), cluster, nodes, name));
        }
        tasks.spawn(claims::run(client.clone(), Arc::clone(&cluster), shared.holds.clone(), dir));
        tasks.spawn(scheduler::run(client, Arc::clone(&cluster)));
        tasks.spawn(pods::run(Arc::clone(&shared)));
        let kubelet = Self { shared, _tasks: tasks, _addresses: hosts };
        kubelet.wait_for_nodes().await?;
        Ok(kubelet)
    }

    async fn wait_for_nodes(&self) -> Result<(), KubeletError> {
        let deadline = Instant::now() + START;
        let wanted = self.shared.nodes.names();
        while Instant::now() < deadline {
            let live = self.shared.cluster.nodes.state();
            let takes = |name: &String| {
                live.iter().any(|node| node.name_any() == *name && nodes::takes_pods(node))
            };
            if wanted.iter().all(takes) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(KubeletError::Nodes)
    }

    /// The handle by which Nodes are stopped and started.
    pub fn nodes(&self) -> Arc<dyn NodeControl> {
        Arc::<Nodes>::clone(&self.shared.nodes)
    }

    /// What stands for the cluster's DNS.
    pub fn names(&self) -> Arc<dyn Names> {
        self.shared.names()
    }
}

/// Answers as the cluster's DNS would, from the copies of pods and Services.
struct ClusterNames(Arc<Cluster>);

impl Names for ClusterNames {
    fn resolve(&self, host: &str) -> Option<Ipv4Addr> {
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        let name = names::parse(host)?;
        let service = self.0.service(name.namespace, name.service)?;
        let Some(hostname) = name.pod else {
            let pods = self.0.pods.state();
            let mut listed = pods.iter().filter(|pod| {
                pod.namespace().as_deref() == Some(name.namespace) && names::listed(pod, &service)
            });
            return listed.find_map(|pod| names::address(pod));
        };
        // A pod's hostname is its name, unless its spec says otherwise.
        let direct = self.0.pod(name.namespace, hostname);
        let pod =
            direct.filter(|pod| names::has_name(pod, name.service, hostname)).or_else(|| {
                self.0.pods.find(|pod| {
                    pod.namespace().as_deref() == Some(name.namespace)
                        && names::has_name(pod, name.service, hostname)
                })
            })?;
        names::listed(&pod, &service).then(|| names::address(&pod)).flatten()
    }
}
