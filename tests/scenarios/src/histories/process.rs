//! The operator's process: killed, ended, stopped, twice, and with another journal than before.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xsld_histories::act::{Act, When};
use xsld_histories::evidence::Life;
use xsld_histories::world::{Done, Result};

use super::acts::answered;
use super::world::{Place, broken, now_us};
use crate::context::records::{Intent, Tail, records};
use crate::context::{Kind, OperatorOptions};

/// Between two looks at the journal: shorter than a step takes.
const LOOK: Duration = Duration::from_millis(2);

/// How long a kill waits for its moment.
const MOMENT: Duration = Duration::from_secs(6);

/// How long an operator that ended by itself stays away, as its pod would.
const BACK_OFF_US: i64 = 1_000_000;

/// The anchor of the journal.
const ANCHOR: &str = "xsld-operator-journal";

impl Place<'_> {
    pub(super) async fn operators(&self, act: &Act) -> Result<Done> {
        match act {
            Act::KillOperator { when } => self.kill(when).await,
            Act::EndOperator => self.end().await,
            Act::StartOperator => {
                self.start().await?;
                Ok(Done::Yes)
            }
            Act::FreezeOperator => self.freeze().await,
            Act::ThawOperator => {
                self.thaw().await;
                Ok(Done::Yes)
            }
            Act::StartSecond { same_journal } => self.start_second(*same_journal).await,
            Act::EndSecond => self.end_second().await,
            Act::LoseJournal => self.with_operator_down(Loss::All).await,
            Act::BackUpJournal => self.with_operator_down(Loss::Copied).await,
            Act::SetBackJournal => self.with_operator_down(Loss::SetBack).await,
            Act::LoseAnchor => self.with_operator_down(Loss::Anchor).await,
            other => Ok(Done::Skipped(format!("nobody does it here: {}", other.told()))),
        }
    }

    /// Starts the operator and does not wait for it.
    pub(super) async fn start(&self) -> Result {
        if self.state(|state| std::mem::replace(&mut state.is_wanted, true)) {
            return Ok(());
        }
        self.c.start_operator_now().await.map_err(broken)?;
        let life = Life { from_us: now_us(), ..Life::default() };
        self.state(|state| state.lives.push(life));
        Ok(())
    }

    /// The present life is over.
    fn over(&self, ended: Option<String>) {
        self.state(|state| {
            if let Some(life) = state.lives.last_mut().filter(|life| life.to_us.is_none()) {
                life.to_us = Some(now_us());
                life.ended = ended;
            }
            if let Some(since) = state.frozen_since.take() {
                state.frozen.push((since, now_us()));
            }
        });
    }

    /// Kills the operator where it stands; whether there was one.
    async fn strike(&self) -> Result<bool> {
        let was = self.state(|state| std::mem::replace(&mut state.is_wanted, false));
        if was && !self.c.operator_has_ended().await.map_err(broken)? {
            self.c.kill_operator().await.map_err(broken)?;
            self.over(None);
        } else if was {
            self.note_end().await?;
        }
        Ok(was)
    }

    /// Writes down how the operator ended by itself.
    async fn note_end(&self) -> Result {
        let status = self.c.operator_ends(Duration::from_secs(5)).await.map_err(broken)?;
        self.over(Some(status.to_string()));
        Ok(())
    }

    /// An operator that ended by itself is started again after a while, as its pod would be.
    pub(super) async fn keep_operator(&self) -> Result {
        if !self.state(|state| state.is_wanted) {
            return Ok(());
        }
        if self.c.operator_has_ended().await.map_err(broken)? {
            self.note_end().await?;
        }
        let due = self.state(|state| {
            let ended = state.lives.last().and_then(|life| life.to_us);
            ended.is_some_and(|at| now_us() - at > BACK_OFF_US)
        });
        if due {
            self.state(|state| state.is_wanted = false);
            self.start().await?;
        }
        Ok(())
    }

    async fn kill(&self, when: &When) -> Result<Done> {
        let begun = Instant::now();
        let mut tail = Tail::new(&self.c.journal_dir());
        let _ = tail.read_new();
        let mut counted = 0;
        let wanted = if let When::Records(count) = when { *count as usize } else { 1 };
        while *when != When::Now && counted < wanted && begun.elapsed() < MOMENT {
            for record in tail.read_new().unwrap_or_default() {
                counted += usize::from(match when {
                    When::Intent(step) => {
                        Intent::of(&record).is_some_and(|intent| intent.step.name() == step)
                    }
                    _ => true,
                });
            }
            tokio::time::sleep(LOOK).await;
        }
        match self.strike().await? {
            true => Ok(Done::Yes),
            false => Ok(Done::Skipped("there is no operator".to_owned())),
        }
    }

    async fn end(&self) -> Result<Done> {
        if !self.state(|state| std::mem::replace(&mut state.is_wanted, false)) {
            return Ok(Done::Skipped("there is no operator".to_owned()));
        }
        if self.c.operator_has_ended().await.map_err(broken)? {
            self.note_end().await?;
            return Ok(Done::Skipped("it had ended".to_owned()));
        }
        self.c.terminate_operator().await.map_err(broken)?;
        self.over(None);
        Ok(Done::Yes)
    }

    async fn freeze(&self) -> Result<Done> {
        let runs = self.state(|state| state.lives.last().is_some_and(|l| l.to_us.is_none()));
        if !runs || self.c.operator_has_ended().await.map_err(broken)? {
            return Ok(Done::Skipped("there is no operator".to_owned()));
        }
        self.c.freeze_operator(true).await.map_err(broken)?;
        self.state(|state| state.frozen_since = Some(now_us()));
        Ok(Done::Yes)
    }

    pub(super) async fn thaw(&self) {
        // One that was killed while it stood still needs no waking.
        let _ = self.c.freeze_operator(false).await;
        self.state(|state| {
            if let Some(since) = state.frozen_since.take() {
                state.frozen.push((since, now_us()));
            }
        });
    }

    async fn start_second(&self, same_journal: bool) -> Result<Done> {
        let number = self.state(|state| {
            state.seconds += 1;
            state.seconds
        });
        let dir = self.c.dir.join(format!("second-{number}"));
        std::fs::create_dir_all(&dir).map_err(broken)?;
        let options = OperatorOptions {
            journal_dir: (!same_journal).then(|| dir.join("journal")),
            log: Some(dir.join("operator.log")),
            ..OperatorOptions::default()
        };
        let second = self.c.spawn_operator(&options).await.map_err(broken)?;
        *self.second.lock().await = Some(second);
        Ok(Done::Yes)
    }

    /// Ends the second operator. One that had taken over had the true journal: the first goes on
    /// with it.
    pub(super) async fn end_second(&self) -> Result<Done> {
        let Some(mut second) = self.second.lock().await.take() else {
            return Ok(Done::Skipped("there is no second operator".to_owned()));
        };
        let number = self.state(|state| state.seconds);
        let journal = self.c.dir.join(format!("second-{number}/journal"));
        let is_true = !records(&journal).map_err(broken)?.is_empty();
        let was = is_true && self.strike().await?;
        second.terminate().await.map_err(broken)?;
        if is_true {
            self.lose()?;
            std::fs::rename(journal, self.c.journal_dir()).map_err(broken)?;
        }
        if was {
            self.start().await?;
        }
        Ok(Done::Yes)
    }

    /// The journal's volume is gone: the history keeps it where the operator does not look.
    fn lose(&self) -> Result {
        if !self.c.journal_dir().exists() {
            return Ok(());
        }
        let number = self.state(|state| {
            state.lost += 1;
            state.lost
        });
        let lost = self.c.dir.join(format!("lost-{number}"));
        std::fs::rename(self.c.journal_dir(), &lost).map_err(broken)?;
        self.c.allow(|allowed| {
            allowed.lost_journals.push(lost);
            allowed.may_have_gap = true;
        });
        Ok(())
    }

    async fn with_operator_down(&self, loss: Loss) -> Result<Done> {
        let was = self.strike().await?;
        let (journal, copy) = (self.c.journal_dir(), self.copy());
        let done = match loss {
            Loss::Anchor => {
                self.c.allow(|allowed| allowed.may_have_gap = true);
                answered(self.c.delete(Kind::ConfigMap, ANCHOR).await)?
            }
            _ if !journal.exists() => Done::Skipped("there is no journal".to_owned()),
            Loss::All => {
                self.lose()?;
                Done::Yes
            }
            Loss::Copied => {
                let _ = std::fs::remove_dir_all(&copy);
                copied(&journal, &copy)?;
                Done::Yes
            }
            Loss::SetBack if copy.exists() => {
                self.lose()?;
                copied(&copy, &journal)?;
                Done::Yes
            }
            Loss::SetBack => Done::Skipped("there is no copy".to_owned()),
        };
        if was {
            self.start().await?;
        }
        Ok(done)
    }

    fn copy(&self) -> PathBuf {
        self.c.dir.join("backup")
    }
}

/// What becomes of the journal while no operator runs.
#[derive(Clone, Copy)]
enum Loss {
    All,
    Copied,
    SetBack,
    Anchor,
}

fn copied(from: &Path, to: &Path) -> Result {
    std::fs::create_dir_all(to).map_err(broken)?;
    for entry in std::fs::read_dir(from).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let target = to.join(entry.file_name());
        match entry.file_type().map_err(broken)?.is_dir() {
            true => copied(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target).map_err(broken)?),
        }
    }
    Ok(())
}
