//! I/O: the StatefulSet as it was committed, written again where somebody else changed it. Replicas
//! and template come from the journal, and only a journalled step changes them.
//!
//! What others changed in a field of ours is applied again; what they added below its `spec` is taken
//! off, because pods that are made anew would take it up one by one.

use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use super::findings::setbacks::Fate;
use super::findings::{Findings, Thing};
use super::objects::wish;
use super::pass::Pass;
use super::{Context, Subject, mark};
use crate::crd::XsldCache;
use crate::events::Note;
use crate::execute::{self, Target};
use crate::manifests::{self, ANNOTATION_TEMPLATE_DIGEST, Edits};
use crate::observation::SetEdit;

/// What the StatefulSet is to be, as it is committed, beside what it is.
struct Reasserted {
    replicas: u32,
    desired: Value,
    live: Option<Value>,
    edits: Edits,
}

impl Reasserted {
    /// None before anything is committed, and while the spec is broken.
    fn of(subject: &Subject, target: &Target<'_>) -> Option<Self> {
        let replicas = target.state.committed.replicas?;
        let (cache, (text, digest)) = (target.cache?, target.template.as_ref()?);
        let template = manifests::CommittedTemplate::read(text, digest).ok()?;
        let live = target.live.map(manifests::document);
        let committed = manifests::Committed { replicas, template: &template };
        let mut desired =
            manifests::stateful_set(cache, &subject.identity, committed, live.as_ref());
        let mut edits = Edits::default();
        if let Some(document) = &live {
            manifests::carry_marks(&mut desired, document);
            edits = manifests::edits(&desired, document);
        }
        Some(Self { replicas, desired, live, edits })
    }

    /// Whether the live one says that it has the template that it is to have.
    fn has_its_template(&self) -> bool {
        let digest = |set: &Value| {
            let annotations = set.pointer("/metadata/annotations")?;
            annotations.get(ANNOTATION_TEMPLATE_DIGEST).cloned()
        };
        self.live.as_ref().and_then(digest) == digest(&self.desired)
    }
}

fn thing(subject: &Subject) -> Thing {
    Thing::new("StatefulSet", &subject.identity.name)
}

/// Adds to what is seen that the pod template is not as it was committed. What an admission policy
/// makes of it at each write counts as committed: nothing that is written again would end that.
pub(super) fn mark_edits(pass: &mut Pass<'_>) {
    let found = Reasserted::of(pass.subject, &pass.target());
    let found = found.filter(|it| it.has_its_template() && it.edits.of_pods().next().is_some());
    let edit = found.and_then(|found| {
        let (wish, uid) = (wish(&found.desired), &pass.subject.identity.uid);
        let of = (&found.edits, wish.as_str());
        let fate = pass.context.findings.fate(pass.context, uid, &thing(pass.subject), of);
        let words = format!("{} changed {}", found.edits.who(), found.edits.paths());
        (fate != Fate::Policy).then(|| SetEdit { words, is_left_alone: fate == Fate::LeftAlone })
    });
    if let Some(set) = &mut pass.seen.stateful_set {
        set.edit = edit;
    }
}

/// Applies the StatefulSet as it is committed, when it is not so. Never while a step that changes it
/// is in doubt, nor below what is committed, nor before anything is committed. Gives whether it was
/// tried; a refusal is a finding.
pub(super) async fn reassert_stateful_set(
    context: &Context,
    subject: &Subject,
    object: &XsldCache,
    target: &Target<'_>,
    findings: &mut Findings<'_>,
) -> bool {
    let Some(found) = Reasserted::of(subject, target) else { return false };
    let (thing, wish) = (thing(subject), wish(&found.desired));
    let mut differs = true;
    if let Some(document) = &found.live {
        differs = manifests::differs(&found.desired, document);
        let leaves = document.pointer("/metadata/deletionTimestamp").is_some();
        if leaves || (!differs && found.edits.is_empty()) {
            findings.is_as_wished(&thing, &wish);
            return false;
        }
    }
    if !findings.may_write(&thing, &wish) || !findings.sets_back(&thing, &wish, &found.edits) {
        return false;
    }
    // The watched object may be an old one: what differs may be another operator's work by now.
    let taken = mark::taken(context, object).await;
    if findings.read(&Thing::new("XsldCache", &subject.identity.name), taken) != Some(None) {
        return false;
    }
    if let Some(live) = target.live {
        let live_replicas = live.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        if live_replicas != i32::try_from(found.replicas).unwrap_or(i32::MAX) {
            subject.publish(context, &[replicas_changed(live_replicas, found.replicas)]).await;
        }
    }
    let edits = |set: &StatefulSet| manifests::edits(&found.desired, &manifests::document(set));
    let mut before = found.edits.clone();
    let mut written = target.live.cloned();
    if differs || written.is_none() {
        match execute::write_stateful_set(target, found.replicas, None).await {
            Ok(set) => written = Some(set),
            Err(effect) => {
                findings.took_effect(&thing, &wish, &effect);
                return true;
            }
        }
    }
    let Some(mut set) = written else { return true };
    let mut after = edits(&set);
    if let Some(removal) = after.removal.clone() {
        // What the first write set back is told, whatever becomes of the second.
        let done = before.without(&after);
        if !done.is_empty() {
            findings.was_written(&thing, &wish, (&done, Edits::default()));
            before = before.without(&done);
        }
        match execute::take_off(target, &set, removal).await {
            Ok(stored) => set = stored,
            Err(effect) => {
                findings.took_effect(&thing, &wish, &effect);
                return true;
            }
        }
        after = edits(&set);
    }
    findings.took_effect(&thing, &wish, &execute::written(&set));
    findings.was_written(&thing, &wish, (&before, after));
    true
}

fn replicas_changed(live: i32, committed: u32) -> Note {
    Note {
        reason: "ReplicasChanged",
        warning: true,
        message: format!(
            "somebody set the StatefulSet to {live} replicas; it is set back to {committed}: \
             change spec.size of the XsldCache instead"
        ),
        operation: None,
        seq: None,
        action: "SetReplicas",
    }
}
