//! Who may evict members and who may reach them.

use super::{Identity, PORT_ADMIN, PORT_CONSOLE, PORT_DATA, pod_name};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use xsld_journal::event::{OperationKind, Ordinal};
use xsld_journal::state::Operation;

/// The label by which a StatefulSet's controller names each pod.
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";

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
    /// other kind counts on the members that it does not touch, as long as it goes on: one that is
    /// parked, or paused, would forbid a drain for ever. So it allows one between two steps, as long
    /// as the group is `whole`: nobody is away and every grid is placed. A member that is away already
    /// counts as the one.
    #[must_use]
    pub fn during(operation: Option<&Operation>, paused: bool, whole: bool) -> Self {
        let Some(operation) = operation else { return Self::One };
        let between_steps = operation.step.is_none() && operation.cancel.is_none();
        if between_steps && whole && (operation.parked.is_some() || paused) {
            return Self::One;
        }
        match operation.kind {
            OperationKind::GridCreate
            | OperationKind::GridUpdate
            | OperationKind::GridDelete
            | OperationKind::GridRecover
            | OperationKind::TemplateUpload
            | OperationKind::TemplateDelete
            | OperationKind::StorageGrowth => Self::One,
            OperationKind::Bootstrap
            | OperationKind::ScaleUp
            | OperationKind::ScaleDown
            | OperationKind::Repair
            | OperationKind::Delete
            | OperationKind::ReplicationSetUp
            | OperationKind::PrimarySwitch
            | OperationKind::ImageRoll => Self::None,
        }
    }
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
    use xsld_journal::event::{Cause, Event, Goal, Step};

    use super::*;
    use crate::decide::testing::World;

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

    /// A group of two in which an operation of this kind is open.
    fn during(kind: OperationKind, change: impl FnOnce(&mut World)) -> Evictions {
        let mut world = World::group(2);
        world.apply(Event::OperationBegun {
            kind,
            goal: Goal::Members { size: 2, catalogs: 3 },
            cause: Cause { generation: 1, reason: "test".into() },
        });
        change(&mut world);
        Evictions::during(world.state.operation.as_ref(), world.wanted.paused, true)
    }

    #[test]
    fn nobody_is_evicted_while_an_operation_touches_membership() {
        use OperationKind as Kind;
        let allowed = |evictions| {
            let (all, of_primary) = specs(evictions, None, 3);
            assert_eq!(pods(&of_primary), ("DoesNotExist".to_owned(), None));
            assert_eq!(all.selector, Some(identity().selector()));
            all.max_unavailable
        };
        assert_eq!(allowed(Evictions::during(None, false, false)), Some(IntOrString::Int(1)));
        for kind in [Kind::GridUpdate, Kind::StorageGrowth] {
            assert_eq!(allowed(during(kind, |_| {})), Some(IntOrString::Int(1)), "{kind:?}");
        }
        for kind in [Kind::Bootstrap, Kind::ScaleUp, Kind::ScaleDown, Kind::Repair] {
            assert!(kind.touches_membership());
            assert_eq!(allowed(during(kind, |_| {})), Some(IntOrString::Int(0)), "{kind:?}");
        }
        assert_eq!(allowed(during(Kind::PrimarySwitch, |_| {})), Some(IntOrString::Int(0)));
    }

    #[test]
    fn an_operation_that_stands_still_forbids_no_drain() {
        let kind = OperationKind::ScaleUp;
        let parked = |world: &mut World| {
            let (reason, message) = ("StepFailed".into(), "five times".into());
            world.apply(Event::OperationParked { reason, message });
        };
        assert_eq!(during(kind, parked), Evictions::One);
        assert_eq!(during(kind, |world| world.wanted.paused = true), Evictions::One);
        let in_a_step = |world: &mut World| {
            world.wanted.paused = true;
            world.intend(Step::ScaleStatefulSet { from: 2, to: 3 });
        };
        assert_eq!(during(kind, in_a_step), Evictions::None, "the step is still to be settled");
        let parked_in_a_step = |world: &mut World| {
            world.intend(Step::ScaleStatefulSet { from: 2, to: 3 });
            parked(world);
        };
        assert_eq!(during(kind, parked_in_a_step), Evictions::None, "it may still run");
        let mut world = World::group(2);
        world.wanted.paused = true;
        world.apply(Event::OperationBegun {
            kind,
            goal: Goal::Members { size: 3, catalogs: 3 },
            cause: Cause { generation: 1, reason: "test".into() },
        });
        let open = world.state.operation.as_ref();
        assert_eq!(Evictions::during(open, true, false), Evictions::None, "a copy may be short");
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
