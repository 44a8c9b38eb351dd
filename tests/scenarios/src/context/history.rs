//! Every change of the objects that matter, as a watch saw it: what passes by quickly is seen too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::Kind;

const WATCHED: [Kind; 8] = [
    Kind::Cache,
    Kind::Grid,
    Kind::Template,
    Kind::StatefulSet,
    Kind::Pod,
    Kind::Claim,
    Kind::Budget,
    Kind::Event,
];

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// When it was seen.
    pub at: Timestamp,
    /// What kind of object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The object after the change; as it last was when it is gone.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
}

/// The changes in one namespace since the scenario began.
pub struct History {
    changes: Arc<Mutex<Vec<Change>>>,
    watches: Mutex<Vec<JoinHandle<()>>>,
}

impl History {
    pub(super) fn begin(client: &Client, namespace: &str) -> Self {
        let changes: Arc<Mutex<Vec<Change>>> = Arc::default();
        let watches = WATCHED.map(|kind| {
            let api = Api::namespaced_with(client.clone(), namespace, &kind.resource());
            tokio::spawn(watch(api, kind, changes.clone()))
        });
        Self { changes, watches: Mutex::new(watches.into()) }
    }

    pub(super) fn end(&self) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.drain(..).for_each(|watch| watch.abort());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All changes of a kind, oldest first.
    pub fn of(&self, kind: Kind) -> Vec<Change> {
        self.lock().iter().filter(|change| change.kind == kind).cloned().collect()
    }

    /// Whether any state of an object passed `test` since `since`.
    pub fn saw(
        &self,
        kind: Kind,
        name: &str,
        since: Timestamp,
        test: impl Fn(&Value) -> bool,
    ) -> bool {
        self.lock().iter().any(|change| {
            change.kind == kind
                && change.name == name
                && change.at >= since
                && !change.gone
                && test(&change.object)
        })
    }

    /// Whether an Event with this reason was written.
    pub fn told(&self, reason: &str) -> bool {
        let said = |change: &&Change| change.object["reason"] == reason;
        self.lock().iter().filter(|change| change.kind == Kind::Event).any(|change| said(&change))
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.end();
    }
}

async fn watch(api: Api<DynamicObject>, kind: Kind, changes: Arc<Mutex<Vec<Change>>>) {
    let mut events = Box::pin(watcher::watcher(api, watcher::Config::default()));
    // What a new list no longer holds was deleted while nobody watched.
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    while let Some(event) = events.next().await {
        let push = |object: &Value, gone: bool| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let (name, uid) = (text("name").to_owned(), text("uid").to_owned());
            let at = Timestamp::now();
            let change = Change { at, kind, name, uid, object: object.clone(), gone };
            changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        };
        let value = |object: &DynamicObject| serde_json::to_value(object).unwrap_or_default();
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let uid = object.uid().unwrap_or_default();
                listed.push(uid.clone());
                let object = value(&object);
                push(&object, false);
                known.insert(uid, object);
            }
            Ok(Event::InitDone) => {
                known.retain(|uid, object| {
                    let kept = listed.contains(uid);
                    if !kept {
                        push(object, true);
                    }
                    kept
                });
            }
            Ok(Event::Delete(object)) => {
                known.remove(&object.uid().unwrap_or_default());
                push(&value(&object), true);
            }
            // The watcher starts anew by itself, after a pause.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}
