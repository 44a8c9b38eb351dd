//! Stand-ins for tests of what is kept in one object of the API server: the object with its
//! versions, what may go wrong with a write, and a clock whose hands are moved by the test.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};

/// A clock whose hands are moved by the test. To sleep moves both.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    ms: AtomicU64,
    wall_ms: AtomicI64,
}

impl Hands {
    /// Time passes.
    pub(crate) fn pass(&self, span: Duration) {
        self.ms.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
        self.jump(i64::try_from(span.as_secs()).unwrap());
    }

    /// Only the wall clock moves: the machine slept, or somebody set it.
    pub(crate) fn jump(&self, seconds: i64) {
        self.wall_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Clock for Hands {
    fn now(&self) -> Moment {
        Moment(Duration::from_millis(self.ms.load(Ordering::SeqCst)))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millisecond(self.wall_ms.load(Ordering::SeqCst)).unwrap()
    }

    async fn sleep(&self, span: Duration) {
        self.pass(span);
        tokio::task::yield_now().await;
    }
}

/// What is odd about the next write.
#[derive(Clone, Debug)]
pub(crate) enum Twist {
    /// Nothing is.
    Plain,
    /// Somebody else writes this into the object just before.
    After(Value),
    /// It is done, and its answer is lost.
    Unanswered,
    /// It is not answered, and done only when it is let arrive.
    Late,
    /// It is refused like this.
    Refused(u16, &'static str),
}

#[derive(Default)]
struct Shared {
    object: Option<Value>,
    version: u64,
    twists: VecDeque<Twist>,
    late: Vec<(Method, Value)>,
    writes: usize,
}

/// An API server that has one object, or none.
#[derive(Clone, Default)]
pub(crate) struct One(Arc<Mutex<Shared>>);

impl One {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let shared = self.0.clone();
        let answer = move |request: Request<Body>| {
            let shared = shared.clone();
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (code, body) = shared.lock().unwrap().answer(&parts.method, body);
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        };
        Client::new(tower::service_fn(answer), "team")
    }

    /// What is odd about the writes to come, in order.
    pub(crate) fn next(&self, twists: impl IntoIterator<Item = Twist>) {
        self.0.lock().unwrap().twists.extend(twists);
    }

    /// Somebody else writes this into the object.
    pub(crate) fn write(&self, change: &Value) {
        self.0.lock().unwrap().change(change);
    }

    /// Somebody else deletes it.
    pub(crate) fn delete(&self) {
        self.0.lock().unwrap().object = None;
    }

    /// What was late arrives now.
    pub(crate) fn arrive(&self) {
        let mut shared = self.0.lock().unwrap();
        for (method, body) in std::mem::take(&mut shared.late) {
            let _ = shared.take(&method, body);
        }
    }

    /// The object.
    pub(crate) fn object(&self) -> Value {
        self.0.lock().unwrap().object.clone().unwrap_or(Value::Null)
    }

    /// How many writes were asked for.
    pub(crate) fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }
}

impl Shared {
    fn answer(&mut self, method: &Method, body: Value) -> (u16, Value) {
        if *method == Method::GET {
            let missing = || (404, status(404, "NotFound"));
            return self.object.clone().map_or_else(missing, |object| (200, object));
        }
        self.writes += 1;
        match self.twists.pop_front().unwrap_or(Twist::Plain) {
            Twist::Plain => self.take(method, body),
            Twist::After(change) => {
                self.change(&change);
                self.take(method, body)
            }
            Twist::Unanswered => {
                let _ = self.take(method, body);
                (504, status(504, "Timeout"))
            }
            Twist::Late => {
                self.late.push((method.clone(), body));
                (504, status(504, "Timeout"))
            }
            Twist::Refused(code, cause) => (code, status(code, cause)),
        }
    }

    fn take(&mut self, method: &Method, mut body: Value) -> (u16, Value) {
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        match &self.object {
            Some(_) if *method == Method::POST => return (409, status(409, "AlreadyExists")),
            None if *method == Method::PUT => return (404, status(404, "NotFound")),
            Some(live) if version(live) != version(&body) => return (409, status(409, "Conflict")),
            Some(_) | None => {}
        }
        self.version += 1;
        body["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.object = Some(body.clone());
        (200, body)
    }

    fn change(&mut self, change: &Value) {
        self.version += 1;
        let mut object = self.object.take().unwrap_or_else(|| json!({"metadata": {}}));
        merge(&mut object, change);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.object = Some(object);
    }
}

fn merge(into: &mut Value, change: &Value) {
    match change.as_object() {
        Some(fields) => {
            for (name, value) in fields {
                merge(&mut into[name.as_str()], value);
            }
        }
        None => *into = change.clone(),
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": "refused in a test",
        "details": {"causes": [{"reason": reason}]}})
}
