//! How a long step tells what it is doing, without knowing who listens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One report about a long step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The step begins; the text says what is being done and, where known, how long it takes.
    Started {
        /// What is being done.
        what: String,
    },
    /// The step is still running. Sent about twice a second.
    Running {
        /// What is being done, the same text as in `Started`.
        what: String,
        /// Time since `Started`.
        elapsed: Duration,
        /// The newest detail, for example the package being built; may be empty.
        detail: String,
    },
    /// The step ended well. A failed step ends with an error instead.
    Finished {
        /// What was done, the same text as in `Started`.
        what: String,
        /// Time since `Started`.
        elapsed: Duration,
    },
}

/// A listener for [`Step`]s: cheap to clone, callable from any thread.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Step) + Send + Sync>);

impl Progress {
    /// Reports every step to `listener`, which must not block for long.
    pub fn new(listener: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Reports to nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Hands one report to the listener.
    pub fn report(&self, step: Step) {
        (self.0)(step);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
