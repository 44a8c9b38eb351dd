//! Which records may go, and when: pure.
//!
//! A segment of the audit file is retired as a whole, the oldest first, once it is beyond one of the
//! limits and nothing that is still wanted stands in it: not the anchor's record, not a record of an
//! operation that is open, and not one that the newest checkpoints need. The segment that is being
//! written never is.

use crate::record::Epoch;

/// How much is kept. What is beyond either limit may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long, in microseconds; none for ever.
    pub age_us: Option<i64>,
    /// How much of the audit file, in bytes as it lies on the disk; none without end.
    pub bytes: Option<u64>,
}

/// A segment of the audit file, as far as its age and size go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Sequence of its last record.
    pub last_seq: u64,
    /// Its size on the disk.
    pub bytes: u64,
    /// Wall time of its newest record in microseconds, or a later one.
    pub newest_us: i64,
}

/// Records that are to be retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The last one.
    pub through: u64,
    /// How many segments those are.
    pub segments: usize,
    /// Which limit they are beyond, in words.
    pub reason: String,
}

/// What a store is asked for from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// How much is kept.
    pub limits: Limits,
    /// This record and all behind it stay, whatever the limits say: the anchor's.
    pub keep_from: u64,
    /// No more segments than these at once.
    pub at_most: usize,
    /// The caller's term of leadership.
    pub epoch: Epoch,
    /// Wall time in microseconds since 1970.
    pub now_us: i64,
}

/// What was retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The last retired record.
    pub through: u64,
    /// How many records went.
    pub records: u64,
    /// How much room their segments took.
    pub bytes: u64,
    /// Which limit they were beyond, in words.
    pub reason: String,
    /// Sequence of the record that says so.
    pub seq: u64,
}

/// What is to be retired of the segments that are full, in order; `last_bytes` is the size of the
/// one that is being written. `keep_from` and all records behind it stay, and so do those from the
/// first of `open` on: where operations begin that are open.
pub fn what_to_retire(
    full: &[SegmentFacts],
    last_bytes: u64,
    limits: Limits,
    now_us: i64,
    keep_from: u64,
    open: &[u64],
) -> Option<Due> {
    let wanted = open.iter().copied().min().map_or(keep_from, |begun| begun.min(keep_from));
    let mut total = full.iter().map(|segment| segment.bytes).sum::<u64>() + last_bytes;
    let mut due: Option<Due> = None;
    for (index, segment) in full.iter().enumerate() {
        let Some(reason) = beyond(segment, total, limits, now_us) else { break };
        if segment.last_seq >= wanted {
            break;
        }
        total = total.saturating_sub(segment.bytes);
        due = Some(Due { through: segment.last_seq, segments: index + 1, reason });
    }
    due
}

/// The limit that a segment is beyond while the audit file takes so much.
fn beyond(segment: &SegmentFacts, total: u64, limits: Limits, now_us: i64) -> Option<String> {
    const DAY_US: i64 = 86_400_000_000;
    if let Some(age_us) = limits.age_us
        && segment.newest_us < now_us.saturating_sub(age_us)
    {
        let age = match age_us / DAY_US {
            0 => format!("{} s", age_us / 1_000_000),
            1 => "1 day".to_owned(),
            days => format!("{days} days"),
        };
        return Some(format!("they are older than {age}"));
    }
    let bytes = limits.bytes.filter(|bytes| total > *bytes)?;
    Some(format!("the audit file takes more than {bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Limits = Limits { age_us: None, bytes: None };

    /// Three full segments of ten records and 100 bytes, written at 10, 20 and 30.
    fn full() -> Vec<SegmentFacts> {
        let facts = |number: u64| SegmentFacts {
            last_seq: number * 10,
            bytes: 100,
            newest_us: i64::try_from(number).unwrap() * 10,
        };
        (1..=3).map(facts).collect()
    }

    fn through(limits: Limits, now_us: i64, keep_from: u64, open: &[u64]) -> Option<u64> {
        what_to_retire(&full(), 50, limits, now_us, keep_from, open).map(|due| due.through)
    }

    #[test]
    fn without_limits_everything_stays() {
        assert_eq!(through(NEVER, i64::MAX, u64::MAX, &[]), None);
    }

    #[test]
    fn what_is_older_than_the_limit_goes_as_a_whole_segment() {
        let limits = Limits { age_us: Some(100), ..NEVER };
        let cases =
            [(110, None), (111, Some(10)), (120, Some(10)), (121, Some(20)), (131, Some(30))];
        for (now, expected) in cases {
            assert_eq!(through(limits, now, u64::MAX, &[]), expected, "{now}");
        }
    }

    #[test]
    fn the_oldest_go_until_the_size_is_within_its_limit() {
        let at = |bytes| through(Limits { bytes: Some(bytes), ..NEVER }, 0, u64::MAX, &[]);
        assert_eq!((at(350), at(349), at(250), at(249)), (None, Some(10), Some(10), Some(20)));
        assert_eq!(at(0), Some(30), "never the one that is being written");
    }

    #[test]
    fn either_limit_is_enough_and_the_reason_names_the_last_one() {
        let limits = Limits { age_us: Some(100), bytes: Some(200) };
        let due = what_to_retire(&full(), 50, limits, 111, u64::MAX, &[]).unwrap();
        assert_eq!((due.through, due.segments), (20, 2));
        assert_eq!(due.reason, "the audit file takes more than 200 bytes");
        let limits = Limits { age_us: Some(86_400_000_000 * 400), ..NEVER };
        let due = what_to_retire(&full(), 50, limits, i64::MAX, u64::MAX, &[]).unwrap();
        assert_eq!(due.reason, "they are older than 400 days");
    }

    #[test]
    fn the_anchors_record_and_an_open_operation_stay_whatever_the_limits_say() {
        let all = Limits { bytes: Some(0), ..NEVER };
        assert_eq!(through(all, 0, 21, &[]), Some(20));
        assert_eq!(through(all, 0, 20, &[]), Some(10), "the anchor's own record");
        assert_eq!(through(all, 0, u64::MAX, &[25, 11, 40]), Some(10));
        assert_eq!(through(all, 0, u64::MAX, &[10]), None);
        assert_eq!(through(all, 0, 1, &[]), None);
    }

    #[test]
    fn a_clock_that_went_back_keeps_more_and_never_less() {
        let limits = Limits { age_us: Some(100), ..NEVER };
        assert_eq!(through(limits, -1_000, u64::MAX, &[]), None);
        let mut odd = full();
        odd[0].newest_us = 1_000;
        let due = what_to_retire(&odd, 50, limits, 500, u64::MAX, &[]);
        assert_eq!(due, None, "nothing goes out of its order");
    }
}
