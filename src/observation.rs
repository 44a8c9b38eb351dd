//! What was seen of one cache in one pass: plain data with its time.
//!
//! An observation has no memory. What could not be seen is told apart from what is not there.

mod shown;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use xsld_journal::event::{Incarnation, Ordinal, Text};

pub use self::shown::{Shown, Sight, Unread};
use crate::clock::Moment;
use crate::manifests::{self, Identity, Whose};
use crate::xsld::text::{Redactor, bounded};
use crate::xsld::view::{Answer, GridView, GroupView, TaskView};

/// One pass over one cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When the pass began.
    pub at: Moment,
    /// The StatefulSet, when there is one.
    pub stateful_set: Option<SetFacts>,
    /// Its pods, by ordinal.
    pub pods: BTreeMap<Ordinal, PodFacts>,
    /// Why pods are not there, or do not start, as far as that is told; nothing is decided by it.
    pub hindrances: BTreeMap<Ordinal, Hindrance>,
    /// The members' claims, by ordinal.
    pub claims: BTreeMap<Ordinal, ClaimFacts>,
    /// What the members answered, by ordinal; only of pods that have an address.
    pub reports: BTreeMap<Ordinal, Report>,
    /// The grids as one member of the group tells them; none when nothing asked for them. Known is
    /// the list of them; each has its own answer in it.
    pub grids: Option<Answer<Shown<GridView>>>,
    /// BLAKE3 of the templates that were asked for, as one member of the group tells them, by name;
    /// what the group does not have is left out. None when nothing was asked for.
    pub templates: Option<Answer<Shown<String>>>,
    /// Objects that bear names of this cache and are somebody else's.
    pub taken: Vec<Taken>,
}

/// An object that bears a name of this cache and is somebody else's. It is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it is known to be another's, to go on after "because".
    pub why: String,
    /// What cannot be done without the name.
    pub blocks: Blocks,
    /// Whether it goes by itself.
    pub is_going: bool,
    /// What a person can do about it.
    pub remedy: Remedy,
}

/// What a person can do about a taken name, beside giving the cache another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: the object need not even be there, the name is kept for another.
    Rename,
    /// Delete it.
    Remove,
    /// Give it this cache's labels, if it is this cache's: nobody owns it.
    Label,
}

impl Taken {
    /// The object of this kind that bears a name of the cache, when it is not the cache's.
    pub fn of(metadata: &ObjectMeta, identity: &Identity, kind: &str) -> Option<Self> {
        let name = metadata.name.clone().unwrap_or_default();
        let (why, is_unowned) = match manifests::whose(metadata, identity) {
            Whose::Ours | Whose::Orphaned => return None,
            Whose::Foreign { why, is_unowned } => (why, Some(is_unowned)),
            Whose::Former => (format!("it belonged to a former XsldCache {}", identity.name), None),
        };
        Some(Self {
            kind: kind.to_owned(),
            why,
            blocks: Blocks::by(kind, &name, identity),
            is_going: is_unowned.is_none() || metadata.deletion_timestamp.is_some(),
            remedy: Remedy::of(is_unowned == Some(true)),
            name,
        })
    }
}

impl Remedy {
    /// What helps against an object that is somebody's, or nobody's.
    #[must_use]
    pub fn of(is_unowned: bool) -> Self {
        if is_unowned { Self::Label } else { Self::Remove }
    }
}

/// What a taken name keeps from being done; the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocks {
    /// Anything for the cache.
    Cache,
    /// New pods, and joins: members find each other by it.
    Names,
    /// New pods: they would start with it.
    Pods,
    /// The member of this place cannot be made.
    Member(Ordinal),
    /// Nothing but what the object itself is for.
    Nothing,
}

impl Blocks {
    /// What cannot be done without an object of this kind and name.
    fn by(kind: &str, name: &str, identity: &Identity) -> Self {
        let headless = kind == "Service" && name == identity.name;
        let held = name == manifests::held_credentials_name(&identity.name);
        match kind {
            "StatefulSet" => Self::Cache,
            "ConfigMap" => Self::Pods,
            "Secret" if !held => Self::Pods,
            _ if headless => Self::Names,
            _ => Self::Nothing,
        }
    }

    /// The same for a cache that has no group yet: what keeps its pods from being made stops all.
    #[must_use]
    pub fn before_the_group(self) -> Self {
        match self {
            Self::Names | Self::Pods => Self::Cache,
            blocks => blocks,
        }
    }
}

/// The live StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetFacts {
    /// Its UID.
    pub uid: String,
    /// For writes that must fail when somebody else wrote.
    pub resource_version: String,
    /// `spec.replicas`.
    pub replicas: u32,
    /// The digest that our annotation on it tells; none when it carries no such annotation.
    pub template_digest: Option<String>,
    /// The revision that its controller gives new pods; none while it has not seen the last change
    /// of the StatefulSet.
    pub update_revision: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its pod template: the digest that it goes by, and the text. It is no evidence.
    #[serde(skip)]
    pub template: Option<(String, Text)>,
    /// How much the claims that it makes ask for, a quantity. It never changes, and is no evidence.
    #[serde(skip)]
    pub claim_size: Option<String>,
    /// Whether it has no controller: it was orphaned on purpose. Who may act on it was judged before,
    /// so this is no evidence.
    #[serde(skip)]
    pub is_orphaned: bool,
}

/// One pod of the StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodFacts {
    /// Its name, which is the member's name.
    pub name: String,
    /// Its UID, its container's id and restarts.
    pub incarnation: Incarnation,
    /// Its address, once it has one.
    pub address: Option<String>,
    /// All its addresses, where it has one in each family.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Whether its container runs, as Kubernetes shows it.
    pub running: bool,
    /// The Ready condition.
    pub ready: bool,
    /// Since when it is not, by Kubernetes' clock, in microseconds since 1970; none when it is, or
    /// when that is not told.
    pub unready_since_us: Option<i64>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its node, once it is scheduled.
    pub node: Option<String>,
    /// Whether that node is about to be emptied; none when nothing is known of it.
    pub node_leaving: Option<bool>,
    /// Its `controller-revision-hash`.
    pub revision: Option<String>,
    /// Digest of the template that it was made from, as that template tells it.
    pub template: Option<String>,
    /// Why it waits, in Kubernetes' words: `ImagePullBackOff`, `Unschedulable`, ...
    pub waiting: Option<String>,
    /// Whether it has no controller: it outlives its StatefulSet. No evidence.
    #[serde(skip)]
    pub is_orphaned: bool,
}

impl PodFacts {
    /// Whether this is one of its addresses, however it is written.
    pub fn is_at(&self, known: &str) -> bool {
        self.address.iter().chain(&self.addresses).any(|present| is_same_address(known, present))
    }
}

/// Whether two texts are one IP address: an IPv6 address may be shortened or not, in capitals, in
/// brackets, or be an IPv4 address written as one. What is no address is compared as it stands.
pub fn is_same_address(one: &str, other: &str) -> bool {
    let parsed = |text: &str| {
        let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    };
    match (parsed(one), parsed(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// One claim of the StatefulSet's template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimFacts {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it is being deleted (it ends only with its pod).
    pub deleting: bool,
    /// Whether it is older than the custom resource: not ours to judge by our own journal.
    pub older_than_cache: bool,
    /// For writes that must fail when somebody else wrote.
    pub resource_version: String,
    /// How much it asks for, a quantity.
    pub requested: Option<String>,
    /// Whether it certainly never had a volume: nothing can be on it.
    pub never_bound: bool,
    /// How much its volume has, a quantity; none while it has no volume.
    pub capacity: Option<String>,
    /// Whether it may grow to what the spec asks for; none when nobody asked, or got no answer.
    pub growth: Option<Growth>,
    /// Its storage class; none where it names none. It is no evidence.
    #[serde(skip)]
    pub class: Option<String>,
}

/// What keeps a pod from being there or from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// What kind of thing.
    pub kind: Hindered,
    /// In the words of who knows it, bounded and on one line.
    pub words: String,
}

impl Hindrance {
    /// With words from outside, without the secrets that `known` knows. They are taken out before
    /// the words are cut: a part of a secret is one as well.
    pub fn new(kind: Hindered, words: &str, known: &Redactor) -> Self {
        Self { kind, words: bounded(&known.text(words)) }
    }
}

/// Kinds of hindrances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hindered {
    /// The API server refuses the pod.
    PodRefused,
    /// No node takes it.
    Unschedulable,
    /// Its claim has no volume.
    ClaimUnbound,
    /// Its image cannot be had.
    ImageUnavailable,
    /// Its container ends, or cannot be made.
    ContainerFails,
    /// It was scheduled, and something that comes before its containers fails, or its node is not ready.
    NotStarted,
    /// Its node is lost, and its containers may still run there.
    NodeLost,
}

/// What the API server says of a larger volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Growth {
    /// It would take the change.
    Allowed,
    /// It would not.
    Refused {
        /// Its words.
        reason: String,
    },
}

/// What one member answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The process that was asked, as Kubernetes showed it before the reads.
    pub incarnation: Incarnation,
    /// Its view of its group.
    pub group: Answer<GroupView>,
    /// The same, read once more after all other members were read; only of the primary, and only
    /// where fewer than two others could stand beside it.
    pub group_again: Option<Answer<GroupView>>,
    /// Its own task list.
    pub tasks: Answer<Vec<TaskView>>,
    /// Whether it lists grids; only of a member that is no recorded one and takes itself for a
    /// member of a group, and only when its answer was understood.
    pub lists_grids: Option<bool>,
    /// Fingerprint of the certificate that it showed and that was trusted.
    pub fingerprint: Option<String>,
    /// Fingerprint of a certificate that it showed and that was not trusted.
    pub untrusted: Option<String>,
    /// Whether that is because none of the trusted authorities signed it.
    pub not_signed: bool,
    /// Whether it took the former password and not the present one.
    pub takes_former: bool,
}

impl Report {
    /// Its view, when it was understood and is not a stale copy.
    pub fn fresh_group(&self) -> Option<&GroupView> {
        match &self.group {
            Answer::Known(view) if !view.stale => Some(view),
            Answer::Known(_) | Answer::Refused { .. } | Answer::Unknown { .. } => None,
        }
    }

    /// Its tasks, when they were read.
    pub fn read_tasks(&self) -> Option<&[TaskView]> {
        match &self.tasks {
            Answer::Known(tasks) => Some(tasks),
            Answer::Refused { .. } | Answer::Unknown { .. } => None,
        }
    }
}

impl Observation {
    /// Takes over why pods are not there or do not start from a look of a moment ago that asked more,
    /// as far as those pods are as they were.
    pub fn keep_hindrances(&mut self, former: &Self) {
        for (ordinal, hindrance) in &former.hindrances {
            if self.pods.get(ordinal) == former.pods.get(ordinal) {
                self.hindrances.entry(*ordinal).or_insert_with(|| hindrance.clone());
            }
        }
    }

    /// Whether any member that answered runs a task.
    pub fn any_task_running(&self) -> bool {
        self.reports.values().filter_map(Report::read_tasks).flatten().any(TaskView::is_running)
    }
}

#[cfg(test)]
mod tests {
    use super::is_same_address;

    #[test]
    fn one_address_in_another_writing_is_the_same() {
        for (one, other) in [
            ("fd00::5", "FD00:0:0:0:0:0:0:5"),
            ("[fd00::5]", "fd00::5"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("10.0.0.7", "10.0.0.7"),
            ("c-0.local", "c-0.local"),
        ] {
            assert!(is_same_address(one, other), "{one} {other}");
        }
        for (one, other) in [("fd00::5", "fd00::6"), ("10.0.0.7", "10.0.0.70"), ("c-0", "10.0.0.7")]
        {
            assert!(!is_same_address(one, other), "{one} {other}");
        }
    }
}
