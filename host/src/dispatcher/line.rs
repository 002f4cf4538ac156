//! Owns the line of commands that wait for free instances. One that fits into
//! what is free may pass one that needs more of it, but only so often: else those
//! with one handler would wait behind each that goes to many.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst, fence},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How often others may pass one that waits. Each of them takes no longer than a
/// call may, and only what the one that waits cannot use yet.
const PASSES_MAX: u32 = 32;

/// The instances of a host, and who waits for them.
pub(super) struct Line {
    free: Arc<Semaphore>,
    waiting: Mutex<VecDeque<Waiter>>,
    // How many wait: most commands find nobody and need no lock.
    count: AtomicUsize,
}

struct Waiter {
    wanted: u32,
    passed: u32,
    granted: oneshot::Sender<Instances>,
}

/// Instances that a command has, free again when dropped.
pub(super) struct Instances {
    permit: Option<OwnedSemaphorePermit>,
    line: Arc<Line>,
}

impl Line {
    pub(super) fn new(instances: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(instances as usize)),
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
        })
    }

    /// So many instances, if they are free and nobody waits.
    pub(super) fn try_take(self: &Arc<Self>, wanted: u32) -> Option<Instances> {
        if self.count.load(SeqCst) > 0 {
            return None;
        }
        let permit = Arc::clone(&self.free).try_acquire_many_owned(wanted).ok()?;
        Some(self.instances(permit))
    }

    /// So many instances, as soon as they are free.
    pub(super) async fn take(self: &Arc<Self>, wanted: u32) -> Instances {
        /// Those behind one that gives up may fit.
        struct Leave<'a>(&'a Arc<Line>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.serve(&mut self.0.lock());
            }
        }
        if let Some(instances) = self.try_take(wanted) {
            return instances;
        }
        let (granted, place) = oneshot::channel();
        {
            let mut waiting = self.lock();
            waiting.push_back(Waiter {
                wanted,
                passed: 0,
                granted,
            });
            self.count.store(waiting.len(), SeqCst);
            // What is given back from here on is seen by who gives it back, and
            // what was given back before is seen here.
            fence(SeqCst);
            self.serve(&mut waiting);
        }
        let leave = Leave(self);
        let instances = place.await.expect("dropped only with its receiver");
        std::mem::forget(leave);
        instances
    }

    /// Gives what is free to those who wait: to the first that it is enough for.
    fn serve(self: &Arc<Self>, waiting: &mut VecDeque<Waiter>) {
        let mut at = 0;
        while let Some(waiter) = waiting.get(at) {
            if waiter.granted.is_closed() {
                waiting.remove(at);
                continue;
            }
            let free = self.free.available_permits();
            let permit = match waiter.wanted as usize <= free {
                true => Arc::clone(&self.free)
                    .try_acquire_many_owned(waiter.wanted)
                    .ok(),
                false => None,
            };
            let Some(permit) = permit else {
                if free == 0 || waiter.passed >= PASSES_MAX {
                    break;
                }
                at += 1;
                continue;
            };
            let waiter = waiting.remove(at).expect("looked at above");
            match waiter.granted.send(self.instances(permit)) {
                Ok(()) => {
                    let before = waiting.range_mut(..at);
                    before.for_each(|waiter| waiter.passed += 1);
                }
                // It has just given up. Not dropped as it is, which would serve again.
                Err(mut unwanted) => drop(unwanted.permit.take()),
            }
            // One that was passed may have come to its bound.
            at = 0;
        }
        self.count.store(waiting.len(), SeqCst);
    }

    fn instances(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Instances {
        Instances {
            permit: Some(permit),
            line: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        if self.permit.take().is_none() {
            return;
        }
        fence(SeqCst);
        if self.line.count.load(SeqCst) > 0 {
            self.line.serve(&mut self.line.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn look<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_that_fits_passes_one_that_needs_more_but_only_so_often() {
        let line = Line::new(4);
        let busy = line.try_take(2).unwrap();
        let mut large = pin!(line.take(3));
        assert!(look(large.as_mut()).is_none());
        for _ in 0..PASSES_MAX {
            assert!(look(pin!(line.take(1))).is_some());
        }
        let mut small = pin!(line.take(1));
        assert!(look(small.as_mut()).is_none(), "it has been passed enough");
        drop(busy);
        let large = look(large.as_mut()).expect("four are free");
        let small = look(small.as_mut()).expect("one is left");
        assert!(line.try_take(1).is_none());
        drop((large, small));
        assert!(line.try_take(4).is_some());
    }

    #[test]
    fn equals_are_served_in_the_order_in_which_they_came() {
        let line = Line::new(1);
        let busy = line.try_take(1).unwrap();
        let (mut first, mut second) = (pin!(line.take(1)), pin!(line.take(1)));
        assert!(look(first.as_mut()).is_none() && look(second.as_mut()).is_none());
        drop(busy);
        assert!(look(second.as_mut()).is_none());
        let first = look(first.as_mut()).expect("it came first");
        drop(first);
        assert!(look(second.as_mut()).is_some());
    }

    #[test]
    fn one_that_gives_up_leaves_its_place_and_what_it_was_given() {
        let line = Line::new(2);
        let busy = line.try_take(1).unwrap();
        let mut behind = Box::pin(line.take(1));
        {
            let mut large = Box::pin(line.take(2));
            assert!(look(large.as_mut()).is_none());
            line.lock()[0].passed = PASSES_MAX;
            assert!(
                look(behind.as_mut()).is_none(),
                "it waits behind the large one"
            );
        }
        let taken = look(behind.as_mut()).expect("the large one gave up");
        // Given, and dropped before it was taken.
        let mut given = Box::pin(line.take(1));
        assert!(look(given.as_mut()).is_none());
        drop(busy);
        drop(given);
        drop(taken);
        assert!(line.try_take(2).is_some());
    }
}
