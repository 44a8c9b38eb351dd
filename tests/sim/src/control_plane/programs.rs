//! The arguments of the three programs. Pure: values in, words out.

use std::path::{Path, PathBuf};

/// First address of [`SERVICE_RANGE`]: the `kubernetes` Service.
pub(super) const SERVICE_ADDRESS: &str = "10.96.0.1";
const SERVICE_RANGE: &str = "10.96.0.0/16";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How fast the control plane notices that a node is gone. Whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFailure {
    /// Without a renewed lease for so long, a node counts as lost.
    pub grace_seconds: u32,
    /// So long the pods of a lost node are left alone before they are evicted.
    pub toleration_seconds: u32,
}

impl Default for NodeFailure {
    /// A grace of 8 s rather than less, because the leases are renewed once a
    /// second and a busy machine must not look like a lost node.
    fn default() -> Self {
        Self { grace_seconds: 8, toleration_seconds: 5 }
    }
}

/// The ports of one run, all on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api_server: u16,
}

/// The files of one run, below `DIR/control-plane`.
#[derive(Clone, Debug)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

pub(super) fn etcd(files: &Files, ports: Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    vec![
        format!("--data-dir={}", files.text("etcd")),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // The data of a run need not survive a power cut.
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=4294967296".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

pub(super) fn api_server(files: &Files, ports: Ports, nodes: &NodeFailure) -> Vec<String> {
    let toleration = nodes.toleration_seconds;
    let mut words = vec![
        format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.api_server),
        format!("--cert-dir={}", files.text("pki")),
        format!("--tls-cert-file={}", files.text("pki/server.crt")),
        format!("--tls-private-key-file={}", files.text("pki/server.key")),
        format!("--token-auth-file={}", files.text("pki/tokens.csv")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", files.text("pki/accounts.pub")),
        format!("--service-account-signing-key-file={}", files.text("pki/accounts.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        format!("--default-not-ready-toleration-seconds={toleration}"),
        format!("--default-unreachable-toleration-seconds={toleration}"),
    ];
    let fixed = [
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        // An endpoint on loopback is refused, so the reconciler could only fail.
        "--endpoint-reconciler-type=none",
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        "--profiling=false",
    ];
    words.extend(fixed.map(str::to_owned));
    words
}

pub(super) fn controller_manager(files: &Files, nodes: &NodeFailure) -> Vec<String> {
    // Endpoints refuse addresses of 127.0.0.0/8: every pass would log a warning Event.
    let controllers = "*,-endpoints-controller,-endpointslice-controller,\
                       -endpointslice-mirroring-controller";
    let mut words = vec![
        format!("--kubeconfig={}", files.text("controller-manager.kubeconfig")),
        format!("--service-account-private-key-file={}", files.text("pki/accounts.key")),
        format!("--root-ca-file={}", files.text("pki/ca.crt")),
        format!("--controllers={controllers}"),
        format!("--node-monitor-grace-period={}s", nodes.grace_seconds),
    ];
    let fixed = [
        "--leader-elect=false",
        "--secure-port=0",
        "--node-monitor-period=1s",
        "--node-startup-grace-period=20s",
        "--node-eviction-rate=10",
        "--secondary-node-eviction-rate=10",
        "--pvclaimbinder-sync-period=2s",
        "--concurrent-statefulset-syncs=20",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--profiling=false",
    ];
    words.extend(fixed.map(str::to_owned));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_all_its_files_below_its_own_folder() {
        let files = Files::new(Path::new("/run/a"));
        let ports = Ports { etcd: 1, etcd_peer: 2, api_server: 3 };
        let nodes = NodeFailure::default();
        let words = [
            etcd(&files, ports),
            api_server(&files, ports, &nodes),
            controller_manager(&files, &nodes),
        ]
        .concat();
        for word in words {
            if let Some((_, path)) = word.split_once("=/") {
                assert!(path.starts_with("run/a/"), "{word}");
            }
        }
    }

    #[test]
    fn the_controllers_that_refuse_loopback_addresses_are_left_out() {
        let words = controller_manager(&Files::new(Path::new("/d")), &NodeFailure::default());
        let controllers = words.iter().find(|word| word.starts_with("--controllers=")).unwrap();
        for name in ["endpoints", "endpointslice", "endpointslice-mirroring"] {
            assert!(controllers.contains(&format!("-{name}-controller")), "{controllers}");
        }
        assert!(!controllers.contains(' '), "{controllers}");
    }
}
