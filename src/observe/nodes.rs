//! Which nodes are about to be emptied: by a drain, an autoscaler, or because they end; and which
//! are lost.
//!
//! One watch for all caches. Without the right to read nodes, and as long as they cannot be read,
//! nothing is known of any node: that is no answer, and nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{Receiver, Sender, channel};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::telemetry::chain;

/// Taints by which a node is emptied without being made unschedulable: of the cluster autoscaler, of
/// Karpenter (before and since its version 1), of AWS' node termination handler, and of GKE before a
/// node's end.
const TAINTS: [&str; 5] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disruption",
    "karpenter.sh/disrupted",
    "aws-node-termination-handler/spot-itn",
    "cloud.google.com/impending-node-termination",
];

/// Between two questions whether nodes may be read now.
const ASK_AGAIN: Duration = Duration::from_secs(300);

/// What is known of the nodes.
#[derive(Debug, Default)]
pub struct Nodes {
    sight: RwLock<Sight>,
}

#[derive(Debug, Default)]
struct Sight {
    /// How each stands; none before all were listed.
    known: Option<BTreeMap<String, Standing>>,
    /// Nothing was read since the last failure.
    blind: bool,
    /// A list that has not come to its end.
    listing: BTreeMap<String, Standing>,
}

/// How a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// It is about to be emptied.
    leaving: bool,
    health: Health,
}

/// Whether a node takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It does, or is only new.
    #[default]
    Well,
    /// It says itself that it does not just now: why.
    NotReady(String),
    /// Nothing is heard of it: why.
    Lost(String),
}

impl Standing {
    fn of(node: &Node) -> Self {
        Self { leaving: is_leaving(node), health: health(node) }
    }
}

impl Nodes {
    /// Whether a node is about to be emptied; none when nothing is known of it.
    pub fn is_leaving(&self, node: &str) -> Option<bool> {
        let sight = self.sight.read().unwrap_or_else(PoisonError::into_inner);
        sight.known.as_ref().filter(|_| !sight.blind)?.get(node).map(|node| node.leaving)
    }

    /// Whether a node takes part; none when nothing is known of it.
    pub fn health(&self, node: &str) -> Option<Health> {
        let sight = self.sight.read().unwrap_or_else(PoisonError::into_inner);
        Some(sight.known.as_ref().filter(|_| !sight.blind)?.get(node)?.health.clone())
    }

    /// Takes what the watch tells; whether of any node it is known now, and was not before, that it
    /// is about to be emptied or is not. That one is lost wakes nobody: its pods tell the caches that
    /// have members on it, and nodes of a large cluster come and go all the time.
    pub(super) fn take(&self, told: Result<Event<Node>, watcher::Error>) -> bool {
        let mut sight = self.sight.write().unwrap_or_else(PoisonError::into_inner);
        let was_blind = std::mem::replace(&mut sight.blind, told.is_err());
        let sees_again = was_blind && told.is_ok() && sight.known.is_some();
        match told {
            Ok(Event::Init) => sight.listing.clear(),
            Ok(Event::InitApply(node)) => {
                sight.listing.insert(name(&node), Standing::of(&node));
            }
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut sight.listing);
                let of_listed = Some(leaving(&listed));
                let former = sight.known.replace(listed);
                return former.as_ref().map(leaving) != of_listed || sees_again;
            }
            Ok(Event::Apply(node)) => {
                let standing = Standing::of(&node);
                let Some(known) = &mut sight.known else { return false };
                let leaving = standing.leaving;
                let former = known.insert(name(&node), standing);
                return former.is_none_or(|former| former.leaving != leaving) || sees_again;
            }
            Ok(Event::Delete(node)) => {
                if let Some(known) = &mut sight.known {
                    known.remove(&name(&node));
                }
            }
            Err(error) => {
                let was_known = sight.known.is_some() && !was_blind;
                if was_known {
                    warn!(error = chain(&error), "nodes cannot be read");
                }
                return was_known;
            }
        }
        sees_again
    }

    /// Follows the nodes until the token is cancelled. `changed` is told when any of them begins or
    /// ceases to be about to be emptied. A right that is missing is somebody's will: that is told
    /// once, and asked again from time to time, for the right may be given later.
    pub(crate) async fn follow(
        &self,
        client: Client,
        config: watcher::Config,
        changed: Sender<()>,
        (clock, stop): (&dyn Clock, CancellationToken),
    ) {
        let nodes: Api<Node> = Api::all(client);
        let mut told = false;
        let following = async {
            loop {
                if may_read(&nodes).await {
                    self.watch(&nodes, config.clone(), changed.clone()).await;
                } else if !std::mem::replace(&mut told, true) {
                    info!(
                        "nodes may not be read: the primary is not moved before its node is drained, \
                         and a lost node is not told (it takes the right to list and watch nodes)"
                    );
                }
                clock.sleep(ASK_AGAIN).await;
            }
        };
        stop.run_until_cancelled(following).await;
    }

    /// Follows the nodes until they may not be read any more.
    async fn watch(&self, nodes: &Api<Node>, config: watcher::Config, mut changed: Sender<()>) {
        let told = watcher::watcher(nodes.clone(), config).default_backoff();
        let mut told = std::pin::pin!(told);
        while let Some(event) = told.next().await {
            let refused = event.as_ref().is_err_and(is_refused);
            if self.take(event) {
                // A full channel holds such news already.
                drop(changed.try_send(()));
            }
            if refused {
                return;
            }
        }
    }
}

/// Whether the API server lets nodes be read. What else may be wrong the watch tells.
async fn may_read(nodes: &Api<Node>) -> bool {
    let one = ListParams::default().limit(1);
    !matches!(nodes.list_metadata(&one).await, Err(kube::Error::Api(status)) if status.code == 403)
}

/// A channel for the news that a node is about to be emptied.
pub(crate) fn news() -> (Sender<()>, Receiver<()>) {
    channel(1)
}

fn name(node: &Node) -> String {
    node.metadata.name.clone().unwrap_or_default()
}

fn is_leaving(node: &Node) -> bool {
    let Some(spec) = &node.spec else { return false };
    let tainted = |key: &str| TAINTS.contains(&key);
    spec.unschedulable == Some(true)
        || spec.taints.iter().flatten().any(|taint| tainted(&taint.key))
        || node.metadata.deletion_timestamp.is_some()
}

/// What of a list of nodes is news when it changes.
fn leaving(nodes: &BTreeMap<String, Standing>) -> BTreeMap<String, bool> {
    nodes.iter().map(|(name, node)| (name.clone(), node.leaving)).collect()
}

/// What its Ready condition says. `Unknown` is what others say of a node that is silent.
fn health(node: &Node) -> Health {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|it| it.type_ == "Ready"));
    let Some(ready) = ready else { return Health::Well };
    let reason = ready.reason.clone().unwrap_or_else(|| "no reason told".to_owned());
    match ready.status.as_str() {
        "True" => Health::Well,
        "False" => Health::NotReady(reason),
        _ => Health::Lost(reason),
    }
}

fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.code == 403)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, spec: Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn listed(nodes: &Nodes, all: Vec<Node>) -> bool {
        nodes.take(Ok(Event::Init));
        for node in all {
            nodes.take(Ok(Event::InitApply(node)));
        }
        nodes.take(Ok(Event::InitDone))
    }

    #[test]
    fn a_node_is_leaving_when_it_is_cordoned_or_carries_a_taint_of_those_who_empty_nodes() {
        let tainted = |key: &str| json!({"taints": [{"key": key, "effect": "NoSchedule"}]});
        assert!(is_leaving(&node("a", json!({"unschedulable": true}))));
        assert!(is_leaving(&node("a", tainted("karpenter.sh/disrupted"))));
        assert!(!is_leaving(&node("a", tainted("node.kubernetes.io/not-ready"))));
        assert!(!is_leaving(&node("a", json!({}))));
    }

    #[test]
    fn nothing_is_known_before_all_were_listed_nor_after_the_watch_failed() {
        let nodes = Nodes::default();
        assert_eq!(nodes.is_leaving("a"), None);
        nodes.take(Ok(Event::Init));
        nodes.take(Ok(Event::InitApply(node("a", json!({})))));
        assert_eq!(nodes.is_leaving("a"), None, "half a list");
        nodes.take(Ok(Event::InitDone));
        assert_eq!(nodes.is_leaving("a"), Some(false));
        assert_eq!(nodes.is_leaving("b"), None);
        let failed = watcher::Error::NoResourceVersion;
        assert!(nodes.take(Err(failed)), "what was known is not known any more");
        assert_eq!(nodes.is_leaving("a"), None);
        assert!(!nodes.take(Err(watcher::Error::NoResourceVersion)));
        assert!(nodes.take(Ok(Event::Apply(node("b", json!({}))))), "the watch goes on");
        assert_eq!(nodes.is_leaving("a"), Some(false));
    }

    #[test]
    fn a_node_is_lost_when_nobody_hears_of_it_and_that_wakes_no_cache() {
        let with = |status: &str| {
            let ready = json!({"type": "Ready", "status": status, "reason": "NodeStatusUnknown"});
            let mut node = node("a", json!({}));
            node.status = serde_json::from_value(json!({"conditions": [ready]})).unwrap();
            node
        };
        let nodes = Nodes::default();
        listed(&nodes, vec![with("True"), node("new", json!({}))]);
        let well = Some(Health::Well);
        assert_eq!((nodes.health("a"), nodes.health("new")), (well.clone(), well.clone()));
        assert_eq!(nodes.health("other"), None);
        let reason = "NodeStatusUnknown".to_owned();
        assert!(!nodes.take(Ok(Event::Apply(with("False")))), "no look at every cache for it");
        assert_eq!(nodes.health("a"), Some(Health::NotReady(reason.clone())), "it still speaks");
        assert!(!nodes.take(Ok(Event::Apply(with("Unknown")))));
        assert_eq!(nodes.health("a"), Some(Health::Lost(reason)));
        assert!(!nodes.take(Ok(Event::Apply(with("True")))), "it is back");
        assert_eq!(nodes.health("a"), well);
    }

    #[test]
    fn only_what_changes_is_news() {
        let nodes = Nodes::default();
        let (calm, cordoned) = (json!({}), json!({"unschedulable": true}));
        assert!(listed(&nodes, vec![node("a", calm.clone())]));
        assert!(!listed(&nodes, vec![node("a", calm.clone())]));
        assert!(!nodes.take(Ok(Event::Apply(node("a", calm.clone())))), "a heartbeat");
        assert!(nodes.take(Ok(Event::Apply(node("a", cordoned)))));
        assert_eq!(nodes.is_leaving("a"), Some(true));
        assert!(nodes.take(Ok(Event::Apply(node("a", calm.clone())))));
        nodes.take(Ok(Event::Delete(node("a", calm))));
        assert_eq!(nodes.is_leaving("a"), None);
    }
}
