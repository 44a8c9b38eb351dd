//! What survives the container: JSON files in the member's volume, each replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::database::View;

const MEMBER: &str = "member.json";
const GROUP: &str = "group.json";
const TASKS: &str = "tasks.json";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const LOCK: &str = "lock";

/// What went wrong with the volume.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the volume {path} is not usable: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} in the volume is damaged: {source}")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("the volume {0} is in use by another container")]
    InUse(PathBuf),
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Who the member is, from the first start on its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) id: Uuid,
}

/// A member's volume. While a clone of it lives, no other container can open it.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    directory: PathBuf,
    _lock: Arc<File>,
}

impl Volume {
    /// Opens the volume, waiting up to `patience` for the end of a container that still holds it.
    pub(super) async fn open(directory: &Path, patience: Duration) -> Result<Self, Error> {
        let file_error = |source| Error::File { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(file_error)?;
        let deadline = tokio::time::Instant::now() + patience;
        let path = directory.join(LOCK);
        loop {
            let lock = File::create(&path).map_err(file_error)?;
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(Self { directory: directory.to_owned(), _lock: Arc::new(lock) });
                }
                Err(fs::TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Error::InUse(directory.to_owned()));
                }
                Err(fs::TryLockError::Error(source)) => return Err(file_error(source)),
            }
        }
    }

    /// Who the member is; decided now when the volume is empty.
    pub(super) fn identity(&self) -> Result<Identity, Error> {
        if let Some(identity) = self.read(MEMBER)? {
            return Ok(identity);
        }
        let identity = Identity { id: Uuid::new_v4() };
        self.write_json(MEMBER, &identity)?;
        Ok(identity)
    }

    /// Replaces the member's identity.
    pub(super) fn set_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.write_json(MEMBER, identity)
    }

    /// The group as the member last knew it; `None` in an empty volume.
    pub(super) fn group(&self) -> Result<Option<View>, Error> {
        self.read(GROUP)
    }

    /// Replaces what the member knows of its group.
    pub(super) fn set_group(&self, view: &View) -> Result<(), Error> {
        self.write_json(GROUP, view)
    }

    /// The member's tasks, for the releases that keep them.
    pub(super) fn tasks<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.read(TASKS)
    }

    /// Replaces the member's tasks.
    pub(super) fn set_tasks(&self, tasks: &impl Serialize) -> Result<(), Error> {
        self.write_json(TASKS, tasks)
    }

    /// The member's certificate and key in PEM, made for `names` when the volume has none.
    pub(super) fn certificate(&self, names: Vec<String>) -> Result<(String, String), Error> {
        let read = |name| fs::read_to_string(self.directory.join(name)).ok();
        if let (Some(certificate), Some(key)) = (read(CERTIFICATE), read(KEY)) {
            return Ok((certificate, key));
        }
        let made = rcgen::generate_simple_self_signed(names)?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        self.write(KEY, key.as_bytes())?;
        self.write(CERTIFICATE, certificate.as_bytes())?;
        Ok((certificate, key))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.directory.join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path, source }),
        };
        let value = serde_json::from_slice(&text);
        value.map(Some).map_err(|source| Error::Damaged { path, source })
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(value)
            .map_err(|source| Error::Damaged { path: self.directory.join(name), source })?;
        self.write(name, &text)
    }

    /// Writes beside and renames, so that a killed container leaves the old file or the new one.
    fn write(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(name);
        let beside = self.directory.join(format!("{name}.new"));
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(text))
            .and_then(|()| fs::rename(&beside, &path));
        written.map_err(|source| Error::File { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn identity_and_certificate_are_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::open(directory.path(), Duration::ZERO).await.unwrap();
        let identity = volume.identity().unwrap();
        let certificate = volume.certificate(vec!["c-0".to_owned()]).unwrap();
        drop(volume);
        let volume = Volume::open(directory.path(), Duration::ZERO).await.unwrap();
        assert_eq!(volume.identity().unwrap(), identity);
        assert_eq!(volume.certificate(vec!["c-0".to_owned()]).unwrap(), certificate);
        assert_eq!(volume.group().unwrap(), None);
    }

    #[tokio::test]
    async fn volume_is_used_by_one_container_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::open(directory.path(), Duration::ZERO).await.unwrap();
        let second = Volume::open(directory.path(), Duration::ZERO).await;
        assert!(matches!(second, Err(Error::InUse(_))));
        drop(volume);
        Volume::open(directory.path(), Duration::ZERO).await.unwrap();
    }
}
