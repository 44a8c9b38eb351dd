//! The manifests of `deploy/` on a real API server: the operator runs as a pod under its own
//! service account, and the rights in there are enough for the life of a cache, and no more.
//! Needs Go once, to build the control plane.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use xsld_sim::world::{World, WorldOptions};

/// The namespace that the manifests make.
const HOME: &str = "xsld-operator";
const ACCOUNT: &str = "system:serviceaccount:xsld-operator:xsld-operator";
/// Names the operator's binary, when it is built already.
const BINARY: &str = "XSLD_OPERATOR_BINARY";
/// Generous: the machine may be building something else.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_manifests_carry_a_cache_through_its_life() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut options = WorldOptions::new(dir.path().join("world"));
    options.time_scale = 200.0;
    options.operator = Some(operator().await?);
    let world = World::start(options).await?;
    let root = root();
    world.apply_crds(&root.join("crds")).await?;
    let test = Test { client: world.client(), world: &world };

    let namespaced = kustomization(&root.join("deploy/manifests"))?;
    test.install(&namespaced).await?;
    test.life_of_a_cache(HOME).await?;
    ensure!(!test.may("list", "", "pods", Some("default")).await?, "it reaches other namespaces");
    test.has_least_rights().await?;

    test.uninstall(&namespaced).await?;
    test.install(&kustomization(&root.join("deploy/manifests/cluster-wide"))?).await?;
    test.namespace("team").await?;
    test.life_of_a_cache("team").await?;
    test.has_least_rights().await?;
    world.stop().await?;
    Ok(())
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
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

/// The objects of a kustomization: its resources, in its namespace, with its patches.
fn kustomization(folder: &Path) -> Result<Vec<Value>> {
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

fn documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_saphyr::from_multiple(&text).with_context(|| path.display().to_string())
}

struct Test<'a> {
    client: Client,
    world: &'a World,
}

impl Test<'_> {
    /// Applies the objects and waits for the operator to lead.
    async fn install(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let mut object = object.clone();
            if object["kind"] == "StatefulSet" {
                self.hurry(&mut object)?;
            }
            self.apply(&object, object["metadata"]["namespace"].as_str()).await?;
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), HOME);
        self.until("the operator's pod is ready", async || {
            let pod = pods.get_opt("xsld-operator-0").await?;
            let conditions = pod.and_then(|pod| pod.status?.conditions).unwrap_or_default();
            Ok(conditions.iter().any(|found| found.type_ == "Ready" && found.status == "True"))
        })
        .await
    }

    /// The time constants of this world, as a user would set others.
    fn hurry(&self, set: &mut Value) -> Result<()> {
        let text = std::fs::read_to_string(self.world.dir().join("operator.env"))?;
        let env = set.pointer_mut("/spec/template/spec/containers/0/env");
        let env = env.and_then(Value::as_array_mut).context("the container has no env")?;
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            env.push(json!({"name": name, "value": value}));
        }
        Ok(())
    }

    /// Takes away the operator and its rights over caches; the journal stays.
    async fn uninstall(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if object["kind"] == "StatefulSet" || name == "xsld-operator-caches" {
                let namespace = object["metadata"]["namespace"].as_str();
                self.api(object, namespace).delete(name, &DeleteParams::default()).await?;
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), HOME);
        let gone = async || Ok(pods.get_opt("xsld-operator-0").await?.is_none());
        self.until("the operator's pod is gone", gone).await
    }

    /// A cache and a grid come up, the cache grows and shrinks, and both go.
    async fn life_of_a_cache(&self, namespace: &str) -> Result<()> {
        let samples = root().join("crds/samples");
        let file = |name: &str| Ok::<_, anyhow::Error>(documents(&samples.join(name))?.remove(0));
        let (mut cache, grid) = (file("xsldcache.yaml")?, file("datagrid.yaml")?);
        self.apply(&file("ip-update-entrypoint.yaml")?, Some(namespace)).await?;
        self.apply(&grid, Some(namespace)).await?;
        for size in [1, 2, 1] {
            cache["spec"]["size"] = size.into();
            self.apply(&cache, Some(namespace)).await?;
            self.until(&format!("the cache has {size} members"), async || {
                let status = self.status(&cache, namespace).await?;
                Ok(status["members"] == size && ready(&status))
            })
            .await?;
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let gone = async || Ok(claims.get_opt("vol-example-xsldcache-1").await?.is_none());
        self.until("the removed member's volume is gone", gone).await?;
        let online = async || Ok(self.status(&grid, namespace).await?["status"] == "Online");
        self.until("the grid is online", online).await?;
        for object in [&grid, &cache] {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let api = self.api(object, Some(namespace));
            api.delete(name, &DeleteParams::default()).await?;
            let gone = async || Ok(api.get_opt(name).await?.is_none());
            self.until(&format!("{name} is gone"), gone).await?;
        }
        self.nothing_was_forbidden()
    }

    /// What holds in both variants.
    async fn has_least_rights(&self) -> Result<()> {
        for (verb, group, resource, namespace) in [
            ("list", "", "secrets", Some(HOME)),
            ("delete", "", "secrets", Some(HOME)),
            ("get", "", "namespaces", Some("default")),
            ("update", "xsld.ibm.com", "xsldcaches", Some(HOME)),
            ("create", "", "pods", Some(HOME)),
            ("create", "", "persistentvolumeclaims", Some(HOME)),
            ("delete", "coordination.k8s.io", "leases", Some(HOME)),
            ("list", "", "nodes", None),
        ] {
            let may = self.may(verb, group, resource, namespace).await?;
            ensure!(!may, "the operator may {verb} {resource} in {namespace:?}");
        }
        ensure!(self.may("get", "", "namespaces", Some(HOME)).await?, "it cannot read its own UID");
        self.serves_its_journal().await
    }

    /// Under its own account the operator asks who calls, and serves them.
    async fn serves_its_journal(&self) -> Result<()> {
        let anchors: Api<ConfigMap> = Api::namespaced(self.client.clone(), HOME);
        let anchor = anchors.get("xsld-operator-journal").await?;
        let annotations = anchor.metadata.annotations.unwrap_or_default();
        let told = |name: &str| annotations.get(name).map(String::as_str);
        ensure!(told("xsld.ibm.com/operator-pod") == Some("xsld-operator-0"), "{annotations:?}");
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

    async fn may(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<bool> {
        let name = if resource == "namespaces" { namespace } else { None };
        let attributes = json!({"verb": verb, "group": group, "resource": resource,
            "namespace": namespace, "name": name});
        let review = json!({"spec": {"user": ACCOUNT, "resourceAttributes": attributes}});
        let review: SubjectAccessReview = serde_json::from_value(review)?;
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The operator's log tells of no request that the API server refused.
    fn nothing_was_forbidden(&self) -> Result<()> {
        let path = self.world.dir().join("logs/xsld-operator/xsld-operator-0/operator.log");
        let log = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(log.contains("a term of leadership has begun"), "this is not the log:\n{log}");
        let refused: Vec<&str> =
            log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
        ensure!(refused.is_empty(), "{}", refused.join("\n"));
        Ok(())
    }

    async fn namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    async fn apply(&self, object: &Value, namespace: Option<&str>) -> Result<()> {
        let name = object["metadata"]["name"].as_str().context("an object without a name")?;
        let params = PatchParams::apply("test").force();
        let applied = self.api(object, namespace).patch(name, &params, &Patch::Apply(object)).await;
        applied.with_context(|| format!("{} {name}", object["kind"]))?;
        Ok(())
    }

    async fn status(&self, object: &Value, namespace: &str) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let found = self.api(object, Some(namespace)).get(name).await?;
        Ok(found.data["status"].clone())
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

    fn api(&self, object: &Value, namespace: Option<&str>) -> Api<DynamicObject> {
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
    async fn until(&self, what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !holds().await? {
            if begun.elapsed() > PATIENCE {
                let log = self.world.dir().join("logs/xsld-operator/xsld-operator-0/operator.log");
                let log = std::fs::read_to_string(log).unwrap_or_default();
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
}

fn ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|found| found["type"] == "Ready" && found["status"] == "True")
}
