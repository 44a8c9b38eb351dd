//! Reconcile: one pass over one object, again and again.
//!
//! A pass is: resolve what the spec names, apply the objects that hold no state, observe, decide
//! one thing, record its intent, do it, record its outcome, project the status. See
//! [`pass::reconcile`], which is all of it on one screen.

pub mod credentials;
pub mod findings;
pub mod grids;
mod labels;
pub mod mark;
pub mod monitor;
pub mod objects;
pub mod pass;
pub mod rehearse;
pub mod resolve;
pub mod standing;
pub mod step;
pub mod streams;
pub mod templates;
mod vanished;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod};
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span, warn};
use xsld_journal::event::{Event, OperationId};
use xsld_journal::record::{Epoch, StreamId};
use xsld_journal::state::CacheState;
use xsld_journal::store::{Append, AppendError, Store};

use crate::clock::{Clock, Moment, ServerTime};
use crate::crd::{DataGrid, GridTemplate, XsldCache};
use crate::decide::watch::Watch;
use crate::ids::Ids;
use crate::lease::Leadership;
use crate::metrics::{ErrorLabels, Metrics, StepLabels};
use crate::observe::keyring::Keyring;
use crate::observe::nodes::{self, Nodes};
use crate::recover::anchor::{self, Anchor, AnchorKeeper};
use crate::telemetry::chain;
use crate::times::Times;
use crate::xsld::transport::Transport;
use crate::{events, exit, observe};

/// How many caches are looked at at the same time.
const CONCURRENCY: u16 = 64;

/// A watch that is quiet for longer is made anew: balancers drop idle connections at 240 s.
const WATCH_TIMEOUT_S: u32 = 200;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kubernetes could not be read.
    #[error(transparent)]
    Observe(#[from] observe::Error),
    /// The journal refused a record.
    #[error("failed to append to the journal")]
    Append(#[from] AppendError),
    /// The anchor could not be moved.
    #[error(transparent)]
    Anchor(#[from] anchor::Error),
    /// A write to the API server failed.
    #[error("failed to {what}")]
    Write {
        /// What was written.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// It did not answer in time.
    #[error("the API server did not answer in time when asked to {what}")]
    Timeout {
        /// What was asked.
        what: &'static str,
    },
    /// The status could not be written.
    #[error(transparent)]
    Status(#[from] crate::status::publish::Error),
    /// The term of leadership ran out before a record could be written.
    #[error("the term of leadership has run out")]
    TermEnded,
}

impl Error {
    /// Bounded name for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Observe(error) => error.category(),
            Self::Append(error) => error.category(),
            Self::Anchor(_) => "anchor",
            Self::Write { .. } => "write",
            Self::Timeout { .. } => "write_timeout",
            Self::Status(_) => "status",
            Self::TermEnded => "term_ended",
        }
    }
}

/// Why the whole process must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    /// One line for people.
    pub reason: String,
    /// Exit code of the process.
    pub exit_code: u8,
}

/// What all passes share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The API server's time, for the age of what it tells.
    pub server_time: Arc<ServerTime>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
    /// Time constants.
    pub times: Times,
    /// The term of leadership.
    pub leadership: Arc<Leadership>,
    /// Its epoch.
    pub epoch: Epoch,
    /// The anchor, moved by one at a time.
    pub anchor: tokio::sync::Mutex<AnchorKeeper>,
    /// Held while a record is appended that says in which cache a DataGrid's grid is.
    pub binding: tokio::sync::Mutex<()>,
    /// Carries requests to members.
    pub transport: Arc<dyn Transport>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Namespace of the operator itself.
    pub operator_namespace: String,
    /// Name of this instance in Events.
    pub instance: String,
    /// Nothing that changes anything is sent before this moment: requests of the instance before
    /// may still be on their way.
    pub acts_from: Moment,
    /// No destructive step before this moment: the anchor was lost.
    pub destroys_from: Moment,
    /// Cancelled when the process is to end.
    pub stop: CancellationToken,
    /// What the caches' passes last knew of templates.
    pub templates: templates::Sights,
    /// What is known of the nodes.
    pub nodes: Nodes,
    /// What the passes over each object found in their way.
    pub findings: findings::Memories,
    watches: Mutex<HashMap<String, Watch>>,
    keyrings: Mutex<HashMap<String, Arc<Keyring>>>,
    turns: Mutex<HashMap<StreamId, Arc<tokio::sync::Mutex<()>>>>,
    told: Mutex<HashMap<String, String>>,
    fatal: Mutex<Option<Fatal>>,
}

/// What is needed to make a [`Context`] beside the shared state that it makes itself.
pub struct ContextParts {
    /// See [`Context`].
    pub client: Client,
    /// See [`Context`].
    pub store: Arc<dyn Store>,
    /// See [`Context`].
    pub clock: Arc<dyn Clock>,
    /// See [`Context`].
    pub server_time: Arc<ServerTime>,
    /// See [`Context`].
    pub ids: Arc<dyn Ids>,
    /// See [`Context`].
    pub times: Times,
    /// See [`Context`].
    pub leadership: Arc<Leadership>,
    /// The term that has begun.
    pub term: crate::recover::Term,
    /// See [`Context`].
    pub transport: Arc<dyn Transport>,
    /// See [`Context`].
    pub metrics: Arc<Metrics>,
    /// See [`Context`].
    pub operator_namespace: String,
    /// See [`Context`].
    pub instance: String,
    /// See [`Context`].
    pub acts_from: Moment,
    /// See [`Context`].
    pub stop: CancellationToken,
}

impl Context {
    /// The context of a term that has begun.
    pub fn new(parts: ContextParts) -> Arc<Self> {
        let now = parts.clock.now();
        let quiet = if parts.term.cautious { parts.times.rebuild_quiet } else { Duration::ZERO };
        parts.metrics.epoch.set(i64::try_from(parts.term.epoch.0).unwrap_or(i64::MAX));
        parts.metrics.leader.set(1);
        // What a former term left open or parked is told before anything new is recorded.
        parts.metrics.follow(parts.store.as_ref());
        Arc::new(Self {
            client: parts.client,
            store: parts.store,
            clock: parts.clock,
            server_time: parts.server_time,
            ids: parts.ids,
            times: parts.times,
            leadership: parts.leadership,
            epoch: parts.term.epoch,
            anchor: tokio::sync::Mutex::new(parts.term.anchor),
            binding: tokio::sync::Mutex::default(),
            transport: parts.transport,
            metrics: parts.metrics,
            operator_namespace: parts.operator_namespace,
            instance: parts.instance,
            acts_from: parts.acts_from,
            destroys_from: now.plus(quiet),
            stop: parts.stop,
            templates: templates::Sights::default(),
            nodes: Nodes::default(),
            findings: findings::Memories::default(),
            watches: Mutex::default(),
            keyrings: Mutex::default(),
            turns: Mutex::default(),
            told: Mutex::default(),
            fatal: Mutex::default(),
        })
    }

    /// Ends the process: the first reason is kept.
    pub fn fail(&self, reason: String, exit_code: u8) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.get_or_insert(Fatal { reason, exit_code });
        self.stop.cancel();
    }

    /// Why the process is to end with an error, if it is.
    pub fn fatal(&self) -> Option<Fatal> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn watch(&self, uid: &str) -> Watch {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.get(uid).cloned().unwrap_or_default()
    }

    /// Which passwords the members of a cache take, as far as this process found out.
    fn keyring(&self, uid: &str) -> Arc<Keyring> {
        let mut keyrings = self.keyrings.lock().unwrap_or_else(PoisonError::into_inner);
        keyrings.entry(uid.to_owned()).or_default().clone()
    }

    fn keep_watch(&self, uid: &str, watch: Option<Watch>) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        match watch {
            Some(watch) => watches.insert(uid.to_owned(), watch),
            None => {
                self.templates.forget(uid);
                self.findings.forget(uid);
                self.keyrings.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
                watches.remove(uid)
            }
        };
    }

    /// Appends to a cache's stream, tells Events and metrics, and returns the new state. It is
    /// durable when this returns. What only another writer or a broken disk can cause ends the
    /// process, and so does a term that has run out: a process that stood still for that long writes
    /// nothing more, not even what came of its last request.
    ///
    /// # Errors
    /// What the journal refuses.
    pub async fn append(
        &self,
        subject: &Subject,
        operation: Option<OperationId>,
        events: Vec<Event>,
        blobs: Vec<String>,
    ) -> Result<Arc<CacheState>, Error> {
        if !self.leadership.confirmed().await {
            self.fail("the lease ran out: the process stood still".to_owned(), exit::LEASE);
            return Err(Error::TermEnded);
        }
        let before = self.store.state(subject.stream).unwrap_or_default();
        let expected = self.store.stream_head(subject.stream).map_or(0, |head| head.stream_seq);
        let events = bound(events);
        let append = Append {
            stream: subject.stream,
            expected,
            epoch: self.epoch,
            operation,
            time_us: self.clock.wall().as_microsecond(),
            events,
            blobs,
        };
        let store = self.store.clone();
        let written = tokio::task::spawn_blocking(move || store.append(append)).await;
        let written = written
            .unwrap_or_else(|error| Err(AppendError::Poisoned { reason: error.to_string() }));
        let appended = match written {
            Ok(appended) => appended,
            Err(error) => {
                match &error {
                    AppendError::Poisoned { .. } => self.fail(chain(&error), exit::POISONED),
                    AppendError::Conflict { .. } | AppendError::StaleEpoch { .. } => {
                        self.fail(format!("another writer: {}", chain(&error)), exit::OTHER_WRITER);
                    }
                    _ => {}
                }
                return Err(error.into());
            }
        };
        self.count(&appended.records, &before);
        let notes = events::notes(&appended.records, &before);
        subject.publish(self, &notes).await;
        if appended
            .records
            .iter()
            .any(|record| matches!(record.event, Event::OperationEnded { .. }))
            && let Err(error) = self.move_anchor().await
        {
            // The record is durable; the anchor follows with the next one or by its timer.
            warn!(error = chain(&error), "the anchor could not be moved");
        }
        Ok(appended.state)
    }

    fn count(&self, records: &[xsld_journal::record::Record], before: &CacheState) {
        for record in records {
            self.metrics.records.inc();
            let outcome = match &record.event {
                Event::StepSucceeded { .. } => "succeeded",
                Event::StepFailed { .. } => "failed",
                Event::StepVoid { .. } => "void",
                Event::StepNotSent { .. } => "not_sent",
                _ => continue,
            };
            let step = before.open_step().map_or("unknown", |open| open.step.name());
            self.metrics.steps.get_or_create(&StepLabels { step, outcome }).inc();
        }
        self.metrics.follow(self.store.as_ref());
    }

    /// Moves the anchor to the journal's present head.
    ///
    /// # Errors
    /// When it cannot be written; a conflict ends the process, because a newer term has begun.
    pub async fn move_anchor(&self) -> Result<(), Error> {
        let mut anchor = self.anchor.lock().await;
        let head = self.store.head();
        let next = Anchor {
            journal_id: head.journal_id,
            epoch: self.epoch.0,
            seq: head.seq,
            hash: anchor::hex(&head.hash),
        };
        match anchor.write(next).await {
            Err(anchor::Error::Conflict) => {
                self.fail(
                    "the anchor was moved by another operator".to_owned(),
                    exit::OTHER_WRITER,
                );
                Err(anchor::Error::Conflict.into())
            }
            // With the operator's namespace goes the anchor, and nobody makes another one there:
            // what is left in the namespace must come to its end without.
            Err(error) if error.says_namespace_ends() => {
                warn!(error = chain(&error), "the anchor goes with its namespace");
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// Moves the anchor from time to time, if records were appended since; until the end.
    pub async fn keep_anchor(&self) {
        loop {
            tokio::select! {
                () = self.clock.sleep(self.times.anchor) => {}
                () = self.stop.cancelled() => return,
            }
            let moved = self
                .anchor
                .lock()
                .await
                .last()
                .is_none_or(|last| last.seq != self.store.head().seq);
            if moved && let Err(error) = self.move_anchor().await {
                warn!(error = chain(&error), "the anchor could not be moved");
            }
        }
    }
}

/// The events as they can be recorded, whatever was answered. What does not fit is logged in full.
pub(crate) fn bound(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        for text in event.bound() {
            warn!(event = event.name(), text, "a text is too long for a record: it was cut there");
        }
    }
    events
}

/// The cache that a pass is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name, namespace and UID.
    pub identity: crate::manifests::Identity,
    /// Its stream in the journal.
    pub stream: StreamId,
    /// For Events.
    pub reference: ObjectReference,
}

impl Subject {
    /// The cache of a stored object; none when it has no UID that names a stream.
    pub fn of(object: &XsldCache, store: &dyn Store) -> Option<Self> {
        let identity = crate::manifests::Identity::of(object)?;
        let deleting = object.metadata.deletion_timestamp.is_some();
        let stream = streams::stream_of(store, &identity.uid, deleting)?;
        Some(Self { identity, stream, reference: object.object_ref(&()) })
    }

    async fn publish(&self, context: &Context, notes: &[events::Note]) {
        if notes.is_empty() {
            return;
        }
        let (client, wall) = (&context.client, context.clock.wall());
        let timeout = context.times.request;
        events::publish(client, &self.reference, notes, &context.instance, wall, timeout).await;
    }
}

/// Which namespaces are operated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One.
    Namespace(String),
    /// All.
    All,
}

impl Scope {
    /// The one namespace; none for all.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Namespace(namespace) => Some(namespace),
            Self::All => None,
        }
    }

    /// The objects of one kind in it.
    pub(crate) fn api<K>(&self, client: Client) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::Namespace(namespace) => Api::namespaced(client, namespace),
            Self::All => Api::all(client),
        }
    }
}

/// Runs the controllers until the context's stop token is cancelled.
pub async fn run(context: Arc<Context>, scope: &Scope) {
    let caches: Api<XsldCache> = scope.api(context.client.clone());
    let config = || watcher::Config::default().timeout(WATCH_TIMEOUT_S);
    let settings = Config::default().concurrency(CONCURRENCY);
    let controller = Controller::new(caches, config());
    let store = controller.store();
    let stop = context.stop.clone();
    let (all, all_for_templates, all_for_maps) = (store.clone(), store.clone(), store.clone());
    let watched = store.clone();
    let template_settings = settings.clone();
    let (node_changed, node_news) = nodes::news();
    let cache_runs = controller
        .with_config(settings.clone())
        .owns(scope.api::<StatefulSet>(context.client.clone()), config())
        .watches(scope.api::<Pod>(context.client.clone()), config(), |pod| standing::cache_of(&pod))
        .watches(scope.api::<DataGrid>(context.client.clone()), config(), move |grid| {
            grids::caches_of(&grid, &all)
        })
        .watches(scope.api::<GridTemplate>(context.client.clone()), config(), move |template| {
            templates::caches_of(&template, &all_for_templates)
        })
        .watches(
            scope.api::<ConfigMap>(context.client.clone()),
            config().labels("!app.kubernetes.io/managed-by"),
            move |map| naming(&map, &all_for_maps),
        )
        .reconcile_all_on(node_news)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            {
                let store = store.clone();
                move |object, context| reconcile(object, context, store.clone())
            },
            after_error,
            context.clone(),
        )
        .for_each(|_| async {});
    let grid_controller = Controller::new(scope.api::<DataGrid>(context.client.clone()), config());
    let grid_store = grid_controller.store();
    let grid_runs = grid_controller
        .with_config(settings)
        .watches(scope.api::<XsldCache>(context.client.clone()), config(), move |cache| {
            grids::beside(&cache, &grid_store)
        })
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(
            move |grid, context| grids::reconcile(grid, context, store.clone()),
            after_grid_error,
            context.clone(),
        )
        .for_each(|_| async {});
    let template_runs = run_templates(context.clone(), scope, template_settings);
    let until = (&*context.clock, stop);
    let node_runs = context.nodes.follow(context.client.clone(), config(), node_changed, until);
    let looks = vanished::run(&context, scope, watched);
    tokio::join!(cache_runs, grid_runs, template_runs, node_runs, looks, context.keep_anchor());
}

async fn reconcile(
    object: Arc<XsldCache>,
    context: Arc<Context>,
    caches: Cache<XsldCache>,
) -> Result<Action, Error> {
    let span = info_span!("cache", namespace = object.namespace(), name = object.name_any());
    context.metrics.passes.inc();
    let Some(_turn) = context.turn_of(&object).await else {
        return Ok(Action::requeue(context.times.poll_active));
    };
    pass::reconcile(&object, &context, &caches).instrument(span).await
}

fn after_error(_: Arc<XsldCache>, error: &Error, context: Arc<Context>) -> Action {
    told(error, &context)
}

/// Runs the controller of the templates until the stop token is cancelled.
async fn run_templates(context: Arc<Context>, scope: &Scope, settings: Config) {
    let config = || watcher::Config::default().timeout(WATCH_TIMEOUT_S);
    let templates: Api<GridTemplate> = scope.api(context.client.clone());
    let controller = Controller::new(templates, config());
    let (beside, naming) = (controller.store(), controller.store());
    controller
        .with_config(settings)
        .watches(scope.api::<XsldCache>(context.client.clone()), config(), move |cache| {
            templates::beside(&cache, &beside)
        })
        .watches(
            scope.api::<ConfigMap>(context.client.clone()),
            config().labels("!app.kubernetes.io/managed-by"),
            move |map| templates::naming(&map, &naming),
        )
        .graceful_shutdown_on(context.stop.clone().cancelled_owned())
        .run(templates::reconcile, |_, error, context| told(error, &context), context.clone())
        .for_each(|_| async {})
        .await;
}

fn after_grid_error(_: Arc<DataGrid>, error: &Error, context: Arc<Context>) -> Action {
    told(error, &context)
}

fn told(error: &Error, context: &Context) -> Action {
    warn!(error = chain(error), "a pass ended early");
    context.metrics.errors.get_or_create(&ErrorLabels { category: error.category() }).inc();
    Action::requeue(context.times.poll_active)
}

/// The caches whose specs name a ConfigMap, so that one that was missing is seen when it comes.
fn naming(map: &ConfigMap, caches: &Cache<XsldCache>) -> Vec<ObjectRef<XsldCache>> {
    let name = map.metadata.name.as_deref();
    let names_it = |cache: &&Arc<XsldCache>| {
        let spec = &cache.spec;
        cache.metadata.namespace == map.metadata.namespace
            && (spec.entrypoint_config_map.as_deref() == name
                || spec.api_profile_config_map.as_deref() == name)
    };
    let state = caches.state();
    state.iter().filter(names_it).map(|cache| ObjectRef::from_obj(&**cache)).collect()
}
