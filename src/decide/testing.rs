//! A small world for the tests of decisions: a cache of members that answer as they should, and
//! verbs that break it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;
use xsld_journal::event::{
    Cause, Event, Goal, Incarnation, MemberRef, OperationId, OperationKind, Ordinal, Step, StepKey,
    Survivor, Text,
};
use xsld_journal::state::{CacheState, Stamp};

use super::roll::Rollout;
use super::watch::Watch;
use super::{Cascade, Decision, Inputs, Wanted, decide};
use crate::clock::Moment;
use crate::observation::{ClaimFacts, Observation, PodFacts, Report, SetFacts};
use crate::times::Times;
use crate::xsld::view::{
    Answer, GroupMember, GroupView, MemberStatus, TaskStatus, TaskView, description_of,
};

/// One cache with all that a decision looks at.
pub(crate) struct World {
    pub(crate) wanted: Wanted,
    pub(crate) state: CacheState,
    pub(crate) seen: Observation,
    pub(crate) watch: Watch,
    pub(crate) times: Times,
    /// Wall time of what is recorded and decided, in microseconds.
    pub(crate) time_us: i64,
    /// How far the operator's own wall clock is ahead of the API server's time.
    pub(crate) wall_is_ahead_us: i64,
    now: Duration,
    seq: u64,
}

pub(crate) const OPERATION: OperationId = OperationId(Uuid::from_u128(0xabc));

impl World {
    /// An XsldCache of `size` that nobody has looked at yet.
    pub(crate) fn new(size: u32) -> Self {
        let wanted = Wanted {
            name: "c".into(),
            namespace: "ns".into(),
            generation: 1,
            size,
            catalogs: 3,
            delete_scaled_volumes: true,
            delete_volumes: false,
            reset_half_joined: true,
            paused: false,
            deleting: false,
            cascade: Cascade::Delete,
            template: ("d1".into(), Text::Inline("{}".into())),
            may_roll: false,
            confirms: None,
            acted_before: None,
            rollout: Rollout { partition: 0, deadline: Duration::from_secs(1800), rollback: false },
            replicate: true,
            primary_grace: Duration::from_secs(600),
            storage: String::new(),
            class: None,
            grids: BTreeMap::new(),
            templates: BTreeMap::new(),
            unread: false,
            others: BTreeSet::new(),
            held: None,
        };
        let seen = Observation {
            at: Moment::default(),
            stateful_set: None,
            pods: BTreeMap::new(),
            hindrances: BTreeMap::new(),
            claims: BTreeMap::new(),
            reports: BTreeMap::new(),
            grids: None,
            templates: None,
            taken: Vec::new(),
        };
        Self {
            wanted,
            state: CacheState::default(),
            seen,
            watch: Watch::default(),
            times: Times::default(),
            time_us: 0,
            wall_is_ahead_us: 0,
            now: Duration::ZERO,
            seq: 0,
        }
    }

    /// A settled group of `size` established members with nothing to do.
    pub(crate) fn group(size: u32) -> Self {
        let mut world = Self::new(size);
        world.apply(Event::CacheOpened { namespace: "ns".into(), name: "c".into() });
        world.apply(Event::OperationBegun {
            kind: OperationKind::Bootstrap,
            goal: Goal::Members { size, catalogs: 3 },
            cause: Cause { generation: 1, reason: "test".into() },
        });
        world.run_and_succeed(Step::SetTemplate {
            digest: "d1".into(),
            template: Text::Inline("{}".into()),
        });
        world.run_and_succeed(Step::ScaleStatefulSet { from: 0, to: size });
        world.set_replicas(size);
        for ordinal in 0..size {
            world.pod_up(ordinal);
        }
        let first = world.member(0);
        world.apply(Event::Bootstrapped {
            member: first,
            address: "10.0.0.0".into(),
            evidence: "{}".into(),
        });
        for ordinal in 1..size {
            let member = world.member(ordinal);
            world.run_and_succeed(Step::JoinMember { member, host: "h".into(), catalog: true });
            world.apply(Event::MemberSeen {
                ordinal,
                incarnation: incarnation(ordinal, 1),
                address: format!("10.0.0.{ordinal}"),
            });
        }
        world.apply(Event::OperationEnded { end: xsld_journal::event::End::Succeeded });
        let all: Vec<_> = (0..size).collect();
        world.everybody_lists(&all);
        world
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            wanted: &self.wanted,
            seen: &self.seen,
            state: &self.state,
            watch: &self.watch,
            times: &self.times,
            now_us: self.time_us.saturating_add(self.wall_is_ahead_us),
            server_us: Some(self.time_us),
            join_command: "NewMemberJoinTaskCommand",
            disjoin_command: "MemberDisjoinTaskCommand",
            replication_command: "ConfigureDerbyReplicationTaskCommand",
            promote_command: "DerbyFailoverTaskCommand",
        }
    }

    pub(crate) fn decide(&self) -> Decision {
        decide(self.inputs())
    }

    /// The world as it is for `span`, observed at both ends.
    pub(crate) fn after(&mut self, span: Duration) -> Decision {
        self.observe();
        self.now += span;
        self.observe();
        self.decide()
    }

    /// The decision once the settle time has passed without a change.
    pub(crate) fn settled(&mut self) -> Decision {
        self.after(self.times.settle)
    }

    pub(crate) fn observe(&mut self) {
        self.watch = super::steps::observed(self.inputs(), Moment(self.now));
        self.watch.note_roll(super::roll::marker(&self.state));
        self.watch.note_deletion(super::deletion::marker(&self.state));
        let open = self.state.operation.as_ref();
        self.watch.note_retried(open.map_or(0, |open| open.retried_seq));
        self.watch.note_parked(open.is_some_and(|open| open.parked.is_some()));
        self.watch.note_lost_primary(super::replication::unseen_primary(&self.seen, &self.state));
        let undecided = super::undecided(self.inputs());
        self.watch.note_undecided(undecided);
    }

    pub(crate) fn apply(&mut self, event: Event) {
        self.seq += 1;
        let operation = match &event {
            Event::OperationBegun { .. } => Some(OPERATION),
            _ => self.state.operation.as_ref().map(|operation| operation.id),
        };
        let stamp = Stamp { seq: self.seq, time_us: self.time_us, operation };
        self.state.apply(stamp, &event).unwrap();
    }

    /// Appends the intent of a step and returns its key.
    pub(crate) fn intend(&mut self, step: Step) -> StepKey {
        let target = step.target();
        let attempt = self.state.operation.as_ref().unwrap().attempts_of(&target) + 1;
        let key = StepKey::of(OPERATION, &target, attempt);
        self.apply(Event::StepIntended { step, attempt, key, evidence: "{}".into() });
        key
    }

    pub(crate) fn run_and_succeed(&mut self, step: Step) {
        let key = self.intend(step);
        self.apply(Event::StepSucceeded {
            key,
            found_by_probe: false,
            flagged: None,
            evidence: "{}".into(),
        });
    }

    /// Applies what a decision records; begins what it begins; intends what it runs.
    pub(crate) fn follow(&mut self, decision: Decision) {
        match decision {
            Decision::Record(events) => events.into_iter().for_each(|event| self.apply(event)),
            Decision::Begin { kind, goal, cause } => {
                self.apply(Event::OperationBegun { kind, goal, cause });
            }
            Decision::Run { step, .. } => {
                self.intend(step);
            }
            Decision::Rest | Decision::Wait(_) | Decision::InDoubt(_) | Decision::Resend { .. } => {
            }
        }
    }

    pub(crate) fn set_replicas(&mut self, replicas: u32) {
        self.seen.stateful_set = Some(SetFacts {
            uid: "set".into(),
            resource_version: "1".into(),
            replicas,
            template_digest: Some("d1".into()),
            update_revision: Some("r-d1".into()),
            deleting: false,
            template: Some(("d1".into(), Text::Inline("{}".into()))),
            claim_size: Some("1Gi".into()),
            is_orphaned: false,
        });
    }

    /// A pod with its claim that runs and answers that it is alone.
    pub(crate) fn pod_up(&mut self, ordinal: Ordinal) {
        self.pod_with(ordinal, 1);
        self.report(ordinal, &[ordinal]);
    }

    /// The pod of a member in its `life`, not answering.
    pub(crate) fn pod_with(&mut self, ordinal: Ordinal, life: u32) {
        self.seen.pods.insert(
            ordinal,
            PodFacts {
                name: name(ordinal),
                incarnation: incarnation(ordinal, life),
                address: Some(format!("10.0.0.{ordinal}")),
                addresses: vec![],
                running: true,
                ready: true,
                unready_since_us: None,
                deleting: false,
                node: None,
                node_leaving: None,
                revision: Some("r-d1".into()),
                template: Some("d1".into()),
                waiting: None,
                is_orphaned: false,
            },
        );
        self.seen.claims.entry(ordinal).or_insert_with(|| ClaimFacts {
            name: format!("vol-{}", name(ordinal)),
            uid: claim_uid(ordinal),
            deleting: false,
            older_than_cache: false,
            resource_version: "1".into(),
            requested: Some("1Gi".into()),
            never_bound: false,
            capacity: Some("1Gi".into()),
            growth: None,
            class: None,
        });
        self.seen.reports.remove(&ordinal);
    }

    /// The member answers with a group of `members`, all Online.
    pub(crate) fn report(&mut self, ordinal: Ordinal, members: &[Ordinal]) {
        let incarnation = self.seen.pods[&ordinal].incarnation.clone();
        let tasks = self
            .seen
            .reports
            .get(&ordinal)
            .map_or_else(|| Answer::Known(vec![]), |report| report.tasks.clone());
        let group = Answer::Known(view(members));
        self.seen.reports.insert(
            ordinal,
            Report {
                incarnation,
                group: group.clone(),
                group_again: Some(group),
                tasks,
                fingerprint: None,
                lists_grids: None,
                untrusted: None,
                not_signed: false,
                takes_former: false,
            },
        );
    }

    pub(crate) fn everybody_lists(&mut self, members: &[Ordinal]) {
        for ordinal in members {
            self.report(*ordinal, members);
        }
    }

    /// Puts a task with this key on a member's list, in place of what was there.
    pub(crate) fn task(&mut self, ordinal: Ordinal, key: StepKey, status: TaskStatus) {
        let task = TaskView {
            id: 1,
            command: None,
            description: Some(description_of(key.0)),
            status,
            progress: None,
            member: None,
            started: None,
            message: None,
        };
        self.seen.reports.get_mut(&ordinal).unwrap().tasks = Answer::Known(vec![task]);
    }

    pub(crate) fn member(&self, ordinal: Ordinal) -> MemberRef {
        MemberRef {
            ordinal,
            name: name(ordinal),
            claim_uid: self.seen.claims[&ordinal].uid.clone(),
            incarnation: self.seen.pods[&ordinal].incarnation.clone(),
        }
    }

    pub(crate) fn survivor(&self, ordinal: Ordinal) -> Survivor {
        Survivor {
            ordinal,
            name: name(ordinal),
            incarnation: self.seen.pods[&ordinal].incarnation.clone(),
        }
    }
}

pub(crate) fn name(ordinal: Ordinal) -> String {
    format!("c-{ordinal}")
}

pub(crate) fn claim_uid(ordinal: Ordinal) -> String {
    format!("claim-{ordinal}")
}

pub(crate) fn incarnation(ordinal: Ordinal, life: u32) -> Incarnation {
    Incarnation {
        pod_uid: format!("pod-{ordinal}"),
        container_id: format!("container-{ordinal}-{life}"),
        restarts: life - 1,
    }
}

pub(crate) fn view(members: &[Ordinal]) -> GroupView {
    let member = |ordinal: &Ordinal| GroupMember {
        name: name(*ordinal),
        host: None,
        address: Some(format!("10.0.0.{ordinal}")),
        status: MemberStatus::Online,
        capacity: None,
        used: None,
        catalog: Some(true),
        primary: Some(*ordinal == 0),
        replication: None,
    };
    GroupView { name: "cg1".into(), members: members.iter().map(member).collect(), stale: false }
}
