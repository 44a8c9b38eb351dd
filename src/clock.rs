//! Time: the only file that may read it.
//!
//! Decisions take moments as values. Order and budgets use the monotonic [`Moment`]; the wall
//! clock is for people and for the records, and is compared only where that makes the operator more
//! careful. How old something of Kubernetes' is, is told by the API server's own time
//! ([`ServerTime`]).

#![allow(clippy::disallowed_methods, reason = "this is the one place that reads time")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A point on the monotonic clock of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// Time from `earlier` to this moment; zero when it is not earlier.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `span` later.
    pub fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(span))
    }
}

/// Reads time and waits. A simulated world brings its own.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now, on the monotonic clock.
    fn now(&self) -> Moment;
    /// Now, on the wall.
    fn wall(&self) -> Timestamp;
    /// Returns after `span`.
    async fn sleep(&self, span: Duration);
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose first moment is now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now() })
    }
}

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// Answers whose times differ by no more say the same: they are told in whole seconds, and late.
const SAME_US: i64 = 2_500_000;

/// How long answers must say another time before it is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(60);

/// No API server that speaks to this operator is older: 2024, in microseconds since 1970.
const EARLIEST_US: i64 = 1_704_067_200_000_000;
/// Nor younger: 2200.
const LATEST_US: i64 = 7_258_118_400_000_000;

/// The API server's time, as the `Date` of its answers tells it.
///
/// It is kept as an offset to the monotonic clock, so the local wall clock, and whatever happens to
/// it, means nothing here. A time that answers suddenly tell otherwise (one of several API servers
/// whose clock is wrong, a clock that was set) is believed only when they go on to; until then the
/// earlier of the two counts, so that nothing looks older than it may be.
pub struct ServerTime {
    clock: Arc<dyn Clock>,
    heard: Mutex<Heard>,
}

/// Offsets of the API server's time to the monotonic clock, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    believed: Option<i64>,
    /// What answers say instead, and since when.
    instead: Option<(i64, Moment)>,
}

impl ServerTime {
    /// Nothing was heard yet.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, heard: Mutex::default() })
    }

    /// Takes the `Date` of an answer into account that came just now.
    pub fn hear(&self, date: &str) {
        let parser = jiff::fmt::rfc2822::DateTimeParser::new();
        let Ok(date) = parser.parse_timestamp(date) else { return };
        let date = date.as_microsecond();
        if !(EARLIEST_US..LATEST_US).contains(&date) {
            return;
        }
        let now = self.clock.now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = heard.after(date.saturating_sub(micros(now)), now);
    }

    /// The API server's time now, in microseconds since 1970; none when it never told it.
    pub fn now_us(&self) -> Option<i64> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = heard.believed?;
        let offset = heard.instead.map_or(believed, |(offset, _)| offset.min(believed));
        Some(offset.saturating_add(micros(self.clock.now())))
    }
}

impl Heard {
    fn after(self, offset: i64, now: Moment) -> Self {
        let same = |other: i64| offset.abs_diff(other) <= SAME_US.unsigned_abs();
        match (self.believed, self.instead) {
            (None, _) => Self { believed: Some(offset), instead: None },
            // An answer is never early: the latest of them is the nearest.
            (Some(believed), _) if same(believed) => {
                Self { believed: Some(believed.max(offset)), instead: None }
            }
            (_, Some((other, since))) if same(other) => match now.since(since) >= BELIEVED_AFTER {
                true => Self { believed: Some(offset), instead: None },
                false => Self { instead: Some((other.max(offset), since)), ..self },
            },
            (Some(_), _) => Self { instead: Some((offset, now)), ..self },
        }
    }
}

fn micros(moment: Moment) -> i64 {
    i64::try_from(moment.0.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Hands;

    const DATE: &str = "Sun, 29 Nov 2026 03:00:00 GMT";
    const TEN_LATER: &str = "Sun, 29 Nov 2026 03:10:00 GMT";

    fn text(server: &ServerTime) -> String {
        let now = server.now_us().map(|now| Timestamp::from_microsecond(now).unwrap());
        now.map(|now| now.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_servers_time_goes_on_with_the_monotonic_clock_and_not_with_the_wall() {
        let hands = Arc::new(Hands::default());
        let server = ServerTime::new(hands.clone());
        assert_eq!(server.now_us(), None);
        for odd in
            ["", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2300 00:00:00 GMT"]
        {
            server.hear(odd);
            assert_eq!(server.now_us(), None, "{odd}");
        }
        server.hear(DATE);
        hands.jump(86_400);
        hands.pass(Duration::from_secs(5));
        assert_eq!(text(&server), "2026-11-29T03:00:05Z");
    }

    #[test]
    fn another_time_is_believed_when_it_lasts_and_the_earlier_one_counts_until_then() {
        let hands = Arc::new(Hands::default());
        let server = ServerTime::new(hands.clone());
        server.hear(DATE);
        server.hear(TEN_LATER);
        assert_eq!(text(&server), "2026-11-29T03:00:00Z");
        // Two API servers that do not agree: neither makes anything older.
        for _ in 0..200 {
            server.hear(DATE);
            server.hear(TEN_LATER);
        }
        assert_eq!(text(&server), "2026-11-29T03:00:00Z");
        let later: Timestamp = "2026-11-29T03:10:00Z".parse().unwrap();
        for _ in 0..61 {
            hands.pass(Duration::from_secs(1));
            let mono = i64::try_from(hands.now().0.as_secs()).unwrap();
            let date = Timestamp::from_second(later.as_second() + mono).unwrap();
            let told = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            server.hear(&told);
        }
        let from = text(&server);
        assert!(from.starts_with("2026-11-29T03:1"), "{from}");
    }

    #[test]
    fn a_time_that_is_set_back_counts_at_once() {
        let hands = Arc::new(Hands::default());
        let server = ServerTime::new(hands);
        server.hear(TEN_LATER);
        server.hear(DATE);
        assert_eq!(text(&server), "2026-11-29T03:00:00Z");
    }
}
