//! `DataGrid`: one data grid of a cache group.

use super::cache::empty;
use super::{Choice, JournalStatus, MAX_PARTITIONS, OperationStatus, rules};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The desired state of one data grid. The grid has the object's name.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "xsld.ibm.com",
    version = "v1alpha1",
    kind = "DataGrid",
    plural = "datagrids",
    singular = "datagrid",
    shortname = "dg",
    category = "xsld",
    namespaced,
    status = "DataGridStatus",
    derive = "PartialEq",
    doc = "A data grid of a cache group.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.gridType"),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".spec.gridCapacity"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::grid_spec)]
pub struct DataGridSpec {
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,

    /// Capacity in MB; 0 is unlimited.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub grid_capacity: i64,

    /// Type of the grid.
    #[serde(default)]
    pub grid_type: Choice<GridType>,

    /// User group that owns the grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub group_name: Option<String>,

    /// Seconds that a transaction waits for a lock.
    #[serde(default = "default_lock_timeout")]
    #[schemars(range(min = 0))]
    pub lock_timeout: i32,

    /// Asynchronous replicas of each partition.
    #[serde(default = "default_async_replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub num_async_replicas: i32,

    /// Number of partitions: 1 or a prime up to 997.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = MAX_PARTITIONS))]
    pub num_partition: i32,

    /// Synchronous replicas of each partition.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub num_sync_replicas: i32,

    /// User that owns the grid.
    #[serde(default = "default_owner")]
    #[schemars(length(min = 1, max = 256))]
    pub owner_name: String,

    /// Name of a template that the cache group has. Not together with `templateRef`;
    /// without both, the template that has the grid type's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub template_name: Option<String>,

    /// Seconds that an entry is kept; 0 is without end.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub time_to_live: i32,

    /// Seconds that a transaction may take.
    #[serde(default = "default_transaction_timeout")]
    #[schemars(range(min = 0))]
    pub transaction_timeout: i32,

    /// Whether clients must authenticate.
    #[serde(default)]
    pub use_authentication: bool,

    /// Whether clients need a permission.
    #[serde(default)]
    pub use_authorization: bool,

    /// Whether the least recently used entries are evicted at the capacity.
    #[serde(rename = "useCapLRUEvictor", default)]
    pub use_cap_lru_evictor: bool,

    /// The XsldCache that holds the grid; the only one of the namespace without it.
    /// Once set it cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ref: Option<ObjectRef>,

    /// The GridTemplate that the grid is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<ObjectRef>,

    /// What happens to the grid when this object is deleted.
    #[serde(default)]
    pub deletion_policy: Choice<DeletionPolicy>,

    /// What happens when somebody else changed the grid.
    #[serde(default)]
    pub drift_policy: Choice<DriftPolicy>,
}

/// An object of the same namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253), pattern(rules::OBJECT_NAME))]
    pub name: String,
}

/// Type of a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GridType {
    /// Key and value.
    #[default]
    Simple,
    /// HTTP sessions.
    Session,
    /// Dynamic cache of WebSphere.
    DynaCache,
    /// What the template says; a template must be named.
    Custom,
}

impl GridType {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "Simple",
            Self::Session => "Session",
            Self::DynaCache => "DynaCache",
            Self::Custom => "Custom",
        }
    }
}

/// What happens to the thing in the cache group when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is deleted too, with its data.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// What happens when somebody else changed a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftPolicy {
    /// It is changed back.
    #[default]
    Correct,
    /// A condition says so.
    Report,
}

/// What is known about a grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataGridStatus {
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

    /// `Created`, `Online`, `Error` or `Unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub status: Option<String>,

    /// The XsldCache that holds the grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub cache: Option<String>,

    /// The template that the grid was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub template: Option<String>,

    /// Fields that differ from the spec, sorted, with `driftPolicy: Report`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    pub drift: Vec<String>,

    /// The operation in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,

    /// The last record about this grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalStatus>,
}

impl Default for DataGridSpec {
    fn default() -> Self {
        empty()
    }
}

fn default_lock_timeout() -> i32 {
    15
}

fn default_async_replicas() -> i32 {
    1
}

fn default_partitions() -> i32 {
    3
}

fn default_owner() -> String {
    "xsadmin".to_owned()
}

fn default_transaction_timeout() -> i32 {
    30
}
