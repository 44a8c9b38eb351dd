//! DataGrids: which cache each belongs to, and what its cache's pass is to make of it.
//!
//! One worker per cache serialises all that is done to its group, so a DataGrid is worked on in its
//! cache's pass. Its own reconcile only finds the cache, keeps the finalizer, and tells what is in
//! the way.

mod binding;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::{Api, Resource as _, ResourceExt};
use xsld_journal::state::CacheState;

pub(super) use self::binding::keep;
use self::binding::{Holder, elsewhere, find, meant, was_here};
use super::findings::{Findings, Thing};
use super::mark::Whose;
use super::pass::Pass;
use super::templates::{self, Templates};
use super::{Context, Error, Subject, objects};
use crate::crd::{
    ConditionReason as Reason, DataGrid, DeletionPolicy, DriftPolicy, FINALIZER, XsldCache,
};
use crate::decide::{
    Decision, Inputs, WantedGrid, grids as decisions, templates as template_decisions,
};
use crate::observe::Asked;
use crate::status::{self, GridInputs, Problem, publish};
use crate::validate::{self, GridTemplateSource, Invalid, ValidGrid};
use crate::xsld::call::GridBody;
use crate::xsld::view::GridStatus;

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
    /// Those whose spec names another cache than the one that has their grid, by UID.
    pub elsewhere: BTreeMap<String, Problem>,
    /// The caches among which each of them chooses; none where nothing is recorded about it.
    pub caches: Option<Cache<XsldCache>>,
    /// UIDs of all DataGrids of the namespace.
    pub all: BTreeSet<String>,
    /// The templates that some of them are made from.
    pub templates: Templates,
    /// Whether the one or the other could not be listed.
    pub unread: bool,
    /// Templates whose documents cannot be read just now, by name, with what was read in vain.
    pub without: BTreeMap<String, Thing>,
}

impl Grids {
    /// What is asked of the group for them. What every grid is made from matters when a template is
    /// to go.
    pub fn asked(&self, state: &CacheState) -> Asked {
        Asked {
            grids: self.wanted.values().map(|grid| grid.name.clone()).collect(),
            every_grid: self.templates.any_goes(),
            templates: self.templates.names(state),
        }
    }
}

/// The caches in a DataGrid's namespace: each may be the one that has its grid.
pub fn caches_of(grid: &DataGrid, caches: &Cache<XsldCache>) -> Vec<ObjectRef<XsldCache>> {
    let namespace = grid.namespace();
    let all = caches.state();
    let here = all.iter().filter(|cache| cache.namespace() == namespace);
    here.map(|cache| ObjectRef::from_obj(&**cache)).collect()
}

/// The DataGrids in a cache's namespace: one that comes or goes may change what each of them means.
pub fn beside(cache: &XsldCache, grids: &Cache<DataGrid>) -> Vec<ObjectRef<DataGrid>> {
    let namespace = cache.namespace();
    let all = grids.state();
    let here = all.iter().filter(|grid| grid.namespace() == namespace);
    here.map(|grid| ObjectRef::from_obj(&**grid)).collect()
}

/// Finds the cache of a DataGrid and keeps its finalizer; its cache's pass does the rest.
///
/// # Errors
/// None: what cannot be read or written is told.
pub async fn reconcile(
    grid: Arc<DataGrid>,
    context: Arc<Context>,
    caches: Cache<XsldCache>,
) -> Result<Action, Error> {
    let (reference, uid) = (grid.object_ref(&()), grid.uid().unwrap_or_default());
    let mut findings = Findings::about(&context, &reference, &uid);
    let action = examine(&grid, &context, &caches, &mut findings).await;
    findings.tell().await;
    Ok(action)
}

async fn examine(
    grid: &DataGrid,
    context: &Context,
    caches: &Cache<XsldCache>,
    findings: &mut Findings<'_>,
) -> Action {
    let api: Api<DataGrid> =
        Api::namespaced(context.client.clone(), grid.namespace().as_deref().unwrap_or_default());
    let deleting = grid.metadata.deletion_timestamp.is_some();
    let ours = grid.finalizers().iter().any(|name| name == FINALIZER);
    let finalizer = Thing::new("finalizer of DataGrid", grid.name_any());
    let found = find(grid, caches, context).await;
    let found = findings.read(&Thing::all("XsldCaches"), found);
    if let Some(Ok(name)) = &found {
        let namespace = grid.namespace().unwrap_or_default();
        let cache = caches.get(&ObjectRef::new(name).within(&namespace));
        // Who operates the cache writes to its grids, and nobody before that is clear.
        match cache.as_deref().map(|cache| context.whose(cache)) {
            Some(Whose::Ours | Whose::OursBefore) => {}
            Some(Whose::Anothers(_)) => return Action::requeue(context.times.poll_idle),
            Some(Whose::Nobodys) if deleting => {
                let message = format!(
                    "the XsldCache {name} is not marked as this operator's yet, so its grid is not \
                     deleted: see the conditions and Events of that XsldCache"
                );
                findings.add(Problem { reason: Reason::NotObserved, message });
            }
            Some(Whose::Nobodys) | None => return Action::requeue(context.times.poll_active),
        }
    }
    // Which cache is meant is not known: nothing is taken off, and what is in the way is told.
    let in_the_way = match found {
        None => None,
        Some(Ok(_)) if !deleting && !ours => {
            let mut finalizers = grid.finalizers().to_vec();
            finalizers.push(FINALIZER.to_owned());
            let write = objects::set_finalizers(context, &api, grid, &finalizers);
            findings.write(&finalizer, "", write).await;
            None
        }
        // The caches that this looked at may be a moment behind: they are looked at again.
        Some(Ok(name)) => cannot_work(grid, caches, &name),
        // Without a cache there is no grid to delete.
        Some(Err(_)) if deleting => {
            if !ours {
                return Action::await_change();
            }
            let write = objects::remove_finalizer(context, &api, grid);
            if findings.write(&finalizer, "", write).await.is_some() {
                return Action::await_change();
            }
            None
        }
        Some(Err(problem)) => Some(problem),
    };
    if let Some(problem) = in_the_way.or_else(|| findings.problems().first().cloned()) {
        let status = Thing::new("status of DataGrid", grid.name_any());
        findings.write(&status, "", tell(context, grid, Err(problem), &[])).await;
    }
    Action::requeue(findings.next(context.times.poll_idle))
}

/// Why the pass of a DataGrid's cache does not come to its grids, so that it tells nothing of them.
fn cannot_work(grid: &DataGrid, caches: &Cache<XsldCache>, name: &str) -> Option<Problem> {
    let cache = caches.get(&ObjectRef::new(name).within(&grid.namespace().unwrap_or_default()))?;
    let broken = cache.metadata.deletion_timestamp.is_none() && validate::cache(&cache).is_err();
    broken.then(|| Problem {
        reason: Reason::WaitingForCache,
        message: format!(
            "the spec of the XsldCache {name} breaks a rule, and nothing is done in it before that \
             is put right, or the XsldCache is deleted"
        ),
    })
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
        put_off: None,
        head: None,
        journal_id: context.store.head().journal_id,
        now: context.clock.wall(),
    });
    publish::publish_grid(&context.client, grid, &status, context.times.request).await?;
    Ok(())
}

/// The DataGrids of a cache, as they are to be worked on. That they cannot be read is a finding.
pub async fn wanted(
    context: &Context,
    subject: &Subject,
    caches: &Cache<XsldCache>,
    findings: &mut Findings<'_>,
) -> Grids {
    let templates = templates::wanted(context, subject, caches).await;
    let templates = findings.read(&Thing::all("GridTemplates"), templates);
    let templates_unread = templates.is_none();
    let mut templates = templates.unwrap_or_default();
    let unread = tell_unread(&mut templates, findings);
    let listed = listed(context, subject, &caches.state(), templates).await;
    match findings.read(&Thing::all("DataGrids"), listed) {
        // Nothing is done, and each grid is told as it is seen.
        Some(grids) => {
            let caches = Some(caches.clone());
            Grids { unread: templates_unread, without: unread, caches, ..grids }
        }
        None => Grids { unread: true, ..Grids::default() },
    }
}

/// That the documents of some templates cannot be read is a finding about each; the other templates
/// go on, and so do the grids that are made from them.
pub(super) fn tell_unread(
    templates: &mut Templates,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, Thing> {
    let unread = std::mem::take(&mut templates.unread).into_iter();
    let told = unread.map(|(name, (thing, error))| {
        let _: Option<()> = findings.read(&thing, Err(error));
        (name, thing)
    });
    told.collect()
}

/// The same for other caches than the watched ones, and without anybody taking note of it.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn read(
    context: &Context,
    subject: &Subject,
    caches: &[Arc<XsldCache>],
) -> Result<Grids, Error> {
    let templates = templates::read(context, subject, caches).await?;
    listed(context, subject, caches, templates).await
}

async fn listed(
    context: &Context,
    subject: &Subject,
    caches: &[Arc<XsldCache>],
    templates: Templates,
) -> Result<Grids, Error> {
    let api: Api<DataGrid> = Api::namespaced(context.client.clone(), &subject.identity.namespace);
    let params = kube::api::ListParams::default();
    let listed =
        objects::timed("list the DataGrids", context.times.request, api.list(&params)).await?;
    let mut grids = Grids { templates, ..Grids::default() };
    let here = binding::beside(subject, caches);
    for grid in listed.items {
        let Some(uid) = grid.metadata.uid.clone() else { continue };
        grids.all.insert(uid.clone());
        let holder = Holder::of(context, &here, &grid);
        let means = meant(&grid, &here, holder.as_ref());
        let means_this = means.is_ok_and(|name| name == subject.identity.name);
        let ours = grid.finalizers().iter().any(|name| name == FINALIZER);
        if !means_this || !ours {
            continue;
        }
        if let Some(problem) = elsewhere(&grid, &subject.identity.name) {
            grids.elsewhere.insert(uid.clone(), problem);
        }
        match validate::grid(&grid) {
            Ok(valid) => {
                let (GridTemplateSource::Named(template) | GridTemplateSource::Object(template)) =
                    &valid.template;
                let body = body(&valid, template);
                let was_here = was_here(&grid, holder.as_ref(), &subject.identity.name);
                let wanted = WantedGrid { was_here, ..wanted_grid(&grid, &valid, &body) };
                grids.bodies.insert(uid.clone(), (wanted.digest.clone(), body));
                grids.wanted.insert(uid.clone(), wanted);
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
        template: match &valid.template {
            GridTemplateSource::Named(_) => None,
            GridTemplateSource::Object(name) => Some(name.clone()),
        },
        correct_drift: valid.drift == DriftPolicy::Correct,
        deleting: grid.metadata.deletion_timestamp.is_some(),
        delete_grid: valid.deletion == DeletionPolicy::Delete,
        was_here: false,
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
pub(super) async fn finish(
    pass: &Pass<'_>,
    decision: Option<&Decision>,
    findings: &mut Findings<'_>,
) {
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
            let finalizer = Thing::new("finalizer of DataGrid", object.name_any());
            let remove = objects::remove_finalizer(context, &api, object);
            if done && findings.write(&finalizer, "", remove).await.is_some() {
                continue;
            }
        }
        let invalid = pass.grids.invalid.get(uid).map(Vec::as_slice).unwrap_or_default();
        let inputs = pass.inputs(&pass.state);
        let missing = wanted.and_then(|grid| missing_template(inputs, uid, grid));
        let unread = missing.as_ref().and_then(|_| unread_template(&pass.grids, wanted?));
        // What may be read in a moment changes nothing of what was told.
        if unread.is_some() && findings.has_untold() {
            continue;
        }
        let going = object.metadata.deletion_timestamp.is_some();
        let elsewhere = pass.grids.elsewhere.get(uid).filter(|_| !going);
        let cache = match (elsewhere, missing, unread) {
            (Some(problem), _, _) => Err(problem.clone()),
            (None, _, Some(message)) => Err(Problem { reason: Reason::NotObserved, message }),
            (None, Some(message), None) => {
                Err(Problem { reason: Reason::TemplateMissing, message })
            }
            (None, None, None) => Ok(pass.subject.identity.name.as_str()),
        };
        let put_off = wanted.and_then(|grid| decisions::put_off(inputs, uid, grid));
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
            put_off,
            head: context.store.stream_head(pass.subject.stream),
            journal_id: context.store.head().journal_id,
            now: context.clock.wall(),
        });
        let write = async {
            let (client, timeout) = (&context.client, context.times.request);
            Ok(publish::publish_grid(client, object, &status, timeout).await?)
        };
        let thing = Thing::new("status of DataGrid", object.name_any());
        findings.write(&thing, "", write).await;
    }
}

/// Why the template that a grid waits for is not known just now.
fn unread_template(grids: &Grids, grid: &WantedGrid) -> Option<String> {
    let name = grid.template.as_ref()?;
    let what = match grids.without.get(name) {
        Some(map) => format!("{} {} with the documents of GridTemplate {name}", map.kind, map.name),
        None if grids.unread => "GridTemplates".to_owned(),
        None => return None,
    };
    Some(format!(
        "the operator cannot read the {what} just now, so the grid waits: the conditions of its \
         XsldCache say why"
    ))
}

/// The template that a grid waits for. One that is there as it is wanted waits for none.
fn missing_template(inputs: Inputs<'_>, uid: &str, grid: &WantedGrid) -> Option<String> {
    let served = inputs.state.grids.get(uid).is_some_and(|known| known.digest == grid.digest)
        && matches!(inputs.seen.grid(&grid.name),
            Ok(Some(live)) if live.status != GridStatus::Error);
    // Not seen is not missing.
    let seen = |name: &String| inputs.seen.template(name).is_ok();
    let seen = inputs.state.bootstrapped && grid.template.as_ref().is_some_and(seen);
    let unnamed =
        !inputs.wanted.templates.values().any(|it| Some(&it.name) == grid.template.as_ref());
    template_decisions::missing(inputs, grid).filter(|_| !served && (seen || unnamed))
}
