//! Simulation.
pub mod calls;
pub mod control_plane;
pub mod faults;
pub mod member;
pub mod profile;
