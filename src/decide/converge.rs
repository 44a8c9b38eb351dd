//! The same thing done again and again: what somebody or something undoes each time is not done for
//! ever.
//!
//! An operation that answers to the world and not to a change of the spec (a repair, a grid set back)
//! is not begun once it was done [`REPEATS_MAX`] times, for the same reason, within a while
//! ([`crate::times::Times::converge`]). A person is told. The journal counts, so a restart forgets
//! nothing; when the oldest of them is long enough ago it is tried again, so that nothing waits for
//! ever either. Another spec has other reasons, and begins at once.

use xsld_journal::audit::time_text;
use xsld_journal::event::{Cause, Goal, OperationKind};
use xsld_journal::state::{REPEATS_KEPT, Repeat};

use super::{Decision, Inputs};
use crate::crd::conditions::ConditionReason as Reason;

/// How often the same is done within a while before it is left alone.
pub const REPEATS_MAX: usize = REPEATS_KEPT;

/// Begins an operation, or waits where the same was done too often.
pub(super) fn begin(inputs: Inputs<'_>, kind: OperationKind, goal: Goal, cause: Cause) -> Decision {
    held(inputs, kind, &goal, &cause).unwrap_or(Decision::Begin { kind, goal, cause })
}

/// The first decision; where there is nothing to do, or only something that is left alone, the next.
pub(super) fn first(decision: Decision, next: impl FnOnce() -> Decision) -> Decision {
    match decision {
        Decision::Rest => next(),
        Decision::Wait(held) if held.reason == Reason::NotConverging => match next() {
            Decision::Rest => Decision::Wait(held),
            decision => decision,
        },
        decision => decision,
    }
}

/// The first decision that is more than a wait; else the first wait. For what may go on side by side
/// while no operation is open.
pub(super) fn any(decision: Decision, next: impl FnOnce() -> Decision) -> Decision {
    match decision {
        Decision::Rest => next(),
        Decision::Wait(waits) => match next() {
            Decision::Rest | Decision::Wait(_) => Decision::Wait(waits),
            decision => decision,
        },
        decision => decision,
    }
}

/// Why this very operation is left alone, if it is.
pub(super) fn held(
    inputs: Inputs<'_>,
    kind: OperationKind,
    goal: &Goal,
    cause: &Cause,
) -> Option<Decision> {
    if !kind.answers_to_the_world() {
        return None;
    }
    let window = i64::try_from(inputs.times.converge.as_micros()).unwrap_or(i64::MAX);
    let since = inputs.now_us.saturating_sub(window);
    let is_same =
        |repeat: &&Repeat| repeat.kind == kind && repeat.cause == *cause && repeat.ended_us > since;
    let repeats = inputs.state.tried_for(goal).map(|tried| &tried.repeats);
    let same: Vec<_> = repeats.into_iter().flatten().filter(is_same).collect();
    let oldest = same.len().checked_sub(REPEATS_MAX).and_then(|first| same.get(first))?;
    let message = format!(
        "{}: that was put right {REPEATS_MAX} times since {} and did not last; it is tried again \
         after {}, or when the spec changes",
        cause.reason,
        time_text(oldest.begun_us),
        time_text(oldest.ended_us.saturating_add(window)),
    );
    Some(Decision::wait(Reason::NotConverging, message))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xsld_journal::event::{End, Event, Step};

    use super::*;
    use crate::decide::testing::World;

    fn cause(generation: i64, reason: &str) -> Cause {
        Cause { generation, reason: reason.to_owned() }
    }

    fn goal() -> Goal {
        Goal::Members { size: 2, catalogs: 3 }
    }

    /// A group of two in which the same was done so many times, a minute apart each.
    fn done(kind: OperationKind, times: i64) -> World {
        let mut world = World::group(2);
        for round in 1..=times {
            world.time_us = round * 60_000_000;
            world.apply(Event::OperationBegun {
                kind,
                goal: goal(),
                cause: cause(1, "c-1 is lost"),
            });
            world.apply(Event::OperationEnded { end: End::Succeeded });
        }
        world
    }

    fn begins(world: &World, kind: OperationKind, cause: Cause) -> bool {
        matches!(begin(world.inputs(), kind, goal(), cause), Decision::Begin { .. })
    }

    #[test]
    fn the_same_is_not_done_for_ever_but_again_after_a_while_or_for_another_spec() {
        let kind = OperationKind::Repair;
        assert!(begins(&done(kind, 2), kind, cause(1, "c-1 is lost")));
        let mut world = done(kind, 3);
        let Decision::Wait(waiting) = begin(world.inputs(), kind, goal(), cause(1, "c-1 is lost"))
        else {
            panic!("it is done for ever");
        };
        assert_eq!(waiting.reason, Reason::NotConverging);
        assert!(waiting.message.starts_with("c-1 is lost: "), "{}", waiting.message);
        assert!(waiting.message.contains("1970-01-01T00:01:00"), "{}", waiting.message);
        assert!(begins(&world, kind, cause(2, "c-1 is lost")), "another spec");
        assert!(begins(&world, kind, cause(1, "c-0 is lost")), "another member");
        world.time_us = 60_000_000 + i64::try_from(world.times.converge.as_micros()).unwrap();
        assert!(begins(&world, kind, cause(1, "c-1 is lost")), "the first was long ago");
    }

    #[test]
    fn what_the_spec_asks_for_and_a_lost_primary_are_never_held_back() {
        for kind in [OperationKind::ScaleUp, OperationKind::PrimarySwitch, OperationKind::Delete] {
            assert!(begins(&done(kind, 5), kind, cause(1, "c-1 is lost")), "{kind:?}");
        }
    }

    #[test]
    fn a_member_that_is_lost_again_and_again_is_not_joined_for_ever() {
        let mut world = World::group(3);
        world.wanted.replicate = false;
        let mut joins = 0;
        for _ in 0..10 {
            world.time_us += 60_000_000;
            // Somebody takes it out of the group by hand.
            world.everybody_lists(&[0, 1]);
            world.report(2, &[2]);
            for _ in 0..12 {
                let decision = world.settled();
                if let Decision::Run { step: step @ Step::JoinMember { .. }, .. } = decision {
                    joins += 1;
                    world.run_and_succeed(step);
                    world.everybody_lists(&[0, 1, 2]);
                } else {
                    world.follow(decision);
                }
            }
        }
        assert_eq!(joins, REPEATS_MAX);
        let Decision::Wait(waiting) = world.settled() else { panic!("{:?}", world.settled()) };
        assert_eq!(waiting.reason, Reason::NotConverging, "{}", waiting.message);
        world.time_us += i64::try_from(Duration::from_secs(3600).as_micros()).unwrap();
        assert!(matches!(world.settled(), Decision::Begin { .. }), "it is never tried again");
    }
}
