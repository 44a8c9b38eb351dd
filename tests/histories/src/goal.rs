//! What a script asks for in the end, once everything is healed, and how long that may take.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::act::{Act, COLLIDING, Kind};
use crate::model::Place;
use crate::script::Script;

/// What must be there in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Goal {
    /// Sizes of the caches.
    pub caches: BTreeMap<String, u32>,
    /// Grids with the cache that they are in; none of one that takes what there is.
    pub grids: BTreeMap<String, Option<String>>,
    /// Templates with their cache.
    pub templates: BTreeMap<String, String>,
    /// Caches, grids and templates that must not be there.
    pub gone: Vec<(Kind, String)>,
    /// Fields that are set once more when all is healed; `None` is what the world makes caches with.
    pub fields: BTreeMap<Place, Option<Value>>,
    /// The number of the password that everybody must have.
    pub password: u32,
    /// A person deleted a volume: where the group's configuration was on it, and nowhere else, the
    /// cache has to be made again.
    pub may_begin_anew: bool,
}

impl Goal {
    /// What a script asks for.
    ///
    /// # Errors
    /// When the script makes no sense.
    pub fn of(script: &Script) -> Result<Self, String> {
        let model = script.model()?;
        let mut goal = Self { password: model.password, ..Self::default() };
        for ((kind, name), wanted) in &model.objects {
            match kind {
                // Told, and never made, for as long as the first cache is there.
                Kind::Cache if name == COLLIDING => goal.gone.push((*kind, name.clone())),
                Kind::Cache => {
                    goal.caches.insert(name.clone(), wanted.size);
                }
                Kind::Grid => {
                    goal.grids.insert(name.clone(), wanted.cache.clone());
                }
                Kind::Template => {
                    let cache = wanted.cache.clone().unwrap_or_default();
                    goal.templates.insert(name.clone(), cache);
                }
                _ => {}
            }
        }
        for step in &script.steps {
            if let Some((kind, name)) = made(&step.act)
                && !model.has(kind, &name)
                && !goal.gone.contains(&(kind, name.clone()))
            {
                goal.gone.push((kind, name));
            }
        }
        goal.may_begin_anew = script
            .steps
            .iter()
            .any(|step| matches!(step.act, Act::DeleteObject { kind: Kind::Claim, .. }));
        goal.fields.clone_from(&model.changed);
        goal.fields.retain(|(kind, name, _), _| {
            model.has(*kind, name) && !goal.gone.contains(&(*kind, name.clone()))
        });
        Ok(goal)
    }

    /// The patch of a spec that heals an object, where it was ever changed.
    pub fn healing(&self, kind: Kind, name: &str, base: &Value) -> Option<Value> {
        let mut patch = json!({});
        let mine = |place: &&Place| (place.0, place.1.as_str()) == (kind, name);
        for place in self.fields.keys().filter(mine) {
            let value = self.fields[place].clone();
            let value = value.or_else(|| base.pointer(&place.2).cloned()).unwrap_or(Value::Null);
            put(&mut patch, &place.2, value);
        }
        (patch != json!({})).then_some(patch)
    }

    /// How long the world may take from healed to the goal: every operation that can be left to do,
    /// each with what it takes on a loaded machine at the world's time scale of 60.
    pub fn bound(&self) -> Duration {
        /// Starts of the operator, take-over, rebuild, back-off of containers.
        const ANYWAY: u64 = 60;
        /// A start, the settle and orphan times, and a reset with a fresh join of a member, and its
        /// part in a roll; or its way out.
        const MEMBER: u64 = 60;
        /// A creation and a recovery from error.
        const GRID: u64 = 20;
        let members: u64 = self.caches.values().map(|size| u64::from(*size)).sum();
        // Members above the wanted size have to leave first.
        let leaving = 2 * (self.caches.len() + self.gone.len()) as u64;
        let grids = (self.grids.len() + self.templates.len()) as u64;
        let times = 1 + u64::from(self.may_begin_anew);
        Duration::from_secs(ANYWAY + times * MEMBER * members + 20 * leaving + GRID * grids)
    }
}

/// The object that an act makes.
fn made(act: &Act) -> Option<(Kind, String)> {
    match act {
        Act::CreateCache { cache, .. } => Some((Kind::Cache, cache.clone())),
        Act::CreateGrid { grid, .. } => Some((Kind::Grid, grid.clone())),
        Act::CreateTemplate { template, .. } => Some((Kind::Template, template.clone())),
        _ => None,
    }
}

/// Puts a value at a JSON pointer, making the objects on the way.
pub fn put(object: &mut Value, path: &str, value: Value) {
    let mut place = object;
    for part in path.trim_start_matches('/').split('/') {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[part];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::CACHE;
    use crate::script::{Step, VERSION, Wait};

    fn script(acts: Vec<Act>) -> Script {
        let steps = acts.into_iter().map(|act| Step { wait: Wait::default(), act }).collect();
        Script { version: VERSION, seed: 0, about: String::new(), steps }
    }

    fn change(path: &str, value: Value, broken: bool) -> Act {
        let (kind, name, path) = (Kind::Cache, CACHE.to_owned(), path.to_owned());
        Act::Change { kind, name, path, value, broken }
    }

    fn create() -> Act {
        Act::CreateCache { cache: CACHE.to_owned(), size: 2, spec: json!({}) }
    }

    #[test]
    fn what_is_broken_heals_to_what_was_asked_for_before() {
        let script = script(vec![
            create(),
            change("/image", json!("b"), false),
            change("/image", json!("missing"), true),
            change("/pod/nodeSelector", json!({"disk": "none"}), true),
            change("/size", json!(4), false),
        ]);
        let goal = Goal::of(&script).unwrap();
        assert_eq!(goal.caches[CACHE], 4);
        let patch = goal.healing(Kind::Cache, CACHE, &json!({"image": "a"})).unwrap();
        assert_eq!(patch, json!({"image": "b", "size": 4, "pod": {"nodeSelector": null}}));
        assert!(goal.healing(Kind::Grid, CACHE, &json!({})).is_none());
    }

    #[test]
    fn what_was_deleted_must_be_gone_and_a_cache_made_anew_has_its_own_fields() {
        let delete =
            Act::DeleteCache { cache: CACHE.to_owned(), cascade: crate::act::Cascade::Background };
        let goal = Goal::of(&script(vec![create(), delete.clone()])).unwrap();
        assert_eq!(goal.gone, [(Kind::Cache, CACHE.to_owned())]);
        let again = vec![create(), change("/catalogs", json!(1), false), delete, create()];
        let goal = Goal::of(&script(again)).unwrap();
        assert!(goal.gone.is_empty() && goal.fields.is_empty(), "{goal:?}");
    }
}
