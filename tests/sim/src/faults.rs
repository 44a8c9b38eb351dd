//! Faults of members, set by namespace and pod, and the switches of their behaviour.
//!
//! A [`Faults`] handle is shared by every member of a world; [`serve`] offers it over HTTP. A fault
//! lasts until it is cleared or has applied `count` times. It outlives the container: a pod that
//! comes back meets the same faults.

mod kind;
mod serve;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::watch;

pub use self::kind::{Error, Fault, FaultKind, Filter, Forgotten, Garbage, Moment, catalogue};
pub use self::serve::{NodeControl, NodeState, Server, serve};
use crate::profile::Behaviour;

/// A handle on the faults of one world; clones see the same faults.
#[derive(Clone, Debug)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pods: Mutex<BTreeMap<Pod, PodFaults>>,
    changes: watch::Sender<u64>,
}

/// Namespace and name of a pod.
type Pod = (String, String);

#[derive(Debug, Default)]
struct PodFaults {
    faults: Vec<Fault>,
    behaviour: Behaviour,
}

/// What a fault's filter is compared with: one request, or one task or effect of a member.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occasion<'a> {
    /// The HTTP method; empty for what is not a request.
    pub method: &'a str,
    /// The path; empty for what is not a request.
    pub path: &'a str,
    /// The task's command; empty where there is none.
    pub command: &'a str,
    /// The effect that was just recorded; empty elsewhere.
    pub effect: &'a str,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// No faults, and every behaviour as the contract chose it.
    pub fn new() -> Self {
        let changes = watch::Sender::new(0);
        Self { inner: Arc::new(Inner { pods: Mutex::default(), changes }) }
    }

    /// Sets one fault, from the JSON object that the HTTP interface takes.
    ///
    /// # Errors
    /// When the fault or one of its fields is not known, or a value is not of its type.
    pub fn set(&self, namespace: &str, pod: &str, fault: Value) -> Result<(), Error> {
        let fault = Fault::parse(fault)?;
        let mut pods = self.lock();
        let entry = pods.entry((namespace.to_owned(), pod.to_owned())).or_default();
        let mut faults = entry.faults.clone();
        faults.push(fault);
        entry.behaviour = behaviour_of(&faults)?;
        entry.faults = faults;
        drop(pods);
        self.changed();
        Ok(())
    }

    /// Clears every fault of one pod. Returns whether there was any.
    pub fn clear(&self, namespace: &str, pod: &str) -> bool {
        let removed = self.lock().remove(&(namespace.to_owned(), pod.to_owned())).is_some();
        self.changed();
        removed
    }

    /// Clears every fault of every pod.
    pub fn clear_all(&self) {
        self.lock().clear();
        self.changed();
    }

    /// The faults of one pod, as they were set, with what is left of their counts.
    pub fn list(&self, namespace: &str, pod: &str) -> Vec<Value> {
        let pods = self.lock();
        let faults = pods.get(&(namespace.to_owned(), pod.to_owned()));
        faults.map_or_else(Vec::new, |pod| pod.faults.iter().map(Fault::to_json).collect())
    }

    /// The faults of every pod that has some: `[{"namespace", "pod", "faults"}]`.
    pub fn list_all(&self) -> Value {
        let pods = self.lock();
        let listed = pods.iter().filter(|(_, entry)| !entry.faults.is_empty());
        listed
            .map(|((namespace, pod), entry)| {
                let faults: Vec<_> = entry.faults.iter().map(Fault::to_json).collect();
                json!({"namespace": namespace, "pod": pod, "faults": faults})
            })
            .collect()
    }

    /// The behaviour of one pod: the contract's choices with every `behave` fault laid over them.
    pub fn behaviour(&self, namespace: &str, pod: &str) -> Behaviour {
        let pods = self.lock();
        let entry = pods.get(&(namespace.to_owned(), pod.to_owned()));
        entry.map_or_else(Behaviour::default, |entry| entry.behaviour.clone())
    }

    /// A number that changes with every change of any fault.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// The first fault of the pod that `wanted` picks and whose filter lets `occasion` through.
    /// It has then applied once more: one whose count is used up is gone.
    pub fn take(
        &self,
        namespace: &str,
        pod: &str,
        occasion: Occasion<'_>,
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> Option<FaultKind> {
        let mut pods = self.lock();
        let faults = &mut pods.get_mut(&(namespace.to_owned(), pod.to_owned()))?.faults;
        let index =
            faults.iter().position(|fault| wanted(&fault.kind) && fault.filter.admits(occasion))?;
        let kind = faults[index].kind.clone();
        let spent = match &mut faults[index].remaining {
            Some(remaining) => {
                *remaining = remaining.saturating_sub(1);
                *remaining == 0
            }
            None => false,
        };
        if spent {
            faults.remove(index);
        }
        drop(pods);
        if spent {
            self.changed();
        }
        Some(kind)
    }

    /// Whether the pod has a fault that `wanted` picks and whose filter lets `occasion` through.
    /// Nothing is used up.
    pub fn has(
        &self,
        namespace: &str,
        pod: &str,
        occasion: Occasion<'_>,
        wanted: impl Fn(&FaultKind) -> bool,
    ) -> bool {
        let pods = self.lock();
        pods.get(&(namespace.to_owned(), pod.to_owned())).is_some_and(|entry| {
            entry.faults.iter().any(|fault| wanted(&fault.kind) && fault.filter.admits(occasion))
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Pod, PodFaults>> {
        self.inner.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }
}

/// Lays the switches of every `behave` fault over the contract's choices, in the order they were
/// set.
fn behaviour_of(faults: &[Fault]) -> Result<Behaviour, Error> {
    let mut behaviour = json!(Behaviour::default());
    for fault in faults {
        if let FaultKind::Behave { switches } = &fault.kind {
            lay_over(&mut behaviour, switches);
        }
    }
    serde_json::from_value(behaviour)
        .map_err(|source| Error::Value { fault: "behave".to_owned(), source })
}

/// Lays `switches` over `value`, object into object, so that a part can be named alone.
fn lay_over(value: &mut Value, switches: &Map<String, Value>) {
    let Value::Object(fields) = value else { return };
    for (name, switch) in switches {
        match (fields.get_mut(name), switch) {
            (Some(field @ Value::Object(_)), Value::Object(part)) => lay_over(field, part),
            _ => {
                fields.insert(name.clone(), switch.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ParallelTasks;

    fn is_status(kind: &FaultKind) -> bool {
        matches!(kind, FaultKind::Status { .. })
    }

    #[test]
    fn counted_fault_is_gone_after_its_count() {
        let faults = Faults::new();
        faults.set("ns", "p", json!({"fault": "status", "code": 500, "count": 2})).unwrap();
        let take = || faults.take("ns", "p", Occasion::default(), is_status).is_some();
        assert_eq!([take(), take(), take()], [true, true, false]);
        assert!(faults.list("ns", "p").is_empty());
    }

    #[test]
    fn fault_without_count_lasts_until_it_is_cleared() {
        let faults = Faults::new();
        faults.set("ns", "p", json!({"fault": "status", "code": 500})).unwrap();
        let take = || faults.take("ns", "p", Occasion::default(), is_status).is_some();
        assert!(take() && take());
        assert!(faults.clear("ns", "p"));
        assert!(!take());
    }

    #[test]
    fn filter_compares_method_path_and_command() {
        let faults = Faults::new();
        let fault = json!({"fault": "status", "code": 500, "method": "post", "path": "/task",
            "command": "Join"});
        faults.set("ns", "p", fault).unwrap();
        let has = |method, path, command| {
            let occasion = Occasion { method, path, command, effect: "" };
            faults.has("ns", "p", occasion, is_status)
        };
        assert!(has("POST", "/wxsadmin/v1/task", "NewMemberJoinTaskCommand"));
        assert!(!has("GET", "/wxsadmin/v1/task", "NewMemberJoinTaskCommand"));
        assert!(!has("POST", "/wxsadmin/v1/grid/g", "NewMemberJoinTaskCommand"));
        assert!(!has("POST", "/wxsadmin/v1/task", "MemberDisjoinTaskCommand"));
    }

    #[test]
    fn switches_are_laid_over_one_another_and_cleared_together() {
        let faults = Faults::new();
        faults.set("ns", "p", json!({"fault": "behave", "parallel_tasks": "queue"})).unwrap();
        let commands = json!({"commands": {"join": "JoinCommand"}});
        faults.set("ns", "p", json!({"fault": "behave", "profile": commands})).unwrap();
        let behaviour = faults.behaviour("ns", "p");
        assert_eq!(behaviour.parallel_tasks, ParallelTasks::Queue);
        assert_eq!(behaviour.profile.commands.join, "JoinCommand");
        assert_eq!(behaviour.profile.commands.disjoin, "MemberDisjoinTaskCommand");
        faults.clear("ns", "p");
        assert_eq!(faults.behaviour("ns", "p"), Behaviour::default());
    }

    #[test]
    fn unknown_switch_is_refused_and_changes_nothing() {
        let faults = Faults::new();
        assert!(faults.set("ns", "p", json!({"fault": "behave", "nonsense": true})).is_err());
        assert!(faults.list("ns", "p").is_empty());
    }
}
