//! Histories that nobody thought of: what users do and what fails, in an order that a seed chose;
//! then everything is healed, and the cache must come to what was asked for last, and rest.
//!
//! Reading order: [`act`] (what can happen), [`script`] (a list of it, with waits), [`generate`]
//! (a script out of a seed, by [`weights`]), [`model`] (which acts make sense after which), [`goal`]
//! (what a script asks for in the end, and how long that may take), [`world`] (what is asked of a
//! world), [`play`] (a script told in it), [`evidence`] (what was seen), [`oracle`] (what must hold
//! of it), [`shrink`] (a shorter script that fails alike), [`timeline`] (what is told of a failure).
//!
//! **Architecture Invariant**: nothing in here knows what world it runs in, nor anything of the
//! operator's code. A script holds no randomness: the same one can be told again, in any world.

pub mod act;
pub mod dice;
pub mod evidence;
pub mod faults;
pub mod fields;
pub mod generate;
pub mod goal;
pub mod model;
pub mod oracle;
pub mod play;
pub mod propose;
pub mod script;
pub mod shrink;
pub mod timeline;
pub mod weights;
pub mod world;
