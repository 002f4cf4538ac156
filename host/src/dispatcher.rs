//! Turns a [`Command`] into a [`Report`]: on one snapshot, with one task and one fresh
//! instance per matched handler, all running concurrently.

mod line;
mod route;
mod run;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use line::{Instances, Line};
pub use route::Routed;
use route::Routing;
use run::{Observed, Run};

use crate::{
    command::Command,
    config::HostLimits,
    diagnostic::Diagnostic,
    metrics::Metrics,
    name::{HandlerName, nearest},
    outcome::{Failure, HandlerReport, LogLine, Report, Status},
    rules::{Match, RoutingError},
    sandbox::{Call, Handler, Services},
    shutdown::{Shutdown, Supervisor},
    snapshot::{Snapshot, Snapshots},
    telemetry::{SpanKind, Telemetry},
};

/// Dispatches commands. Clones share everything.
#[derive(Clone)]
pub struct Dispatcher {
    snapshots: Arc<Snapshots>,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    // One for each place: see `Handler::places`.
    instances: Arc<Line>,
    instances_max: u32,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    command_max_bytes: usize,
    routing: Arc<Routing>,
    // Known once the queue is open.
    services: Arc<OnceLock<Services>>,
    telemetry: Option<Telemetry>,
}

/// The options for dispatching one command.
#[derive(Clone, Default)]
pub struct DispatchOptions {
    /// Cancels the other handlers as soon as one does not succeed.
    pub fail_fast: bool,
    /// Cancels all handlers when the future of the dispatch is dropped.
    /// Otherwise they finish, and their results are discarded.
    pub cancel_on_drop: bool,
    /// Runs a single handler in the task that awaits the dispatch, which saves a task.
    /// The handler makes progress only while that task polls: for callers that do
    /// nothing else meanwhile.
    pub in_place: bool,
    /// Receives events as they happen. Called from several tasks: it must not block.
    pub observer: Option<Observer>,
}

/// How long a command waits for a host that is starting. Most starts take less than
/// a second.
const START_MAX: Duration = Duration::from_secs(10);

/// Receives the events of one command.
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// An event of one handler.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Its task began.
    Started(&'a HandlerName),
    /// It wrote a line.
    Log(&'a HandlerName, &'a LogLine),
    /// It ended.
    Finished(&'a HandlerReport),
}

/// Why a command was not dispatched. No handler was called.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// No rule matched.
    #[error("{}", self.diagnostic())]
    NoMatchingHandler {
        /// The rule that came nearest to matching, and why it did not.
        hint: Option<String>,
    },
    /// The maximum number of commands is already waiting.
    #[error(
        "{waiting} commands are waiting for a free instance already: try again, or raise `host.waiting_max` or `host.instances_max`"
    )]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// Nothing is loaded yet.
    #[error("the host is starting: no rules are loaded yet")]
    Starting,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    Draining,
    /// The attributes cannot be routed.
    /// Not a source: the message has it.
    #[error("{}", self.diagnostic())]
    Attributes(RoutingError),
}

impl From<RoutingError> for DispatchError {
    fn from(error: RoutingError) -> Self {
        Self::Attributes(error)
    }
}

impl DispatchError {
    /// The code of [`DispatchError::NoMatchingHandler`].
    pub const NO_MATCHING_HANDLER: &'static str = "no-matching-handler";

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoMatchingHandler { .. } => Self::NO_MATCHING_HANDLER,
            Self::Busy { .. } => "busy",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Attributes(error) => error.code(),
        }
    }

    /// Whether the rules are the reason, so that changed rules might accept the command.
    pub(crate) fn is_of_rules(&self) -> bool {
        matches!(self, Self::NoMatchingHandler { .. } | Self::Attributes(_))
    }

    /// The same as each other thing to fix.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let code = self.code();
        match self {
            Self::NoMatchingHandler { hint } => {
                Diagnostic::error(code, "no matching handler found").maybe_hint(hint.as_deref())
            }
            Self::Attributes(error) => {
                let error = error.diagnostic();
                let message = format!("the command cannot be routed: {}", error.message());
                Diagnostic::error(code, message).maybe_hint(error.hint_text())
            }
            Self::Busy { .. } | Self::Starting | Self::Draining => {
                Diagnostic::error(code, self.to_string())
            }
        }
    }
}

/// One attempt of a delivery.
pub struct Attempt {
    /// 1 on the first.
    pub number: u32,
    /// The length of the chain of commands, each emitted by the one before, that led to it.
    pub depth: u32,
    /// Cancels it.
    pub cancel: CancellationToken,
}

impl Dispatcher {
    /// Supervises the tasks that must not end before the host does.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.shutdown.supervisor
    }

    /// A dispatcher over `snapshots` that counts its tasks in `shutdown`.
    #[must_use]
    pub fn new(snapshots: Arc<Snapshots>, shutdown: Shutdown, limits: &HostLimits) -> Self {
        Self {
            snapshots,
            shutdown,
            metrics: Arc::default(),
            instances: Line::new(limits.sandbox.instances_max),
            instances_max: limits.sandbox.instances_max,
            waiting: Arc::default(),
            waiting_max: limits.waiting_max as usize,
            command_max_bytes: limits.command_max_bytes,
            routing: Arc::new(Routing::new(limits.routing_steps_max)),
            services: Arc::default(),
            telemetry: None,
        }
    }

    /// Enables tracing.
    pub(crate) fn traced(self, telemetry: Telemetry) -> Self {
        Self {
            telemetry: Some(telemetry),
            ..self
        }
    }

    /// Where traces are sent, if anywhere.
    #[must_use]
    pub fn telemetry(&self) -> Option<&Telemetry> {
        self.telemetry.as_ref()
    }

    /// Routes one command and runs every matched handler, each in its own task
    /// (but see [`DispatchOptions::in_place`]) and its own sandbox. Each handler's result is an [`Outcome`](crate::outcome::Outcome) in the report,
    /// and does not affect the other handlers.
    ///
    /// # Errors
    /// [`DispatchError`]; then no handler ran.
    pub async fn dispatch(
        &self,
        command: Command,
        options: DispatchOptions,
    ) -> Result<Report, DispatchError> {
        let result = self.report(command, options).await;
        if let Err(error) = &result {
            self.metrics.refused(error.code());
        }
        result
    }

    /// Sets the services that calls use. Only the first call has an effect.
    pub(crate) fn provide(&self, services: Services) {
        let taken = self.services.set(services);
        debug_assert!(taken.is_ok(), "a host opens its queue once");
    }

    /// The same without the services: what these hold must not hold them.
    pub(crate) fn without_services(&self) -> Self {
        Self {
            services: Arc::default(),
            ..self.clone()
        }
    }

    /// The maximum size of a command in bytes, wherever it comes from.
    pub(crate) fn command_max_bytes(&self) -> usize {
        self.command_max_bytes
    }

    /// The metrics of commands and calls so far.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn report(
        &self,
        command: Command,
        options: DispatchOptions,
    ) -> Result<Report, DispatchError> {
        let started_at = Timestamp::now();
        let started = Instant::now();
        self.started().await;
        let Routed {
            snapshot, matches, ..
        } = self.route(&command).await?.matched()?;
        let permits = self.admit(places(&snapshot, &matches)).await?;
        let run = Arc::new(Run {
            command,
            handlers: matches.len(),
            succeeded: AtomicUsize::new(0),
            telemetry: self.telemetry.clone(),
            metrics: Arc::clone(&self.metrics),
            started,
            // A token of its own only where it may be cancelled alone: the
            // tree of tokens has locks.
            cancel: match options.fail_fast || options.cancel_on_drop {
                true => self.shutdown.abort.child_token(),
                false => self.shutdown.abort.clone(),
            },
            observer: options.observer,
            fail_fast: options.fail_fast,
            in_place: options.in_place,
            services: Arc::clone(&self.services),
            _permits: permits,
        });
        let _cancel_on_drop = options
            .cancel_on_drop
            .then(|| run.cancel.clone().drop_guard());
        let handlers = run.all(&self.shutdown, &snapshot, matches).await;
        Ok(Report {
            command_id: run.command.id,
            status: Report::status_of(&handlers),
            generation: snapshot.generation,
            started_at,
            duration: started.elapsed(),
            handlers,
        })
    }

    /// Waits while nothing is loaded yet, as in the first moments of a host; not
    /// for long.
    pub async fn started(&self) {
        let started = self.snapshots.first();
        let started = self.shutdown.draining.run_until_cancelled(started);
        // Then the command is refused, as it is when the host drains.
        let _ = tokio::time::timeout(START_MAX, started).await;
    }

    /// Runs one handler on one command in the caller's task, without routing: for
    /// callers that have stored and routed the command before. Waits in line for a
    /// free instance, even while the host drains; `cancel` cancels the wait or the call.
    pub async fn run_one(
        &self,
        command: &Command,
        handler: &HandlerName,
        attempt: Attempt,
    ) -> HandlerReport {
        let started = Instant::now();
        let before = self.snapshots.current().handlers.get(handler).cloned();
        let places = before.map_or(1, |loaded| loaded.places());
        let places = places.min(self.instances_max);
        let permit = attempt
            .cancel
            .run_until_cancelled(self.instances.take(places));
        let Some(_permit) = permit.await else {
            let cancelled = Failure::new(
                Status::Cancelled,
                format!("`{handler}`: cancelled while it waited for a free instance"),
            );
            return HandlerReport::not_run(handler.clone(), started.elapsed(), cancelled);
        };
        let snapshot = self.snapshots.current();
        let call = Call {
            attempt: attempt.number,
            started,
            on_line: None,
            cancel: &attempt.cancel,
            simulation: None,
            services: self.services.get().unwrap_or(&Services::NONE),
            depth: attempt.depth,
        };
        let loaded = loaded(&snapshot, handler);
        let observed = Observed {
            metrics: &self.metrics,
            telemetry: self.telemetry.as_ref(),
            kind: SpanKind::Consumer,
        };
        run::called(observed, command, (handler.clone(), loaded), call).await
    }

    /// What commands are dispatched with now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.current()
    }

    /// Waits in line for as many free slots as the command needs.
    async fn admit(&self, places: u32) -> Result<Instances, DispatchError> {
        // A command that needs more places than there are takes them all.
        let wanted = places.min(self.instances_max);
        if let Some(instances) = self.instances.try_take(wanted) {
            return Ok(instances);
        }
        let _place = Place::take(&self.waiting, self.waiting_max)?;
        tokio::select! {
            () = self.shutdown.draining.cancelled() => Err(DispatchError::Draining),
            instances = self.instances.take(wanted) => Ok(instances),
        }
    }
}

/// A place in the bounded line of waiting commands.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Result<Self, DispatchError> {
        let before = waiting.fetch_add(1, Relaxed);
        let place = Self(waiting);
        if before >= max {
            return Err(DispatchError::Busy { waiting: before });
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How many places the handlers of a command take together; one that is not
/// loaded takes one for the moment that it takes to say so.
fn places(snapshot: &Snapshot, matches: &[Match]) -> u32 {
    let places = matches.iter().map(|matched| {
        let loaded = snapshot.handlers.get(&matched.handler);
        loaded.map_or(1, |loaded| loaded.places())
    });
    places.fold(0, u32::saturating_add)
}

fn loaded(snapshot: &Snapshot, handler: &HandlerName) -> Result<Arc<Handler>, Failure> {
    let loaded = snapshot.handlers.get(handler).cloned();
    loaded.ok_or_else(|| not_loaded(handler, snapshot))
}

/// A rule may name a handler that is not there, or not there yet.
fn not_loaded(handler: &HandlerName, snapshot: &Snapshot) -> Failure {
    let file = snapshot.handler_files.iter().find(|file| {
        file.path
            .file_stem()
            .is_some_and(|stem| stem == handler.as_str())
    });
    let reason = match file {
        Some(file) if file.compiling => "its file is still being compiled".into(),
        // The reason quotes files of the operator, and this goes to any caller.
        Some(file) if file.error.is_some() => "the host refused its file or settings; `GET /plugins`, `pointsman list` and the log say why".into(),
        _ => {
            let names = snapshot.handlers.keys().map(HandlerName::as_str);
            let near = nearest(handler.as_str(), names)
                .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            format!("{near}there is no `{handler}.wasm` in the plugins folder")
        }
    };
    Failure::new(
        Status::Unavailable,
        format!("handler `{handler}` is not loaded: {reason}"),
    )
}
