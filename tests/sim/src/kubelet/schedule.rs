//! Which Node a pod goes to. Pure.
//!
//! The rules are those of the default scheduler for labels, taints and the
//! nearness of other pods. Requested CPU and memory are not counted: simulated
//! members use next to none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec,
    Taint, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

/// A pod that has a Node, and its name.
pub(super) type Placed = (Arc<Pod>, String);

const NOTHING: &BTreeMap<String, String> = &BTreeMap::new();

/// The Node for `pod`, or the reason why there is none, in the scheduler's words.
pub(super) fn choose(pod: &Pod, nodes: &[Arc<Node>], placed: &[Placed]) -> Result<String, String> {
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, usize, String)> = None;
    let view = View { nodes, placed };
    for node in nodes {
        match view.refusal(pod, node) {
            Some(reason) => *refusals.entry(reason).or_default() += 1,
            None => {
                let name = node.metadata.name.clone().unwrap_or_default();
                let load = placed.iter().filter(|(_, on)| *on == name).count();
                // Highest score first, then the emptiest, then the first by name.
                let rank = (-view.score(pod, node), load, name);
                if best.as_ref().is_none_or(|best| rank < *best) {
                    best = Some(rank);
                }
            }
        }
    }
    best.map(|(_, _, name)| name).ok_or_else(|| {
        let reasons: Vec<String> =
            refusals.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let reasons = if reasons.is_empty() { "no nodes".to_owned() } else { reasons.join(", ") };
        format!("0/{} nodes are available: {reasons}.", nodes.len())
    })
}

struct View<'a> {
    nodes: &'a [Arc<Node>],
    placed: &'a [Placed],
}

impl View<'_> {
    fn refusal(&self, pod: &Pod, node: &Node) -> Option<String> {
        let spec = pod.spec.as_ref()?;
        let node_spec = node.spec.clone().unwrap_or_default();
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        if node_spec.unschedulable == Some(true) {
            return Some("node(s) were unschedulable".to_owned());
        }
        for taint in node_spec.taints.iter().flatten() {
            let hard = matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
            if hard && !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
                let value = taint.value.as_deref().unwrap_or_default();
                return Some(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
            }
        }
        if !selects_node(spec, node) {
            return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
        }
        if required(spec, Kind::Anti).any(|term| self.neighbour(pod, term, node)) {
            return Some("node(s) didn't match pod anti-affinity rules".to_owned());
        }
        if self.someone_objects(pod, node) {
            return Some("node(s) didn't satisfy existing pods anti-affinity rules".to_owned());
        }
        if !required(spec, Kind::Near).all(|term| self.neighbour_or_first(pod, term, node)) {
            return Some("node(s) didn't match pod affinity rules".to_owned());
        }
        let hard =
            |spread: &&TopologySpreadConstraint| spread.when_unsatisfiable == "DoNotSchedule";
        if spreads(spec).filter(hard).any(|spread| self.skew(pod, spread, node) > spread.max_skew) {
            return Some("node(s) didn't match pod topology spread constraints".to_owned());
        }
        None
    }

    fn score(&self, pod: &Pod, node: &Node) -> i64 {
        let Some(spec) = &pod.spec else { return 0 };
        let Some(affinity) = &spec.affinity else { return self.spread_score(pod, spec, node) };
        let mut score = self.spread_score(pod, spec, node);
        for preferred in affinity.node_affinity.iter().flat_map(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten()
        }) {
            if matches_term(&preferred.preference, node) {
                score += i64::from(preferred.weight);
            }
        }
        for (kind, weight, term) in preferred(affinity) {
            let near = self.neighbours(pod, term, node) as i64 * i64::from(weight);
            score += if kind == Kind::Near { near } else { -near };
        }
        score
    }

    fn spread_score(&self, pod: &Pod, spec: &PodSpec, node: &Node) -> i64 {
        let soft =
            |spread: &&TopologySpreadConstraint| spread.when_unsatisfiable != "DoNotSchedule";
        -spreads(spec)
            .filter(soft)
            .map(|spread| i64::from(self.skew(pod, spread, node)))
            .sum::<i64>()
    }

    /// How many pods that the term selects are in the node's topology domain.
    fn neighbours(&self, pod: &Pod, term: &PodAffinityTerm, node: &Node) -> usize {
        let Some(domain) = label(node, &term.topology_key) else { return 0 };
        let near = |on: &str| self.domain_of(on, &term.topology_key) == Some(domain);
        let placed = self.placed.iter();
        placed.filter(|(other, on)| near(on) && term_selects(term, pod, other)).count()
    }

    fn neighbour(&self, pod: &Pod, term: &PodAffinityTerm, node: &Node) -> bool {
        self.neighbours(pod, term, node) > 0
    }

    /// As the scheduler: the first pod of a group that wants to be near itself may go anywhere.
    fn neighbour_or_first(&self, pod: &Pod, term: &PodAffinityTerm, node: &Node) -> bool {
        let exists = self.placed.iter().any(|(other, _)| term_selects(term, pod, other));
        if exists { self.neighbour(pod, term, node) } else { term_selects(term, pod, pod) }
    }

    /// Whether a pod that is placed already refuses to be near this one.
    fn someone_objects(&self, pod: &Pod, node: &Node) -> bool {
        self.placed.iter().any(|(other, on)| {
            let Some(spec) = &other.spec else { return false };
            required(spec, Kind::Anti).any(|term| {
                let here = label(node, &term.topology_key);
                here.is_some()
                    && self.domain_of(on, &term.topology_key) == here
                    && term_selects(term, other, pod)
            })
        })
    }

    /// How uneven the pods would be spread with this one more on `node`.
    fn skew(&self, pod: &Pod, spread: &TopologySpreadConstraint, node: &Node) -> i32 {
        let Some(here) = label(node, &spread.topology_key) else { return i32::MAX };
        let nodes = self.nodes.iter();
        let domains: BTreeSet<&str> =
            nodes.filter_map(|node| label(node, &spread.topology_key)).collect();
        let count = |domain: &str| {
            let selected = self.placed.iter().filter(|(other, on)| {
                self.domain_of(on, &spread.topology_key) == Some(domain)
                    && other.metadata.namespace == pod.metadata.namespace
                    && selects(spread.label_selector.as_ref(), other)
            });
            i32::try_from(selected.count()).unwrap_or(i32::MAX - 1)
        };
        let least = domains.iter().map(|domain| count(domain)).min().unwrap_or(0);
        count(here) + 1 - least
    }

    fn domain_of(&self, node: &str, key: &str) -> Option<&str> {
        let found = self.nodes.iter().find(|n| n.metadata.name.as_deref() == Some(node))?;
        label(found, key)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Near,
    Anti,
}

fn required(spec: &PodSpec, kind: Kind) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = spec.affinity.as_ref();
    let terms = match kind {
        Kind::Near => affinity
            .and_then(|affinity| affinity.pod_affinity.as_ref())
            .and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref()),
        Kind::Anti => affinity
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
            .and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref()),
    };
    terms.into_iter().flatten()
}

fn preferred(affinity: &Affinity) -> Vec<(Kind, i32, &PodAffinityTerm)> {
    let near = affinity.pod_affinity.iter().flat_map(|near| {
        near.preferred_during_scheduling_ignored_during_execution.iter().flatten()
    });
    let anti = affinity.pod_anti_affinity.iter().flat_map(|anti| {
        anti.preferred_during_scheduling_ignored_during_execution.iter().flatten()
    });
    near.map(|term| (Kind::Near, term.weight, &term.pod_affinity_term))
        .chain(anti.map(|term| (Kind::Anti, term.weight, &term.pod_affinity_term)))
        .collect()
}

fn spreads(spec: &PodSpec) -> impl Iterator<Item = &TopologySpreadConstraint> {
    spec.topology_spread_constraints.iter().flatten()
}

/// Whether `term`, which belongs to `owner`, selects `other`.
fn term_selects(term: &PodAffinityTerm, owner: &Pod, other: &Pod) -> bool {
    let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
    let in_namespace = match (&term.namespaces, &term.namespace_selector) {
        (Some(names), _) if !names.is_empty() => names.iter().any(|name| name == namespace),
        // A selector over namespaces is read as all of them: no world labels its namespaces.
        (_, Some(_)) => true,
        _ => owner.metadata.namespace == other.metadata.namespace,
    };
    in_namespace && selects(term.label_selector.as_ref(), other)
}

fn selects(selector: Option<&LabelSelector>, pod: &Pod) -> bool {
    let Some(selector) = selector else { return false };
    let labels = pod.metadata.labels.as_ref().unwrap_or(NOTHING);
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let same_value = toleration.value.as_deref().unwrap_or_default()
        == taint.value.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && (if key.is_empty() { exists } else { key == taint.key })
        && (exists || same_value)
}

fn selects_node(spec: &PodSpec, node: &Node) -> bool {
    let wanted = spec.node_selector.as_ref().unwrap_or(NOTHING);
    let by_label = wanted.iter().all(|(key, value)| label(node, key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    let any = |terms: &[NodeSelectorTerm]| terms.iter().any(|term| matches_term(term, node));
    by_label && required.is_none_or(|selector| any(&selector.node_selector_terms))
}

fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // A term that says nothing selects nothing, as the API's documentation has it.
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|rule| meets(rule, label(node, &rule.key)))
        && fields.iter().all(|rule| meets(rule, node.metadata.name.as_deref()))
}

fn meets(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let among = value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let wanted = number(values.first().map(String::as_str));
    match rule.operator.as_str() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(wanted).is_some_and(|(value, wanted)| value > wanted),
        "Lt" => number(value).zip(wanted).is_some_and(|(value, wanted)| value < wanted),
        _ => false,
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
