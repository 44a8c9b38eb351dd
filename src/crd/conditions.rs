//! The conditions of the three kinds and the reasons they can have.

/// What a condition is about. The same words are used on all three kinds; a
/// kind that has no use for one leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The object does what its spec asks for, and this was seen.
    Ready,
    /// An operation runs or waits for its next step.
    Progressing,
    /// Something works with less than the spec asks for.
    Degraded,
    /// Every wanted member is in the group and no other is.
    MembersJoined,
    /// The group's API answers through at least one member.
    GroupReachable,
    /// The configuration database has a replica.
    ReplicationReady,
    /// A wish of the spec waits for something named in the message.
    Deferred,
    /// A person has to look; nothing more is tried until the evidence changes.
    NeedsAttention,
    /// The journal takes records and matches its anchor.
    JournalHealthy,
}

impl ConditionType {
    /// Every type, in the order in which a status lists them.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::Progressing,
        Self::Degraded,
        Self::MembersJoined,
        Self::GroupReachable,
        Self::ReplicationReady,
        Self::Deferred,
        Self::NeedsAttention,
        Self::JournalHealthy,
    ];

    /// The word in the condition's `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::MembersJoined => "MembersJoined",
            Self::GroupReachable => "GroupReachable",
            Self::ReplicationReady => "ReplicationReady",
            Self::Deferred => "Deferred",
            Self::NeedsAttention => "NeedsAttention",
            Self::JournalHealthy => "JournalHealthy",
        }
    }
}

/// Declares the reasons once, so that the variant, its word and its place in
/// [`ConditionReason::ALL`] cannot drift apart.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Why a condition has its status: one CamelCase word; the message says the rest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ConditionReason {
            $($(#[$doc])+ $name,)+
        }

        impl ConditionReason {
            /// Every reason, in the order of this file.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in the condition's `reason`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// All wanted members are in the group and Online.
    Joined,
    /// Nothing is left to do and the world was seen to match the spec.
    Settled,
    /// The group answers.
    Reachable,
    /// The configuration database has a replica that follows.
    Replicating,
    /// The replica of the configuration database is being set up.
    SettingUpReplication,
    /// Replication is switched off or the cache has a single member.
    ReplicationOff,
    /// The journal takes records and matches its anchor.
    Healthy,
    /// The first member forms the group.
    Bootstrapping,
    /// Pods are missing, starting or without a volume.
    WaitingForPods,
    /// A member is joining.
    Joining,
    /// A member is being disjoined.
    Disjoining,
    /// A member's volume is being deleted.
    ReclaimingVolume,
    /// Members are brought to the new pod template one at a time.
    RollingImage,
    /// The roll reached its partition and waits for it to be lowered.
    PartitionReached,
    /// A member did not come back; the roll stopped.
    RolloutHalted,
    /// A member did not come back; the former template is brought back.
    RollingBack,
    /// The role of the primary moves to the replica.
    SwitchingPrimary,
    /// A member is being repaired.
    Repairing,
    /// A member's volume is wiped so that it can join afresh.
    ResettingMember,
    /// An entry without a living member is being removed from the group.
    RemovingGhostMember,
    /// An attempt was recorded and its outcome is not known yet.
    InDoubt,
    /// An attempt failed; the message says how often and when the next is due.
    StepFailed,
    /// A member runs at another address than the group knows.
    AddressChanged,
    /// The named entrypoint ConfigMap does not exist.
    EntrypointMissing,
    /// Changed pod settings wait for a roll.
    RequiresUpdate,
    /// The spec breaks a rule; the message names the field and the rule.
    SpecInvalid,
    /// The members refuse the credentials.
    CredentialsInvalid,
    /// A named Secret, or its key, does not exist.
    SecretMissing,
    /// A named ConfigMap, or its key, does not exist.
    ConfigMapMissing,
    /// The API profile does not parse.
    ProfileInvalid,
    /// The namespace has several caches and the grid names none.
    CacheAmbiguous,
    /// The cache that is meant does not exist.
    CacheMissing,
    /// The cache that is meant is not ready for grid work.
    WaitingForCache,
    /// The named template does not exist or is not uploaded yet.
    TemplateMissing,
    /// A document of the template is not well-formed XML or too large.
    TemplateInvalid,
    /// The template is on every cache that it selects.
    Uploaded,
    /// The template is being uploaded.
    Uploading,
    /// The grid is Online as the spec wants it.
    Online,
    /// The grid is being created.
    Creating,
    /// The grid is being changed to what the spec says.
    Updating,
    /// The grid exists and waits to be placed.
    WaitingForPlacement,
    /// The grid differs from its spec and is left alone by policy.
    Drifted,
    /// The grid is in error and is being made again.
    RecoveringGrid,
    /// The primary's volume is gone and no replica exists.
    PrimaryVolumeLost,
    /// A member's volume is gone or it left the group by itself.
    MemberLost,
    /// The same fault was put right again and again and did not last.
    NotConverging,
    /// A member does not answer.
    MemberUnreachable,
    /// No member answers for the group.
    GroupUnreachable,
    /// A member shows another certificate than the pinned one.
    CertificateChanged,
    /// A task that the operator did not start runs in the group.
    ForeignTask,
    /// A task makes no progress.
    TaskStalled,
    /// Members disagree about who is in the group.
    ViewsDiffer,
    /// The group refuses what the spec asks for.
    Refused,
    /// The spec says paused.
    Paused,
    /// Something else goes first.
    Deferred,
    /// The spec changed while the operation ran.
    Superseded,
    /// The operation is parked: probes ended without an answer.
    Parked,
    /// The node of a pod is lost and its containers may still run.
    NodeLost,
    /// A pod cannot be placed on any node.
    Unschedulable,
    /// The replica count was changed by somebody else.
    ReplicasChanged,
    /// The state was read from the world, because the journal was lost.
    Rebuilding,
    /// The operator waits out the lease of its predecessor.
    WaitingForLease,
    /// Records are missing that the anchor proves to have existed.
    JournalGap,
    /// The journal and its anchor name different records at one sequence.
    JournalForked,
    /// A write to the journal failed.
    JournalFailed,
    /// The object is being deleted.
    Deleting,
    /// Not looked at yet, or cannot be seen just now.
    NotObserved,
    /// Larger volumes are asked for.
    GrowingVolumes,
    /// The volumes are smaller than the spec asks for and cannot grow.
    VolumesCannotGrow,
    /// The spec asks for smaller volumes than there are; volumes never shrink.
    VolumesCannotShrink,
    /// Members still take the former password only.
    RotatingCredentials,
    /// The template stays as long as a grid is made from it.
    TemplateInUse,
    /// The members that are to stay cannot hold what the leaving ones hold.
    CapacityShort,
    /// A member shows a certificate that none of the trusted authorities signed.
    CertificateUntrusted,
    /// The API server refuses a write of an object; the message has its words.
    WriteRefused,
    /// The API server refuses a read of an object; the message has its words.
    ReadRefused,
    /// The API server does not answer, or answers with an error of its own.
    ApiUnavailable,
    /// Who is of the group cannot be told, and a person has to look.
    AdoptionUndecided,
    /// An object that bears a name of this cache is somebody else's.
    NameTaken,
    /// The grid is in another cache than the spec names, and no grid moves.
    BoundElsewhere,
    /// A member's claim was deleted: its volume goes with its pod.
    VolumeTerminating,
    /// A member's pod cannot be made: the API server refuses it.
    PodRefused,
    /// A member's claim has no volume.
    ClaimUnbound,
    /// A member's image cannot be had.
    ImageUnavailable,
    /// A member's container ends again and again, or cannot be made.
    ContainerFails,
    /// A password or secret key that a named Secret holds breaks a rule of the product.
    SecretInvalid,
    /// The spec is older than one that was acted on, and a person has to confirm it.
    SpecOlder,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_is_camel_case_and_unique() {
        let types = ConditionType::ALL.map(ConditionType::as_str);
        let reasons: Vec<_> = ConditionReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
        assert_eq!(reasons.iter().collect::<BTreeSet<_>>().len(), reasons.len());
        for word in types.iter().chain(&reasons) {
            assert!(word.starts_with(|first: char| first.is_ascii_uppercase()), "{word}");
            assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
        }
    }
}
