//! How long the world has looked the same: the memory behind "two equal observations".
//!
//! It lives in the process only. A restart forgets it, so that every proof is made anew by one
//! process; that costs time and never safety.

use std::collections::BTreeMap;
use std::time::Duration;

use xsld_journal::event::{Ordinal, StepKey};

use super::parts::{Part, Parts};
use crate::clock::Moment;

/// After this many probes without an answer the operation is parked.
pub const PROBES_MAX: u32 = 5;

/// Looks in a row that a member at rest may miss before its silence is told: a single slow answer
/// says nothing of the member, and a status that followed each of them would never rest.
pub const MISSES_MAX: u32 = 3;

/// What went so long ago is forgotten. Longer than any proof takes.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// What was seen of one cache over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// Each part as it was last, none once it went, and since when. Those that were never seen are as
    /// they are since the first look.
    parts: BTreeMap<Part, (Option<blake3::Hash>, Moment)>,
    /// The first look that counts.
    began: Option<Moment>,
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
    /// Since when the operation is seen to be parked.
    parked: Option<Moment>,
    /// The attempt that this very process sent last.
    pub sent_here: Option<StepKey>,
}

impl Watch {
    /// Takes the next look into account. A change of a part starts its settle time anew. `step` is the
    /// step in doubt now and `task` its task that is seen running, with its progress.
    #[must_use]
    pub fn observe(
        mut self,
        parts: Parts,
        now: Moment,
        step: Option<StepKey>,
        task: Option<(u64, Option<u8>)>,
    ) -> Self {
        self.note_parts(parts, now);
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
        self.now = now;
        self
    }

    fn note_parts(&mut self, parts: Parts, now: Moment) {
        if self.began.is_none() {
            // Nothing from before counts.
            self.parts.clear();
            self.began = Some(now);
        }
        for (part, known) in &mut self.parts {
            if known.0.is_some() && !parts.contains_key(part) {
                *known = (None, now);
            }
        }
        // What went so long ago is as good as never seen: nothing is asked for as long as that.
        self.parts.retain(|_, known| known.0.is_some() || now.since(known.1) < FORGOTTEN_AFTER);
        for (part, value) in parts {
            let known = self.parts.entry(part).or_insert((None, now));
            if known.0 != Some(value) {
                *known = (Some(value), now);
            }
        }
    }

    /// Counts a probe of the step in doubt, when what it rests on has been equal for `window`, which is
    /// as long as the proof that would end the doubt takes.
    pub fn count_probe(&mut self, equal_for: Duration, window: Duration) {
        let ran = equal_for.min(self.now.since(self.counted_at));
        if self.step.is_some() && ran >= window {
            self.probes = self.probes.saturating_add(1);
            self.counted_at = self.now;
        }
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

    /// Whether anything was seen since what was sent last.
    pub(super) fn has_looked(&self) -> bool {
        self.began.is_some()
    }

    /// How long ago the first look was since what was sent last.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| self.now.since(began))
    }

    /// For how long all looks have been equal in this part.
    pub(super) fn equal_for(&self, part: &Part) -> Duration {
        self.parts.get(part).map_or(self.elapsed(), |known| self.now.since(known.1))
    }

    /// For how long all looks have been equal in all parts of a kind that were ever seen.
    pub(super) fn equal_where(&self, counts: impl Fn(&Part) -> bool) -> Duration {
        let counted = self.parts.iter().filter(|(part, _)| counts(part));
        counted.map(|(_, known)| self.now.since(known.1)).fold(self.elapsed(), Duration::min)
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

    /// What the last observation did not decide.
    pub fn undecided(&self) -> Option<&str> {
        self.undecided.as_deref()
    }

    /// How long the same could not be decided, whatever else changed meanwhile.
    pub fn undecided_for(&self) -> Duration {
        if self.undecided.is_some() { self.now.since(self.undecided_since) } else { Duration::ZERO }
    }

    /// Takes note of whether the operation is parked: probes are counted from nothing once it goes on.
    pub fn note_parked(&mut self, parked: bool) {
        match (parked, self.parked) {
            (true, None) => self.parked = Some(self.now),
            (false, Some(_)) => {
                self.parked = None;
                self.busy();
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// How long the operation has been seen to be parked; none while it is not.
    pub(super) fn parked_for(&self) -> Option<Duration> {
        self.parked.map(|since| self.now.since(since))
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

    /// Imagines that something is sent now: whatever is proven by two looks begins anew.
    pub(crate) fn imagine_change(&mut self) {
        self.began = self.began.map(|_| self.now);
        for known in self.parts.values_mut() {
            known.1 = self.now;
        }
    }

    /// Imagines the next look at this very moment.
    pub(crate) fn imagine_look(&mut self, parts: Parts) {
        self.note_parts(parts, self.now);
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
        self.began = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::parts::parts;
    use crate::decide::testing::World;

    const WINDOW: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    /// The next look at a group of so many, with its probe counted.
    fn look(
        watch: Watch,
        size: u32,
        now: u64,
        (key, task): (Option<StepKey>, Option<(u64, Option<u8>)>),
    ) -> Watch {
        let mut watch = watch.observe(parts(World::group(size).inputs()), at(now), key, task);
        watch.count_probe(all(&watch), WINDOW);
        watch
    }

    fn all(watch: &Watch) -> Duration {
        watch.equal_where(|_| true)
    }

    fn key() -> Option<StepKey> {
        Some(StepKey(uuid::Uuid::from_u128(7)))
    }

    #[test]
    fn a_change_starts_the_settle_time_anew() {
        let mut watch = Watch::default();
        assert!(!watch.has_looked());
        for (now, size, equal_for) in [(0, 2, 0), (19, 2, 19), (20, 3, 0), (40, 3, 20)] {
            watch = look(watch, size, now, (None, None));
            assert_eq!(all(&watch), Duration::from_secs(equal_for), "{now}");
        }
        assert_eq!(watch.elapsed(), Duration::from_secs(40));
        watch.unsettle();
        assert!(!watch.has_looked(), "what follows is proven anew");
        watch = look(watch, 3, 41, (None, None));
        assert_eq!((all(&watch), watch.elapsed()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_part_that_comes_or_goes_has_changed_and_one_that_was_never_there_has_not() {
        let mut watch = Watch::default();
        for (now, size) in [(0, 3), (60, 2), (70, 2)] {
            watch = look(watch, size, now, (None, None));
        }
        let for_seconds = |watch: &Watch, at| watch.equal_for(&Part::Process(at)).as_secs();
        assert_eq!(for_seconds(&watch, 2), 10, "it went");
        assert_eq!(for_seconds(&watch, 7), 70, "it was never there");
        assert_eq!(for_seconds(&watch, 0), 10, "it lists other members");
        watch = look(watch, 3, 75, (None, None));
        assert_eq!(for_seconds(&watch, 2), 0, "it came");
    }

    #[test]
    fn only_probes_that_ran_their_full_time_are_counted() {
        let mut watch = Watch::default();
        for second in 0..=100 {
            watch = look(watch, 2, second, (key(), None));
        }
        assert_eq!(watch.probes(), PROBES_MAX);
        watch = look(watch, 2, 101, (key(), Some((1, None))));
        assert_eq!(watch.probes(), 0, "a task seen running resets the count");
    }

    #[test]
    fn a_primary_that_is_seen_once_starts_its_grace_anew() {
        let mut watch = Watch::default();
        for (second, lost) in [(0, Some(0)), (30, Some(0)), (40, None), (50, Some(0))] {
            watch = look(watch, 2, second, (None, None));
            watch.note_lost_primary(lost);
        }
        watch = look(watch, 2, 60, (None, None));
        watch.note_lost_primary(Some(0));
        assert_eq!(watch.primary_lost_for(0), Duration::from_secs(10));
        assert_eq!(watch.primary_lost_for(1), Duration::ZERO);
    }

    #[test]
    fn an_imagined_rest_ripens_proofs_and_is_held_against_nobody() {
        let task = Some((1, Some(50)));
        let mut watch = look(look(Watch::default(), 2, 0, (key(), task)), 2, 60, (key(), task));
        watch.note_roll(Some((1, 1)));
        assert_eq!(watch.stalled_for(), Duration::from_secs(60));
        watch.imagine_change();
        assert_eq!((all(&watch), watch.elapsed()), (Duration::ZERO, Duration::ZERO));
        watch.imagine_rest(WINDOW);
        assert_eq!(watch.now(), at(80));
        assert_eq!(all(&watch), WINDOW);
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
        let mut watch = Watch::default();
        for second in 0..200 {
            watch = look(watch, 2, second, (key(), None));
            watch.busy();
        }
        assert_eq!(watch.probes(), 0);
    }

    #[test]
    fn a_world_that_keeps_changing_is_never_counted() {
        let mut watch = Watch::default();
        for second in 0..200_u64 {
            let size = if second / 10 % 2 == 0 { 2 } else { 3 };
            watch = look(watch, size, second, (key(), None));
        }
        assert_eq!(watch.probes(), 0);
    }
}
