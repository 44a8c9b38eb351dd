//! The status of a `GridTemplate`: one, from the streams of all caches that it goes to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use xsld_journal::event::Goal;
use xsld_journal::state::{Operation, Uploaded};

use super::conditions::{Verdict, assemble};
use super::{CacheUpload, TemplateInputs, operation, whole_seconds};
use crate::crd::template::Upload;
use crate::crd::{
    ConditionReason as Reason, ConditionType as Type, GridTemplateStatus, JournalStatus,
};
use crate::validate;

/// Most caches that `uploads` lists.
const UPLOADS_MAX: usize = 256;

/// The status.
pub(super) fn status(inputs: &TemplateInputs<'_>, now: &Time) -> GridTemplateStatus {
    let previous = inputs.object.status.as_ref();
    let generation = inputs.object.metadata.generation;
    let ready = ready(inputs);
    let verdicts = [
        (Type::Progressing, progressing(inputs)),
        (Type::Deferred, deferred(inputs)),
        (Type::NeedsAttention, needs_attention(inputs)),
        (Type::Ready, ready),
    ];
    let uploads = uploads(inputs);
    GridTemplateStatus {
        observed_generation: generation,
        conditions: assemble(
            verdicts,
            previous.map_or(&[][..], |status| &status.conditions),
            generation,
            now,
        ),
        upload_count: i32::try_from(uploads.len()).ok(),
        uploads,
        operation: inputs.uploads.iter().find_map(|it| own(inputs, it)).map(operation::status),
        journal: journal(inputs),
    }
}

fn recorded<'a>(inputs: &TemplateInputs<'_>, upload: &'a CacheUpload) -> Option<&'a Uploaded> {
    upload.state.templates.get(inputs.uid)
}

/// The operation in flight on one cache that is about this template.
fn own<'a>(inputs: &TemplateInputs<'_>, upload: &'a CacheUpload) -> Option<&'a Operation> {
    let open = upload.state.operation.as_ref();
    open.filter(|operation| is_about(&operation.goal, inputs.uid))
}

fn is_about(goal: &Goal, uid: &str) -> bool {
    matches!(goal, Goal::Template { template_uid, .. } if template_uid == uid)
}

fn is_deleting(inputs: &TemplateInputs<'_>) -> bool {
    inputs.object.metadata.deletion_timestamp.is_some()
}

fn uploads(inputs: &TemplateInputs<'_>) -> Vec<Upload> {
    let listed = inputs.uploads.iter().filter_map(|upload| {
        let recorded = recorded(inputs, upload)?;
        let at = jiff::Timestamp::from_microsecond(recorded.time_us).ok();
        Some(Upload {
            cache: upload.cache.clone(),
            digest: recorded.digest.clone(),
            uploaded_at: at.map(whole_seconds),
        })
    });
    let mut listed: Vec<Upload> = listed.take(UPLOADS_MAX).collect();
    listed.sort_by(|one, other| one.cache.cmp(&other.cache));
    listed
}

/// What stands in the way before any cache is asked anything.
fn in_the_way(inputs: &TemplateInputs<'_>) -> Option<(Reason, String)> {
    if !inputs.invalid.is_empty() {
        return Some((Reason::SpecInvalid, validate::summary(inputs.invalid)));
    }
    inputs.problem.map(|problem| (problem.reason, problem.message.clone()))
}

/// The first cache that refused what is wanted.
fn refusal(inputs: &TemplateInputs<'_>) -> Option<String> {
    inputs.uploads.iter().find_map(|upload| {
        let reason = upload.refused.as_ref()?;
        Some(format!("XsldCache {} refuses the template: {reason}", upload.cache))
    })
}

/// What keeps the template from leaving a cache.
fn kept(inputs: &TemplateInputs<'_>) -> Option<String> {
    inputs.uploads.iter().find_map(|upload| {
        let waits = upload.waits.as_ref()?;
        Some(format!("XsldCache {}: {waits}", upload.cache))
    })
}

fn ready(inputs: &TemplateInputs<'_>) -> Verdict {
    if is_deleting(inputs) {
        let refused = inputs.problem.filter(|problem| problem.is_of_the_api_server());
        let refused = refused.map(|problem| problem.message.clone());
        let message = kept(inputs)
            .or(refused)
            .unwrap_or_else(|| "the GridTemplate is being deleted".to_owned());
        return Verdict::no(Reason::Deleting, message);
    }
    if let Some((reason, message)) = in_the_way(inputs) {
        return Verdict::no(reason, message);
    }
    if let Some(message) = refusal(inputs) {
        return Verdict::no(Reason::Refused, message);
    }
    for upload in inputs.uploads {
        if let Some(own) = own(inputs, upload) {
            return Verdict::no(operation::reason(own), operation::message(own));
        }
        if !upload.selected {
            let message = format!("XsldCache {} still has the template", upload.cache);
            return Verdict::no(Reason::Deleting, kept(inputs).unwrap_or(message));
        }
        let as_wanted = recorded(inputs, upload).map(|uploaded| uploaded.digest.as_str());
        if as_wanted != inputs.digest {
            let message = format!("XsldCache {} does not have the template yet", upload.cache);
            return Verdict::no(Reason::WaitingForCache, message);
        }
    }
    let count = inputs.uploads.len();
    Verdict::yes(Reason::Uploaded, format!("uploaded to {count} of {count} caches"))
}

fn progressing(inputs: &TemplateInputs<'_>) -> Verdict {
    if let Some(own) = inputs.uploads.iter().find_map(|upload| own(inputs, upload)) {
        return Verdict::yes(operation::reason(own), operation::message(own));
    }
    if is_deleting(inputs) {
        return Verdict::yes(Reason::Deleting, "the GridTemplate is being deleted");
    }
    Verdict::no(Reason::Settled, "no operation on this template is open")
}

fn deferred(inputs: &TemplateInputs<'_>) -> Verdict {
    if let Some(message) = kept(inputs) {
        return Verdict::yes(Reason::TemplateInUse, message);
    }
    match inputs.problem.filter(|_| !is_deleting(inputs)) {
        Some(problem) => Verdict::yes(problem.reason, problem.message.clone()),
        None => Verdict::no(Reason::Settled, "no wish of the spec waits"),
    }
}

fn needs_attention(inputs: &TemplateInputs<'_>) -> Verdict {
    let parked = inputs.uploads.iter().find_map(|upload| own(inputs, upload));
    if let Some(message) = parked.and_then(operation::parked_message) {
        return Verdict::yes(Reason::Parked, message);
    }
    if let Some(message) = refusal(inputs) {
        return Verdict::yes(Reason::Refused, message);
    }
    let for_a_person = |reason: Reason| {
        matches!(reason, Reason::SpecInvalid | Reason::TemplateInvalid | Reason::CacheAmbiguous)
    };
    match in_the_way(inputs).filter(|(reason, _)| for_a_person(*reason) && !is_deleting(inputs)) {
        Some((reason, message)) => Verdict::yes(reason, message),
        None => Verdict::no(Reason::Settled, "nothing waits for a person"),
    }
}

/// Where the last record about this template stands; see the same of grids.
fn journal(inputs: &TemplateInputs<'_>) -> Option<JournalStatus> {
    let former = inputs.object.status.as_ref().and_then(|status| status.journal.clone());
    let latest = inputs.uploads.iter().filter_map(|upload| {
        let applied = recorded(inputs, upload).map(|uploaded| uploaded.seq);
        let about_it = |goal: &Goal| is_about(goal, inputs.uid);
        let ended = upload.state.recent.iter().filter(|ended| about_it(&ended.goal));
        let tried = upload.state.tried.get(inputs.uid).map(|tried| tried.ended_seq);
        let last = ended.map(|ended| ended.ended_seq).chain(applied).chain(tried).max();
        let working = own(inputs, upload).is_some();
        let last = if working { upload.head.map(|head| head.seq) } else { last };
        Some((last?, upload.head?))
    });
    let Some((last, head)) = latest.max_by_key(|(last, _)| *last) else { return former };
    let of_this_journal = former.filter(|former| former.id == inputs.journal_id.to_string());
    match of_this_journal {
        Some(former) if u64::try_from(former.sequence).is_ok_and(|known| known >= last) => {
            Some(former)
        }
        _ => Some(operation::journal(head, inputs.journal_id)),
    }
}

#[cfg(test)]
mod tests;
