//! `xsld-operator run`: puts the parts together, in the order that start-up demands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use http::Response;
use kube::client::{ClientBuilder, DynBody};
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;
use tracing::{error, info, warn};
use xsld_journal::store::Store;
use xsld_journal::store::sled::{self, Healed, OpenOptions, OpenReport};

use crate::admin::journal::{Endpoint, Journal};
use crate::admin::{self, Health, Readiness};
use crate::args::Run;
use crate::clock::{Clock, ServerTime, SystemClock};
use crate::controller::{self, Context, ContextParts, Scope};
use crate::events::{self, Note};
use crate::exit;
use crate::ids::{Ids, SystemIds};
use crate::lease::{self, Keeper, Leadership, TakeOver};
use crate::metrics::Metrics;
use crate::recover::{self, Start, forked};
use crate::retain;
use crate::telemetry::chain;
use crate::times::Times;
use crate::xsld::https::{HttpsTransport, Timeouts};
use crate::xsld::transport::Transport;

/// Why the process ends with an error: one line, and the code to end with (see [`crate::exit`]).
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Exit {
    /// One line.
    pub reason: String,
    /// Exit code of the process.
    pub code: u8,
}

impl Exit {
    fn new(code: u8, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), code }
    }
}

/// Runs the operator until it is told to stop.
///
/// # Errors
/// Why it ended otherwise.
pub async fn run(args: &Run) -> Result<(), Exit> {
    let times = times(args)?;
    let stop = stop_on_signals().map_err(|error| Exit::new(exit::USAGE, error.to_string()))?;
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (SystemClock::new(), SystemIds::new());
    let metrics = Arc::new(Metrics::default());
    let health = Health::new(metrics.clone());
    let serving = serve(args, &health, &stop).await?;
    let endpoint = endpoint(args).await?;
    let (store, report) = open(args, &*ids).await?;
    let (client, scope, operator_namespace, server_time) = connect(args, &clock).await?;
    let holder = holder(args, &store)?;
    let mut keeper = keeper(&client, &operator_namespace, &holder, &clock, times, &*store);
    health.set(Readiness::Standby);
    let take_over = tokio::select! {
        take_over = keeper.acquire() => take_over,
        () = stop.cancelled() => return Ok(()),
    };
    let (leadership, transitions) = (keeper.leadership(), keeper.transitions());
    // The lease is renewed from now on, while the journal is judged, until the last pass has ended.
    let passes_ended = CancellationToken::new();
    let kept = tokio::spawn(keep(keeper, passes_ended.clone()));
    let start = Start {
        client: &client,
        namespace: &operator_namespace,
        scope: &scope,
        clock: &clock,
        times: &times,
        lease: (&holder, transitions),
        leadership: &leadership,
        served: endpoint.as_ref().map(|endpoint| endpoint.served(args.pod_name.clone())),
    };
    let shower = Shower { endpoint, metrics: metrics.clone(), dir: args.journal_dir.clone() };
    let waiting = Waiting {
        health: &health,
        metrics: &metrics,
        leadership: &leadership,
        stop: &stop,
        shower: &shower,
    };
    let begun = judged(&start, &waiting, args, &*ids, (store, report)).await?;
    let Some((store, report, term)) = begun else {
        return give_back(kept, &passes_ended).await;
    };
    info!(epoch = term.epoch.0, holder, ?take_over, "a term of leadership has begun");
    let finding = term.finding.clone();
    let context = Context::new(ContextParts {
        acts_from: clock.now().plus(wait(take_over, &term, &times)),
        client,
        store: store.clone(),
        clock: clock.clone(),
        server_time,
        ids,
        times,
        leadership,
        term,
        transport: transport(&times),
        metrics,
        operator_namespace,
        instance: holder.chars().take(120).collect(),
        stop: stop.clone(),
    });
    health.set(Readiness::Leading);
    let asked = shower.lead(&context, &scope);
    tell_findings(&context, finding, &report).await;
    lead(&context, &scope, args, kept, &passes_ended).await;
    tell_the_end(&context, &health);
    let _ = futures::join!(serving, OptionFuture::from(asked));
    // A lost lease may have been noticed only now.
    context.fatal().map_or(Ok(()), |fatal| Err(Exit::new(fatal.exit_code, fatal.reason)))
}

/// Carries requests to members.
fn transport(times: &Times) -> Arc<dyn Transport> {
    let timeouts = Timeouts { connect: times.connect, request: times.request };
    Arc::new(HttpsTransport::new(timeouts))
}

/// Makes passes until it is told to stop or must not go on, and gives the lease back.
async fn lead(
    context: &Arc<Context>,
    scope: &Scope,
    args: &Run,
    kept: JoinHandle<(Keeper, Option<lease::Error>)>,
    passes_ended: &CancellationToken,
) {
    controller::monitor::apply(context).await;
    let watched = tokio::spawn(end_with_the_lease(context.clone(), kept));
    let retaining = tokio::spawn(retain::run(context.clone(), args.journal.limits()));
    controller::run(context.clone(), scope).await;
    // Nobody decides here any more once the lease is given back.
    context.stop.cancel();
    // What it records belongs to the term.
    let _ = retaining.await;
    passes_ended.cancel();
    let _ = watched.await;
}

/// Whether it ends by itself, where people look.
fn tell_the_end(context: &Context, health: &Health) {
    match context.fatal() {
        Some(fatal) => {
            health.set(Readiness::Failed(fatal.reason.clone()));
            error!(reason = fatal.reason, "ending");
        }
        None => info!("stopped at a boundary"),
    }
}

/// Gives the lease back: it was told to stop while a person had to decide on a forked journal.
async fn give_back(
    kept: JoinHandle<(Keeper, Option<lease::Error>)>,
    ended: &CancellationToken,
) -> Result<(), Exit> {
    ended.cancel();
    let ended = |reason: String| Exit::new(exit::LEASE, reason);
    let (mut keeper, _) = kept.await.map_err(|error| ended(error.to_string()))?;
    keeper.release().await.map_err(|error| ended(chain(&error)))
}

/// Serves health and metrics from the very start.
async fn serve(
    args: &Run,
    health: &Arc<Health>,
    stop: &CancellationToken,
) -> Result<JoinHandle<std::io::Result<()>>, Exit> {
    let (listener, address) = admin::listen(args.listen)
        .await
        .map_err(|error| Exit::new(exit::USAGE, format!("--listen {}: {error}", args.listen)))?;
    info!(%address, "serving /healthz, /readyz and /metrics");
    Ok(tokio::spawn(admin::serve(listener, health.clone(), stop.clone())))
}

/// Takes the address at which the journal is to be served, and the certificate, before anything is
/// begun: what cannot be had is told at once.
async fn endpoint(args: &Run) -> Result<Option<Endpoint>, Exit> {
    let Some(address) = args.journal_listen else { return Ok(None) };
    let files = args.journal_tls_cert.as_deref().zip(args.journal_tls_key.as_deref());
    let endpoint = Endpoint::take(address, args.pod_ip, files).await;
    endpoint.map(Some).map_err(|error| {
        Exit::new(exit::USAGE, format!("--journal-listen {address}: {}", chain(&error)))
    })
}

/// Serves the journal, where that is asked for.
struct Shower {
    endpoint: Option<Endpoint>,
    metrics: Arc<Metrics>,
    dir: PathBuf,
}

impl Shower {
    /// Serves the journal of an operator that leads, until it stops.
    fn lead(&self, context: &Arc<Context>, scope: &Scope) -> Option<JoinHandle<()>> {
        let endpoint = self.told()?;
        let journal = Journal {
            client: context.client.clone(),
            store: Arc::downgrade(&context.store),
            clock: context.clock.clone(),
            times: context.times,
            metrics: self.metrics.clone(),
            namespace: scope.namespace().map(str::to_owned),
            dir: self.dir.clone(),
            leading: Some(context.clone()),
        };
        Some(tokio::spawn(endpoint.serve(journal, context.stop.clone())))
    }

    /// Serves a forked journal, to be read.
    fn show(&self, start: &Start<'_>, store: &Arc<dyn Store>) -> Option<Shown> {
        let endpoint = self.told()?;
        let journal = Journal {
            client: start.client.clone(),
            store: Arc::downgrade(store),
            clock: start.clock.clone(),
            times: *start.times,
            metrics: self.metrics.clone(),
            namespace: start.scope.namespace().map(str::to_owned),
            dir: self.dir.clone(),
            leading: None,
        };
        let over = CancellationToken::new();
        let serving = tokio::spawn(endpoint.serve(journal, over.clone()));
        Some(Shown { over, serving })
    }

    fn told(&self) -> Option<Endpoint> {
        let endpoint = self.endpoint.clone()?;
        info!(url = endpoint.url(), fingerprint = %endpoint.fingerprint(), "serving the journal");
        Some(endpoint)
    }
}

/// A forked journal that is served to be read, while a person has to decide.
struct Shown {
    over: CancellationToken,
    serving: JoinHandle<()>,
}

impl Shown {
    async fn end(self) {
        self.over.cancel();
        let _ = self.serving.await;
    }
}

/// What was odd at start-up becomes an Event of the anchor's ConfigMap, where people look.
async fn tell_findings(context: &Context, finding: Option<recover::Finding>, report: &OpenReport) {
    let rebuilt = report.healed.iter().filter_map(|healed| match healed {
        Healed::Rebuilt { reason, records, .. } => Some((
            "JournalRebuilt",
            format!("sled was made anew from the audit file with {records} records: {reason}"),
        )),
        Healed::AuditMended { damage, records, .. } => Some((
            "JournalMended",
            format!("the audit file was mended with {records} records from sled: {damage}"),
        )),
        Healed::BaseRestored { files } => Some((
            "JournalBaseRestored",
            format!("{} was missing or damaged, and was written anew", files.join(", ")),
        )),
        Healed::Appended { .. } | Healed::RetirementFinished { .. } | Healed::Trimmed { .. } => {
            None
        }
    });
    let base = report.base_finding.clone().map(|finding| ("JournalBaseLost", finding));
    let notes: Vec<_> = finding
        .map(|finding| (finding.reason, finding.message))
        .into_iter()
        .chain(rebuilt)
        .chain(base)
        .map(|(reason, message)| Note {
            reason,
            warning: true,
            message,
            operation: None,
            seq: None,
            action: "Recover",
        })
        .collect();
    if notes.is_empty() {
        return;
    }
    let anchor = forked::anchor(&context.operator_namespace);
    let (client, wall) = (&context.client, context.clock.wall());
    let timeout = context.times.request;
    events::publish(client, &anchor, &notes, &context.instance, wall, timeout).await;
}

/// Renews until the term is lost, or nothing is done in it any more.
async fn keep(mut keeper: Keeper, ended: CancellationToken) -> (Keeper, Option<lease::Error>) {
    let lost = tokio::select! {
        lost = keeper.keep() => Some(lost),
        () = ended.cancelled() => None,
    };
    (keeper, lost)
}

/// Ends the process when the lease is lost; gives the lease back when the process ends well, so
/// that a successor need not wait. Only after the last pass: its requests have ended by then.
async fn end_with_the_lease(
    context: Arc<Context>,
    kept: JoinHandle<(Keeper, Option<lease::Error>)>,
) {
    let (mut keeper, lost) = match kept.await {
        Ok(kept) => kept,
        Err(error) => return context.fail(format!("the lease keeper ended: {error}"), exit::LEASE),
    };
    if let Some(lost) = lost {
        return context.fail(chain(&lost), exit::LEASE);
    }
    if context.fatal().is_none()
        && let Err(error) = keeper.release().await
    {
        warn!(error = chain(&error), "the lease could not be given back");
    }
}

/// Opens and heals the journal; it blocks, so it runs on a thread of its own.
async fn open(args: &Run, ids: &dyn Ids) -> Result<(Arc<dyn Store>, OpenReport), Exit> {
    let dir = args.journal_dir.as_path();
    let segment_max = args.journal.segment_size;
    let options = OpenOptions { segment_max, ..OpenOptions::new(dir.to_owned(), ids.journal()) };
    let opened = tokio::task::spawn_blocking(move || sled::open(&options)).await;
    match opened {
        Ok(Ok((store, report))) => {
            tell(dir, &report);
            Ok((Arc::new(store), report))
        }
        Ok(Err(error)) => Err(Exit::new(error.exit_code(), chain(&error))),
        Err(error) => {
            Err(Exit::new(exit::POISONED, format!("the journal could not be opened: {error}")))
        }
    }
}

fn tell(dir: &Path, report: &OpenReport) {
    let dir = dir.display();
    let OpenReport { records, created, checkpoint, retired, .. } = report;
    info!(%dir, records, created, checkpoint, retired, "the journal is open");
    if let Some(finding) = &report.base_finding {
        warn!(finding, "the base of the retired records");
    }
    if let Some(torn) = &report.torn_tail {
        warn!(?torn, "an append that was never acknowledged was cut from the journal's end");
    }
    for ignored in &report.ignored_checkpoints {
        warn!(?ignored, "a checkpoint does not fit; the records are folded without it");
    }
    for healed in &report.healed {
        match healed {
            Healed::AuditMended { .. } => {
                warn!(?healed, "the audit file was damaged, and was put together from both copies");
            }
            Healed::Appended { from, to } => info!(from, to, "records were added to sled"),
            Healed::BaseRestored { .. } => warn!(?healed, "the base was written anew"),
            Healed::RetirementFinished { through } => {
                info!(through, "a retirement was brought to its end");
            }
            Healed::Trimmed { generation, retired } => {
                info!(generation, retired, "sled was made anew without retired records");
            }
            Healed::Rebuilt { .. } => {
                warn!(?healed, quarantined = ?report.quarantined, "sled was rebuilt from the audit file");
            }
        }
    }
}

/// The API server, and the namespaces to work in.
async fn connect(
    args: &Run,
    clock: &Arc<dyn Clock>,
) -> Result<(Client, Scope, String, Arc<ServerTime>), Exit> {
    let config = kube::Config::infer().await.map_err(|error| {
        Exit::new(exit::USAGE, format!("no kubeconfig and not in a cluster: {}", chain(&error)))
    })?;
    let default = config.default_namespace.clone();
    let client = ClientBuilder::try_from(config).map_err(|error| {
        Exit::new(exit::USAGE, format!("the kubeconfig cannot be used: {}", chain(&error)))
    })?;
    let server_time = ServerTime::new(clock.clone());
    let client = client.with_layer(&hearing(server_time.clone())).build();
    let scope = match (args.all_namespaces, &args.namespace) {
        (true, _) => Scope::All,
        (false, Some(namespace)) => Scope::Namespace(namespace.clone()),
        (false, None) => Scope::Namespace(default.clone()),
    };
    let operator_namespace = match (&args.operator_namespace, &scope) {
        (Some(namespace), _) => namespace.clone(),
        (None, Scope::Namespace(namespace)) => namespace.clone(),
        (None, Scope::All) => args.pod_namespace.clone().unwrap_or(default),
    };
    Ok((client, scope, operator_namespace, server_time))
}

/// Hears of each answer what time it is for the API server.
fn hearing(
    server_time: Arc<ServerTime>,
) -> MapResponseLayer<impl Fn(Response<Box<DynBody>>) -> Response<Box<DynBody>> + Clone> {
    MapResponseLayer::new(move |answer: Response<Box<DynBody>>| {
        let date = answer.headers().get(http::header::DATE);
        if let Some(date) = date.and_then(|date| date.to_str().ok()) {
            server_time.hear(date);
        }
        answer
    })
}

/// How long a former leader may still act on what it sent.
fn wait(take_over: TakeOver, term: &recover::Term, times: &Times) -> Duration {
    match take_over {
        TakeOver::FromAnother if !term.first => times.lease + times.request,
        TakeOver::Mine | TakeOver::FromAnother => Duration::ZERO,
    }
}

/// The time constants, where they go together.
fn times(args: &Run) -> Result<Times, Exit> {
    let times = args.times.times();
    times.check().map_err(|error| Exit::new(exit::USAGE, error.to_string()))?;
    Ok(times)
}

/// Who takes and renews the Lease.
fn keeper(
    client: &Client,
    namespace: &str,
    holder: &str,
    clock: &Arc<dyn Clock>,
    times: Times,
    store: &dyn Store,
) -> Keeper {
    let leases = Api::namespaced(client.clone(), namespace);
    let last_holder = store.log_state().holder.clone();
    Keeper::new(leases, holder.to_owned(), clock.clone(), times).after(last_holder)
}

/// Who leads, with this journal.
fn holder(args: &Run, store: &Arc<dyn Store>) -> Result<String, Exit> {
    recover::holder(args.pod_uid.as_deref(), store.head().journal_id, &args.journal_dir)
        .map_err(|error| Exit::new(exit::USAGE, format!("failed to tell this instance: {error}")))
}

/// Begins the term with the journal that was opened, or with another one where that cannot be gone
/// on with. None when it was told to stop before that.
async fn judged(
    start: &Start<'_>,
    waiting: &Waiting<'_>,
    args: &Run,
    ids: &dyn Ids,
    opened: (Arc<dyn Store>, OpenReport),
) -> Result<Option<(Arc<dyn Store>, OpenReport, recover::Term)>, Exit> {
    let (store, report) = opened;
    let loss = match begin_term(start, waiting, &store, None).await? {
        Some(recover::Begun::Term(term)) => return Ok(Some((store, report, *term))),
        Some(recover::Begun::SetAside(loss)) => loss,
        Some(recover::Begun::Forked(why)) => return Err(Exit::new(exit::VERDICT, why)),
        None => return Ok(None),
    };
    let (store, report) = begin_anew(args, ids, store, &loss).await?;
    match begin_term(start, waiting, &store, Some(&loss)).await? {
        Some(recover::Begun::Term(term)) => Ok(Some((store, report, *term))),
        Some(recover::Begun::SetAside(loss)) => Err(Exit::new(exit::VERDICT, loss.why)),
        Some(recover::Begun::Forked(why)) => Err(Exit::new(exit::VERDICT, why)),
        None => Ok(None),
    }
}

/// Sets the journal aside that cannot be gone on with, and opens an empty one in its place.
async fn begin_anew(
    args: &Run,
    ids: &dyn Ids,
    store: Arc<dyn Store>,
    loss: &recover::Loss,
) -> Result<(Arc<dyn Store>, OpenReport), Exit> {
    let (former, found) = (args.journal_dir.clone(), loss.found);
    let moved = tokio::task::spawn_blocking(move || {
        // The lock is given back with the store, of which nobody else has a share yet.
        drop(store);
        sled::set_aside(&former, found)
    })
    .await
    .map_err(|error| Exit::new(exit::POISONED, format!("the journal could not be moved: {error}")))?
    .map_err(|error| Exit::new(error.exit_code(), chain(&error)))?;
    warn!(why = loss.why, kept_in = %moved.display(), "the journal was set aside");
    open(args, ids).await
}

/// What is told, and what ends it, while a person has to decide on a forked journal.
struct Waiting<'a> {
    health: &'a Health,
    metrics: &'a Metrics,
    leadership: &'a Leadership,
    stop: &'a CancellationToken,
    shower: &'a Shower,
}

/// Begins the term; what may pass by itself is tried again while the lease is kept. With a forked
/// journal it looks again until a person has decided; none when it was told to stop meanwhile.
async fn begin_term(
    start: &Start<'_>,
    waiting: &Waiting<'_>,
    store: &Arc<dyn Store>,
    loss: Option<&recover::Loss>,
) -> Result<Option<recover::Begun>, Exit> {
    let Start { clock, times, .. } = *start;
    let mut deadline = clock.now().plus(times.lease);
    let mut shown = None;
    loop {
        let error = match recover::begin_term(start, store, loss).await {
            Ok(recover::Begun::Forked(why)) => {
                if shown.is_none() {
                    shown = waiting.shower.show(start, store);
                }
                if !read_only(start, waiting, &**store, &why).await? {
                    return Ok(None);
                }
                deadline = clock.now().plus(times.lease);
                continue;
            }
            Ok(begun) => {
                OptionFuture::from(shown.map(Shown::end)).await;
                waiting.metrics.journal_read_only.set(0);
                return Ok(Some(begun));
            }
            Err(error) => error,
        };
        match &error {
            recover::Error::Verdict { reason, exit_code } => {
                return Err(Exit::new(*exit_code, reason.clone()));
            }
            recover::Error::Append(_) | recover::Error::Read(_) => {
                return Err(Exit::new(exit::POISONED, chain(&error)));
            }
            recover::Error::NotLeading => return Err(Exit::new(exit::LEASE, chain(&error))),
            _ if !error.is_retryable() || clock.now() >= deadline => {
                return Err(Exit::new(exit::API, chain(&error)));
            }
            _ => warn!(error = chain(&error), "start-up is tried again"),
        }
        clock.sleep(times.lease_renew).await;
    }
}

/// Tells that the journal is forked, and waits a while. False when it was told to stop.
async fn read_only(
    start: &Start<'_>,
    waiting: &Waiting<'_>,
    store: &dyn Store,
    why: &str,
) -> Result<bool, Exit> {
    waiting.health.set(Readiness::ReadOnly(why.to_owned()));
    waiting.metrics.journal_read_only.set(1);
    forked::tell(start, store, why).await;
    tokio::select! {
        () = start.clock.sleep(start.times.poll_idle) => {}
        () = waiting.stop.cancelled() => return Ok(false),
    }
    if start.clock.now() >= waiting.leadership.valid_until() {
        return Err(Exit::new(exit::LEASE, "the lease was lost while the journal was forked"));
    }
    Ok(true)
}

fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping at the next boundary"),
            _ = interrupt.recv() => info!("SIGINT: stopping at the next boundary"),
        }
        token.cancel();
    });
    Ok(stop)
}
