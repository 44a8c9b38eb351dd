use super::*;
use crate::event::Step;
use crate::fixtures::{
    append_to, begun, cache, cache_opened, ended, epoch_begun, genesis, id, intended, join,
    journal_append, operation,
};
use crate::store::MemoryStore;

/// A cache whose operation came as far as these events.
fn journal(events: Vec<Event>) -> MemoryStore {
    let store = MemoryStore::new(id(1));
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    store.append(append_to(cache(1), 1, Some(operation(1)), events)).unwrap();
    store
}

fn parked() -> Event {
    Event::OperationParked { reason: "InDoubt".into(), message: "look".into() }
}

fn in_doubt(step: Step) -> Vec<Event> {
    vec![begun(3), intended(operation(1), step, 1), parked()]
}

fn said(store: &MemoryStore, decision: &str) -> Said {
    Said {
        operation: operation(1).to_string(),
        expect_head: store.stream_head(cache(1)).unwrap().seq,
        decision: decision.into(),
        reason: "the node is gone".into(),
        who: "ada".into(),
    }
}

fn refusal(store: &MemoryStore, said: &Said) -> String {
    let before = store.head();
    let refused = record(store, Epoch(1), 9, said).unwrap_err().to_string();
    assert_eq!(store.head(), before, "nothing is recorded");
    refused
}

#[test]
fn every_decision_about_a_step_in_doubt_is_recorded_with_who_and_why() {
    for choice in Choice::ALL {
        let store = journal(in_doubt(join(1)));
        let written = record(&store, Epoch(1), 9, &said(&store, choice.name())).unwrap();
        let expected = Event::Decided {
            who: "ada".into(),
            decision: choice.name().into(),
            why: "the node is gone".into(),
        };
        assert_eq!(written.event, expected);
        assert_eq!(written.envelope.operation, Some(operation(1)));
        let state = store.state(cache(1)).unwrap();
        let open = state.operation.as_ref().unwrap();
        assert_eq!(open.decided.as_ref().map(|word| word.seq), Some(written.seq()));
        assert!(open.parked.is_some() && open.step.is_some(), "a decision edits nothing");
    }
}

#[test]
fn a_head_that_is_not_the_last_record_is_refused() {
    let store = journal(in_doubt(join(1)));
    let head = said(&store, "void").expect_head;
    for wrong in [0, head - 1, head + 1] {
        let stale = Said { expect_head: wrong, ..said(&store, "void") };
        assert!(refusal(&store, &stale).contains(&format!("is {head}, not {wrong}")));
    }
}

#[test]
fn a_step_can_be_decided_on_only_while_one_is_in_doubt() {
    let store = journal(vec![begun(3), parked()]);
    for word in ["done", "void", "wait", ""] {
        assert!(refusal(&store, &said(&store, word)).contains("possible are: retry, abandon"));
    }
    record(&store, Epoch(1), 9, &said(&store, "retry")).unwrap();
}

#[test]
fn an_operation_that_is_not_parked_not_open_or_not_known_is_refused() {
    let store = journal(vec![begun(3), intended(operation(1), join(1), 1)]);
    assert!(refusal(&store, &said(&store, "retry")).contains("is not parked"));
    let store = journal(vec![begun(3), ended()]);
    assert!(refusal(&store, &said(&store, "retry")).contains("is closed: it succeeded"));
    let other = Said { operation: operation(9).to_string(), ..said(&store, "retry") };
    assert!(refusal(&store, &other).contains("no open operation begins with"));
    let none = Said { operation: " ".into(), ..said(&store, "retry") };
    assert!(refusal(&store, &none).contains("no open operation begins with"));
}

#[test]
fn a_second_decision_waits_until_the_operator_has_acted_on_the_first() {
    let store = journal(in_doubt(join(1)));
    record(&store, Epoch(1), 9, &said(&store, "retry")).unwrap();
    assert!(refusal(&store, &said(&store, "void")).contains("ada has decided `retry` already"));
}

#[test]
fn the_beginning_of_an_id_is_enough_while_it_names_one_operation() {
    let store = journal(in_doubt(join(1)));
    let short = operation(1).to_string()[..8].to_owned();
    assert_eq!(find(&store, &short).unwrap().operation, operation(1));
    let events = vec![cache_opened("other")];
    store.append(append_to(cache(2), 0, None, events)).unwrap();
    store.append(append_to(cache(2), 1, Some(operation(2)), vec![begun(3)])).unwrap();
    assert!(matches!(find(&store, &short), Err(Refused::Ambiguous(_))));
    assert_eq!(find(&store, &operation(2).to_string()).unwrap().stream, cache(2));
}

#[test]
fn a_reason_without_words_or_without_end_is_refused() {
    let store = journal(in_doubt(join(1)));
    for reason in [String::new(), "  ".into(), "x".repeat(REASON_MAX + 1)] {
        let said = Said { reason, ..said(&store, "retry") };
        assert!(refusal(&store, &said).contains("the reason must be 1 to 1024 bytes"));
    }
    let longest = Said { reason: "\u{1}".repeat(REASON_MAX), ..said(&store, "retry") };
    record(&store, Epoch(1), 9, &longest).unwrap();
}

#[test]
fn attempts_are_counted_from_nothing_when_a_person_lets_it_go_on_and_not_by_evidence() {
    let target = join(1).target();
    let store = journal(in_doubt(join(1)));
    let go_on = Event::OperationResumed { evidence: "seen".into() };
    let tried = |store: &MemoryStore| {
        let state = store.state(cache(1)).unwrap();
        let open = state.operation.as_ref().unwrap();
        (open.attempts_of(&target), open.tried(&target))
    };
    let append = |store: &MemoryStore, event: Event| {
        let head = store.stream_head(cache(1)).unwrap().stream_seq;
        store.append(append_to(cache(1), head, Some(operation(1)), vec![event])).unwrap();
    };
    append(&store, go_on.clone());
    assert_eq!(tried(&store), (1, 1));
    append(&store, parked());
    record(&store, Epoch(1), 9, &said(&store, "retry")).unwrap();
    append(&store, go_on);
    assert_eq!(tried(&store), (1, 0));
}
