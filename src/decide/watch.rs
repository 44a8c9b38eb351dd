//! How long the world has looked the same: the memory behind "two equal observations".
//!
//! It lives in the process only. A restart forgets it, so that every proof is made anew by one
//! process; that costs time and never safety.

use std::time::Duration;

use xsld_journal::event::{Ordinal, StepKey};

use crate::clock::Moment;
use crate::observation::Stable;

/// After this many probes without an answer the operation is parked.
pub const PROBES_MAX: u32 = 5;

/// Looks in a row that a member at rest may miss before its silence is told: a single slow answer
/// says nothing of the member, and a status that followed each of them would never rest.
pub const MISSES_MAX: u32 = 3;

/// What was seen of one cache over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    stable: Option<Stable>,
    /// Since when every observation was equal.
    since: Moment,
    now: Moment,
    /// The step in doubt that probes are counted for.
    step: Option<StepKey>,
    counted_at: Moment,
    probes: u32,
    /// The task of the step in doubt and its progress, and since when that is unchanged.
    task: Option<(u64, Option<u8>)>,
    task_since: Moment,
    /// The primary that no member sees, and since when.
    lost: Option<Ordinal>,
    lost_since: Moment,
    /// How far the roll has come, and since when.
    roll: Option<(u64, usize)>,
    roll_since: Moment,
    /// The attempts of an open deletion that lie behind, and since when there is no further one.
    deletion: Option<(u64, usize)>,
    deletion_since: Moment,
    /// Looks in a row in which a member at rest did not answer.
    missed: u32,
    /// The primary whose role could be moved, as it was when no answer was missing.
    movable: Option<Ordinal>,
    /// What could not be decided, and since when.
    undecided: Option<String>,
    undecided_since: Moment,
    /// The record by which a person last let the operation go on.
    retried: u64,
    /// The attempt that this very process sent last.
    pub sent_here: Option<StepKey>,
}

impl Watch {
    /// Takes the next observation into account. A change starts the settle time anew. `step` is
    /// the step in doubt now and `task` its task that is seen running, with its progress; `window` is
    /// the settle time that a probe must run to be counted.
    #[must_use]
    pub fn observe(
        mut self,
        stable: Stable,
        now: Moment,
        step: Option<StepKey>,
        task: Option<(u64, Option<u8>)>,
        window: Duration,
    ) -> Self {
        if self.stable.as_ref() != Some(&stable) {
            self.stable = Some(stable);
            self.since = now;
        }
        if self.step != step {
            self.step = step;
            self.probes = 0;
            self.counted_at = now;
        }
        if self.task != task {
            self.task = task;
            self.task_since = now;
        }
        if task.is_some() {
            // A task seen running is an answer: whatever was unknown before is known now.
            self.probes = 0;
            self.counted_at = now;
        }
        let probe_began = self.since.max(self.counted_at);
        if step.is_some() && now.since(probe_began) >= window {
            self.probes = self.probes.saturating_add(1);
            self.counted_at = now;
        }
        self.now = now;
        self
    }

    /// Another task runs: as long as that is seen, no probe is counted.
    pub fn busy(&mut self) {
        self.probes = 0;
        self.counted_at = self.now;
    }

    /// Takes note of the record by which a person last let the operation go on: probes are counted
    /// from nothing after a new one.
    pub fn note_retried(&mut self, retried: u64) {
        if self.retried != retried {
            self.retried = retried;
            self.undecided_since = self.now;
            self.busy();
        }
    }

    /// How long every observation has been equal to the last one.
    pub fn stable_for(&self) -> Duration {
        self.now.since(self.since)
    }

    /// Whether two equal observations lie at least `span` apart.
    pub fn settled(&self, span: Duration) -> bool {
        self.stable.is_some() && self.stable_for() >= span
    }

    /// Probes of the step in doubt that ran their full time and ended without an answer.
    pub fn probes(&self) -> u32 {
        self.probes
    }

    /// How long the running task has made no progress; zero while none runs.
    pub fn stalled_for(&self) -> Duration {
        if self.task.is_some() { self.now.since(self.task_since) } else { Duration::ZERO }
    }

    /// Takes note of the primary that no member sees in the last observation; none when one does.
    pub fn note_lost_primary(&mut self, lost: Option<Ordinal>) {
        if self.lost != lost {
            self.lost = lost;
            self.lost_since = self.now;
        }
    }

    /// How long no member has seen this primary; zero when one does.
    pub fn primary_lost_for(&self, primary: Ordinal) -> Duration {
        if self.lost == Some(primary) { self.now.since(self.lost_since) } else { Duration::ZERO }
    }

    /// Takes note of how far the roll has come in the last observation; none when none is open.
    pub fn note_roll(&mut self, roll: Option<(u64, usize)>) {
        if self.roll != roll {
            self.roll = roll;
            self.roll_since = self.now;
        }
    }

    /// How long the roll has not come to another member; zero when none is open.
    pub fn rolling_for(&self) -> Duration {
        if self.roll.is_some() { self.now.since(self.roll_since) } else { Duration::ZERO }
    }

    /// Takes note of the attempts of an open deletion that lie behind; none when none is open.
    pub fn note_deletion(&mut self, attempts: Option<(u64, usize)>) {
        if self.deletion != attempts {
            self.deletion = attempts;
            self.deletion_since = self.now;
        }
    }

    /// How long ago the last attempt of the open deletion ended, whatever the world looked like since.
    pub fn deletion_rests_for(&self) -> Duration {
        self.now.since(self.deletion_since)
    }

    /// Takes note of what the last observation does not decide; none when it decides.
    pub fn note_undecided(&mut self, what: Option<String>) {
        if self.undecided != what {
            self.undecided = what;
            self.undecided_since = self.now;
        }
    }

    /// How long the same could not be decided, whatever else changed meanwhile.
    pub fn undecided_for(&self) -> Duration {
        if self.undecided.is_some() { self.now.since(self.undecided_since) } else { Duration::ZERO }
    }

    /// Takes note of whether a member at rest did not answer in the last look.
    pub fn note_missed(&mut self, missed: bool) {
        self.missed = if missed { self.missed.saturating_add(1) } else { 0 };
    }

    /// Takes note of the primary whose role can be moved. A look or two that a member missed are no
    /// news of that either.
    pub fn note_movable(&mut self, primary: Option<Ordinal>) {
        if primary.is_some() || !self.is_hiccup() {
            self.movable = primary;
        }
    }

    /// The primary whose role can be moved.
    pub fn movable_primary(&self) -> Option<Ordinal> {
        self.movable
    }

    /// Whether a member at rest has just missed a look or two, and not yet [`MISSES_MAX`] in a row.
    pub fn is_hiccup(&self) -> bool {
        (1..MISSES_MAX).contains(&self.missed)
    }

    /// Whether the attempt was sent by another process than this one, or its answer was lost.
    pub fn found_by_probe(&self, key: StepKey) -> bool {
        self.sent_here != Some(key)
    }

    /// The moment of the last observation.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Imagines that the world changes now: whatever is proven by its being equal begins anew. Who
    /// plans knows what it changes, and observes nothing for that.
    pub(crate) fn imagine_change(&mut self) {
        self.since = self.now;
    }

    /// Imagines that nothing changes for `span`. Only proofs ripen in it: no probe of a step in
    /// doubt is counted, and no member that is to come back overruns its time.
    pub(crate) fn imagine_rest(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        self.roll_since = self.now;
        self.task_since = self.now;
        self.undecided_since = self.now;
        self.busy();
    }

    /// Forgets how long the world was equal: what comes next must be proven anew.
    pub fn unsettle(&mut self) {
        self.stable = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::World;

    const WINDOW: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn key() -> Option<StepKey> {
        Some(StepKey(uuid::Uuid::from_u128(7)))
    }

    #[test]
    fn a_change_starts_the_settle_time_anew() {
        let world = World::group(2);
        let mut watch = Watch::default();
        watch = watch.observe(world.seen().stable(), at(0), None, None, WINDOW);
        watch = watch.observe(world.seen().stable(), at(19), None, None, WINDOW);
        assert!(!watch.settled(WINDOW));
        watch = watch.observe(World::group(3).seen().stable(), at(20), None, None, WINDOW);
        assert!(!watch.settled(WINDOW));
        watch = watch.observe(World::group(3).seen().stable(), at(40), None, None, WINDOW);
        assert!(watch.settled(WINDOW));
    }

    #[test]
    fn only_probes_that_ran_their_full_time_are_counted() {
        let stable = World::group(2).seen().stable();
        let mut watch = Watch::default();
        for second in 0..=100 {
            watch = watch.observe(stable.clone(), at(second), key(), None, WINDOW);
        }
        assert_eq!(watch.probes(), PROBES_MAX);
        watch = watch.observe(stable.clone(), at(101), key(), Some((1, None)), WINDOW);
        assert_eq!(watch.probes(), 0, "a task seen running resets the count");
    }

    #[test]
    fn a_primary_that_is_seen_once_starts_its_grace_anew() {
        let stable = World::group(2).seen().stable();
        let mut watch = Watch::default();
        for (second, lost) in [(0, Some(0)), (30, Some(0)), (40, None), (50, Some(0))] {
            watch = watch.observe(stable.clone(), at(second), None, None, WINDOW);
            watch.note_lost_primary(lost);
        }
        watch = watch.observe(stable, at(60), None, None, WINDOW);
        watch.note_lost_primary(Some(0));
        assert_eq!(watch.primary_lost_for(0), Duration::from_secs(10));
        assert_eq!(watch.primary_lost_for(1), Duration::ZERO);
    }

    #[test]
    fn an_imagined_rest_ripens_proofs_and_is_held_against_nobody() {
        let world = World::group(2);
        let task = Some((1, Some(50)));
        let observe = |watch: Watch, now: u64| {
            watch.observe(world.seen().stable(), at(now), key(), task, WINDOW)
        };
        let mut watch = observe(observe(Watch::default(), 0), 60);
        watch.note_roll(Some((1, 1)));
        assert_eq!(watch.stalled_for(), Duration::from_secs(60));
        watch.imagine_change();
        assert!(!watch.settled(WINDOW));
        watch.imagine_rest(WINDOW);
        assert_eq!(watch.now(), at(80));
        assert!(watch.settled(WINDOW));
        let counted = (watch.probes(), watch.stalled_for(), watch.rolling_for());
        assert_eq!(counted, (0, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_silence_is_told_once_it_lasts_and_a_single_one_never() {
        let mut watch = Watch::default();
        assert!(!watch.is_hiccup(), "nothing was missed");
        for _ in 0..100 {
            watch.note_missed(true);
            assert!(watch.is_hiccup());
            watch.note_missed(false);
            assert!(!watch.is_hiccup());
        }
        let held: Vec<_> = (0..4)
            .map(|_| {
                watch.note_missed(true);
                watch.is_hiccup()
            })
            .collect();
        assert_eq!(held, [true, true, false, false]);
    }

    #[test]
    fn a_primary_stays_movable_through_a_hiccup_and_not_through_a_silence() {
        let mut watch = Watch::default();
        watch.note_movable(Some(1));
        for missed in 1..=MISSES_MAX {
            watch.note_missed(true);
            watch.note_movable(None);
            assert_eq!(watch.movable_primary().is_some(), missed < MISSES_MAX);
        }
        watch.note_missed(false);
        watch.note_movable(Some(1));
        watch.note_movable(None);
        assert_eq!(watch.movable_primary(), None, "nobody was silent");
    }

    #[test]
    fn no_probe_is_counted_while_another_task_is_seen() {
        let stable = World::group(2).seen().stable();
        let mut watch = Watch::default();
        for second in 0..200 {
            watch = watch.observe(stable.clone(), at(second), key(), None, WINDOW);
            watch.busy();
        }
        assert_eq!(watch.probes(), 0);
    }

    #[test]
    fn a_world_that_keeps_changing_is_never_counted() {
        let worlds = [World::group(2).seen().stable(), World::group(3).seen().stable()];
        let mut watch = Watch::default();
        for second in 0..200_u64 {
            let stable = worlds[(second / 10) as usize % 2].clone();
            watch = watch.observe(stable, at(second), key(), None, WINDOW);
        }
        assert_eq!(watch.probes(), 0);
    }
}
