//! The queue of a host: opens the store that the settings name, routes commands into
//! it, and runs them with a worker.

mod bulk;
mod runner;
mod schedules;
mod services;

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use bulk::{
    BULK_MAX, BulkEntry, BulkError, BulkItem, Faults, Numbered, key_of_line, parse_lines,
};
pub use pointsman_queue::*;
pub use schedules::ScheduleView;

use self::{
    runner::HandlerRunner,
    schedules::Scheduler,
    worker::{Drained, Worker, WorkerConfig},
};
use crate::{
    command::Command,
    dispatcher::{DispatchError, Dispatcher, Routed},
};

/// The queue of one host.
pub struct Queue {
    store: Arc<dyn Store>,
    dispatcher: Dispatcher,
    config: QueueSettings,
    work: Mutex<Work>,
}

/// Whether deliveries run. It begins once and ends once.
#[derive(Default)]
enum Work {
    #[default]
    NotBegun,
    Runs(Worker, Background),
    Ended,
}

/// What runs beside the worker.
#[derive(Default)]
struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Work {
    fn worker(&self) -> Option<&Worker> {
        match self {
            Self::Runs(worker, _) => Some(worker),
            Self::NotBegun | Self::Ended => None,
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Why a command was not stored.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// No handler matched.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
    /// The queue refused it, or failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl EnqueueError {
    /// The stable code, in kebab-case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dispatch(error) => error.code(),
            Self::Queue(error) => error.code(),
        }
    }
}

impl Queue {
    /// Opens the store, or returns `None` if the engine is `off`. Nothing runs before
    /// [`Loaded::work`](crate::host::Loaded::work).
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        config: &QueueSettings,
        dispatcher: Dispatcher,
    ) -> Result<Option<Self>, QueueError> {
        let Some(store) = pointsman_queue::open(config, dispatcher.supervisor()).await? else {
            return Ok(None);
        };
        dispatcher.provide(services::services(&store, &dispatcher, config));
        Ok(Some(Self {
            store,
            dispatcher,
            config: config.clone(),
            work: Mutex::default(),
        }))
    }

    /// Starts running deliveries on the current runtime. Further calls do nothing.
    pub(crate) fn work(&self) {
        let mut work = self.state();
        if !matches!(*work, Work::NotBegun) {
            return;
        }
        let runner = HandlerRunner::new(self.dispatcher.clone(), &self.config);
        let config = WorkerConfig {
            supervisor: self.dispatcher.supervisor().clone(),
            ..WorkerConfig::from(&self.config)
        };
        let worker = Worker::start(Arc::clone(&self.store), Arc::new(runner), config);
        let background = Background::default();
        let scheduler = Arc::new(Scheduler {
            store: Arc::clone(&self.store),
            dispatcher: self.dispatcher.clone(),
            accept_unmatched: self.config.accept_unmatched,
        });
        let (supervisor, stop) = (self.dispatcher.supervisor(), background.stop.clone());
        supervisor.spawn(&background.tasks, "schedules", stop.clone(), move || {
            let (scheduler, stop) = (Arc::clone(&scheduler), stop.clone());
            async move { scheduler.run(&stop).await }
        });
        background.tasks.close();
        *work = Work::Runs(worker, background);
    }

    fn state(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Whether the worker has claimed or polled within the last seconds, and the store
    /// works.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.state().worker().is_some_and(Worker::healthy)
            && self.trouble().is_none_or(|trouble| !trouble.lasts)
    }

    /// The problem that keeps the store from working, if any.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.store.signals().trouble()
    }

    /// How many deliveries run here now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.state().worker().map_or(0, Worker::running)
    }

    /// Routes the command and stores it with all its deliveries. Returns after the
    /// commit.
    ///
    /// # Errors
    /// [`EnqueueError`]; then nothing is stored (but see [`QueueError::Unavailable`]).
    pub async fn enqueue(
        &self,
        command: &Command,
        options: EnqueueOptions,
    ) -> Result<Accepted, EnqueueError> {
        let mut span = self.dispatcher.telemetry().map(|it| it.enqueue(command));
        let traced = span.as_ref().map(|span| span.parent_of(command));
        let command = traced.as_ref().unwrap_or(command);
        let accepted = self.route_and_store(command, options).await;
        if let Err(error) = &accepted {
            self.dispatcher.metrics().refused(error.code());
            if let Some(span) = &mut span {
                span.refused(error.code());
            }
        }
        accepted
    }

    async fn route_and_store(
        &self,
        command: &Command,
        options: EnqueueOptions,
    ) -> Result<Accepted, EnqueueError> {
        let (new, refused) = self.routed(command, options).await?;
        match (accept(self.store(), new).await, refused) {
            (Err(QueueError::NotRepeated), Some(error)) => Err(error.into()),
            (accepted, _) => Ok(accepted?),
        }
    }

    /// The command as the store takes it. Where the rules refuse it, with why: one that has
    /// an idempotency key may have been stored under other rules, and is answered as it was.
    async fn routed(
        &self,
        command: &Command,
        options: EnqueueOptions,
    ) -> Result<(NewCommand, Option<DispatchError>), EnqueueError> {
        self.config.check_run_at(options.run_at)?;
        self.dispatcher.started().await;
        let mut routed = self.dispatcher.route(command).await;
        if !self.config.accept_unmatched {
            routed = routed.and_then(Routed::matched);
        }
        let new = NewCommand {
            id: command.id,
            idempotency_key: options.idempotency_key,
            idempotency_kept: self.config.idempotency,
            same_by_key: options.same_by_key,
            dedup: options.dedup,
            traceparent: command.traceparent.as_deref().map(str::to_owned),
            priority: options.priority,
            run_at: options.run_at,
            ordering_key: options.ordering_key,
            rerun_of: options.rerun_of,
            ..NewCommand::new(command.attributes(), Vec::new())
        };
        match routed {
            Ok(routed) => Ok((
                NewCommand {
                    rules_generation: routed.snapshot.generation,
                    deliveries: services::deliveries(&self.dispatcher, &routed, command).await?,
                    ..new
                },
                None,
            )),
            Err(error) if error.is_of_rules() && new.idempotency_key.is_some() => {
                let repeat = NewCommand {
                    may_be_new: false,
                    ..new
                };
                Ok((repeat, Some(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stops claiming, waits up to `grace` for running deliveries and releases the rest.
    /// The store stays open.
    pub async fn drain(&self, grace: Duration) -> Drained {
        let work = mem::replace(&mut *self.state(), Work::Ended);
        match work {
            Work::Runs(worker, background) => {
                background.stop.cancel();
                let (drained, ended) = tokio::join!(
                    worker.drain(grace),
                    tokio::time::timeout(grace, background.tasks.wait())
                );
                if ended.is_err() {
                    tracing::warn!("the store did not answer a schedule before the grace was over");
                }
                drained
            }
            Work::NotBegun | Work::Ended => Drained::default(),
        }
    }
}
