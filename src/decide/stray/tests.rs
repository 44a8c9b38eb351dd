//! The table of entries without a record.

use super::*;

const HISTORIES: [Option<JoinHistory>; 4] =
    [None, Some(JoinHistory::InDoubt), Some(JoinHistory::WithoutEffect), Some(JoinHistory::Joined)];
const OWN: [OwnView; 4] = [OwnView::Alone, OwnView::InGroup, OwnView::Elsewhere, OwnView::Silent];

fn every() -> Vec<Facts> {
    let mut all = Vec::new();
    for history in HISTORIES {
        for own in OWN {
            for pod in [None, Some(false), Some(true)] {
                for bits in 0..16_u8 {
                    let (leaving, place) = (bits & 1 != 0, bits & 2 != 0);
                    let (kept, online) = (bits & 4 != 0, bits & 8 != 0);
                    all.push(Facts { leaving, history, pod, place, kept, online, own });
                }
            }
        }
    }
    all
}

#[test]
fn an_entry_goes_only_where_nobody_can_stand_behind_it() {
    for facts in every().into_iter().filter(|facts| table(*facts) == Behind::Nobody) {
        let by_us = facts.leaving || facts.history == Some(JoinHistory::WithoutEffect);
        let gone = facts.pod.is_none() && !facts.place;
        let known = !facts.kept || facts.history.is_some();
        let empty = facts.pod == Some(false) && facts.own == OwnView::Alone && known;
        assert!(by_us || gone || empty, "{facts:?}");
    }
}

#[test]
fn who_says_that_it_is_of_the_group_is_a_member_unless_we_know_better() {
    for facts in every() {
        let says_so = facts.pod == Some(false) && facts.own == OwnView::InGroup;
        let half_way = facts.history == Some(JoinHistory::WithoutEffect) && !facts.online;
        let by_us = facts.leaving || half_way;
        assert_eq!(table(facts) == Behind::Member, says_so && !by_us, "{facts:?}");
    }
}
