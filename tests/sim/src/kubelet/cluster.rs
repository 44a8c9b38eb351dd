//! What the kubelet stand-in knows of the cluster: a copy of some kinds, kept
//! by watches, and one signal that something has changed.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{Config, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Copies of the kinds that matter to a kubelet, always whole, a little late.
pub(super) struct Cluster {
    pub(super) pods: Store<Pod>,
    pub(super) nodes: Store<Node>,
    pub(super) claims: Store<PersistentVolumeClaim>,
    pub(super) volumes: Store<PersistentVolume>,
    pub(super) services: Store<Service>,
    changed: Wake,
}

/// Tells every waiting loop to look again. Looking twice is harmless.
#[derive(Clone)]
pub(super) struct Wake(Arc<watch::Sender<u64>>);

impl Wake {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(super) fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Cluster {
    /// Begins to follow the cluster with watches that live in `tasks`.
    pub(super) fn follow(client: &Client, wake: &Wake, tasks: &mut JoinSet<()>) -> Self {
        Self {
            pods: follow(client, wake, tasks),
            nodes: follow(client, wake, tasks),
            claims: follow(client, wake, tasks),
            volumes: follow(client, wake, tasks),
            services: follow(client, wake, tasks),
            changed: wake.clone(),
        }
    }

    /// Waits until every copy holds what was there at the start.
    pub(super) async fn wait_until_known(&self) -> Result<(), reflector::store::WriterDropped> {
        self.pods.wait_until_ready().await?;
        self.nodes.wait_until_ready().await?;
        self.claims.wait_until_ready().await?;
        self.volumes.wait_until_ready().await?;
        self.services.wait_until_ready().await
    }

    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.changed.listen()
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.get(&ObjectRef::new(name).within(namespace))
    }

    pub(super) fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(&ObjectRef::new(name).within(namespace))
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(&ObjectRef::new(name).within(namespace))
    }
}

fn follow<K>(client: &Client, wake: &Wake, tasks: &mut JoinSet<()>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash,
{
    let (reader, mut writer) = store::<K>();
    // The managed fields are most of a small object, and nobody here reads them.
    let mut events = watcher(Api::<K>::all(client.clone()), Config::default())
        .modify(|object| object.managed_fields_mut().clear())
        .default_backoff()
        .boxed();
    let wake = wake.clone();
    tasks.spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    writer.apply_watcher_event(&event);
                    wake.wake();
                }
                // The watch begins again by itself, with back-off.
                Err(error) => tracing::debug!(%error, kind = %K::kind(&()), "a watch ended"),
            }
        }
    });
    reader
}
