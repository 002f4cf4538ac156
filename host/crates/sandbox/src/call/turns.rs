//! Owns the turns of calls that compute for long. A call runs its first tick at
//! once; after that it runs one tick in each turn, and there are as many turns at
//! once as cores. Calls that wait for a turn wait here and not in the queues of
//! the runtime, so a short call finds a free worker within a tick, however many
//! others compute; at once where the runtime has a worker thread more than that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of one host; clones are the same turns.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

/// The turn that a call has, if any.
#[derive(Debug, Default)]
pub(crate) struct Turn(Mutex<Option<OwnedSemaphorePermit>>);

impl Default for Turns {
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Turns {
    fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    #[cfg(test)]
    pub(crate) fn one() -> Self {
        Self::new(1)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.available_permits()
    }
}

impl Turn {
    /// Waits for the next turn, behind those that wait already.
    pub(crate) async fn wait(&self, turns: &Turns) {
        // Others on this thread come first; and the poll that ends here gives
        // back the turn that the call may have.
        tokio::task::yield_now().await;
        // Closed by nobody.
        *self.lock() = Arc::clone(&turns.0).acquire_owned().await.ok();
    }

    /// Gives it back: with the end of the poll that it was taken in, as a call
    /// that waits for something computes nothing.
    pub(crate) fn end(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[test]
    fn calls_that_compute_take_turns_in_the_order_in_which_they_asked() {
        let turns = Turns::one();
        let (first, second) = (Turn::default(), Turn::default());
        let mut context = Context::from_waker(Waker::noop());
        let mut one = pin!(first.wait(&turns));
        let mut two = pin!(second.wait(&turns));
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(two.as_mut().poll(&mut context).is_pending());
        assert!(one.as_mut().poll(&mut context).is_ready());
        assert!(two.as_mut().poll(&mut context).is_pending());
        first.end();
        // It asks again at once, and comes after the other.
        let mut again = pin!(first.wait(&turns));
        assert!(again.as_mut().poll(&mut context).is_pending());
        assert!(again.as_mut().poll(&mut context).is_pending());
        assert!(two.as_mut().poll(&mut context).is_ready());
        second.end();
        assert!(again.as_mut().poll(&mut context).is_ready());
    }
}
