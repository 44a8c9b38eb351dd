//! An HTTPS server that behaves as badly as a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::xsld::transport::Fingerprint;

/// The name by which tests ask for the server.
pub(super) const HOST: &str = "cache-0.cache.ns.svc";

/// What the server does once it has read a request.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Sends these bytes and closes properly.
    Raw(String),
    /// Sends these bytes and drops the connection.
    RawThenReset(String),
    /// Drops the connection.
    Reset,
    /// Never answers.
    Silent,
    /// Sends a body one byte at a time, without end.
    Drip,
    /// Sends a body without end.
    Endless { chunked: bool },
}

impl Behaviour {
    /// Answers with a JSON body.
    pub(super) fn json(status: u16, body: &str) -> Behaviour {
        Behaviour::Raw(format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/atom+xml\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

/// Certificate and key of a server.
pub(super) struct Identity {
    chain: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    foreign: bool,
    tls12: bool,
}

impl Identity {
    pub(super) fn self_signed() -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        Identity::new(params.self_signed(&key).unwrap().der().clone(), &key, false)
    }

    /// A certificate with a key that does not belong to it.
    pub(super) fn with_a_foreign_key() -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity::new(Identity::self_signed().chain, &key, true)
    }

    /// A certificate for `name` and the PEM of the CA that signed it.
    pub(super) fn from_ca(name: &str) -> (Identity, String) {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca_params = CertificateParams::new(Vec::new()).unwrap();
        ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = ca_params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca_params, ca_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        (Identity::new(leaf.der().clone(), &key, false), ca.pem())
    }

    fn new(chain: CertificateDer<'static>, key: &KeyPair, foreign: bool) -> Identity {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity { chain, key, foreign, tls12: false }
    }

    pub(super) fn only_tls12(self) -> Identity {
        Identity { tls12: true, ..self }
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.foreign
    }
}

#[derive(Default, Debug)]
struct Log {
    connections: usize,
    requests: Vec<String>,
    name: Option<String>,
}

#[derive(Debug)]
struct Resolver {
    key: Arc<CertifiedKey>,
    log: Arc<Mutex<Log>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.log.lock().unwrap().name = hello.server_name().map(str::to_owned);
        Some(self.key.clone())
    }
}

/// A running server; it ends when it is dropped.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) fingerprint: Fingerprint,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(behaviour: Behaviour) -> Server {
        Server::start_as(Identity::self_signed(), behaviour).await
    }

    pub(super) async fn start_as(identity: Identity, behaviour: Behaviour) -> Server {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let signing = provider.key_provider.load_private_key(identity.key).unwrap();
        let fingerprint = Fingerprint::of(&identity.chain);
        let key = Arc::new(CertifiedKey::new(vec![identity.chain], signing));
        let log = Arc::new(Mutex::new(Log::default()));
        let versions: &[_] = if identity.tls12 {
            &[&rustls::version::TLS12]
        } else {
            &[&rustls::version::TLS12, &rustls::version::TLS13]
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver { key, log: log.clone() }));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = plain_listener().await;
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(serve(listener, acceptor, behaviour, log.clone()));
        Server { port, fingerprint, log, task }
    }

    /// The requests read so far, head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.log.lock().unwrap().requests.clone()
    }

    /// How many connections were accepted, handshakes that failed included.
    pub(super) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// The name in the last handshake.
    pub(super) fn name_asked_for(&self) -> Option<String> {
        self.log.lock().unwrap().name.clone()
    }

    pub(super) async fn wait_for_connections(&self, count: usize) {
        let reached = async {
            while self.connections() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(5), reached).await;
        assert!(waited.is_ok(), "{} connections", self.connections());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listener of which nobody accepts.
pub(super) async fn plain_listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    behaviour: Behaviour,
    log: Arc<Mutex<Log>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        log.lock().unwrap().connections += 1;
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let Some(request) = read_request(&mut stream).await else { continue };
        log.lock().unwrap().requests.push(request);
        // A client that has heard enough hangs up; that is no fault of the test.
        let _ = behave(stream, &behaviour).await;
    }
}

async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}

async fn behave(mut stream: TlsStream<TcpStream>, behaviour: &Behaviour) -> std::io::Result<()> {
    match behaviour {
        Behaviour::Raw(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
        Behaviour::RawThenReset(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        }
        Behaviour::Reset => Ok(()),
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Behaviour::Endless { chunked } => {
            let coding = if *chunked { "transfer-encoding: chunked\r\n" } else { "" };
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{coding}\r\n").as_bytes()).await?;
            let block = "a".repeat(0x4000);
            let chunk = if *chunked { format!("4000\r\n{block}\r\n") } else { block };
            loop {
                stream.write_all(chunk.as_bytes()).await?;
            }
        }
    }
}
