use proptest::prelude::*;

use super::*;
use crate::chain::ZERO;
use crate::event::{End, Goal, OperationKind, Receipt, Step};
use crate::fixtures::every::{ends, events, goals, kinds, nested_events, receipts, steps};
use crate::fixtures::{cache, genesis, id, operation};

fn envelope(event: &Event) -> Envelope {
    Envelope {
        format: ENVELOPE_VERSION,
        journal_id: id(1),
        epoch: Epoch(3),
        seq: Seq(300),
        stream: cache(1),
        stream_seq: 7,
        rest: 1,
        operation: Some(operation(1)),
        time_us: 1_767_225_600_000_000,
        type_name: event.name().to_owned(),
        previous: ZERO,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes on disk may never change for what can be recorded today: a journal is read for
/// years. What is new gets new lines; a changed line means that old journals are misread.
#[test]
fn the_stored_bytes_of_every_event_stay_as_they_are() {
    let mut lines =
        vec![format!("envelope {}", hex(&encode(&envelope(&genesis()), &genesis()).unwrap()))];
    for event in events().into_iter().chain(nested_events()) {
        let bytes = encode(&envelope(&event), &event).unwrap();
        let envelope_len = 1 + to_bytes("envelope", &stored(&envelope(&event))).unwrap().len();
        lines.push(format!("{} {}", event.name(), hex(&bytes[envelope_len..])));
        assert_eq!(decode(&bytes).unwrap(), (envelope(&event), event.clone()));
        assert_eq!(decode_envelope(&bytes).unwrap(), envelope(&event));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("records_v1", lines.join("\n")));
}

#[test]
fn there_is_an_example_of_everything_that_can_be_recorded() {
    let names: Vec<_> = events().iter().map(Event::name).collect();
    assert_eq!(names, event_names());
    let names: Vec<_> = steps().iter().map(Step::name).collect();
    assert_eq!(names, variants_of::<Step>());
    let names: Vec<_> = kinds().into_iter().map(OperationKind::name).collect();
    assert_eq!(names, variants_of::<OperationKind>());
    let names: Vec<_> = ends().iter().map(End::name).collect();
    assert_eq!(names, variants_of::<End>());
    assert_eq!(goals().len(), variants_of::<Goal>().len());
    assert_eq!(receipts().len(), variants_of::<Receipt>().len());
}

#[test]
fn bytes_that_follow_the_event_are_refused() {
    let mut bytes = encode(&envelope(&genesis()), &genesis()).unwrap();
    bytes.extend([0, 0]);
    assert_eq!(decode(&bytes), Err(Error::TrailingBytes { count: 2 }));
}

#[test]
fn a_record_that_ends_early_is_refused_at_every_byte() {
    let bytes = encode(&envelope(&genesis()), &genesis()).unwrap();
    for end in 0..bytes.len() {
        let error = decode(&bytes[..end]).unwrap_err();
        assert!(matches!(error, Error::Undecodable { .. }), "{end}: {error}");
    }
}

#[test]
fn a_newer_version_is_told_apart_from_damage() {
    let bytes = encode(&envelope(&genesis()), &genesis()).unwrap();
    let envelope_len = bytes.len() - to_bytes("event", &genesis()).unwrap().len() - 1;
    for at in [0, envelope_len] {
        let mut newer = bytes.clone();
        newer[at] += 1;
        let error = decode(&newer).unwrap_err();
        assert!(error.is_newer_format(), "{error}");
        let mut older = bytes.clone();
        older[at] = 0;
        assert!(matches!(decode(&older), Err(Error::Undecodable { .. })));
    }
    let mut unknown = envelope(&genesis());
    unknown.type_name = "teleported".into();
    let error = decode(&encode(&unknown, &genesis()).unwrap()).unwrap_err();
    assert!(error.is_newer_format(), "{error}");
}

#[test]
fn an_envelope_that_names_another_event_is_refused() {
    let mut other = envelope(&genesis());
    other.type_name = "gap".into();
    let error = decode(&encode(&other, &genesis()).unwrap()).unwrap_err();
    assert_eq!(error, Error::WrongType { named: "gap".into(), found: "genesis" });
}

#[test]
fn a_record_may_fill_a_stored_value_but_not_a_byte_more() {
    let of_len = |len: usize| Event::CacheClosed { reason: "x".repeat(len) };
    let bytes = |event: &Event| encode(&envelope(event), event);
    let spare = CANONICAL_MAX - bytes(&of_len(1000)).unwrap().len();
    let largest = of_len(1000 + spare);
    assert_eq!(bytes(&largest).unwrap().len(), CANONICAL_MAX);
    let error = bytes(&of_len(1001 + spare)).unwrap_err();
    let expected = CANONICAL_MAX + 1;
    assert!(matches!(error, Error::TooLarge { bytes, .. } if bytes == expected), "{error}");
}

proptest! {
    /// Damaged bytes may decode into something wrong, which is what checksums are for; they may
    /// never bring the program down.
    #[test]
    fn no_bytes_make_the_decoder_panic(
        index in 0_usize..24,
        changes in proptest::collection::vec((0_usize..400, any::<u8>()), 1..6),
    ) {
        let event = &events()[index];
        let mut bytes = encode(&envelope(event), event).unwrap();
        for (at, value) in changes {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        let _decoded = decode(&bytes);
    }
}
