//! The in-doubt tables of a set-up of replication and of a promotion: first match decides.

use crate::decide::views::OurTask;

/// Whether what a step was to bring about is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    /// The needed views show it.
    Yes,
    /// They show that it is not.
    No,
    /// They are missing or differ.
    Unknown,
}

/// What the tables look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether the effect is there.
    pub(super) there: There,
    /// The current attempt's task on the member that took the request.
    pub(super) task: OurTask,
    /// Whether that member's process is another one now, or gone.
    pub(super) changed: bool,
    /// Whether the same attempt may be sent again. A promotion may not: whether it is still wanted
    /// is decided anew.
    pub(super) may_resend: bool,
}

/// What a row decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The task runs: adopt it and poll.
    Adopt,
    /// No evidence decides.
    InDoubt,
    /// It is done.
    Succeeded,
    /// After two equal observations: it is done, though that was not told directly.
    SucceededAfterTwo,
    /// After two equal observations: the attempt can no longer take effect.
    VoidAfterTwo,
    /// After two equal observations: the attempt ended without effect.
    FailedAfterTwo,
    /// After two equal observations: the request never arrived; send the same attempt again.
    ResendAfterTwo,
}

/// The row (1 to 9) that matches, and what it decides.
pub(super) fn table(facts: Facts) -> (u8, Verdict) {
    use OurTask as T;
    use There as E;
    use Verdict::{
        Adopt, FailedAfterTwo, InDoubt, ResendAfterTwo, Succeeded, SucceededAfterTwo, VoidAfterTwo,
    };
    let Facts { there, task, changed, may_resend } = facts;
    match (there, task) {
        (_, T::Running) => (1, Adopt),
        (E::Unknown, _) => (2, InDoubt),
        (E::Yes, T::Success) => (3, Succeeded),
        (E::Yes, T::Failed | T::None | T::Unread | T::Ended) => (4, SucceededAfterTwo),
        (E::No, T::Success | T::Failed) => (5, FailedAfterTwo),
        (E::No, T::None | T::Unread | T::Ended) if changed => (6, VoidAfterTwo),
        (E::No, T::Unread | T::Ended) => (7, InDoubt),
        (E::No, T::None) if may_resend => (8, ResendAfterTwo),
        (E::No, T::None) => (9, FailedAfterTwo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Facts> {
        let tasks = [
            OurTask::Running,
            OurTask::Success,
            OurTask::Failed,
            OurTask::None,
            OurTask::Unread,
            OurTask::Ended,
        ];
        let mut all = Vec::new();
        for there in [There::Yes, There::No, There::Unknown] {
            for task in tasks {
                for bits in 0..4_u8 {
                    let (changed, may_resend) = (bits & 1 != 0, bits & 2 != 0);
                    all.push(Facts { there, task, changed, may_resend });
                }
            }
        }
        all
    }

    #[test]
    fn every_row_is_reached() {
        let rows: std::collections::BTreeSet<u8> =
            every().into_iter().map(|facts| table(facts).0).collect();
        assert_eq!(rows, (1..=9).collect());
    }

    #[test]
    fn a_running_task_is_adopted_and_unknown_views_decide_nothing() {
        for facts in every() {
            match (facts.task, facts.there) {
                (OurTask::Running, _) => assert_eq!(table(facts).1, Verdict::Adopt, "{facts:?}"),
                (_, There::Unknown) => assert_eq!(table(facts).1, Verdict::InDoubt, "{facts:?}"),
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_is_sent_again_unless_it_is_not_there_and_left_no_trace_in_the_same_process() {
        for facts in every().into_iter().filter(|f| table(*f).1 == Verdict::ResendAfterTwo) {
            assert_eq!((facts.there, facts.task), (There::No, OurTask::None), "{facts:?}");
            assert!(!facts.changed && facts.may_resend, "{facts:?}");
        }
    }

    #[test]
    fn success_needs_the_effect() {
        for facts in every() {
            let (_, verdict) = table(facts);
            if matches!(verdict, Verdict::Succeeded | Verdict::SucceededAfterTwo) {
                assert_eq!(facts.there, There::Yes, "{facts:?}");
            }
        }
    }
}
