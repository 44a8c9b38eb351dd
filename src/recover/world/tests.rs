//! Journals beside API servers of another time.

use uuid::Uuid;
use xsld_journal::event::{Cause, End, Goal, OperationId, OperationKind, Step, StepKey};
use xsld_journal::record::Epoch;
use xsld_journal::store::Append;
use xsld_journal::store::memory::MemoryStore;

use super::*;
use crate::recover::anchor::hex;

const UID: Uuid = Uuid::from_u128(0xca);
const OPERATION: OperationId = OperationId(Uuid::from_u128(0xabc));

/// A journal whose cache `ns/c` acted on generation 3, and went from two replicas to one.
struct Story {
    store: MemoryStore,
}

impl Story {
    fn new() -> Self {
        let story = Self { store: MemoryStore::new(Uuid::from_u128(7)) };
        story.add(StreamId::JOURNAL, None, Event::Genesis { namespace_uid: "ns-uid".into() });
        story.add(StreamId::JOURNAL, None, Event::EpochBegun { holder: "me".into() });
        let opened = Event::CacheOpened { namespace: "ns".into(), name: "c".into() };
        story.add(StreamId(UID), None, opened);
        story
    }

    fn add(&self, stream: StreamId, operation: Option<OperationId>, event: Event) -> u64 {
        let expected = self.store.stream_head(stream).map_or(0, |head| head.stream_seq);
        let events = vec![event];
        let append = Append {
            stream,
            expected,
            epoch: Epoch(1),
            operation,
            time_us: 0,
            events,
            blobs: vec![],
        };
        self.store.append(append).unwrap();
        self.store.head().seq
    }

    fn begin(&self, generation: i64) {
        let goal = Goal::Members { size: 1, catalogs: 1 };
        let cause = Cause { generation, reason: "spec.size".into() };
        let kind = OperationKind::Bootstrap;
        self.add(StreamId(UID), Some(OPERATION), Event::OperationBegun { kind, goal, cause });
    }

    fn intend(&self, step: Step) -> StepKey {
        let key = StepKey::of(OPERATION, &step.target(), 1);
        let evidence = "{}".to_owned();
        let intent = Event::StepIntended { step, attempt: 1, key, evidence };
        self.add(StreamId(UID), Some(OPERATION), intent);
        key
    }

    fn succeed(&self, key: StepKey, found_by_probe: bool) {
        let (flagged, evidence) = (None, "{}".to_owned());
        let done = Event::StepSucceeded { key, found_by_probe, flagged, evidence };
        self.add(StreamId(UID), Some(OPERATION), done);
    }

    fn anchor(&self) -> Anchor {
        let head = self.store.head();
        let hash = hex(&head.hash);
        Anchor { journal_id: head.journal_id, epoch: 1, seq: head.seq, hash }
    }

    fn judged(&self, anchor: &Anchor, world: &World) -> Option<String> {
        went_back(&Remembered::of(&self.store, anchor).unwrap(), anchor, world)
    }
}

fn world(uid: Uuid, generation: i64) -> World {
    let cache =
        Cache { namespace: "ns".into(), name: "c".into(), uid: uid.to_string(), generation };
    World { caches: vec![cache], groups: vec!["ns/c".into()] }
}

fn scale(from: u32, to: u32) -> Step {
    Step::ScaleStatefulSet { from, to }
}

#[test]
fn an_anchor_that_lags_is_no_older_api_server() {
    let story = Story::new();
    let anchor = story.anchor();
    story.begin(3);
    let key = story.intend(scale(0, 1));
    story.succeed(key, false);
    assert_eq!(story.judged(&anchor, &world(UID, 3)), None);
    assert_eq!(story.judged(&anchor, &world(UID, 4)), None, "the spec changed meanwhile");
    assert_eq!(story.judged(&anchor, &World::default()), None, "the cache is gone");
}

#[test]
fn a_term_that_the_anchor_does_not_know_means_an_older_api_server() {
    let story = Story::new();
    let anchor = Anchor { epoch: 0, ..story.anchor() };
    let told = story.judged(&anchor, &world(UID, 1)).unwrap();
    assert!(told.contains("term 1"), "{told}");
}

#[test]
fn a_destructive_step_that_the_anchor_does_not_know_means_an_older_api_server() {
    let story = Story::new();
    let before = story.anchor();
    story.begin(3);
    let key = story.intend(Step::DeleteStatefulSet { uid: "set".into() });
    assert_eq!(story.judged(&before, &world(UID, 3)), None, "it may never have been sent");
    let moved = story.anchor();
    story.succeed(key, false);
    let told = story.judged(&before, &world(UID, 3)).unwrap();
    assert!(told.contains("record 5") && told.contains("stands at 3"), "{told}");
    assert_eq!(story.judged(&moved, &world(UID, 3)), None);
}

#[test]
fn what_was_only_found_done_says_nothing_about_the_anchor() {
    let story = Story::new();
    let before = story.anchor();
    story.begin(3);
    let key = story.intend(Step::DeleteStatefulSet { uid: "set".into() });
    story.succeed(key, true);
    assert_eq!(story.judged(&before, &world(UID, 3)), None);
}

#[test]
fn a_generation_that_went_back_means_an_older_api_server() {
    let story = Story::new();
    let anchor = story.anchor();
    story.begin(3);
    let told = story.judged(&anchor, &world(UID, 2)).unwrap();
    assert!(told.contains("generation 2") && told.contains("generation 3"), "{told}");
}

/// The anchor moves on every half minute, and what was acted on before it counts all the same. The
/// generation of a DataGrid is not its cache's.
#[test]
fn a_generation_that_was_acted_on_long_ago_is_remembered_and_that_of_a_grid_is_none() {
    let story = Story::new();
    story.begin(3);
    story.add(StreamId(UID), Some(OPERATION), Event::OperationEnded { end: End::Succeeded });
    let goal = Goal::Grid { grid_uid: "u".into(), name: "g".into(), digest: "d".into() };
    let cause = Cause { generation: 90, reason: "a grid".into() };
    let grid = Event::OperationBegun { kind: OperationKind::GridCreate, goal, cause };
    story.add(StreamId(UID), Some(OPERATION), grid);
    let anchor = story.anchor();
    assert_eq!(story.judged(&anchor, &world(UID, 3)), None, "it is the cache's own that counts");
    let told = story.judged(&anchor, &world(UID, 2)).unwrap();
    assert!(told.contains("generation 2") && told.contains("generation 3"), "{told}");
    let (acted, acted_size) = (3, Some(1));
    let found = Event::SpecOlder { generation: 2, size: 1, acted, acted_size };
    story.add(StreamId(UID), Some(OPERATION), found);
    assert!(story.judged(&story.anchor(), &world(UID, 2)).is_some(), "nobody confirmed it");
    let confirmed = Event::SpecConfirmed { generation: 2, size: 1 };
    story.add(StreamId(UID), Some(OPERATION), confirmed);
    assert_eq!(story.judged(&story.anchor(), &world(UID, 2)), None);
}

/// What was left to another operator, or went with its object, and is there again.
#[test]
fn a_cache_that_came_back_is_as_old_as_what_was_acted_on_before_it_was_left() {
    let story = Story::new();
    story.begin(7);
    let left = Event::CacheLeft { reason: "gone".into(), evidence: "{}".into() };
    story.add(StreamId(UID), Some(OPERATION), left);
    let again = crate::controller::streams::again(StreamId(UID));
    let anchor = story.anchor();
    let told = story.judged(&anchor, &world(UID, 3)).unwrap();
    assert!(told.contains("generation 3") && told.contains("generation 7"), "{told}");
    story.add(again, None, Event::CacheOpened { namespace: "team".into(), name: "c".into() });
    let anchor = story.anchor();
    assert!(story.judged(&anchor, &world(UID, 3)).is_some(), "it has a stream of its own again");
    assert_eq!(story.judged(&anchor, &world(UID, 7)), None, "a healthy one is no finding");
}

#[test]
fn a_cache_made_anew_before_its_end_means_an_older_api_server() {
    let story = Story::new();
    let other = Uuid::from_u128(0xcb);
    let told = story.judged(&story.anchor(), &world(other, 1)).unwrap();
    assert!(told.contains(&other.to_string()) && told.contains(&UID.to_string()), "{told}");
    story.add(StreamId(UID), None, Event::CacheClosed { reason: "deleted".into() });
    assert_eq!(story.judged(&story.anchor(), &world(other, 1)), None, "its end was recorded");
}
