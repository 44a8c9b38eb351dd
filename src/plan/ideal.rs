//! The ideal world: what is seen after a step succeeded, when nothing else happens.
//!
//! It keeps a copy of the journal's state, which takes the very events that the operator would
//! append, and a copy of the observation. Steps change the observation at once; what Kubernetes and
//! the members do by themselves (pods start, claims go, members come back) happens when `decide`
//! waits. Of what was not seen at the beginning nothing is made up.

mod group;
mod kubernetes;

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;
use xsld_journal::event::{Event, OperationId, Ordinal, Step, StepKey};
use xsld_journal::state::{CacheState, IllegalTransition, OpenStep, Stamp};

use super::Claim;
use super::story::Story;
use crate::decide::parts::parts;
use crate::decide::watch::Watch;
use crate::decide::{Inputs, replication, steps};
use crate::observation::{Observation, Shown};
use crate::xsld::view::{Answer, GridStatus, GridView, GroupView};

/// A world in which every step succeeds.
pub(super) struct Ideal<'a> {
    /// What is really seen and known.
    real: Inputs<'a>,
    state: CacheState,
    seen: Observation,
    watch: Watch,
    /// Things that were made so far: names that no two of them share.
    made: u32,
    /// The last present view of the group.
    remembered: Option<GroupView>,
    /// Why something that is waited for cannot be told.
    not_told: Option<String>,
}

impl<'a> Ideal<'a> {
    /// The world as it is.
    pub(super) fn of(inputs: Inputs<'a>) -> Self {
        let (key, task) =
            (inputs.state.open_step().map(|open| open.key), steps::running_task(inputs));
        let now = inputs.watch.now().max(inputs.seen.at);
        // A watch that was set back begins anew with what is seen; to any other this is no news.
        let watch = inputs.watch.clone().observe(parts(inputs), now, key, task);
        let mut ideal = Self {
            real: inputs,
            state: inputs.state.clone(),
            seen: inputs.seen.clone(),
            watch,
            made: 0,
            remembered: None,
            not_told: None,
        };
        ideal.remember();
        ideal
    }

    /// What `decide` looks at.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { seen: &self.seen, state: &self.state, watch: &self.watch, ..self.real }
    }

    /// Why what is waited for cannot be told, where that is known.
    pub(super) fn not_told(&self) -> Option<String> {
        self.not_told.clone()
    }

    /// The claims that stay when the cache is gone.
    pub(super) fn kept_with_the_cache(&self) -> Vec<Claim> {
        if !self.state.closed {
            return vec![];
        }
        let claims = self.seen.claims.values();
        claims.map(|claim| Claim { name: claim.name.clone(), uid: claim.uid.clone() }).collect()
    }

    /// Takes a record, as the journal would.
    pub(super) fn record(&mut self, event: &Event) -> Result<(), IllegalTransition> {
        let operation = match event {
            Event::OperationBegun { .. } => {
                self.made += 1;
                Some(OperationId(Uuid::from_u128(u128::from(self.made))))
            }
            _ => self.state.operation.as_ref().map(|operation| operation.id),
        };
        // No record has this sequence: what is planned is not recorded yet.
        self.state.apply(Stamp { seq: 0, time_us: 0, operation }, event)?;
        if matches!(event, Event::Bootstrapped { .. }) {
            // A group that has just been formed has neither.
            self.seen.grids.get_or_insert(Answer::Known(Shown::default()));
            self.seen.templates.get_or_insert(Answer::Known(Shown::default()));
        }
        self.note();
        Ok(())
    }

    /// Intends a step and lets it take effect.
    pub(super) fn run(&mut self, step: Step, evidence: String) -> Result<(), IllegalTransition> {
        let Some(operation) = &self.state.operation else { return Ok(()) };
        let target = step.target();
        let attempt = operation.attempts_of(&target).saturating_add(1);
        let key = StepKey::of(operation.id, &target, attempt);
        self.record(&Event::StepIntended { step, attempt, key, evidence })?;
        self.resend(key);
        Ok(())
    }

    /// Lets the open attempt take effect.
    pub(super) fn resend(&mut self, key: StepKey) {
        let mut open = self.state.open_cancel().into_iter().chain(self.state.open_step());
        if let Some(open) = open.find(|open| open.key == key).cloned() {
            self.take_effect(&open);
        }
    }

    /// Lets the open step that is seen to be on its way come to its end. False when none is. Then it
    /// is on its way no more, because that is its very effect.
    pub(super) fn finish_running(&mut self) -> bool {
        let inputs = self.inputs();
        let open = inputs.state.open_cancel().or_else(|| inputs.state.open_step());
        let Some(open) = open.filter(|open| steps::is_under_way(inputs, open)).cloned() else {
            return false;
        };
        self.take_effect(&open);
        true
    }

    /// Lets come about what is on its way without a step. False when nothing is.
    pub(super) fn ripen(&mut self, story: &mut Story) -> bool {
        let objects = self.ripen_objects(story);
        let volumes = self.ripen_volumes(story);
        let grids = self.ripen_grids(story);
        let changed = objects || volumes || grids || self.ripen_members(story);
        if changed {
            self.change();
        }
        changed
    }

    /// Nothing happens for that long.
    pub(super) fn rest(&mut self, span: Duration) {
        self.watch.imagine_rest(span);
        self.note();
    }

    fn change(&mut self) {
        self.remember();
        let parts = parts(self.inputs());
        self.watch.imagine_look(parts);
        self.note();
    }

    /// What the operator's watch takes note of beside the observation.
    fn note(&mut self) {
        self.watch.note_roll(crate::decide::roll::marker(&self.state));
        self.watch.note_deletion(crate::decide::deletion::marker(&self.state));
        let open = self.state.operation.as_ref();
        self.watch.note_retried(open.map_or(0, |open| open.retried_seq));
        self.watch.note_parked(open.is_some_and(|open| open.parked.is_some()));
        let lost = replication::unseen_primary(&self.seen, &self.state);
        self.watch.note_lost_primary(lost);
    }

    /// A name for something that does not exist yet.
    fn planned(&mut self) -> String {
        self.made += 1;
        format!("planned-{}", self.made)
    }

    /// Whether members can be spoken to at all.
    fn speaks(&self) -> bool {
        !self.real.join_command.is_empty()
    }

    /// The observation after this step succeeded.
    fn take_effect(&mut self, open: &OpenStep) {
        self.watch.imagine_change();
        match &open.step {
            Step::SetTemplate { digest, .. } => self.set_template(digest),
            Step::ScaleStatefulSet { to, .. } => self.scale(*to),
            Step::DeleteStatefulSet { .. } => self.seen.stateful_set = None,
            Step::DeleteVolume { ordinal, claim_uid, .. } => self.delete_claim(*ordinal, claim_uid),
            Step::ResetMember { member } => {
                self.delete_pod(member);
                self.delete_claim(member.ordinal, &member.claim_uid);
            }
            Step::RollMember { member, .. } => self.delete_pod(member),
            Step::GrowVolume { ordinal, claim_uid, to, .. } => self.grow(*ordinal, claim_uid, to),
            Step::JoinMember { member, catalog, .. } => {
                self.end_task(open, member.ordinal);
                self.join(member, *catalog);
            }
            Step::DisjoinMember { member, survivor }
            | Step::RemoveGhostMember { member, survivor } => {
                self.end_task(open, survivor.ordinal);
                self.leave(member);
            }
            Step::SetUpReplication { primary, replica } => {
                self.end_task(open, primary.ordinal);
                self.replicate(&primary.name, &replica.name);
            }
            Step::PromotePrimary { member, .. } => {
                self.end_task(open, member.ordinal);
                self.promote(member);
            }
            Step::CancelTask { member, task } => self.cancel(member.ordinal, *task),
            Step::CreateGrid { grid_uid, name, .. } | Step::UpdateGrid { grid_uid, name, .. } => {
                self.set_grid(grid_uid, name);
            }
            Step::DeleteGrid { name, .. } => {
                if let Some(Answer::Known(grids)) = &mut self.seen.grids {
                    grids.remove(name);
                }
            }
            Step::UploadTemplate { name, digest, .. } => {
                if let Some(Answer::Known(templates)) = &mut self.seen.templates {
                    templates.insert(name.clone(), digest.clone());
                }
            }
            Step::DeleteTemplate { name, .. } => {
                if let Some(Answer::Known(templates)) = &mut self.seen.templates {
                    templates.remove(name);
                }
            }
        }
        self.change();
    }

    /// The grid is as its DataGrid wants it, and placed.
    fn set_grid(&mut self, uid: &str, name: &str) {
        let Some(Answer::Known(grids)) = &mut self.seen.grids else { return };
        let grid = grids.there_mut().entry(name.to_owned()).or_insert_with(|| GridView {
            name: name.to_owned(),
            status: GridStatus::Online,
            fields: BTreeMap::new(),
        });
        if let Some(wanted) = self.real.wanted.grids.get(uid) {
            grid.fields.extend(wanted.fields.clone());
        }
    }

    /// Grids that are being placed come Online. False when none is.
    fn ripen_grids(&mut self, story: &mut Story) -> bool {
        let Some(Answer::Known(grids)) = &mut self.seen.grids else { return false };
        let mut changed = false;
        for grid in grids.there_mut().values_mut().filter(|grid| grid.status == GridStatus::Created)
        {
            grid.status = GridStatus::Online;
            changed = true;
            story.assume(format!("grid {}, which is being placed, comes Online", grid.name));
        }
        changed
    }

    /// Whether the member at this place was there, with this very pod, at the beginning.
    fn is_real_pod(&self, ordinal: Ordinal) -> bool {
        let uid =
            |seen: &Observation| seen.pods.get(&ordinal).map(|pod| pod.incarnation.pod_uid.clone());
        uid(self.real.seen).is_some_and(|real| uid(&self.seen) == Some(real))
    }
}
