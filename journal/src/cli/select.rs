//! Which records are meant: a cache by name, a point in the journal.

use std::collections::BTreeMap;
use std::str::FromStr;

use uuid::Uuid;

use crate::event::Event;
use crate::record::{Record, StreamId};
use crate::store::ledger::Snapshot;

/// A cache as a person names it: `namespace/name`, or the id of its stream, which is the UID of
/// its custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CacheName {
    Name(String),
    Stream(StreamId),
}

impl FromStr for CacheName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(stream) = Uuid::from_str(text) {
            return Ok(Self::Stream(StreamId(stream)));
        }
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self::Name(text.to_owned()))
            }
            _ => Err("a cache is named NAMESPACE/NAME, or by the UID of its XsldCache".into()),
        }
    }
}

impl std::fmt::Display for CacheName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

/// A place in the journal: a sequence, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Seq(u64),
    /// Microseconds since 1970.
    Time(i64),
}

impl Point {
    /// Whether a record stands at this point or after it.
    pub(super) fn is_reached_by(self, record: &Record) -> bool {
        self.is_reached(record.seq(), record.envelope.time_us)
    }

    /// The same for a sequence and a time.
    pub(super) fn is_reached(self, at_seq: u64, at_us: i64) -> bool {
        match self {
            Self::Seq(seq) => at_seq >= seq,
            Self::Time(time_us) => at_us >= time_us,
        }
    }

    /// Whether a record stands behind this point.
    pub(super) fn is_passed_by(self, record: &Record) -> bool {
        self.is_passed(record.seq(), record.envelope.time_us)
    }

    /// The same for a sequence and a time.
    pub(super) fn is_passed(self, at_seq: u64, at_us: i64) -> bool {
        match self {
            Self::Seq(seq) => at_seq > seq,
            Self::Time(time_us) => at_us > time_us,
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        let time = text.parse::<jiff::Timestamp>().or_else(|_| {
            // Without a zone the time is UTC, as everything that is printed.
            text.parse::<jiff::civil::DateTime>()
                .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
                .map(|time| time.timestamp())
        });
        time.map(|time| Self::Time(time.as_microsecond())).map_err(|_| {
            "neither a sequence number nor a time such as 2026-05-01T12:00:00Z or 2026-05-01".into()
        })
    }
}

/// The names of the streams, as far as their first records were read.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<StreamId, String>,
    /// In the order in which they were opened.
    order: Vec<StreamId>,
}

impl Names {
    /// Learns from a record what its stream is called.
    pub(super) fn learn(&mut self, record: &Record) {
        if let Event::CacheOpened { namespace, name } = &record.event {
            let stream = record.envelope.stream;
            if self.names.insert(stream, format!("{namespace}/{name}")).is_none() {
                self.order.push(stream);
            }
        }
    }

    /// Learns what the streams are called whose first records were retired: of those with one name
    /// the last one is that which is not closed, or has the last record.
    pub(super) fn learn_retired(&mut self, retired: &Snapshot) {
        let caches = retired.streams.iter().filter(|(id, _)| **id != StreamId::JOURNAL);
        let mut caches: Vec<_> = caches.collect();
        caches.sort_by_key(|(_, (head, state))| (!state.closed, head.seq));
        for (stream, (_, state)) in caches {
            self.names.insert(*stream, format!("{}/{}", state.namespace, state.name));
            self.order.push(*stream);
        }
    }

    /// `namespace/name`, or the stream's id where its first record was not read.
    pub(super) fn shown(&self, stream: StreamId) -> String {
        self.names.get(&stream).cloned().unwrap_or_else(|| stream.to_string())
    }

    /// `namespace/name`; none for the journal's own stream.
    pub(super) fn of(&self, stream: StreamId) -> Option<String> {
        self.names.get(&stream).cloned()
    }

    /// The last opened stream that a person means by a name.
    pub(super) fn find(&self, wanted: &CacheName) -> Option<StreamId> {
        self.order.iter().rev().find(|stream| self.is(**stream, wanted)).copied()
    }

    /// Whether a stream is the one that a person names.
    pub(super) fn is(&self, stream: StreamId, wanted: &CacheName) -> bool {
        match wanted {
            CacheName::Stream(wanted) => stream == *wanted,
            CacheName::Name(wanted) => self.names.get(&stream) == Some(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_sequence_or_a_time_in_utc() {
        assert_eq!("17".parse(), Ok(Point::Seq(17)));
        let noon = Ok(Point::Time(1_777_636_800_000_000));
        assert_eq!("2026-05-01T12:00:00Z".parse(), noon);
        assert_eq!("2026-05-01T14:00:00+02:00".parse(), noon);
        assert_eq!("2026-05-01T12:00:00".parse(), noon);
        assert_eq!("2026-05-01".parse(), Ok(Point::Time(1_777_593_600_000_000)));
        assert!("yesterday".parse::<Point>().is_err());
    }

    #[test]
    fn a_cache_is_named_by_namespace_and_name_or_by_its_uid() {
        assert_eq!("shop/sessions".parse(), Ok(CacheName::Name("shop/sessions".into())));
        let uid = Uuid::from_u128(7);
        assert_eq!(uid.to_string().parse(), Ok(CacheName::Stream(StreamId(uid))));
        for wrong in ["sessions", "/sessions", "shop/", "a/b/c", ""] {
            assert!(wrong.parse::<CacheName>().is_err(), "{wrong}");
        }
    }
}
