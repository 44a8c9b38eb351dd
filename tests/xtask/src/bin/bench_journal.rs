//! Measures the journal: the latency of an append with 1, 8 and 64 writers, beside what the disk
//! itself takes for a synced write and beside a durable commit of redb, all in one run on one
//! disk; and how long a journal of 10,000 and of 100,000 records takes to open and to fold.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use serde_json::json;
use uuid::Uuid;
use xsld_journal::event::Event;
use xsld_journal::record::{Epoch, StreamId};
use xsld_journal::replay;
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
}

/// One measurement.
enum Row {
    Append { what: &'static str, writers: usize, spans: Vec<Duration>, took: Duration },
    Open { records: u64, open: Duration, fold: Duration },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let part = if cli.quick { 10 } else { 1 };
    let dir = tempfile::tempdir_in(&cli.dir).context("cannot make a folder to measure in")?;
    let mut rows = Vec::new();
    for writers in WRITERS {
        // As many appends in all as give a 99th percentile that means something.
        let each = (3000 / part / writers).max(2);
        let name = |what: &str| dir.path().join(format!("{what}-{writers}"));
        if writers == 1 {
            rows.push(floor(&name("file"), each)?);
        }
        rows.push(journal(&name("journal"), writers, each)?);
        rows.push(redb(&name("redb"), writers, each)?);
    }
    for records in [10_000 / part as u64, 100_000 / part as u64] {
        rows.push(opening(&dir.path().join(format!("open-{records}")), records)?);
    }
    rows.iter_mut().try_for_each(|row| print(row, cli.json))
}

/// What the disk takes: append a line, sync it.
fn floor(path: &Path, count: usize) -> Result<Row> {
    let mut file = File::create(path)?;
    let line = [b'x'; LINE_BYTES];
    let begun = Instant::now();
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        file.write_all(&line)?;
        file.sync_data()?;
        spans.push(begun.elapsed());
    }
    Ok(Row::Append { what: "write + fdatasync", writers: 1, spans, took: begun.elapsed() })
}

fn journal(path: &Path, writers: usize, each: usize) -> Result<Row> {
    let store = Arc::new(new_journal(path)?);
    let streams: Vec<StreamId> = (0..writers).map(|writer| stream(writer as u128)).collect();
    for stream in &streams {
        append(&store, *stream, 0, vec![opened()])?;
    }
    let one = |writer: usize, number: usize| {
        append(&store, streams[writer], number as u64 + 1, vec![pinned(number)])
    };
    let (spans, took) = together(writers, each, &one)?;
    Ok(Row::Append { what: "journal", writers, spans, took })
}

fn redb(path: &Path, writers: usize, each: usize) -> Result<Row> {
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
    Ok(Row::Append { what: "redb", writers, spans, took })
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

fn opening(path: &Path, records: u64) -> Result<Row> {
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
    let begun = Instant::now();
    let (store, _) = open(&OpenOptions::new(path.to_owned(), Uuid::from_u128(1)))?;
    let open = begun.elapsed();
    let found = store.scan(1)?;
    anyhow::ensure!(found.len() as u64 == records, "{} records were found", found.len());
    let begun = Instant::now();
    replay::fold(&found)?;
    Ok(Row::Open { records, open, fold: begun.elapsed() })
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

fn print(row: &mut Row, as_json: bool) -> Result<()> {
    match row {
        Row::Append { what, writers, spans, took } => {
            spans.sort_unstable();
            let at = |part: usize| spans[(spans.len() - 1) * part / 100].as_micros();
            let a_second = spans.len() as f64 / took.as_secs_f64();
            let (p50, p99, count) = (at(50), at(99), spans.len());
            if as_json {
                line(
                    &json!({"what": what, "writers": writers, "appends": count, "p50_us": p50,
                    "p99_us": p99, "appends_per_s": a_second.round()})
                    .to_string(),
                )
            } else {
                line(&format!(
                    "{what:<18} {writers:>3} writers  p50 {p50:>7} us  p99 {p99:>7} us  \
                     {a_second:>8.0} appends/s  ({count} appends)"
                ))
            }
        }
        Row::Open { records, open, fold } => {
            let (open_ms, fold_ms) = (open.as_millis(), fold.as_millis());
            if as_json {
                line(
                    &json!({"what": "open", "records": records, "open_ms": open_ms,
                    "fold_ms": fold_ms})
                    .to_string(),
                )
            } else {
                line(&format!("{records} records: open {open_ms} ms, of that a fold {fold_ms} ms"))
            }
        }
    }
}

fn line(text: &str) -> Result<()> {
    Ok(writeln!(anstream::stdout(), "{text}")?)
}
