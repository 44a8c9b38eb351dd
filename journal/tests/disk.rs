//! The journal on real disks: what the system is asked to do, a file system that is full, a power
//! cut, and commands that only look.
//!
//! What needs rights or programs that are not there says so on stdout and proves nothing.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the finding")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use uuid::Uuid;
use xsld_journal::chain;
use xsld_journal::cli::{self, Cli};
use xsld_journal::event::{Cause, End, Event, Goal, OperationId, OperationKind, Step, StepKey};
use xsld_journal::record::{Epoch, StreamId, text_for_event};
use xsld_journal::store::{Append, AppendError, Appended, OpenOptions, SledStore, Store, open};

const DIR_VARIABLE: &str = "XSLD_JOURNAL_DISK_TEST_DIR";
const STREAM: StreamId = StreamId(Uuid::from_u128(0x100));

fn say(text: &str) {
    // Beside the test harness's own output, and at once.
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).unwrap();
}

fn options(dir: &Path) -> OpenOptions {
    OpenOptions::new(dir.join("journal"), Uuid::from_u128(1))
}

fn append(
    store: &SledStore,
    stream: StreamId,
    events: Vec<Event>,
) -> Result<Appended, AppendError> {
    let expected = store.stream_head(stream).map_or(0, |head| head.stream_seq);
    let state = store.state(stream);
    let open = state.and_then(|state| state.operation.as_ref().map(|open| open.id));
    let begins = matches!(events.first(), Some(Event::OperationBegun { .. }));
    let operation = if begins { Some(operation(expected)) } else { open };
    let (epoch, time_us) = (Epoch(1), 1_767_225_600_000_000);
    store.append(Append { stream, expected, epoch, operation, time_us, events, blobs: vec![] })
}

fn operation(number: u64) -> OperationId {
    OperationId(Uuid::from_u128(0x200 + u128::from(number)))
}

/// A journal with its first records.
fn started(dir: &Path) -> SledStore {
    let (store, _) = open(&options(dir)).unwrap();
    if store.head().seq == 0 {
        let genesis = Event::Genesis { namespace_uid: "namespace".into() };
        let begun = Event::EpochBegun { holder: "test".into() };
        append(&store, StreamId::JOURNAL, vec![genesis, begun]).unwrap();
        let opened = Event::CacheOpened { namespace: "test".into(), name: "demo".into() };
        append(&store, STREAM, vec![opened]).unwrap();
    }
    store
}

/// What begins an operation with its first step, and what ends both.
fn work(store: &SledStore) -> (Vec<Event>, Vec<Event>) {
    let id = operation(store.stream_head(STREAM).unwrap().stream_seq);
    let (template, _) = text_for_event("template".into());
    let step = Step::SetTemplate { digest: "d".into(), template };
    let key = StepKey::of(id, &step.target(), 1);
    let goal = Goal::Members { size: 2, catalogs: 1 };
    let cause = Cause { generation: 1, reason: "x".repeat(600) };
    let begun = Event::OperationBegun { kind: OperationKind::ScaleUp, goal, cause };
    let evidence = String::from("{}");
    let intended = Event::StepIntended { step, attempt: 1, key, evidence: evidence.clone() };
    let done = Event::StepSucceeded { key, found_by_probe: false, flagged: None, evidence };
    (vec![begun, intended], vec![done, Event::OperationEnded { end: End::Succeeded }])
}

/// Not a test of its own: the process that is traced, or whose disk loses power.
#[test]
fn child_works() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let store = started(Path::new(&dir));
    loop {
        let (begins, ends) = work(&store);
        for events in [begins, ends] {
            let Ok(appended) = append(&store, STREAM, events) else { return };
            let last = appended.records.last().unwrap();
            say(&format!("ack {} {}", last.seq(), chain::to_hex(&last.hash)));
        }
    }
}

fn child(program: &str, arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["--exact", "child_works", "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn this_program() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_system_is_asked_for_a_sync_before_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let (path, program) = (trace.to_str().unwrap(), this_program());
    let calls = "trace=write,fdatasync";
    let arguments = ["-f", "-qq", "-y", "-s", "12", "-e", calls, "-o", path, &program];
    let Ok(mut traced) = child("strace", &arguments, dir.path()).spawn() else {
        return say("not tried: there is no strace here");
    };
    let lines = BufReader::new(traced.stdout.take().unwrap()).lines();
    let acks = lines.map_while(Result::ok).filter(|line| line.starts_with("ack ")).take(20).count();
    traced.kill().unwrap();
    traced.wait().unwrap();
    // The child ends with the pipe.
    let text = fs::read_to_string(&trace).unwrap();
    if acks == 0 {
        return say("not tried: strace may not trace here");
    }
    let (mut written, mut synced, mut answers) = (0, 0, 0);
    let mut syncing = false;
    for line in text.lines() {
        let on_audit = line.contains("/audit-");
        if line.contains("fdatasync(") && on_audit {
            syncing = line.contains("unfinished");
            synced = if syncing { synced } else { written };
        } else if line.contains("fdatasync resumed") && syncing {
            (syncing, synced) = (false, written);
        } else if line.contains("write(") && on_audit {
            written += 1;
        } else if line.contains("\"ack ") {
            answers += 1;
            assert_eq!(synced, written, "an answer before the sync: {line}");
        }
    }
    assert!(answers >= 20 && written > 20, "{answers} answers, {written} writes");
    say(&format!("strace: {answers} answers, each after the fdatasync of its lines"));
}

/// A file system that is mounted until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, arguments: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        command.args(arguments).arg(at).stdout(Stdio::null()).stderr(Stdio::null());
        let mounted = command.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            // A process may still hold it: it goes when that ends.
            let _lazily = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}

#[test]
fn on_a_full_file_system_the_outcome_is_written_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    let Some(_mounted) = Mounted::new(&at, &["-t", "tmpfs", "-o", "size=24m", "tmpfs"]) else {
        return say("not tried: file systems cannot be mounted here");
    };
    let store = started(&at);
    // Somebody else takes all the room that is left.
    let mut filler = fs::File::create(at.join("filler")).unwrap();
    while filler.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
    let refused = loop {
        let (begins, ends) = work(&store);
        if let Err(refused) = append(&store, STREAM, begins) {
            break refused;
        }
        if let Err(refused) = append(&store, STREAM, ends) {
            // Only sled, which found the disk full first: the process is to leave, and come back.
            assert!(refused.is_poisoned(), "an outcome was refused: {refused}");
            break refused;
        }
    };
    assert!(refused == AppendError::NoReserve || refused.is_poisoned(), "{refused}");
    let known = store.head().seq;
    drop(store);
    let (store, _) = open(&options(&at)).unwrap();
    assert!(store.head().seq >= known, "{} of {known}", store.head().seq);
    let begun = store.state(STREAM).unwrap().operation.clone();
    if let Some(step) = begun.and_then(|begun| begun.step) {
        let (key, evidence) = (step.key, String::from("{}"));
        let done = Event::StepSucceeded { key, found_by_probe: true, flagged: None, evidence };
        let ended = Event::OperationEnded { end: End::Succeeded };
        append(&store, STREAM, vec![done, ended]).unwrap();
    }
    let (next, _) = work(&store);
    assert_eq!(append(&store, STREAM, next.clone()), Err(AppendError::NoReserve));
    fs::remove_file(at.join("filler")).unwrap();
    drop(filler);
    append(&store, STREAM, next).unwrap();
    drop(store);
    say(&format!(
        "a full tmpfs: {known} records, every outcome written, then \"{refused}\", until there was room"
    ));
}

/// How often the power is cut; 5 when it is not set.
const CUTS_VARIABLE: &str = "XSLD_POWER_CUTS";

#[test]
fn no_acknowledged_record_is_missing_after_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (image, copy) = (dir.path().join("image"), dir.path().join("copy"));
    fs::File::create(&image).unwrap().set_len(48 << 20).unwrap();
    let make = ["-q", "-F", image.to_str().unwrap()];
    let made = Command::new("mkfs.ext4").args(make).stderr(Stdio::null()).status();
    let at = dir.path().join("disk");
    let mount =
        |image: &Path, at: &Path| Mounted::new(at, &["-o", "loop", image.to_str().unwrap()]);
    let mounted = made.is_ok_and(|made| made.success()).then(|| mount(&image, &at)).flatten();
    let Some(_mounted) = mounted else {
        return say("not tried: images cannot be made or mounted here");
    };
    let mut working = child(&this_program(), &[], &at).spawn().unwrap();
    let mut lines = BufReader::new(working.stdout.take().unwrap()).lines();
    let mut acks = BTreeMap::new();
    let cuts = std::env::var(CUTS_VARIABLE).ok().map_or(5, |cuts| cuts.parse::<u64>().unwrap());
    for cut in 0..cuts {
        // At another moment each time: the child goes on while the image is copied.
        for line in
            lines.by_ref().map_while(Result::ok).take(usize::try_from(7 + cut * 13 % 40).unwrap())
        {
            let Some(rest) = line.strip_prefix("ack ") else { continue };
            let (seq, hash) = rest.split_once(' ').unwrap();
            acks.insert(seq.parse::<u64>().unwrap(), hash.to_owned());
        }
        let stop =
            |signal: &str| Command::new("kill").args([signal, &working.id().to_string()]).status();
        // A copy takes time, a power cut does not.
        assert!(stop("-STOP").unwrap().success());
        fs::copy(&image, &copy).unwrap();
        assert!(stop("-CONT").unwrap().success());
        let there = dir.path().join("there");
        let mounted = mount(&copy, &there).unwrap();
        let (store, report) =
            open(&options(&there)).unwrap_or_else(|error| panic!("{cut}: {error}"));
        for (seq, hash) in &acks {
            let found = store.hash_at(*seq).map(|hash| chain::to_hex(&hash));
            assert_eq!(found.as_ref(), Some(hash), "cut {cut}: record {seq}, {report:?}");
        }
        drop(store);
        drop(mounted);
    }
    working.kill().unwrap();
    working.wait().unwrap();
    say(&format!(
        "{cuts} power cuts on ext4, {} answers: no acknowledged record missing",
        acks.len()
    ));
}

/// The commands as a program of their own.
#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    cli: Cli,
}

/// Names, bytes and times of change of all that is in a directory.
fn seen(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        if path.is_dir() {
            seen.extend(self::seen(&path));
        }
        seen.insert(path, (bytes, changed));
    }
    seen
}

#[test]
fn commands_that_look_at_a_damaged_journal_change_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(dir.path());
    for _ in 0..5 {
        let (begins, ends) = work(&store);
        append(&store, STREAM, begins).unwrap();
        append(&store, STREAM, ends).unwrap();
    }
    drop(store);
    let journal = dir.path().join("journal");
    for file in ["audit-00000000000000000001.jsonl", "gen-1/db"] {
        let path = journal.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle..middle + 600].fill(0);
        bytes.truncate(bytes.len() - 30);
        fs::write(path, bytes).unwrap();
    }
    let before = seen(dir.path());
    let directory = journal.to_str().unwrap();
    let commands: [&[&str]; 8] = [
        &["log"],
        &["check"],
        &["state"],
        &["replay"],
        &["stats"],
        &["show", "00000000"],
        &["why", "test/demo"],
        &["diff", "3", "9"],
    ];
    for words in commands {
        let which = ["--journal-dir", directory];
        let all = ["journal"].iter().chain(words).chain(&which);
        let parsed = Program::try_parse_from(all).unwrap_or_else(|error| panic!("{error}")).cli;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = cli::run(&parsed, &mut stdout, &mut stderr);
        assert_ne!(code, 0, "{words:?} does not tell the damage");
        assert!(seen(dir.path()) == before, "{words:?} changed something");
    }
}
