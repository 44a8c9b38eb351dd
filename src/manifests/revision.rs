//! What a pod template tells of itself: its digest, and the digest of what in the spec it was made
//! for. So the pods tell it, too, and a template that only another release of the operator makes
//! otherwise can be told from one that the spec asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::canonical::canonical;
use super::entrypoint::entrypoint_name;
use super::{
    ANNOTATION_SPEC_DIGEST, ANNOTATION_TEMPLATE_DIGEST, CommittedTemplate, Identity,
    admin_password_ref, document, secret_key_ref,
};
use crate::validate::ValidCache;

/// Least length of a digest in a consent.
const CONSENT_MIN: usize = 12;

/// The canonical text of a template: what a journalled step records.
#[must_use]
pub fn template_json(template: &PodTemplateSpec) -> String {
    canonical(&document(template))
}

/// BLAKE3 of the canonical text of a template without the annotation that tells it, in
/// hexadecimal.
#[must_use]
pub fn template_digest(template: &PodTemplateSpec) -> String {
    let mut template = template.clone();
    let annotations = template.metadata.as_mut().and_then(|meta| meta.annotations.as_mut());
    if let Some(annotations) = annotations {
        annotations.remove(ANNOTATION_TEMPLATE_DIGEST);
    }
    blake3::hash(template_json(&template).as_bytes()).to_hex().to_string()
}

/// Writes both digests into the template's annotations.
pub(super) fn sign(template: &mut PodTemplateSpec, cache: &ValidCache, identity: &Identity) {
    let spec = spec_digest(cache, identity);
    let note = |template: &mut PodTemplateSpec, name: &str, digest: String| {
        let metadata = template.metadata.get_or_insert_default();
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(name.to_owned(), digest);
    };
    note(template, ANNOTATION_SPEC_DIGEST, spec);
    let digest = template_digest(template);
    note(template, ANNOTATION_TEMPLATE_DIGEST, digest);
}

/// BLAKE3 of the fields of the spec that pods depend on, in hexadecimal. What is left out of a spec
/// counts for nothing, so that a field which a later release adds changes nothing by itself.
fn spec_digest(cache: &ValidCache, identity: &Identity) -> String {
    let reference = |reference: crate::crd::SecretKeyRef| json!([reference.name, reference.key]);
    let fields = json!({
        "image": cache.image,
        "capacity": cache.capacity,
        "group": cache.group.as_str(),
        "entrypoint": entrypoint_name(cache, identity),
        "adminPassword": reference(admin_password_ref(cache, identity)),
        "secretKey": reference(secret_key_ref(cache, identity)),
        "pod": document(&cache.pod.settings),
        "antiAffinity": format!("{:?}", cache.pod.anti_affinity),
    });
    blake3::hash(canonical(&pruned(fields)).as_bytes()).to_hex().to_string()
}

/// The value without nulls and without what is empty.
fn pruned(value: Value) -> Value {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, pruned(value)))
                .filter(|(_, value)| !is_nothing(value))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(pruned).collect()),
        value => value,
    }
}

/// Whether `template` may take the place of the committed one: the spec asks for other pods than
/// that was made for, or somebody consented by [`super::ANNOTATION_CONSENT`]. A template of a
/// release that did not tell what it was made for is compared by its image. `held` is the digest of
/// one that an adopted group did not have: it needs the consent, whatever it was made for.
#[must_use]
pub fn may_roll(
    committed: &CommittedTemplate,
    template: &PodTemplateSpec,
    held: Option<&str>,
    annotations: &BTreeMap<String, String>,
) -> bool {
    let digest = template_digest(template);
    if committed.digest() == digest {
        return false;
    }
    let consent = annotations.get(super::ANNOTATION_CONSENT).map(|consent| consent.trim());
    if consent.is_some_and(|consent| consent.len() >= CONSENT_MIN && digest.starts_with(consent)) {
        return true;
    }
    if held == Some(digest.as_str()) {
        return false;
    }
    let told = template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
    let made_for = told.and_then(|told| told.get(ANNOTATION_SPEC_DIGEST)).map(String::as_str);
    match committed.made_for() {
        Some(former) => Some(former) != made_for,
        None => {
            let containers = template.spec.as_ref().map(|spec| spec.containers.as_slice());
            let image = containers.and_then(|all| all.first()?.image.as_deref());
            committed.image() != image
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, valid};
    use super::super::{ANNOTATION_CONSENT, pod_template};
    use super::*;

    fn committed(template: &PodTemplateSpec) -> CommittedTemplate {
        CommittedTemplate::read(&template_json(template), &template_digest(template)).unwrap()
    }

    fn of(image: &str) -> PodTemplateSpec {
        pod_template(&valid(|spec| spec.image = image.to_owned()), &identity())
    }

    /// The same spec as another release would write it.
    fn released(image: &str) -> PodTemplateSpec {
        let mut template = of(image);
        template.spec.as_mut().unwrap().enable_service_links = Some(true);
        let digest = template_digest(&template);
        let annotations = template.metadata.as_mut().unwrap().annotations.as_mut().unwrap();
        annotations.insert(ANNOTATION_TEMPLATE_DIGEST.to_owned(), digest);
        template
    }

    #[test]
    fn an_upgrade_of_the_operator_alone_rolls_nothing_without_consent() {
        let (old, new) = (committed(&released("a:1")), of("a:1"));
        let consent = |text: &str| [(ANNOTATION_CONSENT.to_owned(), text.to_owned())].into();
        assert!(!may_roll(&old, &new, None, &BTreeMap::new()));
        let digest = template_digest(&new);
        assert!(may_roll(&old, &new, None, &consent(&digest)));
        assert!(may_roll(&old, &new, None, &consent(&digest[..12])));
        assert!(!may_roll(&old, &new, None, &consent(&digest[..11])), "too short to be meant");
        assert!(!may_roll(&old, &new, None, &consent(&template_digest(&released("a:1")))));
        assert!(may_roll(&old, &of("a:2"), None, &BTreeMap::new()), "the spec asks for that");
        assert!(!may_roll(&committed(&new), &new, None, &consent(&digest)), "nothing differs");
    }

    #[test]
    fn what_an_adopted_group_did_not_have_waits_for_consent_whatever_it_was_made_for() {
        let (old, new) = (committed(&of("a:1")), of("a:2"));
        let digest = template_digest(&new);
        let none = BTreeMap::new();
        assert!(!may_roll(&old, &new, Some(&digest), &none));
        assert!(may_roll(&old, &of("a:3"), Some(&digest), &none), "the spec asks for another one");
        let consent = [(ANNOTATION_CONSENT.to_owned(), digest.clone())].into();
        assert!(may_roll(&old, &new, Some(&digest), &consent));
    }

    #[test]
    fn a_template_that_tells_nothing_is_compared_by_its_image() {
        let mut old = of("a:1");
        old.metadata.as_mut().unwrap().annotations = None;
        assert!(!may_roll(&committed(&old), &of("a:1"), None, &BTreeMap::new()));
        assert!(may_roll(&committed(&old), &of("a:2"), None, &BTreeMap::new()));
    }

    #[test]
    fn a_template_tells_its_own_digest_and_a_user_cannot_change_that() {
        let template = pod_template(
            &valid(|spec| {
                spec.pod.annotations =
                    [(ANNOTATION_TEMPLATE_DIGEST.to_owned(), "mine".to_owned())].into();
            }),
            &identity(),
        );
        let told = template.metadata.clone().unwrap().annotations.unwrap();
        assert_eq!(told[ANNOTATION_TEMPLATE_DIGEST], template_digest(&template));
    }
}
