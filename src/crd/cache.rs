//! `XsldCache`: one cache group and the pods that carry it.

use super::cache_status::XsldCacheStatus;
use super::{Choice, MAX_MEMBERS, PlainSecret, PodSettings, rules};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The desired state of one cache group.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "xsld.ibm.com",
    version = "v1alpha1",
    kind = "XsldCache",
    plural = "xsldcaches",
    singular = "xsldcache",
    shortname = "xc",
    category = "xsld",
    namespaced,
    status = "XsldCacheStatus",
    derive = "PartialEq",
    doc = "A cache group of WebSphere eXtreme Scale Liberty Deployment and its members.",
    validation = rules::cache_name(),
    validation = rules::cache_name_length(),
    scale(
        spec_replicas_path = ".spec.size",
        status_replicas_path = ".status.members",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Members", type_ = "integer", json_path = ".status.members"),
    printcolumn(name = "Online", type_ = "integer", json_path = ".status.online"),
    printcolumn(name = "Tasks", type_ = "integer", json_path = ".status.pendingTasks"),
    printcolumn(name = "Grids", type_ = "integer", json_path = ".status.gridCount"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::cache_spec)]
pub struct XsldCacheSpec {
    /// Acceptance of the product's licence: the word `accept`. Required; cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["accept"]))]
    pub license: Option<String>,

    /// Wanted number of members.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = MAX_MEMBERS))]
    pub size: i32,

    /// Container image of every member.
    #[serde(default = "default_image")]
    #[schemars(length(min = 1, max = 512), pattern(r"^\S+$"))]
    pub image: String,

    /// Password of the user `xsadmin`, in plain text. Prefer `adminPasswordSecretRef`;
    /// exactly one of the two is set. At least 10 characters with a digit, an
    /// upper-case letter and a special character, and no double quote. Cannot be
    /// changed except by replacing it with the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_pwd: Option<PlainSecret>,

    /// Secret key of the cache group, in plain text. Prefer `secretKeySecretRef`;
    /// exactly one of the two is set. The rules of `adminPwd` hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<PlainSecret>,

    /// Where the password of the user `xsadmin` is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_password_secret_ref: Option<SecretKeyRef>,

    /// Where the secret key of the cache group is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_secret_ref: Option<SecretKeyRef>,

    /// Capacity of each member in GB. Cannot be changed.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 65536))]
    pub capacity: i32,

    /// How many of the first members run a catalog server. A change applies to
    /// members that join later.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = MAX_MEMBERS))]
    pub catalogs: i32,

    /// A ConfigMap whose key `entrypoint.sh` replaces the entrypoint that the
    /// operator supplies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), pattern(rules::OBJECT_NAME))]
    pub entrypoint_config_map: Option<String>,

    /// Name of the cache group. Cannot be changed.
    #[serde(default = "default_group")]
    #[schemars(length(min = 1, max = 64))]
    pub group: String,

    /// The volume of each member, mounted at `/vol`.
    #[serde(default)]
    pub storage: Storage,

    /// Settings of the members' pods. A change waits for a roll.
    #[serde(default)]
    pub pod: PodSettings,

    /// How members are brought to a new image or new pod settings.
    #[serde(default)]
    pub rollout: Rollout,

    /// Replication of the configuration database, and the switch of the primary.
    #[serde(default)]
    pub replication: Replication,

    /// What the operator may do to a member that is neither in nor out.
    #[serde(default)]
    pub repair: Repair,

    /// How the operator trusts the members' certificates.
    #[serde(default)]
    pub tls: Tls,

    /// Stop at the next step boundary and begin nothing new. Nothing is forgotten.
    #[serde(default)]
    pub paused: bool,

    /// A ConfigMap with the paths and command names of another release of the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), pattern(rules::OBJECT_NAME))]
    pub api_profile_config_map: Option<String>,
}

/// One key of one Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), pattern(rules::OBJECT_NAME))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), pattern(rules::DATA_KEY))]
    pub key: String,
}

/// The volume of each member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Requested size, such as `10Gi`. Volumes grow to it where the class allows it, and never shrink.
    #[serde(default = "default_storage_size")]
    #[schemars(
        length(min = 1, max = 32),
        pattern(r"^[0-9]+(\.[0-9]{1,3})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
    )]
    pub size: String,

    /// Storage class; the cluster's default without it. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), pattern(rules::OBJECT_NAME))]
    pub storage_class_name: Option<String>,

    /// Access modes of the claims. Cannot be changed.
    #[serde(default = "default_access_modes")]
    #[schemars(length(min = 1, max = 3), extend(
        "items" = {
            "type": "string",
            "enum": ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"],
        },
        "x-kubernetes-list-type" = "set"
    ))]
    pub access_modes: Vec<String>,

    /// What happens to a volume that no member needs any more.
    #[serde(default)]
    pub retention: Retention,
}

/// What happens to a volume that no member needs any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// After the member was disjoined.
    #[serde(default = "delete")]
    pub when_scaled: Choice<VolumePolicy>,
    /// After the XsldCache was deleted.
    #[serde(default = "retain")]
    pub when_deleted: Choice<VolumePolicy>,
}

/// Whether a volume is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumePolicy {
    /// The claim is deleted, with a receipt in the journal.
    Delete,
    /// The claim stays.
    Retain,
}

/// How members are brought to a new image or new pod settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How many members stay as they are: the roll stops once only this many are
    /// left, until the number is lowered.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_MEMBERS))]
    pub partition: i32,

    /// Seconds that one member may take to come back before the roll halts.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 1, max = 86400))]
    pub progress_deadline_seconds: i32,

    /// What happens when a member does not come back.
    #[serde(default)]
    pub on_failure: Choice<OnFailure>,
}

/// What a roll does when a member does not come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Stop and say so.
    #[default]
    Halt,
    /// Bring the former image back.
    Rollback,
}

/// Replication of the configuration database, and the switch of the primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// Whether the operator sets it up.
    #[serde(default)]
    pub mode: Choice<ReplicationMode>,

    /// Seconds that the primary must stay lost before its replica is promoted.
    #[serde(default = "default_primary_grace")]
    #[schemars(range(min = 1, max = 86400))]
    pub primary_grace_seconds: i32,
}

/// Whether the operator sets up replication of the configuration database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicationMode {
    /// With two members or more.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What the operator may do to a member that is neither in nor out of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// Whether the volume of a half-joined member may be wiped.
    #[serde(default)]
    pub reset_half_joined: Choice<ResetHalfJoined>,
}

/// Whether the volume of a half-joined member may be wiped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResetHalfJoined {
    /// Once it is proven that the member holds nothing.
    #[default]
    Auto,
    /// Never; a person decides.
    Never,
}

/// How the operator trusts the members' certificates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The way of trusting.
    #[serde(default)]
    pub mode: Choice<TlsMode>,

    /// The certificates (PEM) that sign the members' certificates. Set with mode `CA` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

/// How the operator trusts the members' certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// The certificate of first use, recorded in the journal.
    #[default]
    Pin,
    /// A certificate signed by one of `caSecretRef`.
    #[serde(rename = "CA")]
    Ca,
    /// Any certificate. For tests.
    Insecure,
}

/// How strictly members are kept on different nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AntiAffinity {
    /// A member stays Pending when no node without one is left.
    Required,
    /// Different nodes where possible.
    #[default]
    Preferred,
    /// Nothing is asked for.
    None,
}

impl Default for XsldCacheSpec {
    fn default() -> Self {
        empty()
    }
}

impl Default for Storage {
    fn default() -> Self {
        empty()
    }
}

impl Default for Retention {
    fn default() -> Self {
        empty()
    }
}

impl Default for Rollout {
    fn default() -> Self {
        empty()
    }
}

impl Default for Replication {
    fn default() -> Self {
        empty()
    }
}

/// What an empty document means, so that the defaults of Rust and of the schema are the same.
///
/// # Panics
/// Never for the types of this module, whose every field has a default.
pub(super) fn empty<T: for<'de> Deserialize<'de>>() -> T {
    let document = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(
        std::iter::empty::<(&str, &str)>(),
    );
    T::deserialize(document).expect("every field has a default")
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}

fn default_image() -> String {
    "ibmcom/xsld:latest".to_owned()
}

fn default_group() -> String {
    "cg1".to_owned()
}

fn default_storage_size() -> String {
    "1Gi".to_owned()
}

fn default_access_modes() -> Vec<String> {
    vec!["ReadWriteOnce".to_owned()]
}

/// Half an hour: three times the longest start and join that was measured.
fn default_progress_deadline() -> i32 {
    1800
}

/// Ten minutes: a primary that merely restarts is back before that.
fn default_primary_grace() -> i32 {
    600
}

fn delete() -> Choice<VolumePolicy> {
    VolumePolicy::Delete.into()
}

fn retain() -> Choice<VolumePolicy> {
    VolumePolicy::Retain.into()
}
