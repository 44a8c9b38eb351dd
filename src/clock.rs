//! Time: the only file that may read it.
//!
//! Decisions take moments as values. Order and budgets use the monotonic [`Moment`]; the wall
//! clock is for people and for the records, and is never compared.

#![allow(clippy::disallowed_methods, reason = "this is the one place that reads time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A point on the monotonic clock of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// Time from `earlier` to this moment; zero when it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `span` later.
    pub fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(span))
    }
}

/// Reads time and waits. A simulated world brings its own.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now, on the monotonic clock.
    fn now(&self) -> Moment;
    /// Now, on the wall.
    fn wall(&self) -> Timestamp;
    /// Returns after `span`.
    async fn sleep(&self, span: Duration);
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose first moment is now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now() })
    }
}

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
