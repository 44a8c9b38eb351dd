//! A script out of a seed. Pure: the same seed, size and weights give the same script.

use serde_json::json;

use crate::act::{Act, CACHE, Kind};
use crate::dice::Dice;
use crate::model::Model;
use crate::propose::{OBJECTS, propose};
use crate::script::{Condition, Script, Step, VERSION, Wait};
use crate::weights::{Family, Weights};

/// How often a family is asked in vain before a script stays shorter than it should be.
const PATIENCE: usize = 400;

/// Makes a script of about so many acts.
pub fn generate(seed: u64, size: usize, weights: Weights) -> Script {
    let mut dice = Dice::new(seed);
    let mut told = Telling { model: Model::default(), steps: Vec::new() };
    told.begin(&mut dice, weights);
    let mut vain = 0;
    while told.steps.len() < size && vain < PATIENCE {
        let family = chosen(&mut dice, weights);
        let proposed = propose(family, &mut dice, &told.model);
        let taken = proposed.into_iter().filter(|step| told.take(step)).count();
        vain += usize::from(taken == 0);
    }
    Script { version: VERSION, seed, about: String::new(), steps: told.steps }
}

fn chosen(dice: &mut Dice, weights: Weights) -> Family {
    let sum: u64 = Family::ALL.iter().map(|family| weights.of(*family)).sum();
    let mut left = dice.roll(sum);
    for family in Family::ALL {
        match left.checked_sub(weights.of(*family)) {
            Some(rest) => left = rest,
            None => return *family,
        }
    }
    Family::Resize
}

struct Telling {
    model: Model,
    steps: Vec<Step>,
}

impl Telling {
    /// Whether the act makes sense; it is then part of the script.
    fn take(&mut self, step: &Step) -> bool {
        let taken = self.model.take(&step.act).is_ok();
        if taken {
            self.steps.push(step.clone());
        }
        taken
    }

    /// Somebody else's object may be there first; then the cache, and mostly a grid.
    fn begin(&mut self, dice: &mut Dice, weights: Weights) {
        if weights.of(Family::Foreign) > 0
            && dice.chance(12)
            && let Some((kind, name)) = dice.pick(OBJECTS).copied()
        {
            let act = Act::MakeForeign { kind, name: name.to_owned() };
            self.take(&Step { wait: Wait::default(), act });
        }
        let size = dice.between(1, 3) as u32;
        let act = Act::CreateCache { cache: CACHE.to_owned(), size, spec: json!({}) };
        self.take(&Step { wait: Wait::default(), act });
        if dice.chance(70) {
            let (grid, cache) = ("g".to_owned(), Some(CACHE.to_owned()));
            let act = Act::CreateGrid { grid, cache, spec: json!({}) };
            let wait = match dice.chance(70) {
                true => Wait::until(Condition::Ready(CACHE.to_owned()), 40_000),
                false => Wait::default(),
            };
            self.take(&Step { wait, act });
        }
        debug_assert!(self.model.has(Kind::Cache, CACHE));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SIZE: usize = 16;

    fn all_of(weights: Weights) -> Vec<Script> {
        (0..2500).map(|seed| generate(seed, SIZE, weights)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_script_and_another_one_another() {
        for seed in 0..50 {
            let script = generate(seed, SIZE, Weights::All);
            assert_eq!(script, generate(seed, SIZE, Weights::All));
            assert_ne!(script.steps, generate(seed + 1, SIZE, Weights::All).steps);
        }
    }

    #[test]
    fn every_family_and_every_act_is_generated() {
        let scripts = all_of(Weights::All);
        let acts = || scripts.iter().flat_map(|script| &script.steps).map(|step| &step.act);
        let families: BTreeSet<Family> = acts().map(Act::family).collect();
        let missing: Vec<_> = Family::ALL.iter().filter(|f| !families.contains(f)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let words: BTreeSet<String> = acts()
            .filter_map(|act| serde_json::to_value(act).ok()?["act"].as_str().map(str::to_owned))
            .collect();
        // As many as there are variants.
        assert_eq!(words.len(), 40, "{words:?}");
    }

    #[test]
    fn every_field_and_every_member_fault_is_generated() {
        let scripts = all_of(Weights::All);
        let acts = || scripts.iter().flat_map(|script| &script.steps).map(|step| &step.act);
        let changed: BTreeSet<String> = acts()
            .filter_map(|act| match act {
                Act::Change { kind, path, .. } | Act::Invalid { kind, path, .. } => {
                    Some(format!("{kind:?}{path}"))
                }
                _ => None,
            })
            .collect();
        for field in crate::fields::FIELDS {
            let name = format!("{:?}{}", field.kind, field.path);
            assert!(changed.contains(&name), "{name} is never changed");
        }
        let faults: BTreeSet<String> = acts()
            .filter_map(|act| match act {
                Act::FaultMember { fault, .. } => fault["fault"].as_str().map(str::to_owned),
                _ => None,
            })
            .collect();
        for name in crate::faults::NAMES {
            assert!(faults.contains(*name), "{name} is never set");
        }
    }

    #[test]
    fn what_has_no_weight_is_not_generated() {
        for script in all_of(Weights::Share) {
            for step in &script.steps {
                let family = step.act.family();
                // What is started or lifted again belongs to what began it.
                let is_back = matches!(
                    step.act,
                    Act::StartOperator | Act::LiftPolicies | Act::CreateCache { .. }
                );
                assert!(Weights::Share.of(family) > 0 || is_back, "{:?}", step.act);
            }
        }
    }

    #[test]
    fn every_script_makes_sense_and_reads_back_as_it_was_written() {
        for script in all_of(Weights::All) {
            assert!(script.model().is_ok(), "{:?}", script.model());
            assert!(script.steps.len() >= SIZE, "seed {} is short", script.seed);
            assert!(script.steps.len() <= SIZE + 2, "seed {} is long", script.seed);
            assert_eq!(Script::parse(&script.text()).unwrap(), script);
        }
    }
}
