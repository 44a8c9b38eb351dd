//! Bounds: what of a text, and of a whole status, is kept.

use crate::crd::XsldCacheStatus;
use crate::crd::cache_status::{MAX_LISTED_GRIDS, MAX_RECENT_OPERATIONS};

/// Most bytes of a status as JSON.
pub(super) const STATUS_BYTES_MAX: usize = 32 * 1024;

/// Most entries of `memberStates`, by the schema.
pub(super) const MEMBER_STATES_MAX: usize = 128;

/// The text in one line, and as much of it as fits into `chars` with an ellipsis.
pub(super) fn sentence(text: &str, chars: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().nth(chars).is_none() {
        return text.chars().map(plain).collect();
    }
    text.chars().map(plain).take(chars.saturating_sub(1)).chain(['…']).collect()
}

/// Names for a sentence: the first eight, and how many more.
pub(super) fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const SHOWN_MAX: usize = 8;
    let all: Vec<_> = names.into_iter().collect();
    let shown = all.get(..SHOWN_MAX).unwrap_or(&all).join(", ");
    match all.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The status within its bound. What is cheapest to do without goes first: names of grids, then
/// the rest of long lines, then what `kubectl get pods` shows as well. Counts and conditions stay.
pub(super) fn cache(mut status: XsldCacheStatus) -> XsldCacheStatus {
    status.grids.truncate(MAX_LISTED_GRIDS);
    status.recent_operations.truncate(MAX_RECENT_OPERATIONS);
    status.member_states.truncate(MEMBER_STATES_MAX);
    let steps: [fn(&mut XsldCacheStatus); 5] =
        [fewer_grids, shorter_lines, shorter_messages, fewer_revisions, fewer_pod_uids];
    for step in steps {
        if fits(&status) {
            return status;
        }
        step(&mut status);
    }
    // Members that are not wanted stand last.
    while !fits(&status) && status.member_states.pop().is_some() {}
    status
}

fn fits(status: &XsldCacheStatus) -> bool {
    // A status that has no JSON is refused by the API server anyway.
    serde_json::to_vec(status).is_ok_and(|bytes| bytes.len() <= STATUS_BYTES_MAX)
}

fn fewer_grids(status: &mut XsldCacheStatus) {
    const BYTES_MAX: usize = 1024;
    let mut left = BYTES_MAX;
    let fitting = status.grids.iter().take_while(|name| {
        let fits = name.len() <= left;
        left = left.saturating_sub(name.len());
        fits
    });
    let fitting = fitting.count();
    status.grids.truncate(fitting);
}

fn shorter_lines(status: &mut XsldCacheStatus) {
    for line in &mut status.recent_operations {
        *line = sentence(line, 128);
    }
    if let Some(operation) = &mut status.operation {
        operation.reason = operation.reason.as_deref().map(|reason| sentence(reason, 128));
    }
}

fn shorter_messages(status: &mut XsldCacheStatus) {
    for condition in &mut status.conditions {
        condition.message = sentence(&condition.message, 192);
    }
}

fn fewer_revisions(status: &mut XsldCacheStatus) {
    for member in &mut status.member_states {
        member.revision = None;
    }
}

fn fewer_pod_uids(status: &mut XsldCacheStatus) {
    for member in &mut status.member_states {
        member.pod_uid = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_one_bounded_line() {
        assert_eq!(sentence("two\nlines", 100), "two lines");
        assert_eq!(sentence("short", 5), "short");
        assert_eq!(sentence("longer", 5), "long…");
        assert_eq!(sentence("ééééééé", 5).chars().count(), 5);
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(names(["a", "b"]), "a, b");
        let many: Vec<String> = (0..12).map(|n| format!("c-{n}")).collect();
        let told = names(many.iter().map(String::as_str));
        assert_eq!(told, "c-0, c-1, c-2, c-3, c-4, c-5, c-6, c-7 and 4 more");
    }
}
