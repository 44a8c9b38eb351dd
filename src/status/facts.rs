//! What a cache's status is told from: one view of the group, and the members as they stand in it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use xsld_journal::event::Ordinal;
use xsld_journal::state;

use super::CacheInputs;
use super::fit::{MEMBER_STATES_MAX, sentence};
use crate::crd::{MemberOnline, MemberState, XsldCacheStatus, cache_status::MAX_LISTED_GRIDS};
use crate::decide::views;
use crate::manifests::{ordinal_of, pod_name};
use crate::observation::{Observation, PodFacts, Report};
use crate::xsld::view::{Answer, GroupMember, GroupView, MemberStatus};

/// Whether there is a group to be seen at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The journal has recorded it.
    Formed,
    /// The first member has not formed it yet.
    NotFormed,
    /// The journal does not know of it, and the world may: it is read anew.
    Unclear,
}

/// The view that is told, and who told it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The view.
    pub(super) view: &'a GroupView,
    /// Name of the member that told it.
    pub(super) by: &'a str,
    /// Whether it is the present one and not a copy from before the primary was lost.
    pub(super) fresh: bool,
}

/// One member: wanted, recorded, listed, or with a pod.
#[derive(Clone, Debug)]
pub(super) struct Member<'a> {
    /// Its name.
    pub(super) name: String,
    /// Its place; none for a name that is not one of this cache's.
    pub(super) ordinal: Option<Ordinal>,
    /// Whether the spec wants it.
    pub(super) wanted: bool,
    /// What the journal knows of it.
    pub(super) recorded: Option<&'a state::Member>,
    /// Its pod.
    pub(super) pod: Option<&'a PodFacts>,
    /// What it answered.
    pub(super) report: Option<&'a Report>,
    /// Its entry in the view.
    pub(super) listed: Option<&'a GroupMember>,
    /// Whether it is Online.
    pub(super) online: MemberOnline,
}

impl Member<'_> {
    /// Whether the group knows it at another address than its pod has.
    pub(super) fn moved(&self) -> bool {
        let known = self.listed.and_then(|listed| listed.address.as_deref());
        let present = self.pod.filter(|pod| pod.address.is_some());
        matches!((known, present), (Some(known), Some(pod)) if !pod.is_at(known))
    }

    /// Whether it shows a certificate that is not trusted.
    pub(super) fn is_untrusted(&self) -> bool {
        self.report.is_some_and(|report| report.untrusted.is_some())
    }

    /// Whether its pod is there to stay and ready.
    pub(super) fn has_ready_pod(&self) -> bool {
        self.pod.is_some_and(|pod| pod.ready && !pod.deleting)
    }

    /// Whether it runs a catalog server, by the view or else by the journal.
    pub(super) fn catalog(&self) -> Option<bool> {
        let listed = self.listed.and_then(|listed| listed.catalog);
        listed.or(self.recorded.map(|recorded| recorded.catalog))
    }
}

/// What the status is told from.
pub(super) struct Facts<'a> {
    /// The inputs.
    pub(super) inputs: &'a CacheInputs<'a>,
    /// The view that is told; none when nobody told one.
    pub(super) told: Option<Told<'a>>,
    /// Whether there is a group.
    pub(super) group: Group,
    /// Members that the spec wants.
    pub(super) size: u32,
    /// Whether the custom resource is being deleted.
    pub(super) deleting: bool,
    /// The members, by place; names that are not of this cache come last.
    pub(super) members: Vec<Member<'a>>,
}

impl<'a> Facts<'a> {
    /// Gathers the facts.
    pub(super) fn of(inputs: &'a CacheInputs<'a>) -> Self {
        let mut facts = Self {
            inputs,
            told: inputs.seen.and_then(|seen| told(seen, inputs.state)),
            group: group(inputs),
            size: u32::try_from(inputs.object.spec.size).unwrap_or(0),
            deleting: inputs.object.metadata.deletion_timestamp.is_some(),
            members: Vec::new(),
        };
        facts.members = facts.all_members();
        facts
    }

    /// Name of the cache.
    pub(super) fn cache_name(&self) -> &'a str {
        self.inputs.object.metadata.name.as_deref().unwrap_or(&self.inputs.state.name)
    }

    fn all_members(&self) -> Vec<Member<'a>> {
        let (inputs, cache) = (self.inputs, self.cache_name());
        let listed: BTreeMap<&str, &GroupMember> = self
            .told
            .iter()
            .flat_map(|told| &told.view.members)
            .map(|member| (member.name.as_str(), member))
            .collect();
        let mut ordinals: BTreeSet<Ordinal> = inputs.state.members.keys().copied().collect();
        ordinals.extend(inputs.seen.iter().flat_map(|seen| seen.pods.keys()));
        ordinals.extend(listed.keys().filter_map(|name| ordinal_of(cache, name)));
        if !self.deleting {
            // More than the schema allows came past it, and is not valid.
            ordinals.extend(0..self.size.min(crate::crd::MAX_MEMBERS.unsigned_abs()));
        }
        let own = ordinals.iter().map(|ordinal| {
            let name = pod_name(cache, *ordinal);
            let listed = listed.get(name.as_str()).copied();
            self.member(name, Some(*ordinal), listed)
        });
        let others = listed.iter().filter(|(name, _)| ordinal_of(cache, name).is_none());
        let others =
            others.map(|(name, listed)| self.member((*name).to_owned(), None, Some(*listed)));
        own.chain(others).collect()
    }

    fn member(
        &self,
        name: String,
        ordinal: Option<Ordinal>,
        listed: Option<&'a GroupMember>,
    ) -> Member<'a> {
        let seen = self.inputs.seen;
        let mut member = Member {
            wanted: !self.deleting && ordinal.is_some_and(|ordinal| ordinal < self.size),
            recorded: ordinal.and_then(|ordinal| self.inputs.state.members.get(&ordinal)),
            pod: ordinal.and_then(|ordinal| seen?.pods.get(&ordinal)),
            report: ordinal.and_then(|ordinal| seen?.reports.get(&ordinal)),
            online: MemberOnline::Unknown,
            name,
            ordinal,
            listed,
        };
        member.online = self.online(&member);
        member
    }

    fn online(&self, member: &Member<'_>) -> MemberOnline {
        let Some(told) = self.told else {
            // Whoever does not run is not Online, whatever the group would say.
            let runs = member.pod.is_some_and(|pod| pod.running);
            let is_away = self.inputs.seen.is_some() && !runs;
            return match self.group {
                Group::NotFormed => MemberOnline::False,
                Group::Formed if is_away => MemberOnline::False,
                Group::Formed | Group::Unclear => MemberOnline::Unknown,
            };
        };
        let Some(listed) = member.listed else { return MemberOnline::False };
        if told.fresh {
            return match &listed.status {
                MemberStatus::Online => MemberOnline::True,
                MemberStatus::Starting | MemberStatus::Stopped | MemberStatus::Unreachable => {
                    MemberOnline::False
                }
                MemberStatus::Unknown(_) => MemberOnline::Unknown,
            };
        }
        // A copy from before the primary was lost says nothing of the present: only who answers
        // by itself is there.
        let answers = member.report.is_some_and(|report| {
            report.group.as_known().is_some()
                && member.pod.is_some_and(|pod| pod.incarnation == report.incarnation)
        });
        match (answers, member.pod.is_some_and(|pod| pod.running)) {
            (true, _) => MemberOnline::True,
            (false, true) if !self.is_primary(member) => MemberOnline::Unknown,
            (false, _) => MemberOnline::False,
        }
    }

    /// Whether the member holds the configuration, as far as that is known.
    pub(super) fn is_primary(&self, member: &Member<'_>) -> bool {
        self.primary_name().is_some_and(|primary| primary == member.name)
    }

    /// The member that holds the configuration: the one that the view marks, else the first
    /// established one. None without a view.
    pub(super) fn primary_name(&self) -> Option<String> {
        let marked = self.told?.view.primary().map(|member| member.name.clone());
        marked.or_else(|| {
            let ordinal = views::primary(self.inputs.seen?, self.inputs.state)?;
            Some(self.inputs.state.members.get(&ordinal)?.name.clone())
        })
    }

    /// The member that holds the replica of the configuration, by the view.
    pub(super) fn replica_name(&self) -> Option<String> {
        let members = &self.told?.view.members;
        let replica = members.iter().find(|member| member.replication.as_deref() == Some("slave"));
        replica.map(|member| sentence(&member.name, 63))
    }

    /// How many members the group has; without a view those that the journal knows.
    pub(super) fn member_count(&self) -> Option<i32> {
        match (self.told, self.group) {
            (Some(told), _) => Some(number(told.view.members.len())),
            (None, Group::Formed) => Some(number(self.inputs.state.members.len())),
            (None, Group::NotFormed) => Some(0),
            (None, Group::Unclear) => None,
        }
    }

    /// How many members are Online; none when that cannot be seen.
    pub(super) fn online_count(&self) -> Option<i32> {
        let unseen = self.members.iter().any(|member| member.online == MemberOnline::Unknown);
        let blind = self.inputs.seen.is_none() || self.group == Group::Unclear;
        if self.told.is_none() && (unseen || blind) {
            return None;
        }
        let online = self.members.iter().filter(|member| member.online == MemberOnline::True);
        Some(number(online.count()))
    }

    /// How many members run a catalog server.
    pub(super) fn catalog_count(&self) -> Option<i32> {
        match (self.told, self.group) {
            (Some(_), _) | (None, Group::Formed) => {
                let in_group = self.members.iter().filter(|member| match self.told {
                    Some(_) => member.listed.is_some(),
                    None => member.recorded.is_some(),
                });
                Some(number(in_group.filter(|member| member.catalog() == Some(true)).count()))
            }
            (None, Group::NotFormed | Group::Unclear) => None,
        }
    }

    /// Tasks that run on any member that told its list; none when no list was read. A task that
    /// several members list under one key is one task.
    pub(super) fn pending_tasks(&self) -> Option<i32> {
        let reports = &self.inputs.seen?.reports;
        let lists: Vec<_> = reports
            .iter()
            .filter_map(|(ordinal, report)| Some((*ordinal, report.read_tasks()?)))
            .collect();
        if lists.is_empty() {
            return None;
        }
        let running = lists.iter().flat_map(|(ordinal, tasks)| {
            tasks.iter().filter(|task| task.is_running()).map(|task| match task.key() {
                Some(key) => (Some(key), None),
                None => (None, Some((*ordinal, task.id))),
            })
        });
        Some(number(running.collect::<BTreeSet<_>>().len()))
    }

    /// The first names of the grids and the number of all; nothing when they cannot be seen.
    pub(super) fn grids(&self) -> (Vec<String>, Option<i32>) {
        let seen = self.inputs.seen.and_then(|seen| seen.grids.as_ref());
        let Some(Answer::Known(grids)) = seen else { return (Vec::new(), None) };
        // One that is not listed and cannot be read by itself may be none.
        let listed = grids.statuses().filter(|(_, status)| status.is_some());
        let names: BTreeSet<&str> = listed.map(|(name, _)| name).collect();
        let first = names.iter().take(MAX_LISTED_GRIDS).map(|name| sentence(name, 253));
        (first.collect(), Some(number(names.len())))
    }

    /// One entry for each member. An entry whose pod, address and being Online are as in `previous`
    /// keeps its time.
    pub(super) fn member_states(
        &self,
        previous: Option<&XsldCacheStatus>,
        now: &Time,
    ) -> Vec<MemberState> {
        let former: BTreeMap<&str, &MemberState> = previous
            .iter()
            .flat_map(|status| &status.member_states)
            .map(|state| (state.name.as_str(), state))
            .collect();
        let prefix = format!("{}-", self.cache_name());
        let mut names = BTreeSet::new();
        let mut states = Vec::new();
        for member in &self.members {
            let name = sentence(&member.name, 63);
            // Two long names that are equal once cut would be refused as one key twice.
            if states.len() == MEMBER_STATES_MAX || !names.insert(name.clone()) {
                continue;
            }
            let mut state = entry(member, name, &prefix);
            let same = former.get(state.name.as_str()).filter(|former| {
                former.pod_uid == state.pod_uid
                    && former.address == state.address
                    && former.online == state.online
            });
            let since = same.and_then(|former| former.since.clone());
            state.since = Some(since.unwrap_or_else(|| now.clone()));
            states.push(state);
        }
        states
    }
}

fn entry(member: &Member<'_>, name: String, prefix: &str) -> MemberState {
    let listed = member.listed.and_then(|listed| listed.address.as_deref());
    let recorded = member.recorded.map(|recorded| recorded.address.as_str());
    let address = listed.or(recorded.filter(|address| !address.is_empty()));
    let pod = member.pod;
    // The label repeats the cache's name, which the member's name tells already.
    let revision = pod.and_then(|pod| pod.revision.as_deref());
    let revision = revision.map(|revision| revision.strip_prefix(prefix).unwrap_or(revision));
    MemberState {
        name,
        pod_uid: pod.map(|pod| sentence(&pod.incarnation.pod_uid, 64)),
        address: address.map(|address| sentence(address, 64)),
        online: member.online,
        catalog: member.catalog(),
        revision: revision.map(|revision| sentence(revision, 63)),
        since: None,
    }
}

/// The primary's present view, else that of any other established member, else a copy from before
/// the primary was lost.
fn told<'a>(seen: &'a Observation, state: &'a state::CacheState) -> Option<Told<'a>> {
    let primary = views::primary(seen, state);
    let order = || primary.into_iter().chain(state.members.keys().copied());
    let by = |ordinal: Ordinal| state.members.get(&ordinal).map(|member| member.name.as_str());
    let fresh = order().find_map(|ordinal| {
        let view = views::view_of(seen, state, ordinal)?;
        Some(Told { view, by: by(ordinal)?, fresh: true })
    });
    fresh.or_else(|| {
        order().find_map(|ordinal| {
            let view = views::established_report(seen, state, ordinal)?.group.as_known()?;
            Some(Told { view, by: by(ordinal)?, fresh: false })
        })
    })
}

fn group(inputs: &CacheInputs<'_>) -> Group {
    let state = inputs.state;
    let has_set = inputs.seen.map(|seen| seen.stateful_set.is_some());
    if state.bootstrapped {
        Group::Formed
    } else if state.committed.replicas.is_some() || has_set == Some(false) {
        Group::NotFormed
    } else if state.operation.is_some() && inputs.seen.is_some() {
        // The StatefulSet is there and the step that makes it has no outcome yet.
        Group::NotFormed
    } else {
        Group::Unclear
    }
}

/// A count as a status holds it.
pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
