//! Writing the status of a cache.

use super::super::findings::{Findings, Thing};
use super::super::{Context, Subject};
use crate::crd::{XsldCache, XsldCacheStatus};
use crate::manifests::CommittedTemplate;
use crate::status::publish::publish_cache;
use crate::status::{self, Problem};
use crate::validate::Invalid;

/// Writes the status of a cache. That it is refused is told by an Event and the log.
pub(super) async fn publish(
    context: &Context,
    object: &XsldCache,
    status: &XsldCacheStatus,
    findings: &mut Findings<'_>,
) {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let write = async {
        let (client, timeout) = (&context.client, context.times.request);
        Ok(publish_cache(client, object, status, timeout).await?)
    };
    findings.write(&Thing::new("status of XsldCache", name), "", write).await;
}

/// Tells a status without a look at the world: the spec is broken, or the world cannot be read.
pub(super) async fn tell_unseen(
    context: &Context,
    object: &XsldCache,
    subject: &Subject,
    (invalid, problems): (&[Invalid], &[Problem]),
    findings: &mut Findings<'_>,
) {
    let state = context.store.state(subject.stream).unwrap_or_default();
    let committed = state.committed.template.as_ref().and_then(|committed| {
        let text = context.store.text(&committed.text)?;
        CommittedTemplate::read(&text, &committed.digest).ok()
    });
    let status = status::cache(&status::CacheInputs {
        object,
        invalid,
        problems,
        asked: false,
        seen: None,
        state: &state,
        decision: None,
        head: context.store.stream_head(subject.stream),
        journal_id: context.store.head().journal_id,
        gap: context.store.log_state().gap.clone(),
        image: committed.as_ref().and_then(CommittedTemplate::image),
        target_image: None,
        wanted_template: None,
        update: None,
        no_evictions: None,
        selector: subject.identity.selector_text(),
        now: context.clock.wall(),
    });
    publish(context, object, &status, findings).await;
}
