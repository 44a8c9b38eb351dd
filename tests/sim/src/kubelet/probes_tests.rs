use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;

fn probe(value: Value) -> Probe {
    serde_json::from_value(value).unwrap()
}

fn container(value: Value) -> Container {
    serde_json::from_value(value).unwrap()
}

#[test]
fn periods_are_divided_by_the_scale_down_to_a_floor() {
    let spec = json!({"periodSeconds": 10, "initialDelaySeconds": 60, "failureThreshold": 90});
    let timing = Timing::of(&probe(spec.clone()), 60.0);
    assert_eq!(timing.initial_delay, Duration::from_secs(1));
    assert_eq!(timing.period.as_millis(), 166);
    assert_eq!(timing.timeout, SHORTEST_TIMEOUT);
    assert_eq!((timing.successes, timing.failures), (1, 90));
    assert_eq!(Timing::of(&probe(spec), 100_000.0).period, SHORTEST_PERIOD);
}

#[test]
fn answers_count_only_in_a_row() {
    let mut timing = Timing::of(&probe(json!({"failureThreshold": 2})), 1.0);
    timing.successes = 2;
    let mut tally = Tally::default();
    let verdicts: Vec<Verdict> = [false, true, false, false, true, true]
        .into_iter()
        .map(|good| tally.count(good, &timing))
        .collect();
    use Verdict::{Healthy, Open, Unhealthy};
    assert_eq!(verdicts, [Open, Open, Open, Unhealthy, Open, Healthy]);
}

#[test]
fn exec_probes_are_refused_with_what_would_work() {
    let spec = json!({"name": "c", "livenessProbe": {"exec": {"command": ["true"]}}});
    let error = Probers::of(&container(spec), Ipv4Addr::LOCALHOST, 1.0).unwrap_err();
    assert!(error.to_string().contains("tcpSocket"), "{error}");
}

#[test]
fn a_named_port_is_that_of_the_container() {
    let spec = json!({
        "name": "c", "ports": [{"name": "admin", "containerPort": 9445}],
        "readinessProbe": {"httpGet": {"port": "admin", "path": "up", "scheme": "HTTPS"}},
    });
    let probers = Probers::of(&container(spec), Ipv4Addr::new(127, 70, 0, 3), 1.0).unwrap();
    let Target::Http { url, .. } = probers.readiness.unwrap().target else { panic!("not HTTP") };
    assert_eq!(url, "https://127.70.0.3:9445/up");
}

#[tokio::test]
async fn readiness_follows_the_port_and_a_dead_port_ends_the_container() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 2});
    let spec =
        json!({"name": "c", "startupProbe": tcp, "readinessProbe": tcp, "livenessProbe": tcp});
    let probers = Probers::of(&container(spec), Ipv4Addr::LOCALHOST, 20.0).unwrap();
    let findings = Mutex::new(Vec::new());
    let told = |finding| findings.lock().unwrap().push(finding);
    let supervised = supervise(&probers, Instant::now(), &told);
    let close = async {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !findings.lock().unwrap().contains(&Finding::Ready(true)) {
            assert!(Instant::now() < deadline, "never ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(listener);
        std::future::pending::<()>().await
    };
    let reason = tokio::select! { reason = supervised => reason, () = close => String::new() };
    assert!(reason.starts_with("failed liveness probe"), "{reason}");
    assert_eq!(findings.lock().unwrap()[0], Finding::Started);
}
