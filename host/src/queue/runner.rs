//! Owns the way from a claimed delivery to a handler of this host: one call on
//! the current snapshot, and what its outcome means to the queue.

use std::{pin::Pin, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{Claimed, LogLine, RetryPolicy, RunResult, Status, worker::Runner};
use crate::{
    command::Command,
    dispatcher::{Attempt, Dispatcher},
    name::HandlerName,
    outcome::{self, Failure, Outcome},
};

/// Runs deliveries with the handlers that are loaded.
pub(super) struct HandlerRunner {
    pub(super) dispatcher: Dispatcher,
    pub(super) retry: RetryPolicy,
}

impl Runner for HandlerRunner {
    fn run<'a>(
        &'a self,
        delivery: &'a Claimed,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = RunResult> + Send + 'a>> {
        Box::pin(async move {
            let id = &delivery.lease.delivery;
            let mut command = match Command::parse(&delivery.attributes) {
                Ok(command) => command,
                // It was valid when it was stored: another program wrote since.
                Err(error) => return RunResult::failed(Status::Rejected, error.to_string()),
            };
            command.id = id.command;
            command.traceparent = delivery.traceparent.as_deref().map(Into::into);
            let attempt = Attempt {
                number: delivery.attempt,
                delivery_id: id.to_string(),
                cancel,
            };
            let outcome = self.dispatcher.run_one(&command, &id.handler, attempt);
            result_of(outcome.await)
        })
    }

    /// Those that are loaded: deliveries to others wait until they are, or for
    /// a host that has them.
    fn handlers(&self) -> Option<Arc<[HandlerName]>> {
        Some(self.dispatcher.handlers().into())
    }

    fn retry_policy(&self, _: &HandlerName) -> RetryPolicy {
        self.retry.clone()
    }
}

fn result_of(outcome: Outcome) -> RunResult {
    let failure = match outcome.result {
        Ok(output) => return RunResult::succeeded(output.map(|output| output.get().to_owned())),
        Err(failure) => failure,
    };
    let lines = outcome.logs.lines.into_iter().map(|line| LogLine {
        level: line.level.as_str().to_owned(),
        message: line.message,
    });
    RunResult {
        status: failure.code.into(),
        message: message(&failure),
        retry_after: failure.retry_after,
        output: None,
        logs: lines.collect(),
    }
}

/// The reason, and below it the WebAssembly stack of a trap.
fn message(failure: &Failure) -> String {
    let frames = failure.backtrace.iter();
    let frames: String = frames.map(|frame| format!("\n    at {frame}")).collect();
    format!("{}{frames}", failure.message)
}

impl From<outcome::Status> for Status {
    fn from(status: outcome::Status) -> Self {
        match status {
            outcome::Status::Succeeded => Self::Succeeded,
            outcome::Status::Rejected => Self::Rejected,
            outcome::Status::Unavailable => Self::Unavailable,
            outcome::Status::TimedOut => Self::TimedOut,
            outcome::Status::CpuExceeded => Self::CpuExceeded,
            outcome::Status::OutOfMemory => Self::OutOfMemory,
            outcome::Status::Trapped => Self::Trapped,
            outcome::Status::OutputTooLarge => Self::OutputTooLarge,
            outcome::Status::InvalidOutput => Self::InvalidOutput,
            outcome::Status::Denied => Self::Denied,
            outcome::Status::Busy => Self::Busy,
            outcome::Status::Cancelled => Self::Cancelled,
            outcome::Status::Quarantined => Self::Quarantined,
        }
    }
}
