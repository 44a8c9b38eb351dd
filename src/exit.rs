//! Exit codes of `xsld-operator run`, beside those of a journal that cannot be opened
//! ([`xsld_journal::store::sled::OpenError::exit_code`], 10 to 14).

/// Wrong options, or nothing to run on.
pub const USAGE: u8 = 2;
/// The journal belongs to another cluster or namespace.
pub const BELONGS_ELSEWHERE: u8 = 13;
/// A write to the journal failed; nothing was acknowledged after it.
pub const POISONED: u8 = 15;
/// Another operator writes to the journal or has begun a newer term.
pub const OTHER_WRITER: u8 = 16;
/// The lease was lost or could not be kept.
pub const LEASE: u8 = 20;
/// Journal and anchor do not belong together: a person must decide.
pub const VERDICT: u8 = 21;
/// The API server refused what start-up needs.
pub const API: u8 = 22;
