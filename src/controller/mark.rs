//! Whose a cache is, where the scopes of several operators overlap.
//!
//! An operator puts its mark on an XsldCache, with the finalizer, before it does anything for it: an
//! annotation with its own namespace, of which one operator leads at a time, and its journal. A cache
//! with another operator's mark is left alone, with its objects, its members and what means only it:
//! to this operator the other one's joins would be ghosts. Only a person changes that, by the
//! annotation. A mark is written on the version that was looked at, so that of two operators one
//! comes first and the other one sees it.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::{info, warn};
use uuid::Uuid;
use xsld_journal::event::Event;

use super::{Context, Error, Subject, objects};
use crate::crd::{FINALIZER, XsldCache};
use crate::events::Note;
use crate::manifests::ANNOTATION_OPERATOR;

/// Whose a cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Nobody has put a mark on it yet.
    Nobodys,
    /// This operator's, with this journal.
    Ours,
    /// This operator's, with a journal before this one, or as a person said it.
    OursBefore,
    /// The operator's in this namespace.
    Anothers(&'a str),
}

/// Whose a cache is to the operator of `namespace`, with this journal.
pub fn whose<'a>(cache: &'a XsldCache, namespace: &str, journal: Uuid) -> Whose<'a> {
    let annotations = cache.metadata.annotations.as_ref();
    let Some(mark) = annotations.and_then(|all| all.get(ANNOTATION_OPERATOR)) else {
        return Whose::Nobodys;
    };
    let (operator, with) = mark.split_once('/').unwrap_or((mark, ""));
    match (operator.trim(), with) {
        ("", _) => Whose::Nobodys,
        (operator, _) if operator != namespace => Whose::Anothers(operator),
        (_, with) if with == journal.to_string() => Whose::Ours,
        _ => Whose::OursBefore,
    }
}

impl Context {
    /// Whose a cache is to this operator.
    pub(super) fn whose<'a>(&self, cache: &'a XsldCache) -> Whose<'a> {
        whose(cache, &self.operator_namespace, self.store.head().journal_id)
    }

    /// Whether another operator works on a cache.
    pub(super) fn is_anothers(&self, cache: &XsldCache) -> bool {
        matches!(self.whose(cache), Whose::Anothers(_))
    }
}

fn api(context: &Context, cache: &XsldCache) -> Api<XsldCache> {
    Api::namespaced(context.client.clone(), &cache.namespace().unwrap_or_default())
}

/// What became of putting the mark and the finalizer on a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// Both are there.
    There,
    /// They were put: nothing may be done before that is seen.
    Written,
    /// The object in hand is an old one: it is looked at again when a newer one is there.
    TooLate,
}

/// What is on the live object, where the object in hand may be an old one.
#[derive(Debug, PartialEq, Eq)]
enum Live {
    /// This operator's mark, as it was.
    Ours,
    /// No mark, or an older one of this operator's.
    Changed,
    /// This operator's, and its spec is another one.
    Edited,
    /// Another operator's.
    Anothers(String),
    /// This operator's, but it was deleted since.
    Going,
    /// The object is not there any more, or is another one.
    Gone(&'static str),
}

/// Puts the mark and the finalizer on a cache where one of them is missing.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn put(
    context: &Context,
    cache: &XsldCache,
    subject: &Subject,
) -> Result<Put, Error> {
    let held = cache.finalizers().iter().any(|name| name == FINALIZER);
    // What is being deleted takes no new finalizer.
    let held = held || cache.metadata.deletion_timestamp.is_some();
    let whose = context.whose(cache);
    if held && whose == Whose::Ours {
        // An old version of a cache that was deleted in order is none that begins again.
        let begins_again = context.begins_again(cache, subject);
        let is_old = begins_again && taken(context, cache).await?.is_some();
        return Ok(if is_old { Put::TooLate } else { Put::There });
    }
    let journal = context.store.head().journal_id;
    let mark = format!("{}/{journal}", context.operator_namespace);
    let mut finalizers = cache.finalizers().to_vec();
    if !held {
        finalizers.push(FINALIZER.to_owned());
    }
    if whose == Whose::OursBefore {
        info!(
            cache = cache.name_any(),
            mark, "the mark of this operator's former journal is renewed"
        );
    }
    let patch = json!({ "metadata": {
        "resourceVersion": cache.metadata.resource_version,
        "annotations": { ANNOTATION_OPERATOR: mark },
        "finalizers": finalizers,
    } });
    let (name, params) = (cache.name_any(), PatchParams::default());
    let (api, patch) = (api(context, cache), Patch::Merge(&patch));
    let write = api.patch_metadata(&name, &params, &patch);
    match objects::timed("mark a cache", context.times.request, write).await {
        // Somebody else wrote it, or it is gone: it is looked at again.
        Err(Error::Write { source, .. }) if matches!(&*source, kube::Error::Api(status) if [404, 409].contains(&status.code)) => {
            Ok(Put::TooLate)
        }
        written => written.map(|_| Put::Written),
    }
}

/// Reads whose a cache is, live, before anything is done to it: none when it is this operator's as it
/// was; else why nothing may be done.
///
/// # Errors
/// When the API server cannot be read.
pub(super) async fn taken(context: &Context, cache: &XsldCache) -> Result<Option<String>, Error> {
    Ok(match live(context, cache).await? {
        Live::Ours => None,
        Live::Changed => Some("this operator's mark on it was taken off or changed".to_owned()),
        Live::Edited => {
            Some("its spec was changed meanwhile, and the change is not seen yet".to_owned())
        }
        Live::Anothers(other) => Some(format!("the operator in namespace {other} works on it")),
        Live::Going => Some("its XsldCache was deleted meanwhile".to_owned()),
        Live::Gone(why) => Some(why.to_owned()),
    })
}

async fn live(context: &Context, cache: &XsldCache) -> Result<Live, Error> {
    let name = cache.name_any();
    let api = api(context, cache);
    let read = api.get_metadata_opt(&name);
    let Some(live) = objects::timed("read a cache", context.times.request, read).await? else {
        return Ok(Live::Gone("its XsldCache does not exist any more"));
    };
    if live.metadata.uid != cache.metadata.uid {
        return Ok(Live::Gone("its XsldCache is another one by now"));
    }
    let live = XsldCache { metadata: live.metadata, ..cache.clone() };
    Ok(compared(&live, cache, context.whose(&live)))
}

/// What the live object is to who has `cache` in hand, which may be an older version of it.
fn compared(live: &XsldCache, cache: &XsldCache, whose: Whose<'_>) -> Live {
    let is_deleted = |cache: &XsldCache| cache.metadata.deletion_timestamp.is_some();
    match whose {
        // What was made for it may be orphaned on purpose: it takes no owner again.
        Whose::Ours if is_deleted(live) && !is_deleted(cache) => Live::Going,
        // A pause, volumes that are to be kept, a size: nothing is done for what is not asked any more.
        Whose::Ours if live.metadata.generation != cache.metadata.generation => Live::Edited,
        Whose::Ours => Live::Ours,
        Whose::Anothers(other) => Live::Anothers(other.to_owned()),
        Whose::Nobodys | Whose::OursBefore => Live::Changed,
    }
}

/// Leaves a cache to the other operator whose mark stands on it: tells so, once, and ends what this
/// operator had begun for it.
///
/// # Errors
/// When the API server cannot be read, or the journal refuses the record.
pub(super) async fn leave(
    context: &Context,
    cache: &XsldCache,
    subject: &Subject,
    other: &str,
) -> Result<(), Error> {
    let uid = &subject.identity.uid;
    let (namespace, name) = (&subject.identity.namespace, &subject.identity.name);
    let own = &context.operator_namespace;
    if context.tells_of(uid, other) {
        let message = format!(
            "the operator in namespace {other} works on this cache, and the one in namespace {own} \
             leaves it alone. Is that one gone for good, or is the cache to change hands: kubectl \
             annotate xsldcache {name} -n {namespace} --overwrite {ANNOTATION_OPERATOR}={own}"
        );
        warn!(namespace, name, other, "another operator works on this cache");
        let note = Note {
            reason: "OperatedByAnother",
            warning: true,
            message,
            operation: None,
            seq: None,
            action: "LeaveCache",
        };
        subject.publish(context, &[note]).await;
    }
    context.keep_watch(uid, None);
    let open = context.store.state(subject.stream).is_some_and(|state| !state.closed);
    // What was looked at may be an old version: the journal hears it from the live one.
    if open {
        let why = match live(context, cache).await? {
            Live::Anothers(other) => format!("the operator in namespace {other} works on it"),
            Live::Gone(why) => why.to_owned(),
            // It is this operator's again: what was begun goes on.
            Live::Ours | Live::Changed | Live::Edited | Live::Going => return Ok(()),
        };
        let event = Event::CacheLeft {
            reason: format!("{why}: this one has left it as it was"),
            evidence: json!({"operator": own, "mark": other}).to_string(),
        };
        context.append(subject, context.open_operation(subject), vec![event], vec![]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn marked(mark: Option<&str>) -> XsldCache {
        let annotations = mark.map(|mark| json!({ANNOTATION_OPERATOR: mark}));
        serde_json::from_value(json!({
            "apiVersion": "xsld.ibm.com/v1alpha1", "kind": "XsldCache",
            "metadata": {"name": "c", "namespace": "team", "annotations": annotations},
            "spec": {"license": "accept", "size": 1},
        }))
        .unwrap()
    }

    #[test]
    fn a_mark_says_whose_a_cache_is() {
        let (ours, before) = (Uuid::from_u128(5), Uuid::from_u128(4));
        let cases = [
            (None, Whose::Nobodys),
            (Some(String::new()), Whose::Nobodys),
            (Some(format!("ops/{ours}")), Whose::Ours),
            (Some(format!("ops/{before}")), Whose::OursBefore),
            (Some("ops".to_owned()), Whose::OursBefore),
            (Some(format!("team/{ours}")), Whose::Anothers("team")),
            (Some("team".to_owned()), Whose::Anothers("team")),
        ];
        for (mark, expected) in cases {
            let cache = marked(mark.as_deref());
            assert_eq!(whose(&cache, "ops", ours), expected, "{mark:?}");
        }
    }

    #[test]
    fn nothing_is_done_for_a_spec_that_was_changed_since_it_was_seen() {
        let of = |generation: i64, deleted: bool| {
            let mut cache = marked(Some("ops"));
            cache.metadata.generation = Some(generation);
            cache.metadata.deletion_timestamp =
                deleted.then_some(Time(jiff::Timestamp::UNIX_EPOCH));
            cache
        };
        let seen = of(3, false);
        assert_eq!(compared(&of(3, false), &seen, Whose::Ours), Live::Ours);
        assert_eq!(compared(&of(4, false), &seen, Whose::Ours), Live::Edited);
        assert_eq!(compared(&of(4, true), &seen, Whose::Ours), Live::Going);
        assert_eq!(compared(&of(4, true), &of(4, true), Whose::Ours), Live::Ours);
        assert_eq!(compared(&of(5, true), &of(4, true), Whose::Ours), Live::Edited);
    }
}
