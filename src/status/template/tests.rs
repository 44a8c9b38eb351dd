//! What the status of a template promises.

use uuid::Uuid;
use xsld_journal::event::{Cause, End, Event, OperationKind};
use xsld_journal::record::Epoch;
use xsld_journal::store::StreamHead;

use super::*;
use crate::crd::{GridTemplate, GridTemplateSpec};
use crate::decide::testing::World;
use crate::status::{Problem, template as compute};
use crate::validate::Invalid;

const UID: &str = "template-uid";

struct Scene {
    object: GridTemplate,
    worlds: Vec<(String, bool, World)>,
    digest: Option<&'static str>,
    invalid: Vec<Invalid>,
    problem: Option<Problem>,
    refused: Option<&'static str>,
    waits: Option<&'static str>,
    head: u64,
}

impl Scene {
    /// Uploaded to two caches.
    fn uploaded() -> Self {
        let mut object = GridTemplate::new("t", GridTemplateSpec::default());
        object.metadata.generation = Some(2);
        let mut scene = Self {
            object,
            worlds: Vec::new(),
            digest: Some("d1"),
            invalid: vec![],
            problem: None,
            refused: None,
            waits: None,
            head: 40,
        };
        for name in ["b", "a"] {
            let mut world = World::group(1);
            world.apply(Event::TemplateAdopted {
                template_uid: UID.into(),
                name: "t".into(),
                digest: "d1".into(),
            });
            scene.worlds.push((name.into(), true, world));
        }
        scene
    }

    fn status(&self) -> GridTemplateStatus {
        let head = |seq| StreamHead { seq, stream_seq: 5, epoch: Epoch(2), hash: [1; 32] };
        let uploads: Vec<CacheUpload> = self
            .worlds
            .iter()
            .map(|(cache, selected, world)| CacheUpload {
                cache: cache.clone(),
                selected: *selected,
                state: world.state.clone().into(),
                head: Some(head(self.head)),
                refused: self.refused.map(str::to_owned),
                waits: self.waits.map(str::to_owned),
            })
            .collect();
        compute(&TemplateInputs {
            object: &self.object,
            uid: UID,
            invalid: &self.invalid,
            problem: self.problem.as_ref(),
            digest: self.digest,
            uploads: &uploads,
            journal_id: Uuid::from_u128(9),
            now: "2026-11-23T19:00:00Z".parse().unwrap(),
        })
    }

    fn told(&self, kind: Type) -> (String, String) {
        let status = self.status();
        let found = status.conditions.iter().find(|found| found.type_ == kind.as_str()).unwrap();
        (found.status.clone(), found.reason.clone())
    }
}

fn words(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_template_on_every_cache_is_ready_and_lists_them_in_order() {
    let scene = Scene::uploaded();
    let status = scene.status();
    assert_eq!(scene.told(Type::Ready), words("True", "Uploaded"));
    assert_eq!(scene.told(Type::NeedsAttention).0, "False");
    let caches: Vec<_> = status.uploads.iter().map(|upload| upload.cache.as_str()).collect();
    assert_eq!(caches, ["a", "b"]);
    assert_eq!(status.uploads[0].digest, "d1");
    assert_eq!(status.upload_count, Some(2));
    assert!(status.conditions.iter().all(|it| it.observed_generation == Some(2)));
}

#[test]
fn other_documents_are_not_ready_before_every_cache_has_them() {
    let mut scene = Scene::uploaded();
    scene.digest = Some("d2");
    assert_eq!(scene.told(Type::Ready), words("False", "WaitingForCache"));
    scene.worlds[0].2.apply(Event::OperationBegun {
        kind: OperationKind::TemplateUpload,
        goal: Goal::Template { template_uid: UID.into(), name: "t".into(), digest: "d2".into() },
        cause: Cause { generation: 2, reason: "other documents".into() },
    });
    assert_eq!(scene.told(Type::Ready), words("False", "Uploading"));
    assert_eq!(scene.told(Type::Progressing), words("True", "Uploading"));
    assert!(scene.status().operation.is_some());
}

#[test]
fn what_is_in_the_way_is_told() {
    let mut scene = Scene::uploaded();
    scene.problem = Some(Problem { reason: Reason::TemplateInvalid, message: "no XML".into() });
    scene.digest = None;
    assert_eq!(scene.told(Type::Ready), words("False", "TemplateInvalid"));
    assert_eq!(scene.told(Type::NeedsAttention), words("True", "TemplateInvalid"));
    scene.problem = Some(Problem { reason: Reason::ConfigMapMissing, message: "none".into() });
    assert_eq!(scene.told(Type::Deferred), words("True", "ConfigMapMissing"));
    assert_eq!(scene.told(Type::NeedsAttention).0, "False");
    scene.invalid = vec![Invalid { field: "spec.cacheRef".into(), rule: "no".into() }];
    assert_eq!(scene.told(Type::Ready), words("False", "SpecInvalid"));
}

#[test]
fn refusals_and_use_are_told() {
    let mut scene = Scene::uploaded();
    scene.refused = Some("refused 400: no");
    assert_eq!(scene.told(Type::Ready), words("False", "Refused"));
    assert_eq!(scene.told(Type::NeedsAttention), words("True", "Refused"));
    scene.refused = None;
    scene.waits = Some("it is in use by grid g");
    scene.object.metadata.deletion_timestamp = Some(Time("2026-11-23T19:00:00Z".parse().unwrap()));
    assert_eq!(scene.told(Type::Ready), words("False", "Deleting"));
    assert_eq!(scene.told(Type::Deferred), words("True", "TemplateInUse"));
}

#[test]
fn a_cache_that_is_not_selected_any_more_still_has_it() {
    let mut scene = Scene::uploaded();
    scene.worlds[0].1 = false;
    assert_eq!(scene.told(Type::Ready), words("False", "Deleting"));
    assert_eq!(scene.status().uploads.len(), 2);
}

#[test]
fn the_same_evidence_gives_the_same_status_whatever_else_was_recorded() {
    let mut scene = Scene::uploaded();
    let first = scene.status();
    scene.object.status = Some(first.clone());
    scene.head = 99;
    assert_eq!(scene.status(), first);
    scene.worlds[0].2.apply(Event::OperationBegun {
        kind: OperationKind::TemplateUpload,
        goal: Goal::Template { template_uid: UID.into(), name: "t".into(), digest: "d2".into() },
        cause: Cause { generation: 2, reason: "other documents".into() },
    });
    assert_eq!(scene.status().journal.unwrap().sequence, 99);
    scene.worlds[0].2.apply(Event::OperationEnded { end: End::Succeeded });
}
