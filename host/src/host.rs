//! Owns the composition of a host from a [`Config`], and its life cycle. What embeds
//! the library starts here. Each state is a type with what can be done in it:
//!
//! [`Unloaded`] (give it a queue) → [`Loading`] (serve it already) → [`Loaded`] (start
//! the queue's work, watch the files) → [`Host`] (run commands, stop).

use std::{ops::Deref, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    access::Access,
    budget::Budgets,
    command::Command,
    config::Config,
    diagnostic::Diagnostic,
    dispatcher::{DispatchError, DispatchOptions, Dispatcher},
    name::HandlerName,
    outcome::Report,
    queue::{Queue, QueueError},
    reload::{self, Reload, Reloader, Wait},
    sandbox::Runtime,
    shutdown::{KILL_MAX, Shutdown},
    snapshot::{Snapshot, Snapshots},
    telemetry::Telemetry,
    tls::Tls,
};

/// A store that does not close in that time is left: its disk or server hangs.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A host that takes commands, shared by all that hand them in. Dropping it leaves
/// running handlers to the tokio runtime; [`Host::stop`] ends them in an orderly way.
pub struct Host {
    config: Config,
    snapshots: Arc<Snapshots>,
    reloader: Arc<Reloader>,
    dispatcher: Dispatcher,
    shutdown: Shutdown,
    queue: Option<Queue>,
    budgets: Budgets,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
}

/// A host that has loaded nothing and is not shared yet.
pub struct Unloaded(Host);

/// A host that may be shared, and loads its files: commands wait until it has.
pub struct Loading(Arc<Host>);

/// A host that has loaded its files and does not watch for changes yet.
pub struct Loaded(Arc<Host>);

impl Unloaded {
    /// A host without a queue.
    ///
    /// # Errors
    /// If this machine cannot run WebAssembly.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let budgets = Budgets::here(&config.budgets());
        let runtime = Runtime::new(&config.host.sandbox, &config.limits, &budgets)?;
        Ok(Self(Host::with(config, runtime, budgets)))
    }

    /// Like [`Self::new`], for a host under a supervisor that restarts it: a component
    /// on which the process died while compiling is not tried again.
    ///
    /// # Errors
    /// If this machine cannot run WebAssembly.
    pub fn restarted(config: Config) -> anyhow::Result<Self> {
        let budgets = Budgets::here(&config.budgets());
        let runtime = Runtime::new(&config.host.sandbox, &config.limits, &budgets)?.leaving_notes();
        Ok(Self(Host::with(config, runtime, budgets)))
    }

    /// Reads the files of `http.tls`, if the settings name any. A server does so too:
    /// this says earlier what is wrong with them.
    ///
    /// # Errors
    /// What is wrong with which file, and how to get it right.
    pub async fn load_certificate(&self) -> Result<(), Diagnostic> {
        match &self.0.tls {
            Some(tls) => tls.load().await,
            None => Ok(()),
        }
    }

    /// Enables tracing. Call it before [`Self::with_queue`].
    #[must_use]
    pub fn traced(self, telemetry: Telemetry) -> Self {
        let Self(host) = self;
        let dispatcher = host.dispatcher.traced(telemetry);
        Self(Host { dispatcher, ..host })
    }

    /// Opens the durable queue that the settings name, if any. Until [`Loaded::work`],
    /// it only accepts commands.
    ///
    /// # Errors
    /// The store's.
    pub async fn with_queue(self) -> Result<Self, QueueError> {
        let Self(host) = self;
        let queue = Queue::open(&host.config.queue, host.dispatcher.clone()).await?;
        Ok(Self(Host { queue, ..host }))
    }

    /// Shares the host, so that it can be served before it has loaded its files.
    #[must_use]
    pub fn share(self) -> Loading {
        Loading(Arc::new(self.0))
    }

    /// Loads the files in the folders, and waits for them as `wait` says.
    pub async fn load(self, wait: Wait) -> Loaded {
        self.share().load(wait).await
    }
}

impl Loading {
    /// Returns the shared host.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.0
    }

    /// Loads the files in the folders, and waits for them as `wait` says. Broken files are
    /// not errors: they are listed as [problems](Snapshot::problems) of the snapshot.
    pub async fn load(self, wait: Wait) -> Loaded {
        self.0.reloader.reload_within(wait).await;
        Loaded(self.0)
    }
}

impl Loaded {
    /// Returns the shared host.
    #[must_use]
    pub fn host(&self) -> &Arc<Host> {
        &self.0
    }

    /// Waits until none of these handlers is being compiled.
    pub async fn wait_for(&self, handlers: &[HandlerName]) {
        self.0.reloader.wait_for(handlers).await;
    }

    /// Starts running the deliveries of the queue, if there is one. Further calls do nothing.
    pub fn work(&self) {
        if let Some(queue) = &self.0.queue {
            queue.work();
        }
    }

    /// Hot-reloads changed files from now on, until the host stops. `on_reload` is called
    /// for each reload that changed something.
    pub fn watch(self, on_reload: impl Fn(&Reload) + Send + Sync + 'static) -> Arc<Host> {
        let Self(host) = self;
        let reloader = Arc::clone(&host.reloader);
        let stop = host.shutdown.draining.clone();
        let on_reload = Arc::new(on_reload);
        let Shutdown {
            tasks, supervisor, ..
        } = &host.shutdown;
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
        host
    }
}

impl Deref for Loaded {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.0
    }
}

impl Host {
    /// Loads `plugins/` and `rules/`, without a queue; use [`Unloaded`] for more control.
    ///
    /// # Errors
    /// If this machine cannot run WebAssembly.
    pub async fn load(config: Config) -> anyhow::Result<Loaded> {
        Ok(Unloaded::new(config)?.load(Wait::ForAll).await)
    }

    fn with(config: Config, runtime: Runtime, budgets: Budgets) -> Self {
        let shutdown = Shutdown::default();
        let snapshots = Arc::new(Snapshots::default());
        let reloader = Reloader::new(config.clone(), runtime, Arc::clone(&snapshots));
        let tls = Tls::new(&config.http.tls);
        let access = Access::new(config.http.tokens.clone(), config.http.tokens_file.clone());
        let access = match tls {
            Some(_) => access.over_tls(),
            None => access,
        };
        Self {
            dispatcher: Dispatcher::new(Arc::clone(&snapshots), shutdown.clone(), &config.host),
            reloader: Arc::new(reloader),
            snapshots,
            shutdown,
            access: Arc::new(access),
            tls: tls.map(Arc::new),
            config,
            queue: None,
            budgets,
        }
    }

    /// Returns the durable queue, if it was opened.
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
        options: DispatchOptions,
    ) -> Result<Report, DispatchError> {
        self.dispatcher.dispatch(command, options).await
    }

    /// Returns the shared dispatcher.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Returns the current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// Returns the settings that it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the host-wide budgets.
    #[must_use]
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Returns the tokens and roles.
    #[must_use]
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// What it speaks TLS with, if it does.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Returns the shutdown handle.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Shuts down gracefully: accepts nothing new, waits up to the configured grace
    /// period for running commands, then cancels the rest. Cancelled deliveries return
    /// to the queue. Returns whether everything finished in time.
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
