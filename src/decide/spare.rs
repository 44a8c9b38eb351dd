//! Whether the group can spare one more member just now: what an eviction would lose.
//!
//! The entries are in the memory of the members. As long as every grid that may have some is placed
//! with its copies, any one member can go. One that is away already is counted by Kubernetes itself, as
//! long as its pod is not ready: of a budget of one it leaves nothing.

use xsld_journal::event::{OperationKind, Ordinal};
use xsld_journal::state::Operation;

use super::Inputs;
use super::question::Question;
use super::views::{self, Listing};
use crate::xsld::view::{Answer, GridStatus};

/// Why an operation that stands still forbids every eviction; none when it forbids none, or goes on by
/// itself. `own` is the member that has a budget of its own, in which nobody counts it among the others.
pub fn forbidden(inputs: Inputs<'_>, own: Option<Ordinal>) -> Option<String> {
    let operation = inputs.state.operation.as_ref()?;
    let stands_still = inputs.standstill().is_some() || operation.parked.is_some();
    (stands_still && counts_on_all(operation.kind)).then(|| in_the_way(inputs, operation, own))?
}

/// Whether nobody is to be evicted for the open operation. Grids, templates and larger volumes take
/// nobody away; every other kind counts on the members that it does not touch, as long as it goes on:
/// one that is parked, or paused, would forbid a drain for ever, so it does only where that would lose
/// what the group has.
pub fn forbids(inputs: Inputs<'_>, own: Option<Ordinal>) -> bool {
    let Some(operation) = &inputs.state.operation else { return false };
    let goes_on = inputs.standstill().is_none() && operation.parked.is_none();
    counts_on_all(operation.kind) && (goes_on || forbidden(inputs, own).is_some())
}

fn counts_on_all(kind: OperationKind) -> bool {
    match kind {
        OperationKind::GridCreate
        | OperationKind::GridUpdate
        | OperationKind::GridDelete
        | OperationKind::GridRecover
        | OperationKind::TemplateUpload
        | OperationKind::TemplateDelete
        | OperationKind::StorageGrowth => false,
        OperationKind::Bootstrap
        | OperationKind::ScaleUp
        | OperationKind::ScaleDown
        | OperationKind::Repair
        | OperationKind::Delete
        | OperationKind::ReplicationSetUp
        | OperationKind::PrimarySwitch
        | OperationKind::ImageRoll => true,
    }
}

/// What an eviction could lose, or hit in the middle, and what a person can do about that.
fn in_the_way(inputs: Inputs<'_>, operation: &Operation, own: Option<Ordinal>) -> Option<String> {
    let step = operation.step.as_ref().or(operation.cancel.as_ref());
    if let Some(open) = step {
        return Some(format!("it is not known yet what became of {}", open.step.describe()));
    }
    away(inputs, own).or_else(|| unplaced(inputs))
}

/// A member that is not in the group as it should be, and that Kubernetes takes for available.
fn away(inputs: Inputs<'_>, own: Option<Ordinal>) -> Option<String> {
    let (seen, state) = (inputs.seen, inputs.state);
    if state.members.is_empty() {
        return None;
    }
    let Some(needed) = views::needed(seen, state, Ordinal::MAX) else {
        return Some("the group cannot be seen well enough".to_owned());
    };
    state.members.iter().find_map(|(ordinal, member)| {
        let pod = seen.pods.get(ordinal);
        let listed = |view: &&_| views::listed_in(view, &member.name, pod) == Listing::Online;
        let counted = pod.is_none_or(|pod| pod.deleting || !pod.ready) && own != Some(*ordinal);
        let is_well = counted || needed.iter().all(listed);
        (!is_well).then(|| format!("the group does not list {} Online", member.name))
    })
}

/// A grid whose entries may have no other copy. One in error has lost them, or is made again without
/// them: once that lasts, it is in nobody's way, as a roll leaves it out.
fn unplaced(inputs: Inputs<'_>) -> Option<String> {
    let (seen, state) = (inputs.seen, inputs.state);
    let Some(Answer::Known(grids)) = &seen.grids else {
        return Some("the grids cannot be read".to_owned());
    };
    let lasts = |name: &str| Question::Holders(name).is_settled(inputs, inputs.times.settle);
    grids.statuses().find_map(|(name, status)| {
        let why = match status {
            Some(GridStatus::Online) => return None,
            Some(GridStatus::Error) if state.left_out.contains(name) || lasts(name) => return None,
            Some(GridStatus::Error) => {
                "is in error, and that or its members were otherwise a moment ago"
            }
            Some(GridStatus::Created | GridStatus::Unknown(_)) => {
                "is not placed on all members and may have entries without a copy: correct it, or \
                 delete it if nobody needs them"
            }
            None => "cannot be read",
        };
        (!state.left_out.contains(name)).then(|| format!("grid {name} {why}"))
    })
}

#[cfg(test)]
mod tests {
    use xsld_journal::event::{Cause, Event, Goal, Step};

    use super::*;
    use crate::decide::testing::World;
    use crate::xsld::view::GridView;

    /// A group of three in which a scale-up stands still.
    fn parked() -> World {
        let mut world = World::group(3);
        begin(&mut world, OperationKind::ScaleUp);
        let (reason, message) = ("StepFailed".into(), "five times".into());
        world.apply(Event::OperationParked { reason, message });
        show(&mut world, GridStatus::Online);
        world
    }

    fn begin(world: &mut World, kind: OperationKind) {
        world.apply(Event::OperationBegun {
            kind,
            goal: Goal::Members { size: 3, catalogs: 3 },
            cause: Cause { generation: 1, reason: "test".into() },
        });
    }

    fn show(world: &mut World, status: GridStatus) {
        let grid = GridView { name: "g".into(), status, fields: [].into() };
        world.seen.grids = Some(Answer::Known([("g".to_owned(), grid)].into_iter().collect()));
    }

    fn why(world: &mut World) -> Option<String> {
        world.settled();
        let told = forbidden(world.inputs(), None);
        assert_eq!(forbids(world.inputs(), None), told.is_some());
        told
    }

    #[test]
    fn nobody_is_spared_while_an_operation_touches_membership() {
        use OperationKind as Kind;
        let forbids = |kind: Option<OperationKind>| {
            let mut world = World::group(3);
            show(&mut world, GridStatus::Online);
            kind.into_iter().for_each(|kind| begin(&mut world, kind));
            forbids(world.inputs(), None)
        };
        assert!(!forbids(None));
        for kind in [Kind::GridUpdate, Kind::StorageGrowth, Kind::TemplateUpload] {
            assert!(!forbids(Some(kind)), "{kind:?}");
        }
        for kind in [Kind::Bootstrap, Kind::ScaleUp, Kind::ScaleDown, Kind::Repair] {
            assert!(kind.touches_membership() && forbids(Some(kind)), "{kind:?}");
        }
        assert!(forbids(Some(Kind::PrimarySwitch)) && forbids(Some(Kind::ImageRoll)));
    }

    #[test]
    fn an_operation_that_stands_still_forbids_no_drain_of_a_whole_group() {
        assert_eq!(why(&mut parked()), None);
        let mut paused = World::group(3);
        begin(&mut paused, OperationKind::ScaleUp);
        show(&mut paused, GridStatus::Online);
        assert!(forbids(paused.inputs(), None), "it goes on");
        paused.wanted.paused = true;
        assert_eq!(why(&mut paused), None);
        paused.intend(Step::ScaleStatefulSet { from: 3, to: 4 });
        assert!(why(&mut paused).is_some_and(|why| why.contains("what became of")));
    }

    #[test]
    fn a_member_whose_pod_is_not_ready_is_counted_by_kubernetes_itself() {
        for gone in [true, false] {
            let mut world = parked();
            world.seen.reports.remove(&2);
            match gone {
                true => drop(world.seen.pods.remove(&2)),
                false => world.seen.pods.get_mut(&2).unwrap().ready = false,
            }
            world.everybody_lists(&[0, 1]);
            assert_eq!(why(&mut world), None);
            // The primary's budget is its own: nobody counts it among the others.
            assert!(forbidden(world.inputs(), Some(2)).is_some());
        }
    }

    #[test]
    fn a_member_that_is_away_behind_a_ready_pod_keeps_the_others_from_being_evicted() {
        let mut world = parked();
        world.everybody_lists(&[0, 1]);
        let told = why(&mut world).unwrap();
        assert!(told.contains("does not list c-2 Online"), "{told}");
        world.seen.reports.clear();
        let told = why(&mut world).unwrap();
        assert!(told.contains("cannot be seen"), "{told}");
    }

    #[test]
    fn only_a_grid_that_may_have_entries_without_a_copy_forbids_a_drain() {
        let mut world = parked();
        show(&mut world, GridStatus::Error);
        assert_eq!(why(&mut world), None, "its entries are lost already");
        world.watch.unsettle();
        assert!(forbidden(world.inputs(), None).is_some(), "it may pass");
        for status in [GridStatus::Created, GridStatus::Unknown("?".into())] {
            show(&mut world, status);
            let told = why(&mut world).unwrap();
            assert!(told.contains("grid g is not placed"), "{told}");
        }
        world.state.left_out.insert("g".into());
        assert_eq!(why(&mut world), None, "the roll left it out");
        world.seen.grids = None;
        assert!(why(&mut world).is_some(), "nobody saw them");
    }
}
