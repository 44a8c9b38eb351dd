//! A world in which the operator runs as a pod, under its own service account.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use xsld_sim::world::{World, WorldOptions};

use crate::manifests::root;

/// The namespace that the operator runs in.
pub(crate) const HOME: &str = "xsld-operator";
/// The operator's pod.
pub(crate) const POD: &str = "xsld-operator-0";
/// Names the operator's binary, when it is built already.
const BINARY: &str = "XSLD_OPERATOR_BINARY";
/// Generous: the machine may be building something else.
const PATIENCE: Duration = Duration::from_secs(180);

/// A world, and what a person with all rights does in it.
pub(crate) struct Operated {
    pub(crate) client: Client,
    pub(crate) world: World,
}

impl Operated {
    /// A world in `dir` with the operator's image, and nothing installed.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        let mut options = WorldOptions::new(dir.join("world"));
        options.time_scale = 200.0;
        options.operator = Some(operator().await?);
        let world = World::start(options).await?;
        Ok(Self { client: world.client(), world })
    }

    /// Applies the objects and waits for the operator to lead.
    pub(crate) async fn install(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let mut object = object.clone();
            if object["kind"] == "StatefulSet" {
                self.hurry(&mut object)?;
            }
            self.apply(&object, object["metadata"]["namespace"].as_str()).await?;
        }
        self.operator_is_ready().await
    }

    /// The time constants of this world, as a user would set others.
    fn hurry(&self, set: &mut Value) -> Result<()> {
        let env = set.pointer_mut("/spec/template/spec/containers/0/env");
        let env = env.and_then(Value::as_array_mut).context("the container has no env")?;
        for (name, value) in self.times()? {
            env.push(json!({"name": name, "value": value}));
        }
        Ok(())
    }

    /// The operator's time constants for this world, by the names of their variables.
    pub(crate) fn times(&self) -> Result<Vec<(String, String)>> {
        let text = std::fs::read_to_string(self.world.dir().join("operator.env"))?;
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(crate) async fn operator_is_ready(&self) -> Result<()> {
        let ready = async || self.operators_pod_is_ready().await;
        self.until("the operator's pod is ready", ready).await
    }

    pub(crate) async fn operators_pod_is_ready(&self) -> Result<bool> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), HOME);
        let pod = pods.get_opt(POD).await?;
        let conditions = pod.and_then(|pod| pod.status?.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|found| found.type_ == "Ready" && found.status == "True"))
    }

    pub(crate) async fn operator_is_gone(&self) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), HOME);
        let gone = async || Ok(pods.get_opt(POD).await?.is_none());
        self.until("the operator's pod is gone", gone).await
    }

    /// The cache has so many members, and all that its readiness stands for.
    pub(crate) async fn has_members(
        &self,
        cache: &Value,
        namespace: &str,
        size: u32,
    ) -> Result<()> {
        self.until(&format!("the cache has {size} members"), async || {
            let status = self.status(cache, namespace).await?;
            Ok(status["members"] == size && ready(&status))
        })
        .await
    }

    /// Under its own account the operator asks who calls, and serves them.
    pub(crate) async fn serves_its_journal(&self) -> Result<()> {
        let annotations = self.annotations_of_the_anchor().await?;
        let told = |name: &str| annotations.get(name).map(String::as_str);
        ensure!(told("xsld.ibm.com/operator-pod") == Some(POD), "{annotations:?}");
        let url = told("xsld.ibm.com/journal-endpoint").context("no endpoint is told")?;
        let output = tokio::process::Command::new(operator().await?)
            .args(["journal", "check", "--endpoint", url, "--namespace", HOME])
            .env("KUBECONFIG", self.world.kubeconfig())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{}: {said}", output.status);
        Ok(())
    }

    pub(crate) async fn annotations_of_the_anchor(&self) -> Result<BTreeMap<String, String>> {
        let anchors: Api<ConfigMap> = Api::namespaced(self.client.clone(), HOME);
        let anchor = anchors.get("xsld-operator-journal").await?;
        Ok(anchor.metadata.annotations.unwrap_or_default())
    }

    /// The operator's log tells of no request that the API server refused.
    pub(crate) fn nothing_was_forbidden(&self) -> Result<()> {
        let path = self.log();
        let log = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(log.contains("a term of leadership has begun"), "this is not the log:\n{log}");
        let refused: Vec<&str> =
            log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        ensure!(refused.is_empty(), "{}", refused.join("\n"));
        Ok(())
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    pub(crate) async fn apply(&self, object: &Value, namespace: Option<&str>) -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("an object without a name")?;
        let params = PatchParams::apply("test").force();
        let applied = self.api(object, namespace).patch(name, &params, &Patch::Apply(object)).await;
        applied.with_context(|| format!("{} {name}", object["kind"]))?;
        Ok(())
    }

    pub(crate) async fn status(&self, object: &Value, namespace: &str) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let found = self.api(object, Some(namespace)).get(name).await?;
        Ok(found.data["status"].clone())
    }

    pub(crate) async fn is_gone(&self, object: &Value, namespace: Option<&str>) -> Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = self.api(object, namespace);
        let gone = async || Ok(api.get_opt(name).await?.is_none());
        self.until(&format!("{} {name} is gone", object["kind"]), gone).await
    }

    pub(crate) fn api(&self, object: &Value, namespace: Option<&str>) -> Api<DynamicObject> {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Waits until `holds`, and fails with what the operator said when it does not come true.
    pub(crate) async fn until(
        &self,
        what: &str,
        holds: impl AsyncFn() -> Result<bool>,
    ) -> Result<()> {
        let begun = Instant::now();
        while !holds().await? {
            if begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                let from = log.lines().count().saturating_sub(40);
                let tail: Vec<&str> = log.lines().skip(from).collect();
                let seen = self.statuses().await?;
                bail!(
                    "{what}: not after {PATIENCE:?}; the end of its log:\n{}\n{seen}",
                    tail.join("\n")
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.world.dir().join("logs").join(HOME).join(POD).join("operator.log")
    }

    /// What the caches, grids and members of the world are told to be, for a failure's message.
    async fn statuses(&self) -> Result<String> {
        let mut told = String::new();
        for kind in ["XsldCache", "DataGrid"] {
            let kind = json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": kind});
            for object in self.api(&kind, None).list(&ListParams::default()).await? {
                let (name, status) = (object.name_any(), &object.data["status"]);
                told.push_str(&format!("{} {name}: {status}\n", kind["kind"]));
            }
        }
        let calls = std::fs::read_to_string(self.world.dir().join("calls.jsonl"));
        told.push_str(&calls.unwrap_or_else(|error| error.to_string()));
        Ok(told)
    }
}

/// Whether a status says Ready.
pub(crate) fn ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|found| found["type"] == "Ready" && found["status"] == "True")
}

/// The operator's program in this test's own profile, built if need be.
async fn operator() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os(BINARY) {
        return Ok(binary.into());
    }
    let me = std::env::current_exe()?;
    let folder = me.parent().and_then(Path::parent).context("this program is in no folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let status = xsld_sim::build::cargo()
        .args(["build", "--package", "xsld-operator", "--bin", "xsld-operator"])
        .args(["--profile", profile, "--target-dir"])
        .arg(folder.parent().context("the profile's folder has no parent")?)
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .await?;
    ensure!(status.success(), "the operator does not build");
    Ok(folder.join("xsld-operator"))
}
