//! Leadership: one operator at a time, proven by a Lease.
//!
//! A Lease is written with its resourceVersion, so that a lost race is an error and never a second
//! holder. Expiry is judged by how long the record was *seen* unchanged on our own clock, never by
//! comparing wall clocks. Calls to members cannot carry a fencing token; they are only sent while
//! the lease is valid for longer than the call may take ([`Leadership::covers`]).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tracing::{info, warn};

use crate::clock::{Clock, Moment};
use crate::times::Times;

/// Name of the Lease in the operator's namespace.
pub const LEASE_NAME: &str = "xsld-operator";

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
    /// Nobody held it, or this very instance did: its requests are its own.
    Mine,
    /// Another instance held it until it expired: its last requests may still be on their way.
    FromAnother,
}

/// A term of leadership: until when it is valid, on our own clock.
pub struct Leadership {
    clock: Arc<dyn Clock>,
    valid_until_ms: AtomicU64,
}

impl Leadership {
    fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, valid_until_ms: AtomicU64::new(0) })
    }

    /// Whether the term outlasts a request of this length that is sent now.
    pub fn covers(&self, request: Duration) -> bool {
        self.clock.now().plus(request) < self.valid_until()
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

    fn extend(&self, until: Moment) {
        let ms = u64::try_from(until.0.as_millis()).unwrap_or(u64::MAX);
        self.valid_until_ms.store(ms, Ordering::SeqCst);
    }
}

/// Takes and renews the Lease.
pub struct Keeper {
    api: Api<Lease>,
    holder: String,
    clock: Arc<dyn Clock>,
    times: Times,
    leadership: Arc<Leadership>,
    held: Option<Lease>,
}

impl Keeper {
    /// A keeper for `holder`, which names one instance: a pod (or boot) and its journal directory.
    pub fn new(api: Api<Lease>, holder: String, clock: Arc<dyn Clock>, times: Times) -> Self {
        let leadership = Leadership::new(clock.clone());
        Self { api, holder, clock, times, leadership, held: None }
    }

    /// The term that this keeper renews.
    pub fn leadership(&self) -> Arc<Leadership> {
        self.leadership.clone()
    }

    /// `leaseTransitions` of the Lease that is held.
    pub fn transitions(&self) -> u64 {
        let spec = self.held.as_ref().and_then(|lease| lease.spec.as_ref());
        let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
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
        let began = self.clock.now();
        let found = self.timed("read", self.api.get_opt(LEASE_NAME)).await?;
        let Some(lease) = found else {
            let lease = self.lease(None);
            let made =
                self.timed("create", self.api.create(&PostParams::default(), &lease)).await?;
            return Ok(Some(self.won(made, began, TakeOver::Mine)));
        };
        let holder = holder_of(&lease);
        let free = holder.is_empty() || holder == self.holder;
        if !free {
            let first_seen = match seen {
                Some((same, at)) if same.spec == lease.spec => *at,
                _ => {
                    info!(holder, "waiting for the lease of another instance to expire");
                    *seen = Some((lease.clone(), began));
                    began
                }
            };
            let duration = lease_duration(&lease).unwrap_or(self.times.lease);
            if began.since(first_seen) < duration {
                return Ok(None);
            }
        }
        let next = self.lease(Some(&lease));
        let replaced =
            self.timed("take", self.api.replace(LEASE_NAME, &PostParams::default(), &next)).await?;
        let take_over = if free { TakeOver::Mine } else { TakeOver::FromAnother };
        Ok(Some(self.won(replaced, began, take_over)))
    }

    fn won(&mut self, lease: Lease, began: Moment, take_over: TakeOver) -> TakeOver {
        self.held = Some(lease);
        self.leadership.extend(began.plus(self.times.lease));
        take_over
    }

    /// Renews until the term is lost; returns why. A failed renewal is tried again until the term
    /// has run out.
    pub async fn keep(&mut self) -> Error {
        loop {
            self.clock.sleep(self.times.lease_renew).await;
            let error = match self.renew().await {
                Ok(()) => continue,
                Err(error) if !error.is_retryable() => return error,
                Err(error) => error,
            };
            warn!(error = chain(&error), "the lease was not renewed");
            if self.clock.now() >= self.leadership.valid_until() {
                return Error::Expired { reason: chain(&error) };
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Error> {
        let began = self.clock.now();
        let next = self.renewed();
        let params = PostParams::default();
        let replaced = self.api.replace(LEASE_NAME, &params, &next);
        match self.timed("renew", replaced).await {
            Ok(lease) => {
                self.held = Some(lease);
                self.leadership.extend(began.plus(self.times.lease));
                Ok(())
            }
            Err(error) if is_conflict(&error) || is_missing(&error) => self.look_again(began).await,
            Err(error) => Err(error),
        }
    }

    /// A conflict is another holder, or a renewal of our own whose answer was lost. A lease that
    /// was deleted is made again: whoever makes it first holds it. In a namespace that is going it
    /// cannot be made, and the term runs out; what can still be ended in it is ended.
    async fn look_again(&mut self, began: Moment) -> Result<(), Error> {
        let found = self.timed("read", self.api.get_opt(LEASE_NAME)).await?;
        match found {
            Some(lease) if holder_of(&lease) == self.holder => {
                self.held = Some(lease);
                self.leadership.extend(began.plus(self.times.lease));
                Ok(())
            }
            Some(lease) => Err(Error::Lost { holder: holder_of(&lease).to_owned() }),
            None => {
                let lease = self.lease(None);
                let params = PostParams::default();
                match self.timed("create", self.api.create(&params, &lease)).await {
                    Ok(made) => {
                        self.held = Some(made);
                        self.leadership.extend(began.plus(self.times.lease));
                        Ok(())
                    }
                    Err(error) if is_conflict(&error) => {
                        Err(Error::Lost { holder: "another instance, after a deletion".to_owned() })
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Gives the Lease back, so that a successor need not wait for its expiry.
    ///
    /// # Errors
    /// When the API server refuses; the Lease then expires by itself.
    pub async fn release(&mut self) -> Result<(), Error> {
        self.leadership.extend(Moment::default());
        let mut lease = self.renewed();
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        let params = PostParams::default();
        let replaced = self.api.replace(LEASE_NAME, &params, &lease);
        self.timed("release", replaced).await.map(|_| ())
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

    fn lease(&self, before: Option<&Lease>) -> Lease {
        let transitions =
            before.and_then(|lease| lease.spec.as_ref()?.lease_transitions).unwrap_or(0);
        let now = MicroTime(self.clock.wall());
        // The API counts whole seconds, at least one.
        let seconds = self.times.lease.as_secs().max(1);
        Lease {
            metadata: ObjectMeta {
                name: Some(LEASE_NAME.to_owned()),
                resource_version: before.and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(now.clone()),
                holder_identity: Some(self.holder.clone()),
                lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
                lease_transitions: Some(transitions.saturating_add(1)),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
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
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// A clock whose hands are moved by the test.
    #[derive(Default)]
    struct Hands(AtomicU64);

    #[async_trait::async_trait]
    impl Clock for Hands {
        fn now(&self) -> Moment {
            Moment(Duration::from_secs(self.0.load(Ordering::SeqCst)))
        }

        fn wall(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        async fn sleep(&self, _: Duration) {}
    }

    fn led(seconds: u64) -> (Arc<Hands>, Arc<Leadership>) {
        let hands = Arc::new(Hands::default());
        let leadership = Leadership::new(hands.clone());
        leadership.extend(Moment(Duration::from_secs(seconds)));
        (hands, leadership)
    }

    /// A request in two halves: the connection, and what is sent on it when somebody looks again.
    async fn request(hands: &Hands, takes: u64, sent: &AtomicU64) -> &'static str {
        hands.0.fetch_add(takes, Ordering::SeqCst);
        tokio::task::yield_now().await;
        sent.fetch_add(1, Ordering::SeqCst);
        "answered"
    }

    #[tokio::test]
    async fn a_process_that_wakes_after_its_term_sends_nothing_on_the_connection_that_it_made() {
        for (takes, answer, written) in [(9, Some("answered"), 1), (10, None, 0), (500, None, 0)] {
            let (hands, leadership) = led(10);
            let sent = AtomicU64::new(0);
            let effect = leadership.within(request(&hands, takes, &sent)).await;
            assert_eq!((effect, sent.into_inner()), (answer, written), "after {takes} s");
        }
        let (hands, leadership) = led(0);
        let sent = AtomicU64::new(0);
        assert_eq!(leadership.within(request(&hands, 0, &sent)).await, None, "never in a term");
        assert_eq!(hands.0.load(Ordering::SeqCst), 0, "it did not even begin");
    }
}
