//! The operator is killed at random moments, again and again, while members come and go.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::bootstrap::MINUTE;
use crate::context::{Context, Kind};
use crate::{Result, Scenario};

/// How many kills there are, unless [`KILLS`] says otherwise.
const DEFAULT_KILLS: u32 = 12;
const KILLS: &str = "XSLD_KILLS";
/// Makes a run of before again: the same moments of the same kills.
const SEED: &str = "XSLD_SEED";

/// A life of the operator ends after at most so long. A join takes 3 s and a disjoin 5 s at this
/// time scale, so that most kills fall into one.
const LIFE_MAX: Duration = Duration::from_millis(4000);

pub(super) fn scenarios() -> Vec<Scenario> {
    let kills = std::env::var(KILLS).ok().and_then(|text| text.parse().ok());
    let kills = kills.unwrap_or(DEFAULT_KILLS);
    // Many kills are shared out among caches that are worked on side by side.
    let shares = kills.div_ceil(DEFAULT_KILLS).max(1);
    let share = |number: u32| {
        let mine = kills / shares + u32::from(number < kills % shares);
        let name = match shares {
            1 => "random::kills_repeat_and_lose_nothing".to_owned(),
            _ => format!("random::kills_repeat_and_lose_nothing/{}", number + 1),
        };
        Scenario::new(name, move |c| Box::pin(killed_at_random(c, number, mine)))
    };
    (0..shares).map(share).collect()
}

/// Numbers that look random and come again with the same seed.
struct Dice {
    seed: u64,
    rolled: u64,
}

impl Dice {
    /// Between 0 and `below`, `below` excluded.
    fn roll(&mut self, below: u64) -> u64 {
        self.rolled += 1;
        let hash = blake3::hash(format!("{}/{}", self.seed, self.rolled).as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(bytes) % below.max(1)
    }
}

fn seed() -> u64 {
    let given = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(uuid::Uuid::new_v4().as_fields().0))
}

async fn killed_at_random(c: &Context, number: u32, kills: u32) -> Result {
    let seed = seed();
    let mut dice = Dice { seed, rolled: u64::from(number) << 32 };
    let begun = Instant::now();
    c.create("c", 2).await?;
    let mut size = 2;
    for _ in 0..kills {
        let life = dice.roll(LIFE_MAX.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(life)).await;
        c.kill_operator().await?;
        if dice.roll(3) == 0 {
            size = 1 + u32::try_from(dice.roll(3))?;
            c.resize("c", size).await?;
        }
        c.start_operator_now().await?;
    }
    let outcome = converged(c, size).await;
    let (joins, disjoins) = (c.count("join_started", "")?, c.count("disjoin_started", "")?);
    let claims = c.history.of(Kind::Claim).iter().filter(|change| change.gone).count();
    let records = c.records()?.len();
    crate::runner::say(&format!(
        "{}: {SEED}={seed}, {kills} kills, {joins} joins, {disjoins} disjoins, {claims} claims \
         gone, {records} records, {:.0} s",
        c.name,
        begun.elapsed().as_secs_f64()
    ));
    outcome.map_err(|error| error.context(format!("with {SEED}={seed}")))
}

async fn converged(c: &Context, size: u32) -> Result {
    c.ready("c", size, 4 * MINUTE).await?;
    let claims = c.list(Kind::Claim).await?;
    ensure!(claims.len() == size as usize, "{} claims for {size} members", claims.len());
    Ok(())
}
