//! An entry is lost only when the product itself loses it: when all who held it were gone at once by
//! what the history did, or when what held it was given up on purpose.
//!
//! Entries live in the members' memory. A grid with replicas holds each on several members, and makes
//! a lost copy anew within seconds.

use super::{ENTRY_LOST, Finding, lives, members};
use crate::act::{Act, Kind};
use crate::evidence::{Entry, Evidence, Step};

/// So long after a member's end its copies may not have been made anew.
const REPLACED_US: i64 = 25_000_000;

/// What the operator did so long before a member's end ended it.
const CAUSED_US: i64 = 20_000_000;

/// A member's end may be known to the operator so long after it.
const KNOWN_US: i64 = 4_000_000;

/// Steps that end the process of the member that they are about.
const ENDING: &[&str] = &["roll_member", "restart_member", "reset_member"];

/// Fields of a grid whose change gives its entries up.
const GIVEN_UP: &[&str] = &[
    "/timeToLive",
    "/numPartition",
    "/gridType",
    "/templateName",
    "/templateRef",
    "/gridCapacity",
    "/useCapLRUEvictor",
];

/// The end of a member that held copies.
struct Ended<'a> {
    at_us: i64,
    member: String,
    /// The operator's step that ended it; none when the history did.
    by: Option<&'a Step>,
    /// How many members ran just before.
    left: usize,
}

/// Every entry that is gone was the product's to lose.
pub(super) fn are_kept(evidence: &Evidence) -> Vec<Finding> {
    let lost = evidence.seen.entries.iter().filter(|entry| entry.held == Some(false));
    let mut found: Vec<Finding> = Vec::new();
    for entry in lost {
        let Some(why) = unexcused(evidence, entry) else { continue };
        // One finding for each grid is enough.
        if !found.iter().any(|other| other.told.contains(&entry.uid)) {
            let Entry { grid, uid, key, .. } = entry;
            let told = format!("the entry {key} of {grid} ({uid}) is gone, and {why}");
            found.push(Finding::new(ENTRY_LOST, why, told));
        }
    }
    found
}

/// Why the loss is nobody's but the operator's.
fn unexcused(evidence: &Evidence, entry: &Entry) -> Option<&'static str> {
    if given_up(evidence, entry) {
        return None;
    }
    let ends = ends(evidence, entry);
    if ends.is_empty() {
        return Some("no member ended");
    }
    let copies = entry.copies.min(entry.members).max(1);
    // A single copy goes with its member.
    if copies == 1 || ends.iter().any(|end| end.left <= 1) {
        return None;
    }
    let mut pairs = 0;
    for (at, first) in ends.iter().enumerate() {
        for second in &ends[at + 1..] {
            let together = second.at_us - first.at_us < REPLACED_US;
            if !together || first.member == second.member {
                continue;
            }
            pairs += 1;
            // The operator saw that one was gone, and took the other.
            let knew = second.by.is_some_and(|step| step.at_us > first.at_us + KNOWN_US);
            if !knew && (first.by.is_none() || second.by.is_none()) {
                return None;
            }
        }
    }
    Some(match pairs {
        0 => "no two members were gone at once",
        _ => "the operator ended one while another was gone",
    })
}

/// Whether an act gave up what the grid held.
fn given_up(evidence: &Evidence, entry: &Entry) -> bool {
    evidence.done().filter(|played| played.until_us >= entry.seen_us - 1_000_000).any(|played| {
        match &played.act {
            Act::DeleteCache { cache, .. } => *cache == entry.cache,
            Act::DeleteGrid { grid } => *grid == entry.grid,
            Act::Change { kind: Kind::Grid, name, path, .. } => {
                *name == entry.grid && GIVEN_UP.contains(&path.as_str())
            }
            // Without its finalizer the object goes, and what comes is another one.
            Act::StripFinalizers { kind: Kind::Cache, .. } => true,
            _ => false,
        }
    }) || broken(evidence, entry)
}

/// Whether a fault took it, now or at some time that it lasts to.
fn broken(evidence: &Evidence, entry: &Entry) -> bool {
    evidence.done().any(|played| match &played.act {
        Act::FaultMember { cache, fault, .. } if *cache == entry.cache => {
            let what = &fault["what"];
            match fault["fault"].as_str().unwrap_or_default() {
                "break_grid" => fault["grid"] == entry.grid.as_str(),
                "forget" => what == "data" || what == "group",
                _ => false,
            }
        }
        _ => false,
    })
}

/// Ends of members in the group since the entry was last seen, oldest first.
fn ends<'a>(evidence: &'a Evidence, entry: &Entry) -> Vec<Ended<'a>> {
    let all = lives::members(evidence, &entry.cache);
    let lives: Vec<(u32, String, Vec<lives::Life>)> = all
        .into_iter()
        .map(|(ordinal, name)| {
            let lives = lives::of(evidence, &name);
            (ordinal, name, lives)
        })
        .collect();
    let mut ends = Vec::new();
    for (ordinal, name, its) in &lives {
        for life in its {
            let Some(at_us) = life.to_us.filter(|at| *at >= entry.seen_us) else { continue };
            if !members::in_group(evidence, name, *ordinal, at_us) {
                continue;
            }
            let runs = |life: &lives::Life| {
                life.from_us < at_us && life.to_us.is_none_or(|to| to >= at_us)
            };
            let left = lives.iter().filter(|(_, _, its)| its.iter().any(runs)).count();
            let by = evidence.seen.steps.iter().rfind(|step| {
                step.member.as_deref() == Some(name.as_str())
                    && ENDING.contains(&step.kind.as_str())
                    && step.at_us <= at_us
                    && at_us - step.at_us < CAUSED_US
            });
            ends.push(Ended { at_us, member: name.clone(), by, left });
        }
    }
    ends.sort_by_key(|end| end.at_us);
    ends
}

#[cfg(test)]
mod tests {
    use super::super::ENTRY_LOST;
    use super::super::samples::*;
    use super::*;

    /// A cache of three whose entry is gone in the end.
    fn lost() -> Evidence {
        let mut evidence = sound();
        evidence.seen.changes.push(cache(seconds(1), 3, true));
        evidence.seen.changes.push(claim(0, "vol-c-2", "claim-2", false));
        evidence.seen.changes.push(pod(seconds(1), "c-2"));
        evidence.seen.calls.push(effect_of("c-2", "joined", 2));
        evidence.seen.entries[0].held = Some(false);
        evidence.seen.entries[0].members = 3;
        evidence.seen.changes.sort_by_key(|change| change.at_us);
        evidence
    }

    /// The member's container ends and another one comes, ready, a few seconds later.
    fn restart(evidence: &mut Evidence, member: &str, second: i64) {
        evidence.seen.changes.push(gone(pod(seconds(second), member)));
        let mut again = pod(seconds(second + 4), member);
        let id = &mut again.object["status"]["containerStatuses"][0]["containerID"];
        *id = format!("{member}/{second}").into();
        evidence.seen.changes.push(again);
        evidence.seen.changes.sort_by_key(|change| change.at_us);
    }

    #[test]
    fn an_entry_that_went_although_nobody_ended_is_found() {
        assert_eq!(rules(&lost()), [ENTRY_LOST]);
    }

    #[test]
    fn an_entry_with_replicas_outlives_one_member() {
        let mut evidence = lost();
        restart(&mut evidence, "c-1", 60);
        assert_eq!(rules(&evidence), [ENTRY_LOST]);
        evidence.seen.entries[0].copies = 1;
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }

    #[test]
    fn two_members_that_end_at_once_take_it_with_them_unless_the_operator_ended_the_second() {
        let mut evidence = lost();
        restart(&mut evidence, "c-1", 60);
        restart(&mut evidence, "c-2", 70);
        assert_eq!(rules(&evidence), [] as [&str; 0]);
        let mut roll = step(69, "roll_member", None, None);
        roll.member = Some("c-2".to_owned());
        evidence.seen.steps.push(roll);
        assert_eq!(rules(&evidence), [ENTRY_LOST]);
    }

    #[test]
    fn what_was_given_up_is_not_lost() {
        let mut evidence = lost();
        let grid = "g".to_owned();
        evidence.played.push(played(60, Act::DeleteGrid { grid }));
        assert_eq!(rules(&evidence), [] as [&str; 0]);
    }
}
