//! Free text of any length, made to fit into a record: what the API server, a policy engine or a
//! member said is kept as far as there is room, with the digest and the length of all of it.

use super::{Cause, End, Event};

/// Most bytes of a free text in a record.
const TEXT_BYTES_MAX: usize = 1024;

/// Most bytes of evidence in a record.
const EVIDENCE_BYTES_MAX: usize = 2304;

/// What the digest and the length take.
const TAIL_BYTES: usize = 128;

/// The text, or as much of it as a record has room for, with the digest and the length of all of
/// it. Equal texts give equal results, so that a text that was recorded is known again.
#[must_use]
pub fn bounded(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(TEXT_BYTES_MAX - TAIL_BYTES);
    let digest = blake3::hash(text.as_bytes()).to_hex();
    format!("{}… (cut: {} bytes, blake3 {digest})", &text[..cut], text.len())
}

/// The same of evidence, which stays JSON: at most `bytes_max` bytes, of which the digest and the
/// length take up to 128.
#[must_use]
pub fn bounded_evidence(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let mut room = bytes_max.saturating_sub(TAIL_BYTES);
    loop {
        let cut = text.floor_char_boundary(room);
        let kept = serde_json::json!({
            "cut": &text[..cut], "blake3": digest.as_str(), "len": text.len(),
        });
        let kept = kept.to_string();
        if kept.len() <= bytes_max || room == 0 {
            return kept;
        }
        // What has to be escaped takes more room than it has bytes.
        room /= 2;
    }
}

fn of_a_record(evidence: &str) -> String {
    bounded_evidence(evidence, EVIDENCE_BYTES_MAX)
}

impl Event {
    /// Bounds every free text, so that any outcome can be recorded. Gives the texts that were cut,
    /// as they were.
    pub fn bound(&mut self) -> Vec<String> {
        let mut cut = Vec::new();
        let mut bound = |text: &mut String, bounded: fn(&str) -> String| {
            let kept = bounded(text);
            if kept != *text {
                cut.push(std::mem::replace(text, kept));
            }
        };
        match self {
            Self::OperationBegun { cause: Cause { reason, .. }, .. }
            | Self::StepUnknown { reason, .. }
            | Self::StepNotSent { reason, .. }
            | Self::OperationParked { message: reason, .. }
            | Self::OperationEnded {
                end: End::Failed { reason } | End::Superseded { by: reason },
            }
            | Self::CacheClosed { reason }
            | Self::RecordsRetired { reason, .. }
            | Self::GridsLeftOut { reason, .. }
            | Self::ObjectGone { reason, .. } => bound(reason, bounded),
            Self::StepFailed { reason, evidence, .. } | Self::CacheLeft { reason, evidence } => {
                bound(reason, bounded);
                bound(evidence, of_a_record);
            }
            Self::StepSucceeded { flagged, evidence, .. } => {
                if let Some(flagged) = flagged {
                    bound(flagged, bounded);
                }
                bound(evidence, of_a_record);
            }
            Self::StepIntended { evidence, .. }
            | Self::StepVoid { evidence, .. }
            | Self::Bootstrapped { evidence, .. }
            | Self::MemberLost { evidence, .. }
            | Self::MemberAdopted { evidence, .. } => bound(evidence, of_a_record),
            Self::OperationResumed { evidence } => bound(evidence, bounded),
            Self::Decided { who, why, .. } => {
                bound(who, bounded);
                bound(why, bounded);
            }
            Self::Genesis { .. }
            | Self::EpochBegun { .. }
            | Self::Gap { .. }
            | Self::CacheOpened { .. }
            | Self::StepAccepted { .. }
            | Self::OperationEnded { end: End::Succeeded }
            | Self::MemberSeen { .. }
            | Self::TrustPinned { .. }
            | Self::Adopted { .. }
            | Self::GridAdopted { .. }
            | Self::MemberAbsent { .. }
            | Self::VolumeRetained { .. }
            | Self::AdoptionNoted { .. }
            | Self::SpecOlder { .. }
            | Self::SpecConfirmed { .. }
            | Self::TemplateAdopted { .. } => {}
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::STORED_MAX;
    use crate::event::StepKey;
    use crate::record::{Epoch, StreamId};
    use crate::store::{Append, MemoryStore, Store as _};
    use uuid::Uuid;

    /// As large as an answer of a policy engine, and worse to escape.
    fn long() -> String {
        "denied: \"x\"\n\u{1}é".repeat(2000)
    }

    #[test]
    fn what_fits_stays_and_what_does_not_names_its_digest_and_length() {
        assert_eq!(bounded("short"), "short");
        let exact = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(bounded(&exact), exact);
        let cut = bounded(&long());
        assert!(cut.len() <= TEXT_BYTES_MAX, "{}", cut.len());
        assert!(cut.starts_with("denied"));
        assert!(cut.contains(&format!("cut: {} bytes", long().len())), "{cut}");
        assert!(cut.contains(blake3::hash(long().as_bytes()).to_hex().as_str()), "{cut}");
        assert_eq!(bounded(&cut), cut, "what was cut once is not cut again");
    }

    #[test]
    fn evidence_that_is_cut_is_still_json() {
        let cut = of_a_record(&long());
        assert!(cut.len() <= EVIDENCE_BYTES_MAX, "{}", cut.len());
        let json: serde_json::Value = serde_json::from_str(&cut).unwrap();
        assert_eq!(json["len"], long().len());
    }

    #[test]
    fn an_outcome_with_any_text_can_be_recorded() {
        let key = StepKey(Uuid::from_u128(1));
        let mut failed = Event::StepFailed { key, reason: long(), evidence: long() };
        assert_eq!(failed.bound(), [long(), long()]);
        assert!(failed.bound().is_empty());
        let succeeded = Event::StepSucceeded {
            key,
            found_by_probe: false,
            flagged: Some(long()),
            evidence: long(),
        };
        for mut event in [
            failed,
            succeeded,
            Event::Decided { who: long(), decision: "retry".into(), why: long() },
            Event::OperationEnded { end: End::Failed { reason: long() } },
            Event::OperationParked { reason: "InDoubt".into(), message: long() },
            Event::StepUnknown { key, reason: long() },
        ] {
            event.bound();
            let size = serde_json::to_vec(&event).unwrap().len();
            assert!(size < STORED_MAX, "{}: {size}", event.name());
        }
    }

    #[test]
    fn a_bounded_record_is_taken_where_the_unbounded_one_is_refused() {
        let store = MemoryStore::new(Uuid::from_u128(1));
        let append = |event: Event| Append {
            stream: StreamId::JOURNAL,
            expected: store.stream_head(StreamId::JOURNAL).map_or(0, |head| head.stream_seq),
            epoch: Epoch(1),
            operation: None,
            time_us: 0,
            events: vec![event],
            blobs: vec![],
        };
        store.append(append(Event::Genesis { namespace_uid: "n".into() })).unwrap();
        let mut decided =
            Event::Decided { who: "me".into(), decision: "retry".into(), why: long() };
        assert!(store.append(append(decided.clone())).is_err());
        decided.bound();
        let taken = store.append(append(decided));
        // Another rule may refuse it; its size does not.
        let too_large = matches!(
            taken,
            Err(crate::store::AppendError::Codec(crate::codec::Error::TooLarge { .. }))
        );
        assert!(!too_large, "{taken:?}");
    }
}
