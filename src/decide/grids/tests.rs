//! A grid in error, and what it waits for.

use std::time::Duration;

use super::*;
use crate::decide::testing::World;
use crate::observation::Unread;

const UID: &str = "grid-uid";

fn view(status: GridStatus) -> GridView {
    GridView { name: "g".into(), status, fields: BTreeMap::new() }
}

fn show(world: &mut World, status: Option<GridStatus>) {
    let grids = status.map(|status| ("g".to_owned(), view(status)));
    world.seen.grids = Some(Answer::Known(grids.into_iter().collect()));
}

/// A grid of ours that the group shows with this status.
fn world(status: GridStatus) -> World {
    let mut world = World::group(2);
    world.wanted.grids.insert(
        UID.into(),
        WantedGrid {
            name: "g".into(),
            generation: 1,
            fields: BTreeMap::new(),
            digest: "d".into(),
            template: None,
            correct_drift: true,
            deleting: false,
            delete_grid: true,
        },
    );
    let (grid_uid, name, digest) = (UID.into(), "g".into(), "d".into());
    world.apply(Event::GridAdopted { grid_uid, name, digest });
    show(&mut world, Some(status));
    world
}

fn done_again(world: &mut World) {
    let Decision::Run { step: delete, .. } = world.settled() else { panic!() };
    assert!(matches!(delete, Step::DeleteGrid { .. }));
    world.run_and_succeed(delete);
    show(world, None);
    let Decision::Run { step: create, .. } = world.settled() else { panic!() };
    assert!(matches!(create, Step::CreateGrid { .. }));
    world.run_and_succeed(create);
    world.watch.unsettle();
}

fn begun(world: &mut World) -> Cause {
    let decision = world.settled();
    let Decision::Begin { kind, goal, cause } = decision else { panic!("{decision:?}") };
    assert_eq!(kind, OperationKind::GridRecover);
    world.apply(Event::OperationBegun { kind, goal, cause: cause.clone() });
    cause
}

#[test]
fn a_grid_in_error_is_made_again_once_the_error_stays() {
    let mut world = world(GridStatus::Error);
    world.observe();
    assert_eq!(world.decide(), Decision::Rest, "an error that passes by itself is none");
    assert!(begun(&mut world).reason.contains("in error"));
    done_again(&mut world);
    show(&mut world, Some(GridStatus::Created));
    assert!(matches!(world.settled(), Decision::Wait(_)), "it is not placed yet");
    show(&mut world, Some(GridStatus::Online));
    assert_eq!(
        world.settled(),
        Decision::Record(vec![Event::OperationEnded { end: End::Succeeded }])
    );
}

#[test]
fn each_recovery_waits_twice_as_long_and_the_last_one_asks_for_a_person() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    done_again(&mut world);
    for rounds in 1..RECOVERIES_MAX {
        show(&mut world, Some(GridStatus::Error));
        let wait = world.times.settle * 2_u32.pow(rounds);
        world.watch.unsettle();
        let early = world.after(wait - Duration::from_secs(1));
        assert!(matches!(early, Decision::Wait(_)), "{early:?}");
        world.watch.unsettle();
        let due = world.after(wait);
        let Decision::Run { step, .. } = due else { panic!("{due:?}") };
        world.run_and_succeed(step);
        show(&mut world, None);
        let Decision::Run { step, .. } = world.settled() else { panic!() };
        world.run_and_succeed(step);
    }
    show(&mut world, Some(GridStatus::Error));
    let Decision::Record(events) = world.settled() else { panic!() };
    let [Event::OperationEnded { end: End::Failed { reason } }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(reason.contains("still in error"), "{reason}");
    world.apply(events[0].clone());
    assert_eq!(world.settled(), Decision::Rest, "a person is asked, and nothing is tried");
    world.wanted.grids.get_mut(UID).unwrap().digest = "d2".into();
    begun(&mut world);
}

#[test]
fn a_recovery_that_waits_lets_members_come_first() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    done_again(&mut world);
    show(&mut world, Some(GridStatus::Created));
    world.wanted.size = 3;
    let Decision::Record(events) = world.settled() else { panic!() };
    assert!(matches!(&events[0], Event::OperationEnded { end: End::Superseded { .. } }));
}

#[test]
fn a_grid_that_is_not_ours_yet_is_not_deleted() {
    let mut world = world(GridStatus::Error);
    world.state.grids.clear();
    let Decision::Record(events) = world.settled() else { panic!() };
    assert_eq!(events[0].name(), "grid_adopted");
}

/// A second grid of the cache, which nobody has made yet.
fn want_another(world: &mut World) {
    let another = WantedGrid { name: "h".into(), ..world.wanted.grids[UID].clone() };
    world.wanted.grids.insert("other-uid".into(), another);
}

/// The grid cannot be read by itself any more.
fn cannot_read(world: &mut World, listed: Option<GridStatus>) {
    let Some(Answer::Known(grids)) = &mut world.seen.grids else { panic!("no grids are seen") };
    grids.cannot_read("g".into(), Unread { reason: "refused 403: no".into(), listed });
}

#[test]
fn one_grid_that_cannot_be_read_holds_up_no_other() {
    let mut world = world(GridStatus::Online);
    want_another(&mut world);
    cannot_read(&mut world, None);
    let decision = world.settled();
    let Decision::Begin { kind: OperationKind::GridCreate, goal, .. } = &decision else {
        panic!("{decision:?}")
    };
    assert!(matches!(goal, Goal::Grid { name, .. } if name == "h"), "{goal:?}");
}

#[test]
fn nothing_is_done_to_a_grid_that_cannot_be_read_and_its_object_stays() {
    for listed in [None, Some(GridStatus::Online), Some(GridStatus::Error)] {
        let mut world = world(GridStatus::Online);
        cannot_read(&mut world, listed);
        assert_eq!(world.settled(), Decision::Rest, "it may be as it should be");
        world.wanted.grids.get_mut(UID).unwrap().deleting = true;
        assert_eq!(world.settled(), Decision::Rest, "it may be gone");
        let grid = world.wanted.grids[UID].clone();
        assert!(!is_settled(world.inputs(), UID, &grid), "nobody saw it gone");
        show(&mut world, Some(GridStatus::Online));
        assert!(matches!(world.settled(), Decision::Begin { .. }));
    }
}

#[test]
fn what_was_sent_for_a_grid_that_cannot_be_read_is_neither_done_nor_sent_again() {
    let mut world = world(GridStatus::Online);
    world.wanted.grids.get_mut(UID).unwrap().deleting = true;
    let begin = world.settled();
    world.follow(begin);
    let Decision::Run { step, .. } = world.settled() else { panic!() };
    world.intend(step);
    cannot_read(&mut world, None);
    assert!(matches!(world.settled(), Decision::InDoubt(_)));
    show(&mut world, None);
    let Decision::Record(events) = world.decide() else { panic!() };
    assert_eq!(events[0].name(), "step_succeeded");
}

#[test]
fn datagrids_that_cannot_be_read_end_nothing_and_begin_nothing() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    let wanted = std::mem::take(&mut world.wanted.grids);
    world.wanted.unread = true;
    let decision = world.settled();
    assert!(matches!(decision, Decision::Wait(_)), "its operation is not ended: {decision:?}");
    world.wanted.grids = wanted;
    world.wanted.unread = false;
    assert!(matches!(world.settled(), Decision::Run { .. }), "and goes on when they are read");
    let mut rests = self::world(GridStatus::Error);
    rests.wanted.grids.clear();
    rests.wanted.unread = true;
    assert_eq!(rests.settled(), Decision::Rest);
}

#[test]
fn an_open_change_is_not_taken_for_done_while_the_data_grids_cannot_be_read() {
    let mut world = world(GridStatus::Online);
    let grid = world.wanted.grids.get_mut(UID).unwrap();
    grid.fields.insert("lockTimeout".into(), "99".into());
    grid.digest = "another".into();
    let fields = BTreeMap::from([("lockTimeout".to_owned(), "15".to_owned())]);
    let live = GridView { fields, ..view(GridStatus::Online) };
    world.seen.grids = Some(Answer::Known([("g".to_owned(), live)].into()));
    let begin = world.settled();
    world.follow(begin);
    let Decision::Run { step, .. } = world.settled() else { panic!() };
    assert!(matches!(step, Step::UpdateGrid { .. }), "{step:?}");
    world.intend(step);
    (world.wanted.unread, world.wanted.grids) = (true, BTreeMap::new());
    for _ in 0..3 {
        assert!(matches!(world.settled(), Decision::InDoubt(_)));
    }
}
