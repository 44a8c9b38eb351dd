//! One look in parts: what two looks must share depends on what is asked of them.
//!
//! Everything by which a decision could be contradicted is in one of the parts: names, UIDs,
//! addresses, who is Online, tasks, claims, replicas, the process of everybody who was read, and
//! whether its task list was. Progress and times are left out: they change without meaning anything.
//! Which parts a question rests on is told by [`super::question::Question`].

use std::collections::{BTreeMap, BTreeSet};

use xsld_journal::event::{Incarnation, Ordinal, Step};

use super::{Inputs, adoption, disjoin, replication, roll, views};
use crate::manifests;
use crate::observation::{Observation, Shown};
use crate::xsld::view::{Answer, GridStatus, GridView, GroupMember, GroupView, TaskView};

/// A part of a look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The StatefulSet: its UID and its replicas.
    Set,
    /// Which pod and claim a place has, and whether they are going.
    Objects(Ordinal),
    /// The same, and what is heard from there: the process that answers, the names in its view and
    /// its tasks. A process that never answers may start and end as it will.
    Own(Ordinal),
    /// The same, and the process that is there, its address, and whether it runs.
    Process(Ordinal),
    /// What established members that answer tell of a place, whoever of them does, and who is their
    /// primary. Who is silent for a while changes nothing; who says something else does.
    Told(Ordinal),
    /// Whether they list a place, or prove that they do not: somebody who runs and is silent may keep
    /// them from that.
    Presence(Ordinal),
    /// Whether the pod of a place is ready, and whether it ever can be.
    Down(Ordinal),
    /// Who holds what of the configuration database, by those.
    Roles,
    /// The same by one member's word, be it the last that it knew.
    Marks(Ordinal),
    /// The tasks that run, on anybody who answers.
    Busy,
    /// Whether the process that the open step was sent to is another one now.
    Asked,
    /// The same of what is done aside.
    Aside,
    /// The same of the deletion of a grid that was given up.
    Unspent(String),
    /// Whose the group is, while none is recorded.
    Judgement,
    /// One grid: its fields and whether it is in error; or that it cannot be read.
    Grid(String),
    /// One template, or that it cannot be read.
    Template(String),
}

/// The parts of one look, each by the hash of what it holds. What is not there has none.
pub type Parts = BTreeMap<Part, blake3::Hash>;

/// The parts of the present look.
pub fn parts(inputs: Inputs<'_>) -> Parts {
    let seen = inputs.seen;
    let mut texts = BTreeMap::new();
    if let Some(set) = &seen.stateful_set {
        texts.insert(Part::Set, format!("{} {}", set.uid, set.replicas));
    }
    let places: BTreeSet<Ordinal> =
        seen.pods.keys().chain(seen.claims.keys()).chain(seen.reports.keys()).copied().collect();
    for ordinal in &places {
        of_place(seen, *ordinal, &mut texts);
    }
    of_group(inputs, places, &mut texts);
    texts.insert(Part::Busy, format!("{:?}", running(seen)));
    let open = [(Part::Asked, inputs.state.open_step()), (Part::Aside, inputs.state.open_cancel())];
    for (part, open) in open {
        let Some(open) = open else { continue };
        let Some((ordinal, then)) = asked(&open.step) else { continue };
        let changed = views::changed(seen, ordinal, then);
        texts.insert(part, format!("{:?} {changed}", open.key));
    }
    for (name, through) in &inputs.state.unspent {
        let changed = views::changed(seen, through.ordinal, &through.incarnation);
        texts.insert(Part::Unspent(name.clone()), format!("{through:?} {changed}"));
    }
    if !inputs.state.bootstrapped {
        texts.insert(Part::Judgement, format!("{:?}", adoption::judged(inputs)));
    }
    if let Some(Answer::Known(grids)) = &seen.grids {
        texts.extend(of_shown(grids, Part::Grid, grid_text));
    }
    if let Some(Answer::Known(templates)) = &seen.templates {
        texts.extend(of_shown(templates, Part::Template, String::clone));
    }
    texts.into_iter().map(|(part, text)| (part, blake3::hash(text.as_bytes()))).collect()
}

/// The process that a step is sent to and whose end ends its attempt.
pub(super) fn asked(step: &Step) -> Option<(Ordinal, &Incarnation)> {
    match step {
        Step::JoinMember { member, .. }
        | Step::PromotePrimary { member, .. }
        | Step::CancelTask { member, .. } => Some((member.ordinal, &member.incarnation)),
        Step::DisjoinMember { survivor, .. }
        | Step::RemoveGhostMember { survivor, .. }
        | Step::SetUpReplication { primary: survivor, .. }
        | Step::CreateGrid { through: survivor, .. }
        | Step::UpdateGrid { through: survivor, .. }
        | Step::DeleteGrid { through: survivor, .. }
        | Step::UploadTemplate { through: survivor, .. }
        | Step::DeleteTemplate { through: survivor, .. } => {
            Some((survivor.ordinal, &survivor.incarnation))
        }
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::ResetMember { .. }
        | Step::DeleteVolume { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => None,
    }
}

fn of_place(seen: &Observation, ordinal: Ordinal, texts: &mut BTreeMap<Part, String>) {
    let (pod, claim) = (seen.pods.get(&ordinal), seen.claims.get(&ordinal));
    let which = pod.map(|pod| (&pod.incarnation.pod_uid, pod.deleting));
    let objects = format!("{which:?} {:?}", claim.map(|claim| (&claim.uid, claim.deleting)));
    let heard = seen.reports.get(&ordinal).and_then(|report| {
        let view = report.group.as_known().map(|view| (&view.name, view.stale, names(view)));
        let tasks = report.read_tasks().map(tasks);
        (view.is_some() || tasks.is_some()).then_some((&report.incarnation, view, tasks))
    });
    let own = format!("{objects} {heard:?}");
    let process = pod.map(|pod| (&pod.incarnation, &pod.address, pod.running));
    texts.insert(Part::Process(ordinal), format!("{own} {process:?}"));
    let down = pod.map(|pod| (pod.ready, roll::is_hopeless(pod)));
    texts.insert(Part::Down(ordinal), format!("{down:?}"));
    texts.insert(Part::Own(ordinal), own);
    texts.insert(Part::Objects(ordinal), objects);
}

fn names(view: &GroupView) -> BTreeSet<&str> {
    view.members.iter().map(|member| member.name.as_str()).collect()
}

fn tasks(tasks: &[TaskView]) -> BTreeSet<(u64, Option<&str>, String)> {
    let told = tasks.iter().map(|task| (task.id, task.description.as_deref(), &task.status));
    told.map(|(id, description, status)| (id, description, format!("{status:?}"))).collect()
}

fn running(seen: &Observation) -> BTreeSet<(Ordinal, u64)> {
    let read = seen.reports.iter().filter_map(|(at, report)| Some((*at, report.read_tasks()?)));
    let running = |(at, tasks): (Ordinal, &[TaskView])| {
        let running = tasks.iter().filter(|task| task.is_running());
        running.map(|task| (at, task.id)).collect::<Vec<_>>()
    };
    read.flat_map(running).collect()
}

/// What the group tells of each place, and of who holds its database.
fn of_group(inputs: Inputs<'_>, mut places: BTreeSet<Ordinal>, texts: &mut BTreeMap<Part, String>) {
    let (seen, state) = (inputs.seen, inputs.state);
    let fresh: Vec<(Ordinal, &GroupView)> = state
        .members
        .keys()
        .filter_map(|by| Some((*by, views::view_of(seen, state, *by)?)))
        .collect();
    let entries: Vec<(Ordinal, BTreeMap<&str, String>)> = fresh
        .iter()
        .map(|(by, view)| {
            let entries = view.members.iter().map(|it| (it.name.as_str(), entry_text(it)));
            (*by, entries.collect())
        })
        .collect();
    let listed = entries.iter().flat_map(|(_, entries)| entries.keys());
    places.extend(listed.filter_map(|name| manifests::ordinal_of(&state.name, name)));
    places.extend(state.members.keys());
    let primary = views::primary(seen, state);
    for ordinal in places {
        let name = views::name_of(state, ordinal);
        let others = entries.iter().filter(|(by, _)| *by != ordinal);
        let told: BTreeSet<_> = others.map(|(_, entries)| entries.get(name.as_str())).collect();
        // Beside the words of all, which may hold the same while it says now this and now that.
        let first = entries.iter().find(|(by, _)| Some(*by) == primary);
        let first = first.map(|(_, entries)| entries.get(name.as_str()));
        texts.insert(Part::Told(ordinal), format!("{primary:?} {first:?} {told:?}"));
        let presence = disjoin::presence(seen, state, ordinal, &name);
        texts.insert(Part::Presence(ordinal), format!("{presence:?}"));
    }
    let roles: BTreeSet<_> = fresh.iter().map(|(_, view)| marks(view)).collect();
    texts.insert(Part::Roles, format!("{roles:?}"));
    for (ordinal, report) in &seen.reports {
        if let Some(view) = report.group.as_known() {
            let marks = (view.stale, marks(view));
            texts.insert(Part::Marks(*ordinal), format!("{marks:?}"));
        }
    }
}

fn entry_text(member: &GroupMember) -> String {
    let GroupMember { address, status, primary, replication, .. } = member;
    format!("{address:?} {status:?} {primary:?} {replication:?}")
}

fn marks(view: &GroupView) -> (Option<&str>, Option<&str>) {
    (view.primary().map(|primary| primary.name.as_str()), replication::replica_in(view))
}

/// Each thing that is shown, and which could not be read, whatever the reason.
fn of_shown<'a, T>(
    shown: &'a Shown<T>,
    part: fn(String) -> Part,
    told: impl Fn(&T) -> String + 'a,
) -> impl Iterator<Item = (Part, String)> + 'a {
    let there = shown.there().iter().map(move |(name, thing)| (part(name.clone()), told(thing)));
    let unread = shown.unread().keys().map(move |name| (part(name.clone()), "unread".to_owned()));
    there.chain(unread)
}

/// Its fields, and whether it is in error: how far it is otherwise means nothing.
fn grid_text(grid: &GridView) -> String {
    format!("{:?} {}", grid.fields, grid.status == GridStatus::Error)
}
