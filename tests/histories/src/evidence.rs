//! What was seen of a history, as plain data. Times are microseconds since 1970.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::act::{Act, Kind};
use crate::goal::Goal;
use crate::world::Done;

/// An act that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Which one of the script, from 1.
    pub number: usize,
    /// When it began.
    pub at_us: i64,
    /// When it was done.
    pub until_us: i64,
    /// The act.
    pub act: Act,
    /// What came of it.
    pub done: Done,
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was seen.
    pub at_us: i64,
    /// Of which kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The object after the change; as it last was when it is gone.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
}

impl Change {
    /// Whether the object is on its way out or gone.
    pub fn is_going(&self) -> bool {
        self.gone || !self.object["metadata"]["deletionTimestamp"].is_null()
    }

    /// A condition of the object.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        let conditions = self.object["status"]["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == kind)
    }

    /// Whether its status answers to its spec.
    pub fn is_current(&self) -> bool {
        let generation = &self.object["metadata"]["generation"];
        !generation.is_null() && self.object["status"]["observedGeneration"] == *generation
    }
}

/// A call of a member that changes something, or an effect that came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// When.
    pub at_us: i64,
    /// The cache.
    pub cache: String,
    /// The member that it is about.
    pub member: String,
    /// The HTTP method; empty for an effect without a call.
    pub method: String,
    /// The path.
    pub path: String,
    /// The command of a task.
    pub command: String,
    /// The key that the operator sent with it.
    pub key: String,
    /// The HTTP status that was answered.
    pub status: u16,
    /// What came of it.
    pub effect: String,
}

/// A record of the journal, for the timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// When it was written.
    pub at_us: i64,
    /// Where it stands.
    pub seq: u64,
    /// What it says, in one line.
    pub told: String,
}

/// A step of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// When its intent was durable.
    pub at_us: i64,
    /// Where the intent stands.
    pub seq: u64,
    /// Its kind.
    pub kind: String,
    /// The member, where it is about one.
    pub member: Option<String>,
    /// The UID of the claim that it takes away.
    pub claim: Option<String>,
    /// The kind of its receipt.
    pub receipt: Option<String>,
    /// The event that ended it.
    pub outcome: Option<String>,
}

/// An entry that was put into a grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// The cache.
    pub cache: String,
    /// The grid.
    pub grid: String,
    /// The UID of the grid's object.
    pub uid: String,
    /// The entry's key.
    pub key: String,
    /// When it was last seen there.
    pub seen_us: i64,
    /// How many members there were then.
    pub members: u32,
    /// How many copies the grid asks for.
    pub copies: u32,
    /// Whether it is there in the end; none when nobody could be asked.
    pub held: Option<bool>,
}

/// Somebody else's object.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// As it was made.
    pub before: Value,
    /// As it was when everything was healed; null when it was gone.
    pub after: Value,
}

/// A life of the operator's process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// From when it was ready.
    pub from_us: i64,
    /// Until when; none when it runs.
    pub to_us: Option<i64>,
    /// How it ended by itself, where it did.
    pub ended: Option<String>,
}

/// How the operator's own check of its journal ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Its exit status.
    pub code: i32,
    /// What it said.
    pub told: String,
}

/// What a world saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Every change of the objects that matter.
    pub changes: Vec<Change>,
    /// What the members were asked, reads aside, and what came of it.
    pub calls: Vec<Call>,
    /// The journal, with what was lost of it.
    pub records: Vec<Record>,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Entries.
    pub entries: Vec<Entry>,
    /// Objects of others.
    pub foreign: Vec<Foreign>,
    /// Lives of the operator.
    pub lives: Vec<Life>,
    /// Times at which the operator stood still.
    pub frozen: Vec<(i64, i64)>,
    /// The check of the journal.
    pub check: Check,
}

/// How a history ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// When all was healed.
    pub healed_us: i64,
    /// When the goal was reached.
    pub reached_us: Option<i64>,
    /// What was still missing when the bound was over.
    pub missing: Vec<String>,
    /// From when to when nothing was to happen.
    pub quiet_us: Option<(i64, i64)>,
    /// What the world's own checks found.
    pub found: Vec<String>,
}

/// A whole history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What was asked for in the end.
    pub goal: Goal,
    /// What happened.
    pub played: Vec<Played>,
    /// What was seen.
    pub seen: Seen,
    /// How it ended.
    pub end: End,
}

impl Evidence {
    /// All changes of one object's name, oldest first.
    pub fn changes_of<'a>(
        &'a self,
        kind: Kind,
        name: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Change> + 'a {
        self.seen.changes.iter().filter(move |change| change.kind == kind && change.name == name)
    }

    /// Names of the objects of a kind that were ever seen.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        let of_kind = self.seen.changes.iter().filter(|change| change.kind == kind);
        let mut names: BTreeMap<&str, ()> = BTreeMap::new();
        names.extend(of_kind.map(|change| (change.name.as_str(), ())));
        names.into_keys().map(str::to_owned).collect()
    }

    /// Acts that were really done.
    pub fn done(&self) -> impl Iterator<Item = &Played> {
        self.played.iter().filter(|played| played.done == Done::Yes)
    }

    /// Whether an act of this kind was done before a time.
    pub fn did(&self, before_us: i64, test: impl Fn(&Act) -> bool) -> bool {
        self.done().any(|played| played.at_us <= before_us && test(&played.act))
    }

    /// Whether an operator ran, and did not stand still, all the time between two moments.
    pub fn operator_ran(&self, from_us: i64, to_us: i64) -> bool {
        let ran =
            self.seen.lives.iter().any(|life| {
                life.from_us <= from_us && life.to_us.is_none_or(|ended| ended >= to_us)
            });
        ran && !self.seen.frozen.iter().any(|(from, to)| *from < to_us && *to > from_us)
    }
}
