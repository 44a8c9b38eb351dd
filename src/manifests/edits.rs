//! What somebody else changed on a live object of ours: where, and who.
//!
//! A value that we set and that is another one now is a *change*; what we do not set, and what no
//! default of the API server explains, is an *addition*. Additions count below the `spec` of a
//! StatefulSet only: pods are made from it, so they would take them up one by one. Labels,
//! annotations and finalizers of others on an object itself, and what they add to other kinds, stay.
//!
//! `metadata.managedFields` tells who owns a field. What an admission policy or webhook writes, and
//! what somebody took away, nobody owns; neither do the defaults of the API server, which are never
//! elements of lists nor entries of free maps.

use serde_json::{Map, Value};

use super::FIELD_MANAGER;
use super::differs::{self, element_keys, field_differs, same_amount, same_element};

/// Edits that are told by name; the others are counted.
const NAMED_MAX: usize = 4;

/// Most characters of a place or of a manager's name.
const WORD_MAX: usize = 120;

/// Maps with keys of anybody's choice: no default adds one.
const FREE_MAPS: [&str; 6] =
    ["annotations", "labels", "nodeSelector", "matchLabels", "limits", "overhead"];

/// Values that the API server fills in, by the field's name. Some tools send them with what they
/// change, and own them then; without them they would only come back.
const DEFAULTS: [(&str, &str); 22] = [
    ("revisionHistoryLimit", "10"),
    ("podManagementPolicy", "OrderedReady"),
    ("minReadySeconds", "0"),
    ("restartPolicy", "Always"),
    ("dnsPolicy", "ClusterFirst"),
    ("schedulerName", "default-scheduler"),
    ("terminationGracePeriodSeconds", "30"),
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
    ("imagePullPolicy", "Always"),
    ("imagePullPolicy", "IfNotPresent"),
    ("protocol", "TCP"),
    ("scheme", "HTTP"),
    ("initialDelaySeconds", "0"),
    ("timeoutSeconds", "1"),
    ("periodSeconds", "10"),
    ("successThreshold", "1"),
    ("failureThreshold", "3"),
    ("defaultMode", "420"),
    ("apiVersion", "v1"),
    ("optional", "false"),
    ("enableServiceLinks", "true"),
];

/// One thing that somebody else changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    /// The field manager that owns it; none when nobody does.
    pub by: Option<String>,
    /// The place, such as `spec.template.spec.containers[xsld].image`.
    pub path: String,
    /// When its manager wrote last, as `managedFields` tells.
    pub at: Option<String>,
    /// Whether it is an addition.
    pub is_added: bool,
}

/// All that others changed on one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// Each of them, in the order of the object.
    pub all: Vec<Edit>,
    /// The merge patch that takes the additions off; none when there is none.
    pub removal: Option<Value>,
}

impl Edits {
    /// That somebody, whom nothing names, changed what is at this place.
    #[must_use]
    pub fn at(path: &str) -> Self {
        let edit = Edit { by: None, path: path.to_owned(), at: None, is_added: false };
        Self { all: vec![edit], removal: None }
    }

    /// Whether nobody changed anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those in the pod template.
    pub fn of_pods(&self) -> impl Iterator<Item = &Edit> {
        self.all.iter().filter(|edit| edit.path.starts_with("spec.template."))
    }

    /// Whether each of these is at a place of one of `others`.
    #[must_use]
    pub fn are_among(&self, others: &Self) -> bool {
        self.all.iter().all(|edit| others.all.iter().any(|other| other.path == edit.path))
    }

    /// Those that are not at a place of one of `others`.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let is_left = |edit: &&Edit| others.all.iter().all(|other| other.path != edit.path);
        Self { all: self.all.iter().filter(is_left).cloned().collect(), removal: None }
    }

    /// Who changed what, as one text that is the same whenever the same one changes the same.
    #[must_use]
    pub fn key(&self) -> String {
        let word = |edit: &Edit| format!("{}:{}", edit.by.as_deref().unwrap_or(""), edit.path);
        self.all.iter().map(word).collect::<Vec<_>>().join("\n")
    }

    /// Who: the managers by name, or that nobody owns it.
    #[must_use]
    pub fn who(&self) -> String {
        let mut named: Vec<&str> = self.all.iter().filter_map(|edit| edit.by.as_deref()).collect();
        named.sort_unstable();
        named.dedup();
        match named.as_slice() {
            [] => "somebody whom the object does not name".to_owned(),
            named => named.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", "),
        }
    }

    /// Where.
    #[must_use]
    pub fn paths(&self) -> String {
        self.words(|edit| edit.path.clone())
    }

    /// Where, and when as far as that is known.
    #[must_use]
    pub fn places(&self) -> String {
        self.words(|edit| match &edit.at {
            Some(at) => format!("{} at {at}", edit.path),
            None => edit.path.clone(),
        })
    }

    fn words(&self, word: impl FnMut(&Edit) -> String) -> String {
        let mut words: Vec<_> = self.all.iter().take(NAMED_MAX).map(word).collect();
        if self.all.len() > NAMED_MAX {
            words.push(format!("{} more", self.all.len() - NAMED_MAX));
        }
        words.join(", ")
    }

    /// Whether the object itself tells that somebody else changed it.
    #[must_use]
    pub fn are_of_others(&self) -> bool {
        self.all.iter().any(|edit| edit.by.is_some() || edit.is_added)
    }

    /// What to do instead, for the first of them, to go on after "to change that, ".
    #[must_use]
    pub fn instead(&self) -> &'static str {
        self.all.first().map_or("change the XsldCache", |edit| instead(&edit.path))
    }
}

/// The field of the XsldCache that is meant for what somebody changed elsewhere.
fn instead(path: &str) -> &'static str {
    const WAYS: [(&str, &str); 9] = [
        (
            "restartedAt]",
            "set an annotation of your own in spec.pod.annotations of the XsldCache: its members are \
             then restarted one at a time, the primary last",
        ),
        ("].image", "set spec.image of the XsldCache"),
        ("].env[", "set spec.pod.env of the XsldCache"),
        ("].resources", "set spec.pod.resources of the XsldCache"),
        ("spec.template.metadata.annotations[", "set spec.pod.annotations of the XsldCache"),
        ("spec.template.metadata.labels[", "set spec.pod.labels of the XsldCache"),
        ("spec.template.spec.", "set the field of spec.pod of the XsldCache, where it has one"),
        ("spec.replicas", "set spec.size of the XsldCache"),
        ("spec.updateStrategy", "leave the order to the operator: it rolls members itself"),
    ];
    let way = WAYS.iter().find(|(part, _)| path.contains(part));
    way.map_or("change the XsldCache, where it has a field for it", |(_, way)| way)
}

/// What others changed on `live`, which is to be as `desired`.
#[must_use]
pub fn edits(desired: &Value, live: &Value) -> Edits {
    let managers = managers(live);
    let owners = Owners(managers.iter().map(|manager| (manager, manager.fields)).collect());
    let is_set = desired.get("kind").is_some_and(|kind| kind == "StatefulSet");
    let mut walk = Walk { found: Vec::new(), adds: false };
    let (Value::Object(wanted), Value::Object(found)) = (desired, live) else {
        return Edits::default();
    };
    let mut removal = Map::new();
    for (name, wanted) in wanted {
        if ["apiVersion", "kind", "status"].contains(&name.as_str()) {
            continue;
        }
        walk.adds = is_set && name == "spec";
        let (at, owners) = (Place::root(name), owners.field(name));
        match found.get(name) {
            Some(found) => {
                let clean = walk.value(&at, wanted, found, &owners);
                removal.extend(difference(found, &clean).map(|patch| (name.clone(), patch)));
            }
            None if field_differs(name, wanted, None) => walk.changed(&at, &owners),
            None => {}
        }
    }
    let removal = (!removal.is_empty()).then_some(Value::Object(removal));
    Edits { all: walk.found, removal }
}

/// Whether pods of the template `made_from` are others than those of `template`, where both are as
/// the API server stores them. Annotations make no other pods, and a scalar that only `template`
/// has is a default of a later API server.
#[must_use]
pub fn makes_other_pods(made_from: &Value, template: &Value) -> bool {
    let mut walk = Walk { found: Vec::new(), adds: true };
    let mut made_from = made_from.clone();
    if let Some(fields) = made_from.as_object_mut() {
        fields.remove("$patch");
    }
    let nobody = Owners(Vec::new());
    walk.value(&Place::root("template"), &made_from, template, &nobody);
    walk.found.iter().any(|edit| !edit.path.starts_with("template.metadata.annotations["))
}

/// One writer, as `managedFields` tells.
struct Manager<'a> {
    name: &'a str,
    at: Option<&'a str>,
    fields: &'a Value,
}

impl Manager<'_> {
    fn is_us(&self) -> bool {
        self.name == FIELD_MANAGER
    }
}

fn managers(live: &Value) -> Vec<Manager<'_>> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("subresource").and_then(Value::as_str) != Some("status"))
        .filter_map(|entry| {
            Some(Manager {
                name: entry.get("manager")?.as_str()?,
                at: entry.get("time").and_then(Value::as_str),
                fields: entry.get("fieldsV1")?,
            })
        })
        .collect()
}

/// Who owns something at a place, or below it.
struct Owners<'a>(Vec<(&'a Manager<'a>, &'a Value)>);

impl<'a> Owners<'a> {
    /// Who owns something as a whole, such as a selector, owns all in it.
    fn field(&self, name: &str) -> Self {
        let key = format!("f:{name}");
        let is_whole = |fields: &Value| fields.as_object().is_some_and(Map::is_empty);
        let below = |fields: &'a Value| match is_whole(fields) {
            true => Some(fields),
            false => fields.get(&key),
        };
        Self(self.0.iter().filter_map(|(by, fields)| Some((*by, below(fields)?))).collect())
    }

    /// Of the element of a list that has a key.
    fn element(&self, element: &Value) -> Self {
        let is_it = |path: &str| {
            let key = path.strip_prefix("k:").map(serde_json::from_str::<Map<String, Value>>);
            key.is_some_and(|key| {
                key.is_ok_and(|key| key.iter().all(|(name, own)| element.get(name) == Some(own)))
            })
        };
        let below = |fields: &'a Value| {
            let mut fields = fields.as_object().into_iter().flatten();
            fields.find(|(path, _)| is_it(path)).map(|(_, below)| below)
        };
        Self(self.0.iter().filter_map(|(by, fields)| Some((*by, below(fields)?))).collect())
    }

    /// Somebody else.
    fn other(&self) -> Option<&'a Manager<'a>> {
        self.0.iter().map(|(by, _)| *by).find(|by| !by.is_us())
    }

    fn are_us(&self) -> bool {
        self.0.iter().any(|(by, _)| by.is_us())
    }
}

/// A place in an object: its words, and the name of the last field.
struct Place<'a> {
    words: String,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn root(name: &'a str) -> Self {
        Self { words: name.to_owned(), name }
    }

    fn field<'b>(&self, name: &'b str) -> Place<'b> {
        let words = match FREE_MAPS.contains(&self.name) {
            true => format!("{}[{name}]", self.words),
            false => format!("{}.{name}", self.words),
        };
        Place { words, name }
    }

    fn element(&self, keys: &[&str], element: &Value) -> Place<'static> {
        let key = keys.iter().find_map(|key| element.get(key));
        let key = match key {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Place { words: format!("{}[{key}]", self.words), name: "" }
    }
}

/// Goes through what is wanted and what was found side by side.
struct Walk {
    found: Vec<Edit>,
    /// Whether additions count.
    adds: bool,
}

impl Walk {
    fn edited(&mut self, at: &Place<'_>, by: Option<&Manager<'_>>, is_added: bool) {
        self.found.push(Edit {
            by: by.map(|by| word(by.name)),
            path: word(&at.words),
            at: by.and_then(|by| by.at).map(word),
            is_added,
        });
    }

    fn changed(&mut self, at: &Place<'_>, owners: &Owners<'_>) {
        self.edited(at, owners.other(), false);
    }

    /// What was found, without additions.
    fn value(
        &mut self,
        at: &Place<'_>,
        wanted: &Value,
        found: &Value,
        owners: &Owners<'_>,
    ) -> Value {
        match (wanted, found) {
            (Value::Object(wanted), Value::Object(found)) => {
                Value::Object(self.object(at, wanted, found, owners))
            }
            (Value::Array(wanted), Value::Array(found)) => {
                Value::Array(self.list(at, wanted, found, owners))
            }
            _ => {
                if field_differs(at.name, wanted, Some(found)) {
                    self.changed(at, owners);
                }
                found.clone()
            }
        }
    }

    fn object(
        &mut self,
        at: &Place<'_>,
        wanted: &Map<String, Value>,
        found: &Map<String, Value>,
        owners: &Owners<'_>,
    ) -> Map<String, Value> {
        let mut clean = Map::new();
        let amounts = differs::QUANTITY_MAPS.contains(&at.name);
        for (name, found) in found {
            let (place, below) = (at.field(name), owners.field(name));
            let kept = match wanted.get(name).filter(|wanted| !wanted.is_null()) {
                Some(wanted) if amounts && same_amount(wanted, found) => Some(found.clone()),
                Some(wanted) => Some(self.value(&place, wanted, found, &below)),
                None => self.extra(&place, at.name, found, &below),
            };
            clean.extend(kept.map(|kept| (name.clone(), kept)));
        }
        for (name, wanted) in wanted {
            if !found.contains_key(name) && field_differs(name, wanted, None) {
                self.changed(&at.field(name), &owners.field(name));
            }
        }
        clean
    }

    fn list(
        &mut self,
        at: &Place<'_>,
        wanted: &[Value],
        found: &[Value],
        owners: &Owners<'_>,
    ) -> Vec<Value> {
        let keys = element_keys(at.name);
        let is_keyed = !keys.is_empty() && wanted.iter().chain(found).all(Value::is_object);
        if !is_keyed {
            if differs::list_differs(at.name, wanted, found) {
                self.changed(at, owners);
            }
            return found.to_vec();
        }
        let mut clean = Vec::new();
        for element in found {
            let (place, below) = (at.element(keys, element), owners.element(element));
            match wanted.iter().find(|wanted| same_element(keys, wanted, element)) {
                Some(wanted) => clean.push(self.value(&place, wanted, element, &below)),
                // An apply of ours lets go of what is ours.
                None if !self.adds || below.are_us() => clean.push(element.clone()),
                None => self.edited(&place, below.other(), true),
            }
        }
        for element in wanted {
            if !found.iter().any(|found| same_element(keys, element, found)) {
                self.changed(&at.element(keys, element), &owners.element(element));
            }
        }
        clean
    }

    /// What is not wanted: none when it is an addition of somebody else.
    fn extra(
        &mut self,
        at: &Place<'_>,
        map: &str,
        found: &Value,
        owners: &Owners<'_>,
    ) -> Option<Value> {
        if !self.adds || owners.are_us() {
            return Some(found.clone());
        }
        let other = owners.other().filter(|_| !is_default(at.name, found));
        if other.is_none() && !FREE_MAPS.contains(&map) && !has_entries(at.name, found) {
            return Some(found.clone());
        }
        self.edited(at, other, true);
        None
    }
}

/// Whether the API server would fill in the same.
fn is_default(name: &str, value: &Value) -> bool {
    let is =
        |text: &str| DEFAULTS.iter().any(|(field, default)| *field == name && *default == text);
    match value {
        Value::Null => true,
        Value::Bool(value) => is(&value.to_string()),
        Value::Number(value) => is(&value.to_string()),
        Value::String(value) => is(value),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_default(name, value)),
    }
}

/// Whether something in it is no default: an element of a list, or an entry of a free map.
fn has_entries(name: &str, value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) if FREE_MAPS.contains(&name) => !fields.is_empty(),
        Value::Object(fields) => fields.iter().any(|(name, value)| has_entries(name, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The merge patch that makes `to` of `from`, of which it is a part; none when they are equal.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (name, before) in before {
        let change = match after.get(name) {
            Some(after) => difference(before, after),
            None => Some(Value::Null),
        };
        patch.extend(change.map(|change| (name.clone(), change)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Words from outside: on one line, and not too long.
fn word(text: &str) -> String {
    crate::xsld::text::bounded(text).chars().take(WORD_MAX).collect()
}

#[cfg(test)]
mod tests;
