//! I/O: Kubernetes and the cache group to one [`Observation`].
//!
//! All reads are live: nothing that is decided rests on a cache that may be behind. A member that
//! cannot be read is part of what was seen, not an error; Kubernetes that cannot be read is.

pub mod facts;
pub mod growth;
pub mod keyring;
pub mod nodes;
mod owned;
mod shown;
pub mod why;

pub use owned::Unlabelled;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client};
use secrecy::SecretString;
use xsld_journal::event::{Ordinal, Step};
use xsld_journal::state::CacheState;

use crate::clock::Moment;
use crate::manifests::{self, Identity, Whose};
use crate::observation::{ClaimFacts, Hindrance, Observation, PodFacts, Report, SetFacts, Taken};
use crate::xsld::client::{GroupClient, Member};
use crate::xsld::profile::ApiProfile;
use crate::xsld::text::Redactor;
use crate::xsld::transport::{Credentials, Fingerprint, Transport, Trust};
use crate::xsld::view::{Answer, GroupView};
use keyring::{Keyring, Passwords};
use nodes::Nodes;

/// Kubernetes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("failed to read {what}")]
    Api {
        /// What was read.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// It did not answer in time.
    #[error("the API server did not answer in time when {what} was read")]
    Timeout {
        /// What was read.
        what: &'static str,
    },
}

impl Error {
    /// Bounded name for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } => "observe",
            Self::Timeout { .. } => "observe_timeout",
        }
    }
}

/// How the members' certificates are trusted.
#[derive(Clone, Debug)]
pub enum TrustMode {
    /// The certificate of first use, by claim.
    Pin,
    /// Certificates signed by these (PEM).
    Ca(Vec<u8>),
    /// Any.
    Insecure,
}

/// How to speak to the members of one cache.
#[derive(Clone)]
pub struct Access {
    /// Carries the requests, and none to a member that refused its passwords too often.
    pub transport: Arc<dyn Transport>,
    /// Paths and names of this release.
    pub profile: Arc<ApiProfile>,
    /// The passwords of `xsadmin`.
    pub passwords: Passwords,
    /// Which of them each member takes.
    pub keyring: Arc<Keyring>,
    /// Secret key of the group.
    pub secret_key: SecretString,
    /// Trust.
    pub trust: TrustMode,
    /// Longest time for one request.
    pub deadline: Duration,
}

impl Access {
    /// What takes the passwords and the secret key out of what others say; none when one of them is
    /// too short to be found.
    pub fn redactor(&self) -> Option<Redactor> {
        let former = self.passwords.former.as_ref();
        let logins = std::iter::once(&self.passwords.current).chain(former);
        let findable = logins.clone().chain([&self.secret_key]).all(Redactor::finds);
        let redactor = Redactor::new().with(&self.secret_key);
        let login = |redactor: Redactor, password| redactor.with_login("xsadmin", password);
        findable.then(|| logins.fold(redactor, login))
    }

    /// The member at `ordinal`, as it is to be spoken to now.
    ///
    /// During its own join a member's certificate may change, because its configuration is
    /// replaced; at any other time a pinned one is the only one that is trusted.
    pub fn member(
        &self,
        state: &CacheState,
        ordinal: Ordinal,
        pod: &PodFacts,
        claim: Option<&ClaimFacts>,
    ) -> Member {
        let joining = matches!(state.open_step().map(|open| &open.step),
            Some(Step::JoinMember { member, .. }) if member.ordinal == ordinal);
        let pin = claim
            .and_then(|claim| state.pins.get(&claim.uid))
            .and_then(|pin| pin.parse().ok())
            .filter(|_| !joining);
        let trust = match &self.trust {
            TrustMode::Insecure => Trust::Insecure,
            TrustMode::Ca(pem) => Trust::Ca(pem.clone()),
            TrustMode::Pin => pin.map_or(Trust::FirstUse, Trust::Pinned),
        };
        let mut passwords = self.keyring.order(ordinal, &pod.incarnation, &self.passwords);
        Member {
            host: manifests::fqdn(&state.name, &state.namespace, &pod.name),
            address: pod.address.as_ref().and_then(|address| address.parse().ok()),
            trust,
            credentials: Credentials::admin(passwords.swap_remove(0)),
        }
    }

    /// A client of a member.
    pub fn client<'a>(&'a self, member: &'a Member) -> GroupClient<'a> {
        GroupClient::new(&*self.transport, &self.profile, member, self.deadline)
    }
}

/// The Kubernetes half of an observation.
pub struct Objects {
    /// The StatefulSet as it is, for the writes that pass parts of it through.
    pub stateful_set: Option<StatefulSet>,
    set: Option<SetFacts>,
    pods: BTreeMap<Ordinal, PodFacts>,
    claims: BTreeMap<Ordinal, ClaimFacts>,
    hindrances: BTreeMap<Ordinal, Hindrance>,
    taken: Vec<Taken>,
    /// Pods and claims of the cache that lack labels by which they are found.
    pub unlabelled: Vec<Unlabelled>,
}

/// What the objects of one cache are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Sought<'a> {
    /// Which cache it is.
    pub identity: &'a Identity,
    /// When its custom resource was made.
    pub made: Option<&'a Time>,
    /// Members that the spec asks for; 0 while the cache goes.
    pub size: u32,
    /// What the journal knows of it.
    pub state: &'a CacheState,
}

/// Reads the objects of one cache. What a container said is told without the secrets that are `known`,
/// and not at all while those are not.
///
/// # Errors
/// When one of them cannot be read.
pub async fn objects(
    client: &Client,
    sought: Sought<'_>,
    nodes: &Nodes,
    known: Option<&Redactor>,
    timeout: Duration,
) -> Result<Objects, Error> {
    let Sought { identity, made, size, state } = sought;
    let (namespace, name) = (identity.namespace.as_str(), identity.name.as_str());
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let set = timed("the StatefulSet", timeout, sets.get_opt(name)).await?;
    let judged = set.as_ref().map(|set| manifests::whose(&set.metadata, identity));
    let uid = set.as_ref().and_then(|set| set.metadata.uid.clone());
    let ours = set.as_ref().filter(|_| judged.as_ref().is_some_and(Whose::may_be_written));
    let facts = ours.map(facts::set);
    let replicas = facts.as_ref().map(|set| set.replicas);
    let committed = state.committed.replicas.unwrap_or(0);
    // Also those that left, or are to leave: their pods may outlive the places.
    let recorded = state.members.keys().chain(state.leaving.keys()).max();
    let recorded = recorded.map_or(0, |last| last.saturating_add(1));
    let places = match ours.is_some() || set.is_none() {
        true => size.max(committed).max(replicas.unwrap_or(0)).max(recorded),
        // What bears members' names is that StatefulSet's.
        false => 0,
    };
    let members = owned::Members {
        identity,
        places,
        set: uid.as_deref(),
        // Somebody may have scaled it further than the cache ever asked for.
        replicas: replicas.map(|live| if committed > 0 { live.min(committed) } else { live }),
        is_foreign: matches!(judged, Some(Whose::Foreign { .. })),
        state,
        timeout,
    };
    let (pods, claims) = tokio::try_join!(
        owned::read(&pods, owned::PODS, members),
        owned::read(&claims, owned::CLAIMS, members),
    )?;
    let mut taken: Vec<Taken> =
        set.iter().filter_map(|set| Taken::of(&set.metadata, identity, "StatefulSet")).collect();
    taken.extend(pods.taken.into_iter().chain(claims.taken));
    let mut unlabelled = pods.unlabelled;
    unlabelled.extend(claims.unlabelled);
    let leaving = |node: &str| nodes.is_leaving(node);
    Ok(Objects {
        hindrances: pods
            .ours
            .iter()
            .filter_map(|(at, pod)| {
                Some((*at, why::of_node(pod, nodes).or_else(|| why::of_pod(pod, known))?))
            })
            .collect(),
        set: facts,
        pods: pods.ours.iter().map(|(at, pod)| (*at, facts::pod(pod, leaving))).collect(),
        claims: claims.ours.iter().map(|(at, claim)| (*at, facts::claim(claim, made))).collect(),
        taken,
        unlabelled,
        stateful_set: set.filter(|_| judged.as_ref().is_some_and(Whose::may_be_written)),
    })
}

async fn timed<T>(
    what: &'static str,
    timeout: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Api { what, source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { what }),
    }
}

/// What is asked of the group beside its members.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Grids whose fields are read.
    pub grids: Vec<String>,
    /// Whether the fields of all others are read as well.
    pub every_grid: bool,
    /// Templates whose documents are read.
    pub templates: Vec<String>,
}

/// Asks the members, and puts both halves together. Without access (credentials are missing) the
/// members are not asked.
pub async fn group(
    objects: &Objects,
    state: &CacheState,
    access: Option<&Access>,
    asked: &Asked,
    at: Moment,
) -> Observation {
    let mut seen = Observation {
        at,
        stateful_set: objects.set.clone(),
        pods: objects.pods.clone(),
        claims: objects.claims.clone(),
        hindrances: objects.hindrances.clone(),
        reports: BTreeMap::new(),
        grids: None,
        templates: None,
        taken: objects.taken.clone(),
    };
    let Some(access) = access else { return seen };
    let answering = objects.pods.iter().filter(|(_, pod)| pod.address.is_some() && pod.running);
    let reports = answering.map(async |(ordinal, pod)| {
        (*ordinal, report(access, state, *ordinal, pod, objects.claims.get(ordinal)).await)
    });
    seen.reports = join_all(reports).await.into_iter().collect();
    read_again(access, state, objects, &mut seen).await;
    seen.grids = shown::grids(access, state, &seen, asked).await;
    seen.templates = shown::templates(access, state, &seen, &asked.templates).await;
    seen
}

async fn report(
    access: &Access,
    state: &CacheState,
    ordinal: Ordinal,
    pod: &PodFacts,
    claim: Option<&ClaimFacts>,
) -> Report {
    let mut member = access.member(state, ordinal, pod, claim);
    let (group, mut shown, mut refused) = first_answer(access, &mut member, ordinal, pod).await;
    let client = access.client(&member);
    let tasks = match &group {
        // Who does not answer one question is not asked another in the same pass.
        Answer::Unknown { reason } => Answer::Unknown { reason: reason.clone() },
        // A refused password is not tried twice.
        Answer::Refused { status: 401, error } => {
            Answer::Refused { status: 401, error: error.clone() }
        }
        Answer::Known(_) | Answer::Refused { .. } => client.tasks().await,
    };
    // Whether it may be wiped depends on what it may hold.
    let stray = matches!(&group, Answer::Known(view) if view.members.len() > 1)
        && !state.members.contains_key(&ordinal);
    let lists_grids = match stray {
        true => client.grids().await.as_known().map(|grids| !grids.is_empty()),
        false => None,
    };
    shown = client.certificate().or(shown);
    refused = client.refused_certificate().or(refused);
    let (fingerprint, untrusted) = match (&member.trust, shown) {
        (Trust::Pinned(pin), Some(shown)) if shown != *pin => (None, Some(shown.to_string())),
        (Trust::Pinned(_) | Trust::FirstUse, shown) => (shown.map(|shown| shown.to_string()), None),
        (Trust::Ca(_), _) => (None, refused.map(|refused| refused.to_string())),
        (Trust::Insecure, _) => (None, None),
    };
    Report {
        incarnation: pod.incarnation.clone(),
        group,
        group_again: None,
        tasks,
        lists_grids,
        fingerprint,
        not_signed: untrusted.is_some() && matches!(member.trust, Trust::Ca(_)),
        untrusted,
        takes_former: access
            .passwords
            .former
            .as_ref()
            .is_some_and(|former| access.keyring.takes(ordinal, &pod.incarnation, former)),
    }
}

/// The member's view, with the first password that it takes, the certificate that it showed, and
/// that certificate again if it was not trusted.
/// `member` carries that password afterwards.
async fn first_answer(
    access: &Access,
    member: &mut Member,
    ordinal: Ordinal,
    pod: &PodFacts,
) -> (Answer<GroupView>, Option<Fingerprint>, Option<Fingerprint>) {
    let ring = &access.keyring;
    let mut shown = None;
    let mut refusal = String::new();
    for password in ring.order(ordinal, &pod.incarnation, &access.passwords) {
        member.credentials = Credentials::admin(password.clone());
        let client = access.client(member);
        let answer = client.group().await;
        shown = client.certificate();
        match answer {
            Answer::Refused { status: 401, error } => refusal = error,
            answer => {
                if matches!(answer, Answer::Known(_)) {
                    ring.accepted(ordinal, &pod.incarnation, &password);
                }
                return (answer, shown, client.refused_certificate());
            }
        }
    }
    (Answer::Refused { status: 401, error: refusal }, shown, None)
}

/// Where no two established members answer beside one that may be in question, the primary's view
/// is read twice: two reads of one member stand in for the views of two.
async fn read_again(
    access: &Access,
    state: &CacheState,
    objects: &Objects,
    seen: &mut Observation,
) {
    let answers = |ordinal: &Ordinal| {
        seen.reports.get(ordinal).is_some_and(|report| report.fresh_group().is_some())
    };
    if state.members.keys().filter(|ordinal| answers(ordinal)).count() > 2 {
        return;
    }
    let Some(only) = crate::decide::views::primary(seen, state).filter(answers) else { return };
    let Some(pod) = objects.pods.get(&only) else { return };
    let member = access.member(state, only, pod, objects.claims.get(&only));
    let again = access.client(&member).group().await;
    if let Some(report) = seen.reports.get_mut(&only) {
        report.group_again = Some(again);
    }
}
