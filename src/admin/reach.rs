//! How a running operator is reached from outside: where it listens, which certificate is its own,
//! and with which token a person shows who they are.
//!
//! All three come from the kubeconfig where nothing else is said. The certificate is told by the
//! anchor of the journal, which only the API server serves, so that the first one shown is never
//! trusted on its looks. A pod is reached through `kubectl port-forward`: kubectl knows every way
//! through proxies and log-ins that its user has set up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::ConfigExt as _;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};
use reqwest::Url;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tower::{Layer as _, Service as _, ServiceExt as _};

use super::client::{Error, PATIENCE};
use crate::args::{Cluster, Endpoint};
use crate::recover::anchor::{ANCHOR_NAME, Anchor, Served};
use crate::telemetry::chain;
use crate::xsld::transport::{Fingerprint, Trust};

/// Where the operator is installed unless somebody chose otherwise.
const USUAL_NAMESPACE: &str = "xsld-operator";
/// How much of kubectl's complaints is shown.
const COMPLAINT_MAX: u64 = 4096;

/// An operator that can be asked.
pub(super) struct Reached {
    /// Where.
    pub(super) url: Url,
    /// Which certificate is its own.
    pub(super) trust: Trust,
    /// Who asks.
    pub(super) token: SecretString,
    /// What the API server keeps of the journal; none when it was not asked, or keeps nothing that
    /// can be read.
    pub(super) anchor: Option<Anchor>,
    /// The process that forwards the port; it ends with this.
    _forward: Option<Child>,
}

/// Finds the operator that is meant.
pub(super) async fn reach(endpoint: &Endpoint, cluster: &Cluster) -> Result<Reached, Error> {
    let given = endpoint.url.as_deref().map(address).transpose()?;
    let trust = named_trust(endpoint)?;
    if let (Some(url), Some(trust), Some(file)) = (&given, &trust, &endpoint.token_file) {
        let (url, trust, token) = (url.clone(), trust.clone(), token_of(file)?);
        return Ok(Reached { url, trust, token, anchor: None, _forward: None });
    }
    let config = config(cluster).await?;
    let token = match &endpoint.token_file {
        Some(file) => token_of(file)?,
        None => own_token(&config).await?,
    };
    if let (Some(url), Some(trust)) = (&given, &trust) {
        let (url, trust) = (url.clone(), trust.clone());
        return Ok(Reached { url, trust, token, anchor: None, _forward: None });
    }
    let (namespace, served, anchor) = served(config, cluster).await?;
    let trust = match trust {
        Some(trust) => trust,
        None => Trust::Pinned(fingerprint(&served.fingerprint)?),
    };
    let (url, forward) = match (given, &served.pod) {
        (Some(url), _) => (url, None),
        (None, Some(pod)) if !cluster.direct => {
            let port = address(&served.url)?.port_or_known_default().unwrap_or(443);
            let (port, forward) = forwarded(cluster, &namespace, pod, port).await?;
            (address(&format!("https://127.0.0.1:{port}"))?, Some(forward))
        }
        (None, _) => (address(&served.url)?, None),
    };
    Ok(Reached { url, trust, token, anchor, _forward: forward })
}

/// Reads `https://HOST:PORT`.
fn address(text: &str) -> Result<Url, Error> {
    let wrong = || Error::Url(text.to_owned());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    match url.scheme() == "https" && url.host().is_some() && plain && nobody {
        true => Ok(url),
        false => Err(wrong()),
    }
}

/// The trust that the command line names; none when it names none.
fn named_trust(endpoint: &Endpoint) -> Result<Option<Trust>, Error> {
    if let Some(text) = &endpoint.fingerprint {
        return Ok(Some(Trust::Pinned(fingerprint(text)?)));
    }
    let Some(path) = &endpoint.certificate_authority else { return Ok(None) };
    let bundle = fs::read(path).map_err(|source| file(path, source))?;
    Ok(Some(Trust::Ca(bundle)))
}

fn fingerprint(text: &str) -> Result<Fingerprint, Error> {
    text.parse().map_err(|_| Error::Fingerprint(text.escape_debug().to_string()))
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

fn token_of(path: &PathBuf) -> Result<SecretString, Error> {
    let text = fs::read_to_string(path).map_err(|source| file(path, source))?;
    Ok(SecretString::from(text.trim().to_owned()))
}

async fn config(cluster: &Cluster) -> Result<Config, Error> {
    let unusable = |error: &dyn std::error::Error| Error::Kubeconfig(chain(error));
    match &cluster.context {
        None => Config::infer().await.map_err(|error| unusable(&error)),
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context.clone()),
                ..KubeConfigOptions::default()
            };
            Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error))
        }
    }
}

/// The token that kubectl would show to the API server: from a file, from a log-in program, or as
/// it stands in the kubeconfig.
async fn own_token(config: &Config) -> Result<SecretString, Error> {
    let without = |reason: &str| Error::Token(reason.to_owned());
    let layer = config.auth_layer().map_err(|error| Error::Token(chain(&error)))?;
    let none = "the kubeconfig's user shows a certificate and no token";
    let layer = layer.ok_or_else(|| without(none))?;
    let shown = tower::service_fn(|request: Request<Body>| async move {
        let mut answer = Response::new(());
        *answer.headers_mut() = request.headers().clone();
        Ok::<_, tower::BoxError>(answer)
    });
    let mut service = layer.layer(shown);
    let ready = service.ready().await.map_err(|error| Error::Token(chain(&*error)))?;
    let answer = ready.call(Request::new(Body::empty())).await;
    let answer = answer.map_err(|error| Error::Token(chain(&*error)))?;
    bearer(answer.headers()).ok_or_else(|| without("the kubeconfig's user shows no token"))
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let token = shown.strip_prefix("Bearer ").filter(|token| !token.is_empty())?;
    Some(SecretString::from(token.to_owned()))
}

/// What the anchor tells of where the journal is served, the namespace that it was found in, and
/// what it anchors.
async fn served(
    config: Config,
    cluster: &Cluster,
) -> Result<(String, Served, Option<Anchor>), Error> {
    let here = config.default_namespace.clone();
    let client = Client::try_from(config).map_err(|error| Error::Kubeconfig(chain(&error)))?;
    let namespaces = match &cluster.namespace {
        Some(namespace) => vec![namespace.clone()],
        None if here == USUAL_NAMESPACE => vec![here],
        None => vec![here, USUAL_NAMESPACE.to_owned()],
    };
    for namespace in &namespaces {
        let anchors: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let read = tokio::time::timeout(PATIENCE, anchors.get_opt(ANCHOR_NAME)).await;
        let failed = |reason: String| Error::Anchor { namespace: namespace.clone(), reason };
        let read = read.map_err(|_| failed("the API server did not answer in time".to_owned()))?;
        let Some(anchor) = read.map_err(|error| failed(chain(&error)))? else { continue };
        return match Served::on(&anchor) {
            Some(served) => Ok((namespace.clone(), served, Anchor::on(&anchor).ok())),
            None => Err(Error::NotServed(namespace.clone())),
        };
    }
    Err(Error::NoOperator(namespaces.join(", ")))
}

/// Lets kubectl forward a port of this machine to one of a pod.
async fn forwarded(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    port: u16,
) -> Result<(u16, Child), Error> {
    let failed = |reason: String| Error::Forward { pod: pod.to_owned(), reason };
    let mut command = Command::new("kubectl");
    if let Some(context) = &cluster.context {
        command.args(["--context", context]);
    }
    command.args(["--namespace", namespace, "port-forward", "--address", "127.0.0.1"]);
    command.args([format!("pod/{pod}"), format!(":{port}")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child =
        command.spawn().map_err(|error| failed(format!("kubectl cannot be run: {error}")))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("kubectl has no output".to_owned()));
    };
    let mut lines = BufReader::new(stdout).lines();
    let found = tokio::time::timeout(PATIENCE, async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(port) = forwarded_port(&line) {
                return Some(port);
            }
        }
        None
    });
    match found.await {
        Ok(Some(port)) => {
            // It tells every connection, and would wait for ever once nobody read that.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            tokio::spawn(async move {
                let mut stderr = stderr;
                let _ended = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            });
            Ok((port, child))
        }
        Ok(None) => Err(failed(complaint(stderr).await)),
        Err(_) => Err(failed("kubectl does not say that it forwards anything".to_owned())),
    }
}

/// The port in `Forwarding from 127.0.0.1:40123 -> 8443`.
fn forwarded_port(line: &str) -> Option<u16> {
    let from = line.strip_prefix("Forwarding from ")?.split(" -> ").next()?;
    from.rsplit_once(':')?.1.parse().ok()
}

async fn complaint(stderr: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let mut bounded = stderr.take(COMPLAINT_MAX);
    let _read = tokio::time::timeout(Duration::from_secs(1), bounded.read_to_end(&mut text)).await;
    let text = String::from_utf8_lossy(&text).trim().escape_debug().to_string();
    if text.is_empty() { "kubectl port-forward ended".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port_over_https_and_nothing_else() {
        for text in ["https://10.0.0.7:8443", "https://localhost:1/", "https://[::1]:8443"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in [
            "http://10.0.0.7:8443",
            "10.0.0.7:8443",
            "https://kim@10.0.0.7",
            "https://:secret@10.0.0.7",
            "https://10.0.0.7/v1/journal",
            "https://10.0.0.7?x=1",
            "https://10.0.0.7#x",
            "",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_forwarded_port_is_read_from_what_kubectl_says() {
        assert_eq!(forwarded_port("Forwarding from 127.0.0.1:40123 -> 8443"), Some(40123));
        assert_eq!(forwarded_port("Forwarding from [::1]:40123 -> 8443"), Some(40123));
        for line in ["", "Handling connection for 8443", "Forwarding from 127.0.0.1:x -> 8443"] {
            assert_eq!(forwarded_port(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn a_token_of_the_kubeconfig_is_shown_and_a_user_without_one_is_told() {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        let told = own_token(&config).await.unwrap_err().to_string();
        assert!(told.contains("no token") && told.contains("--token-file"), "{told}");
        config.auth_info.token = Some("s3cret".to_owned().into());
        let token = own_token(&config).await.unwrap();
        assert_eq!(token.expose_secret(), "s3cret");
    }
}
