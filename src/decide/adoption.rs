//! A group that the journal does not know: whose it is, who is of it, and when that is known.
//!
//! A cache comes back on kept volumes, or its journal was lost. The group is what its members' volumes
//! agree on, whoever holds them: every member that it lists has answered with a present view of the
//! same names, or is proven to be away (it has no pod, or another process on an empty volume). Who is
//! silent is waited for by name; in time a person is asked, and is told what decides.

use std::collections::{BTreeMap, BTreeSet};

use xsld_journal::event::{AdoptedMember, Event, HeldClaim, Ordinal, Text};

use super::question::Question;
use super::{Decision, Inputs, Waiting, evidence, membership, views};
use crate::crd::conditions::ConditionReason as Reason;
use crate::manifests;
use crate::xsld::view::GroupView;

/// After so many rebuild quiets without an end a person is asked.
pub(super) const QUIETS_MAX: u32 = 10;
/// So many members fit into the record of the group, with an inline template, and so many claims into one
/// of theirs.
const ADOPTED_AT_ONCE: usize = 5;
const HELD_AT_ONCE: usize = 20;

/// What one pod of the cache says about where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// It has no pod.
    NoPod,
    /// It does not answer in a way that can be used.
    Silent,
    /// It tells its last known copy of a group: it does not reach its primary.
    Former(&'a GroupView),
    /// It is a group of one: on its volume is nothing, or what no other member knows of.
    Alone,
    /// It tells a present view of a group of several.
    Group(&'a GroupView),
}

/// Whose the group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// No volume holds a group of several: the first member is the group, or begins one.
    First,
    /// The group of these names, and those of it that are there.
    Group {
        /// Members that answer for it.
        members: BTreeSet<Ordinal>,
    },
    /// It is not known yet.
    Waits(Why),
}

/// Why it is not known whose the group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// These have not answered, and may hold the group.
    Silent(BTreeSet<Ordinal>),
    /// These tell their last known copy only, and nobody knows that their primary is lost.
    Stale(BTreeSet<Ordinal>),
    /// These tell other groups than the rest.
    Differ(BTreeSet<Ordinal>),
    /// These have no pod that could be asked, and their volumes may hold the group.
    Unasked(BTreeSet<Ordinal>),
}

/// What is known of the volumes, beside what their members say.
pub(super) struct Volumes<'a> {
    /// Whether the volume of a member may hold a group that nobody here has recorded: it is from before.
    pub(super) kept: &'a dyn Fn(Ordinal) -> bool,
    /// Those without a pod that may hold the group, while the first member's is a new one.
    pub(super) unasked: BTreeSet<Ordinal>,
}

/// The words of all that have a pod.
fn words<'a>(inputs: Inputs<'a>) -> BTreeMap<Ordinal, Word<'a>> {
    inputs.seen.pods.keys().map(|ordinal| (*ordinal, word(inputs, *ordinal))).collect()
}

fn word<'a>(inputs: Inputs<'a>, ordinal: Ordinal) -> Word<'a> {
    let (seen, state) = (inputs.seen, inputs.state);
    let Some(pod) = seen.pods.get(&ordinal) else { return Word::NoPod };
    if membership::not_ready(inputs, ordinal).is_some() {
        return Word::Silent;
    }
    let report = seen.reports.get(&ordinal).filter(|it| it.incarnation == pod.incarnation);
    let Some(view) = report.and_then(|report| report.group.as_known()) else { return Word::Silent };
    let itself = view.member(&views::name_of(state, ordinal)).is_some();
    match (itself, view.stale, view.members.len()) {
        (false, _, _) => Word::Silent,
        (true, true, _) => Word::Former(view),
        (true, false, 1) => Word::Alone,
        (true, false, _) => Word::Group(view),
    }
}

fn names(view: &GroupView) -> BTreeSet<&str> {
    view.members.iter().map(|member| member.name.as_str()).collect()
}

/// Whose the group is, by what each pod says, and what is known of the volumes.
pub(super) fn judge(
    cache: &str,
    words: &BTreeMap<Ordinal, Word<'_>>,
    volumes: &Volumes<'_>,
) -> Judgement {
    let told = |view: fn(&Word<'_>) -> bool| {
        words.iter().filter(move |(_, word)| view(word)).map(|(ordinal, _)| *ordinal)
    };
    let groups: BTreeSet<BTreeSet<&str>> = words
        .values()
        .filter_map(|word| match word {
            Word::Group(view) => Some(names(view)),
            _ => None,
        })
        .collect();
    if groups.len() > 1 {
        return Judgement::Waits(Why::Differ(
            told(|word| matches!(word, Word::Group(_))).collect(),
        ));
    }
    if let Some(group) = groups.first() {
        return of_group(cache, words, group, volumes, false);
    }
    let former: BTreeSet<Ordinal> = told(|word| matches!(word, Word::Former(_))).collect();
    if !former.is_empty() {
        return of_former(cache, words, former, volumes);
    }
    let silent: BTreeSet<Ordinal> =
        told(|word| *word == Word::Silent).filter(|ordinal| (volumes.kept)(*ordinal)).collect();
    match (silent.is_empty(), volumes.unasked.is_empty()) {
        (true, true) => Judgement::First,
        (true, false) => Judgement::Waits(Why::Unasked(volumes.unasked.clone())),
        (false, _) => Judgement::Waits(Why::Silent(silent)),
    }
}

/// The group of these names: everybody whom it lists has a say. `lost` says that its primary is known
/// to be lost, so that last known copies are all that there will be. A member that is alone though it
/// is listed is away where its volume is new; where that is from before it may be what is left of the
/// group, when it is the one that the others call their primary.
fn of_group(
    cache: &str,
    words: &BTreeMap<Ordinal, Word<'_>>,
    group: &BTreeSet<&str>,
    volumes: &Volumes<'_>,
    lost: bool,
) -> Judgement {
    let primaries: BTreeSet<Ordinal> = words
        .values()
        .filter_map(|word| match word {
            Word::Group(view) | Word::Former(view) => view.primary(),
            Word::NoPod | Word::Silent | Word::Alone => None,
        })
        .filter_map(|primary| manifests::ordinal_of(cache, &primary.name))
        .collect();
    let (mut members, mut silent) = (BTreeSet::new(), BTreeSet::new());
    let (mut stale, mut differ) = (BTreeSet::new(), BTreeSet::new());
    for ordinal in group.iter().filter_map(|name| manifests::ordinal_of(cache, name)) {
        let place = match words.get(&ordinal).unwrap_or(&Word::NoPod) {
            Word::NoPod => continue,
            Word::Alone if primaries.contains(&ordinal) && (volumes.kept)(ordinal) => &mut differ,
            Word::Alone => continue,
            // Nothing was joined since its volume was made.
            Word::Silent if !(volumes.kept)(ordinal) => continue,
            Word::Group(view) if names(view) == *group => &mut members,
            Word::Former(view) if names(view) == *group && lost => &mut members,
            Word::Former(view) if names(view) == *group => &mut stale,
            Word::Group(_) | Word::Former(_) => &mut differ,
            Word::Silent => &mut silent,
        };
        place.insert(ordinal);
    }
    match (silent.is_empty(), differ.is_empty(), stale.is_empty()) {
        (false, _, _) => Judgement::Waits(Why::Silent(silent)),
        (_, false, _) => Judgement::Waits(Why::Differ(differ)),
        (_, _, false) => Judgement::Waits(Why::Stale(stale)),
        (true, true, true) => Judgement::Group { members },
    }
}

/// Only last known copies are told. They are all that there will be where the primary that they mark
/// answers that it is alone, on a volume made since: its own was lost. On one from before it may be what
/// is left of the group after the others were removed.
fn of_former(
    cache: &str,
    words: &BTreeMap<Ordinal, Word<'_>>,
    former: BTreeSet<Ordinal>,
    volumes: &Volumes<'_>,
) -> Judgement {
    let views: Vec<&GroupView> = words
        .values()
        .filter_map(|word| match word {
            Word::Former(view) => Some(*view),
            _ => None,
        })
        .collect();
    let groups: BTreeSet<_> = views.iter().map(|view| names(view)).collect();
    let Some(group) = groups.first().filter(|_| groups.len() == 1) else {
        return Judgement::Waits(Why::Differ(former));
    };
    let marked: BTreeSet<_> = views.iter().map(|view| view.primary().map(|it| &it.name)).collect();
    let lost = marked.iter().all(|primary| {
        let ordinal = primary.and_then(|name| manifests::ordinal_of(cache, name));
        ordinal.is_some_and(|ordinal| words.get(&ordinal) == Some(&Word::Alone))
    });
    of_group(cache, words, group, volumes, lost && marked.len() == 1)
}

/// Whether the journal was lost: then nobody knows of any volume whether it is new.
fn journal_is_lost(inputs: Inputs<'_>) -> bool {
    inputs.state.operation.is_none()
}

fn is_kept(inputs: Inputs<'_>, ordinal: Ordinal) -> bool {
    let older = |claim: &crate::observation::ClaimFacts| claim.older_than_cache;
    journal_is_lost(inputs) || inputs.seen.claims.get(&ordinal).is_some_and(older)
}

pub(super) fn judged(inputs: Inputs<'_>) -> Judgement {
    let (seen, words) = (inputs.seen, words(inputs));
    let unasked = match journal_is_lost(inputs) || is_kept(inputs, 0) {
        true => BTreeSet::new(),
        false => seen
            .claims
            .iter()
            .filter(|(ordinal, claim)| claim.older_than_cache && !seen.pods.contains_key(ordinal))
            .map(|(ordinal, _)| *ordinal)
            .collect(),
    };
    let kept = |ordinal| is_kept(inputs, ordinal);
    judge(&inputs.state.name, &words, &Volumes { kept: &kept, unasked })
}

/// Whether no group of several is on any volume: then the first member may begin one.
pub(super) fn is_first(inputs: Inputs<'_>) -> bool {
    judged(inputs) == Judgement::First
}

/// The records by which the group is taken over, once two whole looks agree and nothing runs.
pub(super) fn adopted(inputs: Inputs<'_>) -> Option<Vec<Event>> {
    let Inputs { seen, state, times, .. } = inputs;
    if seen.any_task_running() {
        return None;
    }
    let set = seen.stateful_set.as_ref().filter(|set| !set.deleting)?;
    let members = match judged(inputs) {
        Judgement::Group { members } => members,
        Judgement::First if word(inputs, 0) == Word::Alone => BTreeSet::from([0]),
        Judgement::First | Judgement::Waits(_) => return None,
    };
    let view = members.iter().find_map(|ordinal| match word(inputs, *ordinal) {
        Word::Group(view) | Word::Former(view) => Some(view),
        _ => seen.reports.get(ordinal)?.fresh_group(),
    })?;
    let of = |ordinal: &Ordinal| {
        let member = views::member_now(seen, state, *ordinal)?;
        let listed = view.member(&member.name)?;
        let catalog = listed.catalog.unwrap_or(true);
        let address = listed.address.clone().unwrap_or_default();
        Some(AdoptedMember { member, catalog, address })
    };
    let members = members.iter().map(of).collect::<Option<Vec<_>>>()?;
    let listed = view.members.iter();
    let listed = listed.filter_map(|member| manifests::ordinal_of(&state.name, &member.name));
    let listed: Vec<Ordinal> = listed.collect();
    if !Question::Adoption(&listed).is_settled(inputs, times.rebuild_quiet) {
        return None;
    }
    let (template, waits) = template(inputs);
    Some(records(inputs, members, set.replicas, template, &held(inputs, view), waits))
}

/// The adoption in records, each of which is short enough: the first members with the group, the others
/// one by one.
fn records(
    inputs: Inputs<'_>,
    mut members: Vec<AdoptedMember>,
    replicas: u32,
    template: Option<(String, Text)>,
    held: &[HeldClaim],
    waits: Option<String>,
) -> Vec<Event> {
    let others = members.split_off(members.len().min(ADOPTED_AT_ONCE));
    let mut events = vec![Event::Adopted { members, replicas: Some(replicas), template }];
    events.extend(others.into_iter().map(|member| late(inputs, member)));
    let noted =
        |held: &[HeldClaim]| Event::AdoptionNoted { held: held.to_vec(), template: waits.clone() };
    if held.is_empty() {
        events.push(noted(held));
    }
    events.extend(held.chunks(HELD_AT_ONCE).map(noted));
    events
}

/// The claims of everybody whom the group lists, but for those that are proven to be empty.
fn held(inputs: Inputs<'_>, view: &GroupView) -> Vec<HeldClaim> {
    let (seen, state) = (inputs.seen, inputs.state);
    let listed = view.members.iter().filter_map(|member| {
        let ordinal = manifests::ordinal_of(&state.name, &member.name)?;
        let several = view.members.len() > 1;
        let empty = several && word(inputs, ordinal) == Word::Alone && !is_kept(inputs, ordinal);
        let claim = seen.claims.get(&ordinal).filter(|_| !empty)?;
        Some(HeldClaim { name: member.name.clone(), claim_uid: claim.uid.clone() })
    });
    listed.collect()
}

/// The template to go on with, and the digest of the one that waits for consent. After a lost journal
/// it is the live one: nothing is rolled that nobody asked for, nor a roll that was halted begun again.
fn template(inputs: Inputs<'_>) -> (Option<(String, Text)>, Option<String>) {
    let Inputs { wanted, seen, state, .. } = inputs;
    if let Some(committed) = &state.committed.template {
        return (Some((committed.digest.clone(), committed.text.clone())), None);
    }
    let live = seen.stateful_set.as_ref().and_then(|set| set.template.clone());
    match live {
        Some((digest, _)) if digest == wanted.template.0 => (Some(wanted.template.clone()), None),
        Some(live) => (Some(live), Some(wanted.template.0.clone())),
        None => (None, None),
    }
}

/// What is waited for, and by whom it ends; none when the group is known, or the first member is to
/// form it.
pub(super) fn waiting(inputs: Inputs<'_>) -> Option<Waiting> {
    let Inputs { state, watch, times, .. } = inputs;
    if state.bootstrapped {
        return None;
    }
    let overdue = watch.undecided_for() >= times.rebuild_quiet.saturating_mul(QUIETS_MAX);
    let reason = if overdue { Reason::AdoptionUndecided } else { Reason::Rebuilding };
    let why = match judged(inputs) {
        Judgement::Waits(why) => why,
        Judgement::Group { members } => {
            let mut message = format!(
                "the group of {} is taken over once it stays the same",
                named(inputs, &members)
            );
            if overdue {
                message.push_str(
                    ". It does not: look for a pod that crashes again and again, or for somebody's \
                     tasks in the group",
                );
            }
            return Some(Waiting::new(reason, message));
        }
        Judgement::First if journal_is_lost(inputs) && word(inputs, 0) == Word::NoPod => {
            let message = format!(
                "no group is taken over before {} has a pod: the StatefulSet is as somebody left it; \
                 scale it to the members that there are, or delete the XsldCache with its volumes kept \
                 and make it again",
                views::name_of(state, 0)
            );
            return Some(Waiting::new(reason, message));
        }
        Judgement::First => return None,
    };
    if let (Why::Silent(silent), false) = (&why, overdue)
        && let Some(waiting) = in_the_way(inputs, silent)
    {
        return Some(waiting);
    }
    Some(Waiting::new(reason, words_of(inputs, &why, overdue)))
}

/// Something that a silent member waits for and that has a reason of its own.
fn in_the_way(inputs: Inputs<'_>, silent: &BTreeSet<Ordinal>) -> Option<Waiting> {
    silent.iter().find_map(|ordinal| match membership::not_ready(inputs, *ordinal)? {
        Decision::Wait(waiting) if waiting.reason != Reason::WaitingForPods => Some(waiting),
        _ => None,
    })
}

fn named(inputs: Inputs<'_>, ordinals: &BTreeSet<Ordinal>) -> String {
    let names: Vec<_> =
        ordinals.iter().map(|ordinal| views::name_of(inputs.state, *ordinal)).collect();
    names.join(", ")
}

fn words_of(inputs: Inputs<'_>, why: &Why, overdue: bool) -> String {
    let (told, act) = match why {
        Why::Silent(silent) => (
            format!(
                "the group is not taken over before {} answers, whose volume may hold it",
                named(inputs, silent)
            ),
            "find out why it does not answer, or delete its pod; where its volume may be given up, \
             delete its claim and its pod",
        ),
        Why::Stale(stale) => (
            told_stale(inputs, stale),
            match primary_without_a_pod(inputs, stale) {
                Some(primary) => {
                    return format!(
                        "{}. That is {}, which has no pod: set spec.size so that it gets one",
                        told_stale(inputs, stale),
                        views::name_of(inputs.state, primary),
                    );
                }
                None => {
                    "see that the entrypoint tells the group each member's present address and \
                     delete the pods; where the primary's volume is lost for good, delete its claim \
                     and its pod"
                }
            },
        ),
        Why::Unasked(unasked) => (
            format!(
                "the volume of {} is from before and may hold the group, that of {} is new, and no \
                 group is begun beside it",
                named(inputs, unasked),
                views::name_of(inputs.state, 0)
            ),
            "set spec.size so that each gets a pod; where its volume may be given up, delete its claim",
        ),
        Why::Differ(differ) => (
            format!("other groups than the rest are told by {}", named(inputs, differ)),
            match journal_is_lost(inputs) {
                true => {
                    "decide which group is the right one; delete the XsldCache with its volumes kept, \
                     make it again, and then delete the claims and the pods of the others"
                }
                false => {
                    "decide which group is the right one, and delete the claims and the pods of the \
                     others"
                }
            },
        ),
    };
    if overdue { format!("{told}. Nothing is done before: {act}") } else { told }
}

fn told_stale(inputs: Inputs<'_>, stale: &BTreeSet<Ordinal>) -> String {
    let names = named(inputs, stale);
    format!("{names} tells the last known copy of its group only: it does not reach the primary")
}

/// The primary of which these tell, where it is known and has no pod.
fn primary_without_a_pod(inputs: Inputs<'_>, stale: &BTreeSet<Ordinal>) -> Option<Ordinal> {
    stale.iter().find_map(|ordinal| {
        let Word::Former(view) = word(inputs, *ordinal) else { return None };
        let primary = manifests::ordinal_of(&inputs.state.name, &view.primary()?.name)?;
        (word(inputs, primary) == Word::NoPod).then_some(primary)
    })
}

/// What the records of a late member's adoption rest on.
pub(super) fn late(inputs: Inputs<'_>, member: AdoptedMember) -> Event {
    Event::MemberAdopted { member, evidence: evidence(&views::told(inputs.seen)) }
}

#[cfg(test)]
mod tests;
