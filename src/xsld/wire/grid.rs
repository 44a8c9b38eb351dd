//! Grids and their templates.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Reply, answer, find, list, name_of, scalar, shown};
use crate::xsld::profile::ApiProfile;
use crate::xsld::view::{Answer, GridStatus, GridView};

/// Most fields that one grid may have.
const MAX_FIELDS: usize = 256;

/// A template of grids as a member holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TemplateView {
    /// The ObjectGrid descriptor.
    pub object_grid_xml: String,
    /// The deployment policy.
    pub deployment_policy_xml: String,
}

/// Reads the list of grids, sorted by name. An entry is an object with a name or
/// the name alone. Unknown when an entry has no name or a name occurs twice.
pub fn grids(profile: &ApiProfile, reply: &Reply) -> Answer<Vec<GridView>> {
    match reply.value() {
        Ok(value) => answer(views(profile, value)),
        Err(other) => other,
    }
}

fn views(profile: &ApiProfile, value: &Value) -> Result<Vec<GridView>, String> {
    let mut grids = Vec::new();
    for item in list(value)? {
        let named = match item {
            Value::Object(entry) => find(entry, &profile.fields.grid.name).and_then(name_of),
            other => name_of(other),
        };
        let name = named.ok_or("the list holds a grid without a readable name")?;
        let empty = Map::new();
        grids.push(view(profile, name, item.as_object().unwrap_or(&empty))?);
    }
    grids.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(twice) = grids.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(format!("the list holds the grid {} twice", twice[0].name));
    }
    Ok(grids)
}

/// Reads the grid `name`. The answer need not repeat the name, but must not hold
/// another one, and must tell a status.
pub fn grid(profile: &ApiProfile, name: &str, reply: &Reply) -> Answer<GridView> {
    let document = reply.json().and_then(Value::as_object).filter(|_| reply.is_success());
    // A grid that cannot serve may say why, in the form of an error of the call.
    let entry = match document.filter(|entry| status(profile, entry) == GridStatus::Error) {
        Some(entry) => entry,
        None => match (reply.value(), document) {
            (Err(other), _) => return other,
            (Ok(_), Some(entry)) => entry,
            (Ok(_), None) => return answer(Err("the answer is not a grid: no object".to_owned())),
        },
    };
    answer(named_view(profile, name, entry))
}

fn named_view(
    profile: &ApiProfile,
    name: &str,
    entry: &Map<String, Value>,
) -> Result<GridView, String> {
    if find(entry, &profile.fields.grid.status).is_none() {
        return Err("the answer is not a grid: no status".to_owned());
    }
    match find(entry, &profile.fields.grid.name) {
        Some(other) if other.as_str() != Some(name) => {
            let other = shown(other).unwrap_or_default();
            Err(format!("the answer is about the grid {other:?}, not {name:?}"))
        }
        _ => view(profile, name.to_owned(), entry),
    }
}

fn view(
    profile: &ApiProfile,
    name: String,
    entry: &Map<String, Value>,
) -> Result<GridView, String> {
    if entry.len() > MAX_FIELDS {
        return Err(format!("the grid {name} has {} fields", entry.len()));
    }
    let known = &profile.fields.grid;
    let fields: BTreeMap<String, String> = entry
        .iter()
        .filter(|(field, _)| known.name.iter().chain(known.status.iter()).all(|it| it != *field))
        .filter_map(|(field, value)| Some((field.clone(), scalar(value)?)))
        .collect();
    Ok(GridView { name, status: status(profile, entry), fields })
}

fn status(profile: &ApiProfile, entry: &Map<String, Value>) -> GridStatus {
    let word = find(entry, &profile.fields.grid.status).and_then(shown).unwrap_or_default();
    let words = &profile.words.grid;
    if words.created.has(&word) {
        GridStatus::Created
    } else if words.online.has(&word) {
        GridStatus::Online
    } else if words.error.has(&word) {
        GridStatus::Error
    } else {
        GridStatus::Unknown(word)
    }
}

/// Reads a template. Unknown unless both documents are there.
pub fn grid_template(profile: &ApiProfile, reply: &Reply) -> Answer<TemplateView> {
    let fields = &profile.fields.grid_template;
    let value = match reply.value() {
        Ok(value) => value,
        Err(other) => return other,
    };
    let text = |name: &str| Some(value.as_object()?.get(name)?.as_str()?.to_owned());
    match (text(&fields.object_grid_xml), text(&fields.deployment_policy_xml)) {
        (Some(object_grid_xml), Some(deployment_policy_xml)) => {
            Answer::Known(TemplateView { object_grid_xml, deployment_policy_xml })
        }
        _ => {
            Answer::Unknown { reason: "the answer is not a template: a document is missing".into() }
        }
    }
}
