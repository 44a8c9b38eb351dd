//! What happens. Each scenario's name is its promise.

mod adoptions;
mod availability;
mod bootstrap;
mod budget;
mod claims;
mod corrections;
mod credentials;
mod decisions;
mod doubts;
mod drains;
mod endpoint;
mod failures;
mod faults;
mod fencing;
mod foreign;
mod grid_faults;
mod grids;
mod hindered;
mod input;
mod losses;
mod operators;
mod orphans;
mod overlap;
mod plans;
mod profile;
mod random;
mod refusals;
mod repairs;
mod replication;
mod retention;
mod roll;
mod rolls;
mod scale;
mod starts;
mod storage;
mod sweep;
mod templates;
mod tls;
mod vanished;

use crate::Scenario;

/// All scenarios, the long ones first, so that none is left running alone at the end.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(with_their_own(sweep::scenarios()));
    all.extend(random::scenarios());
    all.extend(repairs::scenarios());
    all.extend(refusals::scenarios());
    all.extend(hindered::scenarios());
    all.extend(roll::scenarios());
    all.extend(rolls::scenarios());
    all.extend(corrections::scenarios());
    all.extend(availability::scenarios());
    all.extend(adoptions::scenarios());
    all.extend(doubts::scenarios());
    all.extend(drains::scenarios());
    all.extend(replication::scenarios());
    all.extend(failures::scenarios());
    all.extend(faults::scenarios());
    all.extend(scale::scenarios());
    all.extend(storage::scenarios());
    all.extend(credentials::scenarios());
    all.extend(tls::scenarios());
    all.extend(budget::scenarios());
    all.extend(claims::scenarios());
    all.extend(operators::scenarios());
    all.extend(overlap::scenarios());
    all.extend(foreign::scenarios());
    all.extend(orphans::scenarios());
    all.extend(vanished::scenarios());
    all.extend(losses::scenarios());
    all.extend(starts::scenarios());
    all.extend(fencing::scenarios());
    all.extend(decisions::scenarios());
    all.extend(retention::scenarios());
    all.extend(endpoint::scenarios());
    all.extend(plans::scenarios());
    all.extend(with_their_own(grids::scenarios()));
    all.extend(with_their_own(grid_faults::scenarios()));
    all.extend(with_their_own(templates::scenarios()));
    all.extend(with_their_own(profile::scenarios()));
    all.extend(with_their_own(input::scenarios()));
    all.extend(with_their_own(bootstrap::scenarios()));
    all
}

/// Stories about grids, or of which every record counts: they have the grids that they make.
fn with_their_own(scenarios: Vec<Scenario>) -> impl Iterator<Item = Scenario> {
    scenarios.into_iter().map(|scenario| scenario.without_entries("it has the grids that it makes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A scenario's name in a document: area, `::`, promise, and no more.
    fn is_name(word: &str) -> bool {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/:".contains(c);
        word.contains("::") && word.chars().all(plain) && !word.ends_with(':')
    }

    #[test]
    fn every_scenario_that_the_promises_name_exists() {
        let known: BTreeSet<String> = all().into_iter().map(|scenario| scenario.name).collect();
        for page in ["promises.md", "waits.md"] {
            let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let named: Vec<&str> = text.split('`').filter(|word| is_name(word)).collect();
            assert!(named.len() > 40, "{page}: {}", named.len());
            for name in named {
                assert!(known.contains(name), "docs/{page} names {name}, which does not exist");
            }
        }
    }
}
