//! Health and metrics over HTTP; the journal over HTTPS, in [`journal`].
//!
//! `/healthz`: the process runs. `/readyz`: it leads (or waits for its turn), and the journal takes
//! records. `/metrics`: OpenMetrics.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

mod access;
pub mod client;
pub mod journal;
pub mod plan;
mod reach;
pub mod tls;

/// What `/readyz` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Start-up is under way.
    Starting,
    /// Waiting for the lease of another instance. Ready, because nothing is wrong.
    Standby,
    /// It leads.
    Leading,
    /// It is about to leave.
    Failed(String),
    /// It leads and does nothing: the journal was forked, and a person has to decide.
    ReadOnly(String),
}

/// Shared by the program and its endpoints.
#[derive(Debug)]
pub struct Health {
    readiness: Mutex<Readiness>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// A program that is starting.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { readiness: Mutex::new(Readiness::Starting), metrics })
    }

    /// Changes what `/readyz` tells. A failure is kept: nothing is ready after it.
    pub fn set(&self, next: Readiness) {
        let mut now = self.readiness.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*now, Readiness::Failed(_)) {
            *now = next;
        }
    }

    fn get(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Listens; the address tells the port where 0 was asked for.
///
/// # Errors
/// When the address cannot be had.
pub async fn listen(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until `stop`.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    match health.get() {
        Readiness::Leading => (StatusCode::OK, "leading\n".to_owned()),
        Readiness::Standby => (StatusCode::OK, "waiting for the lease\n".to_owned()),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        Readiness::Failed(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("failed: {why}\n")),
        Readiness::ReadOnly(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("read-only: {why}\n"))
        }
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> ([(&'static str, &'static str); 1], String) {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([("content-type", kind)], health.metrics.render())
}
