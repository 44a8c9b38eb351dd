//! Start-up, in its order: `LOCK`, open and heal, Lease, anchor, verdict, epoch, take-over wait.
//!
//! The anchor is a ConfigMap outside the volume that names the journal's head. It turns silent loss
//! into detected loss: a journal that is shorter than its anchor, or differs at the anchor's
//! record, is not the journal that acted last.

pub mod anchor;
pub mod forked;
pub mod verdict;
pub mod world;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, Client};
use tracing::{info, warn};
use xsld_journal::event::Event;
use xsld_journal::record::{Epoch, StreamId};
use xsld_journal::state::Gap;
use xsld_journal::store::{self, Append, AppendError, Store};

use self::anchor::{Anchor, AnchorKeeper};
use self::verdict::{Found, Verdict};
use self::world::{Remembered, World};
use crate::clock::Clock;
use crate::controller::Scope;
use crate::lease::Leadership;
use crate::times::Times;

/// Why the operator does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal and the anchor do not belong together in a way that only a person can settle.
    #[error("{reason}")]
    Verdict {
        /// What was found and what to do.
        reason: String,
        /// Exit code of the process.
        exit_code: u8,
    },
    /// The API server refused.
    #[error("failed to {what}")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The anchor cannot be read or written.
    #[error(transparent)]
    Anchor(#[from] anchor::Error),
    /// The lease ran out before the term could begin.
    #[error("the lease ran out before its term had begun")]
    NotLeading,
    /// The journal refused a record.
    #[error("failed to append to the journal")]
    Append(#[from] AppendError),
    /// The journal's records cannot be read back.
    #[error("failed to read the journal")]
    Read(#[from] store::Error),
}

impl Error {
    /// Whether the same may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Verdict { .. } | Self::NotLeading | Self::Append(_) | Self::Read(_) => false,
            Self::Api { source, .. } => is_passing(source),
            Self::Anchor(error) => error.is_retryable(),
        }
    }
}

/// Whether an API error may pass by itself.
pub(crate) fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code >= 500 || status.code == 429 || status.code == 409,
        _ => true,
    }
}

/// Whether the API server refuses to make an object because its namespace is going. It never comes
/// back, so nothing of that name is made there by anybody.
pub(crate) fn says_namespace_ends(error: &kube::Error) -> bool {
    const CAUSE: &str = "NamespaceTerminating";
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == CAUSE)
}

/// A term that has begun: the journal and its anchor agree, and the epoch is durable.
pub struct Term {
    /// The epoch that every record of this term carries.
    pub epoch: Epoch,
    /// The anchor, kept by this term.
    pub anchor: AnchorKeeper,
    /// Whether destructive steps wait for the rebuild quiet, because the anchor or the journal was
    /// lost.
    pub cautious: bool,
    /// What to tell in an Event, if anything was odd.
    pub finding: Option<Finding>,
    /// Whether nothing speaks for an operator before this one: neither an anchor, nor a record, nor a
    /// group. Then nobody's requests can be on their way.
    pub first: bool,
}

/// Something odd that people should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Reason of the Event.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

/// What came of the attempt to begin a term.
pub enum Begun {
    /// A term.
    Term(Box<Term>),
    /// Nothing was done: the journal has to be set aside first, and the attempt made again with an
    /// empty one and this.
    SetAside(Loss),
    /// Nothing was done, and nothing may be: the journal was forked, as this sentence tells. A
    /// person has to decide; what is judged then may be something else.
    Forked(String),
}

/// What a term is begun with, beside its journal.
pub struct Start<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The operator's own namespace.
    pub namespace: &'a str,
    /// Where caches are operated.
    pub scope: &'a Scope,
    /// Time.
    pub clock: &'a Arc<dyn Clock>,
    /// Time constants.
    pub times: &'a Times,
    /// Holder and transitions of the Lease, which is held.
    pub lease: (&'a str, u64),
    /// Its term: the anchor is never taken after its end.
    pub leadership: &'a Leadership,
    /// Where the journal is served, to be told on the anchor.
    pub served: Option<anchor::Served>,
}

/// What a new journal says of the one that it goes on after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The journal that was found.
    pub found: uuid::Uuid,
    /// Its last sequence.
    pub seq: u64,
    /// What was wrong with it, in a sentence.
    pub why: String,
}

/// Who leads: pod UID or boot id, journal id, inode of the journal's directory.
///
/// # Errors
/// When the directory or the boot id cannot be read.
pub fn holder(
    pod_uid: Option<&str>,
    journal_id: uuid::Uuid,
    directory: &Path,
) -> std::io::Result<String> {
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(directory)?);
    let instance = match pod_uid {
        Some(uid) => uid.to_owned(),
        None => std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
    };
    Ok(format!("{instance}/{journal_id}/{inode}"))
}

/// Judges the journal against the world and begins a term. `loss` tells of the journal that was set
/// aside just before.
///
/// # Errors
/// [`Error::Verdict`] when only a person can settle it; else what the API server or the journal
/// refused.
pub async fn begin_term(
    start: &Start<'_>,
    store: &Arc<dyn Store>,
    loss: Option<&Loss>,
) -> Result<Begun, Error> {
    let Start { client, namespace, clock, times, lease: (holder, transitions), .. } = *start;
    let anchors: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut keeper = AnchorKeeper::new(anchors, times.request, start.served.clone());
    let (verdict, anchor, namespace_uid) = judged(start, store, &mut keeper).await?;
    let head = store.head();
    info!(?verdict, seq = head.seq, "judged the journal against its anchor");
    let log = store.log_state();
    let lost = || journal_lost(anchor.as_ref(), loss, log.gap.as_ref());
    let first_ever = verdict == Verdict::New;
    let (first, finding) = match verdict {
        Verdict::New => (vec![Event::Genesis { namespace_uid }], None),
        Verdict::Adopt { why } if log.namespace_uid.is_some() => (vec![], Some(adopting(&why))),
        Verdict::Adopt { why } => (vec![Event::Genesis { namespace_uid }], Some(adopting(&why))),
        Verdict::Normal if is_rebuilding(&**store) => (vec![], Some(lost())),
        Verdict::AnchorMissing | Verdict::Normal => (vec![], None),
        Verdict::WentBack { why } => (vec![], Some(went_back(&why))),
        Verdict::AnchorLost => (vec![], Some(anchor_lost())),
        Verdict::VolumeLost => {
            let gap = gap(anchor.as_ref(), loss);
            (vec![Event::Genesis { namespace_uid }, gap], Some(lost()))
        }
        Verdict::VolumeLostBefore => (vec![], Some(lost())),
        Verdict::SetAside { why } => {
            return Ok(Begun::SetAside(Loss { found: head.journal_id, seq: head.seq, why }));
        }
        Verdict::Forked { why } => return Ok(Begun::Forked(why)),
        Verdict::Refuse { reason, exit_code } => return Err(Error::Verdict { reason, exit_code }),
    };
    if !first.is_empty() {
        append(store, clock, Epoch(0), first).await?;
    }
    let anchored_by_it = anchor.as_ref().filter(|anchor| anchor.journal_id == head.journal_id);
    let anchored = anchor.as_ref().map_or(0, |anchor| anchor.epoch);
    let epoch = Epoch(1 + anchored.max(head.epoch.0).max(transitions));
    // The anchor takes the epoch first, keeping its seq and hash: a former instance that wakes up
    // fails its next compare-and-swap, whatever its own journal says.
    let head = store.head();
    let (seq, hash) = match anchored_by_it {
        Some(anchor) => (anchor.seq, anchor.hash.clone()),
        None => (head.seq, anchor::hex(&head.hash)),
    };
    let next = Anchor { journal_id: head.journal_id, epoch: epoch.0, seq, hash };
    if !start.leadership.confirmed().await {
        return Err(Error::NotLeading);
    }
    keeper.write(next).await?;
    append(store, clock, epoch, vec![Event::EpochBegun { holder: holder.to_owned() }]).await?;
    if let Some(finding) = &finding {
        warn!(reason = finding.reason, finding = finding.message, "start-up");
    }
    let cautious = finding.is_some();
    Ok(Begun::Term(Box::new(Term { epoch, anchor: keeper, cautious, finding, first: first_ever })))
}

/// Whether an instance before this one began a journal after a loss, and died before it had adopted
/// any cache: the loss is told again, and nothing is destroyed before the quiet.
fn is_rebuilding(store: &dyn Store) -> bool {
    let lost = store.log_state().gap.is_some();
    lost && store.streams().iter().all(|(_, state)| !state.bootstrapped)
}

/// Reads what there is, and judges.
async fn judged(
    start: &Start<'_>,
    store: &Arc<dyn Store>,
    keeper: &mut AnchorKeeper,
) -> Result<(Verdict, Option<Anchor>, String), Error> {
    let timeout = start.times.request;
    let namespace_uid = namespace_uid(start.client, start.namespace, timeout).await?;
    let world = world::look(start.client, start.scope, timeout).await?;
    let anchor = keeper.read().await?;
    let head = store.head();
    let hash_at_anchor = anchor.as_ref().and_then(|anchor| store.hash_at(anchor.seq));
    let went_back = match &anchor {
        // Beside another journal's anchor there is nothing to compare.
        Some(anchor) if anchor.journal_id == head.journal_id && hash_at_anchor.is_some() => {
            world_went_back(&**store, anchor, &world)?
        }
        _ => None,
    };
    let verdict = verdict::judge(&Found {
        anchor: anchor.as_ref(),
        journal_id: head.journal_id,
        seq: head.seq,
        genesis: store.log_state().namespace_uid.as_deref(),
        namespace_uid: &namespace_uid,
        has_caches: !store.streams().is_empty(),
        hash_at_anchor,
        retired: store.retired(),
        gap: store.log_state().gap.as_ref(),
        groups: &world.groups,
        went_back,
    });
    Ok((verdict, anchor, namespace_uid))
}

fn world_went_back(
    store: &dyn Store,
    anchor: &Anchor,
    world: &World,
) -> Result<Option<String>, Error> {
    Ok(world::went_back(&Remembered::of(store, anchor)?, anchor, world))
}

fn adopting(why: &str) -> Finding {
    let message = format!(
        "{why}: the caches are adopted as they are found, and nothing is destroyed before the \
         rebuild quiet is over"
    );
    Finding { reason: "Adopting", message }
}

fn went_back(why: &str) -> Finding {
    let message = format!(
        "the API server was set back to an older state: {why}. What is seen counts from now on, \
         and nothing is destroyed before the rebuild quiet is over. A spec that is older than what was \
         acted on is not followed before somebody confirms it: look for SpecOlder"
    );
    Finding { reason: "ClusterRestored", message }
}

fn anchor_lost() -> Finding {
    let message = "the anchor ConfigMap was deleted; made again from the journal".to_owned();
    Finding { reason: "AnchorLost", message }
}

/// What was lost: as found just now, or as an instance before this one recorded it.
fn journal_lost(anchor: Option<&Anchor>, loss: Option<&Loss>, recorded: Option<&Gap>) -> Finding {
    let why = match (loss, recorded, anchor) {
        (Some(loss), _, _) => loss.why.clone(),
        (None, Some(gap), _) => format!(
            "journal {} was lost: {} of its records were found, and its anchor named sequence {}",
            gap.old_journal, gap.found_seq, gap.anchor_seq
        ),
        (None, None, Some(anchor)) => format!(
            "the volume holds nothing of journal {}, whose anchor names sequence {}",
            anchor.journal_id, anchor.seq
        ),
        (None, None, None) => "the journal was lost".to_owned(),
    };
    let message = format!(
        "{why}. A new journal was begun and says so; the caches are adopted as they are found, and \
         nothing is destroyed before the rebuild quiet is over"
    );
    Finding { reason: "JournalGap", message }
}

/// The record of what is lost.
fn gap(anchor: Option<&Anchor>, loss: Option<&Loss>) -> Event {
    let of_it = loss.filter(|loss| anchor.is_some_and(|anchor| anchor.journal_id == loss.found));
    Event::Gap {
        old_journal: anchor.map(|anchor| anchor.journal_id).unwrap_or_default(),
        found_seq: of_it.map_or(0, |loss| loss.seq),
        anchor_seq: anchor.map_or(0, |anchor| anchor.seq),
        anchor_hash: anchor.map(|anchor| anchor.hash.clone()).unwrap_or_default(),
    }
}

/// Appends to the journal's own stream.
async fn append(
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    epoch: Epoch,
    events: Vec<Event>,
) -> Result<(), AppendError> {
    let expected = store.stream_head(StreamId::JOURNAL).map_or(0, |head| head.stream_seq);
    let append = Append {
        stream: StreamId::JOURNAL,
        expected,
        epoch,
        operation: None,
        time_us: clock.wall().as_microsecond(),
        events: crate::controller::bound(events),
        blobs: vec![],
    };
    let store = store.clone();
    let written = tokio::task::spawn_blocking(move || store.append(append)).await;
    match written {
        Ok(result) => result.map(|_| ()),
        Err(error) => Err(AppendError::Poisoned { reason: error.to_string() }),
    }
}

async fn namespace_uid(
    client: &Client,
    namespace: &str,
    timeout: Duration,
) -> Result<String, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let found = timed(timeout, "read the operator's namespace", api.get(namespace)).await?;
    Ok(found.metadata.uid.unwrap_or_default())
}

/// Asks the API server and waits no longer than this.
async fn timed<T>(
    timeout: Duration,
    what: &'static str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    let failed = |source| Error::Api { what, source: Box::new(source) };
    let answer = tokio::time::timeout(timeout, request).await;
    answer.unwrap_or_else(|_| Err(timed_out())).map_err(failed)
}

fn timed_out() -> kube::Error {
    kube::Error::Service(Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))
}
