//! A grid in error, and what it waits for.

mod before;
mod wish;

use std::time::Duration;

use super::recovery::RECOVERIES_MAX;
use super::*;
use crate::decide::testing::World;
use crate::observation::Unread;
use crate::xsld::view::GroupMember;

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
            was_here: false,
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

/// A change of a grid that was intended, and of which nothing is seen.
fn changing() -> World {
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
    world
}

#[test]
fn an_open_change_is_not_taken_for_done_while_the_data_grids_cannot_be_read() {
    let mut world = changing();
    (world.wanted.unread, world.wanted.grids) = (true, BTreeMap::new());
    for _ in 0..3 {
        assert!(matches!(world.settled(), Decision::InDoubt(_)));
    }
}

/// Grids that the group does not have, with these numbers.
fn want_grids(world: &mut World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let name = format!("n{number:02}");
        let uid = format!("uid-{name}");
        let grid = WantedGrid { name, ..world.wanted.grids[UID].clone() };
        world.wanted.grids.insert(uid, grid);
    }
}

#[test]
fn twenty_refused_grids_are_each_asked_for_once() {
    let mut world = world(GridStatus::Online);
    want_grids(&mut world, 0..20);
    for _ in 0..20 {
        let begin = world.settled();
        assert!(matches!(begin, Decision::Begin { .. }), "{begin:?}");
        world.follow(begin);
        let end = End::Failed { reason: "refused 400: no".into() };
        world.apply(Event::OperationEnded { end });
    }
    assert_eq!(world.settled(), Decision::Rest, "one of them is asked for again");
    let grid = world.wanted.grids["uid-n00"].clone();
    assert_eq!(refused_grid(world.inputs(), "uid-n00", &grid), Some("refused 400: no"));
    world.wanted.grids.get_mut("uid-n00").unwrap().digest = "other".into();
    assert!(matches!(world.settled(), Decision::Begin { .. }), "another spec begins anew");
}

#[test]
fn five_grids_that_somebody_deletes_again_and_again_are_left_alone() {
    let mut world = world(GridStatus::Online);
    want_grids(&mut world, 0..5);
    let mut begun = 0;
    for _ in 0..40 {
        world.time_us += 1_000_000;
        let decision = world.settled();
        if matches!(decision, Decision::Begin { .. }) {
            begun += 1;
            world.follow(decision);
            world.apply(Event::OperationEnded { end: End::Succeeded });
        }
    }
    assert_eq!(begun, 5 * converge::REPEATS_MAX);
    let Decision::Wait(waiting) = world.settled() else { panic!("nothing is told") };
    assert_eq!(waiting.reason, Reason::NotConverging);
    let grid = world.wanted.grids["uid-n00"].clone();
    let told = put_off(world.inputs(), "uid-n00", &grid).unwrap();
    assert_eq!(told.reason, Reason::NotConverging);
}

#[test]
fn a_grid_in_error_stays_while_a_member_is_away_that_may_hold_its_entries() {
    type Trouble = fn(&mut World);
    let troubles: [(Trouble, &str); 4] = [
        (|world| drop(world.seen.pods.remove(&1)), "has no pod"),
        (|world| world.seen.pods.get_mut(&1).unwrap().deleting = true, "is ending"),
        (|world| world.pod_with(1, 1), "does not answer"),
        (|world| world.seen.pods.get_mut(&1).unwrap().running = false, "is not up"),
    ];
    for (trouble, why) in troubles {
        let mut world = world(GridStatus::Error);
        trouble(&mut world);
        let Decision::Wait(waiting) = world.settled() else { panic!("{why}: it is made again") };
        assert_eq!(waiting.reason, Reason::RecoveringGrid);
        assert!(waiting.message.contains(&format!("c-1 {why}")), "{}", waiting.message);
        world.pod_up(1);
        world.everybody_lists(&[0, 1]);
        begun(&mut world);
        trouble(&mut world);
        assert!(matches!(world.settled(), Decision::Wait(_)), "{why}, once it is begun");
    }
}

#[test]
fn a_grid_in_error_stays_while_the_group_lists_somebody_whom_nobody_knows() {
    let mut world = world(GridStatus::Error);
    let grid = world.wanted.grids[UID].clone();
    assert!(begun(&mut world).reason.contains("in error"));
    for report in world.seen.reports.values_mut() {
        for view in std::iter::once(&mut report.group).chain(&mut report.group_again) {
            let Answer::Known(view) = view else { continue };
            let another = GroupMember { name: "c-7".into(), ..view.members[1].clone() };
            view.members.push(another);
        }
    }
    let waiting = recovery::waits(world.inputs(), UID, &grid).unwrap();
    assert!(waiting.message.contains("c-7 is listed by the group"), "{}", waiting.message);
}

#[test]
fn while_another_operation_is_open_its_end_is_what_a_grid_waits_for() {
    let mut world = world(GridStatus::Online);
    want_another(&mut world);
    let grid = world.wanted.grids["other-uid"].clone();
    world.task(1, xsld_journal::event::StepKey(uuid::Uuid::from_u128(99)), TaskStatus::Running);
    world.settled();
    let told = |world: &World| put_off(world.inputs(), "other-uid", &grid).map(|it| it.reason);
    assert_eq!(told(&world), Some(Reason::ForeignTask));
    let goal = Goal::Members { size: 3, catalogs: 3 };
    let cause = Cause { generation: 2, reason: "size 2 -> 3".into() };
    world.apply(Event::OperationBegun { kind: OperationKind::ScaleUp, goal, cause });
    assert_eq!(told(&world), None, "the task is that one's");
}

#[test]
fn a_recovery_gives_way_while_it_waits_and_its_rounds_are_remembered() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    done_again(&mut world);
    want_another(&mut world);
    for round in 1..RECOVERIES_MAX {
        show(&mut world, Some(GridStatus::Error));
        world.watch.unsettle();
        let Decision::Record(events) = world.settled() else { panic!("{round}: it does not end") };
        let [Event::OperationEnded { end: End::Superseded { .. } }] = &events[..] else {
            panic!("{events:?}")
        };
        world.apply(events[0].clone());
        let other = world.decide();
        assert!(matches!(&other, Decision::Begin { kind: OperationKind::GridCreate, .. }));
        world.follow(other);
        world.apply(Event::OperationEnded { end: End::Succeeded });
        world.wanted.grids.remove("other-uid");
        world.apply(Event::ObjectGone {
            uid: "other-uid".into(),
            name: "h".into(),
            reason: "gone".into(),
        });
        world.watch.unsettle();
        let wait = world.times.settle * 2_u32.pow(round);
        assert!(matches!(world.after(wait - Duration::from_secs(1)), Decision::Wait(_)));
        world.watch.unsettle();
        let due = world.after(wait);
        assert!(matches!(&due, Decision::Begin { kind: OperationKind::GridRecover, .. }));
        world.follow(due);
        done_again(&mut world);
        want_another(&mut world);
    }
    world.wanted.grids.remove("other-uid");
    show(&mut world, Some(GridStatus::Error));
    let Decision::Record(events) = world.settled() else { panic!("it is made again for ever") };
    assert!(matches!(&events[0], Event::OperationEnded { end: End::Failed { .. } }), "{events:?}");
}

#[test]
fn an_operation_on_a_grid_that_cannot_be_read_ends_and_is_begun_when_it_can() {
    let mut world = world(GridStatus::Online);
    world.wanted.grids.get_mut(UID).unwrap().deleting = true;
    let begin = world.settled();
    world.follow(begin);
    cannot_read(&mut world, None);
    world.watch.unsettle();
    world.observe();
    assert!(matches!(world.decide(), Decision::Wait(_)), "one look says nothing");
    let end = world.settled();
    let Decision::Record(events) = &end else { panic!("{end:?}") };
    assert!(matches!(&events[0], Event::OperationEnded { end: End::Superseded { .. } }));
    world.follow(end);
    assert_eq!(world.settled(), Decision::Rest);
    show(&mut world, Some(GridStatus::Online));
    assert!(matches!(world.settled(), Decision::Begin { kind: OperationKind::GridDelete, .. }));
}

/// A deletion that was sent, and of which no answer came.
fn sent(world: &mut World) {
    world.wanted.grids.get_mut(UID).unwrap().deleting = true;
    let begin = world.settled();
    world.follow(begin);
    let Decision::Run { step, .. } = world.settled() else { panic!("nothing is sent") };
    let key = world.intend(step);
    world.apply(Event::StepUnknown { key, reason: "no answer".into() });
}

#[test]
fn a_step_that_nobody_can_judge_is_void_once_nothing_of_it_can_be_on_its_way() {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    cannot_read(&mut world, None);
    assert!(matches!(world.settled(), Decision::InDoubt(_)));
    let later = world.times.orphan;
    let Decision::Record(events) = world.after(later) else { panic!("it blocks for ever") };
    assert!(events.iter().any(|event| event.name() == "step_void"), "{events:?}");
}

#[test]
fn a_deletion_stays_in_doubt_while_its_process_stands_still() {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    cannot_read(&mut world, None);
    world.seen.reports.get_mut(&0).unwrap().tasks = Answer::Unknown { reason: "late".into() };
    let later = world.times.orphan;
    let decision = world.after(later);
    let void = matches!(&decision, Decision::Record(events)
        if events.iter().any(|event| event.name() == "step_void"));
    assert!(!void, "it may still carry it out: {decision:?}");
}

/// A parked deletion whose process accepts connections and answers nothing.
fn parked_on_a_silent_process() -> World {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    cannot_read(&mut world, None);
    world.seen.reports.get_mut(&0).unwrap().tasks = Answer::Unknown { reason: "late".into() };
    let (reason, message) = ("InDoubt".to_owned(), "no evidence".to_owned());
    world.apply(Event::OperationParked { reason, message });
    world.wanted.others.insert(UID.into());
    world
}

#[test]
fn a_parked_deletion_waits_for_nobody_once_nobody_wants_anything_of_the_grid() {
    let letting_go: [fn(&mut World); 2] = [
        |world| {
            world.wanted.grids.remove(UID);
            world.wanted.others.clear();
        },
        |world| world.wanted.grids.get_mut(UID).unwrap().delete_grid = false,
    ];
    for let_go in letting_go {
        let mut world = parked_on_a_silent_process();
        let orphan = world.times.orphan;
        assert!(matches!(world.after(orphan), Decision::InDoubt(_)), "somebody waits for it");
        let_go(&mut world);
        let ends = world.after(orphan);
        let Decision::Record(events) = &ends else { panic!("it waits for ever: {ends:?}") };
        let names: Vec<_> = events.iter().map(Event::name).collect();
        assert_eq!(names, ["operation_resumed", "step_void"]);
        world.follow(ends);
        show(&mut world, Some(GridStatus::Online));
        let ends = world.settled();
        let Decision::Record(events) = &ends else { panic!("{ends:?}") };
        assert!(matches!(&events[..], [Event::OperationEnded { .. }]), "{events:?}");
        world.follow(ends);
        assert!(world.state.operation.is_none());
    }
}

#[test]
fn a_parked_deletion_stays_in_doubt_while_it_could_hit_what_somebody_wants() {
    type Wish = fn(&mut World);
    let wishes: [(Wish, &str); 3] = [
        (|world| drop(world.wanted.grids.remove(UID)), "its DataGrid is there, and broken"),
        (
            |world| {
                let grid = world.wanted.grids.remove(UID).unwrap();
                world.wanted.others.clear();
                world.wanted.grids.insert("new".into(), WantedGrid { deleting: false, ..grid });
            },
            "another DataGrid has its name",
        ),
        (
            |world| {
                world.wanted.grids.clear();
                world.wanted.others.clear();
                world.wanted.unread = true;
            },
            "nobody knows which are there",
        ),
    ];
    for (wish, why) in wishes {
        let mut world = parked_on_a_silent_process();
        wish(&mut world);
        let orphan = world.times.orphan;
        assert!(matches!(world.after(orphan * 2), Decision::InDoubt(_)), "{why}");
    }
}

#[test]
fn a_parked_operation_without_a_step_ends_with_its_data_grid() {
    let mut world = world(GridStatus::Error);
    begun(&mut world);
    let (reason, message) = ("InDoubt".to_owned(), "no evidence".to_owned());
    world.apply(Event::OperationParked { reason, message });
    assert!(matches!(world.settled(), Decision::Wait(waits) if waits.reason == Reason::Parked));
    world.wanted.grids.clear();
    let ends = world.settled();
    assert!(matches!(&ends, Decision::Record(_)), "it waits for a person: {ends:?}");
    world.follow(ends);
    assert!(world.state.operation.is_none());
}

#[test]
fn nothing_is_begun_beside_another_task_and_a_step_in_doubt_says_what_it_waits_for() {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    let foreign = xsld_journal::event::StepKey(uuid::Uuid::from_u128(99));
    world.task(1, foreign, TaskStatus::Running);
    let Decision::InDoubt(waiting) = world.settled() else { panic!("{:?}", world.settled()) };
    assert_eq!(waiting.reason, Reason::ForeignTask);
    let mut rests = self::world(GridStatus::Online);
    want_another(&mut rests);
    rests.task(1, foreign, TaskStatus::Running);
    let Decision::Wait(waiting) = rests.settled() else { panic!("{:?}", rests.settled()) };
    assert_eq!(waiting.reason, Reason::ForeignTask);
    rests.task(1, foreign, TaskStatus::Success);
    assert!(matches!(rests.settled(), Decision::Begin { .. }));
}

#[test]
fn a_grid_task_that_makes_no_progress_is_cancelled() {
    let mut world = world(GridStatus::Online);
    sent(&mut world);
    let key = world.state.open_step().unwrap().key;
    world.apply(Event::StepAccepted { key, task: Some(1) });
    world.task(0, key, TaskStatus::Running);
    assert!(matches!(world.settled(), Decision::Wait(_)), "it is under way");
    let stall = world.times.task_stall;
    let decision = world.after(stall);
    assert!(
        matches!(&decision, Decision::Run { step: Step::CancelTask { task: 1, .. }, .. }),
        "{decision:?}"
    );
}

#[test]
fn a_scale_down_without_room_does_not_keep_the_grid_that_would_make_it() {
    let mut world = world(GridStatus::Online);
    world.wanted.size = 1;
    for report in world.seen.reports.values_mut() {
        let views = std::iter::once(&mut report.group).chain(&mut report.group_again);
        for view in views {
            let Answer::Known(view) = view else { continue };
            for member in &mut view.members {
                (member.capacity, member.used) = (Some(1), Some(900));
            }
        }
    }
    let Decision::Wait(waiting) = world.settled() else { panic!("{:?}", world.settled()) };
    assert_eq!(waiting.reason, Reason::CapacityShort);
    world.wanted.grids.get_mut(UID).unwrap().deleting = true;
    assert!(matches!(world.settled(), Decision::Begin { kind: OperationKind::GridDelete, .. }));
}

#[test]
fn nothing_is_remembered_of_a_datagrid_that_is_gone() {
    let mut world = world(GridStatus::Online);
    let wanted = world.wanted.grids.remove(UID).unwrap();
    world.wanted.others.insert(UID.into());
    assert_eq!(world.settled(), Decision::Rest, "it is there, and its spec is broken");
    world.wanted.others.clear();
    world.wanted.unread = true;
    assert_eq!(world.settled(), Decision::Rest, "nobody knows whether it is there");
    world.wanted.unread = false;
    let gone = world.settled();
    let Decision::Record(events) = &gone else { panic!("{gone:?}") };
    assert_eq!(events[0].name(), "object_gone");
    world.follow(gone);
    assert!(world.state.grids.is_empty());
    assert_eq!(world.settled(), Decision::Rest);
    world.wanted.grids.insert("another-uid".into(), wanted);
    let Decision::Record(events) = world.settled() else { panic!("it is not taken over") };
    assert_eq!(events[0].name(), "grid_adopted");
}

#[test]
fn a_grid_that_was_there_before_is_changed_or_told_by_policy() {
    let fields: BTreeMap<String, String> = BTreeMap::from([("lockTimeout".into(), "15".into())]);
    let mut world = world(GridStatus::Online);
    world.state.grids.clear();
    world.wanted.grids.get_mut(UID).unwrap().fields = fields;
    let Some(Answer::Known(grids)) = &mut world.seen.grids else { panic!() };
    let live = grids.there_mut().get_mut("g").unwrap();
    live.fields.insert("lockTimeout".into(), "44".into());
    assert!(matches!(world.settled(), Decision::Begin { kind: OperationKind::GridUpdate, .. }));
    world.wanted.grids.get_mut(UID).unwrap().correct_drift = false;
    let adopted = world.settled();
    let Decision::Record(events) = &adopted else { panic!("{adopted:?}") };
    assert_eq!(events[0].name(), "grid_adopted");
    world.follow(adopted);
    assert_eq!(world.settled(), Decision::Rest, "the difference is told and left");
}
