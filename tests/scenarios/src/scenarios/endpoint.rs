//! The journal over HTTPS: who may read it and decide is the API server's word, and what is read is
//! what stands in the directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use xsld_journal::event::Event;

use super::bootstrap::MINUTE;
use super::decisions::{follows, park};
use super::scale::CHANGE;
use crate::context::{Context, DECIDER, Kind, OperatorOptions, Person, READER, Seen, is_true};
use crate::{Result, Scenario};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("endpoint::the_journal_is_read_by_those_who_may_and_by_nobody_else", |c| {
            Box::pin(read(c))
        }),
        Scenario::new("endpoint::a_decision_carries_the_name_that_the_api_server_gives", |c| {
            Box::pin(decided(c))
        }),
        Scenario::new("endpoint::a_log_is_followed_from_outside_while_a_cache_grows", |c| {
            Box::pin(followed(c))
        }),
        Scenario::new("endpoint::the_plugin_finds_the_operator_again_after_each_start", |c| {
            Box::pin(found(c))
        }),
    ]
}

pub(super) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// It ended with 2, printed no data and gave this reason.
pub(super) fn refused(output: &Output, reason: &str) -> Result {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_so = output.status.code() == Some(2) && output.stdout.is_empty();
    ensure!(is_so && told.contains(reason), "not refused with `{reason}`: {}", said(output));
    Ok(())
}

async fn read(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    let auditor = c.person("auditor", &READER).await?;
    let stranger = c.person("stranger", &[("", "configmaps", "get")]).await?;

    for command in [&["log", "-o", "json"][..], &["state", "-o", "json"], &["replay"]] {
        let (here, there) =
            (c.journal_command(command).await?, c.journal_over_https(&auditor, command).await?);
        ensure!(there.status.success(), "{command:?}: {}", said(&there));
        // Only what is printed first, about where it was read, differs.
        ensure!(here.stdout == there.stdout, "{command:?}: {} {}", said(&here), said(&there));
    }
    let checked = c.journal_over_https(&auditor, &["check"]).await?;
    ensure!(checked.status.success(), "{}", said(&checked));

    let denied = c.journal_over_https(&stranger, &["log"]).await?;
    refused(&denied, "may not get xsldcaches.xsld.ibm.com/journal")?;
    refused(&denied, &stranger.user)?;
    let unknown = c.dir.join("unknown.token");
    fs::write(&unknown, "not-a-token")?;
    let file = unknown.display().to_string();
    let denied = c.journal_over_https(&stranger, &["log", "--token-file", &file]).await?;
    refused(&denied, "(401)")?;
    for command in [&["compact", "--destructive"][..], &["import", "a", "b"]] {
        let denied = c.journal_over_https(&auditor, command).await?;
        refused(&denied, "directory of a stopped operator")?;
    }
    let other = "0".repeat(64);
    let url = c.endpoint()?.url;
    let mut wrong = c.plugin(&auditor)?;
    wrong.args(["log", "--endpoint", &url, "--fingerprint", &other]);
    refused(&wrong.output().await?, "did not answer")?;
    http(c, &url).await
}

/// What is not asked as the commands ask it.
async fn http(c: &Context, url: &str) -> Result {
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?;
    let auditor = fs::read_to_string(c.dir.join("auditor.kubeconfig"))?;
    let auditor: Value = serde_saphyr::from_str(&auditor)?;
    let token = auditor.pointer("/users/0/user/token").and_then(Value::as_str);
    let token = token.context("the kubeconfig has no token")?;
    let journal = format!("{url}/v1/journal");
    let asked = |path: &str| client.get(format!("{url}{path}")).bearer_auth(token);
    for (request, status) in [
        (client.get(&journal), 401),
        (client.get(&journal).basic_auth("kim", Some("x")), 401),
        (client.get(&journal).bearer_auth("x".repeat(20_000)), 401),
        (asked("/v1/journal?after=x"), 400),
        (asked("/v1/journal?before=1"), 400),
        (asked("/v1/journal?after=1000000"), 409),
        (asked("/v1/other"), 404),
        (client.post(&journal).bearer_auth(token), 405),
        (client.post(format!("{url}/v1/decisions")).bearer_auth(token).body("{}"), 400),
        (
            client.post(format!("{url}/v1/decisions")).bearer_auth(token).body("x".repeat(20_000)),
            413,
        ),
    ] {
        let request = request.build()?;
        let what = format!("{} {}", request.method(), request.url());
        let answer = client.execute(request).await.with_context(|| what.clone())?;
        ensure!(answer.status() == status, "{what}: {} in the place of {status}", answer.status());
    }
    // A head without end is answered, or cut off.
    match client.get(&journal).bearer_auth("x".repeat(1_000_000)).send().await {
        Ok(answer) => ensure!(answer.status() == 431, "{}", answer.status()),
        Err(error) => ensure!(error.is_request(), "{error}"),
    }
    // Whoever speaks no TLS gets nothing.
    let plain = url.replacen("https", "http", 1);
    ensure!(client.get(plain).send().await.is_err(), "it speaks without TLS");
    Ok(())
}

async fn decided(c: &Context) -> Result {
    const WHY: &str = "the proxy is repaired";
    let auditor = c.person("auditor", &READER).await?;
    let decider = c.person("decider", &[READER[0], READER[1], DECIDER]).await?;
    let stranger = c.person("stranger", &[]).await?;
    let parked = park(c).await?;
    let operation = parked.operation.to_string();
    let decide = async |as_: &Person, operation: &str, head: u64| {
        let head = head.to_string();
        let given = ["--decision", "retry", "--reason", WHY, "--expect-head", &head];
        c.journal_over_https(as_, &[&["resolve", operation], &given[..]].concat()).await
    };
    let name = format!("create xsldcaches.xsld.ibm.com/decision of c in namespace {}", c.namespace);
    refused(&decide(&auditor, &operation, parked.head).await?, &name)?;
    refused(&decide(&stranger, &operation, parked.head).await?, "(403)")?;
    // Nobody learns from a refusal which operations there are.
    refused(&decide(&stranger, "ffffffff", parked.head).await?, "(403)")?;
    refused(&decide(&decider, "ffffffff", parked.head).await?, "(404)")?;
    refused(&decide(&decider, &operation, parked.head - 1).await?, "(409)")?;
    ensure!(c.recorded("decided")? == 0, "a refused decision was recorded");
    c.clear_faults("c-1").await?;
    let done = decide(&decider, &operation, parked.head).await?;
    ensure!(done.status.success(), "{}", said(&done));
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(told.contains(&decider.user), "it does not tell who: {told}");
    c.ready("c", 2, CHANGE).await?;
    let records = c.records()?;
    let found = records.iter().find_map(|one| match &one.event {
        Event::Decided { who, why, .. } => Some((who.clone(), why.clone())),
        _ => None,
    });
    ensure!(found == Some((decider.user, WHY.to_owned())), "recorded is {found:?}");
    let follows = follows(&records, parked.operation);
    ensure!(follows.first() == Some(&"operation_resumed"), "after the decision: {follows:?}");
    ensure!(c.count("join_started", "c-1")? == 1, "it was not joined exactly once");
    let asks = is_true(&c.get(Kind::Cache, "c").await?, "NeedsAttention", None);
    ensure!(!asks, "a person is still asked");
    Ok(())
}

async fn followed(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    let auditor = c.person("auditor", &READER).await?;
    let mut command = c.plugin(&auditor)?;
    command.args(["log", "--follow", "-o", "json"]).stdout(Stdio::piped());
    let mut following = command.spawn()?;
    let mut lines = BufReader::new(following.stdout.take().context("no stdout")?).lines();
    c.resize("c", 2).await?;
    let mut told = Vec::new();
    let until = async {
        while let Some(line) = lines.next_line().await? {
            let record: Value = serde_json::from_str(&line)?;
            let grown = record.pointer("/event/step/join_member").is_some();
            told.push(line);
            if grown {
                return Ok(());
            }
        }
        bail!("it ended by itself")
    };
    tokio::time::timeout(CHANGE, until).await.context("the join was not told in time")??;
    following.kill().await?;
    let here = String::from_utf8(c.journal_command(&["log", "-o", "json"]).await?.stdout)?;
    let here: Vec<&str> = here.lines().take(told.len()).collect();
    ensure!(here == told, "what was followed is not what stands in the journal");
    c.ready("c", 2, CHANGE).await
}

async fn found(c: &Context) -> Result {
    c.create("c", 1).await?;
    c.ready("c", 1, 2 * MINUTE).await?;
    let auditor = c.person("auditor", &READER).await?;
    let mut fingerprints = Vec::new();
    for _ in 0..2 {
        // A start that leads tells the anchor, and is ready before that.
        c.wait("the journal to be served", MINUTE, async || {
            let checked = c.plugin(&auditor)?.arg("check").output().await?;
            Ok(Seen::when(checked.status.success(), || said(&checked)))
        })
        .await?;
        fingerprints.push(c.endpoint()?.fingerprint);
        c.kill_operator().await?;
        let silent = c.plugin(&auditor)?.arg("check").output().await?;
        refused(&silent, "did not answer")?;
        c.start_operator().await?;
    }
    ensure!(fingerprints[0] != fingerprints[1], "a certificate was kept over a restart");
    compared_with_the_anchor(c, &auditor).await?;
    c.terminate_operator().await?;

    // In a pod it is reached through kubectl; here a stand-in says so and forwards nothing, as the
    // port is the pod's own.
    let environment = vec![("POD_NAME".to_owned(), "operator-0".to_owned())];
    let options = OperatorOptions { environment, ..OperatorOptions::default() };
    c.start_operator_with(&options).await?;
    c.wait("the pod to be told", MINUTE, async || {
        let anchor = c.get(Kind::ConfigMap, "xsld-operator-journal").await?;
        let pod = &anchor["metadata"]["annotations"]["xsld.ibm.com/operator-pod"];
        Ok(Seen::when(pod == "operator-0", || anchor.to_string()))
    })
    .await?;
    let tools = c.dir.join("tools");
    fs::create_dir_all(&tools)?;
    let kubectl = tools.join("kubectl");
    // The anchor names it before the log does.
    let anchor = c.get(Kind::ConfigMap, "xsld-operator-journal").await?;
    let url = anchor["metadata"]["annotations"]["xsld.ibm.com/journal-endpoint"].as_str();
    let (asked, url) = (tools.join("asked"), url.context("the anchor names no endpoint")?);
    let port = url.rsplit_once(':').context("no port")?.1;
    let script = format!(
        "#!/bin/sh\necho \"$@\" > {}\necho \"Forwarding from 127.0.0.1:{port} -> {port}\"\nexec sleep 60\n",
        asked.display()
    );
    fs::write(&kubectl, script)?;
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let checked = c.plugin(&auditor)?.arg("check").env("PATH", &path).output().await?;
    ensure!(checked.status.success(), "{}", said(&checked));
    let wanted = format!(
        "--namespace {} port-forward --address 127.0.0.1 pod/operator-0 :{port}",
        c.namespace
    );
    let asked = fs::read_to_string(&asked)?;
    ensure!(asked.trim() == wanted, "kubectl was asked for {asked}");
    fs::write(&kubectl, "#!/bin/sh\necho 'pods \"operator-0\" is forbidden' >&2\nexit 1\n")?;
    let failed = c.plugin(&auditor)?.arg("check").env("PATH", &path).output().await?;
    refused(&failed, "is forbidden")
}

/// A check compares with what the API server keeps, so that lost records at the end are found too.
async fn compared_with_the_anchor(c: &Context, auditor: &Person) -> Result {
    let check = async || -> Result<Output> {
        Ok(c.plugin(auditor)?.args(["check", "-o", "json"]).output().await?)
    };
    c.wait("the journal to be served", MINUTE, async || {
        let checked = check().await?;
        Ok(Seen::when(checked.status.success(), || said(&checked)))
    })
    .await?;
    let shown: Value = serde_json::from_slice(&check().await?.stdout)?;
    ensure!(shown["anchored"] == true, "{shown}");
    let anchor = c.get(Kind::ConfigMap, "xsld-operator-journal").await?;
    let set = async |sequence: &Value| {
        let change = json!({"data": {"sequence": sequence}});
        c.patch(Kind::ConfigMap, "xsld-operator-journal", change).await.map(drop)
    };
    set(&json!("9999")).await?;
    let lost = check().await?;
    set(&anchor["data"]["sequence"]).await?;
    ensure!(lost.status.code() == Some(3), "{}", said(&lost));
    let told = String::from_utf8_lossy(&lost.stdout);
    ensure!(told.contains("the anchor names record 9999"), "{told}");
    Ok(())
}
