//! The rules of adoption, searched exhaustively within bounds: three members on kept volumes, or a lost
//! journal; each pod up, silent or gone; one volume fresh, or of another group, or none; the primary
//! found by the others or not; sizes two and three. Then up to two faults or repairs in any order, and
//! the operator acts between them for as long as it has anything to do.
//!
//! What is really on the volumes is told by the model, and never by what the operator made of it.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;

use xsld_journal::event::{Ordinal, Step};
use xsld_journal::state::CacheState;

use super::{QUIETS_MAX, kept, lost_journal, stale};
use crate::crd::conditions::ConditionReason as Reason;
use crate::decide::Decision;
use crate::decide::testing::World;

const MEMBERS: u32 = 3;

/// Faults and repairs in a row.
const CHANGES: u32 = 2;

/// So often a decision is followed before it counts as a circle.
const DECISIONS_MAX: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pod {
    Up,
    Silent,
    Gone,
}

/// What is really there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Truth {
    /// The entries of the group's database.
    listed: BTreeSet<Ordinal>,
    /// Whose volume is of the group. The others are fresh, but for the one below.
    holds: BTreeSet<Ordinal>,
    /// Whose volume is of another group.
    apart: Option<Ordinal>,
    pods: [Pod; MEMBERS as usize],
    /// Which volume each place has: counts up when one is lost.
    volumes: [u32; MEMBERS as usize],
    /// Whether members find their primary.
    finds: bool,
}

impl Truth {
    /// Whether something is on the volume of a place that must not be lost.
    fn is_kept(&self, ordinal: Ordinal) -> bool {
        self.holds.contains(&ordinal) || self.apart == Some(ordinal)
    }

    fn show(&self, world: &mut World, replicas: u32) {
        world.set_replicas(replicas);
        for (ordinal, pod) in (0..).zip(self.pods) {
            let volume = self.volumes[ordinal as usize];
            world.pod_with(ordinal, 1 + volume);
            let claim = world.seen.claims.get_mut(&ordinal).unwrap();
            claim.uid = format!("claim-{ordinal}-{volume}");
            claim.older_than_cache = volume == 0;
            if pod == Pod::Gone || ordinal >= replicas {
                world.seen.pods.remove(&ordinal);
            } else if pod == Pod::Up {
                self.answer(world, ordinal);
            }
        }
    }

    /// What a member tells: its group, or the last copy of it, or that it is alone.
    fn answer(&self, world: &mut World, ordinal: Ordinal) {
        if self.apart == Some(ordinal) {
            world.report(ordinal, &[ordinal, 7]);
        } else if self.holds.contains(&ordinal) {
            // Who was removed and did not hear of it tells what it knew last.
            let itself = [ordinal].into_iter().filter(|_| !self.listed.contains(&ordinal));
            let told: BTreeSet<_> = self.listed.iter().copied().chain(itself).collect();
            world.report(ordinal, &told.into_iter().collect::<Vec<_>>());
            let serves = self.holds.contains(&0) && self.pods[0] != Pod::Gone && self.finds;
            if ordinal != 0 && !(serves && self.listed.contains(&ordinal)) {
                stale(world, ordinal);
            }
        } else {
            world.report(ordinal, &[ordinal]);
        }
        world.seen.reports.get_mut(&ordinal).unwrap().lists_grids = Some(false);
    }

    /// Every fault and repair that is possible; one volume is lost at most.
    fn changes(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for at in 0..MEMBERS as usize {
            for pod in [Pod::Up, Pod::Silent, Pod::Gone] {
                let mut next = self.clone();
                next.pods[at] = pod;
                all.push(next);
            }
            all.push(self.with_fresh(at));
        }
        all.push(Self { finds: !self.finds, ..self.clone() });
        all.retain(|next| next != self && next.volumes.iter().sum::<u32>() <= 1);
        all
    }

    /// A person or a fault takes the volume of a place, and its pod starts anew.
    fn with_fresh(&self, at: usize) -> Self {
        let mut fresh = self.clone();
        let ordinal = Ordinal::try_from(at).unwrap();
        fresh.volumes[at] += 1;
        fresh.holds.remove(&ordinal);
        fresh.apart = fresh.apart.filter(|apart| *apart != ordinal);
        fresh.pods[at] = Pod::Up;
        fresh
    }
}

/// A state of the search.
#[derive(Clone)]
struct Node {
    truth: Truth,
    state: CacheState,
    seq: u64,
    size: u32,
    changes: u32,
    story: Vec<String>,
}

fn starts() -> Vec<Node> {
    let whole = Truth {
        listed: (0..MEMBERS).collect(),
        holds: (0..MEMBERS).collect(),
        apart: None,
        pods: [Pod::Up; MEMBERS as usize],
        volumes: [0; MEMBERS as usize],
        finds: true,
    };
    let mut truths = vec![whole.clone()];
    truths.extend((0..MEMBERS as usize).map(|at| whole.with_fresh(at)));
    truths.extend((0..MEMBERS).map(|apart| {
        let mut other = Truth { apart: Some(apart), ..whole.clone() };
        other.holds.remove(&apart);
        other
    }));
    let mut all = Vec::new();
    for (world, size) in [
        (kept(MEMBERS), MEMBERS),
        (lost_journal(MEMBERS), MEMBERS),
        (lost_journal(MEMBERS), MEMBERS - 1),
    ] {
        for (truth, finds) in truths.iter().flat_map(|it| [(it, true), (it, false)]) {
            for word in 0..3_usize.pow(MEMBERS) {
                let mut truth = Truth { finds, ..truth.clone() };
                for (at, pod) in truth.pods.iter_mut().enumerate() {
                    *pod = [Pod::Up, Pod::Silent, Pod::Gone][word / 3_usize.pow(at as u32) % 3];
                }
                let (state, story) = (world.state.clone(), vec![format!("{truth:?}")]);
                all.push(Node { truth, state, seq: 1000, size, changes: 0, story });
            }
        }
    }
    all
}

/// The operator acts until it rests or waits, for ever and a day.
fn settle(node: &mut Node) -> Decision {
    let mut world = World::new(node.size);
    world.wanted.replicate = false;
    world.state = node.state.clone();
    world.skip_to(node.seq);
    let longest = world.times.rebuild_quiet * (QUIETS_MAX + 1);
    for _ in 0..DECISIONS_MAX {
        let replicas = world.state.committed.replicas.unwrap_or(MEMBERS);
        node.truth.show(&mut world, replicas);
        match world.after(longest) {
            decision @ (Decision::Record(_) | Decision::Begin { .. }) => world.follow(decision),
            Decision::Run { step, .. } => act(node, &mut world, step),
            decision => {
                node.state = world.state.clone();
                node.seq += 1000;
                return decision;
            }
        }
    }
    panic!("it goes round in circles: {:#?}", node.story);
}

/// A step has its effect. What it must never do is asserted.
fn act(node: &mut Node, world: &mut World, step: Step) {
    let truth = &mut node.truth;
    let told = || format!("{step:?} after {:#?}", node.story);
    match &step {
        Step::RemoveGhostMember { member, .. } => {
            let ordinal = member.ordinal;
            let place = ordinal < world.state.committed.replicas.unwrap_or(0).max(node.size);
            let ours = world.state.leaving.contains_key(&ordinal);
            let alive = truth.is_kept(ordinal) && (place || world.seen.pods.contains_key(&ordinal));
            assert!(!alive || ours, "a member is removed as a ghost: {}", told());
            truth.listed.remove(&ordinal);
        }
        Step::ResetMember { member } => {
            assert!(!truth.is_kept(member.ordinal), "a volume is wiped: {}", told());
            truth.volumes[member.ordinal as usize] += 1;
        }
        Step::DeleteVolume { ordinal, .. } => {
            assert!(!truth.is_kept(*ordinal), "a volume is deleted: {}", told());
            world.seen.claims.remove(ordinal);
        }
        Step::JoinMember { member, .. } => {
            assert!(!truth.is_kept(member.ordinal), "a member is joined anew: {}", told());
            truth.listed.insert(member.ordinal);
            truth.holds.insert(member.ordinal);
        }
        Step::DisjoinMember { member, .. } => {
            assert!(member.ordinal >= node.size, "a wanted member is disjoined: {}", told());
            truth.listed.remove(&member.ordinal);
            truth.holds.remove(&member.ordinal);
        }
        Step::SetTemplate { .. } => panic!("a template that nobody asked for: {}", told()),
        _ => {}
    }
    world.run_and_succeed(step);
}

/// Whether nothing but a person can end what is told.
fn is_for_a_person(decision: &Decision) -> bool {
    let reasons = [Reason::AdoptionUndecided, Reason::PrimaryVolumeLost, Reason::Parked];
    matches!(decision, Decision::Wait(waiting) if reasons.contains(&waiting.reason))
}

/// Whether a decision is an end for now: all is as it can be, a person is told what to do, or who is
/// away is waited for, which is told as well.
fn is_an_end(node: &Node, decision: &Decision) -> bool {
    let away = node.truth.pods.iter().any(|pod| *pod != Pod::Up) || !node.truth.finds;
    match decision {
        Decision::Rest => true,
        Decision::Wait(waiting) => {
            !waiting.message.is_empty() && (away || is_for_a_person(decision))
        }
        _ => false,
    }
}

#[test]
fn every_adoption_ends_well_or_with_a_person_and_no_volume_that_holds_anything_is_lost() {
    let mut queue: VecDeque<Node> = starts().into();
    let (begun, mut seen) = (queue.len(), BTreeSet::new());
    let (mut well, mut people, mut states) = (0_u32, 0_u32, 0_u32);
    while let Some(mut node) = queue.pop_front() {
        let decision = settle(&mut node);
        states += 1;
        assert!(is_an_end(&node, &decision), "{decision:?} after {:#?}", node.story);
        // Once everything is back that can be, it ends for good.
        let mut healed = node.clone();
        (healed.truth.pods, healed.truth.finds) = ([Pod::Up; MEMBERS as usize], true);
        healed.story.push("all are back".to_owned());
        match settle(&mut healed) {
            Decision::Rest => well += 1,
            decision if is_for_a_person(&decision) => people += 1,
            decision => panic!("{decision:?} after {:#?}", healed.story),
        }
        if node.changes == CHANGES {
            continue;
        }
        for truth in node.truth.changes() {
            let known = serde_json::to_string(&(&node.state.members, &node.state.leaving)).unwrap();
            let key = (truth.clone(), known, node.size, node.state.bootstrapped, node.changes);
            if seen.insert(key) {
                let mut next = node.clone();
                next.story.push(format!("{truth:?}"));
                (next.truth, next.changes) = (truth, node.changes + 1);
                queue.push_back(next);
            }
        }
    }
    let told =
        format!("{begun} beginnings, {states} states, {well} end well, {people} with a person");
    writeln!(std::io::stdout(), "adoption: {told}").unwrap();
    assert!(states > 1000 && well > 500 && people > 100, "{states} {well} {people}");
}
