//! `GridTemplate`: the two documents that a custom grid is made from.

use super::{JournalStatus, ObjectRef, OperationStatus, rules};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most bytes of one inline document.
pub const MAX_DOCUMENT_BYTES: usize = 262_144;

/// The desired state of one grid template. The template has the object's name.
#[derive(CustomResource, JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "xsld.ibm.com",
    version = "v1alpha1",
    kind = "GridTemplate",
    plural = "gridtemplates",
    singular = "gridtemplate",
    shortname = "gt",
    category = "xsld",
    namespaced,
    status = "GridTemplateStatus",
    derive = "PartialEq",
    doc = "The documents that a custom data grid is made from.",
    printcolumn(name = "Uploads", type_ = "integer", json_path = ".status.uploadCount"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::template_spec)]
pub struct GridTemplateSpec {
    /// The ObjectGrid descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_grid_xml: Option<Document>,

    /// The deployment policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_policy_xml: Option<Document>,

    /// The XsldCache that gets the template. Not together with `cacheSelector`;
    /// without both, the only one of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ref: Option<ObjectRef>,

    /// The XsldCaches of the namespace that get the template, by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_selector: Option<LabelSelector>,
}

/// A document: its text, or where it is kept. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::document)]
pub struct Document {
    /// The text of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_DOCUMENT_BYTES))]
    pub inline: Option<String>,
    /// The ConfigMap that has the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKeyRef>,
}

/// One key of one ConfigMap in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253), pattern(rules::OBJECT_NAME))]
    pub name: String,
    /// Key in the ConfigMap.
    #[schemars(length(min = 1, max = 253), pattern(rules::DATA_KEY))]
    pub key: String,
}

/// What is known about a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GridTemplateStatus {
    /// The generation of the spec that this status answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The conditions, at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,

    /// The caches that have the template, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["cache"]
    ))]
    pub uploads: Vec<Upload>,

    /// Number of caches that have the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_count: Option<i32>,

    /// The operation in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,

    /// The last record about this template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalStatus>,
}

/// One cache that has a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// The XsldCache's name.
    #[schemars(length(max = 253))]
    pub cache: String,
    /// BLAKE3 of the two documents as uploaded, in hexadecimal.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// When they were uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<Time>,
}
