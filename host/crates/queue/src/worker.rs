//! The worker: claims as many deliveries as there is room for, runs each on a tracked
//! task, renews the leases and settles the results. It never loses a delivery:
//! every run ends in a settlement, and if that cannot be stored, the lease expires
//! and another attempt follows.

mod run;
mod share;

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, Semaphore, broadcast::error::RecvError, watch},
    time::timeout_at,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info, warn};

use self::run::{Run, Runs};
use super::{
    Capacity, ClaimRequest, Claimed, CommandId, Flow, QueueError, Renewal, RetentionSettings,
    RetrySettings, RunResult, Store, signals::Part,
};
use crate::{policy::look_within, settings::QueueSettings};
use pointsman_core::name::HandlerName;
use pointsman_machine::shutdown::{KILL_MAX, Supervisor};

/// Runs deliveries. Implemented by the user of the queue.
pub trait DeliveryRunner: Send + Sync + 'static {
    /// Runs one delivery to its end. When `cancel` fires, the run should end soon;
    /// its result still counts. Dropping the future must interrupt it. A panic
    /// counts as a trap.
    fn run<'a>(
        &'a self,
        delivery: &'a Claimed,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>>;

    /// The handlers that this host can run now. Deliveries to others wait for a host
    /// that has them.
    fn capacity(&self) -> Capacity {
        Capacity::default()
    }

    /// How a handler's failures are retried.
    fn retry_policy(&self, handler: &HandlerName) -> RetrySettings {
        let _ = handler;
        RetrySettings::default()
    }
}

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The maximum number of concurrent runs on this host.
    pub concurrency: usize,
    /// How long a lease lasts. It is renewed at a third, so two renewals may fail.
    pub lease: Duration,
    /// How long to wait for a notification before polling.
    pub poll: Duration,
    /// How long an interrupted run may take to end before it is dropped.
    pub interrupt_grace: Duration,
    /// How long finished commands are kept.
    pub retention: RetentionSettings,
    /// How often the retention is applied.
    pub sweep_every: Duration,
    /// The share of the free slots that one handler may take, in percent; the rest is
    /// left to the others. With 100, one handler may take all.
    pub share_percent: u32,
    /// Restarts background tasks that fail.
    pub supervisor: Supervisor,
}

impl From<&QueueSettings> for WorkerConfig {
    fn from(config: &QueueSettings) -> Self {
        Self {
            concurrency: config.concurrency,
            lease: config.lease,
            poll: config.poll,
            interrupt_grace: config.interrupt_grace,
            retention: config.retention.clone(),
            sweep_every: Duration::from_secs(60),
            share_percent: config.share_percent,
            supervisor: Supervisor::default(),
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        (&QueueSettings::default()).into()
    }
}

/// A claim this recent, or twice the poll if that is longer, is healthy.
const HEALTHY_WITHIN: Duration = Duration::from_secs(5);
/// The maximum number of deliveries per claim. It bounds how long a claim locks the
/// store, and how many claimed deliveries a host can die with before running them.
const CLAIM_MAX: usize = 256;
/// With fewer slots than this, they are not shared among handlers.
const SHARED_FROM: usize = 4;
/// The pause between news and the next look where the rest of the places is kept
/// for handlers that run little.
const SHARED_OUT_PAUSE: Duration = Duration::from_millis(5);
/// The longest wait between attempts while the store fails.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What a drain did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Runs that ended within the grace.
    pub finished: usize,
    /// Runs that were interrupted.
    pub interrupted: usize,
}

/// A running worker. [`Worker::drain`] stops it gracefully; dropping it only stops
/// claiming, and running deliveries continue.
pub struct Worker {
    shared: Arc<Shared>,
    stop: CancellationToken,
    loops: TaskTracker,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// State shared by the loops and runs of one worker.
struct Shared {
    store: Arc<dyn Store>,
    runner: Arc<dyn DeliveryRunner>,
    config: WorkerConfig,
    free: Arc<Semaphore>,
    runs: Runs,
    tasks: TaskTracker,
    freed: Notify,
    draining: CancellationToken,
    polled: Mutex<Instant>,
    renewed: Mutex<Instant>,
    /// Those of the last claim that succeeded.
    flows: Mutex<Option<Arc<Flows>>>,
}

type Flows = HashMap<HandlerName, Flow>;

impl Worker {
    /// Starts the worker on the current runtime.
    #[must_use]
    pub fn start(
        store: Arc<dyn Store>,
        runner: Arc<dyn DeliveryRunner>,
        config: WorkerConfig,
    ) -> Self {
        let shared = Arc::new(Shared {
            store,
            runner,
            free: Arc::new(Semaphore::new(
                config.concurrency.min(Semaphore::MAX_PERMITS),
            )),
            config,
            runs: Runs::default(),
            tasks: TaskTracker::new(),
            freed: Notify::new(),
            draining: CancellationToken::new(),
            polled: Mutex::new(Instant::now()),
            renewed: Mutex::new(Instant::now()),
            flows: Mutex::default(),
        });
        let (stop, loops) = (CancellationToken::new(), TaskTracker::new());
        // Renewals and cancellations go on while a drain waits for the runs.
        supervise(&shared, &loops, "queue-claim", &stop, claim_loop);
        supervise(&shared, &loops, "queue-sweep", &stop, sweep_loop);
        supervise(&shared, &shared.tasks, "queue-renew", &stop, renew_loop);
        supervise(&shared, &shared.tasks, "queue-cancel", &stop, cancel_loop);
        Self {
            shared,
            stop,
            loops,
        }
    }

    /// How many deliveries run here now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.shared.runs.len()
    }

    /// Whether it has claimed or polled within the last seconds.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let polled = *self
            .shared
            .polled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        polled.elapsed() < HEALTHY_WITHIN.max(self.shared.config.poll * 2)
    }

    /// Stops claiming, waits up to `grace` for running deliveries, then interrupts the
    /// rest and releases them without counting the attempt. Returns when all of that is
    /// stored, or [`KILL_MAX`] after the grace period: deliveries that remain then run
    /// again once their lease expires.
    pub async fn drain(self, grace: Duration) -> Drained {
        let deadline = tokio::time::Instant::now() + grace;
        self.stop.cancel();
        self.loops.close();
        // A claim that hangs takes its time from the same grace.
        if timeout_at(deadline, self.loops.wait()).await.is_err() {
            warn!("the store did not respond to a claim before the grace period ended");
        }
        let shared = &self.shared;
        let running = shared.runs.len();
        shared.tasks.close();
        if timeout_at(deadline, shared.tasks.wait()).await.is_ok() {
            return Drained {
                finished: running,
                interrupted: 0,
            };
        }
        let interrupted = shared.runs.len();
        info!(
            interrupted,
            "the grace is over: interrupting what still runs"
        );
        shared.draining.cancel();
        shared.runs.cancel_all();
        if timeout_at(deadline + KILL_MAX, shared.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                left = shared.runs.len(),
                "could not give back all deliveries: their leases will run out"
            );
        }
        Drained {
            finished: running - interrupted.min(running),
            interrupted,
        }
    }
}

/// Runs one of the loops until `stop`, whatever happens to it.
fn supervise<F>(
    shared: &Arc<Shared>,
    tracker: &TaskTracker,
    name: &'static str,
    stop: &CancellationToken,
    work: fn(Arc<Shared>, CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (of_loop, end) = (Arc::clone(shared), stop.clone());
    let supervisor = &shared.config.supervisor;
    supervisor.spawn(tracker, name, stop.clone(), move || {
        work(Arc::clone(&of_loop), end.clone())
    });
}

async fn claim_loop(shared: Arc<Shared>, stop: CancellationToken) {
    let mut work = shared.store.signals().work();
    let mut failures = 0_u32;
    while !stop.is_cancelled() {
        // Seen before the claim: news during it wakes the wait below.
        work.mark_unchanged();
        let (taken, shared_out, wait) = match shared.claim().await {
            Ok((taken, shared_out, next_due)) => {
                failures = 0;
                shared.store.signals().recovered(Part::Work);
                (taken, shared_out, look_within(next_due, shared.config.poll))
            }
            Err(QueueError::Closed) if stop.is_cancelled() => return,
            Err(error) => {
                failures += 1;
                shared.store.signals().failed(Part::Work, &error);
                debug!(code = error.code(), error = ?error, "could not claim");
                (0, false, pause(failures))
            }
        };
        if taken > 0 && shared.free.available_permits() > 0 {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = shared.freed.notified(), if failures == 0 => {}
            () = news(&mut work, shared_out), if failures == 0 && shared.free.available_permits() > 0 => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Waits for news. Where places are kept for handlers that run little, it is
/// mostly of one that has its share: it is looked at in batches.
async fn news(work: &mut watch::Receiver<()>, shared_out: bool) {
    // The sender lives as long as the store.
    let _ = work.changed().await;
    if shared_out {
        tokio::time::sleep(SHARED_OUT_PAUSE).await;
    }
}

/// The wait after a number of consecutive failures.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(50)
        .saturating_mul(1 << failures.min(8))
        .min(RETRY_MAX)
}

impl Shared {
    /// Claims what there is room for and starts it: how many, whether a handler
    /// was left out as it has its share, and when to look again.
    async fn claim(self: &Arc<Self>) -> Result<(usize, bool, Option<Duration>), QueueError> {
        // After a gap, as when the machine slept, what runs here comes first: a
        // claim ends the leases that ran out.
        if self.overdue() {
            self.renew().await?;
        }
        let free = self.free.available_permits();
        let all = self.runner.capacity();
        let handlers = all.handlers.as_ref().map(|names| names.len());
        let percent = self.config.share_percent();
        let (capacity, max) = share::share(all, free, percent, || self.runs.by_handler());
        let shared_out = capacity.handlers.as_ref().map(|names| names.len()) != handlers;
        let request = ClaimRequest {
            max: max.min(CLAIM_MAX),
            lease: self.config.lease,
            flows_changed: !self.claimed_with(&capacity.flows),
            capacity,
            held: self.runs.held(),
        };
        let flows = Arc::clone(&request.capacity.flows);
        let claims = self.store.claim(request).await?;
        *self.flows.lock().unwrap_or_else(PoisonError::into_inner) = Some(flows);
        *self.polled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let taken = claims.deliveries.len();
        for claimed in claims.deliveries {
            // Only this loop takes permits, and it claimed no more than were free.
            let permit = Arc::clone(&self.free).try_acquire_owned().ok();
            let run = Run::new(Arc::clone(self), claimed);
            self.tasks.spawn(async move {
                let shared = run.perform().await;
                drop(permit);
                shared.freed.notify_one();
            });
        }
        Ok((taken, shared_out, claims.next_due))
    }
}

async fn renew_loop(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(shared.config.lease / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    // Goes on during a drain, as long as something runs.
    while !(stop.is_cancelled() && shared.runs.is_empty()) {
        tokio::select! {
            _ = ticks.tick() => {
                if let Err(error) = shared.renew().await {
                    error!(code = error.code(), error = ?error, "could not renew leases");
                }
            }
            () = shared.runs.emptied(&stop) => {}
        }
    }
}

impl Shared {
    async fn renew(&self) -> Result<(), QueueError> {
        let leases = self.runs.leases();
        if leases.is_empty() {
            self.note_renewed();
            return Ok(());
        }
        let renewals = self.store.renew(leases.clone(), self.config.lease).await?;
        self.note_renewed();
        for (lease, renewal) in leases.iter().zip(renewals) {
            match renewal {
                Renewal::Renewed => {}
                Renewal::CancelRequested => self.runs.cancel(lease),
                Renewal::Lost => {
                    // A run that ended meanwhile is gone from `runs`: nothing to stop.
                    if self.runs.cancel_lost(lease) {
                        warn!(delivery = %lease.delivery, "lost the lease of a running delivery");
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the last claim was made with these.
    fn claimed_with(&self, flows: &Arc<Flows>) -> bool {
        let last = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, flows) || last == flows)
    }

    fn note_renewed(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the last renewal was so long ago that leases may have expired.
    fn overdue(&self) -> bool {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed() > self.config.lease / 3 * 2
    }
}

impl WorkerConfig {
    /// One place can not be shared.
    fn share_percent(&self) -> usize {
        if self.concurrency < SHARED_FROM {
            return 100;
        }
        self.share_percent.clamp(1, 100) as usize
    }
}

async fn cancel_loop(shared: Arc<Shared>, stop: CancellationToken) {
    let mut cancellations = shared.store.signals().cancellations();
    while !(stop.is_cancelled() && shared.runs.is_empty()) {
        tokio::select! {
            news = cancellations.recv() => match news {
                Ok(command) => shared.cancelled(command),
                // The next renewal names what was missed.
                Err(RecvError::Lagged(_)) => debug!("missed cancellations"),
                Err(RecvError::Closed) => break,
            },
            () = shared.runs.emptied(&stop) => {}
        }
    }
}

impl Shared {
    fn cancelled(&self, command: CommandId) {
        for lease in self.runs.leases() {
            if lease.delivery.command == command {
                self.runs.cancel(&lease);
            }
        }
    }
}

async fn sweep_loop(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(shared.config.sweep_every) => {}
        }
        let sweep = shared.store.sweep(shared.config.retention.clone());
        let swept = tokio::select! {
            () = stop.cancelled() => return,
            swept = sweep => swept,
        };
        match swept {
            Ok(swept) => debug!(
                commands = swept.commands,
                keys = swept.keys,
                entries = swept.entries,
                "swept"
            ),
            Err(error) => {
                error!(code = error.code(), error = ?error, "could not delete what is past its retention")
            }
        }
    }
}
