//! A Kubernetes operator for IBM WebSphere eXtreme Scale Liberty Deployment cache groups, built
//! around a journal: what is to be done is durable before it is done, and its outcome after.
//!
//! Modules in reading order. **Architecture Invariants** (a test enforces them):
//! - `decide`, `validate`, `manifests` and the pure half of `status` see values only: no client, no
//!   clock, no randomness, no `async`, no journal.
//! - Only `execute` changes the cache group or what the journal commits, and only after the intent
//!   of that very step is durable.
//! - Only `clock` reads time; only `ids` makes ids.
//! - Secrets have a type that can be neither printed nor serialised.
//! - Nothing in here knows that simulators exist.

pub mod crd;

pub mod observation;

pub mod validate;

pub mod decide;

pub mod manifests;

pub mod xsld;

pub mod clock;
pub mod ids;
pub mod times;
pub mod admin;
pub mod metrics;
pub mod telemetry;
pub mod lease;
pub mod recover;
pub mod observe;
pub mod execute;
pub mod status;
pub mod events;
pub mod exit;
pub mod args;
pub mod controller;
pub mod run;
