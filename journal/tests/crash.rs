//! Kills a process that appends, again and again, and looks at what the next start finds.
//!
//! The process is this test binary itself: with [`DIR_VARIABLE`] set, `child_appends` opens the
//! journal of that directory, appends from several threads until it is killed, and prints a line
//! for every acknowledged append.
//!
//! With [`RETIRES_VARIABLE`] set, it retires all records that may go, all the time.
//!
//! A run kills a hundred times; `XSLD_KILLS=2000` kills two thousand times, a new journal for each
//! hundred.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the finding")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use xsld_journal::check::check_dir;
use xsld_journal::event::{
    Cause, End, Event, Goal, OperationId, OperationKind, Step, StepKey, Text,
};
use xsld_journal::record::{Epoch, Record, StreamId, text_for_event};
use xsld_journal::replay;
use xsld_journal::retention::{Limits, Retirement};
use xsld_journal::store::{Append, Healed, OpenError, OpenOptions, SledStore, Store, open};

const DIR_VARIABLE: &str = "XSLD_JOURNAL_CRASH_TEST_DIR";
/// How often one journal's writer is killed.
const KILLS: u64 = 100;
/// How often in all; [`KILLS`] when it is not set.
const KILLS_VARIABLE: &str = "XSLD_KILLS";
/// Whether the process retires records as well.
const RETIRES_VARIABLE: &str = "XSLD_JOURNAL_CRASH_TEST_RETIRES";
const WRITERS: u128 = 4;
const JOURNAL: Uuid = Uuid::from_u128(1);

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }
}

/// Segments so small that they are sealed, and checkpoints made, all the time.
const SEGMENT_MAX: u64 = 192 << 10;

fn options(dir: &Path) -> OpenOptions {
    OpenOptions { segment_max: SEGMENT_MAX, ..OpenOptions::new(dir.to_owned(), JOURNAL) }
}

/// Not a test of its own: the process that is killed.
#[test]
fn child_appends() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let (store, _) = open(&options(Path::new(&dir))).unwrap();
    let store = Arc::new(store);
    begin_term(&store);
    say("open");
    std::thread::scope(|scope| {
        if std::env::var_os(RETIRES_VARIABLE).is_some() {
            scope.spawn(|| {
                loop {
                    retire(&store);
                }
            });
        }
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                loop {
                    run_operation(&store, writer);
                }
            });
        }
    });
}

/// Retires all that may go.
fn retire(store: &SledStore) {
    let limits = Limits { bytes: Some(0), ..Limits::default() };
    let (epoch, now_us) = (store.head().epoch, 1_767_225_600_000_000);
    let ask = Retirement { limits, keep_from: u64::MAX, at_most: usize::MAX, epoch, now_us };
    match store.retire(&ask).unwrap() {
        Some(done) => say(&format!("retired {}", done.through)),
        None => std::thread::sleep(Duration::from_millis(1)),
    }
}

fn say(text: &str) {
    // Beside the test harness's own output, and at once.
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).unwrap();
}

fn begin_term(store: &SledStore) {
    let head = store.stream_head(StreamId::JOURNAL).map_or(0, |head| head.stream_seq);
    let mut events = vec![Event::EpochBegun { holder: "test".into() }];
    if head == 0 {
        events.insert(0, Event::Genesis { namespace_uid: "namespace".into() });
    }
    let epoch = Epoch(store.log_state().epoch + 1);
    append(store, StreamId::JOURNAL, epoch, None, events, vec![]);
}

/// One whole operation on the writer's own stream, whatever the last process left open there.
fn run_operation(store: &SledStore, writer: u128) {
    let stream = StreamId(Uuid::from_u128(0x100 + writer));
    let epoch = store.head().epoch;
    let act = |operation, events, blobs| append(store, stream, epoch, operation, events, blobs);
    if store.state(stream).is_none() {
        let name = format!("cache-{writer}");
        act(None, vec![Event::CacheOpened { namespace: "test".into(), name }], vec![]);
    }
    let state = store.state(stream).unwrap();
    if let Some(open) = &state.operation {
        if let Some(step) = &open.step {
            let evidence = "{}".into();
            act(Some(open.id), vec![Event::StepVoid { key: step.key, evidence }], vec![]);
        }
        act(Some(open.id), vec![Event::OperationEnded { end: End::Succeeded }], vec![]);
    }
    let seq = store.stream_head(stream).unwrap().stream_seq;
    let id = OperationId(Uuid::from_u128((writer << 64) + u128::from(seq)));
    let (template, blob) = text_for_event(format!("{seq} ").repeat(700));
    let step = Step::SetTemplate { digest: seq.to_string(), template };
    let key = StepKey::of(id, &step.target(), 1);
    let goal = Goal::Members { size: 3, catalogs: 1 };
    let cause = Cause { generation: 1, reason: "x".repeat((seq % 700) as usize) };
    let begun = Event::OperationBegun { kind: OperationKind::ScaleUp, goal, cause };
    let evidence = String::from("{}");
    let intended = Event::StepIntended { step, attempt: 1, key, evidence: evidence.clone() };
    act(Some(id), vec![begun, intended], blob.into_iter().collect());
    let done = Event::StepSucceeded { key, found_by_probe: false, flagged: None, evidence };
    act(Some(id), vec![done, Event::OperationEnded { end: End::Succeeded }], vec![]);
}

fn append(
    store: &SledStore,
    stream: StreamId,
    epoch: Epoch,
    operation: Option<OperationId>,
    events: Vec<Event>,
    blobs: Vec<String>,
) {
    let expected = store.stream_head(stream).map_or(0, |head| head.stream_seq);
    let time_us = 1_767_225_600_000_000;
    let append = Append { stream, expected, epoch, operation, time_us, events, blobs };
    let records = store.append(append).unwrap().records;
    for record in records {
        say(&format!("ack {} {}", record.seq(), xsld_journal::chain::to_hex(&record.hash)));
    }
}

fn start_child(dir: &Path, retires: bool) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_appends", "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .envs(retires.then_some((RETIRES_VARIABLE, "1")))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

/// Reads what the child acknowledges, up to this many appended records.
fn read_acks(stdout: &mut BufReader<ChildStdout>, limit: u64, acks: &mut BTreeMap<u64, String>) {
    let mut left = limit;
    let mut line = String::new();
    while left > 0 {
        line.clear();
        if stdout.read_line(&mut line).unwrap() == 0 {
            return;
        }
        // The last line may have been cut by the kill: then it was not told in full.
        let Some(rest) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")) else {
            continue;
        };
        let (seq, hash) = rest.split_once(' ').unwrap();
        acks.insert(seq.parse().unwrap(), hash.to_owned());
        left -= 1;
    }
}

/// Everything that was acknowledged is there, but for what was retired.
fn assert_whole(records: &[Record], retired: u64, acks: &BTreeMap<u64, String>, kill: u64) {
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record.seq(), retired + index as u64 + 1, "kill {kill}");
    }
    assert_eq!(records.last().map_or(0, |record| record.envelope.rest), 0, "kill {kill}");
    for (seq, hash) in acks.iter().filter(|(seq, _)| **seq > retired) {
        let record = &records[usize::try_from(*seq - retired).unwrap() - 1];
        let found = xsld_journal::chain::to_hex(&record.hash);
        assert_eq!(&found, hash, "record {seq} was acknowledged before kill {kill}");
    }
}

#[test]
fn no_acknowledged_record_is_missing_after_a_hundred_kills() {
    let kills = std::env::var(KILLS_VARIABLE).ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let mut numbers = Numbers(20_260_501);
    let mut told = [0; 2];
    for _ in 0..kills.div_ceil(KILLS) {
        let (acknowledged, more) = kill_a_hundred_times(&mut numbers);
        told = [told[0] + acknowledged, told[1] + more];
    }
    let [acknowledged, more] = told;
    say(&format!(
        "killed {} times: {acknowledged} acknowledged records, 0 of them missing; {more} more were \
         found that nobody had been told of",
        kills.div_ceil(KILLS) * KILLS
    ));
}

/// How many records were acknowledged, and how many more were there at the end.
fn kill_a_hundred_times(numbers: &mut Numbers) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let mut acks = BTreeMap::new();
    let (mut unacknowledged, mut from_checkpoints, mut set_aside) = (0, 0, 0);
    for kill in 0..KILLS {
        let (mut child, mut stdout) = start_child(&journal, false);
        // Now and then it is killed while it opens and heals; else while it appends.
        if kill % 10 == 9 {
            std::thread::sleep(Duration::from_millis(numbers.below(60)));
        } else {
            read_acks(&mut stdout, 1 + numbers.below(40), &mut acks);
            for _ in 0..numbers.below(2000) {
                std::hint::spin_loop();
            }
        }
        child.kill().unwrap();
        read_acks(&mut stdout, u64::MAX, &mut acks);
        child.wait().unwrap();
        let (store, report) = open(&options(&journal)).unwrap();
        // Rarely sled itself does not survive a kill; its copy is made again from the audit file.
        set_aside += usize::from(report.quarantined.is_some());
        assert_eq!(report.ignored_checkpoints, [], "kill {kill}");
        from_checkpoints += usize::from(report.checkpoint > 0);
        let records = store.scan(1).unwrap();
        assert_whole(&records, 0, &acks, kill);
        unacknowledged = records.len() - acks.len();
        replay::verify(&store).unwrap();
        drop(store);
        let report = check_dir(&journal, None).unwrap();
        assert_eq!(report.worst(), None, "kill {kill}: {:?}", report.findings);
    }
    assert!(set_aside <= 2, "sled's copy was set aside {set_aside} times");
    assert!(from_checkpoints > 10, "{from_checkpoints} starts from a checkpoint");
    assert!(acks.len() > 1000, "{} records were acknowledged", acks.len());
    // A record may be there though nobody was told so, but only one append a writer and a kill.
    let most = (WRITERS as u64 + 1) * 2 * KILLS;
    assert!((unacknowledged as u64) < most, "{unacknowledged} records nobody was told of");
    texts_are_there(&journal);
    (acks.len(), unacknowledged)
}

/// The long texts of the records are as durable as the records.
fn texts_are_there(journal: &Path) {
    let (store, _) = open(&options(journal)).unwrap();
    let mut texts = 0;
    for record in store.scan(1).unwrap() {
        let Event::StepIntended { step: Step::SetTemplate { template, .. }, .. } = record.event
        else {
            continue;
        };
        let len = store.text(&template).unwrap().len();
        if let Text::External { len: told, .. } = template {
            assert_eq!(len, told as usize);
            texts += 1;
        }
    }
    assert!(texts > 100, "{texts}");
}

#[test]
fn a_second_process_is_refused_while_the_first_one_lives() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let (mut child, mut stdout) = start_child(&journal, false);
    read_acks(&mut stdout, 10, &mut BTreeMap::new());
    let refused = open(&options(&journal)).unwrap_err();
    assert!(
        matches!(refused, OpenError::Locked { pid: Some(pid), .. } if pid == child.id()),
        "{refused}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    open(&options(&journal)).unwrap();
}

#[test]
fn a_journal_that_is_being_written_can_be_checked_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let (mut child, mut stdout) = start_child(&journal, false);
    for _ in 0..30 {
        read_acks(&mut stdout, 10, &mut BTreeMap::new());
        let report = check_dir(&journal, None).unwrap();
        assert_eq!(report.worst(), None, "{:?}", report.findings);
        assert!(report.records > 0);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the former process was killed at is brought to its end by the next one.
#[test]
fn no_kept_record_is_missing_after_kills_while_records_are_retired() {
    let mut numbers = Numbers(20_261_128);
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let (mut acks, mut finished, mut last) = (BTreeMap::new(), 0, 0);
    for kill in 0..KILLS / 2 {
        let (mut child, mut stdout) = start_child(&journal, true);
        read_acks(&mut stdout, 1 + numbers.below(400), &mut acks);
        child.kill().unwrap();
        read_acks(&mut stdout, u64::MAX, &mut acks);
        child.wait().unwrap();
        let (store, report) = open(&options(&journal)).unwrap();
        assert_eq!((&report.quarantined, &report.base_finding), (&None, &None), "kill {kill}");
        assert_eq!(report.ignored_checkpoints, [], "kill {kill}");
        let finishes = |healed: &Healed| matches!(healed, Healed::RetirementFinished { .. });
        finished += usize::from(report.healed.iter().any(finishes));
        let recorded = store.log_state().retired.as_ref().map_or(0, |retired| retired.through);
        assert_eq!(store.retired(), recorded, "kill {kill}: {report:?}");
        assert!(recorded >= last, "kill {kill}: {recorded} after {last}");
        last = recorded;
        assert_whole(&store.scan(1).unwrap(), recorded, &acks, kill);
        replay::verify(&store).unwrap();
        drop(store);
        let report = check_dir(&journal, None).unwrap();
        assert_eq!(report.worst(), None, "kill {kill}: {:?}", report.findings);
    }
    say(&format!("{last} records were retired; {finished} retirements were cut short by a kill"));
    assert!(last > 500, "{last}");
}

/// Readers take no lock. What goes while they look is looked for again, or told as such.
#[test]
fn a_journal_that_is_being_retired_can_be_checked_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let (mut child, mut stdout) = start_child(&journal, true);
    let (mut whole, mut retired) = (0, 0);
    while whole < 30 || retired == 0 {
        read_acks(&mut stdout, 60, &mut BTreeMap::new());
        match check_dir(&journal, None) {
            Ok(report) => {
                assert_eq!(report.worst(), None, "{:?}", report.findings);
                (whole, retired) = (whole + 1, report.retired);
            }
            Err(error) => assert!(error.to_string().contains("try again"), "{error}"),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
