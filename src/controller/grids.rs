//! DataGrids: which cache each belongs to, and what its cache's pass is to make of it.
//!
//! One worker per cache serialises all that is done to its group, so a DataGrid is worked on in its
//! cache's pass. Its own reconcile only finds the cache, keeps the finalizer, and tells what is in
//! the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::{Api, ResourceExt};

use super::pass::Pass;
use super::{Context, Error, Subject, objects};
use crate::crd::{
    ConditionReason as Reason, DataGrid, DeletionPolicy, DriftPolicy, FINALIZER, XsldCache,
};
use crate::decide::{Decision, WantedGrid, grids as decisions};
use crate::status::{self, GridInputs, Problem, publish};
use crate::validate::{self, GridTemplateSource, Invalid, ValidGrid};
use crate::xsld::call::GridBody;

/// The DataGrids of one cache.
#[derive(Default)]
pub struct Grids {
    /// The objects, by UID.
    pub objects: BTreeMap<String, DataGrid>,
    /// Those that are to be worked on, by UID.
    pub wanted: BTreeMap<String, WantedGrid>,
    /// Their bodies with digests, by UID.
    pub bodies: BTreeMap<String, (String, GridBody)>,
    /// What keeps one from being worked on, by UID.
    pub invalid: BTreeMap<String, Vec<Invalid>>,
}

impl Grids {
    /// Names of the grids that are worked on.
    pub fn names(&self) -> Vec<String> {
        self.wanted.values().map(|grid| grid.name.clone()).collect()
    }
}

/// The caches that a DataGrid may be about, so that its change is looked at in their passes.
pub fn caches_of(grid: &DataGrid, caches: &Cache<XsldCache>) -> Vec<ObjectRef<XsldCache>> {
    match resolve(grid, caches) {
        Ok(name) => vec![ObjectRef::new(&name).within(&grid.namespace().unwrap_or_default())],
        Err(_) => vec![],
    }
}

/// The DataGrids in a cache's namespace: one that comes or goes may change what each of them means.
pub fn beside(cache: &XsldCache, grids: &Cache<DataGrid>) -> Vec<ObjectRef<DataGrid>> {
    let namespace = cache.namespace();
    let all = grids.state();
    let here = all.iter().filter(|grid| grid.namespace() == namespace);
    here.map(|grid| ObjectRef::from_obj(&**grid)).collect()
}

/// The cache that is meant: the named one, else the only one of the namespace.
fn resolve(grid: &DataGrid, caches: &Cache<XsldCache>) -> Result<String, Problem> {
    let namespace = grid.namespace();
    let all = caches.state();
    let here: Vec<_> = all.iter().filter(|cache| cache.namespace() == namespace).collect();
    let missing = |message: String| Problem { reason: Reason::CacheMissing, message };
    if let Some(reference) = &grid.spec.cache_ref {
        let name = &reference.name;
        return match here.iter().find(|cache| cache.name_any() == *name) {
            Some(_) => Ok(name.clone()),
            None => Err(missing(format!(
                "spec.cacheRef names the XsldCache {name}, which does not exist"
            ))),
        };
    }
    match here.as_slice() {
        [only] => Ok(only.name_any()),
        [] => Err(missing("there is no XsldCache in this namespace: create one".to_owned())),
        several => Err(Problem {
            reason: Reason::CacheAmbiguous,
            message: format!(
                "there are {} XsldCaches in this namespace: say which one is meant by spec.cacheRef",
                several.len()
            ),
        }),
    }
}

/// Finds the cache of a DataGrid and keeps its finalizer; its cache's pass does the rest.
///
/// # Errors
/// When the API server cannot be read or written.
pub async fn reconcile(
    grid: Arc<DataGrid>,
    context: Arc<Context>,
    caches: Cache<XsldCache>,
) -> Result<Action, Error> {
    // Before the first list of caches is in, none is missing.
    if caches.wait_until_ready().await.is_err() {
        return Ok(Action::await_change());
    }
    let api: Api<DataGrid> =
        Api::namespaced(context.client.clone(), grid.namespace().as_deref().unwrap_or_default());
    let deleting = grid.metadata.deletion_timestamp.is_some();
    let ours = grid.finalizers().iter().any(|name| name == FINALIZER);
    match resolve(&grid, &caches) {
        Ok(_) if !deleting && !ours => {
            let mut finalizers = grid.finalizers().to_vec();
            finalizers.push(FINALIZER.to_owned());
            objects::set_finalizers(&context, &api, &grid, &finalizers).await?;
            Ok(Action::await_change())
        }
        // The list of caches that this looked at may be a moment behind: it is looked at again.
        Ok(_) => Ok(Action::requeue(context.times.poll_idle)),
        // Without a cache there is no grid to delete.
        Err(_) if deleting => {
            if ours {
                objects::remove_finalizer(&context, &api, &*grid).await?;
            }
            Ok(Action::await_change())
        }
        Err(problem) => {
            tell(&context, &grid, Err(problem), &[]).await?;
            Ok(Action::requeue(context.times.poll_idle))
        }
    }
}

async fn tell(
    context: &Context,
    grid: &DataGrid,
    cache: Result<&str, Problem>,
    invalid: &[Invalid],
) -> Result<(), Error> {
    let uid = grid.metadata.uid.as_deref().unwrap_or_default();
    let status = status::grid(&GridInputs {
        object: grid,
        invalid,
        cache,
        wanted: None,
        uid,
        seen: None,
        state: None,
        refused: None,
        head: None,
        journal_id: context.store.head().journal_id,
        now: context.clock.wall(),
    });
    publish::publish_grid(&context.client, grid, &status, context.times.request).await?;
    Ok(())
}

/// The DataGrids of a cache, as they are to be worked on.
///
/// # Errors
/// When they cannot be listed.
pub async fn wanted(
    context: &Context,
    subject: &Subject,
    caches: &Cache<XsldCache>,
) -> Result<Grids, Error> {
    let api: Api<DataGrid> = Api::namespaced(context.client.clone(), &subject.identity.namespace);
    let params = kube::api::ListParams::default();
    let listed =
        objects::timed("list the DataGrids", context.times.request, api.list(&params)).await?;
    let mut grids = Grids::default();
    for grid in listed.items {
        let means_this = resolve(&grid, caches).is_ok_and(|name| name == subject.identity.name);
        let ours = grid.finalizers().iter().any(|name| name == FINALIZER);
        let Some(uid) = grid.metadata.uid.clone().filter(|_| means_this && ours) else { continue };
        match validate::grid(&grid) {
            Ok(valid) => {
                if let GridTemplateSource::Named(template) = &valid.template {
                    let body = body(&valid, template);
                    let wanted = wanted_grid(&grid, &valid, &body);
                    grids.bodies.insert(uid.clone(), (wanted.digest.clone(), body));
                    grids.wanted.insert(uid.clone(), wanted);
                }
            }
            Err(invalid) => {
                grids.invalid.insert(uid.clone(), invalid);
            }
        }
        grids.objects.insert(uid, grid);
    }
    Ok(grids)
}

fn wanted_grid(grid: &DataGrid, valid: &ValidGrid, body: &GridBody) -> WantedGrid {
    let fields = body.as_fields();
    let text = serde_json::to_string(&fields).unwrap_or_default();
    WantedGrid {
        name: grid.name_any(),
        generation: grid.metadata.generation.unwrap_or(0),
        digest: blake3::hash(text.as_bytes()).to_hex().to_string(),
        fields,
        correct_drift: valid.drift == DriftPolicy::Correct,
        deleting: grid.metadata.deletion_timestamp.is_some(),
        delete_grid: valid.deletion == DeletionPolicy::Delete,
    }
}

fn body(valid: &ValidGrid, template: &str) -> GridBody {
    GridBody {
        description: valid.description.clone(),
        grid_type: Some(valid.grid_type.as_str().to_owned()),
        template_name: Some(template.to_owned()),
        owner_name: Some(valid.owner.clone()),
        group_name: valid.group_name.clone(),
        use_authentication: Some(valid.use_authentication),
        use_authorization: Some(valid.use_authorization),
        use_cap_lru_evictor: Some(valid.use_cap_lru_evictor),
        grid_capacity: Some(valid.capacity),
        transaction_timeout: Some(valid.transaction_timeout.into()),
        lock_timeout: Some(valid.lock_timeout.into()),
        time_to_live: Some(valid.time_to_live.into()),
        num_partition: Some(valid.partitions.get().into()),
        num_sync_replicas: Some(valid.sync_replicas.into()),
        num_async_replicas: Some(valid.async_replicas.into()),
    }
}

/// After the pass: the finalizers of grids that are gone come off, and every DataGrid's status is
/// told from the same evidence as the cache's.
pub(super) async fn finish(pass: &Pass<'_>, decision: Option<&Decision>) -> Result<(), Error> {
    let context = pass.context;
    let namespace = &pass.subject.identity.namespace;
    let api: Api<DataGrid> = Api::namespaced(context.client.clone(), namespace);
    let leaving = pass.wanted.deleting;
    for (uid, object) in &pass.grids.objects {
        let wanted = pass.grids.wanted.get(uid);
        if object.metadata.deletion_timestamp.is_some() {
            let inputs = pass.inputs(&pass.state);
            let done = leaving
                || wanted.is_none_or(|grid| decisions::is_settled(inputs, uid, grid))
                    && decision.is_some();
            if done {
                objects::remove_finalizer(context, &api, object).await?;
                continue;
            }
        }
        let invalid = pass.grids.invalid.get(uid).map(Vec::as_slice).unwrap_or_default();
        let cache = match (wanted, invalid) {
            (None, []) => Err(Problem {
                reason: Reason::TemplateMissing,
                message: "spec.templateRef names a GridTemplate; this release does not upload \
                          templates yet: name a template of the group by spec.templateName"
                    .to_owned(),
            }),
            _ => Ok(pass.subject.identity.name.as_str()),
        };
        let inputs = pass.inputs(&pass.state);
        let refused = wanted.and_then(|grid| decisions::refused_grid(inputs, uid, grid));
        let status = status::grid(&GridInputs {
            object,
            invalid,
            cache,
            wanted,
            uid,
            seen: Some(&pass.seen),
            state: Some(&pass.state),
            refused,
            head: context.store.stream_head(pass.subject.stream),
            journal_id: context.store.head().journal_id,
            now: context.clock.wall(),
        });
        publish::publish_grid(&context.client, object, &status, context.times.request).await?;
    }
    Ok(())
}
