//! Old records go while a cache lives, and nothing that the operator acts on goes with them.

use anyhow::ensure;
use xsld_journal::event::Event;

use super::bootstrap::MINUTE;
use super::scale::CHANGE;
use super::starts::{answer, told};
use crate::context::{Context, OperatorOptions, Seen};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("retention::records_go_while_a_cache_lives_and_it_scales_on", |c| {
        Box::pin(scales_on(c))
    })]
}

/// Segments of some twenty records, of which no more than this are kept.
fn keeping(size: &str) -> OperatorOptions {
    let variable = |name: &str, value: &str| (format!("XSLD_OPERATOR_{name}"), value.to_owned());
    let environment =
        vec![variable("JOURNAL_SEGMENT_SIZE", "16Ki"), variable("JOURNAL_KEEP_SIZE", size)];
    OperatorOptions { environment, ..OperatorOptions::default() }
}

/// The last record that was retired; 0 while none was.
fn retired(c: &Context) -> Result<u64> {
    let records = c.records()?;
    let through = records.iter().rev().find_map(|record| match record.event {
        Event::RecordsRetired { through, .. } => Some(through),
        _ => None,
    });
    Ok(through.unwrap_or(0))
}

async fn scales_on(c: &Context) -> Result {
    c.terminate_operator().await?;
    c.start_operator_with(&keeping("0")).await?;
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    for size in [3, 1, 2] {
        c.resize("c", size).await?;
        c.ready("c", size, CHANGE).await?;
    }
    ensure!(retired(c)? == 0, "records were retired without a limit");
    c.terminate_operator().await?;
    c.export().await?;

    // Killed as soon as the retirement is recorded, perhaps before anything is deleted.
    c.start_operator_with(&keeping("1")).await?;
    c.resize("c", 3).await?;
    c.wait("records to be retired", MINUTE, async || {
        Ok(Seen::when(retired(c)? > 0, || "none was".to_owned()))
    })
    .await?;
    c.kill_operator().await?;
    c.start_operator_with(&keeping("1")).await?;
    c.ready("c", 3, CHANGE).await?;

    let through = retired(c)?;
    let log = c.journal_command(&["log", "-o", "json"]).await?;
    ensure!(log.status.success(), "the log ends with {}", log.status);
    let first: serde_json::Value =
        serde_json::from_slice(log.stdout.split(|byte| *byte == b'\n').next().unwrap_or_default())?;
    ensure!(first["seq"] == through + 1, "the log begins with {}", first["seq"]);
    let past = c.journal_command(&["state", "--at", "1"]).await?;
    ensure!(past.status.code() == Some(2), "a retired state was told: {past:?}");

    // Still the same cache: it goes on from what its retired records came to, and the next start
    // retires more behind them.
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    c.terminate_operator().await?;
    c.export().await?;
    c.start_operator_with(&keeping("1")).await?;
    c.wait("more records to be retired", MINUTE, async || {
        Ok(Seen::when(retired(c)? > through, || format!("still {through}")))
    })
    .await?;
    told(c, "RecordsRetired").await?;
    measured(c, retired(c)?).await
}

async fn measured(c: &Context, through: u64) -> Result {
    let line = format!("xsld_operator_journal_first_sequence {}", through + 1);
    c.wait("the metrics to tell the first kept record", MINUTE, async || {
        let (_, metrics) = answer(c, "/metrics").await?;
        Ok(Seen::when(metrics.lines().any(|found| found == line), || line.clone()))
    })
    .await
}
