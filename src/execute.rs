//! I/O: one step to what became of it. There is nothing to choose in here: the step says it all.
//!
//! It runs only after the intent of that very step is durable, while the lease outlasts the
//! request, and it sends each request once.

mod volumes;

pub(crate) use volumes::request as growth_request;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, Client};
use serde_json::Value;
use xsld_journal::event::{MemberRef, Ordinal, Receipt, Step, StepKey};
use xsld_journal::state::CacheState;

use crate::manifests::{
    self, ANNOTATION_OPERATION, ANNOTATION_SEQUENCE, Committed, CommittedTemplate, FIELD_MANAGER,
    Identity,
};
use crate::observation::Observation;
use crate::observe::Access;
use crate::validate::{Documents, ValidCache};
use crate::xsld::call::{GridBody, TaskCommand};
use crate::xsld::client::Sent;

/// What became of the effect, as far as the answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It took effect.
    Done {
        /// What the answer said, as JSON.
        evidence: String,
    },
    /// It was taken and takes effect later; observation tells when.
    Accepted {
        /// The task that a member told.
        task: Option<u64>,
    },
    /// It was refused and had no effect.
    Refused {
        /// What was answered.
        reason: String,
    },
    /// It was certainly not sent.
    NotSent {
        /// Why not.
        reason: String,
    },
    /// It may or may not take effect.
    Unknown {
        /// What happened.
        reason: String,
    },
}

impl From<Sent> for Effect {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Accepted { task, .. } => Self::Accepted { task },
            // What runs or exists already may be this very request, which something between here
            // and the member sent twice.
            Sent::Refused { status: 409, error } => {
                Self::Unknown { reason: format!("409: {error}") }
            }
            Sent::Refused { status, error } => {
                Self::Refused { reason: format!("refused {status}: {error}") }
            }
            Sent::NotSent { reason } => Self::NotSent { reason },
            Sent::Unknown { reason } => Self::Unknown { reason },
        }
    }
}

/// Everything that effects on one cache need.
pub struct Target<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The cache.
    pub identity: &'a Identity,
    /// Its spec; none when it is broken, and then only deletions are done.
    pub cache: Option<&'a ValidCache>,
    /// How to speak to its members.
    pub access: Option<&'a Access>,
    /// What the journal knows.
    pub state: &'a CacheState,
    /// What was seen last.
    pub seen: &'a Observation,
    /// The live StatefulSet.
    pub live: Option<&'a StatefulSet>,
    /// The committed template's JSON, and its digest.
    pub template: Option<(String, String)>,
    /// Wanted grids by UID, with their digests.
    pub grids: &'a BTreeMap<String, (String, GridBody)>,
    /// Documents of wanted templates by UID, with their digests.
    pub templates: &'a BTreeMap<String, (String, Documents)>,
    /// Own timeout around each write.
    pub timeout: Duration,
}

/// Does the step's one effect.
pub async fn execute(target: &Target<'_>, step: &Step, key: StepKey) -> Effect {
    match step {
        Step::SetTemplate { .. } if target.live.is_none() => {
            Effect::Done { evidence: r#"{"stateful_set":"none yet"}"#.to_owned() }
        }
        Step::SetTemplate { .. } => {
            let replicas = target.live.and_then(|live| live.spec.as_ref()?.replicas).unwrap_or(0);
            apply_stateful_set(target, u32::try_from(replicas).unwrap_or(0), Some(key)).await
        }
        Step::ScaleStatefulSet { to, .. } => apply_stateful_set(target, *to, Some(key)).await,
        Step::JoinMember { .. }
        | Step::DisjoinMember { .. }
        | Step::RemoveGhostMember { .. }
        | Step::SetUpReplication { .. }
        | Step::PromotePrimary { .. }
        | Step::CancelTask { .. } => member_task(target, step, key).await,
        Step::CreateGrid { .. } | Step::UpdateGrid { .. } | Step::DeleteGrid { .. } => {
            grid(target, step, key).await
        }
        Step::UploadTemplate { .. } | Step::DeleteTemplate { .. } => {
            template(target, step, key).await
        }
        Step::ResetMember { member } => reset(target, member).await,
        // Only as it was judged: since then it may have got a volume.
        Step::DeleteVolume { ordinal, claim, claim_uid, receipt: Receipt::NeverBound { .. } } => {
            volumes::delete_unbound(target, *ordinal, claim, claim_uid).await
        }
        Step::DeleteVolume { claim, claim_uid, .. } => delete_claim(target, claim, claim_uid).await,
        Step::DeleteStatefulSet { uid } => delete_stateful_set(target, uid).await,
        Step::RollMember { member, .. } => delete_pod(target, member).await,
        Step::GrowVolume { ordinal, claim, claim_uid, to, .. } => {
            volumes::grow(target, *ordinal, claim, claim_uid, to).await
        }
    }
}

/// Applies the StatefulSet as it is committed, to the very object that was read or, where there was
/// none, to none: when anybody wrote or made one since, nothing happens and it is read again.
pub async fn apply_stateful_set(
    target: &Target<'_>,
    replicas: u32,
    key: Option<StepKey>,
) -> Effect {
    let not_sent = |reason: &str| Effect::NotSent { reason: reason.to_owned() };
    let Some(cache) = target.cache else { return not_sent("the spec is broken") };
    let Some((text, digest)) = &target.template else {
        return not_sent("no template is committed");
    };
    let template = match CommittedTemplate::read(text, digest) {
        Ok(template) => template,
        Err(error) => return not_sent(&crate::telemetry::chain(&error)),
    };
    let live = target.live.map(manifests::document);
    let committed = Committed { replicas, template: &template };
    let mut object = manifests::stateful_set(cache, target.identity, committed, live.as_ref());
    manifests::guard(&mut object, target.live.map(|live| &live.metadata));
    mark(target, &mut object, key);
    let api: Api<StatefulSet> = Api::namespaced(target.client.clone(), &target.identity.namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&object);
    let write = api.patch(&target.identity.name, &params, &patch);
    match tokio::time::timeout(target.timeout, write).await {
        Ok(Ok(set)) => Effect::Done {
            evidence: serde_json::json!({
                "uid": set.metadata.uid,
                "resource_version": set.metadata.resource_version,
                "replicas": set.spec.and_then(|spec| spec.replicas),
            })
            .to_string(),
        },
        Ok(Err(error)) => api_effect(&error),
        Err(_) => Effect::Unknown { reason: "the API server did not answer in time".to_owned() },
    }
}

fn mark(target: &Target<'_>, object: &mut Value, key: Option<StepKey>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(operation) = &target.state.operation else { return };
    if key.is_none() {
        return;
    }
    let annotations = metadata.entry("annotations").or_insert_with(|| serde_json::json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        let seq = operation.step.as_ref().map_or(operation.begun_seq, |open| open.intended_seq);
        annotations.insert(ANNOTATION_OPERATION.to_owned(), operation.id.to_string().into());
        annotations.insert(ANNOTATION_SEQUENCE.to_owned(), seq.to_string().into());
    }
}

/// What an error of the API server says about the effect. Only a refusal is certain; a conflict
/// means that the object moved on, and the step is looked at again.
fn api_effect(error: &kube::Error) -> Effect {
    match error {
        kube::Error::Api(status) if status.code == 409 => {
            Effect::Unknown { reason: format!("409: {}", status.message) }
        }
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            Effect::Refused { reason: format!("refused {}: {}", status.code, status.message) }
        }
        error => Effect::Unknown { reason: crate::telemetry::chain(error) },
    }
}

async fn member_task(target: &Target<'_>, step: &Step, key: StepKey) -> Effect {
    let not_sent = |reason: &str| Effect::NotSent { reason: reason.to_owned() };
    let Some(access) = target.access else { return not_sent("the credentials are missing") };
    let (ordinal, incarnation, command) = match step {
        Step::JoinMember { member, host, catalog } => (
            member.ordinal,
            &member.incarnation,
            Some(TaskCommand::Join {
                key: key.0,
                secret_key: access.secret_key.clone(),
                member: member.name.clone(),
                group_host: host.clone(),
                catalog: *catalog,
            }),
        ),
        Step::DisjoinMember { member, survivor } | Step::RemoveGhostMember { member, survivor } => {
            (
                survivor.ordinal,
                &survivor.incarnation,
                Some(TaskCommand::Disjoin { key: key.0, member: member.name.clone() }),
            )
        }
        Step::SetUpReplication { primary, replica } => {
            let replica = replica.name.clone();
            let command = TaskCommand::ConfigureReplication { key: key.0, replica };
            (primary.ordinal, &primary.incarnation, Some(command))
        }
        Step::PromotePrimary { member, .. } => {
            let command = TaskCommand::Promote { key: key.0, member: member.name.clone() };
            (member.ordinal, &member.incarnation, Some(command))
        }
        Step::CancelTask { member, .. } => (member.ordinal, &member.incarnation, None),
        _ => return not_sent("this step is not a member's"),
    };
    // The request goes to the very process that the intent names, or to none.
    let Some(pod) = target.seen.pods.get(&ordinal).filter(|pod| pod.incarnation == *incarnation)
    else {
        return not_sent("the member's process is another one now");
    };
    let member = access.member(target.state, ordinal, pod, target.seen.claims.get(&ordinal));
    let client = access.client(&member);
    match (step, command) {
        (Step::CancelTask { task, .. }, _) => client.cancel_task(*task, key.0).await.into(),
        (_, Some(command)) => client.post_task(&command).await.into(),
        (_, None) => not_sent("this step has no command"),
    }
}

async fn grid(target: &Target<'_>, step: &Step, key: StepKey) -> Effect {
    let not_sent = |reason: &str| Effect::NotSent { reason: reason.to_owned() };
    let Some(access) = target.access else { return not_sent("the credentials are missing") };
    let (Step::CreateGrid { through, .. }
    | Step::UpdateGrid { through, .. }
    | Step::DeleteGrid { through, .. }) = step
    else {
        return not_sent("this step is not a grid's");
    };
    let ordinal: Ordinal = through.ordinal;
    let Some(pod) =
        target.seen.pods.get(&ordinal).filter(|pod| pod.incarnation == through.incarnation)
    else {
        return not_sent("the member's process is another one now");
    };
    let member = access.member(target.state, ordinal, pod, target.seen.claims.get(&ordinal));
    let client = access.client(&member);
    let body = |uid: &str, digest: &str| {
        target.grids.get(uid).filter(|(wanted, _)| wanted == digest).map(|(_, body)| body)
    };
    match step {
        Step::CreateGrid { grid_uid, name, digest, .. } => match body(grid_uid, digest) {
            Some(body) => client.create_grid(name, body, key.0).await.into(),
            None => not_sent("the DataGrid has changed"),
        },
        Step::UpdateGrid { grid_uid, name, digest, .. } => match body(grid_uid, digest) {
            Some(body) => client.update_grid(name, body, key.0).await.into(),
            None => not_sent("the DataGrid has changed"),
        },
        _ => {
            let Step::DeleteGrid { name, .. } = step else { return not_sent("not a grid's") };
            client.delete_grid(name, key.0).await.into()
        }
    }
}

async fn template(target: &Target<'_>, step: &Step, key: StepKey) -> Effect {
    let not_sent = |reason: &str| Effect::NotSent { reason: reason.to_owned() };
    let Some(access) = target.access else { return not_sent("the credentials are missing") };
    let (Step::UploadTemplate { through, .. } | Step::DeleteTemplate { through, .. }) = step else {
        return not_sent("this step is not a template's");
    };
    let Some(pod) =
        target.seen.pods.get(&through.ordinal).filter(|pod| pod.incarnation == through.incarnation)
    else {
        return not_sent("the member's process is another one now");
    };
    let claim = target.seen.claims.get(&through.ordinal);
    let member = access.member(target.state, through.ordinal, pod, claim);
    let client = access.client(&member);
    match step {
        Step::UploadTemplate { template_uid, name, digest, .. } => {
            let documents = target.templates.get(template_uid);
            let Some((_, documents)) = documents.filter(|(wanted, _)| wanted == digest) else {
                return not_sent("the GridTemplate has changed");
            };
            let Documents { object_grid, deployment_policy } = documents;
            client.put_grid_template(name, object_grid, deployment_policy, key.0).await.into()
        }
        Step::DeleteTemplate { name, .. } => {
            template_deleted(client.delete_grid_template(name, key.0).await)
        }
        _ => not_sent("this step is not a template's"),
    }
}

/// A template that is not there is what was wanted. A conflict is no other request that runs, but
/// the refusal of a template that a grid is made from.
fn template_deleted(sent: Sent) -> Effect {
    match sent {
        Sent::Refused { status: 404, .. } => Effect::Accepted { task: None },
        Sent::Refused { status: 409, error } => {
            Effect::Refused { reason: format!("refused 409: {error}") }
        }
        sent => sent.into(),
    }
}

/// The claim by UID, then the pod by UID: the claim goes when the pod does, and both are made
/// again by the StatefulSet.
async fn reset(target: &Target<'_>, member: &MemberRef) -> Effect {
    let claim = manifests::claim_name(&target.identity.name, member.ordinal);
    match delete_claim(target, &claim, &member.claim_uid).await {
        Effect::Done { .. } | Effect::Accepted { .. } => {}
        other => return other,
    }
    delete_pod(target, member).await
}

/// The pod by UID: another one of that name is not touched.
async fn delete_pod(target: &Target<'_>, member: &MemberRef) -> Effect {
    let api: Api<Pod> = Api::namespaced(target.client.clone(), &target.identity.namespace);
    let params = by_uid(&member.incarnation.pod_uid);
    deleted(tokio::time::timeout(target.timeout, api.delete(&member.name, &params)).await)
}

async fn delete_claim(target: &Target<'_>, claim: &str, uid: &str) -> Effect {
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(target.client.clone(), &target.identity.namespace);
    deleted(tokio::time::timeout(target.timeout, api.delete(claim, &by_uid(uid))).await)
}

async fn delete_stateful_set(target: &Target<'_>, uid: &str) -> Effect {
    let api: Api<StatefulSet> = Api::namespaced(target.client.clone(), &target.identity.namespace);
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..by_uid(uid) };
    let delete = api.delete(&target.identity.name, &params);
    deleted(tokio::time::timeout(target.timeout, delete).await)
}

fn by_uid(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// A deletion by UID is done when no object with that UID exists; observation tells. Not found, or
/// another UID, is that already.
fn deleted<T>(answer: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>) -> Effect {
    match answer {
        Ok(Ok(_)) => Effect::Accepted { task: None },
        Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => {
            Effect::Accepted { task: None }
        }
        Ok(Err(error)) => api_effect(&error),
        Err(_) => Effect::Unknown { reason: "the API server did not answer in time".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_nothing_about_the_effect_and_any_other_refusal_does() {
        let refused = |status| Effect::from(Sent::Refused { status, error: "no".into() });
        assert!(matches!(refused(409), Effect::Unknown { .. }));
        assert!(matches!(refused(400), Effect::Refused { .. }));
        assert!(matches!(refused(503), Effect::Refused { .. }));
    }

    #[test]
    fn a_template_in_use_is_refused_and_one_that_is_gone_is_deleted() {
        let answer = |status| template_deleted(Sent::Refused { status, error: "no".into() });
        assert!(matches!(answer(409), Effect::Refused { .. }));
        assert!(matches!(answer(404), Effect::Accepted { task: None }));
    }

    #[tokio::test]
    async fn a_claim_that_never_was_bound_is_deleted_as_it_was_judged_and_a_conflict_is_looked_at_again()
     {
        use std::sync::{Arc, Mutex};

        use kube::client::Body;
        use serde_json::json;

        use crate::decide::testing::World;

        let asked = Arc::new(Mutex::new(Vec::<Value>::new()));
        let noted = asked.clone();
        let api = move |request: http::Request<Body>| {
            let noted = noted.clone();
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                noted.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let conflict = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "reason": "Conflict", "code": 409, "message": "it moved on"});
                let body = Body::from(conflict.to_string().into_bytes());
                let answer = http::Response::builder().status(409).body(body).unwrap();
                Ok::<_, std::convert::Infallible>(answer)
            }
        };
        let client = Client::new(tower::service_fn(api), "ns");
        let identity = Identity { name: "c".into(), namespace: "ns".into(), uid: "u".into() };
        let mut world = World::group(2);
        world.seen.claims.get_mut(&1).unwrap().resource_version = "17".into();
        let target = Target {
            client: &client,
            identity: &identity,
            cache: None,
            access: None,
            state: &world.state,
            seen: &world.seen,
            live: None,
            template: None,
            grids: &BTreeMap::new(),
            templates: &BTreeMap::new(),
            timeout: Duration::from_secs(5),
        };
        let step = |uid: &str, receipt| Step::DeleteVolume {
            ordinal: 1,
            claim: "vol-c-1".into(),
            claim_uid: uid.into(),
            receipt,
        };
        let key = StepKey(uuid::Uuid::from_u128(1));
        let never = || Receipt::NeverBound { claim: "{}".into() };
        let effect = execute(&target, &step("claim-1", never()), key).await;
        assert!(matches!(effect, Effect::Unknown { .. }), "it is looked at again: {effect:?}");
        let preconditions = asked.lock().unwrap()[0]["preconditions"].clone();
        assert_eq!(preconditions, json!({"uid": "claim-1", "resourceVersion": "17"}));
        let effect = execute(&target, &step("another", never()), key).await;
        assert!(matches!(effect, Effect::NotSent { .. }), "{effect:?}");
        // A member's is deleted whatever became of it.
        let effect = execute(&target, &step("claim-1", Receipt::CacheDeleted), key).await;
        assert!(matches!(effect, Effect::Accepted { .. }), "{effect:?}");
        assert_eq!(asked.lock().unwrap()[1]["preconditions"], json!({"uid": "claim-1"}));
    }
}
