//! What can be wrong with a world.

use xsld_journal::event::{Event, OperationKind, Ordinal};
use xsld_journal::state::Progress;

use super::*;
use crate::decide::testing::incarnation;
use crate::observation::Growth;
use crate::xsld::view::{GridStatus, GridView, GroupMember, MemberStatus, TaskStatus, TaskView};

/// Something that is not as it should be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Silent,
    Refuses,
    Restarted,
    BackAlone,
    NoPod,
    Ending,
    CannotStart,
    VolumeLost,
    ClaimGoing,
    Ghost,
    NotListed,
    ForeignTask,
    PrimaryLost,
    Replica,
    Moved,
    SetMissing,
    SetScaled,
    GridCreated,
    GridInError,
    GrowthRefused,
    GrowthAllowed,
    AnswerLost,
    Taken,
    Parked,
    Decided,
}

/// All of them.
pub(super) const TROUBLES: [Trouble; 25] = [
    Trouble::Silent,
    Trouble::Refuses,
    Trouble::Restarted,
    Trouble::BackAlone,
    Trouble::NoPod,
    Trouble::Ending,
    Trouble::CannotStart,
    Trouble::VolumeLost,
    Trouble::ClaimGoing,
    Trouble::Ghost,
    Trouble::NotListed,
    Trouble::ForeignTask,
    Trouble::PrimaryLost,
    Trouble::Replica,
    Trouble::Moved,
    Trouble::SetMissing,
    Trouble::SetScaled,
    Trouble::GridCreated,
    Trouble::GridInError,
    Trouble::GrowthRefused,
    Trouble::GrowthAllowed,
    Trouble::AnswerLost,
    Trouble::Taken,
    Trouble::Parked,
    Trouble::Decided,
];

/// Brings a trouble into the world, for the member at this place where it is about one.
pub(super) fn upset(world: &mut World, trouble: Trouble, at: Ordinal) {
    pods(world, trouble, at);
    answers(world, trouble, at);
    views(world, trouble, at);
    objects(world, trouble, at);
    records(world, trouble, at);
}

fn pods(world: &mut World, trouble: Trouble, at: Ordinal) {
    let Some(pod) = world.seen.pods.get_mut(&at) else { return };
    match trouble {
        Trouble::Restarted => world.pod_with(at, 2),
        Trouble::BackAlone => {
            world.pod_with(at, 2);
            world.report(at, &[at]);
        }
        Trouble::NoPod => {
            world.seen.pods.remove(&at);
            world.seen.reports.remove(&at);
        }
        Trouble::Ending | Trouble::CannotStart => {
            pod.deleting = matches!(trouble, Trouble::Ending);
            (pod.running, pod.ready) = (false, false);
            pod.waiting = Some("ImagePullBackOff".into());
            world.seen.reports.remove(&at);
        }
        Trouble::VolumeLost => {
            pod.incarnation = incarnation(at, 3);
            if let Some(claim) = world.seen.claims.get_mut(&at) {
                claim.uid = format!("another-{at}");
            }
            world.report(at, &[at]);
        }
        Trouble::Moved => pod.address = Some("10.8.8.8".into()),
        _ => {}
    }
}

fn answers(world: &mut World, trouble: Trouble, at: Ordinal) {
    let Some(report) = world.seen.reports.get_mut(&at) else { return };
    match trouble {
        Trouble::Silent => {
            let silent = "silent".to_owned();
            report.group = Answer::Unknown { reason: silent.clone() };
            report.group_again = None;
            report.tasks = Answer::Unknown { reason: silent };
        }
        Trouble::Refuses => {
            report.group = Answer::Refused { status: 401, error: "no".into() };
            report.tasks = Answer::Refused { status: 401, error: "no".into() };
        }
        Trouble::ForeignTask => {
            report.tasks = Answer::Known(vec![TaskView {
                id: 9,
                command: None,
                description: Some("by hand".into()),
                status: TaskStatus::Running,
                progress: None,
                member: None,
                started: None,
                message: None,
            }]);
        }
        _ => {}
    }
}

fn views(world: &mut World, trouble: Trouble, at: Ordinal) {
    let all: Vec<Ordinal> = world.seen.reports.keys().copied().collect();
    let name = format!("c-{at}");
    match trouble {
        Trouble::Ghost => {
            let ghost = GroupMember {
                name,
                host: None,
                address: Some("10.9.9.9".into()),
                status: MemberStatus::Unreachable,
                capacity: None,
                used: None,
                catalog: Some(true),
                primary: Some(false),
                replication: None,
            };
            for by in all {
                change_view(world, by, |view| {
                    if view.member(&ghost.name).is_none() {
                        view.members.push(ghost.clone());
                    }
                });
            }
        }
        Trouble::NotListed => {
            for by in all.into_iter().filter(|by| *by != at) {
                change_view(world, by, |view| view.members.retain(|other| other.name != name));
            }
        }
        Trouble::PrimaryLost => {
            world.seen.reports.remove(&0);
            all.into_iter().for_each(|by| change_view(world, by, |view| view.stale = true));
        }
        Trouble::Replica => roles(world, 0, Some(at).filter(|at| *at > 0)),
        _ => {}
    }
}

fn objects(world: &mut World, trouble: Trouble, at: Ordinal) {
    match trouble {
        Trouble::ClaimGoing => {
            if let Some(claim) = world.seen.claims.get_mut(&at) {
                claim.deleting = true;
            }
        }
        Trouble::SetMissing => world.seen.stateful_set = None,
        Trouble::SetScaled => {
            if let Some(set) = &mut world.seen.stateful_set {
                set.replicas = at;
            }
        }
        Trouble::GridCreated | Trouble::GridInError => {
            let status = match trouble {
                Trouble::GridCreated => GridStatus::Created,
                _ => GridStatus::Error,
            };
            let grid = GridView { name: "g".into(), status, fields: BTreeMap::new() };
            if let Some(Answer::Known(grids)) = &mut world.seen.grids {
                grids.insert("g".into(), grid);
            }
            let (grid_uid, name, digest) = ("uid-g".into(), "g".into(), "digest".into());
            if !world.state.name.is_empty() && !world.state.closed {
                world.apply(Event::GridAdopted { grid_uid, name, digest });
            }
        }
        Trouble::GrowthRefused | Trouble::GrowthAllowed => {
            if let Some(claim) = world.seen.claims.get_mut(&0) {
                claim.growth = Some(match trouble {
                    Trouble::GrowthAllowed => Growth::Allowed,
                    _ => Growth::Refused { reason: "the class does not allow it".into() },
                });
            }
        }
        _ => {}
    }
}

/// What the journal may hold of an open operation.
fn records(world: &mut World, trouble: Trouble, at: Ordinal) {
    let Some(operation) = &world.state.operation else { return };
    let parked = operation.parked.is_some();
    // These are parked for a step in doubt, and for nothing else.
    let goes_on = matches!(operation.kind, OperationKind::Delete | OperationKind::StorageGrowth);
    let can_park = operation.step.is_some() || !goes_on;
    let sent = operation.step.as_ref().filter(|open| open.progress == Progress::Intended);
    let sent = sent.map(|open| open.key);
    match (trouble, sent) {
        (Trouble::AnswerLost, Some(key)) => {
            world.apply(Event::StepUnknown { key, reason: "lost".into() });
        }
        (Trouble::Taken, Some(key)) => world.apply(Event::StepAccepted { key, task: Some(1) }),
        (Trouble::Parked, _) if !parked && can_park => {
            let (reason, message) = ("InDoubt".to_owned(), "look at it".to_owned());
            world.apply(Event::OperationParked { reason, message });
        }
        (Trouble::Decided, _) if parked => {
            let word = ["retry", "done", "void", "abandon"][at as usize % 4];
            let (who, why) = ("ops".to_owned(), "test".to_owned());
            world.apply(Event::Decided { who, decision: word.to_owned(), why });
        }
        _ => {}
    }
}
