//! A spec that nothing can come of is corrected, and the correction is taken up.

use anyhow::ensure;
use serde_json::json;

use super::bootstrap::MINUTE;
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
