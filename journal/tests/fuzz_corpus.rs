//! Runs what the fuzz targets do over the kept corpus: every input that ever reached new code.
//!
//! The corpus begins with real journals; `XSLD_SEED_CORPUS=1` writes those anew.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the finding")]

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;
use xsld_journal::audit::{Header, segment_name, write_header};
use xsld_journal::event::{
    Cause, End, Event, Goal, OperationId, OperationKind, Step, StepKey, Text,
};
use xsld_journal::record::{Epoch, StreamId, text_for_event};
use xsld_journal::store::{Append, OpenOptions, Store, open};

#[path = "fuzz/bodies.rs"]
mod bodies;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn run_corpus(target: &str, body: fn(&[u8])) {
    let mut inputs = 0;
    for entry in fs::read_dir(corpus(target)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let whole = std::panic::catch_unwind(|| body(&bytes));
        assert!(whole.is_ok(), "{} breaks the target {target}", path.display());
        inputs += 1;
    }
    assert!(inputs >= 3, "{inputs} inputs");
}

#[test]
fn the_decoder_withstands_its_corpus() {
    run_corpus("decode", bodies::decode);
}

#[test]
fn the_reader_of_the_audit_file_withstands_its_corpus() {
    run_corpus("audit", bodies::audit);
}

#[test]
fn import_withstands_its_corpus() {
    run_corpus("import", bodies::import);
}

/// Not a test of its own: the inputs that the fuzzer begins with.
#[test]
fn seeds_are_written_when_asked_for() {
    if std::env::var_os("XSLD_SEED_CORPUS").is_none() {
        return;
    }
    let audit = small_journal();
    let lines: Vec<&[u8]> = audit.split_inclusive(|byte| *byte == b'\n').collect();
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(corpus(target).join(name), bytes).unwrap();
    };
    for (index, line) in lines.iter().enumerate() {
        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
        let bytes = STANDARD.decode(line["bytes"].as_str().unwrap()).unwrap();
        write("decode", &format!("seed-record-{}", index + 1), &bytes);
    }
    write("audit", "seed-whole", &audit);
    write("audit", "seed-torn", &audit[..audit.len() - 40]);
    write("audit", "seed-two", &lines[..2].concat());
    for (name, count) in [("seed-whole", lines.len()), ("seed-two", 2), ("seed-short", 5)] {
        let last: serde_json::Value = serde_json::from_slice(lines[count - 1]).unwrap();
        let hash = last["hash"].as_str().unwrap().to_owned();
        let records = count as u64;
        let header = Header::new(Uuid::from_u128(1), records, 1, (records, hash));
        let mut bytes = Vec::new();
        write_header(&mut bytes, &header).unwrap();
        let kept = if name == "seed-short" { count - 1 } else { count };
        bytes.extend(lines[..kept].concat());
        write("import", name, &bytes);
    }
}

/// The audit file of one operation, with a long text beside one of its records.
fn small_journal() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&OpenOptions::new(dir.path().to_owned(), Uuid::from_u128(1))).unwrap();
    let (stream, id) = (StreamId(Uuid::from_u128(0x100)), OperationId(Uuid::from_u128(0x200)));
    let append = |stream, expected, operation, events, blobs| {
        let (epoch, time_us) = (Epoch(1), 1_767_225_600_000_000);
        store
            .append(Append { stream, expected, epoch, operation, time_us, events, blobs })
            .unwrap();
    };
    let genesis = Event::Genesis { namespace_uid: "namespace".into() };
    let begun = Event::EpochBegun { holder: "test".into() };
    append(StreamId::JOURNAL, 0, None, vec![genesis, begun], vec![]);
    let opened = Event::CacheOpened { namespace: "test".into(), name: "demo".into() };
    append(stream, 0, None, vec![opened], vec![]);
    let (template, blob) = text_for_event("template ".repeat(500));
    assert!(matches!(template, Text::External { .. }));
    let step = Step::SetTemplate { digest: "d".into(), template };
    let key = StepKey::of(id, &step.target(), 1);
    let goal = Goal::Members { size: 3, catalogs: 1 };
    let cause = Cause { generation: 1, reason: "spec.size is 3".into() };
    let kind = OperationKind::ScaleUp;
    let begun = Event::OperationBegun { kind, goal, cause };
    let intended = Event::StepIntended { step, attempt: 1, key, evidence: "{}".into() };
    append(stream, 1, Some(id), vec![begun, intended], blob.into_iter().collect());
    let evidence = "{\"set\":true}".into();
    let done = Event::StepSucceeded { key, found_by_probe: false, flagged: None, evidence };
    let ended = Event::OperationEnded { end: End::Succeeded };
    append(stream, 3, Some(id), vec![done, ended], vec![]);
    fs::read(dir.path().join(segment_name(1))).unwrap()
}
