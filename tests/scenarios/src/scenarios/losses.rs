//! The journal is lost, older than its anchor, or another one than the anchor's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use xsld_journal::event::Event;
use xsld_journal::state::Gap;

use super::bootstrap::MINUTE;
use super::scale::{CHANGE, until};
use crate::context::{Context, Kind, Seen};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("losses::a_journal_lost_in_a_join_is_begun_anew", |c| {
            Box::pin(lost_in_a_join(c))
        }),
        Scenario::new("losses::a_journal_lost_in_a_disjoin_is_begun_anew", |c| {
            Box::pin(lost_in_a_disjoin(c))
        }),
        Scenario::new("losses::an_older_copy_of_the_journal_is_set_aside", |c| {
            Box::pin(older_copy(c))
        }),
        Scenario::new("losses::a_lost_anchor_is_made_again_and_told", |c| Box::pin(no_anchor(c))),
    ]
}

/// The journal's volume is gone: the scenario keeps it where the operator does not look.
pub(super) fn lose(c: &Context) -> Result<PathBuf> {
    let lost = c.dir.join("lost-journal");
    std::fs::rename(c.journal_dir(), &lost)?;
    c.allow(|allowed| allowed.lost_journals.push(lost.clone()));
    Ok(lost)
}

fn gap(c: &Context) -> Result<Option<Gap>> {
    Ok(c.folded()?.log.gap)
}

/// The first operator on the empty volume is killed as soon as it has told the loss.
async fn begun_anew_in_spite_of_a_kill(c: &Context) -> Result<Gap> {
    c.start_operator_now().await?;
    let found = c
        .wait("the loss to be recorded", MINUTE, async || {
            Ok(gap(c)?.map_or_else(|| Seen::NotYet("no gap".to_owned()), Seen::Yes))
        })
        .await?;
    c.kill_operator().await?;
    c.start_operator().await?;
    Ok(found)
}

/// What everybody is told: the condition, and an Event where the anchor is.
async fn told(c: &Context) -> Result {
    c.wait_condition(Kind::Cache, "c", ("JournalHealthy", "True", "JournalGap"), MINUTE).await?;
    c.wait("the Event of the loss", MINUTE, async || {
        let events = c.list(Kind::Event).await?;
        let told = events.iter().any(|event| event["reason"] == "JournalGap");
        Ok(Seen::when(told, || format!("{} events", events.len())))
    })
    .await
}

/// The UIDs of all claims.
pub(super) async fn claims(c: &Context) -> Result<Vec<String>> {
    let claims = c.list(Kind::Claim).await?;
    Ok(claims.iter().map(|claim| claim["metadata"]["uid"].to_string()).collect())
}

async fn lost_in_a_join(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let before = claims(c).await?;
    c.resize("c", 3).await?;
    until(c, "join_started", "c-1").await?;
    c.kill_operator().await?;
    lose(c)?;
    let gap = begun_anew_in_spite_of_a_kill(c).await?;
    ensure!(gap.anchor_seq > 0 && gap.found_seq == 0, "{gap:?}");
    c.ready("c", 3, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined more than once");
    ensure!(c.count("join_started", "c-2")? == 1, "c-2 was joined more than once");
    let after = claims(c).await?;
    ensure!(before.iter().all(|uid| after.contains(uid)), "a volume went");
    ensure!(c.recorded("adopted")? == 1, "the group was not adopted");
    told(c).await
}

async fn lost_in_a_disjoin(c: &Context) -> Result {
    c.create("c", 3).await?;
    c.ready("c", 3, 3 * MINUTE).await?;
    c.resize("c", 1).await?;
    until(c, "disjoin_started", "c-2").await?;
    c.kill_operator().await?;
    lose(c)?;
    begun_anew_in_spite_of_a_kill(c).await?;
    c.ready("c", 1, CHANGE).await?;
    ensure!(c.count("disjoined", "c-2")? <= 1, "c-2 was disjoined more than once");
    told(c).await
}

fn copy(from: &Path, to: &Path) -> Result {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The volume is restored from a backup that knows of one member, while the group has two.
async fn older_copy(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.kill_operator().await?;
    let backup = c.dir.join("backup");
    copy(&c.journal_dir(), &backup)?;
    let known = crate::context::records::records(&backup)?;
    let last = known.last().context("the backup is empty")?.seq();
    c.start_operator().await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    c.kill_operator().await?;
    lose(c)?;
    copy(&backup, &c.journal_dir())?;
    let gap = begun_anew_in_spite_of_a_kill(c).await?;
    ensure!(gap.found_seq == last && gap.anchor_seq > last, "{gap:?} with {last} records");
    let kept = crate::context::records::former(&c.journal_dir())?;
    ensure!(kept == known, "what was set aside is not what was found");
    c.ready("c", 2, CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined again");
    told(c).await?;
    // The new journal carries on: a member can go, with its receipt.
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    ensure!(c.count("disjoined", "c-1")? == 1 || c.count("disjoined", "c-0")? == 1);
    Ok(())
}

async fn no_anchor(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.kill_operator().await?;
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(c.client(), &c.namespace);
    api.delete("xsld-operator-journal", &kube::api::DeleteParams::default()).await?;
    c.start_operator().await?;
    c.wait("the Event of the lost anchor", MINUTE, async || {
        let events = c.list(Kind::Event).await?;
        let told = events.iter().any(|event| event["reason"] == "AnchorLost");
        Ok(Seen::when(told, || format!("{} events", events.len())))
    })
    .await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    let epochs =
        c.records()?.iter().filter(|r| matches!(r.event, Event::EpochBegun { .. })).count();
    ensure!(epochs == 2, "{epochs} terms");
    Ok(())
}
