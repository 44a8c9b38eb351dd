//! The cache's REST API: what is asked, over which wire, and what the answers mean.

pub mod view;
