//! The pods of a roll: which template each has, and whether its member is back.

use xsld_journal::event::Ordinal;
use xsld_journal::state::Member;

use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::question::Question;
use crate::decide::views::{self, Listing};
use crate::decide::{Decision, Inputs, Waiting, taken};
use crate::observation::PodFacts;

/// What Kubernetes says of a pod that its template keeps from starting; and that it backs off.
const HOPELESS: [&str; 7] = [
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "Unschedulable",
];

/// The pods of a cache as a roll looks at them.
pub(super) struct Pods<'a> {
    inputs: Inputs<'a>,
    committed: &'a str,
}

impl<'a> Pods<'a> {
    /// `committed` is the digest of the committed template.
    pub(super) fn of(inputs: Inputs<'a>, committed: &'a str) -> Self {
        Self { inputs, committed }
    }

    fn wanted(&self) -> impl Iterator<Item = (Ordinal, &'a PodFacts)> {
        let replicas = self.inputs.state.committed.replicas.unwrap_or(0);
        self.inputs.seen.pods.range(..replicas).map(|(ordinal, pod)| (*ordinal, pod))
    }

    /// Whether the pod was made from the committed template: by the revision that the StatefulSet's
    /// controller gives new pods. None while it has not seen that template.
    fn is_current(&self, pod: &PodFacts) -> Option<bool> {
        let set = self.inputs.seen.stateful_set.as_ref()?;
        if set.template_digest.as_deref() != Some(self.committed) {
            return None;
        }
        let revision = set.update_revision.as_deref()?;
        Some(pod.revision.as_deref() == Some(revision))
    }

    /// Pods that were not made from the committed template; none while that cannot be told.
    pub(super) fn outdated(&self) -> Option<Vec<Ordinal>> {
        let mut outdated = Vec::new();
        for (ordinal, pod) in self.wanted() {
            if !self.is_current(pod)? {
                outdated.push(ordinal);
            }
        }
        Some(outdated)
    }

    /// Pods from `partition` on that were certainly made from another template of ours than the
    /// committed one.
    pub(super) fn strays(&self, partition: u32) -> Vec<Ordinal> {
        self.wanted()
            .filter(|(ordinal, pod)| {
                *ordinal >= partition
                    && self.is_current(pod) == Some(false)
                    && pod.template.as_deref().is_some_and(|digest| digest != self.committed)
            })
            .map(|(ordinal, _)| ordinal)
            .collect()
    }

    /// Pods from `partition` on that are there to stay and were certainly made from another template
    /// than this one.
    pub(super) fn lagging(&self, digest: &str, partition: u32) -> Vec<Ordinal> {
        self.wanted()
            .filter(|(ordinal, pod)| {
                *ordinal >= partition
                    && !pod.deleting
                    && pod.template.as_deref().is_some_and(|made_from| made_from != digest)
            })
            .map(|(ordinal, _)| ordinal)
            .collect()
    }

    /// Pods that were made from this template.
    pub(super) fn on(&self, digest: &str) -> Vec<Ordinal> {
        let on = self.wanted().filter(|(_, pod)| pod.template.as_deref() == Some(digest));
        on.map(|(ordinal, _)| ordinal).collect()
    }

    /// Whether every pod from `partition` on was made from this template.
    pub(super) fn all_on(&self, digest: &str, partition: u32) -> bool {
        self.wanted()
            .filter(|(ordinal, _)| *ordinal >= partition)
            .all(|(_, pod)| pod.template.as_deref() == Some(digest))
    }

    /// Pods of this template whose member is not back.
    pub(super) fn away_on(&self, digest: &str) -> Vec<Ordinal> {
        let on = self.on(digest).into_iter();
        on.filter(|ordinal| self.away(*ordinal).is_some()).collect()
    }

    /// Pods that cannot start and were not made from this template; or that cannot even be made,
    /// while this template is not the committed one.
    pub(super) fn blocked(&self, digest: &str) -> Vec<Ordinal> {
        let Inputs { seen, state, .. } = self.inputs;
        let is_blocked = |ordinal: &Ordinal| {
            let Some(pod) = seen.pods.get(ordinal) else { return digest != self.committed };
            let other = match pod.template.as_deref() {
                Some(made_from) => made_from != digest,
                None => digest != self.committed,
            };
            other && (is_hopeless(pod) || (!state.bootstrapped && is_down(pod)))
        };
        let replicas = state.committed.replicas.unwrap_or(0);
        (0..replicas).filter(is_blocked).collect()
    }

    /// A pod that is down and whose template will not bring it up, or that nobody misses: it is
    /// deleted at once, because waiting for it would be in vain. The primary comes first, because
    /// without it nothing can be told of the others.
    pub(super) fn hopeless(&self) -> Option<Ordinal> {
        let Inputs { seen, state, times, .. } = self.inputs;
        if taken::keeps_pods(self.inputs).is_some() {
            return None;
        }
        let stays_so = |ordinal| Question::Down(ordinal).is_settled(self.inputs, times.settle);
        let former = state.former.as_ref().map(|former| former.digest.as_str());
        let down: Vec<Ordinal> = self
            .wanted()
            .filter(|(ordinal, pod)| {
                let abandoned = pod
                    .template
                    .as_deref()
                    .is_some_and(|digest| digest != self.committed && Some(digest) != former);
                self.is_current(pod) == Some(false)
                    && is_down(pod)
                    && stays_so(*ordinal)
                    && views::volume_going(seen, state, *ordinal).is_none()
                    && (abandoned || is_hopeless(pod) || !state.members.contains_key(ordinal))
            })
            .map(|(ordinal, _)| ordinal)
            .collect();
        let primary = views::primary(seen, state).filter(|primary| down.contains(primary));
        primary.or_else(|| down.last().copied())
    }

    /// The member that is rolled next, of those in `left` from `partition` on: those without a
    /// catalog server first, the primary last, the highest first. One whose volume would go with its
    /// pod comes after all but the primary: it is not deleted.
    pub(super) fn next(&self, left: &[Ordinal], partition: u32) -> Option<Ordinal> {
        let Inputs { seen, state, .. } = self.inputs;
        let primary = views::primary(seen, state);
        let rank = |ordinal: Ordinal| {
            let catalog = state.members.get(&ordinal).is_some_and(|member| member.catalog);
            let going = views::volume_going(seen, state, ordinal).is_some();
            (primary == Some(ordinal), going, catalog, std::cmp::Reverse(ordinal))
        };
        left.iter()
            .copied()
            .filter(|ordinal| *ordinal >= partition)
            .min_by_key(|ordinal| rank(*ordinal))
    }

    /// Whether every recorded member is back.
    pub(super) fn back(&self) -> Result<(), Waiting> {
        let mut members = self.inputs.state.members.keys();
        members.find_map(|ordinal| self.away(*ordinal)).map_or(Ok(()), Err)
    }

    /// Whether the group can be seen and no task runs in it.
    pub(super) fn at_rest(&self) -> Result<(), Waiting> {
        let Inputs { seen, state, .. } = self.inputs;
        if state.bootstrapped && views::needed(seen, state, Ordinal::MAX).is_none() {
            let message = "the group cannot be seen well enough to go on";
            return Err(Waiting::new(Reason::GroupUnreachable, message));
        }
        if seen.any_task_running() {
            let message = "another task runs in the group: waiting for its end";
            return Err(Waiting::new(Reason::ForeignTask, message));
        }
        // A pod that is made anew would start with what is another's.
        match taken::keeps_pods(self.inputs) {
            Some(Decision::Wait(waiting)) => Err(waiting),
            _ => Ok(()),
        }
    }

    /// Why a recorded member is not back.
    fn away(&self, ordinal: Ordinal) -> Option<Waiting> {
        let Inputs { seen, state, .. } = self.inputs;
        let wait = |what: String| Some(Waiting::new(Reason::WaitingForPods, what));
        let name = views::name_of(state, ordinal);
        let Some(pod) = seen.pods.get(&ordinal) else { return wait(format!("{name} has no pod")) };
        if pod.deleting {
            return wait(format!("{name} is ending"));
        }
        if !pod.running {
            let why = pod.waiting.as_deref().unwrap_or("it is starting");
            return wait(format!("{name} is not up: {why}"));
        }
        let member = state.members.get(&ordinal)?;
        self.not_rejoined(ordinal, member)
            .and_then(|why| wait(format!("{name} is not back in the group: {why}")))
    }

    fn not_rejoined(&self, ordinal: Ordinal, member: &Member) -> Option<&'static str> {
        let Inputs { seen, state, .. } = self.inputs;
        if views::established_report(seen, state, ordinal).is_none() {
            return Some("it does not answer as the process that the journal knows");
        }
        let Some(needed) = views::needed(seen, state, Ordinal::MAX) else {
            // Whoever tells the present view is there; without any nobody can be told to be away.
            let tells = views::view_of(seen, state, ordinal).is_some();
            return (!tells).then_some("it has no present view of the group");
        };
        let pod = seen.pods.get(&ordinal);
        let online = |view: &&crate::xsld::view::GroupView| {
            views::listed_in(view, &member.name, pod) == Listing::Online
        };
        (!needed.iter().all(online)).then_some("the members do not list it Online")
    }
}

/// Whether a pod that is to stay is not ready.
fn is_down(pod: &PodFacts) -> bool {
    !pod.ready && !pod.deleting
}

/// Whether its template keeps a pod from starting.
pub(crate) fn is_hopeless(pod: &PodFacts) -> bool {
    let hopeless = |reason: &str| HOPELESS.contains(&reason) || reason.ends_with("BackOff");
    is_down(pod) && pod.waiting.as_deref().is_some_and(hopeless)
}
