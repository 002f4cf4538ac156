//! What becomes of a delivery after a run.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use pointsman_core::{outcome::Status, settings::RetrySettings};

use crate::{
    ending::{Ending, FailureClass},
    flow::Holds,
    model::{AttemptError, AttemptLog, Failures, NewCommand, RoutedTo, Settlement},
};

/// What a run gave.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// How it ended.
    pub status: Status,
    /// The reason, for people; empty where it succeeded.
    pub message: String,
    /// The least time until the next try, where the handler named one.
    pub retry_after: Option<Duration>,
    /// What waits so long with it.
    pub holds: Holds,
    /// The answer: JSON text.
    pub output: Option<String>,
    /// What it logged. Kept with a failure.
    pub logs: Vec<AttemptLog>,
    /// The commands that it emitted.
    pub follow_ups: Vec<NewCommand>,
    /// Where the command goes, of the delivery that routes it.
    pub routed: Option<RoutedTo>,
}

impl RunResult {
    /// A run that did its work.
    #[must_use]
    pub fn succeeded(output: Option<String>) -> Self {
        Self {
            status: Status::Succeeded,
            message: String::new(),
            retry_after: None,
            holds: Holds::Delivery,
            output,
            logs: Vec::new(),
            follow_ups: Vec::new(),
            routed: None,
        }
    }

    /// A run that did not.
    #[must_use]
    pub fn failed(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            holds: Holds::Delivery,
            output: None,
            logs: Vec::new(),
            follow_ups: Vec::new(),
            routed: None,
        }
    }
}

/// What to do with a delivery that ended in `result` after the earlier `failures`.
///
/// The wait before retry n is drawn evenly from zero to
/// `min(delay_max, delay_base * 2^(n-1))` ("full jitter", as described in the
/// AWS Architecture Blog's "Exponential Backoff And Jitter"), so that
/// deliveries that failed together do not come back together.
#[must_use]
pub(crate) fn settle(retry: &RetrySettings, failures: Failures, result: RunResult) -> Settlement {
    settle_with(retry, failures, result, random_unit())
}

/// As [`settle`], with the jitter given: 0 to 1.
#[must_use]
pub(super) fn settle_with(
    retry: &RetrySettings,
    failures: Failures,
    result: RunResult,
    jitter: f64,
) -> Settlement {
    if let Some(routed) = result.routed {
        return Settlement::Route(routed);
    }
    if result.status == Status::Succeeded {
        return Settlement::Complete {
            output: result.output,
            follow_ups: result.follow_ups,
        };
    }
    let status = Ending::Ran(result.status);
    let class = status.class();
    let retry_after = result.retry_after;
    let error = AttemptError {
        status,
        message: result.message,
        logs: result.logs,
    };
    let Some(class) = class else {
        return Settlement::Discard { error };
    };
    let (before, max) = match class {
        FailureClass::Transient => (failures.transient, retry.transient_max),
        FailureClass::Trap => (failures.trap, retry.trap_max),
        FailureClass::Timeout => (failures.timeout, retry.timeout_max),
        FailureClass::Memory => (failures.memory, retry.memory_max),
    };
    if before.saturating_add(1) >= max {
        return Settlement::Discard { error };
    }
    let (delay, holds) = match retry_after {
        Some(wait) => (wait.min(retry.retry_after_max), result.holds),
        None => (backoff(retry, failures.total(), jitter), Holds::Delivery),
    };
    Settlement::Retry {
        error,
        delay,
        holds,
    }
}

fn backoff(retry: &RetrySettings, failures_before: u32, jitter: f64) -> Duration {
    let ceiling = 2_u32
        .checked_pow(failures_before)
        .and_then(|factor| retry.delay_base.checked_mul(factor))
        .map_or(retry.delay_max, |delay| delay.min(retry.delay_max));
    ceiling.mul_f64(jitter.clamp(0.0, 1.0))
}

/// Evenly from 0 to 1. The standard library seeds each hasher anew; spreading
/// retries needs no better source.
pub(super) fn random_unit() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) >> 32) as u32) / f64::from(u32::MAX)
}
