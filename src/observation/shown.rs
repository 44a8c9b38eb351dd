//! What a member of the group shows of things that have names: grids, templates.
//!
//! Each of them is asked for by itself, so each has its own three answers. One that cannot be read
//! is one unknown thing, and says nothing of the others.

use std::collections::BTreeMap;

use super::Observation;
use crate::xsld::view::{Answer, GridStatus, GridView};

/// Things by their names, as one member of the group shows them. What is neither there nor unread
/// is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<T> {
    there: BTreeMap<String, T>,
    unread: BTreeMap<String, Unread>,
}

/// A thing that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Why not, fit for a condition.
    pub reason: String,
    /// What the list of all grids tells of it; none when it is not listed, or is no grid. The list
    /// tells no fields.
    pub listed: Option<GridStatus>,
}

/// How one thing is shown: three answers, never two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight<'a, T> {
    /// It is there.
    There(&'a T),
    /// It is not.
    Absent,
    /// It cannot be read: whether and how it is there is not known.
    Unread(&'a Unread),
}

impl<T> Shown<T> {
    /// How the thing of that name is shown.
    pub fn sight(&self, name: &str) -> Sight<'_, T> {
        match (self.unread.get(name), self.there.get(name)) {
            (Some(unread), _) => Sight::Unread(unread),
            (None, Some(there)) => Sight::There(there),
            (None, None) => Sight::Absent,
        }
    }

    /// Those that were read, by name.
    pub fn there(&self) -> &BTreeMap<String, T> {
        &self.there
    }

    /// The same, to be changed.
    pub fn there_mut(&mut self) -> &mut BTreeMap<String, T> {
        &mut self.there
    }

    /// Those that could not be read, by name.
    pub fn unread(&self) -> &BTreeMap<String, Unread> {
        &self.unread
    }

    /// It is there.
    pub fn insert(&mut self, name: String, thing: T) {
        self.unread.remove(&name);
        self.there.insert(name, thing);
    }

    /// It is not there.
    pub fn remove(&mut self, name: &str) {
        self.unread.remove(name);
        self.there.remove(name);
    }

    /// It could not be read.
    pub fn cannot_read(&mut self, name: String, unread: Unread) {
        self.there.remove(&name);
        self.unread.insert(name, unread);
    }
}

impl Shown<GridView> {
    /// Every grid that is there or may be, with its status where that is known: for one that could
    /// not be read, the status that the list of all grids tells.
    pub fn statuses(&self) -> impl Iterator<Item = (&str, Option<&GridStatus>)> {
        let read = self.there.iter().map(|(name, grid)| (name.as_str(), Some(&grid.status)));
        let unread = self.unread.iter().map(|(name, grid)| (name.as_str(), grid.listed.as_ref()));
        read.chain(unread)
    }
}

impl Observation {
    /// The grid of that name, none where the group has no such grid; or why that cannot be told.
    ///
    /// # Errors
    /// When no member tells its grids, or this one cannot be read.
    pub fn grid(&self, name: &str) -> Result<Option<&GridView>, String> {
        one_of(self.grids.as_ref(), "grid", name)
    }

    /// The digest of the template of that name, none where the group has no such template; or why
    /// that cannot be told.
    ///
    /// # Errors
    /// When no member tells its templates, or this one cannot be read.
    pub fn template(&self, name: &str) -> Result<Option<&String>, String> {
        one_of(self.templates.as_ref(), "template", name)
    }
}

fn one_of<'a, T>(
    shown: Option<&'a Answer<Shown<T>>>,
    kind: &str,
    name: &str,
) -> Result<Option<&'a T>, String> {
    match shown {
        None => Err(format!("no member of the group tells its {kind}s just now")),
        Some(Answer::Refused { status, .. }) => {
            Err(format!("the group refuses to tell its {kind}s ({status})"))
        }
        Some(Answer::Unknown { .. }) => {
            Err(format!("the group's answer about its {kind}s was not understood or did not come"))
        }
        Some(Answer::Known(shown)) => match shown.sight(name) {
            Sight::There(thing) => Ok(Some(thing)),
            Sight::Absent => Ok(None),
            Sight::Unread(unread) => {
                Err(format!("{kind} {name} cannot be read: {}", unread.reason))
            }
        },
    }
}

impl<T> Default for Shown<T> {
    fn default() -> Self {
        Self { there: BTreeMap::new(), unread: BTreeMap::new() }
    }
}

impl<T> From<BTreeMap<String, T>> for Shown<T> {
    fn from(there: BTreeMap<String, T>) -> Self {
        Self { there, unread: BTreeMap::new() }
    }
}

impl<T, const N: usize> From<[(String, T); N]> for Shown<T> {
    fn from(there: [(String, T); N]) -> Self {
        BTreeMap::from(there).into()
    }
}

impl<T> FromIterator<(String, T)> for Shown<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(all: I) -> Self {
        all.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_there_or_absent_or_unread_and_never_two_of_them() {
        let mut shown = Shown::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let unread = Unread { reason: "refused (403)".to_owned(), listed: None };
        shown.cannot_read("b".to_owned(), unread.clone());
        assert_eq!(shown.sight("a"), Sight::There(&1));
        assert_eq!(shown.sight("b"), Sight::Unread(&unread));
        assert_eq!(shown.sight("c"), Sight::Absent);
        assert_eq!(shown.there().len(), 1);
        shown.insert("b".to_owned(), 3);
        assert_eq!(shown.sight("b"), Sight::There(&3));
        shown.cannot_read("b".to_owned(), unread);
        shown.remove("b");
        assert_eq!(shown.sight("b"), Sight::Absent);
    }
}
