//! Of each question: what may come and go as it will, and what keeps it open.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;
use xsld_journal::event::StepKey;

use super::Question;
use crate::decide::testing::World;
use crate::observation::Shown;
use crate::xsld::view::{Answer, GridStatus, GridView, MemberStatus, TaskStatus};

/// The place that is asked about. It is recorded, and the others do not list it.
const PLACE: u32 = 4;

/// Something that is otherwise every other second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flap {
    /// A pod that is no member crashes.
    Stranger,
    /// A member that nobody needs crashes, and the others see it go and come.
    Bystander,
    /// The primary hangs and answers.
    Primary,
    /// The member that was asked hangs and answers.
    Asked,
    /// The process in the place crashes before it ever answers.
    Crash,
    /// The place answers and is silent.
    Speech,
    /// A member lists the place and does not.
    Word,
    /// A member shows a replica and does not.
    Role,
    /// A task of somebody runs and ends.
    Task,
    /// The claim of the place is going and is not.
    Claim,
    /// Somebody scales the StatefulSet.
    Set,
    /// A grid is in error and is not.
    GridA,
    /// Another one does not answer and does.
    GridB,
}

use Flap::*;

const ALL: [Flap; 13] = [
    Stranger, Bystander, Primary, Asked, Crash, Speech, Word, Role, Task, Claim, Set, GridA, GridB,
];

fn world() -> World {
    let mut world = World::group(5);
    world.pod_with(7, 1);
    world.state.left_out.insert("b".to_owned());
    calm(&mut world);
    world
}

/// Everything as it is in the even seconds.
fn calm(world: &mut World) {
    for ordinal in 0..5 {
        world.pod_with(ordinal, 1);
        if ordinal != PLACE {
            world.report(ordinal, &[0, 1, 2, 3]);
        }
    }
    world.pod_with(7, 1);
    world.set_replicas(5);
    world.seen.claims.get_mut(&PLACE).unwrap().deleting = false;
    let grid = |name: &str| GridView {
        name: name.to_owned(),
        status: GridStatus::Online,
        fields: BTreeMap::new(),
    };
    let grids = ["a", "b"].map(|name| (name.to_owned(), grid(name)));
    world.seen.grids = Some(Answer::Known(Shown::from(grids)));
}

fn flap(world: &mut World, flap: Flap, second: u32) {
    let silent = |world: &mut World, ordinal| {
        let report = world.seen.reports.get_mut(&ordinal).unwrap();
        report.group = Answer::Unknown { reason: "no answer".into() };
        report.tasks = Answer::Unknown { reason: "no answer".into() };
    };
    match flap {
        Stranger => world.pod_with(7, second + 2),
        Bystander => {
            world.pod_with(3, second + 2);
            world.seen.pods.get_mut(&3).unwrap().running = false;
            for ordinal in 0..3 {
                let report = world.seen.reports.get_mut(&ordinal).unwrap();
                let Answer::Known(view) = &mut report.group else { panic!("no view") };
                view.members[3].status = MemberStatus::Unreachable;
            }
        }
        Primary => silent(world, 0),
        Asked => silent(world, 1),
        Crash => {
            world.pod_with(PLACE, second + 2);
            world.seen.pods.get_mut(&PLACE).unwrap().running = false;
        }
        Speech => world.report(PLACE, &[PLACE]),
        Word => world.report(2, &[0, 1, 2, 3, PLACE]),
        Role => {
            let report = world.seen.reports.get_mut(&2).unwrap();
            let Answer::Known(view) = &mut report.group else { panic!("no view") };
            view.members[3].replication = Some("slave".to_owned());
        }
        Task => world.task(3, StepKey(Uuid::from_u128(99)), TaskStatus::Running),
        Claim => world.seen.claims.get_mut(&PLACE).unwrap().deleting = true,
        Set => world.set_replicas(6),
        GridA | GridB => {
            let Some(Answer::Known(grids)) = &mut world.seen.grids else { panic!("no grids") };
            let grids = grids.there_mut();
            match flap {
                GridA => grids.get_mut("a").unwrap().status = GridStatus::Error,
                _ => drop(grids.remove("b")),
            }
        }
    }
}

/// Which of these questions are ever settled in two settle times and a little in which this flaps.
fn settled(cases: &[(Question<'_>, &[Flap])], flaps: Option<Flap>) -> Vec<bool> {
    let mut world = world();
    let mut found = vec![false; cases.len()];
    for second in 0..45 {
        calm(&mut world);
        if let (Some(flaps), 1) = (flaps, second % 2) {
            flap(&mut world, flaps, second);
        }
        world.after(Duration::from_secs(1));
        for ((question, _), found) in cases.iter().zip(&mut found) {
            *found |= question.is_settled(world.inputs(), world.times.settle);
        }
    }
    found
}

#[test]
fn each_question_is_kept_open_by_what_could_contradict_it_and_by_nothing_else() {
    let asked = World::group(5).survivor(1);
    let (survivor, member) = (&asked, World::group(5).member(1));
    let removal = |ended| Question::Removal { member: PLACE, survivor, ended };
    let cases: Vec<(Question<'_>, &[Flap])> = vec![
        (Question::Elapsed, &[]),
        (Question::Set, &[Set]),
        (Question::Objects(PLACE), &[Claim]),
        (Question::AllObjects, &[Claim, Set]),
        (Question::Down(PLACE), &[Crash, Speech, Claim]),
        (Question::Join(PLACE), &[Primary, Speech, Word, Claim]),
        (removal(false), &[Primary, Asked, Word, Task]),
        (removal(true), &[Primary, Asked, Word]),
        (Question::Listed(PLACE), &[Primary, Word]),
        (Question::Cancelled(&member), &[Asked]),
        (Question::Entry(PLACE), &[Primary, Speech, Word, Task, Claim]),
        (Question::Place(PLACE), &[Primary, Crash, Speech, Word, Task, Claim]),
        (Question::Roles, &[Primary, Speech, Role, Task]),
        (Question::RoleAsked(1), &[Asked, Speech, Role]),
        (
            Question::Everybody,
            &[Stranger, Bystander, Primary, Asked, Crash, Speech, Word, Role, Task, Claim, Set],
        ),
        (Question::Adoption(&[0, 1, 2, 3]), &[Bystander, Primary, Asked, Word, Task, Set]),
        (Question::Grid("a"), &[GridA]),
        (
            Question::Holders("a"),
            &[Bystander, Primary, Asked, Crash, Speech, Word, Role, Task, Claim, GridA],
        ),
        (Question::Unspent("a", &asked), &[Asked, GridA]),
        (Question::Template("t"), &[]),
        (Question::GridAsked("a", &asked), &[Asked, Task, GridA]),
        (Question::TemplateAsked("t", &asked), &[Asked, Task]),
        (
            Question::Roll,
            &[Bystander, Primary, Asked, Crash, Speech, Word, Role, Task, Claim, Set, GridA],
        ),
    ];
    let quiet = settled(&cases, None);
    assert!(quiet.iter().all(|settled| *settled), "{quiet:?}");
    let flapping = ALL.map(|flap| (flap, settled(&cases, Some(flap))));
    for (at, (question, keep_open)) in cases.iter().enumerate() {
        let open = flapping.iter().filter(|(_, settled)| !settled[at]);
        let open: Vec<Flap> = open.map(|(flap, _)| *flap).collect();
        assert_eq!(open, *keep_open, "{question:?}");
    }
}

/// A member that lost its primary tells the last copy that it knew: no view, and its own word all the
/// same of who it takes for the primary.
#[test]
fn the_own_word_of_who_was_asked_for_a_role_counts_though_it_is_no_view() {
    for flaps in [false, true] {
        let mut world = world();
        for second in 0..45_usize {
            calm(&mut world);
            let report = world.seen.reports.get_mut(&1).unwrap();
            let Answer::Known(view) = &mut report.group else { panic!("no view") };
            view.stale = true;
            for (at, member) in view.members.iter_mut().enumerate() {
                member.primary = Some(at == if flaps { second % 2 } else { 0 });
            }
            world.after(Duration::from_secs(1));
        }
        let settled = Question::RoleAsked(1).is_settled(world.inputs(), world.times.settle);
        assert_eq!(settled, !flaps);
    }
}

#[test]
fn each_word_about_a_place_counts() {
    fn view(world: &mut World, ordinal: u32) -> &mut crate::xsld::view::GroupView {
        let report = world.seen.reports.get_mut(&ordinal).unwrap();
        let Answer::Known(view) = &mut report.group else { panic!("no view") };
        view
    }
    type Change = fn(&mut World);
    let changes: [(Change, bool, &str); 4] = [
        (|_| {}, true, "nothing"),
        (|world| view(world, PLACE).stale = true, false, "it has lost its primary"),
        (
            |world| view(world, 2).members[4].address = Some("10.9.9.9".into()),
            false,
            "another one knows it elsewhere",
        ),
        (
            |world| {
                for (at, member) in view(world, 0).members.iter_mut().enumerate() {
                    member.primary = Some(at == 1);
                }
            },
            false,
            "another one is the primary",
        ),
    ];
    for (change, settles, what) in changes {
        let mut world = World::group(5);
        let mut found = false;
        for second in 0..45 {
            world.everybody_lists(&[0, 1, 2, 3, 4]);
            if second % 2 == 1 {
                change(&mut world);
            }
            world.after(Duration::from_secs(1));
            found |= Question::Join(PLACE).is_settled(world.inputs(), world.times.settle);
        }
        assert_eq!(found, settles, "{what}");
    }
}

/// Who is not listed and tells another group now and then may be the one that has it.
#[test]
fn whose_a_group_is_rests_on_all_words() {
    for contradicts in [false, true] {
        let mut world = World::group(2);
        world.state.bootstrapped = false;
        let mut found = false;
        for second in 0..45 {
            world.everybody_lists(&[0, 1]);
            world.pod_with(5, second + 2);
            if contradicts && second % 2 == 1 {
                world.report(5, &[5, 6]);
            }
            world.after(Duration::from_secs(1));
            let question = Question::Adoption(&[0, 1]);
            found |= question.is_settled(world.inputs(), world.times.settle);
        }
        assert_eq!(found, !contradicts);
    }
}

/// Nothing of ours comes from a process that was never asked: what counts is how long the one that was
/// is gone, and that nothing is heard from its place.
#[test]
fn who_was_asked_and_dies_again_and_again_keeps_nothing_open() {
    let (mut world, asked) = (world(), World::group(5).survivor(1));
    let member = World::group(5).member(1);
    let removal = Question::Removal { member: PLACE, survivor: &asked, ended: false };
    let answering = [false, true];
    for answers in answering {
        for second in 0..45 {
            calm(&mut world);
            world.pod_with(1, second + 2);
            world.seen.pods.get_mut(&1).unwrap().running = false;
            if answers {
                world.report(1, &[1]);
            }
            world.after(Duration::from_secs(1));
        }
        let span = world.times.settle;
        let is_settled = |question: Question<'_>| question.is_settled(world.inputs(), span);
        assert_eq!(is_settled(removal), !answers, "it may tell what became of the removal");
        assert!(is_settled(Question::Cancelled(&member)));
        assert!(is_settled(Question::GridAsked("a", &asked)));
        assert!(is_settled(Question::TemplateAsked("t", &asked)));
        assert!(is_settled(Question::Unspent("a", &asked)));
    }
}

/// Two members are all that answer, and one of them comes and goes.
#[test]
fn where_one_member_answers_its_view_alone_counts_and_where_two_do_both() {
    let mut world = World::group(2);
    let mut settled = vec![];
    for second in 0..60 {
        world.everybody_lists(&[0, 1]);
        if second % 2 == 1 {
            world.seen.reports.remove(&1);
        }
        world.after(Duration::from_secs(1));
        settled.push(Question::Listed(7).is_settled(world.inputs(), world.times.settle));
    }
    assert_eq!(settled[40..44], [false, true, false, true]);
}

/// A majority of five catalogs is three, of which each must have told the same all the time.
#[test]
fn an_absence_is_settled_by_as_many_catalogs_as_make_a_majority() {
    for (flapping, is_settled) in [(1, true), (2, true), (3, false)] {
        let mut world = World::group(6);
        world.everybody_lists(&[0, 1, 2, 3, 4]);
        world.seen.reports.remove(&5);
        let mut found = false;
        for second in 0..60 {
            for ordinal in 1..=flapping {
                world.report(ordinal, &[0, 1, 2, 3, 4]);
                if (second + ordinal) % 2 == 1 {
                    let report = world.seen.reports.get_mut(&ordinal).unwrap();
                    report.tasks = Answer::Unknown { reason: "no answer".into() };
                } else {
                    world.seen.reports.get_mut(&ordinal).unwrap().tasks = Answer::Known(vec![]);
                }
            }
            world.after(Duration::from_secs(1));
            found |= Question::Entry(5).is_settled(world.inputs(), world.times.settle);
        }
        assert_eq!(found, is_settled, "{flapping} flap");
    }
}

/// The words of all may be the same all the time, while one of them says now this and now that.
#[test]
fn a_primary_that_says_now_this_and_now_that_keeps_it_open_whoever_else_holds_both_words() {
    let says = |world: &mut World, by: u32, status: MemberStatus| {
        let report = world.seen.reports.get_mut(&by).unwrap();
        for answer in [Some(&mut report.group), report.group_again.as_mut()].into_iter().flatten() {
            let Answer::Known(view) = answer else { panic!("no view") };
            view.members[PLACE as usize].status = status.clone();
        }
    };
    for flaps in [true, false] {
        let mut world = World::group(5);
        let mut settled = false;
        for look in 0..6 {
            says(&mut world, 1, MemberStatus::Unreachable);
            says(&mut world, 3, MemberStatus::Online);
            let away = flaps && look % 2 == 1;
            says(
                &mut world,
                0,
                if away { MemberStatus::Unreachable } else { MemberStatus::Online },
            );
            world.after(world.times.settle / 2);
            settled |= Question::Roll.is_settled(world.inputs(), world.times.settle);
        }
        assert_eq!(settled, !flaps);
    }
}

/// A pod that is down since a moment ago is not down for as long as its process has been the same.
#[test]
fn a_pod_is_down_for_as_long_as_it_is_not_ready() {
    let mut world = World::group(5);
    world.after(world.times.settle * 3);
    world.seen.pods.get_mut(&PLACE).unwrap().ready = false;
    world.observe();
    assert!(!Question::Down(PLACE).is_settled(world.inputs(), world.times.settle));
    world.after(world.times.settle);
    assert!(Question::Down(PLACE).is_settled(world.inputs(), world.times.settle));
}

/// The members say different things of its state, and all that it is listed.
#[test]
fn what_became_of_a_removal_rests_on_whether_it_is_listed_and_not_in_which_state() {
    let mut world = World::group(5);
    let survivor = world.survivor(0);
    let report = world.seen.reports.get_mut(&0).unwrap();
    for answer in [Some(&mut report.group), report.group_again.as_mut()].into_iter().flatten() {
        let Answer::Known(view) = answer else { panic!("no view") };
        view.members[PLACE as usize].status = MemberStatus::Unreachable;
    }
    world.after(world.times.settle);
    let removal = Question::Removal { member: PLACE, survivor: &survivor, ended: true };
    assert!(removal.is_settled(world.inputs(), world.times.settle));
    assert!(!Question::Listed(PLACE).is_settled(world.inputs(), world.times.settle));
}
