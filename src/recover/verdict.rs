//! The journal against the world: pure.

use uuid::Uuid;
use xsld_journal::chain::Hash;
use xsld_journal::state::Gap;

use super::anchor::{ANCHOR_NAME, Anchor, hex};
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
    /// The last record that it retired; 0 while none was. Of those before nothing can be compared.
    pub retired: u64,
    /// The gap that it began after.
    pub gap: Option<&'a Gap>,
    /// StatefulSets that an operator made.
    pub groups: &'a [String],
    /// Why the API server must have been set back to an older state, if it was.
    pub went_back: Option<String>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Neither journal nor anchor: begin both.
    New,
    /// No anchor and a journal that knows of no cache, but groups that an operator made: begin both,
    /// and adopt them.
    Adopt {
        /// What was found, in a sentence.
        why: String,
    },
    /// A crash came between Genesis and the anchor: make the anchor.
    AnchorMissing,
    /// The anchor was deleted: make it again, and let destructive steps wait.
    AnchorLost,
    /// The journal is what the anchor says: resume.
    Normal,
    /// The journal is what the anchor says, but the API server was set back to an older state: what
    /// is seen counts, and destructive steps wait.
    WentBack {
        /// What was found, in a sentence.
        why: String,
    },
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
    /// The journal and its anchor differ at one record: everything can be read, nothing is done
    /// until a person has decided.
    Forked {
        /// What was found and what to do.
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
            (None, _) | (Some(_), false) if !found.groups.is_empty() => {
                Verdict::Adopt { why: unknown(found.groups) }
            }
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
        // It goes on far beyond its anchor, which never happens to one that is kept.
        None if anchor.seq < found.retired => Verdict::WentBack {
            why: format!(
                "the anchor names sequence {}, and the journal has retired its records up to {}: \
                 the anchor was set back",
                anchor.seq, found.retired
            ),
        },
        None => Verdict::SetAside {
            why: format!(
                "the journal ended at sequence {} and its anchor names sequence {}: records were \
                 lost, or an older copy of the volume was mounted",
                found.seq, anchor.seq
            ),
        },
        Some(hash) if hex(&hash) == anchor.hash => match &found.went_back {
            Some(why) => Verdict::WentBack { why: why.clone() },
            None => Verdict::Normal,
        },
        Some(_) => Verdict::Forked {
            why: format!(
                "the journal and its anchor differ at sequence {}: the journal was forked or \
                 altered. Nothing is done until a person has decided which copy is the right one: \
                 mount that volume, or delete the ConfigMap {ANCHOR_NAME} if it is this one",
                anchor.seq
            ),
        },
    }
}

/// What nobody here has made, as far as this operator knows.
fn unknown(groups: &[String]) -> String {
    const NAMED: usize = 3;
    let more = match groups.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<_> = groups.iter().take(NAMED).map(String::as_str).collect();
    format!(
        "there is no anchor and no record of a cache, but the group of {}{more}",
        named.join(", ")
    )
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
            retired: 0,
            gap: None,
            groups: &[],
            went_back: None,
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
    fn groups_without_journal_and_anchor_are_adopted_and_named() {
        let groups: Vec<String> = (1..=5).map(|number| format!("ns/c{number}")).collect();
        let nothing = Found { genesis: None, has_caches: false, seq: 0, ..found(None) };
        let why = "there is no anchor and no record of a cache, but the group of ns/c1".to_owned();
        let one = Found { groups: &groups[..1], ..nothing.clone() };
        assert_eq!(judge(&one), Verdict::Adopt { why: why.clone() });
        // An instance before it died between the journal and the anchor.
        assert_eq!(judge(&Found { genesis: Some("ns-uid"), ..one }), Verdict::Adopt { why });
        match judge(&Found { groups: &groups, ..nothing }) {
            Verdict::Adopt { why } => assert!(why.ends_with("ns/c3 and 2 more"), "{why}"),
            verdict => panic!("{verdict:?}"),
        }
    }

    #[test]
    fn an_older_api_server_is_told_and_a_fork_is_told_first() {
        let anchor = anchor();
        let went_back = Some("it went back".to_owned());
        let older = Found { went_back, ..found(Some(&anchor)) };
        assert_eq!(judge(&older), Verdict::WentBack { why: "it went back".to_owned() });
        let forked = Found { hash_at_anchor: Some([8; 32]), ..older };
        match judge(&forked) {
            Verdict::Forked { why } => assert!(why.contains("sequence 7"), "{why}"),
            verdict => panic!("{verdict:?}"),
        }
    }

    /// Retiring stops before the anchor's record, so such an anchor is an older one.
    #[test]
    fn an_anchor_among_the_retired_records_was_set_back_and_is_no_loss_and_no_fork() {
        let anchor = anchor();
        let cut = Found { hash_at_anchor: None, seq: 40, retired: 8, ..found(Some(&anchor)) };
        match judge(&cut) {
            Verdict::WentBack { why } => assert!(why.contains("up to 8"), "{why}"),
            verdict => panic!("{verdict:?}"),
        }
        // The last retired record itself can be compared, and tells a fork.
        let last = Found { retired: 7, ..cut.clone() };
        let same = Found { hash_at_anchor: Some([9; 32]), ..last.clone() };
        assert_eq!(judge(&same), Verdict::Normal);
        let other = Found { hash_at_anchor: Some([8; 32]), ..last };
        assert!(matches!(judge(&other), Verdict::Forked { .. }));
        // A journal that ends before its anchor has lost records, whatever it retired.
        let short = Found { seq: 6, retired: 3, ..cut };
        assert!(matches!(judge(&short), Verdict::SetAside { .. }));
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
    fn a_journal_of_another_place_is_refused_with_its_reason() {
        let anchor = anchor();
        match judge(&Found { namespace_uid: "other", ..found(Some(&anchor)) }) {
            Verdict::Refuse { reason, exit_code } => {
                assert!(reason.contains("another cluster"), "{reason}");
                assert_eq!(exit_code, exit::BELONGS_ELSEWHERE);
            }
            verdict => panic!("{verdict:?}"),
        }
    }
}
