//! Where members are placed.

use super::Identity;
use crate::crd::AntiAffinity;
use crate::validate::ValidPod;
use k8s_openapi::api::core::v1::{
    Affinity, PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm,
};

/// The user's affinity with what `antiAffinity` asks for; none when neither says anything.
pub(super) fn affinity(pod: &ValidPod, identity: &Identity) -> Option<Affinity> {
    let given = pod.settings.affinity.clone();
    if pod.anti_affinity == AntiAffinity::None {
        return given;
    }
    let apart = PodAffinityTerm {
        label_selector: Some(identity.selector()),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let mut affinity = given.unwrap_or_default();
    let rules = affinity.pod_anti_affinity.get_or_insert_default();
    if pod.anti_affinity == AntiAffinity::Required {
        rules
            .required_during_scheduling_ignored_during_execution
            .get_or_insert_default()
            .push(apart);
    } else {
        rules
            .preferred_during_scheduling_ignored_during_execution
            .get_or_insert_default()
            .push(WeightedPodAffinityTerm { pod_affinity_term: apart, weight: 100 });
    }
    Some(affinity)
}

/// The user's constraints. One without a selector counts no pod at all, which
/// nobody means: it counts this cache's members.
pub(super) fn spread(pod: &ValidPod, identity: &Identity) -> Option<Vec<TopologySpreadConstraint>> {
    let given = &pod.settings.topology_spread_constraints;
    if given.is_empty() {
        return None;
    }
    let filled = given.iter().cloned().map(|mut constraint| {
        constraint.label_selector.get_or_insert_with(|| identity.selector());
        constraint
    });
    Some(filled.collect())
}
