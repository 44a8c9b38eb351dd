//! What is planned is what is done: the operator's decisions are followed in a world of another make
//! than the ideal one, in which effects take their time, and the steps are compared.

use proptest::prelude::*;
use xsld_journal::event::{Step, StepKey};

use super::always::{Wish, wishes};
use super::*;
use crate::decide::Decision;
use crate::decide::testing::incarnation;
use crate::observation::{Growth, Shown};
use crate::xsld::view::{GridStatus, GridView, TaskStatus};

/// A world with a memory of who is in the group, and of who holds the database and its replica.
struct Slow {
    world: World,
    listed: Vec<Ordinal>,
    primary: Ordinal,
    replica: Option<Ordinal>,
    lives: u32,
    /// What a new volume has, because the StatefulSet was made for it.
    claim_size: String,
}

impl Slow {
    /// Everybody in the group tells it as it is.
    fn tell(&mut self) {
        for ordinal in &self.listed {
            if self.world.seen.pods.contains_key(ordinal) {
                self.world.report(*ordinal, &self.listed);
            }
        }
        roles(&mut self.world, self.primary, self.replica);
    }

    /// The operator only waits while an effect is on its way.
    fn waits(&mut self, what: &str) {
        for _ in 0..5 {
            match self.world.settled() {
                Decision::Wait(_) | Decision::InDoubt(_) | Decision::Resend { .. } => return,
                Decision::Record(events) => self.world.follow(Decision::Record(events)),
                decision => panic!("{what}: {decision:?}"),
            }
        }
        panic!("{what}: it records and records");
    }

    /// A pod that was made from the committed template, with its volume; it does not answer yet.
    fn make_pod(&mut self, ordinal: Ordinal) {
        self.lives += 1;
        let is_new = !self.world.seen.claims.contains_key(&ordinal);
        self.world.pod_with(ordinal, self.lives);
        let set = self.world.seen.stateful_set.clone().unwrap();
        let pod = self.world.seen.pods.get_mut(&ordinal).unwrap();
        pod.incarnation = incarnation(ordinal, self.lives);
        pod.incarnation.pod_uid = format!("pod-{ordinal}-{}", self.lives);
        (pod.template, pod.revision) = (set.template_digest, set.update_revision);
        let claim = self.world.seen.claims.get_mut(&ordinal).unwrap();
        claim.growth.get_or_insert(Growth::Allowed);
        if is_new {
            claim.requested = Some(self.claim_size.clone());
        }
        (pod.running, pod.ready) = (false, false);
    }

    fn start_pod(&mut self, ordinal: Ordinal) {
        let pod = self.world.seen.pods.get_mut(&ordinal).unwrap();
        (pod.running, pod.ready) = (true, true);
    }

    fn remove_pod(&mut self, ordinal: Ordinal) {
        self.world.seen.pods.remove(&ordinal);
        self.world.seen.reports.remove(&ordinal);
    }

    fn scale(&mut self, to: u32) {
        let former = self.world.seen.stateful_set.clone();
        let committed = self.world.state.committed.template.clone().unwrap().digest;
        self.world.set_replicas(to);
        let set = self.world.seen.stateful_set.as_mut().unwrap();
        set.update_revision = Some(format!("r-{committed}"));
        set.template_digest = Some(committed);
        let from = former.map_or(0, |former| former.replicas);
        for ordinal in to..from {
            self.world.seen.pods.get_mut(&ordinal).unwrap().deleting = true;
        }
        for ordinal in from..to {
            self.make_pod(ordinal);
        }
        self.waits("the pods change");
        (to..from).for_each(|ordinal| self.remove_pod(ordinal));
        for ordinal in from..to {
            self.start_pod(ordinal);
            self.world.report(ordinal, &[ordinal]);
        }
        if self.listed.is_empty() {
            self.listed = vec![0];
            self.world.seen.grids = Some(Answer::Known([].into()));
        }
        self.tell();
    }

    /// A task runs on a member, and then it has done what it was to do.
    fn task(&mut self, on: Ordinal, key: StepKey, effect: impl FnOnce(&mut Self)) {
        self.world.task(on, key, TaskStatus::Running);
        self.waits("the task runs");
        effect(self);
        self.tell();
        self.world.task(on, key, TaskStatus::Success);
    }

    /// The effect of a step, as slow as it is.
    fn carry_out(&mut self, step: Step, key: StepKey) {
        match step {
            Step::SetTemplate { digest, .. } => {
                if let Some(set) = &mut self.world.seen.stateful_set {
                    set.update_revision = Some(format!("r-{digest}"));
                    set.template_digest = Some(digest);
                }
            }
            Step::ScaleStatefulSet { to, .. } => self.scale(to),
            Step::JoinMember { member, .. } => self.task(member.ordinal, key, |slow| {
                slow.listed.push(member.ordinal);
            }),
            Step::DisjoinMember { member, survivor } => self.task(survivor.ordinal, key, |slow| {
                slow.listed.retain(|other| *other != member.ordinal);
                slow.replica = slow.replica.filter(|replica| *replica != member.ordinal);
                slow.world.report(member.ordinal, &[member.ordinal]);
            }),
            Step::SetUpReplication { primary, replica } => {
                self.task(primary.ordinal, key, |slow| slow.replica = Some(replica.ordinal));
            }
            Step::PromotePrimary { member, .. } => self.task(member.ordinal, key, |slow| {
                (slow.primary, slow.replica) = (member.ordinal, None);
            }),
            Step::DeleteVolume { ordinal, .. } => {
                self.world.seen.claims.get_mut(&ordinal).unwrap().deleting = true;
                self.waits("the claim goes");
                self.world.seen.claims.remove(&ordinal);
            }
            Step::RollMember { member, .. } => {
                self.remove_pod(member.ordinal);
                self.make_pod(member.ordinal);
                self.waits("the pod is made again");
                self.start_pod(member.ordinal);
                self.waits("the member starts");
                self.tell();
            }
            Step::GrowVolume { ordinal, to, .. } => {
                self.world.seen.claims.get_mut(&ordinal).unwrap().requested = Some(to);
            }
            Step::DeleteStatefulSet { .. } => {
                self.world.seen.stateful_set.as_mut().unwrap().deleting = true;
                self.waits("the StatefulSet goes");
                self.world.seen.stateful_set = None;
                self.waits("the pods go");
                (0..9).for_each(|ordinal| self.remove_pod(ordinal));
            }
            Step::CreateGrid { grid_uid, name, .. } | Step::UpdateGrid { grid_uid, name, .. } => {
                let fields = self.world.wanted.grids[&grid_uid].fields.clone();
                let status = GridStatus::Online;
                let grid = GridView { name: name.clone(), status, fields };
                let Some(Answer::Known(grids)) = &mut self.world.seen.grids else { panic!() };
                grids.insert(name, grid);
            }
            Step::DeleteGrid { name, .. } => {
                let Some(Answer::Known(grids)) = &mut self.world.seen.grids else { panic!() };
                grids.remove(&name);
            }
            other => panic!("nothing is wrong, and yet: {}", other.describe()),
        }
    }

    /// Follows the operator until it rests, and returns the steps that it took.
    fn steps(&mut self) -> Vec<String> {
        let mut taken = vec![];
        for _ in 0..1000 {
            // The operator looks often, and lets a proof ripen only where one is needed.
            self.world.observe();
            let decision = match self.world.decide() {
                Decision::Rest | Decision::Wait(_) | Decision::InDoubt(_) => self.world.settled(),
                decision => decision,
            };
            match decision {
                Decision::Run { step, .. } => {
                    taken.push(short(&step));
                    let key = self.world.intend(step.clone());
                    self.world.watch.unsettle();
                    self.carry_out(step, key);
                }
                Decision::Rest => return taken,
                decision @ (Decision::Record(_) | Decision::Begin { .. }) => {
                    self.world.follow(decision);
                }
                decision => panic!("after {taken:#?}: {decision:?}"),
            }
        }
        panic!("{taken:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_steps_that_are_taken_are_those_that_were_planned(
        size in 0..=4_u32,
        mut wish in wishes(),
        grid in any::<bool>(),
    ) {
        // Paused, nothing is taken.
        wish.flags &= !(1 << 6);
        let mut slow = started(size, &wish, grid);
        let plan = planned(&mut slow.world);
        prop_assert_eq!(&plan.end, &End::Settled, "{}", plan);
        let planned: Vec<String> =
            plan.operations.iter().flat_map(|it| &it.steps).map(|it| short(&it.step)).collect();
        let taken = slow.steps();
        prop_assert_eq!(&planned, &taken, "{}", plan);
        let claims: Vec<String> =
            slow.world.seen.claims.values().map(|claim| claim.name.clone()).collect();
        for deleted in names(&plan.deletes) {
            prop_assert!(!claims.iter().any(|claim| claim == deleted), "{}", plan);
        }
        for kept in names(&plan.keeps) {
            prop_assert!(claims.iter().any(|claim| claim == kept), "{}", plan);
        }
    }
}

/// A group of that size that tells of replication, or an XsldCache that nobody has looked at yet.
fn started(size: u32, wish: &Wish, grid: bool) -> Slow {
    let mut world = if size == 0 { World::new(1) } else { group(size) };
    wish.of(&mut world);
    for claim in world.seen.claims.values_mut() {
        claim.growth = Some(Growth::Allowed);
    }
    if size > 0 && grid {
        let name = "g".to_owned();
        let (grid_uid, digest) = ("uid-g".to_owned(), "another digest".to_owned());
        let adopted = xsld_journal::event::Event::GridAdopted { grid_uid, name, digest };
        world.apply(adopted);
        let fields = BTreeMap::from([("numPartition".to_owned(), "17".to_owned())]);
        let grid = GridView { name: "g".to_owned(), status: GridStatus::Online, fields };
        world.seen.grids = Some(Answer::Known(Shown::from([("g".to_owned(), grid)])));
    }
    let listed: Vec<Ordinal> = (0..size).collect();
    let claim_size = if size == 0 { world.wanted.storage.as_str() } else { "1Gi" }.to_owned();
    let mut slow = Slow { world, listed, primary: 0, replica: None, lives: 1, claim_size };
    slow.tell();
    slow
}
