//! Two operators on one world. The first one is stopped in the middle of a step (SIGSTOP) until the
//! second one has taken over, and then goes on: it may neither write nor act.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use xsld_journal::event::Event;
use xsld_journal::record::Record;
use xsld_sim::calls::Call;

use super::bootstrap::MINUTE;
use super::losses::lose;
use super::scale::CHANGE;
use crate::context::records::{Intent, records};
use crate::context::{Context, Kind, OperatorOptions, Seen};
use crate::kill::{Kill, Moment};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    let steps = [
        ("join_member", Moment::Intended),
        ("join_member", Moment::Unsent),
        ("join_member", Moment::Running),
        ("disjoin_member", Moment::Intended),
    ];
    let mut all: Vec<_> = steps
        .into_iter()
        .map(|(step, moment)| {
            let word = moment.word();
            let name = format!("fencing::a_paused_operator_wakes_too_late_to_act/{step}_{word}");
            Scenario::new(name, move |c| Box::pin(wakes_too_late(c, Kill::at(step, moment))))
        })
        .collect();
    all.push(Scenario::new("fencing::a_paused_operator_keeps_the_lock_of_its_journal", |c| {
        Box::pin(keeps_the_lock(c))
    }));
    all
}

/// An operator on another machine: another journal, its own log.
fn another(c: &Context) -> OperatorOptions {
    OperatorOptions {
        journal_dir: Some(c.dir.join("second/journal")),
        log: Some(c.dir.join("second/operator.log")),
        ..OperatorOptions::default()
    }
}

/// Sizes before and after, for a step of this kind.
fn sizes(step: &str) -> (u32, u32) {
    if step == "disjoin_member" { (2, 1) } else { (1, 2) }
}

async fn wakes_too_late(c: &Context, kill: Kill) -> Result {
    let (before, after) = sizes(kill.step);
    c.create("c", before).await?;
    c.ready("c", before, 2 * MINUTE).await?;
    let armed = c.arm("c", kill).await?;
    c.resize("c", after).await?;
    let intent = armed.freeze().await?;
    c.operator_may_end();
    let written = c.records()?;
    ensure!(written.iter().any(|record| record.seq() == intent.seq), "its intent is not durable");

    let options = another(c);
    let mut second = c.spawn_operator(&options).await?;
    let dir = c.dir.join("second/journal");
    c.wait("the second operator to finish", CHANGE, async || {
        ensure!(second.try_wait()?.is_none(), "it ended: {}", second.log_tail(5));
        let ended = records(&dir)?.iter().any(|one| matches!(one.event, Event::Adopted { .. }));
        let cache = c.get(Kind::Cache, "c").await?;
        let settled = ended && cache["status"]["members"] == after && is_settled(&cache);
        Ok(Seen::when(settled, || cache["status"].to_string()))
    })
    .await?;
    let set = generation(c).await?;

    c.freeze_operator(false).await?;
    let status = c.operator_ends(MINUTE).await?;
    ensure!([Some(20), Some(16)].contains(&status.code()), "it ended with {status}");
    let late = c.records()?.split_off(written.len());
    ensure!(late.is_empty(), "it wrote after it woke: {late:?}");
    ensure!(generation(c).await? == set, "it wrote the StatefulSet");
    let taken_over = records(&dir)?;
    acts_in_turn(&c.calls()?, &written, &taken_over)?;
    ensure!(second.try_wait()?.is_none(), "the second operator ended: {}", second.log_tail(5));

    // The second journal is the true one from now on.
    ensure!(second.terminate().await?.success(), "the second operator did not end well");
    lose(c)?;
    std::fs::rename(dir, c.journal_dir())?;
    c.start_operator().await?;
    c.ready("c", after, CHANGE).await?;
    // Whichever of the two asked for it.
    let effect = if kill.step == "join_member" { "join_started" } else { "disjoined" };
    ensure!(c.count(effect, "c-1")? == 1, "{} x {effect} of c-1", c.count(effect, "c-1")?);
    Ok(())
}

fn is_settled(cache: &serde_json::Value) -> bool {
    cache["status"]["operation"].is_null() && crate::context::is_true(cache, "Ready", None)
}

async fn generation(c: &Context) -> Result<i64> {
    let set = c.get(Kind::StatefulSet, "c").await?;
    set["metadata"]["generation"].as_i64().context("a StatefulSet without a generation")
}

/// Every effect of either operator came after its own term was durable, and none of the first one's
/// after the second one's term.
fn acts_in_turn(calls: &[Call], first: &[Record], second: &[Record]) -> Result {
    let term = begun(second)?;
    for (journal, records) in [("first", first), ("second", second)] {
        let begun = begun(records)?;
        for intent in records.iter().filter_map(Intent::of) {
            ensure!(intent.seq > begun.seq(), "the {journal} intended before its term");
            let key = intent.key.to_string();
            for call in calls.iter().filter(|call| call.key.contains(&key)) {
                let at = call.time.as_microsecond();
                ensure!(at > begun.envelope.time_us, "the {journal} acted before its term");
                ensure!(
                    journal == "second" || call.effect == "none" || at < term.envelope.time_us,
                    "the first acted in the second's term: {call:?}"
                );
            }
        }
    }
    Ok(())
}

fn begun(records: &[Record]) -> Result<&Record> {
    let begins = |record: &&Record| matches!(record.event, Event::EpochBegun { .. });
    records.iter().find(begins).context("no term was begun")
}

/// On the same volume the lock keeps a second operator away for as long as the first one is there,
/// however it stands still; and when nobody took its lease meanwhile, the first one goes on.
async fn keeps_the_lock(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let armed = c.arm("c", Kill::at("join_member", Moment::Running)).await?;
    c.resize("c", 2).await?;
    armed.freeze().await?;
    c.operator_may_end();
    let written = c.records()?.len();
    let log = c.dir.join("second.log");
    let same = OperatorOptions { log: Some(log), ..OperatorOptions::default() };
    let dir = c.journal_dir().display().to_string();
    super::operators::refused(c, &same, 10, &[&dir]).await?;
    ensure!(c.records()?.len() == written, "the second operator wrote to a locked journal");
    // Longer than the lease, which nobody took.
    let lease = Duration::from_secs(7);
    let begun = std::time::Instant::now();
    c.wait("the lease to run out", MINUTE, async || {
        Ok(Seen::when(begun.elapsed() > lease, || "it is valid".to_owned()))
    })
    .await?;
    c.freeze_operator(false).await?;
    // It may have been too late to renew: then it ends, and is started again as its pod would be.
    let joined = c.wait("the join to be recorded", CHANGE, async || {
        let members = c.folded()?.streams.values().map(|cache| cache.members.len()).max();
        Ok(Seen::when(members == Some(2) || c.operator_has_ended().await?, || {
            format!("{members:?} members")
        }))
    });
    joined.await?;
    if c.operator_has_ended().await? {
        let status = c.operator_ends(MINUTE).await?;
        ensure!(status.code() == Some(20), "it ended with {status}");
        c.start_operator().await?;
    }
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    Ok(())
}
