//! What the charts in `deploy/helm` have of other files: copies of the definitions, the rights, the alerts
//! and the dashboard, since a chart can read nothing outside of itself, and the schema of a cache's
//! values. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

/// The copies of the definitions, from the repository's root.
pub(crate) const DEFINITIONS: &str = "deploy/helm/xsld-operator/files/crds";
/// The schema of a cache's values.
pub(crate) const SCHEMA: &str = "deploy/helm/xsld-cache/values.schema.json";
/// Files that the operator's chart has copies of, and the copies.
pub(crate) const COPIES: [(&str, &str); 8] = [
    ("deploy/manifests/operator/role.yaml", "deploy/helm/xsld-operator/files/rbac/operator.yaml"),
    ("deploy/manifests/role.yaml", "deploy/helm/xsld-operator/files/rbac/caches.yaml"),
    ("deploy/manifests/operator/callers.yaml", "deploy/helm/xsld-operator/files/rbac/callers.yaml"),
    ("deploy/manifests/operator/nodes.yaml", "deploy/helm/xsld-operator/files/rbac/nodes.yaml"),
    (
        "deploy/manifests/people/journal-reader.yaml",
        "deploy/helm/xsld-operator/files/rbac/journal-reader.yaml",
    ),
    (
        "deploy/manifests/people/journal-decider.yaml",
        "deploy/helm/xsld-operator/files/rbac/journal-decider.yaml",
    ),
    ("deploy/monitoring/alerts.yaml", "deploy/helm/xsld-operator/files/monitoring/alerts.yaml"),
    (
        "deploy/monitoring/dashboard.json",
        "deploy/helm/xsld-operator/files/monitoring/dashboard.json",
    ),
];

/// Names of objects in a values file: where a name may be left empty, it may also be no name.
const NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// As the rule of the definition has it for a cache's name.
const CACHE_NAME: &str = "^([a-z]([-a-z0-9]*[a-z0-9])?)?$";
/// How deep a value may be left empty to say nothing: the template leaves empty ones out so far.
const MAY_BE_EMPTY: usize = 2;

/// The charts' generated files, by path from the root: made from the definitions by file name, and
/// from the texts of [`COPIES`] in their order.
///
/// # Errors
/// When a definition is missing or is not one.
pub(crate) fn files(
    definitions: &BTreeMap<String, String>,
    copied: Vec<String>,
) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for (name, text) in definitions {
        files.insert(format!("{DEFINITIONS}/{name}"), text.clone());
    }
    for ((_, copy), text) in COPIES.iter().zip(copied) {
        files.insert((*copy).to_owned(), text);
    }
    let schema = serde_json::to_string_pretty(&cache_schema(definitions)?)?;
    files.insert(SCHEMA.to_owned(), format!("{schema}\n"));
    Ok(files)
}

/// The schema of the values of a cache: the fields of its spec, and what the chart adds.
fn cache_schema(definitions: &BTreeMap<String, String>) -> Result<Value> {
    let mut values = fields(definitions, "xsldcaches.yaml", MAY_BE_EMPTY)?;
    // Lint reads the chart with its own values, which accept no licence; the template asks for it.
    values["license"]["enum"] = json!(["", "accept"]);
    values.insert(
        "global".to_owned(),
        json!({"description": "Helm hands it to every chart that is part of another.",
            "type": "object"}),
    );
    values.insert(
        "nameOverride".to_owned(),
        json!({"description": "Name of the XsldCache; that of the release without it.",
            "type": "string", "maxLength": 52, "pattern": CACHE_NAME}),
    );
    values.extend(labels("the XsldCache"));
    let grids = fields(definitions, "datagrids.yaml", 0)?;
    values.insert("dataGrids".to_owned(), list("DataGrids of the cache.", grids));
    let templates = fields(definitions, "gridtemplates.yaml", 0)?;
    values.insert("gridTemplates".to_owned(), list("GridTemplates.", templates));
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated from the definitions by `cargo xtask generate`. Do not edit.",
        "title": "Values of the chart xsld-cache",
        "type": "object",
        "additionalProperties": false,
        "properties": values,
    }))
}

/// A list of objects that belong to the cache of the release.
fn list(description: &str, mut fields: Map<String, Value>) -> Value {
    // A template may select caches by label; otherwise the chart says which cache is meant.
    fields.remove("cacheRef");
    let name = json!({"description": "Name of the object, and of what it makes in the group.",
        "type": "string", "maxLength": 253, "pattern": NAME});
    fields.insert("name".to_owned(), name);
    fields.extend(labels("the object"));
    let required: Vec<&str> = ["name", "objectGridXml", "deploymentPolicyXml"]
        .into_iter()
        .filter(|field| fields.contains_key(*field))
        .collect();
    json!({"description": description, "type": "array", "items": {"type": "object",
        "additionalProperties": false, "required": required, "properties": fields}})
}

fn labels(of: &str) -> [(String, Value); 2] {
    ["labels", "annotations"].map(|field| {
        let description = format!("Further {field} of {of}.");
        let strings = json!({"description": description, "type": "object",
            "additionalProperties": {"type": "string"}});
        (field.to_owned(), strings)
    })
}

/// The fields of a definition's spec, as JSON Schema. Those of the first `may_be_empty` levels that
/// have no default may also be empty.
fn fields(
    definitions: &BTreeMap<String, String>,
    file: &str,
    may_be_empty: usize,
) -> Result<Map<String, Value>> {
    let text = definitions.get(file).with_context(|| format!("there is no {file}"))?;
    let definition: Value =
        serde_saphyr::from_str(text).with_context(|| format!("{file} is not YAML"))?;
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let spec = definition.pointer(path).with_context(|| format!("{file} has no schema"))?;
    let schema = from_kubernetes(spec, may_be_empty);
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    ensure!(!fields.is_empty(), "{file} has no fields");
    Ok(fields)
}

/// The same schema in the words of JSON Schema, refusing what it does not name.
fn from_kubernetes(schema: &Value, may_be_empty: usize) -> Value {
    let Some(schema) = schema.as_object() else { return schema.clone() };
    let mut made = Map::new();
    for (word, value) in schema {
        match word.as_str() {
            // Formats of numbers and defaults say nothing here; rules cannot be said.
            "format" | "default" => {}
            "x-kubernetes-int-or-string" => {
                made.insert("type".to_owned(), json!(["integer", "string"]));
            }
            word if word.starts_with("x-kubernetes-") => {}
            "minimum" | "maximum" => {
                made.insert(word.to_owned(), whole(value));
            }
            "items" | "additionalProperties" => {
                made.insert(word.to_owned(), from_kubernetes(value, 0));
            }
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                let fields = fields.map(|(name, field)| (name.clone(), inner(field, may_be_empty)));
                made.insert(word.to_owned(), Value::Object(fields.collect()));
                made.insert("additionalProperties".to_owned(), json!(false));
            }
            _ => {
                made.insert(word.clone(), value.clone());
            }
        }
    }
    Value::Object(made)
}

/// A field of an object on one of the levels that may be left empty, or below them.
fn inner(field: &Value, may_be_empty: usize) -> Value {
    let says_nothing_when_empty = may_be_empty > 0 && field.get("default").is_none();
    if says_nothing_when_empty && is_reference(field) {
        // With an empty name it is none; the key is then of no matter.
        let mut made = from_kubernetes(field, 0);
        for part in made["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            allow_empty(part);
        }
        if let Some(made) = made.as_object_mut() {
            made.remove("required");
        }
        return made;
    }
    let mut made = from_kubernetes(field, may_be_empty.saturating_sub(1));
    if says_nothing_when_empty {
        allow_empty(&mut made);
    }
    made
}

/// An object of texts, all of them required: {name} or {name, key}.
fn is_reference(field: &Value) -> bool {
    let names = |value: &Value| value.as_array().map_or(0, Vec::len);
    let parts = field["properties"].as_object();
    parts.is_some_and(|parts| {
        parts.contains_key("name")
            && parts.len() == names(&field["required"])
            && parts.values().all(|part| part["type"] == "string")
    })
}

fn allow_empty(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut().filter(|schema| schema["type"] == "string") else {
        return;
    };
    schema.remove("minLength");
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        let pattern = format!("^$|{pattern}");
        schema.insert("pattern".to_owned(), pattern.into());
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.insert(0, json!(""));
    }
}

/// Bounds are written as `1.0` in a definition; a person expects `1` in a message.
fn whole(number: &Value) -> Value {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => json!(value as i64),
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(fields: &Value) -> String {
        let spec = json!({"properties": {"spec": {"type": "object", "properties": fields}}});
        json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": spec}}]}}).to_string()
    }

    fn definitions() -> BTreeMap<String, String> {
        let reference = json!({"type": "object", "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1, "pattern": "^a$"}}});
        let cache = definition(&json!({
            "license": {"type": "string", "enum": ["accept"]},
            "size": {"type": "integer", "default": 1, "minimum": 1.0, "format": "int32",
                "x-kubernetes-validations": []},
            "entry": {"type": "string", "minLength": 1, "pattern": "^b$"},
            "image": {"type": "string", "default": "c", "minLength": 1},
            "secret": reference,
            "pod": {"type": "object", "default": {}, "properties": {
                "class": {"type": "string", "minLength": 1},
                "deep": {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}},
                "amounts": {"type": "object", "additionalProperties":
                    {"x-kubernetes-int-or-string": true}}}},
        }));
        let grid = definition(&json!({"cacheRef": reference, "kind": {"type": "string",
            "minLength": 1}}));
        let document = json!({"type": "object", "properties": {"inline": {"type": "string"}}});
        let template =
            definition(&json!({"cacheRef": reference, "cacheSelector": {"type": "object"},
            "objectGridXml": document, "deploymentPolicyXml": document}));
        [("xsldcaches.yaml", cache), ("datagrids.yaml", grid), ("gridtemplates.yaml", template)]
            .map(|(name, text)| (name.to_owned(), text))
            .into()
    }

    fn values() -> Value {
        cache_schema(&definitions()).unwrap()["properties"].take()
    }

    #[test]
    fn a_field_without_a_default_may_be_empty_and_one_with_a_default_may_not() {
        let values = values();
        assert_eq!(values["entry"], json!({"type": "string", "pattern": "^$|^b$"}));
        assert_eq!(values["image"], json!({"type": "string", "minLength": 1}));
        assert_eq!(values["pod"]["properties"]["class"], json!({"type": "string"}));
        let deep = &values["pod"]["properties"]["deep"]["properties"]["name"];
        assert_eq!(deep["minLength"], 1, "the template does not look so deep");
    }

    #[test]
    fn a_reference_with_an_empty_name_is_none() {
        let secret = &values()["secret"];
        assert!(secret.get("required").is_none(), "{secret}");
        assert_eq!(secret["properties"]["name"]["pattern"], "^$|^a$");
    }

    #[test]
    fn what_only_kubernetes_understands_is_left_out_and_unknown_keys_are_refused() {
        let values = values();
        assert_eq!(values["size"], json!({"type": "integer", "minimum": 1}));
        let pod = &values["pod"];
        assert_eq!(pod["additionalProperties"], false);
        let amounts = &pod["properties"]["amounts"]["additionalProperties"];
        assert_eq!(*amounts, json!({"type": ["integer", "string"]}));
    }

    #[test]
    fn grids_and_templates_are_named_and_belong_to_the_cache_of_the_release() {
        let values = values();
        let grid = &values["dataGrids"]["items"];
        assert_eq!(grid["required"], json!(["name"]));
        assert!(grid["properties"].get("cacheRef").is_none(), "{grid}");
        assert_eq!(grid["properties"]["kind"]["minLength"], 1, "nothing in a list may be empty");
        let template = &values["gridTemplates"]["items"];
        let required = json!(["name", "objectGridXml", "deploymentPolicyXml"]);
        assert_eq!(template["required"], required);
        assert!(template["properties"]["cacheSelector"].is_object());
    }

    #[test]
    fn every_definition_and_every_other_file_has_its_copy() {
        let texts = || COPIES.map(|(original, _)| original.to_owned()).to_vec();
        let files = files(&definitions(), texts()).unwrap();
        for (original, copy) in COPIES {
            assert_eq!(files[copy], original);
            let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            assert!(name(original) == name(copy) || name(original) == "role.yaml", "{copy}");
        }
        assert!(files.contains_key("deploy/helm/xsld-operator/files/crds/datagrids.yaml"));
        assert!(files[SCHEMA].ends_with("}\n"));
        assert_eq!(files.len(), COPIES.len() + 4);
        assert!(super::files(&BTreeMap::new(), texts()).is_err());
    }
}
