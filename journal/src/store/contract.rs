//! The contract of [`Store`], run on every backend.

use std::sync::Arc;

use super::{Append, AppendError, MemoryStore, Store};
use crate::chain;
use crate::event::{Event, OperationId, Step, Text};
use crate::fixtures::{
    append_to, begun, cache, cache_opened, ended, epoch_begun, genesis, id, intended,
    journal_append, operation, scale, succeeded,
};
use crate::record::{Epoch, Record, StreamId, text_for_event};

/// Everything that a backend promises. `open` makes a new, empty journal with id `id(1)`.
pub(super) fn holds(open: &dyn Fn() -> Arc<dyn Store>) {
    begins_empty(&*open());
    takes_only_a_genesis_first(&*open());
    numbers_and_chains_what_it_appends(&*open());
    keeps_streams_apart(&*open());
    refuses_and_changes_nothing(&*open());
    takes_an_append_as_a_whole_or_not_at_all(&*open());
    keeps_long_texts(&*open());
    serialises_many_writers(&open());
}

#[test]
fn the_memory_store_keeps_the_contract() {
    holds(&|| Arc::new(MemoryStore::new(id(1))));
}

fn begins_empty(store: &dyn Store) {
    let head = store.head();
    assert_eq!((head.journal_id, head.epoch, head.seq), (id(1), Epoch(0), 0));
    assert_eq!(head.hash, chain::ZERO);
    assert!(store.streams().is_empty() && store.scan(0).unwrap().is_empty());
    assert_eq!(store.hash_at(0), None);
    assert_eq!(store.hash_at(1), None);
    assert_eq!(store.poisoned(), None);
    assert_eq!(store.append(journal_append(0, vec![])), Err(AppendError::Empty));
}

fn takes_only_a_genesis_first(store: &dyn Store) {
    let refused = store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")]));
    assert!(matches!(refused, Err(AppendError::Illegal(_))), "{refused:?}");
    begin(store);
    let refused = store.append(journal_append(2, vec![genesis()]));
    assert!(matches!(refused, Err(AppendError::Illegal(_))), "{refused:?}");
    assert_eq!(store.head().seq, 2);
}

fn numbers_and_chains_what_it_appends(store: &dyn Store) {
    begin(store);
    scale_up(store, cache(1), operation(1));
    let records = store.scan(0).unwrap();
    assert_chained(&records);
    let head = store.head();
    assert_eq!((head.seq, head.epoch), (7, Epoch(1)));
    assert_eq!(Some(head.hash), records.last().map(|record| record.hash));
    for record in &records {
        assert_eq!(store.hash_at(record.seq()), Some(record.hash));
        assert_eq!(record.envelope.type_name, record.event.name());
    }
    assert_eq!(store.scan(5).unwrap(), records[4..]);
    assert!(store.scan(8).unwrap().is_empty());
    assert_eq!(store.log_state().namespace_uid.as_deref(), Some("namespace-uid"));
    assert_eq!(store.state(cache(1)).unwrap().committed.replicas, Some(3));
    assert_eq!(store.state(StreamId::JOURNAL), None);
}

fn keeps_streams_apart(store: &dyn Store) {
    begin(store);
    store.append(append_to(cache(2), 0, None, vec![cache_opened("two")])).unwrap();
    store.append(append_to(cache(1), 0, None, vec![cache_opened("one")])).unwrap();
    let appended =
        store.append(append_to(cache(2), 1, Some(operation(1)), vec![begun(3)])).unwrap();
    assert_eq!(appended.records[0].seq(), 5);
    assert_eq!(appended.records[0].envelope.stream_seq, 2);
    assert_eq!(*appended.state, *store.state(cache(2)).unwrap());
    let names: Vec<_> = store.streams().into_iter().map(|(_, state)| state.name.clone()).collect();
    assert_eq!(names, ["one", "two"]);
    let head = store.stream_head(cache(2)).unwrap();
    assert_eq!((head.seq, head.stream_seq, head.epoch), (5, 2, Epoch(1)));
    assert_eq!(store.stream_head(StreamId::JOURNAL).unwrap().stream_seq, 2);
    assert_eq!(store.stream_head(cache(3)), None);
}

fn refuses_and_changes_nothing(store: &dyn Store) {
    begin(store);
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    store.append(Append { epoch: Epoch(4), ..journal_append(2, vec![epoch_begun()]) }).unwrap();
    let before = (store.head(), store.scan(0).unwrap(), store.state(cache(1)));

    let stale = store.append(append_to(cache(1), 1, Some(operation(1)), vec![begun(3)]));
    let expected = AppendError::StaleEpoch { given: Epoch(1), current: Epoch(4) };
    assert_eq!(stale, Err(expected));

    let now = |append: Append| store.append(Append { epoch: Epoch(4), ..append });
    let conflict = now(append_to(cache(1), 0, Some(operation(1)), vec![begun(3)]));
    let expected = AppendError::Conflict { stream: cache(1), expected: 0, actual: 1 };
    assert_eq!(conflict, Err(expected));

    let illegal = now(append_to(cache(1), 1, Some(operation(1)), vec![ended()]));
    assert!(matches!(illegal, Err(AppendError::Illegal(_))), "{illegal:?}");

    let old_term = now(journal_append(3, vec![epoch_begun()]));
    assert!(matches!(old_term, Err(AppendError::Illegal(_))), "{old_term:?}");

    let large = Event::CacheClosed { reason: "x".repeat(5000) };
    let large = now(append_to(cache(1), 1, None, vec![large]));
    assert!(matches!(large, Err(AppendError::Codec(_))), "{large:?}");

    assert_eq!(before, (store.head(), store.scan(0).unwrap(), store.state(cache(1))));
    assert_eq!(store.poisoned(), None);
    now(append_to(cache(1), 1, Some(operation(1)), vec![begun(3)])).unwrap();
}

fn takes_an_append_as_a_whole_or_not_at_all(store: &dyn Store) {
    begin(store);
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let before = (store.head(), store.state(cache(1)));
    let events = vec![begun(3), intended(operation(1), scale(0, 3), 1), ended()];
    let refused = store.append(append_to(cache(1), 1, Some(operation(1)), events));
    assert!(matches!(refused, Err(AppendError::Illegal(_))), "{refused:?}");
    assert_eq!(before, (store.head(), store.state(cache(1))));

    let events = vec![begun(3), intended(operation(1), scale(0, 3), 1)];
    let records = store.append(append_to(cache(1), 1, Some(operation(1)), events)).unwrap().records;
    let rests: Vec<_> = records.iter().map(|record| record.envelope.rest).collect();
    assert_eq!(rests, [1, 0]);
}

fn keeps_long_texts(store: &dyn Store) {
    begin(store);
    store.append(append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let long = "{\"template\":\"é\"}".repeat(400);
    let (template, blob) = text_for_event(long.clone());
    let step = Step::SetTemplate { digest: "d".into(), template: template.clone() };
    let events = vec![begun(3), intended(operation(1), step, 1)];
    let append = append_to(cache(1), 1, Some(operation(1)), events);
    let refused = store.append(append.clone());
    assert!(matches!(refused, Err(AppendError::MissingText { .. })), "{refused:?}");
    store.append(Append { blobs: blob.into_iter().collect(), ..append }).unwrap();
    assert_eq!(store.text(&template), Some(long));
    assert_eq!(store.text(&Text::Inline("a".into())), Some("a".into()));
    assert_eq!(store.text(&Text::External { digest: "none".into(), len: 1 }), None);
    let huge = Append {
        blobs: vec!["x".repeat(super::TEXT_MAX + 1)],
        ..append_to(cache(2), 0, None, vec![cache_opened("two")])
    };
    assert!(matches!(store.append(huge), Err(AppendError::TextTooLarge { .. })));
}

fn serialises_many_writers(store: &Arc<dyn Store>) {
    begin(&**store);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || {
                let stream = cache(writer);
                store.append(append_to(stream, 0, None, vec![cache_opened("demo")])).unwrap();
                for round in 0..10 {
                    let id = operation(writer * 100 + round);
                    let expected = store.stream_head(stream).unwrap().stream_seq;
                    let events = vec![begun(3)];
                    store.append(append_to(stream, expected, Some(id), events)).unwrap();
                    let illegal =
                        store.append(append_to(stream, expected + 1, None, vec![ended()]));
                    assert!(matches!(illegal, Err(AppendError::Illegal(_))));
                    store.append(append_to(stream, expected + 1, Some(id), vec![ended()])).unwrap();
                }
            });
        }
    });
    let records = store.scan(0).unwrap();
    assert_eq!(records.len(), 2 + 8 * 21);
    assert_chained(&records);
}

fn begin(store: &dyn Store) {
    store.append(journal_append(0, vec![genesis(), epoch_begun()])).unwrap();
}

fn scale_up(store: &dyn Store, stream: StreamId, operation: OperationId) {
    store.append(append_to(stream, 0, None, vec![cache_opened("demo")])).unwrap();
    let step = scale(0, 3);
    let rounds = [
        vec![begun(3), intended(operation, step.clone(), 1)],
        vec![succeeded(operation, &step, 1)],
        vec![ended()],
    ];
    for events in rounds {
        let expected = store.stream_head(stream).unwrap().stream_seq;
        store.append(append_to(stream, expected, Some(operation), events)).unwrap();
    }
}

fn assert_chained(records: &[Record]) {
    let mut previous = chain::ZERO;
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.seq(), index as u64 + 1);
        assert_eq!(record.envelope.previous, previous);
        previous = record.hash;
    }
}
