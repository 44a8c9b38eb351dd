mod golden;

use proptest::prelude::*;

use super::*;
use crate::audit::{load, segment_name, survey};
use crate::event::Text;
use crate::fixtures::histories::history;
use crate::fixtures::{cache, ended, entries_of, id, story, write_audit};
use crate::store::{
    Append, AppendError, Appended, Head, MemoryStore, OpenOptions, StreamHead, open,
};

fn filled(store: &dyn Store, appends: &[Append]) -> Vec<Folded> {
    let mut seen = vec![fold(&store.scan(1).unwrap()).unwrap()];
    for append in appends {
        let appended = store.append(append.clone()).unwrap();
        let folded = fold(&store.scan(1).unwrap()).unwrap();
        if append.stream != StreamId::JOURNAL {
            assert_eq!(folded.streams[&append.stream], *appended.state);
        }
        verify(store).unwrap();
        seen.push(folded);
    }
    seen
}

#[test]
fn the_state_at_any_record_is_what_it_was_then() {
    let store = MemoryStore::new(id(1));
    let seen = filled(&store, &story());
    let records = store.scan(1).unwrap();
    for then in seen {
        assert_eq!(fold_until(&records, then.seq).unwrap(), then);
    }
}

#[test]
fn an_illegal_record_is_an_error_with_its_sequence_and_changes_nothing() {
    let mut records: Vec<Record> =
        entries_of(&story()).into_iter().map(|entry| entry.record).collect();
    records[5].event = ended();
    let mut folded = fold(&records[..5]).unwrap();
    let before = folded.clone();
    let illegal = folded.apply(&records[5]).unwrap_err();
    assert_eq!((illegal.seq, folded), (6, before));
    assert_eq!(fold(&records), Err(illegal));
}

#[test]
fn a_state_that_is_not_its_records_fold_is_found() {
    let store = MemoryStore::from_entries(id(1), entries_of(&story())).unwrap();
    verify(&store).unwrap();
    let mut forgets = Lies { store, forgets: true, alters: false };
    assert_eq!(verify(&forgets), Err(Mismatch::Stream(cache(1))));
    (forgets.forgets, forgets.alters) = (false, true);
    assert_eq!(verify(&forgets), Err(Mismatch::Stream(cache(1))));
}

/// A store that shows other states than its records make.
struct Lies {
    store: MemoryStore,
    forgets: bool,
    alters: bool,
}

impl Store for Lies {
    fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.store.append(append)
    }
    fn head(&self) -> Head {
        self.store.head()
    }
    fn log_state(&self) -> Arc<LogState> {
        self.store.log_state()
    }
    fn state(&self, stream: StreamId) -> Option<Arc<CacheState>> {
        self.store.state(stream)
    }
    fn stream_head(&self, stream: StreamId) -> Option<StreamHead> {
        self.store.stream_head(stream)
    }
    fn streams(&self) -> Vec<(StreamId, Arc<CacheState>)> {
        let mut streams = self.store.streams();
        if self.forgets {
            streams.clear();
        }
        for (_, state) in streams.iter_mut().filter(|_| self.alters) {
            Arc::make_mut(state).committed.replicas = Some(99);
        }
        streams
    }
    fn hash_at(&self, seq: u64) -> Option<[u8; 32]> {
        self.store.hash_at(seq)
    }
    fn text(&self, text: &Text) -> Option<String> {
        self.store.text(text)
    }
    fn scan(&self, from: u64) -> Result<Vec<Record>, store::Error> {
        self.store.scan(from)
    }
    fn poisoned(&self) -> Option<String> {
        self.store.poisoned()
    }
}

#[test]
fn histories_are_rich_enough_to_prove_something() {
    let choices: Vec<u8> = (0..6000_u32).map(|at| (at.wrapping_mul(40_503) >> 7) as u8).collect();
    let appends = history(&choices);
    let mut names: Vec<_> =
        appends.iter().flat_map(|append| &append.events).map(|event| event.name()).collect();
    assert!(names.len() > 500, "{}", names.len());
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 18, "{names:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is recorded: both stores hold the same log, a restart finds the same state, and
    /// that state is the fold of what is stored.
    #[test]
    fn both_stores_keep_the_same_log_and_its_fold_is_the_live_state(
        choices in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let appends = history(&choices);
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(dir.path().join("journal"), id(1));
        let memory = MemoryStore::new(id(1));
        let (disk, _) = open(&options).unwrap();
        for append in &appends {
            let one = memory.append(append.clone()).unwrap();
            prop_assert_eq!(one, disk.append(append.clone()).unwrap());
        }
        let records = memory.scan(1).unwrap();
        prop_assert_eq!(&records, &disk.scan(1).unwrap());
        verify(&memory).unwrap();
        verify(&disk).unwrap();
        let (head, streams) = (disk.head(), disk.streams());
        drop(disk);
        let (disk, report) = open(&options).unwrap();
        prop_assert!(report.healed.is_empty() && report.torn_tail.is_none());
        prop_assert_eq!((head, streams), (disk.head(), disk.streams()));
        verify(&disk).unwrap();
        let checked = crate::check::check_dir(&options.dir, None).unwrap();
        let pairing = |finding: &&crate::check::Finding| {
            finding.severity > crate::check::Severity::Note
                && finding.kind != crate::check::Kind::Gap
        };
        prop_assert!(checked.findings.iter().find(pairing).is_none(), "{:?}", checked.findings);
    }

    /// A file that ends anywhere is a whole journal and a torn tail: never an error, never more
    /// or less than whole appends.
    #[test]
    fn an_audit_file_that_ends_anywhere_holds_whole_appends(
        choices in proptest::collection::vec(any::<u8>(), 20..80),
        cut in any::<prop::sample::Index>(),
    ) {
        let appends = history(&choices);
        let dir = tempfile::tempdir().unwrap();
        let entries = entries_of(&appends);
        write_audit(dir.path(), &entries);
        let path = dir.path().join(segment_name(1));
        let bytes = std::fs::read(&path).unwrap();
        let cut = cut.index(bytes.len());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let loaded = load(dir.path(), id(1)).unwrap();
        let seq = loaded.ledger.head().seq;
        let ends: Vec<u64> = std::iter::once(0)
            .chain(entries.iter().filter(|entry| entry.record.envelope.rest == 0)
            .map(|entry| entry.record.seq()))
            .collect();
        prop_assert!(ends.contains(&seq));
        prop_assert!(loaded.ledger.is_whole());
        let shown = survey(dir.path()).unwrap();
        prop_assert_eq!((shown.0.len() as u64, shown.1.is_some()), (seq, loaded.torn.is_some()));
    }
}
