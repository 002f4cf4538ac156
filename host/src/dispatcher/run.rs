//! Owns [`Run`]: one command on its way, from its matches to what each handler
//! did, and its count and its line in the log once the last one has ended.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::task_tracker::TrackedFuture};

use super::{Event, Observer, line::Instances, loaded};
use crate::{
    command::Command,
    delivery::DeliveryId,
    metrics::Metrics,
    name::HandlerName,
    outcome::{Failure, HandlerReport, ReportStatus, Status, millis},
    rules::Match,
    sandbox::{Call, Handler, OnLine, Services},
    shutdown::Shutdown,
    snapshot::Snapshot,
    telemetry::{SpanKind, Telemetry, trace_id},
};

/// One command on its way, shared by the tasks of its handlers.
pub(super) struct Run {
    pub(super) command: Command,
    /// How many handlers it goes to, and how many of them succeeded so far.
    pub(super) handlers: usize,
    pub(super) succeeded: AtomicUsize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) telemetry: Option<Telemetry>,
    pub(super) started: Instant,
    pub(super) cancel: CancellationToken,
    pub(super) observer: Option<Observer>,
    pub(super) fail_fast: bool,
    pub(super) in_place: bool,
    pub(super) services: Arc<OnceLock<Services>>,
    // Free again when the last task has ended.
    pub(super) _permits: Instances,
}

/// The last of its handlers has ended, whether anybody hears of it or not.
impl Drop for Run {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let status = ReportStatus::of(*self.succeeded.get_mut(), self.handlers);
        self.metrics.command(status, duration);
        // Not at `info`: a line for each takes a tenth of what a command costs, and
        // `/metrics` counts them. What fails is in the log all the same.
        tracing::debug!(
            command = %self.command.id,
            trace = self.command.traceparent.as_deref().map(trace_id),
            status = status.as_str(),
            handlers = self.handlers,
            ms = millis(duration),
            "command"
        );
    }
}

impl Run {
    /// Runs all handlers at once: what each did, in the order of the matches.
    pub(super) async fn all(
        self: &Arc<Self>,
        shutdown: &Shutdown,
        snapshot: &Snapshot,
        matches: Vec<Match>,
    ) -> Vec<HandlerReport> {
        let mut shares = matches.into_iter().map(|matched| -> Share {
            let loaded = loaded(snapshot, &matched.handler);
            let share = Box::pin(Arc::clone(self).one(matched, loaded));
            // Tracked, not joined: dropping this future must not abort them.
            shutdown.tasks.track_future(share)
        });
        if self.in_place && shares.len() == 1 {
            let share = shares.next().expect("one");
            return vec![InPlace::new(share).await];
        }
        let running: Vec<_> = shares.map(tokio::spawn).collect();
        let mut reports = Vec::with_capacity(running.len());
        for task in running {
            match task.await {
                Ok(report) => reports.push(report),
                // A panic of the host's own code: not the other handlers' fault.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        reports
    }

    /// One handler's share.
    async fn one(
        self: Arc<Self>,
        matched: Match,
        loaded: Result<Arc<Handler>, Failure>,
    ) -> HandlerReport {
        let Match { handler, rules } = matched;
        if let Some(observer) = &self.observer {
            observer(Event::Started(&handler));
        }
        let call = Call {
            attempt: 1,
            started: self.started,
            on_line: on_line(self.observer.as_ref(), &handler),
            cancel: &self.cancel,
            simulation: None,
            services: self.services.get().unwrap_or(&Services::NONE),
            depth: 0,
        };
        let observed = Observed {
            metrics: &self.metrics,
            telemetry: self.telemetry.as_ref(),
            kind: SpanKind::Internal,
        };
        let report = called(observed, &self.command, (handler, loaded), call).await;
        let mut report = HandlerReport { rules, ..report };
        if !report.outcome.emitted.is_empty() {
            self.store_emitted(&mut report).await;
        }
        if let Some(observer) = &self.observer {
            observer(Event::Finished(&report));
        }
        if report.outcome.status() == Status::Succeeded {
            self.succeeded.fetch_add(1, Relaxed);
        } else if self.fail_fast {
            self.cancel.cancel();
        }
        report
    }
}

impl Run {
    /// Stores what a handler emitted; it has not succeeded before that is done.
    async fn store_emitted(&self, report: &mut HandlerReport) {
        let by = DeliveryId::new(self.command.id, report.handler.clone());
        let traceparent = self.command.traceparent.as_deref();
        let emitted = std::mem::take(&mut report.outcome.emitted);
        let follow_ups = self.services.get().and_then(|it| it.follow_ups.clone());
        let stored = match follow_ups {
            Some(follow_ups) => follow_ups.store(by, traceparent, &emitted).await,
            None => Err("the queue is off".to_owned()),
        };
        match stored {
            Ok(()) => report.outcome.emitted = emitted,
            Err(reason) => {
                let message = format!(
                    "`{}`: its follow-up commands could not be stored: {reason}",
                    report.handler
                );
                report.outcome.result = Err(Failure::new(Status::Unavailable, message));
            }
        }
    }
}

/// Who hears of a call.
pub(super) struct Observed<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) telemetry: Option<&'a Telemetry>,
    pub(super) kind: SpanKind,
}

/// One call of a handler, counted and traced: the one way to it, for commands that
/// are run and for deliveries.
pub(super) async fn called(
    observed: Observed<'_>,
    command: &Command,
    (handler, loaded): (HandlerName, Result<Arc<Handler>, Failure>),
    call: Call<'_>,
) -> HandlerReport {
    let (metrics, started) = (observed.metrics, call.started);
    let span = observed
        .telemetry
        .map(|it| it.call(command, &handler, (observed.kind, call.attempt)));
    let traced = span.as_ref().map(|span| span.parent_of(command));
    let report = match loaded {
        Ok(loaded) => {
            let _running = metrics.running();
            loaded.call(traced.as_ref().unwrap_or(command), call).await
        }
        Err(missing) => HandlerReport::not_run(handler, call.started.elapsed(), missing),
    };
    metrics.call(&report.handler, &report.outcome, report.duration);
    if let Some(mut span) = span {
        span.called(&report, started);
    }
    report
}

/// One handler's share of a command, counted among the tasks of the host.
type Share = TrackedFuture<Pin<Box<dyn Future<Output = HandlerReport> + Send>>>;

/// Runs the share of a lone handler in the command's own task. Where that goes
/// away, the share goes on in one of its own.
struct InPlace {
    // None once it has ended.
    share: Option<Share>,
    runtime: Handle,
}

impl InPlace {
    fn new(share: Share) -> Self {
        Self {
            share: Some(share),
            runtime: Handle::current(),
        }
    }
}

impl Future for InPlace {
    type Output = HandlerReport;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<HandlerReport> {
        // Taken out, so that one that panics is not run again.
        let mut share = self.share.take().expect("not polled after its end");
        let polled = Pin::new(&mut share).poll(context);
        if polled.is_pending() {
            self.share = Some(share);
        }
        polled
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            self.runtime.spawn(share);
        }
    }
}

fn on_line(observer: Option<&Observer>, handler: &HandlerName) -> Option<OnLine> {
    let (observer, handler) = (Arc::clone(observer?), handler.clone());
    Some(Arc::new(move |line| observer(Event::Log(&handler, line))))
}
