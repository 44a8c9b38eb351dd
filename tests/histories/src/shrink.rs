//! A shorter script that fails alike: parts are left out for as long as it does.

use crate::script::Script;

/// Leaves out acts for as long as the script `fails` alike, asking so often at most. A part that is
/// left out takes with it what makes no sense without it.
pub async fn shrink(
    script: &Script,
    tries: usize,
    mut fails: impl AsyncFnMut(&Script) -> bool,
) -> Script {
    let mut best = script.clone();
    let mut left = tries;
    let mut width = best.steps.len().div_ceil(2);
    while width >= 1 && left > 0 {
        let mut from = 0;
        let mut is_shorter = false;
        while from < best.steps.len() && left > 0 {
            let without = without(&best, from, width);
            if without.steps.is_empty() || without.steps.len() >= best.steps.len() {
                from += width;
                continue;
            }
            left -= 1;
            match fails(&without).await {
                true => {
                    best = without;
                    is_shorter = true;
                }
                false => from += width,
            }
        }
        width = match (width, is_shorter) {
            (1, false) => break,
            (1, true) => 1,
            (width, _) => width / 2,
        };
    }
    best
}

/// The script without a part of it, and without what that part was the reason of.
fn without(script: &Script, from: usize, width: usize) -> Script {
    let part = from..from + width;
    let steps = script.steps.iter().enumerate().filter(|(at, _)| !part.contains(at));
    let steps = steps.map(|(_, step)| step.clone()).collect();
    Script { steps, ..script.clone() }.legal()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::executor::block_on;

    use super::*;
    use crate::act::Act;
    use crate::generate::generate;
    use crate::weights::{Family, Weights};

    fn has(script: &Script, family: Family) -> bool {
        script.steps.iter().any(|step| step.act.family() == family)
    }

    #[test]
    fn what_fails_without_the_rest_is_all_that_is_left() {
        let mut tried = 0;
        for seed in 0..200 {
            let script = generate(seed, 16, Weights::All);
            if !has(&script, Family::KillAtBoundary) || !has(&script, Family::Resize) {
                continue;
            }
            tried += 1;
            let fails = |script: &Script| {
                assert!(script.model().is_ok(), "a script that makes no sense was tried");
                has(script, Family::KillAtBoundary) && has(script, Family::Resize)
            };
            let short = block_on(shrink(&script, 1000, async |script| fails(script)));
            // The cache, the resize and the kill; nothing else is needed.
            assert_eq!(short.steps.len(), 3, "seed {seed}: {:#?}", short.steps);
            assert!(fails(&short));
        }
        assert!(tried > 10);
    }

    #[test]
    fn it_is_not_asked_more_often_than_allowed() {
        let script = generate(3, 16, Weights::All);
        let asked = Cell::new(0);
        let short = block_on(shrink(&script, 5, async |_| {
            asked.set(asked.get() + 1);
            false
        }));
        assert_eq!((short, asked.get()), (script, 5));
    }

    #[test]
    fn an_act_that_makes_no_sense_alone_goes_with_its_reason() {
        let script = generate(1, 16, Weights::All);
        let first =
            script.steps.iter().position(|step| matches!(step.act, Act::CreateCache { .. }));
        let without = without(&script, first.unwrap(), 1);
        assert!(without.model().is_ok());
        assert!(without.steps.len() < script.steps.len());
    }
}
