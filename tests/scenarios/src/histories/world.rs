//! A namespace of the control plane as a world of histories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use xsld_histories::act::{self, Act, Kind as Word};
use xsld_histories::evidence::{Entry, Foreign, Life, Seen};
use xsld_histories::goal::Goal;
use xsld_histories::script::{Condition, Script};
use xsld_histories::world::{Broken, Done, Result, World};
use xsld_sim::world::OperatorProcess;

use crate::context::records::{Intent, Tail};
use crate::context::{Context, Kind, is_true};

/// The taint of the nodes that histories run on.
pub(crate) const TAINT: &str = "xsld.test/history";

/// Between two tries to evict what stands on a node that is drained.
const DRAIN_US: i64 = 1_000_000;

/// A history's part of the control-plane world.
pub struct Place<'c> {
    pub(super) c: &'c Context,
    /// Nodes that this history has for itself.
    pub(super) nodes: Vec<String>,
    pub(super) second: tokio::sync::Mutex<Option<OperatorProcess>>,
    state: Mutex<State>,
}

/// What a history has done to its world.
#[derive(Default)]
pub(super) struct State {
    /// What was counted when a wait began.
    counted: usize,
    tail: Option<Tail>,
    intents: usize,
    /// Whether an operator is meant to run.
    pub(super) is_wanted: bool,
    pub(super) frozen_since: Option<i64>,
    pub(super) frozen: Vec<(i64, i64)>,
    pub(super) lives: Vec<Life>,
    pub(super) draining: BTreeSet<u32>,
    drained_us: i64,
    /// Journals that were lost, counted.
    pub(super) lost: usize,
    /// Second operators, counted.
    pub(super) seconds: usize,
    pub(super) foreign: Vec<(Word, String, Value)>,
    pub(super) foreign_after: Vec<Foreign>,
    /// Entries by grid UID and key.
    pub(super) entries: BTreeMap<(String, String), Entry>,
    pub(super) verified_us: i64,
    /// Objects of users that healing takes away: what they need is gone.
    pub(super) healed_away: BTreeSet<(Word, String)>,
    /// When a person last did what a condition of a cache says, and how often.
    pub(super) decided: BTreeMap<String, (i64, u32)>,
}

/// What the world fails with.
pub(super) fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(format!("{error:#}"))
}

/// The kind of objects that a word of the script names.
pub(super) fn kind_of(word: Word) -> Kind {
    match word {
        Word::Cache => Kind::Cache,
        Word::Grid => Kind::Grid,
        Word::Template => Kind::Template,
        Word::StatefulSet => Kind::StatefulSet,
        Word::Pod => Kind::Pod,
        Word::Claim => Kind::Claim,
        Word::Service => Kind::Service,
        Word::Secret => Kind::Secret,
        Word::ConfigMap => Kind::ConfigMap,
        Word::Budget => Kind::Budget,
        Word::NetworkPolicy => Kind::Policy,
        Word::Lease => Kind::Lease,
        Word::Event => Kind::Event,
    }
}

pub(super) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

impl<'c> Place<'c> {
    /// A place for a history in this namespace, on these nodes.
    pub fn new(c: &'c Context, nodes: Vec<String>) -> Self {
        Self { c, nodes, second: tokio::sync::Mutex::new(None), state: Mutex::default() }
    }

    pub(super) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives the nodes back as they are to be, and starts the operator.
    ///
    /// # Errors
    /// When the world does not do it.
    pub async fn begin(&self) -> Result {
        self.nodes_back().await?;
        self.c.operator_may_end();
        self.start().await
    }

    /// Puts the pods of a cache on this history's nodes.
    pub(super) fn placed(&self, path: &str, value: Value) -> Value {
        match path {
            "/pod/tolerations" => {
                let mut all = value.as_array().cloned().unwrap_or_default();
                all.push(json!({"key": TAINT, "operator": "Exists"}));
                Value::from(all)
            }
            "/pod/affinity" => {
                let mut affinity = if value.is_object() { value } else { json!({}) };
                let names = json!({
                    "key": "kubernetes.io/hostname", "operator": "In", "values": self.nodes,
                });
                affinity["nodeAffinity"] = json!({
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [names]}],
                    }
                });
                affinity
            }
            _ => value,
        }
    }

    /// A cache as this world makes it, before anything is changed.
    pub(super) fn cache(&self, name: &str, size: u32) -> Value {
        let mut object = self.c.cache_object(name, size);
        object["spec"]["pod"] = json!({
            "tolerations": self.placed("/pod/tolerations", Value::Null),
            "affinity": self.placed("/pod/affinity", Value::Null),
        });
        object
    }

    /// Looks after what goes on by itself: the operator's process and nodes that are drained.
    async fn look_after(&self) -> Result {
        self.keep_operator().await?;
        let due = self.state(|state| {
            let due = now_us() - state.drained_us > DRAIN_US && !state.draining.is_empty();
            if due {
                state.drained_us = now_us();
            }
            due
        });
        if due {
            for node in self.state(|state| state.draining.clone()) {
                self.evict_from(node).await?;
            }
        }
        Ok(())
    }
}

impl World for Place<'_> {
    fn now_us(&self) -> i64 {
        now_us()
    }

    async fn pass(&self, time: Duration) -> Result {
        tokio::time::sleep(time).await;
        self.look_after().await
    }

    async fn watch(&self, condition: &Condition) -> Result {
        match condition {
            Condition::Effect(word) => {
                let counted = self.c.count(word, "").map_err(broken)?;
                self.state(|state| state.counted = counted);
            }
            Condition::Intent(_) => {
                let mut tail = Tail::new(&self.c.journal_dir());
                // What is half written is read later.
                let _ = tail.read_new();
                self.state(|state| {
                    state.tail = Some(tail);
                    state.intents = 0;
                });
            }
            _ => {}
        }
        Ok(())
    }

    async fn has_come(&self, condition: &Condition) -> Result<bool> {
        Ok(match condition {
            Condition::Nothing => true,
            Condition::Time => false,
            Condition::Ready(cache) => {
                let cache = self.c.get(Kind::Cache, cache).await.map_err(broken)?;
                is_ready(&cache)
            }
            Condition::Gone(kind, name) => {
                self.c.get(kind_of(*kind), name).await.map_err(broken)?.is_null()
            }
            Condition::Effect(word) => {
                let counted = self.c.count(word, "").map_err(broken)?;
                counted > self.state(|state| state.counted)
            }
            Condition::Intent(step) => self.state(|state| {
                let new = state.tail.as_mut().map(Tail::read_new);
                let new = new.and_then(std::result::Result::ok).unwrap_or_default();
                let intents = new.iter().filter_map(Intent::of);
                state.intents += intents.filter(|intent| intent.step.name() == step).count();
                state.intents > 0
            }),
        })
    }

    async fn act(&self, act: &Act) -> Result<Done> {
        self.look_after().await?;
        self.do_act(act).await
    }

    async fn tend(&self) -> Result {
        self.tend_entries().await
    }

    async fn heal(&self, goal: &Goal) -> Result {
        self.heal_all(goal).await
    }

    async fn missing(&self, goal: &Goal) -> Result<Vec<String>> {
        self.look_after().await?;
        self.missing_of(goal).await
    }

    async fn rest(&self) -> Result<Vec<String>> {
        self.check_entries().await?;
        let checked = crate::oracle::at_rest(self.c).await;
        self.check_entries().await?;
        Ok(checked.err().map(|error| format!("{error:#}")).into_iter().collect())
    }

    async fn seen(&self, _: &Script) -> Result<Seen> {
        self.all_seen().await
    }
}

/// Whether a cache is told Ready with all members for its present spec.
pub(super) fn is_ready(cache: &Value) -> bool {
    crate::context::is_current(cache)
        && is_true(cache, "Ready", None)
        && cache["status"]["members"] == cache["spec"]["size"]
        && cache["status"]["online"] == cache["spec"]["size"]
}

/// Names of the members that a cache may have had.
pub(super) fn all_members() -> impl Iterator<Item = String> {
    let caches = [act::CACHE, act::SECOND, act::COLLIDING];
    caches.into_iter().flat_map(|cache| (0..6).map(move |n| act::member_name(cache, n)))
}

impl Place<'_> {
    /// Whatever came of the history: what is shared with others is given back, and nobody is left.
    pub async fn give_back(&self) {
        let _ = self.lift_policies().await;
        let _ = self.nodes_back().await;
        for pod in all_members() {
            let _ = self.c.clear_faults(&pod).await;
        }
        drop(self.second.lock().await.take());
    }
}
