//! The verbs of the story: each does or waits for one thing, and says what is seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use xsld_journal::event::Step;
use xsld_operator::crd::{DataGrid, XsldCache};
use xsld_sim::calls::{self, Call};
use xsld_sim::world::World;

use super::witness::{self, Told};
use super::{CACHE, GRID};
use crate::operator::Supervised;
use crate::ui::Ui;

/// How long any one thing may take before the demo says that it does not hold. A whole scaling
/// takes some twenty seconds at the default time scale.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(50);

/// The story as far as it has been told.
pub(super) struct Story<'a> {
    world: &'a World,
    operator: &'a mut Supervised,
    ui: &'a Ui,
    journal: PathBuf,
    begun: Instant,
    kills: u32,
    last_line: String,
}

impl<'a> Story<'a> {
    pub(super) fn new(world: &'a World, operator: &'a mut Supervised, ui: &'a Ui) -> Self {
        let journal = world.dir().join("journal");
        let (begun, kills, last_line) = (Instant::now(), 0, String::new());
        Self { world, operator, ui, journal, begun, kills, last_line }
    }

    /// Applies the samples as they are shipped, but for the size.
    pub(super) async fn apply_samples(&mut self, size: i32) -> Result<()> {
        self.ui.command("kubectl apply -f crds/samples/ip-update-entrypoint.yaml");
        self.apply::<ConfigMap>(sample("ip-update-entrypoint.yaml")?).await?;
        self.ui.command(&format!("kubectl apply -f crds/samples/xsldcache.yaml   # size: {size}"));
        let mut cache: XsldCache = sample("xsldcache.yaml")?;
        cache.spec.size = size;
        self.apply(cache).await?;
        self.ui.command("kubectl apply -f crds/samples/datagrid.yaml");
        self.apply::<DataGrid>(sample("datagrid.yaml")?).await
    }

    async fn apply<K>(&self, object: K) -> Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.world.client(), "default");
        let name = object.meta().name.clone().context("a sample has a name")?;
        let params = PatchParams::apply("demo").force();
        api.patch(&name, &params, &Patch::Apply(&object)).await.context("apply failed")?;
        Ok(())
    }

    pub(super) async fn scale(&self, size: i32) -> Result<()> {
        self.ui.command(&format!("kubectl scale xsldcache {CACHE} --replicas {size}"));
        let patch = serde_json::json!({ "spec": { "size": size } });
        let params = PatchParams::default();
        self.caches().patch(CACHE, &params, &Patch::Merge(&patch)).await?;
        Ok(())
    }

    fn caches(&self) -> Api<XsldCache> {
        Api::namespaced(self.world.client(), "default")
    }

    pub(super) async fn wait_for_intent(&mut self, step: &str, member: &str) -> Result<()> {
        let what = format!("the intent of {step} {member}");
        let told = self.wait(&what, step, member, |_| true).await?;
        self.ui.say(&format!(
            "  record {}: intends to {}",
            told.intended_seq,
            told.step.describe()
        ));
        Ok(())
    }

    pub(super) async fn wait_for_outcome(&mut self, step: &str, member: &str) -> Result<()> {
        let what = format!("the outcome of {step} {member}");
        let told = self.wait(&what, step, member, |told| told.outcome.is_some()).await?;
        if let Some(outcome) = &told.outcome {
            let (seq, name) = (outcome.seq, outcome.name);
            self.ui.say(&format!("  record {seq}: {} {name}", told.step.describe()));
            ensure!(name == "succeeded", "{} ended {name}", told.step.describe());
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        what: &str,
        step: &str,
        member: &str,
        holds: impl Fn(&Told) -> bool,
    ) -> Result<Told> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_meant = |told: &Told| {
                told.step.name() == step && witness::member_of(&told.step) == member && holds(told)
            };
            if let Some(told) = witness::steps(&self.journal)?.into_iter().rev().find(is_meant) {
                return Ok(told);
            }
            self.tell_status().await?;
            ensure!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a member's own call log tells an effect; of any member when none is named.
    pub(super) async fn wait_for_effect(&self, effect: &str, member: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_meant =
                |call: &Call| call.effect == effect && (member.is_empty() || call.member == member);
            if let Some(call) = self.calls()?.into_iter().find(is_meant) {
                self.ui.say(&format!("  {} tells: {effect}, {}", call.member, call.description));
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no member told {effect} within {PATIENCE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    fn calls(&self) -> Result<Vec<Call>> {
        Ok(calls::read(self.world.calls().path())?)
    }

    pub(super) async fn kill_operator(&mut self) -> Result<()> {
        let process = self.operator.process();
        self.ui.command(&format!("kill -9 {}   # the operator", process.pid()));
        process.kill().await?;
        self.kills += 1;
        Ok(())
    }

    pub(super) async fn start_operator(&mut self) -> Result<()> {
        self.operator.start_again().await?;
        self.ui.say(&format!("  started again as process {}", self.operator.process().pid()));
        Ok(())
    }

    /// The journal of the killed operator says what it was doing.
    pub(super) fn explain_in_doubt(&self, step: &str) -> Result<()> {
        let steps = witness::steps(&self.journal)?;
        let open = steps.iter().find(|told| told.step.name() == step && told.outcome.is_none());
        let open = open.with_context(|| format!("the journal holds no open {step}"))?;
        self.ui.say(&format!(
            "  the journal it left: record {} intends to {}; there is no outcome: in doubt",
            open.intended_seq,
            open.step.describe()
        ));
        Ok(())
    }

    /// How the doubt was resolved: not by doing it again.
    pub(super) fn explain_resolution(&self, step: &str, member: &str) -> Result<()> {
        let steps = witness::steps(&self.journal)?;
        let meant: Vec<_> = steps
            .iter()
            .filter(|told| told.step.name() == step && witness::member_of(&told.step) == member)
            .collect();
        let [only] = meant.as_slice() else { bail!("{step} of {member} was attempted twice") };
        let by_probe = only.outcome.as_ref().is_some_and(|outcome| outcome.found_by_probe);
        ensure!(by_probe, "the outcome of {step} {member} is not marked as found by probe");
        let effect = if step == "join_member" { "join_started" } else { "disjoin_started" };
        let key = only.key.to_string();
        let sent = self.calls()?.into_iter();
        let sent = sent.filter(|call| call.effect == effect && call.description.contains(&key));
        ensure!(sent.count() == 1, "the effect of {key} is in the call log more than once");
        self.ui.say("  resolved by evidence, not by doing it again: one request in the call log");
        Ok(())
    }

    /// Waits until the cache is Ready with exactly these members, by the status and by the members.
    pub(super) async fn wait_until_ready(&mut self, size: i32) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let cache = self.tell_status().await?;
            let status = cache.status.unwrap_or_default();
            let ready = status.conditions.iter().any(|found| {
                found.type_ == "Ready"
                    && found.status == "True"
                    && found.observed_generation == cache.metadata.generation
            });
            if ready && status.members == Some(size) && status.online == Some(size) {
                self.ui.say(&format!("  Ready with {size} members, all Online"));
                return Ok(());
            }
            if Instant::now() >= deadline {
                let conditions: Vec<_> = status
                    .conditions
                    .iter()
                    .map(|found| format!("{}={} {}", found.type_, found.status, found.message))
                    .collect();
                bail!("not Ready with {size} members: {}", conditions.join("; "));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn wait_for_grid_online(&self) -> Result<()> {
        let api: Api<DataGrid> = Api::namespaced(self.world.client(), "default");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = api.get(GRID).await?.status.unwrap_or_default();
            if status.status.as_deref() == Some("Online") {
                self.ui.say(&format!("  grid {GRID} is Online"));
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the grid did not become Online");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says the status in one line, when it changed.
    async fn tell_status(&mut self) -> Result<XsldCache> {
        let cache = self.caches().get(CACHE).await?;
        let status = cache.status.clone().unwrap_or_default();
        let number = |value: Option<i32>| value.map_or("-".to_owned(), |value| value.to_string());
        let operation = status.operation.as_ref().map(|operation| {
            format!(" {}: {}", operation.kind, operation.step.as_deref().unwrap_or("next step"))
        });
        let line = format!(
            "  members {} online {}{}",
            number(status.members),
            number(status.online),
            operation.unwrap_or_default()
        );
        if line != self.last_line {
            self.ui.say(&line);
            self.last_line = line;
        }
        Ok(cache)
    }

    /// Shows each reclaimed volume with its receipt; the folder must be there too.
    pub(super) fn show_receipts(&self) -> Result<usize> {
        let mut shown = 0;
        for told in witness::steps(&self.journal)? {
            let Step::DeleteVolume { claim, claim_uid, receipt, .. } = &told.step else { continue };
            let done = told.outcome.as_ref().is_some_and(|outcome| outcome.name == "succeeded");
            ensure!(done, "the deletion of {claim} has no outcome");
            let folder = self.world.dir().join("reclaimed").join(claim_uid);
            ensure!(folder.is_dir(), "the volume of {claim} was not reclaimed");
            self.ui.say(&format!("  {claim} reclaimed: {}", witness::receipt(receipt)));
            shown += 1;
        }
        Ok(shown)
    }

    pub(super) fn one_join_per_member(&self) -> Result<()> {
        let mut joins: BTreeMap<String, u32> = BTreeMap::new();
        for call in self.calls()?.into_iter().filter(|call| call.effect == "join_started") {
            *joins.entry(call.container_id).or_default() += 1;
        }
        ensure!(joins.len() == 4, "four members were to join, not {}", joins.len());
        ensure!(joins.values().all(|count| *count == 1), "a member was joined twice: {joins:?}");
        self.ui.say("  four members joined, each by exactly one request");
        Ok(())
    }

    pub(super) async fn check_journal(&mut self) -> Result<()> {
        let journal = self.journal.display().to_string();
        self.ui.command(&format!("xsld-operator journal check --journal-dir {journal}"));
        let output = tokio::process::Command::new(self.operator.binary())
            .args(["journal", "check", "--journal-dir", &journal])
            .output()
            .await
            .context("the operator's binary cannot be run")?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            self.ui.say(&format!("  {line}"));
        }
        ensure!(output.status.success(), "the journal is not whole ({})", output.status);
        Ok(())
    }

    pub(super) fn summary(&self) {
        self.ui.heading(&format!(
            "It held: 1 -> 3 -> 5 -> 2 members and a grid, {} kills in the middle of a step, no \
             effect twice, every deleted volume with its receipt, in {} s.",
            self.kills,
            self.begun.elapsed().as_secs()
        ));
    }
}

fn sample<K: DeserializeOwned>(file: &str) -> Result<K> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds/samples").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_saphyr::from_str(&text)?)
}
