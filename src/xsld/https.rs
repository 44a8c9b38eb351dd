//! The real transport: HTTPS to one member, one connection for one request.

mod trust;

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect, retry};
use secrecy::ExposeSecret as _;

use self::trust::Seen;
pub use self::trust::TrustError;
pub(crate) use self::trust::client_config;
use super::text::bounded;
use super::transport::{Exchange, Method, Request, Response, Transport};

/// Longest body of an answer, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// Header that carries the idempotency key.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const USER_AGENT: &str = concat!("xsld-operator/", env!("CARGO_PKG_VERSION"));

/// Upper bounds for the phases of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection is there, its TLS handshake included.
    pub connect: Duration,
    /// Until the whole answer is there, counted from the start.
    pub request: Duration,
}

impl Default for Timeouts {
    /// 3 s to connect, 10 s in all.
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(3), request: Duration::from_secs(10) }
    }
}

/// Sends requests to members by HTTPS.
///
/// Every request has a connection of its own, which is closed after it: a POST
/// must not meet a connection that the member is about to close, because nobody
/// could tell afterwards whether it was read.
#[derive(Clone, Debug, Default)]
pub struct HttpsTransport {
    timeouts: Timeouts,
}

impl HttpsTransport {
    /// A transport with these bounds; a request's own deadline can only shorten them.
    pub fn new(timeouts: Timeouts) -> HttpsTransport {
        HttpsTransport { timeouts }
    }
}

#[async_trait]
impl Transport for HttpsTransport {
    async fn exchange(&self, request: Request) -> Exchange {
        let (client, url, seen) = match prepare(&request, self.timeouts) {
            Ok(prepared) => prepared,
            Err(reason) => return Exchange::NotSent { reason },
        };
        let password = request.credentials.password.expose_secret();
        let mut sending = client
            .request(method(request.method), url)
            .basic_auth(&request.credentials.user, Some(password));
        match (&request.body, request.method) {
            (Some(body), _) => sending = sending.json(body),
            // Servers may refuse a change that does not say how long it is.
            (None, Method::Post | Method::Put) => sending = sending.header(CONTENT_LENGTH, 0),
            (None, Method::Get | Method::Delete) => {}
        }
        if let Some(key) = request.key {
            sending = sending.header(REQUEST_ID, key.to_string());
        }
        match sending.send().await {
            Ok(answer) => read(answer, &seen).await,
            Err(error) => classify(error, &seen),
        }
    }
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Delete => reqwest::Method::DELETE,
    }
}

/// A client for this one request, where it goes, and what its handshake will show.
fn prepare(request: &Request, timeouts: Timeouts) -> Result<(Client, Url, Arc<Seen>), String> {
    let deadline = request.deadline.min(timeouts.request);
    if deadline.is_zero() {
        return Err("no time is left for the request".to_owned());
    }
    let url = url(request)?;
    let (tls, seen) = client_config(&request.trust).map_err(|error| bounded(&error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .pool_max_idle_per_host(0)
        .connect_timeout(timeouts.connect.min(deadline))
        .timeout(deadline)
        .user_agent(USER_AGENT)
        .default_headers(headers);
    if let Some(address) = request.address {
        builder = builder.resolve(&request.host, SocketAddr::new(address, request.port));
    }
    let client = builder.build().map_err(|error| chain(&error))?;
    Ok((client, url, seen))
}

/// The request's URL. Host and path must stand in it exactly as they were given:
/// nothing in them may become another host, a query or a shorter path.
fn url(request: &Request) -> Result<Url, String> {
    let Request { host, port, path, .. } = request;
    let shown = bounded(host);
    let bad_host = || format!("{shown:?} is not the name of a host");
    let url = Url::parse(&format!("https://{host}:{port}{path}")).map_err(|_| bad_host())?;
    if !url.host_str().is_some_and(|parsed| parsed.eq_ignore_ascii_case(host)) {
        return Err(bad_host());
    }
    if url.path() != path || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{:?} is not a path", bounded(path)));
    }
    if url.port_or_known_default() != Some(*port) || !url.username().is_empty() {
        return Err(bad_host());
    }
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    match (literal, request.address) {
        (Some(literal), Some(address)) if literal != address => {
            Err(format!("the host is the address {literal}, but {address} was to be connected to"))
        }
        _ => Ok(url),
    }
}

/// Reads the body to its end, within its bound.
async fn read(mut answer: reqwest::Response, seen: &Seen) -> Exchange {
    let status = answer.status().as_u16();
    let too_long = || Exchange::Unknown {
        reason: format!("the answer's body is longer than {MAX_BODY} bytes"),
    };
    if answer.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return too_long();
    }
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => return too_long(),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => {
                let reason = format!("the answer broke off: {}", chain(&error.without_url()));
                return Exchange::Unknown { reason };
            }
        }
    }
    Exchange::Replied(Response { status, body, certificate: seen.presented.get().copied() })
}

/// What is certain after an error. Only an error from before the connection was
/// ready proves that nothing was sent.
fn classify(error: reqwest::Error, seen: &Seen) -> Exchange {
    if let (Some(presented), Some(refusal)) = (seen.presented.get(), seen.refusal.get()) {
        return Exchange::Untrusted { presented: *presented, reason: refusal.clone() };
    }
    let nothing_sent = error.is_connect() || error.is_builder();
    let timeout = error.is_timeout();
    let reason = chain(&error.without_url());
    match (nothing_sent, timeout) {
        (true, true) => Exchange::NotSent { reason: format!("connecting took too long: {reason}") },
        (true, false) => Exchange::NotSent { reason },
        (false, true) => Exchange::Unknown { reason: format!("no answer in time: {reason}") },
        (false, false) => Exchange::Unknown { reason },
    }
}

/// An error with its causes, on one bounded line.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    bounded(&text)
}

#[cfg(test)]
mod tests;
