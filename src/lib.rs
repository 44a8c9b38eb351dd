//! A Kubernetes operator for IBM WebSphere eXtreme Scale Liberty Deployment cache groups, built
//! around a journal: what is to be done is durable before it is done, and its outcome after.
//!
//! Modules in reading order. **Architecture Invariants** (a test enforces them):
//! - `decide`, `plan`, `validate`, `manifests` and the pure half of `status` see values only: no
//!   client, no clock, no randomness, no `async`, no journal.
//! - Only `execute` changes the cache group or what the journal commits, and only after the intent
//!   of that very step is durable.
//! - Only `clock` reads time; only `ids` makes ids.
//! - Secrets have a type that can be neither printed nor serialised.
//! - Nothing in here knows that simulators exist.

// What users write, and what is made of it: pure.
pub mod crd;

pub mod validate;

pub mod manifests;

// What was seen, and what to do next: pure.
pub mod observation;

pub mod decide;

pub mod plan;

// The world: reads, effects, the cache's REST API.
pub mod observe;

pub mod xsld;

pub mod execute;

// One pass after another, and what it tells.
pub mod controller;

pub mod status;

pub mod events;

// Start-up and leadership.
pub mod recover;

pub mod lease;

pub mod retain;

pub mod run;

// The program's edges. Only `clock` reads time, only `ids` makes ids.
pub mod admin;
pub mod args;
pub mod clock;
pub mod exit;
pub mod ids;
pub mod metrics;
pub mod telemetry;
pub mod times;

#[cfg(test)]
pub(crate) mod testing;
