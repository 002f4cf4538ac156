//! Owns the clock of a simulated call. It stands still while the guest computes.
//! Where the guest waits, it moves on at once to what comes first: a timer that
//! the guest waits for, or an [`Event`] on its way, such as the reply to a request.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, async_trait, p2::Pollable};

/// Something that happens while the guest waits, whatever it waits for.
pub(crate) trait Event: Send + Sync {
    /// When it happens, as far as that can be said by now.
    fn progress(&self) -> Progress;

    /// Lets it happen: its time has come.
    fn happen(&self);
}

/// How far an [`Event`] is.
pub(crate) enum Progress {
    /// It depends on what the guest does next.
    Open,
    /// It happens at this time since the start of the call.
    Due(Duration),
    /// It happens now.
    Happens,
}

/// The clock of one call. Clones are the same clock.
#[derive(Clone)]
pub(crate) struct Clock(Arc<Inner>);

struct Inner {
    start: Duration,
    timeout: Duration,
    expired: CancellationToken,
    moment: Mutex<Moment>,
    // An event came, happened or was given up.
    changed: Notify,
}

#[derive(Default)]
struct Moment {
    // Since the start of the call.
    elapsed: Duration,
    // When the WASI timers are due that the guest waits for.
    timers: Vec<Duration>,
    // In the order of their beginning.
    events: Vec<Arc<dyn Event>>,
}

/// What comes next where the guest waits.
enum Next {
    Timer(Duration),
    Event(Duration, Arc<dyn Event>),
    /// Not for the clock to say.
    Other,
}

impl Clock {
    /// At `start` since the Unix epoch, for a call that may take as long as `timeout`.
    pub(crate) fn new(start: Duration, timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            start,
            timeout,
            expired: CancellationToken::new(),
            moment: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Since the Unix epoch.
    pub(crate) fn now(&self) -> Duration {
        self.0.start.saturating_add(self.elapsed())
    }

    /// Since the start of the call.
    pub(crate) fn elapsed(&self) -> Duration {
        self.moment().elapsed
    }

    /// Moves on by `duration` at once. Never ends where that is past the
    /// call's timeout, which ends the call instead.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.move_to(self.elapsed().saturating_add(duration)).await;
        // As a real sleep does, however short: others get their turn.
        tokio::task::yield_now().await;
    }

    /// Waits until the call sleeps past its timeout.
    pub(crate) async fn expired(&self) {
        self.0.expired.cancelled().await;
    }

    /// A timer for the moment `due` since the start of the call.
    pub(crate) fn timer(self, due: Duration) -> Timer {
        Timer { clock: self, due }
    }

    /// Takes an event into account until it is removed.
    pub(crate) fn add(&self, event: Arc<dyn Event>) {
        self.moment().events.push(event);
    }

    /// Takes out an event that happened, or that nobody waits for any longer.
    pub(crate) fn remove(&self, event: &Arc<dyn Event>) {
        self.moment()
            .events
            .retain(|other| !Arc::ptr_eq(other, event));
        self.progressed();
    }

    /// Says that an event is further than before.
    pub(crate) fn progressed(&self) {
        self.0.changed.notify_waiters();
    }

    /// Moves on until `waiting`, which the guest waits for, is there.
    pub(crate) async fn until<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = pin!(waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut waiting => return done,
                () = self.advance() => {}
            }
            // Others get their turn: the call may be over.
            tokio::task::yield_now().await;
        }
    }

    /// Moves on to the next timer or event.
    async fn advance(&self) {
        let mut changed = pin!(self.0.changed.notified());
        changed.as_mut().enable();
        match self.next() {
            Next::Timer(due) => self.move_to(due).await,
            // At most one happens at a time, so that they do so in the same order in each run.
            Next::Event(due, event) => {
                self.move_to(due).await;
                event.happen();
                changed.await;
            }
            Next::Other => changed.await,
        }
    }

    fn next(&self) -> Next {
        let (events, timer) = {
            let moment = self.moment();
            (moment.events.clone(), moment.timers.iter().min().copied())
        };
        let mut first: Option<(Duration, &Arc<dyn Event>)> = None;
        for event in &events {
            match event.progress() {
                Progress::Open => {}
                Progress::Happens => return Next::Other,
                Progress::Due(due) => {
                    if first.is_none_or(|(other, _)| due < other) {
                        first = Some((due, event));
                    }
                }
            }
        }
        match (first, timer) {
            (Some((due, event)), timer) if timer.is_none_or(|timer| due <= timer) => {
                Next::Event(due, Arc::clone(event))
            }
            (_, Some(timer)) => Next::Timer(timer),
            (_, None) => Next::Other,
        }
    }

    async fn move_to(&self, elapsed: Duration) {
        if elapsed >= self.0.timeout {
            self.0.expired.cancel();
            pending::<()>().await;
        }
        let mut moment = self.moment();
        moment.elapsed = moment.elapsed.max(elapsed);
    }

    fn moment(&self) -> MutexGuard<'_, Moment> {
        self.0.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Self::now(self)
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A WASI timer on a simulated clock.
pub(crate) struct Timer {
    clock: Clock,
    due: Duration,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let waiting = Waiting::new(&self.clock, self.due);
        // [`Clock::until`] polls again once the clock has moved.
        poll_fn(|_| match waiting.0.elapsed() >= waiting.1 {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// A timer that the guest waits for now.
struct Waiting<'a>(&'a Clock, Duration);

impl<'a> Waiting<'a> {
    fn new(clock: &'a Clock, due: Duration) -> Self {
        clock.moment().timers.push(due);
        Self(clock, due)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut moment = self.0.moment();
        if let Some(at) = moment.timers.iter().position(|due| *due == self.1) {
            moment.timers.swap_remove(at);
        }
    }
}
