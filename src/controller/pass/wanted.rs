//! What the spec asks for, as the decisions see it.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use xsld_journal::record::text_for_event;
use xsld_journal::state::CacheState;

use super::super::{Context, Subject, grids};
use crate::crd::{OnFailure, ReplicationMode, ResetHalfJoined, VolumePolicy, XsldCache};
use crate::decide::{Cascade, Wanted, older, roll};
use crate::manifests::{self, CommittedTemplate};
use crate::validate::ValidCache;

/// What the spec asks for. Of a spec that is broken, and then the cache is being deleted, only the
/// policy for its volumes counts.
pub(super) fn wanted(
    object: &XsldCache,
    subject: &Subject,
    valid: Option<&ValidCache>,
    grids: &grids::Grids,
) -> (Wanted, String) {
    let template = valid.map(|valid| manifests::pod_template(valid, &subject.identity));
    let digest = template.as_ref().map(manifests::template_digest).unwrap_or_default();
    let json = template.as_ref().map(manifests::template_json).unwrap_or_default();
    let (text, _) = text_for_event(json.clone());
    let retention = valid.map(|valid| valid.storage.retention);
    let deletes = |policy: Option<VolumePolicy>| policy == Some(VolumePolicy::Delete);
    let wanted = Wanted {
        name: subject.identity.name.clone(),
        namespace: subject.identity.namespace.clone(),
        generation: object.metadata.generation.unwrap_or(0),
        size: valid.map_or(0, |valid| valid.size),
        catalogs: valid.map_or(0, |valid| valid.catalogs),
        delete_scaled_volumes: deletes(retention.map(|retention| retention.when_scaled)),
        delete_volumes: deletes(retention.map(|retention| retention.when_deleted)),
        reset_half_joined: valid
            .is_some_and(|valid| valid.reset_half_joined == ResetHalfJoined::Auto),
        paused: valid.is_some_and(|valid| valid.paused),
        deleting: object.metadata.deletion_timestamp.is_some(),
        cascade: Cascade::Delete,
        template: (digest, text),
        may_roll: false,
        confirms: object.annotations().get(older::ANNOTATION_CONFIRM).cloned(),
        acted_before: None,
        rollout: rollout(valid),
        replicate: valid.is_some_and(|valid| valid.replication.mode == ReplicationMode::Auto),
        primary_grace: valid.map_or(Duration::MAX, |valid| valid.replication.primary_grace),
        storage: valid.map(|valid| valid.storage.size.clone()).unwrap_or_default(),
        class: valid.and_then(|valid| valid.storage.class.clone()),
        grids: BTreeMap::clone(&grids.wanted),
        templates: BTreeMap::clone(&grids.templates.wanted),
        unread: grids.unread,
        others: grids.all.union(&grids.templates.all).cloned().collect(),
        held: None,
    };
    (wanted, json)
}

/// Whether the spec's pod template may take the place of the committed one.
pub(super) fn may_roll(
    context: &Context,
    object: &XsldCache,
    subject: &Subject,
    valid: Option<&ValidCache>,
    state: &CacheState,
) -> bool {
    let (Some(valid), Some(committed)) = (valid, &state.committed.template) else { return false };
    let Some(text) = context.store.text(&committed.text) else { return false };
    let Ok(committed) = CommittedTemplate::read(&text, &committed.digest) else { return false };
    let template = manifests::pod_template(valid, &subject.identity);
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    manifests::may_roll(&committed, &template, state.held_template.as_deref(), &annotations)
}

fn rollout(valid: Option<&ValidCache>) -> roll::Rollout {
    let rollout = valid.map(|valid| valid.rollout);
    roll::Rollout {
        partition: rollout.map_or(0, |rollout| rollout.partition),
        deadline: rollout.map_or(Duration::MAX, |rollout| rollout.progress_deadline),
        rollback: rollout.is_some_and(|rollout| rollout.on_failure == OnFailure::Rollback),
    }
}
