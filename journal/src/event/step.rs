//! One effect on the world, and what it names.

use serde::{Deserialize, Serialize};

use super::Ordinal;

/// One life of a member's process. Any difference is another life; what a former one left behind
/// must be proven void before anything builds on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// UID of the pod.
    pub pod_uid: String,
    /// Id of the running container; empty while none has run.
    pub container_id: String,
    /// How often the pod's container was started again.
    pub restarts: u32,
}

/// A member as a step names it: by place and by the UIDs it had when the step was intended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRef {
    /// Its place.
    pub ordinal: Ordinal,
    /// Its name in the group, which is its pod's name.
    pub name: String,
    /// UID of its volume claim. State lives in the volume: another claim is another member.
    pub claim_uid: String,
    /// The process that the step is about.
    pub incarnation: Incarnation,
}

/// The established member through which something is done to the group, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Its place.
    pub ordinal: Ordinal,
    /// Its name in the group.
    pub name: String,
    /// The process that took the request.
    pub incarnation: Incarnation,
}

/// A text that may be too large for a record of 4 KiB. The large ones are kept in the audit file
/// under their digest; the record holds the digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// The text itself.
    Inline(String),
    /// BLAKE3 in hex of a text that the audit file holds, and its length in bytes.
    External {
        /// BLAKE3 of the text, lower-case hex.
        digest: String,
        /// Length in bytes.
        len: u32,
    },
}

/// Why a claim may be deleted. Every deleted claim has exactly one of these in its intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// The member left the group: the record of its disjoin's outcome, and what proved absence.
    Disjoined {
        /// Sequence of the outcome.
        seq: u64,
    },
    /// The member never joined: no join intent for this claim, or all of them ended without
    /// effect, and two equal views without it.
    NeverJoined {
        /// The views, as JSON.
        views: String,
    },
    /// Recorded, no longer wanted, and found absent twice.
    FoundAbsent {
        /// The views, as JSON.
        views: String,
    },
    /// Absence was adopted when the journal was rebuilt from the world.
    Adopted {
        /// The views, as JSON.
        views: String,
    },
    /// The custom resource itself was deleted and its policy says `Delete`.
    CacheDeleted,
    /// The claim never had a volume: nothing was ever written to it.
    NeverBound {
        /// The claim as it was seen, as JSON.
        claim: String,
    },
}

/// One effect on the world. Everything that `execute` needs is in here: it has no choices left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Commits the pod template that the StatefulSet is to carry.
    SetTemplate {
        /// BLAKE3 of the template's canonical JSON, hex.
        digest: String,
        /// The template, as JSON.
        template: Text,
    },
    /// Sets `replicas`, and makes the StatefulSet where it is missing.
    ScaleStatefulSet {
        /// Committed replicas before.
        from: u32,
        /// Replicas to set.
        to: u32,
    },
    /// Runs the join task on the joining member.
    JoinMember {
        /// The joining member.
        member: MemberRef,
        /// Host of a member of the group.
        host: String,
        /// Whether it also becomes a catalog server.
        catalog: bool,
    },
    /// Runs the disjoin task on a survivor.
    DisjoinMember {
        /// The leaving member.
        member: MemberRef,
        /// Who takes the request.
        survivor: Survivor,
    },
    /// Removes an entry of the group behind which no member of the journal stands.
    RemoveGhostMember {
        /// The entry, with what is known of its pod and claim.
        member: MemberRef,
        /// Who takes the request.
        survivor: Survivor,
    },
    /// Deletes a member's claim and pod by UID, so that both are made again and empty.
    ResetMember {
        /// The member.
        member: MemberRef,
    },
    /// Cancels a task by force on the member that runs it.
    CancelTask {
        /// Who runs it.
        member: MemberRef,
        /// The task's id there.
        task: u64,
    },
    /// Deletes the claim of a member that is no longer wanted, by UID.
    DeleteVolume {
        /// Place of the member it belonged to.
        ordinal: Ordinal,
        /// Name of the claim.
        claim: String,
        /// Its UID.
        claim_uid: String,
        /// Why this is safe.
        receipt: Receipt,
    },
    /// Creates a grid.
    CreateGrid {
        /// UID of the DataGrid object.
        grid_uid: String,
        /// The grid's name.
        name: String,
        /// BLAKE3 of the wanted fields, hex.
        digest: String,
        /// Who takes the request.
        through: Survivor,
    },
    /// Sets a grid's fields.
    UpdateGrid {
        /// UID of the DataGrid object.
        grid_uid: String,
        /// The grid's name.
        name: String,
        /// BLAKE3 of the wanted fields, hex.
        digest: String,
        /// Who takes the request.
        through: Survivor,
    },
    /// Deletes a grid.
    DeleteGrid {
        /// UID of the DataGrid object.
        grid_uid: String,
        /// The grid's name.
        name: String,
        /// Who takes the request.
        through: Survivor,
    },
    /// Deletes the StatefulSet by UID, because its custom resource goes.
    DeleteStatefulSet {
        /// Its UID.
        uid: String,
    },
    /// Runs the task on the primary that replicates the configuration database to another member.
    SetUpReplication {
        /// The primary, who takes the request.
        primary: Survivor,
        /// The member that is to hold the replica.
        replica: MemberRef,
    },
    /// Runs the task on the replica that makes it the primary.
    PromotePrimary {
        /// The member that holds the replica.
        member: MemberRef,
        /// Name of the primary until then.
        former: String,
    },
    /// Gives the group the two documents of a grid template, in the place of what it has under
    /// this name.
    UploadTemplate {
        /// UID of the GridTemplate object.
        template_uid: String,
        /// The template's name.
        name: String,
        /// BLAKE3 of the two documents, hex.
        digest: String,
        /// Who takes the request.
        through: Survivor,
    },
    /// Deletes a grid template.
    DeleteTemplate {
        /// UID of the GridTemplate object.
        template_uid: String,
        /// The template's name.
        name: String,
        /// Who takes the request.
        through: Survivor,
    },
    /// Asks for a larger volume at a member's claim, by UID.
    GrowVolume {
        /// Place of the member.
        ordinal: Ordinal,
        /// Name of the claim.
        claim: String,
        /// Its UID.
        claim_uid: String,
        /// What it asks for until then, a quantity.
        from: String,
        /// What it is to ask for, a quantity.
        to: String,
    },
    /// Deletes a member's pod by UID, so that it is made again from the committed template.
    RollMember {
        /// The member. Its pod's UID is what is deleted.
        member: MemberRef,
        /// Digest of the committed pod template, hex.
        template: String,
    },
}

impl Step {
    /// Stable name of the kind of step, as shown and searched.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SetTemplate { .. } => "set_template",
            Self::ScaleStatefulSet { .. } => "scale_stateful_set",
            Self::JoinMember { .. } => "join_member",
            Self::DisjoinMember { .. } => "disjoin_member",
            Self::RemoveGhostMember { .. } => "remove_ghost_member",
            Self::ResetMember { .. } => "reset_member",
            Self::CancelTask { .. } => "cancel_task",
            Self::DeleteVolume { .. } => "delete_volume",
            Self::CreateGrid { .. } => "create_grid",
            Self::UpdateGrid { .. } => "update_grid",
            Self::DeleteGrid { .. } => "delete_grid",
            Self::DeleteStatefulSet { .. } => "delete_stateful_set",
            Self::UploadTemplate { .. } => "upload_template",
            Self::DeleteTemplate { .. } => "delete_template",
            Self::SetUpReplication { .. } => "set_up_replication",
            Self::PromotePrimary { .. } => "promote_primary",
            Self::GrowVolume { .. } => "grow_volume",
            Self::RollMember { .. } => "roll_member",
        }
    }

    /// What attempts are counted by within an operation: the kind of step and the object.
    pub fn target(&self) -> String {
        let object = match self {
            Self::SetTemplate { digest, .. } => digest.clone(),
            Self::ScaleStatefulSet { to, .. } => to.to_string(),
            Self::JoinMember { member, .. }
            | Self::DisjoinMember { member, .. }
            | Self::RemoveGhostMember { member, .. }
            | Self::ResetMember { member } => member.name.clone(),
            Self::CancelTask { member, task } => format!("{}/{task}", member.name),
            Self::DeleteVolume { claim_uid, .. } => claim_uid.clone(),
            Self::CreateGrid { grid_uid, .. }
            | Self::UpdateGrid { grid_uid, .. }
            | Self::DeleteGrid { grid_uid, .. } => grid_uid.clone(),
            Self::DeleteStatefulSet { uid } => uid.clone(),
            Self::UploadTemplate { template_uid, .. }
            | Self::DeleteTemplate { template_uid, .. } => template_uid.clone(),
            Self::SetUpReplication { replica, .. } => replica.name.clone(),
            Self::PromotePrimary { member, .. } => member.name.clone(),
            Self::GrowVolume { claim_uid, to, .. } => format!("{claim_uid}/{to}"),
            Self::RollMember { member, template } => format!("{}/{template}", member.name),
        };
        format!("{}/{object}", self.name())
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::SetTemplate { digest, .. } => {
                format!("commit pod template {}", digest.get(..12).unwrap_or(digest))
            }
            Self::ScaleStatefulSet { from, to } => format!("set replicas {from} -> {to}"),
            Self::JoinMember { member, host, catalog } => format!(
                "join {} to the group at {host}{}",
                member.name,
                if *catalog { " as a catalog server" } else { "" }
            ),
            Self::DisjoinMember { member, survivor } => {
                format!("disjoin {} through {}", member.name, survivor.name)
            }
            Self::RemoveGhostMember { member, survivor } => {
                format!("remove the ghost entry of {} through {}", member.name, survivor.name)
            }
            Self::ResetMember { member } => {
                format!("reset {} (claim {}, then its pod)", member.name, member.claim_uid)
            }
            Self::CancelTask { member, task } => format!("cancel task {task} on {}", member.name),
            Self::DeleteVolume { claim, claim_uid, .. } => {
                format!("delete claim {claim} ({claim_uid})")
            }
            Self::CreateGrid { name, .. } => format!("create grid {name}"),
            Self::UpdateGrid { name, .. } => format!("update grid {name}"),
            Self::DeleteGrid { name, .. } => format!("delete grid {name}"),
            Self::DeleteStatefulSet { uid } => format!("delete the StatefulSet {uid}"),
            Self::UploadTemplate { name, digest, .. } => {
                format!("upload template {name} ({})", digest.get(..12).unwrap_or(digest))
            }
            Self::DeleteTemplate { name, .. } => format!("delete template {name}"),
            Self::SetUpReplication { primary, replica } => {
                format!("replicate the configuration of {} to {}", primary.name, replica.name)
            }
            Self::PromotePrimary { member, former } => {
                format!("make {} the primary in the place of {former}", member.name)
            }
            Self::GrowVolume { claim, from, to, .. } => {
                format!("grow claim {claim} from {from} to {to}")
            }
            Self::RollMember { member, template } => format!(
                "roll {} to pod template {} (pod {})",
                member.name,
                template.get(..12).unwrap_or(template),
                member.incarnation.pod_uid
            ),
        }
    }

    /// Whether a wrong or repeated effect could lose something. Before such a step the audit file
    /// is synced, the anchor written, and the precondition observed once more.
    pub fn is_destructive(&self) -> bool {
        match self {
            Self::DisjoinMember { .. }
            | Self::RemoveGhostMember { .. }
            | Self::ResetMember { .. }
            | Self::CancelTask { .. }
            | Self::DeleteVolume { .. }
            | Self::UpdateGrid { .. }
            | Self::DeleteGrid { .. }
            | Self::DeleteTemplate { .. }
            | Self::DeleteStatefulSet { .. }
            | Self::PromotePrimary { .. }
            | Self::RollMember { .. } => true,
            Self::ScaleStatefulSet { from, to } => to < from,
            Self::SetTemplate { .. }
            | Self::JoinMember { .. }
            | Self::CreateGrid { .. }
            | Self::UploadTemplate { .. }
            | Self::SetUpReplication { .. }
            | Self::GrowVolume { .. } => false,
        }
    }
}
