//! Which password each member takes while a rotated one reaches them: found out by trying, and never
//! in a burst that could lock the user out.
//!
//! It lives in the process only. The password that all members took last is kept in a Secret of the
//! cache, so that a restart in the middle of a rotation loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use xsld_journal::event::{Incarnation, Ordinal};

use crate::clock::{Clock, Moment};
use crate::xsld::transport::{Exchange, Method, Request, Response, Transport};

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
pub struct Keyring {
    /// The process that took a password, and which.
    accepted: Mutex<BTreeMap<Ordinal, (Incarnation, SecretString)>>,
    /// Refusals by the member's name in the network; of all processes at this place.
    refused: Mutex<BTreeMap<String, Refusals>>,
}

struct Refusals {
    /// When, within the window.
    at: VecDeque<Moment>,
    /// What the last one said.
    last: Response,
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
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, accepted)) = accepted.get(&ordinal)
            && known == process
        {
            order.sort_by_key(|password| !same(password, accepted));
        }
        order
    }

    /// What to answer in the member's place, when it refused too often within `window`: its last
    /// words.
    #[must_use]
    pub fn left_alone(&self, host: &str, now: Moment, window: Duration) -> Option<Response> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refusals = refused.get_mut(host)?;
        refusals.at.retain(|refused| now.since(*refused) < window);
        (refusals.at.len() >= TRIES_MAX).then(|| refusals.last.clone())
    }

    /// The process took this password.
    pub fn accepted(&self, ordinal: Ordinal, process: &Incarnation, password: &SecretString) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.insert(ordinal, (process.clone(), password.clone()));
    }

    /// The member of this name refused a password, with this answer.
    pub fn refused(&self, host: &str, now: Moment, answer: &Response) {
        // The certificate is the connection's, not the words'.
        let last = Response { certificate: None, ..answer.clone() };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.get_mut(host) {
            Some(refusals) => {
                refusals.at.push_back(now);
                refusals.last = last;
            }
            None => {
                refused.insert(host.to_owned(), Refusals { at: VecDeque::from([now]), last });
            }
        }
    }

    /// Whether the process took `password` when it was asked last.
    #[must_use]
    pub fn takes(&self, ordinal: Ordinal, process: &Incarnation, password: &SecretString) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted
            .get(&ordinal)
            .is_some_and(|(known, accepted)| known == process && same(accepted, password))
    }
}

/// Counts what the members refuse, whatever was asked, and stays between them and a burst: a member
/// that refused [`TRIES_MAX`] times within the window is not asked until the window is over. Its last
/// refusal stands in for its answer; a request that would change something counts as not sent.
pub struct Guarded {
    /// Carries what passes.
    pub transport: Arc<dyn Transport>,
    /// Where refusals are counted.
    pub keyring: Arc<Keyring>,
    /// When they came.
    pub clock: Arc<dyn Clock>,
    /// How long a refusal counts.
    pub window: Duration,
}

#[async_trait]
impl Transport for Guarded {
    async fn exchange(&self, request: Request) -> Exchange {
        let host = request.host.clone();
        if let Some(last) = self.keyring.left_alone(&host, self.clock.now(), self.window) {
            return match request.method {
                Method::Get => Exchange::Replied(last),
                Method::Post | Method::Put | Method::Delete => Exchange::NotSent {
                    reason: format!(
                        "{host} refused the password {TRIES_MAX} times and is left alone for a while"
                    ),
                },
            };
        }
        let exchange = self.transport.exchange(request).await;
        if let Exchange::Replied(response) = &exchange
            && response.status == 401
        {
            self.keyring.refused(&host, self.clock.now(), response);
        }
        exchange
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xsld::transport::{Credentials, Trust};

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

    /// Refuses everything, and remembers when and what it was asked.
    #[derive(Default)]
    struct Refusing(Mutex<Vec<Method>>);

    #[async_trait]
    impl Transport for Refusing {
        async fn exchange(&self, request: Request) -> Exchange {
            self.0.lock().unwrap().push(request.method);
            let body = b"wrong".to_vec();
            Exchange::Replied(Response { status: 401, body, certificate: None })
        }
    }

    struct Hand(Mutex<Moment>);

    #[async_trait]
    impl Clock for Hand {
        fn now(&self) -> Moment {
            *self.0.lock().unwrap()
        }

        fn wall(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }

        async fn sleep(&self, _: Duration) {}
    }

    fn request(host: &str, method: Method) -> Request {
        Request {
            host: host.into(),
            address: None,
            port: 9443,
            method,
            path: "/".into(),
            body: None,
            key: None,
            credentials: Credentials::admin("Old-1234567!".into()),
            trust: Trust::Insecure,
            deadline: WINDOW,
        }
    }

    #[tokio::test]
    async fn whatever_is_asked_no_member_refuses_more_than_three_times_within_a_window() {
        let refusing = Arc::new(Refusing::default());
        let hand = Arc::new(Hand(Mutex::default()));
        let guarded = Guarded {
            transport: refusing.clone(),
            keyring: Arc::default(),
            clock: hand.clone(),
            window: WINDOW,
        };
        for second in 0..600 {
            *hand.0.lock().unwrap() = at(second);
            let method = if second % 2 == 0 { Method::Get } else { Method::Post };
            let exchange = guarded.exchange(request("c-0", method)).await;
            match (method, exchange) {
                (_, Exchange::Replied(Response { status: 401, body, .. })) => {
                    assert_eq!(body, b"wrong");
                }
                (Method::Post, Exchange::NotSent { reason }) => {
                    assert!(reason.contains("c-0"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(refusing.0.lock().unwrap().len(), 30);
        guarded.exchange(request("c-1", Method::Get)).await;
        assert_eq!(refusing.0.lock().unwrap().len(), 31, "each member by itself");
    }
}
