//! Owns the handler files that are being loaded, each in a task of its own: one
//! that takes long to compile holds up neither rules nor other plugins.

use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    task::unconstrained,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    file::stamp,
    load::{Load, Stamps},
};
use crate::{
    config::{Config, HostLimits},
    sandbox::{Handler, LoadError, Runtime},
    snapshot::HandlerFile,
};

/// What a reload waits for the plugins that changed with its rules: longer than
/// a handler of a usual size takes to compile.
const BRIEFLY: Duration = Duration::from_millis(500);

/// The first reload goes on for that long after a file was loaded: code that is
/// in the cache is there by then on a busy machine, too. The host says meanwhile
/// that it is alive.
const BETWEEN_LOADS: Duration = Duration::from_secs(2);

/// After that long a compilation counts as slow and leaves its place to others.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// A child that compiles ends within milliseconds of being told to.
const STOP_MAX: Duration = Duration::from_secs(1);

/// How long a reload waits for the handler files that it loads. What is not
/// loaded by then comes with a later snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until each is loaded, however long it compiles.
    ForAll,
    /// As long as one after another gets loaded; for the first reload.
    WhileLoading,
    /// A moment: rules that changed are to be in force.
    Briefly,
}

/// The files that are being loaded.
pub(super) struct Loading {
    config: Arc<Config>,
    runtime: Runtime,
    jobs: Arc<Jobs>,
    running: Mutex<Running>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Hears of each file that has been loaded.
    pub(super) news: Arc<Notify>,
}

/// By path.
pub(super) type Running = BTreeMap<PathBuf, Run>;

/// One file that is being loaded. Dropped, it ends.
pub(super) struct Run {
    /// Of the file and its settings when it began.
    seen: Seen,
    begun: Instant,
    ended: oneshot::Receiver<Option<HandlerFile>>,
    /// What came of it; the inner one is none where the file is gone.
    pub(super) done: Option<Option<HandlerFile>>,
    path: PathBuf,
    _stop: DropGuard,
}

/// The stamps of a handler file and of its settings as they are at a look.
pub(super) type Seen = Stamps;

/// What the file at `path` and its settings look like now.
pub(super) fn seen(path: &Path) -> Seen {
    let settings = stamp(&path.with_extension("toml")).ok();
    stamp(path).ok().map(|component| (component, settings))
}

impl Loading {
    pub(super) fn new(config: Arc<Config>, runtime: Runtime) -> Self {
        Self {
            jobs: Arc::new(Jobs::new(&config.host)),
            config,
            runtime,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            news: Arc::default(),
        }
    }

    /// Takes what is running, for a reload; it goes back with [`Loading::put`].
    pub(super) fn take(&self) -> Running {
        std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, running: Running) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    /// Begins to load the file at `path`, which looks like `seen`.
    pub(super) fn begin(&self, path: PathBuf, seen: Seen, last_good: Option<Arc<Handler>>) -> Run {
        let stop = self.stop.child_token();
        let load = Load {
            config: Arc::clone(&self.config),
            runtime: self.runtime.stopped_by(stop.clone()),
            last_good,
            path: path.clone(),
        };
        let jobs = Arc::clone(&self.jobs);
        let task = async move { jobs.run(load).await };
        Run {
            seen,
            begun: Instant::now(),
            ended: spawn(&self.tasks, &self.news, task),
            done: None,
            path,
            _stop: stop.drop_guard(),
        }
    }

    /// Ends what is being compiled, and waits a moment for it.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        // What the host itself compiles does not hear of it, and is left behind.
        let _ = tokio::time::timeout(STOP_MAX, self.tasks.wait()).await;
    }
}

/// Runs `task`. What came of it is there before `news` tells of it, also where
/// it panics: a look that the news wakes up finds it.
fn spawn(
    tasks: &TaskTracker,
    news: &Arc<Notify>,
    task: impl Future<Output = Option<HandlerFile>> + Send + 'static,
) -> oneshot::Receiver<Option<HandlerFile>> {
    struct Tell(Arc<Notify>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (end, ended) = oneshot::channel();
    let tell = Tell(Arc::clone(news));
    tasks.spawn(async move {
        // Dropped in the reverse order.
        let _tell = tell;
        let end = end;
        let loaded = task.await;
        // Nobody waits for a file that has changed again.
        let _ = end.send(loaded);
    });
    ended
}

impl Run {
    /// Whether it loads the file as it is now.
    pub(super) fn is_of(&self, seen: Seen) -> bool {
        self.seen == seen
    }

    /// Waits for its end. May be dropped and called again.
    async fn finish(&mut self) {
        if self.done.is_none() {
            let ended = (&mut self.ended).await;
            self.done = Some(ended.unwrap_or_else(|_| self.failed()));
        }
    }

    /// Looks whether it has ended.
    fn look(&mut self) {
        if self.done.is_none() {
            self.done = match self.ended.try_recv() {
                Ok(loaded) => Some(loaded),
                Err(oneshot::error::TryRecvError::Closed) => Some(self.failed()),
                Err(oneshot::error::TryRecvError::Empty) => None,
            };
        }
    }

    /// What came of it where it panicked, which has been logged.
    fn failed(&self) -> Option<HandlerFile> {
        let error = LoadError::new(
            &self.path,
            "the host failed to load it; the log has the reason",
            "build it again; if it stays so, report it with the file",
        );
        Some(HandlerFile {
            path: self.path.clone(),
            stamps: self.seen,
            handler: None,
            error: Some(error),
            compiling: false,
        })
    }
}

/// Waits for those that run, as `wait` says, and takes up all that have ended.
pub(super) async fn settle(running: &mut Running, wait: Wait) {
    wait_for(running, wait).await;
    // Also those that the wait did not come to: their news may have been heard.
    running.values_mut().for_each(Run::look);
}

async fn wait_for(running: &mut Running, wait: Wait) {
    let begun = running.values().filter(|run| run.done.is_none());
    // Those that were begun by an earlier reload have been waited for.
    let latest = begun.map(|run| run.begun).max();
    let pause = match wait {
        Wait::WhileLoading => BETWEEN_LOADS,
        Wait::ForAll | Wait::Briefly => BRIEFLY,
    };
    let mut until = latest.unwrap_or_else(Instant::now) + pause;
    let mut pending: FuturesUnordered<_> = running.values_mut().map(Run::finish).collect();
    loop {
        // Else the async runtime has a task wait after 128 looks, over and over,
        // and its time may run out on files that have been loaded.
        let next = unconstrained(pending.next());
        let ended = match wait {
            Wait::ForAll => next.await,
            Wait::WhileLoading | Wait::Briefly => match timeout_at(until, next).await {
                Ok(ended) => ended,
                Err(_) => return,
            },
        };
        if ended.is_none() {
            return;
        }
        if wait == Wait::WhileLoading {
            until = Instant::now() + pause;
        }
    }
}

/// The places of what is loaded at once: those that are slow to compile have
/// places of their own, so that a few of them do not keep all others waiting.
struct Jobs {
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
}

impl Jobs {
    fn new(host: &HostLimits) -> Self {
        let jobs = match host.compile_jobs_max {
            None => available_parallelism().map_or(1, usize::from),
            Some(jobs) => jobs.min(Semaphore::MAX_PERMITS),
        };
        Self {
            quick: Arc::new(Semaphore::new(jobs)),
            slow: Arc::new(Semaphore::new(jobs)),
        }
    }

    async fn run(&self, load: Load) -> Option<HandlerFile> {
        // Before reading, so that many large files are not in memory at once.
        let place = Arc::clone(&self.quick).acquire_owned().await;
        let mut loading = tokio::task::spawn_blocking(move || load.run());
        let ended = tokio::select! {
            ended = &mut loading => ended,
            slow = self.slow_place() => {
                drop(place);
                let ended = loading.await;
                drop(slow);
                ended
            }
        };
        match ended {
            Ok(loaded) => loaded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The async runtime ends, and so does the host.
                Err(_) => None,
            },
        }
    }

    async fn slow_place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        sleep(SLOW_AFTER).await;
        Arc::clone(&self.slow).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ended: oneshot::Receiver<Option<HandlerFile>>) -> Run {
        Run {
            seen: None,
            // What a reload waits is over.
            begun: Instant::now() - 2 * BETWEEN_LOADS,
            ended,
            done: None,
            path: "plugins/x.wasm".into(),
            _stop: CancellationToken::new().drop_guard(),
        }
    }

    /// In a task of its own, as a reload is: the runtime lets it look at so many
    /// channels only before others get their turn.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_look_takes_up_all_that_have_ended() {
        for wait in [Wait::Briefly, Wait::WhileLoading, Wait::ForAll] {
            let (tasks, news) = (TaskTracker::new(), Arc::default());
            let begin = |number: usize| {
                let ended = spawn(&tasks, &news, async { None });
                (PathBuf::from(number.to_string()), run(ended))
            };
            let mut running: Running = (0..2_000).map(begin).collect();
            tasks.close();
            tasks.wait().await;
            let settled = tokio::spawn(async move {
                wait_for(&mut running, wait).await;
                running
            });
            let running = settled.await.unwrap();
            let left = running.values().filter(|run| run.done.is_none()).count();
            assert_eq!(left, 0, "{wait:?}");
        }
    }

    #[tokio::test]
    async fn what_the_news_tell_of_is_there_also_after_a_panic() {
        let (tasks, news) = (TaskTracker::new(), Arc::default());
        let mut run = run(spawn(&tasks, &news, async { panic!("as a test wants it") }));
        news.notified().await;
        run.look();
        let failed = run.done.flatten().and_then(|file| file.error);
        let failed = failed.unwrap().to_string();
        assert!(failed.contains("the host failed to load it"), "{failed}");
    }
}
