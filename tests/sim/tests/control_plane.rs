//! The control-plane world, end to end: a real API server and controllers, the
//! kubelet stand-in and simulated members. Needs Go once, to build the programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, ContainerStatus, Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use xsld_sim::world::{World, WorldOptions};

const IMAGE: &str = "ibmcom/xsld:8613";
/// Generous: the machine may be building something else.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statefulset_of_members_lives_as_on_a_real_cluster() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut options = WorldOptions::new(dir.path().join("world"));
    options.time_scale = 400.0;
    let world = World::start(options).await?;
    let test = Test::new(&world, "cache-test").await?;
    pods_become_ready_at_their_own_addresses(&test).await?;
    a_crashed_container_is_restarted_in_place(&test, &world).await?;
    a_deleted_pod_comes_back_at_a_new_address_with_its_volume(&test).await?;
    a_missing_image_waits_in_back_off(&test).await?;
    scaling_down_keeps_the_claim_and_deleting_it_sets_the_directory_aside(&test).await?;
    a_missing_secret_holds_the_container_and_is_picked_up(&test).await?;
    a_stopped_node_loses_its_pods_and_comes_back(&test, &world).await?;
    let kubeconfig = world.kubeconfig_for("cache-test", "default").await?;
    ensure!(kubeconfig.contains("token"), "no token in the service account's kubeconfig");
    world.stop().await?;
    Ok(())
}

struct Test {
    client: Client,
    namespace: &'static str,
    dir: PathBuf,
}

impl Test {
    async fn new(world: &World, namespace: &'static str) -> Result<Self> {
        let client = world.client();
        let test = Self { client, namespace, dir: world.dir().to_owned() };
        test.create::<Namespace>(
            Api::all(test.client.clone()),
            json!({"metadata": {"name": namespace}}),
        )
        .await?;
        let service = json!({"metadata": {"name": "cache"}, "spec": {
            "clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": "cache"},
            "ports": [{"name": "admin", "port": 9445}],
        }});
        test.create::<Service>(test.api(), service).await?;
        test.create_secret("credentials").await?;
        let data = json!({"entrypoint.sh": "exec /entrypoint.sh"});
        let script = json!({"metadata": {"name": "entry"}, "data": data});
        test.create::<ConfigMap>(test.api(), script).await?;
        test.create::<StatefulSet>(test.api(), stateful_set("cache", 3, IMAGE, "credentials"))
            .await?;
        Ok(test)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn create<K>(&self, api: Api<K>, object: Value) -> Result<K>
    where
        K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        let object = serde_json::from_value(object)?;
        Ok(api.create(&PostParams::default(), &object).await?)
    }

    async fn create_secret(&self, name: &str) -> Result<()> {
        let data = json!({"password": "Password123!", "secretKey": "Password123!"});
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        self.create::<Secret>(self.api(), secret).await.map(drop)
    }

    async fn scale(&self, name: &str, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api::<StatefulSet>().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn pod(&self, name: &str) -> Result<Option<Pod>> {
        Ok(self.api::<Pod>().get_opt(name).await?)
    }

    /// Waits until `wanted` holds for the pod, and returns the pod.
    async fn pod_when(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Result<Pod> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pod = self.pod(name).await?;
            if let Some(pod) = pod.as_ref().filter(|pod| wanted(pod)) {
                return Ok(pod.clone());
            }
            let status = pod.map(|pod| serde_json::to_string(&pod.status)).transpose()?;
            ensure!(Instant::now() < deadline, "{name} is not {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_gone(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.pod(name).await?.is_some() {
            ensure!(Instant::now() < deadline, "{name} is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn volume(&self, pod: &str) -> PathBuf {
        self.dir.join("members").join(self.namespace).join(pod)
    }
}

fn stateful_set(name: &str, replicas: i32, image: &str, secret: &str) -> Value {
    let from_secret = |key: &str| json!({"secretKeyRef": {"name": secret, "key": key}});
    let probe = json!({"tcpSocket": {"port": "admin"}, "periodSeconds": 10});
    let mut startup = probe.clone();
    startup["failureThreshold"] = json!(90);
    let env = json!([
        {"name": "LICENSE", "value": "accept"},
        {"name": "SECRET_KEY", "valueFrom": from_secret("secretKey")},
        {"name": "XSADMIN_PWD", "valueFrom": from_secret("password")},
        {"name": "CACHE_GROUP", "value": "cg1"},
        {"name": "MEMBER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MEMBER_CAP", "value": "1"},
    ]);
    let container = json!({
        "name": "xsld", "image": image, "env": env,
        "command": ["/opt/xsld-operator/entrypoint.sh"],
        "ports": [{"name": "admin", "containerPort": 9445}],
        "startupProbe": startup, "readinessProbe": probe, "livenessProbe": probe,
        "volumeMounts": [{"name": "vol", "mountPath": "/vol"},
                         {"name": "entry", "mountPath": "/opt/xsld-operator"}],
    });
    let term = json!({"topologyKey": "kubernetes.io/hostname",
                      "labelSelector": {"matchLabels": {"app": name}}});
    let anti = json!({"preferredDuringSchedulingIgnoredDuringExecution":
                      [{"weight": 100, "podAffinityTerm": term}]});
    json!({"metadata": {"name": name}, "spec": {
        "replicas": replicas, "serviceName": "cache", "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "terminationGracePeriodSeconds": 30, "affinity": {"podAntiAffinity": anti},
            "containers": [container],
            "volumes": [{"name": "entry", "configMap": {"name": "entry", "defaultMode": 0o744}}],
        }},
        "volumeClaimTemplates": [{"metadata": {"name": "vol"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }}],
    }})
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn waits_as(pod: &Pod, reason: &str) -> bool {
    let state = container(pod).and_then(|container| container.state.as_ref()?.waiting.as_ref());
    state.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
}

fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone()
}

fn node(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

async fn pods_become_ready_at_their_own_addresses(test: &Test) -> Result<()> {
    let (mut addresses, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for ordinal in 0..3 {
        let pod = test.pod_when(&format!("cache-{ordinal}"), "ready", is_ready).await?;
        addresses.extend(address(&pod));
        nodes.extend(node(&pod));
        ensure!(test.volume(&pod.name_any()).is_dir(), "{} has no volume", pod.name_any());
        let claim: PersistentVolumeClaim = test.api().get(&format!("vol-cache-{ordinal}")).await?;
        let phase = claim.status.and_then(|status| status.phase);
        ensure!(phase.as_deref() == Some("Bound"), "claim {ordinal} is {phase:?}");
    }
    ensure!(addresses.len() == 3, "addresses are shared: {addresses:?}");
    ensure!(nodes.len() == 3, "the pods are not spread: {nodes:?}");
    Ok(())
}

async fn a_crashed_container_is_restarted_in_place(test: &Test, world: &World) -> Result<()> {
    let before = test.pod_when("cache-1", "ready", is_ready).await?;
    world.faults().set(test.namespace, "cache-1", json!({"fault": "crash", "count": 1}))?;
    let restarted = |pod: &Pod| {
        is_ready(pod) && container(pod).is_some_and(|container| container.restart_count == 1)
    };
    let after = test.pod_when("cache-1", "restarted", restarted).await?;
    ensure!(after.uid() == before.uid() && address(&after) == address(&before), "not in place");
    let (old, new) = (container(&before), container(&after).context("no container")?);
    ensure!(old.and_then(|old| old.container_id.clone()) != new.container_id, "same container id");
    let last = new.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    ensure!(last.map(|last| last.exit_code) == Some(137), "last state {last:?}");
    Ok(())
}

async fn a_deleted_pod_comes_back_at_a_new_address_with_its_volume(test: &Test) -> Result<()> {
    let before = test.pod_when("cache-2", "ready", is_ready).await?;
    let mark = test.volume("cache-2").join("mark");
    std::fs::write(&mark, "kept")?;
    test.api::<Pod>().delete("cache-2", &DeleteParams::default()).await?;
    let replaced = |pod: &Pod| is_ready(pod) && pod.uid() != before.uid();
    let after = test.pod_when("cache-2", "made anew", replaced).await?;
    ensure!(address(&after) != address(&before), "the address was used again");
    ensure!(mark.exists(), "the volume was lost");
    Ok(())
}

async fn a_missing_image_waits_in_back_off(test: &Test) -> Result<()> {
    let mut set = stateful_set("broken", 1, "ibmcom/xsld:missing", "credentials");
    set["spec"]["serviceName"] = json!("cache");
    test.create::<StatefulSet>(test.api(), set).await?;
    let backs_off = |pod: &Pod| waits_as(pod, "ImagePullBackOff");
    let pod = test.pod_when("broken-0", "backing off", backs_off).await?;
    let phase = pod.status.and_then(|status| status.phase);
    ensure!(phase.as_deref() == Some("Pending"), "phase {phase:?}");
    test.api::<StatefulSet>().delete("broken", &DeleteParams::default()).await?;
    test.until_gone("broken-0").await
}

async fn scaling_down_keeps_the_claim_and_deleting_it_sets_the_directory_aside(
    test: &Test,
) -> Result<()> {
    test.scale("cache", 2).await?;
    test.until_gone("cache-2").await?;
    let claims: Api<PersistentVolumeClaim> = test.api();
    let claim = claims.get("vol-cache-2").await.context("the claim went with its pod")?;
    claims.delete("vol-cache-2", &DeleteParams::default()).await?;
    let aside = test.dir.join("reclaimed").join(claim.uid().unwrap_or_default());
    until(&aside.join("mark"), "set aside").await?;
    ensure!(!test.volume("cache-2").exists(), "the directory is still in place");
    test.scale("cache", 3).await?;
    test.pod_when("cache-2", "ready", is_ready).await?;
    ensure!(!test.volume("cache-2").join("mark").exists(), "a new claim has an old volume");
    Ok(())
}

async fn a_missing_secret_holds_the_container_and_is_picked_up(test: &Test) -> Result<()> {
    let mut set = stateful_set("late", 1, IMAGE, "late-credentials");
    // Its members resolve their own names, so its Service must select them.
    set["spec"]["serviceName"] = json!("late");
    test.create::<StatefulSet>(test.api(), set).await?;
    let service = json!({"metadata": {"name": "late"}, "spec": {
        "clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": "late"},
        "ports": [{"port": 9445}],
    }});
    test.create::<Service>(test.api(), service).await?;
    let held = |pod: &Pod| waits_as(pod, "CreateContainerConfigError");
    test.pod_when("late-0", "held back", held).await?;
    test.create_secret("late-credentials").await?;
    test.pod_when("late-0", "ready", is_ready).await?;
    test.api::<StatefulSet>().delete("late", &DeleteParams::default()).await?;
    test.until_gone("late-0").await
}

async fn a_stopped_node_loses_its_pods_and_comes_back(test: &Test, world: &World) -> Result<()> {
    let before = test.pod_when("cache-1", "ready", is_ready).await?;
    let on = node(&before).context("cache-1 has no Node")?;
    ensure!(world.nodes().stop(&on), "there is no Node {on}");
    test.pod_when("cache-1", "not ready", |pod| !is_ready(pod)).await?;
    let evicted = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let stuck = test.pod_when("cache-1", "evicted", evicted).await?;
    ensure!(stuck.uid() == before.uid(), "a pod of a lost Node was replaced without a decision");
    // The claim's volume is free: a decision to delete by force moves the pod to another Node.
    test.api::<Pod>().delete("cache-1", &DeleteParams::default().grace_period(0)).await?;
    let elsewhere = |pod: &Pod| is_ready(pod) && node(pod).as_ref() != Some(&on);
    test.pod_when("cache-1", "ready elsewhere", elsewhere).await?;
    ensure!(world.nodes().start(&on), "there is no Node {on}");
    let deadline = Instant::now() + PATIENCE;
    let nodes: Api<Node> = Api::all(test.client.clone());
    loop {
        let live = nodes.get(&on).await?;
        let tainted = live.spec.and_then(|spec| spec.taints).is_some_and(|all| !all.is_empty());
        if !tainted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{on} does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until(path: &Path, what: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !path.exists() {
        ensure!(Instant::now() < deadline, "{} is not {what}", path.display());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
