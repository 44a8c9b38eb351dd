//! One request from outside and its answer, with every fault that can come between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, Response, header};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::peer::{INTERNAL_BASE, PeerCall, PeerReply, Refusal, TOKEN_HEADER};
use super::wire::{Answer, Content};
use super::{ADMIN_PORT, Member};
use crate::calls::Call;
use crate::faults::{FaultKind, Garbage, Moment, Occasion};

/// Carries the caller's idempotency key; Liberty writes it to its access log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a member takes from outside, and from another member.
const LONGEST_BODY: usize = 8 << 20;
const LONGEST_PEER_BODY: usize = 256 << 20;

/// The connection ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection was dropped")]
pub(super) struct Dropped;

/// A request from outside, read whole.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) port: u16,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) authorization: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
    /// The task's command; empty where there is none.
    pub(super) command: String,
    /// The header `x-request-id`; empty where there is none.
    key: String,
    /// What the call log shows of the body.
    shown: Shown,
}

#[derive(Clone, Debug, Default)]
struct Shown {
    description: String,
    parameters: BTreeMap<String, Value>,
}

impl Request {
    /// What a fault's filter is compared with.
    pub(super) fn occasion(&self) -> Occasion<'_> {
        Occasion { method: &self.method, path: &self.path, command: &self.command, effect: "" }
    }

    fn line(&self, status: u16, effect: &str) -> Call {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        Call {
            method: self.method.clone(),
            path: format!("{}{query}", self.path),
            command: self.command.clone(),
            parameters: self.shown.parameters.clone(),
            description: self.shown.description.clone(),
            key: self.key.clone(),
            status,
            effect: effect.to_owned(),
            ..Call::default()
        }
    }
}

/// Serves one request of a connection.
pub(super) async fn serve(
    member: Arc<Member>,
    port: u16,
    request: axum::http::Request<Body>,
) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if port == ADMIN_PORT && path.starts_with(INTERNAL_BASE) {
        let body = to_bytes(body, LONGEST_PEER_BODY).await.map_err(|_| Dropped)?;
        return serve_peer(member, &parts.headers, &path, &body).await;
    }
    let text = |name: HeaderName| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
    let body = to_bytes(body, LONGEST_BODY).await.map_err(|_| Dropped)?;
    let parsed = if port == ADMIN_PORT { serde_json::from_slice(&body).ok() } else { None };
    let parsed: Value = parsed.unwrap_or(Value::Null);
    let profile = member.behaviour().profile;
    let other_names = profile.wire != Default::default() && !parsed.is_null();
    let (parsed, body) = if other_names {
        let command = parsed["command"].as_str().and_then(|name| profile.command_key(name));
        let parsed = profile.wire.request(command, parsed);
        let body = Bytes::from(parsed.to_string().into_bytes());
        (parsed, body)
    } else {
        (parsed, body)
    };
    let request = Request {
        port,
        method: parts.method.as_str().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE),
        command: parsed["command"].as_str().unwrap_or_default().to_owned(),
        key: text(REQUEST_ID).unwrap_or_default(),
        shown: shown(&parsed),
        path,
        body,
    };
    // The request goes on when its caller has hung up: what it does must not depend on that.
    let (sender, receiver) = oneshot::channel();
    let working = Arc::clone(&member);
    member.spawn(async move { process(working, request, sender).await });
    receiver.await.unwrap_or(Err(Dropped))
}

fn shown(body: &Value) -> Shown {
    let description = body["description"].as_str().unwrap_or_default().to_owned();
    let fields = body.get("parameters").unwrap_or(body).as_object();
    let parameters =
        fields.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    Shown { description, parameters: parameters.collect() }
}

/// Another member's request. Faults meet it only when they hang the whole member or name its path.
async fn serve_peer(
    member: Arc<Member>,
    headers: &HeaderMap,
    path: &str,
    body: &[u8],
) -> Result<Response<Body>, Dropped> {
    let named = Occasion { method: "POST", path, ..Occasion::default() };
    if member.hangs_for_all() {
        member.wait_while_hanging().await;
        return Err(Dropped);
    }
    if path_fault(&member, named) {
        return Err(Dropped);
    }
    let token = headers.get(TOKEN_HEADER).and_then(|token| token.to_str().ok()).unwrap_or("");
    let reply = match serde_json::from_slice::<PeerCall>(body) {
        // A question that is held open ends when the member begins to hang.
        Ok(call) => tokio::select! {
            reply = Arc::clone(&member).answer_peer(token, call) => reply,
            () = member.wait_until_hanging() => return Err(Dropped),
        },
        Err(error) => {
            tracing::error!(path, %error, "another member's call cannot be read");
            PeerReply::Refused { refusal: Refusal::Invalid(format!("not a call: {error}")) }
        }
    };
    Ok(Answer::json(200, json!(reply)).into_response(&member.behaviour()))
}

/// Whether a fault that names the path of the members' own traffic cuts this request.
fn path_fault(member: &Member, named: Occasion<'_>) -> bool {
    let cuts = |kind: &FaultKind| matches!(kind, FaultKind::Reset | FaultKind::DropReply);
    !member.has_fault(Occasion { path: "", ..named }, cuts) && member.fault(named, cuts).is_some()
}

async fn process(
    member: Arc<Member>,
    request: Request,
    sender: oneshot::Sender<Result<Response<Body>, Dropped>>,
) {
    let Some(answer) = before(&member, &request).await else {
        member.record(request.line(0, "none"));
        let _ = sender.send(Err(Dropped));
        return;
    };
    let answer = match answer {
        Some(answer) => answer,
        None => {
            if take(&member, &request, |kind| *kind == FaultKind::Duplicate).is_some() {
                let first = member.answer(&request).await;
                member.record(request.line(first.status, first.effect));
            }
            member.answer(&request).await
        }
    };
    let dropped = take(&member, &request, |kind| *kind == FaultKind::DropReply).is_some();
    let crashes = member.crashes_at(request.occasion(), Moment::After);
    let unheard = dropped || crashes || sender.is_closed();
    let answer = after(&member, &request, answer);
    let status = if unheard { 0 } else { answer.status };
    member.record(request.line(status, answer.effect));
    if crashes {
        member.crash(&format!("crash fault after {} {}", request.method, request.path));
    }
    if let Some(FaultKind::Slow { ms }) =
        take(&member, &request, |kind| matches!(kind, FaultKind::Slow { .. }))
    {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let response = answer.into_response(&member.behaviour());
    let _ = sender.send(if unheard { Err(Dropped) } else { Ok(response) });
}

fn take(
    member: &Member,
    request: &Request,
    wanted: impl Fn(&FaultKind) -> bool,
) -> Option<FaultKind> {
    member.fault(request.occasion(), wanted)
}

/// What happens before a request is looked at: `None` drops the connection, an answer is given
/// instead of looking at it.
async fn before(member: &Member, request: &Request) -> Option<Option<Answer>> {
    if member.crashes_at(request.occasion(), Moment::Before) {
        member.crash(&format!("crash fault before {} {}", request.method, request.path));
        return None;
    }
    if take(member, request, |kind| *kind == FaultKind::Hang).is_some() {
        member.wait_while_hanging().await;
        return None;
    }
    if take(member, request, |kind| *kind == FaultKind::Reset).is_some() {
        return None;
    }
    if let Some(FaultKind::Late { ms }) =
        take(member, request, |kind| matches!(kind, FaultKind::Late { .. }))
    {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    let instead = |kind: &FaultKind| matches!(kind, FaultKind::Status { .. } | FaultKind::DenyAuth);
    Some(match take(member, request, instead) {
        Some(FaultKind::Status { code, body, location }) => {
            let content = match body {
                Some(Value::String(text)) => {
                    let content_type = "text/html".to_owned();
                    Content::Bytes { content_type, bytes: text.into_bytes() }
                }
                Some(body) => Content::Json(body),
                None => Content::Error(json!({"error": format!("the server answers {code}")})),
            };
            Some(Answer { content, location, ..Answer::empty(code) })
        }
        Some(FaultKind::DenyAuth) => {
            Some(Answer::error(401, "CWWKS1100A: Authentication did not succeed."))
        }
        _ => None,
    })
}

/// What becomes of the right answer on its way.
fn after(member: &Member, request: &Request, answer: Answer) -> Answer {
    let effect = answer.effect;
    if take(member, request, |kind| *kind == FaultKind::Huge).is_some() {
        return Answer::endless().with_effect(effect);
    }
    let Some(FaultKind::Garbage { kind }) =
        take(member, request, |kind| matches!(kind, FaultKind::Garbage { .. }))
    else {
        return answer;
    };
    let garbage = match kind {
        Garbage::Html => Answer::html(200, "Service temporarily unavailable"),
        Garbage::CutJson => {
            let mut bytes = answer.body();
            bytes.truncate(bytes.len() / 2);
            Answer::bytes("application/json", bytes)
        }
        Garbage::WrongJson => Answer::json(200, json!({"unexpected": [null, 1e300, {"": []}]})),
    };
    garbage.with_effect(effect)
}

impl Member {
    /// Waits for as long as the member hangs. Its caller's patience ends first, or the fault is
    /// cleared and the connection then dropped.
    async fn wait_while_hanging(&self) {
        let mut changes = self.config.faults.changes();
        loop {
            if changes.changed().await.is_err() {
                return;
            }
            if !self.hangs() {
                return;
            }
        }
    }

    async fn wait_until_hanging(&self) {
        let mut changes = self.config.faults.changes();
        while !self.hangs_for_all() {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether a fault without a filter makes the whole member hang.
    fn hangs_for_all(&self) -> bool {
        self.has_fault(Occasion::default(), |kind| *kind == FaultKind::Hang)
    }

    /// Whether any fault makes the member hang.
    fn hangs(&self) -> bool {
        let faults = self.config.faults.list(&self.config.namespace, &self.config.pod);
        faults.iter().any(|fault| fault["fault"] == "hang")
    }
}
