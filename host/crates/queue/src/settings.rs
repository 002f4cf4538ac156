//! Owns the settings of the queue (`[queue]`, `[queue.retry]`, `[queue.retention]`).

mod engine;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use pointsman_core::settings::{RetrySettings, SettingsError, duration, lasting, positive};

pub use engine::{Engine, Pooler, PostgresSettings, SqliteSettings};

use super::{
    clock::{Clock as _, SystemClock, Timestamp},
    error::QueueError,
};

/// The durable queue of a serving host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Where commands are kept; its keys stand beside the others.
    #[serde(flatten)]
    pub engine: Engine,
    /// Unfinished deliveries taken at most; the next command is refused.
    pub depth_max: u64,
    /// Deliveries that run at once on this host.
    pub concurrency: usize,
    /// How much of what is free of `concurrency` one handler may take, in percent:
    /// the rest stays for the others.
    pub share_percent: u32,
    /// How far ahead the time of a command may be.
    #[serde(with = "duration")]
    pub run_at_max: Duration,
    /// How long a host may be silent before another takes its deliveries.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How often to look for work without news of any.
    #[serde(with = "duration")]
    pub poll: Duration,
    /// How long an interrupted handler may take to end.
    #[serde(with = "duration")]
    pub interrupt_grace: Duration,
    /// Takes commands that no rule matches, too: they are completed at once.
    pub accept_unmatched: bool,
    /// How long an idempotency key is remembered.
    #[serde(with = "duration")]
    pub idempotency: Duration,
    /// How failures are retried.
    pub retry: RetrySettings,
    /// How long finished commands are kept.
    pub retention: RetentionSettings,
}

/// How long finished commands are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Those that were completed or cancelled, after their last delivery ended.
    #[serde(with = "duration")]
    pub age: Duration,
    /// Those with a dead-lettered delivery.
    #[serde(with = "duration")]
    pub dead_age: Duration,
    /// The size of the store, in bytes, from which the oldest finished ones go
    /// early, those with dead-lettered deliveries last. Unfinished ones never go.
    pub bytes_max: u64,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            engine: Engine::Sqlite(SqliteSettings::default()),
            // At a kilobyte each a gigabyte of disk, and a day's work at ten a second.
            depth_max: 1_000_000,
            // A run waits for others more than it computes; each holds an instance's memory.
            concurrency: 64,
            // One handler that floods the queue leaves every fourth place to others.
            share_percent: 75,
            // A century: beyond it is a wrong unit, and the command would stay for good.
            run_at_max: duration::MAX,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            interrupt_grace: Duration::from_secs(5),
            accept_unmatched: false,
            idempotency: hours(24),
            retry: RetrySettings::default(),
            retention: RetentionSettings::default(),
        }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            age: hours(72),
            // A dead letter waits for people: they have holidays.
            dead_age: hours(720),
            bytes_max: 4 << 30,
        }
    }
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

impl QueueSettings {
    /// Refuses what is out of range.
    pub fn check(&self, origin: &str) -> Result<(), SettingsError> {
        let lengths = [
            ("queue.run_at_max", self.run_at_max),
            ("queue.lease", self.lease),
            ("queue.poll", self.poll),
            ("queue.idempotency", self.idempotency),
        ];
        lasting(origin, &lengths)?;
        let counts = [
            ("queue.share_percent", self.share_percent.into()),
            ("queue.concurrency", self.concurrency as u64),
            ("queue.depth_max", self.depth_max),
        ];
        positive(origin, &counts)?;
        if self.share_percent > 100 {
            return Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: "queue.share_percent".into(),
                found: self.share_percent.to_string(),
                expected: "1 to 100".into(),
            });
        }
        self.engine.check(origin)
    }

    /// Refuses a time that is so far ahead that it is most likely a mistake.
    ///
    /// # Errors
    /// [`QueueError::TooFarAhead`].
    pub fn check_run_at(&self, run_at: Option<Timestamp>) -> Result<(), QueueError> {
        let latest = SystemClock.now().after(self.run_at_max);
        match run_at {
            Some(time) if time > latest => Err(QueueError::TooFarAhead {
                most: self.run_at_max,
            }),
            _ => Ok(()),
        }
    }
}
