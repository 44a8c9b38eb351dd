//! What to do next: pure, from values to a value.
//!
//! Nothing in here has a client, a clock, randomness or the journal. Each pass decides one thing;
//! the controller records it, does it and observes again. The same tables settle a step that is
//! running as planned and one that a crash left in doubt: there is no second path for recovery.

mod adoption;
pub mod capacity;
pub mod converge;
mod decided;
pub mod deletion;
pub mod disjoin;
mod gone;
pub mod grids;
pub mod join;
pub mod membership;
pub mod news;
pub mod older;
pub mod parts;
mod question;
pub mod replication;
pub mod roll;
pub mod spare;
pub mod steps;
pub mod storage;
mod stray;
pub mod taken;
pub mod templates;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod views;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xsld_journal::event::{Event, Goal, Step, StepKey, Text, bounded_evidence};
use xsld_journal::state::{Acted, CacheState};

use crate::crd::conditions::ConditionReason as Reason;
use crate::observation::Observation;
use crate::times::Times;
use watch::Watch;

/// How many attempts a step gets before a person is asked.
pub const ATTEMPTS_MAX: u32 = 5;

/// What the custom resource asks for, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the XsldCache.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Members wanted.
    pub size: u32,
    /// Catalog servers wanted among the first members.
    pub catalogs: u32,
    /// Whether the claim of a member that was scaled away is deleted.
    pub delete_scaled_volumes: bool,
    /// Whether all claims are deleted with the custom resource.
    pub delete_volumes: bool,
    /// Whether a half-joined member may be wiped.
    pub reset_half_joined: bool,
    /// Stop at the next step boundary.
    pub paused: bool,
    /// The custom resource is being deleted.
    pub deleting: bool,
    /// What is to become of what was made for the cache then.
    pub cascade: Cascade,
    /// The pod template that the spec gives now: digest and JSON.
    pub template: (String, Text),
    /// Whether that template may take the place of the committed one: the spec asks for other pods
    /// than those were made for, or somebody consented to what only the operator makes otherwise.
    pub may_roll: bool,
    /// What the annotation says by which people confirm an older spec.
    pub confirms: Option<String>,
    /// What was acted on for this very object in a stream before this one.
    pub acted_before: Option<Acted>,
    /// How members are rolled.
    pub rollout: roll::Rollout,
    /// Whether the configuration database is to have a replica.
    pub replicate: bool,
    /// How long the primary must not be seen before its replica is promoted.
    pub primary_grace: Duration,
    /// Size of each member's volume, a quantity; empty when the spec is broken.
    pub storage: String,
    /// Storage class of the volumes; none where the spec leaves it to the cluster.
    pub class: Option<String>,
    /// The grids that are to be in this cache, by UID of their DataGrid.
    pub grids: BTreeMap<String, WantedGrid>,
    /// The templates that are to be in this cache, or to go from it, by UID of their GridTemplate.
    pub templates: BTreeMap<String, WantedTemplate>,
    /// Whether the two could not be read: then nothing is begun and nothing ends for what they lack.
    pub unread: bool,
    /// UIDs of the other DataGrids and GridTemplates of the namespace: those of other caches, and
    /// those whose spec is broken.
    pub others: BTreeSet<String>,
    /// What a first pod would rest on and cannot: no StatefulSet is made before it is put right.
    pub held: Option<Waiting>,
}

/// What is to become of what was made for a cache when that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cascade {
    /// It goes with the cache, volumes by their policy.
    #[default]
    Delete,
    /// All of it stays, and the garbage collector still takes the owner off.
    Orphaning,
    /// All of it stays, and has no owner any more.
    Orphaned,
}

/// A GridTemplate, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTemplate {
    /// The template's name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// BLAKE3 of its two documents, hex; empty when it is to go.
    pub digest: String,
    /// Whether it is to go from this cache: it is being deleted, or does not select it any more.
    pub deleting: bool,
}

/// A DataGrid, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedGrid {
    /// The grid's name.
    pub name: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Wanted fields by their names on the wire, as text.
    pub fields: BTreeMap<String, String>,
    /// BLAKE3 of the fields, hex.
    pub digest: String,
    /// The GridTemplate that it is made from, where it names one.
    pub template: Option<String>,
    /// Whether a grid that was changed by hand is set back.
    pub correct_drift: bool,
    /// Whether the DataGrid is being deleted.
    pub deleting: bool,
    /// Whether the grid itself goes with it.
    pub delete_grid: bool,
    /// Whether its grid was in this cache, or in a former one of this name, whatever the journal of
    /// this one knows: the DataGrid's own status says so, or that one's journal does.
    pub was_here: bool,
}

/// Everything that a decision may look at.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What is asked for.
    pub wanted: &'a Wanted,
    /// What was seen just now.
    pub seen: &'a Observation,
    /// What the journal knows.
    pub state: &'a CacheState,
    /// How long the world has looked like this.
    pub watch: &'a Watch,
    /// The time constants.
    pub times: &'a Times,
    /// Wall time in microseconds since 1970, to be compared with what was recorded long ago only.
    pub now_us: i64,
    /// The API server's time in microseconds since 1970, to be compared with what it tells; none when
    /// it never told it.
    pub server_us: Option<i64>,
    /// The command that a join's task runs, by the API profile.
    pub join_command: &'a str,
    /// The command that a disjoin's task runs.
    pub disjoin_command: &'a str,
    /// The command that sets up replication.
    pub replication_command: &'a str,
    /// The command that promotes the replica.
    pub promote_command: &'a str,
}

impl Inputs<'_> {
    /// Why nothing new is done for the spec, though it may ask for something; none when it is followed.
    pub fn standstill(self) -> Option<Waiting> {
        if let Some(found) = &self.state.older {
            return Some(older::told(self.wanted, found));
        }
        let message = "spec.paused is set: stopped at a step boundary";
        self.wanted.paused.then(|| Waiting::new(Reason::Paused, message))
    }

    /// Whether the volumes go with the cache. What an older spec says of them is not followed.
    pub fn deletes_volumes(self) -> bool {
        self.wanted.delete_volumes && self.state.older.is_none()
    }
}

/// Why nothing is done just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A condition reason.
    pub reason: Reason,
    /// One sentence for people.
    pub message: String,
}

impl Waiting {
    /// Waits for `message`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The one thing to do in this pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// All is as it should be: look again when something changes, or after the idle poll.
    Rest,
    /// Something is on its way: look again soon.
    Wait(Waiting),
    /// A step is in doubt and no evidence decides. Counted when the world stayed equal for the
    /// whole settle time.
    InDoubt(Waiting),
    /// Append these, all or nothing, and look again at once.
    Record(Vec<Event>),
    /// Append the beginning of an operation (the shell gives it an id), and look again at once.
    Begin {
        /// What kind of plan.
        kind: xsld_journal::event::OperationKind,
        /// What to reach.
        goal: Goal,
        /// Why.
        cause: xsld_journal::event::Cause,
    },
    /// Append the intent, then do it.
    Run {
        /// The effect.
        step: Step,
        /// What was observed, as JSON.
        evidence: String,
    },
    /// The effect of the open attempt certainly did not and will not happen: send it again.
    Resend {
        /// The open attempt.
        key: StepKey,
    },
}

impl Decision {
    /// Waits.
    pub fn wait(reason: Reason, message: impl Into<String>) -> Self {
        Self::Wait(Waiting::new(reason, message))
    }
}

/// Decides. The order matters: first what the journal should know of the members, because nothing
/// that an unrecorded process says counts as a view; then what a person decided about a parked
/// operation; then a step in doubt is settled before anything new, unless the primary is lost, without which nothing settles; then deletion; then
/// membership, then a roll, then replication; grids come last.
pub fn decide(inputs: Inputs<'_>) -> Decision {
    let Inputs { wanted, state, .. } = inputs;
    if state.closed {
        return Decision::Rest;
    }
    if !wanted.deleting
        && let Some(waiting) = taken::stops(inputs)
    {
        return waiting;
    }
    if state.name.is_empty() {
        return Decision::Record(vec![Event::CacheOpened {
            namespace: wanted.namespace.clone(),
            name: wanted.name.clone(),
        }]);
    }
    if let Some(event) = older::news(inputs) {
        return Decision::Record(vec![event]);
    }
    if let Some(events) = news::news(inputs) {
        return Decision::Record(events);
    }
    if let Some(decision) = decided::decided(inputs) {
        return decision;
    }
    if let Some(aside) = state.open_cancel() {
        return steps::settle(inputs, aside);
    }
    if !wanted.deleting
        && inputs.standstill().is_none()
        && let Some(decision) = replication::lost_primary(inputs)
    {
        return decision;
    }
    if let Some(open) = state.open_step() {
        return steps::settle(inputs, open);
    }
    anew(inputs)
}

/// What is to be done where no step is open.
fn anew(inputs: Inputs<'_>) -> Decision {
    let wanted = inputs.wanted;
    if wanted.deleting {
        return deletion::decide(inputs);
    }
    if let Some(standstill) = inputs.standstill() {
        return roll::before_pause(inputs).unwrap_or(Decision::Wait(standstill));
    }
    if let (Some(held), true) = (&wanted.held, makes_the_first_pods(inputs)) {
        return Decision::Wait(held.clone());
    }
    if let Some(decision) = roll::goes_first(inputs) {
        return decision;
    }
    from_members_on(inputs)
}

/// Members first, then what is left; beside a wait for members that cannot be helped, what needs none.
fn from_members_on(inputs: Inputs<'_>) -> Decision {
    let state = inputs.state;
    match membership::decide(inputs) {
        // Nothing else waits for pods that do not stay on their template.
        Decision::Rest => after_members(inputs),
        // A scale-down that cannot take its first step holds up nothing else: a grid that goes may
        // make the room that it waits for.
        Decision::Wait(held)
            if held.reason == Reason::CapacityShort && state.operation.is_none() =>
        {
            converge::any(Decision::Wait(held), || after_roll(inputs))
        }
        // Nor does a member that cannot be made, because somebody else has its name.
        held if state.operation.is_none() && state.bootstrapped && taken::is_all(inputs, &held) => {
            converge::any(held, || after_members(inputs))
        }
        decision => decision,
    }
}

/// What cannot be decided by what is seen now, by a word that stays the same as long as it is the same
/// doubt: the watch measures how long, and what lasts is told to a person. A step is in doubt without
/// the needed views, too; who stands behind an entry is not asked without them, so that it is the same
/// doubt as before.
pub fn undecided(inputs: Inputs<'_>) -> Option<String> {
    let state = inputs.state;
    if !state.bootstrapped {
        return adoption::waiting(inputs).map(|_| "adoption".to_owned());
    }
    if let Some(open) = state.open_cancel().or(state.open_step()) {
        return steps::is_in_doubt(inputs, open).then(|| open.key.0.to_string());
    }
    if views::needed(inputs.seen, state, u32::MAX).is_none() {
        return inputs.watch.undecided().map(str::to_owned);
    }
    stray::is_undecided(inputs).then(|| "stray".to_owned())
}

/// Whether there is no StatefulSet yet, nor ever was one.
fn makes_the_first_pods(inputs: Inputs<'_>) -> bool {
    inputs.state.committed.replicas.is_none() && inputs.seen.stateful_set.is_none()
}

/// What is left when nothing is to be done about members now. A roll that cannot be begun, because pods
/// would start with what is another's, holds up nothing else.
fn after_members(inputs: Inputs<'_>) -> Decision {
    let rolls = roll::decide(inputs);
    match inputs.state.operation.is_none() && taken::is_all(inputs, &rolls) {
        true => converge::any(rolls, || after_roll(inputs)),
        false => converge::first(rolls, || after_roll(inputs)),
    }
}

/// What is left when the members are as they should be.
fn after_roll(inputs: Inputs<'_>) -> Decision {
    // Volumes and grids do not wait for a replica that is not there yet, or does not last.
    converge::any(replication::decide(inputs), || after_replication(inputs))
}

/// What is left when the members and the replica are as they should be.
fn after_replication(inputs: Inputs<'_>) -> Decision {
    converge::any(storage::decide(inputs), || match &inputs.state.operation {
        Some(operation) if inputs.wanted.unread => {
            let message = "the DataGrids and GridTemplates cannot be read just now";
            let waits = Decision::wait(Reason::NotObserved, message);
            grids::give_way(inputs, operation, waits)
        }
        None if inputs.wanted.unread => Decision::Rest,
        Some(_) | None => {
            converge::any(templates::decide(inputs, grids::decide), || gone::decide(inputs))
        }
    })
}

/// JSON of a value for the evidence of a record; bounded, never fails.
pub(crate) fn evidence(value: &impl serde::Serialize) -> String {
    /// Records hold at most 4 KiB; the rest of the record needs some of it.
    const EVIDENCE_BYTES_MAX: usize = 1536;
    let text = serde_json::to_string(value).unwrap_or_else(|error| format!("\"{error}\""));
    bounded_evidence(&text, EVIDENCE_BYTES_MAX)
}
