//! ConfigMaps and Secrets as a kubelet fetches them, each time anew.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret};
use kube::Client;
use kube::api::Api;

use super::environment::{ConfigError, Sources, references};

/// The data of a ConfigMap, text and binary; `None` when there is no such object.
pub(super) async fn config_map(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<BTreeMap<String, Vec<u8>>>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await?;
    Ok(found.map(|map| {
        let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
        let binary = map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
        text.chain(binary).collect()
    }))
}

/// The data of a Secret; `None` when there is no such object.
pub(super) async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
) -> kube::Result<Option<BTreeMap<String, Vec<u8>>>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await?;
    Ok(found.map(|secret| {
        secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect()
    }))
}

/// Fetches what the container's environment refers to. What does not exist is
/// left out: whether that matters is for the environment to say.
pub(super) async fn fetch(
    client: &Client,
    namespace: &str,
    container: &Container,
) -> Result<Sources, ConfigError> {
    let text = |data: BTreeMap<String, Vec<u8>>| {
        data.into_iter()
            .map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes).into_owned()))
            .collect()
    };
    let failed = |error: kube::Error| ConfigError(error.to_string());
    let (config_maps, secrets) = references(container);
    let mut sources = Sources::default();
    for name in config_maps {
        let found = config_map(client, namespace, &name).await.map_err(failed)?;
        sources.config_maps.extend(found.map(|data| (name, text(data))));
    }
    for name in secrets {
        let found = secret(client, namespace, &name).await.map_err(failed)?;
        sources.secrets.extend(found.map(|data| (name, text(data))));
    }
    Ok(sources)
}
