//! The StatefulSet, from what a journalled step committed.

use super::pod::{MEMBER_CONTAINER, VOLUME};
use super::{ANNOTATION_TEMPLATE_DIGEST, Identity, document};
use crate::validate::ValidCache;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

/// What the StatefulSet is to be, folded from the journal. Never taken from a spec.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.template`.
    pub template: &'a CommittedTemplate,
}

/// A pod template as it was recorded, with the digest it was recorded under.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedTemplate {
    template: Value,
    digest: String,
}

/// Why a recorded template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The text is not JSON.
    #[error("the recorded pod template {digest} is not JSON")]
    NotJson {
        /// The digest it was recorded under.
        digest: String,
        /// Where reading stopped.
        source: serde_json::Error,
    },
    /// The text is JSON but no pod template.
    #[error("the recorded pod template {digest} has no containers")]
    NoContainers {
        /// The digest it was recorded under.
        digest: String,
    },
}

impl CommittedTemplate {
    /// Reads a recorded template. Fields that this release does not know stay in
    /// it: after a rebuild the record is the live StatefulSet's.
    ///
    /// # Errors
    /// When the text is no pod template in JSON.
    pub fn read(text: &str, digest: &str) -> Result<Self, TemplateError> {
        let digest = digest.to_owned();
        let template: Value = match serde_json::from_str(text) {
            Ok(template) => template,
            Err(source) => return Err(TemplateError::NotJson { digest, source }),
        };
        if template.pointer("/spec/containers/0").is_none() {
            return Err(TemplateError::NoContainers { digest });
        }
        Ok(Self { template, digest })
    }

    /// The digest it was recorded under.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The digest of what in the spec it was made for; none when it does not tell.
    #[must_use]
    pub fn made_for(&self) -> Option<&str> {
        let annotations = self.template.pointer("/metadata/annotations")?;
        annotations.get(super::ANNOTATION_SPEC_DIGEST)?.as_str()
    }

    /// The image of the member's container, for the status.
    #[must_use]
    pub fn image(&self) -> Option<&str> {
        let containers = self.template.pointer("/spec/containers")?.as_array()?;
        let member = containers.iter().find(|it| it["name"] == MEMBER_CONTAINER)?;
        member["image"].as_str()
    }
}

/// The StatefulSet as it is applied.
///
/// `live` is the live object, when there is one: its claim templates are handed
/// through unchanged, because the API server refuses any other (422), and a
/// larger volume is asked for at each claim instead.
///
/// Pods start in parallel and are only replaced when they are deleted: the order
/// of a roll is not the ordinals' order. Claims are never deleted by Kubernetes.
#[must_use]
pub fn stateful_set(
    cache: &ValidCache,
    identity: &Identity,
    committed: Committed<'_>,
    live: Option<&Value>,
) -> Value {
    let mut metadata = identity.metadata(&identity.name);
    let digest = (ANNOTATION_TEMPLATE_DIGEST.to_owned(), committed.template.digest().to_owned());
    metadata.annotations = Some([digest].into());
    let retain = || Some("Retain".to_owned());
    let mut set = document(&StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            service_name: Some(identity.name.clone()),
            selector: identity.selector(),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: retain(),
                    when_scaled: retain(),
                },
            ),
            volume_claim_templates: Some(vec![claim_template(cache, identity)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    });
    set["spec"]["replicas"] = json!(committed.replicas);
    set["spec"]["template"] = committed.template.template.clone();
    if let Some(claims) = live.and_then(|live| live.pointer("/spec/volumeClaimTemplates")) {
        set["spec"]["volumeClaimTemplates"] = claims.clone();
    }
    set
}

/// The template of the members' claims. The claims get no owner: they outlive the
/// StatefulSet until the operator deletes them.
fn claim_template(cache: &ValidCache, identity: &Identity) -> PersistentVolumeClaim {
    let size = ("storage".to_owned(), Quantity(cache.storage.size.clone()));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME.to_owned()),
            labels: Some(identity.labels()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(cache.storage.access_modes.clone()),
            storage_class_name: cache.storage.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([size].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
