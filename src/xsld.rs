//! The cache's REST API: what is asked, over which wire, and what the answers mean.

pub mod profile;
pub mod text;
pub mod transport;
pub mod view;
