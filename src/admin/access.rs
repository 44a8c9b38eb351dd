//! Who calls, and what they may do: the API server's word on both, asked for each request.

use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use xsld_journal::decision::WHO_MAX;

use crate::telemetry::chain;

/// The group of the resources below. They exist only as names of rights.
const GROUP: &str = "xsld.ibm.com";
/// The longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 16 << 10;

/// What a caller asks to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Right<'a> {
    /// `get xsldcaches/journal`: to read the journal of all caches that the operator works on. None
    /// means those of all namespaces.
    Read(Option<&'a str>),
    /// `create xsldcaches/plan`: to be told what a spec would lead to for this cache.
    Plan {
        /// Namespace of the XsldCache.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// `create xsldcaches/decision`: to decide about an operation of this cache.
    Decide {
        /// Namespace of the XsldCache.
        namespace: &'a str,
        /// Its name.
        name: &'a str,
    },
}

impl Right<'_> {
    fn attributes(&self) -> ResourceAttributes {
        let (verb, subresource, namespace, name) = match self {
            Self::Read(namespace) => ("get", "journal", *namespace, None),
            Self::Plan { namespace, name } => ("create", "plan", Some(*namespace), Some(*name)),
            Self::Decide { namespace, name } => {
                ("create", "decision", Some(*namespace), Some(*name))
            }
        };
        ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some("xsldcaches".to_owned()),
            subresource: Some(subresource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Read(Some(namespace)) => {
                format!("get xsldcaches.{GROUP}/journal in namespace {namespace}")
            }
            Self::Read(None) => format!("get xsldcaches.{GROUP}/journal in all namespaces"),
            Self::Plan { namespace, name } => {
                format!("create xsldcaches.{GROUP}/plan of {name} in namespace {namespace}")
            }
            Self::Decide { namespace, name } => {
                format!("create xsldcaches.{GROUP}/decision of {name} in namespace {namespace}")
            }
        }
    }
}

/// Why a caller gets nothing: the status, and one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Denied {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn unauthenticated(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    fn unavailable(what: &str, error: &str) -> Self {
        let message = format!("the API server could not be asked {what}: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

/// The token of an `Authorization` header.
pub(super) fn bearer(header: Option<&str>) -> Result<&str, Denied> {
    let wanted = "a bearer token is needed: a user's or a service account's of this cluster";
    let token = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let token = token.filter(|token| !token.is_empty() && token.len() <= TOKEN_MAX);
    token.ok_or_else(|| Denied::unauthenticated(wanted))
}

/// Whose token it is, by TokenReview.
pub(super) async fn caller(
    client: &Client,
    token: &str,
    timeout: Duration,
) -> Result<UserInfo, Denied> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: None };
    let review = TokenReview { spec, ..TokenReview::default() };
    let asked = "whose token it is";
    let status = ask(client, &review, timeout, asked).await?.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        return Err(Denied::unauthenticated("the API server does not know the token"));
    }
    let user = status.user.unwrap_or_default();
    match user.username.as_deref() {
        Some(name) if !name.is_empty() && name.len() <= WHO_MAX => Ok(user),
        _ => Err(Denied::unauthenticated("the token's user has no name that can be recorded")),
    }
}

/// Lets a user do it, by SubjectAccessReview.
pub(super) async fn allow(
    client: &Client,
    user: &UserInfo,
    right: &Right<'_>,
    timeout: Duration,
) -> Result<(), Denied> {
    let spec = SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        resource_attributes: Some(right.attributes()),
        non_resource_attributes: None,
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let asked = "what the caller may do";
    let status = ask(client, &review, timeout, asked).await?.status.unwrap_or_default();
    if status.allowed && status.denied != Some(true) {
        return Ok(());
    }
    let name = user.username.as_deref().unwrap_or_default();
    Err(Denied::new(StatusCode::FORBIDDEN, format!("{name} may not {}", right.told())))
}

async fn ask<K>(client: &Client, review: &K, timeout: Duration, what: &str) -> Result<K, Denied>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::all(client.clone());
    let params = PostParams::default();
    match tokio::time::timeout(timeout, api.create(&params, review)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Denied::unavailable(what, &chain(&error))),
        Err(_) => Err(Denied::unavailable(what, "no answer in time")),
    }
}
