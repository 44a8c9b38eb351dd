//! A pod is not there or does not start: why is told, in the words of who knows it, until it is put
//! right.

use anyhow::ensure;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use crate::context::{Context, IMAGE, Kind, condition};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("hindered::a_quota_is_told_until_it_allows_the_pod", |c| Box::pin(quota(c))),
        Scenario::new("hindered::a_missing_priority_class_is_told_until_it_is_there", |c| {
            Box::pin(priority(c))
        }),
        Scenario::new("hindered::a_wrong_storage_class_is_told_until_it_is_there", |c| {
            Box::pin(class(c))
        }),
        Scenario::new("hindered::a_weak_password_in_a_secret_makes_no_pod", |c| Box::pin(weak(c))),
        Scenario::new("hindered::an_image_and_a_container_that_ends_are_told", |c| {
            Box::pin(container(c))
        }),
    ]
}

/// Waits until Ready is False for this reason, with these words.
async fn told(c: &Context, kind: &str, reason: &str, words: &[&str]) -> Result<Value> {
    let what = format!("{kind} to tell {reason} with {words:?}");
    c.wait_for(Kind::Cache, "c", &what, MINUTE, |cache| {
        let Some(found) = condition(cache, kind) else { return false };
        let message = found["message"].as_str().unwrap_or_default();
        found["reason"] == reason && words.iter().all(|word| message.contains(word))
    })
    .await
}

async fn quota(c: &Context) -> Result {
    let quotas: Api<ResourceQuota> = Api::namespaced(c.client(), &c.namespace);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "1"}}});
    let params = PatchParams::apply("scenario").force();
    quotas.patch("few", &params, &Patch::Apply(quota)).await?;
    c.create("c", 2).await?;
    let cache = told(c, "Ready", "PodRefused", &["c-1", "exceeded quota: few"]).await?;
    ensure!(cache["status"]["members"].as_u64() <= Some(1), "{cache}");
    quotas.delete("few", &DeleteParams::default()).await?;
    c.ready("c", 2, 3 * MINUTE).await
}

async fn priority(c: &Context) -> Result {
    // Cluster-wide: no other scenario's name.
    let name = c.namespace.as_str();
    c.create_with("c", 1, json!({"pod": {"priorityClassName": name}})).await?;
    told(c, "Ready", "PodRefused", &["no PriorityClass with name", name]).await?;
    let classes: Api<PriorityClass> = Api::all(c.client());
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": 7});
    classes.patch(name, &PatchParams::apply("scenario"), &Patch::Apply(class)).await?;
    let ready = c.ready("c", 1, 3 * MINUTE).await;
    classes.delete(name, &DeleteParams::default()).await?;
    ready
}

async fn class(c: &Context) -> Result {
    let name = c.namespace.as_str();
    c.create_with("c", 1, json!({"storage": {"storageClassName": name}})).await?;
    let words = ["claim vol-c-0 of the storage class", name, "has no volume", "not found"];
    told(c, "Ready", "ClaimUnbound", &words).await?;
    let classes: Api<StorageClass> = Api::all(c.client());
    let listed = classes.list(&Default::default()).await?;
    let Some(model) = listed.items.first() else { anyhow::bail!("the world has no class") };
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name}, "provisioner": model.provisioner,
        "volumeBindingMode": "Immediate"});
    classes.patch(name, &PatchParams::apply("scenario"), &Patch::Apply(class)).await?;
    let ready = c.ready("c", 1, 2 * MINUTE).await;
    classes.delete(name, &DeleteParams::default()).await?;
    ready
}

async fn weak(c: &Context) -> Result {
    let right = c.credentials();
    c.use_credentials("canary-weak", &right.secret_key);
    c.create("c", 1).await?;
    let cache = told(c, "Ready", "SecretInvalid", &["credentials", "adminPassword"]).await?;
    ensure!(!cache.to_string().contains("canary-weak"), "the password is told: {cache}");
    told(c, "Progressing", "SecretInvalid", &[]).await?;
    ensure!(c.get(Kind::StatefulSet, "c").await?.is_null(), "a pod was to be made of it");
    c.use_credentials(&right.password, &right.secret_key);
    c.make_credentials().await?;
    c.ready("c", 1, 2 * MINUTE).await
}

async fn container(c: &Context) -> Result {
    c.entries_are_lost("its only member ends");
    let missing = "ibmcom/xsld:missing-9";
    c.create_with("c", 1, json!({"image": missing})).await?;
    told(c, "Ready", "ImageUnavailable", &["c-0", missing]).await?;
    c.patch(Kind::Cache, "c", json!({"spec": {"image": IMAGE}})).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    c.fault("c-0", json!({"fault": "crash"})).await?;
    told(c, "Degraded", "ContainerFails", &["c-0", "ended with exit code 137"]).await?;
    c.clear_faults("c-0").await?;
    c.ready("c", 1, 2 * MINUTE).await
}
