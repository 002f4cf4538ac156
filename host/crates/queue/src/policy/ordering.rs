//! Which deliveries wait for others. Those of one handler with one ordering key form
//! a line:
//!
//! - In the line is what is [available, running or retryable](in_line), by position,
//!   and by row where that is the same. The first of it is free, the rest is blocked.
//! - What is new enters at its end. What is scheduled enters when it is due, as one
//!   that is new then; what falls due together, [in the order of its times](Entrant).
//! - A retry keeps its place, and so holds up what is behind it.
//! - What ends, in whatever way, leaves the line, and the next one is freed. What comes
//!   back from the dead letter enters at the end.
//!
//! Engines keep the position and whether it is blocked with each delivery, and free
//! the first of a line in one statement, `unblock.sql`. A test holds the states in
//! their SQL to those here, another one both engines to a model of these rules.

use std::collections::HashSet;

use crate::{
    clock::Timestamp,
    model::{NewCommand, NewDelivery},
    state::State,
};

/// Whether a delivery in this state is in the line of its ordering key, if it has one.
pub(crate) fn in_line(state: State) -> bool {
    match state {
        State::Available | State::Running | State::Retryable => true,
        State::Scheduled | State::Completed | State::Discarded | State::Cancelled => false,
    }
}

/// How a new delivery begins.
#[derive(Debug)]
pub(crate) struct Placed<'c> {
    pub(crate) command: &'c NewCommand,
    pub(crate) delivery: &'c NewDelivery,
    pub(crate) run_at: Timestamp,
    pub(crate) state: State,
    pub(crate) entry: Entry,
}

/// How a new delivery enters a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Not at all: it is free.
    None,
    /// Blocked if the store has anything in the line.
    AtEnd,
    /// Blocked: behind another one of its batch.
    Behind,
}

/// How the deliveries of new commands begin, in the order in which they are stored.
pub(crate) fn place<'c>(
    commands: impl IntoIterator<Item = &'c NewCommand>,
    now: Timestamp,
) -> Vec<Placed<'c>> {
    let mut lines = HashSet::new();
    let mut placed = Vec::new();
    for command in commands {
        let run_at = command.run_at.unwrap_or(now);
        let state = if run_at > now {
            State::Scheduled
        } else {
            State::Available
        };
        for delivery in &command.deliveries {
            let entry = match &command.ordering_key {
                Some(key) if in_line(state) => {
                    if lines.insert((&delivery.handler, key)) {
                        Entry::AtEnd
                    } else {
                        Entry::Behind
                    }
                }
                _ => Entry::None,
            };
            placed.push(Placed {
                command,
                delivery,
                run_at,
                state,
                entry,
            });
        }
    }
    placed
}

/// A scheduled delivery that is due and enters its line: those that do so together
/// take their places in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entrant {
    pub(crate) run_at_ms: i64,
    /// Where it was stored.
    pub(crate) position: i64,
    pub(crate) row: i64,
}

#[cfg(test)]
mod tests;
