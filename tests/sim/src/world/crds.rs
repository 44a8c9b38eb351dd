//! Applies CustomResourceDefinitions from files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::{WorldError, folder::file_error};

const MANAGER: &str = "xsld-sim";
const ESTABLISHED: Duration = Duration::from_secs(30);

/// See [`super::World::apply_crds`].
pub(super) async fn apply(client: &Client, folder: &Path) -> Result<usize, WorldError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut applied = Vec::new();
    let mut files: Vec<_> = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(file_error(folder)(error)),
    };
    files.retain(|path| path.is_file() && path.extension().is_some_and(|kind| kind == "yaml"));
    files.sort();
    for path in files {
        let text = fs::read_to_string(&path).map_err(file_error(&path))?;
        let refuse = |reason: String| WorldError::Crd { path: path.clone(), reason };
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| refuse(error.to_string()))?;
        for document in documents {
            if document["kind"] != "CustomResourceDefinition" {
                return Err(refuse(format!("it holds a {}", document["kind"])));
            }
            let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let params = PatchParams::apply(MANAGER).force();
            let answer = api.patch(&name, &params, &Patch::Apply(&document)).await;
            let crd = answer.map_err(|error| refuse(error.to_string()))?;
            applied.push((path.clone(), crd.name_any()));
        }
    }
    for (path, name) in &applied {
        let refuse = |reason: String| WorldError::Crd { path: path.clone(), reason };
        let served = await_condition(api.clone(), name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED, served)
            .await
            .map_err(|_| refuse(format!("{name} is not served after {} s", ESTABLISHED.as_secs())))?
            .map_err(|error| refuse(error.to_string()))?;
    }
    Ok(applied.len())
}
