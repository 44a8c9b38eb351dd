//! Objects of the API as JSON, and the ways in which a user changes them.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::{Context, IMAGE};
use crate::Result;

/// The kinds of objects that scenarios look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `XsldCache`.
    Cache,
    /// `DataGrid`.
    Grid,
    /// `GridTemplate`.
    Template,
    /// StatefulSet.
    StatefulSet,
    /// Pod.
    Pod,
    /// PersistentVolumeClaim.
    Claim,
    /// Service.
    Service,
    /// Secret.
    Secret,
    /// ConfigMap.
    ConfigMap,
    /// Event of `events.k8s.io`.
    Event,
    /// Lease.
    Lease,
    /// PodDisruptionBudget.
    Budget,
    /// NetworkPolicy.
    Policy,
    /// Role.
    Role,
    /// RoleBinding.
    RoleBinding,
}

impl Kind {
    /// Group, version, kind, plural.
    fn words(self) -> [&'static str; 4] {
        match self {
            Self::Cache => ["xsld.ibm.com", "v1alpha1", "XsldCache", "xsldcaches"],
            Self::Grid => ["xsld.ibm.com", "v1alpha1", "DataGrid", "datagrids"],
            Self::Template => ["xsld.ibm.com", "v1alpha1", "GridTemplate", "gridtemplates"],
            Self::StatefulSet => ["apps", "v1", "StatefulSet", "statefulsets"],
            Self::Pod => ["", "v1", "Pod", "pods"],
            Self::Claim => ["", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"],
            Self::Service => ["", "v1", "Service", "services"],
            Self::Secret => ["", "v1", "Secret", "secrets"],
            Self::ConfigMap => ["", "v1", "ConfigMap", "configmaps"],
            Self::Event => ["events.k8s.io", "v1", "Event", "events"],
            Self::Lease => ["coordination.k8s.io", "v1", "Lease", "leases"],
            Self::Budget => ["policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"],
            Self::Policy => ["networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"],
            Self::Role => ["rbac.authorization.k8s.io", "v1", "Role", "roles"],
            Self::RoleBinding => ["rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"],
        }
    }

    /// What the dynamic API needs to know.
    pub fn resource(self) -> ApiResource {
        let [group, version, kind, plural] = self.words();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

impl Context {
    /// The API of a kind in this namespace.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), &self.namespace, &kind.resource())
    }

    /// An object; `null` when there is none.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Value> {
        Ok(serde_json::to_value(self.api(kind).get_opt(name).await?)?)
    }

    /// All objects of a kind in this namespace.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>> {
        let listed = self.api(kind).list(&ListParams::default()).await?;
        Ok(listed.items.iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
    }

    /// Applies an object as a user does.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn apply(&self, kind: Kind, object: Value) -> Result<Value> {
        let [group, version, word, _] = kind.words();
        let mut object = object;
        object["kind"] = json!(word);
        object["apiVersion"] = match group {
            "" => json!(version),
            group => json!(format!("{group}/{version}")),
        };
        let name = object["metadata"]["name"].as_str().context("an object without a name")?;
        let params = PatchParams::apply("scenario").force();
        let applied = self.api(kind).patch(name, &params, &Patch::Apply(&object)).await?;
        Ok(serde_json::to_value(applied)?)
    }

    /// Merges a change into an object.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn patch(&self, kind: Kind, name: &str, change: Value) -> Result<Value> {
        let params = PatchParams::default();
        let patched = self.api(kind).patch(name, &params, &Patch::Merge(&change)).await?;
        Ok(serde_json::to_value(patched)?)
    }

    /// Deletes an object; gone already is fine.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result {
        match self.api(kind).delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the Secret that [`Context::cache_object`] names.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn make_credentials(&self) -> Result {
        let credentials = self.credentials();
        let data = json!({
            "adminPassword": credentials.password,
            "secretKey": credentials.secret_key,
        });
        let secret = json!({"metadata": {"name": "credentials"}, "stringData": data});
        self.apply(Kind::Secret, secret).await.map(drop)
    }

    /// A cache with secret references and little else said.
    pub fn cache_object(&self, name: &str, size: u32) -> Value {
        json!({
            "metadata": {"name": name},
            "spec": {
                "license": "accept",
                "size": size,
                "image": IMAGE,
                "adminPasswordSecretRef": {"name": "credentials", "key": "adminPassword"},
                "secretKeySecretRef": {"name": "credentials", "key": "secretKey"},
            }
        })
    }

    /// Creates a cache with its Secret.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn create(&self, name: &str, size: u32) -> Result {
        self.create_with(name, size, json!({})).await
    }

    /// Creates a cache with its Secret, with more fields in its spec.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn create_with(&self, name: &str, size: u32, more: Value) -> Result {
        self.make_credentials().await?;
        let mut object = self.cache_object(name, size);
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        self.apply(Kind::Cache, object).await.map(drop)
    }

    /// Changes the wanted size.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn resize(&self, name: &str, size: u32) -> Result {
        self.patch(Kind::Cache, name, json!({"spec": {"size": size}})).await.map(drop)
    }

    /// Creates a grid with the predecessor's fields, and more.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn create_grid(&self, name: &str, more: Value) -> Result {
        let mut object = json!({
            "metadata": {"name": name},
            "spec": {"numPartition": 3, "templateName": "Simple"},
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        self.apply(Kind::Grid, object).await.map(drop)
    }

    /// Runs the real kubectl on this namespace. `None` when the machine has none.
    ///
    /// # Errors
    /// When it cannot be run. What it says and how it ended is in the answer.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Option<Said>> {
        let Some(kubectl) = &self.stage.kubectl else { return Ok(None) };
        let output = tokio::process::Command::new(kubectl)
            .arg("--kubeconfig")
            .arg(self.stage.world.kubeconfig())
            .arg("--cache-dir")
            .arg(self.stage.runs.join("kubectl-cache"))
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run kubectl")?;
        Ok(Some(Said {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }))
    }

    /// The documents of a file of the repository.
    ///
    /// # Errors
    /// When it is not there or not YAML.
    pub fn documents(&self, path: &str) -> Result<Vec<Value>> {
        let file = self.stage.root.join(path);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
        ensure!(!documents.is_empty(), "{path} is empty");
        Ok(documents)
    }

    /// Applies the documents of a file of the repository unchanged, with kubectl where there is one.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn apply_file(&self, path: &str) -> Result {
        let file = self.stage.root.join(path).display().to_string();
        if let Some(said) = self.kubectl(&["apply", "-f", &file]).await? {
            ensure!(said.success, "kubectl apply -f {path}: {}", said.stderr);
            return Ok(());
        }
        for document in self.documents(path)? {
            let word = document["kind"].as_str().unwrap_or_default().to_owned();
            let kinds = [Kind::Cache, Kind::Grid, Kind::Template, Kind::ConfigMap, Kind::Secret];
            match kinds.into_iter().find(|kind| kind.words()[2] == word) {
                Some(kind) => self.apply(kind, document).await.map(drop)?,
                None => bail!("{path} holds a {word}"),
            }
        }
        Ok(())
    }
}

/// What kubectl said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it ended well.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition of an object is true, with this reason where one is named.
pub fn is_true(object: &Value, kind: &str, reason: Option<&str>) -> bool {
    condition(object, kind).is_some_and(|condition| {
        condition["status"] == "True" && reason.is_none_or(|reason| condition["reason"] == reason)
    })
}
