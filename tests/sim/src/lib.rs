//! Simulation.
pub mod control_plane;
