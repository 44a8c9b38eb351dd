//! Histories that nobody thought of, told on the real control plane.
//!
//! What happens, what must hold and how it is told are in the crate `xsld-histories`, which knows
//! nothing of this world. In here: [`world`] (what that crate asks of a world), [`acts`],
//! [`admission`], [`process`] and [`heal`] (how each act is done here), [`tend`] (entries), [`seen`]
//! (what was seen, as plain data), [`run`] (many of them side by side, what is kept of a failure, and
//! shrinking).

pub mod acts;
mod admission;
mod heal;
mod objects;
mod process;
pub mod run;
mod seen;
mod tend;
pub mod world;
