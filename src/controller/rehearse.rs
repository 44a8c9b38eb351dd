//! I/O, reads only: what a spec would lead to, from what is there now. The dry run of a pass.
//!
//! It looks as a pass looks and decides as a pass decides, and it appends nothing, applies nothing
//! and tells no status. Members are spoken to as the *live* spec says: a proposed password is not
//! tried on them, and a proposed Secret or ConfigMap is only looked up.

use std::sync::Arc;

use kube::Api;

use super::findings::Findings;
use super::pass::{self, Pass};
use super::resolve::resolve;
use super::standing::Standing;
use super::{Context, Subject, grids, objects};
use crate::crd::XsldCache;
use crate::decide::{self, Waiting};
use crate::plan::{self, End, Plan, Wait};
use crate::status::Problem;
use crate::validate::{self, Invalid};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The live object was never stored: it has no UID that names a stream of the journal.
    #[error("the XsldCache has no UID: only one that is stored can be planned for")]
    NotStored,
    /// Another object than the live one is proposed.
    #[error("the proposal is not about the XsldCache {live}: its {field} is another one")]
    OtherObject {
        /// Namespace and name of the live one.
        live: String,
        /// What differs.
        field: &'static str,
    },
    /// The API server would refuse the proposed spec, or the operator would.
    #[error("the proposed spec breaks rules: {}", validate::summary(.0))]
    Invalid(Vec<Invalid>),
    /// The plan was not finished: the process ends, or this is a fault of the operator.
    #[error("the plan was not finished")]
    Unfinished(#[from] tokio::task::JoinError),
    /// Something that a plan needs could not be read.
    #[error(transparent)]
    Read(#[from] super::Error),
}

/// Plans for `proposed` in the place of `live`, which is the object as the API server has it now.
/// Of the proposal count its spec, its labels and annotations, and whether it is to be deleted (a
/// `deletionTimestamp`, whatever its time).
///
/// # Errors
/// See [`Error`]. What cannot be seen is no error: the plan says that it is not known.
pub async fn rehearse(
    context: &Context,
    live: &XsldCache,
    proposed: XsldCache,
) -> Result<Plan, Error> {
    let subject = context.subject(live).ok_or(Error::NotStored)?;
    let object = instead_of(live, proposed)?;
    let deleting = object.metadata.deletion_timestamp.is_some();
    let change = validate::cache_change(&live.spec, &object.spec);
    if !change.is_empty() {
        return Err(Error::Invalid(change));
    }
    let valid = match validate::cache(&object) {
        Ok(valid) => Some(valid),
        // A broken spec never blocks a deletion.
        Err(_) if deleting => None,
        Err(invalid) => return Err(Error::Invalid(invalid)),
    };
    let (mut now, mut then) = (Findings::of(context, &subject), Findings::of(context, &subject));
    let generation = live.metadata.generation.unwrap_or(0);
    let access = match validate::cache(live) {
        Ok(valid) => resolve(context, &subject, &valid, generation, &mut now).await,
        Err(_) => None,
    };
    if let Some(valid) = &valid
        && live.spec != object.spec
    {
        // A proposed password is not tried on the members: only what is missing counts.
        drop(resolve(context, &subject, valid, generation, &mut then).await);
    }
    let caches = caches(context, &subject, &object).await?;
    let mut grids = grids::read(context, &subject, &caches).await?;
    grids::tell_unread(&mut grids.templates, &mut now);
    let unheard = access.is_none() && !deleting;
    let judged = (&object, valid.as_ref());
    let standing = Standing::of(context, &subject, judged, &caches, &mut now).await;
    let pass = Pass::look(context, &object, &subject, valid, access, grids, standing).await?;
    for taken in pass.seen.taken.iter().filter(|_| !deleting) {
        let Waiting { reason, message } = decide::taken::told(taken);
        now.add(Problem { reason, message });
    }
    let mut plan = plan(pass).await?;
    let problems: Vec<Wait> = now.problems().iter().chain(then.problems()).map(wait).collect();
    if let (true, Some(first)) = (unheard && plan.end != End::Settled, problems.first()) {
        plan.end = End::Waits(first.clone());
    }
    for problem in problems {
        let told = plan.end == End::Waits(problem.clone()) || plan.put_off.contains(&problem);
        if !told && !deleting {
            plan.put_off.push(problem);
        }
    }
    Ok(plan)
}

/// A plan of a hundred members takes a second: the lease and the passes do not wait for it.
async fn plan(pass: Pass<'_>) -> Result<Plan, Error> {
    let times = pass.context.times;
    let (clock, server_time) = (&pass.context.clock, &pass.context.server_time);
    let now = (clock.wall().as_microsecond(), server_time.now_us());
    let Pass { wanted, seen, state, watch, access, .. } = pass;
    let planned = move || {
        let by = (&watch, &times, now);
        plan::plan(pass::inputs(&wanted, &seen, &state, by, access.as_ref()))
    };
    Ok(tokio::task::spawn_blocking(planned).await?)
}

fn wait(problem: &Problem) -> Wait {
    Wait { reason: problem.reason.as_str().to_owned(), message: problem.message.clone() }
}

/// The object as the API server would have it after the proposal was applied.
fn instead_of(live: &XsldCache, proposed: XsldCache) -> Result<XsldCache, Error> {
    let (was, is) = (&live.metadata, proposed.metadata);
    let differs = |one: &Option<String>, other: &Option<String>| other.is_some() && one != other;
    let field = match () {
        () if was.name != is.name => Some("name"),
        () if differs(&was.namespace, &is.namespace) => Some("namespace"),
        () if differs(&was.uid, &is.uid) => Some("UID"),
        () => None,
    };
    if let Some(field) = field {
        let (namespace, name) = (was.namespace.as_deref(), was.name.as_deref());
        let live = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        return Err(Error::OtherObject { live, field });
    }
    let mut object = XsldCache { spec: proposed.spec, ..live.clone() };
    let metadata = &mut object.metadata;
    (metadata.labels, metadata.annotations) = (is.labels, is.annotations);
    // A deletion that has begun is not taken back.
    metadata.deletion_timestamp = was.deletion_timestamp.clone().or(is.deletion_timestamp);
    if object.spec != live.spec {
        metadata.generation = Some(was.generation.unwrap_or(0).saturating_add(1));
    }
    Ok(object)
}

/// The caches of the namespace, with the proposal in its place: grids and templates choose among
/// them.
async fn caches(
    context: &Context,
    subject: &Subject,
    object: &XsldCache,
) -> Result<Vec<Arc<XsldCache>>, Error> {
    let api: Api<XsldCache> = Api::namespaced(context.client.clone(), &subject.identity.namespace);
    let (params, timeout) = (kube::api::ListParams::default(), context.times.request);
    let listed = objects::timed("list the XsldCaches", timeout, api.list(&params)).await?;
    let others =
        listed.items.into_iter().filter(|cache| cache.metadata.name != object.metadata.name);
    Ok(others.chain([object.clone()]).map(Arc::new).collect())
}

#[cfg(test)]
pub(super) mod tests;
