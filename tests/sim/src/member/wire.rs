//! Answers, and the small things that several files say on the wire.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::profile::Behaviour;

/// What a request is answered with, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content: Content,
    pub(super) effect: &'static str,
    pub(super) location: Option<String>,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Empty,
    Json(Value),
    /// JSON, but its `Content-Type` says what the profile's errors say.
    Error(Value),
    Bytes {
        content_type: String,
        bytes: Vec<u8>,
    },
    /// A body that does not end.
    Endless,
}

impl Answer {
    fn of(status: u16, content: Content) -> Self {
        Self { status, content, effect: "none", location: None }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::of(status, Content::Empty)
    }

    pub(super) fn json(status: u16, value: Value) -> Self {
        Self::of(status, Content::Json(value))
    }

    pub(super) fn error(status: u16, text: impl std::fmt::Display) -> Self {
        Self::of(status, Content::Error(json!({"error": text.to_string()})))
    }

    pub(super) fn bytes(content_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self::of(200, Content::Bytes { content_type: content_type.into(), bytes })
    }

    /// The page of the console, and of whatever answers HTML.
    pub(super) fn html(status: u16, text: &str) -> Self {
        let page = format!("<!DOCTYPE html><html><body><h1>{text}</h1></body></html>\n");
        let content_type = "text/html".to_owned();
        Self::of(status, Content::Bytes { content_type, bytes: page.into_bytes() })
    }

    pub(super) fn endless() -> Self {
        Self::of(200, Content::Endless)
    }

    pub(super) fn with_effect(self, effect: &'static str) -> Self {
        Self { effect, ..self }
    }

    /// The body as text, where it has an end.
    pub(super) fn body(&self) -> Vec<u8> {
        match &self.content {
            Content::Empty | Content::Endless => Vec::new(),
            Content::Json(value) | Content::Error(value) => value.to_string().into_bytes(),
            Content::Bytes { bytes, .. } => bytes.clone(),
        }
    }

    /// The response on the wire.
    pub(super) fn into_response(self, behaviour: &Behaviour) -> Response<Body> {
        let content_type = match &self.content {
            Content::Empty => None,
            Content::Json(_) | Content::Endless => Some("application/json".to_owned()),
            Content::Error(_) => Some(behaviour.error_content_type.clone()),
            Content::Bytes { content_type, .. } => Some(content_type.clone()),
        };
        let body = match &self.content {
            Content::Endless => endless_body(),
            _ => Body::from(self.body()),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut put = |name, value: Option<String>| {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        };
        put(header::CONTENT_TYPE, content_type);
        put(header::LOCATION, self.location);
        let challenge = (self.status == 401).then(|| "Basic realm=\"defaultRealm\"".to_owned());
        put(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

/// A JSON text that begins like a list and goes on for ever.
fn endless_body() -> Body {
    let chunks = futures::stream::unfold(true, async |first| {
        let chunk = if first { "[\"\"".to_owned() } else { ",\"0123456789abcdef\"".repeat(512) };
        tokio::task::yield_now().await;
        Some((Ok::<_, std::convert::Infallible>(chunk), false))
    });
    Body::from_stream(chunks)
}

/// Changes with every change of `value`.
pub(super) fn fingerprint(value: &impl Serialize) -> u64 {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(&text).as_bytes()[..8]);
    // 0 means that nothing was seen yet.
    u64::from_be_bytes(first).max(1)
}

/// Microseconds since 1970.
pub(super) fn micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
