//! What can be counted: bounded labels only, never text from a user or a member.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use xsld_journal::store::{Figures, Store};

/// Labels of a step's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabels {
    /// Kind of step, such as `join_member`.
    pub step: &'static str,
    /// `succeeded`, `failed`, `void` or `not_sent`.
    pub outcome: &'static str,
}

/// Labels of an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// Where it happened, such as `observe`.
    pub category: &'static str,
}

/// Labels of a request to the endpoint that serves the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabels {
    /// `journal` or `decisions`.
    pub route: &'static str,
    /// Status of the answer.
    pub code: u16,
}

/// Every metric of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Outcomes of steps.
    pub steps: Family<StepLabels, Counter<u64, AtomicU64>>,
    /// Passes over caches.
    pub passes: Counter<u64, AtomicU64>,
    /// Passes that ended with an error.
    pub errors: Family<ErrorLabels, Counter<u64, AtomicU64>>,
    /// Requests to the endpoint that serves the journal.
    pub endpoint_requests: Family<EndpointLabels, Counter<u64, AtomicU64>>,
    /// Records appended by this process.
    pub records: Counter<u64, AtomicU64>,
    /// Sequence of the journal's last record.
    pub journal_sequence: Gauge<i64, AtomicI64>,
    /// The term of leadership.
    pub epoch: Gauge<i64, AtomicI64>,
    /// Open streams: caches that the journal knows.
    pub caches: Gauge<i64, AtomicI64>,
    /// Caches with an operation in flight.
    pub operations_open: Gauge<i64, AtomicI64>,
    /// Caches whose operation is parked.
    pub operations_parked: Gauge<i64, AtomicI64>,
    /// 1 while the lease is held.
    pub leader: Gauge<i64, AtomicI64>,
    /// 1 while nothing is done because the journal was forked.
    pub journal_read_only: Gauge<i64, AtomicI64>,
    /// Records that this process retired.
    pub journal_retired_records: Counter<u64, AtomicU64>,
    /// How much there is of the journal.
    pub journal: JournalGauges,
}

/// How much there is of the journal, and what limits it: see [`Figures`].
#[derive(Debug, Default)]
pub struct JournalGauges {
    audit_bytes: Gauge<i64, AtomicI64>,
    sled_bytes: Gauge<i64, AtomicI64>,
    segments: Gauge<i64, AtomicI64>,
    kept_records: Gauge<i64, AtomicI64>,
    first_sequence: Gauge<i64, AtomicI64>,
    checkpoint_sequence: Gauge<i64, AtomicI64>,
    has_reserve: Gauge<i64, AtomicI64>,
    operation_records: Gauge<i64, AtomicI64>,
}

impl JournalGauges {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("journal_audit_bytes", "Bytes of the audit file and its base", &self.audit_bytes),
            ("journal_sled_bytes", "Bytes of the copy in sled", &self.sled_bytes),
            ("journal_segments", "Segments of the audit file", &self.segments),
            ("journal_kept_records", "Records that were not retired", &self.kept_records),
            ("journal_first_sequence", "First sequence that is kept", &self.first_sequence),
            (
                "journal_checkpoint_sequence",
                "Sequence of the newest checkpoint",
                &self.checkpoint_sequence,
            ),
            (
                "journal_reserve",
                "1 while the room is there that is kept for a full disk",
                &self.has_reserve,
            ),
            (
                "journal_operation_records",
                "Records of the open operation that has most",
                &self.operation_records,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    fn tell(&self, figures: &Figures) {
        let set = |gauge: &Gauge<i64, AtomicI64>, value: u64| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.audit_bytes, figures.audit_bytes);
        set(&self.sled_bytes, figures.sled_bytes);
        set(&self.segments, figures.segments);
        set(&self.kept_records, figures.kept());
        set(&self.first_sequence, figures.first_seq);
        set(&self.checkpoint_sequence, figures.checkpoint_seq);
        set(&self.has_reserve, figures.has_reserve.into());
        set(&self.operation_records, figures.operation_records.into());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("xsld_operator"),
            steps: Family::default(),
            passes: Counter::default(),
            errors: Family::default(),
            endpoint_requests: Family::default(),
            records: Counter::default(),
            journal_sequence: Gauge::default(),
            epoch: Gauge::default(),
            caches: Gauge::default(),
            operations_open: Gauge::default(),
            operations_parked: Gauge::default(),
            leader: Gauge::default(),
            journal_read_only: Gauge::default(),
            journal_retired_records: Counter::default(),
            journal: JournalGauges::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("steps", "Outcomes of steps", self.steps.clone());
        registry.register("passes", "Passes over caches", self.passes.clone());
        registry.register("errors", "Passes that ended with an error", self.errors.clone());
        let requests = self.endpoint_requests.clone();
        registry.register("endpoint_requests", "Requests for the journal over HTTPS", requests);
        registry.register("journal_records", "Records appended", self.records.clone());
        let retired = self.journal_retired_records.clone();
        registry.register("journal_retired_records", "Records retired", retired);
        self.journal.register(registry);
        let gauges = [
            ("journal_sequence", "Last sequence of the journal", &self.journal_sequence),
            ("epoch", "Term of leadership", &self.epoch),
            ("caches", "Caches that the journal knows", &self.caches),
            ("operations_open", "Caches with an operation in flight", &self.operations_open),
            ("operations_parked", "Caches whose operation is parked", &self.operations_parked),
            ("leader", "1 while the lease is held", &self.leader),
            (
                "journal_read_only",
                "1 while nothing is done because the journal was forked",
                &self.journal_read_only,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    /// Sets what tells the journal's present state: its end, and its caches and their operations.
    pub fn follow(&self, store: &dyn Store) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let states = store.streams();
        let open = states.iter().filter(|(_, state)| !state.closed);
        let operations = states.iter().filter_map(|(_, state)| state.operation.as_ref());
        let parked = operations.clone().filter(|operation| operation.parked.is_some());
        self.journal_sequence.set(i64::try_from(store.head().seq).unwrap_or(i64::MAX));
        self.caches.set(count(open.count()));
        self.operations_open.set(count(operations.count()));
        self.operations_parked.set(count(parked.count()));
    }

    /// Shows how much there is of the journal.
    pub fn tell_figures(&self, figures: &Figures) {
        self.journal.tell(figures);
    }

    /// All metrics in the OpenMetrics text form.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail; an encoder error would only shorten the answer.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use xsld_journal::event::{Cause, Event, Goal, OperationId, OperationKind};
    use xsld_journal::record::{Epoch, StreamId};
    use xsld_journal::store::Append;
    use xsld_journal::store::memory::MemoryStore;

    use super::*;

    const CACHE: StreamId = StreamId(Uuid::from_u128(0xca));

    fn add(store: &MemoryStore, stream: StreamId, event: Event) {
        let expected = store.stream_head(stream).map_or(0, |head| head.stream_seq);
        let operation = (stream == CACHE && expected > 0).then(|| OperationId(Uuid::from_u128(1)));
        let events = vec![event];
        let (time_us, blobs) = (0, vec![]);
        let append =
            Append { stream, expected, epoch: Epoch(1), operation, time_us, events, blobs };
        store.append(append).unwrap();
    }

    #[test]
    fn a_journal_that_is_found_is_told_before_anything_is_added_to_it() {
        let store = MemoryStore::new(Uuid::from_u128(7));
        add(&store, StreamId::JOURNAL, Event::Genesis { namespace_uid: "ns-uid".into() });
        add(&store, StreamId::JOURNAL, Event::EpochBegun { holder: "me".into() });
        add(&store, CACHE, Event::CacheOpened { namespace: "ns".into(), name: "c".into() });
        let goal = Goal::Members { size: 1, catalogs: 1 };
        let cause = Cause { generation: 1, reason: "spec.size".into() };
        let kind = OperationKind::Bootstrap;
        add(&store, CACHE, Event::OperationBegun { kind, goal, cause });
        let metrics = Metrics::default();
        metrics.follow(&store);
        let told = |metrics: &Metrics| {
            let open = metrics.operations_open.get();
            (metrics.caches.get(), open, metrics.operations_parked.get())
        };
        assert_eq!(told(&metrics), (1, 1, 0));
        let parked = Event::OperationParked { reason: "InDoubt".into(), message: "look".into() };
        add(&store, CACHE, parked);
        metrics.follow(&store);
        assert_eq!(told(&metrics), (1, 1, 1));
        assert_eq!(metrics.journal_sequence.get(), i64::try_from(store.head().seq).unwrap());
    }

    #[test]
    fn every_metric_is_rendered_with_its_prefix_and_help() {
        let metrics = Metrics::default();
        metrics.steps.get_or_create(&StepLabels { step: "join_member", outcome: "failed" }).inc();
        let text = metrics.render();
        assert!(
            text.contains("xsld_operator_steps_total{step=\"join_member\",outcome=\"failed\"} 1")
        );
        assert!(text.contains("# HELP xsld_operator_journal_sequence "));
    }

    #[test]
    fn the_figures_of_the_journal_are_told_each_under_its_name() {
        let metrics = Metrics::default();
        metrics.journal_retired_records.inc_by(9);
        metrics.tell_figures(&Figures {
            audit_bytes: 11,
            sled_bytes: 12,
            segments: 13,
            first_seq: 801,
            last_seq: 900,
            checkpoint_seq: 850,
            has_reserve: true,
            operation_records: 14,
        });
        let text = metrics.render();
        for line in [
            "audit_bytes 11",
            "sled_bytes 12",
            "segments 13",
            "kept_records 100",
            "first_sequence 801",
            "checkpoint_sequence 850",
            "reserve 1",
            "operation_records 14",
            "retired_records_total 9",
        ] {
            assert!(text.contains(&format!("xsld_operator_journal_{line}\n")), "{line}: {text}");
        }
    }
}
