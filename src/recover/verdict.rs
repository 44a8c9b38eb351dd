//! The journal against the world: pure.

use uuid::Uuid;
use xsld_journal::chain::Hash;
use xsld_journal::state::Gap;

use super::anchor::{Anchor, hex};
use crate::exit;

/// What was found at start.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The anchor, if there is one.
    pub anchor: Option<&'a Anchor>,
    /// Id of the journal in the directory.
    pub journal_id: Uuid,
    /// Its last sequence; 0 when it is empty.
    pub seq: u64,
    /// The namespace UID in its Genesis.
    pub genesis: Option<&'a str>,
    /// UID of the operator's namespace.
    pub namespace_uid: &'a str,
    /// Whether the journal holds anything about a cache.
    pub has_caches: bool,
    /// The journal's hash at the anchor's sequence, if it has that record.
    pub hash_at_anchor: Option<Hash>,
    /// The gap that it began after.
    pub gap: Option<&'a Gap>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Neither journal nor anchor: begin both.
    New,
    /// A crash came between Genesis and the anchor: make the anchor.
    AnchorMissing,
    /// The anchor was deleted: make it again, and let destructive steps wait.
    AnchorLost,
    /// The journal is what the anchor says: resume.
    Normal,
    /// There is no journal, and the anchor names one: its volume was lost. Begin another one that
    /// says so, and rebuild it from the world.
    VolumeLost,
    /// A journal that was begun for that reason, before its anchor took it: go on.
    VolumeLostBefore,
    /// What is there is not the journal that acted last, or lacks its end: it is set aside, and
    /// then as with a lost volume.
    SetAside {
        /// What was found, in a sentence.
        why: String,
    },
    /// Only a person can settle it.
    Refuse {
        /// What was found and what to do.
        reason: String,
        /// Exit code of the process.
        exit_code: u8,
    },
}

/// Judges.
pub fn judge(found: &Found<'_>) -> Verdict {
    if let Some(genesis) = found.genesis
        && genesis != found.namespace_uid
    {
        return refuse(
            exit::BELONGS_ELSEWHERE,
            format!(
                "the journal belongs to another cluster or namespace (its genesis names the namespace \
             uid {genesis}, this one is {}): mount the right volume",
                found.namespace_uid
            ),
        );
    }
    let Some(anchor) = found.anchor else {
        return match (found.genesis, found.has_caches) {
            (None, _) => Verdict::New,
            (Some(_), false) => Verdict::AnchorMissing,
            (Some(_), true) => Verdict::AnchorLost,
        };
    };
    if found.genesis.is_none() {
        return Verdict::VolumeLost;
    }
    if anchor.journal_id != found.journal_id {
        let begun_for_it = found.gap.is_some_and(|gap| {
            gap.old_journal == anchor.journal_id && gap.anchor_seq == anchor.seq
        });
        if begun_for_it {
            return Verdict::VolumeLostBefore;
        }
        let why = format!(
            "the anchor names journal {} at sequence {}, and the volume held journal {} with {} \
             records",
            anchor.journal_id, anchor.seq, found.journal_id, found.seq
        );
        return Verdict::SetAside { why };
    }
    match found.hash_at_anchor {
        None => Verdict::SetAside {
            why: format!(
                "the journal ended at sequence {} and its anchor names sequence {}: records were \
                 lost, or an older copy of the volume was mounted",
                found.seq, anchor.seq
            ),
        },
        Some(hash) if hex(&hash) == anchor.hash => Verdict::Normal,
        Some(_) => refuse(
            exit::VERDICT,
            format!(
                "the journal and its anchor differ at sequence {}: the journal was forked or altered. \
             Nothing is done until a person has decided which copy is the right one",
                anchor.seq
            ),
        ),
    }
}

fn refuse(exit_code: u8, reason: String) -> Verdict {
    Verdict::Refuse { reason, exit_code }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor() -> Anchor {
        Anchor { journal_id: Uuid::from_u128(1), epoch: 2, seq: 7, hash: hex(&[9; 32]) }
    }

    fn found<'a>(anchor: Option<&'a Anchor>) -> Found<'a> {
        Found {
            anchor,
            journal_id: Uuid::from_u128(1),
            seq: 9,
            genesis: Some("ns-uid"),
            namespace_uid: "ns-uid",
            has_caches: true,
            hash_at_anchor: Some([9; 32]),
            gap: None,
        }
    }

    #[test]
    fn a_journal_that_is_what_its_anchor_says_is_resumed() {
        assert_eq!(judge(&found(Some(&anchor()))), Verdict::Normal);
    }

    #[test]
    fn nothing_at_all_is_a_new_journal() {
        let found = Found { genesis: None, has_caches: false, seq: 0, ..found(None) };
        assert_eq!(judge(&found), Verdict::New);
    }

    #[test]
    fn a_missing_anchor_is_made_again_and_told_when_something_had_been_done() {
        let fresh = Found { has_caches: false, ..found(None) };
        assert_eq!(judge(&fresh), Verdict::AnchorMissing);
        assert_eq!(judge(&found(None)), Verdict::AnchorLost);
    }

    #[test]
    fn a_lost_volume_is_begun_anew_and_a_journal_that_acted_before_is_set_aside() {
        let anchor = anchor();
        let base = found(Some(&anchor));
        let nothing = Found { genesis: None, seq: 0, has_caches: false, ..base.clone() };
        assert_eq!(judge(&nothing), Verdict::VolumeLost);
        let cases = [
            (Found { journal_id: Uuid::from_u128(2), ..base.clone() }, "the volume held"),
            (Found { hash_at_anchor: None, seq: 6, ..base.clone() }, "records were lost"),
        ];
        for (found, word) in cases {
            match judge(&found) {
                Verdict::SetAside { why } => assert!(why.contains(word), "{why}"),
                verdict => panic!("{verdict:?} for {word}"),
            }
        }
    }

    #[test]
    fn a_crash_between_the_new_journal_and_its_anchor_sets_nothing_aside() {
        let anchor = anchor();
        let gap = Gap { old_journal: anchor.journal_id, found_seq: 0, anchor_seq: anchor.seq };
        let begun = Found {
            journal_id: Uuid::from_u128(2),
            seq: 2,
            has_caches: false,
            hash_at_anchor: None,
            gap: Some(&gap),
            ..found(Some(&anchor))
        };
        assert_eq!(judge(&begun), Verdict::VolumeLostBefore);
        let older = Gap { anchor_seq: 3, ..gap };
        let other = Found { gap: Some(&older), ..begun };
        assert!(matches!(judge(&other), Verdict::SetAside { .. }), "a gap of another time");
    }

    #[test]
    fn what_only_a_person_can_settle_is_refused_with_its_reason() {
        let anchor = anchor();
        let base = found(Some(&anchor));
        let cases = [
            (Found { namespace_uid: "other", ..base.clone() }, "another cluster"),
            (Found { hash_at_anchor: Some([8; 32]), ..base }, "forked"),
        ];
        for (found, word) in cases {
            match judge(&found) {
                Verdict::Refuse { reason, .. } => assert!(reason.contains(word), "{reason}"),
                verdict => panic!("{verdict:?} for {word}"),
            }
        }
    }
}
