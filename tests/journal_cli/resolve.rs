//! `journal resolve` on the journal of a stopped operator.

use std::path::Path;
use std::process::{Command, Output};

use uuid::Uuid;
use xsld_journal::event::{Cause, Event, Goal, OperationId, OperationKind};
use xsld_journal::record::{Epoch, StreamId};
use xsld_journal::store::{Append, OpenError, OpenOptions, SledStore, Store, open};

const OPERATION: OperationId = OperationId(Uuid::from_u128(0x0197_0f3e_0000));
const CACHE: StreamId = StreamId(Uuid::from_u128(7));

fn resolve(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xsld-operator"));
    command.args(["journal", "resolve"]).args(arguments).arg("--journal-dir").arg(dir);
    command.output().unwrap()
}

fn decide(dir: &Path, operation: &str, decision: &str, head: u64) -> Output {
    let head = head.to_string();
    let reason = "the node is gone";
    resolve(dir, &[operation, "--decision", decision, "--reason", reason, "--expect-head", &head])
}

fn options(dir: &Path) -> OpenOptions {
    OpenOptions::new(dir.to_owned(), Uuid::from_u128(1))
}

/// Opens a journal that nobody holds. A program that another test starts just now holds the lock of
/// this process for a moment, between its fork and its exec: that is waited for.
fn opened(dir: &Path) -> SledStore {
    loop {
        match open(&options(dir)) {
            Ok((store, _)) => return store,
            Err(OpenError::Locked { pid, .. }) if pid == Some(std::process::id()) => {
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// A journal whose one operation came as far as these events; gives the last sequence.
fn journal(dir: &Path, events: &[Event]) -> u64 {
    let store = opened(dir);
    let append = |stream, expected, operation, events| {
        let epoch = Epoch(1);
        let append =
            Append { stream, expected, epoch, operation, time_us: 1, events, blobs: vec![] };
        store.append(append).unwrap();
    };
    let namespace_uid = "ns".to_owned();
    append(StreamId::JOURNAL, 0, None, vec![Event::Genesis { namespace_uid }]);
    append(StreamId::JOURNAL, 1, None, vec![Event::EpochBegun { holder: "me".into() }]);
    let (namespace, name) = ("shop".to_owned(), "sessions".to_owned());
    append(CACHE, 0, None, vec![Event::CacheOpened { namespace, name }]);
    append(CACHE, 1, Some(OPERATION), events.to_vec());
    store.head().seq
}

fn begun() -> Event {
    Event::OperationBegun {
        kind: OperationKind::ScaleUp,
        goal: Goal::Members { size: 2, catalogs: 2 },
        cause: Cause { generation: 1, reason: "size 1 -> 2".into() },
    }
}

fn parked() -> Event {
    Event::OperationParked { reason: "StepFailed".into(), message: "look".into() }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_decision_is_recorded_with_the_local_user_and_every_command_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let head = journal(dir.path(), &[begun(), parked()]);
    let prefix = OPERATION.to_string()[..20].to_owned();
    let output = decide(dir.path(), &prefix, "retry", head);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let store = opened(dir.path());
    let records = store.scan(head + 1).unwrap();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    let Event::Decided { who, decision, why } = &record.event else { panic!("{record:?}") };
    assert_eq!((decision.as_str(), why.as_str()), ("retry", "the node is gone"));
    let uid = rustix::process::getuid().as_raw();
    assert!(who.contains(&format!("local user {uid}")), "{who}");
    assert!(record.envelope.time_us > 1_700_000_000_000_000, "it has the time of the decision");
    drop(store);
    let log = Command::new(env!("CARGO_BIN_EXE_xsld-operator"))
        .args(["journal", "log", "--type", "decided", "--journal-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(log.stdout).unwrap();
    assert!(text.contains("retry, because the node is gone"), "{text}");
}

#[test]
fn what_cannot_be_decided_is_refused_with_the_reason_and_nothing_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let head = journal(dir.path(), &[begun(), parked()]);
    let id = OPERATION.to_string();
    let cases = [
        (decide(dir.path(), &id, "retry", head - 1), "the last record of shop/sessions is"),
        (decide(dir.path(), "ffff", "retry", head), "no open operation begins with `ffff`"),
        (decide(dir.path(), &id, "void", head), "possible are: retry, abandon"),
        (decide(dir.path(), &id, "guess", head), "possible values: retry, done, void, abandon"),
    ];
    for (output, told) in cases {
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(said(&output).contains(told), "{told}: {}", said(&output));
    }
    let store = opened(dir.path());
    assert_eq!(store.head().seq, head);
}

#[test]
fn an_operation_that_is_not_parked_or_is_over_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let head = journal(dir.path(), &[begun()]);
    let output = decide(dir.path(), &OPERATION.to_string(), "retry", head);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("is not parked"), "{}", said(&output));
}

#[test]
fn a_journal_that_an_operator_holds_is_not_written_and_the_endpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let head = journal(dir.path(), &[begun(), parked()]);
    let store = opened(dir.path());
    let output = decide(dir.path(), &OPERATION.to_string(), "retry", head);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--endpoint"), "{}", said(&output));
    assert_eq!(store.head().seq, head);
}

#[test]
fn a_wrong_directory_and_an_export_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let output = decide(dir.path(), "ffff", "retry", 1);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("there is no journal in"), "{}", said(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is made");
    let output = decide(&super::recorded(), "ffff", "retry", 1);
    assert_eq!(output.status.code(), Some(2));
}
