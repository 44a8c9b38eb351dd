//! A story is told undisturbed, and then again with the operator dead at one of its boundaries.
//!
//! A boundary is a record of the cache's stream: the operator is killed as soon as it is durable.
//! How many there are is read from the journal of the undisturbed run, so that a step that is added
//! one day is swept without anyone remembering it. What must be the same afterwards: the end, and
//! the effects that the members tell of, each as often as in the undisturbed run.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::future::LocalBoxFuture;
use uuid::Uuid;
use xsld_journal::record::{Record, StreamId};

use crate::Result;
use crate::context::records::{Intent, Tail};
use crate::context::{Context, Kind, member_of};
use crate::runner::say;

/// How many boundaries of each story: a number, or `all`.
pub(crate) const ALL: &str = "XSLD_SWEEP";
/// Makes the share of a run of before again.
pub(crate) const SEED: &str = "XSLD_SEED";

/// Boundaries of one story that an ordinary run sweeps; which ones changes from run to run. There
/// are many stories, and each is told undisturbed as well.
const SHARE: usize = 1;

/// Longest time of an ordinary sweep of one story, and of one of all its boundaries.
const LONGEST: Duration = Duration::from_secs(600);
const LONGEST_ALL: Duration = Duration::from_secs(4 * 3600);

/// How long a boundary may come after the story is over: its last records do.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Between two looks at the journal.
const LOOK: Duration = Duration::from_millis(2);

/// Longest time until a boundary comes.
const LIMIT: Duration = Duration::from_secs(180);

/// Grids are named after their cache.
pub fn grid_of(cache: &str) -> String {
    format!("g-{cache}")
}

/// Templates too.
pub fn template_of(cache: &str) -> String {
    format!("t-{cache}")
}

/// Something that is done to a cache of this name.
pub type Deed = for<'a> fn(&'a Context, &'a str) -> LocalBoxFuture<'a, Result>;

/// What happens to one cache.
#[derive(Clone, Copy)]
pub struct Story {
    /// For the name of its scenario.
    pub name: &'static str,
    /// Kinds of steps that its undisturbed journal must have.
    pub steps: &'static [&'static str],
    /// Brings the cache to where the story begins; never disturbed.
    pub prepare: Deed,
    /// The story: what is asked for, and waiting until it is there.
    pub act: Deed,
}

/// What a story came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    /// Effects that the members tell of, by member and kind.
    effects: BTreeMap<String, usize>,
    /// What is left: claims, replicas, the members in the group's view.
    left: BTreeMap<String, String>,
}

/// One telling.
struct Told {
    ending: Ending,
    /// Records that the story has.
    records: usize,
    /// Kinds of steps in them.
    steps: BTreeSet<&'static str>,
    /// Whether the story has as many records as its kill waits for.
    struck: bool,
}

impl Story {
    /// Tells the story undisturbed and then with kills. Prints the counts.
    ///
    /// # Errors
    /// The first boundary at which the story ends otherwise; a kind of step that it does not have.
    pub async fn sweep(self, c: &Context) -> Result {
        let begun = Instant::now();
        let whole = self.tell(c, "whole", None).await?;
        let boundaries = whole.records;
        ensure!(boundaries > 0, "the story has no records");
        for step in self.steps {
            ensure!(whole.steps.contains(step), "no {step} in it, only {:?}", whole.steps);
        }
        let chosen = chosen(boundaries, share(), seed());
        let mut reached = 0;
        for boundary in &chosen {
            let cache = format!("k{boundary}");
            let told = self.tell(c, &cache, Some(*boundary)).await;
            let told = told.with_context(|| format!("killed at boundary {boundary}"))?;
            ensure!(
                told.ending == whole.ending,
                "killed at boundary {boundary} of {boundaries}, the story ended as {:#?} \
                 instead of {:#?}",
                told.ending,
                whole.ending
            );
            reached += usize::from(told.struck);
        }
        say(&format!(
            "{}: {boundaries} boundaries, {reached} runs with a kill (at {chosen:?}), {:.0} s",
            c.name,
            begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// One telling with a cache of its own, which is gone afterwards.
    async fn tell(self, c: &Context, cache: &str, kill: Option<usize>) -> Result<Told> {
        (self.prepare)(c, cache).await?;
        let object = c.get(Kind::Cache, cache).await?;
        let uid: Uuid = object["metadata"]["uid"].as_str().context("no cache")?.parse()?;
        let stream = StreamId(uid);
        let before = c.records()?.iter().filter(|record| is_of(record, stream)).count();
        let struck = match kill {
            None => (self.act)(c, cache).await.map(|()| false)?,
            Some(boundary) => self.disturbed(c, cache, (stream, before + boundary)).await?,
        };
        let records = c.records()?;
        let records = records.iter().filter(|record| is_of(record, stream)).skip(before);
        let (mut count, mut steps) = (0, BTreeSet::new());
        for record in records {
            count += 1;
            steps.extend(Intent::of(record).map(|intent| intent.step.name()));
        }
        let ending = ending(c, cache).await?;
        end(c, cache).await?;
        Ok(Told { ending, records: count, steps, struck })
    }

    /// Tells the story with a kill at a boundary. Says whether it came that far: what a member is
    /// seen to do is recorded too, and that differs by a record or two from run to run.
    async fn disturbed(self, c: &Context, cache: &str, at: (StreamId, usize)) -> Result<bool> {
        let mut act = (self.act)(c, cache);
        let mut boundary = pin!(boundary(c, at));
        tokio::select! {
            reached = &mut boundary => {
                reached?;
                c.kill_operator().await?;
                c.start_operator_now().await?;
                act.await?;
                return Ok(true);
            }
            acted = &mut act => acted?,
        }
        let Ok(reached) = tokio::time::timeout(AFTERWARDS, boundary).await else {
            return Ok(false);
        };
        reached?;
        c.kill_operator().await?;
        c.start_operator().await?;
        Ok(true)
    }
}

fn is_of(record: &Record, stream: StreamId) -> bool {
    record.envelope.stream == stream
}

/// How many boundaries of each story this run sweeps.
fn share() -> usize {
    match std::env::var(ALL).as_deref() {
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().unwrap_or(SHARE).max(1),
        Err(_) => SHARE,
    }
}

/// How long the sweep of one story may take in this run.
pub fn longest() -> Duration {
    if share() > SHARE { LONGEST_ALL } else { LONGEST }
}

/// Whether everything is to be swept.
pub(crate) fn sweeps_all() -> bool {
    share() == usize::MAX
}

/// What this run's choices follow: the given one, or another one every time.
pub(crate) fn seed() -> usize {
    let given = std::env::var(SEED).ok().and_then(|text| text.parse::<usize>().ok());
    given.unwrap_or_else(|| Uuid::new_v4().as_fields().0 as usize)
}

/// The boundaries of this run: all, or a share that changes with the seed.
fn chosen(boundaries: usize, share: usize, seed: usize) -> Vec<usize> {
    if boundaries <= share {
        return (1..=boundaries).collect();
    }
    let width = boundaries.div_ceil(share);
    (0..share).map(|part| 1 + part * width + seed % width).filter(|at| *at <= boundaries).collect()
}

/// Waits until the stream has so many records.
async fn boundary(c: &Context, (stream, count): (StreamId, usize)) -> Result {
    let mut tail = Tail::new(&c.journal_dir());
    let begun = Instant::now();
    let mut found = 0;
    loop {
        found += tail.read_new()?.iter().filter(|record| is_of(record, stream)).count();
        if found >= count {
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            bail!("the stream has {found} records after {LIMIT:?}, not {count}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ending(c: &Context, cache: &str) -> Result<Ending> {
    let short = |name: &str| name.replace(cache, "");
    let mut effects = BTreeMap::new();
    for call in c.calls()?.iter().filter(|call| call.cache == cache) {
        let counted = call.effect != "none"
            && !call.effect.ends_with("_refused")
            && !call.effect.starts_with("data_");
        if counted {
            *effects.entry(format!("{} {}", short(member_of(call)), call.effect)).or_insert(0) += 1;
        }
    }
    let mut left = BTreeMap::new();
    for claim in c.list(Kind::Claim).await? {
        let name = claim["metadata"]["name"].as_str().unwrap_or_default();
        if name.starts_with(&format!("vol-{cache}-")) {
            left.insert(short(name), "claim".to_owned());
        }
    }
    if c.get(Kind::Cache, cache).await?.is_null() {
        left.insert("cache".to_owned(), "gone".to_owned());
        return Ok(Ending { effects, left });
    }
    let set = c.get(Kind::StatefulSet, cache).await?;
    left.insert("replicas".to_owned(), set["spec"]["replicas"].to_string());
    for (member, status) in c.view(&format!("{cache}-0")).await? {
        left.insert(short(&member), status);
    }
    let group = c.ask(&format!("{cache}-0"), "/cacheMemberGroup").await?;
    for member in group["members"].as_array().into_iter().flatten() {
        if member["isPrimary"] == true {
            let name = member["memberName"].as_str().unwrap_or_default();
            left.insert(format!("{} as the primary", short(name)), "told".to_owned());
        }
    }
    let grid = c.get(Kind::Grid, &grid_of(cache)).await?;
    left.insert("grid".to_owned(), grid["status"]["status"].to_string());
    Ok(Ending { effects, left })
}

/// Takes the cache away, so that the next telling has the members' machine for itself.
async fn end(c: &Context, cache: &str) -> Result {
    let template = template_of(cache);
    if !c.get(Kind::Template, &template).await?.is_null() {
        c.delete(Kind::Template, &template).await?;
        c.gone(Kind::Template, &template, LIMIT).await?;
    }
    if !c.get(Kind::Grid, &grid_of(cache)).await?.is_null() {
        c.delete(Kind::Grid, &grid_of(cache)).await?;
        c.gone(Kind::Grid, &grid_of(cache), LIMIT).await?;
    }
    c.delete(Kind::Cache, cache).await?;
    c.gone(Kind::Cache, cache, LIMIT).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_spread_over_the_whole_story() {
        for (boundaries, share, seed) in
            (1..60).flat_map(|n| (1..5).flat_map(move |s| [(n, s, 0), (n, s, 7), (n, s, 1234)]))
        {
            let chosen = chosen(boundaries, share, seed);
            assert!(!chosen.is_empty() && chosen.len() <= share);
            assert!(chosen.iter().all(|at| (1..=boundaries).contains(at)), "{boundaries}");
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn seeds_reach_every_boundary_in_turn() {
        let reached: BTreeSet<usize> = (0..40).flat_map(|seed| chosen(40, 1, seed)).collect();
        assert_eq!(reached, (1..=40).collect());
        assert_eq!(chosen(40, usize::MAX, 3).len(), 40);
    }
}
