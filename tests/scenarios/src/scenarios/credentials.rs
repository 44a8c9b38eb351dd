//! Passwords that change, that are wrong, and how often the operator tries.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use xsld_sim::calls::Call;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind, Seen, condition};
use crate::{Result, Scenario};

/// In which a member is tried with a refused password three times, at this time scale.
const WINDOW: Duration = Duration::from_secs(6);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("credentials::a_rotated_password_reaches_the_group_without_an_outage", |c| {
            Box::pin(rotated(c))
        }),
        Scenario::new("credentials::a_rotation_survives_a_restart_of_the_operator", |c| {
            Box::pin(rotated_and_restarted(c))
        }),
        Scenario::new("credentials::a_refused_password_is_never_tried_in_a_burst", |c| {
            Box::pin(no_burst(c))
        }),
    ]
}

fn new_password(c: &Context) -> String {
    c.credentials().password.replace("Canary-Pw", "Canary-Next")
}

/// Puts another password into the Secret that the spec names, and nowhere else.
async fn rotate_secret(c: &Context, password: &str) -> Result {
    let change = json!({"stringData": {"adminPassword": password}});
    c.patch(Kind::Secret, "credentials", change).await.map(drop)
}

async fn rotate_group(c: &Context, password: &str) -> Result {
    c.fault("c-0", json!({"fault": "rotate_password", "password": password})).await?;
    c.wait("the group to have the new password", MINUTE, async || {
        let changed = c.count("password_rotated", "")? > 0;
        Ok(Seen::when(changed, || "not yet".to_owned()))
    })
    .await?;
    let secret_key = c.credentials().secret_key;
    c.use_credentials(password, &secret_key);
    Ok(())
}

fn rotates(cache: &Value) -> bool {
    condition(cache, "Deferred")
        .is_some_and(|found| found["status"] == "True" && found["reason"] == "RotatingCredentials")
}

async fn told(c: &Context) -> Result {
    c.wait_for(Kind::Cache, "c", "RotatingCredentials", MINUTE, rotates).await.map(drop)
}

/// The password is held, nothing waits any more, and the cache is Ready.
async fn over(c: &Context, password: &str, size: u32) -> Result {
    c.wait_for(Kind::Cache, "c", "no rotation", MINUTE, |cache| !rotates(cache)).await?;
    c.ready("c", size, 2 * MINUTE).await?;
    let held = STANDARD.encode(password);
    let is_held = |secret: &Value| secret["data"]["adminPassword"] == held;
    c.wait_for(Kind::Secret, "c-held", "the new password held", MINUTE, is_held).await.map(drop)
}

async fn rotated(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.wait_for(Kind::Secret, "c-held", "made", MINUTE, |secret| !secret.is_null()).await?;
    let password = new_password(c);
    rotate_secret(c, &password).await?;
    told(c).await?;
    // The members take the former one: nothing else changes.
    c.ready("c", 2, MINUTE).await?;
    rotate_group(c, &password).await?;
    over(c, &password, 2).await?;
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    ensure!(c.count("joined", "c-1")? == 1, "c-1 was joined again");
    Ok(())
}

async fn rotated_and_restarted(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.wait_for(Kind::Secret, "c-held", "made", MINUTE, |secret| !secret.is_null()).await?;
    let password = new_password(c);
    c.kill_operator().await?;
    rotate_secret(c, &password).await?;
    c.start_operator().await?;
    told(c).await?;
    c.kill_operator().await?;
    c.start_operator().await?;
    c.ready("c", 1, MINUTE).await?;
    rotate_group(c, &password).await?;
    over(c, &password, 1).await
}

/// Every refusal that the members of this namespace sent, oldest first.
fn refusals(c: &Context) -> Result<Vec<Call>> {
    let text = std::fs::read_to_string(c.stage.world.calls().path())?;
    let lines = text.lines().filter(|line| line.contains(&c.namespace));
    // The last line may still be being written.
    let calls = lines.filter_map(|line| serde_json::from_str::<Call>(line).ok());
    Ok(calls.filter(|call| call.namespace == c.namespace && call.status == 401).collect())
}

async fn no_burst(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, MINUTE).await?;
    c.fault("c-0", json!({"fault": "deny_auth"})).await?;
    c.wait_for(Kind::Cache, "c", "CredentialsInvalid", MINUTE, |cache| {
        let conditions = cache["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["reason"] == "CredentialsInvalid"))
    })
    .await?;
    c.wait("two windows of tries", MINUTE, async || {
        let calls = refusals(c)?;
        Ok(Seen::when(calls.len() >= 7, || format!("{} refusals", calls.len())))
    })
    .await?;
    let calls = refusals(c)?;
    for four in calls.windows(4) {
        let span = four[3].time.duration_since(four[0].time);
        let span = Duration::try_from(span).context("the log goes backwards")?;
        // What is logged is the answer, a little after or before the try was counted.
        ensure!(span + Duration::from_millis(500) >= WINDOW, "four refusals within {span:?}");
    }
    c.clear_faults("c-0").await?;
    c.ready("c", 1, 2 * MINUTE).await
}
