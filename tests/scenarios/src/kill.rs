//! The operator dies by SIGKILL in the middle of a step, and is started again.
//!
//! A step is an intent, an effect and an outcome. Where the effect is a request to a member, a fault
//! of that member holds the moment still: the request is received and not processed, or processed
//! and not answered. So the operator is really dead before it can know.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use xsld_journal::event::{Event, Step, StepKey};
use xsld_journal::record::Record;

use crate::Result;
use crate::context::Context;
use crate::context::records::{Intent, Tail, outcome};

/// Between two looks at the journal: shorter than a step takes.
const LOOK: Duration = Duration::from_millis(2);

/// How long the step may let itself be waited for.
const LIMIT: Duration = Duration::from_secs(120);

/// More requests than are ever held.
const HELD_MAX: u64 = 1000;

/// When in a step the operator dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As soon as the intent is durable, whatever is sent by then.
    Intended,
    /// The intent is durable, and the request reached the member and was not processed.
    Unsent,
    /// The member processed the request, and its answer never came.
    Unanswered,
    /// The operator has recorded that the member runs the task, and it runs.
    Running,
    /// The task is over, and the outcome is not recorded.
    Over,
}

impl Moment {
    /// For names of scenarios.
    pub fn word(self) -> &'static str {
        match self {
            Self::Intended => "as_intended",
            Self::Unsent => "before_the_effect",
            Self::Unanswered => "after_the_effect",
            Self::Running => "while_the_task_runs",
            Self::Over => "when_the_task_is_over",
        }
    }
}

/// Which step of which kind, and when in it.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Name of the kind of step, as the journal has it.
    pub step: &'static str,
    /// Which intent of this kind, from 1, counted from when the kill was armed.
    pub nth: usize,
    /// When in it.
    pub moment: Moment,
}

impl Kill {
    /// The first intent of a kind.
    pub fn at(step: &'static str, moment: Moment) -> Self {
        Self { step, nth: 1, moment }
    }

    /// The command of the request, where the effect is a task of a member.
    fn command(self) -> Option<&'static str> {
        match self.step {
            "join_member" => Some("Join"),
            "disjoin_member" | "remove_ghost_member" => Some("Disjoin"),
            "set_up_replication" => Some("ConfigureDerbyReplication"),
            "promote_primary" => Some("DerbyFailover"),
            _ => None,
        }
    }

    /// The filter of the faults that hold the effect still.
    fn filter(self) -> Option<serde_json::Value> {
        match (self.command(), self.step) {
            (Some(command), _) => Some(json!({"method": "POST", "command": command})),
            (None, "create_grid") => Some(json!({"method": "POST", "path": "/grid/"})),
            (None, "update_grid") => Some(json!({"method": "PUT", "path": "/grid/"})),
            (None, "delete_grid") => Some(json!({"method": "DELETE", "path": "/grid/"})),
            (None, "upload_template") => Some(json!({"method": "PUT", "path": "/gridTemplate/"})),
            (None, "delete_template") => {
                Some(json!({"method": "DELETE", "path": "/gridTemplate/"}))
            }
            (None, _) => None,
        }
    }
}

/// A kill that waits for its moment.
pub struct Armed<'a> {
    context: &'a Context,
    kill: Kill,
    pods: Vec<String>,
    tail: Tail,
    seen: BTreeSet<StepKey>,
    ended: BTreeSet<StepKey>,
    accepted: BTreeSet<StepKey>,
}

impl Context {
    /// Arms a kill: what holds the moment still is set before whatever leads to it is done. `cache`
    /// is the cache that the step belongs to.
    ///
    /// # Errors
    /// When a fault cannot be set.
    pub async fn arm(&self, cache: &str, kill: Kill) -> Result<Armed<'_>> {
        let mut tail = Tail::new(&self.journal_dir());
        tail.read_new()?;
        let fault = match kill.moment {
            Moment::Unsent => Some("hang"),
            Moment::Unanswered => Some("slow"),
            Moment::Intended | Moment::Running | Moment::Over => None,
        };
        let mut pods = Vec::new();
        if let (Some(fault), Some(mut object)) = (fault, kill.filter()) {
            object["fault"] = json!(fault);
            if fault == "slow" {
                // Longer than it takes to see the effect and to kill.
                object["ms"] = json!(60_000);
            }
            // Only so that it can be read how often it applied.
            object["count"] = json!(HELD_MAX);
            for ordinal in 0..8 {
                let pod = format!("{cache}-{ordinal}");
                self.fault(&pod, object.clone()).await?;
                pods.push(pod);
            }
        }
        let (seen, ended, accepted) = Default::default();
        Ok(Armed { context: self, kill, pods, tail, seen, ended, accepted })
    }

    /// Does `act`, kills the operator at the moment, and starts it again.
    ///
    /// # Errors
    /// When the moment never comes.
    pub async fn killed_during(
        &self,
        cache: &str,
        kill: Kill,
        act: impl Future<Output = Result>,
    ) -> Result {
        let armed = self.arm(cache, kill).await?;
        act.await?;
        armed.strike().await?;
        self.start_operator().await
    }
}

impl Armed<'_> {
    /// Waits for the moment, kills the operator, and takes away what held the moment still.
    ///
    /// # Errors
    /// When the moment does not come in time.
    pub async fn strike(mut self) -> Result {
        let intent = self.reach().await?;
        self.context.kill_operator().await?;
        self.release().await?;
        self.follow()?;
        let done = self.ended.contains(&intent.key);
        // The window of a quick write to the API server may be over by now: the crash is one between
        // steps then, which must be survived as well.
        if done && self.kill.moment != Moment::Intended {
            bail!("the outcome of {} was recorded before the kill", intent.step.describe());
        }
        Ok(())
    }

    /// Waits for the moment, stops the operator where it is (SIGSTOP), and takes away what held the
    /// moment still. The step that it was in.
    ///
    /// # Errors
    /// When the moment does not come in time.
    pub async fn freeze(mut self) -> Result<Intent> {
        let intent = self.reach().await?;
        self.context.freeze_operator(true).await?;
        self.release().await?;
        Ok(intent)
    }

    async fn release(&self) -> Result {
        for pod in &self.pods {
            self.context.clear_faults(pod).await?;
        }
        Ok(())
    }

    async fn reach(&mut self) -> Result<Intent> {
        let intent = self.intent().await?;
        match self.kill.moment {
            Moment::Intended => {}
            Moment::Unsent => self.until_received(&intent).await?,
            Moment::Unanswered => self.until_effect(&intent, false).await?,
            Moment::Running => self.until_accepted(&intent).await?,
            Moment::Over => {
                // Stopped while the task runs, so that it cannot see the end before it dies.
                self.until_accepted(&intent).await?;
                self.context.freeze_operator(true).await?;
                self.until_effect(&intent, true).await?;
            }
        }
        Ok(intent)
    }

    fn follow(&mut self) -> Result<Vec<Record>> {
        let records = self.tail.read_new()?;
        for record in &records {
            if let Some((key, _)) = outcome(record) {
                self.ended.insert(key);
            }
            if let Event::StepAccepted { key, .. } = &record.event {
                self.accepted.insert(*key);
            }
        }
        Ok(records)
    }

    async fn intent(&mut self) -> Result<Intent> {
        let begun = Instant::now();
        loop {
            for record in self.follow()? {
                let Some(intent) = Intent::of(&record) else { continue };
                if intent.step.name() != self.kill.step {
                    continue;
                }
                self.seen.insert(intent.key);
                if self.seen.len() == self.kill.nth {
                    return Ok(intent);
                }
            }
            self.in_time(begun, "its intent").await?;
        }
    }

    async fn until_accepted(&mut self, intent: &Intent) -> Result {
        let begun = Instant::now();
        while !self.accepted.contains(&intent.key) {
            self.follow()?;
            self.in_time(begun, "its acceptance").await?;
        }
        Ok(())
    }

    /// A member holds the request and has not looked at it.
    async fn until_received(&mut self, intent: &Intent) -> Result {
        let begun = Instant::now();
        while !self.is_held().await? {
            self.in_time(begun, "the member").await?;
        }
        let key = intent.key.to_string();
        let calls = self.context.calls()?;
        match calls.iter().find(|call| call.key.contains(&key)) {
            Some(call) => bail!("the held request had the effect {}", call.effect),
            None => Ok(()),
        }
    }

    async fn is_held(&self) -> Result<bool> {
        for pod in &self.pods {
            let faults = self.context.faults(pod).await?;
            if faults.iter().any(|fault| fault["count"].as_u64().is_some_and(|n| n < HELD_MAX)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn until_effect(&mut self, intent: &Intent, over: bool) -> Result {
        let begun = Instant::now();
        let words = words(&intent.step, over);
        let before = intent.time_us;
        loop {
            let calls = self.context.calls()?;
            let found = calls.iter().any(|call| {
                words.contains(&call.effect.as_str()) && call.time.as_microsecond() >= before
            });
            if found {
                return Ok(());
            }
            self.in_time(begun, "its effect").await?;
        }
    }

    async fn in_time(&self, begun: Instant, what: &str) -> Result {
        if begun.elapsed() > LIMIT {
            bail!("no {} came as far as {what} within {LIMIT:?}", self.kill.step);
        }
        tokio::time::sleep(LOOK).await;
        self.context.operator_still_runs().await.context("while waiting for the kill's moment")
    }
}

/// The words of the call log that say that a step's effect is there (or, `over`, its task ended).
fn words(step: &Step, over: bool) -> &'static [&'static str] {
    match (step, over) {
        (Step::JoinMember { .. }, false) => &["join_started"],
        (Step::JoinMember { .. }, true) => &["joined", "join_failed"],
        (Step::DisjoinMember { .. } | Step::RemoveGhostMember { .. }, false) => {
            &["disjoin_started"]
        }
        (Step::DisjoinMember { .. } | Step::RemoveGhostMember { .. }, true) => {
            &["disjoined", "ghost_removed", "disjoin_failed"]
        }
        (Step::CreateGrid { .. }, false) => &["grid_create_started"],
        (Step::CreateGrid { .. }, true) => &["grid_created"],
        (Step::UpdateGrid { .. }, _) => &["grid_update_started", "grid_updated"],
        (Step::DeleteGrid { .. }, _) => &["grid_delete_started", "grid_deleted"],
        (Step::UploadTemplate { .. }, _) => &["template_stored"],
        (Step::DeleteTemplate { .. }, _) => &["template_deleted"],
        (Step::CancelTask { .. }, _) => &["task_cancelled"],
        (Step::SetUpReplication { .. }, false) => &["replication_started"],
        (Step::SetUpReplication { .. }, true) => &["replication_configured", "replication_failed"],
        (Step::PromotePrimary { .. }, false) => &["promotion_started"],
        (Step::PromotePrimary { .. }, true) => &["promoted", "promotion_failed"],
        _ => &[],
    }
}
