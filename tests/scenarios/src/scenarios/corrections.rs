//! A spec that nothing can come of is corrected, and the correction is taken up.

use anyhow::ensure;
use serde_json::json;
use xsld_journal::event::{Receipt, Step};

use super::bootstrap::MINUTE;
use crate::context::records::Intent;
use crate::context::{Context, Kind, Seen, condition};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("corrections::a_first_spec_whose_pods_are_refused", |c| {
            Box::pin(pods_refused(c))
        }),
        Scenario::new("corrections::a_first_template_that_is_refused", |c| {
            Box::pin(template_refused(c))
        }),
        Scenario::new("corrections::a_claim_of_a_wrong_class_goes_with_its_cache", |c| {
            Box::pin(wrong_class(c))
        }),
    ]
}

/// Pods of a priority class that does not exist: the API server makes none of them.
async fn pods_refused(c: &Context) -> Result {
    c.create_with("c", 2, json!({"pod": {"priorityClassName": "gold"}})).await?;
    c.wait("the StatefulSet's controller to be refused", MINUTE, async || {
        let events = c.list(Kind::Event).await?;
        let refused = events.iter().any(|event| event["reason"] == "FailedCreate");
        Ok(Seen::when(refused, || "no FailedCreate".to_owned()))
    })
    .await?;
    ensure!(c.list(Kind::Pod).await?.is_empty(), "there is a pod");
    let none = json!({"spec": {"pod": {"priorityClassName": null}}});
    c.patch(Kind::Cache, "c", none).await?;
    c.ready("c", 2, 2 * MINUTE).await
}

/// More memory requested than allowed: the API server refuses the StatefulSet.
async fn template_refused(c: &Context) -> Result {
    let resources = json!({"requests": {"memory": "4Gi"}, "limits": {"memory": "2Gi"}});
    c.create_with("c", 2, json!({"pod": {"resources": resources}})).await?;
    let parked = ("NeedsAttention", "True", "Parked");
    let cache = c.wait_condition(Kind::Cache, "c", parked, 2 * MINUTE).await?;
    let message = condition(&cache, "NeedsAttention").map(|found| found["message"].to_string());
    let message = message.unwrap_or_default();
    ensure!(message.contains("memory limit"), "the reason is not told: {message}");
    ensure!(c.get(Kind::StatefulSet, "c").await?.is_null(), "there is a StatefulSet");
    let right = json!({"spec": {"pod": {"resources": {"requests": {"memory": "1Gi"}}}}});
    c.patch(Kind::Cache, "c", right).await?;
    c.ready("c", 2, 2 * MINUTE).await
}

/// The storage class of a cache cannot be changed, so the cache is made again: its claim never had a
/// volume, and is not taken up by the next one.
async fn wrong_class(c: &Context) -> Result {
    c.create_with("c", 1, json!({"storage": {"storageClassName": "fast-ssd"}})).await?;
    let claim =
        c.wait_for(Kind::Claim, "vol-c-0", "made", MINUTE, |claim| !claim.is_null()).await?;
    let uid = claim["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    c.delete(Kind::Cache, "c").await?;
    c.gone(Kind::Cache, "c", MINUTE).await?;
    c.gone(Kind::Claim, "vol-c-0", MINUTE).await?;
    let receipts = c.records()?;
    let mut receipts = receipts.iter().filter_map(Intent::of);
    let told = receipts.any(|intent| {
        matches!(&intent.step, Step::DeleteVolume { claim_uid, receipt: Receipt::NeverBound { .. }, .. }
            if *claim_uid == uid)
    });
    ensure!(told, "the claim went without its receipt");
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await
}
