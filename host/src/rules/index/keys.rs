//! Owns hashed access: 64-bit keys of values, prefixes and suffixes, and of
//! pairs of them. Two texts with one key cost a comparison that fails, no
//! more, so the texts themselves are not kept.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use super::{ConjunctId, SeenKeys};
use crate::rules::{decimal::Decimal, event::PathId};

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

/// Combinations by key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    slots: FxHashMap<Key, Slot>,
    postings: Vec<ConjunctId>,
    /// Lists of fields whose keys make pairs with some first key.
    seconds: Vec<SmallVec<[PathId; 4]>>,
}

/// The combinations of a key: `first` itself if there is one, else a stretch of
/// the postings that starts there.
#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    count: u32,
    /// Into `Keys::seconds`.
    second: Option<std::num::NonZeroU32>,
}

impl Keys {
    #[inline]
    fn postings<'k>(&'k self, slot: &'k Slot) -> &'k [ConjunctId] {
        match slot.count {
            1 => std::slice::from_ref(&slot.first),
            count => &self.postings[slot.first as usize..][..count as usize],
        }
    }

    /// Adds the combinations that hang on the keys of a command.
    #[inline]
    pub(super) fn look_up(&self, seen: &SeenKeys, candidates: &mut SmallVec<[ConjunctId; 32]>) {
        for &(_, key) in seen {
            let Some(slot) = self.slots.get(&key) else {
                continue;
            };
            candidates.extend_from_slice(self.postings(slot));
            let Some(second) = slot.second else {
                continue;
            };
            for &path in &self.seconds[second.get() as usize] {
                let start = seen.partition_point(|&(other, _)| other < path);
                for &(_, other) in seen[start..]
                    .iter()
                    .take_while(|&&(other, _)| other == path)
                {
                    if let Some(slot) = self.slots.get(&pair_key(key, other)) {
                        candidates.extend_from_slice(self.postings(slot));
                    }
                }
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct KeysBuilder {
    entries: Vec<(Key, ConjunctId)>,
    seconds: FxHashMap<Key, SmallVec<[PathId; 4]>>,
}

impl KeysBuilder {
    pub(super) fn add(&mut self, key: Key, id: ConjunctId) {
        self.entries.push((key, id));
    }

    /// A command with the key `first` is asked for the keys of `path` too.
    pub(super) fn add_pair(&mut self, first: Key, path: PathId, second: Key, id: ConjunctId) {
        let paths = self.seconds.entry(first).or_default();
        if !paths.contains(&path) {
            paths.push(path);
        }
        self.entries.push((pair_key(first, second), id));
    }

    pub(super) fn build(mut self) -> Keys {
        self.entries.sort_unstable();
        self.entries.dedup();
        let mut keys = Keys {
            seconds: vec![SmallVec::new()],
            ..Keys::default()
        };
        keys.slots
            .reserve(self.entries.chunk_by(|a, b| a.0 == b.0).count());
        keys.postings.reserve_exact(self.entries.len());
        for chunk in self.entries.chunk_by(|a, b| a.0 == b.0) {
            let count = chunk.len() as u32;
            let first = match count {
                1 => chunk[0].1,
                _ => keys.postings.len() as u32,
            };
            if count > 1 {
                keys.postings.extend(chunk.iter().map(|(_, id)| id));
            }
            keys.slots.insert(
                chunk[0].0,
                Slot {
                    first,
                    count,
                    second: None,
                },
            );
        }
        for (first, paths) in self.seconds {
            let second = std::num::NonZeroU32::new(keys.seconds.len() as u32);
            keys.seconds.push(paths);
            keys.slots
                .entry(first)
                .or_insert(Slot {
                    first: 0,
                    count: 0,
                    second: None,
                })
                .second = second;
        }
        keys
    }
}
