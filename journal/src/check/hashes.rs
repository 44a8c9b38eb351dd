//! Which hash stands at each sequence.

use std::collections::BTreeMap;

use crate::chain::Hash;

/// The hash of each record that was read. Records nearly always follow each other, and a journal
/// has many: so a run of them is kept as a plain list.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    /// Sequence of the run's first record.
    first: u64,
    run: Vec<Hash>,
    /// Those that do not follow the run.
    apart: BTreeMap<u64, Hash>,
}

impl Hashes {
    /// Puts a hash at a sequence; the one that stood there.
    pub(super) fn insert(&mut self, seq: u64, hash: Hash) -> Option<Hash> {
        if self.run.is_empty() {
            self.first = seq;
        }
        let at = seq.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(known) = at.and_then(|at| self.run.get_mut(at)) {
            return Some(std::mem::replace(known, hash));
        }
        if at == Some(self.run.len()) && !self.apart.contains_key(&seq) {
            self.run.push(hash);
            return None;
        }
        self.apart.insert(seq, hash)
    }

    /// The hash at a sequence.
    pub(super) fn get(&self, seq: u64) -> Option<&Hash> {
        let at = seq.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.run.get(at)).or_else(|| self.apart.get(&seq))
    }

    /// The lowest sequence; none when nothing was read.
    pub(super) fn first(&self) -> Option<u64> {
        let run = (!self.run.is_empty()).then_some(self.first);
        run.into_iter().chain(self.apart.keys().next().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_order_of_sequences_is_kept_as_by_a_map(
            seqs in prop::collection::vec(prop_oneof![0_u64..12, 5_u64..8, any::<u64>()], 0..40)
        ) {
            let (mut hashes, mut map) = (Hashes::default(), BTreeMap::new());
            for (number, seq) in seqs.into_iter().enumerate() {
                let hash = [u8::try_from(number).unwrap(); 32];
                prop_assert_eq!(hashes.insert(seq, hash), map.insert(seq, hash));
                prop_assert_eq!(hashes.first(), map.keys().next().copied());
                for asked in (0..13).chain([seq]) {
                    prop_assert_eq!(hashes.get(asked), map.get(&asked));
                }
            }
        }
    }
}
