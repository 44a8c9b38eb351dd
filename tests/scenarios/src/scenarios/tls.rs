//! Certificates: which ones the operator speaks to, and that it says so when it does not.

use anyhow::ensure;
use serde_json::{Value, json};
use xsld_sim::authority::Authority;
use xsld_sim::calls::Call;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind, Seen, condition};
use crate::{Result, Scenario};

const CHANGED: &str = "CertificateChanged";
const UNTRUSTED: &str = "CertificateUntrusted";

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("tls::members_of_the_trusted_authority_come_up_and_scale", |c| {
            Box::pin(signed(c))
        }),
        Scenario::new("tls::a_member_of_another_authority_gets_no_call", |c| Box::pin(refused(c))),
        Scenario::new("tls::a_changed_certificate_is_told_until_the_former_is_back", |c| {
            Box::pin(changed(c))
        }),
        Scenario::new("tls::insecure_speaks_to_whatever_certificate_is_shown", |c| {
            Box::pin(insecure(c))
        }),
    ]
}

/// The member shows a new certificate of this authority, from now on or from its first start on.
async fn shows(c: &Context, pod: &str, authority: &Authority) -> Result {
    let pem = authority.sign(&[&format!("{pod}.c.{}.svc", c.namespace)])?;
    c.clear_faults(pod).await?;
    c.fault(pod, json!({"fault": "change_certificate", "pem": pem})).await
}

/// Creates a cache that trusts this authority and no other.
async fn create_trusting(c: &Context, size: u32, authority: &Authority) -> Result {
    let secret = json!({
        "metadata": {"name": "authority"},
        "stringData": {"ca.crt": authority.certificate()},
    });
    c.apply(Kind::Secret, secret).await?;
    let reference = json!({"name": "authority", "key": "ca.crt"});
    c.create_with("c", size, json!({"tls": {"mode": "CA", "caSecretRef": reference}})).await
}

/// Whether Degraded has this reason, as of the cache's present generation.
fn is_told(cache: &Value, reason: &str) -> bool {
    let generation = &cache["metadata"]["generation"];
    condition(cache, "Degraded").is_some_and(|degraded| {
        degraded["reason"] == reason && degraded["observedGeneration"] == *generation
    })
}

async fn told(c: &Context, reason: &str) -> Result {
    let limit = 2 * MINUTE;
    let cache = c.wait_for(Kind::Cache, "c", reason, limit, |cache| is_told(cache, reason)).await?;
    let degraded = condition(&cache, "Degraded");
    let message = degraded.and_then(|degraded| degraded["message"].as_str()).unwrap_or_default();
    ensure!(message.contains("c-1"), "who shows it is not told: {message}");
    Ok(())
}

/// Whether the cache was ever told to be degraded for this reason.
fn was_told(c: &Context, reason: &str) -> bool {
    c.history.of(Kind::Cache).iter().any(|change| {
        condition(&change.object, "Degraded").is_some_and(|found| found["reason"] == reason)
    })
}

/// How many calls from outside, reads included, a pod has received. Each carries credentials.
fn received(c: &Context, member: &str) -> Result<usize> {
    let text = std::fs::read_to_string(c.stage.world.calls().path())?;
    let lines = text.lines().filter(|line| line.contains(&c.namespace));
    // The last line may still be being written.
    let calls = lines.filter_map(|line| serde_json::from_str::<Call>(line).ok());
    let here = calls.filter(|call| call.namespace == c.namespace && call.member == member);
    Ok(here.filter(|call| !call.method.is_empty()).count())
}

/// Waits until the operator has looked at the group several times more.
async fn looked_again(c: &Context) -> Result {
    let before = received(c, "c-0")?;
    // Each look reads the group and the tasks.
    c.wait("several looks", MINUTE, async || {
        let now = received(c, "c-0")?;
        Ok(Seen::when(now >= before + 8, || format!("{} calls to c-0", now - before)))
    })
    .await
}

async fn signed(c: &Context) -> Result {
    let authority = Authority::new("the members' authority")?;
    for pod in ["c-0", "c-1", "c-2"] {
        shows(c, pod, &authority).await?;
    }
    create_trusting(c, 2, &authority).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    // The authority is trusted and not the certificate: a new one of it is no news.
    shows(c, "c-1", &authority).await?;
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    ensure!(!was_told(c, CHANGED), "a certificate of the trusted authority was told as changed");
    Ok(())
}

async fn refused(c: &Context) -> Result {
    let authority = Authority::new("the members' authority")?;
    // The name is no proof.
    let other = Authority::new("the members' authority")?;
    shows(c, "c-0", &authority).await?;
    shows(c, "c-1", &other).await?;
    create_trusting(c, 2, &authority).await?;
    told(c, UNTRUSTED).await?;
    looked_again(c).await?;
    let calls = received(c, "c-1")?;
    ensure!(calls == 0, "{calls} calls reached a member whose certificate is not trusted");
    ensure!(c.count("joined", "c-1")? == 0, "a member was joined that nobody trusts");
    shows(c, "c-1", &authority).await?;
    c.ready("c", 2, 2 * MINUTE).await
}

async fn changed(c: &Context) -> Result {
    c.create("c", 2).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.fault("c-1", json!({"fault": "change_certificate"})).await?;
    told(c, CHANGED).await?;
    let before = received(c, "c-1")?;
    looked_again(c).await?;
    c.kill_operator().await?;
    c.start_operator().await?;
    // Only the operator of now can tell of this generation.
    let deadline = json!({"spec": {"rollout": {"progressDeadlineSeconds": 900}}});
    c.patch(Kind::Cache, "c", deadline).await?;
    told(c, CHANGED).await?;
    looked_again(c).await?;
    let reached = received(c, "c-1")? - before;
    ensure!(reached == 0, "{reached} calls reached a member whose certificate has changed");
    ensure!(c.count("joined", "c-1")? == 1, "a member was joined again");
    c.clear_faults("c-1").await?;
    let cleared = |cache: &Value| !is_told(cache, CHANGED);
    c.wait_for(Kind::Cache, "c", "the finding is over", MINUTE, cleared).await?;
    c.ready("c", 2, 2 * MINUTE).await
}

async fn insecure(c: &Context) -> Result {
    c.create_with("c", 2, json!({"tls": {"mode": "Insecure"}})).await?;
    c.ready("c", 2, 2 * MINUTE).await?;
    c.fault("c-1", json!({"fault": "change_certificate"})).await?;
    let before = received(c, "c-1")?;
    c.wait("calls under the other certificate", MINUTE, async || {
        let calls = received(c, "c-1")? - before;
        Ok(Seen::when(calls >= 4, || format!("{calls} calls")))
    })
    .await?;
    c.resize("c", 3).await?;
    c.ready("c", 3, 2 * MINUTE).await?;
    ensure!(!was_told(c, CHANGED), "a certificate was minded although any is trusted");
    Ok(())
}
