//! How long things take, in the seconds measured on the real cache, divided by the time scale.

use std::time::Duration;

/// Bounds below which a scaled wait would measure the machine and not the cache.
const SHORTEST_POLL: Duration = Duration::from_millis(25);
const SHORTEST_PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);
/// Whatever the scale: the end of a connection is noticed at once, so this is only for what ends
/// without closing its connections, and a thousand idle groups must cost little.
const HOLD: Duration = Duration::from_secs(10);

/// The durations of one member. The same member always takes the same time for the same thing.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    scale: f64,
    seed: String,
}

impl Timing {
    /// `None` unless `scale` is a number above 0.
    pub(super) fn new(scale: f64, namespace: &str, pod: &str) -> Option<Self> {
        let usable = scale.is_finite() && scale > 0.0;
        usable.then(|| Self { scale, seed: format!("{namespace}/{pod}") })
    }

    /// So many seconds of the real cache.
    pub(super) fn seconds(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds / self.scale).clamp(0.0, 1e9))
    }

    /// A time between `low` and `high` seconds of the real cache; which one depends on the member
    /// and on `what` takes it.
    pub(super) fn between(&self, what: &str, low: f64, high: f64) -> Duration {
        let hash = blake3::hash(format!("{}/{what}", self.seed).as_bytes());
        let share = f64::from(u32::from_be_bytes([
            hash.as_bytes()[0],
            hash.as_bytes()[1],
            hash.as_bytes()[2],
            hash.as_bytes()[3],
        ])) / f64::from(u32::MAX);
        self.seconds(low + share * (high - low))
    }

    /// Between two looks at something that is expected to change.
    pub(super) fn poll(&self) -> Duration {
        self.seconds(1.0).max(SHORTEST_POLL)
    }

    /// How long another member may take to answer before it counts as unreachable.
    pub(super) fn patience(&self) -> Duration {
        self.seconds(10.0).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE)
    }

    /// How long a question is held open while nothing changes.
    pub(super) fn hold(&self) -> Duration {
        HOLD
    }

    /// How long a member may be unreachable before its part of the data is placed elsewhere and
    /// database replication to it ends.
    pub(super) fn grace(&self) -> Duration {
        self.seconds(30.0).max(2 * SHORTEST_POLL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_divides_and_members_differ() {
        let one = Timing::new(2000.0, "ns", "c-0").unwrap();
        let two = Timing::new(2000.0, "ns", "c-1").unwrap();
        assert_eq!(one.seconds(200.0), Duration::from_millis(100));
        let span = one.between("start", 190.0, 220.0);
        assert!(span >= one.seconds(190.0) && span <= one.seconds(220.0));
        assert_eq!(span, one.between("start", 190.0, 220.0));
        assert_ne!(span, two.between("start", 190.0, 220.0));
    }

    #[test]
    fn scale_must_be_a_number_above_zero() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Timing::new(scale, "ns", "c-0").is_none());
        }
    }
}
