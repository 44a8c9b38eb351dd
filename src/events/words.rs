//! The words for operations and steps that Events and statuses share.

use xsld_journal::event::{Goal, OperationKind, Step};

/// What an operation is to reach, in words that follow its kind.
pub(crate) fn goal_words(goal: &Goal) -> String {
    match goal {
        Goal::Members { size: 1, .. } => "to 1 member".to_owned(),
        Goal::Members { size, .. } => format!("to {size} members"),
        Goal::Grid { name, .. } | Goal::Template { name, .. } => format!("of {name}"),
        Goal::Gone { delete_volumes: true } => "with its volumes".to_owned(),
        Goal::Gone { delete_volumes: false } => "without its volumes".to_owned(),
        Goal::Replica { name, .. } | Goal::Primary { name, .. } => format!("to {name}"),
        Goal::Storage { size } => format!("to {size}"),
        Goal::PodTemplate { digest, .. } => {
            format!("to pod template {}", digest.get(..12).unwrap_or(digest))
        }
    }
}

/// The kind of an operation in the form of Kubernetes' own words.
pub(crate) fn action_of(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Bootstrap => "Bootstrap",
        OperationKind::ScaleUp => "ScaleUp",
        OperationKind::ScaleDown => "ScaleDown",
        OperationKind::Repair => "Repair",
        OperationKind::GridCreate => "GridCreate",
        OperationKind::GridUpdate => "GridUpdate",
        OperationKind::GridDelete => "GridDelete",
        OperationKind::Delete => "Delete",
        OperationKind::TemplateUpload => "TemplateUpload",
        OperationKind::TemplateDelete => "TemplateDelete",
        OperationKind::GridRecover => "GridRecover",
        OperationKind::ReplicationSetUp => "ReplicationSetUp",
        OperationKind::PrimarySwitch => "PrimarySwitch",
        OperationKind::StorageGrowth => "StorageGrowth",
        OperationKind::ImageRoll => "ImageRoll",
    }
}

/// The kind of a step in the form of Kubernetes' own words.
pub(crate) fn step_action(step: &Step) -> &'static str {
    match step {
        Step::SetTemplate { .. } => "SetTemplate",
        Step::ScaleStatefulSet { .. } => "ScaleStatefulSet",
        Step::JoinMember { .. } => "JoinMember",
        Step::DisjoinMember { .. } => "DisjoinMember",
        Step::RemoveGhostMember { .. } => "RemoveGhostMember",
        Step::ResetMember { .. } => "ResetMember",
        Step::CancelTask { .. } => "CancelTask",
        Step::DeleteVolume { .. } => "DeleteVolume",
        Step::CreateGrid { .. } => "CreateGrid",
        Step::UpdateGrid { .. } => "UpdateGrid",
        Step::DeleteGrid { .. } => "DeleteGrid",
        Step::DeleteStatefulSet { .. } => "DeleteStatefulSet",
        Step::UploadTemplate { .. } => "UploadTemplate",
        Step::DeleteTemplate { .. } => "DeleteTemplate",
        Step::SetUpReplication { .. } => "SetUpReplication",
        Step::PromotePrimary { .. } => "PromotePrimary",
        Step::GrowVolume { .. } => "GrowVolume",
        Step::RollMember { .. } => "RollMember",
    }
}
