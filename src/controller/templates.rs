//! GridTemplates: which caches each goes to, and what the caches' passes are to make of it.
//!
//! A template may go to several caches. Each cache's pass uploads and deletes it on its own stream;
//! the template's own reconcile keeps the finalizer and tells the one status from what all those
//! streams hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::{Selector, SelectorExt};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store as Cache};
use kube::{Api, Resource as _, ResourceExt};
use xsld_journal::event::Goal;
use xsld_journal::state::CacheState;

use super::findings::{Findings, Thing};
use super::pass::Pass;
use super::{Context, Error, Subject, objects};
use crate::crd::{ConditionReason as Reason, Document, FINALIZER, GridTemplate, XsldCache};
use crate::decide::{WantedTemplate, templates as decisions};
use crate::status::{self, CacheUpload, Problem, TemplateInputs, publish};
use crate::validate::{self, DocumentSource, Documents, TemplateTarget, ValidTemplate};

/// What is asked for when a ConfigMap with documents is read.
const READ_CONFIG_MAP: &str = "read a ConfigMap";

/// The GridTemplates of one cache.
#[derive(Default)]
pub struct Templates {
    /// What is to be in the cache or to go from it, by UID.
    pub wanted: BTreeMap<String, WantedTemplate>,
    /// Documents with their digests, by UID.
    pub documents: BTreeMap<String, (String, Documents)>,
    /// UIDs of all GridTemplates of the namespace.
    pub all: BTreeSet<String>,
    /// Those whose documents cannot be read just now, by name, with what was read in vain and why.
    pub unread: BTreeMap<String, (Thing, Error)>,
}

impl Templates {
    /// Names of the templates whose documents are read from the group.
    pub fn names(&self, state: &CacheState) -> Vec<String> {
        let wanted = self.wanted.values().map(|template| template.name.clone());
        let recorded = state.templates.values().map(|uploaded| uploaded.name.clone());
        let working = state.operation.as_ref().and_then(|operation| match &operation.goal {
            Goal::Template { name, .. } => Some(name.clone()),
            _ => None,
        });
        let all: BTreeSet<String> = wanted.chain(recorded).chain(working).collect();
        all.into_iter().collect()
    }

    /// Whether one is to go: then what every grid is made from matters.
    pub fn any_goes(&self) -> bool {
        self.wanted.values().any(|template| template.deleting)
    }
}

/// What the passes of the caches last knew of templates, for the templates' own reconciles. It lives
/// in the process only.
#[derive(Debug, Default)]
pub struct Sights(Mutex<HashMap<String, Sight>>);

/// What one cache's pass last knew.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    /// It reads the templates just now: it may come to want any of them.
    Looking,
    /// It wants these, by UID, and something may be in the way of each.
    Known(BTreeMap<String, Seen>),
}

/// What a pass knew of one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    goes: bool,
    refused: Option<String>,
    waits: Option<String>,
}

impl Sights {
    fn set(&self, cache: &str, sight: Sight) {
        let mut sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sights.insert(cache.to_owned(), sight);
    }

    /// A cache that is gone wants nothing.
    pub fn forget(&self, cache: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(cache);
    }

    fn of(&self, cache: &str, template: &str) -> Seen {
        let sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sights.get(cache) {
            Some(Sight::Known(known)) => known.get(template).cloned().unwrap_or_default(),
            Some(Sight::Looking) | None => Seen::default(),
        }
    }

    /// Whether a pass of the cache may still be about to upload the template.
    fn may_upload(&self, cache: &str, template: &str) -> bool {
        let sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match sights.get(cache) {
            Some(Sight::Looking) => true,
            Some(Sight::Known(known)) => known.get(template).is_some_and(|seen| !seen.goes),
            None => false,
        }
    }
}

/// A cache, as far as templates choose among them.
struct Candidate {
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
    /// Whether another operator works on it.
    is_anothers: bool,
    /// Whether it is being deleted: its group goes as a whole, with whatever it has.
    going: bool,
}

impl Candidate {
    fn of(cache: &XsldCache, context: &Context) -> Self {
        Self {
            name: cache.name_any(),
            uid: cache.uid().unwrap_or_default(),
            labels: cache.labels().clone(),
            is_anothers: context.is_anothers(cache),
            going: cache.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// Whether a template is another operator's: that of the first cache that it goes to, so that one of
/// them writes to it.
fn is_anothers(target: Option<&TemplateTarget>, caches: &[Candidate]) -> bool {
    let chosen = target.and_then(|target| chosen(target, caches).ok()).unwrap_or_default();
    let first = chosen.first().and_then(|name| caches.iter().find(|cache| cache.name == *name));
    match first {
        Some(first) => first.is_anothers,
        None => !caches.is_empty() && caches.iter().all(|cache| cache.is_anothers),
    }
}

/// The names of the caches that a template goes to, or why there is none.
fn chosen(target: &TemplateTarget, caches: &[Candidate]) -> Result<BTreeSet<String>, Problem> {
    let missing = |message: String| Err(Problem { reason: Reason::CacheMissing, message });
    match target {
        TemplateTarget::Named(name) => match caches.iter().find(|cache| cache.name == *name) {
            Some(cache) => Ok(BTreeSet::from([cache.name.clone()])),
            None => {
                missing(format!("spec.cacheRef names the XsldCache {name}, which does not exist"))
            }
        },
        TemplateTarget::Only => match caches {
            [only] => Ok(BTreeSet::from([only.name.clone()])),
            [] => missing("there is no XsldCache in this namespace: create one".to_owned()),
            several => Err(Problem {
                reason: Reason::CacheAmbiguous,
                message: format!(
                    "there are {} XsldCaches in this namespace: say which are meant by \
                     spec.cacheRef or spec.cacheSelector",
                    several.len()
                ),
            }),
        },
        TemplateTarget::Selected(selector) => {
            let selector = match Selector::try_from(selector.clone()) {
                Ok(selector) => selector,
                Err(error) => {
                    let message = format!("spec.cacheSelector cannot be used: {error}");
                    return Err(Problem { reason: Reason::SpecInvalid, message });
                }
            };
            let fits = caches.iter().filter(|cache| selector.matches(&cache.labels));
            let names: BTreeSet<String> = fits.map(|cache| cache.name.clone()).collect();
            if names.is_empty() {
                return missing("no XsldCache has the labels of spec.cacheSelector".to_owned());
            }
            Ok(names)
        }
    }
}

/// The caches in a template's namespace: each may have to upload or to delete it.
pub fn caches_of(template: &GridTemplate, caches: &Cache<XsldCache>) -> Vec<ObjectRef<XsldCache>> {
    let namespace = template.namespace();
    let all = caches.state();
    let here = all.iter().filter(|cache| cache.namespace() == namespace);
    here.map(|cache| ObjectRef::from_obj(&**cache)).collect()
}

/// The templates in a cache's namespace.
pub fn beside(cache: &XsldCache, templates: &Cache<GridTemplate>) -> Vec<ObjectRef<GridTemplate>> {
    let namespace = cache.namespace();
    let all = templates.state();
    let here = all.iter().filter(|template| template.namespace() == namespace);
    here.map(|template| ObjectRef::from_obj(&**template)).collect()
}

/// The templates whose documents stand in a ConfigMap.
pub fn naming(map: &ConfigMap, templates: &Cache<GridTemplate>) -> Vec<ObjectRef<GridTemplate>> {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let names_it = |document: &Option<Document>| {
        let reference = document.as_ref().and_then(|document| document.config_map_ref.as_ref());
        reference.is_some_and(|reference| reference.name == name)
    };
    let all = templates.state();
    let namers = all.iter().filter(|template| {
        template.namespace() == map.metadata.namespace
            && (names_it(&template.spec.object_grid_xml)
                || names_it(&template.spec.deployment_policy_xml))
    });
    namers.map(|template| ObjectRef::from_obj(&**template)).collect()
}

/// The templates of a cache, as they are to be worked on; those whose documents cannot be read are
/// left as they are.
///
/// # Errors
/// When they cannot be listed.
pub async fn wanted(
    context: &Context,
    subject: &Subject,
    caches: &Cache<XsldCache>,
) -> Result<Templates, Error> {
    let uid = &subject.identity.uid;
    context.templates.set(uid, Sight::Looking);
    let templates = read(context, subject, &caches.state()).await?;
    let known = templates.wanted.iter().map(|(template, wanted)| {
        (template.clone(), Seen { goes: wanted.deleting, ..context.templates.of(uid, template) })
    });
    context.templates.set(uid, Sight::Known(known.collect()));
    Ok(templates)
}

/// The same for other caches than the watched ones, and without anybody taking note of it.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn read(
    context: &Context,
    subject: &Subject,
    caches: &[Arc<XsldCache>],
) -> Result<Templates, Error> {
    let namespace = &subject.identity.namespace;
    let api: Api<GridTemplate> = Api::namespaced(context.client.clone(), namespace);
    let params = kube::api::ListParams::default();
    let listed =
        objects::timed("list the GridTemplates", context.times.request, api.list(&params)).await?;
    let state = context.store.state(subject.stream).unwrap_or_default();
    let here = caches.iter().filter(|cache| cache.namespace().as_deref() == Some(namespace));
    let candidates: Vec<Candidate> = here.map(|cache| Candidate::of(cache, context)).collect();
    let mut templates = Templates::default();
    for template in listed.items {
        templates.all.extend(template.uid());
        let ours = template.finalizers().iter().any(|name| name == FINALIZER);
        let Some(uid) = template.uid().filter(|_| ours) else { continue };
        let deleting = template.metadata.deletion_timestamp.is_some();
        let valid = validate::template(&template);
        let goes_here = match &valid {
            Ok(valid) => chosen(&valid.target, &candidates)
                .map(|names| names.contains(&subject.identity.name)),
            // What a broken spec means is not known: what is there stays.
            Err(_) => Ok(true),
        };
        let mut wanted = WantedTemplate {
            name: template.name_any(),
            generation: template.metadata.generation.unwrap_or(0),
            digest: String::new(),
            deleting: true,
        };
        if deleting || goes_here == Ok(false) {
            if about_it(&state, &uid) {
                templates.wanted.insert(uid, wanted);
            }
            continue;
        }
        let (Ok(valid), Ok(true)) = (valid, goes_here) else { continue };
        // Who did not answer once is not waited for again and again in one pass.
        let is_silent = |(_, error): &(Thing, Error)| matches!(error, Error::Timeout { .. });
        let read = match templates.unread.values().find(|unread| is_silent(unread)) {
            Some((thing, _)) if valid.names_a_config_map() => {
                Err((thing.clone(), Error::Timeout { what: READ_CONFIG_MAP }))
            }
            Some(_) | None => documents(context, namespace, &valid).await,
        };
        match read {
            Ok(Ok(documents)) => {
                wanted.deleting = false;
                wanted.digest = documents.digest();
                templates.documents.insert(uid.clone(), (wanted.digest.clone(), documents));
                templates.wanted.insert(uid, wanted);
            }
            // The template's own status says what is wrong with them.
            Ok(Err(_)) => {}
            Err(unread) => {
                templates.unread.insert(wanted.name, unread);
            }
        }
    }
    Ok(templates)
}

/// The documents of a template, read and checked, or what is in the way; or what cannot be read.
async fn documents(
    context: &Context,
    namespace: &str,
    valid: &ValidTemplate,
) -> Result<Result<Documents, Problem>, (Thing, Error)> {
    let object_grid = match document(context, namespace, &valid.object_grid).await? {
        Ok(text) => text,
        Err(problem) => return Ok(Err(problem)),
    };
    let deployment_policy = match document(context, namespace, &valid.deployment_policy).await? {
        Ok(text) => text,
        Err(problem) => return Ok(Err(problem)),
    };
    Ok(validate::documents(object_grid, deployment_policy).map_err(|invalid| Problem {
        reason: Reason::TemplateInvalid,
        message: validate::summary(&invalid),
    }))
}

async fn document(
    context: &Context,
    namespace: &str,
    source: &DocumentSource,
) -> Result<Result<String, Problem>, (Thing, Error)> {
    let reference = match source {
        DocumentSource::Inline(text) => return Ok(Ok(text.clone())),
        DocumentSource::ConfigMap(reference) => reference,
    };
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let read = api.get_opt(&reference.name);
    let found = objects::timed(READ_CONFIG_MAP, context.times.request, read).await;
    let found = found.map_err(|error| (Thing::new("ConfigMap", &reference.name), error))?;
    let text = found.and_then(|map| map.data).and_then(|mut data| data.remove(&reference.key));
    Ok(text.ok_or_else(|| Problem {
        reason: Reason::ConfigMapMissing,
        message: format!(
            "the ConfigMap {} with the key {} is named by the spec and does not exist: create it",
            reference.name, reference.key
        ),
    }))
}

/// Whether the journal holds the template as uploaded to this cache, or is about it just now.
fn about_it(state: &CacheState, uid: &str) -> bool {
    state.templates.contains_key(uid)
        || state.operation.as_ref().is_some_and(|operation| {
            matches!(&operation.goal, Goal::Template { template_uid, .. } if template_uid == uid)
        })
}

/// After the pass: what it knew of each template, for the templates' own reconciles.
pub(super) fn finish(pass: &Pass<'_>) {
    // What this cache is to have is not known: it may come to want any of them.
    if pass.grids.unread {
        return;
    }
    let inputs = pass.inputs(&pass.state);
    let known = pass.grids.templates.wanted.iter().map(|(uid, template)| {
        let seen = Seen {
            goes: template.deleting,
            refused: decisions::refused(inputs, uid, template).map(str::to_owned),
            waits: decisions::in_use(inputs, uid, template),
        };
        (uid.clone(), seen)
    });
    let sight = Sight::Known(known.collect());
    pass.context.templates.set(&pass.subject.identity.uid, sight);
}

/// Keeps the finalizer of a GridTemplate and tells its status.
///
/// # Errors
/// None: what cannot be read or written is told.
pub async fn reconcile(
    template: Arc<GridTemplate>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Some(uid) = template.uid() else { return Ok(Action::await_change()) };
    let reference = template.object_ref(&());
    let mut findings = Findings::about(&context, &reference, &uid);
    let action = examine(&template, &context, &uid, &mut findings).await;
    findings.tell().await;
    Ok(action)
}

async fn examine(
    template: &GridTemplate,
    context: &Context,
    uid: &str,
    findings: &mut Findings<'_>,
) -> Action {
    let namespace = template.namespace().unwrap_or_default();
    let api: Api<GridTemplate> = Api::namespaced(context.client.clone(), &namespace);
    let deleting = template.metadata.deletion_timestamp.is_some();
    let ours = template.finalizers().iter().any(|name| name == FINALIZER);
    if deleting && !ours {
        return Action::await_change();
    }
    let finalizer = Thing::new("finalizer of GridTemplate", template.name_any());
    let of_caches: Api<XsldCache> = Api::namespaced(context.client.clone(), &namespace);
    let params = kube::api::ListParams::default();
    let list = of_caches.list(&params);
    let listed = objects::timed("list the XsldCaches", context.times.request, list).await;
    let listed = findings.read(&Thing::all("XsldCaches"), listed);
    let caches: Option<Vec<Candidate>> = listed
        .map(|listed| listed.items.iter().map(|cache| Candidate::of(cache, context)).collect());
    let target = validate::template(template).ok().map(|valid| valid.target);
    if caches.as_ref().is_some_and(|caches| is_anothers(target.as_ref(), caches)) {
        return Action::requeue(findings.next(context.times.poll_idle));
    }
    if !deleting && !ours && caches.is_some() {
        let mut finalizers = template.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        let write = objects::set_finalizers(context, &api, template, &finalizers);
        if findings.write(&finalizer, "", write).await.is_some() {
            return Action::requeue(context.times.poll_idle);
        }
    }
    // As long as the caches cannot be read, any of them may hold it.
    if let Some(caches) = &caches
        && deleting
        && !is_held(context, caches, uid)
    {
        let write = objects::remove_finalizer(context, &api, template);
        if findings.write(&finalizer, "", write).await.is_some() {
            return Action::await_change();
        }
    }
    let settled = tell(context, template, uid, caches.as_deref(), findings).await;
    let again = if settled { context.times.poll_idle } else { context.times.poll_active };
    Action::requeue(findings.next(again))
}

/// Whether a cache has the template, is about to get it, or may be. One that is gone, or goes, has
/// nothing that could be taken out of it: its stream may be open yet, and holds nobody.
fn is_held(context: &Context, caches: &[Candidate], uid: &str) -> bool {
    caches.iter().filter(|cache| !cache.going).any(|cache| {
        let state = context.stream_of(&cache.uid).and_then(|it| context.store.state(it));
        let recorded = state.is_some_and(|state| !state.closed && about_it(&state, uid));
        recorded || context.templates.may_upload(&cache.uid, uid)
    })
}

/// Tells the status; gives whether the template is as it should be.
async fn tell(
    context: &Context,
    template: &GridTemplate,
    uid: &str,
    listed: Option<&[Candidate]>,
    findings: &mut Findings<'_>,
) -> bool {
    let caches = listed.unwrap_or_default();
    let namespace = template.namespace().unwrap_or_default();
    let valid = validate::template(template);
    let invalid = valid.as_ref().err().cloned().unwrap_or_default();
    let mut digest = None;
    let mut names = BTreeSet::new();
    let mut problem = None;
    if let Ok(valid) = &valid {
        match documents(context, &namespace, valid).await {
            Ok(Ok(documents)) => digest = Some(documents.digest()),
            Ok(Err(found)) => problem = Some(found),
            Err((thing, error)) => {
                let _: Option<()> = findings.read(&thing, Err(error));
            }
        }
        match chosen(&valid.target, caches) {
            Ok(found) => names = found,
            Err(found) if listed.is_some() => problem = problem.or(Some(found)),
            Err(_) => {}
        }
    }
    let problem = findings.problems().first().cloned().or(problem);
    // What is not known yet, and may be in a moment, changes nothing of what was told.
    if problem.is_none() && findings.has_untold() {
        return false;
    }
    let uploads = uploads(context, uid, caches, &names);
    let mut status = status::template(&TemplateInputs {
        object: template,
        uid,
        invalid: &invalid,
        problem: problem.as_ref(),
        digest: digest.as_deref(),
        uploads: &uploads,
        journal_id: context.store.head().journal_id,
        now: context.clock.wall(),
    });
    if let (None, Some(former)) = (listed, &template.status) {
        (status.uploads, status.upload_count) = (former.uploads.clone(), former.upload_count);
    }
    let settled = status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
    let write = async {
        let (client, timeout) = (&context.client, context.times.request);
        Ok(publish::publish_template(client, template, &status, timeout).await?)
    };
    let thing = Thing::new("status of GridTemplate", template.name_any());
    findings.write(&thing, "", write).await;
    settled
}

/// The caches that are to have the template, and those that have it or are about it just now.
fn uploads(
    context: &Context,
    uid: &str,
    caches: &[Candidate],
    names: &BTreeSet<String>,
) -> Vec<CacheUpload> {
    let ours = caches.iter().filter(|cache| !cache.is_anothers);
    let known = ours.filter_map(|cache| {
        let stream = context.stream_of(&cache.uid)?;
        let state = context.store.state(stream).unwrap_or_default();
        let selected = names.contains(&cache.name);
        let seen = context.templates.of(&cache.uid, uid);
        (selected || about_it(&state, uid)).then(|| CacheUpload {
            cache: cache.name.clone(),
            selected,
            state,
            head: context.store.stream_head(stream),
            refused: seen.refused,
            waits: seen.waits,
        })
    });
    known.collect()
}

#[cfg(test)]
mod tests;
