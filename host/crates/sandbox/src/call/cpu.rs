//! Owns the CPU time of one call, against the handler's limit.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::turns::Turn;

/// The CPU time of one call: the time that its future spends being polled,
/// since guest code runs nowhere else. Waiting costs nothing, however short
/// and frequent the waits are.
pub(crate) struct CpuMeter {
    base: Instant,
    limit: Duration,
    // Nanoseconds; one thread at a time polls the call, so relaxed is enough.
    spent: AtomicU64,
    poll_began: AtomicU64,
    /// Ends with the poll that it was taken in.
    pub(crate) turn: Turn,
}

impl CpuMeter {
    pub(crate) fn new(base: Instant, limit: Duration) -> Self {
        Self {
            base,
            limit,
            spent: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            turn: Turn::default(),
        }
    }

    /// The CPU time of all polls that ended.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Relaxed))
    }

    /// Whether the call, which is being polled now, is past its limit.
    pub(crate) fn exceeded(&self) -> bool {
        let running = self.now() - self.poll_began.load(Relaxed);
        self.spent() + Duration::from_nanos(running) > self.limit
    }

    /// Counts the time of each poll of `future`.
    pub(crate) fn measure<F: Future + Unpin>(&self, future: F) -> Measured<'_, F> {
        Measured {
            meter: self,
            future,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A future whose polls are counted.
pub(crate) struct Measured<'a, F> {
    meter: &'a CpuMeter,
    future: F,
}

impl<F: Future + Unpin> Future for Measured<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = self.meter.now();
        self.meter.poll_began.store(began, Relaxed);
        let result = Pin::new(&mut self.future).poll(context);
        self.meter.turn.end();
        self.meter
            .spent
            .fetch_add(self.meter.now() - began, Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Waker};

    use super::*;
    use crate::call::turns::Turns;

    #[tokio::test]
    async fn a_call_that_waits_has_no_turn() {
        let turns = Turns::one();
        let meter = CpuMeter::new(Instant::now(), Duration::MAX);
        let mut waits = pin!(async {
            meter.turn.wait(&turns).await;
            poll_fn(|_| Poll::<()>::Pending).await;
        });
        let mut measured = meter.measure(waits.as_mut());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(pin!(&mut measured).poll(&mut context).is_pending());
            assert_eq!(turns.free(), 1);
        }
    }
}
