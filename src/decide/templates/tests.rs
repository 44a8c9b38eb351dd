use std::collections::BTreeMap;

use super::*;
use crate::decide::testing::World;
use crate::observation::{Shown, Unread};
use crate::xsld::view::{GridStatus, GridView};

const UID: &str = "template-uid";

fn world(live: Option<&str>) -> World {
    let mut world = World::group(2);
    world.wanted.templates.insert(
        UID.into(),
        WantedTemplate { name: "t".into(), generation: 1, digest: "d1".into(), deleting: false },
    );
    show(&mut world, live);
    world.seen.grids = Some(Answer::Known([].into()));
    world
}

fn show(world: &mut World, live: Option<&str>) {
    let live = live.map(|digest| ("t".to_owned(), digest.to_owned()));
    world.seen.templates = Some(Answer::Known(live.into_iter().collect()));
}

fn goes(world: &mut World) {
    let template = world.wanted.templates.get_mut(UID).unwrap();
    template.deleting = true;
    template.digest = String::new();
}

fn adopted(world: &mut World, digest: &str) {
    world.apply(Event::TemplateAdopted {
        template_uid: UID.into(),
        name: "t".into(),
        digest: digest.into(),
    });
}

/// The reason of the operation that is begun.
fn begun(world: &mut World, kind: OperationKind) -> String {
    let decision = world.settled();
    let Decision::Begin { kind: found, goal, cause } = decision else { panic!("{decision:?}") };
    assert_eq!(found, kind);
    world.apply(Event::OperationBegun { kind, goal, cause: cause.clone() });
    cause.reason
}

fn run(world: &mut World) -> Step {
    let decision = world.settled();
    let Decision::Run { step, .. } = decision else { panic!("{decision:?}") };
    step
}

fn grid(template: &str) -> WantedGrid {
    WantedGrid {
        name: "g".into(),
        generation: 1,
        fields: BTreeMap::from([("templateName".into(), template.into())]),
        digest: "g1".into(),
        template: Some(template.into()),
        correct_drift: true,
        deleting: false,
        delete_grid: true,
        was_here: false,
    }
}

fn serve_grid(world: &mut World, template: &str) {
    let fields = BTreeMap::from([("templateName".to_owned(), template.to_owned())]);
    let view = GridView { name: "g".into(), status: GridStatus::Online, fields };
    world.seen.grids = Some(Answer::Known(Shown::from([("g".into(), view)])));
}

#[test]
fn a_template_that_the_group_lacks_is_uploaded_and_then_left_alone() {
    let mut world = world(None);
    assert!(begun(&mut world, OperationKind::TemplateUpload).contains("no template t"));
    let step = run(&mut world);
    assert!(
        matches!(&step, Step::UploadTemplate { name, digest, .. } if name == "t" && digest == "d1")
    );
    world.run_and_succeed(step);
    show(&mut world, Some("d1"));
    let ended = vec![Event::OperationEnded { end: End::Succeeded }];
    assert_eq!(world.settled(), Decision::Record(ended.clone()));
    world.apply(ended[0].clone());
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn one_that_is_there_as_wanted_is_taken_over() {
    let mut world = world(Some("d1"));
    let Decision::Record(events) = world.settled() else { panic!() };
    assert_eq!(events[0].name(), "template_adopted");
}

#[test]
fn a_changed_or_deleted_template_is_uploaded_again_with_its_own_reason() {
    for (live, reason) in [(Some("d9"), "changed by somebody"), (None, "deleted by somebody")] {
        let mut world = world(live);
        adopted(&mut world, "d1");
        let told = begun(&mut world, OperationKind::TemplateUpload);
        assert!(told.contains(reason), "{told}");
    }
    let mut world = world(Some("d0"));
    adopted(&mut world, "d0");
    let told = begun(&mut world, OperationKind::TemplateUpload);
    assert!(told.contains("documents of template t have changed"), "{told}");
}

#[test]
fn what_cannot_be_seen_is_not_acted_on() {
    let mut world = world(None);
    world.seen.templates = Some(Answer::Unknown { reason: "late".into() });
    assert_eq!(world.settled(), Decision::Rest);
    world.seen.templates = None;
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn a_template_in_use_stays_until_its_grid_is_gone() {
    let mut world = world(Some("d1"));
    adopted(&mut world, "d1");
    goes(&mut world);
    serve_grid(&mut world, "t");
    assert_eq!(world.settled(), Decision::Rest);
    let template = world.wanted.templates[UID].clone();
    let told = in_use(world.inputs(), UID, &template).unwrap();
    assert!(told.contains("grid g"), "{told}");
    world.seen.grids = Some(Answer::Known([].into()));
    begun(&mut world, OperationKind::TemplateDelete);
    let step = run(&mut world);
    assert!(matches!(&step, Step::DeleteTemplate { name, .. } if name == "t"));
    assert!(step.is_destructive());
    world.run_and_succeed(step);
    assert!(world.state.templates.is_empty());
}

#[test]
fn only_a_recorded_template_is_deleted() {
    let mut world = world(Some("d1"));
    goes(&mut world);
    assert_eq!(world.settled(), Decision::Rest);
}

#[test]
fn a_refused_deletion_is_asked_again_after_a_long_time_only() {
    let mut world = world(Some("d1"));
    adopted(&mut world, "d1");
    goes(&mut world);
    begun(&mut world, OperationKind::TemplateDelete);
    world
        .apply(Event::OperationEnded { end: End::Failed { reason: "refused 409: in use".into() } });
    assert_eq!(world.settled(), Decision::Rest);
    let template = world.wanted.templates[UID].clone();
    assert_eq!(refused(world.inputs(), UID, &template), Some("refused 409: in use"));
    let later = world.times.orphan;
    assert!(matches!(world.after(later), Decision::Begin { .. }));
}

#[test]
fn a_refused_upload_waits_for_other_documents() {
    let mut world = world(None);
    begun(&mut world, OperationKind::TemplateUpload);
    world.apply(Event::OperationEnded { end: End::Failed { reason: "refused 400: no".into() } });
    let later = world.times.orphan;
    assert_eq!(world.after(later), Decision::Rest);
    world.wanted.templates.get_mut(UID).unwrap().digest = "d2".into();
    begun(&mut world, OperationKind::TemplateUpload);
}

#[test]
fn a_grid_waits_for_its_template_and_is_then_created() {
    let mut world = world(None);
    world.wanted.grids.insert("grid-uid".into(), grid("t"));
    begun(&mut world, OperationKind::TemplateUpload);
    let wanted = grid("t");
    assert!(missing(world.inputs(), &wanted).unwrap().contains("not uploaded"));
    let step = run(&mut world);
    world.run_and_succeed(step);
    show(&mut world, Some("d1"));
    world.apply(Event::OperationEnded { end: End::Succeeded });
    assert_eq!(missing(world.inputs(), &wanted), None);
    begun(&mut world, OperationKind::GridCreate);
    let other = grid("other");
    assert!(missing(world.inputs(), &other).unwrap().contains("no usable GridTemplate other"));
}

#[test]
fn an_upload_in_doubt_is_decided_by_what_the_group_shows() {
    let mut world = world(None);
    begun(&mut world, OperationKind::TemplateUpload);
    let step = run(&mut world);
    world.intend(step);
    world.watch.unsettle();
    world.observe();
    assert!(matches!(world.decide(), Decision::InDoubt(_)), "not looked at twice yet");
    assert!(matches!(world.settled(), Decision::Resend { .. }), "it never took effect");
    show(&mut world, Some("d1"));
    let Decision::Record(events) = world.decide() else { panic!() };
    assert_eq!(events[0].name(), "step_succeeded");
}

#[test]
fn an_upload_that_was_taken_and_is_not_shown_is_not_sent_again_under_its_key() {
    let mut world = world(None);
    begun(&mut world, OperationKind::TemplateUpload);
    let step = run(&mut world);
    let key = world.intend(step);
    world.apply(Event::StepAccepted { key, task: None });
    world.watch.unsettle();
    world.observe();
    assert!(matches!(world.decide(), Decision::InDoubt(_)));
    let Decision::Record(events) = world.settled() else { panic!() };
    assert_eq!(events[0].name(), "step_failed");
}

#[test]
fn one_template_that_cannot_be_read_holds_up_no_other() {
    let mut world = world(None);
    let other = WantedTemplate { name: "u".into(), ..world.wanted.templates[UID].clone() };
    world.wanted.templates.insert("z-other".into(), other);
    let Some(Answer::Known(templates)) = &mut world.seen.templates else { panic!() };
    let unread = Unread { reason: "refused 500: no".into(), listed: None };
    templates.cannot_read("t".into(), unread);
    assert!(begun(&mut world, OperationKind::TemplateUpload).contains("no template u"));
    assert!(!is_there(world.inputs(), "t"), "a grid still waits for it");
}

#[test]
fn a_template_stays_while_a_grid_that_cannot_be_read_may_be_made_from_it() {
    let mut world = world(Some("d1"));
    adopted(&mut world, "d1");
    goes(&mut world);
    serve_grid(&mut world, "other");
    let Some(Answer::Known(grids)) = &mut world.seen.grids else { panic!() };
    let unread = Unread { reason: "refused 403: no".into(), listed: Some(GridStatus::Online) };
    grids.cannot_read("h".into(), unread);
    assert_eq!(world.settled(), Decision::Rest);
    let told = in_use(world.inputs(), UID, &world.wanted.templates[UID]).unwrap();
    assert!(told.contains("grid h") && told.contains("403"), "{told}");
    serve_grid(&mut world, "other");
    begun(&mut world, OperationKind::TemplateDelete);
}
