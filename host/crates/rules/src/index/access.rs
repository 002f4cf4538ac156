//! Owns the choice of access clauses: which of a rule's clauses promises the
//! fewest candidates. A first pass counts how many rules share each key, the
//! second asks.

use rustc_hash::FxHashMap;

use super::{
    conjuncts,
    field::{Route, route},
    keys::{Key, number_key, text_key},
};
use crate::{
    conjunct::{Clause, Conjunct},
    event::PathId,
    indexed::IndexedFile,
    matcher::Matcher,
};

/// If more rules than this share the best key, two keys together are worth a
/// second look-up.
const MANY: u64 = 8;
/// The most pairs of keys that one combination may hang on.
const MAX_PAIRS: usize = 64;

/// What a combination hangs on.
pub(super) enum Access<'c> {
    Always,
    One(&'c Clause),
    /// Both clauses have nothing but keys.
    Two {
        first: &'c Clause,
        second: &'c Clause,
    },
}

/// How many rules want what.
#[derive(Default)]
pub(super) struct Chooser {
    by_key: FxHashMap<Key, u32>,
    /// Ranges, networks and wildcards of each field.
    others: FxHashMap<PathId, u32>,
    /// Clauses of each field.
    by_field: FxHashMap<PathId, u32>,
}

impl Chooser {
    pub(super) fn survey(files: &[IndexedFile]) -> Self {
        let mut chooser = Self::default();
        for (_, indexed, conjunct) in conjuncts(files) {
            for clause in &conjunct.clauses {
                let path = indexed.paths[clause.path as usize];
                *chooser.by_field.entry(path).or_default() += 1;
                for matcher in clause.matchers.iter() {
                    match key(matcher, path) {
                        Some(key) => *chooser.by_key.entry(key).or_default() += 1,
                        None => *chooser.others.entry(path).or_default() += 1,
                    }
                }
            }
        }
        chooser
    }

    pub(super) fn choose<'c>(&self, conjunct: &'c Conjunct, indexed: &IndexedFile) -> Access<'c> {
        let path = |clause: &Clause| indexed.paths[clause.path as usize];
        let mut ranked: Vec<(u64, &Clause)> = conjunct
            .clauses
            .iter()
            .filter_map(|clause| Some((self.cost(clause, path(clause))?, clause)))
            .collect();
        // Among clauses that are all good enough, rules agree on the same few
        // fields, so that commands are asked for few keys.
        ranked.sort_by_cached_key(|(cost, clause)| {
            let path = path(clause);
            let popularity = self.by_field.get(&path).copied().unwrap_or(0);
            ((*cost).max(MANY), std::cmp::Reverse(popularity), path)
        });
        let Some(&(best, clause)) = ranked.first() else {
            return Access::Always;
        };
        let only_keys =
            |clause: &Clause| keys(clause, path(clause)).count() == clause.matchers.len();
        if best > MANY {
            let mut keyed = ranked
                .iter()
                .map(|(_, clause)| *clause)
                .filter(|clause| only_keys(clause));
            if let (Some(first), Some(second)) = (keyed.next(), keyed.next())
                && first.matchers.len() * second.matchers.len() <= MAX_PAIRS
            {
                return Access::Two { first, second };
            }
        }
        Access::One(clause)
    }

    /// About how many candidates the clause brings to a command that satisfies
    /// it; none if it can hold without a value.
    fn cost(&self, clause: &Clause, path: PathId) -> Option<u64> {
        let mut cost = 0;
        for matcher in clause.matchers.iter() {
            cost += match (key(matcher, path), route(matcher)) {
                (_, Route::Absent) => return None,
                (Some(key), _) => u64::from(self.by_key.get(&key).copied().unwrap_or(0)),
                // Every command with the field is a candidate: the last resort.
                (None, Route::Present) => 1 << 40,
                // A value is often in several ranges, seldom in several networks.
                (None, Route::Range) => {
                    2 + u64::from(self.others.get(&path).copied().unwrap_or(0)) / 4
                }
                (None, _) => 2 + u64::from(self.others.get(&path).copied().unwrap_or(0)) / 64,
            };
        }
        Some(cost)
    }
}

/// The key of what `matcher` wants of the field `path`, if a key can say it.
fn key(matcher: &Matcher, path: PathId) -> Option<Key> {
    match route(matcher) {
        Route::Text(kind, text) => Some(text_key(path, kind, text)),
        Route::Number(number) => Some(number_key(path, number)),
        _ => None,
    }
}

/// The keys of the alternatives that keys can say.
pub(super) fn keys(clause: &Clause, path: PathId) -> impl Iterator<Item = Key> {
    clause
        .matchers
        .iter()
        .filter_map(move |matcher| key(matcher, path))
}
