//! What the members' answers prove, and what they do not.
//!
//! A *view* is an answer about the group, not marked stale, from an established member with its
//! recorded incarnation. Everything else that a member says about the group proves nothing.

use xsld_journal::event::{Incarnation, MemberRef, Ordinal, Step, StepKey, Survivor};
use xsld_journal::state::CacheState;

use super::Waiting;
use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::{Observation, PodFacts, Report, Shown};
use crate::xsld::view::{Answer, GroupMember, GroupView, MemberStatus, TaskStatus, TaskView};

/// A member in the needed views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Online at its present address.
    Online,
    /// Listed, but not Online, or known at another address.
    Listed,
    /// Not listed.
    No,
    /// Views are missing or differ.
    Unknown,
}

impl Listing {
    /// Listed in any way.
    pub fn is_yes(self) -> bool {
        matches!(self, Self::Online | Self::Listed)
    }
}

/// The joining member's own view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnView {
    /// A group of exactly itself.
    Alone,
    /// It names every established member.
    InGroup,
    /// Another group.
    Elsewhere,
    /// No answer that could be read.
    Silent,
}

/// The task of the current attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OurTask {
    /// It runs.
    Running,
    /// It ended well.
    Success,
    /// It ended badly.
    Failed,
    /// The list was read and holds no task that could be ours.
    None,
    /// The list was not read, or holds something that could be ours and cannot be told.
    Unread,
    /// The list was read, nothing of ours runs, and some ended task could be ours: it carries no
    /// description. How ours ended, or whether it ever came, is not known.
    Ended,
}

impl OurTask {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Running => "its task is running",
            Self::Success => "its task succeeded",
            Self::Failed => "its task failed",
            Self::None => "there is no task of ours",
            Self::Unread => "its tasks cannot be read",
            Self::Ended => "a task that may be ours has ended and cannot be told from others",
        }
    }
}

/// Name of the member at `ordinal`.
pub fn name_of(state: &CacheState, ordinal: Ordinal) -> String {
    format!("{}-{ordinal}", state.name)
}

/// The report of an established member that still is the process that the journal recorded.
pub fn established_report<'a>(
    seen: &'a Observation,
    state: &CacheState,
    ordinal: Ordinal,
) -> Option<&'a Report> {
    let member = state.members.get(&ordinal)?;
    let report = seen.reports.get(&ordinal)?;
    let pod = seen.pods.get(&ordinal)?;
    let same_claim = seen.claims.get(&ordinal).is_some_and(|claim| claim.uid == member.claim_uid);
    let same_process =
        report.incarnation == member.incarnation && pod.incarnation == member.incarnation;
    (same_claim && same_process).then_some(report)
}

/// Whether a member of a group at rest, whose process Kubernetes shows running as it was recorded,
/// did not answer a question. An answer that refuses is one, and so is another certificate.
pub fn missed_an_answer(seen: &Observation, state: &CacheState) -> bool {
    let unknown = |report: &Report| {
        report.untrusted.is_none()
            && (matches!(report.group, Answer::Unknown { .. })
                || matches!(report.tasks, Answer::Unknown { .. }))
    };
    let silent = |ordinal: &Ordinal| {
        let stays = seen.pods.get(ordinal).is_some_and(|pod| pod.running && !pod.deleting);
        stays && established_report(seen, state, *ordinal).is_some_and(unknown)
    };
    let unread = seen.grids.as_ref().is_some_and(is_unread)
        || seen.templates.as_ref().is_some_and(is_unread);
    state.operation.is_none() && (unread || state.members.keys().any(silent))
}

/// Whether the list, or anything on it, could not be read.
fn is_unread<T>(shown: &Answer<Shown<T>>) -> bool {
    match shown {
        Answer::Known(shown) => !shown.unread().is_empty(),
        Answer::Refused { .. } => false,
        Answer::Unknown { .. } => true,
    }
}

/// The view of an established member, if it has one.
pub fn view_of<'a>(
    seen: &'a Observation,
    state: &CacheState,
    ordinal: Ordinal,
) -> Option<&'a GroupView> {
    established_report(seen, state, ordinal)?.fresh_group()
}

/// The member that holds the group's configuration: the one that the views mark; without a view
/// the one that the last known copies mark, or that a recorded switch made the primary, else the
/// first established member.
pub fn primary(seen: &Observation, state: &CacheState) -> Option<Ordinal> {
    marked_primary(seen, state)
        .or_else(|| remembered_primary(seen, state))
        .or_else(|| state.promoted_primary())
        .or_else(|| state.members.keys().next().copied())
}

/// The member that the views mark as the primary. A former primary that came back may take itself
/// for one until it hears of its successor: where views differ, the word of the member that a
/// recorded switch made the primary, or that the open step makes it, counts before others.
pub fn marked_primary(seen: &Observation, state: &CacheState) -> Option<Ordinal> {
    let mark_of = |by: Ordinal| mark_in(state, view_of(seen, state, by)?);
    let promoting = state.operation.iter().flat_map(|operation| {
        let open = operation.cancel.iter().chain(&operation.step);
        open.filter_map(|open| match &open.step {
            Step::PromotePrimary { member, .. } => Some(member.ordinal),
            _ => None,
        })
    });
    let mut successors = promoting.chain(state.promoted_primary());
    let successor = successors.find(|successor| mark_of(*successor) == Some(*successor));
    successor.or_else(|| state.members.keys().find_map(|by| mark_of(*by)))
}

/// The primary that the copies from before it was lost mark.
fn remembered_primary(seen: &Observation, state: &CacheState) -> Option<Ordinal> {
    state.members.keys().find_map(|ordinal| {
        mark_in(state, established_report(seen, state, *ordinal)?.group.as_known()?)
    })
}

/// The recorded member that a view marks as the primary.
fn mark_in(state: &CacheState, view: &GroupView) -> Option<Ordinal> {
    let name = &view.primary()?.name;
    state.members.iter().find(|(_, member)| member.name == *name).map(|(ordinal, _)| *ordinal)
}

/// The needed views: the primary's and one more; two reads of the only one that can be reached.
/// None while they are missing. `without` is a member that is leaving or in question: its view is
/// not used.
pub fn needed<'a>(
    seen: &'a Observation,
    state: &CacheState,
    without: Ordinal,
) -> Option<Vec<&'a GroupView>> {
    let primary = primary(seen, state)?;
    if primary == without {
        return None;
    }
    let first = view_of(seen, state, primary)?;
    let other = state
        .members
        .keys()
        .filter(|ordinal| **ordinal != primary && **ordinal != without)
        .find_map(|ordinal| view_of(seen, state, *ordinal));
    let second = match other {
        Some(view) => view,
        None => match &established_report(seen, state, primary)?.group_again {
            Some(Answer::Known(view)) if !view.stale => view,
            _ => return None,
        },
    };
    Some(vec![first, second])
}

/// The member as the needed views list it.
pub fn listing(seen: &Observation, state: &CacheState, ordinal: Ordinal, name: &str) -> Listing {
    let Some(views) = needed(seen, state, ordinal) else { return Listing::Unknown };
    let pod = seen.pods.get(&ordinal);
    let mut told = views.iter().map(|view| listed_in(view, name, pod));
    let Some(first) = told.next() else { return Listing::Unknown };
    if told.all(|listing| listing == first) { first } else { Listing::Unknown }
}

/// The member as one view lists it, and whether that is where its pod is now.
pub fn listed_in(view: &GroupView, name: &str, pod: Option<&PodFacts>) -> Listing {
    let Some(member) = view.member(name) else { return Listing::No };
    let here = member.address.as_ref().is_none_or(|known| pod.is_some_and(|pod| pod.is_at(known)));
    if here && member.status == MemberStatus::Online { Listing::Online } else { Listing::Listed }
}

/// The member's own view of where it is.
pub fn own_view(seen: &Observation, state: &CacheState, ordinal: Ordinal, name: &str) -> OwnView {
    let Some(view) = seen.reports.get(&ordinal).and_then(Report::fresh_group) else {
        return OwnView::Silent;
    };
    if view.member(name).is_none() {
        return OwnView::Elsewhere;
    }
    if view.members.len() == 1 {
        return OwnView::Alone;
    }
    let mut established = state.members.values().filter(|member| member.name != name).peekable();
    if established.peek().is_some() && established.all(|member| view.member(&member.name).is_some())
    {
        OwnView::InGroup
    } else {
        OwnView::Elsewhere
    }
}

/// Whether the member takes itself for a member of a group, if only by what it last knew of it.
/// That proves nothing about the group; it does prove that the member cannot be joined as it is.
pub fn believes_in_a_group(seen: &Observation, ordinal: Ordinal) -> bool {
    let Some(Answer::Known(view)) = seen.reports.get(&ordinal).map(|report| &report.group) else {
        return false;
    };
    view.stale && view.members.len() > 1
}

/// The task of an attempt in the list of the member that took it.
///
/// `command` is the command that the attempt runs; `accepted` is the task id that the same process
/// told when it took the request; `earlier` are the keys of the attempts before.
pub fn our_task(
    tasks: Option<&[TaskView]>,
    key: StepKey,
    command: &str,
    accepted: Option<u64>,
    earlier: &[StepKey],
) -> OurTask {
    let Some(tasks) = tasks else { return OurTask::Unread };
    let mut maybe_ours = false;
    for task in tasks {
        let told = task.description.as_deref().and_then(crate::xsld::key_of);
        let is_ours = told == Some(key.0) || (told.is_none() && accepted == Some(task.id));
        if is_ours {
            return match task.status {
                TaskStatus::Running => OurTask::Running,
                TaskStatus::Success => OurTask::Success,
                TaskStatus::Failed => OurTask::Failed,
                TaskStatus::Unknown(_) => OurTask::Unread,
            };
        }
        if let Some(told) = told {
            let from_before = earlier.iter().any(|earlier| earlier.0 == told);
            if from_before && !task.status.is_terminal() {
                return OurTask::Unread;
            }
            continue;
        }
        // Without a readable description it could be ours, unless it tells another command.
        let could_be_ours = task.description.is_none()
            && task.command.as_deref().is_none_or(|told| told == command);
        if could_be_ours {
            if task.is_running() {
                return OurTask::Running;
            }
            if !task.status.is_terminal() {
                return OurTask::Unread;
            }
            maybe_ours = true;
        }
    }
    if maybe_ours { OurTask::Ended } else { OurTask::None }
}

/// The running task that is ours, by the same rules as [`our_task`], with its progress.
pub fn our_running_task(
    tasks: Option<&[TaskView]>,
    key: StepKey,
    accepted: Option<u64>,
) -> Option<(u64, Option<u8>)> {
    let ours = |task: &&TaskView| {
        let told = task.description.as_deref().and_then(crate::xsld::key_of);
        told == Some(key.0) || (told.is_none() && accepted == Some(task.id))
    };
    let task = tasks?.iter().filter(|task| task.is_running()).find(ours)?;
    Some((task.id, task.progress))
}

/// Whether a task runs on any member that answered, in the group or not.
pub fn task_runs_anywhere(seen: &Observation) -> bool {
    seen.any_task_running()
}

/// The member through which to act on the group: the primary when it answers, else the first
/// established one that does. Never `without`.
pub fn survivor(seen: &Observation, state: &CacheState, without: Ordinal) -> Option<Survivor> {
    let answers = |ordinal: Ordinal| {
        ordinal != without
            && view_of(seen, state, ordinal).is_some()
            && established_report(seen, state, ordinal)
                .is_some_and(|report| report.read_tasks().is_some())
    };
    let preferred = primary(seen, state).filter(|ordinal| answers(*ordinal));
    let ordinal =
        preferred.or_else(|| state.members.keys().copied().find(|ordinal| answers(*ordinal)))?;
    let member = state.members.get(&ordinal)?;
    Some(Survivor { ordinal, name: member.name.clone(), incarnation: member.incarnation.clone() })
}

/// The member at `ordinal` as it is now: its pod's process and its claim. None without a claim.
pub fn member_now(seen: &Observation, state: &CacheState, ordinal: Ordinal) -> Option<MemberRef> {
    let claim = seen.claims.get(&ordinal)?;
    Some(MemberRef {
        ordinal,
        name: name_of(state, ordinal),
        claim_uid: claim.uid.clone(),
        incarnation: seen.pods.get(&ordinal).map(|pod| pod.incarnation.clone()).unwrap_or(
            Incarnation { pod_uid: String::new(), container_id: String::new(), restarts: 0 },
        ),
    })
}

/// Why the pod of a member must not be deleted: somebody deleted its claim, which goes for good as
/// soon as the pod does.
pub fn volume_going(seen: &Observation, state: &CacheState, ordinal: Ordinal) -> Option<Waiting> {
    let claim = seen.claims.get(&ordinal).filter(|claim| claim.deleting)?;
    let (claim, pod) = (&claim.name, name_of(state, ordinal));
    let message = format!(
        "claim {claim} was deleted and its volume goes with the pod {pod}, which the operator \
         therefore does not delete: to keep what is on it, set persistentVolumeReclaimPolicy: \
         Retain on its PersistentVolume first; to give it up, delete the pod"
    );
    Some(Waiting::new(Reason::VolumeTerminating, message))
}

/// Whether the process that a step was about is another one now, or gone.
pub fn changed(seen: &Observation, ordinal: Ordinal, then: &Incarnation) -> bool {
    seen.pods.get(&ordinal).is_none_or(|pod| pod.incarnation != *then)
}

/// Whether the process is gone for good: another one now, and no container runs.
pub fn lost(seen: &Observation, ordinal: Ordinal, then: &Incarnation) -> bool {
    changed(seen, ordinal, then) && !seen.pods.get(&ordinal).is_some_and(|pod| pod.running)
}

/// A member's host name, which is also its certificate's and its address in requests.
pub fn host_of(state: &CacheState, name: &str) -> String {
    format!("{name}.{}.{}.svc", state.name, state.namespace)
}

/// One entry of a view for evidence: its status, whether it is the primary, its part in
/// replication.
fn entry_told(member: &GroupMember) -> String {
    let primary = if member.primary == Some(true) { ",primary" } else { "" };
    let part = member.replication.as_deref().filter(|part| *part != "none");
    let part = part.map(|part| format!(",{part}")).unwrap_or_default();
    format!("{}={:?}{primary}{part}", member.name, member.status)
}

/// A short form of the views for evidence.
pub fn told(seen: &Observation) -> serde_json::Value {
    let members = seen.reports.iter().map(|(ordinal, report)| {
        let view = match &report.group {
            Answer::Known(view) => serde_json::json!({
                "stale": view.stale,
                "members": view.members.iter().map(entry_told).collect::<Vec<_>>(),
            }),
            Answer::Refused { status, error } => {
                serde_json::json!({ "refused": status, "error": error })
            }
            Answer::Unknown { reason } => serde_json::json!({ "unknown": reason }),
        };
        let tasks = report.read_tasks().map(|tasks| {
            tasks.iter().map(|task| format!("{}:{:?}", task.id, task.status)).collect::<Vec<_>>()
        });
        (ordinal.to_string(), serde_json::json!({ "group": view, "tasks": tasks }))
    });
    serde_json::Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decide::testing::{World, name, view};

    #[test]
    fn a_task_without_a_description_is_ours_by_its_number_or_cannot_be_told() {
        let key = StepKey(Uuid::from_u128(1));
        let task = |status| TaskView {
            id: 7,
            command: Some("Join".to_owned()),
            description: None,
            status,
            progress: None,
            member: None,
            started: None,
            message: None,
        };
        let told = |status, command: &str, accepted| {
            our_task(Some(&[task(status)]), key, command, accepted, &[])
        };
        assert_eq!(told(TaskStatus::Failed, "Join", Some(7)), OurTask::Failed);
        assert_eq!(told(TaskStatus::Failed, "Join", Some(8)), OurTask::Ended);
        assert_eq!(told(TaskStatus::Success, "Join", None), OurTask::Ended);
        assert_eq!(told(TaskStatus::Running, "Join", None), OurTask::Running);
        assert_eq!(told(TaskStatus::Unknown("?".to_owned()), "Join", None), OurTask::Unread);
        assert_eq!(told(TaskStatus::Success, "Disjoin", None), OurTask::None);
    }

    #[test]
    fn a_member_known_at_another_address_is_not_online() {
        let mut pod = World::group(2).seen.pods[&1].clone();
        let listed = |pod: &_| listed_in(&view(&[0, 1]), &name(1), Some(pod));
        assert_eq!(listed(&pod), Listing::Online);
        pod.address = Some("fd00::1".into());
        assert_eq!(listed(&pod), Listing::Listed);
        pod.addresses = vec!["fd00::1".into(), "10.0.0.1".into()];
        assert_eq!(listed(&pod), Listing::Online, "it has one in each family");
        let mut down = view(&[0, 1]);
        down.members[1].status = MemberStatus::Unreachable;
        assert_eq!(listed_in(&down, &name(1), Some(&pod)), Listing::Listed);
    }
}
