//! Owns one delivery from its claim to its settlement, and the list of those
//! that run.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{Shared, pause};
use crate::{Claimed, Held, Lease, QueueError, RunResult, Settlement, State, policy};
use pointsman_core::{name::HandlerName, outcome::Status};
use pointsman_machine::shutdown::KILL_MAX;

/// The deliveries that run on this worker.
#[derive(Default)]
pub(super) struct Runs {
    // By row: a delivery runs at most once here, as its lease is exclusive.
    running: Mutex<HashMap<i64, (Lease, Stop)>>,
    /// The same, for the store.
    held: Held,
    ended: Notify,
}

/// How to stop one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop {
    /// Fires to interrupt it.
    cancel: CancellationToken,
    /// Fires when its lease is another's: nothing it gives may be stored.
    lost: CancellationToken,
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, (Lease, Stop)>> {
        // Every change is one call of the map: a panic leaves it whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The list that the store looks at.
    pub(super) fn held(&self) -> Held {
        self.held.clone()
    }

    /// How many of each handler run.
    pub(super) fn by_handler(&self) -> HashMap<HandlerName, usize> {
        let mut counts = HashMap::new();
        for (lease, _) in self.lock().values() {
            *counts.entry(lease.delivery.handler.clone()).or_default() += 1;
        }
        counts
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        self.lock()
            .values()
            .map(|(lease, _)| lease.clone())
            .collect()
    }

    pub(super) fn cancel(&self, lease: &Lease) {
        if let Some((held, stop)) = self.lock().get(&lease.row)
            && held == lease
        {
            stop.cancel.cancel();
        }
    }

    /// As [`Runs::cancel`], and says whether it still ran.
    pub(super) fn cancel_lost(&self, lease: &Lease) -> bool {
        match self.lock().get(&lease.row) {
            Some((held, stop)) if held == lease => {
                self.held.remove(lease);
                stop.lost.cancel();
                stop.cancel.cancel();
                true
            }
            _ => false,
        }
    }

    pub(super) fn cancel_all(&self) {
        self.lock()
            .values()
            .for_each(|(_, stop)| stop.cancel.cancel());
    }

    /// Waits until `stop` fired and a run ended since.
    pub(super) async fn emptied(&self, stop: &CancellationToken) {
        let ended = self.ended.notified();
        stop.cancelled().await;
        if !self.is_empty() {
            ended.await;
        }
    }

    fn add(&self, lease: &Lease, stop: &Stop) {
        self.held.add(lease);
        self.lock().insert(lease.row, (lease.clone(), stop.clone()));
    }

    fn remove(&self, lease: &Lease) {
        let mut running = self.lock();
        // After a lost lease the row may be here again, under a newer one.
        if running
            .get(&lease.row)
            .is_some_and(|(held, _)| held == lease)
        {
            running.remove(&lease.row);
        }
        drop(running);
        self.held.remove(lease);
        self.ended.notify_waiters();
    }
}

/// One run.
pub(super) struct Run {
    shared: Arc<Shared>,
    claimed: Claimed,
    stop: Stop,
}

impl Run {
    /// Takes the delivery up: from here its lease is renewed.
    pub(super) fn new(shared: Arc<Shared>, claimed: Claimed) -> Self {
        let stop = Stop::default();
        shared.runs.add(&claimed.lease, &stop);
        Self {
            shared,
            claimed,
            stop,
        }
    }

    /// Runs it and stores what came of it.
    pub(super) async fn perform(self) -> Arc<Shared> {
        let (delivery, attempt) = (&self.claimed.lease.delivery, self.claimed.attempt);
        debug!(%delivery, attempt, "started");
        let result = self.run().await;
        if let Some(failed) = result.as_ref().filter(|r| r.status != Status::Succeeded) {
            warn!(%delivery, attempt, status = failed.status.as_str(), "the attempt failed: {}", failed.message);
        }
        let settlement = self.settlement(result);
        self.settle(settlement).await;
        self.shared.runs.remove(&self.claimed.lease);
        self.shared
    }

    /// What the runner gave; none where it had to be dropped.
    async fn run(&self) -> Option<RunResult> {
        let cancel = self.stop.cancel.clone();
        // The call itself may panic, not only the future it makes.
        let run = async { self.shared.runner.run(&self.claimed, cancel).await };
        let mut run = pin!(run);
        let caught = std::future::poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
                Ok(poll) => poll,
                // The future is never polled again: nothing sees what the panic left.
                Err(panic) => {
                    let text = panic
                        .downcast_ref::<&str>()
                        .map(|text| (*text).to_owned())
                        .or_else(|| panic.downcast_ref::<String>().cloned())
                        .unwrap_or_default();
                    error!(delivery = %self.claimed.lease.delivery, panic = %text, "the attempt panicked");
                    Poll::Ready(RunResult::failed(
                        Status::Trapped,
                        format!("the attempt panicked: {text}"),
                    ))
                }
            }
        });
        let overdue = async {
            self.stop.cancel.cancelled().await;
            let grace = self.shared.config.interrupt_grace;
            tokio::select! {
                () = tokio::time::sleep(grace) => {}
                // Half of what a stop has left: the rest is for giving it back.
                () = self.shared.drained(KILL_MAX / 2) => {}
            }
        };
        tokio::select! {
            result = caught => Some(result),
            () = overdue => {
                warn!(delivery = %self.claimed.lease.delivery, "the attempt did not end when interrupted: abandoned");
                None
            }
        }
    }

    fn settlement(&self, result: Option<RunResult>) -> Settlement {
        let result = result.unwrap_or_else(|| {
            RunResult::failed(
                Status::Cancelled,
                "the run did not end when it was interrupted",
            )
        });
        // Interrupted by the drain, not by its command: not its fault. Where the
        // command was cancelled too, the store makes it cancelled.
        if result.status == Status::Cancelled && self.shared.draining.is_cancelled() {
            return Settlement::Release;
        }
        let handler = &self.claimed.lease.delivery.handler;
        let retry = self.shared.runner.retry_policy(handler);
        policy::settle(&retry, self.claimed.failures, result)
    }

    /// Stores it, for as long as it takes: work that is done must not be done
    /// again because the store was away for a while. What the store does not
    /// take, while it is well, is replaced by what it will.
    async fn settle(&self, mut settlement: Settlement) {
        let lease = &self.claimed.lease;
        let (mut failures, mut is_short) = (0, false);
        while !self.stop.lost.is_cancelled() {
            let store = &self.shared.store;
            match store.settle(lease.clone(), settlement.clone()).await {
                Ok(State::Discarded) => {
                    return warn!(
                        delivery = %lease.delivery,
                        "is in the dead letter: no attempt is left; `pointsman queue inspect` shows why"
                    );
                }
                Ok(state) => return debug!(delivery = %lease.delivery, %state, "settled"),
                Err(error @ (QueueError::LeaseLost(_) | QueueError::Closed)) => {
                    return warn!(delivery = %lease.delivery, code = error.code(), "could not store the result of an attempt: {error}");
                }
                Err(error) => {
                    failures += 1;
                    match (Attempts { failures, is_short }).next(&error) {
                        Next::Again => {}
                        Next::AgainIfWell if store.check().await.is_err() => {}
                        Next::AgainIfWell | Next::Short => {
                            error!(delivery = %lease.delivery, code = error.code(), error = ?error, "the store rejects the result of an attempt: stored without it");
                            settlement = settlement.unstorable(&error);
                            (failures, is_short) = (0, true);
                            continue;
                        }
                        Next::GiveUp => {
                            return error!(delivery = %lease.delivery, code = error.code(), error = ?error, "could not store the result: the lease will expire, and the delivery will be attempted again");
                        }
                    }
                    // The store says what is wrong with it, once.
                    debug!(delivery = %lease.delivery, code = error.code(), error = ?error, "could not settle; trying again");
                    tokio::time::sleep(pause(failures)).await;
                }
            }
        }
    }
}

impl Shared {
    /// Waits until so long after a drain began to interrupt.
    async fn drained(&self, after: Duration) {
        self.draining.cancelled().await;
        tokio::time::sleep(after).await;
    }
}

/// Tries of a settlement, while the store is well, until it is taken to be the
/// settlement's fault: some seconds, as finished work gives way meanwhile.
const SETTLE_TRIES: u32 = 6;

/// How a settlement went so far.
struct Attempts {
    failures: u32,
    /// It is the one that says that the result could not be stored.
    is_short: bool,
}

/// What to do about a settlement that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Try it again.
    Again,
    /// The same where the store is not well; where it is, it is [`Next::Short`].
    AgainIfWell,
    /// Store that the result could not be stored.
    Short,
    /// Nothing more.
    GiveUp,
}

impl Attempts {
    fn next(&self, error: &QueueError) -> Next {
        match error {
            // It will never be taken.
            QueueError::Unstorable { .. } | QueueError::Invalid { .. } if self.is_short => {
                Next::GiveUp
            }
            QueueError::Unstorable { .. } | QueueError::Invalid { .. } => Next::Short,
            // Something else has the store, or it is not there: that passes.
            QueueError::Busy { .. } | QueueError::Unavailable { .. } | QueueError::Replaced(_) => {
                Next::Again
            }
            _ if self.is_short || !self.failures.is_multiple_of(SETTLE_TRIES) => Next::Again,
            _ => Next::AgainIfWell,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_is_well_can_blame_the_settlement() {
        let storage = || QueueError::Storage {
            doing: "settle",
            source: "it fails".into(),
        };
        let unstorable = || QueueError::Unstorable {
            doing: "settle",
            source: "it never fits".into(),
        };
        let next =
            |failures, is_short, error: &QueueError| Attempts { failures, is_short }.next(error);
        assert_eq!(next(1, false, &unstorable()), Next::Short);
        assert_eq!(next(1, true, &unstorable()), Next::GiveUp);
        for error in [storage(), QueueError::NoRoom] {
            assert_eq!(next(1, false, &error), Next::Again);
            assert_eq!(next(SETTLE_TRIES, false, &error), Next::AgainIfWell);
            assert_eq!(next(SETTLE_TRIES, true, &error), Next::Again);
        }
        let busy = QueueError::Busy { doing: "settle" };
        assert_eq!(next(10 * SETTLE_TRIES, false, &busy), Next::Again);
    }
}
