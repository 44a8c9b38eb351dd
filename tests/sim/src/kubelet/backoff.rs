//! How long the kubelet waits before it tries again, divided by the time scale.

use std::time::Duration;

/// The first wait of a real kubelet; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait of a real kubelet.
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran for so long counts as healthy, and its waits start anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// Below this a crash loop would only burn the machine.
const FLOOR: Duration = Duration::from_millis(50);

/// Counts failures in a row and says how long to wait after each.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    scale: f64,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(scale: f64) -> Self {
        Self { scale, failures: 0 }
    }

    /// The wait after one more crash of a container that had run for `ran`. The
    /// first restart comes at once, as with a real kubelet.
    pub(super) fn after_crash(&mut self, ran: Duration) -> Duration {
        if ran >= scaled(FORGIVEN_AFTER, self.scale) {
            self.failures = 0;
        }
        self.failures += 1;
        match self.failures {
            1 => Duration::ZERO,
            n => self.wait(n - 2),
        }
    }

    /// The wait after one more failed attempt at something that never began,
    /// such as an image pull.
    pub(super) fn after_failure(&mut self) -> Duration {
        self.failures += 1;
        self.wait(self.failures - 1)
    }

    fn wait(&self, doublings: u32) -> Duration {
        // 10 s doubled five times exceeds the longest wait: more would only overflow.
        let wait = FIRST * 2_u32.pow(doublings.min(5));
        scaled(wait.min(LONGEST), self.scale).max(FLOOR)
    }
}

/// A duration of the real world in the time of this world.
pub(super) fn scaled(duration: Duration, scale: f64) -> Duration {
    duration.div_f64(scale.max(f64::MIN_POSITIVE))
}

/// The time between SIGTERM and SIGKILL in this world: scaled, but at least a
/// second, so that a process can end in order; none when none was given.
pub(super) fn grace(seconds: i64, scale: f64) -> Duration {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => {
            scaled(Duration::from_secs(seconds), scale).max(Duration::from_secs(1))
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn crashes_in_a_row_wait_as_a_real_kubelet_does() {
        let mut backoff = Backoff::new(1.0);
        let waits: Vec<u64> = (0..8).map(|_| backoff.after_crash(NO_TIME).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn waits_are_divided_by_the_time_scale_down_to_a_floor() {
        let mut backoff = Backoff::new(10.0);
        assert_eq!(backoff.after_failure(), Duration::from_secs(1));
        assert_eq!(Backoff::new(100_000.0).after_failure(), FLOOR);
    }

    #[test]
    fn a_container_that_ran_long_enough_is_forgiven() {
        let mut backoff = Backoff::new(60.0);
        for _ in 0..5 {
            backoff.after_crash(NO_TIME);
        }
        assert_eq!(backoff.after_crash(Duration::from_secs(10)), NO_TIME);
    }

    #[test]
    fn a_grace_period_is_scaled_but_never_under_a_second_unless_it_is_none() {
        assert_eq!(grace(30, 1.0), Duration::from_secs(30));
        assert_eq!(grace(30, 60.0), Duration::from_secs(1));
        assert_eq!(grace(0, 60.0), NO_TIME);
    }
}
