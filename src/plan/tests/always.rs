//! What holds of every plan, whatever the world is like.

use proptest::prelude::*;
use xsld_journal::event::{Receipt, Step};

use super::super::follow::rehearse;
use super::troubles::{TROUBLES, upset};
use super::*;
use crate::decide::{Decision, WantedGrid};
use crate::observation::Growth;
use crate::xsld::view::TaskStatus;

/// What is wanted of the world.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    size: u32,
    catalogs: u32,
    template: u8,
    partition: u32,
    pub(super) flags: u16,
}

impl Wish {
    fn has(&self, flag: u16) -> bool {
        self.flags >> flag & 1 == 1
    }

    pub(super) fn of(&self, world: &mut World) {
        let wanted = &mut world.wanted;
        wanted.generation += 1;
        (wanted.size, wanted.catalogs) = (self.size, self.catalogs);
        wanted.template = (format!("d{}", self.template), Text::Inline("{}".into()));
        wanted.may_roll = true;
        wanted.rollout.partition = self.partition;
        wanted.rollout.rollback = self.has(0);
        wanted.replicate = self.has(1);
        wanted.delete_scaled_volumes = self.has(2);
        wanted.reset_half_joined = self.has(3);
        wanted.delete_volumes = self.has(4);
        wanted.storage = if self.has(5) { "2Gi" } else { "1Gi" }.to_owned();
        wanted.paused = self.has(6) && self.has(7);
        // A deletion that has begun is not taken back.
        wanted.deleting |= self.has(8) && self.has(9);
        wanted.grids.clear();
        if self.has(10) {
            let (name, digest) = ("g".to_owned(), "digest".to_owned());
            let grid = WantedGrid {
                name,
                generation: 1,
                fields: BTreeMap::from([("numPartition".to_owned(), "13".to_owned())]),
                digest,
                template: None,
                correct_drift: true,
                deleting: self.has(11),
                delete_grid: true,
                was_here: false,
            };
            wanted.grids.insert("uid-g".to_owned(), grid);
        }
    }
}

pub(super) fn wishes() -> impl Strategy<Value = Wish> {
    (1..=4_u32, 1..=3_u32, 1..=3_u8, 0..=2_u32, any::<u16>()).prop_map(
        |(size, catalogs, template, partition, flags)| Wish {
            size,
            catalogs,
            template,
            partition,
            flags,
        },
    )
}

/// A world: how many members it has, what was wished of it before and how far the operator came
/// with that, what is wrong now, and what is wished now.
type Start = (u32, Option<(Wish, u8)>, Vec<(usize, Ordinal)>, Wish);

fn starts() -> impl Strategy<Value = Start> {
    let troubles = prop::collection::vec((0..TROUBLES.len(), 0..4_u32), 0..4);
    (0..=4_u32, prop::option::of((wishes(), 0..12_u8)), troubles, wishes())
}

fn world((size, before, troubles, wish): &Start) -> World {
    let mut world = if *size == 0 { World::new(1) } else { group(*size) };
    if let Some((wish, decisions)) = before {
        wish.of(&mut world);
        for _ in 0..*decisions {
            let decision = world.settled();
            match decision {
                Decision::Run { step, .. } => follow(&mut world, step),
                decision => world.follow(decision),
            }
        }
    }
    for (trouble, ordinal) in troubles {
        upset(&mut world, TROUBLES[*trouble], *ordinal);
    }
    wish.of(&mut world);
    if world.state.bootstrapped {
        world.seen.grids.get_or_insert(Answer::Known([].into()));
    }
    if !wish.has(12) {
        for claim in world.seen.claims.values_mut() {
            claim.growth.get_or_insert(Growth::Allowed);
        }
    }
    world.settled();
    world
}

/// The step is intended, and its effect is there or not.
fn follow(world: &mut World, step: Step) {
    let key = world.intend(step.clone());
    match step {
        Step::SetTemplate { digest, .. } => {
            if let Some(set) = &mut world.seen.stateful_set {
                set.update_revision = Some(format!("r-{digest}"));
                set.template_digest = Some(digest);
            }
        }
        Step::ScaleStatefulSet { from, to } => {
            world.set_replicas(to);
            (from..to).for_each(|ordinal| world.pod_up(ordinal));
            for ordinal in to..from {
                world.seen.pods.remove(&ordinal);
                world.seen.reports.remove(&ordinal);
            }
        }
        Step::JoinMember { member, .. } => world.task(member.ordinal, key, TaskStatus::Running),
        Step::DisjoinMember { survivor, .. } => {
            world.task(survivor.ordinal, key, TaskStatus::Failed);
        }
        Step::RollMember { member, .. } => {
            world.seen.pods.remove(&member.ordinal);
            world.seen.reports.remove(&member.ordinal);
        }
        Step::DeleteVolume { ordinal, .. } => {
            world.seen.claims.remove(&ordinal);
        }
        _ => {}
    }
}

/// Steps that would be done, not those that are open.
fn new_steps(plan: &Plan) -> Vec<&Step> {
    let steps = plan.operations.iter().flat_map(|operation| &operation.steps);
    steps.filter(|step| step.standing == Standing::Planned).map(|step| &step.step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_plan_ends_and_where_it_ends_nothing_is_left_to_plan(start in starts()) {
        let world = world(&start);
        let (plan, after) = rehearse(world.inputs());
        prop_assert_ne!(&plan.end, &End::TooLong, "{}", plan);
        let refused = matches!(&plan.end, End::Unknown { why } if why.contains("illegal"));
        prop_assert!(!refused, "the journal refuses what is decided: {}", plan);
        let (again, _) = rehearse(after.inputs());
        prop_assert!(new_steps(&again).is_empty(), "{}\nand again {}", plan, again);
        prop_assert_eq!(&again.end, &plan.end, "{}\nand again {}", plan, again);
        let begun = again.operations.iter().filter(|operation| !operation.continues).count();
        prop_assert_eq!(begun, 0, "{}\nand again {}", plan, again);
    }

    #[test]
    fn without_trouble_every_wish_is_reached(size in 0..=4_u32, mut wish in wishes()) {
        wish.flags &= !(1 << 6);
        let mut world = world(&(size, None, vec![], wish.clone()));
        for claim in world.seen.claims.values_mut() {
            claim.growth = Some(Growth::Allowed);
        }
        world.settled();
        let (plan, after) = rehearse(world.inputs());
        prop_assert_eq!(&plan.end, &End::Settled, "{}", plan);
        let Inputs { wanted, seen, state, .. } = after.inputs();
        prop_assert_eq!(state.closed, wanted.deleting, "{}", plan);
        if wanted.deleting {
            prop_assert!(seen.pods.is_empty() && seen.stateful_set.is_none(), "{}", plan);
            prop_assert_eq!(seen.claims.is_empty(), wanted.delete_volumes || size == 0, "{}", plan);
            return Ok(());
        }
        prop_assert!(state.members.keys().copied().eq(0..wish.size), "{}", plan);
        prop_assert_eq!(seen.pods.len(), wish.size as usize, "{}", plan);
        let rolled = seen.pods.range(wish.partition..).map(|(_, pod)| pod.template.as_deref());
        let digest = wanted.template.0.as_str();
        prop_assert!(rolled.into_iter().all(|template| template == Some(digest)), "{}", plan);
        let claims = seen.claims.range(..wish.size);
        let requested = claims.map(|(_, claim)| claim.requested.as_deref());
        let size = wanted.storage.as_str();
        prop_assert!(requested.into_iter().all(|it| it == Some(size)), "{}", plan);
        let Some(Answer::Known(grids)) = &seen.grids else { return Err(TestCaseError::fail("")) };
        let grid_wanted = wish.has(10) && !wish.has(11);
        prop_assert_eq!(grids.there().contains_key("g"), grid_wanted, "{}", plan);
        let kept = seen.claims.len() > wish.size as usize;
        prop_assert_eq!(kept, !plan.keeps.is_empty(), "{}", plan);
    }

    #[test]
    fn the_same_world_gives_the_same_plan_and_the_same_text(start in starts()) {
        let (one, other) = (world(&start), world(&start));
        let plan = plan(one.inputs());
        prop_assert_eq!(&plan, &super::super::plan(other.inputs()));
        let json = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.to_string(), plan.to_string());
        prop_assert_eq!(read, plan);
    }

    #[test]
    fn no_claim_goes_before_its_member_is_out_or_without_being_summed_up(start in starts()) {
        let world = world(&start);
        let plan = plan(world.inputs());
        let mut out: Vec<String> =
            world.state.leaving.values().map(|leaving| leaving.claim_uid.clone()).collect();
        let steps = plan.operations.iter().flat_map(|operation| &operation.steps);
        for step in steps.filter(|step| step.standing != Standing::WithoutEffect) {
            match &step.step {
                Step::DisjoinMember { member, .. } => out.push(member.claim_uid.clone()),
                Step::DeleteVolume { claim_uid, receipt: Receipt::Disjoined { .. }, .. } => {
                    prop_assert!(out.contains(claim_uid), "{}", plan);
                }
                Step::DeleteVolume { receipt: Receipt::CacheDeleted, .. } => {
                    prop_assert!(world.wanted.deleting && world.wanted.delete_volumes, "{}", plan);
                }
                _ => {}
            }
            if let Some(claim) = &step.deletes_claim {
                prop_assert!(plan.deletes.contains(claim), "{}", plan);
                prop_assert!(step.destructive, "{}", plan);
            }
        }
    }
}
