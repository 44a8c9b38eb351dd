//! I/O: what a spec names elsewhere. What is missing is a problem to be told, not an error.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use secrecy::SecretString;

use super::{Context, Error, Subject};
use crate::crd::{ConditionReason as Reason, SecretKeyRef};
use crate::observe::keyring::{Guarded, Passwords};
use crate::observe::{Access, TrustMode};
use crate::status::Problem;
use crate::validate::{EntrypointSource, SecretSource, TlsTrust, ValidCache};
use crate::xsld::profile::ApiProfile;

/// What was found.
pub struct Resolved {
    /// How to speak to the members; none while something that it needs is missing.
    pub access: Option<Access>,
    /// What is missing or wrong, and what to do.
    pub problems: Vec<Problem>,
}

/// Finds everything that the spec names.
///
/// # Errors
/// When the API server cannot be read; a missing object is a [`Problem`].
pub async fn resolve(
    context: &Context,
    subject: &Subject,
    cache: &ValidCache,
) -> Result<Resolved, Error> {
    let mut problems = Vec::new();
    let password =
        secret(context, subject, &cache.credentials.admin_password, &mut problems).await?;
    let secret_key = secret(context, subject, &cache.credentials.secret_key, &mut problems).await?;
    let held = super::credentials::held(context, subject).await?;
    let trust = trust(context, subject, &cache.tls, &mut problems).await?;
    let profile = profile(context, subject, cache, &mut problems).await?;
    if let EntrypointSource::ConfigMap(name) = &cache.entrypoint {
        let key = crate::manifests::ENTRYPOINT_KEY;
        let found = config_map(context, subject, name).await?;
        let has_key = found.is_some_and(|map| map.data.is_some_and(|data| data.contains_key(key)));
        if !has_key {
            problems.push(Problem {
                reason: Reason::EntrypointMissing,
                message: format!(
                    "spec.entrypointConfigMap names the ConfigMap {name}, which is missing or has \
                     no key {key}: apply it, and the pods start"
                ),
            });
        }
    }
    let keyring = context.keyring(&subject.identity.uid);
    let access = match (password, secret_key, trust, profile) {
        (Some(password), Some(secret_key), Some(trust), Some(profile)) => Some(Access {
            transport: Arc::new(Guarded {
                transport: context.transport.clone(),
                keyring: keyring.clone(),
                clock: context.clock.clone(),
                window: context.times.password_window,
            }),
            profile: Arc::new(profile),
            passwords: Passwords::new(password, held),
            keyring,
            secret_key,
            trust,
            deadline: context.times.request,
        }),
        _ => None,
    };
    Ok(Resolved { access, problems })
}

async fn secret(
    context: &Context,
    subject: &Subject,
    source: &SecretSource,
    problems: &mut Vec<Problem>,
) -> Result<Option<SecretString>, Error> {
    match source {
        SecretSource::Plain(text) => Ok(Some(text.clone())),
        SecretSource::Ref(reference) => {
            let bytes = secret_bytes(context, subject, reference, problems).await?;
            let text = bytes.map(String::from_utf8).transpose().unwrap_or_else(|_| {
                problems.push(Problem {
                    reason: Reason::SecretMissing,
                    message: format!(
                        "the Secret {} key {} is not text",
                        reference.name, reference.key
                    ),
                });
                None
            });
            Ok(text.map(|text| SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
    }
}

async fn secret_bytes(
    context: &Context,
    subject: &Subject,
    reference: &SecretKeyRef,
    problems: &mut Vec<Problem>,
) -> Result<Option<Vec<u8>>, Error> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &subject.identity.namespace);
    let found =
        super::objects::timed("read a Secret", context.times.request, api.get_opt(&reference.name))
            .await?;
    let bytes =
        found.and_then(|secret| secret.data).and_then(|mut data| data.remove(&reference.key));
    if bytes.is_none() {
        problems.push(Problem {
            reason: Reason::SecretMissing,
            message: format!(
                "the Secret {} with the key {} is named by the spec and does not exist: create it",
                reference.name, reference.key
            ),
        });
    }
    Ok(bytes.map(|bytes| bytes.0))
}

async fn trust(
    context: &Context,
    subject: &Subject,
    tls: &TlsTrust,
    problems: &mut Vec<Problem>,
) -> Result<Option<TrustMode>, Error> {
    Ok(match tls {
        TlsTrust::Pin => Some(TrustMode::Pin),
        TlsTrust::Insecure => Some(TrustMode::Insecure),
        TlsTrust::Ca(reference) => {
            secret_bytes(context, subject, reference, problems).await?.map(TrustMode::Ca)
        }
    })
}

async fn profile(
    context: &Context,
    subject: &Subject,
    cache: &ValidCache,
    problems: &mut Vec<Problem>,
) -> Result<Option<ApiProfile>, Error> {
    let Some(name) = &cache.api_profile_config_map else { return Ok(Some(ApiProfile::default())) };
    let Some(map) = config_map(context, subject, name).await? else {
        problems.push(Problem {
            reason: Reason::ConfigMapMissing,
            message: format!(
                "spec.apiProfileConfigMap names {name}, which does not exist: create it"
            ),
        });
        return Ok(None);
    };
    match ApiProfile::from_config_map(&map.data.unwrap_or_default()) {
        Ok(profile) => Ok(Some(profile)),
        Err(error) => {
            problems.push(Problem {
                reason: Reason::ProfileInvalid,
                message: format!("the API profile in ConfigMap {name} cannot be used: {error}"),
            });
            Ok(None)
        }
    }
}

async fn config_map(
    context: &Context,
    subject: &Subject,
    name: &str,
) -> Result<Option<ConfigMap>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &subject.identity.namespace);
    super::objects::timed("read a ConfigMap", context.times.request, api.get_opt(name)).await
}
