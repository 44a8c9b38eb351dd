//! The in-doubt table of a join: first match decides.
//!
//! The rows were explored by a model (three members, sizes 1 -> 3 -> 1 -> 2, up to two crashes,
//! restarts, lost pods and volumes, failed tasks, lost requests and replies, in all orders). They
//! change only together with such a check.

use super::views::{Listing, OurTask, OwnView};

/// What the table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The member in the needed views.
    pub listing: Listing,
    /// The current attempt's task.
    pub task: OurTask,
    /// Whether the joining process is another one now, or gone.
    pub changed: bool,
    /// The member's own view.
    pub own: OwnView,
    /// Whether its container runs.
    pub running: bool,
    /// Whether it is still wanted (`ordinal < size`).
    pub wanted: bool,
}

impl Facts {
    /// The facts in words.
    pub fn describe(&self) -> String {
        let listing = match self.listing {
            Listing::Online => "the group lists it Online",
            Listing::Listed => "the group lists it, but not Online here",
            Listing::No => "the group does not list it",
            Listing::Unknown => "the group's views are missing or differ",
        };
        let own = match self.own {
            OwnView::Alone => "it says that it is alone",
            OwnView::InGroup => "it says that it is in the group",
            OwnView::Elsewhere => "it says that it is in another group",
            OwnView::Silent => "it does not answer",
        };
        let process = if self.changed { ", and its process is another one now" } else { "" };
        format!("{listing}, {own}, {}{process}", self.task.describe())
    }
}

/// What a row decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The task runs: adopt it and poll.
    Adopt,
    /// No evidence decides.
    InDoubt,
    /// It joined.
    Succeeded,
    /// After two equal observations: it joined, though that was not told directly.
    SucceededAfterTwo,
    /// After two equal observations: the attempt can no longer take effect.
    VoidAfterTwo,
    /// After two equal observations: the attempt failed.
    FailedAfterTwo,
    /// After two equal observations: the request never arrived; send the same attempt again.
    ResendAfterTwo,
}

/// The row (1 to 20) that matches, and what it decides. What follows a void or failed attempt
/// (ghost removal, reset, a new attempt, the end) is decided afterwards from the same facts by
/// [`super::membership`].
pub fn table(facts: Facts) -> (u8, Verdict) {
    use Listing as M;
    use OurTask as T;
    use OwnView as J;
    use Verdict::{
        Adopt, FailedAfterTwo, InDoubt, ResendAfterTwo, Succeeded, SucceededAfterTwo, VoidAfterTwo,
    };
    let Facts { listing, task, changed, own, running, wanted } = facts;
    let yes = listing.is_yes();
    let gone = changed && own == J::Silent && !running && !wanted;
    match (listing, task, own) {
        (_, T::Running, _) => (1, Adopt),
        (M::Unknown, _, _) => (2, InDoubt),
        (M::No, _, _) if gone => (3, VoidAfterTwo),
        _ if yes && gone => (4, VoidAfterTwo),
        // Whoever's task it was, it has ended: the group and the member agree, as in row 9.
        (M::Online, T::Ended, J::InGroup) => (9, SucceededAfterTwo),
        (_, T::Unread | T::Ended, _) | (_, _, J::Silent) => (5, InDoubt),
        (M::No, _, J::Elsewhere) => (6, FailedAfterTwo),
        (_, _, J::Elsewhere) => (7, FailedAfterTwo),
        (M::Online, T::None | T::Success, J::InGroup) if !changed => (8, Succeeded),
        (M::Online, _, J::InGroup) => (9, SucceededAfterTwo),
        (M::Listed, T::Failed, J::InGroup) => (10, FailedAfterTwo),
        (M::Listed, _, J::InGroup) => (11, InDoubt),
        (M::Online | M::Listed, T::Failed, J::Alone) => (12, FailedAfterTwo),
        (M::Online | M::Listed, _, J::Alone) => (13, VoidAfterTwo),
        (M::No, T::None, J::Alone) if !changed => (14, ResendAfterTwo),
        (M::No, T::Success | T::Failed, J::Alone) if !changed => (15, FailedAfterTwo),
        (M::No, _, J::Alone) => (16, VoidAfterTwo),
        (M::No, T::Success, J::InGroup) => (17, InDoubt),
        (M::No, T::Failed, J::InGroup) => (18, FailedAfterTwo),
        (M::No, T::None, J::InGroup) if changed => (19, FailedAfterTwo),
        (M::No, T::None, J::InGroup) => (20, InDoubt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTINGS: [Listing; 4] =
        [Listing::Online, Listing::Listed, Listing::No, Listing::Unknown];
    const TASKS: [OurTask; 6] = [
        OurTask::Running,
        OurTask::Success,
        OurTask::Failed,
        OurTask::None,
        OurTask::Unread,
        OurTask::Ended,
    ];
    const OWN: [OwnView; 4] =
        [OwnView::Alone, OwnView::InGroup, OwnView::Elsewhere, OwnView::Silent];

    fn every() -> Vec<Facts> {
        let mut all = Vec::new();
        for listing in LISTINGS {
            for task in TASKS {
                for own in OWN {
                    for bits in 0..8_u8 {
                        all.push(Facts {
                            listing,
                            task,
                            own,
                            changed: bits & 1 != 0,
                            running: bits & 2 != 0,
                            wanted: bits & 4 != 0,
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
        assert_eq!(rows, (1..=20).collect());
    }

    #[test]
    fn a_running_task_is_never_settled_nor_sent_again() {
        for facts in every().into_iter().filter(|facts| facts.task == OurTask::Running) {
            assert_eq!(table(facts).1, Verdict::Adopt, "{facts:?}");
        }
    }

    #[test]
    fn unknown_views_decide_nothing() {
        for facts in every() {
            if facts.listing == Listing::Unknown && facts.task != OurTask::Running {
                assert_eq!(table(facts).1, Verdict::InDoubt, "{facts:?}");
            }
        }
    }

    #[test]
    fn the_same_attempt_is_sent_again_only_to_the_same_process_without_a_trace_of_it() {
        for facts in every().into_iter().filter(|f| table(*f).1 == Verdict::ResendAfterTwo) {
            assert_eq!(facts.task, OurTask::None, "{facts:?}");
            assert_eq!(facts.listing, Listing::No, "{facts:?}");
            assert_eq!(facts.own, OwnView::Alone, "{facts:?}");
            assert!(!facts.changed, "{facts:?}");
        }
    }

    #[test]
    fn an_ended_task_that_cannot_be_told_from_others_decides_nothing_but_an_agreed_join() {
        for facts in every().into_iter().filter(|facts| facts.task == OurTask::Ended) {
            let agreed = facts.listing == Listing::Online && facts.own == OwnView::InGroup;
            let unread = Facts { task: OurTask::Unread, ..facts };
            if agreed {
                assert_eq!(table(facts), (9, Verdict::SucceededAfterTwo), "{facts:?}");
            } else {
                assert_eq!(table(facts), table(unread), "{facts:?}");
            }
        }
    }

    #[test]
    fn success_needs_the_group_and_the_member_to_agree() {
        for facts in every() {
            if matches!(table(facts).1, Verdict::Succeeded | Verdict::SucceededAfterTwo) {
                assert_eq!(facts.listing, Listing::Online, "{facts:?}");
                assert_eq!(facts.own, OwnView::InGroup, "{facts:?}");
            }
        }
    }
}
