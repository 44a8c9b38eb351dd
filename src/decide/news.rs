//! What the journal should know of the members before anything is built on their answers.

use xsld_journal::event::{Event, MemberRef, Ordinal, Step};
use xsld_journal::state::Member;

use super::question::Question;
use super::views::{self, OwnView};
use super::{Inputs, adoption, evidence, stray};
use crate::observation::Report;
use crate::xsld::view::MemberStatus;

/// Events that record what was seen; none when the journal knows all of it.
pub(super) fn news(inputs: Inputs<'_>) -> Option<Vec<Event>> {
    let mut events = pins(inputs);
    if inputs.state.bootstrapped {
        events.extend(members_seen(inputs));
        events.extend(bootstrapped_again(inputs));
        if events.is_empty() && inputs.state.open_step().is_none() {
            events.extend(stray::late(inputs));
        }
    } else if inputs.state.open_step().is_none() {
        if inputs.state.operation.is_some() && adoption::is_first(inputs) {
            events.extend(bootstrapped(inputs));
        }
        if events.is_empty() {
            events.extend(adoption::adopted(inputs).unwrap_or_default());
        }
    }
    (!events.is_empty()).then_some(events)
}

/// Trust on first use: a certificate belongs to the volume that holds its key. A changed one is
/// recorded only during this member's own join, which replaces its configuration; any other change
/// never comes this far, because the pinned client refuses to speak to it.
fn pins(inputs: Inputs<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    for (ordinal, report) in &inputs.seen.reports {
        let (Some(fingerprint), Some(claim)) =
            (&report.fingerprint, inputs.seen.claims.get(ordinal))
        else {
            continue;
        };
        if inputs.state.pins.get(&claim.uid) != Some(fingerprint) {
            events.push(Event::TrustPinned {
                ordinal: *ordinal,
                claim_uid: claim.uid.clone(),
                fingerprint: fingerprint.clone(),
            });
        }
    }
    events
}

/// Pod-0 is the group when its own view lists exactly itself Online.
fn bootstrapped(inputs: Inputs<'_>) -> Option<Event> {
    let member = first_member_alone(inputs)?;
    let address = inputs.seen.pods.get(&0)?.address.clone()?;
    let evidence = evidence(&views::told(inputs.seen));
    Some(Event::Bootstrapped { member, address, evidence })
}

fn first_member_alone(inputs: Inputs<'_>) -> Option<MemberRef> {
    let (seen, state) = (inputs.seen, inputs.state);
    let name = views::name_of(state, 0);
    if views::own_view(seen, state, 0, &name) != OwnView::Alone {
        return None;
    }
    let report = seen.reports.get(&0)?;
    let online = report.fresh_group()?.member(&name)?.status == MemberStatus::Online;
    let pod = seen.pods.get(&0).filter(|pod| pod.incarnation == report.incarnation)?;
    (online && report.read_tasks().is_some() && !pod.deleting)
        .then(|| views::member_now(seen, state, 0))
        .flatten()
}

/// The only recorded member lost its volume: it is the group again, but only when every other pod
/// with a recorded or unproven join answers that it is alone, twice, with no task running.
fn bootstrapped_again(inputs: Inputs<'_>) -> Option<Event> {
    let (seen, state) = (inputs.seen, inputs.state);
    if state.operation.is_none() || state.open_step().is_some() || state.members.len() != 1 {
        return None;
    }
    let recorded = state.members.get(&0)?;
    let claim = seen.claims.get(&0)?;
    let others_alone = seen.pods.keys().filter(|ordinal| **ordinal != 0).all(|ordinal| {
        let name = views::name_of(state, *ordinal);
        views::own_view(seen, state, *ordinal, &name) == OwnView::Alone
    });
    let proven = claim.uid != recorded.claim_uid
        && others_alone
        && !seen.any_task_running()
        && Question::Everybody.is_settled(inputs, inputs.times.orphan);
    if !proven {
        return None;
    }
    bootstrapped(inputs)
}

/// A recorded member that came back as another process with its claim is recorded anew once its
/// own view lists it in the group; so is a change of the address at which the group knows it.
fn members_seen(inputs: Inputs<'_>) -> Vec<Event> {
    let state = inputs.state;
    state
        .members
        .iter()
        .filter_map(|(ordinal, member)| member_seen(inputs, *ordinal, member))
        .collect()
}

fn member_seen(inputs: Inputs<'_>, ordinal: Ordinal, member: &Member) -> Option<Event> {
    let (seen, state) = (inputs.seen, inputs.state);
    let report = seen.reports.get(&ordinal)?;
    let pod = seen.pods.get(&ordinal)?;
    let claim = seen.claims.get(&ordinal)?;
    if report.incarnation != pod.incarnation || claim.uid != member.claim_uid || pod.deleting {
        return None;
    }
    if !tells_of_our_group(inputs, report, member) {
        return None;
    }
    // Where the group knows it is the primary's word; its own is only used where it is the group.
    let known = views::primary(seen, state)
        .and_then(|primary| views::view_of(seen, state, primary))
        .or_else(|| report.fresh_group())
        .and_then(|view| view.member(&member.name))
        .and_then(|listed| listed.address.clone())
        .unwrap_or_else(|| member.address.clone());
    let same = pod.incarnation == member.incarnation && known == member.address;
    (!same).then(|| Event::MemberSeen {
        ordinal,
        incarnation: pod.incarnation.clone(),
        address: known,
    })
}

/// Whether a recorded member's own view is one of the group that the journal knows: it lists the
/// member and everybody else who is recorded; the only member that is recorded may be alone.
///
/// Whom the open step takes out may be out already, and whom it brings may be in. The process that
/// took the request may have ended before the outcome was recorded: were its successor's view no view
/// of the group, nothing could ever tell the outcome.
fn tells_of_our_group(inputs: Inputs<'_>, report: &Report, member: &Member) -> bool {
    let state = inputs.state;
    let Some(view) = report.fresh_group() else { return false };
    let step = state.open_step().map(|open| &open.step);
    let leaves = match step {
        Some(Step::DisjoinMember { member, .. } | Step::RemoveGhostMember { member, .. }) => {
            Some(member)
        }
        _ => None,
    };
    let leaving = leaves.map(|member| &member.name);
    let coming = match step {
        Some(Step::JoinMember { member, .. }) => Some(&member.name),
        _ => None,
    };
    let lists = |name: &String| view.member(name).is_some();
    let others = state.members.values().map(|other| &other.name);
    let mut staying =
        others.filter(|name| **name != member.name && Some(*name) != leaving).peekable();
    let is_only_one = staying.peek().is_none();
    let is_known =
        |name: &String| *name == member.name || Some(name) == leaving || Some(name) == coming;
    // One that is alone may have lost the other one as well as let it go: that one has to say so.
    let let_go =
        !is_only_one || leaves.is_none_or(|gone| lists(&gone.name) || has_left(inputs, gone));
    lists(&member.name)
        && staying.all(lists)
        && let_go
        && (!is_only_one || view.members.iter().all(|listed| is_known(&listed.name)))
}

/// Whether who was to leave the group says that it is in none. One without a pod says nothing: until
/// its place is given up its pod comes back, on its volume.
fn has_left(inputs: Inputs<'_>, gone: &MemberRef) -> bool {
    let (seen, state) = (inputs.seen, inputs.state);
    let no_place = state.committed.replicas.is_some_and(|replicas| gone.ordinal >= replicas);
    (no_place && !seen.pods.contains_key(&gone.ordinal))
        || views::own_view(seen, state, gone.ordinal, &gone.name) == OwnView::Alone
}
