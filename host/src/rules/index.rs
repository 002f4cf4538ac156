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
    rule::Rule,
    set::IndexedFile,
};

/// Number of a combination of clauses in its index.
type ConjunctId = u32;

/// Keys of one command with the field each comes from, sorted by field.
type SeenKeys = SmallVec<[(PathId, Key); 32]>;

/// Where a [`Conjunct`] is to be found.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: u32,
    rule: u32,
    conjunct: u32,
}

/// The index of some files.
#[derive(Debug)]
pub(crate) struct Index {
    /// Sorted by file, rule and combination.
    places: Vec<Place>,
    /// Combinations that no field gives access to: `"*"`, or `exists: false` alone.
    always: Vec<ConjunctId>,
    keys: Keys,
    /// By path; none where no access clause uses the field.
    fields: Vec<Option<Box<FieldIndex>>>,
}

impl Index {
    pub(crate) fn build(files: &[IndexedFile]) -> Self {
        let chooser = Chooser::survey(files);
        let mut places = Vec::with_capacity(chooser.count());
        let mut always = Vec::new();
        let mut keys = KeysBuilder::default();
        let mut fields: FxHashMap<PathId, FieldBuilder> = FxHashMap::default();
        for (file, rule, conjunct, indexed, clauses) in conjuncts(files) {
            let id = places.len() as ConjunctId;
            places.push(Place {
                file,
                rule,
                conjunct,
            });
            match chooser.choose(clauses, indexed) {
                Access::Always => always.push(id),
                Access::One(clause) => {
                    let path = indexed.paths[clause.path as usize];
                    let field = fields.entry(path).or_default();
                    for matcher in clause.matchers.iter() {
                        field.add(path, matcher, id, &mut keys);
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
                        seconds().for_each(|other| keys.add_pair(one, second_path, other, id));
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
            places,
            always,
            keys: keys.build(),
            fields: built,
        }
    }

    /// Adds the rules whose `match` holds to `matching`, in no special order;
    /// only rules of files that `live` keeps.
    pub(crate) fn matching<'r>(
        &self,
        files: &'r [IndexedFile],
        live: &[bool],
        event: &Event<'_>,
        matching: &mut SmallVec<[&'r Rule; 8]>,
    ) {
        let mut candidates: SmallVec<[ConjunctId; 32]> = SmallVec::from_slice(&self.always);
        let mut seen = SeenKeys::new();
        for field in event.fields() {
            if let Some(Some(index)) = self.fields.get(field.path as usize) {
                index.look_up(field, &mut seen, &mut candidates);
            }
        }
        self.keys.look_up(&seen, &mut candidates);
        if candidates.len() > 1 {
            candidates.sort_unstable();
            candidates.dedup();
        }
        let mut last = (u32::MAX, u32::MAX);
        for id in candidates {
            let place = self.places[id as usize];
            // One combination that holds is enough.
            if last == (place.file, place.rule) || !live[place.file as usize] {
                continue;
            }
            let indexed = &files[place.file as usize];
            let rule = &indexed.file.rules()[place.rule as usize];
            if rule.conjuncts[place.conjunct as usize].holds(indexed.view(event)) {
                last = (place.file, place.rule);
                matching.push(rule);
            }
        }
    }
}

/// All combinations of `files` with the numbers that lead to them.
fn conjuncts(
    files: &[IndexedFile],
) -> impl Iterator<Item = (u32, u32, u32, &IndexedFile, &Conjunct)> {
    files.iter().enumerate().flat_map(|(file, indexed)| {
        indexed
            .file
            .rules()
            .iter()
            .enumerate()
            .flat_map(move |(rule, parsed)| {
                parsed
                    .conjuncts
                    .iter()
                    .enumerate()
                    .map(move |(conjunct, clauses)| {
                        (file as u32, rule as u32, conjunct as u32, indexed, clauses)
                    })
            })
    })
}
