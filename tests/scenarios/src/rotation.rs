//! Which scenarios of families that tell much the same are told in this run: a share that changes
//! from run to run, so that the whole stays short and everything comes round.

use std::collections::{BTreeMap, BTreeSet};

/// Of the sweeps' stories every so many-th is told.
const STORIES: usize = 2;

/// The names of the scenarios that wait for another run: of the kills at different moments of one
/// operation all but one, and all but every [`STORIES`]-th story of the sweep.
pub(crate) fn waiting<'n>(
    names: impl IntoIterator<Item = &'n str>,
    seed: usize,
) -> BTreeSet<&'n str> {
    let mut kills: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut stories = Vec::new();
    for name in names {
        match name.split_once("_survives_a_kill/") {
            Some((operation, _)) => kills.entry(operation).or_default().push(name),
            None if name.starts_with("sweep::") => stories.push(name),
            None => {}
        }
    }
    let mut waiting = BTreeSet::new();
    for (number, family) in kills.into_values().enumerate() {
        let told = (seed + number) % family.len();
        waiting
            .extend(family.iter().enumerate().filter(|(at, _)| *at != told).map(|(_, name)| name));
    }
    waiting.extend(
        stories
            .iter()
            .enumerate()
            .filter(|(at, _)| !(seed + at).is_multiple_of(STORIES))
            .map(|(_, name)| name),
    );
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::all;

    #[test]
    fn one_kill_of_each_operation_is_told_in_every_run_and_each_in_some_run() {
        let names: Vec<String> = all().into_iter().map(|scenario| scenario.name).collect();
        let names = || names.iter().map(String::as_str);
        let rotating: BTreeSet<&str> = names()
            .filter(|name| name.contains("_survives_a_kill/") || name.starts_with("sweep::"))
            .collect();
        let families: BTreeSet<&str> = rotating
            .iter()
            .filter_map(|name| name.split_once("_survives_a_kill/"))
            .map(|(f, _)| f)
            .collect();
        assert!(families.len() > 10 && rotating.len() > 40, "{rotating:?}");
        let mut ever = BTreeSet::new();
        for seed in 0..60 {
            let waiting = waiting(names(), seed);
            assert!(waiting.is_subset(&rotating));
            let told: BTreeSet<&str> = rotating.difference(&waiting).copied().collect();
            for family in &families {
                let kills = told.iter().filter(|name| {
                    name.split_once("_survives_a_kill/").is_some_and(|(f, _)| f == *family)
                });
                assert_eq!(kills.count(), 1, "{family} with seed {seed}");
            }
            ever.extend(told);
        }
        assert_eq!(ever, rotating);
    }
}
