//! The simulated member, driven as a client drives the real cache: over HTTPS, and by the pod's
//! life around it.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod faults;
mod grids;
mod group;
mod harness;
mod life;
mod replication;
mod switches;
