//! What was seen of a history, as plain data.

use xsld_histories::act::Kind as Word;
use xsld_histories::evidence::{self, Check, Seen, Step};
use xsld_histories::world::Result;
use xsld_journal::event;
use xsld_journal::record::Record;

use super::world::{Place, broken};
use crate::context::records::{Intent, former, outcome, records};
use crate::context::{Kind, member_of};

/// Kinds whose changes are watched, with the words of the scripts.
const WATCHED: [(Kind, Word); 8] = [
    (Kind::Cache, Word::Cache),
    (Kind::Grid, Word::Grid),
    (Kind::Template, Word::Template),
    (Kind::StatefulSet, Word::StatefulSet),
    (Kind::Pod, Word::Pod),
    (Kind::Claim, Word::Claim),
    (Kind::Budget, Word::Budget),
    (Kind::Event, Word::Event),
];

impl Place<'_> {
    pub(super) async fn all_seen(&self) -> Result<Seen> {
        let all = self.all_records()?;
        let checked = self.c.journal_command(&["check"]).await.map_err(broken)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let check = Check {
            code: checked.status.code().unwrap_or(-1),
            told: format!("{}{}", text(&checked.stdout), text(&checked.stderr)),
        };
        let mut seen = Seen {
            changes: self.changes(),
            calls: self.calls()?,
            records: all.iter().map(told).collect(),
            steps: steps(&all),
            check,
            ..Seen::default()
        };
        self.state(|state| {
            seen.entries = state.entries.values().cloned().collect();
            seen.foreign.clone_from(&state.foreign_after);
            seen.lives.clone_from(&state.lives);
            seen.frozen.clone_from(&state.frozen);
        });
        Ok(seen)
    }

    /// The journal, with those that were lost, set aside, or written by a second operator.
    fn all_records(&self) -> Result<Vec<Record>> {
        let mut all = former(&self.c.journal_dir()).map_err(broken)?;
        for lost in self.c.allowed().lost_journals {
            all.extend(records(&lost).map_err(broken)?);
        }
        all.extend(self.c.records().map_err(broken)?);
        all.sort_by_key(|record| record.envelope.time_us);
        Ok(all)
    }

    fn changes(&self) -> Vec<evidence::Change> {
        let mut changes = Vec::new();
        for (kind, word) in WATCHED {
            changes.extend(self.c.history.of(kind).into_iter().map(|change| evidence::Change {
                at_us: change.at.as_microsecond(),
                kind: word,
                name: change.name,
                uid: change.uid,
                object: change.object,
                gone: change.gone,
            }));
        }
        changes.sort_by_key(|change| change.at_us);
        changes
    }

    fn calls(&self) -> Result<Vec<evidence::Call>> {
        let calls = self.c.calls().map_err(broken)?;
        Ok(calls
            .into_iter()
            .map(|call| evidence::Call {
                at_us: call.time.as_microsecond(),
                member: member_of(&call).to_owned(),
                cache: call.cache,
                method: call.method,
                path: call.path,
                command: call.command,
                key: call.key,
                status: call.status,
                effect: call.effect,
            })
            .collect())
    }
}

fn told(record: &Record) -> evidence::Record {
    let detail = match &record.event {
        event::Event::StepIntended { step, attempt, .. } => {
            format!("{} (attempt {attempt})", step.describe())
        }
        other => short(&format!("{other:?}")),
    };
    let told = format!("{} {detail}", record.event.name());
    evidence::Record { at_us: record.envelope.time_us, seq: record.seq(), told }
}

fn short(text: &str) -> String {
    text.chars().take(240).collect()
}

fn steps(records: &[Record]) -> Vec<Step> {
    let outcomes: std::collections::BTreeMap<_, _> = records.iter().filter_map(outcome).collect();
    let intents = records.iter().filter_map(Intent::of);
    intents
        .map(|intent| Step {
            at_us: intent.time_us,
            seq: intent.seq,
            kind: intent.step.name().to_owned(),
            member: member(&intent.step),
            claim: claim(&intent.step),
            receipt: receipt(&intent.step).map(str::to_owned),
            outcome: outcomes.get(&intent.key).map(|word| (*word).to_owned()),
        })
        .collect()
}

fn member(step: &event::Step) -> Option<String> {
    use event::Step as S;
    match step {
        S::JoinMember { member, .. }
        | S::DisjoinMember { member, .. }
        | S::RemoveGhostMember { member, .. }
        | S::ResetMember { member }
        | S::RollMember { member, .. } => Some(member.name.clone()),
        S::DeleteVolume { claim, .. } => claim.strip_prefix("vol-").map(str::to_owned),
        _ => None,
    }
}

fn claim(step: &event::Step) -> Option<String> {
    match step {
        event::Step::ResetMember { member } => Some(member.claim_uid.clone()),
        event::Step::DeleteVolume { claim_uid, .. } => Some(claim_uid.clone()),
        _ => None,
    }
}

fn receipt(step: &event::Step) -> Option<&'static str> {
    let event::Step::DeleteVolume { receipt, .. } = step else { return None };
    Some(match receipt {
        event::Receipt::Disjoined { .. } => "disjoined",
        event::Receipt::NeverJoined { .. } => "never_joined",
        event::Receipt::FoundAbsent { .. } => "found_absent",
        event::Receipt::Adopted { .. } => "adopted",
        event::Receipt::CacheDeleted => "cache_deleted",
        event::Receipt::NeverBound { .. } => "never_bound",
    })
}
