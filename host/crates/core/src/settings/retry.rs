//! Owns [`RetrySettings`], which the queue and each handler's settings share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// How failures are retried: with a random delay below a ceiling that doubles
/// with each failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySettings {
    /// The first ceiling.
    #[serde(with = "duration")]
    pub delay_base: Duration,
    /// The last ceiling.
    #[serde(with = "duration")]
    pub delay_max: Duration,
    /// The longest `retry-after` of a handler that is obeyed.
    #[serde(with = "duration")]
    pub retry_after_max: Duration,
    /// Runs that end as unavailable, busy or cancelled before the dead letter takes the delivery.
    pub transient_max: u32,
    /// The same for traps.
    pub trap_max: u32,
    /// The same for timeouts and CPU limits.
    pub timeout_max: u32,
    /// The same for memory limits.
    pub memory_max: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            delay_base: Duration::from_secs(1),
            // Twelve tries at most an hour apart outlast an outage of several hours.
            delay_max: Duration::from_secs(3600),
            retry_after_max: Duration::from_secs(24 * 3600),
            transient_max: 12,
            // A trap, a timeout and a lack of memory mostly come from the command
            // itself: a few tries tell, and more only cost.
            trap_max: 3,
            timeout_max: 3,
            memory_max: 2,
        }
    }
}
