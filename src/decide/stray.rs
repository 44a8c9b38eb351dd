//! Who is listed by the group and recorded by nobody: an entry without a member behind it, or a member
//! that the journal does not know (yet).
//!
//! Every name that the group lists is looked at, whatever its number. An entry is removed only where it
//! is known that nobody stands behind it: its place has no pod and none is to come, its member says that
//! it is alone, or our own join left it half-way. Whoever may be a member is waited for, and taken over
//! when it says that it is one. A name that is not of this cache's pattern is told by the status and
//! never touched.

use std::collections::BTreeSet;

use xsld_journal::event::{AdoptedMember, Event, Ordinal};
use xsld_journal::state::JoinHistory;

use super::question::Question;
use super::views::{self, Listing, OwnView};
use super::{Decision, Inputs, Waiting, adoption};
use crate::crd::conditions::ConditionReason as Reason;
use crate::manifests;

/// What stands behind an entry that no record explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nobody: the entry is to go.
    Nobody,
    /// A member that says so.
    Member,
    /// Somebody may.
    Unknown(Doubt),
}

/// Why it is not known who stands behind an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// A pod for it is to come.
    ToCome,
    /// Its pod is ending.
    Ending,
    /// It does not answer.
    Silent,
    /// It tells another group.
    Elsewhere,
    /// It is alone, on a volume from before: that may be what is left of the group.
    Apart,
}

/// What the table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether it left the group by our own doing, and its claim is still to go.
    pub(super) leaving: bool,
    /// What our joins of the claim that is there now came to; none where there was none.
    pub(super) history: Option<JoinHistory>,
    /// Whether it has a pod, and whether that is ending.
    pub(super) pod: Option<bool>,
    /// Whether its place is among those that have a pod, or are to have one.
    pub(super) place: bool,
    /// Whether its volume is from before this cache, or was listed by a group that was adopted.
    pub(super) kept: bool,
    /// Whether the group shows it as Online.
    pub(super) online: bool,
    /// What it says of itself.
    pub(super) own: OwnView,
}

/// Who stands behind an entry: first match decides.
pub(super) fn table(facts: Facts) -> Behind {
    let Facts { leaving, history, pod, place, kept, online, own } = facts;
    match (pod, own) {
        // It left, and came back into the list: it is removed again.
        _ if leaving => Behind::Nobody,
        // Our own attempt came to nothing, and somebody else's did.
        (Some(false), OwnView::InGroup) if online => Behind::Member,
        // Our own attempt left it half-way: it is void or failed, or it would still be open.
        _ if history == Some(JoinHistory::WithoutEffect) => Behind::Nobody,
        (None, _) if place => Behind::Unknown(Doubt::ToCome),
        (None, _) => Behind::Nobody,
        (Some(true), _) => Behind::Unknown(Doubt::Ending),
        (Some(false), OwnView::Alone) if kept && history.is_none() => Behind::Unknown(Doubt::Apart),
        (Some(false), OwnView::Alone) => Behind::Nobody,
        (Some(false), OwnView::InGroup) => Behind::Member,
        (Some(false), OwnView::Elsewhere) => Behind::Unknown(Doubt::Elsewhere),
        (Some(false), OwnView::Silent) => Behind::Unknown(Doubt::Silent),
    }
}

/// Whether somebody stands behind the entry of this place, or may. Whoever is recorded there is found
/// to be lost by other evidence.
pub(super) fn is_somebodys(inputs: Inputs<'_>, ordinal: Ordinal) -> bool {
    let is_recorded = inputs.state.members.contains_key(&ordinal);
    !is_recorded && behind(inputs, ordinal) != Behind::Nobody
}

/// Who stands behind the entry of this place.
fn behind(inputs: Inputs<'_>, ordinal: Ordinal) -> Behind {
    let Inputs { wanted, seen, state, .. } = inputs;
    let (claim, name) = (seen.claims.get(&ordinal), views::name_of(state, ordinal));
    table(Facts {
        leaving: state.leaving.contains_key(&ordinal),
        history: claim.and_then(|claim| state.joins.get(&claim.uid)).copied(),
        pod: seen.pods.get(&ordinal).map(|pod| pod.deleting || claim.is_none()),
        place: ordinal < state.committed.replicas.unwrap_or(0).max(wanted.size),
        kept: claim
            .is_some_and(|claim| claim.older_than_cache || state.held.contains_key(&claim.uid)),
        online: views::listing(seen, state, ordinal, &name) == Listing::Online,
        own: views::own_view(seen, state, ordinal, &name),
    })
}

/// Places whose entries the group lists and no record explains.
fn strays(inputs: Inputs<'_>) -> BTreeSet<Ordinal> {
    let (seen, state) = (inputs.seen, inputs.state);
    let views = views::needed(seen, state, Ordinal::MAX).unwrap_or_default();
    let listed = views.iter().flat_map(|view| &view.members);
    listed
        .filter_map(|member| manifests::ordinal_of(&state.name, &member.name))
        .filter(|ordinal| !state.members.contains_key(ordinal))
        .filter(|ordinal| {
            views::listing(seen, state, *ordinal, &views::name_of(state, *ordinal)).is_yes()
        })
        .collect()
}

/// The highest entry behind which nobody stands.
pub(super) fn ghost(inputs: Inputs<'_>) -> Option<Ordinal> {
    strays(inputs).into_iter().rev().find(|ordinal| behind(inputs, *ordinal) == Behind::Nobody)
}

/// Whether the entry of this place is waited for: its member is neither joined nor wiped meanwhile.
pub(super) fn is_waited_for(inputs: Inputs<'_>, ordinal: Ordinal) -> bool {
    strays(inputs).contains(&ordinal) && behind(inputs, ordinal) != Behind::Nobody
}

/// The first entry of which it is not known who stands behind it, among these places.
pub(super) fn waiting(inputs: Inputs<'_>, among: impl Fn(Ordinal) -> bool) -> Option<Waiting> {
    let strays = strays(inputs).into_iter().filter(|ordinal| among(*ordinal));
    let mut unclear = strays.filter_map(|ordinal| match behind(inputs, ordinal) {
        Behind::Nobody => None,
        Behind::Member => Some((ordinal, None)),
        Behind::Unknown(doubt) => Some((ordinal, Some(doubt))),
    });
    let (ordinal, doubt) = unclear.next()?;
    Some(told(inputs, ordinal, doubt))
}

fn told(inputs: Inputs<'_>, ordinal: Ordinal, doubt: Option<Doubt>) -> Waiting {
    let name = views::name_of(inputs.state, ordinal);
    let Some(doubt) = doubt else {
        let message = format!(
            "the group lists {name}, which the journal does not know: it is taken over once it is Online and stays so"
        );
        return Waiting::new(Reason::Rebuilding, message);
    };
    let why = match doubt {
        Doubt::ToCome => "has no pod yet",
        Doubt::Ending => "has a pod that is ending, or no claim",
        Doubt::Silent => "does not answer with a present view",
        Doubt::Elsewhere => "tells another group",
        Doubt::Apart => "is alone on a volume from before, which may be what is left of the group",
    };
    let message = format!("the group lists {name}, which the journal does not know, and it {why}");
    let quiets = inputs.times.rebuild_quiet.saturating_mul(adoption::QUIETS_MAX);
    if inputs.watch.undecided_for() < quiets {
        return Waiting::new(Reason::Rebuilding, message);
    }
    let act = "find out why, or delete its pod; where its volume may be given up, delete its claim and \
               its pod";
    Waiting::new(Reason::AdoptionUndecided, format!("{message}. It is not removed before: {act}"))
}

/// Members that the group lists and the journal does not know, and who are Online and say so: they are
/// taken over, late or not.
pub(super) fn late(inputs: Inputs<'_>) -> Vec<Event> {
    let Inputs { seen, state, times, .. } = inputs;
    if !state.bootstrapped || seen.any_task_running() {
        return vec![];
    }
    let members = strays(inputs).into_iter().filter(|ordinal| {
        let online = || views::listing(seen, state, *ordinal, &views::name_of(state, *ordinal));
        behind(inputs, *ordinal) == Behind::Member
            && online() == Listing::Online
            && Question::Place(*ordinal).is_settled(inputs, times.settle)
    });
    let adopted = members.filter_map(|ordinal| {
        let member = views::member_now(seen, state, ordinal)?;
        let view = seen.reports.get(&ordinal)?.fresh_group()?;
        let listed = view.member(&member.name)?;
        let catalog = listed.catalog.unwrap_or(true);
        let address = listed.address.clone().unwrap_or_default();
        Some(adoption::late(inputs, AdoptedMember { member, catalog, address }))
    });
    adopted.collect()
}

/// Whether a decision about an entry waits, for the bound on such waits.
pub(super) fn is_undecided(inputs: Inputs<'_>) -> bool {
    waiting(inputs, |_| true).is_some()
}

/// Removes the highest entry behind which nobody stands.
pub(super) fn ghosts(inputs: Inputs<'_>) -> Option<Decision> {
    let ordinal = ghost(inputs)?;
    super::membership::remove_entry(inputs, ordinal, &views::name_of(inputs.state, ordinal))
}

#[cfg(test)]
mod tests;
