//! Damages a journal of 200 records at every byte, one copy or both, and opens it.
//!
//! Each case must end with every record there, or, where both copies are damaged, with a loss that
//! is told. A silent loss, a panic that gets out or a case that takes too long is a failure.
#![allow(clippy::disallowed_methods, reason = "it tells how long it took")]

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;
use xsld_journal::audit::load;
use xsld_journal::check::{Kind, Severity, check_dir};
use xsld_journal::event::{Cause, End, Event, Goal, OperationId, OperationKind, Step, StepKey};
use xsld_journal::record::{Epoch, Record, StreamId, text_for_event};
use xsld_journal::store::{Append, OpenError, OpenOptions, Store, open};

const RECORDS: u64 = 200;
const AUDIT: &str = "audit-00000000000000000001.jsonl";
const SLED: &str = "gen-1/db";
const BALLAST: &str = "BALLAST";
/// What a disk loses at once.
const SECTOR: usize = 512;
/// Kinds of damage at one offset: cut there, each bit flipped, and the sector that begins there.
const KINDS: usize = 10;
/// A case that takes longer hangs.
const TOO_LONG: Duration = Duration::from_secs(60);
/// Every so many cases the journal is opened a second time, and all is kept for a resumption.
const SECOND_LOOK: u64 = 64;
/// How many failures are told in words.
const TOLD: usize = 20;

/// Damages a journal of 200 records at every byte, and opens it.
#[derive(Debug, Parser)]
struct Cli {
    /// Which copy is damaged. Of pairs of places in both a sample is tried.
    #[arg(long, value_enum, default_value = "audit")]
    copy: Copies,
    /// How far each case goes: `read` only looks whether the damage is seen, `open` heals it.
    #[arg(long, value_enum, default_value = "open")]
    depth: Depth,
    /// Into how many parts the cases are divided.
    #[arg(long, default_value_t = 1)]
    shards: u64,
    /// Which part is tried, from 0.
    #[arg(long, default_value_t = 0)]
    shard: u64,
    /// Goes on where a former run of the same part ended.
    #[arg(long)]
    resume: bool,
    /// Tries this many cases, spread over all. Default: all; of pairs 10,000.
    #[arg(long)]
    sample: Option<u64>,
    /// Ends after this many seconds, to be resumed.
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// Folder to work in. Default: /dev/shm where there is one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Folder for the counts of what was tried.
    #[arg(long, default_value = "target/torture")]
    notes: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Copies {
    Audit,
    Sled,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Depth {
    Read,
    Open,
}

/// A whole journal, in memory.
struct Master {
    records: Vec<Record>,
    files: Vec<(PathBuf, Vec<u8>)>,
    audit: Vec<u8>,
    /// Where sled's file ends: behind it there are only zeroes.
    sled_used: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Cut(usize),
    Flip(usize, usize),
    Zero(usize),
}

impl Damage {
    /// The damage of this number; none where no sector begins.
    fn of(number: u64) -> Option<Self> {
        let number = usize::try_from(number).ok()?;
        let (at, kind) = (number / KINDS, number % KINDS);
        match kind {
            0 => Some(Self::Cut(at)),
            1..=8 => Some(Self::Flip(at, kind - 1)),
            _ => at.is_multiple_of(SECTOR).then_some(Self::Zero(at)),
        }
    }

    fn done_to(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Cut(at) => bytes.truncate(at),
            Self::Flip(at, bit) => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Zero(at) => {
                let end = bytes.len().min(at + SECTOR);
                bytes.get_mut(at..end).unwrap_or_default().fill(0);
            }
        }
        bytes
    }
}

/// What a case came to.
enum Became {
    /// Every record is there, or, when only read, the damage was seen.
    Exact,
    /// Records are lost, and that is told.
    Told,
}

#[derive(Debug, Default)]
struct Counts {
    next: u64,
    cases: u64,
    exact: u64,
    told: u64,
    failed: u64,
    seconds: f64,
}

fn main() -> ExitCode {
    match torture(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn torture(cli: &Cli) -> Result<bool> {
    ensure!(cli.shard < cli.shards, "there is no part {} of {}", cli.shard, cli.shards);
    let shm = Path::new("/dev/shm");
    let memory = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let scratch = tempfile::tempdir_in(cli.dir.as_ref().unwrap_or(&memory))?;
    let master = Master::make(&scratch.path().join("master"))?;
    let all = match cli.copy {
        Copies::Audit => (master.audit.len() * KINDS) as u64,
        Copies::Sled => (master.sled_used * KINDS) as u64,
        Copies::Both => cli.sample.unwrap_or(10_000),
    };
    let numbers = cli.sample.unwrap_or(all).min(all);
    let note = cli.notes.join(format!(
        "{:?}-{:?}-{}-{}-of-{}.json",
        cli.copy, cli.depth, numbers, cli.shard, cli.shards
    ));
    let mut counts = if cli.resume { Counts::read(&note)? } else { Counts::default() };
    // sled's panics are caught, and would only fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let (began, before) = (Instant::now(), counts.seconds);
    let work = scratch.path().join("work");
    while counts.next < numbers {
        let index = counts.next;
        counts.next += 1;
        if index % cli.shards == cli.shard {
            master.try_case(cli, (index, numbers, all), &work, &mut counts);
        }
        counts.seconds = before + began.elapsed().as_secs_f64();
        if index.is_multiple_of(SECOND_LOOK * 64) {
            counts.write(&note)?;
        }
        if cli.limit.is_some_and(|limit| began.elapsed().as_secs() >= limit) {
            break;
        }
    }
    counts.write(&note)?;
    counts.tell(cli, numbers)?;
    Ok(counts.failed == 0)
}

impl Master {
    fn make(dir: &Path) -> Result<Self> {
        let records = journal(dir)?;
        ensure!(records.len() as u64 == RECORDS, "{} records", records.len());
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)?.chain(fs::read_dir(dir.join("gen-1"))?) {
            let path = entry?.path();
            let name = path.strip_prefix(dir)?.to_owned();
            if path.is_file() && name != Path::new(BALLAST) {
                files.push((name, fs::read(&path)?));
            }
        }
        let of = |name: &str| fs::read(dir.join(name)).with_context(|| format!("no {name}"));
        let (audit, sled) = (of(AUDIT)?, of(SLED)?);
        let sled_used = sled.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(Self { records, files, audit, sled_used })
    }

    fn try_case(&self, cli: &Cli, place: (u64, u64, u64), work: &Path, counts: &mut Counts) {
        let (index, numbers, all) = place;
        // Spread evenly, and not always on the same bit.
        let spread = if numbers == all {
            index
        } else {
            (index * (all / numbers)) + mix(index) % (all / numbers).max(1)
        };
        let (audit, sled) = match cli.copy {
            Copies::Audit => (Damage::of(spread), None),
            Copies::Sled => (None, Damage::of(spread)),
            Copies::Both => (
                Damage::of(mix(index) % (self.audit.len() * KINDS) as u64),
                Damage::of(mix(index + all) % (self.sled_used * KINDS) as u64),
            ),
        };
        if audit.is_none() && sled.is_none() {
            return;
        }
        counts.cases += 1;
        let began = Instant::now();
        let again = counts.cases.is_multiple_of(SECOND_LOOK);
        let tried = catch_unwind(AssertUnwindSafe(|| {
            self.lay_out(work, audit, sled)?;
            match cli.depth {
                Depth::Read => self.read(work),
                Depth::Open => self.open(work, cli.copy == Copies::Both, again),
            }
        }));
        let failure = match tried {
            Ok(Ok(_)) if began.elapsed() > TOO_LONG => "it took too long".to_owned(),
            Ok(Ok(Became::Exact)) => return counts.exact += 1,
            Ok(Ok(Became::Told)) => return counts.told += 1,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "a panic got out".to_owned(),
        };
        counts.failed += 1;
        if counts.failed <= TOLD as u64 {
            anstream::eprintln!("case {index}: audit {audit:?}, sled {sled:?}: {failure}");
        }
    }

    fn lay_out(&self, work: &Path, audit: Option<Damage>, sled: Option<Damage>) -> Result<()> {
        if work.exists() {
            fs::remove_dir_all(work)?;
        }
        fs::create_dir_all(work.join("gen-1"))?;
        for (name, bytes) in &self.files {
            let damage = match name.to_str() {
                Some(AUDIT) => audit,
                Some(SLED) => sled,
                _ => None,
            };
            match damage {
                Some(damage) => fs::write(work.join(name), damage.done_to(bytes))?,
                None => fs::write(work.join(name), bytes)?,
            }
        }
        // It holds nothing: with holes it costs nothing either.
        Ok(fs::File::create(work.join(BALLAST))?.set_len(4 << 20)?)
    }

    /// Whether somebody who only reads the audit file sees that it is not what was written.
    fn read(&self, work: &Path) -> Result<Became> {
        match load(work, Uuid::nil()) {
            Err(_) => return Ok(Became::Exact),
            Ok(loaded) if loaded.torn.is_some() => return Ok(Became::Exact),
            // Cut between two appends: the anchor and sled know that there was more.
            Ok(loaded) if loaded.ledger.head().seq < RECORDS => return Ok(Became::Told),
            Ok(_) => {}
        }
        let report = check_dir(work, None)?;
        ensure!(report.worst().is_some(), "nobody sees it");
        Ok(Became::Exact)
    }

    fn open(&self, work: &Path, may_lose: bool, again: bool) -> Result<Became> {
        let options = OpenOptions::new(work.to_owned(), Uuid::nil());
        let store = match open(&options) {
            Ok((store, _)) => store,
            Err(OpenError::Gap { found_seq, known_seq, .. }) if may_lose => {
                ensure!(found_seq < known_seq && known_seq <= RECORDS + 1, "a wrong gap");
                return Ok(Became::Told);
            }
            Err(error) => return Err(error.into()),
        };
        let found = store.scan(1)?;
        ensure!(self.records.starts_with(&found), "other records than were written");
        let whole = found.len() == self.records.len();
        ensure!(whole || may_lose, "records are lost: {} are there", found.len());
        drop(store);
        let report = check_dir(work, None)?;
        let grave = report.findings.iter().filter(|it| it.severity > Severity::Note);
        for finding in grave {
            ensure!(finding.kind == Kind::Altered, "{finding:?}");
        }
        if again {
            let (store, report) = open(&options)?;
            ensure!(store.head().seq == found.len() as u64, "the second start finds another end");
            ensure!(report.healed.is_empty(), "the second start heals again: {report:?}");
        }
        // What ends before the anchor is told by the anchor.
        Ok(if whole { Became::Exact } else { Became::Told })
    }
}

impl Counts {
    fn read(note: &Path) -> Result<Self> {
        let Ok(text) = fs::read(note) else { return Ok(Self::default()) };
        let value: Value = serde_json::from_slice(&text)?;
        let number = |name: &str| value[name].as_u64().with_context(|| format!("no {name}"));
        Ok(Self {
            next: number("next")?,
            cases: number("cases")?,
            exact: number("exact")?,
            told: number("told")?,
            failed: number("failed")?,
            seconds: value["seconds"].as_f64().unwrap_or_default(),
        })
    }

    fn write(&self, note: &Path) -> Result<()> {
        let Self { next, cases, exact, told, failed, seconds } = self;
        let value = json!({"next": next, "cases": cases, "exact": exact, "told": told,
            "failed": failed, "seconds": seconds});
        fs::create_dir_all(note.parent().unwrap_or(Path::new(".")))?;
        Ok(fs::write(note, value.to_string())?)
    }

    fn tell(&self, cli: &Cli, numbers: u64) -> Result<()> {
        let Self { next, cases, exact, told, failed, seconds } = self;
        let done = if *next < numbers { "so far" } else { "whole" };
        Ok(writeln!(
            std::io::stdout().lock(),
            "{:?}, {:?}, part {} of {}, {done} ({next} of {numbers} numbers): {cases} cases, \
             {exact} exact, {told} told, {failed} failed, {seconds:.0} s",
            cli.copy,
            cli.depth,
            cli.shard,
            cli.shards
        )?)
    }
}

/// A number that looks random, always the same for one index.
fn mix(index: u64) -> u64 {
    let mut value = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ (value >> 31)) >> 1
}

/// A journal of 200 records in a directory that does not exist yet.
fn journal(dir: &Path) -> Result<Vec<Record>> {
    let (store, _) = open(&OpenOptions::new(dir.to_owned(), Uuid::from_u128(1)))?;
    let stream = StreamId(Uuid::from_u128(0x100));
    let append = |stream, operation, events| {
        let expected = store.stream_head(stream).map_or(0, |head| head.stream_seq);
        let (epoch, time_us, blobs) = (Epoch(1), 1_767_225_600_000_000, Vec::new());
        store.append(Append { stream, expected, epoch, operation, time_us, events, blobs })
    };
    let genesis = Event::Genesis { namespace_uid: "namespace".into() };
    append(StreamId::JOURNAL, None, vec![genesis, Event::EpochBegun { holder: "me".into() }])?;
    let opened = |name: &str| Event::CacheOpened { namespace: "shop".into(), name: name.into() };
    append(stream, None, vec![opened("sessions")])?;
    let mut number = 0_u32;
    while store.head().seq + 4 <= RECORDS {
        number += 1;
        let id = OperationId(Uuid::from_u128(0x200 + u128::from(number)));
        let (template, _) = text_for_event("template".into());
        let step = Step::SetTemplate { digest: number.to_string(), template };
        let key = StepKey::of(id, &step.target(), 1);
        let goal = Goal::Members { size: number + 1, catalogs: 1 };
        let cause = Cause { generation: 1, reason: "spec.size".into() };
        let begun = Event::OperationBegun { kind: OperationKind::ScaleUp, goal, cause };
        let evidence = String::from("{}");
        let intended = Event::StepIntended { step, attempt: 1, key, evidence: evidence.clone() };
        append(stream, Some(id), vec![begun, intended])?;
        let flagged = None;
        let done = Event::StepSucceeded { key, found_by_probe: false, flagged, evidence };
        append(stream, Some(id), vec![done])?;
        append(stream, Some(id), vec![Event::OperationEnded { end: End::Succeeded }])?;
    }
    while store.head().seq < RECORDS {
        let next = StreamId(Uuid::from_u128(0x900 + u128::from(store.head().seq)));
        append(next, None, vec![opened("last")])?;
    }
    Ok(store.scan(1)?)
}
