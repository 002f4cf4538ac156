//! Owns the question whether a rule's clauses hold for a command. This is the
//! one place that decides it: the index only proposes candidates, and
//! `explain` asks clause by clause with the same code.
//!
//! Clauses are decided in the order of their paths, as in event-ruler; the
//! order matters to `exists: false` alone, which looks only at array elements
//! that agree with those already taken.

use smallvec::{SmallVec, smallvec};

use super::{
    Dialect,
    event::{Event, PathId, PlaceId, TOP},
    matcher::Matcher,
};

/// The most fields of one pattern: the search below keeps a bit for each.
pub(crate) const MAX_CLAUSES: usize = 256;

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
}

impl Clause {
    /// Whether `exists: false` is among the alternatives.
    pub(crate) fn allows_absence(&self) -> bool {
        self.matchers.contains(&Matcher::Absent)
    }

    /// Whether the clause holds by itself, whatever array elements the others need.
    pub(crate) fn holds(&self, view: View<'_, '_>) -> bool {
        let values = view.event.values(view.paths[self.path as usize]);
        values.iter().any(|field| {
            self.matchers
                .iter()
                .any(|matcher| matcher.matches(&field.value, view.dialect))
        }) || values.is_empty() && self.allows_absence()
    }
}

impl Conjunct {
    /// Whether all clauses hold, and no two of them by different elements of one array.
    pub(crate) fn holds(&self, view: View<'_, '_>) -> bool {
        if view.event.is_flat() {
            return self.clauses.iter().all(|clause| clause.holds(view));
        }
        let mut options = Vec::with_capacity(self.clauses.len());
        for clause in &self.clauses {
            let option = Options::of(clause, view);
            if option.matching.is_empty() && !option.absence {
                return false;
            }
            options.push(option);
        }
        Search {
            event: view.event,
            options: &options,
            taken: SmallVec::new(),
        }
        .from(0)
        .is_ok()
    }
}

/// Where a clause could be satisfied.
struct Options {
    /// Places with a matching value, each once.
    matching: SmallVec<[PlaceId; 4]>,
    /// Places with any value; kept only where the clause allows absence.
    all: SmallVec<[PlaceId; 4]>,
    absence: bool,
}

impl Options {
    fn of(clause: &Clause, view: View<'_, '_>) -> Self {
        let absence = clause.allows_absence();
        let mut options = Self {
            matching: smallvec![],
            all: smallvec![],
            absence,
        };
        for field in view.event.values(view.paths[clause.path as usize]) {
            if options.matching.last() != Some(&field.place)
                && clause
                    .matchers
                    .iter()
                    .any(|matcher| matcher.matches(&field.value, view.dialect))
            {
                options.matching.push(field.place);
            }
            if absence {
                options.all.push(field.place);
            }
        }
        options.matching.sort_unstable();
        options.matching.dedup();
        options
    }
}

/// Clauses that a dead end is owed to, one bit each.
type Blame = [u64; MAX_CLAUSES / 64];

/// Depth-first search for places that agree. A dead end returns whose choices
/// it is owed to, and choices that had no part in it are not tried again:
/// without that, arrays that have nothing to do with one another would multiply.
struct Search<'s, 'e> {
    event: &'s Event<'e>,
    options: &'s [Options],
    taken: SmallVec<[PlaceId; 8]>,
}

impl Search<'_, '_> {
    fn from(&mut self, index: usize) -> Result<(), Blame> {
        let Some(options) = self.options.get(index) else {
            return Ok(());
        };
        let mut blame = Blame::default();
        for &place in &options.matching {
            match self.opponent(place) {
                Some(earlier) => set(&mut blame, earlier),
                None => self.take(index, place, &mut blame)?,
            }
            if self.taken.len() > index {
                return Ok(());
            }
        }
        if options.absence {
            if options
                .all
                .iter()
                .all(|&place| self.opponent(place).is_some())
            {
                self.take(index, TOP, &mut blame)?;
                if self.taken.len() > index {
                    return Ok(());
                }
            }
            // Another choice anywhere before could hide the values that are in the way.
            (0..index).for_each(|earlier| set(&mut blame, earlier));
        }
        Err(blame)
    }

    /// Takes `place` for clause `index` and goes on; returns with the place
    /// still taken if everything else fell into place, an error if another
    /// choice here cannot help.
    fn take(&mut self, index: usize, place: PlaceId, blame: &mut Blame) -> Result<(), Blame> {
        self.taken.push(place);
        let Err(theirs) = self.from(index + 1) else {
            return Ok(());
        };
        self.taken.truncate(index);
        if !is_set(&theirs, index) {
            return Err(theirs);
        }
        for (ours, theirs) in blame.iter_mut().zip(theirs) {
            *ours |= theirs;
        }
        blame[index / 64] &= !(1 << (index % 64));
        Ok(())
    }

    /// The first clause whose place does not agree with `place`.
    fn opponent(&self, place: PlaceId) -> Option<usize> {
        self.taken
            .iter()
            .position(|&taken| !self.event.agree(taken, place))
    }
}

fn set(blame: &mut Blame, index: usize) {
    blame[index / 64] |= 1 << (index % 64);
}

fn is_set(blame: &Blame, index: usize) -> bool {
    blame[index / 64] >> (index % 64) & 1 == 1
}
