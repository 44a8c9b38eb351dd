//! The scenarios: what happens, and what must hold then.
//!
//! One world serves a whole run: a real control plane, the kubelet stand-in and simulated members,
//! with time 60 times as fast. Every [`Scenario`] gets a namespace, an operator process, a journal
//! and a log of its own, and they run side by side.
//!
//! Reading order: [`scenarios`] (what happens), [`context`] (what a scenario can do and see),
//! [`kill`] (the operator dies in the middle of a step), [`sweep`] (at each record of a story), [`oracle`] (what must hold at the end of
//! each), [`histories`] (what nobody thought of), [`runner`] and [`stage`] (the world they share), [`report`] (what is told of a failure).
//!
//! **Architecture Invariant**: nothing in here uses the operator's own code. What is asserted is
//! read from the API server, the members, the disk and the journal.

pub mod calls;
pub mod context;
pub mod histories;
pub mod kill;
pub mod oracle;
pub mod report;
mod rotation;
pub mod runner;
pub mod scenarios;
pub mod stage;
pub mod sweep;

use std::time::Duration;

use futures::future::LocalBoxFuture;

use context::Context;

/// What everything in here returns.
pub type Result<T = (), E = anyhow::Error> = std::result::Result<T, E>;

type Body = Box<dyn for<'a> Fn(&'a Context) -> LocalBoxFuture<'a, Result> + Send + Sync>;

/// A scenario that takes longer has a fault of its own.
const LONGEST: Duration = Duration::from_secs(420);

/// Something that happens, and what must hold then.
pub struct Scenario {
    /// What it promises: `area::promise_in_words`.
    pub name: String,
    /// Whether the world must be at rest at the end, as [`oracle`] has it.
    pub ending: Ending,
    /// Whether an operator runs from the start.
    pub operator: bool,
    /// Longest time that it may take.
    pub longest: Duration,
    /// Whether each cache gets a grid with entries as soon as it is Ready, without being asked.
    pub entries: bool,
    body: Body,
}

/// How a scenario leaves its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every cache is as its spec wants it (or gone), and nothing moves any more.
    AtRest,
    /// Something is broken on purpose: the journal must be whole and nothing lost, but no more.
    Disturbed,
    /// Nothing was started that could be asserted.
    Nothing,
}

impl Scenario {
    /// A scenario that ends at rest, with an operator running from the start.
    pub fn new(
        name: impl Into<String>,
        body: impl for<'a> Fn(&'a Context) -> LocalBoxFuture<'a, Result> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            ending: Ending::AtRest,
            operator: true,
            longest: LONGEST,
            entries: true,
            body: Box::new(body),
        }
    }

    /// The same, which may take so long.
    #[must_use]
    pub fn lasting(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// The same, with something broken on purpose at its end.
    #[must_use]
    pub fn disturbed(self) -> Self {
        Self { ending: Ending::Disturbed, ..self }
    }

    /// The same, started without an operator.
    #[must_use]
    pub fn without_operator(self) -> Self {
        Self { operator: false, ..self }
    }

    /// The same, with no grids but those that it makes itself. `_why` says what they would be in the
    /// way of.
    #[must_use]
    pub fn without_entries(self, _why: &'static str) -> Self {
        Self { entries: false, ..self }
    }

    /// The same, with nothing to be asserted at its end.
    #[must_use]
    pub fn with_nothing_left(self) -> Self {
        Self { ending: Ending::Nothing, ..self }
    }
}
