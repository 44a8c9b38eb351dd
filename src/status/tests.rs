//! What the status of a cache promises, told on small worlds.

mod bounds;
mod hindered;
mod told;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use xsld_journal::event::{Cause, Event, Goal, OperationKind, Ordinal, Step};
use xsld_journal::record::Epoch;

use super::*;
use crate::crd::{ConditionReason as Reason, ConditionType as Type, XsldCacheSpec};
use crate::decide::Waiting;
use crate::decide::testing::{World, name, view};
use crate::xsld::view::{Answer, GroupView, MemberStatus};

/// A world with all that a status is computed from.
struct Scene {
    world: World,
    object: XsldCache,
    blind: bool,
    invalid: Vec<Invalid>,
    problems: Vec<Problem>,
    decision: Option<Decision>,
    target: &'static str,
    update: Option<Waiting>,
    gap: Option<Gap>,
    now: Timestamp,
}

impl Scene {
    /// A settled group of `size`.
    fn group(size: u32) -> Self {
        let mut world = World::group(size);
        let decision = Some(world.settled());
        Self::of(world, size, decision)
    }

    /// An XsldCache of `size` that nobody has looked at yet.
    fn new(size: u32) -> Self {
        Self::of(World::new(size), size, None)
    }

    fn of(world: World, size: u32, decision: Option<Decision>) -> Self {
        let size = i32::try_from(size).unwrap();
        let mut object = XsldCache::new("c", XsldCacheSpec { size, ..XsldCacheSpec::default() });
        object.metadata.namespace = Some("ns".into());
        object.metadata.uid = Some("uid".into());
        object.metadata.generation = Some(1);
        Self {
            world,
            object,
            blind: false,
            invalid: vec![],
            problems: vec![],
            decision,
            target: "image:1",
            update: None,
            gap: None,
            now: "2026-11-23T19:00:00Z".parse().unwrap(),
        }
    }

    fn status(&self) -> XsldCacheStatus {
        cache(&self.inputs())
    }

    fn inputs(&self) -> CacheInputs<'_> {
        CacheInputs {
            object: &self.object,
            invalid: &self.invalid,
            problems: &self.problems,
            asked: !self.world.seen.reports.is_empty(),
            seen: (!self.blind).then_some(&self.world.seen),
            state: &self.world.state,
            decision: self.decision.as_ref(),
            head: Some(StreamHead { seq: 7, stream_seq: 5, epoch: Epoch(2), hash: [1; 32] }),
            journal_id: Uuid::from_u128(9),
            gap: self.gap.clone(),
            image: Some("image:1"),
            target_image: Some(self.target),
            wanted_template: Some(&self.world.wanted.template.0),
            update: self.update.as_ref(),
            no_evictions: None,
            selector: "app=c".into(),
            now: self.now,
        }
    }

    /// Takes over the present status, as the next pass finds it, an hour and a bit later.
    fn published(&mut self) -> XsldCacheStatus {
        let status = self.status();
        // Through JSON, as the API server keeps it.
        let text = serde_json::to_string(&status).unwrap();
        self.object.status = Some(serde_json::from_str(&text).unwrap());
        self.now = self.now.checked_add(SignedDuration::from_millis(3_600_500)).unwrap();
        status
    }

    fn told(&self, kind: Type) -> (String, String, String) {
        told(&self.status(), kind)
    }

    fn wait(&mut self, reason: Reason, message: &str) {
        self.decision = Some(Decision::Wait(Waiting::new(reason, message)));
    }

    fn problem(&mut self, reason: Reason) {
        self.problems.push(Problem { reason, message: "it is in the way".into() });
    }

    /// Begins an operation with the goal of `size` members.
    fn begin(&mut self, kind: OperationKind, size: u32) {
        self.world.apply(Event::OperationBegun {
            kind,
            goal: Goal::Members { size, catalogs: 3 },
            cause: Cause { generation: 1, reason: "a test".into() },
        });
    }

    /// Every member tells `change` in its view.
    fn views(&mut self, change: impl Fn(&mut GroupView)) {
        for report in self.world.seen.reports.values_mut() {
            if let Answer::Known(view) = &mut report.group {
                change(view);
            }
        }
    }

    fn deleting(&mut self) {
        self.object.metadata.deletion_timestamp = Some(Time(self.now));
    }

    fn pod(&mut self, ordinal: Ordinal) -> &mut crate::observation::PodFacts {
        self.world.seen.pods.get_mut(&ordinal).unwrap()
    }
}

/// Status, reason and message of a condition.
fn told(status: &XsldCacheStatus, kind: Type) -> (String, String, String) {
    let found = status.conditions.iter().find(|found| found.type_ == kind.as_str()).unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

/// The status of every condition, by type.
fn truths(status: &XsldCacheStatus) -> BTreeMap<String, String> {
    let all = status.conditions.iter();
    all.map(|condition| (condition.type_.clone(), condition.status.clone())).collect()
}

/// The views show the member as unreachable, where they list it.
fn member_offline(view: &mut GroupView, ordinal: Ordinal) {
    let listed = view.members.iter_mut().filter(|member| member.name == name(ordinal));
    listed.for_each(|member| member.status = MemberStatus::Unreachable);
}

#[test]
fn a_settled_group_is_ready_and_has_all_nine_conditions() {
    for size in 1..4 {
        let status = Scene::group(size).status();
        let types: Vec<_> = status.conditions.iter().map(|found| found.type_.as_str()).collect();
        assert_eq!(types, Type::ALL.map(Type::as_str));
        let replication = if size == 1 { "ReplicationOff" } else { "SettingUpReplication" };
        let expected = [
            ("Ready", "True", "Settled"),
            ("Progressing", "False", "Settled"),
            ("Degraded", "False", "Settled"),
            ("MembersJoined", "True", "Joined"),
            ("GroupReachable", "True", "Reachable"),
            ("ReplicationReady", "False", replication),
            ("Deferred", "False", "Settled"),
            ("NeedsAttention", "False", "Settled"),
            ("JournalHealthy", "True", "Healthy"),
        ];
        for (condition, expected) in status.conditions.iter().zip(expected) {
            let found = (&*condition.type_, &*condition.status, &*condition.reason);
            assert_eq!(found, expected, "size {size}: {}", condition.message);
            assert_eq!(condition.observed_generation, Some(1));
            assert!(!condition.message.is_empty());
        }
        let count = i32::try_from(size).unwrap();
        assert_eq!(
            (status.members, status.online, status.size),
            (Some(count), Some(count), Some(count))
        );
    }
}

#[test]
fn a_cache_at_rest_gives_the_same_status_in_every_pass() {
    let mut scene = Scene::group(3);
    let first = scene.published();
    assert_eq!(scene.status(), first);
    assert_eq!(scene.object.status, Some(first), "as it is read back");
}

type Mutation = (&'static str, fn(&mut Scene), &'static [Type]);

/// What is changed of a settled group of three, and the conditions whose status changes by it.
const MUTATIONS: &[Mutation] = &[
    (
        "a broken rule",
        |s| s.invalid.push(Invalid { field: "spec.size".into(), rule: "no".into() }),
        &[Type::Ready, Type::Deferred, Type::NeedsAttention],
    ),
    ("a missing Secret", |s| s.problem(Reason::SecretMissing), &[Type::Ready]),
    (
        "a missing entrypoint",
        |s| s.problem(Reason::EntrypointMissing),
        &[Type::Ready, Type::Degraded],
    ),
    (
        "a broken profile",
        |s| s.problem(Reason::ProfileInvalid),
        &[Type::Ready, Type::NeedsAttention],
    ),
    (
        "a gap in the journal",
        |s| s.problem(Reason::JournalGap),
        &[Type::Ready, Type::JournalHealthy],
    ),
    (
        "other pod settings",
        |s| s.update = Some(Waiting::new(Reason::RequiresUpdate, "they wait")),
        &[Type::Deferred],
    ),
    (
        "a roll that was brought back",
        |s| s.update = Some(Waiting::new(Reason::RolloutHalted, "c-2 did not come back")),
        &[Type::Ready, Type::Deferred, Type::NeedsAttention],
    ),
    ("another image", |s| s.target = "image:2", &[Type::Ready]),
    ("paused", |s| s.object.spec.paused = true, &[]),
    (
        "paused and a changed size",
        |s| {
            s.object.spec.paused = true;
            s.object.spec.size = 4;
        },
        &[Type::Ready, Type::MembersJoined, Type::Deferred],
    ),
    ("a larger size", |s| s.object.spec.size = 4, &[Type::Ready, Type::MembersJoined]),
    ("a smaller size", |s| s.object.spec.size = 2, &[Type::Ready, Type::MembersJoined]),
    (
        "a replica that is not wanted and never joined",
        |s| s.world.seen.stateful_set.as_mut().unwrap().replicas = 4,
        &[Type::Ready],
    ),
    ("other catalogs", |s| s.object.spec.catalogs = 2, &[Type::Deferred]),
    (
        "a member that is unreachable",
        |s| s.views(|view| member_offline(view, 1)),
        &[Type::Ready, Type::Degraded],
    ),
    (
        "a member with an unknown word",
        |s| {
            s.views(|view| {
                view.members
                    .iter_mut()
                    .for_each(|member| member.status = MemberStatus::Unknown("?".into()))
            })
        },
        &[Type::Ready, Type::Degraded],
    ),
    ("a pod that is not ready", |s| s.pod(1).ready = false, &[Type::Ready, Type::Degraded]),
    ("a pod that ends", |s| s.pod(1).deleting = true, &[Type::Ready, Type::Degraded]),
    (
        "a pod at another address",
        |s| s.pod(2).address = Some("10.9.9.9".into()),
        &[Type::Ready, Type::Degraded],
    ),
    (
        "an untrusted certificate",
        |s| {
            s.world.seen.reports.entry(1).and_modify(|report| report.untrusted = Some("f".into()));
        },
        &[Type::Ready, Type::Degraded],
    ),
    ("a lower replica count", |s| s.world.set_replicas(2), &[Type::Ready, Type::Degraded]),
    ("views that differ", |s| s.world.report(2, &[0, 2]), &[Type::Ready, Type::Degraded]),
    (
        "an unknown member",
        |s| {
            s.views(|view| {
                let mut other = view.members[0].clone();
                other.name = "x".into();
                other.primary = None;
                view.members.push(other);
            })
        },
        &[Type::Ready, Type::MembersJoined],
    ),
    (
        "a member that left",
        |s| s.world.everybody_lists(&[0, 1]),
        &[Type::Ready, Type::Degraded, Type::MembersJoined],
    ),
    (
        "a lost member",
        |s| s.world.apply(Event::MemberLost { ordinal: 2, evidence: "{}".into() }),
        &[Type::Ready, Type::Degraded, Type::MembersJoined],
    ),
    (
        "nobody answers",
        |s| s.world.seen.reports.clear(),
        &[
            Type::Ready,
            Type::Degraded,
            Type::MembersJoined,
            Type::GroupReachable,
            Type::ReplicationReady,
        ],
    ),
    (
        "only former copies",
        |s| {
            s.world.seen.reports.remove(&0);
            s.views(|view| view.stale = true);
        },
        &[Type::Ready, Type::Degraded, Type::MembersJoined, Type::ReplicationReady],
    ),
    (
        "nothing was looked at",
        |s| {
            s.blind = true;
            s.decision = None;
        },
        &[
            Type::Ready,
            Type::Progressing,
            Type::Degraded,
            Type::MembersJoined,
            Type::GroupReachable,
            Type::ReplicationReady,
            Type::NeedsAttention,
        ],
    ),
    (
        "a replica",
        |s| s.views(|view| view.members[1].replication = Some("slave".into())),
        &[Type::ReplicationReady],
    ),
    (
        "a foreign task",
        |s| s.wait(Reason::ForeignTask, "another task runs"),
        &[Type::Ready, Type::Deferred],
    ),
    (
        "a lost primary volume",
        |s| s.wait(Reason::PrimaryVolumeLost, "it is gone"),
        &[Type::Ready, Type::Degraded, Type::NeedsAttention],
    ),
    (
        "refused credentials",
        |s| s.wait(Reason::CredentialsInvalid, "refused"),
        &[Type::Ready, Type::NeedsAttention],
    ),
    ("an operation", |s| s.begin(OperationKind::Repair, 3), &[Type::Ready, Type::Progressing]),
    (
        "an operation with another goal",
        |s| s.begin(OperationKind::ScaleUp, 5),
        &[Type::Ready, Type::Progressing, Type::Deferred],
    ),
    (
        "a parked operation",
        |s| {
            s.begin(OperationKind::Repair, 3);
            s.world
                .apply(Event::OperationParked { reason: "InDoubt".into(), message: "look".into() });
        },
        &[Type::Ready, Type::Progressing, Type::NeedsAttention],
    ),
    ("deletion", Scene::deleting, &[Type::Ready, Type::Progressing, Type::MembersJoined]),
];

#[test]
fn one_change_changes_exactly_the_conditions_that_it_is_about() {
    let settled = truths(&Scene::group(3).status());
    for (what, change, expected) in MUTATIONS {
        let mut scene = Scene::group(3);
        change(&mut scene);
        let status = scene.status();
        let now = truths(&status);
        let changed: Vec<_> = Type::ALL
            .into_iter()
            .filter(|kind| now[kind.as_str()] != settled[kind.as_str()])
            .collect();
        assert_eq!(changed, *expected, "{what}: {:#?}", status.conditions);
    }
}

#[test]
fn ready_needs_everything_that_it_stands_for() {
    // Every pair of changes: whatever comes together, Ready is told only of what is ready.
    for (one, first, _) in MUTATIONS {
        for (other, second, _) in MUTATIONS {
            let mut scene = Scene::group(3);
            first(&mut scene);
            if one != other {
                // An operation that is open refuses another one.
                let operations = |what: &str| what.contains("operation");
                if operations(one) && operations(other) {
                    continue;
                }
                second(&mut scene);
            }
            let status = scene.status();
            if told(&status, Type::Ready).0 != "True" {
                continue;
            }
            let what = format!("{one}, {other}");
            assert_eq!(status.members, status.size, "{what}");
            assert_eq!(status.online, status.size, "{what}");
            assert!(status.operation.is_none(), "{what}");
            assert_eq!(told(&status, Type::Degraded).0, "False", "{what}");
            assert_eq!(told(&status, Type::NeedsAttention).0, "False", "{what}");
            let image = status.image.unwrap();
            assert_eq!(image.current, image.target, "{what}");
        }
    }
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut scene = Scene::group(3);
    let first = scene.published();
    let began = scene.now;
    scene.views(|view| member_offline(view, 1));
    let second = scene.published();
    let time = |status: &XsldCacheStatus, kind: Type| {
        let found = status.conditions.iter().find(|found| found.type_ == kind.as_str());
        found.unwrap().last_transition_time.0
    };
    for kind in Type::ALL {
        let changed = matches!(kind, Type::Ready | Type::Degraded);
        let expected = if changed {
            Timestamp::from_second(began.as_second()).unwrap()
        } else {
            time(&first, kind)
        };
        assert_eq!(time(&second, kind), expected, "{kind:?}");
    }
    // Another reason for the same status is no transition.
    scene.pod(1).waiting = Some("Unschedulable".into());
    let third = scene.status();
    assert_eq!(told(&third, Type::Degraded).1, "Unschedulable");
    assert_eq!(time(&third, Type::Degraded), time(&second, Type::Degraded));
}

#[test]
fn a_member_keeps_its_time_until_its_pod_address_or_being_online_changes() {
    let mut scene = Scene::group(3);
    let first = scene.published();
    scene.views(|view| member_offline(view, 1));
    scene.pod(2).revision = Some("c-7d8f".into());
    let second = scene.published();
    let since = |status: &XsldCacheStatus, at: usize| status.member_states[at].since.clone();
    assert_eq!(since(&second, 0), since(&first, 0));
    assert_ne!(since(&second, 1), since(&first, 1));
    assert_eq!(since(&second, 2), since(&first, 2), "a revision alone is no change");
    assert_eq!(second.member_states[2].revision.as_deref(), Some("7d8f"));
}

#[test]
fn what_a_decision_waits_for_is_the_reason_of_ready_and_progressing() {
    let mut scene = Scene::group(2);
    scene.wait(Reason::WaitingForPods, "c-2 has no pod yet");
    for (kind, truth) in [(Type::Ready, "False"), (Type::Progressing, "False")] {
        let expected = (truth.into(), "WaitingForPods".into(), "c-2 has no pod yet".into());
        assert_eq!(scene.told(kind), expected);
    }
    scene.begin(OperationKind::ScaleUp, 2);
    let (truth, reason, message) = scene.told(Type::Progressing);
    assert_eq!((&*truth, &*reason, &*message), ("True", "WaitingForPods", "c-2 has no pod yet"));
}

#[test]
fn a_parked_operation_is_told_with_its_sequence_and_reason() {
    let mut scene = Scene::group(2);
    scene.begin(OperationKind::Repair, 2);
    scene
        .world
        .apply(Event::OperationParked { reason: "InDoubt".into(), message: "look at c-1".into() });
    let seq = scene.world.state.operation.as_ref().unwrap().parked.as_ref().unwrap().seq;
    scene.wait(Reason::Parked, "look at c-1");
    let (truth, reason, message) = scene.told(Type::NeedsAttention);
    assert_eq!((&*truth, &*reason), ("True", "Parked"));
    for part in [format!("sequence {seq}"), "InDoubt".into(), "look at c-1".into()] {
        assert!(message.contains(&part), "{message}");
    }
    assert_eq!(scene.told(Type::Ready).1, "Parked");
}

#[test]
fn a_goal_that_the_spec_no_longer_has_is_told_with_the_sequence_that_goes_first() {
    let mut scene = Scene::group(2);
    scene.begin(OperationKind::ScaleUp, 5);
    let member = scene.world.member(1);
    scene.world.intend(Step::ResetMember { member });
    let seq = scene.world.state.operation.as_ref().unwrap().begun_seq;
    let (truth, reason, message) = scene.told(Type::Deferred);
    assert_eq!((&*truth, &*reason), ("True", "Deferred"));
    assert!(
        message.contains("size 2") && message.contains(&format!("sequence {seq}")),
        "{message}"
    );
    scene.object.spec.size = 5;
    assert_eq!(scene.told(Type::Deferred).0, "False");
    scene.deleting();
    let (truth, _, message) = scene.told(Type::Deferred);
    assert!(truth == "True" && message.starts_with("deletion waits"), "{message}");
}

#[test]
fn a_paused_cache_says_so_and_defers_only_what_differs() {
    let mut scene = Scene::group(2);
    scene.object.spec.paused = true;
    scene.wait(Reason::Paused, "spec.paused is set: stopped at a step boundary");
    assert_eq!(scene.told(Type::Ready).0, "True");
    assert_eq!(scene.told(Type::Deferred).1, "Paused");
    scene.begin(OperationKind::Repair, 2);
    for kind in [Type::Ready, Type::Progressing, Type::Deferred] {
        assert_eq!(scene.told(kind).1, "Paused", "{kind:?}");
    }
    assert_eq!(scene.told(Type::Deferred).0, "True");
}

#[test]
fn the_operation_and_those_before_it_are_told() {
    let mut scene = Scene::group(2);
    let at = |seconds: i64| 1_795_460_400_000_000 + seconds * 1_000_000;
    scene.world.state.recent[0].begun_us = at(-192);
    scene.world.state.recent[0].ended_us = at(0);
    let ended = &scene.world.state.recent[0];
    let expected = format!(
        "2026-11-23T19:00:00Z bootstrap to 2 members succeeded in 3m12s (seq {}-{})",
        ended.begun_seq, ended.ended_seq
    );
    assert_eq!(scene.status().recent_operations, [expected]);
    scene.begin(OperationKind::Repair, 2);
    let member = scene.world.member(1);
    scene.world.intend(Step::ResetMember { member });
    let operation = scene.status().operation.unwrap();
    assert_eq!(operation.kind, "Repair");
    assert_eq!(operation.step.as_deref(), Some("ResetMember c-1"));
    assert_eq!((operation.attempts, operation.reason.as_deref()), (Some(1), Some("a test")));
}
