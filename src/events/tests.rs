use uuid::Uuid;
use xsld_journal::chain;
use xsld_journal::event::{
    Cause, End, Event as Recorded, Goal, Incarnation, MemberRef, OperationKind, Receipt, Step,
    StepKey, Survivor,
};
use xsld_journal::record::{Envelope, Epoch, Record, Seq, StreamId};
use xsld_journal::state::CacheState;

use super::testing::{Api, Reply};
use super::*;

const LONG: Duration = Duration::from_secs(30);
const ID: OperationId = OperationId(Uuid::from_u128(0x0192_aaaa_bbbb_7ccc_8ddd_1234_5678_9abc));

fn regarding() -> ObjectReference {
    ObjectReference {
        api_version: Some("xsld.ibm.com/v1alpha1".to_owned()),
        kind: Some("XsldCache".to_owned()),
        name: Some("example".to_owned()),
        namespace: Some("ns".to_owned()),
        uid: Some("uid-1".to_owned()),
        ..ObjectReference::default()
    }
}

fn note() -> Note {
    Note {
        reason: "OperationStarted",
        warning: false,
        message: "scale_up to 3 members began".to_owned(),
        operation: Some(ID),
        seq: Some(17),
        action: "ScaleUp",
    }
}

fn record(seq: u64, operation: Option<OperationId>, event: Recorded) -> Record {
    Record {
        envelope: Envelope {
            format: 1,
            journal_id: Uuid::nil(),
            epoch: Epoch(1),
            seq: Seq(seq),
            stream: StreamId(Uuid::from_u128(1)),
            stream_seq: seq,
            rest: 0,
            operation,
            time_us: 0,
            type_name: event.name().to_owned(),
            previous: chain::ZERO,
        },
        event,
        hash: chain::ZERO,
    }
}

fn member(ordinal: u32) -> MemberRef {
    let pod_uid = format!("pod-{ordinal}");
    MemberRef {
        ordinal,
        name: format!("example-{ordinal}"),
        claim_uid: format!("claim-{ordinal}"),
        incarnation: Incarnation { pod_uid, container_id: "x".to_owned(), restarts: 0 },
    }
}

fn survivor() -> Survivor {
    let first = member(0);
    Survivor { ordinal: 0, name: first.name, incarnation: first.incarnation }
}

/// Records of one operation, numbered from 1, behind an open stream.
fn told(events: Vec<Recorded>) -> Vec<Note> {
    let mut all = vec![Recorded::CacheOpened { namespace: "ns".into(), name: "example".into() }];
    all.extend(events);
    let records: Vec<_> = (1..).zip(all).map(|(seq, event)| record(seq, Some(ID), event)).collect();
    notes(&records, &CacheState::default())
}

fn begun(kind: OperationKind, goal: Goal) -> Recorded {
    let cause = Cause { generation: 2, reason: "spec.size is 3".to_owned() };
    Recorded::OperationBegun { kind, goal, cause }
}

fn scale_down() -> Recorded {
    begun(OperationKind::ScaleDown, Goal::Members { size: 1, catalogs: 1 })
}

fn intended(step: Step) -> Recorded {
    let key = key(&step);
    Recorded::StepIntended { step, attempt: 1, key, evidence: "{}".to_owned() }
}

fn key(step: &Step) -> StepKey {
    StepKey::of(ID, &step.target(), 1)
}

fn succeeded(step: &Step) -> Recorded {
    Recorded::StepSucceeded {
        key: key(step),
        found_by_probe: false,
        flagged: None,
        evidence: "{}".to_owned(),
    }
}

fn reasons(notes: &[Note]) -> Vec<&'static str> {
    notes.iter().map(|note| note.reason).collect()
}

#[test]
fn an_operation_tells_its_begin_its_parking_and_its_end_with_id_and_sequence() {
    let notes = told(vec![
        scale_down(),
        Recorded::OperationParked { reason: "InDoubt".into(), message: "look at it".into() },
        Recorded::OperationResumed { evidence: "the task is gone".into() },
        Recorded::OperationEnded { end: End::Failed { reason: "refused".into() } },
    ]);
    assert_eq!(
        reasons(&notes),
        ["OperationStarted", "OperationParked", "OperationResumed", "OperationEnded"]
    );
    assert_eq!(notes.iter().map(|note| note.seq).collect::<Vec<_>>(), [2, 3, 4, 5].map(Some));
    assert!(notes.iter().all(|note| note.operation == Some(ID) && note.action == "ScaleDown"));
    assert_eq!(
        notes.iter().map(|note| note.warning).collect::<Vec<_>>(),
        [false, true, false, true]
    );
    assert_eq!(notes[0].message, "scale_down to 1 member began: spec.size is 3");
    assert_eq!(notes[3].message, "scale_down to 1 member failed: refused");
}

#[test]
fn a_destructive_step_tells_its_intent_and_its_outcome() {
    let step = Step::DisjoinMember { member: member(2), survivor: survivor() };
    let volume = Step::DeleteVolume {
        ordinal: 2,
        claim: "vol-example-2".into(),
        claim_uid: "claim-2".into(),
        receipt: Receipt::Disjoined { seq: 4 },
    };
    let notes = told(vec![
        scale_down(),
        intended(step.clone()),
        succeeded(&step),
        intended(volume.clone()),
        Recorded::StepFailed { key: key(&volume), reason: "no".into(), evidence: "{}".into() },
    ]);
    assert_eq!(
        reasons(&notes),
        ["OperationStarted", "StepIntended", "StepSucceeded", "StepIntended", "StepFailed"]
    );
    assert_eq!(notes[1].message, "about to disjoin example-2 through example-0");
    assert_eq!(notes[2].action, "DisjoinMember");
    assert_eq!(notes[4].message, "failed to delete claim vol-example-2 (claim-2): no");
    assert!(notes[4].warning);
}

#[test]
fn a_join_tells_its_outcome_and_a_harmless_step_tells_nothing() {
    let scale = Step::ScaleStatefulSet { from: 0, to: 2 };
    let join = Step::JoinMember { member: member(1), host: "h".into(), catalog: true };
    let notes = told(vec![
        begun(OperationKind::ScaleUp, Goal::Members { size: 2, catalogs: 1 }),
        intended(scale.clone()),
        succeeded(&scale),
        intended(join.clone()),
        Recorded::StepAccepted { key: key(&join), task: Some(3) },
        Recorded::StepUnknown { key: key(&join), reason: "the answer was lost".into() },
        Recorded::StepSucceeded {
            key: key(&join),
            found_by_probe: true,
            flagged: Some("the task failed and the member is in".into()),
            evidence: "{}".into(),
        },
    ]);
    assert_eq!(reasons(&notes), ["OperationStarted", "StepSucceeded"]);
    assert!(notes[1].warning, "what is odd is a warning");
    assert!(notes[1].message.contains("found by looking") && notes[1].message.contains("the task"));
}

#[test]
fn an_outcome_is_told_when_its_intent_was_appended_before() {
    let step = Step::DisjoinMember { member: member(2), survivor: survivor() };
    let mut before = CacheState::default();
    let opened = Recorded::CacheOpened { namespace: "ns".into(), name: "example".into() };
    for (seq, event) in (1..).zip([opened, scale_down(), intended(step.clone())]) {
        let record = record(seq, Some(ID), event);
        before.apply(record.stamp(), &record.event).unwrap();
    }
    for (event, reason) in [
        (succeeded(&step), "StepSucceeded"),
        (Recorded::StepVoid { key: key(&step), evidence: "{}".into() }, "StepVoid"),
        (Recorded::StepNotSent { key: key(&step), reason: "the lease".into() }, "StepNotSent"),
    ] {
        assert_eq!(reasons(&notes(&[record(4, Some(ID), event)], &before)), [reason]);
    }
}

#[test]
fn what_happened_to_members_by_itself_is_told() {
    let notes = told(vec![
        begun(OperationKind::Bootstrap, Goal::Members { size: 1, catalogs: 1 }),
        Recorded::Bootstrapped {
            member: member(0),
            address: "10.0.0.1".into(),
            evidence: "{}".into(),
        },
        Recorded::MemberLost { ordinal: 0, evidence: "{}".into() },
        Recorded::MemberAbsent {
            member: member(2),
            receipt: Receipt::NeverJoined { views: "{}".into() },
        },
        Recorded::MemberAbsent {
            member: member(3),
            receipt: Receipt::FoundAbsent { views: "{}".into() },
        },
        Recorded::VolumeRetained { ordinal: 3, claim_uid: "claim-3".into() },
    ]);
    assert_eq!(
        reasons(&notes)[1..],
        ["Bootstrapped", "MemberLost", "MemberAbsent", "MemberAbsent", "VolumeRetained"]
    );
    let warnings: Vec<_> = notes[1..].iter().map(|note| note.warning).collect();
    assert_eq!(warnings, [false, true, false, true, false]);
}

#[test]
fn bookkeeping_is_no_event() {
    let notes = told(vec![Recorded::TrustPinned {
        ordinal: 0,
        claim_uid: "claim-0".into(),
        fingerprint: "f".into(),
    }]);
    assert_eq!(notes, []);
}

#[test]
fn a_cache_that_leaves_everything_behind_says_so_and_one_that_was_deleted_does_not() {
    let closed = || Recorded::CacheClosed { reason: "nothing has it as its owner".into() };
    let kept = told(vec![closed()]);
    assert_eq!(reasons(&kept), ["CacheKept"]);
    assert!(kept[0].warning && kept[0].message.contains("make that XsldCache again"));
    let goal = || Goal::Gone { delete_volumes: false };
    let ended = |end| {
        let begun = begun(OperationKind::Delete, goal());
        told(vec![begun, Recorded::OperationEnded { end }, closed()])
    };
    assert!(!reasons(&ended(End::Succeeded)).contains(&"CacheKept"));
    let superseded = ended(End::Superseded { by: "its StatefulSet has no owner".into() });
    assert!(reasons(&superseded).contains(&"CacheKept"));
}

#[test]
fn no_evidence_gets_into_an_event() {
    let step = Step::ResetMember { member: member(1) };
    let secret = "evidence-that-stays-in-the-journal";
    let notes = told(vec![
        scale_down(),
        Recorded::StepIntended {
            attempt: 1,
            key: key(&step),
            evidence: secret.into(),
            step: step.clone(),
        },
        Recorded::StepFailed { key: key(&step), reason: "no".into(), evidence: secret.into() },
    ]);
    assert!(notes.iter().all(|note| !note.message.contains(secret)), "{notes:?}");
}

#[test]
fn the_name_follows_from_the_record_and_nothing_else() {
    let (at, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let one = event(&regarding(), &note(), "pod-a", at);
    let other = event(&regarding(), &note(), "pod-b", later);
    assert_eq!(one.metadata.name.as_deref(), Some("example.123456789abc.17"));
    assert_eq!(one.metadata.name, other.metadata.name);
    let annotations = one.metadata.annotations.unwrap();
    assert_eq!(annotations[ANNOTATION_OPERATION], ID.to_string());
    assert_eq!(annotations[ANNOTATION_SEQUENCE], "17");
}

#[test]
fn notes_without_a_record_differ_by_what_they_say_and_of_whom() {
    let plain = Note { operation: None, seq: None, ..note() };
    let other = Note { message: "another".to_owned(), ..plain.clone() };
    let anew = ObjectReference { uid: Some("uid-2".to_owned()), ..regarding() };
    let names = [name(&regarding(), &plain), name(&regarding(), &other), name(&anew, &plain)];
    assert_eq!(names[0], name(&regarding(), &plain));
    assert!(names[0] != names[1] && names[0] != names[2], "{names:?}");
    assert!(
        event(&regarding(), &plain, "pod", Timestamp::UNIX_EPOCH).metadata.annotations.is_none()
    );
}

#[test]
fn an_event_stays_within_what_the_api_server_takes() {
    let long = ObjectReference { name: Some("n".repeat(253)), ..regarding() };
    let note = Note { message: "é".repeat(2000), ..note() };
    let event = event(&long, &note, &"r".repeat(500), Timestamp::UNIX_EPOCH);
    assert!(event.metadata.name.unwrap().len() <= 253);
    assert!(event.note.unwrap().len() <= 1024);
    assert!(event.reporting_instance.unwrap().len() <= 128);
}

#[tokio::test]
async fn events_are_written_to_the_object_s_namespace_in_their_order() {
    let api = Api::start(Reply::Echo).await;
    let second = Note { seq: Some(18), warning: true, ..note() };
    publish(&api.client, &regarding(), &[note(), second], "pod-a", Timestamp::UNIX_EPOCH, LONG)
        .await;
    let asked = api.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.method == "POST"));
    assert!(
        asked[0].uri.starts_with("/apis/events.k8s.io/v1/namespaces/ns/events"),
        "{}",
        asked[0].uri
    );
    let body = &asked[0].body;
    assert_eq!(body["reason"], "OperationStarted");
    assert_eq!(body["type"], "Normal");
    assert_eq!(body["regarding"]["uid"], "uid-1");
    assert_eq!(body["reportingInstance"], "pod-a");
    assert_eq!(body["eventTime"], "1970-01-01T00:00:00.000000Z");
    assert_eq!(asked[1].body["type"], "Warning");
}

#[tokio::test]
async fn a_failure_is_not_returned_and_the_next_event_is_tried() {
    for (code, reason) in [(409, "AlreadyExists"), (403, "Forbidden")] {
        let api = Api::start(Reply::Refuse(code, reason)).await;
        let two = [note(), Note { seq: Some(18), ..note() }];
        publish(&api.client, &regarding(), &two, "pod", Timestamp::UNIX_EPOCH, LONG).await;
        assert_eq!(api.asked().len(), 2, "{code}");
    }
}

#[tokio::test]
async fn a_silent_server_holds_a_pass_up_for_one_timeout() {
    let api = Api::start(Reply::Silence).await;
    let many: Vec<_> = (0..100).map(|seq| Note { seq: Some(seq), ..note() }).collect();
    let short = Duration::from_millis(50);
    publish(&api.client, &regarding(), &many, "pod", Timestamp::UNIX_EPOCH, short).await;
    assert!(api.asked().len() <= 1);
}
