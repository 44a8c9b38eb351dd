//! Writes a status: one server-side apply on the status subresource, and only when it differs.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde_json::json;
use tracing::debug;

use crate::crd::{
    ConditionType, DataGrid, DataGridStatus, GridTemplate, GridTemplateStatus, XsldCache,
    XsldCacheStatus,
};
use crate::manifests::FIELD_MANAGER;

/// Why a status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("failed to write the status of {object}")]
    Api {
        /// Kind, namespace and name.
        object: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// It did not answer in time; whether the write took effect is not known.
    #[error("the API server did not answer in time when the status of {object} was written")]
    Timeout {
        /// Kind, namespace and name.
        object: String,
    },
}

impl Error {
    /// Whether the same may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Api { source, .. } => crate::recover::is_passing(source),
        }
    }
}

/// Writes the status of a cache unless `object` has it already. Gives whether it wrote; an object
/// that is gone, or was made anew under its name, is left alone.
///
/// # Errors
/// When the API server refuses, or does not answer within `timeout`.
pub async fn publish_cache(
    client: &Client,
    object: &XsldCache,
    status: &XsldCacheStatus,
    timeout: Duration,
) -> Result<bool, Error> {
    if object.status.as_ref().is_some_and(|present| same_cache(present, status)) {
        return Ok(false);
    }
    publish(client, object, status, timeout).await
}

/// Writes the status of a grid unless `object` has it already. Gives whether it wrote; an object
/// that is gone, or was made anew under its name, is left alone.
///
/// # Errors
/// When the API server refuses, or does not answer within `timeout`.
pub async fn publish_grid(
    client: &Client,
    object: &DataGrid,
    status: &DataGridStatus,
    timeout: Duration,
) -> Result<bool, Error> {
    if object.status.as_ref().is_some_and(|present| same_grid(present, status)) {
        return Ok(false);
    }
    publish(client, object, status, timeout).await
}

/// Writes the status of a template unless `object` has it already, as [`publish_grid`] does.
///
/// # Errors
/// When the API server refuses, or does not answer within `timeout`.
pub async fn publish_template(
    client: &Client,
    object: &GridTemplate,
    status: &GridTemplateStatus,
    timeout: Duration,
) -> Result<bool, Error> {
    if object.status.as_ref().is_some_and(|present| same_template(present, status)) {
        return Ok(false);
    }
    publish(client, object, status, timeout).await
}

async fn publish<K>(
    client: &Client,
    object: &K,
    status: &impl Serialize,
    timeout: Duration,
) -> Result<bool, Error>
where
    K: Resource<DynamicType = ()>,
{
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    // The UID makes it a precondition that the object is still the one that was looked at.
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "namespace": namespace, "uid": meta.uid },
        "status": status,
    });
    // The answer is not needed, so that it need not be understood as our own type.
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&patch);
    let write = api.patch_status(name, &params, &patch);
    let told = || format!("{} {namespace}/{name}", K::kind(&()));
    match tokio::time::timeout(timeout, write).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(kube::Error::Api(answer))) if answer.is_not_found() || answer.is_conflict() => {
            debug!(object = told(), "the object is gone or another one: its status is left alone");
            Ok(false)
        }
        Ok(Err(source)) => Err(Error::Api { object: told(), source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { object: told() }),
    }
}

/// Whether two statuses say the same. Lists with a key may come back in another order, and a
/// condition of somebody else's is none of ours.
fn same_cache(present: &XsldCacheStatus, next: &XsldCacheStatus) -> bool {
    let ordered = |status: &XsldCacheStatus| {
        let mut status = status.clone();
        status.conditions = ours(&status.conditions);
        status.member_states.sort_by(|one, other| one.name.cmp(&other.name));
        status
    };
    present == next || ordered(present) == ordered(next)
}

fn same_grid(present: &DataGridStatus, next: &DataGridStatus) -> bool {
    let ordered = |status: &DataGridStatus| {
        let mut status = status.clone();
        status.conditions = ours(&status.conditions);
        status
    };
    present == next || ordered(present) == ordered(next)
}

fn same_template(present: &GridTemplateStatus, next: &GridTemplateStatus) -> bool {
    let ordered = |status: &GridTemplateStatus| {
        let mut status = status.clone();
        status.conditions = ours(&status.conditions);
        status.uploads.sort_by(|one, other| one.cache.cmp(&other.cache));
        status
    };
    present == next || ordered(present) == ordered(next)
}

fn ours(conditions: &[Condition]) -> Vec<Condition> {
    let mut ours: Vec<_> = conditions
        .iter()
        .filter(|condition| ConditionType::ALL.iter().any(|kind| kind.as_str() == condition.type_))
        .cloned()
        .collect();
    ours.sort_by(|one, other| one.type_.cmp(&other.type_));
    ours
}

#[cfg(test)]
mod tests;
