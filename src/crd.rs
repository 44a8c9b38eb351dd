//! The custom resources of group `xsld.ibm.com`, version `v1alpha1`:
//! [`XsldCache`], [`DataGrid`] and [`GridTemplate`].
//!
//! The Rust types are the only source of the three definitions: [`all`] gives
//! them as objects and [`yaml`] as the text of the files under `crds/`. Ask
//! these functions and never `XsldCache::crd()`, which knows neither the
//! bounds nor the removal of `nullable` that [`schema`] adds.
//!
//! The types are lenient where the schema is strict: an object that was stored
//! before the schema, or past it, still parses, so that one bad object cannot
//! stop a watch. [`crate::validate`] then names what is wrong with it.

#![allow(
    clippy::duplicated_attributes,
    reason = "the lint takes the fields of two printer columns for one attribute given twice"
)]

pub mod cache;
pub mod cache_status;
pub mod choice;
pub mod conditions;
pub mod grid;
pub mod pod;
pub mod rules;
pub mod schema;
pub mod secret;
pub mod template;

pub use cache::{
    AntiAffinity, OnFailure, Repair, Replication, ReplicationMode, ResetHalfJoined, Retention,
    Rollout, SecretKeyRef, Storage, Tls, TlsMode, VolumePolicy, XsldCache, XsldCacheSpec,
};
pub use cache_status::{
    ImageStatus, JournalStatus, MemberOnline, MemberState, OperationStatus, XsldCacheStatus,
};
pub use choice::Choice;
pub use conditions::{ConditionReason, ConditionType};
pub use grid::{
    DataGrid, DataGridSpec, DataGridStatus, DeletionPolicy, DriftPolicy, GridType, ObjectRef,
};
pub use pod::PodSettings;
pub use secret::PlainSecret;
pub use template::{
    ConfigMapKeyRef, Document, GridTemplate, GridTemplateSpec, GridTemplateStatus, Upload,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of the three kinds.
pub const GROUP: &str = "xsld.ibm.com";

/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// The finalizer that the operator puts on each kind.
pub const FINALIZER: &str = "xsld.ibm.com/operator";

/// Most members that one cache may have. It keeps the status under 32 KiB.
pub const MAX_MEMBERS: i32 = 100;

/// Most characters of a cache's name: label values, Services and the names
/// `<cache>-<ordinal>` and `<cache>-<hash>` must still fit into 63.
pub const MAX_CACHE_NAME: usize = 52;

/// The highest number of partitions that a grid may have; the highest prime below 1000.
pub const MAX_PARTITIONS: i32 = 997;

/// The three definitions, as they are to be applied, in the order of this module.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    [XsldCache::crd(), DataGrid::crd(), GridTemplate::crd()].map(schema::finish).into()
}

/// The text of a definition's file under `crds/`: the same bytes on every call.
///
/// # Panics
/// Never: a definition is made of maps with text keys, lists, text, numbers and booleans.
#[must_use]
pub fn yaml(definition: &CustomResourceDefinition) -> String {
    let body = serde_saphyr::to_string(definition)
        .expect("a definition holds nothing that YAML cannot write");
    format!(
        "# Generated from the types under src/crd by `xsld-operator crds`. Do not edit.\n{body}"
    )
}

/// The name of a definition's file under `crds/`, such as `xsldcaches.yaml`.
#[must_use]
pub fn file_name(definition: &CustomResourceDefinition) -> String {
    format!("{}.yaml", definition.spec.names.plural)
}
