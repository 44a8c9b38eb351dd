//! Which password each member takes while a rotated one reaches them: found out by trying, and never
//! in a burst that could lock the user out.
//!
//! It lives in the process only. The password that all members took last is kept in a Secret of the
//! cache, so that a restart in the middle of a rotation loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use xsld_journal::event::{Incarnation, Ordinal};

use crate::clock::Moment;

/// Refused tries at one member within one window, after which it is left alone until the window is
/// over.
pub const TRIES_MAX: usize = 3;

/// The password of `xsadmin`, and the one before it while some member may still take only that.
#[derive(Clone)]
pub struct Passwords {
    /// What the spec gives now.
    pub current: SecretString,
    /// What all members took last, when that is another one.
    pub former: Option<SecretString>,
}

impl Passwords {
    /// The present password; `held` is the one that all members took last, where that is known.
    #[must_use]
    pub fn new(current: SecretString, held: Option<SecretString>) -> Self {
        let former = held.filter(|held| !same(held, &current));
        Self { current, former }
    }
}

/// Whether two secrets are equal.
#[must_use]
pub fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// What is known of the members' passwords.
#[derive(Default)]
pub struct Keyring(Mutex<BTreeMap<Ordinal, Entry>>);

#[derive(Default)]
struct Entry {
    /// The process that took a password, and which.
    accepted: Option<(Incarnation, SecretString)>,
    /// When a password was refused, within the window; of all processes at this place.
    refused: VecDeque<Moment>,
    /// What the last refusal said.
    error: String,
}

impl Keyring {
    /// The passwords to try at a process, the likeliest first.
    #[must_use]
    pub fn order(
        &self,
        ordinal: Ordinal,
        process: &Incarnation,
        passwords: &Passwords,
    ) -> Vec<SecretString> {
        let mut order: Vec<SecretString> =
            [Some(passwords.current.clone()), passwords.former.clone()]
                .into_iter()
                .flatten()
                .collect();
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, accepted)) =
            entries.get(&ordinal).and_then(|entry| entry.accepted.as_ref())
            && known == process
        {
            order.sort_by_key(|password| !same(password, accepted));
        }
        order
    }

    /// What to answer in the member's place, when it refused too often within `window`: its last
    /// words.
    #[must_use]
    pub fn left_alone(&self, ordinal: Ordinal, now: Moment, window: Duration) -> Option<String> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get_mut(&ordinal)?;
        entry.refused.retain(|refused| now.since(*refused) < window);
        (entry.refused.len() >= TRIES_MAX).then(|| entry.error.clone())
    }

    /// The process took this password.
    pub fn accepted(&self, ordinal: Ordinal, process: &Incarnation, password: &SecretString) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(ordinal).or_default();
        entry.accepted = Some((process.clone(), password.clone()));
    }

    /// The member refused a password.
    pub fn refused(&self, ordinal: Ordinal, now: Moment, error: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(ordinal).or_default();
        entry.refused.push_back(now);
        error.clone_into(&mut entry.error);
    }

    /// Whether the process took `password` when it was asked last.
    #[must_use]
    pub fn takes(&self, ordinal: Ordinal, process: &Incarnation, password: &SecretString) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(&ordinal)
            .and_then(|entry| entry.accepted.as_ref())
            .is_some_and(|(known, accepted)| known == process && same(accepted, password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn process(restarts: u32) -> Incarnation {
        Incarnation { pod_uid: "p".into(), container_id: "k".into(), restarts }
    }

    fn rotated() -> Passwords {
        Passwords::new("New-1234567!".into(), Some("Old-1234567!".into()))
    }

    fn first(ring: &Keyring, process: &Incarnation) -> String {
        ring.order(0, process, &rotated())[0].expose_secret().to_owned()
    }

    #[test]
    fn the_new_password_comes_first_until_a_process_took_the_former() {
        let ring = Keyring::default();
        assert_eq!(first(&ring, &process(0)), "New-1234567!");
        ring.accepted(0, &process(0), &"Old-1234567!".into());
        assert_eq!(first(&ring, &process(0)), "Old-1234567!");
        assert_eq!(ring.order(0, &process(0), &rotated()).len(), 2);
        assert_eq!(first(&ring, &process(1)), "New-1234567!", "another process is asked anew");
        assert!(!ring.takes(0, &process(0), &rotated().current));
        ring.accepted(0, &process(0), &rotated().current);
        assert!(ring.takes(0, &process(0), &rotated().current));
    }

    #[test]
    fn a_password_that_did_not_change_has_no_former_one() {
        let passwords = Passwords::new("Same-123456!".into(), Some("Same-123456!".into()));
        assert!(passwords.former.is_none());
        assert_eq!(Keyring::default().order(0, &process(0), &passwords).len(), 1);
    }

    #[test]
    fn no_member_is_tried_more_than_three_times_within_a_window() {
        let ring = Keyring::default();
        let mut tries = 0;
        for second in 0..600 {
            if ring.left_alone(0, at(second), WINDOW).is_none() {
                ring.refused(0, at(second), "wrong");
                tries += 1;
            }
        }
        assert_eq!(tries, 30);
        assert_eq!(ring.left_alone(0, at(600 - 1), WINDOW).as_deref(), Some("wrong"));
        assert_eq!(ring.left_alone(1, at(600 - 1), WINDOW), None, "each member by itself");
    }
}
