//! What may be recorded.
//!
//! Intents and outcomes are two records. An intent without an outcome is *in doubt*: the effect
//! may or may not have happened, and only evidence decides. Outcomes are in the past tense.
//!
//! **Stored form.** Variants and fields are stored by position, so both are append-only: a variant
//! in the middle would decode silently as another one. A changed shape is a new version of the
//! type with an upcaster; the golden bytes in the tests refuse anything else. No field may be
//! skipped, flattened or hold free JSON values.

mod bound;
mod names;
mod step;

pub use bound::{bounded, bounded_evidence};
pub use step::{Incarnation, MemberRef, Receipt, Step, Survivor, Text};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The place of a member in its group, which is the ordinal of its pod.
pub type Ordinal = u32;

/// One plan being carried out on one cache; also the trace id of all that is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId(pub Uuid);

impl std::fmt::Display for OperationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one attempt of one step of one operation, for ever. It travels with the effect (in a
/// task's description, in an annotation), so that what is found later can be told to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey(pub Uuid);

impl StepKey {
    /// The key of an attempt: the same on every send and every replay of that attempt, another
    /// one for every other attempt. `target` is [`Step::target`], attempts count from 1.
    pub fn of(operation: OperationId, target: &str, attempt: u32) -> Self {
        Self(Uuid::new_v5(&operation.0, format!("{target}#{attempt}").as_bytes()))
    }
}

impl std::fmt::Display for StepKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of plan an operation carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// The first member, then the others of a new cache.
    Bootstrap,
    /// More members.
    ScaleUp,
    /// Fewer members.
    ScaleDown,
    /// A wanted member is brought back.
    Repair,
    /// A new grid.
    GridCreate,
    /// Changed fields of a grid.
    GridUpdate,
    /// A grid goes.
    GridDelete,
    /// The whole cache goes.
    Delete,
    /// The configuration database gets a replica.
    ReplicationSetUp,
    /// Another member becomes the primary.
    PrimarySwitch,
    /// The documents of a grid template go to the group.
    TemplateUpload,
    /// A grid template goes.
    TemplateDelete,
    /// A grid that is in error is made again.
    GridRecover,
    /// The members' volumes grow.
    StorageGrowth,
    /// The members' pods are made again one at a time, from another pod template.
    ImageRoll,
}

impl OperationKind {
    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::ScaleUp => "scale_up",
            Self::ScaleDown => "scale_down",
            Self::Repair => "repair",
            Self::GridCreate => "grid_create",
            Self::GridUpdate => "grid_update",
            Self::GridDelete => "grid_delete",
            Self::Delete => "delete",
            Self::TemplateUpload => "template_upload",
            Self::TemplateDelete => "template_delete",
            Self::GridRecover => "grid_recover",
            Self::ReplicationSetUp => "replication_set_up",
            Self::PrimarySwitch => "primary_switch",
            Self::StorageGrowth => "storage_growth",
            Self::ImageRoll => "image_roll",
        }
    }

    /// Whether it is begun for what is seen, and may be seen again and again. What the spec asks for,
    /// the end of a cache, and a primary without which nothing works are not among these. A roll to
    /// another template has another generation in its cause; the same one again is for pods that
    /// came back on another.
    pub fn answers_to_the_world(self) -> bool {
        match self {
            Self::Repair
            | Self::ReplicationSetUp
            | Self::GridCreate
            | Self::GridUpdate
            | Self::GridRecover
            | Self::TemplateUpload
            | Self::ImageRoll => true,
            Self::Bootstrap
            | Self::ScaleUp
            | Self::ScaleDown
            | Self::PrimarySwitch
            | Self::StorageGrowth
            | Self::GridDelete
            | Self::TemplateDelete
            | Self::Delete => false,
        }
    }

    /// Whether it changes who is in the group.
    pub fn touches_membership(self) -> bool {
        match self {
            Self::Bootstrap | Self::ScaleUp | Self::ScaleDown | Self::Repair | Self::Delete => true,
            Self::GridCreate
            | Self::GridUpdate
            | Self::GridDelete
            | Self::TemplateUpload
            | Self::TemplateDelete
            | Self::GridRecover
            | Self::ReplicationSetUp
            | Self::PrimarySwitch
            | Self::StorageGrowth
            | Self::ImageRoll => false,
        }
    }
}

/// What an operation is to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// A group of `size` members, of which the first `catalogs` run a catalog server.
    Members {
        /// Members wanted.
        size: u32,
        /// Catalog servers wanted among later joins.
        catalogs: u32,
    },
    /// A grid with these fields.
    Grid {
        /// UID of the DataGrid object.
        grid_uid: String,
        /// The grid's name.
        name: String,
        /// BLAKE3 of the wanted fields, hex; empty when the grid is to go.
        digest: String,
    },
    /// Nothing is left, but what the policy retains.
    Gone {
        /// Whether the claims go too.
        delete_volumes: bool,
    },
    /// This member holds the replica of the configuration database.
    Replica {
        /// Its place.
        ordinal: Ordinal,
        /// Its name.
        name: String,
    },
    /// This member is the primary.
    Primary {
        /// Its place.
        ordinal: Ordinal,
        /// Its name.
        name: String,
    },
    /// A grid template with these documents.
    Template {
        /// UID of the GridTemplate object.
        template_uid: String,
        /// The template's name.
        name: String,
        /// BLAKE3 of the two documents, hex; empty when the template is to go.
        digest: String,
    },
    /// Every member's volume has this size, or more.
    Storage {
        /// The size as the spec wrote it, a quantity such as `10Gi`.
        size: String,
    },
    /// Every member's pod, but those that stay, is made from this pod template.
    PodTemplate {
        /// Digest of the pod template, hex, as in `SetTemplate`.
        digest: String,
        /// Members below this place stay as they are.
        partition: u32,
        /// Seconds that one member may take to come back.
        deadline_seconds: u32,
        /// Whether the former template is brought back when one does not.
        rollback: bool,
    },
}

/// Why an operation was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `metadata.generation` of the object that asked for it.
    pub generation: i64,
    /// The reason in words: the changed field, or the observed fault.
    pub reason: String,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The goal was seen to be reached.
    Succeeded,
    /// It cannot be reached.
    Failed {
        /// Why.
        reason: String,
    },
    /// A newer goal replaced it at a step boundary.
    Superseded {
        /// The newer goal, in words.
        by: String,
    },
}

impl End {
    /// Stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Superseded { .. } => "superseded",
        }
    }
}

/// One member as it was found when the journal was rebuilt from the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedMember {
    /// The member with its present process.
    pub member: MemberRef,
    /// Whether the group lists it as a catalog server.
    pub catalog: bool,
    /// The address at which the group knows it.
    pub address: String,
}

/// A claim that is kept because of what it may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldClaim {
    /// The member that it belongs to.
    pub name: String,
    /// Its UID.
    pub claim_uid: String,
}

/// A record's payload. Each variant says what state it makes and what refuses it; the table
/// itself is [`crate::state::CacheState::apply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first record of a journal. Refused anywhere else.
    Genesis {
        /// UID of the namespace that the operator lives in: a volume of another one is refused.
        namespace_uid: String,
    },
    /// A new term of leadership. Refused when the term is not newer than the last one.
    EpochBegun {
        /// Who leads: pod UID or boot id, journal id, inode of the journal's directory.
        holder: String,
    },
    /// Records are missing: this journal goes on where an older one was lost.
    Gap {
        /// Id of the journal before.
        old_journal: Uuid,
        /// Last sequence that was found of it (0 = none).
        found_seq: u64,
        /// Sequence of the anchor.
        anchor_seq: u64,
        /// Hash at the anchor, hex.
        anchor_hash: String,
    },
    /// First record of a cache's stream. Refused when the stream is open.
    CacheOpened {
        /// Namespace of the XsldCache.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// None -> an operation is open. Refused while another one is, or when the stream is closed.
    OperationBegun {
        /// What kind of plan.
        kind: OperationKind,
        /// What to reach.
        goal: Goal,
        /// Why.
        cause: Cause,
    },
    /// No step -> a step in doubt. Refused while one is open (but for `CancelTask`, which needs
    /// one, and `PromotePrimary`), while the operation is parked, when the attempt does not follow the last one, or when
    /// the key is not the attempt's.
    StepIntended {
        /// The effect.
        step: Step,
        /// Counts from 1 for each target within the operation.
        attempt: u32,
        /// [`StepKey::of`] the attempt.
        key: StepKey,
        /// What was observed when this was decided, as JSON without secrets.
        evidence: String,
    },
    /// In doubt -> accepted: the member took the request and runs a task. Not an outcome.
    StepAccepted {
        /// The attempt.
        key: StepKey,
        /// Id of the task on that member, where it told one.
        task: Option<u64>,
    },
    /// In doubt -> still in doubt, with a reason. Not an outcome.
    StepUnknown {
        /// The attempt.
        key: StepKey,
        /// What is not known and why.
        reason: String,
    },
    /// The step is done. Its meaning is folded into the state.
    StepSucceeded {
        /// The attempt.
        key: StepKey,
        /// Whether it was found by probing after a crash or a lost answer, not told directly.
        found_by_probe: bool,
        /// Something odd that a person should know, such as a task that failed and yet took effect.
        flagged: Option<String>,
        /// What proves it, as JSON.
        evidence: String,
    },
    /// The attempt ended without the effect that was wanted.
    StepFailed {
        /// The attempt.
        key: StepKey,
        /// Why.
        reason: String,
        /// What proves it, as JSON.
        evidence: String,
    },
    /// The attempt can no longer take effect (the process that had it is gone).
    StepVoid {
        /// The attempt.
        key: StepKey,
        /// What proves it, as JSON.
        evidence: String,
    },
    /// The request was never sent: a precondition or the lease said no. Refused once anything is
    /// known of it having been sent.
    StepNotSent {
        /// The attempt.
        key: StepKey,
        /// Why not.
        reason: String,
    },
    /// The operation waits for evidence or a person. Refused when it is parked already.
    OperationParked {
        /// A condition reason in CamelCase.
        reason: String,
        /// What a person should know and can do.
        message: String,
    },
    /// Evidence or a person decided: the parked operation goes on.
    OperationResumed {
        /// What changed.
        evidence: String,
    },
    /// The operation is over, parked or not. Refused while a step is open.
    OperationEnded {
        /// How.
        end: End,
    },
    /// Pod-0 is the group: its own view lists exactly itself Online.
    Bootstrapped {
        /// The first member.
        member: MemberRef,
        /// The address at which the group knows it.
        address: String,
        /// Why it may be read as the group, as JSON.
        evidence: String,
    },
    /// A recorded member came back as another process with its claim, and its own view lists it;
    /// or the group knows it at another address now.
    MemberSeen {
        /// Its place.
        ordinal: Ordinal,
        /// Its present process.
        incarnation: Incarnation,
        /// The address at which the group knows it.
        address: String,
    },
    /// A recorded member was found absent twice, though nobody removed it.
    MemberLost {
        /// Its place.
        ordinal: Ordinal,
        /// The views, as JSON.
        evidence: String,
    },
    /// The certificate of a member's volume, trusted at first use or during its own join.
    TrustPinned {
        /// Its place.
        ordinal: Ordinal,
        /// The volume that holds the key.
        claim_uid: String,
        /// Fingerprint of the certificate.
        fingerprint: String,
    },
    /// What the world showed when the journal was rebuilt from it.
    Adopted {
        /// Members that the group lists.
        members: Vec<AdoptedMember>,
        /// `replicas` of the live StatefulSet.
        replicas: Option<u32>,
        /// Digest and text of the live template.
        template: Option<(String, Text)>,
    },
    /// A grid that exists already is taken over as it is.
    GridAdopted {
        /// UID of the DataGrid object.
        grid_uid: String,
        /// The grid's name.
        name: String,
        /// BLAKE3 of the wanted fields that it was seen to have, hex.
        digest: String,
    },
    /// A member that is not wanted was found absent twice without a disjoin: it never joined, or
    /// was removed by somebody else. Its replicas and its claim may go. Refused when the receipt
    /// is not about absence.
    MemberAbsent {
        /// The member, with the claim that may go.
        member: MemberRef,
        /// `NeverJoined`, `FoundAbsent` or `Adopted`.
        receipt: Receipt,
    },
    /// The claim of a member that left is kept, because the policy says so.
    VolumeRetained {
        /// Its place.
        ordinal: Ordinal,
        /// UID of the kept claim.
        claim_uid: String,
    },
    /// A person decided about a parked operation.
    Decided {
        /// Who, as far as that is known.
        who: String,
        /// The decision.
        decision: String,
        /// Their reason.
        why: String,
    },
    /// The cache is gone. Nothing may follow on this stream.
    CacheClosed {
        /// Why.
        reason: String,
    },
    /// A grid template that the group has already with the wanted documents is taken over.
    TemplateAdopted {
        /// UID of the GridTemplate object.
        template_uid: String,
        /// The template's name.
        name: String,
        /// BLAKE3 of the two documents, hex.
        digest: String,
    },
    /// The records up to one of them were retired: what they fold to is kept in a base, and they
    /// themselves are deleted once this record is durable. Refused when it does not go beyond the
    /// last retirement, or would reach itself.
    RecordsRetired {
        /// The last record that goes.
        through: u64,
        /// Its hash, hex: the first record that stays names it.
        hash: String,
        /// Digest of the state after it, hex, as it was folded anew from the records that go.
        state: String,
        /// BLAKE3 of the base's first line, hex.
        base: String,
        /// How many records go.
        records: u64,
        /// Which limit they were beyond.
        reason: String,
    },
    /// The cache is this operator's no more, though it did not delete it: its object does not exist
    /// any more, or another operator works on it. What was open ends with it as it is: whether a step
    /// in doubt took effect is not found out here. Nothing may follow on this stream.
    CacheLeft {
        /// What became of the cache.
        reason: String,
        /// What was seen, as JSON.
        evidence: String,
    },
    /// A DataGrid or a GridTemplate is gone: nothing is remembered of it, and what the group has of
    /// that name is nobody's. Refused while an operation on it is open.
    ObjectGone {
        /// UID of the object.
        uid: String,
        /// Its name.
        name: String,
        /// How that is known.
        reason: String,
    },
    /// A member that the group lists and the journal did not know is taken over as it was found: it was
    /// away when its group was adopted, or somebody else joined it. Refused when its place is a recorded
    /// member's, and while it is leaving.
    MemberAdopted {
        /// The member.
        member: AdoptedMember,
        /// The views, as JSON.
        evidence: String,
    },
    /// What an adoption leaves to people. It follows `Adopted` in one append.
    AdoptionNoted {
        /// Claims of members that the adopted group listed: none is wiped to be joined afresh.
        held: Vec<HeldClaim>,
        /// Digest of the pod template that the spec asked for then, where the StatefulSet had another
        /// one: it is not rolled out before somebody consents, or the spec changes.
        template: Option<String>,
    },
    /// Grids that a roll does not wait for: they were not placed before its first pod went, so it
    /// cannot take from them what they do not have. Refused outside of a roll.
    GridsLeftOut {
        /// Their names.
        grids: Vec<String>,
        /// Those that were left out before and are placed after all: it waits for them again.
        again: Vec<String>,
        /// How they were seen, in words.
        reason: String,
    },
    /// The spec is older than one that was acted on: the API server was set back, or somebody restored
    /// the object. Until somebody confirms it, it takes nothing away. Refused while such a one waits.
    SpecOlder {
        /// Its `metadata.generation`.
        generation: i64,
        /// The size that it asks for.
        size: u32,
        /// The newest generation that was acted on.
        acted: i64,
        /// The size that was acted on last, where one was.
        acted_size: Option<u32>,
    },
    /// Somebody confirmed a spec that was found to be older. What was acted on before counts no more.
    /// Refused while none waits for it.
    SpecConfirmed {
        /// Its `metadata.generation`.
        generation: i64,
        /// The size that it asks for.
        size: u32,
    },
}
