//! The status of the custom resources: a projection of what was recorded and seen. Losing it loses
//! nothing, and nothing is ever decided from it.
//!
//! This half computes and is pure; [`publish`] writes. One pass computes one status from one
//! observation, so that counts, members and conditions come from the same evidence. All times in
//! it are times of the last change: a cache at rest gives the same status in every pass, and so
//! causes no write.

mod cache;
mod conditions;
mod degraded;
mod facts;
mod fit;
mod grid;
mod hindrance;
mod operation;
pub mod publish;
mod ready;
mod template;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;
use xsld_journal::state::{CacheState, Gap};
use xsld_journal::store::StreamHead;

use crate::crd::{
    ConditionReason, DataGrid, DataGridStatus, GridTemplate, GridTemplateStatus, ImageStatus,
    XsldCache, XsldCacheStatus,
};
use crate::decide::{Decision, Waiting, WantedGrid};
use crate::observation::Observation;
use crate::validate::Invalid;

/// Something that is in the way and was found outside of the decision: a Secret that does not
/// exist, a profile that does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason that conditions show.
    pub reason: ConditionReason,
    /// One sentence for people, without secrets.
    pub message: String,
}

impl Problem {
    /// Whether it is that the API server did not comply.
    #[must_use]
    pub fn is_of_the_api_server(&self) -> bool {
        matches!(
            self.reason,
            ConditionReason::WriteRefused
                | ConditionReason::ReadRefused
                | ConditionReason::ApiUnavailable
        )
    }
}

/// Everything that the status of an `XsldCache` is computed from.
#[derive(Clone, Debug)]
pub struct CacheInputs<'a> {
    /// The object, with its previous status, its generation and its spec.
    pub object: &'a XsldCache,
    /// Rules that the spec breaks; empty when it is valid.
    pub invalid: &'a [Invalid],
    /// What else is in the way.
    pub problems: &'a [Problem],
    /// Whether it was known how to speak to the members.
    pub asked: bool,
    /// What was seen; none when Kubernetes could not be read or nothing was looked at.
    pub seen: Option<&'a Observation>,
    /// What the journal knows.
    pub state: &'a CacheState,
    /// The last decision of this pass; none when something was done instead of waited for.
    pub decision: Option<&'a Decision>,
    /// The end of this cache's stream; none while it has no record.
    pub head: Option<StreamHead>,
    /// The journal.
    pub journal_id: Uuid,
    /// What that journal goes on after, where records were lost before it.
    pub gap: Option<Gap>,
    /// Image of the committed pod template.
    pub image: Option<&'a str>,
    /// Image that the spec asks for.
    pub target_image: Option<&'a str>,
    /// Digest of the pod template that the spec gives.
    pub wanted_template: Option<&'a str>,
    /// Why that is not the committed one, while no roll is open.
    pub update: Option<&'a Waiting>,
    /// Why nobody may be evicted while an operation stands still; none when somebody may.
    pub no_evictions: Option<String>,
    /// The label selector of the members' pods.
    pub selector: String,
    /// The wall clock, for what changed just now. Whole seconds count.
    pub now: Timestamp,
}

/// Everything that the status of a `DataGrid` is computed from.
#[derive(Clone, Debug)]
pub struct GridInputs<'a> {
    /// The object, with its previous status, its generation and its spec.
    pub object: &'a DataGrid,
    /// Rules that the spec breaks; empty when it is valid.
    pub invalid: &'a [Invalid],
    /// Name of the cache that holds the grid, or why there is none to work with.
    pub cache: Result<&'a str, Problem>,
    /// What the grid is to be; none when that cannot be told.
    pub wanted: Option<&'a WantedGrid>,
    /// UID of the DataGrid.
    pub uid: &'a str,
    /// What was seen of the cache.
    pub seen: Option<&'a Observation>,
    /// What the journal knows of the cache.
    pub state: Option<&'a CacheState>,
    /// Why the group refused what the spec asks for, if it did.
    pub refused: Option<&'a str>,
    /// Why what is to be done about the grid is not done just now, if that is so.
    pub put_off: Option<Waiting>,
    /// The end of the cache's stream.
    pub head: Option<StreamHead>,
    /// The journal.
    pub journal_id: Uuid,
    /// The wall clock, for what changed just now. Whole seconds count.
    pub now: Timestamp,
}

/// Everything that the status of a `GridTemplate` is computed from.
#[derive(Clone, Debug)]
pub struct TemplateInputs<'a> {
    /// The object, with its previous status, its generation and its spec.
    pub object: &'a GridTemplate,
    /// UID of the GridTemplate.
    pub uid: &'a str,
    /// Rules that the spec breaks; empty when it is valid.
    pub invalid: &'a [Invalid],
    /// What else is in the way: no cache, no document, or one that is not XML.
    pub problem: Option<&'a Problem>,
    /// BLAKE3 of the two documents; none while one of them is missing or wrong.
    pub digest: Option<&'a str>,
    /// The caches that are to have the template, and those that have it.
    pub uploads: &'a [CacheUpload],
    /// The journal.
    pub journal_id: Uuid,
    /// The wall clock, for what changed just now. Whole seconds count.
    pub now: Timestamp,
}

/// What is known of a template on one cache.
#[derive(Clone, Debug)]
pub struct CacheUpload {
    /// Name of the XsldCache.
    pub cache: String,
    /// Whether the template is to be there.
    pub selected: bool,
    /// What the journal knows of the cache.
    pub state: Arc<CacheState>,
    /// The end of the cache's stream.
    pub head: Option<StreamHead>,
    /// Why the group refused the template, if it did.
    pub refused: Option<String>,
    /// What keeps the template from going.
    pub waits: Option<String>,
}

/// The status of an `XsldCache`. It has all nine conditions, and at most 32 KiB as JSON.
#[must_use]
pub fn cache(inputs: &CacheInputs<'_>) -> XsldCacheStatus {
    let facts = facts::Facts::of(inputs);
    let object = inputs.object;
    let previous = object.status.as_ref();
    let now = whole_seconds(inputs.now);
    let generation = object.metadata.generation;
    let (grids, grid_count) = facts.grids();
    let status = XsldCacheStatus {
        observed_generation: generation,
        conditions: conditions::assemble(
            cache::conditions(&facts),
            previous.map_or(&[][..], |status| &status.conditions),
            generation,
            &now,
        ),
        size: Some(object.spec.size),
        members: facts.member_count(),
        online: facts.online_count(),
        catalogs: facts.catalog_count(),
        pending_tasks: facts.pending_tasks(),
        grids,
        grid_count,
        primary: facts.primary_name(),
        replica: facts.replica_name(),
        selector: Some(inputs.selector.clone()).filter(|selector| !selector.is_empty()),
        image: image(inputs),
        member_states: facts.member_states(previous, &now),
        operation: inputs.state.operation.as_ref().map(operation::status),
        journal: inputs.head.map(|head| operation::journal(head, inputs.journal_id)),
        recent_operations: inputs.state.recent.iter().rev().map(operation::line).collect(),
    };
    fit::cache(status)
}

/// The status of a `GridTemplate`.
#[must_use]
pub fn template(inputs: &TemplateInputs<'_>) -> GridTemplateStatus {
    template::status(inputs, &whole_seconds(inputs.now))
}

/// The status of a `DataGrid`.
#[must_use]
pub fn grid(inputs: &GridInputs<'_>) -> DataGridStatus {
    grid::status(inputs, &whole_seconds(inputs.now))
}

/// The image now and to be, and how many pods were made from the template that the spec gives: by
/// their revision while that template is committed, else by what they tell.
fn image(inputs: &CacheInputs<'_>) -> Option<ImageStatus> {
    if inputs.image.is_none() && inputs.target_image.is_none() {
        return None;
    }
    let committed = inputs.state.committed.template.as_ref().map(|template| &*template.digest);
    let pods = |seen: &Observation| {
        let set = seen.stateful_set.as_ref();
        let revision = set
            .filter(|set| committed.is_some() && set.template_digest.as_deref() == committed)
            .and_then(|set| set.update_revision.as_deref())
            .filter(|_| committed == inputs.wanted_template);
        let updated = seen.pods.values().filter(|pod| match revision {
            Some(revision) => pod.revision.as_deref() == Some(revision),
            None => pod.template.is_some() && pod.template.as_deref() == inputs.wanted_template,
        });
        facts::number(updated.count())
    };
    Some(ImageStatus {
        current: inputs.image.map(str::to_owned),
        target: inputs.target_image.map(str::to_owned),
        updated: inputs.seen.map(pods),
    })
}

/// Times in objects have whole seconds: with more, a status would differ from itself once it is
/// read back.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests;
