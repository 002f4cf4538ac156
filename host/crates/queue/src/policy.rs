//! Owns what becomes of a delivery after a run: how an attempt ends ([`Ending`]),
//! the [`RetryPolicy`] that makes a [`Settlement`] of it, and the
//! [`RetentionPolicy`] of what is finished. No I/O.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    time::Duration,
};

use super::{
    QueueError,
    model::{AttemptError, Failures, LogLine, Settlement},
};
use crate::settings::{RetentionSettings, hours};
use pointsman_core::outcome::Status;
use pointsman_core::settings::RetrySettings;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The handler was called.
    Ran(Status),
    /// The host died, or was stopped for longer than the lease, during the run.
    HostLost,
}

impl Ending {
    /// The name, such as `timed-out`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ran(status) => status.as_str(),
            Self::HostLost => "host-lost",
        }
    }

    /// Every ending.
    fn all() -> impl Iterator<Item = Self> {
        Status::ALL
            .into_iter()
            .map(Self::Ran)
            .chain([Self::HostLost])
    }

    /// Which limit of the [`RetryPolicy`] a failure counts against; none where
    /// no retry can help.
    #[must_use]
    pub fn class(self) -> Option<FailureClass> {
        match self {
            // The store counts lost hosts, at the next claim.
            Self::HostLost => None,
            Self::Ran(status) => match status {
                Status::Unavailable | Status::Busy | Status::Cancelled | Status::Quarantined => {
                    Some(FailureClass::Transient)
                }
                Status::Trapped => Some(FailureClass::Trap),
                Status::TimedOut | Status::CpuExceeded => Some(FailureClass::Timeout),
                Status::OutOfMemory => Some(FailureClass::Memory),
                Status::Succeeded
                | Status::Rejected
                | Status::OutputTooLarge
                | Status::InvalidOutput
                | Status::Denied => None,
            },
        }
    }
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        Self::Ran(status)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Ending {
    type Err = QueueError;

    fn from_str(text: &str) -> Result<Self, QueueError> {
        let found = Self::all().find(|ending| ending.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::all().map(Self::as_str).collect();
            QueueError::Invalid {
                field: "status",
                reason: format!("`{text}` is no status: use one of {}", names.join(", ")),
            }
        })
    }
}

/// What a retried failure counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// Unavailable, busy, interrupted, quarantined.
    Transient,
    /// A crash of the handler.
    Trap,
    /// Too much time, of the clock or the processor.
    Timeout,
    /// Too much memory.
    Memory,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// How it ended.
    pub status: Status,
    /// The reason, for people; empty where it succeeded.
    pub message: String,
    /// The least time until the next try, where the handler named one.
    pub retry_after: Option<Duration>,
    /// The answer: JSON text.
    pub output: Option<String>,
    /// What it logged. Kept with a failure.
    pub logs: Vec<LogLine>,
}

impl RunResult {
    /// A run that did its work.
    #[must_use]
    pub fn succeeded(output: Option<String>) -> Self {
        Self {
            status: Status::Succeeded,
            message: String::new(),
            retry_after: None,
            output,
            logs: Vec::new(),
        }
    }

    /// A run that did not.
    #[must_use]
    pub fn failed(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            output: None,
            logs: Vec::new(),
        }
    }
}

/// When a failed delivery is tried again, and how often.
///
/// The wait before retry n is drawn evenly from zero to
/// `min(delay_max, delay_base * 2^(n-1))` ("full jitter", as described in the
/// AWS Architecture Blog's "Exponential Backoff And Jitter"), so that
/// deliveries that failed together do not come back together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest first wait.
    pub delay_base: Duration,
    /// The longest wait. A handler's own `retry-after` may be longer.
    pub delay_max: Duration,
    /// The longest `retry-after` that is obeyed.
    pub retry_after_max: Duration,
    /// How many runs end in a transient failure before the dead letter takes it.
    pub transient_max: u32,
    /// The same for traps.
    pub trap_max: u32,
    /// The same for timeouts.
    pub timeout_max: u32,
    /// The same for memory.
    pub memory_max: u32,
}

impl From<&RetrySettings> for RetryPolicy {
    fn from(config: &RetrySettings) -> Self {
        Self {
            delay_base: Duration::from_millis(config.delay_base_ms),
            delay_max: Duration::from_millis(config.delay_max_ms),
            retry_after_max: Duration::from_millis(config.retry_after_max_ms),
            transient_max: config.transient_max,
            trap_max: config.trap_max,
            timeout_max: config.timeout_max,
            memory_max: config.memory_max,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        (&RetrySettings::default()).into()
    }
}

impl RetryPolicy {
    /// What to do with a delivery that ended in `result` after the earlier
    /// `failures`.
    #[must_use]
    pub fn settle(&self, failures: Failures, result: RunResult) -> Settlement {
        self.settle_with(failures, result, random_unit())
    }

    /// As [`RetryPolicy::settle`], with the jitter given: 0 to 1.
    #[must_use]
    pub fn settle_with(&self, failures: Failures, result: RunResult, jitter: f64) -> Settlement {
        if result.status == Status::Succeeded {
            return Settlement::Complete {
                output: result.output,
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
            FailureClass::Transient => (failures.transient, self.transient_max),
            FailureClass::Trap => (failures.trap, self.trap_max),
            FailureClass::Timeout => (failures.timeout, self.timeout_max),
            FailureClass::Memory => (failures.memory, self.memory_max),
        };
        if before.saturating_add(1) >= max {
            return Settlement::Discard { error };
        }
        let delay = match retry_after {
            Some(wait) => wait.min(self.retry_after_max),
            None => self.backoff(failures.total(), jitter),
        };
        Settlement::Retry { error, delay }
    }

    fn backoff(&self, failures_before: u32, jitter: f64) -> Duration {
        let ceiling = 2_u32
            .checked_pow(failures_before)
            .and_then(|factor| self.delay_base.checked_mul(factor))
            .map_or(self.delay_max, |delay| delay.min(self.delay_max));
        ceiling.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// Evenly from 0 to 1. The standard library seeds each hasher anew; spreading
/// retries needs no better source.
fn random_unit() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) >> 32) as u32) / f64::from(u32::MAX)
}

/// How long finished commands are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// How long a command is kept after its last delivery ended well or was cancelled.
    pub age_max: Duration,
    /// The same where a delivery lies in the dead letter.
    pub dead_age_max: Duration,
    /// The size of the store from which the oldest finished commands go before
    /// their time: the dead letter last. Unfinished commands never go.
    pub bytes_max: u64,
}

impl From<&RetentionSettings> for RetentionPolicy {
    fn from(config: &RetentionSettings) -> Self {
        Self {
            age_max: hours(config.age_hours),
            dead_age_max: hours(config.dead_age_hours),
            bytes_max: config.bytes_max,
        }
    }
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        (&RetentionSettings::default()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(settlement: Settlement) -> Option<Duration> {
        match settlement {
            Settlement::Retry { delay, .. } => Some(delay),
            _ => None,
        }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap() {
        let policy = RetryPolicy {
            delay_max: Duration::from_secs(5),
            ..RetryPolicy::default()
        };
        let waits: Vec<_> = (0..5)
            .map(|transient| {
                let failures = Failures {
                    transient,
                    ..Failures::default()
                };
                let result = RunResult::failed(Status::Unavailable, "later");
                delay(policy.settle_with(failures, result, 1.0))
                    .unwrap()
                    .as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn each_class_of_failure_has_its_own_limit() {
        let policy = RetryPolicy::default();
        let failures = Failures {
            trap: 2,
            ..Failures::default()
        };
        let settle = |status| policy.settle_with(failures, RunResult::failed(status, ""), 0.5);
        assert_eq!(delay(settle(Status::Trapped)), None);
        assert!(delay(settle(Status::TimedOut)).is_some());
        assert_eq!(delay(settle(Status::Rejected)), None);
    }

    #[test]
    fn retry_after_is_obeyed() {
        let mut result = RunResult::failed(Status::Unavailable, "later");
        result.retry_after = Some(Duration::from_secs(7));
        let settlement = RetryPolicy::default().settle_with(Failures::default(), result, 0.0);
        assert_eq!(delay(settlement), Some(Duration::from_secs(7)));
    }

    #[test]
    fn jitter_stays_in_its_range() {
        assert!(
            (0..100)
                .map(|_| random_unit())
                .all(|unit| (0.0..=1.0).contains(&unit))
        );
    }
}
