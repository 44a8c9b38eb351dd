use super::*;
use crate::event::Step;
use crate::fixtures::{
    append_to, begun, cache, cache_opened, disjoin, ended, entries_of, genesis, id, intended,
    journal_append, operation, scale, story, succeeded,
};

fn replayed(entries: &[Entry]) -> Result<Ledger, ReplayError> {
    let mut ledger = Ledger::new(id(9));
    entries.iter().try_for_each(|entry| ledger.replay(entry))?;
    Ok(ledger)
}

#[test]
fn replaying_what_was_admitted_gives_the_same_ledger() {
    let mut live = Ledger::new(id(1));
    let mut entries = Vec::new();
    for append in story() {
        entries.extend(live.admit(&append).unwrap().entries);
    }
    let again = replayed(&entries).unwrap();
    assert_eq!((again.head(), again.log_state()), (live.head(), live.log_state()));
    assert_eq!(again.streams(), live.streams());
    assert_eq!(again.hashes(), live.hashes());
    assert!(again.is_whole());
}

#[test]
fn preparing_changes_nothing() {
    let mut ledger = Ledger::new(id(1));
    let first = journal_append(0, vec![genesis()]);
    let admitted = ledger.prepare(&first).unwrap();
    assert_eq!((ledger.head().seq, ledger.streams().len()), (0, 0));
    ledger.accept(&admitted);
    assert_eq!(ledger.head().seq, 1);
}

#[test]
fn a_record_that_does_not_follow_is_refused_with_the_reason() {
    let entries = entries_of(&story());
    let with = |at: usize, change: &dyn Fn(&mut Entry)| {
        let mut changed = entries.clone();
        change(&mut changed[at]);
        replayed(&changed).unwrap_err()
    };
    let seq = with(3, &|entry| entry.record.envelope.seq = Seq(7));
    assert_eq!(seq, ReplayError::Sequence { expected: 4, found: 7 });
    let journal = with(3, &|entry| entry.record.envelope.journal_id = id(2));
    assert_eq!(journal, ReplayError::Journal { expected: id(1), found: id(2) });
    assert_eq!(with(3, &|entry| entry.record.envelope.previous[0] ^= 1), ReplayError::Previous);
    assert_eq!(with(3, &|entry| entry.bytes.push(0)), ReplayError::Hash);
    assert_eq!(with(3, &|entry| entry.record.hash[0] ^= 1), ReplayError::Hash);
    let epoch = with(10, &|entry| entry.record.envelope.epoch = Epoch(1));
    assert_eq!(epoch, ReplayError::Epoch { last: Epoch(2), found: Epoch(1) });
    let stream = with(3, &|entry| entry.record.envelope.stream_seq = 9);
    assert_eq!(stream, ReplayError::StreamSequence { expected: 2, found: 9 });
    assert_eq!(with(4, &|entry| entry.record.envelope.rest = 3), ReplayError::TornAppend);
    let illegal = with(4, &|entry| entry.record.event = begun(9));
    assert!(matches!(illegal, ReplayError::Illegal(_)), "{illegal}");
}

#[test]
fn an_append_that_is_there_in_part_is_not_whole() {
    let entries = entries_of(&story());
    assert!(!replayed(&entries[..4]).unwrap().is_whole());
    assert!(replayed(&entries[..5]).unwrap().is_whole());
}

#[test]
fn texts_are_found_wherever_an_event_names_them() {
    let text = Text::External { digest: "aa".into(), len: 1 };
    let step = crate::event::Step::SetTemplate { digest: "d".into(), template: text.clone() };
    assert_eq!(external_digests(&intended(operation(1), step, 1)), ["aa"]);
    let adopted =
        Event::Adopted { members: vec![], replicas: None, template: Some(("d".into(), text)) };
    assert_eq!(external_digests(&adopted), ["aa"]);
    assert_eq!(external_digests(&genesis()), [""; 0]);
}

#[test]
fn a_destructive_intent_and_an_end_are_boundaries() {
    let mut ledger = Ledger::new(id(1));
    let id = operation(1);
    ledger.admit(&journal_append(0, vec![genesis()])).unwrap();
    ledger.admit(&append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let boundary = |events: Vec<Event>| {
        let append = append_to(cache(1), 1, Some(id), events);
        ledger.prepare(&append).unwrap().is_boundary()
    };
    assert!(!boundary(vec![begun(3)]));
    assert!(!boundary(vec![begun(3), intended(id, scale(0, 3), 1)]));
    let raised = [begun(3), intended(id, scale(0, 3), 1), succeeded(id, &scale(0, 3), 1)];
    assert!(boundary([&raised[..], &[intended(id, scale(3, 0), 1)]].concat()));
    assert!(boundary(vec![begun(3), intended(id, disjoin(1), 1)]));
    assert!(boundary(vec![begun(3), crate::fixtures::ended()]));
}

#[test]
fn a_text_is_forgotten_once_no_kept_record_and_no_state_has_it() {
    let mut ledger = Ledger::new(id(1));
    ledger.admit(&journal_append(0, vec![genesis()])).unwrap();
    ledger.admit(&append_to(cache(1), 0, None, vec![cache_opened("demo")])).unwrap();
    let named = |number: u64| {
        let (template, blob) = crate::record::text_for_event(format!("{number}").repeat(3000));
        let step = Step::SetTemplate { digest: format!("d{number}"), template: template.clone() };
        (template, step, blob)
    };
    let mut expected = 1;
    for number in [1, 2, 1, 3] {
        let (_, step, blob) = named(number);
        let id = operation(u128::from(expected));
        let events =
            vec![begun(3), intended(id, step.clone(), 1), succeeded(id, &step, 1), ended()];
        // The second time nobody hands it over: it stands beside the new record all the same.
        let blobs = if expected == 9 { vec![] } else { blob.into_iter().collect() };
        let append = append_to(cache(1), expected, Some(id), events);
        let admitted = ledger.admit(&Append { blobs, ..append }).unwrap();
        assert_eq!(admitted.entries[1].blobs.len(), 1, "{number}");
        expected += 4;
    }
    let known = |ledger: &Ledger| [1, 2, 3].map(|it| ledger.text(&named(it).0).is_some());
    assert_eq!((ledger.forget_texts(3), known(&ledger)), (3, [true; 3]), "none stands before");
    assert_eq!((ledger.forget_texts(8), known(&ledger)), (2, [true, false, true]));
    assert_eq!((ledger.forget_texts(99), known(&ledger)), (1, [false, false, true]));
}
