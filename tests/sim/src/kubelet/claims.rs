//! The storage of the world: makes a directory and a PersistentVolume for each
//! claim, grows it, and sets the directory aside when the claim is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::cluster::Cluster;

/// The name under which volumes are provisioned; it makes them "external" to
/// the controller manager, which then leaves them alone.
pub(super) const PROVISIONER: &str = "xsld.sim/volume";
const CLASS: &str = "xsld-sim";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const WANTED_FROM: &str = "volume.kubernetes.io/storage-provisioner";
const AGAIN: Duration = Duration::from_secs(1);
const GATHER: Duration = Duration::from_millis(10);

/// Which directories a running container has mounted.
#[derive(Clone, Default)]
pub(super) struct Holds(Arc<Mutex<BTreeMap<PathBuf, usize>>>);

/// One container's use of a directory, until dropped.
pub(super) struct Hold {
    path: PathBuf,
    holds: Holds,
}

impl Holds {
    pub(super) fn hold(&self, path: &Path) -> Hold {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(path.to_owned()).or_default() += 1;
        Hold { path: path.to_owned(), holds: self.clone() }
    }

    fn is_held(&self, path: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(path)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.holds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.path);
            }
        }
    }
}

/// Makes the default StorageClass.
pub(super) async fn apply_class(client: &Client) -> kube::Result<()> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": true,
    });
    let api: Api<StorageClass> = Api::all(client.clone());
    api.patch(CLASS, &PatchParams::apply("xsld-sim").force(), &Patch::Apply(class)).await.map(drop)
}

/// Provisions for as long as it is polled.
pub(super) async fn run(client: Client, cluster: Arc<Cluster>, holds: Holds, dir: PathBuf) {
    let mut changed = cluster.listen();
    let mut provisioner = Provisioner { client, cluster, holds, dir, set_aside: BTreeSet::new() };
    loop {
        provisioner.pass().await;
        let _ = tokio::time::timeout(AGAIN, changed.changed()).await;
        tokio::time::sleep(GATHER).await;
        changed.mark_unchanged();
    }
}

struct Provisioner {
    client: Client,
    cluster: Arc<Cluster>,
    holds: Holds,
    dir: PathBuf,
    /// Volumes whose directory was set aside: the path may be a new claim's by now.
    set_aside: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the API server refused")]
    Api(#[from] kube::Error),
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Provisioner {
    async fn pass(&mut self) {
        let claims = self.cluster.claims.state();
        let volumes: Vec<Arc<PersistentVolume>> =
            self.cluster.volumes.state().into_iter().filter(|volume| is_ours(volume)).collect();
        let alive: BTreeSet<String> = claims.iter().filter_map(|claim| claim.uid()).collect();
        self.set_aside.retain(|name| volumes.iter().any(|volume| volume.name_any() == *name));
        for volume in &volumes {
            if is_released(volume, &alive)
                && let Err(error) = self.reclaim(volume).await
            {
                tracing::warn!(%error, volume = volume.name_any(), "a volume was not reclaimed");
            }
        }
        for claim in &claims {
            let done = match volume_of(claim, &volumes) {
                Some(volume) => self.grow(claim, volume).await,
                None if is_wanted(claim) => self.provision(claim, &volumes).await,
                None => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!(%error, claim = claim.name_any(), "a claim was not served");
            }
        }
    }

    /// Moves the directory to `reclaimed/<claim uid>` and deletes the volume.
    async fn reclaim(&mut self, volume: &PersistentVolume) -> Result<(), Error> {
        let name = volume.name_any();
        let path = directory(volume);
        if self.holds.is_held(&path) {
            return Ok(());
        }
        if !self.set_aside.contains(&name) {
            let target = self.dir.join("reclaimed").join(claim_uid(volume));
            fs::create_dir_all(self.dir.join("reclaimed")).map_err(file_error(&target))?;
            match fs::rename(&path, &target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path)(error));
                }
                _ => self.set_aside.insert(name.clone()),
            };
        }
        if volume.metadata.deletion_timestamp.is_none() {
            let api: Api<PersistentVolume> = Api::all(self.client.clone());
            gone_is_fine(api.delete(&name, &DeleteParams::default()).await)?;
        }
        Ok(())
    }

    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        volumes: &[Arc<PersistentVolume>],
    ) -> Result<(), Error> {
        let Some(spec) = &claim.spec else { return Ok(()) };
        let namespace = claim.namespace().unwrap_or_default();
        let uid = claim.uid().unwrap_or_default();
        let usual = self.dir.join(usual_directory(&namespace, &claim.name_any()));
        let holder = volumes.iter().find(|volume| {
            directory(volume) == usual && !self.set_aside.contains(&volume.name_any())
        });
        let path = match holder.map(|volume| is_kept(volume)) {
            // The former claim's data must be set aside first.
            Some(false) => return Ok(()),
            // A volume that outlives its claim keeps its directory.
            Some(true) => PathBuf::from(format!("{}.{uid}", usual.display())),
            None => usual,
        };
        let class_name = spec.storage_class_name.clone().unwrap_or_default();
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let class = classes.get_opt(&class_name).await?;
        let policy = class.and_then(|class| class.reclaim_policy).unwrap_or("Delete".to_owned());
        fs::create_dir_all(&path).map_err(file_error(&path))?;
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.clone());
        let name = format!("pvc-{uid}");
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
            "spec": {
                "accessModes": spec.access_modes,
                "capacity": requests,
                "storageClassName": class_name,
                "persistentVolumeReclaimPolicy": policy,
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": namespace, "name": claim.name_any(), "uid": uid,
                },
                "hostPath": {"path": path},
            },
        }))
        .map_err(kube::Error::SerdeError)?;
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), &volume).await {
            // Made a moment ago; the copies do not show it yet.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Gives a claim the size that it asks for now, if that has grown.
    async fn grow(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<(), Error> {
        let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let requests =
            claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.clone());
        let Some(wanted) = requests.and_then(|requests| requests.get("storage").cloned()) else {
            return Ok(());
        };
        let size = |capacity: Option<&BTreeMap<String, _>>| {
            let quantity: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
                capacity.and_then(|capacity| capacity.get("storage"));
            quantity.and_then(|quantity| bytes(&quantity.0)).unwrap_or(0.0)
        };
        let needed = bytes(&wanted.0).unwrap_or(0.0);
        let params = PatchParams::default();
        if size(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref())) < needed {
            let patch = Patch::Merge(json!({"spec": {"capacity": {"storage": wanted}}}));
            let api: Api<PersistentVolume> = Api::all(self.client.clone());
            api.patch(&volume.name_any(), &params, &patch).await?;
        } else if bound == Some("Bound")
            && size(claim.status.as_ref().and_then(|status| status.capacity.as_ref())) < needed
        {
            let patch = json!({"metadata": {"uid": claim.uid()},
                               "status": {"capacity": {"storage": wanted}, "conditions": []}});
            let namespace = claim.namespace().unwrap_or_default();
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
            api.patch_status(&claim.name_any(), &params, &Patch::Merge(patch)).await?;
        }
        Ok(())
    }
}

fn gone_is_fine<T>(answer: kube::Result<T>) -> kube::Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

fn is_ours(volume: &PersistentVolume) -> bool {
    volume.annotations().get(PROVISIONED_BY).is_some_and(|by| by == PROVISIONER)
}

fn is_kept(volume: &PersistentVolume) -> bool {
    let policy =
        volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Retain")
}

fn claim_uid(volume: &PersistentVolume) -> String {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    claim.and_then(|claim| claim.uid.clone()).unwrap_or_default()
}

/// The directory of one of our volumes.
pub(super) fn directory(volume: &PersistentVolume) -> PathBuf {
    let path = volume.spec.as_ref().and_then(|spec| spec.host_path.as_ref());
    path.map(|path| PathBuf::from(&path.path)).unwrap_or_default()
}

fn is_released(volume: &PersistentVolume, alive: &BTreeSet<String>) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let released = matches!(phase, Some("Released" | "Failed"))
        || volume.metadata.deletion_timestamp.is_some();
    released && !is_kept(volume) && !alive.contains(&claim_uid(volume))
}

fn volume_of<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
) -> Option<&'a PersistentVolume> {
    let uid = claim.uid()?;
    volumes.iter().find(|volume| claim_uid(volume) == uid).map(|volume| &**volume)
}

/// Whether the controller manager asks us for a volume for this claim.
fn is_wanted(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().get(WANTED_FROM).is_some_and(|by| by == PROVISIONER)
        && claim.metadata.deletion_timestamp.is_none()
        && claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_none())
}

/// `members/<namespace>/<pod>` for a member's claim `vol-<pod>`, else
/// `volumes/<namespace>/<claim>`.
fn usual_directory(namespace: &str, claim: &str) -> PathBuf {
    let pod = claim.strip_prefix("vol-").filter(|pod| {
        pod.rsplit_once('-')
            .is_some_and(|(cache, ordinal)| !cache.is_empty() && ordinal.parse::<u32>().is_ok())
    });
    match pod {
        Some(pod) => ["members", namespace, pod].iter().collect(),
        None => ["volumes", namespace, claim].iter().collect(),
    }
}

/// A Kubernetes quantity of storage in bytes.
fn bytes(quantity: &str) -> Option<f64> {
    let digits = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().ok()?;
    let factor = match &quantity[digits.len()..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_claim_is_found_under_its_pod_and_any_other_under_its_own_name() {
        let path = |claim| usual_directory("ns", claim).display().to_string();
        assert_eq!(path("vol-example-xsldcache-2"), "members/ns/example-xsldcache-2");
        assert_eq!(path("vol-notes"), "volumes/ns/vol-notes");
        assert_eq!(path("vol-x-y"), "volumes/ns/vol-x-y");
        assert_eq!(path("journal-xsld-operator-0"), "volumes/ns/journal-xsld-operator-0");
    }

    #[test]
    fn quantities_compare_across_their_suffixes() {
        assert_eq!(bytes("1Gi"), bytes("1024Mi"));
        assert!(bytes("1G").unwrap() < bytes("1Gi").unwrap());
        assert_eq!(bytes("5"), Some(5.0));
        assert_eq!(bytes("many"), None);
    }

    #[test]
    fn a_directory_is_held_until_the_last_container_lets_go() {
        let (holds, path) = (Holds::default(), Path::new("/vol"));
        let (first, second) = (holds.hold(path), holds.hold(path));
        drop(first);
        assert!(holds.is_held(path));
        drop(second);
        assert!(!holds.is_held(path));
    }

    #[test]
    fn only_a_volume_whose_claim_is_gone_is_reclaimed() {
        let volume = |phase: &str, policy: &str| -> PersistentVolume {
            serde_json::from_value(json!({
                "metadata": {"name": "pvc-1"},
                "spec": {"claimRef": {"uid": "1"}, "persistentVolumeReclaimPolicy": policy},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let nobody = BTreeSet::new();
        assert!(is_released(&volume("Released", "Delete"), &nobody));
        assert!(!is_released(&volume("Released", "Retain"), &nobody));
        assert!(!is_released(&volume("Available", "Delete"), &nobody));
        assert!(!is_released(&volume("Released", "Delete"), &["1".to_owned()].into()));
    }
}
