//! Whether a live object is what we would apply.

use super::FIELD_MANAGER;
use crate::validate::quantity::Amount;
use serde_json::{Map, Value};

/// Whether applying `desired` would change `live`.
///
/// True when a field that we set differs, and when a field that we set formerly,
/// as `metadata.managedFields` tells, is no longer among those we set. Everything
/// else in `live` counts for nothing: defaults of the API server, its status, and
/// the fields of others. A null is an absent field, equal quantities are equal in
/// any writing, and lists whose elements have a key are compared by key.
#[must_use]
pub fn differs(desired: &Value, live: &Value) -> bool {
    // An element of a list that was fetched as a list has neither of the two.
    let (Value::Object(wanted), Value::Object(found)) = (desired, live) else {
        return field_differs("", desired, Some(live));
    };
    wanted
        .iter()
        .filter(|(name, _)| !["apiVersion", "kind", "status"].contains(&name.as_str()))
        .any(|(name, wanted)| field_differs(name, wanted, found.get(name)))
        || owned_fields(live).any(|owned| releases(owned, desired))
}

/// Maps whose values are quantities.
const QUANTITY_MAPS: [&str; 5] = ["limits", "requests", "capacity", "overhead", "hard"];

/// Fields that are quantities.
const QUANTITY_FIELDS: [&str; 2] = ["sizeLimit", "divisor"];

/// What tells the elements of a list apart, by the list's name. A list that is not
/// here is compared element by element.
fn element_keys(list: &str) -> &'static [&'static str] {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => &["name"],
        "volumeMounts" => &["mountPath"],
        "ports" => &["containerPort", "port", "protocol"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        _ => &[],
    }
}

fn field_differs(name: &str, wanted: &Value, found: Option<&Value>) -> bool {
    let found = found.unwrap_or(&Value::Null);
    match (wanted, found) {
        (Value::Null, _) => false,
        (Value::Object(wanted), Value::Null) => !is_nothing(wanted),
        (Value::Array(wanted), Value::Null) => !wanted.is_empty(),
        (Value::Object(wanted), Value::Object(found)) => {
            let amounts = QUANTITY_MAPS.contains(&name);
            wanted.iter().any(|(field, wanted)| match found.get(field) {
                Some(found) if amounts && same_amount(wanted, found) => false,
                found => field_differs(field, wanted, found),
            })
        }
        (Value::Array(wanted), Value::Array(found)) => list_differs(name, wanted, found),
        (Value::Number(wanted), Value::Number(found)) => {
            wanted != found && wanted.as_f64() != found.as_f64()
        }
        _ => wanted != found && !(QUANTITY_FIELDS.contains(&name) && same_amount(wanted, found)),
    }
}

/// Whether a map sets nothing at all, at any depth.
fn is_nothing(fields: &Map<String, Value>) -> bool {
    fields.values().all(|value| match value {
        Value::Null => true,
        Value::Object(fields) => is_nothing(fields),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    })
}

fn list_differs(name: &str, wanted: &[Value], found: &[Value]) -> bool {
    if name == "finalizers" {
        return wanted.iter().any(|wanted| !found.contains(wanted));
    }
    let keys = element_keys(name);
    let keyed = !keys.is_empty() && wanted.iter().chain(found).all(Value::is_object);
    if keyed {
        return wanted.iter().any(|wanted| {
            found
                .iter()
                .find(|found| same_element(keys, wanted, found))
                .is_none_or(|found| field_differs("", wanted, Some(found)))
        });
    }
    wanted.len() != found.len()
        || wanted.iter().zip(found).any(|(wanted, found)| field_differs("", wanted, Some(found)))
}

/// Whether every key that the wanted element sets is equal: a key that it leaves
/// out has the API server's default in the other.
fn same_element(keys: &[&str], wanted: &Value, found: &Value) -> bool {
    keys.iter().all(|key| wanted.get(key).is_none_or(|wanted| found.get(key) == Some(wanted)))
}

fn same_amount(wanted: &Value, found: &Value) -> bool {
    let amount = |value: &Value| match value {
        Value::String(text) => Amount::parse(text),
        Value::Number(number) => Amount::parse(&number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    amount(wanted).is_some_and(|wanted| amount(found) == Some(wanted))
}

/// The field sets that our applies own in a live object.
fn owned_fields(live: &Value) -> impl Iterator<Item = &Value> {
    let managers = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry.get("manager").and_then(Value::as_str) == Some(FIELD_MANAGER)
                && entry.get("operation").and_then(Value::as_str) == Some("Apply")
                && entry.get("subresource").and_then(Value::as_str).is_none_or(str::is_empty)
        })
        .filter_map(|entry| entry.get("fieldsV1"))
}

/// Whether a field set (in the form of `fieldsV1`) names what `desired` no longer sets.
fn releases(owned: &Value, desired: &Value) -> bool {
    let Value::Object(owned) = owned else { return false };
    owned.iter().any(|(path, below)| {
        if let Some(field) = path.strip_prefix("f:") {
            return match desired.get(field) {
                None | Some(Value::Null) => true,
                Some(desired) => releases(below, desired),
            };
        }
        if let Some(key) = path.strip_prefix("k:") {
            return match (serde_json::from_str::<Map<String, Value>>(key), desired.as_array()) {
                (Ok(key), Some(items)) => items
                    .iter()
                    .find(|item| has_key(&key, item))
                    .is_none_or(|item| releases(below, item)),
                _ => true,
            };
        }
        if let Some(value) = path.strip_prefix("v:") {
            let items = desired.as_array().map(Vec::as_slice).unwrap_or_default();
            return serde_json::from_str::<Value>(value)
                .map_or(true, |value| !items.contains(&value));
        }
        false
    })
}

/// Whether an element has a key, in which defaults may have been filled in.
fn has_key(key: &Map<String, Value>, item: &Value) -> bool {
    key.iter().all(|(field, value)| item.get(field).is_none_or(|own| own == value))
}

#[cfg(test)]
mod tests;
