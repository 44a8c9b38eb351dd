//! Conditions: what is said, and since when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::fit::sentence;
use crate::crd::{ConditionReason as Reason, ConditionType};

/// Most characters of a condition's message.
pub(super) const MESSAGE_CHARS_MAX: usize = 512;

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be seen just now.
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it holds.
    pub(super) truth: Truth,
    /// Why, in one word.
    pub(super) reason: Reason,
    /// Why, in one sentence.
    pub(super) message: String,
}

impl Verdict {
    /// It holds.
    pub(super) fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::True, reason, message: message.into() }
    }

    /// It does not hold.
    pub(super) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::False, reason, message: message.into() }
    }

    /// It cannot be seen just now.
    pub(super) fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self { truth: Truth::Unknown, reason, message: message.into() }
    }
}

/// The conditions in the given order. One whose status is as in `previous` keeps its time.
pub(super) fn assemble(
    verdicts: impl IntoIterator<Item = (ConditionType, Verdict)>,
    previous: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|(kind, verdict)| {
            let kind = kind.as_str();
            let status = verdict.truth.as_str();
            let since = previous
                .iter()
                .find(|condition| condition.type_ == kind && condition.status == status)
                .map_or(now, |condition| &condition.last_transition_time);
            Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.as_str().to_owned(),
                message: sentence(&verdict.message, MESSAGE_CHARS_MAX),
                observed_generation: generation,
                last_transition_time: since.clone(),
            }
        })
        .collect()
}
