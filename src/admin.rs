//! Health and metrics over HTTP; the journal over HTTPS, in [`journal`].
//!
//! `/healthz`: the process runs. `/readyz`: it leads (or waits for its turn), and the journal takes
//! records. `/metrics`: OpenMetrics.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

mod access;
pub mod client;
pub mod journal;
pub mod plan;
mod reach;
pub mod tls;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

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

/// Listens; the address tells the port where 0 was asked for. `[::]` means every address of both
/// families, whatever the host's default for such sockets is, and every IPv4 address where the host
/// has no IPv6.
///
/// # Errors
/// When the address cannot be had.
pub async fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = match address.ip() == Ipv6Addr::UNSPECIFIED {
        true => match listen_on_both(address) {
            Ok(listener) => listener,
            // A port that is taken is taken in either family, and this says so as well.
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?,
        },
        false => TcpListener::bind(address).await?,
    };
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn listen_on_both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `stop`.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    stop: CancellationToken,
) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_means_those_of_both_families() {
        let (listener, address) = listen("[::]:0".parse().unwrap()).await.unwrap();
        let port = address.port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        assert!(from.ip().to_canonical().is_loopback(), "{from}");
        if address.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_refused() {
        let (_first, address) = listen("[::]:0".parse().unwrap()).await.unwrap();
        let taken = listen((Ipv6Addr::UNSPECIFIED, address.port()).into()).await;
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn one_address_means_only_that() {
        let (_listener, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    }
}
