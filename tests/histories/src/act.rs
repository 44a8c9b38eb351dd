//! What can happen in a history: what users do, and what fails.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::weights::Family;

/// The cache that every history is about.
pub const CACHE: &str = "c";
/// A second cache beside it.
pub const SECOND: &str = "d";
/// A cache whose name is the one of an object of the first.
pub const COLLIDING: &str = "c-client";

/// Nodes that a history has for itself.
pub const NODES: u32 = 4;
/// Members are counted below this.
pub const MEMBERS_MAX: u32 = 4;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are Kubernetes' own words")]
pub enum Kind {
    Cache,
    Grid,
    Template,
    StatefulSet,
    Pod,
    Claim,
    Service,
    Secret,
    ConfigMap,
    Budget,
    NetworkPolicy,
    Lease,
    Event,
}

/// What becomes of what an object owns when it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are Kubernetes' own words")]
pub enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// When the operator dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// As soon as so many more records are durable.
    Records(u32),
    /// As soon as the intent of a step of this kind is durable.
    Intent(String),
}

/// Which of the two has a new password first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// The Secret that the spec names.
    Secret,
    /// The group, by its console.
    Group,
}

/// What an admission policy changes in passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rewrite {
    /// A label on every pod.
    PodLabel,
    /// A variable in the template of every StatefulSet.
    TemplateEnvironment,
    /// An annotation on every Service.
    ServiceAnnotation,
}

/// One thing that happens. Members and nodes are numbers; names of pods follow from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the doc of each act says what its fields mean")]
pub enum Act {
    /// A cache is applied, with more in its spec than size and credentials.
    CreateCache { cache: String, size: u32, spec: Value },
    /// A cache is deleted.
    DeleteCache { cache: String, cascade: Cascade },
    /// A grid is applied, bound to a cache or to whichever there is.
    CreateGrid { grid: String, cache: Option<String>, spec: Value },
    /// A grid is deleted.
    DeleteGrid { grid: String },
    /// A grid template is applied.
    CreateTemplate { template: String, cache: String },
    /// A grid template is deleted.
    DeleteTemplate { template: String },
    /// A field of a spec gets a value; `path` is a JSON pointer into the spec. `broken` is one that
    /// nothing can come of, so that healing takes it back.
    Change {
        kind: Kind,
        name: String,
        path: String,
        value: Value,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        broken: bool,
    },
    /// A change that the API server must refuse.
    Invalid { kind: Kind, name: String, path: String, value: Value },
    /// The password changes to the one of this number, in the Secret and in every group.
    Rotate { number: u32, first: Holder },
    /// A member is evicted, if its budget lets it go.
    Evict { cache: String, member: u32 },
    /// A node takes no more pods, and every member on it is evicted as soon as it may.
    Drain { node: u32 },
    /// A node takes no more pods.
    Cordon { node: u32 },
    /// It does again.
    Uncordon { node: u32 },
    /// A node stops as if its power went.
    StopNode { node: u32 },
    /// It comes back.
    StartNode { node: u32 },
    /// Somebody else's object takes a name that the cache needs.
    MakeForeign { kind: Kind, name: String },
    /// The labels of an object of ours are edited away.
    RemoveLabels { kind: Kind, name: String },
    /// The finalizers of an object are stripped by hand.
    StripFinalizers { kind: Kind, name: String },
    /// An object is deleted by hand; `force` leaves no grace.
    DeleteObject { kind: Kind, name: String, cascade: Cascade, force: bool },
    /// Somebody else annotates an object.
    Annotate { kind: Kind, name: String },
    /// The StatefulSet's replicas are changed by hand.
    ScaleByHand { cache: String, replicas: u32 },
    /// `kubectl rollout restart` of the StatefulSet.
    RestartByHand { cache: String },
    /// `kubectl set env` of the StatefulSet.
    SetEnvironmentByHand { cache: String },
    /// An admission policy refuses an operation (`CREATE`, `UPDATE`, `DELETE`) on a resource.
    RefuseWrites { resource: String, operation: String },
    /// An admission policy changes objects in passing.
    RewriteWrites { what: Rewrite },
    /// A quota allows so many objects of a resource.
    LimitObjects { resource: String, count: u32 },
    /// Policies and quotas go.
    LiftPolicies,
    /// A fault of a member, in the words of `docs/sandbox-faults.md`.
    FaultMember { cache: String, member: u32, fault: Value },
    /// A member's faults are cleared.
    ClearFaults { cache: String, member: u32 },
    /// SIGKILL.
    KillOperator { when: When },
    /// SIGTERM.
    EndOperator,
    /// The operator is started.
    StartOperator,
    /// SIGSTOP.
    FreezeOperator,
    /// SIGCONT.
    ThawOperator,
    /// A second operator is started, on the same journal or one of its own.
    StartSecond { same_journal: bool },
    /// It is ended.
    EndSecond,
    /// The journal's volume is lost; the operator finds an empty one.
    LoseJournal,
    /// The journal's volume is copied.
    BackUpJournal,
    /// The copy takes the volume's place.
    SetBackJournal,
    /// The anchor is deleted.
    LoseAnchor,
}

impl Act {
    /// The family that its weight belongs to.
    pub fn family(&self) -> Family {
        match self {
            Self::CreateCache { cache, .. } if cache == SECOND => Family::SecondCache,
            Self::CreateCache { cache, .. } if cache == COLLIDING => Family::CollidingCache,
            Self::CreateCache { .. } => Family::Create,
            Self::DeleteCache { .. } => Family::Delete,
            Self::CreateGrid { .. } | Self::DeleteGrid { .. } => Family::Grid,
            Self::CreateTemplate { .. } | Self::DeleteTemplate { .. } => Family::Template,
            Self::Change { broken: true, path, .. } if path == "/paused" => Family::Pause,
            Self::Change { broken: true, .. } => Family::Broken,
            Self::Change { kind: Kind::Grid, .. } => Family::GridField,
            Self::Change { kind: Kind::Template, .. } => Family::TemplateField,
            Self::Change { path, .. } => match path.as_str() {
                "/size" => Family::Resize,
                "/image" => Family::Image,
                "/paused" => Family::Pause,
                _ => Family::CacheField,
            },
            Self::Invalid { .. } => Family::Invalid,
            Self::Rotate { .. } => Family::Rotate,
            Self::Evict { .. } => Family::Evict,
            Self::Drain { .. } => Family::Drain,
            Self::Cordon { .. } | Self::Uncordon { .. } => Family::Cordon,
            Self::StopNode { .. } | Self::StartNode { .. } => Family::NodeStop,
            Self::MakeForeign { .. } => Family::Foreign,
            Self::RemoveLabels { .. } => Family::Labels,
            Self::StripFinalizers { .. } => Family::Finalizers,
            Self::DeleteObject { kind: Kind::Claim, .. } => Family::DeleteClaim,
            Self::DeleteObject { .. } => Family::DeleteObject,
            Self::Annotate { .. } => Family::Annotate,
            Self::ScaleByHand { .. }
            | Self::RestartByHand { .. }
            | Self::SetEnvironmentByHand { .. } => Family::ByHand,
            Self::RefuseWrites { .. } | Self::LiftPolicies => Family::Refuse,
            Self::RewriteWrites { .. } => Family::Rewrite,
            Self::LimitObjects { .. } => Family::Quota,
            Self::FaultMember { .. } | Self::ClearFaults { .. } => Family::MemberFault,
            Self::KillOperator { when: When::Now } | Self::StartOperator => Family::Kill,
            Self::KillOperator { .. } => Family::KillAtBoundary,
            Self::EndOperator => Family::End,
            Self::FreezeOperator | Self::ThawOperator => Family::Freeze,
            Self::StartSecond { .. } | Self::EndSecond => Family::SecondOperator,
            Self::LoseJournal => Family::JournalLost,
            Self::BackUpJournal | Self::SetBackJournal => Family::JournalSetBack,
            Self::LoseAnchor => Family::AnchorLost,
        }
    }

    /// The act in one line, as a person would tell it.
    pub fn told(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| format!("{self:?}"))
    }
}

/// The name of a member, its pod and its fault target.
pub fn member_name(cache: &str, member: u32) -> String {
    format!("{cache}-{member}")
}
