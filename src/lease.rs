//! Leadership: one operator at a time, proven by a Lease.
//!
//! A Lease is written with its resourceVersion, so that a lost race is an error and never a second
//! holder. Expiry is judged by how long the record was *seen* unchanged on our own clock, never by
//! comparing wall clocks. Calls to members cannot carry a fencing token; they are only sent while
//! the lease is valid for longer than the call may take ([`Leadership::covers`]).
//!
//! **The wall clock** counts as caution only. The monotonic clock stops with a paused machine or a
//! laptop that sleeps, so a term is over on it long after a successor began. While more time than the
//! lease has passed on the wall since the last renewal, the term is in *doubt*: nothing is sent and
//! nothing is recorded, and the Lease is renewed at once. A renewal ends the doubt either way. So a
//! wall clock that jumps forward costs one renewal and never a healthy term, one that jumps back
//! changes nothing, and neither ever makes a term longer than the monotonic clock says.
//!
//! **Others' labels and annotations** on the Lease are kept, and are no other holder: that is told by
//! the holder and the transitions alone.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::clock::{Clock, Moment};
use crate::recover::says_namespace_ends;
use crate::times::Times;

/// Name of the Lease in the operator's namespace.
pub const LEASE_NAME: &str = "xsld-operator";

/// How often a renewal is tried in a row while others write to the Lease what is none of its holder.
const TRIES_MAX: usize = 4;

/// Between two looks whether a doubt has ended.
const DOUBT_STEP: Duration = Duration::from_millis(50);

/// Why leadership could not be had or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another instance holds it now.
    #[error("the lease is held by {holder}")]
    Lost {
        /// Who.
        holder: String,
    },
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time: {reason}")]
    Expired {
        /// The last error.
        reason: String,
    },
    /// The API server refused.
    #[error("failed to {what} the lease")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// Whether the same may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Api { .. })
    }
}

/// How a term of leadership began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// It was given back, or this very instance held it: its requests are its own.
    Mine,
    /// Another instance held it until it expired, or nobody knows who did, because it was deleted: the
    /// last requests of that instance may still be on their way.
    FromAnother,
}

/// What the clocks say of the term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Valid,
    /// By the monotonic clock it goes on; on the wall it is over.
    InDoubt,
    Over,
}

/// A term of leadership: until when it is valid, on our own clock.
pub struct Leadership {
    clock: Arc<dyn Clock>,
    valid_until_ms: AtomicU64,
    /// The wall time at which it is in doubt.
    undoubted_until_us: AtomicI64,
    /// Somebody met a doubt: it is renewed at once.
    doubted: Notify,
}

impl Leadership {
    fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let (valid_until_ms, undoubted_until_us) = Default::default();
        Arc::new(Self { clock, valid_until_ms, undoubted_until_us, doubted: Notify::new() })
    }

    /// Whether the term outlasts a request of this length that is sent now.
    pub fn covers(&self, request: Duration) -> bool {
        self.standing(request) == Standing::Valid
    }

    fn standing(&self, request: Duration) -> Standing {
        if self.clock.now().plus(request) >= self.valid_until() {
            return Standing::Over;
        }
        let wall = self.clock.wall().as_microsecond().saturating_add(micros(request));
        if wall >= self.undoubted_until_us.load(Ordering::SeqCst) {
            self.doubted.notify_one();
            return Standing::InDoubt;
        }
        Standing::Valid
    }

    /// Waits while the term is in doubt. False when it is over: what was begun in it must not be
    /// recorded any more.
    pub async fn confirmed(&self) -> bool {
        loop {
            match self.standing(Duration::ZERO) {
                Standing::Valid => return true,
                Standing::Over => return false,
                Standing::InDoubt => self.clock.sleep(DOUBT_STEP).await,
            }
        }
    }

    /// Until when the term is valid.
    pub fn valid_until(&self) -> Moment {
        Moment(Duration::from_millis(self.valid_until_ms.load(Ordering::SeqCst)))
    }

    /// Goes on with an effect only while the term is valid: a process that stood still wakes with the
    /// connection made and the request not sent yet, and must not send it then. None when the term
    /// ran out; whether the effect was sent before is not known.
    pub async fn within<T>(&self, effect: impl Future<Output = T>) -> Option<T> {
        let mut effect = pin!(effect);
        poll_fn(|context| match self.covers(Duration::ZERO) {
            true => effect.as_mut().poll(context).map(Some),
            false => Poll::Ready(None),
        })
        .await
    }

    /// The term is valid for `lease` from the moment on at which its renewal was begun.
    fn extend(&self, began: Began, lease: Duration) {
        let wall = began.wall.as_microsecond().saturating_add(micros(lease));
        self.undoubted_until_us.store(wall, Ordering::SeqCst);
        self.end_at(began.at.plus(lease));
    }

    fn end_at(&self, until: Moment) {
        let ms = u64::try_from(until.0.as_millis()).unwrap_or(u64::MAX);
        self.valid_until_ms.store(ms, Ordering::SeqCst);
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// When a request for the Lease was begun, on both clocks.
#[derive(Clone, Copy, Debug)]
struct Began {
    at: Moment,
    wall: Timestamp,
}

/// Takes and renews the Lease.
pub struct Keeper {
    api: Api<Lease>,
    holder: String,
    clock: Arc<dyn Clock>,
    times: Times,
    leadership: Arc<Leadership>,
    held: Option<Lease>,
    /// Who held the last term that our own journal knows of.
    last_holder: Option<String>,
}

impl Keeper {
    /// A keeper for `holder`, which names one instance: a pod (or boot) and its journal directory.
    pub fn new(api: Api<Lease>, holder: String, clock: Arc<dyn Clock>, times: Times) -> Self {
        let leadership = Leadership::new(clock.clone());
        Self { api, holder, clock, times, leadership, held: None, last_holder: None }
    }

    /// The same for a journal whose last term this holder had. Only where that was this very instance
    /// a Lease that is missing is taken over as its own.
    #[must_use]
    pub fn after(self, last_holder: Option<String>) -> Self {
        Self { last_holder, ..self }
    }

    fn began(&self) -> Began {
        Began { at: self.clock.now(), wall: self.clock.wall() }
    }

    /// The term that this keeper renews.
    pub fn leadership(&self) -> Arc<Leadership> {
        self.leadership.clone()
    }

    /// `leaseTransitions` of the Lease that is held.
    pub fn transitions(&self) -> u64 {
        let transitions = self.held.as_ref().and_then(transitions_of).unwrap_or(0);
        u64::try_from(transitions).unwrap_or(0)
    }

    /// Waits until the Lease is ours.
    ///
    /// # Errors
    /// Only what waiting cannot cure; API errors are retried for ever, with a warning.
    pub async fn acquire(&mut self) -> TakeOver {
        let mut seen: Option<(Lease, Moment)> = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(Some(take_over)) => return take_over,
                Ok(None) => {}
                Err(error) => warn!(error = chain(&error), "the lease cannot be had just now"),
            }
            self.clock.sleep(self.times.lease_renew).await;
        }
    }

    async fn try_acquire(
        &mut self,
        seen: &mut Option<(Lease, Moment)>,
    ) -> Result<Option<TakeOver>, Error> {
        let began = self.began();
        let found = self.timed("read", self.api.get_opt(LEASE_NAME)).await?;
        let Some(lease) = found else {
            let lease = self.lease(None);
            let made =
                self.timed("create", self.api.create(&PostParams::default(), &lease)).await?;
            let was_ours = self.last_holder.as_ref() == Some(&self.holder);
            let take_over = if was_ours { TakeOver::Mine } else { TakeOver::FromAnother };
            return Ok(Some(self.won(made, began, take_over)));
        };
        let holder = holder_of(&lease);
        let free = holder.is_empty() || holder == self.holder;
        if !free {
            let first_seen = match seen {
                Some((same, at)) if same.spec == lease.spec => *at,
                _ => {
                    info!(holder, "waiting for the lease of another instance to expire");
                    *seen = Some((lease.clone(), began.at));
                    began.at
                }
            };
            let duration = lease_duration(&lease).unwrap_or(self.times.lease);
            if began.at.since(first_seen) < duration {
                return Ok(None);
            }
        }
        let next = self.lease(Some(&lease));
        let replaced =
            self.timed("take", self.api.replace(LEASE_NAME, &PostParams::default(), &next)).await?;
        let take_over = if free { TakeOver::Mine } else { TakeOver::FromAnother };
        Ok(Some(self.won(replaced, began, take_over)))
    }

    fn won(&mut self, lease: Lease, began: Began, take_over: TakeOver) -> TakeOver {
        self.held = Some(lease);
        self.leadership.extend(began, self.times.lease);
        take_over
    }

    /// Renews until the term is lost; returns why. A failed renewal is tried again until the term
    /// has run out, and one is made at once when somebody met a doubt.
    pub async fn keep(&mut self) -> Error {
        let leadership = self.leadership.clone();
        let mut failed = false;
        loop {
            tokio::select! {
                () = self.clock.sleep(self.times.lease_renew) => {}
                () = leadership.doubted.notified(), if !failed => {}
            }
            let error = match self.renew().await {
                Ok(()) => {
                    failed = false;
                    continue;
                }
                Err(error) if !error.is_retryable() => return error,
                Err(error) => error,
            };
            failed = true;
            warn!(error = chain(&error), "the lease was not renewed");
            if self.clock.now() >= self.leadership.valid_until() {
                return Error::Expired { reason: chain(&error) };
            }
        }
    }

    /// Renews once. What came before the write is looked at: a label of somebody else's is written
    /// over with, and only a renewal of this very call makes the term longer.
    async fn renew(&mut self) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            let began = self.began();
            let params = PostParams::default();
            let renewed = match &self.held {
                Some(_) => {
                    let next = self.renewed();
                    self.timed("renew", self.api.replace(LEASE_NAME, &params, &next)).await
                }
                None => {
                    let lease = self.lease(None);
                    self.timed("create", self.api.create(&params, &lease)).await
                }
            };
            tries += 1;
            match renewed {
                Ok(lease) => {
                    self.won(lease, began, TakeOver::Mine);
                    return Ok(());
                }
                // Nobody can make it there any more: who led until now leads to the end.
                Err(Error::Api { source, .. })
                    if says_namespace_ends(&source) && self.leadership.covers(Duration::ZERO) =>
                {
                    self.leadership.extend(began, self.times.lease);
                    return Ok(());
                }
                Err(error) if is_conflict(&error) || is_missing(&error) => {
                    self.look_again().await?;
                    // Who stood still for its term cannot know who led meanwhile, and begins anew as
                    // any successor does.
                    if self.held.is_none() && !self.leadership.covers(Duration::ZERO) {
                        let holder = "nobody: it was deleted while this process stood still";
                        return Err(Error::Lost { holder: holder.to_owned() });
                    }
                    if tries >= TRIES_MAX {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A conflict is another holder, a renewal of our own whose answer was lost, or a label that
    /// somebody else wrote. A lease that was deleted is made again: whoever makes it first holds it.
    async fn look_again(&mut self) -> Result<(), Error> {
        let found = self.timed("read", self.api.get_opt(LEASE_NAME)).await?;
        let ours = |lease: &Lease| {
            let same_term =
                self.held.as_ref().is_none_or(|held| transitions_of(held) == transitions_of(lease));
            holder_of(lease) == self.holder && same_term
        };
        match found {
            Some(lease) if !ours(&lease) => {
                Err(Error::Lost { holder: holder_of(&lease).to_owned() })
            }
            found => {
                self.held = found;
                Ok(())
            }
        }
    }

    /// Gives the Lease back, so that a successor need not wait for its expiry.
    ///
    /// # Errors
    /// When the API server refuses; the Lease then expires by itself.
    pub async fn release(&mut self) -> Result<(), Error> {
        self.leadership.end_at(Moment::default());
        let mut tries = 0;
        while self.held.is_some() {
            let mut lease = self.renewed();
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
            }
            let params = PostParams::default();
            let replaced = self.api.replace(LEASE_NAME, &params, &lease);
            let error = match self.timed("release", replaced).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            if !is_conflict(&error) || tries >= TRIES_MAX {
                return Err(error);
            }
            self.look_again().await?;
        }
        Ok(())
    }

    async fn timed<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.times.request, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(Error::Api { what, source: Box::new(source) }),
            Err(_) => Err(Error::Api { what, source: Box::new(timed_out()) }),
        }
    }

    fn renewed(&self) -> Lease {
        let mut lease = self.held.clone().unwrap_or_default();
        lease.metadata.managed_fields = None;
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(self.clock.wall()));
        }
        lease
    }

    /// The Lease of a term that begins. What others wrote beside it stays.
    fn lease(&self, before: Option<&Lease>) -> Lease {
        let mut lease = before.cloned().unwrap_or_default();
        let transitions = transitions_of(&lease).unwrap_or(0);
        let now = MicroTime(self.clock.wall());
        // The API counts whole seconds, at least one.
        let seconds = self.times.lease.as_secs().max(1);
        lease.metadata.name = Some(LEASE_NAME.to_owned());
        lease.metadata.managed_fields = None;
        lease.spec = Some(LeaseSpec {
            acquire_time: Some(now.clone()),
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            lease_transitions: Some(transitions.saturating_add(1)),
            renew_time: Some(now),
            ..LeaseSpec::default()
        });
        lease
    }
}

fn transitions_of(lease: &Lease) -> Option<i32> {
    lease.spec.as_ref()?.lease_transitions
}

fn holder_of(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

fn lease_duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

fn is_conflict(error: &Error) -> bool {
    has_code(error, 409)
}

fn is_missing(error: &Error) -> bool {
    has_code(error, 404)
}

fn has_code(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api { source, .. }
        if matches!(&**source, kube::Error::Api(status) if status.code == code))
}

fn timed_out() -> kube::Error {
    kube::Error::Service(Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    crate::telemetry::chain(error)
}

#[cfg(test)]
mod tests;
