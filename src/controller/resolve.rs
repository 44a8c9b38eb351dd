//! I/O: what a spec names elsewhere. What is missing is a problem to be told, not an error.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use secrecy::SecretString;

use super::findings::{Findings, Thing};
use super::objects::timed;
use super::{Context, Subject};
use crate::crd::{ConditionReason as Reason, SecretKeyRef};
use crate::observe::keyring::{Guarded, Passwords};
use crate::observe::{Access, TrustMode};
use crate::status::Problem;
use crate::validate::{self, EntrypointSource, SecretSource, TlsTrust, ValidCache};
use crate::xsld::profile::ApiProfile;

/// Finds everything that the spec names: how to speak to the members, and none while something that
/// it needs is missing. What is missing or wrong, and what cannot be read, are findings. Whoever was
/// spoken to before is spoken to in the same way while that cannot be read.
pub async fn resolve(
    context: &Context,
    subject: &Subject,
    cache: &ValidCache,
    generation: i64,
    findings: &mut Findings<'_>,
) -> Option<Access> {
    let mut look = Look { context, subject, findings, is_unread: false };
    let access = look.access(cache).await;
    look.entrypoint(cache).await;
    if look.is_unread {
        return access.or_else(|| findings.former_access(generation));
    }
    findings.keep_access(generation, access.as_ref());
    access
}

struct Look<'a, 'b> {
    context: &'a Context,
    subject: &'a Subject,
    findings: &'a mut Findings<'b>,
    /// Something could not be read, and whether it exists is not known.
    is_unread: bool,
}

impl Look<'_, '_> {
    async fn access(&mut self, cache: &ValidCache) -> Option<Access> {
        let (context, subject) = (self.context, self.subject);
        let password = self.secret(&cache.credentials.admin_password).await;
        let secret_key = self.secret(&cache.credentials.secret_key).await;
        let held = super::credentials::held(context, subject, self.findings).await;
        self.is_unread |= held.is_none();
        let trust = self.trust(&cache.tls).await;
        let profile = self.profile(cache).await;
        let keyring = context.keyring(&subject.identity.uid);
        Some(Access {
            transport: Arc::new(Guarded {
                transport: context.transport.clone(),
                keyring: keyring.clone(),
                clock: context.clock.clone(),
                window: context.times.password_window,
            }),
            profile: Arc::new(profile?),
            passwords: Passwords::new(password?, held?),
            keyring,
            secret_key: secret_key?,
            trust: trust?,
            deadline: context.times.request,
        })
    }

    async fn entrypoint(&mut self, cache: &ValidCache) {
        let EntrypointSource::ConfigMap(name) = &cache.entrypoint else { return };
        let key = crate::manifests::ENTRYPOINT_KEY;
        let Some(found) = self.config_map(name).await else { return };
        let has_key = found.is_some_and(|map| map.data.is_some_and(|data| data.contains_key(key)));
        if !has_key {
            self.found(
                Reason::EntrypointMissing,
                format!(
                    "spec.entrypointConfigMap names the ConfigMap {name}, which is missing or has \
                     no key {key}: apply it, and the pods start"
                ),
            );
        }
    }

    fn found(&mut self, reason: Reason, message: String) {
        self.findings.add(Problem { reason, message });
    }

    async fn secret(&mut self, source: &SecretSource) -> Option<SecretString> {
        let reference = match source {
            SecretSource::Plain(text) => return Some(text.clone()),
            SecretSource::Ref(reference) => reference,
        };
        let bytes = self.secret_bytes(reference).await?;
        let Ok(text) = String::from_utf8(bytes) else {
            let SecretKeyRef { name, key } = reference;
            self.found(Reason::SecretMissing, format!("the Secret {name} key {key} is not text"));
            return None;
        };
        let text = text.trim_end_matches(['\r', '\n']);
        let broken = validate::secret_rules(text);
        if !broken.is_empty() {
            let SecretKeyRef { name, key } = reference;
            self.found(
                Reason::SecretInvalid,
                format!("the Secret {name} key {key} {}: correct it", broken.join(" and ")),
            );
        }
        Some(SecretString::from(text.to_owned()))
    }

    async fn secret_bytes(&mut self, reference: &SecretKeyRef) -> Option<Vec<u8>> {
        let SecretKeyRef { name, key } = reference;
        let namespace = &self.subject.identity.namespace;
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), namespace);
        let read = timed("read a Secret", self.context.times.request, api.get_opt(name)).await;
        let Some(found) = self.findings.read(&Thing::new("Secret", name), read) else {
            self.is_unread = true;
            return None;
        };
        let bytes = found.and_then(|secret| secret.data).and_then(|mut data| data.remove(key));
        if bytes.is_none() {
            self.found(
                Reason::SecretMissing,
                format!(
                    "the Secret {name} with the key {key} is named by the spec and does not \
                     exist: create it"
                ),
            );
        }
        bytes.map(|bytes| bytes.0)
    }

    async fn trust(&mut self, tls: &TlsTrust) -> Option<TrustMode> {
        match tls {
            TlsTrust::Pin => Some(TrustMode::Pin),
            TlsTrust::Insecure => Some(TrustMode::Insecure),
            TlsTrust::Ca(reference) => self.secret_bytes(reference).await.map(TrustMode::Ca),
        }
    }

    async fn profile(&mut self, cache: &ValidCache) -> Option<ApiProfile> {
        let Some(name) = &cache.api_profile_config_map else { return Some(ApiProfile::default()) };
        let Some(map) = self.config_map(name).await? else {
            self.found(
                Reason::ConfigMapMissing,
                format!("spec.apiProfileConfigMap names {name}, which does not exist: create it"),
            );
            return None;
        };
        match ApiProfile::from_config_map(&map.data.unwrap_or_default()) {
            Ok(profile) => Some(profile),
            Err(error) => {
                self.found(
                    Reason::ProfileInvalid,
                    format!("the API profile in ConfigMap {name} cannot be used: {error}"),
                );
                None
            }
        }
    }

    /// The ConfigMap, if there is one; nothing when that cannot be read.
    async fn config_map(&mut self, name: &str) -> Option<Option<ConfigMap>> {
        let namespace = &self.subject.identity.namespace;
        let api: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), namespace);
        let read = timed("read a ConfigMap", self.context.times.request, api.get_opt(name)).await;
        let found = self.findings.read(&Thing::new("ConfigMap", name), read);
        self.is_unread |= found.is_none();
        found
    }
}
