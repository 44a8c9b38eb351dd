//! The member's ports: TLS, connections, and the fault that closes them all.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::exchange::serve;
use super::{ADMIN_PORT, CONSOLE_PORT, DATA_PORT, Exit, Member};
use crate::faults::{FaultKind, Occasion};

/// A container that ended a moment ago may still hold the ports.
const BIND_PATIENCE: Duration = Duration::from_secs(10);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the certificate is not usable: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the certificate is not usable: {0}")]
    Tls(#[from] rustls::Error),
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// What the member shows to whom connects.
pub(super) struct Shown {
    /// The certificate of its volume.
    own: TlsAcceptor,
    /// For whom a certificate is made.
    names: Vec<String>,
    /// Another one, the same for as long as the container runs.
    other: OnceLock<TlsAcceptor>,
}

impl Shown {
    /// The certificate and the key of the volume, both in PEM, and the names that they are for.
    pub(super) fn new(certificate: &str, key: &str, names: Vec<String>) -> Result<Self, Error> {
        Ok(Self { own: acceptor(certificate, key)?, names, other: OnceLock::new() })
    }

    /// The one that is not the volume's.
    fn other(&self) -> Result<TlsAcceptor, Error> {
        if let Some(other) = self.other.get() {
            return Ok(other.clone());
        }
        let made = rcgen::generate_simple_self_signed(self.names.clone())?;
        let other = acceptor(&made.cert.pem(), &made.signing_key.serialize_pem())?;
        // Two connections at once may both have made one: the first one stays.
        Ok(self.other.get_or_init(|| other).clone())
    }
}

/// Makes the server side of TLS from a certificate and its key in PEM.
fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor, Error> {
    let chain =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Member {
    /// Opens every port and serves it until the container ends.
    pub(super) fn open_ports(self: &Arc<Self>, shown: &Arc<Shown>) {
        for port in [CONSOLE_PORT, DATA_PORT, ADMIN_PORT] {
            self.spawn(Arc::clone(self).serve_port(port, Arc::clone(shown)));
        }
    }

    async fn serve_port(self: Arc<Self>, port: u16, shown: Arc<Shown>) {
        let mut changes = self.config.faults.changes();
        loop {
            changes.mark_unchanged();
            if self.refuses() {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let listener = match self.bind(port).await {
                Ok(listener) => listener,
                Err(error) => {
                    let reason = format!("port {port} could not be opened: {error}");
                    self.exit.send_replace(Some(Exit { code: 1, reason }));
                    return;
                }
            };
            let open = CancellationToken::new();
            let _closed_with_it = open.clone().drop_guard();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            let member = Arc::clone(&self);
                            let shown = Arc::clone(&shown);
                            self.spawn(member.connection(stream, port, shown, open.clone()));
                        }
                    }
                    changed = changes.changed() => {
                        if changed.is_err() || self.refuses() {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn refuses(&self) -> bool {
        self.has_fault(Occasion::default(), |kind| *kind == FaultKind::Refuse)
    }

    /// The certificate that a connection of now meets.
    fn present(&self, shown: &Shown) -> Result<TlsAcceptor, Error> {
        let changed = |kind: &FaultKind| matches!(kind, FaultKind::ChangeCertificate { .. });
        match self.fault(Occasion::default(), changed) {
            Some(FaultKind::ChangeCertificate { pem: Some(pem) }) => acceptor(&pem, &pem),
            Some(_) => shown.other(),
            None => Ok(shown.own.clone()),
        }
    }

    async fn bind(&self, port: u16) -> std::io::Result<TcpListener> {
        let deadline = tokio::time::Instant::now() + BIND_PATIENCE;
        loop {
            match TcpListener::bind((self.config.address, port)).await {
                Err(error)
                    if error.kind() == std::io::ErrorKind::AddrInUse
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                bound => return bound,
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        port: u16,
        shown: Arc<Shown>,
        open: CancellationToken,
    ) {
        // Small answers must not wait for one another.
        let _ = stream.set_nodelay(true);
        let serving = async {
            let tls = match self.present(&shown) {
                Ok(tls) => tls,
                Err(error) => {
                    tracing::warn!(port, %error, "a connection met no certificate");
                    return;
                }
            };
            let Ok(stream) = tls.accept(stream).await else { return };
            let member = &self;
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                serve(Arc::clone(member), port, request.map(Body::new))
            });
            let http = hyper::server::conn::http1::Builder::new();
            let ended: Result<(), hyper::Error> =
                http.serve_connection(TokioIo::new(stream), service).await;
            if let Err(error) = ended {
                tracing::trace!(port, %error, "a connection ended");
            }
        };
        tokio::select! {
            () = open.cancelled() => {}
            () = serving => {}
        }
    }
}
