//! What is not another operator, and what is: labels of others on what the operator keeps its term
//! by, and two operators with one namespace between them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use xsld_sim::world::OperatorProcess;

use super::bootstrap::MINUTE;
use super::scale::{CHANGE, until};
use super::starts::told;
use crate::context::{Context, Kind, OperatorOptions, Seen};
use crate::{Result, Scenario};

/// What says whose a cache is.
const MARK: &str = "xsld.ibm.com/operated-by";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("operators::a_label_that_is_put_back_each_second_ends_no_operator", |c| {
            Box::pin(labelled(c))
        }),
        Scenario::new("operators::two_on_one_namespace_leave_each_others_caches_alone", |c| {
            Box::pin(two(c))
        }),
        Scenario::new("operators::a_mark_of_a_lost_journal_is_renewed", |c| Box::pin(renewed(c))),
    ]
}

/// A labeller of labels and annotations, on the anchor and the Lease.
fn labeller(c: &Context, over: &Arc<AtomicBool>) -> tokio::task::JoinHandle<u32> {
    let (maps, leases, over) = (c.api(Kind::ConfigMap), c.api(Kind::Lease), over.clone());
    tokio::spawn(async move {
        let mut rounds = 0_u32;
        while !over.load(Ordering::SeqCst) {
            let text = rounds.to_string();
            let change = json!({"metadata": {
                "labels": {"team": "platform", "round": text},
                "annotations": {"example.com/seen": text},
            }});
            let (params, change) = (PatchParams::default(), Patch::Merge(change));
            let anchor = maps.patch("xsld-operator-journal", &params, &change).await;
            let lease = leases.patch("xsld-operator", &params, &change).await;
            rounds += u32::from(anchor.is_ok() && lease.is_ok());
            // More often than each second of the cache's time, and than any term is renewed.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        rounds
    })
}

/// When the operator's Lease was last renewed, and how long a term lasts.
async fn renewed_at(c: &Context) -> Result<(jiff::Timestamp, jiff::SignedDuration)> {
    let lease = c.get(Kind::Lease, "xsld-operator").await?;
    let spec = &lease["spec"];
    let renewed = spec["renewTime"].as_str().context("no renewTime")?.parse()?;
    let seconds = spec["leaseDurationSeconds"].as_i64().context("no leaseDurationSeconds")?;
    Ok((renewed, jiff::SignedDuration::from_secs(seconds)))
}

async fn labelled(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let over = Arc::new(AtomicBool::new(false));
    let labels = labeller(c, &over);
    for size in [3, 1] {
        c.resize("c", size).await?;
        c.ready("c", size, CHANGE).await?;
    }
    // Beyond any term that could have begun before.
    let (from, lease) = renewed_at(c).await?;
    c.wait("a whole term of labels", MINUTE, async || {
        let (now, _) = renewed_at(c).await?;
        let lasted = now.duration_since(from);
        Ok(Seen::when(lasted > lease, || format!("renewed for {lasted:?} of {lease:?}")))
    })
    .await?;
    over.store(true, Ordering::SeqCst);
    let rounds = labels.await?;
    ensure!(rounds > 100, "only {rounds} rounds of labels");
    c.operator_still_runs().await?;
    ensure!(c.recorded("epoch_begun")? == 1, "another term has begun");
    for (kind, name) in [(Kind::ConfigMap, "xsld-operator-journal"), (Kind::Lease, "xsld-operator")]
    {
        let object = c.get(kind, name).await?;
        let metadata = &object["metadata"];
        ensure!(metadata["labels"]["team"] == "platform", "{name} lost a label: {metadata}");
        let seen = &metadata["annotations"]["example.com/seen"];
        ensure!(seen.is_string(), "{name} lost an annotation: {metadata}");
    }
    Ok(())
}

/// A second operator that lives in another namespace and looks at this one too.
struct Second {
    namespace: String,
    dir: PathBuf,
    process: OperatorProcess,
}

impl Second {
    async fn start(c: &Context) -> Result<Self> {
        let namespace = format!("{}-other", c.namespace);
        let api: Api<Namespace> = Api::all(c.client());
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        api.create(&PostParams::default(), &object).await?;
        let dir = c.dir.join("second");
        let options = OperatorOptions {
            operator_namespace: Some(namespace.clone()),
            journal_dir: Some(dir.join("journal")),
            log: Some(dir.join("operator.log")),
            ..OperatorOptions::default()
        };
        // What the second one does, it does with its own journal's intents.
        c.allow(|allowed| {
            allowed.lost_journals.push(dir.join("journal"));
            allowed.lost_anchor = true;
        });
        let process = c.spawn_operator(&options).await?;
        Ok(Self { namespace, dir, process })
    }

    fn recorded(&self, name: &str) -> Result<usize> {
        let records = crate::context::records::records(&self.dir.join("journal"))?;
        Ok(records.iter().filter(|record| record.event.name() == name).count())
    }

    async fn end(mut self, c: &Context) -> Result {
        let status = self.process.terminate().await?;
        ensure!(status.success(), "the second operator ended with {status}");
        let api: Api<Namespace> = Api::all(c.client());
        api.delete(&self.namespace, &DeleteParams::default()).await?;
        Ok(())
    }
}

fn mark_of(cache: &Value) -> String {
    cache["metadata"]["annotations"][MARK].as_str().unwrap_or_default().to_owned()
}

async fn two(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    let second = Second::start(c).await?;
    told(c, "OperatedByAnother").await?;
    // The first one joins and disjoins beside it: to the second one these would be ghosts.
    c.resize("c", 3).await?;
    c.ready("c", 3, CHANGE).await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await?;
    ensure!(second.recorded("cache_opened")? == 0, "the second operator took the cache up");
    ensure!(
        c.count("disjoined", "c-2")? == 1 && c.count("ghost_removed", "")? == 0,
        "a ghost went"
    );
    let claims = super::losses::claims(c).await?;

    // A person gives the cache to the other one, in the middle of a join.
    c.resize("c", 3).await?;
    until(c, "join_started", "c-2").await?;
    let given = json!({"metadata": {"annotations": {MARK: second.namespace}}});
    c.patch(Kind::Cache, "c", given).await?;
    c.wait("the first operator to leave it", MINUTE, async || {
        let left = c.recorded("cache_left")?;
        Ok(Seen::when(left == 1, || format!("left {left} times")))
    })
    .await?;
    c.wait("the second operator to adopt it", CHANGE, async || {
        let adopted = second.recorded("adopted")?;
        Ok(Seen::when(adopted == 1, || format!("adopted {adopted} times")))
    })
    .await?;
    c.ready("c", 3, CHANGE).await?;
    let cache = c.get(Kind::Cache, "c").await?;
    let mark = mark_of(&cache);
    ensure!(mark.starts_with(&format!("{}/", second.namespace)), "its mark is {mark}");
    let after = super::losses::claims(c).await?;
    ensure!(claims.iter().all(|claim| after.contains(claim)), "{claims:?} became {after:?}");
    ensure!(c.count("join_started", "c-2")? == 2, "c-2 was joined again");

    // And back: what the first one knew of it is old, and it begins with what it finds.
    let own = json!({"metadata": {"annotations": {MARK: c.namespace}}});
    c.patch(Kind::Cache, "c", own).await?;
    c.wait("the first operator to adopt it", CHANGE, async || {
        let adopted = c.recorded("adopted")?;
        Ok(Seen::when(adopted == 1, || format!("adopted {adopted} times")))
    })
    .await?;
    c.ready("c", 3, CHANGE).await?;
    let after = super::losses::claims(c).await?;
    ensure!(claims.iter().all(|claim| after.contains(claim)), "{claims:?} became {after:?}");
    ensure!(c.count("disjoin_started", "")? == 1, "a member was removed");
    second.end(c).await
}

/// The journal is lost and begun anew: the mark names the former one, and is this operator's own.
async fn renewed(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    let before = mark_of(&c.get(Kind::Cache, "c").await?);
    ensure!(before.starts_with(&format!("{}/", c.namespace)), "its mark is {before}");
    c.kill_operator().await?;
    super::losses::lose(c)?;
    c.start_operator().await?;
    c.wait_for(Kind::Cache, "c", "marked anew", MINUTE, |cache| {
        let mark = mark_of(cache);
        mark != before && !mark.is_empty()
    })
    .await?;
    c.resize("c", 2).await?;
    c.ready("c", 2, CHANGE).await.context("with the renewed mark")
}
