//! A stand-in for the API server in tests: it answers every request the same way and remembers
//! what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use kube::{Client, Config};
use serde_json::{Value, json};

/// A request that was received: method, path with query, and body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) body: Value,
}

/// How every request is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// 200 with the body that was sent.
    Echo,
    /// This status with a `Status` object of this reason.
    Refuse(u16, &'static str),
    /// Never.
    Silence,
}

/// The stand-in and a client of it.
pub(crate) struct Api {
    pub(crate) client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Api {
    /// Starts it on a free port of the loopback interface.
    pub(crate) async fn start(reply: Reply) -> Self {
        // Another test may have installed it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let service =
            Router::new().fallback(move |request: Request| answer(log.clone(), reply, request));
        tokio::spawn(async move { axum::serve(listener, service).await });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        Self { client: Client::try_from(config).unwrap(), asked }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    log: Arc<Mutex<Vec<Asked>>>,
    reply: Reply,
    request: Request,
) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    log.lock().unwrap().push(Asked {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        body: body.clone(),
    });
    match reply {
        Reply::Echo => Json(body).into_response(),
        Reply::Refuse(code, reason) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "refused in a test", "reason": reason, "code": code,
            });
            (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
        }
        Reply::Silence => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::OK.into_response()
        }
    }
}
