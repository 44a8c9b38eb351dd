//! Checks a journal: is it whole, unaltered and legal, and what in it is still open?
//!
//! It reads only the audit file, writes nothing and goes on after what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde::Serialize;
use uuid::Uuid;

use crate::audit::{
    Base, Found, Ignored, Item, Kept, LOOKS, Lines, Position, Refolding, Segment, Unreadable,
    broken_files, kept, segments,
};
use crate::chain::{self, Hash};
use crate::event::{Event, Step, StepKey};
use crate::record::{Epoch, Record, StreamId};
use crate::replay::Folded;

mod hashes;
mod looking;
mod retired;

use hashes::Hashes;
use looking::look_at_all;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know; the journal is whole all the same.
    Note,
    /// Something is odd or known to be lost.
    Warning,
    /// The journal is not what was written, or not what may be written.
    Error,
}

/// What was found. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line is not what was written.
    Damaged,
    /// A record was written by a newer program.
    NewerFormat,
    /// A readable field differs from the record's bytes.
    Altered,
    /// The chain of hashes is broken.
    Chain,
    /// Records are missing.
    Missing,
    /// Two records claim the same sequence, or another one is at the anchor.
    Fork,
    /// The journal itself says that records were lost before.
    Gap,
    /// Terms of leadership go backwards.
    Epoch,
    /// A record of another journal.
    Journal,
    /// A stream's own count is broken.
    StreamSequence,
    /// An append is there in part.
    TornAppend,
    /// A segment does not begin where its name says.
    Segment,
    /// The transition table refuses a record.
    Illegal,
    /// Intents, attempts, keys and outcomes do not pair.
    Pairing,
    /// A text that a record names is not there.
    MissingText,
    /// An operation has begun and not ended.
    OpenOperation,
    /// Torn bytes that were cut at an earlier start.
    Broken,
    /// An append at the end is being written, or was torn and not cut yet.
    Unfinished,
    /// A checkpoint is not what the records fold to. It is not used; the records count.
    Checkpoint,
    /// What stands for retired records is damaged, lost, or not what the journal says of it.
    Base,
    /// Records were retired: what they fold to stands for them.
    Retired,
}

impl Kind {
    /// The exit code that it asks for, and its rank among them.
    fn exit(self) -> (u8, u8) {
        match self {
            Self::Fork => (4, 4),
            Self::Missing | Self::Gap => (3, 3),
            Self::NewerFormat => (2, 5),
            Self::Damaged
            | Self::Altered
            | Self::Chain
            | Self::Epoch
            | Self::Journal
            | Self::StreamSequence
            | Self::TornAppend
            | Self::Segment
            | Self::Illegal
            | Self::Pairing
            | Self::MissingText
            | Self::Checkpoint
            | Self::Base => (1, 1),
            Self::OpenOperation | Self::Broken | Self::Unfinished | Self::Retired => (0, 0),
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The record that it is about.
    pub seq: Option<u64>,
    /// Segment and line, or file.
    pub place: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// In words.
    pub message: String,
}

/// A sequence and the hash that is known from elsewhere to belong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The sequence.
    pub seq: u64,
    /// The hash.
    pub hash: Hash,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The journal's id; none when it has no readable record.
    pub journal_id: Option<Uuid>,
    /// How many records were read.
    pub records: u64,
    /// Sequence and hash of the last readable record.
    pub head: Option<(u64, Hash)>,
    /// Its term of leadership.
    pub epoch: Epoch,
    /// Everything found, in the order of the records.
    pub findings: Vec<Finding>,
    /// How many checkpoints were found to be what the records fold to.
    pub checkpoints: usize,
    /// The last record that was retired; 0 while none was.
    pub retired: u64,
}

impl Report {
    /// The gravest severity above a note; none when the journal is whole.
    pub fn worst(&self) -> Option<Severity> {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.filter(|severity| *severity > Severity::Note).max()
    }

    /// 0 whole, 1 findings, 3 gap, 4 fork, 5 newer format. A fork outweighs a gap, a gap a newer
    /// format, and that the other findings.
    pub fn exit_code(&self) -> u8 {
        let grave = self.findings.iter().filter(|finding| finding.severity > Severity::Note);
        grave.map(|finding| finding.kind.exit()).max().map_or(0, |(_, code)| code)
    }
}

/// Checks the audit file of a directory, against an anchor where one is at hand, and its
/// checkpoints against what its records fold to.
///
/// # Errors
/// When a file cannot be read.
pub fn check_dir(dir: &Path, anchor: Option<Anchor>) -> io::Result<Report> {
    for _ in 1..LOOKS {
        let before = first_seq(dir)?;
        let report = check_dir_once(dir, anchor);
        // Else what was to be read may have been retired meanwhile, which is no finding.
        if first_seq(dir)? == before {
            return report;
        }
    }
    check_dir_once(dir, anchor)
}

fn first_seq(dir: &Path) -> io::Result<Option<u64>> {
    Ok(segments(dir)?.first().map(|first| first.first_seq))
}

fn check_dir_once(dir: &Path, anchor: Option<Anchor>) -> io::Result<Report> {
    let refolding = Refolding::begin(dir)?;
    let Kept { base, segments, left, refused, is_newer } = kept(dir)?;
    let mut report = check_lines(base.as_ref(), segments, anchor, refolding)?;
    let unusable = if is_newer { Kind::NewerFormat } else { Kind::Base };
    retired::tell_files(base.as_ref(), (unusable, &refused), &left, &mut report);
    for name in broken_files(dir)? {
        let message = "torn or damaged bytes that were taken out of the segment".to_owned();
        let (severity, kind) = (Severity::Note, Kind::Broken);
        report.findings.push(Finding { severity, seq: None, place: Some(name), kind, message });
    }
    Ok(report)
}

/// Checks some segments, such as an export, behind the base that it has, if any, against an anchor
/// where one is at hand.
///
/// # Errors
/// When a file cannot be read.
pub fn check_segments(
    base: Option<&Base>,
    segments: Vec<Segment>,
    anchor: Option<Anchor>,
) -> io::Result<Report> {
    check_lines(base, segments, anchor, Refolding::default())
}

/// Checks line by line: however long a journal is, only what its records fold to is in memory.
fn check_lines(
    base: Option<&Base>,
    segments: Vec<Segment>,
    anchor: Option<Anchor>,
    refolding: Refolding,
) -> io::Result<Report> {
    let mut checker = base.map_or_else(Checker::default, Checker::behind);
    checker.refolding = refolding;
    if let Some(base) = base {
        // A checkpoint may stand just where the retired records end.
        checker.compare_checkpoint(base.seq(), &base.snapshot.head.hash);
    }
    let unfinished = look_at_all(Lines::new(segments), |item| checker.item(item))?;
    let mut report = checker.end(anchor);
    if let Some(base) = base {
        retired::tell(base, &mut report);
    }
    if let Some(position) = unfinished {
        let message = "an append that is being written, or that a crash tore".to_owned();
        let place = Some(position.to_string());
        let (severity, kind) = (Severity::Note, Kind::Unfinished);
        report.findings.push(Finding { severity, seq: None, place, kind, message });
    }
    Ok(report)
}

/// Checks what was read of a journal.
pub fn check_items(items: &[Item], anchor: Option<Anchor>) -> Report {
    let mut checker = Checker::default();
    items.iter().for_each(|item| checker.item(item));
    checker.end(anchor)
}

#[derive(Default)]
struct Checker {
    report: Report,
    /// Sequence that comes next.
    next: u64,
    /// Hash of the record before; none after a line that could not be read.
    previous: Option<Hash>,
    hashes: Hashes,
    stream_seqs: BTreeMap<StreamId, u64>,
    folded: Folded,
    /// Streams that lack a record, so that their later records prove nothing.
    blind: BTreeSet<StreamId>,
    /// A line was lost that may have belonged to any stream.
    lost: bool,
    rest: Option<(StreamId, u32)>,
    /// All attempts: where they were intended, and whether they have an outcome.
    attempts: BTreeMap<StepKey, (u64, bool)>,
    digests: BTreeSet<String>,
    refolding: Refolding,
    /// What stands for the retired records, by its sequence and digest.
    base: Option<(u64, String)>,
    /// The last retirement that was read: its record, and the last record that it retired.
    retirement: Option<(u64, u64)>,
}

impl Checker {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Record(found) => self.record(found),
            Item::Unreadable(unreadable) => self.unreadable(unreadable),
        }
    }

    fn end(mut self, anchor: Option<Anchor>) -> Report {
        self.open_operations();
        self.base_is_named();
        if let Some(anchor) = anchor {
            self.anchor(anchor);
        }
        let (refused, good) = self.refolding.end();
        self.report.checkpoints = good;
        for Ignored { file, reason } in refused {
            let message = format!("this checkpoint is not used: {reason}");
            let (severity, kind, place) = (Severity::Warning, Kind::Checkpoint, Some(file));
            self.report.findings.push(Finding { severity, seq: None, place, kind, message });
        }
        self.report
    }

    fn record(&mut self, found: &Found) {
        let record = &found.entry.record;
        let at = At { seq: record.seq(), place: &found.position };
        if let Event::RecordsRetired { through, .. } = record.event {
            self.retirement = Some((at.seq, through));
        }
        self.line(found, &at);
        self.sequence(at.seq, &record.envelope.previous, &record.hash, &at);
        self.envelope(record, &at);
        self.texts(found, &at);
        self.pair(record, &at);
        self.transition(record, &at);
        self.compare_checkpoint(at.seq, &record.hash);
        self.report.records += 1;
        self.report.head = Some((at.seq, record.hash));
    }

    fn compare_checkpoint(&mut self, seq: u64, hash: &Hash) {
        if self.refolding.is_at(seq) {
            let digest = self.folded.digest();
            self.refolding.compare(seq, hash, &digest);
        }
    }

    fn unreadable(&mut self, unreadable: &Unreadable) {
        let newer = unreadable.error.is_newer_format();
        let kind = if newer { Kind::NewerFormat } else { Kind::Damaged };
        let seq = unreadable.chained.map_or(self.next.max(1), |(seq, _, _)| seq);
        let at = At { seq, place: &unreadable.position };
        let told = unreadable.told_type.as_deref().unwrap_or("line").to_owned();
        self.error(kind, &at, format!("this {told} cannot be read: {}", unreadable.error));
        match &unreadable.chained {
            Some((seq, previous, hash)) => self.sequence(*seq, previous, hash, &at),
            None => {
                self.next = self.next.max(1) + 1;
                self.previous = None;
            }
        }
        self.lost = true;
        self.rest = None;
    }

    fn line(&mut self, found: &Found, at: &At<'_>) {
        let altered = found.altered_fields();
        if !altered.is_empty() {
            let fields = altered.join(", ");
            self.error(Kind::Altered, at, format!("not what the record's bytes say: {fields}"));
        }
        if let Some(promised) = found.promised_seq
            && promised != at.seq
        {
            let message = format!("the segment's name says that it begins with {promised}");
            self.error(Kind::Segment, at, message);
        }
    }

    fn sequence(&mut self, seq: u64, previous: &Hash, hash: &Hash, at: &At<'_>) {
        let expected = self.next.max(1);
        if seq > expected {
            let last = seq - 1;
            let which = if last == expected {
                format!("record {expected} is missing")
            } else {
                format!("records {expected} to {last} are missing")
            };
            self.error(Kind::Missing, at, which);
            (self.previous, self.lost) = (None, true);
        }
        match self.hashes.insert(seq, *hash) {
            Some(other) if other != *hash => {
                self.error(Kind::Fork, at, "two different records have this sequence".into());
            }
            Some(_) => self.error(Kind::Chain, at, "this record stands here twice".into()),
            None if seq < expected => {
                self.error(Kind::Chain, at, format!("{expected} belongs here"));
            }
            None => {}
        }
        let expected = if seq == 1 { Some(chain::ZERO) } else { self.previous };
        if expected.is_some_and(|expected| expected != *previous) {
            self.error(Kind::Chain, at, "the record before has another hash".into());
        }
        (self.next, self.previous) = (seq + 1, Some(*hash));
    }

    fn envelope(&mut self, record: &Record, at: &At<'_>) {
        let envelope = &record.envelope;
        let journal = *self.report.journal_id.get_or_insert(envelope.journal_id);
        if journal != envelope.journal_id {
            let message = format!("it belongs to journal {}", envelope.journal_id);
            self.error(Kind::Journal, at, message);
        }
        if envelope.epoch < self.report.epoch {
            let message = format!("epoch {} follows epoch {}", envelope.epoch, self.report.epoch);
            self.error(Kind::Epoch, at, message);
        }
        self.report.epoch = self.report.epoch.max(envelope.epoch);
        let left = envelope.rest.saturating_add(1);
        if self.rest.is_some_and(|rest| rest != (envelope.stream, left)) {
            self.error(Kind::TornAppend, at, "the rest of the append before is missing".into());
        }
        self.rest = (envelope.rest > 0).then_some((envelope.stream, envelope.rest));
        let last = self.stream_seqs.insert(envelope.stream, envelope.stream_seq).unwrap_or(0);
        if envelope.stream_seq != last + 1 {
            // Where a line was lost, that is told already.
            if !self.lost {
                let message = format!(
                    "stream sequence {} stands where {} belongs",
                    envelope.stream_seq,
                    last + 1
                );
                self.error(Kind::StreamSequence, at, message);
            }
            self.blind.insert(envelope.stream);
        }
    }

    fn texts(&mut self, found: &Found, at: &At<'_>) {
        self.digests.extend(found.entry.blobs.keys().cloned());
        for digest in &found.external {
            if !self.digests.contains(digest) && !self.lost {
                self.error(Kind::MissingText, at, format!("the text {digest} is not there"));
            }
        }
    }

    /// Looks at keys and attempts apart from the transition table, across all operations.
    fn pair(&mut self, record: &Record, at: &At<'_>) {
        if let Event::StepIntended { step, attempt, key, .. } = &record.event {
            return self.intent(record, step, *attempt, *key, at);
        }
        let Some((key, ends)) = told_of(&record.event) else { return };
        let message = match self.attempts.get_mut(&key) {
            None if self.lost => return,
            None => format!("no intent has key {key}"),
            Some((seq, true)) => format!("the attempt of record {seq} has its outcome already"),
            Some((_, settled)) => {
                *settled = ends;
                return;
            }
        };
        self.error(Kind::Pairing, at, message);
    }

    fn intent(&mut self, record: &Record, step: &Step, attempt: u32, key: StepKey, at: &At<'_>) {
        let operation = record.envelope.operation;
        let right =
            operation.map(|operation| StepKey::of(operation, &step.target(), attempt)) == Some(key);
        if !right {
            self.error(Kind::Pairing, at, format!("key {key} is not this attempt's"));
        }
        if let Some((seq, _)) = self.attempts.insert(key, (at.seq, false)) {
            let message = format!("key {key} was used by record {seq} already");
            self.error(Kind::Pairing, at, message);
        }
    }

    fn transition(&mut self, record: &Record, at: &At<'_>) {
        if let Event::Gap { found_seq, anchor_seq, .. } = &record.event {
            let message = format!(
                "records were lost before this one: {found_seq} were found, {anchor_seq} had been \
                 written"
            );
            self.add(Severity::Warning, Kind::Gap, at, message);
        }
        let is_genesis = matches!(record.event, Event::Genesis { .. });
        if is_genesis != (at.seq == 1) {
            self.error(Kind::Illegal, at, "the first record of a journal is its genesis".into());
        }
        let stream = record.envelope.stream;
        if self.blind.contains(&stream) {
            return;
        }
        if let Err(illegal) = self.folded.apply_in_place(record) {
            // What follows in this stream would only be more of the same.
            self.blind.insert(stream);
            self.error(Kind::Illegal, at, illegal.source.to_string());
        }
    }

    fn open_operations(&mut self) {
        let mut notes = Vec::new();
        for (stream, state) in &self.folded.streams {
            let Some(operation) = &state.operation else { continue };
            let step = operation.step.as_ref().map_or_else(
                || "no step is in doubt".to_owned(),
                |open| format!("in doubt: {}", open.step.describe()),
            );
            let blind =
                if self.blind.contains(stream) { " (as far as it can be read)" } else { "" };
            let message = format!(
                "operation {} ({}) of {}/{} is open; {step}{blind}",
                operation.id,
                operation.kind.name(),
                state.namespace,
                state.name
            );
            notes.push((operation.begun_seq, message));
        }
        for (seq, message) in notes {
            self.note(Kind::OpenOperation, Some(seq), message);
        }
    }

    fn note(&mut self, kind: Kind, seq: Option<u64>, message: String) {
        let severity = Severity::Note;
        self.report.findings.push(Finding { severity, seq, place: None, kind, message });
    }

    fn anchor(&mut self, anchor: Anchor) {
        if anchor.seq == 0 {
            return;
        }
        let (kind, message) = match self.hashes.get(anchor.seq) {
            Some(hash) if *hash == anchor.hash => return,
            Some(_) => (Kind::Fork, "the anchor names another record".to_owned()),
            None if self.base.as_ref().is_some_and(|(through, _)| anchor.seq < *through) => {
                let message = format!("record {} was retired: nothing to compare", anchor.seq);
                return self.note(Kind::Retired, Some(anchor.seq), message);
            }
            None => {
                let head = self.report.head.map_or(0, |(seq, _)| seq);
                let message = format!(
                    "the anchor names record {}, but the journal ends with {head}",
                    anchor.seq
                );
                (Kind::Missing, message)
            }
        };
        let (severity, seq) = (Severity::Error, Some(anchor.seq));
        self.report.findings.push(Finding { severity, seq, place: None, kind, message });
    }

    fn error(&mut self, kind: Kind, at: &At<'_>, message: String) {
        self.add(Severity::Error, kind, at, message);
    }

    fn add(&mut self, severity: Severity, kind: Kind, at: &At<'_>, message: String) {
        let (seq, place) = (Some(at.seq), Some(at.place.to_string()));
        self.report.findings.push(Finding { severity, seq, place, kind, message });
    }
}

/// The record that is being looked at.
struct At<'a> {
    seq: u64,
    place: &'a Position,
}

/// The attempt that a record tells something of, and whether it is its outcome. None for an intent
/// and for what is not about an attempt.
pub(crate) fn told_of(event: &Event) -> Option<(StepKey, bool)> {
    match event {
        Event::StepAccepted { key, .. } | Event::StepUnknown { key, .. } => Some((*key, false)),
        Event::StepSucceeded { key, .. }
        | Event::StepFailed { key, .. }
        | Event::StepVoid { key, .. }
        | Event::StepNotSent { key, .. } => Some((*key, true)),
        Event::Genesis { .. }
        | Event::EpochBegun { .. }
        | Event::Gap { .. }
        | Event::CacheOpened { .. }
        | Event::OperationBegun { .. }
        | Event::StepIntended { .. }
        | Event::OperationParked { .. }
        | Event::OperationResumed { .. }
        | Event::OperationEnded { .. }
        | Event::Bootstrapped { .. }
        | Event::MemberSeen { .. }
        | Event::MemberLost { .. }
        | Event::TrustPinned { .. }
        | Event::Adopted { .. }
        | Event::GridAdopted { .. }
        | Event::TemplateAdopted { .. }
        | Event::MemberAbsent { .. }
        | Event::VolumeRetained { .. }
        | Event::Decided { .. }
        | Event::RecordsRetired { .. }
        | Event::CacheLeft { .. }
        | Event::ObjectGone { .. }
        | Event::MemberAdopted { .. }
        | Event::AdoptionNoted { .. }
        | Event::GridsLeftOut { .. }
        | Event::SpecOlder { .. }
        | Event::SpecConfirmed { .. }
        | Event::CacheClosed { .. } => None,
    }
}

#[cfg(test)]
mod tests;
