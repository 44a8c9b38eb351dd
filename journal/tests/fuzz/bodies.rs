//! What each fuzz target does with the bytes that it is given, and what must hold of it.
//!
//! The same functions are run over the kept corpus by `tests/fuzz_corpus.rs`, in every test run.
#![allow(clippy::unwrap_used, missing_docs, reason = "in a test a panic is the finding")]
#![allow(unreachable_pub, reason = "a library for the targets, a module of the test")]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use serde_json::Value;
use uuid::Uuid;
use xsld_journal::audit::{load, segment_name, survey};
use xsld_journal::check::check_dir;
use xsld_journal::cli::{self, Cli};
use xsld_journal::{chain, codec};

/// The decoder of stored records: whatever decodes is encoded again to something that decodes to
/// the same.
pub fn decode(bytes: &[u8]) {
    let _envelope = codec::decode_envelope(bytes);
    let Ok((envelope, event)) = codec::decode(bytes) else { return };
    if let Ok(again) = codec::encode(&envelope, &event) {
        assert_eq!(codec::decode(&again), Ok((envelope, event)));
    }
}

/// The reader of the audit file, on the bytes as they are and with every checksum made right, so
/// that what stands behind the checksums is reached too.
pub fn audit(bytes: &[u8]) {
    read_as_audit(bytes);
    if let Some(sealed) = resealed(bytes) {
        read_as_audit(&sealed);
    }
}

fn read_as_audit(bytes: &[u8]) {
    let dir = scratch();
    std::fs::write(dir.path().join(segment_name(1)), bytes).unwrap();
    let loaded = load(dir.path(), Uuid::nil());
    let report = check_dir(dir.path(), None).unwrap();
    survey(dir.path()).unwrap();
    let Ok(loaded) = loaded else {
        assert!(report.worst().is_some(), "refused when opened, but nothing to find in a check");
        return;
    };
    let whole = loaded.torn.is_none();
    if whole && report.worst().is_none() {
        let head = loaded.ledger.head();
        assert_eq!(report.head.map_or(0, |(seq, _)| seq), head.seq);
        assert_eq!(report.records, head.seq);
    }
}

/// `journal import`: what it takes in is a whole journal; what is not whole leaves nothing behind.
pub fn import(bytes: &[u8]) {
    let header_end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (header, lines) = bytes.split_at(header_end);
    import_file(bytes);
    let Some(sealed) = resealed(lines) else { return };
    let Ok(mut first) = serde_json::from_slice::<Value>(header) else { return };
    let last = sealed.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let last = last.and_then(|line| serde_json::from_slice::<Value>(line).ok());
    if let (Some(first), Some(last)) = (first.as_object_mut(), last) {
        first.insert("hash".into(), last["hash"].clone());
        first.insert("last_seq".into(), last["seq"].clone());
        let mut file = serde_json::to_vec(&first).unwrap();
        file.push(b'\n');
        file.extend(sealed);
        import_file(&file);
    }
}

/// The commands as a program of their own.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    cli: Cli,
}

fn import_file(bytes: &[u8]) {
    let dir = scratch();
    let (file, journal) = (dir.path().join("export.jsonl"), dir.path().join("journal"));
    std::fs::write(&file, bytes).unwrap();
    let words = ["journal".as_ref(), "import".as_ref(), file.as_os_str(), journal.as_os_str()];
    let parsed = Program::try_parse_from(words).unwrap().cli;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = cli::run(&parsed, &mut stdout, &mut stderr);
    if code != 0 {
        assert!(!journal.exists(), "exit code {code}, but something was written");
        assert!(!stderr.is_empty(), "exit code {code} without a word");
        return;
    }
    let report = check_dir(&journal, None).unwrap();
    assert_eq!(report.worst(), None, "{:?}", report.findings);
}

/// The lines with hashes and checksums that fit, chained from the first one on; none when there is
/// nothing to make right.
fn resealed(text: &[u8]) -> Option<Vec<u8>> {
    let mut previous = chain::ZERO;
    let mut sealed = Vec::new();
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let mut value: Value = serde_json::from_slice(line).ok()?;
        let fields = value.as_object_mut()?;
        let mut bytes = STANDARD.decode(fields.get("bytes")?.as_str()?).ok()?;
        if let Ok((mut envelope, event)) = codec::decode(&bytes) {
            envelope.previous = previous;
            envelope.seq.0 = index as u64 + 1;
            bytes = codec::encode(&envelope, &event).ok()?;
        }
        let hash = chain::hash(&previous, &bytes);
        fields.insert("seq".into(), (index + 1).into());
        fields.insert("prev".into(), chain::to_hex(&previous).into());
        fields.insert("hash".into(), chain::to_hex(&hash).into());
        fields.insert("crc".into(), chain::checksum(&bytes, &hash).into());
        fields.insert("bytes".into(), STANDARD.encode(&bytes).into());
        sealed.extend(serde_json::to_vec(&value).unwrap());
        sealed.push(b'\n');
        previous = hash;
    }
    (!sealed.is_empty()).then_some(sealed)
}

/// In memory where there is such a place: a fuzzer makes many thousands of these.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}
