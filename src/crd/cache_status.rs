//! The status of an `XsldCache`: a projection of what was recorded and seen.
//! Losing it loses nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most grid names that a status lists; `gridCount` counts all.
pub const MAX_LISTED_GRIDS: usize = 64;

/// Most operations that `recentOperations` lists, newest first.
pub const MAX_RECENT_OPERATIONS: usize = 5;

/// What is known about a cache group. A number that cannot be seen just now is
/// absent; the conditions say since when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct XsldCacheStatus {
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

    /// The wanted number of members that this status answers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,

    /// Members that the group lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<i32>,

    /// Members that the group shows Online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<i32>,

    /// Members that run a catalog server; it differs from `spec.catalogs` until
    /// members join anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogs: Option<i32>,

    /// Tasks that wait or run in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_tasks: Option<i32>,

    /// Names of the grids in the group, sorted; the first 64 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_LISTED_GRIDS), inner(length(max = 253)))]
    pub grids: Vec<String>,

    /// Number of grids in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid_count: Option<i32>,

    /// The member that holds the configuration database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub primary: Option<String>,

    /// The member that holds the replica of the configuration database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub replica: Option<String>,

    /// The label selector of the members' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,

    /// The image, and how far a roll has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageStatus>,

    /// One entry for each member that is wanted, listed or has a pod, by ordinal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub member_states: Vec<MemberState>,

    /// The operation in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationStatus>,

    /// The last record about this cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalStatus>,

    /// The last operations in one line each, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_RECENT_OPERATIONS), inner(length(max = 512)))]
    pub recent_operations: Vec<String>,
}

/// The image of the members, and how far a roll has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// The image that members are created with now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub current: Option<String>,
    /// The image that the spec asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub target: Option<String>,
    /// Members whose pod has the target's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<i32>,
}

/// What is known about one member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberState {
    /// The member's name, which is its pod's.
    #[schemars(length(max = 63))]
    pub name: String,
    /// UID of its pod, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub pod_uid: Option<String>,
    /// The address that the group knows it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub address: Option<String>,
    /// Whether the group shows it Online.
    #[serde(default)]
    pub online: MemberOnline,
    /// Whether it runs a catalog server, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<bool>,
    /// The revision hash of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub revision: Option<String>,
    /// When this entry last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// Whether the group shows a member Online: the words of a condition's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberOnline {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be seen just now.
    #[default]
    Unknown,
}

/// The operation in flight. The times are times of change and never of a poll.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationStatus {
    /// Its id, which is also the id of its trace.
    #[schemars(length(max = 64))]
    pub id: String,
    /// What it does, such as `ScaleUp`.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// The step in flight, such as `JoinMember example-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub step: Option<String>,
    /// When the operation began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Why it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub reason: Option<String>,
    /// Attempts at the step in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,
}

/// Where an object's last record stands in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JournalStatus {
    /// The journal's id.
    #[schemars(length(max = 64))]
    pub id: String,
    /// The term of leadership that wrote the record.
    pub epoch: i64,
    /// The record's sequence number.
    pub sequence: i64,
    /// The record's hash, in hexadecimal.
    #[schemars(length(max = 128))]
    pub hash: String,
}
