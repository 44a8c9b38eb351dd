//! Start-up: what the operator does with the journal, the anchor and the objects that it finds, row
//! by row of the table in docs/operations.md. What is lost in the middle of an operation is among
//! the losses.

use std::process::Output;

use anyhow::{Context as _, ensure};
use serde_json::json;
use xsld_journal::event::Event;
use xsld_journal::record::Record;

use super::bootstrap::MINUTE;
use super::losses::{claims, lose};
use super::scale::CHANGE;
use crate::context::{Context, Kind, Person, READER, Seen, condition, is_true};
use crate::{Result, Scenario};

/// The rebuild quiet of this world, less a tick of the clock, in microseconds.
const QUIET_US: i64 = 3_900_000;

const ANCHOR: &str = "xsld-operator-journal";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("starts::without_journal_and_anchor_what_is_there_is_adopted", |c| {
            Box::pin(adoption(c))
        }),
        Scenario::new("starts::a_crash_before_the_first_anchor_is_no_loss", |c| {
            Box::pin(before_the_anchor(c))
        }),
        Scenario::new("starts::a_lost_volume_that_comes_back_is_set_aside", |c| {
            Box::pin(came_back(c))
        }),
        Scenario::new("starts::a_forked_journal_is_read_only_until_a_person_decides", |c| {
            Box::pin(forked(c))
        }),
        Scenario::new(
            "starts::an_api_server_set_back_is_told_and_its_older_spec_takes_nothing_away",
            |c| Box::pin(set_back(c)),
        ),
        Scenario::new("starts::an_anchor_set_back_alone_is_told", |c| Box::pin(anchor_set_back(c))),
    ]
}

pub(super) async fn told(c: &Context, reason: &str) -> Result {
    c.wait(&format!("the Event {reason}"), MINUTE, async || {
        let told = is_told(c, reason).await?;
        Ok(Seen::when(told, || "no such Event".to_owned()))
    })
    .await
}

async fn is_told(c: &Context, reason: &str) -> Result<bool> {
    let events = c.list(Kind::Event).await?;
    Ok(events.iter().any(|event| event["reason"] == reason))
}

/// The records of the last term.
fn last_term(c: &Context) -> Result<Vec<Record>> {
    let records = c.records()?;
    let begun = records.iter().rposition(|one| matches!(one.event, Event::EpochBegun { .. }));
    Ok(records[begun.context("no term has begun")?..].to_vec())
}

/// Nothing destructive was even intended in the last term before the rebuild quiet was over, and
/// something was after it.
fn quiet_was_kept(c: &Context) -> Result {
    let records = last_term(c)?;
    let began = records[0].envelope.time_us;
    let destroys = |record: &&Record| match &record.event {
        Event::StepIntended { step, .. } => step.is_destructive(),
        _ => false,
    };
    let first = records.iter().find(destroys).context("nothing was destroyed at all")?;
    let waited = first.envelope.time_us - began;
    ensure!(waited >= QUIET_US, "record {} came {waited} us after the start", first.seq());
    Ok(())
}

/// Both the journal and the anchor are gone, and the spec asks for fewer members than there are.
async fn adoption(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let before = claims(c).await?;
    c.kill_operator().await?;
    lose(c)?;
    c.allow(|allowed| allowed.lost_anchor = true);
    c.delete(Kind::ConfigMap, ANCHOR).await?;
    c.resize("c", 1).await?;
    c.start_operator().await?;
    told(c, "Adopting").await?;
    c.ready("c", 1, CHANGE).await?;
    ensure!(c.recorded("adopted")? == 1, "the group was not adopted");
    ensure!(c.recorded("genesis")? == 1, "there is no genesis");
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    ensure!(c.count("disjoined", "c-1")? == 1, "c-1 was not disjoined once");
    let after = claims(c).await?;
    ensure!(after.len() == 1 && before.contains(&after[0]), "{before:?} became {after:?}");
    quiet_was_kept(c)
}

/// The very first operator died between its journal and its anchor.
async fn before_the_anchor(c: &Context) -> Result {
    c.wait("the journal to begin", MINUTE, async || {
        let begun = c.recorded("epoch_begun")?;
        Ok(Seen::when(begun == 1, || format!("{begun} terms")))
    })
    .await?;
    c.kill_operator().await?;
    c.delete(Kind::ConfigMap, ANCHOR).await?;
    c.start_operator().await?;
    c.wait_for(Kind::ConfigMap, ANCHOR, "made again", MINUTE, |anchor| {
        anchor["data"]["sequence"].is_string()
    })
    .await?;
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    ensure!(c.recorded("genesis")? == 1, "the journal was begun twice");
    for reason in ["AnchorLost", "Adopting", "JournalGap"] {
        ensure!(!is_told(c, reason).await?, "{reason} was told");
    }
    Ok(())
}

/// The volume is lost, a journal is begun anew, and then the former volume is found and mounted.
async fn came_back(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.kill_operator().await?;
    let first = lose(c)?;
    c.start_operator().await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    c.kill_operator().await?;
    let second = c.records()?.first().context("an empty journal")?.envelope.journal_id;
    let lost = c.dir.join("second-journal");
    std::fs::rename(c.journal_dir(), &lost)?;
    c.allow(|allowed| allowed.lost_journals = vec![lost]);
    std::fs::rename(first, c.journal_dir())?;
    c.start_operator().await?;
    let gap = c
        .wait("the loss to be recorded", MINUTE, async || {
            let gap = c.folded()?.log.gap.filter(|gap| gap.old_journal == second);
            Ok(gap.map_or_else(|| Seen::NotYet("no such gap".to_owned()), Seen::Yes))
        })
        .await?;
    c.wait("the group to be adopted", MINUTE, async || {
        let adopted = c.recorded("adopted")?;
        Ok(Seen::when(adopted == 1, || format!("adopted {adopted} times")))
    })
    .await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(gap.found_seq == 0, "what was found is another journal: {gap:?}");
    ensure!(c.count("join_started", "")? == 1, "a member was joined again");
    c.wait_condition(Kind::Cache, "c", ("JournalHealthy", "True", "JournalGap"), MINUTE)
        .await
        .map(drop)
}

pub(super) async fn answer(c: &Context, path: &str) -> Result<(u16, String)> {
    let address = c.operator_address().context("its log tells no address")?;
    let answer = c.stage.http.get(format!("http://{address}{path}")).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

async fn metric(c: &Context, name: &str) -> Result<String> {
    let (_, text) = answer(c, "/metrics").await?;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(found.with_context(|| format!("there is no metric {name} in\n{text}"))?.to_owned())
}

/// The anchor names another record than the journal has: one of the two was forked or altered.
async fn forked(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.kill_operator().await?;
    let auditor = c.person("auditor", &READER).await?;
    let anchor = c.get(Kind::ConfigMap, ANCHOR).await?;
    let hash = anchor["data"]["hash"].as_str().context("an anchor without a hash")?.to_owned();
    let seq = anchor["data"]["sequence"].as_str().context("an anchor without a sequence")?;
    let set = |hash: &str| json!({"data": {"hash": hash}});
    c.patch(Kind::ConfigMap, ANCHOR, set(&"ab".repeat(32))).await?;
    c.resize("c", 2).await?;
    let before = c.records()?;
    let calls = c.calls()?.len();
    c.start_operator_now().await?;
    c.wait_condition(Kind::Cache, "c", ("JournalHealthy", "False", "JournalForked"), MINUTE)
        .await?;
    told(c, "JournalForked").await?;
    let (status, ready) = answer(c, "/readyz").await?;
    ensure!(status == 503 && ready.starts_with("read-only: "), "{status}: {ready}");
    ensure!(answer(c, "/healthz").await?.0 == 200, "it is not healthy");
    ensure!(metric(c, "xsld_operator_journal_read_only").await? == "1");
    // Everything can be read, also that it is a fork.
    let log = c.journal_command(&["log"]).await?;
    ensure!(log.status.success() && !log.stdout.is_empty(), "log ends with {}", log.status);
    let given = format!("{seq}:{}", "ab".repeat(32));
    let check = c.journal_command(&["check", "--anchor", &given]).await?;
    ensure!(check.status.code() == Some(4), "check ends with {}", check.status);
    read_over_https(c, &auditor).await?;
    // It has looked more than once by now, and did nothing.
    let events = c.list(Kind::Event).await?.len();
    c.wait("another look", MINUTE, async || {
        let text = std::fs::read_to_string(c.log())?;
        let looks = text.matches("the journal is forked: nothing is done").count();
        Ok(Seen::when(looks >= 3, || format!("{looks} looks")))
    })
    .await?;
    ensure!(c.list(Kind::Event).await?.len() <= events + 2, "the same is told again and again");
    ensure!(c.records()? == before, "a record was written");
    ensure!(c.calls()?.len() == calls, "a member was asked to change something");
    let replicas = &c.get(Kind::StatefulSet, "c").await?["spec"]["replicas"];
    ensure!(*replicas == 1, "it acted: {replicas} replicas");
    // A person says that the journal is the true one.
    c.patch(Kind::ConfigMap, ANCHOR, set(&hash)).await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(answer(c, "/readyz").await?.0 == 200, "it is not ready");
    ensure!(metric(c, "xsld_operator_journal_read_only").await? == "0");
    let check = c.plugin(&auditor)?.arg("check").output().await?;
    ensure!(check.status.success(), "check ends with {}", check.status);
    Ok(())
}

/// Who is on call reads the fork through kubectl, and changes nothing.
async fn read_over_https(c: &Context, auditor: &Person) -> Result {
    let check = async || -> Result<Output> { Ok(c.plugin(auditor)?.arg("check").output().await?) };
    c.wait("the forked journal to be served", MINUTE, async || {
        let code = check().await?.status.code();
        Ok(Seen::when(code == Some(4), || format!("check ends with {code:?}")))
    })
    .await?;
    let told = check().await?.stdout;
    let told = String::from_utf8_lossy(&told);
    ensure!(told.contains("the anchor names another record"), "{told}");
    let log = c.plugin(auditor)?.arg("log").output().await?;
    ensure!(log.status.success() && !log.stdout.is_empty(), "log ends with {}", log.status);
    let cache = format!("{}/c", c.namespace);
    let plan = c.plugin(auditor)?.args(["plan", &cache, "--size", "3"]).output().await?;
    let told = String::from_utf8_lossy(&plan.stderr);
    ensure!(plan.status.code() == Some(2) && told.contains("the journal is forked"), "{told}");
    Ok(())
}

/// The cluster's own store is restored from a backup of when the cache had one member: the object,
/// its StatefulSet, the anchor and the Lease. The journal's volume was not.
async fn set_back(c: &Context) -> Result {
    c.allow(|allowed| (allowed.scaled_by_hand, allowed.set_back) = (true, true));
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let lease = c.list(Kind::Lease).await?.first().context("there is no lease")?.clone();
    let lease = lease["metadata"]["name"].as_str().context("a lease without a name")?.to_owned();
    let mut backup = Vec::new();
    for (kind, name) in [
        (Kind::Cache, "c"),
        (Kind::StatefulSet, "c"),
        (Kind::ConfigMap, ANCHOR),
        (Kind::Lease, &lease),
    ] {
        backup.push(c.backup(kind, name).await?);
    }
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    let former = c.get(Kind::Cache, "c").await?;
    c.kill_operator().await?;
    for stored in &backup {
        c.restore(stored).await?;
    }
    c.wait_for(Kind::Cache, "c", "set back", MINUTE, |cache| {
        cache["spec"]["size"] == 1
            && cache["metadata"]["uid"] == former["metadata"]["uid"]
            && cache["metadata"]["generation"].as_i64() < former["metadata"]["generation"].as_i64()
    })
    .await?;
    c.start_operator().await?;
    told(c, "ClusterRestored").await?;
    // The status was set back too, and says Ready until the first look.
    c.wait_for(Kind::Cache, "c", "no longer Ready", MINUTE, |cache| !is_true(cache, "Ready", None))
        .await?;
    older_is_told(c, "with size 2").await?;
    // After another start, and changed until its generation is beyond what was acted on, it is as old
    // as before.
    c.kill_operator().await?;
    c.start_operator().await?;
    c.wait("its term to begin", MINUTE, async || {
        let terms = c.recorded("epoch_begun")?;
        Ok(Seen::when(terms == 3, || format!("{terms} terms")))
    })
    .await?;
    for paused in [true, false, true, false] {
        c.patch(Kind::Cache, "c", json!({"spec": {"paused": paused}})).await?;
    }
    older_is_told(c, "with size 2").await?;
    let gone = |c: &Context| -> Result<usize> {
        Ok(c.count("disjoined", "c-1")? + c.count("ghost_removed", "c-1")?)
    };
    c.wait_views("c", 2, 2 * CHANGE).await?;
    ensure!(gone(c)? == 0, "c-1 went for the sake of an older spec");
    confirm_older(c).await?;
    c.ready("c", 1, 2 * CHANGE).await?;
    ensure!(c.count("join_started", "c-1")? == 1, "c-1 was joined again");
    ensure!(gone(c)? == 1, "c-1 left {} times", gone(c)?);
    quiet_was_kept(c)?;
    // The same generation is not older than itself.
    c.kill_operator().await?;
    c.start_operator().await?;
    c.ready("c", 1, MINUTE).await?;
    let found = (c.recorded("spec_older")?, c.recorded("spec_confirmed")?);
    ensure!(found == (1, 1), "found and confirmed {found:?} times");
    Ok(())
}

/// Confirms the older spec as the condition says.
async fn confirm_older(c: &Context) -> Result {
    let live = c.get(Kind::Cache, "c").await?;
    let told = condition(&live, "NeedsAttention").and_then(|told| told["message"].as_str());
    let confirm =
        told.and_then(|told| told.rsplit_once("confirm-generation=")).context("no word")?.1;
    let confirm =
        json!({"metadata": {"annotations": {"xsld.ibm.com/confirm-generation": confirm}}});
    c.patch(Kind::Cache, "c", confirm).await?;
    Ok(())
}

/// The older spec is told as it is and as it was.
async fn older_is_told(c: &Context, was: &str) -> Result {
    c.wait_for(Kind::Cache, "c", "told as older", 2 * CHANGE, |cache| {
        let told = condition(cache, "NeedsAttention").filter(|it| it["reason"] == "SpecOlder");
        let message = told.and_then(|told| told["message"].as_str()).unwrap_or_default();
        let confirm = format!("confirm-generation={}", cache["metadata"]["generation"]);
        ["asks for size 1", was, &confirm].iter().all(|words| message.contains(*words))
    })
    .await?;
    Ok(())
}

/// The anchor alone is older than a destructive step that was sent.
async fn anchor_set_back(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let backup = c.backup(Kind::ConfigMap, ANCHOR).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    c.kill_operator().await?;
    c.restore(&backup).await?;
    c.resize("c", 2).await?;
    c.start_operator().await?;
    told(c, "ClusterRestored").await?;
    // What destroys nothing need not wait.
    c.ready("c", 2, CHANGE).await?;
    c.resize("c", 1).await?;
    c.ready("c", 1, CHANGE).await?;
    quiet_was_kept(c)
}
