//! A person decides about a parked operation, and it goes on or ends accordingly.

use std::process::Output;

use anyhow::{Context as _, ensure};
use serde_json::json;
use xsld_journal::event::{End, Event, OperationId};
use xsld_journal::record::Record;

use super::bootstrap::MINUTE;
use super::scale::CHANGE;
use crate::context::{Context, Kind};
use crate::{Result, Scenario};

const REASON: &str = "the proxy that dropped it is repaired";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("decisions::a_parked_join_is_sent_again_when_a_person_says_retry", |c| {
            Box::pin(retried(c))
        }),
        Scenario::new("decisions::a_parked_join_ends_when_a_person_abandons_it", |c| {
            Box::pin(abandoned(c))
        }),
    ]
}

/// What a person knows who looked: the operation, and the last record of its cache.
pub(super) struct Parked {
    pub(super) operation: OperationId,
    pub(super) head: u64,
}

/// A join of which every request is dropped before the member reads it: it is sent again until it
/// is parked. No evidence ever decides it, so it stays so.
pub(super) async fn park(c: &Context) -> Result<Parked> {
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    // The pod is to be there before its requests can be dropped.
    c.resize("c", 2).await?;
    c.wait("the second pod", CHANGE, async || {
        let dropped = json!({"fault": "reset", "method": "POST", "command": "Join"});
        Ok(crate::context::Seen::when(c.fault("c-1", dropped).await.is_ok(), String::new))
    })
    .await?;
    c.wait_condition(Kind::Cache, "c", ("NeedsAttention", "True", "Parked"), CHANGE).await?;
    last_parked(&c.records()?)
}

fn last_parked(records: &[Record]) -> Result<Parked> {
    let found = records.iter().rfind(|one| matches!(one.event, Event::OperationParked { .. }));
    let found = found.context("no operation was parked")?;
    let last = records.iter().rfind(|one| one.envelope.stream == found.envelope.stream);
    let operation = found.envelope.operation.context("it names no operation")?;
    Ok(Parked { operation, head: last.map_or(0, Record::seq) })
}

async fn resolve(c: &Context, parked: &Parked, decision: &str, head: u64) -> Result<Output> {
    let (operation, head) = (parked.operation.to_string(), head.to_string());
    let decided = ["--decision", decision, "--reason", REASON, "--expect-head", &head];
    c.journal_command(&[&["resolve", operation.as_str()], &decided[..]].concat()).await
}

/// The names of the records that followed on the operation after a decision.
pub(super) fn follows(records: &[Record], operation: OperationId) -> Vec<&'static str> {
    let of = records.iter().filter(|one| one.envelope.operation == Some(operation));
    let names = of.map(|one| one.event.name()).skip_while(|name| *name != "decided");
    names.skip(1).collect()
}

/// Refuses what must be refused, then records the decision while the operator is away.
async fn decide(c: &Context, parked: &Parked, decision: &str) -> Result {
    let held = resolve(c, parked, decision, parked.head).await?;
    ensure!(held.status.code() == Some(2), "it was recorded beside a running operator: {held:?}");
    c.terminate_operator().await?;
    let stale = resolve(c, parked, decision, parked.head - 1).await?;
    ensure!(stale.status.code() == Some(2), "it was recorded on an old state: {stale:?}");
    ensure!(c.recorded("decided")? == 0, "a refused decision was recorded");
    let done = resolve(c, parked, decision, parked.head).await?;
    ensure!(done.status.success(), "it was not recorded: {done:?}");
    ensure!(c.recorded("decided")? == 1, "it is not in the journal");
    Ok(())
}

async fn retried(c: &Context) -> Result {
    let parked = park(c).await?;
    ensure!(c.count("join_started", "c-1")? == 0, "a dropped request took effect");
    decide(c, &parked, "retry").await?;
    c.clear_faults("c-1").await?;
    c.start_operator().await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "it was not joined exactly once");
    let follows = follows(&c.records()?, parked.operation);
    ensure!(follows.first() == Some(&"operation_resumed"), "after the decision: {follows:?}");
    ensure!(follows.last() == Some(&"operation_ended"), "after the decision: {follows:?}");
    let asks = c.get(Kind::Cache, "c").await?;
    let asks = crate::context::is_true(&asks, "NeedsAttention", None);
    ensure!(!asks, "a person is still asked");
    Ok(())
}

async fn abandoned(c: &Context) -> Result {
    let parked = park(c).await?;
    decide(c, &parked, "abandon").await?;
    c.clear_faults("c-1").await?;
    c.start_operator().await?;
    // The spec still asks for two members: a new operation looks at everything anew.
    c.ready("c", 2, CHANGE).await?;
    let records = c.records()?;
    let follows = follows(&records, parked.operation);
    ensure!(
        follows == ["operation_resumed", "step_void", "operation_ended"],
        "after the decision: {follows:?}"
    );
    let told = records.iter().any(|one| match &one.event {
        Event::OperationEnded { end: End::Failed { reason } } => {
            reason.contains("decided abandon") && reason.contains(REASON)
        }
        _ => false,
    });
    ensure!(told, "its end does not tell who and why");
    ensure!(c.count("join_started", "c-1")? == 1, "it was not joined exactly once");
    Ok(())
}
