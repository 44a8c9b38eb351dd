//! Which view is told, and what is told without one.

use super::*;
use crate::crd::MemberOnline;
use crate::xsld::view::{GridStatus, GridView, TaskStatus, TaskView};
use xsld_journal::event::StepKey;

fn online(status: &XsldCacheStatus) -> Vec<MemberOnline> {
    status.member_states.iter().map(|member| member.online).collect()
}

#[test]
fn the_primary_s_view_is_told_before_any_other() {
    let mut scene = Scene::group(3);
    scene.world.report(1, &[0, 1]);
    let status = scene.status();
    assert_eq!(status.members, Some(3));
    assert_eq!(told(&status, Type::GroupReachable).2, "the group answers through c-0");
    assert_eq!(status.primary.as_deref(), Some("c-0"));
    scene.world.seen.reports.remove(&0);
    assert_eq!(scene.status().members, Some(2), "then the first other one's");
}

#[test]
fn a_process_that_the_journal_has_not_recorded_tells_nothing() {
    let mut scene = Scene::group(2);
    scene.world.pod_with(0, 2);
    scene.world.report(0, &[0]);
    let status = scene.status();
    assert_eq!(status.members, Some(2), "c-0 says that it is alone and is another process now");
    assert_eq!(told(&status, Type::GroupReachable).2, "the group answers through c-1");
}

#[test]
fn in_a_former_copy_only_who_answers_is_online() {
    let mut scene = Scene::group(4);
    scene.views(|view| view.stale = true);
    scene.world.seen.reports.remove(&0);
    scene.world.seen.reports.remove(&2);
    scene.pod(3).running = false;
    scene.world.seen.reports.remove(&3);
    let status = scene.status();
    let expected =
        [MemberOnline::False, MemberOnline::True, MemberOnline::Unknown, MemberOnline::False];
    assert_eq!(online(&status), expected, "the primary does not answer, so it is not online");
    assert_eq!((status.members, status.online), (Some(4), Some(1)));
    let (truth, reason, message) = told(&status, Type::Degraded);
    assert_eq!((&*truth, &*reason), ("True", "MemberUnreachable"));
    assert!(message.contains("c-0") && message.contains("c-1"), "{message}");
}

#[test]
fn without_a_view_nothing_is_called_healthy() {
    let mut scene = Scene::group(2);
    scene.published();
    scene.world.seen.reports.clear();
    let status = scene.status();
    assert_eq!((status.members, status.online), (Some(2), None));
    assert!(online(&status).iter().all(|online| *online == MemberOnline::Unknown));
    assert_eq!(told(&status, Type::GroupReachable).0, "False");
    for kind in [Type::Ready, Type::MembersJoined, Type::Degraded] {
        let (truth, reason, message) = told(&status, kind);
        assert_eq!((&*truth, &*reason), ("Unknown", "GroupUnreachable"), "{kind:?}");
        assert!(message.contains("c-0, c-1"), "{message}");
    }
    scene.blind = true;
    let status = scene.status();
    for kind in [Type::Ready, Type::GroupReachable, Type::Degraded, Type::Progressing] {
        let (truth, reason, _) = told(&status, kind);
        assert_eq!((&*truth, &*reason), ("Unknown", "NotObserved"), "{kind:?}");
    }
    assert_eq!((status.online, status.pending_tasks, status.grid_count), (None, None, None));
}

#[test]
fn without_a_view_a_pod_that_is_away_is_known_to_be_away() {
    let mut scene = Scene::group(2);
    scene.world.seen.reports.clear();
    scene.world.seen.pods.remove(&0);
    assert_eq!(scene.told(Type::Ready).1, "WaitingForPods");
    assert_eq!(scene.told(Type::Degraded).0, "True");
    assert_eq!(scene.status().online, None, "c-1 may be");
    scene.world.seen.pods.clear();
    assert_eq!(scene.status().online, Some(0));
}

#[test]
fn a_cache_that_is_nearly_gone_is_not_called_unreachable() {
    let mut scene = Scene::group(2);
    scene.deleting();
    scene.world.state.members.clear();
    scene.world.seen.reports.clear();
    scene.world.seen.pods.clear();
    let status = scene.status();
    assert_eq!((status.members, status.online, status.member_states.len()), (Some(0), Some(0), 0));
    for kind in [
        Type::Ready,
        Type::MembersJoined,
        Type::GroupReachable,
        Type::Degraded,
        Type::ReplicationReady,
    ] {
        let (truth, reason, _) = told(&status, kind);
        assert_eq!((&*truth, &*reason), ("False", "Deleting"), "{kind:?}");
    }
}

#[test]
fn members_that_were_not_asked_are_not_called_unreachable() {
    let mut scene = Scene::group(2);
    scene.world.seen.reports.clear();
    scene.problem(Reason::SecretMissing);
    let (truth, reason, message) = scene.told(Type::GroupReachable);
    assert_eq!((&*truth, &*reason), ("Unknown", "NotObserved"));
    assert!(message.contains("it is in the way"), "{message}");
}

#[test]
fn refused_credentials_and_changed_certificates_are_told_as_such() {
    let mut scene = Scene::group(2);
    for report in scene.world.seen.reports.values_mut() {
        report.group = Answer::Refused { status: 401, error: "no".into() };
    }
    assert_eq!(scene.told(Type::GroupReachable).1, "CredentialsInvalid");
    for report in scene.world.seen.reports.values_mut() {
        report.group = Answer::Unknown { reason: "the certificate".into() };
        report.untrusted = Some("f".into());
    }
    let (truth, reason, message) = scene.told(Type::GroupReachable);
    assert_eq!((&*truth, &*reason), ("False", "CertificateChanged"));
    assert!(message.contains("c-0, c-1"), "{message}");
    for report in scene.world.seen.reports.values_mut() {
        report.not_signed = true;
    }
    for kind in [Type::GroupReachable, Type::Degraded] {
        let (_, reason, message) = scene.told(kind);
        assert_eq!(reason, "CertificateUntrusted");
        assert!(message.contains("spec.tls.caSecretRef"), "{message}");
    }
}

#[test]
fn a_cache_that_is_being_made_has_no_members_and_is_not_degraded() {
    let mut scene = Scene::new(2);
    let status = scene.status();
    assert_eq!((status.members, status.online), (Some(0), Some(0)));
    for (kind, truth) in [
        (Type::Ready, "False"),
        (Type::Degraded, "False"),
        (Type::MembersJoined, "False"),
        (Type::GroupReachable, "False"),
    ] {
        let (told, reason, _) = told(&status, kind);
        assert_eq!((&*told, &*reason), (truth, "Bootstrapping"), "{kind:?}");
    }
    let names: Vec<_> = status.member_states.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["c-0", "c-1"]);
    // A StatefulSet that the journal has never seen may carry a whole group.
    scene.world.set_replicas(2);
    let status = scene.status();
    assert_eq!((status.members, status.online), (None, None));
    assert_eq!(told(&status, Type::Ready).0, "Unknown");
    assert_eq!(told(&status, Type::GroupReachable).1, "Rebuilding");
}

#[test]
fn a_member_that_is_listed_before_its_join_is_over_has_not_joined() {
    let mut scene = Scene::group(2);
    scene.object.spec.size = 3;
    scene.begin(OperationKind::ScaleUp, 3);
    scene.world.pod_up(2);
    let member = scene.world.member(2);
    scene.world.intend(Step::JoinMember { member, host: "h".into(), catalog: true });
    scene.world.everybody_lists(&[0, 1, 2]);
    let status = scene.status();
    let (truth, reason, message) = told(&status, Type::MembersJoined);
    assert_eq!((&*truth, &*reason, &*message), ("False", "Joining", "not in the group yet: c-2"));
    assert_eq!(told(&status, Type::Degraded).0, "False", "what grows is not degraded");
    assert_eq!(told(&status, Type::Progressing).1, "Joining");
}

#[test]
fn replicas_are_not_judged_by_what_was_seen_before_they_were_set() {
    let mut scene = Scene::group(3);
    scene.world.set_replicas(2);
    assert_eq!(scene.told(Type::Degraded).1, "ReplicasChanged");
    scene.decision = None;
    assert_eq!(scene.told(Type::Degraded).0, "False");
}

#[test]
fn a_member_that_is_on_its_way_out_degrades_nothing() {
    let mut scene = Scene::group(3);
    scene.object.spec.size = 2;
    scene.begin(OperationKind::ScaleDown, 2);
    let (member, survivor) = (scene.world.member(2), scene.world.survivor(0));
    scene.world.intend(Step::DisjoinMember { member, survivor });
    scene.views(|view| member_offline(view, 2));
    assert_eq!(scene.told(Type::Degraded).0, "False");
    // Once out, it is a group of its own while the others make sure.
    scene.world.everybody_lists(&[0, 1]);
    scene.world.report(2, &[2]);
    assert_eq!(scene.told(Type::Degraded).0, "False");
    scene.world.everybody_lists(&[0, 1, 2]);
    assert_eq!(scene.told(Type::MembersJoined).1, "Disjoining");
}

#[test]
fn a_running_task_is_counted_once() {
    let mut scene = Scene::group(3);
    assert_eq!(scene.status().pending_tasks, Some(0));
    let key = StepKey(Uuid::from_u128(5));
    scene.world.task(0, key, TaskStatus::Running);
    scene.world.task(1, key, TaskStatus::Running);
    scene.world.task(2, StepKey(Uuid::from_u128(6)), TaskStatus::Success);
    assert_eq!(scene.status().pending_tasks, Some(1), "one key is one task");
    let plain = |id| TaskView {
        id,
        command: None,
        description: None,
        status: TaskStatus::Running,
        progress: None,
        member: None,
        started: None,
        message: None,
    };
    for report in scene.world.seen.reports.values_mut() {
        report.tasks = Answer::Known(vec![plain(1)]);
    }
    assert_eq!(scene.status().pending_tasks, Some(3), "ids are each member's own");
    for report in scene.world.seen.reports.values_mut() {
        report.tasks = Answer::Unknown { reason: "lost".into() };
    }
    assert_eq!(scene.status().pending_tasks, None);
}

#[test]
fn grids_are_named_in_order_and_all_of_them_counted() {
    let mut scene = Scene::group(1);
    assert_eq!((scene.status().grids, scene.status().grid_count), (vec![], None));
    let grid = |at: usize| {
        let name = format!("g{at:03}");
        let status = GridStatus::Online;
        (name.clone(), GridView { name, status, fields: BTreeMap::new() })
    };
    scene.world.seen.grids = Some(Answer::Known((0..70).rev().map(grid).collect()));
    let status = scene.status();
    assert_eq!((status.grids.len(), status.grid_count), (64, Some(70)));
    assert_eq!(status.grids[..2], ["g000", "g001"]);
}

#[test]
fn the_replica_and_the_catalogs_are_told_from_the_view() {
    let mut scene = Scene::group(3);
    scene.views(|view| {
        view.members[1].replication = Some("slave".into());
        view.members[2].catalog = Some(false);
    });
    let status = scene.status();
    assert_eq!((status.replica.as_deref(), status.catalogs), (Some("c-1"), Some(2)));
    assert_eq!(told(&status, Type::ReplicationReady).1, "Replicating");
    assert!(told(&status, Type::Deferred).2.ends_with("c-2"), "{status:?}");
}

#[test]
fn the_image_is_told_with_the_pods_that_have_it() {
    let mut scene = Scene::group(3);
    let updated = |scene: &Scene| scene.status().image.unwrap().updated;
    assert_eq!(updated(&scene), Some(3));
    scene.target = "image:2";
    scene.world.wanted.template.0 = "d2".into();
    assert_eq!(updated(&scene), Some(0));
    scene.world.seen.pods.get_mut(&2).unwrap().template = Some("d2".into());
    assert_eq!(updated(&scene), Some(1), "a pod tells what it was made from");
    let message = scene.told(Type::Ready).2;
    assert!(message.contains("image:1") && message.contains("image:2"), "{message}");
    scene.blind = true;
    assert_eq!(updated(&scene), None);
}

#[test]
fn replication_that_is_not_set_up_is_plainly_said() {
    let mut scene = Scene::group(3);
    assert!(scene.told(Type::ReplicationReady).2.contains("has no replica yet"));
    scene.object.spec.replication.mode = crate::crd::ReplicationMode::Off.into();
    assert!(scene.told(Type::ReplicationReady).2.contains("mode is Off"));
    assert!(Scene::group(1).told(Type::ReplicationReady).2.contains("one member"));
}

#[test]
fn a_listed_name_of_nobody_is_shown_and_not_wanted() {
    let mut scene = Scene::group(2);
    scene.views(|group| {
        let mut other = view(&[0]).members.remove(0);
        other.name = "stranger".into();
        other.primary = None;
        group.members.push(other);
    });
    let status = scene.status();
    assert_eq!(status.members, Some(3));
    assert_eq!(status.member_states.last().unwrap().name, "stranger");
    assert!(told(&status, Type::MembersJoined).2.contains("not wanted: stranger"));
}

#[test]
fn a_journal_that_was_begun_anew_after_a_loss_says_so_and_the_cache_is_ready() {
    let mut scene = Scene::group(2);
    let gap = Gap { old_journal: Uuid::from_u128(7), found_seq: 3, anchor_seq: 9 };
    scene.gap = Some(gap);
    let (truth, reason, message) = scene.told(Type::JournalHealthy);
    assert_eq!((&*truth, &*reason), ("True", "JournalGap"));
    assert!(message.contains(&Uuid::from_u128(7).to_string()), "{message}");
    assert_eq!(scene.told(Type::Ready).0, "True");
}

#[test]
fn a_refused_object_keeps_ready_from_true_and_hides_nothing_of_the_group() {
    let mut scene = Scene::group(2);
    scene.problem(Reason::WriteRefused);
    let ready = scene.told(Type::Ready);
    assert_eq!((&*ready.0, &*ready.1, &*ready.2), ("False", "WriteRefused", "it is in the way"));
    assert_eq!(scene.told(Type::NeedsAttention).1, "WriteRefused");
    assert_eq!(scene.told(Type::GroupReachable).0, "True");
    // Nobody answers any more: that is told beside it, and is not laid to the refusal.
    scene.world.seen.reports.clear();
    let status = cache(&CacheInputs { asked: true, ..scene.inputs() });
    let reachable = told(&status, Type::GroupReachable);
    assert_eq!((&*reachable.0, &*reachable.1), ("False", "GroupUnreachable"));
}

#[test]
fn a_world_that_cannot_be_read_is_unknown_with_its_reason() {
    let mut scene = Scene::group(2);
    scene.published();
    scene.problem(Reason::ReadRefused);
    scene.blind = true;
    for kind in [Type::Ready, Type::Degraded, Type::MembersJoined, Type::GroupReachable] {
        let (truth, reason, message) = scene.told(kind);
        assert_eq!((&*truth, &*reason), ("Unknown", "ReadRefused"), "{kind:?}");
        assert!(message.contains("it is in the way"), "{message}");
    }
    assert_eq!(scene.told(Type::NeedsAttention).1, "ReadRefused");
}

#[test]
fn a_deletion_that_is_refused_says_so() {
    let mut scene = Scene::group(2);
    scene.deleting();
    scene.problem(Reason::WriteRefused);
    let ready = scene.told(Type::Ready);
    assert_eq!((&*ready.1, &*ready.2), ("Deleting", "it is in the way"));
}

#[test]
fn a_claim_that_somebody_deleted_is_told_at_once_with_what_to_do() {
    let mut scene = Scene::group(2);
    scene.world.seen.claims.get_mut(&1).unwrap().deleting = true;
    for kind in [Type::Degraded, Type::NeedsAttention] {
        let (truth, reason, message) = scene.told(kind);
        assert_eq!((truth.as_str(), reason.as_str()), ("True", "VolumeTerminating"), "{kind:?}");
        assert!(message.contains("vol-c-1") && message.contains("Retain"), "{message}");
    }
    assert_eq!(scene.told(Type::Ready).0, "False");
    // A volume that the operator itself takes away is no finding.
    scene.deleting();
    assert_eq!(scene.told(Type::NeedsAttention).0, "False");
}

#[test]
fn what_forbids_a_drain_is_told_where_an_operation_stands_still() {
    let mut scene = Scene::group(2);
    scene.object.spec.size = 3;
    scene.begin(OperationKind::ScaleUp, 3);
    let why = "grid g is not placed on all members";
    let telling = |scene: &Scene, kind| {
        let no_evictions = Some(why.to_owned());
        told(&cache(&CacheInputs { no_evictions, ..scene.inputs() }), kind).2
    };
    scene.object.spec.paused = true;
    let message = telling(&scene, Type::Deferred);
    assert!(message.ends_with(&format!("may be evicted meanwhile, because {why}")), "{message}");
    assert!(!scene.told(Type::Deferred).2.contains("evicted"));
    scene.object.spec.paused = false;
    let (reason, parked) = ("StepFailed".into(), "five times".into());
    scene.world.apply(Event::OperationParked { reason, message: parked });
    let message = telling(&scene, Type::NeedsAttention);
    assert!(message.contains("five times") && message.ends_with(why), "{message}");
}
