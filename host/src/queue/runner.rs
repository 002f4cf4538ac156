//! Owns the way from a claimed delivery to a handler of this host: one call on
//! the current snapshot, and what its outcome means to the queue.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::services;
use crate::{
    command::Command,
    dispatcher::{Attempt, Dispatcher, Routed},
    name::HandlerName,
    outcome::{Failure, Outcome, Status},
    sandbox::{HandlerQueueSettings, RetryAfterPauses},
    snapshot::Snapshot,
};
use pointsman_queue::{
    AttemptLog, Capacity, Claimed, Flow, Holds, QueueSettings, ROUTER, Rate, RateOf, RetrySettings,
    RoutedTo, RunResult, worker::DeliveryRunner,
};

/// Runs deliveries with the handlers that are loaded.
pub(super) struct HandlerRunner {
    dispatcher: Dispatcher,
    accept_unmatched: bool,
    // Of handlers that are not loaded any more.
    retry: RetrySettings,
    // Of the generation that it stands with: a claim is too frequent to ask all plugins.
    capacity: Mutex<(u64, Capacity)>,
}

impl HandlerRunner {
    pub(super) fn new(dispatcher: Dispatcher, settings: &QueueSettings) -> Self {
        let snapshot = dispatcher.snapshot();
        Self {
            accept_unmatched: settings.accept_unmatched,
            retry: settings.retry.clone(),
            capacity: Mutex::new((snapshot.generation, capacity(&snapshot))),
            dispatcher,
        }
    }
}

impl HandlerRunner {
    /// Routes a command that was stored before: what is wrong with it puts it into the dead
    /// letter, from where it is routed again.
    async fn route(&self, delivery: &Claimed) -> RunResult {
        let (length, most) = (
            delivery.attributes.len(),
            self.dispatcher.command_max_bytes(),
        );
        let rejected = |reason: String| RunResult::failed(Status::Rejected, reason);
        if length > most {
            return rejected(format!(
                "the command has {length} bytes, more than {most}; `host.command_max_bytes` in pointsman.toml sets the limit"
            ));
        }
        let mut command = match self.dispatcher.parse(delivery.attributes.clone()).await {
            Ok(Ok(command)) => command,
            Ok(Err(error)) => return rejected(error.to_string()),
            Err(error) => return RunResult::failed(Status::Unavailable, error.to_string()),
        };
        command.id = delivery.lease.delivery.command;
        let mut routed = self.dispatcher.route_follow_up(&command).await;
        if !self.accept_unmatched {
            routed = routed.and_then(Routed::matched);
        }
        let routed = match routed {
            Ok(routed) => {
                let deliveries = services::deliveries(&self.dispatcher, &routed, &command).await;
                deliveries.map(|deliveries| RoutedTo {
                    rules_generation: routed.snapshot.generation,
                    deliveries,
                })
            }
            Err(error) => Err(error),
        };
        match routed {
            Ok(routed) => RunResult {
                routed: Some(routed),
                ..RunResult::succeeded(None)
            },
            Err(error) if error.is_of_rules() => {
                let diagnostic = error.diagnostic();
                let hint = diagnostic.hint_text();
                let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
                rejected(format!("{}{hint}", diagnostic.message()))
            }
            Err(error) => RunResult::failed(Status::Unavailable, error.to_string()),
        }
    }
}

impl DeliveryRunner for HandlerRunner {
    fn run<'a>(
        &'a self,
        delivery: &'a Claimed,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        Box::pin(async move {
            let id = &delivery.lease.delivery;
            if id.handler.as_str() == ROUTER {
                return self.route(delivery).await;
            }
            // It was checked when it was stored.
            let mut command = Command::trusted(id.command, &delivery.attributes);
            command.traceparent = delivery.traceparent.as_deref().map(Into::into);
            let attempt = Attempt {
                number: delivery.attempt,
                depth: delivery.depth,
                cancel,
            };
            let report = self.dispatcher.run_one(&command, &id.handler, attempt);
            let mut outcome = report.await.outcome;
            for line in &outcome.logs.lines {
                debug!(delivery = %id, level = line.level.as_str(), "{}", line.message);
            }
            let emitted = std::mem::take(&mut outcome.emitted);
            let mut result = result_of(outcome);
            result.holds = self.holds(&id.handler);
            if emitted.is_empty() {
                return result;
            }
            let emitted = (delivery.depth, emitted.as_slice());
            let traceparent = delivery.traceparent.as_deref();
            match services::routed(&self.dispatcher, id, traceparent, emitted).await {
                Ok(commands) => result.follow_ups = commands,
                Err(reason) => return RunResult::failed(Status::Unavailable, reason),
            }
            result
        })
    }

    fn capacity(&self) -> Capacity {
        let snapshot = self.dispatcher.snapshot();
        let mut known = self.capacity.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != snapshot.generation {
            *known = (snapshot.generation, capacity(&snapshot));
        }
        known.1.clone()
    }

    fn retry_policy(&self, handler: &HandlerName) -> RetrySettings {
        let snapshot = self.dispatcher.snapshot();
        let loaded = snapshot.handlers.get(handler);
        loaded.map_or_else(
            || self.retry.clone(),
            |loaded| loaded.settings.queue.retry.clone(),
        )
    }
}

impl HandlerRunner {
    /// What waits when the handler fails with a `retry-after`.
    fn holds(&self, handler: &HandlerName) -> Holds {
        let snapshot = self.dispatcher.snapshot();
        let loaded = snapshot.handlers.get(handler);
        let pauses = loaded.map(|loaded| loaded.settings.queue.retry_after_pauses);
        match pauses.unwrap_or_default() {
            RetryAfterPauses::Delivery => Holds::Delivery,
            RetryAfterPauses::Key => Holds::Key,
            RetryAfterPauses::Handler => Holds::Handler,
        }
    }
}

/// The handlers that are loaded: deliveries to others wait until they are, or
/// for a host that has them.
fn capacity(snapshot: &Snapshot) -> Capacity {
    let limits = snapshot.handlers.iter().filter_map(|(name, loaded)| {
        let limit = loaded.settings.queue.concurrency?;
        Some((name.clone(), limit))
    });
    let flows = snapshot.handlers.iter().filter_map(|(name, loaded)| {
        let flow = flow(&loaded.settings.queue);
        (flow != Flow::default()).then(|| (name.clone(), flow))
    });
    // Before there are rules, nothing is routed.
    let router = HandlerName::parse(ROUTER).ok();
    let router = router.filter(|_| snapshot.generation > 0);
    let mut handlers: Vec<_> = snapshot.handlers.keys().cloned().chain(router).collect();
    handlers.sort_unstable();
    Capacity {
        handlers: Some(handlers.into()),
        limits: Arc::new(limits.collect()),
        flows: Arc::new(flows.collect()),
    }
}

fn flow(settings: &HandlerQueueSettings) -> Flow {
    let rate = settings.rate.limit.map(|limit| Rate {
        limit,
        per: settings.rate.per,
        of: match settings.rate.key {
            Some(_) => RateOf::Key,
            None => RateOf::Handler,
        },
    });
    Flow {
        per_key: settings.concurrency_per_key,
        rate,
    }
}

fn result_of(outcome: Outcome) -> RunResult {
    let failure = match outcome.result {
        Ok(output) => return RunResult::succeeded(output.map(|output| output.get().to_owned())),
        Err(failure) => failure,
    };
    let lines = outcome.logs.lines.into_iter().map(|line| AttemptLog {
        level: line.level.as_str().to_owned(),
        message: line.message,
    });
    RunResult {
        status: failure.code,
        message: message(&failure),
        retry_after: failure.retry_after,
        holds: Holds::Delivery,
        output: None,
        follow_ups: Vec::new(),
        routed: None,
        logs: lines.collect(),
    }
}

/// The reason, and below it the WebAssembly stack of a trap.
fn message(failure: &Failure) -> String {
    let frames = failure.backtrace.iter();
    let frames: String = frames.map(|frame| format!("\n    at {frame}")).collect();
    format!("{}{frames}", failure.message)
}
