//! What is told of a failure: enough to understand it without running it again.

use std::fmt::Write as _;

use crate::context::{Context, Kind};

/// Lines of the operator's log that are shown; the whole of it is kept in the folder.
const LOG_LINES: usize = 40;

/// Puts together what is known, and leaves more of it in the scenario's folder.
pub(crate) async fn failure(context: &Context, error: &anyhow::Error) -> String {
    let mut text = format!("{error:#}\n");
    let mut part = |title: &str, body: &str| {
        let _ = writeln!(text, "\n--- {title}\n{}", body.trim_end());
    };
    part("the end of the operator's log", &log_tail(context));
    let journal = match context.journal_command(&["log"]).await {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}{}", text(&output.stdout), text(&output.stderr))
        }
        Err(error) => format!("{error:#}"),
    };
    part("the journal", &journal);
    for kind in [Kind::Cache, Kind::Grid] {
        for object in context.list(kind).await.unwrap_or_default() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let status = serde_json::to_string_pretty(&object["status"]).unwrap_or_default();
            part(&format!("status of the {kind:?} {name}"), &status);
        }
    }
    part("pods and claims", &pods_and_claims(context).await);
    let calls: Vec<String> = context
        .calls()
        .unwrap_or_default()
        .iter()
        .filter(|call| call.method != "GET")
        .filter_map(|call| serde_json::to_string(call).ok())
        .collect();
    part("calls that change something, and effects", &calls.join("\n"));
    let kept = std::fs::write(context.dir.join("failure.txt"), &text);
    let told = kept.map_or_else(|error| error.to_string(), |()| context.dir.display().to_string());
    let _ = writeln!(text, "\nkept in {told}");
    text
}

/// The last line of a log, without colours.
pub(crate) fn last_line(log: &str) -> String {
    let plain = crate::context::strip_colours(log);
    plain.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

fn log_tail(context: &Context) -> String {
    let log = std::fs::read_to_string(context.log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

async fn pods_and_claims(context: &Context) -> String {
    let mut text = String::new();
    for pod in context.list(Kind::Pod).await.unwrap_or_default() {
        let status = &pod["status"];
        let _ = writeln!(
            text,
            "pod {} {} {} {} deleting {} containers {}",
            pod["metadata"]["name"],
            pod["metadata"]["uid"],
            status["phase"],
            status["podIP"],
            pod["metadata"]["deletionTimestamp"],
            status["containerStatuses"],
        );
    }
    for claim in context.list(Kind::Claim).await.unwrap_or_default() {
        let metadata = &claim["metadata"];
        let _ = writeln!(
            text,
            "claim {} {} {} deleting {}",
            metadata["name"],
            metadata["uid"],
            claim["status"]["phase"],
            metadata["deletionTimestamp"],
        );
    }
    text
}
