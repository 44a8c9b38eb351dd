//! Each claim's end has a receipt, and the receipt is true.

use super::{Finding, RECEIPT, members};
use crate::act::Kind;
use crate::evidence::{Evidence, Step};

/// Every claim that went did so by a step of the journal, or by a person's hand.
pub(super) fn are_true(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in evidence.names(Kind::Claim) {
        let Some(member) = name.strip_prefix("vol-") else { continue };
        let mut seen: Vec<String> = Vec::new();
        for change in evidence.changes_of(Kind::Claim, &name).filter(|change| change.is_going()) {
            if seen.contains(&change.uid) {
                continue;
            }
            seen.push(change.uid.clone());
            let by_hand = members::by_hand(evidence, &name, &change.uid, change.at_us);
            if by_hand {
                continue;
            }
            if let Some(why) = wrong(evidence, member, &change.uid, change.at_us) {
                let told = format!("claim {name} ({}): {why}", change.uid);
                found.push(Finding::new(RECEIPT, why, told));
            }
        }
    }
    found
}

/// What is wrong with the receipt of a claim that went.
fn wrong(evidence: &Evidence, member: &str, uid: &str, at_us: i64) -> Option<String> {
    let steps = evidence.seen.steps.iter();
    let its: Vec<&Step> = steps.filter(|step| step.claim.as_deref() == Some(uid)).collect();
    let Some(step) = its.last() else { return Some("no step took it away".to_owned()) };
    // A reset is no end of a member: it joins again. Whether it was right is another rule.
    let receipt = step.receipt.as_deref()?;
    match receipt {
        "cache_deleted" => {
            let cache = member.rsplit_once('-').map_or(member, |(cache, _)| cache);
            let mut changes = evidence.changes_of(Kind::Cache, cache);
            let went = changes.any(|change| change.is_going() && change.at_us <= at_us);
            (!went).then(|| "it says that the cache was deleted, and it was not".to_owned())
        }
        "never_bound" => {
            let name = format!("vol-{member}");
            let bound = evidence.changes_of(Kind::Claim, &name).any(|change| {
                change.uid == uid
                    && change.at_us <= at_us
                    && change.object["spec"]["volumeName"].as_str().is_some_and(|v| !v.is_empty())
            });
            bound.then(|| "it says that the claim never had a volume, and it had".to_owned())
        }
        "never_joined" => {
            let began = born(evidence, member, uid);
            let joined = evidence.seen.calls.iter().any(|call| {
                call.member == member
                    && call.effect == "joined"
                    && call.at_us > began
                    && call.at_us < at_us
            });
            joined.then(|| "it says that the member never joined, and it did".to_owned())
        }
        _ => {
            let words = ["joined", "member_listed", "disjoined", "ghost_removed", "join_failed"];
            let last = evidence.seen.calls.iter().rfind(|call| {
                call.member == member && call.at_us < at_us && words.contains(&call.effect.as_str())
            });
            let is_in = last
                .is_some_and(|call| ["joined", "member_listed"].contains(&call.effect.as_str()));
            // One whose volume was lost before took itself out.
            is_in.then(|| format!("it says {receipt}, and the member was in the group"))
        }
    }
}

/// When the claim was first seen.
fn born(evidence: &Evidence, member: &str, uid: &str) -> i64 {
    let name = format!("vol-{member}");
    let mut changes = evidence.changes_of(Kind::Claim, &name);
    changes.find(|change| change.uid == uid).map_or(i64::MIN, |change| change.at_us)
}

#[cfg(test)]
mod tests {
    use super::super::samples::*;
    use super::super::{HEALTHY_MEMBER, RECEIPT};
    use crate::evidence::Evidence;

    /// A cache of two that became one: the claim of c-1 goes.
    fn shrunk(receipt: Option<&str>, effect: &str) -> Evidence {
        let mut evidence = sound();
        evidence.seen.changes.push(cache(seconds(60), 1, true));
        evidence.seen.changes.push(claim(seconds(100), "vol-c-1", "claim-1", true));
        evidence.seen.calls.push(effect_of("c-1", effect, 80));
        if let Some(receipt) = receipt {
            evidence.seen.steps.push(step(99, "delete_volume", Some("claim-1"), Some(receipt)));
        }
        evidence
    }

    #[test]
    fn a_claim_that_went_without_a_step_is_found() {
        assert_eq!(rules(&shrunk(None, "disjoined")), [RECEIPT]);
        assert_eq!(rules(&shrunk(Some("disjoined"), "disjoined")), [] as [&str; 0]);
    }

    #[test]
    fn a_receipt_that_the_members_log_does_not_bear_out_is_found() {
        assert_eq!(rules(&shrunk(Some("disjoined"), "joined")), [RECEIPT]);
        assert_eq!(rules(&shrunk(Some("never_joined"), "disjoined")), [RECEIPT]);
        let lie = rules(&shrunk(Some("cache_deleted"), "disjoined"));
        assert!(lie.contains(&RECEIPT) && !lie.contains(&HEALTHY_MEMBER), "{lie:?}");
    }

    #[test]
    fn a_claim_that_had_a_volume_did_not_go_for_never_having_one() {
        let mut evidence = shrunk(Some("never_bound"), "disjoined");
        assert_eq!(rules(&evidence), [] as [&str; 0]);
        for change in &mut evidence.seen.changes {
            if change.uid == "claim-1" {
                change.object["spec"]["volumeName"] = "pv-1".into();
            }
        }
        assert_eq!(rules(&evidence), [RECEIPT]);
    }
}
