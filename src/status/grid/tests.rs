//! What the status of a grid promises.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;
use xsld_journal::event::{Cause, End, Event, OperationKind, Step};
use xsld_journal::record::Epoch;
use xsld_journal::store::StreamHead;

use super::*;
use crate::crd::{DataGrid, DataGridSpec};
use crate::decide::testing::World;
use crate::decide::{Waiting, WantedGrid};
use crate::observation::Shown;
use crate::status::{Problem, grid as compute};
use crate::validate::Invalid;
use crate::xsld::view::Answer;

const UID: &str = "grid-uid";

struct Scene {
    world: World,
    object: DataGrid,
    wanted: WantedGrid,
    invalid: Vec<Invalid>,
    cache: Result<&'static str, Problem>,
    refused: Option<&'static str>,
    put_off: Option<Waiting>,
    blind: bool,
    head: u64,
    now: Timestamp,
}

impl Scene {
    /// A grid that was applied and is Online.
    fn online() -> Self {
        let mut object = DataGrid::new("g", DataGridSpec::default());
        object.metadata.generation = Some(3);
        let wanted = WantedGrid {
            name: "g".into(),
            generation: 3,
            fields: fields("30"),
            digest: "d".into(),
            template: None,
            correct_drift: true,
            deleting: false,
            delete_grid: true,
            was_here: false,
        };
        let mut world = World::group(2);
        world.apply(Event::GridAdopted {
            grid_uid: UID.into(),
            name: "g".into(),
            digest: "d".into(),
        });
        let mut scene = Self {
            world,
            object,
            wanted,
            invalid: vec![],
            cache: Ok("c"),
            refused: None,
            put_off: None,
            blind: false,
            head: 40,
            now: "2026-11-23T19:00:00Z".parse().unwrap(),
        };
        scene.live(GridStatus::Online, "30");
        scene
    }

    fn live(&mut self, status: GridStatus, timeout: &str) {
        let grid = GridView { name: "g".into(), status, fields: fields(timeout) };
        self.world.seen.grids = Some(Answer::Known(Shown::from([("g".into(), grid)])));
    }

    fn absent(&mut self) {
        self.world.seen.grids = Some(Answer::Known([].into()));
    }

    fn status(&self) -> DataGridStatus {
        compute(&GridInputs {
            object: &self.object,
            invalid: &self.invalid,
            cache: self.cache.clone(),
            wanted: self.cache.is_ok().then_some(&self.wanted),
            uid: UID,
            seen: (!self.blind).then_some(&self.world.seen),
            state: Some(&self.world.state),
            refused: self.refused,
            put_off: self.put_off.clone(),
            head: Some(StreamHead {
                seq: self.head,
                stream_seq: 5,
                epoch: Epoch(2),
                hash: [1; 32],
            }),
            journal_id: Uuid::from_u128(9),
            now: self.now,
        })
    }

    fn told(&self, kind: Type) -> (String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|found| found.type_ == kind.as_str()).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    fn begin(&mut self, uid: &str) {
        self.world.apply(Event::OperationBegun {
            kind: OperationKind::GridUpdate,
            goal: Goal::Grid { grid_uid: uid.into(), name: "g".into(), digest: "d".into() },
            cause: Cause { generation: 3, reason: "it differs".into() },
        });
    }
}

fn fields(timeout: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("lockTimeout".into(), timeout.into()), ("numPartition".into(), "3".into())])
}

fn truths(scene: &Scene) -> Vec<(String, String)> {
    let all = scene.status().conditions;
    all.into_iter().map(|condition| (condition.type_, condition.status)).collect()
}

type Mutation = (&'static str, fn(&mut Scene), &'static [Type]);

const MUTATIONS: &[Mutation] = &[
    ("created", |s| s.live(GridStatus::Created, "30"), &[Type::Ready]),
    ("in error", |s| s.live(GridStatus::Error, "30"), &[Type::Ready, Type::Degraded]),
    ("an unknown word", |s| s.live(GridStatus::Unknown("?".into()), "30"), &[Type::Ready]),
    ("absent", Scene::absent, &[Type::Ready]),
    ("changed by hand", |s| s.live(GridStatus::Online, "31"), &[Type::Ready, Type::Degraded]),
    (
        "a changed spec",
        |s| {
            s.wanted.digest = "e".into();
            s.wanted.fields = fields("40");
        },
        &[Type::Ready],
    ),
    ("refused", |s| s.refused = Some("a prime is needed"), &[Type::Ready, Type::NeedsAttention]),
    (
        "a broken rule",
        |s| s.invalid.push(Invalid { field: "f".into(), rule: "r".into() }),
        &[Type::Ready, Type::NeedsAttention],
    ),
    (
        "a cache that is not ready",
        |s| s.cache = Err(problem(Reason::WaitingForCache)),
        &[Type::Ready, Type::Deferred],
    ),
    (
        "several caches",
        |s| s.cache = Err(problem(Reason::CacheAmbiguous)),
        &[Type::Ready, Type::Deferred, Type::NeedsAttention],
    ),
    ("an operation on it", |s| s.begin(UID), &[Type::Ready, Type::Progressing]),
    ("an operation on another one", |s| s.begin("other"), &[]),
    (
        "work behind another one",
        |s| {
            s.begin("other");
            s.absent();
        },
        &[Type::Ready, Type::Deferred],
    ),
    (
        "in error, and its recovery waits",
        |s| {
            s.live(GridStatus::Error, "30");
            s.put_off = Some(Waiting::new(Reason::RecoveringGrid, "c-2 is away"));
        },
        &[Type::Ready, Type::Degraded, Type::Deferred],
    ),
    (
        "set back too often",
        |s| {
            s.absent();
            s.put_off = Some(Waiting::new(Reason::NotConverging, "put right 3 times"));
        },
        &[Type::Ready, Type::NeedsAttention],
    ),
    ("nobody tells the grids", |s| s.world.seen.grids = None, &[Type::Ready, Type::Degraded]),
    ("nothing was looked at", |s| s.blind = true, &[Type::Ready, Type::Degraded]),
    (
        "deletion",
        |s| s.object.metadata.deletion_timestamp = Some(Time(s.now)),
        &[Type::Ready, Type::Progressing],
    ),
];

fn problem(reason: Reason) -> Problem {
    Problem { reason, message: "look at the cache".into() }
}

#[test]
fn one_change_changes_exactly_the_conditions_that_it_is_about() {
    let settled = truths(&Scene::online());
    for (what, change, expected) in MUTATIONS {
        let mut scene = Scene::online();
        change(&mut scene);
        let now = truths(&scene);
        let changed: Vec<_> = settled
            .iter()
            .zip(&now)
            .filter(|(before, after)| before != after)
            .map(|(before, _)| before.0.as_str())
            .collect();
        let expected: Vec<_> = expected.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(changed, expected, "{what}: {:#?}", scene.status().conditions);
    }
}

#[test]
fn a_grid_that_is_online_as_wanted_is_ready() {
    let status = Scene::online().status();
    assert_eq!(status.status.as_deref(), Some("Online"));
    assert_eq!(status.cache.as_deref(), Some("c"));
    assert_eq!(status.template.as_deref(), Some("Simple"));
    assert_eq!(status.observed_generation, Some(3));
    let truths: Vec<_> = status.conditions.iter().map(|found| found.status.as_str()).collect();
    assert_eq!(truths, ["True", "False", "False", "False", "False"]);
    assert_eq!(status.conditions[0].reason, "Online");
}

#[test]
fn the_status_is_one_of_four_words() {
    let mut scene = Scene::online();
    for (status, word) in [
        (GridStatus::Created, "Created"),
        (GridStatus::Online, "Online"),
        (GridStatus::Error, "Error"),
        (GridStatus::Unknown("Weird".into()), "Unknown"),
    ] {
        scene.live(status, "30");
        assert_eq!(scene.status().status.as_deref(), Some(word));
    }
    scene.blind = true;
    assert_eq!(scene.status().status.as_deref(), Some("Unknown"));
}

#[test]
fn a_grid_at_rest_gives_the_same_status_while_its_cache_records_other_things() {
    let mut scene = Scene::online();
    let first = scene.status();
    scene.object.status = Some(first.clone());
    scene.now = Timestamp::MAX;
    scene.head = 90;
    assert_eq!(scene.status(), first);
    scene.begin(UID);
    assert_eq!(scene.status().journal.unwrap().sequence, 90, "now it is about this grid");
}

#[test]
fn drift_names_the_fields_that_somebody_else_changed() {
    let mut scene = Scene::online();
    scene.wanted.correct_drift = false;
    scene.live(GridStatus::Online, "31");
    assert_eq!(scene.status().drift, ["lockTimeout"]);
    assert_eq!(scene.told(Type::Ready), ("False".into(), "Drifted".into()));
    assert_eq!(scene.told(Type::Degraded), ("True".into(), "Drifted".into()));
    scene.wanted.digest = "e".into();
    assert!(scene.status().drift.is_empty(), "a changed spec is no drift");
}

#[test]
fn a_refusal_is_told_in_the_group_s_words() {
    let mut scene = Scene::online();
    scene.refused = Some("refused 400: numPartition must be prime");
    let ready = scene.status().conditions.remove(0);
    assert_eq!((&*ready.status, &*ready.reason), ("False", "Refused"));
    assert!(ready.message.contains("numPartition must be prime"), "{}", ready.message);
}

#[test]
fn a_parked_operation_is_told_with_its_sequence() {
    let mut scene = Scene::online();
    scene.begin(UID);
    scene.world.apply(Event::OperationParked { reason: "InDoubt".into(), message: "look".into() });
    let seq = scene.world.state.operation.as_ref().unwrap().parked.as_ref().unwrap().seq;
    let status = scene.status();
    let attention = status.conditions.last().unwrap();
    assert_eq!((&*attention.status, &*attention.reason), ("True", "Parked"));
    assert!(attention.message.contains(&format!("sequence {seq}")), "{}", attention.message);
    assert_eq!(status.operation.unwrap().kind, "GridUpdate");
}

#[test]
fn a_grid_that_is_not_made_yet_has_no_journal_and_no_template() {
    let mut scene = Scene::online();
    scene.world.state.grids.clear();
    scene.absent();
    let status = scene.status();
    assert_eq!((status.journal, status.template), (None, None));
    scene.begin(UID);
    let through = scene.world.survivor(0);
    scene.world.run_and_succeed(Step::CreateGrid {
        grid_uid: UID.into(),
        name: "g".into(),
        digest: "d".into(),
        through,
    });
    scene.world.apply(Event::OperationEnded { end: End::Succeeded });
    scene.live(GridStatus::Online, "30");
    let status = scene.status();
    assert!(status.journal.is_some());
    assert_eq!(status.conditions[0].status, "True");
}

#[test]
fn a_grid_that_goes_tells_what_keeps_it_and_what_would_end_that() {
    let mut scene = Scene::online();
    scene.object.metadata.deletion_timestamp = Some(Time(scene.now));
    scene.world.seen.grids = None;
    let ready = scene.status().conditions.remove(0);
    assert_eq!(&*ready.reason, "Deleting");
    assert!(ready.message.contains("no member of the group tells its grids"), "{}", ready.message);
    assert!(ready.message.contains("deletionPolicy to Retain"), "{}", ready.message);
    scene.live(GridStatus::Online, "30");
    scene.refused = Some("refused 403: no");
    let attention = scene.told(Type::NeedsAttention);
    assert_eq!(attention, ("True".into(), "Refused".into()));
    let ready = scene.status().conditions.remove(0);
    assert!(ready.message.contains("refused 403"), "{}", ready.message);
    assert!(ready.message.contains("deletionPolicy to Retain"), "{}", ready.message);
    scene.refused = None;
    scene.put_off = Some(Waiting::new(Reason::Paused, "spec.paused is set"));
    let ready = scene.status().conditions.remove(0);
    assert!(ready.message.contains("spec.paused is set"), "{}", ready.message);
    scene.cache = Err(problem(Reason::WaitingForCache));
    let ready = scene.status().conditions.remove(0);
    assert!(ready.message.contains("look at the cache"), "{}", ready.message);
}

#[test]
fn the_word_of_a_grid_stays_until_it_is_seen_what_became_of_it() {
    let mut scene = Scene::online();
    scene.object.status = Some(scene.status());
    assert_eq!(scene.status().template.as_deref(), Some("Simple"));
    // The journal is lost: it is the only word of the grid.
    scene.world.state.grids.clear();
    assert_eq!(scene.status().template.as_deref(), Some("Simple"));
    scene.blind = true;
    assert_eq!(scene.status().template.as_deref(), Some("Simple"));
    scene.cache = Ok("d");
    assert_eq!(scene.status().template, None, "it was in another cache");
    (scene.blind, scene.cache) = (false, Ok("c"));
    scene.absent();
    assert_eq!(scene.status().template, None, "it is gone");
}
