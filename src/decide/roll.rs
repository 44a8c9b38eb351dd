//! The roll: members are brought to another pod template, one at a time.
//!
//! The template is committed first, so that a pod that dies by itself comes back on it. Then the
//! members that only hold data go, the highest first, then those with a catalog server, the
//! primary last; each only while every member is back and every grid that it could hurt is placed.
//! Until the first pod has gone a roll gives way to work on grids. Where a roll
//! stops before its end (its partition, a member that does not come back, a pause) the former
//! template is committed again before anything else.

mod grids;
mod pods;
mod run;
#[cfg(test)]
mod tests;

use std::time::Duration;

use xsld_journal::event::{Cause, End, Event, Goal, MemberRef, OperationKind, Ordinal, Step, Text};
use xsld_journal::state::{CacheState, Operation, Template};

use self::pods::Pods;
pub(crate) use self::pods::is_hopeless;
use self::run::run;
use super::question::Question;
use super::steps::{Standing, again, done};
use super::{Decision, Inputs, Waiting, converge, membership, replication, taken, views};
use crate::crd::conditions::ConditionReason as Reason;

/// How a spec wants its members to be rolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Members below this place stay as they are.
    pub partition: u32,
    /// How long one member may take to come back.
    pub deadline: Duration,
    /// Whether the former template is brought back when one does not.
    pub rollback: bool,
}

/// Carries on with the open roll, or begins one where the pod template is another one than the
/// committed. Called when nothing is to be done about members.
pub(super) fn decide(inputs: Inputs<'_>) -> Decision {
    let Some(plan) = Plan::of(inputs) else { return Decision::Rest };
    match &inputs.state.operation {
        None if plan.is_needed() => grids::work(inputs)
            .or_else(|| taken::keeps_pods(inputs))
            .unwrap_or_else(|| plan.begin()),
        None => Decision::Rest,
        Some(operation) if operation.kind != OperationKind::ImageRoll => Decision::Rest,
        Some(operation) if operation.goal != plan.goal => superseded(plan.words()),
        // What the former template keeps from coming about is in the way of members, too.
        Some(_) if membership::acts(inputs) && !plan.is_in_the_way() => {
            superseded("a change of members".to_owned())
        }
        Some(operation) => plan.carry_on(operation),
    }
}

/// A template that the API server refuses, or that a pod cannot start from, holds up everything that
/// waits for it, so another template is not kept waiting by that: it ends the operation on the
/// members, and the roll goes first.
pub(super) fn goes_first(inputs: Inputs<'_>) -> Option<Decision> {
    let plan = Plan::of(inputs)?;
    let is_held = taken::keeps_pods(inputs).is_some();
    if is_held || !plan.is_needed() || !plan.stays_in_the_way() {
        return None;
    }
    match &inputs.state.operation {
        // What is left alone for a while is not in the way of the members.
        None => Some(plan.begin()).filter(|decision| !matches!(decision, Decision::Wait(_))),
        Some(operation) if operation.kind.touches_membership() => Some(superseded(plan.words())),
        Some(_) => None,
    }
}

/// Before a pause rests, the former template is committed again: a pod that dies meanwhile must
/// not take the new one.
pub(super) fn before_pause(inputs: Inputs<'_>) -> Option<Decision> {
    let state = inputs.state;
    let operation = state.operation.as_ref()?;
    let Goal::PodTemplate { digest, .. } = &operation.goal else { return None };
    if state.committed.template.as_ref()?.digest != *digest || operation.parked.is_some() {
        return None;
    }
    let former = state.former.as_ref()?;
    Some(run(inputs, operation, commit(former)))
}

/// What is to be done before the primary's pod is deleted; none when nothing is. Where the
/// configuration database has a replica, this is where the role of the primary moves to it.
fn before_primary(inputs: Inputs<'_>, ordinal: u32) -> Option<Decision> {
    replication::move_primary_away(inputs, ordinal)
}

/// Why a pod template that differs from the committed one is not being rolled out; none when it is
/// the committed one, or is on its way.
pub(crate) fn waits(inputs: Inputs<'_>) -> Option<Waiting> {
    let (wanted, state) = (inputs.wanted, inputs.state);
    if marker(state).is_some() {
        return None;
    }
    let committed = state.committed.template.as_ref()?;
    if committed.digest == wanted.template.0 {
        let plan = Plan::of(inputs)?;
        return plan.behind(&plan.pods.strays(plan.partition));
    }
    let short = wanted.template.0.get(..12).unwrap_or(&wanted.template.0);
    if !wanted.may_roll {
        let why = match state.held_template.as_ref() == Some(&wanted.template.0) {
            true => "the group was adopted with other pods than the spec asks for",
            false => "this release of the operator makes other pods from the same spec",
        };
        let message = format!(
            "{why}; they are made anew when the XsldCache is annotated with {}={short}",
            crate::manifests::ANNOTATION_CONSENT
        );
        return Some(Waiting::new(Reason::RequiresUpdate, message));
    }
    let plan = Plan::of(inputs)?;
    let Some(rolled) = state.rolled.as_ref().filter(|rolled| rolled.goal == plan.goal) else {
        let message = format!("pod template {short} waits for its roll");
        return Some(Waiting::new(Reason::RequiresUpdate, message));
    };
    Some(match &rolled.end {
        End::Failed { reason } => {
            Waiting::new(Reason::RolloutHalted, format!("{reason}; change the spec to try again"))
        }
        End::Succeeded | End::Superseded { .. }
            if let Some(behind) = plan.behind(&plan.lagging()) =>
        {
            behind
        }
        End::Succeeded | End::Superseded { .. } => Waiting::new(
            Reason::PartitionReached,
            format!(
                "the members from {} on were rolled to pod template {short}; the others follow \
                 when rollout.partition is lowered",
                plan.partition
            ),
        ),
    })
}

/// What the time of a member's return is counted by: another value begins it anew.
pub(crate) fn marker(state: &CacheState) -> Option<(u64, usize)> {
    let operation = state.operation.as_ref()?;
    // A deletion that was only intended is none yet: what it was decided by still counts.
    let step = operation.step.as_ref().map(|open| &open.step);
    let open = matches!(step, Some(Step::RollMember { .. }));
    let rolls = operation.kind == OperationKind::ImageRoll;
    // Once a person let a halted roll go on, the deadline runs anew.
    let since = operation.begun_seq.max(operation.retried_seq);
    rolls.then(|| (since, rolls_of(operation).saturating_sub(usize::from(open))))
}

/// The effect is done when no pod with that UID exists.
pub(super) fn standing(inputs: Inputs<'_>, member: &MemberRef) -> Standing {
    let pod = inputs.seen.pods.get(&member.ordinal);
    match pod.filter(|pod| pod.incarnation.pod_uid == member.incarnation.pod_uid) {
        Some(pod) if pod.deleting => {
            let message = format!("the former pod of {} is ending", member.name);
            Standing::Running(Waiting::new(Reason::RollingImage, message))
        }
        Some(_) => {
            again(inputs, Question::Objects(member.ordinal), "the former pod is still there")
        }
        None => done(),
    }
}

/// How many pods the operation set out to delete.
fn rolls_of(operation: &Operation) -> usize {
    let rolls = operation.attempts.iter().filter(|(target, _)| target.starts_with("roll_member/"));
    rolls.map(|(_, keys)| keys.len()).sum()
}

fn superseded(by: String) -> Decision {
    Decision::Record(vec![Event::OperationEnded { end: End::Superseded { by } }])
}

fn commit(template: &Template) -> Step {
    Step::SetTemplate { digest: template.digest.clone(), template: template.text.clone() }
}

/// What is to be rolled, and how it stands.
struct Plan<'a> {
    inputs: Inputs<'a>,
    goal: Goal,
    /// The template that the members are to have.
    digest: String,
    text: &'a Text,
    partition: u32,
    committed: &'a Template,
    pods: Pods<'a>,
}

impl<'a> Plan<'a> {
    /// None before anything is committed. What differs only by the operator's own release counts
    /// as the committed template until somebody consents.
    fn of(inputs: Inputs<'a>) -> Option<Self> {
        let committed = inputs.state.committed.template.as_ref()?;
        let (digest, text) = match inputs.wanted.may_roll {
            true => (&inputs.wanted.template.0, &inputs.wanted.template.1),
            false => (&committed.digest, &committed.text),
        };
        let Rollout { partition, deadline, rollback } = inputs.wanted.rollout;
        let goal = Goal::PodTemplate {
            digest: digest.clone(),
            partition,
            deadline_seconds: u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX),
            rollback,
        };
        let (digest, pods) = (digest.clone(), Pods::of(inputs, &committed.digest));
        Some(Self { inputs, goal, digest, text, partition, committed, pods })
    }

    fn words(&self) -> String {
        let short = self.digest.get(..12).unwrap_or(&self.digest);
        format!("generation {}: pod template {short}", self.inputs.wanted.generation)
    }

    /// The same roll is not begun again once it ended, but what it left on another template than
    /// the committed one is, and so is what came back on another one than the canary's. A template
    /// before the present one is kept as long as a roll has not ended: whatever it was to reach, what
    /// was done before it is done no more.
    fn is_needed(&self) -> bool {
        let unfinished = self.inputs.state.former.is_some();
        if self.committed.digest == self.digest {
            // What the spec asks for may have been rolled out in part before the group was adopted.
            let held = self.inputs.state.held_template.as_ref();
            let waits = held == Some(&self.inputs.wanted.template.0);
            return unfinished || (!waits && !self.pods.strays(self.partition).is_empty());
        }
        let rolled = self.inputs.state.rolled.as_ref().filter(|rolled| rolled.goal == self.goal);
        match rolled.map(|rolled| &rolled.end) {
            None => true,
            Some(End::Succeeded) => unfinished || self.partition == 0 || !self.lagging().is_empty(),
            Some(End::Failed { .. } | End::Superseded { .. }) => unfinished,
        }
    }

    /// Members of a canary that came back on another template than its own: a StatefulSet has one
    /// template for all new pods, and that is the former one while the others are to stay on it.
    fn lagging(&self) -> Vec<Ordinal> {
        self.pods.lagging(&self.digest, self.partition)
    }

    /// What is told of pods that are to be rolled once more.
    fn behind(&self, ordinals: &[Ordinal]) -> Option<Waiting> {
        (!ordinals.is_empty())
            .then(|| Waiting::new(Reason::RollingImage, self.behind_words(ordinals)))
    }

    fn behind_words(&self, ordinals: &[Ordinal]) -> String {
        let names = ordinals.iter().map(|ordinal| views::name_of(self.inputs.state, *ordinal));
        let names = names.collect::<Vec<_>>().join(", ");
        let short = self.digest.get(..12).unwrap_or(&self.digest);
        format!("pods of another template than {short}: {names}")
    }

    /// Whether what is committed keeps members from coming, and another template is to replace it.
    fn is_in_the_way(&self) -> bool {
        !self.pods.blocked(&self.digest).is_empty() || self.is_refused()
    }

    /// Whether that stays so: a pod that crashed once may come up by itself.
    fn stays_in_the_way(&self) -> bool {
        let settled =
            |question: Question<'_>| question.is_settled(self.inputs, self.inputs.times.settle);
        let blocked = self.pods.blocked(&self.digest);
        let stays = || blocked.iter().any(|ordinal| settled(Question::Down(*ordinal)));
        settled(Question::Set) && (self.is_refused() || stays())
    }

    /// Whether more replicas could not be set with the committed template, or the operation that was
    /// to set them ended for that, so that another template is committed first.
    fn is_refused(&self) -> bool {
        let state = self.inputs.state;
        if self.committed.digest == self.digest {
            return false;
        }
        let of_members = |kind: OperationKind| kind.touches_membership();
        match &state.operation {
            Some(operation) if of_members(operation.kind) => {
                let committed = state.committed.replicas.unwrap_or(0);
                let raises = |target: &String| {
                    let to = target.strip_prefix("scale_stateful_set/");
                    to.and_then(|to| to.parse::<u32>().ok()).is_some_and(|to| to > committed)
                };
                operation.last_failure.is_some() && operation.attempts.keys().any(raises)
            }
            _ => state.recent.back().is_some_and(|last| {
                of_members(last.kind) && last.end == End::Superseded { by: self.words() }
            }),
        }
    }

    fn begin(&self) -> Decision {
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        let (to, rolled) = (short(&self.digest), self.inputs.state.rolled.as_ref());
        let reason = if self.committed.digest == self.digest {
            match self.pods.strays(self.partition).as_slice() {
                [] => format!("the roll to pod template {to} has not ended"),
                strays => self.behind_words(strays),
            }
        } else {
            match rolled.filter(|rolled| rolled.goal == self.goal).map(|_| self.lagging()) {
                Some(lagging) if !lagging.is_empty() => self.behind_words(&lagging),
                _ => format!("pod template {} -> {to}", short(&self.committed.digest)),
            }
        };
        let cause = Cause { generation: self.inputs.wanted.generation, reason };
        converge::begin(self.inputs, OperationKind::ImageRoll, self.goal.clone(), cause)
    }

    fn carry_on(&self, operation: &Operation) -> Decision {
        let (back, placed) = (self.pods.back(), grids::placed(self.inputs));
        let at_rest = back.clone().and_then(|()| self.pods.at_rest());
        if let Some(decision) = self.complete(&back, &placed) {
            return decision;
        }
        if at_rest.is_ok()
            && let Some(decision) = self.about_grids(&placed)
        {
            return decision;
        }
        let whole = at_rest
            .and(placed)
            .and_then(|()| self.volume())
            .map_err(|waiting| membership::lost_volume(self.inputs).unwrap_or(waiting));
        if let Some(parked) = &operation.parked {
            let halted = parked.reason == Reason::RolloutHalted.as_str();
            return match whole {
                Ok(()) if halted => Decision::Record(vec![Event::OperationResumed {
                    evidence: "every member is back and every grid is placed".to_owned(),
                }]),
                _ if halted => Decision::wait(Reason::RolloutHalted, parked.message.clone()),
                _ => Decision::wait(Reason::Parked, parked.message.clone()),
            };
        }
        if self.committed.digest == self.digest {
            self.forward(operation, whole)
        } else if self.rolled_back(operation).is_some() {
            self.backward(operation, whole)
        } else {
            self.before_commit(operation, whole)
        }
    }

    /// The roll ends when nothing is outdated and every member is back. The placement of grids is
    /// waited for while it may be under way; nothing that the roll does hangs on it any more.
    fn complete(
        &self,
        back: &Result<(), Waiting>,
        placed: &Result<(), Waiting>,
    ) -> Option<Decision> {
        let orphan = self.inputs.times.orphan;
        let nothing_left = self.committed.digest == self.digest
            && self.pods.outdated().is_some_and(|outdated| outdated.is_empty());
        if !nothing_left || back.is_err() {
            return None;
        }
        let being_placed = placed.is_err() && !grids::is_in_error(self.inputs);
        let settled = || Question::Roll.is_settled(self.inputs, orphan);
        if being_placed && !settled() && !self.is_overdue() {
            return None;
        }
        Some(Decision::Record(vec![Event::OperationEnded { end: End::Succeeded }]))
    }

    /// Work on grids goes first until the first pod has gone, and later where a grid in error holds
    /// the roll up. What stays in error is left out before the first pod goes.
    fn about_grids(&self, placed: &Result<(), Waiting>) -> Option<Decision> {
        let inputs = self.inputs;
        // By this roll, or by one before it that was superseded.
        let begun = inputs.state.roll_took;
        let in_the_way = self.is_in_the_way();
        let held_by_error = placed.is_err() && grids::is_in_error(inputs);
        let yields = !begun || held_by_error;
        if yields && !in_the_way && self.pods.hopeless().is_none() && grids::work(inputs).is_some()
        {
            return Some(superseded("work on grids, which goes first".to_owned()));
        }
        if let Some(event) = grids::placed_after_all(inputs) {
            return Some(Decision::Record(vec![event]));
        }
        let left_out = placed.as_ref().err().filter(|_| !begun);
        let event = left_out.and_then(|_| grids::left_out(inputs))?;
        Some(Decision::Record(vec![event]))
    }

    /// Why the member that would be next must stay as it is: its volume would go with its pod.
    fn volume(&self) -> Result<(), Waiting> {
        let Inputs { seen, state, .. } = self.inputs;
        let left = self.pods.lagging(&self.digest, self.partition);
        let next = self.pods.next(&left, self.partition);
        next.and_then(|next| views::volume_going(seen, state, next)).map_or(Ok(()), Err)
    }

    /// The wanted template is committed: members are brought to it.
    fn forward(&self, operation: &Operation, whole: Result<(), Waiting>) -> Decision {
        if let Some(member) = self.pods.hopeless() {
            return self.roll(operation, member);
        }
        if let Err(waiting) = whole {
            if !self.is_overdue() {
                return Decision::Wait(waiting);
            }
            return match &self.inputs.state.former {
                Some(former) => run(self.inputs, operation, commit(former)),
                None => self.halt(&waiting),
            };
        }
        let Some(outdated) = self.pods.outdated() else {
            let message = "the StatefulSet's controller has not seen the pod template yet";
            return Decision::wait(Reason::RollingImage, message);
        };
        if let Some(next) = self.pods.next(&outdated, self.partition) {
            return self.next(operation, next);
        }
        match &self.inputs.state.former {
            Some(former) if !outdated.is_empty() => run(self.inputs, operation, commit(former)),
            _ => Decision::Record(vec![Event::OperationEnded { end: End::Succeeded }]),
        }
    }

    /// The wanted template is not committed: not yet, or not any more.
    fn before_commit(&self, operation: &Operation, whole: Result<(), Waiting>) -> Decision {
        let away = self.pods.away_on(&self.digest);
        let Err(waiting) = whole else {
            if self.partition > 0 && self.pods.all_on(&self.digest, self.partition) {
                return match &self.inputs.state.former {
                    // What is committed is a third template, of a roll that has not ended.
                    Some(former) => run(self.inputs, operation, commit(former)),
                    None => Decision::Record(vec![Event::OperationEnded { end: End::Succeeded }]),
                };
            }
            return self.commit_wanted(operation);
        };
        let overdue = self.is_overdue();
        if rolls_of(operation) == 0 && away.is_empty() && !overdue && !self.is_done_again() {
            return self.commit_wanted(operation);
        }
        if !overdue {
            return Decision::Wait(waiting);
        }
        match away.last() {
            Some(stuck) if self.inputs.wanted.rollout.rollback => self.roll(operation, *stuck),
            _ => self.halt(&waiting),
        }
    }

    /// Whether the same roll is done once more, for pods that did not stay on its template: nothing
    /// waits for that one to be committed.
    fn is_done_again(&self) -> bool {
        self.inputs.state.rolled.as_ref().is_some_and(|rolled| rolled.goal == self.goal)
    }

    fn commit_wanted(&self, operation: &Operation) -> Decision {
        let step = Step::SetTemplate { digest: self.digest.clone(), template: self.text.clone() };
        run(self.inputs, operation, step)
    }

    /// The former template is committed and the member that did not come back was deleted: those
    /// that did follow, and the operation ends as failed.
    fn backward(&self, operation: &Operation, whole: Result<(), Waiting>) -> Decision {
        if let Some(member) = self.pods.hopeless() {
            return self.roll(operation, member);
        }
        if let Err(waiting) = whole {
            if self.is_overdue() {
                return self.halt(&waiting);
            }
            return Decision::Wait(Waiting::new(Reason::RollingBack, waiting.message));
        }
        let updated = self.pods.on(&self.digest);
        if let Some(next) = self.pods.next(&updated, 0) {
            return self.next(operation, next);
        }
        let stuck = self.rolled_back(operation).unwrap_or_default();
        self.failed(&format!("{stuck} did not come back"))
    }

    /// The first member that was brought back to the committed template, though another one is the
    /// goal: that is done by a rollback only.
    fn rolled_back(&self, operation: &Operation) -> Option<String> {
        let suffix = format!("/{}", self.committed.digest);
        let name = |target: &String| {
            let name = target.strip_prefix("roll_member/")?.strip_suffix(&suffix)?;
            Some(name.to_owned())
        };
        operation.attempts.keys().find_map(name)
    }

    fn failed(&self, why: &str) -> Decision {
        let seconds = self.inputs.wanted.rollout.deadline.as_secs();
        let short = self.digest.get(..12).unwrap_or(&self.digest);
        let reason = format!(
            "{why} within {seconds} s with pod template {short}; the former one was brought back"
        );
        Decision::Record(vec![Event::OperationEnded { end: End::Failed { reason } }])
    }

    fn halt(&self, waiting: &Waiting) -> Decision {
        let seconds = self.inputs.wanted.rollout.deadline.as_secs();
        Decision::Record(vec![Event::OperationParked {
            reason: Reason::RolloutHalted.as_str().to_owned(),
            message: format!(
                "{} (for {seconds} s); the roll goes on by itself once that is over, or change \
                 the spec",
                waiting.message
            ),
        }])
    }

    /// The next member, once all that it could hurt has settled; the primary when all is ready for that.
    fn next(&self, operation: &Operation, ordinal: u32) -> Decision {
        let inputs = self.inputs;
        if !Question::Roll.is_settled(inputs, inputs.times.settle) {
            let name = views::name_of(inputs.state, ordinal);
            let message = format!("{name} is next once the members have settled");
            return Decision::wait(Reason::RollingImage, message);
        }
        let is_primary = views::primary(inputs.seen, inputs.state) == Some(ordinal);
        let first = if is_primary { before_primary(inputs, ordinal) } else { None };
        first.unwrap_or_else(|| self.roll(operation, ordinal))
    }

    fn roll(&self, operation: &Operation, ordinal: u32) -> Decision {
        let inputs = self.inputs;
        if let Some(waiting) = views::volume_going(inputs.seen, inputs.state, ordinal) {
            return Decision::Wait(waiting);
        }
        let Some(member) = views::member_now(inputs.seen, inputs.state, ordinal) else {
            let message = format!("{} has no volume claim", views::name_of(inputs.state, ordinal));
            return Decision::wait(Reason::WaitingForPods, message);
        };
        let recorded = inputs.state.members.get(&ordinal);
        if recorded.is_some_and(|recorded| recorded.claim_uid != member.claim_uid) {
            let message = format!(
                "{} has another volume than the one that it joined with, so its pod is not deleted \
                 for the roll; delete it to let it come back on the new pod template",
                member.name
            );
            return Decision::wait(Reason::WaitingForPods, message);
        }
        let template = self.committed.digest.clone();
        run(inputs, operation, Step::RollMember { member, template })
    }

    fn is_overdue(&self) -> bool {
        self.inputs.watch.rolling_for() >= self.inputs.wanted.rollout.deadline
    }
}
