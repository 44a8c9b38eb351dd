use serde_json::json;

use super::*;
use crate::fixtures::{cache, id, story};
use crate::store::ledger::Ledger;

/// What a small life of one cache folds to.
fn base() -> Base {
    let mut ledger = Ledger::new(id(1));
    for append in story() {
        ledger.admit(&append).unwrap();
    }
    Base::of(ledger.snapshot().unwrap(), 1_767_225_600_000_000).unwrap()
}

fn bytes() -> Vec<u8> {
    sealed(base().body()).unwrap()
}

/// The bytes of a base that says something else, with the digest that belongs to them.
fn forged(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(base().body()).unwrap();
    change(&mut body);
    sealed(&serde_json::to_vec(&body).unwrap()).unwrap()
}

#[test]
fn a_base_reads_back_as_it_was_written() {
    let base = base();
    assert_eq!(Base::parse(&bytes()).unwrap(), base);
    assert_eq!(Base::parse_line(base.body()).unwrap(), base);
    assert!(base.seq() > 10 && base.snapshot.streams.contains_key(&cache(1)));
}

#[test]
fn a_base_with_any_bit_changed_or_cut_anywhere_is_not_used() {
    let whole = bytes();
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(Base::parse(&altered).is_err(), "byte {at}");
        assert!(Base::parse(&whole[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_base_of_a_newer_program_is_told_apart_from_damage() {
    let cases: [fn(&mut Value); 4] = [
        |body| body["format"] = json!(FORMAT + 1),
        |body| body["fold"] = json!(FOLD_VERSION + 1),
        |body| body["log"]["quorum"] = json!({"of": 3}),
        |body| body["streams"][cache(1).to_string()]["state"]["colour"] = json!("red"),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let error = Base::parse(&forged(change)).unwrap_err();
        assert!(matches!(error, BaseError::Newer(_)), "{index}: {error}");
    }
}

/// The records that it stands for are gone, so a later program has to read it for ever.
#[test]
fn a_base_of_an_earlier_program_lacks_fields_and_is_read_all_the_same() {
    // As if a field with a default had not been known when it was made.
    let earlier = forged(|body| {
        let state = body["streams"][cache(1).to_string()]["state"].as_object_mut().unwrap();
        let operation = state["operation"].as_object_mut().unwrap();
        operation.insert("forgiven".into(), json!({}));
        body["state"] = json!("the digest of another shape");
    });
    let read = Base::parse(&earlier).unwrap();
    assert_eq!(read.snapshot, base().snapshot);
    assert_ne!(read.digest, base().digest, "the digest is of the bytes");
}

#[test]
fn a_base_whose_state_is_another_than_it_says_is_damaged() {
    let altered = forged(|body| {
        body["streams"][cache(1).to_string()]["state"]["name"] = json!("other");
    });
    let error = Base::parse(&altered).unwrap_err();
    assert!(error.to_string().contains("another digest"), "{error}");
    let checkpoint = forged(|body| drop(body.as_object_mut().unwrap().remove("retired_us")));
    assert!(Base::parse(&checkpoint).unwrap_err().to_string().contains("checkpoint"));
}

#[test]
fn both_files_are_written_and_only_what_differs_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let base = base();
    assert_eq!(base.write(dir.path()).unwrap(), names(base.seq()));
    assert!(base.write(dir.path()).unwrap().is_empty());
    let [first, second] = names(base.seq());
    std::fs::write(dir.path().join(&first), b"{}").unwrap();
    assert_eq!(base.write(dir.path()).unwrap(), std::slice::from_ref(&first));
    std::fs::remove_file(dir.path().join(&second)).unwrap();
    assert_eq!(base.write(dir.path()).unwrap(), [second]);
    let mut refused = Vec::new();
    let found = read(dir.path(), base.seq(), &mut refused, &mut false).unwrap();
    assert_eq!((found, refused), (Some(base), Vec::new()));
}

#[test]
fn either_file_is_enough_and_the_other_is_named() {
    let base = base();
    for lost in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        base.write(dir.path()).unwrap();
        let file = names(base.seq())[lost].clone();
        std::fs::remove_file(dir.path().join(&file)).unwrap();
        let found = kept(dir.path()).unwrap();
        assert_eq!(found.base.as_ref(), Some(&base), "{lost}");
        assert_eq!(found.refused, [Ignored { file, reason: "it is missing".into() }]);
    }
}
