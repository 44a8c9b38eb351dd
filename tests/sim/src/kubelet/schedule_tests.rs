use serde_json::{Value, json};

use super::*;

fn nodes(count: usize) -> Vec<Arc<Node>> {
    (1..=count).map(|n| node(&format!("node-{n}"), json!({}))).collect()
}

fn node(name: &str, spec: Value) -> Arc<Node> {
    let disk = if name == "node-2" { "fast" } else { "slow" };
    let labels = json!({"kubernetes.io/hostname": name, "disk": disk});
    let node = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(name: &str, spec: Value) -> Arc<Pod> {
    let mut spec = spec;
    spec["containers"] = json!([]);
    let metadata = json!({"name": name, "namespace": "ns", "labels": {"app": "cache"}});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn term() -> Value {
    let selector = json!({"matchLabels": {"app": "cache"}});
    json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector})
}

fn required_anti() -> Value {
    let rule = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term()]});
    json!({"affinity": {"podAntiAffinity": rule}})
}

fn preferred_anti() -> Value {
    let weighted = json!({"weight": 100, "podAffinityTerm": term()});
    let rule = json!({"preferredDuringSchedulingIgnoredDuringExecution": [weighted]});
    json!({"affinity": {"podAntiAffinity": rule}})
}

fn place_all(count: usize, spec: &Value, nodes: &[Arc<Node>]) -> Vec<Result<String, String>> {
    let mut placed: Vec<Placed> = Vec::new();
    let mut chosen = Vec::new();
    for n in 0..count {
        let pod = pod(&format!("cache-{n}"), spec.clone());
        let on = choose(&pod, nodes, &placed);
        placed.extend(on.clone().ok().map(|on| (pod, on)));
        chosen.push(on);
    }
    chosen
}

#[test]
fn required_anti_affinity_leaves_the_pod_without_a_node_pending() {
    let chosen = place_all(3, &required_anti(), &nodes(2));
    assert_eq!(chosen[..2], [Ok("node-1".to_owned()), Ok("node-2".to_owned())]);
    assert_eq!(
        chosen[2],
        Err("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.".to_owned())
    );
}

#[test]
fn preferred_anti_affinity_spreads_and_then_shares() {
    let chosen = place_all(4, &preferred_anti(), &nodes(3));
    let names: Vec<String> = chosen.into_iter().map(Result::unwrap).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3", "node-1"]);
}

#[test]
fn preferred_anti_affinity_outweighs_an_empty_node() {
    let nodes = nodes(2);
    let stranger: Pod = serde_json::from_value(
        json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": {"containers": []}}),
    )
    .unwrap();
    let placed = vec![
        (pod("cache-0", json!({})), "node-1".to_owned()),
        (Arc::new(stranger.clone()), "node-2".to_owned()),
        (Arc::new(stranger), "node-2".to_owned()),
    ];
    assert_eq!(choose(&pod("cache-1", preferred_anti()), &nodes, &placed), Ok("node-2".to_owned()));
}

#[test]
fn a_placed_pod_that_refuses_company_is_respected() {
    let nodes = nodes(1);
    let placed = vec![(pod("cache-0", required_anti()), "node-1".to_owned())];
    let refused = choose(&pod("cache-1", json!({})), &nodes, &placed).unwrap_err();
    assert!(refused.contains("existing pods anti-affinity"), "{refused}");
}

#[test]
fn another_namespace_is_not_meant_by_an_anti_affinity() {
    let nodes = nodes(1);
    let mut other = (*pod("cache-0", json!({}))).clone();
    other.metadata.namespace = Some("elsewhere".to_owned());
    let placed = vec![(Arc::new(other), "node-1".to_owned())];
    assert_eq!(choose(&pod("cache-1", required_anti()), &nodes, &placed), Ok("node-1".to_owned()));
}

#[test]
fn selector_taints_and_cordons_keep_pods_away() {
    let fast = json!({"nodeSelector": {"disk": "fast"}});
    assert_eq!(choose(&pod("p", fast), &nodes(3), &[]), Ok("node-2".to_owned()));
    let taint =
        json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]});
    let cluster = [node("node-1", taint), node("node-2", json!({"unschedulable": true}))];
    let refused = choose(&pod("p", json!({})), &cluster, &[]).unwrap_err();
    assert!(refused.contains("untolerated taint {node.kubernetes.io/unreachable: }"), "{refused}");
    assert!(refused.contains("1 node(s) were unschedulable"), "{refused}");
    let tolerant = json!({"tolerations": [{"operator": "Exists"}]});
    assert_eq!(choose(&pod("p", tolerant), &cluster, &[]), Ok("node-1".to_owned()));
}

#[test]
fn a_hard_spread_keeps_domains_even() {
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "cache"}},
    }]});
    let mut cluster = nodes(2);
    cluster[1] = node("node-2", json!({"unschedulable": true}));
    let chosen = place_all(2, &spread, &cluster);
    assert_eq!(chosen[0], Ok("node-1".to_owned()));
    assert!(chosen[1].as_ref().unwrap_err().contains("topology spread"), "{chosen:?}");
}
