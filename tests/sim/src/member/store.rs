//! Cached entries, in memory only. Plain data: no network, no clock of its own.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A map and a key in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct EntryKey {
    pub(super) map: String,
    pub(super) key: String,
}

/// One version of an entry. The version with the greater stamp wins on every copy, so that copies
/// that see two writes in different orders end equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Microseconds of the write, then who coordinated it.
    pub(super) stamp: (i64, Uuid),
    /// `None` is a deletion.
    pub(super) value: Option<Payload>,
    /// When it ends, in microseconds.
    pub(super) expires: Option<i64>,
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Payload {
    pub(super) content_type: String,
    #[serde(with = "as_base64")]
    pub(super) bytes: Vec<u8>,
}

mod as_base64 {
    use super::{Deserialize, Engine, STANDARD};

    pub(super) fn serialize<S: serde::Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

/// The entries of one partition, on their way to another member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slice {
    pub(super) partition: usize,
    pub(super) entries: Vec<(EntryKey, Entry)>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Whether this copy is whole. One that is still being filled takes writes and answers
    /// nothing.
    held: bool,
    entries: BTreeMap<EntryKey, Entry>,
}

/// Every copy that a member has.
#[derive(Debug, Default)]
pub(super) struct Store {
    partitions: BTreeMap<(String, usize), Partition>,
}

impl Store {
    /// Which of `count` partitions a key belongs to.
    pub(super) fn partition_of(key: &EntryKey, count: usize) -> usize {
        let hash = blake3::hash(format!("{}\0{}", key.map, key.key).as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        let count = u64::try_from(count.max(1)).unwrap_or(u64::MAX);
        usize::try_from(u64::from_be_bytes(first) % count).unwrap_or(0)
    }

    /// Per grid, the partitions of which this member has a whole copy.
    pub(super) fn held(&self) -> BTreeMap<String, Vec<usize>> {
        let mut held: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for ((grid, partition), _) in self.partitions.iter().filter(|(_, copy)| copy.held) {
            held.entry(grid.clone()).or_default().push(*partition);
        }
        held
    }

    /// Stores an entry unless a later one is there. Returns whether the copy is whole.
    pub(super) fn put(
        &mut self,
        grid: &str,
        partition: usize,
        key: EntryKey,
        entry: Entry,
    ) -> bool {
        let copy = self.partitions.entry((grid.to_owned(), partition)).or_default();
        let later = copy.entries.get(&key).is_some_and(|there| there.stamp >= entry.stamp);
        if !later {
            copy.entries.insert(key, entry);
        }
        copy.held
    }

    /// The entry's last version, deletions included; `Err` when the copy is not whole.
    pub(super) fn get(
        &self,
        grid: &str,
        partition: usize,
        key: &EntryKey,
    ) -> Result<Option<Entry>, NotHeld> {
        let copy = self.partitions.get(&(grid.to_owned(), partition));
        let copy = copy.filter(|copy| copy.held).ok_or(NotHeld)?;
        Ok(copy.entries.get(key).cloned())
    }

    /// The keys of a map that are there at `now` (microseconds).
    pub(super) fn keys(
        &self,
        grid: &str,
        partition: usize,
        map: &str,
        now: i64,
    ) -> Result<Vec<String>, NotHeld> {
        let copy = self.partitions.get(&(grid.to_owned(), partition));
        let copy = copy.filter(|copy| copy.held).ok_or(NotHeld)?;
        let there = copy.entries.iter().filter(|(key, entry)| key.map == map && entry.lives(now));
        Ok(there.map(|(key, _)| key.key.clone()).collect())
    }

    /// Everything in these partitions of which this member has a whole copy.
    pub(super) fn slices(&self, grid: &str, partitions: &[usize]) -> Vec<Slice> {
        let mut slices = Vec::new();
        for partition in partitions {
            let copy = self.partitions.get(&(grid.to_owned(), *partition));
            if let Some(copy) = copy.filter(|copy| copy.held) {
                let entries = copy.entries.iter().map(|(key, entry)| (key.clone(), entry.clone()));
                slices.push(Slice { partition: *partition, entries: entries.collect() });
            }
        }
        slices
    }

    /// Takes copies; they are whole from now on.
    pub(super) fn receive(&mut self, grid: &str, slices: Vec<Slice>) {
        for slice in slices {
            for (key, entry) in slice.entries {
                self.put(grid, slice.partition, key, entry);
            }
            self.open(grid, slice.partition);
        }
    }

    /// Takes what is there as a whole copy.
    pub(super) fn open(&mut self, grid: &str, partition: usize) {
        self.partitions.entry((grid.to_owned(), partition)).or_default().held = true;
    }

    /// Drops every copy of the grid's partitions but these.
    pub(super) fn keep(&mut self, grid: &str, partitions: &[usize]) {
        self.partitions
            .retain(|(name, partition), _| name != grid || partitions.contains(partition));
    }

    /// Drops every grid that is not among `grids`.
    pub(super) fn keep_grids(&mut self, grids: &dyn Fn(&str) -> bool) {
        self.partitions.retain(|(name, _), _| grids(name));
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
    }
}

impl Entry {
    /// Whether it is a value that has not ended at `now` (microseconds).
    pub(super) fn lives(&self, now: i64) -> bool {
        self.value.is_some() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// The member has no whole copy of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHeld;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> EntryKey {
        EntryKey { map: "m.LUT.O".to_owned(), key: key.to_owned() }
    }

    fn entry(micros: i64, text: &str) -> Entry {
        let value = Payload { content_type: "text/plain".to_owned(), bytes: text.into() };
        Entry { stamp: (micros, Uuid::nil()), value: Some(value), expires: None }
    }

    #[test]
    fn copy_that_is_being_filled_takes_writes_and_answers_nothing() {
        let mut store = Store::default();
        assert!(!store.put("g", 0, key("k"), entry(2, "new")));
        assert_eq!(store.get("g", 0, &key("k")), Err(NotHeld));
        let old = Slice { partition: 0, entries: vec![(key("k"), entry(1, "old"))] };
        store.receive("g", vec![old]);
        assert_eq!(store.get("g", 0, &key("k")), Ok(Some(entry(2, "new"))));
    }

    #[test]
    fn deletion_and_end_of_life_hide_an_entry() {
        let mut store = Store::default();
        store.open("g", 0);
        store.put("g", 0, key("a"), Entry { expires: Some(10), ..entry(1, "a") });
        store.put("g", 0, key("b"), entry(1, "b"));
        assert_eq!(store.keys("g", 0, "m.LUT.O", 9).unwrap(), ["a", "b"]);
        store.put("g", 0, key("b"), Entry { value: None, ..entry(2, "") });
        assert!(store.keys("g", 0, "m.LUT.O", 10).unwrap().is_empty());
    }

    #[test]
    fn keys_spread_over_every_partition() {
        let mut seen = std::collections::BTreeSet::new();
        (0..200).for_each(|n| {
            seen.insert(Store::partition_of(&key(&n.to_string()), 5));
        });
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
