//! The charts in `deploy/helm`, as far as they can be checked without Helm: versions, documented values,
//! and that a cache's values are the custom resource's own.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use serde_json::{Value, json};
use xsld_operator::args::Cli;

const OPERATOR: &str = "xsld-operator";
const CACHE: &str = "xsld-cache";
/// Values of a cache that are no fields of its spec.
const CHARTS_OWN: [&str; 5] =
    ["nameOverride", "labels", "annotations", "dataGrids", "gridTemplates"];

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn file(chart: &str, name: &str) -> String {
    text(&format!("deploy/helm/{chart}/{name}"))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn values(chart: &str) -> Value {
    yaml(&file(chart, "values.yaml"))
}

fn schema(chart: &str) -> Value {
    serde_json::from_str(&file(chart, "values.schema.json")).unwrap()
}

/// Paths of all values, with their defaults.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, inner) in map {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&format!("{path}{dot}{key}"), inner, found);
            }
        }
        None => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

#[test]
fn the_charts_have_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    for chart in [OPERATOR, CACHE] {
        let about = yaml(&file(chart, "Chart.yaml"));
        assert_eq!(about["name"], chart);
        assert_eq!(about["version"], version);
        assert_eq!(about["kubeVersion"], ">=1.33.0-0");
    }
    // The image's tag, unless a value says otherwise.
    assert_eq!(yaml(&file(OPERATOR, "Chart.yaml"))["appVersion"], version);
}

/// The rows of the table of values: path, and default as it is shown.
fn rows(readme: &str) -> BTreeMap<String, String> {
    let table = readme.split("| value | default | meaning |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| `"));
    let cells = rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
        (cells.next().unwrap().to_owned(), cells.next().unwrap().to_owned())
    });
    cells.collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(Value::to_string).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[test]
fn every_value_is_in_the_readme_with_its_default() {
    for chart in [OPERATOR, CACHE] {
        let mut found = BTreeMap::new();
        leaves("", &values(chart), &mut found);
        let wanted: BTreeMap<String, String> =
            found.into_iter().map(|(path, value)| (path, shown(&value))).collect();
        assert_eq!(rows(&file(chart, "README.md")), wanted, "{chart}");
    }
}

/// The schema's own keys, and those of what lies in them, as far as `value` goes.
fn differences(path: &str, value: &Value, schema: &Value, found: &mut Vec<String>) {
    let Some(map) = value.as_object().filter(|map| !map.is_empty()) else { return };
    let Some(known) = schema["properties"].as_object() else { return };
    if schema["additionalProperties"] != json!(false) {
        found.push(format!("{path}: unknown keys are let through"));
    }
    let keys: BTreeSet<&String> = map.keys().chain(known.keys()).collect();
    // Helm hands it to every chart that is part of another.
    for key in keys.into_iter().filter(|key| *key != "global") {
        match (map.get(key), known.get(key)) {
            (Some(inner), Some(schema)) => {
                differences(&format!("{path}.{key}"), inner, schema, found);
            }
            (Some(_), None) => found.push(format!("{path}.{key}: not in the schema")),
            // Devices, which nobody needs to give the operator by default.
            (None, _) if path == ".resources" && key == "claims" => {}
            (None, _) => found.push(format!("{path}.{key}: not in values.yaml")),
        }
    }
}

#[test]
fn the_schema_knows_all_values_and_no_other() {
    for chart in [OPERATOR, CACHE] {
        let mut found = Vec::new();
        differences("", &values(chart), &schema(chart), &mut found);
        assert!(found.is_empty(), "{chart}: {found:?}");
    }
    let schema = json!({"additionalProperties": false, "properties": {"a": {}, "b": {}}});
    let mut found = Vec::new();
    differences("", &json!({"a": 1, "c": 1}), &schema, &mut found);
    assert_eq!(found, [".b: not in values.yaml", ".c: not in the schema"]);
}

fn spec_of_a_cache() -> Value {
    let mut definition = yaml(&text("crds/xsldcaches.yaml"));
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    definition.pointer_mut(path).unwrap().take()
}

/// The fields of a schema without a default of their own, and the defaults of the others.
fn check_defaults(path: &str, value: &Value, field: &Value) {
    let default = field.get("default");
    match (value.as_object(), field["properties"].as_object()) {
        (Some(map), Some(fields)) if !map.is_empty() => {
            for (key, inner) in map {
                check_defaults(&format!("{path}.{key}"), inner, &fields[key]);
            }
        }
        _ if default.is_some() => assert_eq!(Some(value), default, "{path}"),
        // The key of a reference is of no matter until it has a name.
        _ if path.ends_with("Ref.key") => {}
        _ => assert!(["\"\"", "{}", "[]"].contains(&value.to_string().as_str()), "{path}: {value}"),
    }
}

#[test]
fn the_values_of_a_cache_are_the_fields_of_its_spec_with_their_defaults() {
    let (values, spec) = (values(CACHE), spec_of_a_cache());
    let of_spec =
        values.as_object().unwrap().iter().filter(|(key, _)| !CHARTS_OWN.contains(&&***key));
    let of_spec: BTreeMap<&String, &Value> = of_spec.collect();
    let names: Vec<&&String> = of_spec.keys().collect();
    let fields: BTreeSet<&String> = spec.as_object().unwrap().keys().collect();
    assert_eq!(names, fields.iter().collect::<Vec<_>>());
    for (name, value) in of_spec {
        check_defaults(name, value, &spec[name]);
    }
}

/// `pollActive` as the program's environment has it.
fn variable(name: &str) -> String {
    let mut made = "XSLD_OPERATOR_".to_owned();
    for letter in name.chars() {
        if letter.is_uppercase() {
            made.push('_');
        }
        made.extend(letter.to_uppercase());
    }
    made
}

#[test]
fn every_time_constant_is_a_value_and_the_documents_tell_the_programs_default() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let constants = run.get_arguments().filter(|argument| {
        argument.get_help_heading() == Some("Time constants") && argument.get_env().is_some()
    });
    let constants: BTreeMap<String, String> = constants
        .map(|argument| {
            let default = argument.get_default_values()[0].to_str().unwrap().to_owned();
            (argument.get_env().unwrap().to_str().unwrap().to_owned(), default)
        })
        .collect();
    let values = values(OPERATOR);
    let named = values["times"].as_object().unwrap().keys();
    let named: BTreeMap<String, &String> = named.map(|name| (variable(name), name)).collect();
    assert_eq!(named.keys().collect::<Vec<_>>(), constants.keys().collect::<Vec<_>>());
    let (comments, readme) = (file(OPERATOR, "values.yaml"), file(OPERATOR, "README.md"));
    for (variable, name) in named {
        let default = &constants[&variable];
        let comment = format!("({default}).\n  {name}:");
        assert!(comments.contains(&comment), "values.yaml does not tell {default} of {name}");
        let row = readme.lines().find(|line| line.contains(&format!("`times.{name}`"))).unwrap();
        assert!(row.ends_with(&format!("; empty: {default} |")), "{row}");
    }
}
