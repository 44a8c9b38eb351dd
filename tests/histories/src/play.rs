//! Tells a script in a world: the acts, then healing, then the goal within its bound, then rest.

use std::time::Duration;

use crate::evidence::{End, Evidence, Played, Seen};
use crate::goal::Goal;
use crate::script::{Condition, Script, Wait};
use crate::world::{Broken, Result, World};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(150);

/// Between two looks at what grids hold.
const TEND: Duration = Duration::from_millis(1500);

/// Tells a script, and gives back what was seen.
///
/// # Errors
/// When the world fails, or the script makes no sense.
pub async fn play<W: World>(world: &W, script: &Script) -> Result<Evidence> {
    let goal = Goal::of(script).map_err(Broken)?;
    let mut telling = Telling { world, goal: &goal, played: Vec::new(), tended_us: 0 };
    for number in 1..=script.steps.len() {
        telling.step(script, number).await?;
    }
    let end = telling.end().await?;
    let played = telling.played;
    let seen: Seen = world.seen(script).await?;
    Ok(Evidence { goal, played, seen, end })
}

struct Telling<'a, W> {
    world: &'a W,
    goal: &'a Goal,
    played: Vec<Played>,
    tended_us: i64,
}

impl<W: World> Telling<'_, W> {
    async fn step(&mut self, script: &Script, number: usize) -> Result {
        let step = &script.steps[number - 1];
        self.wait(&step.wait).await?;
        let at_us = self.world.now_us();
        let done = self.world.act(&step.act).await?;
        let until_us = self.world.now_us();
        self.played.push(Played { number, at_us, until_us, act: step.act.clone(), done });
        Ok(())
    }

    async fn wait(&mut self, wait: &Wait) -> Result {
        let begun_us = self.world.now_us();
        let at_most_us = i64::try_from(wait.at_most_ms).unwrap_or(i64::MAX / 1000) * 1000;
        self.world.watch(&wait.until).await?;
        while wait.until != Condition::Nothing
            && self.world.now_us() - begun_us < at_most_us
            && !(wait.until != Condition::Time && self.world.has_come(&wait.until).await?)
        {
            self.pass().await?;
        }
        Ok(())
    }

    async fn pass(&mut self) -> Result {
        self.world.pass(LOOK).await?;
        if self.world.now_us() - self.tended_us > micros(TEND) {
            self.world.tend().await?;
            self.tended_us = self.world.now_us();
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<End> {
        self.world.heal(self.goal).await?;
        let mut end = End { healed_us: self.world.now_us(), ..End::default() };
        let until_us = end.healed_us + micros(self.goal.bound());
        loop {
            end.missing = self.world.missing(self.goal).await?;
            if end.missing.is_empty() {
                end.reached_us = Some(self.world.now_us());
                break;
            }
            if self.world.now_us() > until_us {
                return Ok(end);
            }
            self.pass().await?;
        }
        end.found = self.world.rest().await?;
        let rested_us = self.world.now_us();
        if end.found.is_empty() {
            self.world.pass(QUIET).await?;
            end.quiet_us = Some((rested_us, self.world.now_us()));
        }
        self.world.tend().await?;
        Ok(end)
    }
}

/// Several polls of a cache at rest.
const QUIET: Duration = Duration::from_millis(2500);

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 2)
}
