//! What somebody else changed on an object of ours, and how often it was set back: never for ever.
//!
//! The same is set back three times within a while ([`crate::times::Times::converge`]), then it is
//! left alone until that has passed since the first. What the API server itself writes otherwise,
//! as an admission policy or webhook has it, is tried once in that time for each thing to be
//! written: nothing that is sent again would end otherwise. The memory lives in the process only.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Findings, Memories, Thing};
use crate::clock::Moment;
use crate::controller::Context;
use crate::crd::ConditionReason as Reason;
use crate::decide::Waiting;
use crate::decide::converge::REPEATS_MAX;
use crate::events::Note;
use crate::manifests::Edits;

/// Times that anything at all is set back on one object within a while.
const ALL_MAX: usize = 4 * REPEATS_MAX;

/// Things to be written that the API server wrote otherwise, of one object.
const REWRITTEN_MAX: usize = 8;

/// What becomes of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is set back.
    SetBack,
    /// It was set back often enough: it is left alone for a while.
    LeftAlone,
    /// The API server writes the object so, whoever sends what.
    Policy,
}

/// What was set back on one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Setbacks {
    /// What the object was to be when it was so last.
    well: Option<String>,
    /// Who changed what, each time that it was set back.
    done: VecDeque<(String, Moment)>,
    /// What was to be written and came out otherwise: how, and when that was tried.
    rewritten: VecDeque<(String, Edits, Moment)>,
    /// What stands now and is not set back.
    standing: Option<(Edits, Fate)>,
}

impl Setbacks {
    /// Whether somebody else changed it: the object says so, or it was as it is to be before.
    fn is_of_others(&self, edits: &Edits, wish: &str) -> bool {
        edits.are_of_others() || self.well.as_deref() == Some(wish)
    }

    /// What becomes of this edit of an object that is to be as `wish`.
    fn fate(&self, edits: &Edits, wish: &str, now: Moment, window: Duration) -> Fate {
        let recent = |at: &Moment| now.since(*at) < window;
        let is_rewritten = self.rewritten.iter().any(|(wished, as_written, at)| {
            wished == wish && recent(at) && edits.are_among(as_written)
        });
        if is_rewritten {
            return Fate::Policy;
        }
        let key = edits.key();
        let done = || self.done.iter().filter(|(_, at)| recent(at));
        let same = done().filter(|(who, _)| *who == key).count();
        let often = same >= REPEATS_MAX || done().count() >= ALL_MAX;
        match often && self.is_of_others(edits, wish) {
            true => Fate::LeftAlone,
            false => Fate::SetBack,
        }
    }

    /// It was written: what it was before, and how it came out. Gives whether somebody else's edit
    /// was set back by that.
    fn wrote(&mut self, wish: &str, (before, after): (&Edits, Edits), now: Moment) -> bool {
        let of_others = !before.is_empty() && self.is_of_others(before, wish);
        if of_others {
            self.done.push_back((before.key(), now));
            if self.done.len() > ALL_MAX {
                self.done.pop_front();
            }
        }
        self.rewritten.retain(|(wished, _, _)| wished != wish);
        if after.is_empty() {
            self.is_well(wish);
            return of_others;
        }
        self.rewritten.push_back((wish.to_owned(), after.clone(), now));
        if self.rewritten.len() > REWRITTEN_MAX {
            self.rewritten.pop_front();
        }
        let left = before.all.iter().all(|edit| after.all.iter().any(|it| it.path == edit.path));
        self.standing = Some((after, Fate::Policy));
        of_others && !left
    }

    /// The object is as it should be.
    fn is_well(&mut self, wish: &str) {
        self.well = Some(wish.to_owned());
        self.standing = None;
    }

    /// What is told of what stands.
    fn told(&self, thing: &Thing, window: Duration) -> Option<Waiting> {
        let (edits, fate) = self.standing.as_ref()?;
        let (object, minutes) = (thing.words(), window.as_secs().div_ceil(60));
        match fate {
            Fate::SetBack => None,
            Fate::LeftAlone => Some(Waiting::new(
                Reason::NotConverging,
                format!(
                    "{} changes {} of the {object} again and again: it was set back often enough \
                     and is left alone until {minutes} min have passed since the first time; find \
                     out why, and {} instead",
                    edits.who(),
                    edits.paths(),
                    edits.instead(),
                ),
            )),
            Fate::Policy => Some(Waiting::new(
                Reason::ForeignEdit,
                format!(
                    "whatever the operator writes, the API server stores another {} of the \
                     {object}, as an admission policy or webhook has it: that stands, and is tried \
                     again every {minutes} min",
                    edits.paths(),
                ),
            )),
        }
    }
}

impl Memories {
    /// What becomes of an edit of an object that is to be as `wish`.
    pub fn fate(&self, context: &Context, uid: &str, thing: &Thing, of: (&Edits, &str)) -> Fate {
        let (now, window) = (context.clock.now(), context.times.converge);
        let memory = self.of(uid);
        let setbacks = memory.setbacks.get(thing);
        setbacks.map_or(Fate::SetBack, |setbacks| setbacks.fate(of.0, of.1, now, window))
    }
}

impl Findings<'_> {
    /// Whether an object that is to be as `wish` is written over what others made of it.
    pub fn sets_back(&mut self, thing: &Thing, wish: &str, edits: &Edits) -> bool {
        let (now, window) = (self.context.clock.now(), self.context.times.converge);
        let setbacks = self.memory.setbacks.entry(thing.clone()).or_default();
        let fate = setbacks.fate(edits, wish, now, window);
        if fate == Fate::SetBack {
            return true;
        }
        setbacks.standing = Some((edits.clone(), fate));
        false
    }

    /// An object was written: what others had made of it, and what it is now beside `wish`.
    pub fn was_written(&mut self, thing: &Thing, wish: &str, (before, after): (&Edits, Edits)) {
        let now = self.context.clock.now();
        let setbacks = self.memory.setbacks.entry(thing.clone()).or_default();
        if setbacks.wrote(wish, (before, after), now) {
            self.notes.push(set_back(thing, before));
        }
    }

    /// An object is as it is to be.
    pub fn is_as_wished(&mut self, thing: &Thing, wish: &str) {
        self.memory.setbacks.entry(thing.clone()).or_default().is_well(wish);
        self.is_well(thing);
    }

    /// What others made of the cache's objects and stands: the StatefulSet's first.
    pub fn edited(&self) -> Vec<Waiting> {
        let window = self.context.times.converge;
        let all = self.memory.setbacks.iter();
        let mut all: Vec<_> = all
            .filter_map(|(thing, setbacks)| Some((thing, setbacks.told(thing, window)?)))
            .collect();
        all.sort_by_key(|(thing, _)| thing.kind != "StatefulSet");
        all.into_iter().map(|(_, told)| told).collect()
    }
}

fn set_back(thing: &Thing, edits: &Edits) -> Note {
    Note {
        reason: "ForeignEdit",
        warning: true,
        message: format!(
            "{} changed {} of the {}; it was set back. Instead, {}",
            edits.who(),
            edits.places(),
            thing.words(),
            edits.instead(),
        ),
        operation: None,
        seq: None,
        action: "SetBack",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::Edit;

    const WINDOW: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn edits(by: Option<&str>, paths: &[&str]) -> Edits {
        let edit = |path: &&str| Edit {
            by: by.map(str::to_owned),
            path: (*path).to_owned(),
            at: None,
            is_added: false,
        };
        Edits { all: paths.iter().map(edit).collect(), removal: None }
    }

    /// Writes over it where that may be.
    fn met(setbacks: &mut Setbacks, found: &Edits, wish: &str, now: Moment) -> Fate {
        let fate = setbacks.fate(found, wish, now, WINDOW);
        if fate == Fate::SetBack {
            setbacks.wrote(wish, (found, Edits::default()), now);
        } else {
            setbacks.standing = Some((found.clone(), fate));
        }
        fate
    }

    #[test]
    fn the_same_edit_is_set_back_three_times_an_hour_and_another_one_at_once() {
        let mut setbacks = Setbacks::default();
        let image = edits(Some("tool"), &["spec.image"]);
        for round in 0..3 {
            assert_eq!(met(&mut setbacks, &image, "w", at(round)), Fate::SetBack);
        }
        assert_eq!(
            setbacks.fate(&edits(Some("me"), &["spec.image"]), "w", at(9), WINDOW),
            Fate::SetBack
        );
        assert_eq!(met(&mut setbacks, &image, "w", at(10)), Fate::LeftAlone);
        let told = setbacks.told(&Thing::new("Service", "c"), WINDOW).unwrap();
        assert_eq!(told.reason, Reason::NotConverging);
        assert!(told.message.starts_with("tool changes spec.image of the Service c"), "{told:?}");
        assert_eq!(met(&mut setbacks, &image, "w", at(3600)), Fate::SetBack, "never again");
        assert_eq!(setbacks.told(&Thing::new("Service", "c"), WINDOW), None);
    }

    #[test]
    fn who_changes_something_else_each_time_is_not_followed_for_ever() {
        let mut setbacks = Setbacks::default();
        let fates = (0..100).map(|round| {
            let edit = edits(Some("tool"), &[&format!("spec.x{round}")]);
            met(&mut setbacks, &edit, "w", at(round))
        });
        let fates: Vec<_> = fates.collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::SetBack).count(), ALL_MAX);
    }

    #[test]
    fn what_nobody_owns_counts_only_where_the_object_was_as_it_is_to_be() {
        let mut setbacks = Setbacks::default();
        let open = edits(None, &["spec.maxUnavailable"]);
        // A wish of ours that changes to and fro.
        for round in 0..50 {
            let wish = if round % 2 == 0 { "none" } else { "one" };
            assert_eq!(met(&mut setbacks, &open, wish, at(round)), Fate::SetBack);
        }
        // Somebody takes away what we set.
        let fates: Vec<_> = (50..60).map(|at_| met(&mut setbacks, &open, "one", at(at_))).collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::SetBack).count(), 3);
    }

    #[test]
    fn what_the_api_server_writes_otherwise_is_tried_once_for_each_wish() {
        let mut setbacks = Setbacks::default();
        let image = edits(None, &["spec.image"]);
        assert!(!setbacks.wrote("w", (&image, image.clone()), at(0)), "nothing was set back");
        assert_eq!(setbacks.fate(&image, "w", at(1), WINDOW), Fate::Policy);
        let told = setbacks.told(&Thing::new("StatefulSet", "c"), WINDOW).unwrap();
        assert_eq!(told.reason, Reason::ForeignEdit);
        assert_eq!(setbacks.fate(&image, "another", at(1), WINDOW), Fate::SetBack);
        let more = edits(Some("kubectl"), &["spec.image", "spec.env"]);
        assert_eq!(setbacks.fate(&more, "w", at(1), WINDOW), Fate::SetBack, "a person's as well");
        assert!(setbacks.wrote("w", (&more, image.clone()), at(2)), "the person's was set back");
        assert_eq!(setbacks.fate(&image, "w", at(3602), WINDOW), Fate::SetBack, "it may be gone");
    }
}
