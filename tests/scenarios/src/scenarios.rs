//! What happens. Each scenario's name is its promise.

mod bootstrap;
mod claims;
mod failures;
mod faults;
mod grids;
mod input;
mod operators;
mod random;
mod repairs;
mod scale;
mod sweep;

use crate::Scenario;

/// All scenarios, the long ones first, so that none is left running alone at the end.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(sweep::scenarios());
    all.extend(random::scenarios());
    all.extend(repairs::scenarios());
    all.extend(failures::scenarios());
    all.extend(faults::scenarios());
    all.extend(scale::scenarios());
    all.extend(claims::scenarios());
    all.extend(operators::scenarios());
    all.extend(grids::scenarios());
    all.extend(input::scenarios());
    all.extend(bootstrap::scenarios());
    all
}
