//! Events about pods, as a kubelet and a scheduler write them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

/// Writes an Event about `object` without waiting for it. An Event that is not
/// taken is lost, as with a real kubelet.
pub(super) fn tell<K>(
    client: &Client,
    object: &K,
    source: &str,
    type_: Type,
    reason: &str,
    text: &str,
) where
    K: Resource<DynamicType = ()>,
{
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let now = format!("{:.0}", Timestamp::now());
    // The API server takes at most 1024 characters.
    let text: String = text.chars().take(1000).collect();
    let event = json!({
        "metadata": {"generateName": format!("{}.", object.name_any()), "namespace": namespace},
        "involvedObject": object.object_ref(&()),
        "type": type_.name(),
        "reason": reason,
        "message": text,
        "source": {"component": source},
        "reportingComponent": source,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    tokio::spawn(async move {
        let event = match serde_json::from_value(event) {
            Ok(event) => event,
            Err(error) => return tracing::debug!(%error, "an Event could not be made"),
        };
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "an Event was not taken");
        }
    });
}

/// How serious an Event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Normal,
    Warning,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
