//! Lists of calls under keys, in recorded order, from which used calls drop out.

use crate::hash::Table;
use alloc::vec::Vec;

const END: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
    count: u32,
}

/// A list of entries for every key. An entry is a call; a call may have several.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    table: Table<Chain>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    call: u32,
    next: u32,
}

impl Chains {
    pub(crate) fn push(&mut self, key: u64, call: u32) {
        let Ok(place) = u32::try_from(self.entries.len()) else { return };
        self.entries.push(Entry { call, next: END });
        match self.table.entry(key) {
            hashbrown::hash_map::Entry::Occupied(mut chain) => {
                let chain = chain.get_mut();
                if let Some(last) = self.entries.get_mut(chain.last as usize) {
                    last.next = place;
                }
                chain.last = place;
                chain.count += 1;
            }
            hashbrown::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Chain { first: place, last: place, count: 1 });
            }
        }
    }

    /// Nothing was put under any key.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.table.keys().copied()
    }

    /// How many calls were ever put under the key.
    pub(crate) fn count(&self, key: u64) -> usize {
        self.table.get(&key).map_or(0, |chain| chain.count as usize)
    }

    /// The last call under the key, used or not.
    pub(crate) fn last(&self, key: u64) -> Option<u32> {
        let chain = self.table.get(&key)?;
        self.entries.get(chain.last as usize).map(|entry| entry.call)
    }

    /// Up to `limit` calls under the key, in order, that are not `used`. Used ones at the head are dropped
    /// for good, so that going through a list costs its length once and not each time.
    pub(crate) fn unused<'a>(
        &'a mut self,
        key: u64,
        used: &'a [bool],
        limit: usize,
    ) -> impl Iterator<Item = u32> + 'a {
        let is_used = |call: u32| used.get(call as usize).copied().unwrap_or(true);
        let mut at = END;
        if let Some(chain) = self.table.get_mut(&key) {
            while let Some(entry) = self.entries.get(chain.first as usize) {
                if !is_used(entry.call) {
                    break;
                }
                chain.first = entry.next;
            }
            at = chain.first;
        }
        let entries = &self.entries;
        core::iter::from_fn(move || {
            let entry = entries.get(at as usize)?;
            at = entry.next;
            Some(entry.call)
        })
        // In the middle used ones stay; walking over a bounded number of them is enough.
        .take(limit.saturating_mul(4))
        .filter(move |call| !is_used(*call))
        .take(limit)
    }
}

impl Chains {
    /// Up to `limit` calls under the key that were not yet dropped, used or not, in order.
    pub(crate) fn recorded(&self, key: u64, limit: usize) -> impl Iterator<Item = u32> + '_ {
        let mut at = self
            .table
            .get(&key)
            .map_or(END, |chain| if chain.first == END { chain.last } else { chain.first });
        core::iter::from_fn(move || {
            let entry = self.entries.get(at as usize)?;
            at = entry.next;
            Some(entry.call)
        })
        .take(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_calls_drop_out() {
        let mut chains = Chains::default();
        for call in 0..5 {
            chains.push(7, call);
        }
        chains.push(8, 5);
        let mut used = [false; 6];
        used[0] = true;
        used[2] = true;
        assert_eq!(chains.unused(7, &used, 10).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(chains.unused(7, &used, 1).collect::<Vec<_>>(), [1]);
        used.fill(true);
        assert_eq!(chains.unused(7, &used, 10).count(), 0);
        assert_eq!((chains.count(7), chains.last(7)), (5, Some(4)));
        assert_eq!((chains.count(9), chains.last(9)), (0, None));
        assert_eq!(chains.unused(9, &used, 10).count(), 0);
    }
}
