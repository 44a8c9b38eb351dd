//! What the members of the group tell after a step, and when they come up or come back.

use xsld_journal::event::{MemberRef, Ordinal};
use xsld_journal::state::{JoinHistory, OpenStep, Progress};

use super::super::story::Story;
use super::Ideal;
use crate::decide::views;
use crate::observation::Report;
use crate::xsld::view::{Answer, GroupMember, GroupView, MemberStatus, TaskStatus};

/// The words for the parts in replication, whatever words the profile has for them.
const MASTER: &str = "master";
const REPLICA: &str = "slave";
const NO_PART: &str = "none";

impl Ideal<'_> {
    /// Keeps the present view of the group: a member that comes back knows it.
    pub(super) fn remember(&mut self) {
        if let Some(view) = self.present_view() {
            self.remembered = Some(view);
        }
    }

    /// The group as its primary, or else any recorded member, tells it now.
    fn present_view(&self) -> Option<GroupView> {
        let (seen, state) = (&self.seen, &self.state);
        let primary = views::primary(seen, state);
        let mut all = primary.into_iter().chain(state.members.keys().copied());
        all.find_map(|ordinal| views::view_of(seen, state, ordinal)).cloned()
    }

    /// Changes what the recorded members tell of the group.
    fn tell(&mut self, change: impl Fn(&mut GroupView)) {
        let (seen, members) = (&mut self.seen, &self.state.members);
        for (ordinal, report) in &mut seen.reports {
            if !members.contains_key(ordinal) {
                continue;
            }
            for answer in std::iter::once(&mut report.group).chain(&mut report.group_again) {
                if let Answer::Known(view) = answer {
                    change(view);
                    view.members.sort_by(|one, other| one.name.cmp(&other.name));
                }
            }
            // A second look shows the same. It is taken only where the others are too few.
            if matches!(report.group, Answer::Known(_)) {
                report.group_again = Some(report.group.clone());
            }
        }
    }

    /// The task of a step is over, and it did what it was to do.
    pub(super) fn end_task(&mut self, open: &OpenStep, on: Ordinal) {
        let accepted = match open.progress {
            Progress::Accepted { task } => task,
            Progress::Intended | Progress::Unknown { .. } => None,
        };
        let Some(report) = self.seen.reports.get_mut(&on) else { return };
        let Answer::Known(tasks) = &mut report.tasks else { return };
        for task in tasks.iter_mut().filter(|task| task.is_running()) {
            let ours = match (task.key(), &task.description) {
                (Some(key), _) => key == open.key.0,
                (None, described) => accepted == Some(task.id) || described.is_none(),
            };
            if ours {
                task.status = TaskStatus::Success;
            }
        }
    }

    /// A cancelled task ends without its effect.
    pub(super) fn cancel(&mut self, on: Ordinal, id: u64) {
        let Some(report) = self.seen.reports.get_mut(&on) else { return };
        let Answer::Known(tasks) = &mut report.tasks else { return };
        for task in tasks.iter_mut().filter(|task| task.id == id && task.is_running()) {
            task.status = TaskStatus::Failed;
        }
    }

    /// Everybody lists the member as Online at its present address, and it lists everybody.
    pub(super) fn join(&mut self, member: &MemberRef, catalog: bool) {
        let address = self.address_of(member.ordinal);
        let like = self.present_view().and_then(|view| view.members.into_iter().next());
        let entry = GroupMember {
            name: member.name.clone(),
            host: Some(views::host_of(&self.state, &member.name)),
            address,
            status: MemberStatus::Online,
            capacity: like.as_ref().and_then(|other| other.capacity),
            used: like.as_ref().and_then(|other| other.used).map(|_| 0),
            catalog: Some(catalog),
            primary: Some(false),
            replication: like.and_then(|other| other.replication).map(|_| NO_PART.to_owned()),
        };
        self.tell(|view| {
            view.members.retain(|other| other.name != entry.name);
            view.members.push(entry.clone());
        });
        if let Some(view) = self.present_view() {
            self.answer(member.ordinal, view);
        }
    }

    /// Nobody lists the member any more, and it is alone.
    pub(super) fn leave(&mut self, member: &MemberRef) {
        self.tell(|view| {
            let left = view.member(&member.name).and_then(|left| left.replication.clone());
            view.members.retain(|other| other.name != member.name);
            if left.as_deref() == Some(REPLICA) {
                end_replication(view);
            }
        });
        let answers = |report: &Report| matches!(report.group, Answer::Known(_));
        if self.seen.reports.get(&member.ordinal).is_some_and(answers) {
            let alone = self.alone(member.ordinal);
            self.answer(member.ordinal, alone);
        }
    }

    /// The primary's database is replicated to the member.
    pub(super) fn replicate(&mut self, primary: &str, replica: &str) {
        self.tell(|view| {
            for member in &mut view.members {
                let part = match member.name.as_str() {
                    name if name == primary => MASTER,
                    name if name == replica => REPLICA,
                    _ => NO_PART,
                };
                member.replication = Some(part.to_owned());
            }
        });
    }

    /// The member is the primary, everybody hears of it, and replication ends with the former one's
    /// time.
    pub(super) fn promote(&mut self, member: &MemberRef) {
        self.tell(|view| {
            view.stale = false;
            for other in &mut view.members {
                other.primary = Some(other.name == member.name);
            }
            end_replication(view);
        });
    }

    /// Members whose pods run and that do not answer yet: a new one comes up alone, one that was
    /// restarted comes back into its group. One at a time, because each is recorded before the next.
    /// False when none does.
    pub(super) fn ripen_members(&mut self, story: &mut Story) -> bool {
        if !self.speaks() {
            return false;
        }
        self.not_told = None;
        let primary = views::primary(&self.seen, &self.state);
        let all: Vec<Ordinal> = self.seen.pods.keys().copied().collect();
        let mut in_order = primary.into_iter().chain(all);
        in_order.any(|ordinal| self.is_silent(ordinal) && self.come_up(ordinal, story))
    }

    /// Whether the member's container runs and it has not answered anything.
    fn is_silent(&self, ordinal: Ordinal) -> bool {
        let Some(pod) = self.seen.pods.get(&ordinal) else { return false };
        let up = pod.running && pod.address.is_some() && !pod.deleting;
        let answered = self.seen.reports.get(&ordinal).is_some_and(|report| {
            report.untrusted.is_some()
                || matches!(report.group, Answer::Known(_))
                || matches!(report.group, Answer::Refused { status: 401 | 403, .. })
        });
        up && !answered
    }

    /// False when nobody can tell what it would say.
    fn come_up(&mut self, ordinal: Ordinal, story: &mut Story) -> bool {
        let claim = self.seen.claims.get(&ordinal).filter(|claim| !claim.deleting);
        let Some(claim) = claim.cloned() else { return false };
        let name = views::name_of(&self.state, ordinal);
        let real = self.is_real_pod(ordinal);
        let recorded = self.state.members.get(&ordinal);
        if let Some(member) = recorded.filter(|member| member.claim_uid == claim.uid) {
            let incarnation = self.seen.pods.get(&ordinal).map(|pod| &pod.incarnation);
            if incarnation == Some(&member.incarnation) {
                // The very process that the journal knows: it may be silent for any reason.
                return false;
            }
            let Some(view) = self.view_on_return(ordinal, &name) else { return false };
            self.come_back(ordinal, &name, view);
            if real {
                story.assume(format!("{name}, which was restarted, comes back into the group"));
            }
            return true;
        }
        if claim.older_than_cache && !self.state.bootstrapped {
            let why = "is older than the cache: what its member tells is seen once it has started";
            self.not_told = Some(format!("claim {} {why}", claim.name));
            return false;
        }
        if self.state.joins.get(&claim.uid).is_some_and(|join| *join != JoinHistory::Joined) {
            self.not_told =
                Some(format!("{name} was asked to join before and does not answer just now"));
            return false;
        }
        let alone = self.alone(ordinal);
        self.answer(ordinal, alone);
        if real {
            story.assume(format!("{name}, which is starting, answers and is in no group"));
        }
        true
    }

    /// What a member that was restarted knows of its group: what the others tell; of the primary,
    /// and without others, what was last known.
    fn view_on_return(&self, ordinal: Ordinal, name: &str) -> Option<GroupView> {
        if let Some(view) = self.present_view() {
            return view.member(name).is_some().then_some(view);
        }
        if views::primary(&self.seen, &self.state) != Some(ordinal) {
            return None;
        }
        let mut copies = self.state.members.keys().filter_map(|other| {
            views::established_report(&self.seen, &self.state, *other)?.group.as_known()
        });
        let known = copies.next().cloned().or_else(|| self.remembered.clone());
        Some(known.unwrap_or_else(|| self.recorded_view(ordinal)))
    }

    /// The group as the journal knows it.
    fn recorded_view(&self, primary: Ordinal) -> GroupView {
        let members = self.state.members.iter().map(|(ordinal, member)| GroupMember {
            catalog: Some(member.catalog),
            primary: Some(*ordinal == primary),
            replication: None,
            ..entry(&member.name, Some(member.address.clone()))
        });
        let mut members: Vec<_> = members.collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        GroupView { name: String::new(), members, stale: false }
    }

    fn come_back(&mut self, ordinal: Ordinal, name: &str, mut view: GroupView) {
        let address = self.address_of(ordinal);
        let back = |view: &mut GroupView| {
            for member in view.members.iter_mut().filter(|member| member.name == name) {
                member.status = MemberStatus::Online;
                member.address.clone_from(&address);
            }
            view.stale = false;
        };
        back(&mut view);
        self.tell(back);
        self.answer(ordinal, view);
    }

    fn alone(&self, ordinal: Ordinal) -> GroupView {
        let name = views::name_of(&self.state, ordinal);
        let own = entry(&name, self.address_of(ordinal));
        GroupView { name: String::new(), members: vec![own], stale: false }
    }

    fn address_of(&self, ordinal: Ordinal) -> Option<String> {
        self.seen.pods.get(&ordinal).and_then(|pod| pod.address.clone())
    }

    /// The member answers with this view of its group, and as before for its tasks.
    fn answer(&mut self, ordinal: Ordinal, view: GroupView) {
        let Some(pod) = self.seen.pods.get(&ordinal) else { return };
        let former = self.seen.reports.get(&ordinal);
        let tasks = former.and_then(Report::read_tasks).map(<[_]>::to_vec).unwrap_or_default();
        let fingerprint = former.and_then(|report| report.fingerprint.clone());
        let takes_former = former.is_some_and(|report| report.takes_former);
        let report = Report {
            incarnation: pod.incarnation.clone(),
            group: Answer::Known(view.clone()),
            group_again: Some(Answer::Known(view)),
            tasks: Answer::Known(tasks),
            lists_grids: Some(false),
            fingerprint,
            untrusted: None,
            not_signed: false,
            takes_former,
        };
        self.seen.reports.insert(ordinal, report);
    }
}

/// A member that serves, alone.
fn entry(name: &str, address: Option<String>) -> GroupMember {
    GroupMember {
        name: name.to_owned(),
        host: None,
        address,
        status: MemberStatus::Online,
        capacity: None,
        used: None,
        catalog: Some(true),
        primary: Some(true),
        replication: Some(NO_PART.to_owned()),
    }
}

/// Nobody holds a replica any more, where that is told at all.
fn end_replication(view: &mut GroupView) {
    for member in view.members.iter_mut().filter(|member| member.replication.is_some()) {
        member.replication = Some(NO_PART.to_owned());
    }
}
