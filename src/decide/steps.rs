//! Settles the open step: from what is seen now, is it done, void, failed, running or in doubt?

mod probe;
mod wish;

use std::time::Duration;

use xsld_journal::event::{Event, MemberRef, Ordinal, Receipt, Step, StepKey, Survivor};
use xsld_journal::state::{OpenStep, Progress};

pub(super) use self::probe::equal_for;
pub(crate) use self::probe::observed;
use self::probe::{removal, window};
use super::question::Question;
use super::views::{self, OurTask};
use super::watch::PROBES_MAX;
use super::{
    Decision, Inputs, Waiting, deletion, disjoin, evidence, grids, join, replication, roll,
    storage, templates,
};
use crate::crd::conditions::ConditionReason as Reason;

/// How many times as long as the proof that would end it takes, a doubt may last before it is parked,
/// even if no probe ran its full time.
const DOUBT_WINDOWS: u32 = 4 * PROBES_MAX;

/// How an open step stands, before it is turned into records.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// It is on its way.
    Running(Waiting),
    /// Nothing decides.
    InDoubt(Waiting),
    /// Done. `flagged` tells a person what was odd.
    Succeeded { flagged: Option<String> },
    /// It ended without the wanted effect.
    Failed { reason: String },
    /// It can no longer take effect.
    Void,
    /// It certainly did not take effect and the attempt may be sent again.
    Resend,
}

/// Decides about the open step.
pub(super) fn settle(inputs: Inputs<'_>, open: &OpenStep) -> Decision {
    let standing = given_up_with_the_cache(inputs, open, standing(inputs, open));
    let key = open.key;
    match standing {
        Standing::Running(waiting) => resumed(inputs, "the task is running", vec![])
            .map(Decision::Record)
            .or_else(|| cancel_stalled(inputs, open))
            .unwrap_or(Decision::Wait(waiting)),
        Standing::InDoubt(waiting) => in_doubt(inputs, open, waiting),
        Standing::Succeeded { flagged } => {
            let event = Event::StepSucceeded {
                key,
                found_by_probe: inputs.watch.found_by_probe(key),
                flagged,
                evidence: proof(inputs),
            };
            close(inputs, event)
        }
        Standing::Failed { reason } => {
            close(inputs, Event::StepFailed { key, reason, evidence: proof(inputs) })
        }
        Standing::Void => close(inputs, Event::StepVoid { key, evidence: proof(inputs) }),
        // It would be refused, or run beside another person's task.
        Standing::Resend if is_a_task(&open.step) && inputs.seen.any_task_running() => {
            let what = format!("{}: waiting for another task's end", open.step.describe());
            Decision::wait(Reason::ForeignTask, what)
        }
        Standing::Resend => match wish::now(inputs, open) {
            wish::Now::TheSame => send_again(inputs, open),
            wish::Now::PutOff(waiting) => in_doubt(inputs, open, waiting),
            wish::Now::Other => wish::given_up(inputs, open),
        },
    }
}

/// Sends an attempt again that is still to be made, unless that was without effect too often. Where it
/// was parked because nobody told anything, what was heard since is an answer: it goes on.
fn send_again(inputs: Inputs<'_>, open: &OpenStep) -> Decision {
    let heard = inputs.watch.parked_for().is_some_and(|parked| probe::equal_for(inputs) < parked);
    if inputs.watch.probes() >= PROBES_MAX && !heard {
        let what = format!("{} was sent again and again without effect", open.step.describe());
        return in_doubt(inputs, open, Waiting::new(Reason::StepFailed, what));
    }
    match resumed(inputs, "the request never took effect", vec![]) {
        Some(events) => Decision::Record(events),
        None => Decision::Resend { key: open.key },
    }
}

/// Whether the effect of an open step is seen to be on its way.
pub(crate) fn is_under_way(inputs: Inputs<'_>, open: &OpenStep) -> bool {
    matches!(standing(inputs, open), Standing::Running(_))
}

/// Whether what is seen does not decide about an open step, or only that it is not sent again.
pub(super) fn is_in_doubt(inputs: Inputs<'_>, open: &OpenStep) -> bool {
    match standing(inputs, open) {
        Standing::InDoubt(_) => true,
        Standing::Resend => !matches!(wish::now(inputs, open), wish::Now::TheSame),
        Standing::Running(_)
        | Standing::Succeeded { .. }
        | Standing::Failed { .. }
        | Standing::Void => false,
    }
}

/// Whether the step's effect is a task of the group that runs alone.
fn is_a_task(step: &Step) -> bool {
    match step {
        Step::JoinMember { .. } | Step::DisjoinMember { .. } | Step::RemoveGhostMember { .. } => {
            true
        }
        Step::SetUpReplication { .. } | Step::PromotePrimary { .. } => true,
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::ResetMember { .. }
        | Step::CancelTask { .. }
        | Step::DeleteVolume { .. }
        | Step::CreateGrid { .. }
        | Step::UpdateGrid { .. }
        | Step::DeleteGrid { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => false,
    }
}

/// When the whole cache goes, what the group may still do to itself no longer matters, nor what was
/// to become of an object that goes with it: a doubt ends after one settle time, a task without
/// progress after the stall time, and nothing is sent again. Only the steps of the deletion itself
/// are settled as ever, and not even those where all is to stay.
fn given_up_with_the_cache(inputs: Inputs<'_>, open: &OpenStep, standing: Standing) -> Standing {
    let is_a_task = wish::is_asked_of_the_group(&open.step);
    let is_needed = is_of_the_deletion(&open.step) && !deletion::leaves_all(inputs);
    if !inputs.wanted.deleting || is_needed {
        return standing;
    }
    let times = inputs.times;
    let is_over = Question::Elapsed.is_settled(inputs, times.settle);
    // A deletion that was begun is never taken back: it has its effect, whoever waits for it.
    let flagged = Some("it was still going when its XsldCache was deleted".to_owned());
    match standing {
        Standing::InDoubt(_) | Standing::Resend | Standing::Running(_)
            if is_over && !is_a_task && is_going(inputs, &open.step) =>
        {
            Standing::Succeeded { flagged }
        }
        Standing::InDoubt(_) | Standing::Resend if is_over => Standing::Void,
        Standing::Resend => Standing::InDoubt(Waiting::new(Reason::Deleting, "not sent again")),
        Standing::Running(_) if is_a_task => match inputs.watch.stalled_for() >= times.task_stall {
            true => Standing::Void,
            false => standing,
        },
        // An object that is going and does not go: it may wait for what this deletion ends.
        Standing::Running(_) if is_over => Standing::Void,
        standing => standing,
    }
}

/// Whether the object that the step deletes is on its way out, by UID.
fn is_going(inputs: Inputs<'_>, step: &Step) -> bool {
    let claim = |ordinal: Ordinal, uid: &str| {
        let claim = inputs.seen.claims.get(&ordinal).filter(|claim| claim.uid == uid);
        claim.is_some_and(|claim| claim.deleting)
    };
    match step {
        Step::ResetMember { member } => claim(member.ordinal, &member.claim_uid),
        Step::DeleteVolume { ordinal, claim_uid, .. } => claim(*ordinal, claim_uid),
        Step::RollMember { member, .. } => {
            inputs.seen.pods.get(&member.ordinal).is_some_and(|pod| {
                pod.deleting && pod.incarnation.pod_uid == member.incarnation.pod_uid
            })
        }
        _ => false,
    }
}

fn is_of_the_deletion(step: &Step) -> bool {
    match step {
        Step::DeleteStatefulSet { .. } => true,
        Step::DeleteVolume { receipt, .. } => *receipt == Receipt::CacheDeleted,
        _ => false,
    }
}

/// A task of ours that makes no progress for the stall time is cancelled by force; afterwards
/// everything is observed anew. Another person's task is never touched.
fn cancel_stalled(inputs: Inputs<'_>, open: &OpenStep) -> Option<Decision> {
    // Only one thing is done aside at a time.
    if inputs.watch.stalled_for() < inputs.times.task_stall || inputs.state.open_cancel().is_some()
    {
        return None;
    }
    let (ordinal, name, claim_uid, incarnation) = match &open.step {
        Step::JoinMember { member, .. } | Step::PromotePrimary { member, .. } => {
            (member.ordinal, &member.name, member.claim_uid.clone(), &member.incarnation)
        }
        Step::DisjoinMember { survivor, .. }
        | Step::RemoveGhostMember { survivor, .. }
        | Step::SetUpReplication { primary: survivor, .. }
        | Step::CreateGrid { through: survivor, .. }
        | Step::UpdateGrid { through: survivor, .. }
        | Step::DeleteGrid { through: survivor, .. } => {
            let claim = inputs.state.members.get(&survivor.ordinal)?.claim_uid.clone();
            (survivor.ordinal, &survivor.name, claim, &survivor.incarnation)
        }
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::ResetMember { .. }
        | Step::CancelTask { .. }
        | Step::DeleteVolume { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => return None,
    };
    if views::changed(inputs.seen, ordinal, incarnation) {
        return None;
    }
    let tasks = inputs.seen.reports.get(&ordinal)?.read_tasks();
    let (task, _) = views::our_running_task(tasks, open.key, accepted(open))?;
    let member =
        MemberRef { ordinal, name: name.clone(), claim_uid, incarnation: incarnation.clone() };
    Some(Decision::Run { step: Step::CancelTask { member, task }, evidence: proof(inputs) })
}

/// The task of the open step with its progress, for the watch that finds it stalled.
pub(crate) fn running_task(inputs: Inputs<'_>) -> Option<(u64, Option<u8>)> {
    let open = inputs.state.open_step()?;
    let ordinal = match &open.step {
        Step::JoinMember { member, .. } | Step::PromotePrimary { member, .. } => member.ordinal,
        Step::DisjoinMember { survivor, .. }
        | Step::RemoveGhostMember { survivor, .. }
        | Step::SetUpReplication { primary: survivor, .. }
        | Step::CreateGrid { through: survivor, .. }
        | Step::UpdateGrid { through: survivor, .. }
        | Step::DeleteGrid { through: survivor, .. } => survivor.ordinal,
        Step::SetTemplate { .. }
        | Step::ScaleStatefulSet { .. }
        | Step::ResetMember { .. }
        | Step::CancelTask { .. }
        | Step::DeleteVolume { .. }
        | Step::UploadTemplate { .. }
        | Step::DeleteTemplate { .. }
        | Step::GrowVolume { .. }
        | Step::RollMember { .. }
        | Step::DeleteStatefulSet { .. } => return None,
    };
    let tasks = inputs.seen.reports.get(&ordinal)?.read_tasks();
    views::our_running_task(tasks, open.key, accepted(open))
}

/// A parked operation is resumed by evidence that decides, in the same append.
fn close(inputs: Inputs<'_>, event: Event) -> Decision {
    let resumed = resumed(inputs, "evidence decides the step in doubt", vec![event.clone()]);
    Decision::Record(resumed.unwrap_or_else(|| vec![event]))
}

/// The records that let a parked operation go on, and then these; none when it is not parked.
pub(super) fn resumed(inputs: Inputs<'_>, evidence: &str, then: Vec<Event>) -> Option<Vec<Event>> {
    let parked = inputs.state.operation.as_ref()?.parked.is_some();
    parked.then(|| {
        let mut events = vec![Event::OperationResumed { evidence: evidence.to_owned() }];
        events.extend(then);
        events
    })
}

fn in_doubt(inputs: Inputs<'_>, open: &OpenStep, waiting: Waiting) -> Decision {
    let parked =
        inputs.state.operation.as_ref().is_some_and(|operation| operation.parked.is_some());
    let probed = inputs.watch.probes() >= PROBES_MAX;
    // What keeps changing lets no probe run its full time, and is told all the same.
    let doubted = inputs.watch.undecided_for();
    if !parked && (probed || doubted >= window(inputs).saturating_mul(DOUBT_WINDOWS)) {
        let tried = match probed {
            true => format!("after {PROBES_MAX} probes"),
            false => format!("for {} s, in which no two looks agreed for long", doubted.as_secs()),
        };
        return Decision::Record(vec![Event::OperationParked {
            reason: Reason::InDoubt.as_str().to_owned(),
            message: format!("{}: no evidence {tried}: {}", open.step.describe(), waiting.message),
        }]);
    }
    Decision::InDoubt(waiting)
}

fn proof(inputs: Inputs<'_>) -> String {
    evidence(&serde_json::json!({
        "views": views::told(inputs.seen),
        "equal_for_ms": u64::try_from(equal_for(inputs).as_millis()).unwrap_or(u64::MAX),
    }))
}

fn standing(inputs: Inputs<'_>, open: &OpenStep) -> Standing {
    let Inputs { seen, .. } = inputs;
    match &open.step {
        Step::SetTemplate { digest, .. } => match &seen.stateful_set {
            None => done(),
            Some(set) if set.template_digest.as_deref() == Some(digest) => done(),
            Some(_) => {
                again(inputs, Question::Set, "the StatefulSet does not carry the template yet")
            }
        },
        Step::ScaleStatefulSet { to, .. } => match &seen.stateful_set {
            Some(set) if set.replicas == *to && !set.deleting => done(),
            _ => again(inputs, Question::Set, "the StatefulSet does not have these replicas yet"),
        },
        Step::JoinMember { member, .. } => settle_join(inputs, open, member),
        Step::DisjoinMember { member, survivor } | Step::RemoveGhostMember { member, survivor } => {
            settle_removal(inputs, open, member, survivor)
        }
        Step::ResetMember { member } => settle_reset(inputs, member),
        Step::CancelTask { member, task } => settle_cancel(inputs, member, *task),
        Step::DeleteVolume { ordinal, claim_uid, claim, receipt } => {
            settle_volume(inputs, (*ordinal, claim, claim_uid), receipt)
        }
        Step::CreateGrid { .. } | Step::UpdateGrid { .. } | Step::DeleteGrid { .. } => {
            grids::standing(inputs, open)
        }
        Step::UploadTemplate { .. } | Step::DeleteTemplate { .. } => {
            templates::standing(inputs, open)
        }
        Step::RollMember { member, .. } => roll::standing(inputs, member),
        Step::GrowVolume { ordinal, claim, claim_uid, to, .. } => {
            storage::standing(inputs, *ordinal, claim, claim_uid, to)
        }
        Step::SetUpReplication { .. } | Step::PromotePrimary { .. } => {
            replication::standing(inputs, open)
        }
        Step::DeleteStatefulSet { uid } => match &seen.stateful_set {
            Some(set) if set.uid == *uid && set.deleting => {
                Standing::Running(Waiting::new(Reason::Deleting, "the StatefulSet is going"))
            }
            Some(set) if set.uid == *uid => {
                again(inputs, Question::Set, "the StatefulSet is still there")
            }
            _ => done(),
        },
    }
}

pub(super) fn done() -> Standing {
    Standing::Succeeded { flagged: None }
}

/// An effect on Kubernetes that is not seen yet: it is sent again (it names UIDs and resource
/// versions, so that a late former request fails) once a request could no longer be on its way.
pub(super) fn again(inputs: Inputs<'_>, about: Question<'_>, message: &str) -> Standing {
    if about.is_settled(inputs, inputs.times.settle) {
        Standing::Resend
    } else {
        Standing::InDoubt(Waiting::new(Reason::InDoubt, message))
    }
}

pub(super) fn accepted(open: &OpenStep) -> Option<u64> {
    match open.progress {
        Progress::Accepted { task } => task,
        Progress::Intended | Progress::Unknown { .. } => None,
    }
}

pub(super) fn earlier_keys(inputs: Inputs<'_>, open: &OpenStep) -> Vec<StepKey> {
    let keys = inputs
        .state
        .operation
        .as_ref()
        .and_then(|operation| operation.attempts.get(&open.step.target()));
    keys.map(|keys| keys.iter().copied().filter(|key| *key != open.key).collect())
        .unwrap_or_default()
}

fn settle_join(inputs: Inputs<'_>, open: &OpenStep, member: &MemberRef) -> Standing {
    let Inputs { seen, state, wanted, .. } = inputs;
    let changed = views::changed(seen, member.ordinal, &member.incarnation);
    let report = seen.reports.get(&member.ordinal);
    // A task id is only worth something in the life that told it.
    let task_id = accepted(open).filter(|_| !changed);
    let facts = join::Facts {
        listing: views::listing(seen, state, member.ordinal, &member.name),
        task: views::our_task(
            report.and_then(|report| report.read_tasks()),
            open.key,
            inputs.join_command,
            task_id,
            &earlier_keys(inputs, open),
        ),
        changed,
        own: views::own_view(seen, state, member.ordinal, &member.name),
        running: seen.pods.get(&member.ordinal).is_some_and(|pod| pod.running),
        wanted: member.ordinal < wanted.size && !wanted.deleting,
    };
    let (row, verdict) = join::table(facts);
    let settled = Question::Join(member.ordinal).is_settled(inputs, two(inputs, changed));
    let doubt = |what: &str| {
        let message = format!("join of {}: {what}: {} (row {row})", member.name, facts.describe());
        Standing::InDoubt(Waiting::new(Reason::InDoubt, message))
    };
    match verdict {
        join::Verdict::Adopt => Standing::Running(Waiting::new(
            Reason::Joining,
            format!("{} is joining the group", member.name),
        )),
        join::Verdict::InDoubt => doubt("no evidence decides yet"),
        join::Verdict::Succeeded => done(),
        _ if !settled => doubt("waiting for a second equal observation"),
        join::Verdict::SucceededAfterTwo => Standing::Succeeded {
            flagged: (facts.task == OurTask::Failed)
                .then(|| "the task ended Failed and the member is in the group".to_owned()),
        },
        join::Verdict::VoidAfterTwo => Standing::Void,
        join::Verdict::FailedAfterTwo => Standing::Failed {
            reason: format!("{} (row {row} of the join table)", facts.describe()),
        },
        join::Verdict::ResendAfterTwo => Standing::Resend,
    }
}

fn settle_removal(
    inputs: Inputs<'_>,
    open: &OpenStep,
    member: &MemberRef,
    survivor: &Survivor,
) -> Standing {
    let Inputs { seen, state, .. } = inputs;
    let survivor_changed = views::changed(seen, survivor.ordinal, &survivor.incarnation);
    let tasks = seen.reports.get(&survivor.ordinal).and_then(|report| report.read_tasks());
    let task_id = accepted(open).filter(|_| !survivor_changed);
    let facts = disjoin::Facts {
        presence: disjoin::presence(seen, state, member.ordinal, &member.name),
        task: views::our_task(
            tasks,
            open.key,
            inputs.disjoin_command,
            task_id,
            &earlier_keys(inputs, open),
        ),
        survivor_changed,
        survivor_lost: views::lost(seen, survivor.ordinal, &survivor.incarnation),
        task_anywhere: views::task_runs_anywhere(seen),
    };
    let (row, verdict) = disjoin::table(facts);
    let ended = matches!(facts.task, OurTask::Success | OurTask::Failed);
    let settled =
        removal(member, survivor, ended).is_settled(inputs, two(inputs, survivor_changed));
    let doubt = |what: &str| {
        let message =
            format!("removal of {}: {what}: {} (row {row})", member.name, facts.describe());
        Standing::InDoubt(Waiting::new(Reason::InDoubt, message))
    };
    match verdict {
        disjoin::Verdict::Adopt => Standing::Running(Waiting::new(
            Reason::Disjoining,
            format!("{} is leaving the group", member.name),
        )),
        disjoin::Verdict::InDoubt => doubt("no evidence decides yet"),
        _ if !settled => doubt("waiting for a second equal observation"),
        disjoin::Verdict::SucceededAfterTwo => Standing::Succeeded {
            flagged: (facts.task == OurTask::Failed)
                .then(|| "the task ended Failed and the member is out of the group".to_owned()),
        },
        disjoin::Verdict::VoidAfterTwo => Standing::Void,
        disjoin::Verdict::FailedAfterTwo => Standing::Failed {
            reason: format!("{} (row {row} of the disjoin table)", facts.describe()),
        },
        disjoin::Verdict::ResendAfterTwo => Standing::Resend,
    }
}

/// How far apart two equal observations must lie: what a dead process left behind can still take
/// effect for the longest task's time.
pub(super) fn two(inputs: Inputs<'_>, changed: bool) -> Duration {
    if changed { inputs.times.orphan } else { inputs.times.settle }
}

fn settle_reset(inputs: Inputs<'_>, member: &MemberRef) -> Standing {
    let Inputs { seen, .. } = inputs;
    let claim = seen.claims.get(&member.ordinal).filter(|claim| claim.uid == member.claim_uid);
    let pod = seen
        .pods
        .get(&member.ordinal)
        .filter(|pod| pod.incarnation.pod_uid == member.incarnation.pod_uid);
    match (claim, pod) {
        (None, None) => done(),
        (claim, pod) => {
            let all_going = claim.is_none_or(|claim| claim.deleting)
                && pod.is_none_or(|pod| pod.deleting || claim.is_none());
            let waiting = Waiting::new(
                Reason::ResettingMember,
                format!("{}: its claim and pod are going", member.name),
            );
            // The pod ends by itself only when it was asked to.
            if all_going && pod.is_none_or(|pod| pod.deleting) {
                Standing::Running(waiting)
            } else {
                again(inputs, Question::Objects(member.ordinal), &waiting.message)
            }
        }
    }
}

fn settle_cancel(inputs: Inputs<'_>, member: &MemberRef, task: u64) -> Standing {
    let Inputs { seen, .. } = inputs;
    if views::changed(seen, member.ordinal, &member.incarnation) {
        return if Question::Cancelled(member).is_settled(inputs, inputs.times.orphan) {
            Standing::Void
        } else {
            Standing::InDoubt(Waiting::new(Reason::InDoubt, "the member's process changed"))
        };
    }
    let Some(tasks) = seen.reports.get(&member.ordinal).and_then(|report| report.read_tasks())
    else {
        // Its role is taken from it: whether a task of its ends does not matter any more.
        if replication::is_replaced(inputs, member.ordinal) {
            return Standing::Void;
        }
        let message = format!("{}: its tasks cannot be read", member.name);
        return Standing::InDoubt(Waiting::new(Reason::InDoubt, message));
    };
    match tasks.iter().find(|listed| listed.id == task) {
        Some(listed) if listed.is_running() => {
            again(inputs, Question::Cancelled(member), "the cancelled task is still running")
        }
        Some(_) | None => done(),
    }
}

fn settle_volume(
    inputs: Inputs<'_>,
    (ordinal, claim, claim_uid): (Ordinal, &str, &str),
    receipt: &Receipt,
) -> Standing {
    match inputs.seen.claims.get(&ordinal) {
        Some(live) if live.uid == claim_uid && live.deleting => Standing::Running(Waiting::new(
            Reason::ReclaimingVolume,
            format!("claim {claim} is going"),
        )),
        // Its volume came between the look and the request, which named the claim as it was before.
        Some(live)
            if live.uid == claim_uid
                && matches!(receipt, Receipt::NeverBound { .. })
                && !live.never_bound =>
        {
            match Question::Objects(ordinal).is_settled(inputs, inputs.times.settle) {
                true => Standing::Void,
                false => Standing::InDoubt(Waiting::new(
                    Reason::InDoubt,
                    format!("claim {claim} has a volume now: looking again"),
                )),
            }
        }
        Some(live) if live.uid == claim_uid => {
            again(inputs, Question::Objects(ordinal), "the claim is still there")
        }
        Some(_) | None => done(),
    }
}
