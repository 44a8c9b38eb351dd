//! The real Kubernetes control plane: etcd, kube-apiserver and
//! kube-controller-manager as child processes on free ports of 127.0.0.1.
//!
//! There is no scheduler and no kubelet: the [kubelet stand-in](crate::kubelet)
//! does their work.

mod assets;
mod certificates;
mod kubeconfig;
mod process;
mod programs;
mod progress;

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

pub use assets::{AssetsError, Programs};
pub use kubeconfig::ApiServer;
pub use process::{Guarded, Launch, ProcessError, end_leftover, find_in_path, tail};
pub use programs::NodeFailure;
pub use progress::{Progress, Step};

use certificates::Certificates;
use programs::{Files, Ports};

/// Ports are chosen and then used, so another program can take one in between.
const START_ATTEMPTS: u32 = 3;
/// How many lines of a program's log an error shows.
const TAIL_LINES: usize = 15;
/// A service account's token outlives any run.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// The programs are not there and could not be built.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// A program could not be started or followed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No port of 127.0.0.1 is free.
    #[error("no free port on 127.0.0.1")]
    Port(#[source] io::Error),
    /// The certificates could not be made.
    #[error("cannot make certificates")]
    Certificates(#[from] rcgen::Error),
    /// A program ended while it should have become ready.
    #[error("{name} ended while starting ({status}); the end of its log:\n{tail}")]
    Ended {
        /// Which program.
        name: String,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        tail: String,
    },
    /// The control plane did not become ready in time.
    #[error("the control plane is not ready after {seconds} s: {missing}; {name} says:\n{tail}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// What had not come true.
        missing: String,
        /// Whose log is shown.
        name: String,
        /// The last lines of that log.
        tail: String,
    },
    /// A kubeconfig could not be used.
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused a request.
    #[error("the API server refused a request")]
    Api(#[from] kube::Error),
}

/// Result of this module.
pub type Result<T, E = ControlPlaneError> = std::result::Result<T, E>;

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// How fast a lost node is noticed.
    pub nodes: NodeFailure,
    /// How long the start may take.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: NodeFailure::default(), deadline: Duration::from_secs(90) }
    }
}

/// A running control plane. Dropping it kills its processes; [`stop`](Self::stop)
/// ends them in order.
pub struct ControlPlane {
    etcd: Guarded,
    etcd_url: String,
    api_server: Guarded,
    controller_manager: Guarded,
    server: ApiServer,
    kubeconfig: PathBuf,
    client: kube::Client,
}

impl ControlPlane {
    /// Finds the programs, or builds them (several minutes, once).
    pub async fn build(progress: &Progress) -> Result<Programs> {
        Ok(assets::find_or_build(progress).await?)
    }

    /// Starts the control plane with its files in `dir/control-plane`, writes
    /// `dir/kubeconfig` (an administrator in namespace `default`) and returns
    /// when the API answers and the default service account exists.
    ///
    /// What a killed former run left running in the same directory is ended
    /// first; what it left stored is removed.
    pub async fn start(dir: &Path, programs: &Programs, options: &Options) -> Result<Self> {
        let root = dir.join("control-plane");
        end_leftovers(&root).await?;
        let mut attempt = 1;
        loop {
            match Self::start_once(dir, &root, programs, options).await {
                Err(ControlPlaneError::Ended { tail, .. })
                    if attempt < START_ATTEMPTS && tail.contains("address already in use") =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn start_once(
        dir: &Path,
        root: &Path,
        programs: &Programs,
        options: &Options,
    ) -> Result<Self> {
        remove_folder(root)?;
        let files = Files::new(root);
        let ports = free_ports()?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let set = Certificates::generate(programs::SERVICE_ADDRESS)?;
        write_pki(&files, &set, &token)?;
        let server = ApiServer {
            url: format!("https://127.0.0.1:{}", ports.api_server),
            authority: set.authority,
        };
        let manager = server.kubeconfig("controller-manager", &token, "default");
        write_private(&files.path("controller-manager.kubeconfig"), &manager)?;
        let admin = server.kubeconfig("admin", &token, "default");
        let kubeconfig = dir.join("kubeconfig");
        write_private(&kubeconfig, &admin)?;
        let client = client_from(&admin).await?;

        let nodes = &options.nodes;
        let launch = async |name: &str, program: &Path, args| {
            let name = name.to_owned();
            Guarded::spawn(Launch {
                log: files.path(&format!("{name}.log")),
                pid_file: Some(files.path(&format!("{name}.pid"))),
                program: program.to_owned(),
                args,
                env: Vec::new(),
                clean_env: true,
                name,
            })
            .await
        };
        let etcd = launch("etcd", &programs.etcd, programs::etcd(&files, ports)).await?;
        let arguments = programs::api_server(&files, ports, nodes);
        let api_server = launch("kube-apiserver", &programs.api_server, arguments).await?;
        let arguments = programs::controller_manager(&files, nodes);
        let controller_manager =
            launch("kube-controller-manager", &programs.controller_manager, arguments).await?;
        let etcd_url = format!("http://127.0.0.1:{}", ports.etcd);
        let mut plane =
            Self { etcd, etcd_url, api_server, controller_manager, server, kubeconfig, client };
        plane.wait_until_ready(options.deadline).await?;
        Ok(plane)
    }

    async fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let Some(missing) = self.missing().await else { return Ok(()) };
            self.check_running()?;
            if begun.elapsed() > limit {
                return Err(ControlPlaneError::NotReady {
                    seconds: limit.as_secs(),
                    missing,
                    name: self.api_server.name().to_owned(),
                    tail: self.api_server.log_tail(TAIL_LINES),
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is still missing for the control plane to be of use.
    async fn missing(&self) -> Option<String> {
        let limit = Duration::from_secs(5);
        let ask = async {
            let request = http_get("/readyz");
            if let Err(error) = self.client.request_text(request).await {
                return Some(format!("kube-apiserver is not ready ({error})"));
            }
            // The controller manager makes it: pods are refused before it is there.
            let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "default");
            match accounts.get_opt("default").await {
                Ok(Some(_)) => None,
                Ok(None) => Some("the default service account is not there yet".to_owned()),
                Err(error) => Some(format!("service accounts cannot be read ({error})")),
            }
        };
        let silent = Some("kube-apiserver does not answer".to_owned());
        tokio::time::timeout(limit, ask).await.unwrap_or(silent)
    }

    /// Fails when one of the three programs has ended.
    pub fn check_running(&mut self) -> Result<()> {
        for process in [&mut self.etcd, &mut self.api_server, &mut self.controller_manager] {
            if let Some(status) = process.try_wait()? {
                return Err(ControlPlaneError::Ended {
                    name: process.name().to_owned(),
                    status: status.to_string(),
                    tail: process.log_tail(TAIL_LINES),
                });
            }
        }
        Ok(())
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the API server is and how it is trusted.
    pub fn api_server(&self) -> &ApiServer {
        &self.server
    }

    /// Where etcd answers its clients, over plain HTTP.
    pub fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// The administrator's client.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The text of a kubeconfig for a service account, with a token from the
    /// TokenRequest API that lasts longer than any run.
    pub async fn kubeconfig_for(&self, namespace: &str, account: &str) -> Result<String> {
        service_account_kubeconfig(&self.client, &self.server, namespace, account).await
    }

    /// Ends the processes: the API server before etcd, because without etcd it
    /// hangs in its graceful end.
    pub async fn stop(mut self) -> Result<()> {
        let grace = Duration::from_secs(3);
        let manager = self.controller_manager.terminate(grace).await;
        let server = self.api_server.terminate(grace).await;
        let etcd = self.etcd.terminate(grace).await;
        manager.and(server).and(etcd)?;
        Ok(())
    }
}

/// The text of a kubeconfig for a service account of the API server behind `client`.
pub async fn service_account_kubeconfig(
    client: &kube::Client,
    server: &ApiServer,
    namespace: &str,
    account: &str,
) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() };
    let request = TokenRequest { spec, ..Default::default() };
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    let token = answer.status.map(|status| status.token).unwrap_or_default();
    Ok(server.kubeconfig(account, &token, namespace))
}

/// A client for the kubeconfig in `text`.
pub async fn client_from(text: &str) -> Result<kube::Client> {
    // Fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::from_yaml(text)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(kube::Client::try_from(config)?)
}

fn http_get(path: &str) -> axum::http::Request<Vec<u8>> {
    let request = axum::http::Request::get(path).body(Vec::new());
    request.expect("a fixed path makes a valid request")
}

async fn end_leftovers(root: &Path) -> Result<()> {
    for name in ["kube-controller-manager", "kube-apiserver", "etcd"] {
        end_leftover(&root.join(format!("{name}.pid")), root).await?;
    }
    Ok(())
}

fn write_pki(files: &Files, set: &Certificates, token: &str) -> Result<()> {
    let pki = files.path("pki");
    fs::create_dir_all(&pki).map_err(|source| file_error(&pki, source))?;
    let tokens = format!("{token},admin,admin,\"system:masters\"\n");
    for (name, text) in [
        ("ca.crt", &set.authority),
        ("server.crt", &set.server),
        ("server.key", &set.server_key),
        ("accounts.key", &set.accounts_key),
        ("accounts.pub", &set.accounts_public_key),
        ("tokens.csv", &tokens),
    ] {
        write_private(&pki.join(name), text)?;
    }
    Ok(())
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let open = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| file_error(path, source))
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path, error)),
        _ => Ok(()),
    }
}

fn file_error(path: &Path, source: io::Error) -> ControlPlaneError {
    ControlPlaneError::File { path: path.to_owned(), source }
}

/// Three ports that are free now. All are held until the last is chosen, so
/// that they differ.
fn free_ports() -> Result<Ports> {
    let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ControlPlaneError::Port);
    let (first, second, third) = (hold()?, hold()?, hold()?);
    let port = |listener: &TcpListener| {
        listener.local_addr().map(|address| address.port()).map_err(ControlPlaneError::Port)
    };
    Ok(Ports { etcd: port(&first)?, etcd_peer: port(&second)?, api_server: port(&third)? })
}
