//! Admission policies and quotas that refuse or rewrite what is written in a history's namespace.

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use xsld_histories::act::{Act, Rewrite};
use xsld_histories::world::{Done, Result};

use super::acts::answered;
use super::world::{Place, broken};

const GROUP: &str = "admissionregistration.k8s.io";

/// Kinds of cluster-wide objects, the bindings first: they go first.
const KINDS: [(&str, &str); 4] = [
    ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    ("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
    ("MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
];

/// The API group of a resource.
fn group_of(resource: &str) -> &'static str {
    match resource {
        "statefulsets" => "apps",
        "poddisruptionbudgets" => "policy",
        "networkpolicies" => "networking.k8s.io",
        "events" => "events.k8s.io",
        _ => "",
    }
}

/// Which writes a policy is about.
fn constraints(namespace: &str, resource: &str, operations: &[&str]) -> Value {
    let rule = json!({
        "apiGroups": [group_of(resource)],
        "apiVersions": ["v1"],
        "operations": operations,
        "resources": [resource],
    });
    json!({
        "matchPolicy": "Equivalent",
        "resourceRules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    })
}

impl Place<'_> {
    pub(super) async fn policies(&self, act: &Act) -> Result<Done> {
        match act {
            Act::RefuseWrites { resource, operation } => self.refuse(resource, operation).await,
            Act::RewriteWrites { what } => self.rewrite(*what).await,
            Act::LimitObjects { resource, count } => self.limit(resource, *count).await,
            _ => {
                self.lift_policies().await?;
                Ok(Done::Yes)
            }
        }
    }

    async fn refuse(&self, resource: &str, operation: &str) -> Result<Done> {
        let name = format!("{}-{resource}-{}", self.c.namespace, operation.to_lowercase());
        let message = format!("a policy of this cluster refuses {operation} of {resource}");
        let spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": constraints(&self.c.namespace, resource, &[operation]),
            "validations": [{"expression": "false", "message": message}],
        });
        let made = self.make(0, 1, &name, spec, json!({"validationActions": ["Deny"]})).await;
        answered(made)
    }

    async fn rewrite(&self, what: Rewrite) -> Result<Done> {
        let (resource, expression) = match what {
            Rewrite::PodLabel => {
                ("pods", r#"Object{metadata: Object.metadata{labels: {"rewritten-by": "policy"}}}"#)
            }
            Rewrite::TemplateEnvironment => (
                "statefulsets",
                r#"Object{spec: Object.spec{template: Object.spec.template{metadata: Object.spec.template.metadata{annotations: {"rewritten-by": "policy"}}}}}"#,
            ),
            Rewrite::ServiceAnnotation => (
                "services",
                r#"Object{metadata: Object.metadata{annotations: {"rewritten-by": "policy"}}}"#,
            ),
        };
        let name = format!("{}-{resource}-rewritten", self.c.namespace);
        let mutation = json!({
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": expression},
        });
        let spec = json!({
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": constraints(&self.c.namespace, resource, &["CREATE", "UPDATE"]),
            "mutations": [mutation],
        });
        answered(self.make(2, 3, &name, spec, json!({})).await)
    }

    /// Makes a policy and its binding, of the kinds with these numbers.
    async fn make(
        &self,
        binding: usize,
        policy: usize,
        name: &str,
        spec: Value,
        more: Value,
    ) -> crate::Result {
        let mut bound = more;
        bound["policyName"] = json!(name);
        for (number, spec) in [(policy, spec), (binding, bound)] {
            let (kind, plural) = KINDS[number];
            let object = json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": kind,
                "metadata": {"name": name, "labels": {"history": self.c.namespace}},
                "spec": spec,
            });
            let object: DynamicObject = serde_json::from_value(object)?;
            let api = self.cluster_wide(kind, plural);
            match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                made => drop(made?),
            }
        }
        Ok(())
    }

    fn cluster_wide(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(GROUP, "v1", kind);
        Api::all_with(self.c.client(), &ApiResource::from_gvk_with_plural(&kind, plural))
    }

    fn quotas(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("", "v1", "ResourceQuota");
        let resource = ApiResource::from_gvk_with_plural(&kind, "resourcequotas");
        Api::namespaced_with(self.c.client(), &self.c.namespace, &resource)
    }

    async fn limit(&self, resource: &str, count: u32) -> Result<Done> {
        let object = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": format!("limit-{resource}")},
            "spec": {"hard": {format!("count/{resource}"): count.to_string()}},
        });
        let object: DynamicObject = serde_json::from_value(object).map_err(broken)?;
        let made = self.quotas().create(&PostParams::default(), &object).await;
        answered(made.map_err(anyhow::Error::new))
    }

    /// Policies and quotas of this history go.
    pub(super) async fn lift_policies(&self) -> Result {
        let quotas = self.quotas();
        let (now, all) = (DeleteParams::default(), ListParams::default());
        quotas.delete_collection(&now, &all).await.map_err(broken)?;
        let mine = ListParams::default().labels(&format!("history={}", self.c.namespace));
        for (kind, plural) in KINDS {
            let api = self.cluster_wide(kind, plural);
            match api.delete_collection(&now, &mine).await {
                // An API server that does not have the kind has none of its objects.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => drop(done.map_err(broken)?),
            }
        }
        Ok(())
    }
}
