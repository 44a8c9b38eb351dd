//! What a scenario can do and see: its namespace, its operator, the API, the members, the journal.

mod endpoint;
mod entries;
mod history;
mod members;
mod objects;
mod operator;
pub mod records;
mod stored;
mod waiting;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::{Value, json};
use xsld_sim::calls::Call;
use xsld_sim::profile::Profile;
use xsld_sim::world::OperatorProcess;

pub use self::endpoint::{DECIDER, Endpoint, PLANNER, Person, READER, Rule};
pub use self::history::{Change, History};
pub use self::objects::{Kind, condition, is_true};
pub use self::operator::OperatorOptions;
pub(crate) use self::operator::strip_colours;
pub use self::stored::Stored;
pub use self::waiting::Seen;
pub(crate) use self::waiting::{brief, is_current};
use crate::Result;
use crate::stage::Stage;

/// The image of every member unless a scenario says otherwise.
pub const IMAGE: &str = "ibmcom/xsld:8613";

/// One scenario's part of the world.
pub struct Context {
    /// The shared world.
    pub stage: Arc<Stage>,
    /// The scenario's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its folder: journal, log, and what is written when it fails.
    pub dir: PathBuf,
    /// Every change of the objects that matter, as they were seen.
    pub history: History,
    operator: tokio::sync::Mutex<Option<OperatorProcess>>,
    may_end: Mutex<bool>,
    credentials: Mutex<Credentials>,
    allowed: Mutex<Allowed>,
    entries: entries::Entries,
    /// The release that the members speak.
    release: Mutex<Profile>,
}

/// What the members of a scenario's caches are protected by.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Password of `xsadmin`.
    pub password: String,
    /// Secret key of the group.
    pub secret_key: String,
}

/// What a scenario itself did that would otherwise count as a fault of the operator.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Claims that the scenario deleted, by UID.
    pub deleted_claims: Vec<String>,
    /// Pods that another task than the operator's was started on.
    pub foreign_tasks: bool,
    /// Somebody else than the operator lowered the replicas.
    pub scaled_by_hand: bool,
    /// Directories of journals that the scenario took away: the operator cannot know them, but what
    /// was done by them was done with their intents.
    pub lost_journals: Vec<PathBuf>,
    /// The anchor was lost with them, so that no journal can tell of a gap.
    pub lost_anchor: bool,
    /// Journals were lost or set back at any time: whether there is a gap hangs on what was written
    /// since.
    pub may_have_gap: bool,
    /// The API server was set back to an older state.
    pub set_back: bool,
}

impl Allowed {
    /// Whether the journal must tell that it was begun after a gap.
    pub(crate) fn has_gap(&self) -> bool {
        !self.lost_journals.is_empty() && !self.lost_anchor
    }
}

impl Context {
    /// Makes the namespace and begins to watch it.
    pub(crate) async fn open(stage: Arc<Stage>, name: &str, number: usize) -> Result<Self> {
        let namespace = namespace_name(name, number);
        let dir = stage.runs.join(&namespace);
        std::fs::create_dir_all(&dir)?;
        let api: Api<Namespace> = Api::all(stage.world.client());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        api.create(&PostParams::default(), &object).await?;
        let history = History::begin(&stage.world.client(), &namespace);
        Ok(Self {
            stage,
            name: name.to_owned(),
            namespace,
            dir,
            history,
            operator: tokio::sync::Mutex::new(None),
            may_end: Mutex::new(false),
            // Canaries: nothing else in the world has these texts in it.
            credentials: Mutex::new(Credentials {
                password: format!("Canary-Pw-{number}-9f3c!"),
                secret_key: format!("Canary-Key-{number}-7b1e!"),
            }),
            allowed: Mutex::default(),
            entries: entries::Entries::default(),
            release: Mutex::default(),
        })
    }

    /// Ends what runs for this scenario. The folder stays when `keep` says so.
    pub(crate) async fn close(&self, keep: bool) {
        if let Some(mut operator) = self.operator.lock().await.take() {
            let _ = operator.kill().await;
        }
        self.history.end();
        let _ = self.strip_finalizers().await;
        let api: Api<Namespace> = Api::all(self.client());
        let _ = api.delete(&self.namespace, &DeleteParams::background()).await;
        let _ = self.end_pods().await;
        if !keep {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    async fn strip_finalizers(&self) -> Result {
        for kind in [Kind::Cache, Kind::Grid, Kind::Template] {
            for object in self.list(kind).await? {
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let none = json!({"metadata": {"finalizers": []}});
                let _ = self.patch(kind, &name, none).await;
            }
        }
        Ok(())
    }

    /// Nobody waits for the grace of pods that nobody asks anything any more.
    async fn end_pods(&self) -> Result {
        for kind in [Kind::StatefulSet, Kind::Pod] {
            let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            let listed = Default::default();
            self.api(kind).delete_collection(&at_once, &listed).await?;
        }
        Ok(())
    }

    /// The administrator's client.
    pub fn client(&self) -> kube::Client {
        self.stage.world.client()
    }

    /// What the members of this namespace were asked, and what came of it, oldest first; reads
    /// aside.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn calls(&self) -> Result<Vec<Call>> {
        self.stage.calls.of(&self.namespace)
    }

    /// How many calls or effects with this word there were about a member (any, when empty).
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn count(&self, effect: &str, member: &str) -> Result<usize> {
        let about = |call: &Call| member.is_empty() || member_of(call) == member;
        let calls = self.calls()?;
        Ok(calls.iter().filter(|call| call.effect == effect && about(call)).count())
    }

    /// Sets a fault of a pod, over the world's fault interface.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn fault(&self, pod: &str, fault: Value) -> Result {
        let url = self.fault_url(pod);
        let answer = self.stage.http.post(url).body(fault.to_string()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "the fault {fault} was refused: {text}");
        Ok(())
    }

    /// The faults of a pod, with what is left of their counts.
    ///
    /// # Errors
    /// When the interface does not answer.
    pub async fn faults(&self, pod: &str) -> Result<Vec<Value>> {
        Ok(self.stage.http.get(self.fault_url(pod)).send().await?.json().await?)
    }

    /// Clears the faults of a pod.
    ///
    /// # Errors
    /// When the interface does not answer.
    pub async fn clear_faults(&self, pod: &str) -> Result {
        self.stage.http.delete(self.fault_url(pod)).send().await?.error_for_status()?;
        Ok(())
    }

    fn fault_url(&self, pod: &str) -> String {
        let address = self.stage.world.faults_address();
        format!("http://{address}/members/{}/{pod}", self.namespace)
    }

    /// The credentials of this scenario's caches.
    pub fn credentials(&self) -> Credentials {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The caches have other credentials than the scenario's own, as sample objects do.
    pub fn use_credentials(&self, password: &str, secret_key: &str) {
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) =
            Credentials { password: password.to_owned(), secret_key: secret_key.to_owned() };
    }

    /// The members speak another release than 8.6.1.
    pub fn speak(&self, release: Profile) {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner) = release;
    }

    /// The release that the members speak.
    pub fn release(&self) -> Profile {
        self.release.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what the scenario itself does that must not count as a fault of the operator.
    pub fn allow(&self, change: impl FnOnce(&mut Allowed)) {
        change(&mut self.allowed.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the scenario itself did.
    pub fn allowed(&self) -> Allowed {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The member that a call or an effect is about.
pub fn member_of(call: &Call) -> &str {
    call.parameters.get("memberName").and_then(Value::as_str).unwrap_or(&call.member)
}

/// A name that says which scenario it is, unique in the run and short enough for host names.
fn namespace_name(name: &str, number: usize) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let mut text: String = name.chars().map(word).collect();
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    text.truncate(44);
    format!("s{number}-{}", text.trim_matches('-'))
}
