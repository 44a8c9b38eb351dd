//! The newest spec that was acted on, and one that is older than that.

use serde::{Deserialize, Serialize};

use super::{CacheState, IllegalTransition, Stamp, refuse_if};
use crate::event::{Cause, Event, Goal, OperationKind};

/// The newest spec of a cache that was acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    /// Its `metadata.generation`.
    pub generation: i64,
    /// The size that was acted on last; none where no operation was about the members.
    pub size: Option<u32>,
    /// Sequence of the record by which somebody confirmed an older spec, so that what was begun
    /// before counts no more; 0 when nobody did.
    pub since_seq: u64,
    /// Whether a spec was found to be older than this, and nobody has confirmed one since.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unconfirmed: bool,
}

/// The form of this signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(is: &bool) -> bool {
    !*is
}

/// A spec that is older than what was acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Older {
    /// The newest generation that was acted on.
    pub acted: i64,
    /// The size that was acted on last, where one was.
    pub acted_size: Option<u32>,
    /// Sequence of the record.
    pub seq: u64,
}

impl CacheState {
    /// The newest spec that operations answered to, or that was confirmed after them.
    pub fn acted_on(&self) -> Option<Acted> {
        let ended = self.recent.iter();
        let ended = ended.map(|it| (it.begun_seq, it.kind, &it.goal, &it.cause));
        let open = self.operation.iter();
        let open = open.map(|it| (it.begun_seq, it.kind, &it.goal, &it.cause));
        ended.chain(open).fold(self.acted, |acted, (seq, kind, goal, cause)| {
            after(acted, seq, kind, goal, cause)
        })
    }

    /// The same of a cache that went on after another stream, in which this was acted on: what counts
    /// there counts here, unless somebody confirmed a spec since.
    pub fn acted_after(&self, before: Option<Acted>) -> Option<Acted> {
        if let Some(Older { acted, acted_size, .. }) = self.older {
            let (generation, size) = (acted, acted_size);
            return Some(Acted { generation, size, since_seq: 0, unconfirmed: true });
        }
        let own = self.acted_on();
        match (own, before) {
            (Some(own), _) if own.since_seq > 0 => Some(own),
            (Some(own), Some(before))
                if before.unconfirmed || own.generation < before.generation =>
            {
                Some(before)
            }
            (own, before) => own.or(before),
        }
    }

    /// Keeps what an operation answered to that is remembered no more.
    pub(super) fn keep_acted(&mut self, seq: u64, kind: OperationKind, goal: &Goal, cause: &Cause) {
        self.acted = after(self.acted, seq, kind, goal, cause);
    }

    /// Keeps that the spec is an older one, or takes it for the newest that was acted on.
    pub(super) fn judge_spec(
        &mut self,
        stamp: Stamp,
        event: &Event,
    ) -> Result<(), IllegalTransition> {
        if let Event::SpecOlder { acted, acted_size, .. } = event {
            refuse_if(self.older.is_some(), event, "an older one waits already")?;
            let (acted, acted_size) = (*acted, *acted_size);
            self.older = Some(Older { acted, acted_size, seq: stamp.seq });
        }
        if let Event::SpecConfirmed { generation, size } = event {
            refuse_if(self.older.is_none(), event, "no older one waits for it")?;
            self.older = None;
            let (generation, size) = (*generation, Some(*size));
            let (since_seq, unconfirmed) = (stamp.seq, false);
            self.acted = Some(Acted { generation, size, since_seq, unconfirmed });
        }
        Ok(())
    }
}

/// What is acted on after one more operation.
fn after(
    acted: Option<Acted>,
    begun_seq: u64,
    kind: OperationKind,
    goal: &Goal,
    cause: &Cause,
) -> Option<Acted> {
    let none = Acted { generation: 0, size: None, since_seq: 0, unconfirmed: false };
    let Acted { generation, size, since_seq, .. } = acted.unwrap_or(none);
    let counts = answers_to_the_cache(kind) && begun_seq > since_seq;
    if !counts || cause.generation < generation {
        return acted;
    }
    let size = match goal {
        Goal::Members { size, .. } => Some(*size),
        _ => size,
    };
    Some(Acted { generation: cause.generation, size, since_seq, unconfirmed: false })
}

/// Whether an operation's generation is the cache's own, and not that of a DataGrid or a GridTemplate.
fn answers_to_the_cache(kind: OperationKind) -> bool {
    match kind {
        OperationKind::Bootstrap
        | OperationKind::ScaleUp
        | OperationKind::ScaleDown
        | OperationKind::Repair
        | OperationKind::ImageRoll
        | OperationKind::ReplicationSetUp
        | OperationKind::PrimarySwitch
        | OperationKind::StorageGrowth
        | OperationKind::Delete => true,
        OperationKind::GridCreate
        | OperationKind::GridUpdate
        | OperationKind::GridDelete
        | OperationKind::GridRecover
        | OperationKind::TemplateUpload
        | OperationKind::TemplateDelete => false,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::{End, OperationId};

    struct Story(CacheState, u64);

    impl Story {
        fn new() -> Self {
            let mut story = Self(CacheState::default(), 0);
            story.take(Event::CacheOpened { namespace: "ns".into(), name: "c".into() }).unwrap();
            story
        }

        fn take(&mut self, event: Event) -> Result<(), IllegalTransition> {
            self.1 += 1;
            let operation = Some(OperationId(Uuid::from_u128(1)));
            self.0.apply(Stamp { seq: self.1, time_us: 0, operation }, &event)
        }

        fn operation(&mut self, kind: OperationKind, goal: Goal, generation: i64) {
            let cause = Cause { generation, reason: "why".into() };
            self.take(Event::OperationBegun { kind, goal, cause }).unwrap();
            self.take(Event::OperationEnded { end: End::Succeeded }).unwrap();
        }

        fn acted_on(&self) -> Option<(i64, Option<u32>)> {
            self.0.acted_on().map(|acted| (acted.generation, acted.size))
        }
    }

    fn members(size: u32) -> Goal {
        Goal::Members { size, catalogs: 3 }
    }

    #[test]
    fn what_was_acted_on_is_not_forgotten_however_many_operations_follow() {
        let mut story = Story::new();
        assert_eq!(story.acted_on(), None);
        story.operation(OperationKind::ScaleUp, members(3), 4);
        let grid = Goal::Grid { grid_uid: "u".into(), name: "g".into(), digest: "d".into() };
        for generation in 1..40 {
            // The generation of a DataGrid is not the cache's.
            story.operation(OperationKind::GridUpdate, grid.clone(), 100 + generation);
            assert_eq!(story.acted_on(), Some((4, Some(3))), "{generation}");
        }
        story.operation(
            OperationKind::PrimarySwitch,
            Goal::Primary { ordinal: 1, name: "c-1".into() },
            5,
        );
        assert_eq!(story.acted_on(), Some((5, Some(3))), "the size is still that");
        story.operation(OperationKind::Repair, members(1), 2);
        assert_eq!(story.acted_on(), Some((5, Some(3))), "an older one counts for nothing");
    }

    #[test]
    fn a_confirmed_spec_counts_and_what_was_acted_on_before_no_more() {
        let mut story = Story::new();
        story.operation(OperationKind::ScaleUp, members(3), 7);
        let confirmed = Event::SpecConfirmed { generation: 3, size: 1 };
        assert!(story.take(confirmed.clone()).is_err(), "there is none to confirm");
        let older = Event::SpecOlder { generation: 3, size: 1, acted: 7, acted_size: Some(3) };
        story.take(older.clone()).unwrap();
        assert!(story.take(older).is_err(), "it is known");
        assert_eq!(story.acted_on(), Some((7, Some(3))));
        story.take(confirmed).unwrap();
        assert_eq!((story.acted_on(), story.0.older.clone()), (Some((3, Some(1))), None));
        story.operation(OperationKind::ScaleUp, members(2), 4);
        assert_eq!(story.acted_on(), Some((4, Some(2))));
        for generation in 5..30 {
            story.operation(OperationKind::ScaleUp, members(2), generation);
        }
        assert_eq!(story.acted_on(), Some((29, Some(2))));
    }
}
