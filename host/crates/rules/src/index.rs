//! Owns the index: from the fields of a command to the few rules that could
//! match it, which [`conjunct`](super::conjunct) then decides clause by clause.
//!
//! Each combination of clauses hangs on one of them, its access clause: the one
//! that the fewest commands should satisfy. A clause of plain values, prefixes
//! or suffixes hangs on hashed [`keys`]; where even the best value is shared by
//! many rules, on two keys at once. Number ranges and networks hang on
//! [`intervals`], wildcards on one automaton a field. What is left, such as
//! `anything-but` alone, is asked whenever its field is present. The index may
//! propose too much, never too little.

mod access;
mod field;
mod intervals;
mod keys;

use std::num::NonZeroU64;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use self::{
    access::{Access, Chooser},
    field::{FieldBuilder, FieldIndex},
    keys::{Key, Keys, KeysBuilder},
};
use super::{
    conjunct::Conjunct,
    event::{Event, PathId},
    fuel::Fuel,
    indexed::IndexedFile,
    pattern::MAX_OR_COMBINATIONS,
    rule::{MAX_RULES, Rule},
};

/// Combinations that could hold for a command.
type Candidates = SmallVec<[Place; 32]>;

/// Keys of one command with the field each comes from, sorted by field.
type SeenKeys = SmallVec<[(PathId, Key); 32]>;

/// Where a [`Conjunct`] is to be found: file, rule and combination, which is
/// also their order. One number says it, so that no list has to be asked; it is
/// stored plus one, so that zero means nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(NonZeroU64);

impl Place {
    const CONJUNCT_BITS: u32 = 12;
    const RULE_BITS: u32 = 20;

    fn new(file: usize, rule: usize, conjunct: usize) -> Self {
        const { assert!(MAX_RULES <= 1 << Self::RULE_BITS) };
        const { assert!(MAX_OR_COMBINATIONS <= 1 << Self::CONJUNCT_BITS) };
        let rules = (file as u64) << Self::RULE_BITS | rule as u64;
        let number = rules << Self::CONJUNCT_BITS | conjunct as u64;
        Self(NonZeroU64::MIN.saturating_add(number))
    }

    fn number(self) -> u64 {
        self.0.get() - 1
    }

    /// The file and the rule, as one number.
    fn file_and_rule(self) -> u64 {
        self.number() >> Self::CONJUNCT_BITS
    }

    fn file(self) -> usize {
        (self.file_and_rule() >> Self::RULE_BITS) as usize
    }

    fn rule(self) -> usize {
        (self.file_and_rule() & ((1 << Self::RULE_BITS) - 1)) as usize
    }

    fn conjunct(self) -> usize {
        (self.number() & ((1 << Self::CONJUNCT_BITS) - 1)) as usize
    }
}

#[cfg(test)]
thread_local! {
    static BUILT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How many were built in this thread.
#[cfg(test)]
pub(crate) fn built() -> u32 {
    BUILT.get()
}

/// The index of some files.
#[derive(Debug)]
pub(crate) struct Index {
    /// Combinations that no field gives access to: `"*"`, or `exists: false` alone.
    always: Vec<Place>,
    keys: Keys,
    /// By path; none where no access clause uses the field.
    fields: Vec<Option<Box<FieldIndex>>>,
}

impl Index {
    pub(crate) fn build(files: &[IndexedFile]) -> Self {
        #[cfg(test)]
        BUILT.set(BUILT.get() + 1);
        let chooser = Chooser::survey(files);
        let mut always = Vec::new();
        let mut keys = KeysBuilder::default();
        let mut fields: FxHashMap<PathId, FieldBuilder> = FxHashMap::default();
        for (place, indexed, clauses) in conjuncts(files) {
            match chooser.choose(clauses, indexed) {
                Access::Always => always.push(place),
                Access::One(clause) => {
                    let path = indexed.paths[clause.path as usize];
                    let field = fields.entry(path).or_default();
                    for matcher in clause.matchers.iter() {
                        field.add(path, matcher, place, &mut keys);
                    }
                }
                Access::Two { first, second } => {
                    let second_path = indexed.paths[second.path as usize];
                    for clause in [first, second] {
                        let field = fields
                            .entry(indexed.paths[clause.path as usize])
                            .or_default();
                        clause
                            .matchers
                            .iter()
                            .for_each(|matcher| field.note(matcher));
                    }
                    let seconds = || access::keys(second, second_path);
                    for one in access::keys(first, indexed.paths[first.path as usize]) {
                        seconds().for_each(|other| keys.add_pair(one, second_path, other, place));
                    }
                }
            }
        }
        let count = fields.keys().max().map_or(0, |&path| path as usize + 1);
        let mut built: Vec<Option<Box<FieldIndex>>> = Vec::new();
        built.resize_with(count, || None);
        for (path, field) in fields {
            built[path as usize] = Some(Box::new(field.build()));
        }
        Self {
            always,
            keys: keys.build(),
            fields: built,
        }
    }

    /// Adds the rules whose `match` holds to `matching`, in the order of
    /// `files` and of their lines; only rules of files that `live` keeps.
    ///
    /// # Errors
    /// The rule at which the fuel ran out; none while looking for candidates.
    pub(crate) fn matching<'r>(
        &self,
        files: &'r [IndexedFile],
        live: &[bool],
        (event, fuel): (&Event<'_>, &Fuel),
        matching: &mut SmallVec<[&'r Rule; 8]>,
    ) -> Result<(), Option<&'r Rule>> {
        let mut last = None;
        for place in self.candidates(event, fuel) {
            // One combination that holds is enough.
            if last == Some(place.file_and_rule()) || !live[place.file()] {
                continue;
            }
            let indexed = &files[place.file()];
            let rule = &indexed.file.rules()[place.rule()];
            let holds = rule.conjuncts[place.conjunct()].holds(indexed.view(event, fuel));
            if fuel.is_spent() {
                return Err(Some(rule));
            }
            if holds {
                last = Some(place.file_and_rule());
                matching.push(rule);
            }
        }
        match fuel.is_spent() {
            true => Err(None),
            false => Ok(()),
        }
    }

    /// The combinations that could hold, in order, each once.
    fn candidates(&self, event: &Event<'_>, fuel: &Fuel) -> Candidates {
        let mut candidates: Candidates = SmallVec::from_slice(&self.always);
        let mut seen = SeenKeys::new();
        let mut last = None;
        // A command repeats values, and so would their candidates.
        let mut room = COMPACT_AT;
        for field in event.fields() {
            let Some(Some(index)) = self.fields.get(field.path as usize) else {
                continue;
            };
            if last.replace(field.path) != Some(field.path) {
                index.look_up_present(fuel, &mut candidates);
            }
            let known = (&mut seen, &mut candidates);
            if !index.look_up(field, fuel, known) {
                return Candidates::new();
            }
            if candidates.len() > room {
                compact(&mut candidates);
                room = COMPACT_AT.max(candidates.len() * 2);
            }
        }
        if seen.len() > COMPACT_AT {
            seen.sort_unstable();
            seen.dedup();
        }
        if !self.keys.look_up(&seen, fuel, &mut candidates) {
            return Candidates::new();
        }
        compact(&mut candidates);
        candidates
    }
}

/// More candidates or keys than this are worth sorting, to find those that are
/// there twice. Everyday commands have fewer.
const COMPACT_AT: usize = 1_024;

fn compact(candidates: &mut Candidates) {
    if candidates.len() > 1 {
        candidates.sort_unstable();
        candidates.dedup();
    }
}

/// All combinations of `files`, in their order.
fn conjuncts(files: &[IndexedFile]) -> impl Iterator<Item = (Place, &IndexedFile, &Conjunct)> {
    files.iter().enumerate().flat_map(|(file, indexed)| {
        let rules = indexed.file.rules().iter().enumerate();
        rules.flat_map(move |(rule, parsed)| {
            let conjuncts = parsed.conjuncts.iter().enumerate();
            conjuncts.map(move |(conjunct, clauses)| {
                (Place::new(file, rule, conjunct), indexed, clauses)
            })
        })
    })
}
