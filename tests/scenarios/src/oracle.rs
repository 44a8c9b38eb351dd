//! What must hold at the end of every scenario. It reads the world: the members' call log, the API
//! server, the disk and the journal's bytes, never the operator's word alone.

mod agreement;
mod idle;
mod joins;
mod primary;
mod secrets;
mod status;
mod volumes;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use xsld_journal::event::{Event, Step, StepKey};
use xsld_journal::record::Record;
use xsld_journal::replay::fold;
use xsld_sim::calls::Call;

use crate::Result;
use crate::context::Context;
use crate::context::records::{Intent, outcome};

/// What is known of a run, read once.
pub(crate) struct Evidence {
    /// The journal's records.
    pub(crate) records: Vec<Record>,
    /// Those of journals that were lost, or set aside.
    pub(crate) former: Vec<Record>,
    /// Every intent by its key.
    pub(crate) intents: BTreeMap<StepKey, Intent>,
    /// How each step ended, by its key.
    pub(crate) outcomes: BTreeMap<StepKey, &'static str>,
    /// What the members were asked, and what came of it.
    pub(crate) calls: Vec<Call>,
}

impl Evidence {
    pub(crate) fn read(context: &Context) -> Result<Self> {
        let records = context.records()?;
        fold(&records).context("the journal does not fold")?;
        let mut former = crate::context::records::former(&context.journal_dir())?;
        for lost in context.allowed().lost_journals {
            former.extend(crate::context::records::records(&lost)?);
        }
        let all = || former.iter().chain(&records);
        let intents = all().filter_map(Intent::of).map(|intent| (intent.key, intent)).collect();
        let outcomes = all().filter_map(outcome).collect();
        Ok(Self { calls: context.calls()?, intents, outcomes, former, records })
    }

    /// Whether an intent ended in success.
    pub(crate) fn succeeded(&self, intent: &Intent) -> bool {
        self.outcomes.get(&intent.key) == Some(&"step_succeeded")
    }

    /// The intents of steps that `pick` picks, in order.
    pub(crate) fn intents_of(&self, pick: impl Fn(&Step) -> bool) -> Vec<&Intent> {
        let mut found: Vec<_> = self.intents.values().filter(|i| pick(&i.step)).collect();
        found.sort_by_key(|intent| intent.seq);
        found
    }
}

/// How often an operation may begin when all seemed to be at rest.
const ROUNDS: usize = 4;

/// Everything that holds at the end of a scenario whose caches are at rest.
///
/// # Errors
/// The first thing that does not hold.
pub async fn at_rest(context: &Context) -> Result {
    // What waits for a view to stand for the settle time, as the set-up of replication does, can
    // begin after a pause in which nothing was written.
    for _ in 0..ROUNDS {
        agreement::settle(context).await?;
        idle::nothing_is_written(context).await.context("a cache at rest causes writes")?;
        if agreement::open_operations(context)?.is_empty() {
            break;
        }
    }
    status::is_whole(context).await.context("the status is not whole")?;
    agreement::journal_and_world(context).await.context("journal and world differ")?;
    disturbed(context).await
}

/// Everything that holds whatever was broken on purpose.
///
/// # Errors
/// The first thing that does not hold.
pub async fn disturbed(context: &Context) -> Result {
    context.operator_still_runs().await?;
    let evidence = Evidence::read(context)?;
    let checks: [(&str, Result); 7] = [
        ("a call without its intent", joins::every_call_has_an_intent(&evidence, context)),
        ("a join was repeated", joins::one_join_for_each_attempt(&evidence)),
        ("a disjoin was repeated", joins::one_disjoin_for_each_departure(&evidence)),
        ("a change of the primary was repeated", primary::each_change_is_asked_for_once(&evidence)),
        ("two tasks at once", joins::one_task_at_a_time(&evidence, context)),
        (
            "a volume went without a receipt",
            volumes::every_deletion_has_a_receipt(&evidence, context),
        ),
        ("replicas were lowered too early", volumes::replicas_follow_the_group(&evidence, context)),
    ];
    for (what, held) in checks {
        held.context(what)?;
    }
    secrets::none_is_told(context).await.context("a secret was told")?;
    journal_is_whole(context, &evidence).await
}

/// The operator's own check of its journal, as a user runs it.
async fn journal_is_whole(context: &Context, evidence: &Evidence) -> Result {
    if evidence.records.is_empty() {
        return Ok(());
    }
    let output = context.journal_command(&["check"]).await?;
    let is_right = |code: Option<i32>| code == Some(0) || code == Some(3);
    if context.allowed().may_have_gap && is_right(output.status.code()) {
        return Ok(());
    }
    // A gap is told by every check, for ever.
    let has_gap = context.allowed().has_gap();
    let expected = if has_gap { 3 } else { 0 };
    ensure!(
        output.status.code() == Some(expected),
        "journal check ends with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let gaps = evidence.records.iter().filter(|r| matches!(r.event, Event::Gap { .. })).count();
    let lost = usize::from(has_gap);
    ensure!(gaps == lost, "the journal has {gaps} gaps, and {lost} were made");
    Ok(())
}
