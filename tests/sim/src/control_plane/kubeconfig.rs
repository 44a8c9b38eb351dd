//! Kubeconfig files for the API server of a run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// Where an API server is and how it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServer {
    /// Its address, for example `https://127.0.0.1:40123`.
    pub url: String,
    /// PEM text of the authority that signed its certificate.
    pub authority: String,
}

impl ApiServer {
    /// The text of a kubeconfig file (JSON, which is YAML too) for one user who
    /// presents `token`, with `namespace` as the default.
    pub fn kubeconfig(&self, user: &str, token: &str, namespace: &str) -> String {
        let authority = STANDARD.encode(&self.authority);
        let name = "xsld-sandbox";
        let file = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": name,
                "cluster": {"server": self.url, "certificate-authority-data": authority},
            }],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{
                "name": name,
                "context": {"cluster": name, "user": user, "namespace": namespace},
            }],
            "current-context": name,
        });
        format!("{file:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_configured_from_the_file() {
        let server = ApiServer { url: "https://127.0.0.1:1".into(), authority: "PEM".into() };
        let text = server.kubeconfig("admin", "secret-token", "default");
        let parsed = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(parsed.current_context.as_deref(), Some("xsld-sandbox"));
        assert_eq!(
            parsed.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
            Some(&*server.url)
        );
    }
}
