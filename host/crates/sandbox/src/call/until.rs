//! Owns what ends a call that does not answer: cancellation, and its time.

use std::{
    future::{pending, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::grants::outgoing::Caller as _;

/// What came first.
pub(crate) enum Ended<T> {
    Answered(T),
    Cancelled,
    TimedOut,
}

/// What `running` gives, unless it is cancelled or takes longer than it may, by
/// this machine's clock or by that of a simulated call.
pub(crate) async fn until_ended<T>(
    shared: &Shared,
    cancel: &CancellationToken,
    mut running: impl Future<Output = T> + Unpin,
) -> Ended<T> {
    if cancel.is_cancelled() {
        return Ended::Cancelled;
    }
    let mut stopped = pin!(async {
        let simulated = async {
            match &shared.simulated {
                Some(simulated) => simulated.clock.expired().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Ended::Cancelled,
            () = tokio::time::sleep(shared.time_left()) => Ended::TimedOut,
            () = simulated => Ended::TimedOut,
        }
    });
    // Most calls wait for nothing and end in their first poll: they need no
    // timer, and no place among those who are told of a cancellation.
    let mut waited = false;
    poll_fn(|context| {
        let again = std::mem::replace(&mut waited, true);
        if again && let Poll::Ready(ended) = stopped.as_mut().poll(context) {
            return Poll::Ready(ended);
        }
        match Pin::new(&mut running).poll(context) {
            Poll::Ready(answer) => Poll::Ready(Ended::Answered(answer)),
            Poll::Pending if again => Poll::Pending,
            Poll::Pending => stopped.as_mut().poll(context),
        }
    })
    .await
}
