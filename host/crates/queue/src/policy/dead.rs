//! How the dead letter is emptied: in steps, so that others are served in between.

use pointsman_core::delivery::DeliveryId;

use crate::{error::QueueError, state::State};

/// How many dead letters one step of a bulk retry or discard changes.
pub(crate) const DEAD_STEP: i64 = 500;

/// What becomes of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Retry,
    GiveUp,
}

/// Where the next step begins after one that found these rows, the newest first: below
/// the last; none where it was not full.
pub(crate) fn next_step(rows: &[i64]) -> Option<i64> {
    let is_full = i64::try_from(rows.len()).is_ok_and(|found| found >= DEAD_STEP);
    rows.last().copied().filter(|_| is_full)
}

/// Refuses a change of the one delivery that was asked for, which found nothing to
/// change: by its state, if there is such a delivery.
pub(crate) fn refuse_one(id: &DeliveryId, state: Option<State>) -> Result<(), QueueError> {
    match state {
        None => Err(QueueError::UnknownDelivery(id.clone())),
        // It came into the dead letter since.
        Some(State::Discarded) => Ok(()),
        Some(state) => Err(QueueError::NotDead {
            id: id.clone(),
            state,
        }),
    }
}
