//! Which stream of the journal a cache has, and whose turn it is to write to it.

use std::sync::{Arc, PoisonError};

use kube::ResourceExt;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;
use xsld_journal::event::OperationId;
use xsld_journal::record::StreamId;
use xsld_journal::state::Acted;
use xsld_journal::store::Store;

use super::{Context, Subject};
use crate::crd::XsldCache;

/// The stream of the cache with this UID. Nothing follows on a closed one, so a cache that is there
/// all the same has another stream, which begins with what is found: it was left to another operator
/// and came back, or the API server was set back to when it was not deleted yet. None where the UID
/// names no stream.
pub(crate) fn stream_of(store: &dyn Store, uid: &str, deleting: bool) -> Option<StreamId> {
    let mut stream = StreamId(uid.parse::<Uuid>().ok()?);
    while let Some(state) = store.state(stream) {
        // A deletion that was carried out has only its finalizer to take off.
        if !state.closed || deleting && !state.left {
            break;
        }
        stream = again(stream);
    }
    Some(stream)
}

/// The stream that follows on this one, once it is closed, for the same object.
pub(crate) fn again(stream: StreamId) -> StreamId {
    StreamId(Uuid::new_v5(&stream.0, b"again"))
}

/// Whether a stream is the first or a later one of the cache with this UID.
pub(crate) fn is_of(store: &dyn Store, uid: &str, stream: StreamId) -> bool {
    let mut next = uid.parse::<Uuid>().ok().map(StreamId);
    while let Some(known) = next.filter(|known| store.state(*known).is_some()) {
        if known == stream {
            return true;
        }
        next = Some(again(known));
    }
    false
}

impl Context {
    /// The cache of a stored object; none when it has no UID that names a stream.
    pub(super) fn subject(&self, object: &XsldCache) -> Option<Subject> {
        Subject::of(object, &*self.store)
    }

    /// The stream of a cache that is there.
    pub(super) fn stream_of(&self, uid: &str) -> Option<StreamId> {
        stream_of(&*self.store, uid, false)
    }

    /// Whether a cache that is there goes on after a stream that is closed, and has recorded nothing
    /// yet.
    pub(super) fn begins_again(&self, object: &XsldCache, subject: &Subject) -> bool {
        let first = object.uid().and_then(|uid| uid.parse().ok()).map(StreamId);
        first != Some(subject.stream) && self.store.state(subject.stream).is_none()
    }

    /// What was acted on for a cache in the streams before its present one.
    pub(super) fn acted_before(&self, subject: &Subject) -> Option<Acted> {
        let mut stream = StreamId(subject.identity.uid.parse().ok()?);
        let mut acted = None;
        while stream != subject.stream {
            acted = self.store.state(stream)?.acted_after(acted);
            stream = again(stream);
        }
        acted
    }

    /// Forgets what was watched of the cache whose stream this is, be it its first one or a later one.
    pub(super) fn forget_stream(&self, stream: StreamId) {
        let watched: Vec<String> = {
            let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
            watches.keys().cloned().collect()
        };
        for uid in watched.iter().filter(|uid| is_of(&*self.store, uid, stream)) {
            self.keep_watch(uid, None);
        }
    }

    /// The operation that is open.
    pub(super) fn open_operation(&self, subject: &Subject) -> Option<OperationId> {
        let state = self.store.state(subject.stream)?;
        state.operation.as_ref().map(|operation| operation.id)
    }

    /// Waits for the turn of a cache. None when its stream was closed meanwhile: the next one has a
    /// turn of its own.
    pub(super) async fn turn_of(&self, object: &XsldCache) -> Option<OwnedMutexGuard<()>> {
        let stream = self.subject(object)?.stream;
        let turn = self.turn(stream).await;
        self.subject(object).is_some_and(|now| now.stream == stream).then_some(turn)
    }

    /// Waits for its turn: one at a time works on a stream.
    pub(super) async fn turn(&self, stream: StreamId) -> OwnedMutexGuard<()> {
        let turn: Arc<Mutex<()>> = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits for a turn of which nobody else has a share.
            turns.retain(|other, turn| *other == stream || Arc::strong_count(turn) > 1);
            turns.entry(stream).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Whether something is told of a cache for the first time in this process, or was told otherwise.
    pub(super) fn tells_of(&self, uid: &str, what: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(uid.to_owned(), what.to_owned()).is_none_or(|before| before != what)
    }
}

#[cfg(test)]
mod tests {
    use xsld_journal::event::Event;
    use xsld_journal::record::Epoch;
    use xsld_journal::store::Append;
    use xsld_journal::store::memory::MemoryStore;

    use super::*;

    const UID: &str = "00000000-0000-0000-0000-000000000007";

    fn append(store: &MemoryStore, stream: StreamId, event: Event) {
        let expected = store.stream_head(stream).map_or(0, |head| head.stream_seq);
        let (epoch, operation, time_us) = (Epoch(1), None, 0);
        let (events, blobs) = (vec![event], vec![]);
        store
            .append(Append { stream, expected, epoch, operation, time_us, events, blobs })
            .unwrap();
    }

    #[test]
    fn a_cache_that_is_there_has_a_stream_that_takes_records() {
        let left = || Event::CacheLeft { reason: "gone".into(), evidence: "{}".into() };
        for (event, deleted) in [(left(), false), (Event::CacheClosed { reason: "x".into() }, true)]
        {
            let store = MemoryStore::new(Uuid::from_u128(1));
            append(&store, StreamId::JOURNAL, Event::Genesis { namespace_uid: "n".into() });
            let first = stream_of(&store, UID, false).unwrap();
            assert_eq!(first.to_string(), UID);
            let opened = Event::CacheOpened { namespace: "ns".into(), name: "c".into() };
            append(&store, first, opened.clone());
            assert_eq!(stream_of(&store, UID, false), Some(first));
            append(&store, first, event);
            let next = stream_of(&store, UID, false).unwrap();
            assert_ne!(next, first);
            assert_eq!(
                stream_of(&store, UID, true) == Some(first),
                deleted,
                "its finalizer is left"
            );
            append(&store, next, opened);
            append(&store, next, left());
            let third = stream_of(&store, UID, false).unwrap();
            assert!(third != next && third != first && store.state(third).is_none());
        }
    }
}
