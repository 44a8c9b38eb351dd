//! The two Services: one by which members find each other, one for clients.

use super::{
    Identity, PORT_ADMIN, PORT_CATALOG, PORT_CONSOLE, PORT_DATA, names::client_service_name,
};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The Service that gives each member its name. It publishes addresses that are
/// not ready: a member resolves its own name while it starts, and would wait for
/// its own readiness otherwise.
#[must_use]
pub fn headless_service(identity: &Identity) -> Service {
    Service {
        metadata: identity.metadata(&identity.name),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(identity.selector_labels()),
            ports: Some(vec![
                port("console", PORT_CONSOLE),
                port("data", PORT_DATA),
                port("admin", PORT_ADMIN),
                port("catalog", PORT_CATALOG),
            ]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service for clients: console and data of any member that is ready.
#[must_use]
pub fn client_service(identity: &Identity) -> Service {
    Service {
        metadata: identity.metadata(client_service_name(&identity.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(identity.selector_labels()),
            ports: Some(vec![port("console", PORT_CONSOLE), port("data", PORT_DATA)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}
