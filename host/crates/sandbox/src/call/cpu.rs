//! Owns the CPU time of one call, against the handler's limit, and that the call
//! computes only in its turns.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::turns::{Length, Turns, Waiting};

/// The CPU time of one call: the time that its future spends being polled,
/// since guest code runs nowhere else. Waiting costs nothing, however short
/// and frequent the waits are.
pub(crate) struct CpuMeter {
    base: Instant,
    limit: Duration,
    // Nanoseconds; one thread at a time polls the call, so relaxed is enough.
    spent: AtomicU64,
    poll_began: AtomicU64,
    /// Whether the poll that runs, or else the last one, was ended by a tick.
    ticked: AtomicBool,
}

impl CpuMeter {
    pub(crate) fn new(base: Instant, limit: Duration) -> Self {
        Self {
            base,
            limit,
            spent: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            ticked: AtomicBool::new(false),
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

    /// A tick ends the poll that runs.
    pub(crate) fn tick(&self) {
        self.ticked.store(true, Relaxed);
    }

    /// Polls `future` in its turns alone, and counts the time of each poll.
    pub(crate) fn measure<'a, F: Future + Unpin>(
        &'a self,
        turns: &'a Turns,
        future: F,
    ) -> Measured<'a, F> {
        Measured {
            meter: self,
            turns,
            waiting: None,
            future,
        }
    }

    fn length(&self) -> Length {
        match self.ticked.load(Relaxed) {
            true => Length::Long,
            false => Length::Short,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A future whose polls are counted, and wait for their turn.
pub(crate) struct Measured<'a, F> {
    meter: &'a CpuMeter,
    turns: &'a Turns,
    waiting: Option<Waiting<'a>>,
    future: F,
}

impl<F: Future + Unpin> Future for Measured<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let waker = context.waker();
        let turn = match self.waiting.take() {
            Some(waiting) => waiting.poll(waker),
            None => self.turns.ask(self.meter.length(), waker),
        };
        let _turn = match turn {
            Ok(turn) => turn,
            Err(waiting) => {
                self.waiting = Some(waiting);
                return Poll::Pending;
            }
        };
        let began = self.meter.now();
        self.meter.poll_began.store(began, Relaxed);
        self.meter.ticked.store(false, Relaxed);
        let result = Pin::new(&mut self.future).poll(context);
        self.meter
            .spent
            .fetch_add(self.meter.now() - began, Relaxed);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        pin::pin,
        sync::{Arc, atomic::AtomicUsize},
        task::Waker,
        thread,
    };

    use super::*;

    #[test]
    fn a_call_has_a_turn_while_it_computes_and_none_while_it_waits() {
        let turns = Turns::new(1);
        let meter = CpuMeter::new(Instant::now(), Duration::MAX);
        let polls = AtomicUsize::new(0);
        let waits = poll_fn(|_| {
            assert_eq!(turns.free(), 0);
            polls.fetch_add(1, Relaxed);
            Poll::<()>::Pending
        });
        let mut measured = pin!(meter.measure(&turns, waits));
        let mut context = Context::from_waker(Waker::noop());
        assert!(measured.as_mut().poll(&mut context).is_pending());
        assert_eq!(turns.free(), 1);
        let other = turns.ask(Length::Long, Waker::noop()).unwrap();
        assert!(measured.as_mut().poll(&mut context).is_pending());
        assert!(measured.as_mut().poll(&mut context).is_pending());
        assert_eq!(polls.load(Relaxed), 1);
        drop(other);
        assert!(measured.as_mut().poll(&mut context).is_pending());
        assert_eq!(polls.load(Relaxed), 2);
        assert_eq!(turns.free(), 1);
    }

    #[test]
    fn a_call_that_a_tick_ended_goes_behind_one_that_begins() {
        let turns = Turns::new(1);
        let (long, short) = (
            CpuMeter::new(Instant::now(), Duration::MAX),
            CpuMeter::new(Instant::now(), Duration::MAX),
        );
        let computes = poll_fn(|_| {
            long.tick();
            Poll::<()>::Pending
        });
        let mut computes = pin!(long.measure(&turns, computes));
        let mut begins = pin!(short.measure(&turns, poll_fn(|_| Poll::Ready(()))));
        let mut context = Context::from_waker(Waker::noop());
        assert!(computes.as_mut().poll(&mut context).is_pending());
        let other = turns.ask(Length::Long, Waker::noop()).unwrap();
        assert!(computes.as_mut().poll(&mut context).is_pending());
        assert!(begins.as_mut().poll(&mut context).is_pending());
        drop(other);
        assert!(begins.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn calls_that_begin_at_once_leave_a_worker_free_and_all_end() {
        const CALLS: usize = 50;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .build()
            .unwrap();
        let turns = Turns::new(2);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let calls: Vec<_> = (0..CALLS)
            .map(|_| {
                let (turns, inside, most) = (turns.clone(), Arc::clone(&inside), Arc::clone(&most));
                runtime.spawn(async move {
                    let meter = CpuMeter::new(Instant::now(), Duration::MAX);
                    // Fills its memory: nothing ends that before it is done.
                    let fills = poll_fn(|_| {
                        let now = inside.fetch_add(1, Relaxed) + 1;
                        most.fetch_max(now, Relaxed);
                        thread::sleep(Duration::from_millis(1));
                        inside.fetch_sub(1, Relaxed);
                        Poll::Ready(())
                    });
                    meter.measure(&turns, fills).await;
                })
            })
            .collect();
        runtime.block_on(async {
            for call in calls {
                call.await.unwrap();
            }
        });
        assert_eq!(most.load(Relaxed), 2);
        assert_eq!(turns.free(), 2);
    }
}
