//! Owns the queue of one host: opens the store that the settings name, routes
//! commands into it, and has a worker take them out again.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Clock, DeliveryId, NewCommand, NewDelivery, QueueError, Store, SystemClock, Timestamp, Trouble,
    postgres::{Postgres, PostgresConfig},
    runner::HandlerRunner,
    signals::Part,
    sqlite::{Sqlite, SqliteConfig},
    worker::{Drained, Worker, WorkerConfig},
};
use crate::{
    command::{Command, CommandId},
    config::{QueueConfig, QueueEngine, hours},
    dispatcher::{DispatchError, Dispatcher},
    shutdown::Supervisor,
};

/// The queue of one host.
pub struct Queue {
    store: Arc<dyn Store>,
    dispatcher: Dispatcher,
    config: QueueConfig,
    // None before the work began, and after the drain.
    worker: Mutex<Option<Worker>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What a caller asks of one command, besides its attributes.
#[derive(Clone, Debug, Default)]
pub struct EnqueueOptions {
    /// The same key with the same attributes answers the first id.
    pub idempotency_key: Option<String>,
    /// Higher runs first, among the deliveries that wait.
    pub priority: i32,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// Deliveries of one handler with the same key run one after the other.
    pub ordering_key: Option<String>,
}

/// A command that is stored.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its id: that of an earlier command where the idempotency key was known.
    pub id: CommandId,
    /// Whether it was stored before.
    pub repeated: bool,
    /// By handler name.
    pub deliveries: Vec<DeliveryId>,
    /// Whether it was stored before, ended, and is no longer kept: its
    /// idempotency key is remembered longer. Then it has no deliveries here.
    pub removed: bool,
}

/// Why a command was not stored.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// It goes nowhere.
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
    /// Opens the store; none where the settings say `off`. Nothing runs before
    /// [`Queue::work`].
    ///
    /// # Errors
    /// The store's.
    pub async fn open(
        config: &QueueConfig,
        dispatcher: Dispatcher,
    ) -> Result<Option<Self>, QueueError> {
        let Some(store) = open_store(config, dispatcher.supervisor()).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            store,
            dispatcher,
            config: config.clone(),
            worker: Mutex::default(),
        }))
    }

    /// Starts to run deliveries, on the current runtime.
    pub fn work(&self) {
        let runner = HandlerRunner::new(self.dispatcher.clone(), &self.config.retry);
        let config = WorkerConfig {
            supervisor: self.dispatcher.supervisor().clone(),
            ..WorkerConfig::from(&self.config)
        };
        let worker = Worker::start(Arc::clone(&self.store), Arc::new(runner), config);
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
    }

    /// Where the commands are.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Whether the worker claimed, or looked, within the last seconds, and the
    /// store does its work.
    #[must_use]
    pub fn healthy(&self) -> bool {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.as_ref().is_some_and(Worker::healthy)
            && self.trouble().is_none_or(|trouble| !trouble.lasts)
    }

    /// What keeps the store from its work, if anything does.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.store.signals().trouble()
    }

    /// How many deliveries run here now.
    #[must_use]
    pub fn running(&self) -> usize {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.as_ref().map_or(0, Worker::running)
    }

    /// Routes the command and stores it with all its deliveries. Answers after
    /// the commit.
    ///
    /// # Errors
    /// [`EnqueueError`]; then nothing is stored (but see [`QueueError::Unavailable`]).
    pub async fn enqueue(
        &self,
        command: &Command,
        options: EnqueueOptions,
    ) -> Result<Accepted, EnqueueError> {
        let accepted = self.route_and_store(command, options).await;
        let signals = self.store.signals();
        match &accepted {
            Ok(_) => signals.accepted(),
            Err(error) => {
                self.dispatcher.metrics().refused(error.code());
                if let EnqueueError::Queue(error) = error
                    && error.is_engine()
                {
                    signals.failed(Part::Intake, error);
                }
            }
        }
        accepted
    }

    /// Refuses a time that is so far ahead that it is most likely a mistake.
    fn check_time(&self, run_at: Option<Timestamp>) -> Result<(), QueueError> {
        let days = self.config.run_at_max_days;
        let latest = SystemClock.now().after(hours(days.saturating_mul(24)));
        match run_at {
            Some(time) if time > latest => Err(QueueError::Invalid {
                field: "runAt",
                reason: format!(
                    "is more than {days} days ahead, the limit that `queue.run_at_max_days` sets"
                ),
            }),
            _ => Ok(()),
        }
    }

    async fn route_and_store(
        &self,
        command: &Command,
        options: EnqueueOptions,
    ) -> Result<Accepted, EnqueueError> {
        self.check_time(options.run_at)?;
        self.dispatcher.started().await;
        let mut routed = self.dispatcher.route(command).await?;
        if !self.config.accept_unmatched {
            routed = routed.matched()?;
        }
        let plugins = &routed.snapshot.plugins;
        let deliveries = routed.matches.iter().map(|matched| NewDelivery {
            handler: matched.handler.clone(),
            digest: plugins
                .get(&matched.handler)
                .map_or_else(String::new, |plugin| plugin.digest.to_string()),
            rules: matched.rules.iter().map(ToString::to_string).collect(),
        });
        let new = NewCommand {
            id: command.id,
            idempotency_key: options.idempotency_key,
            idempotency_kept: hours(self.config.idempotency_hours),
            rules_generation: routed.snapshot.generation,
            traceparent: command.traceparent.as_deref().map(str::to_owned),
            priority: options.priority,
            run_at: options.run_at,
            ordering_key: options.ordering_key,
            ..NewCommand::new(command.attributes(), deliveries.collect())
        };
        let handlers: Vec<_> = new.deliveries.iter().map(|d| d.handler.clone()).collect();
        let enqueued = self.store.enqueue(vec![new]).await?;
        let stored = enqueued.first().ok_or(QueueError::Closed)?;
        let first = if stored.repeated {
            // The rules may have changed since the first one was routed.
            self.first_deliveries(stored.id).await?
        } else {
            let of = |handler| DeliveryId {
                command: stored.id,
                handler,
            };
            Some(handlers.into_iter().map(of).collect())
        };
        Ok(Accepted {
            id: stored.id,
            repeated: stored.repeated,
            removed: first.is_none(),
            deliveries: first.unwrap_or_default(),
        })
    }

    /// The deliveries of a command that was stored before; none where only its
    /// idempotency key is still kept.
    async fn first_deliveries(&self, id: CommandId) -> Result<Option<Vec<DeliveryId>>, QueueError> {
        match self.store.glance(id).await {
            Ok(first) => Ok(Some(first.deliveries.into_iter().map(|d| d.id).collect())),
            Err(QueueError::UnknownCommand(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops claiming, waits up to `grace` for what runs, gives the rest back.
    /// The store stays open.
    pub async fn drain(&self, grace: Duration) -> Drained {
        let worker = self
            .worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match worker {
            Some(worker) => worker.drain(grace).await,
            None => Drained::default(),
        }
    }
}

/// The store that the settings name; none for `off`.
async fn open_store(
    config: &QueueConfig,
    supervisor: &Supervisor,
) -> Result<Option<Arc<dyn Store>>, QueueError> {
    match config.engine {
        QueueEngine::Off => Ok(None),
        QueueEngine::Sqlite => {
            let settings = SqliteConfig {
                depth_max: config.depth_max,
                size_max_bytes: (config.size_max_bytes > 0).then_some(config.size_max_bytes),
                ..SqliteConfig::new(&config.folder)
            };
            let opened = tokio::task::spawn_blocking(|| Sqlite::open(settings)).await;
            let opened = opened.map_err(|error| QueueError::Storage {
                doing: "open",
                source: error.into(),
            })?;
            Ok(Some(Arc::new(opened?)))
        }
        QueueEngine::Postgres => {
            if config.url.is_empty() {
                return Err(QueueError::Config(
                    "`queue.engine` is `postgres`, and `queue.url` does not say where it is: set it to postgres://user:password@host:port/database".into(),
                ));
            }
            let root = &config.root_certificates;
            let settings = PostgresConfig {
                schema: config.schema.clone(),
                root_certificates: (!root.as_os_str().is_empty()).then(|| root.clone()),
                connections: config.connections,
                timeout: Duration::from_millis(config.timeout_ms),
                pooler: config.pooler,
                supervisor: supervisor.clone(),
                depth_max: config.depth_max,
                ..PostgresConfig::new(&config.url)
            };
            Ok(Some(Arc::new(Postgres::open(settings).await?)))
        }
    }
}
