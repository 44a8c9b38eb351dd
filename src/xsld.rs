//! The cache's REST API: what is asked, over which wire, and what the answers mean.

pub mod call;
pub mod client;
pub mod https;
pub mod profile;
pub mod text;
pub mod transport;
pub mod view;
pub mod wire;

pub use self::view::key_of;
