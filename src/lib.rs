//! Lib.
pub mod xsld;
