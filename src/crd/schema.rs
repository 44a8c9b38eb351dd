//! What the derived schemas lack: bounds on every string, list and map, and the
//! rule that a null is an absent field.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Bounds for what states none. They keep the estimated cost of the rules
/// finite and one object well under what the store takes.
const MAX_TEXT: i64 = 32_768;
const MAX_ITEMS: i64 = 128;
const MAX_PROPERTIES: i64 = 64;

/// Most kinds of resources that a pod may name. The rule about them visits each,
/// and the cost of a map's keys cannot be bounded in any other way.
const MAX_RESOURCES: i64 = 8;

/// Completes a derived definition.
///
/// - Every string, list and map is bounded.
/// - `nullable` goes: the API server then drops nulls and puts defaults in their
///   place, so that no rule has to tell null from absent.
/// - Descriptions of the embedded pod types go: they are most of the size, and
///   `kubectl explain pod.spec` has them. The client-side `kubectl apply` keeps a
///   copy of the object in an annotation, which has a limit.
#[must_use]
pub fn finish(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) =
            version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            walk(schema, &mut bound);
            for path in QUANTITIES {
                if let Some(quantities) = descend(schema, path) {
                    quantities.max_properties = Some(MAX_RESOURCES);
                }
            }
            for path in EMBEDDED {
                if let Some(embedded) = descend(schema, path) {
                    for inner in children(embedded) {
                        walk(inner, &mut |schema| schema.description = None);
                    }
                }
            }
        }
    }
    definition
}

/// Maps of resources.
const QUANTITIES: &[&[&str]] =
    &[&["spec", "pod", "resources", "limits"], &["spec", "pod", "resources", "requests"]];

/// Fields whose type is Kubernetes' own, from the root.
const EMBEDDED: &[&[&str]] = &[
    &["spec", "pod", "resources"],
    &["spec", "pod", "imagePullSecrets"],
    &["spec", "pod", "tolerations"],
    &["spec", "pod", "affinity"],
    &["spec", "pod", "topologySpreadConstraints"],
    &["spec", "pod", "securityContext"],
    &["spec", "pod", "env"],
    &["spec", "cacheSelector"],
    &["status", "conditions"],
];

fn descend<'a>(schema: &'a mut JSONSchemaProps, path: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    path.iter().try_fold(schema, |schema, name| schema.properties.as_mut()?.get_mut(*name))
}

/// Visits a schema and everything under it.
fn walk(schema: &mut JSONSchemaProps, visit: &mut impl FnMut(&mut JSONSchemaProps)) {
    visit(schema);
    for child in children(schema) {
        walk(child, visit);
    }
}

fn children(schema: &mut JSONSchemaProps) -> Vec<&mut JSONSchemaProps> {
    let mut found: Vec<&mut JSONSchemaProps> = Vec::new();
    if let Some(properties) = &mut schema.properties {
        found.extend(properties.values_mut());
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => found.push(items.as_mut()),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => found.extend(items.iter_mut()),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        found.push(values.as_mut());
    }
    found
}

fn bound(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    match schema.type_.as_deref() {
        Some("string") if schema.enum_.is_none() && schema.format.is_none() => {
            schema.max_length.get_or_insert(MAX_TEXT);
        }
        Some("array") => {
            schema.max_items.get_or_insert(MAX_ITEMS);
        }
        Some("object") if schema.additional_properties.is_some() => {
            schema.max_properties.get_or_insert(MAX_PROPERTIES);
        }
        _ => {}
    }
}
