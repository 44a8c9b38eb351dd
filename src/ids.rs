//! Ids: the only file that may make them.

#![allow(clippy::disallowed_methods, reason = "this is the one place that makes ids")]

use std::sync::Arc;

use uuid::Uuid;
use xsld_journal::event::OperationId;

/// Makes ids that nobody else makes. A simulated world brings its own.
pub trait Ids: Send + Sync + 'static {
    /// A new operation's id, which is its trace id too.
    fn operation(&self) -> OperationId;
    /// A new journal's id.
    fn journal(&self) -> Uuid;
}

/// Ids from the time and the system's randomness (UUID version 7, so they sort by time).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl SystemIds {
    /// The ids of a real run.
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl Ids for SystemIds {
    fn operation(&self) -> OperationId {
        OperationId(Uuid::now_v7())
    }

    fn journal(&self) -> Uuid {
        Uuid::now_v7()
    }
}
