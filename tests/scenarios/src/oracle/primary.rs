//! The replica of the configuration database and the primary: each effect once.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use xsld_journal::event::{Step, StepKey};

use super::Evidence;
use super::joins::key_of;
use crate::Result;

/// A set-up of replication and a promotion are begun once for each attempt, by the step that the
/// attempt is of; an attempt that is told to have succeeded was begun.
pub(super) fn each_change_is_asked_for_once(evidence: &Evidence) -> Result {
    for (effect, step) in
        [("replication_started", "set_up_replication"), ("promotion_started", "promote_primary")]
    {
        let mut started: BTreeMap<StepKey, usize> = BTreeMap::new();
        let calls = evidence.calls.iter().filter(|call| call.effect == effect);
        for key in calls.filter_map(key_of) {
            *started.entry(key).or_default() += 1;
        }
        for (key, count) in &started {
            let intent = evidence.intents.get(key).context("it was never intended")?;
            ensure!(intent.step.name() == step, "{effect} of {}", intent.step.describe());
            ensure!(*count == 1, "{}: begun {count} times", intent.step.describe());
        }
        for intent in evidence.intents_of(|other: &Step| other.name() == step) {
            let begun = started.contains_key(&intent.key);
            ensure!(
                begun || !evidence.succeeded(intent),
                "record {}: {} never began",
                intent.seq,
                intent.step.describe()
            );
        }
    }
    Ok(())
}
