//! Owns hashed access: 64-bit keys of values, prefixes and suffixes, and of
//! pairs of them. Two texts with one key cost a comparison that fails, no
//! more, so the texts themselves are not kept.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use super::{COMPACT_AT, Candidates, Place, SeenKeys, compact};
use crate::{decimal::Decimal, event::PathId, fuel::Fuel};

pub(super) type Key = u64;

/// What of a value a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    Exact,
    Folded,
    Prefix,
    Suffix,
    FoldedPrefix,
    FoldedSuffix,
}

/// The key of a text that the field `path` has as `kind`.
#[inline]
pub(super) fn text_key(path: PathId, kind: Kind, text: &str) -> Key {
    let mut hasher = FxHasher::default();
    hasher.write_u32(path << 4 | kind as u32);
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The key of a number, however it is spelled.
pub(super) fn number_key(path: PathId, number: &Decimal) -> Key {
    let mut hasher = FxHasher::default();
    hasher.write_u32(path << 4 | Kind::Number as u32);
    std::hash::Hash::hash(number, &mut hasher);
    hasher.finish()
}

/// The key of two keys that a command must have both.
#[inline]
fn pair_key(first: Key, second: Key) -> Key {
    let mut hasher = FxHasher::default();
    hasher.write_u64(first);
    hasher.write_u64(second);
    hasher.finish()
}

/// Combinations by key: a hash table with linear probing that never changes.
/// What most keys lead to stands in the table, so that finding it costs one
/// cache miss.
#[derive(Debug)]
pub(super) struct Keys {
    /// A power of two of them, at least one of them empty.
    slots: Box<[Slot]>,
    /// What a hash is shifted by to become the number of a slot.
    shift: u32,
    /// The combinations of keys that have several, but for the first of each.
    postings: Vec<Place>,
    /// Lists of fields whose keys make pairs with some first key; the first is empty.
    seconds: Vec<SmallVec<[PathId; 4]>>,
}

/// A key and what hangs on it. Two fit in a line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Slot {
    key: Key,
    /// The first combination.
    first: Option<Place>,
    /// Into `Keys::postings`: where the others start, and how many there are.
    others: (u32, u32),
    /// Into `Keys::seconds`.
    seconds: u32,
}

impl Keys {
    /// With room for so many different keys.
    fn with_capacity(count: usize) -> Self {
        let slots = (count * 3 / 2 + 1).next_power_of_two().max(2);
        Self {
            slots: vec![Slot::default(); slots].into(),
            shift: u64::BITS - slots.ilog2(),
            postings: Vec::new(),
            seconds: vec![SmallVec::new()],
        }
    }

    /// The slot of `key`, or the empty one where it would be.
    #[inline]
    fn position(&self, key: Key) -> usize {
        // Fibonacci hashing: the upper bits depend on all bits of the key.
        let mut at = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        while self.slots[at].is_taken() && self.slots[at].key != key {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    /// The slot of `key`; empty if nothing hangs on it.
    #[inline]
    fn find(&self, key: Key) -> &Slot {
        &self.slots[self.position(key)]
    }

    #[inline]
    fn collect(&self, slot: &Slot, candidates: &mut Candidates) {
        candidates.extend(slot.first);
        let (start, count) = slot.others;
        if count > 0 {
            candidates.extend_from_slice(&self.postings[start as usize..][..count as usize]);
        }
    }

    /// Adds the combinations that hang on the keys of a command; false where
    /// the fuel ran out.
    #[inline]
    pub(super) fn look_up(
        &self,
        seen: &SeenKeys,
        fuel: &Fuel,
        candidates: &mut Candidates,
    ) -> bool {
        let mut room = COMPACT_AT;
        for &(_, key) in seen {
            let before = candidates.len();
            let slot = self.find(key);
            self.collect(slot, candidates);
            for &path in &self.seconds[slot.seconds as usize] {
                let start = seen.partition_point(|&(other, _)| other < path);
                for &(_, other) in seen[start..]
                    .iter()
                    .take_while(|&&(other, _)| other == path)
                {
                    if !fuel.spend(1) {
                        return false;
                    }
                    self.collect(self.find(pair_key(key, other)), candidates);
                }
            }
            if !fuel.spend((1 + candidates.len() - before) as u64) {
                return false;
            }
            if candidates.len() > room {
                compact(candidates);
                room = COMPACT_AT.max(candidates.len() * 2);
            }
        }
        true
    }
}

impl Slot {
    #[inline]
    fn is_taken(&self) -> bool {
        self.first.is_some() || self.seconds > 0
    }
}

#[derive(Debug, Default)]
pub(super) struct KeysBuilder {
    entries: Vec<(Key, Place)>,
    seconds: FxHashMap<Key, SmallVec<[PathId; 4]>>,
}

impl KeysBuilder {
    pub(super) fn add(&mut self, key: Key, place: Place) {
        self.entries.push((key, place));
    }

    /// A command with the key `first` is asked for the keys of `path` too.
    pub(super) fn add_pair(&mut self, first: Key, path: PathId, second: Key, place: Place) {
        let paths = self.seconds.entry(first).or_default();
        if !paths.contains(&path) {
            paths.push(path);
        }
        self.entries.push((pair_key(first, second), place));
    }

    pub(super) fn build(mut self) -> Keys {
        self.entries.sort_unstable();
        self.entries.dedup();
        let count = self.entries.chunk_by(|a, b| a.0 == b.0).count();
        let mut keys = Keys::with_capacity(count + self.seconds.len());
        for chunk in self.entries.chunk_by(|a, b| a.0 == b.0) {
            let (key, first) = chunk[0];
            let others = (keys.postings.len() as u32, chunk.len() as u32 - 1);
            keys.postings
                .extend(chunk[1..].iter().map(|(_, place)| place));
            let at = keys.position(key);
            keys.slots[at] = Slot {
                key,
                first: Some(first),
                others,
                seconds: 0,
            };
        }
        for (key, paths) in self.seconds {
            let at = keys.position(key);
            keys.slots[at].key = key;
            keys.slots[at].seconds = keys.seconds.len() as u32;
            keys.seconds.push(paths);
        }
        keys
    }
}
