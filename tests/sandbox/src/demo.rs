//! `--demo`: tells the story by itself, and fails when any of it does not hold.
//!
//! Nothing is taken on the operator's own word: members are counted in their call log, volumes in
//! the world's folder, and what was done in the journal.

mod story;
mod witness;

use anyhow::{Result, ensure};
use xsld_sim::world::World;

use crate::operator::Supervised;
use crate::ui::Ui;
use story::Story;

const CACHE: &str = "example-xsldcache";
const GRID: &str = "example-datagrid";

/// Tells the story. Returns when all of it held; the error says what did not.
pub(crate) async fn run(world: &World, operator: &mut Supervised, ui: &Ui) -> Result<()> {
    let mut story = Story::new(world, operator, ui);

    ui.heading("1. The predecessor's cache and grid, with three members");
    story.apply_samples(3).await?;
    story.wait_for_intent("join_member", &member(1)).await?;
    story.wait_for_outcome("join_member", &member(1)).await?;

    ui.heading("2. The operator is killed in the middle of the second join");
    story.wait_for_effect("join_started", &member(2)).await?;
    story.kill_operator().await?;
    story.explain_in_doubt("join_member")?;
    story.start_operator().await?;
    story.wait_for_outcome("join_member", &member(2)).await?;
    story.explain_resolution("join_member", &member(2))?;
    story.wait_until_ready(3).await?;
    story.wait_for_grid_online().await?;

    ui.heading("3. Up to five");
    story.scale(5).await?;
    story.wait_until_ready(5).await?;

    ui.heading("4. Down to two, and the operator is killed in the middle of a disjoin");
    story.scale(2).await?;
    story.wait_for_effect("disjoin_started", "").await?;
    story.kill_operator().await?;
    story.explain_in_doubt("disjoin_member")?;
    story.start_operator().await?;
    story.wait_for_outcome("disjoin_member", &member(4)).await?;
    story.explain_resolution("disjoin_member", &member(4))?;
    story.wait_until_ready(2).await?;

    ui.heading("5. What is left, and what proves it");
    let receipts = story.show_receipts()?;
    ensure!(receipts == 3, "three volumes were to be reclaimed with receipts, not {receipts}");
    story.one_join_per_member()?;
    story.check_journal().await?;
    story.summary();
    Ok(())
}

fn member(ordinal: u32) -> String {
    format!("{CACHE}-{ordinal}")
}
