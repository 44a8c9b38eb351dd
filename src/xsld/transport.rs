//! The one seam through which every call to a member goes: one request, and what
//! is certain about it afterwards.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::Uuid;

/// User that the cache's administration API knows.
pub const ADMIN_USER: &str = "xsadmin";

/// Carries one request to a member and brings back what is certain about it.
///
/// Guarantees: the request is sent at most once, it ends within its deadline, no
/// redirect is followed, no proxy is asked, and credentials go only to a peer that
/// satisfies the request's [`Trust`].
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` once. Dropping the future before it is done leaves open
    /// whether the member has seen the request.
    async fn exchange(&self, request: Request) -> Exchange;
}

/// One request to a member.
#[derive(Clone)]
pub struct Request {
    /// Name of the member, `<pod>.<cache>.<namespace>.svc`; also the name that a
    /// certificate must carry where a CA is asked.
    pub host: String,
    /// Where to connect, from the pod's status; without it the name is resolved.
    pub address: Option<IpAddr>,
    /// TCP port.
    pub port: u16,
    /// Method of the request.
    pub method: Method,
    /// Path from the root, percent-encoded.
    pub path: String,
    /// JSON body. It can hold the group's secret key: never print it.
    pub body: Option<serde_json::Value>,
    /// Idempotency key, sent as the header `x-request-id` for the member's own log.
    pub key: Option<Uuid>,
    /// Who asks.
    pub credentials: Credentials,
    /// Which peer may be told the credentials.
    pub trust: Trust,
    /// Time for all of it: connecting, sending and reading the answer.
    pub deadline: Duration,
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("address", &self.address)
            .field("port", &self.port)
            .field("path", &self.path)
            .field("body", &self.body.as_ref().map(|_| "[not shown]"))
            .field("key", &self.key)
            .field("trust", &self.trust)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Starts or creates.
    Post,
    /// Changes.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Name and password for basic authentication.
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password; cannot be printed.
    pub password: SecretString,
}

impl Credentials {
    /// The cache's administrator, `xsadmin`.
    pub fn admin(password: SecretString) -> Credentials {
        Credentials { user: ADMIN_USER.to_owned(), password }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Which certificate a member may show. Under every choice the peer must prove
/// that it holds the certificate's key.
#[derive(Clone, PartialEq, Eq)]
pub enum Trust {
    /// Any certificate, because none is recorded yet. The answer carries its
    /// fingerprint, for the caller to record.
    FirstUse,
    /// This certificate and no other, whatever name or dates it carries.
    Pinned(Fingerprint),
    /// A certificate for the member's name, signed by one of these (PEM).
    Ca(Vec<u8>),
    /// Any certificate, because the user chose so.
    Insecure,
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::FirstUse => formatter.write_str("FirstUse"),
            Trust::Pinned(pin) => write!(formatter, "Pinned({pin})"),
            Trust::Ca(pem) => write!(formatter, "Ca({} bytes)", pem.len()),
            Trust::Insecure => formatter.write_str("Insecure"),
        }
    }
}

/// SHA-256 of a certificate in DER: what `openssl x509 -fingerprint -sha256`
/// prints. Its text is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// A text is not a fingerprint.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a fingerprint is 64 hexadecimal digits, with or without colons between the bytes")]
pub struct FingerprintError;

impl Fingerprint {
    /// Fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads 64 hexadecimal digits, as we print them or with openssl's colons.
    fn from_str(text: &str) -> Result<Fingerprint, FingerprintError> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return Err(FingerprintError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Fingerprint(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, FingerprintError> {
    let value = char::from(digit).to_digit(16).ok_or(FingerprintError)?;
    u8::try_from(value).map_err(|_| FingerprintError)
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Fingerprint, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

/// What is certain about a request once it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// The member answered, whole and in time.
    Replied(Response),
    /// No byte of the request was sent.
    NotSent {
        /// Why, without secrets.
        reason: String,
    },
    /// The peer showed a certificate that the request's trust does not allow, so no
    /// byte of the request was sent.
    Untrusted {
        /// The certificate that it showed.
        presented: Fingerprint,
        /// Why it was refused.
        reason: String,
    },
    /// Anything else: the member may or may not have acted on the request.
    Unknown {
        /// What happened, without secrets.
        reason: String,
    },
}

/// A whole answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Body, at most 1 MiB.
    pub body: Vec<u8>,
    /// Certificate that the member showed; none where the transport has none.
    pub certificate: Option<Fingerprint>,
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A member may echo what it was sent, so the body is not shown.
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("certificate", &self.certificate)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            host: "cache-0.cache.ns.svc".to_owned(),
            address: None,
            port: 9445,
            method: Method::Post,
            path: "/wxsadmin/v1/task".to_owned(),
            body: Some(serde_json::json!({"parameters": {"secretKey": "Secret123!x"}})),
            key: None,
            credentials: Credentials::admin("Password123!".into()),
            trust: Trust::Ca(b"-----BEGIN".to_vec()),
            deadline: Duration::from_secs(10),
        }
    }

    #[test]
    fn debug_of_a_request_shows_neither_body_nor_password() {
        let text = format!("{:?} {:#?}", request(), request().credentials);
        assert!(text.contains("POST") || text.contains("Post"), "{text}");
        assert!(!text.contains("Secret123!x") && !text.contains("Password123!"), "{text}");
    }

    #[test]
    fn debug_of_a_response_does_not_show_its_body() {
        let response = Response { status: 200, body: b"Password123!".to_vec(), certificate: None };
        assert!(!format!("{response:?}").contains("Password"));
    }

    #[test]
    fn fingerprint_reads_its_own_text_and_that_of_openssl() {
        let fingerprint = Fingerprint::of(b"abc");
        let text = fingerprint.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse(), Ok(fingerprint));
        let pairs: Vec<String> = text
            .to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|p| String::from_utf8_lossy(p).into())
            .collect();
        assert_eq!(pairs.join(":").parse(), Ok(fingerprint));
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    }

    #[test]
    fn text_that_is_no_fingerprint_is_refused() {
        for text in ["", "ba78", "zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
        {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }
}
