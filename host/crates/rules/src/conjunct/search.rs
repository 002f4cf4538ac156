//! Clauses and array elements where [`elements`](super::elements) does not
//! suffice: depth-first search. In the worst case it takes exponential time, as
//! the problem does, so it ends with the fuel.

use smallvec::SmallVec;

use super::{Options, View, clause_set::ClauseSet};
use crate::{
    event::{Event, PlaceId, TOP},
    fuel::Fuel,
};

/// Whether all clauses find places that agree.
pub(super) fn agree(view: View<'_, '_>, options: &[Options]) -> bool {
    let mut search = Search {
        event: view.event,
        fuel: view.fuel,
        options,
        taken: SmallVec::new(),
    };
    search.from(0).is_ok()
}

/// Depth-first search for places that agree. A dead end returns whose choices
/// it is owed to, and choices that had no part in it are not tried again:
/// without that, arrays that have nothing to do with one another would multiply.
struct Search<'s, 'e> {
    event: &'s Event<'e>,
    fuel: &'s Fuel,
    options: &'s [Options],
    taken: SmallVec<[PlaceId; 8]>,
}

impl Search<'_, '_> {
    fn from(&mut self, index: usize) -> Result<(), ClauseSet> {
        let Some(options) = self.options.get(index) else {
            return Ok(());
        };
        let mut blame = ClauseSet::default();
        for &place in &options.matching {
            if self.fuel.is_spent() {
                // Owed to no choice: this ends the whole search.
                return Err(ClauseSet::default());
            }
            match self.opponent(place) {
                Some(earlier) => blame.insert(earlier),
                None => self.take(index, place, &mut blame)?,
            }
            if self.taken.len() > index {
                return Ok(());
            }
        }
        if options.absence {
            let hidden = |&place: &PlaceId| self.opponent(place).is_some();
            if options.all.iter().all(hidden) {
                self.take(index, TOP, &mut blame)?;
                if self.taken.len() > index {
                    return Ok(());
                }
            }
            // Another choice anywhere before could hide the values that are in the way.
            blame.add(&ClauseSet::before(index));
        }
        Err(blame)
    }

    /// Takes `place` for clause `index` and goes on; returns with the place
    /// still taken if everything else fell into place, an error if another
    /// choice here cannot help.
    fn take(
        &mut self,
        index: usize,
        place: PlaceId,
        blame: &mut ClauseSet,
    ) -> Result<(), ClauseSet> {
        self.taken.push(place);
        let Err(theirs) = self.from(index + 1) else {
            return Ok(());
        };
        self.taken.truncate(index);
        if !theirs.contains(index) {
            return Err(theirs);
        }
        blame.add(&theirs);
        blame.remove(index);
        Ok(())
    }

    /// The first clause whose place does not agree with `place`.
    fn opponent(&self, place: PlaceId) -> Option<usize> {
        self.taken.iter().position(|&taken| {
            // As many steps as the two have ancestors.
            let depth = self.event.depth(taken) + self.event.depth(place);
            !(self.fuel.spend(1 + u64::from(depth)) && self.event.agree(taken, place))
        })
    }
}
