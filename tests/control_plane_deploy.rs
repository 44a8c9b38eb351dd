//! The manifests of `deploy/` on a real API server: the operator runs as a pod under its own
//! service account, and the rights in there are enough for the life of a cache, and no more.
//! Needs Go once, to build the control plane.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

#[path = "deployed/manifests.rs"]
mod manifests;
#[path = "deployed/operated.rs"]
mod operated;

use anyhow::{Result, ensure};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use manifests::{documents, kustomization, root};
use operated::{HOME, Operated};

/// Names of the rights over caches and over nodes, and of their bindings.
const CACHES: &str = "xsld-operator-caches";
const NODES: &str = "xsld-operator-nodes";
const ACCOUNT: &str = "system:serviceaccount:xsld-operator:xsld-operator";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_manifests_carry_a_cache_through_its_life() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let test = Operated::start(dir.path()).await?;
    let root = root();
    test.world.apply_crds(&root.join("crds")).await?;

    let namespaced = kustomization(&root.join("deploy/manifests"))?;
    test.install(&namespaced).await?;
    test.life_of_a_cache(HOME, true).await?;
    ensure!(!test.may("list", "", "pods", Some("default")).await?, "it reaches other namespaces");
    test.has_least_rights().await?;

    test.uninstall(&namespaced).await?;
    // Without the right over nodes all else works.
    let mut everywhere = kustomization(&root.join("deploy/manifests/cluster-wide"))?;
    everywhere.retain(|object| object["metadata"]["name"] != NODES);
    test.install(&everywhere).await?;
    test.namespace("team").await?;
    test.life_of_a_cache("team", false).await?;
    test.has_least_rights().await?;
    test.world.stop().await?;
    Ok(())
}

impl Operated {
    /// Takes away the operator and its rights over caches and nodes; the journal stays.
    async fn uninstall(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if object["kind"] == "StatefulSet" || [CACHES, NODES].contains(&name) {
                let namespace = object["metadata"]["namespace"].as_str();
                self.api(object, namespace).delete(name, &DeleteParams::default()).await?;
            }
        }
        self.operator_is_gone().await
    }

    /// A cache and a grid come up, the cache grows and shrinks, and both go. An operator that may look
    /// at nodes keeps the primary from being evicted as long as another member could take its role.
    async fn life_of_a_cache(&self, namespace: &str, sees_nodes: bool) -> Result<()> {
        let samples = root().join("crds/samples");
        let file = |name: &str| Ok::<_, anyhow::Error>(documents(&samples.join(name))?.remove(0));
        let (mut cache, grid) = (file("xsldcache.yaml")?, file("datagrid.yaml")?);
        self.apply(&file("ip-update-entrypoint.yaml")?, Some(namespace)).await?;
        self.apply(&grid, Some(namespace)).await?;
        for size in [1, 2, 1] {
            cache["spec"]["size"] = size.into();
            self.apply(&cache, Some(namespace)).await?;
            self.has_members(&cache, namespace, size).await?;
            if size == 2 {
                let replicating = async || {
                    let status = self.status(&cache, namespace).await?;
                    let conditions = status["conditions"].as_array().into_iter().flatten();
                    let mut told = conditions.filter(|it| it["type"] == "ReplicationReady");
                    Ok(told.any(|it| it["status"] == "True"))
                };
                self.until("the configuration has its replica", replicating).await?;
                self.holds_the_primary(namespace, sees_nodes).await?;
            }
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let gone = async || Ok(claims.get_opt("vol-example-xsldcache-1").await?.is_none());
        self.until("the removed member's volume is gone", gone).await?;
        let online = async || Ok(self.status(&grid, namespace).await?["status"] == "Online");
        self.until("the grid is online", online).await?;
        for object in [&grid, &cache] {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            self.api(object, Some(namespace)).delete(name, &DeleteParams::default()).await?;
            self.is_gone(object, Some(namespace)).await?;
        }
        self.nothing_was_forbidden()
    }

    /// Whether the primary has a budget of its own.
    async fn holds_the_primary(&self, namespace: &str, holds: bool) -> Result<()> {
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), namespace);
        let name = "example-xsldcache.primary";
        if holds {
            let made = async || Ok(budgets.get_opt(name).await?.is_some());
            return self.until("the primary has a budget of its own", made).await;
        }
        let common = budgets.get("example-xsldcache").await?.spec.unwrap_or_default();
        ensure!(common.selector.is_some_and(|pods| pods.match_expressions.is_none()));
        ensure!(budgets.get_opt(name).await?.is_none(), "it cannot know the primary's node");
        Ok(())
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
            ("get", "", "nodes", None),
            ("patch", "", "nodes", None),
        ] {
            let may = self.may(verb, group, resource, namespace).await?;
            ensure!(!may, "the operator may {verb} {resource} in {namespace:?}");
        }
        ensure!(self.may("get", "", "namespaces", Some(HOME)).await?, "it cannot read its own UID");
        self.serves_its_journal().await
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
}
