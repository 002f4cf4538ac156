//! When workers look for work: at once where a change leaves them some, else when
//! something falls due, and after a while in any case.

use std::time::Duration;

use crate::{clock::Timestamp, state::State};

/// What one claim makes available of what fell due, and of what lost hosts had: it
/// bounds the time that a claim holds the store after a long stop. The rest is still
/// due, so another claim follows at once.
pub(crate) const DUE_STEP: i64 = 1000;
/// The shortest wait between claims that found nothing. What is due this instant may
/// be kept back by a limit.
const LOOK_MIN: Duration = Duration::from_millis(5);

/// When the next delay and the next pause end, by the wall clock, and when the next
/// lease, by the clock that nobody sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) delay_ends_ms: Option<i64>,
    pub(crate) lease_ends_ms: Option<i64>,
    pub(crate) pause_ends_ms: Option<i64>,
}

impl Due {
    /// How long until the first of them, where there is one.
    pub(crate) fn within(self, now: Timestamp, steady: Timestamp) -> Option<Duration> {
        let wait = |ends: i64, now| Timestamp::from_millis(ends).since(now);
        let delay = self.delay_ends_ms.map(|ends| wait(ends, now));
        let lease = self.lease_ends_ms.map(|ends| wait(ends, steady));
        let pause = self.pause_ends_ms.map(|ends| wait(ends, now));
        delay.into_iter().chain(lease).chain(pause).min()
    }
}

/// Whether workers are told of a settlement: what did not end is to be run again, now
/// or at a time that they do not know of, and what did may have `freed` others.
pub(crate) fn leaves_work(state: State, freed: bool) -> bool {
    !state.is_final() || freed
}

/// How long a worker that found nothing more waits before it looks again.
pub(crate) fn look_within(next_due: Option<Duration>, poll: Duration) -> Duration {
    next_due.map_or(poll, |due| due.min(poll)).max(LOOK_MIN)
}

#[cfg(test)]
mod tests;
