//! The ConfigMap with the script that runs before the image's own entrypoint.

use super::{Identity, names::supplied_entrypoint_name};
use crate::validate::{EntrypointSource, ValidCache};
use k8s_openapi::api::core::v1::ConfigMap;

/// The key of the script, in the operator's ConfigMap and in the user's.
pub const ENTRYPOINT_KEY: &str = "entrypoint.sh";

/// The script that the operator supplies. A new version is taken up by each
/// member at its next start and needs no roll.
const SCRIPT: &str = include_str!("entrypoint/entrypoint.sh");

/// Name of the ConfigMap that the pods mount: the user's or the operator's.
#[must_use]
pub fn entrypoint_name(cache: &ValidCache, identity: &Identity) -> String {
    match &cache.entrypoint {
        EntrypointSource::ConfigMap(name) => name.clone(),
        EntrypointSource::Supplied => supplied_entrypoint_name(&identity.name),
    }
}

/// The operator's ConfigMap; none when the user names one.
#[must_use]
pub fn entrypoint_config_map(cache: &ValidCache, identity: &Identity) -> Option<ConfigMap> {
    match cache.entrypoint {
        EntrypointSource::ConfigMap(_) => None,
        EntrypointSource::Supplied => Some(ConfigMap {
            metadata: identity.metadata(supplied_entrypoint_name(&identity.name)),
            data: Some([(ENTRYPOINT_KEY.to_owned(), SCRIPT.to_owned())].into()),
            ..ConfigMap::default()
        }),
    }
}

#[cfg(test)]
mod tests;
