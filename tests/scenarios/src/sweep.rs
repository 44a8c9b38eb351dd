//! A story is told undisturbed, and then again with the operator dead at one of its boundaries.
//!
//! A boundary is a record of the cache's stream: the operator is killed as soon as it is durable.
//! How many there are is read from the journal of the undisturbed run, so that a step that is added
//! one day is swept without anyone remembering it. What must be the same afterwards: the end, and
//! the effects that the members tell of, each as often as in the undisturbed run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures::future::LocalBoxFuture;
use uuid::Uuid;
use xsld_journal::record::{Record, StreamId};

use crate::Result;
use crate::context::records::Tail;
use crate::context::{Context, Kind, member_of};
use crate::runner::say;

/// All boundaries instead of a share of them.
const ALL: &str = "XSLD_SWEEP";
/// Makes the share of a run of before again.
const SEED: &str = "XSLD_SEED";

/// Boundaries of one story that an ordinary run sweeps; which ones changes from run to run.
const SHARE: usize = 3;

/// Between two looks at the journal.
const LOOK: Duration = Duration::from_millis(2);

/// Longest time until a boundary comes.
const LIMIT: Duration = Duration::from_secs(180);

/// Grids are named after their cache.
pub fn grid_of(cache: &str) -> String {
    format!("g-{cache}")
}

/// Something that is done to a cache of this name.
pub type Deed = for<'a> fn(&'a Context, &'a str) -> LocalBoxFuture<'a, Result>;

/// What happens to one cache.
#[derive(Clone, Copy)]
pub struct Story {
    /// For the name of its scenario.
    pub name: &'static str,
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

impl Story {
    /// Tells the story undisturbed and then with kills. Prints the counts.
    ///
    /// # Errors
    /// The first boundary at which the story ends otherwise.
    pub async fn sweep(self, c: &Context) -> Result {
        let begun = Instant::now();
        let (whole, boundaries) = self.tell(c, "whole", None).await?;
        ensure!(boundaries > 0, "the story has no records");
        let chosen = chosen(boundaries);
        let mut reached = 0;
        for boundary in &chosen {
            let cache = format!("k{boundary}");
            let told = self.tell(c, &cache, Some(*boundary)).await;
            let (ending, _) = told.with_context(|| format!("killed at boundary {boundary}"))?;
            ensure!(
                ending == whole,
                "killed at boundary {boundary} of {boundaries}, the story ended as {ending:#?} \
                 instead of {whole:#?}"
            );
            reached += 1;
        }
        say(&format!(
            "{}: {boundaries} boundaries, {reached} runs with a kill (at {chosen:?}), {:.0} s",
            c.name,
            begun.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// One telling with a cache of its own, which is gone afterwards. Gives what it came to, and
    /// how many records it has.
    async fn tell(self, c: &Context, cache: &str, kill: Option<usize>) -> Result<(Ending, usize)> {
        (self.prepare)(c, cache).await?;
        let object = c.get(Kind::Cache, cache).await?;
        let uid: Uuid = object["metadata"]["uid"].as_str().context("no cache")?.parse()?;
        let stream = StreamId(uid);
        let before = c.records()?.iter().filter(|record| is_of(record, stream)).count();
        match kill {
            None => (self.act)(c, cache).await?,
            Some(boundary) => {
                let (acted, struck) =
                    tokio::join!((self.act)(c, cache), strike(c, stream, before + boundary));
                struck?;
                acted?;
            }
        }
        let records = c.records()?.iter().filter(|record| is_of(record, stream)).count() - before;
        let ending = ending(c, cache).await?;
        end(c, cache).await?;
        Ok((ending, records))
    }
}

fn is_of(record: &Record, stream: StreamId) -> bool {
    record.envelope.stream == stream
}

/// The boundaries of this run: all, or a share that changes.
fn chosen(boundaries: usize) -> Vec<usize> {
    if std::env::var(ALL).is_ok_and(|text| text == "all") || boundaries <= SHARE {
        return (1..=boundaries).collect();
    }
    let given = std::env::var(SEED).ok().and_then(|text| text.parse::<usize>().ok());
    let seed = given.unwrap_or_else(|| Uuid::new_v4().as_fields().0 as usize);
    let width = boundaries.div_ceil(SHARE);
    (0..SHARE).map(|part| 1 + part * width + seed % width).filter(|at| *at <= boundaries).collect()
}

/// Kills the operator when the stream has `count` records, and starts it again.
async fn strike(c: &Context, stream: StreamId, count: usize) -> Result {
    let mut tail = Tail::new(&c.journal_dir());
    let begun = Instant::now();
    let mut found = 0;
    loop {
        found += tail.read_new()?.iter().filter(|record| is_of(record, stream)).count();
        if found >= count {
            break;
        }
        if begun.elapsed() > LIMIT {
            bail!("the stream has {found} records after {LIMIT:?}, not {count}");
        }
        tokio::time::sleep(LOOK).await;
    }
    c.kill_operator().await?;
    c.start_operator_now().await
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
    let set = c.get(Kind::StatefulSet, cache).await?;
    left.insert("replicas".to_owned(), set["spec"]["replicas"].to_string());
    for (member, status) in c.view(&format!("{cache}-0")).await? {
        left.insert(short(&member), status);
    }
    let grid = c.get(Kind::Grid, &grid_of(cache)).await?;
    left.insert("grid".to_owned(), grid["status"]["status"].to_string());
    Ok(Ending { effects, left })
}

/// Takes the cache away, so that the next telling has the members' machine for itself.
async fn end(c: &Context, cache: &str) -> Result {
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
        for boundaries in 1..60 {
            let chosen = chosen(boundaries);
            assert!(!chosen.is_empty() && chosen.len() <= SHARE.max(1));
            assert!(chosen.iter().all(|at| (1..=boundaries).contains(at)), "{boundaries}");
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
