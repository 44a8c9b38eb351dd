//! The charts of `deploy/helm` on a real API server: Helm installs the operator and a cache, and what
//! it upgrades, rolls back and uninstalls is what a user expects, with nothing lost.
//! Needs Go once, to build the control plane and Helm.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

#[path = "deployed/helm.rs"]
mod helm;
#[path = "deployed/manifests.rs"]
mod manifests;
#[path = "deployed/operated.rs"]
mod operated;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use xsld_sim::authority::{self, Authority};

use helm::Helm;
use manifests::{kustomization, root};
use operated::{HOME, Operated, POD, ready};

const PASSWORD: &str = "Password123!";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_charts_live_from_installation_to_removal_and_the_journal_stays() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let test = Operated::start(dir.path()).await?;
    let helm = Helm::new(Some(test.world.kubeconfig())).await?;

    let operator = helm::path("xsld-operator");
    let times = test.times_as_values()?;
    let chart = [HOME, &operator, "--namespace", HOME, "--create-namespace", "--set", &times];
    let more = "--set=journalEndpoint.roles=true,dashboard.install=true";
    helm.run(&[&["install", "--wait", "--timeout=3m", more], &chart[..]].concat()).await?;
    ensure!(test.operators_pod_is_ready().await?, "helm did not wait for the operator");

    test.a_second_release_needs_a_namespace_of_its_own(&helm).await?;
    let larger =
        ["upgrade", HOME, &operator, "-n", HOME, "--reuse-values", "--set=journal.size=9Gi"];
    let refused = helm.refused(&larger).await?;
    ensure!(refused.contains("updates to statefulset spec"), "{refused}");

    test.a_cache_is_scaled_and_rolled_back(&helm).await?;
    let before = test.pod().await?;
    helm.run(&["upgrade", HOME, &operator, "-n", HOME, "--reuse-values", "--set=log.levels=debug"])
        .await?;
    test.until("the operator's pod is another", async || Ok(test.pod().await? != before)).await?;
    test.operator_is_ready().await?;
    let told = async || Ok(test.metrics().await?.contains("\nxsld_operator_caches 1\n"));
    test.until("the metrics tell of the cache at rest", told).await?;
    test.serves_its_journal().await?;
    test.a_cache_goes_and_its_volumes_follow_the_retention(&helm).await?;

    helm.run(&["uninstall", HOME, "-n", HOME]).await?;
    test.operator_is_gone().await?;
    ensure!(test.claim(HOME, "journal-xsld-operator-0").await?, "the journal's claim is gone");
    ensure!(test.definitions().await? == 3, "the definitions went with the operator");
    test.world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_manifests_are_taken_over_by_the_chart_for_all_namespaces() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let test = Operated::start(dir.path()).await?;
    let helm = Helm::new(Some(test.world.kubeconfig())).await?;
    test.world.apply_crds(&root().join("crds")).await?;
    test.install(&kustomization(&root().join("deploy/manifests/cluster-wide"))?).await?;
    let before = test.pod().await?;

    let operator = helm::path("xsld-operator");
    let times = test.times_as_values()?;
    let install = ["install", HOME, &operator, "-n", HOME, "--set=watchAllNamespaces=true"];
    let refused = helm.refused(&install).await?;
    ensure!(refused.contains("invalid ownership metadata"), "{refused}");
    let fingerprint = test.certificate("journal-tls").await?;
    let tls = "--set=journalEndpoint.tlsSecretName=journal-tls";
    let take = ["--set", &times, tls, "--take-ownership", "--force-conflicts"];
    helm.run(&[&install[..], &take].concat()).await?;
    test.until("the operator's pod is another", async || Ok(test.pod().await? != before)).await?;
    test.operator_is_ready().await?;
    test.until("the endpoint has the certificate of the Secret", async || {
        let annotations = test.annotations_of_the_anchor().await?;
        Ok(annotations.get("xsld.ibm.com/journal-fingerprint") == Some(&fingerprint))
    })
    .await?;
    test.serves_its_journal().await?;

    test.namespace("team").await?;
    let password = format!("--set=adminPwd={PASSWORD},secretKey={PASSWORD}");
    let words = [&password, "--set=storage.retention.whenDeleted=Delete"];
    test.install_cache(&helm, "team", &words).await?;
    test.has_members(&cache(), "team", 1).await?;
    test.a_size_that_is_somebody_elses_stays(&helm, "team").await?;
    helm.run(&["uninstall", "sessions", "-n", "team"]).await?;
    test.is_gone(&cache(), Some("team")).await?;
    test.nothing_was_forbidden()?;
    test.world.stop().await?;
    Ok(())
}

fn cache() -> Value {
    json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache",
        "metadata": {"name": "sessions"}})
}

fn grid() -> Value {
    json!({"apiVersion": "xsld.ibm.com/v1alpha1", "kind": "DataGrid",
        "metadata": {"name": "carts"}})
}

impl Operated {
    /// One operator a namespace, and one release with the definitions.
    async fn a_second_release_needs_a_namespace_of_its_own(&self, helm: &Helm) -> Result<()> {
        let chart = helm::path("xsld-operator");
        let times = self.times_as_values()?;
        let install = ["install", "second", &chart, "--set", &times];
        let without = "--set=crds.install=false";
        let refused = helm.refused(&[&install[..], &["-n", HOME, without]].concat()).await?;
        ensure!(refused.contains("invalid ownership metadata"), "{refused}");
        let other = ["-n", "other", "--create-namespace"];
        let refused = helm.refused(&[&install[..], &other].concat()).await?;
        ensure!(refused.contains("invalid ownership metadata"), "{refused}");
        let waits = [without, "--wait", "--timeout=3m"];
        helm.run(&[&install[..], &other, &waits].concat()).await?;
        helm.run(&["uninstall", "second", "-n", "other", "--wait", "--timeout=3m"]).await?;
        ensure!(self.claim("other", "journal-xsld-operator-0").await?, "its journal is gone");
        Ok(())
    }

    /// A cache of one with a grid grows by an upgrade and shrinks by a rollback.
    async fn a_cache_is_scaled_and_rolled_back(&self, helm: &Helm) -> Result<()> {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sessions"},
            "stringData": {"adminPassword": PASSWORD, "secretKey": PASSWORD}});
        self.apply(&secret, Some(HOME)).await?;
        self.install_cache(helm, HOME, &REFERENCES).await?;
        self.has_members(&cache(), HOME, 1).await?;
        let online = async || Ok(self.status(&grid(), HOME).await?["status"] == "Online");
        self.until("the grid is online", online).await?;

        let chart = helm::path("xsld-cache");
        let larger = ["--reuse-values", "--set=size=2", "--wait", "--timeout=3m"];
        helm.run(&[&["upgrade", "sessions", &chart, "-n", HOME], &larger[..]].concat()).await?;
        let status = self.status(&cache(), HOME).await?;
        ensure!(status["members"] == 2 && ready(&status), "helm did not wait: {status}");
        ensure!(self.claim(HOME, "vol-sessions-1").await?, "the second member has no volume");
        helm.run(&["rollback", "sessions", "1", "-n", HOME]).await?;
        self.has_members(&cache(), HOME, 1).await?;
        self.claim_goes(HOME, "vol-sessions-1").await
    }

    /// By default volumes are kept, and a new release adopts them; then one that deletes them.
    async fn a_cache_goes_and_its_volumes_follow_the_retention(&self, helm: &Helm) -> Result<()> {
        self.uninstall_cache(helm).await?;
        ensure!(self.claim(HOME, "vol-sessions-0").await?, "the volume was not kept");
        let deletes = ["--set=storage.retention.whenDeleted=Delete"];
        self.install_cache(helm, HOME, &[&REFERENCES[..], &deletes].concat()).await?;
        self.has_members(&cache(), HOME, 1).await?;
        self.uninstall_cache(helm).await?;
        self.claim_goes(HOME, "vol-sessions-0").await?;
        self.nothing_was_forbidden()
    }

    /// Whoever scales the cache has its size, until the values give it up.
    async fn a_size_that_is_somebody_elses_stays(
        &self,
        helm: &Helm,
        namespace: &str,
    ) -> Result<()> {
        let scale = Patch::Merge(json!({"spec": {"replicas": 2}}));
        let params = PatchParams { field_manager: Some("scaler".to_owned()), ..Default::default() };
        self.api(&cache(), Some(namespace)).patch_scale("sessions", &params, &scale).await?;
        let chart = helm::path("xsld-cache");
        let upgrade = ["upgrade", "sessions", &chart, "-n", namespace, "--reuse-values"];
        let refused = helm.refused(&upgrade).await?;
        ensure!(refused.contains("conflict") && refused.contains(".spec.size"), "{refused}");
        helm.run(&[&upgrade[..], &["--set=size=null"]].concat()).await?;
        self.has_members(&cache(), namespace, 2).await
    }

    async fn install_cache(&self, helm: &Helm, namespace: &str, words: &[&str]) -> Result<()> {
        let chart = helm::path("xsld-cache");
        let install = ["install", "sessions", &chart, "-n", namespace, "--set=license=accept"];
        let spec = ["--set=image=ibmcom/xsld:8613", "--set=dataGrids[0].name=carts"];
        helm.run(&[&install[..], &spec, words].concat()).await?;
        Ok(())
    }

    async fn uninstall_cache(&self, helm: &Helm) -> Result<()> {
        helm.run(&["uninstall", "sessions", "-n", HOME, "--wait", "--timeout=3m"]).await?;
        for (object, name) in [(cache(), "sessions"), (grid(), "carts")] {
            let left = self.api(&object, Some(HOME)).get_opt(name).await?;
            ensure!(left.is_none(), "helm did not wait until {name} was gone");
        }
        Ok(())
    }

    /// Puts a certificate and its key into a Secret, and tells its fingerprint.
    async fn certificate(&self, name: &str) -> Result<String> {
        let pem = Authority::new("a test")?.sign(&["xsld-operator.xsld-operator.svc"])?;
        let key = pem.find("-----BEGIN PRIVATE KEY").context("no key was made")?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": &pem[..key], "tls.key": &pem[key..]}});
        self.apply(&secret, Some(HOME)).await?;
        authority::fingerprint(&pem).context("no certificate was made")
    }

    /// The time constants of this world, by the names that they have as values.
    fn times_as_values(&self) -> Result<String> {
        let value = |(name, value): (String, String)| {
            let words = name.trim_start_matches("XSLD_OPERATOR_").split('_');
            let camel = words.enumerate().map(|(at, word)| {
                let word = word.to_lowercase();
                let first = word.get(..1).unwrap_or_default().to_uppercase();
                if at == 0 { word } else { format!("{first}{}", word.get(1..).unwrap_or_default()) }
            });
            format!("times.{}={value}", camel.collect::<String>())
        };
        Ok(self.times()?.into_iter().map(value).collect::<Vec<_>>().join(","))
    }

    /// The UID of the operator's pod.
    async fn pod(&self) -> Result<Option<String>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), HOME);
        Ok(pods.get_opt(POD).await?.and_then(|pod| pod.uid()))
    }

    /// What the operator tells a Prometheus.
    async fn metrics(&self) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), HOME);
        let address = pods.get(POD).await?.status.and_then(|status| status.pod_ip);
        let address = address.context("the operator's pod has no address")?;
        let mut stream = TcpStream::connect((address, 8080)).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<bool> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let found = claims.get_opt(name).await?;
        Ok(found.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none()))
    }

    async fn claim_goes(&self, namespace: &str, name: &str) -> Result<()> {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name}});
        self.is_gone(&claim, Some(namespace)).await
    }

    /// How many of the operator's definitions there are.
    async fn definitions(&self) -> Result<usize> {
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition"});
        let all = self.api(&definition, None).list(&Default::default()).await?;
        Ok(all.iter().filter(|found| found.name_any().ends_with(".xsld.ibm.com")).count())
    }
}

const REFERENCES: [&str; 2] =
    ["--set=adminPasswordSecretRef.name=sessions", "--set=secretKeySecretRef.name=sessions"];
