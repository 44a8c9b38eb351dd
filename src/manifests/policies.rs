//! Who may evict members and who may reach them.

use super::{Identity, PORT_ADMIN, PORT_CONSOLE, PORT_DATA, pod_name};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use xsld_journal::event::Ordinal;

/// The label by which a StatefulSet's controller names each pod.
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";

/// How many members may be evicted at a time, such as by the drain of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evictions {
    /// One.
    One,
    /// None: an operation takes members away or brings them in just now, or one more would be lost.
    None,
}

/// Which members may be evicted, and how many at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// How many.
    pub evictions: Evictions,
    /// The primary whose eviction waits until another member has its role; none where none could
    /// take it.
    pub primary: Option<Ordinal>,
    /// Members that there are.
    pub members: u32,
}

/// The budget of the members, and that of a primary whose eviction waits. Kubernetes refuses to evict
/// a pod that has more than one, so no member is in both; where the primary is as any other member,
/// nobody is in its budget.
///
/// Of the members one may be evicted at a time, and none while an operation touches membership. One
/// that is not ready counts: the cached data lives in the others' memory.
#[must_use]
pub fn pod_disruption_budgets(
    identity: &Identity,
    budgets: &Budgets,
) -> (PodDisruptionBudget, PodDisruptionBudget) {
    let Budgets { evictions, primary, members } = *budgets;
    let pods = |operator: &str, primary: Option<Ordinal>| LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: POD_NAME_LABEL.to_owned(),
            operator: operator.to_owned(),
            values: primary.map(|primary| vec![pod_name(&identity.name, primary)]),
        }]),
        ..identity.selector()
    };
    let mut of_members = PodDisruptionBudgetSpec {
        selector: Some(match primary {
            Some(_) => pods("NotIn", primary),
            None => identity.selector(),
        }),
        ..PodDisruptionBudgetSpec::default()
    };
    match (evictions, primary) {
        (Evictions::None, _) => of_members.max_unavailable = Some(IntOrString::Int(0)),
        (Evictions::One, None) => of_members.max_unavailable = Some(IntOrString::Int(1)),
        // "At most so many" is counted from the size of the StatefulSet, which has the primary too.
        (Evictions::One, Some(_)) => {
            let stay = i32::try_from(members.saturating_sub(2)).unwrap_or(i32::MAX);
            of_members.min_available = Some(IntOrString::Int(stay));
        }
    }
    let of_primary = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(0)),
        selector: Some(match primary {
            Some(_) => pods("In", primary),
            // Every pod of a StatefulSet has its name.
            None => pods("DoesNotExist", None),
        }),
        ..PodDisruptionBudgetSpec::default()
    };
    let budget = |name: String, spec| PodDisruptionBudget {
        metadata: identity.metadata(name),
        spec: Some(spec),
        status: None,
    };
    let primary_name = primary_budget_name(&identity.name);
    (budget(identity.name.clone(), of_members), budget(primary_name, of_primary))
}

/// The name of the primary's own budget. No cache has a dot in its name, nor then any other object
/// that is named after one.
pub(super) fn primary_budget_name(cache: &str) -> String {
    format!("{cache}.primary")
}

/// Closes the members' other ports to everyone but themselves.
///
/// - Members reach each other on every port: besides the named ones, containers
///   and the database listen on ports that are not published.
/// - Anyone reaches the console and the data API; they have a password and TLS,
///   and clients may be anywhere.
/// - The namespace of the operator reaches the admin API. Without one (the
///   operator runs outside the cluster) everyone does.
/// - The kubelet's probes are not subject to a policy, and nothing is said about
///   what members may reach.
///
/// Policies add up, so a user opens more with a policy of their own, such as the
/// catalog's and the containers' ports for native clients.
#[must_use]
pub fn network_policy(identity: &Identity, operator_namespace: Option<&str>) -> NetworkPolicy {
    let members = NetworkPolicyPeer {
        pod_selector: Some(identity.selector()),
        ..NetworkPolicyPeer::default()
    };
    let operator = operator_namespace.map(|namespace| {
        let name = ("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
        vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector {
                match_labels: Some([name].into()),
                ..LabelSelector::default()
            }),
            ..NetworkPolicyPeer::default()
        }]
    });
    NetworkPolicy {
        metadata: identity.metadata(&identity.name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(identity.selector()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { from: Some(vec![members]), ports: None },
                NetworkPolicyIngressRule {
                    from: None,
                    ports: Some(vec![port(PORT_CONSOLE), port(PORT_DATA)]),
                },
                NetworkPolicyIngressRule { from: operator, ports: Some(vec![port(PORT_ADMIN)]) },
            ]),
            egress: None,
        }),
    }
}

fn port(number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { name: "c".into(), namespace: "ns".into(), uid: "4f6f7ae4".into() }
    }

    fn specs(
        evictions: Evictions,
        primary: Option<Ordinal>,
        members: u32,
    ) -> (PodDisruptionBudgetSpec, PodDisruptionBudgetSpec) {
        let budgets = Budgets { evictions, primary, members };
        let (others, of_primary) = pod_disruption_budgets(&identity(), &budgets);
        (others.spec.unwrap(), of_primary.spec.unwrap())
    }

    /// What the pods' names have to be.
    fn pods(spec: &PodDisruptionBudgetSpec) -> (String, Option<Vec<String>>) {
        let selector = spec.selector.clone().unwrap();
        assert_eq!(selector.match_labels, identity().selector().match_labels);
        let mut terms = selector.match_expressions.unwrap();
        assert_eq!(terms.len(), 1);
        let term = terms.remove(0);
        assert_eq!(term.key, "statefulset.kubernetes.io/pod-name");
        (term.operator, term.values)
    }

    #[test]
    fn one_may_be_evicted_or_none() {
        let allowed = |evictions| {
            let (all, of_primary) = specs(evictions, None, 3);
            assert_eq!(pods(&of_primary), ("DoesNotExist".to_owned(), None));
            assert_eq!(all.selector, Some(identity().selector()));
            all.max_unavailable
        };
        assert_eq!(allowed(Evictions::One), Some(IntOrString::Int(1)));
        assert_eq!(allowed(Evictions::None), Some(IntOrString::Int(0)));
    }

    #[test]
    fn every_pod_has_one_budget_and_the_primarys_allows_no_eviction() {
        let (others, of_primary) = specs(Evictions::One, Some(1), 4);
        assert_eq!(of_primary.max_unavailable, Some(IntOrString::Int(0)));
        let name = Some(vec!["c-1".to_owned()]);
        assert_eq!(pods(&others), ("NotIn".to_owned(), name.clone()));
        assert_eq!(pods(&of_primary), ("In".to_owned(), name));
    }

    #[test]
    fn one_of_the_others_may_be_evicted_beside_a_primary_that_may_not() {
        for (members, stay) in [(2, 0), (3, 1), (5, 3)] {
            let (others, _) = specs(Evictions::One, Some(0), members);
            assert_eq!(others.min_available, Some(IntOrString::Int(stay)), "{members}");
            assert_eq!(others.max_unavailable, None);
        }
        let (others, _) = specs(Evictions::None, Some(0), 3);
        assert_eq!(
            (others.min_available, others.max_unavailable),
            (None, Some(IntOrString::Int(0)))
        );
    }
}
