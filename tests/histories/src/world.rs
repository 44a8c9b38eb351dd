//! What is asked of a world in which histories are told.

use std::time::Duration;

use crate::act::Act;
use crate::evidence::Seen;
use crate::goal::Goal;
use crate::script::{Condition, Script};

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was done.
    Yes,
    /// The API server refused it, in these words.
    Refused(String),
    /// There was nothing to do it to.
    Skipped(String),
}

/// What went wrong with the world itself: nothing is known of the operator then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the world's functions return.
pub type Result<T = ()> = std::result::Result<T, Broken>;

/// A world with a Kubernetes API, members and an operator in it.
///
/// Its futures need not be `Send`: a history is told on one thread.
#[expect(async_fn_in_trait, reason = "a history is told on one thread")]
pub trait World {
    /// Microseconds since 1970, of the clock that calls, records and changes are stamped by.
    fn now_us(&self) -> i64;

    /// Lets a time pass. Whoever keeps the operator's process looks after it meanwhile.
    async fn pass(&self, time: Duration) -> Result;

    /// Begins to wait for a condition: what is counted is counted from here.
    async fn watch(&self, condition: &Condition) -> Result;

    /// Whether the condition that is waited for has come about.
    async fn has_come(&self, condition: &Condition) -> Result<bool>;

    /// Does an act.
    async fn act(&self, act: &Act) -> Result<Done>;

    /// Between two acts: what grids hold is put in, and looked for.
    async fn tend(&self) -> Result;

    /// Faults, policies and foreign objects go, nodes and exactly one operator come back, and
    /// what the goal asks for is asked for once more.
    async fn heal(&self, goal: &Goal) -> Result;

    /// What is still missing of the goal; nothing when it is reached.
    async fn missing(&self, goal: &Goal) -> Result<Vec<String>>;

    /// Waits until nothing moves any more, and then for so many polls; what the world's own checks
    /// found, one line each.
    async fn rest(&self) -> Result<Vec<String>>;

    /// All that was seen.
    async fn seen(&self, script: &Script) -> Result<Seen>;
}
