//! Grids that the group has and the journal does not know, and deletions from before.

use super::*;

/// The grid of a DataGrid that the journal does not know, which its group has.
fn unknown(status: GridStatus, change: impl FnOnce(&mut WantedGrid)) -> World {
    let mut world = world(status);
    world.state.grids.clear();
    change(world.wanted.grids.get_mut(UID).unwrap());
    world
}

fn settled_for(world: &World) -> bool {
    is_settled(world.inputs(), UID, &world.wanted.grids[UID])
}

#[test]
fn a_grid_in_error_is_not_taken_over_where_drift_is_only_told() {
    let mut world = unknown(GridStatus::Error, |grid| grid.correct_drift = false);
    assert_eq!(world.settled(), Decision::Rest, "taken over it would be deleted and made again");
    world.wanted.grids.get_mut(UID).unwrap().correct_drift = true;
    let Decision::Record(events) = world.settled() else { panic!("it is not taken over") };
    assert_eq!(events[0].name(), "grid_adopted");
}

#[test]
fn a_data_grid_that_goes_takes_the_grid_that_it_had_before_the_journal_was_lost() {
    type Change = fn(&mut World);
    let of_before: [Change; 2] = [
        |world| world.state.adopted = true,
        |world| world.seen.claims.get_mut(&0).unwrap().older_than_cache = true,
    ];
    for change in of_before {
        let mut world = unknown(GridStatus::Online, |grid| {
            (grid.deleting, grid.was_here) = (true, true);
        });
        change(&mut world);
        assert!(!settled_for(&world), "its grid is still there");
        let adopted = world.settled();
        let Decision::Record(events) = &adopted else { panic!("{adopted:?}") };
        assert_eq!(events[0].name(), "grid_adopted");
        world.follow(adopted);
        let begun = world.settled();
        assert!(matches!(&begun, Decision::Begin { kind: OperationKind::GridDelete, .. }));
        world.follow(begun);
        let Decision::Run { step, .. } = world.settled() else { panic!("{:?}", world.decide()) };
        assert!(matches!(&step, Step::DeleteGrid { name, .. } if name == "g"));
        world.run_and_succeed(step);
        show(&mut world, None);
        let ended = world.settled();
        world.follow(ended);
        assert!(settled_for(&world));
    }
}

#[test]
fn a_data_grid_that_goes_leaves_a_grid_that_nobody_can_show_to_be_its_own() {
    type Change = fn(&mut World);
    let changes: [(Change, &str); 3] = [
        (|world| grid(world).was_here = false, "its status never told of it"),
        (|world| world.state.adopted = false, "the group is a new one"),
        (|world| grid(world).delete_grid = false, "the grid is to stay"),
    ];
    for (change, why) in changes {
        let mut world = unknown(GridStatus::Online, |grid| {
            (grid.deleting, grid.was_here) = (true, true);
        });
        world.state.adopted = true;
        change(&mut world);
        assert_eq!(world.settled(), Decision::Rest, "{why}");
        assert!(settled_for(&world), "{why}: the DataGrid waits for nothing");
    }
}

#[test]
fn a_data_grid_whose_grid_may_still_be_there_waits_until_its_group_is_known() {
    let mut world = unknown(GridStatus::Online, |grid| {
        (grid.deleting, grid.was_here) = (true, true);
    });
    (world.state.bootstrapped, world.seen.grids) = (false, None);
    assert!(!settled_for(&world));
    grid(&mut world).was_here = false;
    assert!(settled_for(&world), "nobody ever told of a grid");
}

fn grid(world: &mut World) -> &mut WantedGrid {
    world.wanted.grids.get_mut(UID).unwrap()
}

/// A deletion that was given up as void while the member that was asked for it stood still, and a
/// DataGrid of that name that was made again.
fn given_up() -> World {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    world.seen.reports.get_mut(&0).unwrap().tasks = Answer::Unknown { reason: "late".into() };
    let again = WantedGrid { deleting: false, ..world.wanted.grids.remove(UID).unwrap() };
    let later = world.times.orphan;
    let void = world.after(later);
    let Decision::Record(events) = &void else { panic!("{void:?}") };
    assert!(events.iter().any(|event| event.name() == "step_void"), "{events:?}");
    world.follow(void);
    // Its operation ends, and the DataGrid that is gone is forgotten.
    while let decision @ Decision::Record(_) = world.settled() {
        world.follow(decision);
    }
    assert_eq!((&world.state.operation, world.state.grids.len()), (&None, 0));
    world.wanted.grids.insert("again".into(), again);
    world
}

#[test]
fn a_grid_of_a_name_whose_deletion_may_still_come_is_neither_made_nor_taken_over() {
    for status in [None, Some(GridStatus::Online)] {
        let mut world = given_up();
        show(&mut world, status.clone());
        let decision = world.settled();
        let Decision::Wait(waiting) = &decision else { panic!("{decision:?}") };
        assert_eq!(waiting.reason, Reason::MemberUnreachable);
        assert!(waiting.message.contains("waits for c-0"), "{}", waiting.message);
        if status.is_none() {
            let told = put_off(world.inputs(), "again", &world.wanted.grids["again"]);
            assert_eq!(told.as_ref(), Some(waiting));
        }
        // It goes on: had it carried that out, the grid would be gone now.
        world.report(0, &[0, 1]);
        world.seen.reports.get_mut(&0).unwrap().tasks = Answer::Known(vec![]);
        let decision = world.settled();
        let goes_on = match status {
            None => matches!(&decision, Decision::Begin { kind: OperationKind::GridCreate, .. }),
            Some(_) => matches!(&decision, Decision::Record(events)
                if events[0].name() == "grid_adopted"),
        };
        assert!(goes_on, "{decision:?}");
        if status.is_some() {
            world.follow(decision);
            assert!(world.state.unspent.is_empty(), "it is remembered for ever");
        }
    }
}

#[test]
fn a_process_that_is_gone_carries_out_no_deletion() {
    let mut world = given_up();
    show(&mut world, None);
    world.pod_with(0, 2);
    world.apply(Event::MemberSeen {
        ordinal: 0,
        incarnation: crate::decide::testing::incarnation(0, 2),
        address: "10.0.0.0".into(),
    });
    world.everybody_lists(&[0, 1]);
    let decision = world.settled();
    assert!(matches!(&decision, Decision::Begin { kind: OperationKind::GridCreate, .. }));
}
