//! The in-doubt table of a disjoin and of a ghost removal, and what *absent* means.

use xsld_journal::event::Ordinal;
use xsld_journal::state::CacheState;

use super::views::{OurTask, primary, view_of};
use crate::observation::{Observation, Report};

/// The leaving member in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Missing from the primary's view and from the views of a majority of the catalogs.
    Absent,
    /// Listed.
    Present,
    /// Views are missing or differ.
    Unknown,
}

/// What the table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The leaving member in the group.
    pub presence: Presence,
    /// The current attempt's task on the survivor.
    pub task: OurTask,
    /// Whether the survivor's process is another one now, or gone.
    pub survivor_changed: bool,
    /// Whether it changed and no container of it runs.
    pub survivor_lost: bool,
    /// Whether a membership task runs on any member that answers.
    pub task_anywhere: bool,
}

impl Facts {
    /// The facts in words.
    pub fn describe(&self) -> String {
        let presence = match self.presence {
            Presence::Absent => "the group does not list it",
            Presence::Present => "the group lists it",
            Presence::Unknown => "the group's views are missing or differ",
        };
        let survivor = match (self.survivor_lost, self.survivor_changed) {
            (true, _) => ", and the member that took the request is lost",
            (false, true) => ", and the member that took the request was restarted",
            (false, false) => "",
        };
        format!("{presence}, {}{survivor}", self.task.describe())
    }
}

/// What a row decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The task runs: adopt it and poll.
    Adopt,
    /// No evidence decides.
    InDoubt,
    /// After two equal observations: the member is out.
    SucceededAfterTwo,
    /// After two equal observations: the attempt can no longer take effect.
    VoidAfterTwo,
    /// After two equal observations: the attempt failed.
    FailedAfterTwo,
    /// After two equal observations: the request never arrived; send the same attempt again.
    ResendAfterTwo,
}

/// The row (1 to 8) that matches, and what it decides.
pub fn table(facts: Facts) -> (u8, Verdict) {
    use OurTask as T;
    use Presence as P;
    use Verdict::{
        Adopt, FailedAfterTwo, InDoubt, ResendAfterTwo, SucceededAfterTwo, VoidAfterTwo,
    };
    let Facts { presence, task, survivor_changed, survivor_lost, task_anywhere } = facts;
    match (presence, task) {
        (_, T::Running) => (1, Adopt),
        (P::Unknown, _) => (2, InDoubt),
        (_, T::Unread) | (P::Present, T::Ended) if !survivor_lost => (3, InDoubt),
        (P::Absent, T::Success | T::Failed) => (4, SucceededAfterTwo),
        (P::Absent, T::None | T::Unread | T::Ended) if task_anywhere => (5, InDoubt),
        (P::Absent, T::None | T::Unread | T::Ended) => (5, SucceededAfterTwo),
        (P::Present, T::None) if !survivor_changed => (6, ResendAfterTwo),
        (P::Present, T::None | T::Unread | T::Ended) => (7, VoidAfterTwo),
        (P::Present, T::Success | T::Failed) => (8, FailedAfterTwo),
    }
}

/// Whether the group still lists a member.
///
/// Absent needs the primary's view, and the views of a majority of the catalogs that the primary's
/// view lists, not counting the leaving member nor containers that are shown not to run. No view,
/// or only stale ones, prove nothing. With no established survivor left, the leaving member's own
/// view that lists it counts as present.
pub fn presence(seen: &Observation, state: &CacheState, ordinal: Ordinal, name: &str) -> Presence {
    judge(seen, state, ordinal, name).0
}

/// Who shows that a member is absent: the primary, and more than half of the catalogs that run.
pub(super) struct Majority {
    /// The primary.
    pub(super) primary: Ordinal,
    /// The catalogs among those that do.
    pub(super) agree: Vec<Ordinal>,
    /// So many of them are not enough.
    pub(super) half: usize,
}

/// Who shows that a member is absent; none while it is not proven to be.
pub(super) fn majority(
    seen: &Observation,
    state: &CacheState,
    ordinal: Ordinal,
    name: &str,
) -> Option<Majority> {
    judge(seen, state, ordinal, name).1
}

fn judge(
    seen: &Observation,
    state: &CacheState,
    ordinal: Ordinal,
    name: &str,
) -> (Presence, Option<Majority>) {
    let survivors: Vec<Ordinal> =
        state.members.keys().copied().filter(|other| *other != ordinal).collect();
    if survivors.is_empty() {
        let own = seen.reports.get(&ordinal).and_then(Report::fresh_group);
        let lists_itself = own.is_some_and(|view| view.member(name).is_some());
        return (if lists_itself { Presence::Present } else { Presence::Unknown }, None);
    }
    let Some(primary) = primary(seen, state).filter(|primary| *primary != ordinal) else {
        return (Presence::Unknown, None);
    };
    let Some(first) = view_of(seen, state, primary) else { return (Presence::Unknown, None) };
    let views: Vec<_> = survivors
        .iter()
        .filter_map(|other| view_of(seen, state, *other).map(|view| (*other, view)))
        .collect();
    let listed = views.iter().filter(|(_, view)| view.member(name).is_some()).count();
    if listed == views.len() {
        return (Presence::Present, None);
    }
    if listed > 0 {
        return (Presence::Unknown, None);
    }
    let counts = |other: Ordinal| {
        let runs = seen.pods.get(&other).is_some_and(|pod| pod.running);
        runs && state.members.get(&other).is_some_and(|member| {
            first.member(&member.name).is_some_and(|listed| listed.catalog != Some(false))
        })
    };
    let catalogs = survivors.iter().filter(|other| counts(**other)).count();
    let agree = views.iter().map(|(other, _)| *other).filter(|other| counts(*other));
    let agree: Vec<Ordinal> = agree.collect();
    match agree.len() * 2 > catalogs {
        true => (Presence::Absent, Some(Majority { primary, agree, half: catalogs / 2 })),
        false => (Presence::Unknown, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: [OurTask; 6] = [
        OurTask::Running,
        OurTask::Success,
        OurTask::Failed,
        OurTask::None,
        OurTask::Unread,
        OurTask::Ended,
    ];

    fn every() -> Vec<Facts> {
        let mut all = Vec::new();
        for presence in [Presence::Absent, Presence::Present, Presence::Unknown] {
            for task in TASKS {
                for (survivor_changed, survivor_lost) in
                    [(false, false), (true, false), (true, true)]
                {
                    for task_anywhere in [false, true] {
                        all.push(Facts {
                            presence,
                            task,
                            survivor_changed,
                            survivor_lost,
                            task_anywhere,
                        });
                    }
                }
            }
        }
        all
    }

    #[test]
    fn every_row_is_reached() {
        let rows: std::collections::BTreeSet<u8> =
            every().into_iter().map(|facts| table(facts).0).collect();
        assert_eq!(rows, (1..=8).collect());
    }

    #[test]
    fn an_ended_task_that_cannot_be_told_from_others_decides_nothing_but_a_proven_absence() {
        for facts in every().into_iter().filter(|facts| facts.task == OurTask::Ended) {
            let (unread, none) =
                (Facts { task: OurTask::Unread, ..facts }, Facts { task: OurTask::None, ..facts });
            let same = if facts.presence == Presence::Absent { none } else { unread };
            assert_eq!(table(facts), table(same), "{facts:?}");
        }
    }

    #[test]
    fn success_needs_proven_absence_and_no_running_task() {
        for facts in every().into_iter().filter(|f| table(*f).1 == Verdict::SucceededAfterTwo) {
            assert_eq!(facts.presence, Presence::Absent, "{facts:?}");
            assert_ne!(facts.task, OurTask::Running, "{facts:?}");
        }
    }

    #[test]
    fn the_same_attempt_is_sent_again_only_to_the_same_process() {
        for facts in every().into_iter().filter(|f| table(*f).1 == Verdict::ResendAfterTwo) {
            assert!(!facts.survivor_changed, "{facts:?}");
            assert_eq!(facts.presence, Presence::Present, "{facts:?}");
            assert_eq!(facts.task, OurTask::None, "{facts:?}");
        }
    }
}
