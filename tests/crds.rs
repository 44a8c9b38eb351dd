//! The custom resource definitions and the samples beside them: the files are what
//! the types generate, the schemas are structural and bounded, and every rule
//! refuses the sample that was written for it, at admission and in `validate`.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

mod schema {
    use kube::core::cel::Validator;
    use serde_json::{Value, json};

    /// What a schema without its CEL rules says against a value, as
    /// `path: finding` lines in the words of the API server.
    pub(crate) fn findings(schema: &Value, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        check(schema, value, "", &mut found);
        found
    }

    fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        let mut note = |finding: &str| found.push(format!("{path}: {finding}"));
        if schema["x-kubernetes-int-or-string"] == true {
            if !value.is_string() && !value.is_i64() {
                note("must be an integer or text");
            }
            return;
        }
        if !has_type(schema["type"].as_str().unwrap_or_default(), value) {
            return note("is of another type");
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            note("Unsupported value");
        }
        match value {
            Value::Number(_) => bounds(schema, value.as_f64(), ["minimum", "maximum"], &mut note),
            Value::String(text) => {
                #[expect(clippy::cast_precision_loss, reason = "lengths are small")]
                let length = text.chars().count() as f64;
                bounds(schema, Some(length), ["minLength", "maxLength"], &mut note);
                if let Some(pattern) = schema["pattern"].as_str()
                    && !matches(pattern, text)
                {
                    note("should match the pattern");
                }
            }
            Value::Array(items) => check_items(schema, items, path, found),
            Value::Object(_) => check_fields(schema, value, path, found),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn bounds(
        schema: &Value,
        size: Option<f64>,
        [lowest, highest]: [&str; 2],
        note: &mut impl FnMut(&str),
    ) {
        let size = size.unwrap();
        if schema[lowest].as_f64().is_some_and(|lowest| size < lowest) {
            note("is too small");
        }
        if schema[highest].as_f64().is_some_and(|highest| size > highest) {
            note("is too large");
        }
    }

    fn check_items(schema: &Value, items: &[Value], path: &str, found: &mut Vec<String>) {
        #[expect(clippy::cast_precision_loss, reason = "lists are small")]
        let count = items.len() as f64;
        let mut note = |finding: &str| found.push(format!("{path}: {finding}"));
        bounds(schema, Some(count), ["minItems", "maxItems"], &mut note);
        let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let key = |item: &Value| match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => Some(keys.iter().map(|key| item[*key].clone()).collect::<Vec<_>>()),
            Some("set") => Some(vec![item.clone()]),
            _ => None,
        };
        for (position, item) in items.iter().enumerate() {
            if key(item)
                .is_some_and(|own| items[..position].iter().any(|i| key(i) == Some(own.clone())))
            {
                found.push(format!("{path}: Duplicate value"));
            }
            check(&schema["items"], item, &format!("{path}[{position}]"), found);
        }
    }

    fn check_fields(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                found.push(format!("{path}.{name}: Required value"));
            }
        }
        for (name, value) in value.as_object().unwrap() {
            let inner = &schema["properties"][name];
            let inner = if inner.is_null() { &schema["additionalProperties"] } else { inner };
            let path = format!("{path}.{name}");
            // At the root the API server itself knows the three.
            if ![".apiVersion", ".kind", ".metadata"].contains(&path.as_str()) {
                if inner.is_null() {
                    found.push(format!("{path}: is no field of the schema"));
                } else {
                    check(inner, value, &path, found);
                }
            }
        }
    }

    fn has_type(name: &str, value: &Value) -> bool {
        match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => false,
        }
    }

    /// Patterns are matched by the engine that runs the rules.
    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = serde_json::to_string(pattern).unwrap();
        let schema = json!({
            "type": "string",
            "x-kubernetes-validations": [{"rule": format!("self.matches({pattern})")}],
        });
        Validator::new().validate(&schema, &json!(text), None).is_ok()
    }
}

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::{Validator, apply_defaults};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use xsld_operator::crd::{self, DataGrid, GridTemplate, XsldCache};
use xsld_operator::validate::{self, Invalid};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")
}

fn schema_of(definition: &CustomResourceDefinition) -> Value {
    let version = serde_json::to_value(&definition.spec.versions[0]).unwrap();
    version.pointer("/schema/openAPIV3Schema").unwrap().clone()
}

fn schema_of_kind(kind: &str) -> Value {
    let all = crd::all();
    schema_of(all.iter().find(|definition| definition.spec.names.kind == kind).unwrap())
}

/// One sample file: its first line and its objects.
struct Sample {
    name: String,
    first_line: String,
    objects: Vec<Value>,
}

fn samples() -> Vec<Sample> {
    let mut paths: Vec<_> = fs::read_dir(folder().join("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    let samples: Vec<_> = paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            Sample {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                first_line: text.lines().next().unwrap().to_owned(),
                objects: serde_saphyr::from_multiple(&text).unwrap(),
            }
        })
        .collect();
    assert!(samples.len() > 50, "the samples were not found");
    samples
}

fn is_ours(object: &Value) -> bool {
    object["apiVersion"] == "xsld.ibm.com/v1alpha1"
}

/// What admission says about an object, as the API server would: defaults first,
/// then the schema, then the rules.
fn admission(object: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema_of_kind(object["kind"].as_str().unwrap());
    let object = apply_defaults(&schema, object);
    let old = old.map(|old| apply_defaults(&schema, old));
    let findings = schema::findings(&schema, &object);
    if !findings.is_empty() {
        return findings;
    }
    match Validator::new().validate(&schema, &object, old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// What the operator says about an object that came past admission.
fn operator(object: &Value, old: Option<&Value>) -> Vec<Invalid> {
    fn read<T: serde::de::DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object.clone()).unwrap()
    }
    let (alone, change) = match object["kind"].as_str().unwrap() {
        "XsldCache" => {
            let new: XsldCache = read(object);
            let change = old
                .map(|old| validate::cache_change(&read::<XsldCache>(old).spec, &new.spec))
                .unwrap_or_default();
            (validate::cache(&new).err(), change)
        }
        "DataGrid" => {
            let new: DataGrid = read(object);
            let change = old
                .map(|old| validate::grid_change(&read::<DataGrid>(old).spec, &new.spec))
                .unwrap_or_default();
            (validate::grid(&new).err(), change)
        }
        "GridTemplate" => (validate::template(&read::<GridTemplate>(object)).err(), Vec::new()),
        other => panic!("{other} is no kind of ours"),
    };
    alone.unwrap_or_default().into_iter().chain(change).collect()
}

#[test]
fn crds_folder_equals_what_the_types_generate() {
    let update = std::env::var_os("UPDATE_CRDS").is_some();
    let mut expected = BTreeSet::new();
    for definition in crd::all() {
        let path = folder().join(crd::file_name(&definition));
        let text = crd::yaml(&definition);
        if update {
            fs::write(&path, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap_or_default() == text,
            "{} is out of date: run the tests with UPDATE_CRDS=1",
            path.display()
        );
        expected.insert(crd::file_name(&definition));
    }
    let found: BTreeSet<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_generated_file_reads_back_as_the_same_definition() {
    for definition in crd::all() {
        let text = crd::yaml(&definition);
        assert_eq!(text, crd::yaml(&definition));
        let back: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, definition);
    }
}

/// Visits every schema in a schema, with its path.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{name}"), visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&schema[inner], &format!("{path}.{inner}"), visit);
        }
    }
}

#[test]
fn schemas_are_structural_and_bounded() {
    for definition in crd::all() {
        let mut seen = 0;
        walk(&schema_of(&definition), "", &mut |path, schema| {
            seen += 1;
            for keyword in ["$ref", "anyOf", "oneOf", "allOf", "not", "nullable"] {
                assert!(schema.get(keyword).is_none(), "{path} has {keyword}");
            }
            if schema["x-kubernetes-int-or-string"] == true {
                return;
            }
            let format = schema["format"].as_str();
            if let Some(format) = format {
                let known = ["int32", "int64", "date-time", "double"];
                assert!(known.contains(&format), "{path} has the format {format}");
            }
            match schema["type"].as_str() {
                Some("string") => assert!(
                    schema["maxLength"].is_u64() || schema["enum"].is_array() || format.is_some(),
                    "{path} has no longest length"
                ),
                Some("array") => {
                    assert!(schema["maxItems"].is_u64(), "{path} has no highest count");
                    assert!(schema["items"].is_object(), "{path} has no items");
                }
                Some("object") => {
                    let map = schema["additionalProperties"].is_object();
                    assert!(!map || schema["maxProperties"].is_u64(), "{path} is not bounded");
                }
                Some("integer" | "number" | "boolean") => {}
                other => panic!("{path} has the type {other:?}"),
            }
        });
        assert!(seen > 20, "the schema was not walked");
    }
}

#[test]
fn every_property_of_ours_says_what_it_is() {
    for definition in crd::all() {
        let spec = &schema_of(&definition)["properties"]["spec"];
        for (name, property) in spec["properties"].as_object().unwrap() {
            let text = property["description"].as_str().unwrap_or_default();
            assert!(text.ends_with('.'), "{}.{name}: {text}", definition.spec.names.kind);
        }
    }
}

#[test]
fn a_rule_about_a_secret_never_stands_on_its_field() {
    let spec = &schema_of_kind("XsldCache")["properties"]["spec"];
    for field in ["adminPwd", "secretKey"] {
        let property = spec["properties"][field].as_object().unwrap();
        let keywords: BTreeSet<_> = property.keys().map(String::as_str).collect();
        assert_eq!(keywords, BTreeSet::from(["description", "maxLength", "type"]));
        for rule in spec["x-kubernetes-validations"].as_array().unwrap() {
            if rule["rule"].as_str().unwrap().contains(field) {
                assert!(rule["message"].as_str().unwrap().contains(field), "{rule}");
                assert!(rule.get("fieldPath").is_none(), "{rule}");
                assert!(rule.get("messageExpression").is_none(), "{rule}");
            }
        }
    }
}

#[test]
fn the_names_and_columns_of_the_predecessor_are_kept() {
    for (kind, plural, short, columns) in [
        (
            "XsldCache",
            "xsldcaches",
            "xc",
            &["Members", "Online", "Tasks", "Grids", "Ready", "Age"][..],
        ),
        ("DataGrid", "datagrids", "dg", &["Type", "Capacity", "Status", "Age"]),
        ("GridTemplate", "gridtemplates", "gt", &["Uploads", "Ready", "Age"]),
    ] {
        let definition = crd::all().into_iter().find(|d| d.spec.names.kind == kind).unwrap();
        let names = &definition.spec.names;
        assert_eq!(definition.spec.group, "xsld.ibm.com");
        assert_eq!(definition.spec.scope, "Namespaced");
        assert_eq!(names.plural, plural);
        assert_eq!(names.short_names.as_deref().unwrap(), [short]);
        assert_eq!(names.categories.as_deref().unwrap(), ["xsld"]);
        let version = &definition.spec.versions[0];
        assert_eq!(version.name, "v1alpha1");
        let shown = version.additional_printer_columns.as_ref().unwrap();
        assert_eq!(shown.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), columns);
        assert!(version.subresources.as_ref().unwrap().status.is_some());
    }
}

#[test]
fn a_cache_can_be_scaled_like_any_workload() {
    let definition = crd::all().remove(0);
    let scale = definition.spec.versions[0].subresources.as_ref().unwrap().scale.clone().unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.size");
    assert_eq!(scale.status_replicas_path, ".status.members");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"));
}

#[test]
fn legal_samples_are_accepted() {
    let mut seen = 0;
    for sample in samples().iter().filter(|sample| !sample.name.starts_with("illegal-")) {
        for object in sample.objects.iter().filter(|object| is_ours(object)) {
            seen += 1;
            assert_eq!(admission(object, None), [""; 0], "{}", sample.name);
            assert_eq!(admission(object, Some(object)), [""; 0], "{}", sample.name);
            assert_eq!(operator(object, Some(object)), [], "{}", sample.name);
        }
    }
    assert!(seen >= 5, "the legal samples were not found");
}

#[test]
fn each_illegal_sample_is_refused_with_its_field() {
    for sample in samples().iter().filter(|sample| sample.name.starts_with("illegal-")) {
        let name = &sample.name;
        let comment = sample.first_line.strip_prefix("# Refused: ").expect(name);
        let (field, rule) = comment.split_once(": ").expect(name);
        assert!(rule.len() > 8, "{name} does not say which rule refuses it");
        let (object, old) = match &sample.objects[..] {
            [object] => (object, None),
            [old, object] => {
                assert_eq!(admission(old, None), [""; 0], "{name}");
                assert_eq!(operator(old, None), [], "{name}");
                assert_eq!(admission(object, None), [""; 0], "{name}");
                (object, Some(old))
            }
            _ => panic!("{name} has neither one object nor two"),
        };
        let findings = admission(object, old);
        let short = field.strip_prefix("spec.").unwrap_or(field);
        assert!(findings.iter().any(|finding| finding.contains(short)), "{name}: {findings:?}");
        let invalid = operator(object, old);
        assert!(invalid.iter().any(|finding| finding.field == field), "{name}: {invalid:?}");
        let secrets = ["adminPwd", "secretKey"].map(|field| object["spec"][field].as_str());
        for secret in secrets.into_iter().flatten() {
            assert!(!findings.join(" ").contains(secret), "{name}: {findings:?}");
            assert!(!validate::summary(&invalid).contains(secret), "{name}: {invalid:?}");
        }
    }
}

#[test]
fn every_rule_has_a_sample_that_it_refuses() {
    let mut unused = BTreeSet::new();
    for definition in crd::all() {
        walk(&schema_of(&definition), "", &mut |_, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                unused.insert(rule["message"].as_str().unwrap().to_owned());
            }
        });
    }
    assert!(unused.len() > 25, "the rules were not found");
    for sample in samples().iter().filter(|sample| sample.name.starts_with("illegal-")) {
        let (object, old) = match &sample.objects[..] {
            [old, object] => (object, Some(old)),
            objects => (&objects[0], None),
        };
        for finding in admission(object, old) {
            unused.retain(|message| !finding.contains(message.as_str()));
        }
    }
    assert_eq!(unused, BTreeSet::new());
}

#[test]
fn what_may_change_can_be_changed() {
    let cache = |spec: Value| {
        let metadata = serde_json::json!({"name": "example"});
        let mut object = serde_json::json!({"kind": "XsldCache", "metadata": metadata});
        object["apiVersion"] = "xsld.ibm.com/v1alpha1".into();
        object["spec"] = spec;
        object
    };
    let old = cache(serde_json::json!({
        "license": "accept", "adminPwd": "Password123!", "secretKey": "Password123!",
        "storage": {"size": "1Gi"},
    }));
    let new = cache(serde_json::json!({
        "license": "accept", "size": 5, "catalogs": 1, "image": "ibmcom/xsld:9",
        "adminPasswordSecretRef": {"name": "xsld", "key": "password"},
        "secretKeySecretRef": {"name": "xsld", "key": "key"},
        "storage": {"size": "2048Mi", "retention": {"whenScaled": "Retain"}},
        "entrypointConfigMap": "other", "paused": true, "tls": {"mode": "Insecure"},
    }));
    assert_eq!(admission(&new, Some(&old)), [""; 0]);
    assert_eq!(operator(&new, Some(&old)), []);
}

#[test]
fn the_sample_entrypoint_is_a_script_that_bash_can_read() {
    let all = samples();
    let sample = all.iter().find(|sample| sample.name == "ip-update-entrypoint.yaml").unwrap();
    let script = sample.objects[0].pointer("/data/entrypoint.sh").unwrap().as_str().unwrap();
    assert!(script.starts_with("#!/bin/bash\n"));
    assert!(script.trim_end().ends_with("exec /entrypoint.sh \"$@\""));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), script).unwrap();
    let output = std::process::Command::new("bash").arg("-n").arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_document_names_every_field_of_every_spec() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/custom-resources.md");
    let text = fs::read_to_string(path).unwrap();
    let words: BTreeSet<_> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for definition in crd::all() {
        for part in ["spec", "status"] {
            let schema = &schema_of(&definition)["properties"][part];
            for name in schema["properties"].as_object().unwrap().keys() {
                assert!(
                    words.contains(name.as_str()),
                    "{}.{part}.{name}",
                    definition.spec.names.kind
                );
            }
        }
    }
}
