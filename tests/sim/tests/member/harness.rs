//! Members on loopback addresses of their own, and what a test does to them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use xsld_sim::calls::{self, Call, CallLog};
use xsld_sim::faults::Faults;
use xsld_sim::member::{Exit, MemberConfig, Names, run};

pub const NAMESPACE: &str = "ns";
pub const CACHE: &str = "c";
pub const PASSWORD: &str = "Password123!";
pub const SECRET: &str = "s3cretKey!";
pub const JOIN: &str = "NewMemberJoinTaskCommand";
pub const DISJOIN: &str = "MemberDisjoinTaskCommand";
pub const REPLICATE: &str = "ConfigureDerbyReplicationTaskCommand";
pub const PROMOTE: &str = "DerbyFailoverTaskCommand";
pub const RESTART: &str = "RestartServersTaskCommand";

/// Longer than anything takes here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

static WORLDS: AtomicU32 = AtomicU32::new(0);

#[derive(Default)]
pub struct Table(Mutex<HashMap<String, Ipv4Addr>>);

impl Names for Table {
    fn resolve(&self, host: &str) -> Option<Ipv4Addr> {
        self.0.lock().unwrap().get(host).copied()
    }
}

struct Container {
    stop: CancellationToken,
    task: JoinHandle<Exit>,
    address: Ipv4Addr,
}

/// A few members and what they share.
pub struct World {
    directory: TempDir,
    network: (u8, u8),
    scale: f64,
    names: Arc<Table>,
    pub faults: Faults,
    calls: CallLog,
    containers: BTreeMap<usize, Container>,
    started: u32,
    pub entrypoint: Option<String>,
    client: reqwest::Client,
}

/// An answer as a client sees it; status 0 is no answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: Value,
    pub text: String,
}

pub fn pod(index: usize) -> String {
    format!("c-{index}")
}

pub fn host(index: usize) -> String {
    format!("{}.{CACHE}.{NAMESPACE}.svc", pod(index))
}

impl World {
    /// An empty world; `scale` divides every duration of the real cache.
    pub fn new(scale: f64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        // Below 127.64, which the other worlds use.
        let network = ((2 + pid % 60) as u8, (1 + (pid / 60 + number) % 250) as u8);
        let directory = tempfile::tempdir().unwrap();
        let calls = CallLog::open(directory.path().join("calls.jsonl")).unwrap();
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Self {
            directory,
            network,
            scale,
            names: Arc::default(),
            faults: Faults::new(),
            calls,
            containers: BTreeMap::new(),
            started: 0,
            entrypoint: None,
            client,
        }
    }

    /// A world in which so many members serve, each a group of one.
    pub async fn with_members(scale: f64, count: usize) -> Self {
        let mut world = Self::new(scale);
        for index in 0..count {
            world.start(index);
        }
        for index in 0..count {
            world.until_ready(index).await;
        }
        world
    }

    /// A world with one group of so many members, `c-0` its primary.
    pub async fn with_group(scale: f64, count: usize) -> Self {
        let world = Self::with_members(scale, count).await;
        for index in 1..count {
            world.join(index).await;
        }
        world
    }

    pub fn environment(index: usize) -> BTreeMap<String, String> {
        [
            ("LICENSE", "accept"),
            ("SECRET_KEY", SECRET),
            ("XSADMIN_PWD", PASSWORD),
            ("CACHE_GROUP", "cg1"),
            ("MEMBER_NAME", &pod(index)),
            ("MEMBER_CAP", "2"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    pub fn volume(&self, index: usize) -> PathBuf {
        self.directory.path().join(pod(index))
    }

    pub fn default_address(&self, index: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network.0, self.network.1, 10 + index as u8)
    }

    pub fn config(&mut self, index: usize, address: Ipv4Addr) -> MemberConfig {
        self.started += 1;
        self.names.0.lock().unwrap().insert(host(index), address);
        MemberConfig {
            namespace: NAMESPACE.to_owned(),
            cache: CACHE.to_owned(),
            pod: pod(index),
            pod_uid: format!("uid-{index}"),
            container_id: format!("container-{}", self.started),
            address,
            volume: self.volume(index),
            env: Self::environment(index),
            entrypoint: self.entrypoint.clone(),
            time_scale: self.scale,
            names: Arc::clone(&self.names) as Arc<dyn Names>,
            faults: self.faults.clone(),
            calls: self.calls.clone(),
        }
    }

    pub fn start(&mut self, index: usize) {
        self.start_at(index, self.default_address(index));
    }

    pub fn start_at(&mut self, index: usize, address: Ipv4Addr) {
        let config = self.config(index, address);
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(config, stop.clone()));
        self.containers.insert(index, Container { stop, task, address });
    }

    /// SIGKILL.
    pub async fn kill(&mut self, index: usize) {
        let container = self.containers.remove(&index).unwrap();
        container.task.abort();
        assert!(container.task.await.unwrap_err().is_cancelled());
    }

    /// SIGTERM.
    pub async fn stop(&mut self, index: usize) -> Exit {
        self.containers[&index].stop.cancel();
        self.exit(index).await
    }

    /// Waits for the container to end by itself.
    pub async fn exit(&mut self, index: usize) -> Exit {
        let container = self.containers.remove(&index).unwrap();
        tokio::time::timeout(PATIENCE, container.task).await.unwrap().unwrap()
    }

    pub async fn restart(&mut self, index: usize) {
        self.kill(index).await;
        self.start(index);
        self.until_ready(index).await;
    }

    /// Takes the member's volume away.
    pub fn wipe(&self, index: usize) {
        std::fs::remove_dir_all(self.volume(index)).unwrap();
    }

    pub fn fault(&self, index: usize, fault: Value) {
        self.faults.set(NAMESPACE, &pod(index), fault).unwrap();
    }

    pub fn heal(&self, index: usize) {
        self.faults.clear(NAMESPACE, &pod(index));
    }

    pub fn effects(&self) -> Vec<String> {
        let calls = calls::read(self.calls.path()).unwrap().into_iter();
        calls.map(|call| call.effect).filter(|effect| effect != "none").collect()
    }

    pub fn calls(&self) -> Vec<Call> {
        calls::read(self.calls.path()).unwrap()
    }

    pub fn has_effect(&self, effect: &str) -> bool {
        self.effects().iter().any(|known| known == effect)
    }

    fn request(
        &self,
        index: usize,
        port: u16,
        method: Method,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let address = self.containers.get(&index).map(|container| container.address);
        let address = address.unwrap_or_else(|| self.default_address(index));
        self.client.request(method, format!("https://{address}:{port}{path}"))
    }

    pub async fn send(request: reqwest::RequestBuilder) -> Reply {
        let none = |text: String| Reply {
            status: 0,
            content_type: String::new(),
            body: Value::Null,
            text,
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return none(format!("{error:?}")),
        };
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.map(|value| value.to_str().unwrap().to_owned());
        match response.text().await {
            Ok(text) => Reply {
                status,
                content_type: content_type.unwrap_or_default(),
                body: serde_json::from_str(&text).unwrap_or(Value::Null),
                text,
            },
            Err(error) => none(format!("{error:?}")),
        }
    }

    pub async fn as_user(&self, index: usize, password: &str, path: &str) -> Reply {
        let request = self.request(index, 9445, Method::GET, path);
        Self::send(request.basic_auth("xsadmin", Some(password))).await
    }

    pub async fn console(&self, index: usize, path: &str) -> Reply {
        Self::send(self.request(index, 9443, Method::GET, path)).await
    }

    pub async fn admin(
        &self,
        index: usize,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let path = format!("/wxsadmin/v1{path}");
        let mut request = self.request(index, 9445, method, &path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Self::send(request.basic_auth("xsadmin", Some(PASSWORD))).await
    }

    pub async fn get(&self, index: usize, path: &str) -> Reply {
        self.admin(index, Method::GET, path, None).await
    }

    pub async fn data(&self, index: usize, method: Method, path: &str, body: &str) -> Reply {
        let path = format!("/wxsdata/v1{path}");
        let request = self.request(index, 9444, method, &path).body(body.to_owned());
        let request = request.header("content-type", "text/plain");
        Self::send(request.basic_auth("xsadmin", Some(PASSWORD))).await
    }

    pub async fn task(&self, index: usize, command: &str, parameters: Value) -> Reply {
        let body =
            json!({"command": command, "description": "of a test", "parameters": parameters});
        self.admin(index, Method::POST, "/task", Some(body)).await
    }

    /// Starts a task that must be accepted, and gives back its number.
    pub async fn accepted(&self, index: usize, command: &str, parameters: Value) -> u64 {
        let reply = self.task(index, command, parameters).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body["taskId"].as_u64().unwrap()
    }

    pub fn join_parameters(index: usize) -> Value {
        json!({"secretKey": SECRET, "memberName": pod(index), "cacheMemberGroupHost": host(0),
            "isCatalog": "true"})
    }

    pub async fn start_join(&self, index: usize) -> u64 {
        self.accepted(index, JOIN, Self::join_parameters(index)).await
    }

    /// Starts a join as soon as the group is free.
    pub async fn until_started(&self, index: usize) -> u64 {
        let mut task = None;
        self.until("the group is free", async || {
            let reply = self.task(index, JOIN, Self::join_parameters(index)).await;
            task = reply.body["taskId"].as_u64();
            task.is_some()
        })
        .await;
        task.unwrap()
    }

    /// Joins a member to the group of `c-0`.
    pub async fn join(&self, index: usize) {
        let task = self.start_join(index).await;
        assert_eq!(self.end_of(index, task).await, "Success");
        self.until_status(0, index, "Online").await;
    }

    /// Disjoins a member through `c-0`.
    pub async fn disjoin(&self, index: usize) {
        let task = self.accepted(0, DISJOIN, json!({"memberName": pod(index)})).await;
        assert_eq!(self.end_of(0, task).await, "Success");
    }

    pub async fn task_status(&self, index: usize, task: u64) -> Reply {
        self.get(index, &format!("/task/{task}/status")).await
    }

    /// Waits for a task's end and gives back its word.
    pub async fn end_of(&self, index: usize, task: u64) -> String {
        let mut word = String::new();
        self.until("the task ends", async || {
            let reply = self.task_status(index, task).await;
            word = reply.body["status"].as_str().unwrap_or_default().to_owned();
            word == "Success" || word == "Failed"
        })
        .await;
        word
    }

    pub async fn until_ready(&self, index: usize) {
        self.until("the member serves", async || self.get(index, "/task").await.status == 200)
            .await;
    }

    /// The members that `index` lists: names and statuses.
    pub async fn view(&self, index: usize) -> Vec<(String, String)> {
        let reply = self.get(index, "/cacheMemberGroup").await;
        let members = reply.body["members"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        members.iter().map(|it| (text(&it["memberName"]), text(&it["status"]))).collect()
    }

    pub async fn status_of(&self, at: usize, index: usize) -> Option<String> {
        let view = self.view(at).await.into_iter();
        view.filter(|(name, _)| *name == pod(index)).map(|(_, status)| status).next()
    }

    pub async fn until_status(&self, at: usize, index: usize, status: &str) {
        let what = format!("c-{at} shows c-{index} as {status}");
        self.until(&what, async || self.status_of(at, index).await.as_deref() == Some(status))
            .await;
    }

    pub async fn until_effect(&self, effect: &str) {
        self.until(effect, async || self.has_effect(effect)).await;
    }

    /// Asks until the answer is yes.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition().await {
            assert!(Instant::now() < deadline, "in vain: {what}\n{:#?}", self.effects());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Creates a grid and waits until it is Online.
    pub async fn create_grid(&self, name: &str, definition: Value) {
        let path = format!("/grid/{name}");
        let reply = self.admin(0, Method::POST, &path, Some(definition)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let task = reply.body["taskId"].as_u64().unwrap();
        assert_eq!(self.end_of(0, task).await, "Success");
    }

    pub async fn grid_status(&self, name: &str) -> String {
        let reply = self.get(0, &format!("/grid/{name}")).await;
        reply.body["status"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn put(&self, index: usize, key: &str, value: &str) -> u16 {
        let path = format!("/grids/g/testmap.LUT.O/{key}");
        self.data(index, Method::POST, &path, value).await.status
    }

    pub async fn value(&self, index: usize, key: &str) -> Reply {
        let path = format!("/grids/g/testmap.LUT.O/{key}");
        self.data(index, Method::GET, &path, "").await
    }
}
