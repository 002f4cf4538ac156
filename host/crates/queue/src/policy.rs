//! Owns what becomes of a delivery after a run: how an attempt ends ([`Ending`]),
//! the [`Settlement`] that the [`RetrySettings`] make of it, and what of the finished
//! the [`RetentionSettings`] no longer keep; what becomes of a lost lease, of a
//! repeated idempotency key, of a command too many. Engines carry it out. No I/O.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{
    CommandId, HOSTS_LOST_MAX, QueueError,
    clock::Timestamp,
    model::{AttemptError, Enqueued, Failures, LogLine, NewCommand, Settlement, State},
};
use crate::settings::RetentionSettings;
use pointsman_core::{outcome::Status, settings::RetrySettings};

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

    /// Which limit of the [`RetrySettings`] a failure counts against; none where
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
fn settle_with(
    retry: &RetrySettings,
    failures: Failures,
    result: RunResult,
    jitter: f64,
) -> Settlement {
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
        FailureClass::Transient => (failures.transient, retry.transient_max),
        FailureClass::Trap => (failures.trap, retry.trap_max),
        FailureClass::Timeout => (failures.timeout, retry.timeout_max),
        FailureClass::Memory => (failures.memory, retry.memory_max),
    };
    if before.saturating_add(1) >= max {
        return Settlement::Discard { error };
    }
    let delay = match retry_after {
        Some(wait) => wait.min(retry.retry_after_max),
        None => backoff(retry, failures.total(), jitter),
    };
    Settlement::Retry { error, delay }
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
fn random_unit() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) >> 32) as u32) / f64::from(u32::MAX)
}

/// A delivery whose lease ran out while it was running: its host is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LostLease {
    /// The attempt that was lost.
    pub(crate) attempt: u32,
    /// How many hosts were lost with it before.
    pub(crate) hosts_lost: u32,
    /// Whether its command was cancelled meanwhile.
    pub(crate) cancel_requested: bool,
}

/// What becomes of a [`LostLease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseEnd {
    pub(crate) state: State,
    pub(crate) hosts_lost: u32,
    pub(crate) error: AttemptError,
}

impl LostLease {
    /// It waits for another host, unless it was cancelled or was lost so often
    /// that it is taken to be the cause.
    pub(crate) fn end(self) -> LeaseEnd {
        let hosts_lost = self.hosts_lost.saturating_add(1);
        let state = match (self.cancel_requested, hosts_lost >= HOSTS_LOST_MAX) {
            (true, _) => State::Cancelled,
            (false, true) => State::Discarded,
            (false, false) => State::Available,
        };
        LeaseEnd {
            state,
            hosts_lost,
            error: AttemptError {
                status: Ending::HostLost,
                message: format!(
                    "the host was lost during attempt {} ({hosts_lost} of {HOSTS_LOST_MAX} before the dead letter takes it)",
                    self.attempt
                ),
                logs: Vec::new(),
            },
        }
    }
}

/// Where a delivery is after a settlement asked for `asked`: what was cancelled
/// while it ran is cancelled, unless it was done all the same.
pub(crate) fn settled(asked: State, cancel_requested: bool) -> State {
    match (asked, cancel_requested) {
        (State::Completed, _) | (_, false) => asked,
        (_, true) => State::Cancelled,
    }
}

/// Refuses where `added` more would be too many unfinished deliveries.
pub(crate) fn admit(depth: u64, added: u64, max: u64) -> Result<(), QueueError> {
    if added > 0 && depth.saturating_add(added) > max {
        return Err(QueueError::Full { max });
    }
    Ok(())
}

/// The digest of a command's attributes, by which a repetition is told from a conflict.
pub(crate) type BodyDigest = [u8; 32];

/// The digest of these attributes.
pub(crate) fn body_digest(attributes: &str) -> BodyDigest {
    Sha256::digest(attributes).into()
}

/// What each command is: new, or one that its idempotency key names. `stored`
/// are the keys that the store remembers; a key may also come twice in a batch.
pub(crate) fn recognise(
    commands: &[NewCommand],
    stored: &HashMap<String, (CommandId, BodyDigest)>,
) -> Result<Vec<Enqueued>, QueueError> {
    let mut batch: HashMap<&str, (CommandId, BodyDigest)> = HashMap::new();
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let key = command.idempotency_key.as_deref();
        let first = key.and_then(|key| batch.get(key).or_else(|| stored.get(key)));
        answers.push(match (first, key) {
            (Some((id, body)), _) if *body == body_digest(&command.attributes) => Enqueued {
                id: *id,
                repeated: true,
            },
            (Some((first, _)), key) => {
                return Err(QueueError::Conflict {
                    key: key.unwrap_or_default().to_owned(),
                    first: *first,
                });
            }
            (None, _) if !command.may_be_new => return Err(QueueError::NotRepeated),
            (None, key) => {
                if let Some(key) = key {
                    batch.insert(key, (command.id, body_digest(&command.attributes)));
                }
                Enqueued {
                    id: command.id,
                    repeated: false,
                }
            }
        });
    }
    Ok(answers)
}

/// A pass of the retention: by age; then by size, first the commands without
/// dead-lettered deliveries, then those with some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Age,
    Size,
    DeadSize,
}

/// Finished commands go where all their deliveries ended before these times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cutoffs {
    /// For those that were completed or cancelled.
    pub(crate) ended: Timestamp,
    /// For those with dead-lettered deliveries.
    pub(crate) dead: Timestamp,
}

impl Cutoffs {
    /// The later of both: nothing stored after it goes.
    pub(crate) fn latest(self) -> Timestamp {
        self.ended.max(self.dead)
    }
}

impl Pass {
    /// Whether it is made only while the store is too large.
    pub(crate) fn is_for_size(self) -> bool {
        self != Self::Age
    }

    /// The one after it.
    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::Age => Some(Self::Size),
            Self::Size => Some(Self::DeadSize),
            Self::DeadSize => None,
        }
    }

    /// What it removes.
    pub(crate) fn cutoffs(self, policy: &RetentionSettings, now: Timestamp) -> Cutoffs {
        match self {
            Self::Age => Cutoffs {
                ended: now.before(policy.age),
                dead: now.before(policy.dead_age),
            },
            Self::Size | Self::DeadSize => self.for_size(now),
        }
    }

    /// What it removes where only the size counts, of what ended by now.
    pub(crate) fn for_size(self, now: Timestamp) -> Cutoffs {
        let dead = match self {
            Self::DeadSize => now,
            Self::Age | Self::Size => Timestamp::from_millis(i64::MIN),
        };
        Cutoffs { ended: now, dead }
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
        let policy = RetrySettings {
            delay_max: Duration::from_secs(5),
            ..RetrySettings::default()
        };
        let waits: Vec<_> = (0..5)
            .map(|transient| {
                let failures = Failures {
                    transient,
                    ..Failures::default()
                };
                let result = RunResult::failed(Status::Unavailable, "later");
                delay(settle_with(&policy, failures, result, 1.0))
                    .unwrap()
                    .as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn each_class_of_failure_has_its_own_limit() {
        let policy = RetrySettings::default();
        let failures = Failures {
            trap: 2,
            ..Failures::default()
        };
        let settle = |status| settle_with(&policy, failures, RunResult::failed(status, ""), 0.5);
        assert_eq!(delay(settle(Status::Trapped)), None);
        assert!(delay(settle(Status::TimedOut)).is_some());
        assert_eq!(delay(settle(Status::Rejected)), None);
    }

    #[test]
    fn retry_after_is_obeyed() {
        let mut result = RunResult::failed(Status::Unavailable, "later");
        result.retry_after = Some(Duration::from_secs(7));
        let settlement = settle_with(&RetrySettings::default(), Failures::default(), result, 0.0);
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

    #[test]
    fn a_lost_lease_is_given_to_another_host_until_it_is_taken_to_be_the_cause() {
        let end = |hosts_lost, cancel_requested| {
            let lost = LostLease {
                attempt: 7,
                hosts_lost,
                cancel_requested,
            };
            let end = lost.end();
            assert_eq!(end.hosts_lost, hosts_lost.saturating_add(1));
            assert_eq!(end.error.status, Ending::HostLost);
            assert!(
                end.error.message.contains("attempt 7"),
                "{}",
                end.error.message
            );
            end.state
        };
        assert_eq!(end(0, false), State::Available);
        assert_eq!(end(HOSTS_LOST_MAX - 2, false), State::Available);
        assert_eq!(end(HOSTS_LOST_MAX - 1, false), State::Discarded);
        assert_eq!(end(u32::MAX, false), State::Discarded);
        assert_eq!(end(0, true), State::Cancelled);
        assert_eq!(end(HOSTS_LOST_MAX, true), State::Cancelled);
    }

    #[test]
    fn what_was_cancelled_while_it_ran_is_cancelled_unless_it_is_done() {
        for asked in State::ALL {
            assert_eq!(settled(asked, false), asked);
            let cancelled = match asked {
                State::Completed => State::Completed,
                _ => State::Cancelled,
            };
            assert_eq!(settled(asked, true), cancelled);
        }
    }

    #[test]
    fn the_queue_is_full_only_for_what_adds_to_it() {
        for (depth, added, fits) in [
            (0, 10, true),
            (1, 10, false),
            (10, 0, true),
            (99, 0, true),
            (u64::MAX, 1, false),
        ] {
            assert_eq!(admit(depth, added, 10).is_ok(), fits, "{depth} + {added}");
        }
    }

    fn keyed(key: Option<&str>, attributes: &str) -> NewCommand {
        NewCommand {
            idempotency_key: key.map(str::to_owned),
            ..NewCommand::new(attributes, Vec::new())
        }
    }

    #[test]
    fn a_key_names_the_first_command_that_had_it_stored_or_in_the_batch() {
        let first = CommandId::generate();
        let stored = HashMap::from([("old".to_owned(), (first, body_digest("{}")))]);
        let batch = [
            keyed(None, "{}"),
            keyed(None, "{}"),
            keyed(Some("old"), "{}"),
            keyed(Some("new"), "{}"),
            keyed(Some("new"), "{}"),
        ];
        let answers = recognise(&batch, &stored).unwrap();
        let told: Vec<_> = answers.iter().map(|one| (one.id, one.repeated)).collect();
        let expected = [
            (batch[0].id, false),
            (batch[1].id, false),
            (first, true),
            (batch[3].id, false),
            (batch[3].id, true),
        ];
        assert_eq!(told, expected);
        for (key, of) in [("old", first), ("new", batch[3].id)] {
            let other = keyed(Some(key), "{\"a\":1}");
            match recognise(&[batch[3].clone(), other], &stored).unwrap_err() {
                QueueError::Conflict { key: named, first } => {
                    assert_eq!((named.as_str(), first), (key, of))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_passes_of_the_retention_spare_the_dead_letter_longest() {
        let policy = RetentionSettings {
            age: Duration::from_millis(10),
            dead_age: Duration::from_millis(30),
            bytes_max: 0,
        };
        let now = Timestamp::from_millis(100);
        let mut passes = vec![Pass::Age];
        while let Some(next) = passes.last().and_then(|pass| pass.next()) {
            passes.push(next);
        }
        let cutoffs: Vec<_> = passes
            .iter()
            .map(|pass| pass.cutoffs(&policy, now))
            .map(|cutoffs| {
                (
                    cutoffs.ended.as_millis(),
                    cutoffs.dead.as_millis(),
                    cutoffs.latest().as_millis(),
                )
            })
            .collect();
        assert_eq!(
            cutoffs,
            [(90, 70, 90), (100, i64::MIN, 100), (100, 100, 100)]
        );
        let for_size: Vec<_> = passes.iter().map(|pass| pass.is_for_size()).collect();
        assert_eq!(for_size, [false, true, true]);
    }
}
