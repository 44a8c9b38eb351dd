//! What there is after some acts, as the person who did them has it: which acts make sense next.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::act::{Act, Kind, MEMBERS_MAX, NODES};

/// A change of a field that was asked for last: kind, name, path.
pub type Place = (Kind, String, String);

/// An object of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The cache that it is bound to; none for a cache, and for a grid that takes what there is.
    pub cache: Option<String>,
    /// What it was made with.
    pub spec: Value,
    /// Wanted size, of a cache.
    pub size: u32,
}

/// How the operator stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operator {
    /// It runs.
    #[default]
    Runs,
    /// It stands still.
    Frozen,
    /// There is none.
    Down,
}

/// A node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// It takes no more pods.
    pub is_cordoned: bool,
    /// It has no power.
    pub is_stopped: bool,
}

/// What there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// Objects of users, by kind and name.
    pub objects: BTreeMap<(Kind, String), Wanted>,
    /// The last value of each field that was changed and is not broken; `None` is what it was made
    /// with.
    pub changed: BTreeMap<Place, Option<Value>>,
    /// The operator.
    pub operator: Operator,
    /// Whether a second one runs.
    pub has_second: bool,
    /// The nodes.
    pub nodes: [Node; NODES as usize],
    /// Whether there is a copy of the journal's volume.
    pub has_backup: bool,
    /// Whether policies or quotas are there.
    pub has_policies: bool,
    /// Members with faults.
    pub faults: BTreeSet<(String, u32)>,
    /// Caches that were deleted, whose volumes may be left.
    pub deleted: BTreeSet<String>,
    /// The number of the last password.
    pub password: u32,
}

impl Model {
    /// Whether a user's object is there.
    pub fn has(&self, kind: Kind, name: &str) -> bool {
        self.objects.contains_key(&(kind, name.to_owned()))
    }

    /// Names of the objects of a kind.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        self.objects.keys().filter(|(its, _)| *its == kind).map(|(_, name)| name.clone()).collect()
    }

    /// The wanted size of a cache.
    pub fn size(&self, cache: &str) -> u32 {
        self.objects.get(&(Kind::Cache, cache.to_owned())).map_or(0, |wanted| wanted.size)
    }

    fn needs(&self, kind: Kind, name: &str) -> Result<(), String> {
        match self.has(kind, name) {
            true => Ok(()),
            false => Err(format!("there is no {kind:?} {name}")),
        }
    }

    fn make(&mut self, kind: Kind, name: &str, wanted: Wanted) -> Result<(), String> {
        if self.has(kind, name) {
            return Err(format!("there is a {kind:?} {name} already"));
        }
        // What was changed of a former object of this name is nothing to this one.
        self.changed.retain(|(its, named, _), _| (*its, named.as_str()) != (kind, name));
        self.objects.insert((kind, name.to_owned()), wanted);
        Ok(())
    }

    fn end(&mut self, kind: Kind, name: &str) -> Result<(), String> {
        self.needs(kind, name)?;
        self.objects.remove(&(kind, name.to_owned()));
        Ok(())
    }

    /// Takes an act in.
    ///
    /// # Errors
    /// Why it makes no sense now. The model is then as it was.
    pub fn take(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::CreateCache { cache, size, spec } => {
                ensure(*size >= 1 && *size <= MEMBERS_MAX, "a size that is out of bounds")?;
                let wanted = Wanted { cache: None, spec: spec.clone(), size: *size };
                self.make(Kind::Cache, cache, wanted)
            }
            Act::DeleteCache { cache, .. } => {
                self.end(Kind::Cache, cache)?;
                self.deleted.insert(cache.clone());
                Ok(())
            }
            Act::CreateGrid { grid, cache, spec } => {
                let wanted = Wanted { cache: cache.clone(), spec: spec.clone(), size: 0 };
                self.make(Kind::Grid, grid, wanted)
            }
            Act::DeleteGrid { grid } => self.end(Kind::Grid, grid),
            Act::CreateTemplate { template, cache } => {
                let wanted = Wanted { cache: Some(cache.clone()), spec: Value::Null, size: 0 };
                self.make(Kind::Template, template, wanted)
            }
            Act::DeleteTemplate { template } => self.end(Kind::Template, template),
            Act::Change { kind, name, path, value, broken } => {
                self.change((*kind, name, path), value, *broken)
            }
            Act::Invalid { kind, name, .. } => self.needs(*kind, name),
            Act::Rotate { number, .. } => {
                ensure(*number == self.password + 1, "passwords are counted one by one")?;
                self.password = *number;
                Ok(())
            }
            Act::Evict { cache, member } | Act::ClearFaults { cache, member } => {
                ensure(*member < MEMBERS_MAX, "no such member")?;
                self.needs(Kind::Cache, cache)?;
                if matches!(act, Act::ClearFaults { .. }) {
                    let had = self.faults.remove(&(cache.clone(), *member));
                    ensure(had, "it has no faults")?;
                }
                Ok(())
            }
            Act::FaultMember { cache, member, .. } => {
                ensure(*member < MEMBERS_MAX, "no such member")?;
                self.needs(Kind::Cache, cache)?;
                self.faults.insert((cache.clone(), *member));
                Ok(())
            }
            Act::ScaleByHand { cache, .. }
            | Act::RestartByHand { cache }
            | Act::SetEnvironmentByHand { cache } => self.needs(Kind::Cache, cache),
            Act::MakeForeign { .. }
            | Act::RemoveLabels { .. }
            | Act::StripFinalizers { .. }
            | Act::DeleteObject { .. }
            | Act::Annotate { .. } => Ok(()),
            Act::RefuseWrites { .. } | Act::RewriteWrites { .. } | Act::LimitObjects { .. } => {
                self.has_policies = true;
                Ok(())
            }
            Act::LiftPolicies => {
                ensure(std::mem::take(&mut self.has_policies), "there are no policies")
            }
            Act::Drain { .. }
            | Act::Cordon { .. }
            | Act::Uncordon { .. }
            | Act::StopNode { .. }
            | Act::StartNode { .. } => self.node(act),
            _ => self.operators(act),
        }
    }

    fn change(
        &mut self,
        (kind, name, path): (Kind, &str, &str),
        value: &Value,
        broken: bool,
    ) -> Result<(), String> {
        self.needs(kind, name)?;
        if let (false, "/size", Some(wanted)) =
            (broken, path, self.objects.get_mut(&(kind, name.to_owned())))
        {
            let size = value.as_u64().and_then(|size| u32::try_from(size).ok());
            let size = size.filter(|size| (1..=MEMBERS_MAX).contains(size));
            wanted.size = size.ok_or("a size that is out of bounds")?;
        }
        let place = (kind, name.to_owned(), path.to_owned());
        if broken {
            self.changed.entry(place).or_insert(None);
        } else {
            self.changed.insert(place, Some(value.clone()));
        }
        Ok(())
    }

    fn node(&mut self, act: &Act) -> Result<(), String> {
        let (Act::Drain { node }
        | Act::Cordon { node }
        | Act::Uncordon { node }
        | Act::StopNode { node }
        | Act::StartNode { node }) = act
        else {
            return Err("not about a node".to_owned());
        };
        let node = self.nodes.get_mut(*node as usize).ok_or("there is no such node")?;
        match act {
            Act::Drain { .. } | Act::Cordon { .. } => {
                ensure(!node.is_cordoned, "it is cordoned")?;
                node.is_cordoned = true;
            }
            Act::Uncordon { .. } => ensure(std::mem::take(&mut node.is_cordoned), "it is not")?,
            Act::StopNode { .. } => {
                ensure(!node.is_stopped, "it has no power")?;
                node.is_stopped = true;
            }
            _ => ensure(std::mem::take(&mut node.is_stopped), "it runs")?,
        }
        Ok(())
    }

    fn operators(&mut self, act: &Act) -> Result<(), String> {
        let is =
            |wanted: Operator| ensure(self.operator == wanted, "the operator stands otherwise");
        match act {
            Act::KillOperator { .. } => {
                ensure(self.operator != Operator::Down, "there is no operator")?;
                self.operator = Operator::Down;
            }
            Act::EndOperator => {
                is(Operator::Runs)?;
                self.operator = Operator::Down;
            }
            Act::StartOperator => {
                is(Operator::Down)?;
                self.operator = Operator::Runs;
            }
            Act::FreezeOperator => {
                is(Operator::Runs)?;
                self.operator = Operator::Frozen;
            }
            Act::ThawOperator => {
                is(Operator::Frozen)?;
                self.operator = Operator::Runs;
            }
            Act::StartSecond { .. } => {
                ensure(!self.has_second, "there is a second operator")?;
                self.has_second = true;
            }
            Act::EndSecond => ensure(std::mem::take(&mut self.has_second), "there is no second")?,
            Act::BackUpJournal => self.has_backup = true,
            Act::SetBackJournal => {
                ensure(std::mem::take(&mut self.has_backup), "there is no copy")?
            }
            // A lost volume, or anchor, is found by an operator that starts anew.
            _ => {}
        }
        Ok(())
    }
}

fn ensure(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}
