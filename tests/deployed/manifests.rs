//! The plain manifests of `deploy/`, read as kustomize reads them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// The objects of a kustomization: its resources, in its namespace, with its patches.
pub(crate) fn kustomization(folder: &Path) -> Result<Vec<Value>> {
    let document = documents(&folder.join("kustomization.yaml"))?.remove(0);
    let mut objects = Vec::new();
    for entry in document["resources"].as_array().into_iter().flatten() {
        let path = folder.join(entry.as_str().unwrap_or_default());
        objects.extend(if path.is_dir() { kustomization(&path)? } else { documents(&path)? });
    }
    for object in &mut objects {
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind != "Namespace" && !kind.starts_with("Cluster") {
            object["metadata"]["namespace"] = document["namespace"].clone();
        }
    }
    for patch in document["patches"].as_array().into_iter().flatten() {
        let changes = documents(&folder.join(patch["path"].as_str().unwrap_or_default()))?;
        for change in changes.iter().filter_map(Value::as_array).flatten() {
            let path = change["path"].as_str().and_then(|path| path.strip_suffix("/-"));
            let path = path.context("this test can only append")?;
            let targets =
                objects.iter_mut().filter(|object| object["kind"] == patch["target"]["kind"]);
            for list in targets.filter_map(|object| object.pointer_mut(path)?.as_array_mut()) {
                list.push(change["value"].clone());
            }
        }
    }
    Ok(objects)
}

/// The documents of a YAML file.
pub(crate) fn documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_multiple(&text).with_context(|| path.display().to_string())
}
