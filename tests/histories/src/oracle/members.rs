//! No healthy member is disjoined, removed or wiped without the spec's wish.

use super::{Finding, HEALTHY_MEMBER, lives};
use crate::act::{Act, Kind, member_name};
use crate::evidence::Evidence;

/// A step is carried to its end although the spec changed meanwhile: a wish holds for so long.
const WISHED_US: i64 = 150_000_000;

/// A member that has been ready for so long is healthy.
const HEALTHY_US: i64 = 10_000_000;

/// How long after a fault a member may still count as hurt.
const HURT_US: i64 = 25_000_000;

/// Each disjoin and each wiped claim was wished for, or its member was not healthy.
pub(super) fn healthy_ones_stay(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for call in evidence.seen.calls.iter().filter(|call| call.effect == "disjoin_started") {
        if call.key.is_empty() {
            continue;
        }
        if let Some(why) = taken(evidence, &call.member, call.at_us) {
            let told = format!("{} was asked to leave although {why}", call.member);
            found.push(Finding::new(HEALTHY_MEMBER, "disjoined", told));
        }
    }
    for name in evidence.names(Kind::Claim) {
        let Some(member) = name.strip_prefix("vol-") else { continue };
        let mut former = None;
        for change in evidence.changes_of(Kind::Claim, &name) {
            let first = change.is_going() && former.as_ref() != Some(&change.uid);
            if !first {
                continue;
            }
            former = Some(change.uid.clone());
            if by_hand(evidence, &name, &change.uid, change.at_us) {
                continue;
            }
            if let Some(why) = taken(evidence, member, change.at_us) {
                let told = format!("the volume of {member} was taken away although {why}");
                found.push(Finding::new(HEALTHY_MEMBER, "wiped", told));
            }
        }
    }
    found
}

/// Whether a history's own act deleted this very claim: not one that bore its name before.
pub(super) fn by_hand(evidence: &Evidence, claim: &str, uid: &str, at_us: i64) -> bool {
    let mut changes = evidence.changes_of(Kind::Claim, claim);
    let born_us = changes.find(|change| change.uid == uid).map_or(at_us, |change| change.at_us);
    evidence.done().any(|played| {
        let is_it = matches!(
            &played.act, Act::DeleteObject { kind: Kind::Claim, name, .. } if name == claim
        );
        is_it && played.until_us >= born_us && played.at_us <= at_us
    })
}

/// Why the member should have stayed; none when it is right that it went.
fn taken(evidence: &Evidence, member: &str, at_us: i64) -> Option<String> {
    let (cache, ordinal) = member.rsplit_once('-')?;
    let ordinal: u32 = ordinal.parse().ok()?;
    if wished(evidence, cache, ordinal, at_us) || hurt(evidence, cache, ordinal, at_us) {
        return None;
    }
    let lives = lives::of(evidence, member);
    let since = lives::ready_since(&lives, at_us).filter(|since| at_us - since > HEALTHY_US)?;
    if !in_group(evidence, member, ordinal, at_us) {
        return None;
    }
    let seconds = (at_us - since) / 1_000_000;
    Some(format!("it was ready and in the group for {seconds} s, and {cache} wants it"))
}

/// Whether any spec of the last while wants fewer members, or no cache at all.
pub(super) fn wished(evidence: &Evidence, cache: &str, ordinal: u32, at_us: i64) -> bool {
    let mut last = None;
    for change in evidence.changes_of(Kind::Cache, cache) {
        if change.at_us > at_us {
            break;
        }
        let size = change.object["spec"]["size"].as_u64().unwrap_or(1);
        let wants = !change.is_going() && size > u64::from(ordinal);
        if change.at_us >= at_us - WISHED_US && !wants {
            return true;
        }
        last = Some(wants);
    }
    last != Some(true)
}

/// Whether an act hurt the member not long ago, or broke what it is known by.
fn hurt(evidence: &Evidence, cache: &str, ordinal: u32, at_us: i64) -> bool {
    let member = member_name(cache, ordinal);
    let claim = format!("vol-{member}");
    let born_us = born(evidence, &member, at_us);
    let mut is_faulty = false;
    let healed_us = Some(evidence.end.healed_us).filter(|healed| *healed > 0);
    let mut last_us = i64::MIN / 2;
    for played in evidence.done().filter(|played| played.at_us <= at_us) {
        match &played.act {
            Act::FaultMember { cache: its, member: number, fault }
                if its == cache && *number == ordinal =>
            {
                is_faulty = true;
                last_us = played.at_us;
                // It takes itself for a group of one, until it joins afresh.
                if fault["fault"] == "forget" && fault["what"] == "group" {
                    return true;
                }
            }
            Act::ClearFaults { cache: its, member: number }
                if its == cache && *number == ordinal =>
            {
                is_faulty = false;
                last_us = played.until_us;
            }
            Act::DeleteObject { kind: Kind::Claim, name, .. }
                if *name == claim && played.until_us >= born_us =>
            {
                return true;
            }
            _ => {}
        }
    }
    if let Some(healed) = healed_us.filter(|healed| *healed <= at_us && is_faulty) {
        is_faulty = false;
        last_us = healed;
    }
    is_faulty || at_us - last_us < HURT_US
}

/// Whether the members' own log has it in the group. Who lived on a former volume was another one.
pub(super) fn in_group(evidence: &Evidence, member: &str, ordinal: u32, at_us: i64) -> bool {
    let words = ["joined", "disjoined", "ghost_removed", "join_failed", "member_listed"];
    let born_us = born(evidence, member, at_us);
    let about = evidence.seen.calls.iter().filter(|call| {
        call.member == member
            && call.at_us < at_us
            && call.at_us >= born_us
            && words.contains(&call.effect.as_str())
    });
    match about.map(|call| call.effect.as_str()).next_back() {
        Some(word) => word == "joined",
        // The first member is the group.
        None => ordinal == 0,
    }
}

/// When the volume that the member has at a time was first seen.
fn born(evidence: &Evidence, member: &str, at_us: i64) -> i64 {
    let claim = format!("vol-{member}");
    let mut born: Option<(&str, i64)> = None;
    for change in evidence.changes_of(Kind::Claim, &claim).filter(|c| c.at_us <= at_us) {
        if born.is_none_or(|(uid, _)| uid != change.uid) {
            born = Some((&change.uid, change.at_us));
        }
    }
    born.map_or(i64::MIN, |(_, born)| born)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::samples::*;
    use super::super::{HEALTHY_MEMBER, judge};
    use super::*;
    use crate::evidence::Call;

    fn disjoin(member: &str, at_us: i64) -> Call {
        Call {
            at_us,
            cache: "c".to_owned(),
            member: member.to_owned(),
            key: "k".to_owned(),
            method: "POST".to_owned(),
            effect: "disjoin_started".to_owned(),
            ..Call::default()
        }
    }

    #[test]
    fn a_healthy_member_that_is_disjoined_is_found() {
        let mut evidence = sound();
        evidence.seen.calls.push(disjoin("c-1", seconds(100)));
        assert_eq!(rules(&evidence), [HEALTHY_MEMBER]);
    }

    #[test]
    fn a_smaller_size_wishes_for_it() {
        let mut evidence = sound();
        evidence.seen.changes.push(cache(seconds(90), 1, true));
        evidence.seen.calls.push(disjoin("c-1", seconds(100)));
        evidence.seen.changes.sort_by_key(|change| change.at_us);
        assert!(!rules(&evidence).contains(&HEALTHY_MEMBER), "{:?}", judge(&evidence));
    }

    #[test]
    fn a_member_with_a_fault_is_not_healthy_and_another_one_still_is() {
        let mut evidence = sound();
        let fault = |member| Act::FaultMember {
            cache: "c".to_owned(),
            member,
            fault: json!({"fault": "hang"}),
        };
        evidence.played.push(played(95, fault(1)));
        evidence.seen.calls.push(disjoin("c-1", seconds(100)));
        assert_eq!(rules(&evidence), [] as [&str; 0]);
        evidence.played.pop();
        evidence.played.push(played(95, fault(0)));
        assert_eq!(rules(&evidence), [HEALTHY_MEMBER]);
    }

    #[test]
    fn a_wiped_volume_of_a_healthy_member_is_found_unless_a_person_deleted_it() {
        let mut evidence = sound();
        evidence.seen.changes.push(claim(seconds(100), "vol-c-1", "claim-1", true));
        evidence.seen.steps.push(step(99, "reset_member", Some("claim-1"), None));
        assert_eq!(rules(&evidence), [HEALTHY_MEMBER]);
        let (kind, name) = (Kind::Claim, "vol-c-1".to_owned());
        let cascade = crate::act::Cascade::Background;
        evidence.played.push(played(99, Act::DeleteObject { kind, name, cascade, force: false }));
        assert_eq!(rules(&evidence), [] as [&str; 0]);
        // A person deleted the one that was there before, not this one.
        evidence.seen.changes.retain(|change| change.uid != "claim-1" || change.is_going());
        evidence.seen.changes.push(claim(seconds(20), "vol-c-1", "claim-1", false));
        evidence.seen.changes.sort_by_key(|change| change.at_us);
        if let Some(last) = evidence.played.last_mut() {
            (last.at_us, last.until_us) = (seconds(10), seconds(11));
        }
        evidence.seen.calls.push(effect_of("c-1", "joined", 30));
        assert_eq!(rules(&evidence), [HEALTHY_MEMBER]);
    }
}
