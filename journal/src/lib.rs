//! The operator's journal: an append-only log of what was intended and what came of it.
//!
//! It is not a debug log. It is what the operator needs to resume after a crash, and what an
//! auditor reads afterwards. Once [`store::Store::append`] returns, the records will be found at
//! the next start, whatever dies; until it returns they do not exist.
//!
//! Reading order: [`event`] (what may be recorded), [`state`] (what it means: the one transition
//! table), [`record`] (the envelope), [`codec`] and [`chain`] (its bytes), [`audit`] (the file that
//! is synced first), [`store`] (the two backends), [`retention`] (what may go), [`replay`], [`check`], [`decision`], [`cli`].
//!
//! **Architecture Invariants**: this crate knows neither the cluster's API nor the cache's, and no
//! async runtime. It reads no clock and makes no ids: times and ids come in as values. Replay has
//! no side effects because it has nothing to make them with.

pub mod audit;
pub mod chain;
pub mod check;
pub mod cli;
pub mod codec;
pub mod decision;
pub mod event;
mod io;
pub mod record;
pub mod replay;
pub mod retention;
pub mod state;
pub mod store;

#[cfg(test)]
mod fixtures;
