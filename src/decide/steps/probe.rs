//! What the open step is settled by, for probes of its doubt and for evidence.

use std::time::Duration;

use xsld_journal::event::{MemberRef, Step, Survivor};

use super::{running_task, two, wish};
use crate::clock::Moment;
use crate::decide::question::Question;
use crate::decide::watch::Watch;
use crate::decide::{Inputs, parts, views};

/// The watch, with the present look taken into account.
pub(crate) fn observed(inputs: Inputs<'_>, now: Moment) -> Watch {
    let key = inputs.state.open_step().map(|open| open.key);
    let mut watch =
        inputs.watch.clone().observe(parts::parts(inputs), now, key, running_task(inputs));
    let equal_for = equal_for(Inputs { watch: &watch, ..inputs });
    watch.count_probe(equal_for, window(inputs));
    watch
}

/// For how long the looks have been equal in what the open step is settled by.
pub(in crate::decide) fn equal_for(inputs: Inputs<'_>) -> Duration {
    let state = inputs.state;
    let open = state.open_cancel().or_else(|| state.open_step()).map(|open| &open.step);
    let question = match open {
        None => return inputs.watch.elapsed(),
        Some(Step::SetTemplate { .. } | Step::ScaleStatefulSet { .. }) => Question::Set,
        Some(Step::DeleteStatefulSet { .. }) => Question::Set,
        Some(Step::JoinMember { member, .. }) => Question::Join(member.ordinal),
        Some(Step::DisjoinMember { member, survivor }) => removal(member, survivor, true),
        Some(Step::RemoveGhostMember { member, survivor }) => removal(member, survivor, true),
        Some(Step::ResetMember { member } | Step::RollMember { member, .. }) => {
            Question::Objects(member.ordinal)
        }
        Some(Step::DeleteVolume { ordinal, .. } | Step::GrowVolume { ordinal, .. }) => {
            Question::Objects(*ordinal)
        }
        Some(Step::CancelTask { member, .. }) => Question::Cancelled(member),
        Some(
            Step::CreateGrid { name, through, .. }
            | Step::UpdateGrid { name, through, .. }
            | Step::DeleteGrid { name, through, .. },
        ) => Question::GridAsked(name, through),
        Some(
            Step::UploadTemplate { name, through, .. } | Step::DeleteTemplate { name, through, .. },
        ) => Question::TemplateAsked(name, through),
        Some(Step::SetUpReplication { primary, .. }) => Question::RoleAsked(primary.ordinal),
        Some(Step::PromotePrimary { member, .. }) => Question::RoleAsked(member.ordinal),
    };
    question.equal_for(inputs)
}

/// How long a probe of the open step must run to be counted: as long as the proof that would end
/// its doubt.
pub(super) fn window(inputs: Inputs<'_>) -> Duration {
    let Some(open) = inputs.state.open_step() else { return two(inputs, false) };
    let changed = match &open.step {
        // What cannot be read, or is not to be sent again, is judged once nothing of it can be on its
        // way any more.
        Step::CreateGrid { name, .. }
        | Step::UpdateGrid { name, .. }
        | Step::DeleteGrid { name, .. } => {
            inputs.seen.grid(name).is_err() || wish::is_given_up(inputs, open)
        }
        Step::UploadTemplate { name, .. } | Step::DeleteTemplate { name, .. } => {
            inputs.seen.template(name).is_err() || wish::is_given_up(inputs, open)
        }
        Step::DisjoinMember { .. } | Step::RemoveGhostMember { .. }
            if wish::is_given_up(inputs, open) =>
        {
            true
        }
        step => parts::asked(step)
            .is_some_and(|(ordinal, then)| views::changed(inputs.seen, ordinal, then)),
    };
    two(inputs, changed)
}

pub(super) fn removal<'a>(member: &MemberRef, survivor: &'a Survivor, ended: bool) -> Question<'a> {
    Question::Removal { member: member.ordinal, survivor, ended }
}
