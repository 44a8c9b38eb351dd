//! The faults over HTTP, for scenarios and for a person with curl.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Faults, catalogue};

/// What a world lets the fault interface do to its Nodes.
pub trait NodeControl: Send + Sync {
    /// Stops a Node as if its power went. Returns whether there is such a Node.
    fn stop(&self, name: &str) -> bool;
    /// Starts it again. Returns whether there is such a Node.
    fn start(&self, name: &str) -> bool;
    /// Every Node.
    fn list(&self) -> Vec<NodeState>;
}

/// One Node, as the fault interface tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeState {
    /// The Node's name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
}

/// A running fault interface. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; the port is the real one also when port 0 was asked for.
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    faults: Faults,
    nodes: Arc<dyn NodeControl>,
}

/// Offers `faults` and `nodes` at `address`: `/members`, `/members/<namespace>/<pod>`, `/nodes`,
/// `/nodes/<name>`, `/catalogue`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    faults: Faults,
    nodes: Arc<dyn NodeControl>,
    address: SocketAddr,
) -> std::io::Result<Server> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/catalogue", get(|| async { axum::Json(json!(catalogue())) }))
        .route("/members", get(list_members).delete(clear_members))
        .route("/members/{namespace}/{pod}", get(list_faults).post(set_fault).delete(clear_faults))
        .route("/nodes", get(list_nodes))
        .route("/nodes/{name}", get(show_node).post(stop_node).delete(start_node))
        .with_state(Shared { faults, nodes });
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the fault interface ended");
        }
    });
    Ok(Server { address, task })
}

fn answer(code: StatusCode, body: Value) -> Response {
    (code, axum::Json(body)).into_response()
}

fn refuse(code: StatusCode, error: impl std::fmt::Display) -> Response {
    answer(code, json!({"error": error.to_string(), "faults": catalogue()}))
}

async fn list_members(State(shared): State<Shared>) -> Response {
    answer(StatusCode::OK, shared.faults.list_all())
}

async fn clear_members(State(shared): State<Shared>) -> Response {
    shared.faults.clear_all();
    answer(StatusCode::OK, json!([]))
}

async fn list_faults(
    State(shared): State<Shared>,
    Path((namespace, pod)): Path<(String, String)>,
) -> Response {
    answer(StatusCode::OK, json!(shared.faults.list(&namespace, &pod)))
}

async fn set_fault(
    State(shared): State<Shared>,
    Path((namespace, pod)): Path<(String, String)>,
    body: String,
) -> Response {
    let fault = match serde_json::from_str(&body) {
        Ok(fault) => fault,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error),
    };
    match shared.faults.set(&namespace, &pod, fault) {
        Ok(()) => answer(StatusCode::OK, json!(shared.faults.list(&namespace, &pod))),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error),
    }
}

async fn clear_faults(
    State(shared): State<Shared>,
    Path((namespace, pod)): Path<(String, String)>,
) -> Response {
    shared.faults.clear(&namespace, &pod);
    answer(StatusCode::OK, json!([]))
}

async fn list_nodes(State(shared): State<Shared>) -> Response {
    answer(StatusCode::OK, json!(shared.nodes.list()))
}

async fn show_node(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    match shared.nodes.list().into_iter().find(|node| node.name == name) {
        Some(node) => answer(StatusCode::OK, json!(node)),
        None => no_node(&name),
    }
}

async fn stop_node(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: String,
) -> Response {
    let wanted: Result<Value, _> = serde_json::from_str(&body);
    if !wanted.is_ok_and(|wanted| wanted == json!({"fault": "stop"})) {
        let error = "the one fault of a Node is {\"fault\": \"stop\"}";
        return answer(StatusCode::BAD_REQUEST, json!({"error": error}));
    }
    if !shared.nodes.stop(&name) {
        return no_node(&name);
    }
    answer(StatusCode::OK, json!({"name": name, "running": false}))
}

async fn start_node(State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    if !shared.nodes.start(&name) {
        return no_node(&name);
    }
    answer(StatusCode::OK, json!({"name": name, "running": true}))
}

fn no_node(name: &str) -> Response {
    answer(StatusCode::NOT_FOUND, json!({"error": format!("there is no Node \"{name}\"")}))
}
