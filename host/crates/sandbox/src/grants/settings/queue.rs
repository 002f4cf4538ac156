//! Owns how the durable queue runs a handler: how much of it at once, by key and at
//! which rate.

use std::time::Duration;

use pointsman_core::settings::{RetrySettings, SettingsError, duration, lasting, optional};
use serde::{Deserialize, Serialize};

/// How the durable queue runs a handler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerQueueSettings {
    /// Its deliveries that run at once, over all hosts. Without, there is no limit but
    /// the hosts' own.
    #[serde(with = "optional::none")]
    pub concurrency: Option<usize>,
    /// Whose a delivery is, as a CEL expression over the command: claims go round the
    /// keys. Without, all of its deliveries are alike.
    #[serde(with = "optional::text")]
    pub key: Option<String>,
    /// Its deliveries with one key that run at once, over all hosts.
    #[serde(with = "optional::none")]
    pub concurrency_per_key: Option<usize>,
    /// How many of its attempts may start.
    pub rate: RateSettings,
    /// What waits when it fails with a `retry-after`.
    pub retry_after_pauses: RetryAfterPauses,
    /// How its failures are retried.
    pub retry: RetrySettings,
}

/// How many attempts of a handler may start, over all hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// At most so many at once, and so many in each `per` from then on. Without, any number.
    #[serde(with = "optional::none")]
    pub limit: Option<u32>,
    /// The time for `limit` attempts.
    #[serde(with = "duration")]
    pub per: Duration,
    /// As `queue.key`: then each key has the limit for itself. Without, the handler has it.
    #[serde(with = "optional::text")]
    pub key: Option<String>,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self {
            limit: None,
            per: Duration::from_secs(1),
            key: None,
        }
    }
}

/// What waits when a handler fails with a `retry-after`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryAfterPauses {
    /// The delivery that failed.
    #[default]
    Delivery,
    /// All that have its key.
    Key,
    /// All of the handler.
    Handler,
}

/// The longest `queue.rate.per`: past it is a wrong unit.
const RATE_PER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl HandlerQueueSettings {
    /// The expression of its key; that of `rate` counts where there is no other.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref().or(self.rate.key.as_deref())
    }

    pub(super) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(SettingsError::WrongValue {
                origin: origin.into(),
                key: key.into(),
                found,
                expected: expected.into(),
            })
        };
        lasting(origin, &[("queue.rate.per", self.rate.per)])?;
        if self.rate.per > RATE_PER_MAX {
            let found = duration::text(self.rate.per);
            return wrong("queue.rate.per", found, "at most 30 days");
        }
        if let (Some(key), Some(of_rate)) = (&self.key, &self.rate.key)
            && key != of_rate
        {
            let expected = "the same as `queue.key`, or none: a handler has one key";
            return wrong("queue.rate.key", format!("`{of_rate}`"), expected);
        }
        if self.rate.key.is_some() && self.rate.limit.is_none() {
            return wrong(
                "queue.rate.limit",
                "none".into(),
                "a number, as there is a `queue.rate.key`",
            );
        }
        if self.key().is_some() {
            return Ok(());
        }
        let needed = "a `queue.key` beside it, such as `command.tenant`";
        if let Some(most) = self.concurrency_per_key {
            return wrong("queue.concurrency_per_key", most.to_string(), needed);
        }
        if self.retry_after_pauses == RetryAfterPauses::Key {
            return wrong("queue.retry_after_pauses", "`key`".into(), needed);
        }
        Ok(())
    }
}
