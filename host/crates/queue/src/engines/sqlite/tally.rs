//! Counts the deliveries of each handler in each state, so that nobody has to read
//! them all to know: the writer moves the counts with each commit.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{Depth, State};
use pointsman_core::name::HandlerName;

/// The counts of what is committed.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<HashMap<(HandlerName, State), u64>>);

/// What a transaction adds to the counts.
#[derive(Debug, Default)]
pub(super) struct Moves(HashMap<(HandlerName, State), i64>);

/// Whether there is a count for it: of what is done there may be any number.
fn is_counted(state: State) -> bool {
    !matches!(state, State::Completed | State::Cancelled)
}

impl Moves {
    /// A delivery that is new.
    pub(super) fn add(&mut self, handler: &HandlerName, to: State) {
        self.count(handler, to, 1);
    }

    /// A delivery that goes from one state to another.
    pub(super) fn change(&mut self, handler: &HandlerName, from: State, to: State) {
        self.count(handler, from, -1);
        self.count(handler, to, 1);
    }

    /// A delivery that is removed.
    pub(super) fn remove(&mut self, handler: &HandlerName, from: State) {
        self.count(handler, from, -1);
    }

    fn count(&mut self, handler: &HandlerName, state: State, by: i64) {
        if is_counted(state) {
            *self.0.entry((handler.clone(), state)).or_default() += by;
        }
    }
}

impl Tally {
    /// Begins anew with what was counted in the store.
    pub(super) fn set(&self, counted: Vec<Depth>) {
        let counts = counted.into_iter();
        *self.lock() = counts
            .map(|one| ((one.handler, one.state), one.count))
            .collect();
    }

    /// After the commit of what moved.
    pub(super) fn apply(&self, moves: Moves) {
        let mut counts = self.lock();
        for (key, by) in moves.0 {
            let count = counts.entry(key.clone()).or_default();
            // Another program may have removed rows: then there are fewer than was counted.
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }

    pub(super) fn depth(&self) -> Vec<Depth> {
        let counts = self.lock();
        let mut depth: Vec<_> = counts
            .iter()
            .map(|((handler, state), count)| Depth {
                handler: handler.clone(),
                state: *state,
                count: *count,
            })
            .collect();
        drop(counts);
        depth.sort_unstable_by(|a, b| {
            (&a.handler, a.state.as_str()).cmp(&(&b.handler, b.state.as_str()))
        });
        depth
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(HandlerName, State), u64>> {
        // A panic between two counts leaves one off, until the store is opened again.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
