//! `journal log`: the records, one a line.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::describe::{describe, mood};
use super::output::escape;
use super::select::Names;
use super::source::Order;
use super::{CacheName, Error, Format, Output, Point, Source, operation_matches};
use crate::audit::{Assembler, Follower, Item, readable_event, time_text};
use crate::chain;
use crate::event::OperationId;
use crate::record::Record;

/// How often a followed journal is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
/// How much of an operation's id is shown: the part that a time-ordered id does not repeat.
const SHORT_ID: usize = 13;

/// Options of `log`.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// Only the records of this cache, by name or by UID. Another cache that had the same name
    /// before is meant too.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    cache: Option<CacheName>,

    /// Only the records of this operation; the beginning of its id is enough.
    #[arg(long, value_name = "ID")]
    operation: Option<String>,

    /// Only from this record or time (UTC) on.
    #[arg(long, value_name = "SEQ|TIME")]
    since: Option<Point>,

    /// Only up to this record or time (UTC), it included.
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<Point>,

    /// Only records of this type, such as `step_failed`. May be given several times.
    #[arg(long = "type", value_name = "TYPE", value_parser = known_type)]
    types: Vec<String>,

    /// Goes on with new records as they are written, until it is stopped or `--until` is reached.
    #[arg(long, short)]
    follow: bool,
}

/// A record as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    seq: u64,
    time: String,
    epoch: u64,
    stream: String,
    cache: Option<String>,
    stream_seq: u64,
    operation: Option<OperationId>,
    #[serde(rename = "type")]
    type_name: &'a str,
    event: Value,
    hash: String,
}

/// The name of an event that there is.
fn known_type(text: &str) -> Result<String, String> {
    let names = crate::codec::event_names();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("there are only these types: {}", names.join(", ")))
}

impl Log {
    /// Whether it has no end.
    pub fn follows(&self) -> bool {
        self.follow
    }

    pub(super) fn run(&self, source: &Source, output: &mut Output<'_>) -> Result<(), Error> {
        let mut names = source.names();
        if output.format() == Format::Table {
            output.line(&columns("SEQ", "TIME", "CACHE", "OPERATION", "EVENT", 5, "DETAIL"))?;
        }
        if !self.follow {
            return source
                .each(output, |item, output| self.item(item, &mut names, output).map(|_| ()));
        }
        if !source.grows {
            return Err(Error::NotFound("an export does not grow: it cannot be followed".into()));
        }
        let retired = source.retired_through();
        let mut follower = Follower::after(&source.path, retired);
        let mut order = Order::after(retired);
        let mut assembler = Assembler::default();
        loop {
            for line in follower.read_new().map_err(|error| source.failed(error))? {
                for item in assembler.push(line) {
                    order.watch(&item, output)?;
                    if self.item(item, &mut names, output)? {
                        return Ok(());
                    }
                }
            }
            // Ends here when nobody reads any more, even while nothing is appended.
            output.flush()?;
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }

    /// Prints an item if it is meant, and says whether the end is reached.
    fn item(&self, item: Item, names: &mut Names, output: &mut Output<'_>) -> Result<bool, Error> {
        match item {
            Item::Record(found) => {
                let record = &found.entry.record;
                names.learn(record);
                if self.is_meant(record, names) {
                    print(record, names, output)?;
                }
                let ends = self.until.is_some_and(|until| {
                    until.is_passed_by(record) || until == Point::Seq(record.seq())
                });
                Ok(ends)
            }
            Item::Unreadable(unreadable) => output.unreadable(&unreadable).map(|()| false),
        }
    }

    fn is_meant(&self, record: &Record, names: &Names) -> bool {
        let envelope = &record.envelope;
        self.cache.as_ref().is_none_or(|cache| names.is(envelope.stream, cache))
            && self
                .operation
                .as_ref()
                .is_none_or(|prefix| operation_matches(envelope.operation, prefix))
            && (self.types.is_empty() || self.types.contains(&envelope.type_name))
            && self.since.is_none_or(|since| since.is_reached_by(record))
            && self.until.is_none_or(|until| !until.is_passed_by(record))
    }
}

fn print(record: &Record, names: &Names, output: &mut Output<'_>) -> Result<(), Error> {
    let envelope = &record.envelope;
    if output.format() == Format::Table {
        let operation = envelope.operation.map(|operation| operation.to_string());
        let short = operation.as_deref().and_then(|id| id.get(..SHORT_ID)).unwrap_or("-");
        let name = record.event.name();
        let text = columns(
            &record.seq().to_string(),
            &time_text(envelope.time_us),
            &escape(&names.shown(envelope.stream)),
            short,
            &output.paint(mood(&record.event), name),
            name.len(),
            &escape(&describe(&record.event)),
        );
        return output.line(&text);
    }
    output.object(&Shown {
        seq: record.seq(),
        time: time_text(envelope.time_us),
        epoch: envelope.epoch.0,
        stream: envelope.stream.to_string(),
        cache: names.of(envelope.stream),
        stream_seq: envelope.stream_seq,
        operation: envelope.operation,
        type_name: record.event.name(),
        event: readable_event(&record.event),
        hash: chain::to_hex(&record.hash),
    })
}

/// One line of the table. `event_width` is what the event takes up on the screen, which painting
/// does not change.
fn columns(
    seq: &str,
    time: &str,
    cache: &str,
    operation: &str,
    event: &str,
    event_width: usize,
    detail: &str,
) -> String {
    let pad = " ".repeat(18_usize.saturating_sub(event_width));
    format!("{seq:>6}  {time:<27}  {cache:<20}  {operation:<13}  {event}{pad}  {detail}")
}
