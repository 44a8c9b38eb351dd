//! The pod template that a spec asks for.

use super::entrypoint::{ENTRYPOINT_KEY, entrypoint_name};
use super::{
    Identity, PORT_ADMIN, PORT_CATALOG, PORT_CONSOLE, PORT_DATA, admin_password_ref, affinity,
    revision, secret_key_ref,
};
use crate::crd::SecretKeyRef;
use crate::validate::{ValidCache, ValidPod};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, KeyToPath,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile,
    SecretKeySelector, SecurityContext, TCPSocketAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where the entrypoint's ConfigMap is mounted.
const ENTRYPOINT_DIRECTORY: &str = "/opt/xsld-operator";

/// Read by all, run by the owner: the mode that the predecessor's scripts expect.
const ENTRYPOINT_MODE: i32 = 0o744;

/// Name of the claim template and of its volume.
pub(super) const VOLUME: &str = "vol";

/// Name of the member's own container. Others, which something injects, may come before it.
pub const MEMBER_CONTAINER: &str = "xsld";

/// The pod template that the spec asks for. It takes effect only once a journalled
/// step has committed it.
#[must_use]
pub fn pod_template(cache: &ValidCache, identity: &Identity) -> PodTemplateSpec {
    let settings = &cache.pod.settings;
    let mut labels = settings.labels.clone();
    labels.extend(identity.labels());
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!settings.annotations.is_empty()).then(|| settings.annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(cache, identity)],
            volumes: Some(vec![entrypoint_volume(cache, identity)]),
            affinity: affinity::affinity(&cache.pod, identity),
            topology_spread_constraints: affinity::spread(&cache.pod, identity),
            node_selector: (!settings.node_selector.is_empty())
                .then(|| settings.node_selector.clone()),
            tolerations: filled(&settings.tolerations),
            image_pull_secrets: filled(&settings.image_pull_secrets),
            priority_class_name: settings.priority_class_name.clone(),
            service_account_name: settings.service_account_name.clone(),
            // A member does not speak to the API server, and the addresses of the
            // namespace's Services are of no use to it.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(security_context(&cache.pod)),
            termination_grace_period_seconds: Some(settings.termination_grace_period_seconds),
            ..PodSpec::default()
        }),
    };
    revision::sign(&mut template, cache, identity);
    template
}

fn container(cache: &ValidCache, identity: &Identity) -> Container {
    Container {
        name: MEMBER_CONTAINER.to_owned(),
        image: Some(cache.image.clone()),
        command: Some(vec![format!("{ENTRYPOINT_DIRECTORY}/{ENTRYPOINT_KEY}")]),
        env: Some(environment(cache, identity)),
        ports: Some(vec![
            port("console", PORT_CONSOLE),
            port("data", PORT_DATA),
            port("admin", PORT_ADMIN),
            port("catalog", PORT_CATALOG),
        ]),
        resources: cache.pod.settings.resources.clone(),
        volume_mounts: Some(vec![
            VolumeMount {
                name: VOLUME.to_owned(),
                mount_path: "/vol".to_owned(),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: "entrypoint".to_owned(),
                mount_path: ENTRYPOINT_DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ]),
        // A server needs 3 to 10 minutes to start; nothing else looks at it before
        // the start is over.
        startup_probe: Some(probe(10, 90, 5)),
        readiness_probe: Some(probe(10, 3, 5)),
        // A restart costs the member's cached data: five minutes of silence come first.
        liveness_probe: Some(probe(30, 10, 10)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn environment(cache: &ValidCache, identity: &Identity) -> Vec<EnvVar> {
    let mut variables = vec![
        plain("LICENSE", "accept"),
        secret("SECRET_KEY", secret_key_ref(cache, identity)),
        secret("XSADMIN_PWD", admin_password_ref(cache, identity)),
        plain("CACHE_GROUP", cache.group.as_str()),
        EnvVar {
            name: "MEMBER_NAME".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
        },
        plain("MEMBER_CAP", &cache.capacity.to_string()),
    ];
    variables.extend(cache.pod.settings.env.iter().cloned());
    variables
}

fn plain(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn secret(name: &str, reference: SecretKeyRef) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: reference.name,
                key: reference.key,
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn entrypoint_volume(cache: &ValidCache, identity: &Identity) -> Volume {
    Volume {
        name: "entrypoint".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: entrypoint_name(cache, identity),
            default_mode: Some(ENTRYPOINT_MODE),
            items: Some(vec![KeyToPath {
                key: ENTRYPOINT_KEY.to_owned(),
                path: ENTRYPOINT_KEY.to_owned(),
                mode: Some(ENTRYPOINT_MODE),
            }]),
            optional: None,
        }),
        ..Volume::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Whether the admin port takes connections. A request would need the password,
/// and what stands in a probe can be read by everyone who can read the pod.
fn probe(period_seconds: i32, failure_threshold: i32, timeout_seconds: i32) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { host: None, port: IntOrString::Int(PORT_ADMIN) }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(timeout_seconds),
        ..Probe::default()
    }
}

/// The image decides about its user, so the default only takes away system calls
/// that no server needs.
fn security_context(pod: &ValidPod) -> PodSecurityContext {
    pod.settings.security_context.clone().unwrap_or_else(|| PodSecurityContext {
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    })
}

fn filled<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
