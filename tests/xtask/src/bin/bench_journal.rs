//! Measures the journal, all in one run on one disk:
//!
//! - how long an append takes with 1, 8 and 64 writers, beside what the disk itself takes for as
//!   many writers (the floor: a line appended to a plain file, then `fdatasync`) and beside a
//!   durable commit of redb;
//! - how long a journal of 10,000, 100,000 and 1,000,000 records takes to open and fold, from a
//!   checkpoint and without one, and to verify as a whole, beside a bare scan of its files, which
//!   reads, unpacks and splits them into lines. Each in a process of its own, which tells the most
//!   memory that it had.
//!
//! The files were just written, so the system holds them in memory.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde_json::{Value, json};
use uuid::Uuid;
use xsld_journal::audit::{Lines, checkpoints, segments};
use xsld_journal::check::check_dir;
use xsld_journal::event::Event;
use xsld_journal::record::{Epoch, StreamId};
use xsld_journal::store::{Append, OpenOptions, SledStore, Store, open};

/// Writers that append at the same time.
const WRITERS: [usize; 3] = [1, 8, 64];
/// Size of a bare write and of a value in redb: about a line of the audit file.
const LINE_BYTES: usize = 900;
const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");

/// Measures the journal.
#[derive(Debug, Parser)]
struct Cli {
    /// Folder on the disk that is to be measured.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// One JSON object for each row.
    #[arg(long)]
    json: bool,
    /// A tenth of everything.
    #[arg(long)]
    quick: bool,
    /// Does one thing with the journal in the folder and tells how long it took.
    #[arg(long, hide = true)]
    probe: Option<Probe>,
}

/// What a process of its own is measured at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Probe {
    /// Opens and folds.
    Open,
    /// Verifies everything.
    Check,
    /// Reads every line of every file, and does nothing with it.
    Scan,
}

/// How long the appends of one kind took.
struct Appends {
    what: &'static str,
    writers: usize,
    spans: Vec<Duration>,
    took: Duration,
}

/// What a process of its own told.
#[derive(Clone, Copy)]
struct Told {
    took_ms: u64,
    peak_kib: u64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(probe) = cli.probe {
        return told(probe, &cli.dir);
    }
    let part = if cli.quick { 10 } else { 1 };
    let dir = tempfile::tempdir_in(&cli.dir).context("cannot make a folder to measure in")?;
    let mut print = Print { as_json: cli.json, goals: Vec::new() };
    for writers in WRITERS {
        // Enough appends for a 99th percentile that means something.
        let each = (30_000 / part / writers).max(20).min(3000 / part);
        let name = |what: &str| dir.path().join(format!("{what}-{writers}"));
        let floor = floor(&name("file"), writers, each)?;
        let journal = journal(&name("journal"), writers, each)?;
        let redb = redb(&name("redb"), writers, each.min(3000 / part / writers).max(2))?;
        print.appends([floor, journal, redb])?;
    }
    for records in [10_000, 100_000, 1_000_000] {
        let records = records / part as u64;
        print.journal(records, &dir.path().join(format!("open-{records}")))?;
    }
    print.goals()
}

/// What the disk takes: each writer appends a line to one file and syncs it.
fn floor(path: &Path, writers: usize, each: usize) -> Result<Appends> {
    let file = File::options().append(true).create_new(true).open(path)?;
    let line = [b'x'; LINE_BYTES];
    let one = |_: usize, _: usize| {
        (&file).write_all(&line)?;
        Ok(file.sync_data()?)
    };
    let (spans, took) = together(writers, each, &one)?;
    Ok(Appends { what: "write + fdatasync", writers, spans, took })
}

fn journal(path: &Path, writers: usize, each: usize) -> Result<Appends> {
    let store = Arc::new(new_journal(path)?);
    let streams: Vec<StreamId> = (0..writers).map(|writer| stream(writer as u128)).collect();
    for stream in &streams {
        append(&store, *stream, 0, vec![opened()])?;
    }
    let one = |writer: usize, number: usize| {
        append(&store, streams[writer], number as u64 + 1, vec![pinned(number)])
    };
    let (spans, took) = together(writers, each, &one)?;
    Ok(Appends { what: "journal", writers, spans, took })
}

fn redb(path: &Path, writers: usize, each: usize) -> Result<Appends> {
    let db = Database::create(path)?;
    let value = [b'x'; LINE_BYTES];
    let one = |writer: usize, number: usize| {
        let write = db.begin_write()?;
        let key = (writer as u64) << 32 | number as u64;
        write.open_table(TABLE)?.insert(key, value.as_slice())?;
        write.commit()?;
        Ok(())
    };
    let (spans, took) = together(writers, each, &one)?;
    let stored = db.begin_read()?.open_table(TABLE)?.len()?;
    anyhow::ensure!(stored == (writers * each) as u64, "redb holds {stored} values");
    Ok(Appends { what: "redb", writers, spans, took })
}

/// Lets writers do something at the same time; how long each took, and all together.
fn together(
    writers: usize,
    each: usize,
    one: &(dyn Fn(usize, usize) -> Result<()> + Sync),
) -> Result<(Vec<Duration>, Duration)> {
    let begun = Instant::now();
    let spans = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    (0..each)
                        .map(|number| {
                            let begun = Instant::now();
                            one(writer, number).map(|()| begun.elapsed())
                        })
                        .collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<Duration>>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a writer panicked")))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok((spans.concat(), begun.elapsed()))
}

/// A journal of so many records, as an operator leaves it that writes no faster than its full
/// segments are packed.
fn filled(path: &Path, records: u64) -> Result<()> {
    let store = new_journal(path)?;
    append(&store, stream(0), 0, vec![opened()])?;
    let mut last = 1;
    while store.head().seq < records {
        let count = (records - store.head().seq).min(256);
        let events = (0..count).map(|number| pinned(number as usize)).collect();
        append(&store, stream(0), last, events)?;
        last += count;
    }
    drop(store);
    // Packs what is full and was not packed yet, and makes a checkpoint.
    drop(open(&OpenOptions::new(path.to_owned(), Uuid::from_u128(1)))?);
    Ok(())
}

/// Does one thing in this process, and tells how long it took and how much memory it had.
fn told(probe: Probe, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    let (records, checkpoint) = match probe {
        Probe::Open => {
            let (store, report) = open(&OpenOptions::new(dir.to_owned(), Uuid::from_u128(1)))?;
            let told = (store.head().seq, report.checkpoint);
            tell(begun, told)?;
            return Ok(());
        }
        Probe::Check => {
            let report = check_dir(dir, None)?;
            anyhow::ensure!(report.worst().is_none(), "{:?}", report.findings);
            (report.records, report.checkpoints as u64)
        }
        Probe::Scan => {
            let lines = Lines::new(segments(dir)?);
            let read = lines.map(|line| Ok(line?.text.len() as u64)).collect::<Result<Vec<u64>>>();
            (read?.len() as u64, 0)
        }
    };
    tell(begun, (records, checkpoint))
}

fn tell(begun: Instant, (records, checkpoint): (u64, u64)) -> Result<()> {
    let took_ms = begun.elapsed().as_millis() as u64;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    line(
        &json!({"took_ms": took_ms, "peak_kib": peak.context("no VmHWM in /proc/self/status")?,
        "records": records, "checkpoint": checkpoint})
        .to_string(),
    )
}

/// Lets a process of its own do one thing with a journal.
fn probe(probe: Probe, dir: &Path, records: u64, from_checkpoint: bool) -> Result<Told> {
    let name = probe.to_possible_value().context("a probe without a name")?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--probe", name.get_name(), "--dir"])
        .arg(dir)
        .output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{probe:?} failed: {error}");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| told[name].as_u64().with_context(|| format!("no {name}"));
    anyhow::ensure!(number("records")? == records, "{} records were found", told["records"]);
    anyhow::ensure!((number("checkpoint")? > 0) == from_checkpoint, "not as meant: {told}");
    Ok(Told { took_ms: number("took_ms")?, peak_kib: number("peak_kib")? })
}

/// Bytes of the audit file, packed and not, and of sled.
fn sizes(dir: &Path) -> Result<(u64, u64)> {
    let mut audit = 0;
    for segment in segments(dir)? {
        audit += std::fs::metadata(segment.path)?.len();
    }
    Ok((audit, std::fs::metadata(dir.join("gen-1/db"))?.len()))
}

fn new_journal(path: &Path) -> Result<SledStore> {
    let (store, _) = open(&OpenOptions::new(path.to_owned(), Uuid::from_u128(1)))?;
    let genesis = Event::Genesis { namespace_uid: "bench".into() };
    let epoch = Event::EpochBegun { holder: "bench".into() };
    append(&store, StreamId::JOURNAL, 0, vec![genesis, epoch])?;
    Ok(store)
}

fn stream(number: u128) -> StreamId {
    StreamId(Uuid::from_u128(number + 1))
}

fn opened() -> Event {
    Event::CacheOpened { namespace: "bench".into(), name: "bench".into() }
}

fn pinned(number: usize) -> Event {
    let fingerprint = format!("{number:064}");
    Event::TrustPinned { ordinal: 0, claim_uid: "claim".into(), fingerprint }
}

fn append(store: &SledStore, stream: StreamId, expected: u64, events: Vec<Event>) -> Result<()> {
    let (epoch, operation, time_us, blobs) = (Epoch(1), None, 0, Vec::new());
    store.append(Append { stream, expected, epoch, operation, time_us, events, blobs })?;
    Ok(())
}

/// A figure that is to be reached.
struct Goal {
    what: String,
    is: f64,
    /// What it may be at most, or has to be at least.
    bound: f64,
    at_least: bool,
}

struct Print {
    as_json: bool,
    goals: Vec<Goal>,
}

impl Print {
    fn appends(&mut self, all: [Appends; 3]) -> Result<()> {
        let mut floor = None;
        for Appends { what, writers, mut spans, took } in all {
            spans.sort_unstable();
            let at = |part: usize| spans[(spans.len() - 1) * part / 100].as_micros() as u64;
            let a_second = (spans.len() as f64 / took.as_secs_f64()).round();
            let (p50, p99, count) = (at(50), at(99), spans.len());
            let floor = *floor.get_or_insert(p50);
            let ratio = p50 as f64 / floor as f64;
            if what == "journal" && writers == 1 {
                self.goal("p50 of an append, of the floor, 1 writer", ratio, 1.3, false);
            }
            if what == "journal" && writers == 64 {
                self.goal("records/s with 64 writers", a_second, 50_000.0, true);
            }
            if self.as_json {
                let row = json!({"what": what, "writers": writers, "appends": count,
                    "p50_us": p50, "p99_us": p99, "of_floor": ratio, "appends_per_s": a_second});
                line(&row.to_string())?;
            } else {
                line(&format!(
                    "{what:<18} {writers:>3} writers  p50 {p50:>7} us ({ratio:>5.2} of the floor)  \
                     p99 {p99:>7} us  {a_second:>8} appends/s  ({count} appends)"
                ))?;
            }
        }
        Ok(())
    }

    fn journal(&mut self, records: u64, path: &Path) -> Result<()> {
        filled(path, records)?;
        let (audit, sled) = sizes(path)?;
        let has_checkpoint = !checkpoints(path)?.is_empty();
        let of_record = |bytes: u64| bytes as f64 / records as f64;
        let (audit_bytes, sled_bytes) = (of_record(audit), of_record(sled));
        let scan = probe(Probe::Scan, path, records, false)?;
        let check = probe(Probe::Check, path, records, has_checkpoint)?;
        let ratio = check.took_ms as f64 / scan.took_ms.max(1) as f64;
        let mut rows = vec![("bare scan", scan), ("full verification", check)];
        if has_checkpoint {
            let open = probe(Probe::Open, path, records, true)?;
            rows.push(("open from a checkpoint", open));
            if records == 1_000_000 {
                let name = format!("ms to open and fold {records} from a checkpoint");
                self.goal(&name, open.took_ms as f64, 2000.0, false);
                let name = format!("MiB at most while opening {records}");
                self.goal(&name, (open.peak_kib / 1024) as f64, 256.0, false);
            }
        }
        for (_, checkpoint) in checkpoints(path)? {
            std::fs::remove_file(checkpoint)?;
        }
        rows.push(("open and fold all", probe(Probe::Open, path, records, false)?));
        if records >= 100_000 {
            let name = format!("full verification of {records}, of a bare scan");
            self.goal(&name, ratio, 3.0, false);
        }
        for (what, Told { took_ms, peak_kib }) in rows {
            if self.as_json {
                let row = json!({"what": what, "records": records, "took_ms": took_ms,
                    "peak_kib": peak_kib, "audit_bytes_a_record": audit_bytes,
                    "sled_bytes_a_record": sled_bytes});
                line(&row.to_string())?;
            } else {
                let bytes = of_record(peak_kib * 1024);
                line(&format!(
                    "{what:<23} {records:>8} records  {took_ms:>6} ms  at most {:>5} MiB, {bytes:>6.0} \
                     bytes a record",
                    peak_kib / 1024
                ))?;
            }
        }
        if !self.as_json {
            line(&format!(
                "on disk                 {records:>8} records  {audit_bytes:.0} bytes a record in the \
                 audit file, {sled_bytes:.0} in sled"
            ))?;
        }
        Ok(())
    }

    fn goal(&mut self, what: &str, is: f64, bound: f64, at_least: bool) {
        self.goals.push(Goal { what: what.to_owned(), is, bound, at_least });
    }

    fn goals(self) -> Result<()> {
        for Goal { what, is, bound, at_least } in self.goals {
            let met = if at_least { is >= bound } else { is <= bound };
            let wanted = if at_least { ">=" } else { "<=" };
            if self.as_json {
                let row = json!({"goal": what, "is": is, "bound": bound, "wanted": wanted,
                    "met": met});
                line(&row.to_string())?;
            } else {
                let met = if met { "met" } else { "MISSED" };
                line(&format!("goal: {what} {wanted} {bound}: {is:.2}, {met}"))?;
            }
        }
        Ok(())
    }
}

fn line(text: &str) -> Result<()> {
    Ok(writeln!(anstream::stdout(), "{text}")?)
}
