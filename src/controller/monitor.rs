//! I/O: the ServiceMonitor by which a Prometheus operator finds this operator's metrics. Only where
//! that kind exists: a cluster without it is as good as any other.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use tracing::{info, warn};

use super::objects::timed;
use super::{Context, Error};
use crate::manifests::{self, FIELD_MANAGER};
use crate::telemetry::chain;

/// Applies the ServiceMonitor when the kind exists, the operator's own Service is there to be found
/// by it, and a field of ours differs. What goes wrong is logged: nothing else depends on it.
pub async fn apply(context: &Context) {
    match try_apply(context).await {
        Ok(true) => info!("the ServiceMonitor was applied"),
        Ok(false) => {}
        Err(error) => warn!(error = chain(&error), "the ServiceMonitor was not applied"),
    }
}

async fn try_apply(context: &Context) -> Result<bool, Error> {
    let (client, timeout) = (&context.client, context.times.request);
    let group = manifests::SERVICE_MONITOR_VERSION;
    let kinds = timed("look for ServiceMonitors", timeout, client.list_api_group_resources(group));
    let exists = match kinds.await {
        Ok(kinds) => kinds.resources.iter().any(|kind| kind.kind == "ServiceMonitor"),
        Err(Error::Write { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
            false
        }
        Err(error) => return Err(error),
    };
    if !exists {
        return Ok(false);
    }
    let namespace = &context.operator_namespace;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = services.get_opt(manifests::OPERATOR_SERVICE);
    let Some(service) = timed("read the operator's Service", timeout, service).await? else {
        return Ok(false);
    };
    let mut wanted = manifests::service_monitor(namespace, &service);
    let (group, version) = group.split_once('/').unwrap_or(("", group));
    let kind = GroupVersionKind::gvk(group, version, "ServiceMonitor");
    let resource = ApiResource::from_gvk_with_plural(&kind, "servicemonitors");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let name = manifests::OPERATOR_SERVICE;
    let live = timed("read the ServiceMonitor", timeout, api.get_opt(name)).await?;
    if let Some(live) = &live {
        let labels = live.metadata.labels.as_ref();
        let by = labels.and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
        let mut owners = live.metadata.owner_references.iter().flatten();
        let is_of_our_service =
            owners.any(|owner| Some(&owner.uid) == service.metadata.uid.as_ref());
        if !is_of_our_service && by.is_none_or(|by| by != FIELD_MANAGER) {
            warn!(name, "a ServiceMonitor of this name is somebody else's: it is left as it is");
            return Ok(false);
        }
        if !manifests::differs(&wanted, &manifests::document(live)) {
            return Ok(false);
        }
    }
    manifests::guard(&mut wanted, live.as_ref().map(|live| &live.metadata));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&wanted);
    timed("apply the ServiceMonitor", timeout, api.patch(name, &params, &patch)).await?;
    Ok(true)
}
