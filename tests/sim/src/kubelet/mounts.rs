//! The volumes of a pod as directories of this machine, and the paths of a
//! container in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection,
};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};

use super::claims::directory;
use super::cluster::Cluster;
use super::environment::PodFacts;
use super::sources;

const DEFAULT_MODE: i32 = 0o644;

/// Why a volume is not there; the text is for an Event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct MountError(String);

/// A volume's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    /// It is a claim's, and thus set aside when the claim goes.
    pub(super) claim: bool,
}

/// What is needed to make a pod's volumes.
pub(super) struct Volumes<'a> {
    pub(super) client: &'a Client,
    pub(super) cluster: &'a Cluster,
    pub(super) pod: &'a Pod,
    pub(super) facts: &'a PodFacts,
    /// The pod's own directory.
    pub(super) dir: &'a Path,
}

type Files = BTreeMap<String, (Vec<u8>, i32)>;

impl Volumes<'_> {
    /// Makes or refreshes each volume of the pod.
    pub(super) async fn prepare(&self) -> Result<BTreeMap<String, Prepared>, MountError> {
        let mut prepared = BTreeMap::new();
        for volume in self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let made = self.volume(volume).await.map_err(|why| {
                MountError(format!(
                    "MountVolume.SetUp failed for volume \"{}\" : {why}",
                    volume.name
                ))
            })?;
            prepared.insert(volume.name.clone(), made);
        }
        Ok(prepared)
    }

    async fn volume(&self, volume: &Volume) -> Result<Prepared, String> {
        if let Some(claim) = &volume.persistent_volume_claim {
            return self.claim(&claim.claim_name);
        }
        if volume.ephemeral.is_some() {
            return self.claim(&format!("{}-{}", self.pod.name_any(), volume.name));
        }
        if let Some(host) = &volume.host_path {
            return Ok(Prepared { path: host.path.clone().into(), claim: false });
        }
        let path = self.dir.join("volumes").join(&volume.name);
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let files = match volume {
            Volume { empty_dir: Some(_), .. } => Files::new(),
            Volume { config_map: Some(map), .. } => {
                let mode = map.default_mode.unwrap_or(DEFAULT_MODE);
                self.config_map(&map.name, map.items.as_deref(), map.optional, mode).await?
            }
            Volume { secret: Some(secret), .. } => {
                let name = secret.secret_name.clone().unwrap_or_default();
                let mode = secret.default_mode.unwrap_or(DEFAULT_MODE);
                self.secret(&name, secret.items.as_deref(), secret.optional, mode).await?
            }
            Volume { downward_api: Some(downward), .. } => {
                let mode = downward.default_mode.unwrap_or(DEFAULT_MODE);
                self.downward(downward.items.as_deref(), mode)
            }
            Volume { projected: Some(projected), .. } => {
                let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
                let mut files = Files::new();
                for source in projected.sources.iter().flatten() {
                    files.extend(self.projection(source, mode).await?);
                }
                files
            }
            _ => return Err("this kind of volume does not exist in this world".to_owned()),
        };
        write(&path, &files).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Prepared { path, claim: false })
    }

    fn claim(&self, name: &str) -> Result<Prepared, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let missing = || format!("persistentvolumeclaim \"{name}\" not found");
        let claim = self.cluster.claim(&namespace, name).ok_or_else(missing)?;
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let volume = volume.ok_or_else(|| format!("claim {namespace}/{name} is not bound"))?;
        let found = self.cluster.volumes.get(&ObjectRef::new(&volume));
        let found = found.ok_or_else(|| format!("persistentvolume \"{volume}\" not found"))?;
        let path = directory(&found);
        if path.as_os_str().is_empty() {
            return Err(format!("persistentvolume \"{volume}\" is not a hostPath volume"));
        }
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Prepared { path, claim: true })
    }

    async fn projection(&self, source: &VolumeProjection, mode: i32) -> Result<Files, String> {
        if let Some(map) = &source.config_map {
            return self.config_map(&map.name, map.items.as_deref(), map.optional, mode).await;
        }
        if let Some(secret) = &source.secret {
            return self.secret(&secret.name, secret.items.as_deref(), secret.optional, mode).await;
        }
        if let Some(downward) = &source.downward_api {
            return Ok(self.downward(downward.items.as_deref(), mode));
        }
        // A service account's token: the operator gets it in a kubeconfig, and a
        // member has no use for it.
        Ok(Files::new())
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<Files, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let found = sources::config_map(self.client, &namespace, name).await;
        let found = found.map_err(|error| error.to_string())?;
        choose(found, "configmap", name, items, optional == Some(true), mode)
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: i32,
    ) -> Result<Files, String> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let found = sources::secret(self.client, &namespace, name).await;
        let found = found.map_err(|error| error.to_string())?;
        choose(found, "secret", name, items, optional == Some(true), mode)
    }

    fn downward(&self, items: Option<&[DownwardAPIVolumeFile]>, mode: i32) -> Files {
        let file = |item: &DownwardAPIVolumeFile| {
            let path = &item.field_ref.as_ref()?.field_path;
            let text = match path.as_str() {
                "metadata.labels" => lines(&self.facts.labels),
                "metadata.annotations" => lines(&self.facts.annotations),
                other => self.facts.field(other)?,
            };
            Some((item.path.clone(), (text.into_bytes(), item.mode.unwrap_or(mode))))
        };
        items.unwrap_or_default().iter().filter_map(file).collect()
    }
}

fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect()
}

/// The files that a ConfigMap or Secret volume shows: all keys, or those named.
fn choose(
    found: Option<BTreeMap<String, Vec<u8>>>,
    kind: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
) -> Result<Files, String> {
    let Some(mut data) = found else {
        let missing = format!("{kind} \"{name}\" not found");
        return if optional { Ok(Files::new()) } else { Err(missing) };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.into_iter().map(|(key, bytes)| (key, (bytes, mode))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), (bytes, item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => {
                return Err(format!("references non-existent {kind} key: {}", item.key));
            }
        }
    }
    Ok(files)
}

fn write(dir: &Path, files: &Files) -> io::Result<()> {
    for (name, (bytes, mode)) in files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // Renamed into place, so that a reader never sees half a file.
        let half = dir.join(format!(".half-{}", name.replace('/', "-")));
        fs::write(&half, bytes)?;
        fs::set_permissions(
            &half,
            fs::Permissions::from_mode(u32::try_from(*mode).unwrap_or(0o644)),
        )?;
        fs::rename(&half, &path)?;
    }
    Ok(())
}

/// Where the paths of a container lie on this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Mounts {
    /// Path in the container without a trailing slash, directory here, of a claim.
    entries: Vec<(String, PathBuf, bool)>,
}

impl Mounts {
    /// The mounts of `container` among the pod's volumes.
    pub(super) fn of(container: &Container, volumes: &BTreeMap<String, Prepared>) -> Self {
        let mut entries: Vec<(String, PathBuf, bool)> = container
            .volume_mounts
            .iter()
            .flatten()
            .filter_map(|mount| {
                let volume = volumes.get(&mount.name)?;
                let below = mount.sub_path.as_deref().unwrap_or_default();
                let at = mount.mount_path.trim_end_matches('/').to_owned();
                // Joining nothing would leave a slash behind, and the path no longer compare equal.
                let dir = match below {
                    "" => volume.path.clone(),
                    below => volume.path.join(below),
                };
                Some((at, dir, volume.claim))
            })
            .collect();
        // The longest mount path wins, as with nested mounts.
        entries.sort_by_key(|(at, _, _)| std::cmp::Reverse(at.len()));
        Self { entries }
    }

    /// The path on this machine of a path in the container; `None` for a path
    /// that belongs to the image.
    pub(super) fn host_path(&self, path: &str) -> Option<PathBuf> {
        self.entries.iter().find_map(|(at, dir, _)| match path.strip_prefix(at.as_str())? {
            "" => Some(dir.clone()),
            below => below.strip_prefix('/').map(|below| dir.join(below)),
        })
    }

    /// The directories of claims among the mounts.
    pub(super) fn claims(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter(|(_, _, claim)| *claim).map(|(_, dir, _)| dir.as_path())
    }

    /// An argument or a variable's value with a path of the container, alone or
    /// behind `=`, replaced by the path here.
    pub(super) fn rewrite(&self, word: &str) -> String {
        let whole = |text: &str| self.host_path(text).map(|path| path.display().to_string());
        if let Some(path) = whole(word) {
            return path;
        }
        let behind = word.split_once('=').and_then(|(name, value)| Some((name, whole(value)?)));
        behind.map_or_else(|| word.to_owned(), |(name, value)| format!("{name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mounts() -> Mounts {
        let container: Container = serde_json::from_value(json!({"name": "c", "volumeMounts": [
            {"name": "journal", "mountPath": "/data"},
            {"name": "script", "mountPath": "/data/run.sh", "subPath": "entry.sh"},
        ]}))
        .unwrap();
        let volume = |path: &str, claim| Prepared { path: path.into(), claim };
        let volumes = BTreeMap::from([
            ("journal".to_owned(), volume("/world/journal", true)),
            ("script".to_owned(), volume("/world/script", false)),
        ]);
        Mounts::of(&container, &volumes)
    }

    #[test]
    fn a_path_is_looked_up_at_its_longest_mount() {
        let path = |path| mounts().host_path(path).map(|path| path.display().to_string());
        assert_eq!(path("/data/run.sh").as_deref(), Some("/world/script/entry.sh"));
        assert_eq!(path("/data/a/b").as_deref(), Some("/world/journal/a/b"));
        assert_eq!(path("/data").as_deref(), Some("/world/journal"));
        assert_eq!(path("/database"), None);
        let claims: Vec<PathBuf> = mounts().claims().map(Path::to_owned).collect();
        assert_eq!(claims, [PathBuf::from("/world/journal")]);
    }

    #[test]
    fn arguments_are_rewritten_alone_and_behind_an_equals_sign() {
        assert_eq!(mounts().rewrite("/data/x"), "/world/journal/x");
        assert_eq!(mounts().rewrite("--journal-dir=/data"), "--journal-dir=/world/journal");
        assert_eq!(mounts().rewrite("--listen=0.0.0.0:1"), "--listen=0.0.0.0:1");
    }

    #[test]
    fn a_missing_key_or_object_is_an_error_unless_it_is_optional() {
        let data = || Some(BTreeMap::from([("a".to_owned(), b"x".to_vec())]));
        let items: Vec<KeyToPath> =
            serde_json::from_value(json!([{"key": "b", "path": "f"}])).unwrap();
        assert!(choose(None, "configmap", "m", None, false, 0o644).unwrap_err().contains("\"m\""));
        assert!(choose(None, "configmap", "m", None, true, 0o644).unwrap().is_empty());
        assert!(choose(data(), "secret", "s", Some(&items), false, 0o644).is_err());
        assert_eq!(choose(data(), "secret", "s", None, false, 0o600).unwrap()["a"].1, 0o600);
    }

    #[test]
    fn files_are_written_with_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::from([("sub/run.sh".to_owned(), (b"#!".to_vec(), 0o744))]);
        write(dir.path(), &files).unwrap();
        let mode = fs::metadata(dir.path().join("sub/run.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o744);
    }
}
