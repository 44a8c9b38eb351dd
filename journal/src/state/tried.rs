//! What operations came to, for each object that they were about.
//!
//! What was refused is not asked again, and what does not last is not done for ever. Both are
//! remembered here for each object by itself: however many others have operations meanwhile, nothing
//! of it is pushed out. An entry goes when the object goes, and begins anew when another goal is
//! reached for.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{CacheState, EndedOperation, IllegalTransition, Stamp, refuse_if};
use crate::event::{Cause, End, Event, Goal, OperationKind, Step, StepKey};

/// How many operations of the same kind and cause are remembered of one object.
pub const REPEATS_KEPT: usize = 3;

/// How many repeated operations are remembered of one object, whatever their causes. All members of
/// a cache are one object here, and each has causes of its own.
const REPEATS_MAX: usize = 256;

/// How many times are remembered at which a grid in error was deleted.
const REMADE_MAX: usize = 8;

/// What operations on one object came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// What the last one was to reach.
    pub goal: Goal,
    /// Sequence of the last record that ended one.
    #[serde(default)]
    pub ended_seq: u64,
    /// The last one that failed to reach it; none once it was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failure>,
    /// Those that were begun for what was seen and were not superseded, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub repeats: VecDeque<Repeat>,
    /// Wall times in microseconds at which a grid in error was deleted to be made again, oldest
    /// first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub remade_us: VecDeque<i64>,
}

/// An operation that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of plan it was.
    pub kind: OperationKind,
    /// Why it failed.
    pub reason: String,
    /// Sequence of its last record.
    pub seq: u64,
    /// Wall time of its last record in microseconds.
    pub ended_us: i64,
}

/// An operation that was begun for what was seen, and may have to be begun again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// What kind of plan it was.
    pub kind: OperationKind,
    /// Why it was begun.
    pub cause: Cause,
    /// Wall time of its first record in microseconds.
    pub begun_us: i64,
    /// Wall time of its last record in microseconds.
    pub ended_us: i64,
}

impl Goal {
    /// The object that it is about, as what was tried is remembered: the UID of a DataGrid or a
    /// GridTemplate, or a word for what a cache has but one of. None where nothing is remembered.
    pub fn object(&self) -> Option<String> {
        match self {
            Self::Grid { grid_uid, .. } => Some(grid_uid.clone()),
            Self::Template { template_uid, .. } => Some(template_uid.clone()),
            Self::Members { .. } => Some("members".to_owned()),
            Self::Replica { ordinal, .. } => Some(format!("replica/{ordinal}")),
            Self::Storage { .. } => Some("volumes".to_owned()),
            Self::PodTemplate { .. } => Some("pods".to_owned()),
            Self::Gone { .. } | Self::Primary { .. } => None,
        }
    }

    /// The name of the DataGrid or the GridTemplate that it is about; such an object may be gone
    /// some day.
    fn object_name(&self) -> Option<&str> {
        match self {
            Self::Grid { name, .. } | Self::Template { name, .. } => Some(name),
            Self::Members { .. }
            | Self::Replica { .. }
            | Self::Storage { .. }
            | Self::PodTemplate { .. }
            | Self::Gone { .. }
            | Self::Primary { .. } => None,
        }
    }
}

impl Tried {
    fn new(goal: Goal) -> Self {
        Self {
            goal,
            ended_seq: 0,
            failed: None,
            repeats: VecDeque::new(),
            remade_us: VecDeque::new(),
        }
    }

    /// Remembers one more operation; of those with the same cause only the last ones stay.
    fn repeat(&mut self, one_more: Repeat) {
        let same = |other: &Repeat| other.kind == one_more.kind && other.cause == one_more.cause;
        let count = self.repeats.iter().filter(|other| same(other)).count();
        let oldest = self.repeats.iter().position(same).filter(|_| count >= REPEATS_KEPT);
        if let Some(oldest) = oldest {
            self.repeats.remove(oldest);
        }
        self.repeats.push_back(one_more);
        while self.repeats.len() > REPEATS_MAX {
            self.repeats.pop_front();
        }
    }

    /// Whether it says anything that is not said elsewhere.
    fn is_worth_keeping(&self) -> bool {
        self.failed.is_some() || !self.repeats.is_empty() || !self.remade_us.is_empty()
    }
}

impl CacheState {
    /// What was tried to reach this very goal.
    pub fn tried_for(&self, goal: &Goal) -> Option<&Tried> {
        self.tried.get(&goal.object()?).filter(|tried| tried.goal == *goal)
    }

    /// Why the last operation failed that was to reach this very goal, if it did.
    pub fn failed_at(&self, goal: &Goal) -> Option<&Failure> {
        self.tried_for(goal)?.failed.as_ref()
    }

    /// UIDs and names of the DataGrids and GridTemplates of which anything is remembered.
    pub fn known_objects(&self) -> impl Iterator<Item = (&str, &str)> {
        let grids = self.grids.iter().map(|(uid, grid)| (uid.as_str(), grid.name.as_str()));
        let templates = self.templates.iter().map(|(uid, it)| (uid.as_str(), it.name.as_str()));
        let tried = self.tried.iter();
        let tried = tried.filter_map(|(uid, it)| Some((uid.as_str(), it.goal.object_name()?)));
        grids.chain(templates).chain(tried)
    }

    /// An operation is begun: what was tried for another goal counts no more.
    pub(super) fn try_for(&mut self, goal: &Goal) {
        if let Some(object) = goal.object()
            && self.tried.get(&object).is_some_and(|tried| tried.goal != *goal)
        {
            self.tried.remove(&object);
        }
    }

    /// An operation ended.
    pub(super) fn remember_tried(&mut self, ended: &EndedOperation) {
        let Some(object) = ended.goal.object() else { return };
        let goes = matches!(ended.kind, OperationKind::GridDelete | OperationKind::TemplateDelete);
        if goes && ended.end == End::Succeeded {
            self.tried.remove(&object);
            return;
        }
        let repeats =
            ended.kind.answers_to_the_world() && !matches!(ended.end, End::Superseded { .. });
        let fails = matches!(ended.end, End::Failed { .. });
        if !repeats && !fails && !self.tried.contains_key(&object) {
            return;
        }
        let goal = ended.goal.clone();
        let tried = self.tried.entry(object.clone()).or_insert_with(|| Tried::new(goal));
        tried.ended_seq = ended.ended_seq;
        match &ended.end {
            End::Failed { reason } => {
                tried.failed = Some(Failure {
                    kind: ended.kind,
                    reason: reason.clone(),
                    seq: ended.ended_seq,
                    ended_us: ended.ended_us,
                });
            }
            End::Succeeded => tried.failed = None,
            End::Superseded { .. } => {}
        }
        if repeats {
            tried.repeat(Repeat {
                kind: ended.kind,
                cause: ended.cause.clone(),
                begun_us: ended.begun_us,
                ended_us: ended.ended_us,
            });
        }
        if !tried.is_worth_keeping() {
            self.tried.remove(&object);
        }
    }

    /// The record since which the grid of this DataGrid is in this cache: it was made or taken over,
    /// or is just being worked on or made again. None when it is not.
    pub fn holds_grid(&self, uid: &str) -> Option<u64> {
        let working = self.operation.as_ref();
        let working = working.filter(|it| it.goal.object().as_deref() == Some(uid));
        let working = working.map(|operation| operation.begun_seq);
        let recorded = self.grids.get(uid).map(|grid| grid.seq);
        let remade = self.tried.get(uid).filter(|tried| !tried.remade_us.is_empty());
        let remade = remade.map(|tried| tried.ended_seq);
        working.into_iter().chain(recorded).chain(remade).max()
    }

    /// An attempt can no longer take effect, as far as that can be known.
    pub(super) fn void(
        &mut self,
        stamp: Stamp,
        event: &Event,
        key: StepKey,
    ) -> Result<(), IllegalTransition> {
        let deletion = self.open_step().filter(|open| open.key == key);
        let deletion = deletion.and_then(|open| match &open.step {
            Step::DeleteGrid { name, through, .. } => Some((name.clone(), through.clone())),
            _ => None,
        });
        self.fail(stamp, event, key, "it could no longer take effect")?;
        self.unspent.extend(deletion);
        Ok(())
    }

    /// A grid in error was deleted to be made again.
    pub(super) fn remember_remade(&mut self, stamp: Stamp) {
        let Some(operation) = &self.operation else { return };
        let Some(object) = operation.goal.object() else { return };
        if operation.kind != OperationKind::GridRecover {
            return;
        }
        let goal = operation.goal.clone();
        let tried = self.tried.entry(object).or_insert_with(|| Tried::new(goal));
        tried.remade_us.push_back(stamp.time_us);
        while tried.remade_us.len() > REMADE_MAX {
            tried.remade_us.pop_front();
        }
    }

    /// A DataGrid or a GridTemplate is gone, and nothing is remembered of it.
    pub(super) fn forget_object(
        &mut self,
        event: &Event,
        uid: &str,
    ) -> Result<(), IllegalTransition> {
        let open = self.operation.as_ref().and_then(|operation| operation.goal.object());
        refuse_if(open.as_deref() == Some(uid), event, "an operation on it is open")?;
        self.grids.remove(uid);
        self.templates.remove(uid);
        if self.tried.get(uid).is_some_and(|tried| tried.goal.object_name().is_some()) {
            self.tried.remove(uid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::{OperationId, Step, StepKey};
    use crate::fixtures;
    use crate::fixtures::every;

    fn opened() -> CacheState {
        let mut state = CacheState::default();
        apply(&mut state, 1, &Event::CacheOpened { namespace: "ns".into(), name: "c".into() });
        state
    }

    fn apply(state: &mut CacheState, seq: u64, event: &Event) {
        let operation = Some(OperationId(Uuid::from_u128(7)));
        let time_us = i64::try_from(seq).unwrap();
        state.apply(Stamp { seq, time_us, operation }, event).unwrap();
    }

    fn grid(uid: u64, digest: &str) -> Goal {
        let (grid_uid, name) = (format!("uid-{uid}"), format!("g{uid}"));
        Goal::Grid { grid_uid, name, digest: digest.to_owned() }
    }

    fn done(state: &mut CacheState, seq: u64, kind: OperationKind, goal: Goal, end: End) {
        let cause = Cause { generation: 1, reason: "it is gone".into() };
        apply(state, seq, &Event::OperationBegun { kind, goal, cause });
        apply(state, seq + 1, &Event::OperationEnded { end });
    }

    fn refused() -> End {
        End::Failed { reason: "refused 400: no".into() }
    }

    #[test]
    fn what_was_refused_is_remembered_for_each_object_however_many_there_are() {
        let mut state = opened();
        for uid in 0..100 {
            done(&mut state, 10 + uid * 2, OperationKind::GridCreate, grid(uid, "d"), refused());
        }
        for uid in 0..100 {
            let failed = state.failed_at(&grid(uid, "d")).unwrap();
            assert_eq!((&*failed.reason, failed.seq), ("refused 400: no", 11 + uid * 2));
            assert!(state.failed_at(&grid(uid, "other")).is_none(), "another goal");
        }
        let (kind, end) = (OperationKind::GridCreate, End::Superseded { by: "x".into() });
        done(&mut state, 400, kind, grid(1, "d"), end);
        assert!(state.failed_at(&grid(1, "d")).is_some(), "nothing was tried");
        done(&mut state, 402, kind, grid(1, "other"), End::Succeeded);
        assert!(state.failed_at(&grid(1, "d")).is_none(), "another goal was reached");
        assert_eq!(state.recent.len(), crate::state::RECENT_OPERATIONS_MAX);
    }

    #[test]
    fn of_what_is_done_again_and_again_the_last_times_are_remembered() {
        let mut state = opened();
        for round in 0..20 {
            let kind = OperationKind::GridUpdate;
            done(&mut state, 10 + round * 2, kind, grid(1, "d"), End::Succeeded);
            done(&mut state, 100 + round * 2, kind, grid(2, "d"), End::Succeeded);
        }
        let begun: Vec<i64> = state
            .tried_for(&grid(1, "d"))
            .unwrap()
            .repeats
            .iter()
            .map(|repeat| repeat.begun_us)
            .collect();
        assert_eq!(begun, [44, 46, 48]);
        let members = Goal::Members { size: 3, catalogs: 3 };
        done(&mut state, 200, OperationKind::Repair, members.clone(), End::Succeeded);
        done(&mut state, 202, OperationKind::ScaleUp, members.clone(), End::Succeeded);
        assert_eq!(state.tried_for(&members).unwrap().repeats.len(), 1);
        let more = Goal::Members { size: 4, catalogs: 3 };
        done(&mut state, 204, OperationKind::ScaleUp, more, End::Succeeded);
        assert!(!state.tried.contains_key("members"), "the members are to be others now");
    }

    #[test]
    fn nothing_is_remembered_of_an_object_that_is_gone() {
        let mut state = opened();
        let kind = OperationKind::GridCreate;
        done(&mut state, 10, kind, grid(1, "d"), refused());
        let adopted = every::events().into_iter().find(|it| it.name() == "grid_adopted");
        apply(&mut state, 12, &adopted.unwrap());
        let known: Vec<String> = state.known_objects().map(|(uid, _)| uid.to_owned()).collect();
        assert_eq!(known.len(), 2);
        let gone = |uid: &str| Event::ObjectGone {
            uid: uid.to_owned(),
            name: "g".into(),
            reason: "it is not listed".into(),
        };
        for uid in &known {
            apply(&mut state, 13, &gone(uid));
        }
        assert_eq!((state.known_objects().count(), state.tried.len()), (0, 0));
        let (goal, cause) = (grid(1, "d"), Cause { generation: 1, reason: "x".into() });
        apply(&mut state, 14, &Event::OperationBegun { kind, goal, cause });
        let operation = Some(OperationId(Uuid::from_u128(7)));
        let stamp = Stamp { seq: 15, time_us: 15, operation };
        assert!(state.apply(stamp, &gone("uid-1")).is_err(), "an operation on it is open");
    }

    #[test]
    fn each_time_that_a_grid_in_error_was_deleted_is_remembered_over_its_operations() {
        let mut state = opened();
        for round in 0..3_u64 {
            let seq = 10 + round * 10;
            let (kind, goal) = (OperationKind::GridRecover, grid(1, "d"));
            let cause = Cause { generation: 1, reason: "in error".into() };
            apply(&mut state, seq, &Event::OperationBegun { kind, goal, cause });
            let through = fixtures::survivor(0);
            let step = Step::DeleteGrid { grid_uid: "uid-1".into(), name: "g1".into(), through };
            let key = StepKey::of(OperationId(Uuid::from_u128(7)), &step.target(), 1);
            let evidence = String::from("{}");
            apply(&mut state, seq + 1, &Event::StepIntended { step, attempt: 1, key, evidence });
            let (found_by_probe, flagged, evidence) = (false, None, String::from("{}"));
            let succeeded = Event::StepSucceeded { key, found_by_probe, flagged, evidence };
            apply(&mut state, seq + 2, &succeeded);
            let end = End::Superseded { by: "members go first".into() };
            apply(&mut state, seq + 3, &Event::OperationEnded { end });
        }
        assert_eq!(state.tried_for(&grid(1, "d")).unwrap().remade_us, [12, 22, 32]);
        assert!(state.tried_for(&grid(1, "d")).unwrap().repeats.is_empty());
    }
}
