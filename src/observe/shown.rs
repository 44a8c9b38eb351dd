//! Reads the grids and the templates of a group, each of them by itself.

use futures::future::join_all;
use xsld_journal::event::Ordinal;
use xsld_journal::state::CacheState;

use super::{Access, Asked};
use crate::observation::{Observation, Shown, Unread};
use crate::xsld::client::Member;
use crate::xsld::view::{Answer, GridStatus, GridView};

/// How many questions are on their way to one member at a time. One that is never answered keeps
/// the others waiting no longer than its own deadline.
const AT_A_TIME: usize = 4;

/// The member through which the group would be acted on.
fn asked_member(access: &Access, state: &CacheState, seen: &Observation) -> Option<Member> {
    let through = crate::decide::views::survivor(seen, state, Ordinal::MAX)?;
    let pod = seen.pods.get(&through.ordinal)?;
    Some(access.member(state, through.ordinal, pod, seen.claims.get(&through.ordinal)))
}

/// Reads the grids through the member that would be acted through. The fields of those that are
/// asked for are read one by one; of the others the list tells enough.
pub(super) async fn grids(
    access: &Access,
    state: &CacheState,
    seen: &Observation,
    asked: &Asked,
) -> Option<Answer<Shown<GridView>>> {
    let member = asked_member(access, state, seen)?;
    let client = access.client(&member);
    let mut shown: Shown<GridView> = match client.grids().await {
        Answer::Known(grids) => grids.into_iter().map(|grid| (grid.name.clone(), grid)).collect(),
        Answer::Refused { status, error } => return Some(Answer::Refused { status, error }),
        Answer::Unknown { reason } => return Some(Answer::Unknown { reason }),
    };
    let mut names = asked.grids.clone();
    if asked.every_grid {
        let others = shown.there().keys().filter(|name| !asked.grids.contains(*name));
        names.extend(others.cloned().collect::<Vec<_>>());
    }
    for some in names.chunks(AT_A_TIME) {
        let answers = join_all(some.iter().map(|name| client.grid(name))).await;
        for (name, answer) in some.iter().zip(answers) {
            match answer {
                Answer::Known(grid) => shown.insert(name.clone(), grid),
                answer if answer.is_absent() => shown.remove(name),
                answer => {
                    let listed = shown.there().get(name).map(|grid| grid.status.clone());
                    shown.cannot_read(name.clone(), unread(answer, listed));
                }
            }
        }
    }
    Some(Answer::Known(shown))
}

/// Reads the templates of these names through the same member, as the digests of their documents.
pub(super) async fn templates(
    access: &Access,
    state: &CacheState,
    seen: &Observation,
    names: &[String],
) -> Option<Answer<Shown<String>>> {
    if names.is_empty() {
        return None;
    }
    let member = asked_member(access, state, seen)?;
    let client = access.client(&member);
    let mut shown = Shown::default();
    for some in names.chunks(AT_A_TIME) {
        let answers = join_all(some.iter().map(|name| client.grid_template(name))).await;
        for (name, answer) in some.iter().zip(answers) {
            match answer {
                Answer::Known(template) => {
                    let (one, other) = (&template.object_grid_xml, &template.deployment_policy_xml);
                    shown.insert(name.clone(), crate::validate::document_digest(one, other));
                }
                answer if answer.is_absent() => {}
                answer => shown.cannot_read(name.clone(), unread(answer, None)),
            }
        }
    }
    Some(Answer::Known(shown))
}

fn unread<T>(answer: Answer<T>, listed: Option<GridStatus>) -> Unread {
    let reason = match answer {
        Answer::Known(_) => String::new(),
        Answer::Refused { status, error } => format!("refused {status}: {error}"),
        Answer::Unknown { reason } => reason,
    };
    Unread { reason, listed }
}
