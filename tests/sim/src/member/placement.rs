//! Where the copies of each grid's partitions are. The primary decides, and moves data before it
//! changes who is asked for it, so that an acknowledged write outlives every orderly change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::join_all;
use uuid::Uuid;

use super::database::GridShape;
use super::peer::{PeerCall, Phase};
use super::{Member, State};

/// What the primary knows of the members when it places a grid.
#[derive(Clone, Debug, Default)]
struct Landscape {
    /// Who may keep copies.
    eligible: Vec<Uuid>,
    /// Who answers, and where.
    present: BTreeMap<Uuid, Ipv4Addr>,
    /// Who does not answer and may still come back with its copies.
    missing: BTreeSet<Uuid>,
    /// Who has a whole copy of which partitions of the grid.
    held: BTreeMap<Uuid, BTreeSet<usize>>,
}

/// What is to be done for one grid, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Who is to be written to while copies are made. `None`: as it is.
    publish: Option<Vec<Vec<Uuid>>>,
    /// Copies to be made: from, to, which.
    copies: BTreeMap<(Uuid, Uuid), Vec<usize>>,
    /// Partitions of which no copy is left: they begin empty.
    open: BTreeMap<Uuid, Vec<usize>>,
    /// Who has copies that are not wanted, and what it is to keep.
    keep: BTreeMap<Uuid, Vec<usize>>,
    /// Whether every partition has the copies that the present members allow.
    placed: bool,
}

/// Who is to have copies of a partition, the first to be asked first. Members keep their
/// partitions when others come and go (rendezvous hashing).
fn wanted(grid: &str, partition: usize, shape: GridShape, eligible: &[Uuid]) -> Vec<Uuid> {
    let weight =
        |id: &Uuid| *blake3::hash(format!("{grid}/{partition}/{id}").as_bytes()).as_bytes();
    let mut order = eligible.to_vec();
    order.sort_by_key(|id| std::cmp::Reverse(weight(id)));
    order.truncate(1 + shape.replicas);
    order
}

/// Plans one grid. Pure.
fn plan(grid: &str, shape: GridShape, placement: &[Vec<Uuid>], land: &Landscape) -> Plan {
    let mut plan = Plan { placed: !land.eligible.is_empty(), ..Plan::default() };
    let mut published = Vec::with_capacity(shape.partitions);
    let mut settled: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    let copies = (1 + shape.replicas).min(land.present.len()).max(1);
    for partition in 0..shape.partitions {
        let now = placement.get(partition).map_or(&[][..], Vec::as_slice);
        let has = |id: &Uuid| land.held.get(id).is_some_and(|held| held.contains(&partition));
        let holders: Vec<_> = land.present.keys().copied().filter(has).collect();
        let wanted = wanted(grid, partition, shape, &land.eligible);
        let lacking: Vec<_> =
            wanted.iter().copied().filter(|id| land.present.contains_key(id) && !has(id)).collect();
        let may_return = now.iter().any(|id| land.missing.contains(id));
        for id in &lacking {
            if let Some(holder) = holders.first() {
                plan.copies.entry((*holder, *id)).or_default().push(partition);
            } else if !may_return {
                plan.open.entry(*id).or_default().push(partition);
            }
        }
        let all_there = lacking.is_empty() && wanted.iter().any(has);
        plan.placed &= holders.len() >= copies && wanted.iter().any(has);
        let next = if all_there { wanted } else { merged(now, &wanted, land) };
        for id in &next {
            settled.entry(*id).or_default().push(partition);
        }
        published.push(next);
    }
    for (id, held) in land.held.iter().filter(|(id, _)| land.present.contains_key(id)) {
        let settled = settled.remove(id).unwrap_or_default();
        if held.iter().any(|partition| !settled.contains(partition)) {
            plan.keep.insert(*id, settled);
        }
    }
    plan.publish = (published != placement).then_some(published);
    plan
}

/// Who is to be written to while copies are on their way: those who are asked now, and those who
/// will be.
fn merged(now: &[Uuid], wanted: &[Uuid], land: &Landscape) -> Vec<Uuid> {
    let known = |id: &&Uuid| land.present.contains_key(id) || land.missing.contains(id);
    let mut merged: Vec<_> = now.iter().filter(known).copied().collect();
    merged.extend(wanted.iter().filter(|id| !now.contains(id)));
    merged
}

impl State {
    /// What there is for a grid.
    fn landscape(&self, grid: &str, grace: std::time::Duration, own: Ipv4Addr) -> Landscape {
        let mut land = Landscape::default();
        for entry in self.view.database.members.iter().filter(|entry| entry.joined) {
            let id = entry.id;
            let here = id == self.identity.id;
            let presence = self.watched.get(&id).and_then(|watched| watched.presence.as_ref());
            let presence = presence
                .filter(|seen| seen.id == id && seen.group == self.view.database.group)
                .filter(|seen| seen.phase == Phase::Ready);
            let held = if here { self.store.held() } else { BTreeMap::new() };
            let held = presence.map_or(&held, |presence| &presence.held).get(grid);
            if here || presence.is_some() {
                land.present.insert(id, if here { own } else { entry.address });
                land.held.insert(id, held.into_iter().flatten().copied().collect());
            } else if self.may_come_back(id, grace) {
                land.missing.insert(id);
            }
            let there = land.present.contains_key(&id) || land.missing.contains(&id);
            if there && !self.leaving.contains(&id) {
                land.eligible.push(id);
            }
        }
        land
    }

    /// Whether a member that does not serve may still have its copies: it has not been gone for
    /// long, and no new process answers in its place.
    fn may_come_back(&self, id: Uuid, grace: std::time::Duration) -> bool {
        match self.watched.get(&id) {
            Some(watched) => watched.presence.is_none() && !self.is_lost(id, grace),
            None => true,
        }
    }
}

impl Member {
    /// Places every grid, for as long as this member is the primary.
    pub(super) async fn keep_placement(self: Arc<Self>) {
        let mut version = self.version.subscribe();
        loop {
            version.mark_unchanged();
            let grids: Vec<String> = self.read(|state| {
                let serves = state.is_primary() && state.phase != Phase::Starting;
                let grids = state.view.database.grids.iter().filter(|_| serves);
                grids.filter(|(_, grid)| grid.started).map(|(name, _)| name.clone()).collect()
            });
            let mut settled = true;
            for grid in grids {
                settled &= self.place(&grid).await;
            }
            self.drop_unknown_grids();
            // What could not be done, because a member did not answer, is tried again.
            let patience = if settled { self.next_look() } else { self.timing.poll() };
            self.changed(&mut version, patience).await;
        }
    }

    /// One step for one grid. Returns whether nothing is left to be done.
    async fn place(self: &Arc<Self>, grid: &str) -> bool {
        let grace = self.timing.grace();
        let planned = self.read(|state| {
            let land = state.landscape(grid, grace, self.config.address);
            let known = state.view.database.grids.get(grid)?;
            let plan = plan(grid, known.shape, &known.placement, &land);
            Some((plan, land, known.placed))
        });
        let Some((plan, land, placed)) = planned else { return true };
        if let Some(placement) = &plan.publish {
            self.publish(grid, placement, &land).await;
        }
        let ask = |id: &Uuid, call: PeerCall| {
            let (id, address) = (*id, land.present.get(id).copied());
            async move {
                let Some(address) = address else { return };
                if let Err(error) = self.ask(id, address, call).await {
                    tracing::debug!(grid, %error, "a copy was not placed");
                }
            }
        };
        let name = grid.to_owned();
        let copies = plan.copies.iter().filter_map(|((from, to), partitions)| {
            let (grid, partitions) = (name.clone(), partitions.clone());
            let address = *land.present.get(to)?;
            Some(ask(from, PeerCall::Copy { grid, partitions, address }))
        });
        join_all(copies).await;
        let open = plan.open.iter().map(|(id, partitions)| {
            ask(id, PeerCall::Open { grid: name.clone(), partitions: partitions.clone() })
        });
        join_all(open).await;
        let keep = plan.keep.iter().map(|(id, partitions)| {
            ask(id, PeerCall::Keep { grid: name.clone(), partitions: partitions.clone() })
        });
        join_all(keep).await;
        if plan.placed != placed {
            self.change(|state| {
                if let Some(known) = state.view.database.grids.get_mut(grid) {
                    known.placed = plan.placed;
                    state.view.database.revision += 1;
                }
            });
        }
        plan == Plan { placed: true, ..Plan::default() }
    }

    /// Changes who is written to, and waits until every present member does so.
    async fn publish(self: &Arc<Self>, grid: &str, placement: &[Vec<Uuid>], land: &Landscape) {
        let view = self.change(|state| {
            if let Some(known) = state.view.database.grids.get_mut(grid) {
                known.placement = placement.to_vec();
                state.view.database.revision += 1;
            }
            state.view.clone()
        });
        let own = self.read(|state| state.identity.id);
        let others = land.present.iter().filter(|(id, _)| **id != own);
        let told = others
            .map(|(id, address)| self.ask(*id, *address, PeerCall::Adopt { view: view.clone() }));
        for reply in join_all(told).await {
            if let Err(error) = reply {
                tracing::debug!(grid, %error, "a member did not hear of the placement");
            }
        }
        drop(self.placement.write().await);
    }

    /// Every member drops the copies of grids that were deleted.
    fn drop_unknown_grids(&self) {
        let unknown = self.read(|state| {
            let grids = &state.view.database.grids;
            state.store.held().keys().any(|grid| !grids.contains_key(grid))
        });
        if unknown {
            self.change(|state| {
                let grids = &state.view.database.grids;
                state.store.keep_grids(&|grid| grids.contains_key(grid));
            });
        }
    }

    /// Whether any copy is still wanted on one of these members.
    pub(super) fn is_placed_on(&self, ids: &[Uuid]) -> bool {
        self.read(|state| {
            let grids = state.view.database.grids.values();
            grids.flat_map(|grid| grid.placement.iter().flatten()).any(|id| ids.contains(id))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: GridShape = GridShape { partitions: 7, replicas: 1 };

    fn ids(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    fn land(eligible: &[Uuid]) -> Landscape {
        let present = eligible.iter().map(|id| (*id, Ipv4Addr::LOCALHOST)).collect();
        Landscape { eligible: eligible.to_vec(), present, ..Landscape::default() }
    }

    /// Carries a plan out on plain data, as the members would.
    fn carry_out(plan: &Plan, placement: &mut Vec<Vec<Uuid>>, land: &mut Landscape) {
        if let Some(publish) = &plan.publish {
            placement.clone_from(publish);
        }
        for ((_, to), partitions) in &plan.copies {
            land.held.entry(*to).or_default().extend(partitions);
        }
        for (id, partitions) in &plan.open {
            land.held.entry(*id).or_default().extend(partitions);
        }
        for (id, partitions) in &plan.keep {
            land.held.insert(*id, partitions.iter().copied().collect());
        }
    }

    fn settle(placement: &mut Vec<Vec<Uuid>>, land: &mut Landscape) -> Vec<Plan> {
        let mut plans = Vec::new();
        for _ in 0..10 {
            let next = plan("g", SHAPE, placement, land);
            let done = next == Plan { placed: true, ..Plan::default() };
            carry_out(&next, placement, land);
            plans.push(next);
            if done {
                return plans;
            }
        }
        panic!("the placement does not settle: {plans:#?}");
    }

    #[test]
    fn fresh_grid_is_opened_empty_with_its_replicas() {
        let (mut placement, mut land) = (vec![Vec::new(); 7], land(&ids(3)));
        settle(&mut placement, &mut land);
        assert!(placement.iter().all(|copies| copies.len() == 2));
    }

    #[test]
    fn leaving_member_is_copied_from_before_it_loses_its_part_and_nothing_is_opened_empty() {
        let (mut placement, mut land) = (vec![Vec::new(); 7], land(&ids(3)));
        settle(&mut placement, &mut land);
        let leaving = land.eligible.pop().unwrap();
        let plans = settle(&mut placement, &mut land);
        assert!(plans.iter().all(|plan| plan.open.is_empty()));
        assert!(plans.iter().any(|plan| !plan.copies.is_empty()));
        assert!(placement.iter().flatten().all(|id| *id != leaving));
        for plan in &plans {
            assert!(
                plan.copies.is_empty() || !plan.keep.contains_key(&leaving) || {
                    let kept = &plan.keep[&leaving];
                    plan.copies.iter().all(|((from, _), moved)| {
                        *from != leaving || moved.iter().all(|p| kept.contains(p))
                    })
                }
            );
        }
    }

    #[test]
    fn sole_copy_of_a_missing_member_is_not_given_up_before_its_grace() {
        let shape = GridShape { partitions: 7, replicas: 0 };
        let all = ids(2);
        let mut land = land(&all);
        let placement = vec![vec![all[1]]; 7];
        land.present.remove(&all[1]);
        land.missing.insert(all[1]);
        let during = plan("g", shape, &placement, &land);
        assert!(during.open.is_empty() && !during.placed);
        land.missing.clear();
        land.eligible.pop();
        assert_eq!(plan("g", shape, &placement, &land).open[&all[0]].len(), 7);
    }
}
