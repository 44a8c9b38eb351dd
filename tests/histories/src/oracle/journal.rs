//! The journal is whole, except for what a history lost of it.

use super::{Finding, JOURNAL};
use crate::act::Act;
use crate::evidence::Evidence;

/// The exit status of a check that finds a gap.
const GAP: i32 = 3;

/// The operator's own check finds nothing, or only the gap that was made.
pub(super) fn is_whole(evidence: &Evidence) -> Vec<Finding> {
    let check = &evidence.seen.check;
    // A second operator on another journal takes over with a gap as well.
    let gap =
        |act: &Act| matches!(act, Act::LoseJournal | Act::SetBackJournal | Act::StartSecond { .. });
    let may_have_gap = evidence.did(i64::MAX, gap);
    let is_right = check.code == 0 || (check.code == GAP && may_have_gap);
    match is_right {
        true => Vec::new(),
        false => {
            let subject = format!("exit status {}", check.code);
            vec![Finding::new(JOURNAL, subject, check.told.clone())]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::super::{JOURNAL, judge};
    use super::*;

    #[test]
    fn findings_of_the_check_are_found_and_a_gap_only_where_none_was_made() {
        let mut evidence = sound();
        evidence.seen.check.code = 1;
        assert_eq!(rules(&evidence), [JOURNAL]);
        evidence.seen.check.code = GAP;
        assert_eq!(rules(&evidence), [JOURNAL]);
        evidence.played.push(played(50, Act::LoseJournal));
        assert_eq!(judge(&evidence), []);
    }
}
