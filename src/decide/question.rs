//! What is asked of two looks a while apart, and on which parts of them the answer rests.
//!
//! Two equal looks prove something only where they are equal in everything that could contradict it,
//! and nothing else need be equal: a pod that crashes again and again, or a grid that comes and goes,
//! keeps nobody in doubt who is asked about something else.
//!
//! A *view* counts here only while its member is the same process that answered all the time, and what
//! the members tell of the place in question must have been the same all the time, whoever of them
//! told it: so a member that said something else meanwhile, and is silent now, has not been forgotten.

use std::time::Duration;

use xsld_journal::event::{Incarnation, MemberRef, Ordinal, Survivor};

use super::parts::Part;
use super::views::{self, listed_in};
use super::{Inputs, disjoin};
use crate::xsld::view::GroupView;

/// A question to two looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'a> {
    /// Whether a request can still be on its way, or it is time for the next attempt: nothing that is
    /// seen says anything about that. What counts is that nothing was sent since.
    Elapsed,
    /// Whether a write to the StatefulSet was had. It rests on the StatefulSet.
    Set,
    /// Whether a write to the pod or claim of a place was had. It rests on which they are: what runs
    /// in the pod says nothing about that.
    Objects(Ordinal),
    /// Whether a group is at rest in which something new is begun that is not urgent: on that no pod and
    /// no claim comes or goes.
    AllObjects,
    /// Whether a pod that is down stays so: on its process, and on whether it is ready or ever can be.
    Down(Ordinal),
    /// What became of the join of this place: on whether its process is the one that was asked, on
    /// what is heard from it, and on the [views](Self::Listed) of it.
    Join(Ordinal),
    /// What became of a removal: on whether the views list the one that leaves, which need not be
    /// reachable itself; on the member that was asked, or from its end on only on what is heard from its place;
    /// and, unless its task has told its end, on the tasks that run, for one of them could be ours.
    Removal {
        /// Who leaves.
        member: Ordinal,
        /// Who was asked.
        survivor: &'a Survivor,
        /// Whether the task has told its end.
        ended: bool,
    },
    /// How the group lists a place: on the primary's view and on one more, and on what all tell of it.
    /// Where only one member answers, on its view alone, which was read twice.
    Listed(Ordinal),
    /// What became of a task that is cancelled: on the process that runs it, or on how long that has
    /// been another one, however often it dies again.
    Cancelled(&'a MemberRef),
    /// Whether an entry is to go, or a member or a place without one: on the views, on the tasks that
    /// run, and on what is heard from there, for somebody may stand behind it.
    Entry(Ordinal),
    /// Whether a place may be wiped, or is a member: on the views, on the tasks that run, and on its
    /// process.
    Place(Ordinal),
    /// Who is the primary and who holds the replica: on what the members tell of that and on the tasks
    /// that run; of the members on the primary and one more.
    Roles,
    /// What became of a change of these, as far as it was asked of this member: on its process, on its
    /// own word, and on that of all others.
    RoleAsked(Ordinal),
    /// Whether these members may be parted from their group: on everybody who ever had a pod or a claim.
    Everybody,
    /// Whose a group is that nobody recorded: on what follows from all the words, on everybody whom it
    /// lists, on the StatefulSet, and on the tasks that run. A pod that nobody lists may come and go.
    Adoption(&'a [Ordinal]),
    /// How a grid is: on that grid.
    Grid(&'a str),
    /// Whether the entries of a grid in error are lost, so that it may be made again without them, or be
    /// left out: on that grid, on every member that may still hold some, on what is told of anybody, and on
    /// the tasks that run. A member that has just come back may bring the grid back with it.
    Holders(&'a str),
    /// Whether the deletion of a grid that was given up can still be carried out: on that grid and on
    /// the member that was asked, until it is another process.
    Unspent(&'a str, &'a Survivor),
    /// How a template is: on that template.
    Template(&'a str),
    /// What became of a request about a grid: on that grid, on the tasks that run, and on the member
    /// that was asked, until it is another process: nothing of ours comes from that one.
    GridAsked(&'a str, &'a Survivor),
    /// The same about a template.
    TemplateAsked(&'a str, &'a Survivor),
    /// Whether the next member may be rolled: on every member and what is told of anybody, on the
    /// StatefulSet, on the tasks that run, and on the grids that the roll does not leave out.
    Roll,
}

impl Question<'_> {
    /// Whether two looks so far apart, and all between them, are equal in what this rests on.
    pub(super) fn is_settled(self, inputs: Inputs<'_>, span: Duration) -> bool {
        inputs.watch.has_looked() && self.equal_for(inputs) >= span
    }

    /// For how long the looks have been equal in what this rests on.
    pub(super) fn equal_for(self, inputs: Inputs<'_>) -> Duration {
        let watch = inputs.watch;
        let of = |parts: &[Part]| {
            parts.iter().map(|part| watch.equal_for(part)).min().unwrap_or_else(|| watch.elapsed())
        };
        match self {
            Self::Elapsed => watch.elapsed(),
            Self::Set => of(&[Part::Set]),
            Self::Objects(ordinal) => of(&[Part::Objects(ordinal)]),
            Self::AllObjects => {
                watch.equal_where(|part| matches!(part, Part::Set | Part::Objects(_)))
            }
            Self::Down(ordinal) => of(&[Part::Process(ordinal), Part::Down(ordinal)]),
            Self::Join(ordinal) => {
                listed_for(inputs, ordinal).min(of(&[Part::Asked, Part::Own(ordinal)]))
            }
            Self::Removal { member, survivor, ended } => {
                let asked = asked_for(inputs, &Part::Asked, of_survivor(survivor));
                let heard = of(&[Part::Own(survivor.ordinal)]);
                let tasks = if ended { asked } else { of(&[Part::Busy]) };
                presence_for(inputs, member).min(asked).min(heard).min(tasks)
            }
            Self::Listed(ordinal) => listed_for(inputs, ordinal),
            Self::Cancelled(member) => {
                asked_for(inputs, &Part::Aside, (member.ordinal, &member.incarnation))
            }
            Self::Entry(ordinal) => {
                absent_for(inputs, ordinal).min(of(&[Part::Own(ordinal), Part::Busy]))
            }
            Self::Place(ordinal) => {
                listed_for(inputs, ordinal).min(of(&[Part::Process(ordinal), Part::Busy]))
            }
            Self::Roles => {
                let primary = views::primary(inputs.seen, inputs.state).map(Part::Marks);
                let first = primary.map_or(Duration::MAX, |marks| watch.equal_for(&marks));
                listed_for(inputs, Ordinal::MAX).min(of(&[Part::Roles, Part::Busy])).min(first)
            }
            Self::RoleAsked(asked) => of(&[Part::Process(asked), Part::Marks(asked), Part::Roles]),
            Self::Grid(name) => of(&[Part::Grid(name.to_owned())]),
            Self::Unspent(name, through) => {
                let asked = asked_for(inputs, &Part::Unspent(name.into()), of_survivor(through));
                of(&[Part::Grid(name.to_owned())]).min(asked)
            }
            Self::Template(name) => of(&[Part::Template(name.to_owned())]),
            Self::GridAsked(name, through) => {
                let asked = asked_for(inputs, &Part::Asked, of_survivor(through));
                of(&[Part::Grid(name.to_owned()), Part::Busy]).min(asked)
            }
            Self::TemplateAsked(name, through) => {
                let asked = asked_for(inputs, &Part::Asked, of_survivor(through));
                of(&[Part::Template(name.to_owned()), Part::Busy]).min(asked)
            }
            Self::Everybody | Self::Adoption(_) | Self::Holders(_) | Self::Roll => {
                watch.equal_where(|part| self.counts(inputs, part))
            }
        }
    }

    /// Whether a part is one of those on which a question rests that is about many of them.
    fn counts(self, inputs: Inputs<'_>, part: &Part) -> bool {
        let is_member = |ordinal| inputs.state.members.contains_key(ordinal);
        match (self, part) {
            (Self::Everybody, Part::Process(_) | Part::Told(_) | Part::Set | Part::Busy) => true,
            (Self::Adoption(listed), Part::Process(ordinal)) => {
                listed.len() == 1 || listed.contains(ordinal)
            }
            (Self::Adoption(_), Part::Judgement | Part::Set | Part::Busy) => true,
            (Self::Holders(_) | Self::Roll, Part::Process(ordinal)) => is_member(ordinal),
            (Self::Holders(_) | Self::Roll, Part::Told(_) | Part::Busy) => true,
            (Self::Holders(name), Part::Grid(grid)) => grid == name,
            (Self::Roll, Part::Grid(name)) => !inputs.state.left_out.contains(name),
            (Self::Roll, Part::Set) => true,
            _ => false,
        }
    }
}

/// The member that was asked, for as long as it is the same process; else how long it is not, by this
/// part.
fn asked_for(
    inputs: Inputs<'_>,
    part: &Part,
    (ordinal, then): (Ordinal, &Incarnation),
) -> Duration {
    let asked = inputs.watch.equal_for(part);
    if views::changed(inputs.seen, ordinal, then) {
        return asked;
    }
    asked.min(inputs.watch.equal_for(&Part::Process(ordinal)))
}

fn of_survivor(survivor: &Survivor) -> (Ordinal, &Incarnation) {
    (survivor.ordinal, &survivor.incarnation)
}

/// For how long the needed views have told the same of a place: the primary's and that of one more who
/// tells the same now.
fn listed_for(inputs: Inputs<'_>, ordinal: Ordinal) -> Duration {
    let (name, pod) = (views::name_of(inputs.state, ordinal), inputs.seen.pods.get(&ordinal));
    agreed_for(inputs, ordinal, &Part::Told(ordinal), |view| listed_in(view, &name, pod))
}

/// The same of whether they list it at all, in whatever state.
fn presence_for(inputs: Inputs<'_>, ordinal: Ordinal) -> Duration {
    let name = views::name_of(inputs.state, ordinal);
    match disjoin::majority(inputs.seen, inputs.state, ordinal, &name) {
        Some(_) => absent_for(inputs, ordinal),
        None => agreed_for(inputs, ordinal, &Part::Presence(ordinal), |view| {
            view.member(&name).is_some()
        }),
    }
}

/// For how long the primary's view and that of one more, who says the same now, have said so.
fn agreed_for<W: PartialEq>(
    inputs: Inputs<'_>,
    ordinal: Ordinal,
    part: &Part,
    word: impl Fn(&GroupView) -> W,
) -> Duration {
    let (seen, state, watch) = (inputs.seen, inputs.state, inputs.watch);
    let told = watch.equal_for(part);
    let primary = views::primary(seen, state).filter(|primary| *primary != ordinal);
    let Some(primary) = primary else { return told.min(watch.equal_for(&Part::Process(ordinal))) };
    let first = told.min(watch.equal_for(&Part::Process(primary)));
    let others = state.members.keys().filter(|other| **other != primary && **other != ordinal);
    let views: Vec<_> =
        others.filter_map(|other| Some((*other, views::view_of(seen, state, *other)?))).collect();
    let says = views::view_of(seen, state, primary).map(&word);
    let agrees = views.iter().filter(|(_, view)| Some(word(view)) == says);
    let second = agrees.map(|(other, _)| watch.equal_for(&Part::Process(*other))).max();
    match (views.is_empty(), second) {
        (true, _) => first,
        (false, second) => first.min(second.unwrap_or_default()),
    }
}

/// For how long the views have told the same of a place. Where it is absent by a majority of the
/// catalogs: by so many of them as make one, and proven all the time.
fn absent_for(inputs: Inputs<'_>, ordinal: Ordinal) -> Duration {
    let (seen, state, watch) = (inputs.seen, inputs.state, inputs.watch);
    let name = views::name_of(state, ordinal);
    let Some(majority) = disjoin::majority(seen, state, ordinal, &name) else {
        return listed_for(inputs, ordinal);
    };
    let process = |by: &Ordinal| watch.equal_for(&Part::Process(*by));
    let mut equal: Vec<Duration> = majority.agree.iter().map(process).collect();
    equal.sort_unstable_by(|one, other| other.cmp(one));
    let last = equal.get(majority.half).copied().unwrap_or_default();
    let proven = watch.equal_for(&Part::Presence(ordinal));
    watch.equal_for(&Part::Told(ordinal)).min(proven).min(last).min(process(&majority.primary))
}

#[cfg(test)]
mod tests;
