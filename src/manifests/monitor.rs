//! How a Prometheus operator finds the metrics of this operator.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::FIELD_MANAGER;

/// Group and version of ServiceMonitors.
pub const SERVICE_MONITOR_VERSION: &str = "monitoring.coreos.com/v1";

/// Name of the operator's own headless Service, and of the ServiceMonitor.
pub const OPERATOR_SERVICE: &str = "xsld-operator";

/// The ServiceMonitor of the operator in `namespace`. It goes with `service`, by whose labels and
/// first port the metrics are found.
#[must_use]
pub fn service_monitor(namespace: &str, service: &Service) -> Value {
    let metadata = &service.metadata;
    let port = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_ref()?.first()?.name.clone())
        .unwrap_or_else(|| "http".to_owned());
    json!({
        "apiVersion": SERVICE_MONITOR_VERSION,
        "kind": "ServiceMonitor",
        "metadata": {
            "name": OPERATOR_SERVICE,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": OPERATOR_SERVICE,
                "app.kubernetes.io/part-of": OPERATOR_SERVICE,
                "app.kubernetes.io/managed-by": FIELD_MANAGER,
            },
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Service",
                "name": metadata.name,
                "uid": metadata.uid,
            }],
        },
        "spec": {
            "selector": {"matchLabels": metadata.labels},
            "endpoints": [{"port": port, "path": "/metrics"}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_finds_the_service_by_its_labels_and_port() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "xsld-operator", "uid": "u", "labels": {"a": "b"}},
            "spec": {"ports": [{"name": "web", "port": 8080}]},
        }))
        .unwrap();
        let monitor = service_monitor("ops", &service);
        assert_eq!(monitor["spec"]["selector"]["matchLabels"], json!({"a": "b"}));
        assert_eq!(monitor["spec"]["endpoints"][0]["port"], "web");
        assert_eq!(monitor["metadata"]["ownerReferences"][0]["uid"], "u");
        assert!(!super::super::differs(&monitor, &monitor));
    }
}
