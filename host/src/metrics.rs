//! Owns the [`Metrics`] of one host: what became of commands and calls, and what
//! waits in the queue, in the OpenMetrics text format of `GET /metrics`.

mod recent;

use std::{
    sync::{Arc, OnceLock, PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet, EncodeLabelValue, LabelValueEncoder,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use rustc_hash::FxHashMap;

pub use recent::{CallCount, LastMinutes, RECENT_MINUTES, Recent};

use crate::{
    budget::Budgets,
    name::HandlerName,
    outcome::{Outcome, ReportStatus, Status},
    tls::Tls,
};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts from the start of the host on.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    commands: Family<CommandLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    guard_faults: Counter,
    routed_aside: Counter,
    command_duration: Histogram,
    calls: Family<CallLabels, Counter>,
    call_duration: Family<HandlerLabels, Histogram>,
    call_cpu: Family<HandlerLabels, Counter<f64, AtomicU64>>,
    logs_dropped: Family<HandlerLabels, Counter>,
    of_handlers: RwLock<FxHashMap<HandlerName, Arc<OfHandler>>>,
    running: Gauge,
    generation: Gauge,
    recent: Recent,
}

/// What the calls of one handler count in, so that each call looks it up once.
#[derive(Debug)]
struct OfHandler {
    // As in `Status::ALL`; from the first call that ended so on.
    calls: [OnceLock<Counter>; Status::ALL.len()],
    duration: Histogram,
    cpu: Counter<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    handler: Handler,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: Handler,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    handler: Handler,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PauseLabels {
    // Empty for all handlers, which is the same as no label.
    handler: Option<Handler>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    setting: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

/// A handler's name as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Handler(HandlerName);

impl EncodeLabelValue for Handler {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.0.as_str().encode(encoder)
    }
}

/// From 100 µs, a call of a small handler, to 100 s, past the usual timeout.
fn durations() -> Histogram {
    Histogram::new([
        0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("pointsman"),
            commands: Family::default(),
            refused: Family::default(),
            guard_faults: Counter::default(),
            routed_aside: Counter::default(),
            command_duration: durations(),
            calls: Family::default(),
            call_duration: Family::new_with_constructor(durations),
            call_cpu: Family::default(),
            logs_dropped: Family::default(),
            of_handlers: RwLock::default(),
            running: Gauge::default(),
            generation: Gauge::default(),
            recent: Recent::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "commands",
            "Completed commands by status",
            self.commands.clone(),
        );
        registry.register(
            "commands_refused",
            "Valid commands that were neither run nor stored, by error code",
            self.refused.clone(),
        );
        registry.register(
            "guard_faults",
            "Guards that could not be evaluated for a command, so that their rule did not match; `pointsman explain` and debug logs show why",
            self.guard_faults.clone(),
        );
        registry.register(
            "commands_routed_aside",
            "Commands routed outside the async threads, because they are large or take many steps",
            self.routed_aside.clone(),
        );
        registry.register_with_unit(
            "command_duration",
            "Time from the start of a command to the end of its last handler",
            Unit::Seconds,
            self.command_duration.clone(),
        );
        registry.register(
            "calls",
            "Completed handler calls by status",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "call_duration",
            "Duration of handler calls",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        registry.register_with_unit(
            "call_cpu",
            "CPU time of handler calls",
            Unit::Seconds,
            self.call_cpu.clone(),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines of handlers over their limits",
            self.logs_dropped.clone(),
        );
        registry.register(
            "calls_running",
            "Handler calls in progress",
            self.running.clone(),
        );
        registry.register(
            "generation",
            "Current generation of handlers and rules",
            self.generation.clone(),
        );
    }

    /// All handlers of a command ended.
    pub fn command(&self, status: ReportStatus, duration: Duration) {
        let status = status.as_str();
        self.commands.get_or_create(&CommandLabels { status }).inc();
        self.command_duration.observe(duration.as_secs_f64());
    }

    /// A valid command was neither run nor kept; `code` is the stable code of the error.
    pub fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&RefusedLabels { code }).inc();
    }

    /// So many guards could not be evaluated for one command.
    pub fn guard_faults(&self, count: usize) {
        self.guard_faults.inc_by(count as u64);
    }

    /// The routing of a command left the async threads.
    pub fn routed_aside(&self) {
        self.routed_aside.inc();
    }

    /// A call begins, and runs until the value is dropped.
    #[must_use]
    pub fn running(&self) -> Running<'_> {
        self.running.inc();
        Running(&self.running)
    }

    /// A call of `name` ended.
    pub fn call(&self, name: &HandlerName, outcome: &Outcome, duration: Duration) {
        let handler = self.handler(name);
        let status = outcome.status();
        let calls = handler.calls[status.index()].get_or_init(|| {
            let handler = Handler(name.clone());
            let status = status.as_str();
            self.calls
                .get_or_create_owned(&CallLabels { handler, status })
        });
        calls.inc();
        self.recent.call(status == Status::Succeeded, duration);
        handler.duration.observe(duration.as_secs_f64());
        handler.cpu.inc_by(outcome.spent.cpu.as_secs_f64());
        if outcome.logs.dropped > 0 {
            let handler = Handler(name.clone());
            self.logs_dropped
                .get_or_create(&HandlerLabels { handler })
                .inc_by(outcome.logs.dropped);
        }
    }

    fn handler(&self, name: &HandlerName) -> Arc<OfHandler> {
        let known = self.of_handlers.read();
        if let Some(handler) = known.unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(handler);
        }
        let labels = HandlerLabels {
            handler: Handler(name.clone()),
        };
        let handler = Arc::new(OfHandler {
            calls: Default::default(),
            duration: self.call_duration.get_or_create_owned(&labels),
            cpu: self.call_cpu.get_or_create_owned(&labels),
        });
        let known = self.of_handlers.write();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .insert(labels.handler.0, Arc::clone(&handler));
        handler
    }

    /// Calls of the last minutes.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Everything so far, as OpenMetrics text; `queue` is how many deliveries to
    /// each handler are in which state.
    #[must_use]
    pub fn text(
        &self,
        now: &Now<'_>,
        queue: impl IntoIterator<Item = (HandlerName, &'static str, u64)>,
    ) -> String {
        self.generation.set(gauge(now.generation));
        // Made anew: what is no longer in the queue must not stay.
        let deliveries = Family::<DeliveryLabels, Gauge>::default();
        for (handler, state, count) in queue {
            let handler = Handler(handler);
            deliveries
                .get_or_create(&DeliveryLabels { handler, state })
                .set(gauge(count));
        }
        let mut of_now = Registry::with_prefix("pointsman");
        of_now.register(
            "deliveries",
            "Deliveries in the queue by state, the same from every host that shares it; `discarded` are dead-lettered",
            deliveries,
        );
        now.register(&mut of_now);
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &of_now))
            .and_then(|()| encode_eof(&mut text))
            .expect("a string takes everything");
        text
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What others count, as it is when `/metrics` is asked.
#[derive(Debug)]
pub struct Now<'a> {
    /// Of plugins and rules.
    pub generation: u64,
    /// Each supervised task, and how often it was started again.
    pub restarts: Vec<(&'static str, u64)>,
    /// What all of it together may take of the machine.
    pub budgets: &'a Budgets,
    /// Whose deliveries wait until they are resumed; none for all.
    pub paused: Vec<Option<HandlerName>>,
    /// What the server speaks TLS with, if it does.
    pub tls: Option<&'a Tls>,
}

impl Now<'_> {
    fn register(&self, registry: &mut Registry) {
        let (used, limit) = (Family::<BudgetLabels, Gauge>::default(), Family::default());
        let refused = Family::<BudgetLabels, Counter>::default();
        for budget in self.budgets.all() {
            let setting = budget.setting();
            let labels = BudgetLabels { setting };
            used.get_or_create(&labels).set(gauge(budget.used()));
            let limit: &Family<BudgetLabels, Gauge> = &limit;
            limit.get_or_create(&labels).set(gauge(budget.limit()));
            refused.get_or_create(&labels).inc_by(budget.refused());
        }
        registry.register("budget_used", "Current use of each host-wide limit", used);
        registry.register("budget_limit", "Host-wide limits in force", limit);
        registry.register(
            "budget_refused",
            "Requests that a host-wide limit refused or delayed",
            refused,
        );
        let paused = Family::<PauseLabels, Gauge>::default();
        for handler in &self.paused {
            let handler = handler.clone().map(Handler);
            paused.get_or_create(&PauseLabels { handler }).set(1);
        }
        registry.register(
            "queue_paused",
            "1 for each handler whose deliveries are paused; without a handler, all are",
            paused,
        );
        let lost = Counter::<u64>::default();
        lost.inc_by(crate::log::lost());
        registry.register(
            "host_log_lines_lost",
            "Lines of the host's log that could not be written in time",
            lost,
        );
        let restarts = Family::<TaskLabels, Counter>::default();
        for (task, count) in &self.restarts {
            restarts.get_or_create(&TaskLabels { task }).inc_by(*count);
        }
        registry.register("task_restarts", "Restarts of background tasks", restarts);
        if let Some(tls) = self.tls {
            register_tls(tls, registry);
        }
    }
}

fn register_tls(tls: &Tls, registry: &mut Registry) {
    let failures = Counter::<u64>::default();
    failures.inc_by(tls.failures());
    registry.register(
        "tls_handshakes_failed",
        "TLS handshakes that failed, without those of clients that went away",
        failures,
    );
    let failing = Gauge::<i64>::default();
    failing.set(i64::from(tls.is_failing()));
    registry.register(
        "tls_reload_failing",
        "1 while the files of `http.tls` cannot be used and those before stay in use",
        failing,
    );
    if let Some(until) = tls.valid_until() {
        let expiry = Gauge::<i64>::default();
        expiry.set(until.as_second());
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "When the certificate in use expires, in seconds since 1970",
            Unit::Seconds,
            expiry,
        );
    }
}

/// A call that runs.
#[derive(Debug)]
pub struct Running<'a>(&'a Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
