//! Settles an open set-up of replication or promotion from what is seen now.

use xsld_journal::event::{Incarnation, MemberRef, Ordinal, Step};
use xsld_journal::state::OpenStep;

use super::roles;
use super::tables::{Facts, There, Verdict, table};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::question::Question;
use crate::decide::steps::{self, Standing};
use crate::decide::views::{self, OurTask};
use crate::decide::{Inputs, Waiting};

/// How the open step stands.
pub(in crate::decide) fn standing(inputs: Inputs<'_>, open: &OpenStep) -> Standing {
    match &open.step {
        Step::SetUpReplication { primary, replica } => {
            let there = replica_is_set_up(inputs, replica);
            let asked = (primary.ordinal, &primary.incarnation, inputs.replication_command);
            judge(inputs, open, asked, there, true)
        }
        Step::PromotePrimary { member, .. } => {
            let there = member_is_primary(inputs, member);
            let asked = (member.ordinal, &member.incarnation, inputs.promote_command);
            judge(inputs, open, asked, there, false)
        }
        _ => {
            let waiting = Waiting::new(Reason::InDoubt, "this step is not about replication");
            Standing::InDoubt(waiting)
        }
    }
}

fn judge(
    inputs: Inputs<'_>,
    open: &OpenStep,
    (ordinal, incarnation, command): (Ordinal, &Incarnation, &str),
    there: There,
    may_resend: bool,
) -> Standing {
    let changed = views::changed(inputs.seen, ordinal, incarnation);
    let tasks = inputs.seen.reports.get(&ordinal).and_then(|report| report.read_tasks());
    // A task id is only worth something in the life that told it.
    let accepted = steps::accepted(open).filter(|_| !changed);
    let earlier = steps::earlier_keys(inputs, open);
    let task = views::our_task(tasks, open.key, command, accepted, &earlier);
    let facts = Facts { there, task, changed, may_resend };
    let (row, verdict) = table(facts);
    let what = open.step.describe();
    let state = describe(facts);
    let doubt = |why: &str| {
        let message = format!("{what}: {why}: {state} (row {row})");
        Standing::InDoubt(Waiting::new(Reason::InDoubt, message))
    };
    match verdict {
        Verdict::Adopt => {
            let reason = match open.step {
                Step::PromotePrimary { .. } => Reason::SwitchingPrimary,
                _ => Reason::SettingUpReplication,
            };
            Standing::Running(Waiting::new(reason, format!("{what}: its task is running")))
        }
        Verdict::InDoubt => doubt("no evidence decides yet"),
        Verdict::Succeeded => steps::done(),
        _ if !Question::RoleAsked(ordinal).is_settled(inputs, steps::two(inputs, changed)) => {
            doubt("waiting for a second equal observation")
        }
        Verdict::SucceededAfterTwo => Standing::Succeeded {
            flagged: (task == OurTask::Failed)
                .then(|| "the task ended Failed and its effect is there".to_owned()),
        },
        Verdict::VoidAfterTwo => Standing::Void,
        Verdict::FailedAfterTwo => Standing::Failed { reason: format!("{state} (row {row})") },
        Verdict::ResendAfterTwo => Standing::Resend,
    }
}

fn describe(facts: Facts) -> String {
    let there = match facts.there {
        There::Yes => "the group shows its effect",
        There::No => "the group does not show its effect",
        There::Unknown => "the group's views are missing or differ",
    };
    let process = if facts.changed { ", and the member that was asked was restarted" } else { "" };
    format!("{there}, {}{process}", facts.task.describe())
}

/// Whether the needed views show the member as the replica.
fn replica_is_set_up(inputs: Inputs<'_>, replica: &MemberRef) -> There {
    let Some(views) = views::needed(inputs.seen, inputs.state, Ordinal::MAX) else {
        return There::Unknown;
    };
    let mut told = views.iter().map(|view| roles::replica_in(view) == Some(replica.name.as_str()));
    match (told.next(), told.next()) {
        (Some(first), Some(second)) if first == second => {
            if first {
                There::Yes
            } else {
                There::No
            }
        }
        _ => There::Unknown,
    }
}

/// Whether the member is the primary by its own word, and no member that sees a primary sees
/// another one.
fn member_is_primary(inputs: Inputs<'_>, member: &MemberRef) -> There {
    let (seen, state) = (inputs.seen, inputs.state);
    let same_volume =
        seen.claims.get(&member.ordinal).is_some_and(|claim| claim.uid == member.claim_uid);
    let own = seen.reports.get(&member.ordinal).filter(|_| same_volume);
    let Some(view) = own.and_then(|report| report.group.as_known()) else {
        return There::Unknown;
    };
    let says_so = |name: &str| name == member.name;
    if !view.primary().is_some_and(|primary| says_so(&primary.name)) {
        return There::No;
    }
    let fresh = state.members.keys().filter_map(|ordinal| views::view_of(seen, state, *ordinal));
    let agreed = fresh.filter_map(|view| view.primary()).all(|primary| says_so(&primary.name));
    if agreed && !view.stale { There::Yes } else { There::Unknown }
}
