//! `GridTemplate`: every rule on its own.

use super::{Findings, Invalid, LONGEST_NAME, labels};
use crate::crd::template::MAX_DOCUMENT_BYTES;
use crate::crd::{ConfigMapKeyRef, Document, GridTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// A template whose every field keeps its rules. The documents themselves are checked by
/// [`super::documents`], once both were read: one may stand in a ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidTemplate {
    /// Where the ObjectGrid descriptor is.
    pub object_grid: DocumentSource,
    /// Where the deployment policy is.
    pub deployment_policy: DocumentSource,
    /// The caches that get the template.
    pub target: TemplateTarget,
}

impl ValidTemplate {
    /// Whether one of its documents stands in a ConfigMap.
    pub fn names_a_config_map(&self) -> bool {
        let in_a_map = |source: &DocumentSource| matches!(source, DocumentSource::ConfigMap(_));
        in_a_map(&self.object_grid) || in_a_map(&self.deployment_policy)
    }
}

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentSource {
    /// Its text stands in the spec.
    Inline(String),
    /// A ConfigMap has it.
    ConfigMap(ConfigMapKeyRef),
}

/// The caches that get a template.
#[derive(Clone, Debug, PartialEq)]
pub enum TemplateTarget {
    /// The only one of the namespace.
    Only,
    /// The one of this name.
    Named(String),
    /// Those of the namespace that have the labels.
    Selected(LabelSelector),
}

/// Checks a template.
///
/// # Errors
/// Every rule that its spec breaks, in the order of the fields.
pub fn template(object: &GridTemplate) -> Result<ValidTemplate, Vec<Invalid>> {
    let mut findings = Findings::default();
    let spec = &object.spec;
    let object_grid = document(spec.object_grid_xml.as_ref(), "spec.objectGridXml", &mut findings);
    let deployment_policy =
        document(spec.deployment_policy_xml.as_ref(), "spec.deploymentPolicyXml", &mut findings);
    let target = match (&spec.cache_ref, &spec.cache_selector) {
        (None, None) => TemplateTarget::Only,
        (None, Some(selector)) => TemplateTarget::Selected(selector.clone()),
        (Some(cache), None) => {
            findings.require(
                labels::is_subdomain(&cache.name),
                "spec.cacheRef.name",
                "must be the name of an object",
            );
            TemplateTarget::Named(cache.name.clone())
        }
        (Some(cache), Some(_)) => {
            findings.add("spec.cacheSelector", "must not be set together with spec.cacheRef");
            TemplateTarget::Named(cache.name.clone())
        }
    };
    let (Some(object_grid), Some(deployment_policy)) = (object_grid, deployment_policy) else {
        return Err(findings.0);
    };
    findings.into_result(ValidTemplate { object_grid, deployment_policy, target })
}

fn document(
    document: Option<&Document>,
    field: &str,
    findings: &mut Findings,
) -> Option<DocumentSource> {
    let Some(document) = document else {
        findings.add(field, "must be set");
        return None;
    };
    match (&document.inline, &document.config_map_ref) {
        (Some(text), None) => {
            findings.text(text, MAX_DOCUMENT_BYTES, &format!("{field}.inline"));
            Some(DocumentSource::Inline(text.clone()))
        }
        (None, Some(reference)) => {
            findings.require(
                labels::is_subdomain(&reference.name),
                &format!("{field}.configMapRef.name"),
                "must be the name of an object",
            );
            findings.text(&reference.key, LONGEST_NAME, &format!("{field}.configMapRef.key"));
            Some(DocumentSource::ConfigMap(reference.clone()))
        }
        (Some(_), Some(_)) | (None, None) => {
            findings.add(field, "must have exactly one of inline and configMapRef");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{GridTemplateSpec, ObjectRef};

    fn inline(text: &str) -> Option<Document> {
        Some(Document { inline: Some(text.to_owned()), config_map_ref: None })
    }

    fn fields(spec: GridTemplateSpec) -> Vec<String> {
        let findings = template(&GridTemplate::new("example", spec)).unwrap_err();
        findings.into_iter().map(|finding| finding.field).collect()
    }

    #[test]
    fn two_documents_are_enough() {
        let spec = GridTemplateSpec {
            object_grid_xml: inline("<a/>"),
            deployment_policy_xml: inline("<b/>"),
            ..GridTemplateSpec::default()
        };
        let valid = template(&GridTemplate::new("example", spec)).unwrap();
        assert_eq!(valid.object_grid, DocumentSource::Inline("<a/>".to_owned()));
        assert_eq!(valid.target, TemplateTarget::Only);
    }

    #[test]
    fn both_documents_are_needed() {
        assert_eq!(
            fields(GridTemplateSpec::default()),
            ["spec.objectGridXml", "spec.deploymentPolicyXml"]
        );
    }

    #[test]
    fn a_document_stands_in_one_place() {
        let both = Document {
            inline: Some("<a/>".to_owned()),
            config_map_ref: Some(ConfigMapKeyRef { name: "a".to_owned(), key: "b".to_owned() }),
        };
        let spec = GridTemplateSpec {
            object_grid_xml: Some(both),
            deployment_policy_xml: Some(Document::default()),
            ..GridTemplateSpec::default()
        };
        assert_eq!(fields(spec), ["spec.objectGridXml", "spec.deploymentPolicyXml"]);
    }

    #[test]
    fn a_name_and_a_selector_exclude_each_other() {
        let spec = GridTemplateSpec {
            object_grid_xml: inline("<a/>"),
            deployment_policy_xml: inline("<b/>"),
            cache_ref: Some(ObjectRef { name: "a".to_owned() }),
            cache_selector: Some(LabelSelector::default()),
        };
        assert_eq!(fields(spec), ["spec.cacheSelector"]);
    }
}
