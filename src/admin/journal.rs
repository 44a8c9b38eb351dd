//! The journal of a running operator, over HTTPS: to be read, and to be decided on.
//!
//! | request | right | answer |
//! | --- | --- | --- |
//! | `GET /v1/journal` | `get xsldcaches/journal` | an export, as `journal export` writes it |
//! | `GET /v1/journal?after=SEQ` | the same | the records behind that one, as soon as there are any |
//! | `POST /v1/plan` | `create xsldcaches/plan` of that cache | what a spec would lead to |
//! | `POST /v1/decisions` | `create xsldcaches/decision` of that cache | the record |
//!
//! Every caller shows a token of the cluster. Who decided is the name that the API server gives for
//! it, never what the caller says.

use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::info;
use xsld_journal::audit::{stream_export, time_text};
use xsld_journal::decision::{self, Refused, Said};
use xsld_journal::event::OperationId;
use xsld_journal::record::Record;
use xsld_journal::store::{Head, Store};

use super::access::{self, Denied, Right};
use super::plan::{PROPOSAL_MAX, plan};
use super::tls::{self, Identity};
use crate::clock::Clock;
use crate::controller::Context;
use crate::metrics::{EndpointLabels, Metrics};
use crate::recover::anchor::Served;
use crate::times::Times;
use crate::xsld::transport::Fingerprint;

/// The longest body of a request, in bytes.
const BODY_MAX: usize = 16 << 10;
/// Journals that are read at once: each is a pass over the whole audit file.
const READERS_MAX: usize = 2;
/// How much of an export is put together before it is sent, in bytes.
const CHUNK: usize = 64 << 10;
/// Records that are told at once to somebody who follows.
const NEW_MAX: u64 = 4096;
/// How long somebody who follows waits for an answer while nothing is new.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often it is looked whether something is new.
const WAIT_STEP: Duration = Duration::from_millis(200);
/// Chunks that may wait for a slow reader.
const CHUNKS_MAX: usize = 4;

/// What a person decided, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The operation's id, or the beginning of it.
    pub operation: String,
    /// Sequence of the last record of its cache that the person has seen.
    pub expect_head: u64,
    /// The decision.
    pub decision: String,
    /// Their reason.
    pub reason: String,
}

/// A decision as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Sequence of the record.
    pub seq: u64,
    /// When.
    pub time: String,
    /// The operation's whole id.
    pub operation: Option<OperationId>,
    /// The decision.
    pub decision: String,
    /// Whose, by the API server.
    pub who: String,
    /// Their reason.
    pub reason: String,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence.
    pub error: String,
}

/// What the endpoint works with.
pub struct Journal {
    /// Asks the API server about callers.
    pub client: Client,
    /// Tells the journal's head. Nobody who reads it keeps it open.
    pub store: Weak<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Time constants.
    pub times: Times,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// The namespace that the operator works in; none for all.
    pub namespace: Option<String>,
    /// The journal's directory.
    pub dir: PathBuf,
    /// What decisions and plans take; none while the journal is forked: then it is only read.
    pub leading: Option<Arc<Context>>,
}

pub(super) struct Shared {
    journal: Journal,
    readers: Arc<Semaphore>,
}

/// An address and a certificate to serve the journal with.
#[derive(Clone)]
pub struct Endpoint {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    identity: Arc<Identity>,
}

/// Why the journal cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("the address cannot be listened on")]
    Listen(#[from] io::Error),
    /// There is no certificate for it.
    #[error("there is no certificate to serve with")]
    Identity(#[from] tls::Error),
}

impl Endpoint {
    /// Listens on an address; connections wait until [`Endpoint::serve`]. `pod` is the address that
    /// others reach it at where it listens on every one. `files` are a certificate and its key
    /// (PEM); without them a certificate is made that nobody signed.
    ///
    /// # Errors
    /// When the address or the certificate cannot be had.
    pub async fn take(
        address: SocketAddr,
        pod: Option<IpAddr>,
        files: Option<(&Path, &Path)>,
    ) -> Result<Self, Error> {
        let (listener, address) = super::listen(address).await?;
        let address = reached_at(address, pod);
        let identity = match files {
            Some((certificate, key)) => Identity::read(certificate, key),
            None => Identity::make(address.ip()),
        };
        let (listener, identity) = (Arc::new(listener), Arc::new(identity?));
        Ok(Self { listener, address, identity })
    }

    /// `https://` and the address.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// SHA-256 of its certificate.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.identity.fingerprint
    }

    /// What is told of it beside the anchor.
    pub fn served(&self, pod: Option<String>) -> Served {
        Served { url: self.url(), fingerprint: self.fingerprint().to_string(), pod }
    }

    /// Serves the journal until `stop`; after that it may be served again.
    pub async fn serve(self, journal: Journal, stop: CancellationToken) {
        let shared = Arc::new(Shared { journal, readers: Arc::new(Semaphore::new(READERS_MAX)) });
        let router = Router::new()
            .route("/v1/journal", get(read))
            .route("/v1/decisions", post(decide))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .route("/v1/plan", post(plan).layer(DefaultBodyLimit::max(PROPOSAL_MAX)))
            .with_state(shared);
        tls::serve(&self.listener, &self.identity, router, stop).await;
    }
}

/// Where others reach what listens on `address`: on every address there is none to be told but the
/// pod's, and without a pod only this machine is sure to have one.
fn reached_at(address: SocketAddr, pod: Option<IpAddr>) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => (pod.unwrap_or(Ipv4Addr::LOCALHOST.into()), address.port()).into(),
        false => address,
    }
}

impl Shared {
    /// The head of what is told: of all records, or of the next ones behind one, which are waited for.
    async fn head_after(&self, after: u64) -> Result<Head, Denied> {
        let clock = &self.journal.clock;
        let mut head = self.store()?.head();
        if after > head.seq {
            let message = format!("the journal has no record {after}");
            return Err(Denied::new(StatusCode::CONFLICT, message));
        }
        let until = clock.now().plus(WAIT_MAX);
        while after > 0 && head.seq == after && clock.now() < until {
            clock.sleep(WAIT_STEP).await;
            head = self.store()?.head();
        }
        let seq = after.saturating_add(NEW_MAX);
        match self.store()?.hash_at(seq) {
            Some(hash) if after > 0 && seq < head.seq => Ok(Head { seq, hash, ..head }),
            _ => Ok(head),
        }
    }

    fn client(&self) -> &Client {
        &self.journal.client
    }

    fn store(&self) -> Result<Arc<dyn Store>, Denied> {
        let closed = "the journal is being closed: ask again in a while";
        let store = self.journal.store.upgrade();
        store.ok_or_else(|| Denied::new(StatusCode::SERVICE_UNAVAILABLE, closed))
    }

    /// The operator's own, where it leads; a caller who may read is told why it does not.
    pub(super) async fn leading(&self, user: &UserInfo) -> Result<&Arc<Context>, Denied> {
        if let Some(context) = &self.journal.leading {
            return Ok(context);
        }
        self.allow(user, &Right::Read(self.journal.namespace.as_deref())).await?;
        let message = "the journal is forked: it can be read, and nothing is planned or decided before \
                       a person has told which copy is the true one";
        Err(Denied::new(StatusCode::SERVICE_UNAVAILABLE, message))
    }

    /// Who calls.
    pub(super) async fn caller(&self, headers: &HeaderMap) -> Result<UserInfo, Denied> {
        access::caller(self.client(), token(headers)?, self.timeout()).await
    }

    /// Lets them do it.
    pub(super) async fn allow(&self, user: &UserInfo, right: &Right<'_>) -> Result<(), Denied> {
        access::allow(self.client(), user, right, self.timeout()).await
    }

    pub(super) fn timeout(&self) -> Duration {
        self.journal.times.request
    }

    pub(super) fn answered(&self, route: &'static str, response: Response) -> Response {
        let labels = EndpointLabels { route, code: response.status().as_u16() };
        self.journal.metrics.endpoint_requests.get_or_create(&labels).inc();
        response
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let body = Json(Problem { error: self.message });
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

fn token(headers: &HeaderMap) -> Result<&str, Denied> {
    access::bearer(headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()))
}

/// Which records are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Those behind this one; all without it.
    #[serde(default)]
    after: u64,
}

async fn read(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let response =
        try_read(&shared, &headers, asked).await.unwrap_or_else(IntoResponse::into_response);
    shared.answered("journal", response)
}

async fn try_read(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Denied> {
    let user = shared.caller(headers).await?;
    shared.allow(&user, &Right::Read(shared.journal.namespace.as_deref())).await?;
    let busy = "the journal is being read by others: ask again in a while";
    let Query(Asked { after }) =
        asked.map_err(|error| Denied::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let head = shared.head_after(after).await?;
    let place = shared.readers.clone().try_acquire_owned();
    let place = place.map_err(|_| Denied::new(StatusCode::TOO_MANY_REQUESTS, busy))?;
    let dir = shared.journal.dir.clone();
    let (chunks, sent) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut to = BufWriter::with_capacity(CHUNK, Chunks(chunks.clone()));
        let written = stream_export(&dir, after, &head, &mut to).and_then(|_| to.flush());
        if let Err(error) = written {
            // The answer breaks off; its first line promised more, so the reader knows.
            let _ = chunks.blocking_send(Err(error));
        }
    });
    let body = futures::stream::unfold(sent, |mut sent| async move {
        sent.recv().await.map(|chunk| (chunk, sent))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Writes into the answer; blocks while its reader is slow.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn decide(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let response =
        try_decide(&shared, &headers, &body).await.unwrap_or_else(IntoResponse::into_response);
    shared.answered("decisions", response)
}

async fn try_decide(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Denied> {
    let user = shared.caller(headers).await?;
    let context = shared.leading(&user).await?;
    let sent: Decision = serde_json::from_slice(body).map_err(|error| {
        Denied::new(StatusCode::BAD_REQUEST, format!("this is no decision: {error}"))
    })?;
    // Whose cache it is must be known before it is known whether the caller may decide. To somebody
    // who may read nothing, an operation that is not there is told like one that is.
    let subject = match decision::find(&*context.store, &sent.operation) {
        Ok(subject) => subject,
        Err(refused) => {
            shared.allow(&user, &Right::Read(shared.journal.namespace.as_deref())).await?;
            return Err(denied(&refused));
        }
    };
    let right = Right::Decide { namespace: &subject.namespace, name: &subject.name };
    shared.allow(&user, &right).await?;
    if !context.leadership.covers(Duration::ZERO) {
        let message = "this operator does not lead any more";
        return Err(Denied::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    let said = Said {
        operation: subject.operation.to_string(),
        expect_head: sent.expect_head,
        decision: sent.decision,
        reason: sent.reason,
        who: user.username.unwrap_or_default(),
    };
    let (store, epoch) = (context.store.clone(), context.epoch);
    let time_us = context.clock.wall().as_microsecond();
    let (said, record) = tokio::task::spawn_blocking(move || {
        let record = decision::record(&*store, epoch, time_us, &said);
        (said, record)
    })
    .await
    .map_err(|error| Denied::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let record = record.map_err(|refused| denied(&refused))?;
    let Said { who, decision, .. } = &said;
    info!(seq = record.seq(), operation = said.operation, who, decision, "a person decided");
    Ok(Json(recorded(said, &record)).into_response())
}

fn recorded(said: Said, record: &Record) -> Recorded {
    Recorded {
        seq: record.seq(),
        time: time_text(record.envelope.time_us),
        operation: record.envelope.operation,
        decision: said.decision,
        who: said.who,
        reason: said.reason,
    }
}

fn denied(refused: &Refused) -> Denied {
    let status = match refused {
        Refused::Unknown(_) => StatusCode::NOT_FOUND,
        Refused::Ambiguous(_) | Refused::Illegal { .. } | Refused::Text { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refused::Closed { .. }
        | Refused::Head { .. }
        | Refused::NotParked(_)
        | Refused::Decided { .. } => StatusCode::CONFLICT,
        Refused::Append(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    Denied::new(status, refused.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_on_every_address_is_told_by_that_of_its_pod() {
        let pod: IpAddr = "10.0.0.7".parse().unwrap();
        let every: SocketAddr = "[::]:8443".parse().unwrap();
        let one: SocketAddr = "[fd00::1]:8443".parse().unwrap();
        assert_eq!(reached_at(every, Some(pod)).to_string(), "10.0.0.7:8443");
        assert_eq!(reached_at(every, None).to_string(), "127.0.0.1:8443");
        assert_eq!(reached_at(one, Some(pod)), one);
    }
}
