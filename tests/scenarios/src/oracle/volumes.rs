//! Claims and replicas: nothing goes before the group let go of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use xsld_journal::event::{Ordinal, Receipt, Step};

use super::Evidence;
use crate::Result;
use crate::context::records::Intent;
use crate::context::{Context, Kind, member_of};

/// A claim as it was seen.
struct Claim {
    name: String,
    /// When its deletion was first seen.
    deleted: Option<Timestamp>,
}

fn claims(context: &Context) -> BTreeMap<String, Claim> {
    let mut claims: BTreeMap<String, Claim> = BTreeMap::new();
    for change in context.history.of(Kind::Claim) {
        let going = change.gone || !change.object["metadata"]["deletionTimestamp"].is_null();
        let claim = claims
            .entry(change.uid.clone())
            .or_insert_with(|| Claim { name: change.name.clone(), deleted: None });
        if going {
            claim.deleted.get_or_insert(change.at);
        }
    }
    claims
}

/// Every claim that went did so by exactly one step of the journal, with a receipt that the members'
/// own log bears out.
pub(super) fn every_deletion_has_a_receipt(evidence: &Evidence, context: &Context) -> Result {
    let allowed = context.allowed().deleted_claims;
    let reclaimed = context.stage.world.dir().join("reclaimed");
    for (uid, claim) in claims(context) {
        let went = claim.deleted.is_some() || reclaimed.join(&uid).exists();
        if !went || allowed.contains(&uid) {
            continue;
        }
        let name = &claim.name;
        let by: Vec<&Intent> = evidence.intents_of(|step| match step {
            Step::DeleteVolume { claim_uid, .. } => *claim_uid == uid,
            Step::ResetMember { member } => member.claim_uid == uid,
            _ => false,
        });
        ensure!(!by.is_empty(), "claim {name} ({uid}) went without a step of the journal");
        let done = by.iter().filter(|intent| evidence.succeeded(intent)).count();
        ensure!(done == 1, "claim {name} ({uid}) has {} intents and {done} successes", by.len());
        let last = by[by.len() - 1];
        if let (Step::DeleteVolume { ordinal, receipt, .. }, Some(at)) = (&last.step, claim.deleted)
        {
            is_true(evidence, receipt, *ordinal, name, at)
                .with_context(|| format!("claim {name} ({uid}), record {}", last.seq))?;
        }
    }
    Ok(())
}

/// Whether a receipt says what the members' log says.
fn is_true(
    evidence: &Evidence,
    receipt: &Receipt,
    ordinal: Ordinal,
    claim: &str,
    deleted: Timestamp,
) -> Result {
    let member = claim.strip_prefix("vol-").unwrap_or(claim);
    if let Receipt::Disjoined { seq } = receipt {
        let record = evidence
            .records
            .iter()
            .chain(&evidence.former)
            .find(|record| record.seq() == *seq && record.event.name() == "step_succeeded");
        let record = record.with_context(|| format!("its receipt names record {seq}: none"))?;
        ensure!(
            record.event.name() == "step_succeeded",
            "its receipt names record {seq}, which is {}",
            record.event.name()
        );
    }
    if matches!(receipt, Receipt::CacheDeleted) {
        return Ok(());
    }
    let last = evidence.calls.iter().rev().find(|call| {
        call.time < deleted
            && member_of(call) == member
            && ["member_listed", "joined", "disjoined", "ghost_removed", "join_failed"]
                .contains(&call.effect.as_str())
    });
    let in_group =
        last.is_some_and(|call| matches!(call.effect.as_str(), "member_listed" | "joined"));
    ensure!(!in_group, "ordinal {ordinal} was in the group: {last:?}");
    Ok(())
}

/// `replicas` of a StatefulSet go down only below members that are out of the group.
pub(super) fn replicas_follow_the_group(evidence: &Evidence, context: &Context) -> Result {
    if context.allowed().scaled_by_hand {
        return Ok(());
    }
    let mut replicas: BTreeMap<String, u64> = BTreeMap::new();
    for change in context.history.of(Kind::StatefulSet) {
        if change.gone || !change.object["metadata"]["deletionTimestamp"].is_null() {
            replicas.remove(&change.uid);
            continue;
        }
        let now = change.object["spec"]["replicas"].as_u64().unwrap_or(1);
        let former = replicas.insert(change.uid.clone(), now);
        let Some(former) = former.filter(|former| *former > now) else { continue };
        let in_group = members_at(evidence, &change.name, change.at);
        for ordinal in now..former {
            let member = format!("{}-{ordinal}", change.name);
            ensure!(
                !in_group.contains(&member),
                "replicas of {} went {former} -> {now} with {member} in the group",
                change.name
            );
        }
    }
    Ok(())
}

/// The members that the members' own log shows in the group at a time.
fn members_at(evidence: &Evidence, cache: &str, at: Timestamp) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    let calls = evidence.calls.iter().filter(|call| call.cache == cache && call.time <= at);
    for call in calls {
        let member = member_of(call).to_owned();
        match call.effect.as_str() {
            "member_listed" | "joined" => {
                members.insert(member);
            }
            "disjoined" | "ghost_removed" => {
                members.remove(&member);
            }
            _ => {}
        }
    }
    members
}
