//! Simulation.
pub mod authority;
pub mod build;
pub mod calls;
pub mod control_plane;
pub mod faults;
pub mod go_module;
pub mod helm;
pub mod kubelet;
pub mod member;
pub mod profile;
pub mod world;
