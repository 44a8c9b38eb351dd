//! Who may evict members and who may reach them.

use super::{Identity, PORT_ADMIN, PORT_CONSOLE, PORT_DATA};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use xsld_journal::event::OperationKind;

/// How many members may be evicted at a time, such as by the drain of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evictions {
    /// One.
    One,
    /// None: an operation takes members away or brings them in just now.
    None,
}

impl Evictions {
    /// What the open operation allows. Grids, templates and larger volumes take nobody away; every
    /// other kind counts on the members that it does not touch.
    #[must_use]
    pub fn during(operation: Option<OperationKind>) -> Self {
        match operation {
            None
            | Some(
                OperationKind::GridCreate
                | OperationKind::GridUpdate
                | OperationKind::GridDelete
                | OperationKind::GridRecover
                | OperationKind::TemplateUpload
                | OperationKind::TemplateDelete
                | OperationKind::StorageGrowth,
            ) => Self::One,
            Some(_) => Self::None,
        }
    }
}

/// Allows one member to be evicted at a time, and none while an operation touches membership. A
/// member that is not ready counts: the cached data lives in the others' memory.
#[must_use]
pub fn pod_disruption_budget(identity: &Identity, evictions: Evictions) -> PodDisruptionBudget {
    let allowed = match evictions {
        Evictions::One => 1,
        Evictions::None => 0,
    };
    PodDisruptionBudget {
        metadata: identity.metadata(&identity.name),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(allowed)),
            selector: Some(identity.selector()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
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

    fn budget(operation: Option<OperationKind>) -> Option<IntOrString> {
        let identity =
            Identity { name: "c".into(), namespace: "ns".into(), uid: "4f6f7ae4".into() };
        let budget = pod_disruption_budget(&identity, Evictions::during(operation));
        budget.spec.unwrap().max_unavailable
    }

    #[test]
    fn nobody_is_evicted_while_an_operation_touches_membership() {
        use OperationKind as Kind;
        for kind in [None, Some(Kind::GridUpdate), Some(Kind::StorageGrowth)] {
            assert_eq!(budget(kind), Some(IntOrString::Int(1)), "{kind:?}");
        }
        for kind in [Kind::Bootstrap, Kind::ScaleUp, Kind::ScaleDown, Kind::Repair] {
            assert!(kind.touches_membership());
            assert_eq!(budget(Some(kind)), Some(IntOrString::Int(0)), "{kind:?}");
        }
        assert_eq!(budget(Some(Kind::PrimarySwitch)), Some(IntOrString::Int(0)));
    }
}
