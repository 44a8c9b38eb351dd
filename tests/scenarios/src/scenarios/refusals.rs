//! The API server refuses something: it is told, and the rest goes on.

use anyhow::ensure;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind, Seen, condition, is_true};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("refusals::a_refused_object_hides_nothing_else", |c| {
            Box::pin(hides_nothing(c))
        }),
        Scenario::new("refusals::a_new_cache_tells_what_is_refused", |c| Box::pin(new_cache(c))),
    ]
}

const WORDS: &str = "made by the platform team only";

/// Refuses all writes of these kinds in the scenario's namespace.
async fn refuse(c: &Context, groups: &[&str], resources: &[&str]) -> Result {
    let name = c.namespace.clone();
    let only_here = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"namespaceSelector": only_here, "resourceRules": [{
                "apiGroups": groups, "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": resources,
            }]},
            "validations": [{"expression": "false", "message": WORDS}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let params = PatchParams::apply("scenario").force();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(c.client());
    policies.patch(&name, &params, &Patch::Apply(&policy)).await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(c.client());
    bindings.patch(&name, &params, &Patch::Apply(&binding)).await?;
    Ok(())
}

/// A policy takes effect a moment after it is made.
async fn refuses(c: &Context, kind: Kind, object: Value) -> Result {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let object: kube::api::DynamicObject = serde_json::from_value(object)?;
    c.wait("the policy to take effect", MINUTE, async || {
        let refused = c.api(kind).create(&params, &object).await.is_err();
        Ok(Seen::when(refused, || "it was taken".to_owned()))
    })
    .await
}

async fn allow(c: &Context) -> Result {
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(c.client());
    bindings.delete(&c.namespace, &DeleteParams::default()).await?;
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(c.client());
    policies.delete(&c.namespace, &DeleteParams::default()).await?;
    Ok(())
}

fn says(object: &Value, kind: &str, words: &str) -> bool {
    condition(object, kind)
        .and_then(|condition| condition["message"].as_str())
        .is_some_and(|message| message.contains(words))
}

async fn hides_nothing(c: &Context) -> Result {
    c.entries_are_lost("both members stop");
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    refuse(c, &["networking.k8s.io"], &["networkpolicies"]).await?;
    let probe = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "probe"}, "spec": {"podSelector": {}}});
    refuses(c, Kind::Policy, probe).await?;
    c.delete(Kind::Policy, "c").await?;
    let refused = ("Ready", "False", "WriteRefused");
    let cache = c.wait_condition(Kind::Cache, "c", refused, MINUTE).await?;
    ensure!(says(&cache, "Ready", WORDS), "{cache}");
    ensure!(says(&cache, "Ready", "NetworkPolicy c"), "{cache}");
    ensure!(is_true(&cache, "NeedsAttention", Some("WriteRefused")), "{cache}");
    ensure!(is_true(&cache, "GroupReachable", None), "the group is still looked at: {cache}");
    // The group goes on being observed, and a new wish is carried out.
    c.resize("c", 3).await?;
    c.wait_for(Kind::Cache, "c", "three members", 2 * MINUTE, |cache| {
        cache["status"]["online"] == 3 && cache["status"]["observedGeneration"] == 2
    })
    .await?;
    for pod in ["c-0", "c-1", "c-2"] {
        c.fault(pod, json!({"fault": "refuse"})).await?;
    }
    c.wait_for(Kind::Cache, "c", "not healthy", MINUTE, |cache| {
        !is_true(cache, "GroupReachable", None) && is_true(cache, "Degraded", None)
    })
    .await?;
    for pod in ["c-0", "c-1", "c-2"] {
        c.clear_faults(pod).await?;
    }
    let told = c.history.of(Kind::Event).into_iter();
    let told = told.filter(|change| change.object["reason"] == "WriteRefused");
    let names: std::collections::BTreeSet<String> = told.map(|change| change.name).collect();
    ensure!(names.len() == 1, "it is told once, not in each pass: {names:?}");
    allow(c).await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    ensure!(!c.get(Kind::Policy, "c").await?.is_null(), "the NetworkPolicy is made after all");
    Ok(())
}

async fn new_cache(c: &Context) -> Result {
    refuse(c, &[""], &["services"]).await?;
    let probe = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe"},
        "spec": {"ports": [{"port": 80}]}});
    refuses(c, Kind::Service, probe).await?;
    c.create("c", 1).await?;
    let refused = ("Ready", "False", "WriteRefused");
    let cache = c.wait_condition(Kind::Cache, "c", refused, MINUTE).await?;
    ensure!(says(&cache, "Ready", WORDS), "{cache}");
    ensure!(says(&cache, "Ready", "Service c"), "{cache}");
    allow(c).await?;
    c.ready("c", 1, 2 * MINUTE).await
}
