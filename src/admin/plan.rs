//! What a spec would lead to, asked of the running operator: it has the journal's state and sees the
//! group, and it only reads.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::{Denied, Right};
use super::journal::Shared;
use crate::controller::rehearse;
use crate::crd::XsldCache;
use crate::telemetry::chain;

/// The longest proposal, in bytes: what an object may hold in etcd.
pub(super) const PROPOSAL_MAX: usize = 1 << 20;

/// What is proposed for a cache that is there.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Proposal {
    /// Namespace of the XsldCache.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The whole object as it would be applied; none for the one that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
    /// Another `spec.size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
    /// Another `spec.image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Whether it would be deleted.
    #[serde(default)]
    pub delete: bool,
}

impl Proposal {
    /// The object that is proposed in the place of the live one.
    fn in_place_of(
        self,
        live: &XsldCache,
        now: jiff::Timestamp,
    ) -> Result<XsldCache, serde_json::Error> {
        let object = self.object.map(serde_json::from_value).transpose()?;
        let mut object: XsldCache = object.unwrap_or_else(|| live.clone());
        if let Some(size) = self.size {
            object.spec.size = size;
        }
        if let Some(image) = self.image {
            object.spec.image = image;
        }
        if self.delete {
            object.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        }
        Ok(object)
    }
}

pub(super) async fn plan(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let response =
        try_plan(&shared, &headers, &body).await.unwrap_or_else(IntoResponse::into_response);
    shared.answered("plan", response)
}

async fn try_plan(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<Response, Denied> {
    let user = shared.caller(headers).await?;
    let context = shared.leading(&user).await?;
    // What is wrong with it is told by its place: the words may hold a password.
    let wrong = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let message = format!(
            "this is no proposal of an XsldCache (line {line}, column {column}); what is wrong with an \
             object is told by `kubectl apply --dry-run=server`"
        );
        Denied::new(StatusCode::BAD_REQUEST, message)
    };
    let proposal: Proposal = serde_json::from_slice(body).map_err(wrong)?;
    let right = Right::Plan { namespace: &proposal.namespace, name: &proposal.name };
    shared.allow(&user, &right).await?;
    let caches: Api<XsldCache> = Api::namespaced(context.client.clone(), &proposal.namespace);
    let read = tokio::time::timeout(shared.timeout(), caches.get_opt(&proposal.name)).await;
    let unavailable = |reason: String| {
        let message = format!("the XsldCache could not be read: {reason}");
        Denied::new(StatusCode::SERVICE_UNAVAILABLE, message)
    };
    let live = read
        .map_err(|_| unavailable("no answer in time".to_owned()))?
        .map_err(|error| unavailable(chain(&error)))?;
    let Some(live) = live else {
        let cache = format!("{}/{}", proposal.namespace, proposal.name);
        let message = format!(
            "there is no XsldCache {cache}: a plan is for one that is there; a new one with \
             `paused: true` does nothing yet"
        );
        return Err(Denied::new(StatusCode::NOT_FOUND, message));
    };
    let object = proposal.in_place_of(&live, context.clock.wall()).map_err(wrong)?;
    let plan = rehearse::rehearse(context, &live, object).await.map_err(|error| denied(&error))?;
    Ok(Json(plan).into_response())
}

fn denied(error: &rehearse::Error) -> Denied {
    let status = match error {
        rehearse::Error::NotStored => StatusCode::NOT_FOUND,
        rehearse::Error::OtherObject { .. } | rehearse::Error::Invalid(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        rehearse::Error::Read(_) => StatusCode::SERVICE_UNAVAILABLE,
        rehearse::Error::Unfinished(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Denied::new(status, chain(error))
}
