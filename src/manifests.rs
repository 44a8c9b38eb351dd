//! The Kubernetes objects of one cache, from values alone: no client, no clock,
//! no randomness, and nothing that can fail.
//!
//! Each object is complete and meant for server-side apply with
//! [`FIELD_MANAGER`], and only when [`differs`] says that a field of ours is
//! not as it should be.
//!
//! `replicas` and the pod template of the StatefulSet come from [`Committed`]
//! and never from the spec: with `OnDelete` a pod that is created again takes the
//! present template at once, so a template applied early is a roll without a journal.
//! [`pod_template`] says what the spec asks for; a journalled step commits it.

mod affinity;
mod canonical;
mod credentials;
mod differs;
mod entrypoint;
mod monitor;
mod names;
mod owner;
mod pod;
mod policies;
mod reserved;
mod revision;
mod services;
mod stateful_set;

pub use credentials::{
    CredentialsSecret, KEY_ADMIN_PASSWORD, KEY_SECRET_KEY, admin_password_ref, credentials_secret,
    held_credentials, secret_key_ref,
};
pub use differs::differs;
pub use entrypoint::{ENTRYPOINT_KEY, entrypoint_config_map, entrypoint_name};
pub use monitor::{OPERATOR_SERVICE, SERVICE_MONITOR_VERSION, service_monitor};
pub use names::{
    claim_name, client_service_name, credentials_name, fqdn, held_credentials_name, ordinal_of,
    ordinal_of_claim, pod_name, supplied_entrypoint_name,
};
pub use owner::{
    Beside, Whose, controller_uid, guard, has_labels, made_for, whose, whose_claim, whose_pod,
};
pub use pod::{MEMBER_CONTAINER, pod_template};
pub use policies::{Budgets, Evictions, network_policy, pod_disruption_budgets};
pub use reserved::{Claimant, operators_name, own_names, taken_first};
pub use revision::{may_roll, template_digest, template_json};
pub use services::{client_service, headless_service};
pub use stateful_set::{Committed, CommittedTemplate, TemplateError, stateful_set};

use crate::crd::{GROUP, VERSION, XsldCache};
use crate::validate::ValidCache;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde_json::Value;
use std::collections::BTreeMap;

/// The field manager of every apply.
pub const FIELD_MANAGER: &str = "xsld-operator";

/// On a StatefulSet: the digest of the committed pod template. On a pod template, and so on each
/// pod: its own digest, which is that of the template without this annotation.
pub const ANNOTATION_TEMPLATE_DIGEST: &str = "xsld.ibm.com/template-digest";

/// On a pod template: the digest of what in the spec it was made for.
pub const ANNOTATION_SPEC_DIGEST: &str = "xsld.ibm.com/spec-digest";

/// On an XsldCache: the digest of the pod template, or its first 12 characters or more, to which
/// its members may be rolled though the spec asks for no other pods.
pub const ANNOTATION_CONSENT: &str = "xsld.ibm.com/consent";

/// On an XsldCache: which operator works on it, as `NAMESPACE` or `NAMESPACE/JOURNAL`.
pub const ANNOTATION_OPERATOR: &str = "xsld.ibm.com/operated-by";

/// On what an operation touched: the operation's id.
pub const ANNOTATION_OPERATION: &str = "xsld.ibm.com/operation";

/// On what an operation touched: the sequence number of the record that says so.
pub const ANNOTATION_SEQUENCE: &str = "xsld.ibm.com/sequence";

/// The console's port.
pub const PORT_CONSOLE: i32 = 9443;
/// The data API's port.
pub const PORT_DATA: i32 = 9444;
/// The admin API's port.
pub const PORT_ADMIN: i32 = 9445;
/// The catalog server's port.
pub const PORT_CATALOG: i32 = 4809;

/// Which cache an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name of the XsldCache.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
}

impl Identity {
    /// The identity of an object that the API server has stored; none before that.
    #[must_use]
    pub fn of(object: &XsldCache) -> Option<Self> {
        let metadata = &object.metadata;
        Some(Self {
            name: metadata.name.clone()?,
            namespace: metadata.namespace.clone()?,
            uid: metadata.uid.clone()?,
        })
    }

    /// The labels of every object of this cache, on top of the pods' [`Self::selector_labels`].
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector_labels();
        labels.extend(
            [
                ("app.kubernetes.io/component", "cache"),
                ("app.kubernetes.io/part-of", "xsld"),
                ("app.kubernetes.io/managed-by", FIELD_MANAGER),
            ]
            .map(own),
        );
        labels
    }

    /// The labels by which the members' pods are found. They are part of the
    /// StatefulSet's selector and can never change.
    #[must_use]
    pub fn selector_labels(&self) -> BTreeMap<String, String> {
        [
            ("app", self.name.as_str()),
            ("app.kubernetes.io/name", "xsld"),
            ("app.kubernetes.io/instance", self.name.as_str()),
        ]
        .map(own)
        .into()
    }

    /// The selector in the form of `status.selector`.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let labels = self.selector_labels();
        let terms: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        terms.join(",")
    }

    fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector_labels()), ..LabelSelector::default() }
    }

    /// Metadata of an object that goes with the cache.
    fn metadata(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        }
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "XsldCache".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// Every object of a cache that follows from its spec alone, holds no secret and is not the
/// StatefulSet, in the order in which they are applied.
#[must_use]
pub fn supporting(
    cache: &ValidCache,
    identity: &Identity,
    operator_namespace: Option<&str>,
) -> Vec<Value> {
    let mut objects =
        vec![document(&headless_service(identity)), document(&client_service(identity))];
    objects.extend(entrypoint_config_map(cache, identity).as_ref().map(document));
    objects.push(document(&network_policy(identity, operator_namespace)));
    objects
}

/// An object as it is applied.
///
/// # Panics
/// Never: the objects of Kubernetes are made of what JSON can hold.
#[must_use]
pub fn document<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("a Kubernetes object can be written as JSON")
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests;
