//! The alerts and the dashboard of `deploy/monitoring` speak of metrics that there are.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use xsld_operator::metrics::{EndpointLabels, ErrorLabels, Metrics, StepLabels};

/// What the kubelet tells of every claim.
const KUBELETS: [&str; 2] =
    ["kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"];
/// How the names of all metrics here begin.
const METRICS: [&str; 2] = ["xsld_operator_", "kubelet_"];
/// What else stands in the queries.
const FUNCTIONS: [&str; 9] =
    ["absent", "and", "increase", "max", "max_over_time", "min", "min_over_time", "rate", "sum"];
/// Labels that the scraping adds.
const OF_SCRAPING: [&str; 2] = ["namespace", "persistentvolumeclaim"];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&text("deploy/monitoring/alerts.yaml")).unwrap();
    assert_eq!(rules["kind"], "PrometheusRule");
    let groups = rules["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect()
}

fn panels() -> Vec<Value> {
    let mut dashboard: Value =
        serde_json::from_str(&text("deploy/monitoring/dashboard.json")).unwrap();
    serde_json::from_value(dashboard["panels"].take()).unwrap()
}

/// Every query of both, with where it stands.
fn queries() -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let of_alerts = alerts().into_iter().map(|rule| (word(&rule["alert"]), word(&rule["expr"])));
    let mut found: Vec<(String, String)> = of_alerts.collect();
    for panel in panels() {
        for target in panel["targets"].as_array().unwrap() {
            // What Grafana puts in before it asks.
            let expr = word(&target["expr"]).replace("$__rate_interval", "5m");
            found.push((word(&panel["title"]), expr.replace("$namespace", ".*")));
        }
    }
    found
}

/// Metrics with a sample of every label that they have.
fn exposed() -> String {
    let metrics = Metrics::default();
    metrics.steps.get_or_create(&StepLabels { step: "join_member", outcome: "failed" }).inc();
    metrics.errors.get_or_create(&ErrorLabels { category: "observe" }).inc();
    metrics.endpoint_requests.get_or_create(&EndpointLabels { route: "journal", code: 200 }).inc();
    metrics.render()
}

/// Names of the metrics, as they are asked for.
fn names(exposed: &str) -> BTreeSet<String> {
    let samples = exposed.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The words of a query, each with the sign that follows it. Texts in quotes are none.
fn words(query: &str) -> Vec<(String, char)> {
    let outside: String = query.split('"').step_by(2).collect::<Vec<_>>().join("\"");
    let mut words = Vec::new();
    let mut word = String::new();
    for sign in outside.chars().chain([' ']) {
        if sign.is_ascii_alphanumeric() || sign == '_' {
            word.push(sign);
        } else if !word.is_empty() && sign != ' ' {
            words.push((std::mem::take(&mut word), sign));
        } else if !word.is_empty() {
            words.push((std::mem::take(&mut word), ' '));
        }
    }
    // Numbers and durations.
    words.retain(|(word, _)| !word.starts_with(|first: char| first.is_ascii_digit()));
    words
}

/// Metrics, labels and functions of a query, by how they are written.
#[derive(Default)]
struct Asked {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
    functions: BTreeSet<String>,
}

fn asked(query: &str) -> Asked {
    let mut asked = Asked::default();
    let mut in_list = false;
    for (word, sign) in words(query) {
        if in_list || ['=', '!'].contains(&sign) {
            in_list = in_list && sign != ')';
            asked.labels.insert(word);
        } else if ["by", "on"].contains(&word.as_str()) {
            in_list = true;
        } else if METRICS.iter().any(|prefix| word.starts_with(prefix)) {
            asked.metrics.insert(word);
        } else {
            asked.functions.insert(word);
        }
    }
    asked
}

#[test]
fn every_query_asks_for_metrics_and_labels_that_there_are() {
    let exposed = exposed();
    let names = names(&exposed);
    let queries = queries();
    assert!(queries.len() > 20, "{}", queries.len());
    for (place, query) in queries {
        let asked = asked(&query);
        assert!(!asked.metrics.is_empty(), "{place}: {query}");
        for name in asked.metrics {
            let known = names.contains(&name) || KUBELETS.contains(&name.as_str());
            assert!(known, "{place} asks for {name}, which nobody tells");
        }
        for word in asked.functions {
            assert!(FUNCTIONS.contains(&word.as_str()), "{place}: what is {word}? {query}");
        }
        let count = |sign: char| query.matches(sign).count();
        for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
            assert_eq!(count(open), count(close), "{place}: {query}");
        }
        for label in asked.labels {
            let known = OF_SCRAPING.contains(&label.as_str())
                || exposed.contains(&format!("{{{label}=\""))
                || exposed.contains(&format!(",{label}=\""));
            assert!(known, "{place} asks for the label {label}, which no metric has");
        }
    }
    let asked = asked(r#"sum by (a, b) (rate(kubelet_x{c="by y", d=~"e"}[5m])) / xsld_operator_z"#);
    assert_eq!(Vec::from_iter(asked.metrics), ["kubelet_x", "xsld_operator_z"]);
    assert_eq!(Vec::from_iter(asked.labels), ["a", "b", "c", "d"]);
    assert_eq!(Vec::from_iter(asked.functions), ["rate", "sum"]);
}

#[test]
fn every_metric_is_asked_for_by_a_panel_or_an_alert() {
    let shown: BTreeSet<String> =
        queries().iter().flat_map(|(_, query)| asked(query).metrics).collect();
    for name in names(&exposed()) {
        assert!(shown.contains(&name), "no panel and no alert asks for {name}");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do_and_is_documented() {
    let readme = text("deploy/README.md");
    let table: BTreeSet<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("| `Xsld")?.split('`').next()).collect();
    let mut names = BTreeSet::new();
    for rule in alerts() {
        let name = rule["alert"].as_str().unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        for field in ["summary", "description"] {
            assert!(rule["annotations"][field].is_string(), "{name} has no {field}");
        }
        let short = name.strip_prefix("Xsld").unwrap();
        let row = format!("| `{name}` | {severity} | ");
        assert!(readme.contains(&row), "deploy/README.md has no row {row}");
        names.insert(short.to_owned());
    }
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), table);
}

#[test]
fn no_two_panels_lie_on_each_other() {
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels() {
        let number = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24, "{} is too wide", panel["title"]);
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')));
    }
}
