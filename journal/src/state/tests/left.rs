//! A cache that is left as it is.

use super::*;

fn left() -> Event {
    Event::CacheLeft { reason: "its object is gone".into(), evidence: "{}".into() }
}

#[test]
fn what_is_open_ends_with_a_cache_that_is_left_and_nothing_is_said_of_its_step() {
    let doubt = with(after([]), [intended(operation(1), join(1), 1)]);
    for events in [doubt.clone(), with(doubt, [parked()])] {
        let state = folded(&with(events, [left()]));
        assert!(state.closed && state.left && state.operation.is_none());
        let ended = state.recent.back().unwrap();
        assert_eq!(ended.id, operation(1));
        assert_eq!(ended.end, End::Failed { reason: "its object is gone".into() });
        assert!(!state.members.contains_key(&1));
    }
}

#[test]
fn a_cache_at_rest_is_left_without_an_operation() {
    let rest = with(after([join(1)]), [ended()]);
    let before = folded(&rest);
    let state = folded(&with(rest, [left()]));
    assert_eq!((state.recent.len(), &state.members), (before.recent.len(), &before.members));
    assert!(fold_into(state, std::iter::once(&left())).is_err(), "it is left once");
}
