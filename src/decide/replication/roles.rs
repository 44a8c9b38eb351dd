//! Who holds what of the configuration database, by the members' own words.

use xsld_journal::event::Ordinal;
use xsld_journal::state::CacheState;

use crate::decide::views::{self, Listing};
use crate::observation::Observation;
use crate::xsld::view::GroupView;

/// The word for the member that holds the replica, whatever word the profile has for it.
pub(super) const REPLICA: &str = "slave";

/// Whether the needed views tell the members' parts in replication at all.
pub(super) fn are_told(seen: &Observation, state: &CacheState) -> bool {
    views::needed(seen, state, Ordinal::MAX).is_some_and(|views| {
        let told =
            |view: &&GroupView| view.primary().is_some_and(|primary| primary.replication.is_some());
        views.iter().all(told)
    })
}

/// The recorded member that the needed views agree to hold the replica; none when they show none,
/// differ or are missing.
pub(super) fn replica(seen: &Observation, state: &CacheState) -> Option<Ordinal> {
    let views = views::needed(seen, state, Ordinal::MAX)?;
    let mut told = views.iter().map(|view| replica_in(view));
    let first = told.next()??;
    if !told.all(|name| name == Some(first)) {
        return None;
    }
    state.members.iter().find(|(_, member)| member.name == first).map(|(ordinal, _)| *ordinal)
}

/// The name of the member that one view shows as the replica.
pub(in crate::decide) fn replica_in(view: &GroupView) -> Option<&str> {
    let mut holders =
        view.members.iter().filter(|member| member.replication.as_deref() == Some(REPLICA));
    let first = holders.next()?;
    holders.next().is_none().then_some(first.name.as_str())
}

/// Whether the group shows the member as Online at its present address.
pub(super) fn is_online(seen: &Observation, state: &CacheState, ordinal: Ordinal) -> bool {
    let name = views::name_of(state, ordinal);
    views::listing(seen, state, ordinal, &name) == Listing::Online
}

/// Whether the member's volume goes with its pod, because somebody deleted its claim: what it holds
/// is as good as lost.
pub(super) fn would_lose_its_data(seen: &Observation, ordinal: Ordinal) -> bool {
    seen.claims.get(&ordinal).is_some_and(|claim| claim.deleting)
}

/// The first member that can hold a replica: a catalog server other than the primary that is
/// Online, whose pod and volume stay and whose own view is the group's. Better one whose node stays too, and
/// better one on another node than the primary's, with which it would be lost.
pub(super) fn candidate(
    seen: &Observation,
    state: &CacheState,
    stays: impl Fn(Ordinal) -> bool,
) -> Option<Ordinal> {
    let primary = views::marked_primary(seen, state)?;
    let fits = |ordinal: &Ordinal| {
        *ordinal != primary
            && stays(*ordinal)
            && !would_lose_its_data(seen, *ordinal)
            && seen.pods.get(ordinal).is_some_and(|pod| pod.running && !pod.deleting)
            && views::view_of(seen, state, *ordinal).is_some()
            && is_online(seen, state, *ordinal)
    };
    let catalogs = state.members.iter().filter(|(_, member)| member.catalog);
    let fitting: Vec<Ordinal> = catalogs.map(|(ordinal, _)| *ordinal).filter(fits).collect();
    let is_leaving =
        |ordinal: &Ordinal| seen.pods.get(ordinal).and_then(|pod| pod.node_leaving) == Some(true);
    let node = |ordinal: Ordinal| seen.pods.get(&ordinal).and_then(|pod| pod.node.as_deref());
    let shares_a_node =
        |ordinal: Ordinal| node(primary).is_some() && node(primary) == node(ordinal);
    fitting
        .into_iter()
        .min_by_key(|ordinal| (is_leaving(ordinal), shares_a_node(*ordinal), *ordinal))
}

/// The primary, when no member sees it: every established member that answers tells a copy from
/// before it was lost, at least one does, and they agree who it was. No answer at all is no proof:
/// then it may be the operator that sees nobody.
pub(crate) fn unseen_primary(seen: &Observation, state: &CacheState) -> Option<Ordinal> {
    if state.members.keys().any(|ordinal| views::view_of(seen, state, *ordinal).is_some()) {
        return None;
    }
    let mut lost = None;
    for ordinal in state.members.keys() {
        let Some(report) = views::established_report(seen, state, *ordinal) else { continue };
        let Some(view) = report.group.as_known() else { continue };
        let name = &view.primary()?.name;
        // It need not be a member that the journal knows: its volume may have been lost before the
        // group was adopted.
        let marked = crate::manifests::ordinal_of(&state.name, name)?;
        if marked == *ordinal || lost.is_some_and(|lost| lost != marked) {
            return None;
        }
        lost = Some(marked);
    }
    lost
}

/// The established member that says of itself that it holds the replica of the lost primary.
pub(super) fn successor(seen: &Observation, state: &CacheState, lost: Ordinal) -> Option<Ordinal> {
    let holds = |ordinal: &Ordinal| {
        let report = views::established_report(seen, state, *ordinal)?;
        report.read_tasks()?;
        let own = &state.members.get(ordinal)?.name;
        let view = report.group.as_known()?;
        (replica_in(view) == Some(own.as_str())).then_some(())
    };
    state.members.keys().copied().find(|ordinal| *ordinal != lost && holds(ordinal).is_some())
}
