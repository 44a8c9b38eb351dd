//! `journal why`: the chain of causes behind what is, what is waited for, or what was deleted.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::attempts::{Attempt, attempts, evidence_of, is_empty, readable};
use super::describe::{describe, end_text, mood, receipt_text};
use super::diff::fold_at;
use super::output::escape;
use super::steps::is_named;
use super::{CacheName, Error, Format, Output, Point, Source};
use crate::audit::time_text;
use crate::event::{Event, OperationId, Receipt, Step};
use crate::record::{Record, StreamId};
use crate::state::CacheState;
use crate::store::ledger::Entry;

/// Options of `why`.
#[derive(Clone, Debug, Args)]
pub struct Why {
    /// The cache, by name or by UID.
    #[arg(value_name = "NAMESPACE/NAME")]
    cache: CacheName,

    /// Why this claim was deleted: by its name or UID.
    #[arg(long, value_name = "CLAIM", conflicts_with = "member")]
    claim: Option<String>,

    /// Why this member is in the group or not: by its name or its number.
    #[arg(long, value_name = "NAME|NUMBER")]
    member: Option<String>,

    /// As things stood after this record, or at this time (UTC). Default: now.
    #[arg(long, value_name = "SEQ|TIME")]
    at: Option<Point>,
}

/// One record of the chain, and what it has to do with the one above it.
#[derive(Serialize)]
struct Link {
    relation: &'static str,
    seq: u64,
    time: String,
    epoch: u64,
    #[serde(rename = "type")]
    type_name: &'static str,
    detail: String,
    evidence: Value,
    #[serde(skip)]
    event: Event,
}

/// The answer.
#[derive(Serialize)]
struct Answer {
    cache: String,
    stream: StreamId,
    /// The last record that was looked at.
    seq: u64,
    time: Option<String>,
    /// What is to be explained.
    now: String,
    chain: Vec<Link>,
}

impl Why {
    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let mut entries = source.entries(output)?;
        source.must_reach(self.at, entries.first().map(|entry| &entry.record))?;
        entries.retain(|entry| self.at.is_none_or(|at| !at.is_passed_by(&entry.record)));
        let mut names = source.names();
        entries.iter().for_each(|entry| names.learn(&entry.record));
        let last = entries.last().map(|entry| &entry.record);
        let seq = last.map_or(0, Record::seq);
        let Some(stream) = names.find(&self.cache) else {
            let text = format!("no cache {} is known in records 1 to {seq}", self.cache);
            return Err(Error::NotFound(text));
        };
        let folded = fold_at(source.folded(), &entries, None, &names, output)?;
        let state = folded.streams.get(&stream).cloned().unwrap_or_default();
        let history = History { attempts: attempts(&entries, &names), entries: &entries, stream };
        let (now, chain) = match (&self.claim, &self.member) {
            (Some(claim), _) => history.claim(claim)?,
            (None, Some(member)) => history.member(member, &state)?,
            (None, None) => history.present(&state),
        };
        let time = last.map(|record| time_text(record.envelope.time_us));
        let answer = Answer { cache: names.shown(stream), stream, seq, time, now, chain };
        if output.format() == Format::Table {
            table(&answer, output)
        } else {
            output.object(&answer)
        }
    }
}

/// What there is to explain it with.
struct History<'a> {
    entries: &'a [Entry],
    attempts: Vec<Attempt>,
    stream: StreamId,
}

impl History<'_> {
    fn own(&self) -> impl DoubleEndedIterator<Item = &Record> {
        let records = self.entries.iter().map(|entry| &entry.record);
        records.filter(|record| record.envelope.stream == self.stream)
    }

    fn at(&self, seq: u64) -> Option<&Record> {
        let found = self.entries.binary_search_by_key(&seq, |entry| entry.record.seq()).ok();
        found.and_then(|index| self.entries.get(index)).map(|entry| &entry.record)
    }

    fn last(&self, wanted: impl Fn(&Record) -> bool) -> Option<&Record> {
        self.own().rfind(|record| wanted(record))
    }

    /// What is being done or waited for, or how the last operation ended.
    fn present(&self, state: &CacheState) -> (String, Vec<Link>) {
        let mut chain = Vec::new();
        let Some(operation) = &state.operation else {
            return self.at_rest(state);
        };
        let open = operation.cancel.as_ref().or(operation.step.as_ref());
        let kind = operation.kind.name();
        let now = match (&operation.parked, open) {
            (Some(parked), _) => format!("{kind} is parked: {}: {}", parked.reason, parked.message),
            (None, Some(open)) => {
                let (step, attempt) = (open.step.describe(), open.attempt);
                format!("{kind} waits for the outcome of: {step} (attempt {attempt})")
            }
            (None, None) => format!("{kind} is between two steps"),
        };
        for record in self.own().rev().take_while(|record| record.seq() > operation.begun_seq) {
            let decided = matches!(
                record.event,
                Event::Decided { .. }
                    | Event::OperationParked { .. }
                    | Event::OperationResumed { .. }
            );
            if decided {
                chain.push(link("because", record));
            }
        }
        let last = self.attempts.iter().rfind(|attempt| {
            attempt.stream == self.stream && attempt.operation == Some(operation.id)
        });
        if let Some(attempt) = last {
            self.attempt(attempt, &mut chain);
        } else {
            self.operation(Some(operation.id), operation.begun_seq, &mut chain);
        }
        chain.sort_by_key(|link| std::cmp::Reverse(link.seq));
        (now, chain)
    }

    fn at_rest(&self, state: &CacheState) -> (String, Vec<Link>) {
        let mut chain = Vec::new();
        let closed = self.last(|record| {
            matches!(record.event, Event::CacheClosed { .. } | Event::CacheLeft { .. })
        });
        chain.extend(closed.map(|record| link("because", record)));
        let last = state.recent.back();
        let now = match (closed, last) {
            (Some(_), _) if state.left => "the cache was left as it was".to_owned(),
            (Some(_), _) => "the cache is gone".to_owned(),
            (None, Some(last)) => {
                format!("at rest since {} {}", last.kind.name(), end_text(&last.end))
            }
            (None, None) => "at rest: nothing was done yet".to_owned(),
        };
        if let Some(last) = last {
            chain.extend(self.at(last.ended_seq).map(|record| link("because", record)));
            self.operation(Some(last.id), last.ended_seq, &mut chain);
        } else {
            let opened = self.last(|record| matches!(record.event, Event::CacheOpened { .. }));
            chain.extend(opened.map(|record| link("because", record)));
        }
        (now, chain)
    }

    /// Why a claim was deleted, and what proved that it was safe.
    fn claim(&self, wanted: &str) -> Result<(String, Vec<Link>), Error> {
        let mut chain = Vec::new();
        let found = self.attempts.iter().rfind(|attempt| {
            attempt.stream == self.stream && claim_of(&attempt.effect).contains(&wanted)
        });
        if let Some(attempt) = found {
            let now = match attempt.result() {
                "succeeded" => format!("claim {wanted} was deleted"),
                result => format!("claim {wanted} was to be deleted; the last attempt: {result}"),
            };
            self.attempt(attempt, &mut chain);
            if let Step::DeleteVolume { receipt, .. } = &attempt.effect {
                self.receipt(receipt, attempt, &mut chain);
            }
            return Ok((now, chain));
        }
        let kept = self.last(|record| {
            matches!(&record.event, Event::VolumeRetained { claim_uid, .. } if claim_uid == wanted)
        });
        let Some(kept) = kept else {
            let text = format!("no deletion of a claim {wanted} is recorded for this cache");
            return Err(Error::NotFound(text));
        };
        chain.push(link("because", kept));
        self.operation(kept.envelope.operation, kept.seq(), &mut chain);
        Ok((format!("claim {wanted} was kept, because the policy says so"), chain))
    }

    /// What proved that a claim may go.
    fn receipt(&self, receipt: &Receipt, attempt: &Attempt, chain: &mut Vec<Link>) {
        let views =
            match receipt {
                Receipt::Disjoined { seq } => {
                    let Some(record) = self.at(*seq) else { return };
                    chain.push(link("proved by", record));
                    let settled = |attempt: &&Attempt| {
                        attempt.outcome.as_ref().is_some_and(|outcome| outcome.seq == *seq)
                    };
                    let intent = self.attempts.iter().find(settled);
                    chain.extend(intent.and_then(|attempt| {
                        self.at(attempt.seq).map(|record| link("after", record))
                    }));
                    return;
                }
                Receipt::NeverJoined { views }
                | Receipt::FoundAbsent { views }
                | Receipt::Adopted { views } => views,
                Receipt::NeverBound { claim } => claim,
                Receipt::CacheDeleted => return,
            };
        // The record that put the member among the leaving ones holds the same receipt; where
        // there is none, the intent itself is the proof.
        let noted = self.last(|record| {
            record.seq() < attempt.seq
                && matches!(&record.event, Event::MemberAbsent { receipt: noted, .. } if noted == receipt)
        });
        if let Some(record) = noted.or_else(|| self.at(attempt.seq)) {
            let mut proof = link("proved by", record);
            proof.detail = receipt_text(receipt);
            proof.evidence = readable(views);
            chain.push(proof);
        }
    }

    /// Why a member is there, or not.
    fn member(&self, wanted: &str, state: &CacheState) -> Result<(String, Vec<Link>), Error> {
        let mut chain = Vec::new();
        let is_member = state.members.values().any(|member| is_named(&member.name, wanted));
        let last = self.attempts.iter().rfind(|attempt| {
            let about = attempt.about.as_ref().is_some_and(|about| is_named(about, wanted));
            attempt.stream == self.stream && about
        });
        let seen = self.last(|record| concerns(&record.event, wanted));
        let newest = last.map_or(0, |attempt| attempt.seq);
        if let Some(record) = seen {
            chain.push(link("because", record));
            if record.seq() > newest {
                self.operation(record.envelope.operation, record.seq(), &mut chain);
            }
        }
        if let Some(attempt) = last {
            self.attempt(attempt, &mut chain);
        }
        if chain.is_empty() {
            let text = format!("nothing is recorded of a member {wanted} of this cache");
            return Err(Error::NotFound(text));
        }
        chain.sort_by_key(|link| std::cmp::Reverse(link.seq));
        let leaving = state.leaving.values().any(|leaving| is_named(&leaving.name, wanted));
        let now = match (is_member, leaving) {
            (true, _) => format!("member {wanted} is in the group"),
            (false, true) => format!("member {wanted} left; its replicas or claim are still to go"),
            (false, false) => format!("member {wanted} is not in the group"),
        };
        Ok((now, chain))
    }

    /// The outcome of an attempt, what was told of it, its intent, the attempts before it, and
    /// what it was done for.
    fn attempt(&self, attempt: &Attempt, chain: &mut Vec<Link>) {
        let about = |record: &&Record| {
            crate::check::told_of(&record.event).is_some_and(|(key, _)| key == attempt.key)
        };
        let told: Vec<&Record> = self.own().filter(about).collect();
        chain.extend(told.iter().rev().map(|record| link("because", record)));
        chain.extend(self.at(attempt.seq).map(|record| link("intended", record)));
        let before = self.attempts.iter().rev().filter(|other| {
            other.operation == attempt.operation
                && other.effect.target() == attempt.effect.target()
                && other.attempt < attempt.attempt
        });
        for other in before {
            let ended = other.outcome.as_ref().and_then(|outcome| self.at(outcome.seq));
            chain.extend(ended.map(|record| link("after", record)));
        }
        self.operation(attempt.operation, attempt.seq, chain);
    }

    /// The beginning of an operation, and the term of leadership in which the record at `seq` was
    /// written.
    fn operation(&self, id: Option<OperationId>, seq: u64, chain: &mut Vec<Link>) {
        let begun = self.last(|record| {
            record.envelope.operation == id && matches!(record.event, Event::OperationBegun { .. })
        });
        chain.extend(begun.map(|record| link("for", record)));
        let epoch = self.at(seq).map(|record| record.envelope.epoch);
        let term = self.entries.iter().map(|entry| &entry.record).find(|record| {
            Some(record.envelope.epoch) == epoch && matches!(record.event, Event::EpochBegun { .. })
        });
        chain.extend(term.map(|record| link("by", record)));
    }
}

/// The claim that a step deletes: its name and its UID.
fn claim_of(step: &Step) -> Vec<&str> {
    match step {
        Step::DeleteVolume { claim, claim_uid, .. } => vec![claim, claim_uid],
        Step::ResetMember { member } => vec![&member.claim_uid],
        _ => Vec::new(),
    }
}

/// Whether a record without a step says something about a member.
fn concerns(event: &Event, wanted: &str) -> bool {
    match event {
        Event::Bootstrapped { member, .. } | Event::MemberAbsent { member, .. } => {
            is_named(&member.name, wanted)
        }
        Event::MemberSeen { ordinal, .. } | Event::MemberLost { ordinal, .. } => {
            is_named(&format!("member-{ordinal}"), wanted.rsplit('-').next().unwrap_or(wanted))
        }
        _ => false,
    }
}

fn link(relation: &'static str, record: &Record) -> Link {
    Link {
        relation,
        seq: record.seq(),
        time: time_text(record.envelope.time_us),
        epoch: record.envelope.epoch.0,
        type_name: record.event.name(),
        detail: describe(&record.event),
        evidence: evidence_of(&record.event),
        event: record.event.clone(),
    }
}

fn table(answer: &Answer, output: &mut Output<'_>) -> Result<(), Error> {
    let time = answer.time.as_deref().unwrap_or("-");
    let cache = escape(&answer.cache);
    output.line(&format!("cache     {cache} after record {} of {time}", answer.seq))?;
    output.line(&format!("now       {}", escape(&answer.now)))?;
    output.line("")?;
    for link in &answer.chain {
        let name = output.paint(mood(&link.event), link.type_name);
        let Link { relation, seq, time, epoch, .. } = link;
        let detail = escape(&link.detail);
        output.line(&format!("{relation:<9} {seq:>6}  {time}  epoch {epoch}  {name}  {detail}"))?;
        if !is_empty(&link.evidence) {
            output.line(&format!(
                "{:>16}  evidence  {}",
                "",
                escape(&link.evidence.to_string())
            ))?;
        }
    }
    Ok(())
}
