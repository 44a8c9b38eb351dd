//! The data API on port 9444: entries of maps, kept on the members that the placement names.

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use super::Member;
use super::peer::{PeerCall, PeerReply};
use super::store::{Entry, EntryKey, Payload, Store};
use super::wire::{Answer, micros};

/// A query answers so many keys at most.
const MOST_KEYS: usize = 500;

/// A grid as the data API uses it.
struct Known {
    placement: Vec<Vec<(Uuid, Ipv4Addr)>>,
    time_to_live: i64,
}

impl Member {
    /// The grid, or the answer when it cannot be used.
    fn data_grid(&self, grid: &str, map: &str) -> Result<Known, Answer> {
        self.read(|state| {
            let database = &state.view.database;
            let known = database.grids.get(grid).filter(|known| known.started);
            let text = format!("CWOBJ9750E: The data grid {grid} does not exist.");
            let known = known.ok_or_else(|| Answer::error(404, text))?;
            let simple = known.settings.get("gridType").is_some_and(|kind| kind == "Simple");
            if simple && !is_dynamic_map(map) {
                let text = format!("CWOBJ9751E: The map {map} is not in the data grid {grid}.");
                return Err(Answer::error(404, text));
            }
            let address = |id: &Uuid| Some((*id, database.member(*id)?.address));
            let placement =
                known.placement.iter().map(|ids| ids.iter().filter_map(address).collect());
            let seconds = known.settings.get("timeToLive").and_then(|text| text.as_str());
            let time_to_live = seconds.and_then(|text| text.parse().ok()).unwrap_or(0);
            Ok(Known { placement: placement.collect(), time_to_live })
        })
    }

    /// Inserts or updates an entry; `ttl` is in seconds.
    pub(super) async fn put_entry(
        self: &Arc<Self>,
        grid: &str,
        key: EntryKey,
        ttl: Option<&str>,
        payload: Payload,
    ) -> Answer {
        let known = match self.data_grid(grid, &key.map) {
            Ok(known) => known,
            Err(answer) => return answer,
        };
        let seconds = match ttl.map(str::parse::<i64>) {
            None => known.time_to_live,
            Some(Ok(seconds)) if seconds >= 0 => seconds,
            Some(_) => {
                return Answer::error(400, "CWOBJ9753E: The ttl is not a number of seconds.");
            }
        };
        let expires =
            (seconds > 0).then(|| micros().saturating_add(seconds.saturating_mul(1_000_000)));
        match self.write(grid, key, Some(payload), expires).await {
            Ok(_) => Answer::empty(200).with_effect("data_put"),
            Err(answer) => answer,
        }
    }

    /// Deletes an entry; also one that is not there is an answer of 200.
    pub(super) async fn delete_entry(self: &Arc<Self>, grid: &str, key: EntryKey) -> Answer {
        match self.write(grid, key, None, None).await {
            Ok(()) => Answer::empty(200).with_effect("data_deleted"),
            Err(answer) => answer,
        }
    }

    /// Writes to every copy. Acknowledged when at least one whole copy has it.
    async fn write(
        self: &Arc<Self>,
        grid: &str,
        key: EntryKey,
        value: Option<Payload>,
        expires: Option<i64>,
    ) -> Result<(), Answer> {
        // The placement is read under the gate, and not changed until the write has ended.
        let gate = self.placement.read().await;
        let known = self.data_grid(grid, &key.map)?;
        let partition = Store::partition_of(&key, known.placement.len());
        let own = self.read(|state| state.identity.id);
        let entry = Entry { stamp: (micros(), own), value, expires };
        let copies = known.placement.get(partition).map_or(&[][..], Vec::as_slice);
        let puts = copies.iter().map(|(id, address)| {
            let (grid, key, entry) = (grid.to_owned(), key.clone(), entry.clone());
            self.ask(*id, *address, PeerCall::Put { grid, partition, key, entry })
        });
        let stored = join_all(puts).await.into_iter().filter(Result::is_ok).count();
        drop(gate);
        if stored == 0 { Err(unavailable(grid, partition)) } else { Ok(()) }
    }

    /// Reads an entry from the first whole copy that answers.
    pub(super) async fn get_entry(self: &Arc<Self>, grid: &str, key: EntryKey) -> Answer {
        let known = match self.data_grid(grid, &key.map) {
            Ok(known) => known,
            Err(answer) => return answer,
        };
        let partition = Store::partition_of(&key, known.placement.len());
        for (id, address) in known.placement.get(partition).into_iter().flatten() {
            let call = PeerCall::Get { grid: grid.to_owned(), partition, key: key.clone() };
            if let Ok(PeerReply::Entry { entry }) = self.ask(*id, *address, call).await {
                let entry = entry.filter(|entry| entry.lives(micros()));
                return match entry.and_then(|entry| entry.value) {
                    Some(payload) => Answer::bytes(payload.content_type, payload.bytes),
                    None => Answer::error(
                        404,
                        format!("CWOBJ9752E: The key {} is not in the map {}.", key.key, key.map),
                    ),
                };
            }
        }
        unavailable(grid, partition)
    }

    /// Every key of a map, in order.
    async fn map_keys(self: &Arc<Self>, grid: &str, map: &str) -> Result<Vec<String>, Answer> {
        let known = self.data_grid(grid, map)?;
        let mut all = Vec::new();
        for (partition, copies) in known.placement.iter().enumerate() {
            let mut told = None;
            for (id, address) in copies {
                let (grid, map) = (grid.to_owned(), map.to_owned());
                let call = PeerCall::Keys { grid, partition, map };
                if let Ok(PeerReply::Keys { keys }) = self.ask(*id, *address, call).await {
                    told = Some(keys);
                    break;
                }
            }
            all.extend(told.ok_or_else(|| unavailable(grid, partition))?);
        }
        all.sort();
        Ok(all)
    }

    /// Deletes every entry of a map.
    pub(super) async fn clear_map(self: &Arc<Self>, grid: &str, map: &str) -> Answer {
        let keys = match self.map_keys(grid, map).await {
            Ok(keys) => keys,
            Err(answer) => return answer,
        };
        for key in keys {
            let key = EntryKey { map: map.to_owned(), key };
            if let Err(answer) = self.write(grid, key, None, None).await {
                return answer;
            }
        }
        Answer::empty(200).with_effect("data_cleared")
    }

    /// The first 500 keys of a map that contain `pattern`, with `.*` at either end as anything.
    pub(super) async fn query_keys(
        self: &Arc<Self>,
        grid: &str,
        map: &str,
        pattern: Option<&str>,
    ) -> Answer {
        let keys = match self.map_keys(grid, map).await {
            Ok(keys) => keys,
            Err(answer) => return answer,
        };
        let admitted = keys.iter().filter(|key| matches_pattern(pattern.unwrap_or(".*"), key));
        let items: Vec<_> = admitted.take(MOST_KEYS).map(|key| json!({"key": key})).collect();
        Answer::json(200, json!({"items": items}))
    }
}

fn unavailable(grid: &str, partition: usize) -> Answer {
    let text =
        format!("CWOBJ9754E: Partition {partition} of the data grid {grid} is not available.");
    Answer::error(503, text)
}

/// Whether a map of this name is made by its first use: `<name>.<NONE|LUT|LAT>.<O|P>`.
fn is_dynamic_map(map: &str) -> bool {
    let mut parts = map.rsplitn(3, '.');
    let (lock, eviction, name) = (parts.next(), parts.next(), parts.next());
    matches!(lock, Some("O" | "P"))
        && matches!(eviction, Some("NONE" | "LUT" | "LAT"))
        && name.is_some_and(|name| !name.is_empty())
}

/// Whether a key matches the part of regular expressions that clients of the cache use: literal
/// text in which `.*` is anything and `.` any one character.
fn matches_pattern(pattern: &str, key: &str) -> bool {
    fn matches(pattern: &[char], key: &[char]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (['.', '*', rest @ ..], _) => (0..=key.len()).any(|skip| matches(rest, &key[skip..])),
            (['.', rest @ ..], [_, tail @ ..]) => matches(rest, tail),
            (['\\', literal, rest @ ..], [first, tail @ ..]) if literal == first => {
                matches(rest, tail)
            }
            ([literal, rest @ ..], [first, tail @ ..]) if literal == first => matches(rest, tail),
            _ => false,
        }
    }
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern: Vec<_> = pattern.strip_suffix('$').unwrap_or(pattern).chars().collect();
    matches(&pattern, &key.chars().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_of_a_simple_grid_has_eviction_and_lock_in_its_name() {
        for good in ["testmap.LUT.O", "sample.NONE.P", "a.b.LAT.O"] {
            assert!(is_dynamic_map(good), "{good}");
        }
        for bad in ["testmap", "testmap.LUT", ".LUT.O", "testmap.TTL.O", "testmap.LUT.X"] {
            assert!(!is_dynamic_map(bad), "{bad}");
        }
    }

    #[test]
    fn pattern_matches_whole_keys() {
        assert!(matches_pattern(".*", "anything"));
        assert!(matches_pattern("user.*", "user1"));
        assert!(matches_pattern("^us.r1$", "user1"));
        assert!(matches_pattern("a\\.b", "a.b"));
        assert!(!matches_pattern("a\\.b", "axb"));
        assert!(!matches_pattern("user", "user1"));
    }
}
