//! The status of a `DataGrid`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use xsld_journal::event::Goal;
use xsld_journal::state::Operation;

use super::conditions::{Verdict, assemble};
use super::fit::sentence;
use super::{GridInputs, operation};
use crate::crd::{ConditionReason as Reason, ConditionType as Type, DataGridStatus, JournalStatus};
use crate::decide::grids::has_fields;
use crate::validate;
use crate::xsld::view::{GridStatus, GridView};

/// Most names that `drift` lists.
const DRIFT_MAX: usize = 32;

/// The status.
pub(super) fn status(inputs: &GridInputs<'_>, now: &Time) -> DataGridStatus {
    let object = inputs.object;
    let previous = object.status.as_ref();
    let generation = object.metadata.generation;
    let grid = Grid::of(inputs);
    let verdicts = [
        (Type::Ready, grid.ready()),
        (Type::Progressing, grid.progressing()),
        (Type::Degraded, grid.degraded()),
        (Type::Deferred, grid.deferred()),
        (Type::NeedsAttention, grid.needs_attention()),
    ];
    DataGridStatus {
        observed_generation: generation,
        conditions: assemble(
            verdicts,
            previous.map_or(&[][..], |status| &status.conditions),
            generation,
            now,
        ),
        status: Some(grid.word().to_owned()),
        cache: inputs.cache.as_ref().ok().map(|name| sentence(name, 253)),
        template: grid.template(),
        drift: grid.drift.clone(),
        operation: grid.own.map(operation::status),
        journal: journal(inputs, &grid),
    }
}

/// What is known of one grid.
struct Grid<'a> {
    inputs: &'a GridInputs<'a>,
    /// Its name in the group.
    name: &'a str,
    /// How the group shows it.
    live: Live<'a>,
    /// The operation in flight that is about it.
    own: Option<&'a Operation>,
    /// The operation in flight that is about something else.
    other: Option<&'a Operation>,
    /// Fields that were changed by somebody else since they were last applied.
    drift: Vec<String>,
    deleting: bool,
}

/// How the group shows a grid.
#[derive(Clone, Copy)]
enum Live<'a> {
    /// It lists the grid.
    There(&'a GridView),
    /// It does not.
    Absent,
    /// It cannot be seen just now.
    Unseen,
}

impl<'a> Grid<'a> {
    fn of(inputs: &'a GridInputs<'a>) -> Self {
        let object = inputs.object;
        let own_name = object.metadata.name.as_deref().unwrap_or_default();
        let name = inputs.wanted.map_or(own_name, |wanted| wanted.name.as_str());
        let live = match inputs.seen.map(|seen| seen.grid(name)) {
            Some(Ok(live)) => live.map_or(Live::Absent, Live::There),
            Some(Err(_)) | None => Live::Unseen,
        };
        let open = inputs.state.and_then(|state| state.operation.as_ref());
        let about_it = |operation: &&Operation| is_about(&operation.goal, inputs.uid);
        let mut grid = Self {
            inputs,
            name,
            live,
            own: open.filter(about_it),
            other: open.filter(|operation| !about_it(operation)),
            drift: Vec::new(),
            deleting: object.metadata.deletion_timestamp.is_some(),
        };
        grid.drift = grid.drifted();
        grid
    }

    /// Whether the wanted fields are those that were applied last.
    fn is_applied(&self) -> bool {
        let recorded = self.inputs.state.and_then(|state| state.grids.get(self.inputs.uid));
        match (recorded, self.inputs.wanted) {
            (Some(recorded), Some(wanted)) => recorded.digest == wanted.digest,
            _ => false,
        }
    }

    fn drifted(&self) -> Vec<String> {
        let (Live::There(live), Some(wanted), true) =
            (self.live, self.inputs.wanted, self.is_applied())
        else {
            return Vec::new();
        };
        let differs = |(name, value): &(&String, &String)| {
            live.fields.get(*name).is_some_and(|told| told != *value)
        };
        let differing = wanted.fields.iter().filter(differs).take(DRIFT_MAX);
        differing.map(|(name, _)| sentence(name, 64)).collect()
    }

    /// The word of `status.status`.
    fn word(&self) -> &'static str {
        match self.live {
            Live::There(live) => match live.status {
                GridStatus::Created => "Created",
                GridStatus::Online => "Online",
                GridStatus::Error => "Error",
                GridStatus::Unknown(_) => "Unknown",
            },
            Live::Absent | Live::Unseen => "Unknown",
        }
    }

    /// The template, once there is a grid that was made from it.
    fn template(&self) -> Option<String> {
        let spec = &self.inputs.object.spec;
        let made = self.inputs.state.is_some_and(|state| state.grids.contains_key(self.inputs.uid));
        let made = made || self.was_made();
        let named = spec.template_ref.as_ref().map(|reference| reference.name.as_str());
        let named = named.or(spec.template_name.as_deref());
        let named = named.or_else(|| spec.grid_type.known().map(|kind| kind.as_str()));
        named.filter(|_| made).map(|name| sentence(name, 253))
    }

    /// Whether the former status tells of a grid that this cache's journal does not know yet, after it
    /// was lost: until it is seen what became of it, that is the only word of it.
    fn was_made(&self) -> bool {
        let Some(former) = &self.inputs.object.status else { return false };
        let is_here =
            matches!(&self.inputs.cache, Ok(name) if former.cache.as_deref() == Some(name));
        is_here && former.template.is_some() && !matches!(self.live, Live::Absent)
    }

    /// What stands in the way before the group is asked anything.
    fn in_the_way(&self) -> Option<Verdict> {
        let inputs = self.inputs;
        if self.deleting {
            let refused = inputs.cache.as_ref().err().filter(|it| it.is_of_the_api_server());
            let message = refused.map_or_else(|| self.going(), |it| it.message.clone());
            return Some(Verdict::no(Reason::Deleting, message));
        }
        if !inputs.invalid.is_empty() {
            return Some(Verdict::no(Reason::SpecInvalid, validate::summary(inputs.invalid)));
        }
        if let Err(problem) = &inputs.cache {
            return Some(Verdict::no(problem.reason, problem.message.clone()));
        }
        inputs
            .refused
            .map(|reason| self.refusal(reason))
            .map(|why| Verdict::no(Reason::Refused, why))
    }

    fn refusal(&self, reason: &str) -> String {
        if self.deleting {
            return self.going();
        }
        format!("the group refuses grid {}: {reason}; change the spec to try anew", self.name)
    }

    /// What is told of a DataGrid that is being deleted: what it waits for, and what would end that.
    fn going(&self) -> String {
        let or_let_go = "set spec.deletionPolicy to Retain to let the DataGrid go without its grid";
        let name = self.name;
        if let Some(reason) = self.inputs.refused {
            return format!(
                "the group refuses to delete grid {name}: {reason}; it is asked again after a \
                 while; or {or_let_go}"
            );
        }
        if let Err(problem) = &self.inputs.cache {
            return format!("the DataGrid is being deleted and waits: {}", problem.message);
        }
        if let Some(waiting) = &self.inputs.put_off {
            return format!("the DataGrid is being deleted: {}", waiting.message);
        }
        if let Some(other) = self.other {
            let other = operation::named(other);
            return format!("the DataGrid is being deleted: grid {name} waits for {other}");
        }
        match self.live {
            Live::Unseen if self.inputs.seen.is_some() => {
                let (_, why) = self.unseen();
                format!(
                    "the DataGrid is being deleted and waits until it is seen whether the grid is \
                     gone: {why}; or {or_let_go}"
                )
            }
            Live::Unseen | Live::There(_) | Live::Absent => {
                "the DataGrid is being deleted".to_owned()
            }
        }
    }

    fn unseen(&self) -> (Reason, String) {
        match self.inputs.seen.map(|seen| seen.grid(self.name)) {
            None => (Reason::NotObserved, "the cache could not be looked at just now".to_owned()),
            Some(Ok(_)) => (Reason::NotObserved, "the grid was seen".to_owned()),
            Some(Err(why)) => (Reason::GroupUnreachable, why),
        }
    }

    fn ready(&self) -> Verdict {
        if let Some(verdict) = self.in_the_way() {
            return verdict;
        }
        if let Some(own) = self.own {
            return Verdict::no(operation::reason(own), operation::message(own));
        }
        let name = self.name;
        let live = match self.live {
            Live::There(live) => live,
            Live::Absent => {
                return Verdict::no(Reason::Creating, format!("grid {name} does not exist yet"));
            }
            Live::Unseen => {
                let (reason, message) = self.unseen();
                return Verdict::unknown(reason, message);
            }
        };
        if let Some(drifted) = self.drift_message() {
            return Verdict::no(Reason::Drifted, drifted);
        }
        match &live.status {
            GridStatus::Error => Verdict::no(Reason::RecoveringGrid, self.error_message()),
            GridStatus::Created => {
                let message = format!("grid {name} is created and waits to be placed");
                Verdict::no(Reason::WaitingForPlacement, message)
            }
            GridStatus::Unknown(word) => {
                let message = format!("grid {name} has a status that is not known: {word:?}");
                Verdict::unknown(Reason::NotObserved, message)
            }
            GridStatus::Online => self.online(live),
        }
    }

    /// The verdict about a grid that is Online: whether it is the grid that the spec asks for.
    fn online(&self, live: &GridView) -> Verdict {
        let name = self.name;
        let Some(wanted) = self.inputs.wanted else {
            let message = format!("grid {name} is Online and has not been compared with its spec");
            return Verdict::unknown(Reason::NotObserved, message);
        };
        if !has_fields(live, &wanted.fields) || !self.is_applied() {
            let message = format!("grid {name} is still to get what the spec asks for");
            return Verdict::no(Reason::Updating, message);
        }
        Verdict::yes(Reason::Online, format!("grid {name} is Online as the spec wants it"))
    }

    fn drift_message(&self) -> Option<String> {
        let fields = self.drift.join(", ");
        (!fields.is_empty())
            .then(|| format!("grid {} was changed by somebody else: {fields}", self.name))
    }

    fn error_message(&self) -> String {
        match &self.inputs.put_off {
            Some(waiting) => waiting.message.clone(),
            None => format!("the group shows grid {} in error", self.name),
        }
    }

    fn progressing(&self) -> Verdict {
        if let Some(own) = self.own {
            return Verdict::yes(operation::reason(own), operation::message(own));
        }
        if self.deleting {
            return Verdict::yes(Reason::Deleting, self.going());
        }
        match self.in_the_way() {
            Some(verdict) => verdict,
            None => Verdict::no(Reason::Settled, "no operation on this grid is open"),
        }
    }

    fn degraded(&self) -> Verdict {
        if self.deleting {
            return Verdict::no(Reason::Deleting, self.going());
        }
        match self.live {
            Live::There(live) if live.status == GridStatus::Error => {
                Verdict::yes(Reason::RecoveringGrid, self.error_message())
            }
            Live::There(_) | Live::Absent => match self.drift_message() {
                Some(message) => Verdict::yes(Reason::Drifted, message),
                None => {
                    let message = "the grid is neither in error nor changed by somebody else";
                    Verdict::no(Reason::Settled, message)
                }
            },
            Live::Unseen => {
                let (reason, message) = match &self.inputs.cache {
                    Err(problem) => (Reason::NotObserved, problem.message.clone()),
                    Ok(_) => self.unseen(),
                };
                Verdict::unknown(reason, message)
            }
        }
    }

    fn deferred(&self) -> Verdict {
        if let (Err(problem), false) = (&self.inputs.cache, self.deleting) {
            return Verdict::yes(problem.reason, problem.message.clone());
        }
        let put_off = self.inputs.put_off.as_ref().filter(|_| !self.deleting);
        if let Some(waiting) = put_off.filter(|it| it.reason != Reason::NotConverging) {
            return Verdict::yes(waiting.reason, waiting.message.clone());
        }
        match self.other.filter(|_| self.own.is_none() && self.has_work()) {
            Some(other) => {
                let message = format!("grid {} waits for {}", self.name, operation::named(other));
                Verdict::yes(Reason::Deferred, message)
            }
            None => Verdict::no(Reason::Settled, "no wish of the spec waits"),
        }
    }

    /// Whether the spec asks for something that the group does not have.
    fn has_work(&self) -> bool {
        let Some(wanted) = self.inputs.wanted.filter(|_| self.inputs.refused.is_none()) else {
            return false;
        };
        match self.live {
            Live::Unseen => self.deleting || !self.is_applied(),
            Live::Absent => !self.deleting,
            Live::There(_) if self.deleting => wanted.delete_grid,
            Live::There(live) => {
                let differs = !has_fields(live, &wanted.fields);
                differs && (wanted.correct_drift || !self.is_applied())
            }
        }
    }

    fn needs_attention(&self) -> Verdict {
        let inputs = self.inputs;
        if let Some(message) = self.own.and_then(operation::parked_message) {
            return Verdict::yes(Reason::Parked, message);
        }
        if let Some(reason) = inputs.refused {
            return Verdict::yes(Reason::Refused, self.refusal(reason));
        }
        let put_off = inputs.put_off.as_ref();
        if let Some(waiting) = put_off.filter(|it| it.reason == Reason::NotConverging) {
            return Verdict::yes(waiting.reason, waiting.message.clone());
        }
        if !inputs.invalid.is_empty() && !self.deleting {
            return Verdict::yes(Reason::SpecInvalid, validate::summary(inputs.invalid));
        }
        match &inputs.cache {
            Err(problem)
                if matches!(problem.reason, Reason::CacheAmbiguous | Reason::BoundElsewhere) =>
            {
                Verdict::yes(problem.reason, problem.message.clone())
            }
            Ok(_) | Err(_) => Verdict::no(Reason::Settled, "nothing waits for a person"),
        }
    }
}

fn is_about(goal: &Goal, uid: &str) -> bool {
    matches!(goal, Goal::Grid { grid_uid, .. } if grid_uid == uid)
}

/// Where the last record about this grid stands. The stream is the whole cache's, so its end is
/// taken only when something about this grid was recorded since; other records leave the status as
/// it is.
fn journal(inputs: &GridInputs<'_>, grid: &Grid<'_>) -> Option<JournalStatus> {
    let former = inputs.object.status.as_ref().and_then(|status| status.journal.clone());
    let (Some(state), Some(head)) = (inputs.state, inputs.head) else { return former };
    let applied = state.grids.get(inputs.uid).map(|grid| grid.seq);
    let ended = state.recent.iter().filter(|ended| is_about(&ended.goal, inputs.uid));
    let tried = state.tried.get(inputs.uid).map(|tried| tried.ended_seq);
    let last = ended.map(|ended| ended.ended_seq).chain(applied).chain(tried).max();
    if last.is_none() && grid.own.is_none() {
        return former;
    }
    let of_this_journal = former.filter(|former| former.id == inputs.journal_id.to_string());
    match of_this_journal {
        Some(former)
            if grid.own.is_none()
                && last.is_some_and(|last| {
                    u64::try_from(former.sequence).is_ok_and(|sequence| sequence >= last)
                }) =>
        {
            Some(former)
        }
        _ => Some(operation::journal(head, inputs.journal_id)),
    }
}

#[cfg(test)]
mod tests;
