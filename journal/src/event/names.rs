//! What events are called.

use super::Event;

impl Event {
    /// Stable snake_case name, as stored in the envelope and shown.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Genesis { .. } => "genesis",
            Self::EpochBegun { .. } => "epoch_begun",
            Self::Gap { .. } => "gap",
            Self::CacheOpened { .. } => "cache_opened",
            Self::OperationBegun { .. } => "operation_begun",
            Self::StepIntended { .. } => "step_intended",
            Self::StepAccepted { .. } => "step_accepted",
            Self::StepUnknown { .. } => "step_unknown",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::StepFailed { .. } => "step_failed",
            Self::StepVoid { .. } => "step_void",
            Self::StepNotSent { .. } => "step_not_sent",
            Self::OperationParked { .. } => "operation_parked",
            Self::OperationResumed { .. } => "operation_resumed",
            Self::OperationEnded { .. } => "operation_ended",
            Self::Bootstrapped { .. } => "bootstrapped",
            Self::MemberSeen { .. } => "member_seen",
            Self::MemberLost { .. } => "member_lost",
            Self::TrustPinned { .. } => "trust_pinned",
            Self::Adopted { .. } => "adopted",
            Self::GridAdopted { .. } => "grid_adopted",
            Self::MemberAbsent { .. } => "member_absent",
            Self::VolumeRetained { .. } => "volume_retained",
            Self::Decided { .. } => "decided",
            Self::CacheClosed { .. } => "cache_closed",
            Self::TemplateAdopted { .. } => "template_adopted",
            Self::RecordsRetired { .. } => "records_retired",
            Self::CacheLeft { .. } => "cache_left",
            Self::ObjectGone { .. } => "object_gone",
            Self::MemberAdopted { .. } => "member_adopted",
            Self::AdoptionNoted { .. } => "adoption_noted",
            Self::GridsLeftOut { .. } => "grids_left_out",
            Self::SpecOlder { .. } => "spec_older",
            Self::SpecConfirmed { .. } => "spec_confirmed",
        }
    }
}
