//! Startup, readiness and liveness probes over TCP and HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::backoff::scaled;

/// Probes of many members on a small machine must leave it some rest.
const SHORTEST_PERIOD: Duration = Duration::from_millis(50);
/// A timeout is not shortened below this: the machine is no faster in scaled time.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a probe cannot be run in this world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct UnsupportedProbe(String);

/// When a probe runs and how many answers count, in the time of this world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) successes: u32,
    pub(super) failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Tcp(SocketAddr),
    Http { url: String, host: Option<String>, headers: Vec<(String, String)> },
}

/// One probe, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    pub(super) timing: Timing,
    target: Target,
}

/// The probes of one container.
#[derive(Clone, Debug, Default)]
pub(super) struct Probers {
    pub(super) startup: Option<Prober>,
    pub(super) readiness: Option<Prober>,
    pub(super) liveness: Option<Prober>,
}

impl Probers {
    /// The probes of `container` in a pod at `address`.
    pub(super) fn of(
        container: &Container,
        address: Ipv4Addr,
        scale: f64,
    ) -> Result<Self, UnsupportedProbe> {
        let make = |probe: &Option<Probe>| {
            probe.as_ref().map(|probe| Prober::of(probe, container, address, scale)).transpose()
        };
        Ok(Self {
            startup: make(&container.startup_probe)?,
            readiness: make(&container.readiness_probe)?,
            liveness: make(&container.liveness_probe)?,
        })
    }
}

impl Timing {
    /// The API server has filled in the defaults; they are repeated for pods that bypassed it.
    pub(super) fn of(probe: &Probe, scale: f64) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            scaled(Duration::from_secs(value.unwrap_or(default)), scale)
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(SHORTEST_PERIOD),
            timeout: seconds(probe.timeout_seconds, 1).max(SHORTEST_TIMEOUT),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, 3),
        }
    }
}

impl Prober {
    fn of(
        probe: &Probe,
        container: &Container,
        address: Ipv4Addr,
        scale: f64,
    ) -> Result<Self, UnsupportedProbe> {
        let target = match (&probe.tcp_socket, &probe.http_get) {
            (Some(tcp), _) => {
                let port = port(&tcp.port, container)?;
                let host = tcp.host.as_deref().map_or(Ok(IpAddr::V4(address)), str::parse);
                let host = host.map_err(|_| unsupported("tcpSocket.host must be an address"))?;
                Target::Tcp(SocketAddr::new(host, port))
            }
            (_, Some(http)) => http_target(http, container, address)?,
            _ if probe.exec.is_some() => return Err(unsupported("exec probes do not run here")),
            _ => return Err(unsupported("this kind of probe does not run here")),
        };
        Ok(Self { timing: Timing::of(probe, scale), target })
    }

    /// Asks once. The error is what a real kubelet would put in its Event.
    pub(super) async fn ask(&self) -> Result<(), String> {
        let limit = self.timing.timeout;
        let asked = async {
            match &self.target {
                Target::Tcp(address) => {
                    let connected = TcpStream::connect(address).await;
                    connected.map(drop).map_err(|error| format!("dial tcp {address}: {error}"))
                }
                Target::Http { url, host, headers } => {
                    ask_http(url, host.as_deref(), headers).await
                }
            }
        };
        let late = || format!("no answer within {} ms", limit.as_millis());
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

fn unsupported(what: &str) -> UnsupportedProbe {
    UnsupportedProbe(format!("{what}: this world runs tcpSocket and httpGet probes"))
}

fn http_target(
    http: &HTTPGetAction,
    container: &Container,
    address: Ipv4Addr,
) -> Result<Target, UnsupportedProbe> {
    let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let at = http.host.clone().unwrap_or_else(|| address.to_string());
    let port = port(&http.port, container)?;
    let path = http.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut host = None;
    let mut headers = Vec::new();
    for header in http.http_headers.iter().flatten() {
        if header.name.eq_ignore_ascii_case("host") {
            host = Some(header.value.clone());
        } else {
            headers.push((header.name.clone(), header.value.clone()));
        }
    }
    Ok(Target::Http { url: format!("{scheme}://{at}:{port}{slash}{path}"), host, headers })
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, UnsupportedProbe> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    let valid = number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
    valid.ok_or_else(|| UnsupportedProbe(format!("the container has no port {port:?}")))
}

async fn ask_http(
    url: &str,
    host: Option<&str>,
    headers: &[(String, String)],
) -> Result<(), String> {
    let told = |error: reqwest::Error| format!("Get \"{url}\": {error}");
    // A real kubelet does not check certificates either; a fresh connection each time, as there.
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .map_err(told)?;
    let mut request = client.get(url).header("user-agent", "kube-probe/1.36");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(host) = host {
        request = request.header("host", host);
    }
    let status = request.send().await.map_err(told)?.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
    }
}

/// What answers in a row have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As many successes in a row as the probe asks for.
    Healthy,
    /// As many failures in a row as the probe allows.
    Unhealthy,
    /// Too few answers of one kind in a row to say.
    Open,
}

/// Counts answers in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    last: Option<bool>,
    run: u32,
}

impl Tally {
    pub(super) fn count(&mut self, good: bool, timing: &Timing) -> Verdict {
        self.run = if self.last == Some(good) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(good);
        match good {
            true if self.run >= timing.successes => Verdict::Healthy,
            false if self.run >= timing.failures => Verdict::Unhealthy,
            _ => Verdict::Open,
        }
    }
}

/// Runs the probes of a container that began at `begun`. `told` hears of each
/// change and of each failure. Returns when the container must be killed, with
/// the reason; never for a container that stays well.
pub(super) async fn supervise(
    probers: &Probers,
    begun: Instant,
    told: &(dyn Fn(Finding) + Send + Sync),
) -> String {
    if let Some(startup) = &probers.startup {
        let mut tally = Tally::default();
        let mut well = false;
        while !well {
            let (verdict, why) = round(startup, begun, &mut tally, "Startup", told).await;
            match verdict {
                Verdict::Unhealthy => return format!("failed startup probe: {why}"),
                Verdict::Healthy => well = true,
                Verdict::Open => {}
            }
        }
    }
    told(Finding::Started);
    let readiness = async {
        let Some(prober) = &probers.readiness else {
            told(Finding::Ready(true));
            return std::future::pending().await;
        };
        let mut tally = Tally::default();
        loop {
            match round(prober, begun, &mut tally, "Readiness", told).await.0 {
                Verdict::Healthy => told(Finding::Ready(true)),
                Verdict::Unhealthy => told(Finding::Ready(false)),
                Verdict::Open => {}
            }
        }
    };
    let liveness = async {
        let Some(prober) = &probers.liveness else { return std::future::pending().await };
        let mut tally = Tally::default();
        loop {
            let (verdict, why) = round(prober, begun, &mut tally, "Liveness", told).await;
            if verdict == Verdict::Unhealthy {
                return format!("failed liveness probe: {why}");
            }
        }
    };
    tokio::select! {
        reason = readiness => reason,
        reason = liveness => reason,
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The startup probe has succeeded, or there is none.
    Started,
    /// The container is, or is not, ready.
    Ready(bool),
    /// One probe failed; the text is for an Event.
    Failed(String),
}

async fn round(
    prober: &Prober,
    begun: Instant,
    tally: &mut Tally,
    kind: &str,
    told: &(dyn Fn(Finding) + Send + Sync),
) -> (Verdict, String) {
    let first = tally.last.is_none();
    let wait = if first {
        prober.timing.initial_delay.saturating_sub(begun.elapsed())
    } else {
        prober.timing.period
    };
    tokio::time::sleep(wait).await;
    let answer = prober.ask().await;
    let verdict = tally.count(answer.is_ok(), &prober.timing);
    let why = answer.err().unwrap_or_default();
    if !why.is_empty() {
        told(Finding::Failed(format!("{kind} probe failed: {why}")));
    }
    (verdict, why)
}

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;
