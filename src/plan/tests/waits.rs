//! What a plan waits for, what it does not know, and how it is told.

use super::*;
use crate::decide::testing::name;
use crate::xsld::view::{TaskStatus, TaskView};

fn task(status: TaskStatus) -> TaskView {
    TaskView {
        id: 7,
        command: Some("SomebodysTaskCommand".into()),
        description: Some("by hand".into()),
        status,
        progress: None,
        member: None,
        started: None,
        message: None,
    }
}

fn waits(plan: &Plan) -> &str {
    let End::Waits(wait) = &plan.end else { panic!("{plan}") };
    &wait.reason
}

#[test]
fn a_paused_cache_waits_for_that_alone() {
    let mut world = group(3);
    world.wanted.size = 1;
    world.wanted.paused = true;
    let plan = planned(&mut world);
    assert_eq!((told(&plan).len(), waits(&plan)), (0, "Paused"));
}

#[test]
fn a_task_of_somebody_else_is_waited_for() {
    let mut world = group(3);
    world.wanted.size = 2;
    world.seen.reports.get_mut(&1).unwrap().tasks = Answer::Known(vec![task(TaskStatus::Running)]);
    let plan = planned(&mut world);
    assert_eq!((told(&plan), waits(&plan)), (vec!["scale_down".to_owned()], "ForeignTask"));
}

#[test]
fn members_without_room_for_what_leaves_are_told() {
    let mut world = group(3);
    world.wanted.size = 2;
    for ordinal in 0..3 {
        change_view(&mut world, ordinal, |view| {
            for member in &mut view.members {
                (member.capacity, member.used) = (Some(1), Some(900));
            }
        });
    }
    let plan = planned(&mut world);
    assert_eq!((told(&plan).len(), waits(&plan)), (0, "CapacityShort"));
}

#[test]
fn refused_credentials_are_waited_for_and_not_called_unknown() {
    let mut world = group(2);
    world.wanted.size = 3;
    for report in world.seen.reports.values_mut() {
        let refused = || Answer::Refused { status: 401, error: "no".into() };
        report.group = refused();
        report.group_again = Some(refused());
        report.tasks = Answer::Refused { status: 401, error: "no".into() };
    }
    world.seen.grids = None;
    let plan = planned(&mut world);
    assert_eq!(waits(&plan), "CredentialsInvalid");
    let End::Waits(wait) = &plan.end else { panic!() };
    assert!(wait.message.contains(&name(0)), "{wait:?}");
}

#[test]
fn a_group_that_nobody_tells_of_is_unknown_and_nothing_is_made_up() {
    for size in 1..=3 {
        let mut world = group(3);
        world.wanted.size = size;
        world.seen.reports.clear();
        world.seen.grids = None;
        let plan = planned(&mut world);
        assert!(matches!(plan.end, End::Unknown { .. }), "{plan}");
        assert_eq!(plan.operations.iter().flat_map(|it| &it.steps).count(), 0, "{plan}");
    }
}

#[test]
fn members_that_disagree_are_unknown() {
    let mut world = group(3);
    world.wanted.size = 2;
    world.report(1, &[0, 1]);
    let plan = planned(&mut world);
    assert!(matches!(plan.end, End::Unknown { .. }), "{plan}");
    assert_eq!(plan.deletes, []);
}

#[test]
fn grids_that_cannot_be_seen_are_unknown() {
    let mut world = group(2);
    want_grid(&mut world);
    world.seen.grids = Some(Answer::Unknown { reason: "silent".into() });
    let plan = planned(&mut world);
    assert!(matches!(&plan.end, End::Unknown { why } if why.contains("grids")), "{plan}");
}

fn want_grid(world: &mut World) {
    let grid = crate::decide::WantedGrid {
        name: "a".into(),
        generation: 1,
        digest: "d".into(),
        fields: BTreeMap::new(),
        template: None,
        correct_drift: true,
        deleting: false,
        delete_grid: true,
        was_here: false,
    };
    world.wanted.grids.insert("uid-a".into(), grid);
}

#[test]
fn what_a_volume_from_before_holds_is_unknown() {
    let mut world = World::new(2);
    let mut former = World::group(1);
    world.seen.claims.clone_from(&former.seen.claims);
    world.seen.claims.get_mut(&0).unwrap().older_than_cache = true;
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["bootstrap", "- template d1", "- replicas 2"]);
    assert!(matches!(&plan.end, End::Unknown { why } if why.contains("vol-c-0")), "{plan}");
    assert_eq!(told(&planned(&mut former)).len(), 0);
}

#[test]
fn a_restarted_member_is_taken_to_come_back_and_that_is_told() {
    let mut world = group(3);
    world.pod_with(2, 2);
    world.wanted.replicate = false;
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    assert_eq!(plan.restarts, ["c-2", "c-1", "c-0"], "{plan}");
    assert_eq!(plan.assumes, ["c-2, which was restarted, comes back into the group"]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn a_member_that_is_silent_though_it_was_not_restarted_is_waited_for() {
    let mut world = group(3);
    world.seen.reports.remove(&2);
    world.wanted.replicate = false;
    want_template(&mut world, "d2");
    let plan = planned(&mut world);
    assert!(plan.restarts.is_empty(), "{plan}");
    assert_eq!(waits(&plan), "WaitingForPods");
}

#[test]
fn without_access_to_the_members_only_kubernetes_is_planned() {
    let mut world = World::new(2);
    world.settled();
    let inputs = Inputs { join_command: "", ..world.inputs() };
    let plan = plan(inputs);
    assert_eq!(told(&plan), ["bootstrap", "- template d1", "- replicas 2"]);
    assert_eq!(waits(&plan), "WaitingForPods");
}

#[test]
fn the_text_numbers_the_steps_and_marks_what_cannot_be_taken_back() {
    let mut world = group(2);
    world.wanted.size = 1;
    let text = planned(&mut world).to_string();
    let expected = "\
plan for ns/c, generation 1

scale_down: size 2 -> 1
   1. disjoin c-1 through c-0 [destructive]: once it is sent it is finished, whatever the spec says then
   2. set replicas 2 -> 1 [destructive]: the pods beyond that end
   3. delete claim vol-c-1 (claim-1) [destructive]: its member is out of the group then

volumes that would be deleted: vol-c-1 (claim-1)
then nothing is left to do
this holds if every step succeeds and nothing else changes
";
    assert_eq!(text, expected);
}

#[test]
fn the_text_of_an_empty_plan_says_that_nothing_is_done_or_deleted() {
    let text = planned(&mut group(2)).to_string();
    let expected = "\
plan for ns/c, generation 1

nothing would be done
no volume is deleted
nothing is left to do
";
    assert_eq!(text, expected);
}

#[test]
fn a_members_words_forge_no_line_of_the_text() {
    let mut world = group(2);
    world.wanted.size = 3;
    let words = "down\u{1b}[2K\nno volume is deleted\u{202e}";
    world.pod_with(2, 1);
    world.report(2, &[2]);
    world.seen.reports.get_mut(&2).unwrap().tasks =
        Answer::Refused { status: 500, error: words.into() };
    world.set_replicas(3);
    let text = planned(&mut world).to_string();
    assert!(text.contains("down\\u{1b}[2K\\nno volume is deleted\\u{202e}"), "{text}");
    let lines = text.lines().filter(|line| *line == "no volume is deleted").count();
    assert_eq!(lines, 1, "{text}");
}

#[test]
fn the_stored_form_has_stable_names_and_is_read_back() {
    let mut world = group(2);
    world.wanted.size = 1;
    let plan = planned(&mut world);
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["end"], "settled");
    assert_eq!(json["operations"][0]["kind"], "scale_down");
    let step = &json["operations"][0]["steps"][2];
    assert_eq!(step["standing"], "planned");
    assert_eq!(step["deletes_claim"]["uid"], "claim-1");
    assert_eq!(step["step"]["delete_volume"]["claim"], "vol-c-1");
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
    world.wanted.paused = true;
    let json = serde_json::to_value(planned(&mut world)).unwrap();
    assert_eq!(json["end"]["waits"]["reason"], "Paused");
}
