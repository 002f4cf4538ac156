//! Owns the composition: builds every part of a host from a [`Config`], starts
//! it and ends it. What embeds the library starts here.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    budget::Budgets,
    command::Command,
    config::Config,
    dispatcher::{DispatchError, Dispatcher, Options},
    name::HandlerName,
    outcome::Report,
    queue::{Queue, QueueError},
    reload::{self, Reload, Reloader, Wait},
    sandbox::Runtime,
    shutdown::{KILL_MAX, Shutdown},
    snapshot::{Snapshot, Snapshots},
};

/// A store that does not close in that time is left: its disk or server hangs.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A running host. Dropping it leaves running handlers to the tokio runtime;
/// [`App::stop`] ends them in an orderly way.
pub struct App {
    config: Config,
    snapshots: Arc<Snapshots>,
    reloader: Arc<Reloader>,
    dispatcher: Dispatcher,
    shutdown: Shutdown,
    queue: Option<Queue>,
    budgets: Budgets,
}

impl App {
    /// Loads `plugins/` and `rules/`. Broken files are no error: they are
    /// [problems](Snapshot::problems) of the snapshot.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let app = Self::new(config)?;
        app.load(Wait::ForAll).await;
        Ok(app)
    }

    /// A host that has not loaded anything yet; [`App::load`] does. Until then it
    /// takes no commands.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let budgets = Budgets::here(&config.budgets());
        let runtime = Runtime::new(&config.host.sandbox, &config.limits, &budgets)?;
        Ok(Self::with(config, runtime, budgets))
    }

    /// The same for a host that something starts again when it died: a component
    /// that it died on while compiling is not tried again.
    ///
    /// # Errors
    /// When this machine cannot run WebAssembly.
    pub fn restarted(config: Config) -> anyhow::Result<Self> {
        let budgets = Budgets::here(&config.budgets());
        let runtime = Runtime::new(&config.host.sandbox, &config.limits, &budgets)?.leaving_notes();
        Ok(Self::with(config, runtime, budgets))
    }

    fn with(config: Config, runtime: Runtime, budgets: Budgets) -> Self {
        let shutdown = Shutdown::default();
        let snapshots = Arc::new(Snapshots::default());
        let reloader = Reloader::new(config.clone(), runtime, Arc::clone(&snapshots));
        Self {
            dispatcher: Dispatcher::new(Arc::clone(&snapshots), shutdown.clone(), &config.host),
            reloader: Arc::new(reloader),
            snapshots,
            shutdown,
            config,
            queue: None,
            budgets,
        }
    }

    /// Loads what is in the folders, and waits for it as `wait` says. Not while
    /// [`App::watch`] does the same.
    pub async fn load(&self, wait: Wait) -> Reload {
        self.reloader.reload_within(wait).await
    }

    /// Waits until none of these handlers is being compiled. Not while
    /// [`App::watch`] loads files.
    pub async fn wait_for(&self, handlers: &[HandlerName]) {
        self.reloader.wait_for(handlers).await;
    }

    /// Takes up changed files from now on, until the app stops. `on_reload`
    /// hears of each reload that changed something.
    pub fn watch(&self, on_reload: impl Fn(&Reload) + Send + Sync + 'static) {
        let reloader = Arc::clone(&self.reloader);
        let stop = self.shutdown.draining.clone();
        let on_reload = Arc::new(on_reload);
        let Shutdown {
            tasks, supervisor, ..
        } = &self.shutdown;
        supervisor.spawn(tasks, "reload", stop.clone(), move || {
            let on_reload = Arc::clone(&on_reload);
            reload::watch(
                Arc::clone(&reloader),
                stop.clone(),
                move |reload: &Reload| {
                    on_reload(reload);
                },
            )
        });
    }

    /// Opens the durable queue that the settings name, if any. Until
    /// [`Queue::work`] it only takes commands.
    ///
    /// # Errors
    /// The store's.
    pub async fn open_queue(&mut self) -> Result<Option<&Queue>, QueueError> {
        self.queue = Queue::open(&self.config.queue, self.dispatcher.clone()).await?;
        Ok(self.queue.as_ref())
    }

    /// The durable queue, where it was opened.
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    /// Runs one command; see [`Dispatcher::dispatch`].
    ///
    /// # Errors
    /// [`DispatchError`].
    pub async fn dispatch(
        &self,
        command: Command,
        options: Options,
    ) -> Result<Report, DispatchError> {
        self.dispatcher.dispatch(command, options).await
    }

    /// The dispatcher, to be shared.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// What commands run on now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// The settings that it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What all of it together may take of the machine.
    #[must_use]
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// How it ends.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Takes up nothing new, waits for what runs up to the configured grace
    /// period, cancels the rest; deliveries of the queue that were cancelled go
    /// back into it. Says whether all ended by themselves.
    pub async fn stop(&self) -> bool {
        let grace = self.config.host.shutdown_grace;
        self.shutdown.draining.cancel();
        // Nobody waits for a compilation any more.
        self.reloader.stop().await;
        let Some(queue) = &self.queue else {
            return self.shutdown.drain(grace).await;
        };
        self.shutdown.draining.cancel();
        // What is not given back in time comes back when its lease runs out.
        let drained = timeout(grace + KILL_MAX, queue.drain(grace));
        let (drained, in_time) = tokio::join!(drained, self.shutdown.drain(grace));
        match timeout(CLOSE_MAX, queue.store().close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(code = error.code(), error = ?error, "could not close the queue");
            }
            Err(_) => tracing::error!("the queue did not close within {CLOSE_MAX:?}"),
        }
        in_time && drained.is_ok_and(|drained| drained.interrupted == 0)
    }
}
