//! Owns the question whether a rule's clauses hold for a command. This is the
//! one place that decides it: the index only proposes candidates, and
//! `explain` asks clause by clause with the same code.
//!
//! Clauses are decided in the order of their paths, as in event-ruler; the
//! order matters to `exists: false` alone, which looks only at array elements
//! that agree with those already taken.

mod clause_set;
mod elements;
mod search;

use smallvec::{SmallVec, smallvec};

use super::{
    Dialect,
    event::{Event, Field, PathId, PlaceId, TOP},
    fuel::Fuel,
    matcher::Matcher,
};
use elements::Verdict;

/// The most fields of one pattern: a [`clause_set`] keeps a bit for each.
pub(crate) const MAX_CLAUSES: usize = 256;

/// The most clauses of one pattern that both a value and its absence can
/// satisfy, in arrays, and that are told apart by trying both.
const MAX_EITHER: usize = 6;

/// One field and what its value must be: any of `matchers`, of which most
/// clauses have one. It stands in place: with 100,000 rules, each pointer to
/// follow is a cache miss.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) path: PathId,
    pub(crate) matchers: SmallVec<[Matcher; 1]>,
}

/// Clauses that must hold together; with none of them, everything matches.
///
/// Invariant: at most one clause for a path, sorted by the path's name, at most
/// [`MAX_CLAUSES`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conjunct {
    pub(crate) clauses: SmallVec<[Clause; 2]>,
}

/// A command as the rules of one file see it: the file numbers paths for
/// itself, the event may have been read for many files.
#[derive(Clone, Copy)]
pub(crate) struct View<'v, 'e> {
    pub(crate) event: &'v Event<'e>,
    /// From the file's path numbers to the event's.
    pub(crate) paths: &'v [PathId],
    pub(crate) dialect: Dialect,
    /// Answers are worthless once it is spent.
    pub(crate) fuel: &'v Fuel,
}

impl<'v, 'e> View<'v, 'e> {
    /// The values of the clause's field, in the order of the text.
    pub(crate) fn values(self, clause: &Clause) -> &'v [Field<'e>] {
        self.event.values(self.paths[clause.path as usize])
    }
}

impl Clause {
    /// Whether `exists: false` is among the alternatives.
    pub(crate) fn allows_absence(&self) -> bool {
        self.matchers.contains(&Matcher::Absent)
    }

    /// Whether the clause holds by itself, whatever array elements the others need.
    pub(crate) fn holds(&self, view: View<'_, '_>) -> bool {
        let values = view.values(self);
        values.iter().any(|field| self.takes(field, view))
            || values.is_empty() && self.allows_absence()
    }

    /// Whether the value is one that the clause wants.
    #[inline]
    fn takes(&self, field: &Field<'_>, view: View<'_, '_>) -> bool {
        // Once the fuel is spent, nothing may take time any more.
        !view.fuel.is_spent()
            && self.matchers.iter().any(|matcher| {
                view.fuel.spend(matcher.steps(&field.value))
                    && matcher.matches(&field.value, view.dialect)
            })
    }
}

impl Conjunct {
    /// Whether all clauses hold, and no two of them by different elements of one array.
    pub(crate) fn holds(&self, view: View<'_, '_>) -> bool {
        if view.event.is_flat() {
            return self.clauses.iter().all(|clause| clause.holds(view));
        }
        if self.clauses.iter().any(Clause::allows_absence) {
            return self.holds_with_absence(view);
        }
        let mut options: SmallVec<[Options; 2]> = SmallVec::new();
        for clause in &self.clauses {
            let found = Options::of(clause, view, Stop::AtTop);
            if found.matching.is_empty() {
                return false;
            }
            // Outside all arrays, it agrees with everything.
            if found.matching[0] != TOP {
                options.push(found);
            }
        }
        if options.len() < 2 {
            return true;
        }
        let roles: SmallVec<[Role; 4]> = smallvec![Role::Value; options.len()];
        match elements::agree(view, &options, &roles) {
            Verdict::Holds => true,
            Verdict::Fails => false,
            Verdict::Tangled => search::agree(view, &options),
        }
    }

    fn holds_with_absence(&self, view: View<'_, '_>) -> bool {
        let mut options = Vec::with_capacity(self.clauses.len());
        for clause in &self.clauses {
            let found = Options::of(clause, view, Stop::Never);
            if found.matching.is_empty() && !found.absence {
                return false;
            }
            options.push(found);
        }
        let mut roles: SmallVec<[Role; 4]> = options.iter().map(Options::role).collect();
        let either: SmallVec<[usize; MAX_EITHER]> = (0..roles.len())
            .filter(|&clause| roles[clause] == Role::Either)
            .collect();
        let hopeless =
            |options: &Options| options.matching.is_empty() && options.role() == Role::Value;
        if options.iter().any(hopeless) {
            return false;
        }
        if either.len() > MAX_EITHER {
            return search::agree(view, &options);
        }
        let mut tangled = false;
        for choice in 0..1_usize << either.len() {
            for (bit, &clause) in either.iter().enumerate() {
                roles[clause] = match choice >> bit & 1 {
                    0 => Role::Value,
                    _ => Role::Hidden,
                };
            }
            match elements::agree(view, &options, &roles) {
                Verdict::Holds => return true,
                Verdict::Fails => {}
                Verdict::Tangled => tangled = true,
            }
        }
        tangled && search::agree(view, &options)
    }
}

/// Where a clause could be satisfied.
struct Options {
    /// Places with a matching value, ascending, each once.
    matching: SmallVec<[PlaceId; 4]>,
    /// Places with any value; kept only where the clause allows absence.
    all: SmallVec<[PlaceId; 4]>,
    absence: bool,
}

/// How a clause is to be satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// By a value that matches.
    Value,
    /// By having no value beside the array elements that earlier clauses took.
    Hidden,
    /// In one of these two ways.
    Either,
    /// By having no value at all: it asks nothing of the others.
    Absent,
}

/// How far to look for values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// To a value outside all arrays, which then stands first.
    AtTop,
    Never,
}

impl Options {
    fn of(clause: &Clause, view: View<'_, '_>, stop: Stop) -> Self {
        let absence = clause.allows_absence();
        let mut options = Self {
            matching: smallvec![],
            all: smallvec![],
            absence,
        };
        for field in view.values(clause) {
            if options.matching.last() != Some(&field.place) && clause.takes(field, view) {
                options.matching.push(field.place);
                if field.place == TOP && stop == Stop::AtTop {
                    break;
                }
            }
            if absence {
                options.all.push(field.place);
            }
        }
        if !options.matching.is_sorted() {
            options.matching.sort_unstable();
        }
        options.matching.dedup();
        options
    }

    fn role(&self) -> Role {
        match self.absence {
            true if self.all.is_empty() => Role::Absent,
            // What is outside all arrays is in sight whatever the others take.
            true if self.all.contains(&TOP) => Role::Value,
            true if self.matching.is_empty() => Role::Hidden,
            true => Role::Either,
            false => Role::Value,
        }
    }
}

#[cfg(test)]
mod tests;
