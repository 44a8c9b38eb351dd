//! Events and appends for the tests of this crate.

use std::path::Path;

use uuid::Uuid;

use crate::audit::{render, segment_name};
use crate::event::{
    Cause, End, Event, Goal, Incarnation, MemberRef, OperationId, OperationKind, Ordinal, Step,
    StepKey, Survivor,
};
use crate::record::{Epoch, StreamId};
use crate::store::Append;
use crate::store::ledger::{Entry, Ledger};

pub(crate) mod audited;
pub(crate) mod every;
pub(crate) mod histories;

/// An id that is the same in every run.
pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x1111_2222_3333_4444_5555_0000_0000_0000 + number)
}

pub(crate) fn cache(number: u128) -> StreamId {
    StreamId(id(0x1000 + number))
}

pub(crate) fn operation(number: u128) -> OperationId {
    OperationId(id(0x2000 + number))
}

pub(crate) fn incarnation(ordinal: Ordinal) -> Incarnation {
    Incarnation {
        pod_uid: format!("pod-uid-{ordinal}"),
        container_id: format!("containerd://c{ordinal}"),
        restarts: 0,
    }
}

pub(crate) fn member(ordinal: Ordinal) -> MemberRef {
    MemberRef {
        ordinal,
        name: format!("demo-{ordinal}"),
        claim_uid: format!("claim-uid-{ordinal}"),
        incarnation: incarnation(ordinal),
    }
}

pub(crate) fn survivor(ordinal: Ordinal) -> Survivor {
    Survivor { ordinal, name: format!("demo-{ordinal}"), incarnation: incarnation(ordinal) }
}

pub(crate) fn genesis() -> Event {
    Event::Genesis { namespace_uid: "namespace-uid".into() }
}

pub(crate) fn epoch_begun() -> Event {
    Event::EpochBegun { holder: "pod-uid/journal/42".into() }
}

pub(crate) fn cache_opened(name: &str) -> Event {
    Event::CacheOpened { namespace: "caches".into(), name: name.into() }
}

pub(crate) fn begun(size: u32) -> Event {
    begun_as(OperationKind::ScaleUp, size)
}

pub(crate) fn begun_as(kind: OperationKind, size: u32) -> Event {
    Event::OperationBegun {
        kind,
        goal: Goal::Members { size, catalogs: 1 },
        cause: Cause { generation: 2, reason: format!("spec.size is {size}") },
    }
}

pub(crate) fn intended(operation: OperationId, step: Step, attempt: u32) -> Event {
    let key = StepKey::of(operation, &step.target(), attempt);
    Event::StepIntended { step, attempt, key, evidence: "{\"idle\":true}".into() }
}

pub(crate) fn succeeded(operation: OperationId, step: &Step, attempt: u32) -> Event {
    Event::StepSucceeded {
        key: StepKey::of(operation, &step.target(), attempt),
        found_by_probe: false,
        flagged: None,
        evidence: "{\"replicas\":3}".into(),
    }
}

pub(crate) fn scale(from: u32, to: u32) -> Step {
    Step::ScaleStatefulSet { from, to }
}

pub(crate) fn ended() -> Event {
    Event::OperationEnded { end: End::Succeeded }
}

/// An append to the journal's own stream, in epoch 1 at a fixed time.
pub(crate) fn journal_append(expected: u64, events: Vec<Event>) -> Append {
    append_to(StreamId::JOURNAL, expected, None, events)
}

/// An append in epoch 1 at a fixed time.
pub(crate) fn append_to(
    stream: StreamId,
    expected: u64,
    operation: Option<OperationId>,
    events: Vec<Event>,
) -> Append {
    Append {
        stream,
        expected,
        epoch: Epoch(1),
        operation,
        time_us: 1_767_225_600_000_000,
        events,
        blobs: Vec::new(),
    }
}

pub(crate) fn join(ordinal: Ordinal) -> Step {
    Step::JoinMember { member: member(ordinal), host: "demo-0.demo".into(), catalog: true }
}

pub(crate) fn disjoin(ordinal: Ordinal) -> Step {
    Step::DisjoinMember { member: member(ordinal), survivor: survivor(0) }
}

pub(crate) fn bootstrapped() -> Event {
    Event::Bootstrapped {
        member: member(0),
        address: "10.0.0.10".into(),
        evidence: "{\"members\":[\"demo-0\"]}".into(),
    }
}

/// A small life of one cache: bootstrap, a join whose answer was lost in a crash and which a probe
/// found done, a disjoin that failed, parked, went on and succeeded; the next operation is open.
pub(crate) fn story() -> Vec<Append> {
    let (first, second, third) = (operation(1), operation(2), operation(3));
    let stream = cache(1);
    let mut story = Story { stream, appends: Vec::new(), expected: 0, epoch: 1, second: 0 };
    story.journal(0, vec![genesis(), epoch_begun()]);
    story.add(None, vec![cache_opened("demo")]);
    story.add(
        Some(first),
        vec![begun_as(OperationKind::Bootstrap, 2), intended(first, scale(0, 2), 1)],
    );
    story.add(Some(first), vec![succeeded(first, &scale(0, 2), 1)]);
    story.add(Some(first), vec![bootstrapped()]);
    story.add(Some(first), vec![intended(first, join(1), 1)]);
    let key = StepKey::of(first, &join(1).target(), 1);
    story.add(Some(first), vec![Event::StepAccepted { key, task: Some(7) }]);
    story.second += 60;
    story.epoch = 2;
    story.journal(2, vec![epoch_begun()]);
    let evidence = "{\"member\":\"demo-1\",\"online\":true}".into();
    let found = Event::StepSucceeded { key, found_by_probe: true, flagged: None, evidence };
    story.add(Some(first), vec![found, ended()]);
    story.add(
        Some(second),
        vec![begun_as(OperationKind::ScaleDown, 1), intended(second, disjoin(1), 1)],
    );
    let key = StepKey::of(second, &disjoin(1).target(), 1);
    let reason = "timed out \u{1b}[31mred".to_owned();
    story.add(Some(second), vec![Event::StepUnknown { key, reason: reason.clone() }]);
    let failed = Event::StepFailed { key, reason, evidence: "{\"task\":\"Failed\"}".into() };
    let (reason, message) = ("DisjoinFailed".to_owned(), "look at demo-1".to_owned());
    story.add(Some(second), vec![failed, Event::OperationParked { reason, message }]);
    let evidence = "the member answers again".to_owned();
    story.add(Some(second), vec![Event::OperationResumed { evidence }]);
    story.add(Some(second), vec![intended(second, disjoin(1), 2)]);
    story.add(Some(second), vec![succeeded(second, &disjoin(1), 2), ended()]);
    story.add(
        Some(third),
        vec![begun_as(OperationKind::ScaleDown, 1), intended(third, scale(2, 1), 1)],
    );
    story.appends
}

struct Story {
    stream: StreamId,
    appends: Vec<Append>,
    expected: u64,
    epoch: u64,
    second: i64,
}

impl Story {
    fn add(&mut self, operation: Option<OperationId>, events: Vec<Event>) {
        let expected = self.expected;
        self.expected += events.len() as u64;
        self.push(append_to(self.stream, expected, operation, events));
    }

    fn journal(&mut self, expected: u64, events: Vec<Event>) {
        self.push(journal_append(expected, events));
    }

    fn push(&mut self, append: Append) {
        self.second += 1;
        let time_us = append.time_us + self.second * 1_250_000;
        self.appends.push(Append { epoch: Epoch(self.epoch), time_us, ..append });
    }
}

/// The stored records of some appends.
pub(crate) fn entries_of(appends: &[Append]) -> Vec<Entry> {
    let mut ledger = Ledger::new(id(1));
    appends.iter().flat_map(|append| ledger.admit(append).unwrap().entries).collect()
}

/// Writes an audit file that holds these records.
pub(crate) fn write_audit(dir: &Path, entries: &[Entry]) {
    let lines: Vec<u8> = entries.iter().flat_map(|entry| render(entry).unwrap()).collect();
    std::fs::write(dir.join(segment_name(1)), lines).unwrap();
}

/// The line of a record as a newer program would write it: with a higher version of the envelope.
pub(crate) fn as_newer_program(entry: &Entry) -> String {
    let mut newer = entry.clone();
    newer.bytes[0] = crate::codec::ENVELOPE_VERSION + 1;
    newer.record.hash = crate::chain::hash(&entry.record.envelope.previous, &newer.bytes);
    String::from_utf8(render(&newer).unwrap()).unwrap()
}
