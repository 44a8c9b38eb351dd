//! What Kubernetes makes of a step, and what it does by itself: pods, claims, the StatefulSet.

use xsld_journal::event::{Incarnation, MemberRef, Ordinal};

use super::super::story::Story;
use super::Ideal;
use crate::decide::{roll, storage, views};
use crate::observation::{ClaimFacts, Growth, PodFacts, SetFacts};
use crate::validate::quantity::Amount;

impl Ideal<'_> {
    pub(super) fn set_template(&mut self, digest: &str) {
        let revision = self.revision_of(digest);
        if let Some(set) = &mut self.seen.stateful_set {
            set.template_digest = Some(digest.to_owned());
            set.update_revision = Some(revision);
        }
    }

    /// The revision that the StatefulSet's controller gives pods of this template: the same for the
    /// same template.
    fn revision_of(&self, digest: &str) -> String {
        let mut pods = self.seen.pods.values().chain(self.real.seen.pods.values());
        let made = pods.find(|pod| pod.template.as_deref() == Some(digest));
        let known = made.and_then(|pod| pod.revision.clone());
        known.unwrap_or_else(|| format!("planned-{}", digest.get(..12).unwrap_or(digest)))
    }

    pub(super) fn scale(&mut self, replicas: u32) {
        match &mut self.seen.stateful_set {
            Some(set) => set.replicas = replicas,
            None => self.make_set(replicas),
        }
    }

    fn make_set(&mut self, replicas: u32) {
        let committed = self.state.committed.template.as_ref();
        let digest = committed.map(|template| template.digest.clone()).unwrap_or_default();
        self.seen.stateful_set = Some(SetFacts {
            uid: self.planned(),
            resource_version: String::new(),
            replicas,
            update_revision: Some(self.revision_of(&digest)),
            template_digest: Some(digest),
            deleting: false,
            template: None,
            claim_size: Some(self.real.wanted.storage.clone()),
            is_orphaned: false,
        });
    }

    pub(super) fn delete_claim(&mut self, ordinal: Ordinal, uid: &str) {
        if self.seen.claims.get(&ordinal).is_some_and(|claim| claim.uid == uid) {
            self.seen.claims.remove(&ordinal);
        }
    }

    pub(super) fn delete_pod(&mut self, member: &MemberRef) {
        let pod = self.seen.pods.get(&member.ordinal);
        if pod.is_some_and(|pod| pod.incarnation.pod_uid == member.incarnation.pod_uid) {
            self.remove_pod(member.ordinal);
        }
    }

    fn remove_pod(&mut self, ordinal: Ordinal) {
        self.seen.pods.remove(&ordinal);
        self.seen.reports.remove(&ordinal);
    }

    pub(super) fn grow(&mut self, ordinal: Ordinal, uid: &str, to: &str) {
        if let Some(claim) = self.seen.claims.get_mut(&ordinal).filter(|claim| claim.uid == uid) {
            claim.requested = Some(to.to_owned());
            claim.capacity = Some(to.to_owned());
            claim.growth = None;
        }
    }

    /// What is on its way among the objects: the StatefulSet is as it is committed, what is going
    /// is gone, what is missing is made, and pods start unless something keeps them from it. False
    /// when nothing is.
    pub(super) fn ripen_objects(&mut self, story: &mut Story) -> bool {
        let kept = self.keep_set(story);
        let replicas = match &self.seen.stateful_set {
            Some(set) => set.replicas,
            None if self.real.wanted.deleting => 0,
            None => return kept,
        };
        let going: Vec<Ordinal> = self
            .seen
            .pods
            .iter()
            .filter(|(ordinal, pod)| pod.deleting || **ordinal >= replicas)
            .map(|(ordinal, _)| *ordinal)
            .collect();
        going.iter().for_each(|ordinal| self.remove_pod(*ordinal));
        let (pods, claims) = (&self.seen.pods, self.seen.claims.len());
        self.seen.claims.retain(|ordinal, claim| !claim.deleting || pods.contains_key(ordinal));
        let mut changed = kept || !going.is_empty() || claims != self.seen.claims.len();
        for ordinal in 0..replicas {
            changed |= match self.seen.pods.contains_key(&ordinal) {
                true => self.start_pod(ordinal, story),
                false => self.make_pod(ordinal, story),
            };
        }
        changed
    }

    /// The operator keeps the StatefulSet as it is committed, step or no step. False when it is.
    fn keep_set(&mut self, story: &mut Story) -> bool {
        let going = self.seen.stateful_set.take_if(|set| set.deleting).is_some();
        let committed = &self.state.committed;
        let (Some(replicas), Some(template), false) =
            (committed.replicas, &committed.template, self.real.wanted.deleting)
        else {
            return going;
        };
        let digest = template.digest.clone();
        let Some(set) = &mut self.seen.stateful_set else {
            self.make_set(replicas);
            story.assume("the StatefulSet, which is missing, is made again".to_owned());
            return true;
        };
        let scaled = set.replicas != replicas;
        let other = set.template_digest.as_deref() != Some(&digest);
        let unseen = set.update_revision.is_none();
        set.replicas = replicas;
        if scaled {
            story.assume(format!("the StatefulSet is set back to {replicas} replicas"));
        }
        if other || unseen {
            self.set_template(&digest);
        }
        going || scaled || other || unseen
    }

    fn start_pod(&mut self, ordinal: Ordinal, story: &mut Story) -> bool {
        let real = self.is_real_pod(ordinal);
        let Some(pod) = self.seen.pods.get(&ordinal) else { return false };
        if (pod.running && pod.address.is_some()) || roll::is_hopeless(pod) {
            return false;
        }
        let (address, container) = (self.planned(), self.planned());
        let Some(pod) = self.seen.pods.get_mut(&ordinal) else { return false };
        pod.address.get_or_insert(address);
        if !pod.running {
            pod.incarnation.container_id = container;
        }
        (pod.running, pod.ready, pod.waiting) = (true, true, None);
        if real {
            story.assume(format!("{}, which is starting, comes up", pod.name));
        }
        true
    }

    fn make_pod(&mut self, ordinal: Ordinal, story: &mut Story) -> bool {
        let Some(set) = self.seen.stateful_set.clone() else { return false };
        let name = views::name_of(&self.state, ordinal);
        let incarnation =
            Incarnation { pod_uid: self.planned(), container_id: self.planned(), restarts: 0 };
        let pod = PodFacts {
            name: name.clone(),
            incarnation,
            address: Some(self.planned()),
            addresses: vec![],
            running: true,
            ready: true,
            unready_since_us: None,
            deleting: false,
            node: None,
            node_leaving: None,
            revision: set.update_revision,
            template: set.template_digest,
            waiting: None,
            is_orphaned: false,
        };
        self.seen.pods.insert(ordinal, pod);
        if self.seen.claims.contains_key(&ordinal) {
            let rolled = self.state.members.contains_key(&ordinal);
            if !rolled && self.real.seen.claims.contains_key(&ordinal) {
                story.assume(format!("claim vol-{name}, which is there already, is taken up"));
            }
            return true;
        }
        let claim = ClaimFacts {
            name: format!("vol-{name}"),
            uid: self.planned(),
            deleting: false,
            older_than_cache: false,
            resource_version: String::new(),
            requested: set.claim_size.clone(),
            never_bound: false,
            capacity: set.claim_size,
            growth: None,
            class: None,
        };
        self.seen.claims.insert(ordinal, claim);
        true
    }

    /// Volumes grow as the first one that was asked for; and where all that exist are large enough,
    /// those of new members do. False when none is to.
    pub(super) fn ripen_volumes(&mut self, story: &mut Story) -> bool {
        let (real, size) = (self.real.seen, self.real.wanted.storage.as_str());
        let Some(wanted) = Amount::parse(size) else { return false };
        let told = real.claims.values().find_map(|claim| claim.growth.clone());
        let growth = match (&told, storage::smaller(real, Ordinal::MAX, size)) {
            (Some(told), _) => told.clone(),
            (None, None) => Growth::Allowed,
            (None, Some(_)) => return false,
        };
        let mut changed = false;
        for claim in self.seen.claims.values_mut() {
            let requested = claim.requested.as_deref().and_then(Amount::parse);
            let smaller = requested.is_some_and(|requested| requested < wanted);
            if smaller && claim.growth.is_none() {
                claim.growth = Some(growth.clone());
                changed = true;
                if told.is_none() {
                    story.assume("the storage class lets volumes grow".to_owned());
                }
            }
        }
        changed
    }
}
