//! Checks a journal that has retired records: what stands for them, and whether it is what was
//! recorded.

use super::{Checker, Finding, Kind, Report, Severity};
use crate::audit::{Base, Ignored, Segment, time_text};
use crate::event::StepKey;
use crate::replay::Folded;
use crate::state::Operation;

impl Checker {
    /// Checks what comes behind a base: all that is known of the records before stands in it.
    pub(super) fn behind(base: &Base) -> Self {
        let snapshot = &base.snapshot;
        let head = snapshot.head;
        let mut checker = Self {
            next: head.seq + 1,
            previous: Some(head.hash),
            folded: Folded::from(snapshot),
            digests: snapshot.texts.keys().cloned().collect(),
            base: Some((head.seq, base.digest.clone())),
            ..Self::default()
        };
        checker.hashes.insert(head.seq, head.hash);
        checker.report.journal_id = Some(head.journal_id);
        checker.report.head = Some((head.seq, head.hash));
        checker.report.epoch = head.epoch;
        checker.report.retired = head.seq;
        for (stream, (head, state)) in &snapshot.streams {
            checker.stream_seqs.insert(*stream, head.stream_seq);
            let operation = state.operation.as_ref();
            checker.attempts.extend(operation.into_iter().flat_map(attempts_of));
        }
        checker
    }

    /// Compares the base with the record that names it.
    pub(super) fn base_is_named(&mut self) {
        let Some((through, digest)) = self.base.clone() else { return self.base_is_lost() };
        let message = match &self.folded.log.retired {
            Some(retired) if retired.through == through && retired.base == digest => return,
            // A retirement that was recorded and not carried out yet.
            Some(retired) if retired.through > through => return,
            Some(retired) if retired.through == through => format!(
                "the base that stands for the records up to {through} has the digest {digest}, \
                 and record {} names {}",
                retired.seq, retired.base
            ),
            _ if self.lost => return,
            _ => format!("no record names the base that stands for the records up to {through}"),
        };
        let (severity, kind, seq) = (Severity::Error, Kind::Base, Some(through));
        self.report.findings.push(Finding { severity, seq, place: None, kind, message });
    }
}

impl Checker {
    /// Tells where a record retired all those that are not there, and nothing stands for them.
    fn base_is_lost(&mut self) {
        let first = self.hashes.first().unwrap_or(0);
        let Some((seq, through)) = self.retirement.filter(|(_, through)| *through + 1 == first)
        else {
            return;
        };
        let message = format!(
            "records 1 to {through} were retired by record {seq}, but the base that stands for them \
             is not there"
        );
        let (severity, kind, seq) = (Severity::Error, Kind::Base, Some(through));
        self.report.findings.push(Finding { severity, seq, place: None, kind, message });
    }
}

/// All attempts of an operation in whose middle the records were cut: where it begins, and whether
/// each has its outcome.
fn attempts_of(operation: &Operation) -> Vec<(StepKey, (u64, bool))> {
    let open = [&operation.step, &operation.cancel].map(|step| step.as_ref().map(|step| step.key));
    let keys = operation.attempts.values().flatten().copied();
    keys.chain(open.into_iter().flatten())
        .map(|key| (key, (operation.begun_seq, !open.contains(&Some(key)))))
        .collect()
}

/// Says what was retired.
pub(super) fn tell(base: &Base, report: &mut Report) {
    let (through, time) = (base.seq(), time_text(base.retired_us));
    let message = format!("records 1 to {through} were retired on {time}");
    let (severity, kind, seq) = (Severity::Note, Kind::Retired, Some(through));
    report.findings.push(Finding { severity, seq, place: None, kind, message });
}

/// Tells what is wrong with the files, and what of the retired records is still there.
pub(super) fn tell_files(
    base: Option<&Base>,
    (kind, refused): (Kind, &[Ignored]),
    left: &[Segment],
    report: &mut Report,
) {
    for Ignored { file, reason } in refused {
        let (severity, message) = match base {
            Some(_) => (Severity::Warning, format!("{reason}; the next start writes it anew")),
            None => (Severity::Error, format!("{reason}; nothing stands for the records before")),
        };
        let place = Some(file.clone());
        report.findings.push(Finding { severity, seq: None, place, kind, message });
    }
    for segment in left {
        let message = "its records were retired; the next start deletes it".to_owned();
        let (severity, seq) = (Severity::Note, Some(segment.first_seq));
        let (kind, place) = (Kind::Retired, Some(segment.name.clone()));
        report.findings.push(Finding { severity, seq, place, kind, message });
    }
}
