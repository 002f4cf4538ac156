//! What becomes of a lease that ran out, and of a settlement after a cancellation.

use crate::{ending::Ending, model::AttemptError, state::State};

/// Lost hosts after which a delivery is taken to be the cause.
pub const HOSTS_LOST_MAX: u32 = 3;

/// A delivery whose lease ran out while it was running: its host is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostLease {
    /// The attempt that was lost.
    pub(crate) attempt: u32,
    /// How many hosts were lost with it before.
    pub(crate) hosts_lost: u32,
    /// Whether its command was cancelled meanwhile.
    pub(crate) cancel_requested: bool,
}

/// What becomes of a [`LostLease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseEnd {
    pub(crate) state: State,
    pub(crate) hosts_lost: u32,
    pub(crate) error: AttemptError,
}

impl LostLease {
    /// It waits for another host, unless it was cancelled or was lost so often
    /// that it is taken to be the cause.
    pub(crate) fn end(self) -> LeaseEnd {
        let hosts_lost = self.hosts_lost.saturating_add(1);
        let state = match (self.cancel_requested, hosts_lost >= HOSTS_LOST_MAX) {
            (true, _) => State::Cancelled,
            (false, true) => State::Discarded,
            (false, false) => State::Available,
        };
        LeaseEnd {
            state,
            hosts_lost,
            error: AttemptError {
                status: Ending::HostLost,
                message: format!(
                    "the host was lost during attempt {} ({hosts_lost} of {HOSTS_LOST_MAX} before the dead letter takes it)",
                    self.attempt
                ),
                logs: Vec::new(),
            },
        }
    }
}

/// Where a delivery is after a settlement asked for `asked`: what was cancelled
/// while it ran is cancelled, unless it was done all the same.
pub(crate) fn settled(asked: State, cancel_requested: bool) -> State {
    match (asked, cancel_requested) {
        (State::Completed, _) | (_, false) => asked,
        (_, true) => State::Cancelled,
    }
}
