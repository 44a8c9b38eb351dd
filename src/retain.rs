//! Keeps the journal within its limits: looks from time to time for records that may go, lets the
//! store retire them, and tells how much there is.
//!
//! The first look is when the rebuild quiet is over, so that nothing goes while people may still
//! have to find out what a journal says that was lost or set back. Retiring runs on a thread that
//! may block; appends go on meanwhile.
//!
//! What is old is told by clocks, and clocks are set. So records go for their age only when two looks
//! a day apart agree on the time, by the monotonic clock and by the API server's, and then a few
//! segments at a look: a clock that jumped is put right, or seen, before the trail is gone. The limit
//! of size needs no clock.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};
use xsld_journal::retention::{Done, Limits, Retirement};
use xsld_journal::store::{Figures, RetireError};

use crate::clock::Moment;
use crate::controller::Context;
use crate::events::{self, Note};
use crate::exit;
use crate::metrics::ErrorLabels;
use crate::recover::forked;
use crate::telemetry::chain;

/// How often it is looked for records that may go. A segment is filled in days.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// From so many records of one operation on, people are told: its coalesced retries alone do not
/// come to that.
const OPERATION_RECORDS_MAX: u32 = 256;

/// From so many kept records on, people are told: a start takes about two seconds for them, and
/// sled's copy some 600 MB. Only records behind the newest checkpoint are folded, so far fewer than
/// these would say nothing.
const KEPT_RECORDS_MAX: u64 = 1_000_000;

/// How far apart two looks must be that agree on the time, before anything goes for its age. Where
/// less is kept, that.
const AGREEING: Duration = Duration::from_secs(86_400);

/// How far clocks may be from each other and agree.
const TOLERANCE: Duration = Duration::from_secs(600);

/// How many segments go for their age at one look.
const AGED_AT_ONCE: usize = 4;

/// Tells the figures and looks for records to retire, until the context's stop token is cancelled.
pub async fn run(context: Arc<Context>, limits: Limits) {
    let mut told = Warned::default();
    let mut next_look = context.destroys_from;
    let mut looks = Looks::default();
    loop {
        told.of(&measure(&context).await);
        if context.clock.now() >= next_look {
            look(&context, limits, &mut looks).await;
            next_look = context.clock.now().plus(LOOK_EVERY);
            measure(&context).await;
        }
        let pause = pause(context.clock.now(), next_look, context.times.anchor);
        tokio::select! {
            () = context.clock.sleep(pause) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

/// Until the next look, but no longer than the figures may be old.
fn pause(now: Moment, next_look: Moment, figures: Duration) -> Duration {
    match next_look.since(now) {
        Duration::ZERO => figures,
        left => left.min(figures),
    }
}

/// When a look was, by each clock.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    now: Moment,
    wall_us: i64,
    server_us: Option<i64>,
}

/// The first of the looks that agree on how time goes.
#[derive(Debug, Default)]
struct Looks(Option<Clocks>);

impl Looks {
    /// Takes a look into account. The time by which records may go for their age, when a look so long
    /// ago agrees with this one.
    fn agreed(&mut self, look: Clocks, apart: Duration) -> Option<i64> {
        let tolerance = TOLERANCE.as_micros();
        let (wall, server) = (i128::from(look.wall_us), look.server_us.map(i128::from));
        if server.is_some_and(|server| wall.abs_diff(server) > tolerance) {
            self.0 = None;
            return None;
        }
        let first = *self.0.get_or_insert(look);
        let passed = look.now.since(first.now);
        let on_the_wall = wall - i128::from(first.wall_us);
        let expected = i128::try_from(passed.as_micros()).unwrap_or(i128::MAX);
        if on_the_wall.abs_diff(expected) > tolerance {
            self.0 = Some(look);
            return None;
        }
        let now_us = look.server_us.map_or(look.wall_us, |server| server.min(look.wall_us));
        (passed >= apart).then_some(now_us)
    }
}

/// Retires what may go: for the size as much as it takes, for the age a little.
async fn look(context: &Arc<Context>, limits: Limits, looks: &mut Looks) {
    let clocks = Clocks {
        now: context.clock.now(),
        wall_us: context.clock.wall().as_microsecond(),
        server_us: context.server_time.now_us(),
    };
    if limits.bytes.is_some() {
        let by_size = Limits { age_us: None, ..limits };
        while retire(context, by_size, clocks.wall_us, usize::MAX).await {}
    }
    let Some(age_us) = limits.age_us else { return };
    let kept = Duration::from_micros(u64::try_from(age_us).unwrap_or(0));
    if let Some(now_us) = looks.agreed(clocks, AGREEING.min(kept)) {
        let by_age = Limits { bytes: None, ..limits };
        retire(context, by_age, now_us, AGED_AT_ONCE).await;
    }
}

/// Retires what is beyond these limits, so much at once; false when nothing was, or may be.
async fn retire(context: &Arc<Context>, limits: Limits, now_us: i64, at_most: usize) -> bool {
    if !context.leadership.covers(context.times.request) || context.stop.is_cancelled() {
        return false;
    }
    let anchored = context.anchor.lock().await.last().map_or(0, |anchor| anchor.seq);
    let (epoch, keep_from) = (context.epoch, anchored);
    let ask = Retirement { limits, keep_from, at_most, epoch, now_us };
    let store = context.store.clone();
    let retired = tokio::task::spawn_blocking(move || store.retire(&ask)).await;
    match retired {
        Ok(Ok(Some(done))) => {
            tell(context, &done).await;
            true
        }
        Ok(Ok(None)) => false,
        Ok(Err(error)) => {
            failed(context, &error).await;
            false
        }
        Err(error) => {
            context.fail(format!("retiring records ended: {error}"), exit::POISONED);
            false
        }
    }
}

async fn tell(context: &Context, done: &Done) {
    let Done { through, records, bytes, reason, seq } = done;
    info!(through, records, bytes, reason, seq, "records of the journal were retired");
    context.metrics.journal_retired_records.inc_by(*records);
    let message = format!(
        "{records} records of the journal, up to record {through}, were retired, because {reason}: \
         what they came to is kept, and record {seq} says so"
    );
    publish(context, Note { seq: Some(*seq), ..note("RecordsRetired", false, message) }).await;
}

async fn failed(context: &Context, error: &RetireError) {
    let text = chain(error);
    match error {
        RetireError::Poisoned { .. } => return context.fail(text, exit::POISONED),
        RetireError::Append(append) if append.is_poisoned() => {
            return context.fail(text, exit::POISONED);
        }
        RetireError::Io(_) | RetireError::Append(_) => {
            warn!(error = text, "records could not be retired; it is tried again in an hour");
        }
        RetireError::Differs { .. } | RetireError::BaseLost { .. } => {
            error!(error = text, "records could not be retired");
        }
    }
    context.metrics.errors.get_or_create(&ErrorLabels { category: "retention" }).inc();
    let message = format!("records of the journal could not be retired: {text}");
    publish(context, note("RetentionFailed", true, message)).await;
}

fn note(reason: &'static str, warning: bool, message: String) -> Note {
    Note { reason, warning, message, operation: None, seq: None, action: "RetireRecords" }
}

/// An Event of the anchor's ConfigMap, where people look for what is odd about the journal.
async fn publish(context: &Context, note: Note) {
    let anchor = forked::anchor(&context.operator_namespace);
    let (client, wall) = (&context.client, context.clock.wall());
    let timeout = context.times.request;
    events::publish(client, &anchor, &[note], &context.instance, wall, timeout).await;
}

/// Collects the figures and shows them as metrics.
async fn measure(context: &Context) -> Figures {
    let store = context.store.clone();
    let figures = tokio::task::spawn_blocking(move || store.figures()).await.unwrap_or_default();
    context.metrics.tell_figures(&figures);
    figures
}

/// What was told in the log, so that it is told when it begins and not each time.
#[derive(Debug, Default)]
struct Warned {
    operation: bool,
    kept: bool,
    reserve: bool,
}

impl Warned {
    fn of(&mut self, figures: &Figures) {
        let Beyond { operation, kept, reserve } = beyond(figures);
        if operation && !self.operation {
            let records = figures.operation_records;
            warn!(records, "an open operation has more records than is usual: look at its steps");
        }
        if kept && !self.kept {
            let records = figures.kept();
            warn!(records, "the journal keeps so many records that a start takes seconds");
        }
        if reserve && !self.reserve {
            warn!("there is no room for the reserve of the journal: nothing new is begun");
        }
        *self = Self { operation, kept, reserve };
    }
}

/// Which limits are passed.
#[derive(Debug, PartialEq, Eq)]
struct Beyond {
    operation: bool,
    kept: bool,
    reserve: bool,
}

fn beyond(figures: &Figures) -> Beyond {
    Beyond {
        operation: figures.operation_records >= OPERATION_RECORDS_MAX,
        kept: figures.kept() > KEPT_RECORDS_MAX,
        reserve: !figures.has_reserve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Figures {
        Figures { first_seq: 801, last_seq: 900, has_reserve: true, ..Figures::default() }
    }

    #[test]
    fn each_limit_is_told_from_its_own_figure() {
        let no = Beyond { operation: false, kept: false, reserve: false };
        assert_eq!(beyond(&usual()), no);
        assert_eq!(usual().kept(), 100);
        let long = Figures { operation_records: 256, ..usual() };
        assert_eq!(beyond(&long), Beyond { operation: true, ..no });
        let many = Figures { last_seq: 1_000_801, ..usual() };
        assert_eq!(beyond(&many), Beyond { kept: true, operation: false, reserve: false });
        assert!(!beyond(&Figures { last_seq: 1_000_800, ..usual() }).kept);
        let full = Figures { has_reserve: false, ..usual() };
        assert!(beyond(&full).reserve);
        assert_eq!(Figures::default().kept(), 0);
    }

    /// A look after so many hours of the monotonic clock, at so many on the wall and for the API server.
    fn at(hours: u64, wall: i64, server: Option<i64>) -> Clocks {
        let us = |hours: i64| hours * 3_600_000_000;
        let now = Moment(Duration::from_secs(hours * 3600));
        Clocks { now, wall_us: us(wall), server_us: server.map(us) }
    }

    #[test]
    fn nothing_goes_for_its_age_before_two_looks_a_day_apart_agree_on_the_time() {
        let mut looks = Looks::default();
        for hour in 0..24 {
            let wall = i64::try_from(hour).unwrap() + 1000;
            assert_eq!(looks.agreed(at(hour, wall, Some(wall)), AGREEING), None, "{hour}");
        }
        assert_eq!(looks.agreed(at(24, 1024, Some(1024)), AGREEING), Some(1024 * 3_600_000_000));
        // The wall clock jumps by ten years: from then on a day must pass with it.
        let years = 10 * 8766;
        assert_eq!(looks.agreed(at(25, 1025 + years, None), AGREEING), None);
        assert_eq!(looks.agreed(at(48, 1048 + years, None), AGREEING), None);
        assert!(looks.agreed(at(49, 1049 + years, None), AGREEING).is_some());
        // The API server says otherwise: however long the wall clock keeps to it.
        for hour in 50..100 {
            let wall = i64::try_from(hour).unwrap() + 1000;
            assert_eq!(looks.agreed(at(hour, wall + years, Some(wall)), AGREEING), None, "{hour}");
        }
        // It is put right.
        assert_eq!(looks.agreed(at(100, 1100, Some(1100)), AGREEING), None);
        assert!(looks.agreed(at(124, 1124, Some(1124)), AGREEING).is_some());
    }

    #[test]
    fn it_waits_for_the_next_look_and_never_longer_than_the_figures_may_be_old() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert_eq!(pause(at(10), at(11), minute), second);
        assert_eq!(pause(at(10), at(100), minute), minute);
        assert_eq!(pause(at(10), at(9), minute), minute);
    }
}
