//! The time constants of the operator, and which of them go together.

use std::time::Duration;

/// Every time constant. Each has a flag and an environment name (see [`crate::args`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Between two passes over a cache in which something is going on.
    pub poll_active: Duration,
    /// Between two passes over a cache at rest.
    pub poll_idle: Duration,
    /// To connect to a member.
    pub connect: Duration,
    /// For one whole request to a member or to the API server.
    pub request: Duration,
    /// Between two equal observations that prove something. Longer than a request may take, so
    /// that a request that was sent before the first cannot take effect after the second.
    pub settle: Duration,
    /// The same where a process died meanwhile. Longer than the longest task of the cache, because
    /// a task that a dead process left behind can still take effect that long.
    pub orphan: Duration,
    /// How long a term of leadership lasts without renewal.
    pub lease: Duration,
    /// Between two renewals.
    pub lease_renew: Duration,
    /// Between the two equal observations that end a rebuild.
    pub rebuild_quiet: Duration,
    /// A task without progress for this long may be cancelled.
    pub task_stall: Duration,
    /// Between two writes of the anchor while records are appended.
    pub anchor: Duration,
    /// In which a member is tried with a refused password at most three times.
    pub password_window: Duration,
    /// In which the same is put right at most [`crate::decide::converge::REPEATS_MAX`] times.
    pub converge: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            poll_active: Duration::from_secs(5),
            poll_idle: Duration::from_secs(30),
            connect: Duration::from_secs(3),
            request: Duration::from_secs(10),
            settle: Duration::from_secs(20),
            orphan: Duration::from_secs(330),
            lease: Duration::from_secs(30),
            lease_renew: Duration::from_secs(5),
            rebuild_quiet: Duration::from_secs(60),
            task_stall: Duration::from_secs(600),
            anchor: Duration::from_secs(30),
            password_window: Duration::from_secs(60),
            converge: Duration::from_secs(3600),
        }
    }
}

/// Two constants that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct TimesError {
    /// The constants, by flag.
    pub what: &'static str,
    /// What follows from them.
    pub why: &'static str,
}

impl Times {
    /// Checks which constants go together.
    ///
    /// # Errors
    /// Names the two constants and what would go wrong.
    pub fn check(&self) -> Result<(), TimesError> {
        let wrong = |what, why| Err(TimesError { what, why });
        if self.request.saturating_mul(3) > self.lease {
            return wrong(
                "--request-timeout must be at most a third of --lease",
                "a request could outlive the term of leadership that sent it",
            );
        }
        if self.settle <= self.request {
            return wrong(
                "--settle must be longer than --request-timeout",
                "a request sent before the first of two observations could take effect after both",
            );
        }
        if self.orphan <= self.settle {
            return wrong(
                "--orphan must be longer than --settle",
                "a task that a dead process left behind could take effect unseen",
            );
        }
        if self.lease_renew.saturating_mul(2) > self.lease {
            return wrong(
                "--lease-renew must be at most half of --lease",
                "one late renewal would end the term",
            );
        }
        if self.poll_active.is_zero() || self.poll_idle.is_zero() || self.connect.is_zero() {
            return wrong("polls and --connect-timeout must not be zero", "nothing else would run");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_go_together() {
        assert_eq!(Times::default().check(), Ok(()));
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        let base = Times::default();
        let cases = [
            (Times { request: Duration::from_secs(11), ..base }, "--request-timeout"),
            (Times { settle: Duration::from_secs(10), ..base }, "--settle"),
            (Times { orphan: Duration::from_secs(20), ..base }, "--orphan"),
            (Times { lease_renew: Duration::from_secs(16), ..base }, "--lease-renew"),
            (Times { poll_idle: Duration::ZERO, ..base }, "polls"),
        ];
        for (times, flag) in cases {
            let error = times.check().expect_err(flag);
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
