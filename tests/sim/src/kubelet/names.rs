//! What a cluster's DNS would answer. Pure.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Pod, Service};

/// `<pod>.<service>.<namespace>`, the first part missing when the Service itself is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host<'a> {
    pub(super) pod: Option<&'a str>,
    pub(super) service: &'a str,
    pub(super) namespace: &'a str,
}

/// Splits a name of the cluster; `None` for any other name.
pub(super) fn parse(host: &str) -> Option<Host<'_>> {
    let host = host.trim_end_matches('.');
    let host = host.strip_suffix(".cluster.local").unwrap_or(host);
    let mut parts = host.strip_suffix(".svc")?.rsplit('.');
    let (namespace, service, pod) = (parts.next()?, parts.next()?, parts.next());
    parts.next().is_none().then_some(Host { pod, service, namespace })
}

/// Whether DNS lists this pod under this headless Service: the Service selects
/// it, and the pod is Ready or the Service publishes addresses that are not.
pub(super) fn listed(pod: &Pod, service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else {
        return false;
    };
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let labels = pod.metadata.labels.as_ref();
    let selected = selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    headless && selected && (spec.publish_not_ready_addresses == Some(true) || is_ready(pod))
}

/// Whether the pod's own name under the Service is `hostname`.
pub(super) fn has_name(pod: &Pod, service: &str, hostname: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.subdomain.as_deref() == Some(service) && spec.hostname.as_deref() == Some(hostname)
}

/// Whether the pod's condition `Ready` is true.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The pod's address, unless its containers have ended for good.
pub(super) fn address(pod: &Pod) -> Option<Ipv4Addr> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    status.pod_ip.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": "c-0", "labels": {"app": "c"}},
            "spec": {"hostname": "c-0", "subdomain": "c", "containers": []},
            "status": {"podIP": "127.70.0.9", "conditions": [{"type": "Ready", "status": status}]},
        }))
        .unwrap()
    }

    fn service(publish: bool, cluster_ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "c"},
            "spec": {"clusterIP": cluster_ip, "selector": {"app": "c"},
                     "publishNotReadyAddresses": publish},
        }))
        .unwrap()
    }

    #[test]
    fn names_are_split_with_or_without_the_cluster_domain() {
        let expected = Host { pod: Some("c-0"), service: "c", namespace: "ns" };
        for host in ["c-0.c.ns.svc", "c-0.c.ns.svc.cluster.local", "c-0.c.ns.svc."] {
            assert_eq!(parse(host), Some(expected.clone()), "{host}");
        }
        assert_eq!(parse("c.ns.svc").unwrap().pod, None);
        assert_eq!(parse("example.com"), None);
        assert_eq!(parse("a.b.c.ns.svc"), None);
    }

    #[test]
    fn a_pod_that_is_not_ready_is_listed_only_where_the_service_says_so() {
        assert!(listed(&pod(true), &service(false, "None")));
        assert!(!listed(&pod(false), &service(false, "None")));
        assert!(listed(&pod(false), &service(true, "None")));
        assert!(!listed(&pod(true), &service(true, "10.96.0.7")));
    }

    #[test]
    fn a_pod_answers_only_to_its_own_hostname_and_subdomain() {
        assert!(has_name(&pod(true), "c", "c-0"));
        assert!(!has_name(&pod(true), "c", "c-1"));
        assert!(!has_name(&pod(true), "other", "c-0"));
        assert_eq!(address(&pod(true)), Some(Ipv4Addr::new(127, 70, 0, 9)));
    }
}
