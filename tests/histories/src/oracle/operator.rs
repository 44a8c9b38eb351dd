//! The operator does not end by itself, but for what a history did to it.

use super::{ENDED, Finding};
use crate::act::Act;
use crate::evidence::Evidence;

/// Each end has an act that explains it.
pub(super) fn does_not_end(evidence: &Evidence) -> Vec<Finding> {
    let explains = |act: &Act| {
        matches!(
            act,
            Act::FreezeOperator
                | Act::ThawOperator
                | Act::StartSecond { .. }
                | Act::LoseJournal
                | Act::SetBackJournal
                | Act::LoseAnchor
                // What it writes its lease and its anchor with may be refused.
                | Act::RefuseWrites { .. }
                | Act::LimitObjects { .. }
        )
    };
    let mut found = Vec::new();
    for life in &evidence.seen.lives {
        let (Some(ended), Some(to_us)) = (&life.ended, life.to_us) else { continue };
        if !evidence.did(to_us, explains) {
            found.push(Finding::new(ENDED, ended.clone(), format!("it ended by itself: {ended}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::ENDED;
    use super::super::samples::*;
    use super::*;

    #[test]
    fn an_operator_that_ends_by_itself_is_found_unless_it_stood_still_before() {
        let mut evidence = sound();
        evidence.seen.lives[0].to_us = Some(seconds(70));
        evidence.seen.lives[0].ended = Some("exit status: 20".to_owned());
        assert_eq!(rules(&evidence), [ENDED]);
        evidence.played.push(played(60, Act::FreezeOperator));
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }
}
