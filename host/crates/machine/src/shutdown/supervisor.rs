//! Owns the tasks that a host cannot do without: one that panics, or returns
//! before its time, is logged, counted and started again. While it keeps
//! failing the host says that it is not ready, and then that it is not healthy.

use std::{
    any::Any,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use pointsman_core::{panics, text};

/// The pause before the first restart; it doubles with each failure in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest pause: what a task needs may come back at any time.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A task that ran that long is well again.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// Failures in a row from which on the host is not ready: a single one is over
/// before anybody asks.
const UNREADY_FROM: u32 = 3;
/// Failures in a row from which on the host is not healthy: half a minute of
/// restarts did not help, so a new process has to.
const UNHEALTHY_FROM: u32 = 10;

/// The supervised tasks of one host; clones are the same supervisor.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    tasks: Arc<Mutex<BTreeMap<&'static str, Task>>>,
    pace: Pace,
}

#[derive(Clone, Copy, Debug)]
struct Pace {
    backoff_min: Duration,
    backoff_max: Duration,
    steady_after: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff_min: BACKOFF_MIN,
            backoff_max: BACKOFF_MAX,
            steady_after: STEADY_AFTER,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Task {
    restarts: u64,
    failures_in_a_row: u32,
}

/// How the supervised tasks are; the worst of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All run.
    Good,
    /// This one failed several times in a row.
    Failing(&'static str),
    /// This one failed so often that only a new process can help.
    Failed(&'static str),
}

impl Supervisor {
    /// Runs `work` on `tracker` until `stop`, and again whenever it panics or
    /// returns before. `name` stands in the log and in `/metrics`.
    pub fn spawn<F>(
        &self,
        tracker: &TaskTracker,
        name: &'static str,
        stop: CancellationToken,
        mut work: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let supervisor = self.clone();
        supervisor.tasks().entry(name).or_default();
        tracker.spawn(async move {
            loop {
                let started = Instant::now();
                let steady = tokio::time::sleep(supervisor.pace.steady_after);
                // `work` itself may panic too.
                let run = AssertUnwindSafe(async { work().await }).catch_unwind();
                tokio::pin!(run, steady);
                let ended = tokio::select! {
                    ended = &mut run => ended,
                    () = &mut steady => {
                        supervisor.recovered(name);
                        run.await
                    }
                };
                if stop.is_cancelled() && ended.is_ok() {
                    return;
                }
                let pause = supervisor.failed(name);
                let why = ended.as_ref().err().map_or_else(
                    || "it returned before the host stopped".into(),
                    |panic| panic_text(&**panic),
                );
                tracing::error!(
                    task = name,
                    ran_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "a background task ended and is started again in {pause:?}: {}",
                    text::escaped(&why)
                );
                if stop
                    .run_until_cancelled(tokio::time::sleep(pause))
                    .await
                    .is_none()
                {
                    return;
                }
            }
        });
    }

    /// How the tasks are.
    #[must_use]
    pub fn health(&self) -> Health {
        let tasks = self.tasks();
        let worst = tasks
            .iter()
            .max_by_key(|(_, task)| task.failures_in_a_row)
            .map(|(name, task)| (*name, task.failures_in_a_row));
        match worst {
            Some((name, failures)) if failures >= UNHEALTHY_FROM => Health::Failed(name),
            Some((name, failures)) if failures >= UNREADY_FROM => Health::Failing(name),
            _ => Health::Good,
        }
    }

    /// The name of each task, and how often it was started again.
    #[must_use]
    pub fn restarts(&self) -> Vec<(&'static str, u64)> {
        let tasks = self.tasks();
        tasks.iter().map(|(name, t)| (*name, t.restarts)).collect()
    }

    fn recovered(&self, name: &'static str) {
        self.tasks().entry(name).or_default().failures_in_a_row = 0;
    }

    /// Counts a failure; how long to wait before the next start.
    fn failed(&self, name: &'static str) -> Duration {
        let mut tasks = self.tasks();
        let task = tasks.entry(name).or_default();
        task.restarts += 1;
        task.failures_in_a_row = task.failures_in_a_row.saturating_add(1);
        let doublings = (task.failures_in_a_row - 1).min(16);
        let pause = self.pace.backoff_min.saturating_mul(1 << doublings);
        pause.min(self.pace.backoff_max)
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panics::message(panic);
    text::bounded(format_args!("panicked: {said}"), text::MESSAGE_MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    /// A supervised task that does `work` with the number of the run, and what counts its runs.
    fn supervise(
        stop: &CancellationToken,
        work: fn(u32) -> bool,
    ) -> (Supervisor, TaskTracker, Arc<AtomicU32>) {
        let pace = Pace {
            backoff_min: TICK,
            backoff_max: 20 * TICK,
            steady_after: 20 * TICK,
        };
        let (supervisor, tracker) = (
            Supervisor {
                pace,
                ..Supervisor::default()
            },
            TaskTracker::new(),
        );
        let runs = Arc::new(AtomicU32::new(0));
        let (count, end) = (Arc::clone(&runs), stop.clone());
        supervisor.spawn(&tracker, "test", stop.clone(), move || {
            let run = count.fetch_add(1, Ordering::Relaxed) + 1;
            let end = end.clone();
            async move {
                if work(run) {
                    end.cancelled().await;
                }
            }
        });
        tracker.close();
        (supervisor, tracker, runs)
    }

    #[tokio::test]
    async fn a_task_that_panics_or_returns_is_started_again_and_stops_when_told() {
        let stop = CancellationToken::new();
        let (supervisor, tracker, runs) = supervise(&stop, |run| {
            assert_ne!(run, 1, "the first run fails");
            run > 2
        });
        while runs.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(TICK).await;
        }
        assert_eq!(supervisor.restarts(), [("test", 2)]);
        assert_eq!(supervisor.health(), Health::Good);
        stop.cancel();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn one_that_keeps_failing_makes_the_host_unready_and_then_unhealthy_and_heals() {
        let stop = CancellationToken::new();
        let (supervisor, tracker, _) = supervise(&stop, |run| run > 12);
        let mut seen = vec![supervisor.health()];
        while seen.len() < 4 {
            tokio::time::sleep(TICK).await;
            if seen.last() != Some(&supervisor.health()) {
                seen.push(supervisor.health());
            }
        }
        let (failing, failed) = (Health::Failing("test"), Health::Failed("test"));
        assert_eq!(seen, [Health::Good, failing, failed, Health::Good]);
        stop.cancel();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn a_task_that_always_fails_stops_when_told() {
        let stop = CancellationToken::new();
        let (_, tracker, runs) = supervise(&stop, |_| panic!("always"));
        while runs.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(TICK).await;
        }
        stop.cancel();
        tracker.wait().await;
    }
}
