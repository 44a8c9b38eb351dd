//! Lib.
pub mod crd;
pub mod xsld;
