//! The endpoint's connections: TLS, bounded in number, in time and in what they may hold up.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::debug;

use crate::xsld::transport::Fingerprint;

/// Connections that may be open at once; the next ones are closed.
const CONNECTIONS_MAX: usize = 32;
/// How long a handshake, and then the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last: a whole journal is to fit through a slow line.
const CONNECTION_MAX: Duration = Duration::from_secs(600);

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// None could be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Key and certificate cannot be used.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A certificate with its key, ready to serve with.
pub struct Identity {
    config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, by which a caller can trust it.
    pub fingerprint: Fingerprint,
}

impl Identity {
    /// The certificate and key of two PEM files.
    ///
    /// # Errors
    /// When they cannot be read, or do not fit each other.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let file = |path: &Path, reason: String| Error::File { path: path.to_owned(), reason };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| file(certificate, error.to_string()))?;
        let key =
            PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error.to_string()))?;
        if chain.is_empty() {
            return Err(file(certificate, "there is no certificate in it".to_owned()));
        }
        Self::new(chain, key)
    }

    /// A new certificate that nobody signed, for this one start.
    ///
    /// # Errors
    /// When none can be made.
    pub fn make(address: IpAddr) -> Result<Self, Error> {
        // The names that a forwarded port has, and the address itself.
        let names = ["localhost", "127.0.0.1", "::1", &address.to_string()].map(str::to_owned);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names.to_vec())?.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Self::new(vec![certificate.der().clone()], key)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let fingerprint = Fingerprint::of(chain.first().map_or(&[][..], |first| first));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), fingerprint })
    }
}

/// Serves `router` on every connection until `stop`.
pub(super) async fn serve(
    listener: &TcpListener,
    identity: &Identity,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(identity.config.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let connection = match accepted {
            Ok((connection, _)) => connection,
            Err(error) => {
                // Out of descriptors, most likely: without a rest this would be a busy loop.
                debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = one(acceptor, connection, router) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn one(acceptor: TlsAcceptor, connection: TcpStream, router: Router) {
    let handshake = tokio::time::timeout(PATIENCE, acceptor.accept(connection)).await;
    let Ok(Ok(connection)) = handshake else { return };
    let service = hyper::service::service_fn(move |request: hyper::Request<_>| {
        let router = router.clone();
        async move {
            let request = request.map(|body: hyper::body::Incoming| Body::new(body));
            Ok::<_, Infallible>(
                router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(connection), service);
    match tokio::time::timeout(CONNECTION_MAX, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection of the endpoint broke off"),
        Err(_) => debug!("a connection of the endpoint lasted too long"),
    }
}
