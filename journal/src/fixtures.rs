//! Events and appends for the tests of this crate.

use uuid::Uuid;

use crate::event::{
    Cause, End, Event, Goal, Incarnation, MemberRef, OperationId, OperationKind, Ordinal, Step,
    StepKey, Survivor,
};
use crate::record::{Epoch, StreamId};
use crate::store::Append;

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
    Event::OperationBegun {
        kind: OperationKind::ScaleUp,
        goal: Goal::Members { size, catalogs: 1 },
        cause: Cause { generation: 2, reason: format!("spec.size is {size}") },
    }
}

pub(crate) fn intended(operation: OperationId, step: Step, attempt: u32) -> Event {
    let key = StepKey::of(operation, &step.target(), attempt);
    Event::StepIntended { step, attempt, key, evidence: "{}".into() }
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
