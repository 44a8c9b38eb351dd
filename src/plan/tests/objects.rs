//! Grids, templates and volumes.

use xsld_journal::event::Event;

use super::*;
use crate::decide::{WantedGrid, WantedTemplate};
use crate::observation::Growth;
use crate::xsld::view::{GridStatus, GridView};

fn want_grid(world: &mut World, name: &str, partitions: &str) {
    let fields = BTreeMap::from([("numPartition".to_owned(), partitions.to_owned())]);
    let grid = WantedGrid {
        name: name.into(),
        generation: 1,
        digest: format!("digest of {partitions}"),
        fields,
        template: None,
        correct_drift: true,
        deleting: false,
        delete_grid: true,
        was_here: false,
    };
    world.wanted.grids.insert(format!("uid-{name}"), grid);
}

/// A grid of ours that the group shows.
fn show_grid(world: &mut World, name: &str, partitions: &str, status: GridStatus) {
    let (grid_uid, digest) = (format!("uid-{name}"), format!("digest of {partitions}"));
    world.apply(Event::GridAdopted { grid_uid, name: name.into(), digest });
    let fields = BTreeMap::from([("numPartition".to_owned(), partitions.to_owned())]);
    let view = GridView { name: name.into(), status, fields };
    let Some(Answer::Known(grids)) = &mut world.seen.grids else { panic!("no grids are seen") };
    grids.insert(name.into(), view);
}

fn want_template_of_grids(world: &mut World, digest: &str, deleting: bool) {
    let template =
        WantedTemplate { name: "t".into(), generation: 1, digest: digest.into(), deleting };
    world.wanted.templates.insert("uid-t".into(), template);
    world.seen.templates.get_or_insert(Answer::Known([].into()));
}

#[test]
fn grids_are_created_changed_and_deleted() {
    let mut world = group(2);
    want_grid(&mut world, "a", "13");
    want_grid(&mut world, "b", "17");
    show_grid(&mut world, "b", "13", GridStatus::Online);
    want_grid(&mut world, "c", "13");
    show_grid(&mut world, "c", "13", GridStatus::Online);
    world.wanted.grids.get_mut("uid-c").unwrap().deleting = true;
    let plan = planned(&mut world);
    let expected = [
        "grid_create",
        "- create grid a",
        "grid_update",
        "- update grid b",
        "grid_delete",
        "- delete grid c",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
    let destructive = plan.operations.iter().map(|operation| operation.steps[0].destructive);
    assert_eq!(destructive.collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn a_grid_in_error_is_made_again() {
    let mut world = group(2);
    want_grid(&mut world, "a", "13");
    show_grid(&mut world, "a", "13", GridStatus::Error);
    let plan = planned(&mut world);
    assert_eq!(told(&plan), ["grid_recover", "- delete grid a", "- create grid a"]);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn templates_go_up_before_their_grids_and_away_after_them() {
    let mut world = group(2);
    want_template_of_grids(&mut world, "x", false);
    want_grid(&mut world, "a", "13");
    let grid = world.wanted.grids.get_mut("uid-a").unwrap();
    grid.template = Some("t".into());
    grid.fields.insert("templateName".into(), "t".into());
    let plan = planned(&mut world);
    let expected = ["template_upload", "- upload t", "grid_create", "- create grid a"];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);

    let (_, after) = super::follow::rehearse(world.inputs());
    let mut later = group(2);
    later.wanted = world.wanted.clone();
    later.state = after.inputs().state.clone();
    later.seen = after.inputs().seen.clone();
    want_template_of_grids(&mut later, "", true);
    let plan = planned(&mut later);
    assert_eq!((told(&plan).len(), &plan.end), (0, &End::Settled), "{plan}");
    let reasons: Vec<&str> = plan.put_off.iter().map(|wait| wait.reason.as_str()).collect();
    assert_eq!(reasons, ["TemplateInUse", "TemplateMissing"]);
    later.wanted.grids.get_mut("uid-a").unwrap().deleting = true;
    let plan = planned(&mut later);
    let expected = ["grid_delete", "- delete grid a", "template_delete", "- delete template t"];
    assert_eq!(told(&plan), expected);
    assert_eq!((&plan.end, plan.put_off.len()), (&End::Settled, 0), "{plan}");
}

#[test]
fn a_grid_whose_template_nobody_has_is_put_off() {
    let mut world = group(1);
    want_grid(&mut world, "a", "13");
    world.wanted.grids.get_mut("uid-a").unwrap().template = Some("t".into());
    let plan = planned(&mut world);
    assert_eq!((told(&plan).len(), &plan.end), (0, &End::Settled));
    assert_eq!(plan.put_off[0].reason, "TemplateMissing");
}

#[test]
fn a_new_cache_gets_its_templates_and_grids_at_the_end() {
    let mut world = World::new(1);
    want_grid(&mut world, "a", "13");
    want_template_of_grids(&mut world, "x", false);
    world.seen.templates = None;
    let plan = planned(&mut world);
    let expected = [
        "bootstrap",
        "- template d1",
        "- replicas 1",
        "template_upload",
        "- upload t",
        "grid_create",
        "- create grid a",
    ];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.end, End::Settled);
}

#[test]
fn volumes_grow_one_after_the_other() {
    let mut world = group(2);
    world.wanted.storage = "2Gi".into();
    world.seen.claims.get_mut(&0).unwrap().growth = Some(Growth::Allowed);
    let plan = planned(&mut world);
    let expected = ["storage_growth", "- grow vol-c-0 to 2Gi", "- grow vol-c-1 to 2Gi"];
    assert_eq!(told(&plan), expected);
    assert_eq!((&plan.end, plan.put_off.len()), (&End::Settled, 0));
}

#[test]
fn the_volume_of_a_new_member_grows_to_what_the_others_have() {
    let mut world = group(1);
    world.wanted.size = 2;
    world.wanted.storage = "2Gi".into();
    world.seen.claims.get_mut(&0).unwrap().requested = Some("2Gi".into());
    let plan = planned(&mut world);
    let expected =
        ["scale_up", "- replicas 2", "- join c-1", "storage_growth", "- grow vol-c-1 to 2Gi"];
    assert_eq!(told(&plan), expected);
    assert_eq!(plan.assumes, ["the storage class lets volumes grow"]);
}

#[test]
fn volumes_that_cannot_grow_are_put_off_and_those_nobody_asked_for_are_unknown() {
    let mut world = group(2);
    world.wanted.storage = "2Gi".into();
    let plan = planned(&mut world);
    assert!(matches!(&plan.end, End::Unknown { why } if why.contains("vol-c-0")), "{plan}");
    let reason = "the class does not allow it".to_owned();
    world.seen.claims.get_mut(&0).unwrap().growth = Some(Growth::Refused { reason });
    let plan = planned(&mut world);
    assert_eq!((told(&plan).len(), &plan.end), (0, &End::Settled));
    assert_eq!(plan.put_off[0].reason, "VolumesCannotGrow");
}

#[test]
fn other_catalogs_change_no_member_that_is_there_and_that_is_told() {
    let mut world = group(3);
    world.wanted.catalogs = 1;
    let plan = planned(&mut world);
    assert_eq!((told(&plan).len(), &plan.end), (0, &End::Settled));
    assert!(plan.put_off[0].message.contains("c-1, c-2"), "{:?}", plan.put_off);
}
